/* SPDX-License-Identifier: MIT
 *
 * The workers of run -j: started, told of on standard error, and started again when they die. Each leads a process group, so that
 * what it has started can be told to end with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define MS INT64_C(1000000)
#define FRUITFUL (1000 * MS) /* who has lived so long is started again at once */
#define PAUSE (100 * MS)     /* else after this, twice as much each time */
#define FRUITLESS_MOST 7     /* deaths of one in a row before it is given up: the longest pause is 16 times that */
#define GRACE (5000 * MS)    /* from SIGTERM to SIGKILL */
#define NOT_RUN 126
#define NO_COMMAND 127

int64_t staff_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 * MS + now.tv_nsec;
}

/* ---- what is told ---- */

static void tell_started(const struct staff *s, const struct staff_one *one, size_t number) {
    struct text out;
    if (s->args->json) {
        text_init(&out, 2);
        text_print(&out, "{\"event\":\"started\",\"worker\":%zu,\"pid\":%d}\n", number, (int)one->pid);
        (void)text_flush(&out);
    }
}

static void tell_ended(const struct staff *s, size_t number, pid_t pid, const siginfo_t *info, int64_t pause) {
    bool killed = info->si_code != CLD_EXITED;
    char how[64], then[64] = "";
    struct text out;
    if (s->args->json) {
        text_init(&out, 2);
        text_print(&out, "{\"event\":\"ended\",\"worker\":%zu,\"pid\":%d,\"%s\":%d", number, (int)pid,
                   killed ? "signal" : "code", info->si_status);
        if (pause >= 0) {
            text_print(&out, ",\"again_ms\":%lld", (long long)(pause / MS));
        }
        text_bytes(&out, "}\n", 2);
        (void)text_flush(&out);
        return;
    }
    if (s->ending || (!killed && info->si_status == 0)) {
        return;
    }
    (void)snprintf(how, sizeof how, killed ? "was killed by signal %d (%s)" : "ended with %d", info->si_status,
                   killed ? strsignal(info->si_status) : "");
    if (pause >= 0) {
        (void)snprintf(then, sizeof then, pause == 0 ? "; another one starts" : "; another one starts in %lld ms",
                       (long long)(pause / MS));
    }
    tool_say(s->args, "worker %zu (pid %d) %s%s", number, (int)pid, how, then);
}

/* ---- one worker ---- */

static void become(const struct staff *s, size_t number, pid_t parent) {
    char **words = s->args->command, name[24];
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(NOT_RUN); /* it died before that was set */
    }
    int nothing = open("/dev/null", O_RDONLY); /* standard input is for the jobs */
    if (nothing > 0) {
        (void)dup2(nothing, 0);
        (void)close(nothing);
    }
    for (size_t i = 0; words[i]; i++) {
        words[i] = strstr(words[i], "{}") ? text_replace(words[i], s->address) : words[i];
        if (!words[i]) {
            _exit(NOT_RUN);
        }
    }
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &s->before, NULL);
    (void)snprintf(name, sizeof name, "%zu", number);
    if (words[0] && setenv("THIRL_ADDRESS", s->address, 1) == 0 && setenv("THIRL_WORKER", name, 1) == 0) {
        (void)execvp(words[0], words);
    }
    int error = errno;
    tool_say(s->args, "cannot run %s: %s", s->args->operand, strerror(error));
    _exit(error == ENOENT ? NO_COMMAND : NOT_RUN);
}

static void start(struct staff *s, struct staff_one *one) {
    size_t number = (size_t)(one - s->one) + 1;
    pid_t parent = getpid();
    one->born = staff_now();
    one->pid = fork();
    if (one->pid == 0) {
        become(s, number, parent);
    }
    if (one->pid < 0) {
        tool_say(s->args, "no process for worker %zu: %s; tried again in %lld ms", number, strerror(errno),
                 (long long)(FRUITFUL / MS));
        one->pid = 0;
        one->due = one->born + FRUITFUL;
        return;
    }
    (void)setpgid(one->pid, one->pid); /* whoever of the two comes first */
    one->due = INT64_MAX;
    s->alive++;
    tell_started(s, one, number);
}

