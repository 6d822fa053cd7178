/* SPDX-License-Identifier: MIT
 *
 * No wake-up is lost: two processes take turns to sleep and to wake each other, each by every way to wait, while the points of
 * the sleep protocols delay by chance, so that windows of nanoseconds are open for microseconds. A lost wake-up is a message that lay
 * there for a while after its sender had done, until the sleeper looked by itself: the points stale.* tell. There may be none.
 * $WAKE_COUNT says how many races each way gets; `make wake COUNT=...`.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/weave.h"
#include "tests/conform/conform.h"

#define RACES 400u
#define LAY (10 * MS)        /* longer than a wake-up takes on a machine that is busy, shorter than a sleeper's slice */
#define LOOK thirl_in_ms(60) /* after that the test looks by itself, where it is the one who sleeps */
#define DELAYS "*:12:delay=150"

enum way { BY_RECEIVE, BY_CHOICE, BESIDE, BY_DESCRIPTOR, WAYS };
static const char *const way_names[] = {"thirl_recv", "thirl_wait", "thirl_wait beside a descriptor", "thirl_fd"};

struct board {       /* in memory that both share */
    int64_t done[2]; /* when each side's last send, or receive, was over; 0 while it is in one */
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
    uint64_t dice;
};

static unsigned races(void) {
    const char *text = getenv("WAKE_COUNT");
    unsigned count = text == NULL ? RACES : (unsigned)strtoul(text, NULL, 10);
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

/* Something was there when this side looked by itself: has it lain there since the other had done its part? */
static void judge(const struct player *p, unsigned row, bool late) {
    int64_t done = __atomic_load_n(&board->done[1 - p->me], __ATOMIC_ACQUIRE), now = conform_now();
    __atomic_fetch_add(&board->races[row], 1, __ATOMIC_RELAXED);
    if (late) {
        __atomic_fetch_add(&board->late[row], 1, __ATOMIC_RELAXED);
    }
    if (late && done != 0 && now - done > LAY) {
        __atomic_fetch_add(&board->lost[row], 1, __ATOMIC_RELAXED);
        board->worst = (uint64_t)(now - done);
    }
}

static bool sleeps(struct player *p, enum way way, uint32_t wanted) {
    struct thirl_want wants[] = {{.end = wanted == THIRL_WANT_ROOM ? p->out : p->in, .fd = -1, .wanted = wanted},
                                 {.fd = way == BESIDE ? p->tube[0] : -1, .wanted = POLLIN}};
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
        return thirl_recv(p->in, word, sizeof *word, NULL, until);
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

static void sit_down(const struct conform *c, struct player *p, int me) {
    unsigned roles = c->line->roles;
    *p = (struct player){.me = me, .dice = (uint64_t)getpid()};
    must_be(pipe(p->tube), 0);
    p->calls = (roles & CONFORM_CALL) != 0;
    if (p->calls) {
        p->in = p->out = open_at(c, me == 0 ? THIRL_CALL : THIRL_SERVE, 0, "wait=sleep");
    } else if ((roles & CONFORM_PAIR) != 0) {
        p->in = p->out = open_at(c, THIRL_PAIR, 0, "wait=sleep");
    } else if ((roles & CONFORM_CAST) != 0) { /* whoever joins late hears the last word */
        p->in = open_at(c, THIRL_SUB, (unsigned)me, "wait=sleep&history=1");
        p->out = open_at(c, THIRL_PUB, 1u - (unsigned)me, "wait=sleep&history=1");
    } else {
        bool event = (roles & CONFORM_EVENT) != 0;
        p->in = open_at(c, event ? THIRL_WATCH : THIRL_PULL, (unsigned)me, "wait=sleep");
        p->out = open_at(c, event ? THIRL_NOTIFY : THIRL_PUSH, 1u - (unsigned)me, "wait=sleep");
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
    (void)stage;
    sit_down(c, &p, 1);
    play(c, &p);
    conform_hear(stage);
    stand_up(&p);
}

static void share_board(void) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(board != MAP_FAILED);
    (void)setenv("THIRL_WEAVE_AT", DELAYS, 1); /* before either process has passed a point */
}

static void must_have_lost_none(const struct conform *c, unsigned first, unsigned count, const char *const *names) {
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
        must_be(board->lost[i], 0);
    }
}

static void no_wake_up_is_lost(struct conform *c) {
    struct peer peer;
    struct player p;
    if (!conform_claims(c).reliable && (c->line->roles & CONFORM_CAST) == 0) { /* a publisher that waits loses none */
        conform_skip("messages may be lost");
    }
    share_board();
    conform_start(&peer, c, play_second);
    sit_down(c, &p, 0);
    play(c, &p);
    conform_tell(&peer, 0);
    stand_up(&p);
    conform_join(&peer);
    must_have_lost_none(c, 0, WAYS, way_names);
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
    share_board();
    conform_start(&peer, c, take_all);
    must_be(pipe(p.tube), 0);
    p.out = open_at(c, THIRL_PAIR, 0, "wait=sleep&queue=4K");
    must_be(thirl_send(p.out, data, sizeof data, PATIENCE), 0);
    for (unsigned i = 1; i < 4 * races(); i++) {
        unsigned row = WAYS + i % 2;
        uint64_t before = stale();
        bool late = false;
        int rc = -EAGAIN;
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
        CONFORM(no_wake_up_is_lost),
        CONFORM(no_room_is_overslept),
        {"no_wake_up_is_lost", no_wake_up_is_lost, "shm-queue", CONFORM_QUEUE},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "hub-unix", CONFORM_QUEUE},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "shm-cast", CONFORM_CAST},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "shm-call", CONFORM_CALL},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "call-unix", CONFORM_CALL},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "shm-event", CONFORM_EVENT},
        {"no_wake_up_is_lost", no_wake_up_is_lost, "event-unix", CONFORM_EVENT},
        {"a_lost_one_would_be_seen", a_lost_one_would_be_seen, "shm", CONFORM_PAIR},
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
