/* SPDX-License-Identifier: MIT
 *
 * unix://…?type=datagram beside programs that know nothing of thirl: plain sendto and recvfrom, and socat, on the other side of a raw
 * end, foreign datagrams at a framed one; who may have a name, who may send to it, and what the dead have left there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem/node.h"
#include "tests/room.h"
#include "wire/frag.h"

#define SOON thirl_in_ms(10000)

static char path[128];

static const char *address(const char *options) {
    static char text[256];
    (void)snprintf(text, sizeof text, "unix://%s?type=datagram%s", path, options);
    return text;
}

static int begin(void **state) {
    int rc = room_begin(state);
    (void)snprintf(path, sizeof path, "%s/socket", room_path);
    return rc;
}

static int tidy(void **state) {
    (void)state;
    (void)unlink(path);
    return 0;
}

/* ---- the foreign program: <sys/socket.h> and nothing else ---- */

static socklen_t name_of(struct sockaddr_un *at, const char *text) {
    *at = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(at->sun_path, text, strlen(text));
    if (text[0] == '@') {
        at->sun_path[0] = '\0';
    }
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(text) + (text[0] != '@'));
}

static int foreign_bind(int type) {
    struct sockaddr_un at;
    socklen_t length = name_of(&at, path);
    int fd = socket(AF_UNIX, type, 0);
    return fd >= 0 && bind(fd, (const struct sockaddr *)&at, length) == 0 ? fd : -1;
}

static ssize_t foreign_send(const char *to, const void *data, size_t size) {
    struct sockaddr_un at;
    socklen_t length = name_of(&at, to);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    ssize_t sent = sendto(fd, data, size, MSG_DONTWAIT, (const struct sockaddr *)&at, length);
    (void)close(fd);
    return sent;
}

/* ---- raw ---- */

static void raw_receives_from_sendto(void **state) {
    (void)state;
    thirl *end = NULL;
    char data[16];
    size_t size = 77;
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("&raw"), NULL), 0);
    assert_int_equal(foreign_send(path, "plain", 5), 5);
    assert_int_equal(foreign_send(path, "", 0), 0);
    assert_int_equal(foreign_send(path, "more", 4), 4);
    assert_int_equal(thirl_recv(end, data, 4, &size, SOON), -EMSGSIZE);
    assert_int_equal(size, 5);
    assert_int_equal(thirl_recv(end, data, sizeof data, &size, SOON), 0);
    assert_int_equal(size, 5);
    assert_memory_equal(data, "plain", 5);
    assert_int_equal(thirl_recv(end, data, sizeof data, &size, SOON), 0);
    assert_int_equal(size, 0);
    assert_int_equal(thirl_recv(end, data, sizeof data, &size, SOON), 0);
    assert_memory_equal(data, "more", 4);
    assert_int_equal(thirl_recv(end, data, sizeof data, &size, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(access(path, F_OK), -1);
}

static void raw_sends_to_recvfrom(void **state) {
    (void)state;
    thirl *end = NULL;
    char data[16];
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address("&raw"), NULL), 0);
    assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), -EAGAIN); /* nobody is there yet */
    assert_int_equal(thirl_send(end, "x", 1, thirl_in_ms(20)), -ETIMEDOUT);
    int fd = foreign_bind(SOCK_DGRAM);
    assert_true(fd >= 0);
    assert_int_equal(thirl_send(end, "hello", 5, SOON), 0);
    assert_int_equal(recv(fd, data, sizeof data, 0), 5);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(close(fd), 0);
    assert_int_equal(thirl_send(end, "x", 1, THIRL_NOW), -EAGAIN); /* and gone again */
    assert_int_equal(unlink(path), 0);
    fd = foreign_bind(SOCK_DGRAM);
    assert_int_equal(thirl_send(end, "again", 5, SOON), 0);
    assert_int_equal(recv(fd, data, sizeof data, 0), 5);
    struct thirl_limits limits = {.size = sizeof limits};
    assert_int_equal(thirl_limits(end, &limits), 0);
    char *large = calloc(1, (size_t)limits.message_max + 1);
    assert_non_null(large);
    assert_int_equal(thirl_send(end, large, (size_t)limits.message_max, SOON), 0);
    assert_int_equal(recv(fd, large, (size_t)limits.message_max, 0), limits.message_max);
    assert_int_equal(thirl_send(end, large, (size_t)limits.message_max + 1, SOON), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "wmem_max"));
    free(large);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(close(fd), 0);
}

