/* SPDX-License-Identifier: MIT
 *
 * One datagram from parts, and into parts. To tell the kernel of several costs more than to copy a small packet: those go and
 * come in one block. For the carriers over datagram sockets; nothing here allocates.
 */
#ifndef MECH_GRAM_H
#define MECH_GRAM_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* sendmsg of the parts; flags are its own. Bytes, or -1 with errno. */
ssize_t gram_send(int fd, const struct iovec *part, unsigned parts, int flags);

/* recvmsg into the parts, filling one after the other; the last one alone holds any packet that is not too large. The size of the
 * packet, of which nothing is to be believed if the last part does not hold so much, or -1 with errno. *small, false at first, is
 * where it keeps what the last packet was like. */
ssize_t gram_recv(int fd, const struct iovec *part, unsigned parts, int flags, bool *small);

#endif
