/* SPDX-License-Identifier: MIT
 *
 * A subscriber to a pattern, when something is not as it should be: several publishers of another kind, names that nobody has given, a publisher
 * that was too fast, and such as die while it sleeps.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mem/wish.h"
#include "tests/large.h"
#include "tests/member.h"

#define SOON LARGE_SOON

static char byte;
static size_t size;

static bool said(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static int hear(thirl *sub, const char *topic, char what) {
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, SOON) == 0);
    CHECK(*(char *)thirl_msg_data(msg) == what && strcmp(thirl_msg_topic(msg), topic) == 0);
    thirl_free(&msg);
    return 0;
}

/* ---- other kinds ---- */

/* Of two that it cannot read it is told one after the other, and by each once. */
static int do_two_of_another_kind_are_told_of(void *nothing) {
    thirl *pub[3], *sub = large_open("shm://kind/*", THIRL_SUB, "?crc");
    unsigned told = 0;
    (void)nothing;
    CHECK(sub != NULL && (pub[0] = large_open("shm://kind/one", THIRL_PUB, "")) != NULL);
    CHECK((pub[1] = large_open("shm://kind/two", THIRL_PUB, "")) != NULL);
    CHECK((pub[2] = large_open("shm://kind/good", THIRL_PUB, "?crc")) != NULL);
    CHECK(thirl_send(pub[2], "g", 1, SOON) == 0);
    bool heard = false;
    for (int i = 0; i < 3; i++) {
        int rc = thirl_recv(sub, &byte, 1, &size, SOON);
        CHECK(rc == 0 || rc == -THIRL_EROLE);
        if (rc == 0) {
            CHECK(!heard && byte == 'g');
            heard = true;
            continue;
        }
        bool one = said("kind/one"), two = said("kind/two");
        CHECK(one != two && (told & (one ? 1u : 2u)) == 0);
        told |= one ? 1 : 2;
    }
    CHECK(heard && told == 3 && thirl_recv(sub, &byte, 1, &size, thirl_in_ms(5)) == -ETIMEDOUT);
    /* And who finds them there does not open. */
    thirl *late = NULL;
    CHECK(thirl_open(&late, THIRL_SUB, "shm://kind/*?crc", NULL) == -THIRL_EROLE &&
          (said("kind/one") || said("kind/two")));
    CHECK(late == NULL && room_entries("wish") == 1);
    CHECK(thirl_close(&sub, SOON) == 0 && room_entries("wish") == 0);
    for (int i = 0; i < 3; i++) CHECK(thirl_close(&pub[i], SOON) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}

/* ---- names ---- */

static int note_by_hand(const char *path) {
    int fd = openat(room_dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
    return 0;
}

/* What stands in the registry by hand and is no name of a channel, or of one that does not fit, is passed over, and not looked at twice. */
static int do_names_that_are_none_are_passed_over(void *nothing) {
    static const char *const notes[] = {"%", "%2", "other", "name%2Fnobody"};
    char wish[64], path[200];
    (void)nothing;
    thirl *other = large_open("shm://other", THIRL_PUB, "");
    CHECK(other != NULL && mkdirat(room_dir, "chan/%", 0700) == 0);
    thirl *sub = large_open("shm://name/*", THIRL_SUB, "");
    CHECK(sub != NULL);
    char node[NODE_NAME_MAX];
    unsigned number = 0;
    node_name(node, node_id());
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(wish, sizeof wish, "wish/%s.%u/new", node, i);
        if (faccessat(room_dir, wish, F_OK, 0) == 0) number = i;
    }
    (void)snprintf(wish, sizeof wish, "wish/%s.%u/new", node, number);
    CHECK(room_entries(wish) == 0);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", wish, notes[i]);
        CHECK(note_by_hand(path) == 0);
    }
    thirl *pub = large_open("shm://name/one", THIRL_PUB, "");
    CHECK(pub != NULL && thirl_send(pub, "n", 1, SOON) == 0 && hear(sub, "name/one", 'n') == 0);
    CHECK(room_entries(wish) == 0);
    CHECK(thirl_close(&sub, SOON) == 0 && faccessat(room_dir, "chan/%", F_OK, 0) == 0);
    CHECK(thirl_close(&pub, SOON) == 0 && thirl_close(&other, SOON) == 0);
    return unlinkat(room_dir, "chan/%", AT_REMOVEDIR);
}

