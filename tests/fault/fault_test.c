/* SPDX-License-Identifier: MIT
 *
 * Every call that fails. A victim opens an end, sends, receives, waits and closes, over each mechanism and in each role, and one call of
 * libc that the library makes meanwhile fails with one of its errors, or all do from then on. Whatever it is told, each answer
 * comes in time and has a sentence, what it receives is whole and in order, and then it does the same once more, undisturbed, with the same
 * peer: that must succeed, and neither of them may hold a descriptor, memory or a file more than one that nothing happened to.
 *
 * Without more, the same few are tried: FAULT_ONE_IN=1 tries each, FAULT_ONLY='openat 3 EMFILE lasting' those that are called so, * for any.
 * FAULT_DONE names a file of scenes that are done and passed over. FAULT_SAY=1 says what each call answers.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"
#include "tests/conform/stage.h"
#include "tests/fault/fault.h"

#define SMALL 40
#define LARGE 30000
#define MOST 60     /* passes of one call: what is called more often waits in a loop */
#define HURT 60     /* ms, the deadline of a call while something fails */
#define LATE 2500   /* ms, and how much later its answer may be on a busy machine */
#define WHOLE 20000 /* ms, for what must succeed */
#define HANGS 40    /* s */

struct group {
    const char *name;
    enum thirl_role mine, theirs;
    bool many;           /* the victim subscribes to all topics of a pattern */
    const char *options; /* of its address */
};

static const struct group groups[] = {
    {"pair", THIRL_PAIR, THIRL_PAIR, false, NULL},        {"writer", THIRL_WRITE, THIRL_READ, false, NULL},
    {"reader", THIRL_READ, THIRL_WRITE, false, NULL},     {"push", THIRL_PUSH, THIRL_PULL, false, NULL},
    {"pull", THIRL_PULL, THIRL_PUSH, false, NULL},        {"pub", THIRL_PUB, THIRL_SUB, false, NULL},
    {"sub", THIRL_SUB, THIRL_PUB, false, NULL},           {"call", THIRL_CALL, THIRL_SERVE, false, NULL},
    {"serve", THIRL_SERVE, THIRL_CALL, false, NULL},      {"notify", THIRL_NOTIFY, THIRL_WATCH, false, NULL},
    {"watch", THIRL_WATCH, THIRL_NOTIFY, false, NULL},    {"pattern", THIRL_SUB, THIRL_PUB, true, NULL},
    {"block", THIRL_PUB, THIRL_SUB, false, "full=block"},
};

/* What happens in one process, with one peer. */
struct scene {
    char name[64]; /* "unix-path pair first" */
    const struct conform_line *line;
    const struct group *group;
    bool first; /* the victim opens first */
};

static bool sends(enum thirl_role role) {
    return role == THIRL_PAIR || role == THIRL_WRITE || role == THIRL_PUSH || role == THIRL_PUB || role == THIRL_CALL ||
           role == THIRL_NOTIFY;
}

static bool receives(enum thirl_role role) {
    return role == THIRL_PAIR || !sends(role);
}

static bool counts_bytes(enum thirl_role role) {
    return role == THIRL_WRITE || role == THIRL_READ;
}

/* ---- the peer ---- */

/* What they say to each other beside the channel. */
enum word_kind { OPEN, OPENED, SEND, GOT, CLOSE, CLOSED };

struct word {
    uint32_t kind, number; /* of GOT: of the message, of SEND: that it is to have; of OPEN: its patience, ms */
    int32_t victim;        /* whose SEND it is: for signals */
};

static const struct scene *scene;
static struct conform where;
static int wire;      /* to the other one */
static uint32_t base; /* numbers of a victim are larger than those of the one before it */

static void tell(enum word_kind kind, uint32_t number) {
    const struct word word = {kind, number, (int32_t)getpid()};
    must_be(send(wire, &word, sizeof word, MSG_NOSIGNAL), sizeof word);
}

/* False: nothing came for so long. */
static bool hear(struct word *word, int ms) {
    struct pollfd polled = {.fd = wire, .events = POLLIN};
    if (poll(&polled, 1, ms) <= 0) return false;
    must_be(recv(wire, word, sizeof *word, 0), sizeof *word);
    return true;
}

