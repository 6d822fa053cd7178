/* SPDX-License-Identifier: MIT
 *
 * Desks among liars: garbage where servers and clients find each other, and peers that write what they may not. Nobody crashes, each
 * lie is named, and the proper peer is served. And what many silent clients cost.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "chan/end.h"
#include "mem/roll.h"
#include "tests/member.h"

#define ADDRESS "shm://desk"
#define SOON thirl_in_ms(20000)

static int channel(void) {
    return openat(room_dir, "chan/desk", O_RDONLY | O_DIRECTORY);
}

/* What a peer of another process does; the test's own part runs in a child, too, as a process joins the registry once. */
static pid_t beside(int (*body)(void *), void *argument) {
    return room_fork(body, argument);
}

static int serve_some(void *argument) {
    thirl *end;
    CHECK(thirl_open(&end, THIRL_SERVE, ADDRESS, NULL) == 0);
    for (int n = *(const int *)argument; n > 0; n--) {
        thirl_msg *request;
        CHECK(thirl_take(end, &request, SOON) == 0);
        CHECK(thirl_reply(end, &request, "yes", 3, SOON) == 0);
    }
    return thirl_close(&end, SOON);
}

static int call_once(thirl *end) {
    thirl_msg *reply;
    int rc = thirl_call(end, "what", 4, &reply, SOON);
    if (rc == 0 && (thirl_msg_size(reply) != 3 || memcmp(thirl_msg_data(reply), "yes", 3) != 0)) {
        rc = -EBADMSG;
    }
    thirl_free(&reply);
    return rc;
}

/* ---- where they find each other ---- */

static int plant(const char *name, size_t size) {
    int dir = channel();
    CHECK(dir >= 0);
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)room_dice(256);
    }
    for (size_t done = 0; done < size; done += sizeof bytes) {
        CHECK(write(fd, bytes, sizeof bytes) == sizeof bytes);
    }
    close(fd);
    close(dir);
    return 0;
}

/* Files that a living process (this one) could have put there: pages, doors, conversations and requests to be accepted. */
static int plant_all(uint64_t node) {
    static const size_t sizes[] = {0, 4096, 8192, 12288, 4096 + 65536};
    char name[160];
    for (unsigned i = 0; i < 5; i++) {
        const unsigned n = 1000 + i;
        (void)snprintf(name, sizeof name, "%016llx.%u.rx", (unsigned long long)node, n);
        CHECK(plant(name, sizes[i]) == 0);
        (void)snprintf(name, sizeof name, "%016llx.%u.tx", (unsigned long long)node, n);
        CHECK(plant(name, sizes[i]) == 0);
        (void)snprintf(name, sizeof name, "%016llx.%u.door", (unsigned long long)node, n);
        CHECK(plant(name, sizes[i]) == 0);
    }
    return 0;
}

static int plant_posts(uint64_t server, uint32_t number, uint64_t node) {
    char name[160];
    for (unsigned i = 0; i < 5; i++) {
        (void)snprintf(name, sizeof name, "%016llx.%u.call.%016llx.%u", (unsigned long long)server, number,
                       (unsigned long long)node, 1000 + i);
        CHECK(plant(name, 0) == 0);
    }
    (void)snprintf(name, sizeof name, "%016llx.%u.call.nonsense", (unsigned long long)server, number);
    CHECK(plant(name, 0) == 0);
    return 0;
}

static int find_server(struct roll_end *found) {
    int dir = channel();
    DIR *list = fdopendir(dir);
    CHECK(list != NULL);
    *found = (struct roll_end){0};
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && strcmp(kind, "rx") == 0 && end.number < 1000) {
            *found = end;
        }
    }
    (void)closedir(list);
    return 0;
}

static int among_garbage(void *argument) {
    int served = 3;
    (void)argument;
    thirl *end;
    CHECK(thirl_open(&end, THIRL_CALL, ADDRESS, NULL) == 0);
    CHECK(plant_all(node_id()) == 0);
    pid_t server = beside(serve_some, &served);
    struct roll_end found = {0};
    for (int tries = 0; found.node == 0 && tries < 20000; tries++) {
        CHECK(find_server(&found) == 0);
        room_sleep(CLOCK_MS);
    }
    CHECK(found.node != 0);
    CHECK(plant_posts(found.node, found.number, node_id()) == 0);
    for (int i = 0; i < 3; i++) {
        int rc;
        int64_t until = clock_now() + 20 * CLOCK_S;
        while ((rc = call_once(end)) == -THIRL_EFORMAT) { /* a liar among the servers is said, and others are asked */
            CHECK(clock_now() < until);
        }
        CHECK(rc == 0);
    }
    CHECK(room_reap(server) == 0);
    CHECK(thirl_close(&end, SOON) == 0);
    return 0;
}

