/* SPDX-License-Identifier: MIT
 *
 * What may lie in the registry: garbage, things cut short, things of other kinds, another layout. There is a clear error, or
 * service as if it were not there; never a crash, never a wait without end. Knows the names of files, nothing of the code.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conform/conform.h"

/* Ways to be wrong. */
enum wrong { EMPTY, ONE_BYTE, GARBAGE, LARGE_GARBAGE, ZEROES, DIRECTORY, FIFO, DANGLING, DEVICE, CUT, WRONGS };

static void make_wrong(const char *path, enum wrong how) {
    static unsigned char bytes[300000];
    static const size_t sizes[] = {0, 1, 4096, sizeof bytes, 8192};
    switch (how) {
    case DIRECTORY:
        must_be(mkdir(path, 0700), 0);
        return;
    case FIFO:
        must_be(mkfifo(path, 0600), 0);
        return;
    case DANGLING:
        must_be(symlink("/proc/nowhere", path), 0);
        return;
    case DEVICE:
        must_be(symlink("/dev/zero", path), 0);
        return;
    default:
        break;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0);
    size_t size = how == CUT ? 100 : sizes[how];
    conform_fill(bytes, size, how == ZEROES ? 0 : 99);
    if (how == ZEROES) {
        memset(bytes, 0, size);
    }
    must_be(write(fd, bytes, size), size);
    close(fd);
}

static const char *in(const struct conform *c, const char *format, const char *rest) {
    static char path[400];
    static char channel[200];
    snprintf(channel, sizeof channel, "%s/chan/%s-0", c->registry, strrchr(c->directory, '/') + 1);
    snprintf(path, sizeof path, "%s/%s", strcmp(format, "node") == 0 ? c->registry : channel, rest);
    return path;
}

