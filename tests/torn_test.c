/* SPDX-License-Identifier: MIT
 *
 * Memory that says what is not so: an arena with words that lie, changes that are none, blocks in the hands of the living. Each is told,
 * and nothing is changed by who is told.
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

#include "base/clock.h"
#include "include/thirl/thirl.h"
#include "mem/arena.h"
#include "mem/node.h"
#include "tests/room.h"

#define BYTES (UINT64_C(1) << 16)
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

/* ---- what is refused ---- */

static void what_is_no_block_is_refused(void **state) {
    (void)state;
    struct arena_view view = join();
    struct redo redo;
    uint64_t at, word, more = 7;
    assert_int_equal(arena_lock(&view, 0), 0);
    assert_int_equal(arena_alloc(&view, ARENA_MOST + 1, &at, &more), -EINVAL);
    arena_gather(&view, &redo);
    assert_int_equal(arena_gather_alloc(&view, &redo, ARENA_MOST + 1, &at), -EINVAL);
    assert_int_equal(arena_alloc(&view, 100, &at, NULL), 0);
    const uint64_t none[] = {0, 16, at + 8, at + 16, FIRST, view.arena->top, view.arena->top + ARENA_HEAD - 16, BYTES};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(arena_free(&view, none[i]), -EINVAL);
        assert_int_equal(arena_size(&view, none[i]), 0);
    }
    arena_gather(&view, &redo);
    assert_int_equal(arena_gather_free(&view, &redo, at), -EINVAL); /* it is in a hand */
    assert_int_equal(arena_root(&view, "x", true, &word), 0);
    *(uint64_t *)(void *)(base + word) = at; /* likewise, although a word says that it refers to it */
    more = 0;
    assert_int_equal(arena_swap(&view, word, &more), -EINVAL);
    *(uint64_t *)(void *)(base + word) = 0;
    assert_int_equal(arena_extend(&view, BYTES - 64), -EINVAL);
    assert_int_equal(arena_extend(&view, BYTES + 64), -EINVAL);
    assert_int_equal(arena_extend(&view, BYTES), 0);
    check(&view);
    assert_int_equal(arena_alloc(&view, 100, &word, NULL), 0);
    assert_int_equal(arena_free(&view, at), 0); /* before another one: it is free, and still a block */
    assert_int_equal(arena_size(&view, at), 0);
    arena_unlock(&view);
}

static void roots_have_an_end(void **state) {
    (void)state;
    struct arena_view view = join();
    char name[ARENA_NAME + 1];
    uint64_t word;
    memset(name, 'n', sizeof name);
    name[ARENA_NAME] = '\0';
    assert_int_equal(arena_lock(&view, 0), 0);
    assert_int_equal(arena_root(&view, name, true, &word), -EINVAL);
    for (unsigned i = 0; i < ARENA_ROOTS; i++) {
        (void)snprintf(name, sizeof name, "root %u", i);
        assert_int_equal(arena_root(&view, name, true, &word), 0);
    }
    assert_int_equal(arena_root(&view, "another", true, &word), -ENOSPC);
    assert_int_equal(arena_root(&view, "another", false, &word), -ENOENT);
    assert_int_equal(arena_root(&view, name, false, &word), 0);
    arena_unlock(&view);
}

/* Of a list in which many are too small, few are looked at where the caller wants an answer soon. */
static void a_long_list_is_searched_where_that_is_worth_it(void **state) {
    (void)state;
    struct arena_view view = join();
    struct redo redo;
    enum { MANY = 30, SMALLER = 256 - ARENA_HEAD, LARGER = 304 - ARENA_HEAD }; /* of one list */
    uint64_t at[MANY], apart, last;
    assert_int_equal(arena_lock(&view, 0), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(arena_alloc(&view, i == 0 ? LARGER : SMALLER, &at[i], NULL), 0);
        assert_int_equal(arena_alloc(&view, 1, &apart, NULL), 0);
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(arena_free(&view, at[i]), 0);
    }
    arena_gather(&view, &redo);
    assert_int_equal(arena_gather_alloc(&view, &redo, LARGER, &last), 0);
    assert_int_equal(last, view.arena->top + ARENA_HEAD);
    assert_int_equal(arena_alloc(&view, LARGER, &last, NULL), 0);
    assert_int_equal(last, at[0]);
    check(&view);
    struct arena_block *first = (void *)(base + at[MANY - 1] - ARENA_HEAD);
    first->next = at[MANY - 1] - ARENA_HEAD; /* a circle */
    assert_int_equal(arena_alloc(&view, LARGER, &last, NULL), 0);
    assert_true(last > apart);
    arena_unlock(&view);
}

