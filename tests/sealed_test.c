/* SPDX-License-Identifier: MIT
 *
 * What ?crc and ?lifespan make of whatever lies inside: around a mechanism that sends nowhere and brings what a test wants, whole, damaged,
 * old or cut short. That they carry what is not damaged is the conformance suite's.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/fd.h"
#include "mech/seal.h"
#include "mech/stamp.h"
#include "mem/node.h"

/* ---- the mechanism inside ---- */

#define MOST 6000

static unsigned char sent[8][MOST]; /* what was sent, and comes in that order */
static size_t sizes[8];
static unsigned out, in, frees;
static bool again;        /* the same message comes for ever */
static int refuses;       /* what a call answers instead; 0: nothing else */
static size_t partly;     /* of a send, so much is on its way with -EAGAIN */
static size_t announced;  /* with -EMSGSIZE */
static unsigned attached; /* descriptors that come with each message */
static int descriptor;
static struct mech_note noted; /* what goes with what was sent, and with what comes */

static int inner_open(void *self, const struct mech_open *open) {
    (void)self;
    (void)open;
    return refuses;
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
    if (partly != 0) {
        *done = partly;
        return -EAGAIN;
    }
    assert_true(out < 8 && size <= MOST);
    memcpy(sent[out], data, size);
    sizes[out++] = size;
    noted = note != NULL ? *note : noted;
    *done = size;
    return 0;
}

static int inner_send(void *self, const void *data, size_t size, size_t *done, bool wait) {
    return inner_send_noted(self, data, size, done, NULL, wait);
}

static int inner_settle(void *self, const void *data, size_t size, size_t done) {
    (void)self;
    (void)data;
    assert_true(done == partly && size > done);
    partly = 0;
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
    if (refuses != 0) {
        return refuses;
    }
    return in < out ? 0 : -EAGAIN;
}

static int inner_recv_noted(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *note,
                            bool wait) {
    int rc = bring();
    (void)self;
    (void)wait;
    if (rc != 0) {
        *size = announced;
        return rc;
    }
    *size = sizes[in];
    if (sizes[in] > capacity) {
        return -EMSGSIZE;
    }
    memcpy(buffer, sent[in], sizes[in]);
    if (note != NULL) {
        note->count = attached;
        note->descriptor[0] = attached != 0 ? fcntl(descriptor, F_DUPFD_CLOEXEC, 3) : -1;
        note->kind = noted.kind;
        note->call = noted.call;
        note->again = noted.again;
    }
    in += !again;
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
    for (char *at = buffer; rc == 0 && in < out && n < *count; n++, in++) {
        messages[n] = (struct iovec){at, sizes[in]};
        memcpy(at, sent[in], sizes[in]);
        at += sizes[in];
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
        *piece = (struct mech_piece){.data = sent[in], .size = sizes[in], .number = in};
        in += !again;
    }
    return rc;
}

static void inner_free(void *self, struct mech_piece *piece, enum mech_way way) {
    (void)self;
    (void)piece;
    (void)way;
    frees++;
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
    *fd = descriptor;
    return refuses;
}

