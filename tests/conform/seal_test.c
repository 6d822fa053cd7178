/* SPDX-License-Identifier: MIT
 *
 * ?crc over every mechanism that has messages: whatever is sent arrives, whatever is damaged is found, told and passed over.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/conform/query.h"
#include "tests/conform/stock.h"

#define LARGE 70000u

/* Both ends in this process, each with options of its own; b has spoken, a has received nothing else. */
static void open_pair(const struct conform *c, const char *of_a, const char *of_b, thirl **a, thirl **b) {
    must_be(thirl_open(a, THIRL_PAIR, conform_address(c, 0, of_a), NULL), 0);
    must_be(thirl_open(b, THIRL_PAIR, conform_address(c, 0, of_b), NULL), 0);
    int rc = -EAGAIN;
    for (int64_t until = conform_now() + 5000 * MS; rc == -EAGAIN && conform_now() < until;) {
        rc = thirl_send(*b, "x", 1, THIRL_NOW);
        (void)!thirl_recv(*a, NULL, 0, NULL, THIRL_NOW);
    }
    must_be(rc, 0);
    char byte;
    must_be(thirl_recv(*a, &byte, 1, NULL, PATIENCE), 0);
}

static void close_both(thirl **a, thirl **b) {
    (void)!thirl_close(a, thirl_in_ms(1000));
    (void)!thirl_close(b, thirl_in_ms(1000));
}

/* ---- what is not damaged ---- */

/* Into a buffer that it fills to the last byte, after one that is too small by one. */
static void recv_exactly(thirl *end, size_t size, uint64_t seed) {
    static char buffer[LARGE];
    size_t got = 0;
    if (size != 0) {
        must_be(thirl_recv(end, buffer, size - 1, &got, PATIENCE), -EMSGSIZE);
        must_be(got, size);
    }
    must_be(thirl_recv(end, buffer, size, &got, PATIENCE), 0);
    must(got == size && conform_intact(buffer, size, seed));
}

static void send_large(const struct conform *c, struct peer *stage) {
    static const size_t sizes[] = {1000, 4091, 4092, 4093, 4095, 4096, 4097, 8148, 8150, 8192, 30000, 65536};
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, "crc");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        conform_send(end, sizes[i], i);
        conform_recv(end, sizes[i], i + 1);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void carries_every_size(struct conform *c) {
    struct peer peer;
    thirl *a, *b;
    conform_start(&peer, c, send_large);
    thirl *end = conform_open(c, THIRL_PAIR, "crc");
    static const size_t sizes[] = {1000, 4091, 4092, 4093, 4095, 4096, 4097, 8148, 8150, 8192, 30000, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        recv_exactly(end, sizes[i], i);
        conform_send(end, sizes[i], i + 1);
    }
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    open_pair(c, "crc", "crc", &a, &b);
    for (size_t size = 0; size <= 70; size++) {
        conform_send(a, size, size);
        recv_exactly(b, size, size);
        conform_send(b, size, size);
        conform_recv(a, size, size);
    }
    close_both(&a, &b);
}

static void limits_leave_room_for_it(struct conform *c) {
    thirl *plain, *sealed;
    thirl_msg *msg;
    must_be(thirl_open(&plain, THIRL_PAIR, conform_address(c, 1, "max=50000&queue=256K"), NULL), 0);
    must_be(thirl_open(&sealed, THIRL_PAIR, conform_address(c, 2, "crc&max=50000&queue=256K"), NULL), 0);
    struct thirl_limits without = conform_limits(plain), with = conform_limits(sealed);
    must_be(with.message_max, 50000);
    must_be(with.zero_copy, without.zero_copy);
    must(without.atomic_max == 0 || with.atomic_max == without.atomic_max || with.atomic_max == without.atomic_max - 4);
    must_be(thirl_loan(sealed, &msg, 50001, THIRL_NOW) == 0, 0);
    must_be(thirl_close(&plain, THIRL_NOW), 0);
    must_be(thirl_close(&sealed, THIRL_NOW), 0);
}

