/* SPDX-License-Identifier: MIT
 *
 * CALL and SERVE over shared memory: an end that has a conversation with each of many others. Each conversation is what a pair
 * has, with lanes, cursors, death and leaving as there (outlet.c, inlet.c), but in files of the one channel that bear the
 * names of both ends:
 *
 *     <client>.tx   <server>.rx                 the ends' pages: who is there, does it sleep, how busy is it
 *     <client>.door <server>.door               where others knock (mem/door.h)
 *     <client>.tx.<server>  <client>.rx.<server>    a conversation, the client's half,
 *     <server>.tx.<client>  <server>.rx.<client>    and the server's
 *     <server>.call.<client>                    a link to the client's tx: please accept; the server's to remove
 *
 * A client begins one with every server that it sees. The server accepts when it looks; then the client's outlet links, and
 * requests may go. A server that is closed or dead is left by removing the conversation.
 *
 * Looking: an end polls the lanes of the conversations that were lively last, DESK_HOT at most, and shows all others that it
 * wants to be rung for (they are `armed`): who sends there knocks, and is polled from then on. To sleep it arms the polled
 * ones, too, and sleeps behind its door. So it does while the descriptor for event loops is dark: then who knocks lights it.
 *
 * The two ways have lists of their own, because each is used under its own gate: a conversation is given back by whichever of them
 * lets go of it last.
 */
#ifndef MECH_DESK_H
#define MECH_DESK_H

#include "base/layout.h"
#include "mech/shm.h"
#include "mem/door.h"

#define DESK_HOT 8
#define DESK_MAGIC "thirldsk"

struct desk_page { /* written by its end only */
    struct shm_mark mark;
    LINE_ALIGNED uint32_t asleep; /* its threads behind the door */
    uint32_t pad;
    uint64_t polled;            /* how often its descriptor has gone dark */
    LINE_ALIGNED uint32_t busy; /* a server: requests that it has taken and not answered */
    uint32_t gone;              /* it has left in order */
};
LAYOUT(desk_page, 192, polled, 72);

/* Before the bytes of each message stands a word: the call, and in its highest bits what the message is. Before those of a request that has a
 * deadline, or was given to another server before, stands a second one. So a message of 48 bytes takes a cache line. */
#define DESK_CALL ((UINT64_C(1) << 60) - 1)
#define DESK_KIND_SHIFT 60 /* enum mech_kind */
#define DESK_KINDS 7u
#define DESK_LONG (UINT64_C(1) << 63)
#define DESK_AGAIN UINT64_C(1)           /* in the second word, whose other bits are the deadline */
#define DESK_HEAD (2 * sizeof(uint64_t)) /* bytes of both */

struct desk;

/* A conversation. */
struct talk {
    struct shm shm; /* as of a pair */
    struct desk *desk;
    uint64_t whom;
    uint32_t seat;
    struct door door; /* the other's */
    struct seg page;  /* likewise */
    const struct desk_page *theirs;
    char who[NODE_PEER_MAX]; /* "pid 123 (name)": before it has spoken */
    uint32_t broken; /* the way OUT has found it over: a code, for the way IN to say when it has read the rest */
    uint32_t over;   /* the way IN has said so: likewise */
    uint32_t done;   /* a bit for each way that has let go */
    bool named;      /* its files have their names, */
    bool nameless;   /* and are removed */
    /* IN: */
    LINE_ALIGNED bool hot;
    bool armed;
    unsigned held;   /* pieces that are out */
    uint64_t finals; /* a client: last answers; a server: requests that it took */
    /* OUT: */
    LINE_ALIGNED bool pressed; /* a thread sleeps until there is room */
    uint64_t asked;            /* a client: requests; a server: last answers */
    uint32_t others;           /* a client: what the server has to do for others, when it was last asked */
};

struct desk {
    struct roll roll;
    struct seg page;
    struct desk_page *own;
    struct door door;
    struct node_end *seen;
    char address[NODE_ADDRESS_MAX];
    bool serves, heavy;
    unsigned mode;
    uint64_t queue, max;
    struct thirl_options options; /* of each conversation */
    uint32_t serial;
    uint32_t top;           /* all seats that were ever used are below */
    uint32_t count;         /* of conversations, for the list */
    uint32_t overs;         /* that the way IN has let go of and the way OUT has not */
    pthread_mutex_t noting; /* of `seen`'s peer */
    uint8_t used[DOOR_SEATS];
    struct talk *in[DOOR_SEATS], *out[DOOR_SEATS];
    /* IN: */
    LINE_ALIGNED struct talk *hot[DESK_HOT];
    unsigned warm, turn, sleepers;
    struct lamp lamp;   /* of this way */
    bool dark;          /* it is, and whoever has something knocks */
    uint32_t asked_for; /* the seat whose life was looked at last */
    int64_t reviewed;
    uint64_t *known; /* of a server, by their place in the roll: clients as they were when it last accepted */
    uint32_t knows;  /* elements of it */
    uint32_t come;   /* of the roll, when clients were last looked for, plus one */
    unsigned reviews;
    uint64_t taken;
    /* OUT: */
    LINE_ALIGNED uint32_t change; /* of the roll, when servers were last looked for, plus one */
    int64_t scanned;
    struct talk *blocked; /* what had no room last */
    struct lamp room;     /* the descriptor of this way */
    unsigned pressing;
    uint64_t answered, choices;
    struct roll_end barred[16]; /* servers that lied */
    unsigned bars;
};

static inline bool desk_same(const struct roll_end *a, const struct roll_end *b) {
    return a->node == b->node && a->number == b->number;
}

/* ---- talk.c ---- */

/* Begins one with that end: its files are there when this returns. 0; -EAGAIN: the other is not there; or an error. */
int talk_make(struct desk *, const struct roll_end *mate);

/* Is the other end no more? 0, or how it ended. Of a way whose lane it has not met, for which nothing else tells. */
uint32_t talk_lost(const struct talk *);

/* Of the way IN, and of the way OUT: lets go of it. It is gone when both have. */
void talk_leave_in(struct talk *);
void talk_leave_out(struct talk *);

/* Shows that it wants to be rung for; then look at it once more. And that it does not. */
void talk_arm(struct talk *);
void talk_disarm(struct talk *);

/* Takes its files away. */
void talk_remove(struct talk *);

/* Client: asks the server to accept it. */
int talk_post(struct talk *);

/* The name of such a request, for its server. */
void talk_post_file(char file[ROLL_FILE_MAX], const struct roll_end *server, const struct roll_end *client);

/* Writes into the list how many are there. */
void talk_note(struct desk *);

/* ---- hark.c ---- */

/* The slots of the way IN. */
int hark_take(void *self, struct mech_piece *, struct mech_note *, bool wait);
void hark_free(void *self, struct mech_piece *, enum mech_way);
int hark_look(struct desk *);
int hark_arm(struct desk *, struct mech_watch *);
int64_t hark_disarm(struct desk *);
bool hark_ready(struct desk *);
void hark_settle(struct desk *); /* keeps the descriptor level-triggered */

#endif
