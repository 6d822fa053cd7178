/* SPDX-License-Identifier: MIT
 *
 * What mechanisms cost, as it is read and asked; and which one is advised, and why not the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "include/thirl/advise.h"
#include "mech/costs.h"
#include "tests/famine.h"
#include "tests/quota.h"
#include "tests/room.h"

#define HEAD "thirl-costs 1\n"

static char path[160];

/* Makes the file of costs say that, and nothing else decide. */
static void say_costs(const char *text) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("THIRL_COSTS", path, 1), 0);
}

/* ---- costs ---- */

static void between_what_was_measured(void **state) {
    static const char text[] =
        HEAD "machine cpu A processor\nmachine when 2026-11-29T10:00:00Z\nsomething else entirely\n"
             "cost unix rtt 4096 adaptive copy 3000 9000 0 0 500 4000 0\n"
             "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n"
             "cost unix oneway 64 adaptive copy 0 0 0 1000000 300 -1 0\n"
             "cost unix oneway 128 adaptive copy 0 0 0 500000 300 -1 0\n"
             "cost dove rtt 64 adaptive copy 1 1 1 1 1 1 1\n"
             "cost unix rtt 64 tired copy 1 1 1 1 1 1 1\n"
             "cost unix rtt -64 adaptive copy 1 1 1 1 1 1 1\n"
             "cost unix rtt 64 adaptive copy 1 1 1\n"
             "cost unix hop 64 adaptive copy 1 1 1 1 1 1 1\ncost unix rtt 64 adaptive pigeon 1 1 1 1 1 1 1\n"
             "cost unix rtt 64 adaptive copy x 1 1 1 1 1 1\ncost unix rtt 64 adaptive copy 1 - 1 1 1 1 1\n"
             "cost unix rtt 64 adaptive copy 1 1 1 1x 1 1 1\ncost unix rtt /4 adaptive copy 1 1 1 1 1 1 1\n";
    struct costs costs;
    struct costs_figure figure;
    (void)state;
    assert_int_equal(costs_read(&costs, text, sizeof text - 1, "text"), 0);
    assert_int_equal(costs.count, 4);
    assert_non_null(strstr(costs.about, "2026-11-29T10:00:00Z on A processor"));
    static const struct {
        uint64_t size;
        double p50;
    } sizes[] = {{1, 1000}, {64, 1000}, {2080, 2000}, {4096, 3000}, {8128, 5000}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_ADAPTIVE, false, sizes[i].size, &figure);
        assert_true(figure.known);
        assert_true(fabs(figure.p50 - sizes[i].p50) < 1);
        assert_true(figure.p99 > figure.p50 && figure.cpu >= 100);
    }
    costs_find(&costs, COSTS_UNIX, COSTS_ONEWAY, THIRL_WAIT_ADAPTIVE, false, 96, &figure);
    assert_true(figure.known && fabs(figure.per_second - 1e9 / 1500) < 1); /* times lie between, not rates */
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_ADAPTIVE, false, 17 * 4096, &figure);
    assert_false(figure.known);
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_SPIN, false, 64, &figure);
    assert_false(figure.known);
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_ADAPTIVE, true, 64, &figure);
    assert_false(figure.known);
    costs_find(&costs, COSTS_TCP, COSTS_RTT, THIRL_WAIT_ADAPTIVE, false, 64, &figure);
    assert_false(figure.known);
    costs_free(&costs);
}

/* What a file says of its machine is shown on terminals. */
static void what_the_machine_says_is_plain(void **state) {
    static const char text[] = HEAD "machine cpu A\tpro\033[1mces\177sor\xc3\xa9\nmachine cpus 4\nmachine whenever\n"
                                    "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n";
    struct costs costs;
    (void)state;
    assert_int_equal(costs_read(&costs, text, sizeof text - 1, "text"), 0);
    assert_string_equal(costs.about, "measured on A?pro?[1mces?sor\xc3\xa9");
    costs_free(&costs);
}

