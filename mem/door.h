/* SPDX-License-Identifier: MIT
 *
 * One sleep for many peers: the file of an end behind which it sleeps, and at which those knock who have something for it. It
 * is the one file of an end that others write to: a word to sleep on, and a bit for each seat, which says who
 * knocked. All of it is hints, of which a liar can give too many or take some away: the owner looks at everybody from
 * time to time, and a bit says nothing but "look there".
 *
 *     owner                                    a peer
 *     seen = acquire count                     (what bell_tell saw: the owner wants to hear of this seat)
 *     asleep += 1                              seats |= its bit; groups |= the bit's group
 *     looks: groups, and what it polls         count += 1               (all three are full fences)
 *     FUTEX_WAIT(count, seen)                  asleep == 0? done
 *                                              FUTEX_WAKE(count, all)
 *
 * Either the peer sees asleep, and wakes; or it has counted before the kernel, which is called behind the store of asleep,
 * compares the count; tests/race/door_test walks all interleavings. asleep is in the owner's own
 * memory, which nobody else writes. All threads of the owner wake: which of them is meant is not known here.
 *
 * Answering a knock: a group's bit is cleared before its seats are looked at once more, so that none is left behind.
 *
 * An owner whose descriptor an event loop watches counts in its own memory how often it has gone to sleep there, then looks once
 * more; who has knocked compares that with what it answered last, and owes a byte if it is another (door_asks).
 */
#ifndef MEM_DOOR_H
#define MEM_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"

#define DOOR_SEATS 4096u

struct door_page { /* the file */
    LINE_ALIGNED uint32_t count;
    LINE_ALIGNED uint64_t groups; /* a bit for each word of seats */
    LINE_ALIGNED uint64_t seats[DOOR_SEATS / 64];
};
LAYOUT(door_page, 640, seats, 128);

struct door {
    struct door_page *page; /* NULL: none */
    const uint32_t *asleep; /* where the owner says how many of its threads sleep */
    const uint64_t *polled; /* where it counts how often its descriptor wanted a byte; NULL: it has none */
    uint64_t answered;      /* a peer: of those, the last that got one */
};

/* Makes the file in the open directory, with space and mode; or opens a peer's. asleep may be set later, before the first
 * knock. 0, -ENOENT, -THIRL_EFORMAT: it is none, or an error; what: for sentences. */
int door_make(struct door *, int dir, const char *file, unsigned mode, const char *what);
int door_open(struct door *, int dir, const char *file, const char *what);
void door_close(struct door *);

/* A peer: it has something for the owner, at that seat (taken modulo DOOR_SEATS). true: it took a system call to wake it. Any thread. */
bool door_knock(const struct door *, uint32_t seat);

/* The same peer, one thread at a time, after it has knocked: does the descriptor of the owner want a byte for that? Says so once. */
bool door_asks(struct door *);

/* The owner, for itself: the same without waking; and waking without a seat. */
void door_mark(const struct door *, uint32_t seat);
void door_wake(const struct door *);

/* The owner, one thread at a time: somebody knocked: *seat, each once. false: nobody (any more). */
bool door_answer(struct door *, uint32_t *seat);
static inline bool door_heard(const struct door *door) {
    return atomic_load(&door->page->groups) != 0;
}

/* The owner, one thread at a time; asleep is its own word, that door->asleep points to. Answers what to sleep on: look once more,
 * then FUTEX_WAIT(&page->count, answer). */
uint32_t door_arm(const struct door *, uint32_t *asleep);
void door_disarm(uint32_t *asleep);

/* Likewise, of what door->polled points to: whoever knocks from now on owes a byte. Look once more. */
void door_poll(uint64_t *polled);

#endif
