/* SPDX-License-Identifier: MIT
 *
 * Reading from a pipe, and when: see reader.h.
 */
#include "mech/reader.h"

#include <errno.h>
#include <poll.h>

#include "base/parts.h"
#include "base/tube.h"
#include "mech/mech.h"

#define SLEEP_DOUBT 8u
#define LEAD_MOST ((size_t)2048)
#define LEAD_FEW 4u  /* messages that a read has brought: */
#define LEAD_SURE 8u /* after so many reads of so few, none of which had to wait */

static ssize_t sleep_and_read(struct link *l, const struct iovec *parts, size_t count) {
    tube_wait(l->fd, POLLIN, l->who.pidfd, MECH_SLICE_NS);
    return tube_read(l->fd, parts, (int)count, false);
}

/* Reading would have to wait, and reading from a pipe has no time limit: sleeping is a call of its own, and a peer that answers
 * while the processor is given up, because it needs this very one, is not slept for. */
static ssize_t await_pipe(struct link *l, const struct iovec *parts, size_t count) {
    unsigned most = haste_allowance(&l->haste), i = 0;
    ssize_t got = -EAGAIN;
    bool flows = link_is_led(l) && l->expect < LEAD_MOST; /* of what is large, the pages are to go back soon */
    for (bool brief = true; got == -EAGAIN && brief && i < most; i++) {
        brief = haste_give_way(&l->haste, flows);
        got = tube_read(l->fd, parts, (int)count, false);
    }
    if (most != 0) {
        haste_learn(&l->haste, got == -EAGAIN ? 0 : i);
    }
    l->slept = false;
    if (got == -EAGAIN) {
        got = sleep_and_read(l, parts, count);
        l->slept = got <= 0 || (size_t)got < parts_size(parts, (unsigned)count); /* else the writer is ahead */
    }
    return got;
}

/* A reader who is just as fast as the writer reads each message by itself, and each read takes the lock that the writer needs: once
 * that has been so for a while he lets him get ahead. */
static void lead_pipe(struct link *l) {
    uint16_t came = (uint16_t)(l->number_in - l->number_led);
    bool few = came <= LEAD_FEW && l->expect < LEAD_MOST;
    l->number_led = l->number_in;
    l->abreast += few && l->abreast < LEAD_SURE;
    if (few && l->abreast == LEAD_SURE && link_is_led(l)) {
        haste_lead(&l->haste, came, true);
    }
}

/* What had to wait last time will most likely have to again: then the call that fails is left out, but for one in SLEEP_DOUBT. */
HOT ssize_t reader_pull(struct link *l, const struct iovec *parts, size_t count, bool wait) {
    bool last = atomic_load(&l->cut); /* pairs with the store in link.c: what came before is there */
    ssize_t got = 0;
    if (l->over) {
        return 0;
    }
    wait = wait && !last;
    if (wait && l->slept && haste_is_off(&l->haste) && ++l->sleeps % SLEEP_DOUBT != 0) {
        got = sleep_and_read(l, parts, count);
        l->slept = got <= 0 || (size_t)got < parts_size(parts, (unsigned)count); /* as in await_pipe */
    } else {
        bool before = wait && !l->dry && haste_before(&l->haste);
        if (wait && !l->dry && !before) {
            lead_pipe(l);
        }
        got = wait && l->dry ? -EAGAIN : tube_read(l->fd, parts, (int)count, false);
        if (got == -EAGAIN && wait) {
            l->abreast = 0;
            got = await_pipe(l, parts, count);
        } else if (got > 0) {
            l->slept = false;
            if (!before) {
                haste_direct(&l->haste);
            }
        }
    }
    l->dry = false;
    if (likely(got > 0) || ((got == -EAGAIN || got == -EINTR) && !last)) {
        return got == -EINTR ? -EAGAIN : got;
    }
    l->over = true;
    return 0;
}
