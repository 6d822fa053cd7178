/* SPDX-License-Identifier: MIT
 *
 * run -j: workers that share what is sent, see staff.c. On a channel of this run's own the messages of standard input are sent to
 * them: as jobs where they pull, as requests where they serve, whose answers are printed in the order of the requests. At an
 * address that was given others send, and this only sees to the workers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

#define MS INT64_C(1000000)
#define LOOK_NS (10 * MS) /* between two looks at what rings nobody: who has opened what, and what is left to do */
#define CLOSE_MS 1000
#define EACH 4 /* requests that wait for answers, for each worker */

struct asked {
    uint64_t call, number; /* number: of the message on standard input */
    char *bytes;           /* of the answer, as they are printed */
    size_t size, room;
    bool over;
};

struct jobs {
    const struct tool_args *args;
    struct staff staff;
    struct text out;
    char address[64]; /* of the own channel */
    thirl *end;       /* NULL: nobody has opened his yet */
    bool calls, given;
    struct thirl_limits limits;
    char *buffer; /* of standard input: held bytes, the first `used` of them are sent */
    size_t capacity, held, used;
    bool ended, full; /* the input; the channel */
    struct asked *asked;
    size_t first, count, most; /* a ring of them */
    uint64_t sent, failed, left;
    int error; /* the exit code of what ended it too early */
};

/* ---- the channel ---- */

struct search {
    const char *address;
    char role[16];
};

static int see(void *context, const struct thirl_seen *seen) {
    struct search *search = context;
    size_t length = strlen(search->address);
    bool it = strncmp(seen->address, search->address, length) == 0 &&
              (seen->address[length] == 0 || seen->address[length] == '?') && strcmp(seen->state, "dead") != 0;
    if (it) {
        (void)snprintf(search->role, sizeof search->role, "%s", seen->role);
    }
    return it;
}

/* Opens this end when the first worker has opened his: that one says what they are. */
static int meet(struct jobs *j) {
    struct search search = {.address = j->address};
    char address[sizeof j->address + 32];
    int code = thirl_list(see, &search);
    if (code <= 0) {
        return code;
    }
    j->calls = strcmp(search.role, "serve") == 0;
    if (!j->calls && strcmp(search.role, "pull") != 0) {
        tool_say(j->args, "a worker has opened %s as %s; workers pull or serve", j->address, search.role);
        j->error = TOOL_USAGE;
        return 0;
    }
    /* No time limit: a request waits until somebody has answered it. */
    (void)snprintf(address, sizeof address, "%s%s", j->address, j->calls ? "?retry&timeout=31536000s" : "");
    code = thirl_open(&j->end, j->calls ? THIRL_CALL : THIRL_PUSH, address, NULL);
    return code == 0 ? thirl_limits(j->end, &j->limits) : code;
}

static int count_left(void *context, const struct thirl_left *left) {
    struct jobs *j = context;
    j->left += strcmp(left->address, j->address) == 0 ? left->messages : 0;
    return 0;
}

/* Jobs that were sent and are not done. */
static int look_left(struct jobs *j) {
    j->left = 0;
    return thirl_left(count_left, j);
}

/* ---- standard input ---- */

/* Reads what is there. 0 or an error. */
static int fill(struct jobs *j) {
    memmove(j->buffer, j->buffer + j->used, j->held - j->used);
    j->held -= j->used;
    j->used = 0;
    if (j->capacity - j->held < 65536) {
        char *larger =
            j->end != NULL && j->held > j->limits.message_max + 65536 ? NULL : realloc(j->buffer, 2 * j->held + 131072);
        if (larger == NULL) {
            return -EMSGSIZE;
        }
        j->buffer = larger;
        j->capacity = 2 * j->held + 131072;
    }
    ssize_t n = read(0, j->buffer + j->held, j->capacity - j->held);
    if (n < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    }
    j->held += (size_t)n;
    j->ended = n == 0;
    return 0;
}

