/* SPDX-License-Identifier: MIT
 *
 * The trials of one operation.
 */
#include "tests/crash/tread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/proc.h"
#include "tests/crash/trial.h"
#include "tests/room.h"
#include "tests/step.h"

#define PATIENCE (5 * CLOCK_S) /* of one call; longer than anything here takes */
#define AGAIN 3                /* a machine that is busy elsewhere is late by chance, not each time */

thirl *tread_end, *tread_mine, *tread_fresh;
struct tread_scene *tread_scene;

static const struct tread *tread; /* that is tried */
static char victim[32];           /* as sentences have it */
static int64_t died, told;        /* when; 0: not yet */
static bool closed;               /* the survivor was told that the victim had left */
static unsigned room_of_new[4];   /* what fits between two new ends: of each way, small messages and large ones */

static thirl_time patience(void) {
    return thirl_in_ns(PATIENCE);
}

/* ---- messages ---- */

size_t tread_write_large(void *message, uint32_t conversation, uint64_t number) {
    size_t size = talk_write(message, conversation, number);
    memset((char *)message + size, (int)(number + 5), TREAD_LARGE - size);
    return TREAD_LARGE;
}

static int read_any(const void *data, size_t size, struct talk *talk) {
    const unsigned char *byte = data;
    uint32_t size_of_talk;
    if (size != TREAD_LARGE) {
        return talk_read(data, size, talk);
    }
    memcpy(&size_of_talk, byte + 16, sizeof size_of_talk);
    int rc = size_of_talk < size ? talk_read(data, size_of_talk, talk) : TALK_TORN;
    for (size_t i = size_of_talk; rc == 0 && i < size; i++) {
        rc = byte[i] == (unsigned char)(talk->number + 5) ? 0 : TALK_TORN;
    }
    return rc;
}

int tread_get(thirl *end, struct talk *talk, thirl_time until) {
    static _Thread_local unsigned turn;
    static _Thread_local uint64_t buffer[TREAD_LARGE / 8];
    struct iovec message = {buffer, 0};
    size_t count = 1;
    int rc;
    if (turn++ % 3 == 0) {
        thirl_msg *msg = NULL;
        rc = thirl_take(end, &msg, until);
        rc = rc != 0 ? rc : read_any(thirl_msg_data(msg), thirl_msg_size(msg), talk);
        thirl_free(&msg);
        return rc;
    }
    rc = turn % 3 == 0 ? thirl_recv(end, buffer, sizeof buffer, &message.iov_len, until)
                       : thirl_recv_many(end, buffer, sizeof buffer, &message, &count, until);
    return rc != 0 ? rc : read_any(message.iov_base, message.iov_len, talk);
}

/* ---- what the survivor hears of the victim ---- */

unsigned char tread_byte(uint64_t at) {
    return (unsigned char)(at * 7 + at / 256);
}

static int hear_bytes(thirl_time until) {
    unsigned char bytes[512];
    size_t size;
    int rc = thirl_recv(tread_mine, bytes, sizeof bytes, &size, until);
    for (size_t i = 0; rc == 0 && i < size; i++) {
        TREAD_CHECK(bytes[i] == tread_byte(tread_scene->got++));
    }
    return rc;
}

/* 0; 1: it is wrong; or an error. */
static int hear_one(thirl_time until) {
    struct talk talk;
    if (tread->other == THIRL_READ) {
        return hear_bytes(until);
    }
    int rc = tread_get(tread_mine, &talk, until);
    TREAD_CHECK(rc != TALK_TORN);
    if (rc == 0) {
        TREAD_CHECK(talk.conversation == TREAD_VICTIM && talk.number == tread_scene->got);
        tread_scene->got++;
    }
    return rc;
}

int tread_hear(unsigned count) {
    while (count != 0) {
        TREAD_CHECK(hear_one(patience()) == 0);
        count--;
    }
    return 0;
}

int tread_told(void) {
    told = told == 0 ? clock_now() : told;
    TREAD_CHECK(strstr(thirl_why(), victim) != NULL);
    return 0;
}

/* It was told something: that. */
static int note_told(int rc) {
    closed = rc == -THIRL_ECLOSED || rc == THIRL_END;
    TREAD_CHECK(!closed || tread->leaves);
    told = rc == THIRL_END ? clock_now() : told;
    return rc == THIRL_END ? 0 : tread_told();
}

static bool is_told(int rc) {
    return rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED || rc == THIRL_END;
}

