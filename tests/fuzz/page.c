/* SPDX-License-Identifier: MIT
 *
 * Files of shared memory that change under who reads them: a pusher's and its claims, a worker's, a publisher's, a subscriber's, a client's,
 * a server's, a table of events, the roll, a state, a cache. Both ends are this process's and have met; then the input says which words of the
 * other end's files become what, and what this end does meanwhile. Before the other end closes, its files are as they were.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "include/thirl/cache.h"
#include "include/thirl/state.h"
#include "tests/fuzz/fuzz.h"

#define UNDO 64
#define FILES 16
#define LARGEST 40000

static const struct scene {
    enum thirl_role mine, its;
    bool cell, shelf;
} scenes[] = {
    {THIRL_PULL, THIRL_PUSH, false, false},
    {THIRL_PUSH, THIRL_PULL, false, false},
    {THIRL_SUB, THIRL_PUB, false, false},
    {THIRL_PUB, THIRL_SUB, false, false},
    {THIRL_SERVE, THIRL_CALL, false, false},
    {THIRL_CALL, THIRL_SERVE, false, false},
    {THIRL_READ, THIRL_WRITE, false, false},
    {THIRL_WATCH, THIRL_NOTIFY, false, false},
    {THIRL_NOTIFY, THIRL_WATCH, false, false},
    {0, 0, true, false},
    {0, 0, false, true},
};

static struct {
    const struct scene *scene;
    thirl *end, *other;
    thirl_msg *held[4];
    thirl_state *state;
    thirl_cache *cache;
    struct thirl_cache_pin pin[4];
    char file[FILES][300]; /* that may change */
    size_t files;
    struct undo {
        size_t file;
        off_t at;
        uint64_t was;
    } undo[UNDO];
    size_t undos;
} now;

/* ---- what changes ---- */

static int compare(const void *a, const void *b) {
    return strcmp(a, b);
}

static void list(const char *below) {
    char path[200];
    const char *registry = getenv("THIRL_DIR");
    (void)snprintf(path, sizeof path, "%s/%s", registry != NULL ? registry : "/nowhere", below);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && now.files < FILES && (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(now.file[now.files++], sizeof now.file[0], "%s/%.90s", path, entry->d_name);
        }
    }
    (void)(dir != NULL ? closedir(dir) : 0);
    qsort(now.file, now.files, sizeof now.file[0], compare);
}

static void change(struct food *food) {
    uint64_t which = food_number(food, 1), at = food_number(food, 2), value = food_number(food, 1);
    struct undo *undo = &now.undo[now.undos];
    struct stat status;
    if (now.files == 0 || now.undos == UNDO) {
        return;
    }
    const char *file = now.file[which % now.files];
    int fd = open(file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= 8) {
        undo->at = (off_t)(at * 8 % (uint64_t)(status.st_size < 32768 ? status.st_size - 7 : 32768)) & ~(off_t)7;
        if (pread(fd, &undo->was, 8, undo->at) == 8) {
            undo->file = which % now.files;
            value = value < 64    ? undo->was + value - 32
                    : value < 128 ? undo->was ^ UINT64_C(1) << (value & 63)
                    : value < 192 ? food_number(food, 8)
                    : value < 224 ? (uint64_t)0 - (value - 192)
                                  : value - 224;
            now.undos += pwrite(fd, &value, 8, undo->at) == 8;
        }
    }
    (void)(fd >= 0 ? close(fd) : 0);
}

static void change_back(void) {
    while (now.undos != 0) {
        const struct undo *undo = &now.undo[--now.undos];
        int fd = open(now.file[undo->file], O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        (void)!(fd >= 0 ? pwrite(fd, &undo->was, 8, undo->at) : 0);
        (void)(fd >= 0 ? close(fd) : 0);
    }
}

/* ---- who reads it ---- */

static void look_at(const void *data, size_t size) {
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum += ((const volatile unsigned char *)data)[i];
    }
    __asm__ __volatile__("" : : "r"(sum));
}

static void receive(struct food *food) {
    static char data[LARGEST];
    size_t size = 0;
    thirl_msg **held = &now.held[food_number(food, 1) % 4];
    thirl_free(held);
    int rc = thirl_take(now.end, held, THIRL_NOW);
    if (rc == 0) {
        look_at(thirl_msg_data(*held), thirl_msg_size(*held));
        if (now.scene->mine == THIRL_SERVE) {
            (void)!thirl_reply(now.end, held, "answer", 6, THIRL_NOW);
        } else if (now.scene->mine == THIRL_PULL && food_number(food, 1) % 2 == 0) {
            (void)!thirl_done(held);
        }
    }
    if (now.scene->mine != THIRL_SERVE &&
        thirl_recv(now.end, data, 1 + food_number(food, 2) % sizeof data, &size, THIRL_NOW) == 0) {
        must(size <= sizeof data);
        look_at(data, size);
    }
}

static void send(struct food *food) {
    static char data[LARGEST];
    uint32_t event = (uint32_t)food_number(food, 1);
    uint64_t call = 0;
    thirl_msg *reply = NULL;
    if (now.scene->mine == THIRL_NOTIFY) {
        (void)!thirl_send(now.end, &event, sizeof event, THIRL_NOW);
    } else if (now.scene->mine == THIRL_CALL) {
        (void)!thirl_ask(now.end, data, food_number(food, 2) % sizeof data, &call, THIRL_NOW);
        (void)!thirl_answer(now.end, &(uint64_t){0}, &reply, THIRL_NOW);
        thirl_free(&reply);
    } else {
        (void)!thirl_send(now.end, data, food_number(food, 2) % sizeof data, THIRL_NOW);
    }
}

