/* SPDX-License-Identifier: MIT
 *
 * The slip behind a message of a call, see slip.h. Little-endian, like all that is on a wire.
 */
#include "wire/slip.h"

#include <endian.h>
#include <string.h>

#include "base/crc.h"
#include "base/err.h"

#define NO_DEADLINE (INT64_MAX & ~INT64_C(15))
#define AGAIN 8u

void slip_write(unsigned char *message, size_t size, const struct slip *slip, bool crc) {
    int64_t left = slip->left < 0 ? 0 : slip->left & ~INT64_C(15);
    uint64_t words[2] = {htole64(slip->call), htole64((uint64_t)left | (slip->again ? AGAIN : 0) | (slip->kind & 7u))};
    memcpy(message + size, words, SLIP);
    if (crc) {
        uint32_t sum = htole32(crc_add(0, message, size + SLIP));
        memcpy(message + size + SLIP, &sum, SLIP_CRC);
    }
}

int slip_read(const unsigned char *message, size_t *size, struct slip *slip, bool crc) {
    if (*size < slip_size(crc)) {
        return err_say(THIRL_EFORMAT, "the peer sent a message of %zu bytes, without what belongs behind a call's",
                       *size);
    }
    size_t payload = *size - slip_size(crc);
    if (crc) {
        uint32_t brought, computed = crc_add(0, message, payload + SLIP);
        memcpy(&brought, message + payload + SLIP, SLIP_CRC);
        if (le32toh(brought) != computed) {
            return err_say(THIRL_EFORMAT,
                           "a message of %zu bytes was damaged on its way: its CRC is %08x, and that of what came %08x",
                           payload, le32toh(brought), computed);
        }
    }
    uint64_t words[2];
    memcpy(words, message + payload, SLIP);
    uint64_t last = le64toh(words[1]);
    int64_t left = (int64_t)(last & ~UINT64_C(15));
    *slip = (struct slip){.call = le64toh(words[0]), .kind = last & 7u, .again = (last & AGAIN) != 0};
    slip->left = left < 0 ? 0 : left == NO_DEADLINE ? INT64_MAX : left;
    *size = payload;
    return 0;
}
