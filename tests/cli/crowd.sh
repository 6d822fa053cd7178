#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verbs pub, sub, push and pull, over every address whose mechanism carries them: each message to everybody, each job to one.
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

# 300 jobs for three workers: ADDRESS
share() {
    rm -f -- *.got
    for worker in a b c; do
        begin $worker /dev/null "$TOOL" pull --file $worker.got "$1"
    done
    until_true 40 there pull 3
    tool push "$1" <jobs 2>push.err
    pushed=$code
    until_true 200 written 300
    for worker in a b c; do
        kill -TERM "$(pid_of $worker)" 2>/dev/null # where there may be only one, the others were refused
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
    tool pub "$1" <first 2>pub.err
    published=$code
    tool pub "$1" <second 2>>pub.err
    [ "$published$code" = 00 ] || return 1
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

lines job 300 >jobs
lines first 100 >first
lines second 100 >second
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
        check "$name: three subscribers and two publishers" publish "$address"
        check "$name: each got everything, in order" each_has_all
        rm -f pub.err
    fi
done <every
finish
