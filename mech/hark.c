/* SPDX-License-Identifier: MIT
 *
 * The way IN of a desk: whom a server accepts, who is listened to, and the sleep until somebody speaks. See desk.h.
 */
#define _GNU_SOURCE
#include "mech/desk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/straight.h"
#include "mem/place.h"

#define LIVES_EACH 16 /* conversations that are not polled: so many are asked for their life in a review */
#define LIST_EACH 32  /* reviews between two looks for clients whose knock was lost */

/* A client, and what it has asked for: as it stands at its place. */
static uint64_t shape_of(const struct place *client) {
    return (client->node ^ client->number * UINT64_C(0x9e3779b97f4a7c15)) + client->state;
}

static bool remember(struct desk *d, uint32_t at) {
    if (at < d->knows) {
        return true;
    }
    uint32_t knows = at + 64;
    uint64_t *more = realloc(d->known, knows * sizeof *more);
    if (more != NULL) {
        memset(more + d->knows, 0, (knows - d->knows) * sizeof *more);
        d->known = more;
        d->knows = knows;
    }
    return more != NULL;
}

/* One that may have asked to be accepted. 0: it has been, and is; -EAGAIN: it has not asked, or is gone; or an error. */
static int accept_one(struct desk *d, const struct roll_end *client) {
    char post[ROLL_FILE_MAX];
    talk_post_file(post, &d->roll.self, client);
    if (faccessat(d->roll.dir, post, F_OK, 0) != 0) {
        return errno == ENOENT ? -EAGAIN : -errno; /* he has not asked; or nobody can tell now */
    }
    int rc = node_alive(client->node) ? talk_make(d, client) : -EAGAIN;
    weave("hark.accept.before");
    if (rc == 0 || rc == -EAGAIN) {
        (void)unlinkat(d->roll.dir, post, 0);
    } else {
        atomic_poke(&d->seen->in.refused, d->seen->in.refused + 1); /* it stays posted, for a better time */
    }
    weave("hark.accept.after");
    return rc;
}

/* A server's way IN: accepts those who ask for it. Who asks shows that at his place, so only those are looked at that have changed. */
static void accept_clients(struct desk *d) {
    bool accepted = false;
    struct place found;
    for (uint32_t at = 0; roll_next_place(&d->roll, PLACE_SENDS, &at, &found);) {
        const struct roll_end client = {found.node, found.number};
        if (!remember(d, at) || d->known[at] == shape_of(&found)) {
            continue;
        }
        int rc = accept_one(d, &client);
        accepted |= rc == 0;
        d->known[at] = rc == 0 || rc == -EAGAIN ? shape_of(&found) : 0;
    }
    if (accepted) {
        roll_tell(&d->roll);
    }
}

static void cool(struct desk *d, struct talk *t) {
    unsigned i = 0;
    while (d->hot[i] != t) {
        i++;
    }
    d->warm--;
    for (; i < d->warm; i++) {
        d->hot[i] = d->hot[i + 1];
    }
    atomic_poke(&t->hot, false);
}

/* Is everybody to knock who has something? */
static bool listens(const struct desk *d) {
    return d->sleepers != 0 || d->dark;
}

static void disarm_all(struct desk *d) {
    for (unsigned i = 0; i < d->warm; i++) {
        talk_disarm(d->hot[i]);
    }
}

/* From now on it is polled. The one that has been polled longest makes room. */
static void warm(struct desk *d, struct talk *t) {
    if (d->warm == DESK_HOT) {
        struct talk *oldest = d->hot[0];
        cool(d, oldest);
        talk_arm(oldest);
        if (inlet_ready(&oldest->shm.in)) {
            door_mark(&d->door, oldest->seat);
        }
    }
    d->hot[d->warm++] = t;
    atomic_poke(&t->hot, true);
    if (!listens(d)) {
        talk_disarm(t);
        return;
    }
    talk_arm(t); /* another thread sleeps, or a loop: it is to be rung for, again */
    if (inlet_ready(&t->shm.in)) {
        door_wake(&d->door);
    }
}

