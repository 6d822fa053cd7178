/* SPDX-License-Identifier: MIT
 *
 * Messages in place: loan, put, take, free. Where the mechanism lends its own memory these only pass it on; elsewhere each
 * slot keeps a private buffer, which is allocated once and then used again.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "chan/due.h"
#include "chan/errand.h"

#define STREAM_PIECE ((size_t)256 << 10) /* bytes that take reads at once from a stream in private buffers */

static __attribute__((noinline)) void close_descriptors(struct mech_note *note) {
    for (unsigned i = 0; i < note->count; i++) {
        fd_close(&note->descriptor[i]);
    }
    note->count = 0;
}

static inline struct thirl_msg *slot_take(thirl *end, enum mech_way at) {
    struct end_way *way = &end->way[at];
    if (unlikely(way->slots == UINT64_MAX)) {
        (void)err_say(EBUSY, "%s: %d messages are held already: put or free one of them first", end->address,
                      THIRL_HELD_MAX);
        return NULL;
    }
    unsigned slot = (unsigned)__builtin_ctzll(~way->slots);
    way->slots |= UINT64_C(1) << slot;
    struct thirl_msg *msg = &way->msg[slot];
    msg->end = end;
    msg->way = (uint8_t)at;
    msg->note.priority = 0;
    msg->note.count = 0;
    msg->note.lost = 0;
    msg->note.times = 0;
    msg->note.again = false;
    msg->note.kind = MECH_PLAIN;
    msg->owed = msg->cancelled = false;
    msg->slot = (uint8_t)slot;
    return msg;
}

static inline void slot_clear(struct end_way *way, struct thirl_msg *msg) {
    if (unlikely(msg->note.count != 0)) {
        close_descriptors(&msg->note);
    }
    way->slots &= ~(UINT64_C(1) << msg->slot);
}

static inline void slot_free(struct thirl_msg *msg) {
    slot_clear(&msg->end->way[msg->way], msg);
}

static int grow(struct thirl_msg *msg, size_t size) {
    size = size == 0 ? 1 : size;
    if (size > msg->room) {
        void *buffer = malloc(size);
        if (buffer == NULL) {
            return err_say(ENOMEM, "%s: no memory for a message of %zu bytes", msg->end->address, size);
        }
        free(msg->buffer);
        msg->buffer = buffer;
        msg->room = size;
    }
    msg->piece = (struct mech_piece){.data = msg->buffer, .capacity = msg->room};
    return 0;
}

struct lending {
    size_t size;
    struct thirl_msg *msg;
};

static int try_loan(thirl *end, void *arguments, bool wait) {
    (void)wait;
    struct lending *lending = arguments;
    struct thirl_msg *msg = slot_take(end, MECH_OUT);
    if (msg == NULL) {
        return -EBUSY;
    }
    int rc = end->mech->loan != NULL ? end->mech->loan(end->state, &msg->piece, lending->size) : 1;
    msg->lent = rc == 0;
    if (rc == 1) {
        struct thirl_limits limits = {.size = sizeof limits};
        end->mech->limits(end->state, &limits);
        rc = lending->size > limits.message_max
                 ? err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %llu it can carry", end->address,
                           lending->size, (unsigned long long)limits.message_max)
                 : grow(msg, lending->size);
    }
    if (rc != 0) {
        slot_free(msg);
        return rc;
    }
    msg->piece.size = lending->size;
    msg->piece.capacity = lending->size;
    lending->msg = msg;
    return 0;
}

int thirl_loan(thirl *end, thirl_msg **msg, size_t size, thirl_time until) {
    ERRAND_FROM_HERE();
    if (msg == NULL) {
        return err_say(EINVAL, "thirl_loan: there is no place for the message (NULL)");
    }
    *msg = NULL;
    if (end != NULL && end->asks) {
        return end_refuse_plain(end, "thirl_loan");
    }
    struct lending lending = {size, NULL};
    until = end != NULL ? end_patience(end, until) : until;
    int rc = end_do_straight(end, MECH_OUT, try_loan, &lending, until);
    *msg = lending.msg;
    return rc;
}

static int check(const thirl *end, thirl_msg **msg, const char *call) {
    if (msg == NULL || *msg == NULL) {
        return err_say(EINVAL, "%s: the message is NULL", call);
    }
    if ((*msg)->way != MECH_OUT || (*msg)->end != end) {
        return err_say(EINVAL, "%s: that message is not a loan of this end", call);
    }
    return 0;
}

