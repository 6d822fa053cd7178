/* SPDX-License-Identifier: MIT
 *
 * auto://: all who open it agree on one mechanism, whoever comes first, whoever is killed at whatever point, and whatever each would have
 * chosen; and everybody can see which it is, and why.
 */
#define _GNU_SOURCE
#include <errno.h>
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
#include "base/weave.h"
#include "include/thirl/advise.h"
#include "mech/auto.h"
#include "mem/sweep.h"
#include "tests/member.h"

#define PATIENCE thirl_in_ms(20000)
#define RACERS 6
#define RACES 12

/* What an end runs over; "" and a complaint: there is none. */
static const char *over_of(thirl *end) {
    static struct thirl_over over;
    over = (struct thirl_over){.size = sizeof over};
    int rc = thirl_over(end, &over);
    if (rc != 0) (void)fprintf(stderr, "thirl_over: %d, %s\n", rc, thirl_why());
    return rc == 0 ? over.address : "";
}

static bool is_over(thirl *end, const char *address) {
    bool is = end != NULL && strcmp(over_of(end), address) == 0;
    if (!is)
        (void)fprintf(stderr, "it runs over \"%s\", not \"%s\" (%s)\n", end == NULL ? "" : over_of(end), address,
                      thirl_why());
    return is;
}

static thirl *have(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address, NULL);
    if (rc != 0) (void)fprintf(stderr, "%s: %d, %s\n", address, rc, thirl_why());
    return end;
}

static void drop(thirl *end) {
    (void)!thirl_close(&end, THIRL_NOW);
}

static bool passes(thirl *from, thirl *to) {
    char text[8] = "";
    /* Where both are of this process, one of them has to look before they have met. */
    int rc = thirl_send(from, "hello", 6, THIRL_NOW);
    for (int64_t until = clock_now() + 10 * CLOCK_S; rc == -EAGAIN && clock_now() < until;) {
        (void)!thirl_recv(to, NULL, 0, NULL, THIRL_NOW);
        rc = thirl_send(from, "hello", 6, THIRL_NOW);
    }
    return rc == 0 && thirl_recv(to, text, sizeof text, NULL, PATIENCE) == 0 && strcmp(text, "hello") == 0;
}

/* ---- which, and why ---- */

static int do_both_agree(void *nothing) {
    static const enum thirl_role roles[][2] = {{THIRL_PAIR, THIRL_PAIR},  {THIRL_WRITE, THIRL_READ},
                                               {THIRL_PUSH, THIRL_PULL},  {THIRL_PUB, THIRL_SUB},
                                               {THIRL_CALL, THIRL_SERVE}, {THIRL_NOTIFY, THIRL_WATCH}};
    (void)nothing;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        for (int first = 0; first < 2; first++) {
            for (int wide = 0; wide < 2; wide++) { /* whoever comes second would have chosen the other */
                thirl *a = have(roles[i][first], wide ? "auto://a/name?mode=0660" : "auto://a/name");
                CHECK(is_over(a, wide ? "unix" : "shm://a/name"));
                thirl *b = have(roles[i][first ^ 1], wide ? "auto://a/name" : "auto://a/name?mode=0660");
                CHECK(is_over(b, wide ? "unix" : "shm://a/name"));
                drop(first == 0 ? b : a);
                drop(first == 0 ? a : b);
                CHECK(room_entries("chan") == 0);
            }
        }
    }
    return 0;
}
IN_A_CHILD(both_agree)

static int see(void *context, const struct thirl_seen *seen) {
    unsigned *found = context;
    bool of_auto = strncmp(seen->address, "auto:", 5) == 0;
    *found += of_auto && strcmp(seen->over, "shm://known") == 0 && strstr(seen->reason, "one user") != NULL;
    *found += !of_auto && seen->over[0] == '\0' && seen->reason[0] == '\0' ? 16 : 0;
    return 0;
}

