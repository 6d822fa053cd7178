/* SPDX-License-Identifier: MIT
 *
 * shm://: shared memory as a mechanism. Joins the channel, and hands each way to its half.
 */
#define _GNU_SOURCE
#include "mech/shm.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"

#define HEAD_START 100 /* pauses */

/* ---- what the halves share ---- */

static int check_mark(const struct shm *end, const struct seg *seg, const char *magic, size_t size,
                      const struct roll_end *of, bool *heavy) {
    struct shm_mark mark;
    memcpy(&mark, seg->base, sizeof mark);
    if (memcmp(mark.magic, magic, sizeof mark.magic) != 0 || mark.node != of->node || mark.number != of->number) {
        return err_say(THIRL_EFORMAT, "%s: a file of the other end is not what its name says, or is damaged", end->address);
    }
    if (mark.version != SHM_VERSION || mark.size != size) {
        return err_say(THIRL_EVERSION, "%s: the other end has layout %u (%u bytes), this one layout %d (%zu bytes)",
                       end->address, mark.version, mark.size, SHM_VERSION, size);
    }
    *heavy = end->heavy && (mark.features & SHM_HEAVY) != 0;
    return 0;
}

int shm_find(struct shm *end, const char *kind, const char *magic, size_t size, struct seg *seg, struct shm_peer *peer) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    if (roll_find(&end->roll, kind, &found) != 0) {
        return -EAGAIN;
    }
    roll_file(file, found, kind);
    int rc = seg_map(seg, end->roll.dir, file, size, end->address);
    if (rc == -ENOENT) {
        return -EAGAIN; /* it left in between */
    }
    if (rc != 0) {
        return rc;
    }
    *peer = (struct shm_peer){.end = found};
    rc = check_mark(end, seg, magic, size, &found, &peer->heavy);
    rc = rc != 0 ? rc : node_peer_open(&peer->node, found.node, found.number);
    if (rc != 0) {
        seg_unmap(seg);
        return rc == -ESRCH ? -EAGAIN : rc;
    }
    (void)snprintf(peer->who, sizeof peer->who, "pid %lld (%.60s)", (long long)peer->node.pid, proc_name(peer->node.exe));
    return 0;
}

int shm_find_post(struct shm *end, struct seg *seg, struct shm_peer *peer, bool *dead) {
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    if (post_find(&end->roll, file, &found) != 0) {
        return -EAGAIN;
    }
    int rc = seg_map(seg, end->roll.dir, file, sizeof(struct shm_tx), end->address);
    *peer = (struct shm_peer){.end = found};
    if (rc == 0) {
        rc = check_mark(end, seg, SHM_TX_MAGIC, sizeof(struct shm_tx), &found, &peer->heavy);
        rc = rc != 0 ? rc : node_peer_open(&peer->node, found.node, found.number);
    }
    *dead = rc == -ESRCH;
    if (rc != 0 && !*dead) {
        seg_unmap(seg);
        post_drop(&end->roll, &found);
        return rc == -ENOENT ? -EAGAIN : rc;
    }
    if (*dead) {
        const struct shm_tx *tx = (const struct shm_tx *)(const void *)seg->base;
        peer->node = (struct node_peer){.id = found.node, .fd = -1};
        memcpy(peer->who, tx->who, sizeof peer->who);
        peer->who[sizeof peer->who - 1] = '\0';
        return 0;
    }
    (void)snprintf(peer->who, sizeof peer->who, "pid %lld (%.60s)", (long long)peer->node.pid, proc_name(peer->node.exe));
    return 0;
}

static uint64_t key(const struct roll_end *end) {
    return end->node + end->number * UINT64_C(0x9e3779b97f4a7c15);
}

int shm_lamp(struct shm *end, const struct roll_end *to) {
    (void)pthread_mutex_lock(&end->noting);
    int rc = end->posted == key(to) ? 0 : post_put(&end->roll, to);
    end->posted = rc == 0 ? key(to) : end->posted;
    (void)pthread_mutex_unlock(&end->noting);
    return rc;
}