int thirl_put(thirl *end, thirl_msg **slot, thirl_time until) {
    ERRAND_FROM_HERE();
    int rc = check(end, slot, "thirl_put");
    if (rc != 0) {
        thirl_free(slot);
        return rc;
    }
    struct thirl_msg *msg = *slot;
    if (end->mech->put == NULL || !msg->lent) {
        bool noted = msg->note.priority != 0 || msg->note.count != 0;
        rc = noted ? end_send_noted(end, msg->piece.data, msg->piece.size, &msg->note, until)
                   : thirl_send(end, msg->piece.data, msg->piece.size, until);
        thirl_free(slot);
        return rc;
    }
    rc = end_enter(end, MECH_OUT, INT64_MAX);
    if (unlikely(rc != 0)) {
        thirl_free(slot);
        return rc;
    }
    size_t size = msg->piece.size;
    *slot = NULL;
    rc = end->mech->put(end->state, &msg->piece);
    slot_free(msg);
    if (likely(rc == 0)) {
        end_count(&end->seen->out, size);
    }
    end_leave(end, MECH_OUT);
    return rc;
}

/* Receives into the slot's own buffer, growing it to what the message needs. */
static __attribute__((noinline)) int recv_private(thirl *end, struct thirl_msg *msg, bool wait) {
    int rc = grow(msg, end->stream ? STREAM_PIECE : msg->room);
    if (rc == 0 && end->mech->topics && msg->topic == NULL) {
        msg->topic = calloc(1, THIRL_TOPIC_MAX);
        rc = msg->topic == NULL ? err_say(ENOMEM, "%s: no memory for a message", end->address) : 0;
    }
    msg->note.topic = msg->topic;
    msg->note.keeps = msg->note.lies = end->mech->free != NULL;
    msg->note.place = NULL;
    while (rc == 0) {
        size_t size = 0;
        rc = end->mech->recv_noted != NULL
                 ? end->mech->recv_noted(end->state, msg->buffer, msg->room, &size, &msg->note, wait)
                 : end->mech->recv(end->state, msg->buffer, msg->room, &size, wait);
        if (rc == -EMSGSIZE) {
            rc = grow(msg, size);
            continue;
        }
        if (rc == 0 && msg->note.place != NULL) {
            msg->piece.data = msg->note.place;
        }
        msg->piece.size = size;
        msg->piece.number = end->mech->numbers ? msg->note.number : end_number(end, rc);
        msg->piece.lost = msg->note.lost;
        msg->piece.times = msg->note.times;
        msg->piece.again = msg->note.again;
        msg->piece.cookie = msg->note.cookie;
        break;
    }
    return rc;
}

int end_take(thirl *end, struct thirl_msg **taken, bool wait) {
    struct thirl_msg *msg = slot_take(end, MECH_IN);
    if (msg == NULL) {
        return -EBUSY;
    }
    msg->note.failure = 0;
    int rc = end->mech->take != NULL         ? end->mech->take(end->state, &msg->piece)
             : end->mech->take_noted != NULL ? end->mech->take_noted(end->state, &msg->piece, &msg->note, wait)
                                             : recv_private(end, msg, wait);
    if (rc != 0) {
        slot_free(msg);
        return end_answer(rc);
    }
    *taken = msg;
    return 0;
}

void end_give_back(struct thirl_msg *msg) {
    if (msg->end->mech->free != NULL) {
        msg->end->mech->free(msg->end->state, &msg->piece, (enum mech_way)msg->way);
    }
    slot_free(msg);
}

int end_fill(thirl *end, struct thirl_msg **filled, const void *data, size_t size) {
    struct thirl_msg *msg = slot_take(end, MECH_IN);
    if (msg == NULL) {
        return -EBUSY;
    }
    int rc = grow(msg, size);
    if (rc != 0) {
        slot_free(msg);
        return rc;
    }
    if (size != 0) {
        memcpy(msg->buffer, data, size);
    }
    msg->piece.size = size;
    msg->note.kind = MECH_REPLY;
    *filled = msg;
    return 0;
}

static inline int counted(const thirl *end, int rc, thirl_msg *const *taken) {
    if (likely(rc == 0)) {
        end_count(&end->seen->in, (*taken)->piece.size);
    }
    return rc;
}

