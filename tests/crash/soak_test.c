/* SPDX-License-Identifier: MIT
 *
 * Kills at random moments: a survivor with a sending and a receiving thread keeps its end open for ever; its peer sends, or
 * receives, or does both, is killed, and at once there is the next one. No stall, no lost, doubled or torn message, no leak.
 * The argument is the number of kills (480), shared among the mechanisms; `make soak` asks for many.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "tests/crash/talk.h"
#include "tests/room.h"

#define TOLD_NS (100 * CLOCK_MS)
#define STALL_NS CLOCK_S
#define FROM_SURVIVOR 0 /* conversation; a life's own is its number */
#define WARM 20         /* deaths before the survivor's size counts */

enum role { SENDS = 1, RECEIVES = 2 };

struct life {
    uint32_t role;
    bool early;     /* killed before anybody waited for it to do something */
    uint64_t sent;  /* messages for which its send returned 0 */
    uint64_t got;   /* of them, by the survivor */
    uint64_t heard; /* messages that it received */
};

struct size {
    unsigned fds, maps, kib;
};

static struct shared {
    char address[200];
    unsigned kills;
    uint32_t life;       /* the current one */
    uint32_t stop;       /* the last one closes in order */
    uint64_t next_heard; /* the lowest number that the survivor may still send anew */
    uint32_t told[2];
    int64_t told_at[2];
    int64_t queued[2]; /* how long that thread was ready to run and had no processor, since it was told before, ns */
    struct size warm, end;
    uint32_t failed;
    char failure[300];
    int64_t *notice;
    struct life *lives;
} * shared;

static unsigned count_wanted = 480;
static uint64_t dice;

static uint32_t throw_dice(uint32_t below) {
    dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(dice >> 33) % below;
}

__attribute__((format(printf, 1, 2))) static void fail_with(const char *format, ...) {
    if (__atomic_fetch_or(&shared->failed, 1, __ATOMIC_ACQ_REL) == 0) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(shared->failure, sizeof shared->failure, format, arguments);
        va_end(arguments);
    }
}

static void rest(int64_t ns) {
    struct timespec left = clock_spec(ns);
    while (nanosleep(&left, &left) != 0) {}
}

/* ---- the one that is killed -------------------------------------------------------------------------------------- */

static void hear(struct life *life, const struct talk *talk) {
    uint64_t wanted = atomic_peek(&shared->next_heard);
    bool first = life->heard == 0;
    if (talk->conversation != FROM_SURVIVOR || (first ? talk->number < wanted : talk->number != wanted)) {
        fail_with("life %u wants message %llu and gets %llu of %u", shared->life, (unsigned long long)wanted,
                  (unsigned long long)talk->number, talk->conversation);
    }
    atomic_poke(&shared->next_heard, talk->number + 1);
    atomic_store(&life->heard, life->heard + 1);
}

static bool is_over(int rc) {
    return rc != 0 && rc != -ETIMEDOUT && rc != -EAGAIN;
}

static void live(void) {
    struct life *life = &shared->lives[shared->life];
    thirl *end;
    int rc = thirl_open(&end, THIRL_PAIR, shared->address, NULL);
    if (rc != 0) {
        fail_with("life %u cannot open: %s", shared->life, thirl_why());
        return;
    }
    while (!is_over(rc) && !atomic_load(&shared->stop)) {
        rc = 0;
        if ((life->role & SENDS) != 0) {
            rc = talk_send(end, shared->life, life->sent, thirl_in_ms(2));
            atomic_store(&life->sent, life->sent + (rc == 0));
        }
        if ((life->role & RECEIVES) != 0 && !is_over(rc)) {
            struct talk talk;
            rc = talk_recv(end, life->heard % 2 == 1, &talk, thirl_in_ms(2));
            if (rc == 0) {
                hear(life, &talk);
            }
        }
    }
    if (is_over(rc)) {
        fail_with("life %u: %s", shared->life, rc == TALK_TORN ? "torn" : thirl_why());
    }
    (void)thirl_close(&end, thirl_in_ms(1000));
}

