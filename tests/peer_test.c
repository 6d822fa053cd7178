/* SPDX-License-Identifier: MIT
 *
 * What a process sees of the others in the registry: their lines, and files that are no nodes.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/thirl.h"
#include "mem/nodefile.h"
#include "tests/guest.h"

/* ---- lines ---- */

struct seen {
    unsigned count, dead, linked;
    char last[NODE_ADDRESS_MAX];
};

static int see(void *context, const struct node_line *line) {
    struct seen *seen = context;
    seen->count++;
    seen->dead += !line->alive;
    if (strcmp(line->end->address, seen->last) < 0 || strcmp(proc_name(line->exe), "peer_test") != 0) return -1;
    if (line->end->state == NODE_END_LINKED) seen->linked += strcmp(line->end->peer, "pid 7 (friend)") == 0;
    (void)snprintf(seen->last, sizeof seen->last, "%s", line->end->address);
    return 0;
}

static int open_many(void *nothing) {
    (void)nothing;
    for (int i = 0; i < 300; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "shm://%d", (i * 37) % 300);
        struct node_end *end = guest_take(address);
        if (end == NULL || end->out.messages != 0 || end->peer[0] != '\0') return 1;
        end->out.messages = 3;
        if (i % 3 == 0) node_end_peer(end, 7, "friend");
        if (i % 5 == 0) node_end_free(end);
        if (i % 15 == 3) node_end_peer(end, 0, "");
    }
    guest_board->id = node_id();
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 2;
}

static void lists_all_lines(void **state) {
    (void)state;
    pid_t guest = guest_invite(open_many, NULL);
    assert_true(node_dir() >= 0);
    unsigned before = room_descriptors();
    struct seen seen = {.count = 0};
    assert_int_equal(node_list(see, &seen), 0);
    /* A line that was given back is used again at once, so one in five is not left; the last one is. */
    assert_int_equal(seen.count, 300 - 60);
    assert_int_equal(seen.dead, 0);
    assert_true(seen.linked > 50 && seen.linked < 100);
    guest_kill(guest);
    seen = (struct seen){.count = 0};
    assert_int_equal(node_list(see, &seen), 0);
    assert_int_equal(seen.count, 300 - 60);
    assert_int_equal(seen.dead, seen.count);
    assert_int_equal(room_descriptors(), before);
    guest_bury();
}

static int open_too_many(void *nothing) {
    struct node_end *end, *first = guest_take("shm://first");
    (void)nothing;
    int opened = 1;
    for (int rc = 0; rc == 0; opened += rc == 0) {
        rc = node_end_take(&end, "shm://x", THIRL_PAIR, true);
        if (rc != 0 && rc != -EMFILE) return 1;
    }
    if (opened != NODE_ENDS) return 2;
    if (node_end_take(&end, "unix://x", THIRL_PAIR, false) != 0 || strcmp(end->address, "unix://x") != 0) return 4;
    node_end_free(end); /* which stands in no file */
    node_end_free(first);
    return guest_take("shm://again") == first ? 0 : 3;
}

static void has_a_last_line(void **state) {
    (void)state;
    assert_int_equal(room_run(open_too_many, NULL), 0);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
}

static void *take_one(void *slot) {
    *(struct node_end **)slot = guest_take("shm://x");
    return (void *)(uintptr_t)node_id();
}

static int join_in_threads(void *nothing) {
    pthread_t thread[8];
    struct node_end *end[8];
    void *id;
    (void)nothing;
    for (int i = 0; i < 8; i++) {
        if (pthread_create(&thread[i], NULL, take_one, &end[i]) != 0) return 1;
    }
    for (int i = 0; i < 8; i++) {
        if (pthread_join(thread[i], &id) != 0 || (uintptr_t)id != node_id() || end[i] == NULL) return 2;
        for (int j = 0; j < i; j++) {
            if (end[i] == end[j]) return 3;
        }
    }
    for (int i = 0; i < 8; i++) node_end_free(end[i]);
    exit(0);
}

static void threads_join_once(void **state) {
    (void)state;
    for (int i = 0; i < 30; i++) assert_int_equal(room_run(join_in_threads, NULL), 0);
    assert_int_equal(room_entries("node"), 0);
}

