/* SPDX-License-Identifier: MIT
 *
 * What locks have to know of the registry, where there is none to be had, and where there is one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "sync/party.h"
#include "tests/room.h"

static int count(void *context, const struct party_seen *seen) {
    *(unsigned *)context += seen->alive && seen->pid == getpid();
    return 0;
}

static int lodge(void *directory) {
    struct party_host host = {.id = 0};
    unsigned mine = 0;
    if (directory != NULL) {
        (void)setenv("THIRL_DIR", directory, 1);
        return party_lodge(&host) < 0 && host.id == 0 ? 0 : 1; /* nothing is filled in */
    }
    int rc = party_lodge(&host);
    return rc != 0                        ? 2
           : host.id == 0                 ? 3
           : host.each(count, &mine) != 0 ? 4
           : mine != 0                    ? 5
                                          : 0 /* nobody here waits */;
}

static void without_a_registry_there_is_no_lodging(void **state) {
    (void)state;
    assert_int_equal(room_run(lodge, (void *)(uintptr_t) "/dev/null/no/such/place"), 0);
    assert_int_equal(room_run(lodge, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(without_a_registry_there_is_no_lodging)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
