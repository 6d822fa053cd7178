#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A lock by name on the command line: shown, listed while somebody has it open, removed.
. "$(dirname "$0")/tap"

cat >lock.c <<'END'
#include <stdio.h>
#include <unistd.h>
#include <thirl/lock.h>
int main(void) {
    const struct thirl_lock_options o = {.size = sizeof o, .count = 3}, a = {.size = sizeof a, .flags = THIRL_LOCK_DEADLOCK};
    thirl_lock *sem, *mutex;
    if (thirl_lock_open(&sem, "plant/seats", THIRL_LOCK_SEM, &o) || thirl_lock_open(&mutex, "plant/door", THIRL_LOCK_MUTEX, &a) ||
        thirl_mutex_lock(mutex->mutex, THIRL_NOW))
        return fprintf(stderr, "%s\n", thirl_why()), 1;
    if (fork() == 0)
        return thirl_mutex_lock(mutex->mutex, THIRL_SOON) != THIRL_OWNER_DIED;
    return puts("ready"), fflush(stdout), sleep(29), 0;
}
END
tool lock plant/door 2>err
check "there is none yet: exit 6" test "$code" = 6
check "and a sentence" contains err 'there is no lock shm://plant/door'
check "a program that has some is built" "${CC:-cc}" -I"$root/include" -o lock lock.c "$BUILD/libthirl.a" -pthread
begin holder /dev/null ./lock
check "and runs" until_true 100 contains holder.out ready
tool lock plant/seats >out
check "a semaphore is shown" test "$code" = 0 -a "$(cat out)" = 'semaphore, 3 permits'
tool lock plant/door --json >out
check "and a mutex, as JSON" test "$(cat out)" = '{"kind":"mutex","count":0,"flags":["deadlock"]}'
tool list >out
check "both are listed, and who has them open" test "$(grep -c 'shm://plant/.* lock ' out)" = 4
tool clean plant/door 2>err
check "and not removed as long as somebody has" contains err 'is in use'
named() { tool doctor >out && contains out 'area/plant%2Fdoor'; }
check "thirl doctor tells who waits for it by its name" until_true 100 named
THIRL_DIR=$work/other/registry begin stranger /dev/null ./lock
everywhere() {
    tool doctor --all >out 2>err
    contains out "registry $THIRL_DIR:" && contains out "registry $work/other/registry:" && contains out 'area/plant%2Fdoor'
}
check "with --all in each registry of the machine" until_true 100 everywhere
tool doctor --all --json >out 2>err
check "likewise as JSON" contains out "{\"registry\":\"$work/other/registry\",\"seen\":"
# shellcheck disable=SC2016 # for the inner shell
if mkdir apart && unshare -m mount -t tmpfs tmpfs apart 2>err; then
    THIRL_DIR=$work/apart/registry begin hermit /dev/null unshare -m sh -c 'mount -t tmpfs tmpfs apart && exec ./lock'
    hidden() { tool doctor --all 2>err | grep -Eq "^registry /proc/[0-9]+/root$work/apart/registry:"; }
    check "and where only a container has it" until_true 100 hidden
    kill -9 "$(pid_of hermit)"
else
    skip "and where only a container has it: $(cat err)"
fi
kill -9 "$(pid_of stranger)"
kill -9 "$(pid_of holder)"
await holder 2>/dev/null
tool lock plant/door >out
check "it stays when its holder has died" test "$(cat out)" = 'mutex, deadlock'
tool list >out
check "and is listed as kept" test "$(grep -c 'shm://plant/door .* kept ' out)" = 1
tool clean plant/door >out
check "it is removed" test "$code" = 0
tool lock plant/door 2>err
check "and gone" test "$code" = 6
tool lock 'tcp://x:1' 2>err
check "no name: exit 1" test "$code" = 1
finish