/* It will not be started again. */
static void retire(struct staff *s, struct staff_one *one) {
    one->due = INT64_MAX;
    one->retired = true;
    s->retired++;
}

/* When one that has just died is to be started again; negative: never. */
static int64_t pause_of(struct staff *s, struct staff_one *one, const siginfo_t *info) {
    int code = info->si_code == CLD_EXITED ? info->si_status : 128 + info->si_status;
    bool never = info->si_code == CLD_EXITED && (code == NO_COMMAND || code == NOT_RUN);
    one->fruitless = staff_now() - one->born >= FRUITFUL ? 0 : one->fruitless + 1;
    if (never || one->fruitless >= FRUITLESS_MOST) {
        s->given_up = code;
        return -1;
    }
    return one->fruitless < 2 ? 0 : PAUSE << (one->fruitless - 2);
}

static void reap(struct staff *s, struct staff_one *one) {
    siginfo_t info = {.si_pid = 0};
    pid_t pid = one->pid;
    if (pid == 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
        return;
    }
    bool well = info.si_code == CLD_EXITED && info.si_status == 0;
    if (!well) {
        (void)kill(-pid, SIGTERM); /* before its number can be another group's */
    }
    (void)waitpid(pid, NULL, 0);
    one->pid = 0;
    s->alive--;
    int64_t pause = s->ending || well ? -1 : pause_of(s, one, &info);
    tell_ended(s, (size_t)(one - s->one) + 1, pid, &info, pause);
    if (pause < 0) {
        retire(s, one);
        return;
    }
    s->restarts++;
    one->due = staff_now() + pause;
}

/* ---- all of them ---- */

static void tell_all(const struct staff *s, int number) {
    for (size_t i = 0; i < s->count; i++) {
        if (s->one[i].pid > 0) {
            (void)kill(-s->one[i].pid, number);
        }
    }
}

void staff_end(struct staff *s) {
    if (s->ending) {
        return;
    }
    s->ending = true;
    s->patience = staff_now() + GRACE;
    for (size_t i = 0; i < s->count; i++) {
        if (s->one[i].pid == 0 && !s->one[i].retired) {
            retire(s, &s->one[i]);
        }
    }
    tell_all(s, SIGTERM);
}

static void read_signals(struct staff *s) {
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            continue;
        }
        if (s->signal != 0) {
            tell_all(s, SIGKILL); /* he means it */
        }
        s->signal = s->signal != 0 ? s->signal : (int)info.ssi_signo;
        staff_end(s);
    }
}

void staff_tend(struct staff *s) {
    read_signals(s);
    for (size_t i = 0; i < s->count; i++) {
        reap(s, &s->one[i]);
    }
    int64_t now = staff_now();
    for (size_t i = 0; i < s->count && !s->ending; i++) {
        if (s->one[i].due <= now) {
            start(s, &s->one[i]);
        }
    }
    if (s->ending && s->alive != 0 && now >= s->patience) {
        tool_say(s->args, "%zu workers have not ended %lld s after SIGTERM; they get SIGKILL", s->alive,
                 (long long)(GRACE / (1000 * MS)));
        tell_all(s, SIGKILL);
        s->patience = now + GRACE;
    }
}

int64_t staff_due(const struct staff *s) {
    int64_t due = s->ending ? s->patience : INT64_MAX;
    for (size_t i = 0; i < s->count; i++) {
        due = s->one[i].due < due ? s->one[i].due : due;
    }
    return due;
}

bool staff_gone(const struct staff *s) {
    return s->retired == s->count;
}

enum tool_exit staff_open(struct staff *s, const struct tool_args *args, const char *address) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    sigset_t caught;
    s->args = args;
    s->address = address;
    s->count = (size_t)args->jobs;
    s->one = calloc(s->count, sizeof *s->one);
    sigemptyset(&caught);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaddset(&caught, numbers[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_BLOCK, &caught, &s->before);
    s->signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->one == NULL || s->signals < 0) {
        tool_say(args, "nothing to start %zu workers with: %s", s->count, strerror(errno));
        return TOOL_OTHER;
    }
    return TOOL_DONE; /* each is due since the beginning of time */
}

void staff_close(struct staff *s) {
    free(s->one);
    (void)close(s->signals);
}
