/* SPDX-License-Identifier: MIT
 *
 * A publisher's subscribers, as far as it has to know them: their cursors when it waits for them, their FIFOs when they poll.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/fan.h"
#include "mem/place.h"

static bool is(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

/* One more element of an array that grows; NULL: no memory. */
static void *more(void *array, size_t count, size_t *room, size_t size) {
    if (count < *room) {
        return array;
    }
    size_t next = *room == 0 ? 16 : 2 * *room;
    void *larger = realloc(array, next * size);
    *room = larger == NULL ? *room : next;
    return larger;
}

/* ---- cursors ---- */

static void drop(struct pub *pub, size_t index) {
    seg_unmap(&pub->reader[index].map);
    pub->reader[index] = pub->reader[--pub->readers];
    pub->slowest = SIZE_MAX;
}

static int map(struct pub *pub, struct reader *reader) {
    char file[ROLL_FILE_MAX];
    roll_file(file, reader->end, "rx");
    int rc = seg_map(&reader->map, pub->end->roll.dir, file, sizeof(struct fan_rx), pub->end->address);
    rc = rc != 0 ? rc : fan_check(pub->end, &reader->map, FAN_RX_MAGIC, sizeof(struct fan_rx), &reader->end);
    if (rc != 0) {
        seg_unmap(&reader->map);
    }
    reader->seat = NULL;
    return rc;
}

/* No end of thirl's, or of another user who keeps it to himself. */
static bool is_none(int rc) {
    return rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION || rc == -EACCES;
}

/* Whoever has not joined yet, and has a post of this publisher, is still where that began: here is no file of it to map. Who is no end of
 * thirl's does not count; who cannot be mapped for want of something does, so that is an error. */
static int meet(struct pub *pub, struct roll_end end, bool joined) {
    for (size_t i = 0; i < pub->readers; i++) {
        size_t at = (pub->next + i) % pub->readers; /* they mostly come in the same order as the last time */
        struct reader *known = &pub->reader[at];
        if (is(&known->end, &end)) {
            pub->next = at + 1;
            known->there = true;
            int rc = joined && known->map.base == NULL && !known->liar ? map(pub, known) : 0;
            known->liar = known->liar || is_none(rc);
            return rc == -ENOENT || is_none(rc) ? 0 : rc;
        }
    }
    struct reader *array = more(pub->reader, pub->readers, &pub->room, sizeof *array);
    if (array == NULL) {
        return err_say(ENOMEM, "%s: no memory for another subscriber", pub->end->address);
    }
    pub->reader = array;
    struct reader reader = {.end = end, .there = true};
    int rc = joined ? map(pub, &reader) : 0;
    if (rc == 0) {
        pub->reader[pub->readers++] = reader;
    }
    return rc == -ENOENT || is_none(rc) ? 0 : rc;
}

