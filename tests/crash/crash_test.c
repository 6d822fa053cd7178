/* SPDX-License-Identifier: MIT
 *
 * Every named point of the library × killed, stopped and continued, stopped and killed, forked, forked and killed × sender, receiver, first, second: the
 * survivor is told in time and by name, has every message exactly once, and a fresh peer can take the place. What each
 * scenario passes is found out by an unharmed run of it. A few processes share the trials.
 *
 * THIRL_CRASH=SCENARIO, SCENARIO/POINT or SCENARIO/POINT:PASS:ACTION runs a part of it and talks about each trial.
 */
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/weave.h"
#include "tests/crash/trial.h"
#include "tests/room.h"

#define WORKERS 6
#define TRIALS_MAX 16000
#define SLOW_AGAIN 3 /* a machine that is busy elsewhere is late by chance, not each time */

#define SLEEPY "shm://crash?queue=4096&wait=sleep"
#define LIVELY "shm://crash?queue=4096"
#define STREAM "unix://%s/socket?queue=4096"
#define TCP "tcp://%s:7418"
#define FIFO "fifo://%s/fifo?queue=4096"
#define MQ "mq://%s?queue=32K"
#define DGRAM "unix://%s/dgram?type=datagram"
#define SYSV "sysv://%s?queue=4096&wait=sleep"
#define PACKET "unix://@crash%s?queue=8192&type=seqpacket"

static const struct trial_scenario scenarios[] = {
    {.name = "shm-send-first", .address = SLEEPY, .flow = TRIAL_OUT, .messages = 40, .first = true},
    {.name = "shm-send-second", .address = LIVELY, .flow = TRIAL_OUT, .messages = 40},
    {.name = "shm-receive-first", .address = LIVELY, .flow = TRIAL_IN, .messages = 40, .first = true},
    {.name = "shm-receive-second", .address = SLEEPY, .flow = TRIAL_IN, .messages = 40},
    {.name = "shm-echo-first", .address = SLEEPY, .flow = TRIAL_ECHO, .messages = 10, .first = true, .last = true},
    {.name = "shm-echo-second", .address = LIVELY, .flow = TRIAL_ECHO, .messages = 10},
    {.name = "shm-spin-send", .address = "shm://crash?wait=spin", .flow = TRIAL_OUT, .messages = 300, .brisk = true},
    {.name = "shm-spin-receive", .address = "shm://crash?wait=spin", .flow = TRIAL_IN, .messages = 300, .brisk = true},
    {.name = "shm-sweep", .address = SLEEPY, .flow = TRIAL_OUT, .messages = 2, .first = true, .corpse = true},
    {.name = "stream-send-first", .address = STREAM, .flow = TRIAL_OUT, .messages = 40, .first = true, .corpse = true},
    {.name = "stream-receive-second", .address = STREAM, .flow = TRIAL_IN, .messages = 40},
    {.name = "stream-echo-first", .address = STREAM, .flow = TRIAL_ECHO, .messages = 10, .first = true, .last = true},
    {.name = "stream-half", .address = STREAM, .flow = TRIAL_HALF, .messages = 2},
    {.name = "packet-send-second", .address = PACKET, .flow = TRIAL_OUT, .messages = 40},
    {.name = "packet-receive-first", .address = PACKET, .flow = TRIAL_IN, .messages = 40, .first = true},
    {.name = "packet-echo-second", .address = PACKET, .flow = TRIAL_ECHO, .messages = 10},
    {.name = "tcp-send-first", .address = TCP, .flow = TRIAL_OUT, .messages = 12, .first = true, .corpse = true},
    {.name = "tcp-receive-second", .address = TCP, .flow = TRIAL_IN, .messages = 12},
    {.name = "fifo-send-first", .address = FIFO, .flow = TRIAL_OUT, .messages = 12, .first = true, .corpse = true},
    {.name = "fifo-receive-second", .address = FIFO, .flow = TRIAL_IN, .messages = 12},
    {.name = "mq-send-first", .address = MQ, .flow = TRIAL_OUT, .messages = 6, .first = true, .corpse = true},
    {.name = "mq-receive-second", .address = MQ, .flow = TRIAL_IN, .messages = 6},
    {.name = "dgram-echo-first", .address = DGRAM, .flow = TRIAL_ECHO, .messages = 6, .first = true},
    {.name = "sysv-send-first", .address = SYSV, .flow = TRIAL_OUT, .messages = 8, .first = true, .corpse = true},
    {.name = "sysv-echo-second", .address = SYSV, .flow = TRIAL_ECHO, .messages = 10},
};
#define SCENARIOS (sizeof scenarios / sizeof *scenarios)

