/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, from outside: circles of processes and of threads are found and named, with the lines of this very file, and so are
 * holders that are stopped, dead or gone. Files of processes that mean no good harm nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/doctor.h"
#include "include/thirl/lock.h"
#include "mem/nodefile.h"
#include "tests/member.h"
#include "tests/room.h"

#define MOST 3
#define SAID_MAX 65536

static struct board {
    thirl_mutex mutex[MOST];
    thirl_rwlock rwlock[MOST];
    thirl_sem sem[MOST];
    uint32_t ready, go;
    int32_t line[2]; /* of the calls that take the first and the second */
} * board;

static char said[SAID_MAX];

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static void anew(void) {
    memset(board, 0, sizeof *board);
    for (int i = 0; i < MOST; i++) {
        assert_int_equal(thirl_mutex_init(&board->mutex[i], 0), 0);
        assert_int_equal(thirl_rwlock_init(&board->rwlock[i], 0), 0);
        assert_int_equal(thirl_sem_init(&board->sem[i], i == MOST - 1 ? 2 : 1, 0), 0);
    }
}

/* Runs thirl doctor: its exit code, and what it prints in `said`. */
static int doctor(const char *option) {
    char own[256], tool[300], command[400];
    const char *given = getenv("TOOL_WEAVE");
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    assert_true(length > 0);
    own[length] = '\0';
    *strstr(own, "/tests/") = '\0';
    (void)snprintf(tool, sizeof tool, "%s/weave/thirl", own);
    (void)snprintf(command, sizeof command, "%s doctor %s 2>&1", given != NULL && *given ? given : tool, option);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    size_t got = fread(said, 1, sizeof said - 1, out);
    said[got] = '\0';
    char rest[4096];
    while (fread(rest, 1, sizeof rest, out) == sizeof rest) continue;
    int status = pclose(out);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool says(const char *format, ...) __attribute__((format(printf, 1, 2)));
static bool says(const char *format, ...) {
    char wanted[200];
    va_list list;
    va_start(list, format);
    (void)vsnprintf(wanted, sizeof wanted, format, list);
    va_end(list);
    bool found = strstr(said, wanted) != NULL;
    if (!found) print_message("\"%s\" is not in:\n%s", wanted, said);
    return found;
}

/* Runs the doctor until it says so: who waits looks about now and then, and is not seen to wait meanwhile. */
static void doctor_until(int code, const char *text) {
    int64_t until = clock_now() + 10 * CLOCK_S;
    while ((doctor("") != code || strstr(said, text) == NULL) && clock_now() < until) room_sleep(5 * CLOCK_MS);
    assert_true(says("%s", text));
}

/* The tool finds lines where there is an addr2line. */
static bool has_lines(void) {
    return system("command -v addr2line >/dev/null 2>&1") == 0; // NOLINT(cert-env33-c)
}

/* ---- circles ---- */

/* One of a circle of `of`: takes its own, and when all have theirs, the next one's. */
struct seat {
    int own, of;
};

static int sit(void *argument) {
    const struct seat *seat = argument;
    thirl_mutex *own = &board->mutex[seat->own], *next = &board->mutex[(seat->own + 1) % seat->of];
    board->line[0] = __LINE__ + 1;
    CHECK(thirl_mutex_lock(own, THIRL_NEVER) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->ready, (uint32_t)seat->of));
    board->line[1] = __LINE__ + 1;
    int rc = thirl_mutex_lock(next, THIRL_NEVER);
    CHECK(rc >= 0 && thirl_mutex_unlock(next) == 0 && thirl_mutex_unlock(own) == 0);
    return 0;
}

static void *sit_in_thread(void *argument) {
    return (void *)(intptr_t)sit(argument);
}

/* Looks until there is a circle of so many, or it takes too long. */
static struct thirl_doctor *look_for_circle(size_t count) {
    struct thirl_doctor *seen = NULL;
    for (int64_t until = clock_now() + 10 * CLOCK_S; clock_now() < until;) {
        assert_int_equal(thirl_doctor_look(&seen), 0);
        if (seen->circles == 1 && seen->circle[0]->count == count) {
            return seen;
        }
        thirl_doctor_free(&seen);
        room_sleep(5 * CLOCK_MS);
    }
    fail_msg("there is no circle of %zu", count);
    return NULL;
}

