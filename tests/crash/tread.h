/* SPDX-License-Identifier: MIT
 *
 * An operation of one end of a channel that is trodden through: a victim is led up to any of its events or instructions and killed there, and the survivor,
 * which is the process that leads it and has the other end open, must be told, must have every message, and must be able to go on with a fresh peer.
 */
#ifndef TESTS_CRASH_TREAD_H
#define TESTS_CRASH_TREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "include/thirl/thirl.h"
#include "tests/crash/talk.h"

enum tread_who { TREAD_VICTIM = 1, TREAD_SURVIVOR, TREAD_FRESH };

enum tread_told {
    TREAD_NOT,   /* of such a death nobody is told there */
    TREAD_HEARS, /* when it receives */
    TREAD_SAYS,  /* when it sends */
    TREAD_MAY,   /* it may be, when it receives: they had not met for sure, or one that closed is not told of */
};

/* Each part answers 0 when all is well, and says on standard error what is not. They are called in this order, but for behind in that process which the
 * column says. */
struct tread {
    const char *name, *address, *theirs; /* theirs: the survivor's address, where it is another one */
    enum thirl_role role, other;         /* the victim's, the survivor's */
    enum tread_told told;
    unsigned sends; /* messages that the operation sends, or bytes */
    int (*given)(
        void); /* survivor: when both are open; the victim waits meanwhile. NULL: nothing, as for each of these */
    int (*before)(void); /* victim */
    int (*met)(void);    /* survivor */
    int (*itself)(void); /* victim: the operation */
    int (*behind)(void); /* survivor, before a fresh peer comes: that messages are where they belong */
    bool joins;          /* the operation opens the victim's end */
    bool leaves;         /* it closes it */
    bool polls;          /* the survivor has a descriptor for its event loop, which must tell that something came */
    bool asleep;         /* the survivor sleeps meanwhile, in another thread, and hears what comes */
};

extern thirl *tread_end;  /* of the victim, in its process */
extern thirl *tread_mine; /* of the survivor */
extern thirl
    *tread_fresh; /* of who takes the victim's place, in the survivor's process; opened by whoever needs it first */

/* What all know of one trial. */
struct tread_scene {
    uint64_t sent;     /* by the victim, so that its calls have returned */
    uint64_t got;      /* of it, by the survivor */
    uint32_t returned; /* the operation did */
};
extern struct tread_scene *tread_scene;

#define TREAD_CHECK(condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            (void)fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #condition, thirl_why());            \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* One message with talk's marks, received by copy, by calls for many or in place in turn; a large one as well, and a job is done. */
int tread_get(thirl *, struct talk *, thirl_time until);

/* The survivor gets so many messages of the victim, in order. */
int tread_hear(unsigned count);

/* The survivor is told, just now, that the victim is gone: is it named? */
int tread_told(void);

/* Of a stream, the byte at that place. */
unsigned char tread_byte(uint64_t at);

#define TREAD_LARGE 4200 /* bytes of a message that lies in the pool */
size_t tread_write_large(void *message, uint32_t conversation, uint64_t number);

/* The fresh end is open, or 1. */
int tread_renew(void);

struct tread_figures {
    unsigned instructions, stores, calls; /* of the operation */
    unsigned kills, late;                 /* late: once, and in time when it was tried again */
    int64_t slowest;                      /* time until the survivor was told */
};

/* Kills at each event, or at `sample` of them, evenly; 0: at each. by_instruction: and at each instruction, too. In the end nothing is left of anybody. 0, 1, or -1: nobody
 * can be traced here. */
int tread_through(const struct tread *, unsigned sample, bool by_instruction, struct tread_figures *);

#endif
