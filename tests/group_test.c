/* SPDX-License-Identifier: MIT
 *
 * PUB and SUB over udp://, on the loopback interface alone: everybody in the group hears every publisher in its order, and sees by the
 * numbers what was lost, came late, or twice. Where this machine carries no multicast there, that is said and skipped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/room.h"
#include "wire/frag.h"

#define LONG thirl_in_ms(10000)
#define MOMENT thirl_in_ms(100)
#define SUBSCRIBERS 3

static char group[40]; /* "239.255.78.1" */
static unsigned port;

static const char *address(const char *options) {
    static char text[4][160];
    static unsigned at;
    at = (at + 1) % 4;
    (void)snprintf(text[at], sizeof text[at], "udp://%s@lo:%u%s%s", group, port, *options ? "?" : "", options);
    return text[at];
}

static thirl *open_as(enum thirl_role role, const char *options) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address(options), NULL);
    if (rc != 0) {
        print_error("%s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    return end;
}

static void close_all(thirl **ends, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(thirl_close(&ends[i], LONG), 0);
    }
}

/* The next message: that number, so many missing before it, and that word in it. */
static void expect(thirl *sub, uint64_t number, uint64_t lost, uint32_t word) {
    thirl_msg *msg = NULL;
    int rc = thirl_take(sub, &msg, LONG);
    if (rc != 0) {
        print_error("number %llu: %s\n", (unsigned long long)number, thirl_why());
    }
    assert_int_equal(rc, 0);
    assert_int_equal(thirl_msg_size(msg), sizeof word);
    assert_memory_equal(thirl_msg_data(msg), &word, sizeof word);
    assert_true(thirl_msg_number(msg) == number);
    assert_true(thirl_msg_lost(msg) == lost);
    thirl_free(&msg);
}

struct counts {
    uint64_t lost, late, twice, refused, expired;
};

static int add(void *context, const struct thirl_seen *seen) {
    struct counts *c = context;
    c->lost += seen->lost;
    c->late += seen->late;
    c->twice += seen->twice;
    c->refused += seen->refused;
    c->expired += seen->expired;
    return 0;
}

static struct counts count(void) {
    struct counts counts = {0, 0, 0, 0, 0};
    assert_int_equal(thirl_list(add, &counts), 0);
    return counts;
}

/* A stranger who says what he likes to the group. */
static int stranger(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct ip_mreqn from = {.imr_ifindex = (int)if_nametoindex("lo")};
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    assert_int_equal(inet_pton(AF_INET, group, &there.sin_addr), 1);
    assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&there, sizeof there), 0);
    return fd;
}

static void utter(int fd, uint64_t node, uint32_t packet, uint32_t word) {
    unsigned char wire[FRAG_LABEL + sizeof word];
    frag_write(wire + sizeof word, &(struct frag_label){.type = FRAG_DATA,
                                                        .node = node,
                                                        .end = 1,
                                                        .packet = packet,
                                                        .message = packet,
                                                        .total = sizeof word,
                                                        .piece = sizeof word});
    memcpy(wire, &word, sizeof word);
    assert_int_equal(send(fd, wire, sizeof wire, 0), sizeof wire);
}

static void everybody_hears_everything(void **state) {
    thirl *ends[SUBSCRIBERS + 2];
    (void)state;
    for (unsigned i = 0; i < SUBSCRIBERS + 2; i++) {
        ends[i] = open_as(i < SUBSCRIBERS ? THIRL_SUB : THIRL_PUB, i % 2 == 0 ? "" : "full=drop-newest");
    }
    for (uint32_t word = 0; word < 500; word++) {
        for (unsigned p = 0; p < 2; p++) {
            uint32_t said = word * 2 + p;
            assert_int_equal(thirl_send(ends[SUBSCRIBERS + p], &said, sizeof said, LONG), 0);
            for (unsigned i = 0; i < SUBSCRIBERS; i++) {
                expect(ends[i], word, 0, said);
            }
        }
    }
    struct counts none = count();
    assert_true(none.lost + none.late + none.twice + none.refused == 0);
    assert_int_equal(thirl_recv(ends[0], NULL, 0, NULL, MOMENT), -ETIMEDOUT);
    assert_non_null(strstr(thirl_why(), "nothing arrived"));
    close_all(ends, SUBSCRIBERS + 2);
}

