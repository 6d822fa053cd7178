#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Which branches of the library the tests have taken, by what a build with --coverage has counted: BUILD. A line for each room of the floors that
# carry messages, the poorest first; those below 95 % are marked. Counted is what a process did that ended by itself: what it did
# before it was killed is not.
set -u
cd "$(dirname "$0")/.." || exit 1
for floor in mem sync chan mech wire; do
    for notes in "$1"/weave/$floor/*.gcno; do
        gcov --branch-probabilities --no-output --object-file "$notes" "$floor/$(basename "$notes" .gcno).c" 2>/dev/null
    done
done | awk -F"[':% ]" '
    /^File/ { room = $3; if (room !~ /^(mem|sync|chan|mech|wire)\//) room = "" }
    /^Taken at least once/ && room != "" {
        taken = $5 * $8 / 100
        if (!(room in all) || taken > best[room]) { best[room] = taken; all[room] = $8 } # a header: where it was used most
    }
    END {
        for (room in all) {
            floor = substr(room, 1, index(room, "/") - 1)
            sum[floor] += best[room]; of[floor] += all[room]; hits += best[room]; whole += all[room]
            printf "%6.1f %5d %s%s\n", 100 * best[room] / all[room], all[room], room, best[room] < .95 * all[room] ? "  below" : "" | "sort -n"
        }
        close("sort -n")
        for (floor in of) printf "%6.1f %5d %s/\n", 100 * sum[floor] / of[floor], of[floor], floor
        if (whole) printf "%6.1f %5d branches in all\n", 100 * hits / whole, whole
        else print "nothing was counted: make coverage"
    }'
