/* SPDX-License-Identifier: MIT
 *
 * The paths, and the one function in which they are counted.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <thirl/lock.h>
#include <thirl/thirl.h>

#include "bench/path.h"

#define SIZE 64
#define READERS 64
#define MANY 32

struct walk {
    thirl *out, *in, *more[READERS]; /* besides in; up to the first NULL */
    thirl_mutex *mutex;
    thirl_time until; /* THIRL_NOW while they meet: one thread is both */
};

typedef int step(struct walk *);

static unsigned char data[SIZE] = "a message";

static int copy(struct walk *walk) {
    unsigned char got[SIZE];
    size_t size;
    return thirl_send(walk->out, data, SIZE, walk->until) || thirl_recv(walk->in, got, SIZE, &size, walk->until);
}

/* What a call costs is shared among so many. */
static int copy_many(struct walk *walk) {
    struct iovec messages[MANY];
    uint64_t got[MANY];
    for (size_t i = 0; i < MANY; i++) {
        messages[i] = (struct iovec){data, sizeof(uint64_t)};
    }
    size_t count = MANY;
    int rc = thirl_send_many(walk->out, messages, &count, walk->until);
    for (size_t left = MANY; !rc && left; left -= count) { /* the first ones come one by one */
        count = left;
        rc = thirl_recv_many(walk->in, got, sizeof got, messages, &count, walk->until);
    }
    return rc;
}

static int publish(struct walk *walk) {
    return thirl_send(walk->out, data, SIZE, THIRL_NOW);
}

static int place(struct walk *walk) {
    thirl_msg *msg;
    if (thirl_loan(walk->out, &msg, SIZE, THIRL_NOW)) {
        return -1;
    }
    memcpy(thirl_msg_data(msg), data, SIZE);
    if (thirl_put(walk->out, &msg, THIRL_NOW) || thirl_take(walk->in, &msg, THIRL_NOW)) {
        return -1;
    }
    thirl_free(&msg);
    return 0;
}

static int ask(struct walk *walk) {
    thirl_msg *request, *reply;
    uint64_t call;
    int rc = thirl_ask(walk->out, data, SIZE, &call, THIRL_NOW);
    if (thirl_take(walk->in, &request, THIRL_NOW) || rc) { /* also before they have met: that is how they meet */
        return -1;
    }
    if (thirl_reply(walk->in, &request, data, SIZE, THIRL_NOW) || thirl_answer(walk->out, &call, &reply, THIRL_NOW)) {
        return -1;
    }
    thirl_free(&reply);
    return 0;
}

static int lock(struct walk *walk) {
    return thirl_mutex_lock(walk->mutex, THIRL_NEVER) || thirl_mutex_unlock(walk->mutex);
}

static const struct path {
    const char *name, *address;
    enum thirl_role out, in;
    step *go;
    unsigned readers;    /* how many take what was sent, uncounted; 0: the step does it */
    const char *options; /* of the address, more of them */
} paths[] = {
    {"lane-copy", "shm://", THIRL_PAIR, THIRL_PAIR, copy, 0, ""},
    {"lane-many", "shm://", THIRL_PAIR, THIRL_PAIR, copy_many, 0, ""},
    {"lane-place", "shm://", THIRL_PAIR, THIRL_PAIR, place, 0, ""},
    {"publish-copy", "shm://", THIRL_PUB, THIRL_SUB, copy, 0, ""},
    {"queue-copy", "shm://", THIRL_PUSH, THIRL_PULL, copy, 0, ""},
    {"call", "shm://", THIRL_CALL, THIRL_SERVE, ask, 0, ""},
    {"mutex", NULL, THIRL_PAIR, THIRL_PAIR, lock, 0, ""},
    {"unix-copy", "unix://@", THIRL_PAIR, THIRL_PAIR, copy, 0, ""},
    {"datagram-copy", "unix://@", THIRL_PAIR, THIRL_PAIR, copy, 0, "&type=datagram"},
    {"mq-copy", "mq://", THIRL_PAIR, THIRL_PAIR, copy, 0, ""},
    {"sysv-copy", "sysv://", THIRL_PAIR, THIRL_PAIR, copy, 0, ""},
    {"publish-to-1", "shm://", THIRL_PUB, THIRL_SUB, publish, 1, ""},
    {"publish-to-8", "shm://", THIRL_PUB, THIRL_SUB, publish, 8, ""},
    {"publish-to-64", "shm://", THIRL_PUB, THIRL_SUB, publish, 64, ""},
};

