/* SPDX-License-Identifier: MIT
 *
 * Both ends in one process, and several threads on one end: what ThreadSanitizer can see.
 */
#include <pthread.h>
#include <stdlib.h>

#include "tests/conform/conform.h"

#define MANY 40000u

struct worker {
    thirl *end;
    pthread_t thread;
    uint32_t first, count; /* numbers to send */
    bool in_place;
    uint8_t *seen; /* of each number, how often it came */
    uint32_t got;
};

static void *send_numbers(void *argument) {
    struct worker *w = argument;
    for (uint32_t i = w->first; i < w->first + w->count; i++) {
        uint32_t data[16] = {i, ~i};
        size_t size = 8 + i % 50;
        if (w->in_place) {
            thirl_msg *msg = NULL;
            must_be(thirl_loan(w->end, &msg, size, PATIENCE), 0);
            memcpy(thirl_msg_data(msg), data, size);
            must_be(thirl_put(w->end, &msg, PATIENCE), 0);
        } else {
            must_be(thirl_send(w->end, data, size, PATIENCE), 0);
        }
    }
    return NULL;
}

static void *receive_numbers(void *argument) {
    struct worker *w = argument;
    for (;;) {
        uint32_t data[16] = {0};
        size_t size = 0;
        int rc;
        if (w->in_place) {
            thirl_msg *msg = NULL;
            rc = thirl_take(w->end, &msg, PATIENCE);
            size = thirl_msg_size(msg);
            must(size <= sizeof data);
            if (rc == 0) {
                memcpy(data, thirl_msg_data(msg), size);
            }
            thirl_free(&msg);
        } else {
            rc = thirl_recv(w->end, data, sizeof data, &size, PATIENCE);
        }
        if (rc != 0) {
            must_be(rc, -THIRL_ECLOSED);
            return NULL;
        }
        must(data[1] == ~data[0] && size == 8 + data[0] % 50);
        must_be(__atomic_fetch_add(&w->seen[data[0]], 1, __ATOMIC_RELAXED), 0);
        w->got++;
    }
}

