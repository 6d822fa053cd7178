/* SPDX-License-Identifier: MIT
 *
 * The sentence of the last error of each thread, and the names of codes. A sentence is put together aside, so that an
 * argument may be the sentence that is there.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/number.h"

#define SENTENCE_MAX 640

static _Thread_local char sentence[SENTENCE_MAX];

/* Appends at *length, never beyond the end; a sentence that is too long ends in "...". */
__attribute__((format(printf, 3, 0))) static void append_list(char *text, size_t *length, const char *format,
                                                              va_list list) {
    if (*length >= SENTENCE_MAX - 1) return;
    int n = vsnprintf(text + *length, SENTENCE_MAX - *length, format, list);
    if (n < 0) {
        text[*length] = 0;
    } else if ((size_t)n >= SENTENCE_MAX - *length) {
        *length = SENTENCE_MAX - 1;
        memcpy(text + SENTENCE_MAX - 4, "...", 4);
    } else {
        *length += (size_t)n;
    }
}

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t *length, const char *format, ...) {
    va_list list;
    va_start(list, format);
    append_list(text, length, format, list);
    va_end(list);
}

static const char *describe(int code) {
    switch (code) {
#define DESCRIBE(name, number, text)                                                                                   \
    case number:                                                                                                       \
        return text;
        THIRL_ERRORS(DESCRIBE)
#undef DESCRIBE
    default:
        break;
    }
    const char *text = number_text(code);
    return text ? text : "unknown error";
}

int(err_say)(int code, const char *format, ...) {
    int saved = errno;
    char text[SENTENCE_MAX];
    size_t length = 0;
    va_list list;
    va_start(list, format);
    append_list(text, &length, format, list);
    va_end(list);
    memcpy(sentence, text, length + 1);
    errno = saved;
    return -code;
}

int(err_system)(int code, const char *format, ...) {
    int saved = errno;
    char text[SENTENCE_MAX];
    size_t length = 0;
    va_list list;
    va_start(list, format);
    append_list(text, &length, format, list);
    va_end(list);
    append(text, &length, ": %s", describe(code));
    memcpy(sentence, text, length + 1);
    errno = saved;
    return -code;
}

int err_add(int code, const char *format, ...) {
    int saved = errno;
    char text[SENTENCE_MAX];
    size_t length = 0;
    va_list list;
    append(text, &length, "%s%s", sentence, sentence[0] ? "; " : "");
    va_start(list, format);
    append_list(text, &length, format, list);
    va_end(list);
    memcpy(sentence, text, length + 1);
    errno = saved;
    return code;
}

const char *thirl_why(void) {
    return sentence;
}

const char *thirl_error_name(int code) {
    unsigned number = code < 0 ? 0u - (unsigned)code : (unsigned)code;
    switch (number) {
#define NAME(name, value, text)                                                                                        \
    case value:                                                                                                        \
        return "THIRL_" #name;
        THIRL_ERRORS(NAME)
#undef NAME
    default:
        break;
    }
    const char *name = number <= INT32_MAX ? number_name((int)number) : NULL;
    return name ? name : "unknown";
}