static void a_change_has_an_end(void **state) {
    (void)state;
    static uint64_t memory[64];
    static struct redo_log log;
    struct redo redo;
    memset(memory, 0, sizeof memory);
    for (uint64_t wrong = 0; wrong < 4; wrong++) {
        const uint64_t place[] = {0, 12, sizeof memory, sizeof memory - 8}; /* of memory that is 4 bytes shorter */
        redo_begin(&redo, memory, sizeof memory - 4, &log);
        redo_put(&redo, 8, 1);
        redo_put(&redo, place[wrong], 1);
        assert_int_equal(redo_commit(&redo), -THIRL_EFORMAT);
        redo_begin(&redo, memory, sizeof memory - 4, &log);
        assert_int_equal(redo_get(&redo, place[wrong]), 0);
        assert_true(redo.wrong);
    }
    redo_begin(&redo, memory, sizeof memory, &log);
    for (uint64_t i = 0; i <= REDO_MOST; i++) {
        assert_false(redo.wrong);
        redo_put(&redo, 8 + i * 8, 1);
    }
    assert_int_equal(redo_commit(&redo), -THIRL_EFORMAT);
    assert_int_equal(memory[1], 0); /* nothing was changed */
    log.count = REDO_MOST + 1;
    assert_int_equal(redo_recover(memory, sizeof memory, &log), -THIRL_EFORMAT);
    assert_int_equal(memory[1], 0);
}

/* ---- torn ---- */

/* Six blocks: the second and the fourth are free and of one list, the others in this hand, the last of them at the end. */
struct torn {
    struct arena_view view;
    uint64_t at[6]; /* where they begin */
};

static struct arena_block *block_of(uint64_t at) {
    return (void *)(base + at);
}

static struct torn lay_out(void) {
    struct torn t = {.view = join()};
    (void)clear(NULL);
    assert_int_equal(arena_lock(&t.view, 0), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(arena_alloc(&t.view, 100, &t.at[i], NULL), 0);
        t.at[i] -= ARENA_HEAD;
    }
    assert_int_equal(arena_free(&t.view, t.at[1] + ARENA_HEAD), 0);
    assert_int_equal(arena_free(&t.view, t.at[3] + ARENA_HEAD), 0); /* before the second in the list */
    check(&t.view);
    return t;
}

static void expect_torn(const struct torn *t) {
    uint64_t where;
    assert_int_equal(arena_check(&t->view, &where), -THIRL_EFORMAT);
}

/* The head of the only list in which there is something. */
static uint64_t *list_head(const struct torn *t) {
    for (unsigned i = 0; i < ARENA_LISTS; i++) {
        if (t->view.arena->list[i] != 0) {
            return &t->view.arena->list[i];
        }
    }
    abort();
}

/* A word that lies is found, and nobody is led astray by it. */
static void each_word_that_lies_is_found(void **state) {
    (void)state;
    struct torn t = lay_out();
    struct arena *arena = t.view.arena;
    struct arena_block *first = block_of(t.at[0]), *free = block_of(t.at[1]), *other = block_of(t.at[3]);
    unsigned list = (unsigned)(list_head(&t) - arena->list);
    const struct {
        uint64_t *word, value;
    } lies[] = {
        {&arena->top, BYTES + 64},
        {&arena->top, t.at[5]},
        {&arena->top, t.at[5] + 32},
        {&arena->first, t.at[2]},
        {&arena->last, 4096},
        {&arena->used, 4096},
        {&arena->blocks, 3},
        {&arena->bits[list / 64], 0},
        {&arena->list[list], 0},
        {&arena->list[list], 8},
        {&arena->list[list], t.at[0]},
        {&arena->list[list], t.at[1]},
        {&arena->list[list + 1], t.at[1]},
        {&first->size, 32 | ARENA_USED},
        {&first->size, 136 | ARENA_USED},
        {&first->size, (BYTES - 64) | ARENA_USED},
        {&first->size, first->size ^ ARENA_USED},
        {&first->before, 144},
        {&first->seal, 0},
        {&free->size, free->size | ARENA_USED},
        {&free->before, 64},
        {&free->next, t.at[3]},
        {&free->next, BYTES},
        {&free->next, 12},
        {&free->last, t.at[0]},
        {&other->last, t.at[1]},
        {&block_of(t.at[5])->size, block_of(t.at[5])->size ^ ARENA_USED},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint64_t right = *lies[i].word;
        *lies[i].word = lies[i].value;
        expect_torn(&t);
        *lies[i].word = right;
        check(&t.view);
    }
    arena->list[list] = 0; /* both of them: the free ones hang nowhere */
    arena->bits[list / 64] = 0;
    expect_torn(&t);
    arena_unlock(&t.view);
}

