/* SPDX-License-Identifier: MIT
 *
 * udp:// beside a network that loses, doubles and swaps datagrams, beside programs that know nothing of thirl, and towards
 * groups. What needs a kind of network that this machine has not says so and is skipped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "tests/room.h"
#include "wire/frag.h"

#define LONG thirl_in_ms(10000)
#define MOMENT thirl_in_ms(100)

static unsigned char bulk[200000], buffer[200000];

static struct sockaddr_in at(unsigned port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A plain socket, and its port. */
static int plain(unsigned *port) {
    struct sockaddr_in here = at(0);
    socklen_t size = sizeof here;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&here, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&here, &size), 0);
    *port = ntohs(here.sin_port);
    return fd;
}

static unsigned free_port(void) {
    unsigned port;
    int fd = plain(&port);
    (void)close(fd);
    return port;
}

static void throw(int fd, unsigned port, const void *data, size_t size) {
    struct sockaddr_in there = at(port);
    assert_int_equal(sendto(fd, data, size, 0, (struct sockaddr *)&there, sizeof there), size);
}

static const char *address(unsigned port, const char *options) {
    static char text[128];
    (void)snprintf(text, sizeof text, "udp://127.0.0.1:%u%s", port, options);
    return text;
}

static thirl *open_end(enum thirl_role role, const char *where) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, where, NULL);
    if (rc != 0) {
        fail_msg("%s: %d: %s", where, rc, thirl_why());
    }
    return end;
}

struct wanted {
    const char *role;
    struct thirl_seen seen;
};

static int see(void *context, const struct thirl_seen *seen) {
    struct wanted *wanted = context;
    if (seen->pid == getpid() && strcmp(seen->role, wanted->role) == 0) {
        wanted->seen = *seen;
    }
    return 0;
}

static struct thirl_seen seen_of(const char *role) {
    struct wanted wanted = {.role = role};
    assert_int_equal(thirl_list(see, &wanted), 0);
    return wanted.seen;
}

static void send_number(thirl *end, uint32_t number) {
    assert_int_equal(thirl_send(end, &number, sizeof number, LONG), 0);
}

static uint32_t recv_number(thirl *end) {
    uint32_t number = UINT32_MAX;
    size_t size = 0;
    assert_int_equal(thirl_recv(end, &number, sizeof number, &size, LONG), 0);
    assert_int_equal(size, sizeof number);
    return number;
}

static void must_be_silent(thirl *end) {
    assert_int_equal(thirl_recv(end, buffer, sizeof buffer, NULL, MOMENT), -ETIMEDOUT);
}

static void close_both(thirl *in, thirl *out) {
    assert_int_equal(thirl_close(&out, LONG), 0);
    assert_int_equal(thirl_close(&in, LONG), 0);
}

/* ---- a bad network: this test stands between the ends, and holds the datagrams ---- */

struct net {
    int fd;
    unsigned port, to;
    struct {
        unsigned char data[70000];
        size_t size;
    } held[16];
    unsigned count;
    thirl *in, *out;
};

static struct net net;

static void net_begin(const char *options) {
    net.fd = plain(&net.port);
    net.to = free_port();
    net.in = open_end(THIRL_PULL, address(net.to, options));
    net.out = open_end(THIRL_PUSH, address(net.port, options));
}

static void net_end(void) {
    close_both(net.in, net.out);
    (void)close(net.fd);
}

static void net_catch(unsigned count) {
    for (net.count = 0; net.count < count; net.count++) {
        struct pollfd polled = {.fd = net.fd, .events = POLLIN};
        assert_int_equal(poll(&polled, 1, 10000), 1);
        ssize_t got = recv(net.fd, net.held[net.count].data, sizeof net.held[0].data, 0);
        assert_true(got > 0);
        net.held[net.count].size = (size_t)got;
    }
}

static void net_pass(unsigned which) {
    throw(net.fd, net.to, net.held[which].data, net.held[which].size);
}

static void loss_doubles_and_order_are_counted(void **state) {
    (void)state;
    net_begin("");
    for (uint32_t i = 0; i < 8; i++) {
        send_number(net.out, i);
    }
    net_catch(8);
    static const unsigned order[] = {0, 1, 1, 5, 2, 7, 5}; /* 1 and 5 twice, 2 late, 3, 4 and 6 never */
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        net_pass(order[i]);
    }
    static const uint32_t come[] = {0, 1, 5, 2, 7};
    for (size_t i = 0; i < sizeof come / sizeof *come; i++) {
        assert_int_equal(recv_number(net.in), come[i]);
    }
    must_be_silent(net.in);
    struct thirl_seen seen = seen_of("pull");
    assert_int_equal(seen.received, 5);
    assert_int_equal(seen.lost, 3);
    assert_int_equal(seen.twice, 2);
    assert_int_equal(seen.late, 1);
    net_pass(6); /* it comes after all */
    assert_int_equal(recv_number(net.in), 6);
    assert_int_equal(seen_of("pull").lost, 2);
    net_end();
}

