/* SPDX-License-Identifier: MIT
 *
 * For tests of unix:// between processes: a directory of their own, the kinds of addresses, and children that check.
 */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

#include "include/thirl/thirl.h"

#define LONG thirl_in_ms(8000) /* more than anything here takes, on a busy machine too */

/* In children: says what failed and ends with a status that peer_reap refuses. */
#define must(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());                          \
            _exit(99);                                                                                                 \
        }                                                                                                              \
    } while (0)

#define ok(call) must((call) == 0)

extern char peer_directory[64], peer_path[96], peer_address[160];
extern const char *const peer_kinds[4]; /* stream by path, abstract; seqpacket by path, abstract */

int peer_setup(void **state); /* of a group */
int peer_teardown(void **state);

void peer_use(const char *kind); /* makes peer_address from it */
pid_t peer_start(void (*run)(void));
void peer_reap(pid_t);
void peer_slay(pid_t);
thirl *peer_open(enum thirl_role);

/* A child that sends the bytes 0, 1, 2 and stops itself; one that sends one byte and waits for a close. */
void peer_three_then_stop(void);
void peer_wait_for_end(void);

#if defined(__SANITIZE_ADDRESS__) /* abstract names are other names, and no other code */
#define OVER_ALL(test)                                                                                                 \
    {#test " stream path", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[0]}, {                                      \
#test " seqpacket abstract", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[3]                                \
    }
#else
#define OVER_ALL(test)                                                                                                 \
    {#test " stream path", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[0]},                                        \
        {#test " stream abstract", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[1]},                                \
        {#test " seqpacket path", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[2]}, {                               \
#test " seqpacket abstract", test, NULL, NULL, (void *)(uintptr_t)peer_kinds[3]                                \
    }
#endif

#endif
