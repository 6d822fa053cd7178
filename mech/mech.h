/* SPDX-License-Identifier: MIT
 *
 * THE CONTRACT between the one API (chan) and what carries its messages: each mechanism is one file with one
 * struct mech, and one line in table.c. Only chan calls it.
 *
 * An end has two ways, IN and OUT, which share nothing that is not said here. Calls of one way never run at the same time
 * (chan holds that way's gate); calls of different ways may. open and close run alone.
 *
 * A mechanism never waits by itself: a slot that cannot do its work now answers -EAGAIN, and chan asks `arm` for something
 * to wait on. Only where a slot gets wait = true may it block, inside one system call, for at most MECH_SLICE_NS; recv of one that has
 * `spin` may look again for a microsecond or two then, because its peer has answered at once of late.
 *
 * Everything that comes from a peer is copied once and checked; a lie is -THIRL_EFORMAT with a sentence, never a crash.
 * Sentences are set with err_say where they are specific; for -EAGAIN no sentence is made, chan knows what to say.
 * No slot but open, close, fd and a change of peer allocates in the steady state.
 */
#ifndef MECH_MECH_H
#define MECH_MECH_H

#include <stdbool.h>

#include "base/futex.h"
#include "include/thirl/thirl.h"

#define MECH_SLICE_NS INT64_C(50000000) /* longest block inside a slot, longest sleep before a look at a peer's life */
#define MECH_MAX (UINT64_C(64) << 20)   /* what ?max= is when neither the user nor the mechanism says it */

#define MECH_ALSO 16

struct mech;

enum mech_way { MECH_IN, MECH_OUT };

/* What an end is opened with: checked by chan, complete (no zeros that mean a default). Valid during open only. */
struct mech_open {
    const struct mech *mech; /* the one whose open is called */
    enum thirl_role role;
    const char *address;          /* as the user gave it, for sentences and lists */
    const char *rest;             /* between "://" and "?" */
    bool sends, receives, stream; /* what the role comes to; stream: bytes without boundaries */
    struct thirl_options options;
    bool *bytes; /* never NULL: set where messages have no boundaries, whatever the role: ?raw over a stream */
    struct node_end *seen; /* this end's line in the registry: the mechanism keeps state and peer there; never NULL */
};

/* A message between a mechanism and chan. chan owns the struct; data is valid until free (in), put or free (out). */
struct mech_piece {
    void *data;
    size_t size;
    size_t capacity; /* of a loan */
    uint64_t number; /* in: counts this peer's messages from 0 */
    uint64_t lost;   /* in: of this peer's messages, just before this one */
    bool again;      /* in: another receiver had it before */
    uint64_t times;  /* in: as in mech_note */
    uint64_t cookie; /* the mechanism's own */
    void *owner;     /* likewise */
    void *via;       /* likewise */
};

/* What a message of CALL and SERVE is. A conversation is what one CALL end and one SERVE end have with each other; the mechanism
 * gives each a number that it never uses again, `whom`, the same for both ways of this end.
 *
 * Within a conversation messages keep their order. Requests go from CALL to SERVE, as does CANCEL; PART, REPLY and FAILED the
 * other way. To each REQUEST there is in the end one REPLY or FAILED, also after CANCEL, or the conversation is GONE. */
enum mech_kind {
    MECH_PLAIN,   /* a message of any other role */
    MECH_REQUEST, /* call, deadline, again */
    MECH_CANCEL,  /* call: no answer is wanted; no bytes */
    MECH_PART,    /* call: an answer, more follow */
    MECH_REPLY,   /* call: the last answer */
    MECH_FAILED,  /* call: there is none; an int32_t, the code (positive), and a sentence without its NUL */
    MECH_GONE, /* never sent: the conversation is over, `failure` says how and thirl_why in a sentence; said once, after all that
                     the other side has sent */
};

