/* SPDX-License-Identifier: MIT
 *
 * Events over a pair that answers what it is told, and the table in which they wait for room.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/knell.h"
#include "tests/famine.h"
#include "tests/puppet.h"
#include "tests/room.h"

static int open_slot(void *self, const struct mech_open *open) {
    return knell_open(self, open, &puppet_mech);
}

static struct mech events = {.open = open_slot, .close = knell_close, .deinit = knell_deinit};
static uint32_t event;
static size_t size, done;

static int is_new(void **state) {
    (void)state;
    puppet_new();
    events.state_size = KNELL_ROOM + puppet_mech.state_size;
    return 0;
}

/* An end with room for so many events, of a notifier whom a watcher has met, or of the watcher. */
static void *have(enum thirl_role role) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    void *self = puppet_open(&events, role, "puppet://x", &options, &rc);
    assert_int_equal(rc, 0);
    puppet_line.state = NODE_END_LINKED;
    PUPPET_SAYS(0);
    return self;
}

static int tell(void *self, uint32_t number, int answer) {
    PUPPET_SAYS(answer, answer);
    return knell_send(self, &number, sizeof number, &done, false);
}

static void an_event_that_is_half_on_its_way_is_sent(void **state) {
    void *self = have(THIRL_NOTIFY);
    uint64_t left;
    (void)state;
    puppet.went = 5;
    PUPPET_SAYS(-EAGAIN, 0);
    event = 7;
    assert_int_equal(knell_send(self, &event, sizeof event, &done, false), 0);
    assert_true(puppet.tries == 2 && puppet.settled == 7 && done == sizeof event);
    assert_int_equal(knell_flush(self, &left), 0);
    assert_int_equal(left, 0);
    puppet_close(&events, self);
}

static void without_a_watcher_nothing_is_counted(void **state) {
    void *self = have(THIRL_NOTIFY);
    (void)state;
    puppet_line.state = NODE_END_WAITING;
    assert_int_equal(tell(self, 7, -EAGAIN), -EAGAIN);
    assert_int_equal(done, 0);
    assert_false(knell_ready(self, MECH_OUT));
    puppet_line.state = NODE_END_LINKED;
    assert_int_equal(tell(self, 7, -EAGAIN), 0);
    puppet_line.state = NODE_END_WAITING; /* it has gone, and what waits waits for the next one */
    PUPPET_SAYS(-EAGAIN, -EAGAIN, -EAGAIN);
    assert_false(knell_ready(self, MECH_OUT));
    assert_int_equal(knell_look(self, MECH_OUT), -EAGAIN);
    puppet_close(&events, self);
}

/* There is room for an event where the pair has some, or the table. */
static void the_table_has_room_until_it_is_full(void **state) {
    void *self = have(THIRL_NOTIFY);
    uint64_t left = 0;
    (void)state;
    for (uint32_t i = 0; i < TOLL_MIN; i++) {
        assert_int_equal(tell(self, i, -EAGAIN), 0);
        PUPPET_SAYS(-EAGAIN, -EAGAIN, -EAGAIN);
        assert_int_equal(knell_ready(self, MECH_OUT), i + 1 < TOLL_MIN);
        assert_int_equal(knell_look(self, MECH_OUT), i + 1 < TOLL_MIN ? 0 : -EAGAIN);
    }
    assert_int_equal(tell(self, 1000, -EAGAIN), -EAGAIN);
    assert_int_equal(tell(self, 3, -EAGAIN), 0); /* which is there already */
    PUPPET_SAYS(-EAGAIN);
    assert_int_equal(knell_flush(self, &left), -EAGAIN);
    assert_int_equal(left, TOLL_MIN + 1);
    puppet.ready = true; /* other ways are the pair's own business */
    assert_true(knell_ready(self, MECH_IN));
    PUPPET_SAYS(-EPIPE);
    assert_int_equal(knell_look(self, MECH_IN), -EPIPE);
    PUPPET_SAYS(0);
    assert_true(knell_ready(self, MECH_OUT));
    assert_int_equal(puppet.tries, TOLL_MIN);
    assert_int_equal(knell_flush(self, &left), 0);
    assert_int_equal(left, 0);
    puppet_close(&events, self);
}

static void whoever_is_gone_needs_none_of_it(void **state) {
    void *self = have(THIRL_NOTIFY);
    uint64_t left = 0;
    (void)state;
    assert_int_equal(tell(self, 7, -EAGAIN), 0);
    PUPPET_SAYS(-THIRL_EPEERDIED);
    assert_true(knell_ready(self, MECH_OUT)); /* a try says so */
    assert_int_equal(knell_flush(self, &left), 0);
    assert_int_equal(left, 0);
    puppet_close(&events, self);
}

