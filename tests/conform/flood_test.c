/* SPDX-License-Identifier: MIT
 *
 * Very many messages over each mechanism and pattern, in runs of a fresh sender each: all come, once, in order, and each is whole: its number, and a
 * CRC over all of it. After each run the receiver has what it had after the first: descriptors, mappings, memory, and nothing is left in the
 * registry. FLOOD_COUNT is how many; those that FLOOD_FILE notes as done are not sent again, so that a campaign goes on where it was cut.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/conform/conform.h"

#define RUN UINT64_C(10000000) /* messages of one sender */
#define BATCH 32u
#define LARGE 2000u
#define EVENTS 64u

struct item {
    uint64_t number;
    uint32_t size, crc;
    unsigned char filling[LARGE];
};

#define HEAD offsetof(struct item, filling)

static uint64_t run_of;        /* messages of this run, */
static uint64_t first_of_all;  /* and the number of its first */
static enum thirl_role sender; /* of this line */

static uint64_t wanted(void) {
    const char *given = getenv("FLOOD_COUNT");
    return given == NULL ? 4000 : strtoull(given, NULL, 10);
}

/* ---- what is done ---- */

static uint64_t read_done(const char *name) {
    char line[100], what[64];
    const char *path = getenv("FLOOD_FILE");
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    uint64_t done = 0;
    unsigned long long count;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%63s %llu", what, &count) == 2 && strcmp(what, name) == 0) {
            done = count > done ? count : done;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return done;
}

static void note_done(const char *name, uint64_t done) {
    const char *path = getenv("FLOOD_FILE");
    FILE *file = path == NULL ? NULL : fopen(path, "ae");
    if (file != NULL) {
        (void)fprintf(file, "%s %llu\n", name, (unsigned long long)done);
        must(fclose(file) == 0);
    }
}

/* ---- one message ---- */

