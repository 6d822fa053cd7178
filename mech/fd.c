/* SPDX-License-Identifier: MIT
 *
 * fd://N: descriptor N of this process, a connected socket (or one that listens) that it inherited; or, raw, an end of a
 * pipe.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"
#include "mech/heir.h"
#include "mech/hose.h"

/* -1: it is none. */
static int number(const char *rest) {
    char *end = NULL;
    long fd = strtol(rest, &end, 10);
    return rest[0] < '0' || rest[0] > '9' || *end != '\0' || fd > INT_MAX ? -1 : (int)fd;
}

static const struct mech *form(const char *rest, const struct thirl_options *options) {
    struct stat file;
    int fd = number(rest);
    return options->raw != 0 && fd >= 0 && fstat(fd, &file) == 0 && S_ISFIFO(file.st_mode) ? &lent_given : &mech_fd;
}

static int open_slot(void *self, const struct mech_open *open) {
    int fd = number(open->rest);
    if (fd < 0) {
        return err_say(THIRL_EADDRESS, "%s: write fd://N, with the number of an open descriptor", open->address);
    }
    return heir_open(self, open, fd);
}

const struct mech mech_fd = {
    .scheme = "fd",
    .summary = "a connected socket that the process inherited, or raw an end of a pipe",
    .state_size = sizeof(struct heir),
    HAUL_SLOTS,
    .raw = true,
    .form = form,
    .open = open_slot,
    .limits = heir_limits,
    .claims = heir_claims,
    .hand = heir_hand,
    .send_noted = haul_send_noted,
    .recv_noted = haul_recv_noted,
};
