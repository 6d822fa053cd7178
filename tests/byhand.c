/* SPDX-License-Identifier: MIT
 *
 * A peer by hand, see byhand.h.
 */
#define _GNU_SOURCE
#include "tests/byhand.h"

#include <poll.h>
#include <stddef.h>
#include <string.h>

socklen_t hand_name(struct sockaddr_un *at) {
    bool abstract = peer_address[7] == '@';
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(at->sun_path, sizeof at->sun_path, "%s%s/s", abstract ? "@" : "", peer_directory);
    at->sun_path[0] = abstract ? '\0' : at->sun_path[0];
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length + !abstract);
}

int hand_call(void) {
    struct sockaddr_un at;
    socklen_t length = hand_name(&at);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(connect(fd, (struct sockaddr *)&at, length) == 0);
    return fd;
}

void hand_say(int fd, enum frame_hello_kind kind, uint32_t code) {
    unsigned char wire[FRAME_HELLO];
    const struct frame_hello hello = {
        .kind = (uint8_t)kind, .role = THIRL_PAIR, .code = code, .max = 1000, .pid = {getpid()}};
    frame_write_hello(wire, &hello);
    must(send(fd, wire, sizeof wire, MSG_NOSIGNAL) == sizeof wire);
}

struct frame_hello hand_hear(int fd) {
    unsigned char wire[FRAME_HELLO];
    struct frame_hello hello = {.kind = 0};
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    must(poll(&polled, 1, 8000) == 1);
    if (recv(fd, wire, sizeof wire, MSG_WAITALL) == sizeof wire) {
        must(frame_read_hello(wire, &hello) == 0);
    }
    return hello;
}

void hand_send(int fd, uint32_t number, char byte) {
    unsigned char wire[FRAME_MARK + 1];
    const struct frame_head head = {.size = 1, .number = number, .type = FRAME_DATA};
    frame_write_mark(wire, &head);
    wire[FRAME_MARK] = (unsigned char)byte;
    must(send(fd, wire + FRAME_MARK - FRAME_HEAD, FRAME_HEAD + 1, MSG_NOSIGNAL) == FRAME_HEAD + 1);
}
