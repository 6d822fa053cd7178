/* SPDX-License-Identifier: MIT
 *
 * A peer by hand, for tests of how two meet over unix:// streams: it says what the test says, as thirl would or not. What fails here ends the
 * program.
 */
#ifndef TESTS_BYHAND_H
#define TESTS_BYHAND_H

#include <sys/socket.h>
#include <sys/un.h>

#include "tests/peer.h"
#include "wire/frame.h"

socklen_t hand_name(struct sockaddr_un *); /* where peer_address is */
int hand_call(void);                       /* a connection to whoever listens there */

/* A greeting, of a pair; and what comes as one: kind 0 is the end. */
void hand_say(int fd, enum frame_hello_kind, uint32_t code);
struct frame_hello hand_hear(int fd);

/* A message of one byte; they are numbered from 0. */
void hand_send(int fd, uint32_t number, char byte);

#endif
