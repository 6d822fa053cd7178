/* SPDX-License-Identifier: MIT
 *
 * A mechanism that sends nowhere, see sham.h.
 */
#include "tests/sham.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sham sham;

static int inner_open(void *self, const struct mech_open *open) {
    (void)self;
    (void)open;
    return sham.refuses;
}

static void inner_close(void *self) {
    (void)self;
}

static void inner_limits(void *self, struct thirl_limits *limits) {
    (void)self;
    limits->message_max = UINT64_MAX / 2;
    limits->atomic_max = 2; /* less than a seal */
}

static int inner_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                            bool wait) {
    (void)self;
    (void)wait;
    if (sham.partly != 0) {
        *done = sham.partly;
        return -EAGAIN;
    }
    assert_true(sham.out < 8 && size <= SHAM_MOST);
    memcpy(sham.sent[sham.out], data, size);
    sham.sizes[sham.out++] = size;
    sham.noted = note != NULL ? *note : sham.noted;
    *done = size;
    return 0;
}

static int inner_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return inner_send_noted(self, data, size, done, NULL, wait);
}

static int inner_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    assert_true(done == sham.partly && size > done);
    sham.partly = 0;
    return 0;
}

static int inner_send_many(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    (void)self;
    *bytes = 0;
    for (size_t i = 0; i < *count; i++) {
        *bytes += messages[i].iov_len;
    }
    return 0;
}

static int bring(void) {
    if (sham.refuses != 0) {
        return sham.refuses;
    }
    return sham.in < sham.out ? 0 : -EAGAIN;
}

static int inner_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note,
                            bool wait) {
    int rc = bring();
    (void)self;
    (void)wait;
    if (rc != 0) {
        *size = sham.announced;
        return rc;
    }
    *size = sham.sizes[sham.in];
    if (sham.sizes[sham.in] > capacity) {
        return -EMSGSIZE;
    }
    memcpy(buffer, sham.sent[sham.in], sham.sizes[sham.in]);
    if (note != NULL) {
        note->count = sham.attached;
        note->descriptor[0] = sham.attached != 0 ? fcntl(sham.descriptor, F_DUPFD_CLOEXEC, 3) : -1;
        note->kind = sham.noted.kind;
        note->call = sham.noted.call;
        note->again = sham.noted.again;
    }
    sham.in += !sham.again;
    return 0;
}

static int inner_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    return inner_recv_noted(self, buffer, capacity, size, NULL, wait);
}

static int inner_recv_many(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                           size_t *bytes) {
    size_t n = 0;
    int rc = bring();
    (void)self;
    (void)capacity;
    for (char *at = buffer; rc == 0 && sham.in < sham.out && n < *count; n++, sham.in++) {
        messages[n] = (struct iovec){at, sham.sizes[sham.in]};
        memcpy(at, sham.sent[sham.in], sham.sizes[sham.in]);
        at += sham.sizes[sham.in];
    }
    *count = n;
    *bytes = 0;
    return rc;
}

static int inner_loan(void *self, struct mech_piece *piece, size_t size) {
    (void)self;
    (void)size;
    piece->data = NULL;
    return -EBUSY; /* all is lent */
}

static int inner_put(void *self, struct mech_piece *piece) {
    (void)self;
    (void)piece;
    return 0;
}

static int inner_take(void *self, struct mech_piece *piece) {
    int rc = bring();
    (void)self;
    if (rc == 0) {
        *piece = (struct mech_piece){.data = sham.sent[sham.in], .size = sham.sizes[sham.in], .number = sham.in};
        sham.in += !sham.again;
    }
    return rc;
}

static void inner_free(void *self, struct mech_piece *piece, enum mech_way way) {
    (void)self;
    (void)piece;
    (void)way;
    sham.frees++;
}

static bool inner_ready(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return bring() == 0;
}

static int inner_look(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return -EAGAIN;
}

static int inner_arm(void *self, enum mech_way way, struct mech_watch *watch) {
    (void)self;
    (void)way;
    (void)watch;
    return 0;
}

static int inner_fd(void *self, enum mech_way way, int *fd) {
    (void)self;
    (void)way;
    *fd = sham.descriptor;
    return sham.refuses;
}

const struct mech sham_whole = {
    .scheme = "test",
    .crc = true,
    .open = inner_open,
    .close = inner_close,
    .deinit = inner_close,
    .limits = inner_limits,
    .send = inner_send,
    .settle = inner_settle,
    .recv = inner_recv,
    .send_many = inner_send_many,
    .recv_many = inner_recv_many,
    .send_noted = inner_send_noted,
    .recv_noted = inner_recv_noted,
    .loan = inner_loan,
    .put = inner_put,
    .take = inner_take,
    .free = inner_free,
    .ready = inner_ready,
    .look = inner_look,
    .arm = inner_arm,
    .fd = inner_fd,
};

const struct mech sham_calls = {
    .scheme = "test",
    .crc = true,
    .roles = 1u << THIRL_CALL | 1u << THIRL_SERVE,
    .open = inner_open,
    .close = inner_close,
    .deinit = inner_close,
    .limits = inner_limits,
    .send_noted = inner_send_noted,
    .recv_noted = inner_recv_noted,
};

/* ---- an end of it ---- */

int sham_open(const struct mech *inner, enum thirl_role role, bool crc, int64_t lifespan, bool stream) {
    bool bytes = false;
    struct mech_open open = {.role = role, .address = "test://x", .rest = "x", .stream = stream, .bytes = &bytes};
    open.options.crc = crc;
    open.options.lifespan = lifespan;
    open.options.max = SHAM_MOST;
    sham.mech = inner;
    assert_int_equal(seal_wrap(&sham.mech, "test://x", &open.options), 0);
    open.mech = sham.mech;
    open.seen = sham.seen = calloc(1, sizeof *sham.seen);
    sham.end = aligned_alloc(64, (sham.mech->state_size + 63) / 64 * 64);
    assert_true(sham.end != NULL && sham.seen != NULL);
    memset(sham.end, 0, sham.mech->state_size);
    sham.out = sham.in = sham.frees = sham.attached = 0;
    sham.again = false;
    sham.partly = sham.announced = 0;
    return sham.mech->open(sham.end, &open);
}

void sham_begin(const struct mech *inner, enum thirl_role role, bool crc, int64_t lifespan) {
    sham.refuses = 0;
    assert_int_equal(sham_open(inner, role, crc, lifespan, false), 0);
}

void sham_give_back(void) {
    mech_unwrap(sham.mech);
    free(sham.end);
    free(sham.seen);
}

void sham_finish(void) {
    sham.mech->close(sham.end);
    sham.mech->deinit(sham.end);
    sham_give_back();
}

void sham_send(const char *text) {
    size_t done = 0;
    assert_int_equal(sham.mech->send(sham.end, text, strlen(text), &done, false), 0);
}

int sham_recv(char text[64]) {
    size_t size = 0;
    int rc = sham.mech->recv(sham.end, text, 63, &size, false);
    text[rc == 0 ? size : 0] = '\0';
    return rc;
}

void sham_said(const char *part) {
    if (strstr(thirl_why(), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, thirl_why());
    }
}
