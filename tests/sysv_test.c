/* SPDX-License-Identifier: MIT
 *
 * sysv:// beside programs that know nothing of thirl: plain msgsnd and msgrcv on the other side of a raw queue, foreign packets in a
 * framed one, foreign queues under its key; sleepers that are woken; and the kernel's limits, which are said with what raises
 * them. Whatever a test leaves in the kernel is removed, also when it is killed.
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
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "mech/kept.h"
#include "tests/room.h"
#include "wire/frag.h"

#define SOON thirl_in_ms(10000)

static char name[64]; /* of a queue of the test's own */

static const char *address(const char *options) {
    static char text[128];
    (void)snprintf(text, sizeof text, "sysv://%s%s", name, options);
    return text;
}

/* As the manual says: FNV-1a, with "thirl:" in front where frames go. */
static key_t key_with(const char *before, const char *behind) {
    char text[160];
    uint32_t hash = UINT32_C(2166136261);
    (void)snprintf(text, sizeof text, "%s%s%s", before, name, behind);
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * UINT32_C(16777619);
    }
    return (key_t)hash;
}

static key_t key_of(const char *before) {
    return key_with(before, "");
}

static void remove_key(key_t key) {
    int id = msgget(key, 0);
    if (id >= 0) {
        (void)msgctl(id, IPC_RMID, NULL);
    }
}

static int tidy(void **state) {
    (void)state;
    remove_key(key_of(""));
    remove_key(key_of("thirl:"));
    remove_key(key_with("thirl:", "/7"));
    remove_key(key_with("thirl:", "/back"));
    remove_key(key_with("thirl:", "/other"));
    return 0;
}

/* A keeper outlives this process, however that ends, and removes what it would leave. */
static int begin(void **state) {
    int wire[2];
    (void)snprintf(name, sizeof name, "thirl-test-%d", (int)getpid());
    if (pipe(wire) != 0) {
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        (void)close(wire[1]);
        (void)close(0);
        (void)close(1);
        (void)close(2);
        (void)setsid();
        (void)!read(wire[0], &byte, 1);
        (void)tidy(NULL);
        _exit(0);
    }
    (void)close(wire[0]);
    return pid < 0 ? -1 : room_begin(state);
}

/* ---- the foreign program: <sys/msg.h> and nothing else, in a process of its own ---- */

struct foreign {
    long type;
    char text[8192];
};

static int foreign_send_to(int id, long type, const char *text) {
    struct foreign packet = {.type = type};
    memcpy(packet.text, text, strlen(text));
    return msgsnd(id, &packet, strlen(text), IPC_NOWAIT);
}

static int foreign_send(void *unused) {
    (void)unused;
    int id = msgget(key_of(""), 0);
    return id < 0 || foreign_send_to(id, 32768, "plain") != 0 || foreign_send_to(id, 40000, "beyond") != 0 ||
           foreign_send_to(id, 1, "urgent") != 0 || foreign_send_to(id, 7, "") != 0;
}

static int foreign_receive(void *unused) {
    (void)unused;
    struct foreign packet;
    int id = msgget(key_of(""), 0);
    if (id < 0 || msgrcv(id, &packet, sizeof packet.text, 32768 - 9, IPC_NOWAIT) != 4 ||
        memcmp(packet.text, "high", 4) != 0) {
        return 1;
    }
    return msgrcv(id, &packet, sizeof packet.text, 0, IPC_NOWAIT) != 3 || memcmp(packet.text, "low", 3) != 0 ||
           packet.type != 32768;
}

/* ---- raw ---- */

static void take_one(thirl *end, const char *text, uint32_t priority) {
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_take(end, &msg, SOON), 0);
    assert_int_equal(thirl_msg_size(msg), strlen(text));
    assert_memory_equal(thirl_msg_data(msg), text, strlen(text));
    assert_int_equal(thirl_msg_priority(msg), priority);
    thirl_free(&msg);
}

static void raw_receives_from_msgsnd(void **state) {
    (void)state;
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("?raw"), NULL), 0);
    assert_int_equal(room_run(foreign_send, NULL), 0);
    take_one(end, "urgent", 32767);
    take_one(end, "", 32761);
    take_one(end, "plain", 0);
    take_one(end, "beyond", 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_clean(address("?raw")), 0);
}

