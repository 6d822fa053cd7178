/* SPDX-License-Identifier: MIT
 *
 * Addresses that nobody uses: each run has its own.
 */
#ifndef BENCH_WHERE_H
#define BENCH_WHERE_H

#define WHERE_MAX 320

/* The scheme, what is fresh (a name, behind a colon a port, in pipe:// nothing), and the options; without options (NULL) the scheme is the whole
 * address. */
void where_fresh(char address[WHERE_MAX], const char *scheme, const char *options);

#endif
