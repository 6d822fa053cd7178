/* SPDX-License-Identifier: MIT
 *
 * The verb send: what is read leaves as messages or as one stream. Where the mechanism can lend memory, large data is
 * read straight into it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool/tool.h"

#define CHUNK_MAX (UINT64_C(1) << 20)
#define CHUNK_MIN (UINT64_C(1) << 12)
#define NOTICE_MS 10
#define NOTICE_TRIES 50
#define CLOSE_MS 1000 /* how long an interrupted sender lets the receiver catch up */

struct send {
    struct flow flow;
    thirl_msg *loan;
    char *buffer;
    size_t capacity;
    bool begun;
    bool alone; /* by its role nobody in particular receives */
    int news;   /* a descriptor that tells of the peer while the input is silent, or -1 */
};

/* The peer has something to tell. Its death ends the wait for input; that it closed matters only to the next message, if
 * there is one; and what it sent is not for us: a buffer without room leaves it where it is. */
static int hear(struct send *s) {
    size_t size;
    int code = thirl_recv(s->flow.end, NULL, 0, &size, THIRL_NOW);
    if (code == -EMSGSIZE || code == -THIRL_ECLOSED) {
        s->news = -1;
    }
    return code == -THIRL_EPEERDIED ? code : 0;
}

/* Up to size bytes of input: their number, 0 at its end, a negative code. -EINTR when a signal came. */
static ssize_t read_some(struct send *s, void *to, size_t size) {
    for (;;) {
        enum stop_news what = stop_wait(s->flow.fd, POLLIN, s->news);
        if (what == STOP_SIGNAL) {
            return -EINTR;
        }
        int code = what == STOP_OTHER ? hear(s) : 0;
        if (code < 0) {
            return code;
        }
        ssize_t n = what == STOP_READY ? read(s->flow.fd, to, size) : -1;
        if (n >= 0) {
            return n;
        }
        if (what == STOP_READY && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
    }
}

static int fail_read(struct send *s, ssize_t code) {
    return code == -THIRL_EPEERDIED ? flow_fail(&s->flow, (int)code) : flow_fail_file(&s->flow, (int)-code, "read");
}

/* As read_some, but less than size only at the end of the input. */
static ssize_t read_all(struct send *s, void *to, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t n = read_some(s, (char *)to + done, size - done);
        if (n < 0) {
            return n;
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static bool make_room(struct send *s, size_t size) {
    if (size <= s->capacity) {
        return true;
    }
    char *larger = realloc(s->buffer, size);
    if (!larger) {
        tool_say(s->flow.args, "no memory for a message of %zu bytes", size);
        return false;
    }
    s->buffer = larger;
    s->capacity = size;
    return true;
}

/* The first message waits for the receiver to come: the clock starts when it is there. */
static int count(struct send *s, size_t size, bool waited) {
    if (!s->begun && waited) {
        flow_begin(&s->flow);
    }
    s->begun = true;
    flow_count(&s->flow, size);
    /* A reader takes an orderly close for the end of the stream. One that is cut must not look complete: from its first
     * byte on, the sender can only finish, or leave without closing. */
    if (s->flow.args->format == FORMAT_STREAM) {
        stop_at_once(true);
    }
    return 0;
}

/* Sends a message from the caller's memory. Of a stream, only one byte can be tried in stretches: how much of more had
 * left when a stretch was over, nobody could tell. */
static int pass(struct send *s, const void *data, size_t size) {
    int64_t deadline = flow_deadline(&s->flow);
    bool waited = false, stream = s->flow.args->format == FORMAT_STREAM && size > 1;
    for (;;) {
        int code = thirl_send(s->flow.end, data, size, stream ? THIRL_TIME(deadline) : flow_stretch(deadline));
        if (code == 0) {
            return count(s, size, waited);
        }
        if (stream || !flow_again(&s->flow, code, deadline)) {
            return code;
        }
        waited = true;
    }
}

/* Room for size bytes of the next message: the mechanism's own where it lends some, else a buffer. */
static int lend(struct send *s, size_t size, char **room) {
    int64_t deadline = flow_deadline(&s->flow);
    int code;
    if (!s->flow.limits.zero_copy) {
        *room = make_room(s, size) ? s->buffer : NULL;
        return *room ? 0 : -ENOMEM;
    }
    bool waited = false;
    while ((code = thirl_loan(s->flow.end, &s->loan, size, flow_stretch(deadline))) < 0) {
        if (!flow_again(&s->flow, code, deadline)) {
            return code;
        }
        waited = true;
    }
    if (waited && !s->begun) {
        flow_begin(&s->flow);
    }
    *room = thirl_msg_data(s->loan);
    return 0;
}

static int hand(struct send *s, size_t used) {
    if (!s->loan) {
        /* The first byte goes alone: while it waits for the receiver, a signal is noticed. */
        bool alone = s->flow.args->format == FORMAT_STREAM && !s->begun && used > 1;
        int first = alone ? pass(s, s->buffer, 1) : 0;
        return first < 0 ? first : pass(s, s->buffer + alone, used - alone);
    }
    int code = used < thirl_msg_size(s->loan) ? thirl_msg_trim(s->loan, used) : 0;
    if (code == 0) {
        code = thirl_put(s->flow.end, &s->loan, THIRL_TIME(flow_deadline(&s->flow)));
    }
    return code == 0 ? count(s, used, false) : code;
}

static int say_too_long(struct send *s, const char *what) {
    char most[TEXT_SIZE_MAX];
    tool_say(s->flow.args, "%s longer than %s, which is the most that %s carries in one message (?max= sets it)", what,
             text_size(most, (double)s->flow.limits.message_max), s->flow.args->operand);
    return TOOL_OTHER;
}

/* Passes on the whole lines among the first `held` bytes of the buffer. What is left then begins at *left. */
static int pass_lines(struct send *s, size_t held, size_t known, size_t *left) {
    char *line = s->buffer, *end = s->buffer + held, *from = s->buffer + known, *newline;
    while ((newline = memchr(from, '\n', (size_t)(end - from)))) {
        int code = pass(s, line, (size_t)(newline - line));
        if (code < 0) {
            return code;
        }
        line = from = newline + 1;
        if (stop_exit()) {
            break;
        }
    }
    *left = (size_t)(line - s->buffer);
    return 0;
}

static int send_lines(struct send *s) {
    size_t held = 0, known = 0, left = 0;
    for (;;) {
        if (!make_room(s, held < 65536 ? 131072 : 2 * held)) {
            return TOOL_OTHER;
        }
        ssize_t n = read_some(s, s->buffer + held, s->capacity - held);
        if (n < 0) {
            return fail_read(s, n);
        }
        if (n == 0) {
            break;
        }
        held += (size_t)n;
        int code = pass_lines(s, held, known, &left);
        if (code < 0) {
            return flow_fail(&s->flow, code);
        }
        if (stop_exit()) {
            return TOOL_OTHER;
        }
        held -= left;
        known = held; /* no newline so far: not searched twice */
        memmove(s->buffer, s->buffer + left, held);
        if (held > s->flow.limits.message_max) {
            return say_too_long(s, "a line is");
        }
    }
    int code = held ? pass(s, s->buffer, held) : 0;
    return code < 0 ? (int)flow_fail(&s->flow, code) : TOOL_DONE;
}

static int say_cut(struct send *s, ssize_t read) {
    if (read < 0) {
        return fail_read(s, read);
    }
    tool_say(s->flow.args, "the input ends inside a message: --length wants 4 bytes of length, then that many bytes");
    return TOOL_OTHER;
}

static int send_lengths(struct send *s) {
    unsigned char head[4];
    for (;;) {
        ssize_t n = read_all(s, head, sizeof head);
        if (n == 0) {
            return TOOL_DONE;
        }
        if (n < (ssize_t)sizeof head) {
            return say_cut(s, n);
        }
        size_t size = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        if (size > s->flow.limits.message_max) {
            return say_too_long(s, "a message is");
        }
        char *room = NULL;
        int code = size ? lend(s, size, &room) : 0;
        if (code < 0) {
            return flow_fail(&s->flow, code);
        }
        if (size && (n = read_all(s, room, size)) < (ssize_t)size) {
            return say_cut(s, n);
        }
        code = size ? hand(s, size) : pass(s, "", 0);
        if (code < 0) {
            return flow_fail(&s->flow, code);
        }
    }
}

static size_t chunk(const struct send *s) {
    uint64_t size = s->flow.limits.queue / 8; /* so that both sides have something to do */
    if (size > CHUNK_MAX || !s->flow.limits.zero_copy) {
        size = CHUNK_MAX;
    }
    if (size < CHUNK_MIN) {
        size = CHUNK_MIN;
    }
    return size < s->flow.limits.message_max ? (size_t)size : (size_t)s->flow.limits.message_max;
}

static int send_stream(struct send *s) {
    size_t size = chunk(s);
    (void)posix_fadvise(s->flow.fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        char *room;
        int code = lend(s, size, &room);
        if (code < 0) {
            return flow_fail(&s->flow, code);
        }
        ssize_t n = read_some(s, room, size);
        if (n < 0) {
            return fail_read(s, n);
        }
        if (n == 0) {
            return TOOL_DONE;
        }
        code = hand(s, (size_t)n);
        if (code < 0) {
            return flow_fail(&s->flow, code);
        }
    }
}

static int is_linked(void *context, const struct thirl_seen *seen) {
    const struct thirl_peer *peer = context;
    return seen->pid == peer->pid && strcmp(seen->state, "linked") == 0;
}

/* An empty input still has an end, and the receiver waits for it: stays until there is one who has noticed us. No call
 * says that of a peer that was sent nothing, but the registry does, where both ends see the same. */
static int meet(struct send *s) {
    int64_t deadline = flow_deadline(&s->flow);
    struct thirl_peer peer = {.size = sizeof peer};
    int code = -EAGAIN;
    while (flow_again(&s->flow, code, deadline)) {
        code = thirl_loan(s->flow.end, &s->loan, 1, flow_stretch(deadline));
        thirl_free(&s->loan);
        if (code == 0 && thirl_peer(s->flow.end, &peer) == -ENOTCONN) {
            poll(NULL, 0, NOTICE_MS);
            code = -EAGAIN;
        }
    }
    for (int tries = 0; code == 0 && tries < NOTICE_TRIES && thirl_list(is_linked, &peer) == 0; tries++) {
        poll(NULL, 0, NOTICE_MS);
    }
    return code == 0 || code == -THIRL_ECLOSED ? TOOL_DONE : (int)flow_fail(&s->flow, code);
}

static int send_all(struct send *s) {
    int code = TOOL_DONE;
    struct stat status;
    bool silent = fstat(s->flow.fd, &status) == 0 && !S_ISREG(status.st_mode);
    s->news = silent && s->flow.limits.receives ? thirl_fd(s->flow.end) : -1;
    if (s->flow.args->message) {
        code = pass(s, s->flow.args->message, strlen(s->flow.args->message));
        code = code < 0 ? (int)flow_fail(&s->flow, code) : TOOL_DONE;
    } else if (s->flow.args->format == FORMAT_LINES) {
        code = send_lines(s);
    } else if (s->flow.args->format == FORMAT_LENGTH) {
        code = send_lengths(s);
    } else {
        code = send_stream(s);
    }
    thirl_free(&s->loan);
    return code == TOOL_DONE && s->flow.messages == 0 && !s->alone ? meet(s) : code;
}

/* Everything is sent: waits until it is taken. */
static int finish(struct send *s) {
    stop_at_once(true);
    int left = thirl_close(&s->flow.end, THIRL_TIME(flow_deadline(&s->flow)));
    stop_at_once(false);
    if (left <= 0) {
        return TOOL_DONE;
    }
    const char *why = thirl_why();
    tool_say(s->flow.args, "%d %s not taken by the receiver%s%s", left,
             s->flow.args->format == FORMAT_STREAM ? "pieces of the stream were" : "messages were", *why ? ": " : "",
             why);
    return TOOL_CLOSED;
}

int tool_send(const struct tool_args *args) {
    static struct send s; /* a stream that is cut keeps its end until the process is gone */
    bool stream = args->format == FORMAT_STREAM;
    enum thirl_role role = flow_role(args, true);
    int code = flow_open(&s.flow, args, role, O_RDONLY);
    s.alone = role != THIRL_PAIR && role != THIRL_WRITE;
    if (code == TOOL_DONE) {
        code = send_all(&s);
    }
    if (code == TOOL_DONE && !stop_exit()) {
        code = finish(&s);
    }
    if (s.flow.end && !(stream && s.begun)) {
        int left = thirl_close(&s.flow.end, thirl_in_ms(CLOSE_MS));
        if (left > 0 && stop_exit()) {
            tool_say(args, "%d messages were not taken by the receiver", left);
        }
    }
    free(s.buffer);
    return flow_finish(&s.flow, code);
}
