/* SPDX-License-Identifier: MIT
 *
 * A mechanism that sends nowhere, and brings what was sent, after a test has laid hands on it; and an end of it, with a seal around.
 */
#ifndef TESTS_SHAM_H
#define TESTS_SHAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mech/seal.h"
#include "mech/stamp.h"
#include "mem/node.h"

#define SHAM_MOST 6000

extern struct sham {
    unsigned char sent[8][SHAM_MOST]; /* what was sent, and comes in that order */
    size_t sizes[8];
    unsigned out, in, frees;
    bool again;        /* the same message comes for ever */
    int refuses;       /* what a call answers instead; 0: nothing else */
    size_t partly;     /* of a send, so much is on its way with -EAGAIN */
    size_t announced;  /* with -EMSGSIZE */
    unsigned attached; /* descriptors that come with each message: duplicates of this one */
    int descriptor;
    struct mech_note noted; /* what goes with what was sent, and with what comes */
    const struct mech *mech;
    void *end; /* of mech, and what others see of it */
    struct node_end *seen;
} sham;

extern const struct mech sham_whole, sham_calls; /* with all slots; with those that calls need */

/* Puts a seal around it, and opens an end: what that says. If it is refused, sham_give_back; sham_finish closes first. */
int sham_open(const struct mech *, enum thirl_role, bool crc, int64_t lifespan, bool stream);
void sham_give_back(void);
void sham_begin(const struct mech *, enum thirl_role, bool crc, int64_t lifespan); /* it must succeed */
void sham_finish(void);

void sham_send(const char *text);
int sham_recv(char text[64]);

/* The sentence of the last error must hold that. */
void sham_said(const char *part);

#endif
