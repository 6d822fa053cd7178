/* SPDX-License-Identifier: MIT
 *
 * The barrier. What is read from it is bounded: whoever shares the memory may have written anything there.
 */
#define _GNU_SOURCE
#include "sync/barrier.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"

_Static_assert(sizeof(struct barrier) == sizeof(thirl_barrier), "the public struct is it");

#define COMES (~PARTY_ID)

static struct barrier *inside(thirl_barrier *barrier) {
    return (struct barrier *)(void *)barrier;
}

static bool is_one(const struct barrier *b) {
    return b != NULL && rest_is(&b->tag, SLIP_BARRIER);
}

static int refuse(void) {
    return err_say(EINVAL, "that is no barrier: thirl_barrier_init makes one");
}

static uint32_t places_of(const struct barrier *b) {
    uint32_t places = atomic_peek(&b->places);
    return places < THIRL_BARRIER_PLACES_MAX ? places : THIRL_BARRIER_PLACES_MAX;
}

static uint64_t generation_of(uint64_t word) {
    return word / BARRIER_GENERATION;
}

/* The number of changes stays in its half. */
static uint64_t changed(uint64_t word) {
    return (word & ~(uint64_t)UINT32_MAX) | (uint32_t)(word + BARRIER_CHANGE);
}

/* What the last bits of a place are: its holder has come, or has not. */
static uint64_t come(uint64_t generation) {
    return (generation + 1) & COMES;
}

static uint64_t not_come(uint64_t generation) {
    return generation & COMES;
}

int thirl_barrier_init(thirl_barrier *barrier, uint32_t places) {
    if (barrier == NULL || places == 0 || places > THIRL_BARRIER_PLACES_MAX) {
        return err_say(EINVAL, "a barrier has 1 to %d places, not %u", THIRL_BARRIER_PLACES_MAX, places);
    }
    struct barrier *b = inside(barrier);
    *b = (struct barrier){.places = places};
    atomic_store(&b->tag, party_tag(SLIP_BARRIER));
    return 0;
}

int thirl_barrier_deinit(thirl_barrier *barrier) {
    struct barrier *b = inside(barrier);
    if (!is_one(b)) {
        return refuse();
    }
    int rc = party_join();
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < places_of(b); i++) {
        uint64_t holder = atomic_load(&b->place[i].holder) & PARTY_ID;
        if (holder != 0 && party_alive(holder)) {
            return err_say(EBUSY, "a process that is alive has a place at the barrier");
        }
    }
    *b = (struct barrier){.tag = 0};
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

enum muster { NOBODY, MISSING, COMPLETE };

/* Who is there, as the word was seen before. */
static enum muster muster(const struct barrier *b, uint64_t seen) {
    uint32_t places = places_of(b), taken = 0;
    for (uint32_t i = 0; i < places; i++) {
        uint64_t holder = atomic_load(&b->place[i].holder); /* pairs with the swap of whoever has come */
        taken += holder != 0;
        if (holder != 0 && (holder & COMES) != come(generation_of(seen))) {
            return MISSING;
        }
    }
    return taken == 0 ? NOBODY : (seen & BARRIER_BEGUN) != 0 || taken == places ? COMPLETE : MISSING;
}

/* Opens it, if it is as it was seen. */
static bool opens(struct barrier *b, uint64_t *seen) {
    uint64_t next = (changed(*seen) & ~(BARRIER_WAITERS | BARRIER_DIED | BARRIER_TOLD)) + BARRIER_GENERATION;
    next |= BARRIER_BEGUN | ((*seen & BARRIER_DIED) != 0 ? BARRIER_TOLD : 0);
    weave("barrier.open.before");
    if (!atomic_cas(&b->word, seen, next)) { /* pairs with the loads in await */
        return false;
    }
    weave("barrier.open.between");
    if ((*seen & BARRIER_WAITERS) != 0) {
        (void)futex_wake(rest_half(&b->word), INT32_MAX);
    }
    *seen = next;
    weave("barrier.open.after");
    return true;
}

/* Says that something else is to be looked at than before, and with it these flags. */
static uint64_t change(struct barrier *b, uint64_t flags) {
    uint64_t seen = atomic_load(&b->word), next;
    do {
        next = changed(seen) | flags;
    } while (!atomic_cas(&b->word, &seen, next));
    return next;
}

/* ---- the dead ---------------------------------------------------------------------------------------------------- */

