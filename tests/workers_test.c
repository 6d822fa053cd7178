/* SPDX-License-Identifier: MIT
 *
 * Whom a work queue takes for a worker: what lies in its directory may be anything, and nobody is called dead who may live.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/work.h"
#include "mem/nodefile.h"
#include "tests/guest.h"

#define WORKER 7 /* whom is asked about */

static struct work work;

static int begin(void **state) {
    (void)state;
    work = (struct work){0};
    (void)mkdirat(room_dir, "hall", 0700);
    work.roll.dir = openat(room_dir, "hall", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return work.roll.dir < 0 || guest_clear(state) != 0;
}

static int end(void **state) {
    (void)state;
    crew_deinit(&work);
    (void)close(work.roll.dir);
    return unlinkat(room_dir, "hall", AT_REMOVEDIR);
}

/* Its file says that worker; `size` bytes of that are there. */
static void put(struct roll_end whose, const struct work_rx *rx, size_t size) {
    char file[ROLL_FILE_MAX];
    roll_file(file, whose, "rx");
    int fd = openat(work.roll.dir, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, rx, size), (ssize_t)size);
    (void)close(fd);
}

static void take(struct roll_end whose) {
    char file[ROLL_FILE_MAX];
    roll_file(file, whose, "rx");
    assert_int_equal(unlinkat(work.roll.dir, file, 0), 0);
}

static struct work_rx worker(struct roll_end whose, uint32_t number) {
    struct work_rx rx = {
        .version = WORK_VERSION, .worker = number, .node = whose.node, .number = whose.number};
    memcpy(rx.magic, WORK_RX_MAGIC, sizeof rx.magic);
    return rx;
}

static void who_has_no_file_is_dead(void **state) {
    (void)state;
    assert_true(crew_gone(&work, WORKER));
}

static void a_file_that_lies_is_no_workers(void **state) {
    (void)state;
    uint32_t life = 1;
    pid_t guest = guest_invite(guest_stay, &life);
    const struct roll_end whose = {guest_board->id, life};
    struct work_rx rx = worker(whose, WORKER);
    put(whose, &rx, sizeof rx - 1);
    assert_true(crew_gone(&work, WORKER));
    rx.magic[0] ^= 1;
    put(whose, &rx, sizeof rx);
    assert_true(crew_gone(&work, WORKER));
    rx.magic[0] ^= 1;
    rx.node++;
    put(whose, &rx, sizeof rx);
    assert_true(crew_gone(&work, WORKER));
    rx.node--;
    rx.number++;
    put(whose, &rx, sizeof rx);
    assert_true(crew_gone(&work, WORKER));
    rx.number--;
    put(whose, &rx, sizeof rx);
    assert_false(crew_gone(&work, WORKER));
    guest_kill(guest);
    assert_true(crew_gone(&work, WORKER));
    take(whose);
}

static void while_a_file_cannot_be_read_nobody_unknown_is_dead(void **state) {
    (void)state;
    char file[ROLL_FILE_MAX];
    const struct roll_end before = {0x1233, 1}, behind = {0x1235, 1};
    const struct work_rx rx = {.worker = WORKER}; /* no worker's */
    put(before, &rx, sizeof rx);
    roll_file(file, (struct roll_end){0x1234, 1}, "rx");
    assert_int_equal(symlinkat("nowhere", work.roll.dir, file), 0);
    put(behind, &rx, sizeof rx);
    assert_false(crew_gone(&work, WORKER));
    take(before);
    take(behind);
    assert_int_equal(unlinkat(work.roll.dir, file, 0), 0);
    assert_true(crew_gone(&work, WORKER));
}

static void while_nothing_can_be_listed_nobody_unknown_is_dead(void **state) {
    (void)state;
    int dir = work.roll.dir;
    work.roll.dir = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_false(crew_gone(&work, WORKER));
    (void)close(work.roll.dir);
    work.roll.dir = dir;
    assert_true(crew_gone(&work, WORKER));
}

/* Of one whose process is gone from the registry nothing is left to say; of one whose file there is damaged nothing can be said. */
static void a_worker_without_a_process_is_dead(void **state) {
    (void)state;
    uint32_t life = 1;
    pid_t guest = guest_invite(guest_stay, &life);
    const struct roll_end whose = {guest_board->id, life};
    const struct work_rx rx = worker(whose, WORKER);
    char node[NODE_NAME_MAX], path[NODE_NAME_MAX + 8];
    put(whose, &rx, sizeof rx);
    guest_kill(guest);
    node_name(node, whose.node);
    (void)snprintf(path, sizeof path, "node/%s", node);
    int fd = openat(room_dir, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "no process", 10), 10);
    (void)close(fd);
    assert_false(crew_gone(&work, WORKER));
    assert_int_equal(unlinkat(room_dir, path, 0), 0);
    assert_true(crew_gone(&work, WORKER));
    take(whose);
}

/* Its file goes with it; who is known stays known for as long as no other is asked about. */
static void who_has_left_is_forgotten(void **state) {
    (void)state;
    uint32_t life = 1;
    pid_t guest = guest_invite(guest_stay, &life);
    struct roll_end whose[12];
    for (uint32_t i = 0; i < 12; i++) { /* more than there is room for at first */
        whose[i] = (struct roll_end){guest_board->id, i + 1};
        const struct work_rx rx = worker(whose[i], WORKER + i);
        put(whose[i], &rx, sizeof rx);
    }
    for (uint32_t i = 0; i < 12; i++) {
        assert_false(crew_gone(&work, WORKER + i));
    }
    assert_int_equal(work.crew.count, 12);
    take(whose[0]);
    assert_false(crew_gone(&work, WORKER));
    assert_true(crew_gone(&work, WORKER + 12));
    assert_int_equal(work.crew.count, 11);
    assert_true(crew_gone(&work, WORKER));
    guest_kill(guest);
    for (uint32_t i = 1; i < 12; i++) {
        assert_true(crew_gone(&work, WORKER + i));
        take(whose[i]);
    }
}

int main(void) {
#define IN_A_HALL(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        IN_A_HALL(who_has_no_file_is_dead),
        IN_A_HALL(a_file_that_lies_is_no_workers),
        IN_A_HALL(while_a_file_cannot_be_read_nobody_unknown_is_dead),
        IN_A_HALL(while_nothing_can_be_listed_nobody_unknown_is_dead),
        IN_A_HALL(a_worker_without_a_process_is_dead),
        IN_A_HALL(who_has_left_is_forgotten),
    };
    return cmocka_run_group_tests(tests, guest_begin, room_end);
}
