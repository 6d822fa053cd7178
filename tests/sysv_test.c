/* SPDX-License-Identifier: MIT
 *
 * sysv:// between programs of thirl: packets that are not thirl's in a framed queue, sleepers that are woken, who says goodbye or is killed; how
 * large a queue is, and who may use it.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/kept.h"
#include "tests/ipc.h"
#include "tests/room.h"
#include "wire/frag.h"

#define SOON thirl_in_ms(10000)

/* ---- framed ---- */

static int refused_of(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->refused;
    return 0;
}

static void put_packet(int id, const void *data, size_t size) {
    struct ipc_packet packet = {.type = 50000};
    memcpy(packet.text, data, size);
    assert_int_equal(msgsnd(id, &packet, size, IPC_NOWAIT), 0);
}

static void framed_refuses_foreign_packets(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    char data[64];
    assert_int_equal(thirl_open(&in, THIRL_PULL, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address(""), NULL), 0);
    int id = msgget(ipc_key("thirl:"), 0);
    static char large[8192];
    put_packet(id, "hello", 5);
    put_packet(id, large, sizeof large); /* larger than any of thirl's there */
    unsigned char wire[FRAG_LABEL + 8] = {0};
    struct frag_label label = {FRAG_DATA, 5, 1, 1, 1, UINT32_C(0x7fffffff), 0, 8, false};
    frag_write(wire + 8, &label);
    put_packet(id, wire, sizeof wire); /* announces two gigabytes */
    assert_int_equal(thirl_send(out, "two", 3, SOON), 0);
    size_t size = 0;
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0); /* of a lower type */
    assert_memory_equal(data, "two", 3);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "not thirl's"));
    assert_non_null(strstr(thirl_why(), ipc_name));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "8192"));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "?max"));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, THIRL_NOW), -EAGAIN);
    uint64_t refused = 0;
    assert_int_equal(thirl_list(refused_of, &refused), 0);
    assert_int_equal(refused, 3);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

