/* SPDX-License-Identifier: MIT
 *
 * ?crc and ?lifespan for calls: what stands behind every request and every answer, put there by the end that sends it and taken off by the
 * one that receives it:
 *
 *     | the message | its stamp (mech/stamp.h) | its slip once more, and a CRC-32C over all before (wire/slip.h) |
 *                   '------- ?lifespan --------'---------------------------- ?crc ------------------------------'
 *
 * The slip is what the mechanism carries beside the message: whose it is, what it is, until when. Here it is behind the CRC, too, and
 * what does not agree with it is damaged.
 *
 * A message that is damaged or too old is never delivered: it is counted, as refused or as expired, and comes without its bytes, its
 * note saying why; so the caller of either way is told, and nobody waits for a call that cannot be. A conversation goes on.
 */
#ifndef MECH_PLEDGE_H
#define MECH_PLEDGE_H

#include "mech/mech.h"

/* Puts it around *mech, which carries CALL or SERVE. 0, or an error and *mech is what it was. */
int pledge_wrap(const struct mech **mech);

#endif