static int do_says_which_and_why(void *nothing) {
    unsigned found = 0;
    struct thirl_over over = {.size = 1};
    (void)nothing;
    thirl *a = have(THIRL_PAIR, "auto://known");
    CHECK(strstr(thirl_why(), "auto://known runs over shm://known: only one user's") != NULL);
    thirl *b = have(THIRL_PAIR, "auto://known?queue=64K"), *other = have(THIRL_PAIR, "shm://other");
    CHECK(is_over(other, "shm://other"));
    CHECK(thirl_list(see, &found) == 0 && found == 2 + 16);
    CHECK(thirl_over(a, &over) == -EINVAL && thirl_over(a, NULL) == -EINVAL && thirl_over(NULL, &over) == -EINVAL);
    over.size = sizeof over;
    CHECK(thirl_over(b, &over) == 0 && strstr(over.reason, "one user") != NULL);
    CHECK(passes(a, b) && passes(b, a));
    drop(a);
    drop(b);
    drop(other);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(says_which_and_why)

static int do_trust_decides(void *nothing) {
    static const struct {
        const char *address, *over;
    } cases[] = {{"auto://t", "shm://t"},
                 {"auto://t?trust", "shm://t"},
                 {"auto://t?mode=0660", "unix"},
                 {"auto://t?mode=0606&size=64", "unix"},
                 {"auto://t?mode=0660&trust", "shm://t"},
                 {"auto://t?mode=0600&size=16M", "shm://t"},
                 {"auto://t?descriptors=2", "unix"}};
    (void)nothing;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thirl *end = have(THIRL_PAIR, cases[i].address);
        CHECK(is_over(end, cases[i].over));
        drop(end);
    }
    return 0;
}
IN_A_CHILD(trust_decides)

