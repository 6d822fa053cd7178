/* SPDX-License-Identifier: MIT
 *
 * The contract of a carrier: what takes whole packets one way, without a connection: a POSIX or System V message queue, a
 * datagram socket. A carrier knows nothing of messages, peers and lives; the engines above make mechanisms of it: queue
 * (PUSH and PULL) and duct (PAIR, WRITE and READ). Only they call it.
 *
 * An instance sends or receives, never both, and is used by one thread at a time. It never waits by itself: what cannot be
 * done now is -EAGAIN. Only with wait = true it may give up the processor a few times before it says so, and, where `blocks` says
 * that, block in one system call for at most MECH_SLICE_NS; a signal ends that early, with -EAGAIN. Nothing but open allocates.
 *
 * What a carrier keeps in the kernel is known by its place: a text that open gives, and that another process can open or
 * remove. The engines write places into the registry before anything else can be lost, and so find what the dead have left;
 * a carrier leaves no trace of its own.
 */
#ifndef MECH_CARRIER_H
#define MECH_CARRIER_H

#include <sys/uio.h>

#include "base/atomic.h"
#include "base/parts.h"
#include "mech/mech.h"

#define CARRIER_PLACE_MAX 272
#define CARRIER_PARTS_MAX 3
#define CARRIER_SMALL 8256 /* bytes of a packet: to copy 8 KiB costs less than to tell a kernel of a second part */

struct carrier_open {
    enum carrier_kind {
        CARRIER_NAMED, /* the queue that the address names, made if it is not there */
        CARRIER_INBOX, /* receives: a fresh one that nobody else has; its name is free to choose, key is unique to it */
        CARRIER_PLACE, /* sends: to the inbox at `place`; -ENOENT when it is gone */
    } kind;
    enum mech_way way;                   /* MECH_IN receives, MECH_OUT sends */
    const char *address;                 /* as the user gave it, for sentences */
    const char *rest;                    /* between "://" and "?" */
    const char *key;                     /* INBOX: letters, digits and dots, never used twice on this machine */
    const char *place;                   /* PLACE; NAMED and lasting: what is noted of it already, "" if nothing is */
    const struct thirl_options *options; /* complete; queue is a wish, mode and raw are orders */
    uint64_t *
        lost; /* packets that are known never to arrive are added here, by a carrier that is told of them; NULL: they are counted elsewhere */
};

/* What is true of an open instance, now. */
struct carrier_facts {
    size_t packet;       /* bytes of the largest packet */
    uint64_t bytes;      /* that can wait */
    uint64_t packets;    /* that can wait; 0: only the bytes are counted */
    uint32_t priorities; /* levels; 1: packets are equal */
    uint32_t senders,
        receivers;    /* how many can be there at once; 0: no limit. More than one receiver: each packet goes to one */
    bool reliable;    /* what was sent is received, once, unless it is removed */
    bool ordered;     /* packets of one sender and one priority arrive in the order of sending */
    bool kept;        /* packets wait without a receiver, and without their sender */
    bool whole;       /* a message is one packet, never more: larger ones are refused */
    bool descriptors; /* travel with a packet */
    bool cross_host;
    bool made; /* NAMED: this open has made it */
};

/* What waits at a place. */
struct carrier_left {
    uint64_t packets, bytes;
    uint32_t uid; /* whose it is */
};

/* The slots that each message needs, see below. A carrier's functions for them are SLOT: a mechanism over it has them inlined into its own, for
 * behind a system call each return is predicted wrong. */
#define SLOT __attribute__((hot, always_inline)) static inline
typedef int carrier_send(void *self, const struct iovec *part, unsigned parts, const struct mech_note *, bool wait);
typedef int carrier_recv(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                         struct mech_note *, bool wait);
typedef void *carrier_block(void *self);

struct carrier {
    const char *scheme;
    size_t state_size; /* the engine allocates that much, zeroed, for each instance: the slots' self */
    bool blocks;
    bool silent;        /* it never has anything to sleep on: the ends of one channel wake each other (mem/hail) */
    bool lasting;       /* a place stays after the last process that has it open: it must be removed */
    const char *remedy; /* what makes its packets larger, for sentences: "raise fs.mqueue.msgsize_max" */

    /* Of lasting ones: the place that open will give, so that it can be noted first; open may add to it, and then that is noted. NULL
     * elsewhere. 0 or an error. */
    int (*plan)(const struct carrier_open *, char place[CARRIER_PLACE_MAX]);

    /* 0 and the place, or an error with a sentence that names the kernel's limit and how to raise it; then close is not
     * called. Does not wait for anybody. place is NULL of what is NAMED and not lasting. Of PLACE it is the one that the instance
     * sends from: "" where confine is NULL. */
    int (*open)(void *self, const struct carrier_open *, char place[CARRIER_PLACE_MAX]);

    /* Lets go. What is at the place stays there, if it is lasting. */
    void (*close)(void *self);

    /* Sends the parts as one packet, no larger than facts.packet. note may be NULL; its descriptors stay the caller's.
     * 0; -EAGAIN: no room, or nobody is there yet; -EPIPE: whoever received at that place is gone, and nothing sent there will
     * arrive; -EMSGSIZE: the limit has become smaller, ask for facts again. */
    carrier_send *send;

    /* Receives one packet into the parts, filling one after the other; the last one alone holds facts.packet. *size gets the
     * bytes of the packet. at: NULL, or where it lies in one piece, which may be elsewhere, until the next call; then the parts
     * have nothing of it. *at stays NULL where the parts have it. note is filled in. 0; -EAGAIN; -EIDRM: the queue was removed. A foreign packet that is
     * larger than the parts is never cut in silence: it is taken away, with -EMSGSIZE and *size. */
    carrier_recv *recv;

    /* Where one packet is put together, as send wants it: what lies there already, as its only part, is not copied. NULL where that
     * may be anywhere. */
    carrier_block *block;

    /* Has the instance received more than recv has given? Then recv makes no system call, and there may be nothing to sleep on. NULL
     * where it never has. */
    bool (*holds)(void *self);

    /* INBOX: nobody but the instance that sends from that place can send here any more, and what waits is bounded by bytes
     * alone; NULL: all can again, and what has not been received is gone. 0, or an error without a sentence: nothing has changed.
     * NULL where the kernel knows no such thing. */
    int (*confine)(void *self, const char *source);

    /* Something to sleep on until the instance's own way may work again: fills kind, fd and events, or word, value and life.
     * 0; 1: there is nothing, and the engine tries again after a pause that it lets grow. Never an error. The descriptor is
     * the instance's and stays the same while it is open. */
    int (*watch)(void *self, struct mech_watch *);

    /* Silent ones only: would the instance's own way work now, as far as can be told without taking anything? One system call. */
    bool (*stands)(void *self);

    void (*facts)(void *self, struct carrier_facts *);

    /* Of a NAMED queue with default options, on this machine, without one: for `thirl mechanisms`. */
    void (*claims)(struct carrier_facts *);

    /* What waits at a place, and its removal, by whoever comes. 0; -ENOENT: it is gone; or an error with a sentence. NULL where
     * places are not lasting. */
    int (*left)(const char *place, struct carrier_left *);
    int (*remove)(const char *place);
};

#endif
