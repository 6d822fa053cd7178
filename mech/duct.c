/* SPDX-License-Identifier: MIT
 *
 * A duct as a mechanism: joining, leaving, knowing the peer, and what it can be asked. See duct.h.
 */
#define _GNU_SOURCE
#include "mech/duct.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/kept.h"

#define TICK_NS (50 * CLOCK_MS)            /* an event loop is sent to look that often, while nothing would wake it */
#define TICK_SILENT_NS (10 * CLOCK_MS)     /* and where packets would not wake it */
#define DOUBT_SLICE_NS CLOCK_MS            /* a sleep while a peer seems to be ending */
#define GUARDED_SLICE_NS (1000 * CLOCK_MS) /* and where its death wakes: only against a lost wake-up */

/* ---- the peer ---- */

static int check_page(const struct duct *d, const struct duct_page *page, const struct roll_end *of) {
    struct duct_page copy;
    memcpy(&copy, page, offsetof(struct duct_page, left));
    if (memcmp(copy.magic, DUCT_MAGIC, sizeof copy.magic) != 0 || copy.node != of->node || copy.number != of->number) {
        return err_say(THIRL_EFORMAT, "%s: a file of the other end is not what its name says, or is damaged",
                       d->address);
    }
    if (copy.version != DUCT_VERSION || copy.size != sizeof copy) {
        return err_say(THIRL_EVERSION, "%s: the other end has layout %u (%u bytes), this one layout %d (%zu bytes)",
                       d->address, copy.version, copy.size, DUCT_VERSION, sizeof copy);
    }
    return 0;
}

/* A pidfd of the peer, where it is another process whose pid this one can see. */
static int guard_of(const struct duct_peer *peer) {
    struct proc self;
    proc_self(&self);
    int guard = -1;
    if (peer->node.pid_space == self.pid_space && peer->node.pid != self.pid) {
        guard = proc_pidfd(peer->node.pid);
        if (guard >= 0 && !node_alive(peer->end.node)) {
            fd_close(&guard); /* that pid may be somebody else's by now */
        }
    }
    return guard < 0 ? -1 : guard;
}

int duct_meet(struct duct *d, struct duct_peer *peer, const struct roll_end *end, const char *file) {
    *peer = (struct duct_peer){.guard = -1};
    int rc = seg_map(&peer->map, d->roll.dir, file, sizeof(struct duct_page), d->address);
    if (rc != 0) {
        return rc == -ENOENT ? -EAGAIN : rc;
    }
    peer->page = (const struct duct_page *)(const void *)peer->map.base;
    rc = check_page(d, peer->page, end);
    rc = rc != 0 ? rc : node_peer_open(&peer->node, end->node, end->number);
    if (rc == -ESRCH) {
        peer->dead = true;
        peer->node = (struct node_peer){.id = end->node, .fd = -1};
        memcpy(peer->who, peer->page->who, sizeof peer->who);
        peer->who[sizeof peer->who - 1] = '\0';
    } else if (rc != 0) {
        seg_unmap(&peer->map);
        return rc;
    } else {
        (void)snprintf(peer->who, sizeof peer->who, "pid %lld (%.60s)", (long long)peer->node.pid,
                       proc_name(peer->node.exe));
    }
    peer->end = *end;
    peer->guard = peer->dead ? -1 : guard_of(peer);
    return 0;
}

void duct_part(struct duct_peer *peer) {
    seg_unmap(&peer->map);
    node_peer_close(&peer->node);
    fd_close(&peer->guard);
    peer->page = NULL;
    peer->end = (struct roll_end){0};
}

void duct_introduce(struct duct *d, struct duct_peer *place, const struct roll_end *end) {
    char file[ROLL_FILE_MAX];
    roll_file(file, *end, place == &d->met ? "rx" : "tx");
    if (d->sends && d->receives) {
        (void)pthread_mutex_lock(&d->noting);
        duct_part(place);
        (void)duct_meet(d, place, end, file);
        (void)pthread_mutex_unlock(&d->noting);
    }
}

