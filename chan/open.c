/* SPDX-License-Identifier: MIT
 *
 * An end's life: opened from an address, closed, and given back when the last piece of it is free.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/type.h"
#include "chan/aside.h"
#include "chan/due.h"
#include "mem/shed.h"
#include "mem/slate.h"
#include "mem/sweep.h"
#include "wire/addr.h"
#include "wire/topic.h"

#define QUEUE_MIN 4096u
#define QUEUE_MAX (UINT64_C(1) << 32)
#define POOL_MAX (UINT64_C(64) << 30)
#define TIMEOUT_DEFAULT (30 * CLOCK_S)

static int understand(const char *address, const struct thirl_options *given, struct addr *addr,
                      const struct mech **mech) {
    if (address == NULL) {
        return err_say(EINVAL, "thirl_open: the address is NULL");
    }
    int rc = addr_parse(addr, address, given);
    if (rc != 0) {
        return rc;
    }
    *mech = mech_find(address, addr->scheme_length);
    if (*mech == NULL) {
        char known[256] = "";
        for (size_t i = 0; mech_table[i] != NULL; i++) {
            strncat(known, " ", sizeof known - strlen(known) - 1);
            strncat(known, mech_table[i]->scheme, sizeof known - strlen(known) - 1);
        }
        return err_say(THIRL_EADDRESS, "%s: no mechanism is called \"%.*s\"; there are:%s", address,
                       (int)addr->scheme_length, address, known);
    }
    if (addr->options.type == THIRL_DATAGRAM && (*mech)->datagram != NULL) {
        *mech = (*mech)->datagram;
    }
    return 0;
}

/* Where senders wait for room, chan itself sees to it that they need not (end_patience). */
static bool knows_full(const struct mech *mech, enum thirl_role role, const struct thirl_limits *claims, uint32_t full) {
    const unsigned waits = 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_PUSH | 1u << THIRL_NOTIFY;
    return (mech->full & 1u << full) != 0 ||
           (mech->full == 0 && (full == THIRL_FULL_BLOCK ||
                                (full == THIRL_FULL_FAIL && (waits & 1u << role) != 0 && claims->reliable)));
}

/* Fills in what neither the address nor the caller has said; addr_parse has seen to the range of each. */
static int complete(struct thirl_options *options, const struct mech *mech, enum thirl_role role, const char *address) {
    struct thirl_limits claims = {.size = sizeof claims};
    mech->claims(&claims);
    options->queue = options->queue == 0 ? mech->queue : options->queue;
    options->max = options->max != 0 ? options->max : mech->max != 0 ? mech->max : MECH_MAX;
    if (options->pool != 0 && mech->pool == 0) {
        return err_say(EOPNOTSUPP, "%s: in this role %s has no pool for large messages; see thirl_limits", address,
                       mech->scheme);
    }
    if (options->pool > POOL_MAX) {
        return err_say(EINVAL, "%s: a pool has at most 64 GiB", address);
    }
    options->pool = options->pool == 0 ? mech->pool : options->pool;
    options->mode = options->mode == 0 ? 0600 : options->mode;
    options->timeout = options->timeout == 0 ? TIMEOUT_DEFAULT : options->timeout;
    if (options->queue < QUEUE_MIN || options->queue > QUEUE_MAX) {
        return err_say(EINVAL, "%s: a queue of %llu bytes is not possible: %u to %llu", address,
                       (unsigned long long)options->queue, QUEUE_MIN, (unsigned long long)QUEUE_MAX);
    }
    if (options->full != THIRL_FULL_USUAL && !knows_full(mech, role, &claims, options->full)) {
        return err_say(EOPNOTSUPP, "%s: in this role %s has no ?full=%s", address, mech->scheme,
                       addr_full_word(options->full));
    }
    if (options->history != 0 && !mech->history) {
        return err_say(EOPNOTSUPP, "%s: in this role %s keeps no history for those who come late", address,
                       mech->scheme);
    }
    if (options->retry != 0 && (mech->roles & 1u << THIRL_CALL) == 0) {
        return err_say(EOPNOTSUPP, "%s: only calls can be tried again: ?retry is for the role call", address);
    }
    struct type type;
    int rc = type_take(&type, options->of);
    if (rc != 0) {
        return err_add(rc, "%s", address);
    }
    if (options->raw != 0 && options->of != NULL) {
        return err_say(EOPNOTSUPP, "%s: ?raw greets nobody, so there is nobody to compare ?of with", address);
    }
    if (options->raw != 0 && !mech->raw) {
        return err_say(EOPNOTSUPP, "%s: %s has no raw form: nobody but thirl could speak it", address, mech->scheme);
    }
    if (options->descriptors != 0 && !claims.descriptors) {
        return err_say(EOPNOTSUPP, "%s: descriptors cannot travel there; a pair over unix:// carries them", address);
    }
    return 0;
}

