/* SPDX-License-Identifier: MIT
 *
 * sysv:// beside programs that know nothing of thirl: plain msgsnd and msgrcv on the other side of a raw queue; queues that others have made
 * under its key, and such as others have removed.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/ipc.h"
#include "tests/room.h"

#define SOON thirl_in_ms(10000)

/* ---- the foreign program: <sys/msg.h> and nothing else, in a process of its own ---- */

static int foreign_send(void *unused) {
    (void)unused;
    int id = msgget(ipc_key(""), 0);
    return id < 0 || ipc_send(id, 32768, "plain") != 0 || ipc_send(id, 40000, "beyond") != 0 ||
           ipc_send(id, 1, "urgent") != 0 || ipc_send(id, 7, "") != 0;
}

static int foreign_receive(void *unused) {
    (void)unused;
    struct ipc_packet packet;
    int id = msgget(ipc_key(""), 0);
    if (id < 0 || msgrcv(id, &packet, sizeof packet.text, 32768 - 9, IPC_NOWAIT) != 4 ||
        memcmp(packet.text, "high", 4) != 0) {
        return 1;
    }
    return msgrcv(id, &packet, sizeof packet.text, 0, IPC_NOWAIT) != 3 || memcmp(packet.text, "low", 3) != 0 ||
           packet.type != 32768;
}

/* ---- raw ---- */

static void take_one(thirl *end, const char *text, uint32_t priority) {
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(end, &msg, SOON), 0);
    assert_int_equal(thirl_msg_size(msg), strlen(text));
    assert_memory_equal(thirl_msg_data(msg), text, strlen(text));
    assert_int_equal(thirl_msg_priority(msg), priority);
    thirl_free(&msg);
}

static void raw_receives_from_msgsnd(void **state) {
    (void)state;
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address("?raw"), NULL), 0);
    assert_int_equal(room_run(foreign_send, NULL), 0);
    take_one(end, "urgent", 32767);
    take_one(end, "", 32761);
    take_one(end, "plain", 0);
    take_one(end, "beyond", 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_clean(ipc_address("?raw")), 0);
}

static void raw_sends_to_msgrcv(void **state) {
    (void)state;
    thirl *end = NULL;
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PUSH, ipc_address("?raw"), NULL), 0);
    assert_int_equal(thirl_send(end, "low", 3, SOON), 0);
    assert_int_equal(thirl_loan(end, &msg, 4, SOON), 0);
    memcpy(thirl_msg_data(msg), "high", 4);
    assert_int_equal(thirl_msg_set_priority(msg, 9), 0);
    assert_int_equal(thirl_put(end, &msg, SOON), 0);
    assert_int_equal(room_run(foreign_receive, NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    /* A program without thirl may know it by its key: it stays, and is listed, until somebody says so. */
    assert_int_equal(room_run(foreign_send, NULL), 0);
    assert_int_equal(thirl_clean(ipc_address("?raw")), 4);
    assert_int_equal(room_run(foreign_send, NULL), 1);
}

static void raw_keeps_types_apart(void **state) {
    (void)state;
    thirl *five = NULL, *six = NULL, *out = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    char data[16];
    assert_int_equal(thirl_open(&five, THIRL_PULL, ipc_address("/5?raw"), NULL), 0);
    assert_int_equal(thirl_open(&six, THIRL_PULL, ipc_address("/6?raw"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address("/6?raw"), NULL), 0);
    assert_int_equal(thirl_limits(out, &limits), 0);
    assert_int_equal(limits.priorities, 1);
    int id = msgget(ipc_key(""), 0);
    assert_int_equal(ipc_send(id, 5, "five"), 0);
    assert_int_equal(thirl_send(out, "six", 3, SOON), 0);
    assert_int_equal(thirl_recv(six, data, sizeof data, NULL, SOON), 0);
    assert_memory_equal(data, "six", 3);
    assert_int_equal(thirl_recv(six, data, sizeof data, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_recv(five, data, sizeof data, NULL, SOON), 0);
    assert_memory_equal(data, "five", 4);
    assert_int_equal(thirl_send(out, "six", 3, SOON), 0);
    struct ipc_packet packet;
    assert_int_equal(msgrcv(id, &packet, sizeof packet.text, 0, IPC_NOWAIT), 3);
    assert_int_equal(packet.type, 6);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&six, SOON), 0);
    assert_int_equal(thirl_close(&five, SOON), 0);
    assert_int_equal(thirl_clean(ipc_address("/5?raw")), 0);
}

static int count_left(void *context, const struct thirl_left *left) {
    (void)left;
    ++*(int *)context;
    return 0;
}

static int lefts(void) {
    int left = 0;
    assert_int_equal(thirl_left(count_left, &left), 0);
    return left;
}

static void raw_takes_a_foreign_queue_as_it_is(void **state) {
    (void)state;
    int id = msgget(ipc_key(""), IPC_CREAT | IPC_EXCL | 0600);
    struct msqid_ds about;
    assert_true(id >= 0);
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    about.msg_qbytes = 144;
    assert_int_equal(msgctl(id, IPC_SET, &about), 0);
    thirl *end = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    char data[145] = "", key[40];
    (void)snprintf(key, sizeof key, "sysv://0x%x?raw", (unsigned)ipc_key("")); /* by its key as well as by name */
    assert_int_equal(thirl_open(&end, THIRL_PUSH, key, NULL), 0);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.message_max, 144);
    assert_int_equal(limits.queue, 144);
    assert_int_equal(thirl_send(end, data, 145, SOON), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "144"));
    assert_non_null(strstr(thirl_why(), "kernel.msgmax"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), 0);
    }
    assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(lefts(), 0); /* not thirl's to remove */
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
}

