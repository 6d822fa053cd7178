/* SPDX-License-Identifier: MIT
 *
 * Helpers of the tests of the raw form, see bare.h.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "tests/bare.h"

const struct bare_kind bare_kinds[3] = {
    {"unix://%s?raw", "UNIX-CONNECT:%s", "UNIX-LISTEN:%s", AF_UNIX, SOCK_STREAM},
    {"unix://%s?type=seqpacket&raw", "UNIX-CONNECT:%s,type=5", "UNIX-LISTEN:%s,type=5", AF_UNIX, SOCK_SEQPACKET},
    {"tcp://127.0.0.1:%s?raw", "TCP:127.0.0.1:%s", "TCP-LISTEN:%s,bind=127.0.0.1,reuseaddr", AF_INET, SOCK_STREAM},
};
const struct bare_kind *bare_kind;
char bare_place[96];
unsigned char bulk[BULK], buffer[BULK];

static struct sockaddr_in port(uint16_t number) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A port that nobody listens at. */
static void find_port(void) {
    struct sockaddr_in at = port(0);
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    (void)snprintf(bare_place, sizeof(bare_place), "%u", ntohs(at.sin_port));
    (void)close(fd);
}

void bare_use(void **state) {
    bare_kind = *state;
    if (bare_kind->family == AF_INET) {
        find_port();
    } else {
        (void)snprintf(bare_place, sizeof(bare_place), "%s", peer_path);
        (void)unlink(peer_path);
    }
    (void)snprintf(peer_address, sizeof(peer_address), bare_kind->address, bare_place);
}

int bare_call(void) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in host = port((uint16_t)strtoul(bare_place, NULL, 10));
    bool local = bare_kind->family == AF_UNIX;
    (void)snprintf(path.sun_path, sizeof(path.sun_path), "%s", peer_path);
    int fd = socket(bare_kind->family, bare_kind->type | SOCK_CLOEXEC, 0);
    assert_int_equal(
        connect(fd, local ? (struct sockaddr *)&path : (struct sockaddr *)&host, local ? sizeof(path) : sizeof(host)),
        0);
    return fd;
}

void bare_fill(void) {
    for (size_t i = 0; i < BULK; i++) {
        bulk[i] = (unsigned char)(i * 2654435761u >> 13);
    }
}
