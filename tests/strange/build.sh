#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Builds the library, the tool and what plays beside them for every room that this machine has a compiler for, in build/strange/NAME, where `run` is
# the tool and `run.party` the party, whatever it takes to run them here. A name as operand: only that one.
set -u
: "${MAKE:=make}"
cd "$(dirname "$0")/../.." || exit 1
at=build/strange
mkdir -p $at/headers
# Headers of the kernel, which some C libraries come without.
ln -sfn /usr/include/linux $at/headers/linux
ln -sfn /usr/include/asm-generic $at/headers/asm-generic
ln -sfn "/usr/include/$(gcc -print-multiarch)/asm" $at/headers/asm

# NAME MISSING EMULATOR FLAGS COMPILER...
room() {
    name=$1 missing=$2 emulator=$3 flags=$4
    shift 4
    [ "${only:-$name}" = "$name" ] || return 0
    mkdir -p "$at/$name"
    rm -f "$at/$name/run"
    printf '#include <stdio.h>\nint main(void) { return puts("here") < 0; }\n' >"$at/$name/here.c"
    if ! "$@" -o "$at/$name/here" "$at/$name/here.c" >/dev/null 2>&1; then
        echo "no compiler for $name: install $missing" >"$at/$name/why"
        return 0
    fi
    if "$at/$name/here" >/dev/null 2>&1; then
        emulator=
    elif ! $emulator "$at/$name/here" >/dev/null 2>&1; then
        echo "this kernel runs no $name programs, and there is no emulator: install qemu-user" >"$at/$name/why"
        return 0
    fi
    "$MAKE" -s -C "$source" "B=$PWD/$at/$name" "CC=${WRAP:+$WRAP }$*" "CFLAGS_ADD=$flags" "$PWD/$at/$name/libthirl.a" "$PWD/$at/$name/thirl" || exit 1
    for program in party limits; do
        # shellcheck disable=SC2086 # flags are words
        "$@" -std=gnu11 -O1 -Iinclude $flags -pthread -o "$at/$name/$program" tests/strange/$program.c "$at/$name/libthirl.a" || exit 1
    done
    for program in thirl party; do
        run=$at/$name/run
        [ $program = thirl ] || run=$run.$program
        printf '#!/bin/sh\nexec %s "%s" "$@"\n' "$emulator" "$PWD/$at/$name/$program" >"$run"
        chmod +x "$run"
    done
}

# Of the same sources, all layouts of files and wires one version older.
turn_back() {
    mkdir -p "$1"
    tar cf - Makefile libthirl.map tests/tests.mk bench/bench.mk base mem sync wire mech chan pattern serve include tool | tar xf - -C "$1"
    # but for the card, which would refuse everything before anything else is looked at
    for file in $(grep -El "^#define ([A-Z]+_)?VERSION [0-9]+" "$1"/[a-z]*/*.[ch] | grep -v mem/card.c); do
        awk '/^#define ([A-Z]+_)?VERSION [0-9]+/ { sub(/ [0-9]+/, " " $3 - 1) } { print }' "$file" >"$file.new"
        mv "$file.new" "$file"
    done
}

only=${1:-} source=.
room here "gcc" "" "" gcc
room m32 "gcc-multilib" qemu-i386 "-idirafter $PWD/$at/headers" gcc -m32
room musl "musl-tools" "" "-idirafter $PWD/$at/headers" musl-gcc
room aarch64 "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" "qemu-aarch64 -L /usr/aarch64-linux-gnu" "" aarch64-linux-gnu-gcc

if [ "${only:-past}" = past ]; then
    source=$at/past/source
    turn_back "$source"
    room past gcc "" "" gcc
fi
