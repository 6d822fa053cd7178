/* SPDX-License-Identifier: MIT
 *
 * The trace of an end, see spy.h. A call that answers EAGAIN again and again, as those do that spin, is written once; how
 * often it was repeated stands in a line of its own, when something else happens on that way or a second has passed. A line
 * that cannot be written at once is left out, and the next one says how many were.
 */
#define _GNU_SOURCE
#include "mech/spy.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/tube.h"
#include "mech/wrap.h"
#include "mem/node.h"

#define LINE_MAX_BYTES 2048
#define STREAK_NS CLOCK_S /* a repetition is told at least that often */

struct spy {
    struct wrap wrap;
    int fd;
    bool file;   /* a plain one: never waits, has no reader who could go */
    bool shared; /* the program's own descriptor */
    uint32_t lost;
    char who[4 * NODE_ADDRESS_MAX + 40]; /* "3 pair shm://x" */
    struct {
        const char *op; /* what answered EAGAIN last; NULL: something else was last */
        uint64_t times;
        int64_t since, ns;
    } streak[2]; /* by way, under its gate */
};

static uint32_t ends; /* that were spied on in this process */

/* ---- lines ---- */

static const char *name_of(int rc, char number[16]) {
    if (rc < 0) {
        return thirl_error_name(rc);
    }
    (void)snprintf(number, 16, "%d", rc);
    return number;
}

static void write_line(struct spy *s, const char *text, size_t size) {
    const struct iovec part = {.iov_base = (char *)text, .iov_len = size};
    int error = errno;
    ssize_t rc = s->file ? fd_add(s->fd, text, size) : tube_write(s->fd, &part, 1, s->shared);
    if (rc < 0) {
        (void)atomic_add(&s->lost, 1);
    }
    errno = error;
}

static __attribute__((format(printf, 5, 0))) void print(struct spy *s, int64_t began, int64_t ns, const char *op,
                                                        const char *format, va_list list) {
    char line[LINE_MAX_BYTES];
    size_t most = sizeof line - 80; /* what follows the arguments always fits */
    uint32_t lost = atomic_load(&s->lost);
    int used = snprintf(line, most, "%lld.%09lld %d %d %s %s ", (long long)(began / CLOCK_S),
                        (long long)(began % CLOCK_S), (int)getpid(), (int)gettid(), s->who, op);
    size_t at = (size_t)used < most ? (size_t)used : most - 1;
    used = vsnprintf(line + at, most - at, format, list);
    at += (size_t)used < most - at ? (size_t)used : most - at - 1;
    used = snprintf(line + at, sizeof line - at, " ns=%lld", (long long)ns);
    at += (size_t)used;
    if (lost != 0) {
        (void)atomic_sub(&s->lost, lost);
        used = snprintf(line + at, sizeof line - at, " lost=%u", lost);
        at += (size_t)used;
    }
    line[at++] = '\n';
    write_line(s, line, at);
}

static __attribute__((format(printf, 5, 6))) void say(struct spy *s, int64_t began, int64_t ns, const char *op,
                                                      const char *format, ...) {
    va_list list;
    va_start(list, format);
    print(s, began, ns, op, format, list);
    va_end(list);
}

static void end_streak(struct spy *s, enum mech_way way) {
    if (s->streak[way].op != NULL && s->streak[way].times != 0) {
        say(s, s->streak[way].since, s->streak[way].ns, s->streak[way].op, "times=%llu -> EAGAIN",
            (unsigned long long)s->streak[way].times);
    }
    s->streak[way].op = NULL;
    s->streak[way].times = 0;
    s->streak[way].ns = 0;
}

/* Is it one more of the same? Then it is counted, and said from time to time. */
static bool repeats(struct spy *s, enum mech_way way, int64_t began, int64_t ns, int rc, const char *op) {
    if (rc == -EAGAIN && s->streak[way].op == op) {
        s->streak[way].since = s->streak[way].times == 0 ? began : s->streak[way].since;
        s->streak[way].times++;
        s->streak[way].ns += ns;
        if (began - s->streak[way].since < STREAK_NS) {
            return true;
        }
        end_streak(s, way);
        s->streak[way].op = op;
        return true;
    }
    end_streak(s, way);
    s->streak[way].op = rc == -EAGAIN ? op : NULL;
    return false;
}

