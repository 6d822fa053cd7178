/* SPDX-License-Identifier: MIT
 *
 * fd://N: descriptor N of this process, a connected socket (or one that listens) that it inherited.
 */
#include <limits.h>
#include <stdlib.h>

#include "base/err.h"
#include "mech/heir.h"

static int open_slot(void *self, const struct mech_open *open) {
    char *end = NULL;
    long fd = strtol(open->rest, &end, 10);
    if (open->rest[0] < '0' || open->rest[0] > '9' || *end != '\0' || fd > INT_MAX) {
        return err_say(THIRL_EADDRESS, "%s: write fd://N, with the number of an open descriptor", open->address);
    }
    return heir_open(self, open, (int)fd);
}

const struct mech mech_fd = {
    .scheme = "fd",
    .summary = "a connected socket that the process inherited",
    .state_size = sizeof(struct heir),
    HAUL_SLOTS,
    .raw = true,
    .open = open_slot,
    .limits = heir_limits,
    .claims = heir_claims,
    .send_noted = haul_send_noted,
    .recv_noted = haul_recv_noted,
};
