/* SPDX-License-Identifier: MIT
 *
 * The checker finds what is wrong, in histories made for that and beside trying all orders; then locks, states, caches and work queues are used
 * by several processes at once, some of whom are killed, and what they recorded is checked. HISTORY_SECONDS is for how long; `make
 * histories` asks for many.
 */
#define _GNU_SOURCE
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "include/thirl/cache.h"
#include "include/thirl/lock.h"
#include "include/thirl/state.h"
#include "tests/history.h"
#include "tests/member.h"
#include "tests/room.h"

#define SOON thirl_in_ms(20000)

/* ---- the checker itself ---- */

static void is(const char *what, history_model *model, const struct history_op *ops, size_t count, int wanted) {
    int found = history_check(ops, count, model, NULL);
    if (found != wanted) {
        fail_msg("%s: %d, not %d", what, found, wanted);
    }
}

#define IS(wanted, model, ...)                                                                                         \
    is(#__VA_ARGS__, model, (const struct history_op[]){__VA_ARGS__},                                                  \
       sizeof((const struct history_op[]){__VA_ARGS__}) / sizeof(struct history_op), wanted)
#define OP(kind, who, began, ended, given, answer)                                                                     \
    { began, ended, HISTORY_##kind, who, given, answer }
#define NEVER HISTORY_PENDING

static void values(void **state) {
    (void)state;
    IS(1, history_value, OP(SET, 0, 1, 2, 5, 0), OP(GET, 1, 3, 4, 0, 5));
    IS(0, history_value, OP(SET, 0, 1, 2, 5, 0), OP(GET, 1, 3, 4, 0, 0)); /* stale */
    IS(1, history_value, OP(SET, 0, 1, 4, 5, 0), OP(GET, 1, 2, 3, 0, 0)); /* meanwhile: either */
    IS(1, history_value, OP(SET, 0, 1, 4, 5, 0), OP(GET, 1, 2, 3, 0, 5));
    IS(0, history_value, OP(SET, 0, 1, 6, 5, 0), OP(GET, 1, 2, 3, 0, 5), OP(GET, 1, 4, 5, 0, 0)); /* new, then old */
    IS(0, history_value, OP(GET, 1, 3, 4, 0, 7));                                                 /* nobody's */
    IS(1, history_value, OP(SET, 0, 1, NEVER, 5, 0), OP(GET, 1, 3, 4, 0, 5)); /* done before he was killed, */
    IS(1, history_value, OP(SET, 0, 1, NEVER, 5, 0), OP(GET, 1, 3, 4, 0, 0)); /* or not, */
    IS(0, history_value, OP(SET, 0, 1, NEVER, 5, 0), OP(GET, 1, 3, 4, 0, 5), OP(GET, 1, 5, 6, 0, 0)); /* not both */
    IS(0, history_value, OP(SET, 0, 1, 2, 5, 0), OP(SWAP, 1, 3, 4, UINT64_C(5) << 32 | 6, 1),
       OP(SWAP, 2, 3, 4, UINT64_C(5) << 32 | 7, 1)); /* two who were both the only one */
    IS(1, history_value, OP(SET, 0, 1, 2, 5, 0), OP(SWAP, 1, 3, 4, UINT64_C(5) << 32 | 6, 1),
       OP(SWAP, 2, 3, 4, UINT64_C(5) << 32 | 7, 0));
    IS(0, history_value, OP(SET, 0, 1, 2, 5, 0), OP(REMOVE, 1, 3, 4, 0, 1), OP(REMOVE, 2, 3, 4, 0, 1));
}

static void locks(void **state) {
    (void)state;
    IS(1, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(UNLOCK, 0, 3, 6, 0, 1), OP(LOCK, 1, 4, 5, 0, 1));
    IS(0, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(LOCK, 1, 3, 4, 0, 1)); /* two at once */
    IS(0, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(UNLOCK, 0, 3, 4, 0, 1),
       OP(LOCK, 1, 5, 6, 0, 0)); /* in nobody's way */
    IS(1, history_lock, OP(SHARE, 0, 1, 2, 0, 1), OP(SHARE, 1, 3, 4, 0, 1));
    IS(0, history_lock, OP(SHARE, 0, 1, 2, 0, 1), OP(LOCK, 1, 3, 4, 0, 1));
    IS(1, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(DIE, 0, 3, 4, 0, 0), OP(LOCK, 1, 5, 6, 0, 2));
    IS(0, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(DIE, 0, 3, 4, 0, 0), OP(LOCK, 1, 5, 6, 0, 1)); /* not told */
    IS(0, history_lock, OP(LOCK, 0, 1, 2, 0, 1), OP(LOCK, 1, 3, 4, 0, 2), OP(DIE, 0, 5, 6, 0, 0)); /* he lived */
    IS(1, history_lock, OP(LOCK, 0, 1, NEVER, 0, 0), OP(DIE, 0, 3, 4, 0, 0), OP(LOCK, 1, 5, 6, 0, 2));
    IS(1, history_lock, OP(LOCK, 0, 1, NEVER, 0, 0), OP(DIE, 0, 3, 4, 0, 0), OP(LOCK, 1, 5, 6, 0, 1));
    IS(1, history_lock, OP(SHARE, 0, 1, 2, 0, 1), OP(DIE, 0, 3, 4, 0, 0), OP(LOCK, 1, 5, 6, 0, 1));
}

static void counts_and_lights(void **state) {
    (void)state;
    IS(1, history_count, OP(POST, 0, 1, 2, 0, 0), OP(TAKE, 1, 3, 4, 0, 1), OP(TAKE, 2, 3, 4, 0, 0));
    IS(0, history_count, OP(POST, 0, 1, 2, 0, 0), OP(TAKE, 1, 3, 4, 0, 1), OP(TAKE, 2, 3, 4, 0, 1)); /* doubled */
    IS(0, history_count, OP(POST, 0, 1, 2, 0, 0), OP(TAKE, 1, 3, 4, 0, 0));                          /* lost */
    IS(1, history_count, OP(POST, 0, 1, 2, 0, 0), OP(TAKE, 2, 1, NEVER, 0, 0), OP(TAKE, 1, 3, 4, 0, 0));
    IS(0, history_light, OP(LIGHT, 0, 1, 2, 0, 0), OP(LOOK, 1, 3, 4, 0, 0));
    IS(1, history_light, OP(LIGHT, 0, 1, 2, 0, 0), OP(DARKEN, 2, 1, 5, 0, 0), OP(LOOK, 1, 3, 4, 0, 0));
}

static void queues(void **state) {
    (void)state;
    IS(1, history_queue, OP(PUT, 0, 1, 2, 1, 0), OP(PUT, 0, 3, 4, 2, 0), OP(NEXT, 1, 5, 6, 0, 1),
       OP(NEXT, 2, 5, 6, 0, 2));
    IS(0, history_queue, OP(PUT, 0, 1, 2, 1, 0), OP(PUT, 0, 3, 4, 2, 0), OP(NEXT, 1, 5, 6, 0, 2),
       OP(NEXT, 1, 7, 8, 0, 1));                                                                    /* overtaken */
    IS(0, history_queue, OP(PUT, 0, 1, 2, 1, 0), OP(NEXT, 1, 3, 4, 0, 1), OP(NEXT, 2, 3, 4, 0, 1)); /* doubled */
    IS(0, history_queue, OP(PUT, 0, 1, 2, 1, 0), OP(NEXT, 1, 3, 4, 0, 0));                          /* not seen */
    IS(0, history_queue, OP(NEXT, 1, 1, 2, 0, 1), OP(PUT, 0, 3, 4, 1, 0)); /* before it was sent */
}

/* All orders, one after the other. */
static bool some_order(const struct history_op *ops, size_t count, unsigned left, uint64_t at) {
    bool over = true;
    for (size_t i = 0; i < count; i++) {
        over = over && ((left >> i & 1) == 0 || ops[i].ended == HISTORY_PENDING);
    }
    for (size_t i = 0; !over && i < count; i++) {
        uint64_t next = at;
        bool first = (left >> i & 1) != 0;
        for (size_t k = 0; first && k < count; k++) {
            first = (left >> k & 1) == 0 || ops[k].ended >= ops[i].began;
        }
        over = first && history_value(&next, &ops[i]) && some_order(ops, count, left & ~(1u << i), next);
    }
    return over;
}

static void finds_what_trying_all_orders_finds(void **state) {
    (void)state;
    unsigned good = 0, bad = 0;
    for (int round = 0; round < 4000; round++) {
        struct history_op ops[7];
        size_t count = 2 + room_dice(6);
        for (size_t i = 0; i < count; i++) {
            int64_t began = (int64_t)room_dice(20), took = 1 + (int64_t)room_dice(8);
            ops[i] = (struct history_op){began,
                                         room_dice(8) == 0 ? HISTORY_PENDING : began + took,
                                         (uint32_t)room_dice(4),
                                         (uint32_t)i,
                                         room_dice(3) << 32 | (1 + room_dice(2)),
                                         room_dice(3)};
            ops[i].given = ops[i].kind == HISTORY_SWAP ? ops[i].given : (uint32_t)ops[i].given;
        }
        int wanted = some_order(ops, count, (1u << count) - 1, 0);
        assert_int_equal(history_check(ops, count, history_value, NULL), wanted);
        *(wanted ? &good : &bad) += 1;
    }
    assert_true(good > 400 && bad > 400);
}

/* ---- recorded ones ---- */

#define PLAYERS 4u
#define LIVES 12u /* of one history: players, and those who come after them */
#define OPS 64u
#define KEYS 2u

static struct board {
    thirl_mutex mutex;
    thirl_rwlock rwlock;
    thirl_sem sem;
    thirl_event event;
    uint32_t ready, go, name;
    struct log {
        uint32_t count;
        uint32_t key[OPS];
        struct history_op op[OPS];
    } log[LIVES];
} * board;

static struct history_op *begin_op(uint32_t who, uint32_t key, uint32_t kind, uint64_t given) {
    struct log *log = &board->log[who];
    log->key[log->count] = key;
    log->op[log->count] = (struct history_op){clock_now(), HISTORY_PENDING, kind, who, given, 0};
    atomic_store(&log->count, log->count + 1); /* pairs with the reader's waitpid */
    return &log->op[log->count - 1];
}

static void end_op(struct history_op *op, uint64_t answer) {
    op->answer = answer;
    op->ended = clock_now();
}

/* It is as if it had never been asked. */
static void forget_op(uint32_t who) {
    board->log[who].count--;
}

static int play_mutex(uint32_t who) {
    bool tries = room_dice(3) == 0;
    struct history_op *op = begin_op(who, 0, HISTORY_LOCK, 0);
    int rc = thirl_mutex_lock(&board->mutex, tries ? THIRL_NOW : SOON);
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED || (tries && rc == -EAGAIN));
    end_op(op, rc == 0 ? 1 : rc > 0 ? 2 : 0);
    if (rc < 0) return 0;
    CHECK(rc == 0 || thirl_mutex_mend(&board->mutex) == 0);
    op = begin_op(who, 0, HISTORY_UNLOCK, 0);
    CHECK(thirl_mutex_unlock(&board->mutex) == 0);
    end_op(op, 1);
    return 0;
}

