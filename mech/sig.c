/* SPDX-License-Identifier: MIT
 *
 * sig://PID: events with a word, as queued real-time signals. NOTIFY sends to the process; WATCH is that process, and reads
 * them from a signalfd. The channel in the registry is where a sender learns that somebody watches: a signal that nobody
 * expects would end the process. catch.c sees to the threads of the watcher.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/sig.h"

#define SIGNAL 44 /* unless ?signal= says another one */
#define PAUSE_FIRST                                                                                                    \
    (20 * CLOCK_US) /* between two tries while too many signals wait: nothing tells when there are fewer; */
#define PAUSE_LONG (2 * CLOCK_MS) /* each is twice the last, up to this */
#define TICK_NS (10 * CLOCK_MS)   /* how often an event loop of a sender is sent to look */
#define FOREIGN_MAX 64            /* signals that one receive throws away */

/* ---- open ---- */

static int read_pid(struct sig *s, const struct mech_open *open) {
    char *end = NULL;
    long long pid = *open->rest == '\0' || strcmp(open->rest, "self") == 0 ? getpid() : strtoll(open->rest, &end, 10);
    if ((end != NULL && (*end != '\0' || open->rest[0] < '0')) || pid <= 0 || pid > INT32_MAX) {
        return err_say(THIRL_EADDRESS, "%s: write sig://PID, the process that watches, or sig://self there",
                       open->address);
    }
    if (!s->sends && pid != getpid()) {
        return err_say(THIRL_EADDRESS, "%s: this process is %d: only it itself can watch for its signals (sig://self)",
                       open->address, (int)getpid());
    }
    s->pid = pid;
    s->number = open->options.signal != 0 ? (int)open->options.signal : SIGNAL;
    if (s->number < SIGRTMIN || s->number > SIGRTMAX) {
        return err_say(THIRL_EADDRESS, "%s: the real-time signals of a program are %d to %d", open->address, SIGRTMIN,
                       SIGRTMAX);
    }
    return 0;
}

