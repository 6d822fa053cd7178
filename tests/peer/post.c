/* SPDX-License-Identifier: MIT
 *
 * The queues of thirl, and the kernel's own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "include/thirl/thirl.h"
#include "tests/peer/mail.h"

/* ---- thirl ---- */

static thirl *end;
static thirl_msg *job;

static int open_ours(const char *where, int sends, const char *address) {
    return setenv("THIRL_DIR", where, 1) != 0 ? -1 : thirl_open(&end, sends ? THIRL_PUSH : THIRL_PULL, address, NULL);
}

static int open_shm(const char *where, int sends) {
    return open_ours(where, sends, "shm://mail");
}

static int open_mq(const char *where, int sends) {
    char address[100];
    (void)snprintf(address, sizeof address, "mq://%s", strrchr(where, '/') + 1);
    return open_ours(where, sends, address);
}

/* A death that is told is no reason to end. */
static int answer(int rc) {
    return rc == -ETIMEDOUT || rc == -EAGAIN || rc == -THIRL_EPEERDIED ? MAIL_NONE : rc == 0 ? 0 : -1;
}

static int put_ours(const void *data) {
    return answer(thirl_send(end, data, MAIL_SIZE, thirl_in_ms(100)));
}

static int get_ours(void *data, int *again) {
    int rc = answer(thirl_take(end, &job, thirl_in_ms(100)));
    if (rc == 0) {
        memcpy(data, thirl_msg_data(job), MAIL_SIZE < thirl_msg_size(job) ? MAIL_SIZE : thirl_msg_size(job));
        *again = thirl_msg_again(job);
    }
    return rc;
}

static void done_ours(void) {
    (void)thirl_done(&job);
}

static void close_ours(void) {
    (void)thirl_close(&end, thirl_in_ms(2000));
}

const struct mail mail_ours[] = {
    {"thirl shm, work queue", open_shm, put_ours, get_ours, done_ours, close_ours, NULL},
    {.name = NULL},
};

/* ---- POSIX message queues, bare ---- */

static mqd_t queue;

static void name_queue(char name[80], const char *where) {
    (void)snprintf(name, 80, "/%s", strrchr(where, '/') + 1);
}

static int open_bare(const char *where, int sends) {
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = MAIL_SIZE};
    char name[80];
    name_queue(name, where);
    queue = mq_open(name, (sends ? O_WRONLY : O_RDONLY) | O_CREAT, 0600, &attr);
    return queue == (mqd_t)-1 ? -1 : 0;
}

static struct timespec soon(void) {
    struct timespec at;
    (void)clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += 100000000;
    at.tv_sec += at.tv_nsec >= 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static int put_bare(const void *data) {
    struct timespec until = soon();
    return mq_timedsend(queue, data, MAIL_SIZE, 0, &until) == 0 ? 0 : errno == ETIMEDOUT ? MAIL_NONE : -1;
}

static int get_bare(void *data, int *again) {
    struct timespec until = soon();
    (void)again;
    return mq_timedreceive(queue, data, MAIL_SIZE, NULL, &until) == MAIL_SIZE ? 0 : errno == ETIMEDOUT ? MAIL_NONE : -1;
}

static void close_bare(void) {
    (void)mq_close(queue);
}

static void remove_bare(const char *where) {
    char name[80];
    name_queue(name, where);
    (void)mq_unlink(name);
}

const struct mail mail_kernels[] = {
    {"thirl mq", open_mq, put_ours, get_ours, done_ours, close_ours, NULL},
    {"POSIX mq, bare", open_bare, put_bare, get_bare, NULL, close_bare, remove_bare},
    {.name = NULL},
};
