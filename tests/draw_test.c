/* SPDX-License-Identifier: MIT
 *
 * Messages that are put together from packets, in any order in which they may lie in a queue: of many senders at a time, one piece each; of one that
 * contradicts itself; of nobody; again and again. The packets are made by hand where no end of thirl sends such.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/carried.h"
#include "tests/kinds.h"
#include "tests/member.h"
#include "tests/quota.h"

#define SOON thirl_in_ms(20000)
#define LARGE 40000u
#define SENDERS 8u
#define PIECE 8u

static const char *const schemes[] = {"mq", "sysv"};
static const char *scheme;
static unsigned char buffer[LARGE];
static size_t size;

static int open_end(thirl **end, enum thirl_role role, const char *options) {
    char address[100];
    (void)snprintf(address, sizeof address, "%s://draw-%d%s", scheme, (int)getpid(), options);
    return thirl_open(end, role, address, NULL);
}

static struct queue *queue_of(thirl *end) {
    struct carried *c = end->state;
    return c->is_queue ? &c->as.queue : &c->as.duct.out.q;
}

/* The label of a message's first piece, as that end would send it. */
static struct frag_label begin(thirl *end, uint32_t message, uint32_t total) {
    struct frag_label label = queue_of(end)->out.label;
    label.message = message;
    label.total = total;
    label.piece = PIECE;
    label.brief = false;
    return label;
}

/* Puts that packet into the queue, with so many bytes before the label. */
static int put_bytes(thirl *end, const struct frag_label *label, size_t piece) {
    struct queue *q = queue_of(end);
    unsigned char wire[2 * PIECE + FRAG_LABEL];
    memset(wire, (int)('a' + label->offset / PIECE), piece);
    frag_write(wire + piece, label);
    const struct iovec part = {wire, piece + FRAG_LABEL};
    int rc = q->carrier->send(q->carried, &part, 1, NULL, false);
    queue_ring(q);
    return rc;
}

static int put(thirl *end, const struct frag_label *label) {
    return put_bytes(end, label, frag_size(label));
}

static int put_piece(thirl *end, struct frag_label label, uint32_t offset) {
    label.offset = offset;
    return put(end, &label);
}

static int see(void *seen, const struct thirl_seen *one) {
    if (strcmp(one->role, "pull") == 0 || strcmp(one->role, "pair") == 0) *(struct thirl_seen *)seen = *one;
    return 0;
}

static struct thirl_seen seen_of_receiver(void) {
    struct thirl_seen seen = {.refused = UINT64_MAX};
    return thirl_list(see, &seen) == 0 ? seen : (struct thirl_seen){.refused = UINT64_MAX};
}

/* Each sends two; each message is as large as may be, and the pieces of all lie between each other. */
static int do_messages_of_many_senders_come_whole(void) {
    static unsigned char data[LARGE];
    thirl *in, *out[SENDERS];
    unsigned sent[SENDERS] = {0}, came = 0;
    CHECK(open_end(&in, THIRL_PULL, "?max=40000&queue=8K") == 0);
    for (unsigned i = 0; i < SENDERS; i++) CHECK(open_end(&out[i], THIRL_PUSH, "?max=40000&queue=8K") == 0);
    for (unsigned round = 0; came < 2 * SENDERS && round < 1000; round++) {
        for (unsigned i = 0; i < SENDERS; i++) {
            memset(data, (int)i, LARGE);
            uint64_t left; /* of one that is partly on its way: the next piece */
            int rc =
                sent[i] == 2 ? out[i]->mech->flush(out[i]->state, &left) : thirl_send(out[i], data, LARGE, THIRL_NOW);
            CHECK(rc == 0 || rc == -EAGAIN);
            sent[i] += sent[i] < 2 && rc == 0;
            rc = thirl_recv(in, buffer, LARGE, &size, THIRL_NOW);
            CHECK(rc == 0 || rc == -EAGAIN);
            if (rc == 0) {
                memset(data, buffer[0], LARGE);
                CHECK(size == LARGE && memcmp(data, buffer, LARGE) == 0);
                came++;
            }
        }
    }
    CHECK(came == 2 * SENDERS);
    struct thirl_seen seen = seen_of_receiver();
    CHECK(seen.lost == 0 && seen.refused == 0);
    for (unsigned i = 0; i < SENDERS; i++) CHECK(thirl_close(&out[i], SOON) == 0);
    CHECK(thirl_close(&in, SOON) == 0);
    return 0;
}

