/* SPDX-License-Identifier: MIT
 *
 * Ends with many connections whose peers take a part of what is sent, or go in the middle of it: nobody gets half of a message, and what
 * one cannot have another gets.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/end.h"
#include "mech/deal.h"
#include "tests/crew.h"
#include "tests/sparing.h"

#define LARGE ((size_t)50000)

static unsigned char data[LARGE], got[LARGE];
static size_t size;

static int begin(void **state) {
    (void)state;
    for (size_t i = 0; i < LARGE; i++) {
        data[i] = (unsigned char)(i * 13 + i / 240);
    }
    crew_at("unix://%s/s", NULL);
    sparing_be(0, 0, 0, 0);
    return 0;
}

static void close_end(thirl *end) {
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
}

static struct hub *hub_of(thirl *end) {
    return end->state;
}

static void must_hold(size_t came, size_t wanted) {
    assert_int_equal(came, wanted);
    assert_memory_equal(got, data, came);
}

/* ---- who is there ---- */

static void no_pidfd_of_many(void **state) {
    (void)state;
    thirl *push = crew_open(THIRL_PUSH);
    assert_int_equal(thirl_peer_pidfd(push), -ENOTCONN);
    thirl *pull = crew_open(THIRL_PULL);
    assert_int_equal(thirl_send(push, "x", 1, LONG), 0);
    assert_int_equal(thirl_peer_pidfd(push), -EOPNOTSUPP);
    assert_non_null(strstr(thirl_why(), "many peers"));
    close_end(push);
    close_end(pull);
}

/* It greets those that call as a subscriber, which only calls. */
static void listen_as_a_subscriber(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    unsigned char text[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_JOIN, .role = THIRL_SUB, .max = 100, .pid = {getpid()}};
    const char *path = strstr(crew_address, "://") + 3;
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s~", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
    must(rename(at.sun_path, path) == 0);
    int caller = accept(fd, NULL, NULL);
    must(recv(caller, text, sizeof text, MSG_WAITALL) == FRAME_HELLO);
    frame_write_hello(text, &hello);
    must(write(caller, text, sizeof text) == FRAME_HELLO);
    must(read(caller, text, sizeof text) == 0); /* it hangs up */
    (void)close(caller);
    (void)close(fd);
    must(unlink(path) == 0);
}

static void who_listens_in_a_callers_role_is_no_peer(void **state) {
    (void)state;
    pid_t pid = peer_start(listen_as_a_subscriber);
    thirl *pub = NULL;
    const char *path = strstr(crew_address, "://") + 3;
    for (unsigned i = 0; i < 8000 && access(path, F_OK) != 0; i++) {
        (void)usleep(1000);
    }
    int rc = thirl_open(&pub, THIRL_PUB, crew_address, NULL);
    for (unsigned i = 0; rc == 0 && i < 100; i++) {
        rc = thirl_send(pub, "x", 1, thirl_in_ms(20));
    }
    assert_int_equal(rc, -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "roles"));
    (void)thirl_close(&pub, THIRL_NOW);
    peer_reap(pid);
}

/* Two wait for it, and the second cannot be let in: the first is let go of, and neither has lost anything. */
static void a_hub_that_cannot_open_keeps_nobody(void **state) {
    (void)state;
    thirl *a = crew_open(THIRL_PULL), *b = crew_open(THIRL_PULL), *push = NULL;
    sparing.slow = 2;
    int rc = thirl_open(&push, THIRL_PUSH, crew_address, NULL);
    if (rc == 0) {
        fail_msg("it did open");
    }
    assert_non_null(strstr(thirl_why(), "cannot set up"));
    sparing.slow = 0;
    push = crew_open(THIRL_PUSH);
    for (unsigned i = 0, came = 0; came != 3; i++) { /* both of them work */
        assert_true(i < 1000);
        int sent = thirl_send(push, "x", 1, THIRL_NOW);
        assert_true(sent == 0 || sent == -EAGAIN);
        came |= thirl_recv(a, got, 1, &size, thirl_in_ms(5)) == 0 ? 1 : 0;
        came |= thirl_recv(b, got, 1, &size, thirl_in_ms(5)) == 0 ? 2 : 0;
    }
    close_end(push);
    close_end(a);
    close_end(b);
}

