/* SPDX-License-Identifier: MIT
 *
 * The stages of the conformance suite. See stage.h.
 */
#define _GNU_SOURCE
#include "tests/conform/stage.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/leaks.h"
#include "tests/quota.h"
#include "tests/room.h"

#define AHEAD 2     /* stages at once */
#define LOOKED_AT 4 /* one of so many looks for leaks, which takes longer than most of them */
#define BRIEFLY 3   /* one of so many of a twin is played where there is little time: BRIEF=1 */
#define AGAIN 2     /* and there one of so many of the others under a wrapper and under a sanitizer */

struct stage {
    const struct conform_test *test;
    struct conform c;
    pid_t pid;  /* 0: not begun */
    int quota;  /* a lock, or -1 */
    int ports;  /* likewise */
    int output; /* a memfd: what it prints, or -1 */
};

static struct stage *stages;
static size_t count, running;

/* ---- before and after ---- */

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)status;
    (void)kind;
    (void)at;
    return remove(path);
}

static bool has_inet6(void) {
    const struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = fd >= 0 && bind(fd, (const struct sockaddr *)&at, sizeof at) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return there;
}

/* Does the loopback interface carry what is sent to a group? */
static bool has_multicast(void) {
    const struct in_addr lo = {htonl(INADDR_LOOPBACK)};
    const struct ip_mreq join = {.imr_multiaddr = {htonl(0xefff4e08)}, .imr_interface = lo}; /* 239.255.78.8 */
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = join.imr_multiaddr};
    socklen_t length = sizeof at;
    struct pollfd polled = {.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), .events = POLLIN};
    bool there = bind(polled.fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                 getsockname(polled.fd, (struct sockaddr *)&at, &length) == 0 &&
                 setsockopt(polled.fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) == 0 &&
                 setsockopt(polled.fd, IPPROTO_IP, IP_MULTICAST_IF, &lo, sizeof lo) == 0 &&
                 sendto(polled.fd, "x", 1, 0, (const struct sockaddr *)&at, sizeof at) == 1 &&
                 poll(&polled, 1, 1000) == 1;
    if (polled.fd >= 0) {
        close(polled.fd);
    }
    return there;
}

/* Ports below those that the kernel gives to callers, in blocks; an abstract name of this very network namespace says that a
 * block is taken, for as long as this process holds it. */
static void take_ports(struct stage *s) {
    enum { FIRST = 10240, BLOCKS = (32768 - FIRST) / CONFORM_PORTS };
    s->ports = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (unsigned i = 0, at = (unsigned)getpid(); i < BLOCKS; i++, at++) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "conform-ports-%u", at % BLOCKS);
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
        if (bind(s->ports, (const struct sockaddr *)&name, size) == 0) {
            s->c.port = FIRST + at % BLOCKS * CONFORM_PORTS;
            return;
        }
    }
    fail_msg("all %d blocks of ports are taken", BLOCKS);
}

static void prepare(struct conform *c) {
    const char *registry = getenv("CONFORM_DIR");
    snprintf(c->directory, sizeof c->directory, "%s/conform.XXXXXX", registry != NULL ? registry : "/dev/shm");
    assert_non_null(mkdtemp(c->directory));
    snprintf(c->registry, sizeof c->registry, "%s/registry", c->directory);
    assert_int_equal(mkdir(c->registry, 0700), 0);
    const char *with = getenv("CONFORM_WITH");
    with = with != NULL && strcmp(with, "hurt") == 0 ? "hurt=7" : with;
    if (with != NULL && strcmp(with, "spy") == 0) {
        c->trace = memfd_create("trace", MFD_CLOEXEC); /* no file of its own among those that tests count */
        assert_true(c->trace >= 0);
        snprintf(c->with, sizeof c->with, "spy=%d", c->trace);
    } else if (with != NULL) {
        bool loses = strncmp(with, "hurt=", 5) == 0 && strchr(with, ':') == NULL && !conform_claims(c).reliable;
        snprintf(c->with, sizeof c->with, "%s%s", with,
                 loses ? ":again,short,delay" : ""); /* tests count on what they send */
    }
}