/* The line of an operation of that way; returns rc. */
static __attribute__((format(printf, 6, 7))) int tell(struct spy *s, enum mech_way way, int64_t began, int rc,
                                                      const char *op, const char *format, ...) {
    int64_t ns = clock_now() - began;
    if (!repeats(s, way, began, ns, rc, op)) {
        va_list list;
        va_start(list, format);
        print(s, began, ns, op, format, list);
        va_end(list);
    }
    return rc;
}

#define CALL(self, slot, ...) ((self)->wrap.inner->slot((self)->wrap.inside, ##__VA_ARGS__))
#define BEGIN()                                                                                                        \
    struct spy *s = self;                                                                                              \
    char number[16];                                                                                                   \
    int64_t began = clock_now()

static const char *way_name(enum mech_way way) {
    return way == MECH_IN ? "in" : "out";
}

/* ---- the file ---- */

static int open_file(struct spy *s, const struct mech_open *asked) {
    const char *to = asked->options.spy;
    struct stat status;
    if (strspn(to, "0123456789") == strlen(to)) {
        long number = strtol(to, NULL, 10);
        int access = number > INT32_MAX ? -1 : fcntl((int)number, F_GETFL);
        if (access < 0 || (access & O_ACCMODE) == O_RDONLY) {
            return err_say(EBADF, "%s: descriptor %s, which ?spy= names, is not open for writing here", asked->address,
                           to);
        }
        s->fd = fcntl((int)number, F_DUPFD_CLOEXEC, 3);
        s->shared = true;
    } else {
        s->fd =
            open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, (mode_t)asked->options.mode);
    }
    if (s->fd < 0) {
        return err_system(errno, "%s: %s, which ?spy= names, cannot be opened", asked->address, to);
    }
    s->file = fstat(s->fd, &status) == 0 && S_ISREG(status.st_mode);
    return 0;
}

static void introduce(struct spy *s, const struct mech_open *open) {
#define NAME(name, number, text) [THIRL_##name] = text,
    static const char *const roles[] = {THIRL_ROLES(NAME)};
#undef NAME
    int used = snprintf(s->who, sizeof s->who, "%u %s ", atomic_add(&ends, 1) + 1, roles[open->role]);
    char *at = s->who + used;
    for (const char *from = open->address; *from != '\0' && at + 5 < s->who + sizeof s->who; from++) {
        if (*from > ' ' && *from < 0x7f) {
            *at++ = *from;
        } else {
            at += sprintf(at, "\\x%02x", (unsigned char)*from);
        }
    }
    *at = '\0';
}

/* ---- slots ---- */

static int open_slot(void *self, const struct mech_open *open) {
    struct mech_open copy;
    BEGIN();
    wrap_begin(self, sizeof *s, open, &copy);
    int rc = open_file(s, open);
    if (rc != 0) {
        return rc;
    }
    introduce(s, open);
    began = clock_now();
    rc = CALL(s, open, &copy);
    say(s, began, clock_now() - began, "open", "queue=%llu max=%llu -> %s", (unsigned long long)open->options.queue,
        (unsigned long long)open->options.max, name_of(rc, number));
    if (rc != 0) {
        fd_close(&s->fd);
    }
    return rc;
}

static void close_slot(void *self) {
    BEGIN();
    end_streak(s, MECH_IN);
    end_streak(s, MECH_OUT);
    CALL(s, close);
    say(s, began, clock_now() - began, "close", "-> %s", name_of(0, number));
}

static void deinit_slot(void *self) {
    BEGIN();
    CALL(s, deinit);
    say(s, began, clock_now() - began, "deinit", "-> %s", name_of(0, number));
    fd_close(&s->fd);
}

