/* SPDX-License-Identifier: MIT
 *
 * Hosts and ports, with a resolver that says what a test wants to hear; and how tcp:// and udp:// go through the addresses of a name that stands
 * for several.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "mech/host.h"
#include "tests/room.h"

#define LONG thirl_in_ms(10000)
#define STRANGE 200 /* a family that no kernel has */

/* ---- the resolver ---- */

struct answer {
    int rc, code;
    unsigned count;
    struct sockaddr_in at[12];
};

static struct answer answer;

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    (void)name;
    (void)hints;
    for (unsigned i = answer.count; answer.rc == 0 && i-- > 0;) {
        struct addrinfo *one = calloc(1, sizeof *one);
        assert_non_null(one);
        answer.at[i].sin_port = htons((uint16_t)strtoul(port, NULL, 10));
        *one = (struct addrinfo){.ai_addr = (struct sockaddr *)&answer.at[i], .ai_addrlen = sizeof answer.at[i]};
        one->ai_next = *found;
        *found = one;
    }
    errno = answer.code;
    return answer.rc;
}

void freeaddrinfo(struct addrinfo *found) {
    while (found != NULL) {
        struct addrinfo *next = found->ai_next;
        free(found);
        found = next;
    }
}

static struct sockaddr_in spot(sa_family_t family, const char *text) {
    struct sockaddr_in at = {.sin_family = family};
    assert_int_equal(inet_pton(AF_INET, text, &at.sin_addr), 1);
    return at;
}

static void must_say(const char *part) {
    if (strstr(thirl_why(), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, thirl_why());
    }
}

static void what_the_resolver_says_is_told(void **state) {
    static const struct {
        int rc, code, told;
        const char *part;
    } all[] = {
        {EAI_SYSTEM, EMFILE, -EMFILE, "cannot look up the host \"there\""},
        {EAI_MEMORY, 0, -ENOMEM, "there"},
        {EAI_AGAIN, 0, -EHOSTUNREACH, "there"},
        {EAI_NONAME, 0, -THIRL_EADDRESS, "there"},
    };
    struct host host;
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        answer = (struct answer){.rc = all[i].rc, .code = all[i].code};
        assert_int_equal(host_read(&host, "tcp://there:5", "tcp", "there:5", SOCK_STREAM), all[i].told);
        must_say(all[i].part);
        assert_int_equal(host.spots, 0);
    }
}

static void of_many_addresses_the_first_are_kept(void **state) {
    struct host host;
    (void)state;
    answer = (struct answer){.count = 12};
    for (unsigned i = 0; i < 12; i++) {
        answer.at[i] = spot(AF_INET, "127.0.0.1");
        answer.at[i].sin_addr.s_addr += htonl(i);
    }
    assert_int_equal(host_read(&host, "tcp://there:5", "tcp", "there:5", SOCK_STREAM), 0);
    assert_int_equal(host.spots, HOST_SPOTS);
    assert_int_equal(host.port, 5);
    for (unsigned i = 0; i < HOST_SPOTS; i++) {
        assert_int_equal(host.spot[i].length, sizeof answer.at[i]);
        assert_memory_equal(&host.spot[i].at, &answer.at[i], sizeof answer.at[i]);
    }
}

static void what_is_not_host_and_port_is_named(void **state) {
    static const char *const wrong[][2] = {
        {"there", "host:port"},
        {":5", "host:port"},
        {"::1:5", "brackets"},
        {"[::1:5", "brackets"},
        {"there:", "not \"\""},
        {"there:x", "not \"x\""},
        {"there:+5", "not \"+5\""},
        {"there:5x", "not \"5x\""},
        {"there:0", "1 to 65535"},
        {"there:65536", "65535"},
        {"there:99999999999999999999", "65535"},
    };
    char name[300];
    struct host host;
    (void)state;
    answer = (struct answer){.count = 1, .at[0] = spot(AF_INET, "127.0.0.1")};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(host_read(&host, "tcp://x", "tcp", wrong[i][0], SOCK_STREAM), -THIRL_EADDRESS);
        must_say(wrong[i][1]);
    }
    memset(name, 'a', sizeof name);
    memcpy(name + 256, ":5", sizeof ":5");
    assert_int_equal(host_read(&host, "tcp://x", "tcp", name, SOCK_STREAM), -THIRL_EADDRESS);
    assert_int_equal(host_read(&host, "tcp://x", "tcp", name + 1, SOCK_STREAM), 0); /* the longest */
    assert_int_equal(host_read(&host, "tcp://x", "tcp", "[::1]:65535", SOCK_STREAM), 0);
    assert_int_equal(host.port, 65535);
}