static void expect_circle(const struct thirl_doctor *seen, size_t count) {
    const struct thirl_circle *circle = seen->circle[0];
    for (size_t i = 0; i < count; i++) {
        const struct thirl_thread *t = seen->thread[circle->thread[i]];
        const struct thirl_thread *next = seen->thread[circle->thread[(i + 1) % count]];
        assert_true(t->stuck && t->circle == 1 && t->health == THIRL_HEALTH_WELL);
        assert_int_equal(t->blockers, 1);
        assert_int_equal(t->blocker[0], circle->thread[(i + 1) % count]);
        assert_int_equal(t->holds, 1);
        assert_int_equal(next->hold[0].name, t->wait->name);
        assert_string_equal(t->wait->kind, "mutex");
        assert_true(t->since > 0 && t->since <= clock_now());
        assert_non_null(strstr(t->wait->from.path, "doctor_test"));
        assert_true(t->wait->from.offset != 0);
    }
}

static void expect_text(size_t count, const pid_t *pid) {
    assert_int_equal(doctor(""), 7);
    assert_true(says("DEADLOCK: %zu threads wait for each other in a circle", count));
    for (size_t i = 0; i < count; i++) {
        assert_true(says("pid %d (doctor_test), thread %d, has waited", pid[i], pid[i]));
        assert_true(says("which pid %d (doctor_test), thread %d holds, since it took it in", pid[i], pid[i]));
    }
    if (has_lines()) {
        assert_true(says("doctor_test.c:%d (sit", board->line[0]));
        assert_true(says("doctor_test.c:%d (sit", board->line[1]));
    } else {
        assert_true(says("(doctor_test+0x"));
    }
    assert_int_equal(doctor("--json"), 7);
    assert_true(says("\"circles\":[["));
}

static void a_circle_of_processes_is_named(void **state) {
    (void)state;
    for (int of = 2; of <= MOST; of++) {
        struct seat seat[MOST];
        pid_t child[MOST];
        anew();
        for (int i = 0; i < of; i++) {
            seat[i] = (struct seat){i, of};
            child[i] = room_fork(sit, &seat[i]);
        }
        struct thirl_doctor *seen = look_for_circle((size_t)of);
        expect_circle(seen, (size_t)of);
        thirl_doctor_free(&seen);
        expect_text((size_t)of, child);
        kill(child[0], SIGKILL);
        assert_int_equal(room_reap(child[0]), 128 + SIGKILL);
        for (int i = 1; i < of; i++) assert_int_equal(room_reap(child[i]), 0); /* owner died, and on it went */
        assert_int_equal(doctor(""), 8);                                       /* it is over, and may come again */
        assert_true(says("RISK: %d locks", of));
    }
}

static int circle_of_threads(void *argument) {
    struct seat seat[2] = {{0, 2}, {1, 2}};
    pthread_t thread[2];
    (void)argument;
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&thread[i], NULL, sit_in_thread, &seat[i]) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(thread[i], NULL) == 0);
    return 0;
}

static void a_circle_of_threads_is_named(void **state) {
    (void)state;
    anew();
    pid_t child = room_fork(circle_of_threads, NULL);
    struct thirl_doctor *seen = look_for_circle(2);
    expect_circle(seen, 2);
    thirl_doctor_free(&seen);
    assert_int_equal(doctor(""), 7);
    assert_true(says("pid %d (doctor_test), thread", child));
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
}

/* One has the mutex and wants the permit, the other one has the permit. */
static int cross(void *has_permit) {
    CHECK(has_permit != NULL ? thirl_sem_wait(&board->sem[0], THIRL_NEVER) == 0
                             : thirl_mutex_lock(&board->mutex[0], THIRL_NEVER) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->ready, 2));
    int rc = has_permit != NULL ? thirl_mutex_lock(&board->mutex[0], THIRL_NEVER)
                                : thirl_sem_wait(&board->sem[0], THIRL_NEVER);
    return rc < 0;
}

