/* SPDX-License-Identifier: MIT
 *
 * This process in the registry: one file node/<id>, made when the first end opens, with its identity, a record lock that is
 * held for life, life words, and a line for each open end, which `thirl list` reads. Other processes map it read-only. The
 * registry directory is found and made here too.
 *
 * An id is never used twice: its upper half is proc_number, so that a process knows its own nodes by name and never opens
 * them a second time (closing that descriptor would drop the lock), and its lower half is random; the lowest 16 bits are 0, so that a
 * lock keeps its state in one word with the id of its holder.
 */
#ifndef MEM_NODE_H
#define MEM_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/layout.h"
#include "base/proc.h"

#define NODE_ADDRESS_MAX 320
#define NODE_PEER_MAX 96
#define NODE_NAME_MAX 17 /* an id in hexadecimal, with its NUL */

enum node_end_state { NODE_END_FREE, NODE_END_WAITING, NODE_END_LINKED, NODE_END_CLOSED };

#define NODE_ROLE_LOCK 67
#define NODE_ROLE_CACHE 66
#define NODE_ROLE_AREA 65
#define NODE_ROLE_STATE 64 /* beside enum thirl_role: lines of what is no end */

/* One end's line. Written by its own process only; whoever reads it elsewhere may see it change. The two counter groups
 * have cache lines of their own, because the two ways of an end write them at the same time. */
struct node_end {
    uint32_t state; /* enum node_end_state */
    uint32_t role;  /* enum thirl_role */
    uint64_t queue;
    uint64_t pool, reserved; /* bytes: how large its pool may grow, and is */
    uint64_t wanted;         /* a message of that size waits for a place in the pool; 0: none does */
    char address[NODE_ADDRESS_MAX];
    uint64_t whom;            /* the peer's process, where there is one: its id, or its pid * 65536 + 1 */
    char peer[NODE_PEER_MAX]; /* "pid 123 (name)" or "127.0.0.1:80", "" while there is none */
    LINE_ALIGNED struct node_count {
        uint64_t messages, bytes, waits, wakes;
        uint64_t lost;        /* messages that never became whole, or, where that is known, never came */
        uint64_t refused;     /* packets that were not thirl's, or lied, and messages that were damaged */
        uint64_t late, twice; /* packets that came out of order, and again: where they are numbered */
        uint64_t held,
            holds; /* bytes and messages of the pool: in, that this end holds; out, that receivers held when it was full */
        uint64_t expired;  /* messages that were older than their lifespan */
        uint64_t silences; /* times that a deadline passed with nothing said */
    } out;
    LINE_ALIGNED struct node_count in;
};
LAYOUT(node_end, 768, in, 640);

/* Takes a line for an end and fills address and role; state becomes WAITING. Joins the registry first when this process has
 * not yet. Where the registry cannot be used and need is false, the line is private memory that nobody sees.
 * 0, or an error that names the directory and what to do. May block on the file system. */
int node_end_take(struct node_end **, const char *address, uint32_t role, bool need);
void node_end_free(struct node_end *);

/* Joins the registry without an end, unless this process has. 0, or an error. */
int node_join(void);

/* Notes the peer for the list, and the state that goes with it: LINKED, or WAITING when name is "". pid is 0 where the name says
 * all. */
void node_end_peer(struct node_end *, int64_t pid, const char *name);
/* And that it is that node. */
void node_end_whom(struct node_end *, uint64_t id);
/* Its name alone, all bytes of it. */
void node_end_name(struct node_end *, const char who[NODE_PEER_MAX]);

/* A copy of the peer's name, for threads that are not under the gate of its way. */
void node_end_who(const struct node_end *, char who[NODE_PEER_MAX]);

/* Makes a directory in it that all channels share, if it is not there: this user's with those bits besides, and its group's where the
 * registry has the set-group-ID bit. 0 or -errno. */
int node_make_dir(const char *name, unsigned wider);

/* The registry directory, open, or an error; and this process's id, 0 before it joined. */
int node_dir(void);
uint64_t node_id(void);

void node_name(char name[NODE_NAME_MAX], uint64_t id);
bool node_parse(const char *name, size_t length, uint64_t *id);

/* Is the process of that node alive? Asks the kernel for its record lock; no timeout and no signal is involved. A node that
 * is not in the registry is dead. About a microsecond. */
bool node_alive(uint64_t id);

/* A word that the kernel changes, and wakes one sleeper of, when this process ends (or the thread that first needed that
 * word: then it says nothing any more). One of 64, chosen by number. NULL where the C library has no robust mutexes. */
const uint32_t *node_life_word(uint32_t number);

/* Another node, as an end that depends on its life holds it. */
struct node_peer {
    uint64_t id;
    int64_t pid; /* as it sees itself */
    uint32_t uid, gid;
    uint64_t pid_space;
    int fd;
    uint32_t life_value;
    const uint32_t *life; /* its life word for me, or NULL; see node_peer_look */
    int64_t doubt;        /* it may be ending, until then (CLOCK_MONOTONIC, ns); 0: no */
    void *map;
    char exe[256];
};

/* Fills in and maps the node of an end with that number. 0, -ESRCH when it is dead, or an error. */
int node_peer_open(struct node_peer *, uint64_t id, uint32_t number);
void node_peer_close(struct node_peer *);

/* Goes on without a descriptor of its own: for those who know very many. Asking for its life costs three system calls then. */
void node_peer_lean(struct node_peer *);

/* Is it alive? Asks the kernel, and forgets a life word that has become useless. */
bool node_peer_alive(struct node_peer *);

/* Has the life word changed? Then node_peer_alive is worth its price. */
static inline bool node_peer_changed(const struct node_peer *peer) {
    return peer->life != NULL && atomic_peek(peer->life) != peer->life_value;
}

/* Does it seem to be ending? A life word changes first when a process ends, and its lock is released when its memory is
 * gone, some milliseconds later: in between, and for a while when only the thread ended, node_peer_alive is asked again and
 * again. */
static inline bool node_peer_doubtful(const struct node_peer *peer) {
    return node_peer_changed(peer) || peer->doubt != 0;
}

/* Every node file but this process's own: its id, and whether it is alive; until seen returns nonzero, and returns that. */
int node_each(int (*seen)(void *context, uint64_t id, bool alive), void *context);

/* The same of so many of them, from any one on: not everybody who comes asks everybody who is there. */
int node_some(unsigned most, int (*seen)(void *context, uint64_t id, bool alive), void *context);

/* Removes the file of a dead node. */
void node_remove(uint64_t id);

/* This process leaves something behind in the registry: when it ends its node is found dead, and swept with that. */
void node_stay(void);

/* One open end of some process; end is a copy. Ordered by address. */
struct node_line {
    const struct node_end *end;
    int64_t pid;
    const char *exe;
    bool alive;
};
int node_list(int (*seen)(void *context, const struct node_line *), void *context);

struct thirl_peer;

/* Who that is, for thirl_peer: as this process sees it. */
void node_describe(const struct node_peer *, struct thirl_peer *);

#endif
