#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A shared state on the command line: written, read, watched.
. "$(dirname "$0")/tap"

tool state plant/mode 2>err
check "none yet: exit 6" test "$code" = 6
check "and a sentence" contains err 'a writer makes it'
tool state plant/mode --message idle >out
check "is written" test "$code" = 0 -a ! -s out
tool state plant/mode >out
check "and read" test "$code" = 0 -a "$(cat out)" = idle
tool state shm://plant/mode --message 'at work'
tool state plant/mode >out
check "the latest value is" test "$(cat out)" = 'at work'
timeout 20 "$TOOL" state plant/mode --watch --timeout 2s >out 2>err &
watcher=$!
for value in a b c; do
    sleep 0.3
    tool state plant/mode --message $value
done
wait $watcher
check "a watcher ends at its time limit" test $? = 2
check "and has seen each" test "$(tr '\n' ' ' <out)" = 'at work a b c '
tool state 'tcp://x:1' 2>err
check "no name: exit 1" test "$code" = 1
finish
