/* SPDX-License-Identifier: MIT
 *
 * The calling ends of a clerk, see caller.h. The two ways walk along the connections by themselves: the way OUT goes on to the next
 * server when it finds one gone, the way IN when it has received all that came, and says so.
 */
#include "mech/caller.h"

#include <stdio.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/pull.h"

#define CALLS_PER_LOOK 1024

static uint64_t whom_of(const struct link *l) {
    return l->serial + 1;
}

/* Lets the way go on to the next one. */
static void leave(struct chain *e, enum mech_way way, struct link *l) {
    (void)chain_outcome(e, way, l, link_code(l));
}

int caller_choose(void *self, uint64_t *whom) {
    struct caller *c = self;
    struct chain *e = &c->chain;
    struct link *l;
    int rc;
    while ((rc = chain_find(e, MECH_OUT, &l)) == 0 && unlikely(link_code(l) != 0)) {
        leave(e, MECH_OUT, l);
    }
    if (likely(rc == 0)) {
        *whom = whom_of(l);
    }
    return rc;
}

static int say_over(const struct chain *e) {
    return err_say(THIRL_ECLOSED, "%s: the server that this was for is no more", e->meet.address);
}

int caller_send(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    struct caller *c = self;
    struct chain *e = &c->chain;
    struct link *l = e->way[MECH_OUT].at;
    (void)wait;
    if (unlikely(l == NULL || whom_of(l) != note->whom)) {
        return say_over(e);
    }
    int rc = letter_send(&c->letter, l, e->meet.address, data, size, done, note);
    if (unlikely(rc != 0)) {
        rc = chain_outcome(e, MECH_OUT, l, rc);
        if (rc == 1) {
            if (e->way[MECH_OUT].at == l) {
                leave(e, MECH_OUT, l);
            }
            rc = say_over(e);
        }
    }
    if (unlikely(++e->way[MECH_OUT].calls % CALLS_PER_LOOK == 0)) {
        chain_attend(e);
    }
    chain_relight(e, MECH_OUT);
    return rc;
}

int caller_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return 0; /* the connection keeps the rest */
}

/* The conversation is over, and has been heard out. */
static int say_gone(struct caller *c, struct link *l, size_t *size, struct mech_note *note) {
    struct chain *e = &c->chain;
    note->whom = whom_of(l);
    letter_gone(&c->letter, e->meet.address, l, link_code(l), note);
    char why[256];
    (void)snprintf(why, sizeof why, "%s", thirl_why());
    leave(e, MECH_IN, l);
    *size = 0;
    (void)err_say(-note->failure, "%s", why);
    return 0;
}

int caller_recv(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct caller *c = self;
    struct chain *e = &c->chain;
    struct link *l;
    int rc = chain_find(e, MECH_IN, &l);
    if (unlikely(rc != 0)) {
        return rc;
    }
    rc = pull_recv(l, buffer, capacity, size, wait);
    if (likely(rc == 0)) {
        weave("caller.recv.after");
        note->whom = whom_of(l);
        rc = letter_open(&c->letter, buffer, size, note);
        if (unlikely(rc != 0)) {
            atomic_poke(&e->seen->in.refused, e->seen->in.refused + 1);
            link_decide(l, LINK_BROKEN);
        }
    }
    if (unlikely(rc == -EAGAIN)) {
        chain_attend(e);
    }
    if (unlikely(rc != 0 && rc != -EAGAIN && rc != -EMSGSIZE && rc != -ENOMEM)) {
        rc = say_gone(c, l, size, note);
    }
    if (unlikely(++e->way[MECH_IN].calls % CALLS_PER_LOOK == 0)) {
        chain_attend(e);
    }
    chain_relight(e, MECH_IN);
    return rc;
}

/* Requests that nobody waits for any more concern nobody. */
int caller_flush(void *self, uint64_t *left) {
    (void)self;
    *left = 0;
    return 0;
}

int caller_open(struct caller *c, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    c->chain.part = MEET_CALLER;
    c->chain.extra = SLIP;
    return haul_open(&c->chain, open, kind, place);
}

void caller_close(void *self) {
    struct caller *c = self;
    haul_close(&c->chain);
    letter_free(&c->letter);
}

void caller_limits(void *self, struct thirl_limits *limits) {
    const struct caller *c = self;
    haul_limits(self, limits);
    limits->senders = 0;
    limits->descriptors = 0;
    limits->message_max -= limits->message_max < c->chain.extra ? limits->message_max : c->chain.extra;
    limits->atomic_max = c->chain.packets ? limits->message_max : 0;
}

void caller_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->senders = 0;
}
