/* SPDX-License-Identifier: MIT
 *
 * A subscriber and its publishers when something is not as it should be: no place for one more seat, a damaged ring, a reference to what is
 * no message, notes that are all taken, one that cuts it off. It says so, and goes on with the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "chan/end.h"
#include "mech/fan.h"
#include "tests/large.h"
#include "tests/member.h"

#define ADDRESS "shm://feed"
#define SOON LARGE_SOON
#define MIB ((size_t)1 << 20)
#define PUBS 66 /* one has told lies, 64 have a seat, and the last has none */

static struct fan *fan_of(thirl *end) {
    return end->state;
}

static char byte;
static size_t size;

/* ---- seats ---- */

static int do_who_has_no_seat_is_met_later(void *nothing) {
    (void)nothing;
    static thirl *pub[PUBS];
    struct rlimit none = {0, RLIM_INFINITY}, usual;
    char file[ROLL_FILE_MAX];
    thirl *sub = large_open(ADDRESS, THIRL_SUB, "");
    CHECK(sub != NULL && (pub[0] = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=block")) != NULL);
    fan_of(pub[0])->pub.own->mark.version++;
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -THIRL_EVERSION);
    for (unsigned i = 1; i < PUBS; i++) {
        CHECK((pub[i] = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=block")) != NULL);
        if (i < PUBS - 1) {
            CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
        }
    }
    (void)signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &usual) == 0 && setrlimit(RLIMIT_FSIZE, &none) == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EFBIG);
    CHECK(thirl_send(pub[1], "w", 1, SOON) == 0 && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == 0 && byte == 'w');
    CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == -EFBIG); /* tried again, once there is nothing else */
    CHECK(setrlimit(RLIMIT_FSIZE, &usual) == 0);
    /* And somebody has put another thing where its file is. */
    roll_file(file, fan_of(sub)->roll.self, "rx");
    int dir = fan_of(sub)->roll.dir;
    CHECK(renameat(dir, file, dir, "kept") == 0 && mkdirat(dir, file, 0700) == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == -EISDIR && strstr(thirl_why(), "removed") != NULL);
    CHECK(unlinkat(dir, file, AT_REMOVEDIR) == 0 && renameat(dir, "kept", dir, file) == 0);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    for (unsigned i = 1; i < PUBS; i++) {
        byte = 0;
        CHECK(thirl_send(pub[i], "x", 1, SOON) == 0 && thirl_recv(sub, &byte, 1, &size, SOON) == 0 && byte == 'x');
    }
    for (unsigned i = 0; i < PUBS; i++) CHECK(thirl_close(&pub[i], THIRL_NOW) >= 0);
    return thirl_close(&sub, SOON) < 0;
}

static int do_a_ring_without_a_beginning_is_damaged(void *nothing) {
    (void)nothing;
    thirl *sub = NULL, *pub = large_open(ADDRESS, THIRL_PUB, "");
    CHECK(pub != NULL && thirl_send(pub, "x", 1, SOON) == 0);
    memset(&fan_of(pub)->pub.own->cast, 0xff, sizeof(struct cast_head));
    int rc = thirl_open(&sub, THIRL_SUB, ADDRESS, NULL);
    CHECK((rc != 0 ? rc : thirl_recv(sub, &byte, 1, &size, THIRL_NOW)) == -THIRL_EFORMAT);
    CHECK(strstr(thirl_why(), "damaged") != NULL);
    return 0;
}

