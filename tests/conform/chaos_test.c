/* SPDX-License-Identifier: MIT
 *
 * Beside a villain (villain.h), over each mechanism and pattern: whoever has an end in the villain's channel does not crash, reads nothing
 * that is not there, keeps its deadlines, leaks nothing, and goes on serving a proper peer: in the same channel where that is a
 * conversation of their own, else in another one. How fast, beside the same villain while it behaves, is told; `make chaos` demands
 * half. CHAOS_MS is how long each line takes then.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/villain.h"

#define LARGEST 8192
#define SECRET UINT64_C(0x74686972) /* in the numbers of the proper peer's messages */
#define HELD 4
#define ENOUGH 1000  /* messages: from fewer, nothing follows about how fast it is */
#define NOW_MS 10000 /* what a call that is not to wait may take at most, on a machine that has other things to do */

static struct board {
    struct villain villain;
    uint64_t good[2]; /* the proper peer's messages that passed, while the villain behaves and while it does not */
    uint32_t bad;     /* of them, what was damaged */
} * board;

/* An end, and what its process has to do with it. */
struct seat {
    thirl *end;
    enum thirl_role role;
    unsigned channel;
    bool proper; /* it belongs to the proper peer */
    uint64_t number, asked;
    thirl_msg *held[HELD];
    unsigned holds;
};

static const char *role_name(enum thirl_role role) {
    switch (role) {
#define ROLE(name, number, text)                                                                                       \
    case THIRL_##name:                                                                                                 \
        return #name;
        THIRL_ROLES(ROLE)
#undef ROLE
    }
    return "";
}

static unsigned errors; /* that the villain's end was told */
static int64_t longest;
static const char *longest_what = "";

/* ---- content ---- */

static size_t make(char data[LARGEST], struct seat *s) {
    uint64_t number = ++s->number;
    if (s->role == THIRL_NOTIFY) {
        uint32_t event = (uint32_t)(number % (1u << 23)) << 8 | (uint8_t)(number % (1u << 23) * 167 + 41);
        event &= 0x7fffffff;
        memcpy(data, &event, sizeof event);
        return sizeof event;
    }
    if (s->role == THIRL_WRITE) { /* of more than a byte a part could have been sent */
        data[0] = (char)(number - 1);
        return 1;
    }
    size_t size = 64 + (number % 16 == 0 ? number % 3000 : 0);
    uint64_t head = SECRET << 32 | (uint32_t)number;
    memcpy(data, &head, sizeof head);
    conform_fill(data + sizeof head, size - sizeof head, head);
    return size;
}

static void count_good(void) {
    (void)__atomic_fetch_add(&board->good[__atomic_load_n(&board->villain.mad, __ATOMIC_RELAXED)], 1, __ATOMIC_RELAXED);
}

/* Looks at every byte, whosever they are; counts the proper peer's. */
static void judge(struct seat *s, const void *data, size_t size) {
    uint64_t head = 0, sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum += ((const volatile unsigned char *)data)[i];
    }
    if (s->role == THIRL_WATCH) {
        uint32_t event = 0;
        memcpy(&event, data, size < sizeof event ? size : sizeof event);
        if ((uint8_t)((event >> 8) * 167 + 41) == (uint8_t)event) {
            count_good();
        }
    } else if (s->role == THIRL_READ) {
        for (size_t i = 0; i < size && s->proper; i++) {
            if (((const unsigned char *)data)[i] != (uint8_t)s->number++) {
                (void)__atomic_fetch_add(&board->bad, 1, __ATOMIC_RELAXED);
            }
        }
        s->proper ? count_good() : (void)0;
    } else if (size >= sizeof head + 1) {
        memcpy(&head, data, sizeof head);
        if (head >> 32 == SECRET && conform_intact((const char *)data + sizeof head, size - sizeof head, head)) {
            count_good();
        } else if (s->proper) {
            (void)__atomic_fetch_add(&board->bad, 1, __ATOMIC_RELAXED);
        }
    }
    __asm__ __volatile__("" : : "r"(sum));
}

/* ---- one step: what can be done at once ---- */

static bool is_sender(enum thirl_role role) {
    return role == THIRL_PAIR || role == THIRL_WRITE || role == THIRL_PUSH || role == THIRL_PUB || role == THIRL_NOTIFY;
}

static bool is_receiver(enum thirl_role role) {
    return role == THIRL_PAIR || role == THIRL_READ || role == THIRL_PULL || role == THIRL_SUB || role == THIRL_WATCH;
}