/* ---- liars ---- */

static int call_as(enum thirl_role role) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    unsigned char text[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = (uint8_t)role, .max = 1000, .pid = {getpid()}};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", strstr(crew_address, "://") + 3);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    frame_write_hello(text, &hello);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    return fd;
}

static void say(int fd, enum frame_type type, uint64_t number) {
    unsigned char text[FRAME_HEAD + FRAME_TELL];
    frame_write_head(text, &(struct frame_head){.size = FRAME_TELL, .type = (uint8_t)type});
    frame_write_tell(text + FRAME_HEAD, number);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
}

/* It is hung up on, and what it had is the next one's. */
static void who_finishes_what_it_has_not_is_let_go(void **state) {
    (void)state;
    thirl *push = crew_open(THIRL_PUSH);
    int fd = call_as(THIRL_PULL);
    assert_int_equal(thirl_send(push, data, 100, LONG), 0);
    say(fd, FRAME_DONE, 77);
    hub_of(push)->looked = 0;
    assert_int_equal(thirl_send(push, data, 100, THIRL_NOW), -EAGAIN);
    assert_int_equal(hub_of(push)->count, 0);
    assert_int_equal(push->seen->in.refused, 1);
    assert_int_equal(recv(fd, got, LARGE, MSG_WAITALL), FRAME_HELLO + FRAME_HEAD + 100);
    close(fd);
    thirl *pull = crew_open(THIRL_PULL);
    hub_of(push)->looked = 0;
    assert_int_equal(thirl_send(push, data, 200, LONG), 0);
    assert_int_equal(thirl_recv(pull, got, LARGE, &size, LONG), 0);
    must_hold(size, 100);
    close_end(pull);
    close_end(push);
}

static void who_asks_without_a_slip_is_let_go(void **state) {
    (void)state;
    thirl_msg *request = NULL;
    thirl *serve = crew_open(THIRL_SERVE);
    int fd = call_as(THIRL_CALL);
    assert_int_equal(thirl_take(serve, &request, THIRL_NOW), -EAGAIN);
    assert_int_equal(hub_of(serve)->count, 1);
    say(fd, FRAME_DATA, 1);
    assert_int_equal(thirl_take(serve, &request, THIRL_NOW), -EAGAIN);
    assert_int_equal(hub_of(serve)->count, 0);
    assert_int_equal(serve->seen->in.refused, 1);
    close(fd);
    close_end(serve);
}

/* ---- workers ---- */

static void what_one_does_not_take_delays_no_other(void **state) {
    (void)state;
    thirl *push = crew_open(THIRL_PUSH), *pull[2] = {crew_open(THIRL_PULL), crew_open(THIRL_PULL)};
    struct hub *hub = hub_of(push);
    uint64_t left;
    assert_int_equal(push->mech->flush(push->state, &left), 0);
    assert_int_equal(hub->count, 2);
    assert_true(push->mech->ready(push->state, MECH_OUT));
    sparing_be(1, 100, 1000, EAGAIN);
    assert_int_equal(thirl_send(push, data, LARGE, THIRL_NOW), 0); /* it is kept, and the worker's */
    struct spoke *half = frame_box_held(&hub->all[0]->link->tail) != 0 ? hub->all[0] : hub->all[1];
    assert_true(frame_box_held(&half->link->tail) != 0);
    assert_true(half->wanted);
    assert_true(push->mech->ready(push->state, MECH_OUT)); /* the other one is free */
    sparing_be(0, 0, 0, 0);
    half->link->filled = false;
    sparing_be(0, 0, 1, EAGAIN); /* once more nothing of it goes, and all of the next one */
    assert_int_equal(thirl_send(push, data, 1000, THIRL_NOW), 0);
    assert_int_equal(half->given, 1);
    assert_int_equal(push->mech->flush(push->state, &left), -EAGAIN);
    assert_int_equal(left, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(thirl_recv(pull[i], got, LARGE, &size, LONG), 0);
        must_hold(size, size > 1000 ? LARGE : 1000);
    }
    close_end(pull[0]);
    close_end(pull[1]);
    close_end(push);
}

