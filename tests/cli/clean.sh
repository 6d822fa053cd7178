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
    shown=$address
    [ "$name" != auto ] || shown=shm://${address#auto://}
    check "$name: list shows what is left" grep -Eq "^$shown +- +left +- +- +- +3 \(" out
    check "$name: and so does its JSON" grep -Eq "\"address\":\"$shown\",\"state\":\"left\",\"messages\":3," json
    begin recv /dev/null "$TOOL" recv --role pull "$address"
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
    check "$name: clean --all --json" test "$code" = 0 -a "$(cat out)" = "[{\"address\":\"$shown\",\"messages\":3}]"
    check "$name: nothing is left" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
done <every

tool state pose/1 --message hello
tool cache web/pages put key value
tool list >out
check "list shows a state" grep -Eq '^shm://pose/1 +state +kept +- .* [0-9.]+ KiB$' out
check "and a cache, with its size" grep -Eq '^shm://web/pages +cache +kept +- .* 64.0 MiB$' out
tool list --json >out
check "and so does its JSON" grep -Eq '"address":"shm://web/pages","role":"cache","state":"kept","bytes":67108864,"users":0,' out
begin watch /dev/null "$TOOL" state --watch pose/1
until_true 100 seen '^shm://pose/1 +state +used '
check "what is open is used, by whom the line beside says" \
    sh -c "'$TOOL' list | grep -Eq '^shm://pose/1 +state +[a-z]+ +$(pid_of watch) '"
tool clean --all >out
check "all are left alone" test -z "$(cat out)" -a "$(timeout 10 "$TOOL" list | grep -Ec 'kept|used')" = 2
tool clean pose/1 2>clean.err
check "what is open is not removed" test "$code" = 6 -a "$(grep -c '1 handle first' clean.err)" = 1
kill -INT "$(pid_of watch)"
await watch
tool clean shm://pose/1 >out
check "by its name it is" test "$code" = 0 -a "$(cat out)" = "shm://pose/1: removed"
tool clean --json web/pages >out
check "as JSON" test "$code" = 0 -a "$(cat out)" = '[{"address":"web/pages","removed":true}]'
check "nothing is left of them" test -z "$(ls "$THIRL_DIR/area")"
finish
