/* SPDX-License-Identifier: MIT
 *
 * One of many gets each, see deal.h.
 */
#include "mech/deal.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/tell.h"

/* A message until it is finished. */
struct job {
    struct job *next;
    unsigned char *data;
    size_t room, size;
    uint64_t number; /* on the connection of the worker that has it */
    bool again;
};

/* ---- copies ---- */

static struct job *copy(struct deal *d, const void *data, size_t size) {
    struct job *job = d->idle ? d->idle : calloc(1, sizeof(*job));
    if (job && d->idle) {
        d->idle = job->next;
    }
    if (job && (job->data == NULL || job->room < size)) {
        free(job->data);
        job->room = size < 64 ? 64 : size;
        job->data = malloc(job->room);
    }
    if (!job || !job->data) {
        free(job);
        (void)err_say(ENOMEM, "%s: no memory to keep a message of %zu bytes until it is finished",
                      d->hub.chain.meet.address, size);
        return NULL;
    }
    if (size != 0) {
        memcpy(job->data, data, size);
    }
    job->size = size;
    job->again = false;
    job->next = NULL;
    d->unfinished++;
    return job;
}

static void forget(struct deal *d, struct job *job) {
    job->next = d->idle;
    d->idle = job;
    d->unfinished--;
}

static void put_back(struct deal *d, struct job *job) {
    job->again = true;
    job->next = NULL;
    *d->behind = job;
    d->behind = &job->next;
}

/* ---- giving ---- */

/* The one with the least in its hands; NULL: all have enough. */
static struct spoke *choose(struct deal *d, size_t size) {
    struct hub *h = &d->hub;
    struct spoke *best = NULL;
    for (unsigned i = 0; i < h->count; i++) {
        struct spoke *s = h->all[(i + d->turn) % h->count];
        if (s->given < DEAL_AHEAD && (best == NULL || s->given < best->given) && size <= s->link->terms.send_max &&
            frame_box_held(&s->link->tail) == 0) {
            best = s;
        }
    }
    d->turn++;
    return best;
}

/* 0: it has it; -EAGAIN: it has no room; or it is gone, or there is no memory. */
static int give(struct spoke *s, struct job *job) {
    int rc = 0;
    if (job->again != s->marked) {
        rc = tell_send(s->link, FRAME_AGAIN, job->again);
        s->marked = rc == 0 ? job->again : s->marked;
    }
    weave("deal.give.before");
    rc = rc == 0 ? hub_give(s, job->data, job->size) : rc;
    weave("deal.give.after");
    if (rc == 0) {
        s->marked = false;
        job->number = s->count++;
        job->next = NULL;
        *s->last = job;
        s->last = &job->next;
        s->given++;
    }
    return rc;
}

/* To anybody. 0; -EAGAIN: nobody can take it now. Buries those that turn out to be gone. */
static int give_to_one(struct deal *d, struct job *job) {
    struct spoke *s;
    while ((s = choose(d, job->size)) != NULL) {
        int rc = give(s, job);
        if (rc == 0) {
            return 0;
        }
        if (!hub_is_gone(s)) {
            hub_want(&d->hub, s, true);
            return -EAGAIN;
        }
        hub_drop(&d->hub, s);
    }
    return -EAGAIN;
}

/* What came back goes first. Does nothing wait any more? */
static bool deal_out(struct deal *d) {
    while (d->waiting) {
        struct job *job = d->waiting;
        d->waiting = job->next;
        d->behind = d->waiting ? d->behind : &d->waiting;
        if (give_to_one(d, job) != 0) {
            job->next = d->waiting;
            d->behind = d->waiting ? d->behind : &job->next;
            d->waiting = job;
            return false;
        }
    }
    return true;
}

/* Pushes what the workers' sockets did not take. Is nothing left of it? */
static bool push_all(struct deal *d) {
    struct hub *h = &d->hub;
    bool all = true;
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        bool pushed = hub_push(s);
        if (!pushed && hub_is_gone(s)) {
            hub_drop(h, s);
        } else {
            hub_want(h, s, !pushed);
            all = all && pushed;
        }
    }
    return all;
}

static void light(struct deal *d) {
    if (d->hub.chain.user >= 0) {
        hub_light(&d->hub, !d->waiting && choose(d, 0) != NULL);
    }
}

/* ---- slots ---- */

static int send_new(struct deal *d, const void *data, size_t size, size_t *done) {
    if (unlikely(size > d->hub.chain.send_max)) {
        return err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %zu that ?max= allows",
                       d->hub.chain.meet.address, size, d->hub.chain.send_max);
    }
    if (!deal_out(d) || choose(d, size) == NULL) {
        return -EAGAIN;
    }
    struct job *job = copy(d, data, size);
    if (!job) {
        return -ENOMEM;
    }
    int rc = give_to_one(d, job);
    if (rc != 0) {
        forget(d, job);
        return rc;
    }
    *done = size != 0 ? size : 1; /* from now on it is ours to deliver; what is left is to be pushed */
    return 0;
}

