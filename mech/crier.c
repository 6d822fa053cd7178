/* SPDX-License-Identifier: MIT
 *
 * One to all, see crier.h.
 */
#include "mech/crier.h"

#include "base/err.h"
#include "base/weave.h"
#include "mech/tell.h"

static bool waits(const struct crier *f) {
    return f->behind != 0 && (f->full == THIRL_FULL_BLOCK || f->full == THIRL_FULL_FAIL);
}

static void lose(struct crier *f, struct spoke *s, uint64_t count) {
    struct node_count *out = &f->hub.chain.seen->out;
    s->lost += count;
    atomic_poke(&out->lost, out->lost + count);
}

/* To one who has had all before. 0: it has this one, or cannot have it; -EAGAIN: no room; -ECONNRESET: it is gone. */
static int offer(struct crier *f, struct spoke *s, const void *data, size_t size) {
    int rc = 0;
    if (unlikely(s->lost != 0)) {
        rc = tell_send(s->link, FRAME_LOST, s->lost);
        s->lost = rc == 0 ? 0 : s->lost;
        weave("crier.tell.after");
    }
    rc = rc == 0 ? hub_give(s, data, size) : rc;
    if (likely(rc == 0) || rc == -EAGAIN) {
        return rc;
    }
    if (hub_is_gone(s)) {
        return -ECONNRESET;
    }
    lose(f, s, 1); /* larger than it takes, or no memory for it */
    return 0;
}

/* From the ring, as far as there is room; false: it is gone. */
static bool catch_up(struct crier *f, struct spoke *s) {
    int rc = 0;
    while (rc == 0 && s->next < f->next) {
        uint64_t first = f->past.first < f->past.next ? f->past.first : f->next;
        first = f->full == THIRL_FULL_LATEST && f->history == 0 && first < f->next ? f->next - 1 : first;
        if (s->next < first) {
            lose(f, s, first - s->next);
            s->next = first;
            continue;
        }
        size_t size;
        const void *data = past_get(&f->past, s->next, &size);
        rc = offer(f, s, data, size);
        s->next += rc == 0;
    }
    return rc != -ECONNRESET && (hub_push(s) || !hub_is_gone(s));
}

/* What nobody is behind with, and nobody who comes late shall have, goes from the ring. */
static void forget(struct crier *f) {
    uint64_t least = f->next > f->history ? f->next - f->history : 0;
    for (unsigned i = 0; i < f->hub.count && f->behind != 0; i++) {
        least = f->hub.all[i]->next < least ? f->hub.all[i]->next : least;
    }
    past_trim(&f->past, least);
}

static void catch_all_up(struct crier *f) {
    struct hub *h = &f->hub;
    unsigned behind = 0;
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        if (s->next < f->next && !catch_up(f, s)) {
            hub_drop(h, s);
            continue;
        }
        behind += s->next < f->next;
        hub_want(h, s, s->wanted && s->next < f->next);
    }
    f->behind = behind;
    forget(f);
}

/* There was no room for this one. true: the ring is to keep it. */
static bool is_full(struct crier *f, struct spoke *s) {
    switch (f->full) {
    case THIRL_FULL_DISCONNECT:
        s->link->cuts = true;
        hub_drop(&f->hub, s);
        return false;
    case THIRL_FULL_USUAL:
    case THIRL_FULL_DROP_NEWEST:
        lose(f, s, 1);
        s->next++;
        return false;
    default:
        return true;
    }
}

/* To everybody. true: the ring is to keep it for somebody. */
static bool spread(struct crier *f, const void *data, size_t size) {
    struct hub *h = &f->hub;
    bool keep = f->history != 0;
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        int rc = likely(s->next == f->next) ? offer(f, s, data, size) : -EALREADY;
        if (likely(rc == 0)) {
            s->next++;
        } else if (rc == -ECONNRESET) {
            hub_drop(h, s);
        } else if (rc == -EALREADY || is_full(f, s)) {
            keep = true;
            f->behind += rc != -EALREADY;
        }
    }
    return keep;
}

/* Who is behind catches up, or with ?full=block and fail all wait for it: -EAGAIN. */
static int let_catch_up(struct crier *f) {
    catch_all_up(f);
    const struct spoke *slow = NULL;
    for (unsigned i = 0; i < f->hub.count && !slow && waits(f); i++) {
        slow = f->hub.all[i]->next < f->next ? f->hub.all[i] : NULL;
    }
    hub_blame(&f->hub, slow);
    return slow ? -EAGAIN : 0;
}

/* To everybody, or into the ring. */
static void say(struct crier *f, const void *data, size_t size) {
    weave("crier.send.before");
    bool keep = spread(f, data, size);
    if (unlikely(keep)) {
        (void)past_put(&f->past, f->next, data, size); /* without memory who is behind loses it, and will be told */
    }
    f->next++;
    weave("crier.send.after");
    if (unlikely(keep)) {
        forget(f);
    }
}

