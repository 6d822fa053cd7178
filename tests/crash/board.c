/* SPDX-License-Identifier: MIT
 *
 * What victim, survivor and fresh peer do.
 */
#include "tests/crash/board.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "base/weave.h"
#include "tests/crash/talk.h"

#define PATIENCE (60 * CLOCK_MS) /* of one call of the survivor; longer than any slice of a wait */
#define FRESH 3                  /* messages that survivor and fresh peer exchange each way */
#define HALF ((size_t)10 << 20)

static struct board *mine; /* of the victim only */

void board_fail(struct board *board, const char *format, ...) {
    if (__atomic_fetch_or(&board->failed, 1, __ATOMIC_ACQ_REL) == 0) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(board->failure, sizeof board->failure, format, arguments);
        va_end(arguments);
    }
}

void board_raise(uint32_t *word) {
    atomic_store(word, 1);
    (void)futex_wake(word, INT_MAX);
}

bool board_await(struct board *board, uint32_t *word) {
    int64_t until = clock_now() + 8 * CLOCK_S;
    while (atomic_load(word) == 0 && clock_now() < until && !atomic_load(&board->failed)) {
        (void)futex_wait(word, 0, clock_now() + 50 * CLOCK_MS);
    }
    return atomic_load(word) != 0;
}

static void pause_at(const struct board *board, uint64_t number, uint64_t every) {
    if (number % every == every - 1 && !board->scenario->brisk) {
        const struct timespec moment = {.tv_nsec = 400 * CLOCK_US};
        (void)nanosleep(&moment, NULL);
    }
}

static void fail_call(struct board *board, const char *who, const char *what, int rc) {
    board_fail(board, "%s: %s: %s: %s", who, what, rc == TALK_TORN ? "torn" : thirl_error_name(rc), thirl_why());
}

/* ---- the victim -------------------------------------------------------------------------------------------------- */

/* Behind the library's own destructors, which pass points, too. */
__attribute__((destructor(101))) static void note_passes(void) {
    size_t count;
    struct weave_point *points = weave_points(&count);
    for (size_t i = 0; mine != NULL && i < count && i < TRIAL_POINTS; i++) {
        mine->passes[i] = points[i].passes;
    }
}

void board_die(struct board *board) {
    thirl *end, *other;
    if (thirl_open(&end, THIRL_PAIR, board->address, NULL) != 0 ||
        thirl_open(&other, THIRL_PAIR, "shm://elsewhere", NULL) != 0) {
        fail_call(board, "corpse", "open", -1);
    }
    (void)kill(getpid(), SIGKILL);
}

static int suffer_one(struct board *board, thirl *end, uint64_t i, thirl_time until) {
    struct talk talk = {0};
    int rc = 0;
    if (board->scenario->flow != TRIAL_OUT) {
        rc = talk_recv(end, i % 3 == 1, &talk, until);
        if (rc == 0 && (talk.conversation != BOARD_SURVIVOR || talk.number != i)) {
            board_fail(board, "the victim wants message %llu and gets %llu", (unsigned long long)i,
                       (unsigned long long)talk.number);
        }
    }
    if (rc == 0 && board->scenario->flow != TRIAL_IN) {
        rc = talk_send(end, BOARD_VICTIM, i, until);
        board->victim_sent += rc == 0;
    }
    return rc;
}

/* Gives up a message that the kernel has taken half of, and closes. Without root's rights, by which the kernel would hold all. */
static void suffer_half(struct board *board, thirl *end) {
    static char large[HALF];
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    (void)syscall(SYS_capset, &header, none);
    int rc = talk_send(end, BOARD_VICTIM, 0, thirl_in_ms(5000));
    board->victim_sent += rc == 0;
    rc = rc != 0 ? rc : thirl_send(end, large, sizeof large, THIRL_NOW);
    if (rc != 0 && rc != -ETIMEDOUT) {
        fail_call(board, "victim", "send", rc);
    }
    board->closing = 1;
    (void)thirl_close(&end, THIRL_NOW);
}

