/* SPDX-License-Identifier: MIT
 *
 * thirl's side of each measurement: the same jobs as the floors, through the public header only.
 */
#ifndef BENCH_END_H
#define BENCH_END_H

#include <thirl/thirl.h>

#include "bench/stage.h"

/* round.c: round trips. */
extern const struct work thirl_round;        /* thirl_send and thirl_recv, payload written and read */
extern const struct work thirl_handover;     /* loan, put, take, free; only the first word is touched */
extern const struct work thirl_job_handover; /* the same with a work queue in each direction */

/* ask.c: calls and their answers. */
extern const struct work thirl_asking;

/* oneway.c: one way. */
extern const struct work thirl_way;   /* thirl_send and thirl_recv */
extern const struct work thirl_many;  /* thirl_send_many and thirl_recv_many, 32 messages to a call */
extern const struct work thirl_place; /* loan, put, take, free: written and read in place */

/* publish.c: one way to so many subscribers; the sender's clock. */
extern const struct work thirl_publish_0, thirl_publish_1, thirl_publish_8, thirl_publish_64;

/* jobs.c: a work queue: one sender and two workers, one sender and one worker, eight senders and one worker. */
extern const struct work thirl_mutex_alone, thirl_mutex_contended;
extern const struct work thirl_rwlock_read_alone, thirl_rwlock_write_alone, thirl_rwlock_contended, thirl_cond_round;
extern const struct work thirl_jobs, thirl_jobs_one, thirl_jobs_eight;

/* value.c: reads of a state. */
extern const struct work thirl_value;

/* lookup.c: reads of a cache: pinned, copied, pinned by 32. */
extern const struct work thirl_lookup, thirl_lookup_copy, thirl_lookup_many;

/* word.c: round trips of a word by signals. */
extern const struct work thirl_word;

/* trip.c: round trips and calls of any mechanism; flow.c: one way, to many, from many. By copy, and in place. */
extern const struct work trip_copy, trip_place, trip_call;
extern const struct work flow_way_copy, flow_way_place, flow_out_copy, flow_out_place, flow_in_copy, flow_in_place;

/* end.c: only asks what the largest message is: outcome->samples. */
extern const struct work end_limits;

/* What a side receives and sends with: one end of a pair; where there are no pairs, the receiving end of a channel of its
 * own, and a sending end of the other side's. */
struct ends {
    thirl *in, *out;
};

/* Opens what run->address says, as queues where that is asked for, and closes it. A failure is in the stage. */
int end_open(struct run *, enum stage_side, struct ends *);
int end_open_queues(struct run *, enum stage_side, struct ends *);
int end_fail(struct run *, enum stage_side, const char *call); /* with thirl's sentence; -1 */
int end_close(struct run *, enum stage_side, struct ends *);   /* waits until everything was taken */

/* As the pong, that serves: the next request, summed and sent back as it came. 0 or -1. */
int end_echo(struct run *, thirl *, uint64_t *sum);

/* count.c: calls of malloc, calloc, realloc and free in this process so far. */
uint64_t count_allocations(void);

#endif
