/* SPDX-License-Identifier: MIT
 *
 * ?crc and ?lifespan: what stands behind every message, put there by the end that sends it and taken off by the one that receives it.
 * Inside, a message is longer by what was asked for:
 *
 *     | the message | its stamp (mech/stamp.h) | a CRC-32C over all before, 4 bytes, little-endian |
 *                   '------- ?lifespan --------' '-------------------- ?crc ---------------------'
 *
 * A damaged one is never delivered: the receive answers -EBADMSG with a sentence, it is counted as refused, and the next call goes on
 * behind it. One that is older, when it would be received, than its sender's ?lifespan= or its receiver's is counted as expired. It is
 * passed over in silence, and the next of that sender says that it was lost; but a job is never: the receive answers -THIRL_EEXPIRED, once
 * for each. A message by another clock is refused as a damaged one is. Calls have what mech/pledge.h says instead.
 *
 * That both ends have the same of these options is for the mechanism to find out (struct mech.crc): by the channel's card, the
 * greeting, or the head of a packet.
 */
#ifndef MECH_SEAL_H
#define MECH_SEAL_H

#include "mech/mech.h"
#include "mech/stamp.h"

#define SEAL_CRC 1u
#define SEAL_TIME 2u

/* What stands behind the messages of an end with these options: bits of the above. */
static inline unsigned seal_kind(const struct thirl_options *options) {
    return (options->crc != 0 ? SEAL_CRC : 0) | (options->lifespan != 0 ? SEAL_TIME : 0);
}

/* Bytes of a message inside that are not the user's. */
#define SEAL_SUM 4u
static inline size_t seal_tail(unsigned kind) {
    return ((kind & SEAL_TIME) != 0 ? STAMP : 0) + ((kind & SEAL_CRC) != 0 ? SEAL_SUM : 0);
}

/* Puts it around *mech. 0, or an error and *mech is what it was: -EOPNOTSUPP where there is no place for it. */
int seal_wrap(const struct mech **mech, const char *address, const struct thirl_options *);

#endif
