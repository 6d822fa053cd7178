/* SPDX-License-Identifier: MIT
 *
 * Who waits for whom, looked at from outside: what each thread of each process in the registry holds and waits for,
 * since when and from where in its program, and which of them wait in a circle. thirl doctor prints it, with --all for each registry
 * of the machine.
 *
 * Threads leave this in the files of their own processes as they lock, and before they sleep; looking at it disturbs nobody, needs no
 * debugger, and works while those who are looked at are stopped or wait for ever.
 */
#ifndef THIRL_DOCTOR_H
#define THIRL_DOCTOR_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

enum thirl_health {
    THIRL_HEALTH_UNKNOWN, /* it lives, and more is not known: in a PID namespace that this process cannot see into */
    THIRL_HEALTH_WELL,
    THIRL_HEALTH_STOPPED, /* by SIGSTOP, by a terminal, or by a debugger: it goes on when it is told to */
    THIRL_HEALTH_ENDED,   /* this thread has ended, its process lives: what it holds nobody will let go of */
    THIRL_HEALTH_DEAD,    /* the process */
};

/* A place in the memory of a process, and what it is in a file. */
struct thirl_site {
    uint64_t address; /* 0: none */
    const char *path; /* of the program or library; "" unknown */
    uint64_t offset;  /* what that file calls the address: what addr2line wants; of a call it is behind it */
};

/* Something that is held, or waited for. */
struct thirl_object {
    const char
        *kind; /* "mutex", …; of channels "answer" to a call, "message" for an empty queue, "room" for a full one */
    uint64_t name;          /* the same in all processes; of an answer that of the call */
    const char *address;    /* of a channel; else "" */
    struct thirl_site at;   /* where that process has it */
    struct thirl_site from; /* the call that took it, or waits for it */
};

struct thirl_thread {
    uint64_t process; /* its name in the registry: never used twice */
    int64_t pid;      /* as the process sees itself */
    int64_t here;     /* as this process sees it; 0: it cannot */
    int32_t thread;   /* its number, as its process sees it */
    const char *exe;  /* the path of the program */
    enum thirl_health health;
    size_t holds; /* what is listed; it may hold more: held */
    const struct thirl_object *hold;
    uint64_t held;
    const struct thirl_object *wait; /* NULL: it does not wait */
    int64_t since;                   /* CLOCK_MONOTONIC, ns: when it began to wait */
    const size_t *blocker;           /* the threads that it waits for, as far as they are known */
    size_t blockers;
    uint64_t whom;     /* the process that it waited for when it began; 0 unknown */
    size_t circle;     /* the circle that it waits in, from 1; 0: none */
    uint32_t stuck;    /* it waits in a circle, or for one */
    uint32_t gives_up; /* it will be told of a circle: the other threads of it go on */
};

/* Threads that wait for each other, each for the next, and the last for the first: a deadlock. Over channels one may wait for any thread of a
 * process: then all of those are stuck. */
struct thirl_circle {
    const size_t *thread;
    size_t count;
};

/* That some thread took, or waited for, one lock while it held another. */
struct thirl_step {
    uint64_t process;
    int64_t pid, here;
    int32_t thread;
    const char *exe;
    struct thirl_object held, taken;
};

/* Locks that are taken in orders that make a circle: what each step takes, the next one has held, and the last takes what the first has
 * held. When those happen at one time they are a deadlock, unless a further lock keeps them apart. */
struct thirl_order {
    const struct thirl_step *step;
    size_t count;
};

/* Numbers of threads are places in `thread`. Structs may grow at their ends; each is behind a pointer of its own. */
struct thirl_doctor {
    const struct thirl_thread *const *thread;
    size_t threads;
    const struct thirl_circle *const *circle;
    size_t circles;
    const struct thirl_order *const *order;
    size_t orders;
    uint64_t
        missed; /* of what was taken while something was held: what found no room in the table of its process, where 1,024 have some */
};

/* Looks at all processes of the registry directory ($THIRL_DIR, else /dev/shm/thirl-UID), twice: a circle counts when it stood still
 * between. Joins nothing, changes nothing. 0, with *seen to be given back by thirl_doctor_free; -ENOMEM; or what opening the registry
 * answers. A registry that is not there is an empty one. */
THIRL_API THIRL_CHECK int thirl_doctor_look(struct thirl_doctor **seen);

/* Gives it back; NULL is nothing. Leaves NULL. */
THIRL_API void thirl_doctor_free(struct thirl_doctor **seen);

#ifdef __cplusplus
}
#endif
#endif
