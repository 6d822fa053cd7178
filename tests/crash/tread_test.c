/* SPDX-License-Identifier: MIT
 *
 * Every operation of a channel in shared memory is killed at each thing that it does for others to see: behind each of its stores to a
 * file of the registry, and before and behind each of its system calls. That is enough, and it is everything: what others find behind a
 * dead process is what its files and the kernel hold, and between two of those moments neither changes, whatever else the processor does
 * there. Where that is doubted, "all" kills at each single instruction, too.
 *
 * What is killed really dies, for the others have to notice it: each time the survivor is told by name and in time, has every message
 * once and whole, and that of the killed operation once at most; jobs that are not done come to the next worker; a fresh peer takes the
 * place, and as much as between new ends fits into each queue and each pool; and in the end nothing is left. Without a word a sample of
 * all that is tried; tread_test all [OPERATION] goes on there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/deeds.h"
#include "tests/crash/tread.h"
#include "tests/room.h"
#include "tests/step.h"

/* ---- all of them ---- */

#define OF(mine, others, how) .role = THIRL_##mine, .other = THIRL_##others, .told = TREAD_##how
#define AS_PAIR_(how) .address = "shm://x" DEED_ROOM, OF(PAIR, PAIR, how)
#define AS_PAIR AS_PAIR_(HEARS)
#define AS_IDLE .address = "shm://x" DEED_ROOM "&wait=sleep", OF(PAIR, PAIR, HEARS)
#define AS_PUB_(how) .address = "shm://x" DEED_ROOM "&full=block", .theirs = "shm://x", OF(PUB, SUB, how)
#define AS_PUB AS_PUB_(HEARS)
#define AS_SUB .address = "shm://x", .theirs = "shm://x" DEED_ROOM "&full=block", OF(SUB, PUB, NOT)
#define AS_PUSH .address = "shm://x" DEED_ROOM, OF(PUSH, PULL, NOT)
#define AS_PULL .address = "shm://x" DEED_ROOM, OF(PULL, PUSH, NOT)
#define AS_WRITE_(how) .address = "shm://x?queue=4K", OF(WRITE, READ, how)
#define AS_WRITE AS_WRITE_(HEARS)
#define AS_READ_(how) .address = "shm://x?queue=4K", OF(READ, WRITE, how)
#define AS_READ AS_READ_(SAYS)
#define AS_CALL .address = "shm://x" DEED_ROOM, OF(CALL, SERVE, NOT)
#define AS_SERVE .address = "shm://x" DEED_ROOM, OF(SERVE, CALL, NOT)
#define AS_RETRIED .address = "shm://x" DEED_ROOM, .theirs = "shm://x" DEED_ROOM "&retry", OF(SERVE, CALL, NOT)
#define AS_NOTIFY .address = "shm://x?queue=4K", OF(NOTIFY, WATCH, NOT)
#define AS_WATCH_(how) .address = "shm://x?queue=4K", OF(WATCH, NOTIFY, how)
#define AS_WATCH AS_WATCH_(SAYS)
#define SAYS(what, count) .before = deed_send_four, .met = deed_hear_three, .itself = what, .sends = count
#define SAYS_LARGE(what) .before = deed_send_four_large, .met = deed_hear_three, .itself = what, .sends = 1
#define GETS(what) .given = deed_give_six, .before = deed_get_three, .itself = what
#define GETS_LARGE(what) .given = deed_give_six_large, .before = deed_get_three, .itself = what
#define FREES .given = deed_give_six, .before = deed_get_three_and_take, .itself = deed_free_it
#define FREES_LARGE .given = deed_give_six_large, .before = deed_get_three_and_take, .itself = deed_free_it
#define ASLEEP .asleep = true

