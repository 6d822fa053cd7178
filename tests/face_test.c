/* SPDX-License-Identifier: MIT
 *
 * What the one API refuses, and how it says so: what is not there, what a role or a mechanism has not, options out of their range; and lists
 * that are cut short, or whose lines somebody has scribbled on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "include/thirl/advise.h"
#include "tests/member.h"

static bool says(const char *part) {
    return strstr(thirl_why(), part) != NULL;
}

static thirl *at(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    if (thirl_open(&end, role, address, NULL) != 0) (void)fprintf(stderr, "%s\n", thirl_why());
    return end;
}

static int do_what_is_not_there_is_refused(void *nothing) {
    (void)nothing;
    char address[THIRL_TOPIC_MAX], byte = 0;
    struct iovec parts[2] = {{&byte, 1}, {NULL, 0}};
    size_t count = 1;
    thirl_msg *none = NULL;
    CHECK(thirl_mechanisms(NULL, NULL) == -EINVAL && thirl_list(NULL, NULL) == -EINVAL);
    CHECK(thirl_left(NULL, NULL) == -EINVAL && thirl_clean(NULL) == -EINVAL && says("NULL"));
    CHECK(thirl_fd(NULL) == -EINVAL && thirl_peer_pidfd(NULL) == -EINVAL && says("never opened"));
    CHECK(thirl_hand(NULL, address, sizeof address) == -EINVAL);
    CHECK(thirl_send_many(NULL, parts, &count, THIRL_NOW) == -EINVAL && count == 0);
    count = 1;
    CHECK(thirl_recv_many(NULL, &byte, 1, parts, &count, THIRL_NOW) == -EINVAL && count == 0);
    CHECK(thirl_done(NULL) == -EINVAL && thirl_done(&none) == -EINVAL && thirl_requeue(&none) == -EINVAL);
    CHECK(thirl_msg_data(NULL) == NULL && thirl_msg_size(NULL) == 0 && *thirl_msg_topic(NULL) == '\0');
    CHECK(thirl_msg_times(NULL) == 0 && thirl_msg_lost(NULL) == 0 && thirl_msg_again(NULL) == 0);
    CHECK(thirl_msg_number(NULL) == 0 && thirl_msg_priority(NULL) == 0 && thirl_msg_descriptors(NULL) == 0);
    CHECK(thirl_msg_set_priority(NULL, 1) == -EINVAL && says("loans only"));
    CHECK(thirl_msg_attach(NULL, 0) == -EINVAL && thirl_msg_detach(NULL, 0) == -ENOENT);
    return 0;
}
IN_A_CHILD(what_is_not_there_is_refused)

static int do_there_is_no_receiving_into_nothing(void *nothing) {
    (void)nothing;
    thirl *end = at(THIRL_PAIR, "shm://face");
    char bytes[8];
    struct iovec parts[1];
    size_t count = 1, none = 0;
    CHECK(end != NULL && thirl_recv_many(end, NULL, 1, parts, &count, THIRL_NOW) == -EINVAL);
    CHECK(thirl_recv_many(end, bytes, sizeof bytes, NULL, &count, THIRL_NOW) == -EINVAL);
    CHECK(thirl_recv_many(end, bytes, sizeof bytes, parts, NULL, THIRL_NOW) == -EINVAL && says("no room"));
    CHECK(thirl_recv_many(end, bytes, sizeof bytes, parts, &none, THIRL_NOW) == -EINVAL);
    CHECK(thirl_recv_many(end, NULL, 0, parts, &count, THIRL_NOW) == -EAGAIN && count == 0);
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(there_is_no_receiving_into_nothing)

static int stop(void *count, const struct thirl_mechanism *seen) {
    (void)seen;
    return ++*(int *)count == 1 ? 7 : 0;
}

static int stop_left(void *count, const struct thirl_left *seen) {
    (void)seen;
    return ++*(int *)count == 1 ? 9 : 0;
}

static int do_a_list_ends_when_it_is_told_to(void *nothing) {
    (void)nothing;
    int seen = 0;
    CHECK(thirl_mechanisms(stop, &seen) == 7 && seen == 1);
    CHECK(thirl_mechanisms(stop, &seen) == 0 && seen > 10);
    thirl *end = at(THIRL_PUSH, "shm://left");
    for (int i = 0; i < 3; i++) CHECK(end != NULL && thirl_send(end, "job", 3, thirl_in_ms(2000)) == 0);
    CHECK(thirl_clean("auto://left") == -EBUSY && says("in use"));
    CHECK(thirl_close(&end, THIRL_NOW) == 0); /* the channel keeps them */
    seen = 0;
    CHECK(thirl_left(stop_left, &seen) == 9 && seen == 1);
    CHECK(thirl_clean("auto://left") == 3); /* what that went over keeps it */
    CHECK(thirl_clean("auto://left") == -ENOENT && says("has left nothing"));
    seen = 1;
    CHECK(thirl_left(stop_left, &seen) == 0 && seen == 1);
    return 0;
}
IN_A_CHILD(a_list_ends_when_it_is_told_to)