static uint64_t pending_limit(void) {
    struct rlimit limit = {0};
    return getrlimit(RLIMIT_SIGPENDING, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? limit.rlim_cur : 0;
}

static int join(struct sig *s, const struct mech_open *open) {
    char name[64], file[ROLL_FILE_MAX], unfinished[ROLL_FILE_MAX + 1];
    (void)snprintf(name, sizeof name, "%lld.%d", (long long)s->pid, s->number);
    int rc = roll_begin(&s->roll, "sig", name, ROLL_EVENT, s->sends, !s->sends, open->options.mode,
                        clock_after(clock_now(), open->options.timeout));
    rc = rc != 0 ? rc : roll_type(&s->roll, open->options.of, open->options.mode);
    if (rc != 0) {
        return rc;
    }
    roll_file(file, s->roll.self, s->sends ? "tx" : "rx");
    (void)snprintf(unfinished, sizeof unfinished, "%s~", file);
    int fd = openat(s->roll.dir, unfinished, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        rc = err_system(errno, "%s: the registry cannot be written", s->address);
        roll_cancel(&s->roll);
        return rc;
    }
    fd_close(&fd);
    s->change = atomic_load(s->roll.change) - 1;
    (void)node_life_word(s->roll.self.number); /* before anybody can look for it */
    weave("sig.join.before");
    rc = roll_finish(&s->roll);
    s->joined = rc == 0;
    s->seen->queue = SIG_WORD * pending_limit();
    return rc;
}

/* The address by which others can reach it. */
static int own_address(const struct sig *s, char *text, size_t capacity) {
    char number[16] = "";
    if (s->number != SIGNAL) {
        (void)snprintf(number, sizeof number, "signal=%d", s->number);
    }
    int length = snprintf(text, capacity, "sig://%lld%s%s%s%s", (long long)s->pid, *number != '\0' || s->raw ? "?" : "",
                          number, *number != '\0' && s->raw ? "&" : "", s->raw ? "raw" : "");
    return (size_t)length >= capacity ? -EMSGSIZE : 0;
}

static int watch(struct sig *s, const struct mech_open *open) {
    sigset_t one;
    int rc = catch_take(&s->catch, s->number, s->address, clock_after(clock_now(), open->options.timeout));
    if (rc != 0) {
        return rc;
    }
    (void)sigemptyset(&one);
    (void)sigaddset(&one, s->number);
    s->escaped = catch_lost(s->number);
    s->fd = signalfd(-1, &one, SFD_CLOEXEC | SFD_NONBLOCK);
    rc = s->fd < 0 ? err_system(errno, "%s: no descriptor for signals", s->address) : s->raw ? 0 : join(s, open);
    if (rc != 0) {
        fd_close(&s->fd);
        catch_give(&s->catch);
        return rc;
    }
    (void)own_address(s, s->seen->address, sizeof s->seen->address);
    atomic_store(&s->seen->state, NODE_END_LINKED); /* to whoever sends */
    return 0;
}

static int open_slot(void *self, const struct mech_open *open) {
    struct sig *s = self;
    s->sends = open->sends;
    s->raw = open->options.raw != 0;
    s->own_pid = getpid();
    s->own_uid = getuid();
    s->seen = open->seen;
    s->fd = s->pidfd = s->epoll = s->tick = -1;
    s->node.fd = -1;
    (void)strncpy(s->address, open->address, sizeof s->address - 1);
    int rc = read_pid(s, open);
    if (rc != 0) {
        return rc;
    }
    return !s->sends ? watch(s, open) : s->raw ? notify_aim(s) : join(s, open);
}

static void close_slot(void *self) {
    struct sig *s = self;
    if (s->joined) {
        roll_leave(&s->roll); /* first: nobody is to send any more */
    }
    weave("sig.close.between");
    if (s->fd >= 0) {
        struct signalfd_siginfo info;
        while (read(s->fd, &info, sizeof info) == sizeof info) {}
        fd_close(&s->fd);
        catch_give(&s->catch);
    }
    notify_part(s);
    fd_close(&s->epoll);
    fd_close(&s->tick);
}

static void deinit_slot(void *self) {
    struct sig *s = self;
    if (s->joined) {
        roll_deinit(&s->roll);
    }
}

static int flush_slot(void *self, uint64_t *left) {
    (void)self;
    *left = 0; /* the kernel has it all */
    return 0;
}

/* ---- receive ---- */

struct event {
    int code; /* si_code */
    uint32_t word, uid;
    int64_t pid;
};

/* The next one, or -EAGAIN. To wait for it in the same system call costs half as much as to ask, to sleep and to ask. */
static int next(const struct sig *s, struct event *event, bool wait) {
    if (wait) {
        const struct timespec slice = clock_spec(MECH_SLICE_NS);
        sigset_t one;
        siginfo_t info;
        (void)sigemptyset(&one);
        (void)sigaddset(&one, s->number);
        if (sigtimedwait(&one, &info, &slice) == s->number) {
            *event = (struct event){info.si_code, (uint32_t)info.si_value.sival_int, info.si_uid, info.si_pid};
            return 0;
        }
    } else {
        struct signalfd_siginfo info;
        if (read(s->fd, &info, sizeof info) == sizeof info) {
            *event = (struct event){info.ssi_code, (uint32_t)info.ssi_int, info.ssi_uid, info.ssi_pid};
            return 0;
        }
    }
    return errno == EAGAIN || errno == EINTR ? -EAGAIN
                                             : err_system(errno, "%s: signals cannot be received", s->address);
}

static int refuse(struct sig *s, const struct event *event) {
    atomic_poke(&s->seen->in.refused, s->seen->in.refused + 1);
    if (event->code == SI_QUEUE) {
        return err_say(THIRL_EFORMAT, "%s: process %lld sent the word %#x, and an event has 31 bits: ?raw takes 32",
                       s->address, (long long)event->pid, event->word);
    }
    return err_say(THIRL_EFORMAT,
                   "%s: signal %d came from a timer or another source of this program (si_code %d), not from a "
                   "process: choose another "
                   "one, for both ends, with ?signal=",
                   s->address, s->number, event->code);
}

static int recv_slot(void *self, void *buffer, size_t capacity, size_t *size, bool wait) {
    struct sig *s = self;
    struct event event = {.code = CATCH_MARK};
    if (unlikely(capacity < SIG_WORD)) {
        struct pollfd polled = {.fd = s->fd, .events = POLLIN};
        *size = SIG_WORD;
        return poll(&polled, 1, 0) == 1 ? -EMSGSIZE : -EAGAIN; /* it stays where it is */
    }
    for (int i = 0; i < FOREIGN_MAX && event.code == CATCH_MARK; i++) {
        int rc = next(s, &event, wait);
        if (rc != 0) {
            return rc;
        }
        uint64_t escaped = catch_lost(s->number) - s->escaped;
        if (unlikely(escaped != s->seen->in.lost)) {
            atomic_poke(&s->seen->in.lost, escaped);
        }
    }
    if (event.code == CATCH_MARK) {
        return -EAGAIN;
    }
    bool queued = event.code == SI_QUEUE, plain = event.code == SI_USER || event.code == SI_TKILL;
    uint32_t word = queued ? event.word : 0;
    if (unlikely((!queued && !plain) || (word >> 31 != 0 && !s->raw))) {
        return refuse(s, &event);
    }
    s->last_pid = event.pid;
    s->last_uid = event.uid;
    memcpy(buffer, &word, SIG_WORD);
    *size = SIG_WORD;
    return 0;
}

/* ---- waiting ---- */

static int look_slot(void *self, enum mech_way way) {
    struct sig *s = self;
    return way == MECH_OUT && s->met ? notify_check(s, true) : -EAGAIN;
}

static int arm_slot(void *self, enum mech_way way, struct mech_watch *watch) {
    struct sig *s = self;
    if (way == MECH_IN || s->raw || s->met) {
        watch->kind = MECH_WATCH_FD;
        watch->fd = way == MECH_IN ? s->fd : s->pidfd;
        watch->events = POLLIN;
    }
    if (way == MECH_OUT && s->met) {
        s->pause = s->pause == 0 ? PAUSE_FIRST : s->pause < PAUSE_LONG ? 2 * s->pause : s->pause;
        watch->slice = s->pause;
    } else if (way == MECH_OUT && s->raw) {
        watch->slice = TICK_NS;
    } else if (way == MECH_OUT) {
        watch->kind = MECH_WATCH_WORD;
        watch->word = s->roll.change;
        watch->value = s->change;
        watch->slice = MECH_SLICE_NS;
        return s->final;
    }
    return way == MECH_OUT && s->final;
}

static int64_t disarm_slot(void *self, enum mech_way way) {
    (void)self;
    (void)way;
    return 0;
}

/* Nothing tells a sender when there is room: a timer sends its event loop to look. */
static int make_user(struct sig *s) {
    const struct itimerspec every = {clock_spec(TICK_NS), clock_spec(1)};
    struct epoll_event event = {.events = EPOLLIN};
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->tick = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (s->epoll < 0 || s->tick < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->tick, &event) != 0 ||
        timerfd_settime(s->tick, 0, &every, NULL) != 0) {
        int rc = err_system(errno, "%s: no descriptor for event loops", s->address);
        fd_close(&s->epoll);
        fd_close(&s->tick);
        return rc;
    }
    return 0;
}

