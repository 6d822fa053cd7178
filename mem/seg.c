/* SPDX-License-Identifier: MIT
 *
 * Making and mapping segments.
 */
#define _GNU_SOURCE
#include "mem/seg.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/weave.h"

size_t seg_round(size_t head) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (head + page - 1) / page * page;
}

static size_t round_ring(size_t ring) {
    size_t size = seg_round(1);
    while (size < ring) {
        size *= 2;
    }
    return ring == 0 ? 0 : size;
}

static int take_space(int fd, size_t size, const char *what) {
    if (!fd_may_grow(size)) {
        return err_say(EFBIG, "%s needs a file of %zu bytes, more than this process may make: raise ulimit -f", what,
                       size);
    }
    while (fallocate(fd, 0, 0, (off_t)size) != 0) {
        if (errno == ENOSPC) {
            return err_say(ENOSPC,
                           "%s needs %zu bytes, and the file system of the registry is full: make room there, point "
                           "THIRL_DIR elsewhere, or ask for less with ?queue=",
                           what, size);
        }
        if (errno != EINTR) {
            return err_system(errno, "%s cannot take %zu bytes for itself", what, size);
        }
    }
    return 0;
}

/* Maps head and ring in one piece, and the ring a second time behind them. */
static int map(struct seg *seg, int fd, int protection, const char *what) {
    size_t once = seg->head + seg->ring;
    unsigned char *base = mmap(NULL, once + seg->ring, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return err_system(errno, "%s: no address space for %zu bytes", what, once + seg->ring);
    }
    if (mmap(base, once, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
        (seg->ring != 0 &&
         mmap(base + once, seg->ring, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)seg->head) == MAP_FAILED)) {
        int rc = err_system(errno, "%s cannot be mapped", what);
        (void)munmap(base, once + seg->ring);
        return rc;
    }
    (void)madvise(base, once + seg->ring, MADV_DONTFORK);
    seg->base = base;
    return 0;
}

int seg_make(struct seg *seg, int dir, const char *name, size_t head, size_t ring, unsigned mode, const char *what) {
    if (ring > SIZE_MAX / 8) {
        return err_say(EFBIG, "%s: %zu bytes are more than this machine can map", what, ring);
    }
    *seg = (struct seg){.head = seg_round(head), .ring = round_ring(ring)};
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_system(errno, "%s cannot be made in the registry", what);
    }
    weave("seg.make.created");
    int rc = take_space(fd, seg->head + seg->ring, what);
    if (rc == 0 && fchmod(fd, mode) != 0) {
        rc = err_system(errno, "%s cannot get the mode 0%o", what, mode);
    }
    rc = rc != 0 ? rc : map(seg, fd, PROT_READ | PROT_WRITE, what);
    if (rc != 0) {
        (void)unlinkat(dir, name, 0);
    }
    fd_close(&fd);
    return rc;
}

static int map_file(struct seg *seg, int dir, const char *name, size_t head, bool writable, const char *what) {
    *seg = (struct seg){.head = seg_round(head)};
    int access = (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK; /* were it a FIFO, it would block */
    int fd = openat(dir, name, access | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_system(errno, "%s cannot be opened", what);
    }
    struct stat status;
    int rc = 0;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < (off_t)seg->head) {
        rc = err_say(THIRL_EFORMAT, "%s (%s) is no segment, or is cut short", what, name);
    } else {
        seg->ring = (size_t)status.st_size - seg->head;
        if (seg->ring != 0 && round_ring(seg->ring) != seg->ring) {
            rc = err_say(THIRL_EFORMAT, "%s (%s) has a size that no segment has", what, name);
        }
    }
    rc = rc != 0 ? rc : map(seg, fd, writable ? PROT_READ | PROT_WRITE : PROT_READ, what);
    fd_close(&fd);
    return rc;
}

int seg_map(struct seg *seg, int dir, const char *name, size_t head, const char *what) {
    return map_file(seg, dir, name, head, false, what);
}

int seg_share(struct seg *seg, int dir, const char *name, size_t head, const char *what) {
    return map_file(seg, dir, name, head, true, what);
}

void seg_unmap(struct seg *seg) {
    if (seg->base != NULL) {
        (void)munmap(seg->base, seg->head + 2 * seg->ring);
        seg->base = NULL;
    }
}
