/* SPDX-License-Identifier: MIT
 *
 * Ranking, see grade.h.
 */
#define _GNU_SOURCE
#include "mech/grade.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "mech/link.h"

#define ASLEEP_NS (50.0 * CLOCK_US)    /* an adaptive end that waits longer than this for the next message sleeps */
#define MOST ((UINT64_C(1) << 30) - 1) /* what ?max= and ?pool= can make of a message */
#define PORT "7410"

#define HERE (1u << THIRL_ACROSS_USER)
#define USERS (HERE | 1u << THIRL_ACROSS_USERS)
#define HOST (USERS | 1u << THIRL_ACROSS_CONTAINERS)
#define WORLD (HOST | 1u << THIRL_ACROSS_HOSTS)

#define KIND(cost_, scheme_, ...)                                                                                      \
    { .cost = COSTS_##cost_, .scheme = (scheme_), __VA_ARGS__ }
#define SOCKET(cost_, type_, with)                                                                                     \
    KIND(cost_, "unix", .type = (type_), .near = "unix://@%s" with, .far = "unix:///tmp/%s.sock" with, .reach = HOST,  \
         .bounded = "a Unix socket ends at its host", .burden = 1, .asks = "a path, or a name of the kernel's",        \
         .named = (type_) != THIRL_DATAGRAM)
static const struct grade_kind kinds[COSTS_MECH_COUNT] = {
    KIND(SHM, "shm", .near = "shm://%s", .reach = HOST, .bounded = "memory ends at its host", .asks = "a name",
         .named = true),
    SOCKET(UNIX, 0, ""),
    SOCKET(SEQPACKET, THIRL_SEQPACKET, "?type=seqpacket"),
    SOCKET(DATAGRAM, THIRL_DATAGRAM, "?type=datagram"),
    KIND(FIFO, "fifo", .near = "fifo:///tmp/%s.fifo", .reach = HOST, .bounded = "a named pipe ends at its host",
         .burden = 2, .asks = "a path"),
    KIND(PIPE, "pipe", .near = "pipe://", .reach = HOST, .bounded = "a pipe ends at its host", .burden = 1,
         .asks = "a child that inherits it", .heir = true),
    KIND(TCP, "tcp", .near = "tcp://127.0.0.1:" PORT, .reach = WORLD, .burden = 3, .asks = "a host and a port"),
    KIND(UDP, "udp", .near = "udp://127.0.0.1:" PORT, .reach = WORLD, .burden = 4, .asks = "a host and a port"),
    KIND(MQ, "mq", .near = "mq://%s", .reach = USERS,
         .bounded = "the kernel's message queues are those of one host and one IPC namespace", .burden = 4,
         .asks = "a name, room under the limits of fs.mqueue, and thirl clean for what is left"),
    KIND(SYSV, "sysv", .near = "sysv://%s", .reach = USERS,
         .bounded = "the kernel's message queues are those of one host and one IPC namespace", .burden = 5,
         .asks = "a name, room under the limits of kernel.msg*, and thirl clean for what is left"),
    KIND(SIG, "sig", .near = "sig://PID", .reach = HERE, .bounded = "a signal goes to a process of the same user",
         .burden = 3, .asks = "the watcher's pid, and a signal that nobody else uses"),
};

/* ---- the wish ---- */

static int adopt(struct thirl_wish *wish, const struct thirl_wish *given) {
    *wish = THIRL_WISH;
    if (given == NULL) {
        return err_say(EINVAL, "thirl_advise: there is no wish (NULL)");
    }
    if (given->size < sizeof given->size || given->size > 65536) {
        return err_say(EINVAL, "thirl_wish.size is %zu; set the wish to THIRL_WISH first", given->size);
    }
    const char *bytes = (const char *)given;
    for (size_t i = sizeof *wish; i < given->size; i++) {
        if (bytes[i] != 0) {
            return err_say(THIRL_EVERSION,
                           "the program wishes something at byte %zu that thirl " THIRL_VERSION
                           " does not know: it knows %zu bytes",
                           i, sizeof *wish);
        }
    }
    memcpy(wish, given, given->size < sizeof *wish ? given->size : sizeof *wish);
    wish->size = sizeof *wish;
    return 0;
}

/* Of two roles that belong together the one that sends. */
static uint32_t sender(uint32_t role) {
    switch (role) {
    case 0:
        return THIRL_PAIR;
    case THIRL_READ:
        return THIRL_WRITE;
    case THIRL_PULL:
        return THIRL_PUSH;
    case THIRL_WATCH:
        return THIRL_NOTIFY;
    case THIRL_SUB:
        return THIRL_PUB;
    case THIRL_SERVE:
        return THIRL_CALL;
    default:
        return role;
    }
}

static int complete(struct thirl_wish *wish) {
    if (wish->role > THIRL_SERVE || wish->across > THIRL_ACROSS_HOSTS || wish->priority > THIRL_PRIORITY_SIMPLICITY ||
        wish->wait > THIRL_WAIT_SLEEP) {
        return err_say(EINVAL, "thirl_advise: role, across, priority or wait is out of its range; see thirl/advise.h");
    }
    if (wish->child && wish->across == THIRL_ACROSS_HOSTS) {
        return err_say(EINVAL, "thirl_advise: a child is never on another host");
    }
    wish->role = sender(wish->role);
    wish->bytes = wish->bytes != 0 ? wish->bytes : wish->role == THIRL_NOTIFY ? 4 : 64;
    wish->largest = wish->largest > wish->bytes ? wish->largest : wish->bytes;
    wish->senders = wish->senders == 0 ? 1 : wish->senders;
    wish->receivers = wish->receivers == 0 ? 1 : wish->receivers;
    wish->levels = wish->levels == 0 ? 1 : wish->levels;
    wish->trust = wish->trust || wish->across == THIRL_ACROSS_USER;
    wish->name = wish->name == NULL ? "NAME" : wish->name;
    return 0;
}

/* ---- figures ---- */

static const char *size_text(char text[32], double bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++) {
        bytes /= 1024;
    }
    (void)snprintf(text, 32, "%.4g %s", bytes, units[unit]);
    return text;
}