/* *done: it is said, and somebody is behind with it: it is waited for, so that a message does not lie here when nobody calls. */
HOT int crier_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct crier *f = self;
    (void)wait;
    hub_lock(&f->hub);
    int rc = hub_look(&f->hub);
    if (rc == 0 && unlikely(size > f->hub.chain.send_max)) {
        rc = err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %zu that ?max= allows",
                     f->hub.chain.meet.address, size, f->hub.chain.send_max);
    }
    rc = rc == 0 && unlikely(f->behind != 0) ? let_catch_up(f) : rc;
    if (likely(rc == 0 && *done == 0)) {
        say(f, data, size);
        *done = size != 0 ? size : 1;
        rc = waits(f) && f->full == THIRL_FULL_BLOCK ? -EAGAIN : 0;
    } else if (*done != 0 && rc != -EAGAIN) {
        rc = 0; /* whatever happens to this end, it has been said */
    }
    hub_light(&f->hub, !waits(f));
    hub_unlock(&f->hub);
    return rc;
}

int crier_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return 0; /* the ring has it */
}

int crier_flush(void *self, uint64_t *left) {
    struct crier *f = self;
    struct hub *h = &f->hub;
    *left = 0;
    hub_lock(h);
    h->looked = 0;
    (void)hub_look(h);
    catch_all_up(f);
    for (unsigned i = 0; i < h->count; i++) {
        *left += f->next - h->all[i]->next;
        hub_want(h, h->all[i], h->all[i]->next < f->next);
    }
    *left += *left == 0 ? hub_flush(h) : 0;
    hub_unlock(h);
    return *left == 0 ? 0 : -EAGAIN;
}

bool crier_ready(void *self, enum mech_way way) {
    struct crier *f = self;
    (void)way;
    hub_lock(&f->hub);
    f->hub.looked = 0;
    int rc = hub_look(&f->hub);
    if (f->behind != 0) {
        catch_all_up(f);
    }
    bool ready = rc == 0 ? !waits(f) : rc != -EAGAIN;
    hub_light(&f->hub, ready);
    hub_unlock(&f->hub);
    return ready;
}

int crier_look(void *self, enum mech_way way) {
    struct crier *f = self;
    (void)way;
    hub_lock(&f->hub);
    f->hub.looked = 0;
    int rc = hub_look(&f->hub);
    if (f->behind != 0) {
        catch_all_up(f);
    }
    hub_unlock(&f->hub);
    return rc == 0 ? -EAGAIN : rc;
}

int crier_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct crier *f = self;
    struct hub *h = &f->hub;
    (void)way;
    hub_lock(h);
    for (unsigned i = 0; i < h->count && f->behind != 0; i++) {
        hub_want(h, h->all[i], h->all[i]->next < f->next);
    }
    int rc = hub_arm(h, watch);
    hub_unlock(h);
    return rc;
}

int crier_fd(void *self, enum mech_way way, int *fd) {
    struct crier *f = self;
    (void)way;
    hub_lock(&f->hub);
    int rc = hub_fd(&f->hub, fd);
    if (rc == 0) {
        if (f->behind != 0) {
            catch_all_up(f);
        }
        hub_light(&f->hub, !waits(f));
    }
    hub_unlock(&f->hub);
    return rc;
}

/* Who comes late gets what is kept first. */
static void joined(struct hub *h, struct spoke *s) {
    struct crier *f = (struct crier *)h;
    uint64_t kept = f->past.next == f->next ? f->next - f->past.first : 0;
    kept = kept < f->history ? kept : f->history;
    s->next = f->next - kept;
    f->behind += kept != 0;
    (void)(s->next != 0 ? tell_send(s->link, FRAME_FIRST, s->next) : 0); /* nothing is in its way yet */
}

static void left(struct hub *h, struct spoke *s) {
    struct crier *f = (struct crier *)h;
    f->behind -= s->next < f->next && f->behind != 0;
}

static const struct hub_kind pattern = {.joined = joined, .left = left};

int crier_open(struct crier *f, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    f->full = (enum thirl_full)open->options.full;
    f->history = open->options.history;
    f->past.room = (size_t)open->options.queue;
    return hub_open(&f->hub, open, kind, place, &pattern);
}

void crier_close(void *self) {
    struct crier *f = self;
    hub_close(&f->hub);
    past_free(&f->past);
}

void crier_limits(void *self, struct thirl_limits *limits) {
    struct crier *f = self;
    hub_limits(self, limits);
    limits->full = f->full == THIRL_FULL_USUAL ? THIRL_FULL_DROP_NEWEST : f->full;
    limits->reliable = f->full == THIRL_FULL_BLOCK || f->full == THIRL_FULL_FAIL;
}

void crier_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->receivers = 0;
    limits->reliable = 0;
    limits->full = THIRL_FULL_DROP_NEWEST;
}