/* ---- what is not a node ---- */

static int make(const char *name, const struct node_file *front, off_t size) {
    char path[64];
    (void)snprintf(path, sizeof path, "node/%s", name);
    int fd = openat(room_dir, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    if (front != NULL) assert_int_equal(pwrite(fd, front, sizeof *front, 0), sizeof *front);
    return fd;
}

static void drop(const char *name, int fd) {
    char path[64];
    (void)snprintf(path, sizeof path, "node/%s", name);
    close(fd);
    assert_int_equal(unlinkat(room_dir, path, 0), 0);
}

#define STRANGE "00000000000000ff"
#define STRANGE_ID 0xff

/* The others are still seen, and the file itself is refused with that code. */
static void assert_refused(int code) {
    struct node_peer peer;
    struct seen seen = {.count = 0};
    unsigned before = room_descriptors();
    assert_int_equal(node_peer_open(&peer, STRANGE_ID, 1), code);
    assert_false(node_alive(STRANGE_ID));
    assert_int_equal(node_list(see, &seen), 0);
    assert_int_equal(seen.count, 1);
    assert_int_equal(room_descriptors(), before);
}

static void refuses_garbage(void **state) {
    static struct node_file file = {
        .magic = NODE_MAGIC, .version = NODE_VERSION, .size = sizeof file, .id = STRANGE_ID};
    uint32_t number = 1;
    (void)state;
    file.end_size = sizeof(struct node_end);
    pid_t guest = guest_invite(guest_stay, &number);
    off_t sizes[] = {0, 1, 100, sizeof file - 1, sizeof file, NODE_FILE_SIZE};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int fd = make(STRANGE, NULL, sizes[i]);
        assert_refused(-THIRL_EFORMAT);
        drop(STRANGE, fd);
    }
    for (int i = 0; i < 3; i++) {
        struct node_file other = file;
        other.version += i == 0;
        other.size -= i == 1;
        other.end_size += i == 2 ? 64 : 0;
        int fd = make(STRANGE, &other, NODE_FILE_SIZE);
        assert_refused(-THIRL_EVERSION);
        drop(STRANGE, fd);
    }
    file.ends = UINT32_MAX; /* more lines than the file has: they are not read, and its process is dead */
    int fd = make(STRANGE, &file, (off_t)(sizeof file + 3 * sizeof(struct node_end)));
    assert_refused(-ESRCH);
    drop(STRANGE, fd);
    assert_int_equal(mkfifoat(room_dir, "node/" STRANGE, 0600), 0);
    assert_refused(-THIRL_EFORMAT);
    drop(STRANGE, -1);
    assert_int_equal(symlinkat("/etc/passwd", room_dir, "node/" STRANGE), 0);
    struct node_peer peer;
    assert_int_equal(node_peer_open(&peer, STRANGE_ID, 1), -ELOOP);
    struct seen seen = {.count = 0};
    assert_int_equal(node_list(see, &seen), 0);
    assert_int_equal(seen.count, 1);
    drop(STRANGE, -1);
    const char *foreign[] = {"hello", "ff", ".x", "00000000000000FF", "00000000000000ff.tx", "0000000000000000"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        unsigned count[2] = {0, 0};
        fd = make(foreign[i], NULL, 10);
        assert_int_equal(node_each(guest_count, count), 0);
        assert_int_equal(count[1], 1);
        drop(foreign[i], fd);
    }
    guest_kill(guest);
    guest_bury();
}

