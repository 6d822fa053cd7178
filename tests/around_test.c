/* SPDX-License-Identifier: MIT
 *
 * What is put around a mechanism, ?hurt= and ?deadline=, around one that answers what it is told: rare answers, and how they are
 * passed on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "mech/hurt.h"
#include "mech/spy.h"
#include "mech/vigil.h"
#include "tests/famine.h"
#include "tests/puppet.h"
#include "tests/room.h"

static char text[5000], buffer[5000];
static size_t size, done;

static void says(int rc, int code, const char *why) {
    if (rc != code || strstr(thirl_why(), why) == NULL) {
        fail_msg("%d, not %d: %s", rc, code, thirl_why());
    }
}

static int is_new(void **state) {
    (void)state;
    puppet_new();
    size = done = 0;
    return 0;
}

/* How many descriptors this process may open from now on; -1: as many as ever. */
static void may_open(int more) {
    static struct rlimit before;
    struct rlimit now;
    if (more < 0) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        return;
    }
    int next = fcntl(0, F_DUPFD_CLOEXEC, 0);
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)next + (rlim_t)more;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* What is put around all of them has what each of them has, and nothing that it has not. */
static void wraps(const struct mech *mech) {
    struct thirl_options options = THIRL_OPTIONS;
    options.hurt = "1:again";
    for (int kind = 0; kind < 3; kind++) {
        const struct mech *outer = mech;
        int rc = kind == 0   ? spy_wrap(&outer)
                 : kind == 1 ? hurt_wrap(&outer, "x://y", &options)
                             : vigil_wrap(&outer, "x://y");
        if (kind == 2 && (mech->roles & (1u << THIRL_CALL | 1u << THIRL_SERVE)) != 0) {
            says(rc, -EOPNOTSUPP, "?deadline is not for calls");
            continue;
        }
        assert_int_equal(rc, 0);
        assert_true(outer->inner == mech && outer->open != mech->open);
        assert_true(mech->close && mech->deinit && mech->limits && mech->look && mech->arm && mech->disarm &&
                    mech->fd && mech->peer);
#define SAME(slot) assert_true((outer->slot == NULL) == (mech->slot == NULL))
        SAME(flush), SAME(send), SAME(recv), SAME(send_many), SAME(recv_many), SAME(send_noted), SAME(recv_noted);
        SAME(loan), SAME(put), SAME(take), SAME(free), SAME(take_noted), SAME(choose), SAME(wake), SAME(server);
        SAME(ready), SAME(requeue), SAME(skip), SAME(spin), SAME(pidfd), SAME(hand);
#undef SAME
        mech_unwrap(outer);
    }
}

static void every_mechanism_can_be_wrapped(void **state) {
    (void)state;
    for (size_t i = 0; mech_table[i] != NULL; i++) {
        for (const struct mech *kin = mech_table[i]; kin != NULL; kin = kin->kin) {
            if (kin->open != NULL) { /* auto:// becomes another one first */
                wraps(kin);
            }
            if (kin->wild != NULL) {
                wraps(kin->wild);
            }
        }
        for (const struct mech *kin = mech_table[i]->datagram; kin != NULL; kin = kin->kin) {
            wraps(kin);
        }
    }
}

static void without_memory_nothing_is_put_around(void **state) {
    struct thirl_options options = THIRL_OPTIONS;
    const struct mech *outer[] = {&puppet_mech, &puppet_mech, &puppet_mech};
    int rc[3];
    (void)state;
    options.hurt = "1:again";
    if (!famine_begin()) {
        skip();
    }
    rc[0] = spy_wrap(&outer[0]);
    rc[1] = hurt_wrap(&outer[1], "x://y", &options);
    rc[2] = vigil_wrap(&outer[2], "x://y");
    famine_end();
    for (int i = 0; i < 3; i++) {
        says(rc[i], -ENOMEM, "no memory for what is to be put around puppet");
        assert_ptr_equal(outer[i], &puppet_mech);
    }
}

/* ---- ?hurt= ---- */

static const struct mech *hurt_mech;
static struct mech within; /* the puppet, without some slots */