/* Its FIFO stands in the channel already: then that one does. */
static int do_a_bell_that_is_there_does(void *nothing) {
    char node[NODE_NAME_MAX], from[100] = "", to[160] = "";
    (void)nothing;
    thirl *sub = large_open("shm://bell/*", THIRL_SUB, "?wait=sleep"),
          *pub = large_open("shm://bell/one", THIRL_PUB, "");
    CHECK(sub != NULL && pub != NULL);
    node_name(node, node_id());
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(from, sizeof from, "wish/%s.%u/%s", node, i, WISH_BELL);
        (void)snprintf(to, sizeof to, "chan/bell%%2Fone/%s.%u.bell", node, i);
        if (faccessat(room_dir, from, F_OK, 0) == 0) break;
    }
    CHECK(linkat(room_dir, from, room_dir, to, 0) == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN); /* joins */
    struct pollfd polled = {thirl_fd(sub), POLLIN, 0};
    int tries = 0; /* it may be readable once too often, but not for ever */
    while (tries++ < 1000 && poll(&polled, 1, 0) == 1) CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(tries < 1000);
    CHECK(thirl_send(pub, "b", 1, SOON) == 0 && poll(&polled, 1, 5000) == 1 && hear(sub, "bell/one", 'b') == 0);
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0 && room_entries("chan") == 0);
    return 0;
}

/* ---- publishers that are not heard any more ---- */

/* Where nobody publishes any more it leaves, and stays where somebody does. */
static int do_where_somebody_is_left_it_stays(void *nothing) {
    thirl *pub[2];
    (void)nothing;
    thirl *sub = large_open("shm://stay/*", THIRL_SUB, "");
    struct thirl_want want = {.end = sub, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    CHECK(sub != NULL && (pub[0] = large_open("shm://stay/one", THIRL_PUB, "")) != NULL);
    CHECK((pub[1] = large_open("shm://stay/two", THIRL_PUB, "")) != NULL);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN && room_entries("chan") == 2);
    for (int i = 0; i < 2; i++) CHECK(thirl_send(pub[i], "s", 1, SOON) == 0);
    for (int i = 0; i < 2; i++) { /* both are ready, then one is */
        CHECK(thirl_wait(&want, 1, THIRL_NOW) == 1 && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == 0);
    }
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == -EAGAIN);
    for (int left = 1; left >= 0; left--) {
        CHECK(thirl_close(&pub[left], SOON) == 0);
        for (int i = 0; i < 1000 && room_entries("chan") > left; i++) {
            CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(5)) == -ETIMEDOUT);
        }
        CHECK(room_entries("chan") == left);
        CHECK(left == 0 || (thirl_send(pub[0], "t", 1, SOON) == 0 && hear(sub, "stay/one", 't') == 0));
    }
    return thirl_close(&sub, SOON) < 0;
}

/* One that waits for nobody was too fast: it is told once, and others are heard as before, by one who sleeps. */
static int do_who_was_cut_off_holds_up_nobody(void *nothing) {
    (void)nothing;
    thirl *sub = large_open("shm://cut/*", THIRL_SUB, "?wait=sleep");
    thirl *fast = large_open("shm://cut/fast", THIRL_PUB, "?queue=4K&full=disconnect");
    CHECK(sub != NULL && fast != NULL && thirl_send(fast, "f", 1, SOON) == 0 && hear(sub, "cut/fast", 'f') == 0);
    for (int i = 0; i < 1000; i++) CHECK(thirl_send(fast, "f", 1, SOON) == 0);
    int rc = thirl_recv(sub, &byte, 1, &size, SOON);
    for (int i = 0; i < 1000 && rc == 0; i++) rc = thirl_recv(sub, &byte, 1, &size, SOON);
    CHECK(rc == -ECONNRESET && said("too slow"));
    CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(60)) == -ETIMEDOUT); /* and has looked who lives */
    thirl *other = large_open("shm://cut/other", THIRL_PUB, "");
    CHECK(other != NULL && thirl_send(fast, "f", 1, SOON) == 0 && thirl_send(other, "o", 1, SOON) == 0);
    CHECK(hear(sub, "cut/other", 'o') == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&fast, SOON) == 0 && thirl_close(&other, SOON) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}

struct mortal {
    const char *address;
    int ready, die; /* it says that it has sent, and hears that it is to die */
};

static int speak_and_die(void *argument) {
    const struct mortal *mortal = argument;
    thirl *pub = large_open(mortal->address, THIRL_PUB, "");
    CHECK(pub != NULL && thirl_send(pub, "m", 1, SOON) == 0);
    CHECK(write(mortal->ready, "x", 1) == 1 && read(mortal->die, &byte, 1) == 1);
    room_sleep(10 * CLOCK_MS); /* the other one sleeps by then, or has not begun to: it is told either way */
    return raise(SIGKILL);
}