int64_t shm_slice(const struct shm_peer *peer, bool linked) {
    if (peer == NULL) {
        return MECH_SLICE_NS;
    }
    int64_t slice = peer->node.life != NULL && linked ? SHM_LIFE_SLICE : MECH_SLICE_NS;
    return peer->node.doubt != 0 ? SHM_DOUBT_SLICE : slice;
}

bool shm_judge(struct shm *end, const struct roll_end *peer, bool left) {
    uint64_t about = key(peer) << 1;
    uint64_t last = atomic_load(&end->verdict);
    do {
        if (last >> 1 == about >> 1) {
            return (last & 1) != 0;
        }
    } while (!atomic_cas(&end->verdict, &last, about | left));
    return left;
}

void shm_note(struct shm *end, const struct shm_peer *peer) {
    (void)pthread_mutex_lock(&end->noting);
    if (end->seen != NULL) {
        node_end_peer(end->seen, peer == NULL ? 0 : peer->node.pid, peer == NULL ? "" : proc_name(peer->node.exe));
    }
    (void)pthread_mutex_unlock(&end->noting);
}

void shm_open_fifo(struct shm *end, struct bell *bell, const struct shm_peer *peer) {
    char file[ROLL_FILE_MAX];
    roll_file(file, peer->end, "bell");
    /* For reading too: a FIFO that its owner has closed would be SIGPIPE. */
    bell->fifo = openat(end->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (bell->fifo >= 0) {
        bell_write(bell);
    }
}

int shm_lamp_make(struct shm *end, struct shm_lamp *lamp) {
    char file[ROLL_FILE_MAX];
    roll_file(file, end->roll.self, "bell");
    if ((mkfifoat(end->roll.dir, file, 0600) != 0 && errno != EEXIST) ||
        (end->mode != 0600 && fchmodat(end->roll.dir, file, end->mode, 0) != 0)) {
        return err_system(errno, "%s: the FIFO for event loops cannot be made in the registry", end->address);
    }
    lamp->fifo = openat(end->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    lamp->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    if (lamp->fifo < 0 || lamp->epoll < 0 || epoll_ctl(lamp->epoll, EPOLL_CTL_ADD, lamp->fifo, &event) != 0) {
        int rc = err_system(errno, "%s: no descriptor for event loops", end->address);
        shm_lamp_deinit(lamp);
        return rc;
    }
    return 0;
}

/* Makes the descriptor readable when the peer ends; where the kernel gives no pidfd of it (another PID namespace), or while
 * there is no peer whose coming would ring, every 50 ms instead. */
void shm_lamp_guard(struct shm_lamp *lamp, const struct shm_peer *peer) {
    uint64_t node = peer == NULL ? 0 : peer->node.id;
    if (lamp->guard >= 0 && lamp->guarded == node) {
        return;
    }
    fd_close(&lamp->guard);
    struct proc self;
    proc_self(&self);
    if (peer != NULL && peer->node.pid_space == self.pid_space && peer->node.pid != self.pid) {
        lamp->guard = proc_pidfd(peer->node.pid);
        if (lamp->guard >= 0 && !node_alive(node)) {
            fd_close(&lamp->guard); /* that pid may be somebody else's by now */
        }
    }
    if (lamp->guard < 0) {
        const struct itimerspec every = {clock_spec(MECH_SLICE_NS), clock_spec(MECH_SLICE_NS)};
        lamp->guard = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        (void)timerfd_settime(lamp->guard, 0, &every, NULL);
    }
    lamp->guarded = node;
    struct epoll_event event = {.events = EPOLLIN};
    (void)epoll_ctl(lamp->epoll, EPOLL_CTL_ADD, lamp->guard, &event);
}

void shm_lamp_light(struct shm_lamp *lamp) {
    if (!lamp->lit) {
        const char byte = 1;
        lamp->lit = write(lamp->fifo, &byte, 1) == 1 || errno == EAGAIN;
    }
}

void shm_lamp_dark(struct shm_lamp *lamp) {
    char bytes[64];
    while (read(lamp->fifo, bytes, sizeof bytes) == (ssize_t)sizeof bytes) {
    }
    uint64_t ticks;
    ssize_t ignored = lamp->guard >= 0 ? read(lamp->guard, &ticks, sizeof ticks) : 0; /* of a timer */
    (void)ignored;
    lamp->lit = false;
}

void shm_lamp_deinit(struct shm_lamp *lamp) {
    fd_close(&lamp->guard);
    fd_close(&lamp->fifo);
    fd_close(&lamp->epoll);
}

/* ---- the slots ---- */

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
    int rc = roll_begin(&end->roll, open->rest, open->stream ? ROLL_STREAM : ROLL_PAIR, open->sends, open->receives,
                        open->options.mode, clock_after(clock_now(), open->options.timeout));
    if (rc != 0) {
        return rc;
    }
    (void)pthread_mutex_init(&end->noting, NULL);
    (void)node_life_word(end->roll.self.number); /* before anybody can look for it */
    rc = open->sends ? outlet_init(&end->out, end, open->options.queue, open->options.mode) : 0;
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
        outlet_settle(&end->out);
    }
    return rc;
}