/* Some messages are kept for a while, and read again while their sender may change them. */
static int take(struct seat *s) {
    thirl_msg *msg = NULL;
    int rc = thirl_take(s->end, &msg, THIRL_NOW);
    if (rc != 0) {
        return rc;
    }
    judge(s, thirl_msg_data(msg), thirl_msg_size(msg));
    thirl_msg **place = &s->held[s->holds++ % HELD];
    thirl_free(place);
    *place = msg;
    return 0;
}

static int receive(struct seat *s) {
    static char data[LARGEST * 30];
    size_t size = 0;
    if (!s->proper && villain_dice(4) == 0) {
        return take(s);
    }
    int rc = thirl_recv(s->end, data, sizeof data, &size, THIRL_NOW);
    if (rc == 0) {
        judge(s, data, size);
    }
    return rc;
}

static int emit(struct seat *s) {
    static char data[LARGEST];
    size_t size = make(data, s);
    int rc = thirl_send(s->end, data, size, THIRL_NOW);
    s->number -= rc != 0; /* it comes again */
    return rc;
}

static int answer(struct seat *s) {
    thirl_msg *msg = NULL;
    static char data[LARGEST];
    int rc = thirl_take(s->end, &msg, THIRL_NOW);
    if (rc != 0) {
        return rc;
    }
    size_t size = thirl_msg_size(msg) < sizeof data ? thirl_msg_size(msg) : sizeof data;
    memcpy(data, thirl_msg_data(msg), size);
    rc = thirl_reply(s->end, &msg, data, size, THIRL_NOW);
    return rc == -EAGAIN || rc == -ECANCELED || rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED ? 0
                                                                                               : rc; /* its own fault */
}

static int ask(struct seat *s) {
    thirl_msg *reply = NULL;
    static char data[LARGEST];
    uint64_t call = 0;
    if (s->asked < 4) {
        int rc = thirl_ask(s->end, data, make(data, s), &call, THIRL_NOW);
        s->asked += rc == 0;
        if (rc != 0 && rc != -EAGAIN) {
            return rc;
        }
    }
    call = 0;
    int rc = thirl_answer(s->end, &call, &reply, THIRL_NOW);
    if (rc == 0) {
        judge(s, thirl_msg_data(reply), thirl_msg_size(reply));
        thirl_free(&reply);
    }
    s->asked = rc == -ENOENT ? 0 : s->asked - (rc != -EAGAIN && s->asked > 0);
    return rc;
}

static void time_call(int64_t began, const char *what) {
    int64_t took = conform_now() - began;
    if (took > longest) {
        longest = took;
        longest_what = what;
    }
}

/* Opens it, or answers why not. */
static int sit(const struct conform *c, struct seat *s) {
    int64_t began = conform_now();
    int rc = thirl_open(&s->end, s->role, conform_address(c, s->channel, "timeout=200ms"), NULL);
    time_call(began, "open");
    s->asked = 0;
    return rc;
}

static void rise(struct seat *s) {
    for (unsigned i = 0; i < HELD; i++) {
        thirl_free(&s->held[i]);
    }
    int64_t began = conform_now();
    (void)!thirl_close(&s->end, THIRL_NOW);
    time_call(began, "close");
}

static bool is_over(int rc) {
    return rc < 0 && rc != -EAGAIN && rc != -EBUSY && rc != -ENOENT && rc != -ETIMEDOUT && rc != -ECANCELED;
}

/* true: something went on. After an error the end is opened anew. */
static bool step(const struct conform *c, struct seat *s) {
    int rc = s->end == NULL ? sit(c, s) : 0, other = -EAGAIN;
    if (s->end == NULL) {
        return false;
    }
    int64_t began = conform_now();
    if (is_receiver(s->role)) {
        rc = receive(s);
    } else if (s->role == THIRL_SERVE || s->role == THIRL_CALL) {
        rc = s->role == THIRL_SERVE ? answer(s) : ask(s);
    }
    if (is_sender(s->role)) {
        other = emit(s);
    }
    time_call(began, role_name(s->role));
    if (is_over(rc) || is_over(other) || rc == THIRL_END) {
        errors++;
        if (rc != -THIRL_EPEERDIED && other != -THIRL_EPEERDIED) {
            rise(s);
        }
    }
    return rc == 0 || other == 0;
}

