/* SPDX-License-Identifier: MIT
 *
 * The table of events, see tally.h.
 */
#include "mem/tally.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"

#define MAGIC "thirl.ev"
#define SLOTS_MIN 64u
#define SLOTS_MAX (1u << 20)

#define USED (UINT64_C(1) << 63)
#define EVENT(word) ((uint32_t)((word) >> 32) & 0x7fffffffu)
#define COUNT(word) ((uint32_t)(word))
#define WORD(event, count) (USED | (uint64_t)(event) << 32 | (count))

/* ---- the file ---- */

static size_t size_of(uint32_t slots) {
    return sizeof(struct tally_head) + slots * sizeof(uint64_t);
}

static int map(struct tally *tally, int fd, const char *what) {
    struct tally_head *head = mmap(NULL, tally->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED) {
        return err_system(fd_map_error(), "%s: the table of events cannot be mapped", what);
    }
    (void)madvise(head, tally->size, MADV_DONTFORK);
    tally->head = head;
    tally->word = (uint64_t *)(void *)(head + 1);
    return 0;
}

/* Written aside and renamed, because who makes it may die; the lock keeps others from doing the same. */
static int make(struct tally *tally, int dir, uint64_t bytes, unsigned mode, const char *what) {
    uint32_t slots = SLOTS_MIN;
    while (slots < SLOTS_MAX && slots * sizeof(uint64_t) < bytes) {
        slots *= 2;
    }
    tally->slots = slots;
    tally->size = size_of(slots);
    (void)unlinkat(dir, "tally~", 0);
    int fd = openat(dir, "tally~", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_system(errno, "%s: the registry cannot be written", what);
    }
    weave("tally.make.created");
    int rc = 0;
    if (!fd_may_grow(tally->size)) {
        rc = err_say(EFBIG, "%s needs a file of %zu bytes, more than this process may make: raise ulimit -f", what,
                     tally->size);
    } else if (fallocate(fd, 0, 0, (off_t)tally->size) != 0) {
        rc = err_system(errno,
                        "%s: no %zu bytes for the table of events: make room there, or ask for less with ?queue=", what,
                        tally->size);
    } else if (fchmod(fd, mode) != 0) {
        rc = err_system(errno, "%s: the table of events cannot get the mode 0%o", what, mode);
    }
    rc = rc != 0 ? rc : map(tally, fd, what);
    if (rc == 0) {
        memcpy(tally->head->magic, MAGIC, sizeof tally->head->magic);
        tally->head->version = TALLY_VERSION;
        tally->head->slots = slots;
        weave("tally.make.before");
        rc = renameat(dir, "tally~", dir, "tally") != 0 ? err_system(errno, "%s: the table has no name", what) : 0;
    }
    fd_close(&fd);
    return rc;
}

static int check(struct tally *tally, int fd, const char *what) {
    struct tally_head head;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        fd_read_at(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        memcmp(head.magic, MAGIC, sizeof head.magic) != 0) {
        return err_say(THIRL_EFORMAT, "%s: the table of events is none, or is damaged", what);
    }
    if (head.version != TALLY_VERSION) {
        return err_say(THIRL_EVERSION, "%s: its table of events has layout %u, this library's has layout %d", what,
                       head.version, TALLY_VERSION);
    }
    tally->slots = head.slots;
    tally->size = size_of(head.slots);
    if (head.slots < SLOTS_MIN || head.slots > SLOTS_MAX || (head.slots & (head.slots - 1)) != 0 ||
        status.st_size < (off_t)tally->size) {
        return err_say(THIRL_EFORMAT, "%s: the table of events has a size that none has", what);
    }
    return 0;
}

int tally_open(struct tally *tally, int dir, uint64_t bytes, unsigned mode, const char *what) {
    *tally = (struct tally){.head = NULL};
    int fd = openat(dir, "tally", O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? make(tally, dir, bytes, mode, what)
                               : err_system(errno, "%s: the table of events cannot be opened", what);
    }
    int rc = check(tally, fd, what);
    rc = rc != 0 ? rc : map(tally, fd, what);
    fd_close(&fd);
    return rc;
}

void tally_close(struct tally *tally) {
    if (tally->head != NULL) {
        (void)munmap(tally->head, tally->size);
        tally->head = NULL;
    }
}

/* ---- counting ---- */

/* Neighbours lie on different cache lines. */
static inline uint32_t place_of(const struct tally *tally, uint32_t event) {
    return event * 2654435761u & (tally->slots - 1);
}

HOT int tally_add(struct tally *tally, uint32_t event) {
    uint32_t mask = tally->slots - 1;
    for (uint32_t i = place_of(tally, event), tries = 0; tries <= mask; i = (i + 1) & mask, tries++) {
        uint64_t *at = &tally->word[i], word = atomic_peek(at);
        while (word == 0 || (EVENT(word) == event && COUNT(word) != UINT32_MAX)) {
            weave("tally.add.before");
            if (likely(atomic_cas(at, &word, word == 0 ? WORD(event, 1) : word + 1))) {
                weave("tally.add.after");
                return 0;
            }
        }
    }
    return -EAGAIN;
}

bool tally_see(struct tally *tally, uint32_t *event, uint32_t *count) {
    uint32_t mask = tally->slots - 1;
    for (uint32_t tries = 0; tries <= mask; tries++) {
        uint64_t word = atomic_load(&tally->word[tally->at]); /* pairs with the cas in tally_add */
        if (word != 0) {
            *event = EVENT(word);
            *count = COUNT(word);
            return true;
        }
        tally->at = (tally->at + 1) & mask;
    }
    return false;
}

void tally_take(struct tally *tally, uint32_t *count) {
    uint64_t *at = &tally->word[tally->at];
    tally->at = (tally->at + 1) & (tally->slots - 1);
    weave("tally.take.before");
    *count = COUNT(atomic_swap(at, 0)); /* only this end empties it: the event is the same */
}

bool tally_any(const struct tally *tally) {
    for (uint32_t i = 0; i < tally->slots; i++) {
        if (atomic_load(&tally->word[i]) != 0) {
            return true;
        }
    }
    return false;
}

bool tally_has_room(const struct tally *tally) {
    for (uint32_t i = 0; i < tally->slots; i++) {
        if (atomic_peek(&tally->word[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- waking ---- */

uint32_t tally_wish(struct tally_wish *wish, uint32_t who) {
    uint32_t seen = atomic_load(&wish->given), wants = atomic_peek(&wish->wants);
    while (!atomic_cas(&wish->wants, &wants, (wants + TALLY_ROUND) | who)) {}
    weave("tally.wish.shown");
    atomic_fence(); /* pairs with the one in tally_ring */
    return seen;
}

uint32_t tally_wake(struct tally_wish *wish) {
    uint32_t wants = atomic_load(&wish->wants);
    if ((wants & TALLY_SLEEPS) != 0) {
        weave("tally.wake.before");
        (void)atomic_add(&wish->given, 1);
        weave("tally.wake.between");
        (void)futex_wake(&wish->given, INT_MAX);
    }
    if ((wants & TALLY_POLLS) != 0) {
        return wants;
    }
    tally_grant(wish, wants);
    return 0;
}

void tally_grant(struct tally_wish *wish, uint32_t wants) {
    weave("tally.grant.before");
    (void)atomic_cas(&wish->wants, &wants, wants & ~(TALLY_SLEEPS | TALLY_POLLS));
}