static const struct mech whole = {
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

/* ---- an end of it ---- */

static const struct mech *mech;
static void *end;
static struct node_end *seen;

static int open_end(const struct mech *inner, enum thirl_role role, bool crc, int64_t lifespan, bool stream) {
    bool bytes = false;
    struct mech_open open = {.role = role, .address = "test://x", .rest = "x", .stream = stream, .bytes = &bytes};
    open.options.crc = crc;
    open.options.lifespan = lifespan;
    open.options.max = MOST;
    mech = inner;
    assert_int_equal(seal_wrap(&mech, "test://x", &open.options), 0);
    open.mech = mech;
    open.seen = seen = calloc(1, sizeof *seen);
    end = aligned_alloc(64, (mech->state_size + 63) / 64 * 64);
    assert_true(end != NULL && seen != NULL);
    memset(end, 0, mech->state_size);
    out = in = frees = attached = 0;
    again = false;
    partly = announced = 0;
    return mech->open(end, &open);
}

static void begin(const struct mech *inner, enum thirl_role role, bool crc, int64_t lifespan) {
    refuses = 0;
    assert_int_equal(open_end(inner, role, crc, lifespan, false), 0);
}

static void give_back(void) {
    mech_unwrap(mech);
    free(end);
    free(seen);
}

static void finish(void) {
    mech->close(end);
    mech->deinit(end);
    give_back();
}

static void send_text(const char *text) {
    size_t done = 0;
    assert_int_equal(mech->send(end, text, strlen(text), &done, false), 0);
}

static int recv_text(char text[64]) {
    size_t size = 0;
    int rc = mech->recv(end, text, 63, &size, false);
    text[rc == 0 ? size : 0] = '\0';
    return rc;
}

/* Makes the CRC of the n-th fit what lies before it. */
static void mend_crc(unsigned n) {
    const uint32_t crc = htole32(crc_add(0, sent[n], sizes[n] - 4));
    memcpy(sent[n] + sizes[n] - 4, &crc, 4);
}

static void must_say(const char *part) {
    if (strstr(thirl_why(), part) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", part, thirl_why());
    }
}

static void what_is_shorter_than_its_seal_is_damaged(void **state) {
    char text[64];
    (void)state;
    begin(&whole, THIRL_PAIR, true, 0);
    send_text("first");
    send_text("second");
    sizes[0] = 3;
    assert_int_equal(recv_text(text), -EBADMSG);
    must_say("it has 3 bytes, and its CRC alone 4");
    assert_int_equal(seen->in.refused, 1);
    assert_int_equal(recv_text(text), 0);
    assert_string_equal(text, "second");
    finish();
}

/* A time that is to come, with and without a CRC that fits; another clock's. */
static void times_that_are_none_are_told(void **state) {
    char text[64];
    (void)state;
    for (int crc = 0; crc < 2; crc++) {
        begin(&whole, THIRL_PAIR, crc, CLOCK_S);
        for (unsigned i = 0; i < 2; i++) {
            send_text("x");
            sent[i][1 + (i == 0 ? 7 : 16)] ^= 0x40;
            if (crc) {
                mend_crc(i);
            }
        }
        assert_int_equal(recv_text(text), -EBADMSG);
        must_say("its time is no time");
        assert_int_equal(recv_text(text), -EBADMSG);
        must_say("by another clock");
        assert_int_equal(seen->in.refused, 2);
        finish();
    }
}

/* Damage among many is told by the next call, whichever it is; and who waits until then need not. */
static void what_is_untold_is_not_waited_for(void **state) {
    char buffer[256];
    (void)state;
    begin(&whole, THIRL_PAIR, true, 0);
    for (int which = 0; which < 3; which++) {
        struct iovec messages[4];
        size_t count = 4, bytes = 0;
        struct mech_watch watch;
        struct mech_piece piece;
        out = in = 0;
        send_text("one");
        send_text("two");
        sent[0][0] ^= 1;
        assert_int_equal(mech->recv_many(end, buffer, sizeof buffer, messages, &count, &bytes), 0);
        assert_true(count == 1 && bytes == 3 && memcmp(messages[0].iov_base, "two", 3) == 0);
        assert_true(mech->ready(end, MECH_IN) && mech->look(end, MECH_IN) == 0);
        assert_int_equal(mech->arm(end, MECH_IN, &watch), 1);
        assert_int_equal(mech->arm(end, MECH_OUT, &watch), 0); /* not that way */
        count = 4;
        int rc = which == 0   ? mech->take(end, &piece)
                 : which == 1 ? recv_text(buffer)
                              : mech->recv_many(end, buffer, sizeof buffer, messages, &count, &bytes);
        assert_int_equal(rc, -EBADMSG);
        must_say("is damaged: its CRC is");
        assert_true(!mech->ready(end, MECH_IN) && mech->look(end, MECH_IN) == -EAGAIN);
        assert_int_equal(mech->arm(end, MECH_IN, &watch), 0);
    }
    finish();
}

/* Old jobs are told, one by one, old messages are not; among many likewise. */
static void what_is_old_is_told_of_jobs(void **state) {
    char buffer[256];
    (void)state;
    for (int jobs = 0; jobs < 2; jobs++) {
        struct iovec messages[4];
        struct mech_piece piece;
        size_t count = 4, bytes = 0;
        begin(&whole, jobs ? THIRL_PULL : THIRL_PAIR, false, 1);
        send_text("one");
        send_text("two");
        usleep(1000);
        assert_int_equal(mech->recv_many(end, buffer, sizeof buffer, messages, &count, &bytes),
                         jobs ? -THIRL_EEXPIRED : -EAGAIN);
        assert_int_equal(mech->take(end, &piece), jobs ? -THIRL_EEXPIRED : -EAGAIN);
        if (jobs) {
            must_say("job 1");
        }
        in = 1;
        assert_int_equal(mech->take(end, &piece), jobs ? -THIRL_EEXPIRED : -EAGAIN);
        assert_int_equal(seen->in.expired, 3);
        assert_int_equal(frees, 1);
        finish();
    }
}

/* However many old ones there are, a call comes to an end. */
static void a_flood_of_old_ones_holds_no_call_up(void **state) {
    char text[64];
    (void)state;
    struct mech_piece piece;
    begin(&whole, THIRL_PAIR, false, 1);
    send_text("old");
    usleep(1000);
    again = true;
    assert_int_equal(recv_text(text), -EAGAIN);
    assert_int_equal(mech->take(end, &piece), -EAGAIN);
    assert_true(seen->in.expired > 1000 && seen->in.expired == 2 * frees);
    finish();
}

/* What came with a damaged message goes with it, and the message is given back if it can be. */
static void what_comes_with_damage_is_let_go(void **state) {
    (void)state;
    for (int frees_it = 0; frees_it < 2; frees_it++) {
        struct mech inner = whole;
        struct mech_note note = {.keeps = true};
        char text[64];
        size_t size = 0;
        inner.free = frees_it ? inner_free : NULL;
        descriptor = eventfd(0, EFD_CLOEXEC);
        begin(&inner, THIRL_PAIR, true, 0);
        send_text("x");
        sent[0][0] ^= 1;
        attached = 1;
        int next = dup(descriptor);
        (void)close(next);
        assert_int_equal(mech->recv_noted(end, text, sizeof text, &size, &note, false), -EBADMSG);
        assert_int_equal(note.count, 0);
        assert_int_equal(frees, frees_it);
        assert_int_equal(fcntl(next, F_GETFD), -1);
        finish();
        fd_close(&descriptor);
    }
}

/* While a part of a message has left, nothing else may. */
static void one_message_at_a_time_is_under_way(void **state) {
    (void)state;
    char data[] = "ab";
    struct iovec many[2] = {{data, 1}, {data + 1, 1}};
    size_t done = 0, other = 0, count = 2, bytes = 0;
    begin(&whole, THIRL_PAIR, true, 0);
    partly = 3;
    assert_int_equal(mech->send(end, "first", 5, &done, false), -EAGAIN);
    assert_int_equal(done, 3);
    assert_int_equal(mech->send(end, "other", 5, &other, false), -EAGAIN);
    assert_int_equal(mech->send_many(end, many, &count, &bytes), -EAGAIN);
    assert_int_equal(count, 0);
    assert_int_equal(mech->settle(end, "first", 5, done), 0);
    count = 2;
    assert_int_equal(mech->send_many(end, many, &count, &bytes), 0);
    assert_true(count == 2 && bytes == 2);
    send_text("other");
    finish();
}

/* So many bytes at once, and no more; large ones by themselves. */
static void many_are_as_many_as_there_is_room_for(void **state) {
    (void)state;
    static char data[5000];
    struct iovec many[20];
    size_t count = 20, bytes = 0;
    begin(&whole, THIRL_PAIR, true, 0);
    for (size_t i = 0; i < 20; i++) {
        many[i] = (struct iovec){data, 4096};
    }
    assert_int_equal(mech->send_many(end, many, &count, &bytes), 0);
    assert_true(count == 15 && bytes == count * 4096);
    many[0].iov_len = 5000;
    count = 20;
    assert_int_equal(mech->send_many(end, many, &count, &bytes), 1);
    finish();
}

/* Where nothing is lent, and where a note goes along, a large one goes by the buffer. */
static void large_ones_go_without_a_loan(void **state) {
    (void)state;
    static char data[5000];
    size_t done = 0;
    const struct mech_note note = {.priority = 0};
    begin(&whole, THIRL_PAIR, true, 0);
    assert_int_equal(mech->send(end, data, sizeof data, &done, false), 0);
    done = 0;
    assert_int_equal(mech->send_noted(end, data, sizeof data, &done, &note, false), 0);
    assert_true(out == 2 && sizes[0] == sizeof data + 4 && sizes[1] == sizes[0]);
    finish();
}

static void what_no_memory_holds_is_told(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: a sanitizer ends the program instead\n");
    skip();
#endif
    const size_t huge = SIZE_MAX / 4;
    size_t done = 0, size = 0;
    char byte = 0;
    begin(&whole, THIRL_PAIR, true, 0);
    assert_int_equal(mech->send_noted(end, &byte, huge, &done, &(struct mech_note){.count = 0}, false), -ENOMEM);
    must_say("no memory");
    announced = huge;
    refuses = -EMSGSIZE;
    assert_int_equal(mech->recv(end, &byte, huge, &size, false), -ENOMEM);
    refuses = 0;
    send_text("x");
    assert_int_equal(mech->recv(end, &byte, 1, &size, false), 0);
    assert_true(size == 1 && byte == 'x');
    finish();
}

static void what_the_inner_one_refuses_is_refused(void **state) {
    (void)state;
    struct thirl_limits limits = {.size = sizeof limits};
    int fd = -1;
    refuses = -EACCES;
    assert_int_equal(open_end(&whole, THIRL_PAIR, true, 0, false), -EACCES);
    give_back();
    assert_int_equal(open_end(&whole, THIRL_READ, true, 0, true), -EOPNOTSUPP);
    must_say("?crc is for messages");
    give_back();
    assert_int_equal(open_end(&whole, THIRL_READ, false, 1, true), -EOPNOTSUPP);
    must_say("?lifespan is for messages");
    give_back();
    begin(&whole, THIRL_PAIR, true, 0);
    mech->limits(end, &limits);
    assert_int_equal(limits.atomic_max, 0); /* not even a seal has room there */
    refuses = -EMFILE;
    assert_int_equal(mech->fd(end, MECH_IN, &fd), -EMFILE);
    finish();
}

/* ---- calls ---- */

static const struct mech calls = {
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

/* Sends that, and receives it after the test has laid hands on it: what it is told. */
static int carry(enum mech_kind kind, void (*change)(void)) {
    struct mech_note note;
    char text[64];
    size_t done = 0, size = 0;
    out = in = 0;
    mech_note_call(&note, kind, 7, 1);
    note.deadline = INT64_MAX;
    assert_int_equal(mech->send_noted(end, "text", 4, &done, &note, false), 0);
    change();
    note.failure = 0;
    assert_int_equal(mech->recv_noted(end, text, sizeof text, &size, &note, false), 0);
    assert_true(note.failure != 0 ? size == 0 : size == 4 && memcmp(text, "text", 4) == 0);
    return note.failure;
}

static void leave(void) {
}

static void cut(void) {
    sizes[0] = 3;
}

static void damage(void) {
    sent[0][0] ^= 1;
}

static void change_call(void) {
    noted.call++;
}

static void change_kind(void) {
    noted.kind = noted.kind == MECH_REQUEST ? MECH_REPLY : MECH_REQUEST;
}

static void change_again(void) {
    noted.again = !noted.again;
}

static void change_time(void) {
    sent[0][4 + 7] ^= 0x40;
}

static void change_clock(void) {
    sent[0][4 + 16] ^= 1;
}

static void calls_are_judged(void **state) {
    static const struct {
        bool crc, ages;
        enum mech_kind kind;
        void (*change)(void);
        int told;
        const char *part;
    } all[] = {
        {true, false, MECH_REQUEST, leave, 0, NULL},
        {true, false, MECH_REQUEST, cut, -THIRL_EFORMAT, "cut short"},
        {true, false, MECH_CANCEL, damage, -THIRL_EFORMAT, "a cancellation, of call 7, was not delivered"},
        {true, false, MECH_REPLY, damage, -THIRL_EFORMAT, "an answer, of call 7"},
        {true, false, MECH_REQUEST, change_call, -THIRL_EFORMAT, "what came beside it"},
        {true, false, MECH_REQUEST, change_kind, -THIRL_EFORMAT, "what came beside it"},
        {true, false, MECH_REQUEST, change_again, -THIRL_EFORMAT, "what came beside it"},
        {false, true, MECH_REQUEST, leave, 0, NULL},
        {false, true, MECH_REQUEST, cut, -THIRL_EFORMAT, "cut short"},
        {false, true, MECH_REQUEST, change_time, -THIRL_EFORMAT, "its time is no time"},
        {false, true, MECH_REPLY, change_clock, -THIRL_EFORMAT, "by another clock"},
        {false, true, MECH_CANCEL, change_time, 0, NULL}, /* that may be learnt late */
        {false, true, MECH_FAILED, change_clock, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        begin(&calls, THIRL_CALL, all[i].crc, all[i].ages ? 60 * CLOCK_S : 0);
        assert_int_equal(carry(all[i].kind, all[i].change), all[i].told);
        if (all[i].part != NULL) {
            must_say(all[i].part);
        }
        assert_int_equal(seen->in.refused, all[i].told != 0);
        finish();
    }
}

static void calls_without_memory_are_told(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: a sanitizer ends the program instead\n");
    skip();
#endif
    struct mech_note note;
    size_t done = 0;
    begin(&calls, THIRL_CALL, true, 0);
    mech_note_call(&note, MECH_REQUEST, 7, 1);
    note.deadline = INT64_MAX;
    assert_int_equal(mech->send_noted(end, "x", SIZE_MAX / 4, &done, &note, false), -ENOMEM);
    assert_int_equal(mech->send_noted(end, "x", SIZE_MAX - 8, &done, &note, false), -EMSGSIZE);
    assert_int_equal(carry(MECH_REQUEST, leave), 0);
    finish();
}

/* What has begun to leave is not put together again. */
static void a_call_under_way_goes_on(void **state) {
    (void)state;
    struct mech_note note;
    size_t done = 0;
    begin(&calls, THIRL_CALL, true, 0);
    mech_note_call(&note, MECH_REQUEST, 7, 1);
    note.deadline = INT64_MAX;
    partly = 2;
    assert_int_equal(mech->send_noted(end, "text", 4, &done, &note, false), -EAGAIN);
    assert_int_equal(done, 2);
    partly = 0;
    assert_int_equal(mech->send_noted(end, "????", 4, &done, &note, false), 0);
    assert_memory_equal(sent[0], "text", 4);
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_shorter_than_its_seal_is_damaged),
        cmocka_unit_test(times_that_are_none_are_told),
        cmocka_unit_test(what_is_untold_is_not_waited_for),
        cmocka_unit_test(what_is_old_is_told_of_jobs),
        cmocka_unit_test(a_flood_of_old_ones_holds_no_call_up),
        cmocka_unit_test(what_comes_with_damage_is_let_go),
        cmocka_unit_test(one_message_at_a_time_is_under_way),
        cmocka_unit_test(many_are_as_many_as_there_is_room_for),
        cmocka_unit_test(large_ones_go_without_a_loan),
        cmocka_unit_test(what_no_memory_holds_is_told),
        cmocka_unit_test(what_the_inner_one_refuses_is_refused),
        cmocka_unit_test(calls_are_judged),
        cmocka_unit_test(calls_without_memory_are_told),
        cmocka_unit_test(a_call_under_way_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
