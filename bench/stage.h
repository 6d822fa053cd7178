/* SPDX-License-Identifier: MIT
 *
 * The stage of a measurement: two pinned processes, what they share, how a run begins and what it leaves behind. Every
 * run is two fresh children, never threads. The works (bare floors and thirl) play on it; measure.c directs.
 */
#ifndef BENCH_STAGE_H
#define BENCH_STAGE_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/hist.h"

#define STAGE_PEERS 16       /* most receivers of one sender, or senders to one receiver */
#define STAGE_SAMPLES 200000 /* most round trips that one run can time one by one */
#define STAGE_CONTROL 16384  /* bytes of the control area */
#define STAGE_PAIR 128       /* two lines: the adjacent-line prefetcher fetches both */

#define stage_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define stage_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define stage_inline static inline __attribute__((always_inline))

/* Ping sends first and times round trips; pong answers, or receives and times. */
enum stage_side { STAGE_PING, STAGE_PONG };

/* What each process of a run leaves behind: ping and pong, and behind them what further peers there are. */
struct stage_share {
    int64_t user, system; /* processor time of the counted part, ns */
    uint64_t calls;       /* system calls in it, of a run that counts them */
    uint64_t messages;    /* how many it had; 0: this process counted nothing */
    int64_t begin, end;   /* stage_now() before the first and behind the last counted message */
    uint64_t sum;         /* payload words written or read */
    char why[200];        /* why there are no calls; or what went wrong with a further peer */
    uint64_t received __attribute__((aligned(STAGE_PAIR))); /* messages, where the run has a window */
    struct hist hist;                                       /* ticks of round trips, or from the intended start on */
} __attribute__((aligned(STAGE_PAIR)));

/* What the two processes share besides the medium itself. */
struct stage {
    int64_t begin, end;      /* one way: receiver's stage_now() before the first and behind the last counted message */
    uint64_t sum[2];         /* payload words: ping's written (and, on a round trip, read back), pong's read */
    uint64_t allocations[2]; /* calls of malloc and its kin in the counted part */
    uint64_t threads[2];     /* of each process, behind the counted part; 0 when not asked */
    uint64_t samples;        /* how many of sample[] are filled */
    char handed[320];        /* the address of what pong inherits */
    char why[2][256];        /* what went wrong on a side, "" when nothing did */
    uint32_t ready[2] __attribute__((aligned(STAGE_PAIR)));
    uint64_t received __attribute__((aligned(STAGE_PAIR))); /* messages, where the run has a window */
    struct stage_share share[STAGE_PEERS + 1];
    uint32_t sample[STAGE_SAMPLES]; /* ticks of each counted round trip */
};

/* One run of one work. Filled in before stage_run; the children get a copy. */
struct medium;
struct work;
struct run {
    const struct work *work;
    const char *address; /* of thirl's works, complete; NULL for floors */
    size_t size;         /* of a message, a multiple of 8 */
    uint64_t ring;       /* bytes of the floor's ring or socket buffer, a power of two */
    uint64_t warm, count;
    uint64_t
        window; /* one way: so many messages may be on their way, over what loses those that nobody waits for; 0: all */
    int cpu[2]; /* -1: wherever the system puts that process */
    unsigned peers; /* receivers of one sender, or senders to one receiver, where the work has several; else 0 */
    double period;  /* ticks from one intended start to the next; 0: each message when the one before is done */
    bool census;    /* counts system calls, and no times */
    /* Set by stage_run: */
    struct stage *stage;
    unsigned char *control;      /* STAGE_CONTROL zeroed bytes, shared by the two */
    unsigned char *area;         /* ring bytes, zeroed, shared, mapped twice in a row */
    const struct medium *medium; /* of a bare floor over system calls; NULL: none. What it keeps: */
    int fd[2][2];                /* for each side: read from, written to; -1 */
    int queue[2];                /* System V: each side's, written to; -1 */
    void *bell;                  /* and what stands beside them */
    size_t packet;               /* bytes of the largest piece; 0: whole messages */
    int beside;                  /* the other side's pid, where ping has started it */
    struct run *lane;            /* of a medium with several peers: the ends of each; NULL: these */
};

struct work {
    int (*ping)(struct run *);
    int (*pong)(struct run *);
    bool area;                   /* wants control and area */
    const struct medium *medium; /* goes over system calls; NULL: none */
};

/* Finds two processors and times the tick. -1 with a sentence on stderr. */
int stage_init(void);
int stage_cpus(int cpu[2]); /* how many of them there are: 1 or 2; both entries are valid */

/* Plays the work in two processes and waits for both. 0, or -1 with the reason in *why (valid until the next run). The
 * outcome is in *outcome until the next run. A run that takes longer than a minute is killed. */
int stage_run(const struct work *, const struct run *, const struct stage **outcome, const char **why);

/* In a child: */
int stage_fail(struct run *, enum stage_side, const char *format, ...) __attribute__((format(printf, 3, 4)));
void stage_meet(struct run *, enum stage_side); /* both sides are here */
int stage_beside(struct run *,
                 const char *address); /* in ping, where pong inherits: starts it as a child of this process */
void stage_wait(const struct run *,
                uint64_t sent);              /* in ping, one way, before each message: until the window is open */
uint64_t stage_threads(void);                /* of the calling process */
void stage_pin(int cpu);                     /* the calling process; -1: it stays where it may be */
void stage_from(struct run *, unsigned who); /* from here on this process's work is counted, warm-up included, … */
void stage_to(struct run *, unsigned who, uint64_t messages); /* … and its share says what so many messages took */

double stage_ns(double ticks);
int64_t stage_now(void); /* CLOCK_MONOTONIC, ns */

stage_inline uint64_t stage_tick(void) {
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return (uint64_t)stage_now();
#endif
}

/* In a loop that waits for the other side without a system call: once in so many looks the processor is given up. Else two runs side by
 * side, at a real-time priority and each with its two processes on the two processors, would wait for each other for ever. */
#define STAGE_PATIENCE 65536u
stage_inline void stage_patience(unsigned *looks) {
    if (__builtin_expect(++*looks % STAGE_PATIENCE == 0, 0)) {
        (void)sched_yield();
    }
}

/* Keeps the compiler from leaving out what was written there. */
#define stage_use(buffer) __asm__ __volatile__("" : : "r"(buffer) : "memory")

/* In ping, where it does all by itself: warms up, and then counts. */
#define STAGE_REPEAT(run, what)                                                                                        \
    do {                                                                                                               \
        for (uint64_t i = 0; i < (run)->warm; i++) {                                                                   \
            what;                                                                                                      \
        }                                                                                                              \
        (run)->stage->begin = stage_now();                                                                             \
        for (uint64_t i = 0; i < (run)->count; i++) {                                                                  \
            what;                                                                                                      \
        }                                                                                                              \
        (run)->stage->end = stage_now();                                                                               \
    } while (0)

/* In pong, one way, after each message. */
stage_inline void stage_received(const struct run *run, uint64_t messages) {
    if (run->window) {
        stage_store(&run->stage->received, messages); /* pairs with stage_wait */
    }
}

/* Keeps one round trip's time. */
stage_inline void stage_keep(struct stage *stage, uint64_t index, uint64_t ticks) {
    if (index < STAGE_SAMPLES) {
        stage->sample[index] = ticks > UINT32_MAX ? UINT32_MAX : (uint32_t)ticks;
    }
}

#endif
