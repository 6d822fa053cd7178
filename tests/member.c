/* SPDX-License-Identifier: MIT
 *
 * Joining channels, see member.h.
 */
#define _GNU_SOURCE
#include "tests/member.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

struct member_board *member_board;
struct node_end *member_line;
const char *member_name = "x";
unsigned member_mode = 0600;

int member_begin(void **state) {
    member_board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return member_board == MAP_FAILED ? -1 : room_begin(state);
}

static int erase(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    return where->level == 0 ? 0 : remove(path);
}

int member_clear(void **state) {
    (void)state;
    memset(member_board, 0, sizeof *member_board);
    return nftw(room_path, erase, 16, FTW_DEPTH | FTW_PHYS);
}

int member_open_to_all(void) {
    static const char *const below[] = {"", "/node", "/chan"};
    char path[160];
    umask(0);
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        (void)snprintf(path, sizeof path, "%s%s", room_path, below[i]);
        CHECK((mkdir(path, 0777) == 0 || errno == EEXIST) && chmod(path, 0777) == 0);
    }
    return 0;
}

bool member_wait(const uint32_t *word, uint32_t value) {
    for (int64_t until = clock_now() + 20 * CLOCK_S; atomic_load(word) < value;) {
        if (clock_now() > until) return false;
        room_sleep(20 * CLOCK_US);
    }
    return true;
}

int member_files(const struct roll *roll) {
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

int member_join_within(struct roll *roll, const char *name, enum roll_pattern pattern, bool writes, bool reads,
                       int64_t ns) {
    if (node_id() == 0 && node_end_take(&member_line, "shm://x", THIRL_PAIR, true) != 0) return -1;
    int rc = roll_begin(roll, "shm", name, pattern, writes, reads, member_mode, clock_now() + ns);
    if (rc != 0) return rc;
    rc = member_files(roll);
    if (rc != 0) {
        roll_cancel(roll);
        return rc;
    }
    return roll_finish(roll);
}

int member_join(struct roll *roll, const char *name) {
    return member_join_within(roll, name, ROLL_PAIR, true, true, 10 * CLOCK_S);
}

void member_leave(struct roll *roll) {
    roll_leave(roll);
    roll_deinit(roll);
}

int member_entries(const char *name) {
    char path[512];
    (void)snprintf(path, sizeof path, "chan/%s", name);
    return room_entries(path);
}

/* A guest that has joined: stays until it is told to go, and leaves. */
static int stay(void *nothing) {
    struct roll roll;
    (void)nothing;
    CHECK(member_join_within(&roll, member_name, ROLL_PAIR, true, true, 10 * CLOCK_S) == 0);
    member_board->id = node_id();
    (void)atomic_add(&member_board->ready, 1);
    CHECK(member_wait(&member_board->go, 1));
    member_leave(&roll);
    return 0;
}

pid_t member_invite(void) {
    uint32_t before = atomic_load(&member_board->ready);
    atomic_store(&member_board->go, 0);
    pid_t guest = room_fork(stay, NULL);
    return member_wait(&member_board->ready, before + 1) ? guest : -1;
}
