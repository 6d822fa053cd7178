/* SPDX-License-Identifier: MIT
 *
 * Desks as their mechanism: the descriptor of the way out, whom nobody knows, messages that no honest end writes, and what is full.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "chan/end.h"
#include "mech/desk.h"
#include "mech/straight.h"
#include "mem/hold.h"
#include "tests/member.h"
#include "tests/refuse.h"

#ifndef SYS_faccessat2
#define SYS_faccessat2 SYS_faccessat
#endif

#define ADDRESS "shm://talk"
#define SOON thirl_in_ms(20000)

static thirl *server, *client;
static thirl_msg *request, *reply;
static uint64_t id;

static struct desk *desk_of(thirl *end) {
    return end->state;
}

static int serves(const char *options) {
    char address[80];
    (void)snprintf(address, sizeof address, ADDRESS "%s", options);
    return thirl_open(&server, THIRL_SERVE, address, NULL);
}

static int calls(const char *options) {
    char address[80];
    (void)snprintf(address, sizeof address, ADDRESS "%s", options);
    return thirl_open(&client, THIRL_CALL, address, NULL);
}

/* Both are this thread's, and know each other. */
static int meet(const char *options) {
    CHECK(serves(options) == 0 && calls(options) == 0);
    CHECK(thirl_ask(client, "x", 1, &id, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_ask(client, "x", 1, &id, SOON) == 0 && thirl_take(server, &request, SOON) == 0);
    CHECK(thirl_reply(server, &request, "y", 1, SOON) == 0 && thirl_answer(client, &id, &reply, SOON) == 0);
    thirl_free(&reply);
    return 0;
}

static int part(void) {
    CHECK(thirl_close(&client, THIRL_NOW) >= 0 && thirl_close(&server, THIRL_NOW) >= 0);
    return 0;
}

static int send_note(thirl *end, const void *data, size_t size, const struct mech_note *note) {
    size_t done = 0;
    return end->mech->send_noted(end->state, data, size, &done, note, false);
}

static struct mech_note note_of(enum mech_kind kind, uint64_t whom) {
    struct mech_note note = {.count = 0};
    mech_note_call(&note, kind, 7, whom);
    note.deadline = INT64_MAX;
    return note;
}

static uint64_t whom_of(thirl *end) {
    uint64_t whom = 0;
    (void)end->mech->choose(end->state, &whom);
    return whom;
}

static bool is_lit(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* ---- the descriptor of the way out ---- */

static int do_who_sends_is_told_when_there_is_room(void) {
    int fd = -1, sent = 0, other = -1;
    struct mech_watch watch = {.fd = -1}, again = {.fd = -1};
    static char text[500];
    CHECK(calls("?queue=4K") == 0);
    CHECK(client->mech->fd(client->state, MECH_OUT, &fd) == 0 && !is_lit(fd, 0)); /* there is nobody */
    CHECK(!client->mech->ready(client->state, MECH_OUT));
    CHECK(thirl_close(&client, THIRL_NOW) >= 0);
    CHECK(meet("?queue=4K") == 0);
    CHECK(server->mech->ready(server->state, MECH_OUT) && client->mech->ready(client->state, MECH_OUT));
    CHECK(client->mech->look(client->state, MECH_OUT) == -EAGAIN); /* nothing waits */
    CHECK(client->mech->fd(client->state, MECH_OUT, &fd) == 0 && is_lit(fd, 0));
    const struct mech_note note = note_of(MECH_REQUEST, whom_of(client));
    int rc;
    while ((rc = send_note(client, text, sizeof text, &note)) == 0) CHECK(++sent < 1000);
    CHECK(rc == -EAGAIN && !is_lit(fd, 0) && !client->mech->ready(client->state, MECH_OUT));
    CHECK(client->mech->look(client->state, MECH_OUT) == -EAGAIN);
    CHECK(client->mech->arm(client->state, MECH_OUT, &watch) == 0);
    CHECK(client->mech->arm(client->state, MECH_OUT, &again) == 0); /* a second thread waits, too */
    (void)client->mech->disarm(client->state, MECH_OUT);
    (void)client->mech->disarm(client->state, MECH_OUT);
    CHECK(client->mech->fd(client->state, MECH_OUT, &other) == 0 && other == fd && !is_lit(fd, 0));
    for (int i = 0; i < sent; i++) {
        CHECK(thirl_take(server, &request, SOON) == 0);
        CHECK(thirl_msg_size(request) == sizeof text);
        CHECK(thirl_reply(server, &request, "y", 1, SOON) == 0);
    }
    CHECK(is_lit(fd, 1000) && client->mech->ready(client->state, MECH_OUT));
    CHECK(send_note(client, text, sizeof text, &note) == 0);
    return part();
}

static int do_who_is_gone_is_waited_for_by_nobody(void) {
    static char text[500];
    struct mech_watch watch = {.fd = -1};
    CHECK(meet("?queue=4K") == 0);
    const struct mech_note note = note_of(MECH_REQUEST, whom_of(client));
    int rc, fd = -1;
    while ((rc = send_note(client, text, sizeof text, &note)) == 0) {}
    CHECK(rc == -EAGAIN && client->mech->fd(client->state, MECH_OUT, &fd) == 0 && !is_lit(fd, 0));
    CHECK(thirl_close(&server, THIRL_NOW) >= 0);
    struct mech_piece piece;
    struct mech_note event = {.count = 0};
    for (int i = 0; (rc = client->mech->take_noted(client->state, &piece, &event, false)) == -EAGAIN; i++) {
        CHECK(i < 1000);
        (void)client->mech->look(client->state, MECH_IN);
        room_sleep(CLOCK_MS);
    }
    CHECK(rc == 0 && event.kind == MECH_GONE && event.failure == -THIRL_ECLOSED);
    CHECK(client->mech->server(client->state, MECH_OUT, 0) == 0);
    CHECK(client->mech->ready(client->state, MECH_OUT)); /* a try says so */
    CHECK(client->mech->arm(client->state, MECH_OUT, &watch) == 1);
    CHECK(send_note(client, "x", 1, &note) == -THIRL_ECLOSED && strstr(thirl_why(), "server") != NULL);
    CHECK(client->mech->look(client->state, MECH_OUT) == -EAGAIN);
    CHECK(send_note(client, "x", 1, &note) == -THIRL_ECLOSED);
    return thirl_close(&client, THIRL_NOW) < 0;
}

/* ---- who is there ---- */

static int do_whom_nobody_knows_is_no_more(void) {
    struct thirl_peer peer = {.size = sizeof peer};
    CHECK(serves("") == 0 && thirl_peer(server, &peer) == -ENOTCONN);
    CHECK(thirl_close(&server, SOON) == 0);
    CHECK(meet("") == 0);
    CHECK(thirl_peer(server, &peer) == 0 && peer.pid == getpid());
    CHECK(thirl_peer(client, &peer) == 0 && peer.pid == getpid());
    desk_of(client)->turn = 5; /* there were more */
    CHECK(thirl_peer(client, &peer) == 0 && peer.pid == getpid());
    const uint64_t whom = whom_of(client), node = client->mech->server(client->state, MECH_IN, whom);
    CHECK(node != 0 && client->mech->server(client->state, MECH_OUT, 0) == node);
    CHECK(client->mech->server(client->state, MECH_IN, whom + (1 << 16)) == 0); /* that seat, another conversation */
    CHECK(client->mech->server(client->state, MECH_IN, 77) == 0);
    const struct mech_note other = note_of(MECH_REQUEST, whom + (1 << 16)), nobody = note_of(MECH_REPLY, 77);
    CHECK(send_note(client, "x", 1, &other) == -THIRL_ECLOSED && strstr(thirl_why(), "server") != NULL);
    CHECK(send_note(server, "x", 1, &nobody) == -THIRL_ECLOSED && strstr(thirl_why(), "client") != NULL);
    return part();
}

static int do_of_several_servers_none_is_the_one(void) {
    thirl *more[2];
    CHECK(meet("") == 0);
    for (int i = 0; i < 2; i++) CHECK(thirl_open(&more[i], THIRL_SERVE, ADDRESS, NULL) == 0);
    for (int n = 0; atomic_load(&desk_of(client)->count) < 3; n++) {
        CHECK(n < 1000);
        (void)client->mech->look(client->state, MECH_OUT);
        (void)whom_of(client);
        room_sleep(CLOCK_MS);
    }
    CHECK(client->mech->server(client->state, MECH_OUT, 0) == 0);
    for (int i = 0; i < 2; i++) CHECK(thirl_close(&more[i], THIRL_NOW) >= 0);
    return part();
}

/* The way in has found an end that the way out has not: for a moment both are there. */
static int do_the_one_that_is_left_is_the_one(void) {
    thirl *other;
    CHECK(meet("") == 0);
    const uint64_t node = client->mech->server(client->state, MECH_OUT, 0);
    CHECK(thirl_open(&other, THIRL_SERVE, ADDRESS, NULL) == 0);
    for (int n = 0; atomic_load(&desk_of(client)->count) < 2; n++) {
        CHECK(n < 1000);
        (void)client->mech->look(client->state, MECH_OUT);
        (void)whom_of(client);
        room_sleep(CLOCK_MS);
    }
    CHECK(thirl_close(&other, THIRL_NOW) >= 0);
    for (int i = 0; atomic_load(&desk_of(client)->count) != 1; i++) {
        struct mech_piece piece;
        struct mech_note event = {.count = 0};
        CHECK(i < 1000);
        (void)client->mech->look(client->state, MECH_IN);
        (void)client->mech->take_noted(client->state, &piece, &event, false);
        room_sleep(CLOCK_MS);
    }
    CHECK(client->mech->server(client->state, MECH_OUT, 0) == node && node != 0);
    return part();
}

static int stay_deaf(void *nothing) {
    (void)nothing;
    CHECK(serves("") == 0);
    atomic_store(&member_board->ready, 1u);
    room_sleep(20 * CLOCK_S);
    return 0;
}

/* It was asked to accept, and died before it looked. */
static int do_who_dies_before_it_accepts_is_dead(void) {
    atomic_store(&member_board->ready, 0u);
    pid_t pid = room_fork(stay_deaf, NULL);
    CHECK(member_wait(&member_board->ready, 1) && calls("") == 0);
    CHECK(thirl_ask(client, "x", 1, &id, THIRL_NOW) == -EAGAIN);
    struct talk *t = desk_of(client)->in[1];
    CHECK(t != NULL && talk_lost(t) == 0);
    CHECK(talk_post(t) == 0); /* asked twice is asked */
    const struct mech_note note = note_of(MECH_REQUEST, t->whom);
    int fd = -1;
    CHECK(send_note(client, "x", 1, &note) == -EAGAIN);
    CHECK(client->mech->fd(client->state, MECH_OUT, &fd) == 0 && !is_lit(fd, 0));
    const struct roll_end mate = t->shm.mate;
    (void)kill(pid, SIGKILL);
    (void)room_reap(pid);
    CHECK(talk_lost(t) == THIRL_EPEERDIED);
    CHECK(send_note(client, "x", 1, &note) == -THIRL_EPEERDIED && strstr(thirl_why(), "died") != NULL);
    CHECK(talk_make(desk_of(client), &mate) < 0); /* nobody to talk to */
    CHECK(thirl_ask(client, "x", 1, &id, thirl_in_ms(20)) == -ETIMEDOUT);
    return thirl_close(&client, THIRL_NOW) < 0;
}

/* Accepts one, stands still in the midst of it, and serves until another one has asked and nobody else is left. */
static int accept_slowly(void *nothing) {
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "talk.make.named:1:stop", 1) == 0 && serves("") == 0);
    atomic_store(&member_board->ready, 1u);
    CHECK(thirl_take(server, &request, SOON) == 0);
    for (int i = 0; atomic_load(&desk_of(server)->count) != 1; i++) {
        thirl_msg *more = NULL;
        CHECK(i < 400 && thirl_take(server, &more, thirl_in_ms(50)) == -ETIMEDOUT);
    }
    CHECK(thirl_reply(server, &request, "y", 1, SOON) == 0);
    return thirl_close(&server, SOON) != 0;
}

