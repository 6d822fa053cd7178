/* SPDX-License-Identifier: MIT
 *
 * Joining and leaving beside a running stream: whoever stays loses nothing, however many come and go. And what many are: callers of one
 * server, channels of one registry. $TIDE_COUNT says how often somebody joins, $TIDE_CALLERS and $TIDE_CHANNELS how many there are;
 * `make tide` has more than a test has time for.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/query.h"

#define JOBS (1u << 22)
#define tide_add(at, value) __atomic_fetch_add(at, value, __ATOMIC_ACQ_REL)
#define tide_get(at) __atomic_load_n(at, __ATOMIC_ACQUIRE)
#define CHURNERS 2

static struct tide { /* in memory that all share */
    uint64_t joined, settled, streamed;
    uint32_t over; /* of those who come and go, how many have done it often enough */
    uint8_t done[JOBS];
} * tide;

static unsigned from_environment(const char *name, unsigned usual) {
    const char *text = getenv(name);
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : conform_sanitized() ? usual / 5 : usual;
}

static unsigned times(void) {
    return from_environment("TIDE_COUNT", 150) / CHURNERS;
}

static void begin(void) {
    tide = mmap(NULL, sizeof *tide, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(tide != MAP_FAILED);
}

static bool ebbs(void) {
    return tide_get(&tide->over) == CHURNERS;
}

/* A stream that never rests takes whole processors, and what is measured then is who gets one. */
static void stream_on(uint64_t i) {
    if (i % 64 == 63) {
        conform_sleep(MS / 5);
    }
}

/* The one who stays is there. */
static void settle(void) {
    (void)tide_add(&tide->settled, 1);
}

static void await_settled(uint64_t count) {
    for (int64_t until = conform_now() + 20000 * MS; tide_get(&tide->settled) < count; conform_sleep(MS)) {
        must(conform_now() < until);
    }
}

/* Those who come and go do so as fast as they can, all at once. */
static void churn(const struct conform *c, enum thirl_role role, void (*once)(thirl *, unsigned)) {
    unsigned most = times();
    await_settled(1);
    for (unsigned i = 0; i < most; i++) {
        thirl *end = conform_open(c, role, NULL);
        (void)tide_add(&tide->joined, 1);
        once(end, i);
        int rc = thirl_close(&end, PATIENCE);
        must(rc == 0 || (role == THIRL_CALL && rc > 0));
    }
    (void)tide_add(&tide->over, 1);
}

static void say(const struct conform *c, int64_t began, const char *what) {
    double seconds = (double)(conform_now() - began) / 1e9;
    printf("%s: %llu joined and left at %.0f a second, beside %llu %s, %.0f a second\n", c->line->name,
           (unsigned long long)tide->joined, (double)tide->joined / seconds, (unsigned long long)tide->streamed, what,
           (double)tide->streamed / seconds);
    must_be(tide->joined, times() * CHURNERS);
}

static void start(struct peer *peers, const struct conform *c, void (*one)(const struct conform *, struct peer *)) {
    for (int i = 0; i < CHURNERS; i++) {
        conform_start(&peers[i], c, one);
    }
}

static void join(struct peer *peers) {
    for (int i = 0; i < CHURNERS; i++) {
        conform_join(&peers[i]);
    }
}

/* ---- publish and subscribe ---- */

static void look_in(thirl *end, unsigned i) {
    uint64_t number;
    int rc = i % 4 == 0 ? thirl_recv(end, &number, sizeof number, NULL, thirl_in_ms(2)) : -EAGAIN;
    must(rc == 0 || rc == -EAGAIN || rc == -ETIMEDOUT);
}

static void subscribe_in_passing(const struct conform *c, struct peer *stage) {
    (void)stage;
    churn(c, THIRL_SUB, look_in);
}

static void subscribe_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_SUB, NULL);
    thirl_msg *msg;
    uint64_t next = 0, number = 0;
    for (bool first = true; number != STOP; first = false) {
        must_be(thirl_take(end, &msg, PATIENCE), 0);
        must_be(thirl_msg_size(msg), sizeof number);
        memcpy(&number, thirl_msg_data(msg), sizeof number);
        must(first || number == next || number == STOP);
        must_be(thirl_msg_lost(msg), 0);
        thirl_free(&msg);
        next = number + 1;
        if (first) {
            settle();
        }
        (void)tide_add(&tide->streamed, 1);
    }
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void subscribers_come_and_go(struct conform *c) {
    struct peer stays, pass[CHURNERS];
    begin();
    conform_start(&stays, c, subscribe_and_stay);
    start(pass, c, subscribe_in_passing);
    thirl *pub = conform_open(c, THIRL_PUB, "full=block");
    int64_t began = conform_now();
    for (uint64_t i = 0; !ebbs(); i++) {
        must_be(thirl_send(pub, &i, sizeof i, PATIENCE), 0);
        stream_on(i);
    }
    must_be(thirl_send(pub, &(uint64_t){STOP}, sizeof(uint64_t), PATIENCE), 0);
    conform_tell(&stays, 0);
    join(pass);
    conform_join(&stays);
    say(c, began, "messages");
    must_be(thirl_close(&pub, PATIENCE), 0);
}

