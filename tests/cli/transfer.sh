#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What send reads is what recv writes: lines, messages with a length, streams, over every mechanism.
. "$(dirname "$0")/tap"

# A receiver in the background, a sender in front: ADDRESS INPUT OPTION...; outputs in recv.out, codes in $sent and $code
carry() {
    address=$1 from=$2
    shift 2
    begin recv /dev/null "$TOOL" recv "$@" "$address"
    tool send "$@" "$address" <"$from" 2>send.err
    sent=$code
    await recv
}

same() {
    [ "$sent" = 0 ] && [ "$code" = 0 ] && cmp -s "$1" recv.out
}

printf 'one\n\ntwo words\n  three\t\n\nlast\n' >lines
printf 'no newline at the end' >unended
awk 'BEGIN { for (i = 0; i < 20000; i++) print "line " i " of many" }' >many
long() {
    head -c "$1" /dev/zero | tr '\0' x
}
{ echo short; long 1048576; echo; echo short again; } >line1M
{ echo short; long 65536; echo; echo short again; } >line64K
head -c 100000 /dev/urandom >random
# 4 bytes of length, then so many bytes: of 5, 0, 100000 and 3 bytes
{ printf '\000\000\000\005a\nb\000c'; printf '\000\000\000\000'; printf '\000\001\206\240'; cat random
  printf '\000\000\000\003\377\376\n'; } >lengths
{ printf '\000\000\000\005a\nb\000c'; printf '\000\000\000\000'; printf '\000\000\000\003\377\376\n'; } >few

# By path and by name is the same code: a sanitizer is content with one of each, and who has little time.
set -- shm://cli/carry "unix://$work/s" "unix://@thirl-cli-p-$$?type=seqpacket"
[ -n "${EXTRA:-}${BRIEF:-}" ] || set -- "$@" "unix://@thirl-cli-$$" "unix://$work/p?type=seqpacket"
for address; do
    echo "# $address"
    name=$(echo "$address" | sed "s|$work/||; s/-$$//")
    carry "$address" lines
    check "$name: lines, empty ones too" same lines
    carry "$address" many
    check "$name: 20,000 lines in order" same many
    carry "$address" unended
    check "$name: a last line without newline" test "$(cat recv.out)" = "$(cat unended)" -a "$sent$code" = 00
    case $address in
    *seqpacket*) big=line64K messages=few ;; # must fit into the buffer of the socket as a whole
    *) big=line1M messages=lengths ;;
    esac
    carry "$address" $big
    check "$name: a line of $(wc -c <$big) bytes" same $big
    carry "$address" $messages --length
    check "$name: binary messages with their lengths" same $messages
    carry "$address" /dev/null
    check "$name: no message at all" same /dev/null
done

head -c 8388608 /dev/urandom >large
sum=$(sha256sum <large)
set -- shm://cli/stream "unix://$work/b"
[ -n "${EXTRA:-}${BRIEF:-}" ] || set -- "$@" "unix://@thirl-cli-b-$$"
for address; do
    name=$(echo "$address" | sed "s|$work/||; s/-$$//")
    carry "$address" large --stream
    check "$name: a stream of 8 MiB, by SHA-256" test "$(sha256sum <recv.out)" = "$sum" -a "$sent$code" = 00
    carry "$address" /dev/null --stream
    check "$name: an empty stream" same /dev/null
    begin recv /dev/null "$TOOL" recv --stream --file copy "$address"
    tool send --stream --file large "$address" 2>send.err
    sent=$code
    await recv
    check "$name: --file on both sides" test "$(sha256sum <copy)" = "$sum" -a "$sent$code" = 00
    begin recv /dev/null "$TOOL" recv --stream "$address"
    { head -c 8388608 large | timeout 30 "$TOOL" send "$address" -s; } 2>send.err
    await recv
    check "$name: from a pipe" test "$(sha256sum <recv.out)" = "$sum" -a "$code" = 0
done

# And everywhere, however small its messages are: a few lines over each mechanism.
head -n 200 many >several
addresses every >every
while read -r name roles address; do
    if [ "$address" = - ]; then
        echo "# $name: no name reaches it; see run.sh and given.sh"
        continue
    fi
    if carries "$roles" pair; then
        carry "$address" several
        check "$name: lines" same several
        carry "$address" few --length
        check "$name: binary messages" same few
    fi
    if carries "$roles" write; then
        carry "$address" random --stream
        check "$name: a stream" same random
    fi
    if carries "$roles" pull; then
        # Nobody says here that there is no more: so many messages, and none of them large.
        head -n 50 many >fifty
        begin recv /dev/null "$TOOL" recv --role pull --count 50 --timeout 10s "$address"
        until_true 100 seen "pull +waiting|pull +linked"
        tool send --role push "$address" <fifty 2>send.err
        sent=$code
        await recv
        check "$name: from push to pull" same fifty
        rm -f send.err
    fi
done <every

begin recv /dev/null "$TOOL" recv shm://cli/one --count 1
tool send --message 'hello, world' shm://cli/one 2>send.err
sent=$code
await recv
check "--message and --count" test "$(cat recv.out)" = "hello, world" -a "$sent$code" = 00

begin recv /dev/null "$TOOL" recv shm://cli/json --json
printf '\000\000\000\007a"\\\n\t\001b\000\000\000\002\377\000\000\000\000\003\303\244z' >odd
tool send --length shm://cli/json <odd 2>send.err
await recv
printf '%s\n' '{"number":0,"size":7,"text":"a\"\\\n\t\u0001b"}' '{"number":1,"size":2,"base64":"/wA="}' \
    '{"number":2,"size":3,"text":"äz"}' >wanted
check "--json shows text, and base64 where it is none" cmp -s wanted recv.out

begin recv /dev/null "$TOOL" recv --stats shm://cli/stats
tool send --stats --json --file lines shm://cli/stats 2>send.err
await recv
check "--stats says messages and bytes" contains recv.err '^thirl recv: 6 messages, 24 B (24 bytes), '
check "--stats --json is an object" contains send.err \
    '^{"verb":"send","messages":6,"bytes":24,"seconds":[0-9.]*,"bytes_per_second":[0-9]*}$'
check "the registry is empty afterwards" test -z "$(timeout 10 "$TOOL" list 2>/dev/null)"
finish
