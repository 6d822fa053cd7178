/* SPDX-License-Identifier: MIT
 *
 * Places, see place.h.
 */
#define _GNU_SOURCE
#include "mem/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/layout.h"
#include "base/weave.h"
#include "mem/node.h"

struct places {
    uint32_t top; /* all that were ever taken are below */
    uint32_t posts;
    struct place near[PLACE_NEAR];
};
LAYOUT(places, 776, near, 8);

static struct places *places_of(const void *page) {
    return (struct places *)(void *)((char *)(uintptr_t)page + PLACE_AT);
}

static struct place *place_of(const void *page, uint32_t at) {
    struct place *far = (struct place *)(void *)((char *)(uintptr_t)page + PLACE_FAR);
    return at < PLACE_NEAR ? &places_of(page)->near[at] : &far[at - PLACE_NEAR];
}

/* So many bytes the file has, or gets. */
static uint64_t size_for(uint32_t top) {
    return PLACE_FAR + (top > PLACE_NEAR ? (top - PLACE_NEAR) * sizeof(struct place) : 0);
}

/* All that were taken are below, if the page does not lie; that they have their bytes is certain. */
static uint32_t top_of(const void *page, uint64_t bytes) {
    uint64_t far = bytes > PLACE_FAR ? (bytes - PLACE_FAR) / sizeof(struct place) : 0;
    uint64_t most = PLACE_NEAR + far < PLACE_MOST ? PLACE_NEAR + far : PLACE_MOST;
    uint32_t top = atomic_load(&places_of(page)->top); /* pairs with the store in grow */
    return top < most ? top : (uint32_t)most;
}

bool place_beyond(const void *page, uint64_t bytes) {
    uint32_t top = atomic_peek(&places_of(page)->top);
    return top <= PLACE_MOST && size_for(top) > bytes;
}

static int grow(void *page, int file, uint32_t top, const char *shown) {
    if (top > PLACE_MOST) {
        return err_say(EMFILE, "%s has %u ends, which is the most", shown, PLACE_MOST);
    }
    uint64_t had = (size_for(top - 1) + 4095) / 4096 * 4096, wanted = (size_for(top) + 4095) / 4096 * 4096;
    int rc = wanted > had ? fd_take_space(file, wanted) : 0;
    if (rc != 0) {
        return err_system(-rc, "%s: the registry has no room for one more end", shown);
    }
    atomic_store(&places_of(page)->top, top);
    return 0;
}

int place_take(void *page, int file, uint64_t node, uint32_t number, uint32_t state, const char *shown, uint32_t *at) {
    struct stat status;
    if (fstat(file, &status) != 0) {
        return err_system(errno, "%s: the registry does not say how large it is", shown);
    }
    uint32_t top = top_of(page, (uint64_t)status.st_size), i = 0;
    while (i < top && atomic_peek(&place_of(page, i)->node) != 0) {
        i++;
    }
    int rc = i == top ? grow(page, file, top + 1, shown) : 0;
    if (rc == 0) {
        struct place *place = place_of(page, i);
        atomic_poke(&place->number, number);
        atomic_poke(&place->state, state);
        weave("place.take.before");
        atomic_store(&place->node, node); /* pairs with the load in place_next */
        weave("place.take.after");
        *at = i;
    }
    return rc;
}

void place_leave(void *page, uint32_t at) {
    atomic_store(&place_of(page, at)->node, UINT64_C(0));
}

bool place_next(const void *page, uint64_t bytes, uint32_t state, uint32_t *at, struct place *copy) {
    for (uint32_t top = top_of(page, bytes); *at < top;) {
        const struct place *place = place_of(page, (*at)++);
        copy->node = atomic_load(&place->node); /* pairs with the store in place_take */
        copy->number = atomic_peek(&place->number);
        copy->state = atomic_peek(&place->state);
        if (copy->node != 0 && (copy->state & state) != 0) {
            return true;
        }
    }
    return false;
}

static off_t where(uint32_t at) {
    return at < PLACE_NEAR ? (off_t)(PLACE_AT + offsetof(struct places, near) + at * sizeof(struct place))
                           : (off_t)(PLACE_FAR + (at - PLACE_NEAR) * sizeof(struct place));
}

void place_clean(int file) {
    const uint64_t none = 0;
    struct place some[PLACE_NEAR];
    uint64_t last = 0;
    uint32_t top = 0;
    bool lives = true;
    ssize_t got = fd_read_at(file, &top, sizeof top, PLACE_AT);
    for (uint32_t i = 0; got > 0 && i < top && i < PLACE_MOST; i++) {
        uint32_t k = i % PLACE_NEAR; /* none of them lies on both sides of the gap */
        got = k == 0 ? fd_read_at(file, some, sizeof some, where(i)) : got;
        if (got < (ssize_t)((k + 1) * sizeof *some)) {
            return;
        }
        lives = some[k].node == 0 || some[k].node == last ? lives : node_alive(some[k].node);
        last = some[k].node == 0 ? last : some[k].node;
        if (some[k].node != 0 && !lives) {
            weave("place.clean.before");
            got = fd_write_at(file, &none, sizeof none, where(i)) < 0 ? -1 : got;
        }
    }
}

void place_check(int file, uint64_t size) {
    const uint32_t near = PLACE_NEAR;
    uint32_t top;
    if (fd_read_at(file, &top, sizeof top, PLACE_AT) == (ssize_t)sizeof top && size_for(top) > size) {
        (void)fd_write_at(file, &near, sizeof near, PLACE_AT);
    }
}

void place_ask(void *page, uint32_t at) {
    (void)atomic_add(&place_of(page, at)->state, PLACE_ASK);
}

uint32_t place_posts(const void *page) {
    return atomic_load(&places_of(page)->posts);
}

void place_post(void *page) {
    (void)atomic_add(&places_of(page)->posts, 1);
}