static int ask_and_stay(void *nothing) {
    (void)nothing;
    CHECK(calls("") == 0 && thirl_ask(client, "x", 1, &id, THIRL_NOW) == -EAGAIN);
    atomic_store(&member_board->ready, 2u);
    room_sleep(20 * CLOCK_S);
    return 0;
}

/* It asked to be accepted, and died while it was: the server finds out by itself. */
static int do_who_dies_while_it_is_accepted_is_let_go(void) {
    int status;
    atomic_store(&member_board->ready, 0u);
    pid_t accepts = room_fork(accept_slowly, NULL);
    CHECK(member_wait(&member_board->ready, 1));
    pid_t asks = room_fork(ask_and_stay, NULL);
    CHECK(member_wait(&member_board->ready, 2));
    CHECK(waitpid(accepts, &status, WUNTRACED) == accepts && WIFSTOPPED(status));
    CHECK(kill(asks, SIGKILL) == 0 && room_reap(asks) == 128 + SIGKILL);
    CHECK(kill(accepts, SIGCONT) == 0);
    CHECK(calls("") == 0 && thirl_call(client, "x", 1, &reply, SOON) == 0);
    thirl_free(&reply);
    CHECK(room_reap(accepts) == 0);
    return thirl_close(&client, THIRL_NOW) < 0;
}

