#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The examples of event loops: each prints what comes, over a few mechanisms, and ends when the sender has closed; and each serves.
. "$(dirname "$0")/tap"

seq 1 200 >wanted

# A pause in the middle, so that the loop sleeps.
lines() {
    seq 1 100
    sleep 0.2
    seq 101 200
}

carries() {
    timeout 20 "$BUILD/example/loop-$1" "$2" >came 2>said &
    loop_pid=$!
    lines | timeout 20 "$TOOL" send --role pair "$2" >/dev/null 2>&1
    wait $loop_pid
    code=$?
    [ $code = 0 ] && cmp -s came wanted
}

# Two callers, one after the other: the loop sleeps before each of them.
serves() {
    timeout 20 "$BUILD/example/loop-$1" "$2" serve >came 2>said &
    loop_pid=$!
    first=$(timeout 20 "$TOOL" call "$2" --message one 2>&1)
    sleep 0.1
    second=$(timeout 20 "$TOOL" call "$2" --message two 2>&1)
    kill $loop_pid 2>/dev/null
    wait $loop_pid
    code=$?
    [ "$first $second" = "one two" ]
}

share_queues
for loop in epoll uv glib uring; do
    if [ ! -x "$BUILD/example/loop-$loop" ]; then
        skip "loop-$loop is not built: its library is not here"
        continue
    fi
    for address in shm://loop-$loop "unix://@loop-$loop-$$" "fifo://$work/$loop" "mq://loop-$loop-$$"; do
        same=no
        carries $loop "$address" && same=yes
        if [ $code = 77 ]; then
            skip "loop-$loop: $(cat said)"
        else
            check "loop-$loop prints what comes over ${address%%:*}" test $same = yes
        fi
    done
    for address in shm://serve-$loop "unix://@serve-$loop-$$"; do
        same=no
        serves $loop "$address" && same=yes
        if [ $code = 77 ]; then
            skip "loop-$loop: $(cat said)"
        else
            check "loop-$loop answers calls over ${address%%:*}" test $same = yes
        fi
    done
done
finish