static void each_publisher_counts_for_itself(void **state) {
    (void)state;
    thirl *sub = open_as(THIRL_SUB, "");
    int fd = stranger();
    utter(fd, 7, 0, 100);
    utter(fd, 7, 1, 101);
    utter(fd, 7, 4, 104);  /* 2 and 3 are missing */
    utter(fd, 9, 70, 270); /* somebody who was there before */
    utter(fd, 9, 71, 271);
    utter(fd, 7, 3, 103); /* too late: its successor was handed out */
    utter(fd, 7, 3, 103);
    utter(fd, 7, 4, 104); /* again */
    utter(fd, 7, 6, 106);
    utter(fd, 9, 74, 274);
    expect(sub, 0, 0, 100);
    expect(sub, 1, 0, 101);
    expect(sub, 4, 2, 104);
    expect(sub, 70, 0, 270);
    expect(sub, 71, 0, 271);
    expect(sub, 6, 1, 106);
    expect(sub, 74, 2, 274);
    assert_int_equal(thirl_recv(sub, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    struct counts c = count();
    assert_int_equal(c.lost, 5);
    assert_int_equal(c.late, 1);
    assert_int_equal(c.twice, 2);
    (void)close(fd);
    close_all(&sub, 1);
}

static void numbers_have_no_end(void **state) {
    (void)state;
    thirl *sub = open_as(THIRL_SUB, "");
    int fd = stranger();
    static const uint32_t packets[] = {UINT32_MAX - 1, UINT32_MAX, 0, 2, UINT32_MAX, 3};
    for (unsigned i = 0; i < 6; i++) {
        utter(fd, 5, packets[i], i);
    }
    expect(sub, UINT32_MAX - 1, 0, 0);
    expect(sub, UINT32_MAX, 0, 1);
    expect(sub, UINT64_C(1) << 32, 0, 2);
    expect(sub, (UINT64_C(1) << 32) + 2, 1, 3);
    expect(sub, (UINT64_C(1) << 32) + 3, 0, 5);
    (void)close(fd);
    close_all(&sub, 1);
}

/* Every message is handed out or told as lost by one that is. */
static void slow_ones_see_what_they_miss(void **state) {
    enum { MANY = 4000 };
    static char bytes[1000];
    (void)state;
    thirl *ends[2] = {open_as(THIRL_SUB, "queue=64K"), open_as(THIRL_PUB, "")};
    uint64_t came = 0, lost = 0, next = 0;
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(thirl_send(ends[1], bytes, sizeof bytes, LONG), 0);
    }
    for (int rc = 0; rc == 0;) {
        thirl_msg *msg = NULL;
        rc = thirl_take(ends[0], &msg, MOMENT);
        if (rc == 0) {
            came++;
            lost += thirl_msg_lost(msg);
            assert_true(thirl_msg_number(msg) == next + thirl_msg_lost(msg));
            next = thirl_msg_number(msg) + 1;
        }
        thirl_free(&msg);
    }
    assert_true(came >= 10 && came < MANY);
    assert_int_equal(thirl_send(ends[1], bytes, 1, LONG), 0); /* what was lost last shows now */
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(ends[0], &msg, LONG), 0);
    lost += thirl_msg_lost(msg);
    assert_int_equal(thirl_msg_number(msg), MANY);
    assert_int_equal(came + lost, MANY);
    assert_int_equal(count().lost, lost);
    thirl_free(&msg);
    close_all(ends, 2);
}

static void old_ones_are_missed(void **state) {
    (void)state;
    thirl *ends[3] = {open_as(THIRL_SUB, "lifespan=10s&crc"), open_as(THIRL_PUB, "lifespan=1ms&crc"),
                      open_as(THIRL_PUB, "lifespan=10s&crc")};
    uint32_t word = 1;
    for (unsigned i = 0; i < 5; i++) {
        word = i;
        assert_int_equal(thirl_send(ends[1], &word, sizeof word, LONG), 0);
        assert_int_equal(thirl_send(ends[2], &word, sizeof word, LONG), 0);
    }
    room_sleep(5 * CLOCK_MS);
    for (unsigned i = 0; i < 5; i++) {
        expect(ends[0], i, 0, i); /* the other's gap is not this one's */
    }
    thirl_msg *msg = NULL;
    uint64_t expired = 5;
    for (int rc = -ETIMEDOUT; rc != 0;) {
        assert_true(expired < 1000);
        assert_int_equal(thirl_send(ends[1], &word, sizeof word, LONG), 0);
        rc = thirl_take(ends[0], &msg, MOMENT);
        expired += rc != 0; /* this process was held up for a millisecond */
    }
    assert_int_equal(thirl_msg_lost(msg), expired);
    assert_int_equal(thirl_msg_number(msg), expired);
    assert_int_equal(count().expired, expired);
    thirl_free(&msg);
    close_all(ends, 3);
}

/* Also with what stands behind them the largest are one datagram. */
static void largest_are_one_datagram(void **state) {
    static const char *const options[] = {"", "crc", "lifespan=10s", "lifespan=10s&crc"};
    static char bytes[65536], came[65536];
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct thirl_limits limits = {.size = sizeof limits};
        thirl *ends[2] = {open_as(THIRL_SUB, options[i]), open_as(THIRL_PUB, options[i])};
        size_t got = 0;
        assert_int_equal(thirl_limits(ends[1], &limits), 0);
        assert_true(limits.message_max >= 65443 && limits.message_max <= 65467);
        memset(bytes, (int)('a' + i), sizeof bytes);
        assert_int_equal(thirl_send(ends[1], bytes, (size_t)limits.message_max + 1, LONG), -EMSGSIZE);
        assert_int_equal(thirl_send(ends[1], bytes, (size_t)limits.message_max, LONG), 0);
        assert_int_equal(thirl_recv(ends[0], came, sizeof came, &got, LONG), 0);
        assert_int_equal(got, limits.message_max);
        assert_memory_equal(came, bytes, got);
        close_all(ends, 2);
    }
}