static int answer_once(void *nothing) {
    (void)nothing;
    CHECK(serves("?queue=4K") == 0 && thirl_take(server, &request, SOON) == 0);
    CHECK(thirl_reply(server, &request, "y", 1, SOON) == 0);
    room_sleep(20 * CLOCK_S);
    return 0;
}

/* Whose queue is full: a look finds it out, which a try does not. */
static int do_who_dies_while_he_is_full_is_found(void) {
    static char text[500];
    pid_t pid = room_fork(answer_once, NULL);
    CHECK(calls("?queue=4K") == 0 && thirl_call(client, "x", 1, &reply, SOON) == 0);
    thirl_free(&reply);
    const struct mech_note note = note_of(MECH_REQUEST, whom_of(client));
    int rc;
    while ((rc = send_note(client, text, sizeof text, &note)) == 0) {}
    CHECK(rc == -EAGAIN && client->mech->look(client->state, MECH_OUT) == -EAGAIN);
    (void)kill(pid, SIGKILL);
    (void)room_reap(pid);
    CHECK(client->mech->look(client->state, MECH_OUT) == 0);
    CHECK(send_note(client, text, sizeof text, &note) == -THIRL_EPEERDIED);
    return thirl_close(&client, THIRL_NOW) < 0;
}

/* Its life shows in no word any more, as when the thread that had it has ended. */
static int do_whose_life_shows_nowhere_is_looked_for(void) {
    struct mech_piece piece;
    struct mech_note event = {.count = 0};
    pid_t pid = room_fork(answer_once, NULL);
    CHECK(calls("?queue=4K") == 0 && thirl_call(client, "x", 1, &reply, SOON) == 0);
    thirl_free(&reply);
    desk_of(client)->in[1]->shm.in.peer.node.life = NULL;
    desk_of(client)->reviewed = 0;
    for (int i = 0; client->mech->look(client->state, MECH_IN) != -EAGAIN; i++) { /* it may have knocked once more */
        CHECK(i < 100 && client->mech->take_noted(client->state, &piece, &event, false) == -EAGAIN);
        desk_of(client)->reviewed = 0;
    }
    (void)kill(pid, SIGKILL);
    (void)room_reap(pid);
    desk_of(client)->reviewed = 0; /* it is time for a look */
    CHECK(client->mech->look(client->state, MECH_IN) == 0);
    CHECK(client->mech->take_noted(client->state, &piece, &event, false) == 0);
    CHECK(event.kind == MECH_GONE && event.failure == -THIRL_EPEERDIED);
    return thirl_close(&client, THIRL_NOW) < 0;
}

