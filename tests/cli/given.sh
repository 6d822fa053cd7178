#!/bin/sh
# SPDX-License-Identifier: MIT
#
# fd:// and activated://: every verb over sockets that somebody else made, connected and listening; and what a program that is
# started there inherits. The script beside this one is the parent, or the service manager, that gives them.
. "$(dirname "$0")/tap"
perl -MSocket -MPOSIX -e1 2>/dev/null || { echo "skip - there is no perl to give sockets away"; exit 77; }
given=$root/tests/cli/given

# PLACE-WORD...: runs a program with what it is given; outputs in out and given.err
give() {
    timeout -s KILL 30 perl "$given" "$@" >out 2>given.err
    code=$?
}

# A program in the background on a socket that listens by now: NAME INPUT KIND PLACE WORD...
listen() {
    rm -f "$work/listens.sock" listening
    job=$1 input=$2
    shift 2
    begin "$job" "$input" perl "$given" listen "$@"
    until_true 100 test -e listening
}

# Did both programs end well?
both() {
    [ "$code" = 0 ] && [ "$(cat first.code)" = 0 ]
}

trips='10 round trips of 64 bytes, 0 lost'
printf 'one\n\ntwo words\n' >lines
awk 'BEGIN { for (i = 0; i < 5000; i++) print "line " i " of many" }' >many
{ printf '\000\000\000\005a\nb\000c'; printf '\000\000\000\000'; printf '\000\000\000\003\377\376\n'; } >few
head -c 300000 /dev/urandom >random

# How a descriptor is named and what it is are two things: each of both comes up, a sanitizer has less patience, and so has BRIEF=1.
tried() {
    case "${EXTRA:-${BRIEF:+brief}} $1 $2" in
    *" stream fd://3" | *" seqpacket activated://"?* | *" tcp fd://3" | *" tcp activated://") ;;
    " "*" fd://3" | " "*" activated://here" | " stream activated://web") ;;
    *) return 1 ;;
    esac
}

# ---- a connection between two programs ----

for kind in stream seqpacket tcp; do
    for address in fd://3 activated://here; do
        tried $kind $address || continue
        case $address in
        fd:*) unset NAMES ;;
        *) NAMES=here && export NAMES ;;
        esac
        name="$kind, $address"
        give pair $kind "$TOOL" ping --serve $address + "$TOOL" ping -n 10 $address
        check "$name: ping" both
        check "$name: its line" contains out "^$address: $trips"
        give pair $kind "$TOOL" ping --both $address + true
        check "$name: ping --both is refused" test "$(cat first.code)" = 1
        check "$name: and it is said what to do" contains first.err 'is connected to another process.*ping --serve'
        give pair $kind "$TOOL" recv $address + "$TOOL" send --file many $address
        check "$name: lines" both
        check "$name: all of them" cmp -s many first.out
        give pair $kind "$TOOL" send --length --file few $address + "$TOOL" recv --length $address
        check "$name: binary messages the other way" both
        check "$name: all of those" cmp -s few out
        give pair $kind "$TOOL" recv --stream $address + "$TOOL" send --stream --file random $address
        check "$name: a stream" both
        check "$name: all of it" cmp -s random first.out
        # run is not in the way: the command has the end, standard input and output
        give pair $kind "$TOOL" ping --serve $address + "$TOOL" run --over $address -- "$TOOL" ping -n 10 {}
        check "$name: run gives the end to the command" both
        check "$name: and its output" contains out "^fd://3: $trips"
        # shellcheck disable=SC2016
        give pair $kind "$TOOL" recv $address + "$TOOL" run --over $address -- \
            sh -c '"$0" send "$THIRL_HAND"; exit 9' "$TOOL" <lines
        check "$name: its exit code, by THIRL_HAND" test "$code" = 9
        check "$name: its standard input" cmp -s lines first.out
        give both $kind "$TOOL" ping --both -n 10 $address
        check "$name: ping --both, given both ends" contains out "^$address: $trips"
        give both $kind "$TOOL" run --over $address -- "$TOOL" recv {} <many
        check "$name: run, given both ends" cmp -s many out
        give both $kind "$TOOL" run --over $address -- "$TOOL" send --file many {} </dev/null
        check "$name: and from the command" cmp -s many out
    done
done
unset NAMES

wait=0.5 # until they have met
[ -z "${EXTRA:-}" ] || wait=2
# shellcheck disable=SC2016
give pair stream "$TOOL" ping --serve fd://3 + sh -c '"$0" ping -i 1s fd://3 & sleep "$1"; kill -9 $!' "$TOOL" $wait
check "the death of the only peer ends the serving side: exit 3" test "$(cat first.code)" = 3
check "with a sentence" contains first.err 'one peer, which is gone'
give pair stream "$TOOL" recv fd://3 + "$TOOL" run --over fd://3 -- sh -c 'kill -9 $$'
check "run: nobody else holds the end, so the death of the command is seen" test "$(cat first.code)" != 0
give pair stream true + "$TOOL" run --keep --over fd://3 -- true
check "run --keep does not go with it: exit 1" test "$code" = 1
check "and why" contains given.err 'is connected to another process'
give pair stream true + "$TOOL" run --over fd://3 -- nonesuch
check "no such command: 127" test "$code" = 127
give both stream "$TOOL" run --over fd://3 -- "$TOOL" recv fd://4 <lines
check "the number of the other end, said by hand" cmp -s lines out
give both stream "$TOOL" run --length --over 'fd://3?max=1K' -- "$TOOL" recv --length {} <few
check "with options" cmp -s few out
# shellcheck disable=SC2016
give both stream "$TOOL" run --over fd://3 -- sh -c 'test ! -e /proc/self/fd/3 && test -e /proc/self/fd/4; echo $? >inherited' </dev/null
check "the command has its end only" test "$(cat inherited)" = 0

