/* SPDX-License-Identifier: MIT
 *
 * shm:// for CALL and SERVE: the end, its list of conversations, and who is spoken to. See desk.h.
 */
#define _GNU_SOURCE
#include "mech/desk.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mech/reach.h"
#include "mech/seal.h"
#include "mech/straight.h"
#include "mem/place.h"

#define DESK_QUEUE (256u << 10) /* two for each conversation, and there may be many */
#define DESK_POOL (UINT64_C(64) << 20)
#define SCAN_NS (10 * CLOCK_MS) /* between two looks for further servers */
#define ASK_EACH 8              /* requests between two looks at how busy a server is */
#define SEAT(whom) ((uint32_t)(whom)&0xffff)
#define SAID_BUSY_MOST (UINT32_C(1) << 20)

/* ---- open ---- */

static int make_page(struct desk *d) {
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, d->roll.self, d->serves ? "rx" : "tx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make(&d->page, d->roll.dir, unfinished, sizeof(struct desk_page), 0, d->mode, d->address);
    if (rc != 0) {
        return rc;
    }
    d->own = (struct desk_page *)(void *)d->page.base;
    d->own->mark =
        (struct shm_mark){DESK_MAGIC,          SHM_VERSION,      d->heavy ? SHM_HEAVY : 0, sizeof(struct desk_page),
                          d->roll.self.number, d->roll.self.node};
    weave("desk.open.page");
    roll_file(file, d->roll.self, "door"); /* before the page has its name, by which others find both */
    rc = door_make(&d->door, d->roll.dir, file, d->mode, d->address);
    d->door.asleep = &d->own->asleep;
    d->door.polled = &d->own->polled;
    return rc;
}

static int desk_open(void *self, const struct mech_open *open) {
    struct desk *d = self;
    d->seen = open->seen;
    d->serves = open->role == THIRL_SERVE;
    d->mode = open->options.mode;
    d->queue = open->options.queue;
    d->options = open->options;
    d->heavy = futex_fence_join();
    lamp_init(&d->lamp);
    lamp_init(&d->room);
    (void)strncpy(d->address, open->address, sizeof d->address - 1);
    if (d->queue > UINT64_C(1) << 30) {
        return err_say(EINVAL, "%s: a queue in shared memory has at most 1 GiB", open->address);
    }
    uint64_t ring = seg_round(1);
    while (ring < d->queue) {
        ring *= 2;
    }
    uint64_t within = ring - 2 * sizeof(struct lane_head), away = pool_most(d->options.pool);
    uint64_t most = (within > away ? within : away) - DESK_HEAD;
    d->max = open->options.max < most ? open->options.max : most;
    int rc = roll_begin(&d->roll, "shm", open->rest,
                        ROLL_CALL | ROLL_LAYOUT(SHM_VERSION) | seal_kind(&open->options) * ROLL_CRC, !d->serves,
                        d->serves, d->mode, clock_after(clock_now(), open->options.timeout));
    rc = rc != 0 ? rc : roll_type(&d->roll, open->options.of, d->mode);
    if (rc != 0) {
        return rc;
    }
    (void)pthread_mutex_init(&d->noting, NULL);
    (void)node_life_word(d->roll.self.number); /* before anybody can look for it */
    rc = make_page(d);
    if (rc != 0) {
        roll_cancel(&d->roll);
    } else {
        rc = roll_finish(&d->roll);
    }
    if (rc != 0) {
        seg_unmap(&d->page);
        door_close(&d->door);
        return rc;
    }
    d->seen->queue = ring;
    door_mark(&d->door, 0); /* a server's clients may have been here before it */
    return 0;
}

static void desk_close(void *self) {
    struct desk *d = self;
    atomic_store(&d->own->gone, 1); /* pairs with the load in talk_lost */
    for (uint32_t seat = 1; seat < d->top; seat++) {
        if (d->in[seat] != NULL) {
            inlet_close(&d->in[seat]->shm.in); /* first, as for a pair */
        }
        if (d->out[seat] != NULL) {
            outlet_close(&d->out[seat]->shm.out);
            talk_remove(d->out[seat]);
        }
    }
    weave("desk.close.shown");
    roll_leave(&d->roll);
    (void)pthread_mutex_lock(&d->noting);
    d->seen = NULL;
    (void)pthread_mutex_unlock(&d->noting);
}