static void raw_receives_from_socat(void **state) {
    (void)state;
    thirl *end = NULL;
    char command[256], data[16];
    if (system("command -v socat >/dev/null") != 0) {
        printf("skipped: there is no socat\n");
        skip();
    }
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("&raw"), NULL), 0);
    (void)snprintf(command, sizeof command, "printf hello | timeout 20 socat -u - UNIX-SENDTO:%s", path);
    assert_int_equal(system(command), 0);
    assert_int_equal(thirl_recv(end, data, sizeof data, NULL, SOON), 0);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

/* ---- framed ---- */

static int refused_of(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->refused;
    return 0;
}

static void framed_refuses_foreign_packets(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    char data[64];
    size_t size = 0;
    assert_int_equal(thirl_open(&in, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    assert_int_equal(foreign_send(path, "hello", 5), 5);
    assert_int_equal(foreign_send(path, "", 0), 0);
    unsigned char wire[FRAG_LABEL + 8] = {0};
    struct frag_label label = {FRAG_DATA, 5, 1, 1, 1, UINT32_C(0x7fffffff), 0, 8, false};
    frag_write(wire + 8, &label);
    assert_int_equal(foreign_send(path, wire, sizeof wire), sizeof wire); /* announces two gigabytes */
    assert_int_equal(thirl_send(out, "two", 3, SOON), 0);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "not thirl's"));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "?max"));
    assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
    assert_memory_equal(data, "two", 3);
    uint64_t refused = 0;
    assert_int_equal(thirl_list(refused_of, &refused), 0);
    assert_int_equal(refused, 3);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

/* Descriptors that nobody asked for do not stay. */
static void descriptors_are_not_taken(void **state) {
    (void)state;
    thirl *in = NULL;
    char byte = 0;
    assert_int_equal(thirl_open(&in, THIRL_PULL, address("&raw"), NULL), 0);
    struct sockaddr_un at;
    socklen_t length = name_of(&at, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    struct iovec part = {&byte, 1};
    const struct msghdr message = {&at, length, &part, 1, &control, sizeof control, 0};
    unsigned before = room_descriptors();
    if (sendmsg(fd, &message, MSG_DONTWAIT) == 1) { /* before Linux 6.16 */
        assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
    }
    assert_int_equal(room_descriptors(), before);
    assert_int_equal(close(fd), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
    assert_int_equal(thirl_open(&in, THIRL_PULL, address("&descriptors=1"), NULL), -EOPNOTSUPP);
}

/* ---- names ---- */

static void a_name_has_one_receiver(void **state) {
    (void)state;
    static const char *const names[] = {"", "unix://@thirl-dgram-test?type=datagram"};
    for (int i = 0; i < 2; i++) {
        const char *at = i == 0 ? address("") : names[i];
        thirl *one = NULL, *two = NULL;
        assert_int_equal(thirl_open(&one, THIRL_PULL, at, NULL), 0);
        assert_int_equal(thirl_open(&two, THIRL_PULL, at, NULL), -EBUSY);
        assert_non_null(strstr(thirl_why(), "receives there already"));
        assert_int_equal(thirl_close(&one, SOON), 0);
        assert_int_equal(thirl_open(&two, THIRL_PULL, at, NULL), 0);
        assert_int_equal(thirl_close(&two, SOON), 0);
    }
}

static void what_is_there_is_respected(void **state) {
    (void)state;
    thirl *end = NULL;
    char byte;
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(close(fd), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -ENOTSOCK);
    assert_int_equal(unlink(path), 0);
    fd = foreign_bind(SOCK_STREAM);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -EBUSY);
    assert_non_null(strstr(thirl_why(), "another type"));
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address(""), NULL), -EPROTOTYPE);
    assert_non_null(strstr(thirl_why(), "?type="));
    assert_int_equal(close(fd), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("&mode=0640"), NULL), 0); /* dead, so it is replaced */
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0640);
    assert_int_equal(thirl_recv(end, &byte, 1, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, "unix://relative?type=datagram", NULL), -THIRL_EADDRESS);
    assert_int_equal(thirl_open(&end, THIRL_PULL, "unix://@?type=datagram", NULL), -THIRL_EADDRESS);
}

static int die_at(void *order) {
    thirl *end = NULL;
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    return thirl_open(&end, THIRL_PULL, address(""), NULL);
}

