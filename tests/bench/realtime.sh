#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The histogram of wake-ups: as many as were asked for, in order, and each in one bucket. BUILD: where the programs are.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/bench/begin

out=$("$bench" --realtime --quick --rounds 1) || { echo "not ok - thirl-bench --realtime ends with $?"; exit 1; }
check "says what was had" test "$(echo "$out" | grep -c 'SCHED_FIFO')" -ge 1
for name in 'bare futex' 'thirl receive' 'thirl mutex'; do
    check "$name: 100 wake-ups, and none is longer than the longest" test "$(echo "$out" | awk -v name="$name" '
        index($0, name) == 1 { print ($3 <= $4 && $4 <= $5 && $5 <= $6 && $6 <= $7 && $3 > 0 && $8 == 100) ? "good" : "bad" }')" = good
done
check "each is in one bucket" test "$(echo "$out" | awk '
    counts { for (i = 2; i <= 4; i++) sum[i] += $i } /^us, from/ { counts = 1 }
    END { print sum[2], sum[3], sum[4] }')" = "100 100 100"
"$bench" --realtime nonsense >/dev/null 2>&1
check "takes no case" test $? = 2
[ $failed = 0 ] || echo "$out"
exit $failed
