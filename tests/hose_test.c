/* SPDX-License-Identifier: MIT
 *
 * Plain bytes through pipes, at their edges: a full pipe, one that has ended, a descriptor that is asked for twice or that nobody can have, and
 * what is said where the kernel refuses.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "tests/plain.h"
#include "tests/room.h"

/* An end on one side of a pipe, and the other side as it is; it never waits. */
static thirl *open_given(enum thirl_role role, int *other) {
    int ends[2], mine = role == THIRL_READ ? 0 : 1;
    char address[32];
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    (void)snprintf(address, sizeof address, "fd://%d?raw", ends[mine]);
    *other = ends[!mine];
    return plain_open(role, address);
}

static void what_a_full_pipe_takes_is_a_beginning(void **state) {
    (void)state;
    int fd;
    size_t have = 0;
    thirl *end = open_given(THIRL_WRITE, &fd);
    assert_int_equal(thirl_send(end, bulk, BULK, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_send(end, bulk, BULK, THIRL_NOW), -EAGAIN); /* of this not a byte */
    for (ssize_t got; (got = read(fd, buffer + have, sizeof buffer - have)) > 0;) {
        have += (size_t)got;
    }
    assert_true(have > 0 && have < BULK);
    assert_memory_equal(buffer, bulk, have);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(fd);
}

static void limits_are_those_of_the_pipe(void **state) {
    (void)state;
    int fd;
    thirl *end = open_given(THIRL_WRITE, &fd);
    struct thirl_limits limits = {.size = sizeof limits};
    assert_int_equal(fcntl(fd, F_SETPIPE_SZ, 4096), 4096);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.atomic_max, PIPE_BUF);
    assert_true(limits.message_max > PIPE_BUF);
    assert_int_equal(limits.senders, 1);
    assert_true(limits.queue >= 4096);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(fd);
    assert_int_equal(thirl_open(&end, THIRL_PUSH, plain_raw, NULL), 0); /* nobody reads: there is no pipe yet */
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.queue, 65536);
    assert_int_equal(limits.senders, 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void a_queue_to_one_program_ends_with_it(void **state) {
    (void)state;
    int fd;
    thirl *end = open_given(THIRL_PUSH, &fd);
    assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), 0);
    (void)close(fd);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_ECLOSED);
    assert_true(thirl_close(&end, LONG) >= 0);
}

/* Memory that is not the caller's: the kernel says so, and nothing has gone or come. */
static void what_the_kernel_refuses_is_told(void **state) {
    (void)state;
    int fd;
    size_t size;
    void *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hole != MAP_FAILED);
    thirl *end = open_given(THIRL_WRITE, &fd);
    assert_int_equal(thirl_send(end, hole, 10, LONG), -EFAULT);
    assert_non_null(strstr(thirl_why(), "cannot write"));
    assert_int_equal(thirl_send(end, "good", 4, LONG), 0);
    assert_int_equal(read(fd, buffer, sizeof buffer), 4);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(fd);
    end = open_given(THIRL_READ, &fd);
    assert_int_equal(write(fd, "good", 4), 4);
    assert_int_equal(thirl_recv(end, hole, 10, &size, LONG), -EFAULT);
    assert_non_null(strstr(thirl_why(), "cannot read"));
    assert_int_equal(thirl_recv(end, buffer, 0, &size, LONG), 0); /* nothing was asked for */
    assert_int_equal(size, 0);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    assert_int_equal(size, 4);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(fd);
    (void)munmap(hole, 4096);
}

static int wait_for(thirl *end, unsigned wanted, int ms) {
    struct thirl_want want = {.end = end, .wanted = wanted};
    return thirl_wait(&want, 1, thirl_in_ms(ms));
}

/* thirl_wait answers as the next call would: with something, with the end, or with an error. */
static void waiting_knows_what_a_call_would_say(void **state) {
    (void)state;
    int fd;
    size_t size;
    thirl *end = plain_open(THIRL_READ, "pipe://?raw");
    assert_int_equal(wait_for(end, THIRL_WANT_MESSAGE, 8000), 1);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), -ENOTCONN); /* it was handed to nobody */
    assert_int_equal(thirl_close(&end, LONG), 0);
    end = open_given(THIRL_READ, &fd);
    assert_int_equal(wait_for(end, THIRL_WANT_MESSAGE, 20), -ETIMEDOUT);
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(wait_for(end, THIRL_WANT_MESSAGE, 8000), 1);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, THIRL_NOW), 0);
    (void)close(fd);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(wait_for(end, THIRL_WANT_MESSAGE, 8000), 1);
        assert_int_equal(thirl_recv(end, buffer, 9, &size, THIRL_NOW), THIRL_END);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
    end = plain_open(THIRL_WRITE, plain_raw);
    assert_int_equal(wait_for(end, THIRL_WANT_ROOM, 20), -ETIMEDOUT); /* nobody reads */
    fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(wait_for(end, THIRL_WANT_ROOM, 8000), 1);
    assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(fd);
}