static int play_rwlock(uint32_t who) {
    bool shares = room_dice(2) == 0;
    struct history_op *op = begin_op(who, 0, shares ? HISTORY_SHARE : HISTORY_LOCK, 0);
    int rc = shares ? thirl_rwlock_read(&board->rwlock, SOON) : thirl_rwlock_write(&board->rwlock, SOON);
    CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    end_op(op, rc == 0 ? 1 : 2);
    CHECK(rc == 0 || shares || thirl_rwlock_mend(&board->rwlock) == 0);
    op = begin_op(who, 0, HISTORY_UNLOCK, 0);
    CHECK(thirl_rwlock_unlock(&board->rwlock) == 0);
    end_op(op, 1);
    return 0;
}

static int play_sem(uint32_t who) {
    bool posts = room_dice(2) == 0;
    struct history_op *op = begin_op(who, 0, posts ? HISTORY_POST : HISTORY_TAKE, 0);
    int rc = posts ? thirl_sem_post(&board->sem) : thirl_sem_wait(&board->sem, THIRL_NOW);
    CHECK(rc == 0 || (!posts && rc == -EAGAIN));
    end_op(op, rc == 0);
    return 0;
}

static int play_event(uint32_t who) {
    uint32_t kind = (uint32_t)room_dice(3);
    struct history_op *op = begin_op(who, 0, kind, 0);
    int rc = kind == HISTORY_LIGHT    ? thirl_event_set(&board->event)
             : kind == HISTORY_DARKEN ? thirl_event_reset(&board->event)
                                      : thirl_event_wait(&board->event, THIRL_NOW);
    CHECK(rc == 0 || (kind == HISTORY_LOOK && rc == -EAGAIN));
    end_op(op, rc == 0);
    return 0;
}

