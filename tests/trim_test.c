/* SPDX-License-Identifier: MIT
 *
 * A pusher's pool after very many loans: what it has too much of goes, and its messages are what they were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/work.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)

static int do_a_pool_is_trimmed(void *nothing) {
    (void)nothing;
    thirl *push = large_open("shm://trim", THIRL_PUSH, "?pool=16M"), *pull = large_open("shm://trim", THIRL_PULL, "");
    CHECK(push != NULL && pull != NULL);
    struct pool *pool = &((struct work *)push->state)->out.pool;
    thirl_msg *msg;
    for (uint64_t n = 0; n < 8; n++) {
        size_t size = n < 4 ? MIB : MIB / 2;
        pool->lent = n == 4 ? POOL_TRIM : pool->lent; /* as after so many loans */
        CHECK(large_put(push, size, n, SOON) == 0 && large_take(pull, &msg, size, n));
        thirl_free(&msg);
    }
    CHECK(pool->lent < POOL_TRIM);
    CHECK(thirl_close(&push, SOON) >= 0);
    return thirl_close(&pull, SOON) < 0;
}

IN_A_CHILD(a_pool_is_trimmed)

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(a_pool_is_trimmed, member_clear)};
    return cmocka_run_group_tests_name("trim", tests, member_begin, room_end);
}