/* It says whose it is, and there is nothing behind that. */
static int do_a_file_without_a_ring_is_damaged(void *nothing) {
    (void)nothing;
    thirl *sub = NULL, *pub = large_open(ADDRESS, THIRL_PUB, "");
    char file[ROLL_FILE_MAX];
    CHECK(pub != NULL);
    struct fan *fan = fan_of(pub);
    roll_file(file, fan->roll.self, "tx");
    CHECK(unlinkat(fan->roll.dir, file, 0) == 0);
    int fd = openat(fan->roll.dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, fan->pub.seg.base, fan->pub.seg.head) == (ssize_t)fan->pub.seg.head && close(fd) == 0);
    int rc = thirl_open(&sub, THIRL_SUB, ADDRESS, NULL);
    CHECK((rc != 0 ? rc : thirl_recv(sub, &byte, 1, &size, THIRL_NOW)) == -THIRL_EFORMAT);
    CHECK(strstr(thirl_why(), "damaged") != NULL);
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN); /* told once */
    CHECK(thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* ---- deaths ---- */

static void *speak_once(void *pub) {
    *(thirl **)pub = large_open(ADDRESS, THIRL_PUB, "");
    return *(thirl **)pub == NULL || thirl_send(*(thirl **)pub, "t", 1, SOON) != 0 ? pub : NULL;
}

static int speak_and_die_without_a_word(void *die) {
    thirl *pub = NULL;
    pthread_t thread;
    void *failed = NULL;
    CHECK(pthread_create(&thread, NULL, speak_once, &pub) == 0 && pthread_join(thread, &failed) == 0 && failed == NULL);
    CHECK(read(*(int *)die, &byte, 1) == 1);
    room_sleep(60000000); /* who sleeps has got over the end of that thread, which is no death */
    return raise(SIGKILL);
}

/* The thread by whose end a death shows at once has ended long ago: then it is found by those who look, as who sleeps does now and then; also when
 * several die at once. */
static int do_who_dies_without_a_word_is_found(void *nothing) {
    (void)nothing;
    for (unsigned count = 1; count <= 3; count += 2) {
        int wire[2];
        pid_t child[3];
        CHECK(pipe(wire) == 0);
        thirl *sub = large_open(ADDRESS, THIRL_SUB, "?wait=sleep");
        CHECK(sub != NULL);
        for (unsigned i = 0; i < count; i++) child[i] = room_fork(speak_and_die_without_a_word, &wire[0]);
        for (unsigned i = 0; i < count; i++) CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == 0 && byte == 't');
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(30)) == -ETIMEDOUT);
        CHECK(write(wire[1], "xxx", count) == (ssize_t)count);
        for (unsigned i = 0; i < count; i++) CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == -THIRL_EPEERDIED);
        for (unsigned i = 0; i < count; i++) CHECK(room_reap(child[i]) == 128 + SIGKILL);
        CHECK(thirl_recv(sub, &byte, 1, &size, thirl_in_ms(30)) == -ETIMEDOUT);
        CHECK(thirl_close(&sub, SOON) == 0 && close(wire[0]) == 0 && close(wire[1]) == 0);
    }
    return 0;
}

/* ---- who was overtaken ---- */