/* What goes with a message besides its bytes. */
struct mech_note {
    uint32_t priority;
    unsigned count; /* of descriptors */
    int descriptor[THIRL_DESCRIPTORS_MAX];
    uint64_t lost;   /* in: as in mech_piece */
    uint64_t number; /* likewise, where the mechanism numbers */
    bool again;      /* likewise; and of a REQUEST, both ways: a server that died had it */
    bool keeps;      /* in, set before the call: the message is given back by free or requeue, with this */
    bool
        lies; /* in, likewise: it may lie where the mechanism has it; then `place` says where, and no buffer is needed */
    void *place;
    uint64_t cookie; /* in: the mechanism's own, for those */
    uint64_t times;  /* in: how many events this one stands for, where they are counted; 0 elsewhere */
    char *topic;     /* in, set before the call where `topics`: gets the topic, THIRL_TOPIC_MAX bytes */
    /* Of CALL and SERVE: */
    enum mech_kind kind;
    uint64_t call; /* the caller's number, below 2^60; other callers may use the same */
    uint64_t whom; /* the conversation, as this end knows it: it is not transmitted */
    int64_t
        deadline; /* CLOCK_MONOTONIC, ns, INT64_MAX: none; rounded down to 16 ns. Whoever carries it to another host, or into another
                         time namespace, sends what is left of it, and takes it from its own clock at arrival */
    int failure; /* of GONE: -THIRL_EPEERDIED, -THIRL_ECLOSED (it has left) or -THIRL_EFORMAT (it lied); of any other, where it is not 0: it
                    may not be used, -THIRL_EFORMAT (damaged) or -THIRL_EEXPIRED, has no bytes, and thirl_why says more. In, 0 before the call */
};

/* Makes the note of a message of calls. It has no descriptors, and their places stay as they are: they are most of it. */
static inline void mech_note_call(struct mech_note *note, enum mech_kind kind, uint64_t call, uint64_t whom) {
    note->priority = 0;
    note->count = 0;
    note->lost = note->number = note->cookie = note->times = 0;
    note->again = note->keeps = note->lies = false;
    note->place = NULL;
    note->topic = NULL;
    note->kind = kind;
    note->call = call;
    note->whom = whom;
    note->deadline = 0;
    note->failure = 0;
}

/* Something to sleep on. */
struct mech_watch {
    enum { MECH_WATCH_WORD, MECH_WATCH_FD } kind;
    /* WORD: sleep while both words have these values. life may be NULL: then look again every MECH_SLICE_NS. */
    const uint32_t *word, *life;
    uint32_t value, life_value;
    /* FD: sleep until one of them has one of its events. guard is -1 or a pidfd (POLLIN). */
    int fd, guard;
    short events;
    bool timed; /* disarm will know when the peer rang */
    /* Sleep no longer than this before the next try, in ns; INT64_MAX: no bound but the caller's. */
    int64_t slice;
    /* WORD: further lives, beside `life` */
    struct futex_word also[MECH_ALSO];
    unsigned also_count;
};

struct carrier;

struct mech {
    const char *scheme;  /* "shm" */
    const char *summary; /* one line for people */
    size_t state_size; /* chan allocates that much, zeroed and aligned to a cache line, for each end: the slots' self */
    uint32_t roles;    /* a bit for each enum thirl_role that it carries: chan refuses the others */
    bool raw;          /* it knows ?raw: chan refuses that elsewhere */
    bool registry;     /* open needs the registry directory */
    bool one; /* what it rings for wakes one sleeper of many ends: who wakes and may not take it passes the wake on */
    uint64_t queue; /* what ?queue= is when nobody says it */
    uint64_t max;   /* likewise of ?max=; 0: MECH_MAX */
    uint64_t pool;  /* likewise of ?pool=; 0: it has none, and chan refuses the option */
    const char
        *more; /* what a full queue depends on and what raises it, for sentences; NULL: the queue that was asked for */
    bool blocks;   /* send and recv make use of wait = true (mech/haste): chan calls them so before it ever arms */
    uint32_t full; /* a bit for each enum thirl_full that it knows, if not only to wait; chan refuses others */
    bool history;  /* it knows ?history=; chan refuses that elsewhere */
    bool crc;      /* its ends find out whether both have ?crc and ?lifespan: those are refused elsewhere */
    bool clocked;  /* of calls: both ends read one clock, and deadlines come as they were sent */
    bool numbers;  /* recv_noted tells each message's number; else chan counts, where there is no take */
    const struct mech *datagram; /* what carries ?type=datagram of the same scheme; NULL: there is none */
    const struct mech *kin;      /* what carries further roles of the same scheme, see mech_for; NULL: there is none */
    const struct mech *wild; /* what carries a SUB whose address is a pattern of topics (wire/topic.h); NULL: refused */
    bool topics;             /* recv_noted tells each message's topic */
    const struct carrier *carrier; /* what it is built on, where it keeps something in the kernel; else NULL */
    const struct mech *inner;      /* what it is put around (mech/wrap.h); NULL in the table */

