/* SPDX-License-Identifier: MIT
 *
 * Patterns of topics: what can be understood fits the same topics as a walk over all ways to read it says.
 */
#include "tests/fuzz/fuzz.h"
#include "wire/topic.h"

static bool part_reads(const char *pattern, const char *end, const char *text, const char *text_end) {
    if (pattern == end) {
        return text == text_end;
    }
    if (*pattern == '*') {
        return part_reads(pattern + 1, end, text, text_end) ||
               (text != text_end && part_reads(pattern, end, text + 1, text_end));
    }
    return text != text_end && *pattern == *text && part_reads(pattern + 1, end, text + 1, text_end);
}

static const char *end_of(const char *part) {
    return part + strcspn(part, "/");
}

static const char *next(const char *part) {
    const char *end = end_of(part);
    return *end == '\0' ? NULL : end + 1;
}

/* NULL: nothing is left. */
static bool reads(const char *pattern, const char *topic) {
    if (pattern == NULL) {
        return topic == NULL;
    }
    if (end_of(pattern) - pattern == 2 && memcmp(pattern, "**", 2) == 0) {
        return reads(next(pattern), topic) || (topic != NULL && reads(pattern, next(topic)));
    }
    return topic != NULL && part_reads(pattern, end_of(pattern), topic, end_of(topic)) &&
           reads(next(pattern), next(topic));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char letters[] = "ab/*";
    char text[2][20] = {""};
    size_t length[2] = {0, 0}, which = 0;
    for (size_t i = 0; i < size; i++) {
        which = data[i] % 8 == 7 ? 1 : which;
        if (length[which] < sizeof text[0] - 1) {
            text[which][length[which]++] = letters[data[i] % (which == 0 ? 4 : 3)];
        }
    }
    must(topic_wild(text[0]) == (strchr(text[0], '*') != NULL));
    if (topic_check(text[0], "shm://x") == 0) {
        must(topic_fits(text[0], text[1]) == reads(text[0], text[1]));
    } else {
        must(strstr(text[0], "**") != NULL && thirl_why()[0] != '\0');
    }
    return 0;
}
