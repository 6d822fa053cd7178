/* SPDX-License-Identifier: MIT
 *
 * System V queues of a test's own: their address and keys, as other programs know them, and packets that are not thirl's. Whatever a test leaves
 * in the kernel is removed, also when it is killed.
 */
#ifndef TESTS_IPC_H
#define TESTS_IPC_H

#include <sys/types.h>

extern char ipc_name[64]; /* of this program's queues */

/* "sysv://", the name, and that; valid until the next call. */
const char *ipc_address(const char *options);

/* As the manual says: FNV-1a of the name, with "thirl:" before it where frames go. */
key_t ipc_key(const char *before);
void ipc_remove(key_t);

/* For a group's setup, with a registry; after each test: removes what tests leave. */
int ipc_begin(void **state);
int ipc_tidy(void **state);

struct ipc_packet {
    long type;
    char text[8192];
};

/* Without a wait; what msgsnd says. */
int ipc_send(int id, long type, const char *text);

#endif
