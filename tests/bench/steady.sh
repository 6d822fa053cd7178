#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What a round trip over shared memory costs in the steady state, in exact counts: system calls by strace, allocations
# and threads by thirl-bench itself. A run without counted round trips is subtracted. BUILD: where the programs are.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/begin

spins=20000 sleeps=5000

command -v strace >/dev/null 2>&1 || skip "strace is not installed"
strace -o /dev/null true 2>/dev/null || skip "strace may not trace here"

# trace NAME N: the table of calls in $work/NAME.N, what the program says in $work/NAME.N.out
trace() {
    if ! strace -f -c -o "$work/$1.$2" "$bench" "$1" "$2" >"$work/$1.$2.out" 2>"$work/$1.$2.err"; then
        cat "$work/$1.$2.err"
        echo "not ok - $1: $2 round trips under strace"
        exit 1
    fi
}

# count FILE PATTERN: calls of those names; strace leaves the column of errors empty where there are none
count() {
    awk -v names="$2" '$NF ~ "^(" names ")$" && $NF != "total" && $4 ~ /^[0-9]+$/ { n += $4 } END { print n + 0 }' "$1"
}

# more NAME N PATTERN: calls in N round trips beyond those in none
more() {
    echo $(($(count "$work/$1.$2" "$3") - $(count "$work/$1.0" "$3")))
}

# A count may move by one in a hundred round trips: the looks at the peer's life, by the clock and not by the message.
at_most() {
    [ "$1" -le "$2" ]
}

# quiet NAME N: no allocation, one thread, on each side
quiet() {
    set -- "$1" "$2" $(cat "$work/$1.$2.out")
    check "$1: 0 allocations in $2 round trips (${7} and ${8})" test "$7 $8" = "0 0"
    check "$1: no thread but the caller's (${10} and ${11})" test "${10} ${11}" = "1 1"
}

# Whoever spins in vain for long asks whether its peer is alive, and gives the processor up: it may when other programs take a processor away.
# Two ends that open at once may wait for each other: the quietest of five runs counts. One look for each message would be as many as there are messages.
# A conversation of calls keeps no descriptor of its peer's node, so that a look at its life opens and closes it.
for name in count-spin count-call; do
    trace $name 0
    for _ in 1 2 3 4 5; do
        trace $name $spins
        looks=$(more $name $spins 'fcntl|sched_yield|clock_nanosleep')
        calls=$(($(more $name $spins '.*') - looks))
        [ $name = count-spin ] || calls=$((calls - $(more $name $spins 'openat|close')))
        [ "$calls" -gt $((spins / 100)) ] || [ "$looks" -gt $((spins / 2)) ] || break
    done
    check "$name: 0 system calls for a round trip ($calls in $spins)" at_most "$calls" $((spins / 100))
    check "$name: nobody looks around for a message ($looks calls in $spins)" at_most "$looks" $((spins / 2))
    quiet $name $spins
done

trace count-sleep 0
slack=$((sleeps / 100))
for _ in 1 2 3 4 5; do
    trace count-sleep $sleeps
    futex=$(more count-sleep $sleeps 'futex.*')
    fence=$(more count-sleep $sleeps 'membarrier')
    looks=$(more count-sleep $sleeps 'fcntl|sched_yield|clock_nanosleep')
    other=$(($(more count-sleep $sleeps '.*') - futex - fence - looks))
    [ "$other" -gt $slack ] || [ "$looks" -gt $((sleeps / 2)) ] || break
done
check "count-sleep: at most 2 futex calls for a round trip and side ($futex in $sleeps round trips)" \
    at_most "$futex" $((4 * sleeps + slack))
check "count-sleep: it does sleep" test "$futex" -ge $((sleeps / 2))
check "count-sleep: at most 1 fence before each sleep ($fence)" at_most "$fence" $((2 * sleeps + slack))
check "count-sleep: no other system call ($other)" at_most "$other" $slack
check "count-sleep: nobody looks around for a message ($looks calls in $sleeps)" at_most "$looks" $((sleeps / 2))
quiet count-sleep $sleeps

if [ $failed != 0 ]; then
    cat "$work/count-spin.$spins" "$work/count-call.$spins" "$work/count-sleep.$sleeps"
fi
exit $failed
