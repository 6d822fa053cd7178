/* SPDX-License-Identifier: MIT
 *
 * How two processes that know one socket address find each other, whoever comes first: call; if nobody listens there,
 * listen. Then a greeting both ways. Nothing here waits; meet_step goes on where the last step stopped. Calls on one
 * struct meet are the caller's to keep apart.
 */
#ifndef MECH_MEET_H
#define MECH_MEET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "mech/link.h"
#include "wire/frame.h"

#define MEET_GUESTS 8 /* callers that may be connected without having greeted; the oldest makes room */
#define MEET_ADDRESS 320
#define MEET_PAUSE_NS INT64_C(20000000) /* at most, between two tries while neither calling nor listening works */

struct meet {
    char address[MEET_ADDRESS]; /* for sentences */
    struct sockaddr_un at;
    socklen_t length;
    bool packets;
    uint32_t mode; /* of the socket file; without bits for group and others only this uid and root may join */
    uint64_t queue;
    struct frame_hello own; /* role, stream and max of this end */

    int listener, joining;  /* -1, or what this end does now; never both */
    struct link_who host;   /* while joining: who listens */
    uint64_t device, inode; /* of the file that this end bound */
    int64_t again, pause;   /* no new call before this point in time, CLOCK_MONOTONIC ns; and the next pause */
    int guest[MEET_GUESTS];
    unsigned guests;
    int watch; /* an epoll descriptor: readable when a step has something to do */
    int also;  /* another one, kept like it; -1 until the caller makes one */
};

/* A peer that has greeted; fd and who.pidfd are the caller's. */
struct meet_match {
    int fd;
    struct link_who who;
    struct frame_hello hello;
};

/* rest: a path, or '@' and an abstract name. own: kind need not be set. 0 or an error with a sentence. */
int meet_init(struct meet *, const char *address, const char *rest, bool packets, uint32_t mode, uint64_t queue,
              const struct frame_hello *own);

/* One step. 1: there is a match; -EAGAIN; or an error that the user should hear (-EBUSY, -THIRL_EROLE, …), after which
 * another step tries anew. */
int meet_step(struct meet *, struct meet_match *);

/* Answers all who wait to be let in that both ends are taken, by this process and by pid. */
void meet_refuse(struct meet *, int64_t pid);

/* Stops listening, takes the file away, hangs up. The address is free for others. */
void meet_retire(struct meet *);
void meet_deinit(struct meet *);

/* Keeps a second epoll descriptor like the watch from now on. */
void meet_share(struct meet *, int epoll);

/* Puts a descriptor into the watch, or takes it out: before it is closed. */
void meet_attend(struct meet *, int fd, uint32_t events);
void meet_forget(struct meet *, int fd);

#endif
