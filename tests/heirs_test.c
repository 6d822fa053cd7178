/* SPDX-License-Identifier: MIT
 *
 * Sockets that were given, where something is not as it should be: of a family that nobody speaks, of callers who are gone, with no
 * descriptor to spare; and what those are called that listen at one address.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/peer.h"
#include "tests/room.h"

static char buffer[64];

static int says_domain; /* the kernel, of every socket; 0: what is so */

/* In place of libc's. */
int getsockopt(int fd, int level, int name, void *value, socklen_t *length) {
    if (says_domain != 0 && level == SOL_SOCKET && name == SO_DOMAIN) {
        memcpy(value, &says_domain, sizeof(says_domain));
        return 0;
    }
    return (int)syscall(SYS_getsockopt, fd, level, name, value, length);
}

static int listen_at_path(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    peer_use(peer_kinds[0]);
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", peer_path);
    (void)unlink(peer_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

/* Streams and packets of another family than ours. */
static void families_that_nobody_speaks(void **state) {
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
    (void)state;
    for (int i = 0; i < 2; i++) {
        int pair[2];
        char address[32];
        thirl *end = NULL;
        assert_int_equal(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pair), 0);
        (void)snprintf(address, sizeof(address), "fd://%d", pair[0]);
        says_domain = AF_VSOCK;
        int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
        says_domain = 0;
        assert_int_equal(rc, -EPROTOTYPE);
        assert_non_null(strstr(thirl_why(), "neither a Unix nor a TCP"));
        (void)close(pair[0]);
        (void)close(pair[1]);
    }
}

/* However few descriptors are left: none is lost, and with enough of them it works. */
static void descriptors_that_are_not_there(void **state) {
    char address[40];
    (void)state;
    for (int listens = 0; listens < 2; listens++) {
        struct rlimit before;
        thirl *end = NULL;
        int fd, rc = -EMFILE, refused = 0, pair[2] = {-1, -1};
        if (listens) {
            fd = listen_at_path();
        } else {
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
            fd = pair[0];
        }
        (void)snprintf(address, sizeof(address), "fd://%d", fd);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        unsigned open = room_descriptors();
        for (int room = 0; rc != 0 && room < 20; room++) {
            int taken[20], last = -1;
            for (int i = 0; i <= room; i++) {
                last = taken[i] = dup(fd);
            }
            for (int i = 0; i <= room; i++) {
                (void)close(taken[i]);
            }
            const struct rlimit few = {(rlim_t)last, before.rlim_max};
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
            rc = thirl_open(&end, THIRL_PAIR, address, NULL);
            assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
            assert_true(rc == 0 || (rc == -EMFILE && room_descriptors() == open));
            refused += rc != 0;
        }
        assert_int_equal(rc, 0);
        assert_true(refused > 2);
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
        (void)close(listens ? fd : pair[1]);
    }
}

/* Who made the pair says hello and is killed before that is heard: the kernel names a dead one, who is not taken for whoever is called so next. */
static void the_dead_are_not_known(void **state) {
    int verdict[2], go[2], pair[2];
    char word = 0;
    (void)state;
    assert_int_equal(pipe2(verdict, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    (void)fflush(NULL);
    pid_t maker = fork();
    if (maker == 0) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        if (fork() == 0) {
            size_t size;
            thirl *end = NULL;
            char address[32];
            (void)alarm(20);
            (void)close(pair[0]);
            (void)close(go[1]);
            must(read(go[0], &word, 1) == 0); /* its parent is dead, and buried */
            (void)snprintf(address, sizeof(address), "fd://%d", pair[1]);
            int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
            rc = rc != 0 ? rc : thirl_recv(end, buffer, 10, &size, LONG);
            word = rc == -THIRL_EPEERDIED && strstr(thirl_why(), "as it says itself, died") != NULL ? 'y' : 'n';
            must(write(verdict[1], &word, 1) == 1);
            must(end == NULL || thirl_close(&end, THIRL_NOW) == 0);
            _exit(0);
        }
        (void)close(pair[1]);
        char address[32];
        thirl *end = NULL;
        (void)snprintf(address, sizeof(address), "fd://%d", pair[0]);
        ok(thirl_open(&end, THIRL_PAIR, address, NULL));
        (void)raise(SIGKILL);
    }
    (void)close(verdict[1]);
    assert_int_equal(waitpid(maker, NULL, 0), maker);
    (void)close(go[1]);
    assert_int_equal(read(verdict[0], &word, 1), 1);
    assert_int_equal(word, 'y');
    (void)close(go[0]);
    (void)close(verdict[0]);
}

static void call_and_go(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", peer_path);
    must(connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0);
    must(write(fd, "last words", 10) == 10);
}

static void greet_and_die(void) {
    thirl *end = NULL;
    (void)stpcpy(peer_address + strlen(peer_address), "?timeout=1ms");
    ok(thirl_open(&end, THIRL_PAIR, peer_address, NULL));
    (void)raise(SIGKILL);
}

static void say_here(void) {
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "here", 4, LONG));
    ok(thirl_close(&end, LONG));
}

