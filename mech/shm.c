/* SPDX-License-Identifier: MIT
 *
 * shm://: shared memory as a mechanism. Joins the channel, and hands each way to its half.
 */
#define _GNU_SOURCE
#include "mech/shm.h"

#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mech/seal.h"
#include "mech/straight.h"
#include "mem/pace.h"

#define SHM_QUEUE (4u << 20) /* measured: thirl-bench queue-size, see doc/house.md */
#define SHM_POOL (UINT64_C(64) << 20)

static int shm_open_end(void *self, const struct mech_open *open) {
    struct shm *end = self;
    end->seen = open->seen;
    end->sends = open->sends;
    end->receives = open->receives;
    end->stream = open->stream;
    end->max = open->options.max < LANE_SIZE_MAX / 2 ? open->options.max : LANE_SIZE_MAX / 2;
    end->mode = open->options.mode;
    end->heavy = futex_fence_join();
    (void)strncpy(end->address, open->address, sizeof end->address - 1);
    if (open->sends && open->options.queue > UINT64_C(1) << 30) {
        return err_say(EINVAL, "%s: a queue in shared memory has at most 1 GiB", open->address);
    }
    int rc = roll_begin(
        &end->roll, "shm", open->rest,
        (open->stream ? ROLL_STREAM : ROLL_PAIR) | ROLL_LAYOUT(SHM_VERSION) | seal_kind(&open->options) * ROLL_CRC,
        open->sends, open->receives, open->options.mode, clock_after(clock_now(), open->options.timeout));
    rc = rc != 0 ? rc : roll_type(&end->roll, open->options.of, open->options.mode);
    if (rc != 0) {
        return rc;
    }
    (void)pthread_mutex_init(&end->noting, NULL);
    (void)node_life_word(end->roll.self.number); /* before anybody can look for it */
    rc = open->sends ? outlet_init(&end->out, end, &open->options) : 0;
    rc = rc == 0 && open->receives ? inlet_init(&end->in, end, open->options.mode) : rc;
    if (rc != 0) {
        roll_cancel(&end->roll);
    } else {
        rc = roll_finish(&end->roll);
    }
    if (rc != 0) {
        seg_unmap(&end->out.seg);
        seg_unmap(&end->in.seg);
        return rc;
    }
    end->seen->queue = end->out.seg.ring;
    end->seen->pool = end->out.pool.bound;
    return 0;
}

static void shm_close(void *self) {
    struct shm *end = self;
    if (end->receives) {
        inlet_close(&end->in); /* first: whoever has received the goodbye must not send in vain */
    }
    if (end->sends) {
        outlet_close(&end->out);
    }
    roll_leave(&end->roll);
    (void)pthread_mutex_lock(&end->noting);
    end->seen = NULL; /* somebody else's from now on */
    (void)pthread_mutex_unlock(&end->noting);
}

static void shm_deinit(void *self) {
    struct shm *end = self;
    if (end->sends) {
        outlet_deinit(&end->out);
    }
    if (end->receives) {
        inlet_deinit(&end->in);
    }
    roll_deinit(&end->roll);
    (void)pthread_mutex_destroy(&end->noting);
}

static int shm_flush(void *self, uint64_t *left) {
    struct shm *end = self;
    return outlet_flush(&end->out, left);
}

static int shm_loan(void *self, struct mech_piece *piece, size_t size) {
    struct shm *end = self;
    return outlet_loan(&end->out, piece, size);
}

static int shm_put(void *self, struct mech_piece *piece) {
    struct shm *end = self;
    int rc = outlet_put(&end->out, piece);
    if (unlikely(end->out.lamp.fifo >= 0)) {
        end->out.needed = 0; /* the descriptor tells of any room again, as after a send */
        outlet_settle(&end->out);
    }
    return rc;
}

static int shm_take(void *self, struct mech_piece *piece) {
    struct shm *end = self;
    int rc = straight_take(&end->in, piece);
    if (unlikely(end->in.lamp.fifo >= 0)) {
        inlet_settle(&end->in);
    }
    return rc;
}

static void shm_free(void *self, struct mech_piece *piece, enum mech_way way) {
    struct shm *end = self;
    if (way == MECH_OUT) {
        outlet_free(&end->out, piece);
    } else {
        inlet_free(&end->in, piece);
    }
}

static bool shm_ready(void *self, enum mech_way way) {
    struct shm *end = self;
    return way == MECH_OUT ? outlet_ready(&end->out) : inlet_ready(&end->in);
}

