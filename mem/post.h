/* SPDX-License-Identifier: MIT
 *
 * What a sender has sent is not swept away with it before the receiver has looked: a sender that begins to talk posts its tx
 * file, as a hard link that belongs to the receiver. The receiver takes the posts in their order, dead senders' too, and
 * drops each when it has the file open. Whoever sweeps a dead receiver's files sweeps its posts.
 */
#ifndef MEM_POST_H
#define MEM_POST_H

#include "mem/roll.h"

#define POST_MAX 8 /* senders that one receiver has not looked at */

/* Posts this end's tx file. 0; -EAGAIN: the receiver has left, or POST_MAX are posted already; or an error. */
int post_put(const struct roll *, const struct roll_end *to);

/* The oldest that was posted to this end: its file and its sender; 0 or -ESRCH. */
int post_find(const struct roll *, char file[ROLL_FILE_MAX], struct roll_end *from);

/* Takes away what that sender posted to this end. */
void post_drop(struct roll *, const struct roll_end *from);

/* ---- to all ---- */

#define POST_CROWD_MAX                                                                                                 \
    64 /* senders that a receiver among many has not looked at: of more, it finds those that are there */

/* While joining, before roll_finish: posts the file, of this end, to every receiver that is there. Posts of this kind lie there
 * until post_done. 0 or an error. */
int post_all(const struct roll *, const char *file);

/* Likewise to one who has not joined, but wishes to hear of it. No more than POST_CROWD_MAX lie there for one. */
int post_one(const struct roll *, const char *file, const struct roll_end *to);

/* Is that file one that this end has posted so? To whom. And takes it back. */
bool post_of_ours(const struct roll *, const char *file, struct roll_end *to);
void post_back(const struct roll *, const struct roll_end *to);

/* Is that file one that was posted to this end so? By whom. */
bool post_to_us(const struct roll *, const char *file, struct roll_end *from);

/* Takes what that sender posted so to this end away, if it is there. */
void post_done(const struct roll *, const struct roll_end *from);

#endif
