/* SPDX-License-Identifier: MIT
 *
 * Joining and leaving a channel: seats, cards and names; together, killed or stopped at every point, and swept.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/futex.h"
#include "base/weave.h"
#include "include/thirl/thirl.h"
#include "mem/roll.h"
#include "tests/room.h"

static struct {
    uint32_t ready, go, arrived[2];
    uint64_t id;
} *board;

static int erase(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    return where->level == 0 ? 0 : remove(path);
}

static int clear(void **state) {
    (void)state;
    memset(board, 0, sizeof *board);
    return nftw(room_path, erase, 16, FTW_DEPTH | FTW_PHYS);
}

static int begin(void **state) {
    board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

static bool wait_for(const uint32_t *word, uint32_t value) {
    for (int64_t until = clock_now() + 20 * CLOCK_S; atomic_load(word) < value;) {
        if (clock_now() > until) return false;
        room_sleep(20 * CLOCK_US);
    }
    return true;
}

/* What the mechanism does between begin and finish. */
static int make_files(const struct roll *roll) {
    for (int i = 0; i < 2; i++) {
        char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
        if (!(i == 0 ? roll->writes : roll->reads)) continue;
        roll_file(file, roll->self, i == 0 ? "tx" : "rx");
        (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
        int fd = openat(roll->dir, unfinished, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) return -errno;
        close(fd);
    }
    return 0;
}

static struct node_end *line;

static int join_within(struct roll *roll, const char *name, enum roll_pattern pattern, bool writes, bool reads, int64_t ns) {
    if (node_id() == 0 && node_end_take(&line, "shm://x", THIRL_PAIR, true) != 0) return -1;
    int rc = roll_begin(roll, name, pattern, writes, reads, 0600, clock_now() + ns);
    if (rc != 0) return rc;
    rc = make_files(roll);
    if (rc != 0) {
        roll_cancel(roll);
        return rc;
    }
    return roll_finish(roll);
}

static int join(struct roll *roll, const char *name) {
    return join_within(roll, name, ROLL_PAIR, true, true, 10 * CLOCK_S);
}

static void leave(struct roll *roll) {
    roll_leave(roll);
    roll_deinit(roll);
}

static int chan_entries(const char *name) {
    char path[512];
    (void)snprintf(path, sizeof path, "chan/%s", name);
    return room_entries(path);
}

/* ---- each test does its work in a child: a process joins the registry once, and here it is emptied each time ---- */

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());            \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

#define IN_A_CHILD(name)                                                                                               \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        assert_int_equal(room_run(do_##name, NULL), 0);                                                                \
    }

/* A guest that has joined: stays until it is told to go, and leaves. */
static const char *guest_name = "x";
static enum roll_pattern guest_pattern = ROLL_PAIR;
static bool guest_writes = true, guest_reads = true;

static int stay(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(join_within(&roll, guest_name, guest_pattern, guest_writes, guest_reads, 10 * CLOCK_S) == 0);
    board->id = node_id();
    (void)atomic_add(&board->ready, 1);
    CHECK(wait_for(&board->go, 1));
    leave(&roll);
    return 0;
}

static pid_t invite(void) {
    uint32_t before = atomic_load(&board->ready);
    atomic_store(&board->go, 0);
    pid_t guest = room_fork(stay, NULL);
    return wait_for(&board->ready, before + 1) ? guest : -1;
}

static int send_home(pid_t guest) {
    atomic_store(&board->go, 1);
    return room_reap(guest);
}

