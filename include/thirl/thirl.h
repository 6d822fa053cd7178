/* SPDX-License-Identifier: MIT
 *
 * thirl: inter-process communication on Linux, one API over every mechanism.
 *
 * An address names a channel and the mechanism that carries it; a role says what this end does there. Open an end, send
 * and receive, close it. Every function may be called from any thread. Deadlines are absolute; errors are negative
 * values, and thirl_why() has the sentence: who, which limit, what to do.
 */
#ifndef THIRL_THIRL_H
#define THIRL_THIRL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define THIRL_VERSION_MAJOR 0
#define THIRL_VERSION_MINOR 1
#define THIRL_VERSION_PATCH 0
#define THIRL_VERSION "0.1.0"

#define THIRL_API __attribute__((visibility("default")))
#define THIRL_CHECK __attribute__((warn_unused_result))

typedef struct thirl thirl;         /* one end of a channel */
typedef struct thirl_msg thirl_msg; /* a message: payload, and what is known of it */

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* A point on CLOCK_MONOTONIC, in nanoseconds. A type of its own, so that a duration is never passed for a deadline. */
typedef struct {
    int64_t ns;
} thirl_time;

#ifdef __cplusplus
#define THIRL_TIME(n) (thirl_time{n})
#else
#define THIRL_TIME(n) ((thirl_time){n})
#endif
#define THIRL_NOW THIRL_TIME(0)           /* do not wait: -EAGAIN when it cannot be done at once */
#define THIRL_NEVER THIRL_TIME(INT64_MAX) /* no deadline */
#define THIRL_SOON THIRL_TIME(-1)         /* the end's own time limit from now on: ?timeout=, 30 s unless set */

THIRL_API thirl_time thirl_in_ns(int64_t ns); /* a deadline that many nanoseconds from now */
THIRL_API thirl_time thirl_in_ms(int64_t ms);

/* ---- errors ------------------------------------------------------------------------------------------------------ */

/* Every function that returns int: 0 done; negative an error, -errno where one fits and one of these otherwise; positive
 * an answer that the function documents. Codes are stable. */
#define THIRL_ERRORS(X)                                                                                                \
    X(EFORKED, 7001, "this end was opened before fork, by the parent process")                                         \
    X(EPEERDIED, 7002, "the peer died; a new one can take its place")                                                  \
    X(ECLOSED, 7003, "the peer closed its end")                                                                        \
    X(EVERSION, 7004, "the other side speaks another version")                                                         \
    X(EFORMAT, 7005, "what was read is not thirl's, or is damaged")                                                    \
    X(EROLE, 7006, "this role does not fit the channel or the call")                                                   \
    X(EADDRESS, 7007, "the address cannot be understood")                                                              \
    X(EEXPIRED, 7008, "the job was older than its lifespan, and was passed over")                                      \
    X(ESILENT, 7009, "nothing was sent within the deadline of the channel")                                            \
    X(ETYPE, 7010, "the messages of the two ends are of different types")

enum thirl_error {
#define THIRL_ERROR_CODE(name, code, text) THIRL_##name = code,
    THIRL_ERRORS(THIRL_ERROR_CODE)
#undef THIRL_ERROR_CODE
};

#define THIRL_END 1  /* thirl_recv, thirl_take on a stream: the writer closed it and everything was delivered */
#define THIRL_MORE 2 /* thirl_call, thirl_answer: more answers of this call follow */

/* This thread's last error as one sentence; "" before the first. Valid until this thread's next thirl call. */
THIRL_API const char *thirl_why(void);

/* The name of a code as thirl functions return it, of either sign: "EAGAIN", "THIRL_EPEERDIED"; never NULL. */
THIRL_API const char *thirl_error_name(int code);

/* ---- open and close ---------------------------------------------------------------------------------------------- */

/* PAIR: one of two ends that both send and receive messages. WRITE and READ: the ends of a byte stream. PUSH: one of the
 * senders of a queue of messages, each of which one receiver gets; PULL: one of its receivers. They need not know each other,
 * nor live at the same time where the mechanism keeps messages. NOTIFY: tells events to who WATCHes: many to one, or over
 * connections one to many, see thirl_limits. An event is a message of at most thirl_limits.message_max bytes, often a single word. PUB: one of those who publish messages, each of which
 * goes to everybody who subscribes; SUB: a subscriber, who gets what is published from its opening on, each publisher's messages
 * in order; in shm:// its address can be a pattern of topics, such as shm://camera/front*, and thirl_msg_topic tells them apart. CALL: one of those who send requests and get answers; SERVE: one of the servers that share them. */
