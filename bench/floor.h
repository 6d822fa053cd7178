/* SPDX-License-Identifier: MIT
 *
 * The bare floors: the least that two processes can do for the same job with the same hardware or the same system
 * calls, written without thirl. What thirl adds is measured against them.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include "bench/stage.h"

/* line.c: round trips over two cache lines, payload beside the flag. Sizes up to 48. */
extern const struct work floor_line;  /* both spin */
extern const struct work floor_futex; /* both sleep: one FUTEX_WAKE and one FUTEX_WAIT a side */

/* ring.c: one way, one producer, one consumer. */
extern const struct work floor_packed; /* packed records, the length word commits */
extern const struct work floor_cached; /* packed records, both cursors published, each side caches the other's */
extern const struct work floor_slots;  /* the same with slots of one size: no messages of any size, but the hardware's limit */
extern const struct work floor_copy;   /* slots with flags: one memcpy in, one memcpy out */

/* socket.c: blocking send and recv of whole messages. */
extern const struct work floor_stream_round, floor_stream_way;       /* AF_UNIX SOCK_STREAM, MSG_WAITALL */
extern const struct work floor_seqpacket_round, floor_seqpacket_way; /* AF_UNIX SOCK_SEQPACKET */

#endif
