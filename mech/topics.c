/* SPDX-License-Identifier: MIT
 *
 * SUB over shm:// with a pattern for a name: one end that is an ordinary subscriber (mech/sub) of every channel that fits, with one number
 * in all of them. It joins when a publisher has come and leaves when the last one has left; of publishers that come later it hears
 * by its wish (mem/wish.h). One FIFO stands in all the channels and in the wish, and is what it sleeps on.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mech/fan.h"
#include "mech/seal.h"
#include "mem/card.h"
#include "wire/topic.h"

#define STREAK 16                    /* messages of one topic before the next one's turn */
#define AGAIN_NS (2 * CLOCK_MS)      /* before the next try to join where somebody else holds the lock */
#define RETIRE_NS (20 * CLOCK_MS)    /* before the next try to leave */
#define OPEN_NS (200 * CLOCK_MS)     /* open waits so long for those who hold locks; it joins there later */
#define IDLE_SLICE (1000 * CLOCK_MS) /* nobody is there whose death has to be seen: only against a lost wake-up */
#define DOUBT_SLICE CLOCK_MS         /* while a publisher seems to be ending */
#define LOOKS 20                     /* of so many looks one asks the kernel about everybody */

struct topics {
    struct node_end *seen;
    struct thirl_options options;
    struct wish wish;
    struct roll_end self;
    struct fan **topic;
    size_t count, room;
    size_t at; /* whose turn it is */
    unsigned streak, looks;
    struct fan *last; /* whose message was taken last */
    uint64_t heard;   /* of the wish's word */
    bool stale;       /* look into the wish, whatever the word says, */
    int64_t again;    /* once this time has come */
    int rc;           /* of the look that is under way */
    int64_t retire;   /* when to try to leave again */
    bool polled;      /* its descriptor was asked for */
    struct lamp lamp;
    char pattern[NODE_ADDRESS_MAX], address[NODE_ADDRESS_MAX];
};

/* ---- channels ---- */

static void show(struct topics *t) {
    char text[NODE_PEER_MAX] = "";
    if (t->count != 0) {
        (void)snprintf(text, sizeof text, "%zu topic%s", t->count, t->count == 1 ? "" : "s");
    }
    node_end_peer(t->seen, 0, text);
}

static struct fan *find(const struct topics *t, const char *name) {
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->topic[i]->name, name) == 0) {
            return t->topic[i];
        }
    }
    return NULL;
}

static bool make_place(struct topics *t) {
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 16 : 2 * t->room;
        struct fan **more = realloc(t->topic, room * sizeof(void *));
        if (more == NULL) {
            return false;
        }
        t->topic = more;
        t->room = room;
    }
    return true;
}

static int join(struct topics *t, const char *name) {
    struct fan *fan = make_place(t) ? calloc(1, sizeof *fan) : NULL;
    if (fan == NULL) {
        return err_say(ENOMEM, "%s: no memory for another topic", t->address);
    }
    fan->seen = t->seen;
    fan->mode = t->options.mode;
    (void)snprintf(fan->address, sizeof fan->address, "shm://%s", name);
    weave("topics.join.before");
    int rc = fan_join_part(fan, name, t->self.number, t->wish.dir, &t->options, 0);
    if (rc != 0) {
        free(fan);
        return rc;
    }
    weave("topics.join.after");
    t->topic[t->count++] = fan;
    show(t);
    return 0;
}

/* Does that say nothing of the channel? It is to be looked at again. */
static bool lacks(int rc) {
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOSPC || rc == -EINTR || rc == -EIO;
}

/* One channel that there is news of. 0: it was seen to; -EAGAIN: not now. An error is told once, so one at a time is enough. */
static int meet(void *context, const char *channel) {
    struct topics *t = context;
    char name[256];
    uint32_t pattern;
    if (t->rc != 0) {
        return -EAGAIN;
    }
    if (!roll_decode(channel, name) || !topic_fits(t->pattern, name) || find(t, name) != NULL) {
        return 0;
    }
    int rc = card_peek(channel, &pattern);
    if (lacks(rc)) {
        t->rc = err_system(-rc, "%s: what another channel carries cannot be read", t->address);
        return -EAGAIN;
    }
    if (rc != 0 || (pattern & ROLL_PATTERN) != ROLL_CAST) {
        return 0;
    }
    rc = join(t, name);
    if (rc == -ETIMEDOUT) {
        return -EAGAIN; /* somebody else is joining or leaving there */
    }
    if (rc != 0) {
        roll_renounce(channel, t->self); /* so that nobody waits for it there */
        t->rc = rc;
    }
    return 0;
}