#define THIRL_ROLES(X)                                                                                                 \
    X(PAIR, 1, "pair")                                                                                                 \
    X(WRITE, 2, "write")                                                                                               \
    X(READ, 3, "read")                                                                                                 \
    X(PUSH, 4, "push")                                                                                                 \
    X(PULL, 5, "pull")                                                                                                 \
    X(NOTIFY, 6, "notify")                                                                                             \
    X(WATCH, 7, "watch")                                                                                               \
    X(PUB, 8, "pub")                                                                                                   \
    X(SUB, 9, "sub")                                                                                                   \
    X(CALL, 10, "call")                                                                                                \
    X(SERVE, 11, "serve")

enum thirl_role {
#define THIRL_ROLE(name, number, text) THIRL_##name = number,
    THIRL_ROLES(THIRL_ROLE)
#undef THIRL_ROLE
};

enum thirl_wait_mode {
    THIRL_WAIT_ADAPTIVE, /* spin while messages come faster than a wake-up costs, else sleep */
    THIRL_WAIT_SPIN,     /* never sleep: for a core of one's own */
    THIRL_WAIT_SLEEP,    /* never spin */
};

/* What an address can also say as ?name=value; the address wins. Zero means the default everywhere. */
struct thirl_options {
    size_t size;          /* sizeof (struct thirl_options): set it first, THIRL_OPTIONS does */
    uint64_t queue;       /* ?queue=: bytes that may wait in each direction; rounded up to what the mechanism has */
    uint64_t max;         /* ?max=: largest message accepted from the peer and from the user, in bytes */
    uint32_t wait;        /* ?wait=adaptive|spin|sleep: enum thirl_wait_mode */
    uint32_t mode;        /* ?mode=0660: permission bits of what this end creates; 0600 */
    int64_t timeout;      /* ?timeout=5s: what THIRL_SOON means, in nanoseconds; 30 s */
    uint32_t type;        /* ?type=stream|seqpacket|datagram: enum thirl_socket_type, for unix:// */
    uint32_t raw;         /* ?raw: no framing, no greeting: speaks to programs that do not know thirl; thirl-raw(7) */
    uint32_t descriptors; /* ?descriptors=: how many a received message may bring, up to 16; 0 refuses them all */
    uint32_t signal;      /* ?signal=: the real-time signal of sig://, from 34 to 64; 44 */
    const char
        *spy; /* ?spy=: a file, or the number of a descriptor, that gets a line for each operation; thirl-spy(7) */
    const char *hurt; /* ?hurt=: faults on purpose, SEED or SEED:KIND,...; thirl-hurt(7) */
    uint32_t full;    /* ?full=: what a sender does when a queue is full, enum thirl_full */
    uint32_t retry;   /* ?retry: calls of a server that died are sent to another one: they may be done twice */
    uint64_t history; /* ?history=: how many of a publisher's last messages a new subscriber gets first; 0 */
    uint32_t crc;     /* ?crc: a CRC32C on every message, added and checked from end to end; thirl-crc(7) */
    uint32_t
        deadlock; /* ?deadlock=wait|fail: what becomes of one of those who wait for each other in a circle, enum thirl_deadlock */
    uint64_t
        pool; /* ?pool=: bytes that large messages may take beside the queue, until they are freed; in shm:// 64 MiB */
    int64_t
        lifespan; /* ?lifespan=100ms: what is older when it would be received is passed over, in ns; thirl-lifespan(7) */
    int64_t deadline; /* ?deadline=100ms: longer than that nothing may be silent here, in ns; thirl-deadline(7) */
    const struct thirl_type
        *of;        /* ?of=name:bytes:alignment:layout: what the messages are, compared with the other ends' */
    uint64_t bytes; /* ?size=: of a message as it usually is, for auto:// to choose by */
    uint32_t trust; /* ?trust: likewise, those who may open the channel (?mode=) trust each other */
    uint32_t zero;
};

/* What the messages of a channel are, for both ends to see that they mean the same: a C struct, say. Of an end's options; the channel
 * keeps what the first of those who are in it says, a connection compares both. Whoever says nothing is not checked, and what is 0
 * here is not compared. Different ones are -THIRL_ETYPE, in the open, or where the two meet only later in the first call after that;
 * thirl_why names both. Messages themselves are not looked at.
 *
 *     static const struct thirl_field fields[] = {THIRL_FIELD(struct frame, width), THIRL_FIELD(struct frame, pixels)};
 *     static const struct thirl_type frame = THIRL_TYPE(struct frame, fields);
 *     options.of = &frame; */
