/* SPDX-License-Identifier: MIT
 *
 * Joining and leaving a channel.
 */
#define _GNU_SOURCE
#include "mem/roll.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mem/card.h"
#include "mem/claim.h"
#include "mem/found.h"
#include "mem/place.h"
#include "mem/shed.h"

#define PATH_MOST 300 /* "chan/", and a name */

/* Record locks belong to the process: within it, this keeps two threads from holding the same one. */
static pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;
static uint32_t numbers;

/* A child forked while another thread was joining: that thread is not in it, and the record lock is not its own. */
static void renew(void) {
    (void)pthread_mutex_init(&joining, NULL);
}

__attribute__((constructor)) static void watch_fork(void) {
    (void)pthread_atfork(NULL, NULL, renew);
}

/* ---- the lock ---- */

/* One try to lock the directory's roll file. 0, -EAGAIN: somebody holds it; -ENOENT: there is none; -ESTALE: the directory was removed
 * meanwhile. */
static int try_lock(int dir, int *lock) {
    *lock = openat(dir, "roll", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (*lock < 0) {
        return errno == ENOENT ? -ENOENT : err_system(errno, "the channel's roll cannot be opened");
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat status;
    int rc = 0;
    if (fcntl(*lock, F_SETLK, &whole) != 0) {
        rc = errno == EACCES || errno == EAGAIN ? -EAGAIN : err_system(errno, "the channel's roll cannot be locked");
    } else if (fstat(*lock, &status) != 0 || status.st_nlink == 0) {
        rc = -ESTALE;
    } else if (status.st_size < (off_t)FOUND_SIZE) {
        rc = ftruncate(*lock, 0) != 0 ? err_system(errno, "the channel's roll cannot be written") : found_space(*lock);
    }
    if (rc != 0) {
        fd_close(lock);
    }
    return rc;
}

static int say_locked(int dir, const char *shown) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = openat(dir, "roll", O_RDONLY | O_CLOEXEC);
    int known = fd >= 0 && fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK && whole.l_pid > 0;
    fd_close(&fd);
    return err_say(ETIMEDOUT, "another process (pid %d) is joining or leaving %s and does not get on: is it stopped?",
                   known ? (int)whole.l_pid : 0, shown);
}

/* One try to open the channel's directory and to lock it. As try_lock. */
static int lock_there(struct roll *roll, const char *path) {
    roll->dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return roll->dir >= 0    ? try_lock(roll->dir, &roll->lock)
           : errno == ENOENT ? -ENOENT
                             : err_system(errno, "the channel %s cannot be opened in the registry", roll->shown);
}

#define NOT_MADE UINT32_MAX /* as a mode: a channel that is not there is not made */

/* The same; it is made, with that mode, if it is not there. */
static int lock_once(struct roll *roll, unsigned mode, bool last) {
    char path[PATH_MOST];
    (void)snprintf(path, sizeof path, "chan/%s", roll->name);
    int rc = lock_there(roll, path);
    if (rc == -ENOENT &&
        (mode != NOT_MADE || roll->dir >= 0)) { /* what the kernel keeps for it may have outlived the roll */
        mode = mode != NOT_MADE ? mode : 0600;
        fd_close(&roll->dir);
        rc = found_channel(path, mode, roll->shown);
        rc = rc == 0 ? lock_there(roll, path) : rc;
        rc = rc == -ENOENT ? -ESTALE : rc;
    }
    if (rc == -EAGAIN && last) {
        rc = say_locked(roll->dir, roll->shown);
    }
    if (rc != 0) {
        fd_close(&roll->dir);
    }
    return rc;
}

/* With 0, `joining` is held too. It is not while this thread waits for another process. */
static int lock_channel(struct roll *roll, unsigned mode, int64_t until) {
    struct timespec pause = {.tv_nsec = 20 * CLOCK_US};
    for (;;) {
        (void)pthread_mutex_lock(&joining);
        int64_t now = clock_now();
        int rc = lock_once(roll, mode, now >= until);
        if (rc == 0) {
            return 0;
        }
        (void)pthread_mutex_unlock(&joining);
        if (rc == -ESTALE && now >= until) {
            return err_say(ETIMEDOUT, "%s is removed from the registry as often as it is opened", roll->shown);
        }
        if (rc != -EAGAIN && rc != -ESTALE) {
            return rc;
        }
        (void)nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec < CLOCK_MS ? 2 * pause.tv_nsec : pause.tv_nsec;
    }
}

/* ---- who is there ---- */

/* Is that a file of what was sent to a work queue and is not done? Of both that there are: one alone is none. */
static bool is_wanted(int dir, struct roll_end end, const char *kind) {
    char tx[ROLL_FILE_MAX], claims[ROLL_FILE_MAX];
    if (strcmp(kind, "tx") != 0 && strcmp(kind, "claim") != 0) {
        return false;
    }
    roll_file(tx, end, "tx");
    roll_file(claims, end, "claim");
    uint64_t bytes;
    bool closed;
    return faccessat(dir, claims, F_OK, 0) == 0 && claim_rest(dir, tx, claims, &bytes, &closed) != 0;
}

/* Removes the files of the dead from a locked channel, but for what is wanted, and gives back their places. true: nobody is left, and
 * nothing. */
static bool clean(int dir, int lock) {
    DIR *list = roll_list(dir);
    bool empty = list != NULL;
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (!roll_parse(entry->d_name, &end, &kind)) {
            continue;
        }
        if (node_alive(end.node) || is_wanted(dir, end, kind)) {
            empty = false;
        } else {
            weave("roll.clean.before");
            (void)unlinkat(dir, entry->d_name, 0);
            weave("roll.clean.after");
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    place_clean(lock);
    return empty;
}

/* Is somebody else there, and alive? This end has no place now. Then there is no need to look at the directory, which may be long: of the dead a sweep knows, which
 * comes before each open. */
static bool is_lively(struct roll *roll) {
    struct roll_end end;
    uint64_t dead = 0;
    for (uint32_t at = 0; roll_next(roll, PLACE_BOTH, &at, &end);) {
        if (end.node != dead && node_alive(end.node)) {
            return true;
        }
        dead = end.node;
    }
    return false;
}

static bool clean_if_needed(struct roll *roll) {
    return (roll->change == NULL || !is_lively(roll)) && clean(roll->dir, roll->lock);
}

/* What cannot be taken away now is left to a sweep, and a sweep there is where somebody is seen to have died. */
static void take_away(int dir, const char *file) {
    if (unlinkat(dir, file, 0) != 0 && errno != ENOENT) {
        node_stay();
    }
}

/* Removes the directory of a locked channel in which nobody is left. Somebody may have come and be waiting for the lock: its
 * file has lost its name then, and he begins again. */
static void remove_channel(int dir, const char *name) {
    char path[PATH_MOST];
    (void)snprintf(path, sizeof path, "chan/%s", name);
    take_away(dir, "card");
    take_away(dir, "card~");
    take_away(dir, "type");
    take_away(dir, "type~");
    take_away(dir, "choice"); /* of auto://, as is sock */
    take_away(dir, "choice~");
    take_away(dir, "sock");
    take_away(dir, "tally"); /* see tally.h */
    take_away(dir, "tally~");
    weave("roll.remove.card");
    take_away(dir, "roll");
    weave("roll.remove.roll");
    (void)unlinkat(node_dir(), path, AT_REMOVEDIR);
    weave("roll.remove.after");
}

static void describe(char *text, size_t size, struct roll_end end) {
    struct node_peer peer;
    if (node_peer_open(&peer, end.node, end.number) == 0) {
        size_t used = strlen(text);
        (void)snprintf(text + used, size - used, "%spid %lld (%s)", used == 0 ? "" : " and ", (long long)peer.pid,
                       proc_name(peer.exe));
        node_peer_close(&peer);
    }
}

/* How many such ends are there; the first of them are described in text. */
static int count(struct roll *roll, uint32_t state, char *text, size_t size) {
    struct roll_end end;
    int found = 0;
    for (uint32_t at = 0; roll_next(roll, state, &at, &end);) {
        if (node_alive(end.node)) {
            found++;
            describe(text, size, end);
        }
    }
    return found;
}

static int check_seats(struct roll *roll, unsigned pattern) {
    pattern &= ROLL_PATTERN;
    char who[200] = "";
    if (pattern == ROLL_PAIR && count(roll, PLACE_RECEIVES, who, sizeof who) >= 2) {
        return err_say(EBUSY, "%s has both its ends: %s; a pair has no third", roll->shown, who);
    }
    if (pattern == ROLL_STREAM && count(roll, roll->writes ? PLACE_SENDS : PLACE_RECEIVES, who, sizeof who) >= 1) {
        return err_say(EBUSY, "%s has its %s: %s", roll->shown, roll->writes ? "writer" : "reader", who);
    }
    if (pattern == ROLL_TELL && roll->writes && count(roll, PLACE_SENDS, who, sizeof who) >= 1) {
        return err_say(EBUSY, "%s has its notifier: %s; any number of them tell one watcher over shm:// or sig://",
                       roll->shown, who);
    }
    if ((pattern == ROLL_EVENT || pattern == ROLL_TELL) && roll->reads &&
        count(roll, PLACE_RECEIVES, who, sizeof who) >= 1) {
        return err_say(EBUSY, "%s has its watcher: %s", roll->shown, who);
    }
    return 0;
}

/* ---- joining and leaving ---- */

static void unlock(struct roll *roll) {
    fd_close(&roll->lock); /* and with it the record lock */
    (void)pthread_mutex_unlock(&joining);
}

static int map_change(struct roll *roll) {
    struct stat status;
    if (fstat(roll->lock, &status) != 0) {
        return err_system(errno, "the channel's roll cannot be looked at");
    }
    roll->inode = status.st_ino;
    roll->bytes = (uint64_t)status.st_size;
    place_check(roll->lock, roll->bytes);
    roll->change = mmap(NULL, PLACE_MAP, PROT_READ | PROT_WRITE, MAP_SHARED, roll->lock, 0);
    if (roll->change == MAP_FAILED) {
        roll->change = NULL;
        return err_system(fd_map_error(), "the channel's roll cannot be mapped");
    }
    (void)madvise(roll->change, PLACE_MAP, MADV_DONTFORK);
    return 0;
}

uint32_t roll_number(void) {
    return atomic_add(&numbers, 1) + 1;
}

int roll_begin(struct roll *roll, const char *scheme, const char *name, unsigned pattern, bool writes, bool reads,
               unsigned mode, int64_t until) {
    return roll_begin_as(roll, 0, scheme, name, pattern, writes, reads, mode, until);
}

int roll_begin_as(struct roll *roll, uint32_t number, const char *scheme, const char *name, unsigned pattern,
                  bool writes, bool reads, unsigned mode, int64_t until) {
    *roll = (struct roll){.dir = -1, .lock = -1, .writes = writes, .reads = reads, .place = PLACE_MOST};
    roll->lists = number != 0 || strcmp(scheme, "shm") != 0;
    (void)snprintf(roll->shown, sizeof roll->shown, "%s://%s", scheme, name);
    int rc = roll_encode(roll->name, scheme, name);
    if (rc != 0) {
        return rc;
    }
    rc = lock_channel(roll, mode, until);
    if (rc != 0) {
        return rc;
    }
    weave("roll.begin.locked");
    roll->self = (struct roll_end){node_id(), number != 0 ? number : roll_number()};
    rc = map_change(roll);
    if (rc == 0) {
        roll->alone = clean_if_needed(roll);
        rc = card_check(roll, pattern, roll->alone, mode);
    }
    rc = rc != 0 ? rc : check_seats(roll, pattern);
    if (rc == 0) {
        uint32_t state = (writes ? PLACE_SENDS : 0) | (reads ? PLACE_RECEIVES : 0);
        roll->posts = place_posts(roll->change);
        rc = place_take(roll->change, roll->lock, roll->self.node, roll->self.number, state, roll->shown, &roll->place);
    }
    if (rc != 0) {
        roll_cancel(roll);
    }
    return rc;
}

int roll_type(struct roll *roll, const struct thirl_type *given, unsigned mode) {
    struct type type;
    int rc = type_take(&type, given);
    rc = rc != 0 ? rc : card_type(roll, &type, roll->alone, mode);
    if (rc != 0) {
        roll_cancel(roll);
    }
    return rc;
}

static const char *const kinds[] = {"tx", "rx", "bell", "room", "door", "claim"};

int roll_finish(struct roll *roll) {
    int rc = 0;
    for (size_t i = 0; i < 2; i++) {
        if (!(i == 0 ? roll->writes : roll->reads)) {
            continue;
        }
        char finished[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
        roll_file(finished, roll->self, kinds[i]);
        (void)snprintf(unfinished, sizeof unfinished, "%s~", finished);
        weave("roll.finish.before");
        if (rc == 0 && renameat(roll->dir, unfinished, roll->dir, finished) != 0) {
            rc = err_system(errno, "the channel %s was removed from the registry while it was joined", roll->shown);
        }
    }
    if (rc != 0) {
        roll_cancel(roll);
        return rc;
    }
    roll->finished = true;
    weave("roll.finish.renamed");
    roll_tell(roll);
    unlock(roll);
    weave("roll.finish.after");
    return 0;
}

static void remove_files(const struct roll *roll) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char finished[ROLL_FILE_MAX];
        roll_file(finished, roll->self, kinds[i]);
        bool has = i == 0 ? roll->writes : i == 1 ? roll->reads : true, stays = i == 0 || i == 5;
        if (has && !(roll->keeps && stays)) {
            weave("roll.leave.file");
            take_away(roll->dir, finished);
        }
    }
    /* Then what others have put there in the meantime, see post.h. They count it before they do, and look for the rx behind that. */
    bool posted = roll->reads && roll->change != NULL && place_posts(roll->change) != roll->posts;
    if (roll->finished && !roll->lists && !posted) {
        return;
    }
    DIR *list = roll_list(roll->dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        if (roll_parse(entry->d_name, &end, &kind) && end.node == roll->self.node && end.number == roll->self.number &&
            !(roll->keeps && (strcmp(kind, "tx") == 0 || strcmp(kind, "claim") == 0))) {
            take_away(roll->dir, entry->d_name);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
}

static void give_back(struct roll *roll) {
    remove_files(roll);
    if (roll->place != PLACE_MOST) {
        place_leave(roll->change, roll->place);
        roll->place = PLACE_MOST;
    }
}

void roll_cancel(struct roll *roll) {
    give_back(roll);
    if (clean_if_needed(roll)) {
        remove_channel(roll->dir, roll->name);
    }
    unlock(roll);
    roll_deinit(roll);
}

void roll_leave(struct roll *roll) {
    give_back(roll);
    roll_tell(roll);
    weave("roll.leave.told");
    (void)pthread_mutex_lock(&joining);
    /* Whoever holds the lock for longer than this is stopped: the next one who opens the channel sees to the rest. */
    const struct timespec pause = {.tv_nsec = CLOCK_MS / 2};
    int rc = try_lock(roll->dir, &roll->lock);
    for (int tries = 0; rc == -EAGAIN && tries < 200; tries++) {
        (void)nanosleep(&pause, NULL);
        rc = try_lock(roll->dir, &roll->lock);
    }
    if (rc == 0) {
        if (clean_if_needed(roll)) {
            remove_channel(roll->dir, roll->name);
        }
        fd_close(&roll->lock);
    }
    (void)pthread_mutex_unlock(&joining);
}

/* Is there a sender, or something for this end? */
static bool is_wanted_by(const struct roll *roll) {
    DIR *list = roll_list(roll->dir);
    bool wanted = list == NULL;
    for (struct dirent *entry; !wanted && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        bool is = roll_parse(entry->d_name, &end, &kind);
        bool self = is && end.node == roll->self.node && end.number == roll->self.number;
        wanted = is && ((strcmp(kind, "tx") == 0 && node_alive(end.node)) || (self && strncmp(kind, "cast.", 5) == 0));
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return wanted;
}

int roll_retire(struct roll *roll) {
    (void)pthread_mutex_lock(&joining);
    int rc = try_lock(roll->dir, &roll->lock);
    if (rc == 0 && is_wanted_by(roll)) {
        rc = -EBUSY;
    } else if (rc == 0) {
        weave("roll.retire.before");
        give_back(roll);
        roll_tell(roll);
        if (clean_if_needed(roll)) {
            remove_channel(roll->dir, roll->name);
        }
        weave("roll.retire.after");
    } else if (rc != -EAGAIN) {
        rc = 0; /* the registry was removed: there is nothing to leave */
    }
    fd_close(&roll->lock);
    (void)pthread_mutex_unlock(&joining);
    return rc;
}

static int open_channel(const char *channel) {
    char path[PATH_MOST];
    (void)snprintf(path, sizeof path, "chan/%s", channel);
    return openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

void roll_renounce(const char *channel, struct roll_end self) {
    const struct roll roll = {.dir = open_channel(channel), .self = self, .writes = true, .reads = true};
    if (roll.dir < 0) {
        return;
    }
    remove_files(&roll);
    int chan = openat(node_dir(), "chan", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)roll_clean(chan, channel);
    fd_close(&chan);
    int dir = roll.dir;
    fd_close(&dir);
}

void roll_deinit(struct roll *roll) {
    if (roll->change != NULL) {
        shed(roll->change, PLACE_MAP);
        roll->change = NULL;
    }
    fd_close(&roll->dir);
}

void roll_tell(struct roll *roll) {
    (void)atomic_add(roll->change, 1);
    (void)futex_wake(roll->change, INT_MAX);
}

/* Also when nobody can tell: only what is known to be gone is. */
static bool has_file(const struct roll *roll, struct roll_end end, const char *kind) {
    char file[ROLL_FILE_MAX];
    roll_file(file, end, kind);
    return faccessat(roll->dir, file, F_OK, 0) == 0 || errno != ENOENT;
}

/* Two threads of an end may look at once, and see it grow. */
static uint64_t bytes_of(struct roll *roll) {
    uint64_t bytes = atomic_peek(&roll->bytes);
    struct stat status;
    if (unlikely(place_beyond(roll->change, bytes)) && fstatat(roll->dir, "roll", &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_ino == roll->inode) {
        bytes = (uint64_t)status.st_size;
        atomic_poke(&roll->bytes, bytes);
    }
    return bytes;
}

bool roll_next_place(struct roll *roll, uint32_t state, uint32_t *at, struct place *place) {
    return place_next(roll->change, bytes_of(roll), state, at, place);
}

bool roll_next(struct roll *roll, uint32_t state, uint32_t *place, struct roll_end *end) {
    struct place found;
    if (!roll_next_place(roll, state, place, &found)) {
        return false;
    }
    *end = (struct roll_end){found.node, found.number};
    return true;
}

int roll_find(struct roll *roll, const char *wanted, struct roll_end *found) {
    uint32_t state = *wanted == 't' ? PLACE_SENDS : PLACE_RECEIVES;
    struct roll_end end;
    for (uint32_t at = 0; roll_next(roll, state, &at, &end);) {
        bool self = end.node == roll->self.node && end.number == roll->self.number;
        if (!self && node_alive(end.node) && has_file(roll, end, wanted)) {
            *found = end;
            return 0;
        }
    }
    return -ESRCH;
}

bool roll_has(const struct roll *roll, struct roll_end end, const char *kind) {
    return has_file(roll, end, kind) && node_alive(end.node);
}

/* ---- sweeping ---- */

bool roll_clean(int chan, const char *name) {
    int dir = openat(chan, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int lock = -1;
    if (dir < 0) {
        return true;
    }
    (void)pthread_mutex_lock(&joining);
    int rc = try_lock(dir, &lock);
    if (rc == -ENOENT) {
        (void)unlinkat(
            chan, name,
            AT_REMOVEDIR); /* whoever removed it was not able to finish; if somebody makes it anew, it is not empty */
    } else if (rc == 0 && clean(dir, lock)) {
        remove_channel(dir, name);
    }
    fd_close(&lock);
    (void)pthread_mutex_unlock(&joining);
    fd_close(&dir);
    return rc == 0 || rc == -ENOENT;
}

int roll_visit(struct roll *roll, const char *name, int64_t until, bool *alone) {
    char path[PATH_MOST];
    *roll = (struct roll){.dir = -1, .lock = -1};
    (void)snprintf(roll->name, sizeof roll->name, "%s", name);
    (void)snprintf(roll->shown, sizeof roll->shown, "%s", name);
    (void)snprintf(path, sizeof path, "chan/%s", name);
    if (faccessat(node_dir(), path, F_OK, 0) != 0 && errno == ENOENT) {
        return -ENOENT;
    }
    int rc = lock_channel(roll, NOT_MADE, until);
    if (rc == 0) {
        *alone = clean(roll->dir, roll->lock);
    }
    return rc;
}

void roll_visited(struct roll *roll, bool alone) {
    if (alone) {
        remove_channel(roll->dir, roll->name);
    }
    unlock(roll);
    roll_deinit(roll);
}
