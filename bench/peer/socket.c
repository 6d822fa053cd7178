/* SPDX-License-Identifier: MIT
 *
 * thirl over a Unix socket, which is what most others are over, as it is when nobody asks for anything.
 */
#include "bench/peer/pair.h"

static int open_end(int ping, const char *where) {
    (void)ping;
    return pair_open("unix://@", where, "");
}

const struct peer peer = {.name = "thirl unix, adaptive", .open = open_end, .put = pair_put, .get = pair_get};