/* Whoever is killed while he binds leaves something that the next one replaces. */
static void a_kill_leaves_no_name_taken(void **state) {
    (void)state;
    static const char *const orders[] = {"dgram.bind.after:1:kill", "dgram.unlink.before:1:kill",
                                         "dgram.unlink.after:1:kill", "dgram.bind.after:1:kill"};
    thirl *in = NULL, *out = NULL;
    char byte;
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        assert_int_equal(room_run(die_at, (void *)(uintptr_t)orders[i]), 128 + SIGKILL);
    }
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    assert_int_equal(thirl_send(out, "x", 1, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_open(&in, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), 0);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

/* A path whose file is another's by now is left alone; one that is gone is no matter. */
static void what_lies_there_later_is_left_alone(void **state) {
    (void)state;
    char aside[140];
    (void)snprintf(aside, sizeof aside, "%s~", path);
    for (int i = 0; i < 2; i++) {
        thirl *end = NULL;
        assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
        assert_int_equal(rename(path, aside), 0); /* so that its inode stays taken */
        int fd = i == 0 ? -1 : foreign_bind(SOCK_DGRAM);
        assert_int_equal(thirl_close(&end, SOON), 0);
        assert_int_equal(access(path, F_OK), i == 0 ? -1 : 0);
        assert_int_equal(unlink(aside), 0);
        (void)close(fd);
    }
}

static void who_hears_one_sender_only_is_left_alone(void **state) {
    (void)state;
    struct sockaddr_un at;
    thirl *end = NULL;
    int other = socket(AF_UNIX, SOCK_DGRAM, 0), fd = foreign_bind(SOCK_DGRAM);
    socklen_t length = name_of(&at, "@thirl-dgram-other");
    assert_int_equal(bind(other, (const struct sockaddr *)&at, length), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, length), 0);
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address(""), NULL), -EPERM);
    assert_non_null(strstr(thirl_why(), "one sender only"));
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -EBUSY);
    assert_int_equal(close(fd), 0);
    assert_int_equal(close(other), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/no/such/place", path), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -ENOTSOCK);
    assert_int_equal(unlink(path), 0);
}

static int open_at(void *order) {
    thirl *end = NULL;
    (void)setenv("THIRL_WEAVE_AT", order, 1);
    int rc = thirl_open(&end, THIRL_PULL, address(""), NULL);
    rc = rc == -EBUSY ? 42 : rc != 0;
    return end == NULL || thirl_close(&end, THIRL_NOW) == 0 ? rc : 99;
}

/* Programs that know nothing of the lock remove what a dead one has left, or take its place, just then. */
static void others_come_between(void **state) {
    (void)state;
    static const char *const orders[] = {"dgram.unlink.before:1:stop", "dgram.unlink.after:1:stop"};
    for (int i = 0; i < 2; i++) {
        int fd = foreign_bind(SOCK_DGRAM), status = 0;
        assert_int_equal(close(fd), 0); /* dead */
        pid_t pid = room_fork(open_at, (void *)(uintptr_t)orders[i]);
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        if (i == 0) {
            assert_int_equal(unlink(path), 0);
        } else {
            fd = foreign_bind(SOCK_DGRAM);
            assert_true(fd >= 0);
        }
        assert_int_equal(kill(pid, SIGCONT), 0);
        assert_int_equal(room_reap(pid), i == 0 ? 0 : 42);
        assert_int_equal(access(path, F_OK), i == 0 ? -1 : 0);
    }
}

