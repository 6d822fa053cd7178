/* SPDX-License-Identifier: MIT
 *
 * Events to all who watch, see herald.h.
 */
#include "mech/herald.h"

#include <stdio.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/tell.h"

static int tell(struct spoke *s, uint32_t event, uint64_t times) {
    weave("herald.tell.before");
    int rc = tell_send(s->link, FRAME_EVENT, (uint64_t)event << 32 | times);
    weave("herald.tell.after");
    return rc;
}

/* From its table, as far as there is room; false: it is gone. */
static bool catch_up(struct spoke *s) {
    int rc = 0;
    while (rc == 0 && toll_any(&s->toll)) {
        uint64_t times;
        uint32_t event = toll_see(&s->toll, &times);
        times = times < UINT32_MAX ? times : UINT32_MAX;
        rc = tell(s, event, times);
        if (rc == 0) {
            toll_take(&s->toll, times);
        }
    }
    return !hub_is_gone(s) && (hub_push(s) || !hub_is_gone(s));
}

static void catch_all_up(struct herald *n) {
    struct hub *h = &n->hub;
    for (unsigned i = h->count; i-- > 0 && n->behind != 0;) {
        struct spoke *s = h->all[i];
        if (!toll_any(&s->toll)) {
            continue;
        }
        if (!catch_up(s)) {
            hub_drop(h, s);
        } else if (!toll_any(&s->toll)) {
            n->behind--;
            hub_want(h, s, false);
        }
    }
}

/* Looks at who is there, and sends on what waits. 0; -EAGAIN: nobody watches; or what the user is to know. */
static int attend(struct herald *n) {
    int rc = hub_look(&n->hub);
    if (n->behind != 0) {
        catch_all_up(n);
    }
    if (n->deaths != 0) {
        unsigned deaths = n->deaths;
        n->deaths = 0;
        return deaths == 1 ? err_say(THIRL_EPEERDIED, "%s: a watcher, %s, died", n->hub.chain.meet.address, n->dead)
                           : err_say(THIRL_EPEERDIED, "%s: %u watchers died, the last one was %s",
                                     n->hub.chain.meet.address, deaths, n->dead);
    }
    return rc == 0 && n->hub.count == 0 ? -EAGAIN : rc;
}

/* The one whose table has no place for that event; NULL: all have. */
static const struct spoke *find_full(struct herald *n, uint32_t event) {
    for (unsigned i = 0; i < n->hub.count && n->behind != 0; i++) {
        struct spoke *s = n->hub.all[i];
        if (toll_any(&s->toll) && !toll_takes(&s->toll, event)) {
            return s;
        }
    }
    return NULL;
}

/* To all of them, or into their tables. -EAGAIN: one of them can have it in neither, or all turn out to be gone. */
static int say(struct herald *n, uint32_t event) {
    struct hub *h = &n->hub;
    const struct spoke *full = find_full(n, event);
    hub_blame(h, full);
    if (full != NULL) {
        return -EAGAIN;
    }
    unsigned told = 0;
    for (unsigned i = h->count; i-- > 0;) {
        struct spoke *s = h->all[i];
        bool waits = toll_any(&s->toll);
        int rc = waits ? -EAGAIN : tell(s, event, 1);
        if (rc == 0) {
            told++;
        } else if (hub_is_gone(s)) {
            hub_drop(h, s);
        } else if (toll_takes(&s->toll, event)) {
            toll_add(&s->toll, event, 1);
            n->behind += !waits;
            told++;
            weave("herald.count.after");
        } else { /* it would miss one without knowing: better that it goes, and knows */
            s->link->cuts = true;
            hub_drop(h, s);
        }
    }
    return told != 0 ? 0 : -EAGAIN;
}

static bool is_open(const struct herald *n) {
    const struct hub *h = &n->hub;
    bool open = n->deaths != 0 || h->count != 0;
    for (unsigned i = 0; i < h->count && n->behind != 0 && open; i++) {
        open = n->waits ? !toll_any(&h->all[i]->toll) : !toll_is_full(&h->all[i]->toll);
    }
    return open;
}

