/* SPDX-License-Identifier: MIT
 *
 * ?spy= and ?hurt= around every mechanism: what the trace says, what the faults do, and that the limits own up to them.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/conform/conform.h"

/* ---- the trace ---- */

static const char *traced(const struct conform *c, char out[256]) {
    snprintf(out, 256, "spy=%s/own-trace", c->directory);
    return out;
}

/* Lines of that operation in the file; each has its six columns before, and its time behind. */
static unsigned lines_of(const struct conform *c, const char *operation) {
    char path[256], line[4096], op[40], role[20], address[1400], rest[2048];
    unsigned count = 0, end;
    double time;
    int pid, tid;
    snprintf(path, sizeof path, "%s/own-trace", c->directory);
    FILE *file = fopen(path, "r");
    must(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        must(sscanf(line, "%lf %d %d %u %19s %1399s %39s %2047[^\n]", &time, &pid, &tid, &end, role, address, op,
                    rest) == 8);
        must_be(pid, getpid());
        must(strncmp(address, c->line->prefix, strlen(c->line->prefix)) == 0);
        must(strcmp(role, "pair") == 0);
        must(strstr(rest, "-> ") != NULL && strstr(rest, " ns=") != NULL);
        count += strcmp(op, operation) == 0;
    }
    fclose(file);
    return count;
}

static void writes_a_line_for_each(struct conform *c) {
    thirl *a, *b;
    char option[256];
    conform_both(c, 0, traced(c, option), &a, &b);
    must_be(lines_of(c, "open"), 2);
    unsigned sent = lines_of(c, "send");
    must(sent >= 2);
    must(lines_of(c, "recv") >= 2);
    struct thirl_limits limits = {.size = sizeof limits}, claims = conform_claims(c);
    must_be(thirl_limits(a, &limits), 0);
    must_be(limits.zero_copy, claims.zero_copy); /* passes through */
    must_be(limits.reliable, claims.reliable);
    conform_send(a, 10, 1);
    must(lines_of(c, "send") > sent);
    conform_recv(b, 10, 1);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(lines_of(c, "close"), 2);
    must_be(lines_of(c, "deinit"), 2);
}

static void lends_and_signals_through_it(struct conform *c) {
    thirl *a, *b;
    thirl_msg *msg;
    char option[300], path[256];
    conform_both(c, 0, (snprintf(option, sizeof option, "hurt=5&%s", traced(c, path)), option), &a, &b);
    int fd = thirl_fd(b);
    must(fd >= 0);
    for (unsigned i = 0; i < 50; i++) {
        must_be(thirl_loan(a, &msg, 100, PATIENCE), 0);
        conform_fill(thirl_msg_data(msg), 100, i);
        must_be(thirl_put(a, &msg, PATIENCE), 0);
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        must_be(poll(&polled, 1, 20000), 1);
        must_be(thirl_take(b, &msg, PATIENCE), 0);
        must(thirl_msg_size(msg) == 100 && conform_intact(thirl_msg_data(msg), 100, i));
        thirl_free(&msg);
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_take(b, &msg, PATIENCE), -THIRL_ECLOSED);
    must_be(thirl_close(&b, PATIENCE), 0);
}

/* A descriptor that nobody reads, and whose reader goes: nothing waits, no signal, and the loss is told. */
static void never_waits_for_its_reader(struct conform *c) {
    int pipes[2];
    char option[40], bytes[8192];
    thirl *a, *b;
    must_be(signal(SIGPIPE, SIG_DFL) == SIG_ERR, 0);
    must_be(pipe2(pipes, O_CLOEXEC), 0);
    must(fcntl(pipes[1], F_SETPIPE_SZ, 4096) >= 4096);
    snprintf(option, sizeof option, "spy=%d", pipes[1]);
    conform_both(c, 0, option, &a, &b);
    for (unsigned i = 0; i < 60; i++) {
        conform_send(a, 10, i);
        conform_recv(b, 10, i);
    }
    must(read(pipes[0], bytes, sizeof bytes) > 0);
    conform_send(a, 10, 0);
    conform_recv(b, 10, 0);
    ssize_t got = read(pipes[0], bytes, sizeof bytes - 1);
    must(got > 0);
    bytes[got] = '\0';
    must(strstr(bytes, " lost=") != NULL);
    close(pipes[0]);
    conform_send(a, 10, 0);
    conform_recv(b, 10, 0);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    close(pipes[1]);
    thirl *end = NULL;
    snprintf(option, sizeof option, "spy=%d", pipes[1]);
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, option), NULL), -EBADF);
    must_say("not open for writing");
    must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 0, "spy=/nowhere/at/all"), NULL), -ENOENT);
    must_say("/nowhere/at/all");
}