/* The next whole message of what was read, and how many bytes it takes there. */
static bool next(const struct jobs *j, const char **data, size_t *size, size_t *step) {
    const char *at = j->buffer + j->used;
    size_t left = j->held - j->used;
    if (j->args->format == FORMAT_LENGTH) {
        const unsigned char *head = (const unsigned char *)at;
        *size = left < 4 ? 0 : (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
        *data = at + 4;
        *step = 4 + *size;
        return left >= 4 && left - 4 >= *size;
    }
    const char *newline = left == 0 ? NULL : memchr(at, '\n', left);
    *size = newline != NULL ? (size_t)(newline - at) : left;
    *data = at;
    *step = *size + (newline != NULL);
    return newline != NULL || (j->ended && left != 0);
}

/* ---- requests and answers ---- */

static struct asked *asked_at(const struct jobs *j, size_t i) {
    return &j->asked[(j->first + i) % j->most];
}

static bool keep(struct asked *a, const void *data, size_t size) {
    if (a->room - a->size < size) {
        char *larger = realloc(a->bytes, a->size + size);
        if (larger == NULL) {
            return false;
        }
        a->bytes = larger;
        a->room = a->size + size;
    }
    memcpy(a->bytes + a->size, data, size);
    a->size += size;
    return true;
}

static int note(const struct jobs *j, struct asked *a, const thirl_msg *msg) {
    size_t size = thirl_msg_size(msg);
    const unsigned char head[4] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                                   (unsigned char)size};
    bool lines = j->args->format == FORMAT_LINES;
    bool kept = (lines || keep(a, head, sizeof head)) && (size == 0 || keep(a, thirl_msg_data(msg), size)) &&
                (!lines || keep(a, "\n", 1));
    return kept ? 0 : -ENOMEM;
}

/* Takes the answers that are there. 0 or an error that is not of one call. */
static int answers(struct jobs *j) {
    int code = 0;
    while (j->count != 0 && code >= 0) {
        uint64_t call = 0;
        thirl_msg *msg = NULL;
        struct asked *a = NULL;
        code = thirl_answer(j->end, &call, &msg, THIRL_NOW);
        for (size_t i = 0; i < j->count && call != 0 && a == NULL; i++) {
            a = !asked_at(j, i)->over && asked_at(j, i)->call == call ? asked_at(j, i) : NULL;
        }
        if (a == NULL) {
            thirl_free(&msg);
            return code == -EAGAIN || code == -ENOENT || code >= 0 ? 0 : code;
        }
        a->over = code != THIRL_MORE;
        if (code < 0) {
            tool_say(j->args, "message %" PRIu64 ": %s", a->number, thirl_why());
            j->failed++;
            code = 0;
        } else if (note(j, a, msg) != 0) {
            code = -ENOMEM;
        }
        thirl_free(&msg);
    }
    return code < 0 ? code : 0;
}

static void print(struct jobs *j) {
    while (j->count != 0 && asked_at(j, 0)->over) {
        struct asked *a = asked_at(j, 0);
        text_bytes(&j->out, a->bytes, a->size);
        a->size = 0;
        j->first = (j->first + 1) % j->most;
        j->count--;
    }
    (void)text_flush(&j->out);
}

static int send_one(struct jobs *j, const char *data, size_t size) {
    if (!j->calls) {
        return thirl_send(j->end, data, size, THIRL_NOW);
    }
    struct asked *a = asked_at(j, j->count);
    int code = thirl_ask(j->end, data, size, &a->call, THIRL_NOW);
    if (code == 0) {
        a->number = j->sent + 1;
        a->over = false;
        j->count++;
    }
    return code;
}

/* Sends what was read, as far as there is room. 0 or an error. */
static int send_all(struct jobs *j) {
    const char *data;
    size_t size, step;
    int code = 0;
    j->full = false;
    while (code == 0 && j->count < j->most && next(j, &data, &size, &step)) {
        code = send_one(j, data, size);
        j->full = code == -EAGAIN;
        j->used += code == 0 ? step : 0;
        j->sent += code == 0;
    }
    return code == -EAGAIN ? 0 : code;
}

/* ---- round and round ---- */

static int fail(struct jobs *j, const char *what, int code) {
    if (code < 0 && j->error == 0) {
        tool_say(j->args, "%s%s", what, *what ? strerror(-code) : thirl_why());
        j->error = *what ? TOOL_OTHER : (int)tool_exit_of(code);
    }
    return code;
}

/* Reads, sends, and takes what is answered. true: all is done. */
static bool work(struct jobs *j, bool readable) {
    const char *data;
    size_t size, step;
    if (readable) {
        (void)fail(j, "standard input: ", fill(j));
    }
    if (j->end == NULL) {
        (void)fail(j, "", meet(j));
    }
    if (j->end != NULL && j->error == 0) {
        int code = j->calls ? answers(j) : 0;
        print(j);
        (void)fail(j, "", code != 0 ? code : send_all(j));
    }
    if (j->out.error != 0) {
        j->error = TOOL_PIPE;
    }
    if (j->error != 0 || !j->ended || j->count != 0 || next(j, &data, &size, &step)) {
        return false;
    }
    if (j->used != j->held) {
        tool_say(j->args, "standard input ends inside a message");
        j->error = TOOL_OTHER;
    }
    return j->end == NULL || j->calls || (fail(j, "", look_left(j)) == 0 && j->left == 0);
}

