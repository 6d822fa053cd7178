/* SPDX-License-Identifier: MIT
 *
 * The memory that the processes of one trial share, and the parts that they play. Words are raised once and never lowered.
 */
#ifndef TESTS_CRASH_BOARD_H
#define TESTS_CRASH_BOARD_H

#include <sys/types.h>

#include "tests/crash/trial.h"

enum board_who { BOARD_VICTIM = 1, BOARD_SURVIVOR, BOARD_FRESH, BOARD_WHO_COUNT };

struct board {
    const struct trial_scenario *scenario;
    char address[300];
    uint32_t survivor_opened, victim_opened, ended, ready; /* futex words */
    uint32_t failed;
    char failure[400];

    pid_t victim_pid;
    uint64_t victim_sent; /* messages for which a send or put of the victim has returned 0 */
    uint64_t victim_left; /* of them, what its close said was not delivered */
    uint32_t closing;     /* the victim has begun to close */
    int64_t killed, ended_at;
    unsigned passes[TRIAL_POINTS];

    uint64_t got[BOARD_WHO_COUNT]; /* messages of each that have been received */
    uint32_t told;                 /* THIRL_EPEERDIED or THIRL_ECLOSED, as the survivor was told of the victim */
    int64_t told_at;
    char why[300];
    bool met;           /* the survivor has sent something to the victim */
    bool survivor_left; /* it closed before the victim ended */
    unsigned timeouts;
};

void board_fail(struct board *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void board_raise(uint32_t *word);
bool board_await(struct board *, uint32_t *word); /* false: in vain, for longer than anything here takes */

/* The parts. Each returns when it is over; what went wrong is on the board. */
void board_die(struct board *);
void board_suffer(struct board *);
void board_survive(struct board *);
void board_replace(struct board *);
void board_tidy(struct board *);

#endif
