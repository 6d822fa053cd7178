/* SPDX-License-Identifier: MIT
 *
 * What the two say and do.
 */
#define _GNU_SOURCE
#include "tests/conform/play.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/conform/stage.h"

#define LATE 2500 /* ms, and how much later its answer may be on a busy machine */

static const struct play_group groups[] = {
    {"pair", THIRL_PAIR, THIRL_PAIR, false, NULL},        {"writer", THIRL_WRITE, THIRL_READ, false, NULL},
    {"reader", THIRL_READ, THIRL_WRITE, false, NULL},     {"push", THIRL_PUSH, THIRL_PULL, false, NULL},
    {"pull", THIRL_PULL, THIRL_PUSH, false, NULL},        {"pub", THIRL_PUB, THIRL_SUB, false, NULL},
    {"sub", THIRL_SUB, THIRL_PUB, false, NULL},           {"call", THIRL_CALL, THIRL_SERVE, false, NULL},
    {"serve", THIRL_SERVE, THIRL_CALL, false, NULL},      {"notify", THIRL_NOTIFY, THIRL_WATCH, false, NULL},
    {"watch", THIRL_WATCH, THIRL_NOTIFY, false, NULL},    {"pattern", THIRL_SUB, THIRL_PUB, true, NULL},
    {"block", THIRL_PUB, THIRL_SUB, false, "full=block"},
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
enum word_kind { OPEN, JOIN, OPENED, SEND, GOT, CLOSE, CLOSED };

struct word {
    uint32_t kind, number; /* of GOT: of the message, of SEND: that it is to have; of OPEN and JOIN: its patience, ms */
    int32_t victim;        /* whose SEND it is: for signals */
};

static const struct play_scene *scene;
static struct conform where;
static int wire; /* to the other one */
static pid_t other_pid;
static struct play_told *told;

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
    static char wanted[PLAY_LARGE];
    uint32_t number = 0;
    must(size <= PLAY_LARGE && size > 0);
    memcpy(&number, bytes, size < sizeof number ? size : sizeof number);
    compose(wanted, size, number);
    must(memcmp(bytes, wanted, size) == 0);
    return number;
}

static size_t size_of(uint32_t number, uint64_t most) {
    size_t size = scene->group->mine == THIRL_NOTIFY || scene->group->mine == THIRL_WATCH ? 4
                  : number % 4 == 3                                                       ? PLAY_LARGE
                                                                                          : PLAY_SMALL;
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
    const struct play_group *group = scene->group;
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
    char bytes[PLAY_LARGE];
};

static void reopen(struct other *o) {
    must(thirl_close(&o->end, THIRL_NOW) >= 0);
    int64_t until = conform_now() + PLAY_WHOLE * MS;
    int rc;
    do {
        rc = open_end(&o->end, scene->group->theirs, scene->group->theirs == THIRL_WATCH ? getpid() : o->victim);
    } while (rc != 0 && conform_now() < until && (conform_sleep(MS), true));
    must_be(rc, 0);
    o->last = 0;
}

static void note(int rc) {
    if (rc == -THIRL_EPEERDIED && told->rc == 0) {
        (void)snprintf(told->why, sizeof told->why, "%s", thirl_why());
        told->rc = rc;
    }
}

static void serve_one(struct other *o) {
    thirl_msg *msg = NULL;
    if (counts_bytes(scene->group->theirs)) {
        size_t got = 0;
        int rc = thirl_recv(o->end, o->bytes, sizeof o->bytes, &got, THIRL_NOW);
        if (rc == 0 && got > 0) tell(GOT, (uint32_t)got);
        note(rc);
        if (rc == THIRL_END || (rc < 0 && rc != -EAGAIN)) reopen(o);
        return;
    }
    int rc = thirl_take(o->end, &msg, THIRL_NOW);
    note(rc);
    if (rc == -THIRL_ECLOSED) {
        reopen(o);
    }
    if (rc != 0) return;
    uint32_t number = look_at(thirl_msg_data(msg), thirl_msg_size(msg));
    must(number > o->last || thirl_msg_again(msg) || scene->group->theirs == THIRL_WATCH);
    o->last = number;
    tell(GOT, number);
    if (scene->group->theirs == THIRL_PAIR) {
        (void)!thirl_send(o->end, thirl_msg_data(msg), thirl_msg_size(msg), thirl_in_ms(o->patience));
    }
    if (scene->group->theirs == THIRL_SERVE) {
        (void)!thirl_reply(o->end, &msg, thirl_msg_data(msg), thirl_msg_size(msg), thirl_in_ms(o->patience));
    } else {
        thirl_free(&msg);
    }
}

