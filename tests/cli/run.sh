#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb run: a child with the other end, over pipes and everything that it can be told; its exit code; signals.
. "$(dirname "$0")/tap"

printf 'one\n\ntwo words\n  three\t\n\nlast\n' >lines
awk 'BEGIN { for (i = 0; i < 20000; i++) print "line " i " of many" }' >many
{ printf '\000\000\000\005a\nb\000c'; printf '\000\000\000\000'; printf '\000\000\000\003\377\376\n'; } >few

# INPUT WORD...: output in out and run.err
run() {
    input=$1
    shift
    tool run "$@" <"$input" >out 2>run.err
}

run lines -- "$TOOL" recv {}
check "lines to the child" test "$code" = 0 -a "$(cat out)" = "$(cat lines)"
run many "$TOOL" recv {}
check "many of them, without --" cmp -s many out
# shellcheck disable=SC2016
run /dev/null -- sh -c '"$0" send "$THIRL_HAND" <many' "$TOOL"
check "and from it, by THIRL_HAND" cmp -s many out
run few --length -- "$TOOL" recv --length {}
check "binary messages" cmp -s few out

mkfifo hold
exec 3<>hold
begin run hold "$TOOL" run -- "$TOOL" ping --serve {}
cat lines >&3
until_true 100 sh -c 'test "$(wc -l <run.out)" = 6'
check "what it answers comes back" cmp -s lines run.out
kill -TERM "$(pid_of run)"
await run
check "a signal reaches the child, and its exit code comes back" test "$code" = 143
check "quietly" test ! -s run.err
begin run hold "$TOOL" run --length -- "$TOOL" ping --serve {}
cat few >&3
until_true 100 cmp -s few run.out
check "binary answers" cmp -s few run.out
kill -INT "$(pid_of run)"
await run
check "and SIGINT" test "$code" = 130
begin run hold "$TOOL" run -- sh -c 'kill -9 $$'
await run
check "a child that is killed: 137" test "$code" = 137
exec 3>&-

run /dev/null -- sh -c 'exit 7'
check "the exit code" test "$code" = 7
run /dev/null -- sh -c 'echo "$1 $2" >words; exit 0' sh 'a{}b{}' '{'
check "each {} is the address" grep -Eq '^apipe://[0-9]+,[0-9]+bpipe://[0-9]+,[0-9]+ \{$' words
run /dev/null -- nonesuch
check "no such command: 127, and a sentence" test "$code" = 127
check "the sentence" contains run.err 'cannot run nonesuch: No such file'
run /dev/null -- /dev/null
check "not a command: 126" test "$code" = 126
run lines -- sh -c 'exit 0'
check "a child that opens nothing" test "$code" = 0
run lines -- "$TOOL" recv --count 2 {}
check "a child that has had enough" test "$code" = 0 -a "$(cat out)" = "$(head -n 2 lines)"
{ cat few; printf '\000\000'; } >cut
run cut --length -- "$TOOL" recv --length {}
check "input that ends inside a message: exit 6" test "$code" = 6
check "and it is said" contains run.err 'ends inside a message'
run lines --over carrier-pigeon://x -- true
check "an address that is none: exit 1" test "$code" = 1
yes 'a line' | head -n 200000 >pipe
{ tool run -- "$TOOL" send --file pipe {} </dev/null 2>pipe.err; echo "$code" >pipe.code; } | head -n 1 >pipe.out
check "a reader that goes away ends it" test "$(cat pipe.code)" != 0
rm -f ./*.err

addresses run >every
while read -r name roles address; do
    carries "$roles" pair || continue
    case $name in
    pipe) address=pipe:// ;;
    fd | activated) continue ;; # given by somebody else: see given.sh
    esac
    run many --over "$address" -- "$TOOL" recv {}
    check "$name: lines to the child" cmp -s many out
    run few --length --over "$address" -- "$TOOL" recv --length {}
    check "$name: binary messages to it" cmp -s few out
    # shellcheck disable=SC2016
    run /dev/null --over "$address" -- sh -c 'head -n 1000 many | "$0" send "$THIRL_HAND"' "$TOOL"
    head -n 1000 many >wanted
    check "$name: lines from it" cmp -s wanted out
done <every
check "the registry is empty afterwards" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
finish
