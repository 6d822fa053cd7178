#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Draws small houses with one wrong arrow each and looks whether tests/arrows.sh names it.
set -u
script=$PWD/tests/arrows.sh
house=$(mktemp -d) || exit 1
trap 'rm -rf "$house"' EXIT
bad=0

# house FILE INCLUDE...: a new house; each file is there and has one include ("-" for none).
build() {
    rm -rf "$house/h"
    mkdir -p "$house/h/include/thirl"
    : >"$house/h/include/thirl/thirl.h"
    while [ $# -gt 1 ]; do
        mkdir -p "$house/h/$(dirname "$1")"
        [ "$2" = - ] || printf '\n#include "%s"\n' "$2" >>"$house/h/$1"
        [ -e "$house/h/$1" ] || : >"$house/h/$1"
        shift 2
    done
}

stands() {
    if out=$(sh "$script" "$house/h" 2>&1); then echo "ok - $1"; else bad=1; echo "not ok - $1"; echo "$out"; fi
}

falls() {
    if out=$(sh "$script" "$house/h" 2>&1) || ! echo "$out" | grep -q "$2"; then
        bad=1
        echo "not ok - $1"
        echo "$out"
    else
        echo "ok - $1"
    fi
}

build base/a.h include/thirl/thirl.h wire/b.h base/a.h mem/b.h base/a.h mech/c.c wire/b.h mech/c.c mem/b.h \
    chan/d.c mech/e.h mech/e.h - tool/t.c include/thirl/thirl.h tests/d_test.c mem/b.h
stands 'arrows down'
build mem/a.h - base/b.c mem/a.h
falls 'up' '^base/b.c:2: arrow up'
build wire/a.h - mem/b.c wire/a.h
falls 'sideways' '^mem/b.c:2: arrow sideways'
build base/a.h - tool/t.c base/a.h
falls 'a stranger in a room' '^tool/t.c:2: tool/ sees the public header only'
build mem/a.h - tests/cli/t.c mem/a.h
falls 'a suite in a room' '^tests/cli/t.c:2: tests/cli/ sees'
build base/weave.h - tests/conform/t.c base/weave.h
stands 'a suite at the weave points'
build tool/t.h - chan/a.c tool/t.h
falls 'a room that looks at strangers' '^chan/a.c:2: arrow from'
build mem/a.h mem/b.h mem/b.h mem/a.h
falls 'a circle of headers' 'circle: mem/'
build mem/a.h mem/b.h mem/b.h mem/c.h mem/c.h mem/a.h
falls 'a circle of three' 'circle: mem/a.h -> mem/b.h -> mem/c.h -> mem/a.h'
build mem/a.h - mem/b.h - mem/a.c mem/b.h mem/b.c mem/a.h
falls 'two rooms that call each other' '^mem/b.c:2: circle: mem/a.c'
build attic/a.c -
falls 'an unknown folder' '^attic/a.c:1: no floor is called attic/'
build a.c -
falls 'a file outside' '^a.c:1: no floor'
build mem/a.h - mem/b.c a.h
falls 'an include not from the root' '^mem/b.c:2: "a.h" is not written from the root'
build mem/b.c mem/../base/a.h
falls 'a way round' 'not written from the root'
build mem/b.c base/none.h
falls 'an include of nothing' '^mem/b.c:2: "base/none.h" is not there'
exit $bad
