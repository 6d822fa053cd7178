/* SPDX-License-Identifier: MIT
 *
 * Every operation of a channel in shared memory is killed at each thing that it does for others to see: behind each of its stores to a file of the registry, and before and behind each of its
 * system calls. That is enough, and it is everything: what others find behind a dead process is what its files and the kernel hold, and between two of those
 * moments neither changes, whatever else the processor does there. Where that is doubted, "all" kills at each single instruction, too.
 *
 * What is killed really dies, for the others have to notice it: each time the survivor is told by name and in time, has every message once and whole, and that of the
 * killed operation once at most; jobs that are not done come to the next worker; a fresh peer takes the place, and as much as between new ends
 * fits into each queue and each pool; and in the end nothing is left. tread_test all [OPERATION] goes on there.
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
#define PAIR_(how) .address = "shm://x" DEED_ROOM, OF(PAIR, PAIR, how)
#define PAIR PAIR_(HEARS)
#define PUB_(how) .address = "shm://x" DEED_ROOM "&full=block", .theirs = "shm://x", OF(PUB, SUB, how)
#define PUB PUB_(HEARS)
#define SUB .address = "shm://x", .theirs = "shm://x" DEED_ROOM "&full=block", OF(SUB, PUB, NOT)
#define PUSH .address = "shm://x" DEED_ROOM, OF(PUSH, PULL, NOT)
#define PULL .address = "shm://x" DEED_ROOM, OF(PULL, PUSH, NOT)
#define WRITE_(how) .address = "shm://x?queue=4K", OF(WRITE, READ, how)
#define WRITE WRITE_(HEARS)
#define READ_(how) .address = "shm://x?queue=4K", OF(READ, WRITE, how)
#define READ READ_(SAYS)
#define CALL .address = "shm://x" DEED_ROOM, OF(CALL, SERVE, NOT)
#define SERVE .address = "shm://x" DEED_ROOM, OF(SERVE, CALL, NOT)
#define RETRIED .address = "shm://x" DEED_ROOM, .theirs = "shm://x" DEED_ROOM "&retry", OF(SERVE, CALL, NOT)
#define NOTIFY .address = "shm://x?queue=4K", OF(NOTIFY, WATCH, NOT)
#define WATCH_(how) .address = "shm://x?queue=4K", OF(WATCH, NOTIFY, how)
#define WATCH WATCH_(SAYS)
#define SAYS(what, count) .before = deed_send_four, .met = deed_hear_three, .itself = what, .sends = count
#define SAYS_LARGE(what) .before = deed_send_four_large, .met = deed_hear_three, .itself = what, .sends = 1
#define GETS(what) .given = deed_give_six, .before = deed_get_three, .itself = what
#define GETS_LARGE(what) .given = deed_give_six_large, .before = deed_get_three, .itself = what
#define FREES .given = deed_give_six, .before = deed_get_three_and_take, .itself = deed_free_it
#define FREES_LARGE .given = deed_give_six_large, .before = deed_get_three_and_take, .itself = deed_free_it
#define ASLEEP .asleep = true

static const struct tread operations[] = {
    {.name = "send", PAIR, SAYS(deed_send_it, 1)},
    {.name = "send many", PAIR, SAYS(deed_send_three, 3)},
    {.name = "loan", PAIR, SAYS(deed_loan_it, 0)},
    {.name = "put", PAIR, .before = deed_send_four_and_fill, .met = deed_hear_three, .itself = deed_put_it, .sends = 1},
    {.name = "give a loan up",
     PAIR,
     .before = deed_send_four_and_fill,
     .met = deed_hear_three,
     .itself = deed_give_it_up},
    {.name = "send by the pool", PAIR, SAYS_LARGE(deed_send_it)},
    {.name = "loan from the pool",
     PAIR,
     .before = deed_send_four_large,
     .met = deed_hear_three,
     .itself = deed_loan_it},
    {.name = "put by the pool",
     PAIR,
     .before = deed_send_four_and_fill_large,
     .met = deed_hear_three,
     .itself = deed_put_it,
     .sends = 1},
    {.name = "send to a sleeper", PAIR, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "receive", PAIR, GETS(deed_receive_it)},
    {.name = "receive many", PAIR, GETS(deed_receive_three)},
    {.name = "take", PAIR, GETS(deed_take_it)},
    {.name = "free", PAIR, FREES},
    {.name = "receive from the pool", PAIR, GETS_LARGE(deed_receive_it)},
    {.name = "take from the pool", PAIR, GETS_LARGE(deed_take_it)},
    {.name = "free to the pool", PAIR, FREES_LARGE},
    {.name = "publish", PUB, SAYS(deed_send_it, 1)},
    {.name = "publish by the pool", PUB, SAYS_LARGE(deed_send_it)},
    {.name = "publish to a sleeper", PUB, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "subscriber's receive", SUB, GETS(deed_receive_it)},
    {.name = "subscriber's take", SUB, GETS(deed_take_it)},
    {.name = "subscriber's take from the pool", SUB, GETS_LARGE(deed_take_it)},
    {.name = "subscriber's free to the pool", SUB, FREES_LARGE},
    {.name = "push", PUSH, SAYS(deed_send_it, 1)},
    {.name = "push by the pool", PUSH, SAYS_LARGE(deed_send_it)},
    {.name = "push to a sleeper", PUSH, SAYS(deed_send_it, 1), ASLEEP},
    {.name = "claim by receiving", PULL, GETS(deed_receive_it), .behind = deed_fourth_comes_again},
    {.name = "claim by taking", PULL, GETS(deed_take_it), .behind = deed_fourth_comes_again},
    {.name = "claim in the pool", PULL, GETS_LARGE(deed_take_it), .behind = deed_fourth_comes_again},
    {.name = "done",
     PULL,
     .given = deed_give_six,
     .before = deed_get_three_and_take,
     .itself = deed_done_with_it,
     .behind = deed_fourth_may_come_again},
    {.name = "done in the pool",
     PULL,
     .given = deed_give_six_large,
     .before = deed_get_three_and_take,
     .itself = deed_done_with_it,
     .behind = deed_fourth_may_come_again},
    {.name = "write",
     WRITE,
     .before = deed_write_a_hundred,
     .met = deed_hear_some,
     .itself = deed_write_eight,
     .sends = 8},
    {.name = "read", READ, .given = deed_give_bytes, .before = deed_read_eight, .itself = deed_read_eight},
    {.name = "send to one who polls",
     PAIR,
     .before = deed_send_four,
     .met = deed_hear_four_and_poll,
     .itself = deed_send_it,
     .sends = 1,
     .polls = true},
    {.name = "send in vain", PAIR, .before = deed_send_all, .met = deed_hear_nothing, .itself = deed_send_in_vain},
    {.name = "receive in vain", PAIR, .given = deed_give_six, .before = deed_get_six, .itself = deed_receive_in_vain},
    {.name = "ask",
     CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_ask_it,
     .behind = deed_serve_the_dead},
    {.name = "answer",
     CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_serve_two,
     .itself = deed_answer_it,
     .behind = deed_serve_nobody},
    {.name = "cancel",
     CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_cancel_it,
     .behind = deed_serve_the_dead},
    {.name = "take a request",
     SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one,
     .met = deed_both_have,
     .itself = deed_take_it,
     .behind = deed_two_have_failed},
    {.name = "reply",
     SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_one_has_failed},
    {.name = "reply for the first time",
     SERVE,
     .given = deed_ask_one_meanwhile,
     .before = deed_take_first,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_first_is_answered},
    {.name = "take a request, others retry",
     RETRIED,
     .given = deed_call_meanwhile,
     .before = deed_answer_one,
     .met = deed_both_have,
     .itself = deed_take_it,
     .behind = deed_all_are_answered},
    {.name = "reply, others retry",
     RETRIED,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_reply,
     .behind = deed_all_are_answered},
    {.name = "notify",
     NOTIFY,
     .before = deed_tell_three,
     .met = deed_three_are_told,
     .itself = deed_tell_it,
     .behind = deed_it_is_told},
    {.name = "watch", WATCH, .given = deed_tell_it_three, .itself = deed_watch_it, .behind = deed_others_are_there},
};

/* Coming and going, which is long. */
static const struct tread longer[] = {
    {.name = "open", PAIR_(MAY), .joins = true},
    {.name = "open behind a dead one of each role", PAIR_(MAY), .given = deed_one_has_died, .joins = true},
    {.name = "open to publish", PUB_(MAY), .joins = true},
    {.name = "open to subscribe", SUB, .joins = true},
    {.name = "open to push", PUSH, .joins = true},
    {.name = "open to pull", PULL, .joins = true},
    {.name = "open to write", WRITE_(MAY), .joins = true},
    {.name = "open to read", READ_(NOT), .joins = true},
    {.name = "open to call", CALL, .joins = true},
    {.name = "open to serve", SERVE, .joins = true},
    {.name = "open to notify", NOTIFY, .joins = true},
    {.name = "open to watch", WATCH_(NOT), .joins = true},
    {.name = "close", PAIR, SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a publisher", PUB_(MAY), SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a subscriber", SUB, GETS(deed_leave), .leaves = true},
    {.name = "close, a pusher", PUSH, SAYS(deed_leave, 0), .leaves = true},
    {.name = "close, a worker",
     PULL,
     .given = deed_give_six,
     .before = deed_get_three_and_take,
     .itself = deed_leave,
     .behind = deed_fourth_comes_again,
     .leaves = true},
    {.name = "close, a writer",
     WRITE,
     .before = deed_write_a_hundred,
     .met = deed_hear_some,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a reader",
     READ,
     .given = deed_give_bytes,
     .before = deed_read_eight,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a caller",
     CALL,
     .given = deed_serve_meanwhile,
     .before = deed_ask_two,
     .met = deed_both_have,
     .itself = deed_leave,
     .behind = deed_serve_the_dead,
     .leaves = true},
    {.name = "close, a server",
     SERVE,
     .given = deed_call_meanwhile,
     .before = deed_answer_one_and_take,
     .met = deed_both_have,
     .itself = deed_leave,
     .behind = deed_two_have_failed,
     .leaves = true},
    {.name = "close, a notifier",
     NOTIFY,
     .before = deed_tell_three,
     .met = deed_three_are_told,
     .itself = deed_leave,
     .leaves = true},
    {.name = "close, a watcher",
     WATCH,
     .given = deed_tell_it_three,
     .itself = deed_leave,
     .behind = deed_three_are_there,
     .leaves = true},
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
