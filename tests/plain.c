/* SPDX-License-Identifier: MIT
 *
 * What tests of plain pipes share, see plain.h.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/plain.h"

char plain_fifo[96], plain_raw[128], plain_file[96];

int plain_begin(void **state) {
    (void)state;
    (void)snprintf(plain_fifo, sizeof plain_fifo, "%s/fifo", peer_directory);
    (void)snprintf(plain_file, sizeof plain_file, "%s/file", peer_directory);
    (void)snprintf(plain_raw, sizeof plain_raw, "fifo://%s?raw", plain_fifo);
    (void)unlink(plain_fifo);
    (void)unlink(plain_file);
    bare_fill();
    return 0;
}

thirl *plain_open(enum thirl_role role, const char *address) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, address, NULL);
    if (rc != 0) {
        print_error("%s\n", thirl_why());
    }
    assert_int_equal(rc, 0);
    return end;
}

pid_t plain_shell(const char *text) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
        _exit(127);
    }
    return pid;
}

pid_t plain_run(const char *command) {
    char text[512];
    // cppcheck-suppress wrongPrintfScanfArgNum ; some need no file
    (void)snprintf(text, sizeof text, command, plain_fifo, plain_file);
    return plain_shell(text);
}

void plain_fill(const void *data, size_t size) {
    int fd = open(plain_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
}

void plain_check(const void *data, size_t size) {
    int fd = open(plain_file, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, buffer, sizeof buffer), size);
    assert_memory_equal(buffer, data, size);
    (void)close(fd);
    (void)unlink(plain_file);
}

size_t plain_read(thirl *end) {
    size_t have = 0, size;
    int rc;
    while ((rc = thirl_recv(end, buffer + have, sizeof buffer - have, &size, LONG)) == 0) {
        have += size;
        if (have == sizeof buffer) {
            break;
        }
    }
    if (have < sizeof buffer) {
        assert_int_equal(rc, THIRL_END);
    }
    return have;
}

bool plain_exists(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

void plain_make(void) {
    assert_int_equal(mkfifo(plain_fifo, 0600), 0);
}

short plain_poll(int fd, int ms) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, ms) == 1 ? polled.revents : 0;
}