/* A message: its number, in bytes that are all known. */
static size_t compose(char *bytes, size_t size, uint32_t number) {
    conform_fill(bytes, size, number);
    memcpy(bytes, &number, size < sizeof number ? size : sizeof number);
    return size;
}

static uint32_t look_at(const char *bytes, size_t size) {
    static char wanted[LARGE];
    uint32_t number = 0;
    must(size <= LARGE && size > 0);
    memcpy(&number, bytes, size < sizeof number ? size : sizeof number);
    compose(wanted, size, number);
    must(memcmp(bytes, wanted, size) == 0);
    return number;
}

static size_t size_of(uint32_t number, uint64_t most) {
    size_t size = scene->group->mine == THIRL_NOTIFY || scene->group->mine == THIRL_WATCH ? 4
                  : number % 4 == 3                                                       ? LARGE
                                                                                          : SMALL;
    return size < most ? size : most;
}

static uint64_t most_of(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    return limits.message_max;
}

static int open_end(thirl **end, enum thirl_role role, pid_t watcher) {
    struct thirl_options options = THIRL_OPTIONS;
    options.timeout = 1000 * MS;
    where.stage = watcher;
    const struct group *group = scene->group;
    const bool mine = role == group->mine;
    char address[320];
    (void)snprintf(address, sizeof address, "%s", conform_address(&where, 0, mine ? group->options : NULL));
    if (mine && group->many) {
        address[strlen(address) - 1] = '*';
    }
    return thirl_open(end, role, address, &options);
}

struct other {
    thirl *end;
    uint32_t last; /* of the numbers that came since it was opened */
    pid_t victim;
    int64_t patience; /* ms */
    char bytes[LARGE];
};

static void reopen(struct other *o) {
    must(thirl_close(&o->end, THIRL_NOW) >= 0);
    int64_t until = conform_now() + WHOLE * MS;
    int rc;
    do {
        rc = open_end(&o->end, scene->group->theirs, scene->group->theirs == THIRL_WATCH ? getpid() : o->victim);
    } while (rc != 0 && conform_now() < until && (conform_sleep(MS), true));
    must_be(rc, 0);
    o->last = 0;
}

static void serve_one(struct other *o) {
    thirl_msg *msg = NULL;
    if (counts_bytes(scene->group->theirs)) {
        size_t got = 0;
        int rc = thirl_recv(o->end, o->bytes, sizeof o->bytes, &got, THIRL_NOW);
        if (rc == 0 && got > 0) tell(GOT, (uint32_t)got);
        if (rc == THIRL_END || (rc < 0 && rc != -EAGAIN)) reopen(o);
        return;
    }
    int rc = thirl_take(o->end, &msg, THIRL_NOW);
    if (rc == -THIRL_ECLOSED) {
        reopen(o);
    }
    if (rc != 0) return;
    uint32_t number = look_at(thirl_msg_data(msg), thirl_msg_size(msg));
    must(number > o->last || thirl_msg_again(msg) || scene->group->theirs == THIRL_WATCH);
    o->last = number;
    if (scene->group->theirs == THIRL_PAIR) {
        (void)!thirl_send(o->end, thirl_msg_data(msg), thirl_msg_size(msg), thirl_in_ms(o->patience));
    }
    if (scene->group->theirs == THIRL_SERVE) {
        (void)!thirl_reply(o->end, &msg, thirl_msg_data(msg), thirl_msg_size(msg), thirl_in_ms(o->patience));
    } else {
        thirl_free(&msg);
    }
    tell(GOT, number);
}

static void send_one(struct other *o, uint32_t number) {
    uint64_t most = counts_bytes(scene->group->theirs) ? LARGE : most_of(o->end);
    size_t size = compose(o->bytes, size_of(number, most), number);
    thirl_msg *reply = NULL;
    if (scene->group->theirs == THIRL_CALL) {
        if (thirl_call(o->end, o->bytes, size, &reply, thirl_in_ms(o->patience)) == 0) {
            must_be(look_at(thirl_msg_data(reply), thirl_msg_size(reply)), number);
            tell(GOT, number);
        }
        thirl_free(&reply);
    } else if (thirl_send(o->end, o->bytes, size, thirl_in_ms(o->patience)) == -THIRL_ECLOSED) {
        reopen(o);
    }
}

