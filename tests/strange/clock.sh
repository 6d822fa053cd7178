#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The time of day jumps by a day, forth and back, ten times a second, for one of two processes and for both: nobody waits by it. Only in the
# kernel's queues it does, where mq_timedreceive knows no other clock: see thirl-mq(7).
. "$(dirname "$0")/pair.sh"

library=$(find /usr/lib -name libfaketimeMT.so.1 2>/dev/null | head -n 1)
here=$BUILD/strange/here/run
[ -n "$library" ] || { echo "skip - there is nothing to bend a clock with: install faketime"; exit 77; }
[ -x "$here" ] || { echo "skip - not built: make strange"; exit 77; }

schemes='unix tcp fifo sysv'
bent=$work/bent
echo "+1d" >"$work/day"
for program in '' .party; do
    cat >"$bent$program" <<END
#!/bin/sh
export LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$work/day FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
exec "$here$program" "\$@"
END
    chmod +x "$bent$program"
done
cat >"$work/days" <<END
#!/bin/sh
export LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$work/day FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1
for i in 1 2 3 4 5 6 7 8 9 10; do date +%F; sleep 0.1; done
END
(
    while [ -d "$work" ]; do
        for day in -1d +1d; do
            echo "$day" >"$work/day.new" && mv "$work/day.new" "$work/day" && sleep 0.05
        done
    done 2>/dev/null
) &
jumper=$!

check "the time of day jumps" test "$(sh "$work/days" | sort -u | wc -l)" -ge 2
exchange "$here" "$bent" "to a bent clock"
exchange "$bent" "$here" "from a bent clock"
exchange "$bent" "$bent" "between bent clocks"
kill "$jumper"
# What a program leaves there that becomes another one, or is killed.
find /dev/shm -maxdepth 1 -user "$(id -u)" -newer "$work/days" \( -name 'faketime_shm_*' -o -name 'sem.faketime_sem_*' \) -delete
finish