/* A piece, then one that is almost the next, then the next: nobody is ever given a message that was put together of both. */
static void pieces_of_others_are_not_mixed_in(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    assert_int_equal(thirl_open(&in, THIRL_PULL, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address(""), NULL), 0);
    int id = msgget(ipc_key("thirl:"), 0);
    for (unsigned odd = 0; odd < 6; odd++) {
        const struct frag_label first = {FRAG_DATA, 5, 1, 1, odd + 1, 16, 0, 8, false};
        struct frag_label next = first, other;
        next.packet++;
        next.offset = 8;
        other = next;
        other.end += odd == 0;
        other.total += odd == 1 ? 1 : 0;
        other.total += odd == 2 ? 8 : 0;
        other.piece -= odd == 3 ? 4 : 0;
        other.type = odd == 4 ? FRAG_NOTE : FRAG_DATA;
        other.node += odd == 5;
        unsigned char wire[FRAG_LABEL + 8];
        memset(wire, 'a', 8);
        frag_write(wire + 8, &first);
        put_packet(id, wire, sizeof wire);
        memset(wire, 'o', 8);
        frag_write(wire + 8, &other);
        put_packet(id, wire, sizeof wire);
        memset(wire, 'b', 8);
        frag_write(wire + 8, &next);
        put_packet(id, wire, sizeof wire);
        char data[64];
        size_t size = 0;
        unsigned whole = 0;
        int rc = 0;
        for (int i = 0; i < 8 && rc != -EAGAIN; i++) {
            rc = thirl_recv(in, data, sizeof data, &size, THIRL_NOW);
            assert_true(rc == 0 || rc == -EAGAIN || rc == -THIRL_EFORMAT);
            if (rc == 0) {
                assert_int_equal(size, 16);
                assert_memory_equal(data, "aaaaaaaabbbbbbbb", 16);
                whole++;
            }
        }
        assert_int_equal(rc, -EAGAIN);
        assert_true(whole <= 1);
        assert_true(whole == 1 || (odd != 0 && odd != 4 && odd != 5)); /* what is another sender's harms nobody */
        assert_int_equal(thirl_send(out, "two", 3, SOON), 0);
        assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
        assert_int_equal(size, 3);
        assert_memory_equal(data, "two", 3);
    }
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

/* ---- sleeping ---- */

static int echo_some(void *count) {
    thirl *in = NULL, *out = NULL;
    char back[120], byte;
    (void)snprintf(back, sizeof back, "sysv://%s/back", ipc_name);
    if (thirl_open(&in, THIRL_PULL, ipc_address("?wait=sleep"), NULL) != 0 ||
        thirl_open(&out, THIRL_PUSH, back, NULL) != 0) {
        return 1;
    }
    for (int i = 0; i < *(int *)count; i++) {
        if (thirl_recv(in, &byte, 1, NULL, SOON) != 0 || thirl_send(out, &byte, 1, SOON) != 0) {
            return 2;
        }
    }
    return thirl_close(&in, SOON) != 0 || thirl_close(&out, SOON) != 0;
}

/* Whoever sleeps is woken by the one who sends: a lost wake-up would cost a slice of 50 ms each time. */
static void a_sleeper_is_woken(void **state) {
    (void)state;
    int count = 300;
    char back[120], byte;
    thirl *in = NULL, *out = NULL;
    (void)snprintf(back, sizeof back, "sysv://%s/back?wait=sleep", ipc_name);
    pid_t child = room_fork(echo_some, &count);
    assert_int_equal(thirl_open(&in, THIRL_PULL, back, NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address(""), NULL), 0);
    unsigned slow = 0;
    for (int i = 0; i < count; i++) {
        int64_t start = clock_now();
        assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
        assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
        slow += clock_now() - start > 45 * CLOCK_MS;
    }
    assert_true(slow < (unsigned)count / 4); /* a loaded machine is slow now and then */
    assert_int_equal(room_reap(child), 0);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

/* ---- killed ---- */

/* Killed between the making of a queue and the noting of its number: the next one has it, or it is removed. */
static int die_when_made(void *role) {
    thirl *end = NULL;
    (void)setenv("THIRL_WEAVE_AT", "sysv.make.after:1:kill", 1);
    return thirl_open(&end, *(enum thirl_role *)role, ipc_address(""), NULL);
}

static void a_kill_leaves_no_queue(void **state) {
    (void)state;
    enum thirl_role roles[] = {THIRL_PUSH, THIRL_PULL};
    thirl *end = NULL, *out = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(room_run(die_when_made, &roles[i]), 128 + SIGKILL);
        assert_true(msgget(ipc_key("thirl:"), 0) >= 0);
        char byte;
        if (i == 0) {
            assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address(""), NULL), 0);
            assert_int_equal(thirl_open(&out, THIRL_PUSH, ipc_address(""), NULL), 0);
            assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
            assert_int_equal(thirl_recv(end, &byte, 1, NULL, SOON), 0);
            assert_int_equal(thirl_close(&out, SOON), 0);
        } else {
            char other[120];
            (void)snprintf(other, sizeof other, "sysv://%s/other", ipc_name);
            assert_int_equal(thirl_open(&end, THIRL_PULL, other, NULL), 0);
        }
        assert_int_equal(thirl_close(&end, SOON), 0);
        assert_true(msgget(ipc_key("thirl:"), 0) < 0);
    }
}

/* ---- limits and permission bits ---- */

static void mode_is_obeyed(void **state) {
    (void)state;
    thirl *end = NULL;
    struct msqid_ds about;
    assert_int_equal(thirl_open(&end, THIRL_PULL, ipc_address("?mode=0640"), NULL), 0);
    int id = msgget(ipc_key("thirl:"), 0);
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    assert_int_equal(about.msg_perm.mode & 0777, 0640);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_true(msgget(ipc_key("thirl:"), 0) < 0); /* it was empty */
}