static void be_the_other(void) {
    static struct other o;
    struct word word;
    unsigned descriptors = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        struct thirl_want wants[] = {{.fd = wire, .wanted = POLLIN},
                                     {.end = o.end, .fd = -1, .wanted = THIRL_WANT_MESSAGE}};
        bool listens = o.end != NULL && receives(scene->group->theirs);
        (void)!thirl_wait(wants, listens ? 2 : 1, THIRL_NEVER);
        if (listens) serve_one(&o);
        struct pollfd polled = {.fd = wire, .events = POLLIN};
        if (poll(&polled, 1, 0) <= 0) continue;
        if ((polled.revents & POLLIN) == 0 || recv(wire, &word, sizeof word, 0) != sizeof word) exit(0);
        switch (word.kind) {
        case OPEN:
            o.victim = word.victim;
            o.patience = word.number;
            reopen(&o);
            tell(OPENED, 0);
            break;
        case SEND:
            if (o.end != NULL) send_one(&o, word.number);
            break;
        default:
            for (thirl_msg *rest = NULL;
                 o.end != NULL && scene->group->theirs == THIRL_PULL && thirl_take(o.end, &rest, THIRL_NOW) == 0;) {
                thirl_free(&rest);
            }
            must(thirl_close(&o.end, THIRL_NOW) >= 0);
            unsigned now = conform_lines_of("/proc/self/fd");
            must(descriptors == 0 || now <= descriptors);
            descriptors = now;
            tell(CLOSED, 0);
        }
    }
}

/* ---- the victim ---- */

struct pass {
    thirl *end;
    bool whole, calm;     /* nothing fails: all must succeed, in the end; or at once */
    int failures, others; /* of calls; those that did not only wait in vain */
    uint32_t number, last;
    char bytes[LARGE];
};

static thirl_time soon(const struct pass *p) {
    return thirl_in_ms(p->calm ? WHOLE : p->whole ? 1000 : HURT);
}

/* What a call answered while something failed. */
static int answer(struct pass *p, int rc, int64_t begun, const char *call) {
    fault_armed = false;
    int64_t took = (conform_now() - begun) / MS;
    if (!p->whole && !p->calm && took > 1000 + LATE) {
        fprintf(stderr, "%s took %lld ms\n", call, (long long)took);
        exit(1);
    }
    if (rc < 0) {
        p->failures++;
        p->others += rc != -EAGAIN && rc != -ETIMEDOUT;
        if (getenv("FAULT_SAY") != NULL && p->failures < 20)
            fprintf(stderr, "%s: %s: %s\n", call, thirl_error_name(rc), thirl_why());
        if (thirl_why()[0] == '\0' ||
            (strncmp(thirl_error_name(rc), "E", 1) != 0 && strncmp(thirl_error_name(rc), "THIRL_", 6) != 0)) {
            fprintf(stderr, "%s answers %d (%s) with the sentence \"%s\"\n", call, rc, thirl_error_name(rc),
                    thirl_why());
            exit(1);
        }
    }
    return rc;
}

