/* SPDX-License-Identifier: MIT
 *
 * Areas: opened, grown, closed; and their arena as programs see it. The file is mapped once, with all the address space that it may grow
 * into: memory that another process adds is there without a call.
 */
#define _GNU_SOURCE
#include "serve/area.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/weave.h"

#define USUAL_BYTES (UINT64_C(1) << 20)
#define USUAL_TIMES 64
#define LIMIT_NS (30 * CLOCK_S)
#define FIRST ((sizeof(struct area_head) + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE)

static int refuse(const thirl_area *area) {
    return area == NULL ? err_say(EINVAL, "there is no area (NULL)")
                        : err_say(THIRL_EFORKED, "%s was opened before fork, by the parent process", area->shown);
}

static bool is_mine(const thirl_area *area) {
    return likely(area != NULL && area->epoch == proc_epoch());
}

/* ---- open and close ---- */

static void begin(void *map, void *context) {
    struct area_head *head = map;
    const thirl_area *area = context;
    lot_begin(&head->lot, AREA_MAGIC, AREA_VERSION, sizeof *head);
    head->limit = area->mapped;
    lot_registry(head->registry);
    arena_begin(map, offsetof(struct area_head, arena), FIRST, FIRST);
}

static int check(const thirl_area *area, const struct area_head *head, uint64_t size) {
    int rc = lot_check(&head->lot, size, AREA_MAGIC, AREA_VERSION, sizeof *head, area->shown);
    rc = rc != 0 ? rc : lot_belongs(head->registry, area->shown);
    if (rc != 0) {
        return rc;
    }
    if (size < FIRST || head->limit < size || head->arena.end > size || head->arena.first != FIRST) {
        return err_say(THIRL_EFORMAT, "%s has a size that none has", area->shown);
    }
    return 0;
}

/* Maps what the descriptor has; a new one gets its head and its first bytes. */
static int take_in(thirl_area *area, bool made, const struct thirl_area_options *o) {
    struct area_head head;
    struct stat status;
    bool whole = made || fd_read_at(area->fd, &head, sizeof head, 0) == (ssize_t)sizeof head;
    /* Behind the head: the file may grow meanwhile. */
    if (fstat(area->fd, &status) != 0 || !S_ISREG(status.st_mode) || !whole) {
        return err_say(THIRL_EFORMAT, "%s is something else, or is cut short", area->shown);
    }
    area->unit = area->unit > (uint64_t)status.st_blksize ? area->unit : (uint64_t)status.st_blksize;
    if (made) {
        area->mapped = (o->limit + area->unit - 1) / area->unit * area->unit;
        memset(&head, 0, sizeof head);
        begin(&head, area);
    }
    int rc = made ? 0 : check(area, &head, (uint64_t)status.st_size);
    rc = rc != 0 ? rc : place_map(area, head.limit, o);
    if (rc == 0 && made) {
        rc = lot_reserve(area->fd, 0, area->unit > FIRST ? area->unit : FIRST, area->shown);
    }
    if (rc == 0 && made) {
        begin(area->base, area);
    }
    if (rc == 0) {
        area->view = (struct arena_view){.arena = &((struct area_head *)(void *)area->base)->arena,
                                         .base = area->base,
                                         .at = offsetof(struct area_head, arena),
                                         .limit = area->mapped,
                                         .self = node_id()};
    }
    return rc;
}

static int open_named(thirl_area *area, const char *name, const struct thirl_area_options *o) {
    char file[LOT_NAME_MAX];
    struct lot lot;
    int rc = lot_name(file, area->shown, "area", name);
    area->unit = (uint64_t)sysconf(_SC_PAGESIZE);
    area->mapped = (o->limit + area->unit - 1) / area->unit * area->unit;
    const struct lot_plan plan = {.file = file,
                                  .what = area->shown,
                                  .writable = area->writable,
                                  .make = area->writable,
                                  .bytes = (FIRST + area->unit - 1) / area->unit * area->unit,
                                  .mode = o->mode,
                                  .group = o->group,
                                  .begin = begin,
                                  .context = area};
    rc = rc != 0 ? rc : lot_open(&lot, &plan);
    if (rc != 0) {
        return rc == -ENOENT ? err_say(ENOENT, "there is no %s yet: who may write makes it", area->shown) : rc;
    }
    area->fd = lot.fd;
    lot.fd = -1;
    bool made = lot.made;
    lot_close(&lot);
    rc = take_in(area, false, o);
    if (rc == 0 && area->writable && atomic_peek(&area->view.arena->end) == FIRST) {
        rc = thirl_area_grow(area, o->bytes, THIRL_SOON); /* also of one whose maker came no further */
    }
    if (rc != 0 && made) {
        (void)lot_remove(file, area->shown);
    }
    return rc;
}

