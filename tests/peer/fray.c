/* SPDX-License-Identifier: MIT
 *
 * The campaign. It trusts nothing that it looks at: whatever touches the lock is a process that may be killed.
 */
#define _GNU_SOURCE
#include "tests/peer/fray.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "tests/room.h"

#define PLAYERS 4u
#define NOBODY PLAYERS
#define TOKENS 4u /* of CONDITION: as many may lie there */
#define SEED UINT64_C(20260101)

struct player {
    LINE_ALIGNED uint32_t phase; /* 4 × how often it has changed + enum fray_phase */
    uint32_t parked;             /* the pause that it is in */
    pid_t pid;
};

static struct board {
    uint32_t pause, victim, told, broken;
    uint64_t first, second, tokens;
    struct player player[PLAYERS];
    LINE_ALIGNED unsigned char lock[4096];
} * board;

static const struct rival *rival;
static const struct fray_plan *plan;

/* ---- dice: room_dice starts anew in each program, and here each process and each lock throws the same ---- */

static uint64_t dice_state;

static uint64_t dice(uint64_t below) {
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return dice_state % below;
}

static void spin(int64_t ns) {
    for (int64_t until = clock_now() + ns; clock_now() < until;) {
        atomic_pause();
    }
}

/* ---- the players ---- */

static void now_in(unsigned who, enum fray_phase phase) {
    uint32_t *word = &board->player[who].phase;
    (void)__atomic_exchange_n(word, (*word / FRAY_PHASES + 1) * FRAY_PHASES + phase, __ATOMIC_SEQ_CST);
}

static enum fray_phase phase_of(unsigned who) {
    return (enum fray_phase)(__atomic_load_n(&board->player[who].phase, __ATOMIC_SEQ_CST) % FRAY_PHASES);
}

/* How many were inside at one time, which is known when nothing has changed from one look to the next; else 0. Whoever is about to be
 * killed may be dead already, and its permit somebody else's. */
static unsigned inside(void) {
    uint32_t seen[PLAYERS + 1];
    unsigned inside = 0;
    for (unsigned i = 0; i < PLAYERS; i++) {
        seen[i] = __atomic_load_n(&board->player[i].phase, __ATOMIC_SEQ_CST);
    }
    seen[PLAYERS] = __atomic_load_n(&board->victim, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < PLAYERS; i++) {
        if (seen[i] != __atomic_load_n(&board->player[i].phase, __ATOMIC_SEQ_CST)) return 0;
        inside += seen[i] % FRAY_PHASES == FRAY_HOLDING && i != seen[PLAYERS];
    }
    return inside;
}

static void note(uint32_t *counter) {
    (void)atomic_add(counter, 1u);
}

/* It has it: what a dead holder left half done is found, and repaired. */
static bool had(int rc) {
    if (rc == FRAY_TOLD) {
        note(&board->told);
        board->second = board->first;
        rc = rival->mend == NULL ? 0 : rival->mend(board->lock);
    } else if (rc == 0 && board->first != board->second) {
        note(&board->broken);
        board->second = board->first;
    }
    return rc == 0;
}

/* Long enough that others come to wait, and now and then that they sleep. */
static void work(void) {
    if (dice(4) == 0) {
        room_sleep((int64_t)dice(100) * CLOCK_US);
    } else {
        spin((int64_t)dice(2000));
    }
}

static bool leave(unsigned who) {
    now_in(who, FRAY_WAKING);
    int rc = rival->give(board->lock);
    now_in(who, FRAY_OUTSIDE);
    return rc == 0;
}

static void change(void) {
    atomic_poke(&board->first, board->first + 1);
    work();
    atomic_poke(&board->second, board->second + 1);
}

static bool turn_lock(unsigned who) {
    now_in(who, FRAY_WAITING);
    if (!had(rival->take(board->lock))) return false;
    now_in(who, FRAY_HOLDING);
    change();
    return leave(who);
}

/* Half of them make tokens, and wake who waits for one; in a pause all who wait shall come up. */
static bool turn_condition(unsigned who, bool pause) {
    bool makes = who % 2 == 1;
    now_in(who, FRAY_WAITING);
    if (!had(rival->take(board->lock))) return false;
    while (!makes && board->tokens == 0 && atomic_load(&board->pause) == 0) {
        if (!had(rival->wait(board->lock))) return false;
    }
    now_in(who, FRAY_HOLDING);
    change();
    board->tokens += makes && board->tokens < TOKENS ? 1 : 0;
    board->tokens -= !makes && board->tokens > 0 ? 1 : 0;
    now_in(who, FRAY_WAKING);
    if (makes && rival->wake(board->lock, pause) != 0) return false;
    return leave(who);
}

static bool turn_count(unsigned who) {
    now_in(who, FRAY_WAITING);
    int rc = rival->take(board->lock);
    if (rc != 0 && rc != FRAY_TOLD) return false;
    if (rc == FRAY_TOLD) note(&board->told);
    now_in(who, FRAY_HOLDING);
    if (inside() > FRAY_PERMITS) note(&board->broken);
    work();
    return leave(who);
}

static bool turn(unsigned who, bool pause) {
    return rival->game == FRAY_LOCK        ? turn_lock(who)
           : rival->game == FRAY_CONDITION ? turn_condition(who, pause)
                                           : turn_count(who);
}

