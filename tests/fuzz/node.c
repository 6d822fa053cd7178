/* SPDX-License-Identifier: MIT
 *
 * Another process's file in the registry: a good one with changes that the input wants, cut or grown; listed, looked up, and
 * asked for its life.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "mem/nodefile.h"
#include "mem/sweep.h"
#include "tests/fuzz/fuzz.h"

#define ENDS 3

static uint64_t id;

static void scribble(unsigned char *map, size_t room, struct food *food) {
    size_t at = food_number(food, 2) % room, size;
    const uint8_t *from = food_bytes(food, food_number(food, 1) % 32, &size);
    size = size < room - at ? size : room - at;
    memcpy(map + at, from, size);
}

static void write_file(struct food *food) {
    static union {
        struct node_file file;
        unsigned char bytes[sizeof(struct node_file) + ENDS * sizeof(struct node_end)];
    } good;
    char path[8 + NODE_NAME_MAX] = "node/";
    memset(&good, 0, sizeof good);
    memcpy(good.file.magic, NODE_MAGIC, sizeof good.file.magic);
    good.file.version = NODE_VERSION;
    good.file.size = sizeof good.file;
    good.file.end_size = sizeof(struct node_end);
    good.file.ends = ENDS;
    good.file.id = id;
    good.file.who.pid = 4321;
    for (size_t i = 0; i < ENDS; i++) {
        struct node_end *end = (struct node_end *)(void *)(good.bytes + offsetof(struct node_file, end)) + i;
        end->state = NODE_END_LINKED;
        end->role = THIRL_PAIR;
        memset(end->address, 'a', sizeof end->address);
        memset(end->peer, 'p', sizeof end->peer);
    }
    off_t size = (off_t)(sizeof good + food_number(food, 2));
    size -= (off_t)food_number(food, 2);
    while (food->left != 0) {
        scribble(good.bytes, sizeof good, food);
    }
    node_name(path + 5, id);
    int fd = openat(node_dir(), path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, &good, sizeof good) == (ssize_t)sizeof good);
    must(ftruncate(fd, size < 0 ? 0 : size) == 0 && close(fd) == 0);
}

static int see(void *context, const struct thirl_seen *seen) {
    unsigned *count = context;
    must(strlen(seen->address) < NODE_ADDRESS_MAX && strlen(seen->peer) < NODE_PEER_MAX);
    must(seen->role != NULL && seen->state != NULL && seen->role[0] != '\0' && seen->state[0] != '\0');
    must(strlen(seen->exe) < 256);
    (*count)++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    unsigned seen = 0;
    fuzz_warm();
    int lowest = fuzz_lowest();
    id = (node_id() ^ UINT64_C(0x1234567800000000)) + 1;
    write_file(&food);
    must(thirl_list(see, &seen) == 0);
    must(seen <= NODE_ENDS);
    struct node_peer peer;
    int rc = node_peer_open(&peer, id, (uint32_t)size);
    must(rc == -ESRCH || rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION);
    must(!node_alive(id));
    sweep_dead();
    must(thirl_list(see, &seen) == 0);
    must(fuzz_lowest() == lowest);
    return 0;
}
