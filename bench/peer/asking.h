/* SPDX-License-Identifier: MIT
 *
 * A call over shared memory, for the programs of peers that differ in how it waits. What is put at once comes out of the call when it is got.
 */
#ifndef BENCH_PEER_ASKING_H
#define BENCH_PEER_ASKING_H

#include <stdio.h>
#include <string.h>

#include <thirl/thirl.h>

#include "bench/peer/peer.h"

static thirl *asking_end;
static thirl_msg *asking_held; /* ping: the answer; pong: the request */
static int asking_calls;

static inline int asking_open(int ping, const char *where, const char *options) {
    char address[100];
    asking_calls = ping;
    (void)snprintf(address, sizeof address, "shm://%s%s", where, options);
    return thirl_open(&asking_end, ping ? THIRL_CALL : THIRL_SERVE, address, NULL);
}

static inline int asking_put(const void *data, size_t size) {
    return asking_calls ? thirl_call(asking_end, data, size, &asking_held, THIRL_NEVER)
                        : thirl_reply(asking_end, &asking_held, data, size, THIRL_NEVER);
}

static inline int asking_get(void *data, size_t size) {
    if (!asking_calls && thirl_take(asking_end, &asking_held, THIRL_NEVER) != 0) {
        return -1;
    }
    if (thirl_msg_size(asking_held) != size) {
        return -1;
    }
    memcpy(data, thirl_msg_data(asking_held), size);
    if (asking_calls) {
        thirl_free(&asking_held);
    }
    return 0;
}

#endif
