/* SPDX-License-Identifier: MIT
 *
 * Two processes in two PID namespaces and two mount namespaces, with one directory in common.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"

static void (*inside)(const struct conform *, struct peer *);

/* Runs it as process 1 of a new PID namespace, with its own mounts and its own /proc. */
static void enter(const struct conform *c, struct peer *stage) {
    if (unshare(CLONE_NEWPID | CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        conform_tell(stage, 77);
        exit(0);
    }
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mount("proc", "/proc", "proc", 0, NULL) != 0) {
            conform_tell(stage, 77);
            exit(0);
        }
        conform_tell(stage, 0);
        must_be(getpid(), 1);
        inside(c, stage);
        _exit(0);
    }
    int status = 0;
    must_be(waitpid(pid, &status, 0), pid);
    must_be(status, 0);
    _exit(0); /* LeakSanitizer cannot start its tracer, here as there */
}

static void start_inside(struct peer *peer, const struct conform *c,
                         void (*run)(const struct conform *, struct peer *)) {
    if (geteuid() != 0) {
        conform_skip("namespaces are for root");
    }
    inside = run;
    conform_start(peer, c, enter);
    if (conform_hear(peer) == 77) {
        conform_skip("PID and mount namespaces cannot be made here");
    }
}

static void echo(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    struct thirl_peer who = {.size = sizeof who};
    for (uint64_t i = 0; i < 500; i++) {
        conform_recv(end, i * 11, i);
        must_be(i == 100 ? thirl_peer(end, &who) : 0, 0);
        must_be(who.pid, 0); /* a process that this one cannot see */
        conform_send(end, i * 7, i);
        if (i % 100 == 50) {
            conform_sleep(30 * MS); /* the other one really sleeps */
        }
    }
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void carries_between_namespaces(struct conform *c) {
    struct peer peer;
    start_inside(&peer, c, echo);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < 500; i++) {
        conform_send(end, i * 11, i);
        conform_recv(end, i * 7, i);
    }
    struct thirl_peer who = {.size = sizeof who};
    must_be(thirl_peer(end, &who), 0);
    must(who.pid != 1 && who.pid != getpid()); /* as seen from here, or unknown; never the number that it has there */
    must_be(who.uid, !conform_claims(c).cross_host ? getuid() : UINT32_MAX);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void die_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 100, 1);
    conform_recv(end, 10, 2);
    conform_send(end, 200, 3);
    conform_tell(stage, 1);
    conform_hear(stage);
    _exit(0); /* process 1 takes no SIGKILL from itself; without goodbye it is */
}

static void tells_of_a_death_there(struct conform *c) {
    struct peer peer;
    start_inside(&peer, c, die_on_demand);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 100, 1);
    conform_send(end, 10, 2);
    conform_hear(&peer);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(0)), -EMSGSIZE);
    conform_recv(end, 200, 3);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(300)), -ETIMEDOUT); /* lives, unseen */
    conform_tell(&peer, 0);
    int64_t began = conform_now();
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    must(conform_now() - began < 1000 * MS);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_EPEERDIED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static void see_a_death(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 100, 1);
    conform_tell(stage, 0);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_EPEERDIED);
    conform_tell(stage, 0);
    conform_recv(end, 300, 3); /* from the next */
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void send_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 100, 1);
    conform_hear(stage);
}

static void tells_there_of_a_death_here(struct conform *c) {
    struct peer there, here;
    conform_start(&here, c, send_and_stay);
    start_inside(&there, c, see_a_death);
    conform_hear(&there);
    conform_kill(&here);
    conform_hear(&there);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 300, 3);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&there);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(carries_between_namespaces),
        CONFORM(tells_of_a_death_there),
        CONFORM(tells_there_of_a_death_here),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