/* Joins where publishers have come. 0, or an error, told once. */
static __attribute__((noinline)) int refresh(struct topics *t) {
    t->heard = atomic_load(t->wish.news);
    t->rc = 0;
    weave("topics.refresh.before");
    int rc = wish_each(&t->wish, meet, t);
    t->stale = rc != 0;
    t->again = t->stale ? clock_after(clock_now(), AGAIN_NS) : 0;
    if (lacks(rc)) {
        t->rc = err_system(-rc, "%s: who has come to publish cannot be read", t->address);
    }
    return t->rc;
}

static bool has_news(const struct topics *t) {
    return atomic_load(t->wish.news) != t->heard || (t->stale && clock_now() >= t->again);
}

static void drop(struct topics *t, size_t index) {
    struct fan *fan = t->topic[index];
    t->topic[index] = t->topic[--t->count];
    t->last = t->last == fan ? NULL : t->last;
    t->at = 0;
    fan_deinit(fan);
    free(fan);
    show(t);
}

/* Leaves channels in which nobody publishes any more. */
static __attribute__((noinline)) void retire(struct topics *t) {
    int64_t now = clock_now();
    if (now < t->retire) {
        return;
    }
    for (size_t i = t->count; i-- > 0;) {
        if (t->topic[i]->sub.feeds == 0 && fan_retire(t->topic[i]) == 0) {
            drop(t, i);
        }
    }
    t->retire = now + RETIRE_NS;
}

static int note(void *context, const char *channel) {
    const struct topics *t = context;
    char name[256];
    return roll_decode(channel, name) && topic_fits(t->pattern, name) ? wish_note(&t->wish, channel) : 0;
}

/* ---- opening ---- */

static int check(const struct mech_open *open) {
    if (open->options.full != THIRL_FULL_USUAL) {
        return err_say(EINVAL, "%s: what a full queue does is said by the publisher: leave ?full= to it",
                       open->address);
    }
    return topic_check(open->rest, open->address);
}

/* All channels that are there, by the way of those that will come. */
static int begin(struct topics *t) {
    int64_t patience = t->options.timeout < OPEN_NS ? t->options.timeout : OPEN_NS;
    int64_t until = clock_after(clock_now(), patience);
    int rc = roll_each(note, t);
    if (rc != 0) {
        return rc;
    }
    (void)refresh(t);
    while (t->rc == 0 && t->stale && clock_now() < until) {
        const struct timespec pause = clock_spec(AGAIN_NS);
        (void)nanosleep(&pause, NULL);
        (void)refresh(t);
    }
    t->stale = t->stale || t->rc != 0;
    return t->rc;
}

static void leave_all(struct topics *t) {
    wish_withdraw(&t->wish);
    for (size_t i = 0; i < t->count; i++) {
        fan_leave(t->topic[i]);
    }
}

static int forget(void *context, const char *channel) {
    const struct topics *t = context;
    char name[256];
    if (roll_decode(channel, name) && topic_fits(t->pattern, name)) {
        roll_renounce(channel, t->self);
    }
    return 0;
}

static void topics_close(void *self) {
    struct topics *t = self;
    weave("topics.close.before");
    leave_all(t);
    (void)roll_each(forget, t); /* what was posted where it had not come to look */
    weave("topics.close.left");
    wish_drop(&t->wish);
    t->seen = NULL;
}

static void topics_deinit(void *self) {
    struct topics *t = self;
    for (size_t i = 0; i < t->count; i++) {
        fan_deinit(t->topic[i]);
        free(t->topic[i]);
    }
    free(t->topic);
    lamp_deinit(&t->lamp);
}

/* The FIFO is there before anybody can see the wish. */
static int publish(struct topics *t) {
    int rc = lamp_make(&t->lamp, t->wish.dir, WISH_BELL, t->options.mode, t->address);
    rc = rc != 0 ? rc : wish_show(&t->wish, t->address);
    if (rc != 0) {
        wish_drop(&t->wish);
        lamp_deinit(&t->lamp);
    }
    return rc;
}