static void a_circle_through_a_permit_is_named(void **state) {
    (void)state;
    anew();
    pid_t child[] = {room_fork(cross, NULL), room_fork(cross, board)};
    struct thirl_doctor *seen = look_for_circle(2);
    size_t first = seen->circle[0]->thread[0], second = seen->circle[0]->thread[1];
    const char *one = seen->thread[first]->wait->kind, *other = seen->thread[second]->wait->kind;
    assert_true(strcmp(one, "semaphore") == 0 ? strcmp(other, "mutex") == 0 : strcmp(other, "semaphore") == 0);
    thirl_doctor_free(&seen);
    doctor_until(7, "DEADLOCK: 2 threads wait for each other in a circle");
    assert_true(says("which pid %d (doctor_test), thread %d holds, since it took it in", child[1], child[1]));
    assert_true(says("for semaphore"));
    kill(child[0], SIGKILL);
    assert_int_equal(room_reap(child[0]), 128 + SIGKILL);
    assert_int_equal(room_reap(child[1]), 0);
}

/* ---- holders that do not let go ---- */

static int hold(void *argument) {
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex[0], THIRL_NEVER) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->go, 1));
    return 0;
}

static int want(void *argument) {
    (void)argument;
    (void)atomic_add(&board->ready, 1u);
    int rc = thirl_mutex_lock(&board->mutex[0], THIRL_NEVER);
    CHECK(rc >= 0 && thirl_mutex_unlock(&board->mutex[0]) == 0);
    return 0;
}

static void holders_that_are_stopped_or_dead_are_shown(void **state) {
    char text[100];
    (void)state;
    anew();
    pid_t holder = room_fork(hold, NULL);
    assert_true(member_wait(&board->ready, 1));
    assert_int_equal(doctor(""), 0); /* nobody waits */
    pid_t waiter = room_fork(want, NULL);
    doctor_until(0, "keeps others waiting");
    (void)snprintf(text, sizeof text, "gdb -p %d", holder);
    doctor_until(0, text);
    kill(holder, SIGSTOP);
    (void)snprintf(text, sizeof text, "kill -CONT %d", holder);
    doctor_until(7, text);
    assert_true(says("pid %d (doctor_test), thread %d, stopped, keeps others waiting", holder, holder));
    assert_true(says("pid %d (doctor_test), thread %d, has waited", waiter, waiter));
    kill(waiter, SIGKILL);
    assert_int_equal(room_reap(waiter), 128 + SIGKILL);
    kill(holder, SIGKILL);
    assert_int_equal(room_reap(holder), 128 + SIGKILL);
    assert_int_equal(doctor(""), 0);
    (void)snprintf(text, sizeof text, "pid %d (doctor_test), thread %d, dead, holds mutex", holder, holder);
    assert_true(says("%s", text));
    assert_true(says("is told that its owner died"));
}

static void *hold_and_end(void *argument) {
    return (void *)(intptr_t)(thirl_mutex_lock(argument, THIRL_NEVER) != 0);
}

static int lose_a_thread(void *argument) {
    pthread_t thread;
    (void)argument;
    CHECK(pthread_create(&thread, NULL, hold_and_end, &board->mutex[0]) == 0 && pthread_join(thread, NULL) == 0);
    return want(NULL);
}

static void a_thread_that_ended_is_shown(void **state) {
    (void)state;
    anew();
    pid_t child = room_fork(lose_a_thread, NULL);
    doctor_until(7, "this thread has ended and let go of nothing");
    kill(child, SIGKILL);
    assert_int_equal(room_reap(child), 128 + SIGKILL);
}

/* ---- orders ---- */

/* Takes the locks in an order, lets go of them, and stays until it is told to go. */
enum kind { MUTEX, READS, WRITES, PERMIT };
struct way {
    int lock[3], count;
    enum kind kind[3];
    bool tries;
};
#define WAY(number, ...) ((struct way){.lock = {__VA_ARGS__}, .count = (number)})

static int give(enum kind kind, int lock) {
    return kind == MUTEX    ? thirl_mutex_unlock(&board->mutex[lock])
           : kind == PERMIT ? thirl_sem_post(&board->sem[lock])
                            : thirl_rwlock_unlock(&board->rwlock[lock]);
}

static int take_in_order(void *argument) {
    const struct way *way = argument;
    thirl_time until = way->tries ? THIRL_NOW : THIRL_NEVER;
    for (int i = 0; i < way->count; i++) {
        enum kind kind = way->kind[i];
        int rc = kind == PERMIT   ? thirl_sem_wait(&board->sem[way->lock[i]], until)
                 : kind == READS  ? thirl_rwlock_read(&board->rwlock[way->lock[i]], until)
                 : kind == WRITES ? thirl_rwlock_write(&board->rwlock[way->lock[i]], until)
                                  : thirl_mutex_lock(&board->mutex[way->lock[i]], until);
        board->line[1] = __LINE__ - 1;
        CHECK(rc == 0 || rc == THIRL_OWNER_DIED);
    }
    for (int i = way->count; i-- > 0;) CHECK(give(way->kind[i], way->lock[i]) == 0);
    (void)atomic_add(&board->ready, 1u);
    CHECK(member_wait(&board->go, 1));
    return 0;
}

