/* SPDX-License-Identifier: MIT
 *
 * Counts this program's allocations: its own malloc stands before the C library's, for the linked library's calls too.
 */
#include <stdlib.h>

#include "bench/end.h"

static uint64_t calls;

uint64_t count_allocations(void) {
    return __atomic_load_n(&calls, __ATOMIC_RELAXED);
}

/* Sanitizers bring allocators of their own; and only glibc has these names. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define ALLOCATOR_TAKEN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATOR_TAKEN
#endif
#if defined(__GLIBC__) && !defined(ALLOCATOR_TAKEN)
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void count(void) {
    __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
}

__attribute__((visibility("default"))) void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

__attribute__((visibility("default"))) void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

__attribute__((visibility("default"))) void *realloc(void *old, size_t size) {
    count();
    return __libc_realloc(old, size);
}

__attribute__((visibility("default"))) void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

__attribute__((visibility("default"))) void free(void *old) {
    count();
    __libc_free(old);
}
#endif
