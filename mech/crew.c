/* SPDX-License-Identifier: MIT
 *
 * The workers of a work queue: who of those that hold records is dead, and how those who sleep are rung. Contracts in mech/work.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/tube.h"
#include "mech/work.h"

static struct crew_hand *find(struct crew *crew, uint32_t worker) {
    for (size_t i = 0; i < crew->count; i++) {
        if (crew->hand[i].worker == worker) {
            return &crew->hand[i];
        }
    }
    return NULL;
}

static bool grow(struct crew *crew) {
    if (crew->count < crew->room) {
        return true;
    }
    size_t room = crew->room == 0 ? 8 : 2 * crew->room;
    struct crew_hand *hand = realloc(crew->hand, room * sizeof *hand);
    if (hand == NULL) {
        return false;
    }
    crew->hand = hand;
    crew->room = room;
    return true;
}

/* One worker's file. false: nothing can be said of who is not known. */
static bool add(struct work *w, const char *file, struct roll_end end) {
    struct work_rx rx;
    int fd = openat(w->roll.dir, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT;
    }
    ssize_t got = fd_read_at(fd, &rx, sizeof rx, 0);
    fd_close(&fd);
    if (got != (ssize_t)sizeof rx || memcmp(rx.magic, WORK_RX_MAGIC, sizeof rx.magic) != 0 || rx.node != end.node ||
        rx.number != end.number) {
        return true; /* no worker: it has claimed nothing */
    }
    struct crew_hand *known = find(&w->crew, rx.worker);
    if (known != NULL) {
        known->there = true;
        return true;
    }
    if (!grow(&w->crew)) {
        return false;
    }
    struct crew_hand hand = {.worker = rx.worker, .there = true};
    int rc = node_peer_open(&hand.node, end.node, end.number);
    if (rc == 0) {
        w->crew.hand[w->crew.count++] = hand;
    }
    return rc == 0 || rc == -ESRCH;
}

static void drop(struct crew *crew, size_t i) {
    node_peer_close(&crew->hand[i].node);
    crew->hand[i] = crew->hand[--crew->count];
}

/* Lists the workers anew. false: not all could be looked at. */
static bool refresh(struct work *w) {
    struct crew *crew = &w->crew;
    for (size_t i = 0; i < crew->count; i++) {
        crew->hand[i].there = false;
    }
    DIR *list = roll_list(w->roll.dir);
    bool whole = list != NULL;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && strcmp(kind, "rx") == 0) {
            whole = add(w, entry->d_name, end) && whole;
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    for (size_t i = crew->count; whole && i-- > 0;) {
        if (!crew->hand[i].there) {
            drop(crew, i);
        }
    }
    return whole;
}

bool crew_gone(struct work *w, uint32_t worker) {
    struct crew_hand *hand = find(&w->crew, worker);
    if (hand == NULL && !refresh(w)) {
        return false;
    }
    hand = hand != NULL ? hand : find(&w->crew, worker);
    /* A worker has its file before it holds anything, and leaves with nothing: without a file it is dead and swept. */
    return hand == NULL || !node_peer_alive(&hand->node);
}

static void watch_life(struct work *w, uint32_t worker, struct mech_watch *watch) {
    const struct crew_hand *hand = find(&w->crew, worker);
    if (hand != NULL && hand->node.doubt != 0) {
        watch->slice = 1000000; /* it may be ending */
    } else if (hand != NULL && watch->life == NULL) {
        watch->life = hand->node.life;
        watch->life_value = hand->node.life_value;
    }
}

unsigned crew_relieve(struct work *w, const struct claim *c, uint64_t number, uint64_t end, struct mech_watch *watch) {
    unsigned returned = 0;
    uint32_t asked = 0;
    bool gone = false;
    for (uint32_t place; number < end && claim_sent(c, number, &place); number++) {
        uint32_t holder = claim_holder(c, number, claim_load(c, number));
        if (holder == 0 || (!w->sends && holder == w->in.worker)) {
            continue;
        }
        gone = holder == asked ? gone : crew_gone(w, holder);
        asked = holder;
        if (gone) {
            returned += claim_return(c, number, holder);
        } else if (watch != NULL) {
            watch_life(w, holder, watch);
        }
    }
    return returned;
}

void crew_deinit(struct work *w) {
    while (w->crew.count != 0) {
        drop(&w->crew, 0);
    }
    free(w->crew.hand);
    w->crew = (struct crew){0};
}

/* ---- ringing ---- */

void crew_ring_fifo(const struct work *w, struct roll_end end) {
    char file[ROLL_FILE_MAX];
    roll_file(file, end, "bell");
    (void)tube_ring(w->roll.dir, file);
}

void crew_call_polled(struct work *w) {
    DIR *list = roll_list(w->roll.dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && strcmp(kind, "bell") == 0) {
            crew_ring_fifo(w, end);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}