static uint64_t unique(uint32_t who) {
    return (who + 1) << 16 | board->log[who].count;
}

static int play_state(uint32_t who) {
    static thirl_state *s;
    char name[32];
    uint64_t value[8], version;
    size_t size;
    (void)snprintf(name, sizeof name, "history/%u", board->name);
    CHECK(s != NULL || thirl_state_open(&s, name, NULL) == 0);
    if (room_dice(3) == 0) {
        for (size_t i = 0; i < 8; i++) value[i] = unique(who);
        struct history_op *op = begin_op(who, 0, HISTORY_SET, value[0]);
        CHECK(thirl_state_set(s, value, sizeof value, SOON) == 0);
        end_op(op, 0);
        return 0;
    }
    struct history_op *op = begin_op(who, 0, HISTORY_GET, 0);
    int rc = thirl_state_get(s, value, sizeof value, &size, &version);
    CHECK(rc == 0 || rc == -ENODATA);
    for (size_t i = 1; rc == 0 && i < 8; i++) CHECK(value[i] == value[0]);
    end_op(op, rc == 0 ? value[0] : 0);
    return 0;
}

static thirl_cache *cache;

static int look_up(uint32_t who, uint32_t key, uint64_t *value, uint64_t *version) {
    struct thirl_cache_pin pin;
    struct history_op *op = begin_op(who, key, HISTORY_GET, 0);
    int rc = thirl_cache_get(cache, &key, sizeof key, &pin);
    CHECK(rc == 0 || rc == THIRL_CACHE_MISS);
    *value = rc == 0 ? *(const uint64_t *)pin.value : 0;
    *version = rc == 0 ? pin.version : 0;
    end_op(op, *value);
    if (rc == 0) thirl_cache_unpin(cache, &pin);
    return 0;
}

