/* SPDX-License-Identifier: MIT
 *
 * What stays of channels when their processes end: listing it, and removing it.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "mech/orphan.h"
#include "wire/addr.h"

#define CLEAN_NS (2 * CLOCK_S) /* how long somebody who is joining may hold it up */

struct showing {
    int (*seen)(void *, const struct thirl_left *);
    void *context;
};

static int show(void *context, const struct kept_line *line) {
    const struct showing *showing = context;
    const struct thirl_left left = {.size = sizeof left,
                                    .address = line->address,
                                    .messages = line->left.packets,
                                    .bytes = line->left.bytes,
                                    .ends = line->ends,
                                    .uid = line->left.uid};
    return showing->seen(showing->context, &left);
}

int thirl_left(int (*seen)(void *context, const struct thirl_left *), void *context) {
    if (seen == NULL) {
        return err_say(EINVAL, "thirl_left: there is no function to call (NULL)");
    }
    struct showing showing = {seen, context};
    int rc = kept_list(show, &showing);
    return rc != 0 ? rc : orphan_list(show, &showing);
}

int thirl_clean(const char *address) {
    char kept[ADDR_MAX];
    if (address == NULL) {
        return err_say(EINVAL, "thirl_clean: the address is NULL");
    }
    if (strncmp(address, "auto://", 7) == 0) { /* of what that goes over, only shared memory keeps anything */
        (void)snprintf(kept, sizeof kept, "shm://%s", address + 7);
        address = kept;
    }
    uint64_t thrown = 0;
    int64_t until = clock_after(clock_now(), CLEAN_NS);
    int rc = kept_clean(address, until, &thrown);
    rc = rc == -ENOENT ? orphan_clean(address, until, &thrown) : rc;
    if (rc == -ENOENT) {
        return err_say(ENOENT, "%s has left nothing that the registry knows", address);
    }
    if (rc == -EBUSY) {
        return err_say(EBUSY, "%s is in use: close its ends first; thirl list shows whose they are", address);
    }
    return rc != 0 ? rc : thrown > INT_MAX ? INT_MAX : (int)thrown;
}