static int try_take(thirl *end, void *arguments, bool wait) {
    return counted(end, end_take(end, arguments, wait), arguments);
}

static int try_request(thirl *end, void *arguments, bool wait) {
    return counted(end, due_take(end, arguments, wait), arguments);
}

/* Of a SERVE end. */
static int take_request(thirl *end, thirl_msg **msg, thirl_time until) {
    for (;;) {
        if (unlikely(due_is_unsettled(end->due))) {
            due_settle(end);
        }
        int rc = end_do_straight(end, MECH_IN, try_request, msg, until);
        if (rc != 0 || likely(!(*msg)->cancelled)) {
            return rc;
        }
        thirl_free(msg); /* its caller has lost interest before anybody saw it */
    }
}

int thirl_take(thirl *end, thirl_msg **msg, thirl_time until) {
    ERRAND_FROM_HERE();
    if (msg == NULL) {
        return err_say(EINVAL, "thirl_take: there is no place for the message (NULL)");
    }
    *msg = NULL;
    if (end == NULL || !end->asks) {
        return end_do_straight(end, MECH_IN, try_take, msg, until);
    }
    return end->due != NULL ? take_request(end, msg, until) : end_refuse_plain(end, "thirl_take");
}

/* It was of a closed end, and those who hold its messages keep that: was this the last one? */
static inline void part(thirl *end, bool closed) {
    if (unlikely(closed) && atomic_sub(&end->pieces, 1) == 1) {
        end_destroy(end);
    }
}

/* The slot of a message that is no longer out, under the gate of its way, which it leaves. */
static void let_go(thirl *end, struct thirl_msg *msg, enum mech_way way) {
    slot_clear(&end->way[way], msg);
    bool closed = end->pieces != 0;
    gate_leave(&end->way[way].gate);
    part(end, closed);
}

/* What the mechanism, and others, keep with it; under the gate. */
static inline void give_back(thirl *end, struct thirl_msg *msg, enum mech_way way) {
    if (end->mech->free != NULL && (way == MECH_IN || msg->lent)) {
        end->mech->free(end->state, &msg->piece, way);
    }
    if (way == MECH_IN && end->due != NULL) {
        due_done(end->due, msg->slot);
    }
}

/* A loan, what another thread took first, and a request that is still owed: its caller is told that there will be no answer, unless he is
 * told that there is no server any more. */
static __attribute__((noinline)) void free_slowly(thirl *end, struct thirl_msg *msg) {
    const enum mech_way way = (enum mech_way)msg->way;
    (void)gate_enter(&end->way[way].gate, INT64_MAX);
    const uint64_t call = msg->note.call, whom = msg->note.whom;
    const int failure = msg->note.failure;
    const bool tells = msg->owed && end->pieces == 0;
    give_back(end, msg, way);
    let_go(end, msg, way);
    if (tells) {
        due_owe(end, call, whom, failure);
    }
}

void thirl_free(thirl_msg **slot) {
    if (slot == NULL || *slot == NULL) {
        return;
    }
    struct thirl_msg *msg = *slot;
    thirl *end = msg->end;
    *slot = NULL;
    if (end->epoch != end_now(end)) {
        return; /* the parent's: it will free it */
    }
    struct end_way *in = &end->way[MECH_IN];
    if (unlikely(msg->way != MECH_IN || msg->owed || !gate_enter_owned(&in->gate))) {
        free_slowly(end, msg);
        return;
    }
    give_back(end, msg, MECH_IN);
    slot_clear(in, msg);
    bool closed = end->pieces != 0;
    gate_leave_owned(&in->gate);
    part(end, closed);
}

static int check_taken(thirl_msg **slot, const char *call) {
    if (slot == NULL || *slot == NULL || (*slot)->way != MECH_IN) {
        return err_say(EINVAL, "%s: that is no message that was taken", call);
    }
    if ((*slot)->end->epoch != proc_epoch()) {
        return end_refuse((*slot)->end, MECH_IN);
    }
    return 0;
}

int thirl_done(thirl_msg **slot) {
    int rc = check_taken(slot, "thirl_done");
    if (rc == 0) {
        thirl_free(slot);
    }
    return rc;
}

