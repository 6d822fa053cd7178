/* SPDX-License-Identifier: MIT
 *
 * Waiting for the first of many: thirl_wait. Asks the mechanisms, without a system call where they can tell; else arms each, and
 * sleeps on all their words with one call, or, as soon as one of them is a descriptor, in poll, where shared memory rings a FIFO.
 * Takes nothing: who is told goes and tries.
 */
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/weave.h"
#include "chan/aside.h"

#define NEAR 16                    /* elements that need no memory of their own */
#define SIDES(count) (2 * (count)) /* each may want both ways of its end */
#define POLLED 4                   /* descriptors of one side: what it waits for, a guard, the kick, of calls a nudge */
#define ARMS 3                     /* a mechanism that says so often "try again" has something to answer */
#define BUSY_NS CLOCK_MS           /* somebody is inside a system call of that end: */
#define BUSY_SLICE (2 * CLOCK_MS)  /* looked at again after that */
#define BESIDE_NS (5 * CLOCK_MS)   /* likewise a word that rings no descriptor, while others are descriptors */

enum state { SIDE_IDLE, SIDE_WORD, SIDE_FD, SIDE_LAMP, SIDE_BUSY, SIDE_GONE };

/* One way of one end that is waited for. */
struct side {
    struct thirl_want *want;
    thirl *end;
    enum mech_way way;
    enum state state;
    bool ready, joined;
    bool dozes;
    bool rung; /* whoever has something for it rings: it need not look by itself */
    bool lamp; /* in poll, its FIFO is rung */
    int fd;    /* of the lamp */
    int nudge; /* what other threads put aside is told by it */
    int64_t due;
    int64_t aside; /* of calls: from then on something will lie aside */
    struct mech_watch watch;
    struct pollfd *polled;
};

struct choice {
    struct thirl_want *wants;
    size_t count, sides, polls, descriptors;
    struct side *side;
    struct pollfd *polled;
    int64_t until;
    bool pure;       /* all of it can be told from memory */
    bool polls_only; /* words have failed: there are too many, or the kernel has no call for them */
};

static inline struct end_way *way_of(const struct side *side) {
    return &side->end->way[side->way];
}

/* ---- what is waited for ---- */

static int add_side(struct choice *choice, struct thirl_want *want, enum mech_way way) {
    thirl *end = want->end;
    if (end->epoch != proc_epoch() || !end->way[way].allowed) {
        return end_refuse(end, way);
    }
    choice->side[choice->sides++] =
        (struct side){.want = want, .end = end, .way = way, .fd = -1, .nudge = -1, .aside = INT64_MAX};
    choice->pure = choice->pure && end->mech->ready != NULL && !end->mech->blocks;
    return 0;
}

static int add(struct choice *choice, struct thirl_want *want) {
    if (want->end == NULL) {
        choice->descriptors += want->fd >= 0;
        choice->pure = choice->pure && want->fd < 0;
        return 0;
    }
    if ((want->wanted & ~(uint32_t)(THIRL_WANT_MESSAGE | THIRL_WANT_ROOM)) != 0) {
        return err_say(EINVAL,
                       "thirl_wait: element %td wants %#x of %s; there is THIRL_WANT_MESSAGE and THIRL_WANT_ROOM",
                       want - choice->wants, want->wanted, want->end->address);
    }
    int rc = (want->wanted & THIRL_WANT_MESSAGE) != 0 ? add_side(choice, want, MECH_IN) : 0;
    return rc == 0 && (want->wanted & THIRL_WANT_ROOM) != 0 ? add_side(choice, want, MECH_OUT) : rc;
}

static int64_t deadline(const struct choice *choice, thirl_time until) {
    int64_t shortest = 30 * CLOCK_S;
    if (until.ns >= 0) {
        return until.ns;
    }
    for (size_t i = 0; i < choice->sides; i++) {
        int64_t timeout = choice->side[i].end->timeout;
        shortest = timeout < shortest ? timeout : shortest;
    }
    return clock_after(clock_now(), shortest);
}

/* ---- one side ---- */

