/* SPDX-License-Identifier: MIT
 *
 * What stays in the kernel, noted, listed and removed. See kept.h.
 */
#define _GNU_SOURCE
#include "mech/kept.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"

#define KEPT_MAGIC "thirlkpt"
#define KEPT_VERSION 1
#define KEPT_FILE_MAX (8 + ROLL_FILE_MAX)

static void file_of(char file[KEPT_FILE_MAX], const struct roll_end *end) {
    char node[NODE_NAME_MAX];
    if (end == NULL) {
        (void)snprintf(file, KEPT_FILE_MAX, "kept");
    } else {
        node_name(node, end->node);
        (void)snprintf(file, KEPT_FILE_MAX, "kept.%s.%u", node, end->number);
    }
}

/* Is that the name of a note? *end gets whose inbox it is, node 0 for a channel's own. */
static bool parse(const char *file, struct roll_end *end) {
    char name[ROLL_FILE_MAX];
    const char *kind;
    *end = (struct roll_end){0};
    if (strncmp(file, "kept", 4) != 0 || strchr(file, '~') != NULL) {
        return false;
    }
    (void)snprintf(name, sizeof name, "%.80s.", file[4] == '.' ? file + 5 : "");
    return file[4] == '\0' || roll_parse(name, end, &kind);
}

/* A note that somebody was killed over: they are written under the channel's lock. */
static bool is_unfinished(const char *file) {
    return strncmp(file, "kept", 4) == 0 && strchr(file, '~') != NULL;
}

