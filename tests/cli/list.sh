#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb list: the table, the JSON, and the registry when it is empty or not there.
. "$(dirname "$0")/tap"

tool list >out 2>err
check "an empty registry: exit 0, nothing printed" test "$code" = 0 -a ! -s out
check "and a word on standard error" contains err 'no channels'
tool list --json >out
check "an empty registry as JSON" test "$code" = 0 -a "$(cat out)" = "[]"

begin recv /dev/null "$TOOL" recv shm://cli/list
until_true 100 seen 'shm://cli/list +pair +waiting'
tool list >out
check "an end that waits" grep -Eq "^shm://cli/list +pair +waiting +$(pid_of recv) +- " out
check "the titles" grep -Eq '^ADDRESS +ROLE +STATE +PID +PEER +SENT +RECEIVED +WAITS +QUEUE$' out

mkfifo lines
exec 3<>lines
begin send lines "$TOOL" send shm://cli/list
echo hello >&3
until_true 100 contains recv.out hello
tool list >out
check "both ends are linked" test "$(grep -Ec '^shm://cli/list +pair +linked ' out)" = 2
check "the sender's peer is the receiver" grep -Eq "linked +$(pid_of send) +pid $(pid_of recv) " out
check "what was sent" grep -Eq "linked +$(pid_of send) .* 1 \(5 B\) +0 \(0 B\) " out
check "what was received" grep -Eq "linked +$(pid_of recv) .* 0 \(0 B\) +1 \(5 B\) " out

tool list --json >out
if command -v python3 >/dev/null; then
    check "JSON: valid, two ends, their counters" timeout 20 python3 -c '
import json, sys
ends = json.load(open("out"))
assert [e["address"] for e in ends] == ["shm://cli/list"] * 2, ends
assert all(e["state"] == "linked" and e["role"] == "pair" and e["exe"] for e in ends), ends
sender = next(e for e in ends if e["pid"] == int(sys.argv[1]))
receiver = next(e for e in ends if e["pid"] == int(sys.argv[2]))
assert (sender["sent"], sender["sent_bytes"], sender["received"]) == (1, 5, 0), sender
assert (receiver["received"], receiver["received_bytes"]) == (1, 5), receiver
assert sys.argv[2] in sender["peer"] and sender["queue"] > 0, sender
' "$(pid_of send)" "$(pid_of recv)"
elif command -v perl >/dev/null && perl -MJSON::PP -e1 2>/dev/null; then
    check "JSON: valid, two ends" perl -MJSON::PP -0777 -ne 'exit(@{decode_json($_)} != 2)' out
else
    skip "neither python3 nor perl is here to check the JSON of thirl list"
fi

kill -STOP "$(pid_of recv)"
sleep 0.2
tool list >out
check "a stopped end is not dead" test "$(grep -c linked out)" = 2
kill -9 "$(pid_of recv)"
await recv
tool list >out
check "a killed end is dead" grep -Eq "^shm://cli/list +pair +dead +$(pid_of recv) " out

address='shm://cli/pool?queue=64K'
begin serve /dev/null "$TOOL" ping --serve "$address"
begin ping /dev/null "$TOOL" ping --size 1M --count 1000 --interval 20ms "$address"
until_true 100 seen 'shm://cli/pool.* 64.0 KiB \+ [0-9.]+ MiB'
check "what large messages take stands behind the queue" seen 'shm://cli/pool.* 64.0 KiB \+ [0-9.]+ MiB'
tool list --json >out
check "and is in the JSON" grep -Eq '"pool":67108864,"pool_bytes":[1-9][0-9]*,"held":0,"held_bytes":0' out
kill -9 "$(pid_of serve)" "$(pid_of ping)"
await serve
await ping

begin auto /dev/null "$TOOL" recv 'auto://cli/auto?queue=64K'
until_true 100 seen '^auto://cli/auto '
tool list >out
check "what a channel of auto:// runs over, and why" grep -Eq '^auto://cli/auto +shm://cli/auto +only one user' out
tool list --json >out
check "and in the JSON" grep -q '"over":"shm://cli/auto","reason":"only one user' out
kill -9 "$(pid_of auto)"
await auto
tool list >out
check "nothing of it when its ends are dead and swept" sh -c '"$0" recv auto://cli/other -t 1ms; ! "$0" list | grep -q RUNS' "$TOOL"

exec 3>&-
kill -9 "$(pid_of send)" 2>/dev/null
await send
THIRL_DIR=/nowhere/at/all
tool list >out 2>err
check "a registry that is not there is an empty one" test "$code" = 0 -a ! -s out
finish
