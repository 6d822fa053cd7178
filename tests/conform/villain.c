/* SPDX-License-Identifier: MIT
 *
 * What it does to memory, to the kernel, and with its lives. Its own library reads what it has spoilt, and may well crash: that is
 * nobody's business.
 */
#define _GNU_SOURCE
#include "tests/conform/villain.h"

#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tempt.h"

#define MAPS 64
#define LARGEST 8192
#define LIFE_MS 80

static struct villain *board;
static const struct conform *scene;
static uint64_t state = 88172645463325252u;

void villain_seed(uint64_t seed) {
    state = seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

uint64_t villain_dice(uint64_t below) {
    return tempt_toss(&state, below);
}

/* ---- memory ---- */

/* Most of what others believe stands at the beginning of pages, and at their very beginning. */
static size_t choose(uint64_t *dice, size_t words) {
    size_t at = tempt_toss(dice, 4) != 0 ? tempt_toss(dice, 64) : tempt_toss(dice, 512);
    at += tempt_toss(dice, 3) == 0 ? tempt_toss(dice, words) / 512 * 512 : 0;
    return at < words ? at : at % words;
}

static void *scribble(void *argument) {
    uint64_t dice = *(uint64_t *)argument, pause = tempt_toss(&dice, 3);
    struct tempt_range ranges[MAPS];
    conform_sleep((int64_t)tempt_toss(&dice, 3) * MS / 2); /* so that some have met before */
    for (;;) {
        size_t count = tempt_ranges(ranges, MAPS, scene->registry);
        for (int i = 0; i < 256 && count != 0; i++) {
            struct tempt_range *range = &ranges[tempt_toss(&dice, count)];
            uint64_t *at = range->base + choose(&dice, range->words);
            uint64_t other = __atomic_load_n(range->base + choose(&dice, range->words), __ATOMIC_RELAXED);
            uint64_t value = tempt_value(&dice, __atomic_load_n(at, __ATOMIC_RELAXED), other);
            if (tempt_toss(&dice, 2) != 0) {
                __atomic_store_n(at, value, __ATOMIC_RELAXED);
            } else {
                __atomic_store_n((uint32_t *)at + tempt_toss(&dice, 2), (uint32_t)value, __ATOMIC_RELAXED);
            }
            (void)__atomic_fetch_add(&board->writes, 1, __ATOMIC_RELAXED);
            for (uint64_t n = 0; n < pause * pause * 500; n++) { /* some let a conversation go on for longer */
                __asm__ __volatile__("" ::: "memory");
            }
        }
    }
    return NULL;
}

/* Files that nobody has made properly, beside those that somebody has. */
static void make_decoy(void) {
    static const char *const kinds[] = {"tx", "rx", "bell", "door", "claim", "room", "tx~"};
    char path[400];
    int size = snprintf(path, sizeof path, "%s/chan", scene->registry);
    (void)snprintf(path + size, sizeof path - (size_t)size, "/%s-0/%016llx.%u.%s", strrchr(scene->directory, '/') + 1,
                   (unsigned long long)villain_dice(UINT64_MAX), (unsigned)villain_dice(5), kinds[villain_dice(7)]);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        uint64_t bytes[512];
        for (size_t i = 0; i < 512; i++) {
            bytes[i] = tempt_value(&state, i, 0);
        }
        (void)!write(fd, bytes, villain_dice(2) * sizeof bytes);
        (void)!ftruncate(fd, (off_t)(villain_dice(5) * villain_dice(5000)));
        (void)close(fd);
    }
}

/* ---- the kernel ---- */

static unsigned liar; /* one call in so many is damaged; 0: none */

/* A damaged copy, or NULL: it is let through. */
static char *spoil(const void *data, size_t *size) {
    static _Thread_local char copy[2 * LARGEST];
    if (liar == 0 || *size < 2 || *size > LARGEST || villain_dice(liar) != 0) {
        return NULL;
    }
    (void)__atomic_fetch_add(&board->lies, 1, __ATOMIC_RELAXED);
    memcpy(copy, data, *size);
    for (uint64_t edits = villain_dice(4); edits != 0; edits--) {
        size_t at = villain_dice(villain_dice(3) != 0 && *size > 48 ? 48 : *size), width = (size_t)1 << villain_dice(4);
        uint64_t word = 0;
        width = width < *size - at ? width : *size - at;
        memcpy(&word, copy + at, width);
        word = tempt_value(&state, word, *size);
        memcpy(copy + at, &word, width);
    }
    switch (villain_dice(6)) {
    case 0:
        *size = villain_dice(*size) + 1;
        break;
    case 1:
        memcpy(copy + *size, data, *size);
        *size *= 2;
        break;
    default:
        break;
    }
    return copy;
}

