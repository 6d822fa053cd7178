/* SPDX-License-Identifier: MIT
 *
 * Forked processes that join the registry, see guest.h.
 */
#define _GNU_SOURCE
#include "tests/guest.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "include/thirl/thirl.h"

struct guest_board *guest_board;

int guest_begin(void **state) {
    guest_board = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return guest_board == MAP_FAILED ? -1 : room_begin(state);
}

int guest_clear(void **state) {
    (void)state;
    char path[sizeof room_path + 8];
    (void)snprintf(path, sizeof path, "%s/node", room_path);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    return dir == NULL ? 0 : closedir(dir);
}

bool guest_wait(const uint32_t *word, int64_t ns) {
    for (int64_t until = clock_now() + ns; atomic_load(word) == 0;) {
        if (clock_now() > until) return false;
        room_sleep(50 * CLOCK_US);
    }
    return true;
}

struct node_end *guest_take(const char *address) {
    struct node_end *end = NULL;
    return node_end_take(&end, address, THIRL_PAIR, true) == 0 ? end : NULL;
}

int guest_stay(void *number) {
    if (guest_take("shm://guest") == NULL || node_life_word(*(uint32_t *)number) == NULL) return 1;
    guest_board->id = node_id();
    atomic_store(&guest_board->ready, 1);
    return guest_wait(&guest_board->go, 20 * CLOCK_S) ? 0 : 2;
}

pid_t guest_invite(int (*body)(void *), void *argument) {
    atomic_store(&guest_board->ready, 0);
    atomic_store(&guest_board->go, 0);
    pid_t child = room_fork(body, argument);
    assert_true(guest_wait(&guest_board->ready, 10 * CLOCK_S));
    return child;
}

void guest_kill(pid_t guest) {
    assert_int_equal(kill(guest, SIGKILL), 0);
    (void)kill(guest, SIGCONT);
    assert_int_equal(room_reap(guest), 128 + SIGKILL);
}

void guest_bury(void) {
    assert_int_equal(room_entries("node") > 0, 1);
    node_remove(guest_board->id);
}

int guest_count(void *context, uint64_t id, bool alive) {
    unsigned *count = context;
    count[0] += id == guest_board->id;
    count[1] += id == guest_board->id && alive;
    return 0;
}

int guest_sweep(void *context, uint64_t id, bool alive) {
    (void)context;
    if (!alive) node_remove(id);
    return 0;
}