/* More lines than there was room for at first, and some of them twice, or with nothing to say. */
static void many_lines_are_kept(void **state) {
    static char text[64 * 800];
    struct costs costs;
    struct costs_figure figure;
    int used = snprintf(text, sizeof text, HEAD);
    (void)state;
    for (int i = 0; i < 700; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, "cost %s rtt 64 spin copy %d 9 9 0 1 1 1\n",
                         i % 2 == 0 ? "unix" : "tcp", i % 2 == 0 ? 500 : 0);
    }
    assert_int_equal(costs_read(&costs, text, (size_t)used, "text"), 0);
    assert_int_equal(costs.count, 700);
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_SPIN, false, 100, &figure);
    assert_true(figure.known && fabs(figure.p50 - 500) < 1);
    costs_find(&costs, COSTS_TCP, COSTS_RTT, THIRL_WAIT_SPIN, false, 100, &figure);
    assert_false(figure.known); /* neither how long nor how many */
    costs_free(&costs);
}

static void refuses_what_is_none(void **state) {
    static const struct {
        const char *text;
        int code;
        const char *why;
    } bad[] = {{"", -THIRL_EFORMAT, "no line"},
               {"hello\n", -THIRL_EFORMAT, "does not begin"},
               {"thirl-costs 2\ncost shm rtt 8 spin copy 1 1 1 1 1 1 1\n", -THIRL_EVERSION, "format 2"},
               {"thirl-costs 1x\n", -THIRL_EVERSION, "format 1x"},
               {HEAD, -THIRL_EFORMAT, "no line"},
               {HEAD "cost shm rtt 8 spin copy 1 99999999999999999999 1 1 1 1 1\n", -THIRL_EFORMAT, "no line"}};
    struct costs costs;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(costs_read(&costs, bad[i].text, strlen(bad[i].text), "the text"), bad[i].code);
        assert_non_null(strstr(thirl_why(), bad[i].why));
        assert_non_null(strstr(thirl_why(), "the text"));
    }
    char *longest = malloc(100000);
    assert_non_null(longest);
    memset(longest, 'x', 100000);
    assert_int_equal(costs_read(&costs, longest, 100000, "it"), -THIRL_EFORMAT);
    memcpy(longest, HEAD "cost shm rtt 8 spin copy 1 1 1 1 1 1 1 \n", 54);
    assert_int_equal(costs_read(&costs, longest, 100000, "it"), 0); /* what is behind is a line too long */
    assert_int_equal(costs.count, 1);
    costs_free(&costs);
    free(longest);
}

