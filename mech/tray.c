/* SPDX-License-Identifier: MIT
 *
 * Packets in memory that is laid out once. The slots begin at different offsets in their pages, or they would fight for the same few
 * lines of the first cache.
 */
#define _GNU_SOURCE
#include "mech/tray.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/atomic.h"
#include "base/parts.h"

#define PAGE ((size_t)4096)
#define SHIFT ((size_t)192)
#define LARGE 8192u /* copying one costs as much as the call */
#define OFTEN 16u   /* receives between two looks for a second packet, twice as many after each in vain, */
#define RARELY 256u /* up to this; and where packets are large */

struct tray *tray_make(size_t packet, bool quiet) {
    struct tray *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->packet = packet;
    t->stride = (packet + PAGE - 1) / PAGE * PAGE + SHIFT;
    t->data = mmap(NULL, t->stride * TRAY_DEPTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    t->depth = 2;
    t->plain = t->pause = OFTEN;
    t->haste.quiet = quiet;
    if (t->data == MAP_FAILED) {
        free(t);
        return NULL;
    }
    for (unsigned i = 0; i < TRAY_DEPTH; i++) {
        t->part[i] = (struct iovec){t->data + i * t->stride, packet};
        t->head[i].msg_hdr = (struct msghdr){.msg_iov = &t->part[i], .msg_iovlen = 1};
    }
    return t;
}

void tray_free(struct tray **t) {
    if (*t != NULL) {
        (void)munmap((*t)->data, (*t)->stride * TRAY_DEPTH);
        free(*t);
        *t = NULL;
    }
}

void tray_drop(struct tray *t) {
    if (t != NULL) {
        t->left = 0;
    }
}

/* How many to ask for next time, after so many of `asked` came. */
static void learn(struct tray *t, unsigned asked, unsigned came) {
    bool large = false;
    for (unsigned i = 0; i < came; i++) {
        large = large || t->head[i].msg_len > LARGE;
    }
    if (large || came < 2) {
        t->depth = 2;
        t->plain = large ? RARELY : t->pause;
        t->pause = t->pause < RARELY ? 2 * t->pause : RARELY;
        return;
    }
    t->pause = OFTEN;
    if (came == asked && asked < TRAY_DEPTH) {
        t->depth = 2 * asked;
    }
}

/* 0, or -1 with errno. Behind the end of a connection there are packets without bytes, as many as one asks for. */
static int fetch(struct tray *t, int fd, int flags, bool asks) {
    unsigned asked = t->depth;
    for (unsigned i = 0; i < asked; i++) {
        t->head[i].msg_hdr.msg_control =
            asks ? &t->control[i] : NULL; /* in room that is not used, descriptors would come */
        t->head[i].msg_hdr.msg_controllen = asks ? sizeof t->control[i] : 0;
    }
    int got = recvmmsg(fd, t->head, asked, flags | MSG_WAITFORONE | MSG_TRUNC | MSG_CMSG_CLOEXEC, NULL);
    if (got < 0) {
        return -1;
    }
    t->next = 0;
    t->left = (unsigned)got;
    t->came += t->left;
    t->flows = t->left > 1 && t->left < asked;
    learn(t, asked, t->left);
    return 0;
}

HOT ssize_t tray_recv(struct tray *t, int fd, const struct iovec *part, unsigned parts, int flags, struct msghdr **told,
                      const void **at) {
    if (t->left == 0 && fetch(t, fd, flags, told != NULL) != 0) {
        return -1;
    }
    struct mmsghdr *head = &t->head[t->next];
    parts_give(part, parts, t->part[t->next].iov_base, head->msg_len < t->packet ? head->msg_len : t->packet, at);
    if (told != NULL) {
        *told = &head->msg_hdr;
    }
    t->next++;
    t->left--;
    return (ssize_t)head->msg_len;
}
