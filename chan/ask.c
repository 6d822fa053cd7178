/* SPDX-License-Identifier: MIT
 *
 * What an end can be asked: its descriptor, its limits, its peer; and what the whole registry holds.
 */
#include <stdio.h>
#include <string.h>

#include "chan/aside.h"
#include "include/thirl/advise.h"

/* A struct that the caller sized: filled as far as both sides know it. */
static int hand_over(void *to, const void *from, size_t known, const char *call) {
    size_t size;
    memcpy(&size, to, sizeof size);
    if (size < sizeof size || size > 65536) {
        return err_say(EINVAL, "%s: set the size field of the struct to its sizeof first", call);
    }
    size_t shared = size < known ? size : known;
    memcpy((char *)to + sizeof size, (const char *)from + sizeof size, shared - sizeof size);
    memset((char *)to + shared, 0, size - shared);
    return 0;
}

int thirl_fd(thirl *end) {
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    enum mech_way other = way == MECH_IN ? MECH_OUT : MECH_IN;
    int rc = end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    int fd = -1;
    (void)gate_enter(&end->way[other].gate, INT64_MAX);
    rc = end->mech->fd(end->state, way, &fd);
    rc = rc == 0 && end->asks ? aside_fd(end, fd, &fd) : rc;
    gate_leave(&end->way[other].gate);
    end_leave(end, way);
    return rc == 0 ? fd : rc;
}

int thirl_limits(thirl *end, struct thirl_limits *limits) {
    struct thirl_limits answer = {.full = THIRL_FULL_BLOCK, .holds = THIRL_HELD_MAX};
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    int rc = limits == NULL ? err_say(EINVAL, "thirl_limits: there is no struct to fill (NULL)") : 0;
    rc = rc != 0 ? rc : end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    end->mech->limits(end->state, &answer);
    answer.full = end->fails ? THIRL_FULL_FAIL : answer.full;
    answer.sends = end->way[MECH_OUT].allowed;
    answer.receives = end->way[MECH_IN].allowed;
    answer.boundaries = !end->stream;
    answer.raw = end->mech->raw;
    end_leave(end, way);
    return hand_over(limits, &answer, sizeof answer, "thirl_limits");
}

static int show_mechanism(const struct mech *mech, int (*seen)(void *, const struct thirl_mechanism *), void *context) {
    struct thirl_mechanism shown = {
        .size = sizeof shown,
        .scheme = mech->scheme,
        .summary = mech->summary,
        .roles = mech->roles,
        .limits = {.size = sizeof shown.limits, .full = THIRL_FULL_BLOCK, .holds = THIRL_HELD_MAX}};
    mech->claims(&shown.limits);
    shown.limits.sends = shown.limits.receives = 1;
    shown.limits.boundaries = (mech->roles & ~(1u << THIRL_WRITE | 1u << THIRL_READ)) != 0;
    shown.limits.raw = mech->raw;
    return seen(context, &shown);
}

int thirl_mechanisms(int (*seen)(void *context, const struct thirl_mechanism *), void *context) {
    if (seen == NULL) {
        return err_say(EINVAL, "thirl_mechanisms: there is no function to call (NULL)");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && mech_table[i] != NULL; i++) {
        const struct mech *mech = mech_table[i];
        for (const struct mech *kin = mech; rc == 0 && kin != NULL; kin = kin->kin) {
            rc = show_mechanism(kin, seen, context);
        }
        for (const struct mech *kin = mech->datagram; rc == 0 && kin != NULL; kin = kin->kin) {
            rc = show_mechanism(kin, seen, context);
        }
    }
    return rc;
}

int thirl_peer(thirl *end, struct thirl_peer *peer) {
    struct thirl_peer answer = {0};
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    int rc = peer == NULL ? err_say(EINVAL, "thirl_peer: there is no struct to fill (NULL)") : 0;
    rc = rc != 0 ? rc : end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    (void)gate_enter(&end->way[way ^ 1].gate, INT64_MAX);
    rc = end->mech->peer(end->state, &answer);
    gate_leave(&end->way[way ^ 1].gate);
    end_leave(end, way);
    if (rc == -ENOTCONN) {
        return err_say(ENOTCONN, "%s: nobody is at the other end now", end->address);
    }
    return rc != 0 ? rc : hand_over(peer, &answer, sizeof answer, "thirl_peer");
}