/* It goes before the rest could, which is found by sending to it, or by looking. */
static void what_one_has_half_of_when_it_goes_is_the_next_ones(void **state) {
    (void)state;
    for (unsigned looks = 0; looks < 2; looks++) {
        (void)begin(NULL);
        thirl *push = crew_open(THIRL_PUSH), *pull = crew_open(THIRL_PULL);
        struct hub *hub = hub_of(push);
        assert_int_equal(thirl_send(push, "x", 1, LONG), 0);
        sparing_be(1, 100, 1000, EAGAIN);
        assert_int_equal(thirl_send(push, data, LARGE, THIRL_NOW), 0);
        sparing_be(0, 0, 0, 0);
        assert_true(frame_box_held(&hub->all[0]->link->tail) != 0);
        close_end(pull);
        hub->looked = looks != 0 ? 0 : clock_now() + CLOCK_S;
        assert_int_equal(thirl_send(push, "y", 1, THIRL_NOW), -EAGAIN);
        assert_int_equal(hub->count, 0);
        assert_false(push->mech->ready(push->state, MECH_OUT));
        hub->looked = 0;
        thirl *next = crew_open(THIRL_PULL);
        for (unsigned i = 0; i < 2; i++) {
            thirl_msg *msg = NULL;
            uint64_t left;
            assert_int_equal(push->mech->flush(push->state, &left), -EAGAIN);
            assert_int_equal(thirl_take(next, &msg, LONG), 0);
            assert_int_equal(thirl_msg_size(msg), i == 0 ? 1 : LARGE);
            assert_true(i == 0 || memcmp(thirl_msg_data(msg), data, LARGE) == 0);
            assert_true(thirl_msg_again(msg));
            thirl_free(&msg);
        }
        close_end(next);
        close_end(push);
    }
}

static void who_has_no_worker_is_not_ready(void **state) {
    (void)state;
    thirl *push = crew_open(THIRL_PUSH);
    assert_false(push->mech->ready(push->state, MECH_OUT));
    thirl *pull[2] = {crew_open(THIRL_PULL), crew_open(THIRL_PULL)};
    assert_true(push->mech->ready(push->state, MECH_OUT));
    for (unsigned i = 0; i < 2; i++) { /* each has half of one */
        sparing_be(1, 100, 1000, EAGAIN);
        sparing.none = i;
        assert_int_equal(thirl_send(push, data, LARGE, THIRL_NOW), 0);
    }
    assert_false(push->mech->ready(push->state, MECH_OUT));
    sparing_be(0, 0, 0, 0);
    assert_true(push->mech->ready(push->state, MECH_OUT));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(thirl_recv(pull[i], got, LARGE, &size, LONG), 0);
        must_hold(size, LARGE);
        close_end(pull[i]);
    }
    close_end(push);
}

/* Somebody listens there, and does not answer. */
static void who_cannot_listen_yet_is_not_ready(void **state) {
    (void)state;
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", strstr(crew_address, "://") + 3);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
    (void)stpcpy(crew_address + strlen(crew_address), "?timeout=1ms");
    thirl *push = crew_open(THIRL_PUSH);
    assert_false(push->mech->ready(push->state, MECH_OUT));
    assert_int_equal(push->mech->look(push->state, MECH_OUT), -EAGAIN);
    assert_int_equal(thirl_send(push, "x", 1, THIRL_NOW), -EAGAIN);
    close_end(push);
    (void)close(fd);
    (void)unlink(at.sun_path);
}

