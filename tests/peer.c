/* SPDX-License-Identifier: MIT
 *
 * Helpers of the unix:// tests, see peer.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/peer.h"

char peer_directory[64], peer_path[96], peer_address[160];
const char *const peer_kinds[4] = {"unix://%s/s", "unix://@%s/s", "unix://%s/s?type=seqpacket",
                                   "unix://@%s/s?type=seqpacket"};

void peer_use(const char *kind) {
    (void)snprintf(peer_address, sizeof(peer_address), kind, peer_directory);
}

pid_t peer_start(void (*run)(void)) {
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        run();
        _exit(0);
    }
    return pid;
}

void peer_reap(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

void peer_slay(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

thirl *peer_open(enum thirl_role role) {
    thirl *end = NULL;
    ok(thirl_open(&end, role, peer_address, NULL));
    return end;
}

void peer_three_then_stop(void) {
    thirl *end = peer_open(THIRL_PAIR);
    for (unsigned char i = 0; i < 3; i++) {
        ok(thirl_send(end, &i, 1, LONG));
    }
    (void)raise(SIGSTOP);
}

void peer_wait_for_end(void) {
    size_t size;
    char byte;
    thirl *end = peer_open(THIRL_PAIR);
    ok(thirl_send(end, "x", 1, LONG));
    must(thirl_recv(end, &byte, 1, &size, LONG) == -THIRL_ECLOSED);
    must(thirl_close(&end, LONG) == 0);
}

int peer_setup(void **state) {
    (void)state;
    (void)strcpy(peer_directory, "/tmp/thirl-unix-test.XXXXXX");
    if (!mkdtemp(peer_directory)) {
        return -1;
    }
    (void)snprintf(peer_path, sizeof(peer_path), "%s/s", peer_directory);
    char registry[96];
    (void)snprintf(registry, sizeof(registry), "%s/registry", peer_directory);
    return setenv("THIRL_DIR", registry, 1);
}

int peer_teardown(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", peer_directory);
    return system(command);
}
