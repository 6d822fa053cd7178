/* SPDX-License-Identifier: MIT
 *
 * No wake-up is lost: two processes take turns to sleep and to wake each other, each by every way to wait, while the points of
 * the sleep protocols delay by chance, so that windows of nanoseconds are open for microseconds. On one processor each point may
 * let the other process go first, which costs next to nothing; on two, delays are as long as a wake-up takes to get there. A lost
 * wake-up is a message whose sender had done before the sleeper's timer ran out, which then found it by itself: the points stale.*
 * tell. There may be none. $WAKE_COUNT says how many races each way gets on one processor, $WAKE_APART on two; `make wake COUNT=...`.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/weave.h"
#include "tests/conform/conform.h"

#define RACES 100u
#define RACES_APART 20u
#define LEAST (35 * MS)      /* who sleeps does so for longer than that before he looks by himself */
#define LOOK thirl_in_ms(60) /* after that the test looks by itself, where it is the one who sleeps */
#define BESIDE_ORDER "*:4:jolt=1000"
#define APART_ORDER "*:12:delay=150"

enum way { BY_RECEIVE, BY_CHOICE, BESIDE, BY_DESCRIPTOR, WAYS };
static const char *const way_names[] = {"thirl_recv", "thirl_wait", "thirl_wait beside a descriptor", "thirl_fd"};

struct board {       /* in memory that both share */
    int64_t done[2]; /* when each side's last send, or receive, was over; 0 while it is in one */
    int processor;   /* that both are to share; -1: none */
    bool met[2];
    uint64_t races[WAYS + 2], late[WAYS + 2], lost[WAYS + 2];
    uint64_t worst;
};

static struct board *board;

struct player {
    int me;
    bool calls;    /* the two are one end: a client's, or a server's */
    uint64_t call; /* the client's last */
    thirl_msg *request;
    thirl *in, *out;
    int tube[2];
    int64_t laid; /* when it last went to sleep, or earlier */
    uint64_t dice;
};

static unsigned races(void) {
    bool apart = board->processor < 0;
    const char *text = getenv(apart ? "WAKE_APART" : "WAKE_COUNT");
    unsigned count = text != NULL ? (unsigned)strtoul(text, NULL, 10) : apart ? RACES_APART : RACES;
    return conform_sanitized() ? count / 4 + 1 : count;
}

static uint64_t stale(void) {
    size_t count;
    uint64_t passes = 0;
    const struct weave_point *points = weave_points(&count);
    for (size_t i = 0; i < count; i++) {
        passes += strncmp(points[i].name, "stale.", 6) == 0 ? __atomic_load_n(&points[i].passes, __ATOMIC_RELAXED) : 0;
    }
    return passes;
}

static void stamp(int me, int64_t now) {
    __atomic_store_n(&board->done[me], now, __ATOMIC_RELEASE);
}

static void rest(struct player *p) {
    p->dice = p->dice * UINT64_C(6364136223846793005) + 1442695040888963407;
    for (volatile unsigned i = (unsigned)(p->dice >> 40) % 3000; i != 0; i--) {}
}

/* This side looked by itself, and something was there: did its sender ring in time? A timer that runs out is no later for a
 * process that gets no processor, so this holds on a machine that is busy, too. */
static void judge(const struct player *p, unsigned row, bool late) {
    int64_t done = __atomic_load_n(&board->done[1 - p->me], __ATOMIC_ACQUIRE);
    __atomic_fetch_add(&board->races[row], 1, __ATOMIC_RELAXED);
    if (late) {
        __atomic_fetch_add(&board->late[row], 1, __ATOMIC_RELAXED);
    }
    if (late && done != 0 && done < p->laid + LEAST) {
        __atomic_fetch_add(&board->lost[row], 1, __ATOMIC_RELAXED);
        board->worst = (uint64_t)(conform_now() - done);
    }
}

