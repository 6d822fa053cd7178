/* SPDX-License-Identifier: MIT
 *
 * A tray over real sockets: every packet once, whole and in order, however many come at once; and how many it asks for.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/tray.h"

#define PACKET 20000

struct pair {
    int in, out;
    struct tray *tray;
    unsigned calls; /* that the tray made */
};

static void make(struct pair *p, int type) {
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fd), 0);
    *p = (struct pair){fd[0], fd[1], tray_make(PACKET, true), 0};
    assert_non_null(p->tray);
}

static void finish(struct pair *p) {
    tray_free(&p->tray);
    assert_null(p->tray);
    close(p->in);
    if (p->out >= 0) {
        close(p->out);
    }
}

/* As a user of a tray receives: through it when it says so, else beside it. */
static ssize_t receive(struct pair *p, void *buffer, size_t capacity) {
    if (tray_is_due(p->tray)) {
        const struct iovec part = {buffer, capacity};
        p->calls += !tray_holds(p->tray);
        return tray_recv(p->tray, p->in, &part, 1, MSG_DONTWAIT, NULL, NULL);
    }
    p->calls++;
    return recv(p->in, buffer, capacity, MSG_DONTWAIT | MSG_TRUNC);
}

static void send_number(const struct pair *p, uint32_t number, size_t size) {
    static unsigned char data[PACKET + 100];
    memset(data, (int)(number & 0xff), size);
    memcpy(data, &number, sizeof number);
    assert_int_equal(send(p->out, data, size, 0), size);
}

static void expect_number(struct pair *p, uint32_t number, size_t size) {
    static unsigned char data[PACKET];
    uint32_t got;
    assert_int_equal(receive(p, data, sizeof data), size);
    memcpy(&got, data, sizeof got);
    assert_int_equal(got, number);
    if (size > sizeof number) {
        assert_int_equal(data[size - 1], number & 0xff);
    }
}

static void every_packet_once_and_in_order(void **state) {
    (void)state;
    for (int type = 0; type < 2; type++) {
        struct pair p;
        make(&p, type == 0 ? SOCK_SEQPACKET : SOCK_DGRAM);
        uint32_t sent = 0, got = 0;
        for (unsigned round = 0; round < 400; round++) {
            unsigned burst = (unsigned)rand() % 9;
            for (unsigned i = 0; i < burst; i++, sent++) {
                send_number(&p, sent, 4 + sent * 7919 % 9000);
            }
            for (unsigned i = (unsigned)rand() % 9; i > 0 && got < sent; i--, got++) {
                expect_number(&p, got, 4 + got * 7919 % 9000);
            }
            for (; sent - got > 6; got++) {
                expect_number(&p, got, 4 + got * 7919 % 9000);
            }
        }
        for (; got < sent; got++) {
            expect_number(&p, got, 4 + got * 7919 % 9000);
        }
        assert_false(tray_holds(p.tray));
        unsigned char byte;
        assert_int_equal(receive(&p, &byte, 1), -1);
        assert_int_equal(errno, EAGAIN);
        finish(&p);
    }
}

/* Where the sender is far ahead, eight packets cost one call; where he is not, each costs one, and the looks for more are few. */
static void calls_follow_the_backlog(void **state) {
    (void)state;
    struct pair p;
    make(&p, SOCK_SEQPACKET);
    for (uint32_t i = 0; i < 1000; i++) {
        send_number(&p, i, 4);
        expect_number(&p, i, 4);
    }
    assert_int_equal(p.calls, 1000);
    for (unsigned round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < 64; i++) {
            send_number(&p, i, 64);
        }
        p.calls = round == 0 ? 0 : p.calls;
        for (uint32_t i = 0; i < 64; i++) {
            expect_number(&p, i, 64);
        }
    }
    assert_in_range(p.calls, 20 * 64 / TRAY_DEPTH, 2 * 20 * 64 / TRAY_DEPTH);
    finish(&p);
}

/* Copying what is large costs more than a call. */
static void large_packets_come_one_by_one(void **state) {
    (void)state;
    struct pair p;
    unsigned in_tray = 0;
    make(&p, SOCK_SEQPACKET);
    for (unsigned round = 0; round < 200; round++) {
        for (uint32_t i = 0; i < 5; i++) {
            send_number(&p, i, PACKET);
        }
        for (uint32_t i = 0; i < 5; i++) {
            expect_number(&p, i, PACKET);
            in_tray += tray_holds(p.tray);
        }
    }
    assert_in_range(in_tray, 1, 10);
    finish(&p);
}