static void raw_sends_to_msgrcv(void **state) {
    (void)state;
    thirl *end = NULL;
    thirl_msg *msg = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address("?raw"), NULL), 0);
    assert_int_equal(thirl_send(end, "low", 3, SOON), 0);
    assert_int_equal(thirl_loan(end, &msg, 4, SOON), 0);
    memcpy(thirl_msg_data(msg), "high", 4);
    assert_int_equal(thirl_msg_set_priority(msg, 9), 0);
    assert_int_equal(thirl_put(end, &msg, SOON), 0);
    assert_int_equal(room_run(foreign_receive, NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
    /* A program without thirl may know it by its key: it stays, and is listed, until somebody says so. */
    assert_int_equal(room_run(foreign_send, NULL), 0);
    assert_int_equal(thirl_clean(address("?raw")), 4);
    assert_int_equal(room_run(foreign_send, NULL), 1);
}

static void raw_keeps_types_apart(void **state) {
    (void)state;
    thirl *five = NULL, *six = NULL, *out = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    char data[16];
    assert_int_equal(thirl_open(&five, THIRL_PULL, address("/5?raw"), NULL), 0);
    assert_int_equal(thirl_open(&six, THIRL_PULL, address("/6?raw"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address("/6?raw"), NULL), 0);
    assert_int_equal(thirl_limits(out, &limits), 0);
    assert_int_equal(limits.priorities, 1);
    int id = msgget(key_of(""), 0);
    assert_int_equal(foreign_send_to(id, 5, "five"), 0);
    assert_int_equal(thirl_send(out, "six", 3, SOON), 0);
    assert_int_equal(thirl_recv(six, data, sizeof data, NULL, SOON), 0);
    assert_memory_equal(data, "six", 3);
    assert_int_equal(thirl_recv(six, data, sizeof data, NULL, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_recv(five, data, sizeof data, NULL, SOON), 0);
    assert_memory_equal(data, "five", 4);
    assert_int_equal(thirl_send(out, "six", 3, SOON), 0);
    struct foreign packet;
    assert_int_equal(msgrcv(id, &packet, sizeof packet.text, 0, IPC_NOWAIT), 3);
    assert_int_equal(packet.type, 6);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&six, SOON), 0);
    assert_int_equal(thirl_close(&five, SOON), 0);
    assert_int_equal(thirl_clean(address("/5?raw")), 0);
}

static int count_left(void *context, const struct thirl_left *left) {
    (void)left;
    ++*(int *)context;
    return 0;
}

static int lefts(void) {
    int left = 0;
    assert_int_equal(thirl_left(count_left, &left), 0);
    return left;
}

static void raw_takes_a_foreign_queue_as_it_is(void **state) {
    (void)state;
    int id = msgget(key_of(""), IPC_CREAT | IPC_EXCL | 0600);
    struct msqid_ds about;
    assert_true(id >= 0);
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    about.msg_qbytes = 144;
    assert_int_equal(msgctl(id, IPC_SET, &about), 0);
    thirl *end = NULL;
    struct thirl_limits limits = {.size = sizeof limits};
    char data[145] = "", key[40];
    (void)snprintf(key, sizeof key, "sysv://0x%x?raw", (unsigned)key_of("")); /* by its key as well as by name */
    assert_int_equal(thirl_open(&end, THIRL_PUSH, key, NULL), 0);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.message_max, 144);
    assert_int_equal(limits.queue, 144);
    assert_int_equal(thirl_send(end, data, 145, SOON), -EMSGSIZE);
    assert_non_null(strstr(thirl_why(), "144"));
    assert_non_null(strstr(thirl_why(), "kernel.msgmax"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), 0);
    }
    assert_int_equal(thirl_send(end, data, 48, THIRL_NOW), -EAGAIN);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(lefts(), 0); /* not thirl's to remove */
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
}

static void says_that_it_was_removed(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    assert_int_equal(thirl_open(&in, THIRL_PULL, address("?raw"), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address("?raw"), NULL), 0);
    remove_key(key_of(""));
    char byte;
    assert_int_equal(thirl_recv(in, &byte, 1, NULL, SOON), -EIDRM);
    assert_non_null(strstr(thirl_why(), "removed"));
    assert_int_equal(thirl_send(out, "x", 1, SOON), -EIDRM);
    assert_int_equal(thirl_close(&out, SOON), 0);
    assert_int_equal(thirl_close(&in, SOON), 0);
}