/* Those who have not joined yet: they have a post. */
static int meet_posts(struct pub *pub) {
    DIR *list = roll_list(pub->end->roll.dir);
    int rc = list != NULL ? 0 : err_system(errno, "%s: its subscribers cannot be listed", pub->end->address);
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        if (post_of_ours(&pub->end->roll, entry->d_name, &end)) {
            rc = meet(pub, end, false);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return rc;
}

int crowd_refresh(struct pub *pub) {
    uint32_t receivers = atomic_load(&pub->end->hail->receivers) + 1; /* pairs with hail_count */
    if (receivers == pub->receivers) {
        return 0;
    }
    bool strange = !pub->met; /* nothing is posted after the beginning */
    for (size_t i = 0; i < pub->readers; i++) {
        pub->reader[i].there = false;
        strange = strange || pub->reader[i].map.base == NULL;
    }
    int rc = strange ? meet_posts(pub) : 0;
    struct roll_end end;
    for (uint32_t at = 0; rc == 0 && roll_next(&pub->end->roll, PLACE_RECEIVES, &at, &end);) {
        rc = meet(pub, end, true);
    }
    for (size_t i = pub->readers; rc == 0 && i-- > 0;) {
        if (!pub->reader[i].there) {
            drop(pub, i);
        }
    }
    pub->met = pub->met || rc == 0;
    pub->receivers = rc == 0 ? receivers : 0;
    return rc;
}

static void find_seat(struct pub *pub, struct reader *reader) {
    const struct roll_end *self = &pub->end->roll.self;
    const struct fan_seat *seat = (const struct fan_seat *)(const void *)(reader->map.base + reader->map.head);
    for (size_t i = 0; i < reader->map.ring / sizeof *seat; i++) {
        if (atomic_load(&seat[i].node) == self->node && atomic_peek(&seat[i].number) == self->number) {
            reader->seat = &seat[i]; /* pairs with the release in feed's sit */
            return;
        }
    }
}

/* Its page, the latest; NULL: it has not joined yet. */
static const struct fan_rx *page_of(struct pub *pub, struct reader *reader) {
    const struct fan_rx *rx = (const struct fan_rx *)(const void *)reader->map.base;
    if (rx != NULL && atomic_load(&rx->moved) != 0) {
        struct reader again = *reader;
        if (map(pub, &again) == 0) { /* else it is on its way out, and what it had read stands */
            seg_unmap(&reader->map);
            *reader = again;
            rx = (const struct fan_rx *)(const void *)reader->map.base;
        }
    }
    return rx;
}

void crowd_mark(struct pub *pub) {
    const struct roll_end *self = &pub->end->roll.self;
    for (size_t i = 0; i < pub->readers; i++) {
        struct reader *reader = &pub->reader[i];
        const struct fan_rx *rx = page_of(pub, reader);
        reader->holds = 0;
        for (uint64_t mask = rx != NULL ? atomic_load(&rx->held.mask) : 0; mask != 0; mask &= mask - 1) {
            unsigned slot = (unsigned)__builtin_ctzll(mask);
            if (atomic_peek(&rx->whose[slot].node) == self->node &&
                atomic_peek(&rx->whose[slot].number) == self->number) {
                pool_mark_one(&pub->pool, atomic_load(&rx->held.note[slot]));
                reader->holds++;
            }
        }
    }
}

/* How far it is; until it has taken its seat, where this publisher began. */
static uint64_t cursor_of(struct pub *pub, struct reader *reader) {
    if (reader->liar) {
        return UINT64_MAX;
    }
    const struct fan_rx *rx = page_of(pub, reader);
    if (rx == NULL || atomic_load(&rx->left) != 0) {
        return rx == NULL ? reader->cursor : UINT64_MAX;
    }
    if (reader->seat == NULL) {
        find_seat(pub, reader);
    }
    if (reader->seat != NULL) {
        uint64_t cursor = atomic_load(&reader->seat->cursor); /* pairs with sub's publish */
        if (cursor < reader->cursor || cursor > pub->cast.lane.at) {
            reader->liar = true;
            atomic_poke(&pub->end->seen->out.refused, pub->end->seen->out.refused + 1);
            return UINT64_MAX;
        }
        reader->cursor = cursor;
    }
    return reader->cursor;
}

uint64_t crowd_least(struct pub *pub, size_t *slowest) {
    uint64_t least = pub->cast.lane.at;
    *slowest = SIZE_MAX;
    for (size_t i = 0; i < pub->readers; i++) {
        uint64_t cursor = cursor_of(pub, &pub->reader[i]);
        if (cursor < least) {
            least = cursor;
            *slowest = i;
        }
    }
    return least;
}

bool crowd_bury(struct pub *pub) {
    bool some = false;
    for (size_t i = pub->readers; i-- > 0;) {
        if ((pub->reader[i].cursor < pub->cast.lane.at || pub->reader[i].holds != 0) &&
            !node_alive(pub->reader[i].end.node)) {
            drop(pub, i);
            some = true;
        }
    }
    return some;
}

uint64_t crowd_left(struct pub *pub) {
    uint64_t left = 0, sent = pub->cast.number;
    for (size_t i = 0; i < pub->readers; i++) {
        struct reader *reader = &pub->reader[i];
        if (cursor_of(pub, reader) < pub->cast.lane.at) {
            uint64_t taken = reader->seat == NULL ? 0 : atomic_load(&reader->seat->taken);
            uint64_t rest = taken < sent ? sent - taken : 1;
            left = rest > left ? rest : left;
        }
    }
    return left;
}

/* ---- descriptors ---- */

/* false: it cannot be opened now. */
static bool open_bell(struct pub *pub, const char *file, struct roll_end end) {
    struct bells *bells = &pub->bells;
    struct bells_one *array = more(bells->one, bells->count, &bells->room, sizeof *array);
    if (array == NULL) {
        return false;
    }
    bells->one = array;
    /* For reading too: a FIFO that its owner has closed would be SIGPIPE. */
    int fifo = openat(pub->end->roll.dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fifo >= 0) {
        bells->one[bells->count++] = (struct bells_one){end, fifo};
    }
    return fifo >= 0 || errno == ENOENT || errno == EACCES;
}

static void close_bells(struct bells *bells) {
    for (size_t i = 0; i < bells->count; i++) {
        fd_close(&bells->one[i].fifo);
    }
    bells->count = 0;
}

/* false: not all of them, for this time. */
static bool find_bells(struct pub *pub) {
    uint32_t receivers = atomic_load(&pub->end->hail->receivers) + 1; /* pairs with hail_count */
    if (receivers == pub->bells.receivers) {
        return true;
    }
    DIR *list = roll_list(pub->end->roll.dir);
    if (list == NULL) {
        return false;
    }
    close_bells(&pub->bells);
    bool all = true;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && strcmp(kind, "bell") == 0 && !is(&end, &pub->end->roll.self)) {
            all = open_bell(pub, entry->d_name, end) && all;
        }
    }
    (void)closedir(list);
    pub->bells.receivers = all ? receivers : 0;
    return all;
}

