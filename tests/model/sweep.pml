/* SPDX-License-Identifier: MIT
 *
 * Making, joining, leaving and sweeping a channel of the registry (mem/found.c, mem/roll.c, mem/sweep.c) as a model for Spin: processes that
 * come, sweep, join the channel, leave it, and may die between any two steps, each followed by another one. Files and directories
 * are inodes; whoever opened one keeps it when its name goes, and a lock is one on an inode and dies with its holder.
 *
 * Whoever is in the channel is in the one that has the name, with his file in it: so any two meet. And what is left when all have gone, the
 * next sweep takes away.
 *
 *     MUTATE: 1 a lock is not looked at again when it is had: its file may have lost its name; 2 whoever leaves does not hold the channel's
 *             lock; 3 a channel gets its name before its roll is in it
 */
#ifndef MUTATE
#define MUTATE 0
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define ROLES 2
#define LIVES 2
#define PEOPLE 4 /* a role's first process, and its second */
#define INODES 8

/* The file system. 0: none. */
byte channel;                                       /* the directory that has the name */
byte fresh[PEOPLE];                                 /* that a process makes */
typedef directory { byte roll; bool file[PEOPLE] }; /* what has a name in it */
directory inode[INODES];
byte lock[INODES]; /* of a roll, which has its directory's number: who holds it, from 1 */
bool used[INODES];

/* The processes. */
bool node[PEOPLE], alive[PEOPLE], inside[PEOPLE];
byte home[PEOPLE]; /* the directory that it joined */
byte deaths = 0, ended = 0;

#define EMPTY(d) (inode[d].roll == 0 && !inode[d].file[0] && !inode[d].file[1] && !inode[d].file[2] && !inode[d].file[3])
#define MAY_DIE if :: deaths < DEATHS -> deaths++; goto die :: true fi

/* What is true at any moment. */
#define IN_PLACE(p) (!inside[p] || !alive[p] || (channel == home[p] && inode[channel].file[p]))
#define ALL_IN_PLACE assert(IN_PLACE(0) && IN_PLACE(1) && IN_PLACE(2) && IN_PLACE(3))

inline new_inode(d) {
    d = 1;
    do :: used[d] -> d++; assert(d < INODES) :: else -> break od;
    used[d] = true
}

/* Nobody has it open who would not see that it is gone: the number may be another's. */
inline forget_inode(d) { used[d] = false }

inline remove_directory() {
    atomic { if :: channel != 0 && EMPTY(channel) -> channel = 0 :: else fi; ALL_IN_PLACE }
}

/* The dead one's files, under the lock. */
inline clean(d, k) {
    k = 0;
    do
    :: k < PEOPLE ->
        atomic {
            if
            :: inode[d].file[k] && !alive[k] -> inode[d].file[k] = false
            :: else
            fi;
            ALL_IN_PLACE
        };
        MAY_DIE;
        k++
    :: else -> break
    od
}

inline remove_channel(d) {
    MAY_DIE;
    inode[d].roll = 0;
    MAY_DIE;
    remove_directory();
    MAY_DIE
}

#define NO_FILES(d) (!inode[d].file[0] && !inode[d].file[1] && !inode[d].file[2] && !inode[d].file[3])

