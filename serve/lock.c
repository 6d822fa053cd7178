/* SPDX-License-Identifier: MIT
 *
 * Locks by name: each in a file of the registry, behind a head that says what it is. The locks themselves are the rooms of sync/.
 */
#define _GNU_SOURCE
#include "include/thirl/lock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/layout.h"
#include "base/proc.h"
#include "mem/lot.h"
#include "mem/node.h"
#include "serve/lock.h"

#define LOCK_VERSION 1
#define TRIES 16

union thing {
#define MEMBER(name, number, member, text) thirl_##member member;
    THIRL_LOCK_KINDS(MEMBER)
#undef MEMBER
};

struct made { /* what a lock is made with */
    uint32_t kind, flags, count, zero;
};

struct lock_head { /* shared; but for the lock itself it changes no more once it has a name */
    struct lot_head lot;
    uint64_t registry[2];
    struct made made;
    LINE_ALIGNED union thing thing;
};
LAYOUT(lock_head, 1088, thing, 64);

struct handle {
    thirl_lock face; /* first: the public pointer is one to the handle */
    uint32_t epoch;
    struct lot lot;
    struct node_end *line;
    char shown[LOT_SHOWN_MAX];
};

static const char *name_of(uint32_t kind) {
#define NAME(name, number, member, text) [THIRL_LOCK_##name] = text,
    static const char *const names[] = {THIRL_LOCK_KINDS(NAME)};
#undef NAME
    return kind < sizeof names / sizeof *names ? names[kind] : NULL;
}

/* ---- what is asked for ---- */

/* Makes it in memory of zeros, or says why there is no such lock. */
static int make(union thing *thing, const struct made *made) {
    bool counts = made->kind == THIRL_LOCK_SEM || made->kind == THIRL_LOCK_BARRIER;
    if (made->count != 0 && !counts) {
        return err_say(EINVAL, "a %s has no count, so 0 and not %u", name_of(made->kind), made->count);
    }
    switch (made->kind) {
    case THIRL_LOCK_MUTEX:
        return thirl_mutex_init(&thing->mutex, made->flags);
    case THIRL_LOCK_RWLOCK:
        return thirl_rwlock_init(&thing->rwlock, made->flags);
    case THIRL_LOCK_COND:
        return thirl_cond_init(&thing->cond, made->flags);
    case THIRL_LOCK_SEM:
        return thirl_sem_init(&thing->sem, made->count, made->flags);
    case THIRL_LOCK_EVENT:
        return thirl_event_init(&thing->event, made->flags);
    default: /* what is done once needs no init, and like a barrier it has no flags */
        break;
    }
    return made->flags != 0 ? err_say(EINVAL, "a %s has no flags, so 0 and not %#x", name_of(made->kind), made->flags)
           : counts         ? thirl_barrier_init(&thing->barrier, made->count)
                            : 0;
}

static void begin(void *map, void *context) {
    struct lock_head *head = map;
    lot_begin(&head->lot, LOCK_MAGIC, LOCK_VERSION, sizeof *head);
    lot_registry(head->registry);
    head->made = *(const struct made *)context;
    (void)make(&head->thing, &head->made); /* it has been tried */
}

static int check_options(struct thirl_lock_options *o, struct made *made, const struct thirl_lock_options *given) {
    union thing trial;
    int rc = lot_options(o, sizeof *o, given, "thirl_lock_open");
    if (rc != 0) {
        return rc;
    }
    if (given == NULL) {
        o->count = made->kind == THIRL_LOCK_SEM || made->kind == THIRL_LOCK_BARRIER;
    }
    o->mode = o->mode != 0 ? o->mode : 0600;
    if ((o->mode & ~0777u) != 0 || (o->mode & 0600) != 0600 || (o->mode & 0444) >> 1 != (o->mode & 0222)) {
        return err_say(
            EINVAL, "thirl_lock_open: the mode 0%o is none: who uses a lock, its owner at least, reads and writes it",
            o->mode);
    }
    made->flags = o->flags;
    made->count = o->count;
    memset(&trial, 0, sizeof trial);
    return made->kind == THIRL_LOCK_ANY  ? 0
           : name_of(made->kind) == NULL ? err_say(EINVAL, "thirl_lock_open: %u is no kind of lock", made->kind)
                                         : make(&trial, made);
}

/* ---- open and close ---- */

