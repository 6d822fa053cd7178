/* SPDX-License-Identifier: MIT
 *
 * What the kernel carries messages with, as a bare program uses it: two ends that are there before the processes are, and one
 * or as few blocking system calls as can be for each message and side. As thirl's do, each wait ends after MEDIUM_SLICE_NS and is
 * begun again, wherever the kernel has a wait that ends. A new mechanism is one struct medium and one line in floor.h.
 */
#ifndef BENCH_MEDIUM_H
#define BENCH_MEDIUM_H

#include "bench/stage.h"

#define MEDIUM_SLICE_NS 50000000

struct medium {
    /* Makes both ends: what run->fd says for each side, read from [0], written to [1]. 0, or -1 with stage_fail. */
    int (*make)(struct run *);

    /* Sends run->size bytes. */
    int (*put)(struct run *, enum stage_side, const unsigned char *data);

    /* Receives `head` bytes that are the medium's own, and behind them run->size bytes. */
    int (*get)(struct run *, enum stage_side, unsigned char *at);
    size_t head;

    /* In round trips, before get: waits until there is something, where get itself cannot end; else NULL. */
    int (*await)(struct run *, enum stage_side);
    void (*free)(struct run *); /* what outlives its descriptors; may be NULL */
    bool shared;                /* any number of processes may send to one */
};

/* socket.c, tube.c, packet.c, sysv.c */
extern const struct medium medium_stream, medium_seqpacket, medium_datagram, medium_tcp, medium_tcp6, medium_udp;
extern const struct medium medium_pipe, medium_fifo, medium_pipe_endless, medium_fifo_endless;
extern const struct medium medium_mq, medium_sysv, medium_sysv_endless;

#endif
