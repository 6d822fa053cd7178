#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Lets tests/run.sh run small programs and looks at what it counts: a runner that loses a failure makes every test useless.
set -u
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
bad=0

# expect NAME STATUS LAST-LINE PROGRAM...
expect() {
    name=$1 status=$2 last=$3
    shift 3
    TIMEOUT=1 BUILD= EXTRA= sh tests/run.sh "$@" >"$work/log" 2>&1
    got=$?
    if [ $got = "$status" ] && [ "$(tail -n 1 "$work/log")" = "$last" ]; then
        echo "ok - $name"
    else
        bad=1
        echo "not ok - $name: status $got"
        sed 's/^/# /' "$work/log"
    fi
}

# said NAME PATTERN [1]: is that a line of the last log, below what each program said? 1: it must not be.
said() {
    sed -n '/^skipped:$/,$p; /^!/p' "$work/log" | grep -q "$2"
    if [ $? = "${3:-0}" ]; then
        echo "ok - $1"
    else
        bad=1
        echo "not ok - $1"
        sed 's/^/# /' "$work/log"
    fi
}

# program NAME: writes a script from standard input.
program() {
    cat >"$work/$1.sh"
}

program good <<'P'
echo 'ok 1 - a'
echo 'ok - b'
P
program mixed <<'P'
echo 'ok - a'
echo 'not ok - b'
exit 1
P
program sly <<'P'
echo 'not ok - b'
P
program dead <<'P'
echo 'ok - a'
kill -9 $$
P
program away <<'P'
echo 'there is no such kernel'
exit 77
P
program some <<'P'
echo 'ok - a'
echo 'skip: b needs a moon'
P
program mute <<'P'
exit 0
P
program slow <<'P'
echo 'ok - a'
sleep 20
P
program cmocka <<'P'
echo '[==========] Running 5 test(s).'
echo '[       OK ] a'
echo '[  PASSED  ] 3 test(s).'
echo '[  SKIPPED ] 1 test(s), listed below:'
echo '[  SKIPPED ] b'
echo '[  FAILED  ] 1 test(s), listed below:'
echo '[  FAILED  ] c'
exit 1
P
program wordy <<'P'
for i in $(seq 30); do
    echo "[ RUN      ] left $i"
    echo 'skipped: no moon'
    echo "[  SKIPPED ] left $i"
done
echo '[ RUN      ] broken'
echo 'x.c:7: the moon is away'
echo '[  FAILED  ] broken'
echo '[ RUN      ] whole'
echo '[       OK ] whole'
echo '[ RUN      ] hangs'
echo 'waits for the moon'
kill -9 $$
P
program dirty <<'P'
[ -d "$THIRL_DIR" ] && : >"$THIRL_DIR/left" && echo "ok - $THIRL_DIR"
P

expect 'passes' 0 '2 passed, 0 failed, 0 skipped' "$work/good.sh"
expect 'failures' 1 '1 passed, 1 failed, 0 skipped' "$work/mixed.sh"
expect 'a failure with status 0' 1 '0 passed, 1 failed, 0 skipped' "$work/sly.sh"
expect 'a killed program' 1 '1 passed, 1 failed, 0 skipped' "$work/dead.sh"
expect 'a program that says nothing' 1 '0 passed, 1 failed, 0 skipped' "$work/mute.sh"
expect 'a program that hangs' 1 '1 passed, 1 failed, 0 skipped' "$work/slow.sh"
expect 'what cmocka counts' 1 '3 passed, 1 failed, 1 skipped' "$work/cmocka.sh"
expect 'skipped, with what passed' 0 '3 passed, 0 failed, 1 skipped' "$work/good.sh" "$work/some.sh"
said 'the reason of a test' '^ *1 b needs a moon$'
expect 'nothing but skipped' 1 '0 passed, 0 failed, 1 skipped' "$work/away.sh"
said 'the reason of a program' '^ *1 there is no such kernel$'
expect 'one of many programs' 1 '3 passed, 2 failed, 30 skipped' "$work/mixed.sh" "$work/wordy.sh" "$work/good.sh"
said 'why many were skipped' '^ *30 no moon$'
said 'which program failed' '^! .*/mixed.sh: exit 1$'
said 'which test failed' '^!     not ok - b$'
said 'what it said' '^!         x.c:7: the moon is away$'
said 'which test hung' '^!     hangs was running at the end: '
said 'and nothing of those that passed' '^! .*good.sh' 1
expect 'nothing at all' 1 '0 passed, 0 failed, 0 skipped'
expect 'no such program' 1 '0 passed, 1 failed, 0 skipped' "$work/none"
expect 'a registry of its own' 0 '1 passed, 0 failed, 0 skipped' "$work/dirty.sh"
[ "$bad" = 0 ] || exit 1
