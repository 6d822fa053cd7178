#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb advise: the table, reasons, JSON; and what it says is to be written and typed works as it stands.
. "$(dirname "$0")/tap"

THIRL_COSTS=$work/costs
export THIRL_COSTS
mkdir bin
ln -s "$TOOL" bin/thirl
PATH=$work/bin:$PATH

tool advise --pattern call --size 4K --rate 50k/s --receivers 3 --across users --trust --priority latency >out 2>err
check "the table" test "$code" = 0 -a ! -s err
check "its titles" grep -Eq '^ +MECHANISM +P50 +P99 +MESSAGES/S +CPU +COPIES +REASON$' out
check "what is best is first" grep -Eq '^1 +shm .*the only one that can do it' out
check "the others have their reasons" grep -Eq '^- +unix .*has at most 1 server, and 3 are wanted$' out
check "every mechanism is there" test "$(grep -Ec '^[0-9-]+ +[a-z]' out)" = 11
check "the costs are marked" grep -q 'not measured here' out
printf 'thirl-costs 1\nmachine when 2026-11-29\ncost %s rtt 64 adaptive copy %s 9000 0 0 10 0 0\n' pipe 100 >costs
printf 'cost shm rtt 64 adaptive copy 200 9000 0 0 10 0 0\n' >>costs
tool advise --child >out
check "measured costs decide" grep -Eq '^1 +pipe +100 ns +9 us ' out
check "and are said to be" contains out "The costs are measured 2026-11-29, as $work/costs says"
tool advise --child --json >json
check "as JSON" test "$code" = 0
if perl -MJSON::PP -e1 2>/dev/null; then
    check "JSON: valid, and complete" perl -MJSON::PP -0777 -ne '
        my $all = decode_json($_);
        exit 1 if @{$all->{choices}} != 11 || $all->{c} !~ /thirl_open/ || @{$all->{commands}} < 1 || !$all->{costs};
        for my $c (@{$all->{choices}}) {
            exit 1 if !$c->{mechanism} || !$c->{address} || !$c->{reason} || !$c->{here}
                || grep { !defined $c->{$_} } qw(place p50_ns p99_ns per_second cpu_ns copies in_place);
        }' json
else
    skip "no perl to check the JSON"
fi

# The commands: the first one in the background, then the second. OPTIONS...
try() {
    timeout -s KILL 10 thirl advise "$@" >out 2>err || return 1
    sed -n '/^To try it:/,$s/^  //p' out >lines
    first=$(sed -n 1p lines) second=$(sed -n 2p lines)
    [ -n "$first" ] || return 1
    timeout -s KILL 20 sh -c "$first" >first.out 2>first.err &
    job=$!
    if [ -n "$second" ]; then
        [ "$wait" = 0 ] || until_true 100 seen "$wait" || return 1
        timeout -s KILL 20 sh -c "$second" >second.out 2>second.err || return 1
    fi
    wait $job && { [ -n "$second" ] || grep -q hello first.out; }
}

# The line of C compiles, and opens.
write() {
    { echo '#include <stdio.h>'; echo '#include <thirl/thirl.h>'; echo 'int main(void) {'
      sed -n 's/^In C: //p' out
      echo 'return thirl_close(&end, THIRL_NOW) < 0; }'; } >line.c
    # shellcheck disable=SC2086 # it may be several words
    ${CC:-cc} -Wall -Werror -I"$root/include" -o line line.c "$BUILD/libthirl.a" -pthread && ./line
}

wait=0
check "a child's commands work as typed" try --child
rm costs
wait='waiting|watch'
for pattern in pair stream push pub call notify; do
    check "$pattern: the commands work as typed" try --pattern $pattern --name advise-$$
    check "$pattern: the line of C compiles and opens" write
done
check "elsewhere: the commands work as typed" try --pattern push --across users --name advise-$$
check "by a socket" grep -Eq '^1 +(unix|seqpacket) ' out
wait=0
check "with priorities" try --pattern push --kept --levels 4 --name advise-$$
tool clean --all >/dev/null 2>&1

# What a channel does.
begin taker /dev/null "$TOOL" recv 'unix://@busy-'$$
awk 'BEGIN { for (i = 0; i < 20000; i++) printf "%0500d\n", i; while (1) { print "x"; system("sleep 0.05") } }' >lines &
feeder=$!
started="$started $feeder"
begin giver lines sh -c "tail -f -n +1 lines | \"$TOOL\" send 'unix://@busy-$$'"
until_true 100 seen 'unix://@busy-.* linked .* 2[0-9]{4} '
tool advise --channel unix://@busy-$$ --interval 200ms >out 2>err
check "a running channel" test "$code" = 0 -a ! -s err
check "what it does is said" grep -Eq '^Seen: PAIR, 1 to 1, [0-9]+ messages in 0\.[0-9]+ s, of [0-9]+ B\. Now it is unix, with place [0-9]+\.$' out
tool advise --channel unix://@busy-$$ --interval 50ms --json >json
check "as JSON, too" grep -Eq '"seen":\{"mechanism":"unix",.*"senders":1,"receivers":1\}' json
kill $feeder 2>/dev/null
tool advise --channel shm://nobody --interval 10ms >out 2>err
check "nobody there: exit 6" test "$code" = 6
check "and a sentence" contains err 'nobody has shm://nobody open'
"$TOOL" sub "shm://traced-$$?spy=$work/trace" --count 30 >/dev/null &
until_true 100 seen 'traced-.*&* waiting'
for size in 10 10 2000; do awk -v n=$size 'BEGIN { for (i = 0; i < 10; i++) printf "%0*d\n", n, i }'; done |
    timeout -s KILL 20 "$TOOL" pub "shm://traced-$$?spy=$work/trace"
wait $!
tool advise --trace trace >out 2>err
check "a trace" test "$code" = 0 -a ! -s err
check "what it tells" grep -Eq '^Seen: PUB, 1 to 1, 30 messages in [0-9.e-]+ s, of 10 B and up to 2\.0 KiB\. Now it is shm, with place [0-9]+\.$' out
sed 's/traced/other/' trace >>trace.both && cat trace >>trace.both
tool advise --trace trace.both >out 2>err
check "two channels: which one?" test "$code" = 1
tool advise --trace trace.both --channel shm://other-$$ >out 2>err
check "that one" grep -q '^Seen: PUB, 1 to 1, 30 messages' out
echo 'hello, world' >no.trace
tool advise --trace no.trace >out 2>err
check "what is no trace: exit 6" test "$code" = 6 -a -s err
tool advise --trace /nowhere >out 2>err
check "nor what is not there" test "$code" = 6 -a -s err

for wrong in '--pattern song' '--size 0' '--rate x' '--rate 5k/h' '--across town' '--priority none' '--wait long' '--name a/b' \
    '--senders 0' '--levels -1'; do
    # shellcheck disable=SC2086
    tool advise $wrong >out 2>err
    check "$wrong is refused with a sentence" test "$code" = 1 -a -s err -a ! -s out
done
tool advise --child --across hosts >out 2>err
check "so is what cannot be" test "$code" = 1 -a -s err
tool advise --descriptors --across hosts >out 2>err
check "what no mechanism can: exit 6, with all reasons" test "$code" = 6 -a "$(grep -c '^- ' out)" = 11
timeout -s KILL 10 "$TOOL" advise >/dev/full 2>full.err
code=$?
check "a full disk is reported" test $code = 6 -a -s full.err
rm -f full.err
finish