static void event_loops_hear(void **state) {
    (void)state;
    thirl *ends[2] = {open_as(THIRL_SUB, ""), open_as(THIRL_PUB, "")};
    struct pollfd polled = {.fd = thirl_fd(ends[0]), .events = POLLIN};
    assert_true(polled.fd >= 0);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(poll(&polled, 1, 0), 0);
        assert_int_equal(thirl_send(ends[1], &i, sizeof i, LONG), 0);
        assert_int_equal(poll(&polled, 1, 10000), 1);
        expect(ends[0], i, 0, i);
        assert_int_equal(thirl_recv(ends[0], NULL, 0, NULL, THIRL_NOW), -EAGAIN);
    }
    close_all(ends, 2);
}

static void says_what_it_is(void **state) {
    struct thirl_limits limits = {.size = sizeof limits};
    (void)state;
    thirl *sub = open_as(THIRL_SUB, "");
    assert_int_equal(thirl_limits(sub, &limits), 0);
    assert_true(limits.ordered == 1 && limits.reliable == 0 && limits.receivers == 0 && limits.cross_host == 1);
    assert_int_equal(limits.full, THIRL_FULL_DROP_NEWEST);
    close_all(&sub, 1);
}

static void refuses_what_it_cannot(void **state) {
    static const struct {
        const char *address, *says;
        enum thirl_role role;
        int code;
    } cases[] = {
        {"udp://127.0.0.1:9", "multicast group", THIRL_PUB, -THIRL_EADDRESS},
        {"udp://127.0.0.1:50009", "multicast group", THIRL_SUB, -THIRL_EADDRESS},
        {"udp://239.1.2.3@lo:5000?raw", "push and pull only", THIRL_PUB, -EOPNOTSUPP},
        {"udp://239.1.2.3@lo:5000?max=1M", "one datagram", THIRL_SUB, -EMSGSIZE},
        {"udp://239.1.2.3@lo:5000?full=block", "block", THIRL_PUB, -EOPNOTSUPP},
        {"udp://239.1.2.3@lo:5000?history=3", "history", THIRL_PUB, -EOPNOTSUPP},
        {"udp://239.1.2.3@lo:5000?of=frame", "nobody greets", THIRL_SUB, -EOPNOTSUPP},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thirl *end = NULL;
        unsigned before = room_descriptors();
        int rc = thirl_open(&end, cases[i].role, cases[i].address, NULL);
        if (rc != cases[i].code || strstr(thirl_why(), cases[i].says) == NULL) {
            print_error("%s: %s\n", cases[i].address, thirl_why());
        }
        assert_int_equal(rc, cases[i].code);
        assert_non_null(strstr(thirl_why(), cases[i].says));
        assert_int_equal(room_descriptors(), before);
    }
}

static int begin(void **state) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (room_begin(state) != 0 || bind(fd, (struct sockaddr *)&here, size) != 0 ||
        getsockname(fd, (struct sockaddr *)&here, &size) != 0) {
        return -1;
    }
    port = ntohs(here.sin_port);
    (void)close(fd);
    (void)snprintf(group, sizeof group, "239.255.78.%u", (unsigned)getpid() % 250 + 1);
    return 0;
}

/* Does anything that is sent to a group on the loopback interface arrive? */
static bool is_carried(void) {
    thirl *sub = NULL, *pub = NULL;
    bool carried = thirl_open(&sub, THIRL_SUB, address(""), NULL) == 0 &&
                   thirl_open(&pub, THIRL_PUB, address(""), NULL) == 0 && thirl_send(pub, "x", 1, LONG) == 0 &&
                   thirl_recv(sub, (char[1]){0}, 1, NULL, thirl_in_ms(3000)) == 0;
    (void)!thirl_close(&sub, THIRL_NOW);
    (void)!thirl_close(&pub, THIRL_NOW);
    return carried;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_hears_everything), cmocka_unit_test(each_publisher_counts_for_itself),
        cmocka_unit_test(numbers_have_no_end),        cmocka_unit_test(slow_ones_see_what_they_miss),
        cmocka_unit_test(old_ones_are_missed),        cmocka_unit_test(largest_are_one_datagram),
        cmocka_unit_test(event_loops_hear),           cmocka_unit_test(says_what_it_is),
        cmocka_unit_test(refuses_what_it_cannot),
    };
    if (begin(NULL) != 0) {
        return 1;
    }
    if (!is_carried()) {
        printf("no multicast on the loopback interface here: %s\n", thirl_why());
        (void)room_end(NULL);
        return 77;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return room_end(NULL) != 0 || failed != 0;
}
