/* SPDX-License-Identifier: MIT
 *
 * What tests of calls share: requests of two words, servers that answer them, and clients that ask.
 */
#ifndef TESTS_CONFORM_QUERY_H
#define TESTS_CONFORM_QUERY_H

#include "tests/conform/conform.h"

#define STOP UINT64_MAX /* a request that ends its server */

/* A request is two words: what is asked, and anything. The answer is what was asked plus one, and who answers. */
struct words {
    uint64_t what, with;
};

struct words query_words(thirl_msg *);
void query_answer(thirl *, thirl_msg **request);
struct words query_call(thirl *, uint64_t what);
uint64_t query_ask(thirl *, uint64_t what);

/* Both ends are this thread's: who serves must look before who calls can go on. */
void query_meet(const struct conform *, thirl *server, thirl *client);

/* Waits until it is known that the caller wants no answer. */
void query_cancelled(thirl_msg *request);

/* Peers: serves until it is asked to stop; takes one request, says so, and waits; calls so often, when it is told to; asks five times,
 * and leaves or stays. */
void query_serve(const struct conform *, struct peer *stage);
void query_hold(const struct conform *, struct peer *stage);
void query_often(const struct conform *, struct peer *stage);
unsigned query_each(void);
void query_leave(const struct conform *, struct peer *stage);

void query_stop(thirl *, struct peer *server);

/* Stops one of several: who has been stopped before may not have left yet. */
void query_stop_one(thirl *);

/* Can there be several servers at this address? */
bool query_shares(const struct conform *);

#endif
