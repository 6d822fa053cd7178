/* SPDX-License-Identifier: MIT
 *
 * PUB and SUB over shm://: joins the channel, and hands each end to its room.
 */
#define _GNU_SOURCE
#include "mech/fan.h"

#include "mech/seal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mem/pace.h"

#define FAN_QUEUE (4u << 20)
#define FAN_POOL (UINT64_C(64) << 20)

int fan_check(const struct fan *end, const struct seg *seg, const char *magic, size_t size, const struct roll_end *of) {
    struct fan_mark mark;
    memcpy(&mark, seg->base, sizeof mark);
    if (memcmp(mark.magic, magic, sizeof mark.magic) != 0 || mark.node != of->node || mark.number != of->number ||
        seg->ring == 0) {
        return err_say(THIRL_EFORMAT, "%s: a file of another end is not what its name says, or is damaged",
                       end->address);
    }
    if (mark.version != FAN_VERSION || mark.size != size) {
        return err_say(THIRL_EVERSION, "%s: another end has layout %u (%u bytes), this one layout %d (%zu bytes)",
                       end->address, mark.version, mark.size, FAN_VERSION, size);
    }
    return 0;
}

static int check_options(const struct mech_open *open) {
    if (!open->sends && open->options.full != THIRL_FULL_USUAL) {
        return err_say(EINVAL, "%s: what a full queue does is said by the publisher: leave ?full= to it",
                       open->address);
    }
    if (open->sends && open->options.queue > UINT64_C(1) << 30) {
        return err_say(EINVAL, "%s: a queue in shared memory has at most 1 GiB", open->address);
    }
    return 0;
}

/* A FIFO for all channels stands in each of them, before anybody looks for it. */
static int link_bell(const struct fan *end, int dir) {
    char file[ROLL_FILE_MAX];
    roll_file(file, end->roll.self, "bell");
    return linkat(dir, WISH_BELL, end->roll.dir, file, 0) == 0 || errno == EEXIST
               ? 0
               : err_system(errno, "%s: the FIFO of this subscriber cannot be linked in the registry", end->address);
}

/* number: of an end that is in several channels, whose FIFO is in dir; else 0. */
static int join(struct fan *end, uint32_t number, int dir, const struct thirl_options *options, int64_t until) {
    end->heavy = futex_fence_join();
    int rc = roll_begin_as(&end->roll, number, "shm", end->name,
                           ROLL_CAST | ROLL_LAYOUT(FAN_VERSION) | seal_kind(options) * ROLL_CRC, end->sends,
                           !end->sends, end->mode, until);
    rc = rc != 0 ? rc : roll_type(&end->roll, options->of, end->mode);
    if (rc != 0) {
        return rc;
    }
    (void)node_life_word(end->roll.self.number); /* before anybody can look for it */
    end->hail = hail_of(&end->roll);
    if (!end->heavy) {
        hail_weaken(end->hail);
    }
    rc = end->sends ? pub_init(&end->pub, end, options) : sub_init(&end->sub, end, options);
    rc = rc == 0 && end->part ? link_bell(end, dir) : rc;
    if (rc != 0) {
        roll_cancel(&end->roll);
    } else {
        rc = roll_finish(&end->roll);
    }
    if (rc == 0 && end->sends) {
        pub_joined(&end->pub);
    } else if (rc == 0) {
        sub_joined(&end->sub);
    } else if (end->sends) {
        pub_deinit(&end->pub);
    } else {
        sub_deinit(&end->sub);
    }
    return rc;
}

static int fan_open(void *self, const struct mech_open *open) {
    struct fan *end = self;
    end->seen = open->seen;
    end->sends = open->sends;
    end->mode = open->options.mode;
    (void)strncpy(end->address, open->address, sizeof end->address - 1);
    (void)strncpy(end->name, open->rest, sizeof end->name - 1);
    int rc = check_options(open);
    return rc != 0 ? rc : join(end, 0, -1, &open->options, clock_after(clock_now(), open->options.timeout));
}

