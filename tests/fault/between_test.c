/* SPDX-License-Identifier: MIT
 *
 * Between two calls of ours somebody else does something: makes what was not there, removes what was, puts another thing into its place. What
 * the tests of races meet now and then happens here each time, before each call of one name.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/fault/fault.h"
#include "tests/plain.h"
#include "tests/room.h"

#define KEY 0x7431 /* of a queue in a room of this test's own */
#define MOST 60

static thirl *end;
static size_t got;

/* From now on that happens before the pass of that call, and before all that come after it. */
static void before(const char *call, unsigned pass, bool lasting, void (*act)(void)) {
    const struct fault fault = {fault_find(call), pass, EAGAIN, lasting};
    fault_set(&fault);
    fault_meanwhile = act;
    fault_armed = true;
}

/* Likewise it is refused. */
static void refusing(const char *call, unsigned pass, bool lasting, int error) {
    const struct fault fault = {fault_find(call), pass, error, lasting};
    fault_set(&fault);
    fault_meanwhile = NULL;
    fault_armed = true;
}

static int undisturbed(int rc) {
    fault_armed = false;
    fault_meanwhile = NULL;
    return rc;
}

static void drop(void) {
    assert_true(thirl_close(&end, THIRL_NOW) >= 0);
}

/* ---- named pipes ---- */

static void remove_it(void) {
    (void)unlink(plain_fifo);
}

static void make_it(void) {
    (void)mkfifo(plain_fifo, 0600);
}