static void parts_are_filled_one_after_the_other(void **state) {
    (void)state;
    struct pair p;
    char first[3], last[64];
    const struct iovec part[2] = {{first, sizeof first}, {last, sizeof last}};
    make(&p, SOCK_SEQPACKET);
    assert_int_equal(send(p.out, "abcdefgh", 8, 0), 8);
    assert_int_equal(send(p.out, "xy", 2, 0), 2);
    assert_int_equal(tray_recv(p.tray, p.in, part, 2, MSG_DONTWAIT, NULL, NULL), 8);
    assert_true(tray_holds(p.tray));
    assert_memory_equal(first, "abc", 3);
    assert_memory_equal(last, "defgh", 5);
    assert_int_equal(tray_recv(p.tray, p.in, part, 2, MSG_DONTWAIT, NULL, NULL), 2);
    assert_memory_equal(first, "xyc", 3);
    finish(&p);
}

/* Its whole size is told, and nothing is written behind the places. */
static void too_large_a_packet_is_told(void **state) {
    (void)state;
    struct pair p;
    static unsigned char data[PACKET + 100];
    make(&p, SOCK_DGRAM);
    const struct iovec part = {data, sizeof data};
    send_number(&p, 1, PACKET + 100);
    send_number(&p, 2, 4);
    assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, NULL, NULL), PACKET + 100);
    assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, NULL, NULL), 4);
    finish(&p);
}

static void the_end_comes_behind_the_packets(void **state) {
    (void)state;
    struct pair p;
    char byte;
    make(&p, SOCK_SEQPACKET);
    for (uint32_t i = 0; i < 21; i++) {
        send_number(&p, i, 4);
    }
    close(p.out);
    p.out = -1;
    for (uint32_t i = 0; i < 21; i++) {
        expect_number(&p, i, 4);
    }
    assert_int_equal(receive(&p, &byte, 1), 0);
    finish(&p);
}

/* Who sent it stands beside each packet, also when it comes with others. */
static void what_the_kernel_says_stays_with_its_packet(void **state) {
    (void)state;
    struct pair p;
    const int yes = 1;
    make(&p, SOCK_DGRAM);
    assert_int_equal(setsockopt(p.in, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), 0);
    for (uint32_t i = 0; i < 6; i++) {
        send_number(&p, i, 8);
    }
    for (uint32_t i = 0; i < 6; i++) {
        struct msghdr *told = NULL;
        char data[8];
        const struct iovec part = {data, sizeof data};
        assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, &told, NULL), 8);
        struct cmsghdr *c = CMSG_FIRSTHDR(told);
        struct ucred cred;
        assert_non_null(c);
        assert_int_equal(c->cmsg_type, SCM_CREDENTIALS);
        memcpy(&cred, CMSG_DATA(c), sizeof cred);
        assert_int_equal(cred.pid, getpid());
    }
    finish(&p);
}

/* Descriptors come where there is room to tell of them, so there is none unless somebody asks. */
static void no_descriptor_comes_uninvited(void **state) {
    (void)state;
    struct pair p;
    make(&p, SOCK_SEQPACKET);
    int lowest = dup(0);
    close(lowest);
    for (int i = 0; i < 4; i++) {
        union {
            struct cmsghdr head;
            char room[CMSG_SPACE(sizeof(int))];
        } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
        struct iovec part = {(void *)(uintptr_t) "x", 1};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        memcpy(CMSG_DATA(&control.head), &p.out, sizeof p.out);
        assert_int_equal(sendmsg(p.out, &message, 0), 1);
    }
    for (int i = 0; i < 4; i++) {
        char byte;
        const struct iovec part = {&byte, 1};
        assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, NULL, NULL), 1);
    }
    int now = dup(0);
    close(now);
    assert_int_equal(now, lowest);
    finish(&p);
}

static void what_is_dropped_is_gone(void **state) {
    (void)state;
    struct pair p;
    make(&p, SOCK_SEQPACKET);
    char byte;
    const struct iovec part = {&byte, 1};
    for (uint32_t i = 0; i < 2; i++) {
        send_number(&p, i, 4);
    }
    assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, NULL, NULL), 4);
    assert_true(tray_holds(p.tray));
    tray_drop(p.tray);
    assert_false(tray_holds(p.tray));
    assert_int_equal(tray_recv(p.tray, p.in, &part, 1, MSG_DONTWAIT, NULL, NULL), -1);
    tray_drop(NULL);
    finish(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_packet_once_and_in_order),
        cmocka_unit_test(calls_follow_the_backlog),
        cmocka_unit_test(large_packets_come_one_by_one),
        cmocka_unit_test(parts_are_filled_one_after_the_other),
        cmocka_unit_test(too_large_a_packet_is_told),
        cmocka_unit_test(the_end_comes_behind_the_packets),
        cmocka_unit_test(what_the_kernel_says_stays_with_its_packet),
        cmocka_unit_test(no_descriptor_comes_uninvited),
        cmocka_unit_test(what_is_dropped_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
