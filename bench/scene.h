/* SPDX-License-Identifier: MIT
 *
 * The machine that figures are of, and what happened to it meanwhile: without that they mean nothing elsewhere, nor tomorrow.
 */
#ifndef BENCH_SCENE_H
#define BENCH_SCENE_H

#include <stdint.h>

struct scene {
    char cpu[100];     /* the processor's model */
    char kernel[100];  /* release and machine */
    char governor[80]; /* of its clock; "not visible" in most virtual machines */
    char when[32];     /* when it began, ISO 8601, UTC */
    char shared[80];   /* "sharing L3": the first level of cache that the two processors share */
    int processors;    /* that this process may run on */
    double load;       /* of the last minute, at the beginning */
    double steal;      /* part of the processors' time that others of the host had meanwhile, 0 to 1 */
    double line
        [2]; /* ns for a line of cache there and back, least and most: the regime of the cores; 0 on one processor */
    double seconds;     /* how long it took */
    uint64_t stolen[2]; /* ticks of /proc/stat at the beginning: stolen, and all */
    int64_t begun;
};

void scene_begin(struct scene *);
void scene_end(struct scene *);

#endif