static int shm_look(void *self, enum mech_way way) {
    struct shm *end = self;
    return way == MECH_OUT ? outlet_look(&end->out) : inlet_look(&end->in);
}

static int shm_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct shm *end = self;
    return way == MECH_OUT ? outlet_arm(&end->out, watch) : inlet_arm(&end->in, watch);
}

static int64_t shm_disarm(void *self, enum mech_way way) {
    struct shm *end = self;
    return way == MECH_OUT ? outlet_disarm(&end->out) : inlet_disarm(&end->in);
}

/* Shows the peer where this thread runs; false when the peer ran here last, and so cannot run while this thread spins. */
bool shm_spin(void *self, enum mech_way way) {
    struct shm *end = self;
    uint32_t cpu = UINT32_MAX, theirs = UINT32_MAX;
    if (end->sends) {
        cpu = proc_show_cpu(&end->out.own->cpu);
    }
    if (end->receives) {
        cpu = proc_show_cpu(&end->in.own->cpu);
    }
    if (way == MECH_OUT) {
        theirs = end->out.linked ? atomic_peek(&end->out.theirs->cpu) : cpu;
    } else {
        theirs = end->in.bound ? atomic_peek(&end->in.feed->theirs->cpu) : cpu;
        pace_let_run(&end->in.caught_up, end->in.number, theirs != cpu);
    }
    return theirs != cpu;
}

static int shm_fd(void *self, enum mech_way way, int *fd) {
    struct shm *end = self;
    struct lamp *lamp = way == MECH_OUT ? &end->out.lamp : &end->in.lamp;
    if (lamp->fifo < 0) {
        char file[ROLL_FILE_MAX];
        roll_file(file, end->roll.self, way == MECH_OUT ? SHM_ROOM_FIFO : SHM_DATA_FIFO);
        int rc = lamp_make(lamp, end->roll.dir, file, end->mode, end->address);
        if (rc != 0) {
            return rc;
        }
    }
    if (way == MECH_OUT) {
        outlet_settle(&end->out);
    } else {
        inlet_settle(&end->in);
    }
    *fd = lamp->epoll;
    return 0;
}

static void shm_limits(void *self, struct thirl_limits *limits) {
    const struct shm *end = self;
    limits->message_max = end->stream ? UINT64_MAX : end->max;
    limits->queue = end->sends ? end->out.seg.ring : 0;
    limits->ordered = 1;
    limits->reliable = 1;
    limits->zero_copy = 1;
    limits->identity = 0; /* from the registry: honest where its directory is one's own */
    limits->pollable = 1;
    limits->senders = 1;
    limits->receivers = 1;
    limits->atomic_max = limits->message_max;
    limits->priorities = 1;
    limits->pool = end->sends ? end->out.pool.bound : 0;
    limits->lends = end->sends && end->out.lends != UINT64_MAX ? end->out.lends : 0;
}

static void shm_claims(struct thirl_limits *limits) {
    static struct shm usual = {.sends = true,
                               .max = SHM_POOL / 4,
                               .out = {.seg.ring = SHM_QUEUE, .pool.bound = SHM_POOL, .lends = POOL_LENDS}};
    shm_limits(&usual, limits);
}

static int shm_peer(void *self, struct thirl_peer *peer) {
    struct shm *end = self;
    struct node_peer *node = NULL;
    if (end->receives && end->in.bound) {
        node = &end->in.peer.node;
    } else if (end->sends && end->out.linked && !(end->receives && end->in.final != 0)) {
        node = &end->out.peer.node;
    }
    if (node == NULL) {
        return -ENOTCONN;
    }
    node_describe(node, peer);
    return 0;
}

const struct mech mech_shm = {
    .scheme = "shm",
    .summary = "shared memory: a lane for each direction, no system call while both ends are awake",
    .state_size = sizeof(struct shm),
    .roles = 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_READ,
    .registry = true,
    .crc = true,
    .queue = SHM_QUEUE,
    .pool = SHM_POOL,
    .kin = &mech_work,
    .open = shm_open_end,
    .close = shm_close,
    .deinit = shm_deinit,
    .flush = shm_flush,
    .send = outlet_send,
    .recv = inlet_recv,
    .send_many = outlet_send_many,
    .recv_many = inlet_recv_many,
    .loan = shm_loan,
    .put = shm_put,
    .take = shm_take,
    .free = shm_free,
    .ready = shm_ready,
    .look = shm_look,
    .arm = shm_arm,
    .disarm = shm_disarm,
    .spin = shm_spin,
    .fd = shm_fd,
    .limits = shm_limits,
    .claims = shm_claims,
    .peer = shm_peer,
};