/* All that there is, and that it is dead, where that is told. */
static int hear_out(void) {
    bool must = tread->told == TREAD_HEARS;
    int rc;
    do {
        rc = hear_one(must ? patience() : tread->asleep ? thirl_in_ms(300) : THIRL_NOW);
        told = tread->told == TREAD_NOT && rc == 0 ? clock_now() : told;
    } while (rc == 0);
    if (is_told(rc) && tread->told != TREAD_NOT) {
        return note_told(rc);
    }
    TREAD_CHECK(!must && (rc == -EAGAIN || rc == -ETIMEDOUT));
    return 0;
}

/* Says something until it is told. */
static int say_on(void) {
    int64_t until = clock_now() + PATIENCE;
    uint32_t event = 500;
    int rc;
    do {
        rc = thirl_send(tread_mine, &event, sizeof event, thirl_in_ms(1));
    } while ((rc == 0 || rc == -ETIMEDOUT) && clock_now() < until);
    TREAD_CHECK(is_told(rc));
    return note_told(rc);
}

/* Nothing is lost whose call has returned, nothing comes twice. */
static int has_all(void) {
    uint64_t sent = tread_scene->sent, got = tread_scene->got;
    unsigned sends = tread->sends;
    if (got < sent + (tread_scene->returned ? sends : 0) || got > sent + sends) {
        (void)fprintf(stderr, "%llu of %llu messages, and %u of the operation, have come\n", (unsigned long long)got,
                      (unsigned long long)sent, sends);
        return 1;
    }
    return 0;
}

/* Level-triggered: it is readable, or gets so in time. */
static int shows_it(void) {
    struct pollfd polled = {.fd = thirl_fd(tread_mine), .events = POLLIN};
    TREAD_CHECK(polled.fd >= 0 && poll(&polled, 1, (int)(TRIAL_TOLD_NS / CLOCK_MS)) == 1);
    return 0;
}

static bool hears(enum thirl_role role) {
    return role == THIRL_PAIR || role == THIRL_SUB || role == THIRL_PULL || role == THIRL_READ;
}

/* ---- a fresh peer ---- */

static int open_mine(void) {
    return thirl_open(&tread_mine, tread->other, tread->theirs != NULL ? tread->theirs : tread->address, NULL);
}

int tread_renew(void) {
    TREAD_CHECK(tread_fresh != NULL || thirl_open(&tread_fresh, tread->role, tread->address, NULL) == 0);
    return 0;
}

#define EQUAL UINT64_C(512) /* messages of these numbers are equally long */

/* A send where there is room for sure, and one where there may be. Of a dead one it may be told, once. */
static int put(thirl *end, uint64_t number, bool large, bool surely) {
    static uint64_t message[TREAD_LARGE / 8];
    uint32_t who = end == tread_mine ? TREAD_SURVIVOR : TREAD_FRESH;
    size_t size = large ? tread_write_large(message, who, number) : talk_write(message, who, number);
    int rc = -THIRL_EPEERDIED;
    for (int i = 0; i < 2 && rc == -THIRL_EPEERDIED; i++) {
        rc = thirl_send(end, message, size, surely ? thirl_in_ns(TRIAL_TOLD_NS) : THIRL_NOW);
    }
    return rc;
}

/* As many as there is room for: their number, or what went wrong. */
static int fill(thirl *end, bool large, unsigned room) {
    int count = 0;
    for (;;) {
        int rc = put(end, (uint64_t)count * EQUAL, large, count == 0 || (unsigned)count < room);
        if (rc != 0) {
            return rc == -EAGAIN || rc == -ETIMEDOUT ? count : rc;
        }
        count++;
    }
}

static int drain(thirl *end, uint32_t conversation, int count) {
    for (int i = 0; i < count; i++) {
        struct talk talk;
        int rc = tread_get(end, &talk, patience());
        rc = rc == -THIRL_EPEERDIED ? tread_get(end, &talk, patience()) : rc;
        TREAD_CHECK(rc == 0 && talk.conversation == conversation && talk.number == (uint64_t)i * EQUAL);
    }
    struct talk talk;
    int rc = tread_get(end, &talk, THIRL_NOW);
    rc = rc == -THIRL_EPEERDIED && tread->told == TREAD_MAY ? tread_get(end, &talk, THIRL_NOW) : rc;
    TREAD_CHECK(rc == -EAGAIN);
    return 0;
}

