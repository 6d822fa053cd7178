/* SPDX-License-Identifier: MIT
 *
 * The sending half of a queue: see queue.h.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"
#include "mech/quick.h"

void push_begin(struct queue *q, uint64_t node, uint32_t end) {
    q->out.label = (struct frag_label){.type = frag_data(q->sealed), .node = node, .end = end, .brief = !q->counted};
}

void push_init(struct queue *q) {
    uint64_t node = node_id(), random[2] = {0};
    if (!q->joined) {
        (void)!getrandom(random, sizeof random, GRND_NONBLOCK);
        node = node == 0 ? random[0] | 1 : node;
    }
    push_begin(q, node, q->joined ? q->roll.self.number : (uint32_t)random[1]);
}

static __attribute__((noinline)) int say_large(const struct queue *q, size_t size) {
    size_t limit = q->raw ? q->facts.packet : (size_t)q->max;
    bool packet = q->raw || limit + FRAG_LABEL == q->facts.packet;
    return err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %zu that %s carries: %s", q->address, size,
                   limit, packet ? "one packet" : "this end", packet ? q->carrier->remedy : "see ?max");
}

/* The limit of packets has become smaller, or was never what the carrier had said. */
static __attribute__((noinline)) int shrunk(struct queue *q, size_t size) {
    q->carrier->facts(q->carried, &q->facts);
    return say_large(q, size);
}

static int begin(struct queue *q, size_t size, size_t *done, const struct mech_note *note) {
    struct push *out = &q->out;
    *done = 0;
    if (unlikely(out->rest.size != out->rest.done)) {
        int rc = push_rest(q, false);
        if (rc != 0) {
            return rc;
        }
    }
    if (unlikely(out->busy)) {
        return -EAGAIN; /* another thread's message is on its way */
    }
    if (unlikely(size > q->max)) {
        return say_large(q, size);
    }
    out->label.total = (uint32_t)size;
    out->label.piece = (uint32_t)(q->facts.packet - FRAG_LABEL);
    out->priority = note == NULL ? 0 : note->priority;
    return 0;
}

/* Sends what is not yet on its way of a message. Blocks for about a slice in all. */
HOT static int send_pieces(struct queue *q, const void *data, size_t size, size_t *done, const struct mech_note *note,
                           bool wait) {
    struct push *out = &q->out;
    const struct mech_note urgent = {.priority = out->priority};
    int64_t until = 0;
    do {
        out->label.offset = (uint32_t)*done;
        size_t piece = frag_size(&out->label);
        int rc = quick_piece(q, q->carrier->send, q->carrier->block, &out->label, (const char *)data + *done, piece,
                             note != NULL ? note : &urgent, wait);
        if (unlikely(rc != 0)) {
            out->busy = *done != 0;
            return rc == -EMSGSIZE ? shrunk(q, size) : rc;
        }
        queue_ring(q);
        weave("push.piece.sent");
        out->label.packet++;
        *done += piece;
        if (unlikely(*done < size) && wait) {
            int64_t now = clock_now();
            until = until == 0 ? now + MECH_SLICE_NS : until;
            wait = now < until;
        }
    } while (*done < size);
    out->busy = false;
    out->label.message++;
    return 0;
}

HOT int queue_send_noted(void *self, const void *data, size_t size, size_t *done, const struct mech_note *note,
                         bool wait) {
    struct queue *q = self;
    int rc = 0;
    if (q->raw) {
        const struct iovec part = {(void *)(uintptr_t)data, size};
        if (unlikely(size > q->facts.packet)) {
            return say_large(q, size);
        }
        rc = q->carrier->send(q->carried, &part, 1, note, wait);
        *done = rc == 0 ? size : 0;
        if (likely(rc == 0)) {
            queue_ring(q);
        }
        rc = rc == -EMSGSIZE ? shrunk(q, size) : rc;
    } else {
        /* What had begun for a peer who has died meanwhile, which another thread was told, begins anew for the next one. */
        rc = *done == 0 || !q->out.busy ? begin(q, size, done, note) : 0;
        rc = likely(rc == 0) ? send_pieces(q, data, size, done, note, wait) : rc;
    }
    q->pause = rc == 0 ? 0 : q->pause;
    queue_relight(q, rc == 0);
    return rc;
}

HOT int queue_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    struct queue *q = self;
    return quick_send(q, q->carrier->send, q->carrier->block, data, size, done, wait);
}

int push_refused(struct queue *q, size_t size, int rc) {
    rc = rc == -EMSGSIZE ? shrunk(q, size) : rc;
    queue_relight(q, false);
    return rc;
}

int queue_settle(void *self, const void *data, size_t size, size_t done) {
    struct queue *q = self;
    struct push *out = &q->out;
    if (size > out->rest.room) {
        unsigned char *copy = realloc(out->rest.data, size);
        if (copy == NULL) {
            return err_say(ENOMEM, "%s: no memory for the rest of a message of %zu bytes that is partly sent",
                           q->address, size);
        }
        out->rest.data = copy;
        out->rest.room = size;
    }
    memcpy(out->rest.data + done, (const char *)data + done, size - done);
    out->rest.size = size;
    out->rest.done = done;
    out->busy = false;
    return 0;
}

int push_rest(struct queue *q, bool wait) {
    struct push *out = &q->out;
    if (out->rest.size == out->rest.done) {
        return 0;
    }
    int rc = send_pieces(q, out->rest.data, out->rest.size, &out->rest.done, NULL, wait);
    out->busy = false; /* it is the rest that holds the next one back */
    return rc;
}
