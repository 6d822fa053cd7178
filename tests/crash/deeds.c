/* SPDX-License-Identifier: MIT
 *
 * Messages, jobs and streams, as victim and survivor use them.
 */
#include "tests/crash/deeds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/crash/tread.h"
#include "tests/room.h"

#define CHECK TREAD_CHECK

thirl_msg *deed_taken;

/* ---- what a sender does ---- */

static int send_one(uint64_t number) {
    uint64_t message[TALK_ROOM / 8];
    size_t size = talk_write(message, TREAD_VICTIM, number);
    return thirl_send(tread_end, message, size, thirl_in_ms(2000));
}

static int send_large(uint64_t number) {
    static uint64_t message[TREAD_LARGE / 8];
    size_t size = tread_write_large(message, TREAD_VICTIM, number);
    return thirl_send(tread_end, message, size, thirl_in_ms(2000));
}

/* What the operation is to send is written before it begins. */
static struct iovec ready[3];

static int write_next(bool large) {
    static uint64_t message[3][TREAD_LARGE / 8];
    for (size_t i = 0; i < 3; i++) {
        size_t size =
            large ? tread_write_large(message[i], TREAD_VICTIM, 4 + i) : talk_write(message[i], TREAD_VICTIM, 4 + i);
        ready[i] = (struct iovec){message[i], size};
    }
    return 0;
}

/* Three that have come, and one that has not yet been received. */
int deed_send_four(void) {
    for (; tread_scene->sent < 4; tread_scene->sent++) CHECK(send_one(tread_scene->sent) == 0);
    return write_next(false);
}

int deed_send_four_large(void) {
    for (; tread_scene->sent < 4; tread_scene->sent++) CHECK(send_large(tread_scene->sent) == 0);
    return write_next(true);
}

int deed_hear_three(void) {
    return tread_hear(3);
}

int deed_send_it(void) {
    return thirl_send(tread_end, ready[0].iov_base, ready[0].iov_len, THIRL_NOW);
}

int deed_send_three(void) {
    size_t count = 3;
    return thirl_send_many(tread_end, ready, &count, THIRL_NOW);
}

int deed_loan_it(void) {
    return thirl_loan(tread_end, &deed_taken, ready[0].iov_len, THIRL_NOW);
}

int deed_put_it(void) {
    return thirl_put(tread_end, &deed_taken, THIRL_NOW);
}

static int fill_it(void) {
    CHECK(deed_loan_it() == 0);
    memcpy(thirl_msg_data(deed_taken), ready[0].iov_base, ready[0].iov_len);
    return 0;
}

int deed_send_four_and_fill(void) {
    return deed_send_four() != 0 || fill_it() != 0;
}

int deed_send_four_and_fill_large(void) {
    return deed_send_four_large() != 0 || fill_it() != 0;
}

int deed_give_it_up(void) {
    thirl_free(&deed_taken);
    return 0;
}

/* ---- what a receiver does ---- */

static int give(bool large) {
    static uint64_t message[TREAD_LARGE / 8];
    for (uint64_t i = 0; i < 6; i++) {
        size_t size = large ? tread_write_large(message, TREAD_SURVIVOR, i) : talk_write(message, TREAD_SURVIVOR, i);
        CHECK(thirl_send(tread_mine, message, size, thirl_in_ms(2000)) == 0);
    }
    return 0;
}

int deed_give_six(void) {
    return give(false);
}

int deed_give_six_large(void) {
    return give(true);
}

int deed_take_it(void) {
    return thirl_take(tread_end, &deed_taken, THIRL_NOW);
}

int deed_free_it(void) {
    thirl_free(&deed_taken);
    return 0;
}

int deed_get_three(void) {
    for (int i = 0; i < 3; i++)
        CHECK(thirl_take(tread_end, &deed_taken, thirl_in_ms(2000)) == 0 && deed_free_it() == 0);
    return 0;
}

int deed_get_three_and_take(void) {
    return deed_get_three() != 0 || deed_take_it() != 0;
}

int deed_receive_it(void) {
    static uint64_t message[TREAD_LARGE / 8];
    size_t size;
    return thirl_recv(tread_end, message, sizeof message, &size, THIRL_NOW);
}

int deed_receive_three(void) {
    static uint64_t message[TREAD_LARGE / 8];
    struct iovec messages[3];
    size_t count = 3;
    CHECK(thirl_recv_many(tread_end, message, sizeof message, messages, &count, THIRL_NOW) == 0 && count == 3);
    return 0;
}

