/* SPDX-License-Identifier: MIT
 *
 * A notifier over connections whose watchers do not read, go, or cannot be let in: it waits for the slowest and for nobody who is gone, and
 * says who died.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/end.h"
#include "mech/hub.h"
#include "tests/crew.h"
#include "tests/room.h"
#include "tests/sparing.h"

#define PLACES 64u /* of the smallest table */

static thirl *out;
static struct hub *hub;

static int begin(void **state) {
    (void)state;
    crew_at("unix://%s/s", "queue=4K");
    sparing_be(0, 0, 0, 0);
    out = crew_open(THIRL_NOTIFY);
    hub = out->state;
    return 0;
}

static void tell(uint32_t event, int code) {
    hub->looked = 0;
    assert_int_equal(thirl_send(out, &event, sizeof event, THIRL_NOW), code);
}

static void expect(thirl *watch, uint32_t event) {
    uint32_t word = ~event;
    assert_int_equal(thirl_recv(watch, &word, sizeof word, NULL, LONG), 0);
    assert_int_equal(word, event);
}

static bool has_room(void) {
    struct thirl_want want = {.end = out, .wanted = THIRL_WANT_ROOM};
    int rc = thirl_wait(&want, 1, THIRL_NOW);
    assert_true(rc == 1 || rc == -EAGAIN);
    return rc == 1;
}

/* Until so many watch. */
static void let_in(unsigned count) {
    uint32_t event = 1000;
    for (unsigned i = 0; i < 5000 && hub->count != count; i++) {
        (void)!thirl_send(out, &event, sizeof event, THIRL_NOW);
        room_sleep(CLOCK_MS);
    }
    assert_int_equal(hub->count, count);
}

static void close_all(thirl **watch, unsigned count) {
    sparing_be(0, 0, 0, 0);
    crew_close(watch, count);
    crew_close(&out, 1);
}

/* Their sockets take nothing, and the first one's table is full. */
static void there_is_room_when_all_have_some(void **state) {
    (void)state;
    thirl *watch[2] = {crew_open(THIRL_WATCH), NULL};
    tell(500, 0);
    sparing_be(0, 0, 1u << 20, EAGAIN);
    tell(1, 0);
    sparing_be(0, 0, 0, 0);
    expect(watch[0], 500);
    watch[1] = crew_open(THIRL_WATCH);
    let_in(2);
    sparing_be(0, 0, 1u << 20, EAGAIN);
    for (uint32_t event = 2; toll_is_full(&hub->all[0]->toll) == 0; event++) {
        assert_true(event <= PLACES + 1);
        tell(event, 0);
    }
    assert_false(has_room());
    tell(100, -EAGAIN);
    tell(2, 0); /* which waits already */
    sparing_be(0, 0, 0, 0);
    for (unsigned i = 0; !has_room(); i++) { /* the other one waits meanwhile */
        uint32_t word;
        assert_true(i < 1000);
        (void)!thirl_recv(watch[0], &word, sizeof word, NULL, THIRL_NOW);
    }
    tell(100, 0);
    close_all(watch, 2);
}

/* It is found when what waits for it is sent on. */
static void who_has_gone_is_not_waited_for(void **state) {
    (void)state;
    thirl *watch = crew_open(THIRL_WATCH);
    tell(1, 0);
    sparing_be(0, 0, 1u << 20, EAGAIN);
    for (uint32_t event = 0; event < PLACES; event++) {
        tell(event, 0);
    }
    tell(PLACES, -EAGAIN);
    sparing_be(0, 0, 0, 0);
    crew_close(&watch, 1);
    uint32_t event = 7;
    hub->looked = clock_now() + CLOCK_S; /* there was a look just now */
    assert_int_equal(thirl_send(out, &event, sizeof event, THIRL_NOW), -EAGAIN);
    assert_int_equal(hub->count, 0);
    watch = crew_open(THIRL_WATCH);
    tell(8, 0);
    expect(watch, 8); /* and nothing of what was told to nobody */
    close_all(&watch, 1);
}

/* ---- deaths ---- */

static void watch_on(void) {
    thirl *watch = crew_open(THIRL_WATCH);
    uint32_t word;
    while (thirl_recv(watch, &word, sizeof word, NULL, LONG) == 0) {}
}

static void all_who_died_are_told_of_at_once(void **state) {
    (void)state;
    pid_t child[2] = {peer_start(watch_on), peer_start(watch_on)};
    let_in(2);
    peer_slay(child[0]);
    peer_slay(child[1]);
    for (unsigned i = 0; i < 5000 && hub->count != 0; i++) {
        hub->looked = 0;
        (void)out->mech->look(out->state, MECH_OUT);
        room_sleep(CLOCK_MS);
    }
    assert_true(has_room()); /* a send is answered */
    tell(1, -THIRL_EPEERDIED);
    assert_non_null(strstr(thirl_why(), "2 watchers died, the last one was pid "));
    tell(1, -EAGAIN);
    close_all(NULL, 0);
}

