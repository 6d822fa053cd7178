/* SPDX-License-Identifier: MIT
 *
 * tcp:// and udp:// on a network of this test's own, with which it does as it likes: a link that is down, or narrow, or goes away, one port for
 * all, and hosts that say why a datagram did not arrive. Who may not have such a network skips that.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "include/thirl/thirl.h"
#include "tests/member.h"
#include "wire/frag.h"

#define LONG thirl_in_ms(10000)

/* Of the loopback link: it is up or down, and that wide. */
static int set_link(bool up, int mtu) {
    struct ifreq request = {.ifr_name = "lo", .ifr_mtu = mtu};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = ioctl(fd, SIOCSIFMTU, &request);
    rc = rc == 0 ? ioctl(fd, SIOCGIFFLAGS, &request) : rc;
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    rc = rc == 0 ? ioctl(fd, SIOCSIFFLAGS, &request) : rc;
    (void)close(fd);
    return rc;
}

/* Each test has a process with a network in which nothing is. */
static bool enter(void) {
    return unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) return 77;                                                                                   \
    } while (0)

static void run(int (*body)(void *)) {
    int rc = room_run(body, NULL);
    if (rc == 77) {
        print_message("skip: this user may not have a network of its own\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

#define IN_A_NETWORK(name)                                                                                             \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        run(do_##name);                                                                                                \
    }

static int open_end(thirl **end, enum thirl_role role, const char *address) {
    return thirl_open(end, role, address, NULL);
}

static bool said(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static int see_lost(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->pid == getpid() ? seen->lost : 0;
    return 0;
}

static uint64_t lost(void) {
    uint64_t sum = 0;
    return thirl_list(see_lost, &sum) == 0 ? sum : UINT64_MAX;
}

/* ---- tcp ---- */

static bool set_ports(unsigned from, unsigned to) {
    char text[32];
    int length = snprintf(text, sizeof text, "%u %u", from, to);
    int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    bool set = fd >= 0 && write(fd, text, (size_t)length) == length;
    (void)close(fd);
    return set;
}

/* With one port for all, a call to it where nobody listens comes from there, too, and reaches itself: that is nobody, and whoever comes to
 * listen is found. */
static int do_who_calls_himself_has_met_nobody(void *argument) {
    thirl *in = NULL, *out = NULL;
    char byte = 0;
    int rc = -EAGAIN;
    (void)argument;
    NEED(enter() && set_link(true, 65536) == 0 && set_ports(5000, 5000));
    CHECK(open_end(&in, THIRL_SUB, "tcp://127.0.0.1:5000") == 0);
    CHECK(thirl_recv(in, &byte, 1, NULL, thirl_in_ms(50)) == -ETIMEDOUT);
    struct thirl_peer peer = {.size = sizeof peer};
    CHECK(thirl_peer(in, &peer) == -ENOTCONN);
    CHECK(set_ports(6000, 6100));
    CHECK(open_end(&out, THIRL_PUB, "tcp://127.0.0.1:5000") == 0);
    for (int i = 0; i < 200 && rc != 0; i++) {
        (void)!thirl_send(out, "x", 1, LONG);
        rc = thirl_recv(in, &byte, 1, NULL, thirl_in_ms(50));
    }
    CHECK(rc == 0 && byte == 'x');
    CHECK(thirl_close(&out, LONG) >= 0);
    CHECK(thirl_close(&in, LONG) == 0);
    return 0;
}
IN_A_NETWORK(who_calls_himself_has_met_nobody)

/* ---- udp: links ---- */

static int do_a_group_behind_no_link_is_told(void *argument) {
    thirl *end = NULL;
    (void)argument;
    NEED(enter());
    CHECK(open_end(&end, THIRL_PUSH, "udp://239.255.78.7@lo:5000") == -ENETUNREACH);
    CHECK(said("that interface reaches no multicast group"));
    CHECK(open_end(&end, THIRL_PUSH, "udp://239.255.78.7:5000") == -ENETUNREACH);
    CHECK(said("name an interface"));
    CHECK(open_end(&end, THIRL_PULL, "udp://239.255.78.7:5000") == -ENODEV);
    CHECK(said("name an interface"));
    return 0;
}
IN_A_NETWORK(a_group_behind_no_link_is_told)

/* A link that is narrower than any should be gets the pieces that each must take. */
static int do_pieces_are_as_large_as_the_link_takes(void *argument) {
    static const struct {
        int mtu;
        size_t piece;
    } all[] = {{1500, 1472}, {577, 549}, {576, 548}, {300, 548}};
    (void)argument;
    NEED(enter());
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        thirl *in = NULL, *out = NULL;
        struct thirl_limits limits = {.size = sizeof limits};
        static char data[150000], back[150000];
        size_t size = 0;
        NEED(set_link(true, all[i].mtu) == 0);
        CHECK(open_end(&in, THIRL_PULL, "udp://127.0.0.1:5000?max=150000") == 0);
        CHECK(open_end(&out, THIRL_PUSH, "udp://127.0.0.1:5000?max=150000") == 0);
        CHECK(thirl_limits(out, &limits) == 0);
        CHECK(limits.atomic_max == all[i].piece - FRAG_LABEL);
        memset(data, (int)i + 1, sizeof data);
        CHECK(thirl_send(out, data, 30000, LONG) == 0);
        CHECK(thirl_recv(in, back, sizeof back, &size, LONG) == 0);
        CHECK(size == 30000 && memcmp(data, back, size) == 0);
        CHECK(thirl_close(&out, LONG) == 0);
        CHECK(thirl_close(&in, LONG) == 0);
    }
    return 0;
}
IN_A_NETWORK(pieces_are_as_large_as_the_link_takes)

/* ---- udp: what other hosts say ---- */

/* Says of the datagram that fd gets next why it has not arrived, as its host or one on the way would. */
static bool complain(int fd, int raw, uint8_t type, uint8_t code) {
    struct {
        struct icmphdr head;
        struct iphdr ip;
        struct udphdr udp;
    } __attribute__((packed)) text = {.head = {.type = type, .code = code}};
    struct sockaddr_in from, here;
    socklen_t of_from = sizeof from, of_here = sizeof here;
    uint32_t sum = 0;
    uint16_t word;
    char byte;
    if (recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &of_from) < 0 ||
        getsockname(fd, (struct sockaddr *)&here, &of_here) != 0) {
        return false;
    }
    text.head.un.frag.mtu = code == ICMP_FRAG_NEEDED ? htons(1000) : 0;
    text.ip = (struct iphdr){.version = 4,
                             .ihl = 5,
                             .tot_len = htons(sizeof text.ip + sizeof text.udp),
                             .ttl = 64,
                             .protocol = IPPROTO_UDP,
                             .saddr = from.sin_addr.s_addr,
                             .daddr = here.sin_addr.s_addr};
    text.udp = (struct udphdr){.source = from.sin_port, .dest = here.sin_port, .len = htons(sizeof text.udp)};
    for (size_t i = 0; i < sizeof text; i += sizeof word) {
        memcpy(&word, (char *)&text + i, sizeof word);
        sum += word;
    }
    sum = (sum & 0xffff) + (sum >> 16);
    text.head.checksum = (uint16_t) ~(sum + (sum >> 16));
    from.sin_port = 0;
    return sendto(raw, &text, sizeof text, 0, (struct sockaddr *)&from, of_from) == sizeof text;
}

/* Each of them is of an earlier datagram, which is counted, and the one that is being sent goes out. */
static int do_what_another_host_says_is_counted(void *argument) {
    static const uint8_t all[][2] = {
        {ICMP_DEST_UNREACH, ICMP_PORT_UNREACH}, {ICMP_DEST_UNREACH, ICMP_PROT_UNREACH},
        {ICMP_DEST_UNREACH, ICMP_NET_UNKNOWN},  {ICMP_DEST_UNREACH, ICMP_HOST_UNKNOWN},
        {ICMP_DEST_UNREACH, ICMP_PKT_FILTERED}, {ICMP_PARAMETERPROB, 0},
        {ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED},
    };
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    thirl *out = NULL;
    (void)argument;
    NEED(enter() && set_link(true, 65536) == 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
        raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    NEED(raw >= 0);
    CHECK(bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    CHECK(open_end(&out, THIRL_PUSH, "udp://127.0.0.1:5000") == 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char data[64];
        CHECK(thirl_send(out, "earlier", 7, LONG) == 0);
        CHECK(lost() == i);
        CHECK(complain(fd, raw, all[i][0], all[i][1]));
        CHECK(thirl_send(out, "later", 5, LONG) == 0);
        CHECK(recv(fd, data, sizeof data, MSG_DONTWAIT) > 5 && memcmp(data, "later", 5) == 0);
        CHECK(lost() == i + 1);
    }
    CHECK(thirl_close(&out, LONG) == 0);
    return 0;
}
IN_A_NETWORK(what_another_host_says_is_counted)

/* A network that is gone is told at once. What was not sent is not lost. */
static int do_a_network_that_goes_away_is_told(void *argument) {
    thirl *out = NULL;
    (void)argument;
    NEED(enter() && set_link(true, 65536) == 0);
    CHECK(open_end(&out, THIRL_PUSH, "udp://239.255.78.7@lo:5000") == 0);
    NEED(set_link(false, 65536) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(thirl_send(out, "x", 1, LONG) == -ENETUNREACH);
        CHECK(said("cannot be sent"));
    }
    CHECK(lost() == 0);
    CHECK(set_link(true, 65536) == 0);
    CHECK(thirl_send(out, "x", 1, LONG) == 0);
    CHECK(thirl_close(&out, LONG) == 0);
    return 0;
}
IN_A_NETWORK(a_network_that_goes_away_is_told)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_calls_himself_has_met_nobody),      cmocka_unit_test(a_group_behind_no_link_is_told),
        cmocka_unit_test(pieces_are_as_large_as_the_link_takes), cmocka_unit_test(what_another_host_says_is_counted),
        cmocka_unit_test(a_network_that_goes_away_is_told),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