static void large_messages_are_refused_or_cut(void **state) {
    (void)state;
    struct thirl_limits limits = {.size = sizeof limits};
    net_begin("");
    assert_int_equal(thirl_limits(net.out, &limits), 0);
    assert_int_equal(limits.message_max, 65507 - FRAG_LABEL);
    assert_true(limits.message_max == limits.atomic_max && limits.cross_host == 1 && limits.identity == 0);
    assert_true(limits.reliable == 0 && limits.ordered == 0 && limits.receivers == 1);
    assert_int_equal(thirl_send(net.out, bulk, limits.message_max + 1, LONG), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "65467"));
    assert_non_null(strstr(thirl_why(), "?max="));
    net_end();

    net_begin("?max=150000");
    assert_int_equal(thirl_limits(net.out, &limits), 0);
    assert_int_equal(limits.message_max, 150000);
    assert_true(limits.atomic_max <= 65507 - FRAG_LABEL);
    assert_int_equal(thirl_send(net.out, bulk, 150001, LONG), -EMSGSIZE);
    size_t size = 0, pieces = (150000 - 1) / limits.atomic_max + 1;
    if (pieces > 16) {
        net_end();
        printf("skipped: the loopback network has a small MTU\n");
        skip();
    }
    /* Whole, in any order. */
    assert_int_equal(thirl_send(net.out, bulk, 150000, LONG), 0);
    net_catch((unsigned)pieces);
    for (unsigned i = (unsigned)pieces; i > 0; i--) {
        net_pass(i - 1);
    }
    assert_int_equal(thirl_recv(net.in, buffer, sizeof buffer, &size, LONG), 0);
    assert_int_equal(size, 150000);
    assert_memory_equal(buffer, bulk, size);
    /* A piece is lost: so is the message, and it is not waited for. */
    assert_int_equal(thirl_send(net.out, bulk, 150000, LONG), 0);
    net_catch((unsigned)pieces);
    for (unsigned i = 1; i < pieces; i++) {
        net_pass(i);
    }
    send_number(net.out, 7);
    net_catch(1);
    net_pass(0);
    assert_int_equal(recv_number(net.in), 7);
    uint64_t before = seen_of("pull").lost;
    assert_int_equal(thirl_recv(net.in, buffer, sizeof buffer, NULL, thirl_in_ms(2500)), -ETIMEDOUT);
    assert_int_equal(seen_of("pull").lost, before + 1);
    net_end();
}

static void senders_are_remembered_in_bounded_memory(void **state) {
    (void)state;
    net_begin("");
    for (uint32_t i = 0; i < FRAG_SENDERS * 4; i++) {
        thirl *other = open_end(THIRL_PUSH, address(net.to, ""));
        send_number(other, i);
        assert_int_equal(recv_number(net.in), i);
        assert_int_equal(thirl_close(&other, LONG), 0);
    }
    struct thirl_seen seen = seen_of("pull");
    assert_int_equal(seen.lost + seen.twice + seen.late + seen.refused, 0);
    net_end();
}

/* ---- others on the network ---- */

/* Anybody can send some: they are counted, and keep nobody from what is thirl's. */
static void foreign_datagrams_are_refused(void **state) {
    (void)state;
    net_begin("");
    throw(net.fd, net.to, "hello", 5);
    throw(net.fd, net.to, "", 0);
    throw(net.fd, net.to, bulk, 65507);
    must_be_silent(net.in);
    assert_non_null(strstr(thirl_why(), "?raw"));
    assert_non_null(strstr(thirl_why(), "3 that came"));
    send_number(net.out, 1);
    net_catch(1);
    net.held[0].data[net.held[0].size - 2] ^= 0x40; /* another version */
    net_pass(0);
    net.held[0].data[net.held[0].size - 2] ^= 0x40;
    net.held[0].size--; /* cut on the way */
    net_pass(0);
    net.held[0].size++;
    for (int i = 0; i < 100; i++) { /* more than one call looks at */
        throw(net.fd, net.to, "x", 1);
    }
    net_pass(0);
    assert_int_equal(recv_number(net.in), 1);
    assert_int_equal(seen_of("pull").refused, 105);
    net_end();
}