HOT int deal_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct deal *d = self;
    (void)wait;
    hub_lock(&d->hub);
    int rc = hub_look(&d->hub);
    if (rc == 0 && *done == 0) {
        (void)push_all(d);
        rc = send_new(d, data, size, done);
        if (rc == -EAGAIN) { /* a worker may have finished since the last look */
            d->hub.looked = 0;
            rc = hub_look(&d->hub);
            rc = rc == 0 ? send_new(d, data, size, done) : rc;
        }
    }
    if (*done != 0) {
        (void)deal_out(d);
        rc = push_all(d) ? 0 : -EAGAIN;
    }
    light(d);
    hub_unlock(&d->hub);
    return rc;
}

int deal_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return 0; /* there is a copy of it */
}

int deal_flush(void *self, uint64_t *left) {
    struct deal *d = self;
    hub_lock(&d->hub);
    d->hub.looked = 0;
    (void)hub_look(&d->hub);
    (void)push_all(d);
    (void)deal_out(d);
    *left = d->unfinished;
    hub_unlock(&d->hub);
    return *left == 0 ? 0 : -EAGAIN;
}

bool deal_ready(void *self, enum mech_way way) {
    struct deal *d = self;
    (void)way;
    hub_lock(&d->hub);
    d->hub.looked = 0;
    int rc = hub_look(&d->hub);
    (void)push_all(d);
    bool ready = rc == 0 ? deal_out(d) && choose(d, 0) != NULL : rc != -EAGAIN;
    light(d);
    hub_unlock(&d->hub);
    return ready;
}

int deal_look(void *self, enum mech_way way) {
    struct deal *d = self;
    (void)way;
    hub_lock(&d->hub);
    d->hub.looked = 0;
    int rc = hub_look(&d->hub);
    light(d);
    hub_unlock(&d->hub);
    return rc == 0 ? -EAGAIN : rc;
}

int deal_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct deal *d = self;
    (void)way;
    hub_lock(&d->hub);
    int rc = hub_arm(&d->hub, watch);
    hub_unlock(&d->hub);
    return rc;
}

int deal_fd(void *self, enum mech_way way, int *fd) {
    struct deal *d = self;
    (void)way;
    hub_lock(&d->hub);
    int rc = hub_fd(&d->hub, fd);
    if (rc == 0) {
        light(d);
    }
    hub_unlock(&d->hub);
    return rc;
}

static void joined(struct hub *h, struct spoke *s) {
    (void)h;
    (void)s;
}

/* What it leaves goes to the others. */
static void left(struct hub *h, struct spoke *s) {
    struct deal *d = (struct deal *)h;
    while (s->jobs) {
        struct job *job = s->jobs;
        s->jobs = job->next;
        put_back(d, job);
    }
    s->last = &s->jobs;
    s->given = 0;
}

/* A message is finished, or comes back. */
static bool told(struct hub *h, struct spoke *s, enum frame_type type, uint64_t value) {
    struct deal *d = (struct deal *)h;
    for (struct job **at = &s->jobs; *at; at = &(*at)->next) {
        struct job *job = *at;
        if (job->number == value) {
            *at = job->next;
            s->last = job->next ? s->last : at;
            s->given--;
            if (type == FRAME_DONE) {
                forget(d, job);
            } else {
                put_back(d, job);
            }
            return true;
        }
    }
    (void)err_say(THIRL_EFORMAT, "%s: %s finished a message that it does not have", h->chain.meet.address,
                  s->link->who.text);
    return false;
}

static const struct hub_kind pattern = {
    .joined = joined, .left = left, .told = told, .hears = 1u << FRAME_DONE | 1u << FRAME_BACK, .lives = true};

int deal_open(struct deal *d, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    d->behind = &d->waiting;
    return hub_open(&d->hub, open, kind, place, &pattern);
}

static void free_all(struct job *job) {
    while (job) {
        struct job *next = job->next;
        free(job->data);
        free(job);
        job = next;
    }
}

void deal_close(void *self) {
    struct deal *d = self;
    hub_close(&d->hub);
    free_all(d->waiting);
    free_all(d->idle);
    d->waiting = d->idle = NULL;
}

void deal_limits(void *self, struct thirl_limits *limits) {
    hub_limits(self, limits);
    limits->reliable = 1;
    limits->queue_messages = 0;
}

void deal_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->receivers = 0;
}
