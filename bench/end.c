/* SPDX-License-Identifier: MIT
 *
 * One end of the channel under measurement.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/end.h"
#include "bench/payload.h"

#define CLOSE_WITHIN 5000 /* ms */
#define GREETINGS 10000   /* some two seconds */

int end_fail(struct run *run, enum stage_side side, const char *call) {
    return stage_fail(run, side, "%s: %s", call, thirl_why());
}

/* A pipe's other end is inherited: ping makes it and starts pong. */
static int hand_over(struct run *run, thirl *end) {
    char address[320];
    return thirl_hand(end, address, sizeof address) ? end_fail(run, STAGE_PING, "thirl_hand")
                                                    : stage_beside(run, address);
}

static int is_meant(void *context, const struct thirl_mechanism *mechanism) {
    struct thirl_mechanism *found = context;
    const char *address = found->scheme;
    size_t length = strlen(mechanism->scheme);
    if (strncmp(address, mechanism->scheme, length) != 0 || strncmp(address + length, "://", 3) != 0) {
        return 0;
    }
    *found = *mechanism;
    return 1;
}

/* Where each side receives on its own: the address behind a colon is a port, and the next one is pong's. */
static void write_own(struct run *run, enum stage_side side, char own[320]) {
    const char *colon = strrchr(run->address, ':');
    char *rest;
    unsigned long port = colon && colon[1] != '/' ? strtoul(colon + 1, &rest, 10) : 0;
    if (port == 0) {
        int name = (int)strcspn(run->address, "?");
        snprintf(own, 320, "%.*s%s%s", name, run->address, side == STAGE_PONG ? "-pong" : "", run->address + name);
    } else {
        snprintf(own, 320, "%.*s:%lu%s", (int)(colon - run->address), run->address, port + (side == STAGE_PONG), rest);
    }
}

static int check_size(struct run *run, enum stage_side side, const struct ends *ends) {
    struct thirl_limits limits = {.size = sizeof limits};
    if (thirl_limits(ends->out, &limits)) {
        return end_fail(run, side, "thirl_limits");
    }
    if (limits.message_max < run->size) {
        return stage_fail(run, side, "%s carries at most %llu bytes in a message", run->address,
                          (unsigned long long)limits.message_max);
    }
    return 0;
}

int end_open_queues(struct run *run, enum stage_side side, struct ends *ends) {
    char own[320], other[320];
    write_own(run, side, own);
    write_own(run, !side, other);
    if (thirl_open(&ends->in, THIRL_PULL, own, NULL) || thirl_open(&ends->out, THIRL_PUSH, other, NULL)) {
        return end_fail(run, side, "thirl_open");
    }
    return check_size(run, side, ends);
}

/* Who connects waits in its open for the other's answer, who gives it here, and not as late as it begins to measure. */
static void greet(thirl *end) {
    struct thirl_peer peer = {.size = sizeof peer};
    for (int tries = 0; tries < GREETINGS && thirl_peer(end, &peer) == -ENOTCONN; tries++) {
        const struct timespec moment = {.tv_nsec = 100000};
        size_t size;
        if (thirl_recv(end, NULL, 0, &size, THIRL_NOW) != -EAGAIN) {
            return;
        }
        (void)nanosleep(&moment, NULL);
    }
}

int end_open(struct run *run, enum stage_side side, struct ends *ends) {
    bool inherits = strncmp(run->address, "pipe://", 7) == 0;
    struct thirl_mechanism mechanism = {.scheme = run->address};
    if (thirl_mechanisms(is_meant, &mechanism) == 1 && !(mechanism.roles & 1u << THIRL_PAIR)) {
        return end_open_queues(run, side, ends);
    }
    const char *address = inherits && side == STAGE_PONG ? run->stage->handed : run->address;
    if (thirl_open(&ends->in, THIRL_PAIR, address, NULL)) {
        return end_fail(run, side, "thirl_open");
    }
    ends->out = ends->in;
    if (inherits && side == STAGE_PING && run->work != &end_limits && hand_over(run, ends->in)) {
        return -1;
    }
    bool greets = strncmp(run->address, "unix:", 5) == 0 || strncmp(run->address, "tcp:", 4) == 0 ||
                  strncmp(run->address, "fifo:", 5) == 0;
    if (greets && run->work != &end_limits) {
        greet(ends->in);
    }
    return check_size(run, side, ends);
}

int end_close(struct run *run, enum stage_side side, struct ends *ends) {
    bool pair = ends->in == ends->out;
    int left = thirl_close(&ends->out, thirl_in_ms(CLOSE_WITHIN));
    if (!pair && thirl_close(&ends->in, THIRL_NOW) < 0) {
        return end_fail(run, side, "thirl_close");
    }
    return left > 0 ? stage_fail(run, side, "thirl_close: %d messages were not taken", left) : 0;
}

static int ping_limits(struct run *run) {
    struct ends ends;
    struct thirl_limits limits = {.size = sizeof limits};
    if (end_open(run, STAGE_PING, &ends)) {
        return -1;
    }
    if (thirl_limits(ends.out, &limits)) {
        return end_fail(run, STAGE_PING, "thirl_limits");
    }
    run->stage->samples = limits.message_max;
    return end_close(run, STAGE_PING, &ends);
}

static int pong_limits(struct run *run) {
    (void)run;
    return 0;
}

const struct work end_limits = {.ping = ping_limits, .pong = pong_limits};

int end_echo(struct run *run, thirl *end, uint64_t *sum) {
    thirl_msg *request;
    if (thirl_take(end, &request, THIRL_NEVER)) {
        return end_fail(run, STAGE_PONG, "thirl_take");
    }
    const void *data = thirl_msg_data(request);
    size_t size = thirl_msg_size(request);
    *sum += payload_sum(data, size);
    return thirl_reply(end, &request, data, size, THIRL_NEVER) ? end_fail(run, STAGE_PONG, "thirl_reply") : 0;
}
