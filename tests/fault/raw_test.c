/* SPDX-License-Identifier: MIT
 *
 * Every call that fails where no address of the conformance suite leads: named pipes and sockets as they are, ends that are handed over, descriptors
 * that were given. One process is both sides. One call of libc that the library makes fails with one of its errors, or all do from then on:
 * each answer has a sentence and comes at once, nothing stays open, and then the same goes well.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/fault/fault.h"
#include "tests/plain.h"
#include "tests/room.h"

#define MOST 60       /* passes of one call */
#define ANY INT32_MAX /* what a call answers is not this test's business */
#define LATE (3 * CLOCK_S)

static const struct fault *now; /* what fails in this play; its pass is 0 where nothing does */
static char where[320];
static size_t got;

static int answered(int rc, int wanted, int64_t begun, const char *call) {
    fault_armed = false;
    bool took_long = clock_now() - begun > LATE, mute = rc < 0 && thirl_why()[0] == '\0';
    bool fine = rc == wanted || wanted == ANY || (now->pass != 0 && (rc < 0 || wanted < 0));
    if (took_long || mute || !fine) {
        print_error("%s answers %d (%s) while %s fails the %u. time with %d%s\n", call, rc, thirl_why(),
                    fault_calls[now->call].name, now->pass, now->error, now->lasting ? " and from then on" : "");
    }
    assert_false(took_long);
    assert_false(mute);
    assert_true(fine);
    return rc;
}