/* Some threads send on one end, some receive on the other: each message comes to one of them, once. */
static void share(struct conform *c, int senders, int receivers, const char *options) {
    thirl *a, *b;
    struct worker out[4], in[4];
    uint32_t total = 0, each = conform_many(c, MANY) / (uint32_t)senders;
    uint8_t *seen = calloc(conform_many(c, MANY), 1);
    must(seen != NULL);
    conform_both(c, 0, options, &a, &b);
    for (int i = 0; i < receivers; i++) {
        in[i] = (struct worker){.end = b, .in_place = i % 2 != 0, .seen = seen};
        must_be(pthread_create(&in[i].thread, NULL, receive_numbers, &in[i]), 0);
    }
    for (int i = 0; i < senders; i++) {
        out[i] = (struct worker){.end = a, .first = (uint32_t)i * each, .count = each, .in_place = i % 2 != 0};
        must_be(pthread_create(&out[i].thread, NULL, send_numbers, &out[i]), 0);
    }
    for (int i = 0; i < senders; i++) {
        must_be(pthread_join(out[i].thread, NULL), 0);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    for (int i = 0; i < receivers; i++) {
        must_be(pthread_join(in[i].thread, NULL), 0);
        total += in[i].got;
    }
    must_be(total, each * (uint32_t)senders);
    must_be(thirl_close(&b, PATIENCE), 0);
    free(seen);
}

static void carries_from_thread_to_thread(struct conform *c) {
    share(c, 1, 1, "queue=64K");
}

static void shares_between_receivers(struct conform *c) {
    share(c, 1, 2, "queue=64K");
}

static void joins_senders(struct conform *c) {
    share(c, 2, 1, "queue=64K");
    share(c, 3, 3, "queue=64K&wait=sleep");
}

static void *ping(void *argument) {
    struct worker *w = argument;
    for (uint64_t i = 0; i < w->count; i++) {
        conform_send(w->end, 8 + i % 100, i);
        conform_recv(w->end, 8 + i % 100, i + 1);
    }
    return NULL;
}

static void *pong(void *argument) {
    struct worker *w = argument;
    for (uint64_t i = 0; i < w->count; i++) {
        conform_recv(w->end, 8 + i % 100, i);
        conform_send(w->end, 8 + i % 100, i + 1);
    }
    return NULL;
}

static void goes_back_and_forth(struct conform *c) {
    static const char *const options[] = {NULL, "wait=sleep", "queue=4K"};
    for (unsigned i = 0; i < sizeof options / sizeof *options; i++) {
        struct worker one = {.count = conform_many(c, MANY) / 20}, two = one;
        conform_both(c, i, options[i], &one.end, &two.end);
        must_be(pthread_create(&one.thread, NULL, ping, &one), 0);
        must_be(pthread_create(&two.thread, NULL, pong, &two), 0);
        must_be(pthread_join(one.thread, NULL), 0);
        must_be(pthread_join(two.thread, NULL), 0);
        must_be(thirl_close(&one.end, PATIENCE), 0);
        must_be(thirl_close(&two.end, PATIENCE), 0);
    }
}

static void *ask_around(void *argument) {
    struct worker *w = argument;
    struct thirl_limits limits = {.size = sizeof limits};
    struct thirl_peer peer = {.size = sizeof peer};
    for (int rc = 0; rc == 0;) {
        rc = thirl_limits(w->end, &limits);
        must(rc == 0 || rc == -THIRL_ECLOSED);
        int who = thirl_peer(w->end, &peer), fd = thirl_fd(w->end);
        must(who == 0 || who == -ENOTCONN || who == -THIRL_ECLOSED);
        must(fd >= 0 || fd == -THIRL_ECLOSED);
        rc = __atomic_load_n(&w->got, __ATOMIC_ACQUIRE) != 0 ? 1 : rc;
    }
    return NULL;
}

/* Questions at any time, from any thread, while messages flow. */
static void answers_while_it_works(struct conform *c) {
    struct worker one = {.count = conform_many(c, MANY) / 20}, two = one, asker = {0};
    conform_both(c, 0, NULL, &one.end, &two.end);
    asker.end = two.end;
    must_be(pthread_create(&one.thread, NULL, ping, &one), 0);
    must_be(pthread_create(&two.thread, NULL, pong, &two), 0);
    must_be(pthread_create(&asker.thread, NULL, ask_around, &asker), 0);
    must_be(pthread_join(one.thread, NULL), 0);
    must_be(pthread_join(two.thread, NULL), 0);
    __atomic_store_n(&asker.got, 1, __ATOMIC_RELEASE);
    must_be(pthread_join(asker.thread, NULL), 0);
    must_be(thirl_close(&one.end, PATIENCE), 0);
    must_be(thirl_close(&two.end, PATIENCE), 0);
}

static void *open_and_close(void *argument) {
    struct worker *w = argument;
    const struct conform *c = (const struct conform *)(void *)w->end;
    for (unsigned i = 0; i < w->count; i++) {
        thirl *a, *b;
        conform_both(c, w->first, "queue=64K", &a, &b);
        conform_send(a, 20, i);
        conform_recv(b, 20, i);
        must_be(thirl_close(&b, PATIENCE), 0);
        must_be(thirl_close(&a, PATIENCE), 0);
    }
    return NULL;
}

static void opens_in_many_threads(struct conform *c) {
    struct worker workers[3];
    for (uint32_t i = 0; i < 3; i++) {
        workers[i] = (struct worker){.end = (thirl *)(void *)c, .first = i, .count = conform_many(c, MANY) / 2000};
        must_be(pthread_create(&workers[i].thread, NULL, open_and_close, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        must_be(pthread_join(workers[i].thread, NULL), 0);
    }
}

/* ---- calls that are cancelled before anybody has them ---- */

struct asker { /* one who waits for a server */
    thirl *end;
    uint64_t id;
    int rc;
    pthread_t thread;
};

static void *ask_in_vain(void *arguments) {
    struct asker *asker = arguments;
    asker->rc = thirl_ask(asker->end, "x", 1, &asker->id, PATIENCE);
    return NULL;
}

/* There is no server: the number of the call is there as soon as it waits for one. */
static uint64_t begin_to_ask(struct asker *asker, thirl *end) {
    uint64_t id = 0;
    *asker = (struct asker){.end = end};
    must_be(pthread_create(&asker->thread, NULL, ask_in_vain, asker), 0);
    while ((id = __atomic_load_n(&asker->id, __ATOMIC_ACQUIRE)) == 0) {
        conform_sleep(MS);
    }
    return id;
}

static void a_call_is_cancelled_before_it_leaves(struct conform *c) {
    thirl *end = conform_open(c, THIRL_CALL, NULL);
    for (int round = 0; round < 3; round++) {
        struct asker asker[2];
        uint64_t id[2];
        for (int i = 0; i < 2; i++) {
            id[i] = begin_to_ask(&asker[i], end);
        }
        must(id[0] != id[1]);
        for (int i = 0; i < 2; i++) {
            must_be(thirl_cancel(end, id[i]), 0);
            must_be(thirl_cancel(end, id[i]), -ENOENT);
            must_be(pthread_join(asker[i].thread, NULL), 0);
            must_be(asker[i].rc, -ECANCELED);
            must_be(asker[i].id, 0);
        }
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(carries_from_thread_to_thread),
        CONFORM(shares_between_receivers),
        CONFORM(joins_senders),
        CONFORM(goes_back_and_forth),
        CONFORM(answers_while_it_works),
        CONFORM(opens_in_many_threads),
        CONFORM_FOR(a_call_is_cancelled_before_it_leaves, CONFORM_CALL),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
