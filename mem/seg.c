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
#include "mem/shed.h"

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

/* Maps the region without a page of it: where a process locks its memory (mlockall), mapping would fill all holes. */
static int map_region(unsigned char *at, size_t size, int protection, int fd, size_t offset) {
    if (mmap(at, size, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED) {
        return -1;
    }
    (void)munlock(at, size);
    return mprotect(at, size, protection);
}

/* Maps head and ring in one piece, the ring a second time behind them, and the region behind that. */
static int map(struct seg *seg, int fd, int protection, const char *what) {
    size_t once = seg->head + seg->ring, twice = once + seg->ring, all = twice + seg->pool;
    unsigned char *base = seg->ring == 0
                              ? mmap(NULL, all, protection, MAP_SHARED, fd, 0)
                              : mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return err_system(fd_map_error(), "%s: no address space for %zu bytes", what, all);
    }
    if ((seg->ring != 0 &&
         (mmap(base, once, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
          mmap(base + once, seg->ring, protection, MAP_SHARED | MAP_FIXED, fd, (off_t)seg->head) == MAP_FAILED)) ||
        (seg->pool != 0 && map_region(base + twice, seg->pool, protection, fd, once) != 0)) {
        int rc = err_system(fd_map_error(), "%s cannot be mapped", what);
        (void)munmap(base, all);
        return rc;
    }
    (void)madvise(base, all, MADV_DONTFORK);
    seg->base = base;
    return 0;
}

/* What is left for a region of that size: nothing, rather than that a file which was possible without it is not. */
static size_t round_pool(const struct seg *seg, uint64_t pool) {
    size_t unit = 2 * seg->ring;
    size_t size = pool == 0             ? 0
                  : pool > SIZE_MAX / 8 ? SIZE_MAX / 8 / unit * unit
                                        : ((size_t)pool + unit - 1) / unit * unit;
    while (size != 0 && !fd_may_grow(seg->head + seg->ring + size)) {
        size = size / 2 / unit * unit;
    }
    return size;
}

int seg_make(struct seg *seg, int dir, const char *name, size_t head, uint64_t ring, unsigned mode, const char *what) {
    return seg_make_pooled(seg, dir, name, head, ring, 0, mode, what);
}

int seg_make_pooled(struct seg *seg, int dir, const char *name, size_t head, uint64_t ring, uint64_t pool,
                    unsigned mode, const char *what) {
    if (ring > SIZE_MAX / 8) {
        return err_say(EFBIG, "%s: %llu bytes are more than a %zu-bit process can map", what, (unsigned long long)ring,
                       8 * sizeof(void *));
    }
    *seg = (struct seg){.head = seg_round(head), .ring = round_ring((size_t)ring)};
    seg->pool = round_pool(seg, pool);
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return err_system(errno, "%s cannot be made in the registry", what);
    }
    weave("seg.make.created");
    int rc = take_space(fd, seg->head + seg->ring, what);
    if (rc == 0 && fchmod(fd, mode) != 0) {
        rc = err_system(errno, "%s cannot get the mode 0%o", what, mode);
    }
    if (rc == 0 && seg->pool != 0 && ftruncate(fd, (off_t)(seg->head + seg->ring + seg->pool)) != 0) {
        rc = err_system(errno, "%s cannot have a file of %zu bytes", what, seg->head + seg->ring + seg->pool);
    }
    rc = rc != 0 ? rc : map(seg, fd, PROT_READ | PROT_WRITE, what);
    if (rc != 0) {
        (void)unlinkat(dir, name, 0);
    }
    fd_close(&fd);
    return rc;
}

/* The region is a multiple of twice the ring, which is a power of two: so the lowest bit of both together is the ring. */
static int split(struct seg *seg, size_t behind, bool pooled) {
    seg->ring = behind & (~behind + 1);
    seg->pool = behind - seg->ring;
    return (seg->pool == 0 || pooled) && round_ring(seg->ring) == seg->ring && seg->pool <= SIZE_MAX / 8 ? 0 : -1;
}

static int map_file(struct seg *seg, int dir, const char *name, size_t head, bool writable, bool pooled,
                    const char *what) {
    *seg = (struct seg){.head = seg_round(head)};
    int access = (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK; /* were it a FIFO, it would block */
    int fd = openat(dir, name, access | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return err_system(errno, "%s cannot be opened", what);
    }
    struct stat status;
    int rc = 0;
    if (fstat(fd, &status) != 0) {
        rc = err_system(errno, "%s cannot be looked at", what); /* which is no fault of its owner's */
    } else if (!S_ISREG(status.st_mode) || status.st_size < (off_t)seg->head) {
        rc = err_say(THIRL_EFORMAT, "%s (%s) is no segment, or is cut short", what, name);
    } else if ((uint64_t)status.st_size > SIZE_MAX / 2) {
        rc = err_say(EFBIG, "%s (%s) has %llu bytes, more than a %zu-bit process can map", what, name,
                     (unsigned long long)status.st_size, 8 * sizeof(void *));
    } else if (split(seg, (size_t)status.st_size - seg->head, pooled) != 0) {
        rc = err_say(THIRL_EFORMAT, "%s (%s) has a size that no segment has", what, name);
    }
    rc = rc != 0 ? rc : map(seg, fd, writable ? PROT_READ | PROT_WRITE : PROT_READ, what);
    fd_close(&fd);
    return rc;
}

int seg_map(struct seg *seg, int dir, const char *name, size_t head, const char *what) {
    return map_file(seg, dir, name, head, false, false, what);
}

int seg_map_pooled(struct seg *seg, int dir, const char *name, size_t head, const char *what) {
    return map_file(seg, dir, name, head, false, true, what);
}

int seg_share(struct seg *seg, int dir, const char *name, size_t head, const char *what) {
    return map_file(seg, dir, name, head, true, false, what);
}

void seg_unmap(struct seg *seg) {
    if (seg->base != NULL) {
        shed(seg->base, seg->head + 2 * seg->ring + seg->pool);
        seg->base = NULL;
    }
}