/* Tears one word, lets go of the third block, which lies between the two free ones, and sees that all is as it was. */
static void expect_no_free(uint64_t *(*word)(const struct torn *), uint64_t value, int answer) {
    static unsigned char copy[BYTES];
    struct torn t = lay_out();
    *word(&t) = value;
    memcpy(copy, base, BYTES);
    memset(&((struct arena *)(void *)(copy + AT))->log, 0, sizeof(struct redo_log)); /* where it was gathered */
    assert_int_equal(arena_free(&t.view, t.at[2] + ARENA_HEAD), answer);
    memset(&t.view.arena->log, 0, sizeof t.view.arena->log);
    assert_memory_equal(base, copy, BYTES);
    arena_unlock(&t.view);
}

static uint64_t *top_of(const struct torn *t) {
    return &t->view.arena->top;
}
static uint64_t *before_third(const struct torn *t) {
    return &block_of(t->at[2])->before;
}
static uint64_t *size_of_second(const struct torn *t) {
    return &block_of(t->at[1])->size;
}
static uint64_t *size_of_third(const struct torn *t) {
    return &block_of(t->at[2])->size;
}
static uint64_t *last_of_fourth(const struct torn *t) {
    return &block_of(t->at[3])->last;
}
static uint64_t *seal_of_fourth(const struct torn *t) {
    return &block_of(t->at[3])->seal;
}

static void what_is_torn_is_not_freed(void **state) {
    (void)state;
    expect_no_free(top_of, BYTES + 64, -EINVAL);
    expect_no_free(size_of_third, 32 | ARENA_USED, -EINVAL); /* none is so small, */
    expect_no_free(size_of_third, 136 | ARENA_USED, -EINVAL);
    expect_no_free(size_of_third, BYTES | ARENA_USED, -EINVAL); /* and none ends behind the last */
    expect_no_free(before_third, BYTES, -THIRL_EFORMAT);
    expect_no_free(before_third, 16, -THIRL_EFORMAT);
    expect_no_free(before_third, 2 * 144, -THIRL_EFORMAT); /* there is a block, but it does not reach to here */
    expect_no_free(size_of_second, 64, -THIRL_EFORMAT);
    expect_no_free(last_of_fourth, FIRST, -THIRL_EFORMAT); /* does not lead back to it */
    expect_no_free(list_head, FIRST, -THIRL_EFORMAT);
    expect_no_free(seal_of_fourth, 0, -THIRL_EFORMAT);
}

static void what_is_torn_is_not_given_out(void **state) {
    (void)state;
    uint64_t at = 7;
    struct torn t = lay_out();
    *list_head(&t) = t.at[0]; /* is used */
    assert_int_equal(arena_alloc(&t.view, 100, &at, NULL), -THIRL_EFORMAT);
    arena_unlock(&t.view);
    t = lay_out();
    *list_head(&t) = 24; /* is none */
    assert_int_equal(arena_alloc(&t.view, 100, &at, NULL), -THIRL_EFORMAT);
    arena_unlock(&t.view);
    t = lay_out();
    block_of(t.at[3])->last = t.at[1]; /* is not the first of its list */
    assert_int_equal(arena_alloc(&t.view, 100, &at, NULL), -THIRL_EFORMAT);
    assert_int_equal(at, 0);
    arena_unlock(&t.view);
    t = lay_out();
    t.view.arena->top = BYTES + 64;
    memset(t.view.arena->bits, 0, sizeof t.view.arena->bits);
    *list_head(&t) = 0;
    assert_int_equal(arena_alloc(&t.view, 100, &at, NULL), -THIRL_EFORMAT);
    arena_unlock(&t.view);
}

