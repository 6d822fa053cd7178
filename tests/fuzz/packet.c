/* SPDX-License-Identifier: MIT
 *
 * What packet carriers bring: queues (PULL) and ducts (PAIR, READ) over a carrier of this file, whose packets are the input's,
 * and for ducts the page of a peer that writes there what the input says.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "mech/carried.h"
#include "tests/fuzz/fuzz.h"

#define PACKET 200

enum kind { QUEUE = 1, STREAM = 2, RAW = 4, LASTING = 8, UNRELIABLE = 16 };

static struct scene {
    struct carried end;
    struct node_end *seen;
    struct food food;
    unsigned kind;
    struct roll_end self; /* who the peer says that it is */
    struct duct_page *page;
    uint32_t packet;
} s;

/* ---- the carrier ---- */

static int open_one(void *self, const struct carrier_open *wanted, char place[CARRIER_PLACE_MAX]) {
    (void)self;
    must(wanted->kind != CARRIER_PLACE || strlen(wanted->place) < CARRIER_PLACE_MAX);
    if (wanted->kind == CARRIER_PLACE && wanted->place[0] == 'x') {
        return -ENOENT;
    }
    if (place != NULL) {
        (void)snprintf(place, CARRIER_PLACE_MAX, "fuzz");
    }
    return 0;
}

static void close_one(void *self) {
    (void)self;
}

static uint8_t block[PACKET];

static void *block_of(void *self) {
    (void)self;
    return block;
}

static int send_one(void *self, const struct iovec *part, unsigned parts, const struct mech_note *note, bool wait) {
    (void)self;
    (void)note;
    (void)wait;
    must(parts_size(part, parts) <= PACKET && (parts == 1 || (s.kind & LASTING) == 0));
    return food_number(&s.food, 1) % 8 == 0 ? -EAGAIN : 0;
}

static size_t build(uint8_t packet[PACKET + 64]) {
    uint64_t who = food_number(&s.food, 1);
    struct frag_label label = {.type = (who & 0x30) == 0x30 ? FRAG_NOTE : FRAG_DATA};
    size_t size;
    label.node = (who & 1) == 0 ? s.self.node : 1 + (who & 2);
    label.end = (who & 4) == 0 ? s.self.number : 7;
    label.packet = (who & 8) == 0 ? s.packet++ : (uint32_t)food_number(&s.food, 1);
    label.message = (uint32_t)food_number(&s.food, 1) % 4;
    label.total = (uint32_t)food_number(&s.food, 2) % 1500;
    label.piece = (who & 0x40) == 0 ? PACKET - FRAG_LABEL : 1 + (uint32_t)food_number(&s.food, 1);
    label.offset = (uint32_t)food_number(&s.food, 1) % 10 * label.piece;
    const uint8_t *from = food_bytes(&s.food, (who & 0x80) == 0 ? frag_size(&label) : food_number(&s.food, 1), &size);
    size = size < PACKET + 64 - FRAG_LABEL ? size : PACKET + 64 - FRAG_LABEL;
    memcpy(packet, from, size);
    size_t whole = (who & 0x80) == 0 && frag_size(&label) <= PACKET - FRAG_LABEL ? frag_size(&label) : size;
    memset(packet + size, 0x55, whole - (size < whole ? size : whole));
    label.brief = (who & 0x50) == 0x10;
    return whole + frag_tail(packet + whole, &label, whole, PACKET + 64);
}

static int recv_one(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                    struct mech_note *note, bool wait) {
    static uint8_t packet[PACKET + 64]; /* until the next call */
    uint64_t what = food_number(&s.food, 1);
    (void)self;
    (void)wait;
    must(parts_size(part, parts) >= PACKET);
    if (what == 0) {
        return -EAGAIN;
    }
    if (what == 1) {
        return -EIDRM;
    }
    if (what % 2 == 0) {
        *size = build(packet);
    } else {
        const uint8_t *from = food_bytes(&s.food, what, size); /* its label comes first */
        size_t front = *size < FRAG_LABEL ? 0 : FRAG_LABEL;
        memcpy(packet, from + front, *size - front);
        memcpy(packet + *size - front, from, front);
    }
    if (*size > PACKET) {
        return -EMSGSIZE;
    }
    if (note != NULL) {
        *note = (struct mech_note){.priority = 0};
    }
    parts_give(part, parts, packet, *size, (what & 4) != 0 ? at : NULL);
    return 0;
}

static int watch(void *self, struct mech_watch *watched) {
    (void)self;
    (void)watched;
    return 1;
}

static void claims(struct carrier_facts *facts) {
    *facts = (struct carrier_facts){.packet = PACKET, .bytes = 10000, .packets = 50, .priorities = 1, .receivers = 1};
    facts->reliable = facts->ordered = (s.kind & UNRELIABLE) == 0;
    facts->receivers = (s.kind & LASTING) != 0 ? 0 : 1;
    facts->kept = (s.kind & LASTING) != 0;
}

static void facts_of(void *self, struct carrier_facts *facts) {
    (void)self;
    claims(facts);
}

static int left(const char *place, struct carrier_left *what) {
    (void)place;
    *what = (struct carrier_left){.packets = 0};
    return 0;
}

static int plan(const struct carrier_open *wanted, char place[CARRIER_PLACE_MAX]) {
    (void)wanted;
    (void)snprintf(place, CARRIER_PLACE_MAX, "fuzz");
    return 0;
}

