/* SPDX-License-Identifier: MIT
 *
 * Which mechanism when: what a channel is to do goes in, and every mechanism comes out, the best first, with what it costs on this machine
 * and the reason why each of the others lost. The costs are measured by `thirl bench --save`; without that they are those of another
 * machine, and said to be. auto://NAME opens with what comes first here.
 */
#ifndef THIRL_ADVISE_H
#define THIRL_ADVISE_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Who is to meet there. */
#define THIRL_ACROSSES(X)                                                                                              \
    X(USER, 0, "user", "processes of one user")                                                                        \
    X(USERS, 1, "users", "processes of several users")                                                                 \
    X(CONTAINERS, 2, "containers", "processes in containers that share one directory")                                 \
    X(HOSTS, 3, "hosts", "processes of several hosts")

enum thirl_across {
#define THIRL_ACROSS(name, number, text, about) THIRL_ACROSS_##name = number,
    THIRL_ACROSSES(THIRL_ACROSS)
#undef THIRL_ACROSS
};

/* What the first is first in. */
#define THIRL_PRIORITIES(X)                                                                                            \
    X(LATENCY, 0, "latency", "the time that half of the messages take, or less")                                       \
    X(THROUGHPUT, 1, "throughput", "messages a second")                                                                \
    X(CPU, 2, "cpu", "processor time for a message")                                                                   \
    X(SIMPLICITY, 3, "simplicity", "what has to be there, named and cleaned up")

enum thirl_priority {
#define THIRL_PRIORITY(name, number, text, about) THIRL_PRIORITY_##name = number,
    THIRL_PRIORITIES(THIRL_PRIORITY)
#undef THIRL_PRIORITY
};

/* What a channel is to do; zero is what is usual everywhere. */
struct thirl_wish {
    size_t size;         /* sizeof (struct thirl_wish): set it first, THIRL_WISH does */
    uint32_t role;       /* enum thirl_role, of either side; PAIR */
    uint32_t across;     /* enum thirl_across */
    uint32_t priority;   /* enum thirl_priority */
    uint32_t wait;       /* enum thirl_wait_mode, of both ends */
    uint64_t bytes;      /* of a message, as it usually is; 64, of an event 4 */
    uint64_t largest;    /* of the largest one; as many */
    uint64_t rate;       /* messages a second, of all senders together; unknown */
    uint32_t senders;    /* how many there are; 1. Of calls: who asks */
    uint32_t receivers;  /* likewise; of calls: who serves */
    uint32_t levels;     /* of priority that messages are to have; 1 */
    uint8_t trust;       /* those who meet trust each other; those of one user do */
    uint8_t child;       /* the other end is a child's of this process, which inherits it */
    uint8_t descriptors; /* are to travel with messages */
    uint8_t kept;        /* messages are to wait while nobody is there */
    uint8_t lossy;       /* a message may be lost */
    uint8_t zero[3];
    const char *name; /* of the channel, for the address; "NAME" */
};

#ifdef __cplusplus
#define THIRL_WISH (thirl_wish{sizeof(struct thirl_wish)})
#else
#define THIRL_WISH ((struct thirl_wish){.size = sizeof(struct thirl_wish)})
#endif

/* One mechanism, as it would do. Figures are 0 where they are not known. */
struct thirl_choice {
    size_t size;
    const char *mechanism; /* "shm", "seqpacket": as in costs files */
    const char *address;   /* as thirl_open takes it, for that name */
    uint32_t place;        /* 1 for the best one; 0: it cannot do it */
    uint32_t copies;       /* of each byte, from one program to the other */
    int64_t p50_ns,
        p99_ns; /* of a round trip, for PAIR, WRITE and CALL; of a message from one to the other, for all else */
    uint64_t per_second; /* messages */
    int64_t cpu_ns;      /* processor time of both sides, for each message */
    uint32_t in_place;   /* the figures are of loan, put and take, rather than of send and recv */
    uint32_t here;       /* they were measured on this machine */
    const char *reason;  /* why it is where it is, as a sentence */
    const char *costs;   /* where the figures come from, as a sentence */
};

/* Calls seen for each mechanism, the best first and at the end those that cannot do it, until it returns nonzero, and returns that. Strings are
 * valid during the callback only. Reads $THIRL_COSTS, else $XDG_CACHE_HOME/thirl/costs, else ~/.cache/thirl/costs; opens no channel.
 * -EINVAL: the wish contradicts itself, or is out of a range; -ENOMEM. */
THIRL_API THIRL_CHECK int thirl_advise(const struct thirl_wish *wish,
                                       int (*seen)(void *context, const struct thirl_choice *), void *context);

/* What an end runs over: of auto:// what was chosen, and why; of any other address that one, and no reason. Set size first. */
struct thirl_over {
    size_t size;
    char address[320]; /* "shm://camera"; "unix" or "seqpacket" of a Unix socket, whose place the registry is */
    char reason[320];
};
THIRL_API THIRL_CHECK int thirl_over(thirl *end, struct thirl_over *over);

#ifdef __cplusplus
}
#endif
#endif
