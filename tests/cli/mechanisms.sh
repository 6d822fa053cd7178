#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verb mechanisms: a line and an object for each, and both say the same.
. "$(dirname "$0")/tap"

tool mechanisms >out 2>err
check "the table" test "$code" = 0 -a ! -s err
check "its titles" grep -Eq '^SCHEME +ROLES +MAX +ATOMIC +QUEUE +SLOTS +ENDS +CLAIMS +WHAT$' out
tool mechanisms --json >json
check "as JSON" test "$code" = 0
check "as many objects as lines" test "$(grep -o '"scheme":' json | wc -l)" = $(($(wc -l <out) - 1))
check "shared memory lends its own memory" grep -Eq '^shm +pair,write,read .*zero-copy' out
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