static void make_directories(const struct conform *c) {
    char path[300];
    snprintf(path, sizeof path, "%s/node", c->registry);
    must(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/chan", c->registry);
    must(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof path, "%s/chan/%s-0", c->registry, strrchr(c->directory, '/') + 1);
    must(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static int count_seen(void *context, const struct thirl_seen *seen) {
    must(seen->address != NULL && seen->role != NULL && seen->state != NULL && seen->exe != NULL && seen->peer != NULL);
    ++*(int *)context;
    return 0;
}

static void look_around(void) {
    int seen = 0;
    int rc = thirl_list(count_seen, &seen);
    must(rc <= 0);
    must(rc == 0 || thirl_why()[0] != '\0');
}

static void speak(const struct conform *c, struct peer *stage) {
    uint64_t serves = conform_hear(stage);
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    if (serves) {
        must_be(rc, 0);
        conform_send(end, 100, 1);
        conform_recv(end, 100, 2);
    }
    must(rc == 0 || thirl_why()[0] != '\0');
    must_be(thirl_close(&end, thirl_in_ms(2000)), 0);
}

/* With that in the way: service if it must be, else service or an error with a sentence. */
static void try(struct conform *c, const char *where, const char *file, enum wrong how, bool must_serve) {
    struct peer peer;
    conform_start(&peer, c, speak);
    make_directories(c);
    char path[400];
    snprintf(path, sizeof path, "%s", in(c, where, file));
    make_wrong(path, how);
    look_around();
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    if (must_serve && rc != 0) {
        fprintf(stderr, "%s %s, wrong %d: ", where, file, (int)how);
        must_be(rc, 0);
    }
    must(rc == 0 || (rc < 0 && thirl_why()[0] != '\0'));
    conform_tell(&peer, rc == 0);
    if (rc == 0) {
        conform_recv(end, 100, 1);
        conform_send(end, 100, 2);
        look_around();
        must_be(thirl_close(&end, thirl_in_ms(2000)), 0);
    }
    conform_join(&peer);
    (void)remove(path);
}

/* Each in a process of its own, because a process joins a registry once. */
static struct {
    const char *where, *file;
    enum wrong how;
    bool must_serve;
} next;

static void try_next(const struct conform *c, struct peer *stage) {
    (void)stage;
    struct conform own = *c;
    try(&own, next.where, next.file, next.how, next.must_serve);
}

static void try_all(struct conform *c, const char *where, const char *file, bool must_serve) {
    for (int how = 0; how < WRONGS; how++) {
        struct peer peer;
        next.where = where;
        next.file = file;
        next.how = (enum wrong)how;
        next.must_serve = must_serve;
        conform_start(&peer, c, try_next);
        conform_join(&peer);
    }
}

static void stands_foreign_nodes(struct conform *c) {
    try_all(c, "node", "node/0123456789abcdef", true);
    try_all(c, "node", "node/README", true);
    try_all(c, "node", "node/0123456789abcdef~", true);
    try_all(c, "node", "chan/other", true);
    try_all(c, "node", "stray", true);
}

static void stands_what_the_dead_left(struct conform *c) {
    try_all(c, "chan", "0123456789abcdef.1.tx", false);
    try_all(c, "chan", "0123456789abcdef.1.rx", false);
    try_all(c, "chan", "0123456789abcdef.1.bell", false);
    try_all(c, "chan", "0123456789abcdef.1.tx~", false);
    try_all(c, "chan", "0123456789abcdef.99999999999999.tx", false);
    try_all(c, "chan", "stray", false);
    try_all(c, "chan", "card~", false);
}

static void serves_despite_files_of_the_dead(struct conform *c) {
    static const char *const files[] = {"0123456789abcdef.1.tx", "0123456789abcdef.1.rx", "0123456789abcdef.1.bell"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (int how = EMPTY; how <= ZEROES; how++) {
            struct peer peer;
            next.where = "chan";
            next.file = files[i];
            next.how = (enum wrong)how;
            next.must_serve = true;
            conform_start(&peer, c, try_next);
            conform_join(&peer);
        }
    }
}

static void says_what_is_wrong_with_the_channel(struct conform *c) {
    try_all(c, "chan", "card", false);
    try_all(c, "chan", "roll", false);
}

/* ---- files of the living ---- */

static void sit(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_tell(stage, 0);
    conform_hear(stage);
    (void)!thirl_close(&end, THIRL_NOW);
}

/* Spoils the file of that channel, or of the nodes, whose name ends so: at a place, or by length. */
static void spoil(const struct conform *c, const char *directory, const char *ending, off_t at, size_t size,
                  int64_t length) {
    char path[400];
    snprintf(path, sizeof path, "%s", in(c, directory, strcmp(directory, "node") == 0 ? "node" : "."));
    DIR *list = opendir(path);
    must(list != NULL);
    int spoilt = 0;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        size_t name = strlen(entry->d_name), end = strlen(ending);
        if (entry->d_name[0] == '.' || name < end || strcmp(entry->d_name + name - end, ending) != 0) {
            continue;
        }
        /* Not through a descriptor of this process where a lock is on the file: it is another process's. */
        int fd = openat(dirfd(list), entry->d_name, O_RDWR | O_CLOEXEC);
        must(fd >= 0);
        unsigned char bytes[512];
        memset(bytes, 0x5a, sizeof bytes);
        must_be(pwrite(fd, bytes, size, at), size);
        must(length < 0 || ftruncate(fd, length) == 0);
        close(fd);
        spoilt++;
    }
    closedir(list);
    must(spoilt > 0);
}

static const struct spoiling {
    const char *directory, *ending;
    off_t at;
    size_t size;
    int64_t length;
    int code; /* one that must come; 0: any, or none */
} spoilings[] = {
    {"chan", ".tx", 0, 8, -1, -THIRL_EFORMAT},
    {"chan", ".rx", 0, 8, -1, -THIRL_EFORMAT},
    {"chan", ".tx", 8, 4, -1, -THIRL_EVERSION},
    {"chan", ".rx", 8, 4, -1, -THIRL_EVERSION},
    {"chan", ".tx", 16, 4, -1, 0},
    {"chan", ".rx", 0, 512, -1, 0},
    {"chan", ".tx", 0, 512, -1, 0},
    {"chan", ".tx", 64, 200, -1, 0},
    {"chan", ".rx", 64, 200, -1, 0},
    {"chan", "card", 8, 4, -1, -THIRL_EVERSION},
    {"chan", "card", 0, 16, -1, -THIRL_EFORMAT},
    {"chan", "card", 0, 4, 4, -THIRL_EFORMAT},
    {"chan", ".tx", 0, 0, 4096, 0},
    {"chan", ".tx", 0, 0, 0, 0},
    {"chan", ".rx", 0, 0, 0, 0},
    {"chan", ".rx", 0, 0, 100, 0},
    {"node", "", 0, 8, -1, 0},
    {"node", "", 8, 4, -1, 0},
    {"node", "", 16, 16, -1, 0},
    {"node", "", 0, 0, 100, 0},
    {"node", "", 0, 512, -1, 0},
};

static const struct spoiling *spoiling;

static void meet_the_spoilt(const struct conform *c, struct peer *stage) {
    struct peer peer;
    (void)stage;
    conform_start(&peer, c, sit);
    conform_hear(&peer);
    spoil(c, spoiling->directory, spoiling->ending, spoiling->at, spoiling->size, spoiling->length);
    look_around();
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    int sent = rc, got = rc;
    if (rc == 0) {
        sent = thirl_send(end, "x", 1, thirl_in_ms(60));
        got = thirl_recv(end, NULL, 0, NULL, thirl_in_ms(60));
    }
    if (spoiling->code != 0 && sent != spoiling->code && got != spoiling->code) {
        fprintf(stderr, "%s *%s at %d: ", spoiling->directory, spoiling->ending, (int)spoiling->at);
        must_be(sent == 0 ? got : sent, spoiling->code);
    }
    must(sent <= 0 && got <= 0);
    must((sent == 0 && got == 0) || thirl_why()[0] != '\0');
    look_around();
    (void)!thirl_close(&end, thirl_in_ms(20));
    conform_kill(&peer);
}

static void tells_a_spoilt_peer(struct conform *c) {
    for (size_t i = 0; i < sizeof spoilings / sizeof *spoilings; i++) {
        struct peer peer;
        spoiling = &spoilings[i];
        conform_start(&peer, c, meet_the_spoilt);
        conform_join(&peer);
        /* What cannot be understood any more may stay: the next one starts with an empty registry. */
        char old[300];
        snprintf(old, sizeof old, "%s.%zu", c->registry, i);
        must_be(rename(c->registry, old), 0);
        must_be(mkdir(c->registry, 0700), 0);
    }
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM_ONLY(stands_foreign_nodes, "shm"),
        CONFORM_ONLY(stands_what_the_dead_left, "shm"),
        CONFORM_ONLY(serves_despite_files_of_the_dead, "shm"),
        CONFORM_ONLY(says_what_is_wrong_with_the_channel, "shm"),
        CONFORM_ONLY(tells_a_spoilt_peer, "shm"),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
