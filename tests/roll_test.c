/* SPDX-License-Identifier: MIT
 *
 * Joining and leaving a channel: seats, cards and names; finding each other, and all at the same time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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
#include "base/futex.h"
#include "mem/place.h"
#include "mem/sweep.h"
#include "tests/member.h"

static int send_home(pid_t guest) {
    atomic_store(&member_board->go, 1);
    return room_reap(guest);
}

static int do_joins_and_leaves(void *nothing) {
    struct roll roll;
    char file[ROLL_FILE_MAX];
    (void)nothing;
    CHECK(member_join(&roll, "first") == 0); /* the registry's own descriptors are open now */
    member_leave(&roll);
    unsigned descriptors = room_descriptors();
    uint32_t number = roll.self.number;
    for (int i = 0; i < 20; i++) {
        CHECK(member_join(&roll, "x") == 0);
        CHECK(roll.self.node == node_id() && roll.self.number == ++number);
        CHECK(member_entries("x") == 4); /* card, roll, tx, rx */
        CHECK(roll.lock == -1);
        roll_file(file, roll.self, "rx");
        CHECK(faccessat(roll.dir, file, F_OK, 0) == 0);
        member_leave(&roll);
        CHECK(room_entries("chan") == 0);
        CHECK(room_descriptors() == descriptors);
    }
    CHECK(roll_begin(&roll, "shm", "x", ROLL_PAIR, true, true, 0600, INT64_MAX) == 0);
    CHECK(member_files(&roll) == 0);
    roll_cancel(&roll);
    CHECK(room_entries("chan") == 0);
    CHECK(roll_begin(&roll, "shm", "x", ROLL_PAIR, true, true, 0600, INT64_MAX) == 0);
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
    pid_t guest = member_invite();
    CHECK(member_join(&one, "x") == 0);
    unsigned descriptors = room_descriptors();
    CHECK(member_join(&third, "x") == -EBUSY);
    (void)snprintf(pid[0], sizeof pid[0], "pid %d (roll_test)", guest);
    (void)snprintf(pid[1], sizeof pid[1], "pid %d (roll_test)", getpid());
    CHECK(strstr(thirl_why(), pid[0]) != NULL && strstr(thirl_why(), pid[1]) != NULL);
    CHECK(room_descriptors() == descriptors);
    CHECK(member_entries("x") == 6);
    CHECK(send_home(guest) == 0);
    CHECK(member_join(&two, "x") == 0); /* both ends in one process */
    CHECK(member_join(&third, "x") == -EBUSY);
    member_leave(&one);
    CHECK(member_join(&third, "x") == 0);
    member_leave(&two);
    member_leave(&third);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(a_pair_has_two)

