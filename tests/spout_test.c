/* SPDX-License-Identifier: MIT
 *
 * What a sender believes of the page on which its receiver says how many it has: only what is said of this very end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/carried.h"
#include "tests/befall.h"

static uint64_t left(void) {
    uint64_t count = 77;
    (void)a->mech->flush(a->state, &count);
    return count;
}

static int do_what_is_said_of_another_is_not_of_this_one(void *nothing) {
    (void)nothing;
    char byte;
    char address[40];
    (void)snprintf(address, sizeof address, "mq://spout-%d", (int)getpid());
    CHECK(open_pair(address) == 0);
    for (int i = 0; i < 2; i++) CHECK(thirl_send(a, "x", 1, thirl_in_ms(5000)) == 0);
    CHECK(left() == 2);
    for (int i = 0; i < 2; i++) CHECK(thirl_recv(b, &byte, 1, NULL, thirl_in_ms(5000)) == 0);
    CHECK(left() == 0);
    struct duct_page *page = ((struct carried *)b->state)->as.duct.page;
    const struct duct_link from = page->from;
    page->from.number++; /* another end of this process */
    CHECK(left() == from.taken);
    page->from = from;
    page->from.node++; /* or of another one */
    CHECK(left() == from.taken);
    page->from = from;
    page->from.taken = UINT64_MAX; /* more than there were */
    CHECK(left() == 0);
    page->from = from;
    return close_both();
}
IN_A_CHILD(what_is_said_of_another_is_not_of_this_one)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_said_of_another_is_not_of_this_one, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
