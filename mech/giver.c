/* SPDX-License-Identifier: MIT
 *
 * A worker's pushers, see giver.h.
 */
#include "mech/giver.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/weave.h"

static int open_one(struct work *w, const char *tx, struct roll_end end) {
    struct toil *t = &w->in;
    if (t->count == t->room) {
        size_t room = t->room == 0 ? 8 : 2 * t->room;
        struct feed **feed = realloc(t->feed, room * sizeof(void *));
        if (feed == NULL) {
            return err_say(ENOMEM, "%s: no memory for %zu pushers", w->address, room);
        }
        t->feed = feed;
        t->room = room;
    }
    struct feed *f = calloc(1, sizeof *f);
    char claims[ROLL_FILE_MAX];
    roll_file(claims, end, "claim");
    int rc = f == NULL ? err_say(ENOMEM, "%s: no memory for a pusher", w->address)
                       : claim_map(&f->claim, w->roll.dir, tx, claims, end.node, end.number, w->address);
    if (rc != 0) {
        free(f);
        return rc == -ENOENT ? 0 : rc; /* it has gone in between */
    }
    rc = node_peer_open(&f->node, end.node, end.number);
    if (rc != 0 && rc != -ESRCH) {
        claim_unmap(&f->claim);
        free(f);
        return rc;
    }
    f->dead = f->over = rc == -ESRCH;
    f->node.id = end.node;
    f->end = end;
    claim_warm(&f->claim, false);
    f->lane = claim_lane(&f->claim);
    atomic_poke(&f->claim.shared->room.turned, 0);
    f->kept_most = pool_may_hold(f->claim.from->pool);
    f->returned = atomic_load(&f->claim.shared->room.returned);
    f->at = f->low = atomic_load(&f->claim.from->floor);
    f->bad = f->at > GIVER_FAR;
    t->feed[t->count++] = f;
    return 0;
}

static bool is_known(const struct toil *t, struct roll_end end) {
    for (size_t i = 0; i < t->count; i++) {
        if (t->feed[i]->end.node == end.node && t->feed[i]->end.number == end.number) {
            return true;
        }
    }
    return false;
}

int giver_find(struct work *w) {
    struct toil *t = &w->in;
    uint32_t change = atomic_load(w->roll.change) + 1;
    if (likely(change == t->change)) {
        return 0;
    }
    DIR *list = roll_list(w->roll.dir);
    int rc = 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && strcmp(kind, "tx") == 0 && !is_known(t, end)) {
            int one = open_one(w, entry->d_name, end);
            rc = rc == 0 ? one : rc;
        }
    }
    bool later = list == NULL || (rc != 0 && rc != -THIRL_EFORMAT && rc != -THIRL_EVERSION);
    t->change = later ? 0 : change; /* what is wrong with a file is said once */
    if (list != NULL) {
        (void)closedir(list);
    }
    return rc;
}

void giver_drop(struct work *w, size_t i) {
    struct toil *t = &w->in;
    struct feed *f = t->feed[i];
    node_peer_close(&f->node);
    claim_unmap(&f->claim);
    free(f);
    t->feed[i] = t->feed[--t->count];
    t->current = t->current < t->count ? t->current : 0;
}

void giver_advance(struct feed *f) {
    uint64_t floor = atomic_load(&f->claim.from->floor);
    f->low = f->low < floor && floor <= GIVER_FAR ? floor : f->low;
    while (claim_is_done(&f->claim, f->low)) { /* or skipped, which may never be shown */
        f->low++;
    }
}

static void judge(struct feed *f) {
    if (!f->dead && node_peer_doubtful(&f->node)) {
        f->dead = !node_peer_alive(&f->node);
    }
    f->over = f->dead || atomic_load(&f->claim.from->closed) != 0; /* and what it sent before is visible now */
}

void giver_clear(struct work *w) {
    struct toil *t = &w->in;
    for (size_t i = t->count; i-- > 0;) {
        struct feed *f = t->feed[i];
        uint64_t number;
        judge(f);
        if (!f->over || f->held != 0) {
            continue;
        }
        giver_advance(f);
        number = f->low;
        if (claim_beyond(&f->claim, &number)) {
            continue;
        }
        char tx[ROLL_FILE_MAX], claims[ROLL_FILE_MAX];
        roll_file(tx, f->end, "tx");
        roll_file(claims, f->end, "claim");
        weave("giver.clear.before");
        (void)unlinkat(w->roll.dir, tx, 0);
        weave("giver.clear.between");
        (void)unlinkat(w->roll.dir, claims, 0);
        giver_drop(w, i);
    }
}
