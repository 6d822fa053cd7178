// SPDX-License-Identifier: MIT
//
// ZeroMQ, PUSH and PULL over a Unix socket, with its default buffers.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <zmq.h>

#include "tests/peer/mail.h"

static void *context, *end;

static int open_end(const char *where, int sends) {
    char address[100];
    int patience = 100, linger = 2000;
    context = zmq_ctx_new();
    end = zmq_socket(context, sends ? ZMQ_PUSH : ZMQ_PULL);
    (void)snprintf(address, sizeof address, "ipc://%s/zmq", where);
    (void)zmq_setsockopt(end, ZMQ_SNDTIMEO, &patience, sizeof patience);
    (void)zmq_setsockopt(end, ZMQ_RCVTIMEO, &patience, sizeof patience);
    (void)zmq_setsockopt(end, ZMQ_LINGER, &linger, sizeof linger);
    return sends ? zmq_connect(end, address) : zmq_bind(end, address);
}

static int put(const void *data) {
    return zmq_send(end, data, MAIL_SIZE, 0) == MAIL_SIZE ? 0 : errno == EAGAIN ? MAIL_NONE : -1;
}

static int get(void *data, int *) {
    return zmq_recv(end, data, MAIL_SIZE, 0) == MAIL_SIZE ? 0 : errno == EAGAIN ? MAIL_NONE : -1;
}

static void close_end() {
    (void)zmq_close(end);
    (void)zmq_ctx_term(context);
}

extern "C" {
extern const struct mail mail_zmq[] = {{"ZeroMQ, ipc", open_end, put, get, nullptr, close_end, nullptr},
                                       {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}};
}
