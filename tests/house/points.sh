#!/bin/sh
# SPDX-License-Identifier: MIT
#
# doc/guarantees.md has each room of locks and of what is shared where a test kills, and its tests are there and name its points.
set -u
bad=0
table=$(sed -n '/^| What | Points/,/^$/p' doc/guarantees.md)

say() {
    if [ -n "$2" ]; then
        bad=1
        echo "not ok - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    else
        echo "ok - $1"
    fi
}

missing=
for room in $(sed -n 's/.*weave("\([a-z]*\)\..*/\1/p' sync/*.[ch] serve/area.c mem/own.[ch] mem/redo.c mem/pin.[ch] mem/shelf.[ch] mem/store.c mem/cell.[ch] \
    mem/arena.c mem/lot.c | LC_ALL=C sort -u); do
    line=$(printf '%s\n' "$table" | awk -F'|' -v room="\`$room.\`" 'index($3, room)')
    tests=$(printf '%s\n' "$line" | grep -o 'tests/[a-z_/]*\.c')
    # shellcheck disable=SC2086 # several words
    { [ -n "$tests" ] && grep -q "\"[a-z. ]*\b$room\." $tests; } || missing="$missing $room"
done
say 'every room of locks and shared things is in the table, and its test names its points' "$missing"

gone=
for test in $(grep -o 'tests/[a-z_/]*\.c' doc/guarantees.md | LC_ALL=C sort -u); do
    [ -f "$test" ] || gone="$gone $test"
done
say 'every test of the page is there' "$gone"

verbs=
for point in $(printf '%s\n' "$table" | cut -d'|' -f4-7 | grep -o '`[a-z]*\.[a-z.]*`' | tr -d '\`' | LC_ALL=C sort -u); do
    grep -rq "weave(\"$point" sync serve mem tests/*.c || verbs="$verbs $point"
done
say 'every point of the table is one' "$verbs"
exit $bad