bool duct_met(struct duct *d, struct duct_peer *place, struct duct_peer *peer) {
    (void)pthread_mutex_lock(&d->noting);
    bool met = place->end.node != 0;
    if (met) {
        *peer = *place;
        *place = (struct duct_peer){.guard = -1, .node.fd = -1};
    }
    (void)pthread_mutex_unlock(&d->noting);
    return met;
}

int duct_fate(struct duct_peer *peer, bool sure) {
    if (atomic_load(&peer->page->left) != 0) { /* pairs with the store in duct_close */
        return -THIRL_ECLOSED;
    }
    if ((!sure && duct_stands(peer)) || (!peer->dead && node_peer_alive(&peer->node))) {
        return 0;
    }
    /* It may have closed its end just before it died. */
    return atomic_load(&peer->page->left) != 0 ? -THIRL_ECLOSED : -THIRL_EPEERDIED;
}

static bool is_taken(const struct duct_link *link, const struct roll_end *self) {
    uint64_t node = atomic_load(&link->node); /* pairs with the stores in link_to and bind */
    return node != 0 && (node != self->node || atomic_peek(&link->number) != self->number) && node_alive(node);
}

bool duct_taken(const struct duct *d, const struct duct_peer *peer) {
    return is_taken(&peer->page->from, &d->roll.self) || is_taken(&peer->page->to, &d->roll.self);
}

/* A sleep on a word is ended by the peer's life word, one on a descriptor by its pidfd. */
void duct_guard(const struct duct_peer *peer, struct mech_watch *watch) {
    int64_t slice = MECH_SLICE_NS;
    watch->guard = peer != NULL ? peer->guard : -1;
    if (peer != NULL && watch->kind == MECH_WATCH_WORD) {
        watch->life = peer->node.life;
        watch->life_value = peer->node.life_value;
    }
    if (peer != NULL && node_peer_doubtful(&peer->node)) {
        slice = DOUBT_SLICE_NS;
    } else if (watch->kind == MECH_WATCH_WORD ? watch->life != NULL : watch->guard >= 0) {
        slice = GUARDED_SLICE_NS;
    }
    watch->slice = watch->slice < slice ? watch->slice : slice;
}

void duct_note(struct duct *d, const struct duct_peer *peer) {
    (void)pthread_mutex_lock(&d->noting);
    if (d->seen != NULL) {
        node_end_peer(d->seen, 0, peer == NULL ? "" : peer->who);
    }
    (void)pthread_mutex_unlock(&d->noting);
}

/* ---- joining ---- */

int duct_half(struct duct *d, struct queue *q, const struct carrier_open *wanted, char place[CARRIER_PLACE_MAX]) {
    int rc = d->carrier->open(q->carried, wanted, place);
    if (rc == 0) {
        q->carrier->facts(q->carried, &q->facts);
        q->counted = !q->facts.reliable;
        q->max = d->stream ? q->facts.packet - FRAG_LABEL : d->max;
    }
    return rc;
}

static int make_half(struct duct *d, struct queue *q, bool sends) {
    q->carrier = d->carrier;
    q->carried = calloc(1, d->carrier->state_size);
    q->sends = sends;
    q->seen = d->seen;
    q->sealed = seal_kind(&d->options);
    q->hail = d->carrier->silent ? hail_of(&d->roll) : NULL;
    q->epoll = q->lit = q->tick = -1;
    memcpy(q->address, d->address, sizeof q->address);
    return q->carried == NULL ? err_say(ENOMEM, "%s: no memory for an end", d->address) : 0;
}

