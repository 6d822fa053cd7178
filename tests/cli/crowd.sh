#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verbs pub, sub, push, pull, call and serve, over every address whose mechanism carries them: each message to everybody, each job
# to one, each request to one and back.
. "$(dirname "$0")/tap"

lines() {
    seq -f "$1 %g" "$2"
}

# Everything that the receivers have written, in one order.
all() {
    sort -- *.got 2>/dev/null
}

written() {
    [ "$(cat -- *.got 2>/dev/null | wc -l)" -ge "$1" ]
}

# How many ends of that role does the registry show? ROLE NUMBER
there() {
    [ "$(timeout -s KILL 10 "$TOOL" list 2>/dev/null | awk '{print $2}' | grep -c "^$1\$")" = "$2" ]
}

# Does the registry show each of the workers, or has it ended?
settled() {
    ended=0
    for worker in a b c; do
        kill -0 "$(pid_of $worker)" 2>/dev/null || ended=$((ended + 1))
    done
    there pull $((3 - ended))
}

# 300 jobs for three workers: ADDRESS
share() {
    rm -f -- *.got
    for worker in a b c; do
        begin $worker /dev/null "$TOOL" pull --file $worker.got "$1"
    done
    until_true 100 settled # where there may be only one, the others are refused
    tool push "$1" <jobs 2>push.err
    pushed=$code
    until_true 200 written 300
    for worker in a b c; do
        kill -TERM "$(pid_of $worker)" 2>/dev/null
        await $worker
    done
    [ "$pushed" = 0 ]
}

# Three subscribers, two publishers: ADDRESS
publish() {
    rm -f -- *.got
    for subscriber in a b c; do
        begin $subscriber /dev/null "$TOOL" sub --file $subscriber.got --count 200 "$1"
    done
    until_true 100 there sub 3
    for each in first second; do
        # Where subscribers can only call when the publisher is there, they are given time to.
        { sleep 0.5; cat $each; } | timeout -s KILL 30 "$TOOL" pub "$1" 2>>pub.err || return 1
    done
    for subscriber in a b c; do
        await $subscriber
        [ "$code" = 0 ] || return 1
    done
}

each_has_all() {
    for subscriber in a b c; do
        cat first second | cmp -s - $subscriber.got || return 1
    done
}

# As many servers as one address can have, and what is answered: ADDRESS
serve() {
    case $1 in
    shm:*) servers='a b' ;;
    *) servers=a ;;
    esac
    for server in $servers; do
        begin $server /dev/null "$TOOL" serve "$1" -- sed 's/^/answer to /'
    done
    until_true 100 there serve "$(echo "$servers" | wc -w)"
    tool call "$1" <few >answers 2>call.err
    [ "$code" = 0 ] && sed 's/^/answer to /' few | cmp -s - answers
}

refuses() {
    for server in $servers; do
        kill -TERM "$(pid_of $server)"
        await $server
        [ "$code" = 143 ] || return 1
    done
    begin c /dev/null "$TOOL" serve "$1" -- false
    until_true 100 there serve 1
    tool call "$1" --message hello --timeout 10s >answers 2>call.err
    called=$code
    kill -TERM "$(pid_of c)"
    await c
    [ "$called" = 6 ] && [ ! -s answers ] && contains c.err 'false ended with status 1'
}

forms() {
    begin echo /dev/null "$TOOL" serve --echo --count 3 "$1"
    tool call "$1" --message 'hello, world' --json >json 2>call.err || return 1
    [ "$(cat json)" = '{"call":0,"more":false,"size":12,"text":"hello, world"}' ] || return 1
    printf '\000\000\000\003a\nb\000\000\000\000' >lengths
    tool call "$1" --length <lengths >answers 2>call.err
    await echo
    [ "$code" = 0 ] && cmp -s lengths answers
}

lines job 300 >jobs
lines first 100 >first
lines second 100 >second
lines question $([ -n "${BRIEF:-}" ] && echo 5 || echo 20) >few # each is a process
sort jobs >sorted
addresses crowd >every
while read -r name roles address; do
    if [ "$address" = - ]; then
        continue
    fi
    if carries "$roles" push; then
        check "$name: three workers and a pusher" share "$address"
        check "$name: each job was done once" eval 'all | cmp -s - sorted'
        rm -f push.err
    fi
    if carries "$roles" pub; then
        case $address in
        udp:*) address=udp://239.255.77.1@lo:${address##*:} ;; # to a group
        esac
        check "$name: three subscribers and two publishers" publish "$address"
        check "$name: each got everything, in order" each_has_all
        rm -f pub.err
    fi
    if carries "$roles" serve; then
        check "$name: all servers that there can be, and a caller" serve "$address"
        check "$name: a command that fails is no answer" refuses "$address"
        check "$name: --echo, --count, --json and --length" forms "$address"
        rm -f call.err
    fi
done <every
finish