struct plan {
    unsigned scenario, place, pass;
    enum trial_action action;
};

static struct shared {
    uint32_t next, count;
    struct plan plan[TRIALS_MAX];
    int64_t notice[TRIALS_MAX]; /* of a death, INT64_MIN: nobody was told of one */
    uint32_t hits[TRIAL_POINTS][TRIAL_ACTIONS];
    uint32_t passes[SCENARIOS][TRIAL_POINTS];
    uint32_t failures, unreached, again;
} * shared;

static struct weave_point *points;
static size_t places;
static bool chatty;
static const char *only;

/* Points that stand in several places are one: the first of their name. */
static size_t place_of(const char *name) {
    size_t i = 0;
    while (strcmp(points[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void report(const struct trial_scenario *scenario, const struct plan *plan, const struct trial_result *result) {
    const char *point = plan != NULL ? points[plan->place].name : "unharmed";
    if (result->failure[0] != '\0') {
        (void)atomic_add(&shared->failures, 1u);
        printf("failed: %s/%s:%u:%s: %s\n", scenario->name, point, plan != NULL ? plan->pass : 0,
               trial_actions[plan != NULL ? plan->action : 0], result->failure);
    } else if (chatty) {
        printf("%s/%s:%u:%s: %s, told after %lld us, %u timeouts\n", scenario->name, point,
               plan != NULL ? plan->pass : 0, trial_actions[plan != NULL ? plan->action : 0],
               result->hit ? "hit" : "not reached", (long long)(result->told ? result->notice / CLOCK_US : -1),
               result->timeouts);
    }
    fflush(stdout);
}

/* Who forks shows nobody that he came there, but his own count. */
static bool passed(const struct plan *plan, const struct trial_result *result) {
    unsigned passes = 0;
    for (size_t i = 0; i < places; i++) {
        passes += strcmp(points[i].name, points[plan->place].name) == 0 ? result->passes[i] : 0;
    }
    return passes >= plan->pass;
}

static void try_one(uint32_t which, const char *directory) {
    const struct plan *plan = &shared->plan[which];
    const struct trial_scenario *scenario = &scenarios[plan->scenario];
    struct trial_result result;
    for (int tries = 0; tries < SLOW_AGAIN; tries++) {
        trial_run(scenario, directory, points[plan->place].name, plan->pass, plan->action, &result);
        if (!result.slow || result.failure[0] != '\0') {
            break;
        }
        (void)atomic_add(&shared->again, 1u);
    }
    if (result.slow && result.failure[0] == '\0') {
        (void)snprintf(result.failure, sizeof result.failure, "the survivor was told after %lld us, %d times in a row",
                       (long long)(result.notice / CLOCK_US), SLOW_AGAIN);
    }
    shared->notice[which] = result.told ? result.notice : INT64_MIN;
    if (result.hit || (plan->action == TRIAL_FORK && passed(plan, &result))) {
        (void)atomic_add(&shared->hits[plan->place][plan->action], 1u);
    } else {
        (void)atomic_add(&shared->unreached, 1u);
    }
    report(scenario, plan, &result);
}

/* A trial's process: takes one after the other, dry runs before the plan is made. */
static void work(bool dry, unsigned worker) {
    char directory[256];
    const char *base = getenv("THIRL_DIR");
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(directory, sizeof directory, "%s-%d.%u", base != NULL ? base : "/dev/shm/thirl-crash",
                   (int)getppid(), worker);
    if (mkdir(directory, 0700) != 0) {
        printf("failed: no directory %s\n", directory);
        exit(1);
    }
    for (;;) {
        uint32_t which = atomic_add(&shared->next, 1u);
        if (which >= (dry ? SCENARIOS : shared->count) || shared->failures > 20) {
            break;
        }
        if (!dry) {
            try_one(which, directory);
            continue;
        }
        struct trial_result result;
        if (only != NULL && strncmp(scenarios[which].name, only, strcspn(only, "/")) != 0) {
            continue;
        }
        trial_run(&scenarios[which], directory, NULL, 0, TRIAL_NONE, &result);
        report(&scenarios[which], NULL, &result);
        for (size_t i = 0; i < places; i++) {
            shared->passes[which][place_of(points[i].name)] += result.passes[i];
        }
    }
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
    exit(system(command) != 0);
}

/* Runs the trials from that one on. */
static void work_all(bool dry, uint32_t from) {
    pid_t child[WORKERS];
    shared->next = from;
    fflush(NULL);
    for (unsigned i = 0; i < WORKERS; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            work(dry, i);
        }
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        int status = -1;
        (void)waitpid(child[i], &status, 0);
        assert_int_equal(status, 0);
    }
}

static void add(unsigned scenario, unsigned place, unsigned pass, enum trial_action action) {
    char name[200];
    (void)snprintf(name, sizeof name, "%s/%s:%u:%s", scenarios[scenario].name, points[place].name, pass,
                   trial_actions[action]);
    size_t length = only != NULL ? strlen(only) : 0;
    if (strncmp(name, only != NULL ? only : "", length) == 0) {
        assert_true(shared->count < TRIALS_MAX);
        shared->plan[shared->count++] = (struct plan){scenario, place, pass, action};
    }
}

/* How much is tried of what could be. All of it takes minutes: THIRL_CRASH_ALL=1, and `make soak`. A sanitizer looks at the
 * code that is passed, not at the moment, and makes processes dear. */
struct measure {
    unsigned killed, stopped, forked; /* at a point, in so many of the scenarios that pass it */
    unsigned passes;                  /* of 1: the first pass; 2: the last, too; 4: the second and the middle, too */
};

static struct measure measure(void) {
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    const struct measure usual = {.killed = 1, .stopped = 0, .forked = 0, .passes = 1};
#else
    const struct measure usual = {.killed = room_is_brief() ? 1 : 2, .stopped = 1, .forked = 1, .passes = 2};
#endif
    const struct measure all = {.killed = UINT_MAX, .stopped = UINT_MAX, .forked = UINT_MAX, .passes = 4};
    return only != NULL || getenv("THIRL_CRASH_ALL") != NULL ? all : usual;
}

/* Is it among that many of the scenarios which pass the point? Those lie evenly, so that each mechanism has its turn. */
static bool is_among(uint64_t many, unsigned scenario, unsigned place) {
    uint64_t earlier = 0, all = 0;
    for (unsigned s = 0; s < SCENARIOS; s++) {
        earlier += s < scenario && shared->passes[s][place] != 0;
        all += shared->passes[s][place] != 0;
    }
    return many >= all || (many != 0 && (earlier == 0 || earlier * many / all != (earlier - 1) * many / all));
}

static void plan_point(const struct measure *m, unsigned s, unsigned p) {
    unsigned passes = shared->passes[s][p], middle = (passes + 1) / 2;
    const unsigned pass[] = {1, 2, passes / 2, passes};
    bool killed = is_among(m->killed, s, p), stopped = is_among(m->stopped, s, p);
    for (unsigned i = 0, last = 0; i < 4 && killed; i++) {
        bool wanted = i == 0 || m->passes == 4 || (m->passes == 2 && i == 3);
        if (wanted && pass[i] > last && pass[i] <= passes) {
            last = pass[i];
            add(s, p, last, TRIAL_KILL);
        }
    }
    if (passes != 0 && stopped) {
        add(s, p, middle, TRIAL_STOP);
        add(s, p, middle > 1 ? middle - 1 : 1, TRIAL_STOP_KILL);
    }
    if (passes != 0 && is_among(m->forked, s, p)) {
        add(s, p, middle, TRIAL_FORK);
        add(s, p, middle, TRIAL_FORK_KILL);
    }
}

static void plan_all(void) {
    struct measure m = measure();
    for (unsigned s = 0; s < SCENARIOS; s++) {
        for (unsigned p = 0; p < places; p++) {
            plan_point(&m, s, p);
        }
    }
}

static int by_size(const void *a, const void *b) {
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

/* How the names of the points begin that no pair passes; each is killed at by a test of its own. */
static const char *const elsewhere[] = {
    "bare.",                                                               /* bare_test */
    "arena.",     "redo.",   "area.",                                      /* arena_test, area_test */
    "cell.",      "lot.",    "own.",          "test.",                     /* state_test, own_test */
    "pin.",       "shelf.",  "store.",                                     /* keepers_test */
    "mutex.",     "owner.",  "urgent.",                                    /* locks_test */
    "rank.",                                                               /* ranks_test */
    "cond.",      "rwlock.",                                               /* conds_test, rwlocks_test */
    "sem.",       "token.",  "beacon.",       "once.",                     /* survive_test */
    "barrier.",                                                            /* muster_test */
    "auto.",                                                               /* auto_test */
    "stow.",      "pool.",   "inlet.keep",    "inlet.drop", "outlet.away", /* stow_test */
    "bulk.",      "grasp.",                                                /* grasp_test */
    "link.noted",                                                          /* rights_test */
    "roll.type.",                                                          /* type_test of conform */
    "pipe.",                                                               /* bereft_test */
    "udp.",                                                                /* udp_test */
    "dgram.",                                                              /* dgram_test */
    "hose.",                                                               /* path_test */
    "ear.",       "deal.",   "tell.",                                      /* deal_test */
    "hub.",       "crier.",                                                /* deal_test, crier_test */
    "sig.",                                                                /* conform/event_test */
    "catch.",                                                              /* conform/event_test */
    "tally.",     "event.",                                                /* conform/counted_test */
    "knell.",                                                              /* conform/counted_test */
    "herald.",    "heed.",                                                 /* conform/herald_test */
    "stale.",                                                              /* never passed, says conform/wake_test */
    "choose.",                                                             /* conform/wait_test */
    "push.",                                                               /* conform/crowd_test, and all that follow */
    "draw.",      "turn.",   "queue.",        "kept.",      "claim.", /* conform/labour_test, and all that follow */
    "rouse.",     "offer.",  "toil.",         "giver.",     "cargo.",
    "orphan.",    "pub.", /* conform/mourn_test, and all that follow */
    "sub.",       "feed.",   "crowd.",        "fan.",       "cast.",
    "post.all",   "topics.", "wish.",         "post.one",   "roll.retire", /* conform/topic_test */
    "hark.",      "desk.",   "talk.",         "door.",      "request.",
    "answer.",    "serve.",  "outlet.headed", /* conform/gone_test */
    "letter.",    "caller.", "clerk.",
};

static bool is_elsewhere(const char *name) {
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
        if (strncmp(name, elsewhere[i], strlen(elsewhere[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Every point was killed at and stopped at by some scenario. How often a run passes a point is a matter of chance, so that a
 * trial may have come too late: what is missing is tried again, at the first pass. true: something is. */
static bool plan_missing(bool again) {
    bool missing = false;
    enum trial_action last = measure().stopped != 0 ? TRIAL_FORK_KILL : TRIAL_KILL;
    for (unsigned p = 0; p < places && only == NULL; p++) {
        const uint32_t *hits = shared->hits[p];
        if (place_of(points[p].name) != p || is_elsewhere(points[p].name)) {
            continue;
        }
        for (enum trial_action action = TRIAL_KILL; action <= last; action++) {
            if (hits[action] != 0) {
                continue;
            }
            missing = true;
            for (unsigned s = 0; s < SCENARIOS && again; s++) {
                if (shared->passes[s][p] != 0) {
                    add(s, p, 1, action);
                }
            }
            if (!again) {
                printf("not covered: %s, %s\n", points[p].name, trial_actions[action]);
            }
        }
    }
    return missing;
}

static void survives(void **state) {
    (void)state;
    points = weave_points(&places);
    assert_true(places > 0 && places <= TRIAL_POINTS);
    only = getenv("THIRL_CRASH");
    chatty = only != NULL;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    int64_t began = clock_now();
    work_all(true, 0);
    assert_int_equal(shared->failures, 0);
    plan_all();
    work_all(false, 0);
    for (uint32_t tries = 0, done = shared->count; tries < 3 && plan_missing(true); tries++, done = shared->count) {
        work_all(false, done);
    }
    bool missing = plan_missing(false);
    unsigned names = 0, deaths = 0;
    for (size_t i = 0; i < places; i++) {
        names += place_of(points[i].name) == i;
    }
    static int64_t notice[2][TRIALS_MAX]; /* by who killed: the parent, which knows when, or the victim itself */
    unsigned count[2] = {0, 0};
    for (uint32_t i = 0; i < shared->count; i++) {
        if (shared->notice[i] != INT64_MIN) {
            unsigned own = shared->plan[i].action == TRIAL_KILL;
            notice[own][count[own]++] = shared->notice[i];
            deaths++;
        }
    }
    qsort(notice[0], count[0], sizeof **notice, by_size);
    qsort(notice[1], count[1], sizeof **notice, by_size);
    printf(
        "crash: %u points, %zu scenarios, %u trials (%u points came too late in a run, %u trials repeated as late), "
        "%u deaths told: median %lld us, slowest %lld us after the kill; slowest %lld us after the parent of a victim "
        "that killed itself; %.1f s\n",
        names, SCENARIOS, shared->count, shared->unreached, shared->again, deaths,
        (long long)(count[0] ? notice[0][count[0] / 2] / CLOCK_US : -1),
        (long long)(count[0] ? notice[0][count[0] - 1] / CLOCK_US : -1),
        (long long)(count[1] ? notice[1][count[1] - 1] / CLOCK_US : -1), (double)(clock_now() - began) / 1e9);
    assert_int_equal(shared->failures, 0);
    assert_false(missing);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(survives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
