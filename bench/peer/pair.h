/* SPDX-License-Identifier: MIT
 *
 * A pair of thirl's, for the programs of peers that differ in what it is over, and in how it waits.
 */
#ifndef BENCH_PEER_PAIR_H
#define BENCH_PEER_PAIR_H

#include <stdio.h>

#include <thirl/thirl.h>

#include "bench/peer/peer.h"

static thirl *pair_end;

static inline int pair_open(const char *before, const char *where, const char *options) {
    char address[100];
    (void)snprintf(address, sizeof address, "%s%s%s", before, where, options);
    return thirl_open(&pair_end, THIRL_PAIR, address, NULL);
}

static inline int pair_put(const void *data, size_t size) {
    return thirl_send(pair_end, data, size, THIRL_NEVER);
}

static inline int pair_get(void *data, size_t size) {
    size_t got;
    return thirl_recv(pair_end, data, size, &got, THIRL_NEVER);
}

#endif
