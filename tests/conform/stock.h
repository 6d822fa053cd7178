/* SPDX-License-Identifier: MIT
 *
 * What tests of queues share: what a line can, what its queues have lost, and what they leave in the kernel.
 */
#ifndef TESTS_CONFORM_STOCK_H
#define TESTS_CONFORM_STOCK_H

#include "tests/conform/conform.h"

/* What the line cannot do it says itself: then there is nothing to try. */
void stock_need(bool claimed, const char *why_not);

/* Do its ends know each other? Then the one sender waits until what it sent is finished. */
bool stock_meets(const struct conform *);
#define STOCK_ONE_LISTENS "its one publisher listens, and others come and go: see crier_test and hub_test"

/* Nothing more comes, whether or not the sender is still there. */
void stock_ends(thirl *, const struct conform *);

/* For thirl_list: adds what this process's ends have lost to the uint64_t. */
int stock_lost(void *, const struct thirl_seen *);

/* What is left, as thirl_left says: of how many channels, together, and one of their addresses. */
struct stock_left {
    unsigned count;
    uint64_t messages, ends;
    char address[320];
};

struct stock_left stock_left(void);

/* Does what was sent wait for a receiver who comes later, without a sender? stock_is_kept joins the registry, stock_keeps lets a
 * process of its own do that: the stage stays a stranger there. Where nothing is kept, what is sent waits for a receiver, or is
 * lost. */
bool stock_is_kept(const struct conform *);
bool stock_keeps(const struct conform *);

/* What the ends of this process have refused, by the registry. */
uint64_t stock_refused(void);

#endif