static const char *rate_text(char text[32], double rate) {
    (void)snprintf(text, 32, rate >= 1e6 ? "%.3g million" : "%.0f", rate >= 1e6 ? rate / 1e6 : rate);
    return text;
}

/* In which order figures of another wait stand for those that are wanted. An end that sleeps has no use for those of one that spins. */
static unsigned waits(const struct thirl_wish *wish, unsigned order[3]) {
    bool asleep = wish->wait == THIRL_WAIT_SLEEP ||
                  (wish->wait == THIRL_WAIT_ADAPTIVE && wish->rate != 0 && 1e9 / (double)wish->rate > ASLEEP_NS);
    order[0] = asleep ? THIRL_WAIT_SLEEP : wish->wait;
    order[1] = order[0] == THIRL_WAIT_ADAPTIVE ? THIRL_WAIT_SPIN : THIRL_WAIT_ADAPTIVE;
    order[2] = THIRL_WAIT_SLEEP;
    return asleep ? 2 : 3;
}

static bool find(const struct grade *grade, enum costs_mech mech, enum costs_pattern pattern, bool place,
                 struct costs_figure *figure) {
    unsigned order[3], count = waits(&grade->wish, order);
    figure->known = false;
    for (unsigned i = 0; i < (place && count == 2 ? 1 : count) && !figure->known; i++) {
        costs_find(&grade->costs, mech, pattern, order[i], place, grade->wish.bytes, figure);
    }
    return figure->known;
}

static bool makes_rounds(uint32_t role) {
    return role == THIRL_PAIR || role == THIRL_WRITE || role == THIRL_CALL;
}

/* Which pattern shows how many messages pass. */
static enum costs_pattern flow(const struct thirl_wish *wish) {
    if (wish->role == THIRL_CALL) {
        return COSTS_CALL;
    }
    if (wish->role == THIRL_PUB || (wish->role == THIRL_PUSH && wish->receivers > wish->senders)) {
        return COSTS_FANOUT;
    }
    return wish->role == THIRL_PUSH && wish->senders > 1 ? COSTS_FANIN : COSTS_ONEWAY;
}

