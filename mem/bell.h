/* SPDX-License-Identifier: MIT
 *
 * How one process wakes another that sleeps on shared memory, each writing only its own: the sleeper shows in its page that
 * it sleeps, the ringer counts in its own page what the sleeper sleeps on. While nobody sleeps the ringer pays one load.
 *
 *     sleeper                              ringer
 *     seen = acquire rope.count            commits (data, cursor …)
 *     attention = asleep                   order: the compiler's, or a full fence while rope.fenced
 *     full fence where rope.fenced,        attention == 0? done
 *       else fence_heavy                   release rope.count += 1
 *     looks for data once more             FUTEX_WAKE(rope.count)
 *     FUTEX_WAIT(rope.count, seen)
 *
 * Who pays for the order between store and load is agreed in rope.fenced: a ringer that keeps finding sleepers fences
 * itself (it makes system calls anyway), one that does not makes the sleeper pay. It may begin to fence at any time; it stops
 * only with a heavy fence between saying so and doing so. Without membarrier it fences for ever.
 */
#ifndef MEM_BELL_H
#define MEM_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"
#include "mem/door.h"

/* attention: how many threads sleep, and who else wants to know. */
#define BELL_SLEEPERS UINT32_C(0x0000ffff)
#define BELL_POLLED UINT32_C(0x00010000) /* a descriptor wants a byte */
#define BELL_GONE UINT32_C(0x00020000)   /* the owner of this page has left the channel */
#define BELL_ROUND UINT32_C(0x00040000)  /* from here up: counts the times that POLLED was set */

struct bell_sleeper { /* in the sleeper's own memory, on a cache line of its own */
    uint32_t attention;
    uint32_t arms; /* how often a thread has shown that it sleeps, ever */
    uint64_t want; /* do not ring before this position is reached */
};
LAYOUT(bell_sleeper, 16, want, 8);

struct bell_rope { /* in the ringer's own memory, likewise */
    uint32_t count;
    uint32_t fenced;
    int64_t at;     /* CLOCK_MONOTONIC of the last ring, ns */
    uint32_t round; /* of POLLED: the last that was answered */
    uint32_t pad;
};
LAYOUT(bell_rope, 24, pad, 20);

/* The ringer's side, private. */
struct bell {
    struct bell_rope *rope;
    const struct bell_sleeper *sleeper; /* NULL: nobody */
    const uint32_t *eye; /* what a commit looks at: its attention, or, while this side fences, what is never 0 */
    bool fenced, always;
    uint32_t calm;     /* commits since somebody slept */
    uint32_t answered; /* of the sleeper's arms: those that need no ring any more */
    int fifo;          /* the sleeper's descriptor, -1 while not open */
    struct door *door; /* the sleeper sleeps behind it, with others' ropes in view, too; NULL: on the rope */
    uint32_t seat;     /* its name for this rope there */
    uint64_t *wakes;   /* counts system calls that woke */
};

/* Makes the rope ring for that sleeper. heavy: both sides have the heavy fence. */
void bell_begin(struct bell *, struct bell_rope *, const struct bell_sleeper *, bool heavy, uint64_t *wakes);
void bell_end(struct bell *);

/* After bell_begin: the sleeper sleeps behind that door, and is to hear which of its seats this rope is. */
void bell_through(struct bell *, struct door *, uint32_t seat);

/* The ringer's slow half: somebody sleeps or wants to know. position: what the sleeper's want is compared with. true: POLLED
 * wants a byte and fifo is not open. */
bool bell_ring(struct bell *, uint64_t position);
void bell_write(struct bell *); /* puts the byte into fifo */

/* Ringer, after each commit: false: somebody may want to know. */
static inline bool bell_is_quiet(const struct bell *bell) {
    atomic_order(); /* with fence_heavy in bell_arm */
    return likely((atomic_peek(bell->eye) & (BELL_ROUND - 1)) == 0);
}

/* Then: attention without its rounds, and if that is not 0, bell_ring is due. */
uint32_t bell_look(struct bell *);
static inline uint32_t bell_tell(struct bell *bell) {
    return bell_is_quiet(bell) ? 0 : bell_look(bell);
}

/* The sleeper's side is called by one thread at a time, under the gate of its way: it writes with plain stores.
 *
 * Sleeper: shows that one more thread sleeps, waiting for that position (0: any change). Answers what to sleep on: look for
 * data once more, then FUTEX_WAIT(&rope->count, answer). */
uint32_t bell_arm(struct bell_sleeper *, const struct bell_rope *, uint64_t want, bool heavy);
void bell_disarm(struct bell_sleeper *);

/* Clocks cost a tenth of a short sleep, so one sleep in eight is timed: does the ringer note when it rings for this one? */
#define BELL_TIMED 8
static inline bool bell_timed(const struct bell_sleeper *sleeper) {
    return atomic_peek(&sleeper->arms) % BELL_TIMED == 0;
}

/* Sleeper: the same while there is no rope yet; bell_disarm ends it. */
void bell_show(struct bell_sleeper *);

/* Sleeper, after it has read what was in the descriptor: it wants one byte when there is something. */
void bell_poll(struct bell_sleeper *, const struct bell_rope *, bool heavy);

/* Sleeper: this page's owner leaves. */
void bell_gone(struct bell_sleeper *);

#endif
