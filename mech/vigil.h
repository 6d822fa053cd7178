/* SPDX-License-Identifier: MIT
 *
 * ?deadline=: who receives is told when nothing was said for so long, and who sends has counted how often it kept its own peers
 * waiting. Around any mechanism, of either end alone: nothing of it is on the way.
 *
 * IN: the time runs from the opening, and anew from each message that comes, also from one that is damaged or too old. When it has passed
 * the receive that would have waited, or found nothing, answers -THIRL_ESILENT with a sentence, once; that is counted, and the
 * time runs anew. What has come is received first. It is the end's time, whoever of several it is that speaks. OUT: the send that ends a
 * silence counts the deadlines that passed in it. Calls have deadlines of their own, and there it is refused.
 */
#ifndef MECH_VIGIL_H
#define MECH_VIGIL_H

#include "mech/mech.h"

/* Puts it around *mech. 0, or an error and *mech is what it was. */
int vigil_wrap(const struct mech **mech, const char *address);

#endif
