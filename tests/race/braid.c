/* SPDX-License-Identifier: MIT
 *
 * Participants as coroutines, and the walk through all choices, see braid.h.
 */
#include "tests/race/braid.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define STACK (256 * 1024)
#define CHOICES 4096
#define STALLS 4 /* of one run: who then still sleeps does so for ever */

enum state { READY, ASLEEP, DONE, DEAD };

static struct participant {
    ucontext_t context;
    struct party me;
    struct slip slip;
    enum state state;
    const uint32_t *word;
    bool timed, late;
    int result; /* of its sleep */
    char *stack;
} all[BRAID_MOST];

static struct {
    const struct braid *spec;
    ucontext_t home;
    unsigned current, changes, slices, stalls;
    int dead;
    bool begun;
    const char *failed;
    int failed_line;
    struct {
        uint16_t made, options;
    } choice[CHOICES];
    unsigned choices, given; /* of this run; those that are not its own to make */
    struct {
        uint16_t who, line;
    } trace[CHOICES];
    unsigned traced;
} run;

static unsigned choose(unsigned options) {
    if (options <= 1) {
        return 0;
    }
    if (run.choices == CHOICES) {
        run.failed = "a run that does not end";
        return 0;
    }
    unsigned at = run.choices++;
    if (at >= run.given) {
        run.choice[at].made = 0;
    }
    run.choice[at].options = (uint16_t)options;
    return run.choice[at].made;
}

static void go_home(unsigned from) {
    (void)swapcontext(&all[from].context, &run.home);
}

/* Another participant goes on, and this one when it is chosen again. */
static void turn_to(unsigned next) {
    unsigned from = run.current;
    run.current = next;
    if (from != next) {
        (void)swapcontext(&all[from].context, &all[next].context);
    }
}

static void get_up(struct participant *sleeper, int result) {
    sleeper->state = READY;
    sleeper->result = result;
    sleeper->late = sleeper->late || result == -ETIMEDOUT;
}

/* Nobody can go on. Those with a deadline of their own reach it; else it is a lost wake-up, which only a death excuses. */
static bool stalled(void) {
    bool any = false, timed = false;
    for (unsigned i = 0; i < run.spec->participants; i++) {
        any = any || all[i].state == ASLEEP;
        timed = timed || (all[i].state == ASLEEP && all[i].timed);
    }
    if (!any) {
        return false;
    }
    if (!timed && (run.dead < 0 || ++run.stalls > STALLS)) {
        run.failed = run.dead < 0 ? "a wake-up is lost" : "somebody sleeps for ever";
        return false;
    }
    for (unsigned i = 0; i < run.spec->participants; i++) {
        if (all[i].state == ASLEEP && (all[i].timed || !timed)) {
            get_up(&all[i], -ETIMEDOUT);
        }
    }
    return true;
}

/* The current one cannot go on: who does? */
static void pass_on(void) {
    for (;;) {
        unsigned ready[BRAID_MOST], count = 0, from = run.current;
        for (unsigned i = 0; i < run.spec->participants; i++) {
            if (all[i].state == READY) ready[count++] = i;
        }
        if (count != 0) {
            turn_to(ready[choose(count)]);
            return;
        }
        if (run.failed != NULL || !stalled()) {
            go_home(from);
            return;
        }
    }
}

void braid_fail(const char *text, int line) {
    if (run.failed == NULL) {
        run.failed = text;
        run.failed_line = line;
    }
}

static void note(int line) {
    if (run.traced < CHOICES) {
        run.trace[run.traced].who = (uint16_t)run.current;
        run.trace[run.traced++].line = (uint16_t)line;
    }
}

/* What may happen before the current participant's step. */
enum event { ON, OTHER, KILL, SLICE };

