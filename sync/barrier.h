/* SPDX-License-Identifier: MIT
 *
 * The barrier behind thirl_barrier. Each member has a place: a word with its process in it, and in its last 16 bits the generation that it
 * comes for: come(g) stands for g + 1, so that all have to come anew when the generation changes, without anybody's clearing anything.
 *
 * The word of the barrier is the generation (upper half), and, in the half that is slept on, four flags and a number of changes. Whoever
 * opens it has seen the word first and then all places, and changes that very word: who takes a place, or takes back that he has
 * come, changes the number, and the places are looked at again.
 *
 *     member                                       whoever joins            whoever's time is up
 *     place g → come(g) (cas), fence               place 0 → g (cas)        place come(g) → g (cas)
 *     word seen; all places come(g)?               changes + 1 (cas)        still g? changes + 1 (cas)
 *       word seen → g + 1 (cas), FUTEX_WAKE(all)   looks which generation   no: it has opened
 *     WAITERS (cas)
 *     FUTEX_WAIT(lower half), 50 ms at most        whoever finds a dead one, after a slice
 *     once more: is it still g?                    DIED, changes + 1 (cas), if the place is still his
 *                                                  place → 0 (cas)
 *
 * DIED becomes TOLD when it opens; so all who pass read the same, for it cannot open again before they have come again. Whoever is killed
 * between those two finds somebody who says it once more.
 */
#ifndef SYNC_BARRIER_H
#define SYNC_BARRIER_H

#include "base/layout.h"
#include "include/thirl/lock.h"
#include "sync/rest.h"

#define BARRIER_WAITERS UINT64_C(1)
#define BARRIER_BEGUN UINT64_C(2) /* it has opened since somebody was there: free places are not waited for */
#define BARRIER_DIED UINT64_C(4)  /* since it has opened */
#define BARRIER_TOLD UINT64_C(8)  /* in the generation before */
#define BARRIER_CHANGE UINT64_C(16)
#define BARRIER_GENERATION (UINT64_C(1) << 32)

struct barrier_place {
    uint64_t holder; /* a process, and what it comes for; 0: free */
    uint32_t thread; /* of the holder */
    int32_t pid;     /* as it sees itself: for sentences; 0 unknown */
};

struct barrier {
    uint64_t word;
    uint64_t tag; /* names it in all processes; 0: this is no barrier */
    uint32_t places;
    int32_t gone; /* pid of the last that has died; 0 unknown */
    uint64_t zero[5];
    struct barrier_place place[THIRL_BARRIER_PLACES_MAX];
};
LAYOUT(barrier, 1024, place, 64);

/* For calls at that site; as the public ones. */
int barrier_join(struct barrier *, const void *site);
int barrier_wait(struct barrier *, uint32_t *generation, int64_t until, const void *site);

#endif