/* ---- a work queue ---- */

static void work_on(thirl_msg **msg) {
    uint32_t job;
    must_be(thirl_msg_size(*msg), sizeof job);
    memcpy(&job, thirl_msg_data(*msg), sizeof job);
    must(job < JOBS);
    (void)tide_add(&tide->done[job], 1);
    (void)tide_add(&tide->streamed, 1);
    thirl_free(msg);
}

static void work_one(thirl *end, unsigned i) {
    thirl_msg *msg = NULL;
    int rc = i % 4 == 0 ? thirl_take(end, &msg, thirl_in_ms(2)) : -EAGAIN;
    if (rc == 0) {
        work_on(&msg);
    }
    must(rc == 0 || rc == -EAGAIN || rc == -ETIMEDOUT);
}

static void work_in_passing(const struct conform *c, struct peer *stage) {
    (void)stage;
    churn(c, THIRL_PULL, work_one);
}

static void work_and_stay(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PULL, NULL);
    for (int rc = 0; rc == 0;) {
        thirl_msg *msg;
        rc = thirl_take(end, &msg, tide->over == CHURNERS && tide->settled == 2 ? thirl_in_ms(200) : PATIENCE);
        must(rc == 0 || rc == -ETIMEDOUT);
        if (rc == 0) {
            work_on(&msg);
            tide->settled += tide->settled == 0;
        }
    }
    (void)stage;
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void workers_come_and_go(struct conform *c) {
    struct peer stays, pass[CHURNERS];
    begin();
    conform_start(&stays, c, work_and_stay);
    start(pass, c, work_in_passing);
    thirl *push = conform_open(c, THIRL_PUSH, NULL);
    int64_t began = conform_now();
    uint32_t jobs = 0;
    for (; jobs < JOBS && !ebbs(); jobs++) {
        must_be(thirl_send(push, &jobs, sizeof jobs, PATIENCE), 0);
        stream_on(jobs);
    }
    join(pass);
    tide->settled = 2; /* from here on silence is the end */
    must_be(thirl_send(push, &jobs, sizeof jobs, PATIENCE), 0);
    int64_t until = conform_now() + 20000 * MS;
    while (tide_get(&tide->streamed) <= jobs && conform_now() < until) {
        struct thirl_want want = {.end = push, .wanted = THIRL_WANT_ROOM};
        (void)!thirl_wait(&want, 1, THIRL_NOW); /* over connections, what came back leaves with a call */
        conform_sleep(MS);
    }
    say(c, began, "jobs");
    for (uint32_t i = 0; i <= jobs; i++) {
        must_be(tide->done[i], 1); /* nobody died: each was done, and once */
    }
    conform_kill(&stays);
    (void)!thirl_close(&push, THIRL_NOW);
}

/* ---- calls ---- */

static void call_once(thirl *end, unsigned i) {
    (void)query_call(end, i);
}

static void call_in_passing(const struct conform *c, struct peer *stage) {
    (void)stage;
    churn(c, THIRL_CALL, call_once);
}

