#!/bin/sh
# SPDX-License-Identifier: MIT
#
# AFL++ on every parser, or on those named: sh tests/fuzz/afl.sh [TARGET...]. The same targets and the same corpora as fuzz.sh has; SECONDS says how
# long each. What it learns is in build/afl/out, where it goes on the next time; an input that ends a target is in crashes/ or hangs/ there.
set -u

if ! command -v afl-clang-fast >/dev/null 2>&1 || ! command -v afl-fuzz >/dev/null 2>&1; then
    echo "make afl needs AFL++: apt-get install afl++" >&2
    exit 1
fi
export AFL_QUIET=1 AFL_NO_UI=1 AFL_SKIP_CPUFREQ=1 AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_NO_AFFINITY=1 AFL_AUTORESUME=1
"${MAKE:-make}" -s CC=afl-clang-fast EXTRA=fuzz B=build/afl QUICK= fuzzers || exit 1

[ $# != 0 ] || set -- $(ls build/afl/tests/fuzz | sed -n '/\./!p')
failed=0
for target; do
    out=build/afl/out/$target
    mkdir -p "$out"
    registry=$(mktemp -d /dev/shm/thirl-fuzz.XXXXXX) || exit 1
    echo "== $target, ${SECONDS:-60} s"
    THIRL_DIR=$registry nice afl-fuzz -i "tests/fuzz/corpus/$target" -o "$out" -V "${SECONDS:-60}" -m none -t 20000 -G 2000 \
        -- build/afl/tests/fuzz/"$target" >build/afl/"$target".log 2>&1 || failed=1
    rm -rf "$registry"
    sed -n 's/^\(execs_done\|corpus_count\|saved_crashes\|saved_hangs\) *: /\1 /p' "$out"/default/fuzzer_stats 2>/dev/null | tr '\n' ' '
    echo
    [ "$(sed -n 's/^saved_\(crashes\|hangs\) *: //p' "$out"/default/fuzzer_stats 2>/dev/null | sort -u | tr -d '\n')" = 0 ] || failed=1
done
exit $failed
