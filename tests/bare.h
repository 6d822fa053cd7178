/* SPDX-License-Identifier: MIT
 *
 * For tests of the raw form over connected sockets: the kinds of places, and how a plain program gets there.
 */
#ifndef TESTS_BARE_H
#define TESTS_BARE_H

#include "tests/peer.h"

#define BULK ((size_t)3 << 20)

/* Of an address, and of socat's for the same place: a path, or a port. */
struct bare_kind {
    const char *address, *connect, *listen;
    int family, type;
};

extern const struct bare_kind bare_kinds[3], *bare_kind; /* all, and what the test is about */
extern char bare_place[96];
extern unsigned char bulk[BULK], buffer[BULK];

#define ON(test, name, number)                                                                                         \
    { #test " " name, test, NULL, NULL, (void *)(uintptr_t)&bare_kinds[number] }
#define UNIX(test) ON(test, "stream", 0), ON(test, "seqpacket", 1)
#define ALL(test) UNIX(test), ON(test, "tcp", 2)

void bare_use(void **state); /* that kind, at a place where nobody is */
void bare_fill(void);        /* bulk, with a pattern */
int bare_call(void);         /* a connection by hand */

#endif
