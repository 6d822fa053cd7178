/* SPDX-License-Identifier: MIT
 *
 * The walk: depth first, each run from the beginning along choices that are known, then along the first ones. A state that was there
 * before (memory, stacks, who sleeps) ends the run: all that follows from it was walked, or will be.
 */
#define _GNU_SOURCE
#include "tests/race/loom.h"

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#undef futex_fence_heavy
#undef futex_wait
#undef futex_wake
#undef clock_now

#define STACK 32768
#define CHOICES 4096
#define SEEN (1u << 21)

enum condition { READY, ASLEEP, DONE, DEAD };

struct thread {
    ucontext_t context; /* where it begins; afterwards it goes on at jump, which takes no system call */
    jmp_buf jump;
    bool begun;
    enum condition is;
    const uint32_t *word; /* it sleeps on */
    int64_t until;
    int woken;      /* what its sleep answers */
    unsigned since; /* who slept first is woken first */
    struct {
        void *at; /* NULL: there is none */
        uint64_t value;
        size_t size;
    } store;   /* that only it sees yet */
    char *top; /* of what its stack holds */
    LINE_ALIGNED char stack[STACK];
};

static struct thread thread[LOOM_THREADS];
static jmp_buf home;
static const struct loom *loom;

static struct {
    unsigned self, switches, slices, sleeps;
    int64_t now;
    bool died, given_up, on; /* on: a thread runs, not begin or end */
    const char *wrong;
} run;

static struct {
    unsigned char taken[CHOICES], of[CHOICES];
    unsigned length, at;
} path;

static uint64_t seen[SEEN];
static unsigned states, runs;

void loom_wrong(const char *what) {
    run.wrong = run.wrong == NULL ? what : run.wrong;
}

unsigned loom_self(void) {
    return run.self;
}

bool loom_dead(unsigned who) {
    return thread[who].is == DEAD;
}

int64_t loom_now(void) {
    return run.now;
}

/* ---- who sleeps, and who goes on --------------------------------------------------------------------------------- */

/* Everything that is not yet in memory goes to the stack, so that the stack says it all. */
__attribute__((noinline)) static void leave(void) {
    struct thread *own = &thread[run.self];
    own->top = __builtin_frame_address(0);
    if (_setjmp(own->jump) == 0) _longjmp(home, 1);
}

void loom_step(void) {
    __builtin_unwind_init();
    if (run.on) leave();
}

/* ---- stores that are not seen yet -------------------------------------------------------------------------------- */

static void show(struct thread *t) {
    if (t->store.at != NULL) {
        memcpy(t->store.at, &t->store.value, t->store.size); /* the low bytes come first */
    }
    memset(&t->store, 0, sizeof t->store);
}

static void show_all(void) {
    for (unsigned i = 0; i < LOOM_THREADS; i++) show(&thread[i]);
}

void loom_settle(void) {
    loom_step();
    show(&thread[run.self]);
}

void loom_store(void *at, uint64_t value, size_t size) {
    struct thread *own = &thread[run.self];
    loom_settle();
    own->store.at = at;
    own->store.value = value;
    own->store.size = size;
    uintptr_t from = (uintptr_t)loom->memory[0].at;
    bool may_wait = loom->buffers && run.on && (uintptr_t)at - from < loom->memory[0].size;
    if (!may_wait) show(own);
}

uint64_t loom_seen(const void *at, size_t size) {
    const struct thread *own = &thread[run.self];
    if (run.on && own->store.at == at) {
        return own->store.value;
    }
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

bool loom_fence_heavy(void) {
    loom_step();
    show_all();
    return true;
}

void loom_pause(void) {
    loom_step();
}

int loom_futex_wait(const uint32_t *word, uint32_t value, int64_t until) {
    struct thread *own = &thread[run.self];
    loom_settle();
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
        return -EAGAIN;
    }
    if (until <= run.now) {
        return -ETIMEDOUT;
    }
    own->is = ASLEEP;
    own->word = word;
    own->until = until;
    own->since = run.sleeps++;
    loom_step();
    return own->woken;
}

static struct thread *longest(const uint32_t *word) {
    struct thread *first = NULL;
    for (unsigned i = 0; i < loom->threads; i++) {
        if (thread[i].is == ASLEEP && thread[i].word == word && (first == NULL || thread[i].since < first->since)) {
            first = &thread[i];
        }
    }
    return first;
}

int loom_futex_wake(const uint32_t *word, int count) {
    int woken = 0;
    loom_settle();
    for (struct thread *each; woken < count && (each = longest(word)) != NULL; woken++) {
        each->is = READY;
        each->woken = 0;
    }
    return woken;
}

