/* SPDX-License-Identifier: MIT
 *
 * mq:// beside programs that know nothing of thirl: plain mq_send and mq_receive on the other side of a raw queue, foreign
 * packets in a framed one; and the kernel's limits, which are said with what raises them.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/quota.h"
#include "tests/room.h"
#include "wire/frag.h"

#define SOON thirl_in_ms(5000)

static char name[64]; /* of a queue of the test's own, without its slash */

static const char *address(const char *options) {
    static char text[128];
    (void)snprintf(text, sizeof text, "mq://%s%s", name, options);
    return text;
}

static int begin(void **state) {
    (void)snprintf(name, sizeof name, "thirl-test-%d", (int)getpid());
    return room_begin(state);
}

static int tidy(void **state) {
    (void)state;
    char queue[80];
    (void)snprintf(queue, sizeof queue, "/%s", name);
    (void)mq_unlink(queue);
    (void)snprintf(queue, sizeof queue, "/thirl.%s", name);
    (void)mq_unlink(queue);
    return 0;
}

/* ---- the foreign program: <mqueue.h> and nothing else, in a process of its own ---- */

static int foreign(int (*run)(void)) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) {
        alarm(10);
        _exit(run());
    }
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int foreign_send(void) {
    char queue[80];
    (void)snprintf(queue, sizeof queue, "/%s", name);
    mqd_t mq = mq_open(queue, O_WRONLY);
    return mq < 0 || mq_send(mq, "plain", 5, 0) != 0 || mq_send(mq, "urgent", 6, 31) != 0 || mq_send(mq, "", 0, 7) != 0;
}

static int foreign_receive(void) {
    char queue[80], data[8192];
    unsigned priority;
    (void)snprintf(queue, sizeof queue, "/%s", name);
    mqd_t mq = mq_open(queue, O_RDONLY);
    if (mq < 0 || mq_receive(mq, data, sizeof data, &priority) != 4 || memcmp(data, "high", 4) != 0 || priority != 9) {
        return 1;
    }
    return mq_receive(mq, data, sizeof data, &priority) != 3 || memcmp(data, "low", 3) != 0 || priority != 0;
}

static int foreign_create(void) {
    char queue[80];
    struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 48};
    (void)snprintf(queue, sizeof queue, "/%s", name);
    return mq_open(queue, O_RDWR | O_CREAT | O_EXCL, 0600, &attr) < 0;
}

/* ---- raw ---- */

static void raw_receives_from_mq_send(void **state) {
    (void)state;
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("?raw"), NULL), 0);
    assert_int_equal(foreign(foreign_send), 0);
    static const struct {
        const char *text;
        uint32_t priority;
    } wanted[] = {{"urgent", 31}, {"", 7}, {"plain", 0}};
    for (int i = 0; i < 3; i++) {
        thirl_msg *msg = NULL;
        assert_int_equal(thirl_take(end, &msg, SOON), 0);
        assert_int_equal(thirl_msg_size(msg), strlen(wanted[i].text));
        assert_memory_equal(thirl_msg_data(msg), wanted[i].text, strlen(wanted[i].text));
        assert_int_equal(thirl_msg_priority(msg), wanted[i].priority);
        thirl_free(&msg);
    }
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_clean(address("?raw")), 0);
}

static void raw_sends_to_mq_receive(void **state) {
    (void)state;
    thirl *end = NULL;
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address("?raw"), NULL), 0);
    assert_int_equal(thirl_send(end, "low", 3, SOON), 0);
    assert_int_equal(thirl_loan(end, &msg, 4, SOON), 0);
    memcpy(thirl_msg_data(msg), "high", 4);
    assert_int_equal(thirl_msg_set_priority(msg, 9), 0);
    assert_int_equal(thirl_put(end, &msg, SOON), 0);
    assert_int_equal(foreign(foreign_receive), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    /* A program without thirl may know it by its name: it stays, and is listed, until somebody says so. */
    assert_int_equal(foreign(foreign_send), 0);
    assert_int_equal(thirl_clean(address("?raw")), 3);
    assert_int_equal(foreign(foreign_send), 1);
}

static int count_left(void *context, const struct thirl_left *left) {
    (void)left;
    ++*(int *)context;
    return 0;
}

static int stop_left(void *count, const struct thirl_left *left) {
    (void)left;
    return ++*(int *)count;
}

static void raw_takes_a_foreign_queue_as_it_is(void **state) {
    (void)state;
    assert_int_equal(foreign(foreign_create), 0);
    thirl *end = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    char data[49] = "";
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address("?raw"), NULL), 0);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.message_max, 48);
    assert_int_equal(limits.queue, 3 * 48);
    assert_int_equal(thirl_send(end, data, 49, SOON), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "48"));
    assert_non_null(strstr(thirl_why(), "msgsize_max"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), 0);
    }
    assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, SOON), 0);
    int left = 0;
    assert_int_equal(thirl_left(count_left, &left), 0);
    assert_int_equal(left, 0); /* not thirl's to remove */
}

