/* SPDX-License-Identifier: MIT
 *
 * The cases as tables. A case's figure is the ratio to the floor beside it; bounds are what the project promises.
 */
#include <string.h>

#include "bench/end.h"
#include "bench/floor.h"
#include "bench/plan.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define LENGTH(array) (sizeof(array) / sizeof *(array))

#define BARE(g, text, what, bytes, room, number)                                                                       \
    {                                                                                                                  \
        .group = (g), .variant = (text), .work = &(what), .size = (bytes), .ring = (room), .cpus = (number),           \
        .floor = true                                                                                                  \
    }
#define OURS(g, text, what, where, with, bytes, room, processors, limit)                                               \
    {                                                                                                                  \
        .group = (g), .variant = (text), .work = &(what), .scheme = (where), .options = (with), .size = (bytes),       \
        .ring = (room), .cpus = (processors), .bound = (limit)                                                         \
    }
/* What others of ours are compared with. */
#define BASE(g, text, what, where, with, bytes, room, processors)                                                      \
    {                                                                                                                  \
        .group = (g), .variant = (text), .work = &(what), .scheme = (where), .options = (with), .size = (bytes),       \
        .ring = (room), .cpus = (processors), .floor = true                                                            \
    }

static const struct entry rtt_spin[] = {
    BARE(0, "bare line", floor_line, 8, KIB(4), 2),
    OURS(0, "thirl shm spin", thirl_round, "shm://", "wait=spin", 8, KIB(4), 2, 1.3),
    BARE(1, "bare line", floor_line, 48, KIB(4), 2),
    OURS(1, "thirl shm spin", thirl_round, "shm://", "wait=spin", 48, KIB(4), 2, 1.3),
};

static const struct entry rtt_sleep[] = {
    BARE(0, "bare futex", floor_futex, 8, KIB(4), 2),
    OURS(0, "thirl shm sleep", thirl_round, "shm://", "wait=sleep", 8, KIB(4), 2, 1.2),
    BARE(1, "bare futex", floor_futex, 48, KIB(4), 2),
    OURS(1, "thirl shm sleep", thirl_round, "shm://", "wait=sleep", 48, KIB(4), 2, 1.2),
};

static const struct entry rtt_hot[] = {
    BASE(0, "thirl shm spin", thirl_round, "shm://", "wait=spin", 8, KIB(4), 2),
    OURS(0, "thirl shm adaptive", thirl_round, "shm://", "wait=adaptive", 8, KIB(4), 2, 1.1),
};

static const struct entry rtt_one_core[] = {
    BARE(0, "bare futex", floor_futex, 8, KIB(4), 1),
    OURS(0, "thirl shm adaptive", thirl_round, "shm://", "wait=adaptive", 8, KIB(4), 1, 1.2),
    BARE(1, "bare futex", floor_futex, 48, KIB(4), 1),
    OURS(1, "thirl shm adaptive", thirl_round, "shm://", "wait=adaptive", 48, KIB(4), 1, 1.2),
};

/* Without a scheme: a mutex has no address. */
#define MUTEX(g, text, what, processors, limit)                                                                        \
    {                                                                                                                  \
        .group = (g), .variant = (text), .work = &(what), .size = 8, .ring = KIB(16), .cpus = (processors),            \
        .bound = (limit)                                                                                               \
    }
static const struct entry mutex[] = {
    BARE(0, "glibc plain", floor_mutex_plain, 8, KIB(16), 2),
    MUTEX(0, "glibc robust, shared", floor_mutex_robust, 2, 0),
    MUTEX(0, "thirl", thirl_mutex_alone, 2, 1.0),
    BARE(1, "glibc robust, two at it", floor_mutex_contended, 8, KIB(16), 2),
    MUTEX(1, "thirl, two at it", thirl_mutex_contended, 2, 1.1),
    BARE(2, "glibc robust, two at it", floor_mutex_contended, 8, KIB(16), 1),
    MUTEX(2, "thirl, two at it", thirl_mutex_contended, 1, 1.1),
};