static int play(unsigned who) {
    dice_state += who * 7919 + 1;
    for (;;) {
        uint32_t pause = atomic_load(&board->pause);
        if (pause == 0 || (rival->game == FRAY_CONDITION && who % 2 == 1)) {
            if (!turn(who, pause != 0)) return 1;
        }
        if (pause == 0 && dice(4) == 0) {
            room_sleep((int64_t)dice(50) * CLOCK_US);
        }
        if (pause != 0) {
            atomic_store(&board->player[who].parked, pause);
            while (atomic_load(&board->pause) == pause) {
                room_sleep(50 * CLOCK_US);
            }
        }
    }
}

static pid_t begin(int (*body)(unsigned), unsigned who) {
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(body(who));
    }
    return pid;
}

static void bury(pid_t pid) {
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

/* ---- the campaign ---- */

/* What is there to be had when everybody who lives is outside: how many, and all is given back. */
static int audit(unsigned unused) {
    (void)unused;
    unsigned there = 0, most = rival->game == FRAY_COUNT ? FRAY_PERMITS + 1 : 1;
    for (; there < most; there++) {
        int rc = rival->attempt(board->lock);
        if (rc != 0 && rc != FRAY_TOLD) break;
        if (rival->game != FRAY_COUNT && !had(rc)) return PLAYERS * 2;
        if (rival->game == FRAY_COUNT && rc == FRAY_TOLD) note(&board->told);
    }
    for (unsigned i = 0; i < there; i++) {
        if (rival->give(board->lock) != 0) return PLAYERS * 2;
    }
    return (int)there;
}

/* Its answer; -1: it is stuck as well. */
static int look_behind(void) {
    pid_t pid = begin(audit, 0);
    int status = 0;
    for (int64_t until = clock_now() + plan->patience_ms * CLOCK_MS; clock_now() < until; room_sleep(100 * CLOCK_US)) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return WIFEXITED(status) && WEXITSTATUS(status) <= FRAY_PERMITS + 1 ? WEXITSTATUS(status) : -1;
        }
    }
    bury(pid);
    return -1;
}

/* All players, and the lock, from the beginning. */
static int anew(void) {
    memset(board, 0, sizeof *board);
    board->victim = NOBODY;
    if (rival->make(board->lock) != 0) {
        return -1;
    }
    for (unsigned i = 0; i < PLAYERS; i++) {
        board->player[i].pid = begin(play, i);
    }
    return board->player[PLAYERS - 1].pid > 0 ? 0 : -1;
}

static void away(struct fray *fray) {
    for (unsigned i = 0; i < PLAYERS; i++) {
        bury(board->player[i].pid);
    }
    if (rival->end != NULL) {
        rival->end(board->lock);
    }
    fray->told += board->told;
    fray->broken += board->broken;
}

/* Somebody who does what shall be interrupted, if there is one soon. */
static unsigned choose(void) {
    enum fray_phase wanted = FRAY_WAITING + (enum fray_phase)dice(FRAY_PHASES - 1);
    unsigned who = (unsigned)dice(PLAYERS);
    for (int64_t until = clock_now() + 2 * CLOCK_MS; clock_now() < until; who = (who + 1) % PLAYERS) {
        if (phase_of(who) == wanted) break;
    }
    spin((int64_t)dice(2000));
    return who;
}

static void strike(struct fray *fray) {
    room_sleep((int64_t)dice(2000) * CLOCK_US);
    unsigned who = choose();
    __atomic_store_n(&board->victim, who, __ATOMIC_SEQ_CST);
    bury(board->player[who].pid);
    fray->of[phase_of(who)]++;
    fray->kills++;
    now_in(who, FRAY_OUTSIDE);
}

static unsigned missing(uint32_t pause) {
    unsigned missing = 0;
    for (unsigned i = 0; i < PLAYERS; i++) {
        missing += i != board->victim && atomic_load(&board->player[i].parked) != pause;
    }
    return missing;
}

/* Everybody who is left comes to the end of his turn. How many do not. */
static unsigned gather(uint32_t pause) {
    atomic_store(&board->pause, pause);
    int64_t until = clock_now() + plan->patience_ms * CLOCK_MS;
    while (missing(pause) != 0 && clock_now() < until) {
        room_sleep(100 * CLOCK_US);
    }
    return missing(pause);
}

/* After a kill: 0; 1: some harm was done; -1. *there: what there was to be had last. */
static int judge(struct fray *fray, int *there) {
    int all = rival->game == FRAY_COUNT ? FRAY_PERMITS : 1, before = *there;
    unsigned stuck = gather(fray->kills);
    int now = look_behind();
    stuck += now < 0;
    fray->stuck += stuck;
    fray->lost += now >= 0 && now < before ? (unsigned)(before - now) : 0;
    fray->broken += now > before;
    *there = now;
    if (stuck != 0 || now <= 0) {
        away(fray);
        *there = all;
        return anew() == 0 ? 1 : -1;
    }
    board->player[board->victim].pid = begin(play, board->victim);
    __atomic_store_n(&board->victim, NOBODY, __ATOMIC_SEQ_CST);
    atomic_store(&board->pause, 0);
    return now < before;
}

int fray_run(const struct rival *which, const struct fray_plan *how, struct fray *fray) {
    *fray = (struct fray){0};
    rival = which;
    plan = how;
    dice_state = SEED;
    void *map = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || which->size > sizeof board->lock) {
        return -1;
    }
    board = map;
    int rc = anew(), there = rival->game == FRAY_COUNT ? FRAY_PERMITS : 1;
    while (rc >= 0 && fray->kills < plan->kills && !(plan->until_harm && rc > 0)) {
        strike(fray);
        rc = judge(fray, &there);
    }
    away(fray);
    (void)munmap(map, sizeof *board);
    return rc < 0 ? -1 : 0;
}
