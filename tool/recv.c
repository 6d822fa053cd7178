/* SPDX-License-Identifier: MIT
 *
 * The verb recv: messages or a stream, written straight from where they lie.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

#define CLOSE_MS 1000

struct recv {
    struct flow flow;
    struct text out;
    bool jobs;  /* each message is done when it is written, and not before */
    bool crowd; /* senders come and go */
};

/* The next message. Output is held back only while more input is there. */
static int take(struct recv *r, thirl_msg **msg) {
    int code = thirl_take(r->flow.end, msg, THIRL_NOW);
    if (code != -EAGAIN) {
        return code;
    }
    if (text_flush(&r->out) < 0) {
        return 0;
    }
    int64_t deadline = flow_deadline(&r->flow);
    do {
        code = thirl_take(r->flow.end, msg, flow_stretch(deadline));
    } while (flow_again(&r->flow, code, deadline));
    if (r->flow.messages == 0) {
        flow_begin(&r->flow);
    }
    return code;
}

static void write_json(struct text *out, const thirl_msg *msg, bool topics) {
    const void *data = thirl_msg_data(msg);
    size_t size = thirl_msg_size(msg);
    text_print(out, "{\"number\":%llu,\"size\":%zu,", (unsigned long long)thirl_msg_number(msg), size);
    if (thirl_msg_lost(msg) != 0) {
        text_print(out, "\"lost\":%llu,", (unsigned long long)thirl_msg_lost(msg));
    }
    if (thirl_msg_again(msg)) {
        text_print(out, "\"again\":true,");
    }
    if (topics) {
        text_print(out, "\"topic\":");
        text_json(out, thirl_msg_topic(msg), strlen(thirl_msg_topic(msg)));
        text_print(out, ",");
    }
    text_payload(out, data, size);
    text_bytes(out, "}\n", 2);
}

static int write_one(struct recv *r, const thirl_msg *msg) {
    const struct tool_args *args = r->flow.args;
    size_t size = thirl_msg_size(msg);
    if (args->json) {
        write_json(&r->out, msg, r->crowd);
    } else if (args->format == FORMAT_LENGTH) {
        if (size > UINT32_MAX) {
            tool_say(args, "a message of %zu bytes does not fit a length of 4 bytes", size);
            return TOOL_OTHER;
        }
        unsigned char head[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                                 (unsigned char)size};
        text_bytes(&r->out, head, sizeof head);
        text_bytes(&r->out, thirl_msg_data(msg), size);
    } else {
        if (args->topic) {
            text_print(&r->out, "%s\t", thirl_msg_topic(msg));
        }
        text_bytes(&r->out, thirl_msg_data(msg), size);
        if (args->format == FORMAT_LINES) {
            text_bytes(&r->out, "\n", 1);
        }
    }
    return TOOL_DONE;
}

/* What the end of receiving means: the sender closed, as it should, or something went wrong. */
static int judge(struct recv *r, int code) {
    const struct tool_args *args = r->flow.args;
    if (code == THIRL_END || (code == -THIRL_ECLOSED && !args->count)) {
        return TOOL_DONE;
    }
    if (code == -THIRL_ECLOSED) {
        tool_say(args, "the sender closed its end after %llu of %llu messages", (unsigned long long)r->flow.messages,
                 (unsigned long long)args->count);
        return TOOL_CLOSED;
    }
    return flow_fail(&r->flow, code);
}

/* An error after which more may come: one of many died, a job was too old, or it is merely silent. */
static bool is_passing(const struct recv *r, int code) {
    return (code == -THIRL_EPEERDIED && r->crowd) || code == -THIRL_EEXPIRED || code == -THIRL_ESILENT;
}

static int recv_all(struct recv *r) {
    uint64_t most = r->flow.args->count;
    while (!most || r->flow.messages < most) {
        thirl_msg *msg = NULL;
        int code = take(r, &msg);
        if (r->out.error) {
            return TOOL_OTHER;
        }
        if (is_passing(r, code)) {
            (void)flow_fail(&r->flow, code);
            continue;
        }
        if (code != 0) {
            return judge(r, code);
        }
        code = write_one(r, msg);
        if (r->jobs) {
            text_flush(&r->out);
        }
        flow_count(&r->flow, thirl_msg_size(msg));
        thirl_free(&msg);
        if (code != TOOL_DONE) {
            return code;
        }
        if (r->out.error || stop_exit()) {
            return TOOL_OTHER;
        }
    }
    return TOOL_DONE;
}

/* The disk may report its error only when the file is closed. */
static int finish_file(struct recv *r, int code) {
    text_flush(&r->out);
    if (!r->out.error && close(r->flow.fd) < 0 && errno != EINTR) {
        r->out.error = errno;
    }
    return r->out.error ? (int)flow_fail_file(&r->flow, r->out.error, "write") : code;
}

int tool_recv(const struct tool_args *args) {
    static struct recv r;
    enum thirl_role role = flow_role(args, false);
    int code = flow_open(&r.flow, args, role, O_WRONLY | O_CREAT | O_TRUNC);
    r.jobs = role == THIRL_PULL;
    r.crowd = role == THIRL_SUB;
    if (code == TOOL_DONE) {
        text_init(&r.out, r.flow.fd);
        code = recv_all(&r);
        code = finish_file(&r, code);
    }
    thirl_close(&r.flow.end, thirl_in_ms(CLOSE_MS));
    return flow_finish(&r.flow, code);
}
