#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Free choice: what is measured is said in full, what is refused says why, and each output has what the others have. Figures are not judged here.
# BUILD: where the programs are.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/begin

export XDG_CACHE_HOME="$work/cache"
unset THIRL_COSTS

# results FILE PATTERN: how many cells have it
results() {
    grep -c "^{\"mech\".*$2" "$1"
}

# Two mechanisms, all patterns: one that has all of them, one that has few. They sleep: a busy machine has no processors to spin on.
timeout 150 "$bench" --mech shm,pipe --pattern all --size 64 --wait sleep --copy --rounds 1 --seconds 0.5 --json "$work/json" \
    --csv "$work/csv" --md "$work/md" --html "$work/page.html" --save >"$work/table" 2>"$work/err"
code=$?
check "a survey ends with 0" test $code = 0
[ $code = 0 ] || cat "$work/err"
check "10 cells" test "$(results "$work/json" '')" = 10
check "7 have figures" test "$(results "$work/json" '"latency_ns"')" = 7
check "3 say why not" test "$(results "$work/json" '"why":"thirl_open: .*does not carry the role')" = 3
check "each figure has a floor and a ratio" test "$(results "$work/json" '"floor":{"name":"bare .*"ratio":[0-9.e+]*,"ratio_range"')" = 7
check "round trips have percentiles" test "$(results "$work/json" '"pattern":"\(rtt\|call\)".*"p50":{"value":[0-9.e+]*,"floor":[0-9.e+]*,"ratio":[0-9.e+]*}')" = 3
check "the others have rates" test "$(results "$work/json" '"pattern":"\(oneway\|fan[a-z]*\)".*"messages_per_s":{"value":[0-9.e+]*,"floor":[0-9.e+]*,"ratio":[0-9.e+]*}')" = 4
check "all have processor time" test "$(results "$work/json" '"both":{"value":[0-9.e+]*')" = 7
check "system calls are counted, or it is said why not" test "$(results "$work/json" '"system_calls":{"value":\([0-9.]*,.*"how":"\|null,.*"why":"\)')" = 7
check "the environment is there" grep -q '"environment":{"cpu":".*","kernel":".*","governor":".*"steal":[0-9.]*,"line_ns":\[' "$work/json"
check "a pipe calls the kernel for every message, or it is not known" test "$(results "$work/json" '"pipe","pattern":"rtt".*"system_calls":{"value":\([1-9]\|null\)')" = 1
check "CSV has as many columns in each line" test "$(awk -F'"' '{ n = split($1, part, ","); print n }' "$work/csv" | sort -u | wc -l)" = 1
check "CSV has as many lines" test "$(wc -l <"$work/csv")" = 11
check "Markdown too" test "$(grep -c '^|' "$work/md")" = 12
check "and the table" test "$(grep -Ec '^(shm|pipe) ' "$work/table")" = 10
if command -v python3 >/dev/null 2>&1; then
    check "JSON can be read" python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$work/json"
fi

# A size that cannot be is refused, in the words of the mechanism, and not made smaller.
timeout 20 "$bench" --mech sig --pattern rtt --size 64 --json >"$work/sig" 2>&1
check "nothing measured is 1" test $? = 1
check "a signal refuses 64 bytes" test "$(results "$work/sig" '"size":64.*"why":"thirl_')" = 1
check "sizes in between" test "$(timeout 20 "$bench" --mech pipe --pattern call --size 8,32,...,2K --copy --csv | cut -d, -f3 | tr '\n' ' ')" = "size 8 32 128 512 2048 "

# At a rate, one way has times, from when each message was meant to leave; as many as there were messages.
timeout 20 "$bench" --mech shm --pattern oneway --size 64 --copy --wait sleep --rate 2k --rounds 1 --seconds 0.5 --json >"$work/rate" 2>&1
check "one way at a rate has times" test "$(results "$work/rate" '"rate_asked":2000.*"p50":{"value":[0-9]')" = 1
check "of every message" test "$(sed -n 's/.*"samples":\([0-9]*\).*/\1/p' "$work/rate")" -ge 20

# Wrong use.
for words in '--mech carrier-pigeon' '--size 63' '--size 4K,...' '--wait never' '--pin x' '--rate 0' '--mech shm rtt-spin'; do
    # shellcheck disable=SC2086 # words
    "$bench" $words >"$work/out" 2>"$work/err"
    code=$?
    check "wrong: $words" test $code = 2 -a -s "$work/err" -a ! -s "$work/out"
done
check "it is said what there is" sh -c "'$bench' --mech pigeon 2>&1 | grep -q 'all, shm, unix, .*not \"pigeon\"'"

# What is saved has the format that thirl reads.
check "--save" test -s "$work/cache/thirl/costs"
costs=$work/cache/thirl/costs
check "its first line" test "$(head -n 1 "$costs")" = 'thirl-costs 1'
check "it knows the machine" test "$(grep -Ec '^machine (cpu|kernel|line_ns|when|by) .' "$costs")" = 5
check "each line is whole" test "$(grep -Evc '^(thirl-costs 1|machine [a-z_]+ .+|cost [a-z]+ (rtt|oneway|fanout|fanin|call) [0-9]+ (spin|adaptive|sleep) (copy|place)( [0-9]+){5} (-1|[0-9]+) [0-9]+)$' "$costs")" = 0
check "it has each figure" test "$(grep -c '^cost' "$costs")" = 7

# The page.
check "the page asks nobody for anything" test "$(grep -Ec '(src|href)=|https?://|@import|fetch\(' "$work/page.html")" = 0
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
if [ -z "$chromium" ]; then
    echo "skip - chromium is not installed: the page is not looked at"
else
    timeout 60 "$chromium" --headless --no-sandbox --disable-gpu --user-data-dir="$work/profile" --window-size=390,2000 --virtual-time-budget=2000 \
        --dump-dom "file://$work/page.html" 2>/dev/null | sed '/<script>/,/<\/script>/d' >"$work/dom"
    check "it draws four charts" test "$(grep -o '<svg ' "$work/dom" | wc -l)" = 4
    check "and a table of all" test "$(grep -o '<tr>' "$work/dom" | wc -l)" = 3
    check "every cell is a point" test "$(grep -o 'class="dot"' "$work/dom" | wc -l)" = 4
fi
[ $failed = 0 ] || cat "$work/table"
exit $failed
