/* SPDX-License-Identifier: MIT
 *
 * Hard links <receiver>.<number>.post.<time>.<sender>.<number> to senders' files; <receiver>.<number>.cast.<sender>.<number> when
 * they are for all.
 */
#define _GNU_SOURCE
#include "mem/post.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mem/place.h"

#define POST_FORM "post.%16llx.%16llx.%u"

static bool split(const char *file, struct roll_end *to, struct roll_end *from, uint64_t *time) {
    const char *kind;
    unsigned long long when, node;
    bool is = roll_parse(file, to, &kind) && sscanf(kind, POST_FORM, &when, &node, &from->number) == 3;
    from->node = is ? node : 0;
    *time = is ? when : 0;
    return is;
}

static bool same(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

int post_find(const struct roll *roll, char file[ROLL_FILE_MAX], struct roll_end *from) {
    DIR *list = roll_list(roll->dir);
    uint64_t oldest = UINT64_MAX, time;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end to, sender;
        if (split(entry->d_name, &to, &sender, &time) && same(&to, &roll->self) && time < oldest &&
            strlen(entry->d_name) < ROLL_FILE_MAX) {
            oldest = time;
            *from = sender;
            memcpy(file, entry->d_name, strlen(entry->d_name) + 1);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return oldest == UINT64_MAX ? -ESRCH : 0;
}

void post_drop(struct roll *roll, const struct roll_end *from) {
    DIR *list = roll_list(roll->dir);
    unsigned found = 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end to, sender;
        uint64_t time;
        bool ours = split(entry->d_name, &to, &sender, &time) && same(&to, &roll->self);
        found += ours;
        if (ours && same(from, &sender)) {
            weave("post.drop.before");
            (void)unlinkat(roll->dir, entry->d_name, 0);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    if (found >= POST_MAX) {
        roll_tell(roll); /* somebody may wait for that */
    }
}

static unsigned count(const struct roll *roll, const struct roll_end *receiver) {
    DIR *list = roll_list(roll->dir);
    unsigned found = 0;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end to, sender;
        uint64_t time;
        found += split(entry->d_name, &to, &sender, &time) && same(&to, receiver);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return found;
}

int post_put(const struct roll *roll, const struct roll_end *to) {
    char own[ROLL_FILE_MAX], post[ROLL_FILE_MAX], theirs[ROLL_FILE_MAX], receiver[NODE_NAME_MAX], sender[NODE_NAME_MAX];
    if (count(roll, to) >= POST_MAX) {
        return -EAGAIN;
    }
    roll_file(own, roll->self, "tx");
    roll_file(theirs, *to, "rx");
    node_name(receiver, to->node);
    node_name(sender, roll->self.node);
    (void)snprintf(post, sizeof post, "%s.%u.post.%016llx.%s.%u", receiver, to->number, (unsigned long long)clock_now(),
                   sender, roll->self.number);
    place_post(roll->change);
    weave("post.put.before");
    if (linkat(roll->dir, own, roll->dir, post, 0) != 0) {
        /* Somebody removed the registry below us: who has mapped it needs no names. */
        return errno == ENOENT ? 0 : err_system(errno, "the channel's directory in the registry cannot be written");
    }
    weave("post.put.after");
    /* A receiver that leaves removes its rx first and then its posts: one of us two sees the other. */
    if (faccessat(roll->dir, theirs, F_OK, 0) != 0) {
        int rc =
            errno == ENOENT ? -EAGAIN : err_system(errno, "the channel's directory in the registry cannot be read");
        (void)unlinkat(roll->dir, post, 0);
        return rc;
    }
    return 0;
}

/* ---- to all ---- */

#define CROWD_FORM "cast.%16llx.%u"

struct crowd {
    struct receiver {
        struct roll_end end;
        unsigned posts;
    } * receiver;
    size_t count, room;
};

static int order(const void *a, const void *b) {
    const struct roll_end *l = &((const struct receiver *)a)->end, *r = &((const struct receiver *)b)->end;
    return l->node != r->node ? (l->node > r->node) - (l->node < r->node)
                              : (l->number > r->number) - (l->number < r->number);
}

static bool add(struct crowd *crowd, struct roll_end end) {
    if (crowd->count == crowd->room) {
        size_t room = crowd->room == 0 ? 64 : 2 * crowd->room;
        struct receiver *more = realloc(crowd->receiver, room * sizeof *more);
        if (more == NULL) {
            return false;
        }
        crowd->receiver = more;
        crowd->room = room;
    }
    crowd->receiver[crowd->count++] = (struct receiver){.end = end};
    return true;
}

/* What one look at the directory does with each of its entries; false ends it. */
typedef bool crowd_look(struct crowd *, struct roll_end, const char *kind);

static bool collect(struct crowd *crowd, struct roll_end end, const char *kind) {
    return strcmp(kind, "rx") != 0 || add(crowd, end);
}

static bool tally(struct crowd *crowd, struct roll_end end, const char *kind) {
    const struct receiver key = {.end = end};
    struct receiver *found = strncmp(kind, "cast.", 5) != 0
                                 ? NULL
                                 : bsearch(&key, crowd->receiver, crowd->count, sizeof key, order);
    if (found != NULL) {
        found->posts++;
    }
    return true;
}

static bool each(const struct roll *roll, struct crowd *crowd, crowd_look *look) {
    DIR *list = roll_list(roll->dir);
    bool all = list != NULL;
    for (struct dirent *entry; all && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        all = !roll_parse(entry->d_name, &end, &kind) || look(crowd, end, kind);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return all;
}

static void crowd_file(char file[ROLL_FILE_MAX], const struct roll_end *to, const struct roll_end *from) {
    char receiver[NODE_NAME_MAX], sender[NODE_NAME_MAX];
    node_name(receiver, to->node);
    node_name(sender, from->node);
    (void)snprintf(file, ROLL_FILE_MAX, "%s.%u.cast.%s.%u", receiver, to->number, sender, from->number);
}

int post_all(const struct roll *roll, const char *file) {
    struct crowd crowd = {0};
    int rc = each(roll, &crowd, collect) ? 0 : err_say(ENOMEM, "%s: its receivers cannot be listed", roll->shown);
    if (rc == 0 && crowd.count != 0) {
        qsort(crowd.receiver, crowd.count, sizeof *crowd.receiver, order);
        (void)each(roll, &crowd, tally);
    }
    for (size_t i = 0; rc == 0 && i < crowd.count; i++) {
        char post[ROLL_FILE_MAX];
        if (crowd.receiver[i].posts >= POST_CROWD_MAX) {
            continue;
        }
        crowd_file(post, &crowd.receiver[i].end, &roll->self);
        place_post(roll->change);
        weave("post.all.before");
        if (linkat(roll->dir, file, roll->dir, post, 0) != 0) {
            rc = err_system(errno, "%s: the channel's directory in the registry cannot be written", roll->shown);
        }
        weave("post.all.after");
    }
    free(crowd.receiver);
    return rc;
}

int post_one(const struct roll *roll, const char *file, const struct roll_end *to) {
    struct receiver receiver = {.end = *to};
    struct crowd crowd = {.receiver = &receiver, .count = 1, .room = 1};
    (void)each(roll, &crowd, tally);
    if (receiver.posts >= POST_CROWD_MAX) {
        return 0;
    }
    char post[ROLL_FILE_MAX];
    crowd_file(post, to, &roll->self);
    place_post(roll->change);
    weave("post.one.before");
    if (linkat(roll->dir, file, roll->dir, post, 0) != 0 && errno != EEXIST) {
        return err_system(errno, "%s: the channel's directory in the registry cannot be written", roll->shown);
    }
    weave("post.one.after");
    return 0;
}

bool post_of_ours(const struct roll *roll, const char *file, struct roll_end *to) {
    const char *kind;
    unsigned long long node;
    uint32_t number;
    return roll_parse(file, to, &kind) && sscanf(kind, CROWD_FORM, &node, &number) == 2 && node == roll->self.node &&
           number == roll->self.number;
}

void post_back(const struct roll *roll, const struct roll_end *to) {
    char file[ROLL_FILE_MAX];
    crowd_file(file, to, &roll->self);
    (void)unlinkat(roll->dir, file, 0);
}

bool post_to_us(const struct roll *roll, const char *file, struct roll_end *from) {
    struct roll_end to;
    const char *kind;
    unsigned long long node;
    if (!roll_parse(file, &to, &kind) || !same(&to, &roll->self) ||
        sscanf(kind, CROWD_FORM, &node, &from->number) != 2) {
        return false;
    }
    from->node = node;
    return true;
}

void post_done(const struct roll *roll, const struct roll_end *from) {
    char file[ROLL_FILE_MAX];
    crowd_file(file, &roll->self, from);
    (void)unlinkat(roll->dir, file, 0);
}
