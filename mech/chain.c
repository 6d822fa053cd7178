/* SPDX-License-Identifier: MIT
 *
 * One end and its connections, see chain.h. Lock order: an end's lock, then the list of ends, then (only tried) another
 * end's lock; a link's own reading lock is innermost.
 */
#define _GNU_SOURCE
#include "mech/chain.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/far.h"
#include "mech/pull.h"

#define REFUSALS 4 /* times that all who wait are answered, before something else is done */

/* All ends of this process: one that calls another of the same process finds nobody awake there but itself. */
static pthread_mutex_t ends_lock = PTHREAD_MUTEX_INITIALIZER;
static struct chain *ends;

static void lock_ends(void) {
    (void)pthread_mutex_lock(&ends_lock);
}

static void unlock_ends(void) {
    (void)pthread_mutex_unlock(&ends_lock);
}

/* In a forked child: the ends are the parent's. */
static void forget_ends(void) {
    ends = NULL;
    (void)pthread_mutex_unlock(&ends_lock);
}

static void prepare_fork(void) {
    (void)pthread_atfork(lock_ends, unlock_ends, forget_ends);
}

/* Makes the user's descriptor readable by itself, in so many ns; -1: leaves that to the sockets in it. */
static void light(struct chain *e, int64_t when) {
    if (when != e->lit) {
        e->lit = when;
        fd_tick(e->ready, when);
    }
}

static int adopt(struct chain *e, const struct meet_match *match) {
    struct link_terms terms = {.packets = e->packets, .bytes = e->bytes, .recv_max = e->recv_max};
    terms.raw = e->raw;
    terms.sends = e->sends;
    terms.receives = e->receives;
    terms.quiet = e->quiet;
    terms.send_max = match->hello.max < e->send_max ? (size_t)match->hello.max : e->send_max;
    terms.takes = e->descriptors;
    terms.gives = e->carries ? match->hello.descriptors : 0;
    terms.hears = e->hears;
    if (e->bytes && terms.send_max == 0) {
        terms.send_max = 1;
    }
    struct link *l;
    terms.pipes = match->in != match->out;
    int rc = link_make(&l, match->in, match->out, &match->who, &terms);
    if (rc != 0) {
        return rc;
    }
    l->serial = e->links++;
    l->holders = e->sends + e->receives;
    if (e->last) {
        e->last->next = l;
    } else {
        e->first = l;
    }
    e->last = l;
    /* Not the socket itself: in an epoll set each message would cost a call into it. */
    (void)eventfd_write(e->came, 1);
    node_end_peer(e->seen, l->who.pid, l->who.name);
    if (e->user >= 0 && !e->way[e->user_way].at) {
        light(e, 0);
    }
    weave("chain.link.after");
    return 0;
}

/* Under the lock: is the newest connection's peer there, or was its goodbye final? Notes its end, once. */
bool chain_peered(struct chain *e) {
    struct link *l = e->last;
    if (!l || e->noted == e->links) {
        return e->final;
    }
    if (!link_look(l, NULL)) {
        return true;
    }
    e->noted = e->links;
    eventfd_t count;
    (void)eventfd_read(e->came, &count);
    e->final = link_code(l) == -THIRL_ECLOSED && e->part != MEET_CALLER;
    if (e->final) {
        weave("chain.final.before");
        meet_retire(&e->meet);
        atomic_store(&e->seen->state, NODE_END_CLOSED);
    } else {
        node_end_peer(e->seen, 0, "");
    }
    return e->final;
}

static bool help_neighbour(struct chain *e);
static bool rouse_neighbours(struct chain *e);

/* Is something of the dead peer's still to be received? */
static bool has_rest(const struct link *l) {
    int bytes = 0;
    return frame_box_held(&l->box) != 0 || tray_holds(l->tray) || ioctl(l->fd, FIONREAD, &bytes) != 0 || bytes != 0;
}

/* Has that way not got to this connection yet? */
static bool is_due(const struct chain *e, enum mech_way way, const struct link *l) {
    return (way == MECH_IN ? e->receives : e->sends) && e->way[way].next <= l->serial;
}

/* A way that is never used hears of nobody's death. So the oldest of the dead that no way has begun with, and none misses anything of, makes
 * room for the living. */
static bool forget_one(struct chain *e) {
    for (struct link **at = &e->first; *at != NULL; at = &(*at)->next) {
        struct link *l = *at;
        const bool in = is_due(e, MECH_IN, l), out = is_due(e, MECH_OUT, l);
        bool next = (!in || e->way[MECH_IN].next == l->serial) && (!out || e->way[MECH_OUT].next == l->serial);
        if (e->way[MECH_IN].at == l || e->way[MECH_OUT].at == l || !next || (in && has_rest(l))) {
            continue;
        }
        e->way[MECH_IN].next += in;
        e->way[MECH_OUT].next += out;
        *at = l->next; /* which is not the last: of eight, one of the first three is forgotten, or none */
        link_free(l);
        return true;
    }
    return false;
}