static int gate[2];

/* A child of its has its socket, as one that was not forked by the C library may, and lives longer. */
static void take_and_multiply(void) {
    thirl *pull = crew_open(THIRL_PULL);
    thirl_msg *msg = NULL;
    char byte;
    ok(thirl_take(pull, &msg, LONG));
    (void)close(gate[1]);
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) == 0) {
        (void)!read(gate[0], &byte, 1);
        (void)kill(getpid(), SIGKILL);
    }
    (void)kill(getpid(), SIGKILL);
}

static void a_worker_is_dead_whoever_has_its_socket(void **state) {
    (void)state;
    assert_int_equal(pipe(gate), 0);
    thirl *push = crew_open(THIRL_PUSH);
    pid_t pid = peer_start(take_and_multiply);
    assert_int_equal(thirl_send(push, data, 1000, LONG), 0);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    thirl *next = crew_open(THIRL_PULL);
    thirl_msg *msg = NULL;
    int rc = -ETIMEDOUT;
    for (unsigned i = 0; rc == -ETIMEDOUT && i < 400; i++) {
        uint64_t left;
        assert_int_equal(push->mech->flush(push->state, &left), -EAGAIN);
        rc = thirl_take(next, &msg, thirl_in_ms(20));
    }
    assert_int_equal(rc, 0);
    assert_true(thirl_msg_again(msg));
    thirl_free(&msg);
    (void)close(gate[0]);
    (void)close(gate[1]);
    close_end(next);
    close_end(push);
}

static void what_is_too_large_for_everybody_is_refused(void **state) {
    (void)state;
    size_t done = 0;
    crew_at("unix://%s/s", "max=1000");
    thirl *push = crew_open(THIRL_PUSH), *pull = crew_open(THIRL_PULL);
    assert_int_equal(push->mech->send(push->state, data, 1001, &done, false), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "?max="));
    assert_int_equal(done, 0);
    close_end(push);
    close_end(pull);
}

static void push_and_stay(void) {
    thirl *push = crew_open(THIRL_PUSH);
    must(thirl_send(push, data, 100, LONG) == 0);
    (void)pause();
}

/* A job of who is gone nobody can give to another worker. */
static void what_came_from_who_is_gone_cannot_be_given_back(void **state) {
    (void)state;
    thirl_msg *msg = NULL;
    thirl *push = crew_open(THIRL_PUSH), *pull = crew_open(THIRL_PULL);
    assert_int_equal(thirl_send(push, data, 100, LONG), 0);
    assert_int_equal(thirl_take(pull, &msg, LONG), 0);
    assert_int_equal(thirl_requeue(&msg), 0);
    hub_of(push)->looked = 0;
    uint64_t left;
    assert_int_equal(push->mech->flush(push->state, &left), -EAGAIN); /* it is heard, and sent again */
    assert_int_equal(thirl_take(pull, &msg, LONG), 0);
    assert_true(thirl_msg_size(msg) == 100 && thirl_msg_again(msg));
    close_end(push);
    int rc = thirl_requeue(&msg);
    assert_true(rc == -THIRL_ECLOSED || rc == -THIRL_EPEERDIED);
    assert_non_null(strstr(thirl_why(), "who pushed that message"));
    thirl_free(&msg);
    pid_t pid = peer_start(push_and_stay);
    rc = -THIRL_EPEERDIED;
    while (rc != 0) rc = thirl_take(pull, &msg, LONG);
    peer_slay(pid);
    assert_int_equal(thirl_requeue(&msg), -THIRL_EPEERDIED);
    assert_non_null(strstr(thirl_why(), "who pushed that message, pid"));
    thirl_free(&msg);
    close_end(pull);
}

