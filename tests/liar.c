/* SPDX-License-Identifier: MIT
 *
 * Pages without rights, the trap flag for the one instruction that is let through, and a second map in which the lies are written.
 */
#define _GNU_SOURCE
#include "tests/liar.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/tempt.h"

#define PIECES 256
#define NOBODY UINT32_MAX

/* Of a file that is mapped. */
struct piece {
    uintptr_t base;
    size_t size;
    uint64_t offset;
    int rights;
    ino_t inode;
    bool bare; /* mapped without rights at first: the region of a pool, where nothing lies but messages */
    bool closed;
};

/* That he may write, and where. */
struct file {
    ino_t inode;
    unsigned char *map;
    size_t size;
};

struct told {
    void *word;
    uint64_t was, is;
    bool narrow, once;
};

static struct piece pieces[PIECES];
static unsigned piece_count;
static struct file files[LIAR_FILES];
static unsigned file_count;
static struct told told[2];
static unsigned told_count;
static struct liar_look looks[LIAR_LOOKS];
static unsigned look_count;
static struct liar_plan plan;
static bool led, planned;
static struct liar_note *note;

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __wrap_munmap(void *, size_t);
int __real_mprotect(void *, size_t, int);
int __wrap_mprotect(void *, size_t, int);
ssize_t __real_pread(int, void *, size_t, off_t);
ssize_t __wrap_pread(int, void *, size_t, off_t);
long __real_syscall(long, ...);
long __wrap_syscall(long, ...);

/* ---- what is mapped ---- */

static unsigned file_of(ino_t inode) {
    for (unsigned i = 0; i < file_count; i++) {
        if (files[i].inode == inode) {
            return i;
        }
    }
    return NOBODY;
}

static struct piece *piece_at(uintptr_t at) {
    for (unsigned i = 0; i < piece_count; i++) {
        if (at - pieces[i].base < pieces[i].size) {
            return &pieces[i];
        }
    }
    return NULL;
}

static void open_piece(struct piece *p) {
    if (p->closed) {
        (void)__real_mprotect((void *)p->base, p->size, p->rights);
        p->closed = false;
    }
}

static void close_piece(struct piece *p) {
    if (!p->closed && !p->bare && file_of(p->inode) != NOBODY) {
        p->closed = __real_mprotect((void *)p->base, p->size, PROT_NONE) == 0;
    }
}

static void open_all(void) {
    for (unsigned i = 0; i < piece_count; i++) {
        open_piece(&pieces[i]);
    }
}

static void close_all(void) {
    for (unsigned i = 0; i < piece_count; i++) {
        close_piece(&pieces[i]);
    }
}

/* Forgets what lies wholly between. */
static void drop(uintptr_t from, size_t size) {
    for (unsigned i = 0; i < piece_count;) {
        if (pieces[i].base - from < size) {
            pieces[i] = pieces[--piece_count];
        } else {
            i++;
        }
    }
}

static void add(void *base, size_t size, int rights, int fd, off_t offset) {
    struct stat status;
    if (piece_count < PIECES && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        struct piece *p = &pieces[piece_count++];
        *p = (struct piece){(uintptr_t)base, size, (uint64_t)offset, rights, status.st_ino, rights == PROT_NONE, false};
        if (led) {
            close_piece(p);
        }
    }
}

void *__wrap_mmap(void *at, size_t size, int rights, int flags, int fd, off_t offset) {
    void *base = __real_mmap(at, size, rights, flags, fd, offset);
    if (base != MAP_FAILED) {
        drop((uintptr_t)base, size);
        if (fd >= 0 && (flags & MAP_SHARED) != 0) {
            add(base, size, rights, fd, offset);
        }
    }
    return base;
}

int __wrap_munmap(void *base, size_t size) {
    drop((uintptr_t)base, size);
    return __real_munmap(base, size);
}

int __wrap_mprotect(void *base, size_t size, int rights) {
    struct piece *p = piece_at((uintptr_t)base);
    if (p != NULL) {
        p->rights = rights;
    }
    return __real_mprotect(base, size, rights);
}

unsigned liar_pieces(void) {
    return piece_count;
}

bool liar_holds(const void *data, size_t size) {
    const struct piece *p = piece_at((uintptr_t)data);
    uintptr_t end = (uintptr_t)data + size;
    ino_t inode = p != NULL ? p->inode : 0;
    while (p != NULL && p->inode == inode && end > p->base + p->size) {
        p = piece_at(p->base + p->size); /* a ring is there twice in a row */
    }
    return inode == 0 || (p != NULL && p->inode == inode);
}

/* ---- lies ---- */

static uint64_t load(const void *word, bool narrow) {
    return narrow ? __atomic_load_n((const uint32_t *)word, __ATOMIC_RELAXED)
                  : __atomic_load_n((const uint64_t *)word, __ATOMIC_RELAXED);
}

