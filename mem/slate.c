/* SPDX-License-Identifier: MIT
 *
 * The slips of this process's threads, and those of others.
 */
#define _GNU_SOURCE
#include "mem/slate.h"

#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "mem/nodefile.h"

/* Of one that is loaded: which addresses it has. */
static bool describe(struct slip_module *module, const struct dl_phdr_info *info, const char *path) {
    *module = (struct slip_module){.start = UINT64_MAX, .bias = info->dlpi_addr};
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD) {
            uint64_t start = (uint64_t)info->dlpi_addr + part->p_vaddr, end = start + part->p_memsz;
            module->start = start < module->start ? start : module->start;
            module->end = end > module->end ? end : module->end;
        }
    }
    size_t length = strlen(path);
    if (length >= sizeof module->path || *path != '/') {
        return false; /* no file that anybody could find */
    }
    memcpy(module->path, path, length);
    return true;
}

/* The program comes first, and without a name. */
static int list_module(struct dl_phdr_info *info, size_t size, void *context) {
    uint32_t *count = context;
    struct slip_module module;
    (void)size;
    if (!describe(&module, info, *info->dlpi_name == '\0' ? node_file()->who.exe : info->dlpi_name)) {
        return 0;
    }
    struct slip_module *modules = node_part(NODE_MODULES, *count + 1);
    if (modules != NULL) {
        modules[(*count)++] = module;
    }
    return modules == NULL;
}

int slate_open(void) {
    uint32_t count = 0;
    int rc = node_join();
    if (rc == 0) {
        (void)dl_iterate_phdr(list_module, &count);
    }
    return rc;
}

typedef uint64_t __attribute__((may_alias)) word;
_Static_assert(sizeof(struct slip) % sizeof(word) == 0, "a slip is whole words");

static void clear(struct slip *slip) {
    for (size_t i = 0; i < sizeof *slip / sizeof(word); i++) {
        atomic_poke((word *)(void *)slip + i, 0);
    }
}

/* Called by one thread at a time, as threads join the wing of locks. */
struct slip *slate_take(void) {
    for (uint32_t i = 0;; i++) {
        struct slip *slips = node_part(NODE_SLIPS, i + 1);
        if (slips == NULL) {
            return NULL;
        }
        if (atomic_load(&slips[i].thread) == 0) { /* pairs with slate_give */
            clear(&slips[i]);
            return &slips[i];
        }
    }
}

void slate_give(struct slip *slip) {
    atomic_store(&slip->thread, 0);
}

struct slip_pairs *slate_pairs(void) {
    return node_part(NODE_PAIRS, 1);
}

struct tour {
    int (*seen)(void *context, const struct slip_process *);
    void *context;
};

static int show(void *context, int fd, uint64_t id, bool alive, int64_t here) {
    const struct tour *tour = context;
    struct node_file file;
    void *slips = NULL, *modules = NULL, *pairs = NULL;
    uint32_t tables = 0;
    if (node_read_file(fd, id, &file) != 0) {
        return 0; /* one that cannot be read, another version's, hides no other */
    }
    struct slip_process seen = {.id = id,
                                .pid = file.who.pid,
                                .here = here,
                                .pid_space = file.who.pid_space,
                                .exe = file.who.exe,
                                .alive = alive};
    int rc = node_read_part(fd, &file, NODE_SLIPS, &slips, &seen.slips);
    rc = rc == 0 ? node_read_part(fd, &file, NODE_MODULES, &modules, &seen.modules) : rc;
    rc = rc == 0 ? node_read_part(fd, &file, NODE_PAIRS, &pairs, &tables) : rc;
    seen.slip = slips;
    seen.pairs = tables != 0 ? pairs : NULL;
    seen.module = modules;
    rc = rc == 0 ? tour->seen(tour->context, &seen) : rc;
    free(slips);
    free(modules);
    free(pairs);
    return rc;
}

static int visit(void *context, uint64_t id, bool alive) {
    int fd = node_open_file(id), rc = 0;
    if (fd >= 0) { /* else it is another user's, or has just gone */
        rc = show(context, fd, id, alive, alive ? node_file_holder(fd) : 0);
    }
    fd_close(&fd);
    return rc;
}

int slate_each(int (*seen)(void *context, const struct slip_process *), void *context) {
    struct tour tour = {seen, context};
    int rc = node_each(visit, &tour), own = node_own_file();
    if (rc == 0 && own >= 0) {
        rc = show(&tour, own, node_id(), true, getpid());
    }
    return rc == -ENOENT ? 0 : rc; /* nobody has made a registry yet */
}