static void carries_in_place(struct conform *c) {
    thirl *a, *b;
    thirl_msg *msg, *held[8];
    open_pair(c, "crc", "crc", &a, &b);
    for (unsigned i = 0; i < 40; i++) {
        size_t size = 100 + i;
        must_be(thirl_loan(a, &msg, size + i % 7, PATIENCE), 0);
        must_be(thirl_msg_size(msg), size + i % 7);
        must_be(thirl_msg_trim(msg, size + i % 7 + 1), -EINVAL);
        must_be(thirl_msg_trim(msg, size), 0);
        conform_fill(thirl_msg_data(msg), size, i);
        must_be(thirl_put(a, &msg, PATIENCE), 0);
        must_be(thirl_loan(a, &msg, 10, PATIENCE), 0); /* never sent */
        thirl_free(&msg);
        must_be(thirl_take(b, &msg, PATIENCE), 0);
        must(thirl_msg_size(msg) == size && conform_intact(thirl_msg_data(msg), size, i));
        must_be(thirl_msg_number(msg), i);
        thirl_free(&msg);
    }
    for (unsigned i = 0; i < 8; i++) {
        conform_send(a, 64, i);
        must_be(thirl_take(b, &held[i], PATIENCE), 0);
    }
    for (unsigned i = 0; i < 8; i++) { /* not in their order */
        msg = held[i * 3 % 8];
        must(thirl_msg_size(msg) == 64 && conform_intact(thirl_msg_data(msg), 64, i * 3 % 8));
        thirl_free(&held[i * 3 % 8]);
    }
    close_both(&a, &b);
}

static void carries_many(struct conform *c) {
    static char bytes[40][200], buffer[40 * 208];
    struct iovec out[40], in[40];
    thirl *a, *b;
    open_pair(c, "crc", "crc", &a, &b);
    for (unsigned round = 0; round < 20; round++) {
        size_t wanted = conform_room(a, 2 + 2 * round), sent = wanted;
        for (unsigned i = 0; i < wanted; i++) {
            out[i] = (struct iovec){bytes[i], (size_t)i * 5};
            conform_fill(bytes[i], out[i].iov_len, round * 40 + i);
        }
        must_be(thirl_send_many(a, out, &sent, PATIENCE), 0);
        must_be(sent, wanted);
        for (size_t taken = 0, count = 0; taken < wanted; taken += count) {
            count = wanted - taken;
            must_be(thirl_recv_many(b, buffer, sizeof buffer, in, &count, PATIENCE), 0);
            must(count >= 1 && count <= wanted - taken);
            for (size_t i = 0; i < count; i++) {
                must((uintptr_t)((char *)in[i].iov_base - buffer) % 8 == 0 && in[i].iov_len == 5 * (taken + i));
                must(conform_intact(in[i].iov_base, in[i].iov_len, round * 40 + taken + i));
            }
        }
        conform_send(a, 96, 9); /* a buffer that the message alone fits */
        size_t count = 1;
        must_be(thirl_recv_many(b, buffer, 95, in, &count, PATIENCE), -EMSGSIZE);
        must_be(in[0].iov_len, 96);
        count = 3;
        must_be(thirl_recv_many(b, buffer, 96, in, &count, PATIENCE), 0);
        must(count == 1 && in[0].iov_base == buffer && in[0].iov_len == 96 && conform_intact(buffer, 96, 9));
    }
    close_both(&a, &b);
}

static void brings_descriptors(struct conform *c) {
    thirl *a, *b;
    thirl_msg *msg;
    stock_need(conform_claims(c).descriptors, "no descriptors travel there");
    open_pair(c, "crc&descriptors=2", "crc&descriptors=2", &a, &b);
    for (unsigned i = 0; i < 10; i++) {
        int pipes[2];
        char byte = 0;
        must_be(pipe2(pipes, O_CLOEXEC), 0);
        must_be(thirl_loan(a, &msg, (size_t)i * 700, PATIENCE), 0);
        conform_fill(thirl_msg_data(msg), (size_t)i * 700, i);
        must_be(thirl_msg_attach(msg, pipes[1]), 0);
        close(pipes[1]);
        must_be(thirl_put(a, &msg, PATIENCE), 0);
        must_be(thirl_take(b, &msg, PATIENCE), 0);
        must(thirl_msg_size(msg) == (size_t)i * 700 && conform_intact(thirl_msg_data(msg), (size_t)i * 700, i));
        must_be(thirl_msg_descriptors(msg), 1);
        int fd = thirl_msg_detach(msg, 0);
        must(write(fd, "y", 1) == 1 && read(pipes[0], &byte, 1) == 1 && byte == 'y');
        close(fd);
        close(pipes[0]);
        thirl_free(&msg);
    }
    close_both(&a, &b);
}

