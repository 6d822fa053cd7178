/* SPDX-License-Identifier: MIT
 *
 * A subscriber and its publishers when something is not as it should be: no place for one more seat, a damaged ring, a reference to what is
 * no message, notes that are all taken. It says so, and goes on with the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

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
IN_A_CHILD(who_has_no_note_left_frees_first)
IN_A_CHILD(a_reference_to_no_message_is_a_lie)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(who_has_no_seat_is_met_later, member_clear),
        cmocka_unit_test_setup(a_ring_without_a_beginning_is_damaged, member_clear),
        cmocka_unit_test_setup(a_file_without_a_ring_is_damaged, member_clear),
        cmocka_unit_test_setup(who_has_no_note_left_frees_first, member_clear),
        cmocka_unit_test_setup(a_reference_to_no_message_is_a_lie, member_clear),
    };
    return cmocka_run_group_tests_name("feed", tests, member_begin, room_end);
}