    /* The mechanism that carries this very address, where that is another one: what ?raw comes to. NULL: always this one. */
    const struct mech *(*form)(const char *rest, const struct thirl_options *);

    /* Joins the channel. Does not wait for a peer. 0 or an error; after an error close is not called. May block while it
     * takes a lock that other processes hold only while joining. */
    int (*open)(void *self, const struct mech_open *);

    /* Leaves the channel: the peer is told, files are gone. Alone. Only memory that outstanding pieces point to stays. */
    void (*close)(void *self);

    /* The last call: everything is given back. After close, when no piece is outstanding. */
    void (*deinit)(void *self);

    /* In close, before it: has the peer taken over all that was sent? 0 yes; -EAGAIN not yet (arm OUT, then again);
     * otherwise it never will. *left gets the number of messages that the peer has not taken. Sends what was kept back. */
    int (*flush)(void *self, uint64_t *left);

    /* Sends a message, or bytes. *done is 0 at first. 0 all of it was sent; -EAGAIN not now: *done says how much of it is on
     * its way (always 0 or all for mechanisms that keep messages whole): call again with the same arguments, or call
     * settle. While a message is on its way no other may start. Errors: thirl_send. */
    int (*send)(void *self, const void *data, size_t size, size_t *done, bool wait);

    /* The caller gives up on a message that is partly on its way: the rest is copied and leaves with the next call on this
     * end, so that the peer never sees half of it. 0: it counts as sent. A stream just forgets. NULL where *done is never
     * anything between 0 and size. */
    int (*settle)(void *self, const void *data, size_t size, size_t done);

    /* Receives: thirl_recv without the waiting. 0, THIRL_END, -EAGAIN, -EMSGSIZE (*size is set, the message stays; a buffer
     * of capacity 0 asks for the size), -EBADMSG (a message was damaged on its way: a sentence says
     * so, it counts and is passed over; chan makes -THIRL_EFORMAT of it) or an error. */
    int (*recv)(void *self, void *buffer, size_t capacity, size_t *size, bool wait);

    /* As many messages as can go, or come, without waiting: *count says how many there are, or may come, and gets how many
     * went or came, and *bytes, unless none did, how large they are together. 0: at least one; else as send and recv. Received ones as thirl_recv_many
     * has them. send_many goes no further than to a message whose data is missing (parts_there), which the first one's is not; it
     * may also say 1: the next one is better sent alone, by send. NULL where a call for each is as good. */
    int (*send_many)(void *self, const struct iovec *, size_t *count, size_t *bytes);
    int (*recv_many)(void *self, void *buffer, size_t capacity, struct iovec *, size_t *count, size_t *bytes);

    /* send and recv with a note: chan uses them for loans that carry one, and for all that it takes into private buffers; NULL
     * where messages carry none. Descriptors stay the caller's when sent, and become his when received; after an error
     * there are none. `wait` as above. */
    int (*send_noted)(void *self, const void *data, size_t size, size_t *done, const struct mech_note *, bool wait);
    int (*recv_noted)(void *self, void *buffer, size_t capacity, size_t *size, struct mech_note *, bool wait);

    /* thirl_loan, thirl_put, thirl_take, thirl_free without the waiting. free gets taken pieces (way IN) and unsent loans
     * (way OUT), under the gate of that way, after close too. All four are NULL where the mechanism has nothing better than
     * private buffers: chan keeps those and uses send and recv. free alone may be there: for what was taken into a private
     * buffer by recv_noted. A loan that answers 1 has nothing better for that size. Without put, what was lent goes to send, which knows it
     * by its address, and then to free. */
    int (*loan)(void *self, struct mech_piece *, size_t size);
    int (*put)(void *self, struct mech_piece *);
    int (*take)(void *self, struct mech_piece *);
    void (*free)(void *self, struct mech_piece *, enum mech_way);

    /* CALL and SERVE. They send with send_noted, to note->whom, always whole; -THIRL_EPEERDIED, -THIRL_ECLOSED, -THIRL_EFORMAT:
     * that conversation is over or will be, nothing was sent, and IN says GONE when all has been received that came before.
     * take_noted is take with a note, and gives the events, which have no bytes; a piece goes back by free all the same; wait: the peer has answered
     * at once of late, and may be looked for a moment for what he says. NULL: recv_noted
     * does it into private buffers, and there -EMSGSIZE is answered by the same message again.
     * choose, of a CALL end, way OUT: the conversation that the next request is best sent to, by what the servers have to do. A server that
     * is dead or leaving is none. -EAGAIN: there is none now, arm OUT and try again.
     * wake: all threads that have armed that way come up and try again, also those that are about to sleep; may be called under the gate
     * of either way. NULL where it arms descriptors: chan has one of its own for that. */
    int (*take_noted)(void *self, struct mech_piece *, struct mech_note *, bool wait);
    int (*choose)(void *self, uint64_t *whom);
    void (*wake)(void *self, enum mech_way);