static void what_is_no_event_is_passed_over(void **state) {
    static const struct {
        int answer;
        size_t size, capacity;
        unsigned char byte;
        int code;
        const char *why;
    } cases[] = {{0, 12, 4, 0, -EBADMSG, "an event that is none"},    /* told 0 times */
                 {0, 12, 4, 0xff, -EBADMSG, "an event that is none"}, /* the top bit */
                 {0, 11, 4, 1, -EBADMSG, "a message that is no event"},
                 {0, 13, 4, 1, -EBADMSG, "to a watcher nobody sends any"},
                 {0, 12, 3, 1, -EMSGSIZE, ""}, /* the buffer is too small, and the event stays */
                 {-THIRL_EPEERDIED, 12, 4, 1, -THIRL_EPEERDIED, ""},
                 {0, 12, 4, 1, 0, ""}};
    void *self = have(THIRL_WATCH);
    uint64_t left;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before = puppet_line.in.refused;
        puppet.size = cases[i].size;
        puppet.byte = cases[i].byte;
        PUPPET_SAYS(cases[i].answer);
        assert_int_equal(knell_recv(self, &event, cases[i].capacity, &size, false), cases[i].code);
        assert_true(cases[i].code == 0 || strstr(thirl_why(), cases[i].why) != NULL);
        assert_int_equal(puppet_line.in.refused, before + (cases[i].code == -EBADMSG));
        assert_int_equal(size, sizeof event);
    }
    assert_int_equal(event, 0x01010101);
    assert_int_equal(knell_flush(self, &left), 0); /* a watcher has nothing to push */
    puppet_close(&events, self);
}

/* ---- the table ---- */

static void has_places_for_a_part_of_the_queue(void **state) {
    static const struct {
        uint64_t queue;
        uint32_t places;
    } cases[] = {{0, TOLL_MIN},
                 {(uint64_t)TOLL_MIN * 2 * TOLL_SHARE - 1, TOLL_MIN},
                 {(uint64_t)TOLL_MIN * 2 * TOLL_SHARE, TOLL_MIN * 2},
                 {UINT64_MAX, TOLL_MAX}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(toll_places(cases[i].queue), cases[i].places);
    }
}

static void without_memory_there_is_no_room(void **state) {
    struct toll toll = {.places = TOLL_MIN};
    (void)state;
    if (!famine_begin()) {
        skip();
    }
    bool takes = toll_takes(&toll, 5);
    famine_end();
    assert_false(takes);
    assert_true(toll_takes(&toll, 5));
    toll_free(&toll);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int have_half(void *nothing) {
    struct toll toll = {.places = TOLL_MAX};
    struct rlimit usual, less;
    unsigned long pages = 0;
    (void)nothing;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1 || fclose(file) != 0 || getrlimit(RLIMIT_AS, &usual) != 0) {
        return 1;
    }
    less = usual;
    less.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + (size_t)TOLL_MAX * 16 + 65536; /* the events, and no more */
    if (setrlimit(RLIMIT_AS, &less) != 0 || toll_takes(&toll, 5) || toll.place != NULL || toll.head != NULL) {
        return 2;
    }
    if (setrlimit(RLIMIT_AS, &usual) != 0 || !toll_takes(&toll, 5)) {
        return 3;
    }
    toll_free(&toll);
    return 0;
}

static void with_memory_for_half_of_it_there_is_none(void **state) {
    (void)state;
    assert_int_equal(room_run(have_half, NULL), 0);
}
#endif

static void an_event_stays_until_all_its_times_are_taken(void **state) {
    struct toll toll = {.places = TOLL_MIN};
    uint64_t times;
    (void)state;
    assert_true(toll_takes(&toll, 5));
    toll_add(&toll, 5, 10);
    assert_true(toll_takes(&toll, 6));
    toll_add(&toll, 6, 1);
    toll_take(&toll, 4);
    assert_int_equal(toll_see(&toll, &times), 5);
    assert_int_equal(times, 6);
    toll_add(&toll, 5, 1);
    assert_int_equal(toll_sum(&toll), 8);
    toll_take(&toll, 7);
    assert_int_equal(toll_see(&toll, &times), 6);
    toll_take(&toll, 1);
    assert_false(toll_any(&toll));
    toll_free(&toll);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, is_new)
    const struct CMUnitTest tests[] = {
        TEST(an_event_that_is_half_on_its_way_is_sent),
        TEST(without_a_watcher_nothing_is_counted),
        TEST(the_table_has_room_until_it_is_full),
        TEST(whoever_is_gone_needs_none_of_it),
        TEST(what_is_no_event_is_passed_over),
        TEST(has_places_for_a_part_of_the_queue),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        TEST(with_memory_for_half_of_it_there_is_none),
#endif
        TEST(without_memory_there_is_no_room),
        TEST(an_event_stays_until_all_its_times_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
