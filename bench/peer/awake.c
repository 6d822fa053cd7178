/* SPDX-License-Identifier: MIT
 *
 * thirl over shared memory as it is when nobody asks for anything: it spins for a while, and sleeps then.
 */
#include <stdio.h>

#include <thirl/thirl.h>

#include "bench/peer/peer.h"

static thirl *end;

static int open_end(int ping, const char *where) {
    char address[100];
    (void)ping;
    (void)snprintf(address, sizeof address, "shm://%s", where);
    return thirl_open(&end, THIRL_PAIR, address, NULL);
}

static int put(const void *data, size_t size) {
    return thirl_send(end, data, size, THIRL_NEVER);
}

static int get(void *data, size_t size) {
    size_t got;
    return thirl_recv(end, data, size, &got, THIRL_NEVER);
}

const struct peer peer = {.name = "thirl shm, adaptive", .open = open_end, .put = put, .get = get};
