/* SPDX-License-Identifier: MIT
 *
 * One end and its connections, one after the other: peers that die while nobody looks, other ends of the same process, forked children,
 * hosts that fall silent, and the descriptor of a pipe that was widened.
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
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/chain.h"
#include "mech/letter.h"
#include "tests/crew.h"
#include "tests/room.h"
#include "tests/sparing.h"

static char byte;
static size_t size;

/* ---- peers made by hand ---- */

static int call(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", peer_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static int greet(enum thirl_role role, uint64_t max) {
    unsigned char text[FRAME_HELLO];
    const struct frame_hello hello = {.kind = FRAME_HELLO_CALL,
                                      .role = (uint8_t)role,
                                      .stream = role == THIRL_READ || role == THIRL_WRITE,
                                      .max = max,
                                      .pid = {getpid()}};
    int fd = call();
    frame_write_hello(text, &hello);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    return fd;
}

static void say(int fd, const char *text) {
    unsigned char head[FRAME_HEAD];
    frame_write_head(head, &(struct frame_head){.size = (uint32_t)strlen(text), .type = FRAME_DATA});
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static thirl *at_a_path(enum thirl_role role, const char *options) {
    (void)unlink(peer_path);
    (void)snprintf(peer_address, sizeof peer_address, "unix://%s%s", peer_path, options);
    return peer_open(role);
}

static int receive(thirl *end) {
    return thirl_recv(end, &byte, 1, &size, THIRL_NOW);
}

static int send_one(thirl *end) {
    return thirl_send(end, "x", 1, THIRL_NOW);
}

static void close_end(thirl *end) {
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
}

static unsigned kept(const thirl *end) {
    unsigned count = 0;
    for (const struct link *l = ((const struct chain *)end->state)->first; l != NULL; l = l->next) {
        count++;
    }
    return count;
}

/* So many deaths are told by that call, and then none. */
static void must_mourn(thirl *end, int (*by)(thirl *), unsigned deaths) {
    for (unsigned i = 0; i < deaths; i++) {
        assert_int_equal(by(end), -THIRL_EPEERDIED);
    }
    assert_int_equal(by(end), -EAGAIN);
}

/* The next peer is served, after all those. */
static void must_go_on(thirl *end) {
    int fd = greet(THIRL_PAIR, 100);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    say(fd, "y");
    assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), 0);
    assert_int_equal(byte, 'y');
    (void)close(fd);
}

static void who_only_sends_forgets_the_oldest_dead(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "");
    for (unsigned i = 0; i < 12; i++) {
        int fd = greet(THIRL_PAIR, 100);
        assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
        (void)close(fd);
        assert_int_equal(send_one(end), -THIRL_EPEERDIED);
    }
    assert_int_equal(kept(end), CHAIN_LINKS_MAX);
    must_mourn(end, receive, CHAIN_LINKS_MAX);
    must_go_on(end);
    close_end(end);
}

static void what_the_dead_have_said_is_not_forgotten(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "");
    for (unsigned i = 0; i < CHAIN_LINKS_MAX; i++) {
        int fd = greet(THIRL_PAIR, 100);
        assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
        if (i == 0) {
            say(fd, "h");
        }
        (void)close(fd);
        assert_int_equal(send_one(end), -THIRL_EPEERDIED);
    }
    int fd = greet(THIRL_PAIR, 100);
    assert_int_equal(send_one(end), -EBUSY);
    assert_non_null(strstr(thirl_why(), "receive it first"));
    assert_int_equal(receive(end), 0);
    assert_int_equal(byte, 'h');
    assert_int_equal(receive(end), -THIRL_EPEERDIED);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    (void)close(fd);
    close_end(end);
}

/* A way that has begun with one of them keeps him. */
static void who_is_listened_to_is_not_forgotten(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "");
    for (unsigned i = 0; i < 12; i++) {
        int fd = greet(THIRL_PAIR, 100);
        assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
        if (i == 0) {
            say(fd, "h");
            assert_int_equal(receive(end), 0);
        }
        (void)close(fd);
        assert_int_equal(send_one(end), -THIRL_EPEERDIED);
    }
    assert_int_equal(kept(end), CHAIN_LINKS_MAX);
    assert_int_equal(((struct chain *)end->state)->first->serial, 0);
    must_mourn(end, receive, CHAIN_LINKS_MAX);
    must_go_on(end);
    close_end(end);
}

