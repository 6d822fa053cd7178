/* SPDX-License-Identifier: MIT
 *
 * ZeroMQ: PAIR over ipc.
 */
#include <stdio.h>
#include <zmq.h>

#include "bench/peer/peer.h"

static void *end;

static int open_end(int ping, const char *where) {
    char address[100];
    void *context = zmq_ctx_new();
    end = context ? zmq_socket(context, ZMQ_PAIR) : NULL;
    (void)snprintf(address, sizeof address, "ipc://@%s", where);
    return !end ? -1 : ping ? zmq_bind(end, address) : zmq_connect(end, address);
}

static int put(const void *data, size_t size) {
    return zmq_send(end, data, size, 0) == (int)size ? 0 : -1;
}

static int get(void *data, size_t size) {
    return zmq_recv(end, data, size, 0) == (int)size ? 0 : -1;
}

const struct peer peer = {.name = "ZeroMQ, ipc", .open = open_end, .put = put, .get = get};