static void measure(const struct grade *grade, struct grade_line *line, bool place) {
    const struct thirl_wish *wish = &grade->wish;
    struct costs_figure trip, way;
    enum costs_mech mech = line->kind->cost;
    bool rounds = makes_rounds(wish->role);
    enum costs_pattern many = flow(wish);
    bool trips = (wish->role == THIRL_CALL && find(grade, mech, COSTS_CALL, place, &trip)) ||
                 find(grade, mech, COSTS_RTT, place, &trip);
    bool flows = find(grade, mech, many, place, &way);
    double shared = 1;
    if (!flows && many != COSTS_ONEWAY && many != COSTS_CALL && find(grade, mech, COSTS_ONEWAY, place, &way)) {
        flows = true;
        shared = wish->role == THIRL_PUB && mech != COSTS_SHM && mech != COSTS_UDP ? wish->receivers : 1;
    }
    line->in_place = place;
    line->copies = place ? 0 : 2;
    line->known = trips || flows;
    line->p50 = line->p99 = line->per_second = line->cpu = 0;
    line->serial = false;
    if (flows) {
        line->per_second = way.per_second / shared;
        line->cpu = way.cpu * shared;
    }
    if (trips) {
        line->p50 = rounds ? trip.p50 : trip.p50 / 2;
        line->p99 = rounds ? trip.p99 : trip.p99 / 2;
        line->cpu = line->cpu > 0 ? line->cpu : rounds && wish->role == THIRL_CALL ? trip.cpu : trip.cpu / 2;
    }
    if (flows && !rounds && way.p50 > 0) {
        line->p50 = way.p50;
        line->p99 = way.p99;
    }
    if (line->per_second <= 0 && trips && trip.p50 > 0) {
        line->per_second = 1e9 / trip.p50;
        line->serial = true;
    }
}

static double key_of(const struct grade *grade, const struct grade_line *line) {
    switch (grade->wish.priority) {
    case THIRL_PRIORITY_THROUGHPUT:
        return line->per_second > 0 ? 1e9 / line->per_second : 0;
    case THIRL_PRIORITY_CPU:
        return line->cpu;
    case THIRL_PRIORITY_SIMPLICITY:
        return line->kind->burden + 1;
    default:
        return line->p50;
    }
}

/* A request is copied, and so is an event. */
static bool lends(const struct grade *grade, const struct grade_line *line) {
    uint32_t role = grade->wish.role;
    return line->kind->cost == COSTS_SHM && (role == THIRL_PAIR || role == THIRL_PUSH || role == THIRL_PUB);
}

/* Copied or in place, whichever is better. */
static void weigh(const struct grade *grade, struct grade_line *line) {
    struct grade_line other = *line;
    measure(grade, line, false);
    line->key = key_of(grade, line);
    if (!lends(grade, line)) {
        return;
    }
    measure(grade, &other, true);
    other.key = key_of(grade, &other);
    bool even = grade->wish.priority == THIRL_PRIORITY_SIMPLICITY;
    if (other.known && other.key > 0 && (line->key <= 0 || (!even && other.key < line->key))) {
        *line = other;
    }
}

/* ---- what cannot be ---- */

static bool __attribute__((format(printf, 2, 3))) lose(struct grade_line *line, const char *format, ...) {
    va_list list;
    va_start(list, format);
    (void)vsnprintf(line->reason, sizeof line->reason, format, list);
    va_end(list);
    return true;
}

static const char *role_text(uint32_t role) {
#define NAME(name, number, text) [THIRL_##name] = text,
    static const char *const names[] = {THIRL_ROLES(NAME)};
#undef NAME
    return names[role];
}

/* The largest message: what it is here, and what options can make of it. */
static uint64_t most(const struct grade_line *line, const struct thirl_limits *claims) {
    if (line->kind->type == THIRL_SEQPACKET) {
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        size_t queue = fd < 0 ? 0 : link_set_queue(fd, line->mech->queue, true);
        fd_close(&fd);
        uint64_t packet = queue > LINK_HEAD_ROOM ? queue - LINK_HEAD_ROOM : 0;
        packet = packet < LINK_PACKET_MAX ? packet : LINK_PACKET_MAX;
        return claims->message_max < packet ? claims->message_max : packet;
    }
    return line->mech->pool != 0 || claims->message_max == MECH_MAX ? MOST : claims->message_max;
}

static bool cannot_reach(const struct thirl_wish *wish, struct grade_line *line) {
    static const char *const whom[] = {"other processes", "other users", "other containers", "another host"};
    if (line->kind->heir && !wish->child) {
        return lose(line, "only a child of this process can have its other end");
    }
    if ((line->kind->reach & 1u << wish->across) == 0) {
        return lose(line, "does not reach %s: %s", whom[wish->across], line->kind->bounded);
    }
    return false;
}

static bool cannot_count(const struct thirl_wish *wish, struct grade_line *line, const struct thirl_limits *claims) {
    static const char *const froms[] = {[THIRL_CALL] = "caller", [THIRL_PUB] = "publisher"};
    const char *from = wish->role == THIRL_CALL || wish->role == THIRL_PUB ? froms[wish->role] : "sender";
    const char *to = wish->role == THIRL_CALL ? "server" : wish->role == THIRL_PUB ? "subscriber" : "receiver";
    if (claims->senders != 0 && wish->senders > claims->senders) {
        return lose(line, "has at most %u %s, and %u are wanted", claims->senders, from, wish->senders);
    }
    if (claims->receivers != 0 && wish->receivers > claims->receivers) {
        return lose(line, "has at most %u %s, and %u are wanted", claims->receivers, to, wish->receivers);
    }
    return false;
}

