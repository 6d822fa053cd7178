/* SPDX-License-Identifier: MIT
 *
 * What goes with each message of a call over a connection: a slip of sixteen bytes behind its payload, so that the payload lies where the
 * receiver wants it, and, where both ends have ?crc, four more for a CRC over both. A deadline travels as the time that is left of it,
 * since the clocks of two hosts differ.
 *
 *     payload … | call, 8 bytes | kind (3 bits), again (1), time left (60, in 16 ns) | CRC-32C, 4 bytes
 */
#ifndef WIRE_SLIP_H
#define WIRE_SLIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLIP 16
#define SLIP_CRC 4

struct slip {
    uint64_t call;
    int64_t left; /* ns; INT64_MAX: no deadline */
    uint8_t kind; /* below 8; what it means is the caller's */
    bool again;
};

static inline size_t slip_size(bool crc) {
    return SLIP + (crc ? SLIP_CRC : 0);
}

/* Writes it behind the `size` bytes of a payload, where there is room for slip_size more. */
void slip_write(unsigned char *message, size_t size, const struct slip *, bool crc);

/* Takes it off a message of *size bytes: *size is the payload's then. 0, or -THIRL_EFORMAT with a sentence: there is none, or the CRC
 * does not fit. */
int slip_read(const unsigned char *message, size_t *size, struct slip *, bool crc);

#endif
