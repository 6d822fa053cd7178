#!/bin/sh
# SPDX-License-Identifier: MIT
#
# make install puts everything where a program finds it, and make uninstall takes all of it away.
set -u
bad=0
there=$(mktemp -d) || exit 1
trap 'rm -rf "$there"' EXIT

check() {
    title=$1
    shift
    if out=$("$@" 2>&1); then echo "ok - $title"; else bad=1; echo "not ok - $title"; echo "$out" | sed 's/^/# /'; fi
}

make_quietly() {
    make -s "$@" CC="${CC:-gcc}" PREFIX=/usr DESTDIR="$there"
}

# The library is found by what the pkg-config file says.
compile() {
    flags=$(sed -n 's/^Libs: //p; s/^Cflags: //p' "$there/usr/lib/pkgconfig/thirl.pc" | tr '\n' ' ' |
        sed "s|\${libdir}|$there/usr/lib|g; s|\${includedir}|$there/usr/include|g")
    # shellcheck disable=SC2086 # words on purpose
    ${CC:-gcc} example/hello-send.c $flags -o "$there/hello" && ${CC:-gcc} example/hello-recv.c $flags -o "$there/hear"
}

talk() {
    THIRL_DIR=$there/registry LD_LIBRARY_PATH=$there/usr/lib timeout 20 "$there/hear" >"$there/heard" &
    THIRL_DIR=$there/registry LD_LIBRARY_PATH=$there/usr/lib timeout 20 "$there/hello" && wait $! &&
        grep -q 'hello, world' "$there/heard"
}

pages() {
    for name in $(tr '\n' ' ' <include/thirl/thirl.h | grep -o 'THIRL_API [^;]*;' | grep -o 'thirl_[a-z_]*(' | tr -d '('); do
        [ -s "$there/usr/share/man/man3/$name.3" ] || { echo "no page is found by the name $name"; return 1; }
    done
}

nothing_left() {
    left=$(find "$there/usr" ! -type d)
    [ -z "$left" ] || { echo "$left"; return 1; }
}

check 'make install' make_quietly install
check 'a program is built with what was installed' compile
check 'and runs' talk
check 'every function has a page of its name' pages
check 'the tool runs' timeout 10 "$there/usr/bin/thirl" version
rm -f "$there/hello" "$there/hear" "$there/heard"
check 'make uninstall' make_quietly uninstall
check 'takes all of it away' nothing_left
exit $bad
