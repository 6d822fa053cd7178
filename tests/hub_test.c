/* SPDX-License-Identifier: MIT
 *
 * An end with many peers among strangers: a thousand callers, callers without a word or with the wrong one, too few descriptors,
 * threads. Whoever keeps to the rules gets everything meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/crew.h"
#include "wire/frame.h"

/* ---- strangers ---- */

static int connected(void) {
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *rest = strstr(crew_address, "://") + 3;
    int kind = strstr(crew_address, "seqpacket") != NULL ? SOCK_SEQPACKET : SOCK_STREAM, rc, fd;
    if (crew_address[0] == 't') {
        in.sin_port = htons((uint16_t)atoi(strchr(rest, ':') + 1));
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = connect(fd, (struct sockaddr *)&in, sizeof in);
    } else {
        size_t length = strcspn(rest, "?");
        memcpy(un.sun_path, rest, length);
        un.sun_path[0] = rest[0] == '@' ? '\0' : rest[0];
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (rest[0] != '@'));
        fd = socket(AF_UNIX, kind | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = connect(fd, (struct sockaddr *)&un, size);
    }
    if (rc != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void speak(int fd, const void *data, size_t size) {
    (void)!send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void greet(int fd, enum thirl_role role, uint64_t max) {
    unsigned char hello[FRAME_HELLO];
    const struct frame_hello text = {.kind = FRAME_HELLO_CALL, .role = (uint8_t)role, .max = max, .pid = {getpid()}};
    frame_write_hello(hello, &text);
    speak(fd, hello, sizeof hello);
}

/* What strangers do, once they are in or not. */
static void misbehave(int fd, enum thirl_role role, unsigned how, bool packets) {
    unsigned char mark[FRAME_MARK + 64];
    struct frame_head head = {.size = FRAME_TELL, .type = FRAME_DONE};
    memset(mark, 0x5a, sizeof mark);
    if (how == 0) {
        speak(fd, "GET / HTTP/1.0\r\n\r\n", 18);
        return;
    }
    if (how == 1) {
        speak(fd, mark, 1);
        return;
    }
    if (how == 2) {
        return; /* not a word */
    }
    greet(fd, role, how == 3 ? 4 : UINT64_MAX);
    size_t skip = packets ? 0 : FRAME_MARK - FRAME_HEAD;
    switch (how) {
    case 4: /* not a frame */
        (void)usleep(300);
        speak(fd, mark, sizeof mark);
        break;
    case 5: /* it finishes what it never had */
        (void)usleep(300);
        frame_write_mark(mark, &head);
        speak(fd, mark + skip, FRAME_MARK + FRAME_TELL - skip);
        break;
    case 6: /* a message, to who does not receive */
        (void)usleep(300);
        head = (struct frame_head){.size = 8, .type = FRAME_DATA};
        frame_write_mark(mark, &head);
        speak(fd, mark + skip, FRAME_MARK + 8 - skip);
        break;
    case 7: /* half a frame, then silence */
        (void)usleep(300);
        frame_write_mark(mark, &head);
        speak(fd, mark + skip, FRAME_MARK - skip - 1);
        break;
    default:
        break;
    }
}

/* Every kind of stranger, again and again, while a good one listens. */
static void among_strangers(void **state, enum thirl_role sends, enum thirl_role receives) {
    crew_at(*state, NULL);
    thirl *hub = crew_open(sends), *good = crew_open(receives);
    bool packets = strstr(crew_address, "seqpacket") != NULL;
    int fd[16];
    uint64_t n = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned how = 0; how < 16; how++) {
            fd[how] = connected();
            if (fd[how] >= 0) {
                misbehave(fd[how], receives, how % 8, packets);
            }
            /* Among workers who never finish, the good one has to wait for its turn; not for ever. */
            int rc = crew_send(hub, n, 100, LONG);
            if (rc != 0) {
                fail_msg("%u: %s", how, thirl_why());
            }
            n++;
            struct crew_message m;
            if (sends == THIRL_PUB) {
                assert_int_equal(crew_next(good).number, n - 1);
            } else {
                (void)crew_take(good, &m, THIRL_NOW);
            }
        }
        for (unsigned how = 0; how < 16; how++) {
            (void)(fd[how] >= 0 ? close(fd[how]) : 0);
        }
    }
    if (sends == THIRL_PUSH) { /* what the strangers had comes back */
        struct crew_message m;
        while (crew_take(good, &m, thirl_in_ms(100)) == 0) {
            (void)crew_send(hub, n, 100, THIRL_NOW);
        }
    }
    assert_true(thirl_close(&hub, THIRL_NOW) >= 0);
    assert_int_equal(thirl_close(&good, LONG), 0);
}

static void publisher_among_strangers(void **state) {
    among_strangers(state, THIRL_PUB, THIRL_SUB);
}

static void pusher_among_strangers(void **state) {
    among_strangers(state, THIRL_PUSH, THIRL_PULL);
}

/* Two thousand connects without a word; the good one gets everything, and one more comes through at last. */
static void flood_of_callers(void **state) {
    crew_at(*state, NULL);
    thirl *pub = crew_open(THIRL_PUB), *sub = crew_open(THIRL_SUB);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        for (unsigned i = 0; i < 2000; i++) {
            int fd = connected();
            (void)(fd >= 0 && i % 8 != 0 ? close(fd) : 0); /* some stay, and say nothing */
            (void)(fd < 0 ? usleep(500) : 0);
        }
        _exit(0);
    }
    int status = 0;
    uint64_t n = 0;
    int64_t longest = 0;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        int64_t began = clock_now();
        assert_int_equal(crew_send(pub, n, 100, LONG), 0);
        assert_int_equal(crew_next(sub).number, n++);
        longest = clock_now() - began > longest ? clock_now() - began : longest;
        (void)usleep(200);
    }
    assert_int_equal(status, 0);
    assert_true(longest < 2 * CLOCK_S);
    thirl *late = crew_open(THIRL_SUB);
    struct crew_message m;
    int rc = -EAGAIN;
    for (int i = 0; i < 4000 && rc != 0; i++) {
        assert_int_equal(crew_send(pub, n, 100, LONG), 0);
        assert_int_equal(crew_next(sub).number, n++);
        rc = crew_take(late, &m, THIRL_NOW);
        (void)usleep(1000);
    }
    assert_int_equal(rc, 0);
    thirl *all[] = {pub, sub, late};
    crew_close(all, 3);
}