static const struct tread operations[] = {
    {.name = "send", AS_PAIR, SAYS(deed_send_it, 1)},
    {.name = "send many", AS_PAIR, SAYS(deed_send_three, 3)},
    {.name = "loan", AS_PAIR, SAYS(deed_loan_it, 0)},
    {.name = "put",
     AS_PAIR,
     .before = deed_send_four_and_fill,
     .met = deed_hear_three,
     .itself = deed_put_it,
     .sends = 1},
    {.name = "give a loan up",
     AS_PAIR,
     .before = deed_send_four_and_fill,
     .met = deed_hear_three,
     .itself = deed_give_it_up},
    {.name = "send by the pool", AS_PAIR, SAYS_LARGE(deed_send_it)},
    {.name = "loan from the pool",
     AS_PAIR,
     .before = deed_send_four_large,
     .met = deed_hear_three,
     .itself = deed_loan_it},
    {.name = "put by the pool",
     AS_PAIR,
     .before = deed_send_four_and_fill_large,
     .met = deed_hear_three,
     .itself = deed_put_it,
     .sends = 1},
    {.name = "send to a sleeper", AS_PAIR, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "receive", AS_PAIR, GETS(deed_receive_it)},
    {.name = "receive many", AS_PAIR, GETS(deed_receive_three)},
    {.name = "take", AS_PAIR, GETS(deed_take_it)},
    {.name = "free", AS_PAIR, FREES},
    {.name = "receive from the pool", AS_PAIR, GETS_LARGE(deed_receive_it)},
    {.name = "take from the pool", AS_PAIR, GETS_LARGE(deed_take_it)},
    {.name = "free to the pool", AS_PAIR, FREES_LARGE},
    {.name = "publish", AS_PUB, SAYS(deed_send_it, 1)},
    {.name = "publish by the pool", AS_PUB, SAYS_LARGE(deed_send_it)},
    {.name = "publish to a sleeper", AS_PUB, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "subscriber's receive", AS_SUB, GETS(deed_receive_it)},
    {.name = "subscriber's take", AS_SUB, GETS(deed_take_it)},
    {.name = "subscriber's take from the pool", AS_SUB, GETS_LARGE(deed_take_it)},
    {.name = "subscriber's free to the pool", AS_SUB, FREES_LARGE},
    {.name = "push", AS_PUSH, SAYS(deed_send_it, 1)},
    {.name = "push by the pool", AS_PUSH, SAYS_LARGE(deed_send_it)},
    {.name = "push to a sleeper", AS_PUSH, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "claim by receiving", AS_PULL, GETS(deed_receive_it), .behind = deed_fourth_comes_again},
    {.name = "claim by taking", AS_PULL, GETS(deed_take_it), .behind = deed_fourth_comes_again},
    {.name = "claim in the pool", AS_PULL, GETS_LARGE(deed_take_it), .behind = deed_fourth_comes_again},
    {.name = "done",
     AS_PULL,
     .given = deed_give_six,
     .before = deed_get_three_and_take,
     .itself = deed_done_with_it,
     .behind = deed_fourth_may_come_again},
    {.name = "done in the pool",
     AS_PULL,
     .given = deed_give_six_large,
     .before = deed_get_three_and_take,
     .itself = deed_done_with_it,
     .behind = deed_fourth_may_come_again},
    {.name = "write",
     AS_WRITE,
     .before = deed_write_a_hundred,
     .met = deed_hear_some,
     .itself = deed_write_eight,
     .sends = 8},
    {.name = "read", AS_READ, .given = deed_give_bytes, .before = deed_read_eight, .itself = deed_read_eight},
    {.name = "send to one who polls",
     AS_PAIR,
     .before = deed_send_four,
     .met = deed_hear_four_and_poll,
     .itself = deed_send_it,
     .sends = 1,
     .polls = true},
    {.name = "ask",
     AS_CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_ask_it,
     .behind = deed_serve_the_dead},
    {.name = "cancel",
     AS_CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_cancel_it,
     .behind = deed_serve_the_dead},
    {.name = "take a request",
     AS_SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one,
     .met = deed_both_have,
     .itself = deed_take_it,
     .behind = deed_two_have_failed},
    {.name = "reply",
     AS_SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_one_has_failed},
    {.name = "take a request, others retry",
     AS_RETRIED,
     .given = deed_call_meanwhile,
     .before = deed_answer_one,
     .met = deed_both_have,
     .itself = deed_take_it,
     .behind = deed_all_are_answered},
    {.name = "reply, others retry",
     AS_RETRIED,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_all_are_answered},
    {.name = "notify",
     AS_NOTIFY,
     .before = deed_tell_three,
     .met = deed_three_are_told,
     .itself = deed_tell_it,
     .behind = deed_it_is_told},
    {.name = "watch", AS_WATCH, .given = deed_tell_it_three, .itself = deed_watch_it, .behind = deed_others_are_there},
};