static void whoever_holds_the_directory_is_not_waited_for_long(void **state) {
    (void)state;
    thirl *end = NULL;
    int fd = open(room_path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -EAGAIN);
    assert_non_null(strstr(thirl_why(), "lock of its directory"));
    assert_int_equal(close(fd), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

/* Another user's socket in a directory where everybody may make files, and remove his own. */
static int open_as_nobody(void *unused) {
    thirl *end = NULL;
    char registry[96];
    (void)unused;
    (void)snprintf(registry, sizeof registry, "%s/nobody", room_path);
    if (mkdir(registry, 0700) != 0 || chown(registry, 65534, 65534) != 0 || setresuid(65534, 65534, 0) != 0) {
        return 77;
    }
    (void)setenv("THIRL_DIR", registry, 1);
    int rc = thirl_open(&end, THIRL_PULL, address(""), NULL);
    bool told = rc == -EPERM && strstr(thirl_why(), "a dead process left") != NULL;
    return told && setresuid(0, 0, 0) == 0 ? 0 : 1;
}

static void what_cannot_be_removed_is_told(void **state) {
    (void)state;
    struct stat before;
    if (geteuid() != 0) {
        printf("skipped: only root can become another user\n");
        skip();
    }
    assert_int_equal(close(foreign_bind(SOCK_DGRAM)), 0);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(stat(room_path, &before), 0);
    assert_int_equal(chmod(room_path, 01777), 0);
    int rc = room_run(open_as_nobody, NULL);
    assert_int_equal(chmod(room_path, before.st_mode & 07777), 0);
    assert_int_equal(rc, 0);
}

static int send_as_nobody(void *to) {
    return setuid(65534) != 0 ? 77 : foreign_send(to, "evil", 4) != 4;
}

/* An abstract name has no permission bits: the kernel says who sends, and others than its owner are not heard. */
static void abstract_names_hear_their_owner(void **state) {
    (void)state;
    thirl *in = NULL;
    char data[8], name[64], at[128];
    (void)snprintf(name, sizeof name, "@thirl-dgram-%d", (int)getpid());
    for (int open = 0; open < 2; open++) {
        (void)snprintf(at, sizeof at, "unix://%s?type=datagram&raw%s", name, open ? "&mode=0666" : "");
        assert_int_equal(thirl_open(&in, THIRL_PULL, at, NULL), 0);
        int rc = room_run(send_as_nobody, name);
        if (rc == 77) {
            assert_int_equal(thirl_close(&in, SOON), 0);
            printf("skipped: only root can become another user\n");
            skip();
        }
        assert_int_equal(rc, 0);
        assert_int_equal(foreign_send(name, "good", 4), 4);
        assert_int_equal(thirl_recv(in, data, sizeof data, NULL, SOON), 0);
        assert_memory_equal(data, open ? "evil" : "good", 4);
        assert_int_equal(thirl_recv(in, data, sizeof data, NULL, THIRL_NOW), open ? 0 : -EAGAIN);
        assert_int_equal(thirl_close(&in, SOON), 0);
    }
}

/* Larger than any packet may be, behind a small one that lets the receiver expect another; often enough to be met by a call that asks for several. */
static void a_giant_is_refused(void **state) {
    (void)state;
    enum { GIANT = 300000 };
    static char data[2 * GIANT];
    const int room = GIANT;
    for (int raw = 0; raw < 2; raw++) {
        thirl *in = NULL;
        struct sockaddr_un at;
        size_t size = 0;
        assert_int_equal(thirl_open(&in, THIRL_PULL, address(raw ? "&raw" : ""), NULL), 0);
        assert_int_equal(foreign_send(path, "small", 5), 5);
        assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), raw ? 0 : -THIRL_EFORMAT);
        int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        socklen_t length = name_of(&at, path);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(sendto(fd, data, GIANT, 0, (const struct sockaddr *)&at, length), GIANT);
            assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), -THIRL_EFORMAT);
            assert_non_null(strstr(thirl_why(), "300000"));
        }
        assert_int_equal(close(fd), 0);
        assert_int_equal(thirl_close(&in, SOON), 0);
    }
}

/* Sends to every inbox of this process, as somebody else would: how many took it? */
static unsigned intrude(void) {
    char node[NODE_NAME_MAX], line[512];
    unsigned taken = 0;
    FILE *list = fopen("/proc/net/unix", "r");
    node_name(node, node_id());
    while (list != NULL && fgets(line, sizeof line, list) != NULL) {
        char *name = strstr(line, "@thirl-");
        if (name != NULL && strstr(name, node) != NULL) {
            name[strcspn(name, "\n")] = '\0';
            taken += foreign_send(name, "hello", 5) == 5;
            assert_true(taken != 0 || errno == EPERM);
        }
    }
    assert_non_null(list);
    assert_int_equal(fclose(list), 0);
    return taken;
}

