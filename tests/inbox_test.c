/* SPDX-License-Identifier: MIT
 *
 * Who is heard where names have no permission bits: abstract names and inboxes of unix://…?type=datagram, and several users.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "chan/end.h"
#include "mech/carried.h"
#include "mech/duct.h"
#include "tests/room.h"

#define SOON thirl_in_ms(10000)

static const char *address(const char *options) {
    static char text[256];
    (void)snprintf(text, sizeof text, "unix://%s/socket?type=datagram%s", room_path, options);
    return text;
}

static socklen_t name_of(struct sockaddr_un *at, const char *text) {
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(at->sun_path, text, strlen(text));
    if (text[0] == '@') {
        at->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (text[0] != '@'));
}

static ssize_t foreign_send(const char *to, const void *data, size_t size) {
    struct sockaddr_un at;
    socklen_t length = name_of(&at, to);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    ssize_t sent = sendto(fd, data, size, MSG_DONTWAIT, (const struct sockaddr *)&at, length);
    (void)close(fd);
    return sent;
}

/* Who is not root hears root, who could be anybody. */
static int hear_as_nobody(void *name) {
    thirl *end = NULL;
    char where[128], registry[96], data[8];
    (void)snprintf(registry, sizeof registry, "%s/heard", room_path);
    if (mkdir(registry, 0700) != 0 || chown(registry, 65534, 65534) != 0 || chmod(room_path, 0711) != 0 ||
        setresuid(65534, 65534, 0) != 0) {
        return 77;
    }
    (void)setenv("THIRL_DIR", registry, 1);
    (void)snprintf(where, sizeof where, "unix://%s?type=datagram&raw", (const char *)name);
    int rc = thirl_open(&end, THIRL_PULL, where, NULL);
    rc = rc != 0 ? rc : thirl_recv(end, data, sizeof data, NULL, SOON);
    return rc == 0 && memcmp(data, "root", 4) == 0 && thirl_close(&end, SOON) == 0 && setresuid(0, 0, 0) == 0 ? 0 : 1;
}

static void who_is_not_root_hears_root(void **state) {
    (void)state;
    char name[64];
    if (geteuid() != 0) {
        printf("skipped: only root can become another user\n");
        skip();
    }
    (void)snprintf(name, sizeof name, "@thirl-dgram-heard-%d", (int)getpid());
    pid_t pid = room_fork(hear_as_nobody, name);
    for (int i = 0; i < 2000 && foreign_send(name, "root", 4) != 4; i++) {
        room_sleep(5000000);
    }
    assert_int_equal(room_reap(pid), 0);
}

/* In a network where more may wait than one call throws away. */
static int do_pass_over_many(void *unused) {
    thirl *in = NULL;
    char data[8];
    int calls = 0, rc, fd;
    (void)unused;
    if (unshare(CLONE_NEWNET) != 0 || (fd = open("/proc/sys/net/unix/max_dgram_qlen", O_WRONLY)) < 0 ||
        write(fd, "300", 3) != 3 || close(fd) != 0 || setreuid(65534, (uid_t)-1) != 0 || setreuid(0, (uid_t)-1) != 0) {
        return 77;
    }
    rc = thirl_open(&in, THIRL_PULL, "unix://@thirl-dgram-many?type=datagram&raw", NULL);
    for (int i = 0; rc == 0 && i < 200; i++) {
        rc = setreuid(65534, (uid_t)-1);
        rc = rc != 0 || foreign_send("@thirl-dgram-many", "evil", 4) != 4 || setreuid(0, (uid_t)-1) != 0;
    }
    rc = rc != 0 || foreign_send("@thirl-dgram-many", "good", 4) != 4;
    for (int next = -EAGAIN; rc == 0 && next == -EAGAIN; calls++) {
        next = thirl_recv(in, data, sizeof data, NULL, THIRL_NOW);
        rc = (next != 0 && next != -EAGAIN) || calls > 200;
    }
    return rc == 0 && calls == 4 && memcmp(data, "good", 4) == 0 && thirl_close(&in, SOON) == 0 ? 0 : 1;
}

