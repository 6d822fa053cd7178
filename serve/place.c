/* SPDX-License-Identifier: MIT
 *
 * Memory for areas: anonymous files, huge pages, NUMA nodes, and the segments of programs that do not know thirl. What the machine has
 * not is noted, for thirl_area_info.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "serve/area.h"

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#define HUGE_PAGE (UINT64_C(1) << 21)
#define COLLAPSE_TRIES 8
#define BIND 2 /* MPOL_BIND */
#define MOVE 2 /* MPOL_MF_MOVE */

#ifndef MADV_COLLAPSE /* newer than the C library */
#define MADV_COLLAPSE 25
#endif

/* ---- huge pages ---- */

/* Whether the kernel gives huge pages to a file in memory that asks for them. */
static bool has_huge(void) {
    char text[128] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/shmem_enabled", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t got = fd_read_at(fd, text, sizeof text - 1, 0);
        text[got > 0 ? got : 0] = '\0';
    }
    fd_close(&fd);
    return strstr(text, "[advise]") != NULL || strstr(text, "[always]") != NULL ||
           strstr(text, "[within_size]") != NULL || strstr(text, "[force]") != NULL;
}

/* Address space whose beginning may be that of a huge page; for who maps something over all of it. NULL: there is none. */
static void *find_hole(uint64_t bytes) {
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    bytes = (bytes + page - 1) / page * page;
    unsigned char *all =
        mmap(NULL, (size_t)(bytes + HUGE_PAGE), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED) {
        return NULL;
    }
    uint64_t before = (HUGE_PAGE - (uintptr_t)all % HUGE_PAGE) % HUGE_PAGE;
    if (before != 0) {
        (void)munmap(all, (size_t)before);
    }
    (void)munmap(all + before + bytes, (size_t)(HUGE_PAGE - before));
    return all + before;
}

/* Pages that somebody is just looking at cannot be moved then. */
static bool collapse(void *at, uint64_t bytes) {
    int rc = -1;
    for (int tries = 0; tries < COLLAPSE_TRIES && rc != 0; tries++) {
        rc = madvise(at, (size_t)bytes, MADV_COLLAPSE);
        if (rc != 0 && errno != EAGAIN && errno != EBUSY) break;
    }
    return rc == 0;
}

/* Pages that lie in a file already, of any file in memory, and also where the kernel gives none by itself. */
void place_gather(struct thirl_area *area, uint64_t bytes) {
    uint64_t from = atomic_peek(&area->gathered), end = bytes / HUGE_PAGE * HUGE_PAGE;
    if (!area->wants_huge || (end <= from && from != 0)) {
        return;
    }
    const char *reason = end == 0 ? "it is smaller than one" : NULL;
    if (end != 0 && !collapse(area->base + from, end - from)) {
        reason = errno == EINVAL ? "the kernel can make none here, and none are set aside"
                                 : "the kernel finds no room for one, and none are set aside";
        reason = has_huge() && madvise(area->base, (size_t)area->mapped, MADV_HUGEPAGE) == 0 ? NULL : reason;
    }
    if (reason == NULL) {
        atomic_poke(&area->gathered, end);
    }
    atomic_poke(&area->huge, reason == NULL);
    atomic_poke(&area->small_note, reason);
}

/* ---- NUMA ---- */

static void note(struct thirl_area *area, const char *reason) {
    (void)snprintf(area->note, sizeof area->note, "no memory of the NUMA node: %s", reason);
}

/* Before the first byte is taken, for where it lies is decided then; what is there moves. */
static void bind_node(struct thirl_area *area, uint32_t numa) {
    unsigned long mask[16] = {0};
    unsigned node = numa - 1, bits = 8 * (unsigned)sizeof *mask;
    if (numa == 0) {
        return;
    }
    if (node >= bits * 16) {
        note(area, "there are no such numbers");
        return;
    }
    mask[node / bits] = 1ul << node % bits;
    if (syscall(SYS_mbind, area->base, area->mapped, BIND, mask, (unsigned long)bits * 16 + 1, MOVE) != 0) {
        note(area, errno == ENOSYS ? "the kernel knows none" : strerror(errno));
        return;
    }
    area->numa = numa;
}

int place_map(struct thirl_area *area, uint64_t limit, const struct thirl_area_options *o) {
    int protection = area->writable ? PROT_READ | PROT_WRITE : PROT_READ;
    limit = (limit + area->unit - 1) / area->unit * area->unit;
    void *hole = o->huge != 0 && limit <= SIZE_MAX / 2 ? find_hole(limit) : NULL;
    int flags = MAP_SHARED | MAP_NORESERVE | (hole != NULL ? MAP_FIXED : 0);
    void *base = limit > SIZE_MAX / 2 ? MAP_FAILED : mmap(hole, (size_t)limit, protection, flags, area->fd, 0);
    if (base == MAP_FAILED) {
        if (hole != NULL) (void)munmap(hole, (size_t)limit);
        return err_say(ENOMEM, "%s: no address space for the %llu bytes that it may grow to: ask for a lower limit",
                       area->shown, (unsigned long long)limit);
    }
    (void)madvise(base, (size_t)limit, MADV_DONTFORK);
    area->base = base;
    area->mapped = limit;
    bind_node(area, o->numa);
    return 0;
}