static int carries(thirl *from, thirl *to, bool large) {
    unsigned *room = &room_of_new[(from == tread_mine ? 2 : 0) + large];
    int count = fill(from, large, *room);
    TREAD_CHECK(count > 0);
    TREAD_CHECK(drain(to, from == tread_mine ? TREAD_SURVIVOR : TREAD_FRESH, count) == 0);
    if (*room == 0) {
        *room = (unsigned)count;
    }
    if ((unsigned)count < *room ||
        (unsigned)count > *room + 1) { /* one fits or not by where in its ring a publisher is */
        (void)fprintf(stderr, "there is room for %d messages, and was for %u between new ends\n", count, *room);
        return 1;
    }
    return 0;
}

static int carries_all(thirl *from, thirl *to) {
    return carries(from, to, false) != 0 || carries(from, to, true) != 0;
}

/* So many bytes, of which what is told of a dead reader may have cost one. */
static int carries_bytes(thirl *from, thirl *to) {
    unsigned *room = &room_of_new[0];
    unsigned char bytes[64], got[64];
    unsigned count = 0, seen = 0;
    size_t size;
    int rc;
    do {
        for (unsigned i = 0; i < sizeof bytes; i++) bytes[i] = tread_byte(count + i);
        rc = thirl_send(from, bytes, sizeof bytes, count < *room ? patience() : THIRL_NOW);
        count += rc == 0 ? sizeof bytes : 0;
    } while (rc == 0 || (rc == -THIRL_EPEERDIED && count == 0));
    TREAD_CHECK(count != 0 && (rc == -EAGAIN || rc == -ETIMEDOUT));
    while ((rc = thirl_recv(to, got, sizeof got, &size, THIRL_NOW)) == 0) {
        for (size_t i = 0; i < size; i++) TREAD_CHECK(got[i] == tread_byte(seen++));
    }
    TREAD_CHECK(rc == -EAGAIN && seen >= count && (*room == 0 || seen == *room));
    *room = seen;
    return 0;
}

/* The one asks, and knocks; the other one looks, and lets it in. */
static int come_together(thirl *caller, thirl *server) {
    thirl_msg *msg = NULL;
    uint64_t call;
    int64_t until = clock_now() + PATIENCE;
    int rc;
    do {
        TREAD_CHECK(thirl_take(server, &msg, THIRL_NOW) == -EAGAIN);
        rc = thirl_ask(caller, "", 0, &call, THIRL_NOW);
    } while (rc == -EAGAIN && clock_now() < until);
    TREAD_CHECK(rc == 0 && thirl_take(server, &msg, patience()) == 0);
    TREAD_CHECK(thirl_reply(server, &msg, "", 0, patience()) == 0 &&
                thirl_answer(caller, &call, &msg, patience()) == 0);
    thirl_free(&msg);
    return 0;
}

/* Calls until there is no room, and answers to them all. */
static int carries_calls(thirl *caller, thirl *server) {
    uint64_t message[TALK_ROOM / 8], call;
    unsigned *room = &room_of_new[0], count = 0;
    struct talk talk;
    thirl_msg *msg = NULL;
    TREAD_CHECK(come_together(caller, server) == 0);
    while (count < 60) {
        size_t size = talk_write(message, TREAD_FRESH, count);
        int rc = thirl_ask(caller, message, size, &call, count < *room ? thirl_in_ns(TRIAL_TOLD_NS) : THIRL_NOW);
        if (rc != 0) {
            TREAD_CHECK(rc == -EAGAIN || rc == -ETIMEDOUT);
            break;
        }
        count++;
    }
    for (unsigned i = 0; i < count; i++) {
        TREAD_CHECK(thirl_take(server, &msg, patience()) == 0);
        TREAD_CHECK(talk_read(thirl_msg_data(msg), thirl_msg_size(msg), &talk) == 0);
        TREAD_CHECK(talk.conversation == TREAD_FRESH && talk.number == i && !thirl_msg_again(msg));
        size_t size = talk_write(message, TREAD_FRESH, i);
        TREAD_CHECK(thirl_reply(server, &msg, message, size, patience()) == 0);
        call = 0;
        TREAD_CHECK(thirl_answer(caller, &call, &msg, patience()) == 0);
        TREAD_CHECK(talk_read(thirl_msg_data(msg), thirl_msg_size(msg), &talk) == 0 && talk.number == i);
        thirl_free(&msg);
    }
    call = 0;
    TREAD_CHECK(count > 2 && (*room == 0 || count == *room) && thirl_answer(caller, &call, &msg, THIRL_NOW) == -ENOENT);
    *room = count;
    return 0;
}

