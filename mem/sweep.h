/* SPDX-License-Identifier: MIT
 *
 * Cleaning up after the dead, in the whole registry. Done at each open; may be interrupted anywhere and done again; several
 * may do it at once. Never touches what belongs to the living.
 */
#ifndef MEM_SWEEP_H
#define MEM_SWEEP_H

/* Removes what dead processes left in every channel, and then their nodes. What cannot be done now is left to the next. */
void sweep_dead(void);

#endif
