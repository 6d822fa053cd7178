#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Sleepers and wakers race until every mechanism has had so many races: sh tests/wake.sh COUNT [LINE…], lines of the conformance suite. What each run has
# seen goes to $WAKE_LOG, so whoever breaks this off goes on there. Ends with how many there were by now, and how many wake-ups were lost.
set -eu
count=${1:-10000}
[ $# = 0 ] || shift
program=${BUILD:-build}/tests/conform/wake_test
log=${WAKE_LOG:-${BUILD:-build}/wake.log}
most=25000 # times there and back in a run, by each of the four ways
trap 'exit 130' INT TERM
: >>"$log"

# All lines that the suite has, and which of them it would race.
[ $# != 0 ] || set -- $(WAKE_COUNT=1 "$program" '* no_wake_up_is_lost' | sed -n 's/^\[ *OK *\] \([^ ]*\) no_wake.*/\1/p')

# Of one line: races so far.
had() {
    awk -F '[:,] ' -v line="$1" '$1 == line { split($3, n, " "); sum += n[1] } END { printf "%d", sum }' "$log"
}

for line; do
    while so_far=$(had "$line") && [ "$so_far" -lt "$count" ]; do
        pairs=$(((count - so_far + 7) / 8))
        [ "$pairs" -le "$most" ] || pairs=$most
        if ! seen=$(WAKE_COUNT=$pairs WAKE_APART=$((pairs / 10)) CONFORM_SECONDS=86400 "$program" "$line no*" 2>&1); then
            printf '%s\n' "$seen" >&2
            exit 1
        fi
        new=$(printf '%s\n' "$seen" | grep ' races, ') || { echo "$line: no races" >&2; exit 1; }
        printf '%s\n' "$new" >>"$log"
    done
done

awk -F '[:,] ' '{
    split($3, n, " "); split($4, late, " "); split($5, lost, " ")
    if (!($1 in all)) order[++lines] = $1
    all[$1] += n[1]; looked[$1] += late[1]; gone[$1] += lost[1]
} END {
    for (i = 1; i <= lines; i++) printf "%s: %d races, %d looked by itself, %d lost\n", order[i], all[order[i]], looked[order[i]], gone[order[i]]
}' "$log"
