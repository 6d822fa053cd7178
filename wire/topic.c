/* SPDX-License-Identifier: MIT
 *
 * Patterns of topics, matched without recursion: of several stars only the last one ever has to be tried again, and likewise of several
 * components that are two stars.
 */
#include "wire/topic.h"

#include <stddef.h>
#include <string.h>

#include "base/err.h"

bool topic_wild(const char *text) {
    return strchr(text, '*') != NULL;
}

int topic_check(const char *pattern, const char *address) {
    for (const char *part = pattern;; part++) {
        size_t length = strcspn(part, "/");
        const char *pair = strstr(part, "**");
        if (pair != NULL && pair < part + length && length != 2) {
            return err_say(
                THIRL_EADDRESS,
                "%s: ** stands for whole components and so must be one, as in camera/**; within a component write *",
                address);
        }
        part += length;
        if (*part == '\0') {
            return 0;
        }
    }
}

/* One component against one. */
static bool part_fits(const char *pattern, size_t patterns, const char *text, size_t length) {
    size_t p = 0, t = 0, star = SIZE_MAX, from = 0;
    while (t < length) {
        if (p < patterns && pattern[p] == '*') {
            star = p++;
            from = t;
        } else if (p < patterns && pattern[p] == text[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return false;
        }
    }
    while (p < patterns && pattern[p] == '*') {
        p++;
    }
    return p == patterns;
}

/* Behind the component that begins there; NULL: it was the last. */
static const char *behind(const char *part) {
    const char *slash = part + strcspn(part, "/");
    return *slash == '\0' ? NULL : slash + 1;
}

static bool is_any(const char *part) {
    return part != NULL && strncmp(part, "**", 2) == 0 && (part[2] == '\0' || part[2] == '/');
}

bool topic_fits(const char *pattern, const char *topic) {
    const char *any = NULL, *from = NULL; /* the last ** and the first component that it does not stand for */
    while (topic != NULL) {
        if (is_any(pattern)) {
            any = pattern;
            from = topic;
            pattern = behind(pattern);
        } else if (pattern != NULL && part_fits(pattern, strcspn(pattern, "/"), topic, strcspn(topic, "/"))) {
            pattern = behind(pattern);
            topic = behind(topic);
        } else if (any != NULL) {
            from = behind(from);
            topic = from;
            pattern = behind(any);
            if (from == NULL) {
                break;
            }
        } else {
            return false;
        }
    }
    while (is_any(pattern)) {
        pattern = behind(pattern);
    }
    return pattern == NULL;
}
