/* SPDX-License-Identifier: MIT
 *
 * Hard links <receiver>.<number>.post.<time>.<sender>.<number> to senders' files.
 */
#define _GNU_SOURCE
#include "mem/post.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"

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
    weave("post.put.before");
    if (linkat(roll->dir, own, roll->dir, post, 0) != 0) {
        /* Somebody removed the registry below us: who has mapped it needs no names. */
        return errno == ENOENT ? 0 : err_system(errno, "the channel's directory in the registry cannot be written");
    }
    weave("post.put.after");
    /* A receiver that leaves removes its rx first and then its posts: one of us two sees the other. */
    if (faccessat(roll->dir, theirs, F_OK, 0) != 0) {
        (void)unlinkat(roll->dir, post, 0);
        return -EAGAIN;
    }
    return 0;
}