static void callers_come_and_go(struct conform *c) {
    struct peer serves, pass[CHURNERS];
    begin();
    conform_start(&serves, c, query_serve);
    start(pass, c, call_in_passing);
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    conform_hear(&serves);
    settle();
    int64_t began = conform_now();
    for (; !ebbs(); tide->streamed++) {
        must_be(query_call(end, tide->streamed).with, serves.pid);
        stream_on(tide->streamed);
    }
    join(pass);
    say(c, began, "calls");
    query_stop(end, &serves);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- many ---- */

static void allow_descriptors(void) {
    struct rlimit limit;
    must_be(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    must_be(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

#define CALLERS 1000u
#define CALLERS_MOST 4000u

/* It has a queue for each of them. */
static void serve_many(const struct conform *c, struct peer *stage) {
    allow_descriptors();
    thirl *end = conform_open(c, THIRL_SERVE, "queue=4K");
    conform_tell(stage, 0);
    for (bool more = true; more;) {
        thirl_msg *request;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        more = query_words(request).what != STOP;
        query_answer(end, &request);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void a_thousand_callers(struct conform *c) {
    static thirl *end[CALLERS_MOST];
    static uint64_t id[CALLERS_MOST];
    struct peer serves;
    bool shared = strncmp(c->line->name, "shm", 3) == 0; /* where each finds the others in a directory that grows */
    unsigned callers = from_environment("TIDE_CALLERS", shared ? CALLERS / 10 : CALLERS);
    callers = callers < CALLERS_MOST ? callers : CALLERS_MOST;
    allow_descriptors();
    conform_start(&serves, c, serve_many);
    conform_hear(&serves);
    int64_t began = conform_now();
    for (unsigned i = 0; i < callers; i++) { /* so that the server finds many at its door at once */
        end[i] = conform_open(c, THIRL_CALL, "queue=4K");
        id[i] = 0;
        (void)!thirl_ask(end[i], &(struct words){i, 7}, sizeof(struct words), &id[i], THIRL_NOW);
    }
    for (unsigned i = 0; i < callers; i++) {
        thirl_msg *reply;
        id[i] = id[i] != 0 ? id[i] : query_ask(end[i], i);
        must_be(thirl_answer(end[i], &id[i], &reply, PATIENCE), 0);
        must_be(query_words(reply).with, serves.pid);
        thirl_free(&reply);
    }
    printf("%s: %u callers, each of them opened, met and answered in %.0f us\n", c->line->name, callers,
           (double)(conform_now() - began) / callers / 1e3);
    for (unsigned i = 0; i < callers; i++) { /* and all at once */
        id[i] = query_ask(end[i], i);
    }
    for (unsigned i = 0; i < callers; i++) {
        thirl_msg *reply;
        must_be(thirl_answer(end[i], &id[i], &reply, PATIENCE), 0);
        must_be(query_words(reply).what, i + 1);
        thirl_free(&reply);
    }
    for (unsigned i = 1; i < callers; i++) {
        must_be(thirl_close(&end[i], PATIENCE), 0);
    }
    query_stop(end[0], &serves);
    must_be(thirl_close(&end[0], PATIENCE), 0);
}

#define EACH 250u /* channels of one process: it maps four files for each */

static void hold_channels(const struct conform *c, struct peer *stage) {
    static thirl *end[EACH][2];
    unsigned first = (unsigned)conform_hear(stage);
    allow_descriptors();
    for (unsigned i = 0; i < EACH; i++) {
        for (int side = 0; side < 2; side++) {
            must_be(thirl_open(&end[i][side], THIRL_PAIR, conform_address(c, first + i, "queue=4K"), NULL), 0);
        }
        must_be(thirl_send(end[i][0], "x", 1, PATIENCE), 0);
    }
    conform_tell(stage, conform_lines_of("/proc/self/fd"));
    conform_tell(stage, conform_lines_of("/proc/self/maps"));
    conform_hear(stage);
    for (unsigned i = 0; i < EACH; i++) {
        char byte = 0;
        must_be(thirl_recv(end[i][1], &byte, 1, NULL, PATIENCE), 0);
        must_be(byte, 'x');
        must_be(thirl_close(&end[i][0], THIRL_NOW), 0);
        must(thirl_close(&end[i][1], THIRL_NOW) >= 0);
    }
}

struct cost {
    uint64_t files, bytes;
};

static void add_up(const char *path, struct cost *cost) {
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        char below[512];
        struct stat status;
        (void)snprintf(below, sizeof below, "%.250s/%.250s", path, entry->d_name);
        if (entry->d_name[0] == '.' || lstat(below, &status) != 0) {
            continue;
        }
        if (S_ISDIR(status.st_mode)) {
            add_up(below, cost);
        } else {
            cost->files++;
            cost->bytes += (uint64_t)status.st_blocks * 512;
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}

static void many_channels(struct conform *c) {
    unsigned processes = (from_environment("TIDE_CHANNELS", 2 * EACH) + EACH - 1) / EACH;
    struct peer *peer = calloc(processes, sizeof *peer);
    must(peer != NULL);
    for (unsigned i = 0; i < processes; i++) {
        conform_start(&peer[i], c, hold_channels);
    }
    int64_t began = conform_now();
    uint64_t descriptors = 0, maps = 0;
    for (unsigned i = 0; i < processes; i++) {
        conform_tell(&peer[i], i * EACH);
        descriptors += conform_hear(&peer[i]);
        maps += conform_hear(&peer[i]);
    }
    int64_t took = conform_now() - began;
    struct cost cost = {0, 0};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    add_up(path, &cost);
    double channels = processes * EACH;
    printf(
        "%.0f channels of two ends with queues of 4 KiB, in %u processes: each %.1f files, %.1f KiB, %.1f descriptors, "
        "%.1f maps, opened and met in %.0f us\n",
        channels, processes, (double)cost.files / channels, (double)cost.bytes / channels / 1024,
        (double)descriptors / channels, (double)maps / channels, (double)took / channels / 1e3);
    for (unsigned i = 0; i < processes; i++) {
        conform_tell(&peer[i], 0);
        conform_join(&peer[i]);
    }
    must_be(conform_lines_of(path), 0);
    free(peer);
}

#define HOLDERS 8u /* processes that have them */
#define NEWS 1000u

/* They have found the publisher when the stage goes on, and sleep while it publishes. */
static void hold_subscribers(const struct conform *c, struct peer *stage) {
    unsigned count = (unsigned)conform_hear(stage);
    thirl **end = calloc(count + 1, sizeof(void *));
    uint32_t number = 0;
    must(end != NULL);
    allow_descriptors();
    for (unsigned i = 0; i < count; i++) {
        end[i] = conform_open(c, THIRL_SUB, NULL);
        must_be(thirl_recv(end[i], &number, sizeof number, NULL, THIRL_NOW), -EAGAIN);
    }
    conform_tell(stage, conform_lines_of("/proc/self/fd"));
    conform_tell(stage, conform_lines_of("/proc/self/maps"));
    conform_hear(stage);
    for (unsigned i = 0; i < count; i++) {
        for (uint32_t j = 0; j < NEWS; j++) {
            must_be(thirl_recv(end[i], &number, sizeof number, NULL, PATIENCE), 0);
            must_be(number, j);
        }
        must_be(thirl_close(&end[i], PATIENCE), 0);
    }
    free(end);
}

static void many_subscribers(struct conform *c) {
    unsigned each = from_environment("TIDE_SUBSCRIBERS", 10 * HOLDERS) / HOLDERS, all = each * HOLDERS;
    struct peer peer[HOLDERS];
    for (unsigned i = 0; i < HOLDERS; i++) {
        conform_start(&peer[i], c, hold_subscribers);
    }
    thirl *pub = conform_open(c, THIRL_PUB, NULL);
    int64_t began = conform_now();
    uint64_t descriptors = 0, maps = 0;
    for (unsigned i = 0; i < HOLDERS; i++) {
        conform_tell(&peer[i], each);
    }
    for (unsigned i = 0; i < HOLDERS; i++) {
        descriptors += conform_hear(&peer[i]);
        maps += conform_hear(&peer[i]);
    }
    int64_t took = conform_now() - began;
    struct cost cost = {0, 0};
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    add_up(path, &cost);
    began = conform_now();
    for (uint32_t i = 0; i < NEWS; i++) {
        must_be(thirl_send(pub, &i, sizeof i, PATIENCE), 0);
    }
    printf("%u subscribers in %u processes: each %.1f files, %.1f KiB, %.1f descriptors, %.1f maps, opened and met in "
           "%.0f us; a message "
           "costs its publisher %.0f ns\n",
           all, HOLDERS, (double)cost.files / all, (double)cost.bytes / all / 1024, (double)descriptors / all,
           (double)maps / all, (double)took / all / 1e3, (double)(conform_now() - began) / NEWS);
    for (unsigned i = 0; i < HOLDERS; i++) {
        conform_tell(&peer[i], 0);
        conform_join(&peer[i]);
    }
    must_be(thirl_close(&pub, PATIENCE), 0);
    must_be(conform_lines_of(path), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        {"subscribers_come_and_go", subscribers_come_and_go, "shm-cast", CONFORM_CAST | CONFORM_MEETS},
        {"subscribers_come_and_go", subscribers_come_and_go, "cast-unix", CONFORM_CAST},
        {"workers_come_and_go", workers_come_and_go, "shm-queue", CONFORM_QUEUE},
        {"workers_come_and_go", workers_come_and_go, "hub-unix", CONFORM_QUEUE},
        {"callers_come_and_go", callers_come_and_go, "shm-call", CONFORM_CALL},
        {"callers_come_and_go", callers_come_and_go, "call-unix", CONFORM_CALL},
        {"a_thousand_callers", a_thousand_callers, "shm-call", CONFORM_CALL},
        {"a_thousand_callers", a_thousand_callers, "call-unix", CONFORM_CALL},
        {"many_channels", many_channels, "shm", CONFORM_PAIR},
        {"many_subscribers", many_subscribers, "shm-cast", CONFORM_CAST},
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
