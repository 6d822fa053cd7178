/* SPDX-License-Identifier: MIT
 *
 * The words' slow transitions, and the files of one pusher.
 */
#define _GNU_SOURCE
#include "mem/claim.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mem/hold.h"

bool claim_finish(const struct claim *c, uint64_t number, uint32_t worker) {
    uint64_t *word = &c->word[number & c->mask];
    uint32_t lap = claim_lap(c, number);
    uint64_t old = atomic_peek(word);
    if ((old | 4) != claim_make_word(lap, worker, true, CLAIM_HELD)) {
        return false;
    }
    weave("claim.finish.before");
    bool done = atomic_cas(word, &old, claim_make_word(lap, 0, false, CLAIM_DONE)); /* (2) */
    weave("claim.finish.after");
    return done;
}

bool claim_return(const struct claim *c, uint64_t number, uint32_t worker) {
    uint64_t *word = &c->word[number & c->mask];
    uint32_t lap = claim_lap(c, number);
    uint64_t old = atomic_load(word);
    if ((old | 4) != claim_make_word(lap, worker, true, CLAIM_HELD)) {
        return false;
    }
    weave("claim.return.before");
    if (!atomic_cas(word, &old, claim_make_word(lap, 0, true, CLAIM_FREE))) {
        return false;
    }
    weave("claim.return.between");
    (void)atomic_add(&c->shared->room.returned, 1); /* a hint: whoever finds nothing looks at everything */
    return true;
}

void claim_skip(const struct claim *c, uint64_t number) {
    uint32_t lap = claim_lap(c, number);
    uint64_t old = claim_make_word(lap - 1, 0, false, CLAIM_DONE);
    weave("claim.skip.before");
    (void)atomic_cas(&c->word[number & c->mask], &old, claim_make_word(lap, 0, false, CLAIM_DONE));
}

bool claim_read_away(const struct claim *c, uint32_t size, struct claim_record *record) {
    struct pool_ref ref;
    if (size != sizeof ref) {
        return false;
    }
    memcpy(&ref, record->data, sizeof ref);
    if (!pool_sound(&c->tx, &ref)) {
        return false;
    }
    record->data = pool_message(&c->tx, &ref);
    record->size = ref.size;
    record->units = ref.units;
    return true;
}

/* ---- files ---- */

static size_t tx_head(uint64_t slots) {
    return sizeof(struct claim_tx) + (size_t)slots * sizeof(uint64_t);
}

static size_t words_size(uint64_t slots) {
    return sizeof(struct claim_words) + (size_t)slots * sizeof(uint64_t);
}

static void point(struct claim *c) {
    c->from = (const struct claim_tx *)(const void *)c->tx.base;
    c->shared = (struct claim_words *)(void *)c->words.base;
    c->entry = c->from->entry;
    c->word = c->shared->word;
}

static void shape(struct claim *c, uint64_t slots) {
    c->mask = slots - 1;
    c->shift = (unsigned)__builtin_ctzll(slots);
}

int claim_make(struct claim *c, int dir, const char *tx, const char *words, uint64_t ring, uint64_t pool, unsigned mode,
               uint64_t node, uint32_t number, const char *what) {
    *c = (struct claim){.mask = 0};
    uint64_t size = seg_round(1);
    while (size < ring) {
        size *= 2;
    }
    uint64_t slots = size / CLAIM_SHARE;
    shape(c, slots);
    /* The words first: a tx without them is nothing. */
    int rc = seg_make(&c->words, dir, words, words_size(slots), 0, mode, what);
    if (rc != 0) {
        return rc;
    }
    weave("claim.make.between");
    rc = seg_make_pooled(&c->tx, dir, tx, tx_head(slots), size, pool, mode, what);
    if (rc != 0) {
        seg_unmap(&c->words);
        (void)unlinkat(dir, words, 0);
        return rc;
    }
    point(c);
    memcpy(c->shared->magic, CLAIM_WORDS_MAGIC, sizeof c->shared->magic);
    c->shared->version = CLAIM_VERSION;
    c->shared->slots = (uint32_t)slots;
    struct claim_tx *own = (struct claim_tx *)(void *)c->tx.base;
    memcpy(own->magic, CLAIM_TX_MAGIC, sizeof own->magic);
    own->version = CLAIM_VERSION;
    own->size = sizeof *own;
    own->node = node;
    own->number = number;
    own->slots = (uint32_t)slots;
    return 0;
}

