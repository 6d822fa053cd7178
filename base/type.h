/* SPDX-License-Identifier: MIT
 *
 * What the messages of a channel are, as two ends compare it: struct thirl_type, without pointers. Whoever says nothing of something is
 * not held to it.
 */
#ifndef BASE_TYPE_H
#define BASE_TYPE_H

#include <stdbool.h>

#include "base/layout.h"
#include "include/thirl/thirl.h"

#define TYPE_NAME 44 /* bytes of a name, with its NUL */

struct type {
    uint64_t bytes;       /* 0: not said */
    uint64_t layout;      /* 0: not said */
    uint32_t alignment;   /* 0: not said */
    char name[TYPE_NAME]; /* "": no type at all */
};
LAYOUT(type, 64, name, 20);

/* given may be NULL: no type. Strips "struct " and the like, and hashes the fields. 0 or -EINVAL with a sentence. */
int type_take(struct type *, const struct thirl_type *given);

/* Of one that was read from elsewhere: is it one, or none? Then its name ends, and is fit to be shown. */
bool type_sound(const struct type *);

static inline bool type_is_none(const struct type *type) {
    return type->name[0] == '\0';
}

/* As an address has it: name:bytes:alignment:layout, what is not said at the end left out. */
#define TYPE_TEXT 96
void type_show(char text[TYPE_TEXT], const struct type *);

/* 0, or -THIRL_ETYPE with a sentence that names both; other: whose the other type is, "the channel" or "the other end". */
int type_match(const struct type *mine, const struct type *others, const char *other);

#endif