/* What a test has left in the kernel, where that outlives processes: a process of its own looks, because the registry is the
 * test's. */
static int clean_one(void *context, const struct thirl_left *left) {
    (void)context;
    (void)!thirl_clean(left->address);
    return 0;
}

static void clean(const struct conform *c) {
    if (strncmp(c->line->prefix, "mq:", 3) != 0 && strncmp(c->line->prefix, "sysv:", 5) != 0) {
        return;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("THIRL_DIR", c->registry, 1);
        _exit(thirl_left(clean_one, NULL) != 0);
    }
    (void)waitpid(pid, NULL, 0);
}

int stage_ms(void) {
    const char *seconds = getenv("CONFORM_SECONDS");
    return seconds == NULL ? 50000 : (int)strtol(seconds, NULL, 10) * 1000;
}

int stage_await(pid_t pid, int limit_ms) {
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
    bool late = true;
    if (end.fd >= 0) {
        int rc;
        int64_t until = conform_now() + limit_ms * MS;
        do {
            int64_t left = (until - conform_now()) / MS;
            rc = poll(&end, 1, left > 0 ? (int)left : 0);
        } while (rc < 0 && errno == EINTR);
        late = rc == 0;
        close(end.fd);
    }
    if (late) {
        (void)kill(pid, SIGKILL);
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return late ? -1 : status;
}

static void give_back(int *fd) {
    if (*fd >= 0) {
        (void)close(*fd);
    }
    *fd = -1;
}

/* ---- one after the other, and a little ahead ---- */

/* Why it cannot be tried, or NULL. */
static const char *why_not(const struct stage *s) {
    const char *with = getenv("CONFORM_WITH");
    bool sealed = with != NULL && strstr(with, "crc") != NULL;
    if (strstr(s->c.line->prefix, "[::1]") != NULL && !has_inet6()) {
        return "this machine has no ::1";
    }
    if (strncmp(s->c.line->prefix, "udp://239.", 10) == 0 && !has_multicast()) {
        return "this machine carries no multicast on its loopback interface";
    }
    return sealed && ((s->c.line->roles & CONFORM_EVENT) != 0 || (s->test->roles & CONFORM_STREAM) != 0)
               ? "bytes and events have no CRC"
               : NULL;
}

/* One of so many, spread evenly: other mechanisms from test to test. */
static bool is_chosen(size_t number, uint32_t of) {
    return (uint32_t)number * UINT32_C(2654435761) < UINT32_MAX / of;
}

static void perform(struct stage *s) {
    struct conform *c = &s->c;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (s->output >= 0) {
        (void)dup2(s->output, 1);
        (void)dup2(s->output, 2);
    }
    for (size_t i = 0; i < count; i++) { /* those of the others, too: tests count descriptors, and locks are to end */
        give_back(&stages[i].quota);
        give_back(&stages[i].output);
        give_back(&stages[i].ports);
        if (&stages[i] != s && stages[i].pid > 0) {
            give_back(&stages[i].c.trace);
        }
    }
    (void)setenv("THIRL_DIR", c->registry, 1);
    (void)setenv("THIRL_COSTS", "/nowhere", 1); /* what somebody has measured here is nothing to go by */
    if (strcmp(c->line->name, "sysv") == 0) {
        (void)unshare(CLONE_NEWIPC); /* where that is allowed: what it leaves goes with it, even if all are killed */
    }
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        (void)signal(signals[i], SIG_DFL); /* cmocka's handler would go on with the next test */
    }
    c->stage = getpid();
    if (is_chosen((size_t)(s - stages), LOOKED_AT)) {
        leaks_look();
    }
    s->test->body(c);
    exit(0);
}

static void begin(struct stage *s) {
    prepare(&s->c);
    take_ports(s);
    s->quota = quota_counts(s->c.line->prefix) ? quota_take(true) : -1;
    s->output = memfd_create("output", MFD_CLOEXEC);
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        perform(s);
    }
    assert_true(s->pid > 0);
    running++;
}

