/* SPDX-License-Identifier: MIT
 *
 * Agreeing on a mechanism, see auto.h.
 */
#define _GNU_SOURCE
#include "mech/auto.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/grade.h"
#include "mech/seal.h"
#include "wire/topic.h"

#define MAGIC "thirlaut"
#define VERSION 1
#define PREFIX_LENGTH 6             /* "%auto.": what the name of the channel has before that of one in shared memory */
#define SOCKET "sock"               /* in the channel's directory, where it is a Unix socket */
#define PATH_MOST 107               /* of a Unix socket */
#define LARGEST (UINT64_C(1) << 20) /* what must pass where nobody says how large messages are */

struct note { /* the file */
    char magic[8];
    uint32_t version, zero;
    char mechanism[16]; /* as in costs_names */
    char why[232];
};

/* ---- the note ---- */

static int read_note(int dir, struct note *note) {
    int fd = openat(dir, "choice", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    ssize_t got = fd_read_at(fd, note, sizeof *note, 0);
    fd_close(&fd);
    if (got < 0) {
        return (int)got;
    }
    note->mechanism[sizeof note->mechanism - 1] = note->why[sizeof note->why - 1] = '\0';
    return got == (ssize_t)sizeof *note && memcmp(note->magic, MAGIC, sizeof note->magic) == 0 ? 0 : -THIRL_EFORMAT;
}

static int write_note(int dir, const struct note *note, unsigned mode) {
    (void)unlinkat(dir, "choice~", 0);
    int fd = openat(dir, "choice~", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int rc = fd < 0 || fchmod(fd, mode) != 0 ? -errno : fd_write(fd, note, sizeof *note);
    fd_close(&fd);
    weave("auto.note.written");
    if (rc == 0 && linkat(dir, "choice~", dir, "choice", 0) != 0) {
        rc = -errno;
    }
    weave("auto.note.linked");
    (void)unlinkat(dir, "choice~", 0);
    return rc;
}

/* ---- choosing ---- */

/* Is there a channel in shared memory of that name: ends of the living, or messages that wait for somebody? */
static bool is_there(const struct roll *roll) {
    char path[300];
    (void)snprintf(path, sizeof path, "chan/%s", roll->name + PREFIX_LENGTH);
    int dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *list = dir < 0 ? NULL : roll_list(dir);
    bool there = false;
    for (struct dirent *entry; list != NULL && !there && (entry = readdir(list)) != NULL;) {
        struct roll_end end;
        const char *kind;
        there = roll_parse(entry->d_name, &end, &kind) && (node_alive(end.node) || strcmp(kind, "claim") == 0);
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    fd_close(&dir);
    return there;
}

static int grade_for(struct grade *grade, enum thirl_role role, const struct thirl_options *options) {
    struct thirl_wish wish = THIRL_WISH;
    uint64_t small = role == THIRL_NOTIFY || role == THIRL_WATCH ? 4 : 64;
    wish.role = role;
    wish.across = (options->mode & 0077) != 0 ? THIRL_ACROSS_USERS : THIRL_ACROSS_USER;
    wish.trust = options->trust != 0;
    wish.wait = options->wait;
    wish.descriptors = options->descriptors != 0;
    wish.bytes = options->bytes != 0 ? options->bytes : small;
    wish.largest = options->max != 0     ? options->max
                   : options->bytes != 0 ? options->bytes
                   : small == 4          ? small
                                         : LARGEST;
    return grade_all(grade, &wish);
}

static int choose(const struct roll *roll, enum thirl_role role, const struct thirl_options *options,
                  const char *address, struct note *note) {
    struct grade grade;
    *note = (struct note){.magic = MAGIC, .version = VERSION};
    if (is_there(roll)) {
        (void)snprintf(note->mechanism, sizeof note->mechanism, "%s", costs_names[COSTS_SHM]);
        (void)snprintf(note->why, sizeof note->why, "a channel of that name is there already");
        return 0;
    }
    int rc = grade_for(&grade, role, options);
    if (rc != 0) {
        return rc;
    }
    const struct grade_line *best = grade_named(&grade);
    if (best == NULL) {
        rc = err_say(EOPNOTSUPP,
                     "%s: no mechanism that a name is enough for can do that: shared memory %s, a Unix socket %s",
                     address, grade_reason(&grade, COSTS_SHM), grade_reason(&grade, COSTS_UNIX));
    } else {
        const char *whose = grade.wish.across == THIRL_ACROSS_USER ? "only one user's processes may open it"
                            : grade.wish.trust                     ? "those who may open it trust each other"
                                                                   : "those who may open it need not trust each other";
        (void)snprintf(note->mechanism, sizeof note->mechanism, "%s", costs_names[best->kind->cost]);
        (void)snprintf(note->why, sizeof note->why, "%s%s", whose,
                       grade.costs.here ? ", and of what a name is enough for it costs least here" : "");
    }
    grade_free(&grade);
    return rc;
}

/* Under the lock: what was chosen, or is now. */
static int settle(const struct roll *roll, enum thirl_role role, const struct thirl_options *options,
                  const char *address, struct note *note) {
    unsigned mode = options->mode == 0 ? 0600 : options->mode;
    if (roll->alone) {
        (void)unlinkat(roll->dir, "choice", 0); /* of those who are gone */
    }
    int rc = read_note(roll->dir, note);
    if (rc == -ENOENT) {
        rc = choose(roll, role, options, address, note);
        if (rc != 0) {
            return rc;
        }
        rc = write_note(roll->dir, note, mode);
        return rc == 0 ? 0 : err_system(-rc, "%s: what was chosen cannot be written to the registry", address);
    }
    if (rc == -THIRL_EFORMAT) {
        return err_say(THIRL_EFORMAT, "the registry file chan/%s/choice is not thirl's, or is damaged: remove it",
                       roll->name);
    }
    if (rc == 0 && note->version != VERSION) {
        return err_say(THIRL_EVERSION, "%s was chosen for by layout %u, this library has layout %d", address,
                       note->version, VERSION);
    }
    return rc == 0 ? 0 : err_system(-rc, "%s: what was chosen cannot be read from the registry", address);
}

/* ---- what that means here ---- */

/* The socket of a channel, by a path that fits: through its directory, which is open, where the registry's own is too long. */
static void place_socket(const struct roll *roll, char rest[ADDR_MAX]) {
    char fd[40], path[512];
    (void)snprintf(fd, sizeof fd, "/proc/self/fd/%d", roll->dir);
    ssize_t length = readlink(fd, path, sizeof path);
    bool fits = length > 0 && (size_t)length + sizeof "/" SOCKET <= PATH_MOST;
    (void)snprintf(rest, ADDR_MAX, "%.*s/" SOCKET, fits ? (int)length : (int)strlen(fd), fits ? path : fd);
}

static void show(char over[ADDR_MAX], const char *mechanism, const char *name) {
    (void)snprintf(over, ADDR_MAX, strcmp(mechanism, costs_names[COSTS_SHM]) == 0 ? "%s://%.200s" : "%s", mechanism,
                   name);
}

/* *mech becomes what carries it, and addr what its open wants. */
static int become(struct auto_seat *seat, const struct note *note, const struct mech **mech, const char *address,
                  struct addr *addr) {
    static const struct {
        enum costs_mech mech;
        uint32_t type;
    } known[] = {{COSTS_SHM, 0}, {COSTS_UNIX, 0}, {COSTS_SEQPACKET, THIRL_SEQPACKET}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(costs_names[known[i].mech], note->mechanism) == 0) {
            bool shm = known[i].mech == COSTS_SHM;
            show(seat->over, note->mechanism, addr->rest);
            (void)snprintf(seat->why, sizeof seat->why, "%s", note->why);
            *mech = shm ? &mech_shm : &mech_unix;
            addr->options.type = known[i].type;
            if (!shm) {
                place_socket(&seat->roll, addr->rest);
            }
            return 0;
        }
    }
    return err_say(THIRL_EVERSION, "%s was opened over %s, which this library does not know", address, note->mechanism);
}

/* ---- agreeing ---- */

static unsigned pattern_of(enum thirl_role role) {
    static const unsigned patterns[] = {
        [THIRL_PAIR] = ROLL_PAIR,  [THIRL_WRITE] = ROLL_STREAM, [THIRL_READ] = ROLL_STREAM, [THIRL_PUSH] = ROLL_QUEUE,
        [THIRL_PULL] = ROLL_QUEUE, [THIRL_PUB] = ROLL_CAST,     [THIRL_SUB] = ROLL_CAST,    [THIRL_CALL] = ROLL_CALL,
        [THIRL_SERVE] = ROLL_CALL, [THIRL_NOTIFY] = ROLL_EVENT, [THIRL_WATCH] = ROLL_EVENT};
    return patterns[role];
}

/* Makes this end a member, of whom a file speaks that goes with it. */
static int enter(const struct roll *roll, const char *address) {
    char file[ROLL_FILE_MAX];
    roll_file(file, roll->self, "auto");
    weave("auto.enter.before");
    int fd = openat(roll->dir, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? err_system(errno, "%s: the registry cannot be written", address) : 0;
    fd_close(&fd);
    weave("auto.enter.after");
    return rc;
}

static int refuse(const struct thirl_options *options, const char *address) {
    if (options->raw != 0) {
        return err_say(EOPNOTSUPP,
                       "%s: ?raw is for programs that do not know thirl, and those cannot agree on a mechanism",
                       address);
    }
    return options->type == 0
               ? 0
               : err_say(EOPNOTSUPP, "%s: ?type= is for unix://, and auto:// chooses by itself", address);
}

int auto_agree(struct auto_seat *seat, const struct mech **mech, enum thirl_role role, const char *address,
               struct addr *addr) {
    struct thirl_options *options = &addr->options;
    struct note note = {.version = 0};
    seat->joined = false;
    memcpy(seat->name, addr->rest, sizeof seat->name);
    int rc = refuse(options, address);
    if (rc == 0 && topic_wild(addr->rest)) { /* not one channel: only shared memory has patterns */
        *mech = &mech_shm;
        show(seat->over, costs_names[COSTS_SHM], addr->rest);
        (void)snprintf(seat->why, sizeof seat->why, "a pattern of topics is for shared memory only");
        return 0;
    }
    rc = rc != 0 ? rc : node_join();
    if (rc != 0) {
        return rc;
    }
    int64_t patience = options->timeout > 0 ? options->timeout : 30 * CLOCK_S;
    rc = roll_begin(&seat->roll, "auto", addr->rest, pattern_of(role) | seal_kind(options) * ROLL_CRC, false, false,
                    options->mode == 0 ? 0600 : options->mode, clock_after(clock_now(), patience));
    if (rc != 0) {
        return rc;
    }
    rc = settle(&seat->roll, role, options, address, &note);
    rc = rc != 0 ? rc : become(seat, &note, mech, address, addr);
    rc = rc != 0 ? rc : enter(&seat->roll, address);
    if (rc != 0) {
        roll_cancel(&seat->roll);
        return rc;
    }
    rc = roll_finish(&seat->roll);
    seat->joined = rc == 0;
    weave("auto.agree.after");
    return rc;
}

void auto_leave(struct auto_seat *seat) {
    if (seat->joined) {
        weave("auto.leave.before");
        roll_leave(&seat->roll);
        roll_deinit(&seat->roll);
        seat->joined = false;
        weave("auto.leave.after");
    }
}

bool auto_look(const char *address, char over[ADDR_MAX], char why[256]) {
    static const char scheme[] = "auto://";
    struct addr addr;
    struct note note;
    char name[256], path[300];
    if (strncmp(address, scheme, sizeof scheme - 1) != 0 || addr_parse(&addr, address, NULL) != 0 ||
        roll_encode(name, "auto", addr.rest) != 0) {
        return false;
    }
    (void)snprintf(path, sizeof path, "chan/%s", name);
    int dir = openat(node_dir(), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int rc = dir < 0 ? -errno : read_note(dir, &note);
    fd_close(&dir);
    if (rc != 0) {
        return false;
    }
    show(over, note.mechanism, addr.rest);
    (void)snprintf(why, 256, "%s", note.why);
    return true;
}

/* ---- in the table ---- */

/* What is true where nobody says anything of sizes and users. */
static void claim(enum thirl_role role, struct thirl_limits *limits) {
    const struct thirl_options none = THIRL_OPTIONS;
    struct grade grade;
    const struct mech *mech = mech_for(&mech_shm, role);
    if (grade_for(&grade, role, &none) == 0) {
        const struct grade_line *best = grade_named(&grade);
        mech = best != NULL ? best->mech : mech;
        grade_free(&grade);
    }
    mech->claims(limits);
}

#define PART(variable, first, carried, next)                                                                           \
    static void claims_##first(struct thirl_limits *limits) {                                                          \
        claim(THIRL_##first, limits);                                                                                  \
    }                                                                                                                  \
    variable = {.scheme = "auto",                                                                                      \
                .summary = "what is best for the role, the size of messages and who may come; all who open it agree",  \
                .roles = (carried),                                                                                    \
                .claims = claims_##first,                                                                              \
                .kin = (next)}
PART(static const struct mech auto_call, CALL, 1u << THIRL_CALL | 1u << THIRL_SERVE, NULL);
PART(static const struct mech auto_cast, PUB, 1u << THIRL_PUB | 1u << THIRL_SUB, &auto_call);
PART(static const struct mech auto_event, NOTIFY, 1u << THIRL_NOTIFY | 1u << THIRL_WATCH, &auto_cast);
PART(static const struct mech auto_queue, PUSH, 1u << THIRL_PUSH | 1u << THIRL_PULL, &auto_event);
PART(const struct mech mech_auto, PAIR, 1u << THIRL_PAIR | 1u << THIRL_WRITE | 1u << THIRL_READ, &auto_queue);
