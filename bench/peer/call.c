/* SPDX-License-Identifier: MIT
 *
 * A call over shared memory, waiting by sleeping, beside those of others. What is put at once comes out of the call when it is got.
 */
#include <stdio.h>
#include <string.h>

#include <thirl/thirl.h>

#include "bench/peer/peer.h"

static thirl *end;
static thirl_msg *held; /* ping: the answer; pong: the request */
static int calls;

static int open_end(int ping, const char *where) {
    char address[100];
    calls = ping;
    (void)snprintf(address, sizeof address, "shm://%s?wait=sleep", where);
    return thirl_open(&end, ping ? THIRL_CALL : THIRL_SERVE, address, NULL);
}

static int put(const void *data, size_t size) {
    return calls ? thirl_call(end, data, size, &held, THIRL_NEVER) : thirl_reply(end, &held, data, size, THIRL_NEVER);
}

static int get(void *data, size_t size) {
    if (!calls && thirl_take(end, &held, THIRL_NEVER) != 0) {
        return -1;
    }
    if (thirl_msg_size(held) != size) {
        return -1;
    }
    memcpy(data, thirl_msg_data(held), size);
    if (calls) {
        thirl_free(&held);
    }
    return 0;
}

const struct peer peer = {.name = "thirl shm, a call, sleeping", .open = open_end, .put = put, .get = get, .calls = 1};
