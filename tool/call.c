/* SPDX-License-Identifier: MIT
 *
 * The verb call: requests, one after the other, and what is answered. A request that fails is said, and the next one is sent.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

struct call {
    struct flow flow;
    struct text out;
    char *buffer;
    size_t capacity, held, known; /* bytes of input, and how many of them hold no whole request */
    int failed;                   /* the exit code of the first that did */
};

static void write_answer(struct call *c, const thirl_msg *msg, bool more) {
    const struct tool_args *args = c->flow.args;
    const void *data = thirl_msg_data(msg);
    size_t size = thirl_msg_size(msg);
    if (args->json) {
        text_print(&c->out, "{\"call\":%llu,\"more\":%s,\"size\":%zu,", (unsigned long long)c->flow.messages,
                   more ? "true" : "false", size);
        text_payload(&c->out, data, size);
        text_bytes(&c->out, "}\n", 2);
        return;
    }
    if (args->format == FORMAT_LENGTH) {
        const unsigned char head[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                       (unsigned char)(size >> 8), (unsigned char)size};
        text_bytes(&c->out, head, sizeof head);
    }
    text_bytes(&c->out, data, size);
    if (args->format == FORMAT_LINES) {
        text_bytes(&c->out, "\n", 1);
    }
}

/* The next answer of a call that was sent, in stretches, so that a signal is noticed. */
static int answer(struct call *c, uint64_t *call, thirl_msg **msg, int64_t deadline) {
    int code;
    do {
        code = thirl_answer(c->flow.end, call, msg, flow_stretch(deadline));
    } while ((code == -ETIMEDOUT || code == -EAGAIN) && flow_again(&c->flow, code, deadline));
    return code;
}

/* One request and all that is answered. */
static enum tool_exit ask(struct call *c, const void *data, size_t size) {
    int64_t deadline = flow_deadline(&c->flow);
    uint64_t call = 0;
    thirl_msg *msg = NULL;
    int code = thirl_ask(c->flow.end, data, size, &call, THIRL_TIME(deadline));
    while (code == 0 || code == THIRL_MORE) {
        code = answer(c, &call, &msg, deadline);
        if (code < 0) {
            break;
        }
        write_answer(c, msg, code == THIRL_MORE);
        flow_count(&c->flow, thirl_msg_size(msg));
        thirl_free(&msg);
        if (code == 0) {
            return text_flush(&c->out) < 0 ? TOOL_OTHER : TOOL_DONE;
        }
    }
    enum tool_exit exit_code = flow_fail(&c->flow, code);
    if (call != 0) {
        (void)!thirl_cancel(c->flow.end, call); /* if it still is one */
    }
    c->failed = c->failed != 0 ? c->failed : (int)exit_code;
    return exit_code == TOOL_USAGE || stop_exit() ? exit_code : TOOL_DONE;
}

/* Passes on the whole requests that are held; with last, what is left is one, too. */
static enum tool_exit ask_held(struct call *c, bool last) {
    char *at = c->buffer, *end = c->buffer + c->held;
    enum tool_exit code = TOOL_DONE;
    while (code == TOOL_DONE && at < end && !c->out.error && !stop_exit()) {
        size_t left = (size_t)(end - at), size, skip;
        if (c->flow.args->format == FORMAT_LENGTH) {
            const unsigned char *head = (const unsigned char *)at;
            size = left < 4 ? 0 : (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
            if (left < 4 || left - 4 < size) {
                break;
            }
            code = ask(c, at + 4, size);
            skip = 4 + size;
        } else {
            char *newline = memchr(at, '\n', left);
            if (newline == NULL && !last) {
                break;
            }
            size = newline != NULL ? (size_t)(newline - at) : left;
            code = ask(c, at, size);
            skip = size + (newline != NULL);
        }
        at += skip;
    }
    c->held = (size_t)(end - at);
    memmove(c->buffer, at, c->held);
    return code;
}

static enum tool_exit ask_all(struct call *c) {
    for (;;) {
        if (c->capacity - c->held < 65536) {
            char *larger =
                c->held > c->flow.limits.message_max + 65536 ? NULL : realloc(c->buffer, 2 * c->held + 131072);
            if (larger == NULL) {
                tool_say(c->flow.args, "a request is longer than the %llu bytes that %s carries",
                         (unsigned long long)c->flow.limits.message_max, c->flow.args->operand);
                return TOOL_OTHER;
            }
            c->buffer = larger;
            c->capacity = 2 * c->held + 131072;
        }
        ssize_t n = stop_wait(c->flow.fd, POLLIN, -1) == STOP_READY
                        ? read(c->flow.fd, c->buffer + c->held, c->capacity - c->held)
                        : -1;
        if (stop_exit()) {
            return TOOL_OTHER;
        }
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return flow_fail_file(&c->flow, errno, "read");
        }
        c->held += n > 0 ? (size_t)n : 0;
        enum tool_exit code = ask_held(c, n == 0);
        if (code != TOOL_DONE || c->out.error) {
            return code;
        }
        if (n == 0) {
            if (c->held != 0) {
                tool_say(c->flow.args,
                         "the input ends inside a message: --length wants 4 bytes of length, then that many");
                return TOOL_OTHER;
            }
            return TOOL_DONE;
        }
    }
}

int tool_call(const struct tool_args *args) {
    static struct call c;
    enum tool_exit code = flow_open(&c.flow, args, THIRL_CALL, O_RDONLY);
    text_init(&c.out, 1);
    if (code == TOOL_DONE) {
        code = args->message != NULL ? ask(&c, args->message, strlen(args->message)) : ask_all(&c);
    }
    enum tool_exit written = text_finish(&c.out, args);
    (void)!thirl_close(&c.flow.end, THIRL_NOW);
    free(c.buffer);
    return flow_finish(&c.flow, code != TOOL_DONE ? (int)code : c.failed != 0 ? c.failed : (int)written);
}