static void desk_deinit(void *self) {
    struct desk *d = self;
    for (uint32_t seat = 1; seat < d->top; seat++) {
        struct talk *in = d->in[seat], *out = d->out[seat];
        if (in != NULL) {
            talk_leave_in(in);
        }
        if (out != NULL) {
            talk_leave_out(out);
        }
    }
    lamp_deinit(&d->lamp);
    lamp_deinit(&d->room);
    roll_deinit(&d->roll);
    seg_unmap(&d->page);
    door_close(&d->door);
    free(d->known);
    (void)pthread_mutex_destroy(&d->noting);
}

/* ---- meeting ---- */

/* A client's way OUT: begins conversations with the servers that it does not know. What goes wrong is said when there is no other. */
static int look_for_servers(struct desk *d) {
    struct roll_end end;
    int rc = -EAGAIN;
    for (uint32_t at = 0; roll_next(&d->roll, PLACE_RECEIVES, &at, &end);) {
        bool known = false;
        for (uint32_t seat = 1; !known && seat < d->top; seat++) {
            known = d->out[seat] != NULL && desk_same(&d->out[seat]->shm.mate, &end);
        }
        for (unsigned i = 0; !known && i < sizeof d->barred / sizeof *d->barred; i++) {
            known = desk_same(&d->barred[i], &end);
        }
        if (!known && node_alive(end.node)) {
            int made = talk_make(d, &end);
            rc = made == 0 ? rc : made;
        }
    }
    return rc;
}

/* ---- the way OUT ---- */

static void leave(struct desk *d, struct talk *t) {
    if (t->over == THIRL_EFORMAT) {
        d->barred[d->bars++ % (sizeof d->barred / sizeof *d->barred)] = t->shm.mate;
    }
    d->blocked = d->blocked == t ? NULL : d->blocked;
    d->out[t->seat] = NULL;
    (void)atomic_sub(&d->overs, 1);
    talk_leave_out(t);
}

/* Lets go of what the way IN has let go of. */
static __attribute__((noinline)) void clear(struct desk *d) {
    for (uint32_t seat = 1, top = atomic_load(&d->top); seat < top; seat++) {
        struct talk *t = atomic_load(&d->out[seat]);
        if (t != NULL && atomic_load(&t->over) != 0) {
            leave(d, t);
        }
    }
}

/* The way IN has to say it. */
static void break_off(struct desk *d, struct talk *t, int code) {
    atomic_store(&t->broken, (uint32_t)-code); /* pairs with the load in talk_take */
    (void)door_knock(&d->door, t->seat);
    if (door_asks(&d->door)) {
        (void)mate_ring_fifo(&d->roll, &d->roll.self, SHM_DATA_FIFO);
    }
}

/* *failed gets what was only refused to this process just now, such as a descriptor: the next look may find it. */
static bool is_fit(struct desk *d, struct talk *t, int *failed) {
    if (t == NULL || atomic_load(&t->over) != 0 || atomic_peek(&t->broken) != 0) {
        return false;
    }
    int rc = reach_open(&t->shm.out);
    if (unlikely(shm_final(rc))) {
        break_off(d, t, rc);
    } else if (unlikely(rc != 0 && rc != -EAGAIN)) {
        *failed = rc;
    }
    return rc == 0;
}

/* What a server has to do: for this client, and for others when it was last asked. */
static uint64_t load_of(struct desk *d, struct talk *t) {
    uint64_t own = t->asked - atomic_peek(&t->finals);
    own = own > INT64_MAX ? 0 : own;
    if (d->choices % ASK_EACH == t->seat % ASK_EACH) {
        uint32_t busy = atomic_peek(&t->theirs->busy);
        busy = busy < SAID_BUSY_MOST ? busy : SAID_BUSY_MOST;
        t->others = busy > own ? busy - (uint32_t)own : 0;
    }
    return own + t->others;
}

