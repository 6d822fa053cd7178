/* SPDX-License-Identifier: MIT
 *
 * The parent of a trial, and what it finds afterwards.
 */
#include "tests/crash/trial.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/fd.h"
#include "tests/crash/board.h"
#include "tests/quota.h"

#define STOPPED_NS (150 * CLOCK_MS)
#define LIMIT_S 12 /* a trial that takes longer is stuck */

static void wake_up(int signal) {
    (void)signal; /* only to end a waitpid */
}

static struct board *make_board(void) {
    static struct board *board;
    if (board == NULL) {
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct sigaction action = {.sa_handler = wake_up};
        (void)sigaction(SIGALRM, &action, NULL);
        (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    return board == MAP_FAILED ? NULL : memset(board, 0, sizeof *board);
}

const char *const trial_actions[] = {"none", "kill", "stop", "stop-kill", "fork", "fork-kill"};

static pid_t start(struct board *board, void (*play)(struct board *), const char *order) {
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpgid(0, 0);
        (void)alarm(LIMIT_S + 5);
        if (order != NULL) {
            setenv("THIRL_WEAVE_AT", order, 1);
        } else {
            unsetenv("THIRL_WEAVE_AT");
        }
        play(board);
        exit(0);
    }
    return child;
}

/* Waits for a child of a trial: its status, or -1 when the trial takes too long. */
static int reap(struct board *board, pid_t child, int options, const char *who) {
    int status = -1;
    if (child <= 0) {
        return -1;
    }
    (void)alarm(LIMIT_S);
    if (waitpid(child, &status, options) != child) {
        board_fail(board, "the %s is stuck", who);
        (void)kill(child, SIGCONT);
        (void)kill(child, SIGKILL);
        (void)waitpid(child, &status, 0);
        status = -1;
    }
    (void)alarm(0);
    return status;
}

static void expect_exit(struct board *board, pid_t child, const char *who) {
    int status = reap(board, child, 0, who);
    if (status != 0 && status != -1) {
        board_fail(board, "the %s ended with status 0x%x", who, (unsigned)status);
    }
}

static void rest(int64_t ns) {
    struct timespec left = clock_spec(ns);
    while (nanosleep(&left, &left) != 0) {}
}

/* The victim has stopped itself. Returns when it was killed, 0 when it goes on. */
static int64_t resume(struct board *board, pid_t victim, enum trial_action action) {
    rest(STOPPED_NS);
    if (atomic_load(&board->told) == THIRL_EPEERDIED) {
        board_fail(board, "a stopped peer was declared dead: %s", board->why);
    }
    int64_t now = clock_now();
    (void)kill(victim, action == TRIAL_STOP_KILL ? SIGKILL : SIGCONT);
    return action == TRIAL_STOP_KILL ? now : 0;
}

/* Sees the victim to its end; the board's killed and ended are set. */
static void see_victim(struct board *board, pid_t victim, enum trial_action action, struct trial_result *result) {
    int64_t killed = 0;
    int status = reap(board, victim, WUNTRACED, "victim");
    if (status != -1 && WIFSTOPPED(status)) {
        result->hit = true;
        board_raise(&board->victim_opened); /* or will not for now: the survivor opens all the same */
        killed = resume(board, victim, action);
        status = reap(board, victim, 0, "victim");
    }
    int64_t now = clock_now();
    bool by_signal = status != -1 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (by_signal) {
        result->hit = true;
        board->killed = killed != 0 ? killed : now;
    } else if (status != -1 && status != 0) {
        board_fail(board, "the victim ended with status 0x%x", (unsigned)status);
    }
    board->ended_at = now;
    board_raise(&board->ended);
    board_raise(&board->victim_opened);
}

/* Names what is left in a directory, and removes it. */
static void clear(struct board *board, const char *directory, const char *what) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", directory, what);
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        bool expected = *what == '\0' && (strcmp(entry->d_name, "node") == 0 || strcmp(entry->d_name, "chan") == 0);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || expected) {
            continue;
        }
        board_fail(board, "left in the registry: %s/%s", what, entry->d_name);
        char command[700];
        (void)snprintf(command, sizeof command, "rm -rf '%s/%s'", path, entry->d_name);
        if (system(command) != 0) {
            board_fail(board, "which cannot be removed");
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}

