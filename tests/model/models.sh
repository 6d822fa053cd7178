#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The protocols as models, every order of steps of them: Spin finds nothing wrong with each, and something with each that is broken on purpose
# (MUTATE). WHOLE=1 has more messages and deaths, and takes minutes and some GiB.
set -u
cd "$(dirname "$0")" || exit 1
here=$PWD
failed=0

# model, what is looked through, the same as a whole, how many ways it is broken, and what shows that
table='
meet   -DDEATHS=1               -DDEATHS=3 5 -DDEATHS=2
sleep  -DDEATHS=1,-DMESSAGES=1  -DDEATHS=2 4 -DDEATHS=0,-DMESSAGES=3
sweep  -DDEATHS=1               -DDEATHS=2 3 -DDEATHS=0
'

skip() {
    echo "skip - $1"
    exit 77
}

command -v spin >/dev/null 2>&1 || skip "spin is not installed"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work" || exit 1

# look MODEL DEFINITIONS: through every state; what it found is in $work/said
look() {
    # shellcheck disable=SC2046 # several words
    spin $(echo "$2" | tr , ' ') -a "$here/$1.pml" >said 2>&1 && ${CC:-cc} -O1 -w -DSAFETY -DCOLLAPSE -o pan pan.c >>said 2>&1 &&
        ./pan -m1000000 >>said 2>&1 && grep -q 'errors: 0' said && ! grep -q 'max search depth too small\|out of memory' said
}

say() {
    if [ "$1" = 0 ]; then
        echo "ok - $2"
    else
        echo "not ok - $2"
        sed 's/^/# /' said | tail -n 20
        failed=1
    fi
}

while read -r model brief whole ways shown; do
    [ -n "$model" ] || continue
    what=$([ -n "${WHOLE:-}" ] && echo "$whole" || echo "$brief")
    look "$model" "$what"
    say $? "$model: $(sed -n 's/^ *\([0-9e+.]*\) states, stored.*/\1/p' said) states ($what), and nothing wrong in any"
    way=1
    while [ "$way" -le "$ways" ]; do
        look "$model" "-DMUTATE=$way,$shown"
        grep -q 'assertion violated\|invalid end state' said
        say $? "$model: what is wrong when it is broken in way $way is found"
        way=$((way + 1))
    done
done <<END
$table
END
exit $failed