/* ---- a name that stands for several addresses ---- */

static unsigned free_port(int type) {
    struct sockaddr_in at = spot(AF_INET, "127.0.0.1");
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    (void)close(fd);
    return ntohs(at.sin_port);
}

static int open_at(thirl **end, enum thirl_role role, const char *scheme, unsigned port) {
    char address[64];
    (void)snprintf(address, sizeof address, "%s://there:%u", scheme, port);
    return thirl_open(end, role, address, NULL);
}

static void must_carry(thirl *from, thirl *to) {
    char byte = 0;
    assert_int_equal(thirl_send(from, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(to, &byte, 1, NULL, LONG), 0);
    assert_int_equal(byte, 'x');
}

/* One of a family that this host has not, one that is another host's, and one of its own: whoever listens takes that. */
static void who_listens_takes_the_address_that_is_ours(void **state) {
    static const char *const schemes[] = {"tcp", "udp"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        thirl *in = NULL, *out = NULL;
        unsigned port = free_port(i == 0 ? SOCK_STREAM : SOCK_DGRAM);
        answer = (struct answer){
            .count = 3, .at = {spot(STRANGE, "127.0.0.1"), spot(AF_INET, "192.0.2.77"), spot(AF_INET, "127.0.0.1")}};
        assert_int_equal(open_at(&in, i == 0 ? THIRL_PAIR : THIRL_PULL, schemes[i], port), 0);
        answer = (struct answer){.count = 2, .at = {spot(STRANGE, "127.0.0.1"), spot(AF_INET, "127.0.0.1")}};
        assert_int_equal(open_at(&out, i == 0 ? THIRL_PAIR : THIRL_PUSH, schemes[i], port), 0);
        must_carry(out, in);
        assert_int_equal(thirl_close(&out, LONG), 0);
        assert_int_equal(thirl_close(&in, LONG), 0);
    }
}

static void who_find_the_same_addresses_meet_at_the_first(void **state) {
    (void)state;
    thirl *a = NULL, *b = NULL;
    unsigned port = free_port(SOCK_STREAM);
    answer = (struct answer){.count = 2, .at = {spot(AF_INET, "127.0.0.1"), spot(AF_INET, "127.0.0.2")}};
    assert_int_equal(open_at(&a, THIRL_PAIR, "tcp", port), 0);
    assert_int_equal(open_at(&b, THIRL_PAIR, "tcp", port), 0);
    must_carry(b, a);
    must_carry(a, b);
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_int_equal(thirl_close(&b, LONG), 0);
}

/* Whoever only calls tries one after the other, again and again. */
static void who_calls_tries_each(void **state) {
    (void)state;
    thirl *out = NULL, *in = NULL;
    char byte = 0;
    int rc = -EAGAIN;
    unsigned port = free_port(SOCK_STREAM);
    answer = (struct answer){
        .count = 3, .at = {spot(AF_INET, "127.0.0.2"), spot(STRANGE, "127.0.0.1"), spot(AF_INET, "127.0.0.1")}};
    assert_int_equal(open_at(&in, THIRL_SUB, "tcp", port), 0);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    answer = (struct answer){.count = 1, .at = {spot(AF_INET, "127.0.0.1")}};
    assert_int_equal(open_at(&out, THIRL_PUB, "tcp", port), 0);
    for (int i = 0; i < 200 && rc != 0; i++) {
        (void)!thirl_send(out, "x", 1, LONG);
        rc = thirl_recv(in, &byte, 1, NULL, thirl_in_ms(50));
    }
    assert_int_equal(rc, 0);
    assert_true(thirl_close(&out, LONG) >= 0);
    assert_int_equal(thirl_close(&in, LONG), 0);
}

static int open_in_a_hurry(void *address) {
    thirl *in = NULL;
    return thirl_open(&in, THIRL_SUB, address, NULL) != 0 || thirl_close(&in, LONG) != 0;
}

/* Who has less time than a publisher is given to answer takes no longer. */
static void who_is_in_a_hurry_does_not_wait_for_an_answer(void **state) {
    (void)state;
    thirl *out = NULL, *in = NULL;
    char address[64], byte = 0;
    int rc = -EAGAIN;
    unsigned port = free_port(SOCK_STREAM);
    answer = (struct answer){.count = 1, .at = {spot(AF_INET, "127.0.0.1")}};
    assert_int_equal(open_at(&out, THIRL_PUB, "tcp", port), 0);
    (void)snprintf(address, sizeof address, "tcp://there:%u?timeout=4ms", port);
    assert_int_equal(room_run(open_in_a_hurry, address), 0);
    assert_int_equal(thirl_open(&in, THIRL_SUB, address, NULL), 0);
    for (int i = 0; i < 200 && rc != 0; i++) {
        (void)!thirl_send(out, "x", 1, LONG);
        rc = thirl_recv(in, &byte, 1, NULL, thirl_in_ms(50));
    }
    assert_int_equal(rc, 0);
    assert_true(thirl_close(&out, LONG) >= 0);
    assert_int_equal(thirl_close(&in, LONG), 0);
}

static void where_nothing_is_ours_nobody_publishes(void **state) {
    (void)state;
    thirl *end = NULL;
    answer = (struct answer){.count = 2, .at = {spot(AF_INET, "192.0.2.77"), spot(STRANGE, "127.0.0.1")}};
    assert_int_equal(open_at(&end, THIRL_PUB, "tcp", 5000), -EADDRNOTAVAIL);
    must_say("no address of this host");
    assert_int_equal(open_at(&end, THIRL_PULL, "udp", 5000), -EADDRNOTAVAIL);
    answer.at[0] = answer.at[1];
    assert_int_equal(open_at(&end, THIRL_PAIR, "tcp", 5000), -EAFNOSUPPORT);
    must_say("no socket");
}

static void what_tcp_has_not_is_refused(void **state) {
    (void)state;
    thirl *end = NULL;
    answer = (struct answer){.count = 1, .at = {spot(AF_INET, "127.0.0.1")}};
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "tcp://there:5000?type=seqpacket", NULL), -THIRL_EADDRESS);
    must_say("it is a stream");
}