/* Sleeps until there is something to do. true: standard input is readable. */
static bool rest(struct jobs *j) {
    const char *data;
    size_t size, step;
    bool whole = next(j, &data, &size, &step), reads = !j->given && !j->ended && !whole;
    struct thirl_want wants[] = {
        {.fd = j->staff.signals, .wanted = POLLIN},
        {.fd = reads ? 0 : -1, .wanted = POLLIN},
        {.fd = -1,
         .end = j->end,
         .wanted = (j->count != 0 ? THIRL_WANT_MESSAGE : 0u) | (j->full ? THIRL_WANT_ROOM : 0u)}};
    /* Before it is known what they are, and when all was sent, nothing rings. */
    bool looks = !j->given && (j->end == NULL ? j->held != j->used || j->ended : !j->calls && j->ended && !whole);
    int64_t due = staff_due(&j->staff), look = staff_now() + LOOK_NS;
    due = looks && look < due ? look : due;
    (void)!thirl_wait(wants, sizeof wants / sizeof *wants, THIRL_TIME(due < 0 ? 0 : due));
    return wants[1].ready != 0;
}

static void go(struct jobs *j) {
    bool done = false, readable = false;
    while (!done && j->error == 0 && j->staff.signal == 0 && j->staff.given_up == 0) {
        staff_tend(&j->staff);
        done = j->given ? staff_gone(&j->staff) : work(j, readable);
        if (!done && staff_gone(&j->staff)) {
            break;
        }
        readable = !done && j->error == 0 ? rest(j) : false;
    }
    staff_end(&j->staff);
    while (!staff_gone(&j->staff)) {
        struct thirl_want want = {.fd = j->staff.signals, .wanted = POLLIN};
        int64_t due = staff_due(&j->staff);
        (void)!thirl_wait(&want, 1, THIRL_TIME(due < 0 ? 0 : due));
        staff_tend(&j->staff);
    }
    j->error = done || j->error != 0 ? j->error : -1;
}

static void sum_up(const struct jobs *j, uint64_t undone) {
    struct text out;
    if (j->args->json) {
        text_init(&out, 2);
        text_print(&out,
                   "{\"event\":\"done\",\"sent\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"undone\":%" PRIu64
                   ",\"restarts\":%" PRIu64 "}\n",
                   j->sent, j->failed, undone, j->staff.restarts);
        (void)text_flush(&out);
    }
}

/* What the workers have left in the channel goes with it. */
static uint64_t clear(struct jobs *j) {
    uint64_t undone = j->count;
    (void)!thirl_close(&j->end, thirl_in_ms(CLOSE_MS));
    if (!j->given && !j->calls && look_left(j) == 0 && j->left != 0) {
        undone = j->left;
        (void)!thirl_clean(j->address);
    }
    return undone;
}

static int exit_of(const struct jobs *j, uint64_t undone, enum tool_exit written) {
    if (j->error > 0) {
        return j->error;
    }
    if (j->staff.signal != 0) {
        if (undone != 0 && !j->args->json) {
            tool_say(j->args, "%" PRIu64 " of %" PRIu64 " messages were not done", undone, j->sent);
        }
        return 128 + j->staff.signal;
    }
    if (j->staff.given_up != 0) {
        tool_say(j->args, "%s cannot go on; %" PRIu64 " messages were sent, and %" PRIu64 " of them not done",
                 j->args->operand, j->sent, undone);
        return j->staff.given_up;
    }
    if (j->error < 0) {
        tool_say(j->args,
                 "all workers have ended before all was done: %" PRIu64 " messages were sent, and %" PRIu64
                 " of them not done",
                 j->sent, undone);
        return TOOL_CLOSED;
    }
    return j->failed != 0 ? TOOL_OTHER : (int)written;
}

int tool_jobs(const struct tool_args *args) {
    static struct jobs j;
    j.args = args;
    j.given = args->over != NULL;
    j.most = EACH * (size_t)args->jobs;
    j.asked = calloc(j.most, sizeof *j.asked);
    j.limits.size = sizeof j.limits;
    text_init(&j.out, 1);
    (void)snprintf(j.address, sizeof j.address, "shm://run-%d-%08x", (int)getpid(), (unsigned)staff_now());
    if (j.asked == NULL) {
        tool_say(args, "no memory for %zu requests", j.most);
        return TOOL_OTHER;
    }
    enum tool_exit code = staff_open(&j.staff, args, j.given ? args->over : j.address);
    if (code != TOOL_DONE) {
        return code;
    }
    go(&j);
    enum tool_exit written = j.out.error == EPIPE ? TOOL_PIPE : text_finish(&j.out, args);
    uint64_t undone = clear(&j);
    sum_up(&j, undone);
    for (size_t i = 0; i < j.most; i++) {
        free(j.asked[i].bytes);
    }
    free(j.asked);
    free(j.buffer);
    staff_close(&j.staff);
    return exit_of(&j, undone, written);
}