/* It is over: the way IN lets go of it, and says so. */
static __attribute__((noinline)) int say_gone(struct desk *d, struct talk *t, int code, struct mech_piece *piece,
                                              struct mech_note *note) {
    if (t->hot) {
        cool(d, t);
    }
    note->kind = MECH_GONE;
    note->whom = t->whom;
    note->failure = code;
    *piece = (struct mech_piece){.data = NULL};
    d->in[t->seat] = NULL;
    d->taken -= d->serves ? t->finals - atomic_peek(&t->asked) : 0;
    (void)atomic_sub(&d->count, 1);
    (void)atomic_add(&d->overs, 1);
    atomic_store(&t->over, (uint32_t)-code); /* pairs with the load in is_fit */
    talk_note(d);
    if (t->held == 0) {
        talk_leave_in(t);
    }
    return 0;
}

static void show_busy(struct desk *d) {
    atomic_poke(&d->own->busy, (uint32_t)(d->taken - atomic_peek(&d->answered)));
}

/* ---- messages ---- */

static int lied(struct talk *t, struct mech_piece *piece, const char *what) {
    inlet_free(&t->shm.in, piece);
    return err_say(THIRL_EFORMAT, "%s: the peer, %s, sent %s; it is not listened to any more", t->shm.address,
                   t->shm.in.peer.who, what);
}

/* How many bytes of the message are its head, and what the note gets of it; 0: it has none. */
static inline size_t read_head(const char *data, size_t size, uint64_t *head, struct mech_note *note) {
    note->again = false;
    note->deadline = INT64_MAX;
    if (unlikely(size < sizeof *head)) {
        return 0;
    }
    memcpy(head, data, sizeof *head);
    if ((*head & DESK_LONG) == 0) {
        return sizeof *head;
    }
    uint64_t more;
    if (unlikely(size < DESK_HEAD)) {
        return 0;
    }
    memcpy(&more, data + sizeof *head, sizeof more);
    int64_t deadline = (int64_t)(more & ~UINT64_C(15));
    note->again = (more & DESK_AGAIN) != 0;
    note->deadline = deadline >= (INT64_MAX & ~INT64_C(15)) ? INT64_MAX : deadline < 0 ? 0 : deadline;
    return DESK_HEAD;
}

/* Nothing has come: is it over with him? */
static int ask_after(struct talk *t, int rc) {
    uint32_t broken = atomic_load(&t->broken); /* pairs with the release in desk's send */
    if (rc == -EAGAIN && unlikely(broken != 0)) {
        const char *who = t->shm.in.feed != NULL ? t->shm.in.peer.who : t->who;
        rc = err_say((int)broken, "%s: the peer, %s, %s", t->shm.address, who,
                     broken == THIRL_EPEERDIED ? "died" : "closed its end");
    }
    return rc;
}

/* Counts a message of that kind. false: a peer of this end sends none such. */
static inline bool may_come(struct desk *d, struct talk *t, unsigned kind) {
    if (d->serves) {
        if (likely(kind == MECH_REQUEST)) {
            t->finals++;
            d->taken++;
            show_busy(d);
        }
        return kind == MECH_REQUEST || kind == MECH_CANCEL;
    }
    if (likely(kind == MECH_REPLY || kind == MECH_FAILED)) {
        atomic_poke(&t->finals, t->finals + 1);
        return true;
    }
    return kind == MECH_PART;
}

static inline __attribute__((always_inline)) int hear(struct desk *d, struct talk *t, struct mech_piece *piece,
                                                      struct mech_note *note) {
    int rc = straight_take(&t->shm.in, piece);
    if (unlikely(rc != 0)) {
        return ask_after(t, rc);
    }
    const char *data = piece->data;
    uint64_t head = 0;
    size_t first = read_head(data, piece->size, &head, note);
    if (unlikely(first == 0)) {
        return lied(t, piece, "a message without its head");
    }
    unsigned kind = (unsigned)(head >> DESK_KIND_SHIFT) & DESK_KINDS;
    if (unlikely(!may_come(d, t, kind))) {
        return lied(t, piece, "a message of a kind that it may not send");
    }
    note->kind = (enum mech_kind)kind;
    note->call = head & DESK_CALL;
    note->whom = t->whom;
    piece->data = (void *)(uintptr_t)(data + first);
    piece->size -= first;
    piece->via = t;
    t->held++;
    return 0;
}

