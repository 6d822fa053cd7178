/* SPDX-License-Identifier: MIT
 *
 * Blocks, lists, hands and words: at random against a plain list of what is out, and with a process that is killed at each
 * instruction, or at each named point, of each operation: the next one finds everything consistent, has the word as it was or as it
 * was to be, and nothing is lost.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "mem/arena.h"
#include "mem/node.h"
#include "tests/point.h"
#include "tests/room.h"
#include "tests/step.h"

#define BYTES (UINT64_C(1) << 18)
#define AT 64
#define FIRST ((AT + sizeof(struct arena) + 63) / 64 * 64)

static unsigned char *base;

static struct arena_view join(void) {
    static struct node_end *line;
    if (node_id() == 0 && node_end_take(&line, "arena", 0, true) != 0) {
        abort();
    }
    return (struct arena_view){
        .arena = (struct arena *)(void *)(base + AT), .base = base, .at = AT, .limit = BYTES, .self = node_id()};
}

static int begin(void **state) {
    base = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return base == MAP_FAILED ? -1 : room_begin(state);
}

static int clear(void **state) {
    (void)state;
    memset(base, 0, BYTES);
    arena_begin(base, AT, FIRST, BYTES);
    return 0;
}

static void check(const struct arena_view *view) {
    uint64_t where;
    int rc = arena_check(view, &where);
    if (rc != 0) {
        print_message("inconsistent at %llu\n", (unsigned long long)where);
    }
    assert_int_equal(rc, 0);
}

#define OUT 200

static void keeps_what_is_out(void **state) {
    (void)state;
    struct arena_view view = join();
    static struct {
        uint64_t at, bytes;
        unsigned char fill;
    } out[OUT];
    memset(out, 0, sizeof out);
    assert_int_equal(arena_lock(&view, 0), 0);
    unsigned refused = 0, done = 0;
    for (unsigned i = 0; i < 20000; i++) {
        unsigned n = (unsigned)room_dice(OUT);
        if (out[n].at != 0) {
            for (uint64_t k = 0; k < out[n].bytes; k++) {
                assert_int_equal(base[out[n].at + k], out[n].fill);
            }
            assert_int_equal(arena_free(&view, out[n].at), 0);
            assert_int_equal(arena_free(&view, out[n].at), -EINVAL); /* twice */
            out[n].at = 0;
        } else {
            out[n].bytes = room_dice(room_dice(8) == 0 ? 20000 : 300);
            out[n].fill = (unsigned char)i;
            int rc = arena_alloc(&view, out[n].bytes, &out[n].at, NULL);
            assert_true(rc == 0 || rc == -ENOSPC);
            refused += rc != 0;
            done += rc == 0;
            if (rc == 0) {
                assert_true(out[n].at % 16 == 0 && arena_size(&view, out[n].at) >= out[n].bytes);
                memset(base + out[n].at, out[n].fill, out[n].bytes);
            }
        }
        if (i % 16 == 0) {
            check(&view);
        }
    }
    assert_true(done > 5000 && refused > 10);
    for (unsigned n = 0; n < OUT; n++) {
        assert_int_equal(out[n].at != 0 ? arena_free(&view, out[n].at) : 0, 0);
    }
    check(&view);
    assert_int_equal(view.arena->used, 0);
    assert_int_equal(view.arena->top, FIRST); /* all of it is one again */
    arena_unlock(&view);
}

