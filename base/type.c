/* SPDX-License-Identifier: MIT
 *
 * Types of messages, see type.h.
 */
#include "base/type.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

_Static_assert(sizeof(struct type) == 64, "it stands in files");

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static uint64_t mix_number(uint64_t hash, uint64_t number) {
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(number >> (8 * i));
    }
    return mix(hash, bytes, sizeof bytes);
}

/* Names, places and sizes of all fields, and the order of bytes. */
static uint64_t hash_fields(const struct thirl_field *fields, uint32_t count) {
    uint64_t hash = mix_number(UINT64_C(0xcbf29ce484222325), __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    for (uint32_t i = 0; i < count; i++) {
        hash = mix(hash, fields[i].name, strlen(fields[i].name) + 1);
        hash = mix_number(mix_number(hash, fields[i].offset), fields[i].size);
    }
    return hash != 0 ? hash : 1;
}

static bool is_name(const char *name) {
    size_t length = strnlen(name, TYPE_NAME);
    for (size_t i = 0; i < length; i++) {
        if (name[i] < ' ' || name[i] >= 0x7f || name[i] == ':') {
            return false;
        }
    }
    return length != 0 && length < TYPE_NAME;
}

static const char *strip(const char *name) {
    static const char *const words[] = {"struct ", "union ", "enum "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strncmp(name, words[i], strlen(words[i])) == 0) {
            return name + strlen(words[i]);
        }
    }
    return name;
}

int type_take(struct type *type, const struct thirl_type *given) {
    memset(type, 0, sizeof *type);
    if (given == NULL) {
        return 0;
    }
    if (given->size != sizeof *given) {
        return err_say(given->size > sizeof *given ? THIRL_EVERSION : EINVAL,
                       "thirl_type.size is %zu, this library's is %zu: THIRL_TYPE sets it", given->size, sizeof *given);
    }
    const char *name = given->name == NULL ? "" : strip(given->name);
    if (!is_name(name)) {
        return err_say(EINVAL, "a type needs a name of 1 to %d characters, without a colon", TYPE_NAME - 1);
    }
    if (given->count != 0 && given->fields == NULL) {
        return err_say(EINVAL, "the type %s has %u fields, and none are given (NULL)", name, given->count);
    }
    for (uint32_t i = 0; i < given->count; i++) {
        const struct thirl_field *field = &given->fields[i];
        if (field->name == NULL || field->size > given->bytes || field->offset > given->bytes - field->size) {
            return err_say(EINVAL, "field %u of the type %s lies outside its %llu bytes, or has no name", i, name,
                           (unsigned long long)given->bytes);
        }
    }
    (void)snprintf(type->name, sizeof type->name, "%s", name);
    type->bytes = given->bytes;
    type->alignment = given->alignment;
    type->layout = given->layout != 0 || given->count == 0 ? given->layout : hash_fields(given->fields, given->count);
    return 0;
}

bool type_sound(const struct type *type) {
    static const struct type none;
    return memcmp(type, &none, sizeof none) == 0 || is_name(type->name);
}

void type_show(char text[TYPE_TEXT], const struct type *type) {
    int end = snprintf(text, TYPE_TEXT, "%.*s", TYPE_NAME - 1, type->name);
    size_t at = end > 0 ? (size_t)end : 0;
    const unsigned parts = type->layout != 0 ? 3 : type->alignment != 0 ? 2 : type->bytes != 0 ? 1 : 0;
    if (parts >= 1) {
        at += (size_t)snprintf(text + at, TYPE_TEXT - at, ":%llu", (unsigned long long)type->bytes);
    }
    if (parts >= 2) {
        at += (size_t)snprintf(text + at, TYPE_TEXT - at, ":%u", type->alignment);
    }
    if (parts >= 3) {
        (void)snprintf(text + at, TYPE_TEXT - at, ":%llx", (unsigned long long)type->layout);
    }
}

static bool differ(uint64_t a, uint64_t b) {
    return a != 0 && b != 0 && a != b;
}

int type_match(const struct type *mine, const struct type *others, const char *other) {
    if (type_is_none(mine) || type_is_none(others)) {
        return 0;
    }
    const char *what = strncmp(mine->name, others->name, TYPE_NAME) != 0 ? "name"
                       : differ(mine->bytes, others->bytes)              ? "size"
                       : differ(mine->alignment, others->alignment)      ? "alignment"
                       : differ(mine->layout, others->layout)            ? "layout"
                                                                         : NULL;
    if (what == NULL) {
        return 0;
    }
    char ours[TYPE_TEXT], theirs[TYPE_TEXT];
    type_show(ours, mine);
    type_show(theirs, others);
    return err_say(THIRL_ETYPE,
                   "this end's messages are %s and those of %s are %s (name:bytes:alignment:layout): the %s differs",
                   ours, other, theirs, what);
}

int thirl_type_text(const struct thirl_type *given, char *text, size_t capacity) {
    struct type type;
    char whole[TYPE_TEXT];
    if (given == NULL || text == NULL) {
        return err_say(EINVAL, "thirl_type_text: there is no type, or no place for its text (NULL)");
    }
    int rc = type_take(&type, given);
    if (rc != 0) {
        return rc;
    }
    type_show(whole, &type);
    if (strlen(whole) >= capacity) {
        return err_say(EMSGSIZE, "the text of a type has %zu bytes, the place %zu", strlen(whole) + 1, capacity);
    }
    memcpy(text, whole, strlen(whole) + 1);
    return 0;
}