static int open_given(thirl_area *area, const char *address, const struct thirl_area_options *o) {
    char *end;
    long fd = strtol(address + 5, &end, 10);
    (void)snprintf(area->shown, sizeof area->shown, "area %.300s", address);
    int flags = end != address + 5 && *end == '\0' && fd >= 0 && fd <= INT_MAX ? fcntl((int)fd, F_GETFL) : -1;
    if (flags < 0) {
        return err_say(EBADF, "%s: there is no such descriptor", area->shown);
    }
    if (area->writable && (flags & O_ACCMODE) != O_RDWR) {
        return err_say(EACCES, "%s: the descriptor can only be read: open it with THIRL_ACCESS_READ", area->shown);
    }
    area->fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 3);
    return area->fd < 0 ? err_system(errno, "%s", area->shown) : take_in(area, false, o);
}

static int open_anonymous(thirl_area *area, const struct thirl_area_options *o) {
    (void)snprintf(area->shown, sizeof area->shown, "area without a name");
    int rc =
        area->writable ? place_anonymous(area, o) : err_say(EINVAL, "an area without a name is made to be written");
    rc = rc != 0 ? rc : take_in(area, true, o);
    rc = rc != 0 ? rc : thirl_area_grow(area, o->bytes, THIRL_SOON);
    if (rc == 0) {
        (void)fcntl(area->fd, F_ADD_SEALS, F_SEAL_SHRINK); /* nobody who gets it can cut it off under the others */
    }
    return rc;
}

static int check_options(struct thirl_area_options *o, const struct thirl_area_options *given) {
    int rc = lot_options(o, sizeof *o, given, "thirl_area_open");
    if (rc != 0) {
        return rc;
    }
    o->bytes = o->bytes != 0 ? o->bytes : USUAL_BYTES;
    o->mode = o->mode != 0 ? o->mode : 0600;
    if (o->bytes > ARENA_MOST || o->limit > ARENA_MOST) {
        return err_say(EFBIG, "thirl_area_open: an area has up to %llu bytes", (unsigned long long)ARENA_MOST);
    }
    o->limit = o->limit == 0 ? o->bytes * USUAL_TIMES : o->limit < o->bytes ? o->bytes : o->limit;
    o->limit = o->limit > ARENA_MOST ? ARENA_MOST : o->limit;
    return o->access > THIRL_ACCESS_READ || (o->mode & ~0777u) != 0
               ? err_say(EINVAL, "thirl_area_open: access %u or mode 0%o is none", o->access, o->mode)
               : 0;
}

int thirl_area_open(thirl_area **area, const char *address, const struct thirl_area_options *options) {
    struct thirl_area_options o = {.size = sizeof o};
    if (area == NULL) {
        return err_say(EINVAL, "thirl_area_open: there is no room for the handle (NULL)");
    }
    *area = NULL;
    int rc = check_options(&o, options);
    thirl_area *made = rc == 0 ? calloc(1, sizeof *made) : NULL;
    if (made == NULL) {
        return rc != 0 ? rc : err_say(ENOMEM, "no memory to open an area");
    }
    made->fd = -1;
    made->writable = o.access == THIRL_ACCESS_WRITE;
    made->wants_huge = o.huge != 0;
    rc = node_end_take(&made->line, address != NULL ? address : "(an area without a name)", NODE_ROLE_AREA, true);
    made->epoch = rc == 0 ? proc_epoch() : 0;
    rc = rc != 0                             ? rc
         : o.raw != 0                        ? place_raw(made, address, &o)
         : address == NULL                   ? open_anonymous(made, &o)
         : strncmp(address, "fd://", 5) == 0 ? open_given(made, address, &o)
                                             : open_named(made, address, &o);
    if (rc == 0 && made->writable && made->view.arena != NULL && made->view.arena->blocks != 0) {
        rc = thirl_area_recover(made,
                                thirl_in_ms(50)); /* who is stopped in the midst of a change does not keep others out */
        rc = rc > 0 || rc == -ETIMEDOUT ? 0 : rc;
    }
    if (rc != 0) {
        thirl_area_close(&made);
        return rc;
    }
    place_gather(made, thirl_area_bytes(made));
    *area = made;
    return 0;
}

void thirl_area_close(thirl_area **area) {
    thirl_area *old = area != NULL ? *area : NULL;
    if (old == NULL) {
        return;
    }
    *area = NULL;
    bool child = old->epoch != 0 && old->epoch != proc_epoch(); /* mapping and line are the parent's */
    if (old->base != NULL && !child) {
        (void)(old->sysv ? shmdt(old->base) : munmap(old->base, (size_t)old->mapped));
    }
    fd_close(&old->fd);
    if (old->line != NULL && !child) {
        node_end_free(old->line);
    }
    free(old);
}