static int topics_open(void *self, const struct mech_open *open) {
    struct topics *t = self;
    t->seen = open->seen;
    t->options = open->options;
    t->self = (struct roll_end){node_id(), roll_number()};
    lamp_init(&t->lamp);
    (void)futex_fence_join();
    (void)snprintf(t->pattern, sizeof t->pattern, "%s", open->rest);
    (void)snprintf(t->address, sizeof t->address, "%s", open->address);
    (void)node_life_word(t->self.number); /* before anybody can look for it */
    int rc = check(open);
    rc = rc != 0 ? rc
                 : wish_make(&t->wish, t->pattern, seal_kind(&open->options) * ROLL_CRC, t->self, open->options.mode,
                             open->address);
    rc = rc != 0 ? rc : publish(t);
    if (rc != 0) {
        return rc;
    }
    rc = begin(t);
    if (rc != 0) {
        topics_close(t);
        topics_deinit(t);
    }
    return rc;
}

/* ---- receiving ---- */

static void want_all(struct topics *t) {
    for (size_t i = 0; i < t->count; i++) {
        (void)hail_want(&t->topic[i]->hail->polled);
    }
    (void)futex_fence_heavy(); /* pairs with atomic_order in call (mech/pub.c) */
}

static bool topics_ready(void *self, enum mech_way way) {
    struct topics *t = self;
    bool ready = has_news(t);
    (void)way;
    for (size_t i = 0; i < t->count && !ready; i++) {
        ready = feed_ready(&t->topic[i]->sub);
    }
    return ready;
}

/* Its FIFO has a byte while there may be something, and none else, but somebody has been asked for one then. true: ready. */
static bool settle(struct topics *t) {
    bool ready = topics_ready(t, MECH_IN);
    if (!ready) {
        lamp_dark(&t->lamp);
        want_all(t);
        ready = topics_ready(t, MECH_IN);
    }
    if (ready) {
        lamp_light(&t->lamp);
    }
    return ready;
}

static inline void turn(struct topics *t) {
    t->streak = 0;
    t->at = t->at + 1 < t->count ? t->at + 1 : 0;
}

/* What one receives of, whichever way: the next topic that has something to say. */
struct ask {
    void *buffer;
    size_t capacity, *size, *count, *bytes;
    struct mech_note *note;
    struct iovec *messages;
};

static int ask(struct fan *fan, const struct ask *ask) {
    return ask->messages != NULL ? sub_recv_many(fan, ask->buffer, ask->capacity, ask->messages, ask->count, ask->bytes)
           : ask->note != NULL   ? sub_recv_noted(fan, ask->buffer, ask->capacity, ask->size, ask->note, false)
                                 : sub_recv(fan, ask->buffer, ask->capacity, ask->size, false);
}

static int next(struct topics *t, const struct ask *wanted) {
    size_t most = wanted->count != NULL ? *wanted->count : 0;
    bool idle = false;
    int rc = unlikely(has_news(t)) ? refresh(t) : 0;
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0, count = t->count; i < count; i++) {
        struct fan *fan = t->topic[t->at];
        if (wanted->count != NULL) {
            *wanted->count = most;
        }
        rc = ask(fan, wanted);
        if (rc == 0) {
            t->last = fan;
            if (wanted->note != NULL) {
                memcpy(wanted->note->topic, fan->name, strlen(fan->name) + 1);
            }
            if (++t->streak >= STREAK) {
                turn(t);
            }
            return 0;
        }
        if (rc != -EAGAIN) {
            return rc; /* of that topic; a message that does not fit stays, and it is its turn again */
        }
        idle = idle || fan->sub.feeds == 0;
        turn(t);
    }
    if (unlikely(idle)) {
        retire(t);
    }
    return -EAGAIN;
}

static int receive(struct topics *t, const struct ask *wanted) {
    int rc = next(t, wanted);
    if (unlikely(t->polled)) {
        (void)settle(t);
    }
    return rc;
}

static int topics_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    (void)wait;
    return receive(self, &(struct ask){.buffer = buffer, .capacity = capacity, .size = size});
}

static int topics_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note,
                             bool wait) {
    (void)wait;
    note->lies = false; /* nobody would know whose it is when it comes back */
    return receive(self, &(struct ask){.buffer = buffer, .capacity = capacity, .size = size, .note = note});
}

static int topics_recv_many(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                            size_t *bytes) {
    return receive(
        self,
        &(struct ask){.buffer = buffer, .capacity = capacity, .messages = messages, .count = count, .bytes = bytes});
}

/* ---- waiting ---- */