static void *hurt_role(enum thirl_role role, const char *hurt) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    options.hurt = hurt;
    hurt_mech = &within;
    assert_int_equal(hurt_wrap(&hurt_mech, "puppet://x", &options), 0);
    void *self = puppet_open(hurt_mech, role, "puppet://x", &options, &rc);
    assert_int_equal(rc, 0);
    return self;
}

/* Without take_noted, which would be in the way of recv_noted. */
static void *hurt(const char *how) {
    within = puppet_mech;
    within.take_noted = NULL;
    return hurt_role(THIRL_PAIR, how);
}

static void ends_hurt(void *self) {
    puppet_close(hurt_mech, self);
    assert_true(puppet.closed == 1 && puppet.deinited == 1);
    mech_unwrap(hurt_mech);
}

static void a_twin_that_is_half_on_its_way_is_settled(void **state) {
    void *self = hurt("1:double/1");
    (void)state;
    puppet.went = 2;
    PUPPET_SAYS(0, -EAGAIN);
    assert_int_equal(hurt_mech->send(self, text, 5, &done, false), 0);
    assert_true(puppet.tries == 3 && puppet.settled == 3);
    puppet.went = 0; /* there is no room for the twin: then there is none */
    PUPPET_SAYS(0, -EAGAIN);
    done = 0;
    assert_int_equal(hurt_mech->send(self, text, 5, &done, false), 0);
    assert_true(puppet.tries == 2 && puppet.settled == 3);
    assert_int_equal(hurt_mech->look(self, MECH_OUT), 0);
    assert_int_equal(puppet.tries, 3); /* nothing is left to say */
    ends_hurt(self);
}

static void a_twin_stays_half_where_nothing_settles(void **state) {
    (void)state;
    within = puppet_mech;
    within.settle = NULL;
    void *self = hurt_role(THIRL_PAIR, "1:double/1");
    puppet.went = 2;
    PUPPET_SAYS(0, -EAGAIN);
    assert_int_equal(hurt_mech->send(self, text, 5, &done, false), 0);
    assert_true(puppet.tries == 2 && puppet.sent == 1 && puppet.settled == 0);
    ends_hurt(self);
}

static void an_error_of_the_twin_is_told_by_the_next_call(void **state) {
    void *self = hurt("1:double/1");
    struct mech_watch watch;
    (void)state;
    (void)snprintf(puppet.said, sizeof puppet.said, "the pipe is full of eels");
    PUPPET_SAYS(0, -EPIPE);
    assert_int_equal(hurt_mech->send(self, text, 5, &done, false), 0);
    assert_int_equal(hurt_mech->look(self, MECH_OUT), 0);
    assert_int_equal(hurt_mech->arm(self, MECH_OUT, &watch), 1);
    assert_true(hurt_mech->ready(self, MECH_OUT) && !hurt_mech->ready(self, MECH_IN));
    (void)err_say(EINVAL, "something else");
    done = 0;
    says(hurt_mech->send(self, text, 5, &done, false), -EPIPE, "eels");
    assert_int_equal(puppet.tries, 2); /* the inner one was not asked */
    assert_false(hurt_mech->ready(self, MECH_OUT));
    ends_hurt(self);
}

static void what_is_too_large_is_refused_and_not_lost(void **state) {
    void *self = hurt("1:lose/1");
    (void)state;
    assert_int_equal(hurt_mech->send(self, text, 5, &done, false), 0);
    assert_true(puppet.sent == 0 && puppet_line.out.lost == 1);
    PUPPET_SAYS(-EMSGSIZE);
    done = 0;
    assert_int_equal(hurt_mech->send(self, text, 2000, &done, false), -EMSGSIZE);
    assert_true(puppet.tries == 1 && puppet_line.out.lost == 1);
    ends_hurt(self);
}

static void an_end_behind_a_swapped_message_is_not_lost(void **state) {
    void *self = hurt("1:swap/1");
    (void)state;
    PUPPET_SAYS(0, THIRL_END);
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), 0);
    assert_int_equal(hurt_mech->look(self, MECH_IN), 0);
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), THIRL_END);
    assert_int_equal(puppet.tries, 2);
    ends_hurt(self);
}