/* One after the other: nobody ever waits. What the doctor says while all are there. */
static int orders_of(const struct way *way, int count) {
    pid_t child[MOST];
    anew();
    for (int i = 0; i < count; i++) {
        child[i] = room_fork(take_in_order, (void *)(uintptr_t)&way[i]); // NOLINT(performance-no-int-to-ptr)
        assert_true(member_wait(&board->ready, (uint32_t)i + 1));
    }
    int code = doctor("");
    atomic_store(&board->go, 1);
    for (int i = 0; i < count; i++) assert_int_equal(room_reap(child[i]), 0);
    return code;
}

static void orders_that_make_a_circle_are_named(void **state) {
    (void)state;
    struct way tries = {.lock = {1, 0}, .count = 2, .tries = true};
    assert_int_equal(orders_of((struct way[]){WAY(2, 0, 1), WAY(2, 0, 1)}, 2), 0);
    assert_int_equal(orders_of((struct way[]){WAY(2, 0, 1), tries}, 2), 0); /* a try never waits */
    assert_int_equal(orders_of((struct way[]){WAY(2, 0, 1), WAY(2, 1, 2), WAY(2, 0, 2)}, 3), 0);
    assert_int_equal(orders_of((struct way[]){WAY(2, 0, 1), WAY(2, 1, 0)}, 2), 8);
    assert_true(says("RISK: 2 locks are taken in orders that make a circle"));
    assert_true(says("has held mutex"));
    if (has_lines()) assert_true(says("doctor_test.c:%d (take_in_order)", board->line[1]));
    assert_int_equal(orders_of((struct way[]){WAY(2, 0, 1), WAY(2, 1, 2), WAY(2, 2, 0)}, 3), 8);
    assert_true(says("RISK: 3 locks"));
    assert_int_equal(orders_of((struct way[]){WAY(3, 0, 1, 2), WAY(2, 2, 0)}, 2), 8); /* not the last that was held */
    assert_true(says("RISK: 2 locks"));
}

/* A lock of any kind that keeps others out can be part of it; one that has a place for others cannot. */
static void orders_of_all_kinds_are_named(void **state) {
    (void)state;
    static const struct {
        enum kind kind;
        int lock, code;
        const char *says;
    } other[] = {{READS, 0, 8, "read-write lock"},
                 {WRITES, 0, 8, "read-write lock"},
                 {PERMIT, 0, 8, "semaphore"},
                 {PERMIT, MOST - 1, 0, NULL}}; /* it has two permits */
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        struct way there = {.lock = {0, other[i].lock}, .count = 2, .kind = {MUTEX, other[i].kind}},
                   back = {.lock = {other[i].lock, 0}, .count = 2, .kind = {other[i].kind, MUTEX}};
        assert_int_equal(orders_of((struct way[]){there, there}, 2), 0);
        assert_int_equal(orders_of((struct way[]){there, back}, 2), other[i].code);
        assert_true(other[i].says == NULL || (says("RISK: 2 locks") && says("has held %s", other[i].says)));
    }
    /* Two that only read: until a third one wants to write both, and keeps each from what the other one has. */
    struct way read = {.lock = {0, 1}, .count = 2, .kind = {READS, READS}}, turned = read;
    turned.lock[0] = 1, turned.lock[1] = 0;
    assert_int_equal(orders_of((struct way[]){read, read}, 2), 0);
    assert_int_equal(orders_of((struct way[]){read, turned}, 2), 8);
    /* One lock taken for reading in one place and for writing in another is one lock. */
    struct way writes = {.lock = {1, 0}, .count = 2, .kind = {WRITES, WRITES}};
    assert_int_equal(orders_of((struct way[]){read, writes}, 2), 8);
}

#define CROWD 3000