int fan_join_part(struct fan *end, const char *name, uint32_t number, int dir, const struct thirl_options *options,
                  int64_t until) {
    end->part = true;
    (void)strncpy(end->name, name, sizeof end->name - 1);
    return join(end, number, dir, options, until);
}

int fan_retire(struct fan *end) {
    int rc = roll_retire(&end->roll);
    if (rc == 0) {
        hail_count(&end->hail->receivers);
        hail_ring(&end->hail->room);
    }
    return rc;
}

void fan_leave(void *self) {
    struct fan *end = self;
    if (end->sends) {
        pub_close(&end->pub);
    } else {
        sub_close(&end->sub);
    }
    if (end->sends || end->sub.holds == 0) { /* what is held is known by its page until it is freed */
        roll_leave(&end->roll);
        end->left = true;
    }
    hail_count(end->sends ? &end->hail->senders : &end->hail->receivers);
    hail_ring(end->sends ? &end->hail->came : &end->hail->room);
    end->seen = NULL; /* somebody else's from now on */
    end->closed = true;
}

void fan_deinit(void *self) {
    struct fan *end = self;
    if (!end->sends && !end->left && end->closed) {
        roll_leave(&end->roll);
    }
    if (end->sends) {
        pub_deinit(&end->pub);
    } else {
        sub_deinit(&end->sub);
    }
    roll_deinit(&end->roll);
}

static int fan_flush(void *self, uint64_t *left) {
    struct fan *end = self;
    return pub_flush(&end->pub, left);
}

static bool fan_ready(void *self, enum mech_way way) {
    struct fan *end = self;
    return way == MECH_OUT ? pub_ready(&end->pub) : feed_ready(&end->sub);
}

static void fan_skip(void *self) {
    struct fan *end = self;
    sub_skip(&end->sub);
}

static int fan_look(void *self, enum mech_way way) {
    struct fan *end = self;
    return way == MECH_OUT ? pub_look(&end->pub) : sub_look(&end->sub);
}

static int fan_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct fan *end = self;
    return way == MECH_OUT ? pub_arm(&end->pub, watch) : sub_arm(&end->sub, watch);
}

static int64_t fan_disarm(void *self, enum mech_way way) {
    struct fan *end = self;
    if (way == MECH_OUT) {
        pub_disarm(&end->pub);
    }
    return 0;
}

/* Shows where this thread runs; false when the one who is waited for ran here last. */
bool fan_spin(void *self, enum mech_way way) {
    struct fan *end = self;
    uint32_t cpu = proc_show_cpu(way == MECH_OUT ? &end->pub.own->cpu : &end->sub.own->cpu), theirs = cpu;
    if (way == MECH_OUT) {
        const struct pub *pub = &end->pub;
        if (pub->slowest < pub->readers) {
            const struct fan_rx *rx = (const struct fan_rx *)(const void *)pub->reader[pub->slowest].map.base;
            theirs = rx != NULL ? atomic_peek(&rx->cpu) : cpu;
        }
    } else {
        const struct feed *last = end->sub.last;
        theirs = last != NULL ? atomic_peek(&last->theirs->cpu) : cpu;
        pace_let_run(&end->sub.caught_up, end->sub.number, theirs != cpu);
    }
    return theirs != cpu;
}

static int fan_fd(void *self, enum mech_way way, int *fd) {
    struct fan *end = self;
    struct lamp *lamp = way == MECH_OUT ? &end->pub.lamp : &end->sub.lamp;
    if (lamp->fifo < 0) {
        char file[ROLL_FILE_MAX];
        roll_file(file, end->roll.self, "bell");
        int rc = lamp_make(lamp, end->roll.dir, file, end->mode, end->address);
        if (rc != 0) {
            return rc;
        }
        weave("fan.bell.made");
        if (way == MECH_IN) {
            hail_count(&end->hail->receivers); /* publishers look for it */
        }
    }
    if (way == MECH_OUT) {
        pub_settle(&end->pub);
    } else {
        sub_settle(&end->sub);
    }
    *fd = lamp->epoll;
    return 0;
}

