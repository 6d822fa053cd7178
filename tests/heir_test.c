/* SPDX-License-Identifier: MIT
 *
 * fd:// and activated://: sockets that a process was given, by whoever made them. A stand-in for the service manager opens
 * sockets, sets the variables and runs this very program.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/peer.h"

static char buffer[1 << 20];
static char of_stream[] = "stream", of_seqpacket[] = "seqpacket",
            of_tcp[] = "tcp"; /* what cmocka hands over is not const */
static int pair[2];

/* ---- fd:// ---- */

static void pair_tcp(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(pair[0], (struct sockaddr *)&at, length), 0);
    pair[1] = accept(listener, NULL, NULL);
    assert_true(pair[1] >= 0);
    (void)close(listener);
}

static void pair_up(const char *kind) {
    if (strcmp(kind, "tcp") == 0) {
        pair_tcp();
    } else {
        assert_int_equal(socketpair(AF_UNIX, strcmp(kind, "stream") == 0 ? SOCK_STREAM : SOCK_SEQPACKET, 0, pair), 0);
    }
}

static thirl *open_fd(int fd) {
    char address[32];
    thirl *end = NULL;
    (void)snprintf(address, sizeof(address), "fd://%d", fd);
    ok(thirl_open(&end, THIRL_PAIR, address, NULL));
    must(fcntl(fd, F_GETFD) < 0 && errno == EBADF); /* taken over */
    return end;
}

static void echo_all(thirl *end) {
    size_t size;
    int rc;
    while ((rc = thirl_recv(end, buffer, sizeof(buffer), &size, LONG)) == 0) {
        ok(thirl_send(end, buffer, size, LONG));
    }
    must(rc == -THIRL_ECLOSED);
}

static void echo_fd(void) {
    (void)close(pair[0]);
    thirl *end = open_fd(pair[1]);
    echo_all(end);
    must(thirl_close(&end, LONG) == 0);
}

static void talk(thirl *end) {
    size_t size;
    for (size_t sent = 0; sent < 100000; sent = sent * 3 + 1) {
        memset(buffer, (int)sent, sent);
        assert_int_equal(thirl_send(end, buffer, sent, LONG), 0);
        assert_int_equal(thirl_recv(end, buffer, sizeof(buffer), &size, LONG), 0);
        assert_int_equal(size, sent);
        assert_true(size == 0 || (buffer[0] == (char)sent && buffer[size - 1] == (char)sent));
    }
}

