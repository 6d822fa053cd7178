/* SPDX-License-Identifier: MIT
 *
 * What stands in an address as /path or @name: where a Unix socket is.
 */
#ifndef MECH_LOCAL_H
#define MECH_LOCAL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct local {
    struct sockaddr_un at;
    socklen_t length;
};

/* 0, or -THIRL_EADDRESS with a sentence. */
int local_read(struct local *, const char *address, const char *rest);

/* Locks the directory of that absolute path against others who would place something there; it dies with its holder. 0; -EAGAIN:
 * somebody does just now; or an error. */
int local_lock(int *lock, const char *path, const char *address);
void local_unlock(int *lock);

/* A name of the kernel's own, without a file. */
static inline bool local_abstract(const struct local *local) {
    return local->at.sun_path[0] == '\0';
}

#endif
