/* SPDX-License-Identifier: MIT
 *
 * Many connections of one end, see hub.h.
 */
#define _GNU_SOURCE
#include "mech/hub.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/far.h"
#include "mech/pull.h"

#define EVENTS 64

void hub_lock(struct hub *h) {
    (void)pthread_mutex_lock(&h->chain.lock);
}

void hub_unlock(struct hub *h) {
    (void)pthread_mutex_unlock(&h->chain.lock);
}

static void show(struct hub *h) {
    char text[32];
    struct node_end *seen = h->chain.seen;
    seen->queue = h->count != 0 ? h->chain.queue : 0;
    if (h->count == 1) {
        node_end_peer(seen, h->all[0]->link->who.pid, h->all[0]->link->who.name);
    } else {
        (void)snprintf(text, sizeof(text), "%u ends", h->count);
        node_end_peer(seen, 0, h->count == 0 ? "" : text);
    }
}

void hub_blame(struct hub *h, const struct spoke *s) {
    if (s) {
        node_end_peer(h->chain.seen, s->link->who.pid, s->link->who.name);
    } else if (h->blames) {
        show(h);
    }
    h->blames = s != NULL;
}

/* ---- coming and going ---- */

static bool grow_all(struct hub *h) {
    if (h->count < h->room) {
        return true;
    }
    unsigned room = h->room == 0 ? 16 : 2 * h->room;
    struct spoke **all = realloc(h->all, room * sizeof(*all)); // NOLINT(bugprone-sizeof-expression)
    if (all) {
        h->all = all;
        h->room = room;
    }
    return all != NULL;
}

static bool grow_owners(struct hub *h, int fd) {
    if ((unsigned)fd < h->owners) {
        return true;
    }
    unsigned owners = h->owners == 0 ? 64 : h->owners;
    while (owners <= (unsigned)fd) {
        owners *= 2;
    }
    struct spoke **owner = realloc(h->owner, owners * sizeof(*owner)); // NOLINT(bugprone-sizeof-expression)
    if (owner) {
        memset(owner + h->owners, 0, (owners - h->owners) * sizeof(*owner)); // NOLINT(bugprone-sizeof-expression)
        h->owner = owner;
        h->owners = owners;
    }
    return owner != NULL;
}

static struct link_terms agree(const struct hub *h, const struct meet_match *match) {
    const struct chain *e = &h->chain;
    struct link_terms terms = {.packets = e->packets, .sends = true, .quiet = e->quiet, .recv_max = e->recv_max};
    terms.receives = h->kind->stirs != NULL;
    terms.hears = h->kind->hears;
    terms.send_max = match->hello.max < e->send_max ? (size_t)match->hello.max : e->send_max;
    return terms;
}

static int join(struct hub *h, struct meet_match *match) {
    struct chain *e = &h->chain;
    if (!h->kind->lives) {
        fd_close(&match->who.pidfd);
    }
    int fd = match->in, pidfd = match->who.pidfd;
    const struct link_terms terms = agree(h, match);
    struct spoke *s = calloc(1, sizeof(*s));
    bool room = s != NULL && grow_all(h) && grow_owners(h, fd > pidfd ? fd : pidfd);
    if (!room) {
        fd_close(&match->in);
        fd_close(&match->who.pidfd);
        free(s);
        return err_say(ENOMEM, "%s: no memory for one more connection", e->meet.address);
    }
    int rc = link_make(&s->link, fd, -1, &match->who, &terms);
    if (rc != 0) {
        free(s);
        return rc;
    }
    s->last = &s->jobs;
    s->place = h->count;
    h->all[h->count++] = s;
    h->owner[fd] = s;
    meet_attend(&e->meet, fd, EPOLLIN | EPOLLRDHUP);
    if (pidfd >= 0) {
        h->owner[pidfd] = s;
        meet_attend(&e->meet, pidfd, EPOLLIN);
    }
    s->link->next = e->first;
    e->first = s->link;
    show(h);
    weave("hub.join.after");
    h->kind->joined(h, s);
    return 0;
}

bool hub_is_gone(const struct spoke *s) {
    return link_code(s->link) != 0;
}

/* ---- looking ---- */

/* What a caller says. false: it is gone, or is to go. */
static bool hear(struct hub *h, struct spoke *s) {
    unsigned char nothing;
    size_t size;
    for (;;) {
        int rc = pull_recv(s->link, &nothing, 0, &size, false);
        if (rc == -EAGAIN) {
            return true;
        }
        if (rc != PULL_TOLD) {
            return false; /* an end in order, a death, or a message: nobody sends messages to a hub */
        }
        if (!h->kind->told(h, s, (enum frame_type)s->link->told_type, s->link->told)) {
            link_decide(s->link, LINK_BROKEN);
            return false;
        }
    }
}

