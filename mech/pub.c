/* SPDX-License-Identifier: MIT
 *
 * A publisher in shared memory: writes each message once, whoever reads it.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/parts.h"
#include "base/weave.h"
#include "mech/fan.h"
#include "mech/seal.h"
#include "wire/topic.h"

#define SHOW_EVERY (100 * CLOCK_MS)
#define BURY_EVERY (20 * CLOCK_MS)

int pub_init(struct pub *pub, struct fan *end, const struct thirl_options *options) {
    pub->end = end;
    pub->full = options->full == THIRL_FULL_USUAL ? THIRL_FULL_DROP_OLDEST : (enum thirl_full)options->full;
    pub->waits = pub->full == THIRL_FULL_BLOCK || pub->full == THIRL_FULL_FAIL || pub->full == THIRL_FULL_DROP_NEWEST;
    lamp_init(&pub->lamp);
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, end->roll.self, "tx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make_pooled(&pub->seg, end->roll.dir, unfinished, sizeof(struct fan_tx), options->queue,
                             2 * options->pool, options->mode, end->address);
    if (rc != 0) {
        return rc;
    }
    struct fan_tx *own = (struct fan_tx *)(void *)pub->seg.base;
    pub->own = own;
    own->mark = (struct fan_mark){FAN_TX_MAGIC,        FAN_VERSION,           sizeof(struct fan_tx),
                                  end->roll.self.node, end->roll.self.number, 0};
    struct proc self;
    proc_self(&self);
    (void)snprintf(own->who, sizeof own->who, "pid %lld (%.60s)", (long long)self.pid, proc_name(self.exe));
    own->full = pub->full;
    own->history = options->history;
    own->cpu = proc_cpu();
    own->want = FAN_NO_WANT;
    cast_begin(&pub->cast, &own->cast, pub->seg.base + pub->seg.head, pub->seg.ring, 0);
    bulk_init(pub, options);
    pub->plain = true;
    pub->slowest = SIZE_MAX;
    end->seen->queue = pub->seg.ring;
    rc = post_all(&end->roll, unfinished);
    rc = rc != 0 ? rc : wish_grant(&end->roll, unfinished, end->name, seal_kind(options) * ROLL_CRC, topic_fits);
    if (rc != 0) {
        atomic_store(&own->gone, 1); /* for those whom it has been posted to */
    }
    return rc;
}

void pub_joined(struct pub *pub) {
    weave("pub.join.before");
    hail_count(&pub->end->hail->senders);
    hail_ring(&pub->end->hail->came);
    hail_ring(&pub->end->hail->polled);
    wish_ring(pub->end->name, topic_fits);
    crowd_show(pub);
    if (pub->waits) {
        (void)crowd_refresh(pub);
    }
}

/* ---- room ---- */

static bool fits(const struct pub *pub, uint32_t span) {
    return lane_fits(&pub->cast.lane, span);
}

/* Those who are too slow lose what is oldest: the floor goes up by a part of the ring. */
static void overwrite(struct pub *pub, uint32_t span) {
    struct cast_out *cast = &pub->cast;
    uint64_t need = cast->lane.at + span + sizeof(struct lane_head) - pub->seg.ring;
    cast_raise(cast, cast_up(cast, need));
    cast->lane.limit = cast->head->floor + pub->seg.ring;
    if (atomic_peek(&pub->end->hail->receivers) + 1 != pub->shown && clock_now() - pub->counted > SHOW_EVERY) {
        crowd_show(pub);
    }
}

/* As far as the slowest has come: the floor first, then who has come meanwhile, see fan.h. 0 or -EAGAIN. */
static int make_room(struct pub *pub, uint32_t span) {
    struct cast_out *cast = &pub->cast;
    uint32_t receivers;
    do {
        int rc = crowd_refresh(pub);
        if (rc != 0) {
            return rc;
        }
        receivers = pub->receivers;
        uint64_t least = crowd_least(pub, &pub->slowest), floor = cast_down(cast, least);
        if (floor > cast->head->floor) {
            cast_raise(cast, floor);
            weave("pub.room.raised");
        }
        least = least < cast->head->floor ? least : cast->head->floor;
        cast->lane.limit = least + pub->seg.ring;
    } while (atomic_load(&pub->end->hail->receivers) + 1 != receivers); /* pairs with the count in sub_joined */
    pub->needed = span;
    pub->refused = cast->lane.at;
    if (fits(pub, span)) {
        return 0;
    }
    bulk_want(pub, 0);
    return -EAGAIN;
}

static int drop_newest(struct pub *pub) {
    pub->cast.number++; /* so that the gap shows */
    pub->needed = 0;
    bulk_want(pub, 0);
    atomic_poke(&pub->end->seen->out.lost, pub->end->seen->out.lost + 1);
    return 1;
}

