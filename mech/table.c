/* SPDX-License-Identifier: MIT
 *
 * All mechanisms: one line each. And the wrappers: who asks for one by option gets a mechanism of his own.
 */
#include <stdlib.h>
#include <string.h>

#include "mech/hurt.h"
#include "mech/mech.h"
#include "mech/seal.h"
#include "mech/spy.h"
#include "mech/vigil.h"

const struct mech *const mech_table[] = {
    &mech_shm,       &mech_unix, &mech_mq,   &mech_sysv, &mech_tcp,  &mech_udp, &mech_fd,
    &mech_activated, &mech_pipe, &mech_fifo, &mech_sig,  &mech_auto, NULL,
};

const struct mech *mech_find(const char *scheme, size_t length) {
    for (size_t i = 0; mech_table[i] != NULL; i++) {
        if (strlen(mech_table[i]->scheme) == length && memcmp(mech_table[i]->scheme, scheme, length) == 0) {
            return mech_table[i];
        }
    }
    return NULL;
}

const struct mech *mech_for(const struct mech *mech, enum thirl_role role) {
    for (const struct mech *kin = mech; kin != NULL && (unsigned)role < 32; kin = kin->kin) {
        if ((kin->roles & 1u << role) != 0) {
            return kin;
        }
    }
    return mech;
}

int mech_wrap(const struct mech **mech, const char *address, const struct thirl_options *options) {
    const struct mech *bare = *mech;
    int rc = options->hurt == NULL ? 0 : hurt_wrap(mech, address, options);
    rc = rc != 0 || (options->crc == 0 && options->lifespan == 0) ? rc : seal_wrap(mech, address, options);
    rc = rc != 0 || options->deadline == 0 ? rc : vigil_wrap(mech, address);
    rc = rc != 0 || options->spy == NULL ? rc : spy_wrap(mech);
    if (rc != 0) {
        mech_unwrap(*mech);
        *mech = bare;
    }
    return rc;
}

void mech_unwrap(const struct mech *mech) {
    while (mech->inner != NULL) {
        const struct mech *inner = mech->inner;
        free((void *)mech);
        mech = inner;
    }
}
