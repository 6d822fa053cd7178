/* SPDX-License-Identifier: MIT
 *
 * Processes in the registry: they join, are alive until they die, are told of, and keep their locks.
 */
#define _GNU_SOURCE
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
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/futex.h"
#include "include/thirl/thirl.h"
#include "mem/nodefile.h"
#include "tests/guest.h"

static int64_t death_takes(uint64_t id) {
    int64_t began = clock_now();
    while (node_alive(id) && clock_now() - began < 5 * CLOCK_S) room_sleep(100 * CLOCK_US);
    return clock_now() - began;
}

/* ---- names ---- */

static void names_are_read_back(void **state) {
    (void)state;
    for (int i = 0; i < 1000; i++) {
        char name[NODE_NAME_MAX];
        uint64_t id = 1 + room_dice(UINT64_MAX), back;
        node_name(name, id);
        assert_int_equal(strlen(name), 16);
        assert_true(node_parse(name, 16, &back));
        assert_true(back == id);
        assert_false(node_parse(name, 15, &back));
    }
    uint64_t id;
    assert_false(node_parse("0000000000000000", 16, &id));
    assert_false(node_parse("00000000000000AB", 16, &id));
    assert_false(node_parse("0x00000000000001", 16, &id));
    assert_false(node_parse(" 000000000000001", 16, &id));
    assert_false(node_parse("000000000\0000001", 16, &id));
    assert_false(node_parse("00000000000000001", 17, &id));
    assert_false(node_parse("", 0, &id));
}

/* ---- the directory ---- */

static int count_line(void *context, const struct node_line *line) {
    (void)line;
    (*(unsigned *)context)++;
    return 0;
}

static int join_below(void *below) {
    char path[512];
    struct stat status;
    unsigned lines = 0;
    (void)snprintf(path, sizeof path, "%s/%s", room_path, (const char *)below);
    (void)setenv("THIRL_DIR", path, 1);
    if (node_dir() != -ENOENT || node_id() != 0) return 1;
    if (node_list(count_line, &lines) != 0 || lines != 0) return 2; /* no registry is an empty one */
    if (guest_take("shm://x") == NULL || node_id() == 0 || node_dir() < 0) return 3;
    if (stat(path, &status) != 0 || (status.st_mode & 07777) != 0700) return 4;
    if (node_list(count_line, &lines) != 0 || lines != 1) return 5;
    (void)snprintf(path, sizeof path, "%s/node", (const char *)below);
    if (room_entries(path) != 1) return 6;
    (void)snprintf(path, sizeof path, "%s/chan", (const char *)below);
    return room_entries(path) == 0 ? 0 : 7;
}

static void makes_its_directory(void **state) {
    (void)state;
    assert_int_equal(room_run(join_below, (void *)(uintptr_t) "deep/er"), 0);
}

/* A name of nothing is none. */
static int join_unnamed(void *nothing) {
    char path[64], usual[64], is[64] = "";
    (void)nothing;
    (void)setenv("THIRL_DIR", "", 1);
    (void)snprintf(usual, sizeof usual, "/dev/shm/thirl-%u", (unsigned)geteuid());
    int dir = node_dir();
    if (dir < 0) return dir == -ENOENT && strstr(thirl_why(), usual) != NULL ? 0 : 1;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", dir);
    return readlink(path, is, sizeof is - 1) > 0 && strcmp(is, usual) == 0 ? 0 : 2;
}

/* What is below one that a group shares is shared, too. */
static int join_for_a_group(void *nothing) {
    char path[128];
    struct stat status;
    (void)nothing;
    (void)snprintf(path, sizeof path, "%s/group", room_path);
    if (mkdir(path, 0700) != 0 || chmod(path, 02770) != 0 || setenv("THIRL_DIR", path, 1) != 0) return 1;
    if (guest_take("shm://x") == NULL || fstatat(room_dir, "group/node", &status, 0) != 0) return 2;
    return (status.st_mode & 07777) == 02770 ? 0 : 3;
}

static void takes_the_usual_directory_and_a_shared_one(void **state) {
    (void)state;
    assert_int_equal(room_run(join_unnamed, NULL), 0);
    assert_int_equal(room_run(join_for_a_group, NULL), 0);
}

/* ---- parts of the file ---- */

