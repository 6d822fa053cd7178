/* SPDX-License-Identifier: MIT
 *
 * thirl over shared memory as it is when nobody asks for anything: it spins for a while, and sleeps then.
 */
#include "bench/peer/pair.h"

static int open_end(int ping, const char *where) {
    (void)ping;
    return pair_open("shm://", where, "");
}

const struct peer peer = {.name = "thirl shm, adaptive", .open = open_end, .put = pair_put, .get = pair_get};
