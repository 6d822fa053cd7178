/* SPDX-License-Identifier: MIT
 *
 * sysv:// and mq:// among others, who use the same names, keys and queues: what is taken by somebody is said, what is not one's own is
 * left alone, what is larger than it may be is taken away. In queues that only this program sees, where that is allowed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mech/duct.h"
#include "mem/node.h"
#include "mem/roll.h"
#include "tests/room.h"

#define SOON thirl_in_ms(10000)
#define NOBODY 65534
#define LARGE 40000

static thirl *have(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address, NULL);
    if (rc != 0) {
        print_error("%s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    return end;
}

static void drop(thirl **end) {
    assert_int_equal(thirl_close(end, SOON), 0);
}

static void refuse(enum thirl_role role, const char *address, int code, const char *part) {
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, role, address, NULL), code);
    assert_non_null(strstr(thirl_why(), part));
}

/* ---- System V: names and keys ---- */

static key_t key_of(const char *text) {
    uint32_t hash = UINT32_C(2166136261);
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT32_C(16777619);
    }
    return (key_t)hash;
}

static void short_names_are_names(void **state) {
    static const char *const names[] = {"q", "0", "x", "0abc", "0Xab", "1x23", "xx", "0123456789abcdef"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char address[64], hashed[64];
        (void)snprintf(address, sizeof address, "sysv://%s", names[i]);
        (void)snprintf(hashed, sizeof hashed, "thirl:%s", names[i]);
        thirl *end = have(THIRL_PULL, address);
        assert_true(msgget(key_of(hashed), 0) >= 0);
        drop(&end);
    }
    thirl *end = have(THIRL_PULL, "sysv://0x1");
    assert_true(msgget(1, 0) >= 0);
    drop(&end);
    refuse(THIRL_PULL, "sysv://0x12g", -THIRL_EADDRESS, "hexadecimal");
    refuse(THIRL_PULL, "sysv://a/5x?raw", -THIRL_EADDRESS, "/TYPE");
}

/* IPC_PRIVATE would be a queue that nobody else finds. */
static void a_name_whose_hash_is_nothing_has_a_key(void **state) {
    (void)state;
    assert_int_equal(key_of("thirl:doywzgay"), IPC_PRIVATE);
    thirl *in = have(THIRL_PULL, "sysv://doywzgay"), *out = have(THIRL_PUSH, "sysv://doywzgay");
    assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(in, &(char){0}, 1, NULL, SOON), 0);
    assert_true(msgget(1, 0) >= 0);
    drop(&out);
    drop(&in);
}

static int die_when_made(void *unused) {
    thirl *end = NULL;
    (void)unused;
    (void)setenv("THIRL_WEAVE_AT", "sysv.make.after:1:kill", 1);
    return thirl_open(&end, THIRL_PUSH, "sysv://fresh", NULL);
}

static int make_as_nobody(void *unused) {
    (void)unused;
    return setgid(NOBODY) != 0 || setuid(NOBODY) != 0 || msgget(key_of("thirl:fresh"), IPC_CREAT | IPC_EXCL | 0666) < 0;
}

/* Somebody was killed before he could note the number of his queue: one with its key is his only if nobody has used it, and nobody else made it. */
static void a_used_queue_is_nobodys_to_find(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(room_run(die_when_made, NULL), 128 + SIGKILL);
        int id = msgget(key_of("thirl:fresh"), 0);
        assert_true(id >= 0);
        struct {
            long type;
            char text[8];
        } packet = {1, "foreign"};
        if (i < 2) {
            assert_int_equal(msgsnd(id, &packet, sizeof packet.text, IPC_NOWAIT), 0);
            assert_true(i == 0 || msgrcv(id, &packet, sizeof packet.text, 0, IPC_NOWAIT) == sizeof packet.text);
        } else {
            assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
            if (room_run(make_as_nobody, NULL) != 0) {
                break; /* only root can become somebody else */
            }
            id = msgget(key_of("thirl:fresh"), 0);
        }
        refuse(THIRL_PULL, "sysv://fresh", -EEXIST, "is not thirl's");
        assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
        thirl *end = have(THIRL_PULL, "sysv://fresh");
        drop(&end);
    }
}

/* The inbox that this process's next pair would make is called so, or like one of the next few. */
static unsigned next_inbox(char node[NODE_NAME_MAX]) {
    thirl *end = have(THIRL_PUSH, "sysv://number"); /* this process is in the registry from now on */
    drop(&end);
    node_name(node, node_id());
    return roll_number() + 1;
}