/* Each death is told, once, of those who die while it sleeps; also when several do at once. */
static int do_deaths_are_told_to_one_who_sleeps(void *nothing) {
    (void)nothing;
    for (unsigned count = 1; count <= 3; count++) {
        int wire[4];
        pid_t child[3];
        char address[3][32];
        unsigned told = 0;
        CHECK(pipe(wire) == 0 && pipe(wire + 2) == 0);
        thirl *sub = large_open("shm://death/*", THIRL_SUB, "?wait=sleep");
        CHECK(sub != NULL);
        for (unsigned i = 0; i < count; i++) {
            (void)snprintf(address[i], sizeof address[i], "shm://death/%u", i);
            child[i] = room_fork(speak_and_die, &(struct mortal){address[i], wire[1], wire[2]});
        }
        for (unsigned i = 0; i < count; i++) {
            CHECK(read(wire[0], &byte, 1) == 1 && thirl_recv(sub, &byte, 1, &size, SOON) == 0 && byte == 'm');
        }
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(25)) == -ETIMEDOUT);
        CHECK(write(wire[3], "xxx", count) == (ssize_t)count);
        for (unsigned i = 0; i < count; i++) {
            CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == -THIRL_EPEERDIED);
            for (unsigned k = 0; k < count; k++) told += said(address[k]) ? 1u << k : 0;
        }
        CHECK(told == (1u << count) - 1);
        for (unsigned i = 0; i < count; i++) CHECK(room_reap(child[i]) == 128 + SIGKILL);
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(30)) == -ETIMEDOUT);
        CHECK(thirl_close(&sub, SOON) == 0 && room_entries("chan") == 0);
        for (int i = 0; i < 4; i++) CHECK(close(wire[i]) == 0);
    }
    return 0;
}

static void *speak_once(void *pub) {
    *(thirl **)pub = large_open("shm://thread/one", THIRL_PUB, "");
    return *(thirl **)pub == NULL || thirl_send(*(thirl **)pub, "t", 1, SOON) != 0 ? pub : NULL;
}

static int speak_by_a_thread_that_ends(void *argument) {
    const struct mortal *mortal = argument;
    thirl *pub = NULL;
    pthread_t thread;
    void *failed = NULL;
    CHECK(write(mortal->ready, "x", 1) == 1 && read(mortal->die, &byte, 1) == 1);
    CHECK(pthread_create(&thread, NULL, speak_once, &pub) == 0);
    room_sleep(30 * CLOCK_MS);
    CHECK(pthread_join(thread, &failed) == 0 && failed == NULL);
    room_sleep(60 * CLOCK_MS);
    CHECK(thirl_send(pub, "u", 1, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* The thread that has opened a publisher ends, and its process goes on: that is no death, and nobody who sleeps is told of one. */
static int do_a_thread_that_ends_is_no_death(void *nothing) {
    int wire[4];
    (void)nothing;
    CHECK(pipe(wire) == 0 && pipe(wire + 2) == 0);
    pid_t child = room_fork(speak_by_a_thread_that_ends, &(struct mortal){"", wire[1], wire[2]});
    thirl *sub = large_open("shm://thread/*", THIRL_SUB, "?wait=sleep");
    CHECK(sub != NULL && read(wire[0], &byte, 1) == 1 && write(wire[3], "x", 1) == 1);
    CHECK(hear(sub, "thread/one", 't') == 0 && hear(sub, "thread/one", 'u') == 0);
    CHECK(room_reap(child) == 0);
    for (int i = 0; i < 4; i++) CHECK(close(wire[i]) == 0);
    return thirl_close(&sub, SOON) < 0;
}

static int speak_and_go(void *dies) {
    thirl *pub = large_open("shm://gone/one", THIRL_PUB, "");
    CHECK(pub != NULL && thirl_send(pub, "g", 1, SOON) == 0);
    return dies != NULL ? raise(SIGKILL) : thirl_close(&pub, SOON) < 0;
}

/* Whoever is gone before anybody has looked at him is heard, and nobody knows who he was. */
static int do_who_is_gone_is_heard_and_unknown(void *nothing) {
    (void)nothing;
    for (int dies = 0; dies < 2; dies++) {
        struct thirl_peer peer = {.size = sizeof peer};
        thirl *sub = large_open("shm://gone/*", THIRL_SUB, "");
        CHECK(sub != NULL && room_reap(room_fork(speak_and_go, dies ? &dies : NULL)) == (dies ? 128 + SIGKILL : 0));
        CHECK(hear(sub, "gone/one", 'g') == 0 && thirl_peer(sub, &peer) == -ENOTCONN);
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(30)) == (dies ? -THIRL_EPEERDIED : -ETIMEDOUT));
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(30)) == -ETIMEDOUT);
        CHECK(thirl_close(&sub, SOON) == 0 && room_entries("chan") == 0);
    }
    return 0;
}