/* ---- the survivor ------------------------------------------------------------------------------------------------ */

static unsigned count_lines(const char *path, bool entries) {
    unsigned count = 0;
    char line[512];
    if (entries) {
        DIR *list = opendir(path);
        while (list != NULL && readdir(list) != NULL) {
            count++;
        }
        if (list != NULL) {
            (void)closedir(list);
        }
        return count;
    }
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        count++;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return count;
}

static void measure(struct size *most) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        (void)fclose(file);
    }
    struct size now = {count_lines("/proc/self/fd", true), count_lines("/proc/self/maps", false),
                       (unsigned)(pages * 4)};
    most->fds = now.fds > most->fds ? now.fds : most->fds;
    most->maps = now.maps > most->maps ? now.maps : most->maps;
    most->kib = now.kib > most->kib ? now.kib : most->kib;
}

/* How long this thread has waited for a processor, ever, in ns; 0 where the kernel does not count that. */
static int64_t time_queued(void) {
    long long queued = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    if (file != NULL) {
        if (fscanf(file, "%*s %lld", &queued) != 1) {
            queued = 0;
        }
        (void)fclose(file);
    }
    return queued;
}

static void note_told(int way) {
    static int64_t before[2];
    int64_t now = clock_now(), queued = time_queued();
    shared->queued[way] = queued - before[way];
    before[way] = queued;
    atomic_store(&shared->told_at[way], now);
    uint32_t told = atomic_add(&shared->told[way], 1u) + 1;
    if (way == 0 && told >= WARM && told < 2 * WARM) {
        measure(&shared->warm);
    } else if (way == 0 && told + WARM > shared->kills * 3 / 4) {
        measure(&shared->end);
    }
}

static void *send_on(void *end) {
    uint64_t number = 0;
    for (;;) {
        int rc = talk_send(end, FROM_SURVIVOR, number, thirl_in_ms(200));
        number += rc == 0;
        if (rc == -THIRL_EPEERDIED) {
            note_told(1);
        } else if (rc == -THIRL_ECLOSED && atomic_load(&shared->stop)) {
            return NULL;
        } else if (is_over(rc)) {
            fail_with("the survivor cannot send: %s", thirl_why());
            return NULL;
        }
    }
}

static void *receive_on(void *end) {
    uint32_t current = 0;
    for (uint64_t calls = 0;; calls++) {
        struct talk talk;
        int rc = talk_recv(end, calls % 2 == 1, &talk, thirl_in_ms(200));
        if (rc == 0) {
            struct life *life = talk.conversation <= shared->kills + 1 ? &shared->lives[talk.conversation] : NULL;
            if (life == NULL || talk.conversation < current || talk.number != life->got) {
                fail_with("the survivor is at life %u and gets message %llu of life %u, which had %llu", current,
                          (unsigned long long)talk.number, talk.conversation,
                          (unsigned long long)(life ? life->got : 0));
                return NULL;
            }
            current = talk.conversation;
            atomic_store(&life->got, life->got + 1);
        } else if (rc == -THIRL_EPEERDIED) {
            note_told(0);
        } else if (rc == -THIRL_ECLOSED && atomic_load(&shared->stop)) {
            return NULL;
        } else if (is_over(rc)) {
            fail_with("the survivor cannot receive: %s", rc == TALK_TORN ? "torn" : thirl_why());
            return NULL;
        }
    }
}

static void survive(void) {
    thirl *end;
    pthread_t sender, receiver;
    if (thirl_open(&end, THIRL_PAIR, shared->address, NULL) != 0) {
        fail_with("the survivor cannot open: %s", thirl_why());
        return;
    }
    (void)pthread_create(&sender, NULL, send_on, end);
    (void)pthread_create(&receiver, NULL, receive_on, end);
    (void)pthread_join(sender, NULL);
    (void)pthread_join(receiver, NULL);
    (void)thirl_close(&end, thirl_in_ms(1000));
}

/* ---- the one that kills ------------------------------------------------------------------------------------------ */

static pid_t start(void (*play)(void)) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        play();
        exit(0);
    }
    return child;
}

static bool has_done_something(const struct life *life) {
    return ((life->role & SENDS) == 0 || atomic_load(&life->got) != 0) &&
           ((life->role & RECEIVES) == 0 || atomic_load(&life->heard) != 0);
}

static void await_progress(const struct life *life) {
    int64_t began = clock_now();
    while (!has_done_something(life) && !atomic_load(&shared->failed)) {
        if (clock_now() - began > STALL_NS) {
            fail_with("a stall: life %u (role %u) has sent %llu, of which %llu arrived, and received %llu",
                      shared->life, life->role, (unsigned long long)life->sent, (unsigned long long)life->got,
                      (unsigned long long)life->heard);
        }
        rest(50 * CLOCK_US);
    }
}

/* How long until the survivor was told by one of its threads; INT64_MAX: longer than a second. Late is who was told late
 * though the victim was gone and the thread had a processor: on a busy machine either may have to wait for one. */
static int64_t await_told(const uint32_t before[2], int64_t killed, int64_t gone) {
    for (;;) {
        int64_t in = atomic_load(&shared->told[0]) != before[0] ? atomic_load(&shared->told_at[0]) : INT64_MAX;
        int64_t out = atomic_load(&shared->told[1]) != before[1] ? atomic_load(&shared->told_at[1]) : INT64_MAX;
        int64_t first = in < out ? in : out;
        if (first != INT64_MAX) {
            int64_t late = first - gone - shared->queued[in < out ? 0 : 1];
            if (late > TOLD_NS) {
                fail_with("the survivor was told of the end of life %u after %lld us, of which it was queued %lld",
                          shared->life - 1, (long long)((first - killed) / CLOCK_US),
                          (long long)(shared->queued[in < out ? 0 : 1] / CLOCK_US));
            }
            return first - killed;
        }
        if (clock_now() - killed > STALL_NS || atomic_load(&shared->failed)) {
            return INT64_MAX;
        }
        rest(100 * CLOCK_US);
    }
}

static unsigned kill_all(void) {
    unsigned noticed = 0;
    pid_t child = start(live);
    for (unsigned n = 1; n <= shared->kills && !atomic_load(&shared->failed); n++) {
        struct life *life = &shared->lives[n];
        if (!life->early) {
            await_progress(life);
        }
        rest(throw_dice(life->early ? 1500 : 3000) * CLOCK_US);
        const uint32_t before[2] = {atomic_load(&shared->told[0]), atomic_load(&shared->told[1])};
        int64_t killed = clock_now();
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        int64_t gone = clock_now();
        atomic_store(&shared->life, n + 1);
        child = start(live);
        if (!life->early) {
            int64_t notice = await_told(before, killed, gone);
            if (notice == INT64_MAX) {
                fail_with("the survivor was not told of the end of life %u", n);
            }
            shared->notice[noticed++] = notice < 0 ? 0 : notice;
        }
    }
    if (!atomic_load(&shared->failed)) {
        await_progress(&shared->lives[shared->life]);
    }
    atomic_store(&shared->stop, 1);
    (void)waitpid(child, NULL, 0);
    return noticed;
}

static void *share(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static void begin(const char *address, unsigned kills) {
    shared = share(sizeof *shared);
    shared->kills = kills;
    shared->life = 1;
    shared->lives = share((kills + 2) * sizeof *shared->lives);
    shared->notice = share((kills + 1) * sizeof *shared->notice);
    (void)snprintf(shared->address, sizeof shared->address, address, getenv("THIRL_DIR"));
    for (unsigned n = 1; n <= kills + 1; n++) {
        shared->lives[n].role = 1 + throw_dice(3);
        shared->lives[n].early = n <= kills && throw_dice(5) == 0;
    }
}

static void tidy(void) {
    thirl *end;
    if (thirl_open(&end, THIRL_PAIR, "shm://tidy", NULL) == 0) {
        (void)thirl_close(&end, THIRL_NOW);
    }
}

static unsigned count_left(const char *what) {
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", getenv("THIRL_DIR"), what);
    return count_lines(path, true) - 2;
}

static int by_size(const void *a, const void *b) {
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static void judge(unsigned noticed, double seconds) {
    uint64_t sent = 0, heard = 0;
    unsigned missing = 0;
    for (unsigned n = 1; n <= shared->life; n++) {
        const struct life *life = &shared->lives[n];
        sent += life->got;
        heard += life->heard;
        if (life->got < life->sent || life->got > life->sent + 1) {
            missing++;
            fail_with("life %u (role %u, %s) sent %llu messages, %llu arrived", n, life->role,
                      life->early ? "early" : "late", (unsigned long long)life->sent, (unsigned long long)life->got);
        }
    }
    qsort(shared->notice, noticed, sizeof *shared->notice, by_size);
    int64_t most = noticed != 0 ? shared->notice[noticed - 1] : 0;
    printf("soak: %s: %u kills, %llu + %llu messages, %u lives short of some; told after median %lld, p99 %lld, max "
           "%lld us; "
           "survivor %u fds, %u maps, %u KiB, in the end %u, %u, %u; %.1f s\n",
           shared->address, shared->life - 1, (unsigned long long)sent, (unsigned long long)heard, missing,
           (long long)(noticed ? shared->notice[noticed / 2] / CLOCK_US : 0),
           (long long)(noticed ? shared->notice[noticed * 99 / 100] / CLOCK_US : 0), (long long)(most / CLOCK_US),
           shared->warm.fds, shared->warm.maps, shared->warm.kib, shared->end.fds, shared->end.maps, shared->end.kib,
           seconds);
    if (shared->failed) {
        printf("soak: %s\n", shared->failure);
    }
    assert_int_equal(shared->failed, 0);
    if (shared->end.fds != 0 && shared->warm.fds != 0) {
        assert_true(shared->end.fds <= shared->warm.fds + 8);
#if !defined(__SANITIZE_ADDRESS__) /* which keeps what was freed, and looks for leaks itself */
        assert_true(shared->end.maps <= shared->warm.maps + 16);
        assert_true(shared->end.kib <= shared->warm.kib + 16384);
#endif
    }
}

static void soak(const char *address) {
    begin(address, count_wanted / 4);
    int64_t began = clock_now();
    pid_t survivor = start(survive);
    unsigned noticed = kill_all();
    for (int i = 0; i < 4000 && waitpid(survivor, NULL, WNOHANG) == 0; i++) {
        if (i == 3000) {
            fail_with("the survivor does not end");
            (void)kill(survivor, SIGKILL);
        }
        rest(CLOCK_MS);
    }
    (void)waitpid(start(tidy), NULL, 0);
    judge(noticed, (double)(clock_now() - began) / 1e9);
    assert_int_equal(count_left("node"), 0);
    assert_int_equal(count_left("chan"), 0);
}

static void shm_adaptive(void **state) {
    (void)state;
    soak("shm://soak?queue=64K");
}

static void shm_asleep(void **state) {
    (void)state;
    soak("shm://soak?queue=4096&wait=sleep");
}

static void unix_stream(void **state) {
    (void)state;
    soak("unix://%s/soak?queue=64K");
}

static void unix_packets(void **state) {
    (void)state;
    soak("unix://@soak%s?queue=64K&type=seqpacket");
}

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shm_adaptive),
        cmocka_unit_test(shm_asleep),
        cmocka_unit_test(unix_stream),
        cmocka_unit_test(unix_packets),
    };
    if (count > 1) {
        count_wanted = (unsigned)strtoul(arguments[1], NULL, 10);
    } else if (room_is_brief()) {
        count_wanted /= 2;
    }
    char own[] = "/dev/shm/thirl-soak.XXXXXX";
    bool made = getenv("THIRL_DIR") == NULL && mkdtemp(own) != NULL;
    if (made) {
        setenv("THIRL_DIR", own, 1);
    }
    dice = (uint64_t)clock_now();
    printf("soak: seed %llu\n", (unsigned long long)dice);
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    if (made) {
        char command[100];
        (void)snprintf(command, sizeof command, "rm -rf '%s'", own);
        failures += system(command) != 0;
    }
    return failures;
}