/* ---- who cannot be let in ---- */

static int call(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    unsigned char text[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_WATCH, .max = 8, .pid = {getpid()}};
    int length = (int)strcspn(strstr(crew_address, "://") + 3, "?");
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%.*s", length, strstr(crew_address, "://") + 3);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    frame_write_hello(text, &hello);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    return fd;
}

/* Whoever looks is told, in whatever way. */
static void what_keeps_one_out_is_told(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        (void)(way != 0 ? begin(NULL) : 0);
        tell(1, -EAGAIN);
        int fd = call(), rc = -EAGAIN;
        for (unsigned i = 0; i < 5000 && rc == -EAGAIN; i++) {
            const uint32_t event = 1;
            sparing.slow = 1; /* the next connection cannot be set up */
            hub->looked = 0;
            rc = way == 0   ? out->mech->look(out->state, MECH_OUT)
                 : way == 1 ? (out->mech->ready(out->state, MECH_OUT) ? -ENOBUFS : -EAGAIN)
                            : thirl_send(out, &event, sizeof event, THIRL_NOW);
        }
        assert_int_equal(rc, -ENOBUFS);
        assert_non_null(strstr(thirl_why(), "cannot set up the connection"));
        assert_int_equal(hub->count, 0);
        (void)close(fd);
        close_all(NULL, 0);
    }
}

/* A watcher has nothing to say, not even nothing. */
static void who_sends_a_notifier_a_message_is_let_go(void **state) {
    unsigned char head[FRAME_HEAD];
    (void)state;
    int fd = call();
    let_in(1);
    frame_write_head(head, &(struct frame_head){.type = FRAME_DATA});
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    tell(1, -EAGAIN);
    assert_int_equal(hub->count, 0);
    assert_int_equal(out->seen->in.refused, 1);
    (void)close(fd);
    close_all(NULL, 0);
}

/* ---- what a process may have ---- */

static void what_a_descriptor_to_wait_on_lacks_is_told(void **state) {
    struct rlimit usual, less;
    (void)state;
    int next = dup(0);
    assert_true(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    for (unsigned more = 0; more < 2; more++) {
        less = usual;
        less.rlim_cur = (rlim_t)next + more;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
        int rc = thirl_fd(out);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
        assert_int_equal(rc, -EMFILE);
        assert_non_null(strstr(thirl_why(), "no descriptor to wait on"));
    }
    assert_true(thirl_fd(out) >= 0);
    close_all(NULL, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PIECE ((size_t)2048) /* there is nothing as large as that, */
#define MANY 600             /* and a list of connections by descriptors as high as that is larger */

static int have_little(void *nothing) {
    static void *taken[65536];
    struct rlimit usual, none;
    size_t count = 0;
    const uint32_t event = 1;
    int rc = -EAGAIN, fds[MANY];
    must(begin(&nothing) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    usual.rlim_cur = usual.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    (void)!thirl_send(out, &event, sizeof event, THIRL_NOW);
    for (int i = 0; i < MANY; i++) {
        must((fds[i] = dup(0)) >= 0);
    }
    (void)call();
    must(getrlimit(RLIMIT_AS, &usual) == 0);
    none = usual;
    none.rlim_cur = 0;
    must(setrlimit(RLIMIT_AS, &none) == 0);
    while (count < 65536 && (taken[count] = malloc(PIECE)) != NULL) {
        count++;
    }
    for (int i = 0; i < 5000 && rc == -EAGAIN; i++) {
        hub->looked = 0;
        rc = thirl_send(out, &event, sizeof event, THIRL_NOW);
    }
    must(setrlimit(RLIMIT_AS, &usual) == 0);
    must(rc == -ENOMEM && strstr(thirl_why(), "no memory for one more connection") != NULL && hub->count == 0);
    while (count != 0) {
        free(taken[--count]);
    }
    (void)call();
    rc = -EAGAIN;
    for (int i = 0; i < 5000 && rc == -EAGAIN; i++) {
        hub->looked = 0;
        rc = thirl_send(out, &event, sizeof event, THIRL_NOW);
    }
    must(rc == 0 && hub->count == 1);
    return 0;
}

static void who_has_no_memory_for_one_more_says_so(void **state) {
    (void)state;
    assert_int_equal(room_run(have_little, NULL), 0);
    close_all(NULL, 0);
}
#endif

int main(void) {
#define T(name) cmocka_unit_test_setup(name, begin)
    const struct CMUnitTest tests[] = {
        T(there_is_room_when_all_have_some),
        T(who_has_gone_is_not_waited_for),
        T(all_who_died_are_told_of_at_once),
        T(what_keeps_one_out_is_told),
        T(who_sends_a_notifier_a_message_is_let_go),
        T(what_a_descriptor_to_wait_on_lacks_is_told),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        T(who_has_no_memory_for_one_more_says_so),
#endif
    };
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
