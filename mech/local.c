/* SPDX-License-Identifier: MIT
 *
 * Addresses of Unix sockets.
 */
#define _GNU_SOURCE
#include "mech/local.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base/err.h"
#include "base/fd.h"

#define PATH_LONGEST 4096

int local_read(struct local *local, const char *address, const char *rest) {
    size_t length = strlen(rest), most = sizeof local->at.sun_path;
    bool named = rest[0] == '@';
    if (length == 0 || (named && length == 1)) {
        return err_say(THIRL_EADDRESS, "%s: there is no socket name; write unix:///path or unix://@name", address);
    }
    if (length > most - !named) {
        return err_say(THIRL_EADDRESS, "%s: the socket name has %zu bytes; the kernel takes at most %zu", address,
                       length, most - !named);
    }
    if (!named && rest[0] != '/') {
        return err_say(THIRL_EADDRESS, "%s: a socket path begins with / (or with @ when it is abstract)", address);
    }
    memset(&local->at, 0, sizeof local->at);
    local->at.sun_family = AF_UNIX;
    memcpy(local->at.sun_path, rest, length);
    if (named) {
        local->at.sun_path[0] = '\0';
    }
    local->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !named);
    return 0;
}

int local_lock(int *lock, const char *path, const char *address) {
    char directory[PATH_LONGEST];
    (void)snprintf(directory, sizeof directory, "%s", path);
    char *slash = strrchr(directory, '/');
    slash[slash == directory] = '\0';
    *lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock < 0) {
        return err_system(errno, "%s: cannot open the directory %s", address, directory);
    }
    fd_own(*lock);
    if (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        fd_close(lock);
        return code == EWOULDBLOCK || code == EINTR
                   ? -EAGAIN
                   : err_system(code, "%s: cannot lock the directory %s", address, directory);
    }
    return 0;
}

void local_unlock(int *lock) {
    (void)flock(*lock, LOCK_UN); /* a child that is being forked may hold it too */
    fd_close(lock);
}