static bool is_closed(int fd) {
    return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

static void descriptors_that_nobody_takes_are_closed(void **state) {
    int first = fcntl(0, F_DUPFD_CLOEXEC, 200), second = fcntl(0, F_DUPFD_CLOEXEC, 200);
    struct mech_watch watch;
    void *self = hurt("1:swap/1");
    (void)state;
    puppet.carries = first;
    puppet.size = 3000;
    assert_int_equal(hurt_mech->recv(self, buffer, 10, &size, false), -EMSGSIZE); /* both are in hand */
    assert_true(size == 3000 && hurt_mech->ready(self, MECH_IN));
    assert_int_equal(hurt_mech->arm(self, MECH_IN, &watch), 1);
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), 0);
    assert_false(is_closed(first)); /* it came with the one that was let pass */
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), 0);
    assert_true(is_closed(first));
    puppet.carries = second;
    assert_int_equal(hurt_mech->recv(self, buffer, 10, &size, false), -EMSGSIZE);
    ends_hurt(self); /* with two in hand */
    assert_true(is_closed(second));
    puppet_new();
    int third = fcntl(0, F_DUPFD_CLOEXEC, 200);
    puppet.carries = third;
    self = hurt("1:swap/1");
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), 0);
    ends_hurt(self); /* with one */
    assert_true(is_closed(third));
}

static void no_memory_for_a_message_is_said(void **state) {
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator ends the process */
#endif
    void *self = hurt("1:swap/1");
    puppet.size = SIZE_MAX / 4;
    says(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), -ENOMEM, "no memory for a message");
    puppet.size = 5;
    assert_int_equal(hurt_mech->recv(self, buffer, sizeof buffer, &size, false), 0);
    ends_hurt(self);
}

/* A piece of a stream that is half on its way: nothing comes between, and giving up settles that piece. */
static void a_piece_of_a_stream_is_settled(void **state) {
    const struct iovec many[] = {{text, 3}, {text, 3}};
    (void)state;
    for (int settles = 0; settles < 2; settles++) {
        puppet_new();
        within = puppet_mech;
        within.settle = settles ? puppet_mech.settle : NULL;
        void *self = hurt_role(THIRL_WRITE, "1:short@99");
        size_t count = 2;
        puppet.went = 3;
        done = 0;
        PUPPET_SAYS(-EAGAIN);
        assert_int_equal(hurt_mech->send(self, text, 10, &done, false), -EAGAIN);
        assert_int_equal(done, 3);
        assert_int_equal(hurt_mech->send_many(self, many, &count, &size), 1);
        assert_true(count == 0 && puppet.tries == 1);
        assert_int_equal(hurt_mech->settle(self, text, 10, done), 0);
        assert_int_equal(puppet.settled, settles ? 7 : 0);
        assert_int_equal(hurt_mech->settle(self, text, 10, done), 0); /* nothing is on its way any more */
        assert_int_equal(puppet.settled, settles ? 7 : 0);
        count = 2;
        assert_int_equal(hurt_mech->send_many(self, many, &count, &size), 0);
        assert_int_equal(count, 2);
        ends_hurt(self);
    }
}

static void a_message_is_settled_as_it_stands(void **state) {
    void *self = hurt("1:again@99");
    (void)state;
    assert_int_equal(hurt_mech->settle(self, text, 10, 4), 0);
    assert_int_equal(puppet.settled, 6);
    ends_hurt(self);
}

static void what_is_taken_with_a_note_fails_as_told(void **state) {
    struct mech_piece piece;
    struct mech_note note = {.count = 0};
    (void)state;
    within = puppet_mech;
    void *self = hurt_role(THIRL_PAIR, "1:fail=EIO@1");
    PUPPET_SAYS(0);
    says(hurt_mech->take_noted(self, &piece, &note, false), -EIO, "lets call 1 to receive fail");
    assert_int_equal(puppet.tries, 0);
    assert_int_equal(hurt_mech->take_noted(self, &piece, &note, true), 0);
    assert_true(piece.size == 5 && puppet.waited);
    ends_hurt(self);
}