int place_anonymous(struct thirl_area *area, const struct thirl_area_options *o) {
    area->unit = (uint64_t)sysconf(_SC_PAGESIZE);
    if (o->huge != 0) {
        area->fd = memfd_create("thirl area", MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING);
        /* Are there any? The first is taken now, and stays. */
        if (area->fd >= 0 && fallocate(area->fd, 0, 0, (off_t)HUGE_PAGE) == 0) {
            area->unit = HUGE_PAGE;
            area->huge = 1;
            area->wants_huge = false; /* it has them */
            return 0;
        }
        fd_close(&area->fd);
    }
    area->fd = memfd_create("thirl area", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (area->fd < 0) {
        return err_system(errno, "%s: the kernel makes no file without a name", area->shown);
    }
    (void)fchmod(area->fd, o->mode);
    return 0;
}

/* ---- what other programs know ---- */

/* Other programs leave holes, which take their space when they are touched; where there is none, that is the end of whoever touches them. */
static int fill_holes(struct thirl_area *area, uint64_t bytes) {
    if (area->writable) {
        return lot_reserve(area->fd, 0, bytes, area->shown);
    }
    if (bytes != 0 && madvise(area->base, bytes, MADV_POPULATE_READ) != 0 && errno != EINVAL) {
        return err_say(ENOSPC, "%s has holes, and the file system it lies in is full: make room there", area->shown);
    }
    return 0;
}

static int open_posix(struct thirl_area *area, const char *name, const struct thirl_area_options *o) {
    int access = area->writable ? O_RDWR : O_RDONLY;
    struct stat status;
    area->unit = 1;
    area->fd = shm_open(name, access | O_CLOEXEC, 0);
    if (area->fd < 0 && errno == ENOENT && area->writable) {
        area->fd = shm_open(name, access | O_CREAT | O_CLOEXEC, o->mode);
    }
    if (area->fd < 0) {
        return err_system(errno, "%s: shm_open", area->shown);
    }
    int rc = fstat(area->fd, &status) != 0 ? err_system(errno, "%s", area->shown) : 0;
    uint64_t limit = (uint64_t)status.st_size > o->limit ? (uint64_t)status.st_size : o->limit;
    area->unit = (uint64_t)sysconf(_SC_PAGESIZE);
    rc = rc != 0 ? rc : place_map(area, limit, o);
    uint64_t size = (uint64_t)status.st_size, bytes = area->writable && size < o->bytes ? o->bytes : size;
    bool whole = bytes == size && (uint64_t)status.st_blocks * 512 >= size;
    return rc != 0 || whole ? rc : fill_holes(area, bytes);
}

static bool read_key(const char *text, key_t *key) {
    char *end;
    unsigned long number = strtoul(text, &end, 16);
    *key = (key_t)(uint32_t)number;
    return strncmp(text, "0x", 2) == 0 && *end == '\0' && end > text + 2 && number <= UINT32_MAX && number != 0;
}

/* Whose pages are counted when it is made, but taken when they are touched: so they are touched here, by a call that can fail. */
static int attach(struct thirl_area *area, int id, bool made, const struct thirl_area_options *o) {
    struct shmid_ds about;
    bool there = shmctl(id, IPC_STAT, &about) == 0;
    void *hole = there && o->huge != 0 ? find_hole(about.shm_segsz) : NULL;
    int flags = (area->writable ? 0 : SHM_RDONLY) | (hole != NULL ? SHM_REMAP : 0);
    void *base = there ? shmat(id, hole, flags) : (void *)-1;
    if (base == (void *)-1) {
        if (hole != NULL) (void)munmap(hole, about.shm_segsz);
        return err_system(errno, "%s cannot be attached", area->shown);
    }
    area->base = base;
    area->mapped = about.shm_segsz;
    (void)madvise(base, about.shm_segsz, MADV_DONTFORK);
    bind_node(area, o->numa);
    if (made && madvise(base, about.shm_segsz, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        (void)shmctl(id, IPC_RMID, NULL);
        return err_system(errno, "%s: no memory for %zu bytes", area->shown, (size_t)about.shm_segsz);
    }
    return 0;
}

int place_raw(struct thirl_area *area, const char *address, const struct thirl_area_options *o) {
    char name[256];
    key_t key;
    (void)snprintf(area->shown, sizeof area->shown, "raw area %.280s", address != NULL ? address : "");
    if (address != NULL && strncmp(address, "shm://", 6) == 0 && address[6] != '\0' && strlen(address) < 250 &&
        strchr(address + 6, '/') == NULL) {
        (void)snprintf(name, sizeof name, "/%s", address + 6);
        return open_posix(area, name, o);
    }
    if (address == NULL || strncmp(address, "sysv://", 7) != 0 || !read_key(address + 7, &key)) {
        return err_say(THIRL_EADDRESS, "\"%.80s\" is no raw area: shm://NAME (shm_open) and sysv://0xKEY are",
                       address != NULL ? address : "");
    }
    area->sysv = true;
    int id = shmget(key, 0, 0);
    bool made = id < 0 && errno == ENOENT && area->writable;
    if (made) {
        id = shmget(key, (size_t)o->bytes, IPC_CREAT | IPC_EXCL | (int)o->mode);
    }
    return id < 0 ? err_system(errno, "%s: shmget", area->shown) : attach(area, id, made, o);
}

int place_raw_remove(const char *address) {
    char name[256];
    key_t key;
    if (address != NULL && strncmp(address, "sysv://", 7) == 0 && read_key(address + 7, &key)) {
        int id = shmget(key, 0, 0);
        return id >= 0 && shmctl(id, IPC_RMID, NULL) == 0 ? 0 : err_system(errno, "%s cannot be removed", address);
    }
    if (address == NULL || strncmp(address, "shm://", 6) != 0 || strlen(address) > 250) {
        return err_say(THIRL_EADDRESS, "\"%.80s\" is no raw area", address != NULL ? address : "");
    }
    (void)snprintf(name, sizeof name, "/%s", address + 6);
    return shm_unlink(name) == 0 ? 0 : err_system(errno, "%s cannot be removed", address);
}
