/* SPDX-License-Identifier: MIT
 *
 * All waiting happens here: try, spin while that has paid off lately, then sleep on what the mechanism names, and look
 * again. Every sleep is bounded; every wake-up leads to another try.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"
#include "chan/end.h"
#include "chan/errand.h"

#define SPIN_FREE 256              /* tries before the clock is asked: about what a peer takes that answers at once */
#define SPIN_PER_CLOCK 64          /* tries between two looks at the clock */
#define SPIN_PER_LOOK 1024         /* tries between two looks at the peer's life, when it never sleeps */
#define BESIDE_NS (100 * CLOCK_US) /* a peer of a lower priority on this very processor gets it for so long */
#define KEEN 64                    /* tries under the gate, a microsecond or two: a thread that closes waits for them */
#define YIELDS 3                   /* a peer on this very processor that has not answered by then does not run */
#define GAP_MAX CLOCK_MS           /* longer waits teach no more than this, so that a burst is believed soon */
#define NAP_NS (40 * CLOCK_MS)     /* a timer that is due sooner makes a short round trip dearer */
#define QUICK_NS (200 * CLOCK_US)  /* a peer that lets wait less than this, on average, is quick */
#define WAKE_MAX (200 * CLOCK_US)
#define WAKE_MIN (3 * CLOCK_US)

uint32_t end_closings;

struct wait {
    thirl *end;
    enum mech_way way;
    end_try *try;
    void *arguments;
    thirl_time until;
    int64_t deadline; /* until, made absolute; 0: not yet asked for */
    uint32_t handed;  /* the way's, when this thread last tried */
    bool noted;       /* others see that it waits */
    bool beside;      /* the peer runs on this very processor */
};

static int64_t deadline(struct wait *wait) {
    if (wait->deadline == 0) {
        wait->deadline = wait->until.ns >= 0 ? wait->until.ns : clock_after(clock_now(), wait->end->timeout);
    }
    return wait->deadline;
}

static bool is_over(struct wait *wait) {
    return deadline(wait) != INT64_MAX && clock_now() >= deadline(wait);
}

/* One try under the gate. A call that goes on to wait is counted before the gate opens, so that a close that comes in between
 * knows of it. */
static int attempt(struct wait *wait, bool block, bool first) {
    int64_t until = wait->until.ns == 0 ? 0 : INT64_MAX;
    if (block) {
        until = deadline(wait); /* another thread may be inside a system call */
    }
    int rc = end_enter(wait->end, wait->way, until);
    if (rc != 0) {
        return rc;
    }
    rc = wait->try(wait->end, wait->arguments, block);
    wait->handed = wait->end->way[wait->way].handed;
    if (first && rc == -EAGAIN && wait->until.ns != 0) {
        end_wait_begins(wait->end, wait->way);
    }
    end_leave(wait->end, wait->way);
    return rc;
}

/* May this call block inside a system call of the mechanism, for a slice? */
static bool may_block(struct wait *wait) {
    return wait->end->mech->blocks && wait->until.ns != 0 && wait->end->wait != THIRL_WAIT_SPIN &&
           atomic_peek(&wait->end->way[wait->way].choosers) == 0 &&
           (wait->until.ns == INT64_MAX || deadline(wait) - clock_now() > MECH_SLICE_NS);
}

static void learn(int64_t *average, int64_t value, int64_t low, int64_t high, int shift) {
    value = value < low ? low : value > high ? high : value;
    int64_t old = atomic_peek(average); /* other threads look at it without the gate */
    atomic_poke(average, old + ((value - old) >> shift));
}

/* Asking for room takes the cursor's cache line away from the receiver, and a full queue is in no hurry: time enough for the
 * receiver to take a good part of it. */
static unsigned pauses_when_full(const thirl *end) {
    uint64_t pauses = end->seen->queue / 512;
    return pauses < 32 ? 32 : pauses > 800 ? 800 : (unsigned)pauses;
}

/* The peer runs on this very processor, and answers quickly: lets it. haste is a copy: other threads may wait, too. */
static int give_way(struct wait *wait, struct haste haste) {
    struct end_way *way = &wait->end->way[wait->way];
    unsigned most = haste_allowance(&haste), i = 0;
    bool brief = true;
    int rc = -EAGAIN;
    while (rc == -EAGAIN && brief && i < most && i < YIELDS) {
        brief = haste_yield(&haste);
        rc = attempt(wait, false, false);
        i++;
    }
    haste_learn(&haste, rc == -EAGAIN ? 0 : i);
    if (gate_enter(&way->gate, INT64_MAX) == 0) {
        way->haste = haste;
        gate_leave(&way->gate);
    }
    return rc;
}

