/* SPDX-License-Identifier: MIT
 *
 * What tests of queues share, see stock.h.
 */
#include "tests/conform/stock.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void stock_need(bool claimed, const char *why_not) {
    if (!claimed) {
        conform_skip(why_not);
    }
}

bool stock_meets(const struct conform *c) {
    return conform_claims(c).senders == 1 && conform_claims(c).receivers == 0;
}

void stock_ends(thirl *end, const struct conform *c) {
    (void)c;
    must_be(thirl_recv(end, NULL, 0, NULL, THIRL_NOW), -EAGAIN);
}

int stock_lost(void *context, const struct thirl_seen *seen) {
    uint64_t *lost = context;
    *lost += seen->pid == getpid() ? seen->lost : 0;
    return 0;
}

static int find(void *context, const struct thirl_left *left) {
    struct stock_left *found = context;
    found->count++;
    found->messages += left->messages;
    found->ends += left->ends;
    must_be(left->uid, geteuid());
    (void)snprintf(found->address, sizeof found->address, "%s", left->address);
    return 0;
}

struct stock_left stock_left(void) {
    struct stock_left found = {0};
    must_be(thirl_left(find, &found), 0);
    return found;
}

bool stock_is_kept(const struct conform *c) {
    thirl *end = conform_open(c, THIRL_PUSH, NULL);
    int rc = thirl_send(end, "x", 1, thirl_in_ms(50));
    bool kept = rc == 0;
    if (kept) {
        thirl *in = conform_open(c, THIRL_PULL, NULL);
        conform_sleep(MS);
        char byte;
        must_be(thirl_recv(in, &byte, 1, NULL, PATIENCE), 0);
        must_be(thirl_close(&in, PATIENCE), 0);
    }
    must_be(thirl_close(&end, THIRL_NOW), 0);
    return kept && stock_left().count == 0; /* and an empty queue goes with its last end */
}

bool stock_keeps(const struct conform *c) {
    int status = -1;
    if (!conform_claims(c).reliable) {
        return false;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        exit(stock_is_kept(c) ? 0 : 77);
    }
    must_be(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static int add_refused(void *context, const struct thirl_seen *seen) {
    *(uint64_t *)context += seen->pid == getpid() ? seen->refused : 0;
    return 0;
}

uint64_t stock_refused(void) {
    uint64_t count = 0;
    must_be(thirl_list(add_refused, &count), 0);
    return count;
}