static void an_inbox_takes_the_next_free_key(void **state) {
    char node[NODE_NAME_MAX], text[64];
    int ids[2 * 16], many = 0;
    (void)state;
    unsigned next = next_inbox(node);
    for (int salt = 'a'; salt < 'a' + 16; salt++) {
        for (unsigned i = 0; i < 2; i++) {
            (void)snprintf(text, sizeof text, "%c%s.%u", salt, node, next + i);
            ids[many++] = i == 1 && salt == 'p' ? -1 : msgget(key_of(text), IPC_CREAT | IPC_EXCL | 0600);
        }
    }
    refuse(THIRL_PAIR, "sysv://inbox", -EEXIST, "no key is free");
    thirl *end = have(THIRL_PAIR, "sysv://inbox");
    assert_true(msgget(key_of(text), 0) >= 0); /* the last one that was free */
    drop(&end);
    assert_true(msgget(key_of(text), 0) < 0);
    for (int i = 0; i < many; i++) {
        struct msqid_ds about;
        if (ids[i] >= 0) {
            assert_true(msgctl(ids[i], IPC_STAT, &about) == 0 && about.msg_qnum == 0);
            assert_int_equal(msgctl(ids[i], IPC_RMID, NULL), 0);
        }
    }
}

/* ---- System V: packets ---- */

static void set_limit(const char *name, int value) {
    char path[64], text[16];
    (void)snprintf(path, sizeof path, "/proc/sys/kernel/%s", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC), length = snprintf(text, sizeof text, "%d", value);
    if (fd < 0 || write(fd, text, (size_t)length) != length) {
        print_message("skipped: %s cannot be changed here\n", path);
        (void)close(fd);
        skip();
    }
    (void)close(fd);
}

static int usual_limits(void **state) {
    (void)state;
    set_limit("msgmax", 8192);
    set_limit("msgmnb", 16384);
    return 0;
}

/* Packets that were sent after the limit was raised are larger than all that this end has made room for. */
static void takes_away_what_is_larger_than_any(void **state) {
    static struct {
        long type;
        char text[LARGE];
    } packet = {1, ""};
    static char data[LARGE];
    size_t size = 0;
    (void)state;
    set_limit("msgmnb", 3 * LARGE);
    thirl *in = have(THIRL_PULL, "sysv://large?raw");
    set_limit("msgmax", LARGE);
    int id = msgget(key_of("large"), 0);
    assert_int_equal(msgsnd(id, &packet, LARGE, IPC_NOWAIT), 0);
    assert_int_equal(msgsnd(id, &packet, 5, IPC_NOWAIT), 0);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, THIRL_NOW), -EAGAIN);
    drop(&in);
    assert_int_equal(thirl_clean("sysv://large?raw"), 0);
}

static void says_that_the_limit_was_lowered(void **state) {
    static char data[5000];
    (void)state;
    thirl *out = have(THIRL_PUSH, "sysv://lowered?raw");
    set_limit("msgmax", 4000);
    assert_int_equal(thirl_send(out, data, sizeof data, THIRL_NOW), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "kernel.msgmax"));
    assert_int_equal(thirl_send(out, data, 4000, THIRL_NOW), 0);
    drop(&out);
    assert_int_equal(thirl_clean("sysv://lowered?raw"), 1);
}

/* A queue that holds so many bytes holds no more messages than that, however small they are. */
static void empty_messages_fill_a_queue(void **state) {
    struct msqid_ds about;
    char byte;
    (void)state;
    int id = msgget(key_of("empty"), IPC_CREAT | IPC_EXCL | 0600);
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    about.msg_qbytes = 20;
    assert_int_equal(msgctl(id, IPC_SET, &about), 0);
    thirl *out = have(THIRL_PUSH, "sysv://empty?raw"), *in = have(THIRL_PULL, "sysv://empty?raw");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(thirl_send(out, "", 0, THIRL_NOW), 0);
    }
    assert_int_equal(thirl_send(out, "", 0, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_send(out, "", 0, thirl_in_ms(30)), -ETIMEDOUT);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
    assert_int_equal(thirl_send(out, "", 0, SOON), 0);
    assert_true(msgctl(id, IPC_STAT, &about) == 0 && about.msg_qnum == 20);
    drop(&in);
    drop(&out);
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
}

/* ---- peers that lie ---- */

/* The page of an end that receives in that channel, as it lies in the registry. */
static struct duct_page *page_of(const char *channel) {
    char path[500];
    struct duct_page *page = MAP_FAILED;
    (void)snprintf(path, sizeof path, "%s/chan/%s", room_path, channel);
    DIR *list = opendir(path);
    assert_non_null(list);
    for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (length > 3 && strcmp(entry->d_name + length - 3, ".rx") == 0) {
            int fd = openat(dirfd(list), entry->d_name, O_RDWR | O_CLOEXEC);
            page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            (void)close(fd);
        }
    }
    (void)closedir(list);
    assert_true(page != MAP_FAILED);
    return page;
}