void hub_drop(struct hub *h, struct spoke *s) {
    struct chain *e = &h->chain;
    struct link *l = s->link, **at = &e->first;
    weave("hub.drop.before");
    if (h->kind->told && link_code(l) != -THIRL_EFORMAT) {
        (void)hear(h, s); /* what it said before it went, which a send that fails learns first */
    }
    h->kind->left(h, s);
    if (link_code(l) == 0) {
        link_bye(l);
    }
    while (*at != l) {
        at = &(*at)->next;
    }
    *at = l->next;
    h->owner[l->fd] = NULL;
    meet_forget(&e->meet, l->fd);
    if (l->pidfd >= 0) {
        h->owner[l->pidfd] = NULL;
        meet_forget(&e->meet, l->pidfd);
    }
    h->all[s->place] = h->all[--h->count];
    h->all[s->place]->place = s->place;
    link_free(l);
    free(s);
    show(h);
}

/* Of a pattern that receives. */
static void stir(struct hub *h, struct spoke *s, uint32_t events, bool life) {
    if (life) {
        link_cut(s->link); /* a forked child may hold it still */
        (void)link_look(s->link, NULL);
    }
    if (!life && (events & EPOLLOUT) != 0) {
        hub_want(h, s, !hub_push(s) && !hub_is_gone(s));
    }
    if (life || (events & ~(uint32_t)EPOLLOUT) != 0) {
        h->kind->stirs(h, s);
    }
}

static void attend(struct hub *h, struct spoke *s, uint32_t events, bool life) {
    struct link *l = s->link;
    if (h->kind->stirs) {
        stir(h, s, events, life);
        return;
    }
    if (life || (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0) {
        (void)link_look(l, NULL);
    }
    if ((life || (events & ~(uint32_t)EPOLLOUT) != 0) && !hear(h, s)) {
        struct node_count *in = &h->chain.seen->in;
        if (link_code(l) == 0) {
            link_decide(l, LINK_BROKEN);
        }
        atomic_poke(&in->refused, in->refused + (link_code(l) == -THIRL_EFORMAT));
        hub_drop(h, s);
    } else if ((events & EPOLLOUT) != 0) {
        hub_want(h, s, false); /* the next send tries, and asks again; a life never says this */
    }
}

/* A host that fell silent says nothing. */
static void bury_lost(struct hub *h) {
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        if (s->link->who.remote && far_lost(s->link->fd)) {
            if (h->kind->stirs) {
                link_cut(s->link);
                h->kind->stirs(h, s);
                continue;
            }
            link_decide(s->link, LINK_DIED);
            hub_drop(h, s);
        }
    }
}

static int meet_all(struct hub *h) {
    struct meet_match match;
    int rc;
    bool hosts = h->chain.meet.listener >= 0;
    while ((rc = meet_step(&h->chain.meet, &match)) == 1) {
        hosts = hosts || h->chain.meet.listener >= 0;
        if (!hosts) { /* who listens where we should agreed to hear us, which no end of thirl does */
            fd_close(&match.in);
            fd_close(&match.who.pidfd);
            return err_say(THIRL_EFORMAT, "%s: who listens there does not keep to thirl's roles",
                           h->chain.meet.address);
        }
        int joined = join(h, &match);
        if (joined != 0) {
            return joined;
        }
    }
    return rc;
}

/* Under the lock; also the chain's serve. -EAGAIN: nothing that the user should hear. */
static int serve(struct chain *e) {
    struct hub *h = (struct hub *)e;
    struct epoll_event events[EVENTS];
    int64_t now = clock_now();
    int count = epoll_wait(e->meet.watch, events, EVENTS, 0);
    bool meets = now - h->stepped > MECH_SLICE_NS || e->meet.listener < 0;
    for (int i = 0; i < count; i++) {
        unsigned fd = (unsigned)events[i].data.fd;
        struct spoke *s = fd < h->owners ? h->owner[fd] : NULL;
        if (s) {
            attend(h, s, events[i].events, s->link->fd != (int)fd);
        } else {
            meets = true;
        }
    }
    h->looked = now;
    if (now - e->asked > CLOCK_S) {
        e->asked = now;
        bury_lost(h);
    }
    if (!meets) {
        return -EAGAIN;
    }
    h->stepped = now;
    return meet_all(h);
}

int hub_look(struct hub *h) {
    struct chain *e = &h->chain;
    if (likely(e->meet.listener >= 0 && clock_now() - h->looked < HUB_LOOK_NS)) {
        return 0;
    }
    int rc = chain_advance(e);
    if (rc == -EAGAIN && e->meet.listener < 0 && h->count == 0) {
        return -EAGAIN;
    }
    return rc == -EAGAIN ? 0 : rc;
}

/* ---- sending ---- */

int hub_give(struct spoke *s, const void *data, size_t size) {
    size_t done = 0;
    int rc = link_send(s->link, data, size, &done, false);
    if (unlikely(rc == -EAGAIN && s->link->sent != 0)) {
        weave("hub.give.half");
        rc = link_settle(s->link, data, size);
    }
    return rc;
}

bool hub_push(struct spoke *s) {
    return frame_box_held(&s->link->tail) == 0 || link_begin(s->link, false) == 0;
}

void hub_want(struct hub *h, struct spoke *s, bool wanted) {
    if (wanted != s->wanted) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | (wanted ? EPOLLOUT : 0), .data.fd = s->link->fd};
        (void)epoll_ctl(h->chain.meet.watch, EPOLL_CTL_MOD, s->link->fd, &event);
        s->wanted = wanted;
    }
}

