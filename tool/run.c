/* SPDX-License-Identifier: MIT
 *
 * The verb run: a child that has the other end. One thread carries standard input to it, the other its messages to standard
 * output; signals pass through, and so does the child's exit code.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define STRETCH_MS 100
#define IDLE_MS 20 /* between two looks at an end that has no descriptor */
#define CLOSE_MS 1000
#define NO_COMMAND 127
#define NOT_RUN 126

struct run {
    const struct tool_args *args;
    thirl *end;
    struct thirl_limits limits;
    struct text out;
    char address[512];
    struct given given;
    int input; /* 0, or -1 where that is a socket of the address */
    pid_t child, own;
    int exit_code; /* of the child, once it is gone */
    bool gone;
    int signals; /* a signalfd */
    sigset_t caught, before;
    pthread_t feeder;
    int halt; /* an eventfd: the feeder shall stop */
    atomic_bool halted;
    int fed, closed; /* eventfds: the feeder is at the end of its input; the end is closed */
    int left;        /* messages that nobody took */
    int feed_error;  /* what it met, to be read when it has been joined; 0, or negative */
    atomic_ullong sent;
};

/* ---- from standard input to the child ---- */

/* In stretches, so that it can be stopped. Not bytes without boundaries: how many had left when a stretch is over, nobody could
 * tell. */
static int put(struct run *r, const void *data, size_t size) {
    int code;
    do {
        code = thirl_send(r->end, data, size, r->limits.boundaries ? thirl_in_ms(STRETCH_MS) : THIRL_NEVER);
    } while ((code == -ETIMEDOUT || code == -EAGAIN) && !atomic_load(&r->halted));
    atomic_fetch_add(&r->sent, code == 0);
    return code;
}

/* Bytes of input; 0 at its end, or when it shall stop; negative: an error. */
static ssize_t get(struct run *r, char *to, size_t size) {
    struct pollfd polled[] = {{.fd = r->input, .events = POLLIN}, {.fd = r->halt, .events = POLLIN}};
    for (;;) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR) {
            return -errno;
        }
        if (polled[1].revents) {
            return 0;
        }
        ssize_t n = polled[0].revents ? read(0, to, size) : -1;
        if (n >= 0 || (polled[0].revents && errno != EINTR && errno != EAGAIN)) {
            return n >= 0 ? n : -errno;
        }
    }
}

/* The whole messages at the beginning of what is held; *used gets their bytes. */
static int put_whole(struct run *r, const char *held, size_t size, bool last, size_t *used) {
    int code = 0;
    *used = 0;
    if (!r->limits.boundaries) {
        *used = size;
        return size ? put(r, held, size) : 0;
    }
    while (code == 0 && *used < size) {
        const unsigned char *at = (const unsigned char *)held + *used;
        size_t left = size - *used;
        if (r->args->format == FORMAT_LENGTH) {
            size_t length = left < 4 ? 0 : (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
            if (left < 4 || left - 4 < length) {
                break;
            }
            code = put(r, at + 4, length);
            *used += 4 + length;
        } else {
            const unsigned char *newline = memchr(at, '\n', left);
            if (!newline && !last) {
                break;
            }
            code = put(r, at, newline ? (size_t)(newline - at) : left);
            *used += newline ? (size_t)(newline - at) + 1 : left;
        }
    }
    return code;
}

static void *feed(void *context) {
    struct run *r = context;
    size_t room = 65536, held = 0, used = 0;
    char *buffer = calloc(1, room);
    ssize_t n = buffer ? 1 : -ENOMEM;
    int code = 0;
    while (code == 0 && n > 0) {
        if (held == room) {
            char *larger = room > r->limits.message_max + 65536 ? NULL : realloc(buffer, 2 * room);
            if (!larger) {
                code = -EMSGSIZE;
                break;
            }
            buffer = larger;
            room *= 2;
        }
        n = get(r, buffer + held, room - held);
        if (n > 0) {
            held += (size_t)n;
        }
        code = n < 0 ? (int)n : put_whole(r, buffer, held, n == 0 && !atomic_load(&r->halted), &used);
        held -= used;
        memmove(buffer, buffer + used, held);
    }
    code = code != 0 ? code : n < 0 ? (int)n : held && !atomic_load(&r->halted) ? -EPROTO : 0;
    free(buffer);
    r->feed_error = code;
    (void)!eventfd_write(r->fed, 1);
    return NULL;
}

/* ---- the child ---- */

static void become(struct run *r) {
    char **words = r->args->command;
    for (size_t i = 0; words[i]; i++) {
        words[i] = strstr(words[i], "{}") ? text_replace(words[i], r->address) : words[i];
        if (!words[i]) {
            _exit(NOT_RUN);
        }
    }
    (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &r->before, NULL);
    if (words[0] && setenv("THIRL_HAND", r->address, 1) == 0) {
        (void)execvp(words[0], words);
    }
    int error = errno;
    tool_say(r->args, "cannot run %s: %s", r->args->operand, strerror(error));
    _exit(error == ENOENT ? NO_COMMAND : NOT_RUN);
}

/* Its standard input is empty: the tool reads that. */
static int start(struct run *r) {
    int code = r->given.other >= 0 ? 0 : thirl_hand(r->end, r->address, sizeof r->address);
    if (code < 0) {
        tool_say(r->args, "%s", thirl_why());
        return tool_exit_of(code);
    }
    r->child = fork();
    if (r->child == 0) {
        given_pass_on(r->own);
        int nothing = open("/dev/null", O_RDONLY);
        if (nothing > 0) {
            (void)dup2(nothing, 0);
            close(nothing);
        }
        become(r);
    }
    if (r->given.other >= 0) {
        given_shut(r->given.other); /* its end is to be seen when it is gone */
    }
    if (r->child < 0) {
        tool_say(r->args, "no process for %s: %s", r->args->operand, strerror(errno));
        return TOOL_OTHER;
    }
    return TOOL_DONE;
}

static void reap(struct run *r) {
    int status = 0;
    pid_t pid = r->gone ? 0 : waitpid(r->child, &status, WNOHANG);
    if (pid != 0) {
        r->exit_code = pid < 0 ? TOOL_OTHER : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        r->gone = true;
    }
}

/* Those that a person or a program sent to this process alone; the terminal's own reach the child as well. */
static void pass_signals(struct run *r) {
    struct signalfd_siginfo info;
    while (read(r->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            reap(r);
        } else if (info.ssi_code != SI_KERNEL && !r->gone) {
            (void)kill(r->child, (int)info.ssi_signo);
        }
    }
}

static int catch_signals(struct run *r) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCHLD};
    sigemptyset(&r->caught);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaddset(&r->caught, numbers[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_BLOCK, &r->caught, &r->before);
    r->signals = signalfd(-1, &r->caught, SFD_CLOEXEC | SFD_NONBLOCK);
    r->halt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->fed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->closed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->signals < 0 || r->halt < 0 || r->fed < 0 || r->closed < 0) {
        tool_say(r->args, "no descriptor for signals: %s", strerror(errno));
        return TOOL_OTHER;
    }
    return TOOL_DONE;
}