/* Who never sleeps looks now and then whether the peer lives, and gives the processor up: at a real-time priority whoever is to answer, or is
 * waited for by him who is, would not get it otherwise. One that last ran on this very processor may be of a lower priority: then giving it
 * up is not enough. */
static void look_around(struct wait *wait) {
    thirl *end = wait->end;
    bool beside = false;
    if (end_enter(end, wait->way, INT64_MAX) == 0) {
        (void)end->mech->look(end->state, wait->way);
        beside = end->mech->spin != NULL && !end->mech->spin(end->state, wait->way);
        end_leave(end, wait->way);
    }
    if (beside) {
        const struct timespec nap = {.tv_nsec = BESIDE_NS};
        (void)nanosleep(&nap, NULL);
    } else {
        (void)sched_yield();
    }
}

/* Tries until something comes, or longer than sleeping would have cost. */
static int spin(struct wait *wait) {
    thirl *end = wait->end;
    struct end_way *way = &end->way[wait->way];
    bool for_ever = end->wait == THIRL_WAIT_SPIN;
    bool calls =
        end->mech->spin == NULL; /* each try is a system call, and the mechanism does its own before it sleeps in one */
    if ((calls && !for_ever) || end->wait == THIRL_WAIT_SLEEP) {
        return -EAGAIN;
    }
    int entered = end_enter(end, wait->way, INT64_MAX);
    if (entered != 0) {
        return entered;
    }
    bool worth = calls || end->mech->spin(end->state, wait->way);
    struct haste haste = way->haste;
    end_leave(end, wait->way);
    wait->beside = !worth;
    atomic_poke(&way->keen, 0);
    if (!for_ever && atomic_peek(&way->gap) > atomic_peek(&way->wake)) {
        return -EAGAIN;
    }
    if (!for_ever && !worth) {
        return give_way(wait, haste);
    }
    int64_t began = 0;
    unsigned pauses = wait->way == MECH_OUT ? pauses_when_full(end) : 0;
    unsigned step = wait->way == MECH_OUT ? SPIN_PER_CLOCK : 1;
    for (unsigned tries = step;; tries += step) {
        for (unsigned i = 0; i < pauses; i++) {
            atomic_pause();
        }
        int rc = attempt(wait, false, false);
        if (rc != -EAGAIN) {
            int64_t gap = tries <= SPIN_FREE ? 0 : clock_now() - began;
            learn(&way->gap, gap, 0, GAP_MAX, 2);
            atomic_poke(&way->keen, wait->way == MECH_IN && !calls && rc == 0 && tries <= SPIN_FREE ? KEEN : 0);
            return rc;
        }
        if (calls) {
            (void)sched_yield(); /* the peer may be on this very processor */
        }
        if (tries < SPIN_FREE) {
            continue;
        }
        atomic_pause();
        if (tries % SPIN_PER_CLOCK == 0) {
            int64_t now = clock_now();
            began = began == 0 ? now : began;
            if (now >= deadline(wait) || (!for_ever && now - began > atomic_peek(&way->wake))) {
                return -EAGAIN;
            }
        }
        if (for_ever && tries % SPIN_PER_LOOK == 0) {
            look_around(wait);
        }
    }
}

int end_kick(thirl *end) {
    int kick = atomic_load(&end->kick);
    if (kick < 0) {
        int none = -1;
        int made = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (made < 0) {
            return -1; /* then the slice below bounds the sleep */
        }
        kick = atomic_cas(&end->kick, &none, made) ? made : none;
        if (kick != made) {
            fd_close(&made);
        }
    }
    return kick;
}

/* Sleeping on two words costs a fifth of a microsecond more than on one, and a timer that is due soon costs more than both.
 * Beside a peer on the same processor that shows: so while it answers quickly the life word joins only after a nap.
 * true: nobody woke it. */
