#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Hello world: at most 12 lines a side, the same in README.md and example/, and it runs.
. "$(dirname "$0")/tap"

# The C block of README.md that holds the call $1
extract() {
    awk -v call="$1" '
        /^```c$/ { inside = 1; text = ""; next }
        /^```/ && inside { inside = 0; if (index(text, call)) { printf "%s", text; exit } }
        inside { text = text $0 "\n" }' "$root/README.md"
}

for side in send recv; do
    file=$root/example/hello-$side.c
    check "hello-$side.c has at most 12 lines" test "$(wc -l <"$file")" -le 12
    if [ -f "$root/README.md" ]; then
        extract "thirl_$side(" >"readme-$side.c"
        check "README.md shows hello-$side.c as it is" cmp "$file" "readme-$side.c"
    else
        skip "there is no README.md to compare hello-$side.c with"
    fi
    # shellcheck disable=SC2086
    case ${EXTRA:-} in
    asan) more=-fsanitize=address,undefined ;;
    ubsan) more=-fsanitize=undefined ;;
    *) more= ;;
    esac
    check "hello-$side.c compiles" ${CC:-cc} -std=c11 -Wall -Wextra -Werror $more -I"$root/include" -o "hello-$side" "$file" \
        "$BUILD/libthirl.a" -pthread
done

begin recv /dev/null "$work/hello-recv"
timeout -s KILL 30 "$work/hello-send" 2>send.err
sent=$?
await recv
check "hello, world arrives" test "$sent$code" = 00 -a "$(cat recv.out)" = "hello, world"
finish