#define TRY(call)                                                                                                      \
    ({                                                                                                                 \
        int64_t begun = conform_now();                                                                                 \
        fault_armed = !p->whole;                                                                                       \
        int try_rc = (call);                                                                                           \
        answer(p, try_rc, begun, #call);                                                                               \
    })

static void accept_number(struct pass *p, uint32_t number) {
    /* Events that are told several times have no order, and jobs only those of one pusher, of whom many may have left some. */
    must(number > p->last || scene->group->mine == THIRL_WATCH || scene->group->mine == THIRL_PULL);
    p->last = number;
}

static int receive(struct pass *p, int how) {
    size_t size = 0, count = 4;
    struct iovec found[4];
    thirl_msg *msg = NULL;
    int rc;
    if (how == 1 && !counts_bytes(scene->group->mine)) {
        struct thirl_want want = {.end = p->end, .fd = -1, .wanted = THIRL_WANT_MESSAGE};
        (void)TRY(thirl_wait(&want, 1, soon(p)));
    }
    if (how == 2 && scene->group->mine != THIRL_SERVE) {
        rc = TRY(thirl_recv_many(p->end, p->bytes, sizeof p->bytes, found, &count, soon(p)));
        for (size_t i = 0; rc == 0 && i < count && !counts_bytes(scene->group->mine); i++) {
            accept_number(p, look_at(found[i].iov_base, found[i].iov_len));
        }
        return rc;
    }
    if (how == 0 && scene->group->mine != THIRL_SERVE) {
        rc = TRY(thirl_recv(p->end, p->bytes, sizeof p->bytes, &size, soon(p)));
        if (rc == 0 && !counts_bytes(scene->group->mine)) accept_number(p, look_at(p->bytes, size));
        return rc;
    }
    rc = TRY(thirl_take(p->end, &msg, soon(p)));
    if (rc == 0 && !counts_bytes(scene->group->mine)) {
        accept_number(p, look_at(thirl_msg_data(msg), thirl_msg_size(msg)));
    }
    if (rc == 0 && scene->group->mine == THIRL_SERVE) {
        rc = TRY(thirl_reply(p->end, &msg, thirl_msg_data(msg), thirl_msg_size(msg), soon(p)));
        must(msg == NULL);
    }
    must(rc == 0 || msg == NULL);
    fault_armed = !p->whole;
    thirl_free(&msg);
    fault_armed = false;
    return rc;
}

static int transmit(struct pass *p, int how, size_t size) {
    thirl_msg *msg = NULL;
    int rc;
    compose(p->bytes, size, p->number);
    if (scene->group->mine == THIRL_CALL) {
        rc = TRY(thirl_call(p->end, p->bytes, size, &msg, soon(p)));
        if (rc == 0) must_be(look_at(thirl_msg_data(msg), thirl_msg_size(msg)), p->number);
        must(rc == 0 || msg == NULL);
        fault_armed = !p->whole;
        thirl_free(&msg);
        fault_armed = false;
        return rc;
    }
    if (how == 1) {
        rc = TRY(thirl_loan(p->end, &msg, size, soon(p)));
        must(rc == 0 || msg == NULL);
        if (rc == 0) {
            memcpy(thirl_msg_data(msg), p->bytes, size);
            rc = TRY(thirl_put(p->end, &msg, soon(p)));
            must(msg == NULL);
        }
        return rc;
    }
    return TRY(thirl_send(p->end, p->bytes, size, soon(p)));
}

/* Has the peer got it? Of a stream: anything. */
static bool has_got(struct pass *p, int ms) {
    struct word word;
    for (int64_t until = conform_now() + ms * MS;;) {
        int64_t left = (until - conform_now()) / MS;
        if (!hear(&word, left > 0 ? (int)left : 0)) return false;
        if (word.kind == GOT && (word.number == p->number || counts_bytes(scene->group->mine))) return true;
    }
}

/* One message there, or from there, or there and back; where nothing fails, as often as it takes. */
static void exchange(struct pass *p, int how) {
    int64_t until = conform_now() + WHOLE * MS;
    enum thirl_role mine = scene->group->mine;
    bool there = false;
    fault_armed = false;
    uint64_t most = counts_bytes(mine) ? LARGE : most_of(p->end);
    do {
        p->number++;
        size_t size = size_of(how == 2 ? 3 : 0, most);
        if (sends(mine)) {
            int rc = transmit(p, how, size);
            there = rc >= 0 && (mine == THIRL_CALL || mine == THIRL_PAIR ||
                                has_got(p, p->calm    ? WHOLE
                                           : p->whole ? 300
                                                      : HURT / 2));
        } else {
            tell(SEND, p->number = p->number / 4 * 4 + (how == 2 ? 7 : 4));
        }
        if (receives(mine)) there = receive(p, how) == 0;
    } while (p->whole && !there && conform_now() < until);
    must(there || !p->whole);
}

static void await(enum word_kind kind) {
    struct word word;
    do {
        must(hear(&word, WHOLE));
    } while (word.kind != kind);
}

static int open_mine(struct pass *p) {
    int64_t until = conform_now() + WHOLE * MS;
    int rc;
    do {
        rc = TRY(open_end(&p->end, scene->group->mine, scene->group->mine == THIRL_NOTIFY ? where.stage : getpid()));
    } while (p->whole && rc != 0 && conform_now() < until);
    must(rc == 0 || p->end == NULL);
    must(rc == 0 || !p->whole);
    return rc;
}

static pid_t other_pid;

/* Opens, does all there is to do, closes. */
static void run_pass(struct pass *p) {
    where.stage = scene->group->mine == THIRL_NOTIFY ? other_pid : getpid();
    if (!scene->first) {
        tell(OPEN, p->calm ? WHOLE : p->whole ? 1000 : HURT);
        await(OPENED);
    }
    int rc = open_mine(p);
    if (scene->first) {
        tell(OPEN, p->calm ? WHOLE : p->whole ? 1000 : HURT);
        await(OPENED);
    }
    for (int how = 0; rc == 0 && how < 3; how++) {
        exchange(p, how);
    }
    if (rc == 0 && p->others == 0 && !p->calm) { /* an end that has said nothing else must work again */
        bool was = p->whole;
        p->whole = true;
        exchange(p, 0);
        p->whole = was;
    }
    if (rc == 0) {
        int fd = TRY(thirl_fd(p->end));
        must(fd < 0 || !p->whole || fcntl(fd, F_GETFD) >= 0);
        exchange(p, 0);
        for (thirl_msg *rest = NULL;
             p->whole && scene->group->mine == THIRL_PULL && thirl_take(p->end, &rest, thirl_in_ms(20)) == 0;) {
            thirl_free(&rest); /* what is left in a queue is no leftover of this library */
        }
        (void)TRY(thirl_close(&p->end, soon(p)));
        must(p->end == NULL);
    }
    tell(CLOSE, 0);
    await(CLOSED);
}

/* What one that nothing happened to has at its end. */
struct report {
    unsigned descriptors, passes[128];
    long blocks, mapped; /* KiB */
    uintptr_t site;
};

static long mapped(void) {
    char line[512], name[256];
    long sum = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    must(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long from, to;
        name[0] = '\0';
        must(sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &from, &to, name) >= 2);
        if (strcmp(name, "[heap]") != 0 && strcmp(name, "[stack]") != 0) sum += (long)((to - from) >> 10);
    }
    fclose(file);
    return sum;
}