static int flush_slot(void *self, uint64_t *left) {
    BEGIN();
    int rc = CALL(s, flush, left);
    return tell(s, MECH_OUT, began, rc, "flush", "-> %s left=%llu", name_of(rc, number), (unsigned long long)*left);
}

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    BEGIN();
    size_t before = *done;
    int rc = CALL(s, send, data, size, done, wait);
    return tell(s, MECH_OUT, began, rc, "send", "size=%zu done=%zu wait=%d -> %s done=%zu", size, before, wait,
                name_of(rc, number), rc == 0 ? size : *done);
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    BEGIN();
    size_t before = *done;
    int rc = CALL(s, send_noted, data, size, done, note, wait);
    return tell(s, MECH_OUT, began, rc, "send_noted",
                "size=%zu done=%zu priority=%u descriptors=%u wait=%d -> %s done=%zu", size, before, note->priority,
                note->count, wait, name_of(rc, number), rc == 0 ? size : *done);
}

static int settle_slot(void *self, const void *data, size_t size, size_t done) {
    BEGIN();
    int rc = CALL(s, settle, data, size, done);
    return tell(s, MECH_OUT, began, rc, "settle", "size=%zu done=%zu -> %s", size, done, name_of(rc, number));
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    BEGIN();
    int rc = CALL(s, recv, buffer, capacity, size, wait);
    return tell(s, MECH_IN, began, rc, "recv", "capacity=%zu wait=%d -> %s size=%zu", capacity, wait,
                name_of(rc, number), rc == 0 || rc == -EMSGSIZE ? *size : 0);
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    BEGIN();
    int rc = CALL(s, recv_noted, buffer, capacity, size, note, wait);
    bool got = rc == 0;
    return tell(s, MECH_IN, began, rc, "recv_noted", "capacity=%zu wait=%d -> %s size=%zu priority=%u descriptors=%u",
                capacity, wait, name_of(rc, number), got || rc == -EMSGSIZE ? *size : 0, got ? note->priority : 0,
                got ? note->count : 0);
}

static int send_many_slot(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    BEGIN();
    size_t wanted = *count;
    int rc = CALL(s, send_many, messages, count, bytes);
    return tell(s, MECH_OUT, began, rc, "send_many", "count=%zu -> %s count=%zu", wanted, name_of(rc, number), *count);
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    BEGIN();
    size_t wanted = *count;
    int rc = CALL(s, recv_many, buffer, capacity, messages, count, bytes);
    return tell(s, MECH_IN, began, rc, "recv_many", "capacity=%zu count=%zu -> %s count=%zu", capacity, wanted,
                name_of(rc, number), rc == 0 ? *count : 0);
}

static int loan_slot(void *self, struct mech_piece *piece, size_t size) {
    BEGIN();
    int rc = CALL(s, loan, piece, size);
    return tell(s, MECH_OUT, began, rc, "loan", "size=%zu -> %s", size, name_of(rc, number));
}

static int put_slot(void *self, struct mech_piece *piece) {
    BEGIN();
    size_t size = piece->size;
    int rc = CALL(s, put, piece);
    return tell(s, MECH_OUT, began, rc, "put", "size=%zu -> %s", size, name_of(rc, number));
}

static int take_slot(void *self, struct mech_piece *piece) {
    BEGIN();
    int rc = CALL(s, take, piece);
    return tell(s, MECH_IN, began, rc, "take", "-> %s size=%zu number=%llu", name_of(rc, number),
                rc == 0 ? piece->size : 0, (unsigned long long)(rc == 0 ? piece->number : 0));
}

static int take_noted_slot(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    BEGIN();
    int rc = CALL(s, take_noted, piece, note, wait);
    bool got = rc == 0;
    return tell(s, MECH_IN, began, rc, "take_noted", "-> %s size=%zu kind=%d call=%llu whom=%llu", name_of(rc, number),
                got ? piece->size : 0, got ? (int)note->kind : 0, (unsigned long long)(got ? note->call : 0),
                (unsigned long long)(got ? note->whom : 0));
}

static int choose_slot(void *self, uint64_t *whom) {
    BEGIN();
    int rc = CALL(s, choose, whom);
    return tell(s, MECH_OUT, began, rc, "choose", "-> %s whom=%llu", name_of(rc, number),
                (unsigned long long)(rc == 0 ? *whom : 0));
}