/* Both ends, as long as something goes on; and a rest when it does not. */
static void play(const struct conform *c, struct seat seats[2], const uint32_t *over, int64_t until) {
    while (__atomic_load_n(over, __ATOMIC_RELAXED) == 0 && conform_now() < until) {
        bool moved = false;
        for (int i = 0; i < 2; i++) {
            for (int n = 0; n < 16 && seats[i].role != 0 && step(c, &seats[i]); n++) {
                moved = true;
            }
        }
        struct thirl_want wants[2] = {{.end = seats[0].end, .fd = -1, .wanted = seats[0].end ? THIRL_WANT_MESSAGE : 0},
                                      {.end = seats[1].end, .fd = -1, .wanted = seats[1].end ? THIRL_WANT_MESSAGE : 0}};
        for (int i = 0; i < 2; i++) {
            if (!is_receiver(seats[i].role) && seats[i].role != THIRL_SERVE && seats[i].role != THIRL_CALL) {
                wants[i].wanted = seats[i].end != NULL ? THIRL_WANT_ROOM : 0;
            }
        }
        if (!moved) {
            int64_t began = conform_now();
            (void)!thirl_wait(wants, 2, thirl_in_ms(1));
            time_call(began, "wait");
        }
    }
}

/* ---- the players ---- */

static enum thirl_role mine, its; /* the victim's role, and the villain's */
static bool shared;               /* the proper peer is in the villain's channel */

static void be_proper(const struct conform *c, struct peer *stage) {
    (void)stage;
    struct seat seats[2] = {{.role = its, .channel = shared ? 0 : 1, .proper = true}, {0}};
    play(c, seats, &board->villain.over, INT64_MAX);
    rise(&seats[0]);
}

static void be_villain(const struct conform *c, struct peer *stage) {
    (void)stage;
    villain_seed((uint64_t)getpid());
    villain_run(&board->villain, c, its);
}

/* A short look; or a campaign, of so many ms for each line: then in turns, so that what else the machine does is shared fairly. */
static const char *campaign;

static int windows(void) {
    return campaign == NULL ? 2 : 10;
}

static int64_t window_ns(int i) {
    return campaign == NULL ? (i % 2 == 0 ? 10 : 40) * MS : strtol(campaign, NULL, 10) * MS / windows();
}

/* The victim: with one end beside the villain, and one beside the proper peer unless that is the same. */
static void suffer(struct conform *c, enum thirl_role role, enum thirl_role other, bool together) {
    struct peer villain, proper;
    bool kernel_keeps = strncmp(c->line->prefix, "mq:", 3) == 0 || strncmp(c->line->prefix, "sysv:", 5) == 0;
    if (kernel_keeps && unshare(CLONE_NEWIPC) != 0) {
        conform_skip("what a villain leaves in the kernel needs an IPC namespace that ends with it");
    }
    mine = role;
    its = other;
    shared = together;
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(board != MAP_FAILED);
    conform_start(&proper, c, be_proper);
    conform_start(&villain, c, be_villain);
    struct seat seats[2] = {{.role = role, .channel = 0, .proper = false},
                            {.role = together ? 0 : role, .channel = 1, .proper = !together}};
    /* With the one that a process keeps for ringing, from its first end on. */
    unsigned descriptors = conform_lines_of("/proc/self/fd") + 1;
    uint32_t never = 0;
    play(c, seats, &never, conform_now() + window_ns(0)); /* until all are there */
    memset(board->good, 0, sizeof board->good);
    for (int i = 0; i < windows(); i++) {
        __atomic_store_n(&board->villain.mad, (uint32_t)i % 2, __ATOMIC_RELAXED);
        play(c, seats, &never, conform_now() + window_ns(i));
    }
    __atomic_store_n(&board->villain.over, 1, __ATOMIC_RELAXED);
    conform_join(&villain);
    conform_join(&proper);
    rise(&seats[0]);
    rise(&seats[1]);
    double ratio = board->good[0] == 0 ? 0 : (double)board->good[1] / (double)board->good[0];
    printf("%-15s %-7s %8llu beside it, %8llu while it raves: %.2f; %llu lives, %llu Ki writes, %llu lies; %u errors "
           "told, at most %lld ms in %s\n",
           c->line->name, role_name(role), (unsigned long long)board->good[0], (unsigned long long)board->good[1],
           ratio, (unsigned long long)board->villain.lives, (unsigned long long)board->villain.writes >> 10,
           (unsigned long long)board->villain.lies, errors, (long long)(longest / MS), longest_what);
    must(board->bad == 0);
    must(longest < NOW_MS * MS);
    must(conform_lines_of("/proc/self/fd") <= descriptors);
    must(campaign == NULL || board->good[0] < ENOUGH || ratio >= 0.5);
}