static void says_what_a_queue_is_called(void **state) {
    (void)state;
    static const char *const bad[] = {"mq://?raw", "mq:///?raw", "mq://a/b?raw", "mq://.?raw"};
    thirl *end = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PULL, bad[i], NULL), -THIRL_EADDRESS);
        assert_true(strlen(thirl_why()) > 10);
    }
    char longer[300];
    memset(longer, 'n', sizeof longer);
    memcpy(longer, "mq://", 5);
    longer[5 + 254] = '\0';
    assert_int_equal(thirl_open(&end, THIRL_PULL, longer, NULL), -ENAMETOOLONG);
    assert_int_equal(thirl_open(&end, THIRL_PULL, "mq://", NULL), -THIRL_EADDRESS);
    /* Slashes and percent signs are part of a name, and keep names apart. */
    thirl *other = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PUSH, "mq://thirl-test/a%25b", NULL), 0);
    assert_int_equal(thirl_open(&other, THIRL_PULL, "mq://thirl-test%252Fa%25b", NULL), 0);
    assert_int_equal(thirl_send(end, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(other, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&other, SOON), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    int left = 4; /* answers 5 of the first, and no other is shown */
    assert_int_equal(thirl_left(stop_left, &left), 5);
    assert_int_equal(thirl_clean("mq://thirl-test/a%25b"), 1);
}

/* ---- framed ---- */

static void put_packet(mqd_t mq, const void *data, size_t size) {
    assert_int_equal(mq_send(mq, data, size, 0), 0);
}

static int refused_of(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->refused;
    return 0;
}

static void framed_refuses_foreign_packets(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    assert_int_equal(thirl_open(&in, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    char queue[80], data[64];
    (void)snprintf(queue, sizeof queue, "/thirl.%s", name);
    mqd_t mq = mq_open(queue, O_WRONLY);
    assert_true(mq >= 0);
    put_packet(mq, "hello", 5);
    assert_int_equal(thirl_send(out, "one", 3, SOON), 0);
    put_packet(mq, "", 0);
    unsigned char wire[FRAG_LABEL + 8] = {0};
    struct frag_label label = {FRAG_DATA, 5, 1, 1, 1, UINT32_C(0x7fffffff), 0, 8, false};
    frag_write(wire + 8, &label);
    put_packet(mq, wire, sizeof wire); /* announces two gigabytes */
    wire[sizeof wire - 2] = 9;
    put_packet(mq, wire, sizeof wire);
    assert_int_equal(thirl_send(out, "two", 3, SOON), 0);
    size_t size = 0;
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "not thirl's"));
    assert_non_null(strstr(thirl_why(), name));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "one", 3);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "?max"));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EVERSION);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
    assert_memory_equal(data, "two", 3);
    uint64_t refused = 0;
    assert_int_equal(thirl_list(refused_of, &refused), 0);
    assert_int_equal(refused, 4);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
    assert_int_equal(mq_close(mq), 0);
}

/* Half a message from somebody who never was a sender: given up when nothing more comes. */
static void framed_forgets_half_a_lie(void **state) {
    (void)state;
    thirl *in = NULL;
    assert_int_equal(thirl_open(&in, THIRL_PULL, address("?max=1M"), NULL), 0);
    char queue[80];
    (void)snprintf(queue, sizeof queue, "/thirl.%s", name);
    mqd_t mq = mq_open(queue, O_WRONLY);
    assert_true(mq >= 0);
    for (uint64_t node = 1; node <= 6; node++) { /* more than may be held at once */
        unsigned char wire[FRAG_LABEL + 8] = {0};
        struct frag_label label = {FRAG_DATA, node, 1, 1, 1, 1 << 20, 0, 8, false};
        frag_write(wire + 8, &label);
        put_packet(mq, wire, sizeof wire);
    }
    char byte;
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, thirl_in_ms(400)), -ETIMEDOUT);
    thirl *out = NULL;
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
    assert_int_equal(mq_close(mq), 0);
}

/* ---- limits and permission bits ---- */

static int open_beyond_the_limit(void) {
    const struct rlimit little = {20000, 20000};
    thirl *end = NULL;
    if (setrlimit(RLIMIT_MSGQUEUE, &little) != 0) {
        return 77;
    }
    int rc = thirl_open(&end, THIRL_PUSH, address(""), NULL);
    if (rc != -EMFILE || strstr(thirl_why(), "RLIMIT_MSGQUEUE") == NULL || strstr(thirl_why(), "20000") == NULL) {
        return 1;
    }
    rc = thirl_open(&end, THIRL_PUSH, address("?queue=8K"),
                    NULL); /* one packet fits, unless this user has other queues */
    return rc == -EMFILE                                                                                         ? 77
           : rc == 0 && thirl_send(end, "x", 1, THIRL_NOW) == 0 && thirl_send(end, "x", 1, THIRL_NOW) == -EAGAIN ? 0
                                                                                                                 : 2;
}

static void names_the_limit(void **state) {
    (void)state;
    int rc = foreign(open_beyond_the_limit);
    if (rc == 77) {
        skip();
    }
    assert_int_equal(rc, 0);
}

static void mode_is_obeyed(void **state) {
    (void)state;
    thirl *end = NULL;
    char queue[80];
    struct stat status;
    mode_t mask = umask(077);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("?mode=0640"), NULL), 0);
    (void)umask(mask);
    (void)snprintf(queue, sizeof queue, "/thirl.%s", name);
    mqd_t mq = mq_open(queue, O_RDONLY);
    assert_true(mq >= 0);
    assert_int_equal(fstat(mq, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
    assert_int_equal(mq_close(mq), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_true(mq_open(queue, O_RDONLY) < 0 && errno == ENOENT); /* it was empty */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(raw_receives_from_mq_send, tidy),
        cmocka_unit_test_teardown(raw_sends_to_mq_receive, tidy),
        cmocka_unit_test_teardown(raw_takes_a_foreign_queue_as_it_is, tidy),
        cmocka_unit_test(says_what_a_queue_is_called),
        cmocka_unit_test_teardown(framed_refuses_foreign_packets, tidy),
        cmocka_unit_test_teardown(framed_forgets_half_a_lie, tidy),
        cmocka_unit_test_teardown(names_the_limit, tidy),
        cmocka_unit_test_teardown(mode_is_obeyed, tidy),
    };
    (void)quota_take(true);
    return cmocka_run_group_tests(tests, begin, room_end);
}