/* ---- calls ---- */

static void half_of_an_answer_leaves_when_there_is_room(void **state) {
    (void)state;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL, *answer = NULL;
    uint64_t id, none = 0;
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    sparing_be(1, 100, 1000, EAGAIN);
    assert_int_equal(thirl_reply(serve, &request, data, LARGE, THIRL_NOW), 0);
    struct spoke *s = hub_of(serve)->all[0];
    assert_true(frame_box_held(&s->link->tail) != 0);
    assert_true(s->wanted);
    hub_of(serve)->looked = 0; /* it is time for a look */
    assert_int_equal(thirl_take(serve, &request, THIRL_NOW), -EAGAIN);
    assert_true(s->wanted); /* it had room, and the rest did not go */
    sparing_be(0, 0, 0, 0);
    hub_of(serve)->looked = 0;
    assert_int_equal(thirl_take(serve, &request, THIRL_NOW), -EAGAIN);
    assert_false(s->wanted);
    assert_int_equal(thirl_answer(end, &id, &answer, LONG), 0);
    assert_int_equal(thirl_msg_size(answer), LARGE);
    assert_memory_equal(thirl_msg_data(answer), data, LARGE);
    thirl_free(&answer);
    assert_int_equal(thirl_answer(end, &none, &answer, THIRL_NOW), -ENOENT);
    close_end(end);
    close_end(serve);
}

static void who_goes_with_half_of_an_answer_is_gone(void **state) {
    (void)state;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL;
    uint64_t id;
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    sparing_be(1, 100, 1000, EAGAIN);
    assert_int_equal(thirl_reply(serve, &request, data, LARGE, THIRL_NOW), 0);
    sparing_be(0, 0, 0, 0);
    assert_true(hub_of(serve)->all[0]->wanted);
    close_end(end);
    hub_of(serve)->looked = 0;
    assert_int_equal(thirl_take(serve, &request, THIRL_NOW), -EAGAIN);
    assert_int_equal(hub_of(serve)->count, 0);
    close_end(serve);
}

static void a_close_says_what_was_not_taken(void **state) {
    (void)state;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL, *answer = NULL;
    uint64_t id;
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    sparing_be(1, 100, 1000, EAGAIN);
    assert_int_equal(thirl_reply(serve, &request, data, LARGE, THIRL_NOW), 0);
    assert_int_equal(thirl_close(&serve, thirl_in_ms(1)), 1);
    sparing_be(0, 0, 0, 0);
    assert_true(thirl_answer(end, &id, &answer, LONG) < 0);
    close_end(end);
}

/* What the rooms above never ask for, because they hear of it first. */
static void whom_nobody_knows_is_no_more(void **state) {
    (void)state;
    struct mech_note note = {.kind = MECH_REPLY, .whom = UINT64_C(0xffffff)};
    struct mech_watch watch = {.fd = -1};
    size_t done = 0;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    const struct mech *mech = end->mech;
    assert_int_equal(mech->send_noted(end->state, "x", 1, &done, &note, false), -THIRL_ECLOSED);
    thirl_msg *request = NULL;
    uint64_t id;
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(mech->send_noted(end->state, "x", 1, &done, &note, false), -THIRL_ECLOSED);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    mech = serve->mech;
    struct spoke *s = hub_of(serve)->all[0];
    assert_int_equal(mech->send_noted(serve->state, "x", 1, &done, &note, false), -THIRL_ECLOSED);
    note.whom = s->whom + (1 << 24); /* that descriptor, but another conversation */
    assert_int_equal(mech->send_noted(serve->state, "x", 1, &done, &note, false), -THIRL_ECLOSED);
    assert_non_null(strstr(thirl_why(), "is no more"));
    /* Whom an answer waited for is dead: nobody sleeps for him. */
    note.whom = s->whom;
    sparing_be(0, 0, 1, EAGAIN);
    assert_int_equal(mech->send_noted(serve->state, "x", 1, &done, &note, false), -EAGAIN);
    assert_int_equal(mech->arm(serve->state, MECH_OUT, &watch), 0);
    assert_int_equal(watch.fd, s->link->fd);
    sparing_be(0, 0, 1, EAGAIN);
    assert_int_equal(mech->send_noted(serve->state, "x", 1, &done, &note, false), -EAGAIN);
    link_decide(s->link, LINK_DIED);
    assert_int_equal(mech->arm(serve->state, MECH_OUT, &watch), 1);
    assert_true(thirl_reply(serve, &request, "y", 1, THIRL_NOW) < 0);
    close_end(end);
    close_end(serve);
}

