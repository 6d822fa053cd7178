/* SPDX-License-Identifier: MIT
 *
 * Two processes, each on its processor, and the memory between them. The parent sleeps while they work.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/census.h"
#include "bench/medium.h"
#include "bench/stage.h"

#define LONGEST_RUN 60 /* seconds */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static struct {
    struct stage *stage;
    int cpu[2], cpus;
    double ns_per_tick;
    char why[600];
} self;

int64_t stage_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

double stage_ns(double ticks) {
    return ticks * self.ns_per_tick;
}

int stage_cpus(int cpu[2]) {
    cpu[0] = self.cpu[0];
    cpu[1] = self.cpu[1];
    return self.cpus;
}

static void find_cpus(void) {
    cpu_set_t set;
    self.cpus = 0;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int i = 0; i < CPU_SETSIZE && self.cpus < 2; i++) {
            if (CPU_ISSET(i, &set)) {
                self.cpu[self.cpus++] = i;
            }
        }
    }
    if (self.cpus == 0) {
        self.cpus = 1; /* processor 0, unpinned at worst */
    }
    if (self.cpus == 1) {
        self.cpu[1] = self.cpu[0];
    }
}

static void expire(int signal) {
    (void)signal;
}

/* The clock and the tick at one moment: of several readings the one that nothing came between. */
static void read_both(int64_t *clock, uint64_t *tick) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 32; i++) {
        uint64_t before = stage_tick();
        int64_t ns = stage_now();
        uint64_t after = stage_tick();
        if (after - before < least) {
            least = after - before;
            *clock = ns;
            *tick = before + (after - before) / 2;
        }
    }
}

static void time_tick(void) {
    int64_t from = 0, to = 0;
    uint64_t first = 0, last = 0;
    read_both(&from, &first);
    while (stage_now() - from < 20000000) {}
    read_both(&to, &last);
    self.ns_per_tick = (double)(to - from) / (double)(last - first);
}

int stage_init(void) {
    find_cpus();
    time_tick();
    self.stage = mmap(NULL, sizeof *self.stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self.stage == MAP_FAILED) {
        fprintf(stderr, "thirl-bench: no memory for the samples: %s\n", strerror(errno));
        return -1;
    }
    struct sigaction action = {.sa_handler = expire}; /* without SA_RESTART: it ends waitpid */
    sigaction(SIGALRM, &action, NULL);
    return 0;
}

int stage_fail(struct run *run, enum stage_side side, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(run->stage->why[side], sizeof run->stage->why[side], format, list);
    va_end(list);
    return -1;
}

void stage_meet(struct run *run, enum stage_side side) {
    stage_store(&run->stage->ready[side], 1);
    unsigned looks = 0;
    while (!stage_load(&run->stage->ready[!side])) { /* pairs with the store above, in the other process */
        if (run->cpu[0] == run->cpu[1]) {
            sched_yield(); /* on two processors there is hardly a system call here: they are counted */
        }
        stage_patience(&looks);
    }
}

void stage_wait(const struct run *run, uint64_t sent) {
    for (unsigned i = 1; run->window && sent - stage_load(&run->stage->received) >= run->window; i++) {
        if (i % 64 == 0) {
            sched_yield(); /* it may need this very processor */
        }
    }
}

uint64_t stage_threads(void) {
    char line[256];
    uint64_t threads = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "Threads:", 8) == 0) {
            threads = strtoull(line + 8, NULL, 10);
        }
    }
    if (file) {
        fclose(file);
    }
    return threads;
}