/* If it is still what it was. */
static bool put(void *word, bool narrow, uint64_t was, uint64_t is) {
    uint32_t was_narrow = (uint32_t)was;
    return narrow ? __atomic_compare_exchange_n((uint32_t *)word, &was_narrow, (uint32_t)is, false, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED)
                  : __atomic_compare_exchange_n((uint64_t *)word, &was, is, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

/* Some word that was looked at before. */
static uint64_t other_word(void) {
    const struct liar_look *look = &looks[tempt_toss(&plan.dice, look_count)];
    uint64_t at = look->offset & ~UINT64_C(7);
    return at + sizeof(uint64_t) <= files[look->file].size ? load(files[look->file].map + at, false) : at;
}

static void lie(const struct liar_lie *l, const struct liar_look *look, size_t reach) {
    const struct file *f = &files[look->file];
    size_t width = l->narrow ? sizeof(uint32_t) : sizeof(uint64_t);
    uint64_t at = look->offset / sizeof(uint64_t) * sizeof(uint64_t) + l->behind +
                  (reach > width ? tempt_toss(&plan.dice, reach) : 0);
    at = at / width * width;
    if (at + width <= f->size) {
        void *word = f->map + at;
        uint64_t was = load(word, l->narrow), is = was;
        for (int tries = 0; is == was && tries < 8; tries++) {
            is = tempt_value(&plan.dice, was, other_word());
            is = l->narrow ? (uint32_t)is : is;
        }
        if (is != was && put(word, l->narrow, was, is)) {
            note->lie[told_count].file = look->file;
            note->lie[told_count].once = l->once;
            note->lie[told_count].offset = at;
            note->lie[told_count].was = was;
            note->lie[told_count].is = is;
            told[told_count++] = (struct told){word, was, is, l->narrow, l->once};
            note->count = told_count;
        }
    }
}

static void take_back(bool all) {
    for (unsigned i = told_count; i-- != 0;) {
        if (all || told[i].once) {
            (void)put(told[i].word, told[i].narrow, told[i].is, told[i].was);
            told[i].once = false;
        }
    }
}

static void notice(unsigned file, uint64_t offset, uintptr_t place, size_t reach) {
    struct liar_look *look = &looks[look_count++];
    *look = (struct liar_look){file, offset, place};
    for (unsigned i = 0; planned && i < plan.count; i++) {
        if (plan.lie[i].at == look_count - 1) {
            lie(&plan.lie[i], look, reach);
        }
    }
}

/* ---- each look ---- */

#if defined(__x86_64__)
#define TRAP_FLAG 0x100

static struct sigaction before;

static bool is_over(void) {
    return planned && (plan.count == 0 || look_count > plan.lie[plan.count - 1].at);
}

static void on_look(int signal, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t at = (uintptr_t)info->si_addr, place = (uintptr_t)registers[REG_RIP];
    struct piece *p = led ? piece_at(at) : NULL;
    if (p == NULL || !p->closed) {
        note->place = place;
        note->address = at;
        (void)sigaction(signal, &before, NULL); /* it happens again, and is somebody else's then */
        return;
    }
    open_piece(p);
    notice(file_of(p->inode), at - p->base + p->offset, place, 0);
    registers[REG_EFL] |= TRAP_FLAG;
}

static void on_step(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)info;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    take_back(false);
    if (is_over() || look_count >= LIAR_LOOKS - 8) {
        led = false;
        open_all();
    } else {
        close_all();
    }
}

bool liar_begin(struct liar_note *where) {
    struct sigaction look = {.sa_sigaction = on_look, .sa_flags = SA_SIGINFO | SA_NODEFER};
    struct sigaction step = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    note = where;
    return sigaction(SIGSEGV, &look, &before) == 0 && sigaction(SIGTRAP, &step, NULL) == 0;
}
#else
bool liar_begin(struct liar_note *where) {
    (void)where;
    return false;
}
#endif

/* ---- looks of the kernel ---- */

ssize_t __wrap_pread(int fd, void *buffer, size_t size, off_t offset) {
    struct stat status;
    unsigned file = led && fstat(fd, &status) == 0 ? file_of(status.st_ino) : NOBODY;
    if (file == NOBODY) {
        return __real_pread(fd, buffer, size, offset);
    }
    notice(file, (uint64_t)offset, 0, size);
    ssize_t got = __real_pread(fd, buffer, size, offset);
    take_back(false);
    return got;
}

static void notice_word(uintptr_t word) {
    const struct piece *p = piece_at(word);
    if (p != NULL && p->closed) {
        notice(file_of(p->inode), word - p->base + p->offset, 0, 0);
    }
}

long __wrap_syscall(long number, ...) {
    long given[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        given[i] = va_arg(list, long);
    }
    va_end(list);
    bool was = led;
    if (was && number == SYS_futex) {
        notice_word((uintptr_t)given[0]);
    }
    for (long i = 0; was && number == SYS_futex_waitv && i < given[1]; i++) {
        notice_word(((const struct futex_waitv *)given[0])[i].uaddr);
    }
    if (was) {
        open_all();
    }
    long rc = __real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
    if (was) {
        take_back(false);
        close_all();
    }
    return rc;
}

/* ---- an operation ---- */

static struct file map_file(const char *path) {
    struct stat status;
    struct file file = {0, NULL, 0};
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &status) == 0 && status.st_size >= (off_t)sizeof(uint64_t)) {
        size_t size = (size_t)status.st_size;
        void *map = __real_mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        file = map == MAP_FAILED ? file : (struct file){status.st_ino, map, size};
    }
    (void)(fd >= 0 ? close(fd) : 0);
    return file;
}

void liar_know(const char *const *paths, size_t count) {
    while (file_count < count && file_count < LIAR_FILES) {
        files[file_count] = map_file(paths[file_count]);
        file_count++;
    }
}

void liar_lead(const struct liar_plan *given) {
    planned = given != NULL;
    plan = planned ? *given : (struct liar_plan){.count = 0};
    look_count = told_count = note->count = 0;
    led = true;
    close_all();
}

unsigned liar_rest(void) {
    led = false;
    open_all();
    return look_count;
}

void liar_pause(bool pause) {
    static bool was;
    if (pause) {
        was = led;
        led = false;
        open_all();
    } else if (was) {
        led = true;
        close_all();
    }
}

const struct liar_look *liar_looks(void) {
    return looks;
}

unsigned liar_forget(void) {
    unsigned count = told_count;
    take_back(true);
    for (unsigned i = 0; i < file_count; i++) {
        (void)(files[i].map != NULL ? __real_munmap(files[i].map, files[i].size) : 0);
    }
    file_count = told_count = 0;
    return count;
}