int kept_put(const struct roll *roll, const struct roll_end *end, const char *address, const char *place, bool stays) {
    struct kept kept = {KEPT_MAGIC, KEPT_VERSION, stays, "", ""};
    char file[KEPT_FILE_MAX], unfinished[KEPT_FILE_MAX + 1];
    (void)snprintf(kept.address, sizeof kept.address, "%s", address);
    (void)snprintf(kept.place, sizeof kept.place, "%s", place);
    file_of(file, end);
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    (void)unlinkat(roll->dir, unfinished, 0);
    int fd = openat(roll->dir, unfinished, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int rc = fd < 0 ? -errno : fd_write(fd, &kept, sizeof kept);
    fd_close(&fd);
    weave("kept.put.written");
    if (rc == 0 && renameat(roll->dir, unfinished, roll->dir, file) != 0) {
        rc = -errno;
    }
    if (rc != 0) {
        (void)unlinkat(roll->dir, unfinished, 0);
        return err_system(-rc, "%s: what the kernel keeps for it cannot be noted in the registry", address);
    }
    return 0;
}

void kept_drop(const struct roll *roll, const struct roll_end *end) {
    char file[KEPT_FILE_MAX];
    file_of(file, end);
    (void)unlinkat(roll->dir, file, 0);
}

static int get(int dir, const char *file, struct kept *kept, const struct carrier **carrier) {
    *kept = (struct kept){.version = 0};
    int fd = openat(dir, file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -errno : fd_read_at(fd, kept, sizeof *kept, 0);
    fd_close(&fd);
    if (got != (ssize_t)sizeof *kept || memcmp(kept->magic, KEPT_MAGIC, sizeof kept->magic) != 0 ||
        kept->version != KEPT_VERSION) {
        return err_say(THIRL_EFORMAT, "a registry file %s is not thirl's, or is damaged: remove it", file);
    }
    kept->address[sizeof kept->address - 1] = '\0';
    kept->place[sizeof kept->place - 1] = '\0';
    const struct mech *mech = mech_find(kept->address, strcspn(kept->address, ":"));
    *carrier = mech == NULL ? NULL : mech->carrier;
    if (*carrier == NULL || (*carrier)->remove == NULL) {
        return err_say(THIRL_EFORMAT, "%s is noted in the registry, and this library has no such mechanism",
                       kept->address);
    }
    return 0;
}

void kept_place(const struct roll *roll, char place[CARRIER_PLACE_MAX]) {
    struct kept kept;
    const struct carrier *carrier;
    char file[KEPT_FILE_MAX];
    file_of(file, NULL);
    bool noted = faccessat(roll->dir, file, F_OK, 0) == 0 && get(roll->dir, file, &kept, &carrier) == 0;
    (void)snprintf(place, CARRIER_PLACE_MAX, "%s", noted ? kept.place : "");
}

struct tidying {
    bool alone, all;
    uint64_t thrown;
    int rc;
};

/* First the thing, then its note: whoever comes after a kill in between finds the note and nothing behind it. */
static void tidy_one(int dir, const char *file, struct roll_end end, struct tidying *t) {
    struct kept kept;
    const struct carrier *carrier;
    struct carrier_left left = {0};
    if (end.node != 0 ? node_alive(end.node) : !t->alone) {
        return;
    }
    int rc = get(dir, file, &kept, &carrier);
    rc = rc == 0 ? carrier->left(kept.place, &left) : rc;
    if (rc == 0 && end.node == 0 && !t->all && (left.packets != 0 || kept.stays)) {
        return;
    }
    weave("kept.remove.before");
    rc = rc == 0 ? carrier->remove(kept.place) : rc;
    weave("kept.remove.between");
    if (rc == 0 || rc == -ENOENT) {
        (void)unlinkat(dir, file, 0);
        t->thrown += end.node == 0 && rc == 0 ? left.packets : 0;
    } else {
        t->rc = rc;
    }
}

int kept_tidy(const char *name, bool all, int64_t until, uint64_t *thrown) {
    struct roll roll;
    struct tidying t = {.all = all};
    unsigned count = 0;
    int rc = roll_visit(&roll, name, until, &t.alone);
    if (rc != 0) {
        return rc;
    }
    DIR *list = roll_list(roll.dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        if (parse(entry->d_name, &end)) {
            count++;
            tidy_one(roll.dir, entry->d_name, end, &t);
        } else if (is_unfinished(entry->d_name)) {
            (void)unlinkat(roll.dir, entry->d_name, 0);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    roll_visited(&roll, t.alone);
    if (thrown != NULL) {
        *thrown = t.thrown;
    }
    return t.rc != 0 ? t.rc : all && !t.alone ? -EBUSY : count == 0 ? -ENOENT : 0;
}

/* The channels that may have notes: their directories' names begin with a scheme. Until seen returns nonzero, and returns that. */
static int each_channel(int (*seen)(void *context, const char *name), void *context) {
    int fd = openat(node_dir(), "chan", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    int rc = 0;
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        rc = entry->d_name[0] == '%' ? seen(context, entry->d_name) : 0;
    }
    if (list != NULL) {
        (void)closedir(list);
    } else {
        fd_close(&fd);
    }
    return rc;
}

struct sweeping {
    char own[256];
    int64_t until;
};

static int tidy(void *context, const char *name) {
    const struct sweeping *sweeping = context;
    (void)kept_tidy(name, false, strcmp(name, sweeping->own) == 0 ? sweeping->until : 0, NULL);
    return 0;
}

void kept_sweep(const char *scheme, const char *name, int64_t until) {
    struct sweeping sweeping = {.until = until};
    (void)roll_encode(sweeping.own, scheme, name); /* of a name that is none nothing can be there */
    (void)each_channel(tidy, &sweeping);
}

static int open_channel(const char *name) {
    char path[300];
    (void)snprintf(path, sizeof path, "chan/%s", name);
    return openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

struct cleaning {
    const char *address;
    int64_t until;
    uint64_t thrown;
    bool found;
};

static int clean_channel(void *context, const char *name) {
    struct cleaning *cleaning = context;
    int dir = open_channel(name), rc = 0;
    DIR *list = dir < 0 ? NULL : roll_list(dir);
    bool meant = false;
    for (struct dirent *entry; list != NULL && !meant && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        struct kept kept;
        const struct carrier *carrier;
        meant = parse(entry->d_name, &end) && get(dir, entry->d_name, &kept, &carrier) == 0 &&
                strcmp(kept.address, cleaning->address) == 0;
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&dir);
    if (meant) {
        cleaning->found = true;
        uint64_t thrown = 0;
        rc = kept_tidy(name, true, cleaning->until, &thrown);
        cleaning->thrown += thrown;
    }
    return rc;
}

int kept_clean(const char *address, int64_t until, uint64_t *thrown) {
    struct cleaning cleaning = {.address = address, .until = until};
    int rc = each_channel(clean_channel, &cleaning);
    *thrown = cleaning.thrown;
    return rc == 0 && !cleaning.found ? -ENOENT : rc;
}

/* How many ends of that channel live. */
static unsigned count_ends(int dir) {
    DIR *list = roll_list(dir);
    unsigned count = 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        char other[ROLL_FILE_MAX];
        if (roll_parse(entry->d_name, &end, &kind) && node_alive(end.node)) {
            roll_file(other, end, "rx");
            count += strcmp(kind, "rx") == 0 || (strcmp(kind, "tx") == 0 && faccessat(dir, other, F_OK, 0) != 0);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return count;
}

struct listing {
    int (*seen)(void *, const struct kept_line *);
    void *context;
};

static int list_channel(void *context, const char *name) {
    const struct listing *listing = context;
    int dir = open_channel(name), rc = 0;
    DIR *list = dir < 0 ? NULL : roll_list(dir);
    for (struct dirent *entry; list != NULL && rc == 0 && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        struct kept kept;
        const struct carrier *carrier;
        struct kept_line line = {.address = kept.address};
        if (parse(entry->d_name, &end) && get(dir, entry->d_name, &kept, &carrier) == 0 &&
            carrier->left(kept.place, &line.left) == 0) {
            line.ends = count_ends(dir);
            rc = listing->seen(listing->context, &line);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&dir);
    return rc;
}

int kept_list(int (*seen)(void *context, const struct kept_line *), void *context) {
    struct listing listing = {seen, context};
    return each_channel(list_channel, &listing);
}
