/* SPDX-License-Identifier: MIT
 *
 * Knocking and answering, see door.h.
 */
#define _GNU_SOURCE
#include "mem/door.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/futex.h"
#include "base/weave.h"
#include "mem/shed.h"

static int map(struct door *door, int fd, const char *what) {
    void *page = mmap(NULL, sizeof *door->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        return err_system(fd_map_error(), "%s: a door cannot be mapped", what);
    }
    (void)madvise(page, sizeof *door->page, MADV_DONTFORK);
    door->page = page;
    return 0;
}

int door_make(struct door *door, int dir, const char *file, unsigned mode, const char *what) {
    *door = (struct door){.page = NULL};
    int fd = openat(dir, file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_system(errno, "%s: a door cannot be made in the registry", what);
    }
    weave("door.make.created");
    int rc = fd_take_space(fd, sizeof *door->page);
    rc = rc != 0 ? err_system(-rc, "%s: the registry has no room for a door", what) : 0;
    if (rc == 0 && fchmod(fd, mode) != 0) {
        rc = err_system(errno, "%s cannot get the mode 0%o", what, mode);
    }
    rc = rc != 0 ? rc : map(door, fd, what);
    if (rc != 0) {
        (void)unlinkat(dir, file, 0);
    }
    fd_close(&fd);
    return rc;
}

int door_open(struct door *door, int dir, const char *file, const char *what) {
    *door = (struct door){.page = NULL};
    int fd = openat(dir, file, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_system(errno, "%s: the door of the other end cannot be opened", what);
    }
    struct stat status;
    bool fits = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == (off_t)sizeof(struct door_page);
    int rc = fits ? map(door, fd, what) : err_say(THIRL_EFORMAT, "%s (%s) is no door, or is cut short", what, file);
    fd_close(&fd);
    return rc;
}

void door_close(struct door *door) {
    if (door->page != NULL) {
        shed(door->page, sizeof *door->page);
        door->page = NULL;
    }
}

void door_mark(const struct door *door, uint32_t seat) {
    seat %= DOOR_SEATS;
    (void)atomic_or(&door->page->seats[seat / 64], UINT64_C(1) << seat % 64);
    weave("door.knock.seat");
    (void)atomic_or(&door->page->groups, UINT64_C(1) << seat / 64); /* pairs with the clearing in door_answer */
}

static bool wake(const struct door *door) {
    (void)atomic_add(&door->page->count, 1);
    atomic_fence(); /* pairs with the one in FUTEX_WAIT: what was added is compared there, or asleep is seen here */
    weave("door.knock.counted");
    if (atomic_load(door->asleep) == 0) {
        return false;
    }
    (void)futex_wake(&door->page->count, INT_MAX);
    return true;
}

bool door_knock(const struct door *door, uint32_t seat) {
    door_mark(door, seat);
    return wake(door);
}

bool door_asks(struct door *door) {
    uint64_t polled = door->polled == NULL ? 0 : atomic_load(door->polled); /* behind the fence in wake */
    bool asks = polled != door->answered;
    door->answered = polled;
    return asks;
}

void door_wake(const struct door *door) {
    (void)wake(door);
}

bool door_answer(struct door *door, uint32_t *seat) {
    struct door_page *page = door->page;
    for (uint64_t groups; (groups = atomic_load(&page->groups)) != 0;) {
        unsigned group = (unsigned)__builtin_ctzll(groups);
        uint64_t bits = atomic_load(&page->seats[group]);
        if (bits != 0) {
            *seat = group * 64 + (unsigned)__builtin_ctzll(bits);
            (void)atomic_and(&page->seats[group], ~(UINT64_C(1) << *seat % 64));
            return true;
        }
        (void)atomic_and(&page->groups, ~(UINT64_C(1) << group));
        weave("door.answer.cleared");
        if (atomic_load(&page->seats[group]) != 0) {
            (void)atomic_or(&page->groups, UINT64_C(1) << group);
        }
    }
    return false;
}

uint32_t door_arm(const struct door *door, uint32_t *asleep) {
    uint32_t seen = atomic_load(&door->page->count); /* pairs with the count in wake */
    atomic_store(asleep, atomic_peek(asleep) + 1);
    return seen;
}

void door_disarm(uint32_t *asleep) {
    atomic_store(asleep, atomic_peek(asleep) - 1);
}

void door_poll(uint64_t *polled) {
    atomic_store(polled, atomic_peek(polled) + 1);
    atomic_fence(); /* pairs with the one in wake: the peer sees the count, or its knock is seen */
}
