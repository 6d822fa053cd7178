/* SPDX-License-Identifier: MIT
 *
 * A blow at every named point, over each mechanism, in each role of each pattern: who opens, does all that can be done with an end, and closes is
 * killed there, stopped and continued, stopped and killed, forked, forked and killed, at its k-th pass. The other one has an end of
 * that channel all the while: it has what was sent, whole and once, is told of nobody's death who lives, and goes on with the next one who
 * comes, with the same end; and nobody holds a descriptor, or leaves a file, more than without a blow.
 *
 * Without more, the same few are tried: BLOW_ONE_IN=1 tries each, BLOW_ONLY='pub.send.* 1 kill' those that are called so. BLOW_DONE names a file of
 * scenes that are done and passed over, BLOW_POINTS one to which the points go that were
 * struck at; the argument "points" lists all there are.
 */
#define _GNU_SOURCE
#include <fnmatch.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/weave.h"
#include "tests/conform/play.h"
#include "tests/conform/stage.h"

#define HANGS 40     /* s */
#define STOPPED 120  /* ms: more than the slice in which others look */
#define ARRIVES 4000 /* ms, for what a killed one has sent: enough for a busy machine */
#define UNSEEN                                                                                                         \
    4 /* files and descriptors of the dead, that the other one has until it looks there next: so they never get more */
#define POINTS 600    /* places at which points stand */
#define PASSES_MOST 4 /* of a point, to be struck at: the first, the second, the middle, the last */

enum action { KILL, STOP, STOP_KILL, FORK, FORK_KILL, ACTIONS };
static const char *const actions[] = {"kill", "stop", "stop-kill", "fork", "fork-kill"};

struct blow {
    const char *point;
    unsigned pass;
    enum action action;
};

static struct play_scene scene;
static struct conform where;
static struct shared {
    struct play_pass pass;
    unsigned passes[POINTS]; /* at each place */
} * shared;
static struct weave_point *points;
static size_t places;
static uint32_t base; /* numbers of a victim are larger than those of the one before it */
static unsigned files_usual, files_now, descriptors_usual, descriptors_now, tried, struck, turn, one_in;
static bool suffers; /* this process is a victim */

/* ---- the victim ---- */

/* Behind the library's own destructors, which pass points, too. */
__attribute__((destructor(101))) static void note_passes(void) {
    for (size_t i = 0; suffers && i < places; i++) {
        shared->passes[i] = points[i].passes;
    }
}

static void be_the_victim(const struct blow *blow) {
    char order[160];
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)alarm(HANGS);
    if (blow != NULL) {
        (void)snprintf(order, sizeof order, "%s:%u:%s", blow->point, blow->pass,
                       actions[blow->action == STOP_KILL ? STOP : blow->action]);
        (void)setenv("THIRL_WEAVE_AT", order, 1);
    }
    suffers = true;
    play_run(&shared->pass);
    exit(0);
}

/* What it has is new but for its kind. */
static pid_t begin_victim(const struct blow *blow) {
    base += 10000;
    struct play_pass *p = &shared->pass;
    *p = (struct play_pass){.whole = true, .joins = true, .number = base, .sent = base, .heard = base};
    memset(shared->passes, 0, sizeof shared->passes);
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        be_the_victim(blow);
    }
    return pid;
}

/* ---- what is found afterwards ---- */

/* Until the other one has heard that the last one has left. */
static void settle(void) {
    int64_t until = conform_now() + ARRIVES * MS;
    for (int calm = 0; calm < 30 && conform_now() < until; calm++) {
        unsigned before = files_now, descriptors = descriptors_now;
        descriptors_now = play_descriptors();
        calm = (files_now = play_files()) == before && descriptors_now == descriptors ? calm : 0;
        conform_sleep(MS);
    }
}

static unsigned passes_of(const char *point) {
    unsigned sum = 0;
    for (size_t i = 0; i < places; i++) {
        sum += strcmp(points[i].name, point) == 0 ? shared->passes[i] : 0;
    }
    return sum;
}

