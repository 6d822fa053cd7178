/* SPDX-License-Identifier: MIT
 *
 * What people and programs get to see: a table for each plan, one Markdown table for several, JSON, single lines.
 */
#ifndef BENCH_PRINT_H
#define BENCH_PRINT_H

#include <stdio.h>

#include "bench/measure.h"

void print_table(const struct report *);

void print_markdown_head(void);
void print_markdown(const struct report *); /* only what is compared with a floor */

/* The caller writes "[" before the first and "]" behind the last; first: no comma in front. */
void print_json(FILE *, const struct report *, bool first);

void print_time(char text[24], double ns);     /* "629 ns", "1.05 us" */
void print_size(char text[24], uint64_t size); /* "64 B", "4 KiB" */
void print_text(FILE *, const char *text);     /* as a JSON string */

/* "name p50 123.4 ns p99 234.5 ns", "name rate 7.25 GiB/s" */
void print_line(const char *name, enum measure_kind, const struct sample *, size_t size);

#endif