static bool sleeps(struct player *p, enum way way, uint32_t wanted) {
    struct thirl_want wants[] = {{.end = wanted == THIRL_WANT_ROOM ? p->out : p->in, .fd = -1, .wanted = wanted},
                                 {.fd = way == BESIDE ? p->tube[0] : -1, .wanted = POLLIN}};
    p->laid = conform_now();
    if (way == BY_DESCRIPTOR) {
        struct pollfd polled = {.fd = thirl_fd(p->in), .events = POLLIN};
        must(polled.fd >= 0);
        return poll(&polled, 1, 60) == 0;
    }
    int rc = thirl_wait(wants, 2, LOOK);
    must(rc == 1 || rc == -ETIMEDOUT);
    return rc == -ETIMEDOUT;
}

static int receive(struct player *p, uint32_t *word, thirl_time until) {
    if (!p->calls) {
        int rc = thirl_recv(p->in, word, sizeof *word, NULL, until);
        return rc == 0 && *word == 0 ? receive(p, word, until) : rc; /* one of those that they met by */
    }
    thirl_msg *msg;
    int rc = p->me == 0 ? thirl_answer(p->in, &p->call, &msg, until) : thirl_take(p->in, &msg, until);
    if (rc == 0) {
        must(thirl_msg_size(msg) == sizeof *word);
        memcpy(word, thirl_msg_data(msg), sizeof *word);
        p->request = p->me == 0 ? NULL : msg;
        if (p->me == 0) {
            thirl_free(&msg);
        }
    }
    return rc;
}

static void hear(struct player *p, enum way way, uint32_t wanted) {
    uint32_t got = 0;
    bool late = false;
    uint64_t before = stale();
    int rc = -EAGAIN;
    p->laid = conform_now();
    while (way != BY_RECEIVE && (rc = receive(p, &got, THIRL_NOW)) == -EAGAIN) {
        late = sleeps(p, way, THIRL_WANT_MESSAGE);
    }
    rc = way == BY_RECEIVE ? receive(p, &got, PATIENCE) : rc;
    must_be(rc, 0);
    must_be(got, wanted);
    judge(p, way, late || stale() != before);
}

static void tell(struct player *p, uint32_t word) {
    stamp(p->me, 0);
    must_be(!p->calls    ? thirl_send(p->out, &word, sizeof word, PATIENCE)
            : p->me == 0 ? thirl_ask(p->out, &word, sizeof word, &p->call, PATIENCE)
                         : thirl_reply(p->out, &p->request, &word, sizeof word, PATIENCE),
            0);
    stamp(p->me, conform_now());
}

static thirl *open_at(const struct conform *c, enum thirl_role role, unsigned n, const char *options) {
    thirl *end = NULL;
    must_be(thirl_open(&end, role, conform_address(c, n, options), NULL), 0);
    return end;
}

/* Who publishes to sockets lets nobody in but in a call; so each says 0, again and again, until both have heard it. */
static void meet(struct player *p, struct peer *other) {
    uint32_t zero = 0;
    for (int64_t until = conform_now() + 20000 * MS; !board->met[0] || !board->met[1];) {
        must(conform_now() < until);
        (void)!thirl_send(p->out, &zero, sizeof zero, thirl_in_ms(1));
        while (thirl_recv(p->in, &zero, sizeof zero, NULL, thirl_in_ms(1)) == 0) {
            __atomic_store_n(&board->met[p->me], true, __ATOMIC_RELEASE);
        }
    }
    conform_tell(other, 0); /* nothing but 0 has been said before this */
    conform_hear(other);
}

/* Each hears at a channel of its own, whose other end the other opens when it is there: a datagram that comes before is lost. */
static void open_two(const struct conform *c, struct player *p, struct peer *other) {
    unsigned roles = c->line->roles;
    bool casts = (roles & CONFORM_CAST) != 0, event = (roles & CONFORM_EVENT) != 0;
    struct conform here = *c, there = *c; /* a signal goes to a process */
    here.stage = getpid();
    there.stage = other->pid;
    p->in = open_at(&here, casts ? THIRL_SUB : event ? THIRL_WATCH : THIRL_PULL, (unsigned)p->me, "wait=sleep");
    conform_tell(other, 0);
    conform_hear(other);
    p->out = open_at(&there, casts ? THIRL_PUB : event ? THIRL_NOTIFY : THIRL_PUSH, 1u - (unsigned)p->me, "wait=sleep");
    meet(p, other);
}