static void says_what_a_queue_is_called(void **state) {
    (void)state;
    static const char *const bad[] = {"sysv://",
                                      "sysv://?raw",
                                      "sysv://0x",
                                      "sysv://0x0",
                                      "sysv://0x123456789",
                                      "sysv://0xyz?raw",
                                      "sysv://a/0?raw",
                                      "sysv://a/b?raw",
                                      "sysv://a/?raw",
                                      "sysv:///1?raw",
                                      "sysv://a/-1?raw",
                                      "sysv://0x0/1?raw",
                                      "sysv://a/99999999999999999999?raw"};
    thirl *end = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(thirl_open(&end, THIRL_PULL, bad[i], NULL), -THIRL_EADDRESS);
        assert_non_null(strstr(thirl_why(), bad[i]));
    }
    char other[120];
    thirl *slash = NULL;
    (void)snprintf(other, sizeof other, "sysv://%s/7", name); /* framed, a slash is part of the name */
    assert_int_equal(thirl_open(&slash, THIRL_PUSH, other, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_send(slash, "x", 1, SOON), 0);
    assert_int_equal(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(20)), -ETIMEDOUT);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_int_equal(thirl_close(&slash, SOON), 0);
    assert_int_equal(thirl_clean(other), 1);
}

/* ---- keys ---- */

static void framed_keeps_away_from_foreign_queues(void **state) {
    (void)state;
    int id = msgget(key_of("thirl:"), IPC_CREAT | IPC_EXCL | 0600);
    assert_true(id >= 0);
    thirl *end = NULL;
    char number[32];
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -EEXIST);
    (void)snprintf(number, sizeof number, "number %d", id);
    assert_non_null(strstr(thirl_why(), number));
    assert_non_null(strstr(thirl_why(), "ipcrm"));
    assert_non_null(strstr(thirl_why(), name));
    assert_int_equal(lefts(), 0);
    struct msqid_ds about;
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0); /* it is there, though empty */
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

static int keep_one(void *unused) {
    (void)unused;
    thirl *end = NULL;
    return thirl_open(&end, THIRL_PUSH, address(""), NULL) != 0 || thirl_send(end, "x", 1, SOON) != 0 ||
           thirl_close(&end, SOON) != 0;
}

/* Somebody removes the queue and another program makes one with its key: that one is nobody's to read or remove. */
static void knows_that_a_queue_is_another(void **state) {
    (void)state;
    assert_int_equal(room_run(keep_one, NULL), 0);
    assert_int_equal(lefts(), 1);
    remove_key(key_of("thirl:"));
    assert_int_equal(lefts(), 0);
    int id = msgget(key_of("thirl:"), IPC_CREAT | IPC_EXCL | 0600);
    assert_int_equal(foreign_send_to(id, 1, "precious"), 0);
    thirl *end = NULL;
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), -EEXIST);
    assert_int_equal(lefts(), 0);
    (void)!thirl_clean(address(""));
    struct msqid_ds about;
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    assert_int_equal(about.msg_qnum, 1);
    assert_int_equal(msgctl(id, IPC_RMID, NULL), 0);
    assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

/* Killed between the making of a queue and the noting of its number: the next one has it, or it is removed. */
static int die_when_made(void *role) {
    thirl *end = NULL;
    (void)setenv("THIRL_WEAVE_AT", "sysv.make.after:1:kill", 1);
    return thirl_open(&end, *(enum thirl_role *)role, address(""), NULL);
}

static void a_kill_leaves_no_queue(void **state) {
    (void)state;
    enum thirl_role roles[] = {THIRL_PUSH, THIRL_PULL};
    thirl *end = NULL, *out = NULL;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(room_run(die_when_made, &roles[i]), 128 + SIGKILL);
        assert_true(msgget(key_of("thirl:"), 0) >= 0);
        char byte;
        if (i == 0) {
            assert_int_equal(thirl_open(&end, THIRL_PULL, address(""), NULL), 0);
            assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
            assert_int_equal(thirl_send(out, "x", 1, SOON), 0);
            assert_int_equal(thirl_recv(end, &byte, 1, NULL, SOON), 0);
            assert_int_equal(thirl_close(&out, SOON), 0);
        } else {
            char other[120];
            (void)snprintf(other, sizeof other, "sysv://%s/other", name);
            assert_int_equal(thirl_open(&end, THIRL_PULL, other, NULL), 0);
        }
        assert_int_equal(thirl_close(&end, SOON), 0);
        assert_true(msgget(key_of("thirl:"), 0) < 0);
    }
}

/* ---- framed ---- */

static int refused_of(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->refused;
    return 0;
}

