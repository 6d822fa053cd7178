/* SPDX-License-Identifier: MIT
 *
 * A server of many connections, see clerk.h.
 */
#include "mech/clerk.h"

#include <poll.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/pull.h"

#define FD_BITS                                                                                                        \
    24 /* of `whom`: the descriptor, by which the hub finds it; the rest is a number that never comes again */

/* ---- the line ---- */

static void stand(struct clerk *c, struct spoke *s, bool ahead) {
    if (s->stands) {
        return;
    }
    s->stands = true;
    s->behind = ahead ? c->first : NULL;
    if (ahead) {
        c->last = c->first == NULL ? &s->behind : c->last;
        c->first = s;
    } else {
        *c->last = s;
        c->last = &s->behind;
    }
}

static void step_out(struct clerk *c, struct spoke *s) {
    struct spoke **at = &c->first;
    while (s->stands && *at != s) {
        at = &(*at)->behind;
    }
    if (s->stands) {
        *at = s->behind;
        c->last = c->last == &s->behind ? at : c->last;
        s->stands = false;
    }
}

static void light(struct clerk *c) {
    hub_light(&c->hub, c->first != NULL);
}

/* ---- of the hub ---- */

static void joined(struct hub *h, struct spoke *s) {
    struct clerk *c = (struct clerk *)h;
    s->whom = ++c->serial << FD_BITS | (unsigned)s->link->fd;
}

static void left(struct hub *h, struct spoke *s) {
    struct clerk *c = (struct clerk *)h;
    step_out(c, s);
    c->blocked = c->blocked == s->whom ? 0 : c->blocked;
}

static void stirs(struct hub *h, struct spoke *s) {
    stand((struct clerk *)h, s, false);
}

static const struct hub_kind pattern = {.joined = joined, .left = left, .stirs = stirs, .lives = true};

static struct spoke *find(const struct clerk *c, uint64_t whom) {
    unsigned fd = (unsigned)(whom & ((UINT64_C(1) << FD_BITS) - 1));
    struct spoke *s = fd < c->hub.owners ? c->hub.owner[fd] : NULL;
    return s != NULL && s->whom == whom ? s : NULL;
}

/* ---- requests ---- */

/* The conversation is over, and has been heard out. */
static int say_gone(struct clerk *c, struct spoke *s, size_t *size, struct mech_note *note) {
    note->whom = s->whom;
    letter_gone(&c->letter, c->hub.chain.meet.address, s->link, link_code(s->link), note);
    hub_drop(&c->hub, s);
    *size = 0;
    return 0;
}

/* What a receive of that one has come to. */
static int judge(struct clerk *c, struct spoke *s, int rc, const void *buffer, size_t *size, struct mech_note *note) {
    if (rc == -EAGAIN || rc == -ENOMEM) {
        return rc;
    }
    if (unlikely(rc == -EMSGSIZE)) {
        stand(c, s, true); /* the same message again */
        return rc;
    }
    if (likely(rc == 0)) {
        weave("clerk.recv.after");
        rc = letter_open(&c->letter, buffer, size, note);
        if (likely(rc == 0)) {
            note->whom = s->whom;
            if (pull_ready(s->link)) {
                stand(c, s, false);
            }
            return 0;
        }
    }
    if (rc == -THIRL_EFORMAT) {
        struct node_count *in = &c->hub.chain.seen->in;
        atomic_poke(&in->refused, in->refused + 1);
        link_decide(s->link, LINK_BROKEN);
    }
    return say_gone(c, s, size, note);
}

/* From the first in line that has something. */
static int take(struct clerk *c, void *buffer, size_t capacity, size_t *size, struct mech_note *note) {
    int rc = -EAGAIN;
    while (rc == -EAGAIN && c->first != NULL) {
        struct spoke *s = c->first;
        step_out(c, s);
        rc = pull_recv(s->link, buffer, capacity, size, false);
        rc = judge(c, s, rc, buffer, size, note);
    }
    return rc;
}

/* There is one caller, and nothing of it is known to be there. Sleeping in the kernel needs no lock: nobody else lets go of it. */
static int take_from_one(struct clerk *c, void *buffer, size_t capacity, size_t *size, struct mech_note *note,
                         bool wait) {
    struct spoke *s = c->hub.all[0];
    struct link *l = s->link;
    hub_unlock(&c->hub);
    int rc = pull_recv(l, buffer, capacity, size, wait);
    hub_lock(&c->hub);
    return judge(c, s, rc, buffer, size, note);
}

int clerk_recv(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct clerk *c = self;
    struct hub *h = &c->hub;
    hub_lock(h);
    int rc = hub_look(h);
    if (likely(rc == 0)) {
        rc = take(c, buffer, capacity, size, note);
        if (likely(rc == -EAGAIN && h->count == 1)) {
            rc = take_from_one(c, buffer, capacity, size, note, wait);
        } else if (rc == -EAGAIN) {
            h->looked = 0;
            rc = hub_look(h);
            rc = rc == 0 ? take(c, buffer, capacity, size, note) : rc;
        }
    }
    light(c);
    hub_unlock(h);
    return rc;
}