int thirl_requeue(thirl_msg **slot) {
    int rc = check_taken(slot, "thirl_requeue");
    if (rc != 0) {
        return rc;
    }
    struct thirl_msg *msg = *slot;
    thirl *end = msg->end;
    if (end->mech->requeue == NULL) {
        return err_say(EOPNOTSUPP, "%s: what was received there is gone, and cannot be given to another one",
                       end->address);
    }
    (void)gate_enter(&end->way[MECH_IN].gate, INT64_MAX);
    rc = end->mech->requeue(end->state, &msg->piece);
    if (rc != 0) {
        gate_leave(&end->way[MECH_IN].gate);
        return rc;
    }
    *slot = NULL;
    let_go(end, msg, MECH_IN);
    return 0;
}

void *thirl_msg_data(const thirl_msg *msg) {
    return msg == NULL ? NULL : msg->piece.data;
}

size_t thirl_msg_size(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->piece.size;
}

const char *thirl_msg_topic(const thirl_msg *msg) {
    return msg == NULL ? "" : msg->topic != NULL ? msg->topic : msg->end->topic;
}

uint64_t thirl_msg_times(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->piece.times > 1 ? msg->piece.times : 1;
}

uint64_t thirl_msg_lost(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->piece.lost;
}

int thirl_msg_again(const thirl_msg *msg) {
    return msg != NULL && msg->piece.again;
}

uint64_t thirl_msg_number(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->piece.number;
}

int thirl_msg_trim(thirl_msg *msg, size_t size) {
    if (msg == NULL || msg->way != MECH_OUT || size > msg->piece.capacity) {
        return err_say(EINVAL, "thirl_msg_trim: only a loan can be trimmed, and only made smaller");
    }
    msg->piece.size = size;
    return 0;
}

/* A loan of an end that has what the call needs; else it has said why. */
static int check_note(const thirl_msg *msg, const char *call) {
    if (msg == NULL || msg->way != MECH_OUT) {
        return err_say(EINVAL, "%s: that is for loans only", call);
    }
    return 0;
}

int thirl_msg_set_priority(thirl_msg *msg, uint32_t priority) {
    int rc = check_note(msg, "thirl_msg_set_priority");
    if (rc != 0) {
        return rc;
    }
    struct thirl_limits limits = {.size = sizeof limits};
    msg->end->mech->limits(msg->end->state, &limits);
    if (priority != 0 && (limits.priorities <= 1 || msg->end->mech->send_noted == NULL)) {
        return err_say(EOPNOTSUPP, "%s: its messages have no priorities; see thirl_limits", msg->end->address);
    }
    if (priority != 0 && priority >= limits.priorities) {
        return err_say(EINVAL, "%s: %u is no priority; the highest is %u", msg->end->address, priority,
                       limits.priorities - 1);
    }
    msg->note.priority = priority;
    return 0;
}

uint32_t thirl_msg_priority(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->note.priority;
}

int thirl_msg_attach(thirl_msg *msg, int fd) {
    int rc = check_note(msg, "thirl_msg_attach");
    if (rc != 0) {
        return rc;
    }
    struct thirl_limits limits = {.size = sizeof limits};
    msg->end->mech->limits(msg->end->state, &limits);
    if (!limits.descriptors || msg->end->mech->send_noted == NULL) {
        return err_say(EOPNOTSUPP, "%s: descriptors cannot travel there; a pair over unix:// carries them",
                       msg->end->address);
    }
    if (msg->note.count == THIRL_DESCRIPTORS_MAX) {
        return err_say(EBUSY, "%s: a message carries at most %d descriptors", msg->end->address, THIRL_DESCRIPTORS_MAX);
    }
    int kept = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (kept < 0) {
        return err_system(errno, "thirl_msg_attach: descriptor %d cannot be duplicated", fd);
    }
    msg->note.descriptor[msg->note.count++] = kept;
    return 0;
}

unsigned thirl_msg_descriptors(const thirl_msg *msg) {
    return msg == NULL ? 0 : msg->note.count;
}

int thirl_msg_detach(thirl_msg *msg, unsigned which) {
    if (msg == NULL || which >= msg->note.count || msg->note.descriptor[which] < 0) {
        return err_say(ENOENT, "thirl_msg_detach: the message has no descriptor number %u (any more)", which);
    }
    int fd = msg->note.descriptor[which];
    msg->note.descriptor[which] = -1;
    return fd;
}