/* Nobody can go on: the time comes when the first of them has slept enough. false: nobody sleeps. */
static bool let_time_pass(void) {
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < loom->threads; i++) {
        next = thread[i].is == ASLEEP && thread[i].until < next ? thread[i].until : next;
    }
    run.now = next;
    show_all();
    bool any = false;
    for (unsigned i = 0; i < loom->threads; i++) {
        if (thread[i].is == ASLEEP && thread[i].until <= next) {
            thread[i].is = READY;
            thread[i].woken = -ETIMEDOUT;
            any = true;
        }
    }
    run.slices += any;
    return any;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const void *memory, size_t size) {
    const unsigned char *byte = memory;
    uint64_t word;
    for (; size >= sizeof word; byte += sizeof word, size -= sizeof word) {
        memcpy(&word, byte, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    for (; size != 0; byte++, size--) {
        hash = (hash ^ *byte) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* Is the state new? */
static bool note(void) {
    uint64_t hash = mix(UINT64_C(1469598103934665603), &run.now, sizeof run.now);
    hash = mix(hash, loom->memory[0].at, loom->memory[0].size);
    hash = mix(hash, loom->memory[1].at, loom->memory[1].size);
    const unsigned own[] = {run.self, run.switches, run.slices, run.died};
    hash = mix(hash, own, sizeof own);
    for (unsigned i = 0; i < loom->threads; i++) {
        const struct thread *t = &thread[i];
        unsigned before = 0;
        for (unsigned j = 0; j < loom->threads; j++) {
            before += t->is == ASLEEP && thread[j].is == ASLEEP && thread[j].since < t->since;
        }
        const uint64_t is[] = {t->is,
                               t->is == ASLEEP ? (uintptr_t)t->word : 0,
                               (uint64_t)(int64_t)t->woken,
                               before,
                               (uintptr_t)t->store.at,
                               t->store.value};
        hash = mix(hash, is, sizeof is);
        if (t->is == READY || t->is == ASLEEP) {
            hash = mix(hash, t->top, (size_t)(t->stack + STACK - t->top));
        }
    }
    hash += hash == 0;
    for (unsigned at = (unsigned)(hash % SEEN);; at = (at + 1) % SEEN) {
        if (seen[at] == hash) {
            return false;
        }
        if (seen[at] == 0) {
            seen[at] = hash;
            states++;
            return true;
        }
    }
}

/* Takes one of so many ways: the known one, or the first. */
static unsigned choose(unsigned ways) {
    if (ways <= 1) {
        return 0;
    }
    if (path.at == path.length) {
        if (states >= SEEN / 4 * 3 || path.length == CHOICES) {
            loom_wrong("there is too much of it");
            return 0;
        }
        run.given_up = !note();
        path.taken[path.length] = 0;
        path.of[path.length++] = (unsigned char)(run.given_up ? 1 : ways);
    }
    return path.taken[path.at++];
}

/* Who is next: the way on first, then the others, then the death of who is at it, and then whose store is seen. false: all are done. */
static bool next(void) {
    unsigned other[LOOM_THREADS], others = 0, hidden[LOOM_THREADS], stores = 0;
    for (;;) {
        for (unsigned i = 0; i < loom->threads; i++) {
            if (thread[i].is == READY && i != run.self) other[others++] = i;
        }
        if (others != 0 || thread[run.self].is == READY || !let_time_pass()) break;
    }
    bool on = thread[run.self].is == READY, asleep = thread[run.self].is == ASLEEP;
    if (!on && others == 0) {
        return false;
    }
    others = on && run.switches == loom->switches ? 0 : others;
    bool may_die = !run.died && (on || asleep) && (loom->mortal >> run.self & 1) != 0;
    for (unsigned i = 0; i < loom->threads; i++) {
        if (thread[i].store.at != NULL) hidden[stores++] = i;
    }
    unsigned way = choose((on ? 1 : 0) + others + (may_die ? 1 : 0) + stores);
    if (on && way == 0) {
        return true;
    }
    way -= on ? 1 : 0;
    if (way < others) {
        run.switches += on ? 1 : 0;
        run.self = other[way];
    } else if (way >= others + (may_die ? 1 : 0)) {
        show(&thread[hidden[way - others - (may_die ? 1 : 0)]]);
        return next();
    } else {
        run.died = true;
        thread[run.self].is = DEAD;
        return next();
    }
    return true;
}

static void body(void) {
    loom->play(run.self);
    thread[run.self].is = DONE;
    _longjmp(home, 1);
}

/* Lets a thread go on to its next operation. */
__attribute__((noinline)) static void let(struct thread *t) {
    if (_setjmp(home) != 0) {
        return;
    }
    if (t->begun) _longjmp(t->jump, 1);
    t->begun = true;
    (void)setcontext(&t->context);
}

static void start(unsigned who) {
    struct thread *t = &thread[who];
    memset(t->stack, 0, STACK);
    (void)getcontext(&t->context);
    t->context.uc_stack.ss_sp = t->stack;
    t->context.uc_stack.ss_size = STACK;
    t->context.uc_link = NULL;
    makecontext(&t->context, body, 0);
    t->begun = false;
    t->is = READY;
    t->woken = 0;
    memset(&t->store, 0, sizeof t->store);
    t->top = t->stack + STACK;
}

static void play(void) {
    memset(&run, 0, sizeof run);
    run.now = CLOCK_S;
    path.at = 0;
    for (unsigned i = 0; i < loom->threads; i++) start(i);
    loom->begin();
    while (next() && !run.given_up && run.wrong == NULL) {
        run.on = true;
        let(&thread[run.self]);
        run.on = false;
        if (run.slices > loom->slices) loom_wrong("somebody sleeps for too long");
    }
    show_all();
    if (!run.given_up && run.wrong == NULL) loom->end();
}

/* The next path: the last choice that has another way left takes it. */
static bool turn_back(void) {
    while (path.length > 0 && path.taken[path.length - 1] + 1 == path.of[path.length - 1]) path.length--;
    if (path.length == 0) {
        return false;
    }
    path.taken[path.length - 1]++;
    return true;
}

bool loom_walk(const struct loom *what) {
    loom = what;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    memset(seen, 0, sizeof seen);
    path.length = 0;
    states = runs = 0;
    do {
        play();
        runs++;
    } while (run.wrong == NULL && turn_back());
    printf("loom: %s: %u states, %u runs%s%s\n", what->name, states, runs, run.wrong != NULL ? ", and then: " : "",
           run.wrong != NULL ? run.wrong : "");
    return run.wrong == NULL;
}