static int play_cache(uint32_t who) {
    static uint64_t value[KEYS], version[KEYS]; /* as they were seen last */
    uint32_t key = (uint32_t)room_dice(KEYS);
    char name[32];
    uint64_t fresh = unique(who);
    (void)snprintf(name, sizeof name, "history/%u", board->name);
    const struct thirl_cache_options options = {.size = sizeof options, .bytes = 1 << 20, .items = 64, .seats = 16};
    CHECK(cache != NULL || thirl_cache_open(&cache, name, &options) == 0);
    uint32_t kind = (uint32_t)room_dice(5);
    kind = kind > HISTORY_REMOVE ? HISTORY_GET : kind;
    if (kind == HISTORY_GET) return look_up(who, key, &value[key], &version[key]);
    struct history_op *op = begin_op(who, key, kind, kind == HISTORY_SWAP ? value[key] << 32 | fresh : fresh);
    int rc = kind == HISTORY_SET ? thirl_cache_put(cache, &key, sizeof key, &fresh, sizeof fresh, THIRL_NEVER, SOON)
             : kind == HISTORY_REMOVE
                 ? thirl_cache_remove(cache, &key, sizeof key, SOON)
                 : thirl_cache_swap(cache, &key, sizeof key, &fresh, sizeof fresh, THIRL_NEVER, &version[key], SOON);
    CHECK(rc == 0 || (kind == HISTORY_REMOVE && rc == THIRL_CACHE_MISS) ||
          (kind == HISTORY_SWAP && rc == THIRL_CACHE_OTHER));
    end_op(op, rc == 0);
    return kind == HISTORY_SWAP ? look_up(who, key, &value[key], &version[key]) : 0; /* what the version now is of */
}

