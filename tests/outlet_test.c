/* SPDX-License-Identifier: MIT
 *
 * What a sender is told when its peer leaves at the very moment: a message that it has received was sent, one that it has not was
 * refused.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/room.h"

#define SOON thirl_in_ms(5000)
#define MANY 4

static const char *address;
static const char *point; /* between a commit and the look at who is there */
static int (*send_some)(thirl *, size_t *count);

static int by_copy(thirl *end, size_t *count) {
    int rc = thirl_send(end, "a", 1, SOON);
    *count = rc == 0;
    return rc;
}

static int in_place(thirl *end, size_t *count) {
    thirl_msg *msg = NULL;
    int rc = thirl_loan(end, &msg, 1, SOON);
    if (rc == 0) {
        memcpy(thirl_msg_data(msg), "a", 1);
        rc = thirl_put(end, &msg, SOON);
    }
    *count = rc == 0;
    return rc;
}

static int several(thirl *end, size_t *count) {
    struct iovec messages[MANY];
    for (int i = 0; i < MANY; i++) {
        messages[i] = (struct iovec){(void *)(uintptr_t) "a", 1};
    }
    *count = MANY;
    return thirl_send_many(end, messages, count, SOON);
}

#define MUST(truth)                                                                                                    \
    do {                                                                                                               \
        if (!(truth)) {                                                                                                \
            (void)fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #truth, thirl_why());                                \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* All that it sends in the moment of the leave is received when expected says so. */
static int sender(void *expected) {
    char at[80];
    size_t count, taken = *(const size_t *)expected, most = send_some == several ? MANY : 1;
    thirl *end = NULL;
    (void)snprintf(at, sizeof at, "%s:1:stop", point);
    MUST(setenv("THIRL_WEAVE_AT", at, 1) == 0);
    MUST(thirl_open(&end, THIRL_PAIR, address, NULL) == 0);
    int rc = send_some(end, &count);
    MUST(rc == (taken == most ? 0 : -THIRL_ECLOSED) || (send_some == several && rc == -THIRL_ECLOSED));
    MUST(count == taken || (send_some == several && taken < 2 && count <= 2)); /* the first leave before the moment */
    MUST(thirl_send(end, "b", 1, SOON) == -THIRL_ECLOSED);
    char said[32];
    (void)snprintf(said, sizeof said, "%zu of %zu messages", count - taken, count);
    MUST(strstr(thirl_why(), said) != NULL);
    MUST(thirl_close(&end, THIRL_NOW) >= 0);
    return 0;
}

static void leave_after(size_t taken) {
    thirl *end = NULL;
    char byte;
    size_t size;
    pid_t child = room_fork(sender, &taken);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    int status;
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status)); /* what it sends is there */
    for (size_t i = 0; i < taken; i++) {
        assert_int_equal(thirl_recv(end, &byte, 1, &size, SOON), 0);
    }
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    assert_int_equal(kill(child, SIGCONT), 0);
    assert_int_equal(room_reap(child), 0);
}

static void what_was_received_was_sent(void **state) {
    (void)state;
    address = "shm://one";
    point = "outlet.send.committed";
    send_some = by_copy;
    leave_after(1);
    leave_after(0);
}

static void what_was_received_was_put(void **state) {
    (void)state;
    address = "shm://place";
    point = "outlet.put.committed";
    send_some = in_place;
    leave_after(1);
    leave_after(0);
}

static void of_several_those_that_were_received_count(void **state) {
    (void)state;
    address = "shm://many";
    point = "outlet.many.committed";
    send_some = several;
    for (size_t taken = 0; taken <= MANY; taken++) {
        leave_after(taken);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_received_was_sent),
        cmocka_unit_test(what_was_received_was_put),
        cmocka_unit_test(of_several_those_that_were_received_count),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
