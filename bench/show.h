/* SPDX-License-Identifier: MIT
 *
 * A survey as a table for people, as Markdown, as CSV and as JSON.
 */
#ifndef BENCH_SHOW_H
#define BENCH_SHOW_H

#include <stdio.h>

#include "bench/survey.h"

void show_table(FILE *, const struct survey *);
void show_markdown(FILE *, const struct survey *);
void show_csv(FILE *, const struct survey *);

/* One object: "environment", and "results" with an object for each cell. Each figure is an object with its value, and `floor` and `ratio` from the
 * same run where there is a bare loop; null is what is not known. */
void show_json(FILE *, const struct survey *);

#endif
