/* SPDX-License-Identifier: MIT
 *
 * The named points of a program, see point.h.
 */
#include "tests/point.h"

#include <stdio.h>
#include <string.h>

#include "base/weave.h"

static bool begins(const char *name, const char *beginnings) {
    for (const char *each = beginnings; *each != '\0';) {
        size_t length = strcspn(each, " ");
        if (strncmp(name, each, length) == 0) {
            return true;
        }
        each += length + strspn(each + length, " ");
    }
    return false;
}

const char *point_next(size_t *at, const char *beginnings) {
    size_t count;
    const struct weave_point *point = weave_points(&count);
    while (*at < count) {
        const char *name = point[(*at)++].name;
        if (begins(name, beginnings)) {
            return name;
        }
    }
    return NULL;
}

bool point_all(const char *beginnings, int rounds, unsigned (*meet)(const char *name, bool killed), bool killed) {
    size_t at = 0;
    bool all = true;
    for (const char *name; (name = point_next(&at, beginnings)) != NULL;) {
        unsigned met = 0;
        for (int round = 0; met == 0 && round < rounds; round++) {
            met = meet(name, killed);
        }
        if (met == 0) {
            printf("%s was never passed\n", name);
            all = false;
        }
    }
    return all;
}
