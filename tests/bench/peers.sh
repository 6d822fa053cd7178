#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each program that stands beside thirl in `thirl-bench --peers`, as far as its library is here: it carries messages there and back and one way, and
# says two figures for each; whoever cannot start says so. BUILD: where the programs are.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/begin

export THIRL_DIR="$work/registry"

# figures PROGRAM WORD NONE: two numbers, the first of them more than 0; 0 where NONE is 1
figures() {
    line=$(timeout 60 "$build/peer/$1" "$2" 64 0.01 2>"$work/said") || {
        cat "$work/said"
        return 1
    }
    echo "$line" | awk -v none="$3" 'NF != 2 || $1 !~ /^[0-9.]+$/ || $2 !~ /^[0-9.]+$/ || ($1 == 0) != none { exit 1 }' || {
        echo "# $line"
        return 1
    }
}

for path in "$build"/peer/*; do
    program=${path##*/} server='' calls=0
    case $program in
    *.*) continue ;;
    nats) server=nats-server ;;
    iceoryx)
        echo "skip iceoryx: a machine has one daemon of it, which somebody else may be using"
        continue
        ;;
    call | prompt | sdbus) calls=1 ;;
    esac
    if [ -n "$server" ] && ! command -v $server >/dev/null 2>&1; then
        echo "skip $program: there is no $server"
        continue
    fi
    check "$program: there and back" figures "$program" rtt 0
    check "$program: one way" figures "$program" oneway $calls
done

# Without what it goes through it fails at once, and says so.
if [ -x "$build/peer/nats" ]; then
    said=$(PATH=/nowhere "$build/peer/nats" rtt 64 0.01 2>&1)
    check 'no server: an error' [ $? -eq 1 ]
    check 'no server: said' [ "${said%cannot be started*}" != "$said" ]
fi
exit $failed