/* Once both have spoken the kernel keeps others away from them, and lets more wait than net.unix.max_dgram_qlen says. */
static void a_conversation_is_left_alone(void **state) {
    (void)state;
    enum { MANY = 100 };
    thirl *one = NULL, *two = NULL;
    char data[8];
    uint32_t word = 0;
    assert_int_equal(thirl_open(&one, THIRL_PAIR, address(""), NULL), 0);
    assert_int_equal(intrude(), 1);
    assert_int_equal(thirl_open(&two, THIRL_PAIR, address(""), NULL), 0);
    for (int i = 0; i < 300; i++) { /* as many as make the inbox forget whom it suspected */
        assert_int_equal(thirl_send(one, "ping", 4, SOON), 0);
        assert_int_equal(thirl_recv(two, data, sizeof data, NULL, SOON), 0);
        assert_int_equal(thirl_send(two, "pong", 4, SOON), 0);
        if (i == 0) {
            assert_int_equal(thirl_recv(one, data, sizeof data, NULL, SOON), -THIRL_EFORMAT); /* the intruder */
        }
        assert_int_equal(thirl_recv(one, data, sizeof data, NULL, SOON), 0);
        assert_memory_equal(data, "pong", 4);
    }
    assert_int_equal(intrude(), 0);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(thirl_send(one, &i, sizeof i, THIRL_NOW), 0);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(thirl_recv(two, &word, sizeof word, NULL, THIRL_NOW), 0);
        assert_int_equal(word, i);
    }
    assert_int_equal(thirl_close(&one, SOON), 0);
    assert_int_equal(thirl_close(&two, SOON), 0);
}

/* What a stranger sends is passed over, wherever it lies between what is welcome: alone, among others that one call has brought, or as the last of them. */
static void strangers_are_passed_over(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    char name[64], at[96];
    static unsigned char evil[9000 + FRAG_LABEL]; /* a tray takes no second one of these soon */
    struct frag_label label = {FRAG_DATA, 5, 1, 0, 0, sizeof evil - FRAG_LABEL, 0, sizeof evil - FRAG_LABEL, false};
    if (getuid() != 0) {
        printf("skipped: only root can become another user\n");
        skip();
    }
    (void)snprintf(name, sizeof name, "@thirl-dgram-%d", (int)getpid());
    (void)snprintf(at, sizeof at, "unix://%s?type=datagram", name);
    memset(evil, 0xee, sizeof evil);
    assert_int_equal(thirl_open(&in, THIRL_PULL, at, NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, at, NULL), 0);
    for (uint64_t i = 0; i < 4000; i += 2) {
        const uint64_t second = i + 1;
        assert_int_equal(thirl_send(out, &i, sizeof i, SOON), 0);
        label.packet = label.message = (uint32_t)i / 2;
        frag_write(evil + sizeof evil - FRAG_LABEL, &label);
        assert_int_equal(setreuid(65534, (uid_t)-1), 0);
        ssize_t sent = foreign_send(name, evil, sizeof evil);
        assert_int_equal(setreuid(0, (uid_t)-1), 0);
        assert_int_equal(sent, sizeof evil);
        assert_int_equal(thirl_send(out, &second, sizeof second, SOON), 0);
        for (uint64_t wanted = i; wanted <= second; wanted++) {
            unsigned char data[sizeof evil];
            size_t size = 0;
            assert_int_equal(thirl_recv(in, data, sizeof data, &size, SOON), 0);
            assert_int_equal(size, sizeof wanted);
            assert_memory_equal(data, &wanted, sizeof wanted);
        }
    }
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(raw_receives_from_sendto, tidy),
        cmocka_unit_test_teardown(raw_sends_to_recvfrom, tidy),
        cmocka_unit_test_teardown(raw_receives_from_socat, tidy),
        cmocka_unit_test_teardown(framed_refuses_foreign_packets, tidy),
        cmocka_unit_test_teardown(descriptors_are_not_taken, tidy),
        cmocka_unit_test_teardown(a_name_has_one_receiver, tidy),
        cmocka_unit_test_teardown(what_is_there_is_respected, tidy),
        cmocka_unit_test_teardown(a_kill_leaves_no_name_taken, tidy),
        cmocka_unit_test_teardown(abstract_names_hear_their_owner, tidy),
        cmocka_unit_test_teardown(strangers_are_passed_over, tidy),
        cmocka_unit_test_teardown(what_lies_there_later_is_left_alone, tidy),
        cmocka_unit_test_teardown(who_hears_one_sender_only_is_left_alone, tidy),
        cmocka_unit_test_teardown(others_come_between, tidy),
        cmocka_unit_test_teardown(whoever_holds_the_directory_is_not_waited_for_long, tidy),
        cmocka_unit_test_teardown(what_cannot_be_removed_is_told, tidy),
        cmocka_unit_test_teardown(a_giant_is_refused, tidy),
        cmocka_unit_test_teardown(a_conversation_is_left_alone, tidy),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
