/* SPDX-License-Identifier: MIT
 *
 * Whatever a peer writes into memory that it may write, at whichever instruction of an operation of ours: we do not crash, read and write nothing
 * that is not there, return by the deadline with an answer that is documented, and a message that is given to the caller has a size that was
 * checked. So no word that was checked is believed when it is read again. A victim goes through each operation, and at each of its looks at
 * memory of its peer (liar.h) a word of what it looks at is a lie, for good or for that look; the lies stand while it does the same once more, and
 * closes. What reads naively is led through the same way, and must be found.
 *
 * fetch_test [COUNT [SEED [SCENE [TRIAL]]]]: so many trials for each look of each scene, or of that one; the one trial alone, behind
 * what the operation looks at. 0: a part of them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/fetch.h"
#include "tests/liar.h"
#include "tests/room.h"
#include "tests/step.h"
#include "tests/tempt.h"

#define LONGEST_NS INT64_C(1000000000) /* that a call which is not to wait may take, but for what others do */
#define WORKED_NS INT64_C(1000000000)  /* and work, with all faults at looks */
#define PATIENCE 15                    /* seconds, and as many again where others had them */
#define FEWEST 12                      /* trials of a scene */
#define MANY 96                        /* looks: of more, some are left out with each count */
#define AGAIN 8                        /* lies at each look at what was looked at before */
#define BRIEF 8                        /* of so many trials one, unless more are asked for */
#define FINDINGS 8                     /* of a scene: what follows says the same */

extern const char __executable_start[]; /* the linker's */

static struct board {
    struct liar_note note;
    char said[400];
    unsigned trial, looks, again, lies,
        lost; /* where it is; looks at the operation; lies told; peers that did not survive their own */
    int64_t longest;
    size_t count; /* of files that the peer may write */
    char path[LIAR_FILES][TEMPT_PATH];
} * board;

static struct {
    unsigned count;
    uint64_t seed;
    const char *scene;
    long trial;
    bool brief;
} wanted;

static int64_t now(clockid_t clock) {
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Also out of the alarm, behind which nothing goes on. NOLINTBEGIN(bugprone-signal-handler) */
void fetch_fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(board->said, sizeof board->said, format, list);
    va_end(list);
    _exit(3);
}
/* NOLINTEND(bugprone-signal-handler) */

static unsigned again[MANY], again_count; /* looks at what was looked at before: most lies are told there */

/* ---- the peer ---- */

static pid_t peer;
static int wire = -1;

/* Does as it is told. */
static void be_peer(int end) {
    fetch_task task;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGTRAP, SIG_DFL);
    while (recv(end, &task, sizeof task, 0) == (ssize_t)sizeof task) {
        int rc = task();
        (void)!send(end, &rc, sizeof rc, MSG_NOSIGNAL);
    }
    _exit(0);
}