static __attribute__((noinline)) int choose_with_care(struct desk *d, uint64_t *whom) {
    if (unlikely(atomic_load(&d->overs) != 0)) {
        clear(d);
    }
    struct talk *best = NULL;
    uint64_t least = UINT64_MAX;
    int failed = -EAGAIN;
    uint32_t top = atomic_load(&d->top), first = (uint32_t)++d->choices;
    for (uint32_t i = 0; i < top; i++) {
        struct talk *t = atomic_load(&d->out[(i + first) % top]); /* pairs with the release in talk_make */
        if (is_fit(d, t, &failed)) {
            uint64_t load = load_of(d, t);
            best = load < least ? t : best;
            least = load < least ? load : least;
        }
    }
    uint32_t change = atomic_load(d->roll.change) + 1;
    int rc = -EAGAIN;
    if (unlikely(change != d->change) && (best == NULL || clock_now() - d->scanned > SCAN_NS)) {
        d->change = change;
        d->scanned = clock_now();
        rc = look_for_servers(d);
        d->change = rc == -EAGAIN ? change : 0;
    }
    if (best == NULL) {
        d->blocked = NULL;
        return rc == -EAGAIN ? failed : rc;
    }
    *whom = best->whom;
    return 0;
}

/* Mostly there is one server, he is well, and nobody has come or gone. */
static int desk_choose(void *self, uint64_t *whom) {
    struct desk *d = self;
    struct talk *only =
        atomic_load(&d->top) == 2 ? atomic_load(&d->out[1]) : NULL; /* pairs with the release in talk_make */
    if (unlikely(only == NULL || atomic_load(&d->overs) != 0 || atomic_load(d->roll.change) + 1 != d->change ||
                 atomic_load(&only->over) != 0 || atomic_peek(&only->broken) != 0 || !reach_is_ready(&only->shm.out))) {
        return choose_with_care(d, whom);
    }
    *whom = only->whom;
    return 0;
}

/* Would a request, or the answer that had no room last, go now? */
static bool out_ready(struct desk *d) {
    struct talk *t = d->blocked;
    if (t != NULL) {
        return atomic_load(&t->over) != 0 || outlet_ready(&t->shm.out);
    }
    uint64_t whom;
    return d->serves || desk_choose(d, &whom) != -EAGAIN;
}

static void settle_out(struct desk *d) {
    struct talk *t = d->blocked;
    if (out_ready(d)) {
        lamp_light(&d->room);
        return;
    }
    lamp_guard(&d->room, t != NULL && t->shm.out.linked ? &t->shm.out.peer.node : NULL);
    lamp_dark(&d->room);
    if (t != NULL) {
        outlet_poll(&t->shm.out);
    }
    if (out_ready(d)) {
        lamp_light(&d->room);
    }
}

static int say_over(struct desk *d, const struct talk *t) {
    uint32_t code = t == NULL ? THIRL_ECLOSED : atomic_load(&t->over);
    code = code == 0 ? atomic_load(&t->broken) : code;
    return err_say((int)code, "%s: the %s that this was for %s", d->address, d->serves ? "client" : "server",
                   code == THIRL_EPEERDIED ? "died" : "is no more");
}

static int send_one(struct desk *d, const void *data, size_t size, const struct mech_note *note) {
    uint32_t seat = SEAT(note->whom) % DOOR_SEATS;
    struct talk *t = atomic_load(&d->out[seat]);
    if (unlikely(t == NULL || t->whom != note->whom || atomic_load(&t->over) != 0 || atomic_peek(&t->broken) != 0)) {
        return say_over(d, t != NULL && t->whom == note->whom ? t : NULL);
    }
    if (unlikely(size > d->max)) {
        return err_say(EMSGSIZE,
                       "%s: a message of %zu bytes is larger than the %llu that fit; open it with ?queue=%llu or more",
                       d->address, size, (unsigned long long)d->max,
                       (unsigned long long)(size + DESK_HEAD + 2 * sizeof(struct lane_head)));
    }
    const bool more = note->kind == MECH_REQUEST && (note->deadline != INT64_MAX || note->again);
    const uint64_t head[] = {note->call | (uint64_t)note->kind << DESK_KIND_SHIFT | (more ? DESK_LONG : 0),
                             ((uint64_t)note->deadline & ~UINT64_C(15)) | (note->again ? DESK_AGAIN : 0)};
    int rc = straight_send(&t->shm.out, head, 1 + more, data, size);
    weave("desk.send.after");
    if (likely(rc == 0)) {
        bool counts = note->kind == MECH_REQUEST || note->kind == MECH_REPLY || note->kind == MECH_FAILED;
        atomic_poke(&t->asked, t->asked + counts);
        if (unlikely(!d->serves && !atomic_peek(&t->hot))) {
            door_mark(&d->door, t->seat); /* its life is this end's concern from now on */
        }
        if (d->serves && counts) {
            atomic_poke(&d->answered, d->answered + 1);
        }
    } else if (rc == -EAGAIN) {
        uint32_t lost = t->shm.out.linked ? 0 : talk_lost(t);
        d->blocked = t;
        if (unlikely(lost != 0)) {
            break_off(d, t, -(int)lost);
            return say_over(d, t);
        }
    } else {
        break_off(d, t, rc);
    }
    return rc;
}

