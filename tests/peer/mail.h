/* SPDX-License-Identifier: MIT
 *
 * Random kills of who sends and of who receives, over any queue between processes: how often those who are left do not get on, and what becomes
 * of the messages. The same for thirl and for others.
 */
#ifndef TESTS_PEER_MAIL_H
#define TESTS_PEER_MAIL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAIL_SIZE 64 /* bytes of each message */
#define MAIL_NONE 1  /* answer of get: nothing came for a while */

/* A queue. Each process opens one end of it, in the directory where, which is in memory and empty at first. */
struct mail {
    const char *name;
    int (*open)(const char *where, int sends); /* 0 or -1; waits for nobody for longer than a second */
    int (*put)(const void *data); /* a message; 0 once the library says that it is sent, -1, or MAIL_NONE: try again */
    int (*get)(
        void *data,
        int *
            again); /* a message, within 100 ms or so; *again: the library says that it was given out before. 0, -1, MAIL_NONE */
    void (*done)(void);                /* with what get gave; may be NULL */
    void (*close)(void);               /* in order, with what was sent on its way */
    void (*remove)(const char *where); /* what is left of it, by its name; may be NULL */
};

struct mail_tale {
    unsigned kills, senders;            /* of them, of who sent */
    unsigned stalls;                    /* nothing came for two seconds, so that all had to begin anew */
    uint64_t sent;                      /* put had returned 0 */
    uint64_t lost, doubled, torn, told; /* told: came again, and the library said so */
    unsigned left;                      /* files that are left when both have closed in order */
};

/* So many kills. 0; -1 with errno: it cannot be opened at all. */
int mail_run(const struct mail *, unsigned kills, struct mail_tale *);

extern const struct mail mail_ours[]; /* without a name: the end of the list */
extern const struct mail mail_kernels[];
extern const struct mail mail_zmq[] __attribute__((weak)); /* where they are linked, see queues.sh */
extern const struct mail mail_nng[] __attribute__((weak));
extern const struct mail mail_boost[] __attribute__((weak));

#ifdef __cplusplus
}
#endif
#endif