/* Under the lock: goes on looking for a peer. 0: there is a new one; -EAGAIN; or an error. */
int chain_advance(struct chain *e) {
    struct meet_match match;
    if (e->serve) {
        int served = e->serve(e);
        e->near = served == -EAGAIN && (meet_joins(&e->meet) ? help_neighbour(e) : !e->first && rouse_neighbours(e));
        return e->near ? e->serve(e) : served;
    }
    if (chain_peered(e)) {
        return -EAGAIN;
    }
    unsigned waiting = 0;
    for (struct link *l = e->first; l; l = l->next) {
        waiting++;
    }
    if (waiting == CHAIN_LINKS_MAX && !forget_one(e)) {
        return err_say(EBUSY, "%s: %d peers died here and nobody received what they had sent: receive it first",
                       e->meet.address, CHAIN_LINKS_MAX);
    }
    int rc = meet_step(&e->meet, &match);
    e->near = rc == -EAGAIN && meet_joins(&e->meet) && help_neighbour(e);
    if (e->near) {
        rc = meet_step(&e->meet, &match);
    }
    return rc == 1 ? adopt(e, &match) : rc;
}

/* Whoever else wants to join is told that it cannot. He is let in first, and then the peer is looked at: who comes as that one dies takes its place.
 * false: there is no peer any more. */
static bool refuse_others(struct chain *e) {
    for (int i = 0; i < REFUSALS && meet_called(&e->meet); i++) {
        if (!chain_peered(e) || e->final) {
            return false;
        }
        meet_refuse(&e->meet, e->last->who.pid);
    }
    return true;
}

/* When who listens is an end of this process, our thread may be the only one: lets it answer. */
static bool help_neighbour(struct chain *e) {
    const struct meet_kind *kind = e->meet.kind;
    bool there = false;
    lock_ends();
    for (struct chain *other = ends; other; other = other->neighbour) {
        if (other == e || other->meet.kind != kind || !kind->same || !kind->same(&other->meet, &e->meet) ||
            pthread_mutex_trylock(&other->lock) != 0) {
            continue;
        }
        if (other->meet.listener >= 0) {
            there = true;
            if (other->serve) {
                (void)other->serve(other); /* not chain_advance, which would look at the list again */
            } else if (chain_peered(other)) {
                (void)refuse_others(other);
            } else {
                (void)chain_advance(other);
            }
        }
        (void)pthread_mutex_unlock(&other->lock);
    }
    unlock_ends();
    return there;
}

/* This end listens, and nobody is there: ends of this process that are to call it may have no thread but ours either. */
static bool rouse_neighbours(struct chain *e) {
    struct meet_match match;
    bool called = false;
    lock_ends();
    for (struct chain *other = ends; other; other = other->neighbour) {
        if (other->part != MEET_CALLER || other->meet.kind != e->meet.kind || !e->meet.kind->same ||
            !e->meet.kind->same(&other->meet, &e->meet) || pthread_mutex_trylock(&other->lock) != 0) {
            continue;
        }
        other->meet.again = 0; /* its pause was for want of us */
        if (!chain_peered(other) && meet_step(&other->meet, &match) == 1) {
            (void)adopt(other, &match);
        }
        called = called || meet_joins(&other->meet);
        (void)pthread_mutex_unlock(&other->lock);
    }
    unlock_ends();
    return called;
}

/* Puts the connection that a way is at into the user's descriptor, or takes it out. */
static void show(struct chain *e, enum mech_way way, struct link *l, int operation) {
    if (e->user >= 0 && way == e->user_way) {
        struct epoll_event event = {.events = way == MECH_IN ? EPOLLIN : EPOLLOUT, .data.fd = l->fd};
        e->dim = false;
        (void)epoll_ctl(e->user, operation, way == MECH_IN ? l->fd : l->out, &event);
        if (l->who.pidfd >= 0) {
            event.events = EPOLLIN;
            (void)epoll_ctl(e->user, operation, l->who.pidfd, &event);
        }
    }
}

