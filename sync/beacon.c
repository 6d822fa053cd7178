/* SPDX-License-Identifier: MIT
 *
 * The event. Nobody holds it, so nothing has to come back: what is set stands in one word.
 */
#include "sync/beacon.h"

#include <errno.h>

#include "base/err.h"
#include "sync/token.h"

_Static_assert(sizeof(struct beacon) == sizeof(thirl_event), "the public struct is it");

static struct beacon *inside(thirl_event *event) {
    return (struct beacon *)(void *)event;
}

static bool is_one(const struct beacon *e) {
    return e != NULL && rest_is(&e->tag, SLIP_EVENT);
}

static int refuse(void) {
    return err_say(EINVAL, "that is no event: thirl_event_init makes one");
}

static bool is_automatic(const struct beacon *e) {
    return (atomic_peek(&e->flags) & THIRL_LOCK_AUTOMATIC) != 0;
}

int thirl_event_init(thirl_event *event, uint32_t flags) {
    if (event == NULL || (flags & ~(uint32_t)THIRL_LOCK_AUTOMATIC) != 0) {
        return err_say(EINVAL, "an event has the flag AUTOMATIC, not %#x", flags);
    }
    struct beacon *e = inside(event);
    *e = (struct beacon){.flags = flags};
    atomic_store(&e->tag, party_tag(SLIP_EVENT));
    return 0;
}

int thirl_event_deinit(thirl_event *event) {
    struct beacon *e = inside(event);
    if (!is_one(e)) {
        return refuse();
    }
    *e = (struct beacon){.tag = 0};
    return 0;
}

static void set(struct beacon *e) {
    uint64_t seen = atomic_load(&e->word);
    weave("beacon.set.before");
    do {
        if ((seen & BEACON_SET) != 0) {
            return;
        }
    } while (!atomic_cas(&e->word, &seen,
                         ((seen + BEACON_NUMBER) | BEACON_SET) & ~BEACON_WAITERS)); /* pairs with wait_for */
    weave("beacon.set.between");
    if ((seen & BEACON_WAITERS) != 0) {
        (void)futex_wake(rest_half(&e->word), INT32_MAX);
    }
    weave("beacon.set.after");
}

int thirl_event_set(thirl_event *event) {
    struct beacon *e = inside(event);
    if (!is_one(e)) {
        return refuse();
    }
    if (is_automatic(e)) {
        (void)token_post(&e->word, 1); /* set twice is set */
    } else {
        set(e);
    }
    return 0;
}

int thirl_event_reset(thirl_event *event) {
    struct beacon *e = inside(event);
    if (!is_one(e)) {
        return refuse();
    }
    if (is_automatic(e)) {
        token_clear(&e->word);
    } else {
        weave("beacon.reset.before");
        (void)atomic_and(&e->word, ~BEACON_SET);
        weave("beacon.reset.after");
    }
    return 0;
}

static bool passes(uint64_t seen, uint64_t first) {
    return (seen & BEACON_SET) != 0 || seen / BEACON_NUMBER != first / BEACON_NUMBER;
}

static int wait_for(struct beacon *e, int64_t until) {
    uint64_t first = atomic_load(&e->word), seen = first; /* pairs with set */
    while (!passes(seen, first)) {
        if ((seen & BEACON_WAITERS) == 0) {
            weave("beacon.wait.before");
            if (!atomic_cas(&e->word, &seen, seen | BEACON_WAITERS)) {
                continue;
            }
            seen |= BEACON_WAITERS;
        }
        int64_t now = clock_now();
        if (now >= until) {
            return -ETIMEDOUT;
        }
        weave("beacon.wait.asleep");
        (void)rest_slice(&e->word, seen, now, until);
        weave("beacon.wait.awake");
        seen = atomic_load(&e->word); /* pairs with set */
    }
    return 0;
}

static int look(struct beacon *e) {
    bool set = is_automatic(e) ? token_take(&e->word, 0) == 0 : (atomic_load(&e->word) & BEACON_SET) != 0;
    return set ? 0 : -EAGAIN;
}

int beacon_wait(struct beacon *e, int64_t until, const void *site) {
    if (!is_one(e)) {
        return refuse();
    }
    int rc = look(e);
    if (rc == 0 || until == 0) {
        return rc == 0 ? 0 : err_say(EAGAIN, "the event is not set");
    }
    rc = party_join();
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    until = owner_until(until);
    rest_begin(me, e->tag, e, site);
    rc = is_automatic(e) ? token_take(&e->word, until) : wait_for(e, until);
    slip_waited(me->slip);
    return rc == 0 ? 0 : err_say(ETIMEDOUT, "nobody set the event before the deadline");
}

int thirl_event_wait(thirl_event *event, thirl_time until) {
    return beacon_wait(inside(event), until.ns, __builtin_return_address(0));
}
