/* SPDX-License-Identifier: MIT
 *
 * One end of the channel under measurement.
 */
#include "bench/end.h"

#define CLOSE_WITHIN 5000 /* ms */

int end_fail(struct run *run, enum stage_side side, const char *call) {
    return stage_fail(run, side, "%s: %s", call, thirl_why());
}

int end_open(struct run *run, enum stage_side side, thirl **end) {
    if (thirl_open(end, THIRL_PAIR, run->address, NULL)) {
        return end_fail(run, side, "thirl_open");
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