/* ---- a thousand ---- */

#if defined(__SANITIZE_ADDRESS__) /* looks at the code that is passed, not at how often */
#define THOUSAND 200
#else
#define THOUSAND 1000
#endif

static bool may_open(rlim_t count) {
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= count;
}

static void subscribe_often(void) {
    static thirl *sub[THOUSAND];
    static uint64_t got[THOUSAND];
    size_t size;
    for (unsigned i = 0; i < THOUSAND; i++) {
        ok(thirl_open(&sub[i], THIRL_SUB, crew_address, NULL));
    }
    for (unsigned i = 0; i < THOUSAND; i++) {
        do { /* until the word to stop */
            int rc;
            must((rc = thirl_recv(sub[i], &got[i], sizeof got[i], &size, thirl_in_ms(40000))) == 0);
        } while (got[i] != UINT64_MAX);
    }
}

static void a_thousand_subscribe(void **state) {
    if (!may_open(8192)) {
        skip();
    }
    crew_at(*state, "queue=16K&timeout=120s");
    thirl *pub = crew_open(THIRL_PUB);
    pid_t pid = peer_start(subscribe_often);
    const uint64_t stop = UINT64_MAX;
    int status = 0;
    for (int64_t until = clock_now() + 120 * CLOCK_S; waitpid(pid, &status, WNOHANG) == 0;) {
        assert_true(clock_now() < until);
        assert_int_equal(thirl_send(pub, &stop, sizeof stop, LONG), 0);
        (void)usleep(10000); /* each is told each time: the processor is for those who still come */
    }
    assert_int_equal(status, 0);
    assert_int_equal(thirl_close(&pub, THIRL_NOW), 0);
}