/* A try at one conversation: 0, -EAGAIN, or an error of this end. */
static inline __attribute__((always_inline)) int try_one(struct desk *d, struct talk *t, struct mech_piece *piece,
                                                         struct mech_note *note) {
    int rc = hear(d, t, piece, note);
    if (likely(rc == 0)) {
        if (unlikely(d->sleepers != 0)) {
            door_wake(&d->door); /* there may be more, and this thread goes away with what it has */
        }
        return 0;
    }
    if (rc == -EAGAIN || rc == -EBUSY) {
        return rc;
    }
    if (shm_final(rc)) {
        return say_gone(d, t, rc, piece, note);
    }
    door_mark(&d->door, t->seat); /* this process lacks something, such as a descriptor: the next try may have it */
    return rc;
}

static bool does_stir(struct talk *t) {
    return inlet_ready(&t->shm.in) || atomic_load(&t->broken) != 0;
}

/* Looks at everybody: at the lanes of all, and at the lives of some. */
static void review(struct desk *d, bool knocked) {
    d->reviewed = clock_now();
    /* Listing a directory allocates: not each time that nobody has said anything. */
    uint32_t come = atomic_load(d->roll.change) + 1;
    if (d->serves && (knocked || come != d->come || ++d->reviews % LIST_EACH == 0)) {
        accept_clients(d);
        d->come = atomic_load(d->roll.change) + 1; /* accepting changes it; who came meanwhile knocks */
    }
    unsigned asked = 0;
    for (uint32_t i = 0, top = atomic_load(&d->top), first = d->asked_for + 1; i < top; i++) {
        uint32_t seat = (first + i) % top;
        struct talk *t = atomic_load(&d->in[seat]); /* pairs with the release in talk_make */
        if (t == NULL) {
            continue;
        }
        bool stirs = does_stir(t);
        if (!stirs && (t->hot || asked < LIVES_EACH)) {
            asked += !t->hot;
            d->asked_for = t->hot ? d->asked_for : seat;
            stirs = inlet_look(&t->shm.in) == 0;
            uint32_t lost = stirs || t->shm.in.feed != NULL ? 0 : talk_lost(t); /* who has spoken says it there */
            if (lost != 0) {
                atomic_store(&t->broken, lost);
                stirs = true;
            }
        }
        if (stirs) {
            door_mark(&d->door, seat);
        }
    }
}

/* Those who knocked. */
static __attribute__((noinline)) int try_others(struct desk *d, struct mech_piece *piece, struct mech_note *note) {
    uint32_t seat;
    while (door_answer(&d->door, &seat)) {
        if (seat == 0) {
            review(d, true);
            continue;
        }
        struct talk *t = atomic_load(&d->in[seat]);
        if (t == NULL) {
            continue;
        }
        int rc = try_one(d, t, piece, note);
        if (d->in[seat] == t && !t->hot && t->shm.in.feed != NULL) {
            warm(d, t);
        }
        if (rc != -EAGAIN) {
            return rc;
        }
    }
    return -EAGAIN;
}

static inline int take(struct desk *d, struct mech_piece *piece, struct mech_note *note) {
    for (unsigned i = 0; i < d->warm; i++) {
        d->turn = d->turn + 1 < d->warm ? d->turn + 1 : 0;
        int rc = try_one(d, d->hot[d->turn], piece, note);
        if (rc != -EAGAIN) {
            return rc;
        }
    }
    return door_heard(&d->door) ? try_others(d, piece, note) : -EAGAIN;
}

/* There is one that is listened to, and he will speak in a moment. */
static void linger(struct desk *d) {
    struct inlet *in = &d->hot[0]->shm.in;
    if (in->bound && in->run.left == 0) {
        in->caught_up = in->number;
        pace_linger(&in->lane);
    }
}

int hark_take(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    struct desk *d = self;
    if (wait && d->warm == 1) {
        linger(d);
    }
    int rc = take(d, piece, note);
    if (unlikely(d->lamp.fifo >= 0)) {
        hark_settle(d);
    }
    return rc;
}

