/* SPDX-License-Identifier: MIT
 *
 * What channels and the files of their ends are called, and what of it is there: see roll.h.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "mem/roll.h"

/* A directory name for any text: what the file system or a reader could trip over becomes %XX. Each scheme has names of its
 * own, and a % that begins none of these stands before it; shm came first and goes without. */
int roll_encode(char to[256], const char *scheme, const char *name) {
    size_t n = strcmp(scheme, "shm") == 0 ? 0 : (size_t)snprintf(to, 256, "%%%s.", scheme);
    size_t begin = n;
    for (const char *c = name; *c != '\0'; c++) {
        bool plain = *c > ' ' && *c < 127 && *c != '/' && *c != '%' && !(*c == '.' && c == name);
        if (n + (plain ? 1 : 3) > 255) {
            return err_say(ENAMETOOLONG, "the channel name \"%.40s…\" is longer than a file name may be (255 bytes)",
                           name);
        }
        n += (size_t)snprintf(to + n, 256 - n, plain ? "%c" : "%%%02X", (unsigned char)*c);
    }
    to[n] = '\0';
    return n == begin ? err_say(THIRL_EADDRESS, "the channel has no name: %s://NAME", scheme) : 0;
}

bool roll_decode(const char *channel, char name[256]) {
    static const char digits[] = "0123456789ABCDEF";
    size_t n = 0;
    for (const char *c = channel; *c != '\0'; c++) {
        const char *high = *c == '%' && c[1] != '\0' ? strchr(digits, c[1]) : NULL;
        const char *low = high != NULL && c[2] != '\0' ? strchr(digits, c[2]) : NULL;
        if (n > 254 || (*c == '%' && low == NULL)) {
            return false;
        }
        name[n++] = *c == '%' ? (char)((high - digits) << 4 | (low - digits)) : *c;
        c += *c == '%' ? 2 : 0;
    }
    name[n] = '\0';
    return n != 0;
}

void roll_file(char file[ROLL_FILE_MAX], struct roll_end end, const char *kind) {
    char node[NODE_NAME_MAX];
    node_name(node, end.node);
    (void)snprintf(file, ROLL_FILE_MAX, "%s.%u.%.5s", node, end.number, kind);
}

bool roll_parse(const char *file, struct roll_end *end, const char **kind) {
    const char *dot = strchr(file, '.');
    if (dot == NULL || !node_parse(file, (size_t)(dot - file), &end->node)) {
        return false;
    }
    char *rest;
    end->number = (uint32_t)strtoul(dot + 1, &rest, 10);
    *kind = rest + 1;
    return rest > dot + 1 && *rest == '.';
}

DIR *roll_list(int dir) {
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL) {
        fd_close(&fd);
    }
    return list;
}

int roll_each(int (*seen)(void *context, const char *channel), void *context) {
    int chan = openat(node_dir(), "chan", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = chan < 0 ? NULL : fdopendir(chan);
    int rc = 0;
    if (list == NULL) {
        rc = errno == ENOENT ? 0 : err_system(errno, "the channels in the registry cannot be listed");
        fd_close(&chan);
        return rc;
    }
    for (struct dirent *entry; rc == 0 && (entry = readdir(list)) != NULL;) {
        rc = *entry->d_name == '.' ? 0 : seen(context, entry->d_name);
    }
    (void)closedir(list);
    return rc;
}