void crowd_ring(struct pub *pub) {
    if (!find_bells(pub)) {
        atomic_store(&pub->end->hail->polled.wanted, 1); /* with the next one, then */
    }
    for (size_t i = 0; i < pub->bells.count; i++) {
        const char byte = 1;
        ssize_t ignored = write(pub->bells.one[i].fifo, &byte, 1); /* a full FIFO is readable already */
        (void)ignored;
    }
    weave("crowd.ring.after");
}

/* ---- the list ---- */

static size_t count(const struct pub *pub) {
    size_t found = 0;
    struct roll_end end;
    for (uint32_t at = 0; roll_next(&pub->end->roll, PLACE_RECEIVES, &at, &end);) {
        found++;
    }
    return found;
}

static void name_slowest(struct pub *pub) {
    struct node_peer peer;
    const struct roll_end *end = &pub->reader[pub->slowest].end;
    if (is(end, &pub->named)) {
        return;
    }
    pub->named = *end;
    if (node_peer_open(&peer, end->node, end->number) == 0) {
        node_end_peer(pub->end->seen, peer.pid, proc_name(peer.exe));
        node_peer_close(&peer);
    }
}

void crowd_show(struct pub *pub) {
    char text[NODE_PEER_MAX] = "";
    if (pub->slowest < pub->readers) {
        name_slowest(pub);
        return;
    }
    pub->counted = clock_now();
    pub->shown = atomic_load(&pub->end->hail->receivers) + 1;
    pub->named.node = 0;
    size_t there = count(pub);
    if (there != 0) {
        (void)snprintf(text, sizeof text, "%zu subscriber%s", there, there == 1 ? "" : "s");
    }
    node_end_peer(pub->end->seen, 0, text);
}

void crowd_deinit(struct pub *pub) {
    while (pub->readers > 0) {
        drop(pub, pub->readers - 1);
    }
    free(pub->reader);
    close_bells(&pub->bells);
    free(pub->bells.one);
}