/* ---- what is ---- */

/* A call may bring message i, intact, or say that it is damaged. */
static bool check(int rc, const void *data, size_t size, unsigned i, size_t wanted, unsigned *bad) {
    char number[40];
    if (rc == 0) {
        must(size == wanted && conform_intact(data, size, i));
        return true;
    }
    must_be(rc, -THIRL_EFORMAT);
    snprintf(number, sizeof number, "message %u ", i);
    must_say(number);
    must_say("is damaged: its CRC is ");
    must_say(" come to ");
    ++*bad;
    return false;
}

static void finds_every_flip(struct conform *c) {
    static char buffer[LARGE];
    static const size_t sizes[] = {0, 1, 7, 64, 100, 3000};
    unsigned bad = 0;
    thirl *a, *b;
    thirl_msg *msg;
    open_pair(c, "crc", "crc&hurt=5:flip/3", &a, &b);
    for (unsigned i = 0; i < 120; i++) {
        size_t size = sizes[i % 6], got = 0;
        conform_send(a, size, i);
        if (i % 2 == 0) {
            int rc = thirl_recv(b, buffer, sizeof buffer, &got, PATIENCE);
            (void)check(rc, buffer, got, i, size, &bad);
            continue;
        }
        int rc = thirl_take(b, &msg, PATIENCE);
        if (check(rc, thirl_msg_data(msg), thirl_msg_size(msg), i, size, &bad)) {
            must_be(thirl_msg_number(msg), i); /* the damaged ones count */
        }
        must((msg == NULL) == (rc != 0));
        thirl_free(&msg);
    }
    must(bad >= 20 && bad <= 60);
    must_be(stock_refused(), bad);
    conform_send(b, 10, 1); /* and the other way goes on as well */
    conform_recv(a, 10, 1);
    conform_names(c, 0);
    close_both(&a, &b);
}

static bool is_readable(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1;
}

/* One of each number that comes at once: the others arrive, and then the call after that says so, and the descriptor until it does. */
static void finds_flips_among_many(struct conform *c) {
    static char bytes[16][64], buffer[16 * 80];
    struct iovec out[16], in[16];
    unsigned bad = 0;
    thirl *a, *b;
    open_pair(c, "crc", "crc&hurt=3:flip/2", &a, &b);
    int fd = thirl_fd(b);
    must(fd >= 0);
    for (unsigned round = 0; round < 30; round++) {
        size_t wanted = conform_room(a, 16), sent = wanted;
        unsigned seen = 0, told = 0;
        for (unsigned i = 0; i < wanted; i++) {
            out[i] = (struct iovec){bytes[i], 64};
            conform_fill(bytes[i], 64, i);
        }
        must_be(thirl_send_many(a, out, &sent, PATIENCE), 0);
        while (seen + told < wanted) {
            size_t count = 16;
            must(is_readable(fd, 10000));
            int rc = thirl_recv_many(b, buffer, sizeof buffer, in, &count, PATIENCE);
            must_be(rc == 0 ? count != 0 : count == 0, 1);
            if (rc != 0) {
                must_be(rc, -THIRL_EFORMAT);
                must_say("is damaged");
                told++;
            }
            for (size_t i = 0; i < count; i++) {
                unsigned n = 0;
                while (n < wanted && !conform_intact(in[i].iov_base, 64, n)) {
                    n++;
                }
                must(n < wanted && in[i].iov_len == 64);
            }
            seen += (unsigned)count;
        }
        must(!is_readable(fd, 0) || thirl_recv(b, buffer, sizeof buffer, NULL, THIRL_NOW) == -EAGAIN);
        bad += told;
    }
    must(bad >= 10);
    must_be(stock_refused(), bad);
    close_both(&a, &b);
}

