/* SPDX-License-Identifier: MIT
 *
 * sysv://: System V message queues as a carrier, and the mechanism that the engines make of it. A queue is known by its key and,
 * because a key may be anybody's, by the identifier that the kernel gave it: a place is "0xKEY.ID", and "0xKEY" from when it was
 * noted until it was made. Nothing here can be polled or waited for with a deadline: the engines see to that.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"
#include "mech/carried.h"
#include "mech/haste.h"
#include "mech/knell.h"

#define PACKET_USUAL 8192 /* the kernel's defaults */
#define QUEUE_USUAL 16384
#define FRAMED_MOST(bytes)                                                                                             \
    ((bytes) / 2 - (bytes) / 32) /* one can come while another goes, and an urgent one overtake both */
#define LEVELS 32768             /* of priority: type LEVELS is the lowest */
#define KEYS_TRIED 16
#define GROW_MOST ((size_t)64 << 20) /* no packet is larger than that */

struct packet { /* as the kernel wants it */
    long type;
    char data[];
};

struct sysv {
    int id;
    bool made, inbox, gone_is_end; /* gone_is_end: it sends to an inbox, which goes with its owner */
    key_t key;
    long type;          /* of all packets; 0: it follows from the priority */
    long wanted;        /* what is asked for when receiving */
    size_t size, bytes; /* of the largest packet, and of all that wait */
    size_t lacked;      /* bytes that there was no room for when last sending */
    struct haste haste; /* these calls block without a limit in time, or not at all */
    struct packet *packet;
};

