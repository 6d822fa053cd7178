/* SPDX-License-Identifier: MIT
 *
 * System V queues of a test's own, see ipc.h.
 */
#include "tests/ipc.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

#include "tests/room.h"

char ipc_name[64];

const char *ipc_address(const char *options) {
    static char text[128];
    (void)snprintf(text, sizeof text, "sysv://%s%s", ipc_name, options);
    return text;
}

static key_t key_with(const char *before, const char *behind) {
    char text[160];
    uint32_t hash = UINT32_C(2166136261);
    (void)snprintf(text, sizeof text, "%s%s%s", before, ipc_name, behind);
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * UINT32_C(16777619);
    }
    return (key_t)hash;
}

key_t ipc_key(const char *before) {
    return key_with(before, "");
}

void ipc_remove(key_t key) {
    int id = msgget(key, 0);
    if (id >= 0) {
        (void)msgctl(id, IPC_RMID, NULL);
    }
}

int ipc_tidy(void **state) {
    (void)state;
    ipc_remove(ipc_key(""));
    ipc_remove(ipc_key("thirl:"));
    ipc_remove(key_with("thirl:", "/7"));
    ipc_remove(key_with("thirl:", "/back"));
    ipc_remove(key_with("thirl:", "/other"));
    return 0;
}

/* A keeper outlives this process, however that ends, and removes what it would leave. */
int ipc_begin(void **state) {
    int wire[2];
    (void)snprintf(ipc_name, sizeof ipc_name, "thirl-test-%d", (int)getpid());
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
        (void)ipc_tidy(NULL);
        _exit(0);
    }
    (void)close(wire[0]);
    return pid < 0 ? -1 : room_begin(state);
}

int ipc_send(int id, long type, const char *text) {
    struct ipc_packet packet = {.type = type};
    memcpy(packet.text, text, strlen(text));
    return msgsnd(id, &packet, strlen(text), IPC_NOWAIT);
}