    /* Of a CALL end, under the gate of that way. IN: the id of the process at the other end of that conversation; OUT: the one of the only
     * server that there is. 0: unknown, or several. NULL where an end has one conversation at a time, and its line says with whom. */
    uint64_t (*server)(void *self, enum mech_way, uint64_t whom);

    /* Would a try answer something else than -EAGAIN, as far as can be told without a system call? Goes as far towards a peer as a
     * try would, and takes nothing. NULL: only a try can tell. Whoever has this and arms words has an fd for each of its ways,
     * which another call of fd makes dark while there is nothing. */
    bool (*ready)(void *self, enum mech_way);

    /* thirl_requeue: any receiver gets that taken piece, marked; instead of free, under the same rules. NULL where what was
     * received is gone from the mechanism. */
    int (*requeue)(void *self, struct mech_piece *);

    /* IN, right after a receive or, in place, the free of what it brought: that one was passed over, and whoever receives the next of the
     * same sender is told that it was lost. NULL: all that comes until then is of one sender. */
    void (*skip)(void *self);

    /* What a try cannot see: has a peer come, died or gone? Cheap enough for every MECH_SLICE_NS and for every thousand
     * spins. 0, or what the next try would say; -EAGAIN means nothing new. */
    int (*look)(void *self, enum mech_way);

    /* About to sleep: makes sure that the peer will wake this way, looks once more, and fills the watch. 0: sleep on it, then
     * disarm; 1: do not sleep, try again; or an error. disarm is called after every arm that returned 0, and says when the
     * peer rang (CLOCK_MONOTONIC, ns), 0 where that is not known. Several threads may have armed one way. */
    int (*arm)(void *self, enum mech_way, struct mech_watch *);
    int64_t (*disarm)(void *self, enum mech_way);

    /* May trying again and again be worth more than sleeping? Not when the peer needs this very processor. NULL: never,
     * because a try costs a system call. */
    bool (*spin)(void *self, enum mech_way);

    /* thirl_fd: a descriptor that is readable while way has something to answer. Called under both gates; the mechanism keeps
     * it level-triggered from then on. */
    int (*fd)(void *self, enum mech_way, int *fd);

    void (*limits)(void *self, struct thirl_limits *); /* sends, receives, boundaries, size and raw are chan's */
    void (*claims)(struct thirl_limits *);        /* the same without an end: with default options, on this machine */
    int (*peer)(void *self, struct thirl_peer *); /* -ENOTCONN while there is none */
    int (*pidfd)(void *self,
                 int *fd); /* a new one, of the peer's process; likewise. NULL where there is none to be had */

    /* thirl_hand, under both gates: makes the other end inheritable and writes its address. -EMSGSIZE without a sentence: it
     * does not fit. NULL where every process can open this end's own address. */
    int (*hand)(void *self, char *address, size_t capacity);
};

extern const struct mech mech_shm, mech_work, mech_shm_cast, mech_topics, mech_event, mech_desk, mech_unix, mech_dgram,
    mech_mq, mech_sysv, mech_tcp, mech_udp, mech_group, mech_fd, mech_activated, mech_pipe, mech_fifo, mech_sig,
    mech_auto;

/* The mechanism of that scheme (its first `length` characters), or NULL. */
const struct mech *mech_find(const char *scheme, size_t length);

/* Of that mechanism and its kin the one that carries that role; itself when none does. */
const struct mech *mech_for(const struct mech *, enum thirl_role);

/* Puts what the options ask for around *mech: hurt, the seal of ?crc and ?lifespan around that, for what hurt does is to be found
 * by it, the vigil of ?deadline, and spy outermost. 0 or an error, then *mech is what it was. mech_unwrap gives
 * back what was put around, when the end that it was made for is gone. */
int mech_wrap(const struct mech **mech, const char *address, const struct thirl_options *);
void mech_unwrap(const struct mech *);

/* All of them, in the order of the table, then NULL. */
extern const struct mech *const mech_table[];

#endif