/* As many different events as may wait. */
static int carries_events(thirl *from, thirl *to) {
    unsigned *room = &room_of_new[0], count = 0, seen = 0, sum = 0;
    uint32_t event = 0;
    size_t size;
    int rc;
    while ((rc = thirl_send(from, &event, sizeof event, count < *room ? patience() : THIRL_NOW)) == 0 ||
           (rc == -THIRL_EPEERDIED && count == 0)) {
        count += rc == 0;
        event += rc == 0;
    }
    TREAD_CHECK(rc == -EAGAIN && count != 0 && (*room == 0 || count == *room));
    while (thirl_recv(to, &event, sizeof event, &size, THIRL_NOW) == 0) {
        seen++;
        sum += event;
    }
    TREAD_CHECK(seen == count && sum == count * (count - 1) / 2);
    *room = count;
    return 0;
}

static int exchange(void) {
    switch (tread->role) {
    case THIRL_PAIR:
        return carries_all(tread_fresh, tread_mine) != 0 || carries_all(tread_mine, tread_fresh) != 0;
    case THIRL_PUB:
    case THIRL_PUSH:
        return carries_all(tread_fresh, tread_mine);
    case THIRL_SUB:
    case THIRL_PULL:
        return carries_all(tread_mine, tread_fresh);
    case THIRL_WRITE:
        return carries_bytes(tread_fresh, tread_mine);
    case THIRL_READ:
        return carries_bytes(tread_mine, tread_fresh);
    case THIRL_CALL:
        return carries_calls(tread_fresh, tread_mine);
    case THIRL_SERVE:
        return carries_calls(tread_mine, tread_fresh);
    case THIRL_NOTIFY:
        return carries_events(tread_fresh, tread_mine);
    default:
        return carries_events(tread_mine, tread_fresh);
    }
}

/* Behind all that, nothing is left but what this process itself has. */
static int tidy(void) {
    static unsigned descriptors;
    TREAD_CHECK(thirl_close(&tread_fresh, THIRL_NOW) >= 0 && thirl_close(&tread_mine, THIRL_NOW) >= 0);
    TREAD_CHECK(room_entries("chan") == 0 && room_entries("node") <= 1);
    unsigned now = room_descriptors();
    TREAD_CHECK(descriptors == 0 || now == descriptors);
    descriptors = now;
    return 0;
}

static int go_on(void) {
    if (closed) {
        TREAD_CHECK(thirl_close(&tread_mine, THIRL_NOW) >= 0);
        TREAD_CHECK(open_mine() == 0);
    }
    return tread_renew() != 0 || exchange() != 0 || tidy() != 0;
}

/* ---- one trial ---- */

static int do_part(int (*part)(void)) {
    return part == NULL ? 0 : part();
}

/* The victim. */
static int suffer(void *none) {
    (void)none;
    if (!tread->joins) {
        TREAD_CHECK(thirl_open(&tread_end, tread->role, tread->address, NULL) == 0);
    }
    step_mark();
    TREAD_CHECK(do_part(tread->before) == 0);
    step_mark();
    TREAD_CHECK((tread->joins ? thirl_open(&tread_end, tread->role, tread->address, NULL) : do_part(tread->itself)) ==
                0);
    atomic_store(&tread_scene->returned, 1);
    step_mark();
    return 0;
}

static pid_t prepare(void) {
    *tread_scene = (struct tread_scene){.sent = 0};
    died = told = 0;
    closed = false;
    if (open_mine() != 0) {
        return -1;
    }
    pid_t child = step_begin(suffer, NULL);
    (void)snprintf(victim, sizeof victim, "pid %d ", (int)child);
    return child > 0 && do_part(tread->given) == 0 && step_to_mark(child) && do_part(tread->met) == 0 ? child : -1;
}

enum unit { EVENT, INSTRUCTION };

static bool is_over(void) {
    return atomic_load(&tread_scene->returned) != 0;
}

/* Up to that one, or to the end; how far it has come. */
static unsigned lead(pid_t child, enum unit unit, unsigned at, struct tread_figures *figures) {
    unsigned done = 0;
    if (unit == INSTRUCTION) {
        while (done < at && step_over(child) && !is_over()) done++;
        return done;
    }
    struct step_watch watch;
    if (step_watch(&watch, child, room_path)) {
        enum step_event event;
        while (done < at && (event = step_event(&watch)) != STEP_OVER && !is_over()) {
            done++;
            figures->stores += event == STEP_STORE;
            figures->calls += event == STEP_CALL;
        }
    }
    step_unwatch(&watch);
    return done;
}

static int32_t sleeper; /* a thread */

static void *sleep_and_hear(void *none) {
    atomic_store(&sleeper, (int32_t)syscall(SYS_gettid));
    return hear_out() == 0 ? none : &sleeper;
}