#define TRY(wanted, call)                                                                                              \
    ({                                                                                                                 \
        int64_t begun = clock_now();                                                                                   \
        fault_armed = true;                                                                                            \
        int answer = (call);                                                                                           \
        answered(answer, wanted, begun, #call);                                                                        \
    })

/* ---- named pipes ---- */

static void close_end(thirl **end) {
    (void)TRY(ANY, thirl_close(end, THIRL_NOW));
    assert_null(*end);
}

static void reads_a_fifo(void) {
    thirl *end = NULL;
    if (TRY(0, thirl_open(&end, THIRL_READ, plain_raw, NULL)) == 0) {
        (void)TRY(-EAGAIN, thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        int fd = open(plain_fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            assert_int_equal(write(fd, "ab", 2), 2);
            (void)TRY(0, thirl_recv(end, buffer, 1, &got, THIRL_NOW));
            (void)TRY(0, thirl_recv(end, buffer, 1, &got, THIRL_NOW));
            (void)close(fd);
        }
        (void)TRY(ANY, thirl_recv(end, buffer, 1, &got, THIRL_NOW));
        close_end(&end);
    }
}

/* Somebody removes it, and who waits there makes it again. */
static void reads_a_fifo_that_goes(void) {
    thirl *end = NULL;
    if (TRY(0, thirl_open(&end, THIRL_READ, plain_raw, NULL)) == 0) {
        (void)unlink(plain_fifo);
        (void)TRY(-ETIMEDOUT, thirl_recv(end, buffer, 9, &got, thirl_in_ms(1)));
        (void)TRY(ANY, thirl_fd(end));
        (void)TRY(-EAGAIN, thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        assert_true(now->pass != 0 || plain_exists(plain_fifo));
        close_end(&end);
    }
}

static void writes_a_fifo(void) {
    thirl *end = NULL;
    int fd = -1;
    if (TRY(0, thirl_open(&end, THIRL_WRITE, plain_raw, NULL)) == 0) {
        (void)TRY(-EAGAIN, thirl_send(end, "x", 1, THIRL_NOW));
        fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        (void)TRY(fd < 0 ? -EAGAIN : 0, thirl_send(end, "x", 1, THIRL_NOW));
        (void)TRY(fd < 0 ? -EAGAIN : 0, thirl_send(end, "x", 1, THIRL_NOW));
        close_end(&end);
    }
    (void)(fd >= 0 && close(fd));
}

/* One reader goes and another comes; before, somebody removes what they meet at. */
static void pushes_into_a_fifo(void) {
    thirl *end = NULL;
    if (TRY(0, thirl_open(&end, THIRL_PUSH, plain_raw, NULL)) != 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        int fd = open(plain_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        (void)TRY(fd < 0 ? -EAGAIN : 0, thirl_send(end, "x", 1, THIRL_NOW));
        (void)(fd >= 0 && close(fd));
        (void)TRY(-EAGAIN, thirl_send(end, "x", 1, THIRL_NOW));
        (void)(i == 0 && unlink(plain_fifo));
        (void)TRY(-EAGAIN, thirl_send(end, "x", 1, THIRL_NOW));
        (void)TRY(-EAGAIN, thirl_send(end, "x", 1, THIRL_NOW));
    }
    close_end(&end);
}

/* ---- what is handed over ---- */

static void talk(thirl *a, thirl *b) {
    (void)TRY(0, thirl_send(a, "down", 4, THIRL_NOW));
    (void)TRY(0, thirl_recv(b, buffer, 9, &got, THIRL_NOW));
    (void)TRY(0, thirl_send(b, "up", 2, THIRL_NOW));
    (void)TRY(0, thirl_recv(a, buffer, 9, &got, THIRL_NOW));
}

/* Whatever has failed, they get to each other by turns; and then it is said that the other end is taken. A line that cannot be read is at
 * an end. */
static void meet(thirl *a, thirl *b) {
    const int64_t until = clock_now() + 8 * CLOCK_S;
    const bool cut = now->pass != 0 && now->error == EIO && strcmp(fault_calls[now->call].name, "read") == 0;
    bool sent = false;
    int rc;
    do {
        sent = sent || thirl_send(a, "down", 4, THIRL_NOW) == 0;
        rc = thirl_recv(b, buffer, 9, &got, THIRL_NOW);
    } while (rc == -EAGAIN && clock_now() < until);
    if (rc != 0 && !(cut && rc == -THIRL_ECLOSED)) {
        print_error("%s failed the %u. time with %d, and they do not meet: %s\n", fault_calls[now->call].name,
                    now->pass, now->error, thirl_why());
        fail();
    }
    assert_true(rc != 0 || thirl_hand(a, where, sizeof where) == -EBUSY);
}

static void hand_over(const char *address, bool plain) {
    thirl *a = NULL, *b = NULL;
    if (TRY(0, thirl_open(&a, THIRL_PAIR, address, NULL)) == 0) {
        (void)TRY(-EMSGSIZE, thirl_hand(a, where, 8));
        if (TRY(0, thirl_hand(a, where, sizeof where)) == 0 && TRY(0, thirl_open(&b, THIRL_PAIR, where, NULL)) == 0) {
            if (plain) {
                talk(a, b);
                (void)TRY(-EBUSY, thirl_hand(a, where, sizeof where));
            } else {
                meet(a, b);
            }
            close_end(&b);
            (void)TRY(ANY, thirl_recv(a, buffer, 9, &got, THIRL_NOW));
            (void)TRY(ANY, thirl_hand(a, where, sizeof where));
        }
        close_end(&a);
    }
}

static void hands_pipes_over(void) {
    hand_over("pipe://", false);
}

static void hands_plain_pipes_over(void) {
    hand_over("pipe://?raw&queue=128K", true);
}

/* ---- what was given ---- */

/* An end on that number, which is closed again if nobody takes it over. */
static thirl *given(enum thirl_role role, int fd, const char *query) {
    thirl *end = NULL;
    (void)snprintf(where, sizeof where, "fd://%d%s", fd, query);
    if (TRY(0, thirl_open(&end, role, where, NULL)) != 0) {
        assert_int_equal(close(fd), 0); /* it is as it was */
    }
    return end;
}

static void takes_pipes_that_were_given(void) {
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    thirl *in = given(THIRL_READ, ends[0], "?raw"), *out = given(THIRL_WRITE, ends[1], "?raw");
    if (in != NULL && out != NULL) {
        (void)TRY(0, thirl_send(out, "x", 1, THIRL_NOW));
        (void)TRY(0, thirl_recv(in, buffer, 9, &got, THIRL_NOW));
    }
    close_end(&out);
    close_end(&in);
    /* Everybody has left before it is opened. */
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)close(ends[1]);
    in = given(THIRL_READ, ends[0], "?raw");
    if (in != NULL) {
        (void)TRY(THIRL_END, thirl_recv(in, buffer, 9, &got, THIRL_NOW));
    }
    close_end(&in);
}

/* One side of it sends descriptors, and empty packets in between. */
static void take_socket(int type, const char *query) {
    int ends[2], extra = -1;
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends), 0);
    thirl *a = given(THIRL_PAIR, ends[0], query), *b = given(THIRL_PAIR, ends[1], query);
    if (a != NULL && b != NULL) {
        thirl_msg *msg = NULL;
        if (TRY(ANY, thirl_loan(a, &msg, 1, THIRL_NOW)) == 0) {
            extra = open("/dev/null", O_RDONLY | O_CLOEXEC);
            memcpy(thirl_msg_data(msg), "x", 1);
            (void)TRY(0, thirl_msg_attach(msg, extra));
            (void)TRY(0, thirl_put(a, &msg, THIRL_NOW));
            if (TRY(0, thirl_take(b, &msg, THIRL_NOW)) == 0) {
                thirl_free(&msg);
            }
        }
        (void)TRY(0, thirl_send(b, "yz", 2, THIRL_NOW));
        (void)TRY(0, thirl_recv(a, buffer, 9, &got, THIRL_NOW));
        (void)TRY(ANY, thirl_fd(a));
        (void)TRY(-EAGAIN, thirl_recv(a, buffer, 9, &got, THIRL_NOW));
        close_end(&b);
        (void)TRY(ANY, thirl_recv(a, buffer, 9, &got, THIRL_NOW));
        (void)TRY(ANY, thirl_send(a, "x", 1, THIRL_NOW));
    }
    close_end(&b);
    close_end(&a);
    (void)close(extra);
}

static void takes_a_stream_that_was_given(void) {
    take_socket(SOCK_STREAM, "?raw&descriptors=2");
}

static void takes_packets_that_were_given(void) {
    take_socket(SOCK_SEQPACKET, "?raw&descriptors=2");
}

/* ---- sockets as they are ---- */

static void meets_a_plain_caller(void) {
    thirl *end = NULL;
    if (TRY(0, thirl_open(&end, THIRL_PAIR, peer_address, NULL)) == 0) {
        (void)TRY(-EAGAIN, thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        memcpy(at.sun_path, bare_place, strlen(bare_place));
        int fd = socket(AF_UNIX, bare_kind->type | SOCK_CLOEXEC, 0);
        (void)connect(fd, (struct sockaddr *)&at, sizeof at);
        (void)!send(fd, "hello", 5, MSG_NOSIGNAL);
        (void)TRY(0, thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        (void)TRY(0, thirl_send(end, "there", 5, THIRL_NOW));
        (void)close(fd);
        (void)TRY(ANY, thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        (void)TRY(ANY, thirl_send(end, "there", 5, THIRL_NOW));
        close_end(&end);
    }
}

/* ---- signals ---- */

static void tells_itself(void) {
    thirl *in = NULL, *out = NULL;
    uint32_t word = 7;
    if (TRY(0, thirl_open(&in, THIRL_WATCH, "sig://self?raw", NULL)) == 0 &&
        TRY(0, thirl_open(&out, THIRL_NOTIFY, "sig://self?raw", NULL)) == 0) {
        (void)TRY(0, thirl_send(out, &word, 4, THIRL_NOW));
        (void)TRY(0, thirl_recv(in, &word, 4, NULL, THIRL_NOW));
        (void)TRY(-EAGAIN, thirl_recv(in, &word, 4, NULL, THIRL_NOW));
        (void)TRY(ANY, thirl_fd(out));
        int fd = TRY(ANY, thirl_peer_pidfd(out));
        (void)(fd >= 0 && close(fd));
    }
    close_end(&out);
    close_end(&in);
}

/* ---- all of that, with all that may fail ---- */

static unsigned descriptors;

static void play(void (*scene)(void), const struct fault *fault) {
    now = fault;
    fault_set(fault);
    scene();
    now = NULL;
    (void)unlink(plain_fifo);
    (void)unlink(bare_place);
    unsigned open_now = room_descriptors();
    if (open_now != descriptors) {
        print_error("%u descriptors, not %u, when %s has failed the %u. time with %d%s\n", open_now, descriptors,
                    fault_calls[fault->call].name, fault->pass, fault->error,
                    fault->lasting ? " and from then on" : "");
    }
    assert_int_equal(open_now, descriptors);
}

static void try_all(void (*scene)(void)) {
    static const struct fault nothing = {0};
    const size_t taken = fault_find("sigtimedwait"); /* here of a signal that waits: it is there at once */
    unsigned usual[128];
    now = &nothing;
    fault_set(&nothing);
    scene(); /* what a process opens once */
    fault_armed = false;
    descriptors = room_descriptors();
    play(scene, &nothing);
    assert_true(fault_count <= 128);
    memcpy(usual, fault_passes, fault_count * sizeof *usual);
    for (size_t call = 0; call < fault_count; call++) {
        for (const int *error = fault_calls[call].errors; usual[call] != 0 && call != taken && *error != 0; error++) {
            for (int lasting = 0; lasting <= (int)fault_lasts(*error); lasting++) {
                for (unsigned pass = 1; pass <= usual[call] && pass <= MOST; pass++) {
                    const struct fault fault = {call, pass, *error, lasting != 0};
                    play(scene, &fault);
                }
            }
        }
        play(scene, &nothing);
    }
}

#define SCENE(scene)                                                                                                   \
    static void scene##_or_says_why(void **state) {                                                                    \
        (void)state;                                                                                                   \
        try_all(scene);                                                                                                \
    }
SCENE(reads_a_fifo)
SCENE(reads_a_fifo_that_goes)
SCENE(writes_a_fifo)
SCENE(pushes_into_a_fifo)
SCENE(hands_pipes_over)
SCENE(hands_plain_pipes_over)
SCENE(takes_pipes_that_were_given)
SCENE(takes_a_stream_that_was_given)
SCENE(takes_packets_that_were_given)
SCENE(tells_itself)

static void meets_a_plain_caller_or_says_why(void **state) {
    bare_use(state);
    try_all(meets_a_plain_caller);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name##_or_says_why, plain_begin)
    const struct CMUnitTest tests[] = {
        TEST(reads_a_fifo),
        TEST(reads_a_fifo_that_goes),
        TEST(writes_a_fifo),
        TEST(pushes_into_a_fifo),
        TEST(hands_pipes_over),
        TEST(hands_plain_pipes_over),
        TEST(takes_pipes_that_were_given),
        TEST(takes_a_stream_that_was_given),
        TEST(takes_packets_that_were_given),
        TEST(tells_itself),
        UNIX(meets_a_plain_caller_or_says_why),
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
