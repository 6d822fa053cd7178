/* SPDX-License-Identifier: MIT
 *
 * Locks inside an area, in a block of its arena, as part of a user's own struct: each process has them at another address, and whoever comes
 * after one that died with all of them is told, or gets back what that one had.
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

#include <cmocka.h>

#include "base/atomic.h"
#include "include/thirl/area.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/room.h"

#define SOON thirl_in_ms(20000)
#define ROUNDS 200

struct plant {
    uint64_t base; /* where the one who is here first has the area */
    uint32_t turn, open;
    thirl_mutex mutex;
    thirl_rwlock rwlock;
    thirl_cond cond;
    thirl_sem sem;
    thirl_event event;
    thirl_once once;
    thirl_barrier barrier;
};

static thirl_area *area;

/* The plant in the area, which it makes if it is not there. NULL: why is printed. */
static struct plant *enter(void) {
    thirl_at root, block;
    if (thirl_area_open(&area, "plant", NULL) != 0 || thirl_area_root(area, "plant", &root, SOON) != 0) {
        (void)fprintf(stderr, "%s\n", thirl_why());
        return NULL;
    }
    if (*(thirl_at *)thirl_area_pointer(area, root, 8) == 0) {
        if (thirl_area_alloc(area, sizeof(struct plant), &block, SOON) != 0) return NULL;
        struct plant *made = thirl_area_pointer(area, block, sizeof *made);
        memset(made, 0, sizeof *made);
        if (thirl_mutex_init(&made->mutex, 0) != 0 || thirl_rwlock_init(&made->rwlock, 0) != 0 ||
            thirl_cond_init(&made->cond, 0) != 0 || thirl_sem_init(&made->sem, 1, 0) != 0 ||
            thirl_event_init(&made->event, 0) != 0 || thirl_barrier_init(&made->barrier, 2) != 0 ||
            thirl_area_swap(area, root, &block, SOON) != 0) {
            return NULL;
        }
    }
    return thirl_area_pointer(area, *(thirl_at *)thirl_area_pointer(area, root, 8), sizeof(struct plant));
}

/* The same, elsewhere. */
static struct plant *enter_elsewhere(void) {
    const struct thirl_area_options large = {.size = sizeof large, .bytes = 1 << 12, .limit = UINT64_C(1) << 30};
    thirl_area *before;
    return thirl_area_open(&before, NULL, &large) == 0 ? enter() : NULL;
}

static bool is_elsewhere(const struct plant *plant) {
    return plant->base != (uintptr_t)thirl_area_base(area);
}

/* ---- two who live ---- */

/* Each waits for its turn; and all that is guarded moves with the memory: the area grows meanwhile. */
static int play(struct plant *plant, uint32_t who) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(thirl_mutex_lock(&plant->mutex, SOON) == 0);
        while (plant->turn != who) CHECK(thirl_cond_wait(&plant->cond, &plant->mutex, SOON) == 0);
        plant->turn = 1 - who;
        if (i == ROUNDS / 2) CHECK(thirl_area_grow(area, thirl_area_bytes(area) + (1 << 20), SOON) == 0);
        CHECK(thirl_cond_signal(&plant->cond) == 0 && thirl_mutex_unlock(&plant->mutex) == 0);
    }
    CHECK(thirl_barrier_join(&plant->barrier) == 0 && thirl_barrier_wait(&plant->barrier, NULL, SOON) == 0);
    return thirl_barrier_leave(&plant->barrier);
}

static int play_here(void *nothing) {
    (void)nothing;
    struct plant *plant = enter();
    CHECK(plant != NULL);
    plant->base = (uintptr_t)thirl_area_base(area);
    atomic_store(&plant->open, 1);
    return play(plant, 0);
}

static int do_two_pass_a_ball(void *nothing) {
    (void)nothing;
    CHECK(enter() != NULL); /* made, so that nobody makes another one */
    pid_t here = room_fork(play_here, NULL);
    struct plant *plant = enter_elsewhere();
    CHECK(plant != NULL && member_wait(&plant->open, 1) && is_elsewhere(plant) && play(plant, 1) == 0);
    int rc = room_reap(here);
    return rc != 0 ? rc : thirl_area_remove("plant", 0);
}
IN_A_CHILD(two_pass_a_ball)

/* ---- one who is killed ---- */

static int die_with_all(void *nothing) {
    (void)nothing;
    struct plant *plant = enter();
    CHECK(plant != NULL && thirl_mutex_lock(&plant->mutex, THIRL_NOW) == 0);
    plant->base = (uintptr_t)thirl_area_base(area);
    CHECK(thirl_rwlock_write(&plant->rwlock, THIRL_NOW) == 0 && thirl_sem_wait(&plant->sem, THIRL_NOW) == 0);
    CHECK(thirl_once_begin(&plant->once, THIRL_NOW) == THIRL_ONCE_YOURS && thirl_event_set(&plant->event) == 0);
    CHECK(thirl_barrier_join(&plant->barrier) == 0);
    return raise(SIGKILL);
}

static int find_all(void *nothing) {
    (void)nothing;
    struct plant *plant = enter_elsewhere();
    CHECK(plant != NULL && is_elsewhere(plant) && thirl_mutex_lock(&plant->mutex, SOON) == THIRL_OWNER_DIED);
    CHECK(thirl_mutex_mend(&plant->mutex) == 0);
    CHECK(thirl_cond_wait(&plant->cond, &plant->mutex, thirl_in_ms(5)) == -ETIMEDOUT);
    CHECK(thirl_mutex_unlock(&plant->mutex) == 0 && thirl_mutex_lock(&plant->mutex, THIRL_NOW) == 0);
    CHECK(thirl_rwlock_write(&plant->rwlock, SOON) == THIRL_OWNER_DIED && thirl_rwlock_mend(&plant->rwlock) == 0);
    CHECK(thirl_sem_wait(&plant->sem, SOON) == THIRL_OWNER_DIED);
    CHECK(thirl_once_begin(&plant->once, SOON) == THIRL_OWNER_DIED && thirl_once_end(&plant->once, 1) == 0);
    CHECK(thirl_event_wait(&plant->event, THIRL_NOW) == 0);
    CHECK(thirl_barrier_join(&plant->barrier) == 0 && thirl_barrier_leave(&plant->barrier) == 0);
    return thirl_area_remove("plant", 0);
}

static void who_comes_after_a_dead_one_is_told(void **state) {
    (void)state;
    assert_int_equal(room_run(die_with_all, NULL), 128 + SIGKILL);
    assert_int_equal(room_run(find_all, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_pass_a_ball),
        cmocka_unit_test(who_comes_after_a_dead_one_is_told),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
