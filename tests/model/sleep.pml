/* SPDX-License-Identifier: MIT
 *
 * The sleep protocol (mem/bell.h) as a model for Spin: one that sends and rings, one that receives and sleeps, each with a store buffer (x86:
 * stores become visible late, in order), each of whom may die between any two steps and is followed by another one. A ring is one
 * for each sleep; who pays for the order between store and load changes as it likes.
 *
 * No wake-up is lost: when nothing moves any more, nobody sleeps beside a message that was sent to him, or beside a dead sender.
 *
 *     MUTATE: 1 the sleeper does not fence; 2 the ringer stops fencing without the heavy fence; 3 the sleeper does not look once more;
 *             4 the sleeper counts its sleep before it shows it
 */
#ifndef MUTATE
#define MUTATE 0
#endif
#ifndef MESSAGES
#define MESSAGES 2 /* that a sender sends; its follower sends as many */
#endif
#define LIVES 2    /* a role's first process, and the one that follows it */

/* What the two write, by the number of the process. A word has one writer, which knows what it wrote. */
byte data[LIVES], count[LIVES], fenced[LIVES]; /* the ringer's */
byte attention[LIVES], arms[LIVES];            /* the sleeper's */
byte to = 9, start;                            /* the ringer's: for whom its lane is, and where it begins for him */

mtype = { DATA, COUNT, FENCED, ATTENTION, ARMS };
chan ringer_stores = [3] of { mtype, byte, byte };
chan sleeper_stores = [2] of { mtype, byte, byte };

/* What the kernel knows. */
bool ringer_dead[LIVES], sleeper_dead[LIVES];
byte ringer_now = 0, sleeper_now = 0;
bool asleep;   /* the sleeper, in the kernel, */
byte slept_on; /* on that ringer's word */

byte got; /* of the present sleeper */
byte deaths = 0;
#ifndef DEATHS
#define DEATHS 2
#endif

inline flush(stores, word, who, value) {
    atomic {
        stores ? word, who, value;
        if
        :: word == DATA -> data[who] = value
        :: word == COUNT -> count[who] = value
        :: word == FENCED -> fenced[who] = value
        :: word == ATTENTION -> attention[who] = value
        :: word == ARMS -> arms[who] = value
        fi
    }
}

/* The processors: each lets its stores out when it likes. */
active proctype ringer_processor() {
    mtype word; byte who, value;
end: do :: flush(ringer_stores, word, who, value) od
}
active proctype sleeper_processor() {
    mtype word; byte who, value;
end: do :: flush(sleeper_stores, word, who, value) od
}

#define FENCE(stores) (len(stores) == 0)
#define MAY_DIE(where) if :: deaths < DEATHS -> deaths++; goto where :: true fi

inline wake(ringer) {
    atomic { if :: asleep && slept_on == ringer -> asleep = false :: else fi }
}

active proctype Ringer() {
    byte me, sent, rings, answered, seen_arms, seen_attention;
    bool fences;
begin:
    sent = 0; rings = 0; fences = true;
    fenced[me] = 1; /* its page is new: nobody has seen it */
    do
    :: sent < MESSAGES ->
        /* Whom it talks to: the one who is there. What was sent to a dead one and not received is lost. */
        if
        :: to == 9 || sleeper_dead[to] ->
            MAY_DIE(die);
end0:       atomic { (!sleeper_dead[sleeper_now]); FENCE(ringer_stores); start = data[me]; to = sleeper_now }
            fences = true; /* bell_begin */
            ringer_stores ! FENCED, me, 1;
            FENCE(ringer_stores);
            answered = arms[to] - 1;
        :: else
        fi;
        MAY_DIE(die);
        sent++;
        ringer_stores ! DATA, me, sent;
        MAY_DIE(die);
        if :: fences -> FENCE(ringer_stores) :: else fi;
        seen_attention = attention[to];
        if
        :: seen_attention == 0 && fences ->
            if /* calm enough, or not yet */
            :: true ->
                ringer_stores ! FENCED, me, 0;
                MAY_DIE(die);
#if MUTATE != 2
                FENCE(ringer_stores);
                FENCE(sleeper_stores);
#endif
                fences = false
            :: true
            fi
        :: seen_attention == 0 && !fences
        :: seen_attention != 0 ->
            seen_arms = arms[to];
            seen_attention = attention[to];
            if :: (seen_arms - answered) > seen_attention -> answered = seen_arms - seen_attention :: else fi;
            if
            :: seen_arms != answered ->
                answered++;
                if :: !fences -> fences = true; ringer_stores ! FENCED, me, 1 :: else fi;
                rings++;
                ringer_stores ! COUNT, me, rings;
                MAY_DIE(die);
                FENCE(ringer_stores); /* the kernel's own */
                wake(me)
            :: else
            fi
        fi
    :: sent == MESSAGES -> break
    od;
    /* It stays, and has no more to say. */
end: if
    :: deaths < DEATHS && me + 1 < LIVES -> deaths++; goto die
    fi;
die:
    /* The kernel lets out what was stored, and wakes who sleeps on its life. */
    atomic { FENCE(ringer_stores); ringer_dead[me] = true; to = 9 }
    wake(me);
    if
    :: me + 1 < LIVES -> me++; ringer_now = me; goto begin
    :: else
    fi
}

active proctype Sleeper() {
    byte me, from, seen, shown;
begin:
    shown = 0;
meet:
    /* Until somebody talks to this one: a word that all change wakes it. */
meets: end: if
    :: to == me && !ringer_dead[ringer_now] -> atomic { from = ringer_now; got = start }
    :: deaths < DEATHS && me + 1 < LIVES -> deaths++; goto die
    fi;
    do
    :: data[from] > got -> MAY_DIE(die); got++
    :: data[from] <= got ->
        if
        :: ringer_dead[from] ->
            if :: data[from] > got -> skip :: else -> goto meet fi
        :: else ->
            seen = count[from];
            MAY_DIE(die);
            shown++;
#if MUTATE != 4
            sleeper_stores ! ATTENTION, me, 1;
            sleeper_stores ! ARMS, me, shown;
#else
            sleeper_stores ! ARMS, me, shown;
            sleeper_stores ! ATTENTION, me, 1;
#endif
#if MUTATE != 1
            FENCE(sleeper_stores);
            if :: fenced[from] == 0 -> FENCE(ringer_stores) :: else fi;
#endif
            MAY_DIE(die);
#if MUTATE != 3
            if
            :: data[from] > got || ringer_dead[from] -> skip
            :: else ->
#else
            if
            :: true ->
#endif
                FENCE(sleeper_stores); /* the kernel's own */
                atomic {
                    if
                    :: count[from] == seen && !ringer_dead[from] -> asleep = true; slept_on = from
                    :: else
                    fi
                }
sleeps: end1:   if
                :: !asleep
                :: asleep && deaths < DEATHS && me + 1 < LIVES -> deaths++; goto die
                fi
            fi;
            sleeper_stores ! ATTENTION, me, 0
        fi
    od;
die:
    atomic { FENCE(sleeper_stores); asleep = false; sleeper_dead[me] = true }
    if
    :: me + 1 < LIVES -> me++; got = 0; atomic { sleeper_now = me }; goto begin
    :: else
    fi
}

/* Nothing moves any more. */
active proctype Judge() {
end: timeout ->
    assert(!(asleep && (ringer_dead[slept_on] || (data[slept_on] > got && to == sleeper_now))))
}
