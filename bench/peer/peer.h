/* SPDX-License-Identifier: MIT
 *
 * What a peer has to do to stand beside thirl: two processes, each with one end, and messages there and back. drive.c does the rest, the same for all.
 */
#ifndef BENCH_PEER_PEER_H
#define BENCH_PEER_PEER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct peer {
    const char *name; /* of the table, with what it goes over */

    /* Opens this process's end; the ping side may come before the pong side, or after it. where: a name that nobody else has. */
    int (*open)(int ping, const char *where);

    /* A message, whole, waiting as this library does by default; got: of `size` bytes, which are written to data. 0 or -1. */
    int (*put)(const void *data, size_t size);
    int (*get)(void *data, size_t size);
    int calls; /* each message is a call that waits for its answer: there is no one way */

    /* Once, before all else, or NULL: starts what both go through, see peer_server. where: what each later name begins with, up to a '-'. 0 or -1. */
    int (*begin)(const char *where);
};

extern const struct peer peer;

/* Starts a program that the library goes through, by its name. It is told to end when all has been measured. 0 or -1. */
int peer_server(const char *const words[]);

#ifdef __cplusplus
}
#endif
#endif
