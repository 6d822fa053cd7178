/* SPDX-License-Identifier: MIT
 *
 * The sleep protocol of mem/bell.h, proven on a model: every interleaving of a sleeper and a ringer whose stores wait in
 * store buffers (x86: total store order). State: memory, two buffers, two program counters. Each instruction of the protocol
 * is one step; besides, a processor may at any moment let the oldest of its stores out. fence_heavy empties both buffers,
 * as membarrier does.
 *
 *     sleeper, until it has all                   ringer, for each of its messages
 *     0 takes what there is; nothing:             0 data += 1
 *     1 seen = count                              1 if it fences: wait until the own buffer is empty
 *     2 attention = 1 (locked: empties buffer)    2 attention == 0: perhaps calm: 3 fenced = 0, 4 fence_heavy,
 *     3 fenced == 0: 4 fence_heavy                                                5 no fence from now on
 *     5 data there? 7                             6 else: fenced = 1, and fences from now on
 *     6 FUTEX_WAIT(count, seen)                   7 count += 1
 *     7 attention = 0 (locked), 0                 8 FUTEX_WAKE
 *
 * Lost: the sleeper sleeps, the ringer is done, all buffers are empty, and there is data. That must not be reachable; and
 * with any one fence left out it must be, or the model would prove nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/race/states.h"

enum word { DATA, ATTENTION, COUNT, FENCED, WORDS };
enum cpu { SLEEPER, RINGER, CPUS };
#define BUFFER 6
#define ASLEEP 90 /* program counters without a step of their own */
#define DONE 91

/* What one run of the explorer takes for granted or leaves out. */
struct model {
    int messages;
    bool fences;         /* the ringer begins in the mode in which it fences itself */
    bool changes;        /* it goes over to the other mode when it sees nobody, and back when it sees somebody */
    bool without_heavy;  /* left out: the sleeper's fence_heavy */
    bool without_full;   /* left out: the ringer's full fence */
    bool without_calm;   /* left out: the fence_heavy between saying that it will not fence, and not fencing */
    bool without_relook; /* left out: the sleeper's second look */
};

struct state {
    uint8_t memory[WORDS];
    struct {
        uint8_t word[BUFFER], value[BUFFER], length;
    } buffer[CPUS];
    uint8_t pc[CPUS];
    uint8_t seen, have, sent; /* registers */
    uint8_t fences;           /* bell.fenced, the ringer's own */
};

#include "tests/race/stores.h" /* for which all that stands before this */

static void fence_heavy(struct state *s) {
    drain(s, SLEEPER);
    drain(s, RINGER);
}

/* One instruction of the sleeper. */
static void sleeper(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[SLEEPER];
    switch (*pc) {
    case 0:
        if (load(s, SLEEPER, DATA) == s->have) {
            *pc = 1;
        } else {
            s->have = load(s, SLEEPER, DATA);
            *pc = s->have == model->messages ? DONE : 0;
        }
        break;
    case 1:
        s->seen = load(s, SLEEPER, COUNT);
        *pc = 2;
        break;
    case 2:
    case 7: /* locked instructions */
        drain(s, SLEEPER);
        s->memory[ATTENTION] = *pc == 2;
        *pc = *pc == 2 ? 3 : 0;
        break;
    case 3:
        *pc = load(s, SLEEPER, FENCED) == 0 && !model->without_heavy ? 4 : 5;
        break;
    case 4:
        fence_heavy(s);
        *pc = 5;
        break;
    case 5:
        *pc = load(s, SLEEPER, DATA) != s->have && !model->without_relook ? 7 : 6;
        break;
    case 6: /* the kernel compares and queues in one step, and sees memory */
        *pc = s->memory[COUNT] == s->seen ? ASLEEP : 7;
        break;
    default:
        break;
    }
}