/* Where its next message was there are zeros now, as where nothing is: but the publisher says that this is not whole any more. */
static int do_zeros_where_a_message_was_are_not_nothing(void *nothing) {
    static char zeros[1000];
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?queue=4K"), *sub = large_open(ADDRESS, THIRL_SUB, "");
    struct thirl_want want = {.end = sub, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    CHECK(pub != NULL && sub != NULL && thirl_wait(&want, 1, THIRL_NOW) == -EAGAIN);
    for (int i = 0; i < 5; i++) CHECK(thirl_send(pub, zeros, sizeof zeros, SOON) == 0);
    const struct cast_in *in = &fan_of(sub)->sub.feed[0]->in;
    CHECK(atomic_peek(&lane_at(&in->lane, in->lane.at)->word) == 0);
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == 1);
    thirl_msg *msg = NULL;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == 0 && thirl_msg_size(msg) == sizeof zeros && thirl_msg_lost(msg) > 0);
    thirl_free(&msg);
    CHECK(thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* ---- several at once ---- */

/* What else there is stays where it is: behind a message that leaves no room, of one that was cut off, and of one that may be at any moment. */
static int do_of_many_those_come_that_can(void *nothing) {
    struct iovec messages[64];
    static char buffer[4096];
    size_t count = 8;
    (void)nothing;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, ""), *pub = large_open(ADDRESS, THIRL_PUB, "");
    CHECK(sub != NULL && pub != NULL);
    for (int i = 0; i < 2; i++) CHECK(thirl_send(pub, "twelve bytes", 12, SOON) == 0);
    for (int i = 0; i < 2; i++, count = 8) { /* the next one would begin behind the buffer */
        CHECK(thirl_recv_many(sub, buffer, 12, messages, &count, THIRL_NOW) == 0 && count == 1);
        CHECK(messages[0].iov_len == 12 && memcmp(messages[0].iov_base, "twelve bytes", 12) == 0);
    }
    CHECK(thirl_recv_many(sub, buffer, sizeof buffer, messages, &count, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_close(&pub, SOON) == 0 && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN); /* is forgotten */

    thirl *cuts = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=disconnect");
    CHECK(cuts != NULL);
    for (char i = 0; i < 3; i++) CHECK(thirl_send(cuts, &i, 1, SOON) == 0);
    for (char i = 0; i < 3; i++) { /* each with a look whether it is still whole */
        count = 8;
        CHECK(thirl_recv_many(sub, buffer, sizeof buffer, messages, &count, THIRL_NOW) == 0 && count == 1);
        CHECK(*(char *)messages[0].iov_base == i);
    }
    for (int i = 0; i < 400; i++) CHECK(thirl_send(cuts, "c", 1, SOON) == 0);
    count = 8;
    CHECK(thirl_recv_many(sub, buffer, sizeof buffer, messages, &count, THIRL_NOW) == -ECONNRESET && count == 0);

    CHECK((pub = large_open(ADDRESS, THIRL_PUB, "")) != NULL);
    for (char i = 0; i < 40; i++) CHECK(thirl_send(pub, &i, 1, SOON) == 0);
    for (char i = 0; i < 40;) {
        count = 2; /* so that it is another one's turn now and then */
        CHECK(thirl_recv_many(sub, buffer, sizeof buffer, messages, &count, THIRL_NOW) == 0 && count > 0);
        for (size_t k = 0; k < count; k++) CHECK(*(char *)messages[k].iov_base == i++);
    }
    count = 8;
    CHECK(thirl_recv_many(sub, buffer, sizeof buffer, messages, &count, THIRL_NOW) == -EAGAIN);
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&pub, SOON) == 0);
    return thirl_close(&cuts, SOON) < 0;
}

/* Whoever looks at a descriptor, and was cut off by the only one that he hears, is told, once; then it is dark until another one speaks. */
static int do_who_polls_and_was_cut_off_stays_dark(void *nothing) {
    (void)nothing;
    thirl *sub = large_open(ADDRESS, THIRL_SUB, ""),
          *cuts = large_open(ADDRESS, THIRL_PUB, "?queue=4K&full=disconnect");
    CHECK(sub != NULL && cuts != NULL);
    struct pollfd polled = {thirl_fd(sub), POLLIN, 0};
    CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    for (int i = 0; i < 400; i++) CHECK(thirl_send(cuts, "c", 1, SOON) == 0);
    CHECK(poll(&polled, 1, 0) == 1 && thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -ECONNRESET);
    CHECK(thirl_send(cuts, "c", 1, SOON) == 0);
    int tries = 0; /* it may be readable once too often, but not for ever */
    while (tries++ < 1000 && poll(&polled, 1, 0) == 1) CHECK(thirl_recv(sub, &byte, 1, &size, THIRL_NOW) == -EAGAIN);
    CHECK(tries < 1000);
    thirl *other = large_open(ADDRESS, THIRL_PUB, "");
    CHECK(other != NULL && thirl_send(other, "o", 1, SOON) == 0 && poll(&polled, 1, 5000) == 1);
    CHECK(thirl_recv(sub, &byte, 1, &size, SOON) == 0 && byte == 'o');
    CHECK(thirl_close(&sub, SOON) == 0 && thirl_close(&cuts, SOON) == 0);
    return thirl_close(&other, SOON) < 0;
}

/* ---- large messages ---- */