/* ---- from the child to standard output ---- */

static void write_one(struct run *r, const thirl_msg *msg) {
    size_t size = thirl_msg_size(msg);
    if (r->args->format == FORMAT_LENGTH && r->limits.boundaries) {
        const unsigned char head[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                       (unsigned char)(size >> 8), (unsigned char)size};
        text_bytes(&r->out, head, sizeof head);
    }
    text_bytes(&r->out, thirl_msg_data(msg), size);
    if (r->args->format == FORMAT_LINES && r->limits.boundaries) {
        text_bytes(&r->out, "\n", 1);
    }
}

/* Writes what is there. -EAGAIN, or how it ended. */
static int take_all(struct run *r) {
    for (;;) {
        thirl_msg *msg = NULL;
        int code = thirl_take(r->end, &msg, THIRL_NOW);
        if (code != 0) {
            text_flush(&r->out);
            return code;
        }
        write_one(r, msg);
        thirl_free(&msg);
        if (r->out.error) {
            return -r->out.error;
        }
    }
}

/* Carries until the child has closed its end or is gone, or the input is at its end and was taken. How it ended. */
static int carry(struct run *r) {
    bool fed = false;
    struct pollfd polled[] = {{.fd = thirl_fd(r->end), .events = POLLIN},
                              {.fd = r->signals, .events = POLLIN},
                              {.fd = r->fed, .events = POLLIN}};
    for (;;) {
        bool was_gone = r->gone;
        int code = take_all(r);
        if (code != -EAGAIN || was_gone) {
            return code; /* when it was gone before, nothing can come any more */
        }
        if (fed && !r->args->keep && atomic_load(&r->sent) != 0) {
            return 0;
        }
        (void)poll(polled, 3, r->gone ? 0 : polled[0].fd < 0 ? IDLE_MS : -1);
        pass_signals(r);
        if (polled[2].revents) {
            fed = true;
            polled[2].fd = -1;
        }
    }
}

static void *close_end(void *context) {
    struct run *r = context;
    r->left = thirl_close(&r->end, THIRL_NEVER);
    (void)!eventfd_write(r->closed, 1);
    return NULL;
}

