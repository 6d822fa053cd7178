#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual: clean source, a page for every public function, and everything that the tool knows in thirl(1).
. "$(dirname "$0")/tap"

if command -v mandoc >/dev/null; then
    for page in "$root"/man/*.[1-9]; do
        check "$(basename "$page") is clean" mandoc -Tlint -W warning "$page"
    done
else
    skip "mandoc is not installed: the pages are not linted"
fi

functions=$(cat "$root"/include/thirl/*.h | tr '\n' ' ' | grep -o 'THIRL_API [^;]*;' | sed 's/THIRL_CHECK//' |
    grep -o 'thirl_[a-z_]*(' | tr -d '(' | sort -u)
check "functions are found in the header" test "$(echo "$functions" | wc -l)" -ge 20
for name in $functions; do
    check "$name has a page that names it" grep -Eqs "^\.Nm $name( ,)?$" "$root"/man/*.3
    check "$name has its prototype there" grep -Eqs "^\.Fn $name( |$)" "$root"/man/*.3
done

for name in $(grep -o 'X(E[A-Z]*,' "$root/include/thirl/thirl.h" | sed 's/X(//; s/,//'); do
    check "THIRL_$name is in thirl_why(3)" contains "$root/man/thirl_why.3" "THIRL_$name"
done

for verb in $(timeout 10 "$TOOL" help | sed -n '/^Verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    check "the verb $verb is in thirl(1)" contains "$root/man/thirl.1" "^\.It Cm $verb\$"
    for option in $(timeout 10 "$TOOL" help "$verb" | sed -n 's/^ .*--\([a-z]*\) .*/\1/p'); do
        check "$verb --$option is in thirl(1)" contains "$root/man/thirl.1" "^\.It .*Fl -$option"
    done
done
for number in $(timeout 10 "$TOOL" help | sed -n '/^Exit/,/^$/s/^ *\([0-9]*\)  .*/\1/p'); do
    check "exit code $number is in thirl(1)" contains "$root/man/thirl.1" "^\.It $number\$"
done
finish
