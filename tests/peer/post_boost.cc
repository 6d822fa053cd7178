// SPDX-License-Identifier: MIT
//
// Boost.Interprocess's message queue.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <cstring>
#include <string>

#include "tests/peer/mail.h"

using boost::interprocess::message_queue;
using boost::interprocess::open_or_create;

static message_queue *queue;

static std::string name_of(const char *where) {
    return std::string(strrchr(where, '/') + 1) + ".queue";
}

static boost::posix_time::ptime soon() {
    return boost::posix_time::microsec_clock::universal_time() + boost::posix_time::milliseconds(100);
}

static int open_end(const char *where, int) {
    try {
        queue = new message_queue(open_or_create, name_of(where).c_str(), 256, MAIL_SIZE);
        return 0;
    } catch (...) {
        return -1;
    }
}

static int put(const void *data) {
    try {
        return queue->timed_send(data, MAIL_SIZE, 0, soon()) ? 0 : MAIL_NONE;
    } catch (...) {
        return -1;
    }
}

static int get(void *data, int *) {
    message_queue::size_type got = 0;
    unsigned priority = 0;
    try {
        return queue->timed_receive(data, MAIL_SIZE, got, priority, soon()) ? 0 : MAIL_NONE;
    } catch (...) {
        return -1;
    }
}

static void close_end() {
    delete queue;
}

static void remove_it(const char *where) {
    message_queue::remove(name_of(where).c_str());
}

extern "C" {
extern const struct mail mail_boost[] = {{"Boost message_queue", open_end, put, get, nullptr, close_end, remove_it},
                                         {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}};
}