static const struct entry rwlock[] = {
    BARE(0, "glibc, to read", floor_rwlock_read, 8, KIB(16), 2),
    MUTEX(0, "thirl, to read", thirl_rwlock_read_alone, 2, 1.3),
    BARE(1, "glibc, to write", floor_rwlock_write, 8, KIB(16), 2),
    MUTEX(1, "thirl, to write", thirl_rwlock_write_alone, 2, 1.3),
    BARE(2, "glibc, two write", floor_rwlock_contended, 8, KIB(16), 2),
    MUTEX(2, "thirl, two write", thirl_rwlock_contended, 2, 1.1),
};
static const struct entry cond[] = {
    BARE(0, "glibc, robust mutex", floor_cond_round, 8, KIB(16), 2),
    MUTEX(0, "thirl", thirl_cond_round, 2, 1.1),
    BARE(1, "glibc, robust mutex", floor_cond_round, 8, KIB(16), 1),
    MUTEX(1, "thirl", thirl_cond_round, 1, 1.1),
};

static const struct entry call[] = {
    BARE(0, "bare line", floor_line, 8, KIB(4), 2),
    OURS(0, "thirl shm spin", thirl_asking, "shm://", "wait=spin", 8, KIB(4), 2, 2.4),
    BARE(1, "bare line", floor_line, 48, KIB(4), 2),
    OURS(1, "thirl shm spin", thirl_asking, "shm://", "wait=spin", 48, KIB(4), 2, 2.4),
    BARE(2, "bare futex", floor_futex, 8, KIB(4), 2),
    OURS(2, "thirl shm sleep", thirl_asking, "shm://", "wait=sleep", 8, KIB(4), 2, 1.3),
    BARE(3, "bare futex", floor_futex, 8, KIB(4), 1),
    OURS(3, "thirl shm adaptive", thirl_asking, "shm://", "wait=adaptive", 8, KIB(4), 1, 1.3),
};

#define SMALL(g, bytes, room, with)                                                                                    \
    BARE(g, "bare packed ring", floor_packed, bytes, room, 2),                                                         \
        BARE(g, "bare cached ring", floor_cached, bytes, room, 2),                                                     \
        {.group = (g), .variant = "bare slots", .work = &floor_slots, .size = (bytes), .ring = (room), .cpus = 2},     \
        OURS(g, "thirl shm many, by 32", thirl_many, "shm://", with, bytes, room, 2, 0.8),                             \
        OURS(g, "thirl shm send recv", thirl_way, "shm://", with, bytes, room, 2, 0),                                  \
        OURS(g, "thirl shm loan take", thirl_place, "shm://", with, bytes, room, 2, 0)
static const struct entry stream_small[] = {
    SMALL(0, 8, KIB(256), "queue=256K"),
    SMALL(1, 64, KIB(256), "queue=256K"),
    SMALL(2, 8, MIB(4), "queue=4M"),
    SMALL(3, 64, MIB(4), "queue=4M"),
};

static const struct entry work_queue[] = {
    BARE(0, "bare shared index", floor_jobs, 8, MIB(4), 2),
    OURS(0, "thirl shm, 2 workers", thirl_jobs, "shm://", "queue=4M", 8, MIB(4), 2, 0),
    BARE(1, "bare shared index", floor_jobs, 64, MIB(4), 2),
    OURS(1, "thirl shm, 2 workers", thirl_jobs, "shm://", "queue=4M", 64, MIB(4), 2, 0),
};

/* The warm part is as long as the queues of all eight. */
#define GATHER(g, bytes)                                                                                               \
    BASE(g, "thirl shm, 1 to 1", thirl_jobs_one, "shm://", "queue=4M", bytes, MIB(32), 2),                             \
        OURS(g, "thirl shm, 8 to 1", thirl_jobs_eight, "shm://", "queue=4M", bytes, MIB(32), 2, 0.8)
static const struct entry gather[] = {GATHER(0, 8), GATHER(1, 64)};

