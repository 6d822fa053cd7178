/* SPDX-License-Identifier: MIT
 *
 * One end of the channel under measurement.
 */
#include <string.h>

#include "bench/end.h"

#define CLOSE_WITHIN 5000 /* ms */

int end_fail(struct run *run, enum stage_side side, const char *call) {
    return stage_fail(run, side, "%s: %s", call, thirl_why());
}

/* A pipe's other end is inherited: ping makes it and starts pong. */
static int hand_over(struct run *run, thirl *end) {
    char address[320];
    return thirl_hand(end, address, sizeof address) ? end_fail(run, STAGE_PING, "thirl_hand")
                                                    : stage_beside(run, address);
}

int end_open(struct run *run, enum stage_side side, thirl **end) {
    bool inherits = strncmp(run->address, "pipe://", 7) == 0;
    if (thirl_open(end, THIRL_PAIR, inherits && side == STAGE_PONG ? run->stage->handed : run->address, NULL)) {
        return end_fail(run, side, "thirl_open");
    }
    if (inherits && side == STAGE_PING && run->work != &end_limits && hand_over(run, *end)) {
        return -1;
    }
    struct thirl_limits limits = {.size = sizeof limits};
    if (thirl_limits(*end, &limits)) {
        return end_fail(run, side, "thirl_limits");
    }
    if (limits.message_max < run->size) {
        return stage_fail(run, side, "%s carries at most %llu bytes in a message", run->address,
                          (unsigned long long)limits.message_max);
    }
    return 0;
}

int end_close(struct run *run, enum stage_side side, thirl **end) {
    int left = thirl_close(end, thirl_in_ms(CLOSE_WITHIN));
    return left > 0 ? stage_fail(run, side, "thirl_close: %d messages were not taken", left) : 0;
}

static int ping_limits(struct run *run) {
    thirl *end;
    struct thirl_limits limits = {.size = sizeof limits};
    if (end_open(run, STAGE_PING, &end)) {
        return -1;
    }
    if (thirl_limits(end, &limits)) {
        return end_fail(run, STAGE_PING, "thirl_limits");
    }
    run->stage->samples = limits.message_max;
    return end_close(run, STAGE_PING, &end);
}

static int pong_limits(struct run *run) {
    (void)run;
    return 0;
}

const struct work end_limits = {.ping = ping_limits, .pong = pong_limits};
