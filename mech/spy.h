/* SPDX-License-Identifier: MIT
 *
 * ?spy=: a line for every operation of an end, each with one write(2), into a file or a descriptor. The format is in
 * thirl-spy(7). Only what chan asks of the mechanism is seen, and nothing of what messages hold.
 */
#ifndef MECH_SPY_H
#define MECH_SPY_H

#include "mech/mech.h"

/* Puts it around *mech. 0, or -ENOMEM and *mech is what it was. */
int spy_wrap(const struct mech **mech);

#endif