void board_suffer(struct board *board) {
    const struct trial_scenario *scenario = board->scenario;
    thirl *end;
    thirl_time until = thirl_in_ms(6000);
    mine = board;
    board->victim_pid = getpid();
    if (!scenario->first && !board_await(board, &board->survivor_opened)) {
        return;
    }
    int rc = thirl_open(&end, THIRL_PAIR, board->address, NULL);
    board_raise(&board->victim_opened);
    if (rc != 0) {
        fail_call(board, "victim", "open", rc);
        return;
    }
    if (scenario->flow == TRIAL_HALF) {
        suffer_half(board, end);
        return;
    }
    for (uint64_t i = 0; i < scenario->messages && rc == 0; i++) {
        rc = suffer_one(board, end, i, until);
        pause_at(board, i, scenario->flow == TRIAL_OUT ? 11 : 7);
    }
    if (rc == 0 && scenario->last) {
        struct talk talk;
        rc = talk_recv(end, false, &talk, until);
        rc = rc == -THIRL_ECLOSED ? 0 : rc;
    }
    if (rc != 0) {
        fail_call(board, "victim", "exchange", rc);
        return;
    }
    board->closing = 1;
    int left = thirl_close(&end, until);
    board->victim_left = left > 0 ? (uint64_t)left : 0;
}

/* ---- the survivor ------------------------------------------------------------------------------------------------ */

static void note_told(struct board *board, int rc) {
    if (board->told == 0) {
        board->told_at = clock_now();
        (void)snprintf(board->why, sizeof board->why, "%s", thirl_why());
        atomic_store(&board->told, (uint32_t)-rc);
    }
}

static void note_message(struct board *board, const struct talk *talk) {
    if (talk->conversation >= BOARD_WHO_COUNT || talk->number != board->got[talk->conversation] ||
        (talk->conversation == BOARD_VICTIM && board->got[BOARD_FRESH] != 0)) {
        board_fail(board, "the survivor wants message %llu of %u and gets %llu",
                   (unsigned long long)board->got[talk->conversation % BOARD_WHO_COUNT], talk->conversation,
                   (unsigned long long)talk->number);
        return;
    }
    board->got[talk->conversation]++;
}

/* The large message that the victim gave up: it arrives whole or not at all. */
static int take_half(struct board *board, thirl *end, thirl_time until) {
    thirl_msg *msg;
    int rc = thirl_take(end, &msg, until);
    if (rc == 0) {
        const char *data = thirl_msg_data(msg);
        if (thirl_msg_size(msg) != HALF || data[0] != 0 || memcmp(data, data + 1, HALF - 1) != 0) {
            board_fail(board, "the message that was given up arrived torn, with %zu bytes", thirl_msg_size(msg));
        }
        thirl_free(&msg);
    }
    return rc;
}

static bool is_told(int rc) {
    return rc == -THIRL_EPEERDIED || rc == -THIRL_ECLOSED;
}

/* One send (message: its number) or receive (-1), again and again in calls of bounded length. 0; -ETIMEDOUT once the victim
 * has ended and still nothing has come. */
static int persist(struct board *board, thirl *end, int64_t message) {
    for (;;) {
        struct talk talk;
        bool over = atomic_load(&board->ended) && clock_now() > board->ended_at + 2 * TRIAL_TOLD_NS;
        int rc = message >= 0
                     ? talk_send(end, BOARD_SURVIVOR, (uint64_t)message, thirl_in_ms(PATIENCE / CLOCK_MS))
                     : talk_recv(end, board->got[BOARD_VICTIM] % 3 == 1, &talk, thirl_in_ms(PATIENCE / CLOCK_MS));
        if (rc == -EMSGSIZE && board->scenario->flow == TRIAL_HALF) {
            rc = take_half(board, end, thirl_in_ms(PATIENCE / CLOCK_MS));
        } else if (rc == 0 && message < 0) {
            note_message(board, &talk);
        } else if (rc == 0) {
            board->met = true;
        }
        if (rc != -ETIMEDOUT) {
            return rc;
        }
        board->timeouts++;
        if (over) {
            return rc;
        }
    }
}

