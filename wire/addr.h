/* SPDX-License-Identifier: MIT
 *
 * The grammar of addresses: scheme://rest?name=value&name=value. Says where a text is wrong; knows nothing of mechanisms.
 * "%XX" in rest and in values is decoded. Allocates nothing and
 * touches nothing outside its arguments.
 */
#ifndef WIRE_ADDR_H
#define WIRE_ADDR_H

#include "include/thirl/thirl.h"

#define ADDR_MAX 320 /* longest address, with its NUL */

struct addr {
    size_t scheme_length; /* the scheme is the first characters of the text */
    char rest[ADDR_MAX];  /* decoded, NUL-terminated; an address whose rest holds a NUL byte is refused */
    char texts[ADDR_MAX]; /* what the options that are texts point to, one behind the other */
    size_t texts_used;
    struct thirl_type of; /* what options.of points to, where the address says it */
    struct thirl_options options;
};

/* Splits text. options start as a copy of `defaults` (may be NULL; its size field is checked: larger than this library's and
 * nonzero behind what it knows is -THIRL_EVERSION) and are overwritten by what the address says. Values left at zero stay
 * zero: what a zero means is the caller's business. One table in addr.c lists the options: name, type, bounds, meaning.
 * Sizes take K, M, G (1024), durations ns, us, ms, s. -THIRL_EADDRESS or -EINVAL with a sentence that shows the text, the
 * place and what is allowed (an unknown option is answered with the known ones). */
int addr_parse(struct addr *, const char *text, const struct thirl_options *defaults);

/* How an enum thirl_full but THIRL_FULL_USUAL is called in an address. */
const char *addr_full_word(uint32_t full);

#endif