/* What a node says of the life of its threads is believed only where it can be so. */
static void lies_about_lives_cost_a_look(void **state) {
    uint32_t number = 1, at = 0, word = 0;
    struct node_peer peer;
    char path[64] = "node/";
    (void)state;
    pid_t guest = guest_invite(guest_stay, &number);
    node_name(path + 5, guest_board->id);
    int fd = openat(room_dir, path, O_RDWR | O_CLOEXEC);
    const off_t says = offsetof(struct node_file, life_at);
    assert_int_equal(pread(fd, &at, sizeof at, says), sizeof at);
    const off_t life = (off_t)(offsetof(struct node_file, life) + sizeof(struct node_life) + at);
    assert_int_equal(pread(fd, &word, sizeof word, life), sizeof word);
    const uint32_t lies[] = {2, sizeof(struct node_life), UINT32_MAX - 3};
    for (int i = 0; i < 4; i++) {
        uint32_t dead = word | ROBUST_DIED;
        assert_int_equal(pwrite(fd, i < 3 ? &lies[i] : &at, sizeof at, says), sizeof at);
        assert_int_equal(pwrite(fd, i < 3 ? &word : &dead, sizeof word, life), sizeof word);
        assert_int_equal(node_peer_open(&peer, guest_board->id, number), 0);
        assert_null(peer.life);
        assert_true(peer.doubt != 0 && node_peer_alive(&peer) && peer.doubt != 0);
        peer.doubt = 1; /* long ago */
        assert_true(node_peer_alive(&peer) && peer.doubt == 0);
        node_peer_close(&peer);
    }
    assert_int_equal(pwrite(fd, &word, sizeof word, life), sizeof word);
    assert_int_equal(node_peer_open(&peer, guest_board->id, number), 0);
    assert_non_null(peer.life);
    node_peer_close(&peer);
    peer.fd = fd; /* a peer that is closed holds nothing, whatever stands in it */
    node_peer_close(&peer);
    node_peer_lean(&peer);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    close(fd);
    guest_kill(guest);
    guest_bury();
}

static int lock_it(void *nothing) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)nothing;
    int fd = openat(room_dir, "node/" STRANGE, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0) return 1;
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 2;
}

/* A lock that no process has, as one of another PID namespace seems to be, holds a file and names nobody. */
static void names_the_holder_of_a_file(void **state) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)state;
    int fd = make(STRANGE, NULL, 100), other = openat(room_dir, "node/" STRANGE, O_RDWR | O_CLOEXEC);
    assert_int_equal(node_file_holder(fd), 0);
    assert_int_equal(fcntl(other, F_OFD_SETLK, &lock), 0);
    assert_int_equal(node_file_holder(fd), 0);
    assert_true(node_alive(STRANGE_ID));
    close(other);
    assert_false(node_alive(STRANGE_ID));
    pid_t guest = guest_invite(lock_it, NULL);
    assert_int_equal(node_file_holder(fd), guest);
    guest_kill(guest);
    drop(STRANGE, fd);
}

static int enough(void *count, uint64_t id, bool alive) {
    (void)id;
    (void)alive;
    ++*(int *)count;
    return 7;
}

static void a_look_ends_where_it_is_told_to(void **state) {
    int count = 0, one = make(STRANGE, NULL, 10), two = make("00000000000000fe", NULL, 10);
    (void)state;
    assert_int_equal(node_each(enough, &count), 7);
    assert_int_equal(count, 1);
    drop(STRANGE, one);
    drop("00000000000000fe", two);
}

static int lock_unfinished(void *nothing) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)nothing;
    int fd = openat(room_dir, "node/." STRANGE, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0) return 1;
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 2;
}

static void clears_what_was_never_finished(void **state) {
    (void)state;
    close(make("." STRANGE, NULL, 100));
    pid_t guest = guest_invite(lock_unfinished, NULL);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
    assert_int_equal(room_entries("node"), 1); /* its maker is alive */
    guest_kill(guest);
    assert_int_equal(node_each(guest_sweep, NULL), 0);
    assert_int_equal(room_entries("node"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lists_all_lines, guest_clear),
        cmocka_unit_test_setup(has_a_last_line, guest_clear),
        cmocka_unit_test_setup(threads_join_once, guest_clear),
        cmocka_unit_test_setup(refuses_garbage, guest_clear),
        cmocka_unit_test_setup(clears_what_was_never_finished, guest_clear),
        cmocka_unit_test_setup(lies_about_lives_cost_a_look, guest_clear),
        cmocka_unit_test_setup(names_the_holder_of_a_file, guest_clear),
        cmocka_unit_test_setup(a_look_ends_where_it_is_told_to, guest_clear),
    };
    return cmocka_run_group_tests(tests, guest_begin, room_end);
}
