#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run -j: workers that share what is sent, that die and are started again; how it ends, and what it says.
. "$(dirname "$0")/tap"

seq 1 2000 >lines
seq 1 60 >few
{ printf '\000\000\000\005a\nb\000c'; printf '\000\000\000\000'; printf '\000\000\000\003\377\376\n'; } >binary

# INPUT WORD...: output in out and run.err
run() {
    input=$1
    shift
    tool run "$@" <"$input" >out 2>run.err
}

# The process of that worker that was started last, of job `run`
worker() {
    sed -n "s/.*\"started\",\"worker\":$1,\"pid\":\([0-9]*\).*/\1/p" run.err | tail -n 1
}

nobody_left() {
    test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
}

# Did it end so, and are the files the same? CODE FILE FILE
went() {
    test "$code" = "$1" && cmp -s "$2" "$3"
}

gone() {
    for each in "$@"; do
        ! kill -0 "$each" 2>/dev/null || return 1
    done
}

# how often TEXT is in run.err: TEXT NUMBER
told() {
    test "$(grep -c "$1" run.err)" = "$2"
}

# ---- jobs ----

run lines -j 3 -- "$TOOL" pull --quiet {}
sort -n out >sorted
check "each job is done once" went 0 lines sorted
check "quietly" test ! -s run.err
# shellcheck disable=SC2016
run lines --jobs 2 -- sh -c 'exec "$0" pull "$THIRL_ADDRESS" --file "by-$THIRL_WORKER"' "$TOOL"
cat by-1 by-2 2>/dev/null | sort -n >sorted
check "by THIRL_ADDRESS, and each knows its number" went 0 lines sorted
run binary -j 1 --length -- "$TOOL" pull --length {}
check "binary jobs" went 0 binary out
run /dev/null -j 2 -- "$TOOL" pull {}
check "no job at all" test "$code" = 0 -a ! -s out

# ---- requests ----

run lines -j 3 -- "$TOOL" serve --echo {}
check "answers come in the order of the requests" went 0 lines out
run binary --length -j 2 -- "$TOOL" serve --echo {}
check "binary requests" went 0 binary out
# shellcheck disable=SC2016
run few -j 2 -- "$TOOL" serve {} -- sh -c 'read -r n; test "$n" != 30 && echo "$n"'
grep -vx 30 few >wanted
check "a request without an answer: exit 6" test "$code" = 6
check "the others have theirs" cmp -s wanted out
check "and it is said which it was" contains run.err 'message 30: '

# ---- kill -9 ----

mkfifo hold
exec 3<>hold
begin run hold "$TOOL" run -j 3 --json -- "$TOOL" pull --quiet {}
head -n 1000 lines >&3
for victim in 1 2 3; do
    kill -9 "$(worker $victim)"
    until_true 100 told "\"worker\":$victim,.*\"signal\":9" 1
    until_true 100 told "\"started\",\"worker\":$victim," 2
done
tail -n 1000 lines >&3
until_true 200 sh -c 'sort -n -u run.out | cmp -s lines -'
check "workers that were killed are started again, and every job is done" sh -c 'sort -n -u run.out | cmp -s lines -'
kill -TERM "$(pid_of run)"
await run
check "SIGTERM ends it: 143" test "$code" = 143
check "with a summary" contains run.err '"event":"done","sent":2000,"failed":0,"undone":0,"restarts":3}'
check "and nobody is left" nobody_left

begin run few "$TOOL" run -j 3 --json -- "$TOOL" serve {} -- sh -c 'sleep 0.05; cat'
until_true 100 test -s run.out
for victim in 1 2 3; do
    kill -9 "$(worker $victim)"
    until_true 100 told "\"started\",\"worker\":$victim," 2
done
await run
check "calls of servers that were killed are answered by others" test "$code" = 0
check "each once, in order" cmp -s few run.out

begin run hold "$TOOL" run -j 2 --json -- "$TOOL" pull --quiet {}
echo one >&3
until_true 100 test -s run.out
first=$(worker 1) second=$(worker 2)
kill -9 "$(pid_of run)"
await run
until_true 100 gone "$first" "$second"
check "workers end when run itself is killed" gone "$first" "$second"
exec 3>&-

# ---- at an address ----

begin run /dev/null "$TOOL" run -j 2 --json --over shm://here -- "$TOOL" pull --quiet {}
until_true 100 told '"started"' 2
tool push --quiet shm://here <lines
until_true 100 sh -c 'sort -n run.out | cmp -s lines -'
check "others send, where an address is given" sh -c 'sort -n run.out | cmp -s lines -'
kill -INT "$(pid_of run)"
await run
check "SIGINT ends it: 130" test "$code" = 130
run /dev/null -j 3 --over shm://here -- true
check "it ends when all workers have, with 0" test "$code" = 0

# ---- what goes wrong ----

run lines -j 2 -- sh -c 'exit 7'
check "a worker that dies again and again is given up, with its code" test "$code" = 7
check "the pauses grow, and are told" contains run.err 'ended with 7; another one starts in 400 ms'
check "and that it cannot go on" contains run.err 'sh cannot go on'
run lines -j 2 -- nonesuch
check "no such command: 127" test "$code" = 127
run lines -j 2 -- "$TOOL" pull --count 5 {}
check "workers that end before all is done: 4" test "$code" = 4
check "it is said how much is not done" contains run.err 'of them not done'
run lines -j 2 -- "$TOOL" recv --role sub {}
check "a worker of another role: 1" test "$code" = 1
check "and the sentence" contains run.err 'as sub; workers pull or serve'
head -c 7 binary >cut
run cut -j 1 --length -- "$TOOL" pull --length {}
check "input that ends inside a message: 6" test "$code" = 6
run lines -j 0 -- true
check "no workers: 1" test "$code" = 1
run lines --json -- true
check "--json without workers: 1" test "$code" = 1
run lines -j 2 --keep -- true
check "--keep with workers: 1" test "$code" = 1
check "nothing is left" sh -c 'test -z "$(find "$THIRL_DIR" -mindepth 2)"'
finish