/* This end's page, under the names of both its files. */
static int make_page(struct duct *d, unsigned mode) {
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1], other[ROLL_FILE_MAX + 1];
    struct proc self;
    roll_file(file, d->roll.self, d->receives ? "rx" : "tx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make(&d->seg, d->roll.dir, unfinished, sizeof *d->page, 0, mode, d->address);
    if (rc != 0) {
        return rc;
    }
    roll_file(file, d->roll.self, "tx");
    (void)snprintf(other, sizeof other, "%s~", file);
    if (d->receives && d->sends && linkat(d->roll.dir, unfinished, d->roll.dir, other, 0) != 0) {
        return err_system(errno, "%s: the registry cannot be written", d->address);
    }
    d->page = (struct duct_page *)(void *)d->seg.base;
    memcpy(d->page->magic, DUCT_MAGIC, sizeof d->page->magic);
    d->page->version = DUCT_VERSION;
    d->page->size = sizeof *d->page;
    d->page->node = d->roll.self.node;
    d->page->number = d->roll.self.number;
    d->page->max = d->max;
    proc_self(&self);
    (void)snprintf(d->page->who, sizeof d->page->who, "pid %lld (%.60s)", (long long)self.pid, proc_name(self.exe));
    return 0;
}

/* An inbox is noted before it is made, where its place can be foretold. */
static int make_inbox(struct duct *d) {
    char node[NODE_NAME_MAX], key[40], address[NODE_ADDRESS_MAX];
    char place[CARRIER_PLACE_MAX] = "", noted[CARRIER_PLACE_MAX] = "";
    node_name(node, d->roll.self.node);
    (void)snprintf(key, sizeof key, "%s.%u", node, d->roll.self.number);
    (void)snprintf(address, sizeof address, "%.*s", (int)strcspn(d->address, "?"), d->address);
    const struct carrier_open wanted = {
        .kind = CARRIER_INBOX, .way = MECH_IN, .address = d->address, .key = key, .options = &d->options};
    bool planned = d->carrier->lasting;
    int rc = planned ? d->carrier->plan(&wanted, place) : 0;
    rc = rc == 0 && planned ? kept_put(&d->roll, &d->roll.self, address, place, false) : rc;
    weave("duct.inbox.noted");
    memcpy(noted, place, sizeof noted);
    rc = rc == 0 ? duct_half(d, &d->in.q, &wanted, place) : rc;
    weave("duct.inbox.made");
    if (rc == 0 && d->carrier->lasting && strcmp(place, noted) != 0 &&
        (rc = kept_put(&d->roll, &d->roll.self, address, place, false)) != 0) {
        (void)d->carrier->remove(place); /* nothing would name it */
    }
    if (rc == 0) {
        memcpy(d->page->place, place, sizeof d->page->place);
        d->in.q.in.only = &d->in.peer.end;
        d->seen->queue = d->sends ? d->in.q.facts.bytes : 0; /* until the peer's is known: most likely alike */
        rc = draw_init(&d->in.q);
        frag_init(&d->in.q.in.frag, (size_t)d->max, 2 * (size_t)d->max, d->in.q.counted);
    }
    return rc;
}

/* What could not be removed stays noted, for a sweep. */
static void remove_inbox(struct duct *d) {
    bool made = d->page != NULL && d->page->place[0] != '\0' && d->carrier->lasting;
    int rc = made ? d->carrier->remove(d->page->place) : 0;
    weave("duct.inbox.removed");
    if (rc == 0 || rc == -ENOENT) {
        kept_drop(&d->roll, &d->roll.self);
    }
}

/* What is there even when opening fails half way. */
static void give_up(struct duct *d) {
    if (d->in.q.facts.packet != 0) {
        d->carrier->close(d->in.q.carried);
    }
    remove_inbox(d);
    draw_deinit(&d->in.q);
    free(d->out.q.carried);
    free(d->in.q.carried);
    seg_unmap(&d->seg);
    (void)pthread_mutex_destroy(&d->noting);
}