static int fan_loan(void *self, struct mech_piece *piece, size_t size) {
    struct fan *end = self;
    int rc = bulk_loan(&end->pub, piece, size);
    if (rc == -EAGAIN) {
        pub_settle(&end->pub);
    }
    return rc;
}

static void fan_free(void *self, struct mech_piece *piece, enum mech_way way) {
    struct fan *end = self;
    if (way == MECH_OUT) {
        bulk_free(&end->pub, piece);
    } else {
        grasp_free(&end->sub, piece);
    }
}

static void say_limits(struct thirl_limits *limits, uint64_t ring, uint64_t max, enum thirl_full full, uint64_t pool) {
    limits->pool = pool;
    limits->lends = pool < 4 * POOL_LENDS ? 0 : POOL_LENDS;
    limits->message_max = max;
    limits->queue = ring;
    limits->ordered = 1;
    limits->reliable = full == THIRL_FULL_BLOCK || full == THIRL_FULL_FAIL;
    limits->pollable = 1;
    limits->atomic_max = max;
    limits->priorities = 1;
    limits->full = full;
}

static void fan_limits(void *self, struct thirl_limits *limits) {
    const struct fan *end = self;
    if (end->sends) {
        say_limits(limits, end->pub.seg.ring, end->pub.max, end->pub.full, end->pub.pool.bound);
    } else {
        say_limits(limits, 0, 0, THIRL_FULL_DROP_OLDEST, 0);
    }
}

static void fan_claims(struct thirl_limits *limits) {
    say_limits(limits, FAN_QUEUE, FAN_POOL / 4, THIRL_FULL_DROP_OLDEST, FAN_POOL);
}

/* A subscriber's is the publisher of the message that it took last; a publisher has many, or nobody. */
int fan_peer(void *self, struct thirl_peer *peer) {
    struct fan *end = self;
    const struct feed *last = end->sends ? NULL : end->sub.last;
    if (last == NULL || last->node.id == 0) {
        return -ENOTCONN;
    }
    struct proc own;
    proc_self(&own);
    peer->pid = last->node.pid_space == own.pid_space ? last->node.pid : 0;
    peer->uid = last->node.uid;
    peer->gid = last->node.gid;
    memcpy(peer->exe, last->node.exe, sizeof peer->exe);
    return 0;
}

const struct mech mech_shm_cast = {
    .scheme = "shm",
    .kin = &mech_event,
    .summary = "shared memory, one to many: a publisher writes once, and pays nothing for each subscriber",
    .state_size = sizeof(struct fan),
    .roles = 1u << THIRL_PUB | 1u << THIRL_SUB,
    .registry = true,
    .queue = FAN_QUEUE,
    .pool = FAN_POOL,
    .full = 1u << THIRL_FULL_BLOCK | 1u << THIRL_FULL_DROP_OLDEST | 1u << THIRL_FULL_DROP_NEWEST |
            1u << THIRL_FULL_LATEST | 1u << THIRL_FULL_FAIL | 1u << THIRL_FULL_DISCONNECT,
    .history = true,
    .wild = &mech_topics,
    .crc = true,
    .numbers = true,
    .open = fan_open,
    .close = fan_leave,
    .deinit = fan_deinit,
    .flush = fan_flush,
    .send = pub_send,
    .recv = sub_recv,
    .send_many = pub_send_many,
    .recv_many = sub_recv_many,
    .recv_noted = sub_recv_noted,
    .loan = fan_loan,
    .free = fan_free,
    .skip = fan_skip,
    .ready = fan_ready,
    .look = fan_look,
    .arm = fan_arm,
    .disarm = fan_disarm,
    .spin = fan_spin,
    .fd = fan_fd,
    .limits = fan_limits,
    .claims = fan_claims,
    .peer = fan_peer,
};
