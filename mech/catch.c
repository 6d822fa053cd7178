/* SPDX-License-Identifier: MIT
 *
 * Taking real-time signals, see catch.h. Only a thread can change its own mask: others are sent the signal, with a mark, and
 * the handler blocks it in what the kernel restores when it returns.
 */
#define _GNU_SOURCE
#include "mech/catch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/weave.h"

#define FIRST 32 /* of all real-time signals, the C library's own among them */
#define SIGNALS 33
#define LOOKS 3  /* one alone may fall between the two files that tell what a thread blocks */
#define PASSES 8 /* by then who lets it through unblocks it himself, time and again: the handler copes */
#define PAUSE_NS (200 * CLOCK_US) /* between two looks at a thread that has to run first */
#define PAUSES 2500               /* until it is sent another mark */
#define STATUS 2048               /* of /proc/self/task/N/status at once */
#define BLOCKED 25                /* "SigBlk:", and 16 digits; with what is around them */

static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

static struct {
    uint32_t epoch;    /* of the process that watches it; 0: nobody */
    uint32_t ours;     /* our handler is there, and what blocks it may be our doing: also in a forked child */
    uint32_t answered; /* the mark that a thread has obeyed last */
    uint64_t lost;
} table[SIGNALS];

/* ---- the handler: async-signal-safe ---- */

static void on_signal(int number, siginfo_t *info, void *context) {
    int kept = errno;
    uint32_t epoch = atomic_load(&table[number - FIRST].epoch); /* pairs with catch_take and catch_give */
    if (epoch != 0 && epoch == proc_epoch()) {
        (void)sigaddset(&((ucontext_t *)context)->uc_sigmask, number);
        if (info->si_code == CATCH_MARK) {
            atomic_store(&table[number - FIRST].answered, (uint32_t)info->si_value.sival_int); /* pairs with obeys */
        } else if (syscall(SYS_rt_sigqueueinfo, getpid(), number, info) != 0) {
            (void)atomic_add(&table[number - FIRST].lost, 1);
        }
    }
    errno = kept;
}

uint64_t catch_lost(int number) {
    return atomic_peek(&table[number - FIRST].lost);
}

/* ---- threads ---- */

struct masks {
    uint64_t blocked, awaited; /* what sigwait awaits is blocked, too, but not shown as that for so long */
};

static void slurp(const char *task, const char *file, size_t from, char *text, size_t size) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/task/%.20s/%s", task, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : fd_read_at(fd, text, size - 1, (off_t)from);
    fd_close(&fd);
    text[got > 0 ? got : 0] = '\0';
}

static bool is_sigwait(long call) {
#ifdef SYS_rt_sigtimedwait_time64
    if (call == SYS_rt_sigtimedwait_time64) {
        return true;
    }
#endif
    return call == SYS_rt_sigtimedwait;
}

/* The set is in this process's own memory, and may be gone: the kernel copies it. */
static uint64_t read_awaited(const char *task) {
    char text[256], *at = NULL;
    uint64_t set = 0;
    slurp(task, "syscall", 0, text, sizeof text);
    long call = strtol(text, &at, 10);
    if (at == text || !is_sigwait(call)) {
        return 0;
    }
    struct iovec to = {&set, sizeof set}, from = {(void *)(uintptr_t)strtoull(at, NULL, 16), sizeof set};
    return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == (ssize_t)sizeof set ? set : 0;
}

/* Who is in many groups has a long status, and what is blocked stands behind them. */
static bool read_blocked(const char *task, char text[STATUS], uint64_t *set) {
    static const char title[] = "\nSigBlk:\t";
    for (size_t from = 0; text[0] != '\0'; slurp(task, "status", from, text, STATUS)) {
        const char *line = strstr(text, title);
        if (line != NULL && strlen(line) > BLOCKED) {
            *set = strtoull(line + sizeof title - 1, NULL, 16);
            return true;
        }
        from += STATUS - 1 - BLOCKED; /* a line that was cut is whole there */
    }
    return false;
}

static int read_masks(const char *task, struct masks *masks) {
    char text[STATUS];
    slurp(task, "status", 0, text, sizeof text);
    const char *state = strstr(text, "\nState:\t");
    bool lives = state != NULL && state[8] != 'Z' && state[8] != 'X';
    if (!lives || !read_blocked(task, text, &masks->blocked)) {
        return -ESRCH; /* it has ended meanwhile */
    }
    masks->awaited = read_awaited(task);
    masks->blocked |= masks->awaited;
    return 0;
}

struct ask {
    int number;
    uint32_t pressed; /* how many threads let it through */
    int64_t until;
};

/* Calls seen for each living thread until it returns nonzero, and returns that. -errno where there is no /proc. */
static int each_thread(int (*seen)(pid_t, const struct masks *, struct ask *), struct ask *ask) {
    DIR *list = opendir("/proc/self/task");
    if (list == NULL) {
        return -errno;
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        struct masks masks;
        if (entry->d_name[0] != '.' && read_masks(entry->d_name, &masks) == 0) {
            rc = seen((pid_t)strtol(entry->d_name, NULL, 10), &masks, ask);
        }
    }
    (void)closedir(list);
    return rc;
}

static uint64_t bit(int number) {
    return UINT64_C(1) << (number - 1);
}