void braid_step(int line) {
    struct {
        enum event event;
        unsigned who;
    } option[2 * BRAID_MOST + 2];
    unsigned options = 0;
    if (!run.begun) { /* nobody's step */
        return;
    }
    if (run.failed != NULL) {
        go_home(run.current);
        return;
    }
    option[options].event = ON;
    option[options++].who = run.current;
    for (unsigned i = 0; i < run.spec->participants; i++) {
        if (i != run.current && all[i].state == READY && run.changes < run.spec->changes) {
            option[options].event = OTHER;
            option[options++].who = i;
        }
        if (all[i].state == ASLEEP && run.slices < run.spec->slices) {
            option[options].event = SLICE;
            option[options++].who = i;
        }
    }
    if (run.spec->kills && run.dead < 0 && run.current == 0) {
        option[options++].event = KILL;
    }
    unsigned made = choose(options);
    switch (option[made].event) {
    case ON:
        break;
    case OTHER:
        run.changes++;
        turn_to(option[made].who);
        break;
    case KILL:
        note(0);
        run.dead = 0;
        all[0].state = DEAD;
        pass_on();
        break;
    case SLICE:
        run.slices++;
        get_up(&all[option[made].who], -ETIMEDOUT);
        break;
    }
    note(line);
}

int braid_wait(const uint32_t *word, uint32_t value, int64_t until) {
    struct participant *me = &all[run.current];
    braid_step(1);
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value) {
        return -EAGAIN;
    }
    me->state = ASLEEP;
    me->word = word;
    me->timed = until < BRAID_LATE;
    pass_on();
    return me->result;
}

int braid_wake(const uint32_t *word, int count) {
    int woken = 0;
    braid_step(2);
    for (; woken < count; woken++) {
        unsigned asleep[BRAID_MOST], sleepers = 0;
        for (unsigned i = 0; i < run.spec->participants; i++) {
            if (all[i].state == ASLEEP && all[i].word == word) asleep[sleepers++] = i;
        }
        if (sleepers == 0) {
            break;
        }
        get_up(&all[asleep[count >= (int)sleepers ? 0 : choose(sleepers)]], 0);
    }
    return woken;
}

int64_t braid_now(void) {
    return all[run.current].late ? BRAID_LATE : 0;
}

bool braid_alive(uint64_t id) {
    return run.dead < 0 || all[run.dead].me.id != id;
}

bool braid_asleep(unsigned who) {
    return all[who].state == ASLEEP;
}

struct party *braid_me(void) {
    return &all[run.current].me;
}

int braid_dead(void) {
    return run.dead;
}

static void live(void) {
    run.spec->body(run.current);
    all[run.current].state = DONE;
    pass_on();
}

static void make(unsigned who) {
    struct participant *p = &all[who];
    char *stack = p->stack == NULL ? malloc(STACK) : p->stack;
    if (stack == NULL || getcontext(&p->context) != 0) {
        abort();
    }
    p->stack = stack;
    p->context.uc_stack.ss_sp = stack;
    p->context.uc_stack.ss_size = STACK;
    p->context.uc_link = &run.home;
    makecontext(&p->context, live, 0);
    memset(&p->slip, 0, sizeof p->slip);
    p->me = (struct party){.id = (uint64_t)(who + 1) << 16, .number = who + 1, .slip = &p->slip};
    p->state = READY;
    p->late = false;
}

static bool once(void) {
    run.choices = run.traced = run.changes = run.slices = run.stalls = 0;
    run.dead = -1;
    run.failed = NULL;
    run.spec->begin();
    for (unsigned i = 0; i < run.spec->participants; i++) {
        make(i);
    }
    run.current = choose(run.spec->participants);
    run.begun = true;
    (void)swapcontext(&run.home, &all[run.current].context);
    run.begun = false;
    if (run.failed == NULL) {
        run.spec->end();
    }
    if (run.failed == NULL) {
        return true;
    }
    (void)fprintf(stderr, "braid: %s: %s (line %d); who and line:", run.spec->name, run.failed, run.failed_line);
    for (unsigned i = 0; i < run.traced; i++) {
        (void)fprintf(stderr, " %u:%u", run.trace[i].who, run.trace[i].line);
    }
    (void)fprintf(stderr, "\n");
    return false;
}

/* Makes the last choice that can be made differently so; false when there is none. */
static bool another(void) {
    for (run.given = run.choices; run.given > 0; run.given--) {
        unsigned last = run.given - 1;
        if (run.choice[last].made + 1u < run.choice[last].options) {
            run.choice[last].made++;
            return true;
        }
    }
    return false;
}

bool braid_walk(const struct braid *spec) {
    unsigned long runs = 0;
    run.spec = spec;
    run.given = 0;
    do {
        runs++;
        if (!once()) {
            return false;
        }
    } while (another());
    printf("braid: %s: %lu runs\n", spec->name, runs);
    return true;
}
