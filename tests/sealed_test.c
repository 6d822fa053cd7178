/* SPDX-License-Identifier: MIT
 *
 * What ?crc and ?lifespan make of whatever lies inside: around a mechanism that sends nowhere and brings what a test wants, whole, damaged,
 * old or cut short. That they carry what is not damaged is the conformance suite's.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/fd.h"
#include "tests/sham.h"

/* Makes the CRC of the n-th fit what lies before it. */
static void mend_crc(unsigned n) {
    const uint32_t crc = htole32(crc_add(0, sham.sent[n], sham.sizes[n] - 4));
    memcpy(sham.sent[n] + sham.sizes[n] - 4, &crc, 4);
}

static void what_is_shorter_than_its_seal_is_damaged(void **state) {
    char text[64];
    (void)state;
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    sham_send("first");
    sham_send("second");
    sham.sizes[0] = 3;
    assert_int_equal(sham_recv(text), -EBADMSG);
    sham_said("it has 3 bytes, and its CRC alone 4");
    assert_int_equal(sham.seen->in.refused, 1);
    assert_int_equal(sham_recv(text), 0);
    assert_string_equal(text, "second");
    sham_finish();
}

/* A time that is to come, with and without a CRC that fits; another clock's. */
static void times_that_are_none_are_told(void **state) {
    char text[64];
    (void)state;
    for (int crc = 0; crc < 2; crc++) {
        sham_begin(&sham_whole, THIRL_PAIR, crc, CLOCK_S);
        for (unsigned i = 0; i < 2; i++) {
            sham_send("x");
            sham.sent[i][1 + (i == 0 ? 7 : 16)] ^= 0x40;
            if (crc) {
                mend_crc(i);
            }
        }
        assert_int_equal(sham_recv(text), -EBADMSG);
        sham_said("its time is no time");
        assert_int_equal(sham_recv(text), -EBADMSG);
        sham_said("by another clock");
        assert_int_equal(sham.seen->in.refused, 2);
        sham_finish();
    }
}

/* Damage among many is told by the next call, whichever it is; and who waits until then need not. */
static void what_is_untold_is_not_waited_for(void **state) {
    char buffer[256];
    (void)state;
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    for (int which = 0; which < 3; which++) {
        struct iovec messages[4];
        size_t count = 4, bytes = 0;
        struct mech_watch watch;
        struct mech_piece piece;
        sham.out = sham.in = 0;
        sham_send("one");
        sham_send("two");
        sham.sent[0][0] ^= 1;
        assert_int_equal(sham.mech->recv_many(sham.end, buffer, sizeof buffer, messages, &count, &bytes), 0);
        assert_true(count == 1 && bytes == 3 && memcmp(messages[0].iov_base, "two", 3) == 0);
        assert_true(sham.mech->ready(sham.end, MECH_IN) && sham.mech->look(sham.end, MECH_IN) == 0);
        assert_int_equal(sham.mech->arm(sham.end, MECH_IN, &watch), 1);
        assert_int_equal(sham.mech->arm(sham.end, MECH_OUT, &watch), 0); /* not that way */
        count = 4;
        int rc = which == 0   ? sham.mech->take(sham.end, &piece)
                 : which == 1 ? sham_recv(buffer)
                              : sham.mech->recv_many(sham.end, buffer, sizeof buffer, messages, &count, &bytes);
        assert_int_equal(rc, -EBADMSG);
        sham_said("is damaged: its CRC is");
        assert_true(!sham.mech->ready(sham.end, MECH_IN) && sham.mech->look(sham.end, MECH_IN) == -EAGAIN);
        assert_int_equal(sham.mech->arm(sham.end, MECH_IN, &watch), 0);
    }
    sham_finish();
}