/* Between a process and its child, who can say who it is only where the kernel agrees. */
static void child(void **state) {
    pair_up(*state);
    pid_t pid = peer_start(echo_fd);
    (void)close(pair[1]);
    thirl *end = open_fd(pair[0]);
    talk(end);
    struct thirl_peer who = {.size = sizeof(who)};
    struct thirl_limits limits = {.size = sizeof(limits)};
    assert_int_equal(thirl_peer(end, &who), 0);
    assert_int_equal(who.pid, 0); /* this process made the pair, not the child */
    assert_int_equal(who.uid, UINT32_MAX);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.identity, 0);
    assert_int_equal(limits.cross_host, strcmp(*state, "tcp") == 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void know_parent(void) {
    (void)close(pair[0]);
    thirl *end = open_fd(pair[1]);
    struct thirl_peer who = {.size = sizeof(who)};
    size_t size;
    ok(thirl_recv(end, buffer, 1, &size, LONG));
    ok(thirl_peer(end, &who));
    must(who.pid == getppid() && who.uid == getuid());
    ok(thirl_send(end, "y", 1, LONG));
    must(thirl_recv(end, buffer, 1, &size, LONG) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

static void parent_is_known(void **state) {
    pair_up(*state);
    pid_t pid = peer_start(know_parent);
    (void)close(pair[1]);
    thirl *end = open_fd(pair[0]);
    size_t size;
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

static void one_process(void **state) {
    pair_up(*state);
    int64_t began = clock_now();
    thirl *a = open_fd(pair[0]), *b = open_fd(pair[1]);
    size_t size;
    assert_int_equal(thirl_send(b, "answer", 6, LONG), 0);
    assert_int_equal(thirl_recv(a, buffer, 10, &size, LONG), 0);
    assert_int_equal(size, 6);
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_close(&a, LONG), 0);
    assert_int_equal(thirl_recv(b, buffer, 10, &size, LONG), -THIRL_ECLOSED);
    assert_int_equal(thirl_close(&b, LONG), 0);
}

static void say_and_stop(void) {
    (void)close(pair[0]);
    thirl *end = open_fd(pair[1]);
    ok(thirl_send(end, "last", 4, LONG));
    (void)raise(SIGSTOP);
}

/* There is no next peer: whoever goes on is told so at once. */
static void death(void **state) {
    pair_up(*state);
    pid_t pid = peer_start(say_and_stop);
    (void)close(pair[1]);
    thirl *end = open_fd(pair[0]);
    size_t size;
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    peer_slay(pid);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), 0);
    int64_t began = clock_now();
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -THIRL_EPEERDIED);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -THIRL_EPEERDIED);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -ENOTCONN);
    assert_int_equal(thirl_send(end, "x", 1, LONG), -ENOTCONN);
    assert_non_null(strstr(thirl_why(), "no other"));
    assert_true(clock_now() - began < CLOCK_S);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void babble(void) {
    (void)close(pair[0]);
    (void)!write(pair[1], "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    (void)pause();
}

/* Foreign bytes instead of a greeting; another role; nobody any more. */
static void strangers(void **state) {
    size_t size;
    pair_up(*state);
    pid_t pid = peer_start(babble);
    (void)close(pair[1]);
    char address[32];
    thirl *end = NULL, *other = NULL;
    (void)snprintf(address, sizeof(address), "fd://%d", pair[0]);
    int rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    rc = rc != 0 ? rc : thirl_recv(end, buffer, 10, &size, LONG);
    assert_int_equal(rc, -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "does not speak thirl"));
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_slay(pid);
    pair_up(*state);
    end = open_fd(pair[0]);
    (void)snprintf(address, sizeof(address), "fd://%d", pair[1]);
    rc = thirl_open(&other, THIRL_READ, address, NULL);
    rc = rc != 0 ? rc : thirl_recv(other, buffer, 10, &size, LONG);
    assert_int_equal(rc, -THIRL_EROLE);
    assert_int_equal(thirl_recv(end, buffer, 10, &size, LONG), -THIRL_EROLE);
    assert_int_equal(thirl_close(&other, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    pair_up(*state);
    (void)close(pair[1]);
    (void)snprintf(address, sizeof(address), "fd://%d", pair[0]);
    rc = thirl_open(&end, THIRL_PAIR, address, NULL);
    rc = rc != 0 ? rc : thirl_recv(end, buffer, 10, &size, LONG);
    assert_int_equal(rc, -ENOTCONN);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

static void refuse(int fd, int code, const char *part) {
    char address[40];
    thirl *end = NULL;
    (void)snprintf(address, sizeof(address), "fd://%d", fd);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), code);
    assert_null(end);
    assert_non_null(strstr(thirl_why(), part));
}

/* What is no such socket is named, and left as it was. */
static void others(void **state) {
    (void)state;
    int pipes[2], udp = socket(AF_INET, SOCK_DGRAM, 0), lone = socket(AF_UNIX, SOCK_STREAM, 0);
    int file = open("/proc/self/exe", O_RDONLY);
    thirl *end = NULL;
    assert_int_equal(pipe(pipes), 0);
    refuse(pipes[0], -ENOTSOCK, "pipe");
    refuse(file, -ENOTSOCK, "file");
    refuse(udp, -EPROTOTYPE, "neither a Unix nor a TCP");
    refuse(lone, -ENOTCONN, "neither connected nor listens");
    int event = eventfd(0, EFD_CLOEXEC);
    refuse(event, -ENOTSOCK, "is not a socket");
    (void)close(event);
    int null = open("/dev/null", O_RDWR);
    refuse(null, -ENOTSOCK, "a terminal or device");
    (void)close(null);
    const int all[] = {pipes[0], pipes[1], udp, lone, file};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
        assert_true(fcntl(all[i], F_GETFD) == 0);
        (void)close(all[i]);
    }
    refuse(file, -EBADF, "not open");
    static const char *const wrong[] = {"fd://", "fd://-1", "fd://3x", "fd://x", "fd://99999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(thirl_open(&end, THIRL_PAIR, wrong[i], NULL), -THIRL_EADDRESS);
    }
    pair_up("stream");
    char address[40];
    (void)snprintf(address, sizeof(address), "fd://%d?type=seqpacket", pair[0]);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -EPROTOTYPE);
    (void)close(pair[0]);
    (void)close(pair[1]);
    pair_up("seqpacket");
    (void)snprintf(address, sizeof(address), "fd://%d?type=stream", pair[0]);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), -EPROTOTYPE);
    assert_non_null(strstr(thirl_why(), "another ?type=, seqpacket"));
    (void)close(pair[0]);
    (void)close(pair[1]);
}