static bool sleep_on_word(const struct mech_watch *watch, bool quick, int64_t until) {
    int64_t now = quick && until == INT64_MAX ? 0 : clock_now();
    if (quick && until - now > NAP_NS) {
        if (futex_nap(watch->word, watch->value, NAP_NS) != -ETIMEDOUT) {
            return false;
        }
        now = clock_now();
    }
    int64_t slice =
        clock_after(now, watch->life == NULL && watch->slice > MECH_SLICE_NS ? MECH_SLICE_NS : watch->slice);
    until = slice < until ? slice : until;
    int rc = -ENOSYS;
    if (watch->also_count != 0) {
        struct futex_word words[MECH_ALSO + 2] = {{watch->word, watch->value}, {watch->life, watch->life_value}};
        memcpy(words + 2, watch->also, watch->also_count * sizeof *words);
        rc = futex_wait_many(words, watch->also_count + 2, until);
    } else if (watch->life != NULL) {
        rc = futex_wait_two(watch->word, watch->value, watch->life, watch->life_value, until);
    }
    if (rc == -ENOSYS) {
        slice = clock_after(now, MECH_SLICE_NS);
        rc = futex_wait(watch->word, watch->value, until < slice ? until : slice);
    }
    return rc == -ETIMEDOUT;
}

void end_doze(struct end_way *way, int *nudge) {
    way->dozing++;
    way->nudge = way->nudge >= 0 ? way->nudge : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    *nudge = way->nudge;
}

/* The last one puts it out: until then it is to be seen by all. */
void end_stir(struct end_way *way) {
    eventfd_t count;
    if (--way->dozing == 0 && way->nudge >= 0) {
        (void)eventfd_read(way->nudge, &count);
    }
}

static bool sleep_on_fd(thirl *end, const struct mech_watch *watch, int nudge, int64_t until) {
    int kick = end_kick(end);
    int64_t slice = kick < 0 && watch->slice > MECH_SLICE_NS ? MECH_SLICE_NS : watch->slice;
    int64_t now = slice == INT64_MAX && until == INT64_MAX ? 0 : clock_now();
    until = clock_after(now, slice) < until ? clock_after(now, slice) : until;
    struct pollfd polled[] = {{.fd = watch->fd, .events = watch->events},
                              {.fd = watch->guard, .events = POLLIN},
                              {.fd = kick, .events = POLLIN},
                              {.fd = nudge, .events = POLLIN}};
    struct timespec rest = clock_spec(until > now ? until - now : 0);
    nfds_t count = nudge < 0 ? 3 : 4; /* as few as can be: there may be no more of them than RLIMIT_NOFILE */
    return ppoll(polled, count, until == INT64_MAX ? NULL : &rest, NULL) == 0;
}

/* What a sleep has taught: how long the peer let this way wait, and how long the wake-up took. */
static void learn_from(struct end_way *way, int64_t began, int64_t rang) {
    int64_t now = clock_now();
    bool known = rang >= began && rang <= now;
    learn(&way->gap, (known ? rang : now) - began, 0, GAP_MAX, 2);
    if (known) {
        learn(&way->wake, now - rang, WAKE_MIN, WAKE_MAX, 3);
    }
}

