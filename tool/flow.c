/* SPDX-License-Identifier: MIT
 *
 * What send and recv share: the end and the file, waiting in stretches so that a signal is noticed, progress, summary.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tool/tool.h"

#define STRETCH_NS INT64_C(100000000)
#define SHOW_AFTER_NS INT64_C(1000000000)
#define SHOW_EVERY_NS INT64_C(500000000)
#define PIPE_BYTES (1 << 20)

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

struct choice {
    const char *address;
    bool sends;
    int role; /* 0: no such mechanism */
};

static int choose(void *context, const struct thirl_mechanism *mechanism) {
#define ROLE_NAME(name, number, text) {number, text},
    static const struct {
        int number;
        const char *name;
    } roles[] = {THIRL_ROLES(ROLE_NAME)};
#undef ROLE_NAME
    static const char *const order[2][3] = {{"pair", "pull", "watch"}, {"pair", "push", "notify"}};
    struct choice *choice = context;
    size_t length = strlen(mechanism->scheme);
    if (strncmp(choice->address, mechanism->scheme, length) != 0 || choice->address[length] != ':') {
        return 0;
    }
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < sizeof roles / sizeof *roles; j++) {
            if (strcmp(roles[j].name, order[choice->sends][i]) == 0 && (mechanism->roles & 1u << roles[j].number)) {
                choice->role = roles[j].number;
                return 1;
            }
        }
    }
    return 1;
}

enum thirl_role flow_role(const struct tool_args *args, bool sends) {
    int said = args->verb->role ? args->verb->role : args->role;
    if (args->format == FORMAT_STREAM) {
        return sends ? THIRL_WRITE : THIRL_READ;
    }
    if (said) {
        return (enum thirl_role)said;
    }
    struct choice choice = {args->operand, sends, 0};
    (void)!thirl_mechanisms(choose, &choice);
    return choice.role ? (enum thirl_role)choice.role : THIRL_PAIR;
}

enum tool_exit flow_open(struct flow *f, const struct tool_args *args, enum thirl_role role, int file_flags) {
    bool reads = (file_flags & O_ACCMODE) == O_RDONLY;
    *f = (struct flow){.args = args, .fd = reads ? 0 : 1};
    f->terminal = !args->quiet && isatty(2);
    f->limits.size = sizeof f->limits;
    struct given given;
    enum tool_exit looked = given_look(&given, args, args->operand);
    if (looked != TOOL_DONE) {
        return looked;
    }
    stop_init();
    int code = thirl_open(&f->end, role, args->operand, NULL);
    if (code == 0) {
        code = thirl_limits(f->end, &f->limits);
    }
    if (code < 0) {
        return flow_fail(f, code);
    }
    if (args->file && strcmp(args->file, "-") != 0) {
        f->fd = open(args->file, file_flags | O_CLOEXEC | O_NOCTTY, 0666);
        if (f->fd < 0) {
            return flow_fail_file(f, errno, "open");
        }
    }
    /* Larger pipes mean fewer system calls; where they are not allowed, or it is no pipe, it works as it is. */
    if (args->format == FORMAT_STREAM) {
        (void)fcntl(f->fd, F_SETPIPE_SZ, PIPE_BYTES);
    }
    f->opened = f->started = now();
    return TOOL_DONE;
}

int64_t flow_deadline(const struct flow *f) {
    int64_t here = now();
    return f->args->timeout > INT64_MAX - here ? INT64_MAX : here + f->args->timeout;
}

thirl_time flow_stretch(int64_t deadline) {
    int64_t next = now() + STRETCH_NS;
    return THIRL_TIME(next < deadline ? next : deadline);
}

static void draw(struct flow *f, int64_t here) {
    char bytes[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];
    double seconds = (double)(here - f->started) / 1e9;
    f->shown = here;
    f->drawn = true;
    if (f->messages == 0) {
        fprintf(stderr, "\r%s: nothing passed yet\033[K", f->args->operand);
    } else {
        fprintf(stderr, "\r%s, %s/s\033[K", text_size(bytes, (double)f->bytes),
                text_size(rate, seconds > 0 ? (double)f->bytes / seconds : 0));
    }
    fflush(stderr);
}

static void wipe(struct flow *f) {
    if (f->drawn) {
        fprintf(stderr, "\r\033[K");
    }
    f->drawn = false;
}

static void show(struct flow *f) {
    int64_t here = f->terminal ? now() : 0;
    if (here - f->opened > SHOW_AFTER_NS && here - f->shown > SHOW_EVERY_NS) {
        draw(f, here);
    }
}

bool flow_again(struct flow *f, int code, int64_t deadline) {
    if (code != -ETIMEDOUT && code != -EAGAIN) {
        return false;
    }
    show(f);
    return !stop_exit() && now() < deadline;
}

void flow_begin(struct flow *f) {
    f->started = now();
}

void flow_count(struct flow *f, size_t size) {
    f->messages++;
    f->bytes += size;
    /* a look at the clock costs as much as a small message does */
    if (f->terminal && (size > 4096 || f->messages % 1024 == 0)) {
        show(f);
    }
}

enum tool_exit flow_fail(struct flow *f, int code) {
    if (stop_exit()) {
        return TOOL_OTHER;
    }
    wipe(f);
    const char *why = thirl_why();
    tool_say(f->args, "%s", *why ? why : thirl_error_name(code));
    return tool_exit_of(code);
}

enum tool_exit flow_fail_file(struct flow *f, int error, const char *what) {
    bool reads = (f->args->verb->bit & (FOR_SENDERS | FOR_CALL)) != 0;
    const char *file = f->args->file && strcmp(f->args->file, "-") != 0 ? f->args->file
                       : reads                                          ? "standard input"
                                                                        : "standard output";
    if (!reads && error == EPIPE) {
        return TOOL_PIPE;
    }
    if (stop_exit()) {
        return TOOL_OTHER;
    }
    wipe(f);
    tool_say(f->args, "cannot %s %s: %s", what, file, strerror(error));
    return error == EACCES || error == EPERM ? TOOL_DENIED : TOOL_OTHER;
}

static void summarize(const struct flow *f) {
    char bytes[TEXT_SIZE_MAX], rate[TEXT_SIZE_MAX];
    double seconds = f->messages ? (double)(now() - f->started) / 1e9 : 0;
    double per_second = seconds > 0 ? (double)f->bytes / seconds : 0;
    bool stream = f->args->format == FORMAT_STREAM;
    if (f->args->json) {
        fprintf(stderr, "{\"verb\":\"%s\"", f->args->verb->name);
        if (!stream) {
            fprintf(stderr, ",\"messages\":%llu", (unsigned long long)f->messages);
        }
        fprintf(stderr, ",\"bytes\":%llu,\"seconds\":%.6f,\"bytes_per_second\":%.0f}\n", (unsigned long long)f->bytes,
                seconds, per_second);
        return;
    }
    fprintf(stderr, "thirl %s: ", f->args->verb->name);
    if (!stream) {
        fprintf(stderr, "%llu message%s, ", (unsigned long long)f->messages, f->messages == 1 ? "" : "s");
    }
    fprintf(stderr, "%s (%llu bytes), %.3f s, %s/s\n", text_size(bytes, (double)f->bytes), (unsigned long long)f->bytes,
            seconds, text_size(rate, per_second));
}

int flow_finish(struct flow *f, int exit_code) {
    wipe(f);
    if (f->args->stats && f->opened) {
        summarize(f);
    }
    return stop_exit() ? stop_exit() : exit_code;
}
