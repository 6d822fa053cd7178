/* SPDX-License-Identifier: MIT
 *
 * Boost.Interprocess message_queue: one each way.
 */
#include <boost/interprocess/ipc/message_queue.hpp>
#include <string>
#include <unistd.h>

#include "bench/peer/peer.h"

using boost::interprocess::message_queue;
using boost::interprocess::open_or_create;

static message_queue *ways[2];
static std::string names[2];

static int open_end(int ping, const char *where) {
    for (int i = 0; i < 2; i++) {
        names[i] = where + std::string(i ? "-back" : "-there");
        try {
            ways[(i == 0) != (ping != 0)] = new message_queue(open_or_create, names[i].c_str(), 256, 8192);
        } catch (...) {
            return -1;
        }
    }
    return 0;
}

static int put(const void *data, size_t size) {
    ways[0]->send(data, size, 0);
    return 0;
}

static int get(void *data, size_t size) {
    static char block[8192];
    message_queue::size_type got = 0;
    unsigned priority = 0;
    ways[1]->receive(block, sizeof block, got, priority);
    if (got != size) {
        return -1;
    }
    if (!names[0].empty()) { // both have them
        message_queue::remove(names[0].c_str());
        message_queue::remove(names[1].c_str());
        names[0].clear();
    }
    __builtin_memcpy(data, block, size);
    return 0;
}

extern "C" const struct peer peer = {"Boost message_queue", open_end, put, get, 0, nullptr};
