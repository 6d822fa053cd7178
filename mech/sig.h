/* SPDX-License-Identifier: MIT
 *
 * An end of sig://, and its halves: notify.c sends, sig.c receives and is the rest of the mechanism.
 */
#ifndef MECH_SIG_H
#define MECH_SIG_H

#include "mech/catch.h"
#include "mech/mech.h"
#include "mem/roll.h"

#define SIG_WORD 4 /* bytes of an event */

struct sig {
    int number;
    bool sends, raw;
    int64_t pid; /* whose signals they are */
    pid_t own_pid;
    uid_t own_uid;
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
    struct roll roll;
    bool joined;
    /* a watcher: */
    struct catch catch;
    int fd;           /* the signalfd */
    uint64_t escaped; /* catch_lost when it began */
    int64_t last_pid; /* of who sent last, as it says */
    uint32_t last_uid;
    /* a sender: */
    bool met, final;
    struct roll_end watcher;
    struct node_peer node;
    int pidfd;       /* of the process that it has met */
    uint32_t change; /* of the roll, when it was last looked at */
    int64_t pause;
    int epoll, tick; /* thirl_fd; -1 */
};

/* ---- notify.c ---- */

/* Raw: holds the process, which need not know thirl. 0; -ESRCH: it is not there. */
int notify_aim(struct sig *);

/* Is whoever this end has met still there? 0; -THIRL_EPEERDIED, -THIRL_ECLOSED. Costs nothing while nothing has changed; sure:
 * asks the kernel even so. */
int notify_check(struct sig *, bool sure);

/* Forgets whom it has met. */
void notify_part(struct sig *);

/* The slot of mech.h. */
int notify_send(void *self, const void *data, size_t size, size_t *done, bool wait);

#endif