static void start_peer(void) {
    int ends[2];
    struct timeval patience = {.tv_sec = 200}; /* a machine may be busy */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 || (peer = fork()) < 0) {
        fetch_fail("no peer can be started");
    }
    if (peer == 0) {
        (void)close(ends[0]); /* or it would not see its victim end */
        be_peer(ends[1]);
    }
    (void)close(ends[1]);
    wire = ends[0];
    (void)setsockopt(wire, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

/* How it ended by itself; 0: it has not. */
static int end_peer(void) {
    (void)kill(peer, SIGKILL);
    int end = room_reap(peer);
    (void)close(wire);
    return end == 128 + SIGKILL ? 0 : end;
}

int fetch_tell(fetch_task task) {
    int rc;
    if (send(wire, &task, sizeof task, MSG_NOSIGNAL) == (ssize_t)sizeof task &&
        recv(wire, &rc, sizeof rc, 0) == (ssize_t)sizeof rc) {
        return rc;
    }
    board->lost++; /* it reads what it has spoilt, and may well crash: that is nobody's business */
    if (end_peer() == 0) {
        fetch_fail("its peer does not answer");
    }
    start_peer();
    return -ESRCH;
}

/* In the peer: which files it may write. */
static int report(void) {
    static struct tempt_range ranges[2 * LIAR_FILES];
    size_t count = tempt_ranges(ranges, 2 * LIAR_FILES, room_path);
    board->count = 0;
    for (size_t i = 0; i < count && board->count < LIAR_FILES; i++) {
        bool known = strstr(ranges[i].path, " (deleted)") != NULL;
        for (size_t k = 0; k < board->count; k++) {
            known = known || strcmp(board->path[k], ranges[i].path) == 0;
        }
        if (!known) {
            memcpy(board->path[board->count++], ranges[i].path, TEMPT_PATH);
        }
    }
    return 0;
}

/* ---- the victim ---- */

struct moment {
    int64_t clock, worked, delayed;
};

/* Since when it runs, how long it has worked, and how long it could have, but others did. */
static struct moment look_at_clocks(void) {
    static int file = -1;
    char line[80] = "";
    long long worked = 0, delayed = 0;
    file = file < 0 ? open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC) : file;
    bool there = file >= 0 && pread(file, line, sizeof line - 1, 0) > 0; // NOLINT(bugprone-signal-handler)
    // NOLINTNEXTLINE(bugprone-signal-handler)
    delayed = there && sscanf(line, "%lld %lld", &worked, &delayed) == 2 ? delayed : 0;
    return (struct moment){now(CLOCK_MONOTONIC), now(CLOCK_PROCESS_CPUTIME_ID), delayed};
}

/* What one call answers, and how long it took. */
static void judge(const struct fetch_scene *scene, const char *which, int rc, struct moment began) {
    struct moment ends = look_at_clocks();
    int64_t worked = ends.worked - began.worked, took = ends.clock - began.clock - (ends.delayed - began.delayed);
    board->longest = took > board->longest ? took : board->longest;
    if (took > LONGEST_NS || worked > WORKED_NS) {
        fetch_fail("%s took %lld ms, of work %lld ms", which, (long long)took / 1000000, (long long)worked / 1000000);
    }
    if (!fetch_documented(scene, rc)) {
        fetch_fail("%s answered %d (%s): %s", which, rc, rc < 0 ? thirl_error_name(rc) : "", thirl_why());
    }
}

/* Notes the looks at words that were looked at before. */
static void find_again(void) {
    const struct liar_look *look = liar_looks();
    again_count = 0;
    for (unsigned i = 0; i < board->looks && again_count < MANY; i++) {
        for (unsigned k = 0; k < i; k++) {
            if (look[k].file == look[i].file && look[k].offset / 8 == look[i].offset / 8) {
                again[again_count++] = i;
                break;
            }
        }
    }
    board->again = again_count;
}

/* Who reads naively has them until he is found. */
static unsigned trials_of(const struct fetch_scene *scene) {
    unsigned all = wanted.count * (board->looks < MANY ? board->looks : MANY);
    all += wanted.count * again_count * AGAIN;
    return scene->naive ? 1000 : all < FEWEST ? FEWEST : all;
}

static struct moment trial_began;

/* That has taken long; was it its own time? */
static void on_alarm(int signal) {
    (void)signal;
    struct moment ends = look_at_clocks();
    int64_t took = ends.clock - trial_began.clock - (ends.delayed - trial_began.delayed);
    if (took > 10 * LONGEST_NS) {
        fetch_fail("it does not return: %lld ms", (long long)took / 1000000);
    }
    (void)alarm(PATIENCE);
}

