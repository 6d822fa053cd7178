/* SPDX-License-Identifier: MIT
 *
 * The worker's half of a work queue in shared memory: finds records that nobody works on, takes them, and is done with them. Contracts
 * in mech/work.h.
 *
 * A worker goes through a lane in order and takes what is free; whoever loses a word to another one tries the next. So jobs are
 * taken in the order in which they were pushed, whoever takes them; only one that was given back comes later.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/copy.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/giver.h"
#include "mech/work.h"
#include "mem/pace.h"

#define LOOK_EVERY 8       /* tries between two looks around */
#define TURN_MOST 4096     /* records of one pusher in a row, while others wait; */
#define TURN_EACH CLOCK_US /* no more than LOOK_EVERY if they take longer than this each */
#define NEAR 64            /* records whose holders are looked at before each sleep; all are after MECH_SLICE_NS */

struct job {
    bool keeps; /* asked for: it is to stay where it lies */
    struct feed *feed;
    uint64_t number;
    struct claim_record is;
    bool again;
};

int toil_init(struct work *w) {
    char rx[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    uint32_t *last = (uint32_t *)(void *)((char *)w->roll.change + ROLL_ROUSE + sizeof(struct rouse));
    w->in.worker = atomic_add(last, 1) + 1; /* under the lock; the word lives as long as any claim */
    if (w->in.worker == 0 || w->in.worker > CLAIM_WORKER_MAX) {
        atomic_poke(last, CLAIM_WORKER_MAX);
        return err_say(ENOSPC,
                       "%s has had %u workers, which is all that it can number: let it run empty once, and close",
                       w->address, CLAIM_WORKER_MAX);
    }
    const struct work_rx mine = {WORK_RX_MAGIC, WORK_VERSION, w->in.worker, w->roll.self.node, w->roll.self.number, 0};
    roll_file(rx, w->roll.self, "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", rx);
    int fd = openat(w->roll.dir, unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -errno : fd_write(fd, &mine, sizeof mine);
    if (rc == 0 && fchmod(fd, w->mode | 0400) != 0) {
        rc = -errno;
    }
    fd_close(&fd);
    return rc == 0 ? 0 : err_system(-rc, "%s: the registry cannot be written", w->address);
}

/* ---- looking for work ---- */

/* Something has become free again, or may have. */
static void look_behind(struct feed *f) {
    f->returned = atomic_load(&f->claim.shared->room.returned);
    giver_advance(f);
    f->at = f->low;
}

/* At its position is nothing. true: it has another one. */
static __attribute__((noinline)) bool go_on(struct feed *f) {
    uint64_t floor = atomic_load(&f->claim.from->floor); /* pairs with the store in offer's make_room */
    if (floor > f->at) {                                 /* a lap ahead */
        if (floor > GIVER_FAR) { /* none has sent so many: going on from there would come round to 0, and here again */
            f->bad = true;
            return false;
        }
        f->at = floor;
        return true;
    }
    uint64_t next = f->at;
    if (!f->over || !claim_beyond(&f->claim, &next) || next == f->at) {
        return false;
    }
    for (; f->at < next; f->at++) {
        claim_skip(&f->claim, f->at); /* loans that it had out when it died */
    }
    return true;
}

static int too_many(struct work *w, const struct feed *f, const struct job *job) {
    crew_call(w, 1); /* for others it is none too many */
    return err_say(
        EBUSY,
        "%s: this end holds %u messages, %llu bytes, of the %llu that it may hold in the pool of one pusher (node "
        "%016llx); the next takes %llu: be done with some first, or have the pusher opened with a larger ?pool=",
        w->address, f->keeps, (unsigned long long)f->kept, (unsigned long long)f->kept_most,
        (unsigned long long)f->end.node, (unsigned long long)job->is.units * POOL_UNIT);
}

/* A record that cannot be taken as it is. Its word has not changed, so what was read of it is what the pusher wrote. */
static __attribute__((noinline)) int refuse(struct work *w, struct feed *f, uint64_t word, const struct job *job,
                                            bool sound) {
    if (claim_load(&f->claim, f->at) != word) {
        return 1;
    }
    /* One by itself may always be held: who says otherwise says so for ever. */
    bool never = job->is.size <= w->max && job->keeps && (uint64_t)job->is.units * POOL_UNIT > f->kept_most;
    if (!sound || never) {
        f->bad = true;
        w->seen->in.refused++;
        return err_say(THIRL_EFORMAT,
                       "%s: a pusher (node %016llx) wrote an impossible record; it is not heard any more", w->address,
                       (unsigned long long)f->end.node);
    }
    if (job->is.size <= w->max) {
        return job->keeps ? too_many(w, f, job) : -EMSGSIZE;
    }
    if (!claim_take(&f->claim, f->at, word, w->in.worker)) {
        return 1;
    }
    w->seen->in.refused++;
    (void)claim_finish(&f->claim, f->at, w->in.worker);
    f->at++;
    return err_say(THIRL_EFORMAT,
                   "%s: a message of %llu bytes is larger than the %llu that this end takes: open it with ?max=",
                   w->address, (unsigned long long)job->is.size, (unsigned long long)w->max);
}

/* Does it fit where it is to go? */
static inline bool fits(const struct work *w, const struct feed *f, size_t capacity, const struct job *job) {
    return likely(job->is.size <= capacity && job->is.size <= w->max &&
                  (job->is.units == 0 || !job->keeps || (uint64_t)job->is.units * POOL_UNIT <= f->kept_most - f->kept));
}

/* Takes the next record of that pusher that nobody has, if it fits; with take = false only finds it. 0, -EAGAIN, -EMSGSIZE or an
 * error. */
static inline int next(struct work *w, struct feed *f, size_t capacity, bool take, struct job *job) {
    const struct claim *c = &f->claim;
    if (unlikely(f->bad)) {
        return -EAGAIN;
    }
    if (unlikely(atomic_peek(&c->shared->room.returned) != f->returned)) {
        look_behind(f);
    }
    for (uint64_t passed = 0;; passed++) {
        uint32_t place;
        if (unlikely(passed > 4 * c->mask)) { /* further than all there are: it lies, faster than one can look */
            return -EAGAIN;
        }
        if (!claim_sent(c, f->at, &place)) {
            if (!go_on(f)) {
                return -EAGAIN;
            }
            continue;
        }
        uint64_t word = claim_load(c, f->at);
        if (unlikely(!claim_is_open(c, f->at, word))) {
            f->at++;
            continue;
        }
        if (!take) {
            return 0;
        }
        bool sound = claim_read(c, &f->lane, place, &job->is);
        if (unlikely(!sound || !fits(w, f, capacity, job))) {
            int rc = refuse(w, f, word, job, sound);
            if (rc != 1) {
                return rc;
            }
            continue;
        }
        weave("toil.take.before");
        if (likely(claim_take(c, f->at, word, w->in.worker))) {
            weave("toil.take.after");
            job->feed = f;
            job->number = f->at;
            job->again = claim_state(word) == CLAIM_FREE;
            f->at++;
            f->held++;
            return 0;
        }
        f->at++; /* somebody else was faster */
    }
}

/* Says that it is here, or not: a pusher that waits for room spins only while its queue gets shorter. */
static void turn_to(const struct feed *f, bool here) {
    uint32_t *turned = &f->claim.shared->room.turned;
    if (atomic_peek(turned) != !here) { /* else nobody needs the line */
        atomic_poke(turned, !here);
    }
}

/* To the next pusher; there is one. */
static void change(struct toil *t) {
    t->turn = 0;
    t->current = t->current + 1 < t->count ? t->current + 1 : 0;
    turn_to(t->feed[t->current], true);
}

/* In the midst of work: has a pusher come, or gone, and is it another one's turn? Changing costs the lines that were fetched ahead, which
 * shows only where jobs are short. */
static __attribute__((noinline)) void look_up(struct work *w) {
    struct toil *t = &w->in;
    int64_t now = clock_now(), took = now - t->looked;
    t->looked = now;
    (void)giver_find(w);
    if (now - t->cleared > MECH_SLICE_NS) {
        t->cleared = now;
        giver_clear(w);
    }
    if (t->count > 1 && (t->turn >= TURN_MOST || took > LOOK_EVERY * TURN_EACH)) {
        turn_to(t->feed[t->current], false);
        change(t);
    }
}

/* The same of all pushers, in turns. */
static int find(struct work *w, size_t capacity, struct job *job) {
    struct toil *t = &w->in;
    t->turn++;
    if (unlikely(++t->tries % LOOK_EVERY == 0)) {
        look_up(w);
    }
    for (int rc = 0;;) {
        for (size_t i = 0; i < t->count; i++) {
            int found = next(w, t->feed[t->current], capacity, true, job);
            if (found != -EAGAIN) {
                t->jobs += found == 0;
                return found;
            }
            change(t);
        }
        size_t before = t->count;
        rc = giver_find(w);
        if (rc != 0 || t->count == before) {
            return rc != 0 ? rc : -EAGAIN;
        }
    }
}

/* ---- being done ---- */

/* A pusher waits for room, or its descriptor does, and this worker has done that record. Who has done the one that it waits for, or
 * one behind it, looks whether all before it are, too, and who has done the oldest. Two who finish at the same moment may both see the
 * other one missing; then whoever goes on, or runs dry, rings. */
static __attribute__((noinline)) void wake_pusher(struct work *w, struct feed *f, uint64_t number) {
    struct claim_room *room = &f->claim.shared->room;
    uint64_t want = atomic_load(&room->want);
    if (number == f->low) {
        giver_advance(f);
    }
    if (number + 1 < want && f->low + 1 < want) {
        return;
    }
    atomic_fence();
    giver_advance(f);
    if (number != GIVER_NOWHERE && f->low + 1 < want) { /* who runs dry rings in any case */
        return;
    }
    if (want != 0 && atomic_swap(&room->want, 0) != 0) {
        weave("toil.wake.between");
        (void)atomic_add(&room->given, 1);
        (void)futex_wake(&room->given, INT_MAX);
        if (!w->closed) {
            atomic_poke(&w->seen->in.wakes, w->seen->in.wakes + 1);
        }
    }
    if (atomic_load(&room->polled) != 0 && atomic_swap(&room->polled, 0) != 0) {
        crew_ring_fifo(w, f->end);
    }
}

/* After that record was done; GIVER_NOWHERE: this worker runs dry. */
static inline void tell_room(struct work *w, struct feed *f, uint64_t number) {
    const struct claim_room *room = &f->claim.shared->room;
    if (unlikely(!w->heavy || atomic_peek(&room->fenced) != 0)) {
        atomic_fence();
    } else {
        atomic_order(); /* with fence_heavy in offer_arm */
    }
    if (unlikely((atomic_peek(&room->want) | atomic_peek(&room->polled)) != 0)) {
        wake_pusher(w, f, number);
    }
}

static inline void finish(struct work *w, struct feed *f, uint64_t number) {
    (void)claim_finish(&f->claim, number, w->in.worker);
    f->held--;
    tell_room(w, f, number);
}

/* What was received by copy is done. */
static inline void finish_held(struct work *w) {
    struct toil *t = &w->in;
    for (unsigned i = 0; i < t->holding; i++) {
        finish(w, t->held[i].feed, t->held[i].number);
    }
    t->holding = 0;
}

/* ---- the slots ---- */

static inline void hold(struct toil *t, const struct job *job) {
    t->held[t->holding++] = (struct toil_held){job->feed, job->number};
}

HOT int toil_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct work *w = self;
    struct job job = {.is.size = 0};
    (void)wait;
    finish_held(w);
    int rc = find(w, capacity, &job);
    *size = job.is.size;
    if (likely(rc == 0)) {
        copy_any(buffer, job.is.data, job.is.size);
        hold(&w->in, &job);
    }
    if (unlikely(w->lamp.fifo >= 0)) {
        toil_settle(w);
    }
    return rc;
}

int toil_recv_many(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count, size_t *bytes) {
    struct work *w = self;
    struct job job = {.is.size = 0};
    size_t n = 0, used = 0, most = *count < WORK_MANY ? *count : WORK_MANY;
    int rc = 0;
    finish_held(w);
    while (n < most && used <= capacity && (rc = find(w, capacity - used, &job)) == 0) {
        char *to = (char *)buffer + used;
        copy_any(to, job.is.data, job.is.size);
        messages[n++] = (struct iovec){to, job.is.size};
        used += ((size_t)job.is.size + 7) & ~(size_t)7;
        hold(&w->in, &job);
    }
    if (n == 0) {
        messages[0].iov_len = job.is.size;
    }
    *count = n;
    *bytes = parts_size(messages, n);
    if (unlikely(w->lamp.fifo >= 0)) {
        toil_settle(w);
    }
    return n > 0 ? 0 : rc;
}

/* One message more, or less, out of that pusher's pool. For the list, too. */
static void keep(struct work *w, struct feed *f, int one, uint32_t units) {
    struct toil *t = &w->in;
    uint64_t bytes = (uint64_t)(one * (int64_t)units * POOL_UNIT);
    f->keeps += (unsigned)one;
    f->kept += bytes;
    t->keeps += (unsigned)one;
    t->kept += bytes;
    if (w->seen != NULL) {
        atomic_poke(&w->seen->in.held, t->kept);
        atomic_poke(&w->seen->in.holds, t->keeps);
    }
}

int toil_take(void *self, struct mech_piece *piece) {
    struct work *w = self;
    struct job job = {.keeps = true};
    finish_held(w);
    int rc = find(w, SIZE_MAX, &job);
    if (rc == 0) {
        w->in.pieces++;
        *piece = (struct mech_piece){.data = job.is.data,
                                     .size = job.is.size,
                                     .number = job.number,
                                     .lost = job.is.lost,
                                     .again = job.again,
                                     .cookie = job.number,
                                     .owner = job.feed,
                                     .via = (void *)(uintptr_t)job.is.units};
        if (job.is.units != 0) {
            __builtin_prefetch(job.is.data);
            keep(w, job.feed, 1, job.is.units);
            weave("toil.keep.after");
        }
    }
    if (unlikely(w->lamp.fifo >= 0)) {
        toil_settle(w);
    }
    return rc;
}

/* It comes back, one way or the other. */
static struct feed *drop(struct work *w, const struct mech_piece *piece) {
    struct feed *f = piece->owner;
    uint32_t units = (uint32_t)(uintptr_t)piece->via;
    w->in.pieces--;
    if (units != 0) {
        weave("toil.drop.before");
        keep(w, f, -1, units);
    }
    return f;
}

void toil_free(struct work *w, struct mech_piece *piece) {
    finish(w, drop(w, piece), piece->cookie);
}

int toil_requeue(void *self, struct mech_piece *piece) {
    struct work *w = self;
    struct feed *f = drop(w, piece);
    f->held--;
    (void)claim_return(&f->claim, piece->cookie, w->in.worker);
    crew_call(w, 1);
    if (unlikely(w->lamp.fifo >= 0)) { /* not once it is closed */
        toil_settle(w);
    }
    return 0;
}

/* ---- waiting ---- */

/* Is there something to do? What the dead hold is, of the records that `near` says. */
static bool stirs(struct work *w, bool all, struct mech_watch *watch) {
    struct toil *t = &w->in;
    unsigned returned = 0;
    bool found = giver_find(w) != 0;
    struct job job;
    for (size_t i = 0; i < t->count; i++) {
        struct feed *f = t->feed[i];
        giver_advance(f);
        uint64_t end = all ? UINT64_MAX : f->low + NEAR;
        returned += crew_relieve(w, &f->claim, f->low, end, watch);
        if (all) {
            look_behind(f); /* who freed something may have died before he told */
        }
        found = next(w, f, SIZE_MAX, false, &job) == 0 || found;
    }
    if (returned != 0) {
        crew_call(w, returned);
    }
    return found;
}

/* An error is left for the try to say. */
bool toil_ready(struct work *w) {
    struct toil *t = &w->in;
    struct job job;
    bool found = giver_find(w) != 0;
    t->change = found ? 0 : t->change;
    for (size_t i = 0; i < t->count && !found; i++) {
        found = next(w, t->feed[i], SIZE_MAX, false, &job) == 0;
    }
    return found;
}

void toil_look(struct work *w) {
    rouse_late(w->rouse, &w->sleep); /* as far as that is why it is called */
    (void)stirs(w, true, NULL);
    giver_clear(w);
}

int toil_arm(struct work *w, struct mech_watch *watch) {
    struct toil *t = &w->in;
    w->seen->in.waits++;
    giver_clear(w);
    watch->kind = MECH_WATCH_WORD;
    watch->word = rouse_given(w->rouse);
    watch->slice = MECH_SLICE_NS;
    watch->value = rouse_arm(w->rouse, &w->sleep, w->heavy);
    for (size_t i = 0; i < t->count; i++) {
        tell_room(w, t->feed[i], GIVER_NOWHERE); /* a pusher that waits for more room gets none from those who sleep */
    }
    if (stirs(w, false, watch)) {
        rouse_disarm(&w->sleep);
        rouse_late(w->rouse, &w->sleep);
        return 1;
    }
    return 0;
}

void toil_settle(struct work *w) {
    if (stirs(w, false, NULL)) {
        lamp_light(&w->lamp);
        return;
    }
    lamp_guard(&w->lamp, NULL);
    lamp_dark(&w->lamp);
    rouse_poll(w->rouse, w->heavy);
    for (size_t i = 0; i < w->in.count; i++) {
        tell_room(w, w->in.feed[i], GIVER_NOWHERE);
    }
    giver_clear(w);
    if (stirs(w, true, NULL)) {
        lamp_light(&w->lamp);
    }
}

bool toil_spin(struct work *w) {
    struct toil *t = &w->in;
    if (t->count == 0) {
        return false;
    }
    struct feed *f = t->feed[t->current];
    bool elsewhere = atomic_peek(&f->claim.from->cpu) != proc_show_cpu(&f->claim.shared->room.cpu);
    pace_let_run(&t->caught_up, t->jobs, elsewhere);
    return elsewhere;
}

/* ---- leaving ---- */

void toil_close(struct work *w) {
    finish_held(w);
    atomic_fence(); /* with the one in offer_close */
    giver_clear(w);
}

void toil_deinit(struct work *w) {
    while (w->in.count != 0) {
        giver_drop(w, 0);
    }
    free(w->in.feed);
    w->in.feed = NULL;
}
