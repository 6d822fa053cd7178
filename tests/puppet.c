/* SPDX-License-Identifier: MIT
 *
 * A mechanism that answers what it is told, see puppet.h.
 */
#include "tests/puppet.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct puppet puppet;
struct node_end puppet_line;

void puppet_new(void) {
    puppet = (struct puppet){.size = 5, .byte = 'x', .carries = -1, .fd = -1, .promises = true, .most = 1000};
    memset(&puppet_line, 0, sizeof puppet_line);
}

void puppet_answers(unsigned count, const int *answers) {
    memcpy(puppet.answer, answers, count * sizeof *answers);
    puppet.answers = count;
    puppet.tries = 0;
}

static int answer(void) {
    int rc = puppet.tries < puppet.answers ? puppet.answer[puppet.tries] : 0;
    puppet.tries++;
    return rc < 0 && rc != -EAGAIN && puppet.said[0] != '\0' ? err_say(-rc, "%s", puppet.said) : rc;
}

static int send_any(size_t size, size_t *done, bool wait) {
    int rc = answer();
    puppet.waited = wait;
    puppet.sent += rc == 0;
    *done = rc == 0 ? size : rc == -EAGAIN ? puppet.went : 0;
    return rc;
}

static int recv_any(void *buffer, size_t capacity, size_t *size, bool wait) {
    int rc = answer();
    puppet.waited = wait;
    puppet.asked = capacity;
    if (rc == 0 || rc == -EMSGSIZE) {
        *size = puppet.size;
        rc = puppet.size > capacity ? -EMSGSIZE : rc;
    }
    if (rc == 0) {
        memset(buffer, puppet.byte, puppet.size);
    }
    return rc;
}

static int send_slot(void *self, const void *data, size_t size, size_t *done, bool wait) {
    (void)self, (void)data;
    return send_any(size, done, wait);
}

static int send_noted_slot(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    (void)self, (void)data, (void)note;
    return send_any(size, done, wait);
}

static int settle_slot(void *self, const void *data, size_t size, size_t done) {
    (void)self, (void)data;
    puppet.settled += size - done;
    return answer();
}

static int send_many_slot(void *self, const struct iovec *messages, size_t *count, size_t *bytes) {
    int rc = answer();
    (void)self;
    *count = rc == 0 ? *count : 0;
    *bytes = 0;
    for (size_t i = 0; i < *count; i++) {
        *bytes += messages[i].iov_len;
    }
    puppet.sent += *count;
    return rc;
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    (void)self;
    return recv_any(buffer, capacity, size, wait);
}

static int recv_noted_slot(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note, bool wait) {
    (void)self;
    int rc = recv_any(buffer, capacity, size, wait);
    if (rc == 0 && puppet.carries >= 0) {
        note->count = 1;
        note->descriptor[0] = puppet.carries;
        puppet.carries = -1;
    }
    return rc;
}

static int recv_many_slot(void *self, void *buffer, size_t capacity, struct iovec *messages, size_t *count,
                          size_t *bytes) {
    *count = 1;
    messages[0].iov_base = buffer;
    int rc = recv_slot(self, buffer, capacity, &messages[0].iov_len, false);
    *bytes = messages[0].iov_len;
    return rc;
}

static int loan_slot(void *self, struct mech_piece *piece, size_t size) {
    static char room[64];
    (void)self;
    *piece = (struct mech_piece){.data = room, .capacity = size};
    return answer();
}

static int put_slot(void *self, struct mech_piece *piece) {
    (void)self, (void)piece;
    return answer();
}

static int take_slot(void *self, struct mech_piece *piece) {
    static char room[4096];
    (void)self;
    memset(room, puppet.byte, sizeof room);
    *piece = (struct mech_piece){.data = room, .size = puppet.size};
    return answer();
}

static int take_noted_slot(void *self, struct mech_piece *piece, struct mech_note *note, bool wait) {
    (void)note;
    puppet.waited = wait;
    return take_slot(self, piece);
}

