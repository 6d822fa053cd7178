/* SPDX-License-Identifier: MIT
 *
 * TCP connections whose other host is gone without a word. That probes are on is looked at everywhere, and so is what is made
 * of what the kernel says; that they find it takes a network that can be taken away, and half a minute: `far_test soak`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/end.h"
#include "mech/chain.h"
#include "mech/far.h"
#include "tests/peer.h"

static void choose_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(fd, (struct sockaddr *)&at, length) == 0 && getsockname(fd, (struct sockaddr *)&at, &length) == 0);
    (void)close(fd);
    (void)snprintf(peer_address, sizeof peer_address, "tcp://127.0.0.1:%d", ntohs(at.sin_port));
}

static int ask(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

static void check_probes(const thirl *end) {
    const struct chain *chain = end->state;
    assert_non_null(chain->last);
    int fd = chain->last->fd;
    assert_int_equal(ask(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPIDLE), FAR_IDLE_S);
    assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPINTVL), FAR_INTERVAL_S);
    assert_int_equal(ask(fd, IPPROTO_TCP, TCP_KEEPCNT), FAR_PROBES);
    assert_int_equal(ask(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(ask(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0); /* would cut off who only does not read */
    assert_false(far_lost(fd));
}

static void both_sides_probe(void **state) {
    (void)state;
    char byte;
    size_t size;
    choose_port();
    thirl *a = peer_open(THIRL_PAIR), *b = peer_open(THIRL_PAIR);
    assert_int_equal(thirl_send(a, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(b, &byte, 1, &size, LONG), 0);
    check_probes(a);
    check_probes(b);
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_true(thirl_close(&b, LONG) >= 0);
}

/* ---- what the kernel says ---- */

static const struct tcp_info *says; /* of every connection; NULL: what is so */
static unsigned drained;            /* times */
static bool drips;                  /* there is always more to read */

/* In place of libc's. */
int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    if (says != NULL && level == IPPROTO_TCP && name == TCP_INFO) {
        memcpy(value, says, *length < sizeof *says ? *length : sizeof *says);
        return 0;
    }
    return (int)syscall(SYS_getsockopt, fd, level, name, value, length);
}

ssize_t recv(int fd, void *buffer, size_t size, int flags) {
    drained++;
    return drips ? (ssize_t)size : syscall(SYS_recvfrom, fd, buffer, size, flags, NULL, NULL);
}

/* Silence means something while an answer is due: for what was sent, or for many looks into a closed window. */
static void silence_is_judged(void **state) {
    static const struct {
        struct tcp_info info;
        bool lost;
    } all[] = {
        {{.tcpi_unacked = 0, .tcpi_last_ack_recv = 1000000}, false},
        {{.tcpi_unacked = 3, .tcpi_last_ack_recv = FAR_SILENCE_S * 1000}, false},
        {{.tcpi_unacked = 3, .tcpi_last_ack_recv = FAR_SILENCE_S * 1000 + 1}, true},
        {{.tcpi_unacked = 0, .tcpi_probes = 7}, false},
        {{.tcpi_unacked = 0, .tcpi_probes = 8}, true},
        {{.tcpi_unacked = 3, .tcpi_probes = 8}, true},
    };
    (void)state;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        says = &all[i].info;
        assert_int_equal(far_lost(fd), all[i].lost);
    }
    says = NULL;
    assert_false(far_lost(fd));
    (void)close(fd);
    assert_false(far_lost(fd)); /* nor one that cannot be asked */
    assert_int_equal(far_unsent(fd), 0);
}

/* Whoever sends for ever keeps nobody from closing. */
static void parting_has_an_end(void **state) {
    (void)state;
    int pair[2];
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(send(pair[0], "x", 1, 0), 1);
    drained = 0;
    far_part(pair[1]);
    assert_int_equal(drained, 2);
    assert_int_equal(recv(pair[0], &byte, 1, 0), 0); /* it has heard goodbye */
    drips = true;
    drained = 0;
    far_part(pair[1]);
    drips = false;
    assert_in_range(drained, 100, 10000);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

/* ---- a network that goes away ---- */

/* Of a network namespace of our own. */
static int set_loopback(bool up) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = ioctl(fd, SIOCGIFFLAGS, &request);
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    rc = rc == 0 ? ioctl(fd, SIOCSIFFLAGS, &request) : rc;
    (void)close(fd);
    return rc;
}

/* The other host: it vanishes, network and all. What it has sent arrives, its end does not. */
static int lose(bool unacknowledged) {
    char byte;
    size_t size;
    if ((unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) || set_loopback(true) != 0) {
        return 77;
    }
    choose_port();
    pid_t other = peer_start(peer_wait_for_end);
    thirl *end = peer_open(THIRL_PAIR);
    must(thirl_recv(end, &byte, 1, &size, LONG) == 0);
    must(set_loopback(false) == 0);
    (void)kill(other, SIGKILL);
    (void)waitpid(other, NULL, 0);
    int64_t began = clock_now();
    if (unacknowledged) {
        must(thirl_send(end, "y", 1, LONG) == 0);
    }
    must(thirl_recv(end, &byte, 1, &size, thirl_in_ms(90000)) == -THIRL_EPEERDIED);
    int64_t took = clock_now() - began;
    (void)printf("found after %.1f s: %s\n", (double)took / 1e9, thirl_why());
    must(took > 5 * CLOCK_S && took < 60 * CLOCK_S);
    must(thirl_recv(end, &byte, 1, &size, thirl_in_ms(100)) == -ETIMEDOUT); /* and waits for the next one */
    return 0;
}

static void expect_found(bool unacknowledged) {
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int rc = lose(unacknowledged);
        (void)fflush(NULL);
        _exit(rc);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skip: this user may not have a network of its own\n");
        skip();
    }
    assert_int_equal(status, 0);
}

static void silent_host_is_found(void **state) {
    (void)state;
    expect_found(false);
}

static void host_that_acknowledges_nothing_is_found(void **state) {
    (void)state;
    expect_found(true);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_sides_probe), cmocka_unit_test(silence_is_judged),
                                       cmocka_unit_test(parting_has_an_end)};
    const struct CMUnitTest soak[] = {cmocka_unit_test(silent_host_is_found),
                                      cmocka_unit_test(host_that_acknowledges_nothing_is_found)};
    if (argc > 1 && strcmp(argv[1], "soak") == 0) {
        return cmocka_run_group_tests(soak, peer_setup, peer_teardown);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
