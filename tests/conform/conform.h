/* SPDX-License-Identifier: MIT
 *
 * The conformance suite: every test runs over every address of one table, conform_lines. A test is a function that gets a
 * process of its own (the stage), with a registry and a directory of its own; what it starts are peers, forked before
 * anything is opened. Whatever hangs is killed after a while and counts as failed. What a test demands it says with must…:
 * a demand that is not met ends the process with a sentence.
 */
#ifndef TESTS_CONFORM_CONFORM_H
#define TESTS_CONFORM_CONFORM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "include/thirl/thirl.h"

#define MS INT64_C(1000000)
#define PATIENCE                                                                                                       \
    thirl_in_ms(20000) /* for what will come: longer than any machine sleeps, shorter than the stage lives */

/* A mechanism, as the suite sees it: the address is prefix, a name of the test's own (behind its directory if `path`; a port if
 * the prefix ends with a colon, the stage and a signal if it carries events: there it is the stage that watches), suffix. */
struct conform_line {
    const char *name, *prefix;
    bool path;
    const char *suffix;
    unsigned roles; /* the groups of roles that it carries: CONFORM_PAIR … */
};

enum {
    CONFORM_PAIR = 1,
    CONFORM_STREAM = 2,
    CONFORM_QUEUE = 4,
    CONFORM_EVENT = 8,
    CONFORM_CAST = 16,
    CONFORM_CALL = 32,
    CONFORM_MEETS = 64,
    CONFORM_TWIN = 128
}; /* PAIR; WRITE and READ; PUSH and PULL; NOTIFY and WATCH; PUB and SUB; CALL and SERVE; of a PUB: who subscribes is known, and loses nothing
      unless it is asked for. A TWIN of another line: the same code carries it, at an address of another kind; under a wrapper and under a
      sanitizer it says nothing new */

struct conform {
    const struct conform_line *line;
    char directory[160], registry[192];
    pid_t stage;
    char
        with[192]; /* an option for every address, from $CONFORM_WITH: "spy", "hurt", or as it stands there; "": none */
    int trace;     /* where "spy" writes; -1: nowhere */
    unsigned port; /* the first of CONFORM_PORTS that no other test on this machine uses */
};

#define CONFORM_PORTS 128

struct conform_test {
    const char *name;
    void (*body)(struct conform *);
    const char *only; /* for the line of that name, or with a dash at its end those that begin so; NULL: all */
    unsigned roles;   /* it is for the lines that carry all of these */
};

#define CONFORM(body)                                                                                                  \
    { #body, body, NULL, CONFORM_PAIR }
#define CONFORM_FOR(body, roles)                                                                                       \
    { #body, body, NULL, roles }
#define CONFORM_ONLY(body, line)                                                                                       \
    { #body, body, line, 0 }

/* Runs them all; argv[1] may be a pattern for names like "shm sends_every_size". */
int conform_main(const struct conform_test *, size_t count, int argc, char **argv);

/* The address of the test's n-th channel; options may be NULL. Valid until the thread's fourth next call. */
const char *conform_address(const struct conform *, unsigned n, const char *options);

/* Is every end opened with ?crc? Then there are no streams and no events; what is opened with ?raw is without. */
static inline bool conform_sealed(const struct conform *c) {
    return strstr(c->with, "crc") != NULL;
}

/* Is every end opened with ?hurt? Then a try may find nothing without a reason, or half of it. */
static inline bool conform_hurt(const struct conform *c) {
    return strncmp(c->with, "hurt", 4) == 0;
}

/* Opens channel 0 there. */
thirl *conform_open(const struct conform *, enum thirl_role, const char *options);

/* What the mechanism of this line claims without an end; and what an end has. */
struct thirl_limits conform_claims(const struct conform *);
struct thirl_limits conform_limits(thirl *);

/* ---- demands ---- */

void conform_fail(const char *file, int line, const char *text) __attribute__((noreturn));
void conform_names(const struct conform *, pid_t); /* who it is, where it is a process of this host; 0: any */
void conform_compare(const char *file, int line, const char *text, int64_t is, int64_t wanted);
void conform_why(const char *file, int line, const char *part);
void conform_skip(const char *reason) __attribute__((noreturn));

#define must(condition) ((condition) ? (void)0 : conform_fail(__FILE__, __LINE__, #condition))
#define must_be(value, wanted) conform_compare(__FILE__, __LINE__, #value, (int64_t)(value), (int64_t)(wanted))
#define must_say(part) conform_why(__FILE__, __LINE__, part) /* the sentence of the last error holds that */

/* A call with THIRL_NOW that must do it: under hurt its first try may answer -EAGAIN without a reason. */
#define at_once(c, call)                                                                                               \
    ({                                                                                                                 \
        int at_once_rc = (call);                                                                                       \
        at_once_rc == -EAGAIN &&conform_hurt(c) ? (call) : at_once_rc;                                                 \
    })

/* ---- peers ---- */

struct peer {
    pid_t pid; /* of the other process */
    int wire;  /* words to it and from it */
};

/* Starts a process that runs it and ends; there, the peer is the stage. The stage must not have opened anything yet. */
void conform_start(struct peer *, const struct conform *, void (*run)(const struct conform *, struct peer *));

void conform_tell(struct peer *, uint64_t word);
uint64_t conform_hear(struct peer *);

/* It must end by itself, without a complaint. */
void conform_join(struct peer *);

/* kill -9; gone when this returns. */
void conform_kill(struct peer *);

/* This process is killed when it passes that point of base/weave.h for the pass-th time. */
void conform_die_at(const char *point, unsigned pass);

/* ---- content ---- */

/* A pattern that depends on the seed and on the place of every byte. */
void conform_fill(void *data, size_t size, uint64_t seed);
bool conform_intact(const void *data, size_t size, uint64_t seed);

/* How long a full queue may still move on by itself, because there is room elsewhere than here, too; a deadline. */
thirl_time conform_while(const struct conform *);

void conform_send(thirl *, size_t size, uint64_t seed); /* up to 16 MiB, waits */
void conform_recv(thirl *, size_t size, uint64_t seed);

/* ---- this machine ---- */

int64_t conform_now(void); /* CLOCK_MONOTONIC, ns */
void conform_sleep(int64_t ns);
/* How many of `wanted` small messages can wait in that direction, with room to spare. */
unsigned conform_room(thirl *, unsigned wanted);

unsigned conform_lines_of(const char *path);       /* a file's lines, a directory's entries */
unsigned conform_channels(const struct conform *); /* of which something is left in the registry */
bool conform_sanitized(void);

/* Of what is usual as many as it takes: a fifth where each message is a system call, or has a wrapper around it; a tenth under a
 * sanitizer. */
unsigned conform_many(const struct conform *, unsigned usual);

/* Both ends, in this process, and both know each other. */
void conform_both(const struct conform *, unsigned n, const char *options, thirl **a, thirl **b);

/* The same; false: the kernel gives this user no more of what that takes, -EMFILE. */
bool conform_try_both(const struct conform *, unsigned n, const char *options, thirl **a, thirl **b);

#endif
