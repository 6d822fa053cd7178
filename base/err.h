/* SPDX-License-Identifier: MIT
 *
 * What went wrong, as a value and as a sentence. A function that fails returns err_say(…) or err_system(…); the sentence
 * names the culprit, the limit and the remedy and is kept for this thread only. Success touches nothing here. Never
 * prints, allocates or aborts.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>

#include "include/thirl/thirl.h"

/* Keeps the sentence and returns -code. code: an errno value or enum thirl_error, positive. errno is left as it was. */
int err_say(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same, with ": " and the system's text for code behind the sentence. */
int err_system(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Adds to the sentence that is there: where a higher floor knows more. Returns code, unchanged. */
int err_add(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* thirl_why() and thirl_error_name() are defined here. */

#ifdef __clang_analyzer__
/* It looks into one file at a time, and would follow callers past an error that has no sign. */
#define err_negative(said, code) ((void)(said), (code) > 0 ? -(code) : -1)
#define err_say(code, ...) err_negative(err_say(code, __VA_ARGS__), code)
#define err_system(code, ...) err_negative(err_system(code, __VA_ARGS__), code)
#endif

#endif