static void raw_is_plain_datagrams(void **state) {
    (void)state;
    size_t size = 9;
    net_begin("?raw");
    throw(net.fd, net.to, "hello", 5);
    throw(net.fd, net.to, "", 0);
    throw(net.fd, net.to, bulk, 65507);
    assert_int_equal(thirl_recv(net.in, buffer, 4, &size, LONG), -EMSGSIZE);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_recv(net.in, buffer, 5, &size, LONG), 0);
    assert_memory_equal(buffer, "hello", 5);
    assert_int_equal(thirl_recv(net.in, buffer, 5, &size, LONG), 0);
    assert_int_equal(size, 0);
    assert_int_equal(thirl_recv(net.in, buffer, sizeof buffer, &size, LONG), 0);
    assert_int_equal(size, 65507);
    assert_memory_equal(buffer, bulk, size);
    assert_int_equal(thirl_send(net.out, "plain", 5, LONG), 0);
    assert_int_equal(thirl_send(net.out, bulk, 65507, LONG), 0);
    net_catch(2);
    assert_true(net.held[0].size == 5 && memcmp(net.held[0].data, "plain", 5) == 0 && net.held[1].size == 65507);
    assert_int_equal(thirl_send(net.out, bulk, 65508, LONG), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "65507"));
    /* More than there is room for: the kernel says how many it dropped. */
    for (int i = 0; i < 2000; i++) {
        throw(net.fd, net.to, bulk, 1000);
    }
    unsigned came = 0;
    while (thirl_recv(net.in, buffer, sizeof buffer, &size, MOMENT) == 0) {
        came++;
    }
    throw(net.fd, net.to, "last", 4);
    assert_int_equal(thirl_recv(net.in, buffer, sizeof buffer, &size, LONG), 0);
    assert_true(came > 0 && came < 2000);
    assert_int_equal(seen_of("pull").lost + came, 2000);
    net_end();
}

static void need(const char *program) {
    char command[64];
    (void)snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    if (system(command) != 0) {
        printf("skipped: %s is not installed\n", program);
        skip();
    }
}

static void run(const char *form, unsigned port) {
    char command[256];
    (void)snprintf(command, sizeof command, form, port);
    assert_int_equal(system(command), 0);
}

static void hears_socat_and_nc(void **state) {
    (void)state;
    static const char *const programs[][2] = {{"socat", "printf 'by hand' | socat -u - UDP:127.0.0.1:%u"},
                                              {"nc.openbsd", "printf 'by hand' | nc.openbsd -u -q0 -w1 127.0.0.1 %u"}};
    need(programs[0][0]);
    need(programs[1][0]);
    unsigned port = free_port();
    thirl *in = open_end(THIRL_PULL, address(port, "?raw"));
    for (int i = 0; i < 2; i++) {
        size_t size = 0;
        run(programs[i][1], port);
        assert_int_equal(thirl_recv(in, buffer, sizeof buffer, &size, LONG), 0);
        assert_int_equal(size, 7);
        assert_memory_equal(buffer, "by hand", 7);
    }
    assert_int_equal(thirl_close(&in, LONG), 0);
}

static bool is_bound(unsigned port) {
    char line[256], wanted[32];
    FILE *list = fopen("/proc/net/udp", "r");
    bool found = false;
    (void)snprintf(wanted, sizeof wanted, "0100007F:%04X", port);
    while (list != NULL && !found && fgets(line, sizeof line, list) != NULL) {
        found = strstr(line, wanted) != NULL;
    }
    if (list != NULL) {
        (void)fclose(list);
    }
    return found;
}

