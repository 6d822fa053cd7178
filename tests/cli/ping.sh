#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb ping over every mechanism that has a way back: two processes, one with a child, and what goes wrong.
. "$(dirname "$0")/tap"

addresses ping >every
while read -r name roles address; do
    if ! carries "$roles" pair; then
        grep -q "^$name [^ ]*pair" every && continue # its pairs have a line of their own
        [ "$address" != - ] || address=$name://1
        tool ping "$address" >out 2>ping.err
        check "$name: has no way back, and says so" sh -c "test $code = 1 && grep -q 'both sends and receives' ping.err"
        rm -f ping.err
        continue
    fi
    if [ "$address" = - ]; then
        continue # only with a child; or given by somebody else, see given.sh
    fi
    begin serve /dev/null "$TOOL" ping --serve "$address"
    tool ping --count 20 --size 100 --json "$address" >out 2>ping.err
    check "$name: 20 round trips, as JSON" grep -Eq \
        '^\{"address":".*","size":100,"trips":20,"lost":[0-9]+,"min_us":[0-9.]+,"p50_us":[0-9.]+,"p99_us":[0-9.]+,"max_us":[0-9.]+\}$' out
    check "$name: exit 0" test "$code" = 0
    await serve
    check "$name: the serving side ends with it" test "$code" = 0
    tool ping --both --count 5 "$address" >out 2>ping.err
    check "$name: with a child of its own" test "$code" = 0 -a ! -s ping.err
done <every

tool ping --both --count 30 --size 4K pipe:// >out 2>ping.err
check "pipe: with a child" test "$code" = 0
check "the line for people" grep -Eq \
    '^pipe://: 30 round trips of 4096 bytes, 0 lost: min [0-9.]+ us, p50 [0-9.]+ us, p99 [0-9.]+ us, max [0-9.]+ us$' out

began=$(date +%s%N)
tool ping --both --count 4 --interval 100ms shm://cli/slow >out
check "--interval is kept" test $(($(date +%s%N) - began)) -ge 300000000
tool ping --timeout 100ms shm://cli/nobody >out 2>late.err
check "nobody serves: exit 2" test "$code" = 2 -a -s late.err -a ! -s out
tool ping --both --size 64M 'shm://cli/large?queue=64K' >out 2>large.err
check "a size that is not carried: exit 6" test "$code" = 6 -a -s large.err
rm -f late.err large.err

begin serve /dev/null "$TOOL" ping --serve shm://cli/killed
begin ping /dev/null "$TOOL" ping --count 1000 --interval 100ms shm://cli/killed
until_true 100 seen 'pair +linked'
kill -9 "$(pid_of serve)"
await ping
check "the death of the serving side: exit 3" test "$code" = 3
await serve
begin serve /dev/null "$TOOL" ping --serve shm://cli/next
begin ping /dev/null "$TOOL" ping --count 1000 --interval 100ms shm://cli/next
until_true 100 seen 'pair +linked'
kill -INT "$(pid_of ping)"
await ping
check "interrupted: exit 130, with what was measured" test "$code" = 130
await serve
check "which the serving side takes for the end" test "$code" = 0
rm -f ./*.err
finish