proctype Process(byte me) {
    byte d, k, r;
    bool dead[PEOPLE], some, done;
begin:
    atomic { alive[me] = true; node[me] = true };
    MAY_DIE;

    /* ---- it sweeps ---- */
    atomic {
        some = false;
        for (k : 0 .. PEOPLE - 1) { dead[k] = node[k] && !alive[k]; some = some || dead[k] }
    };
    if
    :: some ->
        atomic { for (k : 0 .. PEOPLE - 1) { if :: dead[k] -> fresh[k] = 0 :: else fi } };
        MAY_DIE;
        atomic { d = channel; done = true; r = (d == 0 -> 0 : inode[d].roll) };
        if
        :: d == 0
        :: d != 0 && r == 0 -> remove_directory()
        :: d != 0 && r != 0 ->
            MAY_DIE;
            atomic { if :: lock[r] == 0 -> lock[r] = me + 1 :: else -> done = false fi };
            if
            :: done ->
#if MUTATE != 1
                if :: inode[d].roll != r -> done = false :: else -> clean(d, k); if :: NO_FILES(d) -> remove_channel(d) :: else fi fi;
#else
                clean(d, k); if :: NO_FILES(d) -> remove_channel(d) :: else fi;
#endif
                lock[r] = 0
            :: else
            fi
        fi;
        MAY_DIE;
        if
        :: done -> atomic { for (k : 0 .. PEOPLE - 1) { if :: dead[k] -> node[k] = false :: else fi } }
        :: else
        fi
    :: else
    fi;
    MAY_DIE;

    /* ---- it joins ---- */
again:
    atomic { d = channel; r = (d == 0 -> 0 : inode[d].roll) };
#if MUTATE == 3
    if
    :: d == 0 -> atomic { new_inode(d); channel = d }; MAY_DIE; inode[d].roll = d; goto again
    :: d != 0 && r == 0 -> goto again
    :: else
    fi;
#else
    if
    :: r == 0 -> /* no channel, or one without its roll */
        MAY_DIE;
        atomic { new_inode(d); fresh[me] = d };
        MAY_DIE;
        inode[d].roll = d;
        MAY_DIE;
        atomic { /* rename: onto nothing, or an empty directory */
            fresh[me] = 0;
            if
            :: channel == 0 || EMPTY(channel) -> channel = d
            :: else -> /* that one has a roll: somebody was faster. Or it has none, and gets this one */
                if :: inode[channel].roll == 0 -> inode[channel].roll = d :: else -> inode[d].roll = 0; forget_inode(d) fi
            fi;
            ALL_IN_PLACE
        };
        MAY_DIE;
        goto again
    :: else
    fi;
#endif
    MAY_DIE;
    atomic { lock[r] == 0 -> lock[r] = me + 1 };
    MAY_DIE;
#if MUTATE != 1
    if :: inode[d].roll != r -> lock[r] = 0; goto again :: else fi;
#endif
    clean(d, k);
    atomic { inode[d].file[me] = true; home[me] = d };
    MAY_DIE;
    inside[me] = true;
    atomic { lock[r] = 0; ALL_IN_PLACE };
    MAY_DIE;

    /* ---- it is there, and leaves ---- */
    ALL_IN_PLACE;
    inside[me] = false;
    MAY_DIE;
    inode[d].file[me] = false;
    MAY_DIE;
    r = inode[d].roll;
    if
    :: r != 0 ->
#if MUTATE != 2
        atomic { lock[r] == 0 -> lock[r] = me + 1 };
        MAY_DIE;
        if
        :: inode[d].roll == r -> clean(d, k); if :: NO_FILES(d) -> remove_channel(d) :: else fi
        :: else
        fi;
        lock[r] = 0
#else
        clean(d, k); if :: NO_FILES(d) -> remove_channel(d) :: else fi
#endif
    :: else
    fi;
    MAY_DIE;
    atomic { node[me] = false; alive[me] = false; ended++ };
    goto gone;
die:
    atomic {
        alive[me] = false;
        inside[me] = false;
        for (k : 0 .. INODES - 1) { if :: lock[k] == me + 1 -> lock[k] = 0 :: else fi };
        k = 0
    };
    if
    :: me < ROLES -> me = me + ROLES; d = 0; r = 0; some = false; done = false; goto begin /* another one follows */
    :: else -> ended++
    fi;
gone:
    skip
}

/* All have gone: the next one's sweep, with nobody beside it. It looks no further where no node is a dead one's. */
init {
    byte k;
    bool some;
    atomic { run Process(0); run Process(1) };
    ended == ROLES;
    atomic {
        for (k : 0 .. PEOPLE - 1) { some = some || node[k] };
        if
        :: some ->
            for (k : 0 .. PEOPLE - 1) {
                node[k] = false;
                fresh[k] = 0;
                if :: channel != 0 -> inode[channel].file[k] = false :: else fi
            };
            channel = 0
        :: else
        fi;
        for (k : 0 .. PEOPLE - 1) { assert(fresh[k] == 0) };
        assert(channel == 0)
    }
}
