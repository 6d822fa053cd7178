/* SPDX-License-Identifier: MIT
 *
 * What is shared and belongs to nobody, as a whole: areas, states, caches and locks by name, listed and thrown away.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "include/thirl/state.h"
#include "mem/cell.h"
#include "mem/node.h"
#include "mem/shelf.h"
#include "serve/area.h"
#include "serve/lock.h"

#define KINDS 4

static const struct {
    const char *magic, *name;
    uint32_t role; /* of the lines of its handles */
} kinds[KINDS] = {{AREA_MAGIC, "area", NODE_ROLE_AREA},
                  {CELL_MAGIC, "state", NODE_ROLE_STATE},
                  {SHELF_MAGIC, "cache", NODE_ROLE_CACHE},
                  {LOCK_MAGIC, "lock", NODE_ROLE_LOCK}};

struct thing {
    struct lot_line line;
    char file[LOT_NAME_MAX];
    unsigned kind; /* KINDS: none that is known */
    uint32_t users;
};

struct stock {
    struct thing *thing;
    size_t count;
    const char *only; /* this file; NULL: all */
};

static int take_down(void *context, const struct lot_line *line) {
    struct stock *stock = context;
    size_t length = strlen(line->file);
    if (length >= LOT_NAME_MAX || (stock->only != NULL && strcmp(stock->only, line->file) != 0)) {
        return 0;
    }
    struct thing *larger = realloc(stock->thing, (stock->count + 1) * sizeof *larger);
    if (larger == NULL) {
        return err_say(ENOMEM, "no memory to list what is shared");
    }
    stock->thing = larger;
    struct thing *thing = &larger[stock->count++];
    *thing = (struct thing){.line = *line};
    memcpy(thing->file, line->file, length + 1);
    while (thing->kind < KINDS && memcmp(kinds[thing->kind].magic, line->magic, sizeof line->magic) != 0) {
        thing->kind++;
    }
    return 0;
}

/* A line of a living process: a handle of one of them? */
static int ask(void *context, const struct node_line *line) {
    struct stock *stock = context;
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    unsigned kind = 0;
    while (kind < KINDS && kinds[kind].role != line->end->role) {
        kind++;
    }
    if (kind == KINDS || !line->alive || lot_name(file, shown, kinds[kind].name, line->end->address) != 0) {
        return 0; /* an end, or a handle of something without a name */
    }
    for (size_t i = 0; i < stock->count; i++) {
        stock->thing[i].users += stock->thing[i].kind == kind && strcmp(stock->thing[i].file, file) == 0;
    }
    return 0;
}

static int by_name(const void *one, const void *other) {
    return strcmp(((const struct thing *)one)->line.name, ((const struct thing *)other)->line.name);
}

/* free(stock->thing), whatever it returns. */
static int take_stock(struct stock *stock, const char *only) {
    *stock = (struct stock){.only = only};
    int rc = lot_list(take_down, stock);
    rc = rc != 0 ? rc : node_list(ask, stock);
    if (stock->count != 0) {
        qsort(stock->thing, stock->count, sizeof *stock->thing, by_name);
    }
    return rc;
}

int thirl_things(int (*seen)(void *context, const struct thirl_thing *), void *context) {
    struct stock stock;
    if (seen == NULL) {
        return err_say(EINVAL, "thirl_things: there is no function to call (NULL)");
    }
    int rc = take_stock(&stock, NULL);
    for (size_t i = 0; rc == 0 && i < stock.count; i++) {
        const struct thing *thing = &stock.thing[i];
        const struct thirl_thing answer = {.size = sizeof answer,
                                           .address = thing->line.name,
                                           .kind = thing->kind < KINDS ? kinds[thing->kind].name : "?",
                                           .bytes = thing->line.bytes,
                                           .users = thing->users,
                                           .uid = thing->line.uid,
                                           .mode = thing->line.mode};
        rc = seen(context, &answer);
    }
    free(stock.thing);
    return rc;
}

int thirl_discard(const char *address) {
    char file[LOT_NAME_MAX], shown[LOT_SHOWN_MAX];
    struct stock stock;
    int rc = lot_name(file, shown, "shared thing", address);
    if (rc != 0) {
        return rc;
    }
    lot_sweep();
    rc = take_stock(&stock, file);
    if (rc == 0 && stock.count != 0 && stock.thing->users != 0) {
        rc = err_say(EBUSY, "%s %s is in use: close its %u handle%s first; thirl list shows whose they are",
                     kinds[stock.thing->kind].name, stock.thing->line.name, stock.thing->users,
                     stock.thing->users == 1 ? "" : "s");
    } else if (rc == 0 && stock.count != 0 && stock.thing->kind == KINDS) {
        rc = err_say(THIRL_EFORMAT, "%s is no area, state, cache or lock, or is not to be read: it is left alone",
                     stock.thing->line.name);
    } else if (rc == 0) {
        rc = stock.count == 0                                   ? lot_remove(file, shown)
             : kinds[stock.thing->kind].role == NODE_ROLE_STATE ? thirl_state_remove(address)
                                                                : lot_remove(file, shown);
    }
    free(stock.thing);
    return rc;
}
