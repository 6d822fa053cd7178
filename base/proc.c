/* SPDX-License-Identifier: MIT
 *
 * Process identity from /proc, and the page that fork wipes.
 */
#define _GNU_SOURCE
#include "base/proc.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/fd.h"

static const uint32_t never;
const uint32_t *proc_page = &never;

/* Not wiped by fork: the child's epoch must differ from its parent's. */
static uint32_t last_epoch;
static pthread_mutex_t beginning = PTHREAD_MUTEX_INITIALIZER;

static void lock_before_fork(void) {
    (void)pthread_mutex_lock(&beginning);
}

static void unlock_after_fork(void) {
    (void)pthread_mutex_unlock(&beginning);
}

static uint32_t *make_page(void) {
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    uint32_t *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        (void)err_system(errno, "no memory for the page that tells a forked child from its parent");
        return NULL;
    }
    if (madvise(page, size, MADV_WIPEONFORK) != 0) {
        (void)err_system(errno, "the kernel cannot wipe a page at fork (MADV_WIPEONFORK, Linux 4.14)");
        (void)munmap(page, size);
        return NULL;
    }
    (void)pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
    return page;
}

uint32_t proc_begin(void) {
    uint32_t epoch = atomic_peek(atomic_load(&proc_page)); /* pairs with the store below */
    if (epoch != 0) {
        return epoch;
    }
    (void)pthread_mutex_lock(&beginning);
    static uint32_t *page;
    if (page == NULL) {
        page = make_page();
    }
    if (page != NULL && *page == 0) {
        atomic_store(page, ++last_epoch);
        atomic_store(&proc_page, (const uint32_t *)page); /* after the epoch in it; readers follow the pointer */
    }
    epoch = page == NULL ? 0 : *page;
    (void)pthread_mutex_unlock(&beginning);
    return epoch;
}

/* Reads a small file of /proc into text, NUL-terminated, without its last newline. */
static void slurp(const char *path, char *text, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : fd_read_at(fd, text, size - 1, 0);
    fd_close(&fd);
    text[got > 0 ? got : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
}

/* Field 22 of /proc/self/stat; the second field is the name in parentheses, which may hold anything. */
static uint64_t start_time(void) {
    char text[1024];
    slurp("/proc/self/stat", text, sizeof text);
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* The inode of this process's PID namespace: also where the file itself may not be looked at, its name says it, "pid:[4026531836]". */
static uint64_t own_space(void) {
    static const char file[] = "/proc/self/ns/pid";
    struct stat space;
    char name[40];
    if (stat(file, &space) == 0) {
        return space.st_ino;
    }
    ssize_t length = readlink(file, name, sizeof name - 1);
    name[length > 0 ? length : 0] = '\0';
    const char *number = strchr(name, '[');
    return number == NULL ? 0 : strtoull(number + 1, NULL, 10);
}

static void look_at_self(struct proc *self) {
    *self = (struct proc){.pid = getpid(), .started = start_time(), .pid_space = own_space()};
    slurp("/proc/sys/kernel/random/boot_id", self->boot, sizeof self->boot);
    ssize_t length = readlink("/proc/self/exe", self->exe, sizeof self->exe - 1);
    self->exe[length > 0 ? length : 0] = '\0';
}

/* It is looked for once in each epoch. */
void proc_self(struct proc *self) {
    static struct proc known;
    static uint32_t known_in;
    uint32_t epoch = proc_epoch();
    if (epoch == 0) {
        look_at_self(self);
        return;
    }
    (void)pthread_mutex_lock(&beginning);
    if (known_in != epoch) {
        look_at_self(&known);
        known_in = epoch;
    }
    *self = known;
    (void)pthread_mutex_unlock(&beginning);
}

uint32_t proc_number(const struct proc *self) {
    const uint64_t parts[] = {(uint64_t)self->pid, self->started, self->pid_space};
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a, by words */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        hash = (hash ^ parts[i]) * UINT64_C(1099511628211);
        hash ^= hash >> 29;
    }
    uint32_t number = (uint32_t)(hash ^ (hash >> 32));
    return number == 0 ? 1 : number;
}

const char *proc_name(const char *path) {
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    return *name == '\0' ? "?" : name;
}

uint32_t proc_cpu(void) {
    int cpu = sched_getcpu();
    return cpu < 0 ? UINT32_MAX : (uint32_t)cpu;
}

uint32_t proc_show_cpu(uint32_t *place) {
    uint32_t cpu = proc_cpu();
    if (atomic_peek(place) != cpu) {
        atomic_poke(place, cpu);
    }
    return cpu;
}

char proc_state(int64_t pid, int64_t thread) {
    char path[80], text[1024];
    if (thread == 0) {
        (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    } else {
        (void)snprintf(path, sizeof path, "/proc/%lld/task/%lld/stat", (long long)pid, (long long)thread);
    }
    slurp(path, text, sizeof text);
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && name_end[1] == ' ' ? name_end[2] : '\0';
}

bool proc_ended(int64_t thread) {
    if (syscall(SYS_tkill, (pid_t)thread, 0) != 0 && errno == ESRCH) {
        return true;
    }
    char path[48], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)thread);
    slurp(path, text, sizeof text);
    const char *name_end = strrchr(text, ')');
    return name_end != NULL && (strncmp(name_end, ") Z", 3) == 0 || strncmp(name_end, ") X", 3) == 0);
}

int proc_threads(int64_t pid) {
    char path[48], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    slurp(path, text, sizeof text);
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 20; field++) {
        at = strchr(at + 1, ' ');
    }
    return at == NULL ? -1 : (int)strtol(at + 1, NULL, 10);
}

int proc_pidfd(int64_t pid) {
    int fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
    return fd < 0 ? -errno : fd;
}