static int shm_take(void *self, struct mech_piece *piece) {
    struct shm *end = self;
    int rc = inlet_take(&end->in, piece);
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

/* A reader that has caught up with a busy writer and asks for every next record the moment it is there takes the cache line
 * away from the writer each time: both get slower by a multiple. So after a run of records it lets the writer get ahead. */
static void let_run(struct inlet *in) {
    uint64_t run = in->number - in->caught_up;
    in->caught_up = in->number;
    for (int i = 0; run >= SHM_RUN && i < HEAD_START; i++) {
        atomic_pause();
    }
}

/* Shows the peer where this thread runs; false when the peer ran here last, and so cannot run while this thread spins. */
static bool shm_spin(void *self, enum mech_way way) {
    struct shm *end = self;
    uint32_t cpu = proc_cpu(), theirs = UINT32_MAX;
    if (end->sends) {
        atomic_poke(&end->out.own->cpu, cpu);
    }
    if (end->receives) {
        atomic_poke(&end->in.own->cpu, cpu);
    }
    if (way == MECH_OUT) {
        theirs = end->out.linked ? atomic_peek(&end->out.theirs->cpu) : cpu;
    } else {
        theirs = end->in.bound ? atomic_peek(&end->in.feed->theirs->cpu) : cpu;
        let_run(&end->in);
    }
    return theirs != cpu;
}

static int shm_fd(void *self, enum mech_way way, int *fd) {
    struct shm *end = self;
    struct shm_lamp *lamp = way == MECH_OUT ? &end->out.lamp : &end->in.lamp;
    if (lamp->fifo < 0) {
        int rc = shm_lamp_make(end, lamp);
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
    limits->message_max = end->stream ? UINT64_MAX : end->sends ? end->max : 0;
    limits->queue = end->sends ? end->out.seg.ring : 0;
    limits->ordered = 1;
    limits->reliable = 1;
    limits->zero_copy = 1;
    limits->identity = 0; /* from the registry: honest where its directory is one's own */
    limits->pollable = 1;
    limits->senders = 1;
    limits->receivers = 1;
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
    struct proc own;
    proc_self(&own);
    peer->pid = node->pid_space == own.pid_space ? node->pid : 0;
    peer->uid = node->uid;
    peer->gid = node->gid;
    memcpy(peer->exe, node->exe, sizeof peer->exe);
    return 0;
}

const struct mech mech_shm = {
    .scheme = "shm",
    .summary = "shared memory: a lane for each direction, no system call while both ends are awake",
    .state_size = sizeof(struct shm),
    .registry = true,
    .open = shm_open_end,
    .close = shm_close,
    .deinit = shm_deinit,
    .flush = shm_flush,
    .send = outlet_send,
    .recv = inlet_recv,
    .loan = shm_loan,
    .put = shm_put,
    .take = shm_take,
    .free = shm_free,
    .look = shm_look,
    .arm = shm_arm,
    .disarm = shm_disarm,
    .spin = shm_spin,
    .fd = shm_fd,
    .limits = shm_limits,
    .peer = shm_peer,
};
