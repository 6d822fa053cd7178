/* SPDX-License-Identifier: MIT
 *
 * The members of a channel: the files in its directory chan/<name>. Joining and leaving are serialised by a record lock on
 * the file `roll`, which dies with its holder; nothing that moves data ever takes it. `roll` also holds the change counter,
 * a hint to look again. What the channel is stands in `card`, written aside and then linked: the first wins.
 */
#ifndef MEM_ROLL_H
#define MEM_ROLL_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/type.h"
#include "mem/node.h"

#define ROLL_FILE_MAX 96 /* "<node>.<number>.tx~", and the names of posts */

enum roll_pattern {
    ROLL_PAIR = 1,
    ROLL_STREAM,
    ROLL_QUEUE,
    ROLL_EVENT,
    ROLL_CAST,
    ROLL_CALL,
    ROLL_TELL
}; /* a queue, a cast and calls have any number of ends, an event one reader; to tell, one writer and one reader */

#define ROLL_CRC 0x10000u /* beside the pattern: every message of the channel has a CRC; all its ends say so, or none */
#define ROLL_TIME 0x20000u /* likewise a time, from which it grows old */
#define ROLL_SEALS (ROLL_CRC | ROLL_TIME)
#define ROLL_LAYOUT(version)                                                                                           \
    ((unsigned)(version) << 8) /* and of what its ends share in files and messages; below 256 */
#define ROLL_PATTERN 0xffu

/* An end, as its files name it. */
struct roll_end {
    uint64_t node;
    uint32_t number; /* counts the ends that a process has opened */
};

struct roll {
    int dir;               /* the channel's directory */
    int lock;              /* `roll`, open while joining or leaving, else -1 */
    uint32_t *change;      /* the counter in it, mapped */
    uint64_t inode, bytes; /* of it; how large it is, as far as was looked */
    struct roll_end self;
    uint32_t place; /* this end's, see place.h; PLACE_MOST: none */
    uint32_t posts; /* what had been put in the name of others when it came */
    bool writes, reads;
    bool alone;      /* nobody else was there when this end came */
    bool lists;      /* there may be files in its name that nobody counts: what is left behind is found by a list */
    bool finished;   /* its files have their names */
    bool keeps;      /* what this end has sent stays when it leaves: its tx and its claims */
    char name[256];  /* of the directory, encoded */
    char shown[320]; /* "shm://camera", for sentences */
};

/* Begins to join the channel of that scheme called name (any text): makes the directory and the card if they
 * are not there, removes what the dead have left when nobody else lives, and sees that this end may join: -EBUSY with those who are there; -THIRL_EROLE when the channel is of
 * another pattern, or has one of ROLL_SEALS and this end has not, or the other way round; -THIRL_EVERSION when the layout is another one; -ETIMEDOUT when somebody else holds the lock until
 * then. With 0 the lock is held: make the files under
 * the names of roll_file with a '~' behind, then roll_finish or roll_cancel. */
int roll_begin(struct roll *, const char *scheme, const char *name, unsigned pattern, bool writes, bool reads,
               unsigned mode, int64_t until);

/* The number of another end of this process; and roll_begin for an end that has one already: one that is in several channels has the same
 * in all of them. */
uint32_t roll_number(void);
int roll_begin_as(struct roll *, uint32_t number, const char *scheme, const char *name, unsigned pattern, bool writes,
                  bool reads, unsigned mode, int64_t until);

/* What this end's messages are, between roll_begin and roll_finish: kept in the channel if nobody has said it yet. type: NULL, nothing is said
 * and nothing checked. 0; or an error, -THIRL_ETYPE if others said something else, and the joining is cancelled. */
int roll_type(struct roll *, const struct thirl_type *, unsigned mode);

/* Gives the files their names, lets go of the lock, and tells the others. */
int roll_finish(struct roll *);
void roll_cancel(struct roll *);

/* Removes this end's files, and the channel when nobody is left; tells the others. */
void roll_leave(struct roll *);
void roll_deinit(struct roll *);

/* Leaves, but only where nobody sends and nothing is posted to this end, which is made sure of under the lock. 0; -EBUSY: there is
 * somebody, or something; -EAGAIN: somebody else holds the lock. */
int roll_retire(struct roll *);

/* Removes what was put in an end's name in a channel that it has not joined, and the channel if nobody is there. */
void roll_renounce(const char *channel, struct roll_end);

/* The name of the directory of a channel. 0, -ENAMETOOLONG, -THIRL_EADDRESS: there is none. */
int roll_encode(char to[256], const char *scheme, const char *name);

/* The name that a shm:// channel had, by that of its directory: false, it is another scheme's, or no name. */
bool roll_decode(const char *channel, char name[256]);
/* Calls seen for the directory of every channel until it returns nonzero, and returns that, or an error. */
int roll_each(int (*seen)(void *context, const char *channel), void *context);

/* The file of an end: kind is "tx", "rx", "bell", "room", or "claim" (claim.h). */
void roll_file(char file[ROLL_FILE_MAX], struct roll_end, const char *kind);

/* The ends that send (PLACE_SENDS) or receive, one after the other, without a list of the directory: *place goes behind the one that *end
 * gets, and is 0 at first. It may be dead, and it may not have its file yet, or any more. false: no more. */
bool roll_next(struct roll *, uint32_t state, uint32_t *place, struct roll_end *end);

/* The same of places as they are. */
struct place;
bool roll_next_place(struct roll *, uint32_t state, uint32_t *at, struct place *);

/* Another end that sends ("tx") or receives ("rx") and whose process is alive: 0, or -ESRCH. */
int roll_find(struct roll *, const char *kind, struct roll_end *);

/* Is that end still there: has it a file of that kind, and is its process alive? */
bool roll_has(const struct roll *, struct roll_end, const char *kind);

/* Takes the name of an end's file apart; *kind gets what stands behind its second dot. */
bool roll_parse(const char *file, struct roll_end *, const char **kind);

/* Opens a list of the directory; NULL: it cannot be read. */
DIR *roll_list(int dir);

/* The counter changed: everybody who waits for it looks again. */
void roll_tell(struct roll *);

/* Removes what the dead have left in one channel, but for what they sent to a work queue and nobody has done yet, and the channel when nobody else is there. chan: the directory of all
 * channels. false: that has to wait, because somebody holds its lock. */
bool roll_clean(int chan, const char *name);

/* Locks a channel by the name of its directory without joining it, and removes what the dead have left. *alone: nobody is
 * there. 0: then roll_visited follows, which removes the channel when nobody is there; -ENOENT: there is no such channel; or
 * an error. Other files in the directory are the visitor's business. */
int roll_visit(struct roll *, const char *name, int64_t until, bool *alone);
void roll_visited(struct roll *, bool alone);

#define ROLL_TURN 1024  /* where in the page of roll->change the words of turn.h are, */
#define ROLL_HAIL 2048  /* those of hail.h, */
#define ROLL_ROUSE 3072 /* of rouse.h, and behind it the number of the last worker */

#endif
