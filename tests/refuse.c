/* SPDX-License-Identifier: MIT
 *
 * A kernel that says no, see refuse.h.
 */
#define _GNU_SOURCE
#include "tests/refuse.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

int refuse_where(long call, int error, unsigned argument, uint32_t mask, uint32_t value) {
    const size_t half = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0; /* of the argument: the lower one */
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + argument * 8 + half)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog all = {.len = sizeof program / sizeof *program, .filter = program};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &all, 0, 0) == 0
               ? 0
               : REFUSE_SKIP;
}

int refuse(long call, int error) {
    return refuse_where(call, error, 0, 0, 0);
}

/* A C library asks by either of two calls. */
int refuse_fstat(int error) {
    int rc = refuse_where(SYS_newfstatat, error, 3, AT_EMPTY_PATH, AT_EMPTY_PATH);
    return rc == 0 ? refuse(SYS_fstat, error) : rc;
}

int refuse_fstatat(int error) {
    return refuse_where(SYS_newfstatat, error, 3, AT_EMPTY_PATH, 0);
}
