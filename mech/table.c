/* SPDX-License-Identifier: MIT
 *
 * All mechanisms: one line each.
 */
#include <string.h>

#include "mech/mech.h"

const struct mech *const mech_table[] = {
    &mech_shm,
    &mech_unix,
    &mech_mq,
    &mech_sysv,
    &mech_tcp,
    &mech_udp,
    &mech_fd,
    &mech_activated,
    &mech_pipe,
    &mech_fifo,
    NULL,
};

const struct mech *mech_find(const char *scheme, size_t length) {
    for (size_t i = 0; mech_table[i] != NULL; i++) {
        if (strlen(mech_table[i]->scheme) == length && memcmp(mech_table[i]->scheme, scheme, length) == 0) {
            return mech_table[i];
        }
    }
    return NULL;
}