/* A pattern of topics is for those who listen, and where there are many channels. */
static int widen(const struct mech **mech, enum thirl_role role, const char *rest, const char *address,
                 const struct thirl_type *of) {
    if ((role != THIRL_PUB && role != THIRL_SUB) || !topic_wild(rest)) {
        return 0;
    }
    if (role == THIRL_PUB) {
        return err_say(THIRL_EADDRESS,
                       "%s: a publisher has one topic, and * stands for many: write its name; a subscriber may have a "
                       "pattern",
                       address);
    }
    if ((*mech)->wild == NULL) {
        return err_say(THIRL_EADDRESS,
                       "%s: over %s there is one publisher at one address, so * is not possible: open an end for each "
                       "and wait with thirl_wait, or publish over shm://",
                       address, (*mech)->scheme);
    }
    if (of != NULL) {
        return err_say(EOPNOTSUPP, "%s: each topic has a type of its own, so a pattern of many has no ?of", address);
    }
    *mech = (*mech)->wild;
    return 0;
}

static int describe(enum thirl_role role, struct mech_open *open, const struct mech *mech, const char *address) {
#define NAME(name, number, text) [THIRL_##name] = text,
    static const char *const names[] = {THIRL_ROLES(NAME)};
#undef NAME
    open->role = role;
    open->stream = role == THIRL_WRITE || role == THIRL_READ;
    open->sends =
        role == THIRL_PAIR || role == THIRL_WRITE || role == THIRL_PUSH || role == THIRL_NOTIFY || role == THIRL_PUB;
    open->receives =
        role == THIRL_PAIR || role == THIRL_READ || role == THIRL_PULL || role == THIRL_WATCH || role == THIRL_SUB;
    if (role == THIRL_CALL || role == THIRL_SERVE) {
        open->sends = open->receives = true;
    }
    if (!open->sends && !open->receives) {
        return err_say(EINVAL, "%s: %d is no role; see enum thirl_role", address, (int)role);
    }
    if ((mech->roles & 1u << role) == 0) {
        char carried[96] = "";
        for (size_t i = 1; i < sizeof names / sizeof *names; i++) {
            if ((mech_for(mech, (enum thirl_role)i)->roles & 1u << i) != 0) {
                strncat(carried, carried[0] == '\0' ? "" : ", ", sizeof carried - strlen(carried) - 1);
                strncat(carried, names[i], sizeof carried - strlen(carried) - 1);
            }
        }
        return err_say(THIRL_EROLE, "%s: %s does not carry the role %s here; it carries %s", address, mech->scheme,
                       names[role], carried);
    }
    return 0;
}