/* Coming and going, which is long, waiting, and what two do who do not know each other yet. */
static const struct tread longer[] = {
    {.name = "open", AS_PAIR_(MAY), .joins = true},
    {.name = "open behind a dead one of each role", AS_PAIR_(MAY), .given = deed_one_has_died, .joins = true},
    {.name = "open to publish", AS_PUB_(MAY), .joins = true},
    {.name = "open to subscribe", AS_SUB, .joins = true},
    {.name = "open to push", AS_PUSH, .joins = true},
    {.name = "open to pull", AS_PULL, .joins = true},
    {.name = "open to write", AS_WRITE_(MAY), .joins = true},
    {.name = "open to read", AS_READ_(NOT), .joins = true},
    {.name = "open to call", AS_CALL, .joins = true},
    {.name = "open to serve", AS_SERVE, .joins = true},
    {.name = "open to notify", AS_NOTIFY, .joins = true},
    {.name = "open to watch", AS_WATCH_(NOT), .joins = true},
    {.name = "close", AS_PAIR, SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a publisher", AS_PUB_(MAY), SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a subscriber", AS_SUB, GETS(deed_leave), .leaves = true},
    {.name = "close, a pusher", AS_PUSH, SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a worker",
     AS_PULL,
     .given = deed_give_six,
     .before = deed_get_three_and_take,
     .itself = deed_leave,
     .behind = deed_fourth_comes_again,
     .leaves = true},
    {.name = "close, a writer",
     AS_WRITE,
     .before = deed_write_a_hundred,
     .met = deed_hear_some,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a reader",
     AS_READ,
     .given = deed_give_bytes,
     .before = deed_read_eight,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a caller",
     AS_CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_leave,
     .behind = deed_serve_the_dead,
     .leaves = true},
    {.name = "close, a server",
     AS_SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_leave,
     .behind = deed_two_have_failed,
     .leaves = true},
    {.name = "close, a notifier",
     AS_NOTIFY,
     .before = deed_tell_three,
     .met = deed_three_are_told,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a watcher",
     AS_WATCH,
     .given = deed_tell_it_three,
     .itself = deed_leave,
     .behind = deed_three_are_there,
     .leaves = true},
    {.name = "send in vain", AS_IDLE, .before = deed_send_all, .met = deed_hear_nothing, .itself = deed_send_in_vain},
    {.name = "receive in vain",
     AS_IDLE,
     .given = deed_give_six,
     .before = deed_get_six,
     .itself = deed_receive_in_vain},
    {.name = "answer",
     AS_CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_serve_two,
     .itself = deed_answer_it,
     .behind = deed_serve_nobody},
    {.name = "reply for the first time",
     AS_SERVE,
     .given = deed_ask_one_meanwhile,
     .before = deed_take_first,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_first_is_answered},
};
#define COUNT(table) (sizeof(table) / sizeof *(table))
#define SAMPLE 12 /* kills in each, where not all is to be done; of the longer ones a third */

static bool all;
static size_t first; /* operation */
static struct {
    unsigned operations, instructions, stores, calls, kills, late;
    int64_t slowest;
} sum;

static void add(const struct tread *operation, const struct tread_figures *own) {
    if (all) {
        print_message("%2u %-32s %6u instructions, %4u stores, %3u system calls: %5u kills, told within %lld us\n",
                      sum.operations, operation->name, own->instructions, own->stores, own->calls, own->kills,
                      (long long)(own->slowest / 1000));
        (void)fflush(stdout);
    }
    sum.operations++;
    sum.instructions += own->instructions;
    sum.stores += own->stores;
    sum.calls += own->calls;
    sum.kills += own->kills;
    sum.late += own->late;
    sum.slowest = own->slowest > sum.slowest ? own->slowest : sum.slowest;
}

static void walk(const struct tread *table, size_t count, unsigned sample, bool by_instruction) {
    for (size_t i = 0; i < count; i++) {
        struct tread_figures figures;
        if (sum.operations < first) {
            sum.operations++;
            continue;
        }
        int rc = tread_through(&table[i], sample, by_instruction, &figures);
        if (rc < 0) {
            print_message("skip: no process can be traced here\n");
            skip();
        }
        if (rc != 0) print_error("operation %u: %s\n", sum.operations, table[i].name);
        assert_int_equal(rc, 0);
        add(&table[i], &figures);
    }
}

static void dies_at_each_event(void **state) {
    (void)state;
    unsigned sample = room_is_brief() ? SAMPLE / 2 : SAMPLE;
    step_on_one_processor();
    walk(operations, COUNT(operations), all ? 0 : sample, all);
    walk(longer, COUNT(longer), all ? 0 : sample / 3, false);
    print_message("%u operations with %u stores and %u system calls%s: %u kills; told within %lld us, %u times late\n",
                  sum.operations - (unsigned)first, sum.stores, sum.calls, all ? "" : ", of which a sample", sum.kills,
                  (long long)(sum.slowest / 1000), sum.late);
    if (all) print_message("and each of %u instructions of the shorter ones\n", sum.instructions);
}

int main(int count, char **words) {
    all = count > 1 && strcmp(words[1], "all") == 0;
    first = count > 2 ? strtoul(words[2], NULL, 10) : 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(dies_at_each_event)};
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