/* Where somebody has measured, what costs least carries it; of what takes large messages, where nobody says that they are small. */
static int do_costs_decide(void *nothing) {
    char path[160];
    (void)nothing;
    (void)snprintf(path, sizeof path, "%s/costs.of.a.test", room_path);
    (void)mkdir(room_path, 0700);
    FILE *file = fopen(path, "we");
    CHECK(file != NULL);
    (void)fputs("thirl-costs 1\ncost shm rtt 64 adaptive copy 9000 9000 0 0 0 0 0\ncost unix rtt 64 adaptive copy 5000 "
                "1 0 0 0 0 0\n"
                "cost seqpacket rtt 64 adaptive copy 3000 1 0 0 0 0 0\ncost shm rtt 64 sleep copy 300 1 0 0 0 0 0\n"
                "cost fifo rtt 64 adaptive copy 30 1 0 0 0 0 0\n",
                file);
    CHECK(fclose(file) == 0 && setenv("THIRL_COSTS", path, 1) == 0);
    static const char *const cases[][2] = {{"auto://c?size=64", "seqpacket"},
                                           {"auto://c", "unix"},
                                           {"auto://c?size=64&max=1M", "unix"},
                                           {"auto://c?wait=sleep", "shm://c"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thirl *a = have(THIRL_PAIR, cases[i][0]);
        CHECK(strstr(thirl_why(), "costs least here") != NULL);
        thirl *b = have(THIRL_PAIR, "auto://c");
        CHECK(is_over(a, cases[i][1]) && is_over(b, cases[i][1]));
        CHECK(passes(a, b) && passes(b, a));
        drop(a);
        drop(b);
    }
    CHECK(unlink(path) == 0);
    return 0;
}
IN_A_CHILD(costs_decide)

/* What is there already is joined, also by who would not have chosen it; and what waits is found. */
static int do_what_is_there_is_joined(void *nothing) {
    char text[8] = "";
    (void)nothing;
    thirl *a = have(THIRL_PAIR, "shm://there?mode=0660"), *b = have(THIRL_PAIR, "auto://there?mode=0660");
    CHECK(is_over(b, "shm://there"));
    CHECK(passes(a, b) && passes(b, a));
    drop(a);
    drop(b);
    a = have(THIRL_PUSH, "auto://jobs");
    CHECK(a != NULL && thirl_send(a, "hello", 6, PATIENCE) == 0);
    drop(a); /* its message outlives it */
    b = have(THIRL_PULL, "auto://jobs?mode=0660");
    CHECK(is_over(b, "shm://jobs") && thirl_recv(b, text, sizeof text, NULL, PATIENCE) == 0);
    CHECK(strcmp(text, "hello") == 0);
    drop(b);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(what_is_there_is_joined)

static int do_refusals_say_what_to_do(void *nothing) {
    static const struct {
        enum thirl_role role;
        const char *address;
        int code;
        const char *why;
    } cases[] = {{THIRL_PAIR, "auto://r?raw", -EOPNOTSUPP, "?raw"},
                 {THIRL_PAIR, "auto://r?type=seqpacket", -EOPNOTSUPP, "?type="},
                 {THIRL_PAIR, "auto://", -THIRL_EADDRESS, "no name"},
                 {THIRL_PUB, "auto://r/*", -THIRL_EADDRESS, "publisher"},
                 {THIRL_WRITE, "auto://taken", -THIRL_EROLE, "messages (pair)"},
                 {THIRL_PAIR, "auto://taken?crc", -THIRL_EROLE, "?crc"},
                 {THIRL_PUSH, "auto://r?descriptors=1&mode=0660", -EOPNOTSUPP, "carries no descriptors"},
                 {(enum thirl_role)77, "auto://r", -EINVAL, "no role"}};
    (void)nothing;
    thirl *taken = have(THIRL_PAIR, "auto://taken"), *none = NULL;
    int before = room_entries("chan");
    unsigned descriptors = room_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(thirl_open(&none, cases[i].role, cases[i].address, NULL) == cases[i].code && none == NULL);
        CHECK(strstr(thirl_why(), cases[i].why) != NULL);
        CHECK(room_entries("chan") == before && room_descriptors() == descriptors);
    }
    drop(taken);
    return 0;
}
IN_A_CHILD(refusals_say_what_to_do)

/* A note of another version, of a mechanism of later days, and none at all. */
static int do_foreign_notes_are_told_of(void *nothing) {
    static const struct {
        long offset;
        const char *bytes;
        int code;
        const char *why;
    } cases[] = {{0, "x", -THIRL_EFORMAT, "choice is not thirl's"},
                 {8, "\7", -THIRL_EVERSION, "layout 7"},
                 {16, "pigeon", -THIRL_EVERSION, "pigeon"}};
    char path[160];
    (void)nothing;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thirl *a = have(THIRL_PAIR, "auto://f"), *b = NULL;
        (void)snprintf(path, sizeof path, "%s/chan/%%auto.f/choice", room_path);
        FILE *file = fopen(path, "r+e");
        CHECK(a != NULL && file != NULL && fseek(file, cases[i].offset, SEEK_SET) == 0);
        CHECK(fputs(cases[i].bytes, file) >= 0 && fclose(file) == 0);
        CHECK(thirl_open(&b, THIRL_PAIR, "auto://f", NULL) == cases[i].code &&
              strstr(thirl_why(), cases[i].why) != NULL);
        drop(a);
        CHECK(room_entries("chan") == 0);
    }
    return 0;
}
IN_A_CHILD(foreign_notes_are_told_of)

static int do_half_a_note_is_none(void *nothing) {
    char path[160];
    (void)nothing;
    thirl *a = have(THIRL_PAIR, "auto://half"), *b = NULL;
    (void)snprintf(path, sizeof path, "%s/chan/%%auto.half/choice", room_path);
    CHECK(a != NULL && truncate(path, 100) == 0);
    CHECK(thirl_open(&b, THIRL_PAIR, "auto://half", NULL) == -THIRL_EFORMAT);
    CHECK(strstr(thirl_why(), "is damaged") != NULL);
    drop(a);
    return 0;
}
IN_A_CHILD(half_a_note_is_none)

static int die_there(void *nothing) {
    (void)nothing;
    return have(THIRL_PAIR, "shm://died") == NULL ? 1 : kill(getpid(), SIGKILL);
}

