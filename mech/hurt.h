/* SPDX-License-Identifier: MIT
 *
 * ?hurt=: faults on purpose, around any mechanism. It breaks no promise of the limits unless it was asked to by name, and then the
 * limits say so; thirl-hurt(7) has the kinds.
 */
#ifndef MECH_HURT_H
#define MECH_HURT_H

#include "mech/mech.h"

/* Puts it around *mech. 0, or an error and *mech is what it was: -EINVAL, what ?hurt= says cannot be understood. */
int hurt_wrap(const struct mech **mech, const char *address, const struct thirl_options *);

#endif