static int do_a_stream_has_two_ends(void *nothing) {
    struct roll writer, reader, third;
    (void)nothing;
    CHECK(member_join_within(&writer, "x", ROLL_STREAM, true, false, CLOCK_S) == 0);
    CHECK(member_join_within(&third, "x", ROLL_STREAM, true, false, CLOCK_S) == -EBUSY);
    CHECK(strstr(thirl_why(), "writer") != NULL);
    CHECK(member_join_within(&reader, "x", ROLL_STREAM, false, true, CLOCK_S) == 0);
    CHECK(member_join_within(&third, "x", ROLL_STREAM, false, true, CLOCK_S) == -EBUSY);
    CHECK(strstr(thirl_why(), "reader") != NULL);
    member_leave(&writer);
    CHECK(member_join_within(&writer, "x", ROLL_STREAM, true, false, CLOCK_S) == 0);
    member_leave(&reader);
    member_leave(&writer);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(a_stream_has_two_ends)

static int do_the_dead_have_no_seat(void *nothing) {
    struct roll roll;
    (void)nothing;
    for (int i = 0; i < 5; i++) {
        pid_t guest[2] = {member_invite(), member_invite()};
        CHECK(guest[0] > 0 && guest[1] > 0);
        CHECK(member_join(&roll, "x") == -EBUSY);
        CHECK(kill(guest[0], SIGSTOP) == 0);
        CHECK(member_join(&roll, "x") == -EBUSY); /* stopped is not dead */
        CHECK(kill(guest[0], SIGKILL) == 0 && room_reap(guest[0]) == 128 + SIGKILL);
        CHECK(member_join(&roll, "x") == 0);
        CHECK(member_entries("x") == 8); /* what it has left is for the sweep that comes before an open */
        member_leave(&roll);
        sweep_dead();
        CHECK(kill(guest[1], SIGKILL) == 0 && room_reap(guest[1]) == 128 + SIGKILL);
        CHECK(member_entries("x") == 4);
        CHECK(room_entries("node") == 2);
        sweep_dead();
        CHECK(room_entries("chan") == 0);
        CHECK(room_entries("node") == 1);
    }
    return 0;
}
IN_A_CHILD(the_dead_have_no_seat)

/* ---- places ---- */

#define MANY 300u /* more than fit into the first page */

static unsigned count_places(struct roll *roll, uint32_t state) {
    struct roll_end end;
    unsigned count = 0;
    for (uint32_t at = 0; roll_next(roll, state, &at, &end);) {
        count++;
    }
    return count;
}

static int stay_in_a_crowd(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(member_join_within(&roll, "x", ROLL_CAST, false, true, 10 * CLOCK_S) == 0);
    (void)atomic_add(&member_board->ready, 1);
    CHECK(member_wait(&member_board->go, 1));
    return 0;
}

static int do_many_have_places(void *nothing) {
    static struct roll roll[MANY];
    struct stat before, after;
    (void)nothing;
    for (unsigned i = 0; i < MANY; i++) {
        CHECK(member_join_within(&roll[i], "x", ROLL_CAST, i % 3 == 0, i % 3 != 0, 10 * CLOCK_S) == 0);
        CHECK(roll[i].alone == (i == 0));
        CHECK(count_places(&roll[0], PLACE_BOTH) == i + 1);
    }
    CHECK(count_places(&roll[0], PLACE_SENDS) == MANY / 3);
    CHECK(count_places(&roll[0], PLACE_RECEIVES) == MANY - MANY / 3);
    CHECK(fstatat(roll[0].dir, "roll", &before, 0) == 0 && before.st_size > PLACE_FAR);
    for (unsigned i = 1; i < MANY; i += 2) {
        member_leave(&roll[i]);
    }
    CHECK(count_places(&roll[0], PLACE_BOTH) == MANY / 2);
    for (unsigned i = 1; i < MANY; i += 2) { /* what was given back is taken first */
        CHECK(member_join_within(&roll[i], "x", ROLL_CAST, false, true, 10 * CLOCK_S) == 0);
        CHECK(roll[i].place == i);
    }
    CHECK(fstatat(roll[0].dir, "roll", &after, 0) == 0 && before.st_size == after.st_size);
    uint32_t ready = atomic_load(&member_board->ready);
    pid_t guest = room_fork(stay_in_a_crowd, NULL);
    CHECK(member_wait(&member_board->ready, ready + 1));
    CHECK(count_places(&roll[0], PLACE_BOTH) == MANY + 1);
    CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    CHECK(count_places(&roll[0], PLACE_BOTH) == MANY + 1);
    sweep_dead();
    CHECK(count_places(&roll[0], PLACE_BOTH) == MANY);
    for (unsigned i = 0; i < MANY; i++) {
        member_leave(&roll[i]);
    }
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(many_have_places)

static int say_top(const struct roll *roll, uint32_t top) {
    int fd = openat(roll->dir, "roll", O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && pwrite(fd, &top, sizeof top, PLACE_AT) == sizeof top;
    close(fd);
    return done ? 0 : -1;
}

/* A roll that was cut short, or says what is not so, is read as far as it goes. */
static int do_a_lying_roll_is_read(void *nothing) {
    struct roll one, two;
    const uint32_t tops[] = {PLACE_NEAR + 1, 70000, UINT32_MAX};
    (void)nothing;
    CHECK(member_join_within(&one, "x", ROLL_CAST, true, false, 10 * CLOCK_S) == 0);
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) {
        CHECK(say_top(&one, tops[i]) == 0);
        CHECK(member_join_within(&two, "x", ROLL_CAST, false, true, 10 * CLOCK_S) == 0);
        CHECK(count_places(&two, PLACE_BOTH) == 2);
        CHECK(say_top(&one, tops[i]) == 0); /* said to one who has looked before */
        CHECK(count_places(&two, PLACE_BOTH) == 2);
        member_leave(&two);
    }
    member_leave(&one);
    CHECK(room_entries("chan") == 0);
    return 0;
}
IN_A_CHILD(a_lying_roll_is_read)

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
    pid_t guest = member_invite();
    CHECK(member_join_within(&roll, "x", ROLL_STREAM, true, false, CLOCK_S) == -THIRL_EROLE);
    CHECK(strstr(thirl_why(), "pair") != NULL && strstr(thirl_why(), "stream") != NULL);
    CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    CHECK(member_join_within(&roll, "x", ROLL_STREAM, true, false, CLOCK_S) == 0); /* what the dead had is no matter */
    CHECK(member_join(&roll, "x") == -THIRL_EROLE);
    return 0;
}
IN_A_CHILD(cards_must_match)

static int do_damaged_cards_are_refused(void *nothing) {
    struct roll roll, other;
    const char *cards[] = {"", "t", "thirlcrd\1\0\0\0\1\0\0", "thirlcrD\1\0\0\0\1\0\0\0", "garbage garbage garbage"};
    const size_t sizes[] = {0, 1, 15, 16, 23};
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    unsigned descriptors = room_descriptors();
    for (size_t i = 0; i < 5; i++) {
        CHECK(write_card("x", cards[i], sizes[i]) == 0);
        CHECK(member_join(&other, "x") == -THIRL_EFORMAT);
        CHECK(strstr(thirl_why(), "chan/x/card") != NULL);
    }
    CHECK(write_card("x", "thirlcrd\7\0\0\0\1\0\0\0", 16) == 0);
    CHECK(member_join(&other, "x") == -THIRL_EVERSION);
    CHECK(write_card("x", "thirlcrd\3\0\0\0\1\7\0\0", 16) == 0);
    CHECK(member_join(&other, "x") == -THIRL_EVERSION);
    CHECK(strstr(thirl_why(), "have layout 7") != NULL && strstr(thirl_why(), "has layout 0") != NULL);
    CHECK(write_card("x", "thirlcrd\3\0\0\0\11\0\0\0", 16) == 0);
    CHECK(member_join(&other, "x") == -THIRL_EROLE);
    CHECK(strstr(thirl_why(), "carries ?, this role messages (pair)") != NULL); /* which there will be some day */
    CHECK(unlinkat(roll.dir, "card", 0) == 0 && mkfifoat(roll.dir, "card", 0600) == 0);
    CHECK(member_join(&other, "x") == -THIRL_EFORMAT);
    CHECK(unlinkat(roll.dir, "card", 0) == 0);
    CHECK(member_join(&other, "x") == 0); /* none is as good as a new one */
    member_leave(&other);
    CHECK(room_descriptors() == descriptors);
    for (size_t i = 0; i < 5; i++) { /* nobody is there who could mind */
        CHECK(mkdirat(room_dir, "chan/y", 0700) == 0);
        CHECK(write_card("y", cards[i], sizes[i]) == 0);
        CHECK(member_join(&other, "y") == 0);
        member_leave(&other);
        CHECK(room_entries("chan") == 1);
    }
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(damaged_cards_are_refused)

static const struct thirl_type frame = {.size = sizeof frame, .name = "frame", .bytes = 48};

static int begin(struct roll *roll) {
    return roll_begin(roll, "shm", "x", ROLL_PAIR, true, true, 0600, clock_now() + 10 * CLOCK_S);
}

/* What a channel's messages are stands in a file, and who finds none of it says so, and does not join. */
static int do_damaged_types_are_refused(void *nothing) {
    struct roll roll, other;
    static unsigned char good[200];
    const size_t sizes[] = {0, 1, 79, 80, 80, 80};
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0 && begin(&other) == 0 && roll_type(&other, &frame, 0600) == 0);
    int fd = openat(roll.dir, "type", O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, good, sizeof good, 0) == 80);
    roll_cancel(&other);
    unsigned descriptors = room_descriptors();
    for (size_t i = 0; i < 6; i++) {
        unsigned char bad[80];
        memcpy(bad, good, sizeof bad);
        bad[0] ^= i == 3;
        bad[8] += i == 4;
        if (i == 5) memset(bad + 16, 0xff, 64);
        CHECK(ftruncate(fd, 0) == 0 && pwrite(fd, bad, sizes[i], 0) == (ssize_t)sizes[i]);
        CHECK(begin(&other) == 0 && roll_type(&other, &frame, 0600) == -THIRL_EFORMAT);
        CHECK(strstr(thirl_why(), "chan/x/type") != NULL && room_descriptors() == descriptors);
    }
    close(fd);
    CHECK(unlinkat(roll.dir, "type", 0) == 0 && mkdirat(roll.dir, "type", 0700) == 0);
    CHECK(begin(&other) == 0 && roll_type(&other, &frame, 0600) == -EISDIR);
    CHECK(strstr(thirl_why(), "cannot be read") != NULL);
    CHECK(unlinkat(roll.dir, "type", AT_REMOVEDIR) == 0 && symlinkat("card", roll.dir, "type") == 0);
    CHECK(begin(&other) == 0 && roll_type(&other, &frame, 0600) == -ELOOP);
    CHECK(unlinkat(roll.dir, "type", 0) == 0 && mkdirat(roll.dir, "type~", 0700) == 0);
    CHECK(begin(&other) == 0 && roll_type(&other, &frame, 0600) == -EEXIST);
    CHECK(strstr(thirl_why(), "cannot be written") != NULL);
    CHECK(unlinkat(roll.dir, "type~", AT_REMOVEDIR) == 0);
    const struct thirl_type none = {.size = sizeof none, .name = "no:name", .bytes = 1};
    CHECK(begin(&other) == 0 && roll_type(&other, &none, 0600) == -EINVAL); /* what its caller says of it */
    CHECK(member_entries("x") == 4);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(damaged_types_are_refused)

static int say_type(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(setenv("THIRL_WEAVE_AT", "roll.type.written:1:stop", 1) == 0);
    if (node_join() != 0 || begin(&roll) != 0) return 1;
    CHECK(roll_type(&roll, &frame, 0600) == -EISDIR && strstr(thirl_why(), "cannot be written") != NULL);
    return 0;
}

/* Something of another kind comes in its place while it is written. */
static int do_a_type_that_has_no_place_is_said(void *nothing) {
    struct roll roll;
    int status;
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    pid_t guest = room_fork(say_type, NULL);
    CHECK(waitpid(guest, &status, WUNTRACED) == guest && WIFSTOPPED(status));
    CHECK(mkdirat(roll.dir, "type", 0700) == 0);
    CHECK(kill(guest, SIGCONT) == 0 && room_reap(guest) == 0);
    CHECK(unlinkat(roll.dir, "type", AT_REMOVEDIR) == 0);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(a_type_that_has_no_place_is_said)

static int do_foreign_files_are_left_alone(void *nothing) {
    struct roll roll, other;
    const char *foreign[] = {"hello", "1.2.rx", "0000000000000001", "0000000000000001.", "0000000000000001.x.rx"};
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    for (size_t i = 0; i < 5; i++) {
        int fd = openat(roll.dir, foreign[i], O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        CHECK(fd >= 0);
        close(fd);
    }
    int dead = openat(roll.dir, "0000000000000001.4.rx", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(dead >= 0);
    close(dead);
    CHECK(member_join(&other, "x") == 0);
    struct roll_end found;
    CHECK(roll_find(&roll, "rx", &found) == 0 && found.number == other.self.number);
    member_leave(&other);
    member_leave(&roll);
    CHECK(member_entries("x") == 5); /* what a dead one had is gone with the last who lives */
    CHECK(member_join(&other, "x") == 0);
    member_leave(&other);
    return 0;
}
IN_A_CHILD(foreign_files_are_left_alone)

/* ---- names ---- */

static int join_as(const char *name, const char *directory) {
    struct roll roll;
    CHECK(member_join(&roll, name) == 0);
    CHECK(strcmp(roll.name, directory) == 0);
    CHECK(room_entries("chan") == 1 && member_entries(directory) == 4);
    member_leave(&roll);
    CHECK(room_entries("chan") == 0);
    return 0;
}

static int do_any_text_is_a_name(void *nothing) {
    static const char *const names[][2] = {
        {"camera", "camera"},
        {"camera/front", "camera%2Ffront"},
        {"..", "%2E."},
        {".", "%2E"},
        {"../../etc", "%2E.%2F..%2Fetc"},
        {"a.b", "a.b"},
        {".hidden", "%2Ehidden"},
        {"50%", "50%25"},
        {"a b\tc\n", "a%20b%09c%0A"},
        {"\xc3\xa9", "%C3%A9"},
        {"\x7f", "%7F"},
        {"%2F", "%252F"},
        {"/", "%2F"},
        {"roll", "roll"},
        {"card~", "card~"},
        {"a\\b", "a\\b"},
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
    CHECK(member_join(&roll, name) == -ENAMETOOLONG);
    memset(name, ' ', sizeof name);
    for (size_t i = 0; i < 85; i++) memcpy(directory + 3 * i, "%20", 4);
    name[85] = '\0';
    CHECK(join_as(name, directory) == 0);
    name[85] = ' ';
    name[86] = '\0';
    CHECK(member_join(&roll, name) == -ENAMETOOLONG);
    memset(name, 'n', 254);
    memcpy(name + 254, " ", 2);
    CHECK(member_join(&roll, name) == -ENAMETOOLONG);
    CHECK(member_join(&roll, "") == -THIRL_EADDRESS);
    CHECK(room_entries("chan") == 0 && room_entries("") == 2);
    return 0;
}
IN_A_CHILD(any_text_is_a_name)

/* ---- finding and telling ---- */

static int do_finds_the_other(void *nothing) {
    struct roll roll;
    struct roll_end found = {0, 0};
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    CHECK(roll_find(&roll, "rx", &found) == -ESRCH); /* not itself */
    pid_t guest = member_invite();
    CHECK(roll_find(&roll, "rx", &found) == 0 && found.node == member_board->id);
    CHECK(roll_find(&roll, "tx", &found) == 0 && found.node == member_board->id);
    CHECK(roll_find(&roll, "bell", &found) == -ESRCH);
    CHECK(kill(guest, SIGSTOP) == 0);
    CHECK(roll_find(&roll, "rx", &found) == 0);
    CHECK(kill(guest, SIGKILL) == 0 && room_reap(guest) == 128 + SIGKILL);
    CHECK(roll_find(&roll, "rx", &found) == -ESRCH);
    member_leave(&roll);
    return 0;
}
IN_A_CHILD(finds_the_other)

static int do_tells_of_changes(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(member_join(&roll, "x") == 0);
    for (int i = 0; i < 10; i++) {
        uint32_t before = atomic_load(roll.change);
        pid_t guest = member_invite();
        uint32_t joined = atomic_load(roll.change);
        CHECK(joined > before);
        atomic_store(&member_board->go, 1);
        /* Its leaving wakes who waits for it. */
        int rc = futex_wait(roll.change, joined, clock_now() + 10 * CLOCK_S);
        CHECK(rc == 0 || rc == -EAGAIN);
        CHECK(atomic_load(roll.change) > joined);
        CHECK(room_reap(guest) == 0);
    }
    member_leave(&roll);
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
        atomic_store(&member_board->arrived[late], i);
        while (atomic_load(&member_board->arrived[!late]) < i) atomic_pause();
        CHECK(member_join(&roll, "x") == 0);
        int rc;
        for (int64_t until = clock_now() + 5 * CLOCK_S;
             (rc = roll_find(&roll, "rx", &found)) != 0 && clock_now() < until;) {
            uint32_t change = atomic_load(roll.change);
            if (roll_find(&roll, "rx", &found) == 0) continue;
            (void)futex_wait(roll.change, change, clock_now() + 50 * CLOCK_MS);
        }
        CHECK(rc == 0 && found.node != node_id());
        (void)atomic_add(&member_board->ready, 1);
        CHECK(member_wait(&member_board->ready, 2 * i));
        member_leave(&roll);
    }
    return 0;
}

static void meets_another(void **state) {
    (void)state;
    pid_t one = room_fork(meet, NULL), two = room_fork(meet, member_board);
    assert_int_equal(room_reap(one), 0);
    assert_int_equal(room_reap(two), 0);
    assert_int_equal(room_entries("chan"), 0);
}

/* Many come and go at random; nobody is refused for any reason but that the seats are taken. */
static int come_and_go(void *nothing) {
    (void)nothing;
    for (int i = 0; i < 150; i++) {
        struct roll roll;
        int rc = member_join(&roll, room_dice(2) == 0 ? "x" : "y");
        CHECK(rc == 0 || rc == -EBUSY);
        if (rc == 0) member_leave(&roll);
        if (i % 16 == 0) sweep_dead();
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(joins_and_leaves, member_clear),
        cmocka_unit_test_setup(a_pair_has_two, member_clear),
        cmocka_unit_test_setup(a_stream_has_two_ends, member_clear),
        cmocka_unit_test_setup(the_dead_have_no_seat, member_clear),
        cmocka_unit_test_setup(many_have_places, member_clear),
        cmocka_unit_test_setup(a_lying_roll_is_read, member_clear),
        cmocka_unit_test_setup(cards_must_match, member_clear),
        cmocka_unit_test_setup(damaged_cards_are_refused, member_clear),
        cmocka_unit_test_setup(damaged_types_are_refused, member_clear),
        cmocka_unit_test_setup(a_type_that_has_no_place_is_said, member_clear),
        cmocka_unit_test_setup(foreign_files_are_left_alone, member_clear),
        cmocka_unit_test_setup(any_text_is_a_name, member_clear),
        cmocka_unit_test_setup(finds_the_other, member_clear),
        cmocka_unit_test_setup(tells_of_changes, member_clear),
        cmocka_unit_test_setup(meets_another, member_clear),
        cmocka_unit_test_setup(many_come_and_go, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
