/* SPDX-License-Identifier: MIT
 *
 * An end's life, what may be said when it is opened, what it claims, who is at the other one, and what the registry shows.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conform/conform.h"

/* ---- open and close ---- */

static void close_second(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 10, 1);
    conform_recv(end, 20, 2);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_send(end, "x", 1, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
    must(end == NULL);
}

static void close_first(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 10, 1);
    conform_recv(end, 20, 2);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void closes_in_either_order(struct conform *c) {
    struct peer second, first;
    conform_start(&second, c, close_second);
    conform_start(&first, c, close_first);
    for (int i = 0; i < 2; i++) {
        struct peer *peer = i == 0 ? &second : &first;
        conform_tell(peer, 0);
        conform_sleep(i * 20 * MS); /* once this one opens first, most likely, and once the other */
        thirl *end = conform_open(c, THIRL_PAIR, NULL);
        conform_recv(end, 10, 1);
        conform_send(end, 20, 2);
        if (i == 1) {
            must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
            must_be(at_once(c, thirl_send(end, "x", 1, THIRL_NOW)), -THIRL_ECLOSED);
            must_be(at_once(c, thirl_recv(end, NULL, 0, NULL, THIRL_NOW)), -THIRL_ECLOSED);
        }
        must_be(thirl_close(&end, PATIENCE), 0);
        must(end == NULL);
        conform_join(peer);
    }
}

static void closes_alone(struct conform *c) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    int64_t began = conform_now();
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_close(NULL, PATIENCE), 0);
    must(conform_now() - began < 5000 * MS);
}

static void many_at_once(struct conform *c) {
    enum { MANY = 100 };
    thirl *a[MANY], *b[MANY];
    unsigned many = 0, most = conform_sanitized() ? MANY / 4 : MANY;
    while (many < most && conform_try_both(c, many, "queue=64K", &a[many], &b[many])) {
        many++;
    }
    must(many > 1); /* whatever else this user does meanwhile */
    for (unsigned i = 0; i < many; i++) {
        conform_send(a[i], i * 10, i);
        conform_send(b[i], i, i + 500);
    }
    for (unsigned i = 0; i < many; i++) {
        conform_recv(b[i], i * 10, i);
        conform_recv(a[i], i, i + 500);
        must_be(thirl_close(i % 2 != 0 ? &a[i] : &b[i], PATIENCE), 0);
        must_be(thirl_close(i % 2 == 0 ? &a[i] : &b[i], PATIENCE), 0);
    }
}

