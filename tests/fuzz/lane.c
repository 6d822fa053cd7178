/* SPDX-License-Identifier: MIT
 *
 * Shared memory of a hostile peer: both its files, its lane, its cursor and its words, which change between and during the
 * calls as the input says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "chan/end.h"
#include "mech/shm.h"
#include "tests/fuzz/fuzz.h"

#define RING 8192

struct scene {
    thirl *end;
    struct shm *shm;
    struct roll_end self; /* who the peer says that it is */
    struct shm_tx *tx;
    struct shm_rx *rx;
    size_t tx_size, rx_size;
    unsigned char *ring;
    thirl_msg *held[4];
};

static void *make_file(struct scene *s, const char *kind, size_t size) {
    char file[ROLL_FILE_MAX];
    roll_file(file, s->self, kind);
    int fd = openat(s->shm->roll.dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    void *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(map != MAP_FAILED);
    (void)close(fd);
    return map;
}

static struct shm_mark mark_of(const struct scene *s, const char *magic, size_t size) {
    struct shm_mark mark = {"", SHM_VERSION, 0, (uint32_t)size, s->self.number, s->self.node};
    memcpy(mark.magic, magic, sizeof mark.magic);
    return mark;
}

/* A peer that talks to this end and listens to it, from positions that the input chooses. */
static void make_peer(struct scene *s, struct food *food) {
    const struct roll_end *us = &s->shm->roll.self;
    size_t head = seg_round(sizeof(struct shm_tx));
    s->self = (struct roll_end){us->node, us->number + 1000000};
    s->tx_size = head + RING;
    s->rx_size = seg_round(sizeof(struct shm_rx));
    s->tx = make_file(s, "tx", s->tx_size);
    s->rx = make_file(s, "rx", s->rx_size);
    s->ring = (unsigned char *)s->tx + head;
    s->tx->mark = mark_of(s, SHM_TX_MAGIC, sizeof *s->tx);
    s->rx->mark = mark_of(s, SHM_RX_MAGIC, sizeof *s->rx);
    s->tx->to = (struct shm_link){us->node, us->number, 0, food_number(food, 8)};
    s->rx->from = (struct shm_link){us->node, us->number, 0, 0};
    s->rx->cursor = food_number(food, 8);
    memset(s->tx->who, 'x', sizeof s->tx->who);
    roll_tell(&s->shm->roll);
}

static void put_record(struct scene *s, struct food *food) {
    size_t at = food_number(food, 2) % RING & ~(size_t)7, size;
    const uint32_t head[2] = {(uint32_t)food_number(food, 2),
                              (uint32_t)(food_number(food, 2) | (food_number(food, 1) << 24 & LANE_RUN))};
    const uint8_t *from = food_bytes(food, food_number(food, 1), &size);
    memcpy(s->ring + at, head, sizeof head);
    size = size < RING - at - sizeof head ? size : RING - at - sizeof head;
    memcpy(s->ring + at + sizeof head, from, size);
}

static void scribble(unsigned char *where, size_t room, struct food *food) {
    size_t at = food_number(food, 2) % room, size;
    const uint8_t *from = food_bytes(food, food_number(food, 1) % 32, &size);
    size = size < room - at ? size : room - at;
    memcpy(where + at, from, size);
}

static void receive(struct scene *s, struct food *food) {
    char buffer[RING];
    size_t capacity = food_number(food, 2) % sizeof buffer, size = 0, count = 3;
    struct iovec messages[3];
    int rc = (capacity & 1) != 0 ? thirl_recv(s->end, buffer, capacity, &size, THIRL_NOW)
                                 : thirl_recv_many(s->end, buffer, capacity, messages, &count, THIRL_NOW);
    must(rc <= THIRL_END && (rc != 0 || size <= capacity));
    for (size_t i = 0; rc == 0 && (capacity & 1) == 0 && i < count; i++) {
        must((char *)messages[i].iov_base >= buffer &&
             (char *)messages[i].iov_base + messages[i].iov_len <= buffer + capacity);
    }
}

/* A message in place: the mechanism answers for every byte of it being there. */
static void take(struct scene *s, thirl_msg **held) {
    thirl_free(held);
    int rc = thirl_take(s->end, held, THIRL_NOW);
    must((rc == 0) == (*held != NULL) && rc <= THIRL_END);
    const volatile uint8_t *data = thirl_msg_data(*held);
    for (size_t i = 0; i < thirl_msg_size(*held); i += 32) {
        (void)data[i];
    }
}

static void act(struct scene *s, struct food *food) {
    static const char message[3000];
    uint64_t what = food_number(food, 1);
    switch (what % 9) {
    case 0:
        put_record(s, food);
        break;
    case 1:
        scribble(s->ring, RING, food);
        break;
    case 2:
        scribble((unsigned char *)s->tx, sizeof *s->tx, food);
        break;
    case 3:
        scribble((unsigned char *)s->rx, sizeof *s->rx, food);
        break;
    case 4:
    case 5:
        receive(s, food);
        break;
    case 6:
        take(s, &s->held[what / 9 % 4]);
        break;
    case 7:
        thirl_free(&s->held[what / 9 % 4]);
        break;
    default:
        must(s->end->way[MECH_OUT].allowed == 0 ||
             thirl_send(s->end, message, food_number(food, 2) % sizeof message, THIRL_NOW) <= 0);
        break;
    }
}

/* The peer's files, and what was posted to it. */
static void wipe(int dir) {
    DIR *list = roll_list(dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        (void)unlinkat(dir, entry->d_name, 0);
    }
    must(list != NULL && closedir(list) == 0 && close(dir) == 0);
    (void)unlinkat(node_dir(), "chan/fuzz", AT_REMOVEDIR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    struct scene s = {.end = NULL};
    int lowest = 0;
    bool stream = (food_number(&food, 1) & 1) != 0;
    must(thirl_open(&s.end, stream ? THIRL_READ : THIRL_PAIR, "shm://fuzz?queue=8K", NULL) == 0);
    s.shm = s.end->state;
    make_peer(&s, &food);
    lowest = fuzz_lowest();
    while (food.left != 0) {
        act(&s, &food);
    }
    int dir = dup(s.shm->roll.dir);
    must(thirl_close(&s.end, THIRL_NOW) >= 0);
    wipe(dir);
    for (size_t i = 0; i < 4; i++) {
        thirl_free(&s.held[i]);
    }
    (void)munmap(s.tx, s.tx_size);
    (void)munmap(s.rx, s.rx_size);
    must(fuzz_lowest() <= lowest);
    return 0;
}