static void send_one(struct other *o, uint32_t number) {
    uint64_t most = counts_bytes(scene->group->theirs) ? PLAY_LARGE : most_of(o->end);
    size_t size = compose(o->bytes, size_of(number, most), number);
    thirl_msg *reply = NULL;
    if (scene->group->theirs == THIRL_CALL) {
        if (thirl_call(o->end, o->bytes, size, &reply, thirl_in_ms(o->patience)) == 0) {
            must_be(look_at(thirl_msg_data(reply), thirl_msg_size(reply)), number);
            tell(GOT, number);
        }
        thirl_free(&reply);
    } else {
        int rc = 0;
        for (int tries = 0; tries < 3; tries++) { /* it may hear first what became of the one before */
            rc = thirl_send(o->end, o->bytes, size, thirl_in_ms(o->patience));
            note(rc);
            if (rc != -THIRL_EPEERDIED && rc != -THIRL_ECLOSED) break;
            if (rc == -THIRL_ECLOSED) reopen(o);
        }
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
        case JOIN:
            o.victim = word.victim;
            o.patience = word.number;
            if (word.kind == OPEN || o.end == NULL) reopen(&o);
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

static thirl_time soon(const struct play_pass *p) {
    return thirl_in_ms(p->calm ? PLAY_WHOLE : p->whole ? 1000 : PLAY_HURT);
}

static void arm(struct play_pass *p, bool on) {
    if (p->armed != NULL) {
        *p->armed = on && !p->whole;
    }
}

/* What a call answered while something failed. */
static int answer(struct play_pass *p, int rc, int64_t begun, const char *call) {
    arm(p, false);
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
        arm(p, true);                                                                                                  \
        int try_rc = (call);                                                                                           \
        answer(p, try_rc, begun, #call);                                                                               \
    })

static void accept_number(struct play_pass *p, uint32_t number) {
    /* Events that are told several times have no order, and jobs only those of one pusher, of whom many may have left some. */
    must(number > p->last || scene->group->mine == THIRL_WATCH || scene->group->mine == THIRL_PULL);
    p->last = number;
}

static int receive(struct play_pass *p, int how) {
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
    arm(p, true);
    thirl_free(&msg);
    arm(p, false);
    return rc;
}

static int transmit(struct play_pass *p, int how, size_t size) {
    thirl_msg *msg = NULL;
    int rc;
    compose(p->bytes, size, p->number);
    if (scene->group->mine == THIRL_CALL) {
        rc = TRY(thirl_call(p->end, p->bytes, size, &msg, soon(p)));
        if (rc == 0) must_be(look_at(thirl_msg_data(msg), thirl_msg_size(msg)), p->number);
        must(rc == 0 || msg == NULL);
        arm(p, true);
        thirl_free(&msg);
        arm(p, false);
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
static bool has_got(struct play_pass *p, int ms) {
    struct word word;
    for (int64_t until = conform_now() + ms * MS;;) {
        int64_t left = (until - conform_now()) / MS;
        if (!hear(&word, left > 0 ? (int)left : 0)) return false;
        if (word.kind == GOT && (word.number == p->number || counts_bytes(scene->group->mine))) {
            p->heard = p->number;
            return true;
        }
    }
}

/* One message there, or from there, or there and back; where nothing fails, as often as it takes. */
static void exchange(struct play_pass *p, int how) {
    int64_t until = conform_now() + PLAY_WHOLE * MS;
    enum thirl_role mine = scene->group->mine;
    bool there = false;
    arm(p, false);
    uint64_t most = counts_bytes(mine) ? PLAY_LARGE : most_of(p->end);
    do {
        p->number++;
        size_t size = size_of(how == 2 ? 3 : 0, most);
        if (sends(mine)) {
            int rc = transmit(p, how, size);
            p->sent = rc >= 0 ? p->number : p->sent;
            there = rc >= 0 && (mine == THIRL_CALL || mine == THIRL_PAIR ||
                                has_got(p, p->calm    ? PLAY_WHOLE
                                           : p->whole ? 300
                                                      : PLAY_HURT / 2));
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
        must(hear(&word, PLAY_WHOLE));
    } while (word.kind != kind);
}

static int open_mine(struct play_pass *p) {
    int64_t until = conform_now() + PLAY_WHOLE * MS;
    int rc;
    do {
        rc = TRY(open_end(&p->end, scene->group->mine, scene->group->mine == THIRL_NOTIFY ? where.stage : getpid()));
    } while (p->whole && rc != 0 && conform_now() < until);
    must(rc == 0 || p->end == NULL);
    must(rc == 0 || !p->whole);
    return rc;
}

static void invite(struct play_pass *p) {
    tell(p->joins ? JOIN : OPEN, p->calm && !p->joins ? PLAY_WHOLE : p->whole || p->joins ? 1000 : PLAY_HURT);
    await(OPENED);
}

/* Opens, does all there is to do, closes. */
void play_run(struct play_pass *p) {
    where.stage = scene->group->mine == THIRL_NOTIFY ? other_pid : getpid();
    if (!scene->first) {
        invite(p);
    }
    int rc = open_mine(p);
    if (scene->first) {
        invite(p);
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
    if (!p->joins) {
        tell(CLOSE, 0);
        await(CLOSED);
    }
}

/* ---- the piece ---- */

bool play_find(struct play_scene *s, const struct conform *c, const char *group, bool first) {
    const struct play_group *found = groups;
    while (strcmp(found->name, group) != 0) {
        found++;
    }
    *s = (struct play_scene){.line = c->line, .group = found, .first = first};
    (void)snprintf(s->name, sizeof s->name, "%.40s %s %s", c->line->name, group, first ? "first" : "second");
    return strcmp(c->line->name, "sig") != 0 || found->mine != THIRL_WATCH ||
           first; /* who notifies wants the other one to be there */
}

void play_begin(const struct conform *c, const struct play_scene *s) {
    int wires[2];
    scene = s;
    where = *c;
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(told != MAP_FAILED);
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

int play_over(void) {
    close(wire);
    (void)munmap(told, sizeof *told);
    return stage_await(other_pid, 10000);
}

bool play_arrived(const struct play_pass *p, int ms) {
    enum thirl_role mine = scene->group->mine;
    struct word word;
    if (!sends(mine) || counts_bytes(mine) || mine == THIRL_NOTIFY) return true;
    for (int64_t until = conform_now() + ms * MS; p->sent != p->heard;) {
        int64_t left = (until - conform_now()) / MS;
        if (!hear(&word, left > 0 ? (int)left : 0)) return false;
        if (word.kind == GOT && word.number == p->sent) return true;
    }
    return true;
}

unsigned play_descriptors(void) {
    char path[40];
    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)other_pid);
    return conform_lines_of(path);
}

const struct play_told *play_told(void) {
    return told;
}

void play_forget(void) {
    told->rc = 0;
}

/* ---- what is left, and what is done ---- */

static unsigned files;

static int count_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    (void)path;
    (void)status;
    (void)kind;
    (void)at;
    files++;
    return 0;
}

unsigned play_files(void) {
    files = 0;
    (void)nftw(where.directory, count_one, 16, FTW_PHYS);
    return files + (strstr(where.line->prefix, "sysv") != NULL ? conform_lines_of("/proc/sysvipc/msg") : 0);
}

bool play_is_done(const char *variable, const char *wanted) {
    char line[96];
    bool found = false;
    FILE *list = getenv(variable) == NULL ? NULL : fopen(getenv(variable), "re");
    while (list != NULL && !found && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = strcmp(line, wanted) == 0;
    }
    if (list != NULL) {
        must_be(fclose(list), 0);
    }
    return found;
}

void play_note(const char *variable, const char *line) {
    FILE *list = getenv(variable) == NULL ? NULL : fopen(getenv(variable), "ae");
    if (list != NULL) {
        (void)fprintf(list, "%s\n", line);
        must_be(fclose(list), 0);
    }
}

void play_both(const struct conform *c, const char *group, const char *done, struct play_scene *s, bool (*play)(void)) {
    bool fine = true;
    for (int first = 0; first < 2; first++) {
        if (play_find(s, c, group, first != 0) && !play_is_done(done, s->name)) {
            bool well = play();
            fine = fine && well;
            if (well) play_note(done, s->name);
        }
    }
    must(fine);
}