static void free_slot(void *self, struct mech_piece *piece, enum mech_way way) {
    (void)self, (void)piece, (void)way;
    puppet.freed++;
}

static int flush_slot(void *self, uint64_t *left) {
    (void)self;
    *left = 0;
    return answer();
}

static bool ready_slot(void *self, enum mech_way way) {
    (void)self, (void)way;
    return puppet.ready;
}

static int look_slot(void *self, enum mech_way way) {
    (void)self, (void)way;
    return answer();
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    (void)self, (void)way;
    *watch = (struct mech_watch){.kind = MECH_WATCH_FD, .fd = -1, .guard = -1, .slice = INT64_MAX};
    return answer();
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    (void)self, (void)way;
    puppet.disarmed++;
    return 0;
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    (void)self, (void)way;
    *fd = puppet.fd;
    return answer();
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    (void)self, (void)peer;
    return answer();
}

static int pidfd_slot(void *self, int *fd) {
    (void)self;
    *fd = puppet.fd;
    return answer();
}

static int hand_slot(void *self, char *address, size_t capacity) {
    (void)self, (void)address, (void)capacity;
    return answer();
}

static void claims(struct thirl_limits *limits) {
    limits->message_max = puppet.most;
    limits->reliable = limits->ordered = limits->zero_copy = puppet.promises;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    (void)self;
    claims(limits);
}

static int open_slot(void *self, const struct mech_open *open) {
    (void)self;
    *open->bytes = puppet.bytes;
    return answer();
}

static void close_slot(void *self) {
    (void)self;
    puppet.closed++;
}

static void deinit_slot(void *self) {
    (void)self;
    puppet.deinited++;
}

const struct mech puppet_mech = {
    .scheme = "puppet",
    .state_size = 64,
    .roles = 1u << THIRL_PAIR,
    .open = open_slot,
    .close = close_slot,
    .deinit = deinit_slot,
    .flush = flush_slot,
    .send = send_slot,
    .settle = settle_slot,
    .recv = recv_slot,
    .send_many = send_many_slot,
    .recv_many = recv_many_slot,
    .send_noted = send_noted_slot,
    .recv_noted = recv_noted_slot,
    .loan = loan_slot,
    .put = put_slot,
    .take = take_slot,
    .free = free_slot,
    .take_noted = take_noted_slot,
    .ready = ready_slot,
    .look = look_slot,
    .arm = arm_slot,
    .disarm = disarm_slot,
    .fd = fd_slot,
    .limits = limits_slot,
    .claims = claims,
    .peer = peer_slot,
    .pidfd = pidfd_slot,
    .hand = hand_slot,
};

void *puppet_open(const struct mech *mech, enum thirl_role role, const char *address,
                  const struct thirl_options *options, int *rc) {
    static bool bytes;
    void *self = aligned_alloc(64, (mech->state_size + 63) / 64 * 64);
    if (self == NULL) {
        *rc = -ENOMEM;
        return NULL;
    }
    memset(self, 0, mech->state_size);
    bytes = false;
    (void)strncpy(puppet_line.address, address, sizeof puppet_line.address - 1);
    const struct mech_open open = {.mech = mech,
                                   .role = role,
                                   .address = address,
                                   .rest = "",
                                   .sends = role != THIRL_READ && role != THIRL_WATCH,
                                   .receives = role != THIRL_WRITE && role != THIRL_NOTIFY,
                                   .stream = role == THIRL_WRITE || role == THIRL_READ,
                                   .options = *options,
                                   .bytes = &bytes,
                                   .seen = &puppet_line};
    *rc = mech->open(self, &open);
    if (*rc != 0) {
        free(self);
        return NULL;
    }
    return self;
}

void puppet_close(const struct mech *mech, void *self) {
    mech->close(self);
    mech->deinit(self);
    free(self);
}