static int do_a_struct_has_a_size_that_can_be(void *nothing) {
    (void)nothing;
    static struct {
        struct thirl_limits limits;
        char more[70000];
    } large;
    thirl *end = at(THIRL_PAIR, "shm://face");
    CHECK(end != NULL);
    static const size_t wrong[] = {0, sizeof(size_t) - 1, 65537, SIZE_MAX};
    for (int i = 0; i < 4; i++) {
        large.limits.size = wrong[i];
        large.limits.message_max = 77;
        CHECK(thirl_limits(end, &large.limits) == -EINVAL && says("sizeof") && large.limits.message_max == 77);
    }
    memset(large.more, 1, sizeof large.more);
    large.limits.size = 65536;
    CHECK(thirl_limits(end, &large.limits) == 0 && large.limits.message_max != 77 && large.more[0] == 0);
    CHECK(large.more[65536 - sizeof large.limits - 1] == 0 && large.more[65536 - sizeof large.limits] == 1);
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(a_struct_has_a_size_that_can_be)

static int count_strange(void *count, const struct thirl_seen *seen) {
    *(int *)count += strcmp(seen->role, "?") == 0 && strcmp(seen->state, "?") == 0;
    return 0;
}

/* A line of the registry says what its process has written. */
static int do_a_line_may_say_anything(void *nothing) {
    (void)nothing;
    static const uint32_t roles[] = {99, 0};
    thirl *end = at(THIRL_PAIR, "shm://face");
    CHECK(end != NULL);
    uint32_t role = end->seen->role, state = end->seen->state;
    for (int i = 0; i < 2; i++) {
        int strange = 0;
        end->seen->role = roles[i];
        end->seen->state = 99;
        CHECK(thirl_list(count_strange, &strange) == 0 && strange == 1);
    }
    end->seen->role = role;
    end->seen->state = state;
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(a_line_may_say_anything)

static int refuses(enum thirl_role role, const char *address, const struct thirl_options *options, int code,
                   const char *part) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address, options);
    CHECK(rc == code && end == NULL && says(part));
    return 0;
}

static int do_options_out_of_their_range_are_refused(void *nothing) {
    (void)nothing;
    static const struct thirl_type unnamed = {.size = sizeof unnamed};
    struct thirl_options options[] = {THIRL_OPTIONS, THIRL_OPTIONS, THIRL_OPTIONS, THIRL_OPTIONS, THIRL_OPTIONS};
    options[0].wait = THIRL_WAIT_SLEEP + 1;
    options[1].mode = 01000;
    options[2].timeout = -1;
    options[3].type = THIRL_DATAGRAM + 1;
    options[4].full = THIRL_FULL_DISCONNECT + 1;
    static const char *const names[] = {"wait is 3", "mode is 512", "timeout is -1", "type is 4", "full is 7"};
    for (int i = 0; i < 5; i++) CHECK(refuses(THIRL_PAIR, "shm://face", &options[i], -EINVAL, names[i]) == 0);
    struct thirl_options one = THIRL_OPTIONS;
    one.pool = (UINT64_C(64) << 30) + 1;
    CHECK(refuses(THIRL_PAIR, "shm://face", &one, -EINVAL, "64 GiB") == 0);
    one.pool = 4096;
    CHECK(refuses(THIRL_PAIR, "unix://@face", &one, -EOPNOTSUPP, "has no pool") == 0);
    one = THIRL_OPTIONS;
    one.of = &unnamed;
    CHECK(refuses(THIRL_PAIR, "shm://face", &one, -EINVAL, "needs a name") == 0);
    CHECK(refuses(THIRL_PUSH, "shm://face?retry", NULL, -EOPNOTSUPP, "for the role call") == 0);
    CHECK(refuses(THIRL_READ, "shm://face?full=fail", NULL, -EOPNOTSUPP, "?full=fail") == 0);
    CHECK(refuses(THIRL_PUSH, "udp://127.0.0.1:40404?full=fail", NULL, -EOPNOTSUPP, "?full=fail") == 0);
    CHECK(refuses(THIRL_PAIR, "shm://face?full=drop-oldest", NULL, -EOPNOTSUPP, "?full=drop-oldest") == 0);
    CHECK(refuses(THIRL_PAIR, "unix://@face?type=datagram&full=latest", NULL, -EOPNOTSUPP, "?full=latest") == 0);
    return 0;
}
IN_A_CHILD(options_out_of_their_range_are_refused)

