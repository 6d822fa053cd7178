/* SPDX-License-Identifier: MIT
 *
 * Random kills of who sends to a queue of thirl's, and of who receives: whoever is left gets on at once, nothing that was sent is lost, and what
 * comes a second time says so. mail_test COUNT: so many, over the queues of others as well, as a table; see queues.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/peer/mail.h"

#define KILLS 12

static void ours_survive(void **state) {
    (void)state;
    for (const struct mail *m = mail_ours; m->name != NULL; m++) {
        struct mail_tale tale;
        assert_int_equal(mail_run(m, KILLS, &tale), 0);
        print_message("%s: %u kills, %u of senders; %llu sent, %llu told again\n", m->name, tale.kills, tale.senders,
                      (unsigned long long)tale.sent, (unsigned long long)tale.told);
        assert_int_equal(tale.kills, KILLS);
        assert_true(tale.sent > 20 * KILLS);
        assert_int_equal(tale.lost, 0);
        assert_int_equal(tale.doubled, 0);
        assert_int_equal(tale.torn, 0);
        assert_int_equal(tale.left, 0);
    }
}

static int print_rows(const struct mail *m, unsigned kills) {
    for (; m != NULL && m->name != NULL; m++) {
        struct mail_tale t;
        if (mail_run(m, kills, &t) != 0) {
            (void)fprintf(stderr, "%s does not run here\n", m->name);
            return 1;
        }
        (void)printf("| %s | %u / %u | %u | %llu | %llu | %llu | %llu | %llu | %u |\n", m->name, t.senders,
                     t.kills - t.senders, t.stalls, (unsigned long long)t.sent, (unsigned long long)t.lost,
                     (unsigned long long)t.doubled, (unsigned long long)t.told, (unsigned long long)t.torn, t.left);
        (void)fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        unsigned kills = (unsigned)strtoul(argv[1], NULL, 10);
        (void)puts("| Queue | Kills of who sends / receives | Stalls | Sent | Lost | Doubled | Again, and said so | "
                   "Torn | Left behind |\n"
                   "|---|---|---|---|---|---|---|---|---|");
        return print_rows(mail_ours, kills) | print_rows(mail_kernels, kills) | print_rows(mail_boost, kills) |
               print_rows(mail_zmq, kills) | print_rows(mail_nng, kills);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(ours_survive)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
