#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs test programs one after the other: sh tests/run.sh PROGRAM... A *.sh is run by sh. Each gets a registry directory of
# its own and TIMEOUT seconds (120). Counted are cmocka's tests and lines "ok …", "not ok …", "skip …"; exit 77 means
# skipped, and the last line of the output is the reason. The last line here is "N passed, N failed, N skipped".
set -u

limit=${TIMEOUT:-120}
passed=0 failed=0 skipped=0
shm=/dev/shm
[ -d $shm ] && [ -w $shm ] || shm=${TMPDIR:-/tmp}
work=$(mktemp -d) || exit 1
registry=
trap 'rm -rf "$work" ${registry:+"$registry"}' EXIT
trap 'exit 130' INT TERM

# ThreadSanitizer wants its shadow where address space layout randomization may have put something else.
prefix=
if [ "${EXTRA:-}" = tsan ] && setarch -R true 2>/dev/null; then prefix='setarch -R'; fi
: "${UBSAN_OPTIONS:=print_stacktrace=1}"
export UBSAN_OPTIONS

# Reads a program's output; prints how many passed, failed and were skipped in it.
count() {
    awk '
        /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test/ { c += $4 }
        /^ok( |$)/ { if (tolower($0) ~ /# *skip/) s++; else p++ }
        /^not ok( |$)/ { f++ }
        /^skip( |:|$)/ { s++ }
        END { print p + 0, f + 0, (c ? c : s) + 0 } # cmocka counts what it skips, and its tests print why' "$1"
}

explain() {
    case $1 in
    124 | 137) echo "ran into the limit of $limit s, or was killed" ;;
    *) echo "exit $1" ;;
    esac
}

for program; do
    registry=$(mktemp -d "$shm/thirl-test.XXXXXX") || exit 1
    case $program in
    *.sh) run="sh $program" ;;
    */*) run=$program ;;
    *) run=./$program ;;
    esac
    begin=$(date +%s.%N)
    THIRL_DIR=$registry timeout -k 5 "$limit" $prefix $run >"$work/out" 2>&1 </dev/null
    code=$?
    took=$(echo "$begin $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    rm -rf "$registry"
    read -r p f s <<COUNTED
$(count "$work/out")
COUNTED
    if [ $code = 77 ]; then
        [ "$s" != 0 ] || s=1
    elif [ $code != 0 ]; then
        [ "$f" != 0 ] || f=1
    elif [ $((p + f + s)) = 0 ]; then
        echo "no test spoke" >>"$work/out"
        f=1
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    name=${program#build/}
    word=ok
    [ "$p" != 0 ] || word=skipped
    [ "$f" = 0 ] || word=FAILED
    printf '%-7s %-44s %6s s  %s\n' $word "$name" "$took" "$p passed, $f failed, $s skipped"
    if [ "$f" != 0 ]; then
        grep -vE '^(ok |\[ RUN  |\[       OK )' "$work/out" | tail -n 80 | sed 's/^/    | /'
        echo "    | ($(explain $code))"
    elif [ "$s" != 0 ]; then
        grep -E '^(skip|ok .*# *[sS][kK][iI][pP])' "$work/out" >"$work/why" || tail -n 1 "$work/out" >"$work/why"
        sed 's/^/    /' "$work/why"
    fi
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $((passed + failed)) != 0 ]
