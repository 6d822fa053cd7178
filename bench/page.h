/* SPDX-License-Identifier: MIT
 *
 * A survey as one page: everything is in it, and it asks no network for anything.
 */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

#include <stdio.h>

#include "bench/survey.h"

void page_write(FILE *, const struct survey *);

#endif
