/* SPDX-License-Identifier: MIT
 *
 * Carriers of packets and a kernel that denies them something: what they can do without they do without, and the rest they say.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/carried.h"
#include "tests/member.h"
#include "tests/quota.h"
#include "tests/refuse.h"

#define SOON thirl_in_ms(20000)

static char byte, address[100];
static size_t size;

static struct want {
    const char *address; /* %d: this process */
    enum thirl_role from, to;
    long call;
    int error, says; /* of a send, where one is denied */
} const names[] = {{"unix://%s/denied-%d?type=datagram", 0, 0, SYS_bind, EACCES, 0},
                   {"unix://@%s/denied-%d?type=datagram", 0, 0, SYS_bind, EACCES, 0}},
        without[] = {{"unix://@denied-%d?type=datagram", THIRL_READ, THIRL_WRITE, SYS_bind, ENOMEM, 0},
                     {"unix://@denied-%d?type=datagram", THIRL_READ, THIRL_WRITE, SYS_getsockname, ENOBUFS, 0}},
        sends[] = {{"mq://denied-%d?queue=16K", THIRL_PULL, THIRL_PUSH, SYS_mq_timedsend, ENOMEM, -EAGAIN},
                   {"mq://denied-%d?queue=16K", THIRL_PULL, THIRL_PUSH, SYS_mq_timedsend, EINTR, -EAGAIN},
                   {"mq://denied-%d?queue=16K", THIRL_PULL, THIRL_PUSH, SYS_mq_timedsend, EAGAIN, -EAGAIN},
                   {"mq://denied-%d?queue=16K", THIRL_PULL, THIRL_PUSH, SYS_mq_timedsend, EBADF, -EBADF}};

#define IN_CHILDREN(body, wants)                                                                                       \
    for (unsigned i = 0; i < sizeof(wants) / sizeof *(wants); i++) {                                                   \
        assert_int_equal(member_clear(state), 0);                                                                      \
        int rc = room_run(body, (void *)(uintptr_t) & (wants)[i]);                                                     \
        if (rc == REFUSE_SKIP) skip();                                                                                 \
        if (rc != 0) fail_msg("%u", i);                                                                                \
    }

/* A name that cannot be had is an error that says so. */
static int bind_in_vain(void *given) {
    const struct want *want = given;
    thirl *end = NULL;
    (void)snprintf(address, sizeof address, want->address, room_path, (int)getpid());
    if (refuse(want->call, want->error) != 0) return REFUSE_SKIP;
    CHECK(thirl_open(&end, THIRL_PULL, address, NULL) == -EACCES && end == NULL);
    CHECK(strstr(thirl_why(), "cannot bind the socket") != NULL);
    return 0;
}

static void a_name_that_cannot_be_had_is_said(void **state) {
    IN_CHILDREN(bind_in_vain, names)
}

/* Where a sender gets no name of its own its receiver cannot keep others away, and hears it all the same. */
static int send_without_a_name(void *given) {
    const struct want *want = given;
    thirl *in, *out;
    (void)snprintf(address, sizeof address, want->address, (int)getpid());
    CHECK(thirl_open(&in, want->from, address, NULL) == 0);
    if (refuse(want->call, want->error) != 0) return REFUSE_SKIP;
    CHECK(thirl_open(&out, want->to, address, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(thirl_send(out, "x", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0 && byte == 'x');
    }
    CHECK(!((struct carried *)in->state)->as.duct.in.confined);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == THIRL_END);
    CHECK(thirl_close(&in, SOON) >= 0);
    return 0;
}

static void a_sender_without_a_name_is_heard(void **state) {
    IN_CHILDREN(send_without_a_name, without)
}

/* What passes is waited for; what does not is said. */
static int send_in_vain(void *given) {
    const struct want *want = given;
    thirl *in, *out;
    (void)snprintf(address, sizeof address, want->address, (int)getpid());
    if (thirl_open(&in, want->from, address, NULL) != 0) return REFUSE_SKIP;
    CHECK(thirl_open(&out, want->to, address, NULL) == 0);
    CHECK(thirl_send(out, "x", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0);
    if (refuse(want->call, want->error) != 0) return REFUSE_SKIP;
    CHECK(thirl_send(out, "x", 1, THIRL_NOW) == want->says);
    CHECK(want->says == -EAGAIN || strstr(thirl_why(), "cannot be sent to") != NULL);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

static void a_send_that_is_denied_waits_or_says_so(void **state) {
    IN_CHILDREN(send_in_vain, sends)
}

/* On a host that leads nowhere nobody knows of broadcasts; and where the kernel does not say how much may wait, nothing is said of that. */
static int ask_the_network(void *given) {
    const struct want *want = given;
    struct thirl_limits limits = {.size = sizeof limits};
    thirl *in, *out = NULL;
    (void)snprintf(address, sizeof address, want->address, 20000 + (int)getpid() % 10000);
    if (want->call == SYS_connect) CHECK(thirl_open(&out, THIRL_PUSH, address, NULL) == 0);
    if (refuse(want->call, want->error) != 0) return REFUSE_SKIP;
    CHECK(thirl_open(&in, THIRL_PULL, address, NULL) == 0);
    CHECK(out != NULL || thirl_open(&out, THIRL_PUSH, address, NULL) == 0);
    CHECK(thirl_limits(in, &limits) == 0 && limits.receivers == 1);
    CHECK((limits.queue == 0) == (want->call == SYS_getsockopt));
    CHECK(thirl_send(out, "x", 1, SOON) == 0 && thirl_recv(in, &byte, 1, &size, SOON) == 0 && byte == 'x');
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

static void a_network_that_says_nothing_is_used(void **state) {
    static const struct want wants[] = {{"udp://127.0.0.1:%d", 0, 0, SYS_connect, ENETUNREACH, 0},
                                        {"udp://127.0.0.1:%d", 0, 0, SYS_getsockopt, ENOPROTOOPT, 0}};
    IN_CHILDREN(ask_the_network, wants)
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_cannot_be_had_is_said),
        cmocka_unit_test(a_sender_without_a_name_is_heard),
        cmocka_unit_test(a_send_that_is_denied_waits_or_says_so),
        cmocka_unit_test(a_network_that_says_nothing_is_used),
    };
    (void)quota_take(false);
    return cmocka_run_group_tests_name("denied", tests, member_begin, room_end);
}
