/* SPDX-License-Identifier: MIT
 *
 * What is particular about a connected TCP socket, whoever connected it: its peer is an address, not a process; it goes
 * without a word when a host or a network does; and closing it can take back what was sent. Nothing here waits.
 */
#ifndef MECH_FAR_H
#define MECH_FAR_H

#include <sys/socket.h>

#include "mech/link.h"

#define FAR_IDLE_S 10    /* silence after which the kernel asks whether the other host is there, */
#define FAR_INTERVAL_S 5 /* again and again, */
#define FAR_PROBES 4     /* so many times: 30 s in all */
#define FAR_SILENCE_S 30 /* and how long it may leave what was sent to it unacknowledged */
#define FAR_TEXT 64

/* "127.0.0.1:80", "[::1]:80". */
void far_text(char text[FAR_TEXT], const struct sockaddr *);

/* A peer at this address. */
void far_identify(struct link_who *, const struct sockaddr *);

/* Sets up a TCP socket, connected or not: no delay, probes, buffers. Returns the bytes that wait in them at most. */
size_t far_prepare(int fd, uint64_t queue);

/* Has the other host not acknowledged for FAR_SILENCE_S what it was sent? One that is there does, even while no process there
 * reads. */
bool far_lost(int fd);

/* Bytes that did not leave this host yet. */
size_t far_unsent(int fd);

/* Before close: nothing more will be sent. Throws away what was not received, which would make the kernel throw away what was
 * not yet sent. */
void far_part(int fd);

#endif
