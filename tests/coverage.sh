#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Which branches of the library the tests have taken, by what a build with --coverage has counted: BUILD. A line for each room of the floors that
# carry messages, the poorest first: how many hundredths are taken, how many there are, how many nobody has explained. Those that are in
# tests/unreached/ are explained: "FILE :: a part of the line :: why". What was not taken and is not explained stands in BUILD/unreached, and
# so does what is explained and was taken. Counted is what a process did that ended by itself: what it did before it was killed is not.
set -u
cd "$(dirname "$0")/.." || exit 1
build=$1
for floor in mem sync chan mech wire; do
    for notes in "$build"/weave/$floor/*.gcno; do
        gcov --stdout --branch-probabilities --branch-counts --object-file "$notes" "$floor/$(basename "$notes" .gcno).c" 2>/dev/null
    done
done | awk -v list="$build/unreached" '
    # What a header has stands in each file that uses it: a branch is taken if it is in one of them.
    FILENAME != "-" {
        if (split($0, part, / :: /) == 3) { reasons++; file[reasons] = part[1]; piece[reasons] = part[2]; used[reasons] = 0 }
        next
    }
    /^ *[^:]*: *[0-9]+:/ && !/^(branch|call|function)/ {
        rest = substr($0, index($0, ":") + 1)
        line = rest + 0; text = substr(rest, index(rest, ":") + 1)
        if (line == 0) { if (text ~ /^Source:/) room = substr(text, 8) } else source[room, line] = text
        next
    }
    /^branch/ && room ~ /^(mem|sync|chan|mech|wire)\// {
        branch = room SUBSEP line SUBSEP $2
        if (!(branch in taken)) { all[room]++; order[++branches] = branch; taken[branch] = 0 }
        if ($4 + 0 > 0) taken[branch] = 1
    }
    function explained(room, text,    i, found) {
        for (i = 1; i <= reasons; i++)
            if (file[i] == room && index(text, piece[i])) { used[i] = 1; found = 1 }
        return found
    }
    END {
        printf "" >list
        for (i = 1; i <= branches; i++) {
            split(order[i], place, SUBSEP)
            if (taken[order[i]]) { hits[place[1]]++; continue }
            text = source[place[1], place[2]]
            if (explained(place[1], text)) continue
            bare[place[1]]++
            sub(/^ +/, "", text)
            printf "%s:%d: branch %d: %s\n", place[1], place[2], place[3], text >list
        }
        for (i = 1; i <= reasons; i++)
            if (!used[i]) printf "%s: explained, and taken: %s\n", file[i], piece[i] >list
        for (room in all) {
            floor = substr(room, 1, index(room, "/") - 1)
            sum[floor] += hits[room]; of[floor] += all[room]; open[floor] += bare[room]
            printf "%6.1f %5d %4d %s%s\n", 100 * hits[room] / all[room], all[room], bare[room], room, hits[room] < .95 * all[room] ? "  below" : "" | "sort -n"
        }
        close("sort -n")
        for (floor in of) {
            printf "%6.1f %5d %4d %s/\n", 100 * sum[floor] / of[floor], of[floor], open[floor], floor
            taken_all += sum[floor]; whole += of[floor]; open_all += open[floor]
        }
        if (whole) printf "%6.1f %5d branches in all, %d neither taken nor explained\n", 100 * taken_all / whole, whole, open_all
        else print "nothing was counted: make coverage"
    }' tests/unreached/* -