/* Nobody leaves a free block at the end; where there is one, what is cut off it becomes the last. */
static void a_free_block_at_the_end_is_cut_all_the_same(void **state) {
    (void)state;
    struct arena_view view = join();
    uint64_t at, again;
    assert_int_equal(arena_lock(&view, 0), 0);
    assert_int_equal(arena_alloc(&view, 1000, &at, NULL), 0);
    struct arena_block *block = block_of(at - ARENA_HEAD);
    block->size &= ~ARENA_USED;
    view.arena->used = view.arena->blocks = 0;
    uint64_t before = block->size, where;
    assert_int_equal(arena_check(&view, &where), -THIRL_EFORMAT);
    for (unsigned list = 0; list < ARENA_LISTS; list++) { /* in whatever list it is looked for */
        view.arena->list[list] = at - ARENA_HEAD;
        view.arena->bits[list / 64] |= UINT64_C(1) << list % 64;
    }
    assert_int_equal(arena_alloc(&view, 1000 - 200, &again, NULL), 0);
    assert_int_equal(again, at);
    assert_int_equal(view.arena->last, before - block->size + ARENA_USED);
    arena_unlock(&view);
}

/* Who died in the midst of a change, and left a log that is none: nobody gets the lock, or has it for nothing. */
static void a_log_that_is_none_is_told(void **state) {
    (void)state;
    struct torn t = lay_out();
    t.view.arena->turn.holder = UINT64_C(0x1234567800010000); /* is nobody */
    t.view.arena->log.count = 1;
    t.view.arena->log.entry[0].place = BYTES;
    assert_int_equal(arena_lock(&t.view, 0), -THIRL_EFORMAT);
    assert_int_equal(t.view.arena->turn.holder, 0);
}

/* ---- hands of others ---- */

static int have_two(void *board) {
    struct arena_view view = join();
    uint64_t at;
    int rc = arena_lock(&view, INT64_MAX);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        rc = arena_alloc(&view, 100, &at, NULL);
    }
    arena_unlock(&view);
    atomic_store((uint32_t *)board, 1u);
    for (;;) (void)pause();
    return rc;
}

static void only_the_dead_are_taken_from(void **state) {
    (void)state;
    struct torn t = lay_out();
    arena_unlock(&t.view);
    uint32_t *board = (void *)(base + BYTES - 64);
    pid_t child = room_fork(have_two, board);
    for (int i = 0; atomic_load(board) == 0 && i < 20000; i++) room_sleep(CLOCK_MS);
    assert_int_equal(atomic_load(board), 1);
    assert_int_equal(arena_lock(&t.view, INT64_MAX), 0);
    assert_int_equal(t.view.arena->blocks, 6);
    assert_int_equal(arena_reclaim(&t.view), 0);
    (void)kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
    block_of(t.at[0])->seal ^= 1;
    assert_int_equal(arena_reclaim(&t.view), -THIRL_EFORMAT);
    block_of(t.at[0])->seal ^= 1;
    block_of(t.at[2])->seal ^= 1; /* behind the first of the two, which was free before */
    assert_int_equal(arena_reclaim(&t.view), -THIRL_EFORMAT);
    block_of(t.at[2])->seal ^= 1;
    uint64_t before = block_of(t.at[3])->before;
    block_of(t.at[3])->before = BYTES;
    assert_int_equal(arena_reclaim(&t.view), -THIRL_EFORMAT);
    block_of(t.at[3])->before = before;
    assert_true(arena_reclaim(&t.view) > 0);
    assert_int_equal(t.view.arena->blocks, 4);
    check(&t.view);
    arena_unlock(&t.view);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, clear)
    const struct CMUnitTest tests[] = {
        T(what_is_no_block_is_refused),
        T(roots_have_an_end),
        T(a_long_list_is_searched_where_that_is_worth_it),
        T(a_change_has_an_end),
        T(each_word_that_lies_is_found),
        T(what_is_torn_is_not_freed),
        T(what_is_torn_is_not_given_out),
        T(a_free_block_at_the_end_is_cut_all_the_same),
        T(a_log_that_is_none_is_told),
        T(only_the_dead_are_taken_from),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