/* The identifier of the only inbox there, by the note of it in the registry; -1: there is none. */
static int inbox(void) {
    char path[400];
    struct kept kept = {.version = 0};
    int id = -1;
    (void)snprintf(path, sizeof path, "%s/chan/%%sysv.%s", room_path, ipc_name);
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        if (strncmp(entry->d_name, "kept.", 5) == 0) {
            (void)snprintf(path, sizeof path, "%s/chan/%%sysv.%s/%.100s", room_path, ipc_name, entry->d_name);
            FILE *note = fopen(path, "re");
            assert_non_null(note);
            assert_int_equal(fread(&kept, sizeof kept, 1, note), 1);
            assert_int_equal(fclose(note), 0);
            const char *dot = strchr(kept.place, '.');
            id = dot != NULL ? (int)strtol(dot + 1, NULL, 10) : -1;
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    return id;
}

/* Whoever sends without having joined holds up nobody for long: so many are thrown away by one call, and all by a few. */
static void strangers_are_thrown_away_a_part_at_a_time(void **state) {
    enum { STRANGERS = 200 };
    thirl *end = NULL;
    char data[64];
    (void)state;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, ipc_address(""), NULL), 0);
    int id = inbox();
    struct pollfd polled = {.fd = thirl_fd(end), .events = POLLIN};
    assert_true(id >= 0 && polled.fd >= 0);
    for (uint32_t i = 0; i < STRANGERS; i++) {
        unsigned char wire[FRAG_LABEL + 8] = {0};
        const struct frag_label label = {FRAG_DATA, 5 + i, 1, 1, 1, 8, 0, 8, false};
        frag_write(wire + 8, &label);
        put_packet(id, wire, sizeof wire);
    }
    assert_int_equal(thirl_recv(end, data, sizeof data, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(poll(&polled, 1, 5000), 1); /* there is more to be thrown away */
    uint64_t some = 0, all = 0;
    assert_int_equal(thirl_list(refused_of, &some), 0);
    assert_true(some >= 32 && some < STRANGERS);
    for (int i = 0; i < 100 && all < STRANGERS; i++) {
        all = 0;
        assert_int_equal(thirl_recv(end, data, sizeof data, NULL, thirl_in_ms(20)), -ETIMEDOUT);
        assert_int_equal(thirl_list(refused_of, &all), 0);
    }
    assert_int_equal(all, STRANGERS);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

/* Who only listened, and went: the half that sends hears of it first, and the one that receives knows it, too. */
static void a_goodbye_is_known_to_both_halves(void **state) {
    thirl *a = NULL, *b = NULL;
    char data[64];
    int rc = -EAGAIN;
    (void)state;
    assert_int_equal(thirl_open(&a, THIRL_PAIR, ipc_address(""), NULL), 0);
    assert_int_equal(thirl_open(&b, THIRL_PAIR, ipc_address(""), NULL), 0);
    for (int i = 0; rc != 0 && i < 2000; i++) {
        rc = thirl_send(a, "one", 3, thirl_in_ms(1));
    }
    assert_int_equal(rc, 0);
    assert_int_equal(thirl_recv(b, data, sizeof data, NULL, SOON), 0);
    assert_int_equal(thirl_close(&b, SOON), 0);
    assert_int_equal(thirl_send(a, "two", 3, SOON), -THIRL_ECLOSED);
    struct pollfd polled = {.fd = thirl_fd(a), .events = POLLIN};
    struct thirl_want want = {.end = a, .wanted = THIRL_WANT_MESSAGE};
    for (int i = 0; i < 3; i++) { /* however one waits for it, and again and again */
        assert_int_equal(poll(&polled, 1, 5000), 1);
        assert_int_equal(thirl_wait(&want, 1, SOON), 1);
        assert_int_equal(thirl_recv(a, data, sizeof data, NULL, SOON), -THIRL_ECLOSED);
        assert_non_null(strstr(thirl_why(), "closed its end"));
    }
    assert_int_equal(thirl_close(&a, SOON), 0);
}

static void queue_is_as_large_as_wished(void **state) {
    (void)state;
    thirl *end = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    assert_int_equal(thirl_open(&end, THIRL_PUSH, ipc_address("?queue=6000"), NULL), 0);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.queue, 6000);
    assert_int_equal(limits.atomic_max, 3000 - 6000 / 32 - FRAG_LABEL);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_kill_leaves_no_queue, ipc_tidy),
        cmocka_unit_test_teardown(framed_refuses_foreign_packets, ipc_tidy),
        cmocka_unit_test_teardown(strangers_are_thrown_away_a_part_at_a_time, ipc_tidy),
        cmocka_unit_test_teardown(a_goodbye_is_known_to_both_halves, ipc_tidy),
        cmocka_unit_test_teardown(pieces_of_others_are_not_mixed_in, ipc_tidy),
        cmocka_unit_test_teardown(a_sleeper_is_woken, ipc_tidy),
        cmocka_unit_test_teardown(mode_is_obeyed, ipc_tidy),
        cmocka_unit_test_teardown(queue_is_as_large_as_wished, ipc_tidy),
    };
    return cmocka_run_group_tests(tests, ipc_begin, room_end);
}