/* CRC-32C, of the test's own. */
static uint32_t crc_of(const void *data, size_t size) {
    static uint32_t table[256];
    const unsigned char *at = data;
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) {
            table[i] = table[i] >> 1 ^ ((table[i] & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    for (size_t i = 0; i < size; i++) {
        crc = crc >> 8 ^ table[(crc ^ at[i]) & 255];
    }
    return ~crc;
}

static size_t make(struct item *item, uint64_t number) {
    item->number = number;
    item->size = number % 1009 == 0 ? (uint32_t)(number / 1009 % LARGE) : (uint32_t)(number % 6 * 8);
    if (number % 1009 == 0) {
        memset(item->filling, (int)(number / 1009), item->size);
    } else {
        for (uint32_t i = 0; i < item->size; i += 8) {
            memcpy(item->filling + i, &number, 8);
        }
    }
    item->crc = 0;
    item->crc = crc_of(item, HEAD + item->size);
    return HEAD + item->size;
}

static void judge(const void *data, size_t size, uint64_t number) {
    static struct item item;
    must(size >= HEAD && size <= sizeof item);
    memcpy(&item, data, size);
    uint32_t crc = item.crc;
    item.crc = 0;
    must_be(item.number, number);
    must_be(item.size + HEAD, size);
    must(crc_of(&item, size) == crc);
}

/* ---- senders ---- */

static void send_messages(thirl *end) {
    static struct item items[BATCH];
    for (uint64_t i = 0; i < run_of;) {
        struct iovec parts[BATCH];
        size_t count = run_of - i < BATCH ? (size_t)(run_of - i) : BATCH;
        for (size_t k = 0; k < count; k++) {
            parts[k] = (struct iovec){&items[k], make(&items[k], first_of_all + i + k)};
        }
        size_t all = count;
        must_be(thirl_send_many(end, parts, &count, PATIENCE), 0);
        i += all;
    }
}

/* A stream is cut anywhere: its bytes are those of the messages, one behind the other. */
static void send_bytes(thirl *end) {
    static struct item item;
    for (uint64_t i = 0; i < run_of; i++) {
        size_t size = make(&item, first_of_all + i);
        must_be(thirl_send(end, &item, size, PATIENCE), 0);
    }
}

static void send_events(thirl *end) {
    for (uint64_t i = 0; i < run_of; i++) {
        uint32_t event = (uint32_t)(i % EVENTS);
        must_be(thirl_send(end, &event, sizeof event, PATIENCE), 0);
    }
}

static void call(thirl *end) {
    static struct item item;
    for (uint64_t i = 0; i < run_of; i++) {
        thirl_msg *reply = NULL;
        must_be(thirl_call(end, &item, make(&item, first_of_all + i), &reply, PATIENCE), 0);
        judge(thirl_msg_data(reply), thirl_msg_size(reply), first_of_all + i);
        thirl_free(&reply);
    }
}

static void be_sender(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, sender, sender == THIRL_PUB ? "full=block" : NULL);
    (void)conform_hear(stage);
    switch (sender) {
    case THIRL_WRITE:
        send_bytes(end);
        break;
    case THIRL_NOTIFY:
        send_events(end);
        break;
    case THIRL_CALL:
        call(end);
        break;
    default:
        send_messages(end);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* ---- receivers ---- */

static void receive_messages(thirl *end) {
    static char data[BATCH * sizeof(struct item)];
    for (uint64_t i = 0; i < run_of;) {
        struct iovec parts[BATCH];
        size_t count = BATCH;
        must_be(thirl_recv_many(end, data, sizeof data, parts, &count, PATIENCE), 0);
        for (size_t k = 0; k < count; k++) {
            judge(parts[k].iov_base, parts[k].iov_len, first_of_all + i + k);
        }
        i += count;
    }
}

static void receive_bytes(thirl *end) {
    static char data[65536 + sizeof(struct item)];
    size_t have = 0, got, at;
    for (uint64_t i = 0; i < run_of;) {
        must_be(thirl_recv(end, data + have, sizeof data - have, &got, PATIENCE), 0);
        have += got;
        for (at = 0; i < run_of && have - at >= HEAD; i++) {
            struct item head;
            memcpy(&head, data + at, HEAD);
            must(head.size <= LARGE);
            if (have - at < HEAD + head.size) {
                break;
            }
            judge(data + at, HEAD + head.size, first_of_all + i);
            at += HEAD + head.size;
        }
        memmove(data, data + at, have - at);
        have -= at;
    }
    must_be(have, 0);
}

static void receive_events(thirl *end) {
    uint64_t times[EVENTS] = {0};
    for (uint64_t i = 0; i < run_of;) {
        thirl_msg *msg = NULL;
        uint32_t event = 0;
        must_be(thirl_take(end, &msg, PATIENCE), 0);
        memcpy(&event, thirl_msg_data(msg), sizeof event);
        must(event < EVENTS);
        times[event] += thirl_msg_times(msg);
        i += thirl_msg_times(msg);
        thirl_free(&msg);
    }
    for (uint64_t k = 0; k < EVENTS; k++) {
        must_be(times[k], run_of / EVENTS + (k < run_of % EVENTS));
    }
}

static void answer(thirl *end) {
    for (uint64_t i = 0; i < run_of; i++) {
        thirl_msg *request = NULL;
        must_be(thirl_take(end, &request, PATIENCE), 0);
        static struct item item;
        size_t size = thirl_msg_size(request);
        judge(thirl_msg_data(request), size, first_of_all + i);
        memcpy(&item, thirl_msg_data(request), size);
        must_be(thirl_reply(end, &request, &item, size, PATIENCE), 0);
    }
}

/* ---- what it has afterwards ---- */

struct state {
    unsigned descriptors, mappings, kib, channels;
};

/* Of files, which others may share. */
static unsigned count_mappings(void) {
    char line[600], rights[8];
    unsigned count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    must(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        count += sscanf(line, "%*s %7s", rights) == 1 && rights[3] == 's';
    }
    (void)fclose(file);
    return count;
}

static struct state look(const struct conform *c) {
    struct state now = {conform_lines_of("/proc/self/fd"), count_mappings(), 0, 0};
    char line[128];
    now.channels = conform_channels(c);
    FILE *file = fopen("/proc/self/status", "re");
    must(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            now.kib = (unsigned)strtoul(line + 8, NULL, 10);
        }
    }
    (void)fclose(file);
    return now;
}

static void run(const struct conform *c, enum thirl_role receiver) {
    struct peer peer;
    conform_start(&peer, c, be_sender);
    thirl *end = conform_open(c, receiver, NULL);
    (void)!thirl_recv(end, NULL, 0, NULL, receiver == THIRL_SUB ? thirl_in_ms(50) : THIRL_NOW); /* it subscribes */
    conform_tell(&peer, 0);
    switch (receiver) {
    case THIRL_READ:
        receive_bytes(end);
        break;
    case THIRL_WATCH:
        receive_events(end);
        break;
    case THIRL_SERVE:
        answer(end);
        break;
    default:
        receive_messages(end);
    }
    (void)!thirl_close(&end, PATIENCE);
    conform_join(&peer);
}

static void flood(const struct conform *c, enum thirl_role from, enum thirl_role to) {
    char name[64];
    struct state first = {0};
    sender = from;
    (void)snprintf(name, sizeof name, "%s/%d", c->line->name, from);
    uint64_t begin = read_done(name), done = begin, each = wanted() / 4 < RUN ? wanted() / 4 : RUN;
    for (int runs = 0; done < wanted(); runs++) {
        run_of = wanted() - done < each ? wanted() - done : each;
        first_of_all = done;
        run(c, to);
        done += run_of;
        note_done(name, done);
        struct state now = look(c);
        first = runs <= 1 ? now : first; /* after the second: what is kept once is there by then */
        must_be(now.descriptors, first.descriptors);
        must_be(now.mappings, first.mappings);
        must_be(now.channels, 0);
        must(now.kib <= first.kib + (conform_sanitized() ? 100000 : 256));
    }
    printf("%s: %llu messages from the %llu., all whole and in order\n", name, (unsigned long long)(done - begin),
           (unsigned long long)begin);
}

static void pairs(struct conform *c) {
    flood(c, THIRL_PAIR, THIRL_PAIR);
}

static void streams(struct conform *c) {
    if (conform_sealed(c)) {
        conform_skip("no CRC is on a stream");
    }
    flood(c, THIRL_WRITE, THIRL_READ);
}

static void queues(struct conform *c) {
    if (!conform_claims(c).reliable || !conform_claims(c).ordered) {
        conform_skip("messages may be lost");
    }
    flood(c, THIRL_PUSH, THIRL_PULL);
}

static void casts(struct conform *c) {
    if ((c->line->roles & CONFORM_MEETS) == 0) {
        conform_skip("messages may be lost");
    }
    flood(c, THIRL_PUB, THIRL_SUB);
}

static void calls(struct conform *c) {
    flood(c, THIRL_CALL, THIRL_SERVE);
}

static void events(struct conform *c) {
    if (strcmp(c->line->name, "sig") == 0) {
        conform_skip("the kernel gives a sender room for so many signals, and no way to wait for more");
    }
    flood(c, THIRL_NOTIFY, THIRL_WATCH);
}

int main(int argc, char **argv) {
    static const struct conform_test all[] = {
        CONFORM_FOR(pairs, CONFORM_PAIR), CONFORM_FOR(streams, CONFORM_STREAM), CONFORM_FOR(queues, CONFORM_QUEUE),
        CONFORM_FOR(casts, CONFORM_CAST), CONFORM_FOR(calls, CONFORM_CALL),     CONFORM_FOR(events, CONFORM_EVENT),
    };
    static const struct conform_test some[] = {
        CONFORM_ONLY(pairs, "shm"),      CONFORM_ONLY(streams, "shm"),     CONFORM_ONLY(queues, "shm-queue"),
        CONFORM_ONLY(casts, "shm-cast"), CONFORM_ONLY(calls, "shm-call"),  CONFORM_ONLY(events, "shm-event"),
        CONFORM_ONLY(pairs, "mq"),       CONFORM_ONLY(pairs, "unix-path"), CONFORM_ONLY(streams, "fifo"),
    };
    bool campaign = argc > 1 || getenv("FLOOD_COUNT") != NULL;
    return campaign ? conform_main(all, sizeof all / sizeof *all, argc, argv)
                    : conform_main(some, sizeof some / sizeof *some, argc, argv);
}