static void finds_its_file(void **state) {
    static const char good[] = HEAD "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n";
    struct costs costs;
    char other[200];
    (void)state;
    say_costs(good);
    assert_int_equal(costs_open(&costs), 0);
    assert_true(costs.here && costs.count == 1);
    assert_non_null(strstr(costs.about, path));
    costs_free(&costs);
    assert_int_equal(unsetenv("THIRL_COSTS"), 0);
    (void)snprintf(other, sizeof other, "%s/thirl", room_path);
    assert_true(mkdir(other, 0700) == 0 || errno == EEXIST);
    (void)snprintf(other, sizeof other, "%s/thirl/costs", room_path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", room_path, 1), 0);
    assert_int_equal(costs_open(&costs), 0);
    assert_true(costs.here);
    costs_free(&costs);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(costs_open(&costs), 0); /* nobody has measured */
    assert_false(costs.here);
    assert_true(costs.count > 20);
    assert_non_null(strstr(costs.about, "not measured here"));
    costs_free(&costs);
    say_costs("thirl-costs 9\n");
    assert_int_equal(costs_open(&costs), 0);
    assert_false(costs.here);
    assert_non_null(strstr(costs.about, "format 9"));
    costs_free(&costs);
    assert_int_equal(setenv("THIRL_COSTS", room_path, 1), 0);
    assert_int_equal(costs_open(&costs), 0);
    assert_non_null(strstr(costs.about, "no plain file"));
    costs_free(&costs);
}

static void is_not_measured(const char *why) {
    struct costs costs;
    assert_int_equal(costs_open(&costs), 0);
    if (costs.here || strstr(costs.about, why) == NULL) {
        fail_msg("%s: %s", why, costs.about);
    }
    costs_free(&costs);
}

/* Where no file is meant, or it cannot be read, what is usual stands for it, and it is said why. */
static void what_is_usual_stands_for_it(void **state) {
    char *long_path = malloc(5000);
    char other[200];
    (void)state;
    assert_non_null(long_path);
    memset(long_path, 'x', 4999);
    long_path[4999] = '\0';
    assert_int_equal(setenv("THIRL_COSTS", long_path, 1), 0);
    is_not_measured("not measured here, but");
    free(long_path);
    (void)snprintf(other, sizeof other, "%s/loop", room_path);
    assert_int_equal(symlink("loop", other), 0);
    assert_int_equal(setenv("THIRL_COSTS", other, 1), 0);
    is_not_measured("cannot be opened");
    say_costs(HEAD "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n");
    (void)snprintf(other, sizeof other, "%s/below", path);
    assert_int_equal(setenv("THIRL_COSTS", other, 1), 0);
    is_not_measured("not measured here, but");
    assert_int_equal(setenv("THIRL_COSTS", path, 1), 0);
    assert_int_equal(truncate(path, (4 << 20) + 1), 0);
    is_not_measured("is larger than 4 MiB");
    assert_int_equal(setenv("THIRL_COSTS", "", 1), 0); /* as if it were not there */
    is_not_measured("not measured here, but");
}

static void without_memory_nothing_is_advised(void **state) {
    struct costs costs = {.count = 0};
    (void)state;
    say_costs(HEAD "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n");
    for (int usual = 0; usual < 2; usual++) { /* neither by this machine's file nor by what was shipped */
        assert_int_equal(setenv("THIRL_COSTS", usual ? "/no/such/file" : path, 1), 0);
        if (!famine_begin()) {
            skip();
        }
        int rc = costs_open(&costs);
        famine_end();
        assert_int_equal(rc, -ENOMEM);
        assert_non_null(strstr(thirl_why(), usual ? "no memory for the costs of mechanisms" : path));
        assert_true(costs.line == NULL && costs.count == 0);
    }
    assert_int_equal(setenv("THIRL_COSTS", path, 1), 0);
}

/* Beyond what was measured figures go on as they went, but never below the lower of both; what one of both has not is not known. */
static void no_figure_falls_below_what_was_measured(void **state) {
    struct costs costs = {.count = 0};
    struct costs_figure figure;
    static const char text[] = HEAD "cost unix rtt 64 adaptive copy 1000 0 9000 0 100 4000 900\n"
                                    "cost unix rtt 128 adaptive copy 900 5500 9000 0 0 4000 900\n";
    (void)state;
    assert_int_equal(costs_read(&costs, text, strlen(text), "a text"), 0);
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_ADAPTIVE, false, 256, &figure);
    assert_true(figure.known && figure.p50 == 700 && figure.p99 == 0 && figure.cpu == 0);
    costs_find(&costs, COSTS_UNIX, COSTS_RTT, THIRL_WAIT_ADAPTIVE, false, 1024, &figure);
    assert_true(figure.known && figure.p50 == 900 && figure.p99 == 0 && figure.cpu == 0);
    costs_free(&costs);
}

static void looks_in_the_home_directory(void **state) {
    const char *known = getenv("HOME");
    char *home = known == NULL ? NULL : strdup(known);
    struct costs costs;
    char other[220];
    (void)state;
    say_costs(HEAD "cost unix rtt 64 adaptive copy 1000 5000 9000 0 100 4000 900\n");
    assert_int_equal(unsetenv("THIRL_COSTS"), 0);
    (void)snprintf(other, sizeof other, "%s/.cache", room_path);
    assert_true(mkdir(other, 0700) == 0 || errno == EEXIST);
    (void)snprintf(other, sizeof other, "%s/.cache/thirl", room_path);
    assert_true(mkdir(other, 0700) == 0 || errno == EEXIST);
    (void)snprintf(other, sizeof other, "%s/.cache/thirl/costs", room_path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(setenv("HOME", room_path, 1), 0);
    for (int relative = 0; relative < 2; relative++) { /* a cache that is no path is no cache */
        assert_int_equal(costs_open(&costs), 0);
        assert_true(costs.here && strstr(costs.about, other) != NULL);
        costs_free(&costs);
        assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0);
    }
    assert_int_equal(setenv("HOME", "relative", 1), 0);
    is_not_measured("not measured here, but");
    assert_int_equal(unsetenv("HOME"), 0);
    is_not_measured("not measured here, but");
    assert_int_equal(unlink(other), 0);
    if (home != NULL) {
        assert_int_equal(setenv("HOME", home, 1), 0);
    }
    free(home);
}

