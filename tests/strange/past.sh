#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A program whose layouts, of files and of wires, are one version older, in the registry of one of today, and the other way round. On a channel,
# a state, a cache or a lock of the other they are refused, with both versions; nothing of the other is harmed, or taken away; and each
# goes on with its own.
. "$(dirname "$0")/pair.sh"

here=$BUILD/strange/here/run past=$BUILD/strange/past/run
for run in "$here" "$past"; do
    [ -x "$run" ] || { echo "skip - $(cat "${run%/run}/why" 2>/dev/null || echo "not built: make strange")"; exit 77; }
done

# WHAT: the last command of whoever came second, with $code, said both versions and did not hang.
refused() {
    check "$1 is refused" test "$code" != 0 -a "$code" != 124 -a "$code" != 137
    check "$1: both versions are named" grep -Eq '(version|layout)[^0-9]*[0-9]+.*[^0-9][0-9]+' near.err
}

# FIRST SECOND NAME
beside() {
    first=$1 second=$2 name=$3
    rm -rf "$THIRL_DIR"
    # VERB of who waits, VERB of who comes, and of his own kind; ADDRESS
    for case in "recv send shm://past/pair" "sub pub shm://past/news" "pull push shm://past/work" "recv send unix://$work/past.end" \
        "recv send tcp://127.0.0.1:$((20000 + $$ % 10000))" "recv send fifo://$work/past.fifo" "recv send mq://past-$$" \
        "recv send sysv://past-$$" "pull push mq://past-work-$$"; do
        # shellcheck disable=SC2086 # three words
        set -- $case
        what="$name, $2 to $3"
        begin far /dev/null "$first" "$1" "$3"
        until_true 100 seen "$3"
        timeout -s KILL 30 "$second" "$2" "$3" --timeout 5s <lines >near.out 2>near.err
        code=$?
        refused "$what"
        timeout -s KILL 10 "$second" clean >clean.out 2>&1
        timeout -s KILL 30 "$first" "$2" "$3" --timeout 5s <lines >own.out 2>own.err
        code=$?
        check "$what: its own kind gets through afterwards" test $code = 0
        check "$what: nothing lost, torn or added" until_true 100 cmp -s lines far.out
        kill -9 "$(pid_of far)" 2>/dev/null
        await far
        timeout -s KILL 10 "$first" clean "$3" >clean.out 2>&1
    done

    begin far /dev/null "$first" serve shm://past/calls --echo
    until_true 100 seen shm://past/calls
    timeout -s KILL 30 "$second" call shm://past/calls --timeout 5s <lines >near.out 2>near.err
    code=$?
    refused "$name, call"
    timeout -s KILL 30 "$first" call shm://past/calls <lines >own.out 2>own.err
    check "$name, call: its own kind gets through afterwards" cmp -s lines own.out

    # While that one serves on: each with channels of its own.
    begin own /dev/null "$second" recv shm://past/own
    until_true 100 test -e "$THIRL_DIR/chan/past%2Fown"
    timeout -s KILL 30 "$second" send shm://past/own <lines >near.out 2>near.err
    await own
    check "$name: beside it, channels of one's own" cmp -s lines own.out
    kill -9 "$(pid_of far)"
    await far

    timeout -s KILL 10 "$first" state past/mode --message "of the first" >own.out 2>own.err
    timeout -s KILL 10 "$second" state past/mode >near.out 2>near.err
    code=$?
    refused "$name, a state"
    check "$name, a state: stays" test "$(timeout -s KILL 10 "$first" state past/mode)" = "of the first"
    timeout -s KILL 10 "$first" cache past/cache put key value >own.out 2>own.err
    timeout -s KILL 10 "$second" cache past/cache get key >near.out 2>near.err
    code=$?
    refused "$name, a cache"
    check "$name, a cache: stays" test "$(timeout -s KILL 10 "$first" cache past/cache get key)" = value
    for verb in list doctor clean; do
        timeout -s KILL 10 "$second" $verb >near.out 2>near.err
        code=$?
        check "$name: thirl $verb" test $code -le 8
    done
}

beside "$here" "$past" "an older one"
beside "$past" "$here" "a newer one"
finish
