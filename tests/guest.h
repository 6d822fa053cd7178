/* SPDX-License-Identifier: MIT
 *
 * Guests: forked processes that join the registry for the tests of mem/, and stay there until they are killed.
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include "mem/node.h"
#include "tests/room.h"

/* What a guest tells of itself, and what it is told; in memory that all processes of a test share. */
struct guest_board {
    uint64_t id;
    uint32_t ready, go;
};
extern struct guest_board *guest_board;

/* The setup of a group (room_begin, and the board), and of each test: it finds a registry without nodes. */
int guest_begin(void **state);
int guest_clear(void **state);

/* Waits until the word is not 0; false when that takes longer. */
bool guest_wait(const uint32_t *word, int64_t ns);

/* A line of this process, which joins for it; NULL when it cannot. */
struct node_end *guest_take(const char *address);

/* A guest's body: joins, takes the life word with the number that the argument points to, stays until told to go. */
int guest_stay(void *number);

/* Forks a guest and waits until it is ready. Kills one, stopped or not, and waits for its end. */
pid_t guest_invite(int (*body)(void *), void *argument);
void guest_kill(pid_t);

/* Removes the file of the guest that died last. */
void guest_bury(void);

/* For node_each: counts in unsigned[2] how often the guest on the board is there, and alive; removes the dead. */
int guest_count(void *count, uint64_t id, bool alive);
int guest_sweep(void *nothing, uint64_t id, bool alive);

#endif
