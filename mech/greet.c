/* SPDX-License-Identifier: MIT
 *
 * Greetings over a line, see greet.h.
 */
#define _GNU_SOURCE
#include "mech/greet.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/tube.h"

static bool is_pipes(const struct meet_line *line) {
    return line->in != line->out;
}

int greet_utter(const struct meet_line *line, const void *data, size_t size) {
    ssize_t went;
    if (is_pipes(line)) {
        went = tube_write(line->out, &(struct iovec){(void *)(uintptr_t)data, size}, 1, false);
    } else {
        went = send(line->out, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        went = went < 0 ? -errno : went;
    }
    if (went == (ssize_t)size) {
        return 0;
    }
    return went == -EAGAIN || went == -EINTR || went == -ENOMEM || went == -ENOBUFS ? -EAGAIN : -EPIPE;
}

int greet_say(const struct meet *m, const struct meet_line *line, enum frame_hello_kind kind, int code, int64_t pid) {
    unsigned char text[FRAME_HELLO];
    if (m->raw) {
        return 0;
    }
    struct frame_hello hello = m->own;
    hello.kind = (uint8_t)kind;
    hello.code = (uint32_t)code;
    hello.pid[0] = getpid();
    hello.pid[1] = pid;
    frame_write_hello(text, &hello);
    return greet_utter(line, text, sizeof(text));
}

/* A pipe that nobody has opened for writing yet reads like one that everybody has closed. Since it was read, somebody may have
 * opened it and written. */
static bool is_awaited(const struct meet_line *line) {
    struct pollfd polled[2] = {{.fd = line->in, .events = POLLIN}, {.fd = line->out}};
    (void)poll(polled, 2, 0); /* refused, it says nothing of an end */
    return is_pipes(line) &&
           ((polled[0].revents & POLLIN) != 0 || (polled[0].revents == 0 && (polled[1].revents & POLLERR) == 0));
}

int greet_hear(const struct meet *m, struct meet_line *line, enum frame_hello_kind due, struct frame_hello *hello) {
    static const uint32_t others[] = {
        [THIRL_PAIR] = THIRL_PAIR, [THIRL_WRITE] = THIRL_READ, [THIRL_READ] = THIRL_WRITE};
    if (m->raw) {
        *hello = (struct frame_hello){.kind = (uint8_t)due,
                                      .role = (uint8_t)others[m->own.role],
                                      .max = UINT64_MAX,
                                      .descriptors = THIRL_DESCRIPTORS_MAX};
        return 1;
    }
    ssize_t got = read(line->in, line->said + line->had, FRAME_HELLO - line->had);
    if (got < 0 && errno == ECONNRESET) {
        got = read(line->in, line->said + line->had, FRAME_HELLO - line->had); /* what it said before is still there */
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return -EAGAIN;
    }
    if (got <= 0) {
        return got == 0 && is_awaited(line) ? -EAGAIN : 0;
    }
    line->had += (size_t)got;
    if (line->had == FRAME_HELLO || !frame_may_greet(line->said, line->had)) {
        int rc = frame_read_hello(line->said, hello);
        return rc != 0 ? rc : 1;
    }
    return m->packets ? err_say(THIRL_EFORMAT, "the peer does not speak thirl (its greeting has %zd bytes)", got)
                      : -EAGAIN;
}