/* What hurt does without a CRC: a bit, exactly, and nobody says a word. */
static void flips_one_bit(struct conform *c) {
    unsigned char buffer[100], wanted[100];
    thirl *a, *b;
    open_pair(c, NULL, "hurt=5:flip/1", &a, &b);
    must_be(conform_limits(b).zero_copy, 0);
    for (unsigned i = 0; i < 20; i++) {
        size_t got = 0;
        unsigned bits = 0;
        conform_send(a, sizeof buffer, i);
        conform_fill(wanted, sizeof wanted, i);
        must_be(thirl_recv(b, buffer, sizeof buffer, &got, PATIENCE), 0);
        must_be(got, sizeof buffer);
        for (size_t n = 0; n < sizeof buffer; n++) {
            bits += (unsigned)__builtin_popcount((unsigned)(buffer[n] ^ wanted[n]));
        }
        must_be(bits, 1);
    }
    close_both(&a, &b);
}

/* Over queues, from wherever: udp may lose some besides. */
static void finds_flips_in_queues(struct conform *c) {
    static char buffer[4000];
    unsigned bad = 0, good = 0;
    thirl *in = NULL, *out = NULL;
    must_be(thirl_open(&in, THIRL_PULL, conform_address(c, 0, "crc&hurt=5:flip/3"), NULL), 0);
    must_be(thirl_open(&out, THIRL_PUSH, conform_address(c, 0, "crc"), NULL), 0);
    for (unsigned i = 0; i < 100; i++) {
        size_t got = 0, size = (size_t)i * 37 % sizeof buffer;
        conform_send(out, size, i);
        int rc = thirl_recv(in, buffer, sizeof buffer, &got, conform_claims(c).reliable ? PATIENCE : thirl_in_ms(200));
        if (rc == -ETIMEDOUT && !conform_claims(c).reliable) {
            continue;
        }
        must(rc == 0 || rc == -THIRL_EFORMAT);
        must(rc != 0 || (got == size && conform_intact(buffer, size, i)));
        good += rc == 0;
        bad += rc != 0;
    }
    must(bad >= 15 && good >= 30);
    must_be(stock_refused(), bad);
    stock_ends(in, c);
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&in, PATIENCE), 0);
}

static void finds_flips_among_subscribers(struct conform *c) {
    thirl *out = NULL, *in[2];
    thirl_msg *msg;
    unsigned bad = 0, good = 0;
    bool meets = (c->line->roles & CONFORM_MEETS) != 0;
    must_be(thirl_open(&out, THIRL_PUB, conform_address(c, 0, meets ? "crc&history=5" : "crc"), NULL), 0);
    must_be(thirl_open(&in[0], THIRL_SUB, conform_address(c, 0, "crc&hurt=5:flip/3"), NULL), 0);
    must_be(thirl_open(&in[1], THIRL_SUB, conform_address(c, 0, "crc"), NULL), 0);
    for (unsigned i = 0; i < 60; i++) {
        conform_send(out, (size_t)i * 11, i);
        conform_recv(in[1], (size_t)i * 11, i);
        int rc = thirl_take(in[0], &msg, PATIENCE);
        if (check(rc, thirl_msg_data(msg), thirl_msg_size(msg), i, (size_t)i * 11, &bad)) {
            must_be(thirl_msg_number(msg), i);
            must_be(thirl_msg_lost(msg), 0);
            good++;
        }
        thirl_free(&msg);
    }
    must(bad >= 10 && good >= 20);
    must_be(stock_refused(), bad);
    thirl *other = NULL;
    if (!meets) { /* packets say what stands behind them: whoever does not agree counts them as refused */
        must_be(thirl_close(&out, PATIENCE), 0);
        must_be(thirl_close(&in[0], PATIENCE), 0);
        must_be(thirl_close(&in[1], PATIENCE), 0);
        return;
    }
    must_be(thirl_open(&other, THIRL_SUB, conform_address(c, 0, NULL), NULL), -THIRL_EROLE);
    must_say("CRC");
    must_be(thirl_open(&other, THIRL_SUB, conform_address(c, 0, "crc&history=5"), NULL), 0);
    for (unsigned i = 55; i < 60 && !stock_meets(c);
         i++) { /* kept as it was sent; over connections, handed out by its next call */
        conform_recv(other, (size_t)i * 11, i);
    }
    must_be(thirl_close(&out, PATIENCE), 0);
    must_be(thirl_close(&other, PATIENCE), 0);
    must_be(thirl_close(&in[0], PATIENCE), 0);
    must_be(thirl_close(&in[1], PATIENCE), 0);
}

