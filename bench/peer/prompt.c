/* SPDX-License-Identifier: MIT
 *
 * The same as it is when nobody asks for anything: it spins for a while, and sleeps then.
 */
#include "bench/peer/asking.h"

static int open_end(int ping, const char *where) {
    return asking_open(ping, where, "");
}

const struct peer peer = {
    .name = "thirl shm, a call, adaptive", .open = open_end, .put = asking_put, .get = asking_get, .calls = 1};
