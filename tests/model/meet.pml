/* SPDX-License-Identifier: MIT
 *
 * The rendezvous in shared memory (mech/outlet.c, mech/inlet.c, mem/post.c) as a model for Spin: a sender finds a receiver, puts a link to its
 * lane in the receiver's name, says whom the lane is for, and sends; the receiver finds the lane, binds to it, and reads. Each may die between
 * any two steps and is followed by another one, and who joins sweeps what the dead have left.
 *
 * Who lives and receives gets all that was sent to him, in order, from the first on, also what a dead one sent, and nothing that was for
 * another; and when nothing moves any more, a sender and a receiver who both live have met.
 *
 *     MUTATE: 1 no link is put; 2 a receiver that finds its sender dead does not look into the lane once more; 3 whom the lane is for is said
 *             before where it begins for him; 4 with a dead sender the links to others who are dead go, too; 5 a receiver gives up a
 *             sender who lives and talks to another
 */
#ifndef MUTATE
#define MUTATE 0
#endif
#ifndef MESSAGES
#define MESSAGES 2 /* that each sender sends */
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define LIVES 3 /* a role's first process, and those that follow it */
#define NOBODY 9

/* The lanes, which stay as they are for whoever has mapped them. */
byte to[LIVES] = NOBODY, start[LIVES], filled[LIVES];
typedef lane { byte addressee[8] };
lane lanes[LIVES];
byte from[LIVES] = NOBODY; /* a receiver's: whose lane it is bound to */

/* The registry: names of files. */
bool tx[LIVES], rx[LIVES];
typedef links { bool by[LIVES] };
links post[LIVES]; /* by receiver */

bool sender_dead[LIVES], receiver_dead[LIVES];
byte sender_now = 0, receiver_now = 0, deaths = 0;
byte received[LIVES];
bool sent_all[LIVES];

#define MAY_DIE(where) if :: deaths < DEATHS -> deaths++; goto where :: true fi

/* Under the channel's lock; it is held by whoever joins, and dies with him. */
inline sweep() {
    byte i;
    for (i : 0 .. LIVES - 1) {
        if :: sender_dead[i] -> tx[i] = false :: else fi;
        if
        :: receiver_dead[i] -> rx[i] = false; post[i].by[0] = false; post[i].by[1] = false; post[i].by[2] = false
        :: else
        fi
    }
    i = 0
}

active proctype Sender() {
    byte me, at, sent, peer;
begin:
    atomic { sweep(); tx[me] = true };
    at = 0; sent = 0; peer = NOBODY;
    do
    :: sent == MESSAGES -> break
    :: sent < MESSAGES && peer == NOBODY ->
        /* Somebody is there, and listens to nobody who lives. */
end0:   atomic {
            (rx[receiver_now] && !receiver_dead[receiver_now] &&
             (from[receiver_now] == NOBODY || from[receiver_now] == me || sender_dead[from[receiver_now]]));
            peer = receiver_now
        };
        MAY_DIE(die);
#if MUTATE != 1
        post[peer].by[me] = true;
        MAY_DIE(die);
        if /* a receiver that is gone has no links: one of the two sees the other */
        :: !rx[peer] -> post[peer].by[me] = false; peer = NOBODY; goto again
        :: else
        fi;
#endif
        to[me] = NOBODY;
        MAY_DIE(die);
#if MUTATE != 3
        start[me] = at;
        MAY_DIE(die);
        to[me] = peer;
#else
        to[me] = peer;
        MAY_DIE(die);
        start[me] = at;
#endif
        MAY_DIE(die);
again:  skip
    :: sent < MESSAGES && peer != NOBODY ->
        if
        :: receiver_dead[peer] -> to[me] = NOBODY; peer = NOBODY /* told */
        :: else ->
            lanes[me].addressee[at] = peer;
            MAY_DIE(die);
            filled[me] = at + 1; /* committed */
            at++;
            sent++
        fi
    od;
    sent_all[me] = true;
end1:
    if
    :: deaths < DEATHS && me + 1 < LIVES -> deaths++
    fi;
die:
    sender_dead[me] = true;
    if
    :: me + 1 < LIVES -> me++; sender_now = me; goto begin
    :: else
    fi
}

active proctype Receiver() {
    byte me, feed, got, next;
    bool bound;
begin:
    atomic { sweep(); rx[me] = true };
    feed = NOBODY; bound = false;
    do
    :: feed == NOBODY ->
        /* What was put in its name comes first, the oldest of it; then whoever is there. */
end2:   atomic {
            if
            :: post[me].by[0] -> feed = 0
            :: !post[me].by[0] && post[me].by[1] -> feed = 1
            :: !post[me].by[0] && !post[me].by[1] && post[me].by[2] -> feed = 2
            :: !post[me].by[0] && !post[me].by[1] && !post[me].by[2] && tx[sender_now] && !sender_dead[sender_now] ->
                feed = sender_now
            fi
        };
        MAY_DIE(die)
    :: feed != NOBODY && !bound ->
end3:   if
        :: to[feed] == me ->
            got = start[feed];
            MAY_DIE(die);
            from[me] = feed;
            MAY_DIE(die);
            post[me].by[feed] = false;
            bound = true
        :: to[feed] != me && sender_dead[feed] -> /* it may have said it just before it died */
            if
            :: to[feed] == me -> skip
            :: else -> post[me].by[feed] = false; feed = NOBODY
            fi
#if MUTATE == 5
        :: to[feed] != me && to[feed] != NOBODY -> post[me].by[feed] = false; feed = NOBODY
#endif
        fi
    :: feed != NOBODY && bound ->
        if
        :: filled[feed] > got ->
            assert(lanes[feed].addressee[got] == me);
            got++;
            received[me]++;
            MAY_DIE(die)
        :: filled[feed] <= got ->
end4:       if /* until it is rung, or the sender's life changes */
            :: filled[feed] > got -> skip
            :: sender_dead[feed] ->
                if
#if MUTATE != 2
                :: filled[feed] > got -> skip
                :: else -> from[me] = NOBODY; bound = false; feed = NOBODY /* told */
#else
                :: true -> from[me] = NOBODY; bound = false; feed = NOBODY
#endif
                fi
            fi
        fi;
#if MUTATE == 4
        if :: feed == NOBODY -> post[me].by[0] = false; post[me].by[1] = false; post[me].by[2] = false :: else fi
#endif
    od;
die:
    receiver_dead[me] = true;
    if
    :: me + 1 < LIVES -> me++; receiver_now = me; goto begin
    :: else
    fi
}

/* Nothing moves any more. */
active proctype Judge() {
    byte s, k, mine;
end: timeout ->
    if
    :: !receiver_dead[receiver_now] ->
        assert(sender_dead[sender_now] || sent_all[sender_now]);
        for (s : 0 .. LIVES - 1) {
            for (k : 0 .. 7) {
                if :: k < filled[s] && lanes[s].addressee[k] == receiver_now -> mine++ :: else fi
            }
        }
        assert(received[receiver_now] == mine)
    :: else
    fi
}