/* Every single bit of a message, where it lies in the sender's memory. */
static int find_lane(const struct conform *c, char path[1024]) {
    char channel[600];
    snprintf(channel, sizeof channel, "%s/chan/%s-0", c->registry, strrchr(c->directory, '/') + 1);
    DIR *list = opendir(channel);
    must(list != NULL);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length > 3 && strcmp(entry->d_name + length - 3, ".tx") == 0) {
            snprintf(path + (ptrdiff_t)512 * found, 512, "%.250s/%.255s", channel, entry->d_name);
            found++;
        }
    }
    closedir(list);
    return found;
}

/* Turns a bit over, from the beginning of the message; the message is its own mark. */
static void turn_over(const char paths[1024], const void *message, size_t size, unsigned bit) {
    static char bytes[1 << 16];
    for (int i = 0; i < 2; i++) {
        int fd = open(paths + (ptrdiff_t)512 * i, O_RDWR | O_CLOEXEC);
        must(fd >= 0);
        ssize_t there = pread(fd, bytes, sizeof bytes, 0);
        must(there > 0); /* a queue, and the beginning of what lies behind it */
        char *at = memmem(bytes, (size_t)there, message, size);
        if (at != NULL) {
            char byte = (char)(at[bit / 8] ^ (1 << bit % 8));
            must_be(pwrite(fd, &byte, 1, at - bytes + (ptrdiff_t)bit / 8), 1);
            close(fd);
            return;
        }
        close(fd);
    }
    must(!"the message is in one of the lanes");
}

static void finds_every_bit(struct conform *c) {
    char paths[1024], data[20], buffer[32];
    unsigned bad = 0;
    thirl *a, *b;
    thirl_msg *msg;
    size_t got;
    open_pair(c, "crc&queue=4K", "crc&queue=4K", &a, &b);
    must_be(find_lane(c, paths), 2);
    for (unsigned bit = 0; bit < 8 * (sizeof data + 4); bit++) {
        conform_fill(data, sizeof data, bit);
        must_be(thirl_send(a, data, sizeof data, PATIENCE), 0);
        turn_over(paths, data, sizeof data, bit);
        conform_send(a, 5, bit);
        if (bit % 2 == 0) {
            (void)check(thirl_recv(b, buffer, sizeof buffer, &got, PATIENCE), NULL, 0, 2 * bit, 0, &bad);
        } else {
            (void)check(thirl_take(b, &msg, PATIENCE), NULL, 0, 2 * bit, 0, &bad);
        }
        conform_names(c, getpid());
        conform_recv(b, 5, bit);
    }
    must_be(bad, 8 * (sizeof data + 4));
    must_be(stock_refused(), bad);
    struct iovec many[3] = {{data, 20}, {data, 20}, {buffer, 2}}, in[3];
    size_t count = 3;
    conform_fill(data, sizeof data, 1000);
    must_be(thirl_send_many(a, many, &count, PATIENCE), 0);
    turn_over(paths, data, sizeof data, 9);
    count = 3;
    must_be(thirl_recv_many(b, buffer, 0, in, &count, PATIENCE),
            -EMSGSIZE); /* the size is believed: it may be small, too */
    char room[128];
    count = 3;
    must_be(thirl_recv_many(b, room, sizeof room, in, &count, PATIENCE), 0);
    must(count == 2 && in[0].iov_len == 20 && in[1].iov_len == 2);
    must_be(thirl_recv(b, room, sizeof room, &got, THIRL_NOW), -THIRL_EFORMAT);
    must_be(thirl_recv(b, room, sizeof room, &got, THIRL_NOW), -EAGAIN);
    close_both(&a, &b);
}

