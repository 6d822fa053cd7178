/* SPDX-License-Identifier: MIT
 *
 * pipe:// between a parent and its children, with the demands of the conformance suite: that one opens both ends by one
 * address from unrelated processes, and an anonymous pipe cannot be met so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/child.h"
#include "tests/peer.h"
#include "tests/room.h"

static void carries_every_size(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 64, 4096, 16383, 16384, 65528, 65536, 300000, 1 << 20, 3 << 20};
    for (int exec = 0; exec < 2; exec++) {
        thirl *end = child_open(THIRL_PAIR, "pipe://");
        pid_t pid = child_start(end, "echo", exec);
        struct thirl_peer who = {.size = sizeof who};
        for (unsigned i = 0; i < 60; i++) {
            size_t size = sizes[i % 11], got = 1;
            child_fill(size, i);
            assert_int_equal(thirl_send(end, child_sent, size, LONG), 0);
            if (i % 4 == 0 && size > 0) {
                assert_int_equal(thirl_recv(end, child_got, size - 1, &got, LONG), -EMSGSIZE);
            }
            assert_int_equal(thirl_recv(end, child_got, sizeof child_got, &got, LONG), 0);
            assert_int_equal(got, size);
            assert_memory_equal(child_got, child_sent, size);
        }
        assert_int_equal(thirl_peer(end, &who), 0);
        assert_int_equal(who.pid, pid);
        assert_int_equal(who.uid, geteuid());
        char address[320];
        assert_int_equal(thirl_hand(end, address, sizeof address), -EBUSY);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
}

static void carries_streams(void **state) {
    (void)state;
    thirl *end = child_open(THIRL_WRITE, "pipe://");
    pid_t pid = child_start(end, "read", true);
    for (size_t at = 0; at < 40u * 50000; at += 50000) {
        for (size_t i = 0; i < 50000; i++) {
            child_sent[i] = (unsigned char)((at + i) * 13 + ((at + i) >> 8));
        }
        assert_int_equal(thirl_send(end, child_sent, 50000, LONG), 0);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    end = child_open(THIRL_READ, "pipe://");
    peer_reap(child_start(end, "write", false));
    size_t size, all = 0;
    int rc;
    while ((rc = thirl_recv(end, child_got + all, 3, &size, LONG)) == 0) {
        all += size;
    }
    assert_int_equal(rc, -THIRL_EPEERDIED); /* not the end */
    assert_int_equal(all, 4);
    assert_memory_equal(child_got, "torn", 4);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void counts_events(void **state) {
    (void)state;
    for (int exec = 0; exec < 2; exec++) {
        uint32_t told[5] = {0};
        thirl *end = child_open(THIRL_WATCH, "pipe://");
        pid_t pid = child_start(end, "notify", exec);
        thirl_msg *msg;
        int rc;
        while ((rc = thirl_take(end, &msg, LONG)) == 0) {
            uint32_t event;
            assert_int_equal(thirl_msg_size(msg), sizeof event);
            memcpy(&event, thirl_msg_data(msg), sizeof event);
            assert_true(event < 5);
            told[event] += (uint32_t)thirl_msg_times(msg);
            thirl_free(&msg);
        }
        assert_int_equal(rc, -THIRL_ECLOSED);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(told[i], CHILD_TELLS / 5);
        }
        int status = 1;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void refuses_what_does_not_fit(void **state) {
    (void)state;
    size_t size;
    thirl *end = child_open(THIRL_PAIR, "pipe://"), *other = NULL;
    pid_t pid = child_start(end, "nonsense", true);
    assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "47 45 54"));
    peer_slay(pid);
    pid = child_start(end, "echo", true);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    /* Of another role. */
    char address[320];
    end = child_open(THIRL_PAIR, "pipe://?max=4K");
    assert_int_equal(thirl_hand(end, address, sizeof address), 0);
    assert_non_null(strstr(address, "?max=4K"));
    assert_int_equal(thirl_hand(end, address, 9), -EMSGSIZE);
    assert_int_equal(thirl_hand(end, address, sizeof address), 0);
    assert_int_equal(thirl_open(&other, THIRL_READ, address, NULL), -THIRL_EROLE);
    assert_null(other);
    assert_int_equal(thirl_close(&end, LONG), 0);
    /* Numbers that are no pipe's, or none. */
    static const char *const wrong[] = {
        "pipe://1",  "pipe://a,b",  "pipe://1,2,3", "pipe://,",   "pipe://-1,4",          "pipe:///x",
        "pipe://3,", "pipe://3,-4", "pipe://3,4x",  "pipe://3,x", "pipe://99999999999,4", "pipe://3,99999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(thirl_open(&other, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
    }
    int file = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)snprintf(address, sizeof address, "pipe://%d,%d", file, ends[1]);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), -EBADF);
    (void)snprintf(address, sizeof address, "pipe://%d,%d", ends[1], ends[0]);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, address, NULL), -EBADF);
    assert_int_equal(thirl_open(&other, THIRL_PAIR, "pipe://998,999", NULL), -EBADF);
    assert_true(fcntl(file, F_GETFD) >= 0 && fcntl(ends[0], F_GETFD) >= 0); /* still the caller's */
    (void)close(file);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void lets_nobody_wait_too_long(void **state) {
    (void)state;
    size_t size;
    int64_t began = clock_now();
    thirl *end = child_open(THIRL_PAIR, "pipe://");
    assert_true(clock_now() - began < 200 * CLOCK_MS);
    assert_int_equal(thirl_recv(end, child_got, 9, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_recv(end, child_got, 9, &size, thirl_in_ms(50)), -ETIMEDOUT);
    assert_int_equal(thirl_send(end, child_got, 9, thirl_in_ms(50)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_true(clock_now() - began < 5 * CLOCK_S);
}

static void serves_one_process_too(void **state) {
    (void)state;
    char address[320];
    size_t size;
    thirl *a = child_open(THIRL_PAIR, "pipe://");
    for (int i = 0; i < 3; i++) {
        if (i > 0) {
            a = child_open(THIRL_PAIR, "pipe://");
        }
        assert_int_equal(thirl_hand(a, address, sizeof address), 0);
        thirl *b = child_open(THIRL_PAIR, address);
        assert_int_equal(thirl_send(b, "to a", 4, LONG), 0);
        assert_int_equal(thirl_recv(a, child_got, 9, &size, LONG), 0);
        assert_int_equal(thirl_send(a, "to b", 4, LONG), 0);
        assert_int_equal(thirl_recv(b, child_got, 9, &size, LONG), 0);
        assert_int_equal(thirl_hand(b, address, sizeof address), -EINVAL);
        assert_int_equal(thirl_close(i % 2 ? &a : &b, LONG), 0);
        assert_int_equal(thirl_close(i % 2 ? &b : &a, LONG), 0);
    }
    /* Elsewhere every process can open the end's own address. */
    a = child_open(THIRL_PAIR, "shm://hand?queue=64K");
    assert_int_equal(thirl_hand(a, address, sizeof address), 0);
    assert_string_equal(address, "shm://hand?queue=64K");
    assert_int_equal(thirl_hand(a, address, 5), -EMSGSIZE);
    assert_int_equal(thirl_hand(a, NULL, 5), -EINVAL);
    assert_int_equal(thirl_close(&a, LONG), 0);
}

static void leaves_no_descriptor(void **state) {
    (void)state;
    unsigned before = 0;
    for (int i = 0; i < 20; i++) {
        thirl *end = child_open(THIRL_PAIR, "pipe://?queue=64K");
        if (i % 3 == 0) {
            assert_true(thirl_fd(end) >= 0);
        }
        pid_t pid = i % 4 == 0 ? 0 : child_start(end, i % 4 == 1 ? "echo" : "stay", i % 2 == 0);
        if (pid > 0) {
            size_t size;
            assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
            assert_int_equal(thirl_recv(end, child_got, 9, &size, LONG), 0);
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        if (pid > 0 && i % 4 == 1) {
            peer_reap(pid);
        } else if (pid > 0) {
            peer_slay(pid);
        }
        before = i == 3 ? room_descriptors() : before;
    }
    assert_int_equal(room_descriptors(), before);
}

int main(int argc, char **argv) {
    if (argc == 3) {
        return child_run(argv[1], argv[2]);
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carries_every_size),        cmocka_unit_test(counts_events),
        cmocka_unit_test(carries_streams),           cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(lets_nobody_wait_too_long), cmocka_unit_test(serves_one_process_too),
        cmocka_unit_test(leaves_no_descriptor),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
