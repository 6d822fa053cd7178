/* SPDX-License-Identifier: MIT
 *
 * ?crc: a CRC32C behind every message, put there by the end that sends it and checked by the one that receives it. Inside, a message
 * is SEAL bytes longer:
 *
 *     | the message | its CRC-32C, little-endian |
 *
 * A damaged one is never delivered: the receive answers -EBADMSG with a sentence, it is counted as refused, and the next call goes on
 * behind it. That both ends have ?crc, or neither, is for the mechanism to find out (struct mech.crc): by the channel's card, the
 * greeting, or the head of a packet.
 */
#ifndef MECH_SEAL_H
#define MECH_SEAL_H

#include "mech/mech.h"

#define SEAL 4u /* bytes of a message inside that are not the user's */

/* Puts it around *mech. 0, or an error and *mech is what it was: -EOPNOTSUPP where there is no place for a CRC. */
int seal_wrap(const struct mech **mech, const char *address, const struct thirl_options *);

#endif