static void talks_to_socat_and_nc(void **state) {
    (void)state;
    static const char *const programs[][2] = {
        {"socat", "exec timeout 20 socat -u UDP-RECV:%u,bind=127.0.0.1 OPEN:%s/heard,creat,trunc"},
        {"nc.openbsd", "exec timeout 20 nc.openbsd -u -l -n 127.0.0.1 %u >%s/heard </dev/null"}};
    for (int i = 0; i < 2; i++) {
        need(programs[i][0]);
        unsigned port = free_port();
        char command[256], file[128], text[16] = "";
        (void)snprintf(command, sizeof command, programs[i][1], port, room_path);
        (void)snprintf(file, sizeof file, "%s/heard", room_path);
        pid_t pid = fork();
        if (pid == 0) {
            (void)execl("/bin/sh", "sh", "-c", command, (char *)NULL);
            _exit(127);
        }
        for (int tries = 0; tries < 1000 && !is_bound(port); tries++) {
            room_sleep(10000000);
        }
        thirl *out = open_end(THIRL_PUSH, address(port, "?raw"));
        for (int tries = 0; tries < 1000 && strlen(text) < 5; tries++) {
            if (tries % 100 == 0) {
                assert_int_equal(thirl_send(out, "plain", 5, LONG), 0);
            }
            room_sleep(10000000);
            int fd = open(file, O_RDONLY | O_CLOEXEC);
            if (fd >= 0) {
                (void)!read(fd, text, sizeof text - 1);
                (void)close(fd);
            }
        }
        assert_memory_equal(text, "plain", 5);
        assert_int_equal(thirl_close(&out, LONG), 0);
        (void)kill(pid, SIGTERM);
        (void)waitpid(pid, NULL, 0);
    }
}

/* ---- nobody, and nowhere ---- */

static void nobody_there_is_counted(void **state) {
    (void)state;
    thirl *out = open_end(THIRL_PUSH, address(free_port(), ""));
    for (uint32_t i = 0; i < 10; i++) {
        send_number(out, i);
        room_sleep(1000000);
    }
    uint64_t lost = seen_of("push").lost;
    assert_true(lost == 9 || lost == 10); /* of the last one the next one is told */
    assert_int_equal(thirl_close(&out, LONG), 0);
}

static void what_is_no_address_is_named(void **state) {
    (void)state;
    static const struct {
        const char *address, *part;
        int code;
    } wrong[] = {
        {"udp://127.0.0.1", "udp://host:port", -THIRL_EADDRESS},
        {"udp://127.0.0.1:0", "1 to 65535", -THIRL_EADDRESS},
        {"udp://::1:5000", "brackets", -THIRL_EADDRESS},
        {"udp://no.such.host.invalid:5000", "no.such.host.invalid", 0},
        {"udp://239.1.2.3@no-such-net:5000", "no-such-net", -THIRL_EADDRESS},
        {"udp://239.1.2.3@lo-and-behold-here:5000", "\"lo-and-behold-here\"", -THIRL_EADDRESS},
        {"udp://239.1.2.3@lo", "udp://host:port", -THIRL_EADDRESS},
        {"udp://239.1.2.3:5000@lo", "not \"5000@lo\"", -THIRL_EADDRESS},
        {"udp://127.0.0.1@lo:5000", "multicast", -THIRL_EADDRESS},
        {"udp://127.0.0.1:5000?type=stream", "type", -THIRL_EADDRESS},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        thirl *end = NULL;
        int rc = thirl_open(&end, THIRL_PULL, wrong[i].address, NULL);
        assert_true(rc < 0 && (wrong[i].code == 0 || rc == wrong[i].code));
        if (strstr(thirl_why(), wrong[i].part) == NULL) {
            fail_msg("\"%s\" is not in \"%s\"", wrong[i].part, thirl_why());
        }
        assert_null(end);
    }
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, "udp://192.0.2.77:5000", NULL), -EADDRNOTAVAIL);
    assert_non_null(strstr(thirl_why(), "not this host's"));
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "udp://127.0.0.1:5000", NULL), -THIRL_EROLE);
}

static void a_name_is_resolved(void **state) {
    (void)state;
    char where[64];
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0) {
        printf("skipped: this machine does not know localhost\n");
        skip();
    }
    freeaddrinfo(found);
    (void)snprintf(where, sizeof where, "udp://localhost:%u", free_port());
    thirl *in = open_end(THIRL_PULL, where), *out = open_end(THIRL_PUSH, where);
    send_number(out, 5);
    assert_int_equal(recv_number(in), 5);
    close_both(in, out);
}

/* ---- many receivers ---- */

#define MEMBERS 3

static thirl *members[MEMBERS + 1]; /* the last one sends */

static void close_members(void) {
    for (int i = 0; i <= MEMBERS; i++) {
        assert_int_equal(thirl_close(&members[i], LONG), 0);
    }
}

/* What this machine's network does not carry. */
static void skip_unless(bool carried, const char *why) {
    if (!carried) {
        printf("skipped: %s\n", why);
        close_members();
        skip();
    }
}

static bool is_missing_network(int rc) {
    return rc == -ENODEV || rc == -ENETUNREACH || rc == -EADDRNOTAVAIL || rc == -EACCES || rc == -EPERM;
}