/* Its name is what a simulator collects by: never inlined. */
__attribute__((noinline, visibility("default"))) int path_counted(step *go, struct walk *walk, uint64_t count);
int path_counted(step *go, struct walk *walk, uint64_t count) {
    int rc = 0;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        rc = go(walk);
    }
    return rc;
}

/* Each finds the publisher when it looks for messages first, and begins behind those that there were. */
static int meet_readers(struct walk *walk) {
    unsigned char got[SIZE];
    int rc = -EAGAIN;
    for (int tries = 0; tries < 100 && rc != 0; tries++) {
        rc = publish(walk) || thirl_recv(walk->in, got, SIZE, NULL, THIRL_NOW);
        for (unsigned reader = 0; walk->more[reader]; reader++) {
            rc |= thirl_recv(walk->more[reader], got, SIZE, NULL, THIRL_NOW);
        }
    }
    return rc;
}

/* They have all that was sent before the next is. */
static int publish_each(struct walk *walk, uint64_t count) {
    unsigned char got[SIZE];
    size_t size;
    int rc = 0;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        rc = path_counted(publish, walk, 1) || thirl_recv(walk->in, got, SIZE, &size, THIRL_NOW);
        for (unsigned reader = 0; rc == 0 && walk->more[reader]; reader++) {
            rc = thirl_recv(walk->more[reader], got, SIZE, &size, THIRL_NOW);
        }
    }
    return rc;
}

static int walk_path(const struct path *path, struct walk *walk, uint64_t count) {
    char address[100];
    if (!path->address) {
        static thirl_mutex mutex;
        walk->mutex = &mutex;
        return thirl_mutex_init(&mutex, 0) || path->go(walk) || path_counted(path->go, walk, count);
    }
    (void)snprintf(address, sizeof address, "%sthirl-path-%d?wait=sleep%s", path->address, (int)getpid(),
                   path->options);
    if (thirl_open(&walk->in, path->in, address, NULL) || thirl_open(&walk->out, path->out, address, NULL)) {
        return -1;
    }
    for (unsigned i = 1; i < path->readers; i++) {
        if (thirl_open(&walk->more[i - 1], path->in, address, NULL)) {
            return -1;
        }
    }
    if (path->readers) {
        return meet_readers(walk) || publish_each(walk, count);
    }
    /* They meet in these, and what is done once is done. */
    int rc = -1;
    for (int i = 0; i < 100; i++) {
        rc = path->go(walk);
    }
    walk->until = THIRL_NEVER;
    return rc || path_counted(path->go, walk, count);
}

int path_go(const char *name, uint64_t count) {
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct walk walk = {.until = THIRL_NOW};
        if (strcmp(paths[i].name, name) != 0) {
            continue;
        }
        int rc = walk_path(&paths[i], &walk, count);
        if (rc) {
            (void)fprintf(stderr, "thirl-bench: %s: %s\n", name, thirl_why());
        }
        (void)thirl_close(&walk.out, THIRL_NOW);
        for (unsigned reader = 0; walk.more[reader]; reader++) {
            (void)thirl_close(&walk.more[reader], THIRL_NOW);
        }
        (void)thirl_close(&walk.in, THIRL_NOW);
        return rc ? -1 : 0;
    }
    return -2;
}

void path_list(void) {
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        (void)puts(paths[i].name);
    }
}
