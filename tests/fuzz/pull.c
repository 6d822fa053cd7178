/* SPDX-License-Identifier: MIT
 *
 * A connection whose other end is hostile from its greeting on: frames, packets, raw bytes, descriptors. The first byte says
 * what kind of connection it is, the others what the peer writes and what this end calls meanwhile.
 */
#include <errno.h>
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"

enum kind { PACKETS = 1, STREAM = 2, RAW = 4, RIGHTS = 8, SMALL = 16, OWN_HELLO = 32 };

struct scene {
    thirl *end;
    thirl_msg *held;
    int peer;
    unsigned kind;
    uint16_t number; /* of the next honest frame */
};

static void say(struct scene *s, const void *data, size_t size, unsigned descriptors) {
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * 20)];
    } room = {.bytes = ""};
    struct iovec part = {(void *)(uintptr_t)data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors != 0) {
        message.msg_control = room.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
        room.head.cmsg_level = SOL_SOCKET;
        room.head.cmsg_type = SCM_RIGHTS;
        room.head.cmsg_len = CMSG_LEN(sizeof(int) * descriptors);
        for (unsigned i = 0; i < descriptors; i++) {
            memcpy(CMSG_DATA(&room.head) + i * sizeof(int), &s->peer, sizeof(int));
        }
    }
    (void)!sendmsg(s->peer, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Bytes of the input behind a head that is true, or nearly. */
static void say_frame(struct scene *s, struct food *food, unsigned descriptors) {
    unsigned char wire[FRAME_MARK + 2048];
    uint64_t what = food_number(food, 1);
    size_t size, skip = (what & 1) != 0 ? 0 : FRAME_MARK - FRAME_HEAD;
    const uint8_t *from = food_bytes(food, food_number(food, 2) % 2048, &size);
    struct frame_head head = {.size = (uint32_t)size, .number = s->number, .type = FRAME_DATA};
    head.type = (what & 6) == 0 ? FRAME_DATA : (uint8_t)(what >> 1 & 7);
    head.size += (what & 16) != 0 ? (uint32_t)food_number(food, 4) : 0;
    s->number += head.type == FRAME_DATA || head.type == FRAME_NOTED;
    frame_write_mark(wire, &head);
    memcpy(wire + FRAME_MARK, from, size);
    say(s, wire + skip, FRAME_MARK - skip + size, descriptors);
}

static void say_bytes(struct scene *s, struct food *food, size_t most, unsigned descriptors) {
    size_t size;
    const uint8_t *from = food_bytes(food, most, &size);
    if (size != 0) {
        say(s, from, size, descriptors);
    }
}

static void greet(struct scene *s, struct food *food) {
    unsigned char wire[FRAME_HELLO];
    struct frame_hello hello = {.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .descriptors = 3, .max = 100000};
    if ((s->kind & OWN_HELLO) != 0) {
        say_bytes(s, food, FRAME_HELLO, 0);
    } else if ((s->kind & RAW) == 0) {
        hello.stream = (s->kind & STREAM) != 0;
        hello.role = hello.stream ? THIRL_WRITE : THIRL_PAIR;
        hello.pid[0] = getpid();
        frame_write_hello(wire, &hello);
        say(s, wire, sizeof wire, 0);
    }
}

static void receive(struct scene *s, struct food *food) {
    char buffer[3000];
    size_t capacity = food_number(food, 2) % sizeof buffer, size = 0, count = 5;
    struct iovec messages[5];
    int rc = (capacity & 1) != 0 ? thirl_recv(s->end, buffer, capacity, &size, THIRL_NOW)
                                 : thirl_recv_many(s->end, buffer, capacity, messages, &count, THIRL_NOW);
    must(rc <= THIRL_END && (rc >= 0 || thirl_why()[0] != '\0'));
    must(rc != 0 || size <= capacity);
    for (size_t i = 0; rc == 0 && (capacity & 1) == 0 && i < count; i++) {
        must((char *)messages[i].iov_base >= buffer &&
             (char *)messages[i].iov_base + messages[i].iov_len <= buffer + capacity);
    }
}

static void take(struct scene *s) {
    thirl_free(&s->held);
    int rc = thirl_take(s->end, &s->held, THIRL_NOW);
    must((rc == 0) == (s->held != NULL) && rc <= THIRL_END);
    uint8_t sum = 0;
    for (size_t i = 0; rc == 0 && i < thirl_msg_size(s->held); i++) {
        sum ^= ((const uint8_t *)thirl_msg_data(s->held))[i];
    }
    int fd = rc == 0 && sum % 2 == 0 ? thirl_msg_detach(s->held, 0) : -1;
    must(fd < 0 || close(fd) == 0);
}

static void act(struct scene *s, struct food *food) {
    uint64_t what = food_number(food, 1);
    switch (what % 10) {
    case 0:
    case 1:
        say_frame(s, food, 0);
        break;
    case 2:
        say_frame(s, food, (what / 10) % 20);
        break;
    case 3:
        say_bytes(s, food, food_number(food, 1), (what / 10) % 20);
        break;
    case 4:
    case 5:
        receive(s, food);
        break;
    case 6:
        take(s);
        break;
    case 7:
        thirl_free(&s->held);
        break;
    case 8:
        must((s->kind & STREAM) != 0 || thirl_send(s->end, "answer", what >> 5, THIRL_NOW) <= 0);
        break;
    default:
        (void)shutdown(s->peer, (what & 32) != 0 ? SHUT_WR : (what & 64) != 0 ? SHUT_RD : SHUT_RDWR);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_warm();
    struct food food = {data, size};
    struct scene s = {.kind = (unsigned)food_number(&food, 1)};
    int pair[2], lowest = fuzz_lowest();
    char address[80];
    must(socketpair(AF_UNIX, (s.kind & PACKETS) != 0 ? SOCK_SEQPACKET : SOCK_STREAM, 0, pair) == 0);
    s.peer = pair[1];
    greet(&s, &food);
    (void)snprintf(address, sizeof address, "fd://%d?queue=64K&max=%d&raw=%s%s", pair[0],
                   (s.kind & SMALL) != 0 ? 100 : 50000, (s.kind & RAW) != 0 ? "on" : "off",
                   (s.kind & (RIGHTS | STREAM)) == RIGHTS ? "&descriptors=2" : "");
    int rc = thirl_open(&s.end, (s.kind & STREAM) != 0 ? THIRL_READ : THIRL_PAIR, address, NULL);
    if (fuzz_answer(rc) != 0) {
        must(close(pair[0]) == 0);
    }
    while (rc == 0 && food.left != 0) {
        act(&s, &food);
    }
    must(rc != 0 || thirl_close(&s.end, THIRL_NOW) >= 0);
    thirl_free(&s.held);
    must(close(s.peer) == 0);
    must(fuzz_lowest() == lowest);
    return 0;
}