static int has_no_part(void *nothing) {
    (void)nothing;
    return node_part(NODE_SLIPS, 1) == NULL ? 0 : 1;
}

static int takes_parts(void *nothing) {
    (void)nothing;
    if (has_no_part(NULL) != 0 || guest_take("shm://x") == NULL) return 1; /* who has not joined */
    const struct node_part_place *place = &node_part_places[NODE_SLIPS];
    void *slips = node_part(NODE_SLIPS, 0);
    if (slips == NULL || node_file()->has[NODE_SLIPS] != place->step) return 2;
    if (node_part(NODE_SLIPS, place->step) != slips || node_file()->has[NODE_SLIPS] != place->step) return 3;
    if (node_part(NODE_SLIPS, place->step + 1) != slips || node_file()->has[NODE_SLIPS] != 2 * place->step) return 4;
    if (node_part(NODE_SLIPS, place->most) != slips || node_part(NODE_SLIPS, place->most + 1) != NULL) return 5;
    return room_run(has_no_part, NULL); /* and who was forked from one that has */
}

static void parts_grow_up_to_what_there_may_be(void **state) {
    (void)state;
    assert_int_equal(room_run(takes_parts, NULL), 0);
}

/* With an end that needs no registry, and with one that does. */
static int cannot_join(int code) {
    struct node_end *end = NULL;
    if (node_end_take(&end, "shm://x", THIRL_PAIR, true) != code || node_id() != 0 || *thirl_why() == '\0') return 1;
    if (node_end_take(&end, "unix://x", THIRL_PAIR, false) != 0 || end == NULL) return 2;
    bool filled = strcmp(end->address, "unix://x") == 0 && end->role == THIRL_PAIR && end->state == NODE_END_WAITING;
    node_end_free(end);
    return filled ? 0 : 3;
}

static int join_in_a_file(void *nothing) {
    char path[128];
    (void)nothing;
    (void)snprintf(path, sizeof path, "%s/file", room_path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || setenv("THIRL_DIR", path, 1) != 0) return 9;
    close(fd);
    int rc = cannot_join(-ENOTDIR);
    return unlink(path) == 0 ? rc : 8;
}