static void use_cell(struct food *food) {
    char data[512];
    size_t size = 0;
    uint64_t version = 0;
    if (thirl_state_get(now.state, data, food_number(food, 2) % sizeof data, &size, &version) == 0) {
        must(size <= sizeof data);
        look_at(data, size);
    }
    (void)!thirl_state_wait(now.state, &version, THIRL_NOW);
    if (food_number(food, 1) % 2 == 0) {
        (void)!thirl_state_set(now.state, data, food_number(food, 1), THIRL_NOW);
    }
}

/* A cache belongs to all who may write it; who only reads must come to no harm. */
static void use_shelf(struct food *food) {
    uint64_t key = food_number(food, 1) % 8;
    char data[700];
    size_t size = 0;
    if (thirl_cache_copy(now.cache, &key, sizeof key, data, sizeof data, &size, NULL) == 0) {
        must(size <= sizeof data);
        look_at(data, size);
    }
}

static int opens(thirl **end, enum thirl_role role) {
    bool pooled = role == THIRL_PUSH || role == THIRL_PULL || role == THIRL_PUB || role == THIRL_SUB;
    const char *address =
        pooled ? "shm://fuzz-page?queue=4K&pool=64K&timeout=1ms" : "shm://fuzz-page?queue=4K&timeout=1ms";
    return thirl_open(end, role, address, NULL);
}

/* They meet, and something lies there. */
static void meet(void) {
    static char data[3000];
    uint64_t call = 0;
    uint32_t event = 5;
    bool mine_first = now.scene->mine == THIRL_SUB || now.scene->mine == THIRL_SERVE;
    must(opens(mine_first ? &now.end : &now.other, mine_first ? now.scene->mine : now.scene->its) == 0);
    must(opens(mine_first ? &now.other : &now.end, mine_first ? now.scene->its : now.scene->mine) == 0);
    list("chan/fuzz-page");
    for (int i = 0; i < 4; i++) {
        if (now.scene->its == THIRL_NOTIFY) {
            (void)!thirl_send(now.other, &event, sizeof event, THIRL_NOW);
        } else if (now.scene->its == THIRL_CALL) {
            (void)!thirl_ask(now.other, data, 40, &call, THIRL_NOW);
        } else if (now.scene->its != THIRL_WATCH && now.scene->its != THIRL_SERVE && now.scene->its != THIRL_PULL &&
                   now.scene->its != THIRL_SUB) {
            (void)!thirl_send(now.other, data, i == 3 ? sizeof data : 40, THIRL_NOW);
        } else {
            (void)!thirl_recv(now.other, data, sizeof data, &(size_t){0}, THIRL_NOW);
            struct food none = {NULL, 0};
            send(&none);
        }
    }
}

static void begin(void) {
    const struct thirl_state_options cell = {.size = sizeof cell, .max = 256};
    const struct thirl_cache_options shelf = {.size = sizeof shelf, .bytes = 200000, .items = 32, .seats = 16};
    struct thirl_cache_options reading = {.size = sizeof reading, .access = THIRL_ACCESS_READ};
    static char value[300];
    now.files = now.undos = 0;
    if (now.scene->cell) {
        must(thirl_state_open(&now.state, "fuzz-page", &cell) == 0 &&
             thirl_state_set(now.state, value, 100, THIRL_NOW) == 0);
    } else if (now.scene->shelf) {
        thirl_cache *writer = NULL;
        must(thirl_cache_open(&writer, "fuzz-page", &shelf) == 0);
        for (uint64_t key = 0; key < 6; key++) {
            must(thirl_cache_put(writer, &key, sizeof key, value, 50 * key, THIRL_NEVER, THIRL_NOW) == 0);
        }
        thirl_cache_close(&writer);
        must(thirl_cache_open(&now.cache, "fuzz-page", &reading) == 0);
    } else {
        meet();
        return;
    }
    list("area");
}

/* Jobs that nobody has done would stay, and their files. */
static void wipe(void) {
    char path[200];
    const char *registry = getenv("THIRL_DIR");
    now.files = 0;
    list("chan/fuzz-page");
    for (size_t i = 0; i < now.files; i++) {
        (void)unlink(now.file[i]);
    }
    (void)snprintf(path, sizeof path, "%s/chan/fuzz-page", registry != NULL ? registry : "/nowhere");
    must(rmdir(path) == 0 || errno == ENOENT);
}

static void over(void) {
    for (size_t i = 0; i < 4; i++) {
        thirl_free(&now.held[i]);
    }
    (void)!thirl_close(&now.end, THIRL_NOW);
    change_back();
    (void)!thirl_close(&now.other, THIRL_NOW);
    thirl_state_close(&now.state);
    thirl_cache_close(&now.cache);
    (void)!thirl_state_remove("fuzz-page");
    (void)!thirl_cache_remove_name("fuzz-page");
    wipe();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    fuzz_warm();
    int lowest = fuzz_lowest();
    now.scene = &scenes[food_number(&food, 1) % (sizeof scenes / sizeof *scenes)];
    begin();
    for (int i = 0; i < 100 && food.left != 0; i++) {
        if (food_number(&food, 1) % 3 != 0) {
            change(&food);
        } else if (now.scene->cell) {
            use_cell(&food);
        } else if (now.scene->shelf) {
            use_shelf(&food);
        } else if (now.scene->mine == THIRL_PUSH || now.scene->mine == THIRL_PUB || now.scene->mine == THIRL_NOTIFY ||
                   now.scene->mine == THIRL_CALL) {
            send(&food);
        } else {
            receive(&food);
        }
    }
    over();
    must(fuzz_lowest() == lowest);
    return 0;
}
