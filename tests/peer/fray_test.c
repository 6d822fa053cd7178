/* SPDX-License-Identifier: MIT
 *
 * Random kills of those who hold, wait for and wake at thirl's locks: nobody is left stuck, nothing is lost, and whoever comes behind a
 * holder's death is told. fray_test COUNT: so many, on the locks of others as well, as a table; see locks.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/peer/rivals.h"
#include "tests/room.h"

#if defined(__SANITIZE_ADDRESS__)
#define KILLS 20
#else
#define KILLS 30
#endif

static void ours_survive(void **state) {
    (void)state;
    const struct fray_plan plan = {.kills = KILLS, .patience_ms = 15000};
    for (const struct rival *r = rivals_ours; r->name != NULL; r++) {
        struct fray f;
        assert_int_equal(fray_run(r, &plan, &f), 0);
        print_message("%s: %u kills, %u of holders, %u of who waits, %u of who wakes; told %u times\n", r->name,
                      f.kills, f.of[FRAY_HOLDING], f.of[FRAY_WAITING], f.of[FRAY_WAKING], f.told);
        assert_int_equal(f.kills, KILLS);
        assert_true(f.of[FRAY_HOLDING] + f.of[FRAY_WAITING] > KILLS / 3);
        assert_int_equal(f.stuck, 0);
        assert_int_equal(f.lost, 0);
        assert_int_equal(f.broken, 0);
        assert_in_range(f.told, f.of[FRAY_HOLDING], KILLS);
    }
}

/* The campaign does find what is lost: a permit of a POSIX semaphore does not outlive who had it. */
static void others_do_not(void **state) {
    (void)state;
    const struct fray_plan plan = {.kills = KILLS, .patience_ms = 1000, .until_harm = true};
    for (const struct rival *r = rivals_libc; r->name != NULL; r++) {
        struct fray f;
        if (strcmp(r->name, "POSIX semaphore") == 0) {
            assert_int_equal(fray_run(r, &plan, &f), 0);
            assert_true(f.lost + f.stuck != 0);
        }
    }
}

static int print_rows(const struct rival *r, unsigned kills) {
    const struct fray_plan plan = {.kills = kills, .patience_ms = 1000};
    for (; r != NULL && r->name != NULL; r++) {
        struct fray f;
        if (fray_run(r, &plan, &f) != 0) {
            (void)fprintf(stderr, "%s cannot be made here\n", r->name);
            return 1;
        }
        (void)printf("| %s | %u | %u / %u / %u | %u | %u | %u | %u |\n", r->name, f.kills, f.of[FRAY_HOLDING],
                     f.of[FRAY_WAITING], f.of[FRAY_WAKING], f.stuck, f.lost, f.told, f.broken);
        (void)fflush(stdout);
    }
    return 0;
}

static int print_table(unsigned kills) {
    (void)printf("| What | Kills | holding / waiting / waking | Survivors stuck | Lost | Told of a death | Broken |\n"
                 "|---|---|---|---|---|---|---|\n");
    int rc = room_begin(NULL);
    rc = rc != 0 ? rc : print_rows(rivals_ours, kills);
    rc = rc != 0 ? rc : print_rows(rivals_libc, kills);
    rc = rc != 0 ? rc : print_rows(rivals_boost, kills);
    return room_end(NULL) != 0 || rc != 0;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        return print_table((unsigned)strtoul(argv[1], NULL, 10));
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(ours_survive), cmocka_unit_test(others_do_not)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