static void echo_on_input(void) {
    struct stat file;
    (void)dup2(pair[1], STDIN_FILENO);
    (void)close(pair[0]);
    (void)close(pair[1]);
    thirl *end = NULL;
    ok(thirl_open(&end, THIRL_PAIR, "fd://0", NULL));
    ok(fstat(STDIN_FILENO, &file));
    must(S_ISCHR(file.st_mode)); /* no file that is opened next becomes standard input */
    echo_all(end);
    must(thirl_close(&end, LONG) == 0);
}

static void standard_input(void **state) {
    pair_up(*state);
    pid_t pid = peer_start(echo_on_input);
    (void)close(pair[1]);
    thirl *end = open_fd(pair[0]);
    talk(end);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
}

/* ---- activated:// ---- */

static int listeners[2];
static const char *names = "first:second", *serve_address;

static int listen_at(int type, bool tcp) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(in);
    int fd = socket(tcp ? AF_INET : AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (tcp) {
        assert_int_equal(bind(fd, (struct sockaddr *)&in, length), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &length), 0);
        (void)snprintf(peer_address, sizeof(peer_address), "tcp://127.0.0.1:%u", ntohs(in.sin_port));
    } else {
        (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s", peer_path);
        (void)unlink(peer_path);
        assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
        (void)snprintf(peer_address, sizeof(peer_address), "unix://%s%s", peer_path,
                       type == SOCK_SEQPACKET ? "?type=seqpacket" : "");
    }
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

/* The service manager's part: descriptors from 3 on, and the variables. */
static void activate(void) {
    char text[20];
    for (int i = 0; i < 2; i++) {
        (void)dup2(listeners[i], 40 + i);
    }
    for (int i = 0; i < 2; i++) {
        (void)dup2(40 + i, 3 + i);
        (void)close(40 + i);
    }
    (void)snprintf(text, sizeof(text), "%d", (int)getpid());
    ok(setenv("LISTEN_PID", text, 1));
    ok(setenv("LISTEN_FDS", "2", 1));
    ok(names ? setenv("LISTEN_FDNAMES", names, 1) : unsetenv("LISTEN_FDNAMES"));
    (void)execl("/proc/self/exe", "heir_test", "--serve", serve_address, (char *)NULL);
    _exit(98);
}

/* The service: serves two peers, one after the other, each over an end of its own. */
static int serve(const char *address) {
    for (int i = 0; i < 2; i++) {
        thirl *end = NULL;
        ok(thirl_open(&end, THIRL_PAIR, address, NULL));
        echo_all(end);
        must(thirl_close(&end, LONG) == 0);
    }
    must(fcntl(3, F_GETFD) >= 0 && fcntl(4, F_GETFD) >= 0);
    return 0;
}

/* A connected socket is served once: that is what Accept=yes is for. */
static int serve_one(const char *address) {
    thirl *end = NULL, *again = NULL;
    ok(thirl_open(&end, THIRL_PAIR, address, NULL));
    must(thirl_open(&again, THIRL_PAIR, address, NULL) == -EBADF);
    echo_all(end);
    must(thirl_close(&end, LONG) == 0);
    return 0;
}

static void visit(void) {
    thirl *end = peer_open(THIRL_PAIR);
    talk(end);
    assert_int_equal(thirl_close(&end, LONG), 0);
}

/* The same listener serves two peers of one service, and then those of the next: nobody ever removes it. */
static void listener(void **state) {
    static const struct {
        int type;
        bool tcp;
    } kinds[] = {{SOCK_STREAM, false}, {SOCK_SEQPACKET, false}, {SOCK_STREAM, true}};
    static const char *const addresses[][2] = {
        {"activated://", "first:second"}, {"activated://second", "x:second"}, {"activated://1", "a:b"},
        {"activated://0", NULL},          {"activated://1", "1:0"},
    };
    static const int places[] = {0, 1, 1, 0, 0};
    (void)state;
    for (size_t i = 0; i < 3 * sizeof(addresses) / sizeof(*addresses); i++) {
        int place = places[i / 3];
        listeners[0] = listeners[1] = listen_at(kinds[i % 3].type, kinds[i % 3].tcp);
        listeners[1 - place] = open("/dev/null", O_RDWR | O_CLOEXEC);
        serve_address = addresses[i / 3][0];
        names = addresses[i / 3][1];
        for (int service = 0; service < 2; service++) {
            pid_t pid = peer_start(activate);
            visit();
            visit();
            peer_reap(pid);
        }
        assert_true(kinds[i % 3].tcp || access(peer_path, F_OK) == 0);
        (void)close(listeners[0]);
        (void)close(listeners[1]);
    }
}

/* Accept=yes: the manager accepts, the service gets the connection. */
static void connection(void **state) {
    (void)state;
    for (int tcp = 0; tcp < 2; tcp++) {
        int listening = listen_at(SOCK_STREAM, tcp);
        serve_address = "activated://connection";
        names = "connection:other";
        pid_t manager = fork();
        if (manager == 0) {
            listeners[0] = accept(listening, NULL, NULL);
            listeners[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
            activate();
        }
        visit();
        peer_reap(manager);
        (void)close(listening);
    }
}

static void nobody_activated_us(void **state) {
    thirl *end = NULL;
    (void)state;
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "activated://", NULL), -ENOENT);
    assert_non_null(strstr(thirl_why(), "LISTEN_PID"));
    (void)setenv("LISTEN_PID", "1", 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "activated://", NULL), -ENOENT);
    assert_non_null(strstr(thirl_why(), "another one"));
    char text[20];
    (void)snprintf(text, sizeof(text), "%d", (int)getpid());
    (void)setenv("LISTEN_PID", text, 1);
    static const char *const counts[] = {"0", "-1", "", "x", "99999999999999999999", "2147483647", "1x"};
    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        (void)setenv("LISTEN_FDS", counts[i], 1);
        assert_int_equal(thirl_open(&end, THIRL_PAIR, "activated://", NULL), -ENOENT);
        assert_non_null(strstr(thirl_why(), "LISTEN_FDS"));
    }
    (void)setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "activated://web", NULL), -ENOENT);
    assert_non_null(strstr(thirl_why(), "\"web\""));
    /* More names than descriptors, and numbers that are too large. */
    (void)setenv("LISTEN_FDNAMES", "a:b:c", 1);
    static const char *const none[] = {"activated://b", "activated://1", "activated://99999999999", "activated://0x"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PAIR, none[i], NULL), -ENOENT);
        assert_non_null(strstr(thirl_why(), "a:b:c"));
    }
    (void)unsetenv("LISTEN_FDNAMES");
    (void)unsetenv("LISTEN_FDS");
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "activated://", NULL), -ENOENT);
    assert_non_null(strstr(thirl_why(), "not set"));
    (void)unsetenv("LISTEN_PID");
}