/* Who blocks this signal and lets others through wants it; who blocks all of them wants to be left alone, unless he waits. */
static int wants_it(pid_t thread, const struct masks *masks, struct ask *ask) {
    uint64_t all = 0;
    for (int other = SIGRTMIN; other <= SIGRTMAX; other++) {
        all |= bit(other);
    }
    bool wants = (masks->blocked & bit(ask->number)) != 0 && (masks->blocked & all) != all;
    return wants || (masks->awaited & bit(ask->number)) != 0 ? (int)thread : 0;
}

static void mark(pid_t thread, int number, uint32_t serial) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = number;
    info.si_code = CATCH_MARK;
    info.si_pid = getpid();
    info.si_uid = getuid();
    info.si_value.sival_int = (int)serial;
    (void)syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, number, &info);
}

/* Has it run our handler since, or does it block it, or is it gone? */
static bool obeys(pid_t thread, int number, uint32_t serial) {
    char task[24];
    struct masks masks;
    if (atomic_load(&table[number - FIRST].answered) == serial) { /* pairs with on_signal */
        return true;
    }
    (void)snprintf(task, sizeof task, "%d", (int)thread);
    return read_masks(task, &masks) != 0 || (masks.blocked & bit(number)) != 0;
}

/* A thread that lets it through is made to block it. */
static int press(pid_t thread, const struct masks *masks, struct ask *ask) {
    static uint32_t serial;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    if ((masks->blocked & bit(ask->number)) != 0) {
        return 0;
    }
    ask->pressed++;
    serial++;
    for (unsigned pauses = 0; !obeys(thread, ask->number, serial); pauses++) {
        if (clock_now() > ask->until) {
            return (int)thread;
        }
        if (pauses % PAUSES == 0) { /* it may have been refused: too many are pending */
            mark(thread, ask->number, serial);
        }
        (void)nanosleep(&pause, NULL);
    }
    return 0;
}

/* Until every thread blocks it, or did. A new thread has the mask of the one that made it: so a pass that finds none to press
 * has seen none that came from one which was not yet pressed. */
static int herd(int number, const char *address, int64_t until) {
    struct ask ask = {.number = number, .until = until};
    int thread = 0;
    weave("catch.herd.before");
    for (int passes = 0; thread == 0 && passes < PASSES; passes++) {
        ask.pressed = 0;
        thread = each_thread(press, &ask);
        if (ask.pressed == 0) {
            break;
        }
    }
    if (thread > 0) {
        return err_say(ETIMEDOUT,
                       "%s: thread %d of this process does not run, and so cannot be made to block signal %d", address,
                       thread, number);
    }
    return thread == 0 ? 0 : err_system(-thread, "%s: the threads of this process cannot be listed (/proc)", address);
}

/* ---- taking and giving ---- */

static int check_free(int number, const char *address) {
    struct sigaction now;
    if (sigaction(number, NULL, &now) != 0) {
        return err_system(errno, "%s: signal %d cannot be used", address, number);
    }
    bool ours = (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_signal;
    if (!ours && ((now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != SIG_DFL)) {
        return err_say(
            EBUSY, "%s: this program %s signal %d: choose another one, for both ends, with ?signal=", address,
            (now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_IGN ? "ignores" : "has a handler for", number);
    }
    struct ask ask = {.number = number};
    int thread = ours || table[number - FIRST].ours != 0 ? 0 : 1;
    for (int tries = 0; thread > 0 && tries < LOOKS; tries++) {
        thread = each_thread(wants_it, &ask);
    }
    if (thread > 0) {
        return err_say(EBUSY,
                       "%s: thread %d of this program blocks or awaits signal %d, and may want it for itself: choose "
                       "another one, for both "
                       "ends, with ?signal=",
                       address, thread, number);
    }
    return thread == 0 ? 0 : err_system(-thread, "%s: the threads of this process cannot be listed (/proc)", address);
}

static int take(struct catch *c, int number, const char *address, int64_t until) {
    uint32_t *epoch = &table[number - FIRST].epoch;
    if (*epoch != 0 && *epoch == proc_epoch()) {
        return err_say(EBUSY,
                       "%s: this process watches signal %d already: choose another one, for both ends, with ?signal=",
                       address, number);
    }
    int rc = check_free(number, address);
    if (rc != 0) {
        return rc;
    }
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART, .sa_sigaction = on_signal};
    sigset_t one, before;
    (void)sigemptyset(&one);
    (void)sigaddset(&one, number);
    table[number - FIRST].ours = 1;
    atomic_store(epoch, proc_epoch()); /* pairs with on_signal */
    (void)sigaction(number, &action, NULL);
    weave("catch.take.handler");
    (void)pthread_sigmask(SIG_BLOCK, &one, &before);
    *c = (struct catch){
        .number = number, .taker = (pid_t)syscall(SYS_gettid), .opened = sigismember(&before, number) == 0};
    return herd(number, address, until);
}

int catch_take(struct catch *c, int number, const char *address, int64_t until) {
    *c = (struct catch){.number = 0};
    (void)pthread_mutex_lock(&taking);
    int rc = take(c, number, address, until);
    (void)pthread_mutex_unlock(&taking);
    if (rc != 0) {
        catch_give(c);
    }
    return rc;
}

void catch_give(struct catch *c) {
    if (c->number == 0) {
        return;
    }
    (void)pthread_mutex_lock(&taking);
    atomic_store(&table[c->number - FIRST].epoch, 0);
    if (c->opened && c->taker == (pid_t)syscall(SYS_gettid)) {
        sigset_t one;
        (void)sigemptyset(&one);
        (void)sigaddset(&one, c->number);
        (void)pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    }
    (void)pthread_mutex_unlock(&taking);
    c->number = 0;
}