static void sit_down(const struct conform *c, struct player *p, int me, struct peer *other) {
    *p = (struct player){.me = me, .dice = (uint64_t)getpid()};
    must_be(pipe(p->tube), 0);
    p->calls = (c->line->roles & CONFORM_CALL) != 0;
    if (p->calls) {
        p->in = p->out = open_at(c, me == 0 ? THIRL_CALL : THIRL_SERVE, 0, "wait=sleep");
    } else if ((c->line->roles & CONFORM_PAIR) != 0) {
        p->in = p->out = open_at(c, THIRL_PAIR, 0, "wait=sleep");
    } else {
        open_two(c, p, other);
    }
}

static void stand_up(struct player *p) {
    if (p->in != p->out) {
        (void)!thirl_close(&p->out, THIRL_NOW);
    }
    (void)!thirl_close(&p->in, THIRL_NOW);
    close(p->tube[0]);
    close(p->tube[1]);
}

/* Each in turn sleeps, or is about to, when the other tells. The last way goes last: a descriptor that was asked for stays. */
static void play(const struct conform *c, struct player *p) {
    const int ways = conform_claims(c).pollable ? WAYS : BY_DESCRIPTOR;
    uint32_t word = 1;
    if (p->me == 0) {
        tell(p, word);
        hear(p, BY_RECEIVE, word + 1); /* they have met */
    } else {
        hear(p, BY_RECEIVE, word);
        tell(p, word + 1);
    }
    memset(board->lost, 0, sizeof board->lost);
    for (int way = 0; way < ways; way++) {
        for (unsigned i = 0; i < races(); i++, word += 2) {
            if (p->me == 0) {
                rest(p);
                tell(p, word);
                hear(p, (enum way)way, word + 1);
            } else {
                hear(p, (enum way)way, word);
                rest(p);
                tell(p, word + 1);
            }
        }
    }
}

static void play_second(const struct conform *c, struct peer *stage) {
    struct player p;
    sit_down(c, &p, 1, stage);
    play(c, &p);
    conform_hear(stage);
    stand_up(&p);
}

/* Before either process has passed a point. */
static void share_board(bool beside) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(board != MAP_FAILED);
    board->processor = beside ? sched_getcpu() : -1;
    (void)setenv("THIRL_WEAVE_AT", beside ? BESIDE_ORDER : APART_ORDER, 1);
    if (beside) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((unsigned)board->processor, &one);
        must_be(sched_setaffinity(0, sizeof one, &one), 0);
    }
}

static void must_have_lost_none(const struct conform *c, unsigned first, unsigned count, const char *const *names) {
    uint64_t lost = 0;
    for (unsigned i = first; i < first + count; i++) {
        if (board->races[i] == 0) {
            continue; /* a descriptor that there is not */
        }
        printf("%s, %s: %llu races, %llu looked by itself, %llu lost\n", c->line->name, names[i - first],
               (unsigned long long)board->races[i], (unsigned long long)board->late[i],
               (unsigned long long)board->lost[i]);
        if (board->lost[i] != 0) {
            printf("one lay there for %llu ms\n", (unsigned long long)(board->worst / MS));
        }
        fflush(NULL);
        lost += board->lost[i];
    }
    must_be(lost, 0);
}

static void race(const struct conform *c, bool beside) {
    struct peer peer;
    struct player p;
    share_board(beside);
    conform_start(&peer, c, play_second);
    sit_down(c, &p, 0, &peer);
    play(c, &p);
    conform_tell(&peer, 0);
    stand_up(&p);
    conform_join(&peer);
    must_have_lost_none(c, 0, WAYS, way_names);
}

static void no_wake_up_is_lost(struct conform *c) {
    race(c, true);
}

