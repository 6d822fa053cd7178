/* SPDX-License-Identifier: MIT
 *
 * shm:// for NOTIFY and WATCH: events of one word, as sig:// has them, but counted in a table that all ends of the channel map
 * (mem/tally). What is told again before it was taken is one message that stands for several. The roll is where a notifier
 * learns that somebody watches, and that he is gone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "base/weave.h"
#include "mech/lamp.h"
#include "mech/mech.h"
#include "mech/toll.h"
#include "mem/roll.h"
#include "mem/tally.h"

#define EVENT_WORD 4 /* bytes of an event */
#define EVENT_TABLE 4096

struct event {
    struct roll roll;
    struct tally tally;
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
    bool sends;
    struct lamp lamp;
    /* a notifier: */
    bool met, final;
    struct roll_end watcher;
    struct node_peer node;
    uint32_t change; /* of the roll, when it was last looked at */
    int fifo;        /* the watcher's, -1 while not needed */
};

/* ---- open and close ---- */

static int join(struct event *e, const struct mech_open *open) {
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    int rc = tally_open(&e->tally, e->roll.dir, open->options.queue, open->options.mode, e->address);
    if (rc == 0) {
        roll_file(file, e->roll.self, e->sends ? "tx" : "rx");
        (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
        int fd = openat(e->roll.dir, unfinished, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        rc = fd < 0 ? err_system(errno, "%s: the registry cannot be written", e->address) : 0;
        fd_close(&fd);
    }
    if (rc != 0) {
        roll_cancel(&e->roll);
        return rc;
    }
    e->change = atomic_load(e->roll.change) - 1;
    (void)node_life_word(e->roll.self.number); /* before anybody can look for it */
    weave("event.join.before");
    return roll_finish(&e->roll);
}

static int open_slot(void *self, const struct mech_open *open) {
    struct event *e = self;
    e->seen = open->seen;
    e->sends = open->sends;
    e->node.fd = e->fifo = -1;
    lamp_init(&e->lamp);
    (void)strncpy(e->address, open->address, sizeof e->address - 1);
    int rc = roll_begin(&e->roll, "shm", open->rest, ROLL_EVENT | ROLL_LAYOUT(TALLY_VERSION), e->sends, !e->sends,
                        open->options.mode, clock_after(clock_now(), open->options.timeout));
    rc = rc != 0 ? rc : roll_type(&e->roll, open->options.of, open->options.mode);
    rc = rc != 0 ? rc : join(e, open);
    if (rc != 0) {
        tally_close(&e->tally);
        return rc;
    }
    e->seen->queue = e->tally.slots * sizeof(uint64_t);
    if (!e->sends) {
        atomic_store(&e->seen->state, NODE_END_LINKED); /* to whoever notifies */
    }
    return 0;
}

static void part(struct event *e) {
    if (e->met) {
        node_peer_close(&e->node);
        e->met = false;
    }
    fd_close(&e->fifo);
    node_end_peer(e->seen, 0, "");
}

static void close_slot(void *self) {
    struct event *e = self;
    weave("event.close.before");
    roll_leave(&e->roll);
    part(e);
    lamp_deinit(&e->lamp);
}

static void deinit_slot(void *self) {
    struct event *e = self;
    tally_close(&e->tally);
    roll_deinit(&e->roll);
}

static int flush_slot(void *self, uint64_t *left) {
    (void)self;
    *left = 0; /* it is all in the table */
    return 0;
}

/* ---- whom a notifier has met ---- */

static int say_final(const struct event *e) {
    return err_say(THIRL_ECLOSED, "%s: the watcher closed its end", e->address);
}

static int find(struct event *e) {
    struct roll_end end;
    uint32_t change = atomic_load(e->roll.change); /* pairs with roll_tell */
    if (change == e->change) {
        return -EAGAIN;
    }
    e->change = change;
    if (roll_find(&e->roll, "rx", &end) != 0) {
        return -EAGAIN;
    }
    int rc = node_peer_open(&e->node, end.node, end.number);
    if (rc != 0) {
        e->change -= rc != -ESRCH; /* an error is said again */
        return rc == -ESRCH ? -EAGAIN : rc;
    }
    e->watcher = end;
    e->met = true;
    node_end_peer(e->seen, e->node.pid, proc_name(e->node.exe));
    return 0;
}

static bool is_calm(const struct event *e) {
    return e->met && atomic_load(e->roll.change) == e->change && e->node.life != NULL && !node_peer_doubtful(&e->node);
}

/* Is whoever this end has met still there? 0; -THIRL_EPEERDIED, once; -THIRL_ECLOSED. */
static int check(struct event *e) {
    uint32_t change = atomic_load(e->roll.change); /* pairs with roll_tell */
    if (!node_peer_alive(&e->node)) {
        int rc = err_say(THIRL_EPEERDIED, "%s: the watcher, %.*s, died", e->address, NODE_PEER_MAX - 1, e->seen->peer);
        part(e);
        e->change = atomic_load(e->roll.change) - 1; /* look at once for the next one */
        return rc;
    }
    if (change != e->change && !roll_has(&e->roll, e->watcher, "rx")) {
        e->final = true;
        part(e);
        return say_final(e);
    }
    e->change = change;
    return 0;
}

/* ---- send ---- */

/* The watcher's descriptor wants a byte. */
static __attribute__((noinline)) void ring_fifo(struct event *e, uint32_t wants) {
    const char byte = 1;
    char file[ROLL_FILE_MAX];
    roll_file(file, e->watcher, "bell");
    if (e->fifo < 0) {
        /* For reading too: a FIFO that its owner has closed would be SIGPIPE. */
        e->fifo = openat(e->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    }
    weave("event.ring.before");
    if (e->fifo >= 0) {
        (void)!write(e->fifo, &byte, 1); /* a full one is readable already */
    } else {
        (void)tube_ring(e->roll.dir, file);
    }
    tally_grant(&e->tally.head->came, wants);
}

static void relight(struct event *e);

HOT static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct event *e = self;
    uint32_t event = 0;
    (void)wait;
    if (likely(size == EVENT_WORD)) {
        memcpy(&event, data, EVENT_WORD);
    }
    if (unlikely(size != EVENT_WORD || event >> 31 != 0)) {
        return toll_read(e->address, data, size, &event);
    }
    if (unlikely(e->final)) {
        return say_final(e);
    }
    int rc = likely(is_calm(e)) ? 0 : e->met ? check(e) : find(e);
    rc = rc == 0 ? tally_add(&e->tally, event) : rc;
    if (rc == 0) {
        uint32_t wants = tally_ring(&e->tally.head->came);
        *done = size;
        if (unlikely(wants != 0)) {
            ring_fifo(e, wants);
        }
    }
    if (unlikely(e->lamp.fifo >= 0)) {
        relight(e);
    }
    return rc;
}

/* ---- receive ---- */

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct event *e = self;
    uint32_t event, count;
    (void)wait;
    bool there = tally_see(&e->tally, &event, &count);
    if (there && unlikely(capacity < EVENT_WORD)) {
        *size = EVENT_WORD;
        return -EMSGSIZE;
    }
    if (there) {
        memcpy(buffer, &event, EVENT_WORD);
        *size = EVENT_WORD;
        tally_take(&e->tally, &count);
        note->times = count;
        (void)tally_ring(&e->tally.head->room); /* no notifier's descriptor is rung: its timer tells */
    }
    if (unlikely(e->lamp.fifo >= 0)) {
        relight(e);
    }
    return there ? 0 : -EAGAIN;
}

HOT static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct mech_note note;
    return recv_noted_slot(self, buffer, capacity, size, &note, wait);
}