int thirl_area_fd(thirl_area *area, enum thirl_access access) {
    char path[40];
    if (!is_mine(area)) {
        return refuse(area);
    }
    if (area->fd < 0) {
        return err_say(EOPNOTSUPP, "%s has no descriptor", area->shown);
    }
    if (access == THIRL_ACCESS_WRITE && !area->writable) {
        return err_say(EACCES, "%s was opened for reading only", area->shown);
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", area->fd);
    int fd = access == THIRL_ACCESS_READ ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(area->fd, F_DUPFD_CLOEXEC, 3);
    return fd >= 0 ? fd : err_system(errno, "%s: no descriptor to pass on", area->shown);
}

int thirl_area_remove(const char *address, uint32_t raw) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    int rc = raw != 0 ? 0 : lot_name(file, shown, "area", address);
    return rc != 0 ? rc : raw != 0 ? place_raw_remove(address) : lot_remove(file, shown);
}

/* ---- the memory ---- */

void *thirl_area_base(const thirl_area *area) {
    return area != NULL ? area->base : NULL;
}

uint64_t thirl_area_bytes(const thirl_area *area) {
    struct stat status;
    if (area == NULL || area->sysv) {
        return area != NULL ? area->mapped : 0;
    }
    uint64_t bytes = area->view.arena != NULL        ? atomic_load(&area->view.arena->end) /* pairs with arena_extend */
                     : fstat(area->fd, &status) == 0 ? (uint64_t)status.st_size
                                                     : 0;
    return bytes < area->mapped ? bytes : area->mapped;
}

void *thirl_area_pointer(const thirl_area *area, thirl_at at, size_t size) {
    uint64_t bytes = thirl_area_bytes(area);
    return area != NULL && at <= bytes && size <= bytes - at && (at != 0 || area->view.arena == NULL) ? area->base + at
                                                                                                      : NULL;
}

thirl_at thirl_area_at(const thirl_area *area, const void *pointer) {
    uintptr_t base = area != NULL ? (uintptr_t)area->base : 0, here = (uintptr_t)pointer;
    return area != NULL && here > base && here - base < thirl_area_bytes(area) ? here - base : 0;
}

static int64_t deadline(thirl_time until) {
    return until.ns < 0 ? clock_after(clock_now(), LIMIT_NS) : until.ns;
}

/* Begins a call that changes something: 0 with the arena locked, or an error. */
static int enter(thirl_area *area, thirl_time until) {
    if (!is_mine(area)) {
        return refuse(area);
    }
    if (!area->writable || area->view.arena == NULL) {
        return area->writable ? err_say(EOPNOTSUPP, "%s is plain memory, without an arena", area->shown)
                              : err_say(EACCES, "%s was opened for reading only", area->shown);
    }
    int rc = arena_lock(&area->view, deadline(until));
    if (rc == OWN_DIED) {
        int64_t freed = arena_reclaim(&area->view);
        if (freed >= 0) {
            return 0;
        }
        arena_unlock(&area->view);
        rc = (int)freed;
    }
    return rc == 0 ? 0
           : rc == -THIRL_EFORMAT
               ? err_say(THIRL_EFORMAT, "%s: its arena is damaged", area->shown)
               : err_say(-rc, "%s: another process has been at work in its arena for long", area->shown);
}

/* Ends it. */
static int leave(thirl_area *area, int rc) {
    arena_unlock(&area->view);
    return rc == -EINVAL
               ? err_say(EINVAL, "%s: what is named there is no block in this process's hand, or no word", area->shown)
           : rc == -THIRL_EFORMAT
               ? err_say(THIRL_EFORMAT, "%s: its arena is damaged: somebody wrote over the edge of a block",
                         area->shown)
               : rc;
}

/* The arena is locked. */
static int grow(thirl_area *area, uint64_t bytes) {
    uint64_t end = area->view.arena->end;
    bytes = (bytes + area->unit - 1) / area->unit * area->unit;
    if (bytes > area->mapped) {
        return err_say(ENOSPC, "%s may grow to %llu bytes: that was set when it was made", area->shown,
                       (unsigned long long)area->mapped);
    }
    /* A dead one may have taken space, and not said so: taking it again costs nothing. */
    uint64_t from = end / area->unit * area->unit;
    int rc = bytes > end ? lot_reserve(area->fd, from, bytes, area->shown) : 0;
    weave("area.grow.reserved");
    return rc != 0 || bytes <= end ? rc : arena_extend(&area->view, bytes);
}