#define QUEUES(g, bytes)                                                                                               \
    OURS(g, "thirl shm send recv", thirl_way, "shm://", "queue=256K", bytes, KIB(256), 2, 0),                          \
        OURS(g, "thirl shm send recv", thirl_way, "shm://", "queue=1M", bytes, MIB(1), 2, 0),                          \
        OURS(g, "thirl shm send recv", thirl_way, "shm://", "queue=2M", bytes, MIB(2), 2, 0),                          \
        OURS(g, "thirl shm send recv", thirl_way, "shm://", "queue=4M", bytes, MIB(4), 2, 0),                          \
        OURS(g, "thirl shm send recv", thirl_way, "shm://", "queue=8M", bytes, MIB(8), 2, 0)
static const struct entry queue_size[] = {QUEUES(0, 64), QUEUES(1, KIB(1)), QUEUES(2, KIB(64))};

static const struct entry stream_bulk[] = {
    BARE(0, "bare memcpy twice", floor_copy, KIB(64), MIB(4), 2),
    OURS(0, "thirl shm send recv", thirl_way, "shm://", "queue=4M", KIB(64), MIB(4), 2, 0.9),
    BARE(1, "bare memcpy twice", floor_copy, MIB(1), MIB(4), 2),
    OURS(1, "thirl shm send recv", thirl_way, "shm://", "queue=4M", MIB(1), MIB(4), 2, 0.9),
};

#define PUBLISH(g, bytes)                                                                                              \
    BARE(g, "bare ring, no reader", floor_publish, bytes, MIB(4), 2),                                                  \
        OURS(g, "thirl shm, no subscriber", thirl_publish_0, "shm://", "queue=4M", bytes, MIB(4), 2, 0),               \
        OURS(g, "thirl shm, 1 subscriber", thirl_publish_1, "shm://", "queue=4M", bytes, MIB(4), 2, 0),                \
        OURS(g, "thirl shm, 8 subscribers", thirl_publish_8, "shm://", "queue=4M", bytes, MIB(4), 2, 0),               \
        OURS(g, "thirl shm, 64 subscribers", thirl_publish_64, "shm://", "queue=4M", bytes, MIB(4), 2, 0)
static const struct entry publish[] = {PUBLISH(0, 64), PUBLISH(1, KIB(1))};

/* Whatever the size: a bound on the time itself, as a multiple of two hand-overs of one cache line, and one beside the smallest that lies in the
 * pool. */
#define PLACE(g, bytes, limit)                                                                                         \
    OURS(g, "thirl shm hand-over", thirl_handover, "shm://", "wait=spin&queue=4M", bytes, MIB(4), 2, limit)
static const struct entry zero_copy[] = {
    BARE(0, "bare line", floor_line, 8, KIB(4), 2),
    PLACE(0, 64, 2.2),
    PLACE(0, MIB(1), 2.2),
    PLACE(0, MIB(16), 2.2),
    BASE(1, "thirl shm hand-over", thirl_handover, "shm://", "wait=spin&queue=4M", KIB(64), MIB(4), 2),
    PLACE(1, MIB(1), 1.2),
    PLACE(1, MIB(16), 1.2),
};

/* The same with a work queue there and one back. */
#define JOB(g, bytes, limit)                                                                                           \
    OURS(g, "thirl shm, as a job", thirl_job_handover, "shm://", "wait=spin&queue=256K", bytes, KIB(256), 2, limit)
static const struct entry zero_copy_jobs[] = {
    BARE(0, "bare line", floor_line, 8, KIB(4), 2),
    JOB(0, 64, 0),
    JOB(0, KIB(4), 0),
    JOB(0, KIB(64), 0),
    JOB(0, MIB(1), 0),
    JOB(0, MIB(16), 0),
    BASE(1, "thirl shm, as a job", thirl_job_handover, "shm://", "wait=spin&queue=256K", KIB(64), KIB(256), 2),
    JOB(1, MIB(1), 1.2),
    JOB(1, MIB(16), 1.2),
};

