/* SPDX-License-Identifier: MIT
 *
 * What the tests of the conformance suite demand and start, and its one list of mechanisms.
 */
#define _GNU_SOURCE
#include "tests/conform/conform.h"

#include <dirent.h>
#include <fcntl.h>
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/conform/stage.h"

#define SMALL 256 /* bytes of a small message, with all that goes with it */

/* One line per mechanism. */
const struct conform_line conform_lines[] = {
    {"shm", "shm://", false, "", CONFORM_PAIR | CONFORM_STREAM},
    {"shm-queue", "shm://", false, "", CONFORM_QUEUE},
    {"shm-cast", "shm://", false, "", CONFORM_CAST | CONFORM_MEETS},
    {"shm-call", "shm://", false, "", CONFORM_CALL},
    {"unix-path", "unix://", true, "", CONFORM_PAIR | CONFORM_STREAM},
    {"unix-abstract", "unix://@", false, "", CONFORM_PAIR | CONFORM_STREAM | CONFORM_TWIN},
    {"unix-seqpacket", "unix://", true, "?type=seqpacket", CONFORM_PAIR | CONFORM_STREAM},
    {"unix-datagram", "unix://", true, "?type=datagram", CONFORM_PAIR | CONFORM_STREAM | CONFORM_QUEUE},
    {"mq", "mq://", false, "", CONFORM_PAIR | CONFORM_STREAM | CONFORM_QUEUE},
    {"sysv", "sysv://", false, "", CONFORM_PAIR | CONFORM_STREAM | CONFORM_QUEUE},
    {"tcp4", "tcp://127.0.0.1:", false, "", CONFORM_PAIR | CONFORM_STREAM},
    {"tcp6", "tcp://[::1]:", false, "", CONFORM_PAIR | CONFORM_STREAM | CONFORM_TWIN},
    {"udp4", "udp://127.0.0.1:", false, "", CONFORM_QUEUE},
    {"udp6", "udp://[::1]:", false, "", CONFORM_QUEUE | CONFORM_TWIN},
    {"hub-unix", "unix://", true, "", CONFORM_QUEUE},
    {"hub-seqpacket", "unix://@", false, "?type=seqpacket", CONFORM_QUEUE},
    {"hub-tcp", "tcp://127.0.0.1:", false, "", CONFORM_QUEUE | CONFORM_TWIN},
    {"cast-unix", "unix://", true, "", CONFORM_CAST | CONFORM_MEETS},
    {"cast-tcp", "tcp://127.0.0.1:", false, "", CONFORM_CAST | CONFORM_MEETS | CONFORM_TWIN},
    {"cast-udp", "udp://239.255.78.7@lo:", false, "", CONFORM_CAST},
    {"call-unix", "unix://", true, "", CONFORM_CALL},
    {"call-seqpacket", "unix://@", false, "?type=seqpacket", CONFORM_CALL},
    {"call-tcp4", "tcp://127.0.0.1:", false, "", CONFORM_CALL | CONFORM_TWIN},
    {"call-tcp6", "tcp://[::1]:", false, "", CONFORM_CALL | CONFORM_TWIN},
    {"shm-event", "shm://", false, "", CONFORM_EVENT},
    {"event-unix", "unix://", true, "", CONFORM_EVENT},
    {"event-seqpacket", "unix://@", false, "?type=seqpacket", CONFORM_EVENT},
    {"event-tcp", "tcp://127.0.0.1:", false, "", CONFORM_EVENT | CONFORM_TWIN},
    {"tell-mq", "mq://", false, "", CONFORM_EVENT},
    {"tell-sysv", "sysv://", false, "", CONFORM_EVENT},
    {"tell-datagram", "unix://", true, "?type=datagram", CONFORM_EVENT},
    {"tell-fifo", "fifo://", true, "", CONFORM_EVENT},
    {"sig", "sig://", false, "", CONFORM_EVENT},
    {"fifo", "fifo://", true, "", CONFORM_PAIR | CONFORM_STREAM},
    {"auto", "auto://", false, "", CONFORM_PAIR | CONFORM_STREAM | CONFORM_TWIN},
    {"auto-queue", "auto://", false, "", CONFORM_QUEUE | CONFORM_TWIN},
    {"auto-cast", "auto://", false, "", CONFORM_CAST | CONFORM_MEETS | CONFORM_TWIN},
    {"auto-call", "auto://", false, "", CONFORM_CALL | CONFORM_TWIN},
    {"auto-event", "auto://", false, "", CONFORM_EVENT | CONFORM_TWIN},
};
const size_t conform_count = sizeof conform_lines / sizeof *conform_lines;

