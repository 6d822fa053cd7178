/* SPDX-License-Identifier: MIT
 *
 * What victim and survivor do in the operations of tread_test.c, in the parts that tests/crash/tread.h names. What the victim does is said of "it".
 */
#ifndef TESTS_CRASH_DEEDS_H
#define TESTS_CRASH_DEEDS_H

#include "include/thirl/thirl.h"

#define DEED_ROOM "?queue=4K&pool=64K" /* so that there is little to fill */

extern thirl_msg *deed_taken; /* of the victim: the message that it holds */

int deed_send_four(void);
int deed_send_four_large(void);
int deed_hear_three(void);
int deed_send_it(void);
int deed_send_three(void);
int deed_loan_it(void);
int deed_put_it(void);
int deed_send_four_and_fill(void);
int deed_send_four_and_fill_large(void);
int deed_give_it_up(void);
int deed_give_six(void);
int deed_give_six_large(void);
int deed_take_it(void);
int deed_free_it(void);
int deed_get_three(void);
int deed_get_three_and_take(void);
int deed_receive_it(void);
int deed_receive_three(void);
int deed_fourth_comes_again(void);
int deed_fourth_may_come_again(void);
int deed_done_with_it(void);
int deed_write_a_hundred(void);
int deed_hear_some(void);
int deed_write_eight(void);
int deed_give_bytes(void);
int deed_read_eight(void);
int deed_leave(void);
int deed_send_all(void);
int deed_send_in_vain(void);
int deed_get_six(void);
int deed_receive_in_vain(void);
int deed_hear_nothing(void);
int deed_hear_four_and_poll(void);
int deed_one_has_died(void);

int deed_serve_meanwhile(void);
int deed_call_meanwhile(void);
int deed_both_have(void);
int deed_ask_two(void);
int deed_serve_two(void);
int deed_ask_it(void);
int deed_answer_it(void);
int deed_cancel_it(void);
int deed_serve_the_dead(void);
int deed_serve_nobody(void);
int deed_answer_one(void);
int deed_answer_one_and_take(void);
int deed_reply(void);
int deed_take_first(void);
int deed_ask_one_meanwhile(void);
int deed_first_is_answered(void);
int deed_two_have_failed(void);
int deed_one_has_failed(void);
int deed_all_are_answered(void);
int deed_tell_three(void);
int deed_three_are_told(void);
int deed_tell_it(void);
int deed_it_is_told(void);
int deed_tell_it_three(void);
int deed_watch_it(void);
int deed_others_are_there(void);
int deed_three_are_there(void);

#endif