static int take_crowd(void *argument) {
    static thirl_mutex crowd[CROWD];
    (void)argument;
    CHECK(thirl_mutex_lock(&board->mutex[0], THIRL_NEVER) == 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < CROWD; i++) {
            CHECK(round != 0 || thirl_mutex_init(&crowd[i], 0) == 0);
            CHECK(thirl_mutex_lock(&crowd[i], THIRL_NEVER) == 0 && thirl_mutex_unlock(&crowd[i]) == 0);
        }
    }
    struct thirl_doctor *seen;
    CHECK(thirl_doctor_look(&seen) == 0 && seen->orders == 0);
    CHECK(seen->missed >= CROWD - SLIP_PAIRS);
    thirl_doctor_free(&seen);
    CHECK(thirl_mutex_unlock(&board->mutex[0]) == 0);
    return 0;
}

static void a_full_table_says_so(void **state) {
    (void)state;
    anew();
    assert_int_equal(room_run(take_crowd, NULL), 0);
}

/* ---- those who mean no good ---- */

/* A process that lives, and whose file says what it likes. */
static int lie(void *argument) {
    static struct node_file file;
    static unsigned char parts[sizeof(struct node_parts)];
    char path[8 + NODE_NAME_MAX] = "node/";
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    node_name(path + 5, UINT64_C(0x6666000000000000) + (seed << 16));
    int fd = openat(room_dir, path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK(fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0);
    for (size_t i = 0; i < sizeof parts; i++) {
        parts[i] = (unsigned char)(seed % 3 == 0 ? 0xff : seed % 3 == 1 ? room_dice(256) : room_dice(2));
    }
    memcpy(file.magic, NODE_MAGIC, sizeof file.magic);
    file.version = NODE_VERSION;
    file.size = sizeof file;
    file.end_size = sizeof(struct node_end);
    memset(file.who.exe, 'e', sizeof file.who.exe);
    file.who.pid = seed % 2 == 0 ? getpid() : -1;
    for (int i = 0; i < NODE_PART_COUNT; i++) file.has[i] = seed % 5 == 0 ? UINT32_MAX : (uint32_t)room_dice(2000);
    CHECK(pwrite(fd, &file, sizeof file, 0) == (ssize_t)sizeof file);
    CHECK(seed % 7 == 0 || pwrite(fd, parts, sizeof parts, (off_t)NODE_PARTS_AT) == (ssize_t)sizeof parts);
    atomic_store(&board->ready, 1);
    return pause();
}

/* All claim to hold, and to wait for, the same. */
static void garbage_is_borne(void **state) {
    (void)state;
    for (uintptr_t seed = 0; seed < (room_is_brief() ? 5 : 15); seed++) {
        struct thirl_doctor *seen;
        anew();
        pid_t liar = room_fork(lie, (void *)seed); // NOLINT(performance-no-int-to-ptr)
        assert_true(member_wait(&board->ready, 1));
        int64_t began = clock_now();
        assert_int_equal(thirl_doctor_look(&seen), 0);
        for (size_t i = 0; i < seen->threads; i++) {
            const struct thirl_thread *t = seen->thread[i];
            assert_true(strlen(t->exe) < 256 && t->holds <= 16 && t->blockers <= 64);
            for (size_t j = 0; j < t->blockers; j++) assert_true(t->blocker[j] < seen->threads);
            for (size_t j = 0; j < t->holds; j++) assert_true(strlen(t->hold[j].from.path) < 256);
        }
        thirl_doctor_free(&seen);
        assert_true(clock_now() - began < 5 * CLOCK_S);
        if (seed % 7 == 1) {
            int code = doctor(seed % 2 == 0 ? "" : "--json");
            assert_true(code == 0 || code == 7 || code == 8);
        }
        kill(liar, SIGKILL);
        assert_int_equal(room_reap(liar), 128 + SIGKILL);
    }
    char path[100];
    (void)snprintf(path, sizeof path, "%s/node/%016llx", room_path, 0x7777000000000000ull);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_not_equal(doctor(""), 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_circle_of_processes_is_named),
        cmocka_unit_test(a_circle_of_threads_is_named),
        cmocka_unit_test(a_circle_through_a_permit_is_named),
        cmocka_unit_test(holders_that_are_stopped_or_dead_are_shown),
        cmocka_unit_test(a_thread_that_ended_is_shown),
        cmocka_unit_test(orders_that_make_a_circle_are_named),
        cmocka_unit_test(orders_of_all_kinds_are_named),
        cmocka_unit_test(a_full_table_says_so),
        cmocka_unit_test(garbage_is_borne),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