/* Arms, sleeps, disarms, tries: what the try says, or an error. */
static int sleep_once(struct wait *wait) {
    thirl *end = wait->end;
    struct end_way *way = &end->way[wait->way];
    struct mech_watch watch = {.fd = -1, .guard = -1, .slice = INT64_MAX};
    int nudge = -1;
    int rc = end_enter(end, wait->way, deadline(wait));
    if (rc != 0) {
        return rc;
    }
    rc = end->mech->arm(end->state, wait->way, &watch);
    if (rc == 0 && way->handed != wait->handed) { /* since its last try another thread has left it something */
        (void)end->mech->disarm(end->state, wait->way);
        rc = 1;
    }
    if (rc == 0) {
        atomic_store(&way->word, watch.kind == MECH_WATCH_WORD ? watch.word : NULL);
        if (end->asks && watch.kind == MECH_WATCH_FD) {
            end_doze(way, &nudge);
        }
        wait->noted = wait->noted || errand_begin(end, wait->way);
        watch.slice = end->tells && watch.slice > MECH_SLICE_NS ? MECH_SLICE_NS : watch.slice;
    }
    if (rc == 1) {
        rc = wait->try(end, wait->arguments, false);
        wait->handed = way->handed;
        end_leave(end, wait->way);
        return rc;
    }
    end_leave(end, wait->way);
    if (rc != 0) {
        return rc;
    }
    int64_t began = watch.timed ? clock_now() : 0;
    weave("wait.sleep.before");
    bool quick = wait->beside && atomic_peek(&way->gap) < QUICK_NS;
    bool late = watch.kind == MECH_WATCH_WORD ? sleep_on_word(&watch, quick, deadline(wait))
                                              : sleep_on_fd(end, &watch, nudge, deadline(wait));
    weave("wait.sleep.after");
    (void)gate_enter(&way->gate, INT64_MAX);
    if (end->asks && watch.kind == MECH_WATCH_FD) {
        end_stir(way);
    }
    int64_t rang = end->mech->disarm(end->state, wait->way);
    if (watch.timed || late) {
        learn_from(way, began != 0 ? began : clock_now() - GAP_MAX, rang);
    }
    if (late) {
        rc = end->mech->look(end->state, wait->way); /* is there still somebody who could wake this end? */
    }
    bool closing = atomic_peek(&end->closing);
    if (!closing && (rc == 0 || rc == -EAGAIN)) {
        rc = wait->try(end, wait->arguments, false);
        if (late && watch.slice >= MECH_SLICE_NS && rc == 0) {
            weave("stale.wait.found"); /* nobody rang, or only just now; sooner is how it hears where nothing tells */
        }
        wait->handed = way->handed;
    }
    gate_leave(&way->gate);
    rc = late && rc == -EAGAIN && !closing && errand_look(end) == -EDEADLK ? -EDEADLK : rc;
    return closing ? end_refuse(end, wait->way) : rc;
}

/* A large message found no place in the pool. */
static int say_no_place(const thirl *end, int code, const char *who, const char *when) {
    const struct node_end *seen = end->seen;
    unsigned long long wanted = atomic_peek(&seen->wanted), bound = seen->pool, size = atomic_peek(&seen->reserved);
    unsigned long long holds = atomic_peek(&seen->out.holds), held = atomic_peek(&seen->out.held);
    return err_say(
        code,
        "%s: no place for a message of %llu bytes in the pool, which has %llu of at most %llu bytes: %s holds "
        "%llu messages, %llu bytes, and freed none %s; the rest is lent, or waits to be received: %s",
        end->address, wanted, size, bound, who, holds, held, when,
        size < bound && bound - size >= wanted ? "the file system of the registry gives no more, make room there"
                                               : "free some, or open this end with a larger ?pool=");
}

static int say_late(const struct wait *wait) {
    const thirl *end = wait->end;
    int code = wait->until.ns == 0 ? EAGAIN : ETIMEDOUT;
    const char *when = wait->until.ns == 0 ? "at once" : "before the deadline";
    if (end->asks && wait->way == MECH_IN) {
        return err_say(code, "%s: no %s came %s", end->address, end->due != NULL ? "request" : "answer", when);
    }
    if (end->asks && end->due == NULL) {
        return err_say(code, "%s: no server took the request %s: none is open, or those that are do not get on",
                       end->address, when);
    }
    char who[NODE_PEER_MAX];
    node_end_who(end->seen, who);
    bool known = end->mech->pidfd != NULL; /* over a connection it is known who is there */
    bool queue = end->seen->role == THIRL_WATCH ||
                 ((end->seen->role == THIRL_PUSH || end->seen->role == THIRL_PULL || !end->mech->registry) && !known);
    if (queue && wait->way == MECH_IN) {
        uint64_t refused = atomic_peek(&end->seen->in.refused);
        if (*who == 0 && refused != 0) {
            return err_say(
                code,
                "%s: nothing arrived %s; %llu that came since it was opened were not thirl's or damaged, and were "
                "refused: whoever sends them needs ?raw or ?crc at both ends, or this version of thirl",
                end->address, when, (unsigned long long)refused);
        }
        return err_say(code, "%s: nothing arrived %s%s%s", end->address, when,
                       *who == 0 ? "" : "; half a message is in the hands of ", who);
    }
    if (queue && atomic_peek(&end->seen->wanted) != 0) {
        return say_no_place(end, code, "whoever works here", when);
    }
    if (queue && end->seen->queue != 0) { /* it has none while nobody is there to read a pipe */
        return err_say(code, "%s: the queue (%llu bytes) is full and nobody made room %s", end->address,
                       (unsigned long long)end->seen->queue, when);
    }
    if (atomic_peek(&end->seen->state) == NODE_END_WAITING) {
        return err_say(code, "%s: nobody opened the other end %s", end->address, when);
    }
    if (wait->way == MECH_IN) {
        return err_say(code, "%s: %s sent nothing %s", end->address, who, when);
    }
    if (atomic_peek(&end->seen->wanted) != 0) {
        return say_no_place(end, code, who, when);
    }
    const char *more = end->mech->more;
    return err_say(code, "%s: the queue (%llu bytes) is full and %s made no room %s%s%s", end->address,
                   (unsigned long long)end->seen->queue, who, when, more == NULL ? "" : "; ", more == NULL ? "" : more);
}