static void who_is_spoken_to_is_not_forgotten(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "");
    for (unsigned i = 0; i < 12; i++) {
        int fd = greet(THIRL_PAIR, 100);
        assert_int_equal(receive(end), -EAGAIN);
        if (i == 0) {
            assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
        }
        (void)close(fd);
        assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), -THIRL_EPEERDIED);
    }
    assert_int_equal(kept(end), CHAIN_LINKS_MAX);
    assert_int_equal(((struct chain *)end->state)->first->serial, 0);
    must_mourn(end, send_one, CHAIN_LINKS_MAX);
    must_go_on(end);
    close_end(end);
}

/* Who asks only who is there uses no way. */
static void who_only_looks_forgets_the_oldest_dead(void **state) {
    static const enum thirl_role roles[][2] = {
        {THIRL_PAIR, THIRL_PAIR}, {THIRL_WRITE, THIRL_READ}, {THIRL_READ, THIRL_WRITE}};
    (void)state;
    for (unsigned of = 0; of < 3; of++) {
        thirl *end = at_a_path(roles[of][0], "");
        struct thirl_peer peer = {.size = sizeof peer};
        for (unsigned i = 0; i < 12; i++) {
            int fd = greet(roles[of][1], 100);
            assert_int_equal(thirl_peer(end, &peer), 0);
            assert_int_equal(peer.pid, getpid());
            (void)close(fd);
            assert_int_equal(thirl_peer(end, &peer), -ENOTCONN);
        }
        assert_int_equal(kept(end), CHAIN_LINKS_MAX);
        must_mourn(end, roles[of][0] == THIRL_READ ? receive : send_one, CHAIN_LINKS_MAX);
        close_end(end);
    }
}

/* In the raw form nothing is received before somebody asks for it. */
static void bytes_of_the_dead_are_not_forgotten(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "?raw");
    for (unsigned i = 0; i < CHAIN_LINKS_MAX; i++) {
        int fd = call();
        assert_int_equal(thirl_send(end, "unread", 6, LONG), 0);
        assert_int_equal(write(fd, "h", i == 0), i == 0);
        (void)close(fd);
        assert_int_equal(send_one(end), -THIRL_EPEERDIED);
    }
    int fd = call();
    assert_int_equal(send_one(end), -EBUSY);
    assert_int_equal(receive(end), 0);
    assert_int_equal(byte, 'h');
    assert_int_equal(receive(end), -THIRL_EPEERDIED);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    (void)close(fd);
    close_end(end);
}

static void who_takes_nothing_gets_single_bytes(void **state) {
    (void)state;
    unsigned char got[FRAME_HELLO + 3 * (FRAME_HEAD + 1)];
    struct frame_head head;
    thirl *end = at_a_path(THIRL_WRITE, "");
    int fd = greet(THIRL_READ, 0);
    assert_int_equal(thirl_send(end, "abc", 3, LONG), 0);
    assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), sizeof got);
    for (unsigned i = 0; i < 3; i++) {
        const unsigned char *at = got + FRAME_HELLO + i * (FRAME_HEAD + 1);
        assert_int_equal(frame_read_head(at, &head), 0);
        assert_int_equal(head.size, 1);
        assert_int_equal(at[FRAME_HEAD], "abc"[i]);
    }
    (void)close(fd);
    close_end(end);
}

/* ---- ends of one process ---- */

static thirl *open_at(enum thirl_role role, const char *form, const char *name) {
    thirl *end = NULL;
    char address[200];
    (void)snprintf(address, sizeof address, form, peer_directory, name);
    if (thirl_open(&end, role, address, NULL) != 0) {
        fail_msg("%s", thirl_why());
    }
    return end;
}