/* Where it receives, a peer says itself. What is no place, or nothing is at, is nobody to send to. */
static void peers_whose_inbox_is_nowhere(const char *address, const char *channel, const char *const places[],
                                         size_t many) {
    char place[CARRIER_PLACE_MAX];
    thirl *liar = have(THIRL_PAIR, address), *end = NULL;
    struct duct_page *page = page_of(channel);
    memcpy(place, page->place, sizeof place);
    for (size_t i = 0; i < many; i++) {
        memset(page->place, 0, sizeof page->place);
        (void)snprintf(page->place, sizeof page->place, "%s", places[i]);
        end = end != NULL ? end : have(THIRL_PAIR, address);
        assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), -EAGAIN);
    }
    memcpy(page->place, place, sizeof place);
    assert_int_equal(thirl_send(end, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(liar, &(char){0}, 1, NULL, SOON), 0);
    drop(&end);
    drop(&liar);
    (void)munmap(page, sizeof *page);
}

static void a_peer_may_name_no_queue(void **state) {
    static const char *const keys[] = {"",       "x",           "0x",          "1x12.3",       "0y12.3",
                                       "0x12",   "0x12g.1",     "0x123456789", "0x1234567.1",  "0x00000000.99",
                                       ".12345", "0x12345678.", "0x1.-1",      "0x12345678.x", "0x99.99999999999"};
    static const char *const names[] = {"", "/", "x", "/a/b", "/thirl-nobody"};
    (void)state;
    peers_whose_inbox_is_nowhere("sysv://lies", "%sysv.lies", keys, sizeof keys / sizeof *keys);
    peers_whose_inbox_is_nowhere("mq://lies", "%mq.lies", names + 4, 1);
}

/* ---- POSIX: names ---- */

static void names_of_mq_have_their_length(void **state) {
    char address[700], name[320];
    (void)state;
    refuse(THIRL_PULL, "mq://.?raw", -THIRL_EADDRESS, "without a slash");
    refuse(THIRL_PULL, "mq:///.hidden?raw", -THIRL_EADDRESS, "without a slash");
    for (unsigned length = 255; length > 240; length--) {
        memset(name, 'n', sizeof name);
        name[length] = '\0';
        (void)snprintf(address, sizeof address, "mq://%s", name);
        thirl *end = NULL;
        int rc = thirl_open(&end, THIRL_PULL, address, NULL);
        assert_int_equal(rc, length > 244 ? -ENAMETOOLONG : 0);
        assert_true(rc == 0 || strstr(thirl_why(), length > 251 ? "255" : "250") != NULL);
        assert_int_equal(thirl_close(&end, SOON), 0);
    }
}

static void an_inbox_whose_name_is_taken_is_said(void **state) {
    char node[NODE_NAME_MAX], text[64];
    struct stat status;
    (void)state;
    unsigned next = next_inbox(node);
    (void)snprintf(text, sizeof text, "/thirl-%s.%u", node, next);
    int fd = mq_open(text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600, NULL);
    assert_true(fd >= 0);
    refuse(THIRL_PAIR, "mq://inbox", -EEXIST, text);
    assert_true(fstat(fd, &status) == 0 && status.st_nlink == 1); /* it is not ours to remove */
    (void)close(fd);
    assert_int_equal(mq_unlink(text), 0);
    thirl *end = have(THIRL_PAIR, "mq://inbox");
    drop(&end);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (unshare(CLONE_NEWIPC) != 0) { /* others might have queues of these names */
        printf("skipped: this user may have no queues of his own: unshare: %s\n", strerror(errno));
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_names_are_names),
        cmocka_unit_test(a_name_whose_hash_is_nothing_has_a_key),
        cmocka_unit_test(a_used_queue_is_nobodys_to_find),
        cmocka_unit_test(an_inbox_takes_the_next_free_key),
        cmocka_unit_test_setup(takes_away_what_is_larger_than_any, usual_limits),
        cmocka_unit_test_setup(says_that_the_limit_was_lowered, usual_limits),
        cmocka_unit_test_setup(empty_messages_fill_a_queue, usual_limits),
        cmocka_unit_test(a_peer_may_name_no_queue),
        cmocka_unit_test(names_of_mq_have_their_length),
        cmocka_unit_test(an_inbox_whose_name_is_taken_is_said),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