/* The same one each time, for one way; what happens on the other leaves it alone. */
static void a_descriptor_is_asked_for_twice(void **state) {
    (void)state;
    char address[320], text[320];
    int reads = -1, writes = -1;
    size_t size;
    thirl *end = plain_open(THIRL_PAIR, "pipe://?raw");
    int fd = thirl_fd(end);
    assert_true(fd >= 0);
    assert_int_equal(thirl_hand(end, address, sizeof address), 0);
    assert_int_equal(sscanf(address, "pipe://%d,%d", &reads, &writes), 2);
    (void)snprintf(text, sizeof text, "exec cat <&%d >&%d %d<&- %d>&-", reads, writes, reads, writes);
    pid_t pid = plain_shell(text);
    assert_int_equal(thirl_send(end, "there", 5, LONG), 0);
    do {
        assert_int_equal(thirl_fd(end), fd);
        assert_int_equal(plain_poll(fd, 8000), POLLIN);
        int rc = thirl_recv(end, buffer, 9, &size, THIRL_NOW);
        assert_true(rc == 0 || (rc == -EAGAIN && size == 0));
    } while (size == 0);
    assert_memory_equal(buffer, "there", 5);
    assert_int_equal(thirl_fd(end), fd);
    assert_int_equal(plain_poll(fd, 0), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void a_descriptor_of_what_has_ended_is_lit(void **state) {
    (void)state;
    int other;
    size_t size;
    thirl *end = open_given(THIRL_READ, &other);
    (void)close(other);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), THIRL_END);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(plain_poll(thirl_fd(end), 0), POLLIN);
    }
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Two descriptors are one's own and a timer in it: without room for both there is none, and none is lost. */
static void without_room_for_a_descriptor_there_is_none(void **state) {
    (void)state;
    struct rlimit before, few;
    int other;
    thirl *end = open_given(THIRL_READ, &other);
    unsigned open = room_descriptors();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (rlim_t room = 0; room < 2; room++) {
        int next = dup(other), after = dup(other);
        assert_true(next >= 0 && after > next);
        (void)close(next);
        (void)close(after);
        few = (struct rlimit){(room == 0 ? (rlim_t)next : (rlim_t)after), before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        int fd = thirl_fd(end);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(fd, -EMFILE);
        assert_non_null(strstr(thirl_why(), "no descriptor to wait on"));
        assert_int_equal(room_descriptors(), open);
    }
    int fd = thirl_fd(end);
    assert_true(fd >= 0);
    assert_int_equal(write(other, "x", 1), 1);
    assert_int_equal(plain_poll(fd, 8000), POLLIN);
    assert_int_equal(thirl_close(&end, LONG), 0);
    (void)close(other);
}

/* Something else lies where its FIFO was: nobody could ever write there. */
static void a_path_that_is_taken_away_is_told(void **state) {
    (void)state;
    size_t size;
    thirl *end = plain_open(THIRL_READ, plain_raw);
    assert_int_equal(unlink(plain_fifo), 0);
    assert_int_equal(symlink("/dev/null", plain_fifo), 0);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, LONG), -EEXIST);
    assert_non_null(strstr(thirl_why(), "is not a FIFO"));
    assert_int_equal(unlink(plain_fifo), 0);
    assert_int_equal(thirl_recv(end, buffer, 9, &size, thirl_in_ms(100)), -ETIMEDOUT); /* it has made one */
    assert_true(plain_exists(plain_fifo));
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* Whoever opens it in the same process finds the number among all that are kept there. */
static void a_number_that_is_kept_is_found_among_many(void **state) {
    (void)state;
    char address[320];
    size_t size;
    int fd;
    thirl *first = open_given(THIRL_READ, &fd), *a = plain_open(THIRL_WRITE, "pipe://?raw"), *b = NULL;
    assert_int_equal(thirl_hand(a, address, sizeof address), 0);
    b = plain_open(THIRL_READ, address);
    assert_int_equal(thirl_send(a, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(b, buffer, 9, &size, LONG), 0);
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_int_equal(thirl_recv(b, buffer, 9, &size, LONG), THIRL_END);
    assert_int_equal(thirl_close(&b, LONG), 0);
    assert_int_equal(thirl_close(&first, LONG), 0);
    (void)close(fd);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name, plain_begin)
    const struct CMUnitTest tests[] = {
        TEST(what_a_full_pipe_takes_is_a_beginning), TEST(limits_are_those_of_the_pipe),
        TEST(a_queue_to_one_program_ends_with_it),   TEST(what_the_kernel_refuses_is_told),
        TEST(waiting_knows_what_a_call_would_say),   TEST(a_descriptor_is_asked_for_twice),
        TEST(a_descriptor_of_what_has_ended_is_lit), TEST(without_room_for_a_descriptor_there_is_none),
        TEST(a_path_that_is_taken_away_is_told),     TEST(a_number_that_is_kept_is_found_among_many),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
