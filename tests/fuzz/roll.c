/* SPDX-License-Identifier: MIT
 *
 * The directory of a channel in the registry as somebody else may have left it: files of any name, among them ends, posts and
 * notes of what the kernel keeps, a card and a roll of any content. It is joined, searched, listed, cleaned and swept.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "mech/kept.h"
#include "mem/place.h"
#include "mem/post.h"
#include "mem/sweep.h"
#include "tests/fuzz/fuzz.h"

static int open_channel(void) {
    (void)mkdirat(node_dir(), "chan", 0700);
    must(mkdirat(node_dir(), "chan/%mq.x", 0700) == 0 || errno == EEXIST);
    int dir = openat(node_dir(), "chan/%mq.x", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(dir >= 0);
    return dir;
}

/* A name of the kind that the parsers look at, with parts of the input in it; or the input itself. */
static void choose_name(char name[64], struct food *food, uint64_t what) {
    static const char *const forms[] = {"%016llx.%u.tx",
                                        "%016llx.%u.rx",
                                        "%016llx.%u.bell",
                                        "kept.%016llx.%u",
                                        "%016llx.%u.post.0000000000000001.0123456789abcdef.1",
                                        "card",
                                        "roll",
                                        "kept"};
    size_t size;
    uint64_t node = (what & 16) != 0 ? node_id() : food_number(food, 2);
    if ((what & 8) == 0) {
        (void)snprintf(name, 64, forms[what & 7], (unsigned long long)node, (unsigned)food_number(food, 1));
        name[63] = '\0';
    } else {
        const uint8_t *from = food_bytes(food, food_number(food, 1) % 60, &size);
        memcpy(name, from, size);
        name[size] = '\0';
    }
    for (char *c = name; *c != '\0'; c++) {
        *c = *c == '/' ? '_' : *c;
    }
}

/* A note of a queue that is nobody's: the beginning of its name cannot be another program's. */
static size_t make_note(struct kept *kept, struct food *food) {
    *kept = (struct kept){"thirlkpt", 1, 0, "mq://fuzz-nobody", "/thirl-fuzz-nobody-"};
    size_t at = food_number(food, 2) % (sizeof *kept - 24), size;
    const uint8_t *from = food_bytes(food, food_number(food, 1) % 24, &size);
    memcpy((char *)kept + at, from, size);
    memcpy(kept->place, "/thirl-fuzz-nobody-", 19);
    return sizeof *kept - food_number(food, 1) % 2;
}

static void make_file(int dir, struct food *food) {
    char name[64];
    struct kept kept;
    uint64_t what = food_number(food, 1);
    size_t size;
    choose_name(name, food, what);
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return;
    }
    const void *from = &kept;
    if ((what & 32) != 0) {
        size = make_note(&kept, food);
    } else {
        from = food_bytes(food, food_number(food, 1), &size);
    }
    if ((what & 0xc0) == 0xc0) {
        (void)(what & 1 ? mkfifoat(dir, name, 0600) : symlinkat("/nowhere", dir, name));
        return;
    }
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
    must(fd < 0 || (write(fd, from, size) == (ssize_t)size && close(fd) == 0));
}

static int see(void *context, const struct thirl_left *left) {
    (void)context;
    must(strlen(left->address) < NODE_ADDRESS_MAX);
    return 0;
}

static struct place page[PLACE_MAP / sizeof(struct place) + 1]; /* what a roll has in common memory */

static void join(uint64_t flags) {
    struct roll roll;
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    enum roll_pattern pattern = (enum roll_pattern)(ROLL_PAIR + flags % 3);
    int rc = roll_begin(&roll, "mq", "x", pattern, true, true, 0600, 0);
    must(fuzz_answer(rc) != -EAGAIN);
    if (rc != 0) {
        return;
    }
    roll_cancel(&roll);
    roll.dir = open_channel();
    roll.self = (struct roll_end){node_id(), 1};
    roll.change = (uint32_t *)(void *)page;
    roll.bytes = sizeof page;
    (void)roll_find(&roll, "rx", &found);
    (void)post_find(&roll, file, &found);
    (void)close(roll.dir);
}

static void wipe(void) {
    int dir = openat(node_dir(), "chan/%mq.x", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = dir < 0 ? NULL : fdopendir(dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        (void)unlinkat(dir, entry->d_name, 0);
    }
    (void)(list != NULL ? closedir(list) : 0);
    (void)unlinkat(node_dir(), "chan/%mq.x", AT_REMOVEDIR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    struct roll roll = {.self = {0}};
    struct roll_end found;
    char file[ROLL_FILE_MAX];
    fuzz_warm();
    wipe();
    int lowest = fuzz_lowest(), dir = open_channel();
    uint64_t flags = food_number(&food, 1);
    size_t places;
    const uint8_t *bytes = food_bytes(&food, flags % 64, &places);
    memset(page, 0, PLACE_FAR);
    memcpy((char *)page + PLACE_AT, bytes, places);
    while (food.left != 0) {
        make_file(dir, &food);
    }
    roll = (struct roll){.dir = dir, .lock = -1, .change = (uint32_t *)(void *)page, .bytes = sizeof page, .self = {node_id(), 1}};
    (void)roll_find(&roll, "tx", &found);
    if (post_find(&roll, file, &found) == 0) {
        must(strlen(file) < ROLL_FILE_MAX);
        post_drop(&roll, &found);
    }
    must(close(dir) == 0);
    (void)fuzz_answer(thirl_left(see, NULL));
    int thrown = thirl_clean("mq://fuzz-nobody");
    must(thrown >= 0 || thirl_why()[0] != 0);
    kept_sweep("mq", "none", 0);
    join(flags);
    wipe();
    must(fuzz_lowest() == lowest);
    return 0;
}
