/* SPDX-License-Identifier: MIT
 *
 * auto://NAME: which mechanism it is, decided by the first who opens it and read by all others. Who has it open is a member of the channel
 * %auto.NAME in the registry, beside that of the mechanism itself; what was decided stands there in the file `choice`, for as long as somebody is
 * a member. Nothing of this is in the way of a message: an end of auto:// is an end of what was chosen.
 *
 *     first                                            next
 *     locks the channel, removes what the dead left    waits for the lock
 *     no choice: grades, writes choice~, links it
 *     makes its member's file, lets go  ------------>  reads the choice, makes its member's file
 *     opens what was chosen                            opens the same
 *
 * Killed before the link, the first leaves nothing that counts; behind it, its choice goes with its channel at the next sweep, unless somebody
 * has read it, who is a member then.
 */
#ifndef MECH_AUTO_H
#define MECH_AUTO_H

#include "mech/mech.h"
#include "mem/roll.h"
#include "wire/addr.h"

/* An end's place among those who agree. */
struct auto_seat {
    struct roll roll;
    bool joined;
    char name[ADDR_MAX]; /* as the address has it */
    char over[ADDR_MAX]; /* "shm://camera" */
    char why[256];
};

/* Where *mech is mech_auto: joins, *mech becomes what was chosen, and addr what its open wants. role is one that it carries. 0 or an error; with 0
 * it pairs with auto_leave, and a pattern of topics joins nothing. May block while somebody else is joining, until the time limit of the options. */
int auto_agree(struct auto_seat *, const struct mech **, enum thirl_role, const char *address, struct addr *);

/* When the end of what was chosen is closed. */
void auto_leave(struct auto_seat *);

/* What was chosen for that address, for who has not joined: false where it is no auto:// address, or nothing was. */
bool auto_look(const char *address, char over[ADDR_MAX], char why[256]);

static inline bool auto_is(const struct mech *mech) {
    return mech == &mech_auto;
}

#endif
