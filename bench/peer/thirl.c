/* SPDX-License-Identifier: MIT
 *
 * thirl itself, over shared memory, waiting by sleeping as all others do.
 */
#include "bench/peer/pair.h"

static int open_end(int ping, const char *where) {
    (void)ping;
    return pair_open("shm://", where, "?wait=sleep");
}

const struct peer peer = {.name = "thirl shm, sleeping", .open = open_end, .put = pair_put, .get = pair_get};
