/* SPDX-License-Identifier: MIT
 *
 * Measures the one peer that it is linked with, as the bench measures thirl: two processes, each on its processor, payload written, read and compared.
 *
 *     PEER rtt|oneway BYTES SECONDS     prints p50 and p99 of a round trip in ns, or messages a second and 0
 *     PEER name
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/payload.h"
#include "bench/peer/peer.h"

#define FEW 100
#define MANY (run->warm + run->count)

static pid_t server; /* 0: there is none */

int peer_server(const char *const words[]) {
    int told[2]; /* a byte: it is not installed */
    char byte;
    if (pipe2(told, O_CLOEXEC) != 0) {
        return -1;
    }
    server = fork();
    if (server == 0) {
        int nowhere = open("/dev/null", O_RDWR);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        for (int fd = 0; fd < 3; fd++) (void)dup2(nowhere, fd);
        (void)execvp(words[0], (char *const *)(uintptr_t)words);
        _exit(write(told[1], "", 1) == 1 ? 127 : 126);
    }
    (void)close(told[1]);
    bool runs = server > 0 && read(told[0], &byte, 1) == 0;
    (void)close(told[0]);
    return runs ? 0 : -1;
}

static void end_server(void) {
    if (server > 0) {
        (void)kill(server, SIGTERM);
        (void)waitpid(server, NULL, 0);
    }
    server = 0;
}

static int fail(struct run *run, enum stage_side side, const char *what) {
    return stage_fail(run, side, "%s: %s: %s", peer.name, what, strerror(errno));
}

static int begin(struct run *run, enum stage_side side, struct payload *payload, struct payload *target) {
    if (payload_init(payload, run->size, false) || payload_init(target, run->size, false)) {
        return fail(run, side, "payload");
    }
    if (peer.open(side == STAGE_PING, run->address)) {
        return fail(run, side, "open");
    }
    stage_meet(run, side);
    return 0;
}

static int ping_rtt(struct run *run) {
    struct payload payload, target;
    uint64_t sum = 0, last = 0;
    if (begin(run, STAGE_PING, &payload, &target)) {
        return -1;
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (peer.put(payload_at(&payload, run->size, i), run->size) || peer.get(target.bytes, run->size)) {
            return fail(run, STAGE_PING, "round trip");
        }
        sum += payload_sum(target.bytes, run->size);
        uint64_t tick = stage_tick();
        if (i >= run->warm) {
            hist_add(&run->stage->share[STAGE_PING].hist, tick - last);
        }
        last = tick;
    }
    run->stage->sum[0] = payload_total(&payload, MANY);
    return sum == run->stage->sum[0] ? 0 : fail(run, STAGE_PING, "the payload came back changed");
}

static int pong_rtt(struct run *run) {
    struct payload payload, target;
    uint64_t sum = 0;
    if (begin(run, STAGE_PONG, &payload, &target)) {
        return -1;
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (peer.get(target.bytes, run->size) || peer.put(target.bytes, run->size)) {
            return fail(run, STAGE_PONG, "round trip");
        }
        sum += payload_sum(target.bytes, run->size);
    }
    run->stage->sum[1] = sum;
    (void)usleep(20000); /* what a thread behind it still sends */
    return 0;
}

static int ping_way(struct run *run) {
    struct payload payload, target;
    if (begin(run, STAGE_PING, &payload, &target)) {
        return -1;
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (peer.put(payload_at(&payload, run->size, i), run->size)) {
            return fail(run, STAGE_PING, "put");
        }
    }
    run->stage->sum[0] = payload_total(&payload, MANY);
    return peer.get(target.bytes, run->size) ? fail(run, STAGE_PING, "get") : 0; /* all has come */
}

static int pong_way(struct run *run) {
    struct payload payload, target;
    uint64_t sum = 0;
    if (begin(run, STAGE_PONG, &payload, &target)) {
        return -1;
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (peer.get(target.bytes, run->size)) {
            return fail(run, STAGE_PONG, "get");
        }
        sum += payload_sum(target.bytes, run->size);
        if (i + 1 == run->warm) {
            run->stage->begin = stage_now();
        }
    }
    run->stage->end = stage_now();
    run->stage->sum[1] = sum;
    int rc = peer.put(target.bytes, run->size);
    (void)usleep(20000);
    return rc;
}

static const struct work rtt = {.ping = ping_rtt, .pong = pong_rtt}, way = {.ping = ping_way, .pong = pong_way};

int main(int argc, char **argv) {
    char where[64];
    const struct stage *stage;
    const char *why;
    if (argc == 2 && strcmp(argv[1], "name") == 0) {
        return puts(peer.name) < 0;
    }
    if (argc != 4 || stage_init()) {
        (void)fprintf(stderr, "usage: %s rtt|oneway BYTES SECONDS\n", argv[0]);
        return 2;
    }
    const bool trip = strcmp(argv[1], "rtt") == 0;
    if (!trip && peer.calls) {
        return puts("0 0") < 0;
    }
    struct run run = {.address = where, .size = strtoull(argv[2], NULL, 10), .warm = FEW / 2, .count = FEW};
    stage_cpus(run.cpu);
    (void)snprintf(where, sizeof where, "thirl-peer-%d", (int)getpid());
    if (peer.begin != NULL && peer.begin(where)) {
        (void)fprintf(stderr, "%s: what it goes through cannot be started: is it installed?\n", peer.name);
        return 1;
    }
    for (int turn = 0; turn < 2; turn++) { /* a short one, which says how long the other may be */
        (void)snprintf(where, sizeof where, "thirl-peer-%d-%d", (int)getpid(), turn);
        if (stage_run(trip ? &rtt : &way, &run, &stage, &why)) {
            (void)fprintf(stderr, "%s\n", why);
            end_server();
            return 1;
        }
        const struct hist *hist = &stage->share[STAGE_PING].hist;
        double p50 = trip ? stage_ns(hist_at(hist, 0.5)) : (double)(stage->end - stage->begin) / (double)run.count;
        if (turn == 1) {
            (void)printf("%.1f %.1f\n", trip ? p50 : 1e9 / p50, trip ? stage_ns(hist_at(hist, 0.99)) : 0);
        }
        double count = strtod(argv[3], NULL) * 1e9 / p50;
        run.count = count < FEW ? FEW : (uint64_t)count;
        run.warm = run.count / 5;
    }
    end_server();
    return 0;
}
