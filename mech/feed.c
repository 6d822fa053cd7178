/* SPDX-License-Identifier: MIT
 *
 * A subscriber's publishers: found, followed, let go; and its seats at them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/fan.h"
#include "mem/place.h"

#define SEATS_LEAST 64

static bool is(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

/* ---- seats ---- */

static struct fan_seat *seats(const struct sub *sub) {
    return (struct fan_seat *)(void *)(sub->seg.base + sub->seg.head);
}

static size_t seat_count(const struct sub *sub) {
    return sub->seg.ring / sizeof(struct fan_seat);
}

static int make_file(struct sub *sub, size_t count, struct seg *seg) {
    struct fan *end = sub->end;
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, end->roll.self, "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int rc = seg_make(seg, end->roll.dir, unfinished, sizeof(struct fan_rx), count * sizeof(struct fan_seat), end->mode,
                      end->address);
    if (rc == 0) {
        struct fan_rx *rx = (struct fan_rx *)(void *)seg->base;
        rx->mark = (struct fan_mark){FAN_RX_MAGIC,        FAN_VERSION,           sizeof(struct fan_rx),
                                     end->roll.self.node, end->roll.self.number, 0};
        rx->cpu = proc_cpu();
    }
    return rc;
}

/* How many publishers are there, or have been. */
static size_t count_senders(const struct sub *sub) {
    size_t count = 0;
    struct roll_end end;
    for (uint32_t at = 0; roll_next(&sub->end->roll, PLACE_SENDS, &at, &end);) {
        count++;
    }
    return count;
}

int feed_seats(struct sub *sub) {
    sub->posts = sub->end->roll.posts - sub->end->part; /* somebody may have posted to a part before it came */
    int rc = make_file(sub, count_senders(sub) + SEATS_LEAST, &sub->seg);
    sub->own = rc == 0 ? (struct fan_rx *)(void *)sub->seg.base : NULL;
    return rc;
}

