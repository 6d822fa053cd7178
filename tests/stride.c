/* SPDX-License-Identifier: MIT
 *
 * Operations of locks that are killed at each of their instructions, see stride.h.
 */
#include "tests/stride.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/proc.h"
#include "include/thirl/lock.h"
#include "tests/member.h"
#include "tests/room.h"
#include "tests/step.h"

/* With a partner, who has what is waited for. */
static struct meeting {
    uint32_t ready; /* it has it */
    int32_t waiter; /* who waits: a pid */
    thirl_sem sem;  /* through which the operation's process joins the registry before */
} * meeting;

static pid_t partner; /* 0: none */

int stride_begin(void **state) {
    meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return meeting == MAP_FAILED || thirl_sem_init(&meeting->sem, 1, 0) != 0 ? -1 : room_begin(state);
}

int stride_nothing(void) {
    return 0;
}

/* Has it until the other one sleeps; or for a while, for one that is led so slowly that the slices of its sleep are over before they begin. */
static int have_until_wanted(void *argument) {
    const struct stride_partner *own = argument;
    CHECK(own->take() == 0);
    atomic_store(&meeting->ready, 1);
    while (atomic_load(&meeting->waiter) == 0) room_sleep(CLOCK_MS);
    for (int looks = 0; looks < 100 && proc_state(meeting->waiter, 0) != 'S'; looks++) room_sleep(CLOCK_MS);
    return own->give();
}

int stride_meet(const struct stride_partner *own) {
    meeting->ready = 0;
    meeting->waiter = 0;
    partner = room_fork(have_until_wanted, (void *)(uintptr_t)own);
    return member_wait(&meeting->ready, 1) ? 0 : 1;
}

/* Its time is over when it has given. */
static int part(const struct stride *operation) {
    int rc = partner != 0 ? room_reap(partner) : 0;
    partner = 0;
    if (rc != 0) print_message("%s: the partner answers %d\n", operation->name, rc);
    return rc;
}

static int do_operation(void *argument) {
    const struct stride *operation = argument;
    int rc = thirl_sem_post(&meeting->sem); /* joins the registry; it has no permit */
    if (rc != -EPERM || operation->before() != 0) {
        return 1;
    }
    step_mark();
    rc = operation->itself();
    step_mark();
    return rc < 0;
}

/* The operation does what it is to do, when nobody is killed. */
static void does(const struct stride *operation, void (*anew)(void)) {
    anew();
    assert_int_equal(operation->earlier(), 0);
    pid_t child = step_begin(do_operation, (void *)(uintptr_t)operation);
    atomic_store(&meeting->waiter, child);
    assert_int_equal(step_let(child), 0);
    assert_int_equal(part(operation), 0);
}

void stride_through(const struct stride *operations, size_t count, void (*anew)(void), void *memory, size_t size) {
    unsigned instructions = 0, states = 0;
    step_on_one_processor();
    for (size_t i = 0; i < count; i++) {
        const struct stride *operation = &operations[i];
        struct step_trace trace;
        does(operation, anew);
        anew();
        assert_int_equal(operation->earlier(), 0);
        pid_t child = step_begin(do_operation, (void *)(uintptr_t)operation);
        atomic_store(&meeting->waiter, child);
        if (!step_through(&trace, child, memory, size)) {
            print_message("skip: no process can be traced here\n");
            skip();
        }
        assert_int_equal(part(operation), 0);
        assert_true(trace.instructions > 10 && trace.states > 1);
        instructions += trace.instructions;
        states += trace.states;
        do {
            int rc = operation->behind();
            if (rc != 0) print_message("%s, killed in state %u of %u\n", operation->name, trace.at, trace.states);
            assert_int_equal(rc, 0);
        } while (step_next(&trace));
        step_forget(&trace);
    }
    print_message("%zu operations were killed at each of %u instructions: %u states\n", count, instructions, states);
}