static bool complain(const struct blow *blow, const char *what) {
    printf("not so: %s: BLOW_ONLY='%s %u %s': %s\n", scene.name, blow->point, blow->pass, actions[blow->action], what);
    fflush(stdout);
    return false;
}

/* It was killed, or not, as it had to be. `hit`: it came by there. */
static bool see(const struct blow *blow, pid_t pid, bool *hit) {
    int status = stage_await(pid, (HANGS + 5) * 1000);
    bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    bool deadly = blow->action == KILL || blow->action == STOP_KILL || blow->action == FORK_KILL;
    *hit = killed || (!deadly && passes_of(blow->point) >= blow->pass);
    if (status != 0 && !(killed && deadly)) {
        return complain(blow, status == -1 ? "it hangs" : "it failed");
    }
    return true;
}

/* Lets it stand for a while, and then go on, or not. */
static bool resume(const struct blow *blow, pid_t pid) {
    siginfo_t info = {.si_pid = 0};
    int64_t until = conform_now() + HANGS * 1000 * MS;
    while (waitid(P_PID, (id_t)pid, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG) == 0 && info.si_pid == 0 &&
           conform_now() < until) {
        conform_sleep(MS / 4);
    }
    if (info.si_code != CLD_STOPPED) {
        return true; /* it did not come by */
    }
    conform_sleep(STOPPED * MS);
    char name[32];
    (void)snprintf(name, sizeof name, "pid %d ", (int)pid);
    bool lives =
        play_told()->rc == 0 || strstr(play_told()->why, name) == NULL; /* it may be late with the one before */
    (void)kill(pid, blow->action == STOP ? SIGCONT : SIGKILL);
    return lives || complain(blow, play_told()->why);
}

/* What it forked has its process group, and is now this process's child. */
static void end_children(pid_t victim) {
    if (kill(-victim, SIGKILL) == 0) {
        (void)waitpid(-victim, NULL, 0);
    }
}

/* The next one comes, to the same end, and does all that there is to do. */
static bool comes_next(const struct blow *blow) {
    if (stage_await(begin_victim(NULL), (HANGS + 5) * 1000) != 0) {
        return complain(blow, "the next one cannot go on");
    }
    int64_t until = conform_now() + ARRIVES * MS;
    do {
        descriptors_now = play_descriptors();
    } while (((files_now = play_files()) > files_usual + UNSEEN || descriptors_now > descriptors_usual + UNSEEN) &&
             conform_now() < until && (conform_sleep(MS), true));
    char text[100];
    (void)snprintf(text, sizeof text, "%u files, not %u; %u descriptors, not %u", files_now, files_usual,
                   descriptors_now, descriptors_usual);
    return (files_now <= files_usual + UNSEEN && descriptors_now <= descriptors_usual + UNSEEN) || complain(blow, text);
}

static bool strike(const struct blow *blow) {
    bool hit = false;
    play_forget();
    pid_t pid = begin_victim(blow);
    bool fine = blow->action == STOP || blow->action == STOP_KILL ? resume(blow, pid) : true;
    fine = see(blow, pid, &hit) && fine;
    fine = fine && (play_arrived(&shared->pass, ARRIVES) || complain(blow, "what it sent last has not come"));
    fine = fine && comes_next(blow);
    end_children(pid);
    tried++;
    struck += hit;
    return fine;
}

/* ---- all points of a scene ---- */

/* Is it one that was asked for? */
static bool is_meant(const struct blow *blow) {
    const char *only = getenv("BLOW_ONLY");
    char name[160];
    (void)snprintf(name, sizeof name, "%s %u %s", blow->point, blow->pass, actions[blow->action]);
    return only != NULL ? fnmatch(only, name, 0) == 0 : turn++ % one_in == 0;
}

