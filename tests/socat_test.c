/* SPDX-License-Identifier: MIT
 *
 * The raw form of connected sockets against socat and nc: whoever comes first, bytes arrive as they are, and an end is an end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/bare.h"
#include "wire/frame.h"

static void need(const char *program) {
    char command[64];
    (void)snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
    if (system(command) != 0) {
        printf("skipped: %s is not installed\n", program);
        skip();
    }
}

/* A shell command in which %C stands for socat's address to call, %L for the one to listen, %F for a file of ours, %P for the
 * path or port. */
static pid_t run(const char *command) {
    char text[1024] = "exec ", word[160], *at = text + strlen(text);
    for (; *command != '\0'; command++) {
        if (*command == '%') {
            command++;
            const char *form = *command == 'C'   ? bare_kind->connect
                               : *command == 'L' ? bare_kind->listen
                               : *command == 'F' ? "%s/f"
                                                 : "%s";
            (void)snprintf(word, sizeof(word), form, *command == 'F' ? peer_directory : bare_place);
            at = stpcpy(at, word);
        } else {
            *at++ = *command;
            *at = '\0';
        }
    }
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static bool is_listening(void) {
    char line[256], wanted[64];
    struct stat file;
    if (bare_kind->family == AF_UNIX) {
        return stat(peer_path, &file) == 0;
    }
    (void)snprintf(wanted, sizeof(wanted), "0100007F:%04lX 00000000:0000 0A", strtoul(bare_place, NULL, 10));
    FILE *list = fopen("/proc/net/tcp", "r");
    bool found = false;
    assert_non_null(list);
    while (!found && fgets(line, sizeof(line), list) != NULL) {
        found = strstr(line, wanted) != NULL;
    }
    (void)fclose(list);
    return found;
}

/* socat listens a moment after it has begun, and at a path a moment after that is there. */
static void await_listener(void) {
    for (int i = 0; i < 800 && !is_listening(); i++) {
        (void)usleep(10000);
    }
    (void)usleep(20000);
}

static void write_file(const void *data, size_t size) {
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/f", peer_directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
}

static void must_be_in_file(const void *data, size_t size) {
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/f", peer_directory);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buffer, sizeof(buffer)), size);
    assert_memory_equal(buffer, data, size);
    (void)close(fd);
    (void)unlink(path);
}

static void must_read(thirl *end, size_t total) {
    for (size_t have = 0, size; have < total; have += size) {
        assert_int_equal(thirl_recv(end, buffer + have, sizeof(buffer) - have, &size, LONG), 0);
        assert_true(size > 0 && size <= total - have);
    }
    size_t size;
    assert_memory_equal(buffer, bulk, total);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), THIRL_END);
    assert_int_equal(thirl_recv(end, buffer, 1, &size, LONG), THIRL_END);
}

static void reads_from_socat(void **state) {
    need("socat");
    bare_use(state);
    bare_fill();
    write_file(bulk, BULK - 1);
    for (int first = 0; first < 2; first++) {
        pid_t pid = first ? run("socat -u -b 50000 OPEN:%F %L") : -1;
        if (first) {
            await_listener();
        }
        thirl *end = peer_open(THIRL_READ);
        pid = first ? pid : run("socat -u -b 50000 OPEN:%F %C");
        must_read(end, BULK - 1);
        peer_reap(pid);
        assert_int_equal(thirl_close(&end, LONG), 0);
    }
}

static void writes_to_socat(void **state) {
    need("socat");
    bare_use(state);
    bare_fill();
    for (int first = 0; first < 2; first++) {
        pid_t pid = first ? run("socat -u -b 300000 %L CREATE:%F") : -1;
        if (first) {
            await_listener();
        }
        thirl *end = peer_open(THIRL_WRITE);
        pid = first ? pid : run("socat -u -b 300000 %C CREATE:%F");
        assert_int_equal(thirl_send(end, bulk, 1, LONG), 0);
        assert_int_equal(thirl_send(end, bulk + 1, BULK - 2, LONG), 0);
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
        must_be_in_file(bulk, BULK - 1);
    }
}

/* Both ways at once: socat sends everything back. */
static void talks_with_socat(void **state) {
    need("socat");
    bare_use(state);
    bare_fill();
    for (int first = 0; first < 2; first++) {
        pid_t pid = first ? run("socat %L EXEC:cat") : -1;
        if (first) {
            await_listener();
        }
        thirl *end = peer_open(THIRL_PAIR);
        pid = first ? pid : run("socat %C EXEC:cat");
        for (unsigned i = 0; i < 40; i++) {
            size_t sent = 1 + i * 100, have = 0, size;
            assert_int_equal(thirl_send(end, bulk + i, sent, LONG), 0);
            for (; have < sent; have += size) {
                assert_int_equal(thirl_recv(end, buffer + have, sizeof(buffer) - have, &size, LONG), 0);
            }
            assert_int_equal(have, sent);
            assert_memory_equal(buffer, bulk + i, sent);
        }
        assert_int_equal(thirl_close(&end, LONG), 0);
        peer_reap(pid);
    }
}

static void talks_with_nc(void **state) {
    need("nc.openbsd");
    bare_use(state);
    bare_fill();
    write_file(bulk, 50000);
    thirl *end = peer_open(THIRL_READ);
    pid_t pid = run(bare_kind->family == AF_UNIX ? "nc.openbsd -N -U %P <%F" : "nc.openbsd -N 127.0.0.1 %P <%F");
    must_read(end, 50000);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    pid = run(bare_kind->family == AF_UNIX ? "nc.openbsd -l -U %P >%F" : "nc.openbsd -l 127.0.0.1 %P >%F");
    await_listener();
    end = peer_open(THIRL_WRITE);
    assert_int_equal(thirl_send(end, bulk, BULK, LONG), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    peer_reap(pid);
    must_be_in_file(bulk, BULK);
}

/* One who speaks something else, over the framed form: whoever listens and whoever calls hears of it, and stays whole. */
static void framed_refuses_socat(void **state) {
    need("socat");
    bare_use(state);
    char *raw = strstr(peer_address, "raw") - 1;
    *raw = '\0';
    size_t size;
    thirl *end = peer_open(THIRL_PAIR);
    pid_t pid = run("echo 'GET / HTTP/1.1' | socat -t 5 - %C >%F");
    struct stat file = {0};
    char path[96];
    (void)snprintf(path, sizeof(path), "%s/f", peer_directory);
    for (int i = 0; i < 400 && file.st_size == 0; i++) {
        assert_int_equal(thirl_recv(end, buffer, 1, &size, thirl_in_ms(20)), -ETIMEDOUT);
        (void)stat(path, &file);
    }
    assert_int_equal(file.st_size, FRAME_HELLO); /* a greeting that says no */
    peer_reap(pid);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(thirl_close(&end, LONG), 0);
    pid = run("socat %L SYSTEM:'echo 550 I know no such thing; sleep 1'");
    await_listener();
    int rc = thirl_open(&end, THIRL_PAIR, peer_address, NULL);
    rc = rc == 0 ? thirl_recv(end, buffer, 1, &size, LONG) : rc;
    assert_int_equal(rc, -THIRL_EFORMAT);
    assert_non_null(strstr(thirl_why(), "does not speak thirl"));
    assert_int_equal(thirl_close(&end, LONG), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        ALL(reads_from_socat),     ALL(writes_to_socat),           ALL(talks_with_socat),
        ALL(framed_refuses_socat), ON(talks_with_nc, "stream", 0), ON(talks_with_nc, "tcp", 2),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, peer_setup, peer_teardown);
}
