/* SPDX-License-Identifier: MIT
 *
 * One to many and many to one, bare. Over shared memory: packed records as in ring.c; a writer's ring has a cursor of each reader, and several
 * writers have a ring each, which one reader goes round. They may be more than there are processors: who waits for long lets others
 * run. Over system calls: a connection for each peer, with poll where they are read; or one queue, where the kernel lets many write to it.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>

#include "bench/floor.h"
#include "bench/medium.h"
#include "bench/payload.h"
#include "bench/peers.h"

#define PATIENCE 64 /* looks between two calls for another process to run */
#define PUBLISH 16
#define MANY (run->warm + run->count)

struct cursor {
    uint64_t read __attribute__((aligned(STAGE_PAIR)));
};

/* Behind struct peers. */
static struct cursor *cursor_of(const struct run *run, unsigned k) {
    return (struct cursor *)(void *)(run->control + STAGE_PAIR) + k;
}

stage_inline void be_patient(unsigned turn) {
    if (turn % PATIENCE == PATIENCE - 1) {
        (void)sched_yield();
    }
}

stage_inline uint64_t room_of(size_t size) {
    return 8 + size;
}

/* What one writer writes: into `ring` of `length` bytes (mapped twice only where it is the whole area), for `readers` cursors from the first. */
stage_inline int write_ring(struct run *run, unsigned who, unsigned char *ring, uint64_t length, unsigned first,
                            unsigned readers, uint64_t count) {
    const size_t size = run->size;
    const uint64_t slots = length / room_of(size);
    struct payload payload;
    uint64_t seen = 0;
    if (slots < 2) {
        return stage_fail(run, STAGE_PING, "%zu bytes do not fit twice into a ring", size);
    }
    if (payload_init(&payload, size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_from(run, who);
    for (uint64_t i = 0, slot = 0; i < count; i++, slot = slot + 1 == slots ? 0 : slot + 1) {
        for (unsigned turn = 0; i - seen >= slots; turn++) {
            seen = UINT64_MAX;
            for (unsigned k = 0; k < readers; k++) {
                uint64_t read = stage_load(&cursor_of(run, first + k)->read); /* pairs with the readers' stores */
                seen = read < seen ? read : seen;
            }
            be_patient(turn);
        }
        unsigned char *here = ring + slot * room_of(size);
        payload_copy(here + 8, payload_at(&payload, size, i), size);
        stage_store((uint64_t *)(void *)here, i + 1);
    }
    stage_to(run, who, count);
    run->stage->share[who].sum = payload_total(&payload, count);
    return 0;
}

/* Reads record i where it is, if it is there. */
stage_inline bool read_ring(const struct run *run, const unsigned char *ring, uint64_t slot, uint64_t i,
                            uint64_t *sum) {
    const unsigned char *here = ring + slot * room_of(run->size);
    if (stage_load((const uint64_t *)(const void *)here) != i + 1) { /* pairs with the writer's store */
        return false;
    }
    *sum += payload_sum(here + 8, run->size);
    return true;
}

static void note(struct run *run, unsigned who, uint64_t done) {
    if (__builtin_expect(done == run->warm, 0)) {
        run->stage->share[who].begin = stage_now();
    }
}

static void leave(struct run *run, unsigned who, uint64_t sum) {
    run->stage->share[who].end = stage_now();
    stage_to(run, who, MANY);
    run->stage->share[who].sum = sum;
}

static void add_up(struct run *run, enum stage_side side, unsigned peers) {
    struct stage *stage = run->stage;
    stage->sum[side] = 0;
    for (unsigned k = 0; k < peers; k++) {
        const struct stage_share *share = &stage->share[peers_share(side, k)];
        stage->sum[side] += share->sum;
        if (side == STAGE_PONG) {
            stage->begin = stage->begin == 0 || share->begin < stage->begin ? share->begin : stage->begin;
            stage->end = share->end > stage->end ? share->end : stage->end;
        }
    }
}

static int gather(struct run *run, enum stage_side side, int result) {
    result = peers_gather(run, side) || result ? -1 : 0;
    add_up(run, side, run->peers);
    return result;
}

/* Peer k of the side that has several is ready; the first one meets the other side, and lets all begin. */
static void begin(struct run *run, enum stage_side side, unsigned k) {
    if (k == 0) {
        peers_await(&peers_of(run)->ready, run->peers - 1);
        stage_meet(run, side);
        stage_store(&peers_of(run)->go, 1);
    } else {
        peers_count(&peers_of(run)->ready);
        peers_await(&peers_of(run)->go, 1);
    }
}

/* ---- shared memory, one to many ---- */

static int ping_out(struct run *run) {
    stage_meet(run, STAGE_PING);
    int result = write_ring(run, STAGE_PING, run->area, run->ring, 0, run->peers, MANY);
    run->stage->sum[0] = run->stage->share[STAGE_PING].sum * run->peers;
    return result;
}

static int read_out(struct run *run, unsigned k) {
    const unsigned who = peers_share(STAGE_PONG, k);
    const uint64_t slots = run->ring / room_of(run->size), step = slots / PUBLISH + 1;
    struct cursor *cursor = cursor_of(run, k);
    uint64_t sum = 0;
    begin(run, STAGE_PONG, k);
    stage_from(run, who);
    for (uint64_t i = 0, slot = 0; i < MANY; i++, slot = slot + 1 == slots ? 0 : slot + 1) {
        for (unsigned turn = 0; !read_ring(run, run->area, slot, i, &sum); turn++) {
            stage_store(&cursor->read, i);
            be_patient(turn);
        }
        if (i % step == 0) {
            stage_store(&cursor->read, i + 1);
        }
        note(run, who, i + 1);
    }
    stage_store(&cursor->read, MANY);
    leave(run, who, sum);
    return 0;
}

static int pong_out(struct run *run) {
    return peers_start(run, STAGE_PONG, read_out) ? -1 : gather(run, STAGE_PONG, read_out(run, 0));
}

const struct work floor_out = {.ping = ping_out, .pong = pong_out, .area = true};

/* ---- shared memory, many to one ---- */

static uint64_t part_of(const struct run *run, unsigned k) {
    return MANY / run->peers + (k < MANY % run->peers);
}

static uint64_t ring_of_one(const struct run *run) {
    return run->ring / run->peers / 64 * 64;
}

static int write_in(struct run *run, unsigned k) {
    begin(run, STAGE_PING, k);
    return write_ring(run, peers_share(STAGE_PING, k), run->area + k * ring_of_one(run), ring_of_one(run), k, 1,
                      part_of(run, k));
}

static int ping_in(struct run *run) {
    return peers_start(run, STAGE_PING, write_in) ? -1 : gather(run, STAGE_PING, write_in(run, 0));
}

/* From each in turn what it has, up to a piece. */
static int pong_in(struct run *run) {
    const uint64_t slots = ring_of_one(run) / room_of(run->size), piece = slots / 2 < 32 ? slots / 2 + 1 : 32;
    struct {
        uint64_t done, slot;
    } from[STAGE_PEERS] = {0};
    uint64_t sum = 0, done = 0;
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    for (unsigned turn = 0, k = 0; done < MANY; k = k + 1 == run->peers ? 0 : k + 1) {
        uint64_t before = done;
        const unsigned char *ring = run->area + k * ring_of_one(run);
        for (uint64_t i = 0; i < piece && read_ring(run, ring, from[k].slot, from[k].done, &sum); i++) {
            from[k].done++;
            from[k].slot = from[k].slot + 1 == slots ? 0 : from[k].slot + 1;
            note(run, STAGE_PONG, ++done);
        }
        if (done != before) {
            stage_store(&cursor_of(run, k)->read, from[k].done);
            turn = 0;
        } else if (k == 0) {
            be_patient(turn++);
        }
    }
    leave(run, STAGE_PONG, sum);
    add_up(run, STAGE_PONG, 1);
    return 0;
}

const struct work floor_in = {.ping = ping_in, .pong = pong_in, .area = true};

/* ---- system calls, one to many ---- */

static int ping_send(struct run *run) {
    struct payload payload;
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    stage_meet(run, STAGE_PING);
    stage_from(run, STAGE_PING);
    for (uint64_t i = 0; i < MANY; i++) {
        const void *data = payload_at(&payload, run->size, i);
        for (unsigned k = 0; k < run->peers; k++) {
            if (run->medium->put(&run->lane[k], STAGE_PING, data)) {
                return -1;
            }
        }
    }
    stage_to(run, STAGE_PING, MANY);
    run->stage->sum[0] = payload_total(&payload, MANY) * run->peers;
    return 0;
}

static int receive(struct run *run, unsigned k) {
    const struct medium *medium = run->medium;
    const unsigned who = peers_share(STAGE_PONG, k);
    struct payload target;
    uint64_t sum = 0;
    if (payload_init(&target, medium->head + run->size + run->lane[k].packet, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    begin(run, STAGE_PONG, k);
    stage_from(run, who);
    for (uint64_t i = 0; i < MANY; i++) {
        if (medium->get(&run->lane[k], STAGE_PONG, target.bytes)) {
            return -1;
        }
        sum += payload_sum(target.bytes + medium->head, run->size);
        note(run, who, i + 1);
    }
    leave(run, who, sum);
    return 0;
}

static int pong_receive(struct run *run) {
    return peers_start(run, STAGE_PONG, receive) ? -1 : gather(run, STAGE_PONG, receive(run, 0));
}

/* ---- system calls, many to one ---- */

static int send_part(struct run *run, unsigned k) {
    const unsigned who = peers_share(STAGE_PING, k);
    const size_t packet = run->lane[0].packet;
    struct payload payload;
    if (run->medium->shared && packet && run->size > packet) {
        return stage_fail(run, STAGE_PING, "a message is several packets, and those of several senders would mix");
    }
    if (payload_init(&payload, run->size, false)) {
        return stage_fail(run, STAGE_PING, "no memory for the payload");
    }
    begin(run, STAGE_PING, k);
    stage_from(run, who);
    for (uint64_t i = 0; i < part_of(run, k); i++) {
        if (run->medium->put(&run->lane[run->medium->shared ? 0 : k], STAGE_PING, payload_at(&payload, run->size, i))) {
            return -1;
        }
    }
    stage_to(run, who, part_of(run, k));
    run->stage->share[who].sum = payload_total(&payload, part_of(run, k));
    return 0;
}

static int ping_parts(struct run *run) {
    return peers_start(run, STAGE_PING, send_part) ? -1 : gather(run, STAGE_PING, send_part(run, 0));
}

/* Those that have something; all of them, of one queue. */
static int await_some(struct run *run, struct pollfd *polled, const uint64_t *left) {
    for (unsigned k = 0; k < run->peers; k++) {
        polled[k] = (struct pollfd){.fd = left[k] ? run->lane[k].fd[STAGE_PONG][0] : -1, .events = POLLIN};
    }
    return poll(polled, run->peers, MEDIUM_SLICE_NS / 1000000) < 0 && errno != EINTR
               ? stage_fail(run, STAGE_PONG, "poll: %s", strerror(errno))
               : 0;
}

static int pong_parts(struct run *run) {
    const struct medium *medium = run->medium;
    struct pollfd polled[STAGE_PEERS] = {0};
    struct payload target;
    uint64_t sum = 0, done = 0, left[STAGE_PEERS] = {0};
    if (payload_init(&target, medium->head + run->size + run->lane[0].packet, false)) {
        return stage_fail(run, STAGE_PONG, "no memory for the payload");
    }
    for (unsigned k = 0; k < run->peers; k++) {
        left[k] = part_of(run, k);
    }
    stage_meet(run, STAGE_PONG);
    stage_from(run, STAGE_PONG);
    while (done < MANY) {
        if (!medium->shared && await_some(run, polled, left)) {
            return -1;
        }
        for (unsigned k = 0; k < (medium->shared ? 1 : run->peers); k++) {
            if (!medium->shared && !(polled[k].revents & POLLIN)) {
                continue;
            }
            if (medium->get(&run->lane[k], STAGE_PONG, target.bytes)) {
                return -1;
            }
            sum += payload_sum(target.bytes + medium->head, run->size);
            left[k] -= !medium->shared;
            note(run, STAGE_PONG, ++done);
        }
    }
    leave(run, STAGE_PONG, sum);
    add_up(run, STAGE_PONG, 1);
    return 0;
}

#define SPREAD_WORKS(name)                                                                                             \
    const struct work floor_##name##_out = {                                                                           \
        .ping = ping_send, .pong = pong_receive, .area = true, .medium = &medium_##name};                              \
    const struct work floor_##name##_in = {                                                                            \
        .ping = ping_parts, .pong = pong_parts, .area = true, .medium = &medium_##name};
FLOOR_SPREAD(SPREAD_WORKS)