HOT int herald_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct herald *n = self;
    uint32_t event;
    (void)wait;
    int rc = toll_read(n->hub.chain.meet.address, data, size, &event);
    if (unlikely(rc != 0)) {
        return rc;
    }
    hub_lock(&n->hub);
    if (*done == 0) {
        rc = attend(n);
        rc = rc == 0 ? say(n, event) : rc;
        *done = rc == 0 ? size : 0;
    } else { /* it is told, and somebody's table has it: a death is told by the next one */
        (void)hub_look(&n->hub);
        catch_all_up(n);
    }
    rc = rc == 0 && n->waits && n->behind != 0 ? -EAGAIN : rc;
    hub_light(&n->hub, is_open(n));
    hub_unlock(&n->hub);
    return rc;
}

int herald_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    (void)size;
    (void)done;
    return 0; /* the table has it */
}

int herald_flush(void *self, uint64_t *left) {
    struct herald *n = self;
    struct hub *h = &n->hub;
    *left = 0;
    hub_lock(h);
    h->looked = 0;
    (void)hub_look(h);
    catch_all_up(n);
    for (unsigned i = 0; i < h->count; i++) {
        *left += toll_sum(&h->all[i]->toll);
        hub_want(h, h->all[i], toll_any(&h->all[i]->toll));
    }
    *left += *left == 0 ? hub_flush(h) : 0;
    hub_unlock(h);
    return *left == 0 ? 0 : -EAGAIN;
}

/* 0: there is nothing new; or what the user is to know. */
static int look(struct herald *n) {
    n->hub.looked = 0;
    int rc = hub_look(&n->hub);
    catch_all_up(n);
    hub_light(&n->hub, is_open(n));
    return rc == -EAGAIN ? 0 : rc;
}

bool herald_ready(void *self, enum mech_way way) {
    struct herald *n = self;
    (void)way;
    hub_lock(&n->hub);
    bool ready = look(n) != 0 || is_open(n);
    hub_unlock(&n->hub);
    return ready;
}

int herald_look(void *self, enum mech_way way) {
    struct herald *n = self;
    (void)way;
    hub_lock(&n->hub);
    int rc = look(n);
    hub_unlock(&n->hub);
    return rc == 0 ? -EAGAIN : rc;
}

int herald_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    struct herald *n = self;
    struct hub *h = &n->hub;
    (void)way;
    hub_lock(h);
    for (unsigned i = 0; i < h->count && n->behind != 0; i++) {
        hub_want(h, h->all[i], toll_any(&h->all[i]->toll));
    }
    int rc = hub_arm(h, watch);
    hub_unlock(h);
    return rc == 0 && n->deaths != 0 ? 1 : rc;
}

int herald_fd(void *self, enum mech_way way, int *fd) {
    struct herald *n = self;
    (void)way;
    hub_lock(&n->hub);
    int rc = hub_fd(&n->hub, fd);
    if (rc == 0) {
        (void)look(n);
    }
    hub_unlock(&n->hub);
    return rc;
}

/* ---- who watches ---- */

/* It hears what is told from now on. */
static void joined(struct hub *h, struct spoke *s) {
    s->toll.places = ((struct herald *)h)->places;
}

static void left(struct hub *h, struct spoke *s) {
    struct herald *n = (struct herald *)h;
    n->behind -= toll_any(&s->toll);
    toll_free(&s->toll);
    if (link_code(s->link) == -THIRL_EPEERDIED && !h->leaves) {
        n->deaths++;
        (void)snprintf(n->dead, sizeof(n->dead), "%s", s->link->who.text);
    }
}

static const struct hub_kind pattern = {.joined = joined, .left = left, .lives = true};

int herald_open(struct herald *n, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    n->waits = open->options.full == THIRL_FULL_BLOCK;
    n->places = toll_places(open->options.queue);
    return hub_open(&n->hub, open, kind, place, &pattern);
}

void herald_limits(void *self, struct thirl_limits *limits) {
    const struct herald *n = self;
    hub_limits(self, limits);
    limits->message_max = limits->atomic_max = TOLL_WORD;
    limits->queue_messages = n->places;
    limits->ordered = 0;
    limits->reliable = 1;
}

void herald_claims(struct thirl_limits *limits) {
    haul_claims(limits);
    limits->message_max = limits->atomic_max = TOLL_WORD;
    limits->queue_messages = toll_places(HAUL_QUEUE);
    limits->ordered = 0; /* one that is told again joins the one that waits */
    limits->receivers = 0;
}