int thirl_peer_pidfd(thirl *end) {
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    int rc = end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    int fd = -1;
    (void)gate_enter(&end->way[way ^ 1].gate, INT64_MAX);
    rc = end->mech->pidfd == NULL
             ? err_say(EOPNOTSUPP, "%s: %s has no pidfd of its peer; unix:// has", end->address, end->mech->scheme)
             : end->mech->pidfd(end->state, &fd);
    gate_leave(&end->way[way ^ 1].gate);
    end_leave(end, way);
    if (rc == -ENOTCONN) {
        return err_say(ENOTCONN, "%s: nobody is at the other end now", end->address);
    }
    return rc == 0 ? fd : rc;
}

static int own_address(const thirl *end, char *address, size_t capacity) {
    size_t length = strlen(end->address);
    if (length >= capacity) {
        return -EMSGSIZE;
    }
    memcpy(address, end->address, length + 1);
    return 0;
}

int thirl_hand(thirl *end, char *address, size_t capacity) {
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    int rc = address == NULL ? err_say(EINVAL, "thirl_hand: there is no room for the address (NULL)") : 0;
    rc = rc != 0 ? rc : end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    (void)gate_enter(&end->way[way ^ 1].gate, INT64_MAX);
    rc = end->mech->hand != NULL ? end->mech->hand(end->state, address, capacity) : own_address(end, address, capacity);
    gate_leave(&end->way[way ^ 1].gate);
    end_leave(end, way);
    return rc == -EMSGSIZE ? err_say(EMSGSIZE, "%s: the address of the other end does not fit %zu bytes; %d are enough",
                                     end->address, capacity, NODE_ADDRESS_MAX)
                           : rc;
}

int thirl_over(thirl *end, struct thirl_over *over) {
    struct thirl_over answer = {.address = ""};
    if (end == NULL) {
        return end_refuse(end, MECH_IN);
    }
    enum mech_way way = end_main_way(end);
    int rc = over == NULL ? err_say(EINVAL, "thirl_over: there is no struct to fill (NULL)") : 0;
    rc = rc != 0 ? rc : end_enter(end, way, INT64_MAX);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(answer.address, sizeof answer.address, "%s", end->seat != NULL ? end->seat->over : end->address);
    (void)snprintf(answer.reason, sizeof answer.reason, "%s", end->seat != NULL ? end->seat->why : "");
    end_leave(end, way);
    return hand_over(over, &answer, sizeof answer, "thirl_over");
}

struct listing {
    int (*seen)(void *, const struct thirl_seen *);
    void *context;
};

/* Of an end, or of what is none. */
static const char *role_name(uint32_t role) {
#define ROLE(name, number, text) [THIRL_##name] = text,
    static const char *const names[] = {[NODE_ROLE_STATE] = "state",
                                        [NODE_ROLE_AREA] = "area",
                                        [NODE_ROLE_CACHE] = "cache",
                                        [NODE_ROLE_LOCK] = "lock",
                                        THIRL_ROLES(ROLE)};
#undef ROLE
    return role < sizeof names / sizeof *names && names[role] != NULL ? names[role] : "?";
}

static int show(void *context, const struct node_line *line) {
    static const char *const states[] = {"free", "waiting", "linked", "closed"};
    const struct listing *listing = context;
    const struct node_end *end = line->end;
    char over[ADDR_MAX], why[256];
    bool agreed = auto_look(end->address, over, why);
    struct thirl_seen seen = {
        .size = sizeof seen,
        .address = end->address,
        .role = role_name(end->role),
        .state = !line->alive                                  ? "dead"
                 : end->state < sizeof states / sizeof *states ? states[end->state]
                                                               : "?",
        .pid = line->pid,
        .exe = line->exe,
        .peer = end->peer,
        .sent = end->out.messages,
        .sent_bytes = end->out.bytes,
        .received = end->in.messages,
        .received_bytes = end->in.bytes,
        .waits = end->in.waits + end->out.waits,
        .wakes = end->in.wakes + end->out.wakes,
        .queue = end->queue,
        .lost = end->in.lost + end->out.lost,
        .refused = end->in.refused + end->out.refused,
        .late = end->in.late,
        .twice = end->in.twice,
        .pool = end->pool,
        .pool_bytes = end->reserved,
        .held = end->in.holds,
        .held_bytes = end->in.held,
        .expired = end->in.expired,
        .silences = end->in.silences + end->out.silences,
        .over = agreed ? over : "",
        .reason = agreed ? why : "",
    };
    return listing->seen(listing->context, &seen);
}

int thirl_list(int (*seen)(void *context, const struct thirl_seen *), void *context) {
    if (seen == NULL) {
        return err_say(EINVAL, "thirl_list: there is no function to call (NULL)");
    }
    struct listing listing = {seen, context};
    return node_list(show, &listing);
}