/* From now on close waits for this side, and nobody blocks inside a system call while he keeps its gate. */
static void join(struct side *side) {
    struct end_way *way = way_of(side);
    end_wait_begins(side->end, side->way);
    (void)atomic_add(&way->choosers, 1);
    if (side->end->patient) {
        atomic_store(&way->straight,
                     END_NEVER); /* from now on its calls ask wait.c's may_block, which looks at choosers */
    }
    atomic_fence(); /* pairs with the one of end_wake_all: it sees the waiter, or this sees that it began */
    side->joined = true;
}

static void part(struct side *side) {
    if (side->joined) {
        (void)atomic_sub(&way_of(side)->choosers, 1);
        end_wait_ends(side->end, side->way); /* last: the end may be gone when this is done */
        side->joined = false;
    }
}

static bool has_aside(struct side *side) {
    return side->end->asks && side->way == MECH_IN && aside_any(side->end, &side->aside);
}

static bool is_ready(struct side *side) {
    const struct mech *mech = side->end->mech;
    return has_aside(side) || (mech->ready != NULL && mech->ready(side->end->state, side->way));
}

/* Enters its gate. -ETIMEDOUT: somebody is inside a system call there. */
static int enter(struct side *side) {
    int64_t until = side->end->mech->blocks ? clock_now() + BUSY_NS : INT64_MAX;
    int rc = end_enter(side->end, side->way, until);
    if (rc == -ETIMEDOUT) {
        side->state = SIDE_BUSY;
        side->due = clock_now() + BUSY_SLICE;
    } else if (rc != 0) {
        side->state = SIDE_GONE;
        side->ready = true;
    }
    return rc;
}

/* The first look. A side that is not ready joins before the gate opens, so that a close that comes in between knows of it. */
static void look(struct side *side) {
    if (enter(side) == 0) {
        side->ready = is_ready(side);
        if (!side->ready) {
            join(side);
        }
        end_leave(side->end, side->way);
    }
}

/* Of calls, where this thread will sleep in poll: under the gate of that way. */
static void doze(struct side *side) {
    if (side->end->asks && side->state != SIDE_WORD) {
        end_doze(way_of(side), &side->nudge);
        side->dozes = true;
    }
}

/* Arms it: then it is ready, or its state is what to sleep on. */
static void arm(struct side *side) {
    const struct mech *mech = side->end->mech;
    int rc = 1;
    if (enter(side) != 0) {
        return;
    }
    if (has_aside(side)) {
        side->ready = true;
        end_leave(side->end, side->way);
        return;
    }
    for (int i = 0; i < ARMS && rc == 1; i++) {
        side->watch = (struct mech_watch){.fd = -1, .guard = -1, .slice = INT64_MAX};
        rc = mech->arm(side->end->state, side->way, &side->watch);
        if (rc == 1 && is_ready(side)) {
            break;
        }
    }
    if (rc == 0 && side->watch.kind == MECH_WATCH_WORD && mech->ready == NULL) {
        rc = mech->look(side->end->state, side->way) != -EAGAIN ? 2 : 0; /* nobody has tried yet */
    }
    if (rc == 2) {
        (void)mech->disarm(side->end->state, side->way);
    }
    if (rc == 0) {
        bool word = side->watch.kind == MECH_WATCH_WORD;
        atomic_store(&way_of(side)->word, word ? side->watch.word : NULL);
        int64_t slice = side->watch.slice;
        slice = word && side->watch.life == NULL && slice > MECH_SLICE_NS ? MECH_SLICE_NS : slice;
        side->due = slice == INT64_MAX ? INT64_MAX : clock_after(clock_now(), slice);
        side->rung = slice >= MECH_SLICE_NS;
        side->state = word ? SIDE_WORD : SIDE_FD;
        doze(side);
    }
    side->ready = rc != 0; /* 1 too often, or an error that a try will say */
    end_leave(side->end, side->way);
}

/* Others may sleep on the word that this thread has slept on, and it may have been woken in their stead: threads of this process,
 * and, where the word is not this end's alone, those of others. Its memory may be gone, when one of them has learnt that the peer is. */
