/* SPDX-License-Identifier: MIT
 *
 * What the tests of single rooms share: a registry of their own, children and how they end, dice.
 */
#ifndef TESTS_ROOM_H
#define TESTS_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Makes an empty directory in memory and names it in THIRL_DIR; for the setup of a group. 0 or -1. */
int room_begin(void **state);
int room_end(void **state); /* removes it with all that is in it */

/* Its path, and an open descriptor of it. */
extern char room_path[64];
extern int room_dir;

/* Runs body(argument) in a forked child that ends with its answer; its pid. The child dies after 30 s. */
pid_t room_fork(int (*body)(void *), void *argument);

/* Waits for a child: its exit status, or 128 + the signal that ended it. */
int room_reap(pid_t);

/* Waits for a child that may stop: it stands for longer than two slices in which others look at a lock, and goes on. Likewise; -1: it had
 * stopped, and all was well with it. */
int room_watch(pid_t);

/* Is that how one may end who has an order to be killed, or to stop, at a point? 0: he did not come by. */
bool room_fated(int status, bool killed);

/* Forks, and waits. */
int room_run(int (*body)(void *), void *argument);

/* Descriptors that this process has open. */
unsigned room_descriptors(void);

/* Entries in a directory below the registry ("" is the registry), without . and ..; -1 when it is not there. */
int room_entries(const char *below);

/* There is little time: what takes long is done less often. By BRIEF=1, as ./test has it. */
bool room_is_brief(void);

/* A number below `below`, from a generator of this thread's own that starts anew for each program. */
uint64_t room_dice(uint64_t below);

void room_sleep(int64_t ns);

/* Memory that is mapped twice in a row, so that records may run over the end; under TSan, which takes two mappings for two
 * memories, once, and twice as large: there they must not. NULL: there is none. */
unsigned char *room_ring(size_t size);

/* The only file of the channels whose name fits: into path. 0, or 1: there is none, or there are several. */
#define ROOM_FILE 300
int room_only(const char *pattern, char path[ROOM_FILE]);

#endif