/* ---- the other end ---- */

static void echo_handed(void) {
    echo_all(peer_open(THIRL_PAIR));
}

static int listen_plain(int type, const char *name) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    size_t length = strlen(name);
    memcpy(at.sun_path, name, length);
    at.sun_path[0] = name[0] == '@' ? '\0' : name[0];
    assert_int_equal(bind(fd, (struct sockaddr *)&at,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (name[0] != '@'))),
                     0);
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

static int listen_everywhere(int family) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    struct sockaddr_in four = {.sin_family = AF_INET};
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = family == AF_INET ? bind(fd, (struct sockaddr *)&four, sizeof(four))
                               : bind(fd, (struct sockaddr *)&six, sizeof(six));
    if (rc != 0) {
        (void)close(fd);
        return -1; /* a host without IPv6 */
    }
    assert_int_equal(listen(fd, 10), 0);
    return fd;
}

/* An end on fd hands over an address that begins like that; a child calls there. */
static void hand_to_child(int fd, const char *query, const char *begins, const char *ends) {
    char address[64];
    thirl *end = NULL;
    (void)snprintf(address, sizeof(address), "fd://%d%s", fd, query);
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address, NULL), 0);
    assert_int_equal(thirl_hand(end, peer_address, sizeof(peer_address)), 0);
    for (size_t room = 0, length = strlen(peer_address); room <= length; room++) {
        char small[sizeof(peer_address)];
        memset(small, 'z', sizeof(small));
        assert_int_equal(thirl_hand(end, small, room), -EMSGSIZE);
        for (size_t i = room; i < sizeof(small); i++) { /* nor is anything written behind it */
            assert_int_equal(small[i], 'z');
        }
    }
    assert_int_equal(strncmp(peer_address, begins, strlen(begins)), 0);
    assert_string_equal(peer_address + strlen(peer_address) - strlen(ends), ends);
    pid_t pid = peer_start(echo_handed);
    talk(end);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    (void)close(fd);
}

