/* SPDX-License-Identifier: MIT
 *
 * A queue as a mechanism: opening, closing, waiting, and what it can be asked. See queue.h.
 */
#define _GNU_SOURCE
#include "mech/queue.h"

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

#define PAUSE_FIRST (20 * CLOCK_US) /* between two tries where there is nothing to wait on; */
#define PAUSE_LONG (2 * CLOCK_MS)   /* each is twice the last, up to this */
#define TICK_NS (10 * CLOCK_MS)     /* and so often an event loop is sent to look */
#define TIDY_NS (200 * CLOCK_MS)    /* how long closing waits to remove an empty queue */

/* The address by which the registry knows what the kernel keeps. */
static void shorten(char address[NODE_ADDRESS_MAX], const struct mech_open *open) {
    (void)snprintf(address, NODE_ADDRESS_MAX, "%.*s%s", (int)strcspn(open->address, "?"), open->address,
                   open->options.raw != 0 ? "?raw" : "");
}

/* What the kernel will keep is noted before it is made. Of the raw form only what this end has made: the rest is somebody else's. */
static int open_noted(struct queue *q, const struct mech_open *open, struct carrier_open *wanted) {
    char place[CARRIER_PLACE_MAX] = "", noted[CARRIER_PLACE_MAX], address[NODE_ADDRESS_MAX];
    shorten(address, open);
    bool planned = !q->raw;
    kept_place(&q->roll, noted);
    wanted->place = noted;
    int rc = planned ? q->carrier->plan(wanted, place) : 0;
    rc = planned && rc == 0 ? kept_put(&q->roll, NULL, address, place, false) : rc;
    if (rc != 0) {
        return rc;
    }
    weave("queue.open.noted");
    memcpy(noted, place, sizeof noted);
    rc = q->carrier->open(q->carried, wanted, place);
    if (rc != 0) {
        struct carrier_left left;
        char why[400];
        (void)snprintf(why, sizeof why, "%s", thirl_why());
        if (planned && q->carrier->left(place, &left) == -ENOENT) {
            kept_drop(&q->roll, NULL);
        }
        return err_say(-rc, "%s", why); /* and not why nobody knows what is there */
    }
    q->carrier->facts(q->carried, &q->facts);
    if (strcmp(place, noted) != 0 && (!q->raw || q->facts.made)) {
        rc = kept_put(&q->roll, NULL, address, place, q->raw);
        if (rc != 0 && q->facts.made) {
            (void)q->carrier->remove(place); /* nothing would name it */
        }
        if (rc != 0) {
            q->carrier->close(q->carried);
        }
    }
    return rc;
}

/* This end's file in the roll: nobody reads it, but while it is there the end is. */
static int make_file(const struct queue *q) {
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, q->roll.self, q->sends ? "tx" : "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int fd = openat(q->roll.dir, unfinished, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_system(errno, "%s: the registry cannot be written", q->address);
    }
    fd_close(&fd);
    return 0;
}

static int join(struct queue *q, const struct mech_open *open, struct carrier_open *wanted) {
    char name[NODE_ADDRESS_MAX + 8];
    (void)snprintf(name, sizeof name, "%s%s", open->rest, q->raw ? "?raw" : "");
    int64_t until = clock_after(clock_now(), open->options.timeout);
    kept_sweep(q->carrier->scheme, name, until);
    int rc =
        roll_begin(&q->roll, q->carrier->scheme, name, ROLL_QUEUE | ROLL_LAYOUT(FRAG_VERSION) | q->sealed * ROLL_CRC,
                   q->sends, !q->sends, open->options.mode, until);
    rc = rc != 0 ? rc : roll_type(&q->roll, open->options.of, open->options.mode);
    if (rc != 0) {
        return rc;
    }
    rc = make_file(q);
    rc = rc == 0 ? open_noted(q, open, wanted) : rc;
    if (rc != 0) {
        roll_cancel(&q->roll);
        return rc;
    }
    q->joined = true;
    q->hail = q->carrier->silent ? hail_of(&q->roll) : NULL;
    rc = roll_finish(&q->roll);
    if (rc != 0) {
        q->carrier->close(q->carried);
    }
    return rc;
}

