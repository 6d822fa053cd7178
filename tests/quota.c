/* SPDX-License-Identifier: MIT
 *
 * One file for each user, locked.
 */
#include "tests/quota.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

bool quota_counts(const char *address) {
    return strncmp(address, "mq:", 3) == 0;
}

int quota_take(bool alone) {
    char path[64];
    (void)snprintf(path, sizeof path, "/tmp/thirl-test-queues-%u", (unsigned)geteuid());
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    const struct timespec pause = {.tv_nsec = 5000000};
    for (int tries = 0; fd >= 0 && tries < 12000 && flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0; tries++) {
        (void)nanosleep(&pause, NULL);
    }
    return fd;
}
