/* SPDX-License-Identifier: MIT
 *
 * What a thread that is about to sleep leaves for others to see.
 */
#include "chan/errand.h"

#include "base/clock.h"
#include "mem/nodefile.h"
#include "sync/order.h"

_Thread_local struct errand errand_own;

static const struct party *join(void) {
    const struct party *me = party_me();
    return me != NULL || node_id() == 0 || party_join() != 0 ? me : party_me();
}

/* The number of its line, from 1; 0: that is private memory. Who has joined the wing of locks has a file. */
static uint64_t line_of(const thirl *end) {
    const struct node_file *file = node_file();
    bool listed = end->seen >= file->end && end->seen < file->end + NODE_ENDS;
    return listed ? (uint64_t)(end->seen - file->end) + 1 : 0;
}

/* The process that could end the wait, if it is known and the only one. */
static uint64_t whom(thirl *end, enum mech_way way) {
    uint32_t role = end->seen->role;
    if (role == THIRL_CALL && end->mech->server != NULL) {
        return way == MECH_OUT || errand_own.whom != 0 ? end->mech->server(end->state, way, errand_own.whom) : 0;
    }
    bool one = role == THIRL_PAIR || role == THIRL_READ || role == THIRL_WRITE || role == THIRL_CALL;
    return one ? atomic_peek(&end->seen->whom) : 0;
}

bool errand_begin(thirl *end, enum mech_way way) {
    const struct party *me = join();
    if (me == NULL || me->slip->wait.kind != SLIP_NOTHING) {
        return false;
    }
    bool answer = end->asks && end->due == NULL && way == MECH_IN;
    struct slip_wait wait = {.object = line_of(end),
                             .site = (uint64_t)(uintptr_t)errand_own.site,
                             .whom = whom(end, way),
                             .since = clock_coarse(),
                             .kind = answer           ? SLIP_ANSWER
                                     : way == MECH_IN ? SLIP_MESSAGE
                                                      : SLIP_ROOM,
                             .gives_up = end->tells};
    wait.tag = (answer ? SLIP_CALL(errand_own.call) : 0) | wait.kind;
    slip_await(me->slip, &wait);
    return true;
}

void errand_end(void) {
    slip_waited(party_own.slip);
}

int errand_look(const thirl *end) {
    const struct party *me = end->tells ? party_me() : NULL;
    return me != NULL ? order_circle(me) : 0;
}