static void subscribe_twenty_times(void) {
    static thirl *sub[20];
    int rc = 0;
    unsigned refused = 0;
    char byte;
    for (unsigned i = 0; i < 20; i++) {
        rc = thirl_open(&sub[i], THIRL_SUB, crew_address, NULL);
        rc = rc == 0 ? thirl_recv(sub[i], &byte, 1, NULL, thirl_in_ms(20000)) : rc;
        if (rc == -EMFILE) {
            must(strstr(thirl_why(), "RLIMIT_NOFILE") != NULL);
            refused++;
        } else {
            must(rc == 0);
        }
    }
    must(refused >= 5 && refused <= 18);
}

/* A publisher without a descriptor for one more says so to who calls, and goes on with those who are there. */
static void no_descriptor_is_left(void **state) {
    crew_at(*state, NULL);
    pid_t pid = peer_start(subscribe_twenty_times); /* before our limit is low */
    struct rlimit limit, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    thirl *pub = crew_open(THIRL_PUB);
    int next = dup(0);
    (void)close(next);
    low = limit;
    low.rlim_cur = (rlim_t)next + 8;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int status = 0;
    for (int64_t until = clock_now() + 40 * CLOCK_S; waitpid(pid, &status, WNOHANG) == 0;) {
        assert_true(clock_now() < until);
        assert_int_equal(thirl_send(pub, "x", 1, LONG), 0);
        (void)usleep(1000);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(status, 0);
    assert_int_equal(thirl_close(&pub, THIRL_NOW), 0);
}

/* ---- threads ---- */

static void *push_some(void *end) {
    for (uint64_t n = 0; n < 500; n++) {
        char data[64];
        memset(data, (int)n, sizeof data);
        memcpy(data, &n, sizeof n);
        ok(thirl_send(end, data, sizeof data, LONG));
    }
    return NULL;
}

static uint32_t over;

static void *pull_some(void *end) {
    uintptr_t came = 0;
    char data[64];
    size_t size;
    int rc;
    while ((rc = thirl_recv(end, data, sizeof data, &size, thirl_in_ms(50))) == 0 ||
           (rc == -ETIMEDOUT && atomic_load(&over) == 0)) {
        came += rc == 0;
    }
    must(rc == -ETIMEDOUT); /* that the pusher leaves is no news */
    return (void *)came;    // NOLINT(performance-no-int-to-ptr)
}

static void threads_share_the_ends(void **state) {
    crew_at(*state, NULL);
    thirl *push = crew_open(THIRL_PUSH), *pull[2] = {crew_open(THIRL_PULL), crew_open(THIRL_PULL)};
    pthread_t pushers[3], pullers[4];
    uintptr_t sum = 0;
    void *came;
    atomic_store(&over, 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&pullers[i], NULL, pull_some, pull[i % 2]), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&pushers[i], NULL, push_some, push), 0);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(pushers[i], NULL), 0);
    }
    assert_int_equal(thirl_close(&push, LONG), 0);
    atomic_store(&over, 1);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(pullers[i], &came), 0);
        sum += (uintptr_t)came;
    }
    assert_int_equal(sum, 1500);
    crew_close(pull, 2);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        CREW_OVER_ALL(publisher_among_strangers), CREW_OVER_ALL(pusher_among_strangers),
        CREW_OVER_ALL(flood_of_callers),          CREW_OVER_ALL(a_thousand_subscribe),
        CREW_OVER_ALL(no_descriptor_is_left),     CREW_OVER_ALL(threads_share_the_ends),
    };
    crew_filter(argc, argv);
    return cmocka_run_group_tests_name("hub", tests, peer_setup, peer_teardown);
}
