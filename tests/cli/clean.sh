#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What stays in the kernel without processes: list shows it, clean removes it.
. "$(dirname "$0")/tap"

tool clean --all >out 2>clean.err
check "nothing to clean" test "$code" = 0 -a ! -s out -a ! -s clean.err
tool clean --all --json >out
check "nothing, as JSON" test "$code" = 0 -a "$(cat out)" = "[]"
tool clean mq://never-there 2>clean.err
check "an address that has left nothing: exit 6" test "$code" = 6
check "and a sentence" contains clean.err 'left nothing'

printf 'one\ntwo\nthree\n' >lines
addresses clean >every
while read -r name roles address; do
    carries "$roles" push || continue
    [ "$address" != - ] || continue
    tool send --role push "$address" --timeout 5s <lines 2>clean.err
    if [ "$code" != 0 ] && contains clean.err RLIMIT_MSGQUEUE; then
        skip "$name: others use up the queues of this user"
        continue
    fi
    tool list --json >json
    if ! contains json '"state":"left"'; then
        echo "# $name keeps nothing"
        continue
    fi
    tool list >out 2>list.err
    check "$name: list shows what is left" grep -Eq "^$address +- +left +- +- +- +3 \(" out
    check "$name: and so does its JSON" grep -Eq "\"address\":\"$address\",\"state\":\"left\",\"messages\":3," json
    begin recv /dev/null "$TOOL" recv --role pull "$address"
    until_true 100 test "$(wc -l <recv.out)" = 3
    until_true 100 sh -c 'test "$(wc -l <recv.out)" = 3'
    tool clean "$address" 2>clean.err
    check "$name: what is in use is not removed" test "$code" = 6 -a -s clean.err
    kill -INT "$(pid_of recv)"
    await recv
    check "$name: what was read is what was left" cmp -s lines recv.out

    tool send --role push "$address" <lines 2>clean.err
    tool clean "$address" >out 2>clean.err
    check "$name: clean says how many" test "$code" = 0 -a "$(cat out)" = "$address: 3 messages thrown away"
    tool send --role push "$address" <lines 2>clean.err
    tool clean --all --json >out 2>clean.err
    check "$name: clean --all --json" test "$code" = 0 -a "$(cat out)" = "[{\"address\":\"$address\",\"messages\":3}]"
    check "$name: nothing is left" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
done <every
finish