static void moves_between_hand_and_word(void **state) {
    (void)state;
    struct arena_view view = join();
    uint64_t word, same, a, b, at;
    assert_int_equal(arena_lock(&view, 0), 0);
    assert_int_equal(arena_root(&view, "index", false, &word), -ENOENT);
    assert_int_equal(arena_root(&view, "index", true, &word), 0);
    assert_int_equal(arena_root(&view, "index", true, &same), 0);
    assert_int_equal(word, same);
    assert_int_equal(arena_root(&view, "", true, &same), -EINVAL);
    assert_int_equal(arena_alloc(&view, 100, &a, NULL), 0);
    assert_int_equal(arena_alloc(&view, 100, &b, NULL), 0);
    at = a;
    assert_int_equal(arena_swap(&view, word, &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(arena_free(&view, a), -EINVAL); /* a word refers to it */
    at = b;
    assert_int_equal(arena_swap(&view, word, &at), 0);
    assert_int_equal(at, a);
    assert_int_equal(arena_free(&view, a), 0);
    at = a;
    assert_int_equal(arena_swap(&view, word, &at), -EINVAL); /* is none any more */
    at = 0;
    assert_int_equal(arena_swap(&view, word + 1, &at), -EINVAL);
    assert_int_equal(arena_swap(&view, BYTES, &at), -EINVAL);
    assert_int_equal(arena_swap(&view, word, &at), 0);
    assert_int_equal(at, b);
    assert_int_equal(arena_free(&view, b), 0);
    uint64_t more = 0;
    assert_int_equal(arena_alloc(&view, BYTES, &at, &more), -ENOSPC);
    assert_true(more >= FIRST && more < BYTES);
    check(&view);
    arena_unlock(&view);
}

static void damage_is_told(void **state) {
    (void)state;
    struct arena_view view = join();
    uint64_t at[3], where;
    assert_int_equal(arena_lock(&view, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(arena_alloc(&view, 100, &at[i], NULL), 0);
    }
    memset(base + at[0], 0xee, 160); /* over the head of the second */
    assert_int_equal(arena_free(&view, at[1]), -EINVAL);
    assert_int_equal(arena_free(&view, at[0]), -THIRL_EFORMAT);
    assert_int_equal(arena_check(&view, &where), -THIRL_EFORMAT);
    view.arena->log.count = 5;
    view.arena->log.entry[2].place = BYTES * 2;
    assert_int_equal(redo_recover(base, BYTES, &view.arena->log), -THIRL_EFORMAT);
    arena_unlock(&view);
}

/* ---- death ---- */

enum { OPS = 6 };

/* Each of them from the same beginning: word 1 refers to a block, there are holes, and a hand has two blocks. */
static int work(const struct arena_view *view, int op, void (*mark)(void)) {
    uint64_t block[6] = {0}, word[2], at = 0;
    int rc = arena_lock(view, INT64_MAX);
    for (int i = 0; i < 6 && rc >= 0; i++) {
        rc = arena_alloc(view, 200 + (uint64_t)i * 40, &block[i], NULL);
    }
    rc = rc < 0 ? rc : arena_root(view, "one", true, &word[0]);
    rc = rc < 0 ? rc : arena_root(view, "two", true, &word[1]);
    at = block[0];
    rc = rc < 0 ? rc : arena_swap(view, word[0], &at);
    rc = rc < 0 ? rc : arena_free(view, block[1]);
    rc = rc < 0 ? rc : arena_free(view, block[3]);
    arena_unlock(view);
    mark();
    rc = rc < 0 ? rc : arena_lock(view, INT64_MAX);
    if (rc < 0) {
        return 1;
    }
    at = op == 3 ? block[2] : 0;
    rc = op == 0   ? arena_alloc(view, 100, &at, NULL)  /* out of a hole */
         : op == 1 ? arena_alloc(view, 5000, &at, NULL) /* at the end */
         : op == 2 ? arena_free(view, block[2])         /* between two holes */
         : op == 4 ? arena_swap(view, word[0], &at)     /* in hand */
         : op == 5 ? arena_free(view, block[5])         /* the last */
                   : arena_swap(view, word[0], &at);    /* one for another */
    arena_unlock(view);
    mark();
    return rc != 0;
}

static int do_op(void *op) {
    struct arena_view view = join();
    return work(&view, *(int *)op, step_mark);
}

/* A process died: everything is as before or as after, and what it had in hand comes back. */
static void look_behind(void) {
    struct arena_view view = join();
    uint64_t word, at = 0;
    int rc = arena_lock(&view, INT64_MAX);
    assert_true(rc == 0 || rc == OWN_DIED);
    check(&view);
    assert_true(arena_reclaim(&view) >= 0);
    check(&view);
    rc = arena_root(&view, "one", false, &word);
    if (rc == 0) { /* all that is left is what it refers to */
        assert_int_equal(arena_swap(&view, word, &at), 0);
    }
    assert_int_equal(view.arena->blocks, at != 0);
    assert_int_equal(at != 0 ? arena_free(&view, at) : 0, 0);
    assert_int_equal(view.arena->used, 0);
    assert_int_equal(view.arena->top, FIRST);
    arena_unlock(&view);
}

static void survives_a_kill_at_each_instruction(void **state) {
    (void)state;
    unsigned instructions = 0, states = 0;
    step_on_one_processor();
    for (int op = 0; op < OPS; op++) {
        struct step_trace trace;
        (void)clear(NULL);
        if (!step_through(&trace, step_begin(do_op, &op), base, BYTES)) {
            print_message("skip: no process can be traced here\n");
            return;
        }
        assert_true(trace.instructions > 10 && trace.states > 1);
        instructions += trace.instructions;
        states += trace.states;
        do look_behind();
        while (step_next(&trace));
        step_forget(&trace);
    }
    print_message("%d operations were killed at each of %u instructions: %u states\n", OPS, instructions, states);
}

static void go_on(void) {
}

struct order {
    char text[96];
    int op;
};

static int do_order(void *argument) {
    struct order *order = argument;
    if (setenv("THIRL_WEAVE_AT", order->text, 1) != 0) {
        return 1;
    }
    struct arena_view view = join();
    int rc = order->op < OPS ? work(&view, order->op, go_on) : arena_lock(&view, INT64_MAX) < 0;
    if (order->op == OPS && rc == 0) {
        rc = arena_reclaim(&view) < 0;
        arena_unlock(&view);
    }
    return rc;
}

static void survives_a_kill_at_each_point(void **state) {
    (void)state;
    size_t at = 0;
    unsigned killed = 0;
    for (const char *name; (name = point_next(&at, "arena. redo.")) != NULL;) {
        unsigned before = killed;
        for (int op = 0; op < OPS; op++) {
            for (unsigned pass = 1; pass < 220; pass += pass < 20 ? 7 : 61) {
                struct order order = {.op = op}, takes_over = {.op = OPS};
                (void)clear(NULL);
                (void)snprintf(order.text, sizeof order.text, "%s:%u:kill", name, pass);
                if (strncmp(name, "redo.recover", 12) == 0) { /* is passed by who finds a dead one in the midst */
                    (void)snprintf(takes_over.text, sizeof takes_over.text, "%s:%u:kill", name,
                                   strcmp(name, "redo.recover.one") == 0 ? pass % 7 + 1 : 1);
                    (void)snprintf(order.text, sizeof order.text, "redo.commit.said:%u:kill", 1 + pass % 9);
                }
                int status = room_run(do_order, &order);
                assert_true(status == 0 || status == 128 + SIGKILL);
                if (strncmp(name, "redo.recover", 12) == 0) {
                    status = room_run(do_order, &takes_over);
                    assert_true(status == 0 || status == 128 + SIGKILL);
                }
                killed += status != 0;
                look_behind();
                if (status == 0) {
                    break;
                }
            }
        }
        assert_true(killed > before);
    }
    print_message("killed at named points: %u times\n", killed);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {T(keeps_what_is_out), T(moves_between_hand_and_word), T(damage_is_told),
                                       T(survives_a_kill_at_each_instruction), T(survives_a_kill_at_each_point)};
    return cmocka_run_group_tests(tests, begin, room_end);
}
