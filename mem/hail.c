/* SPDX-License-Identifier: MIT
 *
 * Waking without a descriptor.
 *
 *     sleeper                                     ringer
 *     seen = given ── wanted = 1 ── fence         sends ── fence ── wanted == 0? done
 *     tries once more                             wanted = 0 ── given += 1 ── FUTEX_WAKE(given)
 *     FUTEX_WAIT(given, seen)
 *
 * One of the two sees the other. A ringer that is killed before it has added leaves wanted at 0: the sleeper sees that when its
 * slice is over, and wants again.
 */
#include "mem/hail.h"

#include <limits.h>

#include "base/futex.h"
#include "base/weave.h"

struct hail *hail_of(const struct roll *roll) {
    return (struct hail *)(void *)((char *)roll->change + ROLL_HAIL);
}

uint32_t hail_want(struct hail_word *word) {
    uint32_t seen = atomic_load(&word->given); /* pairs with the add in hail_wake */
    atomic_store(&word->wanted, 1);
    weave("hail.want.shown");
    atomic_fence();
    return seen;
}

void hail_wake(struct hail_word *word) {
    if (atomic_swap(&word->wanted, 0) != 0) {
        weave("hail.wake.between");
        (void)atomic_add(&word->given, 1);
        (void)futex_wake(&word->given, INT_MAX);
        weave("hail.wake.after");
    }
}

uint32_t hail_hope(struct hail_word *word, bool heavy) {
    uint32_t seen = hail_want(word);
    if (heavy) {
        (void)futex_fence_heavy(); /* pairs with atomic_order in call (mech/pub.c) and sub_answer */
    }
    return seen;
}

void hail_weaken(struct hail *hail) {
    atomic_store(&hail->came.weak, 1);
    atomic_store(&hail->room.weak, 1);
    atomic_store(&hail->polled.weak, 1);
}

void hail_answer(struct hail_word *word) {
    if (atomic_peek(&word->weak) != 0) {
        atomic_fence(); /* pairs with the one in hail_want */
    }
    if (atomic_peek(&word->wanted) != 0) {
        hail_wake(word);
    }
}

void hail_count(uint32_t *word) {
    (void)atomic_add(word, 1);
}
