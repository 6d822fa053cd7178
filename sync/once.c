/* SPDX-License-Identifier: MIT
 *
 * What is to be done once.
 */
#include "sync/once.h"

#include <errno.h>

#include "base/err.h"
#include "sync/rank.h"

_Static_assert(sizeof(struct once) == sizeof(thirl_once), "the public struct is it");

static struct once *inside(thirl_once *once) {
    return (struct once *)(void *)once;
}

static bool is_mine(const struct once *o, const struct party *me) {
    return atomic_peek(&o->thread) == me->number && owner_is(&o->word, me);
}

/* The first one that comes gives it its name. */
static int join(struct once *o) {
    uint64_t none = 0;
    int rc = party_join();
    if (rc == 0 && atomic_load(&o->tag) == 0) { /* pairs with the swap, of whoever was first */
        weave("once.begin.unnamed");
        (void)atomic_cas(&o->tag, &none, party_tag(SLIP_ONCE));
    }
    return rc != 0 || rest_is(&o->tag, SLIP_ONCE)
               ? rc
               : err_say(EINVAL, "that is no once: memory of zeros is one, and this is something else");
}

static int own(struct once *o, const struct party *me, int64_t until, const void *site) {
    int rc = until == 0 ? owner_take(&o->word, NULL, me, 0) : owner_spin(&o->word, me);
    if (rc == -EAGAIN && until != 0) {
        rest_begin(me, atomic_peek(&o->tag), o, site);
        rc = owner_take(&o->word, NULL, me, until);
        slip_waited(me->slip);
    }
    return rc;
}

int once_begin(struct once *o, int64_t until, const void *site) {
    if (o == NULL) {
        return err_say(EINVAL, "there is no once at NULL");
    }
    if (likely(atomic_load(&o->word) == ONCE_DONE)) { /* pairs with the store in owner_condemn */
        return 0;
    }
    int rc = join(o);
    if (rc != 0) {
        return rc;
    }
    const struct party *me = party_me();
    if (is_mine(o, me)) {
        return err_say(EDEADLK, "this thread is doing already what is to be done once");
    }
    if (slip_hold(me->slip, atomic_peek(&o->tag), o, site) != 0 && until != 0) {
        rank_note(me);
    }
    weave("once.begin.listed");
    rc = own(o, me, owner_until(until), site);
    if (rc >= 0) {
        weave("once.begin.taken");
        atomic_poke(&o->thread, me->number);
        return rc == 0 ? THIRL_ONCE_YOURS : rc;
    }
    slip_drop(me->slip, atomic_peek(&o->tag));
    return rc == -ENOTRECOVERABLE ? 0
           : rc == -EAGAIN
               ? err_say(EAGAIN, "somebody else is doing what is to be done once")
               : err_say(ETIMEDOUT, "whoever does what is to be done once was not done before the deadline");
}

int thirl_once_begin(thirl_once *once, thirl_time until) {
    return once_begin(inside(once), until.ns, __builtin_return_address(0));
}

int thirl_once_end(thirl_once *once, int done) {
    struct once *o = inside(once);
    const struct party *me = party_me();
    if (me == NULL || o == NULL || !is_mine(o, me)) {
        return err_say(EPERM, "what is to be done once is not this thread's to do: thirl_once_begin did not say so");
    }
    atomic_poke(&o->thread, 0u);
    weave("once.end.before");
    if (done != 0) {
        owner_condemn(&o->word);
    } else {
        owner_give(&o->word, me);
    }
    weave("once.end.after");
    slip_drop(me->slip, atomic_peek(&o->tag));
    return 0;
}
