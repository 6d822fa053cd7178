/* SPDX-License-Identifier: MIT
 *
 * CRC-32C (Castagnoli): the checksum of iSCSI, ext4 and many others, for which processors have an instruction. With it where this
 * one has it, which is found out when the program runs, else with tables. Touches nothing but its arguments; may run at the
 * same time anywhere.
 */
#ifndef BASE_CRC_H
#define BASE_CRC_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of some bytes that follow those of which `crc` is the checksum; 0 where there are none before. */
uint32_t crc_add(uint32_t crc, const void *data, size_t size);

/* The same, always by tables. */
uint32_t crc_add_slowly(uint32_t crc, const void *data, size_t size);

#endif