int thirl_area_grow(thirl_area *area, uint64_t bytes, thirl_time until) {
    if (is_mine(area) && area->view.arena == NULL && area->writable) {
        if (area->sysv || bytes > area->mapped) {
            return err_say(area->sysv ? EOPNOTSUPP : ENOSPC, "%s cannot grow so far", area->shown);
        }
        uint64_t now = thirl_area_bytes(area);
        int done = bytes > now ? lot_reserve(area->fd, now, bytes, area->shown) : 0;
        place_gather(area, thirl_area_bytes(area));
        return done;
    }
    int rc = enter(area, until);
    rc = rc != 0 ? rc : leave(area, grow(area, bytes));
    if (rc == 0) {
        place_gather(area, thirl_area_bytes(area)); /* while nobody waits for it */
    }
    return rc;
}

/* ---- the arena ---- */

/* Not by a page each time. */
static int make_room(thirl_area *area, uint64_t more) {
    uint64_t end = area->view.arena->end, half = end + end / 2;
    if (end + more < half && half <= area->mapped && grow(area, half) == 0) {
        return 0;
    }
    return grow(area, end + more);
}

int thirl_area_alloc(thirl_area *area, size_t bytes, thirl_at *at, thirl_time until) {
    uint64_t more = 0;
    int rc =
        at == NULL ? err_say(EINVAL, "thirl_area_alloc: there is no room for the answer (NULL)") : enter(area, until);
    if (rc != 0) {
        return rc;
    }
    rc = arena_alloc(&area->view, bytes, at, &more);
    if (rc == -ENOSPC && arena_reclaim(&area->view) > 0) {
        rc = arena_alloc(&area->view, bytes, at, &more);
    }
    bool grows = rc == -ENOSPC;
    if (grows) {
        rc = make_room(area, more);
        rc = rc != 0 ? rc : arena_alloc(&area->view, bytes, at, NULL);
    }
    rc = leave(area, rc);
    if (grows) {
        place_gather(area, thirl_area_bytes(area));
    }
    return rc;
}

int thirl_area_free(thirl_area *area, thirl_at at, thirl_time until) {
    int rc = enter(area, until);
    return rc != 0 ? rc : leave(area, arena_free(&area->view, at));
}

int thirl_area_swap(thirl_area *area, thirl_at word, thirl_at *at, thirl_time until) {
    int rc = at == NULL ? err_say(EINVAL, "thirl_area_swap: there is no block (NULL)") : enter(area, until);
    return rc != 0 ? rc : leave(area, arena_swap(&area->view, word, at));
}

int thirl_area_root(thirl_area *area, const char *name, thirl_at *word, thirl_time until) {
    if (name == NULL || word == NULL) {
        return err_say(EINVAL, "thirl_area_root: there is no name, or no room for the answer (NULL)");
    }
    int rc;
    if (is_mine(area) && !area->writable && area->view.arena != NULL) {
        rc = arena_root(&area->view, name, false, word);
    } else {
        rc = enter(area, until);
        if (rc != 0) {
            return rc;
        }
        rc = arena_root(&area->view, name, true, word);
        arena_unlock(&area->view);
    }
    return rc == 0         ? 0
           : rc == -EINVAL ? err_say(EINVAL, "%s: a root's name has 1 to %d bytes", area->shown, ARENA_NAME - 1)
           : rc == -ENOENT ? err_say(ENOENT, "%s has no root \"%s\" yet", area->shown, name)
                           : err_say(ENOSPC, "%s has %d roots, which is the most", area->shown, ARENA_ROOTS);
}

int thirl_area_recover(thirl_area *area, thirl_time until) {
    int rc = enter(area, until);
    if (rc != 0) {
        return rc;
    }
    int64_t freed = arena_reclaim(&area->view);
    return leave(area, freed > INT_MAX ? INT_MAX : (int)freed);
}

int thirl_area_info(thirl_area *area, struct thirl_area_info *info) {
    struct thirl_area_info answer = {.size = sizeof answer};
    if (!is_mine(area)) {
        return refuse(area);
    }
    if (info == NULL || info->size < sizeof info->size || info->size > 65536) {
        return err_say(EINVAL, "thirl_area_info: set the size field of the struct to its sizeof first");
    }
    answer.bytes = thirl_area_bytes(area);
    answer.limit = area->mapped;
    answer.huge = atomic_peek(&area->huge);
    answer.numa = area->numa;
    const char *small = atomic_peek(&area->small_note);
    (void)snprintf(answer.note, sizeof answer.note, "%s%s%s%s", small != NULL ? "no huge pages: " : "",
                   small != NULL ? small : "", small != NULL && *area->note != '\0' ? "; " : "", area->note);
    if (area->view.arena != NULL) {
        answer.used = atomic_peek(&area->view.arena->used);
        answer.blocks = atomic_peek(&area->view.arena->blocks);
    }
    size_t size = info->size, shared = size < sizeof answer ? size : sizeof answer;
    memset(info, 0, size);
    memcpy(info, &answer, shared);
    info->size = size;
    return 0;
}
