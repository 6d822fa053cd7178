/* SPDX-License-Identifier: MIT
 *
 * Bytes through plain pipes, as any program reads and writes them: one descriptor for each way, no greeting, no frames, no
 * goodbye. For the raw form of mechanisms over pipes; where a pipe comes from is a struct hose_kind. The contracts of the
 * slots are mech.h's. Two ways share nothing but what open and close set.
 *
 * What is written with one send is one write(2) up to PIPE_BUF bytes, which the kernel never mixes with another's. PUSH
 * sends nothing larger.
 */
#ifndef MECH_HOSE_H
#define MECH_HOSE_H

#include "mech/mech.h"

#define HOSE_QUEUE 65536 /* what Linux gives a pipe */

struct hose {
    const struct hose_kind *kind;
    struct hose *neighbour; /* the next one of this process */
    const char *address;    /* for sentences: copied by hose_open */
    char text[320];
    uint64_t max;
    struct node_end *seen;
    bool sends, receives;
    bool messages;   /* PUSH: each of them whole, and a reader that leaves may be followed by another */
    int user, ready; /* thirl_fd's, and a timer in it: for what no descriptor tells */
    enum mech_way user_way;
    struct hose_way {
        int fd;        /* -1: there is none yet */
        int theirs;    /* the other side of this pipe, kept for a child; -1: there is none, or it was let go */
        bool shared;   /* others may hold the open file too: it may block */
        bool met;      /* fd leads to somebody, as far as is known */
        bool came;     /* IN: something was received */
        bool over;     /* nothing comes any more, or nobody takes it */
        int64_t pause; /* of the next look for somebody, ns */
    } way[2];
};

struct hose_kind {
    bool many; /* programs come and go there, and several may write */

    /* That way is not met: is somebody there now? 0: fd is set, and it is; -EAGAIN; or an error for the user. */
    int (*reach)(struct hose *, enum mech_way);

    /* Nothing has come yet, and the pipe reads as if everybody had closed it: may somebody still come? NULL: no. */
    bool (*awaits)(struct hose *);

    /* Now and then, while nothing has come. NULL: there is nothing to look after. */
    int (*attend)(struct hose *);

    /* The end closes; its descriptors are still open. NULL: that is enough. */
    void (*leave)(struct hose *);
};

/* Sets up what is the same for all; both ways have fd and theirs -1 afterwards. Cannot fail. */
void hose_init(struct hose *, const struct hose_kind *, const struct mech_open *);

/* The end is open: from now on a forked child lets go of its descriptors. */
void hose_join(struct hose *);

/* Takes a descriptor over for that way, in place of the one that it had; -1: none. */
void hose_set(struct hose *, enum mech_way, int fd);

/* That way is met: notes it for lists and sentences. */
void hose_meet(struct hose *, enum mech_way);

/* What the user's descriptor says of itself from now on. */
void hose_relight(struct hose *, enum mech_way);

/* Does an end of this process keep that number for a child? Then it is not to be closed by whoever opens it here. */
bool hose_keeps(int fd);

/* Of a way out: has every reader left? */
bool hose_is_unread(int fd);

/* As in mech.h. */
void hose_close(void *self);
void hose_deinit(void *self);
int hose_flush(void *self, uint64_t *left);
int hose_send(void *self, const void *data, size_t size, size_t *done, bool wait);
int hose_settle(void *self, const void *data, size_t size, size_t done);
int hose_recv(void *self, void *buffer, size_t capacity, size_t *size, bool wait);
bool hose_ready(void *self, enum mech_way);
int hose_look(void *self, enum mech_way);
int hose_arm(void *self, enum mech_way, struct mech_watch *);
int64_t hose_disarm(void *self, enum mech_way);
int hose_fd(void *self, enum mech_way, int *fd);
void hose_limits(void *self, struct thirl_limits *);
void hose_claims(struct thirl_limits *);
int hose_peer(void *self, struct thirl_peer *);

#define HOSE_SLOTS                                                                                                     \
    .queue = HOSE_QUEUE, .raw = true, .blocks = true, .close = hose_close, .deinit = hose_deinit, .flush = hose_flush, \
    .send = hose_send, .settle = hose_settle, .recv = hose_recv, .ready = hose_ready, .look = hose_look,               \
    .arm = hose_arm, .disarm = hose_disarm, .fd = hose_fd, .limits = hose_limits, .claims = hose_claims,               \
    .peer = hose_peer

/* The mechanisms that are made of it: what the raw form of fifo://, pipe:// and, for the end of a pipe, fd:// is. */
extern const struct mech path_raw, lent_child, lent_given;

#endif