/* ---- demands ---- */

void conform_fail(const char *file, int line, const char *text) {
    fprintf(stderr, "%s:%d: pid %d: not so: %s (thirl_why: \"%s\")\n", file, line, (int)getpid(), text, thirl_why());
    fflush(NULL);
    _exit(1);
}

void conform_compare(const char *file, int line, const char *text, int64_t is, int64_t wanted) {
    if (is == wanted) {
        return;
    }
    fprintf(stderr, "%s:%d: pid %d: %s is %lld", file, line, (int)getpid(), text, (long long)is);
    if (is < 0 && is > -8000) {
        fprintf(stderr, " (%s)", thirl_error_name((int)is));
    }
    fprintf(stderr, ", not %lld (thirl_why: \"%s\")\n", (long long)wanted, thirl_why());
    fflush(NULL);
    _exit(1);
}

void conform_why(const char *file, int line, const char *part) {
    if (strstr(thirl_why(), part) == NULL) {
        fprintf(stderr, "%s:%d: \"%s\" is not in the sentence \"%s\"\n", file, line, part, thirl_why());
        fflush(NULL);
        _exit(1);
    }
}

void conform_names(const struct conform *c, pid_t pid) {
    if (!conform_claims(c).cross_host) {
        char text[32] = "pid ";
        snprintf(text + 4, sizeof text - 4, "%.0d", (int)pid);
        conform_why(__FILE__, __LINE__, text);
    }
}

void conform_skip(const char *reason) {
    printf("skipped: %s\n", reason);
    fflush(NULL);
    _exit(STAGE_SKIPPED);
}

/* ---- addresses ---- */

const char *conform_address(const struct conform *c, unsigned n, const char *options) {
    static _Thread_local char ring[4][320];
    static _Thread_local unsigned turn;
    char *text = ring[turn++ % 4];
    const char *token = strrchr(c->directory, '/') + 1;
    char name[200];
    if (strcmp(c->line->name, "sig") == 0) {
        snprintf(name, sizeof name, "%d?signal=%u", (int)c->stage, 50 + n % 10);
    } else if (c->line->prefix[strlen(c->line->prefix) - 1] == ':') {
        snprintf(name, sizeof name, "%u", c->port + n % CONFORM_PORTS);
    } else {
        snprintf(name, sizeof name, "%s%c%u", c->line->path ? c->directory : token, c->line->path ? '/' : '-', n);
    }
    size_t used = (size_t)snprintf(text, sizeof ring[0], "%s%s%s", c->line->prefix, name, c->line->suffix);
    bool plain = c->with[0] == '\0' || (conform_sealed(c) && options != NULL && strstr(options, "raw") != NULL);
    const char *more[] = {options, plain ? NULL : c->with};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        if (more[i] != NULL) {
            char sign = strchr(text, '?') == NULL ? '?' : '&';
            used += (size_t)snprintf(text + used, sizeof ring[0] - used, "%c%s", sign, more[i]);
            must(used < sizeof ring[0]);
        }
    }
    return text;
}

thirl *conform_open(const struct conform *c, enum thirl_role role, const char *options) {
    thirl *end = NULL;
    must_be(thirl_open(&end, role, conform_address(c, 0, options), NULL), 0);
    must(end != NULL);
    return end;
}