/* ---- waiting ---- */

int hub_arm(struct hub *h, struct mech_watch *watch) {
    const struct meet *m = &h->chain.meet;
    bool busy = m->listener >= 0 || meet_joins(m);
    watch->kind = MECH_WATCH_FD;
    watch->fd = m->watch;
    watch->guard = -1;
    watch->events = POLLIN;
    watch->slice = m->deaf ? MEET_GRACE_NS : busy || m->pause == 0 ? MECH_SLICE_NS : m->pause;
    h->looked = 0;
    return 0;
}

int64_t hub_disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

void hub_light(struct hub *h, bool lit) {
    if (h->chain.user >= 0 && lit != h->lit) {
        h->lit = lit;
        fd_tick(h->chain.ready, lit ? 0 : -1);
    }
}

int hub_fd(struct hub *h, int *fd) {
    struct chain *e = &h->chain;
    struct epoll_event event = {.events = EPOLLIN};
    int rc = 0;
    if (e->user < 0) {
        e->ready = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        e->user = epoll_create1(EPOLL_CLOEXEC);
        if (e->ready < 0 || e->user < 0 || epoll_ctl(e->user, EPOLL_CTL_ADD, e->ready, &event) != 0 ||
            epoll_ctl(e->user, EPOLL_CTL_ADD, e->meet.watch, &event) != 0) {
            rc = err_system(errno, "%s: no descriptor to wait on", e->meet.address);
            fd_close(&e->ready);
            fd_close(&e->user);
        }
    }
    *fd = e->user;
    h->looked = 0;
    return rc;
}

/* ---- life ---- */

int hub_open(struct hub *h, const struct mech_open *open, const struct meet_kind *kind, void *place,
             const struct hub_kind *pattern) {
    h->kind = pattern;
    h->chain.serve = serve;
    h->chain.part = MEET_HOST;
    int rc = haul_open(&h->chain, open, kind, place);
    if (rc == 0) {
        hub_lock(h);
        show(h);
        hub_unlock(h);
    } else {
        while (h->count != 0) {
            link_free(h->all[--h->count]->link);
            free(h->all[h->count]);
        }
        free(h->all);
        free(h->owner);
    }
    return rc;
}

unsigned hub_flush(struct hub *h) {
    unsigned kept = 0;
    uint64_t left;
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        int rc = link_flush(s->link, &left);
        if (rc != 0 && rc != -EAGAIN) {
            hub_drop(h, s);
        } else {
            kept += left != 0;
            hub_want(h, s, left != 0);
        }
    }
    return kept;
}

void hub_close(void *self) {
    struct hub *h = self;
    struct chain *e = &h->chain;
    chain_leave(e);
    hub_lock(h);
    weave("hub.close.before");
    h->leaves = true;
    while (h->count != 0) {
        struct spoke *s = h->all[h->count - 1];
        if (link_code(s->link) == 0) {
            link_bye(s->link);
            if (s->link->who.remote) {
                far_part(s->link->fd);
            }
        }
        hub_drop(h, s);
    }
    meet_deinit(&e->meet);
    free(h->all);
    free(h->owner);
    fd_close(&e->came);
    fd_close(&e->user);
    fd_close(&e->ready);
    weave("hub.close.after");
    hub_unlock(h);
}

/* ---- asking ---- */

int hub_peer(void *self, struct thirl_peer *peer) {
    struct hub *h = self;
    char path[40];
    hub_lock(h);
    h->looked = 0;
    (void)hub_look(h);
    int rc = h->count == 0 ? -ENOTCONN : 0;
    if (rc == 0) {
        const struct link_who *who = &h->all[h->count - 1]->link->who;
        peer->pid = who->pid;
        peer->uid = who->uid;
        peer->gid = who->gid;
        (void)snprintf(path, sizeof(path), "/proc/%lld/exe", (long long)who->pid);
        ssize_t length = who->pid > 0 ? readlink(path, peer->exe, sizeof(peer->exe) - 1) : 0;
        peer->exe[length > 0 ? length : 0] = '\0';
        if (who->remote) {
            (void)snprintf(peer->exe, sizeof(peer->exe), "%s", who->name);
        }
    }
    hub_unlock(h);
    return rc;
}

int hub_pidfd(void *self, int *fd) {
    struct hub *h = self;
    hub_lock(h);
    int rc = h->count == 0 ? -ENOTCONN
                           : err_say(EOPNOTSUPP, "%s: this end has many peers, and keeps no pidfd for its user",
                                     h->chain.meet.address);
    *fd = -1;
    hub_unlock(h);
    return rc;
}

void hub_limits(void *self, struct thirl_limits *limits) {
    struct hub *h = self;
    limits->message_max = h->chain.send_max;
    limits->queue = h->chain.queue;
    limits->ordered = limits->pollable = 1;
    limits->senders = limits->priorities = 1;
    limits->receivers = 0;
    limits->atomic_max = h->chain.packets ? limits->message_max : 0;
}