/* The socket is full, and then its server is gone. */
static void a_server_that_goes_while_it_is_full_is_no_more(void **state) {
    (void)state;
    struct mech_note note = {.kind = MECH_REQUEST, .deadline = INT64_MAX};
    size_t done = 0;
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL;
    uint64_t id;
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    assert_int_equal(thirl_reply(serve, &request, "y", 1, LONG), 0);
    assert_int_equal(end->mech->choose(end->state, &note.whom), 0);
    close_end(serve);
    sparing_be(0, 0, 1, EAGAIN);
    assert_int_equal(end->mech->send_noted(end->state, "x", 1, &done, &note, false), -THIRL_ECLOSED);
    assert_int_equal(end->mech->choose(end->state, &note.whom), -EAGAIN);
    /* Or somebody who waits for an answer has found it out. */
    serve = crew_open(THIRL_SERVE);
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    close_end(serve);
    assert_int_equal(end->mech->look(end->state, MECH_IN), 0);
    assert_int_equal(end->mech->choose(end->state, &note.whom), -EAGAIN);
    close_end(end);
}

static void after_its_goodbye_an_end_sends_nothing(void **state) {
    (void)state;
    size_t done = 0;
    uint64_t left;
    thirl *a = crew_open(THIRL_PAIR), *b = crew_open(THIRL_PAIR);
    assert_int_equal(thirl_send(a, "x", 1, LONG), 0);
    assert_int_equal(a->mech->flush(a->state, &left), 0);
    assert_int_equal(a->mech->send(a->state, "x", 1, &done, false), -THIRL_ECLOSED);
    assert_int_equal(thirl_recv(b, got, 1, &size, LONG), 0);
    assert_int_equal(thirl_recv(b, got, 1, &size, LONG), -THIRL_ECLOSED);
    close_end(a);
    close_end(b);
}

#define WITH(test) cmocka_unit_test_setup(test, begin)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(what_came_from_who_is_gone_cannot_be_given_back),
        WITH(no_pidfd_of_many),
        WITH(who_listens_in_a_callers_role_is_no_peer),
        WITH(a_hub_that_cannot_open_keeps_nobody),
        WITH(who_finishes_what_it_has_not_is_let_go),
        WITH(who_asks_without_a_slip_is_let_go),
        WITH(what_one_does_not_take_delays_no_other),
        WITH(what_one_has_half_of_when_it_goes_is_the_next_ones),
        WITH(who_has_no_worker_is_not_ready),
        WITH(who_cannot_listen_yet_is_not_ready),
        WITH(a_worker_is_dead_whoever_has_its_socket),
        WITH(what_is_too_large_for_everybody_is_refused),
        WITH(half_of_an_answer_leaves_when_there_is_room),
        WITH(who_goes_with_half_of_an_answer_is_gone),
        WITH(a_close_says_what_was_not_taken),
        WITH(whom_nobody_knows_is_no_more),
        WITH(a_server_that_goes_while_it_is_full_is_no_more),
        WITH(after_its_goodbye_an_end_sends_nothing),
    };
    return cmocka_run_group_tests_name("spoke", tests, peer_setup, peer_teardown);
}
