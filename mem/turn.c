/* SPDX-License-Identifier: MIT
 *
 * Whose turn it is to receive.
 *
 *     giver:  holder = 0 ── fence ── wanted?          sleeper:  wanted = 1 ── fence ── holder == 0?
 *
 * One of the two sees the other. What is lost all the same costs a slice, never a message.
 */
#include "mem/turn.h"

#include <limits.h>
#include <stdio.h>

#include "base/futex.h"
#include "base/weave.h"

struct turn *turn_of(const struct roll *roll) {
    return (struct turn *)(void *)((char *)roll->change + ROLL_TURN);
}

/* Another process cannot tell from a node alone which of its ends it was. */
static uint64_t name_of(struct roll_end end) {
    uint64_t name = (end.node ^ end.number * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
    return name == 0 ? 1 : name;
}

bool turn_take(struct turn *turn, const struct roll *roll) {
    uint64_t self = name_of(roll->self), holder = 0;
    return atomic_peek(&turn->holder) == self || atomic_cas(&turn->holder, &holder, self); /* pairs with turn_give */
}

static void wake(struct turn *turn) {
    atomic_fence();
    if (atomic_peek(&turn->wanted) != 0 && atomic_swap(&turn->wanted, 0) != 0) {
        (void)atomic_add(&turn->given, 1);
        (void)futex_wake(&turn->given, INT_MAX);
    }
}

void turn_give(struct turn *turn, const struct roll *roll) {
    if (atomic_peek(&turn->holder) == name_of(roll->self)) {
        atomic_store(&turn->holder, 0);
        weave("turn.give.after");
        wake(turn);
    }
}

bool turn_want(struct turn *turn, const struct roll *roll, uint32_t *value) {
    *value = atomic_load(&turn->given); /* pairs with the add in wake */
    atomic_store(&turn->wanted, 1);
    atomic_fence();
    uint64_t holder = atomic_peek(&turn->holder);
    return holder != 0 && holder != name_of(roll->self);
}

/* The living end that holds the turn. */
static bool find(const struct roll *roll, uint64_t holder, struct roll_end *found) {
    DIR *list = roll_list(roll->dir);
    bool there = false;
    for (struct dirent *entry; list != NULL && !there && (entry = readdir(list)) != NULL;) {
        const char *kind;
        there = roll_parse(entry->d_name, found, &kind) && name_of(*found) == holder && node_alive(found->node);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return there || list == NULL;
}

void turn_check(struct turn *turn, const struct roll *roll) {
    struct roll_end end;
    uint64_t holder = atomic_peek(&turn->holder);
    if (holder != 0 && !find(roll, holder, &end) && atomic_cas(&turn->holder, &holder, 0)) {
        wake(turn);
    }
}

void turn_who(const struct turn *turn, const struct roll *roll, char who[NODE_PEER_MAX]) {
    struct roll_end end = {0};
    struct node_peer peer;
    uint64_t holder = atomic_peek(&turn->holder);
    *who = '\0';
    if (holder != 0 && holder != name_of(roll->self) && find(roll, holder, &end) &&
        node_peer_open(&peer, end.node, end.number) == 0) {
        (void)snprintf(who, NODE_PEER_MAX, "pid %lld (%s)", (long long)peer.pid, proc_name(peer.exe));
        node_peer_close(&peer);
    }
}
