/* SPDX-License-Identifier: MIT
 *
 * What an address in the memory of some process is called: a line of a source, a function or variable, a place in a file that it has mapped.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/tool.h"

#define REACH_MAX (PLACE_MAX + 40)
#define ASKED_MOST 128 /* the same calls come again and again */
#define MAPS_MAX ((size_t)1 << 20)

static struct asked {
    char path[256];
    uint64_t address;
    struct symbol symbol;
} asked[ASKED_MOST];
static size_t asked_count;

/* Where a file of that process can be opened: as the process sees it, also when it was replaced meanwhile, or is in a container. */
static void reach(int64_t here, const char *exe, const char *path, char out[REACH_MAX]) {
    snprintf(out, REACH_MAX, "/proc/%lld/exe", (long long)here);
    if (here != 0 && strcmp(path, exe) == 0 && access(out, R_OK) == 0) {
        return;
    }
    snprintf(out, REACH_MAX, "/proc/%lld/root%s", (long long)here, path);
    if (here == 0 || access(out, R_OK) != 0) {
        snprintf(out, REACH_MAX, "%s", path);
    }
}

/* The line, or at least the symbol. A call's address is the one behind it. NULL: enough has been asked for. */
static const struct symbol *look_up(int64_t here, const char *exe, const char *path, uint64_t address, bool call) {
    for (size_t i = 0; i < asked_count; i++) {
        if (asked[i].address == address && strcmp(asked[i].path, path) == 0) {
            return &asked[i].symbol;
        }
    }
    if (asked_count == ASKED_MOST) {
        return NULL;
    }
    struct asked *a = &asked[asked_count++];
    char file[REACH_MAX];
    reach(here, exe, path, file);
    snprintf(a->path, sizeof a->path, "%s", path);
    a->address = address;
    uint64_t inside = call && address ? address - 1 : address;
    if (symbol_find(file, inside, &a->symbol)) {
        a->symbol.offset += address - inside;
    }
    if (call) {
        symbol_line(file, inside, &a->symbol);
    }
    return &a->symbol;
}

/* What a living process has mapped, as text; read once for the threads of one process, which come one after the other. */
static const char *maps_of(int64_t here) {
    static char text[MAPS_MAX];
    static int64_t whose;
    char name[64];
    if (whose == here) {
        return text;
    }
    whose = here;
    snprintf(name, sizeof name, "/proc/%lld/maps", (long long)here);
    FILE *maps = whose == 0 ? NULL : fopen(name, "re");
    size_t got = maps ? fread(text, 1, sizeof text - 1, maps) : 0;
    text[got] = 0;
    if (maps) {
        fclose(maps);
    }
    return text;
}

/* Looks for the address there: the file, and what that calls the place. */
static bool find_mapped(int64_t here, uint64_t address, char *path, size_t room, uint64_t *offset) {
    for (const char *line = maps_of(here), *end; (end = strchr(line, '\n')); line = end + 1) {
        unsigned long long first, last, begins;
        int behind = 0;
        if (sscanf(line, "%llx-%llx %*s %llx %*s %*s %n", &first, &last, &begins, &behind) != 3 || behind <= 0 ||
            address < first || address >= last) {
            continue;
        }
        const char *name = line + behind;
        size_t length = name < end ? (size_t)(end - name) : 0;
        if (length == 0 || length >= room || *name != '/' || strncmp(name, "/dev/zero", 9) == 0) {
            return false; /* memory of its own */
        }
        memcpy(path, name, length);
        path[length] = 0;
        *offset = begins + (address - first);
        return true;
    }
    return false;
}

static const char *short_name(const char *path) {
    const char *area = strstr(path, "/area/"), *slash = strrchr(path, '/');
    return area ? area + 1 : slash ? slash + 1 : path;
}

/* In a program or library: how it is called there. false: it has no name. */
static bool in_file(struct place *place, int64_t here, const char *exe, const char *path, uint64_t address, bool call) {
    static const struct symbol unknown;
    const struct symbol *s = look_up(here, exe, path, address, call);
    s = s ? s : &unknown;
    const char *file = short_name(path), *name = s->name;
    snprintf(place->path, sizeof place->path, "%s", path);
    place->offset = address;
    snprintf(place->symbol, sizeof place->symbol, "%s", name);
    snprintf(place->line, sizeof place->line, "%s", s->line);
    if (*s->line) {
        const char *slash = strrchr(s->line, '/');
        snprintf(place->text, sizeof place->text, "%s%s%s%s", slash ? slash + 1 : s->line, *name ? " (" : "", name,
                 *name ? ")" : "");
    } else if (*name && s->offset) {
        snprintf(place->text, sizeof place->text, "%s+0x%llx (%s+0x%llx)", name, (unsigned long long)s->offset, file,
                 (unsigned long long)address);
    } else if (*name) {
        snprintf(place->text, sizeof place->text, "%s (%s+0x%llx)", name, file, (unsigned long long)address);
    } else {
        snprintf(place->text, sizeof place->text, "%s+0x%llx", file, (unsigned long long)address);
    }
    return *s->line || *name;
}

void place_name(struct place *place, int64_t here, const char *exe, const struct thirl_site *site, bool call) {
    char path[PLACE_MAX], file[REACH_MAX];
    uint64_t offset, address;
    memset(place, 0, sizeof *place);
    snprintf(place->text, sizeof place->text, site->address ? "0x%llx" : "?", (unsigned long long)site->address);
    if (site->address == 0 || (*site->path && in_file(place, here, exe, site->path, site->offset, call))) {
        return;
    }
    if (!find_mapped(here, site->address, path, sizeof path, &offset)) {
        return;
    }
    reach(here, exe, path, file);
    if (symbol_address(file, offset, &address)) { /* a program or library that came later */
        in_file(place, here, exe, path, address, call);
        return;
    }
    snprintf(place->path, sizeof place->path, "%s", path);
    place->offset = offset;
    snprintf(place->text, sizeof place->text, "%.400s+0x%llx", short_name(path), (unsigned long long)offset);
}