/* What the tx file says of itself, copied out and checked. */
static int read_tx(int dir, const char *tx, struct claim_tx *head, const char *what) {
    int fd = openat(dir, tx, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? -ENOENT : err_system(errno, "%s: a pusher's file cannot be opened", what);
    }
    ssize_t got = fd_read_at(fd, head, sizeof *head, 0);
    fd_close(&fd);
    if (got != (ssize_t)sizeof *head || memcmp(head->magic, CLAIM_TX_MAGIC, sizeof head->magic) != 0) {
        return err_say(THIRL_EFORMAT, "%s: the registry file %s is no pusher's, or is damaged", what, tx);
    }
    if (head->version != CLAIM_VERSION || head->size != sizeof *head) {
        return err_say(THIRL_EVERSION, "%s: a pusher has layout %u (%u bytes), this end layout %d (%zu bytes)", what,
                       head->version, head->size, CLAIM_VERSION, sizeof *head);
    }
    if (head->slots < CLAIM_LINE || (head->slots & (head->slots - 1)) != 0 ||
        head->slots > CLAIM_RING_MAX / CLAIM_SHARE) {
        return err_say(THIRL_EFORMAT, "%s: the registry file %s says that it has %u slots", what, tx, head->slots);
    }
    return 0;
}

int claim_map(struct claim *c, int dir, const char *tx, const char *words, uint64_t node, uint32_t number,
              const char *what) {
    struct claim_tx head = {.version = 0};
    *c = (struct claim){.mask = 0};
    int rc = read_tx(dir, tx, &head, what);
    if (rc != 0) {
        return rc;
    }
    if (node != head.node || number != head.number) {
        return err_say(THIRL_EFORMAT, "%s: the registry file %s is not what its name says", what, tx);
    }
    rc = seg_map_pooled(&c->tx, dir, tx, tx_head(head.slots), what);
    rc = rc == 0 ? seg_share(&c->words, dir, words, words_size(head.slots), what) : rc;
    if (rc == 0) {
        shape(c, head.slots);
        point(c);
        if (c->tx.ring != (uint64_t)head.slots * CLAIM_SHARE || c->words.ring != 0 ||
            memcmp(c->shared->magic, CLAIM_WORDS_MAGIC, sizeof c->shared->magic) != 0 ||
            c->shared->version != CLAIM_VERSION || c->shared->slots != head.slots) {
            rc = err_say(THIRL_EFORMAT, "%s: the registry files %s and %s do not fit each other", what, tx, words);
        }
    }
    if (rc != 0) {
        claim_unmap(c);
    }
    return rc;
}

void claim_warm(const struct claim *c, bool own) {
    /* The ring's second mapping has page tables of its own. */
    (void)madvise(c->tx.base, c->tx.head + 2 * c->tx.ring, own ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    (void)madvise(c->words.base, c->words.head, MADV_POPULATE_WRITE);
}

void claim_unmap(struct claim *c) {
    seg_unmap(&c->tx);
    seg_unmap(&c->words);
}

bool claim_beyond(const struct claim *c, uint64_t *number) {
    uint32_t place;
    for (uint64_t i = 0; i <= HOLD_MAX; i++) {
        if (claim_sent(c, *number + i, &place)) {
            *number += i;
            return true;
        }
    }
    return false;
}

uint64_t claim_rest(int dir, const char *tx, const char *words, uint64_t *bytes, bool *closed) {
    struct claim_tx head = {.version = 0};
    struct claim c;
    uint64_t rest = 0;
    *bytes = 0;
    *closed = false;
    if (read_tx(dir, tx, &head, tx) != 0 || claim_map(&c, dir, tx, words, head.node, head.number, tx) != 0) {
        return 0;
    }
    struct lane lane = claim_lane(&c);
    struct claim_record record;
    *closed = atomic_load(&c.from->closed) != 0;
    uint64_t number = atomic_load(&c.from->floor);
    for (uint64_t i = 0; i <= c.mask && claim_beyond(&c, &number); i++, number++) {
        uint32_t place = 0;
        if (claim_sent(&c, number, &place) && !claim_is_done(&c, number)) {
            rest++;
            *bytes += claim_read(&c, &lane, place, &record) ? record.size : 0;
        }
    }
    claim_unmap(&c);
    return rest;
}