static void free_slot(void *self, struct mech_piece *piece, enum mech_way way) {
    BEGIN();
    CALL(s, free, piece, way);
    (void)tell(s, way, began, 0, "free", "way=%s -> %s", way_name(way), name_of(0, number));
}

static int requeue_slot(void *self, struct mech_piece *piece) {
    BEGIN();
    int rc = CALL(s, requeue, piece);
    return tell(s, MECH_IN, began, rc, "requeue", "-> %s", name_of(rc, number));
}

static int look_slot(void *self, enum mech_way way) {
    BEGIN();
    int rc = CALL(s, look, way);
    return tell(s, way, began, rc, "look", "way=%s -> %s", way_name(way), name_of(rc, number));
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    BEGIN();
    int rc = CALL(s, arm, way, watch);
    const char *on = rc != 0 ? "nothing" : watch->kind == MECH_WATCH_WORD ? "word" : "fd";
    return tell(s, way, began, rc, "arm", "way=%s -> %s on=%s fd=%d guard=%d slice=%lld", way_name(way),
                name_of(rc, number), on, rc == 0 ? watch->fd : -1, rc == 0 ? watch->guard : -1,
                (long long)(rc != 0 || watch->slice == INT64_MAX ? -1 : watch->slice));
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    BEGIN();
    int64_t rang = CALL(s, disarm, way);
    (void)tell(s, way, began, 0, "disarm", "way=%s -> %s rang=%lld", way_name(way), name_of(0, number),
               (long long)rang);
    return rang;
}

static bool spin_slot(void *self, enum mech_way way) {
    BEGIN();
    bool worth = CALL(s, spin, way);
    (void)tell(s, way, began, 0, "spin", "way=%s -> %s", way_name(way), name_of(worth, number));
    return worth;
}

/* Not of one way, and limits not even under a gate: these touch no streak. */

static int fd_slot(void *self, enum mech_way way, int *fd) {
    BEGIN();
    int rc = CALL(s, fd, way, fd);
    say(s, began, clock_now() - began, "fd", "way=%s -> %s fd=%d", way_name(way), name_of(rc, number),
        rc == 0 ? *fd : -1);
    return rc;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    BEGIN();
    CALL(s, limits, limits);
    say(s, began, clock_now() - began, "limits", "-> %s message_max=%llu", name_of(0, number),
        (unsigned long long)limits->message_max);
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    BEGIN();
    int rc = CALL(s, peer, peer);
    say(s, began, clock_now() - began, "peer", "-> %s pid=%lld", name_of(rc, number),
        (long long)(rc == 0 ? peer->pid : 0));
    return rc;
}

static int pidfd_slot(void *self, int *fd) {
    BEGIN();
    int rc = CALL(s, pidfd, fd);
    say(s, began, clock_now() - began, "pidfd", "-> %s fd=%d", name_of(rc, number), rc == 0 ? *fd : -1);
    return rc;
}

static int hand_slot(void *self, char *address, size_t capacity) {
    BEGIN();
    int rc = CALL(s, hand, address, capacity);
    say(s, began, clock_now() - began, "hand", "capacity=%zu -> %s", capacity, name_of(rc, number));
    return rc;
}

int spy_wrap(const struct mech **mech) {
    struct mech *outer = wrap_make(*mech, sizeof(struct spy));
    if (outer == NULL) {
        return -ENOMEM;
    }
#define SPY(slot) outer->slot = outer->slot == NULL ? NULL : slot##_slot
    SPY(flush);
    SPY(send);
    SPY(settle);
    SPY(recv);
    SPY(send_many);
    SPY(recv_many);
    SPY(send_noted);
    SPY(recv_noted);
    SPY(loan);
    SPY(put);
    SPY(take);
    SPY(take_noted);
    SPY(choose);
    SPY(free);
    SPY(requeue);
    SPY(spin);
    SPY(pidfd);
    SPY(hand);
#undef SPY
    outer->open = open_slot;
    outer->close = close_slot;
    outer->deinit = deinit_slot;
    outer->look = look_slot;
    outer->arm = arm_slot;
    outer->disarm = disarm_slot;
    outer->fd = fd_slot;
    outer->limits = limits_slot;
    outer->peer = peer_slot;
    *mech = outer;
    return 0;
}
