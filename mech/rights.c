/* SPDX-License-Identifier: MIT
 *
 * SCM_RIGHTS, see rights.h.
 */
#define _GNU_SOURCE
#include "mech/rights.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* since Linux 6.16 */
#endif
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* since Linux 6.5 */
#endif

union room {
    struct cmsghdr head; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int) * THIRL_DESCRIPTORS_MAX)];
};

void rights_allow(int fd, bool allowed) {
    const int value = allowed;
    (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &value, sizeof(value)); /* older kernels close what nobody takes */
}

void rights_alone(int fd) {
    static const int options[] = {SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD};
    const int none = 0;
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        (void)setsockopt(fd, SOL_SOCKET, options[i], &none, sizeof(none)); /* not every kernel knows all of them */
    }
}

ssize_t rights_send(int fd, struct msghdr *message, const struct mech_note *note, int flags) {
    union room room = {0};
    size_t size = sizeof(int) * note->count;
    message->msg_control = room.bytes;
    message->msg_controllen = CMSG_SPACE(size);
    room.head.cmsg_level = SOL_SOCKET;
    room.head.cmsg_type = SCM_RIGHTS;
    room.head.cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(&room.head), note->descriptor, size);
    return sendmsg(fd, message, flags);
}

ssize_t rights_recv(int fd, struct msghdr *message, unsigned takes, int flags, struct rights *came) {
    union room room;
    message->msg_control = room.bytes;
    message->msg_controllen = CMSG_LEN(sizeof(int) * takes); /* less than CMSG_SPACE: that may hold one more */
    came->count = 0;
    came->lost = came->many = false;
    ssize_t got = recvmsg(fd, message, flags | MSG_CMSG_CLOEXEC);
    if (got < 0) {
        return got;
    }
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
        if (at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS) {
            came->count = (unsigned)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(came->descriptor, CMSG_DATA(at), sizeof(int) * came->count);
        }
    }
    if ((message->msg_flags & MSG_CTRUNC) != 0) {
        came->many = came->count == takes;
        rights_close(came);
        came->lost = true;
    }
    return got;
}

void rights_close(struct rights *rights) {
    for (unsigned i = 0; i < rights->count; i++) {
        fd_close(&rights->descriptor[i]);
    }
    rights->count = 0;
}

int rights_queue(struct rights_line *line, struct rights *came) {
    if (line->first + line->count == line->capacity && line->first != 0) {
        memmove(line->at, line->at + line->first, line->count * sizeof(*line->at));
        line->first = 0;
    }
    if (line->count == line->capacity) {
        unsigned capacity = line->capacity == 0 ? 4 : 2 * line->capacity;
        struct rights *at = realloc(line->at, capacity * sizeof(*at));
        if (at == NULL) {
            rights_close(came);
            return err_say(ENOMEM, "no memory for the descriptors of %u messages", capacity);
        }
        line->at = at;
        line->capacity = capacity;
    }
    line->at[line->first + line->count++] = *came;
    return 0;
}

bool rights_next(struct rights_line *line, struct rights *next) {
    if (line->count == 0) {
        return false;
    }
    *next = line->at[line->first++];
    line->first = --line->count == 0 ? 0 : line->first;
    return true;
}

void rights_free(struct rights_line *line) {
    struct rights rights;
    while (rights_next(line, &rights)) {
        rights_close(&rights);
    }
    free(line->at);
    line->at = NULL;
    line->capacity = 0;
}