/* What the dead have left of a pair is no channel that anybody is in. */
static int do_the_dead_are_not_joined(void *nothing) {
    (void)nothing;
    thirl *other = have(THIRL_PAIR, "shm://other"); /* who joins the registry sweeps it, but only then */
    CHECK(room_run(die_there, NULL) == 128 + SIGKILL && room_entries("chan") == 2);
    thirl *a = have(THIRL_PAIR, "auto://died?mode=0660");
    CHECK(is_over(a, "unix"));
    drop(other);
    drop(a);
    return 0;
}
IN_A_CHILD(the_dead_are_not_joined)

static int die_with_a_job(void *nothing) {
    (void)nothing;
    thirl *end = have(THIRL_PUSH, "shm://jobs");
    return end == NULL || thirl_send(end, "hello", 6, PATIENCE) != 0 ? 1 : kill(getpid(), SIGKILL);
}

/* But what they have sent waits for whoever comes. */
static int do_jobs_of_the_dead_are_joined(void *nothing) {
    char text[8] = "";
    (void)nothing;
    thirl *other = have(THIRL_PAIR, "shm://other");
    CHECK(room_run(die_with_a_job, NULL) == 128 + SIGKILL);
    thirl *end = have(THIRL_PULL, "auto://jobs?mode=0660");
    CHECK(is_over(end, "shm://jobs") && thirl_recv(end, text, sizeof text, NULL, PATIENCE) == 0);
    CHECK(strcmp(text, "hello") == 0);
    drop(end);
    drop(other);
    return 0;
}
IN_A_CHILD(jobs_of_the_dead_are_joined)

/* Addresses of others stand in the registry as they wrote them. */
static int do_looks_at_any_address(void *nothing) {
    static const char *const none[] = {"shm://known", "auto://", "auto://%zz", "auto://nobody", "auto", ""};
    char over[ADDR_MAX], why[256];
    (void)nothing;
    thirl *a = have(THIRL_PAIR, "auto://known?mode=0660");
    CHECK(auto_look("auto://known", over, why) && strcmp(over, "unix") == 0 && strstr(why, "trust") != NULL);
    CHECK(auto_look("auto://known?queue=64K", over, why) && strcmp(over, "unix") == 0);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK(!auto_look(none[i], over, why));
    }
    drop(a);
    return 0;
}
IN_A_CHILD(looks_at_any_address)

/* ---- places ---- */

static int do_deep_registries_have_sockets(void *nothing) {
    char path[240];
    (void)nothing;
    (void)snprintf(path, sizeof path, "%s/%0120d", room_path, 7);
    CHECK(setenv("THIRL_DIR", path, 1) == 0);
    thirl *a = have(THIRL_PAIR, "auto://deep?mode=0660"), *b = have(THIRL_PAIR, "auto://deep?mode=0660");
    CHECK(is_over(a, "unix") && is_over(b, "unix") && passes(a, b) && passes(b, a));
    drop(a);
    drop(b);
    (void)snprintf(path + strlen(path), 8, "/chan");
    CHECK(rmdir(path) == 0); /* nothing is left */
    return 0;
}
IN_A_CHILD(deep_registries_have_sockets)

static int do_topics_are_names(void *nothing) {
    thirl_msg *msg = NULL;
    (void)nothing;
    for (int wide = 0; wide < 2; wide++) {
        const char *address = wide ? "auto://camera/front?mode=0660" : "auto://camera/front";
        thirl *sub = have(THIRL_SUB, wide ? address : "auto://camera/*"), *pub = have(THIRL_PUB, address);
        CHECK(is_over(sub, wide ? "unix" : "shm://camera/*"));
        int rc = -EAGAIN;
        for (int64_t until = clock_now() + 10 * CLOCK_S; rc == -EAGAIN && clock_now() < until;) {
            CHECK(thirl_send(pub, "x", 1, PATIENCE) == 0);
            rc = thirl_take(sub, &msg, thirl_in_ms(5));
            rc = rc == -ETIMEDOUT ? -EAGAIN : rc;
        }
        CHECK(rc == 0 && strcmp(thirl_msg_topic(msg), "camera/front") == 0);
        thirl_free(&msg);
        drop(pub);
        drop(sub);
    }
    return 0;
}
IN_A_CHILD(topics_are_names)