struct claims {
    const char *scheme;
    size_t length;
    uint32_t roles; /* one of them is enough */
    bool datagram;  /* the second of that scheme */
    struct thirl_limits limits;
};

static int see_claims(void *context, const struct thirl_mechanism *mechanism) {
    struct claims *claims = context;
    if (strlen(mechanism->scheme) == claims->length && memcmp(mechanism->scheme, claims->scheme, claims->length) == 0 &&
        (mechanism->roles & claims->roles) != 0 &&
        claims->datagram == (strstr(mechanism->summary, "?type=datagram") != NULL)) {
        claims->limits = mechanism->limits;
        return 1;
    }
    return 0;
}

struct thirl_limits conform_claims(const struct conform *c) {
    static const struct {
        unsigned group;
        uint32_t roles;
    } groups[] = {{CONFORM_PAIR, 1u << THIRL_PAIR},  {CONFORM_STREAM, 1u << THIRL_READ},
                  {CONFORM_QUEUE, 1u << THIRL_PULL}, {CONFORM_EVENT, 1u << THIRL_WATCH},
                  {CONFORM_CAST, 1u << THIRL_SUB},   {CONFORM_CALL, 1u << THIRL_CALL}};
    uint32_t roles = 0;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        roles |= (c->line->roles & groups[i].group) != 0 ? groups[i].roles : 0;
    }
    struct claims claims = {.roles = roles,
                            .scheme = c->line->prefix,
                            .length = strcspn(c->line->prefix, ":"),
                            .datagram = strcmp(c->line->suffix, "?type=datagram") == 0};
    must_be(thirl_mechanisms(see_claims, &claims), 1);
    return claims.limits;
}

struct thirl_limits conform_limits(thirl *end) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    return limits;
}

void conform_both(const struct conform *c, unsigned n, const char *options, thirl **a, thirl **b) {
    must(conform_try_both(c, n, options, a, b));
}

bool conform_try_both(const struct conform *c, unsigned n, const char *options, thirl **a, thirl **b) {
    int rc = thirl_open(a, THIRL_PAIR, conform_address(c, n, options), NULL);
    if (rc == 0) {
        rc = thirl_open(b, THIRL_PAIR, conform_address(c, n, options), NULL);
        if (rc == -EMFILE) {
            must_be(thirl_close(a, THIRL_SOON), 0);
        }
    }
    if (rc == -EMFILE) {
        return false;
    }
    must_be(rc, 0);
    for (int i = 0; i < 2; i++) {
        thirl *from = i == 0 ? *a : *b, *to = i == 0 ? *b : *a;
        int sent = -EAGAIN;
        char byte;
        for (int64_t until = conform_now() + 5000 * MS; sent == -EAGAIN && conform_now() < until;) {
            sent = thirl_send(from, "x", 1, THIRL_NOW);
            (void)!thirl_recv(to, NULL, 0, NULL, THIRL_NOW);
        }
        must_be(sent, 0);
        must_be(thirl_recv(to, &byte, 1, NULL, PATIENCE), 0);
    }
    return true;
}

/* ---- peers ---- */

void conform_start(struct peer *peer, const struct conform *c, void (*run)(const struct conform *, struct peer *)) {
    int wires[2];
    must_be(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wires), 0);
    fflush(NULL);
    pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(wires[0]);
        struct peer stage = {getppid(), wires[1]};
        run(c, &stage);
        exit(0);
    }
    close(wires[1]);
    *peer = (struct peer){pid, wires[0]};
}