static void beside_a_pair(struct conform *c) {
    suffer(c, THIRL_PAIR, THIRL_PAIR, false);
}

static void beside_a_writer(struct conform *c) {
    suffer(c, THIRL_READ, THIRL_WRITE, false);
}

static void beside_a_reader(struct conform *c) {
    suffer(c, THIRL_WRITE, THIRL_READ, false);
}

static void beside_a_pusher(struct conform *c) {
    suffer(c, THIRL_PULL, THIRL_PUSH, strcmp(c->line->name, "shm-queue") == 0);
}

static void beside_a_worker(struct conform *c) {
    suffer(c, THIRL_PUSH, THIRL_PULL, strncmp(c->line->name, "hub", 3) == 0);
}

static void beside_a_publisher(struct conform *c) {
    suffer(c, THIRL_SUB, THIRL_PUB, false);
}

static void beside_a_subscriber(struct conform *c) {
    suffer(c, THIRL_PUB, THIRL_SUB, true);
}

static void beside_a_caller(struct conform *c) {
    suffer(c, THIRL_SERVE, THIRL_CALL, true);
}

static void beside_a_server(struct conform *c) {
    suffer(c, THIRL_CALL, THIRL_SERVE, false);
}

static void beside_a_notifier(struct conform *c) {
    suffer(c, THIRL_WATCH, THIRL_NOTIFY, false);
}

static void beside_a_watcher(struct conform *c) {
    if (strcmp(c->line->name, "sig") == 0) {
        conform_skip("here it is the stage that watches");
    }
    suffer(c, THIRL_NOTIFY, THIRL_WATCH, false);
}

int main(int argc, char **argv) {
    static const struct conform_test all[] = {
        CONFORM(beside_a_pair),
        CONFORM_FOR(beside_a_writer, CONFORM_STREAM),
        CONFORM_FOR(beside_a_reader, CONFORM_STREAM),
        CONFORM_FOR(beside_a_pusher, CONFORM_QUEUE),
        CONFORM_FOR(beside_a_worker, CONFORM_QUEUE),
        CONFORM_FOR(beside_a_publisher, CONFORM_CAST),
        CONFORM_FOR(beside_a_subscriber, CONFORM_CAST),
        CONFORM_FOR(beside_a_caller, CONFORM_CALL),
        CONFORM_FOR(beside_a_server, CONFORM_CALL),
        CONFORM_FOR(beside_a_notifier, CONFORM_EVENT),
        CONFORM_FOR(beside_a_watcher, CONFORM_EVENT),
    };
    static const struct conform_test some[] = {
        CONFORM_ONLY(beside_a_pair, "shm"),
        CONFORM_ONLY(beside_a_writer, "shm"),
        CONFORM_ONLY(beside_a_reader, "shm"),
        CONFORM_ONLY(beside_a_pusher, "shm-queue"),
        CONFORM_ONLY(beside_a_worker, "shm-queue"),
        CONFORM_ONLY(beside_a_publisher, "shm-cast"),
        CONFORM_ONLY(beside_a_subscriber, "shm-cast"),
        CONFORM_ONLY(beside_a_caller, "shm-call"),
        CONFORM_ONLY(beside_a_server, "shm-call"),
        CONFORM_ONLY(beside_a_notifier, "shm-event"),
        CONFORM_ONLY(beside_a_watcher, "shm-event"),
        CONFORM_ONLY(beside_a_pair, "unix-path"),
        CONFORM_ONLY(beside_a_pusher, "unix-datagram"),
        CONFORM_ONLY(beside_a_pair, "mq"),
        CONFORM_ONLY(beside_a_pair, "sysv"),
        CONFORM_ONLY(beside_a_pusher, "udp4"),
        CONFORM_ONLY(beside_a_worker, "hub-seqpacket"),
        CONFORM_ONLY(beside_a_subscriber, "cast-tcp"),
        CONFORM_ONLY(beside_a_caller, "call-unix"),
        CONFORM_ONLY(beside_a_watcher, "event-tcp"),
        CONFORM_ONLY(beside_a_writer, "fifo"),
    };
    campaign = getenv("CHAOS_MS");
    return campaign != NULL || argc > 1 ? conform_main(all, sizeof all / sizeof *all, argc, argv)
                                        : conform_main(some, sizeof some / sizeof *some, argc, argv);
}
