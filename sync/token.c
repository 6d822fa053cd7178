/* SPDX-License-Identifier: MIT
 *
 * A word that counts.
 */
#include "sync/token.h"

#include <errno.h>

int token_spin(uint64_t *word) {
    for (int i = 0; i < TOKEN_SPINS; i++) {
        uint64_t seen = atomic_load(word); /* pairs with token_post */
        if (token_count(seen) != 0) {
            weave("token.spin.before");
            if (atomic_cas(word, &seen, seen - TOKEN_ONE)) {
                weave("token.spin.after");
                return 0;
            }
        } else if ((seen & TOKEN_WAITERS) != 0) {
            return -EAGAIN;
        }
        atomic_pause();
    }
    return -EAGAIN;
}

int token_take(uint64_t *word, int64_t until) {
    uint64_t seen = atomic_load(word); /* pairs with token_post */
    for (;;) {
        if (token_count(seen) != 0) {
            weave("token.take.before");
            if (!atomic_cas(word, &seen, seen - TOKEN_ONE)) {
                continue;
            }
            weave("token.take.after");
            return 0;
        }
        if (until == 0) {
            return -EAGAIN;
        }
        if ((seen & TOKEN_WAITERS) == 0) {
            weave("token.wait.before");
            if (!atomic_cas(word, &seen, seen | TOKEN_WAITERS)) {
                continue;
            }
            seen |= TOKEN_WAITERS;
        }
        int64_t now = clock_now();
        if (now >= until) {
            return -ETIMEDOUT;
        }
        weave("token.wait.asleep");
        (void)rest_slice(word, seen, now, until);
        weave("token.wait.awake");
        seen = atomic_load(word);
    }
}

static void wake(uint64_t *word, uint64_t seen) {
    weave("token.post.between");
    if (futex_wake(rest_half(word), 1) == 0) {
        weave("token.post.nobody");
        (void)atomic_cas(word, &seen, seen & ~TOKEN_WAITERS);
    }
}

int token_post(uint64_t *word, uint32_t most) {
    uint64_t seen = atomic_load(word), next;
    weave("token.post.before");
    do {
        if (token_count(seen) >= most) { /* whoever was woken for it may have died */
            if ((seen & TOKEN_WAITERS) != 0) wake(word, seen);
            return -EOVERFLOW;
        }
        next = seen + TOKEN_POSTS + TOKEN_ONE;
    } while (!atomic_cas(word, &seen, next)); /* pairs with the loads in token_take */
    if ((next & TOKEN_WAITERS) != 0) {
        wake(word, next);
    }
    weave("token.post.after");
    return 0;
}

void token_clear(uint64_t *word) {
    uint64_t seen = atomic_load(word);
    weave("token.clear.before");
    while (!atomic_cas(word, &seen, (seen & ~(uint64_t)UINT32_MAX) | (seen & TOKEN_WAITERS))) continue;
    weave("token.clear.after");
}
