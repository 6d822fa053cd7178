/* SPDX-License-Identifier: MIT
 *
 * Pinning against taking away, mem/shelf.h and mem/pin.h, proven on a model: every interleaving of a reader and a writer whose stores wait in
 * store buffers (x86: total store order), also when the writer is killed at any step and another one takes over. Each access to memory is one
 * step; besides, a processor may at any moment let the oldest of its stores out.
 *
 *     reader, twice                               writer
 *     0 v = version                               0 the log says what is to be done
 *     1 link? none: 6                             1 link = none
 *     2 pin = 1 (locked: empties the buffer)      2 version += 1
 *     3 version == v? no: 5                       3 the log says nothing more
 *     4 reads content, twice                      4 full fence: empties the buffer
 *     5 pin = 0, and from 3: again                5 pin == 0? no: again
 *     6 version == v? no: again                   6 content = half, 7 content = another item, behind that link, version
 *
 * Wrong: a reader that believes what it has reads something half, or two different things. That must not be reachable; and with any one of
 * the fences or looks left out, or the version said first, it must be, or the model would prove nothing.
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

enum word { LINK, VERSION, PIN, CONTENT, LOG, WORDS };
enum cpu { READER, WRITER, CPUS };
enum { ITEM = 1, HALF, OTHER };
#define BUFFER 8
#define DONE 90

struct model {
    bool killed;          /* the writer may be killed, once */
    bool plain_pin;       /* left out: the fence behind the reader's pin */
    bool without_fence;   /* left out: the writer's */
    bool without_look;    /* left out: the reader's second look at the version */
    bool without_pins;    /* left out: the writer's look at the pin */
    bool version_first;   /* the version is said before the link is taken away */
    bool without_recover; /* who takes over does not do what the log says, and frees */
};

struct state {
    uint8_t memory[WORDS];
    struct {
        uint8_t word[BUFFER], value[BUFFER], length;
    } buffer[CPUS];
    uint8_t pc[CPUS];
    uint8_t version, content, gets; /* of the reader */
    uint8_t died, wrong;
};

#include "tests/race/stores.h" /* for which all that stands before this */

static void next_get(struct state *s) {
    s->content = 0;
    s->pc[READER] = ++s->gets == 2 ? DONE : 0;
}

static void reader(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[READER];
    switch (*pc) {
    case 0:
        s->version = load(s, READER, VERSION);
        *pc = 1;
        break;
    case 1:
        *pc = load(s, READER, LINK) != 0 ? 2 : 6;
        break;
    case 2:
        store(s, READER, PIN, 1);
        if (!model->plain_pin) {
            drain(s, READER);
        }
        *pc = 3;
        break;
    case 3:
        *pc = load(s, READER, VERSION) == s->version || model->without_look ? 4 : 7;
        break;
    case 4:
        s->content = load(s, READER, CONTENT);
        s->wrong |= s->content == HALF;
        *pc = 5;
        break;
    case 5:
        s->wrong |= load(s, READER, CONTENT) != s->content;
        store(s, READER, PIN, 0);
        next_get(s);
        break;
    case 6:
        if (load(s, READER, VERSION) == s->version) {
            next_get(s);
        } else {
            *pc = 0;
        }
        break;
    case 7:
        store(s, READER, PIN, 0);
        *pc = 0;
        break;
    default:
        break;
    }
}

static void writer(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[WRITER];
    switch (*pc) {
    case 0:
        store(s, WRITER, LOG, 1);
        *pc = 1;
        break;
    case 1: /* the values stand in the log: doing it once more is the same */
        store(s, WRITER, model->version_first ? VERSION : LINK, model->version_first ? 1 : 0);
        *pc = 2;
        break;
    case 2:
        store(s, WRITER, model->version_first ? LINK : VERSION, model->version_first ? 0 : 1);
        *pc = 3;
        break;
    case 3:
        store(s, WRITER, LOG, 0);
        *pc = 4;
        break;
    case 4:
        if (!model->without_fence) {
            drain(s, WRITER);
        }
        *pc = 5;
        break;
    case 5:
        *pc = load(s, WRITER, PIN) == 0 || model->without_pins ? 6 : 5;
        break;
    case 6:
        store(s, WRITER, CONTENT, HALF);
        *pc = 7;
        break;
    case 7:
        store(s, WRITER, CONTENT, OTHER);
        *pc = 8;
        break;
    case 8:
        store(s, WRITER, LINK, 1);
        *pc = 9;
        break;
    case 9:
        store(s, WRITER, VERSION, 2);
        *pc = DONE;
        break;
    default:
        break;
    }
}

/* The kernel lets out what a dead one had stored. Who takes over looks at the log, and else begins anew; what was free and half filled
 * in is free. */
static bool take_over(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[WRITER];
    if (!model->killed || s->died != 0 || *pc > 7) {
        return false;
    }
    drain(s, WRITER);
    s->died = 1;
    *pc = s->memory[LOG] != 0 ? (model->without_recover ? 4 : 1) : s->memory[VERSION] != 0 ? 4 : 0;
    return true;
}

/* ---- the search: depth first, each state once -------------------------------------------------------------------- */

#define SEEN_MAX 262144

static unsigned wrong;

static void explore(struct state s, const struct model *model) {
    if (!states_new(&s)) {
        return;
    }
    wrong += s.wrong;
    for (int cpu = 0; cpu < CPUS; cpu++) {
        if (s.buffer[cpu].length != 0) {
            struct state next = s;
            drain_one(&next, (enum cpu)cpu);
            explore(next, model);
        }
        if (s.pc[cpu] != DONE && s.buffer[cpu].length < BUFFER) {
            struct state next = s;
            (cpu == READER ? reader : writer)(&next, model);
            explore(next, model);
        }
    }
    struct state next = s;
    if (take_over(&next, model)) {
        explore(next, model);
    }
}

/* How many states are wrong. */
static unsigned search(struct model model, const char *name) {
    struct state begin;
    memset(&begin, 0, sizeof begin);
    states_begin(sizeof(struct state), SEEN_MAX);
    wrong = 0;
    begin.memory[LINK] = 1;
    begin.memory[CONTENT] = ITEM;
    explore(begin, &model);
    printf("explore: %s: %u states, %u of them wrong\n", name, states_count(), wrong);
    return wrong;
}

static void what_is_pinned_stays(void **state) {
    (void)state;
    assert_int_equal(search((struct model){.killed = false}, "pin and take away"), 0);
    assert_int_equal(search((struct model){.killed = true}, "the writer is killed"), 0);
}

static void each_fence_is_needed(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.plain_pin = true}, "no fence behind the pin"), 0);
    assert_int_not_equal(search((struct model){.without_fence = true}, "no fence behind the version"), 0);
}

static void each_look_is_needed(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.without_look = true}, "no second look at the version"), 0);
    assert_int_not_equal(search((struct model){.without_pins = true}, "no look at the pin"), 0);
}

static void the_version_comes_last(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.version_first = true}, "the version is said first"), 0);
}

static void recovery_is_needed(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.killed = true, .without_recover = true}, "the log is not done"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_pinned_stays), cmocka_unit_test(each_fence_is_needed),
        cmocka_unit_test(each_look_is_needed),  cmocka_unit_test(the_version_comes_last),
        cmocka_unit_test(recovery_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