static void pass_on(const struct side *side) {
    const struct mech_watch *watch = &side->watch;
    const struct end_way *ways = side->end->way;
    bool alone = gate_counted(&ways[0].waiters) + gate_counted(&ways[1].waiters) < 2;
    if (alone && side->end->mech->ready != NULL && !side->end->mech->one) {
        return;
    }
    if (futex_differs(watch->word, watch->value)) {
        (void)futex_wake(watch->word, alone ? 1 : INT_MAX);
    }
    if (!alone && watch->life != NULL && futex_differs(watch->life, watch->life_value)) {
        (void)futex_wake(watch->life, INT_MAX);
    }
}

static void disarm(struct side *side) {
    if (side->state == SIDE_WORD || side->state == SIDE_FD) {
        (void)side->end->mech->disarm(side->end->state, side->way);
    }
    if (side->state == SIDE_WORD) {
        pass_on(side);
    }
    if (side->dozes) {
        end_stir(way_of(side));
        side->dozes = false;
        side->nudge = -1;
    }
    side->state = SIDE_IDLE;
}

/* Has its descriptor show how things are, and looks. Under both gates, as thirl_fd has it. */
static void light(struct side *side) {
    thirl *end = side->end;
    enum mech_way first = end_main_way(end);
    int rc = end_enter(end, first, INT64_MAX);
    if (rc != 0) {
        side->state = SIDE_GONE;
        side->ready = true;
        return;
    }
    (void)gate_enter(&end->way[first ^ 1].gate, INT64_MAX);
    rc = end->mech->fd(end->state, side->way, &side->fd);
    if (rc == 0) {
        disarm(side);
        side->lamp = true;
        side->state = SIDE_LAMP;
        side->due = INT64_MAX;
        doze(side);
        side->ready = is_ready(side);
    }
    gate_leave(&end->way[first ^ 1].gate);
    end_leave(end, first);
}

/* ---- all of them ---- */

static size_t count_words(const struct choice *choice) {
    size_t words = 1;
    for (size_t i = 0; i < choice->sides; i++) {
        const struct side *side = &choice->side[i];
        words += side->state == SIDE_WORD ? 1 + (side->watch.life != NULL) : 0;
    }
    return words;
}

/* Arms all, none of which was ready before. true: they are to be slept on in poll. */
static bool arm_all(struct choice *choice) {
    bool polls = choice->polls_only || choice->descriptors != 0;
    for (size_t i = 0; i < choice->sides; i++) {
        struct side *side = &choice->side[i];
        side->ready = atomic_load(&side->end->closing) != 0;
        if (!side->ready && !side->lamp) {
            arm(side);
        }
        polls = polls || side->lamp || side->state == SIDE_FD;
    }
    if (!polls && count_words(choice) > FUTEX_MANY) {
        choice->polls_only = polls = true;
    }
    for (size_t i = 0; polls && i < choice->sides; i++) {
        struct side *side = &choice->side[i];
        if (!side->ready && (side->lamp || (side->state == SIDE_WORD && side->end->mech->ready != NULL))) {
            light(side);
        }
        if (side->state == SIDE_WORD) {
            int64_t due = clock_now() + BESIDE_NS;
            side->due = due < side->due ? due : side->due;
            side->rung = false;
        }
    }
    return polls;
}

static bool any_ready(const struct choice *choice) {
    bool any = false;
    for (size_t i = 0; i < choice->sides; i++) {
        any = any || choice->side[i].ready;
    }
    return any;
}

static int64_t next_due(const struct choice *choice) {
    int64_t due = choice->until;
    for (size_t i = 0; i < choice->sides; i++) {
        const struct side *side = &choice->side[i];
        due = side->due < due ? side->due : due;
        due = side->aside < due ? side->aside : due;
    }
    return due;
}

static void poll_one(struct choice *choice, int fd, short events) {
    choice->polled[choice->polls++] = (struct pollfd){.fd = fd, .events = events};
}