void hark_free(void *self, struct mech_piece *piece, enum mech_way way) {
    struct talk *t = piece->via;
    (void)self;
    (void)way;
    if (t == NULL) {
        return; /* an event */
    }
    inlet_free(&t->shm.in, piece);
    t->held--;
    if (unlikely(t->held == 0 && t->over != 0)) {
        talk_leave_in(t);
    }
}

int64_t hark_disarm(struct desk *d) {
    door_disarm(&d->own->asleep);
    d->sleepers--;
    if (!listens(d)) {
        disarm_all(d);
    }
    struct feed *feed = d->warm == 0 ? NULL : d->hot[0]->shm.in.feed;
    return feed == NULL ? 0 : atomic_peek(&feed->theirs->data.at);
}

int hark_arm(struct desk *d, struct mech_watch *watch) {
    atomic_poke(&d->seen->in.waits, d->seen->in.waits + 1);
    watch->kind = MECH_WATCH_WORD;
    watch->word = &d->door.page->count;
    watch->value = door_arm(&d->door, &d->own->asleep);
    d->sleepers++;
    /* A conversation that is not watched here is looked at by the clock. */
    bool all = atomic_peek(&d->count) == d->warm;
    watch->slice = all ? SHM_LIFE_SLICE : MECH_SLICE_NS;
    bool stirs = false;
    for (unsigned i = 0; i < d->warm; i++) {
        struct inlet *in = &d->hot[i]->shm.in;
        talk_arm(d->hot[i]);
        int64_t slice = mate_slice(&in->peer, in->bound);
        watch->slice = slice < watch->slice ? slice : watch->slice;
        if (in->peer.node.life != NULL && watch->life == NULL) {
            watch->life = in->peer.node.life;
            watch->life_value = in->peer.node.life_value;
        } else if (in->peer.node.life != NULL && watch->also_count < MECH_ALSO) {
            watch->also[watch->also_count++] = (struct futex_word){in->peer.node.life, in->peer.node.life_value};
        }
        stirs = stirs || inlet_ready(in);
    }
    watch->timed = d->warm != 0 && bell_timed(&d->hot[0]->shm.in.own->data); /* as its ringer sees it: armed */
    weave("hark.arm.armed");
    if (stirs || door_heard(&d->door)) {
        (void)hark_disarm(d);
        return 1;
    }
    return 0;
}

int hark_look(struct desk *d) {
    if (clock_now() - d->reviewed >= MECH_SLICE_NS / 2) {
        review(d, false);
    }
    return door_heard(&d->door) ? 0 : -EAGAIN;
}

/* Has one of those who knocked something? Then it knocks on; they are all polled, or rung for again. */
static bool has_knocked(struct desk *d) {
    uint32_t seat;
    while (door_answer(&d->door, &seat)) {
        struct talk *t = atomic_load(&d->in[seat]);
        if (seat == 0) {
            review(d, true);
            continue;
        }
        if (t != NULL && !t->hot && t->shm.in.feed != NULL) {
            warm(d, t);
        }
        if (t != NULL && does_stir(t)) {
            door_mark(&d->door, seat);
            return true;
        }
    }
    return false;
}

bool hark_ready(struct desk *d) {
    for (unsigned i = 0; i < d->warm; i++) {
        if (does_stir(d->hot[i])) {
            return true;
        }
    }
    return has_knocked(d);
}

static void light(struct desk *d) {
    lamp_light(&d->lamp);
    d->dark = false;
    if (!listens(d)) {
        disarm_all(d);
    }
}

void hark_settle(struct desk *d) {
    if (hark_ready(d) || (hark_look(d) == 0 && hark_ready(d))) {
        light(d);
        return;
    }
    struct inlet *only = d->warm == 1 && atomic_peek(&d->count) == 1 ? &d->hot[0]->shm.in : NULL;
    lamp_guard(&d->lamp, only != NULL && only->feed != NULL ? &only->peer.node : NULL);
    lamp_dark(&d->lamp);
    d->dark = true;
    for (unsigned i = 0; i < d->warm; i++) {
        talk_arm(d->hot[i]);
    }
    door_poll(&d->own->polled);
    if (hark_ready(d)) {
        light(d);
    }
}