/* Old jobs are told, one by one, old messages are not; among many likewise. */
static void what_is_old_is_told_of_jobs(void **state) {
    char buffer[256];
    (void)state;
    for (int jobs = 0; jobs < 2; jobs++) {
        struct iovec messages[4];
        struct mech_piece piece;
        size_t count = 4, bytes = 0;
        sham_begin(&sham_whole, jobs ? THIRL_PULL : THIRL_PAIR, false, 1);
        sham_send("one");
        sham_send("two");
        usleep(1000);
        assert_int_equal(sham.mech->recv_many(sham.end, buffer, sizeof buffer, messages, &count, &bytes),
                         jobs ? -THIRL_EEXPIRED : -EAGAIN);
        assert_int_equal(sham.mech->take(sham.end, &piece), jobs ? -THIRL_EEXPIRED : -EAGAIN);
        if (jobs) {
            sham_said("job 1");
        }
        sham.in = 1;
        assert_int_equal(sham.mech->take(sham.end, &piece), jobs ? -THIRL_EEXPIRED : -EAGAIN);
        assert_int_equal(sham.seen->in.expired, 3);
        assert_int_equal(sham.frees, 1);
        sham_finish();
    }
}

/* However many old ones there are, a call comes to an end. */
static void a_flood_of_old_ones_holds_no_call_up(void **state) {
    char text[64];
    (void)state;
    struct mech_piece piece;
    sham_begin(&sham_whole, THIRL_PAIR, false, 1);
    sham_send("old");
    usleep(1000);
    sham.again = true;
    assert_int_equal(sham_recv(text), -EAGAIN);
    assert_int_equal(sham.mech->take(sham.end, &piece), -EAGAIN);
    assert_true(sham.seen->in.expired > 1000 && sham.seen->in.expired == 2 * sham.frees);
    sham_finish();
}

/* What came with a damaged message goes with it, and the message is given back if it can be. */
static void what_comes_with_damage_is_let_go(void **state) {
    (void)state;
    for (int frees_it = 0; frees_it < 2; frees_it++) {
        struct mech inner = sham_whole;
        struct mech_note note = {.keeps = true};
        char text[64];
        size_t size = 0;
        if (!frees_it) inner.free = NULL;
        sham.descriptor = eventfd(0, EFD_CLOEXEC);
        sham_begin(&inner, THIRL_PAIR, true, 0);
        sham_send("x");
        sham.sent[0][0] ^= 1;
        sham.attached = 1;
        int next = dup(sham.descriptor);
        (void)close(next);
        assert_int_equal(sham.mech->recv_noted(sham.end, text, sizeof text, &size, &note, false), -EBADMSG);
        assert_int_equal(note.count, 0);
        assert_int_equal(sham.frees, frees_it);
        assert_int_equal(fcntl(next, F_GETFD), -1);
        sham_finish();
        fd_close(&sham.descriptor);
    }
}

/* While a part of a message has left, nothing else may. */
static void one_message_at_a_time_is_under_way(void **state) {
    (void)state;
    char data[] = "ab";
    struct iovec many[2] = {{data, 1}, {data + 1, 1}};
    size_t done = 0, other = 0, count = 2, bytes = 0;
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    sham.partly = 3;
    assert_int_equal(sham.mech->send(sham.end, "first", 5, &done, false), -EAGAIN);
    assert_int_equal(done, 3);
    assert_int_equal(sham.mech->send(sham.end, "other", 5, &other, false), -EAGAIN);
    assert_int_equal(sham.mech->send_many(sham.end, many, &count, &bytes), -EAGAIN);
    assert_int_equal(count, 0);
    assert_int_equal(sham.mech->settle(sham.end, "first", 5, done), 0);
    count = 2;
    assert_int_equal(sham.mech->send_many(sham.end, many, &count, &bytes), 0);
    assert_true(count == 2 && bytes == 2);
    sham_send("other");
    sham_finish();
}

