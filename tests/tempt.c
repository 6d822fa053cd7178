/* SPDX-License-Identifier: MIT
 *
 * The memory, from the kernel's list of it; the values, from dice.
 */
#define _GNU_SOURCE
#include "tests/tempt.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define REACH ((size_t)1 << 20) /* of a mapping: what lies behind would fill the file system */

uint64_t tempt_toss(uint64_t *dice, uint64_t below) {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return (*dice >> 11) % below;
}

uint64_t tempt_value(uint64_t *dice, uint64_t was, uint64_t other) {
    static const uint64_t edges[] = {
        0,          1,        7,          8,          63,         64,         4095,
        4096,       65535,    0x7fffffff, 0x80000000, 0x40000010, 0xffffffff, UINT64_C(1) << 32,
        UINT64_MAX, INT64_MAX};
    switch (tempt_toss(dice, 6)) {
    case 0:
        return edges[tempt_toss(dice, sizeof edges / sizeof *edges)];
    case 1:
        return was + edges[tempt_toss(dice, 8)];
    case 2:
        return was - edges[tempt_toss(dice, 8)];
    case 3:
        return was ^ UINT64_C(1) << tempt_toss(dice, 64);
    case 4:
        return other;
    default:
        return tempt_toss(dice, UINT64_MAX) << tempt_toss(dice, 64);
    }
}

size_t tempt_ranges(struct tempt_range *ranges, size_t most, const char *registry) {
    char line[600];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && count < most && fgets(line, sizeof line, maps) != NULL) {
        char *path = strchr(line, '/');
        struct stat status;
        unsigned long from, to, offset;
        if (path == NULL || strstr(line, " rw-s ") == NULL || strncmp(path, registry, strlen(registry)) != 0 ||
            sscanf(line, "%lx-%lx %*s %lx", &from, &to, &offset) != 3) {
            continue;
        }
        path[strcspn(path, "\n")] = '\0';
        size_t size = to - from;
        if (stat(path, &status) == 0) { /* behind the end of its file is nothing */
            size_t left = (size_t)status.st_size > offset ? (size_t)status.st_size - offset : 0;
            size = left < size ? left : size;
        }
        size = size < REACH ? size : REACH;
        if (size >= sizeof(uint64_t)) {
            ranges[count] = (struct tempt_range){.base = (uint64_t *)from, .words = size / sizeof(uint64_t)};
            (void)snprintf(ranges[count++].path, TEMPT_PATH, "%.*s", TEMPT_PATH - 1, path);
        }
    }
    if (maps != NULL) {
        (void)fclose(maps);
    }
    return count;
}