static void garbage_hides_nobody(void **state) {
    (void)state;
    assert_int_equal(room_run(among_garbage, NULL), 0);
}

/* ---- what they send each other ---- */

enum lie { WRONG_KIND, NO_HEAD, WILD_LANE, WILD_PAGE, LIES };

/* Shared by liar and caller. */
static struct theatre {
    enum lie lie;
    uint32_t heard; /* the caller has what was proper */
} * theatre;

/* Writes over what this server wrote in its conversations. */
static int scribble(const char *kind, off_t from) {
    int dir = channel();
    DIR *list = fdopendir(dir);
    CHECK(list != NULL);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *is;
        if (!roll_parse(entry->d_name, &end, &is) || end.node != node_id() || strncmp(is, kind, strlen(kind)) != 0) {
            continue;
        }
        int fd = openat(dirfd(list), entry->d_name, O_RDWR);
        struct stat status;
        CHECK(fd >= 0 && fstat(fd, &status) == 0);
        for (off_t at = from; at < status.st_size; at += 8) {
            uint64_t word = room_dice(UINT64_MAX) | 1;
            CHECK(pwrite(fd, &word, sizeof word, at) == sizeof word);
        }
        close(fd);
    }
    (void)closedir(list);
    return 0;
}

static int lie(void *nothing) {
    const enum lie which = theatre->lie;
    thirl *end;
    thirl_msg *request;
    (void)nothing;
    CHECK(thirl_open(&end, THIRL_SERVE, ADDRESS, NULL) == 0);
    CHECK(thirl_take(end, &request, SOON) == 0);
    /* One proper part: the caller listens to this lane from then on. */
    CHECK(thirl_reply_part(end, request, "part", 4, SOON) == 0);
    struct mech_note note = request->note;
    size_t done = 0;
    CHECK(member_wait(&theatre->heard, 1));
    if (which == WRONG_KIND) {
        note.kind = MECH_REQUEST;
        CHECK(end->mech->send_noted(end->state, "x", 1, &done, &note, false) == 0);
    } else if (which == NO_HEAD) {
        note.kind = MECH_PLAIN;
        CHECK(end->mech->send_noted(end->state, "", 0, &done, &note, false) == 0);
    } else if (which == WILD_LANE) {
        CHECK(scribble("tx.", 4096) == 0);
    } else {
        CHECK(scribble("rx.", 256) == 0); /* cursors that no reader could have */
        CHECK(scribble("tx.", 4096) == 0);
    }
    room_sleep(CLOCK_S * 20);
    return 0;
}