/* More than a socket may have is as much as it may have. */
static void a_queue_is_as_long_as_the_kernel_lets_it_be(void **state) {
    static const char *const schemes[] = {"tcp", "udp"};
    (void)state;
    answer = (struct answer){.count = 1, .at = {spot(AF_INET, "127.0.0.1")}};
    for (int i = 0; i < 2; i++) {
        uint64_t most[2];
        for (int k = 0; k < 2; k++) {
            thirl *end = NULL;
            char address[64];
            struct thirl_limits limits = {.size = sizeof limits};
            (void)snprintf(address, sizeof address, "%s://there:%u?queue=%s", schemes[i],
                           free_port(i == 0 ? SOCK_STREAM : SOCK_DGRAM), k == 0 ? "1G" : "4G");
            assert_int_equal(thirl_open(&end, i == 0 ? THIRL_PAIR : THIRL_PULL, address, NULL), 0);
            assert_int_equal(thirl_limits(end, &limits), 0);
            most[k] = limits.queue;
            assert_int_equal(thirl_close(&end, LONG), 0);
        }
        assert_true(most[0] > 0 && most[1] > most[0] / 2);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_resolver_says_is_told),
        cmocka_unit_test(of_many_addresses_the_first_are_kept),
        cmocka_unit_test(what_is_not_host_and_port_is_named),
        cmocka_unit_test(who_listens_takes_the_address_that_is_ours),
        cmocka_unit_test(who_find_the_same_addresses_meet_at_the_first),
        cmocka_unit_test(who_calls_tries_each),
        cmocka_unit_test(who_is_in_a_hurry_does_not_wait_for_an_answer),
        cmocka_unit_test(where_nothing_is_ours_nobody_publishes),
        cmocka_unit_test(what_tcp_has_not_is_refused),
        cmocka_unit_test(a_queue_is_as_long_as_the_kernel_lets_it_be),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