# ---- one that listens ----

port=$((20000 + $$ % 10000))
for kind in stream seqpacket tcp; do
    case $kind in
    stream) place=$work/listens.sock caller=unix://$place ;;
    seqpacket) place=@thirl-cli-given-$$ caller="unix://$place?type=seqpacket" ;;
    tcp) place=$port caller=tcp://127.0.0.1:$port ;;
    esac
    for address in fd://3 activated://web activated://; do
        tried $kind $address || continue
        case $address in
        fd:*) unset NAMES ;;
        *) NAMES=web && export NAMES ;;
        esac
        name="$kind that listens, $address"
        listen serve /dev/null $kind "$place" "$TOOL" ping --serve $address
        tool ping -n 10 "$caller" >out 2>ping.err
        check "$name: ping of a caller" test "$code" = 0
        await serve
        check "$name: the serving side ends with it" test "$code" = 0
        listen serve /dev/null $kind "$place" "$TOOL" recv $address
        tool send "$caller" <many 2>send.err
        await serve
        check "$name: lines of a caller" cmp -s many serve.out
        listen serve many $kind "$place" "$TOOL" send $address
        tool recv "$caller" >out 2>recv.err
        await serve
        check "$name: lines to a caller" cmp -s many out
        rm -f "$work/listens.sock"
        give listen $kind "$place" "$TOOL" ping --both -n 10 $address
        check "$name: ping --both" contains out "^$address: $trips"
        rm -f "$work/listens.sock"
        give listen $kind "$place" "$TOOL" run --over $address -- "$TOOL" recv {} <many
        check "$name: run, lines to the command" cmp -s many out
        rm -f "$work/listens.sock"
        # shellcheck disable=SC2016
        give listen $kind "$place" "$TOOL" run --over $address -- sh -c '"$0" send "$THIRL_HAND" <many' "$TOOL" </dev/null
        check "$name: and from it" cmp -s many out
        rm -f "$work/listens.sock"
        # shellcheck disable=SC2016
        give listen $kind "$place" "$TOOL" run --over $address -- sh -c 'ls -l /proc/self/fd; env' </dev/null
        check "$name: nothing leaks to it" test "$code" = 0 -a "$(grep -cE 'socket:|^LISTEN_' out)" = 0
    done
done
unset NAMES

# ---- what else a service manager gave ----

# shellcheck disable=SC2016
seen='echo "$LISTEN_FDS $LISTEN_FDNAMES"; test "$LISTEN_PID" = $$ && test ! -e /proc/$$/fd/5 && exec "$0" recv activated://$1'
at=@thirl-cli-given-$$
NAMES=a:b:c
export NAMES
rm -f ./*.err
listen run /dev/null stream "$at-a,$at-b,$at-c" "$TOOL" run --over activated://b -- \
    sh -c "{ $seen; } >others" "$TOOL" c
tool send --message hello "unix://$at-c" 2>send.err
await run
check "the others are the command's, with a LISTEN_PID of its own" test "$code" = 0
check "in their places, by their names" test "$(cat others)" = "2 a:c
hello"
# shellcheck disable=SC2016
give listen stream "$at-a,$at-b,$at-c" "$TOOL" run -- \
    sh -c 'echo "$LISTEN_FDS $LISTEN_FDNAMES"; test "$LISTEN_PID" = $$' </dev/null
check "without --over all of them" test "$code" = 0 -a "$(cat out)" = "3 a:b:c"
unset NAMES
# shellcheck disable=SC2016
LISTEN_PID=1 LISTEN_FDS=2 tool run -- sh -c 'echo "$LISTEN_PID $LISTEN_FDS"' >out </dev/null
check "what was meant for another process is left alone" test "$(cat out)" = "1 2"

# ---- nothing was given ----

for words in "ping fd://5" "ping --both fd://5" "ping --serve fd://3" "recv fd://3" "send fd://4" "recv --stream fd://3?raw" \
    "run --over fd://3 -- true"; do
    # shellcheck disable=SC2086
    tool $words >out 2>given.err 3>&- 4>&- 5>&- </dev/null
    check "$words: exit 6" test "$code" = 6
    check "$words: it is not open" contains given.err 'descriptor [0-9] is not open'
done
for words in "ping activated://web" "ping --serve activated://" "run --over activated://web -- true"; do
    # shellcheck disable=SC2086
    tool $words >out 2>given.err </dev/null
    check "$words: exit 6" test "$code" = 6
    check "$words: it was not activated" contains given.err 'LISTEN_PID'
done
tool run --over fd://0 -- true <lines 2>given.err
check "run over a file: exit 6" test "$code" = 6
check "it is no socket" contains given.err 'a file, not a socket'
rm -f ./*.err
check "the registry is empty afterwards" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
finish