static void nor_between_processors(struct conform *c) {
    race(c, false);
}

/* ---- room ---- */

static const char *const room_names[] = {"room by thirl_send", "room by thirl_wait"};

static void take_all(const struct conform *c, struct peer *stage) {
    struct player p = {.me = 1, .dice = 7};
    char data[512];
    (void)stage;
    p.in = open_at(c, THIRL_PAIR, 0, "wait=sleep&queue=4K");
    for (unsigned i = 0; i < 4 * races(); i++) {
        stamp(1, 0);
        must_be(thirl_recv(p.in, data, sizeof data, NULL, PATIENCE), 0);
        stamp(1, conform_now());
        if (i % 16 == 0) {
            rest(&p);
        }
    }
    conform_hear(stage);
    (void)!thirl_close(&p.in, PATIENCE);
}

static void no_room_is_overslept(struct conform *c) {
    struct peer peer;
    struct player p = {.me = 0};
    static const char data[400];
    share_board(true);
    conform_start(&peer, c, take_all);
    must_be(pipe(p.tube), 0);
    p.out = open_at(c, THIRL_PAIR, 0, "wait=sleep&queue=4K");
    must_be(thirl_send(p.out, data, sizeof data, PATIENCE), 0);
    for (unsigned i = 1; i < 4 * races(); i++) {
        unsigned row = WAYS + i % 2;
        uint64_t before = stale();
        bool late = false;
        int rc = -EAGAIN;
        p.laid = conform_now();
        while (i % 2 == 1 && (rc = thirl_send(p.out, data, sizeof data, THIRL_NOW)) == -EAGAIN) {
            late = sleeps(&p, i % 4 == 1 ? BY_CHOICE : BESIDE, THIRL_WANT_ROOM);
        }
        rc = i % 2 == 0 ? thirl_send(p.out, data, sizeof data, PATIENCE) : rc;
        must_be(rc, 0);
        judge(&p, row, late || stale() != before);
    }
    conform_tell(&peer, 0);
    must_be(thirl_close(&p.out, PATIENCE), 0);
    conform_join(&peer);
    must_have_lost_none(c, WAYS, 2, room_names);
}

/* ---- can it see one? ---- */

/* Stopped after it has put the message there, and before it rings. */
static void tell_and_stop(const struct conform *c, struct peer *stage) {
    (void)setenv("THIRL_WEAVE_AT", "bell.ring.before:1:stop", 1);
    thirl *end = open_at(c, THIRL_PAIR, 0, "wait=sleep");
    conform_hear(stage);
    conform_sleep(30 * MS);
    conform_send(end, 4, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void must_see_one(struct conform *c, bool chooses) {
    struct peer peer;
    conform_start(&peer, c, tell_and_stop);
    thirl *end = open_at(c, THIRL_PAIR, 0, "wait=sleep");
    struct thirl_want wanted = {.end = end, .wanted = THIRL_WANT_MESSAGE};
    uint64_t before = stale();
    uint32_t got;
    conform_tell(&peer, 0);
    int rc = -EAGAIN;
    while (chooses && rc == -EAGAIN) {
        must_be(thirl_wait(&wanted, 1, PATIENCE), 1);
        rc = thirl_recv(end, &got, sizeof got, NULL, THIRL_NOW);
    }
    must_be(chooses ? rc : thirl_recv(end, &got, sizeof got, NULL, PATIENCE), 0);
    must(stale() > before);
    must_be(kill(peer.pid, SIGCONT), 0);
    conform_join(&peer);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_lost_one_would_be_seen(struct conform *c) {
    must_see_one(c, false);
    must_see_one(c, true);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_FOR(no_wake_up_is_lost, 0),
        CONFORM_ONLY(nor_between_processors, "shm"), /* elsewhere it is the kernel that orders what they see */
        CONFORM_ONLY(nor_between_processors, "shm-"),
        CONFORM(no_room_is_overslept),
        {"a_lost_one_would_be_seen", a_lost_one_would_be_seen, "shm", CONFORM_PAIR},
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
