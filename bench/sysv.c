/* SPDX-License-Identifier: MIT
 *
 * System V message queues, bare: one for each direction, fd is the queue's number. Its calls block without a limit in time or not at
 * all. As thirl's waits have one, so have these: the calls do not block, and beside each queue stand two words to sleep on, one for
 * who waits for a message and one for who waits for room. The type that the kernel wants before the bytes is in memory of
 * one's own, from which what came is copied. The endless form blocks, and receives straight to where the bytes belong.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench/limit.h"
#include "bench/medium.h"

struct bell {
    struct word {
        uint32_t given, wanted;
    } came, room;
} __attribute__((aligned(STAGE_PAIR)));

static int make(struct run *run) {
    run->packet = limit_of("/proc/sys/kernel/msgmax", 8192);
    run->bell = mmap(NULL, 2 * sizeof(struct bell), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (run->bell == MAP_FAILED) {
        run->bell = NULL;
        return stage_fail(run, STAGE_PING, "no memory for two words: %s", strerror(errno));
    }
    for (int i = 0; i < 2; i++) {
        int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
        if (queue < 0) {
            return stage_fail(run, STAGE_PING, "msgget: %s", strerror(errno));
        }
        run->queue[i] = queue;
    }
    return 0;
}

static void put_away(struct run *run) {
    for (int i = 0; i < 2; i++) {
        if (run->queue[i] >= 0) {
            msgctl(run->queue[i], IPC_RMID, NULL);
        }
    }
    if (run->bell) {
        munmap(run->bell, 2 * sizeof(struct bell));
    }
}

/* Is about to try and then to sleep; the answer is what to sleep on. */
static uint32_t want(struct word *word) {
    uint32_t given = __atomic_load_n(&word->given, __ATOMIC_ACQUIRE);
    __atomic_store_n(&word->wanted, 1, __ATOMIC_SEQ_CST);
    return given;
}

static void nap(struct word *word, uint32_t given) {
    const struct timespec slice = {.tv_nsec = MEDIUM_SLICE_NS};
    syscall(SYS_futex, &word->given, FUTEX_WAIT, given, &slice, NULL, 0);
}

/* After a call that has changed the queue. */
static void ring(struct word *word) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* pairs with the store in want */
    if (__atomic_load_n(&word->wanted, __ATOMIC_RELAXED) && __atomic_exchange_n(&word->wanted, 0, __ATOMIC_ACQ_REL)) {
        __atomic_add_fetch(&word->given, 1, __ATOMIC_RELEASE);
        syscall(SYS_futex, &word->given, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    }
}

struct typed { /* what the calls want: the type stands before the bytes */
    long type;
    unsigned char bytes[];
};

static struct typed *block_of(struct run *run, enum stage_side side) {
    static struct typed *block[2]; /* to send, and to receive: kept for all messages of a process */
    struct typed **which = &block[side];
    return *which ? *which : (*which = malloc(sizeof **which + run->packet));
}

static int put(struct run *run, enum stage_side side, const unsigned char *data, int flags) {
    struct typed *message = block_of(run, 0);
    struct bell *bell = (struct bell *)run->bell + side;
    if (!message) {
        return stage_fail(run, side, "no memory for a packet");
    }
    for (size_t at = 0; at < run->size; at += run->packet) {
        size_t size = run->size - at < run->packet ? run->size - at : run->packet;
        bool wanted = false;
        uint32_t given = 0;
        message->type = 1;
        memcpy(message->bytes, data + at, size);
        while (msgsnd(run->queue[side], message, size, flags)) {
            if (errno != EINTR && errno != EAGAIN) {
                return stage_fail(run, side, "msgsnd: %s", strerror(errno));
            }
            if (wanted) {
                nap(&bell->room, given);
            }
            given = want(&bell->room);
            wanted = true;
        }
        if (flags & IPC_NOWAIT) {
            ring(&bell->came);
        }
    }
    return 0;
}

static int put_limited(struct run *run, enum stage_side side, const unsigned char *data) {
    return put(run, side, data, IPC_NOWAIT);
}

static int put_endless(struct run *run, enum stage_side side, const unsigned char *data) {
    return put(run, side, data, 0);
}

static bool sleeps; /* a round trip will have to: then it is said before the first try */

static int await(struct run *run, enum stage_side side) {
    (void)run;
    (void)side;
    sleeps = true;
    return 0;
}

static int get_limited(struct run *run, enum stage_side side, unsigned char *at) {
    struct typed *message = block_of(run, 1);
    struct bell *bell = (struct bell *)run->bell + !side;
    if (!message) {
        return stage_fail(run, side, "no memory for a packet");
    }
    for (size_t have = 0; have < run->size;) {
        bool wanted = sleeps && have == 0;
        uint32_t given = wanted ? want(&bell->came) : 0;
        ssize_t got;
        while ((got = msgrcv(run->queue[!side], message, run->packet, 0, IPC_NOWAIT)) < 0) {
            if (errno != EINTR && errno != ENOMSG) {
                return stage_fail(run, side, "msgrcv: %s", strerror(errno));
            }
            if (wanted) {
                nap(&bell->came, given);
            }
            given = want(&bell->came);
            wanted = true;
        }
        ring(&bell->room);
        memcpy(at + have, message->bytes, (size_t)got);
        have += (size_t)got;
    }
    return 0;
}

/* The type lands on what stands before the bytes, which is put back. */
static int get_endless(struct run *run, enum stage_side side, unsigned char *at) {
    for (size_t have = 0; have < run->size;) {
        long before;
        struct typed *message = (struct typed *)(void *)(at + have);
        memcpy(&before, message, sizeof before);
        ssize_t got = msgrcv(run->queue[!side], message, run->size - have, 0, 0);
        if (got < 0 && errno != EINTR) {
            return stage_fail(run, side, "msgrcv: %s", strerror(errno));
        }
        memcpy(message, &before, sizeof before);
        have += got > 0 ? (size_t)got : 0;
    }
    return 0;
}

const struct medium medium_sysv = {
    .make = make, .put = put_limited, .get = get_limited, .await = await, .free = put_away, .shared = true};
const struct medium medium_sysv_endless = {.make = make,
                                           .put = put_endless,
                                           .get = get_endless,
                                           .head = sizeof(struct typed),
                                           .free = put_away,
                                           .shared = true};
