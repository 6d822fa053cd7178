/* SPDX-License-Identifier: MIT
 *
 * A mechanism around another: chan calls the slots of the outer one, which call those of the inner one. Made for one end and
 * given back with it, so that ends without one pay nothing. spy and hurt are such; table.c puts them on.
 */
#ifndef MECH_WRAP_H
#define MECH_WRAP_H

#include "mech/mech.h"

/* What the state of a wrapper begins with. */
struct wrap {
    const struct mech *inner;
    void *inside; /* the inner one's state, behind the wrapper's own */
};

/* Makes a mechanism that is as `inner` and passes every slot on, but for open, which the caller sets; a slot that inner does not
 * have stays NULL. own is the size of the wrapper's own state. NULL, with a sentence: no memory. mech_unwrap gives it back. */
struct mech *wrap_make(const struct mech *inner, size_t own);

/* First in the outer one's open: fills the struct wrap at self. The copy is what the inner one's open gets. */
void wrap_begin(void *self, size_t own, const struct mech_open *open, struct mech_open *copy);

/* The slots that only pass on, for those who want most of them: inside of self, inner of self. */
int wrap_flush(void *self, uint64_t *left);
void wrap_limits(void *self, struct thirl_limits *);
void wrap_close(void *self);
void wrap_deinit(void *self);

/* For those who may have something to answer that the inner one knows nothing of: a descriptor that is readable while the inner one's is,
 * or while it is rung. Of the way IN, under its gate. */
struct wrap_bell {
    int epoll, bell; /* -1: not made */
};
void wrap_bell_init(struct wrap_bell *);
int wrap_bell_make(struct wrap_bell *, int inner, const char *address); /* 0 or an error; then wrap_bell_close */
void wrap_bell_ring(struct wrap_bell *, bool on);                       /* nothing, where it is not made */
void wrap_bell_close(struct wrap_bell *);

#endif
