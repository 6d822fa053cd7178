#!/bin/sh
# SPDX-License-Identifier: MIT
#
# How many instructions of thirl's own a hot path has, exactly: on a busy machine a slower path is seen by nothing else. counts.txt has them for
# each compiler. After a change that is meant to change them: sh tests/bench/counts.sh --write. BUILD: where the programs are; CC: what they were built with.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/begin

table=tests/bench/counts.txt
times=1000 # a path; a thousandth of the sum is one of them

command -v valgrind >/dev/null 2>&1 || skip "valgrind is not installed"
# shellcheck disable=SC2086 # it may be several words
compiler="$(${CC:-cc} --version | sed -n '1{s/.*clang.* \([0-9.]*\).*/clang-\1/;t p
    s/.* \([0-9.]*\)$/gcc-\1/;:p
    p}')-$(uname -m)"
export THIRL_DIR="$work/registry"

# instructions NAME: those of the program itself, and not of the C library, which differ from processor to processor
instructions() {
    timeout 60 valgrind --tool=callgrind --callgrind-out-file="$work/out" --collect-atstart=no --toggle-collect=path_counted \
        "$bench" count-path "$1" $times >"$work/log" 2>&1 || return 1
    awk '
        /^c?ob=/ { key = $1; sub(/^c?ob=/, "", key); if ($2 != "") name[key] = $2 }
        /^ob=/ { own = name[key] ~ /thirl-bench$/; next }
        /^calls=/ { getline; next } # what the callee took stands there, and where it is at home as well
        /^[-+*0-9]/ { if (own) sum += $2 }
        END { print sum + 0 }' "$work/out"
}

if [ "${1:-}" = --write ]; then
    { grep -v "^$compiler " $table; for name in $("$bench" count-path); do echo "$compiler $name $(instructions "$name")"; done; } >"$work/new"
    cat "$work/new" >$table
    exit 0
fi
grep -q "^$compiler " $table || skip "there are no counts for $compiler in $table"
for name in $("$bench" count-path); do
    wanted=$(sed -n "s/^$compiler $name //p" $table)
    count=$(instructions "$name") || { echo "not ok - $name under valgrind"; cat "$work/log"; failed=1; continue; }
    if [ "$count" = "$wanted" ]; then
        echo "ok - $name: $count instructions in $times"
    else
        echo "not ok - $name: $count instructions in $times, and not ${wanted:-known}"
        failed=1
    fi
done
exit $failed