ssize_t __real_send(int, const void *, size_t, int);
ssize_t __wrap_send(int, const void *, size_t, int);
ssize_t __wrap_send(int fd, const void *data, size_t size, int flags) {
    size_t changed = size;
    char *copy = spoil(data, &changed);
    ssize_t sent = __real_send(fd, copy != NULL ? copy : data, changed, flags);
    return copy != NULL && sent > 0 ? (ssize_t)size : sent;
}

ssize_t __real_write(int, const void *, size_t);
ssize_t __wrap_write(int, const void *, size_t);
ssize_t __wrap_write(int fd, const void *data, size_t size) {
    size_t changed = size;
    struct stat
        status; /* what it notes for itself is true: who sweeps behind it would not find the message queues that it had */
    char *copy = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? NULL : spoil(data, &changed);
    ssize_t sent = __real_write(fd, copy != NULL ? copy : data, changed);
    return copy != NULL && sent > 0 ? (ssize_t)size : sent;
}

/* One of several parts. */
static size_t spoil_part(struct iovec *parts, const struct iovec *from, size_t count) {
    size_t total = 0, which = count == 0 ? 0 : villain_dice(count);
    for (size_t i = 0; i < count; i++) {
        parts[i] = from[i];
        total += from[i].iov_len;
        if (i == which) {
            char *copy = spoil(from[i].iov_base, &parts[i].iov_len);
            parts[i].iov_base = copy != NULL ? copy : from[i].iov_base;
        }
    }
    return total;
}

ssize_t __real_sendmsg(int, const struct msghdr *, int);
ssize_t __wrap_sendmsg(int, const struct msghdr *, int);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *given, int flags) {
    struct iovec parts[64];
    struct msghdr head = *given;
    if (liar == 0 || head.msg_iovlen > 64) {
        return __real_sendmsg(fd, given, flags);
    }
    size_t total = spoil_part(parts, head.msg_iov, head.msg_iovlen);
    head.msg_iov = parts;
    ssize_t sent = __real_sendmsg(fd, &head, flags);
    return sent > (ssize_t)total ? (ssize_t)total : sent;
}

ssize_t __real_pwritev2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_pwritev2(int, const struct iovec *, int, off_t, int);
ssize_t __wrap_pwritev2(int fd, const struct iovec *given, int count, off_t offset, int flags) {
    struct iovec parts[64];
    if (liar == 0 || count > 64) {
        return __real_pwritev2(fd, given, count, offset, flags);
    }
    size_t total = spoil_part(parts, given, (size_t)count);
    ssize_t sent = __real_pwritev2(fd, parts, count, offset, flags);
    return sent > (ssize_t)total ? (ssize_t)total : sent;
}

int __real_mq_timedsend(mqd_t, const char *, size_t, unsigned, const struct timespec *);
int __wrap_mq_timedsend(mqd_t, const char *, size_t, unsigned, const struct timespec *);
int __wrap_mq_timedsend(mqd_t queue, const char *data, size_t size, unsigned priority, const struct timespec *until) {
    char *copy = spoil(data, &size);
    return __real_mq_timedsend(queue, copy != NULL ? copy : data, size,
                               copy != NULL ? (unsigned)villain_dice(32768) : priority, until);
}

int __real_msgsnd(int, const void *, size_t, int);
int __wrap_msgsnd(int, const void *, size_t, int);
int __wrap_msgsnd(int queue, const void *message, size_t size, int flags) {
    size_t whole = size + sizeof(long);
    char *copy = spoil(message, &whole);
    if (copy == NULL || whole < sizeof(long)) {
        return __real_msgsnd(queue, message, size, flags);
    }
    long type;
    memcpy(&type, copy, sizeof type);
    type = type > 0 ? type : 1; /* the kernel insists on that */
    memcpy(copy, &type, sizeof type);
    return __real_msgsnd(queue, copy, whole - sizeof(long), flags);
}

/* ---- a life ---- */

static bool is_mad(void) {
    return __atomic_load_n(&board->mad, __ATOMIC_RELAXED) != 0;
}