/* ---- answers ---- */

static int say_over(const struct clerk *c, int code) {
    code = code == 0 ? -THIRL_ECLOSED : code;
    return err_say(-code, "%s: the client that this was for %s", c->hub.chain.meet.address,
                   code == -THIRL_EPEERDIED ? "died" : "is no more");
}

int clerk_send(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    struct clerk *c = self;
    (void)wait;
    hub_lock(&c->hub);
    struct spoke *s = find(c, note->whom);
    int rc = s == NULL ? say_over(c, 0)
             : link_code(s->link) != 0
                 ? say_over(c, link_code(s->link))
                 : letter_send(&c->letter, s->link, c->hub.chain.meet.address, data, size, done, note);
    if (unlikely(rc == -EAGAIN)) {
        c->blocked = note->whom;
    } else if (unlikely(rc != 0 && s != NULL && link_code(s->link) != 0)) {
        rc = say_over(c, link_code(s->link));
        stand(c, s, false); /* the way IN says how it ended */
    }
    hub_unlock(&c->hub);
    return rc;
}

/* What is kept leaves when there is room for it: the way IN sees to that, too. */
int clerk_settle(void *self, const void *data, size_t size, size_t done) {
    struct clerk *c = self;
    (void)data;
    (void)size;
    (void)done;
    hub_lock(&c->hub);
    for (unsigned i = 0; i < c->hub.count; i++) {
        struct spoke *s = c->hub.all[i];
        hub_want(&c->hub, s, frame_box_held(&s->link->tail) != 0);
    }
    hub_unlock(&c->hub);
    return 0;
}

int clerk_flush(void *self, uint64_t *left) {
    struct clerk *c = self;
    uint64_t some;
    *left = 0;
    hub_lock(&c->hub);
    for (unsigned i = 0; i < c->hub.count; i++) {
        struct spoke *s = c->hub.all[i];
        if (link_code(s->link) == 0 && link_flush(s->link, &some) == -EAGAIN) {
            *left += some;
            c->blocked = s->whom;
        }
    }
    hub_unlock(&c->hub);
    return *left == 0 ? 0 : -EAGAIN;
}

/* ---- waiting ---- */

bool clerk_ready(void *self, enum mech_way way) {
    struct clerk *c = self;
    hub_lock(&c->hub);
    bool ready = way == MECH_OUT ? c->blocked == 0 : c->first != NULL;
    if (way == MECH_IN && !ready) {
        c->hub.looked = 0;
        int rc = hub_look(&c->hub);
        ready = c->first != NULL || (rc != 0 && rc != -EAGAIN);
        light(c);
    }
    hub_unlock(&c->hub);
    return ready;
}

int clerk_look(void *self, enum mech_way way) {
    struct clerk *c = self;
    int rc = 0;
    hub_lock(&c->hub);
    if (way == MECH_IN) {
        c->hub.looked = 0;
        rc = hub_look(&c->hub);
        light(c);
        rc = rc == 0 && c->first == NULL ? -EAGAIN : rc;
    }
    hub_unlock(&c->hub);
    return rc;
}

/* OUT: the connection may be closed, and its number another's, before the sleep begins: then it is a slice too long. */
int clerk_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct clerk *c = self;
    int rc = 1;
    hub_lock(&c->hub);
    if (way == MECH_IN) {
        rc = c->first != NULL ? 1 : hub_arm(&c->hub, watch);
    } else {
        const struct spoke *s = find(c, c->blocked);
        if (s != NULL && link_code(s->link) == 0) {
            watch->kind = MECH_WATCH_FD;
            watch->fd = s->link->fd;
            watch->guard = -1;
            watch->events = POLLOUT;
            watch->slice = MECH_SLICE_NS;
            rc = 0;
        }
        c->blocked = 0;
    }
    hub_unlock(&c->hub);
    return rc;
}

int clerk_fd(void *self, enum mech_way way, int *fd) {
    struct clerk *c = self;
    (void)way;
    hub_lock(&c->hub);
    int rc = hub_fd(&c->hub, fd);
    if (rc == 0) {
        light(c);
    }
    hub_unlock(&c->hub);
    return rc;
}

/* ---- life ---- */

int clerk_open(struct clerk *c, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    c->letter.serves = true;
    c->last = &c->first;
    c->hub.chain.extra = SLIP;
    return hub_open(&c->hub, open, kind, place, &pattern);
}

void clerk_close(void *self) {
    struct clerk *c = self;
    hub_close(&c->hub);
    letter_free(&c->letter);
}

void clerk_limits(void *self, struct thirl_limits *limits) {
    const struct clerk *c = self;
    hub_limits(self, limits);
    limits->senders = 0;
    limits->receivers = 1;
    limits->reliable = 1;
    limits->message_max -= limits->message_max < c->hub.chain.extra ? limits->message_max : c->hub.chain.extra;
    limits->atomic_max = c->hub.chain.packets ? limits->message_max : 0;
}

void clerk_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->senders = 0;
}