static thirl *make(const struct mech *mech, const struct mech_open *open, uint32_t epoch) {
    thirl *end = aligned_alloc(CACHE_LINE, sizeof *end);
    size_t state_size = (mech->state_size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *state = aligned_alloc(CACHE_LINE, state_size);
    struct thirl_msg *msg = calloc((size_t)2 * THIRL_HELD_MAX, sizeof *msg);
    struct due *due = open->role == THIRL_SERVE ? calloc(1, sizeof *due) : NULL;
    if (end == NULL || state == NULL || msg == NULL || (open->role == THIRL_SERVE && due == NULL)) {
        free(due);
        free(end);
        free(state);
        free(msg);
        return NULL;
    }
    memset(state, 0, state_size);
    memset(end, 0, sizeof *end);
    end->mech = mech;
    end->state = state;
    end->now = proc_page;
    end->send = mech->send;
    end->recv = mech->recv;
    end->patient = mech->blocks;
    end->stream = open->stream;
    end->asks = open->role == THIRL_CALL || open->role == THIRL_SERVE;
    end->retry = open->options.retry != 0;
    end->tells = open->options.deadlock == THIRL_DEADLOCK_FAIL;
    end->due = due;
    end->fails = open->options.full == THIRL_FULL_FAIL;
    end->wait = (enum thirl_wait_mode)open->options.wait;
    end->timeout = open->options.timeout;
    end->kick = -1;
    end->aside = (struct end_aside){.epoll = -1, .event = -1, .timer = -1};
    end->when = due == NULL ? NULL : due_when;
    end->epoch = epoch;
    (void)strncpy(end->address, open->address, sizeof end->address - 1);
    (void)strncpy(end->topic, open->rest, sizeof end->topic - 1);
    end->way[MECH_IN].allowed = open->receives;
    end->way[MECH_OUT].allowed = open->sends;
    for (int way = 0; way < 2; way++) {
        end->way[way].msg = msg + (size_t)way * THIRL_HELD_MAX;
        end->way[way].wake = 30 * CLOCK_US; /* until measured */
        end->way[way].nudge = -1;
        gate_init(&end->way[way].gate);
        bool spins = end->wait == THIRL_WAIT_SPIN;
        bool counts =
            way == MECH_OUT || mech->take != NULL || mech->numbers; /* else the numbers of messages are chan's */
        bool plain = end->way[way].allowed && !end->asks;
        plain = plain && (mech->blocks ? !spins && !end->fails : counts);
        end->way[way].open = end->way[way].allowed ? epoch : END_NEVER;
        end->way[way].straight = plain ? epoch : END_NEVER;
    }
    return end;
}

static void give_back(thirl *end) {
    fd_close(&end->kick);
    aside_close(&end->aside);
    fd_close(&end->way[MECH_IN].nudge);
    fd_close(&end->way[MECH_OUT].nudge);
    for (int i = 0; i < 2 * THIRL_HELD_MAX; i++) {
        free(end->way[0].msg[i].buffer);
        free(end->way[0].msg[i].topic);
    }
    free(end->way[0].msg);
    free(end->due);
    if (end->forget != NULL) {
        end->forget(end->pattern);
    }
    mech_unwrap(end->mech);
    free(end->seat);
    free(end->state);
    free(end);
}

/* Who came to the gate before the close finds it free, and is told. */
static void let_through(const thirl *end) {
    for (int way = 0; way < 2; way++) {
        while (atomic_load(&end->way[way].queued) != 0) { /* pairs with the last step of end_enter_slow */
            const struct timespec moment = {.tv_nsec = 20 * CLOCK_US};
            (void)nanosleep(&moment, NULL);
        }
    }
}

void end_destroy(thirl *end) {
    let_through(end);
    shed_begin();
    end->mech->deinit(end->state);
    shed_end();
    give_back(end);
}

/* Of auto://: what carries it is agreed on with all others who have it open. *seat is then its place among them, else NULL. */
static int agree(struct auto_seat **seat, const struct mech **mech, enum thirl_role role, const char *address,
                 struct addr *addr) {
    struct mech_open open = {.address = address};
    if (!auto_is(*mech)) {
        return 0;
    }
    int rc = describe(role, &open, mech_for(*mech, role), address);
    if (rc == 0) {
        *seat = calloc(1, sizeof **seat);
        rc = *seat == NULL ? err_say(ENOMEM, "%s: no memory for an end", address) : 0;
    }
    return rc != 0 ? rc : auto_agree(*seat, mech, role, address, addr);
}

/* The end itself, when all about it is known. */
static int begin(thirl **out, const struct mech_open *asked, uint32_t epoch) {
    struct mech_open open = *asked;
    thirl *end = make(open.mech, &open, epoch);
    if (end == NULL) {
        mech_unwrap(open.mech);
        return err_say(ENOMEM, "%s: no memory for an end", open.address);
    }
    int rc = node_end_take(&end->seen, open.address, open.role, open.mech->registry);
    if (rc == 0) {
        sweep_dead(); /* what the dead have left */
        open.seen = end->seen;
        open.bytes = &end->stream;
        rc = open.mech->open(end->state, &open);
        if (rc != 0) {
            node_end_free(end->seen);
        }
    }
    if (rc == 0 && end->due != NULL && node_id() != 0) {
        end->due->tasks = slate_serve();
    }
    if (rc != 0) {
        give_back(end);
        return rc;
    }
    *out = end;
    return 0;
}

/* What the address and the options come to. */
static int prepare(struct mech_open *open, enum thirl_role role, struct addr *addr, const struct mech *mech) {
    if (mech->form != NULL) {
        mech = mech->form(addr->rest, &addr->options);
    }
    mech = mech_for(mech, role);
    int rc = describe(role, open, mech, open->address);
    rc = rc != 0 ? rc : widen(&mech, role, addr->rest, open->address, addr->options.of);
    rc = rc != 0 ? rc : complete(&addr->options, mech, role, open->address);
    open->rest = addr->rest;
    open->options = addr->options;
    open->mech = mech;
    return rc;
}

int thirl_open(thirl **out, enum thirl_role role, const char *address, const struct thirl_options *given) {
    if (out == NULL) {
        return err_say(EINVAL, "thirl_open: there is no place for the end (NULL)");
    }
    *out = NULL;
    struct addr addr;
    struct mech_open open = {.address = address};
    struct auto_seat *seat = NULL;
    const struct mech *mech = NULL;
    int rc = understand(address, given, &addr, &mech);
    rc = rc != 0 ? rc : agree(&seat, &mech, role, address, &addr);
    rc = rc != 0 ? rc : prepare(&open, role, &addr, mech);
    uint32_t epoch = rc == 0 ? proc_begin() : 0;
    rc = rc == 0 && epoch == 0 ? -ENOMEM : rc;
    rc = rc != 0 ? rc : mech_wrap(&open.mech, address, &addr.options);
    rc = rc != 0 ? rc : begin(out, &open, epoch);
    if (seat == NULL) {
        return rc;
    }
    if (rc != 0) {
        auto_leave(seat);
        free(seat);
        return rc;
    }
    (*out)->seat = seat;
    (void)snprintf((*out)->topic, sizeof(*out)->topic, "%s", seat->name);
    return err_say(0, "%s runs over %s: %s", address, seat->over, seat->why);
}

int end_refuse(const thirl *end, enum mech_way way) {
    if (end == NULL) {
        return err_say(EINVAL, "the end is NULL: it was never opened, or is closed");
    }
    if (end->epoch != end_now(end)) {
        return err_say(THIRL_EFORKED, "%s was opened by the parent process, before fork: open it again in the child",
                       end->address);
    }
    if (!end->way[way].allowed) {
        return err_say(THIRL_EROLE, "this end of %s does not %s, by its role", end->address,
                       way == MECH_IN ? "receive" : "send");
    }
    return err_say(THIRL_ECLOSED, "%s is being closed by another thread of this process", end->address);
}

int end_enter_slow(thirl *end, enum mech_way at, int64_t until) {
    if (end == NULL || end->epoch != end_now(end) || !end->way[at].allowed) {
        return end_refuse(end, at);
    }
    struct end_way *way = &end->way[at];
    (void)atomic_add(&way->queued, 1);
    int rc = gate_enter_slow(&way->gate, until);
    if (rc == 0 && atomic_peek(&end->closing)) {
        gate_leave(&way->gate);
        rc = end_refuse(end, at);
    }
    (void)atomic_sub(&way->queued, 1); /* last: without the gate, the end may be gone when this is done */
    return rc;
}

int end_refuse_plain(const thirl *end, const char *call) {
    return end->due != NULL
               ? err_say(THIRL_EROLE,
                         "%s: %s is not for the role serve: thirl_take gets a request, thirl_reply answers it",
                         end->address, call)
               : err_say(
                     THIRL_EROLE,
                     "%s: %s is not for the role call: thirl_call sends a request and gets its answer, thirl_ask and "
                     "thirl_answer do it for many",
                     end->address, call);
}

static int try_flush(thirl *end, void *arguments, bool wait) {
    (void)wait;
    return end->mech->flush(end->state, arguments);
}

int thirl_close(thirl **slot, thirl_time until) {
    thirl *end = slot == NULL ? NULL : *slot;
    if (end == NULL) {
        return 0;
    }
    *slot = NULL;
    if (end->epoch != end_now(end)) {
        /* Everything in it is shared with the parent, which goes on using it: the child forgets it. */
        return end_refuse(end, MECH_IN);
    }
    uint64_t left = 0;
    if (end->way[MECH_OUT].allowed && end_do(end, MECH_OUT, try_flush, &left, until) == 0) {
        left = 0;
    }
    atomic_store(&end->closing, 1);
    for (int way = 0; way < 2; way++) {
        atomic_store(&end->way[way].open, END_NEVER);
        atomic_store(&end->way[way].straight, END_NEVER);
    }
    end_wake_all(end);
    enum mech_way main_way = end_main_way(end);
    (void)gate_enter(&end->way[main_way].gate, INT64_MAX);
    (void)gate_enter(&end->way[main_way ^ 1].gate, INT64_MAX);
    end->mech->close(end->state);
    if (end->due != NULL && end->due->tasks != NULL) {
        slate_unserve(end->due->tasks);
        end->due->tasks = NULL;
    }
    node_end_free(end->seen);
    if (end->seat != NULL) {
        auto_leave(end->seat);
    }
    uint32_t pieces =
        (uint32_t)(__builtin_popcountll(end->way[MECH_IN].slots) + __builtin_popcountll(end->way[MECH_OUT].slots));
    end->pieces = pieces;
    gate_leave(&end->way[main_way ^ 1].gate);
    gate_leave(&end->way[main_way].gate);
    if (pieces == 0) {
        end_destroy(end);
    }
    return left > INT_MAX ? INT_MAX : (int)left;
}