/* ---- another user ---- */

static int be_another(void *nothing) {
    char text[8] = "";
    (void)nothing;
    CHECK(setgid(65534) == 0 && setuid(65534) == 0);
    thirl *end = have(THIRL_PAIR, "auto://users?mode=0666");
    struct thirl_peer peer = {.size = sizeof peer};
    CHECK(is_over(end, "unix") && thirl_recv(end, text, sizeof text, NULL, PATIENCE) == 0);
    CHECK(strcmp(text, "hello") == 0 && thirl_peer(end, &peer) == 0 && peer.uid == 0);
    CHECK(thirl_send(end, "hello", 6, PATIENCE) == 0 && member_wait(&member_board->go, 1));
    drop(end);
    return 0;
}

static int do_users_meet(void *nothing) {
    char text[8] = "";
    (void)nothing;
    CHECK(member_open_to_all() == 0);
    pid_t other = room_fork(be_another, NULL);
    thirl *end = have(THIRL_PAIR, "auto://users?mode=0666");
    struct thirl_peer peer = {.size = sizeof peer};
    CHECK(is_over(end, "unix") && thirl_send(end, "hello", 6, PATIENCE) == 0);
    CHECK(thirl_recv(end, text, sizeof text, NULL, PATIENCE) == 0 && thirl_peer(end, &peer) == 0);
    CHECK(peer.uid == 65534);
    atomic_store(&member_board->go, 1);
    drop(end);
    CHECK(room_reap(other) == 0);
    return 0;
}

static void users_meet(void **state) {
    (void)state;
    if (geteuid() != 0) {
        print_message("another user is root's business\n");
        skip();
    }
    assert_int_equal(room_run(do_users_meet, NULL), 0);
}

/* ---- many at once, and the dead ---- */

static int race(void *which) {
    bool wide = ((uintptr_t)which & 1) != 0;
    (void)member_wait(&member_board->go, 1);
    bool pushes = (uintptr_t)which % RACERS == 0; /* one of them: a Unix socket has room for one */
    thirl *end = have(pushes ? THIRL_PUSH : THIRL_PULL, wide ? "auto://race?mode=0660" : "auto://race");
    int answer = end == NULL                               ? 3
                 : strcmp(over_of(end), "unix") == 0       ? 1
                 : strcmp(over_of(end), "shm://race") == 0 ? 2
                                                           : 3;
    (void)atomic_add(&member_board->ready, 1);
    (void)member_wait(&member_board->ready, RACERS);
    drop(end);
    return answer;
}

static int do_many_at_once_agree(void *nothing) {
    unsigned seen[4] = {0};
    (void)nothing;
    for (int round = 0; round < RACES; round++) {
        pid_t racer[RACERS];
        int answers = 0;
        member_board->ready = member_board->go = 0;
        for (uintptr_t i = 0; i < RACERS; i++) {
            racer[i] = room_fork(race, (void *)(i + (uintptr_t)round));
        }
        atomic_store(&member_board->go, 1);
        for (int i = 0; i < RACERS; i++) {
            answers |= 1 << room_reap(racer[i]);
        }
        CHECK(answers == 1 << 1 || answers == 1 << 2);
        seen[answers >> 1]++;
        sweep_dead();
        CHECK(room_entries("chan") == 0);
    }
    (void)printf("%u times it was unix, %u times shm\n", seen[1], seen[2]);
    return 0;
}
IN_A_CHILD(many_at_once_agree)

static int come_and_go(void *order) {
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) return 1;
    thirl *end = have(THIRL_PUSH, "auto://k?mode=0660");
    if (end == NULL) return 2;
    drop(end);
    return 0;
}

