/* SPDX-License-Identifier: MIT
 *
 * Greetings at an address where this end listens: up to four strangers at a time say what the input has for them, in pieces,
 * and go. At last a proper peer calls, and has to be let in.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"

#define STRANGERS 4

static struct sockaddr_un at = {.sun_family = AF_UNIX};
static socklen_t length;

static int call(bool packets) {
    int fd = socket(AF_UNIX, (packets ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    must(fd >= 0);
    if (connect(fd, (const struct sockaddr *)&at, length) != 0) {
        must(close(fd) == 0);
        return -1;
    }
    return fd;
}

static void hang_up(int *fd) {
    must(*fd < 0 || close(*fd) == 0);
    *fd = -1;
}

static void step(thirl *end) {
    char buffer[200]; /* larger than what anybody sends here */
    size_t size;
    int rc = thirl_recv(end, buffer, sizeof buffer, &size, THIRL_NOW);
    must(rc <= 0 && rc != -EMSGSIZE && thirl_why()[0] != '\0');
}

static void act(thirl *end, struct food *food, int stranger[STRANGERS], bool packets) {
    unsigned char wire[FRAME_HELLO];
    uint64_t what = food_number(food, 1);
    int *fd = &stranger[what % STRANGERS];
    size_t size;
    switch (what >> 2 & 7) {
    case 0:
        hang_up(fd);
        *fd = call(packets);
        break;
    case 1:
        hang_up(fd);
        break;
    case 2: /* a greeting with one byte of it changed */
        frame_write_hello(wire, &(struct frame_hello){.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000});
        size = food_number(food, 1) % FRAME_HELLO;
        wire[size] = (unsigned char)food_number(food, 1);
        (void)!send(*fd, wire, sizeof wire, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case 3:
        step(end);
        break;
    default: {
        const uint8_t *from = food_bytes(food, food_number(food, 1) % 100, &size);
        (void)!send(*fd, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    }
    }
}

/* What is still in the line are the ends of those who were let in. */
static void expect_peer(thirl *end, bool packets) {
    unsigned char wire[FRAME_HELLO];
    char buffer[200] = "";
    size_t size = 0;
    int fd = -1, rc = -EAGAIN;
    for (int i = 0; i < 20 && (rc != 0 || size != 1 || buffer[0] != '!'); i++) {
        hang_up(&fd);
        fd = call(packets);
        frame_write_hello(wire, &(struct frame_hello){.kind = FRAME_HELLO_CALL, .role = THIRL_PAIR, .max = 1000});
        (void)!send(fd, wire, sizeof wire, MSG_NOSIGNAL | MSG_DONTWAIT);
        step(end);
        step(end);
        frame_write_head(wire, &(struct frame_head){.size = 1, .type = FRAME_DATA});
        frame_write_mark(wire + FRAME_HEAD, &(struct frame_head){.size = FRAME_MARK + 1, .type = FRAME_ROOM});
        if (packets) {
            (void)!send(fd, wire + FRAME_HEAD, FRAME_MARK, MSG_NOSIGNAL | MSG_DONTWAIT);
            (void)!send(fd, "!", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            wire[FRAME_HEAD] = '!';
            (void)!send(fd, wire, FRAME_HEAD + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        rc = thirl_recv(end, buffer, sizeof buffer, &size, THIRL_NOW);
        must(rc != -THIRL_ECLOSED);
    }
    must(rc == 0 && size == 1 && buffer[0] == '!');
    hang_up(&fd);
}

/* May a stranger have said goodbye in order? Then nobody else comes, and that is right. */
static bool closed(thirl *end) {
    char buffer[200];
    size_t size;
    int rc = -EAGAIN;
    for (int i = 0; i < 10 && rc != -THIRL_ECLOSED; i++) {
        rc = thirl_recv(end, buffer, sizeof buffer, &size, THIRL_NOW);
    }
    return rc == -THIRL_ECLOSED;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_warm();
    struct food food = {data, size};
    int stranger[STRANGERS] = {-1, -1, -1, -1}, lowest = fuzz_lowest();
    bool packets = (food_number(&food, 1) & 1) != 0;
    char address[80];
    thirl *end;
    (void)snprintf(address, sizeof address, "unix://@thirl-fuzz-%d?max=1000%s", (int)getpid(),
                   packets ? "&type=seqpacket" : "");
    length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                         (size_t)snprintf(at.sun_path + 1, 60, "thirl-fuzz-%d", (int)getpid()));
    must(thirl_open(&end, THIRL_PAIR, address, NULL) == 0);
    while (food.left != 0) {
        act(end, &food, stranger, packets);
    }
    for (int i = 0; i < STRANGERS; i++) {
        hang_up(&stranger[i]);
    }
    if (!closed(end)) {
        expect_peer(end, packets);
    }
    must(thirl_close(&end, THIRL_NOW) >= 0);
    must(fuzz_lowest() == lowest);
    return 0;
}
