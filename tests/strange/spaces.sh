#!/bin/sh
# SPDX-License-Identifier: MIT
#
# One side in another namespace: of processes, of System V IPC and message queues, of networks, of mounts, of users, or all of them at once
# with nothing but the registry of the other side's files. What cannot meet there says so in time.
. "$(dirname "$0")/pair.sh"

here=$BUILD/strange/here
[ -x "$here/run" ] || { echo "skip - not built: make strange"; exit 77; }

# A side: NAME WORD... before the tool and the party
side() {
    name=$1
    shift
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$*" "$here/run" >"$work/$name"
    printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$*" "$here/run.party" >"$work/$name.party"
    chmod +x "$work/$name" "$work/$name.party"
    "$work/$name" version >version.out 2>version.err || { skip "$name: $(head -n 1 version.err)"; return 1; }
}

# Both ways, and what does not meet there: NAME SCHEMES KINDS APART
meets_in() {
    schemes=$2 kinds=$3
    exchange "$here/run" "$work/$1" "to $1"
    exchange "$work/$1" "$here/run" "from $1"
    for address in $4; do
        begin far /dev/null "$work/$1" recv "$address" --timeout 1s
        timeout -s KILL 10 "$here/run" send "$address" --message lost --timeout 1s >near.out 2>near.err
        sent=$?
        await far
        # Whoever waits may see the other one come and leave, in the registry; nothing came through.
        check "$1: who does not meet over ${address%%:*} is told in time" test "$sent" = 2 -a -s near.err -a $code -le 2 -a ! -s far.out
    done
}

all='mutex rwlock sem barrier event cond once'
side pid unshare --pid --fork --kill-child --mount-proc && {
    meets_in pid 'unix fifo mq sysv tcp' "$all" ''
    begin far /dev/null "$here/run.party" inherit 20
    timeout -s KILL 30 "$work/pid.party" inherit 20 >near.out 2>near.err
    sent=$?
    kill -9 "$(pid_of far)"
    await far
    cat far.err >>near.err
    check 'pid: a lock that lends priority is refused, and says why' grep -q 'PID namespace' near.err
}
side ipc unshare --ipc && meets_in ipc 'unix fifo tcp' "$all inherit" "mq://strange-ipc-$$ sysv://strange-ipc-$$"
side net unshare --net && meets_in net 'unix fifo mq sysv' "$all inherit" "unix://@strange-net-$$"
side mount unshare --mount && meets_in mount 'unix fifo mq sysv tcp' "$all inherit" ''
side user unshare --user --map-root-user && meets_in user 'unix fifo mq sysv tcp' "$all inherit" ''
side box bwrap --unshare-all --die-with-parent --ro-bind / / --dev-bind /dev /dev --proc /proc --bind "$work" "$work" && {
    meets_in box 'unix fifo' "$all" "mq://strange-box-$$ unix://@strange-box-$$"
}
finish
