/* SPDX-License-Identifier: MIT
 *
 * What the wing of locks has to know of the registry (sync/party.h): who this process is, who lives, and where threads leave their slips.
 */
#include "mem/slate.h"
#include "mem/sweep.h"
#include "sync/party.h"

struct tour {
    int (*seen)(void *context, const struct party_seen *);
    void *context;
};

static int show(void *context, const struct slate_seen *seen) {
    const struct tour *tour = context;
    const struct party_seen party = {.id = seen->id,
                                     .pid = seen->pid,
                                     .pid_space = seen->pid_space,
                                     .exe = seen->exe,
                                     .alive = seen->alive,
                                     .slip = seen->slip};
    return tour->seen(tour->context, &party);
}

static int each(int (*seen)(void *context, const struct party_seen *), void *context) {
    struct tour tour = {seen, context};
    return slate_each(show, &tour);
}

int party_lodge(struct party_host *host) {
    int rc = slate_open();
    if (rc != 0) {
        return rc;
    }
    sweep_dead();
    *host = (struct party_host){.id = node_id(),
                                .alive = node_alive,
                                .take = slate_take,
                                .give = slate_give,
                                .pairs = slate_pairs,
                                .each = each};
    return 0;
}