static int64_t slice_of(const struct topics *t) {
    int64_t slice = t->stale ? AGAIN_NS : IDLE_SLICE;
    for (size_t i = 0; i < t->count; i++) {
        const struct sub *sub = &t->topic[i]->sub;
        int64_t most = sub->feeds == 0 ? RETIRE_NS : MECH_SLICE_NS;
        for (size_t k = 0; k < sub->feeds; k++) {
            most = sub->feed[k]->theirs != NULL && sub->feed[k]->node.doubt != 0 ? DOUBT_SLICE : most;
        }
        slice = most < slice ? most : slice;
    }
    return slice;
}

static int topics_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct topics *t = self;
    (void)way;
    t->seen->in.waits++;
    weave("topics.arm.before");
    watch->kind = MECH_WATCH_FD;
    watch->fd = t->lamp.fifo;
    watch->guard = -1;
    watch->events = POLLIN;
    watch->slice = slice_of(t);
    return settle(t) ? 1 : 0;
}

static int64_t topics_disarm(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

/* Whose life word stands as it stood is alive; now and then the kernel is asked about everybody. */
static bool some_died(struct topics *t) {
    bool all = ++t->looks % LOOKS == 0, dead = false;
    for (size_t i = 0; i < t->count; i++) {
        struct sub *sub = &t->topic[i]->sub;
        sub->doubt = true;
        for (size_t k = 0; k < sub->feeds; k++) {
            struct feed *feed = sub->feed[k];
            if (feed->theirs != NULL && (all || feed->node.life == NULL || node_peer_doubtful(&feed->node))) {
                feed->dead = !node_peer_alive(&feed->node);
            }
            dead = dead || (feed->theirs != NULL && feed->dead);
        }
    }
    return dead;
}

static int count_news(void *context, const char *channel) {
    (void)channel;
    *(bool *)context = true;
    return 1;
}

static void topics_skip(void *self) {
    struct topics *t = self;
    sub_skip(&t->last->sub);
}

static int topics_look(void *self, enum mech_way way) {
    struct topics *t = self;
    bool news = false;
    (void)way;
    (void)wish_each(&t->wish, count_news, &news); /* whoever died before it rang has left word */
    if (news && !t->stale) {
        t->stale = true;
        t->again = 0;
    }
    return some_died(t) || news ? 0 : -EAGAIN;
}

static bool topics_spin(void *self, enum mech_way way) {
    struct topics *t = self;
    return t->last != NULL && fan_spin(t->last, way);
}

static int topics_fd(void *self, enum mech_way way, int *fd) {
    struct topics *t = self;
    (void)way;
    t->polled = true;
    lamp_guard(&t->lamp, NULL); /* deaths are looked for */
    (void)settle(t);
    *fd = t->lamp.epoll;
    return 0;
}

/* ---- what it is ---- */

static void topics_claims(struct thirl_limits *limits) {
    limits->ordered = 1;
    limits->pollable = 1;
    limits->priorities = 1;
    limits->full = THIRL_FULL_DROP_OLDEST;
}

static void topics_limits(void *self, struct thirl_limits *limits) {
    (void)self;
    topics_claims(limits);
}

static int topics_peer(void *self, struct thirl_peer *peer) {
    struct topics *t = self;
    return t->last == NULL ? -ENOTCONN : fan_peer(t->last, peer);
}

const struct mech mech_topics = {
    .scheme = "shm",
    .summary = "shared memory, many to one: a subscriber of all topics that a pattern fits",
    .state_size = sizeof(struct topics),
    .roles = 1u << THIRL_SUB,
    .registry = true,
    .full = 1u << THIRL_FULL_BLOCK | 1u << THIRL_FULL_DROP_OLDEST | 1u << THIRL_FULL_DROP_NEWEST |
            1u << THIRL_FULL_LATEST | 1u << THIRL_FULL_FAIL | 1u << THIRL_FULL_DISCONNECT,
    .queue = 4u << 20,
    .history = true,
    .crc = true,
    .numbers = true,
    .topics = true,
    .open = topics_open,
    .close = topics_close,
    .deinit = topics_deinit,
    .recv = topics_recv,
    .recv_many = topics_recv_many,
    .recv_noted = topics_recv_noted,
    .ready = topics_ready,
    .skip = topics_skip,
    .look = topics_look,
    .arm = topics_arm,
    .disarm = topics_disarm,
    .spin = topics_spin,
    .fd = topics_fd,
    .limits = topics_limits,
    .claims = topics_claims,
    .peer = topics_peer,
};