/* One has spoken, the other one only come. */
static int do_the_descriptor_tells_of_who_was_silent(void) {
    thirl *silent;
    uint64_t other;
    CHECK(meet("") == 0);
    CHECK(thirl_open(&silent, THIRL_CALL, ADDRESS, NULL) == 0);
    for (int i = 0; atomic_load(&desk_of(server)->count) != 2; i++) {
        CHECK(i < 1000 && thirl_ask(silent, "z", 1, &other, THIRL_NOW) == -EAGAIN);
        CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    }
    int fd = thirl_fd(server);
    CHECK(fd >= 0);
    while (thirl_take(server, &request, THIRL_NOW) != -EAGAIN) CHECK(false);
    CHECK(!is_lit(fd, 0));
    CHECK(thirl_ask(silent, "z", 1, &other, SOON) == 0 && is_lit(fd, 1000));
    CHECK(thirl_take(server, &request, SOON) == 0 && thirl_reply(server, &request, "y", 1, SOON) == 0);
    CHECK(thirl_answer(silent, &other, &reply, SOON) == 0);
    thirl_free(&reply);
    CHECK(thirl_close(&silent, THIRL_NOW) >= 0);
    return part();
}

/* ---- what this process may not do ---- */

/* No request is left behind where nobody can tell whether anybody will take it. */
static int is_told(long call, long or, const char *text) {
    CHECK(serves("") == 0 && calls("") == 0);
    int before = member_entries("talk");
    if (refuse(call, EACCES) != 0 || refuse(or, EACCES) != 0) return REFUSE_SKIP;
    for (int i = 0; i < 2; i++) {
        CHECK(thirl_ask(client, "x", 1, &id, THIRL_NOW) == -EACCES && strstr(thirl_why(), text) != NULL);
        CHECK(member_entries("talk") == before && atomic_load(&desk_of(client)->count) == 0);
    }
    CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    return part();
}

