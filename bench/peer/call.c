/* SPDX-License-Identifier: MIT
 *
 * A call over shared memory, waiting by sleeping, beside those of others.
 */
#include "bench/peer/asking.h"

static int open_end(int ping, const char *where) {
    return asking_open(ping, where, "?wait=sleep");
}

const struct peer peer = {
    .name = "thirl shm, a call, sleeping", .open = open_end, .put = asking_put, .get = asking_get, .calls = 1};
