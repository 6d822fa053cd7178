/* SPDX-License-Identifier: MIT
 *
 * Forking the further peers, and gathering them.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/peers.h"

static pid_t pid[STAGE_PEERS];

int peers_start(struct run *run, enum stage_side side, int (*play)(struct run *, unsigned k)) {
    const pid_t parent = getpid();
    for (unsigned k = 1; k < run->peers; k++) {
        pid[k] = fork();
        if (pid[k] < 0) {
            return stage_fail(run, side, "no process for peer %u", k);
        }
        if (pid[k] == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            _exit(getppid() != parent || play(run, k) ? 1 : 0);
        }
    }
    return 0;
}

int peers_gather(struct run *run, enum stage_side side) {
    int failed = 0;
    for (unsigned k = 1; k < run->peers; k++) {
        int status = -1;
        (void)waitpid(pid[k], &status, 0);
        failed = failed || status;
    }
    return !failed ? 0 : run->stage->why[side][0] ? -1 : stage_fail(run, side, "one of the peers failed");
}

void peers_count(uint32_t *word) {
    (void)__atomic_fetch_add(word, 1, __ATOMIC_ACQ_REL);
}

void peers_await(const uint32_t *word, uint32_t all) {
    while (stage_load(word) < all) {
        (void)usleep(50);
    }
}