/* One instruction of the ringer. */
static void ringer(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[RINGER];
    switch (*pc) {
    case 0:
        store(s, RINGER, DATA, ++s->sent);
        *pc = 1;
        break;
    case 1:
        if (s->fences && !model->without_full) {
            drain(s, RINGER);
        }
        *pc = 2;
        break;
    case 2:
        *pc = load(s, RINGER, ATTENTION) != 0 ? 6 : s->fences && model->changes ? 3 : 9;
        break;
    case 3:
        store(s, RINGER, FENCED, 0);
        *pc = 4;
        break;
    case 4:
        if (!model->without_calm) {
            fence_heavy(s);
        }
        *pc = 5;
        break;
    case 5:
        s->fences = 0;
        *pc = 9;
        break;
    case 6:
        if (!s->fences && model->changes) {
            s->fences = 1;
            store(s, RINGER, FENCED, 1);
        }
        *pc = 7;
        break;
    case 7:
        store(s, RINGER, COUNT, (uint8_t)(load(s, RINGER, COUNT) + 1));
        *pc = 8;
        break;
    case 8: /* a system call: empties the buffer before the kernel looks for who sleeps */
        drain(s, RINGER);
        s->pc[SLEEPER] = s->pc[SLEEPER] == ASLEEP ? 7 : s->pc[SLEEPER];
        *pc = 9;
        break;
    case 9:
        *pc = s->sent == model->messages ? DONE : 0;
        break;
    default:
        break;
    }
}

/* ---- the search: depth first, each state once -------------------------------------------------------------------- */

#define SEEN_MAX 65536

static unsigned lost;

static void explore(struct state s, const struct model *model) {
    if (!states_new(&s)) {
        return;
    }
    bool quiet = s.buffer[SLEEPER].length == 0 && s.buffer[RINGER].length == 0;
    lost += quiet && s.pc[RINGER] == DONE && s.pc[SLEEPER] == ASLEEP && s.memory[DATA] != s.have;
    for (int cpu = 0; cpu < CPUS; cpu++) {
        if (s.buffer[cpu].length != 0) {
            struct state next = s;
            drain_one(&next, (enum cpu)cpu);
            explore(next, model);
        }
        if (s.pc[cpu] != DONE && s.pc[cpu] != ASLEEP && s.buffer[cpu].length < BUFFER) {
            struct state next = s;
            (cpu == SLEEPER ? sleeper : ringer)(&next, model);
            explore(next, model);
        }
    }
}

/* How many states lose the wake-up. */
static unsigned search(struct model model, const char *name) {
    struct state begin;
    memset(&begin, 0, sizeof begin);
    states_begin(sizeof(struct state), SEEN_MAX);
    lost = 0;
    begin.fences = model.fences;
    begin.memory[FENCED] = model.fences;
    explore(begin, &model);
    printf("explore: %s: %u states, %u of them lose a wake-up\n", name, states_count(), lost);
    return lost;
}

static void sleeper_pays(void **state) {
    (void)state;
    assert_int_equal(search((struct model){.messages = 3}, "the sleeper pays"), 0);
    assert_int_not_equal(search((struct model){.messages = 1, .without_heavy = true}, "and leaves its fence out"), 0);
}

static void ringer_pays(void **state) {
    (void)state;
    assert_int_equal(search((struct model){.messages = 3, .fences = true}, "the ringer pays"), 0);
    assert_int_not_equal(
        search((struct model){.messages = 1, .fences = true, .without_full = true}, "and leaves its fence out"), 0);
}

static void payer_changes(void **state) {
    (void)state;
    assert_int_equal(search((struct model){.messages = 4, .changes = true}, "the payer changes"), 0);
    assert_int_equal(
        search((struct model){.messages = 4, .changes = true, .fences = true}, "it changes, other beginning"), 0);
    assert_int_not_equal(search((struct model){.messages = 4, .changes = true, .fences = true, .without_calm = true},
                                "and leaves out the fence between saying and doing"),
                         0);
}

static void looking_twice_is_needed(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.messages = 1, .without_relook = true}, "no second look"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleeper_pays),
        cmocka_unit_test(ringer_pays),
        cmocka_unit_test(payer_changes),
        cmocka_unit_test(looking_twice_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