struct thirl_field {
    const char *name;
    size_t offset, size;
};

struct thirl_type {
    size_t size;        /* of this struct */
    const char *name;   /* up to 43 characters; "struct ", "union " and "enum " before it do not count */
    uint64_t bytes;     /* of one message, or of one element of several */
    uint32_t alignment; /* of its type */
    uint32_t
        count; /* of its fields, from which the layout is computed: names, offsets, sizes, and the order of bytes */
    const struct thirl_field *fields;
    uint64_t layout; /* set: taken as it is */
};

#define THIRL_FIELD(type, field)                                                                                       \
    { #field, offsetof(type, field), sizeof(((type *)0)->field) }
#define THIRL_TYPE(type, fields)                                                                                       \
    {                                                                                                                  \
        sizeof(struct thirl_type), #type, sizeof(type), (uint32_t) __alignof__(type),                                  \
            (uint32_t)(sizeof(fields) / sizeof *(fields)), fields, 0                                                   \
    }

/* Writes what ?of= takes for it, such as "frame:48:8:9ae16a3b2f90404f", NUL-terminated; 96 bytes are always enough. -EINVAL: it is none;
 * -EMSGSIZE: the capacity is too small. */
THIRL_API THIRL_CHECK int thirl_type_text(const struct thirl_type *type, char *text, size_t capacity);

/* What happens to a message for which there is no room. What was dropped is counted, and the receiver can see the gap. */
enum thirl_full {
    THIRL_FULL_USUAL, /* block; where a publisher is not to wait for its subscribers, drop-oldest: thirl_limits.full says */
    THIRL_FULL_BLOCK,       /* the sender waits, to its deadline */
    THIRL_FULL_DROP_OLDEST, /* the oldest message that the slow receiver has not taken goes */
    THIRL_FULL_DROP_NEWEST, /* this message goes */
    THIRL_FULL_LATEST,      /* a receiver gets the newest message only: all that wait before it go */
    THIRL_FULL_FAIL,        /* the send answers -EAGAIN at once */
    THIRL_FULL_DISCONNECT,  /* the slow receiver loses its connection, and is told so */
};

/* What becomes of a wait in a circle of threads that wait for each other, over channels and locks, as far as that can be known: on one
 * machine, where everybody uses one registry. */
enum thirl_deadlock {
    THIRL_DEADLOCK_USUAL, /* wait */
    THIRL_DEADLOCK_WAIT,
    THIRL_DEADLOCK_FAIL, /* of those who say so, one gets -EDEADLK, with the circle as a sentence */
};

enum thirl_socket_type {
    THIRL_STREAM = 1,
    THIRL_SEQPACKET,
    THIRL_DATAGRAM,
};

#ifdef __cplusplus
#define THIRL_OPTIONS (thirl_options{sizeof(struct thirl_options)})
#else
#define THIRL_OPTIONS ((struct thirl_options){.size = sizeof(struct thirl_options)})
#endif

/* Opens one end of the channel that the address names, creating the channel if it is not there. Does not wait for the
 * other end: the calls that need one wait for it. options may be NULL. Blocks at most for the time limit of the options
 * while another process is joining the same channel.
 * -THIRL_EADDRESS, -THIRL_EROLE, -EBUSY (both ends are taken: by whom is in thirl_why), -ENOSPC, -EACCES, -EMFILE, … */
THIRL_API THIRL_CHECK int thirl_open(thirl **end, enum thirl_role role, const char *address,
                                     const struct thirl_options *options);

/* Waits until what was sent has been taken over by the peer, then closes. Sets *end to NULL, whatever it returns; NULL is
 * allowed. Other threads' calls on the end are woken and answer -THIRL_ECLOSED; later calls are not allowed. Loans and
 * messages of this end stay valid until they are freed. Returns the number of messages that the peer had not taken by
 * the deadline (at most INT_MAX), 0 when there are none. */
THIRL_API int thirl_close(thirl **end, thirl_time until);

/* Gives the other end to a child: call it before fork, or before fork and exec. Writes the address by which the child opens
 * that end, NUL-terminated; 320 bytes are always enough. For pipe:// its descriptors are made inheritable, and the
 * address has their numbers; they stay so until the child has opened it, or another one after a child that died before:
 * each such child is handed the end anew. With ?raw the child may be any program; the next call on the
 * end lets go of its descriptors. Of fd:// and activated:// on a socket that listens it is where the child can call.
 * Elsewhere it is this end's own address: a program need not know what it runs on. -EBUSY: somebody is there. -EMSGSIZE: the
 * capacity is too small. -EINVAL: this end was given itself, and has no other to give. -THIRL_ECLOSED. */
THIRL_API THIRL_CHECK int thirl_hand(thirl *end, char *address, size_t capacity);

/* ---- send and receive: copies ------------------------------------------------------------------------------------ */

/* Sends one message (PAIR), or all of the bytes (WRITE). The data is the caller's again when it returns. Waits while there
 * is no peer yet or the queue is full.
 * -EAGAIN (THIRL_NOW), -ETIMEDOUT: nothing was sent. A stream may have sent a part; thirl_why says how much.
 * -EMSGSIZE: larger than the end can carry, see thirl_limits.
 * -THIRL_EPEERDIED: the peer died; told once in each direction that had met it, then the end waits for the next peer.
 * -THIRL_ECLOSED: the peer closed its end; final. */
THIRL_API THIRL_CHECK int thirl_send(thirl *end, const void *data, size_t size, thirl_time until);

/* Receives one message (PAIR), or as many bytes as there are up to capacity (READ), into buffer; *size gets their number.
 * -EMSGSIZE: the message does not fit; *size gets the size that it needs and the message stays for the next call.
 * What a dead or closed peer had sent is received first; then -THIRL_EPEERDIED once, or -THIRL_ECLOSED; on a stream
 * THIRL_END, with *size 0. A SUB end is told once of each publisher that died, and goes on; of one that closed it is not told,
 * unless there can be no other, as over connections: -THIRL_ECLOSED.
 * -THIRL_EFORMAT: with ?crc, this message was damaged and is passed over, the next call goes on; else what the peer says cannot be
 * understood.
 * -THIRL_EEXPIRED: of a PULL end with ?lifespan, a job was too old and is passed over; the next call goes on.
 * -THIRL_ESILENT: with ?deadline, nothing came for so long; told once for each such time, and the next call waits for the next.
 * -ECONNRESET: it was too slow for a publisher that disconnects those, and goes on with the others. Errors otherwise as
 * thirl_send. */
THIRL_API THIRL_CHECK int thirl_recv(thirl *end, void *buffer, size_t capacity, size_t *size, thirl_time until);

/* Many messages with one passage through the library: what a call costs is shared among them.
 *
 * send_many sends messages[0] to messages[*count - 1] in order, and waits as thirl_send does. Sets *count to how many were
 * sent, whatever it returns: 0 when all were; -EINVAL before one whose data is NULL, unless it is empty.
 * recv_many waits for one message, as thirl_recv does, and takes with it what the mechanism has at hand: at most *count, and
 * as many as fit into buffer, where they stand in order, each at a multiple of 8 bytes; messages says where and how large.
 * Sets *count to their number. -EMSGSIZE: the first does not fit; messages[0].iov_len gets what it needs.
 * On a stream each is a piece of it. Errors otherwise as thirl_send and thirl_recv. */
THIRL_API THIRL_CHECK int thirl_send_many(thirl *end, const struct iovec *messages, size_t *count, thirl_time until);
THIRL_API THIRL_CHECK int thirl_recv_many(thirl *end, void *buffer, size_t capacity, struct iovec *messages,
                                          size_t *count, thirl_time until);

/* ---- send and receive: in place ---------------------------------------------------------------------------------- */

/* Lends room for a message of up to size bytes, inside the mechanism where thirl_limits says zero_copy and in a private
 * buffer elsewhere: write to thirl_msg_data, then thirl_put. With zero_copy loans leave in the order in which they were
 * lent, and an outstanding one holds back what was lent or sent after it; elsewhere in the order of the puts. At most THIRL_HELD_MAX loans are out at once: -EBUSY.
 * Errors otherwise as thirl_send. */
THIRL_API THIRL_CHECK int thirl_loan(thirl *end, thirl_msg **msg, size_t size, thirl_time until);

/* Sends a loan. Sets *msg to NULL, whatever it returns. */
THIRL_API THIRL_CHECK int thirl_put(thirl *end, thirl_msg **msg, thirl_time until);

/* Receives one message in place (on a stream: a piece of it); it can be read until thirl_free, in any order. At most
 * THIRL_HELD_MAX are held at once, and no more than three quarters of their sender's pool where there is one (thirl_limits): -EBUSY. The
 * message stays and can be taken when something was freed. Errors otherwise as thirl_recv. */
THIRL_API THIRL_CHECK int thirl_take(thirl *end, thirl_msg **msg, thirl_time until);

/* Gives a taken message or an unsent loan back. Sets *msg to NULL; NULL is allowed. Legal after thirl_close. */
THIRL_API void thirl_free(thirl_msg **msg);

/* Of a job, which is a message that a PULL end has: whoever has it is at work on it, and no other worker gets it. Who takes a job
 * says when it is done: thirl_done, or thirl_free; a job in thirl_recv's buffer is done when this end next receives, or is closed,
 * so threads that share an end take. A worker that dies gives its jobs back, and the next one finds them marked: thirl_msg_again.
 * What was taken stays this process's when the end is closed, until it is freed; over a connection it goes to another worker then.
 *
 * done sets *msg to NULL. requeue gives the job back undone, for any worker, and sets *msg to NULL; -EOPNOTSUPP where a message is
 * gone once it was received: it is not in shm://, nor from one to many over connections. -THIRL_EPEERDIED: its pusher is gone. After
 * an error it is still the caller's. Both: -EINVAL, it was not taken. */
THIRL_API int thirl_done(thirl_msg **msg);
THIRL_API THIRL_CHECK int thirl_requeue(thirl_msg **msg);

#define THIRL_HELD_MAX 64

/* Of a message that was taken: how many of that sender's messages were lost just before it, by a full queue, on the way, or because they
 * were older than their lifespan. */
THIRL_API uint64_t thirl_msg_lost(const thirl_msg *msg);

/* Was it given to another worker before, who died or gave it back? 1 or 0. Of a message that a PULL end took. */
THIRL_API int thirl_msg_again(const thirl_msg *msg);

/* Of a message that a WATCH end took: how many times that event was told since it was last taken. 1 where each comes by itself. */
THIRL_API uint64_t thirl_msg_times(const thirl_msg *msg);

/* The topic that a message came on: the name of its channel, such as "camera/front" of shm://camera/front, also where the address of the end
 * is a pattern. Valid until the message is freed; "" of NULL. */
#define THIRL_TOPIC_MAX 320
THIRL_API const char *thirl_msg_topic(const thirl_msg *msg);

THIRL_API void *thirl_msg_data(const thirl_msg *msg);
THIRL_API size_t thirl_msg_size(const thirl_msg *msg);
THIRL_API uint64_t thirl_msg_number(const thirl_msg *msg); /* counts a peer's messages from 0; of a taken message */
/* Makes a loan smaller before it is put. -EINVAL when it would grow. */
THIRL_API THIRL_CHECK int thirl_msg_trim(thirl_msg *msg, size_t size);

/* The priority of a message: of messages that wait, the highest leaves first. 0, the lowest, unless set; below
 * thirl_limits.priorities. Setting: of a loan; -EOPNOTSUPP where the mechanism has none, -EINVAL out of its range. */
THIRL_API THIRL_CHECK int thirl_msg_set_priority(thirl_msg *msg, uint32_t priority);
THIRL_API uint32_t thirl_msg_priority(const thirl_msg *msg);

/* Descriptors that travel with a message, where thirl_limits says descriptors. attach: of a loan; the message keeps a
 * duplicate, the caller's stays his; -EOPNOTSUPP, or -EBUSY beyond THIRL_DESCRIPTORS_MAX. A receiver gets them only when it
 * was opened with ?descriptors=: elsewhere, or when they are more, thirl_put fails with -EOPNOTSUPP. What nobody detached is
 * closed by thirl_free. detach: gives number `which`, from 0, to the caller, close-on-exec; -ENOENT when there is none, or no
 * more. */
#define THIRL_DESCRIPTORS_MAX 16
THIRL_API THIRL_CHECK int thirl_msg_attach(thirl_msg *msg, int fd);
THIRL_API THIRL_CHECK int thirl_msg_detach(thirl_msg *msg, unsigned which);
THIRL_API unsigned thirl_msg_descriptors(const thirl_msg *msg);

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* CALL and SERVE: each request goes to one server, the one that has the least to do, and each is answered: by its server, or by an
 * error that says why not. Any number of calls may be in flight, on one end, from several threads, and be answered in any order.
 * `until` is the deadline of the call, and the server is told; THIRL_NOW does not wait for a server or for room in
 * its queue, and the call itself has the end's own time limit then.
 *
 * thirl_call sends a request and waits for its answer, which is a message like any other: thirl_free gives it back. 0, or
 * THIRL_MORE: this was the first of several, and thirl_answer with thirl_msg_call(reply) gets the next.
 * -ETIMEDOUT: nobody served it in time; it is cancelled. -EAGAIN (THIRL_NOW): it was not sent, or is not answered yet, and is cancelled.
 * -THIRL_EPEERDIED, -THIRL_ECLOSED: the server that had it died or left (with ?retry another one gets it); the next call goes to
 * another. -ECANCELED: the server gave it back, thirl_why has its reason. -EMSGSIZE and other errors as thirl_send. */
THIRL_API THIRL_CHECK int thirl_call(thirl *end, const void *data, size_t size, thirl_msg **reply, thirl_time until);

/* Sends a request and goes on: *call gets the number by which its answers are known. Errors as thirl_call, and there is no call. */
THIRL_API THIRL_CHECK int thirl_ask(thirl *end, const void *data, size_t size, uint64_t *call, thirl_time until);

/* Waits for an answer of *call; where that is 0, of any call of this end that no thread waits for by its number, and *call gets it.
 * 0: *reply is the last answer and the call is over; THIRL_MORE: more follow. -EAGAIN, -ETIMEDOUT: there was none until then, *call
 * is 0 or as it was, and the call goes on; when its own deadline has passed the call is over, and thirl_answer says so.
 * -ENOENT: there is no such call, or for 0: none at all. -ENOBUFS: too many bytes of other calls' answers wait. Errors otherwise as
 * thirl_call: they end the call that *call names. */
THIRL_API THIRL_CHECK int thirl_answer(thirl *end, uint64_t *call, thirl_msg **reply, thirl_time until);

/* Wants no answer any more: forgets the call and tells its server, if that has room to hear it. Does not wait. A thread that waits for it gets
 * -ECANCELED. -ENOENT: there is no such call. */
THIRL_API THIRL_CHECK int thirl_cancel(thirl *end, uint64_t call);

/* The server's side. thirl_take gets a request; it is held, at most THIRL_HELD_MAX at once, until it is answered. thirl_reply
 * sends the last answer, or the only one, and sets *request to NULL, whatever it returns: after an error the caller is told as soon as that is
 * possible that there will be none. thirl_reply_part sends one of several: thirl_reply follows. thirl_free of a request gives it
 * back unanswered: its caller gets -ECANCELED. -ECANCELED here: the caller wants no answer any more; -THIRL_EPEERDIED,
 * -THIRL_ECLOSED: it died, or has closed its end; nothing was sent, and other callers are served as before. -ETIMEDOUT: its queue
 * is full and it made no room. */
THIRL_API THIRL_CHECK int thirl_reply(thirl *end, thirl_msg **request, const void *data, size_t size, thirl_time until);
THIRL_API THIRL_CHECK int thirl_reply_part(thirl *end, thirl_msg *request, const void *data, size_t size,
                                           thirl_time until);

/* Of a request: until when its caller waits; and 1 when no answer is wanted any more, because it was cancelled or its caller is gone.
 * thirl_msg_cancelled looks at what has arrived, as far as THIRL_HELD_MAX requests ahead, and does not wait. thirl_msg_again
 * is 1 when another server that died has had it. Of a request or an answer: the number that its caller knows the call by. */
THIRL_API thirl_time thirl_msg_deadline(const thirl_msg *request);
THIRL_API int thirl_msg_cancelled(thirl_msg *request);
THIRL_API uint64_t thirl_msg_call(const thirl_msg *msg);

/* ---- event loops, limits, peers ---------------------------------------------------------------------------------- */

/* A descriptor that is readable while a receive (on a WRITE end: a send) has something to answer, level-triggered. It may
 * be readable once too often, never too seldom. It belongs to the end: do not read, write or close it. Returns the
 * descriptor, or an error. */
THIRL_API THIRL_CHECK int thirl_fd(thirl *end);

/* Waits for the first of many: of ends, and of any other descriptors. Fill an element for each; an end may stand in several.
 * An element without an end and with a negative fd, or that wants nothing, is passed over. */
struct thirl_want {
    thirl *end;      /* NULL: fd is meant */
    int fd;          /* a descriptor of the program's own, as for poll(2) */
    uint32_t wanted; /* of an end: bits of enum thirl_wanted; of fd: POLLIN … */
    uint32_t ready;  /* set by thirl_wait: those of them that are so; of fd: what poll(2) says */
    uint32_t zero;
};

enum thirl_wanted {
    THIRL_WANT_MESSAGE = 1, /* a receive has something to answer: a message, bytes, the end, an error */
    THIRL_WANT_ROOM = 2,    /* a send has: there is room, for what the last one lacked room for; or an error */
    THIRL_WANT_GONE = 4,    /* only in ready: another thread of this process is closing this end; touch it no more */
};

/* Returns how many elements are ready, all that are; their calls with THIRL_NOW are worth making. One may answer -EAGAIN all the
 * same, when another thread was faster, or only half of a message has come; it is not ready again then until more happens.
 * -EAGAIN (THIRL_NOW), -ETIMEDOUT: none was. With count 0, or nothing wanted: sleeps until then. THIRL_SOON is the shortest time
 * limit of the ends. -EINVAL, -THIRL_EROLE, -THIRL_EFORKED: an element cannot be waited for; thirl_why says which. -ENOMEM: only
 * with more than 16 elements. */
THIRL_API THIRL_CHECK int thirl_wait(struct thirl_want *wants, size_t count, thirl_time until);

/* What is true of an end; each claim is tested. Set size first. */
struct thirl_limits {
    size_t size;
    uint64_t message_max; /* largest message that can be sent, in bytes */
    uint64_t queue;       /* bytes that can wait in one direction, framing included */
    uint8_t sends, receives;
    uint8_t boundaries;  /* messages keep their boundaries */
    uint8_t ordered;     /* and their order */
    uint8_t reliable;    /* none is lost or doubled while both ends live */
    uint8_t zero_copy;   /* loan, put and take copy nothing */
    uint8_t descriptors; /* can carry descriptors; while there is a peer: and it takes some */
    uint8_t identity;    /* the peer's uid, gid and pid come from the kernel */
    uint8_t cross_host;
    uint8_t pollable;            /* has a thirl_fd */
    uint32_t senders, receivers; /* how many a channel can have; 0: no limit */
    uint64_t
        atomic_max; /* up to that size the kernel takes a message whole; above, thirl takes it apart and puts it together */
    uint32_t priorities; /* levels of priority; 1: all messages are equal */
    uint8_t raw;         /* ?raw works */
    uint8_t zero[3];
    uint64_t
        queue_messages; /* messages (packets, above atomic_max) that can wait in one direction; 0: only bytes count */
    uint32_t full;      /* what it does when a queue is full, enum thirl_full */
    uint32_t more_zero;
    uint64_t pool; /* bytes that large messages may take beside the queue; 0: they have no place of their own */
    uint64_t
        lends; /* what was lent with that size or more lies there, and holds back nothing until it is freed; 0: none does */
    uint64_t holds; /* messages that may be taken and not yet freed, and as many loans not yet put, at once */
};
THIRL_API THIRL_CHECK int thirl_limits(thirl *end, struct thirl_limits *limits);

/* A mechanism as it is on this machine, with default options. Strings are static. */
struct thirl_mechanism {
    size_t size;
    const char *scheme;         /* "shm" */
    const char *summary;        /* one line */
    uint32_t roles;             /* a bit for each role that it carries: 1 << THIRL_PAIR … */
    struct thirl_limits limits; /* sends and receives: what some end can do */
};

/* Calls seen for each mechanism until it returns nonzero, and returns that. */
THIRL_API THIRL_CHECK int thirl_mechanisms(int (*seen)(void *context, const struct thirl_mechanism *), void *context);

/* Who is at the other end now. Set size first. -ENOTCONN while there is nobody. */
struct thirl_peer {
    size_t size;
    int64_t
        pid; /* as this process sees it; 0 when it is in a PID namespace that this one cannot see into, or across hosts */
    uint32_t uid, gid; /* UINT32_MAX across hosts, where no kernel vouches for them */
    char exe
        [256]; /* path of its program, "" when it may not be known; across hosts its address, such as "127.0.0.1:5000" */
};
THIRL_API THIRL_CHECK int thirl_peer(thirl *end, struct thirl_peer *peer);

/* A pidfd of the process at the other end: a new descriptor, close-on-exec, which the caller closes. It is readable once that
 * process has ended, and names it even when its pid is used again. -ENOTCONN, -EOPNOTSUPP where there is none to be had. */
THIRL_API THIRL_CHECK int thirl_peer_pidfd(thirl *end);

/* What a process may do with what is shared and belongs to nobody: thirl/state.h, thirl/area.h. */
enum thirl_access {
    THIRL_ACCESS_WRITE, /* read and write; what is not there is made */
    THIRL_ACCESS_READ,  /* maps it read-only: such a process cannot change it, not even by mistake */
};

/* ---- what runs --------------------------------------------------------------------------------------------------- */

/* One end of a channel as the registry shows it. Strings are valid during the callback only. */
struct thirl_seen {
    size_t size;
    const char *address; /* "shm://camera/front" */
    const char *role;    /* "pair", "write", …: see THIRL_ROLES */
    const char *state;   /* "waiting", "linked", "closed", "dead" */
    int64_t pid;         /* as its own process sees it */
    const char *exe;
    const char *peer;                                    /* "pid 123 (name)", "" when there is none */
    uint64_t sent, sent_bytes, received, received_bytes; /* messages and payload bytes */
    uint64_t waits, wakes;                               /* how often it slept, how often it woke its peer */
    uint64_t queue;                                      /* bytes of its queue, 0 when it only receives */
    uint64_t lost;        /* messages that never came, or never whole, as far as that is known */
    uint64_t refused;     /* what came and was not thirl's, or lied, or was damaged */
    uint64_t late, twice; /* packets that came out of order, and that came again and were dropped: over datagrams */
    uint64_t pool, pool_bytes; /* how large its pool may grow, and what it takes of the file system now */
    uint64_t held, held_bytes; /* messages in pools that it has taken and not yet freed */
    uint64_t expired;          /* messages that came, and were older than their lifespan */
    uint64_t
        silences;     /* how often this end's ?deadline passed in silence: its peers', or, of one that sends, its own */
    const char *over; /* of auto://: what it runs over, "shm://camera"; "" elsewhere */
    const char *reason; /* and why, as a sentence */
};

/* Calls seen for each end in the registry directory ($THIRL_DIR, else /dev/shm/thirl-UID), in the order of addresses, until
 * it returns nonzero, and returns that. Reads only. */
THIRL_API THIRL_CHECK int thirl_list(int (*seen)(void *context, const struct thirl_seen *), void *context);

/* What the kernel keeps for channels when processes end: message queues. Strings are valid during the callback only. */
struct thirl_left {
    size_t size;
    const char *address;      /* as thirl_clean wants it */
    uint64_t messages, bytes; /* that wait in it; packets, where a message is several */
    uint32_t ends;            /* living ends of that channel; 0: it is a leftover */
    uint32_t uid;             /* whose it is */
};

/* Calls seen for each that the registry knows, until it returns nonzero, and returns that. Removes nothing. */
THIRL_API THIRL_CHECK int thirl_left(int (*seen)(void *context, const struct thirl_left *), void *context);

/* Removes what a channel without living ends has left in the kernel, with all that waits in it; an address as thirl_left shows it.
 * Returns how many messages (packets, where a message is several) were thrown away, at most INT_MAX. -ENOENT: it has left
 * nothing; -EBUSY: somebody has it open; -EACCES, … Empty queues and those that only the dead knew are removed by themselves. */
THIRL_API THIRL_CHECK int thirl_clean(const char *address);

/* What is shared and belongs to no process: areas, states, caches and locks by name (area.h, state.h, cache.h, lock.h). They stay until
 * somebody takes their name away. */
struct thirl_thing {
    size_t size;
    const char *address; /* "shm://camera/pose" */
    const char *kind;    /* "area", "state", "cache", "lock"; "?" what cannot be read, or is none of them */
    uint64_t bytes;      /* of its file */
    uint32_t users;      /* handles that living processes have by that name; thirl_list shows whose they are */
    uint32_t uid, mode;
};

/* Calls seen for each in the registry directory, in the order of addresses, until it returns nonzero, and returns that. Reads only. */
THIRL_API THIRL_CHECK int thirl_things(int (*seen)(void *context, const struct thirl_thing *), void *context);

/* Takes away the name of one that nobody has open by it; its memory goes with the last who was given a descriptor. -ENOENT, -EBUSY,
 * -EACCES, -THIRL_EFORMAT: it is none. Never happens unasked: what is in one may be meant for those who come later. */
THIRL_API THIRL_CHECK int thirl_discard(const char *address);

#ifdef __cplusplus
}
#endif
#endif