/* Says it before the place is free, for all who pass next. Not again, if somebody else has freed it since: the word would be another. */
static void bury(struct barrier *b, struct barrier_place *place, uint64_t holder) {
    uint64_t seen = atomic_load(&b->word);
    int32_t pid = atomic_peek(&place->pid);
    weave("barrier.bury.before");
    do {
        if (atomic_load(&place->holder) != holder) {
            return;
        }
    } while (!atomic_cas(&b->word, &seen, changed(seen) | BARRIER_DIED));
    if (pid != 0) {
        atomic_poke(&b->gone, pid);
    }
    atomic_poke(&place->pid, 0);
    weave("barrier.bury.told");
    (void)atomic_cas(&place->holder, &holder, UINT64_C(0));
    weave("barrier.bury.after");
}

static void bury_the_dead(struct barrier *b) {
    for (uint32_t i = 0; i < places_of(b); i++) {
        uint64_t holder = atomic_load(&b->place[i].holder);
        if ((holder & PARTY_ID) != 0 && !party_alive(holder & PARTY_ID)) {
            bury(b, &b->place[i], holder);
        }
    }
}

/* Somebody has gone: for those who are left it may be complete now; where nobody is, it begins anew. */
static void settle(struct barrier *b) {
    uint64_t seen = atomic_load(&b->word);
    for (bool done = false; !done;) {
        switch (muster(b, seen)) {
        case COMPLETE:
            done = opens(b, &seen);
            break;
        case NOBODY:
            weave("barrier.settle.before");
            done = atomic_cas(&b->word, &seen, changed(seen) & ~(BARRIER_BEGUN | BARRIER_DIED));
            break;
        default:
            done = true;
        }
    }
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

static struct barrier_place *mine(struct barrier *b, const struct party *me) {
    for (uint32_t i = 0; i < places_of(b); i++) {
        struct barrier_place *place = &b->place[i];
        if ((atomic_peek(&place->holder) & PARTY_ID) == me->id && atomic_peek(&place->thread) == me->number) {
            return place;
        }
    }
    return NULL;
}

static int take_place(struct barrier *b, const struct party *me) {
    uint64_t generation = generation_of(atomic_load(&b->word));
    for (uint32_t i = 0; i < places_of(b); i++) {
        struct barrier_place *place = &b->place[i];
        uint64_t nobody = 0;
        if (atomic_load(&place->holder) != 0) {
            continue;
        }
        weave("barrier.join.before");
        if (!atomic_cas(&place->holder, &nobody, me->id | not_come(generation))) {
            continue;
        }
        atomic_poke(&place->thread, me->number);
        atomic_poke(&place->pid, (int32_t)getpid());
        weave("barrier.join.between");
        (void)change(b, 0); /* who was about to open it looks again */
        weave("barrier.join.after");
        return 0;
    }
    return err_say(EBUSY, "all %u places at the barrier are taken by processes that are alive", places_of(b));
}

int barrier_join(struct barrier *b, const void *site) {
    int rc = is_one(b) ? party_join() : refuse();
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    if (mine(b, me) != NULL) {
        return err_say(EALREADY, "this thread has a place at the barrier");
    }
    bury_the_dead(b);
    settle(b);
    slip_hold(me->slip, b->tag, b, site);
    rc = take_place(b, me);
    if (rc != 0) {
        slip_drop(me->slip, b->tag);
    }
    return rc;
}

int thirl_barrier_join(thirl_barrier *barrier) {
    return barrier_join(inside(barrier), __builtin_return_address(0));
}

static int no_place(void) {
    return err_say(EPERM, "this thread has no place at the barrier: thirl_barrier_join takes one");
}

int thirl_barrier_leave(thirl_barrier *barrier) {
    struct barrier *b = inside(barrier);
    if (!is_one(b)) {
        return refuse();
    }
    const struct party *me = party_me();
    struct barrier_place *place = me == NULL ? NULL : mine(b, me);
    if (place == NULL) {
        return no_place();
    }
    atomic_poke(&place->thread, 0u);
    atomic_poke(&place->pid, 0);
    weave("barrier.leave.before");
    atomic_store(&place->holder, UINT64_C(0)); /* nobody else changes the place of one who lives */
    weave("barrier.leave.between");
    settle(b);
    slip_drop(me->slip, b->tag);
    weave("barrier.leave.after");
    return 0;
}

/* ---- coming ------------------------------------------------------------------------------------------------------ */

/* Its time is up: it has not come. false: it has opened meanwhile, and seen is how. */
static bool takes_back(struct barrier *b, struct barrier_place *place, const struct party *me, uint64_t generation,
                       uint64_t *seen) {
    weave("barrier.back.before");
    atomic_store(&place->holder, me->id | not_come(generation));
    weave("barrier.back.between");
    *seen = atomic_load(&b->word);
    while (generation_of(*seen) == generation) {
        if (atomic_cas(&b->word, seen, changed(*seen))) { /* who was about to open it looks again */
            return true;
        }
    }
    return false;
}

/* 0 when it has opened; seen is the word then. Has come already. */
static int await(struct barrier *b, struct barrier_place *place, const struct party *me, uint64_t *seen,
                 int64_t until) {
    uint64_t generation = generation_of(*seen);
    for (bool late = until == 0;;) {
        *seen = atomic_load(&b->word); /* pairs with the swap in opens */
        if (generation_of(*seen) != generation) {
            return 0;
        }
        if (muster(b, *seen) == COMPLETE) {
            if (opens(b, seen)) return 0;
            continue;
        }
        if (late) {
            return takes_back(b, place, me, generation, seen) ? -ETIMEDOUT : 0;
        }
        if ((*seen & BARRIER_WAITERS) == 0) {
            weave("barrier.wait.before");
            if (!atomic_cas(&b->word, seen, *seen | BARRIER_WAITERS)) {
                continue;
            }
            *seen |= BARRIER_WAITERS;
        }
        int64_t now = clock_now();
        weave("barrier.wait.asleep");
        int slept = now >= until ? -ETIMEDOUT : rest_slice(&b->word, *seen, now, until);
        weave("barrier.wait.awake");
        if (slept == -ETIMEDOUT) {
            bury_the_dead(b);
            late = clock_now() >= until;
        }
    }
}

/* Who is missing, in a sentence. */
static int say_late(const struct barrier *b, int64_t until) {
    uint64_t generation = generation_of(atomic_peek(&b->word));
    uint32_t missing = 0, taken = 0, places = places_of(b);
    int32_t pid = 0;
    for (uint32_t i = 0; i < places; i++) {
        uint64_t holder = atomic_peek(&b->place[i].holder);
        taken += holder != 0;
        if (holder != 0 && (holder & COMES) != come(generation)) {
            missing++;
            int32_t its = atomic_peek(&b->place[i].pid);
            pid = its == 0 || its == (int32_t)getpid() ? pid : its;
        }
    }
    char who[40] = "";
    if (pid != 0) (void)snprintf(who, sizeof who, ", pid %d among them", (int)pid);
    return err_say(
        until == 0 ? EAGAIN : ETIMEDOUT,
        "not all have come to the barrier: %u of its %u places are taken, and %u of those who have one are not "
        "there%s",
        taken, places, missing, who);
}

static int say_died(const struct barrier *b) {
    int32_t pid = atomic_peek(&b->gone);
    char who[40] = "a process";
    if (pid != 0) (void)snprintf(who, sizeof who, "pid %d", (int)pid);
    (void)err_say(EOWNERDEAD,
                  "%s, which had a place at the barrier, has died since it opened before; its place is free", who);
    return THIRL_OWNER_DIED;
}

/* Not inlined: gcc 12 with -fsanitize=null asks whether the address of a thread's own variable is NULL by flags that the linker does not
 * keep. */
__attribute__((noinline)) static int come_and_wait(struct barrier *b, const struct party *me, uint32_t *generation,
                                                   int64_t until, const void *site) {
    struct barrier_place *place = mine(b, me);
    if (place == NULL) {
        return no_place();
    }
    uint64_t seen = atomic_load(&b->word);
    rest_begin(me, b->tag, b, site);
    weave("barrier.come.before");
    atomic_store(&place->holder, me->id | come(generation_of(seen)));
    weave("barrier.come.after");
    atomic_fence(); /* of two who come last one sees the other */
    if (until == 0) {
        bury_the_dead(b);
    }
    int rc = await(b, place, me, &seen, until);
    slip_waited(me->slip);
    if (rc != 0) {
        return say_late(b, until);
    }
    if (generation != NULL) {
        *generation = (uint32_t)generation_of(seen);
    }
    return (seen & BARRIER_TOLD) != 0 ? say_died(b) : 0;
}

int barrier_wait(struct barrier *b, uint32_t *generation, int64_t until, const void *site) {
    if (!is_one(b)) {
        return refuse();
    }
    const struct party *me = party_me();
    return me == NULL ? no_place() : come_and_wait(b, me, generation, owner_until(until), site);
}

int thirl_barrier_wait(thirl_barrier *barrier, uint32_t *generation, thirl_time until) {
    return barrier_wait(inside(barrier), generation, until.ns, __builtin_return_address(0));
}
