// SPDX-License-Identifier: MIT
//
// NNG, push and pull over a Unix socket, with its default buffers.
#include <cstdio>
#include <cstring>
#include <nng/nng.h>
#include <nng/protocol/pipeline0/pull.h>
#include <nng/protocol/pipeline0/push.h>
#include <unistd.h>

#include "tests/peer/mail.h"

static nng_socket end;

static int open_end(const char *where, int sends) {
    char address[100];
    (void)snprintf(address, sizeof address, "ipc://%s/nng", where);
    if ((sends ? nng_push0_open(&end) : nng_pull0_open(&end)) || nng_setopt_ms(end, NNG_OPT_SENDTIMEO, 100) ||
        nng_setopt_ms(end, NNG_OPT_RECVTIMEO, 100) || nng_setopt_ms(end, NNG_OPT_RECONNMINT, 1) ||
        nng_setopt_ms(end, NNG_OPT_RECONNMAXT, 10)) {
        return -1;
    }
    return sends ? nng_dial(end, address, nullptr, NNG_FLAG_NONBLOCK) : nng_listen(end, address, nullptr, 0);
}

static int put(const void *data) {
    int rc = nng_send(end, const_cast<void *>(data), MAIL_SIZE, 0);
    return rc == 0 ? 0 : rc == NNG_ETIMEDOUT ? MAIL_NONE : -1;
}

static int get(void *data, int *) {
    size_t size = MAIL_SIZE;
    int rc = nng_recv(end, data, &size, 0);
    return rc == 0 && size == MAIL_SIZE ? 0 : rc == NNG_ETIMEDOUT ? MAIL_NONE : -1;
}

static void close_end() {
    (void)usleep(200000); // it does not say when all is sent
    (void)nng_close(end);
}

extern "C" {
extern const struct mail mail_nng[] = {{"NNG, ipc", open_end, put, get, nullptr, close_end, nullptr},
                                       {nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr}};
}
