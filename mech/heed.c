/* SPDX-License-Identifier: MIT
 *
 * The watching end of a notifier, see heed.h.
 */
#include "mech/heed.h"

#include <string.h>

#include "base/err.h"
#include "base/weave.h"
#include "mech/pull.h"

#define EVENT(told) ((uint32_t)((told) >> 32))
#define TIMES(told) ((uint32_t)(told))

static int lied(struct link *l, const char *what) {
    link_decide(l, LINK_BROKEN);
    return err_say(THIRL_EFORMAT, "the peer sent %s", what);
}

/* One event from the connection into the table. 0, -EAGAIN, or how it ended. */
static int hear(struct heed *w, struct link *l, bool wait) {
    unsigned char nothing;
    size_t size;
    int rc = pull_recv(l, &nothing, 0, &size, wait);
    if (rc == 0 || rc == -EMSGSIZE) {
        return lied(l, "a message, and to a watcher nobody sends any");
    }
    if (rc != PULL_TOLD) {
        return rc;
    }
    if (EVENT(l->told) >> 31 != 0 || TIMES(l->told) == 0) {
        return lied(l, "an event that is none");
    }
    toll_add(&w->toll, EVENT(l->told), TIMES(l->told));
    weave("heed.hear.after");
    return 0;
}

/* As many as one read brings: what was told twice meanwhile is one of them. */
static int gather(struct heed *w, bool wait) {
    struct chain *e = &w->chain;
    struct link *l;
    int rc = 1;
    if (!toll_takes(&w->toll, 0)) {
        return err_say(ENOMEM, "%s: no memory to count events in", e->meet.address);
    }
    for (int tries = 0; rc == 1 && tries < 2; tries++) {
        rc = chain_find(e, MECH_IN, &l);
        if (rc == 0) {
            rc = hear(w, l, wait);
            rc = rc == 0 ? 0 : chain_outcome(e, MECH_IN, l, rc);
        }
    }
    while (rc == 0 && !toll_is_full(&w->toll) && link_code(l) == 0 && pull_ready(l)) {
        if (hear(w, l, false) != 0) {
            break; /* it ends the same way again, when what came before is received */
        }
    }
    return rc == 1 ? -EAGAIN : rc;
}

int heed_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    struct heed *w = self;
    int rc = toll_any(&w->toll) ? 0 : gather(w, wait);
    if (rc == 0 && unlikely(capacity < TOLL_WORD)) {
        *size = TOLL_WORD;
        rc = -EMSGSIZE;
    } else if (rc == 0) {
        uint32_t event = toll_see(&w->toll, &note->times);
        memcpy(buffer, &event, TOLL_WORD);
        *size = TOLL_WORD;
        toll_take(&w->toll, note->times);
    }
    w->chain.holds = toll_any(&w->toll);
    if (unlikely(++w->chain.way[MECH_IN].calls % 1024 == 0)) {
        chain_attend(&w->chain);
    }
    chain_relight(&w->chain, MECH_IN);
    return rc;
}

HOT int heed_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct mech_note note;
    return heed_recv_noted(self, buffer, capacity, size, &note, wait);
}

bool heed_ready(void *self, enum mech_way way) {
    const struct heed *w = self;
    return toll_any(&w->toll) || haul_ready(self, way);
}

int heed_look(void *self, enum mech_way way) {
    const struct heed *w = self;
    return toll_any(&w->toll) ? 0 : haul_look(self, way);
}

int heed_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    const struct heed *w = self;
    return toll_any(&w->toll) ? 1 : haul_arm(self, way, watch);
}

int heed_open(struct heed *w, const struct mech_open *open, const struct meet_kind *kind, void *place) {
    w->chain.part = MEET_CALLER;
    w->chain.hears = 1u << FRAME_EVENT | 1u << FRAME_CUT;
    w->toll.places = toll_places(open->options.queue);
    return haul_open(&w->chain, open, kind, place);
}

void heed_close(void *self) {
    struct heed *w = self;
    haul_close(self);
    toll_free(&w->toll);
}

void heed_limits(void *self, struct thirl_limits *limits) {
    const struct heed *w = self;
    haul_limits(self, limits);
    limits->message_max = limits->atomic_max = TOLL_WORD;
    limits->queue_messages = w->toll.places;
    limits->receivers = 0;
    limits->ordered = 0;
    limits->descriptors = 0;
}