/* A caller that is gone before it is admitted is nobody; to a raw end it is a program that has said something. */
static void callers_that_have_gone(void **state) {
    char address[40];
    size_t size;
    (void)state;
    for (int raw = 0; raw < 2; raw++) {
        thirl *end = NULL;
        int fd = listen_at_path();
        pid_t gone = peer_start(raw ? call_and_go : greet_and_die);
        assert_int_equal(waitpid(gone, NULL, 0), gone);
        (void)snprintf(address, sizeof(address), "fd://%d%s", fd, raw ? "?raw" : "");
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
        if (raw) {
            assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), 0);
            assert_int_equal(size, 10);
            assert_memory_equal(buffer, "last words", size);
        } else {
            assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, thirl_in_ms(50)), -ETIMEDOUT);
            pid_t pid = peer_start(say_here);
            assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), 0);
            assert_int_equal(size, 4);
            peer_reap(pid);
        }
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
        (void)close(fd);
    }
}

/* What listens at one address is called there, whichever it is. */
static void handed_as_they_are(void **state) {
    static const char *const hosts[] = {"127.0.0.2", "::1", "2001:db8::1", "0:0:1:1::", "0:0:0:0:1:1::", "::1:2"};
    static const char *const texts[] = {"127.0.0.2",   "[::1]",       "[2001:db8::1]",
                                        "[0:0:1:1::]", "[::1:1:0:0]", "[::0.1.0.2]"};
    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
        struct sockaddr_in6 six = {.sin6_family = AF_INET6};
        struct sockaddr_in four = {.sin_family = AF_INET};
        int fd = socket(i == 0 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
        char address[40], wanted[80];
        thirl *end = NULL;
        assert_int_equal(
            inet_pton(i == 0 ? AF_INET : AF_INET6, hosts[i], i == 0 ? (void *)&four.sin_addr : (void *)&six.sin6_addr),
            1);
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &yes, sizeof(yes)); /* whether or not it is this host's */
        if ((i == 0 ? bind(fd, (struct sockaddr *)&four, sizeof(four))
                    : bind(fd, (struct sockaddr *)&six, sizeof(six))) != 0) {
            (void)close(fd); /* a host without IPv6 */
            continue;
        }
        assert_int_equal(listen(fd, 1), 0);
        (void)snprintf(address, sizeof(address), "fd://%d?descriptors=1", fd);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -EOPNOTSUPP);
        assert_non_null(strstr(thirl_why(), "over Unix sockets only"));
        (void)snprintf(address, sizeof(address), "fd://%d", fd);
        (void)snprintf(wanted, sizeof(wanted), "tcp://%s:", texts[i]);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
        assert_int_equal(thirl_hand(end, peer_address, sizeof(peer_address)), 0);
        peer_address[strlen(wanted)] = '\0';
        assert_string_equal(peer_address, wanted);
        (void)close(fd);
        assert_int_equal(thirl_hand(end, peer_address, sizeof(peer_address)), -EBADF); /* it was the caller's to keep */
        assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_that_nobody_speaks), cmocka_unit_test(descriptors_that_are_not_there),
        cmocka_unit_test(the_dead_are_not_known),      cmocka_unit_test(callers_that_have_gone),
        cmocka_unit_test(handed_as_they_are),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
