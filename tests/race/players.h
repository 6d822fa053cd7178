/* SPDX-License-Identifier: MIT
 *
 * Who takes part in locks, for the loom: each of its threads is a process of its own with one slip. Included by a test behind
 * tests/race/loom.h, before the .c files of sync/, in place of sync/party.c.
 */
#ifndef TESTS_RACE_PLAYERS_H
#define TESTS_RACE_PLAYERS_H

#define OWNER_SPINS 1

#include "sync/order.h"
#include "sync/party.h"

static struct players {
    struct party party[LOOM_THREADS];
    struct slip slip[LOOM_THREADS];
} players;

static void players_begin(void) {
    memset(&players, 0, sizeof players);
    for (unsigned i = 0; i < LOOM_THREADS; i++) {
        players.slip[i].number = i + 1;
        players.slip[i].thread = (int32_t)i + 1;
        players.party[i] =
            (struct party){.id = (uint64_t)(i + 1) << 16, .number = i + 1, .slip = &players.slip[i], .fences = true};
    }
}

static const struct party *players_me(void) {
    return &players.party[loom_self()];
}

/* As mem/slate.c does: what is held comes last, and backwards. */
static void players_copy(struct slip *copy, const struct slip *slip) {
    loom_step();
    *copy = *slip;
    for (uint32_t i = copy->held < SLIP_HOLDS ? copy->held : SLIP_HOLDS; i-- > 0;) {
        loom_step();
        copy->hold[i] = slip->hold[i];
    }
}

static int players_each(int (*seen)(void *context, const struct party_seen *), void *context) {
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < LOOM_THREADS; i++) {
        struct slip copy;
        players_copy(&copy, &players.slip[i]);
        struct party_seen one = {.id = players.party[i].id, .exe = "", .alive = !loom_dead(i), .slip = &copy};
        rc = seen(context, &one);
    }
    return rc;
}

static const struct party_host players_host = {.each = players_each};

int party_join(void) {
    return 0;
}

const struct party_host *party_host(void) {
    return &players_host;
}

bool party_alive(uint64_t id) {
    loom_step();
    return id == players_me()->id || !loom_dead((unsigned)(id >> 16) - 1);
}

struct slip_pairs *party_pairs(void) {
    return NULL; /* which lock was taken while another was held is nothing to others */
}

uint64_t party_tag(enum slip_kind kind) {
    return UINT64_C(1) << 63 | (uint64_t)kind;
}

/* Whoever is alive and done waits for nothing, and holds nothing. */
static void players_end(void) {
    for (unsigned i = 0; i < LOOM_THREADS; i++) {
        const struct slip *slip = &players.slip[i];
        if (!loom_dead(i) && (slip->wait.kind != 0 || slip->held != 0)) loom_wrong("a slip says what is not so");
    }
}

#define party_me players_me

#define say order_say
#include "sync/order.c" /* NOLINT(bugprone-suspicious-include): the code as it is */
#undef say

#endif
