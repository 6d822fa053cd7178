#!/bin/sh
# SPDX-License-Identifier: MIT
#
# libFuzzer on every parser, or on those named: sh tests/fuzz/fuzz.sh [TARGET...]. SECONDS says how long each; what it learns is
# in build/fuzz/corpus. What it finds is left in build/fuzz/found. MERGE=1: puts what is worth keeping into tests/fuzz/corpus.
set -u

if ! command -v clang >/dev/null 2>&1; then
    echo "make fuzz needs clang: apt-get install clang libclang-rt-14-dev" >&2
    exit 1
fi
if [ ! -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a)" ] &&
    ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n); int LLVMFuzzerTestOneInput(const char *d, long n) { return !d && n; }' |
    clang -x c -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null; then
    echo "make fuzz needs clang's runtime for fuzzing: apt-get install libclang-rt-14-dev" >&2
    exit 1
fi
"${MAKE:-make}" -s CC=clang EXTRA=fuzz fuzzers || exit 1

[ $# != 0 ] || set -- $(ls build/fuzz/tests/fuzz | sed -n '/\./!p')
failed=0
mkdir -p build/fuzz/found
for target; do
    learnt=build/fuzz/corpus/$target kept=tests/fuzz/corpus/$target
    mkdir -p "$learnt" "$kept"
    registry=$(mktemp -d /dev/shm/thirl-fuzz.XXXXXX) || exit 1
    echo "== $target, ${SECONDS:-60} s"
    THIRL_DIR=$registry nice build/fuzz/tests/fuzz/"$target" -max_total_time="${SECONDS:-60}" -timeout=20 -max_len=2000 \
        -rss_limit_mb=1500 -artifact_prefix=build/fuzz/found/"$target"- -print_final_stats=1 -verbosity=1 \
        "$learnt" "$kept" >build/fuzz/"$target".log 2>&1 || failed=1
    grep -E 'DONE|stat::(number_of|average)|ERROR|SUMMARY|runtime error|Test unit' build/fuzz/"$target".log
    if [ "${MERGE:-0}" = 1 ]; then
        rm -rf build/fuzz/merged && mkdir build/fuzz/merged
        THIRL_DIR=$registry build/fuzz/tests/fuzz/"$target" -merge=1 -max_len=2000 build/fuzz/merged "$kept" "$learnt" 2>/dev/null &&
            ls build/fuzz/merged | wc -l
    fi
    rm -rf "$registry"
done
exit $failed
