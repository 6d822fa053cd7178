/* SPDX-License-Identifier: MIT
 *
 * The event behind thirl_event. An automatic one is a token word of at most one (sync/token.h). Of the other kind the word has SET,
 * WAITERS and a number of settings.
 *
 *     waiter                                     setter                             resetter
 *     SET, or another number than at first? 0    not SET: number + 1, SET,          SET → 0 (cas)
 *     WAITERS (cas)                                WAITERS away (cas)
 *     FUTEX_WAIT(lower half), 50 ms at most      there were some? FUTEX_WAKE(all)
 *
 * Who was there when it was set passes by the number, also after a reset, and also if the setter dies before it wakes.
 */
#ifndef SYNC_BEACON_H
#define SYNC_BEACON_H

#include "base/layout.h"
#include "include/thirl/lock.h"
#include "sync/rest.h"

#define BEACON_WAITERS UINT64_C(1)
#define BEACON_SET UINT64_C(2)
#define BEACON_NUMBER UINT64_C(4)

struct beacon {
    uint64_t word;
    uint64_t tag; /* names it in all processes; 0: this is no event */
    uint32_t flags, zero;
    uint64_t zeros[5];
};
LAYOUT(beacon, 64, zeros, 24);

/* For a call at that site; as thirl_event_wait. */
int beacon_wait(struct beacon *, int64_t until, const void *site);

#endif