/* The connection that this way has to do with now. 0, -EAGAIN, or an error. */
int chain_seek(struct chain *e, enum mech_way way, struct link **found) {
    struct chain_way *w = &e->way[way];
    (void)pthread_mutex_lock(&e->lock);
    int rc = w->next == e->links ? chain_advance(e) : 0;
    for (struct link *l = e->first; rc == 0 && l; l = l->next) {
        if (l->serial == w->next) {
            *found = w->at = l;
            w->next++;
            show(e, way, l, EPOLL_CTL_ADD);
            break;
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
    return rc == 0 && !*found ? -EAGAIN : rc;
}

/* This way is done with a dead peer; the last of the ways frees what is left of it. Both go in order, so it is the first one. */
static void pass(struct chain *e, enum mech_way way) {
    (void)pthread_mutex_lock(&e->lock);
    struct link *l = e->way[way].at;
    (void)chain_peered(e);
    show(e, way, l, EPOLL_CTL_DEL);
    e->way[way].at = NULL;
    if (--l->holders == 0) {
        e->first = l->next;
        e->last = e->last == l ? NULL : e->last;
        link_free(l);
    }
    (void)pthread_mutex_unlock(&e->lock);
}

/* A host that is gone without a word is cut off: its end is found like any other from then on. */
static void cut_lost(struct chain *e) {
    struct link *l = e->last;
    int64_t now = l->who.remote ? clock_now() : 0;
    if (now - e->asked > CLOCK_S) {
        e->asked = now;
        if (far_lost(l->fd)) {
            if (l->terms.raw) {
                link_decide(l, LINK_DIED); /* what the cut looks like there is an end in order */
            }
            (void)shutdown(l->fd, SHUT_RDWR);
        }
    }
}

/* Whoever else wants to join is told that it cannot; the peer's life is looked at. */
void chain_attend(struct chain *e) {
    (void)pthread_mutex_lock(&e->lock);
    if (chain_peered(e) && !e->final) {
        weave("chain.attend.peered");
        if (refuse_others(e)) {
            cut_lost(e);
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
}

/* What a send or receive that did not succeed comes to. 1: try again. */
int chain_outcome(struct chain *e, enum mech_way way, struct link *l, int rc) {
    const char *address = e->meet.address, *who = l->who.text;
    switch (rc) {
    case -EAGAIN:
        chain_attend(e);
        return link_code(l) != 0 ? 1 : -EAGAIN;
    case -THIRL_ECLOSED:
        if (e->part == MEET_CALLER) { /* another one may come: what is called is a place, not a process */
            pass(e, way);
            return 1;
        }
        chain_attend(e);
        return err_say(THIRL_ECLOSED, "%s: the peer, %s, closed its end", address, who);
    case -THIRL_EPEERDIED:
        (void)err_say(THIRL_EPEERDIED, "%s: the peer, %s, died", address, who);
        break;
    case -ECONNRESET:
        (void)err_say(
            ECONNRESET,
            "%s: %s cut this end off, because it was too slow to take its messages; the next call joins again", address,
            who);
        break;
    case -THIRL_EFORMAT:
        (void)(way == MECH_IN
                   ? err_add(rc, "%s: the connection to %s is cut", address, who)
                   : err_say(THIRL_EFORMAT, "%s: %s sent what is not thirl's; the connection is cut", address, who));
        break;
    default:
        return rc;
    }
    pass(e, way);
    return rc;
}

/* A pipe that is to be taken for full, but has room: the timer says when to look again. */
static bool dim(struct chain *e, struct link *l) {
    bool full = link_overfull(l);
    if (full != e->dim) {
        struct epoll_event event = {.events = full ? 0 : EPOLLOUT, .data.fd = l->fd};
        (void)epoll_ctl(e->user, EPOLL_CTL_MOD, l->out, &event);
        e->dim = full;
    }
    e->lit = full ? -1 : e->lit; /* begins anew after each try */
    return full;
}

/* What the user's descriptor must say of itself after a call of that way. */
void chain_light(struct chain *e, enum mech_way way) {
    const struct chain_way *w = &e->way[way];
    if (way != e->user_way) {
        return;
    }
    (void)pthread_mutex_lock(&e->lock);
    int64_t when = -1;
    if (e->holds || (w->at == NULL && w->next < e->links)) {
        when = 0;
    } else if (w->at) {
        when = way == MECH_IN && pull_ready(w->at) ? 0 : way == MECH_OUT && dim(e, w->at) ? LINK_NAP_NS : -1;
    } else if (meet_pauses(&e->meet)) {
        e->lit = -1; /* the pause begins anew after each try */
        when = e->meet.pause;
    } else if (e->meet.deaf) {
        e->lit = -1;
        when = MEET_GRACE_NS;
    }
    light(e, when);
    (void)pthread_mutex_unlock(&e->lock);
}

int chain_user(struct chain *e, enum mech_way way) {
    int rc = 0;
    (void)pthread_mutex_lock(&e->lock);
    if (e->user < 0) {
        struct epoll_event event = {.events = EPOLLIN};
        e->ready = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        e->lit = -1;
        e->user = epoll_create1(EPOLL_CLOEXEC);
        if (e->ready < 0 || e->user < 0 || epoll_ctl(e->user, EPOLL_CTL_ADD, e->ready, &event) != 0) {
            rc = err_system(errno, "%s: no descriptor to wait on", e->meet.address);
            fd_close(&e->ready);
            fd_close(&e->user);
        } else {
            e->user_way = way;
            meet_share(&e->meet, e->user);
            if (e->way[way].at) {
                show(e, way, e->way[way].at, EPOLL_CTL_ADD);
            }
        }
    }
    (void)pthread_mutex_unlock(&e->lock);
    chain_relight(e, way);
    return rc;
}

void chain_join(struct chain *e) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, prepare_fork);
    lock_ends();
    e->neighbour = ends;
    ends = e;
    unlock_ends();
}

void chain_leave(struct chain *e) {
    lock_ends();
    struct chain **at = &ends;
    while (*at != e) {
        at = &(*at)->neighbour;
    }
    *at = e->neighbour;
    unlock_ends();
}
