/* SPDX-License-Identifier: MIT
 *
 * Operations that a victim goes through beside a peer that lies, for fetch_test.c: what is to be before each, and what must be true of what it gets.
 */
#ifndef TESTS_FETCH_H
#define TESTS_FETCH_H

#include <stdbool.h>

#include "include/thirl/thirl.h"

typedef int (*fetch_task)(void);

struct fetch_step {
    fetch_task task;
    bool his; /* it is the peer's */
};

struct fetch_scene {
    const char *name;
    enum thirl_role mine, its;
    const char *options;          /* of the address */
    struct fetch_step before[10]; /* in this order; all of them must do it */
    fetch_task itself;
    int usual;  /* its answer, when nobody lies */
    bool naive; /* it is made to be found */
};

extern const struct fetch_scene fetch_scene[];
extern const unsigned fetch_scenes;

/* In the victim, once. */
void fetch_begin(void);

/* Both ends are opened as the scene has it, and all that is before it has happened: 0. Otherwise which step of it has failed, from 1, and how. */
int fetch_prepare(const struct fetch_scene *, int *failed);

int fetch_close(void);  /* the victim's end */
void fetch_clear(void); /* and all else */

/* Is that an answer of this operation? */
bool fetch_documented(const struct fetch_scene *, int rc);

/* ---- for the scenes, by fetch_test.c ---- */

/* Has the peer do that: its answer; -ESRCH: it has died of it, and there is another one. */
int fetch_tell(fetch_task);

/* Not so. */
void fetch_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif
