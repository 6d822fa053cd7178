/* SPDX-License-Identifier: MIT
 *
 * All ways to wait on one end, by threads at the same time: each message reaches one of them, and all are told when the end closes.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "tests/conform/conform.h"

struct waiter {
    thirl *end;
    pthread_t thread;
    int other; /* a descriptor that never says anything, or -1 */
    uint32_t got;
    pid_t id; /* of the thread in the kernel, once it runs */
};

static bool is_asleep(pid_t thread) {
    char path[64], text[256] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *file = fopen(path, "re");
    must(file != NULL && fgets(text, sizeof text, file) != NULL);
    (void)fclose(file);
    const char *behind = strrchr(text, ')');
    return behind != NULL && behind[1] == ' ' && behind[2] == 'S';
}

/* Until it sleeps, and not only for a moment on its way. */
static void await_sleep(const struct waiter *w) {
    pid_t id = 0;
    int64_t until = conform_now() + 15000 * MS;
    for (int looks = 0; looks < 5; conform_sleep(MS)) {
        id = __atomic_load_n(&w->id, __ATOMIC_ACQUIRE);
        looks = id != 0 && is_asleep(id) ? looks + 1 : 0;
        must(conform_now() < until);
    }
}

static void *wait_for_ever(void *argument) {
    struct waiter *w = argument;
    struct thirl_want wants[] = {{.end = w->end, .fd = -1, .wanted = THIRL_WANT_MESSAGE},
                                 {.fd = w->other, .wanted = POLLIN}};
    __atomic_store_n(&w->id, gettid(), __ATOMIC_RELEASE);
    must_be(thirl_wait(wants, 2, THIRL_NEVER), 1);
    must_be(wants[0].ready, THIRL_WANT_GONE);
    return NULL;
}

static void is_told_that_its_end_closes(struct conform *c) {
    int tube[2];
    must_be(pipe(tube), 0);
    for (int i = 0; i < 6; i++) {
        thirl *a, *b;
        conform_both(c, (unsigned)i, NULL, &a, &b);
        struct waiter w[2] = {{.end = a, .other = i % 2 == 0 ? -1 : tube[0]}, {.end = a, .other = -1}};
        for (int n = 0; n < 5; n++) { /* they know each other, and all is quiet */
            must_be(thirl_recv(a, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
            must_be(thirl_recv(b, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
            conform_sleep(MS);
        }
        for (int n = 0; n < 2; n++) {
            must_be(pthread_create(&w[n].thread, NULL, wait_for_ever, &w[n]), 0);
        }
        for (int n = 0; n < 2; n++) { /* both are inside: later calls are not allowed */
            await_sleep(&w[n]);
        }
        conform_sleep(i * 9 * MS);
        int64_t began = conform_now();
        must_be(thirl_close(&a, THIRL_NOW), 0);
        must(conform_now() - began < 3000 * MS);
        must_be(pthread_join(w[0].thread, NULL), 0);
        must_be(pthread_join(w[1].thread, NULL), 0);
        must_be(thirl_close(&b, THIRL_NOW), 0);
    }
    close(tube[0]);
    close(tube[1]);
}

/* ---- every way to wait, on one end, at the same time ---- */

#define SHARED 2000u

static uint32_t shared(void) {
    return conform_sanitized() ? SHARED / 8 : SHARED;
}

static int take_one(struct waiter *w, thirl_time until) {
    char data[64];
    size_t size;
    int rc = thirl_recv(w->end, data, sizeof data, &size, until);
    __atomic_store_n(&w->got, w->got + (rc == 0), __ATOMIC_RELEASE); /* only its own thread counts */
    must(rc != 0 || size == 10);
    return rc;
}

static void *by_blocking(void *argument) {
    while (take_one(argument, THIRL_NEVER) == 0) {}
    return NULL;
}

static void *by_deadline(void *argument) {
    int rc;
    do {
        rc = take_one(argument, thirl_in_ms(3));
    } while (rc == 0 || rc == -ETIMEDOUT);
    must_be(rc, -THIRL_ECLOSED);
    return NULL;
}

static void *by_descriptor(void *argument) {
    struct waiter *w = argument;
    struct pollfd polled = {.fd = thirl_fd(w->end), .events = POLLIN};
    int rc;
    do {
        must_be(poll(&polled, 1, 10000), 1);
        rc = take_one(w, THIRL_NOW);
    } while (rc == 0 || rc == -EAGAIN);
    must_be(rc, -THIRL_ECLOSED);
    return NULL;
}

static void *by_choice(void *argument) {
    struct waiter *w = argument;
    struct thirl_want wants[] = {{.end = w->end, .fd = -1, .wanted = THIRL_WANT_MESSAGE},
                                 {.fd = w->other, .wanted = POLLIN}};
    int rc;
    do {
        must_be(thirl_wait(wants, 2, PATIENCE), 1);
        rc = take_one(w, THIRL_NOW);
    } while (rc == 0 || rc == -EAGAIN);
    must_be(rc, -THIRL_ECLOSED);
    return NULL;
}

static void *by_trying(void *argument) {
    int rc;
    do {
        rc = take_one(argument, THIRL_NOW);
        conform_sleep(MS / 2);
    } while (rc == 0 || rc == -EAGAIN);
    must_be(rc, -THIRL_ECLOSED);
    return NULL;
}

static void send_shared(const struct conform *c, struct peer *stage) {
    (void)stage;
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (uint64_t i = 0; i < shared(); i++) {
        conform_send(end, 10, i);
        if (i % 50 == 0) {
            conform_sleep(MS);
        }
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void all_ways_share_one_end(struct conform *c) {
    static void *(*const ways[])(void *) = {by_blocking, by_deadline, by_descriptor, by_choice, by_choice, by_trying};
    enum { WAYS = sizeof ways / sizeof *ways };
    struct waiter w[WAYS];
    struct peer peer;
    int tube[2];
    uint32_t got = 0;
    conform_start(&peer, c, send_shared);
    must_be(pipe(tube), 0);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    for (int i = 0; i < WAYS; i++) {
        w[i] = (struct waiter){.end = end, .other = i == 3 ? tube[0] : -1};
        must_be(pthread_create(&w[i].thread, NULL, ways[i], &w[i]), 0);
    }
    for (int i = 0; i < WAYS; i++) {
        must_be(pthread_join(w[i].thread, NULL), 0);
        got += w[i].got;
    }
    must_be(got, shared());
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    close(tube[0]);
    close(tube[1]);
}

/* One who waits for many and does not take what was sent must not keep it from one who would. */
static void *wait_and_leave(void *argument) {
    struct waiter *w = argument;
    struct thirl_want wanted = {.end = w->end, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
    while (__atomic_load_n(&w->got, __ATOMIC_ACQUIRE) == 0) {
        int rc = thirl_wait(&wanted, 1, thirl_in_ms(20));
        must(rc == 1 || rc == -ETIMEDOUT);
    }
    return NULL;
}

static void wakes_those_who_take(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    struct waiter idle = {.end = a}, taker = {.end = a};
    must_be(pthread_create(&idle.thread, NULL, wait_and_leave, &idle), 0);
    must_be(pthread_create(&taker.thread, NULL, by_blocking, &taker), 0);
    for (uint32_t i = 0; i < 100; i++) {
        conform_send(b, 10, i);
        int64_t until = conform_now() + 5000 * MS;
        while (__atomic_load_n(&taker.got, __ATOMIC_ACQUIRE) <= i) {
            must(conform_now() < until);
            conform_sleep(MS / 10);
        }
    }
    __atomic_store_n(&idle.got, 1, __ATOMIC_RELEASE);
    must_be(pthread_join(idle.thread, NULL), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(pthread_join(taker.thread, NULL), 0);
    must_be(taker.got, 100);
    must_be(thirl_close(&a, PATIENCE), 0);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(is_told_that_its_end_closes),
        CONFORM(all_ways_share_one_end),
        CONFORM(wakes_those_who_take),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