/* Did the survivor get what it had to get, and was it told what it had to be told? */
static void judge(struct board *board, struct trial_result *result) {
    uint64_t sent = board->victim_sent, got = board->got[BOARD_VICTIM], lost = board->victim_left;
    if (got + lost < sent || got > sent + 1) {
        board_fail(board, "the victim sent %llu messages (%llu of them reported as left) and the survivor has %llu",
                   (unsigned long long)sent, (unsigned long long)lost, (unsigned long long)got);
    }
    bool met = board->met || got != 0 || sent > lost;
    char pid[32];
    bool far = strncmp(board->address, "tcp:", 4) == 0; /* there it is known by its address */
    if (far) {
        memcpy(pid, "127.", 5);
    } else {
        (void)snprintf(pid, sizeof pid, "pid %d ", (int)board->victim_pid);
    }
    if (board->killed != 0 && met && board->told == 0 && !board->survivor_left) {
        board_fail(board, "the survivor was never told of the death");
    }
    if (board->told == THIRL_EPEERDIED && strstr(board->why, pid) == NULL) {
        board_fail(board, "the sentence does not name %s: %s", pid, board->why);
    }
    /* One who leaves in the middle of a message is not distinguished from one who dies there. */
    if (board->told == THIRL_EPEERDIED && board->killed == 0 && board->scenario->flow != TRIAL_HALF) {
        board_fail(board, "the victim lives, and yet: %s", board->why);
    }
    if (board->told == THIRL_ECLOSED && board->closing == 0) {
        board_fail(board, "the victim did not close, and yet: %s", board->why);
    }
    if (board->told == THIRL_EPEERDIED && board->killed != 0) {
        result->told = true;
        result->notice = board->told_at - board->killed;
        /* What was sent comes first, and half a message is large here. */
        int64_t soon = board->scenario->flow == TRIAL_HALF ? 5 * TRIAL_TOLD_NS : TRIAL_TOLD_NS;
        /* Of one who came and died while the survivor was still opening its end, the next who comes tells. */
        result->slow = met && board->told_at - board->ended_at > soon;
    }
    memcpy(result->passes, board->passes, sizeof result->passes);
    result->timeouts = board->timeouts;
    memcpy(result->failure, board->failure, sizeof result->failure);
}

/* Every process that runs trials has a loopback address and a name of its own. */
static void place(char *address, size_t room, const char *pattern, const char *directory) {
    char host[32];
    unsigned pid = (unsigned)getpid();
    (void)snprintf(host, sizeof host, "127.%u.%u.%u", pid >> 16 & 255, pid >> 8 & 255, pid & 255);
    bool tcp = strncmp(pattern, "tcp:", 4) == 0, mq = strncmp(pattern, "mq:", 3) == 0;
    (void)snprintf(address, room, pattern, tcp ? host : mq ? strrchr(directory, '/') + 1 : directory);
}

/* What the victim has forked has its process group. */
static void end_children(pid_t victim) {
    if (kill(-victim, SIGKILL) == 0) {
        (void)waitpid(-victim, NULL, 0);
    }
}

void trial_run(const struct trial_scenario *scenario, const char *directory, const char *point, unsigned pass,
               enum trial_action action, struct trial_result *result) {
    struct board *board = make_board();
    char order[160];
    *result = (struct trial_result){0};
    if (board == NULL) {
        (void)snprintf(result->failure, sizeof result->failure, "no memory");
        return;
    }
    board->scenario = scenario;
    place(board->address, sizeof board->address, scenario->address, directory);
    setenv("THIRL_DIR", directory, 1);
    (void)snprintf(order, sizeof order, "%s:%u:%s", point ? point : "", pass,
                   trial_actions[action == TRIAL_STOP_KILL ? TRIAL_STOP : action]);
    fflush(NULL);
    int quota = quota_counts(board->address) ? quota_take(false) : -1;
    if (scenario->corpse) {
        (void)reap(board, start(board, board_die, NULL), 0, "corpse");
    }
    pid_t survivor = start(board, board_survive, NULL);
    pid_t victim = start(board, board_suffer, point != NULL ? order : NULL);
    see_victim(board, victim, action, result);
    if (board_await(board, &board->ready)) {
        expect_exit(board, start(board, board_replace, NULL), "fresh peer");
    } else {
        board_fail(board, "the survivor did not get ready for a new peer");
    }
    expect_exit(board, survivor, "survivor");
    expect_exit(board, start(board, board_tidy, NULL), "tidy one");
    fd_close(&quota);
    clear(board, directory, "node");
    clear(board, directory, "chan");
    clear(board, directory, "");
    end_children(victim);
    judge(board, result);
}
