#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The map in doc/house.md has each room of the library once, and no room that is not there.
set -u
bad=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

ls base/*.[ch] mem/*.[ch] sync/*.[ch] wire/*.[ch] mech/*.[ch] chan/*.[ch] pattern/*.[ch] serve/*.[ch] | sed 's/\.[ch]$//' | LC_ALL=C sort -u >"$work/built"
sed -n '/^| Room |/,/^$/s/^| `\([a-z]*\/[a-z]*\)` |.*/\1/p' doc/house.md | LC_ALL=C sort >"$work/drawn"

say() {
    if [ -s "$work/$2" ]; then
        bad=1
        echo "not ok - $1"
        sed 's/^/# /' "$work/$2"
    else
        echo "ok - $1"
    fi
}

LC_ALL=C comm -23 "$work/built" "$work/drawn" >"$work/missing"
LC_ALL=C comm -13 "$work/built" "$work/drawn" >"$work/gone"
uniq -d "$work/drawn" >"$work/twice"
say 'every room is on the map' missing
say 'every room of the map is there' gone
say 'no room is there twice' twice
exit $bad