/* ---- faults ---- */

static void fails_at_that_call(struct conform *c) {
    thirl *a, *b;
    conform_both(c, 0, NULL, &a, &b);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(thirl_open(&a, THIRL_PAIR, conform_address(c, 1, "hurt=1:fail=ENOMEM@2"), NULL), 0);
    must_be(thirl_open(&b, THIRL_PAIR, conform_address(c, 1, NULL), NULL), 0);
    conform_send(a, 10, 1);
    must_be(thirl_send(a, "x", 1, PATIENCE), -ENOMEM);
    must_say("hurt= lets call 2 to send fail");
    conform_send(a, 10, 3);
    conform_recv(b, 10, 1);
    conform_recv(b, 10, 3);
    conform_send(b, 10, 4);
    conform_recv(a, 10, 4);
    conform_send(b, 10, 5);
    must_be(thirl_recv(a, NULL, 0, NULL, PATIENCE), -ENOMEM);
    conform_recv(a, 10, 5);
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
    must_be(thirl_open(&a, THIRL_PAIR, conform_address(c, 2, "hurt=1:lose/x"), NULL), -EINVAL);
    must_say("\"lose/x\" in ?hurt= is not KIND");
}

/* 40 messages, in small groups; what came of each. */
static void count_messages(const struct conform *c, bool pair, const char *option, unsigned char seen[40],
                           unsigned *swaps) {
    thirl *a, *b;
    uint32_t number, last = 0;
    size_t size;
    must_be(thirl_open(&b, pair ? THIRL_PAIR : THIRL_PULL, conform_address(c, 0, option), NULL), 0);
    must_be(thirl_open(&a, pair ? THIRL_PAIR : THIRL_PUSH, conform_address(c, 0, option), NULL), 0);
    int fd = thirl_fd(b);
    unsigned came = 0;
    memset(seen, 0, 40);
    *swaps = 0;
    for (uint32_t i = 0; i < 40; i++) {
        must_be(thirl_send(a, &i, sizeof i, PATIENCE), 0);
        while (i % 4 == 3 && thirl_recv(b, &number, sizeof number, &size,
                                        thirl_in_ms(came == 0 ? 2000
                                                    : i == 39 ? 300
                                                              : 5)) == 0) {
            must(size == sizeof number && number < 40);
            seen[number]++;
            *swaps += number < last;
            last = number;
            struct pollfd polled = {.fd = fd, .events = POLLIN};
            if (++came < 40 && i == 39 && strstr(option, "swap") != NULL && conform_claims(c).reliable) {
                must_be(poll(&polled, 1, 10000), 1); /* more is on its way, or in hand */
            }
        }
    }
    (void)!thirl_close(&a, PATIENCE);
    (void)!thirl_close(&b, PATIENCE);
}

static void owns_up_to_what_it_breaks(struct conform *c) {
    static const struct {
        const char *option;
        bool reliable, ordered;
    } cases[] = {{"hurt=9:lose/3", false, true}, {"hurt=9:double/3", false, true}, {"hurt=9:swap/2", true, false}};
    struct thirl_limits claims = conform_claims(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        thirl *end;
        must_be(thirl_open(&end, THIRL_PAIR, conform_address(c, 1, cases[i].option), NULL), 0);
        struct thirl_limits limits = conform_limits(end);
        must_be(limits.reliable, claims.reliable && cases[i].reliable);
        must_be(limits.ordered, claims.ordered && cases[i].ordered);
        must_be(limits.zero_copy, 0);
        must_be(thirl_close(&end, PATIENCE), 0);
        if ((c->line->roles & CONFORM_STREAM) != 0) {
            must_be(thirl_open(&end, THIRL_WRITE, conform_address(c, 1, cases[i].option), NULL), -EINVAL);
            must_say("a stream has none");
        }
    }
}

