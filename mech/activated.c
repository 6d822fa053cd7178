/* SPDX-License-Identifier: MIT
 *
 * activated://NAME: a socket that the service manager opened for this process, as sd_listen_fds(3) has it: LISTEN_PID
 * says for whom, LISTEN_FDS how many there are from descriptor 3 on, LISTEN_FDNAMES how they are called.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "mech/heir.h"

#define FIRST 3
#define SHOWN_MAX 200 /* of the names, in a sentence */

/* The whole text as a number, or -1. */
static long number(const char *text) {
    char *end = NULL;
    long value = text[0] >= '0' && text[0] <= '9' ? strtol(text, &end, 10) : -1;
    return end && *end == '\0' && value <= INT_MAX ? value : -1;
}

/* How many there are for this process; 0 and less: an error. */
static int count(const char *address) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    if (!pid || !fds) {
        return err_say(ENOENT, "%s: this process was not activated: LISTEN_PID and LISTEN_FDS are not set", address);
    }
    if (number(pid) != getpid()) {
        return err_say(ENOENT, "%s: the activated process is another one: LISTEN_PID is \"%.20s\", this is pid %d",
                       address, pid, (int)getpid());
    }
    long many = number(fds);
    if (many <= 0 || many > INT_MAX - FIRST) {
        return err_say(ENOENT, "%s: LISTEN_FDS is \"%.20s\": there are no descriptors", address, fds);
    }
    return (int)many;
}

/* Which one is called that: its place in the list, or -1. */
static int find(const char *names, const char *name, int many) {
    size_t length = strlen(name);
    for (int i = 0; names && i < many; i++) {
        size_t here = strcspn(names, ":");
        if (here == length && memcmp(names, name, length) == 0) {
            return i;
        }
        names = names[here] ? names + here + 1 : NULL;
    }
    return -1;
}

static int open_slot(void *self, const struct mech_open *open) {
    const char *names = getenv("LISTEN_FDNAMES");
    int many = count(open->address);
    if (many < 0) {
        return many;
    }
    int which = open->rest[0] == '\0' ? 0 : find(names, open->rest, many);
    long place = number(open->rest);
    if (which < 0 && place >= 0 && place < many) {
        which = (int)place;
    }
    if (which < 0) {
        return err_say(ENOENT, "%s: none of the %d descriptors is called \"%s\"; LISTEN_FDNAMES is \"%.*s\"",
                       open->address, many, open->rest, SHOWN_MAX, names ? names : "");
    }
    return heir_open(self, open, FIRST + which);
}

const struct mech mech_activated = {
    .scheme = "activated",
    .summary = "a socket that the service manager opened for the process",
    .state_size = sizeof(struct heir),
    HAUL_SLOTS,
    .raw = true,
    .open = open_slot,
    .limits = heir_limits,
    .claims = heir_claims,
    .hand = heir_hand,
    .send_noted = haul_send_noted,
    .recv_noted = haul_recv_noted,
};