static int fd_slot(void *self, enum mech_way way, int *fd) {
    struct sig *s = self;
    int rc = way == MECH_OUT && s->epoll < 0 ? make_user(s) : 0;
    *fd = way == MECH_OUT ? s->epoll : s->fd;
    return rc;
}

/* ---- what is true of it ---- */

static void claims_slot(struct thirl_limits *limits) {
    limits->message_max = limits->atomic_max = SIG_WORD;
    limits->queue_messages = pending_limit();
    limits->queue = SIG_WORD * limits->queue_messages;
    limits->ordered = limits->reliable = limits->pollable = 1;
    limits->receivers = 1;
    limits->priorities = 1;
}

static void limits_slot(void *self, struct thirl_limits *limits) {
    (void)self;
    claims_slot(limits);
}

static int peer_slot(void *self, struct thirl_peer *peer) {
    struct sig *s = self;
    char link[64];
    if (s->sends ? !s->met : s->last_pid == 0) {
        return -ENOTCONN;
    }
    peer->pid = s->sends ? s->pid : s->last_pid;
    peer->uid = !s->sends ? s->last_uid : s->raw ? UINT32_MAX : s->node.uid;
    peer->gid = !s->sends || s->raw ? UINT32_MAX : s->node.gid;
    (void)snprintf(link, sizeof link, "/proc/%lld/exe", (long long)peer->pid);
    ssize_t length = readlink(link, peer->exe, sizeof peer->exe - 1);
    peer->exe[length > 0 ? length : 0] = '\0';
    return 0;
}

static int pidfd_slot(void *self, int *fd) {
    struct sig *s = self;
    if (!s->sends) {
        return err_say(EOPNOTSUPP, "%s: a signal brings no descriptor of its sender", s->address);
    }
    *fd = s->met ? fcntl(s->pidfd, F_DUPFD_CLOEXEC, 0) : -1;
    return !s->met ? -ENOTCONN : *fd < 0 ? err_system(errno, "%s: no descriptor", s->address) : 0;
}

static int hand_slot(void *self, char *address, size_t capacity) {
    return own_address(self, address, capacity);
}

const struct mech mech_sig = {
    .scheme = "sig",
    .summary = "queued real-time signals: events with 31 bits, for one process",
    .state_size = sizeof(struct sig),
    .roles = 1u << THIRL_NOTIFY | 1u << THIRL_WATCH,
    .raw = true,
    .registry = true,
    .queue = 65536,
    .max = SIG_WORD,
    .blocks = true,
    .more = "the user's processes may have so many signals waiting: ulimit -i (RLIMIT_SIGPENDING)",
    .open = open_slot,
    .close = close_slot,
    .deinit = deinit_slot,
    .flush = flush_slot,
    .send = notify_send,
    .recv = recv_slot,
    .look = look_slot,
    .arm = arm_slot,
    .disarm = disarm_slot,
    .fd = fd_slot,
    .limits = limits_slot,
    .claims = claims_slot,
    .peer = peer_slot,
    .pidfd = pidfd_slot,
    .hand = hand_slot,
};