/* A file with twice as many seats takes the place of the one that is full; publishers that have mapped that are told. */
static int grow(struct sub *sub) {
    struct seg larger;
    char file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    roll_file(file, sub->end->roll.self, "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    (void)unlinkat(sub->end->roll.dir, unfinished, 0);
    size_t count = seat_count(sub);
    int rc = make_file(sub, 2 * count, &larger);
    if (rc != 0) {
        return rc;
    }
    struct fan_rx *next = (struct fan_rx *)(void *)larger.base;
    next->held = sub->own->held;
    memcpy(next->whose, sub->own->whose, sizeof next->whose);
    memcpy(larger.base + larger.head, sub->seg.base + sub->seg.head, count * sizeof(struct fan_seat));
    weave("feed.grow.copied");
    if (renameat(sub->end->roll.dir, unfinished, sub->end->roll.dir, file) != 0) {
        rc = err_system(errno, "%s: the channel was removed from the registry", sub->end->address);
        seg_unmap(&larger);
        return rc;
    }
    weave("feed.grow.renamed");
    struct fan_seat *old = seats(sub), *now = (struct fan_seat *)(void *)(larger.base + larger.head);
    for (size_t i = 0; i < sub->feeds; i++) {
        if (sub->feed[i]->seat != NULL) {
            sub->feed[i]->seat = now + (sub->feed[i]->seat - old);
        }
    }
    atomic_store(&sub->own->moved, 1); /* pairs with the load in crowd's cursor_of */
    seg_unmap(&sub->seg);
    sub->seg = larger;
    sub->own = (struct fan_rx *)(void *)larger.base;
    return 0;
}

static void stand_up(struct feed *feed) {
    if (feed->seat != NULL) {
        atomic_store(&feed->seat->node, 0);
        feed->seat = NULL;
    }
}

static int sit(struct sub *sub, struct feed *feed) {
    size_t i = 0;
    while (i < seat_count(sub) && seats(sub)[i].node != 0) {
        i++;
    }
    if (i == seat_count(sub)) {
        int rc = grow(sub);
        if (rc != 0) {
            return rc;
        }
    }
    struct fan_seat *seat = seats(sub) + i;
    atomic_poke(&seat->number, feed->end.number);
    atomic_poke(&seat->cursor, feed->in.lane.at);
    atomic_poke(&seat->taken, feed->in.number);
    atomic_poke(&seat->lost, 0);
    weave("feed.sit.before");
    atomic_store(&seat->node, feed->end.node); /* pairs with the load in crowd's find_seat */
    feed->seat = seat;
    return 0;
}

/* ---- publishers ---- */

static void show(struct sub *sub) {
    if (sub->end->part) {
        return;
    }
    char text[NODE_PEER_MAX] = "";
    size_t there = 0;
    const struct feed *one = NULL;
    for (size_t i = 0; i < sub->feeds; i++) {
        if (sub->feed[i]->theirs != NULL) {
            one = sub->feed[i];
            there++;
        }
    }
    if (there > 1) {
        (void)snprintf(text, sizeof text, "%zu publishers", there);
    } else if (there == 1) {
        memcpy(text, one->who, sizeof text);
    }
    node_end_peer(sub->end->seen, 0, text);
}

void feed_forget(struct feed *feed) {
    if (feed->out == 0) {
        seg_unmap(&feed->map);
        free(feed);
    }
}

/* But for what is still held of it. */
static void let_go(struct sub *sub, struct feed *feed) {
    stand_up(feed);
    if (feed->out == 0) {
        seg_unmap(&feed->map);
    }
    node_peer_close(&feed->node);
    fd_close(&feed->fifo);
    feed->theirs = NULL;
    sub->last = sub->last == feed ? NULL : sub->last;
}

static void drop(struct sub *sub, size_t index) {
    struct feed *feed = sub->feed[index];
    let_go(sub, feed);
    post_done(&sub->end->roll, &feed->end); /* if it was put there while the list was read */
    feed->over = true;
    feed_forget(feed);
    sub->feed[index] = sub->feed[--sub->feeds];
    sub->at = 0;
    show(sub);
}

void feed_cut(struct sub *sub, struct feed *feed) {
    let_go(sub, feed);
    post_done(&sub->end->roll, &feed->end);
    show(sub); /* it stays in the list, so that it is not found again */
}

static struct feed *find(const struct sub *sub, const struct roll_end *end) {
    for (size_t i = 0; i < sub->feeds; i++) {
        if (is(&sub->feed[i]->end, end)) {
            return sub->feed[i];
        }
    }
    return NULL;
}

static bool make_place(struct sub *sub) {
    if (sub->feeds == sub->room) {
        size_t room = sub->room == 0 ? 8 : 2 * sub->room;
        struct feed **more = realloc(sub->feed, room * sizeof(void *));
        if (more == NULL) {
            return false;
        }
        sub->feed = more;
        sub->room = room;
    }
    return true;
}

static void understand(struct sub *sub, struct feed *feed) {
    uint32_t full = atomic_peek(&feed->theirs->full);
    feed->waits = full == THIRL_FULL_BLOCK || full == THIRL_FULL_FAIL || full == THIRL_FULL_DROP_NEWEST;
    feed->cuts = full == THIRL_FULL_DISCONNECT;
    cast_follow(&feed->in, &feed->theirs->cast, feed->map.base + feed->map.head, feed->map.ring, 0);
    feed->kept_most = pool_may_hold(atomic_peek(&feed->theirs->pool));
    feed->in.latest = full == THIRL_FULL_LATEST;
    memcpy(feed->who, feed->theirs->who, sizeof feed->who);
    feed->who[sizeof feed->who - 1] = '\0';
    (void)sub;
}

/* Opens what that file is. 0; -EAGAIN: there is nothing to read there; or an error. */
static int look_into(struct sub *sub, struct feed *feed, const char *file, bool posted) {
    int rc = seg_map_pooled(&feed->map, sub->end->roll.dir, file, sizeof(struct fan_tx), sub->end->address);
    if (rc == 0) {
        rc = fan_check(sub->end, &feed->map, FAN_TX_MAGIC, sizeof(struct fan_tx), &feed->end);
    }
    if (rc != 0) {
        return rc == -ENOENT ? -EAGAIN : rc;
    }
    feed->theirs = (const struct fan_tx *)(const void *)feed->map.base;
    understand(sub, feed);
    rc = node_peer_open(&feed->node, feed->end.node, feed->end.number);
    feed->posted = posted;
    if (rc == 0 && sub->end->part) {
        node_peer_lean(&feed->node); /* there may be very many */
    }
    if (rc == -ESRCH && posted) {
        feed->node = (struct node_peer){.fd = -1};
        feed->dead = true;
        rc = 0;
    }
    bool over = rc == -ESRCH || (atomic_load(&feed->theirs->gone) != 0 && !posted);
    if (rc == 0 && !over && !sub->joined && !posted) {
        uint64_t history = sub->history != 0 ? sub->history : atomic_peek(&feed->theirs->history);
        rc = cast_join(&feed->in, history) == 0
                 ? 0
                 : err_say(THIRL_EFORMAT, "%s: what the publisher, %s, has written is damaged", sub->end->address,
                           feed->who);
    }
    return over ? -EAGAIN : rc != 0 ? rc : sit(sub, feed);
}

static int meet(struct sub *sub, const char *file, struct roll_end end, bool posted) {
    if (find(sub, &end) != NULL) {
        if (posted) {
            post_done(&sub->end->roll, &end);
        }
        return 0;
    }
    struct feed *feed = make_place(sub) ? calloc(1, sizeof *feed) : NULL;
    if (feed == NULL) {
        return err_say(ENOMEM, "%s: no memory for another publisher", sub->end->address);
    }
    feed->end = end;
    feed->fifo = -1;
    feed->node.fd = -1;
    int rc = look_into(sub, feed, file, posted);
    bool lies = rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION;
    if (rc != 0) {
        let_go(sub, feed);
    }
    if (rc != 0 && (!lies || !sub->joined)) {
        free(feed);
        return rc == -EAGAIN ? 0 : rc;
    }
    weave("feed.meet.before");
    sub->feed[sub->feeds++] = feed;
    if (posted) {
        post_done(&sub->end->roll, &end);
    }
    weave("feed.meet.after");
    return rc;
}

/* Those who have posted to this end, if anybody has posted anything since it last looked. */
static int meet_posts(struct sub *sub) {
    uint32_t posts = place_posts(sub->end->roll.change);
    if (posts == sub->posts) {
        return 0;
    }
    DIR *list = roll_list(sub->end->roll.dir);
    int rc = list != NULL ? 0 : err_system(errno, "%s: its publishers cannot be listed", sub->end->address);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        int met = post_to_us(&sub->end->roll, entry->d_name, &end) ? meet(sub, entry->d_name, end, true) : 0;
        rc = rc != 0 ? rc : met;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    sub->posts = rc == 0 ? posts : sub->posts;
    return rc;
}

static int meet_there(struct sub *sub) {
    int rc = 0;
    struct roll_end end;
    for (uint32_t at = 0; roll_next(&sub->end->roll, PLACE_SENDS, &at, &end);) {
        char file[ROLL_FILE_MAX];
        roll_file(file, end, "tx");
        int met = meet(sub, file, end, false);
        rc = rc != 0 ? rc : met;
    }
    return rc;
}

int feed_refresh(struct sub *sub) {
    sub->senders = atomic_load(&sub->end->hail->senders) + 1; /* pairs with hail_count */
    /* Whoever joins and finds posts was there before their senders, so they come first. */
    int rc = meet_posts(sub), met = meet_there(sub);
    sub->doubt = true;
    show(sub);
    rc = rc != 0 ? rc : met;
    sub->lacks = rc != 0 && rc != -THIRL_EFORMAT && rc != -THIRL_EVERSION;
    return rc;
}

/* Has it left, or died? */
static bool is_over(struct feed *feed, bool *died) {
    bool gone = atomic_load(&feed->theirs->gone) != 0;
    if (!gone && !feed->dead && (node_peer_doubtful(&feed->node) || feed->node.life == NULL)) {
        feed->dead = !node_peer_alive(&feed->node);
    }
    gone = gone || (feed->dead && atomic_load(&feed->theirs->gone) != 0); /* it may have left, and ended then */
    *died = feed->dead && !gone;
    return gone || feed->dead;
}

int feed_tidy(struct sub *sub) {
    for (size_t i = 0; i < sub->feeds; i++) {
        struct feed *feed = sub->feed[i];
        bool died = false;
        if (feed->theirs == NULL || !is_over(feed, &died) || cast_stirs(&feed->in)) {
            continue; /* what it committed is visible now, if it was not before */
        }
        int rc = died ? err_say(THIRL_EPEERDIED,
                                "%s: a publisher, %s, died; all %llu messages that it had sent were received or "
                                "counted as lost; the subscription goes on",
                                sub->end->address, feed->who, (unsigned long long)feed->in.number)
                      : 0;
        weave("feed.tidy.before");
        drop(sub, i--);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

bool feed_look(struct sub *sub) {
    bool dead = false;
    for (size_t i = 0; i < sub->feeds; i++) {
        struct feed *feed = sub->feed[i];
        if (feed->theirs != NULL) {
            feed->dead = !node_peer_alive(&feed->node);
            dead = dead || feed->dead;
        }
    }
    return dead;
}

bool feed_ready(struct sub *sub) {
    bool ready = atomic_load(&sub->end->hail->senders) + 1 != sub->senders; /* pairs with hail_count */
    for (size_t i = 0; i < sub->feeds && !ready; i++) {
        struct feed *feed = sub->feed[i];
        if (feed->theirs == NULL) {
            continue;
        }
        ready = cast_stirs(&feed->in);
        if (!ready && (feed->dead || node_peer_changed(&feed->node) || atomic_load(&feed->theirs->gone) != 0)) {
            sub->doubt = true;
            ready = true;
        }
    }
    return ready;
}

void feed_deinit(struct sub *sub) {
    for (size_t i = 0; i < sub->feeds; i++) {
        struct feed *feed = sub->feed[i];
        seg_unmap(&feed->map);
        node_peer_close(&feed->node);
        fd_close(&feed->fifo);
        free(feed);
    }
    free(sub->feed);
    sub->feed = NULL;
    sub->feeds = 0;
}
