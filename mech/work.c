/* SPDX-License-Identifier: MIT
 *
 * shm:// with PUSH and PULL: a work queue in shared memory as a mechanism. Joins the channel, and hands each way to its half.
 */
#include "mech/work.h"

#include "mech/seal.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"

#define WORK_QUEUE (4u << 20)
#define WORK_POOL (UINT64_C(64) << 20)

static int join(struct work *w, const struct mech_open *open) {
    int rc =
        roll_begin(&w->roll, "shm", open->rest,
                   ROLL_QUEUE | ROLL_LAYOUT(WORK_VERSION + CLAIM_VERSION) | seal_kind(&open->options) * ROLL_CRC,
                   open->sends, open->receives, open->options.mode, clock_after(clock_now(), open->options.timeout));
    rc = rc != 0 ? rc : roll_type(&w->roll, open->options.of, open->options.mode);
    if (rc != 0) {
        return rc;
    }
    w->rouse = (struct rouse *)(void *)((char *)w->roll.change + ROLL_ROUSE);
    rouse_join(w->rouse, w->heavy);
    (void)node_life_word(w->roll.self.number); /* before anybody can look for it */
    rc = w->sends ? offer_init(w, &open->options) : toil_init(w);
    if (rc != 0) {
        roll_cancel(&w->roll);
        return rc;
    }
    return roll_finish(&w->roll);
}

static int work_open(void *self, const struct mech_open *open) {
    struct work *w = self;
    w->seen = open->seen;
    w->sends = open->sends;
    w->max = open->options.max < LANE_SIZE_MAX / 2 ? open->options.max : LANE_SIZE_MAX / 2;
    w->mode = open->options.mode;
    w->full = open->options.full;
    w->heavy = futex_fence_join();
    lamp_init(&w->lamp);
    (void)snprintf(w->address, sizeof w->address, "%s", open->address);
    if (open->sends && open->options.queue > CLAIM_RING_MAX) {
        return err_say(EINVAL, "%s: a queue in shared memory has at most 1 GiB", open->address);
    }
    int rc = join(w, open);
    if (rc != 0) {
        claim_unmap(&w->out.claim);
        return rc;
    }
    w->seen->queue = w->out.claim.tx.ring;
    return 0;
}

static void work_close(void *self) {
    struct work *w = self;
    if (w->sends) {
        offer_close(w);
    } else {
        toil_close(w);
    }
    w->closed = true;
    lamp_deinit(&w->lamp);
    w->lamp.fifo = -1;
    w->seen = NULL;                      /* somebody else's from now on */
    if (w->sends || w->in.pieces == 0) { /* what was taken stays this worker's until it is freed */
        roll_leave(&w->roll);
        w->left = true;
    }
}

static void work_deinit(void *self) {
    struct work *w = self;
    if (!w->left) {
        toil_close(w);
        roll_leave(&w->roll);
    }
    if (w->sends) {
        offer_deinit(w);
    } else {
        toil_deinit(w);
    }
    crew_deinit(w);
    roll_deinit(&w->roll);
}

/* What was sent is kept: nobody needs to wait for who takes it. */
static int work_flush(void *self, uint64_t *left) {
    (void)self;
    *left = 0;
    return 0;
}

static void work_free(void *self, struct mech_piece *piece, enum mech_way way) {
    if (way == MECH_OUT) {
        offer_free(self, piece);
    } else {
        toil_free(self, piece);
    }
}

static bool work_ready(void *self, enum mech_way way) {
    return way == MECH_OUT ? offer_ready(self) : toil_ready(self);
}

static int work_look(void *self, enum mech_way way) {
    if (way == MECH_OUT) {
        offer_look(self);
    } else {
        toil_look(self);
    }
    return -EAGAIN;
}

static int work_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    return way == MECH_OUT ? offer_arm(self, watch) : toil_arm(self, watch);
}

static int64_t work_disarm(void *self, enum mech_way way) {
    struct work *w = self;
    if (way == MECH_IN) {
        rouse_disarm(&w->sleep);
    }
    return 0;
}

static bool work_spin(void *self, enum mech_way way) {
    struct work *w = self;
    if (way == MECH_IN) {
        return toil_spin(w);
    }
    uint32_t cpu = proc_show_cpu(&w->out.own->cpu);
    const struct claim_room *room = &w->out.claim.shared->room;
    return atomic_peek(&room->cpu) != cpu && atomic_peek(&room->turned) == 0;
}

static int work_fd(void *self, enum mech_way way, int *fd) {
    struct work *w = self;
    if (w->lamp.fifo < 0) {
        char file[ROLL_FILE_MAX];
        roll_file(file, w->roll.self, "bell");
        int rc = lamp_make(&w->lamp, w->roll.dir, file, w->mode, w->address);
        if (rc != 0) {
            return rc;
        }
    }
    if (way == MECH_OUT) {
        offer_settle(w);
    } else {
        toil_settle(w);
    }
    *fd = w->lamp.epoll;
    return 0;
}

static void work_limits(void *self, struct thirl_limits *limits) {
    const struct work *w = self;
    limits->message_max = w->max;
    limits->queue = w->out.claim.tx.ring;
    limits->queue_messages = limits->queue / CLAIM_SHARE;
    limits->ordered = 1;
    limits->reliable = 1;
    limits->zero_copy = 1;
    limits->identity = 0;
    limits->pollable = 1;
    limits->atomic_max = w->max;
    limits->priorities = 1;
    limits->pool = w->out.pool.bound;
    limits->lends = w->sends && w->out.lends != UINT64_MAX ? w->out.lends : 0;
    limits->full = w->full == THIRL_FULL_USUAL ? THIRL_FULL_BLOCK : w->full;
}

static void work_claims(struct thirl_limits *limits) {
    static struct work usual = {.sends = true,
                                .max = WORK_POOL / 4,
                                .out = {.claim.tx.ring = WORK_QUEUE, .pool.bound = WORK_POOL, .lends = POOL_LENDS}};
    work_limits(&usual, limits);
}

static int work_peer(void *self, struct thirl_peer *peer) {
    (void)self;
    (void)peer;
    return -ENOTCONN; /* whoever takes it */
}

const struct mech mech_work = {
    .scheme = "shm",
    .summary = "shared memory: a work queue that survives its pushers and its workers",
    .state_size = sizeof(struct work),
    .roles = 1u << THIRL_PUSH | 1u << THIRL_PULL,
    .registry = true,
    .one = true,
    .crc = true,
    .queue = WORK_QUEUE,
    .pool = WORK_POOL,
    .full = 1u << THIRL_FULL_BLOCK | 1u << THIRL_FULL_DROP_NEWEST | 1u << THIRL_FULL_FAIL,
    .kin = &mech_shm_cast,
    .open = work_open,
    .close = work_close,
    .deinit = work_deinit,
    .flush = work_flush,
    .send = offer_send,
    .recv = toil_recv,
    .send_many = offer_send_many,
    .recv_many = toil_recv_many,
    .loan = offer_loan,
    .put = offer_put,
    .take = toil_take,
    .free = work_free,
    .requeue = toil_requeue,
    .ready = work_ready,
    .look = work_look,
    .arm = work_arm,
    .disarm = work_disarm,
    .spin = work_spin,
    .fd = work_fd,
    .limits = work_limits,
    .claims = work_claims,
    .peer = work_peer,
};
