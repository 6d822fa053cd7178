#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A shared cache on the command line: put, got, removed; its numbers.
. "$(dirname "$0")/tap"

tool cache plant/cache get a 2>err
check "none yet: exit 6" test "$code" = 6
check "and a sentence" contains err 'there is no cache'
tool cache plant/cache put a 'one thing' >out
check "is put" test "$code" = 0 -a ! -s out
tool cache plant/cache put -- --two
tool cache shm://plant/cache get a >out
check "and got" test "$(cat out)" = 'one thing'
tool cache plant/cache get -- >out
check "whatever a key looks like" test "$(cat out)" = --two
tool cache plant/cache get b 2>err
check "no value: exit 6" test "$code" = 6
check "and it says so" contains err 'no value for "b"'
tool cache plant/cache remove a
check "is removed" test "$code" = 0
tool cache plant/cache remove a 2>err
check "once" test "$code" = 6
tool cache plant/cache >out
check "numbers" grep -Eq '^items +1$' out
check "of all processes" grep -Eq '^misses +1$' out
tool cache --json plant/cache stats >out
check "as JSON" grep -Eq '^\{"bytes":67108864,.*"hits":2,.*"removed":1,.*\}$' out
tool cache plant/cache put a 2>err
check "half a command: exit 1" test "$code" = 1
tool cache 'tcp://x:1' 2>err
check "no name: exit 1" test "$code" = 1
finish
