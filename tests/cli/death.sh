#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Ends that are killed, interrupted or closed in the middle: what the other side is told, and what is left.
. "$(dirname "$0")/tap"

# NAME.err says that PID died
names() {
    contains "$1.err" "$2" && contains "$1.err" 'died'
}

# The registry shows no end of process PID
unseen() {
    ! seen " $1 "
}

echo line >lines
for address in shm://cli/kill "unix://$work/kill" "unix://@thirl-cli-kill-$$?type=seqpacket"; do
    name=$(echo "$address" | sed "s|$work/||; s/-$$//")
    begin recv /dev/null "$TOOL" recv "$address"
    begin send /dev/zero "$TOOL" send "$address" --length # empty messages without end
    until_true 100 seen linked
    victim=$(pid_of recv)
    kill -9 "$victim"
    await send
    check "$name: the sender of a killed receiver exits 3" test "$code" = 3
    check "$name: and names it" names send "$victim"
    await recv

    mkfifo hold
    exec 3<>hold
    echo first >&3
    begin send hold "$TOOL" send "$address"
    begin recv /dev/null "$TOOL" recv "$address"
    until_true 100 test -s recv.out
    victim=$(pid_of recv)
    kill -9 "$victim"
    await send
    check "$name: a sender whose input is silent is told too" test "$code" = 3
    check "$name: by name" names send "$victim"
    await recv
    exec 3>&-

    exec 3<>hold
    echo first >&3
    begin send hold "$TOOL" send "$address"
    begin recv /dev/null "$TOOL" recv "$address"
    until_true 100 test -s recv.out
    victim=$(pid_of send)
    kill -9 "$victim"
    await recv
    check "$name: the receiver of a killed sender exits 3" test "$code" = 3
    check "$name: and names it" names recv "$victim"
    check "$name: after it has written what came" contains recv.out first
    exec 3>&-
    rm hold

    begin recv /dev/null "$TOOL" recv "$address" --count 2
    tool send --message again "$address" 2>send.err
    await recv
    check "$name: a new pair takes over; the count is not reached: exit 4" test "$code" = 4
    check "$name: and says so" contains recv.err 'after 1 of 2 messages'
done

for signal in INT:130 TERM:143 HUP:129; do
    begin recv /dev/null "$TOOL" recv shm://cli/signal
    until_true 100 seen waiting
    kill -"${signal%:*}" "$(pid_of recv)"
    await recv
    check "SIG${signal%:*} while it waits: exit ${signal#*:}" test "$code" = "${signal#*:}"
    check "SIG${signal%:*}: quietly" test ! -s recv.err
done
check "nothing is left in the registry" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"

for address in shm://cli/stop "unix://$work/stop"; do
    name=$(echo "$address" | sed "s|$work/||")
    begin recv /dev/null "$TOOL" recv "$address"
    begin send /dev/zero "$TOOL" send "$address" --length
    until_true 100 seen linked
    kill -INT "$(pid_of recv)"
    await recv
    check "$name: an interrupted receiver exits 130" test "$code" = 130
    await send
    check "$name: its sender exits 4" test "$code" = 4

    begin recv /dev/null "$TOOL" recv "$address"
    begin send /dev/zero "$TOOL" send "$address" --length
    until_true 100 seen linked
    kill -TERM "$(pid_of send)"
    await send
    check "$name: an interrupted sender exits 143" test "$code" = 143
    await recv
    check "$name: its receiver gets everything and exits 0" test "$code" = 0
done

for address in shm://cli/cut "unix://$work/cut" "unix://@thirl-cli-cut-$$"; do
    name=$(echo "$address" | sed "s|$work/||; s/-$$//")
    begin recv /dev/null "$TOOL" recv --stream "$address"
    begin send /dev/zero "$TOOL" send --stream "$address"
    until_true 100 test -s recv.out
    victim=$(pid_of recv)
    kill -9 "$victim"
    await send
    check "$name: the writer to a killed reader exits 3" test "$code" = 3
    check "$name: and names it" names send "$victim"
    await recv

    begin recv /dev/null "$TOOL" recv --stream "$address"
    begin send /dev/zero "$TOOL" send --stream "$address"
    until_true 100 test -s recv.out
    kill -INT "$(pid_of send)"
    await send
    check "$name: an interrupted stream: the writer exits 130" test "$code" = 130
    await recv
    check "$name: an interrupted stream does not look complete" test "$code" = 3

    begin send lines "$TOOL" send --stream "$address"
    until_true 100 seen waiting
    kill -INT "$(pid_of send)"
    await send
    check "$name: a writer that waits for its reader can be interrupted" test "$code" = 130
    check "$name: and leaves nothing" unseen "$(pid_of send)"
done
check "a verb that opens sweeps it away" sh -c 'timeout 10 "$0" recv -t 50ms shm://cli/sweep 2>/dev/null
    test -z "$(timeout 10 "$0" list 2>/dev/null)"' "$TOOL"
finish
