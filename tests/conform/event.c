/* SPDX-License-Identifier: MIT
 *
 * What tests of events share, see event.h.
 */
#define _GNU_SOURCE
#include "tests/conform/event.h"

#include <unistd.h>

int event_notify(thirl *end, uint32_t number, thirl_time until) {
    return thirl_send(end, &number, sizeof number, until);
}

uint32_t event_watch(thirl *end) {
    uint32_t number = UINT32_MAX;
    size_t size = 0;
    must_be(thirl_recv(end, &number, sizeof number, &size, PATIENCE), 0);
    must_be(size, sizeof number);
    return number;
}

uint32_t event_take(thirl *end, uint64_t *times, thirl_time until) {
    thirl_msg *msg = NULL;
    uint32_t number = UINT32_MAX;
    int rc = thirl_take(end, &msg, until);
    *times = 0;
    if (rc == 0) {
        must_be(thirl_msg_size(msg), sizeof number);
        memcpy(&number, thirl_msg_data(msg), sizeof number);
        *times = thirl_msg_times(msg);
        thirl_free(&msg);
    } else {
        must(rc == -EAGAIN || rc == -ETIMEDOUT);
    }
    return number;
}

void event_watch_until_death(const struct conform *c, struct peer *stage) {
    struct conform own = *c;
    own.stage = getpid();
    thirl *end = conform_open(&own, THIRL_WATCH, NULL);
    conform_tell(stage, 0);
    must_be(event_watch(end), 1);
    conform_tell(stage, 0);
    (void)pause();
}