/* The deadline has passed, and whoever only spun has not looked for a while: nobody is told to be patient with the dead. */
static int look_last(struct wait *wait) {
    thirl *end = wait->end;
    int rc = end_enter(end, wait->way, INT64_MAX);
    if (rc == 0) {
        (void)end->mech->look(end->state, wait->way);
        rc = wait->try(end, wait->arguments, false);
        end_leave(end, wait->way);
    }
    return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

/* Tries, spins and sleeps until there is an answer. The caller is counted among the waiters, and no longer when it returns. */
static int wait_on(struct wait *wait) {
    int rc;
    do {
        rc = spin(wait);
        if (rc == -EAGAIN) {
            rc = is_over(wait) ? look_last(wait) : sleep_once(wait);
        }
    } while (rc == -EAGAIN);
    if (wait->noted) {
        errand_end();
    }
    if (rc == -ETIMEDOUT) {
        rc = say_late(wait);
    }
    end_wait_ends(wait->end, wait->way);
    return rc;
}

int end_do(thirl *end, enum mech_way way, end_try *try, void *arguments, thirl_time until) {
    struct wait wait = {.end = end, .way = way, .try = try, .arguments = arguments, .until = until};
    if (end == NULL) {
        return end_refuse(end, way);
    }
    int rc = attempt(&wait, may_block(&wait), true);
    if (rc == -EAGAIN && until.ns != 0) {
        return wait_on(&wait);
    }
    return rc == -EAGAIN || rc == -ETIMEDOUT ? say_late(&wait) : rc;
}

void end_vacate(thirl *end, enum mech_way way) {
    gate_vacate(&end->way[way].gate);
}

int end_linger(thirl *end, enum mech_way way, end_try *try, void *arguments) {
    uint32_t left = atomic_peek(&end->way[way].keen);
    if (!end->mech->spin(end->state, way)) {
        return -EAGAIN;
    }
    int rc = try(end, arguments, true); /* it may look for a moment by itself */
    while (rc == -EAGAIN && left-- != 0) {
        rc = try(end, arguments, false);
    }
    return rc;
}

int end_go_on(thirl *end, enum mech_way way, end_try *try, void *arguments, thirl_time until) {
    struct wait wait = {.end = end, .way = way, .try = try, .arguments = arguments, .until = until};
    return wait_on(&wait);
}

void end_hand(thirl *end, enum mech_way at) {
    struct end_way *way = &end->way[at];
    way->handed++;
    if (gate_counted(&way->waiters) != 0 && end->mech->wake != NULL) {
        end->mech->wake(end->state, at);
    }
    if (way->dozing != 0 && way->nudge >= 0) {
        (void)eventfd_write(way->nudge, 1);
    }
}

void end_wake_all(thirl *end) {
    for (int i = 0; i < 2; i++) {
        struct end_way *way = &end->way[i];
        (void)gate_enter(&way->gate, INT64_MAX);
        gate_leave(&way->gate);
        atomic_fence(); /* pairs with the one of join in choose.c */
        while (gate_counted(&way->waiters) != 0) {
            const uint32_t *word = atomic_load(&way->word);
            int kick = atomic_load(&end->kick);
            if (word != NULL) {
                (void)futex_wake(word, INT_MAX);
            }
            (void)atomic_add(&end_closings, 1);
            (void)futex_wake(&end_closings, INT_MAX);
            if (kick >= 0) {
                (void)eventfd_write(kick, 1);
            }
            /* Again and again, because a thread may have been on its way to sleep. */
            const struct timespec moment = {.tv_nsec = 100 * CLOCK_US};
            (void)nanosleep(&moment, NULL);
        }
    }
}
