/* SPDX-License-Identifier: MIT
 *
 * Messages of calls over connections: put together with their slip (wire/slip.h) in a buffer that grows and is used again, and taken
 * apart where they were received.
 */
#ifndef MECH_LETTER_H
#define MECH_LETTER_H

#include "mech/link.h"
#include "mech/mech.h"
#include "wire/slip.h"

/* One end's. */
struct letter {
    unsigned char *data;
    size_t room;
    bool serves;
};

void letter_free(struct letter *);

/* Sends it over that connection, whole, without waiting, and belongs to the way out. *done is 0 at first. 0; -EAGAIN: with *done 0
 * nothing has left, otherwise it counts as sent, but a part is kept: call again to push that. Other errors as link_send has them, and
 * -EMSGSIZE with a sentence. */
int letter_send(struct letter *, struct link *, const char *address, const void *data, size_t size, size_t *done,
                const struct mech_note *);

/* What was received, *size bytes of it: *size is the payload's then, and the note filled but for whom. 0, or -THIRL_EFORMAT with a sentence:
 * it is damaged, or no message that this end may be sent. */
int letter_open(const struct letter *, const void *data, size_t *size, struct mech_note *);

/* It is over: fills the note. rc is what a receive has answered. */
void letter_gone(const struct letter *, const char *address, const struct link *, int rc, struct mech_note *);

#endif