static void be_the_victim(const struct fault *fault, int tellings) {
    static struct pass hurt, whole = {.whole = true};
    struct report report = {0};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(HANGS);
    fault_set(fault);
    hurt.calm = fault->pass == 0;
    hurt.number = base;
    whole.number = base + 5000;
    run_pass(&hurt);
    must(fault->pass != 0 || hurt.failures == 0);
    memcpy(report.passes, fault_passes, fault_count * sizeof *fault_passes);
    report.site = fault_site;
    run_pass(&whole);
    report.descriptors = conform_lines_of("/proc/self/fd");
    report.blocks = fault_blocks;
    report.mapped = mapped();
    must_be(write(tellings, &report, sizeof report), sizeof report);
    exit(0);
}

/* ---- one scene ---- */

static struct report usual;
static unsigned files_usual, files_now, tried, refused, turn, one_in = 1;

static int count_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)path;
    (void)status;
    (void)kind;
    (void)at;
    files_now++;
    return 0;
}

/* Files that all leave behind, and queues of the kernel. */
static unsigned files(void) {
    files_now = 0;
    (void)nftw(where.directory, count_one, 16, FTW_PHYS);
    return files_now += strstr(where.line->prefix, "sysv") != NULL ? conform_lines_of("/proc/sysvipc/msg") : 0;
}

static bool run_victim(const struct fault *fault, struct report *report) {
    int tellings[2];
    must_be(pipe2(tellings, O_CLOEXEC), 0);
    base += 10000;
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        close(tellings[0]);
        be_the_victim(fault, tellings[1]);
    }
    close(tellings[1]);
    int status = stage_await(pid, (HANGS + 10) * 1000);
    bool fine = status == 0 && read(tellings[0], report, sizeof *report) == (ssize_t)sizeof *report;
    close(tellings[0]);
    if (status == -1 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)) {
        fprintf(stderr, "it hangs\n");
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr, "it was killed by signal %d\n", WTERMSIG(status));
    }
    return fine;
}