static int desk_send(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note, bool wait) {
    struct desk *d = self;
    (void)done;
    (void)wait;
    int rc = send_one(d, data, size, note);
    if (unlikely(d->room.fifo >= 0)) {
        settle_out(d);
    }
    return rc;
}

/* Of a server: have the callers taken their answers? A client's requests are nobody's concern when it goes. */
static int desk_flush(void *self, uint64_t *left) {
    struct desk *d = self;
    *left = 0;
    int rc = 0;
    for (uint32_t seat = 1; d->serves && seat < d->top; seat++) {
        struct talk *t = d->out[seat];
        uint64_t some = 0;
        if (t == NULL || !t->shm.out.linked || atomic_load(&t->over) != 0) {
            continue;
        }
        int one = outlet_flush(&t->shm.out, &some);
        *left += some;
        if (one == -EAGAIN) {
            rc = one;
            d->blocked = t;
        }
    }
    return rc;
}

/* ---- waiting ---- */

static bool desk_ready(void *self, enum mech_way way) {
    return way == MECH_OUT ? out_ready(self) : hark_ready(self);
}

static int desk_look(void *self, enum mech_way way) {
    struct desk *d = self;
    if (way == MECH_OUT) {
        d->change = 0;
        if (atomic_load(&d->overs) != 0) {
            clear(d); /* a server's, which chooses nobody */
        }
        return d->blocked != NULL && outlet_look(&d->blocked->shm.out) == 0 ? 0 : -EAGAIN;
    }
    return hark_look(d);
}

/* Several threads may wait for room with several peers, and which of them comes up is not known when it disarms: so none sleeps for
 * longer than a slice. */
static int64_t disarm_out(struct desk *d) {
    int64_t rang = 0;
    d->pressing--;
    for (uint32_t seat = 1, top = atomic_load(&d->top); d->pressing == 0 && seat < top; seat++) {
        struct talk *t = atomic_load(&d->out[seat]);
        if (t != NULL && t->pressed) {
            t->pressed = false;
            rang = outlet_disarm(&t->shm.out);
        }
    }
    return rang;
}

static int arm_out(struct desk *d, struct mech_watch *watch) {
    struct talk *t = d->blocked;
    if (t == NULL || atomic_load(&t->over) != 0) {
        uint64_t whom;
        watch->kind = MECH_WATCH_WORD;
        watch->word = d->roll.change;
        watch->value = atomic_load(watch->word);
        watch->slice = MECH_SLICE_NS;
        d->change = 0; /* look even if nothing seems to have changed */
        if (t != NULL || desk_choose(d, &whom) != -EAGAIN) {
            return 1;
        }
        d->pressing++;
        return 0;
    }
    if (t->pressed) {
        t->pressed = false;
        (void)outlet_disarm(&t->shm.out);
    }
    int rc = outlet_arm(&t->shm.out, watch);
    watch->slice = watch->slice < MECH_SLICE_NS ? watch->slice : MECH_SLICE_NS;
    if (rc == 0) {
        t->pressed = true;
        d->pressing++;
    }
    return rc;
}

static int desk_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    return way == MECH_IN ? hark_arm(self, watch) : arm_out(self, watch);
}

static int64_t desk_disarm(void *self, enum mech_way way) {
    return way == MECH_IN ? hark_disarm(self) : disarm_out(self);
}

