/* SPDX-License-Identifier: MIT
 *
 * What a peer that lies does besides, for fetch.c: it has an end, and sends and receives like any other. Each runs in the peer: 0, or an error.
 */
#ifndef TESTS_LURE_H
#define TESTS_LURE_H

#include <stddef.h>
#include <stdint.h>

#include "include/thirl/thirl.h"

#define LURE_SMALL 40
#define LURE_MIDDLE 300               /* is copied with care */
#define LURE_LARGE ((size_t)20 << 10) /* lies in a pool */

/* Where and as what it opens its end: in memory that both have, for it lives longer than a scene. */
extern struct lure {
    char address[160];
    enum thirl_role role;
    unsigned number;
} * lure;

int lure_open(void);
int lure_close(void);
int lure_send(void);
int lure_send_many(void);
int lure_send_middle(void);
int lure_send_large(void);
int lure_receive(void);
int lure_hold(void);
int lure_knock(void); /* those who have not met need two tries */
int lure_accept(void);
int lure_serve(void);
int lure_ask(void);
int lure_ask_middle(void);
int lure_ask_large(void);
int lure_tell(void);

/* What a naive reader reads: in a file of its own. */
struct lure_note {
    uint32_t size;
    char text[1020];
};
int lure_note(void);
const char *lure_note_path(void);

#endif