/* What lies in place is copied for a receive: once it fits, and with nothing taken in between. */
static void what_is_taken_is_kept_for_a_larger_buffer(void **state) {
    struct mech_note note = {.count = 0};
    (void)state;
    within = puppet_mech;
    void *self = hurt_role(THIRL_PAIR, "1:fail=EIO@1,flip@99");
    PUPPET_SAYS(0);
    says(hurt_mech->recv_noted(self, buffer, sizeof buffer, &size, &note, false), -EIO, "lets call 1 to receive fail");
    assert_int_equal(puppet.tries, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hurt_mech->recv_noted(self, buffer, 4, &size, &note, false), -EMSGSIZE);
        assert_true(size == 5 && puppet.tries == 1 && puppet.freed == 0);
    }
    assert_int_equal(hurt_mech->recv_noted(self, buffer, 5, &size, &note, false), 0);
    assert_true(size == 5 && memcmp(buffer, "xxxxx", 5) == 0 && puppet.tries == 1 && puppet.freed == 1);
    puppet.size = 0; /* of nothing there need be no place */
    assert_int_equal(hurt_mech->recv_noted(self, NULL, 0, &size, &note, false), 0);
    assert_true(size == 0 && puppet.tries == 2 && puppet.freed == 2);
    ends_hurt(self);
}

static void readiness_is_passed_on(void **state) {
    (void)state;
    void *self = hurt("1:again@99");
    for (int ready = 0; ready < 2; ready++) {
        puppet.ready = ready != 0;
        assert_int_equal(hurt_mech->ready(self, MECH_IN), ready);
        assert_int_equal(hurt_mech->ready(self, MECH_OUT), ready);
    }
    ends_hurt(self);
}

/* Where it turns out after the opening that there are no boundaries. */
static void bytes_are_not_lost_doubled_or_swapped(void **state) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    (void)state;
    puppet.bytes = true;
    options.hurt = "1:lose";
    hurt_mech = &puppet_mech;
    assert_int_equal(hurt_wrap(&hurt_mech, "puppet://x", &options), 0);
    assert_null(puppet_open(hurt_mech, THIRL_PAIR, "puppet://x", &options, &rc));
    says(rc, -EINVAL, "a stream has none");
    assert_true(puppet.closed == 1 && puppet.deinited == 1);
    mech_unwrap(hurt_mech);
    puppet.closed = puppet.deinited = 0;
    ends_hurt(hurt("1:again"));
    puppet.closed = puppet.deinited = 0;
    puppet.promises = false; /* a seed alone loses where nothing is promised, but no bytes */
    void *self = hurt("1");
    for (int i = 0; i < 400; i++) {
        done = 0;
        int sent = hurt_mech->send(self, text, 1, &done, false);
        assert_true(sent == 0 || sent == -EAGAIN);
    }
    assert_int_equal(puppet_line.out.lost, 0);
    ends_hurt(self);
}

static void a_descriptor_for_what_is_in_hand(void **state) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), bell = eventfd(0, EFD_CLOEXEC), fd = -1;
    unsigned before = room_descriptors();
    void *self = hurt("1:swap/1");
    (void)state;
    PUPPET_SAYS(-EMFILE);
    assert_int_equal(hurt_mech->fd(self, MECH_IN, &fd), -EMFILE);
    puppet.fd = file; /* no epoll takes a file */
    says(hurt_mech->fd(self, MECH_IN, &fd), -EPERM, "no descriptor for an event loop");
    puppet.fd = bell;
    for (int more = 0; more < 2; more++) {
        may_open(more);
        int rc = hurt_mech->fd(self, MECH_IN, &fd);
        may_open(-1);
        says(rc, -EMFILE, "no descriptor for an event loop");
        assert_int_equal(room_descriptors(), before);
    }
    assert_int_equal(hurt_mech->fd(self, MECH_OUT, &fd), 0);
    assert_int_equal(fd, bell);
    assert_int_equal(hurt_mech->fd(self, MECH_IN, &fd), 0);
    assert_true(fd != bell);
    int again = -1;
    assert_int_equal(hurt_mech->fd(self, MECH_IN, &again), 0);
    assert_int_equal(again, fd);
    ends_hurt(self);
    assert_int_equal(room_descriptors(), before);
    fd_close(&file);
    fd_close(&bell);
}

/* ---- ?deadline= ---- */

static const struct mech *vigil_mech;

static void *watched(int64_t deadline) {
    struct thirl_options options = THIRL_OPTIONS;
    int rc;
    options.deadline = deadline;
    vigil_mech = &puppet_mech;
    assert_int_equal(vigil_wrap(&vigil_mech, "puppet://x"), 0);
    void *self = puppet_open(vigil_mech, THIRL_PAIR, "puppet://x", &options, &rc);
    assert_int_equal(rc, 0);
    return self;
}

static void ends_watch(void *self) {
    puppet_close(vigil_mech, self);
    mech_unwrap(vigil_mech);
}

static void sleeps_inside_only_while_there_is_time(void **state) {
    static const struct {
        int64_t deadline;
        bool wait, waits;
    } cases[] = {{3600 * CLOCK_S, true, true}, {3600 * CLOCK_S, false, false}, {10 * CLOCK_MS, true, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *self = watched(cases[i].deadline);
        assert_int_equal(vigil_mech->recv(self, buffer, sizeof buffer, &size, cases[i].wait), 0);
        assert_int_equal(puppet.waited, cases[i].waits);
        ends_watch(self);
    }
}

/* Whatever comes is no silence, be it damaged or too old; who is gone is not silent either. */
static void what_cannot_be_used_breaks_the_silence(void **state) {
    static const int codes[] = {-EBADMSG, -THIRL_EEXPIRED, 0};
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        void *self = watched(CLOCK_S);
        room_sleep(5 * CLOCK_MS);
        PUPPET_SAYS(codes[i]);
        int64_t before = clock_now();
        assert_int_equal(vigil_mech->recv(self, buffer, sizeof buffer, &size, false), codes[i]);
        struct mech_watch watch;
        assert_int_equal(vigil_mech->arm(self, MECH_IN, &watch), 0);
        assert_true(watch.slice >= CLOCK_S - (clock_now() - before)); /* it runs anew */
        ends_watch(self);
    }
    void *self = watched(CLOCK_MS);
    room_sleep(2 * CLOCK_MS);
    PUPPET_SAYS(-THIRL_EPEERDIED, THIRL_END, -EAGAIN, -EAGAIN);
    assert_int_equal(vigil_mech->recv(self, buffer, sizeof buffer, &size, false), -THIRL_EPEERDIED);
    assert_int_equal(vigil_mech->recv(self, buffer, sizeof buffer, &size, false), THIRL_END);
    says(vigil_mech->recv(self, buffer, sizeof buffer, &size, false), -THIRL_ESILENT, "nobody sent nothing");
    assert_int_equal(puppet_line.in.silences, 1);
    ends_watch(self);
}

static void a_silence_is_found_however_one_waits(void **state) {
    struct mech_watch watch;
    void *self = watched(20 * CLOCK_MS);
    (void)state;
    PUPPET_SAYS(-EAGAIN);
    assert_int_equal(vigil_mech->arm(self, MECH_OUT, &watch), -EAGAIN);
    room_sleep(21 * CLOCK_MS);
    puppet.ready = true;
    assert_true(vigil_mech->ready(self, MECH_OUT) && vigil_mech->ready(self, MECH_IN));
    puppet.ready = false;
    assert_true(!vigil_mech->ready(self, MECH_OUT) && vigil_mech->ready(self, MECH_IN));
    PUPPET_SAYS(-EAGAIN, -EAGAIN, -EPIPE);
    assert_int_equal(vigil_mech->look(self, MECH_IN), 0);
    assert_int_equal(vigil_mech->look(self, MECH_OUT), -EAGAIN);
    assert_int_equal(vigil_mech->look(self, MECH_IN), -EPIPE);
    PUPPET_SAYS(0, 0, 1);
    assert_int_equal(vigil_mech->arm(self, MECH_IN, &watch), 1); /* it is over already: nobody sleeps */
    assert_int_equal(puppet.disarmed, 1);
    assert_int_equal(vigil_mech->arm(self, MECH_OUT, &watch), 0);
    assert_int_equal(vigil_mech->arm(self, MECH_IN, &watch), 1);
    assert_int_equal(puppet.disarmed, 1);
    PUPPET_SAYS(-EAGAIN, -EAGAIN);
    assert_int_equal(vigil_mech->recv(self, buffer, sizeof buffer, &size, true), -THIRL_ESILENT);
    assert_int_equal(vigil_mech->look(self, MECH_IN), -EAGAIN);
    PUPPET_SAYS(0);
    assert_int_equal(vigil_mech->arm(self, MECH_IN, &watch), 0);
    assert_true(watch.slice > 0 && watch.slice <= 20 * CLOCK_MS);
    ends_watch(self);
}

static void a_send_that_fails_ends_no_silence(void **state) {
    void *self = watched(CLOCK_MS);
    (void)state;
    room_sleep(3 * CLOCK_MS);
    PUPPET_SAYS(-EPIPE, 0);
    assert_int_equal(vigil_mech->send(self, text, 5, &done, false), -EPIPE);
    assert_int_equal(puppet_line.out.silences, 0);
    assert_int_equal(vigil_mech->send(self, text, 5, &done, false), 0);
    assert_true(puppet_line.out.silences >= 2);
    ends_watch(self);
}

static void a_descriptor_that_tells_of_silence(void **state) {
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), bell = eventfd(0, EFD_CLOEXEC), fd = -1;
    unsigned before = room_descriptors();
    void *self = watched(3600 * CLOCK_S);
    (void)state;
    PUPPET_SAYS(-EMFILE);
    assert_int_equal(vigil_mech->fd(self, MECH_IN, &fd), -EMFILE);
    puppet.fd = file;
    says(vigil_mech->fd(self, MECH_IN, &fd), -EPERM, "no descriptor for an event loop");
    puppet.fd = bell;
    for (int more = 0; more < 2; more++) {
        may_open(more);
        int rc = vigil_mech->fd(self, MECH_IN, &fd);
        may_open(-1);
        says(rc, -EMFILE, "no descriptor for an event loop");
        assert_int_equal(room_descriptors(), before);
    }
    assert_int_equal(vigil_mech->fd(self, MECH_OUT, &fd), 0);
    assert_int_equal(fd, bell);
    assert_int_equal(vigil_mech->fd(self, MECH_IN, &fd), 0);
    assert_true(fd != bell);
    ends_watch(self);
    assert_int_equal(room_descriptors(), before);
    fd_close(&file);
    fd_close(&bell);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup(name, is_new)
    const struct CMUnitTest tests[] = {
        TEST(every_mechanism_can_be_wrapped),
        TEST(without_memory_nothing_is_put_around),
        TEST(a_twin_that_is_half_on_its_way_is_settled),
        TEST(a_twin_stays_half_where_nothing_settles),
        TEST(an_error_of_the_twin_is_told_by_the_next_call),
        TEST(what_is_too_large_is_refused_and_not_lost),
        TEST(an_end_behind_a_swapped_message_is_not_lost),
        TEST(descriptors_that_nobody_takes_are_closed),
        TEST(no_memory_for_a_message_is_said),
        TEST(a_piece_of_a_stream_is_settled),
        TEST(a_message_is_settled_as_it_stands),
        TEST(what_is_taken_with_a_note_fails_as_told),
        TEST(what_is_taken_is_kept_for_a_larger_buffer),
        TEST(readiness_is_passed_on),
        TEST(bytes_are_not_lost_doubled_or_swapped),
        TEST(a_descriptor_for_what_is_in_hand),
        TEST(sleeps_inside_only_while_there_is_time),
        TEST(what_cannot_be_used_breaks_the_silence),
        TEST(a_silence_is_found_however_one_waits),
        TEST(a_send_that_fails_ends_no_silence),
        TEST(a_descriptor_that_tells_of_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
