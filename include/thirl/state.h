/* SPDX-License-Identifier: MIT
 *
 * Shared state: the latest value of something, for any number of processes. One writes (or several in turn), anybody reads; a
 * reader gets a whole value, always, never waits for a writer, and writes nothing. The value outlives its writer.
 */
#ifndef THIRL_STATE_H
#define THIRL_STATE_H

#include <thirl/thirl.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct thirl_state thirl_state;

struct thirl_state_options {
    size_t size; /* sizeof (struct thirl_state_options): set it first */
    uint64_t
        max; /* largest value, in bytes, of a state that is made; 4096. Of one that is there: what it must hold at least */
    uint32_t mode;   /* permission bits of what is made; 0600 */
    uint32_t access; /* enum thirl_access */
    uint32_t group;  /* of a new one: it belongs to group - 1; 0: as files of this process do */
    uint32_t zero;
};

/* Opens the state called NAME or shm://NAME in the registry. options may be NULL. Never waits.
 * -ENOENT: a reader found none. -EMSGSIZE: what is there holds less than max. -THIRL_EFORMAT: something else has that name. -EXDEV: it
 * was made in another registry. -EPERM: this process is not in that group. -ENOSPC, -EACCES, … */
THIRL_API THIRL_CHECK int thirl_state_open(thirl_state **state, const char *name,
                                           const struct thirl_state_options *options);

/* Sets *state to NULL; NULL is allowed. The value stays. No other thread may be in a call. */
THIRL_API void thirl_state_close(thirl_state **state);

/* Writes a value of at most max bytes. Waits for other writers, each of whom needs no longer than a copy takes; a dead one
 * is left out. -EAGAIN (THIRL_NOW), -ETIMEDOUT: one has been stopped in the midst: nothing was written. -EMSGSIZE. -EACCES: a reader. */
THIRL_API THIRL_CHECK int thirl_state_set(thirl_state *state, const void *data, size_t size, thirl_time until);

/* Copies the latest value; *version, unless NULL, gets its number, which grows by one each time. Never waits. -ENODATA: nothing was
 * written yet. -EMSGSIZE: *size is what it needs. -EAGAIN: a thousand times in a row it was overwritten three times while it
 * was copied. */
THIRL_API THIRL_CHECK int thirl_state_get(thirl_state *state, void *buffer, size_t capacity, size_t *size,
                                          uint64_t *version);

/* Waits until the version is another one than *version, which becomes it. 0 is that of a state without a value. -EAGAIN
 * (THIRL_NOW), -ETIMEDOUT. THIRL_SOON is 30 s. */
THIRL_API THIRL_CHECK int thirl_state_wait(thirl_state *state, uint64_t *version, thirl_time until);

/* The largest value that it holds. */
THIRL_API uint64_t thirl_state_max(const thirl_state *state);

/* Takes the name away: the next one who opens it gets a new state. Who has it open keeps the old one. -ENOENT, -EACCES. */
THIRL_API THIRL_CHECK int thirl_state_remove(const char *name);

#ifdef __cplusplus
}
#endif
#endif