/* ---- locks ---- */

static int meet_fate_while_joining(void *argument) {
    const struct mortal *mortal = argument;
    CHECK(setenv("THIRL_WEAVE_AT", mortal->address, 1) == 0);
    thirl *pub = large_open("shm://lock/one", THIRL_PUB, "?history=1"); /* so that it does not matter who is first */
    CHECK(pub != NULL && thirl_send(pub, "l", 1, SOON) == 0 && read(mortal->die, &byte, 1) == 1);
    return thirl_close(&pub, SOON) < 0;
}

/* A publisher that stands still while it joins holds up nobody: the others are heard meanwhile, and it is, once it goes on. */
static int do_who_stands_in_the_door_is_heard_later(void *nothing) {
    int status, wire[2];
    (void)nothing;
    CHECK(pipe(wire) == 0);
    pid_t child = room_fork(meet_fate_while_joining, &(struct mortal){"roll.finish.before:1:stop", -1, wire[0]});
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    thirl *pub = large_open("shm://lock/two", THIRL_PUB, ""),
          *sub = large_open("shm://lock/*", THIRL_SUB, "?wait=sleep");
    CHECK(pub != NULL && sub != NULL && thirl_send(pub, "k", 1, SOON) == 0 && hear(sub, "lock/two", 'k') == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(50)) == -ETIMEDOUT);
    CHECK(kill(child, SIGCONT) == 0 && hear(sub, "lock/one", 'l') == 0);
    CHECK(write(wire[1], "x", 1) == 1 && room_reap(child) == 0 && close(wire[0]) == 0 && close(wire[1]) == 0);
    CHECK(thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* One that was there, and died before it could ring, has left word: of it, too, is told whoever sleeps. */
static int do_who_died_before_he_rang_is_told_of(void *nothing) {
    (void)nothing;
    thirl *sub = large_open("shm://lock/*", THIRL_SUB, "?wait=sleep");
    CHECK(sub != NULL && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(room_reap(room_fork(meet_fate_while_joining, &(struct mortal){"pub.join.before:1:kill", -1, -1})) ==
          128 + SIGKILL);
    CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == -THIRL_EPEERDIED && said("shm://lock/one"));
    CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(40)) == -ETIMEDOUT);
    CHECK(thirl_close(&sub, SOON) == 0 && room_entries("chan") == 0 && room_entries("wish") == 0);
    return 0;
}

IN_A_CHILD(two_of_another_kind_are_told_of)
IN_A_CHILD(names_that_are_none_are_passed_over)
IN_A_CHILD(a_bell_that_is_there_does)
IN_A_CHILD(who_was_cut_off_holds_up_nobody)
IN_A_CHILD(deaths_are_told_to_one_who_sleeps)
IN_A_CHILD(who_is_gone_is_heard_and_unknown)
IN_A_CHILD(where_somebody_is_left_it_stays)
IN_A_CHILD(a_thread_that_ends_is_no_death)
IN_A_CHILD(who_stands_in_the_door_is_heard_later)
IN_A_CHILD(who_died_before_he_rang_is_told_of)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(two_of_another_kind_are_told_of, member_clear),
        cmocka_unit_test_setup(names_that_are_none_are_passed_over, member_clear),
        cmocka_unit_test_setup(a_bell_that_is_there_does, member_clear),
        cmocka_unit_test_setup(who_was_cut_off_holds_up_nobody, member_clear),
        cmocka_unit_test_setup(deaths_are_told_to_one_who_sleeps, member_clear),
        cmocka_unit_test_setup(who_is_gone_is_heard_and_unknown, member_clear),
        cmocka_unit_test_setup(where_somebody_is_left_it_stays, member_clear),
        cmocka_unit_test_setup(a_thread_that_ends_is_no_death, member_clear),
        cmocka_unit_test_setup(who_stands_in_the_door_is_heard_later, member_clear),
        cmocka_unit_test_setup(who_died_before_he_rang_is_told_of, member_clear),
    };
    return cmocka_run_group_tests_name("topics", tests, member_begin, room_end);
}
