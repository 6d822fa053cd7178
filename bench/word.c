/* SPDX-License-Identifier: MIT
 *
 * Words of 31 bits by queued signals: bare, with sigqueue and a signalfd, and through thirl. Each side watches, and tells the
 * other its process. And the same words as events over connections, whose floor is a round of small messages there (floor.h): each
 * side tells at a place of its own, and watches the other's. Round trips only: what nobody has read yet is bounded by the kernel for all processes of the user.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bench/end.h"
#include "bench/floor.h"

#define SIGNAL (SIGRTMIN + 9)

struct wire { /* of one side */
    int fd;
    pid_t other;
    thirl *in, *out;
};

/* The control area tells each side the other's process. */
static pid_t exchange(struct run *run, enum stage_side side) {
    uint64_t *pids = (uint64_t *)(void *)run->control;
    stage_store(&pids[side], (uint64_t)getpid());
    stage_meet(run, side);
    return (pid_t)stage_load(&pids[!side]);
}

static int open_bare(struct run *run, enum stage_side side, struct wire *wire) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    wire->fd = signalfd(-1, &set, SFD_CLOEXEC);
    wire->other = exchange(run, side);
    return wire->fd < 0 ? stage_fail(run, side, "signalfd: %s", strerror(errno)) : 0;
}

static int open_places(struct run *run, enum stage_side side, struct wire *wire) {
    char place[2][320];
    for (int i = 0; i < 2; i++) {
        snprintf(place[i], sizeof place[i], "%s-%d", run->address, i);
    }
    return thirl_open(&wire->out, THIRL_NOTIFY, place[side], NULL) ||
                   thirl_open(&wire->in, THIRL_WATCH, place[!side], NULL)
               ? end_fail(run, side, "thirl_open")
               : 0;
}

static int open_ours(struct run *run, enum stage_side side, struct wire *wire) {
    char other[40];
    if (strncmp(run->address, "sig:", 4) != 0) {
        return open_places(run, side, wire);
    }
    if (thirl_open(&wire->in, THIRL_WATCH, "sig://self", NULL)) {
        return end_fail(run, side, "thirl_open");
    }
    snprintf(other, sizeof other, "sig://%d", (int)exchange(run, side));
    return thirl_open(&wire->out, THIRL_NOTIFY, other, NULL) ? end_fail(run, side, "thirl_open") : 0;
}

static int put_bare(struct run *run, enum stage_side side, struct wire *wire, uint32_t word) {
    while (sigqueue(wire->other, SIGNAL, (union sigval){.sival_int = (int)word})) {
        if (errno != EAGAIN) {
            return stage_fail(run, side, "sigqueue: %s", strerror(errno));
        }
    }
    return 0;
}

static int put_ours(struct run *run, enum stage_side side, struct wire *wire, uint32_t word) {
    return thirl_send(wire->out, &word, sizeof word, THIRL_NEVER) ? end_fail(run, side, "thirl_send") : 0;
}

static int get_bare(struct run *run, enum stage_side side, struct wire *wire, uint32_t *word) {
    struct signalfd_siginfo info;
    while (read(wire->fd, &info, sizeof info) != sizeof info) {
        if (errno != EINTR) {
            return stage_fail(run, side, "read of a signalfd: %s", strerror(errno));
        }
    }
    *word = (uint32_t)info.ssi_int;
    return 0;
}

static int get_ours(struct run *run, enum stage_side side, struct wire *wire, uint32_t *word) {
    size_t size;
    return thirl_recv(wire->in, word, sizeof *word, &size, THIRL_NEVER) ? end_fail(run, side, "thirl_recv") : 0;
}

stage_inline int round_trips(struct run *run, enum stage_side side, bool ours) {
    struct wire wire = {.fd = -1};
    uint64_t sum = 0, last = 0, total = run->warm + run->count;
    uint32_t word = 0;
    if ((ours ? open_ours : open_bare)(run, side, &wire)) {
        return -1;
    }
    stage_from(run, side);
    for (uint64_t i = 0; i < total; i++) {
        if (side == STAGE_PING && (ours ? put_ours : put_bare)(run, side, &wire, (uint32_t)i & INT32_MAX)) {
            return -1;
        }
        if ((ours ? get_ours : get_bare)(run, side, &wire, &word)) {
            return -1;
        }
        sum += word;
        if (side == STAGE_PONG && (ours ? put_ours : put_bare)(run, side, &wire, word)) {
            return -1;
        }
        uint64_t tick = stage_tick();
        if (side == STAGE_PING && i >= run->warm) {
            stage_keep(run->stage, i - run->warm, tick - last);
        }
        last = tick;
    }
    stage_to(run, side, total);
    run->stage->sum[side] = sum;
    if (side == STAGE_PING) {
        run->stage->samples = run->count < STAGE_SAMPLES ? run->count : STAGE_SAMPLES;
    }
    if (ours && (thirl_close(&wire.out, thirl_in_ms(5000)) < 0 || thirl_close(&wire.in, THIRL_NOW) < 0)) {
        return end_fail(run, side, "thirl_close");
    }
    return 0;
}

static int ping_bare(struct run *run) {
    return round_trips(run, STAGE_PING, false);
}

static int pong_bare(struct run *run) {
    return round_trips(run, STAGE_PONG, false);
}

static int ping_ours(struct run *run) {
    return round_trips(run, STAGE_PING, true);
}

static int pong_ours(struct run *run) {
    return round_trips(run, STAGE_PONG, true);
}

const struct work floor_word = {.ping = ping_bare, .pong = pong_bare, .area = true};
const struct work thirl_word = {.ping = ping_ours, .pong = pong_ours, .area = true};
