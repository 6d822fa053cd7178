/* SPDX-License-Identifier: MIT
 *
 * One connection over a kernel that spares: what goes in parts comes whole and in order, and whoever cannot be helped is told why.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/mech.h"
#include "mech/pull.h"
#include "tests/room.h"
#include "tests/sparing.h"

#define LARGE ((size_t)100000)

/* ---- two ends ---- */

static struct link *near, *far;
static unsigned char data[LARGE], buffer[LARGE];

enum kind { STREAM, PACKETS, PIPES, BYTES, NOTED };

static void meet(enum kind kind) {
    struct link_terms terms = {.packets = kind == PACKETS,
                               .pipes = kind == PIPES,
                               .bytes = kind == BYTES,
                               .sends = true,
                               .receives = true,
                               .gives = kind == NOTED,
                               .takes = kind == NOTED,
                               .send_max = LARGE,
                               .recv_max = LARGE};
    const struct link_who who = {.pid = 7, .pidfd = -1, .name = "peer", .text = "pid 7 (peer)"};
    int one[2], other[2] = {-1, -1};
    sparing_be(0, 0, 0, 0);
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 31 + i / 251);
    }
    memset(buffer, 0, sizeof buffer);
    if (kind == PIPES) {
        assert_int_equal(pipe2(one, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(pipe2(other, O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(link_make(&near, one[0], other[1], &who, &terms), 0);
        assert_int_equal(link_make(&far, other[0], one[1], &who, &terms), 0);
        return;
    }
    assert_int_equal(socketpair(AF_UNIX, (kind == PACKETS ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, one), 0);
    assert_int_equal(link_make(&near, one[0], -1, &who, &terms), 0);
    assert_int_equal(link_make(&far, one[1], -1, &who, &terms), 0);
}

static void part(void) {
    link_free(near);
    link_free(far);
}

static void expect(size_t size) {
    size_t came = 0;
    assert_int_equal(pull_recv(far, buffer, sizeof buffer, &came, false), 0);
    assert_int_equal(came, size);
    assert_memory_equal(buffer, data, size);
}

static void expect_code(int code) {
    size_t came;
    assert_int_equal(pull_recv(far, buffer, sizeof buffer, &came, false), code);
}

static int give(size_t size, size_t *done) {
    return link_send(near, data, size, done, false);
}

/* Fills it with messages of so many bytes; how many. */
static unsigned fill(size_t size) {
    unsigned count = 0;
    size_t done = 0;
    while (give(size, &done) == 0) {
        count++;
        done = 0;
        assert_true(count < 100000);
    }
    return count;
}

static void says(const char *part_of_it) {
    assert_non_null(strstr(thirl_why(), part_of_it));
}

/* ---- what goes in parts ---- */

static void an_empty_message_follows_a_full_pipe(void **state) {
    (void)state;
    size_t done = 0;
    meet(PIPES);
    for (unsigned left = fill(1000); left > 0; left--) {
        expect(1000);
    }
    assert_int_equal(give(0, &done), 0);
    assert_int_equal(give(5, &done), 0);
    expect(0);
    expect(5);
    part();
}

static void an_empty_message_of_which_three_bytes_went_is_whole(void **state) {
    (void)state;
    size_t done = 0;
    meet(STREAM);
    sparing_be(1, 3, 1, EAGAIN);
    assert_int_equal(give(0, &done), 0);
    assert_int_equal(give(9, &done), 0);
    expect(0);
    expect(9);
    part();
}

static void nobody_gets_between_the_parts(void **state) {
    (void)state;
    size_t done = 0, other = 0;
    meet(STREAM);
    sparing_be(1, 100, 1, EAGAIN);
    assert_int_equal(give(50000, &done), -EAGAIN);
    assert_in_range(done, 1, 99);
    assert_int_equal(link_send(near, data, 7, &other, false), -EAGAIN);
    assert_int_equal(other, 0);
    assert_int_equal(give(50000, &done), 0);
    assert_int_equal(link_send(near, data, 7, &other, false), 0);
    expect(50000);
    expect(7);
    part();
}

static void what_is_given_up_leaves_at_once_where_there_is_room(void **state) {
    (void)state;
    size_t done = 0;
    meet(STREAM);
    sparing_be(1, 100, 1, EAGAIN);
    assert_int_equal(give(5000, &done), -EAGAIN);
    assert_int_equal(link_settle(near, data, 5000), 0);
    expect(5000);
    assert_int_equal(link_settle(near, data, 5000), 0); /* nothing is on its way */
    expect_code(-EAGAIN);
    part();
}

static void who_waits_comes_back_after_a_slice(void **state) {
    (void)state;
    size_t done = 0;
    meet(STREAM);
    sparing_be(20, 1000, 0, 0);
    sparing.nap = 20 * CLOCK_MS;
    int64_t began = clock_now();
    assert_int_equal(link_send(near, data, LARGE, &done, true), -EAGAIN);
    assert_true(clock_now() - began >= MECH_SLICE_NS && clock_now() - began < 20 * MECH_SLICE_NS);
    assert_in_range(done, 1000, LARGE - 1);
    sparing_be(0, 0, 0, 0);
    assert_int_equal(link_send(near, data, LARGE, &done, true), 0);
    assert_int_equal(done, LARGE);
    expect(LARGE);
    part();
}

/* ---- pipes that are widened ---- */

static void a_widened_pipe_counts_as_full_until_half_is_gone(void **state) {
    (void)state;
    size_t done = 0, other = 0;
    meet(PIPES);
    size_t usual = tube_size(near->out);
    assert_int_equal(give(LARGE, &done), -EAGAIN);
    assert_int_equal(link_settle(near, data, LARGE), 0);
    assert_int_equal(frame_box_held(&near->tail), 0); /* it has all left */
    assert_true(tube_size(near->out) > usual && link_overfull(near));
    assert_int_equal(link_send(near, data, 8, &other, true), -EAGAIN);
    expect(LARGE);
    assert_false(link_overfull(near));
    assert_int_equal(tube_size(near->out), usual);
    assert_int_equal(link_send(near, data, 8, &other, true), 0);
    expect(8);
    part();
}

static int send_as_anybody(void *size_of_it) {
    static unsigned char huge[3 << 20];
    size_t size = *(size_t *)size_of_it, done = 0, came = 0;
    struct __user_cap_header_struct of = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct may[2] = {{0}};
    if (syscall(SYS_capset, &of, may) != 0) {
        return 1;
    }
    meet(PIPES);
    near->terms.send_max = far->terms.recv_max = sizeof huge;
    memset(huge, 0x5c, size);
    int rc = link_send(near, huge, size, &done, false);
    if (rc != -EAGAIN || link_settle(near, huge, size) != 0 || frame_box_held(&near->tail) == 0 || near->usual != 0) {
        return 2;
    }
    /* It leaves as the reader makes room. */
    unsigned char *got = malloc(size);
    for (int i = 0; i < 1000 && rc == -EAGAIN; i++) {
        rc = pull_recv(far, got, size, &came, false);
        (void)link_begin(near, false);
    }
    bool whole = rc == 0 && came == size && memcmp(got, huge, size) == 0;
    free(got);
    part();
    return whole ? 0 : 3;
}

static void who_may_not_widen_a_pipe_keeps_the_rest(void **state) {
    (void)state;
    size_t size = 3 << 20;
    assert_int_equal(room_run(send_as_anybody, &size), 0);
}

#if !defined(__SANITIZE_ADDRESS__)
static int keep_with_no_memory(void *nothing) {
    const size_t size = (size_t)64 << 20;
    struct rlimit limit;
    unsigned long pages = 0;
    size_t done = 0;
    (void)nothing;
    void *huge = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    FILE *file = fopen("/proc/self/statm", "r");
    if (huge == MAP_FAILED || file == NULL || fscanf(file, "%lu", &pages) != 1) {
        return 1;
    }
    (void)fclose(file);
    limit.rlim_cur = limit.rlim_max = pages * (size_t)sysconf(_SC_PAGESIZE) + (16 << 20);
    for (enum kind kind = STREAM; kind <= BYTES; kind += BYTES - STREAM) {
        meet(kind);
        done = 0;
        near->terms.send_max = size;
        (void)setrlimit(RLIMIT_AS, &limit);
        sparing_be(1, 4, 1, EAGAIN); /* half of its head */
        if (link_send(near, huge, size, &done, false) != -ENOMEM || strstr(thirl_why(), "memory") == NULL) {
            return 2;
        }
        if (kind == BYTES && done != 0) {
            return 3;
        }
        part();
    }
    return 0;
}

static void no_memory_for_the_rest_is_said(void **state) {
    (void)state;
    assert_int_equal(room_run(keep_with_no_memory, NULL), 0);
}
#endif

/* ---- what is refused ---- */

static void a_packet_that_no_buffer_holds_is_refused(void **state) {
    (void)state;
    size_t done = 0;
    const int small = 8192;
    meet(PACKETS);
    assert_int_equal(setsockopt(near->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(give(LARGE, &done), -EMSGSIZE);
    says("?queue=");
    assert_int_equal(give(1000, &done), 0);
    expect(1000);
    part();
}

static void a_size_is_announced_by_who_waits_too(void **state) {
    (void)state;
    size_t done = 0;
    meet(PACKETS);
    assert_int_equal(link_announce(near, 5000, true), 0);
    assert_int_equal(link_announce(near, 5000, true), 0);
    assert_int_equal(give(3000, &done), 0);
    expect(3000);
    assert_in_range(far->room_in, 5000, LARGE + FRAME_MARK);
    part();
}

static void the_rest_finds_that_the_peer_is_gone(void **state) {
    (void)state;
    size_t done = 0;
    meet(STREAM);
    sparing_be(1, 100, 3, EAGAIN);
    assert_int_equal(give(5000, &done), -EAGAIN);
    assert_int_equal(link_settle(near, data, 5000), 0);
    assert_true(frame_box_held(&near->tail) != 0);
    done = 0;
    sparing_be(0, 0, 1, EINTR);
    assert_int_equal(give(5, &done), -EAGAIN);
    link_free(far);
    assert_int_equal(give(5, &done), -THIRL_EPEERDIED);
    assert_int_equal(give(5, &done), -THIRL_EPEERDIED);
    link_free(near);
}

/* ---- descriptors ---- */

static struct mech_note note_of(int fd) {
    struct mech_note note = {.count = 1};
    note.descriptor[0] = fd;
    return note;
}

static int give_noted(size_t size, size_t *done, const struct mech_note *note) {
    return link_send_noted(near, data, size, done, note, false);
}

static void expect_noted(size_t size, unsigned count) {
    struct mech_note came = {0};
    size_t got = 0;
    assert_int_equal(pull_unusual(far, buffer, sizeof buffer, &got, &came, false), 0);
    assert_int_equal(got, size);
    assert_memory_equal(buffer, data, size);
    assert_int_equal(came.count, count);
    for (unsigned i = 0; i < came.count; i++) {
        assert_int_equal(close(came.descriptor[i]), 0);
    }
}

static void a_descriptor_goes_with_the_first_part(void **state) {
    (void)state;
    const struct mech_note note = note_of(0), none = {0};
    size_t done = 0;
    meet(NOTED);
    sparing_be(1, 100, 0, 0);
    assert_int_equal(give_noted(20000, &done, &note), 0); /* the rest went at once */
    done = 0;
    sparing_be(1, 100, 1, EAGAIN);
    assert_int_equal(give_noted(20000, &done, &note), -EAGAIN);
    assert_in_range(done, 1, 99);
    size_t other = 0;
    assert_int_equal(give_noted(10, &other, &note), -EAGAIN); /* one is on its way */
    assert_int_equal(other, 0);
    assert_int_equal(give_noted(20000, &done, &note), 0);
    assert_int_equal(give_noted(30, &other, &none), 0);
    other = 0;
    sparing_be(0, 0, 1, EAGAIN);
    assert_int_equal(give_noted(40, &other, &note), -EAGAIN);
    assert_int_equal(other, 0);
    assert_int_equal(give_noted(40, &other, &note), 0);
    expect_noted(20000, 1);
    expect_noted(20000, 1);
    expect_noted(30, 0);
    expect_noted(40, 1);
    part();
}

static void who_sends_too_much_or_too_many_is_told(void **state) {
    (void)state;
    struct mech_note note = note_of(0);
    size_t done = 0;
    meet(NOTED);
    near->terms.send_max = 100;
    assert_int_equal(give_noted(101, &done, &note), -EMSGSIZE);
    says("larger than the 100");
    sparing_be(0, 0, 1, EPERM);
    assert_int_equal(give_noted(100, &done, &note), -EOPNOTSUPP);
    says("takes no descriptors");
    sparing_be(0, 0, 1, ETOOMANYREFS);
    assert_int_equal(give_noted(100, &done, &note), -ETOOMANYREFS);
    says("RLIMIT_NOFILE");
    sparing_be(0, 0, 1, ENOBUFS);
    assert_int_equal(give_noted(100, &done, &note), -ENOBUFS);
    note.count = 2;
    assert_int_equal(give_noted(100, &done, &note), -EOPNOTSUPP);
    says("not 2");
    note.count = 1;
    assert_int_equal(give_noted(100, &done, &note), 0);
    expect_noted(100, 1);
    uint64_t left;
    assert_int_equal(link_flush(near, &left), 0);
    done = 0;
    assert_int_equal(give_noted(100, &done, &note), -THIRL_ECLOSED);
    part();
}

/* ---- goodbye ---- */

static void after_goodbye_nothing_is_sent(void **state) {
    (void)state;
    uint64_t left;
    size_t done = 0;
    meet(STREAM);
    assert_int_equal(give(3, &done), 0);
    assert_int_equal(link_flush(near, &left), 0);
    assert_int_equal(give(3, &done), -THIRL_ECLOSED);
    says("being closed");
    expect(3);
    expect_code(-THIRL_ECLOSED);
    part();
}

static void a_goodbye_of_which_three_bytes_went_is_said_whole(void **state) {
    (void)state;
    uint64_t left;
    meet(STREAM);
    sparing_be(1, 3, 0, 0);
    assert_int_equal(link_flush(near, &left), -EAGAIN);
    expect_code(-EAGAIN);
    assert_int_equal(link_flush(near, &left), 0);
    expect_code(-THIRL_ECLOSED);
    part();
}

static void no_goodbye_parts_a_message(void **state) {
    (void)state;
    uint64_t left;
    size_t done = 0;
    meet(STREAM);
    sparing_be(1, 100, 1, EAGAIN);
    assert_int_equal(give(5000, &done), -EAGAIN);
    assert_int_equal(link_flush(near, &left), 0);
    expect_code(-EAGAIN);
    assert_int_equal(give(5000, &done), 0);
    expect(5000);
    assert_int_equal(link_flush(near, &left), 0);
    expect_code(-THIRL_ECLOSED);
    part();
}

static void a_full_pipe_is_made_to_hold_the_goodbye(void **state) {
    (void)state;
    meet(PIPES);
    unsigned large = fill(4000), small = fill(0);
    link_bye(near);
    for (unsigned i = 0; i < large + small; i++) {
        expect(i < large ? 4000 : 0);
    }
    expect_code(-THIRL_ECLOSED);
    part();
}

/* Whoever says what is not to be said is cut off: he sees the end, and nothing of what this side does later. */
static void what_is_broken_is_hung_up_on(void **state) {
    (void)state;
    static const enum kind kinds[] = {STREAM, PACKETS, PIPES};
    for (int i = 0; i < 3; i++) {
        size_t done = 0;
        meet(kinds[i]);
        assert_int_equal(give(5, &done), 0);
        link_decide(near, LINK_BROKEN);
        link_decide(near, LINK_CLOSED); /* it is decided */
        assert_int_equal(link_code(near), -THIRL_EFORMAT);
        expect(5);
        expect_code(-THIRL_EPEERDIED);
        done = 0;
        assert_int_equal(link_send(far, data, 5, &done, false), -THIRL_EPEERDIED);
        part();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_broken_is_hung_up_on),
        cmocka_unit_test(an_empty_message_follows_a_full_pipe),
        cmocka_unit_test(an_empty_message_of_which_three_bytes_went_is_whole),
        cmocka_unit_test(nobody_gets_between_the_parts),
        cmocka_unit_test(what_is_given_up_leaves_at_once_where_there_is_room),
        cmocka_unit_test(who_waits_comes_back_after_a_slice),
        cmocka_unit_test(a_widened_pipe_counts_as_full_until_half_is_gone),
        cmocka_unit_test(who_may_not_widen_a_pipe_keeps_the_rest),
#if !defined(__SANITIZE_ADDRESS__)
        cmocka_unit_test(no_memory_for_the_rest_is_said),
#endif
        cmocka_unit_test(a_packet_that_no_buffer_holds_is_refused),
        cmocka_unit_test(a_size_is_announced_by_who_waits_too),
        cmocka_unit_test(the_rest_finds_that_the_peer_is_gone),
        cmocka_unit_test(a_descriptor_goes_with_the_first_part),
        cmocka_unit_test(who_sends_too_much_or_too_many_is_told),
        cmocka_unit_test(after_goodbye_nothing_is_sent),
        cmocka_unit_test(a_goodbye_of_which_three_bytes_went_is_said_whole),
        cmocka_unit_test(no_goodbye_parts_a_message),
        cmocka_unit_test(a_full_pipe_is_made_to_hold_the_goodbye),
    };
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