/* Where a socket listens, a child can call. */
static void handed(void **state) {
    char name[64], path[160], begins[200];
    (void)state;
    (void)snprintf(name, sizeof(name), "@thirl heir?%%%d", (int)getpid());
    (void)snprintf(begins, sizeof(begins), "unix://@thirl%%20heir%%3F%%25%d", (int)getpid());
    hand_to_child(listen_plain(SOCK_STREAM, name), "?max=200K", begins, "?max=200K");
    hand_to_child(listen_plain(SOCK_SEQPACKET, name), "", begins, "?type=seqpacket");
    hand_to_child(listen_plain(SOCK_SEQPACKET, name), "?max=100K", begins, "?max=100K&type=seqpacket");
    hand_to_child(listen_plain(SOCK_SEQPACKET, name), "?type=seqpacket", begins, "?type=seqpacket");
    hand_to_child(listen_plain(SOCK_SEQPACKET, name), "?max=100K&type=seqpacket", begins, "?max=100K&type=seqpacket");
    (void)snprintf(path, sizeof(path), "%s/\xc3\xa4\n\x7f", peer_directory);
    (void)snprintf(begins, sizeof(begins), "unix://%s/\xc3\xa4%%0A%%7F", peer_directory);
    hand_to_child(listen_plain(SOCK_STREAM, path), "", begins, "%0A%7F");
    (void)unlink(path);
    hand_to_child(listen_everywhere(AF_INET), "?queue=64K", "tcp://127.0.0.1:", "?queue=64K");
    int six = listen_everywhere(AF_INET6);
    if (six >= 0) {
        hand_to_child(six, "", "tcp://[::1]:", "");
    }
}

static void refuse_hand(int fd, const char *query, enum thirl_role role, const char *part) {
    char address[64];
    thirl *end = NULL;
    (void)snprintf(address, sizeof(address), "fd://%d%s", fd, query);
    assert_int_equal(thirl_open(&end, role, address, NULL), 0);
    assert_int_equal(thirl_hand(end, address, sizeof(address)), -EINVAL);
    assert_non_null(strstr(thirl_why(), part));
    assert_int_equal(thirl_close(&end, THIRL_NOW), 0);
}

/* What is connected has its other end elsewhere; what has no name cannot be called. */
static void not_handed(void **state) {
    int pipes[2], nul;
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0a\0b"};
    (void)state;
    pair_up("stream");
    refuse_hand(pair[0], "", THIRL_PAIR, "connected already");
    (void)close(pair[1]);
    assert_int_equal(pipe(pipes), 0);
    refuse_hand(pipes[0], "?raw", THIRL_READ, "handed over itself");
    (void)close(pipes[1]);
    nul = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(nul, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 4), 0);
    assert_int_equal(listen(nul, 1), 0);
    refuse_hand(nul, "", THIRL_PAIR, "NUL");
    (void)close(nul);
    nul = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(nul, (struct sockaddr *)&at, offsetof(struct sockaddr_un, sun_path) + 1), 0);
    assert_int_equal(listen(nul, 1), 0);
    refuse_hand(nul, "", THIRL_PAIR, "it has no name");
    (void)close(nul);
    assert_int_equal(chdir(peer_directory), 0);
    int relative = listen_plain(SOCK_STREAM, "here");
    refuse_hand(relative, "", THIRL_PAIR, "not absolute");
    (void)close(relative);
    (void)unlink("here");
}

#define OVER(test)                                                                                                     \
    {#test " stream", test, NULL, NULL, of_stream}, {#test " seqpacket", test, NULL, NULL, of_seqpacket}, {            \
#test " tcp", test, NULL, NULL, of_tcp                                                                         \
    }

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        OVER(child),
        {"parent_is_known", parent_is_known, NULL, NULL, of_stream},
        OVER(one_process),
        OVER(death),
        OVER(strangers),
        cmocka_unit_test(others),
        OVER(standard_input),
        cmocka_unit_test(listener),
        cmocka_unit_test(connection),
        cmocka_unit_test(nobody_activated_us),
        cmocka_unit_test(handed),
        cmocka_unit_test(not_handed),
    };
    if (argc > 2 && strcmp(argv[1], "--serve") == 0) {
        return strstr(argv[2], "connection") ? serve_one(argv[2]) : serve(argv[2]);
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
