/* SPDX-License-Identifier: MIT
 *
 * The named points of a program, see point.h.
 */
#include "tests/point.h"

#include <stdbool.h>
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