/* The first two push, each its own numbers; the others take. A queue for each pusher: they are told apart by the key. */
static int play_queue(uint32_t who) {
    static thirl *end;
    static uint64_t sent;
    char name[32];
    (void)snprintf(name, sizeof name, "shm://history-%u?queue=4K", board->name);
    if (end == NULL) CHECK(thirl_open(&end, who < 2 ? THIRL_PUSH : THIRL_PULL, name, NULL) == 0);
    if (who < 2) {
        uint64_t message = (uint64_t)who << 32 | ++sent;
        struct history_op *op = begin_op(who, who, HISTORY_PUT, sent);
        CHECK(thirl_send(end, &message, sizeof message, SOON) == 0);
        end_op(op, 0);
        return 0;
    }
    struct history_op *op = begin_op(who, 0, HISTORY_NEXT, 0);
    thirl_msg *msg = NULL;
    int rc = thirl_take(end, &msg, thirl_in_ms(20));
    if (rc == -ETIMEDOUT) {
        forget_op(who);
        return 0;
    }
    int64_t now = clock_now();
    CHECK(rc == 0 && thirl_msg_size(msg) == sizeof(uint64_t));
    uint64_t message = *(const uint64_t *)thirl_msg_data(msg);
    board->log[who].key[board->log[who].count - 1] = (uint32_t)(message >> 32);
    op->answer = (uint32_t)message;
    op->ended = now;
    return thirl_done(&msg);
}

static const struct subject {
    const char *name;
    history_model *model;
    int (*play)(uint32_t who);
    bool mortal; /* players are killed */
    uint32_t keys;
} subjects[] = {
    {"mutex", history_lock, play_mutex, true, 1},        {"read-write lock", history_lock, play_rwlock, true, 1},
    {"semaphore", history_count, play_sem, true, 1},     {"event", history_light, play_event, true, 1},
    {"state", history_value, play_state, true, 1},       {"cache", history_value, play_cache, true, KEYS},
    {"work queue", history_queue, play_queue, false, 2},
};
#define SUBJECTS (sizeof subjects / sizeof *subjects)

static const struct subject *subject;

static int take_part(void *argument) {
    uint32_t who = (uint32_t)(uintptr_t)argument;
    for (uint64_t i = (uint64_t)clock_now() % 1000; i != 0; i--) (void)room_dice(2); /* each throws something else */
    (void)atomic_add(&board->ready, 1u);
    while (atomic_load(&board->go) == 0) room_sleep(20 * CLOCK_US);
    for (int64_t until = clock_now() + 100 * CLOCK_MS; board->log[who].count + 2 < OPS && clock_now() < until;) {
        CHECK(subject->play(who) == 0);
    }
    return 0;
}

/* One is killed, and somebody else comes. Its death is an operation of its own. */
static pid_t replace(pid_t *player, uint32_t *who, uint32_t fresh) {
    struct log *log = &board->log[*who];
    int64_t began = clock_now();
    (void)kill(*player, SIGKILL);
    int status = room_reap(*player);
    if (status == 128 + SIGKILL && subject->model == history_lock) {
        log->op[log->count++] = (struct history_op){began, clock_now(), HISTORY_DIE, *who, 0, 0};
    }
    assert_true(status == 0 || status == 128 + SIGKILL);
    *who = fresh;
    *player = room_fork(take_part, (void *)(uintptr_t)fresh);
    return *player;
}