/* 0: there is room; 1: the message goes nowhere; -EAGAIN. */
static __attribute__((noinline)) int full(struct pub *pub, uint32_t span) {
    if (!pub->waits) {
        overwrite(pub, span);
        return 0;
    }
    int rc = make_room(pub, span);
    if (rc == -EAGAIN && clock_now() - pub->buried > BURY_EVERY) {
        pub->buried = clock_now(); /* whoever never sleeps has not looked */
        rc = crowd_bury(pub) ? make_room(pub, span) : rc;
    }
    if (rc == -EAGAIN && pub->full == THIRL_FULL_DROP_NEWEST) {
        return drop_newest(pub);
    }
    if (rc == -EAGAIN) {
        crowd_show(pub);
    }
    return rc;
}

/* ---- sending ---- */

static __attribute__((noinline)) void tell(struct pub *pub) {
    struct hail *hail = pub->end->hail;
    hail_answer(&hail->came);
    if (atomic_peek(&hail->polled.wanted) != 0 && atomic_swap(&hail->polled.wanted, 0) != 0) {
        weave("pub.tell.polled");
        crowd_ring(pub);
        atomic_poke(&pub->end->seen->out.wakes, pub->end->seen->out.wakes + 1);
    }
    (void)proc_show_cpu(&pub->own->cpu);
}

/* Behind each commit: does anybody sleep? */
static inline void call(struct pub *pub) {
    const struct hail *hail = pub->end->hail;
    if (unlikely(!pub->end->heavy)) {
        atomic_fence();
    } else {
        atomic_order(); /* pairs with the heavy fence in hail_hope */
    }
    if (unlikely(hail_called(&hail->came) || hail_called(&hail->polled))) {
        tell(pub);
    }
}

static int too_large(const struct pub *pub, size_t size) {
    bool away = pub->pool.bound != 0;
    return err_say(EMSGSIZE,
                   "%s: a message of %zu bytes is larger than the %llu that fit; open it with ?%s=%llu or more",
                   pub->end->address, size, (unsigned long long)pub->max, away ? "pool" : "queue",
                   away ? 4 * (unsigned long long)size : 2 * ((unsigned long long)size + 2 * CAST_OVERHEAD));
}

static inline void commit(struct pub *pub, struct cast_record *record, uint32_t span, size_t size, uint64_t at) {
    weave("pub.send.written");
    cast_commit(record, span, size);
    weave("pub.send.committed");
    if (unlikely(pub->full == THIRL_FULL_LATEST)) {
        atomic_store(&pub->own->cast.newest, at);
        weave("pub.send.newest");
    }
}

/* A message in the pool, where it is already, or that the ring could not hold. 0, 1: dropped, or an error; a loan stays one unless it is 0. */
static __attribute__((noinline)) int send_away(struct pub *pub, const void *data, size_t size) {
    struct pool_ref ref;
    uint32_t span = cast_span(&pub->cast, sizeof ref), chunk = bulk_claim(pub, data);
    bool lent = chunk != POOL_NONE;
    int rc = fits(pub, span) ? 0 : full(pub, span);
    if (rc == 0 && !lent) {
        rc = bulk_place(pub, size, &chunk);
        rc = rc == -EAGAIN && pub->full == THIRL_FULL_DROP_NEWEST ? drop_newest(pub) : rc;
        if (rc == 0) {
            memcpy(pool_data(&pub->pool, chunk), data, size);
        }
    }
    if (rc != 0) {
        if (lent) {
            pub->lent[pub->lents++] = chunk;
        }
        return rc;
    }
    uint64_t at = pub->cast.lane.at;
    pool_refer(&pub->pool, chunk, size, &ref);
    struct cast_record *record = cast_write(&pub->cast, &ref, sizeof ref, span);
    pool_sent(&pub->pool, chunk, pub->cast.lane.at);
    commit(pub, record, span, sizeof ref | LANE_AWAY, at);
    return 0;
}

/* Too large for the ring, or lent where it lies. */
static bool is_away(const struct pub *pub, const void *data, size_t size) {
    uintptr_t begin = (uintptr_t)seg_pool(&pub->seg), at = (uintptr_t)data;
    return size > pub->within || (at >= begin && at - begin < pub->seg.pool);
}

/* 0, 1: dropped, or an error. */
static inline int send_one(struct pub *pub, const void *data, size_t size) {
    if (unlikely(size > pub->max)) {
        return too_large(pub, size);
    }
    if (unlikely(pub->lents != 0 || size > pub->within) && is_away(pub, data, size)) {
        return send_away(pub, data, size);
    }
    uint32_t span = cast_span(&pub->cast, size);
    if (unlikely(!fits(pub, span))) {
        int rc = full(pub, span);
        if (rc != 0) {
            return rc;
        }
    }
    weave("pub.send.before");
    uint64_t at = pub->cast.lane.at;
    commit(pub, cast_write(&pub->cast, data, size, span), span, size, at);
    return 0;
}

HOT int pub_send(void *fan, const void *data, size_t size, size_t *done, bool wait) {
    struct pub *pub = &((struct fan *)fan)->pub;
    (void)done;
    (void)wait;
    int rc = send_one(pub, data, size);
    if (likely(rc == 0)) {
        call(pub);
    }
    if (unlikely(!pub->plain)) {
        pub_settle(pub);
    }
    return rc > 0 ? 0 : rc;
}

