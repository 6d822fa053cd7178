/* SPDX-License-Identifier: MIT
 *
 * What a room under tests/race/braid.h gets instead of shared memory, sleeping, time and death. To be included behind the headers that
 * define those, and before the room.
 */
#ifndef TESTS_RACE_BRAIDED_H
#define TESTS_RACE_BRAIDED_H

#include "base/atomic.h"
#include "base/clock.h"
#include "base/futex.h"
#include "base/weave.h"
#include "include/thirl/lock.h"
#include "sync/party.h"
#include "tests/race/braid.h"

#undef atomic_load
#undef atomic_store
#undef atomic_add
#undef atomic_or
#undef atomic_and
#undef atomic_cas
#undef weave
#define atomic_load(p) (braid_step(__LINE__), __atomic_load_n((p), __ATOMIC_SEQ_CST))
#define atomic_store(p, v) (braid_step(__LINE__), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))
#define atomic_add(p, v) (braid_step(__LINE__), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define atomic_or(p, v) (braid_step(__LINE__), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define atomic_and(p, v) (braid_step(__LINE__), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))
#define atomic_cas(p, expected, v)                                                                                     \
    (braid_step(__LINE__), __atomic_compare_exchange_n((p), (expected), (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
#define weave(text) ((void)0)
#define futex_wait(word, value, until) braid_wait((word), (value), (until))
#define futex_wake(word, count) braid_wake((word), (count))
#define clock_now() braid_now()
#define party_alive(id) braid_alive(id)
#define party_me() braid_me()
#define party_join() 0
#define party_tag(kind) ((uint64_t)(kind) | UINT64_C(1) << 63)

#endif
