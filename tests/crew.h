/* SPDX-License-Identifier: MIT
 *
 * For tests of one end that has many peers, over every kind of connection.
 */
#ifndef TESTS_CREW_H
#define TESTS_CREW_H

#include "tests/peer.h"

/* Makes crew_address of a kind ("unix path", …, the state of a test) and options, which may be NULL. */
extern char crew_address[200];
void crew_at(const char *kind, const char *options);

/* Opens an end there. */
thirl *crew_open(enum thirl_role);

/* Only the tests that the first argument of the program names; where there is little time, none over what is another one's twin. */
void crew_filter(int argc, char **argv);

/* Closes them, without waiting. */
void crew_close(thirl **ends, unsigned count);

/* Sends message number so of that many bytes, at least 8, within that time; what thirl_send said. */
int crew_send(thirl *, uint64_t number, size_t size, thirl_time until);

struct crew_message {
    uint64_t number, lost;
    bool again;
};

/* Takes one, looks at all of its bytes, and frees it; what thirl_take said. */
int crew_take(thirl *, struct crew_message *, thirl_time until);

/* The same for one that must come. */
struct crew_message crew_next(thirl *);

/* What is lost, by the list, in this process's ends of that role. */
uint64_t crew_lost(const char *role);

#if defined(__SANITIZE_ADDRESS__) /* a stream by path and by name is the same code */
#define CREW_OVER_ALL(test)                                                                                            \
    {#test " unix abstract", test, NULL, NULL, (void *)(uintptr_t) "unix://@%s/s"},                                    \
        {#test " seqpacket", test, NULL, NULL, (void *)(uintptr_t) "unix://%s/s?type=seqpacket"}, {                    \
#test " tcp", test, NULL, NULL, (void *)(uintptr_t) "tcp://127.0.0.1:%u"                                       \
    }
#else
#define CREW_OVER_ALL(test)                                                                                            \
    {#test " unix path", test, NULL, NULL, (void *)(uintptr_t) "unix://%s/s"},                                         \
        {#test " unix abstract", test, NULL, NULL, (void *)(uintptr_t) "unix://@%s/s"},                                \
        {#test " seqpacket", test, NULL, NULL, (void *)(uintptr_t) "unix://%s/s?type=seqpacket"}, {                    \
#test " tcp", test, NULL, NULL, (void *)(uintptr_t) "tcp://127.0.0.1:%u"                                       \
    }
#endif

#endif