static int do_joins_and_leaves(void *nothing) {
    struct roll roll;
    char file[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(join(&roll, "first") == 0); /* the registry's own descriptors are open now */
    leave(&roll);
    unsigned descriptors = room_descriptors();
    uint32_t number = roll.self.number;
    for (int i = 0; i < 20; i++) {
        CHECK(join(&roll, "x") == 0);
        CHECK(roll.self.node == node_id() && roll.self.number == ++number);
        CHECK(chan_entries("x") == 4); /* card, roll, tx, rx */
        CHECK(roll.lock == -1);
        roll_file(file, roll.self, "rx");
        CHECK(faccessat(roll.dir, file, F_OK, 0) == 0);
        leave(&roll);
        CHECK(room_entries("chan") == 0);
        CHECK(room_descriptors() == descriptors);
    }
    CHECK(roll_begin(&roll, "x", ROLL_PAIR, true, true, 0600, INT64_MAX) == 0);
    CHECK(make_files(&roll) == 0);
    roll_cancel(&roll);
    CHECK(room_entries("chan") == 0);
    CHECK(roll_begin(&roll, "x", ROLL_PAIR, true, true, 0600, INT64_MAX) == 0);
    CHECK(roll_finish(&roll) == -ENOENT); /* the files are not there */
    CHECK(room_entries("chan") == 0);
    CHECK(room_descriptors() == descriptors);
    return 0;
}
IN_A_CHILD(joins_and_leaves)

/* ---- seats ---- */

static int do_a_pair_has_two(void *nothing) {
    struct roll one, two, third;
    char pid[2][32];
    (void)nothing;
    pid_t guest = invite();
    CHECK(join(&one, "x") == 0);
    unsigned descriptors = room_descriptors();
    CHECK(join(&third, "x") == -EBUSY);
    (void)snprintf(pid[0], sizeof pid[0], "pid %d (roll_test)", guest);
    (void)snprintf(pid[1], sizeof pid[1], "pid %d (roll_test)", getpid());
    CHECK(strstr(thirl_why(), pid[0]) != NULL && strstr(thirl_why(), pid[1]) != NULL);
    CHECK(room_descriptors() == descriptors);
    CHECK(chan_entries("x") == 6);
    CHECK(send_home(guest) == 0);
    CHECK(join(&two, "x") == 0); /* both ends in one process */
    CHECK(join(&third, "x") == -EBUSY);
    leave(&one);
    CHECK(join(&third, "x") == 0);
    leave(&two);
    leave(&third);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(a_pair_has_two)

static int do_a_stream_has_two_ends(void *nothing) {
    struct roll writer, reader, third;
    (void)nothing;
    CHECK(join_within(&writer, "x", ROLL_STREAM, true, false, CLOCK_S) == 0);
    CHECK(join_within(&third, "x", ROLL_STREAM, true, false, CLOCK_S) == -EBUSY);
    CHECK(strstr(thirl_why(), "writer") != NULL);
    CHECK(join_within(&reader, "x", ROLL_STREAM, false, true, CLOCK_S) == 0);
    CHECK(join_within(&third, "x", ROLL_STREAM, false, true, CLOCK_S) == -EBUSY);
    CHECK(strstr(thirl_why(), "reader") != NULL);
    leave(&writer);
    CHECK(join_within(&writer, "x", ROLL_STREAM, true, false, CLOCK_S) == 0);
    leave(&reader);
    leave(&writer);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(a_stream_has_two_ends)

static int do_the_dead_have_no_seat(void *nothing) {
    struct roll roll;
    (void)nothing;
    for (int i = 0; i < 5; i++) {
        pid_t guest[2] = {invite(), invite()};
        CHECK(guest[0] > 0 && guest[1] > 0);
        CHECK(join(&roll, "x") == -EBUSY);
        CHECK(kill(guest[0], SIGSTOP) == 0);
        CHECK(join(&roll, "x") == -EBUSY); /* stopped is not dead */
        CHECK(kill(guest[0], SIGKILL) == 0 && room_reap(guest[0]) == 128 + SIGKILL);
        CHECK(join(&roll, "x") == 0);
        CHECK(chan_entries("x") == 6);
        leave(&roll);
        CHECK(kill(guest[1], SIGKILL) == 0 && room_reap(guest[1]) == 128 + SIGKILL);
        CHECK(chan_entries("x") == 4);
        CHECK(room_entries("node") == 3);
        roll_sweep();
        CHECK(room_entries("chan") == 0);
        CHECK(room_entries("node") == 1);
    }
    return 0;
}
IN_A_CHILD(the_dead_have_no_seat)

/* ---- cards ---- */

static int write_card(const char *name, const char *text, size_t size) {
    char path[128];
    (void)snprintf(path, sizeof path, "chan/%s/card", name);
    int fd = openat(room_dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool done = fd >= 0 && write(fd, text, size) == (ssize_t)size;
    close(fd);
    return done ? 0 : -1;
}

static int do_cards_must_match(void *nothing) {
    struct roll roll;
    (void)nothing;
    pid_t guest = invite();
    CHECK(join_within(&roll, "x", ROLL_STREAM, true, false, CLOCK_S) == -THIRL_EROLE);
    CHECK(strstr(thirl_why(), "pair") != NULL && strstr(thirl_why(), "stream") != NULL);
    CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    CHECK(join_within(&roll, "x", ROLL_STREAM, true, false, CLOCK_S) == 0); /* what the dead had is no matter */
    CHECK(join(&roll, "x") == -THIRL_EROLE);
    return 0;
}
IN_A_CHILD(cards_must_match)

static int do_damaged_cards_are_refused(void *nothing) {
    struct roll roll, other;
    const char *cards[] = {"", "t", "thirlcrd\1\0\0\0\1\0\0", "thirlcrD\1\0\0\0\1\0\0\0", "garbage garbage garbage"};
    const size_t sizes[] = {0, 1, 15, 16, 23};
    (void)nothing;
    CHECK(join(&roll, "x") == 0);
    unsigned descriptors = room_descriptors();
    for (size_t i = 0; i < 5; i++) {
        CHECK(write_card("x", cards[i], sizes[i]) == 0);
        CHECK(join(&other, "x") == -THIRL_EFORMAT);
        CHECK(strstr(thirl_why(), "chan/x/card") != NULL);
    }
    CHECK(write_card("x", "thirlcrd\2\0\0\0\1\0\0\0", 16) == 0);
    CHECK(join(&other, "x") == -THIRL_EVERSION);
    CHECK(unlinkat(roll.dir, "card", 0) == 0 && mkfifoat(roll.dir, "card", 0600) == 0);
    CHECK(join(&other, "x") == -THIRL_EFORMAT);
    CHECK(unlinkat(roll.dir, "card", 0) == 0);
    CHECK(join(&other, "x") == 0); /* none is as good as a new one */
    leave(&other);
    CHECK(room_descriptors() == descriptors);
    for (size_t i = 0; i < 5; i++) { /* nobody is there who could mind */
        CHECK(mkdirat(room_dir, "chan/y", 0700) == 0);
        CHECK(write_card("y", cards[i], sizes[i]) == 0);
        CHECK(join(&other, "y") == 0);
        leave(&other);
        CHECK(room_entries("chan") == 1);
    }
    leave(&roll);
    return 0;
}
IN_A_CHILD(damaged_cards_are_refused)

static int do_foreign_files_are_left_alone(void *nothing) {
    struct roll roll, other;
    const char *foreign[] = {"hello", "1.2.rx", "0000000000000001", "0000000000000001.", "0000000000000001.x.rx"};
    (void)nothing;
    CHECK(join(&roll, "x") == 0);
    for (size_t i = 0; i < 5; i++) {
        int fd = openat(roll.dir, foreign[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        close(fd);
    }
    int dead = openat(roll.dir, "0000000000000001.4.rx", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(dead >= 0);
    close(dead);
    CHECK(join(&other, "x") == 0);
    struct roll_end found;
    CHECK(roll_find(&roll, "rx", &found) == 0 && found.number == other.self.number);
    CHECK(faccessat(roll.dir, "0000000000000001.4.rx", F_OK, 0) != 0);
    leave(&other);
    leave(&roll);
    CHECK(chan_entries("x") == 5);
    CHECK(join(&other, "x") == 0);
    leave(&other);
    return 0;
}
IN_A_CHILD(foreign_files_are_left_alone)

/* ---- names ---- */

static int join_as(const char *name, const char *directory) {
    struct roll roll;
    CHECK(join(&roll, name) == 0);
    CHECK(strcmp(roll.name, directory) == 0);
    CHECK(room_entries("chan") == 1 && chan_entries(directory) == 4);
    leave(&roll);
    CHECK(room_entries("chan") == 0);
    return 0;
}

static int do_any_text_is_a_name(void *nothing) {
    static const char *const names[][2] = {
        {"camera", "camera"},       {"camera/front", "camera%2Ffront"}, {"..", "%2E."},       {".", "%2E"},
        {"../../etc", "%2E.%2F..%2Fetc"}, {"a.b", "a.b"},               {".hidden", "%2Ehidden"}, {"50%", "50%25"},
        {"a b\tc\n", "a%20b%09c%0A"}, {"\xc3\xa9", "%C3%A9"},           {"\x7f", "%7F"},      {"%2F", "%252F"},
        {"/", "%2F"},               {"roll", "roll"},                   {"card~", "card~"},   {"a\\b", "a\\b"},
    };
    (void)nothing;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) CHECK(join_as(names[i][0], names[i][1]) == 0);
    char name[300], directory[300];
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    CHECK(join_as(name, name) == 0); /* the most that a file name may have */
    struct roll roll;
    name[255] = 'n';
    name[256] = '\0';
    CHECK(join(&roll, name) == -ENAMETOOLONG);
    memset(name, ' ', sizeof name);
    for (size_t i = 0; i < 85; i++) memcpy(directory + 3 * i, "%20", 4);
    name[85] = '\0';
    CHECK(join_as(name, directory) == 0);
    name[85] = ' ';
    name[86] = '\0';
    CHECK(join(&roll, name) == -ENAMETOOLONG);
    memset(name, 'n', 254);
    memcpy(name + 254, " ", 2);
    CHECK(join(&roll, name) == -ENAMETOOLONG);
    CHECK(join(&roll, "") == -THIRL_EADDRESS);
    CHECK(room_entries("chan") == 0 && room_entries("") == 2);
    return 0;
}
IN_A_CHILD(any_text_is_a_name)

/* ---- finding and telling ---- */

static int do_finds_the_other(void *nothing) {
    struct roll roll;
    struct roll_end found = {0, 0};
    (void)nothing;
    CHECK(join(&roll, "x") == 0);
    CHECK(roll_find(&roll, "rx", &found) == -ESRCH); /* not itself */
    pid_t guest = invite();
    CHECK(roll_find(&roll, "rx", &found) == 0 && found.node == board->id);
    CHECK(roll_find(&roll, "tx", &found) == 0 && found.node == board->id);
    CHECK(roll_find(&roll, "bell", &found) == -ESRCH);
    CHECK(kill(guest, SIGSTOP) == 0);
    CHECK(roll_find(&roll, "rx", &found) == 0);
    CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    CHECK(roll_find(&roll, "rx", &found) == -ESRCH);
    leave(&roll);
    return 0;
}
IN_A_CHILD(finds_the_other)

static int do_tells_of_changes(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(join(&roll, "x") == 0);
    for (int i = 0; i < 10; i++) {
        uint32_t before = atomic_load(roll.change);
        pid_t guest = invite();
        uint32_t joined = atomic_load(roll.change);
        CHECK(joined > before);
        atomic_store(&board->go, 1);
        /* Its leaving wakes who waits for it. */
        int rc = futex_wait(roll.change, joined, clock_now() + 10 * CLOCK_S);
        CHECK(rc == 0 || rc == -EAGAIN);
        CHECK(atomic_load(roll.change) > joined);
        CHECK(room_reap(guest) == 0);
    }
    leave(&roll);
    return 0;
}
IN_A_CHILD(tells_of_changes)

/* ---- together ---- */

#define MEETINGS 200

/* Two processes join a channel that is not there, see each other, and leave it, all at the same time. */
static int meet(void *second) {
    bool late = second != NULL;
    for (uint32_t i = 1; i <= MEETINGS; i++) {
        struct roll roll;
        struct roll_end found;
        atomic_store(&board->arrived[late], i);
        while (atomic_load(&board->arrived[!late]) < i) atomic_pause();
        CHECK(join(&roll, "x") == 0);
        int rc;
        for (int64_t until = clock_now() + 5 * CLOCK_S; (rc = roll_find(&roll, "rx", &found)) != 0 && clock_now() < until;) {
            uint32_t change = atomic_load(roll.change);
            if (roll_find(&roll, "rx", &found) == 0) continue;
            (void)futex_wait(roll.change, change, clock_now() + 50 * CLOCK_MS);
        }
        CHECK(rc == 0 && found.node != node_id());
        (void)atomic_add(&board->ready, 1);
        CHECK(wait_for(&board->ready, 2 * i));
        leave(&roll);
    }
    return 0;
}

static void meets_another(void **state) {
    (void)state;
    pid_t one = room_fork(meet, NULL), two = room_fork(meet, board);
    assert_int_equal(room_reap(one), 0);
    assert_int_equal(room_reap(two), 0);
    assert_int_equal(room_entries("chan"), 0);
}

/* Many come and go at random; nobody is refused for any reason but that the seats are taken. */
static int come_and_go(void *nothing) {
    (void)nothing;
    for (int i = 0; i < 150; i++) {
        struct roll roll;
        int rc = join(&roll, room_dice(2) == 0 ? "x" : "y");
        CHECK(rc == 0 || rc == -EBUSY);
        if (rc == 0) leave(&roll);
        if (i % 16 == 0) roll_sweep();
    }
    return 0;
}

static void many_come_and_go(void **state) {
    pid_t guest[4];
    (void)state;
    for (int i = 0; i < 4; i++) guest[i] = room_fork(come_and_go, NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(room_reap(guest[i]), 0);
    assert_int_equal(room_entries("chan"), 0);
}

/* ---- killed and stopped ---- */

static int join_and_leave(void *order) {
    struct roll roll;
    if (setenv("THIRL_WEAVE_AT", order, 1) != 0) return 1;
    roll_sweep();
    if (join(&roll, "x") != 0) return 2;
    leave(&roll);
    roll_sweep();
    return 0;
}

static int do_survives_a_death_anywhere(void *nothing) {
    size_t count, killed = 0;
    struct weave_point *point = weave_points(&count);
    (void)nothing;
    for (size_t i = 0; i < count; i++) {
        bool here = strncmp(point[i].name, "roll.", 5) == 0 || strncmp(point[i].name, "node.", 5) == 0;
        for (int pass = 1; here && pass <= 3; pass++) {
            char order[128];
            struct roll roll;
            /* One that died before leaves something to clean and to sweep. */
            pid_t guest = invite();
            CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
            (void)snprintf(order, sizeof order, "%s:%d:kill", point[i].name, pass);
            int rc = room_run(join_and_leave, order);
            CHECK(rc == 0 || rc == 128 + SIGKILL);
            killed += rc == 128 + SIGKILL;
            CHECK(join_within(&roll, "x", ROLL_PAIR, true, true, CLOCK_S) == 0);
            CHECK(chan_entries("x") == 4);
            leave(&roll);
            roll_sweep();
            CHECK(room_entries("chan") == 0);
            CHECK(room_entries("node") == 1);
        }
    }
    CHECK(killed > 20);
    return 0;
}
IN_A_CHILD(survives_a_death_anywhere)

static int do_waits_no_longer_than_it_may(void *nothing) {
    struct roll roll;
    char pid[32];
    int status;
    (void)nothing;
    pid_t guest = room_fork(join_and_leave, (void *)(uintptr_t) "roll.begin.locked:1:stop");
    CHECK(waitpid(guest, &status, WUNTRACED) == guest && WIFSTOPPED(status));
    unsigned descriptors = 0;
    for (int i = 0; i < 2; i++) {
        int64_t began = clock_now();
        CHECK(join_within(&roll, "x", ROLL_PAIR, true, true, 50 * CLOCK_MS) == -ETIMEDOUT);
        CHECK(clock_now() - began >= 50 * CLOCK_MS && clock_now() - began < 2 * CLOCK_S);
        (void)snprintf(pid, sizeof pid, "pid %d", guest);
        CHECK(strstr(thirl_why(), pid) != NULL);
        CHECK(i == 0 || room_descriptors() == descriptors);
        descriptors = room_descriptors();
    }
    CHECK(join_within(&roll, "y", ROLL_PAIR, true, true, 50 * CLOCK_MS) == 0); /* another channel is not concerned */
    roll_sweep();
    leave(&roll);
    CHECK(kill(guest, SIGKILL) == 0);
    CHECK(room_reap(guest) == 128 + SIGKILL);
    CHECK(join_within(&roll, "x", ROLL_PAIR, true, true, CLOCK_S) == 0);
    leave(&roll);
    return 0;
}
IN_A_CHILD(waits_no_longer_than_it_may)

/* While a stopped process holds one channel, the nodes of the dead stay, so that the next sweep finds what they left. */
static int do_sweeps_when_it_can(void *nothing) {
    struct roll roll;
    int status;
    (void)nothing;
    CHECK(join(&roll, "mine") == 0);
    pid_t dead = invite();
    CHECK(kill(dead, SIGKILL) == 0 && room_reap(dead) == 128 + SIGKILL);
    pid_t stopped = room_fork(join_and_leave, (void *)(uintptr_t) "roll.begin.locked:1:stop");
    CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status));
    /* It has swept on its way; another one dies, whose channel cannot be cleaned now. */
    guest_name = "y";
    dead = invite();
    guest_name = "x";
    CHECK(kill(dead, SIGKILL) == 0 && room_reap(dead) == 128 + SIGKILL);
    roll_sweep();
    CHECK(chan_entries("y") == -1);
    CHECK(room_entries("node") == 3);
    CHECK(kill(stopped, SIGCONT) == 0 && room_reap(stopped) == 0);
    roll_sweep();
    CHECK(room_entries("chan") == 1 && room_entries("node") == 1);
    leave(&roll);
    return 0;
}
IN_A_CHILD(sweeps_when_it_can)

/* ---- fork ---- */

static void *join_on(void *nothing) {
    struct roll roll;
    while (atomic_load(&board->go) == 0) {
        if (join(&roll, "x") != 0) return board;
        leave(&roll);
    }
    return nothing;
}

static int join_after_fork(void *nothing) {
    struct roll roll;
    (void)nothing;
    (void)alarm(10);
    if (join(&roll, "y") != 0) return 1;
    leave(&roll);
    roll_sweep();
    return 0;
}

static int do_forks_while_a_thread_joins(void *nothing) {
    pthread_t thread;
    void *failed;
    (void)nothing;
    CHECK(node_end_take(&line, "shm://x", THIRL_PAIR, true) == 0);
    CHECK(pthread_create(&thread, NULL, join_on, NULL) == 0);
    for (int i = 0; i < 60; i++) CHECK(room_run(join_after_fork, NULL) == 0);
    atomic_store(&board->go, 1);
    CHECK(pthread_join(thread, &failed) == 0 && failed == NULL);
    return 0;
}

static void forks_while_a_thread_joins(void **state) {
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    print_message("skip: a child forked from threads may find the allocator of AddressSanitizer locked\n");
    skip();
#endif
    assert_int_equal(room_run(do_forks_while_a_thread_joins, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(joins_and_leaves, clear),
        cmocka_unit_test_setup(a_pair_has_two, clear),
        cmocka_unit_test_setup(a_stream_has_two_ends, clear),
        cmocka_unit_test_setup(the_dead_have_no_seat, clear),
        cmocka_unit_test_setup(cards_must_match, clear),
        cmocka_unit_test_setup(damaged_cards_are_refused, clear),
        cmocka_unit_test_setup(foreign_files_are_left_alone, clear),
        cmocka_unit_test_setup(any_text_is_a_name, clear),
        cmocka_unit_test_setup(finds_the_other, clear),
        cmocka_unit_test_setup(tells_of_changes, clear),
        cmocka_unit_test_setup(meets_another, clear),
        cmocka_unit_test_setup(many_come_and_go, clear),
        cmocka_unit_test_setup(survives_a_death_anywhere, clear),
        cmocka_unit_test_setup(waits_no_longer_than_it_may, clear),
        cmocka_unit_test_setup(sweeps_when_it_can, clear),
        cmocka_unit_test_setup(forks_while_a_thread_joins, clear),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