static void make_plan(struct liar_plan *plan, unsigned trial, unsigned scene) {
    uint64_t seed = (wanted.seed * 1000003 + scene) * 1000003 + trial;
    uint64_t dice = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    (void)tempt_toss(&dice, 2); /* seeds that lie close together begin alike */
    unsigned looks = board->looks, at = looks <= MANY ? trial % looks : (unsigned)tempt_toss(&dice, looks);
    at = trial < wanted.count * again_count * AGAIN ? again[trial / wanted.count % again_count] : at;
    *plan = (struct liar_plan){.count = tempt_toss(&dice, 4) == 0 ? 2 : 1};
    for (unsigned i = 0; i < plan->count; i++) {
        plan->lie[i] = (struct liar_lie){.at = at,
                                         .behind = 4 * (unsigned)tempt_toss(&dice, tempt_toss(&dice, 3) == 0 ? 8 : 2),
                                         .narrow = tempt_toss(&dice, 2) == 0,
                                         .once = tempt_toss(&dice, 3) == 0};
        at += 1 + (unsigned)tempt_toss(&dice, 16);
    }
    plan->dice = dice;
}

/* Without a plan: nobody lies, and it does what it is to do. */
static void go_through(const struct fetch_scene *scene, const struct liar_plan *plan) {
    const char *paths[LIAR_FILES];
    int failed = 0, step = fetch_prepare(scene, &failed);
    if (step != 0) {
        if (plan == NULL) {
            fetch_fail("step %d before it answered %d (%s): %s", step, failed, thirl_error_name(failed), thirl_why());
        }
        return;
    }
    (void)fetch_tell(report);
    for (size_t i = 0; i < board->count; i++) {
        paths[i] = board->path[i];
    }
    liar_know(paths, board->count);
    struct moment began = look_at_clocks();
    trial_began = began;
    (void)alarm(PATIENCE);
    liar_lead(plan);
    int rc = scene->itself();
    unsigned looks = liar_rest();
    judge(scene, scene->name, rc, began);
    if (plan == NULL) {
        board->looks = looks;
        find_again();
        if (rc != scene->usual) {
            fetch_fail("without a lie it answered %d (%s): %s", rc, rc < 0 ? thirl_error_name(rc) : "", thirl_why());
        }
    }
    began = look_at_clocks();
    judge(scene, "the same once more", scene->itself(), began);
    began = look_at_clocks();
    rc = fetch_close();
    judge(scene, "thirl_close", rc > 0 ? 0 : rc, began);
    (void)alarm(0);
    board->lies += liar_forget();
    fetch_clear();
}

/* Where in the program, for addr2line, it looks at what. */
static void show_looks(void) {
    const struct liar_look *look = liar_looks();
    for (unsigned i = 0; i < board->looks; i++) {
        const char *name = strrchr(board->path[look[i].file], '/');
        printf("  look %u: %s at %llu, by %#lx\n", i, name, (unsigned long long)look[i].offset,
               look[i].place == 0 ? 0 : (unsigned long)(look[i].place - (uintptr_t)__executable_start));
    }
    (void)fflush(stdout);
}

/* All trials of a scene from that one on, in one process. */
static void suffer(const struct fetch_scene *scene, unsigned number, unsigned from) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}; /* cmocka's no more */
    struct liar_plan plan;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        (void)signal(signals[i], SIG_DFL);
    }
    (void)signal(SIGALRM, on_alarm);
    int null = scene->naive ? open("/dev/null", O_WRONLY | O_CLOEXEC) : -1;
    (void)(null >= 0 ? dup2(null, STDERR_FILENO) + close(null) : 0); /* a sanitizer may find it first */
    if (!liar_begin(&board->note)) {
        _exit(77);
    }
    fetch_begin();
    start_peer();
    go_through(scene, NULL);
    go_through(scene, NULL);
    if (wanted.trial >= 0) {
        show_looks();
    }
    unsigned descriptors = room_descriptors(), pieces = liar_pieces();
    for (unsigned i = from; i < trials_of(scene) && board->looks != 0; i++) {
        board->trial = i;
        make_plan(&plan, i, number);
        bool left_out = wanted.brief && !scene->naive && tempt_toss(&plan.dice, BRIEF) != 0;
        if (wanted.trial < 0 ? !left_out : wanted.trial == (long)i) {
            go_through(scene, &plan);
        }
    }
    if (room_descriptors() > descriptors || liar_pieces() > pieces) {
        fetch_fail("it leaks: %u descriptors became %u, %u mappings %u", descriptors, room_descriptors(), pieces,
                   liar_pieces());
    }
    (void)end_peer();
    _exit(0);
}