static void says_that_it_was_removed(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    assert_int_equal(thirl_open(&in, THIRL_PULL, ipc_address("?raw"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address("?raw"), NULL), 0);
    ipc_remove(ipc_key(""));
    char byte;
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), -EIDRM);
    assert_non_null(strstr(thirl_why(), "removed"));
    assert_int_equal(thirl_send(out, "x", 1, SOON), -EIDRM);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

static void says_what_a_queue_is_called(void **state) {
    (void)state;
    static const char *const bad[] = {"sysv://",
                                      "sysv://?raw",
                                      "sysv://0x",
                                      "sysv://0x0",
                                      "sysv://0x123456789",
                                      "sysv://0xyz?raw",
                                      "sysv://a/0?raw",
                                      "sysv://a/b?raw",
                                      "sysv://a/?raw",
                                      "sysv:///1?raw",
                                      "sysv://a/-1?raw",
                                      "sysv://0x0/1?raw",
                                      "sysv://a/99999999999999999999?raw"};
    thirl *end = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PULL, bad[i], NULL), -THIRL_EADDRESS);
        assert_non_null(strstr(thirl_why(), bad[i]));
    }
    char other[120];
    thirl *slash = NULL;
    (void)snprintf(other, sizeof other, "sysv://%s/7", ipc_name); /* framed, a slash is part of the name */
    assert_int_equal(thirl_open(&slash, THIRL_PUSH, other, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_send(slash, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_close(&slash, SOON), 0);
    assert_int_equal(thirl_clean(other), 1);
}

/* ---- keys ---- */

static void framed_keeps_away_from_foreign_queues(void **state) {
    (void)state;
    int id = msgget(ipc_key("thirl:"), IPC_CREAT | IPC_EXCL | 0600);
    assert_true(id >= 0);
    thirl *end = NULL;
    char number[32];
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), -EEXIST);
    (void)snprintf(number, sizeof number, "number %d", id);
    assert_non_null(strstr(thirl_why(), number));
    assert_non_null(strstr(thirl_why(), "ipcrm"));
    assert_non_null(strstr(thirl_why(), ipc_name));
    assert_int_equal(lefts(), 0);
    struct msqid_ds about;
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0); /* it is there, though empty */
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

static int keep_one(void *unused) {
    (void)unused;
    thirl *end = NULL;
    return thirl_open(&end, THIRL_PUSH, ipc_address(""), NULL) != 0 || thirl_send(end, "x", 1, SOON) != 0 ||
           thirl_close(&end, SOON) != 0;
}

/* Somebody removes the queue and another program makes one with its key: that one is nobody's to read or remove. */
static void knows_that_a_queue_is_another(void **state) {
    (void)state;
    assert_int_equal(room_run(keep_one, NULL), 0);
    assert_int_equal(lefts(), 1);
    ipc_remove(ipc_key("thirl:"));
    assert_int_equal(lefts(), 0);
    int id = msgget(ipc_key("thirl:"), IPC_CREAT | IPC_EXCL | 0600);
    assert_int_equal(ipc_send(id, 1, "precious"), 0);
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), -EEXIST);
    assert_int_equal(lefts(), 0);
    (void)!thirl_clean(ipc_address(""));
    struct msqid_ds about;
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    assert_int_equal(about.msg_qnum, 1);
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(raw_receives_from_msgsnd, ipc_tidy),
        cmocka_unit_test_teardown(raw_sends_to_msgrcv, ipc_tidy),
        cmocka_unit_test_teardown(raw_keeps_types_apart, ipc_tidy),
        cmocka_unit_test_teardown(raw_takes_a_foreign_queue_as_it_is, ipc_tidy),
        cmocka_unit_test_teardown(says_that_it_was_removed, ipc_tidy),
        cmocka_unit_test_teardown(says_what_a_queue_is_called, ipc_tidy),
        cmocka_unit_test_teardown(framed_keeps_away_from_foreign_queues, ipc_tidy),
        cmocka_unit_test_teardown(knows_that_a_queue_is_another, ipc_tidy),
    };
    return cmocka_run_group_tests(tests, ipc_begin, room_end);
}