static void sleep_in_poll(struct choice *choice, bool at_once) {
    choice->polls = 0;
    for (size_t i = 0; i < choice->count; i++) {
        const struct thirl_want *want = &choice->wants[i];
        if (want->end == NULL && want->fd >= 0) {
            poll_one(choice, want->fd, (short)want->wanted);
        }
    }
    for (size_t i = 0; i < choice->sides; i++) {
        struct side *side = &choice->side[i];
        bool fd = side->state == SIDE_FD;
        int kick = side->ready ? -1 : end_kick(side->end);
        if (kick < 0 && !side->ready && side->due == INT64_MAX) {
            side->due = clock_now() + MECH_SLICE_NS;
        }
        side->polled = &choice->polled[choice->polls];
        poll_one(choice,
                 fd                         ? side->watch.fd
                 : side->state == SIDE_LAMP ? side->fd
                                            : -1,
                 fd ? side->watch.events : POLLIN);
        poll_one(choice, fd ? side->watch.guard : -1, POLLIN);
        poll_one(choice, kick, POLLIN);
        if (side->nudge >= 0) {
            poll_one(choice, side->nudge, POLLIN);
        }
    }
    int64_t due = at_once ? 0 : next_due(choice), now = due == INT64_MAX || at_once ? 0 : clock_now();
    struct timespec rest = clock_spec(due > now ? due - now : 0);
    if (ppoll(choice->polled, choice->polls, due == INT64_MAX ? NULL : &rest, NULL) < 0) {
        for (size_t i = 0; i < choice->polls; i++) {
            choice->polled[i].revents = 0; /* a signal, or no memory in the kernel: nothing is known */
        }
    }
}

static void sleep_on_words(struct choice *choice, uint32_t closings) {
    struct futex_word words[FUTEX_MANY];
    unsigned count = 0;
    words[count++] = (struct futex_word){&end_closings, closings};
    for (size_t i = 0; i < choice->sides; i++) {
        const struct side *side = &choice->side[i];
        if (side->state == SIDE_WORD) {
            words[count++] = (struct futex_word){side->watch.word, side->watch.value};
            if (side->watch.life != NULL) {
                words[count++] = (struct futex_word){side->watch.life, side->watch.life_value};
            }
        }
    }
    int64_t due = next_due(choice);
    int rc = futex_wait_many(words, count, due);
    if (rc == -ENOSYS && count == 1) {
        int64_t slice = clock_now() + MECH_SLICE_NS;
        (void)futex_wait(words[0].word, words[0].value, due < slice ? due : slice);
    }
    choice->polls_only = rc == -ENOSYS;
}

/* What its descriptors say. While there is no peer they tell of the way there, which ready goes. */
static bool has_fired(struct side *side) {
    const struct pollfd *polled = side->polled;
    if (side->state != SIDE_FD || (polled[0].revents | polled[1].revents) == 0) {
        return false;
    }
    return side->end->mech->ready == NULL || atomic_peek(&side->end->seen->state) != NODE_END_WAITING || is_ready(side);
}

static bool has_changed(const struct side *side) {
    const struct mech_watch *watch = &side->watch;
    return side->state == SIDE_WORD && (futex_differs(watch->word, watch->value) ||
                                        (watch->life != NULL && futex_differs(watch->life, watch->life_value)));
}

/* It is time to look at what no bell tells: lives, and, where only a try can tell, whether there is something by now. */
static bool shows(struct side *side) {
    const struct mech *mech = side->end->mech;
    return mech->look(side->end->state, side->way) != -EAGAIN || is_ready(side) ||
           (mech->ready == NULL && side->watch.slice < MECH_SLICE_NS);
}

/* After a sleep: is it ready? It is no longer armed then. */
static void judge(struct side *side, int64_t now, bool last) {
    if (side->state == SIDE_IDLE || side->state == SIDE_BUSY || side->state == SIDE_GONE) {
        return;
    }
    bool late = now >= side->due || last;
    struct gate *gate = &way_of(side)->gate;
    (void)gate_enter(gate, INT64_MAX);
    if (atomic_load(&side->end->closing) == 0) {
        side->ready = side->ready || has_fired(side) || has_aside(side) ||
                      (side->end->mech->ready != NULL ? is_ready(side) : has_changed(side)) || (late && shows(side));
    }
    bool lit = side->state == SIDE_LAMP && side->polled->revents != 0;
    if (late && side->rung && side->ready && !lit && !has_fired(side) && !has_changed(side)) {
        weave("stale.choose.found"); /* nobody rang, or only just now */
    }
    disarm(side);
    gate_leave(gate);
}

