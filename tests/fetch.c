/* SPDX-License-Identifier: MIT
 *
 * The operations over shm://, and those that read naively.
 */
#define _GNU_SOURCE
#include "tests/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/liar.h"
#include "tests/lure.h"

#define MOST ((size_t)64 << 10) /* ?max= of each */
#define ROOM ((size_t)128 << 10)
#define CANARY 0xa5

static thirl *mine;
static enum thirl_role role; /* the victim's */
static char address[160];
static thirl_msg *held[2];
static uint64_t asked;
static char *room; /* ends before a page that nobody may touch; so it begins */
static char data[LURE_LARGE];

void fetch_begin(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    lure = mmap(NULL, sizeof *lure, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *all = mmap(NULL, ROOM + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lure == MAP_FAILED || all == MAP_FAILED || mprotect(all + page, ROOM, PROT_READ | PROT_WRITE) != 0) {
        fetch_fail("there is no memory");
    }
    room = all + page;
    memset(room, CANARY, ROOM);
}

/* ---- what the victim gets ---- */

/* A place for so many bytes: what lies before it is known, and behind it is nothing. */
static char *place(size_t capacity) {
    return room + ROOM - capacity;
}

static void look_before(size_t capacity, size_t used) {
    size_t far = ROOM - capacity < 4096 ? ROOM - capacity : 4096;
    char *at = place(capacity);
    for (size_t i = 1; i <= far; i++) {
        if (at[-(ssize_t)i] != (char)CANARY) {
            fetch_fail("it wrote %zu bytes before the caller's buffer", i);
        }
    }
    memset(at, CANARY, used < capacity ? used : capacity);
}

static void look_at(const void *bytes, size_t size) {
    if (size > MOST) {
        fetch_fail("it gave a message of %zu bytes", size);
    }
    if (!liar_holds(bytes, size)) {
        fetch_fail("it gave a message that goes beyond its file: %zu bytes", size);
    }
    liar_pause(true);
    for (size_t i = 0; i < size; i++) {
        (void)((const volatile unsigned char *)bytes)[i];
    }
    liar_pause(false);
}

static int receive_up_to(size_t capacity, thirl_time until) {
    size_t size = SIZE_MAX;
    int rc = thirl_recv(mine, place(capacity), capacity, &size, until);
    if (rc == 0 && size > capacity) {
        fetch_fail("it received %zu bytes into %zu", size, capacity);
    }
    if (rc == -EMSGSIZE && (size <= capacity || size > MOST)) {
        fetch_fail("%zu bytes are not enough, it wants %zu", capacity, size);
    }
    look_before(capacity, rc == 0 ? size : capacity);
    return rc;
}

static int receive(void) {
    return receive_up_to(LURE_SMALL, THIRL_NOW);
}

static int receive_middle(void) {
    return receive_up_to(LURE_MIDDLE, THIRL_NOW);
}

static int receive_large(void) {
    return receive_up_to(LURE_LARGE, THIRL_NOW);
}

static int receive_too_large(void) {
    return receive_up_to(LURE_SMALL / 2, THIRL_NOW);
}

static int receive_waiting(void) {
    return receive_up_to(LURE_SMALL, thirl_in_ns(300000));
}

static int receive_many(void) {
    struct iovec parts[4];
    size_t count = 4, capacity = 4 * LURE_SMALL;
    char *at = place(capacity);
    int rc = thirl_recv_many(mine, at, capacity, parts, &count, THIRL_NOW);
    if (rc == 0 && (count == 0 || count > 4)) {
        fetch_fail("it received %zu messages of 4", count);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        size_t begins = (size_t)((char *)parts[i].iov_base - at);
        if (begins > capacity || parts[i].iov_len > capacity - begins) {
            fetch_fail("message %zu is %zu bytes at %zu of %zu", i, parts[i].iov_len, begins, capacity);
        }
    }
    look_before(capacity, capacity);
    return rc;
}

static int take(void) {
    thirl_msg *msg = NULL;
    int rc = thirl_take(mine, &msg, THIRL_NOW);
    if (rc == 0) {
        look_at(thirl_msg_data(msg), thirl_msg_size(msg));
        (void)thirl_msg_lost(msg);
        thirl_free(&msg);
    }
    return rc;
}

static int take_two(void) {
    int rc = thirl_take(mine, &held[0], THIRL_NOW);
    rc = rc != 0 ? rc : thirl_take(mine, &held[1], THIRL_NOW);
    for (int i = 0; i < 2; i++) {
        if (held[i] != NULL) {
            look_at(thirl_msg_data(held[i]), thirl_msg_size(held[i]));
            thirl_free(&held[i]);
        }
    }
    return rc;
}

static int take_and_give_back(void) {
    thirl_msg *msg = NULL;
    int rc = thirl_take(mine, &msg, THIRL_NOW);
    if (rc == 0) {
        look_at(thirl_msg_data(msg), thirl_msg_size(msg));
        rc = thirl_requeue(&msg);
        thirl_free(&msg);
    }
    return rc;
}

static int take_again(void) {
    int rc = take_and_give_back();
    return rc != 0 ? rc : take();
}

static int send_one(void) {
    return thirl_send(mine, data, LURE_SMALL, THIRL_NOW);
}

static int send_many(void) {
    struct iovec parts[3] = {{data, LURE_SMALL}, {data, LURE_SMALL}, {data, LURE_SMALL}};
    size_t count = 3;
    return thirl_send_many(mine, parts, &count, THIRL_NOW);
}

static int send_middle(void) {
    return thirl_send(mine, data, LURE_MIDDLE, THIRL_NOW);
}

static int send_large(void) {
    return thirl_send(mine, data, LURE_LARGE, THIRL_NOW);
}

/* Until there is no more room. */
static int fill(void) {
    int rc;
    while ((rc = send_one()) == 0) {}
    return rc == -EAGAIN ? 0 : rc;
}

static int fill_large(void) {
    int rc = 0;
    for (int i = 0; i < 40 && rc == 0; i++) {
        rc = send_large();
    }
    return rc == -EAGAIN ? 0 : rc;
}

static int send_waiting(void) {
    return thirl_send(mine, data, LURE_SMALL, thirl_in_ns(300000));
}

static int lend(size_t size) {
    thirl_msg *msg = NULL;
    int rc = thirl_loan(mine, &msg, size, THIRL_NOW);
    if (rc == 0) {
        if (!liar_holds(thirl_msg_data(msg), size)) {
            fetch_fail("it lent what goes beyond its file");
        }
        memset(thirl_msg_data(msg), 1, size);
        rc = thirl_put(mine, &msg, THIRL_NOW);
    }
    return rc;
}

static int lend_small(void) {
    return lend(LURE_SMALL);
}

static int lend_large(void) {
    return lend(LURE_LARGE);
}

static int tell(void) {
    uint32_t event = 7;
    return thirl_send(mine, &event, sizeof event, THIRL_NOW);
}

static int serve(void) {
    thirl_msg *request = NULL;
    int rc = thirl_take(mine, &request, THIRL_NOW);
    if (rc == 0) {
        look_at(thirl_msg_data(request), thirl_msg_size(request));
        (void)thirl_msg_cancelled(request);
        rc = thirl_reply(mine, &request, data, LURE_SMALL, THIRL_NOW);
    }
    return rc;
}

static int ask(void) {
    return thirl_ask(mine, data, LURE_SMALL, &asked, THIRL_NOW);
}

static int knock(void) {
    int rc = ask();
    return rc == -EAGAIN ? 0 : rc;
}

static int accept_it(void) {
    int rc = thirl_take(mine, &held[0], THIRL_NOW);
    return rc == -EAGAIN ? 0 : rc;
}

static int answer(void) {
    thirl_msg *reply = NULL;
    uint64_t call = asked;
    int rc = thirl_answer(mine, &call, &reply, THIRL_NOW);
    if (rc >= 0) {
        look_at(thirl_msg_data(reply), thirl_msg_size(reply));
        thirl_free(&reply);
    }
    return rc;
}

static int cancel(void) {
    return thirl_cancel(mine, asked);
}

static int wait_for_it(void) {
    struct thirl_want want = {.end = mine, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    want.wanted |= role == THIRL_PAIR ? THIRL_WANT_ROOM : 0;
    int rc = thirl_wait(&want, 1, thirl_in_ns(300000));
    return rc > 0 ? 0 : rc;
}

/* It may be ready once too often. */
static int look_for_it(void) {
    int rc = wait_for_it();
    return rc == -ETIMEDOUT ? 0 : rc;
}

static int descriptor(void) {
    int fd = thirl_fd(mine);
    return fd < 0 ? fd : receive();
}

static int see(void *context, const struct thirl_seen *seen) {
    size_t *length = context;
    *length += strlen(seen->address) + strlen(seen->role) + strlen(seen->state) + strlen(seen->exe) +
               strlen(seen->peer) + strlen(seen->over) + strlen(seen->reason);
    return 0;
}

static int list(void) {
    size_t length = 0;
    return thirl_list(see, &length);
}

static int open_it(void) {
    (void)thirl_close(&mine, THIRL_NOW);
    return thirl_open(&mine, role, address, NULL);
}

static int leave(void) {
    int rc = thirl_close(&mine, THIRL_NOW);
    return rc > 0 ? 0 : rc;
}

/* ---- who reads naively ---- */

static struct lure_note *note;

static int open_note(void) {
    int fd = open(lure_note_path(), O_RDONLY | O_CLOEXEC);
    note = mmap(NULL, sizeof *note, PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    return note == MAP_FAILED ? -errno : 0;
}

static int read_note(bool twice, bool tells) {
    const volatile uint32_t *word = &note->size;
    uint32_t size = *word, capacity = 2 * LURE_SMALL;
    if (size > capacity) {
        return -EMSGSIZE;
    }
    memcpy(place(capacity), note->text, twice ? *word : size);
    size = tells ? *word : size;
    if (size > capacity) {
        fetch_fail("it received %u bytes into %u", size, capacity);
    }
    look_before(capacity, capacity);
    return 0;
}

static int read_note_twice(void) {
    return read_note(true, false);
}

static int read_note_and_tell(void) {
    return read_note(false, true);
}

static int read_note_once(void) {
    return read_note(false, false);
}

/* ---- the scenes ---- */

#define HIS(task)                                                                                                      \
    { task, true }
#define MINE(task)                                                                                                     \
    { task, false }
#define BOTH HIS(lure_open), MINE(open_it)
#define CALLED BOTH, HIS(lure_knock), MINE(accept_it)
#define SERVED BOTH, MINE(knock), HIS(lure_accept)
#define SCENE(what, mine, its, options, itself, usual, ...)                                                            \
    { what, THIRL_##mine, THIRL_##its, options, {__VA_ARGS__}, itself, usual, false }
#define NAIVE(what, itself)                                                                                            \
    { what, 0, 0, "", {HIS(lure_note), MINE(open_note)}, itself, 0, true }
#define WARY(what, itself)                                                                                             \
    { what, 0, 0, "", {HIS(lure_note), MINE(open_note)}, itself, 0, false }
#define SHORT "?max=64K&queue=64K&pool=1M"
#define BRIEFLY "?max=64K&queue=64K&timeout=100ms"
#define FULL "?max=2K&queue=4K&pool=4K"

const struct fetch_scene fetch_scene[] = {
    NAIVE("naive: checks, reads again", read_note_twice),
    NAIVE("naive: tells another size", read_note_and_tell),
    WARY("what reads once", read_note_once),

    SCENE("pair: open", PAIR, PAIR, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("pair: recv, the first", PAIR, PAIR, SHORT, receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("pair: recv", PAIR, PAIR, SHORT, receive, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("pair: recv, too large", PAIR, PAIR, SHORT, receive_too_large, -EMSGSIZE, BOTH, HIS(lure_send_many),
          MINE(receive)),
    SCENE("pair: recv, longer", PAIR, PAIR, SHORT, receive_middle, 0, BOTH, HIS(lure_send_middle)),
    SCENE("pair: take, longer", PAIR, PAIR, SHORT, take_two, 0, BOTH, HIS(lure_send_middle)),
    SCENE("pair: recv, lifespan", PAIR, PAIR, SHORT "&lifespan=60s", receive_middle, 0, BOTH, HIS(lure_send_middle)),
    SCENE("pair: recv, sealed", PAIR, PAIR, SHORT "&crc", receive_middle, 0, BOTH, HIS(lure_send_middle)),
    SCENE("pair: recv, waiting", PAIR, PAIR, SHORT, receive_waiting, -ETIMEDOUT, BOTH, HIS(lure_send), MINE(receive)),
    SCENE("pair: recv from the pool", PAIR, PAIR, SHORT, receive_large, 0, BOTH, HIS(lure_send_large)),
    SCENE("pair: recv_many", PAIR, PAIR, SHORT, receive_many, 0, BOTH, HIS(lure_send_many)),
    SCENE("pair: take", PAIR, PAIR, SHORT, take, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("pair: take two", PAIR, PAIR, SHORT, take_two, 0, BOTH, HIS(lure_send_many)),
    SCENE("pair: take from the pool", PAIR, PAIR, SHORT, take_two, 0, BOTH, HIS(lure_send_large)),
    SCENE("pair: send, the first", PAIR, PAIR, SHORT, send_one, 0, BOTH),
    SCENE("pair: send", PAIR, PAIR, SHORT, send_one, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("pair: send, full", PAIR, PAIR, FULL, send_one, 0, BOTH, MINE(fill), HIS(lure_receive)),
    SCENE("pair: send, waiting", PAIR, PAIR, FULL, send_waiting, -ETIMEDOUT, BOTH, MINE(fill)),
    SCENE("pair: send, longer", PAIR, PAIR, SHORT, send_middle, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("pair: send_many", PAIR, PAIR, SHORT, send_many, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("pair: send, large", PAIR, PAIR, SHORT, send_large, 0, BOTH, MINE(fill_large), HIS(lure_receive),
          HIS(lure_hold)),
    SCENE("pair: loan and put", PAIR, PAIR, SHORT, lend_small, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("pair: loan and put, large", PAIR, PAIR, SHORT, lend_large, 0, BOTH, MINE(fill_large), HIS(lure_receive),
          HIS(lure_hold)),
    SCENE("pair: wait", PAIR, PAIR, FULL, wait_for_it, -ETIMEDOUT, BOTH, HIS(lure_send), MINE(receive), MINE(fill)),
    SCENE("pair: fd", PAIR, PAIR, SHORT, descriptor, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("pair: close", PAIR, PAIR, SHORT, leave, 0, BOTH, HIS(lure_send_many), MINE(receive), MINE(send_one)),
    SCENE("list", PAIR, PAIR, SHORT, list, 0, BOTH, HIS(lure_send_many)),

    SCENE("stream: open", READ, WRITE, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("stream: read", READ, WRITE, SHORT, receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("stream: read a part", READ, WRITE, SHORT, receive, 0, BOTH, HIS(lure_send_middle), MINE(receive)),
    SCENE("stream: take", READ, WRITE, SHORT, take, 0, BOTH, HIS(lure_send_many)),
    SCENE("stream: write", WRITE, READ, FULL, send_one, 0, BOTH, MINE(fill), HIS(lure_receive)),

    SCENE("cast: subscribe", SUB, PUB, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("cast: recv, the first", SUB, PUB, SHORT, receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("cast: recv", SUB, PUB, SHORT, receive, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("cast: recv from the pool", SUB, PUB, SHORT, receive_large, 0, BOTH, HIS(lure_send_large)),
    SCENE("cast: recv, longer", SUB, PUB, SHORT, receive_middle, 0, BOTH, HIS(lure_send_middle)),
    SCENE("cast: recv_many", SUB, PUB, SHORT, receive_many, 0, BOTH, HIS(lure_send_many)),
    SCENE("cast: wait", SUB, PUB, SHORT, wait_for_it, -ETIMEDOUT, BOTH, HIS(lure_send), MINE(receive)),
    SCENE("cast: fd", SUB, PUB, SHORT, descriptor, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("cast: take", SUB, PUB, SHORT, take_two, 0, BOTH, HIS(lure_send_many)),
    SCENE("cast: take from the pool", SUB, PUB, SHORT, take_two, 0, BOTH, HIS(lure_send_large)),
    SCENE("cast: publish", PUB, SUB, SHORT, send_one, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("cast: publish, full", PUB, SUB, FULL "&full=block", send_one, 0, BOTH, MINE(send_one), HIS(lure_receive),
          MINE(fill), HIS(lure_receive)),
    SCENE("cast: publish, large", PUB, SUB, SHORT, send_large, 0, BOTH, MINE(fill_large), HIS(lure_receive),
          HIS(lure_hold)),
    SCENE("cast: recv, history", SUB, PUB, SHORT "&history=4", receive, 0, HIS(lure_open), HIS(lure_send_many),
          MINE(open_it)),
    SCENE("cast: by pattern, open", SUB, PUB, "*?max=64K&queue=64K", open_it, 0, HIS(lure_open)),
    SCENE("cast: by pattern, recv", SUB, PUB, "*?max=64K&queue=64K", receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("cast: by pattern, a new one", SUB, PUB, "*?max=64K&queue=64K", receive, -EAGAIN, MINE(open_it),
          HIS(lure_open)),
    SCENE("cast: announce", PUB, SUB, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("cast: close, publisher", PUB, SUB, SHORT, leave, 0, BOTH, MINE(send_one), HIS(lure_receive), MINE(send_one)),
    SCENE("cast: close", SUB, PUB, SHORT, leave, 0, BOTH, HIS(lure_send_many), MINE(receive)),

    SCENE("queue: open", PULL, PUSH, SHORT, open_it, 0, HIS(lure_open), HIS(lure_send)),
    SCENE("queue: recv, the first", PULL, PUSH, SHORT, receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("queue: recv", PULL, PUSH, SHORT, receive, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("queue: recv, longer", PULL, PUSH, SHORT, receive_middle, 0, BOTH, HIS(lure_send_middle)),
    SCENE("queue: recv_many", PULL, PUSH, SHORT, receive_many, 0, BOTH, HIS(lure_send_many)),
    SCENE("queue: wait", PULL, PUSH, SHORT, wait_for_it, -ETIMEDOUT, BOTH, HIS(lure_send), MINE(receive)),
    SCENE("queue: fd", PULL, PUSH, SHORT, descriptor, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("queue: take from the pool", PULL, PUSH, SHORT, take_two, 0, BOTH, HIS(lure_send_large)),
    SCENE("queue: recv from the pool", PULL, PUSH, SHORT, receive_large, 0, BOTH, HIS(lure_send_large)),
    SCENE("queue: take and done", PULL, PUSH, SHORT, take_two, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("queue: give back", PULL, PUSH, SHORT, take_again, 0, BOTH, HIS(lure_send_many), MINE(receive)),
    SCENE("queue: push", PUSH, PULL, SHORT, send_one, 0, BOTH, MINE(send_one), HIS(lure_receive)),
    SCENE("queue: push, full", PUSH, PULL, FULL, send_one, 0, BOTH, MINE(fill), HIS(lure_receive), HIS(lure_receive)),
    SCENE("queue: push, large", PUSH, PULL, SHORT, send_large, 0, BOTH, MINE(fill_large), HIS(lure_receive),
          HIS(lure_hold)),
    SCENE("queue: open, pusher", PUSH, PULL, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("queue: close, pusher", PUSH, PULL, SHORT, leave, 0, BOTH, MINE(send_one), HIS(lure_receive), MINE(send_one)),
    SCENE("queue: close", PULL, PUSH, SHORT, leave, 0, BOTH, HIS(lure_send_many), MINE(receive)),

    SCENE("call: accept", SERVE, CALL, SHORT, serve, -EAGAIN, BOTH, HIS(lure_knock)),
    SCENE("call: serve the first", SERVE, CALL, SHORT, serve, 0, CALLED, HIS(lure_ask)),
    SCENE("call: serve", SERVE, CALL, SHORT, serve, 0, CALLED, HIS(lure_ask), MINE(serve), HIS(lure_ask)),
    SCENE("call: serve, longer", SERVE, CALL, SHORT, serve, 0, CALLED, HIS(lure_ask_middle)),
    SCENE("call: wait", SERVE, CALL, SHORT, wait_for_it, -ETIMEDOUT, CALLED, HIS(lure_ask), MINE(serve),
          MINE(look_for_it)),
    SCENE("call: cancel", CALL, SERVE, SHORT, cancel, 0, SERVED, MINE(ask), HIS(lure_serve), MINE(answer), MINE(ask)),
    SCENE("call: serve, large", SERVE, CALL, SHORT, serve, 0, CALLED, HIS(lure_ask_large)),
    SCENE("call: knock", CALL, SERVE, SHORT, ask, -EAGAIN, BOTH),
    SCENE("call: ask the first", CALL, SERVE, SHORT, ask, 0, SERVED),
    SCENE("call: ask", CALL, SERVE, SHORT, ask, 0, SERVED, MINE(ask), HIS(lure_serve), MINE(answer)),
    SCENE("call: answer", CALL, SERVE, SHORT, answer, 0, SERVED, MINE(ask), HIS(lure_serve)),
    SCENE("call: open", SERVE, CALL, SHORT, open_it, 0, HIS(lure_open), HIS(lure_knock)),
    SCENE("call: open, caller", CALL, SERVE, SHORT, open_it, 0, HIS(lure_open)),
    SCENE("call: close, caller", CALL, SERVE, SHORT, leave, 0, SERVED, MINE(ask), HIS(lure_serve), MINE(answer),
          MINE(ask)),
    SCENE("call: close", SERVE, CALL, SHORT, leave, 0, CALLED, HIS(lure_ask), MINE(serve), HIS(lure_ask)),

    SCENE("auto: open", PAIR, PAIR, "@" BRIEFLY, open_it, 0, HIS(lure_open)),
    SCENE("auto: recv", PAIR, PAIR, "@" BRIEFLY, receive, 0, BOTH, HIS(lure_send_many)),
    SCENE("auto: subscribe", SUB, PUB, "@" BRIEFLY, open_it, 0, HIS(lure_open)),
    SCENE("auto: ask", CALL, SERVE, "@" BRIEFLY, ask, -EAGAIN, BOTH),

    SCENE("event: watch", WATCH, NOTIFY, "", receive, 0, BOTH, HIS(lure_tell)),
    SCENE("event: notify", NOTIFY, WATCH, "", tell, 0, BOTH),
    SCENE("event: open", WATCH, NOTIFY, "", open_it, 0, HIS(lure_open)),
};
const unsigned fetch_scenes = sizeof fetch_scene / sizeof *fetch_scene;

int fetch_prepare(const struct fetch_scene *scene, int *failed) {
    role = scene->mine;
    lure->role = scene->its;
    bool pattern = scene->options[0] == '*', chosen = scene->options[0] == '@';
    const char *scheme = chosen ? "auto" : "shm", *options = scene->options + (pattern || chosen);
    unsigned pid = (unsigned)getpid(), number = lure->number++;
    (void)snprintf(lure->address, sizeof lure->address, "%s://fetch-%x-%x%s", scheme, pid, number, options);
    (void)snprintf(address, sizeof address, "%s://fetch-%x-%x%s%s", scheme, pid, number, pattern ? "*" : "", options);
    char *full = strstr(lure->address, "&full="); /* its subscribers have no say in it */
    if (full != NULL) {
        *full = '\0';
    }
    for (size_t i = 0; i < sizeof scene->before / sizeof *scene->before && scene->before[i].task != NULL; i++) {
        const struct fetch_step *step = &scene->before[i];
        int rc = step->his ? fetch_tell(step->task) : step->task();
        if (rc != 0) {
            *failed = rc;
            return (int)i + 1;
        }
    }
    return 0;
}

int fetch_close(void) {
    for (int i = 0; i < 2; i++) {
        thirl_free(&held[i]);
    }
    if (note != NULL) {
        (void)munmap(note, sizeof *note);
        note = NULL;
    }
    return thirl_close(&mine, THIRL_NOW);
}

void fetch_clear(void) {
    (void)fetch_tell(lure_close);
}

bool fetch_documented(const struct fetch_scene *scene, int rc) {
    switch (rc) {
    case 0:
    case -EAGAIN:
    case -ETIMEDOUT:
    case -EMSGSIZE:
    case -THIRL_EPEERDIED:
    case -THIRL_ECLOSED:
    case -THIRL_EFORMAT:
    case -THIRL_EVERSION:
        return true;
    case -EBUSY: /* what is received is given back at once */
    case -ENOSPC:
        return scene->itself == open_it;
    case THIRL_END:
        return scene->mine == THIRL_READ;
    case THIRL_MORE:
    case -ENOENT:
    case -ECANCELED:
        return scene->mine == THIRL_CALL || scene->mine == THIRL_SERVE;
    default:
        return false;
    }
}