/* Only sockets have types; elsewhere that option says nothing. */
static int do_a_datagram_is_what_a_mechanism_makes_of_it(void *nothing) {
    (void)nothing;
    thirl *end = at(THIRL_PAIR, "shm://face?type=datagram");
    struct thirl_limits limits = {.size = sizeof limits};
    CHECK(end != NULL && thirl_limits(end, &limits) == 0 && limits.reliable && limits.boundaries);
    return thirl_close(&end, THIRL_NOW);
}
IN_A_CHILD(a_datagram_is_what_a_mechanism_makes_of_it)

static int do_messages_of_calls_have_calls_of_their_own(void *nothing) {
    (void)nothing;
    char bytes[8];
    thirl *caller = at(THIRL_CALL, "shm://ask"), *server = at(THIRL_SERVE, "shm://ask");
    CHECK(caller != NULL && server != NULL);
    for (int i = 0; i < 2; i++) {
        thirl *end = i == 0 ? caller : server;
        const char *instead = i == 0 ? "thirl_ask" : "thirl_reply";
        struct iovec parts[1] = {{bytes, 8}};
        size_t count = 1;
        CHECK(thirl_send_many(end, parts, &count, THIRL_NOW) == -THIRL_EROLE && count == 0 && says(instead));
        count = 1;
        CHECK(thirl_recv_many(end, bytes, 8, parts, &count, THIRL_NOW) == -THIRL_EROLE && count == 0 && says(instead));
    }
    CHECK(thirl_close(&caller, THIRL_NOW) == 0 && thirl_close(&server, THIRL_NOW) == 0);
    return 0;
}
IN_A_CHILD(messages_of_calls_have_calls_of_their_own)

static int do_who_cannot_has_nothing_to_wait_for(void *nothing) {
    (void)nothing;
    thirl *reader = at(THIRL_READ, "shm://face?timeout=10ms"), *writer = at(THIRL_WRITE, "shm://face?timeout=60ms");
    CHECK(reader != NULL && writer != NULL);
    struct thirl_want both[2] = {{.end = reader, .fd = -1, .wanted = THIRL_WANT_MESSAGE},
                                 {.end = writer, .fd = -1, .wanted = THIRL_WANT_MESSAGE | THIRL_WANT_ROOM}};
    CHECK(thirl_wait(both, 2, THIRL_NOW) == -THIRL_EROLE && says("does not receive"));
    both[1].wanted = THIRL_WANT_MESSAGE;
    CHECK(thirl_wait(both + 1, 1, THIRL_NOW) == -THIRL_EROLE);
    both[0].wanted = THIRL_WANT_ROOM;
    CHECK(thirl_wait(both, 2, THIRL_NOW) == -THIRL_EROLE && says("does not send"));
    both[0].wanted = 8;
    CHECK(thirl_wait(both, 2, THIRL_NOW) == -EINVAL && says("THIRL_WANT_ROOM"));
    both[0].wanted = THIRL_WANT_MESSAGE;
    both[1].wanted = 0;
    CHECK(thirl_wait(both, 2, THIRL_SOON) == -ETIMEDOUT && thirl_wait(both, 1, THIRL_SOON) == -ETIMEDOUT);
    CHECK(thirl_close(&reader, THIRL_NOW) == 0 && thirl_close(&writer, THIRL_NOW) == 0);
    return 0;
}
IN_A_CHILD(who_cannot_has_nothing_to_wait_for)

static thirl_msg *taken;
static thirl *ended;