static const struct fault nothing;

/* Does it hold, or leave, no more than others do? */
static bool is_clean(const struct report *report) {
    bool clean = report->descriptors <= usual.descriptors && report->blocks <= usual.blocks &&
                 (report->mapped <= usual.mapped || conform_sanitized());
    if (!clean) {
        fprintf(stderr, "it holds %u descriptors, %ld blocks, %ld KiB; not %u, %ld, %ld\n", report->descriptors,
                report->blocks, report->mapped, usual.descriptors, usual.blocks, usual.mapped);
    }
    if (files() > files_usual) { /* what could not be removed is swept by the next one */
        struct report again;
        clean = run_victim(&nothing, &again) && clean;
        if (files() > files_usual) {
            fprintf(stderr, "it leaves %u files, not %u\n", files_now, files_usual);
            clean = false;
        }
    }
    return clean;
}

static bool try_one(const struct fault *fault, bool *reached) {
    struct report report = {0};
    bool fine = run_victim(fault, &report) && is_clean(&report);
    *reached = fine && report.site != 0;
    tried++;
    refused += *reached;
    if (!fine) {
        const char *error = fault->error < 0 ? "EAI" : strerrorname_np(fault->error);
        printf("not so: %s: FAULT_ONLY='%s %u %s%s' (at %#lx)\n", scene->name, fault_calls[fault->call].name,
               fault->pass, error, fault->lasting ? " lasting" : "", (unsigned long)report.site);
        fflush(stdout);
    }
    return fine;
}

/* Is it one that was asked for? */
static bool is_meant(const struct fault *fault) {
    const char *only = getenv("FAULT_ONLY");
    char name[96];
    snprintf(name, sizeof name, "%s %u %s%s", fault_calls[fault->call].name, fault->pass,
             fault->error < 0 ? "EAI" : strerrorname_np(fault->error), fault->lasting ? " lasting" : "");
    /* Without a campaign always the same ones: of each thing that a process may lack, one while it opens. */
    static const char *const few[] = {"openat 1 EMFILE", "openat 9 EMFILE", "mmap 2 ENOMEM", "fallocate 1 ENOSPC",
                                      "socket 1 EMFILE"};
    for (size_t i = 0; one_in == 0 && only == NULL && i < sizeof few / sizeof *few; i++) {
        if (strcmp(few[i], name) == 0) {
            return true;
        }
    }
    return only != NULL ? fnmatch(only, name, 0) == 0 : one_in != 0 && turn++ % one_in == 0;
}

static bool try_call(size_t call) {
    bool fine = true;
    const int *errors = fault_calls[call].errors;
    for (const int *error = errors; *error != 0; error++) {
        for (int lasting = 0; lasting <= (int)fault_lasts(*error); lasting++) {
            bool reached = true;
            for (unsigned pass = 1; reached && pass <= MOST && pass <= usual.passes[call] + 2; pass++) {
                const struct fault fault = {call, pass, *error, lasting != 0};
                if (is_meant(&fault)) {
                    fine = try_one(&fault, &reached) && fine;
                }
            }
        }
    }
    return fine;
}

static void begin_other(void) {
    int wires[2];
    must_be(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires), 0);
    fflush(NULL);
    other_pid = fork();
    must(other_pid >= 0);
    if (other_pid == 0) {
        close(wires[0]);
        wire = wires[1];
        be_the_other();
    }
    close(wires[1]);
    wire = wires[0];
}

static bool play(const struct scene *s) {
    scene = s;
    tried = refused = 0;
    turn = 0;
    for (const char *at = s->name; one_in > 1 && *at != '\0'; at++) {
        turn = turn * 31 + (unsigned char)*at; /* each scene tries others */
    }
    begin_other();
    bool fine = run_victim(&nothing, &usual);
    files_usual = files();
    if (!fine) {
        printf("not so: %s: even where nothing fails\n", scene->name);
    }
    for (size_t call = 0; fine && call < fault_count; call++) {
        fine = usual.passes[call] == 0 || try_call(call);
    }
    close(wire);
    int status = stage_await(other_pid, 10000);
    if (status != 0) {
        printf("not so: %s: the peer ended with %#x\n", scene->name, (unsigned)status);
    }
    printf("%s: %u calls failed, of %u that were to\n", scene->name, refused, tried);
    fflush(stdout);
    return fine && status == 0;
}