static void record(void) {
    pid_t player[PLAYERS];
    uint32_t who[PLAYERS], next = PLAYERS;
    uint32_t name = board->name + 1;
    memset(board, 0, sizeof *board);
    board->name = name;
    assert_true(thirl_mutex_init(&board->mutex, 0) == 0 && thirl_rwlock_init(&board->rwlock, 0) == 0 &&
                thirl_sem_init(&board->sem, 0, THIRL_LOCK_COUNTING) == 0 && thirl_event_init(&board->event, 0) == 0);
    for (uint32_t i = 0; i < PLAYERS; i++) {
        who[i] = i;
        player[i] = room_fork(take_part, (void *)(uintptr_t)i);
    }
    while (atomic_load(&board->ready) < PLAYERS) room_sleep(50 * CLOCK_US);
    atomic_store(&board->go, 1u);
    while (subject->mortal && next < LIVES && room_dice(4) != 0) {
        room_sleep((int64_t)room_dice(400) * CLOCK_US);
        uint32_t i = (uint32_t)room_dice(PLAYERS);
        (void)replace(&player[i], &who[i], next++);
    }
    for (uint32_t i = 0; i < PLAYERS; i++) {
        assert_int_equal(room_reap(player[i]), 0);
    }
}

static void print_history(const struct history_op *ops, size_t count, size_t stuck) {
    for (size_t i = 0; i < count; i++) {
        if (ops[i].ended >= ops[stuck].began - CLOCK_MS && ops[i].began <= ops[stuck].ended) {
            print_message("%s %u: kind %u of %llx answered %llx, from %lld to %lld ns\n", i == stuck ? "->" : "  ",
                          ops[i].who, ops[i].kind, (unsigned long long)ops[i].given, (unsigned long long)ops[i].answer,
                          (long long)(ops[i].began - ops[stuck].began),
                          ops[i].ended == HISTORY_PENDING ? -1LL : (long long)(ops[i].ended - ops[stuck].began));
        }
    }
}

/* How many operations were in order. */
static uint64_t check(void) {
    static struct history_op ops[LIVES * OPS];
    uint64_t all = 0;
    for (uint32_t key = 0; key < subject->keys; key++) {
        size_t count = 0, stuck;
        for (uint32_t who = 0; who < LIVES; who++) {
            const struct log *log = &board->log[who];
            for (uint32_t i = 0; i < log->count; i++) {
                if (log->key[i] == key) ops[count++] = log->op[i];
            }
        }
        int rc = history_check(ops, count, subject->model, &stuck);
        if (rc == 0) {
            print_history(ops, count, stuck);
            fail_msg("a %s has answered what it could not, in no order of %zu operations", subject->name, count);
        }
        assert_int_equal(rc, 1);
        all += count;
    }
    return all;
}

static void recorded(void **state) {
    const char *given = getenv("HISTORY_SECONDS");
    int64_t span = given == NULL ? CLOCK_S / 5 : strtol(given, NULL, 10) * CLOCK_S / (int64_t)SUBJECTS;
    uint64_t histories = 0, operations = 0;
    subject = *state;
    for (int64_t until = clock_now() + span; clock_now() < until || histories == 0; histories++) {
        record();
        operations += check();
    }
    print_message("%s: %llu histories of %llu operations, all of them linearizable\n", subject->name,
                  (unsigned long long)histories, (unsigned long long)operations);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

int main(int argc, char **argv) {
    struct CMUnitTest tests[5 + SUBJECTS] = {cmocka_unit_test(values), cmocka_unit_test(locks),
                                             cmocka_unit_test(counts_and_lights), cmocka_unit_test(queues),
                                             cmocka_unit_test(finds_what_trying_all_orders_finds)};
    for (size_t i = 0; i < SUBJECTS; i++) {
        tests[5 + i] = (struct CMUnitTest){subjects[i].name, recorded, NULL, NULL, (void *)(uintptr_t)&subjects[i]};
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, begin, room_end);
}
