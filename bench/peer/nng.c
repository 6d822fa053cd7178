/* SPDX-License-Identifier: MIT
 *
 * NNG: PAIR over ipc, with room for messages: without any it is slower still.
 */
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>

#include "bench/peer/peer.h"

static nng_socket end;

static int open_end(int ping, const char *where) {
    char address[100];
    (void)snprintf(address, sizeof address, "abstract://%s", where);
    if (nng_pair0_open(&end) || nng_setopt_int(end, NNG_OPT_SENDBUF, 128) ||
        nng_setopt_int(end, NNG_OPT_RECVBUF, 128)) {
        return -1;
    }
    return ping ? nng_listen(end, address, NULL, 0) : nng_dial(end, address, NULL, NNG_FLAG_NONBLOCK);
}

static int put(const void *data, size_t size) {
    return nng_send(end, (void *)(size_t)data, size, 0) ? -1 : 0;
}

static int get(void *data, size_t size) {
    size_t got = size;
    return nng_recv(end, data, &got, 0) || got != size ? -1 : 0;
}

const struct peer peer = {.name = "NNG, ipc", .open = open_end, .put = put, .get = get};