static void desk_wake(void *self, enum mech_way way) {
    struct desk *d = self;
    if (way == MECH_IN) {
        door_wake(&d->door);
    } else {
        (void)futex_wake(d->roll.change, INT_MAX); /* the others look after a slice */
    }
}

static uint64_t desk_server(void *self, enum mech_way way, uint64_t whom) {
    const struct desk *d = self;
    uint64_t node = 0;
    unsigned found = 0;
    if (way == MECH_IN) {
        const struct talk *t = d->in[SEAT(whom) % DOOR_SEATS];
        return t != NULL && t->whom == whom ? t->shm.mate.node : 0;
    }
    for (uint32_t seat = 1, top = atomic_load(&d->top); seat < top && found < 2; seat++) {
        const struct talk *t = atomic_load(&d->out[seat]);
        if (t != NULL && atomic_load(&t->over) == 0) {
            node = t->shm.mate.node;
            found++;
        }
    }
    return found == 1 ? node : 0;
}

static bool desk_spin(void *self, enum mech_way way) {
    struct desk *d = self;
    struct talk *t = way == MECH_OUT ? d->blocked : d->warm != 0 ? d->hot[d->turn < d->warm ? d->turn : 0] : NULL;
    return t == NULL || shm_spin(&t->shm, way);
}

/* ---- what is true of it ---- */

static int desk_fd(void *self, enum mech_way way, int *fd) {
    struct desk *d = self;
    struct lamp *lamp = way == MECH_OUT ? &d->room : &d->lamp;
    if (lamp->fifo < 0) {
        char file[ROLL_FILE_MAX];
        roll_file(file, d->roll.self, way == MECH_OUT ? SHM_ROOM_FIFO : SHM_DATA_FIFO);
        int rc = lamp_make(lamp, d->roll.dir, file, d->mode, d->address);
        if (rc != 0) {
            return rc;
        }
    }
    if (way == MECH_OUT) {
        settle_out(d);
    } else {
        hark_settle(d);
    }
    *fd = lamp->epoll;
    return 0;
}

static void desk_limits(void *self, struct thirl_limits *limits) {
    const struct desk *d = self;
    limits->message_max = d->max;
    limits->queue = d->seen != NULL ? d->seen->queue : DESK_QUEUE;
    limits->reliable = 1;
    limits->pollable = 1;
    limits->atomic_max = d->max;
    limits->priorities = 1;
    limits->pool = d->options.pool;
    limits->lends = d->options.pool < 4 * POOL_LENDS ? 0 : POOL_LENDS;
}

static void desk_claims(struct thirl_limits *limits) {
    const uint64_t max = DESK_POOL / 4 - DESK_HEAD;
    limits->message_max = max;
    limits->queue = DESK_QUEUE;
    limits->reliable = 1;
    limits->pollable = 1;
    limits->atomic_max = max;
    limits->priorities = 1;
    limits->pool = DESK_POOL;
    limits->lends = POOL_LENDS;
}

static int desk_peer(void *self, struct thirl_peer *peer) {
    struct desk *d = self;
    if (d->warm == 0) {
        return -ENOTCONN;
    }
    const struct node_peer *node = &d->hot[d->turn < d->warm ? d->turn : 0]->shm.in.peer.node;
    node_describe(node, peer);
    return 0;
}

const struct mech mech_desk = {
    .scheme = "shm",
    .summary = "shared memory, calls: a lane for each direction of each conversation, one sleep for all",
    .state_size = sizeof(struct desk),
    .roles = 1u << THIRL_CALL | 1u << THIRL_SERVE,
    .registry = true,
    .crc = true,
    .clocked = true,
    .queue = DESK_QUEUE,
    .pool = DESK_POOL,
    .open = desk_open,
    .close = desk_close,
    .deinit = desk_deinit,
    .flush = desk_flush,
    .send_noted = desk_send,
    .take_noted = hark_take,
    .choose = desk_choose,
    .wake = desk_wake,
    .server = desk_server,
    .free = hark_free,
    .ready = desk_ready,
    .look = desk_look,
    .arm = desk_arm,
    .disarm = desk_disarm,
    .spin = desk_spin,
    .fd = desk_fd,
    .limits = desk_limits,
    .claims = desk_claims,
    .peer = desk_peer,
};