/* Who calls finds the one that listens where it calls, among many that do not. */
static void ends_of_one_process_find_each_other(void **state) {
    (void)state;
    char other[300];
    thirl *end[8];
    struct thirl_peer peer = {.size = sizeof peer};
    end[0] = open_at(THIRL_PAIR, "unix://%s/%s", "here");
    end[1] = open_at(THIRL_PAIR, "fifo://%s/%s", "fifo");
    end[2] = open_at(THIRL_PAIR, "unix://%s/%s", "there");
    for (unsigned i = 3; i < 7; i += 2) { /* nobody listens for a pipe */
        assert_int_equal(thirl_open(&end[i], THIRL_PAIR, "pipe://", NULL), 0);
        assert_int_equal(thirl_hand(end[i], other, sizeof other), 0);
        assert_int_equal(thirl_open(&end[i + 1], THIRL_PAIR, other, NULL), 0);
    }
    end[7] = open_at(THIRL_PAIR, "unix://%s/%s", "here");
    assert_int_equal(thirl_peer(end[7], &peer), 0);
    assert_int_equal(thirl_send(end[7], "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(end[0], &byte, 1, &size, LONG), 0);
    assert_int_equal(receive(end[2]), -EAGAIN);
    for (unsigned i = 3; i < 7; i += 2) {
        assert_int_equal(thirl_send(end[i], "x", 1, LONG), 0);
        assert_int_equal(thirl_recv(end[i + 1], &byte, 1, &size, LONG), 0);
    }
    for (unsigned i = 8; i-- > 0;) { /* also from within the list */
        close_end(end[i ^ 1]);
    }
}

/* The other one is in the hands of another thread. */
static void a_busy_neighbour_answers_later(void **state) {
    (void)state;
    thirl *here = open_at(THIRL_PAIR, "unix://%s/%s", "busy");
    struct chain *chain = here->state;
    (void)pthread_mutex_lock(&chain->lock);
    thirl *end = open_at(THIRL_PAIR, "unix://%s/%s?timeout=1ms", "busy");
    assert_int_equal(send_one(end), -EAGAIN);
    (void)pthread_mutex_unlock(&chain->lock);
    assert_int_equal(thirl_send(end, "x", 1, LONG), 0);
    assert_int_equal(receive(here), 0);
    close_end(end);
    close_end(here);
}

/* A hub that opens lets in those of its process that waited for it. */
static void a_hub_rouses_its_callers(void **state) {
    (void)state;
    thirl *end[5];
    end[0] = open_at(THIRL_PULL, "unix://%s/%s", "hub");
    end[1] = open_at(THIRL_PULL, "unix://%s/%s", "elsewhere");
    end[2] = open_at(THIRL_PAIR, "unix://%s/%s", "pair");
    end[3] = NULL;
    assert_int_equal(thirl_open(&end[3], THIRL_PULL, "tcp://127.0.0.1:1", NULL), 0);
    end[4] = open_at(THIRL_PULL, "unix://%s/%s", "hub");
    struct chain *busy = end[4]->state;
    (void)pthread_mutex_lock(&busy->lock);
    thirl *hub = open_at(THIRL_PUSH, "unix://%s/%s", "hub");
    assert_int_equal(send_one(hub), 0);
    assert_int_equal(thirl_recv(end[0], &byte, 1, &size, LONG), 0);
    (void)pthread_mutex_unlock(&busy->lock);
    int rc = -EAGAIN;
    for (unsigned i = 0; rc == -EAGAIN && i < 400; i++) { /* until those that wait have got theirs, too */
        (void)send_one(hub);
        (void)receive(end[0]);
        rc = thirl_recv(end[4], &byte, 1, &size, thirl_in_ms(20));
        rc = rc == -ETIMEDOUT ? -EAGAIN : rc;
    }
    assert_int_equal(rc, 0);
    close_end(hub);
    for (unsigned i = 0; i < 5; i++) {
        close_end(end[i]);
    }
}

/* The path is another's, and he who has met the first one stays with him. */
static void a_caller_stays_with_its_hub(void **state) {
    (void)state;
    thirl *pull = open_at(THIRL_PULL, "unix://%s/%s", "twice"), *first = open_at(THIRL_PUSH, "unix://%s/%s", "twice");
    assert_int_equal(thirl_send(first, "1", 1, LONG), 0);
    assert_int_equal(receive(pull), 0);
    (void)snprintf(peer_path, sizeof peer_path, "%s/twice", peer_directory);
    assert_int_equal(unlink(peer_path), 0);
    thirl *next = open_at(THIRL_PUSH, "unix://%s/%s", "twice");
    assert_int_equal(thirl_send(next, "2", 1, thirl_in_ms(30)), -ETIMEDOUT);
    assert_int_equal(thirl_send(first, "3", 1, LONG), 0);
    assert_int_equal(receive(pull), 0);
    assert_int_equal(byte, '3');
    close_end(first);
    close_end(next);
    close_end(pull);
}

/* ---- forked children ---- */

static bool has_socket(int fd) {
    int type;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

/* It becomes a daemon, which the C library does by itself. Its ends are the parent's, and the parent is no more. */
static void become_a_daemon(void) {
    thirl *end = peer_open(THIRL_PAIR), *pipe = NULL, *one = open_at(THIRL_PAIR, "fifo://%s/%s", "daemon"), *two;
    ok(thirl_open(&pipe, THIRL_PAIR, "pipe://", NULL));
    two = open_at(THIRL_PAIR, "fifo://%s/%s", "daemon");
    ok(thirl_send(one, "x", 1, LONG));
    ok(thirl_recv(two, &byte, 1, &size, LONG));
    ok(thirl_send(end, "x", 1, LONG));
    int fd = ((struct chain *)end->state)->last->fd;
    must(has_socket(fd));
    must(daemon(1, 1) == 0);
    must(!has_socket(fd));
    must(thirl_send(end, "x", 1, THIRL_NOW) < 0);
    _exit(0);
}

static void a_daemon_lets_go_of_its_connections(void **state) {
    (void)state;
    thirl *end = at_a_path(THIRL_PAIR, "");
    pid_t pid = peer_start(become_a_daemon);
    assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), 0);
    assert_int_equal(thirl_recv(end, &byte, 1, &size, LONG), -THIRL_EPEERDIED);
    peer_reap(pid);
    close_end(end);
}

/* ---- silent hosts ---- */

static void a_silent_host_is_cut_off(void **state) {
    (void)state;
    static const char *const forms[] = {"", "raw"};
    for (unsigned i = 0; i < 2; i++) {
        crew_at("tcp", forms[i][0] != '\0' ? forms[i] : NULL);
        thirl *a = crew_open(THIRL_PAIR), *b = crew_open(THIRL_PAIR);
        sparing_be(0, 0, 0, 0);
        assert_int_equal(thirl_send(a, "x", 1, LONG), 0);
        assert_int_equal(thirl_recv(b, &byte, 1, &size, LONG), 0);
        ((struct chain *)a->state)->asked = 0; /* a second has passed */
        sparing.silent = true;
        assert_int_equal(thirl_recv(a, &byte, 1, &size, LONG), -THIRL_EPEERDIED);
        sparing.silent = false;
        close_end(a);
        close_end(b);
    }
}

static void a_hub_buries_silent_hosts(void **state) {
    (void)state;
    crew_at("tcp", NULL);
    thirl *pub = crew_open(THIRL_PUB), *sub = crew_open(THIRL_SUB);
    struct thirl_peer peer = {.size = sizeof peer};
    sparing_be(0, 0, 0, 0);
    assert_int_equal(thirl_send(pub, "x", 1, LONG), 0);
    assert_int_equal(thirl_recv(sub, &byte, 1, &size, LONG), 0);
    assert_int_equal(thirl_peer(pub, &peer), 0);
    ((struct chain *)pub->state)->asked = 0;
    sparing.silent = true;
    int rc = thirl_peer(pub, &peer);
    assert_true(rc == 0 || rc == -ENOTCONN); /* the subscriber may have come back by now */
    sparing.silent = false;
    assert_int_equal(thirl_recv(sub, &byte, 1, &size, LONG), -THIRL_EPEERDIED);
    close_end(pub);
    close_end(sub);
}

static void a_server_learns_of_silent_callers(void **state) {
    (void)state;
    crew_at("tcp", NULL);
    thirl *serve = crew_open(THIRL_SERVE), *end = crew_open(THIRL_CALL);
    thirl_msg *request = NULL;
    uint64_t id;
    sparing_be(0, 0, 0, 0);
    assert_int_equal(thirl_ask(end, "x", 1, &id, LONG), 0);
    assert_int_equal(thirl_take(serve, &request, LONG), 0);
    assert_int_equal(thirl_msg_cancelled(request), 0);
    ((struct chain *)serve->state)->asked = 0;
    sparing.silent = true;
    for (unsigned i = 0; i < 2000 && thirl_msg_cancelled(request) == 0; i++) {
        room_sleep(1000000);
    }
    assert_int_equal(thirl_msg_cancelled(request), 1);
    sparing.silent = false;
    assert_int_equal(thirl_reply(serve, &request, "y", 1, LONG), -ECANCELED);
    close_end(end);
    close_end(serve);
}

/* ---- the user's descriptor ---- */

static bool is_lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* It has room, which a rest has been given: it is lit when half of what it used to hold is free. */
static void a_widened_pipe_is_dark(void **state) {
    (void)state;
    static unsigned char data[300000], got[300000];
    thirl *to = open_at(THIRL_WRITE, "fifo://%s/%s", "wide"), *from = open_at(THIRL_READ, "fifo://%s/%s", "wide");
    int fd = thirl_fd(to);
    size_t have = 0;
    assert_true(fd >= 0);
    assert_int_equal(send_one(to), 0);
    assert_true(is_lit(fd, 1000));
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (unsigned char)(i * 7 + i / 250);
    }
    assert_int_equal(thirl_send(to, data, sizeof data, THIRL_NOW), -EAGAIN);
    assert_true(((struct chain *)to->state)->last->usual != 0);
    assert_int_equal(send_one(to), -EAGAIN);
    assert_false(is_lit(fd, 0));
    assert_true(is_lit(fd, 1000)); /* time tells */
    assert_int_equal(send_one(to), -EAGAIN);
    assert_int_equal(thirl_recv(from, got, 1, &size, LONG), 0);
    for (;;) {
        int rc = thirl_recv(from, got + have, sizeof got - have, &size, THIRL_NOW);
        if (rc != 0) {
            break;
        }
        have += size;
    }
    assert_true(have > 0 && memcmp(got, data, have) == 0);
    assert_int_equal(send_one(to), 0);
    assert_true(is_lit(fd, 1000));
    close_end(to);
    close_end(from);
}

