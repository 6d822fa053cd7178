/* SPDX-License-Identifier: MIT
 *
 * Giving up the processor instead of sleeping.
 */
#include "mech/haste.h"

#include <sched.h>

#include "base/atomic.h"
#include "base/clock.h"

#define LONG_NS (100 * CLOCK_US) /* no peer that answers at once takes so long */
#define ALONE_NS (4 * CLOCK_US)  /* giving the processor up took less: nobody else wanted it */
#define LEAD_NS (20 * CLOCK_US)
#define WAKE_NS (8 * CLOCK_US)   /* what a message costs more when its sender has to wake somebody */
#define PRICE_NS (25 * CLOCK_US) /* of what a long one took, one wait does without: a machine is held up now and then */
#define PENALTY_FIRST 64u        /* but no more at first; */
#define PENALTY_MOST 4096u
#define SOON 8u   /* if one of the next so many is long, too, twice as many waits do without */
#define TRIAL 32u /* one wait in so many goes on to HASTE_MOST: a peer that wakes up meanwhile may do the same */
#define MOST_NS (100 * CLOCK_US) /* of one wait: what it costs when both have to wake up */
#define DEAR_NS (40 * CLOCK_US)  /* a sleep costs the processor less than so much; */
#define DEAR_MOST 64u            /* so many waits in a row, and the peer does not do as this one, */
#define DEAR_REST 1024u          /* who leaves it alone for so many waits */
#define FLOW 4u                  /* so many messages that need not be waited for, and more are coming */
#define STREAK_MOST 8u           /* a wait that was not as foreseen takes half of what is known away */
#define DOUBT 16u                /* one wait in so many tries first all the same */

bool haste_foresees(struct haste *h) {
    if (h->shun != 0 || ++h->waits % DOUBT == 0) {
        return false;
    }
    bool brief = haste_yield(h);
    h->run = 0;
    return brief;
}

unsigned haste_allowance(struct haste *h) {
    if (h->quiet || h->shun != 0) {
        h->shun -= h->shun != 0;
        return 0;
    }
    return ++h->waits % TRIAL == 0 ? HASTE_MOST : h->limit > HASTE_LEAST ? h->limit : HASTE_LEAST;
}

static int64_t yield(void) {
    int64_t began = clock_now();
    (void)sched_yield();
    return clock_now() - began;
}

/* Was that brief, or worth it? If not, the next waits do without. */
static bool judge(struct haste *h, int64_t took, int64_t worth) {
    if (took < LONG_NS || took < worth) {
        h->good++;
        return true;
    }
    unsigned first = took < PENALTY_FIRST * PRICE_NS ? (unsigned)(took / PRICE_NS) : PENALTY_FIRST;
    unsigned again = h->good >= SOON ? 0 : h->penalty < PENALTY_MOST / 2 ? 2 * h->penalty : PENALTY_MOST;
    h->penalty = again > first ? again : first;
    h->good = 0;
    h->shun = h->penalty;
    h->streak = 0;
    return false;
}

/* What a wait may take that is for so many messages: the other side has to take them, or to send as many. */
static int64_t worth(unsigned messages) {
    return messages * WAKE_NS;
}

bool haste_yield(struct haste *h) {
    return judge(h, yield(), worth(h->run));
}

/* Gives up the processor; and if nobody else wanted it, and more is coming, time. What giving it up took. */
static int64_t make_way(bool coming) {
    int64_t began = clock_now(), took = yield();
    while (coming && took < ALONE_NS && clock_now() < began + LEAD_NS) {
        atomic_pause();
    }
    return took;
}

bool haste_give_way(struct haste *h, bool coming) {
    return judge(h, make_way(coming), worth(h->run));
}

void haste_lead(struct haste *h, unsigned messages, bool coming) {
    bool good = h->led == 0 || judge(h, h->led, worth(messages));
    h->led = 0;
    if (good && !haste_is_off(h)) {
        h->led = make_way(coming);
    }
}

/* A full queue holds as many messages each time, and so does an empty one. */
void haste_learn(struct haste *h, unsigned which) {
    if (which != 1) {
        h->streak = 0;
    } else if (h->run == h->usual) {
        h->streak += h->streak < STREAK_MOST;
    } else {
        h->usual = h->streak == 0 ? h->run : h->usual;
        h->streak /= 2;
    }
    h->run = 0;
    h->limit = which == 0 ? h->limit / 2 : which < HASTE_MOST / 2 ? 2 * which : HASTE_MOST;
}

void haste_found(struct haste *h, const struct haste_wait *w) {
    h->dear = clock_now() - w->began > DEAR_NS + worth(h->run) ? h->dear + 1 : 0;
    if (h->dear == DEAR_MOST) {
        h->dear = 0;
        h->shun = DEAR_REST;
    }
    haste_learn(h, w->tries);
}

bool haste_go_on(struct haste *h, struct haste_wait *w) {
    int64_t now = clock_now();
    if (w->tries == 0) {
        w->most = haste_allowance(h);
        w->began = now;
        w->brief = true;
    }
    if (w->brief && w->tries < w->most && now - w->began < MOST_NS) {
        w->brief = w->tries == 0 && h->leads && h->run >= FLOW ? haste_give_way(h, true) : haste_yield(h);
        w->tries++;
        return true;
    }
    if (w->most != 0) {
        haste_learn(h, 0);
    }
    w->tries = 0;
    w->sleeps = true;
    return true;
}