/* ---- waiting ---- */

/* Not calm: would a send be told something of the watcher? Where no word says that it lives, it is looked at. */
static bool has_news(struct event *e) {
    return atomic_load(e->roll.change) != e->change || node_peer_changed(&e->node) || !node_peer_alive(&e->node);
}

static bool ready_slot(void *self, enum mech_way way) {
    struct event *e = self;
    if (way == MECH_IN) {
        return tally_any(&e->tally);
    }
    if (e->final || (e->met && !is_calm(e) && has_news(e))) {
        return true;
    }
    int rc = e->met ? 0 : find(e);
    return rc == 0 ? tally_has_room(&e->tally) : rc != -EAGAIN;
}

/* Also at a watcher whose end changes no word, which a program that keeps its own list of robust locks is. */
static int look_slot(void *self, enum mech_way way) {
    struct event *e = self;
    if (way == MECH_OUT && e->met && !node_peer_alive(&e->node)) {
        e->change = atomic_load(e->roll.change) - 1; /* the next send says so */
        return 0;
    }
    return ready_slot(self, way) ? 0 : -EAGAIN;
}

/* What the descriptor shows: as it is, and rung from now on. */
static void relight(struct event *e) {
    enum mech_way way = e->sends ? MECH_OUT : MECH_IN;
    if (ready_slot(e, way)) {
        lamp_light(&e->lamp);
        return;
    }
    lamp_guard(&e->lamp, NULL); /* ticks: a notifier may die between an event and its ring */
    lamp_dark(&e->lamp);
    if (way == MECH_IN) {
        (void)tally_wish(&e->tally.head->came, TALLY_POLLS);
    }
    if (look_slot(e, way) == 0) {
        lamp_light(&e->lamp);
    }
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct event *e = self;
    struct tally_wish *wish = way == MECH_IN ? &e->tally.head->came : &e->tally.head->room;
    watch->kind = MECH_WATCH_WORD;
    watch->slice = MECH_SLICE_NS;
    if (way == MECH_OUT) {
        e->seen->out.waits++;
    } else {
        e->seen->in.waits++;
    }
    if (way == MECH_OUT && !e->met) {
        watch->word = e->roll.change;
        watch->value = e->change;
    } else {
        watch->word = &wish->given;
        watch->value = tally_wish(wish, TALLY_SLEEPS);
    }
    if (way == MECH_OUT && e->met) {
        watch->life = e->node.life;
        watch->life_value = e->node.life_value;
    }
    return ready_slot(e, way);
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

/* A watcher may spin: a look is a few cache lines. A notifier that finds the table full waits for a whole turn of the watcher. */
static bool spin_slot(void *self, enum mech_way way) {
    (void)self;
    return way == MECH_IN;
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct event *e = self;
    (void)way;
    if (e->lamp.fifo < 0) {
        char file[ROLL_FILE_MAX];
        roll_file(file, e->roll.self, "bell");
        int rc = lamp_make(&e->lamp, e->roll.dir, file, 0600, e->address);
        if (rc != 0) {
            return rc;
        }
    }
    relight(e);
    *fd = e->lamp.epoll;
    return 0;
}

/* ---- what is true of it ---- */

static void claims_slot(struct thirl_limits *limits) {
    limits->message_max = limits->atomic_max = EVENT_WORD;
    limits->queue = EVENT_TABLE;
    limits->queue_messages = EVENT_TABLE / sizeof(uint64_t);
    limits->reliable = limits->pollable = 1;
    limits->receivers = 1;
    limits->priorities = 1;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    const struct event *e = self;
    claims_slot(limits);
    limits->queue = e->tally.slots * sizeof(uint64_t);
    limits->queue_messages = e->tally.slots;
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    struct event *e = self;
    struct proc own;
    if (!e->met) {
        return -ENOTCONN;
    }
    proc_self(&own);
    peer->pid = e->node.pid_space == own.pid_space ? e->node.pid : 0;
    peer->uid = e->node.uid;
    peer->gid = e->node.gid;
    memcpy(peer->exe, e->node.exe, sizeof peer->exe);
    return 0;
}

const struct mech mech_event = {
    .scheme = "shm",
    .summary = "shared memory: events with 31 bits, counted in a table, for one watcher",
    .state_size = sizeof(struct event),
    .roles = 1u << THIRL_NOTIFY | 1u << THIRL_WATCH,
    .registry = true,
    .queue = EVENT_TABLE,
    .max = EVENT_WORD,
    .more = "as many different events may wait as its table has words, one for each 8 bytes of ?queue=",
    .open = open_slot,
    .close = close_slot,
    .deinit = deinit_slot,
    .flush = flush_slot,
    .send = send_slot,
    .recv = recv_slot,
    .recv_noted = recv_noted_slot,
    .ready = ready_slot,
    .look = look_slot,
    .arm = arm_slot,
    .disarm = disarm_slot,
    .spin = spin_slot,
    .fd = fd_slot,
    .limits = limits_slot,
    .claims = claims_slot,
    .peer = peer_slot,
    .kin = &mech_desk,
};
