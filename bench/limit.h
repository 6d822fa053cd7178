/* SPDX-License-Identifier: MIT
 *
 * What the kernel allows, from /proc/sys.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include <stdio.h>
#include <stdlib.h>

/* The number in that file, a multiple of 8; what is usual where it cannot be read. */
static inline size_t limit_of(const char *path, size_t usual) {
    char text[32] = "";
    FILE *file = fopen(path, "re");
    size_t number = file && fgets(text, sizeof text, file) ? strtoul(text, NULL, 10) : 0;
    if (file) {
        fclose(file);
    }
    return number ? number / 8 * 8 : usual;
}

#endif