/* Closes the end when everything was taken, and waits for the child; signals pass until it is gone. */
static void finish(struct run *r) {
    pthread_t closer;
    struct pollfd polled[] = {{.fd = r->signals, .events = POLLIN}, {.fd = r->closed, .events = POLLIN}};
    bool closes = pthread_create(&closer, NULL, close_end, r) == 0;
    while (!r->gone) {
        (void)poll(polled, polled[1].fd < 0 ? 1 : 2, STRETCH_MS);
        polled[1].fd = polled[1].revents ? -1 : polled[1].fd;
        pass_signals(r);
        reap(r);
    }
    /* Nobody takes anything any more. */
    if (closes && (polled[1].fd < 0 || poll(polled + 1, 1, CLOSE_MS) == 1)) {
        (void)pthread_join(closer, NULL);
        if (r->left > 0 && r->exit_code == 0) {
            tool_say(r->args, "%d messages were not taken by %s", r->left, r->args->operand);
        }
    }
}

/* The feeder may be inside a send that only the child can end: then the process ends as it is. */
static bool stop_feeder(struct run *r) {
    struct timespec until;
    atomic_store(&r->halted, true);
    (void)!eventfd_write(r->halt, 1);
#ifdef __GLIBC__
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 1 + CLOSE_MS / 1000;
    return pthread_clockjoin_np(r->feeder, NULL, CLOCK_MONOTONIC, &until) == 0;
#else
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1 + CLOSE_MS / 1000;
    return pthread_timedjoin_np(r->feeder, NULL, &until) == 0;
#endif
}

static int say_feed(struct run *r) {
    int code = r->feed_error;
    if (code == 0 || code == -THIRL_ECLOSED || code == -THIRL_EPEERDIED || code == -ETIMEDOUT) {
        return TOOL_DONE; /* the child has had enough */
    }
    tool_say(r->args, "standard input: %s",
             code == -EPROTO     ? "it ends inside a message"
             : code == -EMSGSIZE ? "a message is larger than the other end takes (?max= sets it)"
             : code > -4096      ? strerror(-code)
                                 : thirl_error_name(code));
    return TOOL_OTHER;
}

/* The other end of a socket that was given connected: with somebody else, then this process becomes the command, which gets
 * this end; or here too, then that one is the child's. */
static enum tool_exit look(struct run *r, const char *address) {
    enum tool_exit code = given_look(&r->given, r->args, address);
    r->input = r->given.listens && r->given.fd == 0 ? -1 : 0;
    r->own = getpid();
    if (code != TOOL_DONE || !r->given.connected) {
        return code;
    }
    if (given_both(&r->given)) {
        r->given.other = given_apart(r->given.other);
        given_address(r->address, sizeof r->address, r->given.other, address);
        if (r->given.other < 0 || fcntl(r->given.other, F_SETFD, 0) != 0) {
            tool_say(r->args, "no descriptor for %s: %s", r->args->operand, strerror(errno));
            return TOOL_OTHER;
        }
        return TOOL_DONE;
    }
    if (r->args->keep || r->args->format != FORMAT_LINES) {
        tool_say(r->args,
                 "%s is connected to another process, so %s itself gets that end, and standard input: --keep and "
                 "--length do "
                 "not go with it",
                 address, r->args->operand);
        return TOOL_USAGE;
    }
    given_address(r->address, sizeof r->address, r->given.fd, address);
    (void)fcntl(r->given.fd, F_SETFD, 0);
    (void)sigprocmask(SIG_SETMASK, NULL, &r->before);
    become(r);
    return TOOL_OTHER; /* it never comes here */
}

int tool_run(const struct tool_args *args) {
    static struct run r;
    const char *address = args->over ? args->over : "pipe://";
    if (args->jobs) {
        return tool_jobs(args);
    }
    r.args = args;
    r.limits.size = sizeof r.limits;
    text_init(&r.out, 1);
    enum tool_exit looked = look(&r, address);
    if (looked != TOOL_DONE) {
        return looked;
    }
    int code = thirl_open(&r.end, THIRL_PAIR, address, NULL);
    code = code == 0 ? thirl_limits(r.end, &r.limits) : code;
    if (code < 0) {
        tool_say(args, "%s", thirl_why());
        return tool_exit_of(code);
    }
    code = catch_signals(&r);
    code = code == TOOL_DONE ? start(&r) : code;
    if (code != TOOL_DONE) {
        (void)!thirl_close(&r.end, THIRL_NOW);
        return code;
    }
    if (pthread_create(&r.feeder, NULL, feed, &r) != 0) {
        tool_say(args, "no thread for standard input");
        return TOOL_OTHER;
    }
    int ended = carry(&r);
    int written = r.out.error == EPIPE ? TOOL_PIPE : (int)text_finish(&r.out, args);
    if (!stop_feeder(&r)) {
        reap(&r);
        return r.exit_code != 0 ? r.exit_code : written != TOOL_DONE ? written : TOOL_OTHER;
    }
    code = say_feed(&r);
    if (ended < 0 && ended != -EAGAIN && ended != -THIRL_ECLOSED && ended != -THIRL_EPEERDIED && !r.out.error) {
        tool_say(args, "%s", thirl_why());
        code = tool_exit_of(ended);
    }
    finish(&r);
    return r.exit_code != 0 ? r.exit_code : code != TOOL_DONE ? code : written;
}