/* Killed at each point, alone: whoever comes next chooses for himself. With a witness: the choice stands. Nothing is left of either. */
static int die(const char *point, int pass, bool witnessed, unsigned *killed) {
    char order[128];
    thirl *witness = witnessed ? have(THIRL_PULL, "auto://k") : NULL;
    (void)snprintf(order, sizeof order, "%s:%d:kill", point, pass);
    int rc = room_run(come_and_go, order);
    CHECK(rc == 0 || rc == 128 + SIGKILL);
    *killed += rc != 0;
    thirl *next = have(THIRL_PUSH, "auto://k");
    CHECK(is_over(next, "shm://k"));
    CHECK(thirl_send(next, "hello", 6, PATIENCE) == 0);
    thirl *last = witnessed ? witness : have(THIRL_PULL, "auto://k?mode=0660");
    CHECK(is_over(last, "shm://k"));
    char text[8] = "";
    CHECK(thirl_recv(last, text, sizeof text, NULL, PATIENCE) == 0 && strcmp(text, "hello") == 0);
    drop(next);
    drop(last);
    sweep_dead();
    CHECK(room_entries("chan") == 0 && room_entries("node") == 1);
    return 0;
}

static int do_any_point_may_kill(void *nothing) {
    size_t count;
    struct weave_point *point = weave_points(&count);
    unsigned killed = 0;
    (void)nothing;
    for (size_t i = 0; i < count; i++) {
        bool here = strncmp(point[i].name, "auto.", 5) == 0;
        bool near = strncmp(point[i].name, "roll.", 5) == 0;
        for (int pass = 1; (here || near) && pass <= (here ? 2 : 3); pass++) {
            unsigned before = killed;
            CHECK(die(point[i].name, pass, false, &killed) == 0);
            CHECK(!here || pass > 1 || killed == before + 1); /* each is passed */
            CHECK(!here || die(point[i].name, pass, true, &killed) == 0);
        }
    }
    (void)printf("killed %u times\n", killed);
    CHECK(killed > 15);
    return 0;
}
IN_A_CHILD(any_point_may_kill)

static int stay(void *nothing) {
    (void)nothing;
    thirl *end = have(THIRL_PAIR, "auto://peer?mode=0660");
    atomic_store(&member_board->ready, end != NULL);
    (void)member_wait(&member_board->go, 1);
    return 0;
}

/* Whoever has read the choice keeps it, also when the one who made it is dead; a new peer joins him there. */
static int do_the_choice_outlives_its_maker(void *nothing) {
    (void)nothing;
    member_board->ready = member_board->go = 0;
    pid_t first = room_fork(stay, NULL);
    CHECK(member_wait(&member_board->ready, 1));
    thirl *a = have(THIRL_PAIR, "auto://peer");
    CHECK(is_over(a, "unix") && kill(first, SIGKILL) == 0 && room_reap(first) == 128 + SIGKILL);
    int rc = thirl_recv(a, NULL, 0, NULL, thirl_in_ms(10000));
    CHECK(rc == -THIRL_EPEERDIED || rc == -ETIMEDOUT);
    thirl *b = have(THIRL_PAIR, "auto://peer");
    CHECK(is_over(b, "unix") && passes(a, b) && passes(b, a));
    drop(a);
    drop(b);
    sweep_dead();
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(the_choice_outlives_its_maker)

static int set_up(void **state) {
    return setenv("THIRL_COSTS", "/nowhere", 1) | member_begin(state);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, member_clear)
    const struct CMUnitTest tests[] = {
        TEST(both_agree),
        TEST(says_which_and_why),
        TEST(trust_decides),
        TEST(costs_decide),
        TEST(what_is_there_is_joined),
        TEST(refusals_say_what_to_do),
        TEST(foreign_notes_are_told_of),
        TEST(half_a_note_is_none),
        TEST(the_dead_are_not_joined),
        TEST(jobs_of_the_dead_are_joined),
        TEST(looks_at_any_address),
        TEST(deep_registries_have_sockets),
        TEST(topics_are_names),
        TEST(users_meet),
        TEST(many_at_once_agree),
        TEST(any_point_may_kill),
        TEST(the_choice_outlives_its_maker),
    };
    return cmocka_run_group_tests(tests, set_up, room_end);
}
