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
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
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

/* A slip is read while its thread writes it: word by word, for whoever reads looks twice. */
typedef uint64_t __attribute__((may_alias)) word;
#define WORDS (sizeof(struct slip) / sizeof(word))
#define HOLDS_AT (offsetof(struct slip, hold) / sizeof(word))
_Static_assert(sizeof(struct slip) % sizeof(word) == 0, "a slip is whole words");

/* What is held comes last and backwards, so that nothing that is there all the time moves past (slip_drop_middle). */
static void copy_out(struct slip *copy, const struct slip *slip) {
    const word *from = (const void *)slip;
    word *to = (void *)copy;
    for (size_t i = 0; i < HOLDS_AT; i++) to[i] = atomic_load(&from[i]);   /* pairs with the stores in slip.h */
    for (size_t i = WORDS; i-- > HOLDS_AT;) to[i] = atomic_load(&from[i]); /* likewise */
}

static void clear(struct slip *slip) {
    for (size_t i = 0; i < WORDS; i++) {
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

struct slip_tasks *slate_serve(void) {
    for (uint32_t i = 0;; i++) {
        struct slip_tasks *tasks = node_part(NODE_TASKS, i + 1);
        uint32_t nobody = 0;
        if (tasks == NULL || atomic_cas(&tasks[i].used, &nobody, 1u)) {
            return tasks == NULL ? NULL : &tasks[i];
        }
    }
}

void slate_unserve(struct slip_tasks *tasks) {
    for (int i = 0; i < SLIP_TASKS; i++) atomic_poke(&tasks->task[i].call, UINT64_C(0));
    atomic_store(&tasks->used, 0u);
}

struct tour {
    int (*seen)(void *context, const struct slate_seen *);
    void *context;
};

static int show(const struct tour *tour, const struct node_file *file, const struct slip *slips, uint32_t most,
                bool alive) {
    char exe[sizeof file->who.exe];
    memcpy(exe, file->who.exe, sizeof exe);
    exe[sizeof exe - 1] = '\0';
    struct slate_seen seen = {
        .id = file->id, .pid_space = file->who.pid_space, .pid = file->who.pid, .exe = exe, .alive = alive};
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < most; i++) {
        if (atomic_load(&slips[i].thread) == 0) { /* pairs with the store in party_join */
            continue;
        }
        struct slip copy;
        copy_out(&copy, &slips[i]);
        seen.slip = &copy;
        rc = tour->seen(tour->context, &seen);
    }
    return rc;
}

/* How many slips of the file have their space: those beyond are holes, or were never used. */
static uint32_t slips_of(const struct node_file *file) {
    uint32_t slips = atomic_load(&file->has[NODE_SLIPS]); /* pairs with the release in node_part */
    return slips < node_part_places[NODE_SLIPS].most ? slips : node_part_places[NODE_SLIPS].most;
}

static int visit(void *context, uint64_t id, bool alive) {
    const struct tour *tour = context;
    int fd = node_open_file(id);
    struct node_file *file = NULL;
    size_t size = 0;
    int rc = 0;
    bool there = fd >= 0 && node_map_file(fd, id, SIZE_MAX, &file, &size) == 0;
    /* One that cannot be read (another user's, another version's) hides no other. */
    if (there && size >= NODE_FILE_SIZE) {
        const void *slips = (const char *)file + node_part_places[NODE_SLIPS].at;
        rc = show(context, file, slips, slips_of(file), alive);
    } else {
        const struct slate_seen unread = {.id = id, .exe = "", .alive = alive};
        rc = tour->seen(tour->context, &unread);
    }
    if (there) (void)munmap(file, size);
    fd_close(&fd);
    return rc;
}

int slate_each(int (*seen)(void *context, const struct slate_seen *), void *context) {
    struct tour tour = {seen, context};
    int rc = node_each(visit, &tour);
    const struct node_file *own = node_file();
    if (rc == 0 && own != NULL && own->has[NODE_SLIPS] != 0) {
        rc = show(&tour, own, node_part(NODE_SLIPS, 0), slips_of(own), true);
    }
    return rc == -ENOENT ? 0 : rc; /* nobody has made a registry yet */
}

/* ---- all of a process ---- */

struct survey {
    int (*seen)(void *context, const struct slip_process *);
    void *context;
    bool all;
};

static int lay_out(void *context, int fd, uint64_t id, bool alive, int64_t here) {
    const struct survey *survey = context;
    struct node_file file;
    void *slips = NULL, *modules = NULL, *pairs = NULL, *tasks = NULL;
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
    rc = rc == 0 ? node_read_part(fd, &file, NODE_TASKS, &tasks, &seen.ends) : rc;
    rc = rc == 0 && survey->all ? node_read_part(fd, &file, NODE_MODULES, &modules, &seen.modules) : rc;
    rc = rc == 0 && survey->all ? node_read_part(fd, &file, NODE_PAIRS, &pairs, &tables) : rc;
    seen.tasks = tasks;
    seen.slip = slips;
    seen.pairs = tables != 0 ? pairs : NULL;
    seen.module = modules;
    rc = rc == 0 ? survey->seen(survey->context, &seen) : rc;
    free(slips);
    free(modules);
    free(pairs);
    free(tasks);
    return rc;
}

static int read_one(void *context, uint64_t id, bool alive) {
    int fd = node_open_file(id), rc = 0;
    if (fd >= 0) { /* else it is another user's, or has just gone */
        rc = lay_out(context, fd, id, alive, alive ? node_file_holder(fd) : 0);
    }
    fd_close(&fd);
    return rc;
}

int slate_list(bool all, int (*seen)(void *context, const struct slip_process *), void *context) {
    struct survey survey = {seen, context, all};
    int rc = node_each(read_one, &survey), own = node_own_file();
    if (rc == 0 && own >= 0) {
        rc = lay_out(&survey, own, node_id(), true, getpid());
    }
    return rc == -ENOENT ? 0 : rc; /* nobody has made a registry yet */
}

void slate_address(uint64_t id, uint64_t line, char address[NODE_ADDRESS_MAX]) {
    bool own = id == node_id();
    int fd = own ? node_own_file() : node_open_file(id);
    off_t at = (off_t)(offsetof(struct node_file, end) + (line - 1) * sizeof(struct node_end) +
                       offsetof(struct node_end, address));
    bool fits = fd >= 0 && line != 0 && line <= NODE_ENDS;
    ssize_t got = fits ? fd_read_at(fd, address, NODE_ADDRESS_MAX - 1, at) : 0;
    address[got > 0 ? got : 0] = '\0';
    if (!own) fd_close(&fd);
}
