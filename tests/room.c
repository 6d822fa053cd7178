/* SPDX-License-Identifier: MIT
 *
 * What the tests of single rooms share, see room.h.
 */
#define _GNU_SOURCE
#include "tests/room.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"

char room_path[64];
int room_dir = -1;

int room_begin(void **state) {
    (void)state;
    bool shm = access("/dev/shm", W_OK) == 0;
    (void)snprintf(room_path, sizeof room_path, "%s/thirl-room.XXXXXX", shm ? "/dev/shm" : "/tmp");
    if (mkdtemp(room_path) == NULL || setenv("THIRL_DIR", room_path, 1) != 0) {
        return -1;
    }
    room_dir = open(room_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return room_dir < 0 ? -1 : 0;
}

static int erase(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

int room_end(void **state) {
    (void)state;
    close(room_dir);
    return nftw(room_path, erase, 16, FTW_DEPTH | FTW_PHYS);
}

pid_t room_fork(int (*body)(void *), void *argument) {
    pid_t child = fork();
    if (child == 0) {
        (void)alarm(100); /* a machine may be busy, but not for ever */
        _exit(body(argument));
    }
    return child;
}

int room_reap(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int room_watch(pid_t child) {
    int status;
    bool stopped = false;
    while (waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status)) {
        stopped = true;
        room_sleep(120 * CLOCK_MS);
        (void)kill(child, SIGCONT);
    }
    int end = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return stopped && end == 0 ? -1 : end;
}

bool room_fated(int status, bool killed) {
    return status == 0 || status == (killed ? 128 + SIGKILL : -1);
}

int room_run(int (*body)(void *), void *argument) {
    return room_reap(room_fork(body, argument));
}

static int count(const char *path) {
    DIR *dir = opendir(path);
    int found = 0;
    if (dir == NULL) {
        return -1;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        bool dots = entry->d_name[0] == '.' &&
                    (entry->d_name[1] == '\0' || (entry->d_name[1] == '.' && entry->d_name[2] == '\0'));
        found += !dots;
    }
    (void)closedir(dir);
    return found;
}

unsigned room_descriptors(void) {
    return (unsigned)count("/proc/self/fd") - 1; /* without the one that counts */
}

int room_entries(const char *below) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", room_path, below);
    return count(path);
}

bool room_is_brief(void) {
    const char *brief = getenv("BRIEF");
    return brief != NULL && *brief != '\0';
}

uint64_t room_dice(uint64_t below) {
    static _Thread_local uint64_t seed;
    if (seed == 0) {
        seed = (uint64_t)clock_now() ^ (uint64_t)(uintptr_t)&seed << 20;
    }
    uint64_t x = seed += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) % below;
}

void room_sleep(int64_t ns) {
    struct timespec left = clock_spec(ns);
    while (nanosleep(&left, &left) != 0) continue;
}

unsigned char *room_ring(size_t size) {
#if defined(__SANITIZE_THREAD__)
    return aligned_alloc(CACHE_LINE, 2 * size);
#else
    int fd = memfd_create("ring", MFD_CLOEXEC);
    unsigned char *ring = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || ring == MAP_FAILED) return NULL;
    for (size_t i = 0; i < 2; i++) {
        void *part = mmap(ring + i * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
        if (part == MAP_FAILED) return NULL;
    }
    (void)close(fd);
    return ring;
#endif
}

int room_only(const char *pattern, char path[ROOM_FILE]) {
    glob_t found;
    char all[ROOM_FILE];
    (void)snprintf(all, sizeof all, "%s/chan/*/%s", room_path, pattern);
    int rc = glob(all, 0, NULL, &found) == 0 && found.gl_pathc == 1 ? 0 : 1;
    if (rc == 0) {
        (void)snprintf(path, ROOM_FILE, "%s", found.gl_pathv[0]);
    }
    globfree(&found);
    return rc;
}