/* All that survivor and victim have to do with each other; ends with what the survivor was told. */
static int exchange(struct board *board, thirl *end) {
    const struct trial_scenario *scenario = board->scenario;
    int rc = 0;
    for (uint64_t i = 0; i < scenario->messages && rc == 0; i++) {
        if (scenario->flow != TRIAL_OUT) {
            rc = persist(board, end, (int64_t)i);
        }
        if (rc == 0 && scenario->flow != TRIAL_IN) {
            rc = persist(board, end, -1);
        }
        pause_at(board, i, 9);
    }
    while (rc == 0 && !scenario->last) {
        rc = persist(board, end, -1);
    }
    return rc;
}

static void greet_fresh(struct board *board, thirl *end) {
    thirl_time until = thirl_in_ms(5000);
    int rc = 0, told = 0;
    for (uint64_t i = 0; i < FRESH && rc == 0; i++) {
        rc = talk_send(end, BOARD_SURVIVOR, i, until);
        if (rc == -THIRL_EPEERDIED && told++ == 0) {
            note_told(board, rc);
            rc = talk_send(end, BOARD_SURVIVOR, i, until);
        }
    }
    for (told = 0; board->got[BOARD_FRESH] < FRESH && rc == 0;) {
        struct talk talk;
        rc = talk_recv(end, false, &talk, until);
        if (rc == 0) {
            note_message(board, &talk);
        } else if (rc == -THIRL_EPEERDIED && told++ == 0) {
            note_told(board, rc);
            rc = 0;
        } else if (rc == -EMSGSIZE && board->scenario->flow == TRIAL_HALF) {
            rc = take_half(board, end, until);
        }
    }
    if (rc != 0) {
        fail_call(board, "survivor", "exchange with the fresh peer", rc);
    }
}

void board_survive(struct board *board) {
    const struct trial_scenario *scenario = board->scenario;
    thirl *end;
    if (scenario->first && !board_await(board, &board->victim_opened)) {
        return;
    }
    int rc = thirl_open(&end, THIRL_PAIR, board->address, NULL);
    if (rc != 0) {
        fail_call(board, "survivor", "open", rc);
        return;
    }
    board_raise(&board->survivor_opened);
    if (scenario->flow == TRIAL_HALF) {
        rc = persist(board, end, -1);
        (void)board_await(board, &board->ended); /* and reads nothing meanwhile */
    }
    rc = rc == 0 ? exchange(board, end) : rc;
    if (is_told(rc)) {
        note_told(board, rc);
    } else if (rc != 0 && rc != -ETIMEDOUT) {
        fail_call(board, "survivor", "exchange", rc);
    }
    board->survivor_left = rc == 0;
    if (rc == 0 || rc == -THIRL_ECLOSED) {
        int left = thirl_close(&end, thirl_in_ms(4000));
        if (!board_await(board, &board->ended) || thirl_open(&end, THIRL_PAIR, board->address, NULL) != 0) {
            fail_call(board, "survivor", "open again", left);
            return;
        }
    } else if (!board_await(board, &board->ended)) {
        return;
    }
    board_raise(&board->ready);
    greet_fresh(board, end);
    (void)thirl_close(&end, thirl_in_ms(4000));
}

/* ---- who comes after --------------------------------------------------------------------------------------------- */

void board_replace(struct board *board) {
    thirl *end;
    thirl_time until = thirl_in_ms(5000);
    int rc = thirl_open(&end, THIRL_PAIR, board->address, NULL);
    for (uint64_t i = 0; i < FRESH && rc == 0; i++) {
        rc = talk_send(end, BOARD_FRESH, i, until);
    }
    for (uint64_t i = 0; i < FRESH && rc == 0; i++) {
        struct talk talk;
        rc = talk_recv(end, i % 2 == 1, &talk, until);
        if (rc == 0 && (talk.conversation != BOARD_SURVIVOR || talk.number != i)) {
            board_fail(board, "the fresh peer wants message %llu and gets %llu", (unsigned long long)i,
                       (unsigned long long)talk.number);
        }
    }
    if (rc != 0) {
        fail_call(board, "fresh peer", "exchange", rc);
        return;
    }
    (void)thirl_close(&end, until);
}

void board_tidy(struct board *board) {
    thirl *end;
    int rc = thirl_open(&end, THIRL_PAIR, "shm://tidy", NULL);
    if (rc != 0) {
        fail_call(board, "tidy one", "open", rc);
        return;
    }
    (void)thirl_close(&end, THIRL_NOW);
}
