/* SPDX-License-Identifier: MIT
 *
 * A channel's card, see card.h. It is written aside, then linked: the first wins.
 */
#define _GNU_SOURCE
#include "mem/card.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/layout.h"
#include "base/weave.h"

#define CARD_MAGIC "thirlcrd"
#define CARD_VERSION 3 /* of what the channel shares: this file and `roll` */

struct card {
    char magic[8];
    uint32_t version;
    uint32_t pattern; /* enum roll_pattern, ROLL_LAYOUT and ROLL_SEALS */
};
LAYOUT(card, 16, pattern, 12);

static int read_it(int dir, struct card *card) {
    int fd = openat(dir, "card", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    ssize_t got = fd_read_at(fd, card, sizeof *card, 0);
    fd_close(&fd);
    if (got == -EIO) {
        return -EIO; /* that says nothing of what it is */
    }
    return got == (ssize_t)sizeof *card && memcmp(card->magic, CARD_MAGIC, sizeof card->magic) == 0 ? 0
                                                                                                    : -THIRL_EFORMAT;
}

static int write_it(int dir, const struct card *card, unsigned mode) {
    (void)unlinkat(dir, "card~", 0);
    int fd = openat(dir, "card~", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int rc = fd < 0 ? -errno : fd_write(fd, card, sizeof *card);
    fd_close(&fd);
    weave("roll.card.written");
    if (rc == 0 && linkat(dir, "card~", dir, "card", 0) != 0) {
        rc = -errno;
    }
    (void)unlinkat(dir, "card~", 0);
    return rc == 0 ? 0 : err_system(-rc, "the channel's card cannot be written to the registry");
}

int card_check(const struct roll *roll, unsigned pattern, bool alone, unsigned mode) {
    static const char *const patterns[] = {"?",
                                           "messages (pair)",
                                           "a byte stream (write, read)",
                                           "a queue (push, pull)",
                                           "events (notify, watch)",
                                           "messages for all (pub, sub)",
                                           "calls (call, serve)",
                                           "events of one notifier (notify, watch)"};
    const struct card mine = {CARD_MAGIC, CARD_VERSION, pattern};
    struct card card = {.version = 0};
    int rc = read_it(roll->dir, &card);
    bool other = rc == -THIRL_EFORMAT || (rc == 0 && (card.version != CARD_VERSION || card.pattern != pattern));
    if (alone && other) {
        (void)unlinkat(roll->dir, "card", 0); /* of those who are gone */
        rc = -ENOENT;
    }
    if (rc == -ENOENT) {
        return write_it(roll->dir, &mine, mode);
    }
    if (rc == -THIRL_EFORMAT) {
        return err_say(THIRL_EFORMAT,
                       "the registry file chan/%s/card is not thirl's, or is damaged: remove that directory",
                       roll->name);
    }
    if (rc != 0) {
        return err_system(-rc, "the card of %s cannot be read", roll->shown);
    }
    if (card.version != CARD_VERSION) {
        return err_say(THIRL_EVERSION, "%s was made by layout %u, this library has layout %d", roll->shown,
                       card.version, CARD_VERSION);
    }
    if ((card.pattern & ROLL_PATTERN) != (pattern & ROLL_PATTERN)) {
        uint32_t carried = card.pattern & ROLL_PATTERN;
        return err_say(THIRL_EROLE, "%s carries %s, this role %s", roll->shown,
                       patterns[carried <= ROLL_TELL ? carried : 0], patterns[pattern & ROLL_PATTERN]);
    }
    if (((card.pattern ^ pattern) & ~(ROLL_PATTERN | ROLL_SEALS)) != 0) {
        return err_say(THIRL_EVERSION,
                       "%s: those who are there have layout %u of these messages, this library has layout %u",
                       roll->shown, (card.pattern & ~ROLL_SEALS) >> 8, (pattern & ~ROLL_SEALS) >> 8);
    }
    if (((card.pattern ^ pattern) & ROLL_CRC) != 0) {
        return err_say(THIRL_EROLE,
                       (pattern & ROLL_CRC) == 0
                           ? "%s carries messages with a CRC, and this end has none: open it with ?crc"
                           : "%s carries messages without a CRC, and this end has one (?crc): open all ends alike",
                       roll->shown);
    }
    if (card.pattern != pattern) {
        return err_say(
            THIRL_EROLE,
            (pattern & ROLL_TIME) == 0
                ? "%s carries messages that grow old, and this end does not: open it with ?lifespan"
                : "%s carries messages that never grow old, and this end's do (?lifespan): open all ends alike",
            roll->shown);
    }
    return 0;
}

#define TYPE_MAGIC "thirltyp"
#define TYPE_VERSION 1

struct kind {
    char magic[8];
    uint32_t version, zero;
    struct type type;
};
LAYOUT(kind, 80, type, 16);

static int write_type(int dir, const struct kind *kind, unsigned mode) {
    (void)unlinkat(dir, "type~", 0);
    int fd = openat(dir, "type~", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int rc = fd < 0 ? -errno : fd_write(fd, kind, sizeof *kind);
    fd_close(&fd);
    weave("roll.type.written");
    if (rc == 0 && renameat(dir, "type~", dir, "type") != 0) {
        rc = -errno;
    }
    weave("roll.type.renamed");
    return rc == 0 ? 0 : err_system(-rc, "the type of the channel's messages cannot be written to the registry");
}

int card_type(const struct roll *roll, const struct type *type, bool alone, unsigned mode) {
    struct kind kind = {.magic = TYPE_MAGIC, .version = TYPE_VERSION, .type = *type};
    struct kind theirs = {.version = 0};
    if (alone) {
        (void)unlinkat(roll->dir, "type", 0);
    }
    if (type_is_none(type)) {
        return 0;
    }
    int fd = openat(roll->dir, "type", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        return write_type(roll->dir, &kind, mode);
    }
    ssize_t got = fd < 0 ? -errno : fd_read_at(fd, &theirs, sizeof theirs, 0);
    fd_close(&fd);
    if (got < 0) {
        return err_system((int)-got, "the type of %s cannot be read", roll->shown);
    }
    if (got != (ssize_t)sizeof theirs || memcmp(theirs.magic, TYPE_MAGIC, sizeof theirs.magic) != 0 ||
        theirs.version != TYPE_VERSION || !type_sound(&theirs.type)) {
        return err_say(THIRL_EFORMAT, "the registry file chan/%s/type is not thirl's, or is damaged: remove it",
                       roll->name);
    }
    return type_match(type, &theirs.type, roll->shown);
}

int card_peek(const char *channel, uint32_t *pattern) {
    char path[300];
    struct card card = {.version = 0};
    (void)snprintf(path, sizeof path, "chan/%s", channel);
    int dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = dir < 0 ? -errno : read_it(dir, &card);
    fd_close(&dir);
    *pattern = card.pattern;
    return rc;
}