/* Is it what was asked for? The head is a copy. */
static int check(const struct handle *handle, const struct lock_head *head, const struct made *asked, bool exactly) {
    const struct made *made = &head->made;
    int rc = lot_check(&head->lot, handle->lot.size, LOCK_MAGIC, LOCK_VERSION, sizeof *head, handle->shown);
    rc = rc != 0 ? rc : lot_belongs(head->registry, handle->shown);
    if (rc != 0 || name_of(made->kind) == NULL) {
        return rc != 0 ? rc : err_say(THIRL_EFORMAT, "%s is damaged: it is no kind of lock", handle->shown);
    }
    if (asked->kind != THIRL_LOCK_ANY &&
        (made->kind != asked->kind || (exactly && (made->flags != asked->flags || made->count != asked->count)))) {
        return err_say(EEXIST,
                       "%s is a %s with count %u and flags %#x, and not the %s with count %u and flags %#x that this "
                       "process wants: remove it, or choose another name",
                       handle->shown, name_of(made->kind), made->count, made->flags, name_of(asked->kind), asked->count,
                       asked->flags);
    }
    return 0;
}

/* Where it is mapped is told by its name, which a file that was opened before it had one does not show: so it is opened once more. */
static int open_file(struct handle *handle, const char *file, const struct thirl_lock_options *o, struct made *asked) {
    const struct lot_plan plan = {.file = file,
                                  .what = handle->shown,
                                  .writable = true,
                                  .make = asked->kind != THIRL_LOCK_ANY,
                                  .bytes = sizeof(struct lock_head),
                                  .map = sizeof(struct lock_head),
                                  .mode = o->mode,
                                  .group = o->group,
                                  .begin = begin,
                                  .context = asked};
    int rc = lot_open(&handle->lot, &plan);
    for (int tries = 0; rc == 0 && handle->lot.made && tries < TRIES; tries++) {
        lot_close(&handle->lot);
        rc = lot_open(&handle->lot, &plan);
    }
    fd_close(&handle->lot.fd);
    return rc == -ENOENT ? err_say(ENOENT, "there is no %s", handle->shown) : rc;
}

static void show(thirl_lock *face, struct lock_head *head, const struct made *made) {
    *face = (thirl_lock){.kind = made->kind, .flags = made->flags, .count = made->count};
    switch (face->kind) {
#define SHOW(name, number, member, text)                                                                               \
    case THIRL_LOCK_##name:                                                                                            \
        face->member = &head->thing.member;                                                                            \
        break;
        THIRL_LOCK_KINDS(SHOW)
#undef SHOW
    case THIRL_LOCK_ANY:
        break;
    }
}

static int open_as(struct handle *handle, const char *file, const struct thirl_lock_options *given,
                   struct made *asked) {
    struct thirl_lock_options o = {.size = sizeof o};
    struct lock_head head;
    int rc = check_options(&o, asked, given);
    rc = rc != 0 ? rc : node_join();
    rc = rc != 0 ? rc : open_file(handle, file, &o, asked);
    if (rc != 0) {
        return rc;
    }
    memset(&head, 0, sizeof head);
    memcpy(&head, handle->lot.map, handle->lot.size < sizeof head ? 0 : offsetof(struct lock_head, thing));
    rc = check(handle, &head, asked, given != NULL);
    rc = rc != 0 ? rc : node_end_take(&handle->line, strchr(handle->shown, ' ') + 1, NODE_ROLE_LOCK, true);
    if (rc == 0) {
        (void)madvise(handle->lot.map, handle->lot.mapped, MADV_DOFORK); /* a child works with the lock, too */
        show(&handle->face, handle->lot.map, &head.made);
        handle->epoch = proc_epoch();
    }
    return rc;
}

int thirl_lock_open(thirl_lock **lock, const char *name, enum thirl_lock_kind kind,
                    const struct thirl_lock_options *options) {
    struct made asked = {.kind = (uint32_t)kind};
    char file[LOT_NAME_MAX];
    if (lock == NULL) {
        return err_say(EINVAL, "thirl_lock_open: there is no room for the handle (NULL)");
    }
    *lock = NULL;
    struct handle *handle = calloc(1, sizeof *handle);
    if (handle == NULL) {
        return err_say(ENOMEM, "no memory to open a lock");
    }
    handle->lot.fd = -1;
    int rc = lot_name(file, handle->shown, "lock", name);
    rc = rc != 0 ? rc : open_as(handle, file, options, &asked);
    thirl_lock *made = &handle->face;
    if (rc != 0) {
        thirl_lock_close(&made);
    }
    *lock = made;
    return rc;
}

void thirl_lock_close(thirl_lock **lock) {
    struct handle *old = lock != NULL ? (struct handle *)(void *)*lock : NULL;
    if (old == NULL) {
        return;
    }
    *lock = NULL;
    lot_close(&old->lot);
    if (old->line != NULL && old->epoch == proc_epoch()) { /* a child's is its parent's */
        node_end_free(old->line);
    }
    free(old);
}

int thirl_lock_remove(const char *name) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    int rc = lot_name(file, shown, "lock", name);
    return rc != 0 ? rc : lot_remove(file, shown);
}
