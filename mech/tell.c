/* SPDX-License-Identifier: MIT
 *
 * Numbers between messages, see tell.h.
 */
#include "mech/tell.h"

#include <string.h>

#include "base/err.h"
#include "base/weave.h"

int tell_send(struct link *l, enum frame_type type, uint64_t value) {
    unsigned char text[FRAME_MARK + FRAME_TELL];
    const struct frame_head head = {.size = FRAME_TELL, .number = l->number_out, .type = (uint8_t)type};
    int rc = link_begin(l, false);
    rc = rc == 0 && l->sent != 0 ? -EAGAIN : rc; /* a message is half on its way */
    rc = rc != 0 ? rc : link_announce(l, sizeof(text), false);
    rc = rc != 0 ? rc : frame_box_room(&l->tail, sizeof(text)); /* half of a number would break the connection */
    if (rc != 0) {
        return rc;
    }
    frame_write_mark(text, &head);
    frame_write_tell(text + FRAME_MARK, value);
    size_t skip = l->terms.packets ? 0 : FRAME_MARK - FRAME_HEAD, size = sizeof(text) - skip;
    weave("tell.send.before");
    ssize_t went = link_write(l, text + skip, size);
    weave("tell.send.after");
    if (went < 0) {
        return (int)went;
    }
    size_t rest = size - (size_t)went;
    if (rest != 0) {
        memcpy(l->tail.data + l->tail.to, text + sizeof(text) - rest, rest);
        l->tail.to += rest;
    }
    return 0;
}

void tell_take(struct link *l, uint64_t *lost, bool *again) {
    *lost = l->lost;
    *again = l->again;
    l->lost = 0;
    l->again = false;
}