static void settle_limits(struct queue *q, const struct mech_open *open) {
    uint64_t whole = q->facts.packet > FRAG_LABEL ? q->facts.packet - FRAG_LABEL : 0;
    q->max = open->options.max < FRAG_SIZE_MAX ? open->options.max : FRAG_SIZE_MAX;
    q->max = q->facts.whole && q->max > whole ? whole : q->max;
    q->seen->queue = q->facts.bytes;
    if (q->facts.kept || !q->joined) {
        atomic_store(&q->seen->state, NODE_END_LINKED); /* to the queue itself, or to whoever is there */
    }
}

int queue_open(struct queue *q, const struct carrier *carrier, const struct mech_open *open) {
    q->carrier = carrier;
    q->raw = open->options.raw != 0;
    q->sealed = seal_kind(&open->options);
    q->sends = open->sends;
    q->seen = open->seen;
    q->epoll = q->lit = q->tick = -1;
    (void)strncpy(q->address, open->address, sizeof q->address - 1);
    if (open->options.of != NULL && !carrier->lasting) {
        return err_say(EOPNOTSUPP,
                       "%s: packets come from anywhere and nobody greets, so there is nobody to compare ?of with",
                       open->address);
    }
    q->carried = calloc(1, carrier->state_size);
    if (q->carried == NULL) {
        return err_say(ENOMEM, "%s: no memory for an end", open->address);
    }
    uint64_t *lost = open->sends ? &q->seen->out.lost : q->raw ? &q->seen->in.lost : NULL; /* NULL: by their numbers */
    struct carrier_open wanted = {.kind = CARRIER_NAMED,
                                  .way = open->sends ? MECH_OUT : MECH_IN,
                                  .address = open->address,
                                  .rest = open->rest,
                                  .options = &open->options,
                                  .lost = lost};
    int rc = carrier->lasting ? join(q, open, &wanted) : carrier->open(q->carried, &wanted, NULL);
    if (rc != 0) {
        free(q->carried);
        return rc;
    }
    carrier->facts(q->carried, &q->facts);
    q->counted = !q->joined; /* what is lasting loses nothing */
    settle_limits(q, open);
    if (!q->raw && q->facts.packet <= FRAG_LABEL) {
        rc = err_say(EMSGSIZE, "%s: packets of %zu bytes are too small for framed messages: %s, or use ?raw",
                     q->address, q->facts.packet, carrier->remedy);
    } else if (q->sends) {
        push_init(q);
    } else {
        rc = draw_init(q);
    }
    if (rc != 0) {
        queue_close(q);
        queue_deinit(q);
    }
    return rc;
}

void queue_close(void *self) {
    struct queue *q = self;
    if (q->in.turn != NULL) {
        turn_give(q->in.turn, &q->roll); /* with half a message: the others will forget its rest */
    }
    q->carrier->close(q->carried);
    weave("queue.close.between");
    if (q->joined) {
        roll_leave(&q->roll);
        (void)kept_tidy(q->roll.name, false, clock_after(clock_now(), TIDY_NS), NULL);
    }
    fd_close(&q->epoll);
    fd_close(&q->lit);
    fd_close(&q->tick);
}

void queue_deinit(void *self) {
    struct queue *q = self;
    if (q->sends) {
        free(q->out.rest.data);
    } else {
        draw_deinit(q);
    }
    if (q->joined) {
        roll_deinit(&q->roll);
    }
    free(q->carried);
}

/* What is in the queue is delivered as far as this end can know. */
int queue_flush(void *self, uint64_t *left) {
    struct queue *q = self;
    int rc = push_rest(q, false);
    *left = rc != 0;
    return rc;
}

int queue_look(void *self, enum mech_way way) {
    struct queue *q = self;
    return way == MECH_IN ? draw_look(q) : -EAGAIN;
}

void queue_pause(struct queue *q, struct mech_watch *watch) {
    q->pause = q->pause == 0 ? PAUSE_FIRST : q->pause < PAUSE_LONG ? 2 * q->pause : q->pause;
    watch->kind = MECH_WATCH_WORD;
    watch->word = &q->never;
    watch->slice = q->pause;
}

/* A try has failed since the word was wanted, and it is wanted still: then nothing can come without changing it. But for what
 * strangers put into a raw queue: there it is asked again and again. */