static void loses_doubles_and_swaps(struct conform *c) {
    unsigned char seen[40];
    unsigned swaps, missing = 0, twice = 0;
    bool sure = conform_claims(c).reliable;
    count_messages(c, true, "hurt=9:lose/3", seen, &swaps);
    for (unsigned i = 0; i < 40; i++) {
        missing += seen[i] == 0;
        must(seen[i] <= 1);
    }
    must(missing >= 4 && (!sure || missing <= 24));
    must_be(swaps, 0);
    count_messages(c, true, "hurt=9:double/3", seen, &swaps);
    for (unsigned i = 0; i < 40; i++) {
        twice += seen[i] == 2;
        must(!sure || (seen[i] >= 1 && seen[i] <= 2));
    }
    must(twice >= 3);
    count_messages(c, true, "hurt=9:swap/2", seen, &swaps);
    for (unsigned i = 0; i < 40; i++) {
        must(!sure || seen[i] == 1);
    }
    must(swaps >= 3);
}

/* A seed alone: what the mechanism does not promise is not kept, and the rest is. */
static void breaks_no_promise(struct conform *c) {
    unsigned char seen[40];
    unsigned swaps, missing = 0, twice = 0;
    struct thirl_limits claims = conform_claims(c);
    count_messages(c, false, "hurt=11", seen, &swaps);
    for (unsigned i = 0; i < 40; i++) {
        missing += seen[i] == 0;
        twice += seen[i] == 2;
        must(seen[i] <= 2);
    }
    must_be(missing != 0, !claims.reliable);
    must_be(twice != 0, !claims.reliable);
    must_be(swaps != 0, !claims.ordered);
}

/* However often it is tried, and in whatever pieces, a call is hurt once: it ends. */
static void answers_again_once_in_a_call(struct conform *c) {
    static char data[5000], buffer[2 * sizeof data];
    struct iovec many[] = {{data, 10}, {data, sizeof data}, {data, 11}, {data, sizeof data}, {data, 12}}, got[5];
    thirl *a, *b;
    conform_both(c, 0, "hurt=1:again/1,short/1", &a, &b);
    int rc = thirl_send(a, data, 9, THIRL_NOW);
    must(rc == 0 || rc == -EAGAIN);
    must_be(rc == 0 ? 0 : thirl_send(a, data, 9, THIRL_NOW), 0);
    must_be(thirl_recv(b, buffer, sizeof buffer, NULL, PATIENCE), 0);
    for (unsigned i = 0; i < 20; i++) {
        size_t count = 5, taken = 0;
        must_be(thirl_send_many(a, many, &count, PATIENCE), 0);
        must_be(count, 5);
        for (; taken < 5; taken += count) {
            count = 5 - taken;
            must_be(thirl_recv_many(b, buffer, sizeof buffer, got, &count, PATIENCE), 0);
            must(count >= 1 && count <= 5 - taken && got[0].iov_len == many[taken].iov_len);
        }
    }
    must_be(thirl_close(&a, PATIENCE), 0);
    must_be(thirl_close(&b, PATIENCE), 0);
}

static void write_all(const struct conform *c, struct peer *stage) {
    static char data[300000];
    (void)stage;
    thirl *end = conform_open(c, THIRL_WRITE, "hurt=3:short/1,again/2&queue=64K");
    conform_fill(data, sizeof data, 1);
    must_be(thirl_send(end, data, sizeof data, PATIENCE), 0);
    must_be(thirl_close(&end, PATIENCE), 0);
}

static void keeps_a_stream_whole(struct conform *c) {
    static char data[300001];
    struct peer peer;
    conform_start(&peer, c, write_all);
    thirl *end = conform_open(c, THIRL_READ, "hurt=4:short/1,again/2,delay=1ms/20&queue=64K");
    size_t at = 0, size;
    int rc;
    while ((rc = thirl_recv(end, data + at, sizeof data - at, &size, PATIENCE)) == 0) {
        at += size;
    }
    must_be(rc, THIRL_END);
    must_be(at, 300000);
    must(conform_intact(data, 300000, 1));
    must_be(thirl_close(&end, PATIENCE), 0);
    conform_join(&peer);
}

int main(int argc, char **argv) {
    static const struct conform_test tests[] = {
        CONFORM(writes_a_line_for_each),
        CONFORM(lends_and_signals_through_it),
        CONFORM(never_waits_for_its_reader),
        CONFORM(fails_at_that_call),
        CONFORM(owns_up_to_what_it_breaks),
        CONFORM(loses_doubles_and_swaps),
        CONFORM_FOR(breaks_no_promise, CONFORM_QUEUE),
        CONFORM(answers_again_once_in_a_call),
        CONFORM_FOR(keeps_a_stream_whole, CONFORM_STREAM),
    };
    (void)unsetenv("CONFORM_WITH"); /* it puts on what it wants */
    return conform_main(tests, sizeof tests / sizeof *tests, argc, argv);
}
