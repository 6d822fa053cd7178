#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The patterns, each once and each with a kill -9 in the middle, called by sh ./run: what is published reaches everybody who is left, and
# every job is done although a worker dies over it, and every call is answered although a server does, also
# where the servers are started again by themselves. BUILD: where the programs are.
set -u
cd "$(dirname "$0")/.." || exit 1

thirl=${BUILD:-build}/thirl
lines=20000 # messages, and jobs
shm=/dev/shm
[ -d $shm ] && [ -w $shm ] || shm=${TMPDIR:-/tmp}
work=$(mktemp -d) && THIRL_DIR=$(mktemp -d "$shm/patterns.XXXXXX") || exit 1
export THIRL_DIR
pids=''

leave() {
    # shellcheck disable=SC2086 # a list
    kill $pids 2>/dev/null
    rm -rf "$work" "$THIRL_DIR"
}
trap leave EXIT
trap 'exit 130' INT TERM

fail() {
    echo "patterns: $*" >&2
    cat "$work"/*.err >&2 2>/dev/null
    exit 1
}

# until_true WORD...: repeats it until it is true, 10 s at most
until_true() {
    tries=200
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "this did not come true: $*"
        sleep 0.05
    done
}

# there ROLE NUMBER: so many ends of that role are open
there() {
    [ "$("$thirl" list 2>/dev/null | awk '{ print $2 }' | grep -c "^$1\$")" = "$2" ]
}

# has FILE NUMBER: it has that many lines, or more
has() {
    [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

# start NAME VERB ADDRESS: one that receives in the background; its lines go to $work/NAME, and $! is noted in $pid_NAME
start() {
    "$thirl" "$2" --quiet --file "$work/$1" "$3" 2>"$work/$1.err" &
    eval "pid_$1=$!"
    pids="$pids $!"
}

# The lines, a little pause now and then: half of them, then whatever is given as a command, then the rest.
halves() {
    head -n $((lines / 2)) "$work/input"
    "$@"
    tail -n +$((lines / 2 + 1)) "$work/input"
}

# kill_in_the_middle NAME: when it has had something, and is in the middle of it
kill_in_the_middle() {
    until_true has "$work/$1" $((lines / 50))
    eval "victim=\$pid_$1"
    kill -9 "$victim"
    wait "$victim" 2>/dev/null
}

# What everybody is to have got when all is done.
seq -f 'message %g' $lines >"$work/input"
sort "$work/input" >"$work/sorted"

publish() {
    address="$1"
    for name in a b c; do
        start $name sub "$address"
    done
    until_true there sub 3
    halves kill_in_the_middle b | "$thirl" pub --quiet "$address?full=block" 2>"$work/pub.err" || fail "$address: the publisher failed"
    for name in a c; do
        until_true has "$work/$name" $lines
        cmp -s "$work/input" "$work/$name" || fail "$address: subscriber $name has something else than was published"
    done
    echo "$address: $lines messages published to 3 subscribers, one of them killed after $(wc -l <"$work/b") messages:"
    echo "    the two others have all, in order"
    finish a c
}

# finish NAME...: they are told to end, and do
finish() {
    for name; do
        eval "pid=\$pid_$name"
        kill -TERM "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    rm -f "$work/a" "$work/b" "$work/c" "$work"/*.err
}

all_done() {
    sort -u "$work/a" "$work/b" "$work/c" 2>/dev/null | cmp -s - "$work/sorted"
}

share() {
    address="$1"
    for name in a b c; do
        start $name pull "$address"
    done
    until_true there pull 3
    halves kill_in_the_middle b | "$thirl" push --quiet "$address" 2>"$work/push.err" || fail "$address: the pusher failed"
    until_true all_done
    twice=$(sort "$work/a" "$work/b" "$work/c" | uniq -d | wc -l)
    echo "$address: $lines jobs for 3 workers, one of them killed after $(wc -l <"$work/b") jobs, the pusher long gone:"
    echo "    every job was done, $((twice)) of them by two workers"
    finish a c
}

# Calls are sent one by one; those that the dead server had are sent to the other one.
call() {
    address="$1"
    for name in a b; do
        "$thirl" serve --quiet --echo "$address" 2>"$work/$name.err" &
        eval "pid_$name=$!"
        pids="$pids $!"
    done
    until_true there serve 2
    "$thirl" call --quiet "$address?retry" <"$work/input" >"$work/c" 2>"$work/call.err" &
    caller=$!
    until_true has "$work/c" $((lines / 50))
    answered=$(wc -l <"$work/c")
    kill -9 "$pid_b"
    wait "$pid_b" 2>/dev/null
    wait "$caller" || fail "$address: the caller failed"
    cmp -s "$work/input" "$work/c" || fail "$address: an answer is another one, or is missing"
    echo "$address: $lines calls to 2 servers, one of them killed after $answered calls: all were answered, each once"
    finish a
}

# Workers that are started again when they die, which nobody has to see to.
kill_worker() {
    until_true has "$work/c" $((lines / 50))
    wc -l <"$work/c" >"$work/answered"
    kill -9 "$(sed -n 's/.*"started","worker":2,"pid":\([0-9]*\).*/\1/p' "$work/run.err")"
}

started_again() {
    [ "$(grep -c '"started","worker":2,' "$work/run.err")" = 2 ]
}

supervise() {
    head -n $((lines / 10)) "$work/input" >"$work/few"
    {
        kill_worker &
        for from in $(seq 0 $((lines / 200)) $((lines / 10 - 1))); do
            tail -n +$((from + 1)) "$work/few" | head -n $((lines / 200))
            [ "$from" -lt $((lines / 20)) ] || until_true started_again
        done
    } | "$thirl" run -j 3 --json -- "$thirl" serve --quiet --echo {} >"$work/c" 2>"$work/run.err" || fail "thirl run: it failed"
    cmp -s "$work/few" "$work/c" || fail "thirl run: an answer is another one, or is missing"
    grep -q '"restarts":1}' "$work/run.err" || fail "thirl run: nobody was started again"
    echo "thirl run -j 3: $((lines / 10)) requests for 3 workers, one of them killed after $(cat "$work/answered") answers and started again:"
    echo "    all were answered, each once, in order"
    rm -f "$work/c" "$work/few" "$work/answered" "$work"/*.err
}

publish shm://patterns/published
share shm://patterns/jobs
call shm://patterns/calls
supervise
"$thirl" push --quiet shm://patterns/next </dev/null # whoever comes next clears up after the dead
[ -z "$(find "$THIRL_DIR" -mindepth 2)" ] || fail "left in the registry: $(find "$THIRL_DIR" -mindepth 2)"
echo "nothing is left in the registry"