int queue_watch(struct queue *q, struct mech_watch *watch) {
    if (q->carrier->watch(q->carried, watch) == 0) {
        return 0;
    }
    if (q->hail == NULL) {
        queue_pause(q, watch);
        return 0;
    }
    struct hail_word *word = q->sends ? &q->hail->room : &q->hail->came;
    if (!q->hails || atomic_load(&word->given) != q->heard ||
        atomic_peek(&word->wanted) == 0) { /* pairs with hail_wake */
        q->heard = hail_want(word);
        q->hails = true;
        return 1;
    }
    if (q->raw) {
        queue_pause(q, watch);
    }
    watch->kind = MECH_WATCH_WORD;
    watch->word = &word->given;
    watch->value = q->heard;
    return 0;
}

int queue_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct queue *q = self;
    struct draw *in = &q->in;
    watch->slice = INT64_MAX;
    if (way == MECH_IN && draw_holds(q)) {
        return 1;
    }
    if (way == MECH_IN && in->turn != NULL && turn_want(in->turn, &q->roll, &watch->value)) {
        watch->kind = MECH_WATCH_WORD;
        watch->word = &in->turn->given;
        watch->slice = MECH_SLICE_NS;
        return 0;
    }
    if (way == MECH_IN && in->frag.parts != 0) {
        watch->slice = MECH_SLICE_NS; /* does its sender live? */
    }
    watch->value = 0;
    return queue_watch(q, watch);
}

static int add(struct queue *q, int fd, uint32_t events) {
    struct epoll_event event = {.events = events};
    return fd >= 0 && epoll_ctl(q->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

/* The carrier's descriptor, or a timer that sends the event loop to look; and one that is lit while a message is held. */
static int make_user(struct queue *q) {
    struct mech_watch watch = {.fd = -1};
    q->epoll = epoll_create1(EPOLL_CLOEXEC);
    q->lit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (q->epoll < 0 || add(q, q->lit, EPOLLIN) != 0) {
        return -1;
    }
    if (q->carrier->watch(q->carried, &watch) == 0 && watch.kind == MECH_WATCH_FD) {
        return add(q, watch.fd, watch.events == POLLIN ? EPOLLIN : EPOLLOUT);
    }
    const struct itimerspec every = {clock_spec(TICK_NS), clock_spec(TICK_NS)};
    q->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (q->tick < 0) {
        return -1;
    }
    (void)timerfd_settime(q->tick, 0, &every, NULL);
    return add(q, q->tick, EPOLLIN);
}

void queue_light(struct queue *q, bool lit) {
    eventfd_t ticks;
    (void)(lit && (draw_holds(q) || q->tick >= 0) ? eventfd_write(q->lit, 1) : eventfd_read(q->lit, &ticks));
    (void)eventfd_read(q->tick, &ticks); /* a timer is read like that too */
}

int queue_fd(void *self, enum mech_way way, int *fd) {
    struct queue *q = self;
    (void)way;
    if (q->epoll < 0) {
        if (make_user(q) != 0) {
            int rc = err_system(errno, "%s: no descriptor for event loops", q->address);
            fd_close(&q->epoll);
            fd_close(&q->lit);
            fd_close(&q->tick);
            return rc;
        }
        queue_light(q,
                    true); /* where nothing tells, the first call finds out; asked again, it is as that has left it */
    }
    *fd = q->epoll;
    return 0;
}

static void describe(const struct carrier_facts *facts, bool raw, uint64_t max, struct thirl_limits *limits) {
    limits->atomic_max = raw ? facts->packet : facts->packet - FRAG_LABEL;
    limits->atomic_max = !raw && max < limits->atomic_max ? max : limits->atomic_max;
    limits->message_max = raw ? facts->packet : max;
    limits->queue = facts->bytes;
    limits->queue_messages = facts->packets;
    limits->ordered = facts->ordered;
    limits->reliable = facts->reliable;
    limits->descriptors = facts->descriptors;
    limits->cross_host = facts->cross_host;
    limits->pollable = 1;
    limits->senders = facts->senders;
    limits->receivers = facts->receivers;
    limits->priorities = facts->priorities;
}

void queue_limits(void *self, struct thirl_limits *limits) {
    struct queue *q = self;
    q->carrier->facts(q->carried, &q->facts);
    describe(&q->facts, q->raw, q->max, limits);
}

void queue_claims(const struct carrier *carrier, struct thirl_limits *limits) {
    struct carrier_facts facts;
    carrier->claims(&facts);
    describe(&facts, false, facts.whole ? facts.packet - FRAG_LABEL : MECH_MAX, limits);
}

int queue_peer(void *self, struct thirl_peer *peer) {
    (void)self;
    (void)peer;
    return -ENOTCONN; /* nobody in particular */
}
