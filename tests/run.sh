#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Runs test programs, JOBS (three for each processor: they wait a lot) at once: sh tests/run.sh PROGRAM... A *.sh is run by sh. Each
# gets a registry directory of its own and TIMEOUT seconds (240). Counted are cmocka's tests and lines "ok …", "not ok …",
# "skip …"; exit 77 means skipped, and the last line of the output is the reason. Seconds are what the clock says, and in brackets
# what the program and all its children took of processors. The last line here is "N passed, N failed, N skipped"; above it stand, on
# lines that begin with "!", what failed and what it said, and before those why tests were skipped.
set -u

limit=${TIMEOUT:-240}

# Reads a program's output; prints how many passed, failed and were skipped in it.
count() {
    awk '
        /^\[  PASSED  \] [0-9]+ test/ { p += $4 }
        /^\[  FAILED  \] [0-9]+ test/ { f += $4 }
        /^\[  SKIPPED \] [0-9]+ test/ { c += $4 }
        /^ok( |$)/ { if (tolower($0) ~ /# *skip/) s++; else p++ }
        /^not ok( |$)/ { f++ }
        /^skip(ped)?( |:|$)/ { s++ }
        END { print p + 0, f + 0, (c ? c : s) + 0 } # cmocka counts what it skips, and its tests print why' "$1"
}

explain() {
    case $1 in
    124 | 137) echo "ran into the limit of $limit s, or was killed" ;;
    *) echo "exit $1" ;;
    esac
}

# Seconds of processors, in programs and in the kernel, that the children of a shell have taken, of whom `times` wrote this file.
worked() {
    awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); all += 60 * t[1] + t[2] } printf "%.1f", all }' "$1"
}

# Of what a failed program printed: each test that failed, and its first words.
gist() {
    awk -v said="$(explain "$code")" '
        function tell(test) {
            if (++tests <= 10) {
                print "    " test
                for (i = 1; i <= lines; i++) print "        " words[i]
            }
            lines = 0
            open = ""
        }
        BEGIN { most = 4 }
        /^[[:space:]]*$/ || /^skip/ { next }
        /^\[ RUN      \]/ { open = substr($0, 14); lines = 0; next }
        /^\[  FAILED  \]/ { if (open != "") tell(open); next }
        /^\[/ && !/^\[ *(ERROR|LINE) *\]/ { open = ""; lines = 0; next }
        /^(not )?ok( |$)/ { if (mark != "") tell(mark); mark = /^not/ ? $0 : ""; lines = 0; next }
        open != "" || mark != "" { if (lines < most) words[++lines] = substr($0, 1, 240); next }
        { last[++others] = substr($0, 1, 240) }
        END {
            if (mark != "") tell(mark)
            if (open != "") tell(open " was running at the end: " said)
            if (tests > 10) print "    and " tests - 10 " more"
            for (i = others > most ? others - most + 1 : 1; tests == 0 && i <= others; i++) print "    " last[i]
        }' "$1"
}

# Why it was skipped, or tests of it: a line for each of them.
reasons() {
    { grep -E '^(skip|ok .*# *[sS][kK][iI][pP])' "$1" || tail -n 1 "$1"; } |
        sed -E 's/^(skip|ok .*# *[sS][kK][iI][pP])(ped)?[^[:alnum:]]*//'
}

# What is said of a program that has ended.
report() {
    name=${1#build/}
    word=ok
    [ "$p" != 0 ] || word=skipped
    [ "$f" = 0 ] || word=FAILED
    printf '%-7s %-44s %6s s %7s  %s\n' $word "$name" "$took" "($work)" "$p passed, $f failed, $s skipped"
    if [ "$f" != 0 ]; then
        grep -vE '^(ok |skip|\[ RUN  |\[       OK |\[  SKIPPED )' "$out" | tail -n 80 | sed 's/^/    | /'
        echo "    | ($(explain "$code"))"
        {
            echo "$name: $(explain "$code")"
            gist "$out"
        } | sed 's/^/! /' >>"$THIRL_TEST_WORK/failed"
    fi
    [ "$s" = 0 ] || reasons "$out" >>"$THIRL_TEST_WORK/skipped"
}

run_one() {
    out=$(mktemp "$THIRL_TEST_WORK/out.XXXXXX") || exit 1
    registry=$(mktemp -d "$THIRL_TEST_WORK/registry.XXXXXX") || exit 1
    case $1 in
    *.sh) run="sh $1" ;;
    */*) run=$1 ;;
    *) run=./$1 ;;
    esac
    # ThreadSanitizer wants its shadow where address space layout randomization may have put something else.
    prefix=
    if [ "${EXTRA:-}" = tsan ] && setarch -R true 2>/dev/null; then prefix='setarch -R'; fi
    # To look for leaks at the end of each of thousands of processes takes longer than all else: conform/end_test, which opens and
    # closes all there is, and the programs of single rooms do.
    leaks=1
    case $1 in
    */conform/end_test) ;;
    */conform/* | */crash/* | *.sh) leaks=0 ;;
    esac
    begin=$(date +%s.%N)
    THIRL_DIR=$registry THIRL_COSTS=$registry/costs ASAN_OPTIONS=detect_leaks=$leaks:${ASAN_OPTIONS:-} timeout -k 5 "$limit" $prefix $run >"$out" 2>&1 </dev/null
    code=$?
    took=$(echo "$begin $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    times >"$out.times" # in this shell: a pipe would make it the times of another one
    work=$(worked "$out.times")
    rm -rf "$registry"
    read -r p f s <<COUNTED
$(count "$out")
COUNTED
    if [ $code = 77 ]; then
        [ "$s" != 0 ] || s=1
    elif [ $code != 0 ]; then
        [ "$f" != 0 ] || f=1
    elif [ $((p + f + s)) = 0 ]; then
        echo "no test spoke" >>"$out"
        f=1
    fi
    (
        flock 9
        report "$1"
        echo "$p $f $s" >>"$THIRL_TEST_WORK/sums"
    ) 9>"$THIRL_TEST_WORK/lock"
}

if [ "${1:-}" = --one ]; then
    run_one "$2"
    exit
fi

shm=/dev/shm
[ -d $shm ] && [ -w $shm ] || shm=${TMPDIR:-/tmp}
THIRL_TEST_WORK=$(mktemp -d "$shm/thirl-test.XXXXXX") || exit 1
trap 'rm -rf "$THIRL_TEST_WORK"' EXIT
trap 'exit 130' INT TERM
: "${UBSAN_OPTIONS:=print_stacktrace=1}"
export UBSAN_OPTIONS THIRL_TEST_WORK
for list in sums skipped failed; do : >"$THIRL_TEST_WORK/$list"; done

printf '%s\n' "$@" | xargs -P "${JOBS:-$((3 * $(nproc)))}" -n 1 sh "$0" --one
[ ! -s "$THIRL_TEST_WORK/skipped" ] || echo 'skipped:'
sort "$THIRL_TEST_WORK/skipped" | uniq -c | sort -rn
awk -v programs=$# 'END { if (NR < programs) print "! " programs - NR " programs were not counted" }' "$THIRL_TEST_WORK/sums"
cat "$THIRL_TEST_WORK/failed"
awk -v programs=$# '
    { p += $1; f += $2; s += $3 }
    END { f += programs - NR; printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f != 0 || p == 0 }' \
    "$THIRL_TEST_WORK/sums"
