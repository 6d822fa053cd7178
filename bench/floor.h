/* SPDX-License-Identifier: MIT
 *
 * The bare floors: the least that two processes can do for the same job with the same hardware or the same system
 * calls, written without thirl. What thirl adds is measured against them.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "bench/stage.h"

/* line.c: round trips over two cache lines, payload beside the flag. Sizes up to 48. */
extern const struct work floor_line;                                                   /* both spin */
extern const struct work floor_mutex_plain, floor_mutex_robust, floor_mutex_contended; /* glibc's */
extern const struct work floor_rwlock_read, floor_rwlock_write, floor_rwlock_contended, floor_cond_round; /* likewise */
extern const struct work floor_futex; /* both sleep: one FUTEX_WAKE and one FUTEX_WAIT a side */

/* pass.c: round trips of any size, by copy and in place. */
extern const struct work floor_pass_spin, floor_pass_sleep, floor_hand_spin, floor_hand_sleep;

/* spread.c: one to many and many to one. */
extern const struct work floor_out, floor_in;

/* ring.c: one way, one producer, one consumer. */
extern const struct work floor_packed; /* packed records, the length word commits */
extern const struct work floor_cached; /* packed records, both cursors published, each side caches the other's */
extern const struct work
    floor_slots; /* the same with slots of one size: no messages of any size, but the hardware's limit */
extern const struct work floor_copy; /* slots with flags: one memcpy in, one memcpy out */

/* publish.c: packed records that nobody reads; the writer's clock. */
extern const struct work floor_publish;

/* jobs.c: one sender, two workers, who share an index. */
extern const struct work floor_jobs;

/* value.c: reads of a sequence lock. */
extern const struct work floor_value;

/* lookup.c: reads of a hash table. */
extern const struct work floor_lookup;

/* word.c: round trips of a word by signals; the size says nothing. */
extern const struct work floor_word;

/* call.c: blocking system calls, one line for each mechanism of medium.h; round trips and one way. */
#define FLOOR_MEDIA(X)                                                                                                 \
    X(stream)    /* AF_UNIX SOCK_STREAM, MSG_WAITALL */                                                                \
    X(seqpacket) /* AF_UNIX SOCK_SEQPACKET */                                                                          \
    X(datagram)  /* AF_UNIX SOCK_DGRAM */                                                                              \
    X(tcp)       /* on the loopback, TCP_NODELAY */                                                                    \
    X(tcp6)                                                                                                            \
    X(udp)                                                                                                             \
    X(pipe)                                                                                                            \
    X(pipe_endless) /* without a poll before each read of a round trip */                                              \
    X(fifo)                                                                                                            \
    X(fifo_endless)                                                                                                    \
    X(mq)                                                                                                              \
    X(sysv)                                                                                                            \
    X(sysv_endless) /* blocks */
#define FLOOR_DECLARE(name) extern const struct work floor_##name##_round, floor_##name##_way;
FLOOR_MEDIA(FLOOR_DECLARE)

/* spread.c: the same to many and from many, where thirl has that. */
#define FLOOR_SPREAD(X) X(stream) X(seqpacket) X(datagram) X(tcp) X(mq) X(sysv)
#define FLOOR_DECLARE_SPREAD(name) extern const struct work floor_##name##_out, floor_##name##_in;
FLOOR_SPREAD(FLOOR_DECLARE_SPREAD)

#endif
