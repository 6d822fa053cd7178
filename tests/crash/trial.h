/* SPDX-License-Identifier: MIT
 *
 * One trial: a victim that is killed or stopped at a named point of a scenario, a survivor that must be told and must have
 * every message, and a fresh peer that takes the victim's place. All three are processes of their own; the board is the
 * memory that they and their parent share.
 */
#ifndef TESTS_CRASH_TRIAL_H
#define TESTS_CRASH_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define TRIAL_POINTS 512 /* places at which points stand */

/* A survivor knows by then. A sanitizer looks at the code that is passed, not at the moment: with it everything takes long. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define TRIAL_TOLD_NS (500 * CLOCK_MS)
#else
#define TRIAL_TOLD_NS (100 * CLOCK_MS)
#endif

enum trial_flow {
    TRIAL_OUT,  /* the victim sends */
    TRIAL_IN,   /* the victim receives */
    TRIAL_ECHO, /* the victim answers each message */
    TRIAL_HALF, /* the victim gives up a message that is half on its way, and closes */
};

struct trial_scenario {
    const char *name, *address; /* %s in the address: the directory of the trial; a host of its own, a name for mq */
    enum trial_flow flow;
    unsigned messages;
    bool first;  /* the victim opens first */
    bool last;   /* and closes last */
    bool corpse; /* a process was killed before that had the address and another one open */
    bool brisk;  /* nobody pauses */
};

/* Forked: a child has all that the victim has, does nothing, and outlives it; the victim goes on, or is killed. */
enum trial_action {
    TRIAL_NONE,
    TRIAL_KILL,
    TRIAL_STOP,
    TRIAL_STOP_KILL,
    TRIAL_FORK,
    TRIAL_FORK_KILL,
    TRIAL_ACTIONS,
};

extern const char *const trial_actions[TRIAL_ACTIONS];

struct trial_result {
    bool hit;       /* the victim came to that point */
    bool slow;      /* all went well, but the survivor was told late */
    bool told;      /* the survivor was told of a death */
    int64_t notice; /* how long after the kill, ns; where the victim killed itself: after its parent knew */
    unsigned timeouts;
    char failure[400];             /* "": none */
    unsigned passes[TRIAL_POINTS]; /* of the victim, at each place */
};

/* Runs one trial in the empty directory of that path (also the registry). point NULL: nothing happens to the victim. Leaves the
 * directory empty, or says in failure what was left there. */
void trial_run(const struct trial_scenario *, const char *directory, const char *point, unsigned pass,
               enum trial_action, struct trial_result *);

#endif