/* It is for receiving, and sending does not change it. */
static void a_pairs_descriptor_tells_of_one_way(void **state) {
    (void)state;
    thirl *a = open_at(THIRL_PAIR, "unix://%s/%s", "way"), *b = open_at(THIRL_PAIR, "unix://%s/%s", "way");
    int fd = thirl_fd(a);
    assert_true(fd >= 0);
    assert_int_equal(send_one(a), 0);
    assert_int_equal(receive(a), -EAGAIN);
    assert_int_equal(send_one(a), 0);
    assert_false(is_lit(fd, 0));
    assert_int_equal(send_one(b), 0);
    assert_int_equal(send_one(a), 0);
    assert_true(is_lit(fd, 1000));
    assert_int_equal(receive(a), 0);
    assert_int_equal(receive(a), -EAGAIN);
    assert_false(is_lit(fd, 0));
    close_end(a);
    close_end(b);
}

/* Two events came with one read. */
static void an_event_that_waits_lights_the_descriptor(void **state) {
    (void)state;
    thirl *watch = open_at(THIRL_WATCH, "unix://%s/%s", "event"),
          *notify = open_at(THIRL_NOTIFY, "unix://%s/%s", "event");
    uint32_t event = 1;
    assert_int_equal(thirl_send(notify, &event, sizeof event, LONG), 0);
    event = 2;
    assert_int_equal(thirl_send(notify, &event, sizeof event, LONG), 0);
    int fd = thirl_fd(watch);
    assert_true(fd >= 0 && is_lit(fd, 1000));
    assert_int_equal(thirl_recv(watch, &event, sizeof event, &size, LONG), 0);
    assert_true(is_lit(fd, 1000));
    assert_int_equal(thirl_recv(watch, &event, sizeof event, &size, THIRL_NOW), 0);
    assert_int_equal(thirl_recv(watch, &event, sizeof event, &size, THIRL_NOW), -EAGAIN);
    assert_false(is_lit(fd, 0));
    close_end(watch);
    close_end(notify);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_only_sends_forgets_the_oldest_dead),
        cmocka_unit_test(what_the_dead_have_said_is_not_forgotten),
        cmocka_unit_test(who_is_listened_to_is_not_forgotten),
        cmocka_unit_test(who_is_spoken_to_is_not_forgotten),
        cmocka_unit_test(who_only_looks_forgets_the_oldest_dead),
        cmocka_unit_test(bytes_of_the_dead_are_not_forgotten),
        cmocka_unit_test(who_takes_nothing_gets_single_bytes),
        cmocka_unit_test(ends_of_one_process_find_each_other),
        cmocka_unit_test(a_busy_neighbour_answers_later),
        cmocka_unit_test(a_hub_rouses_its_callers),
        cmocka_unit_test(a_caller_stays_with_its_hub),
        cmocka_unit_test(a_daemon_lets_go_of_its_connections),
        cmocka_unit_test(a_silent_host_is_cut_off),
        cmocka_unit_test(a_hub_buries_silent_hosts),
        cmocka_unit_test(a_server_learns_of_silent_callers),
        cmocka_unit_test(a_widened_pipe_is_dark),
        cmocka_unit_test(a_pairs_descriptor_tells_of_one_way),
        cmocka_unit_test(an_event_that_waits_lights_the_descriptor),
    };
    return cmocka_run_group_tests_name("chain", tests, peer_setup, peer_teardown);
}