static bool strike_at(const char *point, unsigned passes) {
    const unsigned pass[PASSES_MOST] = {1, 2, (passes + 1) / 2, passes};
    bool fine = true;
    for (unsigned i = 0, last = 0; i < PASSES_MOST; i++) {
        struct blow blow = {point, pass[i], KILL};
        if (pass[i] > last && pass[i] <= passes) {
            last = pass[i];
            fine = (!is_meant(&blow) || strike(&blow)) && fine;
        }
    }
    for (enum action action = STOP; action < ACTIONS; action++) {
        struct blow blow = {point, pass[2], action};
        fine = (!is_meant(&blow) || strike(&blow)) && fine;
    }
    return fine;
}

static bool play(void) {
    unsigned passes[POINTS];
    tried = struck = turn = 0;
    for (const char *at = scene.name; one_in > 1 && *at != '\0'; at++) {
        turn = turn * 31 + (unsigned char)*at; /* each scene tries others */
    }
    play_begin(&where, &scene);
    for (int i = 0; i < 2; i++) { /* the first one makes what stays */
        must_be(stage_await(begin_victim(NULL), (HANGS + 5) * 1000), 0);
    }
    settle();
    files_usual = files_now;
    descriptors_usual = descriptors_now;
    memcpy(passes, shared->passes, sizeof passes);
    bool fine = true;
    for (size_t i = 0; i < places; i++) {
        unsigned sum = 0;
        bool first = true;
        for (size_t k = 0; k < places; k++) { /* points that stand in several places are one */
            bool same = strcmp(points[k].name, points[i].name) == 0;
            first = first && !(same && k < i);
            sum += same ? passes[k] : 0;
        }
        if (first && sum != 0) {
            fine = strike_at(points[i].name, sum) && fine;
            play_note("BLOW_POINTS", points[i].name);
        }
    }
    int status = play_over();
    if (status != 0) {
        printf("not so: %s: the other one ended with %#x\n", scene.name, (unsigned)status);
    }
    printf("%s: %u blows, of %u that were to fall\n", scene.name, struck, tried);
    fflush(stdout);
    return fine && status == 0;
}

static void play_group(const struct conform *c, const char *name) {
    const char *wanted = getenv("BLOW_ONE_IN");
    where = *c;
    one_in = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : conform_sanitized() ? 150 : 60;
    points = weave_points(&places);
    must(places > 0 && places <= POINTS);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(shared != MAP_FAILED);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)unshare(CLONE_NEWIPC); /* where that is allowed: queues are counted */
    play_both(c, name, "BLOW_DONE", &scene, play);
}

#define GROUP(name)                                                                                                    \
    static void name(struct conform *c) {                                                                              \
        play_group(c, #name);                                                                                          \
    }
PLAY_GROUPS(GROUP)

int main(int argc, char **argv) {
    static const struct conform_test all[] = {PLAY_TESTS};
    static const struct conform_test few[] = {
        CONFORM_ONLY(pair, "shm"),       CONFORM_ONLY(pull, "shm-queue"),   CONFORM_ONLY(push, "shm-queue"),
        CONFORM_ONLY(sub, "shm-cast"),   CONFORM_ONLY(call, "shm-call"),    CONFORM_ONLY(serve, "shm-call"),
        CONFORM_ONLY(pair, "unix-path"), CONFORM_ONLY(pattern, "shm-cast"), CONFORM_ONLY(push, "sysv"),
        CONFORM_ONLY(pull, "sysv"),      CONFORM_ONLY(watch, "shm-event"),  CONFORM_ONLY(pub, "cast-unix"),
    };
    if (argc == 2 && strcmp(argv[1], "points") == 0) {
        points = weave_points(&places);
        for (size_t i = 0; i < places; i++) printf("%s\n", points[i].name);
        return 0;
    }
    if (getenv("BLOW_ONE_IN") != NULL || getenv("BLOW_ONLY") != NULL) {
        return conform_main(all, sizeof all / sizeof *all, argc, argv);
    }
    return conform_main(few, sizeof few / sizeof *few, argc, argv);
}
