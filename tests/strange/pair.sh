# SPDX-License-Identifier: MIT
#
# Read by the scripts beside it: two builds of the tool, $TOOL and $other, exchange everything through one registry, both ways.
. "$(dirname "$0")/../cli/tap"

# One side in the background, the other in front: NAME A B ADDRESS INPUT VERBS... as "recv send"
both() {
    what=$1 first=$2 second=$3 address=$4 from=$5 await_verb=$6 give_verb=$7
    shift 7
    begin far /dev/null "$first" "$await_verb" "$address" "$@"
    until_true 100 seen "$address"
    timeout -s KILL 30 "$second" "$give_verb" "$address" "$@" <"$from" >near.out 2>near.err
    sent=$?
    await far
    check "$what: $give_verb and $await_verb" test "$sent$code" = 00
    check "$what: nothing lost, torn or added" cmp -s "$from" far.out
}

# The same where the one who waits goes on waiting for the next one: NAME ADDRESS INPUT VERBS
stays() {
    what=$1 address=$2 from=$3
    begin far /dev/null "$first" "$4" "$address"
    until_true 100 seen "$address .* [1-9][0-9]* +[^ ]+\$" # it sleeps: what is listed may not have joined yet
    timeout -s KILL 30 "$second" "$5" "$address" <"$from" >near.out 2>near.err
    code=$?
    check "$what: $5" test $code = 0
    check "$what: and $4, nothing lost, torn or added" until_true 100 cmp -s "$from" far.out
    kill -9 "$(pid_of far)"
    await far
}

# A B NAME of both together
exchange() {
    first=$1 second=$2 name=$3
    rm -rf "$THIRL_DIR"
    for kind in lines large; do
        both "$name, $kind" "$first" "$second" "shm://strange/$kind" $kind recv send
        stays "$name, $kind" "shm://strange/$kind-news" $kind sub pub
        stays "$name, $kind" "shm://strange/$kind-work" $kind pull push
    done
    for scheme in $schemes; do
        case $scheme in
        unix | fifo) address=$scheme://$work/$scheme.end ;;
        tcp) address=tcp://127.0.0.1:$((20000 + $$ % 10000)) ;;
        *) address=$scheme://strange-$$ ;;
        esac
        both "$name, $scheme" "$first" "$second" "$address" lines recv send
        timeout -s KILL 10 "$TOOL" clean "$address" >clean.out 2>&1
    done

    begin far /dev/null "$first" serve shm://strange/calls --echo
    timeout -s KILL 30 "$second" call shm://strange/calls <lines >near.out 2>near.err
    check "$name: call and serve" cmp -s lines near.out
    kill -9 "$(pid_of far)"
    await far

    begin far /dev/null "$first" ping --serve shm://strange/ping
    timeout -s KILL 30 "$second" ping shm://strange/ping --count 50 --size 100 >near.out 2>near.err
    code=$?
    check "$name: ping" test $code = 0
    await far

    timeout -s KILL 10 "$first" state strange/mode --message "by $name"
    check "$name: a state" test "$(timeout -s KILL 10 "$second" state strange/mode)" = "by $name"
    begin far /dev/null "$first" state strange/mode --watch --timeout 10s
    until_true 100 test -s far.out
    timeout -s KILL 10 "$second" state strange/mode --message "changed"
    check "$name: a state that is watched" until_true 100 grep -q changed far.out
    kill -9 "$(pid_of far)"
    await far

    timeout -s KILL 10 "$first" cache strange/cache put "key of $name" "value of $name" >near.out 2>near.err
    check "$name: a cache" test "$(timeout -s KILL 10 "$second" cache strange/cache get "key of $name")" = "value of $name"

    # Whose turn it is, how many have come, and what one wakes the other with.
    for kind in $kinds; do
        begin far /dev/null "$first.party" $kind 300
        timeout -s KILL 30 "$second.party" $kind 300 >near.out 2>near.err
        sent=$?
        await far
        check "$name: $kind by name, $(cat far.out)" test "$sent$code" = 00
        rm -f "$THIRL_DIR"/area/strange*
    done

    # Whoever dies is missed at once, and by name.
    begin far /dev/null "$first" recv shm://strange/death
    begin near /dev/null "$second" ping shm://strange/death --count 1000 --interval 100ms
    until_true 100 seen 'strange/death .*linked|linked.*strange/death'
    kill -9 "$(pid_of far)"
    await far
    before=$(date +%s)
    await near
    check "$name: a death is told at once" test $code = 3 -a $(($(date +%s) - before)) -le 2
    timeout -s KILL 10 "$first" doctor >near.out 2>near.err
    code=$?
    check "$name: the doctor sees both" test $code -le 8
}

schemes='unix tcp fifo mq sysv'
kinds='mutex inherit rwlock sem barrier event cond once'
awk 'BEGIN { for (i = 0; i < 5000; i++) print "line " i " of many" }' >lines
{ echo short; head -c 3000000 /dev/zero | tr '\0' x; echo; echo short again; } >large

# Both ways with the build of that NAME; or it skips, with the reason.
meets() {
    there=$BUILD/strange/$1
    [ -x "$there/run" ] || { echo "skip - $(cat "$there/why" 2>/dev/null || echo "not built: make strange")"; exit 77; }
    timeout 20 "$there/run" version >version.out 2>version.err
    code=$?
    check "$1: the tool says its version" test $code = 0
    exchange "$BUILD/strange/here/run" "$there/run" "to $1"
    exchange "$there/run" "$BUILD/strange/here/run" "from $1"
    finish
}