static int do_who_may_not_ask_is_told(void) {
    return is_told(SYS_linkat, SYS_linkat, "cannot be asked to accept");
}

static int do_who_may_not_look_is_told(void) {
    return is_told(SYS_faccessat, SYS_faccessat2, "whether a server is there"); /* as the C library has it */
}

/* ---- what is full, and what is too large ---- */

static int do_who_has_no_seat_left_accepts_later(void) {
    CHECK(serves("") == 0 && calls("") == 0);
    memset(desk_of(server)->used, 1, sizeof desk_of(server)->used);
    CHECK(thirl_ask(client, "x", 1, &id, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    CHECK(server->seen->in.refused != 0 && atomic_load(&desk_of(server)->count) == 0);
    memset(desk_of(server)->used, 0, sizeof desk_of(server)->used);
    for (int i = 0; thirl_ask(client, "x", 1, &id, thirl_in_ms(5)) != 0; i++) {
        door_mark(&desk_of(server)->door, 0); /* somebody knocks, who has no seat */
        CHECK(i < 1000 && thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    }
    CHECK(thirl_take(server, &request, SOON) == 0 && thirl_reply(server, &request, "y", 1, SOON) == 0);
    CHECK(thirl_answer(client, &id, &reply, SOON) == 0);
    thirl_free(&reply);
    return part();
}

static int do_who_holds_the_most_gets_no_more(void) {
    static struct mech_piece piece[HOLD_MAX];
    struct mech_piece more;
    struct mech_note came = {.count = 0};
    CHECK(meet("") == 0);
    const struct mech_note note = note_of(MECH_REQUEST, whom_of(client));
    for (int i = 0; i < HOLD_MAX; i++) CHECK(send_note(client, "z", 1, &note) == 0);
    for (int i = 0; i < HOLD_MAX; i++) {
        CHECK(server->mech->take_noted(server->state, &piece[i], &came, true) == 0);
        CHECK(piece[i].size == 1 && came.kind == MECH_REQUEST && came.call == 7);
    }
    CHECK(send_note(client, "z", 1, &note) == 0);
    CHECK(server->mech->take_noted(server->state, &more, &came, false) == -EBUSY);
    CHECK(strstr(thirl_why(), "free one") != NULL);
    for (int i = 0; i < HOLD_MAX; i++) server->mech->free(server->state, &piece[i], MECH_IN);
    CHECK(server->mech->take_noted(server->state, &more, &came, false) == 0);
    server->mech->free(server->state, &more, MECH_IN);
    return part();
}

static int do_queues_and_pools_have_their_bounds(void) {
    struct thirl_limits limits = {.size = sizeof limits};
    thirl *push = NULL;
    CHECK(serves("?queue=2G") == -EINVAL && strstr(thirl_why(), "1 GiB") != NULL);
    CHECK(thirl_open(&push, THIRL_PUSH, "shm://work?queue=2G", NULL) == -EINVAL);
    CHECK(strstr(thirl_why(), "1 GiB") != NULL);
    CHECK(thirl_open(&push, THIRL_PUSH, "shm://work?pool=4K", NULL) == 0);
    CHECK(thirl_limits(push, &limits) == 0 && limits.lends == 0 && thirl_close(&push, SOON) == 0);
    CHECK(meet("?pool=4K&queue=64K") == 0);
    CHECK(thirl_limits(client, &limits) == 0 && limits.lends == 0);
    static char large[100000];
    const struct mech_note note = note_of(MECH_REQUEST, whom_of(client));
    CHECK(send_note(client, large, limits.message_max + 1, &note) == -EMSGSIZE &&
          strstr(thirl_why(), "?queue=") != NULL);
    CHECK(send_note(client, large, limits.message_max, &note) == 0);
    CHECK(thirl_take(server, &request, SOON) == 0 && thirl_msg_size(request) == limits.message_max);
    CHECK(thirl_reply(server, &request, "y", 1, SOON) == 0);
    return part();
}

/* ---- what is written ---- */

static int do_deadlines_come_as_they_were_sent(void) {
    static const int64_t deadline[] = {INT64_MAX, 1600, -5};
    static const int64_t wanted[] = {INT64_MAX, 1600, 0};
    CHECK(meet("") == 0);
    for (int i = 0; i < 6; i++) {
        struct mech_note note = note_of(MECH_REQUEST, whom_of(client)), came = {.count = 0};
        struct mech_piece piece;
        note.deadline = deadline[i / 2];
        note.again = i % 2 != 0;
        CHECK(send_note(client, "z", 1, &note) == 0);
        CHECK(server->mech->take_noted(server->state, &piece, &came, false) == 0);
        CHECK(came.deadline == wanted[i / 2] && came.again == note.again && piece.size == 1);
        server->mech->free(server->state, &piece, MECH_IN);
    }
    return part();
}

enum lie { WRONG_KIND, NO_HEAD, HALF_A_HEAD, LIES };

/* A client that lies is let go of, and the next one is served. */
static int tell(enum lie lie) {
    CHECK(meet("") == 0);
    const struct mech_note note = note_of(MECH_REPLY, whom_of(client));
    struct outlet *out = &desk_of(client)->out[1]->shm.out;
    const uint64_t head[] = {(uint64_t)MECH_REQUEST << DESK_KIND_SHIFT | DESK_LONG, 0};
    CHECK((lie == WRONG_KIND ? send_note(client, "z", 1, &note)
                             : straight_send(out, head, lie == HALF_A_HEAD, "abc", 3)) == 0);
    CHECK(thirl_take(server, &request, thirl_in_ms(30)) == -ETIMEDOUT);
    CHECK(atomic_load(&desk_of(server)->count) == 0);
    CHECK(thirl_close(&client, THIRL_NOW) >= 0 && calls("") == 0);
    for (int i = 0; thirl_ask(client, "x", 1, &id, thirl_in_ms(5)) != 0; i++) {
        CHECK(i < 1000 && thirl_take(server, &request, THIRL_NOW) == -EAGAIN);
    }
    CHECK(thirl_take(server, &request, SOON) == 0 && thirl_reply(server, &request, "y", 1, SOON) == 0);
    return part();
}

static int do_clients_that_lie_are_let_go(void) {
    for (enum lie lie = 0; lie < LIES; lie++) CHECK(tell(lie) == 0);
    return 0;
}

/* Each does its work in a child, as a process joins the registry once. */
static int run(void *body) {
    return (*(int (*const *)(void))body)();
}

#define TALK(name)                                                                                                     \
    static void name(void **state) {                                                                                   \
        int (*body)(void) = do_##name;                                                                                 \
        (void)state;                                                                                                   \
        int rc = room_run(run, &body);                                                                                 \
        if (rc == REFUSE_SKIP) skip();                                                                                 \
        assert_int_equal(rc, 0);                                                                                       \
    }

TALK(who_sends_is_told_when_there_is_room)
TALK(who_is_gone_is_waited_for_by_nobody)
TALK(whom_nobody_knows_is_no_more)
TALK(of_several_servers_none_is_the_one)
TALK(the_one_that_is_left_is_the_one)
TALK(who_dies_before_it_accepts_is_dead)
TALK(who_dies_while_it_is_accepted_is_let_go)
TALK(who_dies_while_he_is_full_is_found)
TALK(whose_life_shows_nowhere_is_looked_for)
TALK(the_descriptor_tells_of_who_was_silent)
TALK(who_has_no_seat_left_accepts_later)
TALK(who_holds_the_most_gets_no_more)
TALK(queues_and_pools_have_their_bounds)
TALK(deadlines_come_as_they_were_sent)
TALK(clients_that_lie_are_let_go)
TALK(who_may_not_ask_is_told)
TALK(who_may_not_look_is_told)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_sends_is_told_when_there_is_room, member_clear),
        cmocka_unit_test_setup(who_is_gone_is_waited_for_by_nobody, member_clear),
        cmocka_unit_test_setup(whom_nobody_knows_is_no_more, member_clear),
        cmocka_unit_test_setup(of_several_servers_none_is_the_one, member_clear),
        cmocka_unit_test_setup(the_one_that_is_left_is_the_one, member_clear),
        cmocka_unit_test_setup(who_dies_before_it_accepts_is_dead, member_clear),
        cmocka_unit_test_setup(who_dies_while_it_is_accepted_is_let_go, member_clear),
        cmocka_unit_test_setup(who_dies_while_he_is_full_is_found, member_clear),
        cmocka_unit_test_setup(whose_life_shows_nowhere_is_looked_for, member_clear),
        cmocka_unit_test_setup(the_descriptor_tells_of_who_was_silent, member_clear),
        cmocka_unit_test_setup(who_has_no_seat_left_accepts_later, member_clear),
        cmocka_unit_test_setup(who_holds_the_most_gets_no_more, member_clear),
        cmocka_unit_test_setup(queues_and_pools_have_their_bounds, member_clear),
        cmocka_unit_test_setup(deadlines_come_as_they_were_sent, member_clear),
        cmocka_unit_test_setup(clients_that_lie_are_let_go, member_clear),
        cmocka_unit_test_setup(who_may_not_ask_is_told, member_clear),
        cmocka_unit_test_setup(who_may_not_look_is_told, member_clear),
    };
    return cmocka_run_group_tests_name("talk", tests, member_begin, room_end);
}
