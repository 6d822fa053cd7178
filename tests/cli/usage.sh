#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Help, mistakes on the command line, time limits, and output that cannot be written: codes and sentences.
. "$(dirname "$0")/tap"

# CODE PATTERN WORD...: that exit code, a sentence like that on standard error, and nothing on standard output
fails() {
    wanted=$1 pattern=$2
    shift 2
    tool "$@" </dev/null >fails.out 2>fails.err
    [ "$code" = "$wanted" ] && contains fails.err "$pattern" && [ ! -s fails.out ]
}

# As fails, but the call prints help
helps() {
    tool "$@" </dev/null >helps.out 2>helps.err
    [ "$code" = 0 ] && contains helps.out '^Usage: thirl' && [ ! -s helps.err ]
}

for verb in send recv pub sub push pull call serve list ping run mechanisms doctor cache advise bench clean version help; do
    check "thirl help $verb" helps help $verb
    check "thirl $verb --help" helps $verb --help
done
check "thirl help" helps help
check "thirl --help" helps --help
check "thirl help names each verb" test "$(grep -Ec '^  (send|recv|pub|sub|push|pull|call|serve|list|ping|run|mechanisms|doctor|cache|advise|bench|clean|version|help) ' helps.out)" = 19
check "thirl help has the exit codes" test "$(grep -Ec '^ +(0|1|2|3|4|5|6|7|8|129|130|141|143)  ' helps.out)" = 13

tool version >out
check "thirl version" test "$code" = 0 -a "$(sed -n 1p out)" = "thirl $(sed -n \
    's/^.define THIRL_VERSION "\(.*\)"/\1/p' "$root/include/thirl/thirl.h")"
tool version --json >out
check "thirl version --json" grep -Eq '^\{"name":"thirl","version":"[0-9.]+","mechanisms":\["shm","unix"(,"[a-z]+")*\]\}$' out

check "no verb" fails 1 'a verb is needed'
check "unknown verb, near" fails 1 'did you mean recv?' recieve
check "unknown verb, far" fails 1 'thirl help shows' frobnicate
check "unknown verb in help" fails 1 'did you mean list?' help lst
check "unknown option, near" fails 1 'thirl send: unknown option "--strean"; did you mean --stream?' send --strean shm://x
check "unknown option, far" fails 1 'unknown option "--xyzzy"; thirl help recv' recv --xyzzy shm://x
check "unknown letter" fails 1 'unknown option "-z"' recv -z shm://x
check "an option of another verb" fails 1 'unknown option "--count"' send --count 3 shm://x
check "a value is missing" fails 1 'needs a value: --timeout TIME' recv shm://x --timeout
check "a value too many" fails 1 'takes no value' recv shm://x --stream=yes
check "no address" fails 1 'an address is needed' send
check "a word too many" fails 1 'one word too many' send shm://x shm://y
check "a bad count" fails 1 'not "0"' recv shm://x --count 0
check "a bad time" fails 1 'not "5"' recv shm://x --timeout 5
check "formats exclude each other" fails 1 'exclude each other' recv shm://x --stream --length
check "a bad role" fails 1 '--role takes pair, push, pull, ..., not "boss"' send --role boss shm://x
check "a role that is not carried" fails 1 'does not carry the role push' send --role push fifo:///x
check "serve wants a command" fails 1 "a command is needed, for example thirl serve" serve shm://x
check "serve has one way to answer" fails 1 "exclude each other" serve shm://x --echo -- cat
check "a verb has its role" fails 1 'unknown option "--role"' push --role pull mq://x
check "a verb's role that is not carried" fails 1 'does not carry the role pub' pub mq://x
check "a stream has its roles" fails 1 'does not go with --role' recv --stream --role pull mq://x
check "a bad size" fails 1 'from 8 to 1G, such as 64 or 4K, not "7"' ping --size 7 shm://x
check "a bad interval" fails 1 'not "soon"' ping --interval soon shm://x
check "ping serves or asks" fails 1 'exclude each other' ping --serve --both shm://x
check "no command" fails 1 'a command is needed' run
check "nothing to clean" fails 1 'an address is needed, or --all' clean
check "too much to clean" fails 1 'an address is needed, or --all' clean --all mq://x
check "--json has no stream" fails 1 'format of its own' recv shm://x --stream --json

