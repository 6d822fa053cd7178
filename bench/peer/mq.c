/* SPDX-License-Identifier: MIT
 *
 * POSIX message queues, bare: one each way.
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>

#include "bench/peer/peer.h"

#define BYTES 8192

static mqd_t ways[2];

/* Whoever is second takes the names away: both have them. */
static int open_end(int ping, const char *where) {
    for (int i = 0; i < 2; i++) {
        struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = BYTES};
        char name[100];
        (void)snprintf(name, sizeof name, "/%s-%d", where, i);
        int access = (i == 0) == (ping != 0) ? O_WRONLY : O_RDONLY;
        mqd_t queue = mq_open(name, access | O_CREAT | O_EXCL, 0600, &attr);
        if (queue == (mqd_t)-1 && errno == EEXIST) {
            queue = mq_open(name, access);
            (void)mq_unlink(name);
        }
        if (queue == (mqd_t)-1) {
            return -1;
        }
        ways[access == O_RDONLY] = queue;
    }
    return 0;
}

static int put(const void *data, size_t size) {
    return mq_send(ways[0], data, size, 0);
}

static int get(void *data, size_t size) {
    char block[BYTES];
    ssize_t got = mq_receive(ways[1], block, sizeof block, NULL);
    __builtin_memcpy(data, block, size < BYTES ? size : BYTES);
    return got == (ssize_t)size ? 0 : -1;
}

const struct peer peer = {.name = "POSIX mq, bare", .open = open_end, .put = put, .get = get};
