/* SPDX-License-Identifier: MIT
 *
 * iceoryx: a publisher and a subscriber each way, whose queues keep all that comes, through its daemon RouDi, which is started here. Who
 * receives waits in a WaitSet.
 */
#include <cstdint>
#include <cstring>
#include <unistd.h>

#include "iceoryx_hoofs/log/logmanager.hpp"
#include "iceoryx_posh/popo/untyped_publisher.hpp"
#include "iceoryx_posh/popo/untyped_subscriber.hpp"
#include "iceoryx_posh/popo/wait_set.hpp"
#include "iceoryx_posh/runtime/posh_runtime.hpp"

#include "bench/peer/peer.h"

#define TRIES 2000 /* of 10 ms, until the other one is found */

using iox::cxx::TruncateToCapacity;

static iox::popo::UntypedPublisher *out;
static iox::popo::UntypedSubscriber *in;
static iox::popo::WaitSet<> *waits;

static int begin(const char *where) {
    (void)where;
    const char *const words[] = {"iox-roudi", "--monitoring-mode", "off", "--log-level", "off", nullptr};
    return peer_server(words);
}

static iox::capro::ServiceDescription service(const char *where, int ping) {
    return {"thirl", iox::capro::IdString_t(TruncateToCapacity, where), ping ? "ping" : "pong"};
}

static bool is_found() {
    return out->hasSubscribers() && in->getSubscriptionState() == iox::SubscribeState::SUBSCRIBED;
}

static int open_end(int ping, const char *where) {
    iox::log::LogManager::GetLogManager().SetDefaultLogLevel(iox::log::LogLevel::kOff,
                                                             iox::log::LogLevelOutput::kHideLogLevel);
    iox::RuntimeName_t name(TruncateToCapacity, where);
    (void)name.append(TruncateToCapacity, iox::RuntimeName_t(ping ? "-ping" : "-pong"));
    iox::runtime::PoshRuntime::initRuntime(name);
    iox::popo::PublisherOptions all;
    all.subscriberTooSlowPolicy = iox::popo::ConsumerTooSlowPolicy::WAIT_FOR_CONSUMER;
    iox::popo::SubscriberOptions keep;
    keep.queueCapacity = 256;
    keep.queueFullPolicy = iox::popo::QueueFullPolicy::BLOCK_PRODUCER;
    out = new iox::popo::UntypedPublisher(service(where, !ping), all);
    in = new iox::popo::UntypedSubscriber(service(where, ping), keep);
    waits = new iox::popo::WaitSet<>;
    if (waits->attachState(*in, iox::popo::SubscriberState::HAS_DATA).has_error()) {
        return -1;
    }
    for (int i = 0; !is_found() && i < TRIES; i++) {
        (void)usleep(10000);
    }
    return is_found() ? 0 : -1;
}

static int put(const void *data, size_t size) {
    auto loan = out->loan(static_cast<uint32_t>(size));
    if (loan.has_error()) {
        return -1;
    }
    std::memcpy(loan.value(), data, size);
    out->publish(loan.value());
    return 0;
}

static int get(void *data, size_t size) {
    for (;;) {
        auto taken = in->take();
        if (!taken.has_error()) {
            const auto *head = iox::mepoo::ChunkHeader::fromUserPayload(taken.value());
            bool whole = head->userPayloadSize() == size;
            if (whole) {
                std::memcpy(data, taken.value(), size);
            }
            in->release(taken.value());
            return whole ? 0 : -1;
        }
        if (taken.get_error() != iox::popo::ChunkReceiveResult::NO_CHUNK_AVAILABLE) {
            return -1;
        }
        (void)waits->wait();
    }
}

extern "C" const struct peer peer = {"iceoryx, RouDi", open_end, put, get, 0, begin};