/* A mechanism beside a bare loop over the same system calls, on two processors and on one. 1 / 0.95: times instead of rates. */
#define CALL_TIME 1.053
#define CALL_RATE 0.95
#define CALLS(g, text, bare, how, ours, where, with, bytes, room, processors, limit)                                   \
    BARE(g, "bare " text, floor_##bare##_##how, bytes, room, processors),                                              \
        OURS(g, "thirl " text, ours, where, with, bytes, room, processors, limit)
#define CALLS_ROUND(g, ...) CALLS_SIZES(g, round, thirl_round, CALL_TIME, __VA_ARGS__)
#define CALLS_WAY(g, ...) CALLS_SIZES(g, way, thirl_way, CALL_RATE, __VA_ARGS__)
#define CALLS_SIZES(g, how, ours, limit, text, bare, where, with, room)                                                \
    CALLS(g, text, bare, how, ours, where, with, 64, room, 2, limit),                                                  \
        CALLS((g) + 1, text, bare, how, ours, where, with, KIB(4), room, 2, limit),                                    \
        CALLS((g) + 2, text, bare, how, ours, where, with, KIB(64), room, 2, limit),                                   \
        CALLS((g) + 3, text, bare, how, ours, where, with, 64, room, 1, limit),                                        \
        CALLS((g) + 4, text, bare, how, ours, where, with, KIB(4), room, 1, limit),                                    \
        CALLS((g) + 5, text, bare, how, ours, where, with, KIB(64), room, 1, limit)

/* What has no use for 64 KiB, and loses what nobody waits for: one way so many are on their way. */
#define WINDOW 32
#define LOSSY(g, text, bare, where, with, bytes, room, processors)                                                     \
    {.group = (g),                                                                                                     \
     .variant = "bare " text,                                                                                          \
     .work = &floor_##bare##_way,                                                                                      \
     .size = (bytes),                                                                                                  \
     .ring = (room),                                                                                                   \
     .window = WINDOW,                                                                                                 \
     .cpus = (processors),                                                                                             \
     .floor = true},                                                                                                   \
    {                                                                                                                  \
        .group = (g), .variant = "thirl " text, .work = &thirl_way, .scheme = (where), .options = (with),              \
        .size = (bytes), .ring = (room), .window = WINDOW, .cpus = (processors), .bound = CALL_RATE                    \
    }
#define CALLS_LOSSY(...) CALLS_LOSSY_TWO(0, __VA_ARGS__)
#define CALLS_LOSSY_TWO(g, text, bare, where, with, room)                                                              \
    LOSSY(g, text, bare, where, with, 64, room, 2), LOSSY((g) + 1, text, bare, where, with, KIB(4), room, 2),          \
        LOSSY((g) + 2, text, bare, where, with, 64, room, 1), LOSSY((g) + 3, text, bare, where, with, KIB(4), room, 1)
#define CALLS_SMALL(...) CALLS_TWO(0, __VA_ARGS__)
#define CALLS_TWO(g, text, bare, where, with, room)                                                                    \
    CALLS(g, text, bare, round, thirl_round, where, with, 64, room, 2, CALL_TIME),                                     \
        CALLS((g) + 1, text, bare, round, thirl_round, where, with, KIB(4), room, 2, CALL_TIME),                       \
        CALLS((g) + 2, text, bare, round, thirl_round, where, with, 64, room, 1, CALL_TIME),                           \
        CALLS((g) + 3, text, bare, round, thirl_round, where, with, KIB(4), room, 1, CALL_TIME)

#define STREAM "unix stream", stream, "unix://@", "type=stream&queue=256K", KIB(256)
#define SEQPACKET "unix seqpacket", seqpacket, "unix://@", "type=seqpacket&queue=256K", KIB(256)
#define TCP "tcp", tcp, "tcp://127.0.0.1:", "queue=256K", KIB(256)
#define PIPE "pipe", pipe, "pipe://", "queue=256K", KIB(256)
#define FIFO "fifo", fifo, "fifo:///tmp/", "queue=256K", KIB(256)
/* Big blocks against the bare loop with the best of three buffers. The default is smaller than that best one: a user may have
 * only so many pages in pipes. */
#define BLOCKS(g, text, bare, where)                                                                                   \
    BARE(g, "bare " text, floor_##bare##_way, KIB(256), KIB(64), 2),                                                   \
        BARE(g, "bare " text, floor_##bare##_way, KIB(256), KIB(256), 2),                                              \
        BARE(g, "bare " text, floor_##bare##_way, KIB(256), MIB(1), 2),                                                \
        OURS(g, "thirl " text, thirl_way, where, "", KIB(256), KIB(256), 2, 0),                                        \
        OURS(g, "thirl " text, thirl_way, where, "queue=1M", KIB(256), MIB(1), 2, CALL_RATE)
static const struct entry blocks[] = {
    BLOCKS(0, "unix stream", stream, "unix://@"),
    BLOCKS(1, "pipe", pipe, "pipe://"),
    BLOCKS(2, "fifo", fifo, "fifo:///tmp/"),
};

#define UDP "udp", udp, "udp://127.0.0.1:", "queue=256K", KIB(256)
#define DATAGRAM "unix datagram", datagram, "unix://@", "type=datagram&queue=256K", KIB(256)
#define SYSV "sysv", sysv, "sysv://", "", KIB(16)
#define MQ "mq", mq, "mq://", "", KIB(80)
static const struct entry unix_rtt[] = {CALLS_ROUND(0, STREAM), CALLS_ROUND(6, SEQPACKET)};
static const struct entry unix_stream[] = {CALLS_WAY(0, STREAM), CALLS_WAY(6, SEQPACKET)};
static const struct entry tcp_rtt[] = {CALLS_ROUND(0, TCP)}, tcp_stream[] = {CALLS_WAY(0, TCP)};
static const struct entry udp_rtt[] = {CALLS_SMALL(UDP)}, udp_stream[] = {CALLS_LOSSY(UDP)};
/* What the limit in time of each wait costs. */
#define ENDLESS(g, text, bare, how, bytes, room)                                                                       \
    {                                                                                                                  \
        .group = (g), .variant = "bare " text ", no limit", .work = &floor_##bare##_endless_##how, .size = (bytes),    \
        .ring = (room), .cpus = 1                                                                                      \
    }
#define ENDLESS_SIZES(g, ...)                                                                                          \
    ENDLESS(g, __VA_ARGS__, 64, KIB(16)), ENDLESS((g) + 1, __VA_ARGS__, KIB(4), KIB(16)),                              \
        ENDLESS((g) + 2, __VA_ARGS__, KIB(64), KIB(16))
static const struct entry pipe_rtt[] = {CALLS_ROUND(0, PIPE), ENDLESS(3, "pipe", pipe, round, 64, KIB(256))},
                          pipe_stream[] = {CALLS_WAY(0, PIPE)};
static const struct entry fifo_rtt[] = {CALLS_ROUND(0, FIFO), ENDLESS(3, "fifo", fifo, round, 64, KIB(256))},
                          fifo_stream[] = {CALLS_WAY(0, FIFO)};
static const struct entry datagram_rtt[] = {CALLS_ROUND(0, DATAGRAM)}, datagram_stream[] = {CALLS_WAY(0, DATAGRAM)};
static const struct entry sysv_rtt[] = {CALLS_ROUND(0, SYSV), ENDLESS_SIZES(3, "sysv", sysv, round)},
                          sysv_stream[] = {CALLS_WAY(0, SYSV), ENDLESS_SIZES(3, "sysv", sysv, way)};
static const struct entry sig_rtt[] = {
    BARE(0, "bare sigqueue", floor_word, 8, KIB(4), 2),
    OURS(0, "thirl sig", thirl_word, "sig://", "", 8, KIB(4), 2, CALL_TIME),
    BARE(1, "bare sigqueue", floor_word, 8, KIB(4), 1),
    OURS(1, "thirl sig", thirl_word, "sig://", "", 8, KIB(4), 1, CALL_TIME),
};
static const struct entry event_rtt[] = {
    BARE(0, "bare unix stream", floor_stream_round, 8, KIB(256), 2),
    OURS(0, "thirl unix, notify and watch", thirl_word, "unix://@", "", 8, KIB(256), 2, 1.3),
    BARE(1, "bare unix stream", floor_stream_round, 8, KIB(256), 1),
    OURS(1, "thirl unix, notify and watch", thirl_word, "unix://@", "", 8, KIB(256), 1, 1.3),
};
/* A call and its answer beside a message each way. */
#define ASKS(g, text, bare, where, with, processors)                                                                   \
    CALLS(g, text, bare, round, thirl_asking, where, with, 64, KIB(256), processors, 1.1),                             \
        CALLS((g) + 1, text, bare, round, thirl_asking, where, with, KIB(4), KIB(256), processors, 1.1)
static const struct entry unix_call[] = {
    ASKS(0, "unix stream", stream, "unix://@", "queue=256K", 2),
    ASKS(2, "unix seqpacket", seqpacket, "unix://@", "type=seqpacket&queue=256K", 2),
    ASKS(4, "unix stream", stream, "unix://@", "queue=256K", 1),
    ASKS(6, "unix seqpacket", seqpacket, "unix://@", "type=seqpacket&queue=256K", 1),
};
static const struct entry mq_rtt[] = {CALLS_ROUND(0, MQ)}, mq_stream[] = {CALLS_WAY(0, MQ)};

/* A sixth slower than the bare lock at most: 1 / 1.2. */
#define VALUE(g, size)                                                                                                 \
    BARE(g, "bare sequence lock", floor_value, size, KIB(4), 2),                                                       \
        OURS(g, "thirl state", thirl_value, "shm://", "", size, KIB(4), 2, 0.83)
static const struct entry state[] = {VALUE(0, 8), VALUE(1, 64), VALUE(2, 1024), VALUE(3, 4096)};

#define LOOKUP(g, size)                                                                                                \
    BARE(g, "bare hash table", floor_lookup, size, KIB(4), 2),                                                         \
        OURS(g, "thirl cache get", thirl_lookup, "shm://", "", size, KIB(4), 2, 0),                                    \
        OURS(g, "thirl cache copy", thirl_lookup_copy, "shm://", "", size, KIB(4), 2, 0),                              \
        OURS(g, "thirl cache get, by 32", thirl_lookup_many, "shm://", "", size, KIB(4), 2, 0)
static const struct entry cache[] = {LOOKUP(0, 64), LOOKUP(1, 1024), LOOKUP(2, 4096)};

#define PLAN(text, about, what, first, list)                                                                           \
    {                                                                                                                  \
        .name = (text), .summary = (about), .kind = (what), .headline = (first), .entries = (list),                    \
        .count = LENGTH(list)                                                                                          \
    }
const struct plan plan_table[] = {
    PLAN("rtt-spin", "shared memory, round trip, both sides spin", MEASURE_ROUND, true, rtt_spin),
    PLAN("rtt-sleep", "shared memory, round trip, both sides sleep", MEASURE_ROUND, true, rtt_sleep),
    PLAN("rtt-hot", "shared memory, round trip, adaptive against spinning", MEASURE_ROUND, true, rtt_hot),
    PLAN("rtt-one-core", "shared memory, round trip, both on one processor", MEASURE_ROUND, true, rtt_one_core),
    PLAN("mutex", "a lock and an unlock, alone and with another process", MEASURE_ROUND, false, mutex),
    PLAN("rwlock", "a read-write lock and its unlock, alone and with another process", MEASURE_ROUND, false, rwlock),
    PLAN("cond", "a condition variable, there and back between two processes", MEASURE_ROUND, false, cond),
    PLAN("call", "shared memory, a call and its answer", MEASURE_ROUND, true, call),
    PLAN("stream-small", "shared memory, one way, small messages", MEASURE_MESSAGES, true, stream_small),
    PLAN("work-queue", "shared memory, a work queue: each message to one worker", MEASURE_MESSAGES, false, work_queue),
    PLAN("gather", "shared memory, a work queue: many senders to one worker", MEASURE_MESSAGES, false, gather),
    PLAN("queue-size", "shared memory, one way, by size of the queue", MEASURE_BYTES, false, queue_size),
    PLAN("stream-bulk", "shared memory, one way, copied in and out", MEASURE_BYTES, true, stream_bulk),
    PLAN("publish", "shared memory, one to many: the sender's cost, by subscribers", MEASURE_MESSAGES, false, publish),
    PLAN("state", "shared state: reads of the latest value", MEASURE_MESSAGES, false, state),
    PLAN("cache", "a shared cache: a value found and copied out", MEASURE_MESSAGES, false, cache),
    PLAN("zero-copy", "shared memory, hand-over and back in place, by size", MEASURE_ROUND, true, zero_copy),
    PLAN("zero-copy-jobs", "shared memory, hand-over and back in place through work queues, by size", MEASURE_ROUND,
         false, zero_copy_jobs),
    PLAN("unix-rtt", "Unix sockets, round trip", MEASURE_ROUND, true, unix_rtt),
    PLAN("unix-stream", "Unix sockets, one way", MEASURE_BYTES, true, unix_stream),
    PLAN("unix-call", "Unix sockets, a call and its answer beside a message each way", MEASURE_ROUND, false, unix_call),
    PLAN("datagram-rtt", "Unix datagrams, round trip", MEASURE_ROUND, true, datagram_rtt),
    PLAN("datagram-stream", "Unix datagrams, one way", MEASURE_BYTES, true, datagram_stream),
    PLAN("tcp-rtt", "TCP on the loopback, round trip", MEASURE_ROUND, true, tcp_rtt),
    PLAN("tcp-stream", "TCP on the loopback, one way", MEASURE_BYTES, true, tcp_stream),
    PLAN("udp-rtt", "UDP on the loopback, round trip", MEASURE_ROUND, true, udp_rtt),
    PLAN("udp-stream", "UDP on the loopback, one way, 32 messages at a time", MEASURE_BYTES, true, udp_stream),
    PLAN("pipe-rtt", "anonymous pipes, round trip", MEASURE_ROUND, true, pipe_rtt),
    PLAN("pipe-stream", "anonymous pipes, one way", MEASURE_BYTES, true, pipe_stream),
    PLAN("fifo-rtt", "named pipes, round trip", MEASURE_ROUND, true, fifo_rtt),
    PLAN("fifo-stream", "named pipes, one way", MEASURE_BYTES, true, fifo_stream),
    PLAN("blocks", "streams, one way, blocks of 256 KiB, by size of the queue", MEASURE_BYTES, true, blocks),
    PLAN("mq-rtt", "POSIX message queues, round trip", MEASURE_ROUND, true, mq_rtt),
    PLAN("mq-stream", "POSIX message queues, one way", MEASURE_BYTES, true, mq_stream),
    PLAN("sysv-rtt", "System V message queues, round trip", MEASURE_ROUND, true, sysv_rtt),
    PLAN("sysv-stream", "System V message queues, one way", MEASURE_BYTES, true, sysv_stream),
    PLAN("event-rtt", "events over a Unix stream socket, round trip of a word beside 8 bytes with their length",
         MEASURE_ROUND, true, event_rtt),
    PLAN("sig-rtt", "real-time signals, round trip of a word", MEASURE_ROUND, true, sig_rtt),
};
const size_t plan_count = LENGTH(plan_table);

const struct plan *plan_find(const char *name) {
    for (size_t i = 0; i < plan_count; i++) {
        if (strcmp(plan_table[i].name, name) == 0) {
            return &plan_table[i];
        }
    }
    return NULL;
}

static const struct {
    const char *name;
    enum measure_kind kind;
    struct entry entry;
} singles[] = {{"floor-copy", MEASURE_BYTES, BARE(0, "", floor_copy, KIB(256), MIB(4), 2)},
               {"floor-rtt-sig", MEASURE_ROUND, BARE(0, "", floor_word, 8, KIB(4), 2)},
               {"floor-rtt-spin", MEASURE_ROUND, BARE(0, "", floor_line, 48, KIB(4), 2)},
#define SINGLE(name)                                                                                                   \
    {"floor-" #name, MEASURE_BYTES, BARE(0, "", floor_##name##_way, KIB(256), KIB(256), 2)},                           \
        {"floor-rtt-" #name, MEASURE_ROUND, BARE(0, "", floor_##name##_round, 64, KIB(256), 2)},
               FLOOR_MEDIA(SINGLE)
#undef SINGLE
};

const struct entry *plan_single(const char *name, enum measure_kind *kind) {
    for (size_t i = 0; i < LENGTH(singles); i++) {
        if (strcmp(singles[i].name, name) == 0) {
            *kind = singles[i].kind;
            return &singles[i].entry;
        }
    }
    return NULL;
}
