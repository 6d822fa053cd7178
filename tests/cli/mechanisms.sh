#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb mechanisms: a line and an object for each.
. "$(dirname "$0")/tap"

tool mechanisms >out 2>err
check "the table" test "$code" = 0 -a ! -s err
check "its titles" grep -Eq '^SCHEME +ROLES +MAX +ATOMIC +QUEUE +SLOTS +ENDS +CLAIMS +WHAT$' out
tool mechanisms --json >json
check "as JSON" test "$code" = 0
check "one line a mechanism, and one for datagrams of Unix sockets" test "$(grep -c '^[a-z]' out)" = \
    $(($(grep -o '"scheme":"[a-z]*"' json | sort -u | wc -l) + 1))
check "below it, what differs by role, and only that" grep -Eq '^ +notify,watch +4 B +4 B +512 +1:any +boundaries,reliable' out
check "a line has all roles of its mechanism" \
    grep -Eq '^tcp +pair,write,read,push,pull,notify,watch,pub,sub' out
check "shared memory lends its own memory" grep -Eq '^shm +pair,write,read,.*zero-copy' out
check "what reaches other hosts" grep -Eq '^tcp .*cross-host' out
if perl -MJSON::PP -e1 2>/dev/null; then
    check "JSON: valid, with claims of every kind" perl -MJSON::PP -0777 -ne '
        for my $m (@{decode_json($_)}) {
            exit 1 if !$m->{scheme} || !@{$m->{roles}} || !$m->{summary} || ref $m->{reliable} ne "JSON::PP::Boolean"
                || grep { !defined $m->{$_} } qw(message_max atomic_max queue queue_messages senders receivers priorities);
        }' json
else
    skip "no perl to check the JSON"
fi
tool version --json >version
check "version has the same names" test "$(grep -o '"scheme":"[a-z]*"' json | sed 's/.*:"//; s/"//' | uniq | tr '\n' ' ')" = \
    "$(sed 's/.*\[//; s/\].*//' version | tr -d '"' | tr ',' ' ') "
timeout -s KILL 10 "$TOOL" mechanisms >/dev/full 2>full.err
code=$?
check "a full disk is reported" test $code = 6 -a -s full.err
rm -f full.err
finish