static bool cannot_promise(const struct thirl_wish *wish, struct grade_line *line, const struct thirl_limits *claims) {
    bool queue = line->kind->cost == COSTS_SHM || line->kind->cost == COSTS_MQ || line->kind->cost == COSTS_SYSV;
    if (!wish->trust && !claims->identity && wish->across != THIRL_ACROSS_HOSTS) {
        return lose(line, "nobody but the peer itself says who it is, and those who meet do not trust each other");
    }
    if (!claims->reliable && (line->mech->full & 1u << THIRL_FULL_BLOCK) == 0 && !wish->lossy) {
        return lose(line, "may lose messages");
    }
    if (wish->descriptors && !claims->descriptors) {
        return lose(line, "carries no descriptors");
    }
    if (wish->levels > 1 && claims->priorities < wish->levels) {
        return claims->priorities <= 1 ? lose(line, "has no priorities: all messages are equal")
                                       : lose(line, "has %u levels of priority", claims->priorities);
    }
    if (wish->kept && (wish->role != THIRL_PUSH || !queue)) {
        return lose(line, "keeps no messages while nobody is there");
    }
    return false;
}

/* The hard reasons, in the order in which somebody would ask. true: it has lost. */
static bool loses(const struct thirl_wish *wish, struct grade_line *line, const struct thirl_limits *claims) {
    char is[32], wanted[32];
    if ((line->mech->roles & 1u << wish->role) == 0) {
        return lose(line, "does not carry the role %s", role_text(wish->role));
    }
    if (cannot_reach(wish, line)) {
        return true;
    }
    uint64_t largest = wish->role == THIRL_WRITE ? UINT64_MAX : most(line, claims); /* a stream has no messages */
    if (wish->largest > largest) {
        return lose(line, "its largest message is of %s, and %s are wanted", size_text(is, (double)largest),
                    size_text(wanted, (double)wish->largest));
    }
    return cannot_count(wish, line, claims) || cannot_promise(wish, line, claims);
}

/* ---- addresses ---- */

static void __attribute__((format(printf, 2, 3))) append(char address[ADDR_MAX], const char *format, ...) {
    size_t used = strlen(address);
    va_list list;
    va_start(list, format);
    (void)vsnprintf(address + used, ADDR_MAX - used, format, list);
    va_end(list);
}

static void option(char address[ADDR_MAX], const char *name, uint64_t value) {
    append(address, "%c%s=%llu", strchr(address, '?') == NULL ? '?' : '&', name, (unsigned long long)value);
}

static void address_of(const struct grade *grade, struct grade_line *line, const struct thirl_limits *claims) {
    const struct thirl_wish *wish = &grade->wish;
    const struct grade_kind *kind = line->kind;
    const char *form = wish->across != THIRL_ACROSS_USER && kind->far != NULL ? kind->far : kind->near;
    const char *name = strstr(form, "%s");
    char *to = line->address;
    if (kind->cost == COSTS_UDP && wish->role == THIRL_PUB) {
        form = "udp://239.255.74.10@lo:" PORT; /* to all of a group */
    }
    append(to, "%.*s", name == NULL ? (int)strlen(form) : (int)(name - form), form);
    if (name != NULL) {
        append(to, "%.200s%s", wish->name, name + 2);
    }
    if (wish->across == THIRL_ACROSS_USERS && name != NULL) {
        append(to, "%cmode=0660", strchr(to, '?') == NULL ? '?' : '&');
    }
    if (line->mech->pool != 0 && wish->largest > line->mech->pool / 4) {
        option(to, "pool", 4 * wish->largest);
    }
    if (wish->largest > (claims->message_max > MECH_MAX ? claims->message_max : MECH_MAX)) {
        option(to, "max", wish->largest);
    }
    if (wish->descriptors) {
        option(to, "descriptors", 1);
    }
    if (wish->wait != THIRL_WAIT_ADAPTIVE) {
        append(to, "%cwait=%s", strchr(to, '?') == NULL ? '?' : '&', wish->wait == THIRL_WAIT_SPIN ? "spin" : "sleep");
    }
}

/* ---- the order ---- */

