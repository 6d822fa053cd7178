/* SPDX-License-Identifier: MIT
 *
 * What the wing of locks has to know of the registry (sync/party.h): who this process is, who lives, and where threads leave their slips.
 */
#include "mem/slate.h"
#include "mem/sweep.h"
#include "sync/party.h"

int party_each(int (*seen)(void *context, const struct slip_process *), void *context) {
    return slate_each(seen, context);
}

int party_lodge(struct party_host *host) {
    int rc = slate_open();
    if (rc != 0) {
        return rc;
    }
    sweep_dead();
    *host = (struct party_host){.id = node_id(), .alive = node_alive, .take = slate_take, .give = slate_give, .pairs = slate_pairs};
    return 0;
}
