/* SPDX-License-Identifier: MIT
 *
 * Which mechanism when: all of them, ranked for a wish. What cannot do it loses by what the mechanism itself claims, and by how far it reaches;
 * the others are put in order by what they cost. Opens nothing, and waits for nobody.
 */
#ifndef MECH_GRADE_H
#define MECH_GRADE_H

#include "include/thirl/advise.h"
#include "mech/costs.h"
#include "mech/mech.h"
#include "wire/addr.h"

/* A mechanism as it can be advised: one of the table, or a form of it. */
struct grade_kind {
    enum costs_mech cost;
    const char *scheme;
    uint32_t type;          /* enum thirl_socket_type, for ?type= */
    const char *near, *far; /* the address of one user's, and of others', with %s for the name */
    uint32_t reach;         /* a bit for each enum thirl_across */
    const char *bounded;    /* why it reaches no farther */
    unsigned burden;        /* how much it asks for; 0: a name and nothing else */
    const char *asks;
    bool heir;  /* only a child can have the other end */
    bool named; /* a name in the registry is enough to find it: auto:// may choose it */
};

struct grade_line {
    const struct grade_kind *kind;
    const struct mech *mech; /* the one that carries the role */
    bool fits, known, in_place;
    bool serial; /* per_second is what comes out one after the other, where nobody has measured many at once */
    unsigned copies;
    double p50, p99, per_second, cpu; /* 0: not known */
    double key;                       /* what counts, the less the better */
    char address[ADDR_MAX];
    char reason[320];
};

struct grade {
    struct thirl_wish wish; /* complete: nothing in it is 0 that means something else */
    struct costs costs;
    struct grade_line line[COSTS_MECH_COUNT]; /* the best first */
};

/* 0; -EINVAL, -THIRL_EVERSION: the wish cannot be; -ENOMEM. Pairs with grade_free. */
int grade_all(struct grade *, const struct thirl_wish *);
void grade_free(struct grade *);

/* The line of what is best where a name is all that both sides have: where nothing was measured here, the first in the order of the table. NULL:
 * none can do it. */
const struct grade_line *grade_named(const struct grade *);

/* Why that one stands where it does. */
const char *grade_reason(const struct grade *, enum costs_mech);

#endif