static void reach_all(const char *where) {
    struct thirl_limits limits = {.size = sizeof limits};
    for (int i = 0; i <= MEMBERS; i++) {
        int rc = thirl_open(&members[i], i < MEMBERS ? THIRL_PULL : THIRL_PUSH, where, NULL);
        skip_unless(!is_missing_network(rc), thirl_why());
        assert_int_equal(rc, 0);
    }
    assert_int_equal(thirl_limits(members[0], &limits), 0);
    assert_int_equal(limits.receivers, 0);
    for (uint32_t number = 0; number < 20; number++) {
        int rc = thirl_send(members[MEMBERS], &number, sizeof number, LONG);
        skip_unless(!is_missing_network(rc), thirl_why());
        assert_int_equal(rc, 0);
        for (int i = 0; i < MEMBERS; i++) {
            uint32_t got = 0;
            rc = thirl_recv(members[i], &got, sizeof got, NULL, number == 0 ? thirl_in_ms(3000) : LONG);
            skip_unless(number != 0 || rc != -ETIMEDOUT, "nothing of what is sent there arrives");
            assert_int_equal(rc, 0);
            assert_int_equal(got, number);
        }
    }
    close_members();
}

static void reaches_a_group(void **state) {
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "udp://239.255.77.%u@lo:%u", (unsigned)getpid() % 250 + 1, free_port());
    reach_all(where);
}

static void reaches_a_group6(void **state) {
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "udp://[ff02::77:%x]@lo:%u", (unsigned)getpid() & 0xffff, free_port());
    reach_all(where);
}

static void reaches_all_of_a_network(void **state) {
    (void)state;
    char where[64];
    (void)snprintf(where, sizeof where, "udp://127.255.255.255:%u", free_port());
    reach_all(where);
}

static void keeps_no_descriptor(void **state) {
    (void)state;
    unsigned before = room_descriptors();
    for (int i = 0; i < 5; i++) {
        unsigned port = free_port();
        thirl *in = open_end(THIRL_PULL, address(port, "")), *out = open_end(THIRL_PUSH, address(port, "")),
              *other = NULL;
        assert_true(thirl_fd(in) >= 0 && thirl_fd(out) >= 0);
        assert_int_equal(thirl_open(&other, THIRL_PULL, address(port, ""), NULL), -EBUSY);
        close_both(in, out);
    }
    assert_int_equal(room_descriptors(), before);
}

/* Receiver and sender killed while they open: the port is free, and nothing is left that would keep the next ones away. */
static void killed_while_opening(void **state) {
    (void)state;
    unsigned port = free_port(), before = room_entries("chan");
    static const enum thirl_role roles[] = {THIRL_PULL, THIRL_PUSH};
    for (size_t i = 0; i < 2; i++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            (void)setenv("THIRL_WEAVE_AT", "udp.bind.before:1:kill", 1);
            thirl *end = NULL;
            _exit(thirl_open(&end, roles[i], address(port, ""), NULL) != 0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        thirl *in = open_end(THIRL_PULL, address(port, "")), *out = open_end(THIRL_PUSH, address(port, ""));
        send_number(out, 7);
        assert_int_equal(recv_number(in), 7);
        close_both(in, out);
    }
    assert_int_equal(room_entries("chan"), before);
}

static int begin(void **state) {
    for (size_t i = 0; i < sizeof bulk; i++) {
        bulk[i] = (unsigned char)(i * 2654435761u >> 13);
    }
    if (room_begin(state) != 0) {
        return -1;
    }
    thirl *end = NULL; /* joins the registry, whose descriptors stay */
    return thirl_open(&end, THIRL_PULL, address(free_port(), ""), NULL) != 0 || thirl_close(&end, LONG) != 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_doubles_and_order_are_counted),
        cmocka_unit_test(large_messages_are_refused_or_cut),
        cmocka_unit_test(senders_are_remembered_in_bounded_memory),
        cmocka_unit_test(foreign_datagrams_are_refused),
        cmocka_unit_test(raw_is_plain_datagrams),
        cmocka_unit_test(hears_socat_and_nc),
        cmocka_unit_test(talks_to_socat_and_nc),
        cmocka_unit_test(nobody_there_is_counted),
        cmocka_unit_test(what_is_no_address_is_named),
        cmocka_unit_test(a_name_is_resolved),
        cmocka_unit_test(reaches_a_group),
        cmocka_unit_test(reaches_a_group6),
        cmocka_unit_test(reaches_all_of_a_network),
        cmocka_unit_test(keeps_no_descriptor),
        cmocka_unit_test(killed_while_opening),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