static int compare(const void *a, const void *b) {
    const struct grade_line *x = a, *y = b;
    if (x->fits != y->fits) {
        return x->fits ? -1 : 1;
    }
    if (x->fits && (x->key > 0) != (y->key > 0)) {
        return x->key > 0 ? -1 : 1;
    }
    if (x->fits && x->key != y->key) {
        return x->key < y->key ? -1 : 1;
    }
    if (x->fits && x->kind->burden != y->kind->burden) {
        return x->kind->burden < y->kind->burden ? -1 : 1;
    }
    return x->kind < y->kind ? -1 : 1;
}

static void explain(const struct grade *grade, struct grade_line *line, unsigned fits) {
    const struct grade_line *first = &grade->line[0];
    bool rounds = makes_rounds(grade->wish.role);
    const char *what = grade->wish.priority == THIRL_PRIORITY_THROUGHPUT ? "time for each message"
                       : grade->wish.priority == THIRL_PRIORITY_CPU      ? "processor time for each message"
                       : rounds                                          ? "time for a round trip"
                                                                         : "time for a message";
    if (fits == 1) {
        (void)lose(line, "the only one that can do it; asks for %s", line->kind->asks);
    } else if (grade->wish.priority == THIRL_PRIORITY_SIMPLICITY) {
        (void)(line == first ? lose(line, "asks for the least of the %u that can do it: %s", fits, line->kind->asks)
                             : lose(line, "can do it; asks for %s", line->kind->asks));
    } else if (line->key <= 0) {
        (void)lose(line, "can do it, but its %s was not measured; asks for %s", what, line->kind->asks);
    } else if (line == first) {
        (void)lose(line, "the shortest %s of the %u that can do it; asks for %s%s", what, fits, line->kind->asks,
                   line->in_place ? "; by loan, put and take" : "");
    } else {
        (void)lose(line, "%.*f times the %s of %s; asks for %s", line->key < 9.95 * first->key ? 1 : 0,
                   line->key / first->key, what, costs_names[first->kind->cost], line->kind->asks);
    }
}

static bool too_slow(const struct grade *grade, struct grade_line *line) {
    char is[32], wanted[32], bytes[32];
    double rate = (double)grade->wish.rate;
    return rate > 0 && line->per_second > 0 && !line->serial && rate > line->per_second &&
           lose(line, "carries about %s messages of %s a second, and %s are wanted", rate_text(is, line->per_second),
                size_text(bytes, (double)grade->wish.bytes), rate_text(wanted, rate));
}

int grade_all(struct grade *grade, const struct thirl_wish *given) {
    memset(grade, 0, sizeof *grade);
    int rc = adopt(&grade->wish, given);
    rc = rc != 0 ? rc : complete(&grade->wish);
    rc = rc != 0 ? rc : costs_open(&grade->costs);
    if (rc != 0) {
        return rc;
    }
    unsigned fits = 0;
    for (size_t i = 0; i < COSTS_MECH_COUNT; i++) {
        struct grade_line *line = &grade->line[i];
        struct thirl_limits claims = {.size = sizeof claims};
        line->kind = &kinds[i];
        const struct mech *mech = mech_find(line->kind->scheme, strlen(line->kind->scheme));
        mech = line->kind->type == THIRL_DATAGRAM ? mech->datagram : mech;
        line->mech = mech_for(mech, (enum thirl_role)grade->wish.role);
        line->mech->claims(&claims);
        if ((line->mech->roles & 1u << grade->wish.role) != 0) { /* else its figures say nothing */
            weigh(grade, line);
        }
        address_of(grade, line, &claims);
        line->fits = !loses(&grade->wish, line, &claims) && !too_slow(grade, line);
        fits += line->fits;
    }
    qsort(grade->line, COSTS_MECH_COUNT, sizeof *grade->line, compare);
    for (size_t i = 0; i < fits; i++) {
        explain(grade, &grade->line[i], fits);
    }
    return 0;
}

void grade_free(struct grade *grade) {
    costs_free(&grade->costs);
}

const struct grade_line *grade_named(const struct grade *grade) {
    const struct grade_line *best = NULL;
    for (size_t i = 0; i < COSTS_MECH_COUNT; i++) {
        const struct grade_line *line = &grade->line[i];
        if (line->fits && line->kind->named && (best == NULL || (!grade->costs.here && line->kind < best->kind))) {
            best = line;
        }
    }
    return best;
}

const char *grade_reason(const struct grade *grade, enum costs_mech mech) {
    size_t i = 0;
    while (grade->line[i].kind->cost != mech) { /* each has a line */
        i++;
    }
    return grade->line[i].reason;
}
