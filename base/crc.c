/* SPDX-License-Identifier: MIT
 *
 * CRC-32C, see crc.h. Everything here is in reflected order: bit 31 of a remainder is the coefficient of x^0, and of eight bytes read
 * as one little-endian word bit 0 is the first bit of the message.
 */
#include "base/crc.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "base/atomic.h"

#define POLYNOMIAL 0x82f63b78u

/* ---- tables: eight bytes at a time ---- */

static uint32_t table[8][256]; /* table[n][b]: what the byte b comes to, n bytes before the end */
static pthread_once_t built = PTHREAD_ONCE_INIT;

static void build(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        }
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (unsigned n = 1; n < 8; n++) {
            table[n][byte] = table[n - 1][byte] >> 8 ^ table[0][table[n - 1][byte] & 0xff];
        }
    }
}

static uint32_t fetch32(const unsigned char *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint32_t crc_add_slowly(uint32_t crc, const void *data, size_t size) {
    const unsigned char *at = data;
    (void)pthread_once(&built, build);
    crc = ~crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint32_t low = crc ^ fetch32(at), high = fetch32(at + 4);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^
              table[3][high & 0xff] ^ table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^ table[0][high >> 24];
    }
    for (; size != 0; at++, size--) {
        crc = crc >> 8 ^ table[0][(crc ^ *at) & 0xff];
    }
    return ~crc;
}

/* ---- x86-64: SSE4.2 ---- */

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>

#define TARGET __attribute__((target("sse4.2,pclmul")))

static bool has_instruction(void) {
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

TARGET static inline uint64_t step(uint64_t crc, const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return _mm_crc32_u64(crc, word);
}

/* crc as if n zero bytes followed, where `by` is x^(8n - 33): the product is one bit short of its place, and the instruction
 * itself multiplies by x^32 and takes the remainder. */
TARGET static inline uint64_t shift(uint64_t crc, uint32_t by) {
    const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)by), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* The instruction takes three cycles, and another one can begin in each: so three strands at once, of that many bytes. */
TARGET static inline uint64_t strands(uint64_t crc, const unsigned char *at, size_t length, uint32_t once,
                                      uint32_t twice) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < length; i += 8) {
        crc = step(crc, at + i);
        second = step(second, at + length + i);
        third = step(third, at + 2 * length + i);
    }
    return shift(crc, twice) ^ shift(second, once) ^ third;
}

#define LONG 1024u
#define LONG_ONCE 0x170076fau
#define LONG_TWICE 0xa51b6135u
#define SHORT 64u
#define SHORT_ONCE 0x9e4addf8u
#define SHORT_TWICE 0x0d3b6092u

TARGET static uint32_t add_quickly(uint32_t before, const unsigned char *at, size_t size) {
    uint64_t crc = ~before;
    for (; size >= (size_t)3 * LONG; at += (size_t)3 * LONG, size -= (size_t)3 * LONG) {
        crc = strands(crc, at, LONG, LONG_ONCE, LONG_TWICE);
    }
    for (; size >= (size_t)3 * SHORT; at += (size_t)3 * SHORT, size -= (size_t)3 * SHORT) {
        crc = strands(crc, at, SHORT, SHORT_ONCE, SHORT_TWICE);
    }
    for (; size >= 8; at += 8, size -= 8) {
        crc = step(crc, at);
    }
    for (; size != 0; at++, size--) {
        crc = _mm_crc32_u8((uint32_t)crc, *at);
    }
    return ~(uint32_t)crc;
}

/* ---- aarch64: the CRC extension ---- */

#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

static bool has_instruction(void) {
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

/* In assembler: compilers differ in what lets them name the instruction in a program that must run without it. */
static inline uint32_t step(uint32_t crc, uint64_t word) {
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
    return crc;
}

static inline uint32_t step_byte(uint32_t crc, uint32_t byte) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
    return crc;
}

static uint32_t add_quickly(uint32_t before, const unsigned char *at, size_t size) {
    uint32_t crc = ~before;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        crc = step(crc, word);
    }
    for (; size != 0; at++, size--) {
        crc = step_byte(crc, *at);
    }
    return ~crc;
}

#else

static bool has_instruction(void) {
    return false;
}

static uint32_t add_quickly(uint32_t crc, const unsigned char *at, size_t size) {
    return crc_add_slowly(crc, at, size);
}

#endif

HOT uint32_t crc_add(uint32_t crc, const void *data, size_t size) {
    return likely(has_instruction()) ? add_quickly(crc, data, size) : crc_add_slowly(crc, data, size);
}
