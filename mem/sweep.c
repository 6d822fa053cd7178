/* SPDX-License-Identifier: MIT
 *
 * Cleaning up after the dead.
 */
#include "mem/sweep.h"

#include <dirent.h>
#include <fcntl.h>

#include "base/fd.h"
#include "base/weave.h"
#include "mem/found.h"
#include "mem/roll.h"
#include "mem/wish.h"

#define ASKED_MAX 64 /* nodes that one sweep asks for their life: of a thousand each is asked by one open in sixteen */
#define DEAD_MAX 256 /* nodes that one sweep sees to; the next takes the others */

struct dead {
    uint64_t id[DEAD_MAX];
    size_t count;
};

static int note(void *context, uint64_t id, bool alive) {
    struct dead *dead = context;
    if (!alive && dead->count < DEAD_MAX) {
        dead->id[dead->count++] = id;
    }
    return 0;
}

static bool clean_channels(void) {
    int chan = openat(node_dir(), "chan", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = chan < 0 ? NULL : fdopendir(chan);
    bool done = list != NULL;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        if (*entry->d_name != '.') {
            done = roll_clean(chan, entry->d_name) && done;
        } else {
            found_clean(entry->d_name);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    } else {
        fd_close(&chan);
    }
    return done;
}

void sweep_dead(void) {
    struct dead dead = {.count = 0};
    if (node_some(ASKED_MAX, note, &dead) != 0 || dead.count == 0) {
        return;
    }
    bool done = clean_channels();
    wish_clean();
    weave("sweep.dead.between");
    /* The nodes go last: while a channel may still hold files of a dead one, its death must be seen by the next sweep. */
    for (size_t i = 0; done && i < dead.count; i++) {
        node_remove(dead.id[i]);
    }
}