static bool fall_asleep(pthread_t *thread) {
    sleeper = 0;
    if (pthread_create(thread, NULL, sleep_and_hear, NULL) != 0) {
        return false;
    }
    while (atomic_load(&sleeper) == 0) room_sleep(CLOCK_MS / 10);
    for (int looks = 0; looks < 200 && proc_state(getpid(), sleeper) != 'S'; looks++) room_sleep(CLOCK_MS / 10);
    return true;
}

/* What the survivor has to do with the dead one. */
static int mourn(const pthread_t *thread) {
    void *answer = NULL;
    TREAD_CHECK(!tread->polls || shows_it() == 0);
    if (thread != NULL) {
        (void)pthread_join(*thread, &answer);
    } else if (tread->told == TREAD_SAYS) {
        TREAD_CHECK(say_on() == 0);
    } else if (hears(tread->other)) {
        TREAD_CHECK(hear_out() == 0);
    }
    TREAD_CHECK(answer == NULL);
    TREAD_CHECK(!hears(tread->other) || has_all() == 0);
    return do_part(tread->behind);
}

static int try(enum unit unit, unsigned at, unsigned *reached, struct tread_figures *figures) {
    struct tread_figures now = {.kills = 0};
    pthread_t thread = 0;
    pid_t child = prepare();
    if (child < 0 || (tread->asleep && !fall_asleep(&thread))) {
        (void)fprintf(stderr, "the operation does not come to begin\n");
        return 1;
    }
    *reached = lead(child, unit, at, &now);
    died = clock_now();
    step_kill(child);
    int rc = mourn(tread->asleep ? &thread : NULL) != 0 || go_on() != 0;
    figures->kills++;
    figures->stores = now.stores > figures->stores ? now.stores : figures->stores;
    figures->calls = now.calls > figures->calls ? now.calls : figures->calls;
    return rc;
}

/* Likewise, and again where the survivor was told late. */
static int try_in_time(enum unit unit, unsigned at, unsigned *reached, struct tread_figures *figures) {
    for (int i = 0; i < AGAIN; i++) {
        if (try(unit, at, reached, figures) != 0) {
            (void)fprintf(stderr, "%s, killed behind %s %u\n", tread->name, unit == EVENT ? "event" : "instruction",
                          *reached);
            return 1;
        }
        if (told - died <= TRIAL_TOLD_NS) {
            figures->slowest = told - died > figures->slowest ? told - died : figures->slowest;
            return 0;
        }
        figures->late++;
    }
    (void)fprintf(stderr, "%s, killed behind %s %u: told late, after %lld us\n", tread->name,
                  unit == EVENT ? "event" : "instruction", *reached, (long long)((told - died) / CLOCK_US));
    return 1;
}

static bool can_trace(void) {
    tread_scene = tread_scene != NULL
                      ? tread_scene
                      : mmap(NULL, sizeof *tread_scene, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (tread_scene == MAP_FAILED || open_mine() != 0) {
        (void)fprintf(stderr, "%s: %s\n", tread->name, thirl_why());
        return false;
    }
    pid_t child = step_begin(suffer, NULL);
    struct step_watch watch;
    bool can = step_watch(&watch, child, room_path);
    step_unwatch(&watch);
    if (child > 0) {
        step_kill(child);
    }
    return thirl_close(&tread_mine, THIRL_NOW) == 0 && can;
}

int tread_through(const struct tread *which, unsigned sample, bool by_instruction, struct tread_figures *figures) {
    static bool can;
    unsigned end = 0, reached = 0;
    tread = which;
    *figures = (struct tread_figures){.kills = 0};
    memset(room_of_new, 0, sizeof room_of_new);
    can = can || can_trace();
    if (!can) {
        return -1;
    }
    TREAD_CHECK(open_mine() == 0 && go_on() == 0); /* how much room there is */
    TREAD_CHECK(try_in_time(EVENT, UINT32_MAX, &end, figures) == 0);
    for (unsigned i = 0; i < (sample == 0 || sample > end ? end : sample); i++) {
        unsigned at = sample == 0 || sample > end ? i : (unsigned)((uint64_t)end * (2 * i + 1) / (2 * sample));
        TREAD_CHECK(try_in_time(EVENT, at, &reached, figures) == 0);
    }
    if (by_instruction) {
        TREAD_CHECK(try_in_time(INSTRUCTION, UINT32_MAX, &figures->instructions, figures) == 0);
    }
    for (unsigned i = 0; i < figures->instructions; i++) {
        TREAD_CHECK(try_in_time(INSTRUCTION, i, &reached, figures) == 0);
    }
    return 0;
}
