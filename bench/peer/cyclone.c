/* SPDX-License-Identifier: MIT
 *
 * CycloneDDS: a topic each way, reliable, of which all is kept; over UDP on the loopback, as peers of one machine that need no multicast. No more
 * is on its way than the kernel has room for: it would be lost and sent again, which is far slower.
 */
#include <dds/dds.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/peer/peer.h"

#define TRIES 1000 /* of 10 ms, until the other one is found */
#define CONFIG                                                                                                         \
    "<CycloneDDS><Domain><General><Interfaces><NetworkInterface name=\"lo\"/></Interfaces>"                            \
    "<AllowMulticast>false</AllowMulticast></General>"                                                                 \
    "<Discovery><ParticipantIndex>auto</ParticipantIndex><Peers><Peer address=\"127.0.0.1\"/></Peers></Discovery>"     \
    "<Internal><Watermarks><WhcHigh>64kB</WhcHigh></Watermarks></Internal>"                                            \
    "</Domain></CycloneDDS>"

/* What idlc makes of struct Message { sequence<octet> bytes; } */
struct message {
    dds_sequence_t bytes;
};
static const uint32_t ops[] = {DDS_OP_ADR | DDS_OP_TYPE_SEQ | DDS_OP_SUBTYPE_1BY, offsetof(struct message, bytes),
                               DDS_OP_RTS};
static const dds_topic_descriptor_t type = {.m_size = sizeof(struct message),
                                            .m_align = sizeof(void *),
                                            .m_typename = "Message",
                                            .m_nops = 2,
                                            .m_ops = ops,
                                            .m_meta = ""};

static dds_entity_t writer, reader, waits;

static dds_entity_t topic_of(dds_entity_t participant, const char *where, int ping) {
    char name[100];
    (void)snprintf(name, sizeof name, "%s-%d", where, ping);
    for (char *c = name; *c != 0; c++) *c = *c == '-' ? '_' : *c;
    return dds_create_topic(participant, &type, name, NULL, NULL);
}

static int is_found(void) {
    dds_publication_matched_status_t out;
    dds_subscription_matched_status_t in;
    return dds_get_publication_matched_status(writer, &out) == 0 && out.current_count == 1 &&
           dds_get_subscription_matched_status(reader, &in) == 0 && in.current_count == 1;
}

static int open_end(int ping, const char *where) {
    dds_entity_t domain = dds_create_domain(1, CONFIG);
    dds_entity_t participant = domain > 0 ? dds_create_participant(1, NULL, NULL) : domain;
    dds_qos_t *qos = dds_create_qos();
    dds_qset_reliability(qos, DDS_RELIABILITY_RELIABLE, DDS_SECS(20));
    dds_qset_history(qos, DDS_HISTORY_KEEP_ALL, 0);
    if (participant > 0) {
        writer = dds_create_writer(participant, topic_of(participant, where, !ping), qos, NULL);
        reader = dds_create_reader(participant, topic_of(participant, where, ping), qos, NULL);
        waits = dds_create_waitset(participant);
    }
    dds_delete_qos(qos);
    dds_entity_t some = reader > 0 ? dds_create_readcondition(reader, DDS_ANY_STATE) : reader;
    if (participant <= 0 || writer <= 0 || some <= 0 || dds_waitset_attach(waits, some, 0) != 0) {
        return -1;
    }
    for (int i = 0; !is_found() && i < TRIES; i++) (void)usleep(10000);
    return is_found() ? 0 : -1;
}

static int put(const void *data, size_t size) {
    const struct message message = {
        {._maximum = (uint32_t)size, ._length = (uint32_t)size, ._buffer = (uint8_t *)(size_t)data}};
    return dds_write(writer, &message) == 0 ? 0 : -1;
}

static int get(void *data, size_t size) {
    void *sample = NULL;
    dds_sample_info_t info;
    int count;
    while ((count = dds_take(reader, &sample, &info, 1, 1)) == 0) {
        if (dds_waitset_wait(waits, NULL, 0, DDS_SECS(20)) <= 0) {
            return -1;
        }
    }
    if (count < 0) {
        return -1;
    }
    const struct message *message = sample;
    int good = info.valid_data && message->bytes._length == size;
    if (good) {
        memcpy(data, message->bytes._buffer, size);
    }
    (void)dds_return_loan(reader, &sample, count);
    return good ? 0 : -1;
}

const struct peer peer = {.name = "CycloneDDS, UDP", .open = open_end, .put = put, .get = get};