check "no scheme" fails 1 '^thirl send: .' send hello
check "unknown scheme, with the known ones" fails 1 'shm unix' send carrier-pigeon://x
check "unknown address option" fails 1 'sieze' recv 'shm://x?sieze=3'
check "behind -- an option is an operand" fails 1 '^thirl recv: .*--stream' recv -- --stream
check "a file that cannot be made" fails 6 "cannot open" recv --file /nowhere/at/all shm://cli/file
check "no such file to send" fails 6 'cannot open missing: No such file' send --file missing shm://cli/file
check "a directory to send" fails 6 'cannot read \.: Is a directory' send --file . shm://cli/file

for address in shm://cli/late "unix://$work/late" "unix://@thirl-cli-late-$$?type=seqpacket"; do
    name=$(echo "$address" | sed "s|$work/||; s/-$$//")
    check "$name: nobody sends in time" fails 2 "^thirl recv: .*late" recv --timeout 150ms "$address"
    check "$name: nobody receives in time" fails 2 "^thirl send: .*late" send -t 0.1s --message x "$address"
    check "$name: nobody receives an empty input" fails 2 "^thirl send: .*late" send -t100ms "$address"
done
check "shm: nobody receives a stream" fails 2 "late" send -s -t100ms shm://cli/late
check "nothing is left in the registry" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"

echo kept >kept
begin send kept "$TOOL" send shm://cli/full
timeout -s KILL 10 "$TOOL" recv shm://cli/full >/dev/full 2>full.err
full=$?
await send
check "a full disk is reported" contains full.err "cannot write standard output: No space left"
check "and ends recv with 6" test $full = 6
timeout -s KILL 10 "$TOOL" version >/dev/full 2>full.err
code=$?
check "a full disk is reported by version" test $code = 6 -a -s full.err
timeout -s KILL 10 "$TOOL" help >/dev/full 2>full.err
code=$?
check "a full disk is reported by help" test $code = 6 -a -s full.err

yes 'a line' | head -n 200000 >pipe
begin send pipe "$TOOL" send shm://cli/pipe
{ timeout -s KILL 10 "$TOOL" recv shm://cli/pipe 2>pipe.err; echo $? >pipe.code; } | head -n 1 >pipe.out
await send
check "a reader that goes away ends recv quietly" test "$(cat pipe.code)" = 141 -a ! -s pipe.err
check "and its sender is told" test "$code" = 4 -a -s send.err

printf '\000\000\000\002ok\000\000\000\011short' >short
begin recv /dev/null "$TOOL" recv shm://cli/cut
check "input that ends inside a message" sh -c 'timeout 10 "$0" send -l shm://cli/cut <short 2>cut.err; [ $? = 6 ]' "$TOOL"
await recv
check "it is said" contains cut.err 'ends inside a message'
check "and no half message arrives" test "$(cat recv.out)" = ok -a "$code" = 0

mkdir locked
chmod 0 locked
chmod 711 .
cp "$TOOL" thirl
chmod 755 thirl
THIRL_DIR=$work/locked/registry
if [ "$(id -u)" != 0 ]; then
    timeout 10 ./thirl recv -t 1s shm://cli/locked 2>locked.err
elif command -v setpriv >/dev/null; then
    timeout 10 setpriv --reuid 65534 --regid 65534 --clear-groups ./thirl recv -t 1s shm://cli/locked 2>locked.err
else
    skip "no setpriv: root is refused nothing"
    finish
fi
code=$?
check "no permission: exit 5, and a sentence" test "$code" = 5 -a -s locked.err
finish