static int do_who_has_no_note_left_frees_first(void *nothing) {
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=16M"), *sub = large_open(ADDRESS, THIRL_SUB, "");
    thirl_msg *msg;
    static uint64_t copy[MIB / sizeof(uint64_t)];
    CHECK(pub != NULL && sub != NULL && large_put(pub, MIB, 3, SOON) == 0);
    fan_of(sub)->sub.own->held.mask = UINT64_MAX;
    CHECK(thirl_take(sub, &msg, THIRL_NOW) == -EBUSY && strstr(thirl_why(), "free some") != NULL);
    fan_of(sub)->sub.own->held.mask = 0;
    struct mech_note note = {.count = 0}; /* by copy, though it could lie where it is */
    CHECK(sub->mech->recv_noted(sub->state, copy, 10, &size, &note, false) == -EMSGSIZE && size == MIB);
    CHECK(sub->mech->recv_noted(sub->state, copy, MIB, &size, &note, false) == 0);
    CHECK(size == MIB && note.place == NULL && large_intact(copy, MIB, 3));
    CHECK(large_put(pub, MIB, 4, SOON) == 0 && large_take(sub, &msg, MIB, 4));
    thirl_free(&msg);
    CHECK(thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, SOON) < 0;
}

/* The record says that the message is larger than all that there is. */
static int do_a_reference_to_no_message_is_a_lie(void *nothing) {
    (void)nothing;
    thirl *pub = large_open(ADDRESS, THIRL_PUB, "?pool=16M"), *sub = large_open(ADDRESS, THIRL_SUB, "");
    thirl_msg *msg;
    CHECK(pub != NULL && sub != NULL && large_put(pub, MIB, 3, SOON) == 0);
    struct seg *seg = &fan_of(pub)->pub.seg;
    unsigned lies = 0;
    for (size_t at = 0; at < 4096; at += 4) {
        struct pool_ref ref;
        memcpy(&ref, seg->base + seg->head + at, sizeof ref);
        if (ref.size == MIB && (uint64_t)ref.units * POOL_UNIT >= MIB) {
            ref.units = UINT32_MAX;
            memcpy(seg->base + seg->head + at, &ref, sizeof ref);
            lies++;
        }
    }
    CHECK(lies == 1 && thirl_take(sub, &msg, THIRL_NOW) == -THIRL_EFORMAT);
    CHECK(thirl_close(&sub, SOON) == 0);
    return thirl_close(&pub, THIRL_NOW) < 0;
}

IN_A_CHILD(who_has_no_seat_is_met_later)
IN_A_CHILD(a_ring_without_a_beginning_is_damaged)
IN_A_CHILD(a_file_without_a_ring_is_damaged)
IN_A_CHILD(who_dies_without_a_word_is_found)
IN_A_CHILD(zeros_where_a_message_was_are_not_nothing)
IN_A_CHILD(of_many_those_come_that_can)
IN_A_CHILD(who_polls_and_was_cut_off_stays_dark)
IN_A_CHILD(who_has_no_note_left_frees_first)
IN_A_CHILD(a_reference_to_no_message_is_a_lie)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_has_no_seat_is_met_later, member_clear),
        cmocka_unit_test_setup(a_ring_without_a_beginning_is_damaged, member_clear),
        cmocka_unit_test_setup(a_file_without_a_ring_is_damaged, member_clear),
        cmocka_unit_test_setup(who_dies_without_a_word_is_found, member_clear),
        cmocka_unit_test_setup(zeros_where_a_message_was_are_not_nothing, member_clear),
        cmocka_unit_test_setup(of_many_those_come_that_can, member_clear),
        cmocka_unit_test_setup(who_polls_and_was_cut_off_stays_dark, member_clear),
        cmocka_unit_test_setup(who_has_no_note_left_frees_first, member_clear),
        cmocka_unit_test_setup(a_reference_to_no_message_is_a_lie, member_clear),
    };
    return cmocka_run_group_tests_name("feed", tests, member_begin, room_end);
}
