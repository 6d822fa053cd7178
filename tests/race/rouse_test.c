/* SPDX-License-Identifier: MIT
 *
 * Waking one of many (mem/rouse.h), proven on a model: every interleaving of three workers and one who brings them messages, whose
 * stores wait in store buffers (x86: total store order). Whoever takes a message may be busy with it for ever, and a sleep may end by
 * itself. One instruction of the protocol is one step.
 *
 *     worker                                             whoever brings
 *     0 a message there, and not taken? takes it         0 sent += 1
 *     1 attention += 1, seen = given (locked)            1 attention == 0? 4
 *     2 fence_heavy                                      2 attention -= 1, if there is one, given += 1 (locked)
 *     3 a message there? 5                               3 FUTEX_WAKE(1): whoever the kernel likes; he goes to 0
 *     4 FUTEX_WAIT(given, seen); changed: 0              4 the next
 *     5 given == seen: attention -= 1 (locked); 0        (time is up: 5)
 *
 * Lost: a message is there, somebody sleeps, and nobody is on his way. That must not be reachable; and with the fence or the second look
 * left out, or if who was woken takes one off as well, it must be, or the model would prove nothing.
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

#define WORKERS 3
#define BRINGER WORKERS
#define ASLEEP 90
#define BUSY 91
#define DONE 92

struct model {
    uint8_t messages, timeouts; /* of each worker */
    bool without_heavy, without_relook;
    bool woken_off; /* wrong: who was woken takes one off, too */
};

struct state {
    uint8_t sent, buffered; /* of sent: stores that nobody sees yet; the only plain ones */
    uint8_t taken, attention, given;
    uint8_t pc[WORKERS + 1], seen[WORKERS], timeouts[WORKERS];
};

#define SEEN_MAX (1u << 22)

static unsigned lost;

static void worker(struct state *s, int w, const struct model *model) {
    uint8_t *pc = &s->pc[w];
    switch (*pc) {
    case 0:
        if (s->sent > s->taken) {
            s->taken++;
            *pc = BUSY;
        } else {
            *pc = 1;
        }
        break;
    case 1:
        s->seen[w] = s->given;
        s->attention++;
        *pc = 2;
        break;
    case 2:
        if (!model->without_heavy) {
            s->sent = (uint8_t)(s->sent + s->buffered);
            s->buffered = 0;
        }
        *pc = model->without_relook ? 4 : 3;
        break;
    case 3:
        *pc = s->sent > s->taken ? 5 : 4;
        break;
    case 4: /* the kernel compares and queues in one step */
        *pc = s->given == s->seen[w] ? ASLEEP : 0;
        break;
    case 5:
        s->attention = (uint8_t)(s->attention - (s->given == s->seen[w] && s->attention > 0));
        *pc = 0;
        break;
    default:
        break;
    }
}

static void drain(struct state *s) {
    s->sent = (uint8_t)(s->sent + s->buffered);
    s->buffered = 0;
}

static void bringer(struct state *s, const struct model *model) {
    uint8_t *pc = &s->pc[BRINGER];
    switch (*pc) {
    case 0:
        s->buffered++;
        *pc = 1;
        break;
    case 1:
        *pc = s->attention == 0 ? 4 : 2;
        break;
    case 2:
        drain(s);
        *pc = s->attention == 0 ? 4 : 3;
        s->given = (uint8_t)(s->given + (s->attention != 0));
        s->attention = (uint8_t)(s->attention - (s->attention != 0));
        break;
    case 4:
        *pc = s->sent + s->buffered == model->messages ? DONE : 0;
        break;
    default:
        break;
    }
}

static void explore(struct state s, const struct model *model);

/* The kernel wakes any one of those who sleep. */
static void wake(const struct state *s, const struct model *model) {
    bool any = false;
    for (int w = 0; w < WORKERS; w++) {
        if (s->pc[w] == ASLEEP) {
            struct state next = *s;
            any = true;
            next.pc[w] = model->woken_off ? 5 : 0;
            next.pc[BRINGER] = 4;
            explore(next, model);
        }
    }
    if (!any) {
        struct state next = *s;
        next.pc[BRINGER] = 4;
        explore(next, model);
    }
}

static void explore(struct state s, const struct model *model) {
    if (!states_new(&s)) {
        return;
    }
    bool moves = s.pc[BRINGER] != DONE || s.buffered != 0, sleeps = false;
    for (int w = 0; w < WORKERS; w++) {
        sleeps = sleeps || s.pc[w] == ASLEEP;
        moves = moves || (s.pc[w] != ASLEEP && s.pc[w] != BUSY);
    }
    lost += !moves && sleeps && s.sent > s.taken;
    if (s.buffered != 0) {
        struct state next = s;
        next.sent++;
        next.buffered--;
        explore(next, model);
    }
    if (s.pc[BRINGER] == 3) {
        wake(&s, model);
    } else if (s.pc[BRINGER] != DONE) {
        struct state next = s;
        bringer(&next, model);
        explore(next, model);
    }
    for (int w = 0; w < WORKERS; w++) {
        struct state next = s;
        if (s.pc[w] == ASLEEP && s.timeouts[w] < model->timeouts) {
            next.timeouts[w]++;
            next.pc[w] = 5;
            explore(next, model);
        } else if (s.pc[w] != ASLEEP && s.pc[w] != BUSY) {
            worker(&next, w, model);
            explore(next, model);
        }
    }
}

static unsigned search(struct model model, const char *name) {
    struct state begin;
    memset(&begin, 0, sizeof begin);
    states_begin(sizeof(struct state), SEEN_MAX);
    lost = 0;
    explore(begin, &model);
    printf("rouse: %s: %u states, %u of them lose a wake-up\n", name, states_count(), lost);
    return lost;
}

static void nobody_sleeps_beside_a_message(void **state) {
    (void)state;
    assert_int_equal(search((struct model){.messages = 1}, "one message"), 0);
    assert_int_equal(search((struct model){.messages = WORKERS}, "a message for each"), 0);
    assert_int_equal(search((struct model){.messages = WORKERS, .timeouts = 1}, "and sleeps end by themselves"), 0);
}

static void every_part_is_needed(void **state) {
    (void)state;
    assert_int_not_equal(search((struct model){.messages = 1, .without_heavy = true}, "without the fence"), 0);
    assert_int_not_equal(search((struct model){.messages = 1, .without_relook = true}, "without the second look"), 0);
    assert_int_not_equal(
        search((struct model){.messages = WORKERS, .woken_off = true}, "if who was woken takes one off"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_sleeps_beside_a_message),
                                       cmocka_unit_test(every_part_is_needed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