/* More than a receiver puts together at a time: it says so, and what it has begun comes. */
static int do_what_is_begun_beyond_the_bound_is_told(void) {
    thirl *in, *out;
    CHECK(open_end(&in, THIRL_PULL, "?max=100") == 0 && open_end(&out, THIRL_PUSH, "?max=100") == 0);
    for (uint32_t i = 0; i <= FRAG_PARTS; i++) {
        CHECK(put_piece(out, begin(out, 100 + i, 2 * PIECE), 0) == 0);
        CHECK(thirl_recv(in, buffer, LARGE, &size, THIRL_NOW) == (i < FRAG_PARTS ? -EAGAIN : -ENOBUFS));
    }
    CHECK(strstr(thirl_why(), "32 unfinished messages") != NULL);
    CHECK(strstr(thirl_why(), "?max); it was thrown away (") != NULL);
    for (uint32_t i = 0; i <= FRAG_PARTS; i++) {
        CHECK(put_piece(out, begin(out, 100 + i, 2 * PIECE), PIECE) == 0);
        CHECK(thirl_recv(in, buffer, LARGE, &size, THIRL_NOW) == (i < FRAG_PARTS ? 0 : -EAGAIN));
        CHECK(i == FRAG_PARTS || (size == 2 * PIECE && memcmp(buffer, "aaaaaaaabbbbbbbb", size) == 0));
    }
    struct thirl_seen seen = seen_of_receiver();
    CHECK(seen.lost == 1 && seen.refused == 1);
    CHECK(thirl_send(out, "next", 4, SOON) == 0 && thirl_recv(in, buffer, LARGE, &size, SOON) == 0 && size == 4);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

/* A packet comes between the first piece of a message and the others, and is almost the next piece. */
static int do_what_comes_between_does_no_harm(void) {
    enum { AHEAD, MESSAGE, NODE, END, TOTAL, SIZE, LIES };
    thirl *in, *out;
    CHECK(open_end(&in, THIRL_PULL, "") == 0 && open_end(&out, THIRL_PUSH, "") == 0);
    for (int lie = 0; lie < LIES; lie++) {
        const struct frag_label label = begin(out, 100, 3 * PIECE);
        struct frag_label other = label;
        other.offset = lie == AHEAD ? 2 * PIECE : PIECE;
        other.message += lie == MESSAGE;
        other.node += lie == NODE;
        other.end += lie == END;
        other.total += lie == TOTAL;
        other.piece -= lie == SIZE ? PIECE / 2 : 0;
        CHECK(put_piece(out, label, 0) == 0 && put(out, &other) == 0 && put_piece(out, label, PIECE) == 0);
        CHECK(lie == AHEAD || put_piece(out, label, 2 * PIECE) == 0);
        if (lie >= TOTAL) {
            CHECK(thirl_recv(in, buffer, LARGE, &size, SOON) == -THIRL_EFORMAT);
            CHECK(strstr(thirl_why(), "contradicts the others") != NULL);
        }
        CHECK(thirl_recv(in, buffer, LARGE, &size, SOON) == 0 && size == 3 * PIECE);
        CHECK(memcmp(buffer, "aaaaaaaabbbbbbbbcccccccc", size) == 0);
        CHECK(thirl_recv(in, buffer, LARGE, &size, THIRL_NOW) == -EAGAIN);
    }
    struct thirl_seen seen = seen_of_receiver();
    CHECK(seen.refused == 2 && seen.lost == 0);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

/* What no end of thirl sends there: a note, a message that is larger than the receiver takes. */
static int do_what_nobody_sends_is_not_taken(void) {
    thirl *in, *out;
    CHECK(open_end(&in, THIRL_PULL, "?max=20") == 0 && open_end(&out, THIRL_PUSH, "?max=20") == 0);
    struct frag_label label = begin(out, 100, 0);
    label.type = FRAG_NOTE;
    CHECK(put(out, &label) == 0 && thirl_recv(in, buffer, LARGE, &size, THIRL_NOW) == -EAGAIN);
    CHECK(put_piece(out, begin(out, 100, 3 * PIECE), 0) == 0);
    CHECK(thirl_recv(in, buffer, LARGE, &size, SOON) == -THIRL_EFORMAT);
    CHECK(strstr(thirl_why(), "24 bytes is announced; this end accepts 20") != NULL);
    CHECK(put_piece(out, begin(out, 100, 3 * PIECE), 2 * PIECE) == 0); /* its end */
    CHECK(thirl_send(out, "next", 4, SOON) == 0 && thirl_recv(in, buffer, LARGE, &size, SOON) == 0 && size == 4);
    struct thirl_seen seen = seen_of_receiver();
    CHECK(seen.refused == 1 && seen.lost == 1);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

/* In the midst of a conversation comes a packet of another end, of the peer's process or of nobody's. */
static int do_a_conversation_hears_the_peer_only(void) {
    thirl *one, *two;
    CHECK(open_end(&one, THIRL_PAIR, "") == 0 && open_end(&two, THIRL_PAIR, "") == 0);
    CHECK(thirl_send(one, "x", 1, SOON) == 0 && thirl_recv(two, buffer, LARGE, &size, SOON) == 0);
    CHECK(thirl_send(two, "x", 1, SOON) == 0 && thirl_recv(one, buffer, LARGE, &size, SOON) == 0);
    for (int whose = 0; whose < 2; whose++) {
        struct frag_label label = begin(one, 0, PIECE);
        label.end += whose == 0 ? 100 : 0;
        label.node += whose == 0 ? 0 : 1;
        CHECK(put(one, &label) == 0 && thirl_send(one, "next", 4, SOON) == 0);
        CHECK(thirl_recv(two, buffer, LARGE, &size, SOON) == 0 && size == 4 && memcmp(buffer, "next", 4) == 0);
        CHECK(thirl_recv(two, buffer, LARGE, &size, THIRL_NOW) == -EAGAIN);
        CHECK(queue_of(two)->seen->in.refused == (uint64_t)whose + 1);
    }
    CHECK(thirl_close(&one, SOON) == 0 && thirl_close(&two, SOON) == 0);
    return 0;
}

/* What looks like a whole message and is none is refused, and the next one comes. */
static int do_a_label_that_lies_is_refused(void) {
    enum { NODE, BYTES, OFFSET, NOTHING, HALF, LIES };
    thirl *one, *two;
    CHECK(open_end(&one, THIRL_PAIR, "") == 0 && open_end(&two, THIRL_PAIR, "") == 0);
    CHECK(thirl_send(one, "x", 1, SOON) == 0 && thirl_recv(two, buffer, LARGE, &size, SOON) == 0);
    for (int lie = 0; lie < LIES; lie++) {
        struct frag_label label = begin(one, 0, lie == OFFSET ? 2 * PIECE : PIECE);
        label.node = lie == NODE ? 0 : label.node;
        label.offset = lie == OFFSET ? PIECE : 0;
        label.piece = lie == NOTHING ? 0 : lie == HALF ? PIECE / 2 : PIECE;
        CHECK(put_bytes(one, &label, lie == BYTES ? PIECE - 1 : label.total) == 0);
        CHECK(thirl_recv(two, buffer, LARGE, &size, SOON) == -THIRL_EFORMAT);
        CHECK(thirl_send(one, "next", 4, SOON) == 0);
        CHECK(thirl_recv(two, buffer, LARGE, &size, SOON) == 0 && size == 4 && memcmp(buffer, "next", 4) == 0);
        CHECK(queue_of(two)->seen->in.refused == (uint64_t)lie + 1);
    }
    CHECK(thirl_close(&one, SOON) == 0 && thirl_close(&two, SOON) == 0);
    return 0;
}

/* A peer that begins messages and ends none: what he may begin is bounded, and goes with him. */
static int do_what_a_peer_begins_is_bounded(void) {
    thirl *one, *two;
    CHECK(open_end(&one, THIRL_PAIR, "?max=20") == 0 && open_end(&two, THIRL_PAIR, "?max=20") == 0);
    CHECK(thirl_send(one, "x", 1, SOON) == 0 && thirl_recv(two, buffer, LARGE, &size, SOON) == 0);
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(put_piece(one, begin(one, 100 + i, 2 * PIECE), 0) == 0);
        CHECK(thirl_recv(two, buffer, LARGE, &size, THIRL_NOW) == (i < 2 ? -EAGAIN : -ENOBUFS));
    }
    CHECK(strstr(thirl_why(), "2 unfinished messages") != NULL);
    CHECK(thirl_send(one, "next", 4, SOON) == 0 && thirl_recv(two, buffer, LARGE, &size, SOON) == 0 && size == 4);
    CHECK(thirl_close(&one, SOON) >= 0);
    CHECK(thirl_recv(two, buffer, LARGE, &size, SOON) == -THIRL_ECLOSED);
    CHECK(queue_of(two)->seen->in.refused == 1);
    const struct carried *c = two->state;
    CHECK(c->as.duct.in.q.in.frag.held == 0 && c->as.duct.in.q.in.frag.lost == 2);
    CHECK(thirl_close(&two, SOON) >= 0);
    return 0;
}

/* A message that was too large for a buffer is there for a wait, though the kernel has nothing any more. */
static int do_what_was_too_large_is_waited_for(void) {
    thirl *in, *out;
    CHECK(open_end(&in, THIRL_PULL, "") == 0 && open_end(&out, THIRL_PUSH, "") == 0);
    struct thirl_want want = {.end = in, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_send(out, "large", 5, SOON) == 0 && thirl_recv(in, buffer, 1, &size, SOON) == -EMSGSIZE && size == 5);
    CHECK(thirl_wait(&want, 1, SOON) == 1 && want.ready == THIRL_WANT_MESSAGE);
    CHECK(thirl_recv(in, buffer, size, &size, THIRL_NOW) == 0 && memcmp(buffer, "large", 5) == 0);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

/* Where packets may be lost each has a number: one that comes again is passed over, as a piece, too; one without is refused. */
static int count(void *nothing) {
    (void)nothing;
    thirl *in, *out;
    char address[100];
    (void)snprintf(address, sizeof address, "unix://@draw-%d?type=datagram", (int)getpid());
    CHECK(thirl_open(&in, THIRL_PULL, address, NULL) == 0 && thirl_open(&out, THIRL_PUSH, address, NULL) == 0);
    struct frag_label label = begin(out, 100, 2 * PIECE);
    for (int i = 0; i < 3; i++) CHECK(put_piece(out, label, 0) == 0);
    label.packet++;
    CHECK(put_piece(out, label, PIECE) == 0);
    CHECK(thirl_recv(in, buffer, LARGE, &size, SOON) == 0 && size == 2 * PIECE);
    CHECK(memcmp(buffer, "aaaaaaaabbbbbbbb", size) == 0);
    struct thirl_seen seen = seen_of_receiver();
    CHECK(seen.twice == 2 && seen.lost == 0 && seen.refused == 0);
    unsigned char wire[FRAG_BRIEF];
    const struct iovec part = {wire, sizeof wire};
    frag_write_brief(wire, &label);
    CHECK(queue_of(out)->carrier->send(queue_of(out)->carried, &part, 1, NULL, false) == 0);
    CHECK(thirl_recv(in, buffer, LARGE, &size, SOON) == -THIRL_EFORMAT);
    CHECK(strstr(thirl_why(), "has no number") != NULL && seen_of_receiver().refused == 1);
    CHECK(thirl_close(&out, SOON) == 0 && thirl_close(&in, SOON) == 0);
    return 0;
}

static void packets_are_counted_where_they_may_be_lost(void **state) {
    assert_int_equal(member_clear(state), 0);
    assert_int_equal(room_run(count, NULL), 0);
}

static int run(void *body) {
    thirl *end;
    if (open_end(&end, THIRL_PAIR, "") != 0 || thirl_close(&end, THIRL_NOW) < 0) {
        return 77;
    }
    return (*(int (*const *)(void))body)();
}

OVER_EACH_KIND(messages_of_many_senders_come_whole)
OVER_EACH_KIND(what_is_begun_beyond_the_bound_is_told)
OVER_EACH_KIND(what_comes_between_does_no_harm)
OVER_EACH_KIND(what_nobody_sends_is_not_taken)
OVER_EACH_KIND(a_conversation_hears_the_peer_only)
OVER_EACH_KIND(a_label_that_lies_is_refused)
OVER_EACH_KIND(what_a_peer_begins_is_bounded)
OVER_EACH_KIND(what_was_too_large_is_waited_for)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_of_many_senders_come_whole),
        cmocka_unit_test(what_is_begun_beyond_the_bound_is_told),
        cmocka_unit_test(what_comes_between_does_no_harm),
        cmocka_unit_test(what_nobody_sends_is_not_taken),
        cmocka_unit_test(a_conversation_hears_the_peer_only),
        cmocka_unit_test(a_label_that_lies_is_refused),
        cmocka_unit_test(what_a_peer_begins_is_bounded),
        cmocka_unit_test(what_was_too_large_is_waited_for),
        cmocka_unit_test(packets_are_counted_where_they_may_be_lost),
    };
    (void)quota_take(false);
    return cmocka_run_group_tests_name("draw", tests, member_begin, room_end);
}