void conform_tell(struct peer *peer, uint64_t word) {
    ssize_t sent;
    do {
        sent = send(peer->wire, &word, sizeof word, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    must_be(sent, sizeof word);
}

uint64_t conform_hear(struct peer *peer) {
    uint64_t word = 0;
    ssize_t got;
    do {
        got = recv(peer->wire, &word, sizeof word, 0);
    } while (got < 0 && errno == EINTR);
    must_be(got, sizeof word);
    return word;
}

void conform_join(struct peer *peer) {
    must_be(stage_await(peer->pid, STAGE_MS / 2), 0);
    close(peer->wire);
}

void conform_kill(struct peer *peer) {
    must_be(kill(peer->pid, SIGKILL), 0);
    must_be(waitpid(peer->pid, NULL, 0), peer->pid);
    close(peer->wire);
}

void conform_die_at(const char *point, unsigned pass) {
    char order[96];
    (void)snprintf(order, sizeof order, "%s:%u:kill", point, pass);
    must_be(setenv("THIRL_WEAVE_AT", order, 1), 0);
}

/* ---- content ---- */

static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ x >> 27;
}

void conform_fill(void *data, size_t size, uint64_t seed) {
    unsigned char *at = data;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = mix(seed * UINT64_C(0x9e3779b97f4a7c15) + i + 1);
        memcpy(at + i, &word, size - i < 8 ? size - i : 8);
    }
}

bool conform_intact(const void *data, size_t size, uint64_t seed) {
    const unsigned char *at = data;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = mix(seed * UINT64_C(0x9e3779b97f4a7c15) + i + 1);
        if (memcmp(at + i, &word, size - i < 8 ? size - i : 8) != 0) {
            return false;
        }
    }
    return true;
}

#define LARGEST ((size_t)16 << 20)

void conform_send(thirl *end, size_t size, uint64_t seed) {
    static _Thread_local char small[8192];
    char *data = size <= sizeof small ? small : malloc(size);
    must(data != NULL && size <= LARGEST);
    conform_fill(data, size, seed);
    must_be(thirl_send(end, data, size, PATIENCE), 0);
    if (data != small) {
        free(data);
    }
}

thirl_time conform_while(const struct conform *c) {
    return thirl_in_ms(conform_claims(c).cross_host ? 600 : 1);
}

void conform_recv(thirl *end, size_t size, uint64_t seed) {
    static _Thread_local char small[8192];
    char *data = size < sizeof small ? small : malloc(size + 1);
    size_t got = SIZE_MAX;
    must(data != NULL && size <= LARGEST);
    must_be(thirl_recv(end, data, size + 1, &got, PATIENCE), 0);
    must_be(got, size);
    must(conform_intact(data, size, seed));
    if (data != small) {
        free(data);
    }
}

/* ---- this machine ---- */

int64_t conform_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 * MS + t.tv_nsec;
}

void conform_sleep(int64_t ns) {
    struct timespec t = {ns / (1000 * MS), ns % (1000 * MS)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

unsigned conform_room(thirl *end, unsigned wanted) {
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(end, &limits), 0);
    uint64_t most = limits.queue / SMALL;
    most = limits.queue_messages != 0 && limits.queue_messages - 2 < most ? limits.queue_messages - 2 : most;
    return most < wanted ? (unsigned)most : wanted;
}

unsigned conform_lines_of(const char *path) {
    unsigned count = 0;
    DIR *list = opendir(path);
    if (list != NULL) {
        for (struct dirent *entry; (entry = readdir(list)) != NULL;) {
            count += entry->d_name[0] != '.';
        }
        closedir(list);
        return count;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char bytes[4096];
    must(fd >= 0);
    for (ssize_t got; (got = read(fd, bytes, sizeof bytes)) > 0;) {
        for (ssize_t i = 0; i < got; i++) {
            count += bytes[i] == '\n';
        }
    }
    close(fd);
    return count;
}

unsigned conform_channels(const struct conform *c) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/chan", c->registry);
    return access(path, F_OK) == 0 ? conform_lines_of(path) : 0;
}

bool conform_sanitized(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#else
    return false;
#endif
#else
    return false;
#endif
}

unsigned conform_many(const struct conform *c, unsigned usual) {
    bool cheap = strncmp(c->line->prefix, "shm:", 4) == 0 && c->with[0] == '\0';
    return conform_sanitized() ? usual / 10 : cheap ? usual : usual / 5;
}
