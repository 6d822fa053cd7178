#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/fault/calls.h has each function of libc that the library calls and that can be refused, and each number that it gives syscall(2).
set -u
library=${BUILD:-build}/libthirl.so.0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
[ -f "$library" ] || { echo "skip no shared library in ${BUILD:-build}"; exit 77; }
bad=0

say() {
    if [ -s "$work/$2" ]; then
        bad=1
        echo "not ok - $1"
        sed 's/^/# /' "$work/$2"
    else
        echo "ok - $1"
    fi
}

# They only compute, read what is in this process, or give back: there is no error that they may answer with, or none that anybody could do
# something about. getnameinfo only makes names for people, and has more words than the wrappers hand on.
cat >"$work/sure" <<'SURE'
__ctype_b_loc __cxa_finalize __errno_location __isoc99_sscanf __isoc23_strtol __isoc23_strtoll __isoc23_strtoul __isoc23_strtoull __isoc23_sscanf
__libc_current_sigrtmax __libc_current_sigrtmin __register_atfork __stack_chk_fail __tls_get_addr clock_gettime closedir dirfd dl_iterate_phdr
fclose fgets free freeaddrinfo gai_strerror getegid getenv geteuid getnameinfo getpid getrlimit gettid getuid in6addr_loopback
inet_ntop memchr memcmp memcpy memmove memset pthread_attr_destroy pthread_attr_getguardsize pthread_attr_getstack pthread_mutex_consistent
pthread_mutex_destroy pthread_mutex_lock pthread_mutex_trylock pthread_mutex_unlock pthread_mutexattr_destroy pthread_mutexattr_init
pthread_mutexattr_setpshared pthread_mutexattr_setrobust pthread_once pthread_self pthread_sigmask qsort readdir rewinddir sched_yield sigaction
sigaddset sigemptyset sigismember sigpending snprintf sprintf stpcpy strchr strcmp strcpy strcspn strerror strerrordesc_np strerrorname_np
strlen strncat strncmp strncpy strnlen strrchr strspn strstr strtol strtoll strtoul strtoull syscall sysconf timerfd_settime vsnprintf
SURE
sed -n 's/^    CALL.\([a-z0-9_]*\),.*/\1/p' tests/fault/calls.h >"$work/table"
{
    cat "$work/table"
    tr ' ' '\n' <"$work/sure"
} | LC_ALL=C sort -u >"$work/known"
nm -D -u "$library" | sed -n 's/^ *U \([^@]*\).*/\1/p' | LC_ALL=C sort -u >"$work/called"
LC_ALL=C comm -23 "$work/called" "$work/known" >"$work/missing"
say 'every call of the library that can be refused is in the table' missing

LC_ALL=C sort "$work/table" >"$work/tabled"
LC_ALL=C comm -23 "$work/tabled" "$work/called" >"$work/gone"
say 'every call of the table is one of the library' gone

# Who asks for its own number, or whether a thread is there, is told. SYS_FUTEX is one of the kernel's two; what glibc has as functions is in the
# table as such.
grep -oh 'syscall(SYS_[A-Za-z_0-9]*' base/*.c mem/*.c sync/*.c wire/*.c mech/*.c chan/*.c pattern/*.c serve/*.c |
    sed 's/.*(//; s/^SYS_FUTEX$/SYS_futex/' | grep -vE '^SYS_(gettid|tkill|clone|preadv2|pwritev2)$' | LC_ALL=C sort -u >"$work/numbers"
sed -n 's/^    KERNEL(.*, \(SYS_[a-z_0-9]*\), .*/\1/p' tests/fault/calls.h | LC_ALL=C sort -u >"$work/numbered"
LC_ALL=C comm -3 "$work/numbers" "$work/numbered" >"$work/differ"
say 'every number that it gives syscall(2) is in the table, and no other' differ
exit $bad
