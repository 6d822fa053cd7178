/* SPDX-License-Identifier: MIT
 *
 * The verb serve: each request is answered with what a program prints that reads it, or with itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tool/tool.h"

#define CLOSE_MS 1000

struct serve {
    struct flow flow;
    char *answer;
    size_t capacity, size;
};

/* ---- a program for each request ---- */

static bool grow(struct serve *s) {
    size_t capacity = s->capacity < 65536 ? 65536 : 2 * s->capacity;
    char *larger = s->capacity > s->flow.limits.message_max ? NULL : realloc(s->answer, capacity);
    if (larger == NULL) {
        return false;
    }
    s->answer = larger;
    s->capacity = capacity;
    return true;
}

/* Starts it between two pipes: *in gets what it is to read, *out has what it prints. Its pid, or -1. */
static pid_t start(const struct serve *s, int *in, int *out) {
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    pid_t pid = -1;
    if (pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0) {
        pid = fork();
    }
    if (pid == 0) {
        (void)signal(SIGPIPE, SIG_DFL);
        (void)dup2(to[0], 0);
        (void)dup2(from[1], 1);
        (void)execvp(s->flow.args->command[0], s->flow.args->command);
        tool_say(s->flow.args, "cannot run %s: %s", s->flow.args->command[0], strerror(errno));
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    *in = to[1];
    *out = from[0];
    return pid;
}

/* Gives it the request, and collects what it prints; both as it likes. 0, or a sentence about what went wrong. */
static const char *exchange(struct serve *s, int in, int out, const char *request, size_t size) {
    const char *wrong = NULL;
    (void)fcntl(in, F_SETFL, O_NONBLOCK);
    for (ssize_t n = 1; n != 0 && wrong == NULL;) {
        struct pollfd polled[] = {{.fd = out, .events = POLLIN}, {.fd = in, .events = POLLOUT}};
        if (size == 0 && in >= 0) {
            close(in);
            in = polled[1].fd = -1;
        }
        if (poll(polled, 2, -1) < 0 && errno != EINTR) {
            break;
        }
        if (polled[1].revents != 0) {
            ssize_t went = write(in, request, size);
            size = went > 0 ? size - (size_t)went : errno == EAGAIN || errno == EINTR ? size : 0; /* it reads no more */
            request += went > 0 ? went : 0;
        }
        if (polled[0].revents != 0) {
            if (s->size == s->capacity && !grow(s)) {
                wrong = "its answer is larger than the address carries (?max= sets it)";
            } else {
                n = read(out, s->answer + s->size, s->capacity - s->size);
                s->size += n > 0 ? (size_t)n : 0;
                n = n < 0 && (errno == EINTR || errno == EAGAIN) ? 1 : n < 0 ? 0 : n;
            }
        }
    }
    if (in >= 0) {
        close(in);
    }
    return wrong;
}

/* true: the answer is there. */
static bool run(struct serve *s, const void *request, size_t size) {
    int in, out, status = 0;
    s->size = 0;
    pid_t pid = start(s, &in, &out);
    if (pid < 0) {
        tool_say(s->flow.args, "no process for %s: %s", s->flow.args->command[0], strerror(errno));
        return false;
    }
    const char *wrong = exchange(s, in, out, request, size);
    close(out);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    if (wrong != NULL) {
        tool_say(s->flow.args, "%s: %s", s->flow.args->command[0], wrong);
    } else if (status != 0) {
        tool_say(s->flow.args, "%s ended with %s %d: the request stays without an answer", s->flow.args->command[0],
                 WIFSIGNALED(status) ? "signal" : "status",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return wrong == NULL && status == 0;
}

/* ---- one after the other ---- */

/* A line of output is the answer without its newline, as a line of input is a request. */
static size_t without_newline(const struct serve *s) {
    bool lines = s->flow.args->format == FORMAT_LINES;
    return lines && s->size != 0 && s->answer[s->size - 1] == '\n' ? s->size - 1 : s->size;
}

static int serve_one(struct serve *s, thirl_msg **request) {
    const void *data = thirl_msg_data(*request);
    size_t size = thirl_msg_size(*request);
    int64_t deadline = flow_deadline(&s->flow);
    flow_count(&s->flow, size);
    if (s->flow.args->echo) {
        return thirl_reply(s->flow.end, request, data, size, THIRL_TIME(deadline));
    }
    if (!run(s, data, size)) {
        thirl_free(request);
        return 0;
    }
    return thirl_reply(s->flow.end, request, s->answer, without_newline(s), THIRL_TIME(deadline));
}

static enum tool_exit serve_all(struct serve *s) {
    const uint64_t most = s->flow.args->count;
    while ((most == 0 || s->flow.messages < most) && !stop_exit()) {
        thirl_msg *request = NULL;
        int64_t deadline = flow_deadline(&s->flow);
        int code;
        do {
            code = thirl_take(s->flow.end, &request, flow_stretch(deadline));
        } while (flow_again(&s->flow, code, deadline));
        if (code == 0) {
            code = serve_one(s, &request);
        }
        if (code == -THIRL_EPEERDIED || code == -THIRL_ECLOSED || code == -ECANCELED) {
            continue; /* a caller has gone, or changed his mind: there are others */
        }
        if (code != 0) {
            return stop_exit() ? TOOL_DONE : flow_fail(&s->flow, code);
        }
    }
    return TOOL_DONE;
}

int tool_serve(const struct tool_args *args) {
    static struct serve s;
    enum tool_exit code = flow_open(&s.flow, args, THIRL_SERVE, O_WRONLY);
    if (code == TOOL_DONE) {
        code = serve_all(&s);
    }
    (void)!thirl_close(&s.flow.end, thirl_in_ms(CLOSE_MS));
    free(s.answer);
    return flow_finish(&s.flow, code);
}