/* Calls: a bit in a request, or in an answer, is found by whoever receives it, and always told to who asked. */
static void calls_with(struct conform *c, const char *of_client, const char *of_server, unsigned *good, unsigned *bad) {
    static char wanted[3000];
    thirl *server = NULL, *client = NULL;
    thirl_msg *request, *reply;
    uint64_t id, refused = stock_refused();
    must_be(thirl_open(&server, THIRL_SERVE, conform_address(c, 0, of_server), NULL), 0);
    must_be(thirl_open(&client, THIRL_CALL, conform_address(c, 0, of_client), NULL), 0);
    query_meet(c, server, client);
    *good = *bad = 0;
    for (unsigned i = 0; i < 90; i++) {
        size_t size = (size_t)i * 31 % sizeof wanted;
        conform_fill(wanted, size, i);
        must_be(thirl_ask(client, wanted, size, &id, PATIENCE), 0);
        int rc = thirl_take(server, &request, thirl_in_ms(i == 0 ? 2000 : 30));
        if (rc == 0) {
            must(thirl_msg_size(request) == size && conform_intact(thirl_msg_data(request), size, i));
            must(thirl_msg_deadline(request).ns > conform_now());
            conform_fill(wanted, size, i + 1);
            must_be(thirl_reply(server, &request, wanted, size, PATIENCE), 0);
        }
        must(rc == 0 || rc == -ETIMEDOUT);
        rc = thirl_answer(client, &id, &reply, PATIENCE);
        must(rc == 0 || rc == -THIRL_EFORMAT);
        if (rc == 0) {
            must(thirl_msg_size(reply) == size && conform_intact(thirl_msg_data(reply), size, i + 1));
            thirl_free(&reply);
        } else {
            must_say("was damaged"); /* and no more of it, where the name of the directory is long */
        }
        *good += rc == 0;
        *bad += rc != 0;
    }
    must_be(stock_refused() - refused, *bad);
    must_be(thirl_close(&client, PATIENCE), 0);
    must_be(thirl_close(&server, PATIENCE), 0);
}

static void finds_flips_in_calls(struct conform *c) {
    unsigned good, bad;
    calls_with(c, "crc", "crc", &good, &bad);
    must(good == 90 && bad == 0);
    calls_with(c, "crc", "crc&hurt=5:flip/3", &good, &bad);
    must(good >= 30 && bad >= 15);
    calls_with(c, "crc&lifespan=60s&hurt=5:flip/3", "crc&lifespan=60s", &good, &bad);
    must(good >= 30 && bad >= 15);
}

/* Without one the same bits pass, or this would prove nothing. */
static void flips_pass_in_calls(struct conform *c) {
    thirl *server = NULL, *client = NULL;
    thirl_msg *request = NULL;
    uint64_t id;
    must_be(thirl_open(&server, THIRL_SERVE, conform_address(c, 0, "hurt=5:flip/1"), NULL), 0);
    must_be(thirl_open(&client, THIRL_CALL, conform_address(c, 0, NULL), NULL), 0);
    query_meet(c, server, client);
    for (unsigned i = 0; i < 10; i++) {
        unsigned bits = 0;
        must_be(thirl_ask(client, "\0\0\0\0\0", 5, &id, PATIENCE), 0);
        must_be(thirl_take(server, &request, PATIENCE), 0);
        must_be(thirl_msg_size(request), 5);
        for (size_t n = 0; n < 5; n++) {
            bits += (unsigned)__builtin_popcount(((unsigned char *)thirl_msg_data(request))[n]);
        }
        must_be(bits, 1);
        thirl_free(&request);
    }
    close_both(&client, &server);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(carries_every_size),
        CONFORM(limits_leave_room_for_it),
        CONFORM(carries_in_place),
        CONFORM(carries_many),
        CONFORM(brings_descriptors),
        CONFORM(finds_every_flip),
        CONFORM(finds_flips_among_many),
        CONFORM(flips_one_bit),
        CONFORM_FOR(finds_flips_in_queues, CONFORM_QUEUE),
        CONFORM_FOR(finds_flips_among_subscribers, CONFORM_CAST),
        CONFORM_FOR(finds_flips_in_calls, CONFORM_CALL),
        CONFORM_FOR(flips_pass_in_calls, CONFORM_CALL),
        CONFORM_ONLY(finds_every_bit, "shm"),
    };
    (void)unsetenv("CONFORM_WITH"); /* it says itself who has one */
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
