/* SPDX-License-Identifier: MIT
 *
 * The protocol of mem/door.h, proven on a model: every interleaving of an owner and two who knock, whose plain stores wait in a
 * store buffer (x86: total store order). What is changed by an atomic operation empties the buffer. Each instruction is one step.
 *
 *     owner, until both have been heard             who knocks, once
 *     0 groups == 0? 5                              0 seats |= its bit
 *     1 some seat: clears it, has heard it, 0       1 groups = 1
 *     2 groups = 0                                  2 count += 1
 *     3 no seat? 0                                  3 asleep == 0? done
 *     4 groups = 1, 0                               4 FUTEX_WAKE
 *     5 seen = count
 *     6 asleep = 1
 *     7 groups != 0? 9
 *     8 FUTEX_WAIT(count, seen): empties the buffer, then compares
 *     9 asleep = 0, 0
 *
 * Lost: the owner sleeps, both are done, and one has not been heard. That must not be reachable; and with any one precaution left
 * out it must be, or the model would prove nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ASLEEP 90
#define DONE 91
#define STATES (1u << 20)

struct model {
    bool without_relook; /* 3, 4 */
    bool without_look;   /* 7 */
    bool without_count;  /* 2 of who knocks */
};

struct state {
    uint8_t seats, groups, count, asleep; /* memory */
    uint8_t held;  /* the owner's store of asleep that is still in its buffer, plus one; 0: none */
    uint8_t pc[3]; /* 0: the owner */
    uint8_t seen, heard;
};

static struct state found[STATES];
static uint32_t used[STATES];
static unsigned states, lost;

static bool add(const struct state *s) {
    uint64_t hash = UINT64_C(1469598103934665603);
    for (size_t i = 0; i < sizeof *s; i++) {
        hash = (hash ^ ((const unsigned char *)s)[i]) * UINT64_C(1099511628211);
    }
    for (unsigned at = (unsigned)(hash % STATES);; at = (at + 1) % STATES) {
        if (used[at] == 0) {
            assert_true(states + 1 < STATES);
            found[states] = *s;
            used[at] = ++states;
            return true;
        }
        if (memcmp(&found[used[at] - 1], s, sizeof *s) == 0) {
            return false;
        }
    }
}

static void drain(struct state *s) {
    s->asleep = s->held != 0 ? s->held - 1 : s->asleep;
    s->held = 0;
}

static void step_owner(const struct model *m, struct state *s) {
    uint8_t at = s->pc[0], next = at + 1;
    switch (at) {
    case 0:
        next = s->groups == 0 ? 5 : 1;
        break;
    case 1:
        if (s->seats != 0) {
            uint8_t bit = s->seats & (uint8_t)-s->seats;
            drain(s);
            s->seats &= (uint8_t)~bit;
            s->heard |= bit;
            next = 0;
        }
        break;
    case 2:
        drain(s);
        s->groups = 0;
        next = m->without_relook ? 0 : 3;
        break;
    case 3:
        next = s->seats == 0 ? 0 : 4;
        break;
    case 4:
        drain(s);
        s->groups = 1;
        next = 0;
        break;
    case 5:
        s->seen = s->count;
        next = s->heard == 3 ? DONE : 6;
        break;
    case 6:
        s->held = 2;
        break;
    case 7:
        next = !m->without_look && s->groups != 0 ? 9 : 8;
        break;
    case 8:
        drain(s);
        next = s->count == s->seen ? ASLEEP : 9;
        break;
    default:
        s->held = 1;
        next = 0;
        break;
    }
    s->pc[0] = next;
}

static void step_knocker(const struct model *m, struct state *s, int who) {
    switch (s->pc[who]++) {
    case 0:
        s->seats |= (uint8_t)who;
        break;
    case 1:
        s->groups = 1;
        break;
    case 2:
        s->count += !m->without_count;
        break;
    case 3:
        s->pc[who] = s->asleep == 0 ? DONE : 4;
        break;
    default:
        s->pc[0] = s->pc[0] == ASLEEP ? 9 : s->pc[0];
        s->pc[who] = DONE;
        break;
    }
}

static void explore(const struct model *m) {
    memset(used, 0, sizeof used);
    states = lost = 0;
    const struct state begin = {.seats = 0};
    (void)add(&begin);
    for (unsigned i = 0; i < states; i++) {
        const struct state s = found[i];
        bool over = s.pc[1] == DONE && s.pc[2] == DONE;
        lost += over && s.pc[0] == ASLEEP && s.heard != 3;
        for (int who = 0; who < 3; who++) {
            if (s.pc[who] == DONE || s.pc[who] == ASLEEP) {
                continue;
            }
            struct state next = s;
            if (who == 0) {
                step_owner(m, &next);
            } else {
                step_knocker(m, &next, who);
            }
            (void)add(&next);
        }
        if (s.held != 0) {
            struct state next = s;
            drain(&next);
            (void)add(&next);
        }
    }
}

static void no_knock_is_lost(void **state) {
    (void)state;
    const struct model whole = {.without_look = false};
    explore(&whole);
    printf("%u states\n", states);
    assert_true(states > 300);
    assert_int_equal(lost, 0);
}

static void each_precaution_is_needed(void **state) {
    (void)state;
    const struct model without[] = {{.without_relook = true}, {.without_look = true}, {.without_count = true}};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        explore(&without[i]);
        if (lost == 0) {
            fail_msg("number %zu can be left out", i);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_knock_is_lost),
        cmocka_unit_test(each_precaution_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