/* ---- jobs ---- */

/* The victim had done three of six jobs and died with the fourth. What it had not done comes to the next one, in any order, each once. */
static int come_again(bool surely, bool perhaps) {
    unsigned come = 0;
    struct talk talk;
    int rc;
    CHECK(tread_renew() == 0);
    while ((rc = tread_get(tread_fresh, &talk, come == 0x38 ? THIRL_NOW : thirl_in_ms(100))) == 0) {
        CHECK(talk.conversation == TREAD_SURVIVOR && talk.number < 6 && (come & 1u << talk.number) == 0);
        come |= 1u << talk.number;
    }
    CHECK(rc == (come == 0x38 ? -EAGAIN : -ETIMEDOUT));
    CHECK((come == 0x38 && (surely || perhaps)) || (come == 0x30 && !surely));
    return 0;
}

int deed_fourth_comes_again(void) {
    return come_again(true, true);
}

int deed_fourth_may_come_again(void) {
    return come_again(false, !tread_scene->returned);
}

int deed_done_with_it(void) {
    return thirl_done(&deed_taken);
}

/* ---- streams ---- */

static int write_bytes(size_t count) {
    unsigned char bytes[100];
    for (size_t i = 0; i < count; i++) bytes[i] = tread_byte(tread_scene->sent + i);
    return thirl_send(tread_end, bytes, count, thirl_in_ms(2000));
}

int deed_write_a_hundred(void) {
    CHECK(write_bytes(100) == 0);
    tread_scene->sent = 100;
    return 0;
}

int deed_hear_some(void) {
    return tread_hear(1);
}

int deed_write_eight(void) {
    return write_bytes(8);
}

int deed_give_bytes(void) {
    unsigned char bytes[100] = {1};
    return thirl_send(tread_mine, bytes, sizeof bytes, thirl_in_ms(2000));
}

int deed_read_eight(void) {
    unsigned char bytes[8];
    size_t size;
    return thirl_recv(tread_end, bytes, sizeof bytes, &size, thirl_in_ms(2000));
}

int deed_leave(void) {
    return thirl_close(&tread_end, THIRL_NOW) < 0;
}

/* ---- who sleeps, and who has to be woken ---- */

/* Until nothing more fits: the next one would wait. */
int deed_send_all(void) {
    uint64_t message[TALK_ROOM / 8];
    CHECK(send_one(0) == 0); /* somebody is there */
    for (tread_scene->sent = 1;; tread_scene->sent++) {
        size_t size = talk_write(message, TREAD_VICTIM, tread_scene->sent);
        int rc = thirl_send(tread_end, message, size, THIRL_NOW);
        if (rc != 0) return rc != -EAGAIN;
    }
}

int deed_send_in_vain(void) {
    uint64_t message[TALK_ROOM / 8];
    size_t size = talk_write(message, TREAD_VICTIM, tread_scene->sent);
    return thirl_send(tread_end, message, size, thirl_in_ms(20)) != -ETIMEDOUT;
}

int deed_get_six(void) {
    return deed_get_three() != 0 || deed_get_three() != 0;
}

int deed_receive_in_vain(void) {
    uint64_t message[TALK_ROOM / 8];
    size_t size;
    return thirl_recv(tread_end, message, sizeof message, &size, thirl_in_ms(20)) != -ETIMEDOUT;
}

int deed_hear_nothing(void) {
    return 0;
}

int deed_hear_four_and_poll(void) {
    struct talk talk;
    CHECK(tread_hear(4) == 0 && thirl_fd(tread_mine) >= 0);
    CHECK(tread_get(tread_mine, &talk, THIRL_NOW) == -EAGAIN);
    return 0;
}

/* ---- who died before ---- */

/* In the same channel, and one in each role in another one that nobody comes to any more. */
static int die_with_all(void *none) {
    thirl *end;
    char address[32];
    (void)none;
    for (int role = THIRL_PAIR; role <= THIRL_SERVE; role++) {
        (void)snprintf(address, sizeof address, "shm://y%d?queue=4K", role);
        CHECK(thirl_open(&end, (enum thirl_role)role, address, NULL) == 0 &&
              (role == THIRL_CALL || thirl_fd(end) >= 0));
    }
    return thirl_open(&end, THIRL_PAIR, "shm://x" DEED_ROOM, NULL);
}

int deed_one_has_died(void) {
    return room_run(die_with_all, NULL);
}
