#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each promise of SECURITY.md names a test, each test that it names is there, and what is not promised says so.
set -u
bad=0

say() {
    if [ -n "$2" ]; then
        bad=1
        echo "not ok - $1"
        printf '%s\n' "$2" | sed 's/^/# /'
    else
        echo "ok - $1"
    fi
}

gone=
for test in $(grep -o 'tests/[a-z_/]*\.[a-z]*' SECURITY.md | LC_ALL=C sort -u); do
    [ -f "$test" ] || gone="$gone $test"
done
say 'every test that SECURITY.md names is there' "$gone"

rows=$(grep '^| ' SECURITY.md | grep -v '^| What ')
[ -n "$rows" ] || rows='there is no line'
say 'each of its lines names a test, or says that nothing is promised' \
    "$(printf '%s\n' "$rows" | awk -F'|' '$4 !~ /`tests\// && $3 !~ /\*\*not\*\*/')"
exit $bad