/* ---- all of them ---- */

static void tell_of(const struct fetch_scene *scene, int status) {
    if (status != 3) {
        (void)snprintf(board->said, sizeof board->said, "it ended with %d, at %#lx, where it wanted %#lx", status,
                       (unsigned long)board->note.place, (unsigned long)board->note.address);
    }
    if (scene->naive) {
        return;
    }
    print_error("%s: %s; again: fetch_test %u %llu '%s' %u\n", scene->name, board->said, wanted.count - wanted.brief,
                (unsigned long long)wanted.seed, scene->name, board->trial);
    for (unsigned i = 0; i < board->note.count; i++) {
        print_error("    a lie%s in %s at %llu: %#llx, not %#llx\n", board->note.lie[i].once ? ", for once," : "",
                    board->path[board->note.lie[i].file], (unsigned long long)board->note.lie[i].offset,
                    (unsigned long long)board->note.lie[i].is, (unsigned long long)board->note.lie[i].was);
    }
}

static int erase(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)status;
    (void)kind;
    return where->level == 0 ? 0 : remove(path);
}

/* How often it was found not to hold. */
static unsigned lead(const struct fetch_scene *scene, unsigned number) {
    unsigned found = 0, from = 0;
    board->lies = board->lost = board->looks = 0;
    board->longest = 0;
    do {
        board->trial = UINT32_MAX;
        board->note = (struct liar_note){0};
        (void)nftw(room_path, erase, 16, FTW_DEPTH | FTW_PHYS); /* jobs of queues outlive all ends */
        pid_t victim = fork();
        if (victim == 0) {
            suffer(scene, number, from);
        }
        int status = room_reap(victim);
        if (status == 77) {
            print_message("skip: no step can be made here\n");
            skip();
        }
        if (status == 0) {
            break;
        }
        found++;
        tell_of(scene, status);
        from = board->trial + 1;
    } while (from != 0 && from < trials_of(scene) && found < (scene->naive ? 1 : FINDINGS));
    print_message("%-28s %4u looks, %3u of them again, %6u lies, %u peers lost, at most %lld ms%s\n", scene->name,
                  board->looks, board->again, board->lies, board->lost, (long long)board->longest / 1000000,
                  found != 0 && scene->naive ? ": found" : "");
    return found;
}

static void every_look(void **state) {
    unsigned bad = 0, missed = 0, looks = 0, lies = 0;
    (void)state;
    step_on_one_processor();
    print_message("seed %llu\n", (unsigned long long)wanted.seed);
    for (unsigned i = 0; i < fetch_scenes; i++) {
        const struct fetch_scene *scene = &fetch_scene[i];
        if (fnmatch(wanted.scene, scene->name, 0) == 0) {
            unsigned found = lead(scene, i);
            bad += scene->naive ? 0 : found;
            missed += scene->naive && found == 0 && wanted.trial < 0;
            looks += board->looks;
            lies += board->lies;
        }
    }
    print_message("%u looks, %u lies\n", looks, lies);
    assert_int_equal(bad, 0);
    assert_int_equal(missed, 0);
}

static int begin(void **state) {
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return board == MAP_FAILED ? -1 : room_begin(state);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_look)};
    wanted.count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    wanted.seed = argc > 2 ? strtoull(argv[2], NULL, 10) : (uint64_t)now(CLOCK_MONOTONIC) / 1000 % 1000000;
    wanted.scene = argc > 3 ? argv[3] : "*";
    wanted.trial = argc > 4 ? strtol(argv[4], NULL, 10) : -1;
    wanted.brief = wanted.count == 0;
    wanted.count += wanted.brief;
    return cmocka_run_group_tests(tests, begin, room_end);
}