/* One file, mapped twice in a row: a record that crosses the end is still in one piece. */
static int map_area(struct run *run) {
    int fd = memfd_create("thirl-bench", MFD_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int result = -1;
    size_t ring = run->ring;
    unsigned char *base = mmap(NULL, ring * 2 + STAGE_CONTROL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    run->control = run->area = NULL;
    if (base != MAP_FAILED && ftruncate(fd, (off_t)(ring + STAGE_CONTROL)) == 0) {
        const int access = PROT_READ | PROT_WRITE, kind = MAP_SHARED | MAP_FIXED;
        if (mmap(base, ring + STAGE_CONTROL, access, kind, fd, 0) != MAP_FAILED &&
            mmap(base + STAGE_CONTROL + ring, ring, access, kind, fd, STAGE_CONTROL) != MAP_FAILED) {
            result = 0;
        }
        run->control = base;
        run->area = base + STAGE_CONTROL;
    }
    close(fd);
    return result;
}

/* Each further peer has ends of its own. */
static int make_lanes(struct run *run) {
    run->lane = calloc(run->peers, sizeof *run->lane);
    for (unsigned i = 0; run->lane && i < run->peers; i++) {
        run->lane[i] = *run;
        if (run->medium->make(&run->lane[i])) {
            return -1;
        }
    }
    return run->lane ? 0 : stage_fail(run, STAGE_PING, "no memory for %u peers", run->peers);
}

static int prepare(const struct work *work, struct run *run) {
    run->control = run->area = NULL;
    run->lane = NULL;
    run->bell = NULL;
    memset(run->fd, -1, sizeof run->fd);
    memset(run->queue, -1, sizeof run->queue);
    if (work->area && map_area(run)) {
        return stage_fail(run, STAGE_PING, "cannot map a ring of %llu bytes: %s", (unsigned long long)run->ring,
                          strerror(errno));
    }
    run->medium = work->medium;
    return !run->medium ? 0 : run->peers ? make_lanes(run) : run->medium->make(run);
}

static void close_side(struct run *run, enum stage_side side) {
    for (int i = 0; i < 2; i++) {
        if (run->fd[side][i] >= 0 && (i == 0 || run->fd[side][1] != run->fd[side][0])) {
            close(run->fd[side][i]);
        }
    }
}

static void free_medium(struct run *run) {
    if (run->medium && run->medium->free) {
        run->medium->free(run);
    }
    close_side(run, STAGE_PING);
    close_side(run, STAGE_PONG);
}

static void put_away(struct run *run) {
    if (run->control) {
        munmap(run->control, run->ring * 2 + STAGE_CONTROL);
    }
    for (unsigned i = 0; run->lane && i < run->peers; i++) {
        free_medium(&run->lane[i]);
    }
    free(run->lane);
    free_medium(run);
}

void stage_pin(int cpu) {
    cpu_set_t set;
    if (cpu >= 0) {
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        sched_setaffinity(0, sizeof set, &set);
    }
}

static void read_usage(int64_t *user, int64_t *system) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    *user = usage.ru_utime.tv_sec * INT64_C(1000000000) + usage.ru_utime.tv_usec * 1000;
    *system = usage.ru_stime.tv_sec * INT64_C(1000000000) + usage.ru_stime.tv_usec * 1000;
}

void stage_from(struct run *run, unsigned who) {
    struct stage_share *share = &run->stage->share[who];
    if (run->census) {
        census_begin(share->why, sizeof share->why);
        return;
    }
    read_usage(&share->user, &share->system);
}

void stage_to(struct run *run, unsigned who, uint64_t messages) {
    struct stage_share *share = &run->stage->share[who];
    int64_t user, system;
    share->messages = messages;
    if (run->census) {
        share->calls = census_end();
        return;
    }
    read_usage(&user, &system);
    share->user = user - share->user;
    share->system = system - share->system;
}

/* In a child. */
static void play(struct run *run, enum stage_side side) {
    stage_pin(run->cpu[side]);
    /* First touches are not what is measured. */
    madvise(run->stage, sizeof *run->stage, MADV_POPULATE_WRITE);
    if (run->area) {
        madvise(run->control, run->ring * 2 + STAGE_CONTROL, MADV_POPULATE_WRITE);
    }
    int result = (side == STAGE_PING ? run->work->ping : run->work->pong)(run), status = 0;
    if (side == STAGE_PING && run->beside > 0) {
        result = waitpid(run->beside, &status, 0) == run->beside && status == 0 ? result : -1;
    }
    _exit(result ? 1 : 0);
}

static pid_t start(struct run *run, enum stage_side side) {
    pid_t parent = getpid(), pid = fork();
    if (pid) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1);
    }
    if (run->medium) {
        close_side(run, !side);
    }
    play(run, side);
    return 0;
}

int stage_beside(struct run *run, const char *address) {
    snprintf(run->stage->handed, sizeof run->stage->handed, "%s", address);
    stage_pin(run->cpu[STAGE_PONG]); /* it begins where its parent is, and this process is going to spin */
    run->beside = start(run, STAGE_PONG);
    stage_pin(run->cpu[STAGE_PING]);
    return run->beside > 0 ? 0 : stage_fail(run, STAGE_PING, "fork: %s", strerror(errno));
}

/* Waits for both. When one failed or took too long, the other cannot end by itself. */
static int gather(pid_t pid[2]) {
    int result = 0;
    alarm(LONGEST_RUN);
    for (int left = (pid[0] > 0) + (pid[1] > 0); left > 0;) {
        int status = 0;
        pid_t done = waitpid(-1, &status, 0);
        for (int i = 0; done > 0 && i < 2; i++) {
            if (pid[i] == done) {
                pid[i] = -1;
                left--;
            }
        }
        if (done < 0 && errno != EINTR) {
            break;
        }
        if (done > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            continue;
        }
        result = result || done > 0 ? -1 : -ETIMEDOUT;
        for (int i = 0; i < 2; i++) {
            if (pid[i] > 0) {
                kill(pid[i], SIGKILL);
            }
        }
    }
    alarm(0);
    return result;
}

static int judge(const struct stage *stage, int result, const char **why) {
    if (stage->why[0][0] || stage->why[1][0]) {
        snprintf(self.why, sizeof self.why, "%s%s%s", stage->why[0], stage->why[0][0] && stage->why[1][0] ? "; " : "",
                 stage->why[1]);
    } else if (result == -ETIMEDOUT) {
        snprintf(self.why, sizeof self.why, "not done after %d s", LONGEST_RUN);
    } else if (result) {
        snprintf(self.why, sizeof self.why, "a process of the run was killed");
    } else if (stage->sum[0] != stage->sum[1]) {
        snprintf(self.why, sizeof self.why, "the payload changed on its way: sum %llx, received %llx",
                 (unsigned long long)stage->sum[0], (unsigned long long)stage->sum[1]);
    } else {
        return 0;
    }
    *why = self.why;
    return -1;
}

int stage_run(const struct work *work, const struct run *wanted, const struct stage **outcome, const char **why) {
    struct run run = *wanted;
    memset(self.stage, 0, offsetof(struct stage, sample));
    run.stage = self.stage;
    *outcome = self.stage;
    run.work = work;
    run.beside = 0;
    int result = prepare(work, &run);
    if (result == 0) {
        bool inherits = run.address && strncmp(run.address, "pipe://", 7) == 0;
        fflush(NULL);
        pid_t pid[2];
        pid[STAGE_PONG] = inherits ? 0 : start(&run, STAGE_PONG);
        pid[STAGE_PING] = pid[STAGE_PONG] >= 0 ? start(&run, STAGE_PING) : -1;
        if (pid[STAGE_PING] < 0) {
            stage_fail(&run, STAGE_PING, "fork: %s", strerror(errno));
            if (pid[STAGE_PONG] > 0) {
                kill(pid[STAGE_PONG], SIGKILL);
            }
        }
        result = gather(pid);
    }
    put_away(&run);
    return judge(self.stage, result, why);
}
