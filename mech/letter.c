/* SPDX-License-Identifier: MIT
 *
 * Messages of calls over connections, see letter.h.
 */
#include "mech/letter.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/weave.h"

#define ROOM_FIRST ((size_t)4096)

void letter_free(struct letter *letter) {
    free(letter->data);
    letter->data = NULL;
    letter->room = 0;
}

static int reserve(struct letter *letter, const char *address, size_t size) {
    if (likely(size <= letter->room)) {
        return 0;
    }
    size = size < ROOM_FIRST ? ROOM_FIRST : size;
    unsigned char *larger = realloc(letter->data, size);
    if (larger == NULL) {
        return err_say(ENOMEM, "%s: no memory for a message of %zu bytes", address, size);
    }
    letter->data = larger;
    letter->room = size;
    return 0;
}

static int too_large(const struct link *l, const char *address, size_t size) {
    size_t most = l->terms.send_max < SLIP ? 0 : l->terms.send_max - SLIP;
    return err_say(EMSGSIZE, "%s: a message of %zu bytes is larger than the %zu that go to %s: see ?max= and ?queue=%s",
                   address, size, most, l->who.text, l->terms.packets ? ", or leave out ?type=seqpacket" : "");
}

/* The rest is kept, so that nobody ever sees half of it. */
static int send_whole(struct link *l, const unsigned char *data, size_t size) {
    size_t done = 0;
    int rc = link_send(l, data, size, &done, false);
    if (unlikely(rc == -EAGAIN && l->sent != 0)) {
        rc = link_settle(l, data, size);
    }
    return rc;
}

int letter_send(struct letter *letter, struct link *l, const char *address, const void *data, size_t size, size_t *done,
                const struct mech_note *note) {
    size_t total = size + SLIP;
    int rc = 0;
    if (likely(*done == 0)) {
        if (unlikely(size > SIZE_MAX / 2 || total > l->terms.send_max)) {
            return too_large(l, address, size);
        }
        if ((rc = reserve(letter, address, total)) != 0) {
            return rc;
        }
        int64_t left =
            note->deadline == INT64_MAX || note->kind != MECH_REQUEST ? INT64_MAX : note->deadline - clock_now();
        const struct slip slip = {.call = note->call, .left = left, .kind = note->kind, .again = note->again};
        if (size != 0) {
            memcpy(letter->data, data, size);
        }
        slip_write(letter->data, size, &slip, false);
        weave("letter.send.before");
        rc = send_whole(l, letter->data, total);
        weave("letter.send.after");
        *done = rc == 0 ? size != 0 ? size : 1 : 0;
    }
    if (rc == 0 && unlikely(frame_box_held(&l->tail) != 0)) {
        rc = link_begin(l, false);
    }
    return rc;
}

static bool may_come(bool serves, unsigned kind) {
    return serves ? kind == MECH_REQUEST || kind == MECH_CANCEL
                  : kind == MECH_PART || kind == MECH_REPLY || kind == MECH_FAILED;
}

int letter_open(const struct letter *letter, const void *data, size_t *size, struct mech_note *note) {
    struct slip slip;
    int rc = slip_read(data, size, &slip, false);
    if (rc == 0 && !may_come(letter->serves, slip.kind)) {
        rc = err_say(THIRL_EFORMAT, "the peer sent a message of the kind %u, which it may not send", slip.kind);
    }
    if (rc == 0) {
        note->kind = (enum mech_kind)slip.kind;
        note->call = slip.call;
        note->again = slip.again;
        note->deadline = slip.left == INT64_MAX ? INT64_MAX : clock_after(clock_now(), slip.left);
    }
    return rc;
}

void letter_gone(const struct letter *letter, const char *address, const struct link *l, int rc,
                 struct mech_note *note) {
    const char *who = letter->serves ? "client" : "server";
    if (rc == -THIRL_EFORMAT) {
        (void)err_add(rc, "%s: the %s, %s, is not listened to any more", address, who, l->who.text);
    } else {
        rc = rc == -THIRL_ECLOSED ? rc : -THIRL_EPEERDIED;
        (void)err_say(-rc, "%s: the %s, %s, %s", address, who, l->who.text,
                      rc == -THIRL_ECLOSED ? "closed its end" : "died");
    }
    note->kind = MECH_GONE;
    note->call = 0;
    note->failure = rc;
}