/* One call gives up behind so many, and the next one goes on. */
static void many_strangers_hold_nobody_up(void **state) {
    (void)state;
    int rc = room_run(do_pass_over_many, NULL);
    if (rc == 77) {
        printf("skipped: only root can become another user, on a network of its own\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

/* Where others may send, nobody is suspected. */
static void an_inbox_for_all_suspects_nobody(void **state) {
    (void)state;
    thirl *one = NULL, *two = NULL;
    char data[8];
    assert_int_equal(thirl_open(&one, THIRL_PAIR, address("&mode=0666"), NULL), 0);
    assert_int_equal(thirl_open(&two, THIRL_PAIR, address("&mode=0666"), NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thirl_send(one, "ping", 4, SOON), 0);
        assert_int_equal(thirl_recv(two, data, sizeof data, NULL, SOON), 0);
        assert_int_equal(thirl_send(two, "pong", 4, SOON), 0);
        assert_int_equal(thirl_recv(one, data, sizeof data, NULL, SOON), 0);
        assert_memory_equal(data, "pong", 4);
    }
    assert_int_equal(thirl_close(&one, SOON), 0);
    assert_int_equal(thirl_close(&two, SOON), 0);
}

/* Where a peer sends from he says himself: a lie confines nobody, and the conversation goes on. */
static void lies_about_a_source_confine_nobody(void **state) {
    (void)state;
    static const char *const lies[] = {"/no/abstract/name", "relative", "@"};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        thirl *one = NULL, *two = NULL;
        char data[8];
        assert_int_equal(thirl_open(&one, THIRL_PAIR, address(""), NULL), 0);
        assert_int_equal(thirl_open(&two, THIRL_PAIR, address(""), NULL), 0);
        assert_int_equal(thirl_send(two, "x", 1, SOON), 0);
        struct duct *duct = &((struct carried *)two->state)->as.duct;
        assert_true(duct->page->source[0] == '@');
        (void)snprintf(duct->page->source, sizeof duct->page->source, "%s", lies[i]);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(thirl_recv(one, data, sizeof data, NULL, SOON), 0);
            assert_false(((struct carried *)one->state)->as.duct.in.confined);
            assert_int_equal(thirl_send(one, "y", 1, SOON), 0);
            assert_int_equal(thirl_recv(two, data, sizeof data, NULL, SOON), 0);
            assert_int_equal(thirl_send(two, "x", 1, SOON), 0);
        }
        assert_true(thirl_close(&one, SOON) >= 0);
        assert_true(thirl_close(&two, SOON) >= 0);
    }
}

/* Memory that is not the caller's: the kernel says so, and nothing has gone. */
static void what_cannot_be_sent_is_told(void **state) {
    (void)state;
    thirl *out = NULL, *in = NULL;
    char byte = 0;
    void *hole = mmap(NULL, 32768, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(hole != MAP_FAILED);
    assert_int_equal(thirl_open(&in, THIRL_PULL, address("&raw"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address("&raw"), NULL), 0);
    assert_int_equal(thirl_send(out, hole, 20000, SOON), -EFAULT);
    assert_non_null(strstr(thirl_why(), "cannot be sent"));
    assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
    assert_int_equal(byte, 'x');
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
    (void)munmap(hole, 32768);
}

/* A stream is cut where a packet ends: its pieces may be larger than a message. */
static void a_stream_knows_no_largest_message(void **state) {
    (void)state;
    thirl *out = NULL, *in = NULL;
    static char data[5000], back[5000];
    assert_int_equal(thirl_open(&in, THIRL_READ, address("&max=1K"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_WRITE, address("&max=1K"), NULL), 0);
    memset(data, 'x', sizeof data);
    assert_int_equal(thirl_send(out, data, sizeof data, SOON), 0);
    for (size_t have = 0, size; have < sizeof data; have += size) {
        assert_int_equal(thirl_recv(in, back + have, sizeof back - have, &size, SOON), 0);
    }
    assert_memory_equal(back, data, sizeof data);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_not_root_hears_root),       cmocka_unit_test(many_strangers_hold_nobody_up),
        cmocka_unit_test(an_inbox_for_all_suspects_nobody), cmocka_unit_test(a_stream_knows_no_largest_message),
        cmocka_unit_test(what_cannot_be_sent_is_told),      cmocka_unit_test(lies_about_a_source_confine_nobody),
    };
    return cmocka_run_group_tests(tests, room_begin, room_end);
}