static int join_too_deep(void *nothing) {
    char path[2000];
    (void)nothing;
    memset(path, 'a', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    (void)setenv("THIRL_DIR", path, 1);
    return cannot_join(-ENAMETOOLONG);
}

static int join_without_files(void *nothing) {
    const struct rlimit limit = {65536, 65536};
    (void)nothing;
    return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? cannot_join(-EFBIG) : 9;
}

static int join_without_descriptors(void *spare) {
    int next = dup(0);
    close(next);
    const struct rlimit limit = {(rlim_t)next + (spare != NULL), 1024};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 9;
    return cannot_join(-EMFILE);
}

static void says_why_it_cannot_join(void **state) {
    (void)state;
    assert_int_equal(room_run(join_in_a_file, NULL), 0);
    assert_int_equal(room_run(join_too_deep, NULL), 0);
    assert_int_equal(room_run(join_without_files, NULL), 0);
    assert_int_equal(room_run(join_without_descriptors, NULL), 0);
    assert_int_equal(room_run(join_without_descriptors, guest_board), 0); /* one is left: for the directory */
}

/* ---- alive and dead ---- */

static void is_alive_until_it_dies(void **state) {
    uint32_t number = 1;
    (void)state;
    int64_t least = INT64_MAX;
    assert_false(node_alive(UINT64_C(0x123456789abcdef0)));
    for (int i = 0; i < 5; i++) {
        pid_t guest = guest_invite(guest_stay, &number);
        assert_true(node_alive(guest_board->id));
        assert_int_equal(kill(guest, SIGSTOP), 0);
        room_sleep(60 * CLOCK_MS);
        assert_true(node_alive(guest_board->id));
        if (i % 2) assert_int_equal(kill(guest, SIGCONT), 0);
        assert_int_equal(kill(guest, SIGKILL), 0);
        /* A zombie until it is waited for below. */
        int64_t took = death_takes(guest_board->id);
        assert_true(took < 2 * CLOCK_S);
        least = took < least ? took : least;
        assert_int_equal(room_reap(guest), 128 + SIGKILL);
        assert_false(node_alive(guest_board->id));
        guest_bury();
    }
    assert_true(least < 50 * CLOCK_MS); /* any single one may meet a busy machine */
}

/* Everything that could close a descriptor of a node file. */
static bool ask_everything(uint64_t id) {
    struct node_peer peer;
    unsigned count[2] = {0, 0}, lines = 0;
    if (!node_alive(id) || node_peer_open(&peer, id, 1) != 0) return false;
    bool fine = node_peer_alive(&peer) && peer.pid > 0 && peer.uid == geteuid();
    node_peer_close(&peer);
    return fine && node_each(guest_count, count) == 0 && node_list(count_line, &lines) == 0 && lines > 0;
}

static int ask_itself(void *nothing) {
    (void)nothing;
    if (guest_take("shm://guest") == NULL) return 1;
    guest_board->id = node_id();
    for (int i = 0; i < 20; i++) {
        if (!ask_everything(guest_board->id)) return 2;
    }
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 3;
}

static void keeps_its_lock_whoever_asks(void **state) {
    (void)state;
    pid_t guest = guest_invite(ask_itself, NULL);
    for (int i = 0; i < 20; i++) assert_true(ask_everything(guest_board->id));
    assert_true(node_alive(guest_board->id));
    guest_kill(guest);
    assert_false(node_alive(guest_board->id));
    guest_bury();
}

/* A node that another copy of the library in this program made: its lock must survive this copy, joined or not. */
static int have_a_double(void *join) {
    struct proc self;
    proc_self(&self);
    guest_board->id = (uint64_t)proc_number(&self) << 32 | 7;
    char name[NODE_NAME_MAX], path[64];
    node_name(name, guest_board->id);
    (void)snprintf(path, sizeof path, "node/%s", name);
    int fd = openat(room_dir, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0) return 1;
    if (join != NULL && guest_take("shm://x") == NULL) return 2;
    unsigned count[2] = {0, 0}, lines = 0;
    struct node_peer peer;
    if (node_each(guest_count, count) != 0 || count[0] != 0 || node_list(count_line, &lines) != 0) return 3;
    if (!node_alive(guest_board->id) || node_peer_open(&peer, guest_board->id, 1) != 0 || peer.pid != getpid())
        return 4;
    node_peer_close(&peer);
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 5;
}

static void spares_its_doubles(void **state) {
    (void)state;
    for (int join = 0; join < 2; join++) {
        pid_t guest = guest_invite(have_a_double, join ? guest_board : NULL);
        assert_true(node_alive(guest_board->id));
        guest_kill(guest);
        assert_false(node_alive(guest_board->id));
        guest_bury();
    }
}

/* ---- fork and exit ---- */

static int be_a_child(void *parent) {
    uint64_t id = *(uint64_t *)parent;
    if (node_id() != 0 || node_file() != NULL || !node_alive(id)) return 1;
    if (guest_take("shm://child") == NULL || node_id() == 0 || node_id() == id) return 2;
    struct node_peer peer;
    if (node_peer_open(&peer, id, 3) != 0 || peer.pid != getppid()) return 3;
    node_peer_close(&peer);
    return node_alive(id) && ask_everything(node_id()) ? 0 : 4;
}

static int be_a_parent(void *nothing) {
    (void)nothing;
    if (guest_take("shm://parent") == NULL) return 1;
    guest_board->id = node_id();
    for (int i = 0; i < 5; i++) {
        int rc = room_run(be_a_child, &guest_board->id);
        if (rc != 0) return 10 + rc;
    }
    if (node_id() != guest_board->id || node_file() == NULL) return 2;
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 3;
}

static void children_have_their_own(void **state) {
    (void)state;
    pid_t guest = guest_invite(be_a_parent, NULL);
    assert_true(node_alive(guest_board->id));
    guest_kill(guest);
    assert_int_equal(room_entries("node"), 6);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
    assert_int_equal(room_entries("node"), 0);
}

static int leave_in_order(void *open) {
    struct node_end *one = guest_take("shm://one"), *two = guest_take("shm://two");
    if (one == NULL || two == NULL) return 1;
    node_end_free(one);
    if (open == NULL) node_end_free(two);
    guest_board->id = node_id();
    exit(0);
}

static void takes_its_file_along(void **state) {
    (void)state;
    assert_int_equal(room_run(leave_in_order, NULL), 0);
    assert_int_equal(room_entries("node"), 0);
    /* With an end still open, the file stays, for it leads the next sweep to what that end has left. */
    assert_int_equal(room_run(leave_in_order, guest_board), 0);
    assert_int_equal(room_entries("node"), 1);
    assert_false(node_alive(guest_board->id));
    guest_bury();
}

/* ---- life words ---- */

struct sleep {
    struct node_peer peer;
    int64_t woke;
    int rc;
};

static void *sleep_on_life(void *argument) {
    struct sleep *sleep = argument;
    sleep->rc = futex_wait(sleep->peer.life, sleep->peer.life_value, clock_now() + 10 * CLOCK_S);
    sleep->woke = clock_now();
    return NULL;
}

static void death_wakes(void **state) {
    uint32_t number = 5;
    (void)state;
    for (int i = 0; i < 5; i++) {
        struct sleep sleep;
        pthread_t thread;
        pid_t guest = guest_invite(guest_stay, &number);
        assert_int_equal(node_peer_open(&sleep.peer, guest_board->id, 5 + NODE_LIVES), 0); /* the same word */
        assert_int_equal(sleep.peer.pid, guest);
        assert_string_equal(proc_name(sleep.peer.exe), "node_test");
        if (sleep.peer.life == NULL) {
            node_peer_close(&sleep.peer);
            guest_kill(guest);
            print_message("skip: this C library has no life words\n");
            skip();
        }
        assert_false(node_peer_changed(&sleep.peer));
        assert_int_equal(pthread_create(&thread, NULL, sleep_on_life, &sleep), 0);
        room_sleep(10 * CLOCK_MS);
        assert_false(node_peer_changed(&sleep.peer));
        int64_t killed = clock_now();
        assert_int_equal(kill(guest, SIGKILL), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(sleep.rc == 0 || sleep.rc == -EAGAIN);
        assert_true(sleep.woke - killed < CLOCK_S);
        assert_true(node_peer_changed(&sleep.peer));
        assert_true(death_takes(guest_board->id) < 2 * CLOCK_S); /* the word tells first, the lock follows */
        assert_false(node_peer_alive(&sleep.peer));
        node_peer_close(&sleep.peer);
        assert_int_equal(node_peer_open(&sleep.peer, guest_board->id, 5), -ESRCH);
        assert_int_equal(room_reap(guest), 128 + SIGKILL);
        guest_bury();
    }
}

static void *take_word(void *number) {
    return (void *)(uintptr_t)node_life_word(*(uint32_t *)number);
}

/* The word of a thread that ends is taken over by the next that needs it. */
static int let_threads_end(void *nothing) {
    uint32_t number = 9;
    (void)nothing;
    if (guest_take("shm://guest") == NULL) return 1;
    guest_board->id = node_id();
    pthread_t thread;
    void *word;
    if (pthread_create(&thread, NULL, take_word, &number) != 0 || pthread_join(thread, &word) != 0 || word == NULL)
        return 2;
    uint32_t ended = atomic_load((uint32_t *)word);
    if (node_life_word(number) != word || atomic_load((uint32_t *)word) == ended) return 3;
    if (node_life_word(number) != word) return 4;
    atomic_store(&guest_board->ready, 1);
    while (!guest_wait(&guest_board->go, 20 * CLOCK_S)) return 5;
    return 0;
}

static int hold_in_a_thread(void *nothing) {
    uint32_t number = 9;
    pthread_t thread;
    (void)nothing;
    if (guest_take("shm://guest") == NULL) return 1;
    guest_board->id = node_id();
    if (pthread_create(&thread, NULL, take_word, &number) != 0) return 2;
    if (pthread_join(thread, NULL) != 0) return 3;
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 4;
}

static void threads_may_end(void **state) {
    struct node_peer peer;
    (void)state;
    pid_t guest = guest_invite(let_threads_end, NULL);
    assert_int_equal(node_peer_open(&peer, guest_board->id, 9), 0);
    assert_non_null(peer.life);
    assert_true(node_peer_alive(&peer));
    assert_non_null(peer.life);
    node_peer_close(&peer);
    assert_int_equal(node_peer_open(&peer, guest_board->id, 10), 0); /* which nobody has taken */
    assert_null(peer.life);
    assert_false(node_peer_changed(&peer));
    node_peer_close(&peer);
    guest_kill(guest);
    guest_bury();
    guest = guest_invite(hold_in_a_thread, NULL);
    assert_int_equal(node_peer_open(&peer, guest_board->id, 9), 0);
    assert_null(peer.life); /* its thread has ended, the process has not */
    assert_true(node_peer_alive(&peer));
    node_peer_close(&peer);
    guest_kill(guest);
    guest_bury();
}

/* ---- while others sweep, and joined ---- */

static int join_once(void *nothing) {
    (void)nothing;
    struct node_end *end = guest_take("shm://x");
    if (end == NULL) return 1;
    node_end_free(end);
    exit(0);
}

static int sweep_on(void *nothing) {
    (void)nothing;
    atomic_store(&guest_board->ready, 1);
    while (atomic_load(&guest_board->go) == 0) {
        if (node_each(guest_sweep, NULL) != 0) return 1;
    }
    return 0;
}

static void joins_while_others_sweep(void **state) {
    (void)state;
    pid_t sweeper = guest_invite(sweep_on, NULL);
    for (int i = 0; i < 200; i++) assert_int_equal(room_run(join_once, NULL), 0);
    atomic_store(&guest_board->go, 1);
    assert_int_equal(room_reap(sweeper), 0);
    assert_int_equal(room_entries("node"), 0);
}

/* A sweeper that comes between the making of a file and its naming, so often: this program's own renameat. */
static unsigned sweeps;

int renameat(int from, const char *old, int to, const char *new) {
    if (sweeps != 0 && strncmp(old, "node/.", 6) == 0) {
        sweeps--;
        (void)unlinkat(from, old, 0);
    }
    return (int)syscall(SYS_renameat2, from, old, to, new, 0);
}

static int join_under_a_broom(void *times) {
    sweeps = *(unsigned *)times;
    struct node_end *end = NULL;
    if (sweeps < 8) return node_end_take(&end, "shm://x", THIRL_PAIR, true);
    if (node_end_take(&end, "shm://x", THIRL_PAIR, true) != -EAGAIN) return 1;
    return sweeps == 0 && strstr(thirl_why(), "keeps being swept") != NULL && node_id() == 0 ? 0 : 2;
}

static void says_that_it_is_swept_away_each_time(void **state) {
    unsigned times = 7;
    (void)state;
    assert_int_equal(room_run(join_under_a_broom, &times), 0);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
    times = 8;
    assert_int_equal(room_run(join_under_a_broom, &times), 0);
    assert_int_equal(room_entries("node"), 0);
}

/* From here on this very process has joined: what held before holds still. */
static void joins_itself(void **state) {
    (void)state;
    struct node_end *end = guest_take("shm://self");
    assert_non_null(end);
    uint64_t id = node_id();
    assert_true(node_alive(id));
    assert_int_equal(node_file()->id, id);
    is_alive_until_it_dies(state);
    keeps_its_lock_whoever_asks(state);
    death_wakes(state);
    assert_int_equal(room_run(be_a_child, &id), 0);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
    assert_int_equal(room_entries("node"), 1);
    node_end_free(end);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names_are_read_back, guest_clear),
        cmocka_unit_test_setup(takes_the_usual_directory_and_a_shared_one, guest_clear),
        cmocka_unit_test_setup(says_why_it_cannot_join, guest_clear),
        cmocka_unit_test_setup(makes_its_directory, guest_clear),
        cmocka_unit_test_setup(is_alive_until_it_dies, guest_clear),
        cmocka_unit_test_setup(keeps_its_lock_whoever_asks, guest_clear),
        cmocka_unit_test_setup(spares_its_doubles, guest_clear),
        cmocka_unit_test_setup(children_have_their_own, guest_clear),
        cmocka_unit_test_setup(takes_its_file_along, guest_clear),
        cmocka_unit_test_setup(death_wakes, guest_clear),
        cmocka_unit_test_setup(threads_may_end, guest_clear),
        cmocka_unit_test_setup(joins_while_others_sweep, guest_clear),
        cmocka_unit_test_setup(says_that_it_is_swept_away_each_time, guest_clear),
        cmocka_unit_test_setup(parts_grow_up_to_what_there_may_be, guest_clear),
        cmocka_unit_test_setup(joins_itself, guest_clear),
    };
    return cmocka_run_group_tests(tests, guest_begin, room_end);
}