int pub_send_many(void *fan, const struct iovec *messages, size_t *count, size_t *bytes) {
    struct pub *pub = &((struct fan *)fan)->pub;
    size_t n = 0;
    int rc = 0;
    while (n < *count && rc >= 0 && parts_there(messages + n)) {
        rc = send_one(pub, messages[n].iov_base, messages[n].iov_len);
        n += rc >= 0;
    }
    if (n > 0) {
        call(pub);
    }
    if (unlikely(!pub->plain)) {
        pub_settle(pub);
    }
    *count = n;
    *bytes = parts_size(messages, n);
    return n > 0 && rc == -EAGAIN ? 0 : rc > 0 ? 0 : rc;
}

/* ---- waiting ---- */

int pub_flush(struct pub *pub, uint64_t *left) {
    *left = 0;
    if (!pub->waits) {
        return 0; /* whoever is subscribed finds it, however late */
    }
    bool all = crowd_refresh(pub) == 0;
    *left = crowd_left(pub);
    if (!all && *left == 0) { /* of somebody nothing can be said now: as far as is known, he has taken nothing */
        *left = pub->cast.number != 0;
    }
    pub->flushing = *left != 0;
    return *left == 0 ? 0 : -EAGAIN;
}

int pub_look(struct pub *pub) {
    return crowd_bury(pub) ? 0 : -EAGAIN;
}

/* What the last message lacked: whatever was sent since, none of it does. */
static uint32_t needed(const struct pub *pub) {
    return pub->refused == pub->cast.lane.at ? pub->needed : 0;
}

bool pub_ready(struct pub *pub) {
    if (!pub->waits) {
        return true;
    }
    if (pub->flushing) {
        return crowd_refresh(pub) == 0 && crowd_left(pub) == 0;
    }
    uint32_t span = needed(pub), least = span != 0 ? span : (uint32_t)(CAST_OVERHEAD + sizeof(uint64_t));
    int rc = fits(pub, least) ? 0 : make_room(pub, least);
    return rc != -EAGAIN && bulk_ready(pub);
}

/* Not before a quarter is free: a sleeper that is woken for each message is slower than one that is not. */
static uint64_t wanted(const struct pub *pub) {
    uint64_t ring = pub->seg.ring, at = pub->cast.lane.at;
    uint64_t fits_at = at + needed(pub) + sizeof(struct lane_head);
    uint64_t want = at > ring - ring / 4 ? at - (ring - ring / 4) : 0;
    want = fits_at > ring && fits_at - ring > want ? fits_at - ring : want;
    return pub->flushing ? at : pub->wanted != 0 ? 0 : cast_up(&pub->cast, want); /* what is freed moves no cursor */
}

int pub_arm(struct pub *pub, struct mech_watch *watch) {
    watch->kind = MECH_WATCH_WORD;
    pub->end->seen->out.waits++;
    atomic_store(&pub->own->want, wanted(pub)); /* before anybody can see that it waits */
    pub->asleep++;
    weave("pub.arm.before");
    watch->word = &pub->end->hail->room.given;
    watch->value = hail_hope(&pub->end->hail->room, pub->end->heavy);
    watch->slice = MECH_SLICE_NS;
    if (pub_ready(pub)) {
        pub_disarm(pub);
        return 1;
    }
    return 0;
}

void pub_disarm(struct pub *pub) {
    if (--pub->asleep == 0 && pub->lamp.fifo < 0) {
        atomic_store(&pub->own->want, FAN_NO_WANT);
    }
}

void pub_settle(struct pub *pub) {
    if (pub->lamp.fifo < 0) {
        return;
    }
    pub->plain = false;
    if (pub_ready(pub)) {
        atomic_store(&pub->own->want, pub->asleep != 0 ? pub->own->want : FAN_NO_WANT);
        lamp_light(&pub->lamp);
        return;
    }
    lamp_guard(&pub->lamp, NULL); /* a subscriber that died rings nobody */
    lamp_dark(&pub->lamp);
    (void)crowd_bury(pub);
    atomic_store(&pub->own->want, wanted(pub));
    atomic_store(&pub->own->polled, pub->own->polled + 1); /* another round; see answer in sub.c */
    (void)hail_hope(&pub->end->hail->room, pub->end->heavy);
    if (pub_ready(pub)) {
        lamp_light(&pub->lamp);
    }
}

/* ---- leaving ---- */

void pub_close(struct pub *pub) {
    weave("pub.close.before");
    atomic_store(&pub->own->gone, 1); /* what stands before it is all */
    weave("pub.close.gone");
    hail_count(&pub->end->hail->senders);
    hail_ring(&pub->end->hail->came);
    hail_ring(&pub->end->hail->polled);
    crowd_ring(pub);
}

void pub_deinit(struct pub *pub) {
    if (pub->own != NULL) {
        atomic_store(&pub->own->gone, 1); /* it may have been posted without ever having joined */
    }
    crowd_deinit(pub);
    bulk_deinit(pub);
    lamp_deinit(&pub->lamp);
    seg_unmap(&pub->seg);
}