static size_t sysctl_of(const char *name, size_t usual) {
    char path[64], text[32] = "";
    (void)snprintf(path, sizeof path, "/proc/sys/kernel/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : fd_read_at(fd, text, sizeof text - 1, 0);
    fd_close(&fd);
    unsigned long long value = got > 0 ? strtoull(text, NULL, 10) : 0;
    return value == 0 ? usual : value > GROW_MOST ? GROW_MOST : (size_t)value;
}

/* ---- keys and places ---- */

/* FNV-1a of the text, which the manual promises; never IPC_PRIVATE. */
static key_t key_of(const char *before, const char *text, size_t length) {
    uint32_t hash = UINT32_C(2166136261);
    for (; *before != '\0'; before++) {
        hash = (hash ^ (unsigned char)*before) * UINT32_C(16777619);
    }
    for (size_t i = 0; i < length; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT32_C(16777619);
    }
    return hash == (uint32_t)IPC_PRIVATE ? 1 : (key_t)hash;
}

static int say_name(const struct carrier_open *open) {
    return err_say(THIRL_EADDRESS,
                   "%s: a System V queue is called sysv://NAME or sysv://0xKEY, a key of 1 to 8 hexadecimal digits "
                   "that is not 0; ?raw may add the type of its messages: /TYPE, 1 to %ld",
                   open->address, LONG_MAX);
}

/* "0x1234abcd", all of it or up to `end`. */
static bool read_key(const char *text, size_t length, key_t *key) {
    char digits[11] = "";
    if (length < 3 || length > 10 || text[0] != '0' || text[1] != 'x') {
        return false;
    }
    memcpy(digits, text, length);
    char *end;
    *key = (key_t)(uint32_t)strtoul(digits + 2, &end, 16);
    return isxdigit((unsigned char)digits[2]) && *end == '\0';
}

/* The key that the address names, and the type, 0 if it names none. */
static int read_name(const struct carrier_open *open, key_t *key, long *type) {
    const char *rest = open->rest, *slash = open->options->raw != 0 ? strrchr(rest, '/') : NULL;
    size_t length = slash != NULL ? (size_t)(slash - rest) : strlen(rest);
    *type = 0;
    if (slash != NULL) {
        char *end;
        errno = 0;
        *type = strtol(slash + 1, &end, 10);
        if (!isdigit((unsigned char)slash[1]) || *end != '\0' || *type < 1 || errno != 0) {
            return say_name(open);
        }
    }
    if (read_key(rest, length, key)) {
        return *key == IPC_PRIVATE ? say_name(open) : 0;
    }
    if (length == 0 || (length > 1 && rest[0] == '0' && rest[1] == 'x')) {
        return say_name(open);
    }
    *key = key_of(open->options->raw != 0 ? "" : "thirl:", rest, length);
    return 0;
}

static void write_place(char place[CARRIER_PLACE_MAX], key_t key, int id) {
    int length = snprintf(place, CARRIER_PLACE_MAX, "0x%08x", (unsigned)key);
    if (id >= 0) {
        (void)snprintf(place + length, CARRIER_PLACE_MAX - (size_t)length, ".%d", id);
    }
}

/* *id is -1 when the place was only noted. */
static bool read_place(const char *place, key_t *key, int *id) {
    const char *dot = strchr(place, '.');
    *id = dot != NULL ? atoi(dot + 1) : -1;
    return read_key(place, dot != NULL ? (size_t)(dot - place) : strlen(place), key);
}

/* The queue with that key: -ENOENT when there is none, or what else keeps the kernel from saying. */
static int find(key_t key) {
    int id = msgget(key, 0);
    return id < 0 ? -errno : id;
}

/* Was it made by this user, and never used? Then it may be what somebody had noted before he was killed. */
static bool is_fresh(int id) {
    struct msqid_ds about;
    return msgctl(id, IPC_STAT, &about) == 0 && about.msg_stime == 0 && about.msg_perm.cuid == geteuid();
}

/* What is at a place now: its identifier, or as find: only what is known to be gone is. */
static int there(const char *place) {
    struct msqid_ds about;
    key_t key;
    int id;
    if (!read_place(place, &key, &id)) {
        return -ENOENT;
    }
    if (id >= 0 && msgctl(id, IPC_STAT, &about) == 0) {
        return about.msg_perm.__key == key ? id : -ENOENT;
    }
    if (id >= 0 && (errno == EIDRM || errno == EINVAL)) {
        return -ENOENT;
    }
    int found = find(key);
    return found >= 0 && (id >= 0 ? found != id : !is_fresh(found)) ? -ENOENT : found;
}

static int say_unknown(const char *what, int code) {
    return err_system(-code, "%s: the kernel does not say whether its System V queue is there", what);
}

static int say_foreign(const struct carrier_open *open, key_t key) {
    struct msqid_ds about = {0};
    int id = find(key);
    (void)msgctl(id, IPC_STAT, &about);
    return err_say(EEXIST,
                   "%s: the System V queue with the key 0x%08x, number %d, is not thirl's, or another registry's (uid "
                   "%u made it, pid %d "
                   "sent to it last): choose another name, use ?raw, or remove it (ipcrm -q %d)",
                   open->address, (unsigned)key, id, about.msg_perm.cuid, about.msg_lspid, id);
}

/* Names keep away from what others have: a queue is this channel's only if the registry says so. */
static int plan_named(const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    key_t key, noted;
    long type;
    int id, rc = read_name(open, &key, &type);
    if (rc != 0) {
        return rc;
    }
    write_place(place, key, -1);
    if (open->options->raw != 0) {
        return 0;
    }
    bool ours = read_place(open->place, &noted, &id) && noted == key;
    int found = ours ? there(open->place) : -ENOENT;
    if (found >= 0) {
        write_place(place, key, id);
        return 0;
    }
    found = found == -ENOENT ? find(key) : found;
    return found >= 0 ? say_foreign(open, key) : found == -ENOENT ? 0 : say_unknown(open->address, found);
}

static int plan(const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    if (open->kind == CARRIER_NAMED) {
        return plan_named(open, place);
    }
    if (open->kind == CARRIER_PLACE) {
        (void)snprintf(place, CARRIER_PLACE_MAX, "%s", open->place);
        return 0;
    }
    for (char salt[2] = "a"; *salt < 'a' + KEYS_TRIED; ++*salt) {
        key_t key = key_of(salt, open->key, strlen(open->key));
        int found = find(key);
        if (found == -ENOENT) {
            write_place(place, key, -1);
            return 0;
        }
        if (found < 0) {
            return say_unknown(open->address, found);
        }
    }
    return err_say(EEXIST, "%s: no key is free for a System V queue", open->address);
}

/* ---- opening ---- */

static int say_refused(const struct carrier_open *open, key_t key) {
    switch (errno) {
    case ENOSPC:
        return err_say(
            ENOSPC,
            "%s: there are as many System V queues as there may be, %zu: raise kernel.msgmni, or remove some (thirl "
            "clean; ipcs -q shows all)",
            open->address, sysctl_of("msgmni", 32000));
    case EACCES:
        return err_say(EACCES,
                       "%s: the System V queue with the key 0x%08x is another user's; widen with ?mode=", open->address,
                       (unsigned)key);
    default:
        return err_system(errno, "%s: the System V queue with the key 0x%08x cannot be made or opened", open->address,
                          (unsigned)key);
    }
}

/* More than kernel.msgmnb is for the privileged: the others get that much. */
static void set_bytes(const struct sysv *s, const struct carrier_open *open) {
    struct msqid_ds about;
    if (open->options->queue == QUEUE_USUAL || msgctl(s->id, IPC_STAT, &about) != 0) {
        return;
    }
    about.msg_qbytes = open->options->queue;
    if (msgctl(s->id, IPC_SET, &about) != 0) {
        about.msg_qbytes = sysctl_of("msgmnb", QUEUE_USUAL);
        (void)msgctl(s->id, IPC_SET, &about);
    }
}

static int make(struct sysv *s, const struct carrier_open *open) {
    int flags = (int)(open->options->mode & 0666) | IPC_CREAT | IPC_EXCL;
    weave("sysv.make.before");
    for (int tries = 0; s->id < 0 && tries < 8; tries++) {
        s->id = msgget(s->key, flags);
        s->made = s->id >= 0;
        if (s->id < 0 && errno == EEXIST && open->options->raw != 0) {
            s->id = msgget(s->key, s->wanted != 0 ? 0400 : 0200);
        } else if (s->id < 0 && errno == EEXIST) {
            s->id = find(s->key); /* made by somebody who was killed then */
            if (s->id >= 0 && !is_fresh(s->id)) {
                return say_foreign(open, s->key);
            }
            errno = s->id < 0 ? -s->id : 0;
        }
        if (s->id < 0 && errno != ENOENT) {
            return say_refused(open, s->key);
        }
    }
    weave("sysv.make.after");
    if (s->id < 0) {
        return err_say(EAGAIN, "%s: the System V queue with the key 0x%08x is removed as often as it is made",
                       open->address, (unsigned)s->key);
    }
    if (s->made) {
        set_bytes(s, open);
    }
    return 0;
}

static void measure(struct sysv *s, bool raw) {
    struct msqid_ds about;
    s->size = sysctl_of("msgmax", PACKET_USUAL);
    s->bytes = msgctl(s->id, IPC_STAT, &about) == 0 ? about.msg_qbytes : sysctl_of("msgmnb", QUEUE_USUAL);
    size_t most = raw ? s->bytes : FRAMED_MOST(s->bytes);
    s->size = s->size < most ? s->size : most;
}

static int open_slot(void *self, const struct carrier_open *open, char place[CARRIER_PLACE_MAX]) {
    struct sysv *s = self;
    char planned[CARRIER_PLACE_MAX] = "";
    bool raw = open->options->raw != 0; /* then it is a named one */
    *s = (struct sysv){.id = -1, .inbox = open->kind == CARRIER_INBOX, .gone_is_end = open->kind == CARRIER_PLACE};
    s->haste = (struct haste){.quiet = open->options->wait == THIRL_WAIT_SLEEP, .leads = true};
    int rc = plan(open, planned);
    if (rc == 0 && raw) {
        (void)read_name(open, &s->key, &s->type);
    }
    if (rc != 0 || !read_place(planned, &s->key, &s->id)) {
        return rc != 0 ? rc : -ENOENT;
    }
    /* The lowest type first; in an inbox all are equal, and the oldest is found sooner. */
    s->wanted = open->way == MECH_OUT || s->inbox ? 0 : s->type != 0 ? s->type : -LONG_MAX;
    if (open->kind == CARRIER_PLACE) {
        s->id = there(planned);
        rc = s->id >= 0 ? 0 : s->id == -ENOENT ? -ENOENT : say_unknown(open->address, s->id);
    } else if (s->id < 0) {
        rc = make(s, open);
    }
    if (rc == 0) {
        measure(s, raw);
        s->packet = malloc(sizeof *s->packet + s->size);
        rc = s->packet == NULL ? err_say(ENOMEM, "%s: no memory for a packet of %zu bytes", open->address, s->size) : 0;
    }
    if (rc == 0) {
        write_place(place, s->key, s->id);
    } else if (s->made) {
        (void)msgctl(s->id, IPC_RMID, NULL);
    }
    return rc;
}

static void close_slot(void *self) {
    struct sysv *s = self;
    free(s->packet);
    s->packet = NULL;
}

/* ---- packets ---- */

static __attribute__((noinline)) int say_gone(const struct sysv *s, int code) {
    return code == EIDRM || code == EINVAL
               ? err_say(EIDRM, "the System V queue with the key 0x%08x, number %d, was removed", (unsigned)s->key,
                         s->id)
               : err_system(code, "the System V queue with the key 0x%08x, number %d, cannot be used", (unsigned)s->key,
                            s->id);
}

SLOT int send_slot(void *self, const struct iovec *part, unsigned parts, const struct mech_note *note, bool wait) {
    struct sysv *s = self;
    size_t size = parts_size(part, parts);
    if (size > s->size) {
        return -EMSGSIZE;
    }
    if (part->iov_base != s->packet->data) {
        parts_gather(s->packet->data, part, parts);
    }
    s->packet->type = s->type != 0 ? s->type : LEVELS - (note == NULL ? 0 : (long)note->priority);
    struct haste_wait w = haste_begin(&s->haste, wait);
    int rc;
    do {
        rc = msgsnd(s->id, s->packet, size, IPC_NOWAIT);
    } while (haste_again(&s->haste, &w, rc != 0 && errno == EAGAIN) && !w.sleeps);
    if (likely(rc == 0)) {
        s->lacked = 0;
        return 0;
    }
    int code = errno;
    s->lacked = size;
    if (code == EAGAIN || code == EINTR || code == ENOMEM) {
        return -EAGAIN;
    }
    if (code == EINVAL && find(s->key) == s->id) {
        return -EMSGSIZE; /* kernel.msgmax was lowered */
    }
    return s->gone_is_end && code != EACCES ? -EPIPE : say_gone(s, code);
}

SLOT void *block_slot(void *self) {
    return ((struct sysv *)self)->packet->data;
}

/* Takes a packet away that is larger than any may be, and says how large it was. */
static __attribute__((noinline)) int take_away(struct sysv *s, size_t *size) {
    ssize_t got = -1;
    size_t room = s->size;
    do {
        struct packet *large = realloc(s->packet, sizeof *large + 2 * room);
        room = large == NULL ? room : 2 * room;
        s->packet = large == NULL ? s->packet : large;
        got = msgrcv(s->id, s->packet, room, s->wanted, IPC_NOWAIT | (large == NULL ? MSG_NOERROR : 0));
    } while (got < 0 && errno == E2BIG && room < GROW_MOST);
    *size = got < 0 ? 0 : (size_t)got;
    return got >= 0 ? -EMSGSIZE : errno == ENOMSG || errno == EINTR ? -EAGAIN : say_gone(s, errno);
}

SLOT int recv_slot(void *self, const struct iovec *part, unsigned parts, size_t *size, const void **at,
                   struct mech_note *note, bool wait) {
    struct sysv *s = self;
    struct haste_wait w = haste_begin(&s->haste, wait);
    ssize_t got;
    do {
        got = msgrcv(s->id, s->packet, s->size, s->wanted, IPC_NOWAIT);
    } while (haste_again(&s->haste, &w, got < 0 && errno == ENOMSG) && !w.sleeps);
    if (unlikely(got < 0)) {
        return errno == ENOMSG || errno == EINTR ? -EAGAIN : errno == E2BIG ? take_away(s, size) : say_gone(s, errno);
    }
    parts_give(part, parts, s->packet->data, (size_t)got, at);
    long type = s->packet->type;
    note->priority = s->type != 0 || type > LEVELS ? 0 : (uint32_t)(LEVELS - type);
    note->count = 0;
    *size = (size_t)got;
    return 0;
}

/* Messages of other types, in a queue that is not thirl's, look like one's own. */
static bool stands_slot(void *self) {
    struct sysv *s = self;
    struct msqid_ds about;
    if (msgctl(s->id, IPC_STAT, &about) != 0) {
        return true; /* a try will say what is wrong */
    }
    return s->wanted != 0 || s->inbox
               ? about.msg_qnum != 0
               : about.__msg_cbytes + s->lacked <= about.msg_qbytes && about.msg_qnum < about.msg_qbytes;
}

static int watch_slot(void *self, struct mech_watch *watch) {
    (void)self;
    (void)watch;
    return 1;
}

/* ---- what is true ---- */

static void describe(struct carrier_facts *facts, size_t packet, size_t bytes, bool typed) {
    *facts = (struct carrier_facts){.packet = packet,
                                    .bytes = bytes,
                                    .priorities = typed ? 1 : LEVELS,
                                    .reliable = true,
                                    .ordered = true,
                                    .kept = true};
}

static void facts_slot(void *self, struct carrier_facts *facts) {
    const struct sysv *s = self;
    describe(facts, s->size, s->bytes, s->type != 0);
    facts->made = s->made;
}

static void claims_slot(struct carrier_facts *facts) {
    size_t bytes = sysctl_of("msgmnb", QUEUE_USUAL), packet = sysctl_of("msgmax", PACKET_USUAL);
    describe(facts, packet < FRAMED_MOST(bytes) ? packet : FRAMED_MOST(bytes), bytes, false);
}

static int left_slot(const char *place, struct carrier_left *left) {
    struct msqid_ds about;
    int id = there(place);
    if (id < 0) {
        return id == -ENOENT ? -ENOENT : say_unknown(place, id);
    }
    if (msgctl(id, IPC_STAT, &about) != 0) {
        return errno == EIDRM || errno == EINVAL
                   ? -ENOENT
                   : err_system(errno, "the System V queue %s cannot be looked at", place);
    }
    *left = (struct carrier_left){about.msg_qnum, about.__msg_cbytes, about.msg_perm.uid};
    return 0;
}

static int remove_slot(const char *place) {
    int id = there(place);
    if (id < 0) {
        return id == -ENOENT ? -ENOENT : say_unknown(place, id);
    }
    if (msgctl(id, IPC_RMID, NULL) == 0) {
        return 0;
    }
    int code = errno;
    return there(place) == -ENOENT ? -ENOENT : err_system(code, "the System V queue %s cannot be removed", place);
}

static const struct carrier carrier_sysv = {
    .scheme = "sysv",
    .state_size = sizeof(struct sysv),
    .silent = true,
    .lasting = true,
    .remedy = "raise kernel.msgmax and kernel.msgmnb",
    .plan = plan,
    .open = open_slot,
    .close = close_slot,
    .send = send_slot,
    .recv = recv_slot,
    .block = block_slot,
    .watch = watch_slot,
    .stands = stands_slot,
    .facts = facts_slot,
    .claims = claims_slot,
    .left = left_slot,
    .remove = remove_slot,
};

CARRIED_OPEN(sysv, block_slot)

KNELL(sysv, struct carried)

static const struct mech knell_sysv = {
    .scheme = "sysv",
    .summary = "System V message queue: events with 31 bits, from one notifier to one watcher",
    .queue = QUEUE_USUAL,
    .registry = true,
    KNELL_SLOTS(sysv),
};

const struct mech mech_sysv = {
    .scheme = "sysv",
    .summary =
        "System V message queue: the kernel keeps messages, with priorities or types, for receivers that come later",
    .queue = QUEUE_USUAL,
    .blocks = true,
    CARRIED_SLOTS(sysv),
    .kin = &knell_sysv,
};