static void stop_in_close(const struct conform *c, struct peer *stage) {
    (void)stage;
    must_be(setenv("THIRL_WEAVE_AT", "outlet.flush.counted:1:stop", 1), 0);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* Its message is taken, and the taker gone, after it has counted what is left and before it asks who is there. */
static void counts_what_was_taken_at_last(struct conform *c) {
    struct peer peer;
    int status;
    conform_start(&peer, c, stop_in_close);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    must_be(waitpid(peer.pid, &status, WUNTRACED), peer.pid);
    must(WIFSTOPPED(status));
    conform_recv(end, 1, 1);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(kill(peer.pid, SIGCONT), 0);
    conform_join(&peer);
}

static void leave_early(const struct conform *c, struct peer *stage) {
    for (;;) {
        if (conform_hear(stage) == 0) {
            return;
        }
        thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
        conform_recv(end, 3, 3);
        conform_send(end, 3, 4);
        must_be(thirl_close(&end, PATIENCE), 0);
    }
}

static void leaves_nothing_behind(struct conform *c) {
    struct peer peer;
    char path[256];
    unsigned cycles = conform_sanitized() ? 30 : 100, descriptors = 0, maps = 0;
    conform_start(&peer, c, leave_early);
    for (unsigned i = 0; i < cycles; i++) {
        conform_tell(&peer, 1);
        thirl *end = conform_open(c, THIRL_PAIR, "queue=64K");
        if (i % 3 == 0) {
            must(thirl_fd(end) >= 0);
        }
        conform_send(end, 3, 3);
        conform_recv(end, 3, 4);
        must_be(thirl_close(&end, PATIENCE), 0);
        if (i == 20) {
            descriptors = conform_lines_of("/proc/self/fd");
            maps = conform_lines_of("/proc/self/maps");
        }
    }
    must_be(conform_lines_of("/proc/self/fd"), descriptors);
    if (!conform_sanitized()) {
        must(conform_lines_of("/proc/self/maps") <= maps + 2); /* malloc may map one more heap */
    }
    conform_tell(&peer, 0);
    conform_join(&peer);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=64K"); /* sweeps out what the peer's process has left */
    must_be(thirl_close(&end, PATIENCE), 0);
    snprintf(path, sizeof path, "%s/chan", c->registry);
    must_be(conform_lines_of(path), 0);
    snprintf(path, sizeof path, "%s/node", c->registry);
    must(conform_lines_of(path) <= 1); /* this process's own */
    must(conform_lines_of(c->registry) <= 2);
    must_be(conform_lines_of(c->directory), 1);
}

/* ---- who may ---- */

static void sit(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 1);
    conform_tell(stage, 0);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void is_refused(const struct conform *c, struct peer *stage) {
    uint64_t other = conform_hear(stage);
    thirl *end = NULL;
    int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), NULL);
    if (rc == 0) {
        rc = thirl_recv(end, NULL, 0, NULL, thirl_in_ms(5000));
    }
    must_be(rc, -EBUSY);
    conform_names(c, stage->pid);
    conform_names(c, (pid_t)other);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void has_no_third_end(struct conform *c) {
    struct peer peer, third;
    conform_start(&peer, c, sit);
    conform_start(&third, c, is_refused);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    conform_hear(&peer);
    conform_tell(&third, (uint64_t)peer.pid);
    must_be(thirl_recv(end, NULL, 0, NULL, thirl_in_ms(300)), -ETIMEDOUT); /* what a third one does is nothing to it */
    conform_join(&third);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

static int first_word(const struct conform *c, enum thirl_role role) {
    thirl *end = NULL;
    int rc = thirl_open(&end, role, conform_address(c, 0, NULL), NULL);
    if (rc == 0) {
        rc = role == THIRL_WRITE ? thirl_send(end, "x", 1, thirl_in_ms(5000))
                                 : thirl_recv(end, NULL, 0, NULL, thirl_in_ms(5000));
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
    return rc;
}

static void wants_another_role(const struct conform *c, struct peer *stage) {
    conform_hear(stage);
    int wrong = conform_sealed(c) ? -EOPNOTSUPP : -THIRL_EROLE;
    must_be(first_word(c, THIRL_READ), wrong);
    must_be(first_word(c, THIRL_WRITE), wrong);
    conform_tell(stage, 0);
}

static void keeps_pairs_from_streams(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, wants_another_role);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_tell(&peer, 0);
    int rc = thirl_recv(end, NULL, 0, NULL, thirl_in_ms(1000));
    must(rc == -ETIMEDOUT || rc == -THIRL_EROLE);
    conform_hear(&peer);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    conform_join(&peer);
}

/* ---- what it says of itself ---- */

/* What thirl_mechanisms says without an end is what an end with default options then says. */
static void keeps_its_claims(const struct conform *c, const struct thirl_limits *limits) {
    struct thirl_limits claims = conform_claims(c);
    must_be(limits->zero_copy, claims.zero_copy);
    must_be(limits->identity, claims.identity);
    must_be(limits->cross_host, claims.cross_host);
    must_be(limits->raw, claims.raw);
    if (c->line->suffix[0] == '\0') {
        must_be(limits->message_max, conform_sealed(c) && limits->message_max != claims.message_max
                                         ? claims.message_max - 4 /* where it is bounded by more than ?max */
                                         : claims.message_max);
        must_be(limits->queue, claims.queue);
        must_be(limits->queue_messages, claims.queue_messages);
    }
}

static void claims_what_it_does(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    struct thirl_limits limits = {.size = sizeof limits};
    must_be(thirl_limits(a, &limits), 0);
    must(limits.sends == 1 && limits.receives == 1 && limits.boundaries == 1);
    must(limits.ordered == 1 && limits.reliable == 1 && limits.pollable == 1);
    must(limits.senders == 1 && limits.receivers == 1);
    must(limits.message_max >= 65536 && limits.queue >= 16384);
    must(!limits.cross_host || !limits.identity); /* no kernel knows another host's processes */
    keeps_its_claims(c, &limits);
    /* Zero copy: two messages are in the mechanism's own memory, one close behind the other, not in two buffers. */
    thirl_msg *one = NULL, *two = NULL;
    must_be(thirl_loan(a, &one, 64, PATIENCE), 0);
    must_be(thirl_loan(a, &two, 64, PATIENCE), 0);
    ptrdiff_t step = (char *)thirl_msg_data(two) - (char *)thirl_msg_data(one);
    must(limits.zero_copy == 0 || (step >= 64 && step <= 128));
    thirl_free(&one);
    thirl_free(&two);
    /* A caller that knows more, or less, of the struct. */
    struct {
        struct thirl_limits known;
        uint64_t more;
    } larger = {.known.size = sizeof larger, .more = 77};
    must_be(thirl_limits(a, &larger.known), 0);
    must_be(larger.known.size, sizeof larger);
    must_be(larger.known.message_max, limits.message_max);
    must_be(larger.more, 0);
    struct thirl_limits shorter = {.size = offsetof(struct thirl_limits, queue), .queue = 77};
    must_be(thirl_limits(a, &shorter), 0);
    must_be(shorter.queue, 77);
    must_be(shorter.message_max, limits.message_max);
    shorter.size = 0;
    must_be(thirl_limits(a, &shorter), -EINVAL);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void say_hello(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_send(end, 1, 1);
    struct thirl_peer peer = {.size = sizeof peer};
    conform_recv(end, 1, 2);
    must_be(thirl_peer(end, &peer), 0);
    must_be(peer.pid, !conform_claims(c).cross_host ? stage->pid : 0);
    conform_hear(stage);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void knows_its_peer(struct conform *c) {
    struct peer peer;
    char exe[256] = "";
    conform_start(&peer, c, say_hello);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    struct thirl_peer who = {.size = sizeof who};
    conform_recv(end, 1, 1);
    conform_send(end, 1, 2);
    must_be(thirl_peer(end, &who), 0);
    if (!conform_claims(c).cross_host) {
        must_be(who.pid, peer.pid);
        must_be(who.uid, getuid());
        must_be(who.gid, getgid());
        must(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
        must_be(strcmp(who.exe, exe), 0);
    } else {
        must(who.pid == 0 && who.uid == UINT32_MAX && who.gid == UINT32_MAX); /* nobody, not root */
    }
    who.size = 3;
    must_be(thirl_peer(end, &who), -EINVAL);
    must_be(thirl_peer(end, NULL), -EINVAL);
    conform_tell(&peer, 0);
    must_be(thirl_recv(end, NULL, 0, NULL, PATIENCE), -THIRL_ECLOSED);
    who.size = sizeof who;
    must_be(thirl_peer(end, &who), -ENOTCONN);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    end = conform_open(c, THIRL_PAIR, NULL);
    must_be(thirl_peer(end, &who), -ENOTCONN);
    must(thirl_why()[0] != '\0');
    must_be(thirl_close(&end, PATIENCE), 0);
}

struct tally {
    const char *address;
    pid_t pids[2];
    int ends;
    bool here;
    uint64_t sent[2], received[2], sent_bytes[2];
};

static int tally(void *context, const struct thirl_seen *seen) {
    struct tally *t = context;
    if (strcmp(seen->address, t->address) != 0) {
        return 0;
    }
    must_be(seen->size, sizeof *seen);
    must_be(strcmp(seen->role, "pair"), 0);
    must_be(strcmp(seen->state, "linked"), 0);
    must(strstr(seen->exe, "end_test") != NULL && seen->queue > 0);
    for (int i = 0; i < 2; i++) {
        char peer[32];
        snprintf(peer, sizeof peer, "pid %d (", (int)t->pids[1 - i]);
        if (seen->pid == t->pids[i]) {
            must(t->here ? strncmp(seen->peer, peer, strlen(peer)) == 0 : seen->peer[0] != '\0');
            t->sent[i] = seen->sent;
            t->received[i] = seen->received;
            t->sent_bytes[i] = seen->sent_bytes;
            t->ends++;
        }
    }
    return 0;
}

static int stop_at_once(void *context, const struct thirl_seen *seen) {
    (void)seen;
    ++*(int *)context;
    return 42;
}

static void is_seen_in_the_list(struct conform *c) {
    struct peer peer;
    conform_start(&peer, c, say_hello);
    thirl *end = conform_open(c, THIRL_PAIR, NULL);
    conform_recv(end, 1, 1);
    conform_send(end, 1, 2);
    char address[320];
    snprintf(address, sizeof address, "%s", conform_address(c, 0, NULL));
    struct tally t = {.address = address, .pids = {getpid(), peer.pid}, .here = !conform_claims(c).cross_host};
    for (int tries = 0; tries < 500 && t.received[1] == 0; tries++) { /* until the peer has it */
        conform_sleep(5 * MS);
        t.ends = 0;
        must_be(thirl_list(tally, &t), 0);
    }
    must_be(t.ends, 2);
    for (int i = 0; i < 2; i++) {
        must_be(t.sent[i], 1);
        must_be(t.sent_bytes[i], 1);
        must_be(t.received[i], 1);
    }
    int calls = 0;
    must_be(thirl_list(stop_at_once, &calls), 42);
    must_be(calls, 1);
    must_be(thirl_list(NULL, NULL), -EINVAL);
    conform_tell(&peer, 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
    calls = 0;
    must_be(thirl_list(stop_at_once, &calls), 0);
    must_be(calls, 0);
}

/* ---- misuse ---- */

static void takes_no_nonsense(struct conform *c) {
    thirl *end = NULL;
    thirl_msg *msg = NULL;
    size_t size = 1;
    must_be(thirl_open(NULL, THIRL_PAIR, conform_address(c, 0, NULL), NULL), -EINVAL);
    must_be(thirl_open(&end, THIRL_PAIR, NULL, NULL), -EINVAL);
    must_be(thirl_open(&end, (enum thirl_role)0, conform_address(c, 0, NULL), NULL), -EINVAL);
    must_be(thirl_open(&end, (enum thirl_role)99, conform_address(c, 0, NULL), NULL), -EINVAL);
    must_say("99");
    must(end == NULL);
    must_be(thirl_send(NULL, "x", 1, THIRL_NOW), -EINVAL);
    must_be(thirl_recv(NULL, &size, 1, &size, THIRL_NEVER), -EINVAL);
    must_be(thirl_loan(NULL, &msg, 1, THIRL_NEVER), -EINVAL);
    must_be(thirl_take(NULL, &msg, THIRL_NEVER), -EINVAL);
    must_be(thirl_put(NULL, &msg, THIRL_NEVER), -EINVAL);
    must_be(thirl_put(NULL, NULL, THIRL_NEVER), -EINVAL);
    must_be(thirl_fd(NULL), -EINVAL);
    struct thirl_limits limits = {.size = sizeof limits};
    struct thirl_peer peer = {.size = sizeof peer};
    must_be(thirl_limits(NULL, &limits), -EINVAL);
    must_be(thirl_peer(NULL, &peer), -EINVAL);
    must(thirl_why()[0] != '\0');
    must_be(thirl_msg_trim(NULL, 0), -EINVAL);
    must(thirl_msg_data(NULL) == NULL);
    must_be(thirl_msg_size(NULL), 0);
    must_be(thirl_msg_number(NULL), 0);
    thirl_free(NULL);
    thirl_free(&msg);

    thirl *a, *b;
    conform_both(c, 1, NULL, &a, &b);
    must_be(thirl_loan(a, NULL, 1, THIRL_NOW), -EINVAL);
    must_be(thirl_take(a, NULL, THIRL_NOW), -EINVAL);
    must_be(thirl_limits(a, NULL), -EINVAL);
    must_be(thirl_send(a, NULL, 1, THIRL_NOW), -EINVAL);
    must_be(at_once(c, thirl_send(a, "x", SIZE_MAX, THIRL_NOW)), -EMSGSIZE);
    must_be(at_once(c, thirl_loan(a, &msg, SIZE_MAX, THIRL_NOW)), -EMSGSIZE);
    must_be(at_once(c, thirl_loan(a, &msg, SIZE_MAX - 6, THIRL_NOW)), -EMSGSIZE);
    conform_send(a, 5, 5);
    must_be(thirl_recv(b, NULL, 5, &size, THIRL_NOW), -EINVAL);
    must_be(at_once(c, thirl_loan(a, &msg, 8, THIRL_NOW)), 0);
    must_be(thirl_put(b, &msg, THIRL_NOW), -EINVAL); /* not a loan of that end */
    must(msg == NULL);
    must_be(thirl_take(b, &msg, PATIENCE), 0);
    must_be(thirl_msg_trim(msg, 1), -EINVAL);
    must_be(thirl_put(b, &msg, THIRL_NOW), -EINVAL); /* not a loan at all */
    must(msg == NULL);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

/* Empties what was filled when it is told how much that was. */
static void empty_on_demand(const struct conform *c, struct peer *stage) {
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K");
    conform_send(end, 1, 1);
    uint64_t count = conform_hear(stage);
    for (uint64_t i = 0; i <= count; i++) {
        conform_recv(end, 1000, i);
    }
    must_be(thirl_close(&end, PATIENCE), 0);
}

/* However much time it would have. */
static void full_may_fail_at_once(struct conform *c) {
    struct peer peer;
    struct thirl_limits limits = {.size = sizeof limits};
    static char data[1000];
    conform_start(&peer, c, empty_on_demand);
    thirl *end = conform_open(c, THIRL_PAIR, "queue=16K&full=fail");
    conform_recv(end, 1, 1);
    must_be(thirl_limits(end, &limits), 0);
    must_be(limits.full, THIRL_FULL_FAIL);
    uint64_t count = 0;
    int64_t began = 0;
    int rc = 0;
    for (; rc == 0; count += rc == 0) {
        must(count < 100000);
        began = conform_now();
        conform_fill(data, sizeof data, count);
        rc = at_once(c, thirl_send(end, data, sizeof data, PATIENCE));
    }
    must_be(rc, -EAGAIN);
    must(conform_now() - began < 10000 * MS);
    must_say("full");
    must(count != 0);
    conform_tell(&peer, count);
    struct thirl_want want = {.end = end, .fd = -1, .wanted = THIRL_WANT_ROOM};
    while ((rc = thirl_send(end, data, sizeof data, THIRL_NEVER)) == -EAGAIN) {
        must_be(thirl_wait(&want, 1, PATIENCE), 1);
    }
    must_be(rc, 0);
    conform_join(&peer);
    must(thirl_close(&end, PATIENCE) >= 0);
}

static void refuses_wrong_options(struct conform *c) {
    static const char *const wrong[] = {"nonsense=1", "queue=1",   "queue=64G", "queue=x", "wait=now",  "mode=7777",
                                        "timeout=-1", "timeout=x", "max=",      "queue",   "type=dgram"};
    thirl *end = NULL;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int rc = thirl_open(&end, THIRL_PAIR, conform_address(c, 0, wrong[i]), NULL);
        if (rc != -EINVAL && rc != -THIRL_EADDRESS) {
            fprintf(stderr, "?%s: ", wrong[i]);
            must_be(rc, -EINVAL);
        }
        must(end == NULL && thirl_why()[0] != '\0');
    }
    struct thirl_options options = THIRL_OPTIONS;
    options.wait = 17;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    options = THIRL_OPTIONS;
    options.timeout = -5;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    options = THIRL_OPTIONS;
    options.queue = 5;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    options = THIRL_OPTIONS;
    options.signal = 12;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    options = THIRL_OPTIONS;
    options.full = THIRL_FULL_DISCONNECT + 1;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, "full=latest"), NULL), -EOPNOTSUPP);
    must_say("full=latest");
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, "history=1"), NULL), -EOPNOTSUPP);
    must_say("history");
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, "full=block"), NULL), 0);
    must_be(thirl_close(&end, THIRL_NOW), 0);
    options = THIRL_OPTIONS;
    options.size = 1;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &options), -EINVAL);
    struct {
        struct thirl_options known;
        uint64_t more;
    } larger = {.known = {.size = sizeof larger}, .more = 1};
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &larger.known), -THIRL_EVERSION);
    larger.more = 0;
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, NULL), &larger.known), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
    must_be(thirl_open(&end, THIRL_PAIR, "nothing://there", NULL), -THIRL_EADDRESS);
    must_say(c->line->name[0] == 's' ? "shm" : "unix");
    must_be(thirl_open(&end, THIRL_PAIR, c->line->prefix, NULL), -THIRL_EADDRESS);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(closes_in_either_order),
        CONFORM(closes_alone),
        CONFORM(many_at_once),
        CONFORM_ONLY(counts_what_was_taken_at_last, "shm"),
        CONFORM(leaves_nothing_behind),
        CONFORM(has_no_third_end),
        CONFORM(keeps_pairs_from_streams),
        CONFORM(claims_what_it_does),
        CONFORM(knows_its_peer),
        CONFORM(is_seen_in_the_list),
        CONFORM(takes_no_nonsense),
        CONFORM(refuses_wrong_options),
        CONFORM(full_may_fail_at_once),
    };
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