static int meet_liar(void *which) {
    int served = 4;
    thirl *end;
    thirl_msg *reply;
    uint64_t id;
    theatre = mmap(NULL, sizeof *theatre, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(theatre != MAP_FAILED);
    theatre->lie = *(const enum lie *)which;
    CHECK(thirl_open(&end, THIRL_CALL, ADDRESS, NULL) == 0);
    pid_t liar = beside(lie, NULL);
    CHECK(thirl_ask(end, "what", 4, &id, SOON) == 0);
    CHECK(thirl_answer(end, &id, &reply, SOON) == THIRL_MORE);
    thirl_free(&reply);
    atomic_store(&theatre->heard, 1u);
    int64_t began = clock_now();
    CHECK(thirl_answer(end, &id, &reply, SOON) == -THIRL_EFORMAT);
    CHECK(clock_now() - began < 5 * CLOCK_S);
    CHECK(strstr(thirl_why(), "pid ") != NULL);
    pid_t server = beside(serve_some, &served);
    for (int i = 0; i < 4; i++) {
        CHECK(call_once(end) == 0);
    }
    CHECK(room_reap(server) == 0);
    (void)kill(liar, SIGKILL);
    (void)room_reap(liar);
    CHECK(thirl_close(&end, SOON) == 0);
    return 0;
}

static void liars_are_named_and_left(void **state) {
    (void)state;
    for (enum lie which = 0; which < LIES; which++) {
        if (room_run(meet_liar, &which) != 0) {
            fail_msg("lie number %d", (int)which);
        }
    }
}

/* ---- many ---- */

#define CLIENTS 300

static int count_steps(void *argument) {
    (void)argument;
    thirl *server, *end[CLIENTS];
    thirl_msg *request, *reply;
    CHECK(thirl_open(&server, THIRL_SERVE, ADDRESS "?queue=4K", NULL) == 0);
    uint64_t id[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(thirl_open(&end[i], THIRL_CALL, ADDRESS "?queue=4K", NULL) == 0);
        CHECK(thirl_ask(end[i], "x", 1, &id[i], THIRL_NOW) == -EAGAIN);
    }
    CHECK(thirl_take(server, &request, THIRL_NOW) == -EAGAIN); /* accepts them all */
    unsigned open_files = room_descriptors();
    CHECK(open_files < 2 * CLIENTS + 50); /* a client's directory, and nothing for each conversation */
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(thirl_ask(end[i], "x", 1, &id[i], SOON) == 0);
        CHECK(thirl_take(server, &request, SOON) == 0);
        CHECK(thirl_reply(server, &request, "yes", 3, SOON) == 0);
        CHECK(thirl_answer(end[i], &id[i], &reply, SOON) == 0);
        thirl_free(&reply);
    }
    /* One speaks: what the server does for it must not grow with those who are silent. */
    int64_t best = INT64_MAX;
    for (int i = 0; i < 2000; i++) {
        CHECK(thirl_ask(end[7], "x", 1, &id[7], SOON) == 0);
        int64_t began = clock_now();
        CHECK(thirl_take(server, &request, SOON) == 0);
        int64_t took = clock_now() - began;
        best = took < best ? took : best;
        CHECK(thirl_reply(server, &request, "yes", 3, SOON) == 0);
        CHECK(thirl_answer(end[7], &id[7], &reply, SOON) == 0);
        thirl_free(&reply);
    }
    printf("a request among %d silent clients is taken in %lld ns\n", CLIENTS - 1, (long long)best);
    (void)fflush(stdout);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK(best < 3000);
#endif
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(thirl_close(&end[i], SOON) == 0);
    }
    CHECK(thirl_close(&server, SOON) == 0);
    CHECK(room_entries("chan") == 0);
    return 0;
}

static void the_silent_cost_nothing(void **state) {
    (void)state;
    assert_int_equal(room_run(count_steps, NULL), 0);
}

/* ---- how long a wake-up takes ---- */

#define CALLS 300

/* Has this end learnt it? Until then it holds what is assumed for all. */
static bool knows_its_wake(const thirl *end, int64_t assumed) {
    return atomic_peek(&end->way[MECH_IN].wake) != assumed;
}

static int serve_asleep(void *nothing) {
    thirl *end;
    thirl_msg *request;
    (void)nothing;
    CHECK(thirl_open(&end, THIRL_SERVE, ADDRESS "?wait=sleep", NULL) == 0);
    int64_t assumed = end->way[MECH_IN].wake;
    for (int i = 0; i < CALLS; i++) {
        CHECK(thirl_take(end, &request, SOON) == 0 && thirl_reply(end, &request, "yes", 3, SOON) == 0);
    }
    bool knows = knows_its_wake(end, assumed);
    return thirl_close(&end, SOON) < 0 || !knows;
}

static int call_asleep(void *nothing) {
    thirl *end;
    (void)nothing;
    CHECK(thirl_open(&end, THIRL_CALL, ADDRESS "?wait=sleep", NULL) == 0);
    int64_t assumed = end->way[MECH_IN].wake;
    for (int i = 0; i < CALLS; i++) CHECK(call_once(end) == 0);
    bool knows = knows_its_wake(end, assumed);
    return thirl_close(&end, SOON) < 0 || !knows;
}

/* Who does not know it sleeps where it should spin. */
static void wake_ups_are_learnt_from(void **state) {
    (void)state;
    pid_t server = beside(serve_asleep, NULL);
    assert_int_equal(room_reap(beside(call_asleep, NULL)), 0);
    assert_int_equal(room_reap(server), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(garbage_hides_nobody, member_clear),
        cmocka_unit_test_setup(liars_are_named_and_left, member_clear),
        cmocka_unit_test_setup(the_silent_cost_nothing, member_clear),
        cmocka_unit_test_setup(wake_ups_are_learnt_from, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
