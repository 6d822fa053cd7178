/* SPDX-License-Identifier: MIT
 *
 * A piece for two processes over any mechanism and in any role: one of them opens an end, does all that can be done with it, and closes; the other
 * one has the role that goes with it, and says beside the channel what has come. What befalls the first is up to the test that plays it; whatever
 * it is, what comes is whole, in order, and once.
 */
#ifndef TESTS_CONFORM_PLAY_H
#define TESTS_CONFORM_PLAY_H

#include "tests/conform/conform.h"

#define PLAY_SMALL 40
#define PLAY_LARGE 30000
#define PLAY_HURT 60     /* ms, the deadline of a call while something fails */
#define PLAY_WHOLE 20000 /* ms, for what must succeed */

struct play_group {
    const char *name;
    enum thirl_role mine, theirs;
    bool many;           /* the first subscribes to all topics of a pattern */
    const char *options; /* of its address */
};

struct play_scene {
    char name[64]; /* "unix-path pair first" */
    const struct conform_line *line;
    const struct play_group *group;
    bool first; /* it opens first */
};

/* One of the first kind, from its opening to its end. */
struct play_pass {
    thirl *end;
    bool whole, calm;     /* nothing fails: all must succeed, in the end; or at once */
    bool joins;           /* the other one keeps its end, if it has one, before and behind this */
    bool *armed;          /* true while the library is in a call that may fail; NULL: nobody wants to know */
    int failures, others; /* of calls; those that did not only wait in vain */
    uint32_t number, last;
    uint32_t sent, heard; /* the last one that was sent without an error, and that the other one said it had got */
    char bytes[PLAY_LARGE];
};

/* Of the other one: what it was told of a death, since play_forget. */
struct play_told {
    int rc;
    char why[300];
};

/* A scene of that group, by its name ("pair", "pull" …); false: it cannot be played so. */
bool play_find(struct play_scene *, const struct conform *, const char *group, bool first);

/* Starts the other one, for that scene and all that follow before play_over, which is its exit status. */
void play_begin(const struct conform *, const struct play_scene *);
int play_over(void);

void play_run(struct play_pass *);

/* All groups, and those tests of them: each is a function of that name that calls play_both. */
#define PLAY_GROUPS(X)                                                                                                 \
    X(pair) X(writer) X(reader) X(push) X(pull) X(pub) X(sub) X(call) X(serve) X(notify) X(watch) X(pattern) X(block)
#define PLAY_TESTS                                                                                                     \
    CONFORM_FOR(pair, CONFORM_PAIR), CONFORM_FOR(writer, CONFORM_STREAM), CONFORM_FOR(reader, CONFORM_STREAM),         \
        CONFORM_FOR(push, CONFORM_QUEUE), CONFORM_FOR(pull, CONFORM_QUEUE), CONFORM_FOR(pub, CONFORM_CAST),            \
        CONFORM_FOR(sub, CONFORM_CAST), CONFORM_FOR(call, CONFORM_CALL), CONFORM_FOR(serve, CONFORM_CALL),             \
        CONFORM_FOR(notify, CONFORM_EVENT), CONFORM_FOR(watch, CONFORM_EVENT), CONFORM_ONLY(pattern, "shm-cast"),      \
        CONFORM_ONLY(block, "shm-cast"), CONFORM_ONLY(block, "cast-unix")

/* Plays the scene where the first opens second, and the one where it opens first, but what the file of `done` has; all must be well. */
void play_both(const struct conform *, const char *group, const char *done, struct play_scene *, bool (*play)(void));

/* Has the other one got what that pass sent last? It has so many ms. Of a stream and of events: yes. */
bool play_arrived(const struct play_pass *, int ms);

/* How many descriptors the other one has. */
unsigned play_descriptors(void);

const struct play_told *play_told(void);
void play_forget(void);

/* Files of the test, and queues of the kernel. */
unsigned play_files(void);

/* In the file that the environment names so, if it does: is there that line; and puts it there. */
bool play_is_done(const char *variable, const char *line);
void play_note(const char *variable, const char *line);

#endif