/* ---- advice ---- */

struct list {
    struct thirl_choice choice[COSTS_MECH_COUNT];
    char reason[COSTS_MECH_COUNT][320], address[COSTS_MECH_COUNT][320];
    size_t count;
};

static int keep(void *context, const struct thirl_choice *choice) {
    struct list *list = context;
    list->choice[list->count] = *choice;
    (void)snprintf(list->reason[list->count], 320, "%s", choice->reason);
    (void)snprintf(list->address[list->count], 320, "%s", choice->address);
    list->count++;
    return 0;
}

static size_t place_of(const struct list *list, const char *mechanism) {
    size_t i = 0;
    while (i < list->count && strcmp(list->choice[i].mechanism, mechanism) != 0) {
        i++;
    }
    assert_true(i < list->count);
    return i;
}

static void each_has_its_reason(void **state) {
    static const struct {
        struct thirl_wish wish;
        const char *mechanism, *reason;
    } cases[] = {
        {{.across = THIRL_ACROSS_HOSTS}, "shm", "another host"},
        {{.across = THIRL_ACROSS_HOSTS}, "unix", "another host"},
        {{.across = THIRL_ACROSS_CONTAINERS, .trust = 1}, "mq", "IPC namespace"},
        {{.across = THIRL_ACROSS_USERS, .trust = 1, .role = THIRL_WATCH}, "sig", "same user"},
        {{.across = THIRL_ACROSS_USERS}, "shm", "trust"},
        {{.across = THIRL_ACROSS_USERS}, "fifo", "trust"},
        {{.bytes = 1 << 20}, "seqpacket", "largest message"},
        {{.bytes = 64, .largest = 1 << 20}, "seqpacket", "1 MiB are wanted"},
        {{.bytes = 64, .role = THIRL_NOTIFY}, "shm", "largest message"},
        {{.role = THIRL_CALL, .receivers = 3}, "unix", "at most 1 server, and 3 are wanted"},
        {{.role = THIRL_PUB, .senders = 2}, "tcp", "at most 1 publisher, and 2 are wanted"},
        {{.role = THIRL_PUB}, "mq", "does not carry the role pub"},
        {{.role = THIRL_PUSH}, "udp", "may lose"},
        {{.descriptors = 1}, "shm", "descriptors"},
        {{.role = THIRL_PUSH, .levels = 8}, "shm", "no priorities"},
        {{.role = THIRL_PULL, .kept = 1}, "unix", "keeps no messages"},
        {{.role = THIRL_PAIR}, "pipe", "child"},
        {{.rate = 1000000000}, "unix", "a second, and 1e+03 million are wanted"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct list list = {.count = 0};
        struct thirl_wish wish = cases[i].wish;
        wish.size = sizeof wish;
        assert_int_equal(thirl_advise(&wish, keep, &list), 0);
        assert_int_equal(list.count, COSTS_MECH_COUNT);
        size_t at = place_of(&list, cases[i].mechanism);
        if (list.choice[at].place != 0 || strstr(list.reason[at], cases[i].reason) == NULL) {
            fail_msg("case %zu: %s has place %u: %s", i, cases[i].mechanism, list.choice[at].place, list.reason[at]);
        }
    }
}

static void what_fits_is_no_reason(void **state) {
    static const struct {
        struct thirl_wish wish;
        const char *mechanism, *piece; /* of its address */
        bool fits;
    } cases[] = {{{.child = 1}, "pipe", "pipe://", true},
                 {{.role = THIRL_PUSH, .lossy = 1}, "udp", "udp://", true},
                 {{.role = THIRL_PUSH, .kept = 1}, "shm", "shm://", true},
                 {{.role = THIRL_PUSH, .kept = 1}, "mq", "mq://", true},
                 {{.role = THIRL_PUSH, .kept = 1}, "tcp", "", false},
                 {{.role = THIRL_PAIR, .kept = 1}, "mq", "", false},
                 {{.role = THIRL_PUSH, .levels = 8}, "mq", "mq://", true},
                 {{.role = THIRL_PUSH, .levels = 1 << 20}, "mq", "", false},
                 {{.largest = 100 << 20}, "shm", "pool=419430400&max=104857600", true},
                 {{.largest = 100 << 20}, "unix", "?max=104857600", true},
                 {{.largest = UINT64_MAX}, "unix", "", false},
                 {{.largest = UINT64_MAX, .role = THIRL_WRITE}, "tcp", "tcp://", true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct list list = {.count = 0};
        struct thirl_wish wish = cases[i].wish;
        wish.size = sizeof wish;
        assert_int_equal(thirl_advise(&wish, keep, &list), 0);
        size_t at = place_of(&list, cases[i].mechanism);
        if ((list.choice[at].place != 0) != cases[i].fits || strstr(list.address[at], cases[i].piece) == NULL) {
            fail_msg("case %zu: %s has place %u: %s", i, list.address[at], list.choice[at].place, list.reason[at]);
        }
    }
}

/* What was measured of one pattern, or of one way, stands for others that were not, as far as it can. */
static void figures_stand_for_others(void **state) {
    static const char text[] = HEAD
        "cost unix oneway 64 adaptive copy 0 0 0 1000000 10 30 0\ncost shm oneway 64 adaptive copy 0 0 0 2000000 10 30 "
        "0\n"
        "cost udp oneway 64 adaptive copy 0 0 0 500000 10 30 0\ncost tcp rtt 64 adaptive copy 0 0 0 70 10 30 0\n"
        "cost mq oneway 64 adaptive copy 700 900 0 300000 10 30 0\ncost mq rtt 64 adaptive copy 9000 9000 0 0 10 30 0\n"
        "cost mq fanin 64 adaptive copy 0 0 0 250000 10 30 0\ncost mq fanout 64 adaptive copy 0 0 0 200000 10 30 0\n"
        "cost shm rtt 64 adaptive place 0 0 0 5 10 30 0\n";
    static const struct {
        struct thirl_wish wish;
        const char *mechanism;
        uint64_t per_second;
        int64_t p50;
        bool in_place;
    } cases[] = {{{.role = THIRL_PUB, .receivers = 4}, "unix", 250000, 0, false}, /* it sends to each */
                 {{.role = THIRL_PUB, .receivers = 4}, "shm", 2000000, 0, false},
                 {{.role = THIRL_PUB, .receivers = 4, .lossy = 1}, "udp", 500000, 0, false},
                 {{.role = THIRL_PUSH}, "mq", 300000, 700, false},
                 {{.role = THIRL_PUSH, .senders = 3}, "mq", 250000, 4500, false},
                 {{.role = THIRL_PUSH, .senders = 3, .receivers = 3}, "mq", 250000, 4500, false},
                 {{.role = THIRL_PUSH, .receivers = 3}, "mq", 200000, 4500, false},
                 {{.role = THIRL_PAIR}, "tcp", 0, 0, false},
                 {{.role = THIRL_PAIR}, "mq", 300000, 9000, false},
                 {{.role = THIRL_PAIR}, "shm", 2000000, 0, false}};
    (void)state;
    say_costs(text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct list list = {.count = 0};
        struct thirl_wish wish = cases[i].wish;
        wish.size = sizeof wish;
        assert_int_equal(thirl_advise(&wish, keep, &list), 0);
        const struct thirl_choice *choice = &list.choice[place_of(&list, cases[i].mechanism)];
        if (choice->per_second != cases[i].per_second || choice->p50_ns != cases[i].p50 ||
            choice->in_place != cases[i].in_place) {
            fail_msg("case %zu: %s: %lu a second, %ld ns%s", i, cases[i].mechanism, (unsigned long)choice->per_second,
                     (long)choice->p50_ns, choice->in_place ? ", in place" : "");
        }
    }
    say_costs(HEAD "cost shm rtt 64 adaptive place 600 900 0 0 900 0 0\n");
    struct list list = {.count = 0};
    struct thirl_wish wish = THIRL_WISH;
    wish.child = 1;
    assert_int_equal(thirl_advise(&wish, keep, &list), 0);
    assert_string_equal(list.choice[0].mechanism, "shm"); /* the only one of which anything is known */
    assert_true(list.choice[0].in_place);
    assert_true(place_of(&list, "unix") < place_of(&list, "pipe")); /* of the others: what asks for less, */
    assert_true(place_of(&list, "pipe") < place_of(&list, "fifo"));
    assert_true(place_of(&list, "fifo") < place_of(&list, "tcp"));
}

static void order_is_that_of_the_priority(void **state) {
    static const char text[] = HEAD
        "cost shm rtt 64 sleep copy 9000 9000 0 0 900 0 0\ncost unix rtt 64 sleep copy 5000 9000 0 0 700 0 0\n"
        "cost tcp rtt 64 adaptive copy 6000 9000 0 0 100 0 0\ncost tcp oneway 64 adaptive copy 0 0 0 9000000 50 0 0\n"
        "cost shm rtt 64 adaptive copy 700 900 0 0 900 0 0\ncost shm oneway 64 adaptive copy 0 0 0 1000000 900 0 0\n"
        "cost unix oneway 64 adaptive copy 0 0 0 500000 700 0 0\ncost shm rtt 64 adaptive place 600 900 0 0 900 0 0\n";
    static const struct {
        struct thirl_wish wish;
        const char *first;
        bool in_place;
    } cases[] = {{{.priority = THIRL_PRIORITY_LATENCY}, "shm", true},
                 {{.role = THIRL_CALL}, "shm", false},
                 {{.priority = THIRL_PRIORITY_THROUGHPUT}, "tcp", false},
                 {{.priority = THIRL_PRIORITY_CPU}, "tcp", false},
                 {{.priority = THIRL_PRIORITY_SIMPLICITY}, "shm", false},
                 {{.wait = THIRL_WAIT_SLEEP}, "unix", false},
                 {{.rate = 100}, "unix", false}, /* so seldom that it sleeps in between */
                 {{.rate = 100000}, "shm", true},
                 {{.rate = 700000, .across = THIRL_ACROSS_USERS, .lossy = 1, .trust = 1}, "shm", true}};
    (void)state;
    say_costs(text);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct list list = {.count = 0};
        struct thirl_wish wish = cases[i].wish;
        wish.size = sizeof wish;
        assert_int_equal(thirl_advise(&wish, keep, &list), 0);
        if (strcmp(list.choice[0].mechanism, cases[i].first) != 0 || list.choice[0].in_place != cases[i].in_place) {
            fail_msg("case %zu: %s is first%s: %s", i, list.choice[0].mechanism,
                     list.choice[0].in_place ? ", in place" : "", list.reason[0]);
        }
        assert_true(list.choice[0].place == 1 && list.choice[0].here == 1);
        for (size_t k = 1; k < list.count; k++) { /* places count up, and those who lost come last */
            assert_true(list.choice[k].place == 0 || list.choice[k].place == list.choice[k - 1].place + 1);
            assert_true(list.reason[k][0] != '\0');
        }
    }
}

static void a_wish_may_be_wrong(void **state) {
    struct list list = {.count = 0};
    struct {
        struct thirl_wish wish;
        uint64_t more;
    } later = {.wish = THIRL_WISH};
    struct thirl_wish wish = THIRL_WISH;
    (void)state;
    assert_int_equal(thirl_advise(NULL, keep, &list), -EINVAL);
    assert_int_equal(thirl_advise(&wish, NULL, &list), -EINVAL);
    wish.role = 12;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    wish = THIRL_WISH;
    wish.across = 4;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    wish = THIRL_WISH;
    wish.size = 3;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    assert_non_null(strstr(thirl_why(), "THIRL_WISH"));
    wish.size = 65537;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    wish = THIRL_WISH;
    wish.priority = THIRL_PRIORITY_SIMPLICITY + 1;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    wish = THIRL_WISH;
    wish.wait = THIRL_WAIT_SLEEP + 1;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    wish = THIRL_WISH;
    wish.child = 1;
    wish.across = THIRL_ACROSS_HOSTS;
    assert_int_equal(thirl_advise(&wish, keep, &list), -EINVAL);
    assert_non_null(strstr(thirl_why(), "a child is never on another host"));
    later.wish.size = sizeof later;
    assert_int_equal(thirl_advise(&later.wish, keep, &list), 0);
    list.count = 0;
    later.more = 1;
    assert_int_equal(thirl_advise(&later.wish, keep, &list), -THIRL_EVERSION);
    assert_int_equal(list.count, 0);
}

static int stop(void *context, const struct thirl_choice *choice) {
    (void)choice;
    return ++*(int *)context == 3 ? 77 : 0;
}

static void it_ends_when_told(void **state) {
    struct thirl_wish wish = THIRL_WISH;
    int seen = 0;
    (void)state;
    assert_int_equal(thirl_advise(&wish, stop, &seen), 77);
    assert_int_equal(seen, 3);
}

/* What is advised works as it stands: both ends, of each role, over each that can do it and needs nobody's child or pid. */
static void addresses_can_be_opened(void **state) {
    static const uint32_t roles[][2] = {{THIRL_PAIR, THIRL_PAIR},  {THIRL_WRITE, THIRL_READ},
                                        {THIRL_PUSH, THIRL_PULL},  {THIRL_PUB, THIRL_SUB},
                                        {THIRL_CALL, THIRL_SERVE}, {THIRL_NOTIFY, THIRL_WATCH}};
    char name[40];
    unsigned opened = 0;
    (void)state;
    (void)snprintf(name, sizeof name, "advise-%d", (int)getpid());
    int quota = quota_take(false);
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        for (uint32_t across = THIRL_ACROSS_USER; across <= THIRL_ACROSS_CONTAINERS; across++) {
            struct list list = {.count = 0};
            struct thirl_wish wish = THIRL_WISH;
            wish.role = roles[i][0];
            wish.across = across;
            wish.trust = 1;
            wish.name = name;
            assert_int_equal(thirl_advise(&wish, keep, &list), 0);
            for (size_t k = 0; k < list.count && list.choice[k].place != 0; k++) {
                const char *mechanism = list.choice[k].mechanism;
                thirl *ends[2] = {NULL, NULL};
                if (strcmp(mechanism, "sig") == 0 || strcmp(mechanism, "tcp") == 0 || strcmp(mechanism, "udp") == 0) {
                    continue;
                }
                for (int end = 1; end >= 0; end--) {
                    int rc = thirl_open(&ends[end], (enum thirl_role)roles[i][end], list.address[k], NULL);
                    if (rc != 0) {
                        fail_msg("%s: %d: %s", list.address[k], rc, thirl_why());
                    }
                    opened++;
                }
                (void)!thirl_close(&ends[0], THIRL_NOW);
                (void)!thirl_close(&ends[1], THIRL_NOW);
            }
        }
    }
    fd_close(&quota);
    assert_true(opened >= 60);
}

static int set_up(void **state) {
    int rc = room_begin(state);
    (void)snprintf(path, sizeof path, "%s/costs.of.a.test", room_path);
    return rc;
}

static int alone(void **state) {
    (void)state;
    return setenv("THIRL_COSTS", "/nowhere", 1) | unsetenv("XDG_CACHE_HOME");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, alone)
    const struct CMUnitTest tests[] = {
        TEST(between_what_was_measured),
        TEST(what_the_machine_says_is_plain),
        TEST(many_lines_are_kept),
        TEST(refuses_what_is_none),
        TEST(finds_its_file),
        TEST(what_is_usual_stands_for_it),
        TEST(without_memory_nothing_is_advised),
        TEST(no_figure_falls_below_what_was_measured),
        TEST(looks_in_the_home_directory),
        TEST(each_has_its_reason),
        TEST(what_fits_is_no_reason),
        TEST(figures_stand_for_others),
        TEST(order_is_that_of_the_priority),
        TEST(a_wish_may_be_wrong),
        TEST(it_ends_when_told),
        TEST(addresses_can_be_opened),
    };
    return cmocka_run_group_tests(tests, set_up, room_end);
}
