/* SPDX-License-Identifier: MIT
 *
 * Letting go of mapped memory in as few pieces as can be: the kernel makes every processor that the process runs on forget what it
 * knows, once for each munmap, and that is most of what closing an end costs. Its mappings lie side by side, as the kernel lays
 * them; so what a thread lets go of between shed_begin and shed_end goes together.
 */
#ifndef MEM_SHED_H
#define MEM_SHED_H

#include <stddef.h>

/* Lets go of a mapping: at once, or when this thread comes to shed_end. Whole pages are. */
void shed(void *base, size_t size);

/* Pairs may lie within each other; the last end counts. Nothing of what was let go of may be touched in between. */
void shed_begin(void);
void shed_end(void);

#endif
