/* SPDX-License-Identifier: MIT
 *
 * What is behind thirl_once: a word that whoever does it owns (sync/owner.h), and that nobody owns ever again when it is done. Memory of
 * zeros is one.
 */
#ifndef SYNC_ONCE_H
#define SYNC_ONCE_H

#include "base/layout.h"
#include "include/thirl/lock.h"
#include "sync/rest.h"

#define ONCE_DONE OWNER_CONDEMNED

struct once {
    uint64_t word;
    uint64_t tag;    /* names it in all processes; 0: nobody has come yet */
    uint32_t thread; /* of the owner: 0 before and after */
    uint32_t zero[3];
};
LAYOUT(once, 32, zero, 20);

/* For a call at that site; as thirl_once_begin. */
int once_begin(struct once *, int64_t until, const void *site);

#endif