static int give_back_what_is_the_parents(void *nothing) {
    (void)nothing;
    thirl_msg *mine = taken;
    CHECK(thirl_done(&mine) == -THIRL_EFORKED && mine == taken && thirl_requeue(&mine) == -THIRL_EFORKED);
    CHECK(thirl_peer_pidfd(ended) == -THIRL_EFORKED);
    struct thirl_want want = {.end = ended, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    CHECK(thirl_wait(&want, 1, THIRL_NOW) == -THIRL_EFORKED);
    return 0;
}

static int do_what_was_taken_is_no_loan(void *nothing) {
    (void)nothing;
    char address[100];
    (void)snprintf(address, sizeof address, "unix://%s/socket?descriptors=16", room_path);
    thirl *a = at(THIRL_PAIR, address), *b = at(THIRL_PAIR, address);
    thirl_msg *loan;
    CHECK(a != NULL && b != NULL && thirl_loan(a, &loan, 4, thirl_in_ms(2000)) == 0);
    CHECK(thirl_msg_set_priority(loan, 1) == -EOPNOTSUPP && says("no priorities") && thirl_msg_priority(loan) == 0);
    for (int i = 0; i < THIRL_DESCRIPTORS_MAX; i++) CHECK(thirl_msg_attach(loan, 0) == 0);
    CHECK(thirl_msg_attach(loan, 0) == -EBUSY && says("at most"));
    CHECK(thirl_msg_descriptors(loan) == THIRL_DESCRIPTORS_MAX && thirl_done(&loan) == -EINVAL);
    CHECK(thirl_put(a, &loan, thirl_in_ms(2000)) == 0 && thirl_take(b, &taken, thirl_in_ms(2000)) == 0);
    CHECK(thirl_msg_set_priority(taken, 0) == -EINVAL && thirl_msg_attach(taken, 0) == -EINVAL);
    CHECK(thirl_msg_trim(taken, 1) == -EINVAL && says("only a loan"));
    ended = b;
    CHECK(room_run(give_back_what_is_the_parents, NULL) == 0);
    int fd = thirl_msg_detach(taken, 3);
    CHECK(fd >= 0 && close(fd) == 0 && thirl_msg_detach(taken, 3) == -ENOENT);
    CHECK(thirl_msg_detach(taken, THIRL_DESCRIPTORS_MAX) == -ENOENT && thirl_done(&taken) == 0 && taken == NULL);
    CHECK(thirl_close(&a, THIRL_NOW) == 0 && thirl_close(&b, THIRL_NOW) == 0);
    return 0;
}
IN_A_CHILD(what_was_taken_is_no_loan)

static int do_descriptors_do_not_travel_everywhere(void *nothing) {
    (void)nothing;
    thirl *end = at(THIRL_PAIR, "shm://face"), *peer = at(THIRL_PAIR, "shm://face");
    thirl_msg *loan;
    CHECK(end != NULL && peer != NULL && thirl_loan(end, &loan, 4, THIRL_NOW) == 0);
    CHECK(thirl_msg_attach(loan, 0) == -EOPNOTSUPP && says("cannot travel"));
    thirl_free(&loan);
    CHECK(thirl_close(&end, THIRL_NOW) == 0 && thirl_close(&peer, THIRL_NOW) == 0);
    return 0;
}
IN_A_CHILD(descriptors_do_not_travel_everywhere)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_not_there_is_refused, member_clear),
        cmocka_unit_test_setup(there_is_no_receiving_into_nothing, member_clear),
        cmocka_unit_test_setup(a_list_ends_when_it_is_told_to, member_clear),
        cmocka_unit_test_setup(a_struct_has_a_size_that_can_be, member_clear),
        cmocka_unit_test_setup(a_line_may_say_anything, member_clear),
        cmocka_unit_test_setup(options_out_of_their_range_are_refused, member_clear),
        cmocka_unit_test_setup(a_datagram_is_what_a_mechanism_makes_of_it, member_clear),
        cmocka_unit_test_setup(messages_of_calls_have_calls_of_their_own, member_clear),
        cmocka_unit_test_setup(who_cannot_has_nothing_to_wait_for, member_clear),
        cmocka_unit_test_setup(what_was_taken_is_no_loan, member_clear),
        cmocka_unit_test_setup(descriptors_do_not_travel_everywhere, member_clear),
    };
    return cmocka_run_group_tests(tests, member_begin, room_end);
}
