/* SPDX-License-Identifier: MIT
 *
 * Members of channels: joining as a mechanism does it, in this process and in guests, for the tests of roll.c.
 */
#ifndef TESTS_MEMBER_H
#define TESTS_MEMBER_H

#include <stdio.h>

#include "include/thirl/thirl.h"
#include "mem/roll.h"
#include "tests/room.h"

/* In memory that all processes of a test share: how many guests have joined, that they may go, the node of the last. */
struct member_board {
    uint32_t ready, go, arrived[2];
    uint64_t id;
};
extern struct member_board *member_board;

extern struct node_end *member_line; /* of this process, once it has joined the registry */
extern const char *member_name;      /* of the channel that guests join: "x" */
extern unsigned member_mode;         /* with which channels are joined: 0600 */

/* The setup of a group, and of each test: the registry is empty. */
int member_begin(void **state);
int member_clear(void **state);

/* Makes the registry one for all users, and the umask none. 0 or 1. */
int member_open_to_all(void);

/* Waits until the word has reached the value; false when that takes longer than 20 s. */
bool member_wait(const uint32_t *word, uint32_t value);

/* Makes the files that roll_finish gives their names. */
int member_files(const struct roll *);

int member_join_within(struct roll *, const char *name, enum roll_pattern, bool writes, bool reads, int64_t ns);
int member_join(struct roll *, const char *name); /* a pair, with time enough */
void member_leave(struct roll *);

int member_entries(const char *name); /* in the directory of that channel */

/* Forks a guest that joins; answers when it has. -1 when it does not. */
pid_t member_invite(void);

/* Each test does its work in a child: a process joins the registry once, and here it is emptied each time. */
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());            \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

#define IN_A_CHILD(name)                                                                                               \
    static void name(void **state) {                                                                                   \
        (void)state;                                                                                                   \
        assert_int_equal(room_run(do_##name, NULL), 0);                                                                \
    }

#endif