static void print_output(struct stage *s) {
    char text[4096];
    ssize_t n;
    for (off_t at = 0; s->output >= 0 && (n = pread(s->output, text, sizeof text, at)) > 0; at += n) {
        (void)fwrite(text, 1, (size_t)n, stdout);
    }
    (void)fflush(stdout);
}

/* Waits for it: the status of its process. */
static int finish(struct stage *s) {
    int status = stage_await(s->pid, STAGE_MS);
    running--;
    give_back(&s->quota);
    give_back(&s->ports);
    give_back(&s->c.trace);
    clean(&s->c);
    (void)nftw(s->c.directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    print_output(s);
    give_back(&s->output);
    return status;
}

static void play(void **state) {
    struct stage *s = *state;
    if (why_not(s) != NULL) {
        printf("skipped: %s\n", why_not(s));
        skip();
    }
    if (s->pid == 0) {
        begin(s);
    }
    /* What must have something for itself waits for its own turn: it could wait for one that has it and is not waited for. */
    for (struct stage *next = s + 1; next < stages + count && running < AHEAD; next++) {
        if (next->pid == 0 && why_not(next) == NULL && !quota_counts(next->c.line->prefix)) {
            begin(next);
        }
    }
    int status = finish(s);
    if (status == -1) {
        fail_msg("took longer than %d s", STAGE_MS / 1000);
    }
    if (WIFSIGNALED(status)) {
        fail_msg("was killed by signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) == STAGE_SKIPPED) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Is that the name of the line, or how it begins, up to a dash? */
static bool is_for(const char *only, const char *name) {
    size_t length = strlen(only);
    return strncmp(name, only, length) == 0 && (name[length] == '\0' || only[length - 1] == '-');
}

/* A twin says nothing new under a wrapper and under a sanitizer, and little where there is little time; there the others are halved. */
static bool is_passed_over(const struct conform_line *line, size_t number) {
    bool again = conform_sanitized() || getenv("CONFORM_WITH") != NULL;
    if ((line->roles & CONFORM_TWIN) != 0) {
        return again || (room_is_brief() && !is_chosen(number, BRIEFLY));
    }
    return again && room_is_brief() && !is_chosen(number, AGAIN);
}

/* Is it for that line, and wanted? The pattern may hold * and ?. */
static bool is_meant(const struct conform_test *test, const struct conform_line *line, size_t number, const char *name,
                     const char *pattern) {
    return (test->roles & ~line->roles) == 0 && (test->only == NULL || is_for(test->only, line->name)) &&
           (pattern == NULL ? !is_passed_over(line, number) : fnmatch(pattern, name, 0) == 0);
}

int conform_main(const struct conform_test *tests, size_t number, int argc, char **argv) {
    size_t most = number * conform_count;
    struct CMUnitTest *units = calloc(most, sizeof *units);
    char(*names)[96] = calloc(most, sizeof *names);
    stages = calloc(most, sizeof *stages);
    int failed = units == NULL || names == NULL || stages == NULL;
    for (size_t i = 0; !failed && i < most; i++) {
        const struct conform_test *test = &tests[i / conform_count];
        const struct conform_line *line = &conform_lines[i % conform_count];
        (void)snprintf(names[count], sizeof names[count], "%s %s", line->name, test->name);
        if (is_meant(test, line, i, names[count], argc > 1 ? argv[1] : NULL)) {
            stages[count] = (struct stage){test, {.line = line, .trace = -1}, 0, -1, -1, -1};
            units[count] =
                (struct CMUnitTest){.name = names[count], .test_func = play, .initial_state = &stages[count]};
            count++;
        }
    }
    const char *registry = getenv("THIRL_DIR");
    if (registry != NULL) {
        setenv("CONFORM_DIR", registry, 1);
    }
    const char *slash = strrchr(argv[0], '/');
    const char *program = slash == NULL ? argv[0] : slash + 1;
    failed = failed || _cmocka_run_group_tests(program, units, count, NULL, NULL) != 0;
    free(units);
    free(names);
    free(stages);
    return failed;
}
