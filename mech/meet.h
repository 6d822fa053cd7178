/* SPDX-License-Identifier: MIT
 *
 * How two processes that know one address find each other, whoever comes first: call; if nobody listens there, listen.
 * Then a greeting both ways. What is the same wherever they meet is here; what an address is, and how one calls and
 * listens there, is a struct meet_kind. Nothing here waits; meet_step goes on where the last step stopped. Calls on one
 * struct meet are the caller's to keep apart.
 */
#ifndef MECH_MEET_H
#define MECH_MEET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "mech/link.h"
#include "wire/frame.h"

#define MEET_GUESTS 8                 /* callers that may be connected without having greeted; the oldest makes room */
#define MEET_GUEST_NS (5 * CLOCK_S)   /* and for how long */
#define MEET_GRACE_NS (10 * CLOCK_MS) /* no caller has to make room before: it may only need a moment to greet */
#define MEET_PAUSE_NS (20 * CLOCK_MS) /* at most, between two tries while neither calling nor listening works */
#define MEET_CALLERS 1024             /* of a host: they may wait in the kernel for its next step */
#define MEET_ADDRESS 320

/* A connection on which nothing was heard yet, or half a greeting. */
struct meet_line {
    int in, out;   /* one number twice where the kernel has both ways in one descriptor; -1 where there is none */
    int64_t since; /* CLOCK_MONOTONIC ns */
    size_t had;
    unsigned char said[FRAME_HELLO];
};

/* Who listens: whoever comes first; or it is agreed by role, and who is to listen where somebody does already is refused. */
enum meet_part { MEET_EITHER, MEET_HOST, MEET_CALLER };

struct meet {
    const struct meet_kind *kind;
    enum meet_part part;        /* set after meet_init, with meet_play */
    int spare;                  /* of a host: a descriptor to give up when there is none to tell a caller so; else -1 */
    void *place;                /* the kind's own; it outlives this struct */
    char address[MEET_ADDRESS]; /* for sentences */
    bool packets;               /* what is written in one piece is read in one piece */
    uint64_t queue;
    struct frame_hello own; /* role, stream, max and descriptors of this end */
    bool raw;               /* nobody greets: whoever calls, or is called, is the peer at once; set after meet_init */

    int listener;             /* -1, or a descriptor that is readable when somebody may have called */
    struct meet_line joining; /* this end's own call; never while it listens */
    struct link_who host;     /* while joining: who listens */
    bool greeted;             /* while joining: our greeting has left */
    int64_t again, pause;     /* no new call before this point in time, CLOCK_MONOTONIC ns; and the next pause */
    struct meet_line guest[MEET_GUESTS];
    unsigned guests;
    bool
        deaf; /* the listener is out of the watch: there is no room for callers, or no descriptor; look again after MEET_GRACE_NS */
    int watch; /* an epoll descriptor: readable when a step has something to do */
    int also;  /* another one, kept like it; -1 until the caller makes one */
};

/* What differs. Slots are called by steps of the struct meet; a slot that says so may be NULL. All descriptors that they
 * hand over are close-on-exec and do not block. */
struct meet_kind {
    /* Neither joining nor listening: calls with meet_call, or listens with meet_listen. 0 when it did; -EAGAIN: not now, try
     * again after a pause; or an error for the user. */
    int (*seek)(struct meet *);

    bool crosses;     /* both ends call: whoever answers is identified as a caller is */
    bool open_to_all; /* strangers write there by mistake: the user is told of a greeting that is none */

    /* Has the call come through, that meet_call said had not yet? 0: greet; -EAGAIN: not yet; -ECONNREFUSED: nobody is there,
     * seek again; or an error for the user. NULL where calls come through at once. */
    int (*reach)(struct meet *);

    /* Listening: the next caller's descriptors into in and out. 0; -EAGAIN: there is none; -EMFILE: there is one, and no descriptor
     * for it; -ECONNREFUSED: one was there that may not join, and is gone. NULL where nobody ever listens. */
    int (*admit)(struct meet *, int *in, int *out);

    /* Who called; false: it is gone. who->pidfd is the caller's then too, to be closed. */
    bool (*identify)(struct meet *, const struct meet_line *, struct link_who *);

    /* What the peer's greeting lets us know of it besides. NULL: nothing. */
    void (*know)(struct meet *, int fd, const struct frame_hello *, struct link_who *);

    /* Listening: can others still find us? NULL: always. */
    bool (*placed)(const struct meet *);

    /* Frees the name, when nobody listens any more; the listener is still open. NULL: closing it is enough. */
    void (*leave)(struct meet *);

    /* Do both mean the same place? For ends of one process, of one kind. NULL: that cannot be. */
    bool (*same)(const struct meet *, const struct meet *);
};

/* A peer that has greeted; the descriptors and who.pidfd are the caller's. */
struct meet_match {
    int in, out;
    struct link_who who;
    struct frame_hello hello;
};

/* own: kind need not be set. 0 or an error with a sentence. After an error meet_deinit is allowed. */
int meet_init(struct meet *, const struct meet_kind *, void *place, const char *address, bool packets, uint64_t queue,
              const struct frame_hello *own);

/* Takes that part from the first step on. A host goes on listening after a match. */
void meet_play(struct meet *, enum meet_part);

/* One step. 1: there is a match; -EAGAIN; or an error that the user should hear (-EBUSY, -THIRL_EROLE, …), after which
 * another step tries anew. */
int meet_step(struct meet *, struct meet_match *);

/* Does anybody wait to be let in? Whoever does is in, to be heard by the next step, or: answers them all that both ends are taken, by this process
 * and by pid. */
bool meet_called(struct meet *);
void meet_refuse(struct meet *, int64_t pid);

/* Stops listening, frees the address for others, hangs up. */
void meet_retire(struct meet *);
void meet_deinit(struct meet *);

/* Keeps a second epoll descriptor like the watch from now on. */
void meet_share(struct meet *, int epoll);

/* Puts a descriptor into the watch, or takes it out: before it is closed. */
void meet_attend(struct meet *, int fd, uint32_t events);
void meet_forget(struct meet *, int fd);

/* ---- for kinds ---- */

/* This end calls over these descriptors, which it takes over like host->pidfd. through: the greeting leaves now. Where two
 * calls cross, each is the other's answer. */
void meet_call(struct meet *, int in, int out, const struct link_who *host, bool through);

/* Tells a caller that it may not join, with an errno value or an enum thirl_error. */
void meet_turn_away(const struct meet *, const struct meet_line *, int code);

/* This end listens; takes the descriptor over. */
void meet_listen(struct meet *, int fd);

/* Locks the directory of that absolute path against others who would place something there. 0; -EAGAIN: somebody does just now;
 * or an error. */
int meet_lock_beside(const struct meet *, const char *path, int *lock);
void meet_unlock(int *lock);

/* accept4, as the slot admit wants it. */
int meet_accept(const struct meet *);

static inline bool meet_joins(const struct meet *m) {
    return m->joining.in >= 0 || m->joining.out >= 0;
}

/* Nothing in the watch says when the next step has something to do: it is after the pause. */
static inline bool meet_pauses(const struct meet *m) {
    return m->listener < 0 && (!meet_joins(m) || (!m->greeted && !m->kind->reach));
}

#endif