static void speak(thirl *end, enum thirl_role role) {
    static char data[LARGEST * 30];
    uint32_t event = (uint32_t)villain_dice(1u << 31);
    thirl_msg *msg = NULL;
    uint64_t call = 0;
    size_t got, size = villain_dice(200) == 0 ? villain_dice(sizeof data)
                       : villain_dice(8) == 0 ? villain_dice(4000)
                                              : 64;
    switch (role) {
    case THIRL_NOTIFY:
        (void)!thirl_send(end, &event, sizeof event, THIRL_NOW);
        break;
    case THIRL_CALL:
        (void)!thirl_ask(end, data, size, &call, THIRL_NOW);
        (void)!thirl_answer(end, &(uint64_t){0}, &msg, thirl_in_ns(200000));
        break;
    case THIRL_SERVE:
        if (thirl_take(end, &msg, thirl_in_ns(200000)) == 0) {
            (void)!thirl_reply(end, &msg, data, size, THIRL_NOW);
        }
        break;
    default:
        if (role == THIRL_PAIR || role == THIRL_PUB || role == THIRL_PUSH || role == THIRL_WRITE) {
            (void)!thirl_send(end, data, size, role == THIRL_PAIR ? THIRL_NOW : thirl_in_ns(200000));
        }
        if (role != THIRL_PUB && role != THIRL_PUSH && role != THIRL_WRITE) {
            (void)!(villain_dice(2) == 0 ? thirl_recv(end, data, sizeof data, &got, thirl_in_ns(200000))
                                         : thirl_take(end, &msg, THIRL_NOW));
        }
    }
    if (villain_dice(4) != 0) { /* some are kept for ever */
        thirl_free(&msg);
    }
}

static void end_life(thirl **end, bool mad) {
    switch (mad ? villain_dice(4) : 0) {
    case 0:
        (void)!thirl_close(end, THIRL_NOW);
        break;
    case 1:
        (void)raise(SIGSTOP);
        break;
    case 2:
        (void)raise(SIGKILL);
        break;
    default:
        break;
    }
    _exit(0);
}

static void live(enum thirl_role role, bool mad) {
    pthread_t thread;
    thirl *end = NULL;
    static uint64_t dice;
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    (void)(dup2(null, 1) + dup2(null, 2));
    villain_seed(villain_dice(UINT64_MAX) + (uint64_t)getpid());
    dice = villain_dice(UINT64_MAX) | 1;
    int64_t until = conform_now() + LIFE_MS * MS;
    clock_t worked =
        (clock_t)(mad ? villain_dice(20) : 12) * CLOCKS_PER_SEC / 1000; /* a busy machine lets it work less */
    static const unsigned kinds[] = {0, 2, 20, 200};
    bool flood = mad && villain_dice(8) == 0, writes = mad && !flood && villain_dice(4) != 0;
    liar = mad ? kinds[villain_dice(4)] : 0;
    if (mad && villain_dice(4) == 0) {
        make_decoy();
    }
    int rc = thirl_open(&end, role, conform_address(scene, 0, "timeout=100ms"), NULL);
    for (int i = 0; i < 100 && flood && rc == 0; i++) {
        (void)!thirl_close(&end, THIRL_NOW);
        rc = thirl_open(&end, role, conform_address(scene, 0, "timeout=100ms"), NULL);
    }
    if (writes && rc == 0) {
        (void)pthread_create(&thread, NULL, scribble, &dice);
    }
    while (rc == 0 && conform_now() < until && clock() < worked && is_mad() == mad) {
        speak(end, role);
    }
    end_life(&end, mad);
}

/* Whoever stops stands for a while, and is killed then; so is whoever has spoilt its own locks. */
static void outlive(pid_t pid) {
    for (int64_t until = conform_now() + 2 * LIFE_MS * MS;; conform_sleep(MS / 2)) {
        int status;
        if (waitpid(pid, &status, WNOHANG | WUNTRACED) == pid) {
            if (!WIFSTOPPED(status)) {
                return;
            }
            conform_sleep(10 * MS);
            break;
        }
        if (conform_now() > until) {
            break;
        }
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

void villain_run(struct villain *villain, const struct conform *c, enum thirl_role role) {
    board = villain;
    scene = c;
    while (__atomic_load_n(&board->over, __ATOMIC_RELAXED) == 0) {
        bool mad = is_mad();
        (void)villain_dice(2);
        pid_t pid = fork();
        if (pid == 0) {
            live(role, mad);
        }
        if (pid > 0) {
            outlive(pid);
            (void)__atomic_fetch_add(&board->lives, mad, __ATOMIC_RELAXED);
        }
    }
}