static int remove_place(const char *place) {
    (void)place;
    return 0;
}

#define SLOTS                                                                                                          \
    .scheme = "fuzz", .state_size = 16, .remedy = "raise nothing", .open = open_one, .close = close_one,               \
    .send = send_one, .recv = recv_one, .watch = watch, .facts = facts_of, .claims = claims

static const struct carrier fleeting = {SLOTS};
static const struct carrier lasting = {SLOTS,        .lasting = true,       .plan = plan, .block = block_of,
                                       .left = left, .remove = remove_place};

/* ---- the peer ---- */

static void name_page(const char *kind) {
    char old[ROLL_FILE_MAX], file[ROLL_FILE_MAX];
    struct duct *d = &s.end.as.duct;
    roll_file(old, s.self, "new");
    roll_file(file, s.self, kind);
    must(linkat(d->roll.dir, old, d->roll.dir, file, 0) == 0);
}

static void make_peer(void) {
    struct duct *d = &s.end.as.duct;
    const struct roll_end *us = &d->roll.self;
    char file[ROLL_FILE_MAX];
    s.self = (struct roll_end){us->node, us->number + 1000000};
    roll_file(file, s.self, "new");
    int fd = openat(d->roll.dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)seg_round(sizeof *s.page)) == 0);
    s.page = mmap(NULL, sizeof *s.page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    must(s.page != MAP_FAILED && close(fd) == 0);
    memcpy(s.page->magic, DUCT_MAGIC, sizeof s.page->magic);
    s.page->version = DUCT_VERSION;
    s.page->size = sizeof *s.page;
    s.page->node = s.self.node;
    s.page->number = s.self.number;
    s.page->max = food_number(&s.food, 2);
    memset(s.page->who, 'w', sizeof s.page->who);
    memset(s.page->place, 'p', sizeof s.page->place);
    name_page("rx");
    name_page("tx");
    roll_tell(&d->roll);
}

static void scribble(void) {
    size_t at = food_number(&s.food, 2) % sizeof *s.page, size;
    const uint8_t *from = food_bytes(&s.food, food_number(&s.food, 1) % 32, &size);
    size = size < sizeof *s.page - at ? size : sizeof *s.page - at;
    memcpy((char *)s.page + at, from, size);
}

static void wipe(int dir) {
    DIR *list = roll_list(dir);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        (void)unlinkat(dir, entry->d_name, 0);
    }
    must(list != NULL && closedir(list) == 0 && close(dir) == 0);
    (void)unlinkat(node_dir(), "chan/%fuzz.x", AT_REMOVEDIR);
    (void)munmap(s.page, sizeof *s.page);
}

/* ---- what this end does ---- */

static void act(void) {
    static const char message[500];
    char buffer[1600];
    uint64_t what = food_number(&s.food, 1), left_over;
    size_t size = 0, done = 0, capacity = what / 4 * 26;
    struct mech_note note;
    int rc;
    switch (what % 4) {
    case 0:
    case 1:
        rc = what % 4 == 0 ? carried_recv(&s.end, recv_one, buffer, capacity, &size, false)
                           : carried_recv_noted(&s.end, buffer, capacity, &size, &note, false);
        must(rc != 0 || size <= capacity);
        must(rc != -EMSGSIZE || size > capacity);
        break;
    case 2:
        if (s.page != NULL) {
            scribble();
        }
        break;
    default:
        if ((s.kind & (QUEUE | STREAM)) == 0) {
            rc = carried_send(&s.end, send_one, (s.kind & LASTING) != 0 ? block_of : NULL, message,
                              capacity % sizeof message, &done, false);
            must(rc != -EAGAIN || done == 0 || carried_settle(&s.end, message, capacity % sizeof message, done) == 0);
            (void)carried_flush(&s.end, &left_over);
        }
        (void)carried_look(&s.end, MECH_IN);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    s = (struct scene){.food = {data, size}};
    s.kind = (unsigned)food_number(&s.food, 1);
    bool queue = (s.kind & QUEUE) != 0, bytes = false;
    enum thirl_role role = queue ? THIRL_PULL : (s.kind & STREAM) != 0 ? THIRL_READ : THIRL_PAIR;
    must(node_end_take(&s.seen, "fuzz://x", role, true) == 0);
    const struct mech_open open = {.role = role,
                                   .address = "fuzz://x",
                                   .rest = "x",
                                   .sends = role == THIRL_PAIR,
                                   .receives = true,
                                   .stream = role == THIRL_READ,
                                   .options = {.size = sizeof open.options,
                                               .queue = 4096,
                                               .max = 1000,
                                               .mode = 0600,
                                               .timeout = 1000000000,
                                               .raw = queue && (s.kind & RAW) != 0},
                                   .bytes = &bytes,
                                   .seen = s.seen};
    int lowest = fuzz_lowest(), rc, dir = -1;
    rc = fuzz_answer(carried_open(&s.end, (s.kind & LASTING) != 0 ? &lasting : &fleeting, &open));
    must(rc == 0);
    if (!queue) {
        make_peer();
        dir = dup(s.end.as.duct.roll.dir);
    }
    while (s.food.left != 0) {
        act();
    }
    carried_close(&s.end);
    carried_deinit(&s.end);
    node_end_free(s.seen);
    if (!queue) {
        wipe(dir);
    }
    must(fuzz_lowest() == lowest);
    return 0;
}
