/* SPDX-License-Identifier: MIT
 *
 * Descriptors that travel through a Unix socket, with the first byte of the message that brings them. The kernel ends a
 * read behind the bytes that they came with, so that one read never brings those of two messages; but bytes of earlier
 * messages may come with it, and so what has come waits in line until its message is taken. Nothing is ever peeked at:
 * each descriptor arrives once, close-on-exec, and is closed once.
 */
#ifndef MECH_RIGHTS_H
#define MECH_RIGHTS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "mech/mech.h"

/* What came with one read, or goes with one message. */
struct rights {
    unsigned count;
    bool lost; /* more came than are here, and those were closed as well: count is 0 */
    bool many; /* more than were asked for */
    int descriptor[THIRL_DESCRIPTORS_MAX];
};

/* What has come and was not taken yet. */
struct rights_line {
    struct rights *at;
    unsigned first, count, capacity;
};

/* Lets a socket take descriptors, or, where the kernel can, makes those fail who send some. Sockets that a listener
 * accepts are as it is. */
void rights_allow(int fd, bool allowed);

/* For a socket that somebody else made: what it was told to say of each message besides takes the room of descriptors. */
void rights_alone(int fd);

/* sendmsg, with the note's descriptors, one at least; recvmsg, with room for so many. *came holds nothing unless bytes came. */
ssize_t rights_send(int fd, struct msghdr *, const struct mech_note *, int flags);
ssize_t rights_recv(int fd, struct msghdr *, unsigned takes, int flags, struct rights *came);

void rights_close(struct rights *);

/* Puts what came in line: 0, or -ENOMEM, and then it is closed. false: the line is empty. */
int rights_queue(struct rights_line *, struct rights *came);
bool rights_next(struct rights_line *, struct rights *);
void rights_free(struct rights_line *);

#endif
