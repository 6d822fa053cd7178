/* SPDX-License-Identifier: MIT
 *
 * Events that are counted, not queued: a table of words in a file of the channel, which any number of processes change by atomic
 * operations. A word is an event and how often it was told since it was taken, or 0. Both are in one word, so that each change
 * is one operation: whoever is killed leaves the table as it was before or as it is after, and nothing is to be repaired.
 *
 *     notifier                                     watcher
 *     finds the event's word, or an empty one      finds a word that is not 0
 *     cas: (event, n) -> (event, n + 1)            tells the event and n
 *     fence ── wants == 0? done                    cas: (event, n) -> 0, again with the new n where it has grown
 *     given += 1 ── FUTEX_WAKE ── FIFO
 *     cas: wants as it was seen -> 0               to sleep: seen = given ── wants = round + 1, who ── fence
 *                                                  looks at all words once more ── FUTEX_WAIT(given, seen)
 *
 * A wish is struck out after it was granted, and only if nobody has wished since: a notifier that is killed in between
 * leaves it standing, and the next one grants it again. An event may stand in two words, when one before it was emptied meanwhile; then it is told twice,
 * with the right sum.
 */
#ifndef MEM_TALLY_H
#define MEM_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"

#define TALLY_VERSION 1

#define TALLY_SLEEPS 1u /* somebody sleeps on given */
#define TALLY_POLLS 2u  /* somebody's descriptor wants a byte */
#define TALLY_ROUND 4u  /* from here up: counts the wishes */

struct tally_wish { /* shared: changed by atomic operations only */
    LINE_ALIGNED uint32_t given;
    uint32_t wants;
};

struct tally_head {
    char magic[8];
    uint32_t version, slots;
    struct tally_wish came, room; /* of who watches, and of those who found the table full */
};
LAYOUT(tally_head, 192, room, 128);

struct tally {
    struct tally_head *head; /* NULL: none */
    uint64_t *word;
    uint32_t slots; /* a power of two */
    uint32_t at;    /* where the watcher looks next */
    size_t size;
};

/* Maps the table of the channel with that open directory, and makes it if it is not there; the channel's lock is held. bytes: of words,
 * when it is made. 0, or an error that says what to do. */
int tally_open(struct tally *, int dir, uint64_t bytes, unsigned mode, const char *what);
void tally_close(struct tally *);

/* Counts the event, below 2^31, once more. -EAGAIN: all words have other events. */
int tally_add(struct tally *, uint32_t event);

/* The next event that is there, and how often it was told; it stays. false: there is none. For one thread at a time. */
bool tally_see(struct tally *, uint32_t *event, uint32_t *count);

/* Takes what tally_see has shown; *count gets how often by now. */
void tally_take(struct tally *, uint32_t *count);

bool tally_any(const struct tally *);
bool tally_has_room(const struct tally *);

/* Wishes to be told: look once more after this, then sleep while given is the answer. who: TALLY_SLEEPS or TALLY_POLLS. */
uint32_t tally_wish(struct tally_wish *, uint32_t who);

/* After whatever may be wished for. Wakes who sleeps, and answers what is left to do for the caller: 0, or a wish with TALLY_POLLS, which
 * tally_grant strikes out when that is done. */
uint32_t tally_wake(struct tally_wish *);
static inline uint32_t tally_ring(struct tally_wish *wish) {
    atomic_fence(); /* pairs with the one in tally_wish */
    return unlikely((atomic_peek(&wish->wants) & (TALLY_SLEEPS | TALLY_POLLS)) != 0) ? tally_wake(wish) : 0;
}
void tally_grant(struct tally_wish *, uint32_t wants);

#endif