static void make_it_a_file(void) {
    remove_it();
    (void)close(open(plain_fifo, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void make_it_a_socket(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    remove_it();
    memcpy(at.sun_path, plain_fifo, strlen(plain_fifo));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)bind(fd, (struct sockaddr *)&at, sizeof at);
    (void)close(fd);
}

static void make_it_another(void) {
    char other[128];
    (void)snprintf(other, sizeof other, "%s.other", plain_fifo);
    if (mkfifo(other, 0600) == 0) {
        (void)rename(other, plain_fifo);
    }
}

/* Whatever somebody does there between any two calls: afterwards both ends still meet, or are told what is there. */
static void a_path_may_change_at_any_call(void **state) {
    static void (*const acts[])(void) = {remove_it, make_it, make_it_a_file, make_it_a_socket, make_it_another};
    static const char *const calls[] = {"stat", "mkfifo", "open", "fstat", "chmod"};
    static const enum thirl_role roles[] = {THIRL_READ, THIRL_WRITE, THIRL_PUSH};
    (void)state;
    for (unsigned i = 0; i < 3 * 5 * 5 * 2; i++) {
        enum thirl_role role = roles[i % 3];
        bool lasting = i / 3 % 2 != 0, reached = true;
        void (*act)(void) = acts[i / 6 % 5];
        for (unsigned pass = 1; reached && pass < MOST; pass++) {
            remove_it();
            before(calls[i / 30], pass, lasting, act);
            int rc = undisturbed(thirl_open(&end, role, plain_raw, NULL));
            reached = fault_site != 0;
            assert_true(rc == 0 || rc == -EEXIST || (lasting && (rc == -EAGAIN || rc == -ENOENT)));
            assert_true(rc == 0 || strstr(thirl_why(), "FIFO") != NULL);
            if (rc == 0) { /* it finds its way, where there is one */
                bool strange = act == make_it_a_file || act == make_it_a_socket;
                rc = role == THIRL_READ ? thirl_recv(end, buffer, 1, &got, thirl_in_ms(3))
                                        : thirl_send(end, "x", 1, thirl_in_ms(3));
                assert_true(rc == -ETIMEDOUT || (strange && (rc == -EEXIST || rc == -EAGAIN)));
                drop();
            }
        }
    }
    remove_it();
}

/* It is removed as often as it is made: the end is there all the same, and makes it when it is let. */
static void a_fifo_that_is_always_removed_is_made_at_last(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        before("stat", 1, true, remove_it);
        assert_int_equal(undisturbed(thirl_open(&end, i == 0 ? THIRL_READ : THIRL_WRITE, plain_raw, NULL)), 0);
        assert_false(plain_exists(plain_fifo));
        assert_int_equal(i == 0 ? thirl_recv(end, buffer, 9, &got, thirl_in_ms(150))
                                : thirl_send(end, "x", 1, thirl_in_ms(150)),
                         -ETIMEDOUT);
        assert_true(plain_exists(plain_fifo));
        int fd = open(plain_fifo, (i == 0 ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(i == 0 ? (int)write(fd, "x", 1) : thirl_send(end, "x", 1, LONG), i == 0);
        assert_int_equal(i == 0 ? thirl_recv(end, buffer, 9, &got, LONG) : (int)read(fd, buffer, 9), i);
        (void)close(fd);
        drop();
        (void)unlink(plain_fifo);
    }
}

/* The same while somebody waits there. */
static void a_fifo_may_go_before_it_is_opened_again(void **state) {
    (void)state;
    assert_int_equal(thirl_open(&end, THIRL_READ, plain_raw, NULL), 0);
    remove_it();
    before("open", 1, true, remove_it);
    assert_int_equal(undisturbed(thirl_recv(end, buffer, 9, &got, thirl_in_ms(150))), -ETIMEDOUT);
    assert_false(plain_exists(plain_fifo));
    assert_int_equal(thirl_recv(end, buffer, 9, &got, thirl_in_ms(150)), -ETIMEDOUT);
    assert_true(plain_exists(plain_fifo));
    drop();
}

static void say_something_late(void) {
    int fd = open(plain_fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    assert_int_equal(write(fd, "late", 4), 4);
    (void)close(fd);
}

/* One writer has left without a word, and another comes and goes before that is looked at again: he is heard. */
static void a_writer_between_two_looks_is_heard(void **state) {
    (void)state;
    assert_int_equal(thirl_open(&end, THIRL_READ, plain_raw, NULL), 0);
    (void)close(open(plain_fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    before("poll", 1, false, say_something_late);
    assert_int_equal(undisturbed(thirl_recv(end, buffer, 9, &got, THIRL_NOW)), -EAGAIN);
    assert_true(fault_site != 0);
    assert_int_equal(thirl_recv(end, buffer, 9, &got, THIRL_NOW), 0);
    assert_true(got == 4 && memcmp(buffer, "late", 4) == 0);
    assert_int_equal(thirl_recv(end, buffer, 9, &got, THIRL_NOW), THIRL_END);
    drop();
}

/* ---- what is handed over ---- */

static char handed[320];

static int open_and_die(void *unused) {
    thirl *mine = NULL;
    (void)unused;
    int rc = thirl_open(&mine, THIRL_PAIR, handed, NULL);
    _exit(rc != 0);
}

static void a_child_that_died_is_followed_when_there_are_pipes(void **state) {
    (void)state;
    assert_int_equal(thirl_open(&end, THIRL_PAIR, "pipe://", NULL), 0);
    assert_int_equal(thirl_hand(end, handed, sizeof handed), 0);
    assert_int_equal(room_run(open_and_die, NULL), 0);
    refusing("pipe2", 1, true, EMFILE);
    int rc = undisturbed(thirl_hand(end, handed, sizeof handed));
    assert_true(fault_site != 0);
    assert_int_equal(rc, -EMFILE);
    assert_non_null(strstr(thirl_why(), "no pipe"));
    assert_int_equal(thirl_hand(end, handed, sizeof handed), 0);
    thirl *other = NULL;
    assert_int_equal(thirl_open(&other, THIRL_PAIR, handed, NULL), 0);
    assert_int_equal(thirl_send(other, "x", 1, LONG), 0);
    /* It is there, as whoever hands over again is told before he has heard of it. */
    assert_int_equal(thirl_hand(end, handed, sizeof handed), -EBUSY);
    assert_non_null(strstr(thirl_why(), "taken, by pid"));
    assert_int_equal(thirl_recv(end, buffer, 9, &got, LONG), 0);
    assert_int_equal(thirl_close(&other, LONG), 0);
    drop();
}

/* ---- queues ---- */

static void remove_queue(void) {
    (void)msgctl(msgget(KEY, 0), IPC_RMID, NULL);
    (void)mq_unlink("/thirl.between");
    (void)mq_unlink("/between");
}

static void make_queue(void) {
    int fd = mq_open("/thirl.between", O_RDWR | O_CREAT | O_CLOEXEC, 0600, NULL);
    (void)msgget(KEY, IPC_CREAT | IPC_EXCL | 0600);
    (void)close(fd);
    fd = mq_open("/between", O_RDWR | O_CREAT | O_CLOEXEC, 0600, NULL);
    (void)close(fd);
}

static void make_or_remove_queue(void) {
    msgget(KEY, 0) < 0 ? make_queue() : remove_queue();
}

static void make_used_queue(void) {
    struct {
        long type;
        char text[8];
    } packet = {1, "foreign"};
    make_queue();
    (void)msgsnd(msgget(KEY, 0), &packet, sizeof packet.text, IPC_NOWAIT);
}

/* Whoever makes and removes queues of that name: an end has one that others find, too, or says why it has none. */
static void try_queue(const char *address, const char *call, void (*act)(void), bool *endless) {
    for (int lasting = 0; lasting < 2; lasting++) {
        bool reached = true;
        for (unsigned pass = 1; reached && pass < MOST; pass++) {
            before(call, pass, lasting != 0, act);
            int rc = undisturbed(thirl_open(&end, THIRL_PULL, address, NULL));
            reached = fault_site != 0;
            *endless = *endless || (rc == -EAGAIN && strstr(thirl_why(), "as often as it is made") != NULL);
            assert_true(rc == 0 || rc == -EEXIST || rc == -EAGAIN || rc == -EIDRM);
            assert_true(rc == 0 || thirl_why()[0] != '\0');
            if (rc == 0) {
                rc = thirl_recv(end, buffer, 9, &got, THIRL_NOW);
                assert_true(rc == -EAGAIN || rc == -EIDRM ||
                            (act == make_used_queue && (rc == 0 || rc == -THIRL_EFORMAT)));
                drop();
            }
            (void)!thirl_clean(address);
            remove_queue();
        }
    }
}

static int do_queues_come_and_go(void *unused) {
    static void (*const acts[])(void) = {remove_queue, make_queue, make_or_remove_queue, make_used_queue};
    static const char *const addresses[] = {"sysv://0x7431", "sysv://0x7431?raw", "mq://between", "mq://between?raw"};
    bool endless[4] = {false};
    (void)unused;
    for (unsigned i = 0; i < 4 * 4; i++) {
        bool sysv = i / 4 < 2;
        try_queue(addresses[i / 4], sysv ? "msgget" : "mq_open", acts[i % 4], &endless[i / 4]);
        if (sysv) {
            try_queue(addresses[i / 4], "msgctl", acts[i % 4], &endless[i / 4]);
        }
    }
    assert_true(endless[0] && endless[1] && endless[2] && endless[3]);
    return 0;
}

/* Names of queues are everybody's: where this program may have a room of its own for them, it plays there. */
static int alone(int (*play)(void *)) {
    if (unshare(CLONE_NEWIPC) != 0) {
        print_message("skipped: this user may have no queues of his own: %s\n", strerror(errno));
        skip();
    }
    return play(NULL);
}

static void queues_come_and_go_at_any_call(void **state) {
    (void)state;
    assert_int_equal(alone(do_queues_come_and_go), 0);
}

/* What waits in queues is listed, and thrown away; one that goes meanwhile is gone, and one that cannot be looked at is left as it is. */
static int none_is_seen(void *context, const struct thirl_left *left) {
    *(unsigned *)context += left->messages != 0;
    return 0;
}

static int do_leftovers_go(void *unused) {
    static const char *const addresses[] = {"sysv://0x7431", "mq://between"};
    static const char *const calls[] = {"msgget", "msgctl", "mq_open", "mq_unlink", "read"};
    (void)unused;
    for (unsigned i = 0; i < 2 * 5 * 2 * 2; i++) {
        const char *address = addresses[i % 2], *call = calls[i / 2 % 5];
        bool cleans = i / 10 % 2 != 0, refuses = i / 20 != 0, reached = true;
        for (unsigned pass = 1; reached && pass < 9; pass++) {
            unsigned seen = 0;
            assert_int_equal(thirl_open(&end, THIRL_PUSH, address, NULL), 0);
            assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), 0);
            drop();
            if (refuses) {
                refusing(call, pass, false, strcmp(call, "msgctl") == 0 ? EPERM : EACCES);
            } else {
                before(call, pass, false, remove_queue);
            }
            int64_t rc = cleans ? thirl_clean(address) : thirl_left(none_is_seen, &seen);
            (void)undisturbed(0);
            reached = fault_site != 0;
            assert_true(cleans ? rc == 0 || rc == 1 || (refuses && (rc == -EACCES || rc == -EPERM)) || rc == -ENOENT
                               : rc == 0);
            assert_true(cleans || seen <= 1);
            (void)!thirl_clean(address);
            assert_int_equal(thirl_left(none_is_seen, &seen), 0);
            remove_queue();
        }
    }
    return 0;
}

static void leftovers_may_go_while_they_are_looked_at(void **state) {
    (void)state;
    assert_int_equal(alone(do_leftovers_go), 0);
}

/* What the kernel says no to in the end, with what it says. */
static int do_refusals(void *unused) {
    static const struct refusal {
        const char *address, *call;
        int error;
        const char *part;
    } refusals[] = {
        {"mq://between", "mq_open", EINVAL, "fs.mqueue.msg_max"},
        {"mq://between", "mq_open", ENOSPC, "fs.mqueue.queues_max"},
        {"mq://between", "mq_getattr", EBADF, "asked for its size"},
        {"sysv://0x7431", "msgget", ENOSPC, "the kernel does not say"},
        {"sysv://0x7431?raw", "msgget", ENOSPC, "kernel.msgmni"},
        {"sysv://0x7431?raw", "msgget", ENOMEM, "cannot be made or opened"},
    };
    (void)unused;
    for (size_t i = 0; i < 2 * sizeof refusals / sizeof *refusals; i++) {
        const bool lasting = i % 2 != 0; /* then nobody knows either what is left there: that is not what is told */
        const struct refusal *r = &refusals[i / 2];
        refusing(r->call, 1, lasting, r->error);
        int rc = undisturbed(thirl_open(&end, THIRL_PULL, r->address, NULL));
        assert_int_equal(rc, -r->error);
        assert_non_null(strstr(thirl_why(), r->part));
        assert_int_equal(thirl_open(&end, THIRL_PULL, r->address, NULL), 0);
        drop();
        (void)!thirl_clean(r->address);
    }
    /* How large a queue is to be is a wish. */
    refusing("msgctl", 1, false, EPERM);
    assert_int_equal(undisturbed(thirl_open(&end, THIRL_PULL, "sysv://0x7431?raw&queue=6000", NULL)), 0);
    struct thirl_limits limits = {.size = sizeof limits};
    assert_true(thirl_limits(end, &limits) == 0 && limits.queue > 6000);
    drop();
    (void)!thirl_clean("sysv://0x7431?raw");
    return 0;
}

static void says_what_the_kernel_refuses(void **state) {
    (void)state;
    assert_int_equal(alone(do_refusals), 0);
}

/* A packet that is larger than any, and no memory for it: it is cut, and said to be too large. */
static int do_large_without_memory(void *unused) {
    static struct {
        long type;
        char text[6000];
    } packet = {1, ""};
    struct msqid_ds about;
    (void)unused;
    static const struct {
        const char *call;
        unsigned pass;
        bool lasting;
        int error, rc;
    } refusals[] = {{"realloc", 1, false, ENOMEM, -THIRL_EFORMAT},
                    {"msgrcv", 1, false, E2BIG, -THIRL_EFORMAT},
                    {"msgrcv", 1, true, E2BIG, -E2BIG},
                    {"msgrcv", 2, false, ENOMSG, -EAGAIN},
                    {"msgrcv", 2, false, EINTR, -EAGAIN},
                    {"msgrcv", 2, false, EIDRM, -EIDRM},
                    {"msgrcv", 2, false, EACCES, -EACCES}};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        int id = msgget(KEY, IPC_CREAT | IPC_EXCL | 0600), rc;
        assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
        about.msg_qbytes = 5000;
        assert_int_equal(msgctl(id, IPC_SET, &about), 0);
        assert_int_equal(thirl_open(&end, THIRL_PULL, "sysv://0x7431?raw", NULL), 0);
        about.msg_qbytes = 16384;
        assert_int_equal(msgctl(id, IPC_SET, &about), 0);
        assert_int_equal(msgsnd(id, &packet, sizeof packet.text, IPC_NOWAIT), 0);
        assert_int_equal(msgsnd(id, &packet, 3, IPC_NOWAIT), 0);
        refusing(refusals[i].call, refusals[i].pass, refusals[i].lasting, refusals[i].error);
        rc = undisturbed(thirl_recv(end, buffer, 9, &got, THIRL_NOW));
        assert_int_equal(rc, refusals[i].rc);
        rc = thirl_recv(end, buffer, 9, &got, THIRL_NOW);
        rc = rc == -THIRL_EFORMAT ? thirl_recv(end, buffer, 9, &got, THIRL_NOW) : rc;
        assert_true(rc == 0 && got == 3);
        drop();
        assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
    }
    return 0;
}

static void a_packet_is_taken_away_without_memory(void **state) {
    (void)state;
    assert_int_equal(alone(do_large_without_memory), 0);
}

/* ---- sockets by path ---- */

static char path[160], local[200];

static void remove_socket(void) {
    (void)unlink(path);
}

static void make_dead_socket(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(path);
    (void)bind(fd, (struct sockaddr *)&at, sizeof at);
    (void)close(fd);
}

/* What a dead process left is removed by whoever comes, or was by another just then; where that may not be, it is said. */
static void dead_sockets_may_go_at_any_call(void **state) {
    static const char *const calls[] = {"lstat", "unlink", "connect", "bind", "chmod", "stat", "listen"};
    static void (*const acts[])(void) = {remove_socket, make_dead_socket};
    (void)state;
    (void)snprintf(path, sizeof path, "%s/dead", peer_directory);
    (void)snprintf(local, sizeof local, "unix://%s", path);
    for (unsigned i = 0; i < 7 * 2; i++) {
        bool reached = i % 2 == 0 || i < 8; /* once it is bound, the path is its own */
        for (unsigned pass = 1; reached && pass < 9; pass++) {
            make_dead_socket();
            before(calls[i / 2], pass, false, acts[i % 2]);
            int rc = undisturbed(thirl_open(&end, THIRL_PAIR, local, NULL));
            reached = fault_site != 0;
            assert_int_equal(rc, 0);
            thirl *other = NULL;
            assert_int_equal(thirl_open(&other, THIRL_PAIR, local, NULL), 0);
            bool sent = false, came = false;
            for (int64_t until = clock_now() + 8 * CLOCK_S;
                 !came && clock_now() < until;) { /* both look where they are */
                sent = sent || thirl_send(other, "x", 1, THIRL_NOW) == 0;
                came = thirl_recv(end, buffer, 9, &got, thirl_in_ms(1)) == 0;
            }
            assert_true(came);
            assert_int_equal(thirl_close(&other, LONG), 0);
            drop();
        }
    }
    make_dead_socket();
    refusing("unlink", 1, true, EACCES);
    assert_int_equal(undisturbed(thirl_open(&end, THIRL_PAIR, local, NULL)), -EACCES);
    assert_non_null(strstr(thirl_why(), "that a dead process left"));
    remove_socket();
}

static int group_begin(void **state) {
    return peer_setup(state) != 0 || room_begin(state) != 0;
}

static int group_end(void **state) {
    int rc = room_end(state);
    return peer_teardown(state) != 0 || rc != 0;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup(name, plain_begin)
    const struct CMUnitTest tests[] = {
        TEST(a_path_may_change_at_any_call),
        TEST(a_fifo_that_is_always_removed_is_made_at_last),
        TEST(a_fifo_may_go_before_it_is_opened_again),
        TEST(a_writer_between_two_looks_is_heard),
        TEST(a_child_that_died_is_followed_when_there_are_pipes),
        TEST(dead_sockets_may_go_at_any_call),
        cmocka_unit_test(queues_come_and_go_at_any_call),
        cmocka_unit_test(leftovers_may_go_while_they_are_looked_at),
        cmocka_unit_test(says_what_the_kernel_refuses),
        cmocka_unit_test(a_packet_is_taken_away_without_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