/* So many bytes at once, and no more; large ones by themselves. */
static void many_are_as_many_as_there_is_room_for(void **state) {
    (void)state;
    static char data[5000];
    struct iovec many[20];
    size_t count = 20, bytes = 0;
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    for (size_t i = 0; i < 20; i++) {
        many[i] = (struct iovec){data, 4096};
    }
    assert_int_equal(sham.mech->send_many(sham.end, many, &count, &bytes), 0);
    assert_true(count == 15 && bytes == count * 4096);
    many[0].iov_len = 5000;
    count = 20;
    assert_int_equal(sham.mech->send_many(sham.end, many, &count, &bytes), 1);
    sham_finish();
}

/* Where nothing is lent, and where a note goes along, a large one goes by the buffer. */
static void large_ones_go_without_a_loan(void **state) {
    (void)state;
    static char data[5000];
    size_t done = 0;
    const struct mech_note note = {.priority = 0};
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    assert_int_equal(sham.mech->send(sham.end, data, sizeof data, &done, false), 0);
    done = 0;
    assert_int_equal(sham.mech->send_noted(sham.end, data, sizeof data, &done, &note, false), 0);
    assert_true(sham.out == 2 && sham.sizes[0] == sizeof data + 4 && sham.sizes[1] == sham.sizes[0]);
    sham_finish();
}

static void what_no_memory_holds_is_told(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: a sanitizer ends the program instead\n");
    skip();
#endif
    const size_t huge = SIZE_MAX / 4;
    size_t done = 0, size = 0;
    char byte = 0;
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    assert_int_equal(sham.mech->send_noted(sham.end, &byte, huge, &done, &(struct mech_note){.count = 0}, false),
                     -ENOMEM);
    sham_said("no memory");
    sham.announced = huge;
    sham.refuses = -EMSGSIZE;
    assert_int_equal(sham.mech->recv(sham.end, &byte, huge, &size, false), -ENOMEM);
    sham.refuses = 0;
    sham_send("x");
    assert_int_equal(sham.mech->recv(sham.end, &byte, 1, &size, false), 0);
    assert_true(size == 1 && byte == 'x');
    sham_finish();
}

static void what_the_inner_one_refuses_is_refused(void **state) {
    (void)state;
    struct thirl_limits limits = {.size = sizeof limits};
    int fd = -1;
    sham.refuses = -EACCES;
    assert_int_equal(sham_open(&sham_whole, THIRL_PAIR, true, 0, false), -EACCES);
    sham_give_back();
    assert_int_equal(sham_open(&sham_whole, THIRL_READ, true, 0, true), -EOPNOTSUPP);
    sham_said("?crc is for messages");
    sham_give_back();
    assert_int_equal(sham_open(&sham_whole, THIRL_READ, false, 1, true), -EOPNOTSUPP);
    sham_said("?lifespan is for messages");
    sham_give_back();
    sham_begin(&sham_whole, THIRL_PAIR, true, 0);
    sham.mech->limits(sham.end, &limits);
    assert_int_equal(limits.atomic_max, 0); /* not even a seal has room there */
    sham.refuses = -EMFILE;
    assert_int_equal(sham.mech->fd(sham.end, MECH_IN, &fd), -EMFILE);
    sham_finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_shorter_than_its_seal_is_damaged),
        cmocka_unit_test(times_that_are_none_are_told),
        cmocka_unit_test(what_is_untold_is_not_waited_for),
        cmocka_unit_test(what_is_old_is_told_of_jobs),
        cmocka_unit_test(a_flood_of_old_ones_holds_no_call_up),
        cmocka_unit_test(what_comes_with_damage_is_let_go),
        cmocka_unit_test(one_message_at_a_time_is_under_way),
        cmocka_unit_test(many_are_as_many_as_there_is_room_for),
        cmocka_unit_test(large_ones_go_without_a_loan),
        cmocka_unit_test(what_no_memory_holds_is_told),
        cmocka_unit_test(what_the_inner_one_refuses_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