int duct_open(struct duct *d, const struct carrier *carrier, const struct mech_open *open) {
    d->carrier = carrier;
    d->seen = open->seen;
    d->sends = open->sends;
    d->receives = open->receives;
    d->stream = open->stream;
    d->options = open->options;
    d->max = open->options.max < FRAG_SIZE_MAX ? open->options.max : FRAG_SIZE_MAX;
    d->epoll = d->lit = d->tick = -1;
    d->out.peer.guard = d->in.peer.guard = d->met.guard = d->linked.guard = -1;
    (void)strncpy(d->address, open->address, sizeof d->address - 1);
    if (open->options.raw != 0) {
        return err_say(EOPNOTSUPP, "%s: the raw form of %s has the roles push and pull only", open->address,
                       carrier->scheme);
    }
    int64_t until = clock_after(clock_now(), open->options.timeout);
    kept_sweep(carrier->scheme, open->rest, until);
    int rc = roll_begin(&d->roll, carrier->scheme, open->rest,
                        (open->stream               ? ROLL_STREAM
                         : open->role == THIRL_PAIR ? ROLL_PAIR
                                                    : ROLL_TELL) |
                            ROLL_LAYOUT(DUCT_VERSION + FRAG_VERSION) | seal_kind(&open->options) * ROLL_CRC,
                        open->sends, open->receives, open->options.mode, until);
    rc = rc != 0 ? rc : roll_type(&d->roll, open->options.of, open->options.mode);
    if (rc != 0) {
        return rc;
    }
    (void)pthread_mutex_init(&d->noting, NULL);
    (void)node_life_word(d->roll.self.number); /* before anybody can look for it */
    rc = make_half(d, &d->out.q, true);
    rc = rc == 0 ? make_half(d, &d->in.q, false) : rc;
    rc = rc == 0 ? make_page(d, open->options.mode) : rc;
    rc = rc == 0 && d->receives ? make_inbox(d) : rc;
    if (rc != 0) {
        give_up(d);
        roll_cancel(&d->roll);
        return rc;
    }
    rc = roll_finish(&d->roll);
    if (rc != 0) {
        give_up(d);
        return rc;
    }
    if (d->sends) {
        (void)spout_find(d); /* whoever is there already is to know at once */
    }
    return 0;
}

/* ---- leaving ---- */

void duct_close(void *self) {
    struct duct *d = self;
    weave("duct.close.before");
    atomic_store(&d->page->left, 1); /* pairs with duct_fate */
    weave("duct.close.left");
    if (d->out.linked) {
        spout_greet(d);
        d->carrier->close(d->out.q.carried);
    }
    if (d->in.q.hail != NULL) {
        hail_ring(&d->in.q.hail->room); /* whoever waits for room in the inbox waits in vain */
    }
    if (d->receives) {
        d->carrier->close(d->in.q.carried);
        remove_inbox(d);
    }
    roll_leave(&d->roll);
    fd_close(&d->epoll);
    fd_close(&d->lit);
    fd_close(&d->tick);
    (void)pthread_mutex_lock(&d->noting);
    d->seen = NULL; /* somebody else's from now on */
    (void)pthread_mutex_unlock(&d->noting);
}

void duct_deinit(void *self) {
    struct duct *d = self;
    duct_part(&d->out.peer);
    duct_part(&d->in.peer);
    duct_part(&d->met);
    duct_part(&d->linked);
    draw_deinit(&d->in.q);
    free(d->out.q.out.rest.data);
    free(d->out.q.carried);
    free(d->in.q.carried);
    seg_unmap(&d->seg);
    roll_deinit(&d->roll);
    (void)pthread_mutex_destroy(&d->noting);
}

/* ---- waiting, and what it can be asked ---- */

int duct_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct duct *d = self;
    watch->slice = INT64_MAX;
    return way == MECH_OUT ? spout_arm(d, watch) : basin_arm(d, watch);
}

static void set_tick(const struct duct *d, bool runs) {
    int64_t tick = !runs ? 0 : d->carrier->silent ? TICK_SILENT_NS : TICK_NS;
    const struct itimerspec every = {clock_spec(tick), clock_spec(tick)};
    (void)timerfd_settime(d->tick, 0, &every, NULL);
}