/* ---- all scenes ---- */

/* Is that scene in the list of those that are done? Makes it so if it is to be. */
static bool is_done(const char *name, bool now) {
    const char *path = getenv("FAULT_DONE");
    char line[96];
    bool found = false;
    FILE *list = path == NULL ? NULL : fopen(path, "a+e");
    while (list != NULL && !found && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, name) == 0;
    }
    if (list != NULL && !found && now && fseek(list, 0, SEEK_END) == 0) {
        fprintf(list, "%s\n", name);
    }
    if (list != NULL) {
        must_be(fclose(list), 0);
    }
    return found;
}

static void play_group(const struct conform *c, const char *name) {
    const struct group *group = groups;
    bool fine = true;
    while (strcmp(group->name, name) != 0) {
        group++;
    }
    where = *c;
    const char *wanted = getenv("FAULT_ONE_IN");
    one_in = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : 0;
    (void)unshare(CLONE_NEWIPC); /* where that is allowed: queues are counted */
    for (int first = 0; first < 2; first++) {
        struct scene one = {.line = c->line, .group = group, .first = first != 0};
        if (strcmp(c->line->name, "sig") == 0 && group->mine == THIRL_WATCH && !one.first) {
            continue; /* who notifies wants the other one to be there */
        }
        snprintf(one.name, sizeof one.name, "%s %s %s", c->line->name, name, one.first ? "first" : "second");
        if (!is_done(one.name, false)) {
            bool well = play(&one);
            fine = fine && well;
            if (well) (void)is_done(one.name, true);
        }
    }
    must(fine);
}

#define GROUP(name)                                                                                                    \
    static void name(struct conform *c) {                                                                              \
        play_group(c, #name);                                                                                          \
    }
GROUP(pair)
GROUP(writer)
GROUP(reader)
GROUP(push)
GROUP(pull)
GROUP(pub)
GROUP(sub)
GROUP(call)
GROUP(serve)
GROUP(notify)
GROUP(watch)
GROUP(pattern)
GROUP(block)

int main(int argc, char **argv) {
    static const struct conform_test all[] = {
        CONFORM_FOR(pair, CONFORM_PAIR),    CONFORM_FOR(writer, CONFORM_STREAM), CONFORM_FOR(reader, CONFORM_STREAM),
        CONFORM_FOR(push, CONFORM_QUEUE),   CONFORM_FOR(pull, CONFORM_QUEUE),    CONFORM_FOR(pub, CONFORM_CAST),
        CONFORM_FOR(sub, CONFORM_CAST),     CONFORM_FOR(call, CONFORM_CALL),     CONFORM_FOR(serve, CONFORM_CALL),
        CONFORM_FOR(notify, CONFORM_EVENT), CONFORM_FOR(watch, CONFORM_EVENT),   CONFORM_ONLY(pattern, "shm-cast"),
        CONFORM_ONLY(block, "shm-cast"),    CONFORM_ONLY(block, "cast-unix"),
    };
    static const struct conform_test few[] = {
        CONFORM_ONLY(pair, "shm"),       CONFORM_ONLY(pull, "shm-queue"),  CONFORM_ONLY(push, "shm-queue"),
        CONFORM_ONLY(sub, "shm-cast"),   CONFORM_ONLY(call, "shm-call"),   CONFORM_ONLY(serve, "shm-call"),
        CONFORM_ONLY(pair, "unix-path"), CONFORM_ONLY(reader, "tcp4"),     CONFORM_ONLY(push, "sysv"),
        CONFORM_ONLY(pull, "sysv"),      CONFORM_ONLY(watch, "shm-event"), CONFORM_ONLY(pub, "cast-unix"),
    };
    if (getenv("FAULT_ONE_IN") != NULL || getenv("FAULT_ONLY") != NULL) {
        return conform_main(all, sizeof all / sizeof *all, argc, argv);
    }
    return conform_main(few, sizeof few / sizeof *few, argc, argv);
}