/* Writes down what is ready; how many elements. */
static int tell(struct choice *choice) {
    size_t ready = 0, polled = 0;
    for (size_t i = 0; i < choice->sides; i++) {
        const struct side *side = &choice->side[i];
        bool gone = side->state == SIDE_GONE || (side->joined && atomic_load(&side->end->closing) != 0);
        uint32_t bit = gone ? THIRL_WANT_GONE : side->way == MECH_IN ? THIRL_WANT_MESSAGE : THIRL_WANT_ROOM;
        side->want->ready |= side->ready || gone ? bit : 0;
    }
    for (size_t i = 0; i < choice->count; i++) {
        struct thirl_want *want = &choice->wants[i];
        if (want->end == NULL && want->fd >= 0) { /* then it was in poll */
            want->ready = (uint16_t)choice->polled[polled++].revents;
        }
        ready += want->ready != 0;
    }
    return ready > INT_MAX ? INT_MAX : (int)ready;
}

/* One look at everything, with a sleep before the second half of it unless something is ready by then. */
static int go_round(struct choice *choice) {
    uint32_t closings = atomic_load(&end_closings); /* pairs with the add in end_wake_all */
    bool polls = arm_all(choice);
    bool at_once = any_ready(choice) || choice->until == 0;
    weave("choose.sleep.before");
    if (polls) {
        sleep_in_poll(choice, at_once);
    } else if (!at_once) {
        sleep_on_words(choice, closings);
    }
    weave("choose.sleep.after");
    int64_t now = at_once ? 0 : clock_now();
    for (size_t i = 0; i < choice->sides; i++) {
        judge(&choice->side[i], now, !at_once && now >= choice->until);
    }
    return tell(choice);
}

static int say_none(const struct choice *choice) {
    size_t wanted = choice->descriptors;
    const char *first = NULL;
    for (size_t i = 0; i < choice->count; i++) {
        const thirl *end = choice->wants[i].end;
        wanted += end != NULL && choice->wants[i].wanted != 0;
        first = first == NULL && end != NULL ? end->address : first;
    }
    return err_say(choice->until == 0 ? EAGAIN : ETIMEDOUT, "thirl_wait: none of %zu was ready %s%s%s", wanted,
                   choice->until == 0 ? "at once" : "before the deadline", first == NULL ? "" : "; the first was ",
                   first == NULL ? "" : first);
}

static int choose(struct choice *choice) {
    for (size_t i = 0; i < choice->sides; i++) {
        if (choice->pure) {
            look(&choice->side[i]);
        } else {
            join(&choice->side[i]);
        }
    }
    int ready = choice->pure ? tell(choice) : 0;
    bool over = ready != 0 || (choice->pure && choice->until == 0);
    while (!over) {
        ready = go_round(choice);
        over = ready != 0 || choice->until == 0 || (choice->until != INT64_MAX && clock_now() >= choice->until);
    }
    ready = ready != 0 ? ready : say_none(choice);
    for (size_t i = 0; i < choice->sides; i++) {
        part(&choice->side[i]); /* from here on an end may be gone */
    }
    return ready;
}

int thirl_wait(struct thirl_want *wants, size_t count, thirl_time until) {
    struct side near[SIDES(NEAR)], *far = NULL;
    struct pollfd near_polled[NEAR + POLLED * SIDES(NEAR)], *far_polled = NULL;
    struct choice choice = {.wants = wants, .count = count, .side = near, .polled = near_polled, .pure = true};
    if (wants == NULL && count != 0) {
        return err_say(EINVAL, "thirl_wait: there are no elements (NULL), but %zu of them", count);
    }
    if (count > NEAR) {
        choice.side = far = calloc(SIDES(count), sizeof *far);
        choice.polled = far_polled = calloc(count + POLLED * SIDES(count), sizeof *far_polled);
    }
    int rc = choice.side == NULL || choice.polled == NULL
                 ? err_say(ENOMEM, "thirl_wait: no memory to wait for %zu elements", count)
                 : 0;
    for (size_t i = 0; i < count; i++) {
        wants[i].ready = 0;
        rc = rc == 0 ? add(&choice, &wants[i]) : rc;
    }
    if (rc == 0) {
        choice.until = deadline(&choice, until);
        rc = choose(&choice);
    }
    free(far);
    free(far_polled);
    return rc;
}