void duct_relight(struct duct *d, bool lit, const struct duct_peer *peer) {
    eventfd_t ticks;
    (void)(lit ? eventfd_write(d->lit, 1) : eventfd_read(d->lit, &ticks));
    (void)eventfd_read(d->tick, &ticks); /* a timer is read like that too */
    set_tick(d, peer == NULL || peer->guard < 0 || d->carrier->silent);
    struct epoll_event event = {.events = EPOLLIN};
    if (peer != NULL && peer->guard >= 0) {
        (void)epoll_ctl(d->epoll, EPOLL_CTL_ADD, peer->guard, &event); /* again and again: it may be a new one */
    }
    struct mech_watch watch = {.fd = -1};
    if (peer != NULL && !d->receives && d->carrier->watch(d->out.q.carried, &watch) == 0 &&
        watch.kind == MECH_WATCH_FD) {
        event.events = EPOLLOUT;
        (void)epoll_ctl(d->epoll, EPOLL_CTL_ADD, watch.fd, &event);
    }
}

struct queue *duct_queue(struct duct *d, enum mech_way way) {
    return way == MECH_IN ? &d->in.q : d->out.linked ? &d->out.q : NULL;
}

int duct_fd(void *self, enum mech_way way, int *fd) {
    struct duct *d = self;
    struct mech_watch watch = {.fd = -1};
    struct epoll_event event = {.events = EPOLLIN};
    if (d->epoll < 0) {
        d->epoll = epoll_create1(EPOLL_CLOEXEC);
        d->lit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        d->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        bool waits = way == MECH_IN && d->carrier->watch(d->in.q.carried, &watch) == 0 && watch.kind == MECH_WATCH_FD;
        if (d->epoll < 0 || d->lit < 0 || d->tick < 0 || epoll_ctl(d->epoll, EPOLL_CTL_ADD, d->lit, &event) != 0 ||
            epoll_ctl(d->epoll, EPOLL_CTL_ADD, d->tick, &event) != 0 ||
            (waits && epoll_ctl(d->epoll, EPOLL_CTL_ADD, watch.fd, &event) != 0)) {
            int rc = err_system(errno, "%s: no descriptor for event loops", d->address);
            fd_close(&d->epoll);
            fd_close(&d->lit);
            fd_close(&d->tick);
            return rc;
        }
        /* The first call finds out; asked again, it is as the last call has left it. */
        duct_relight(d, true,
                     way == MECH_IN  ? (d->in.bound ? &d->in.peer : NULL)
                     : d->out.linked ? &d->out.peer
                                     : NULL);
    }
    *fd = d->epoll;
    return 0;
}

void duct_limits(void *self, struct thirl_limits *limits) {
    struct duct *d = self;
    struct carrier_facts facts;
    if (d->out.linked || d->receives) {
        facts = d->out.linked ? d->out.q.facts : d->in.q.facts;
    } else {
        d->carrier->claims(&facts);
    }
    uint64_t max = d->out.linked ? d->out.q.max : d->max;
    limits->message_max = d->stream ? UINT64_MAX : max;
    limits->queue = facts.bytes;
    limits->queue_messages = facts.packets;
    limits->ordered = facts.ordered;
    limits->reliable = facts.reliable;
    limits->pollable = 1;
    limits->senders = limits->receivers = 1;
    limits->atomic_max =
        facts.packet - FRAG_LABEL < limits->message_max ? facts.packet - FRAG_LABEL : limits->message_max;
    limits->priorities = 1;
}

int duct_peer(void *self, struct thirl_peer *peer) {
    struct duct *d = self;
    const struct node_peer *node = d->receives && d->in.bound                      ? &d->in.peer.node
                                   : d->sends && d->out.linked && d->in.final == 0 ? &d->out.peer.node
                                                                                   : NULL;
    if (node == NULL) {
        return -ENOTCONN;
    }
    node_describe(node, peer);
    return 0;
}