static void put_packet(int id, const void *data, size_t size) {
    struct foreign packet = {.type = 50000};
    memcpy(packet.text, data, size);
    assert_int_equal(msgsnd(id, &packet, size, IPC_NOWAIT), 0);
}

static void framed_refuses_foreign_packets(void **state) {
    (void)state;
    thirl *in = NULL, *out = NULL;
    char data[64];
    assert_int_equal(thirl_open(&in, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    int id = msgget(key_of("thirl:"), 0);
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
    assert_non_null(strstr(thirl_why(), name));
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
    assert_int_equal(thirl_open(&in, THIRL_PULL, address(""), NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
    int id = msgget(key_of("thirl:"), 0);
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
    (void)snprintf(back, sizeof back, "sysv://%s/back", name);
    if (thirl_open(&in, THIRL_PULL, address("?wait=sleep"), NULL) != 0 ||
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
    (void)snprintf(back, sizeof back, "sysv://%s/back?wait=sleep", name);
    pid_t child = room_fork(echo_some, &count);
    assert_int_equal(thirl_open(&in, THIRL_PULL, back, NULL), 0);
    assert_int_equal(thirl_open(&out, THIRL_PUSH, address(""), NULL), 0);
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

/* ---- limits and permission bits ---- */

static void mode_is_obeyed(void **state) {
    (void)state;
    thirl *end = NULL;
    struct msqid_ds about;
    assert_int_equal(thirl_open(&end, THIRL_PULL, address("?mode=0640"), NULL), 0);
    int id = msgget(key_of("thirl:"), 0);
    assert_int_equal(msgctl(id, IPC_STAT, &about), 0);
    assert_int_equal(about.msg_perm.mode & 0777, 0640);
    assert_int_equal(thirl_close(&end, SOON), 0);
    assert_true(msgget(key_of("thirl:"), 0) < 0); /* it was empty */
}

/* The identifier of the only inbox there, by the note of it in the registry; -1: there is none. */
static int inbox(void) {
    char path[400];
    struct kept kept = {.version = 0};
    int id = -1;
    (void)snprintf(path, sizeof path, "%s/chan/%%sysv.%s", room_path, name);
    DIR *list = opendir(path);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        if (strncmp(entry->d_name, "kept.", 5) == 0) {
            (void)snprintf(path, sizeof path, "%s/chan/%%sysv.%s/%.100s", room_path, name, entry->d_name);
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
    assert_int_equal(thirl_open(&end, THIRL_PAIR, address(""), NULL), 0);
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
    assert_int_equal(thirl_open(&a, THIRL_PAIR, address(""), NULL), 0);
    assert_int_equal(thirl_open(&b, THIRL_PAIR, address(""), NULL), 0);
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
    assert_int_equal(thirl_open(&end, THIRL_PUSH, address("?queue=6000"), NULL), 0);
    assert_int_equal(thirl_limits(end, &limits), 0);
    assert_int_equal(limits.queue, 6000);
    assert_int_equal(limits.atomic_max, 3000 - 6000 / 32 - FRAG_LABEL);
    assert_int_equal(thirl_close(&end, SOON), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(raw_receives_from_msgsnd, tidy),
        cmocka_unit_test_teardown(raw_sends_to_msgrcv, tidy),
        cmocka_unit_test_teardown(raw_keeps_types_apart, tidy),
        cmocka_unit_test_teardown(raw_takes_a_foreign_queue_as_it_is, tidy),
        cmocka_unit_test_teardown(says_that_it_was_removed, tidy),
        cmocka_unit_test_teardown(says_what_a_queue_is_called, tidy),
        cmocka_unit_test_teardown(framed_keeps_away_from_foreign_queues, tidy),
        cmocka_unit_test_teardown(knows_that_a_queue_is_another, tidy),
        cmocka_unit_test_teardown(a_kill_leaves_no_queue, tidy),
        cmocka_unit_test_teardown(framed_refuses_foreign_packets, tidy),
        cmocka_unit_test_teardown(strangers_are_thrown_away_a_part_at_a_time, tidy),
        cmocka_unit_test_teardown(a_goodbye_is_known_to_both_halves, tidy),
        cmocka_unit_test_teardown(pieces_of_others_are_not_mixed_in, tidy),
        cmocka_unit_test_teardown(a_sleeper_is_woken, tidy),
        cmocka_unit_test_teardown(mode_is_obeyed, tidy),
        cmocka_unit_test_teardown(queue_is_as_large_as_wished, tidy),
    };
    return cmocka_run_group_tests(tests, begin, room_end);
}
