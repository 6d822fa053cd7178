#!/bin/sh
# SPDX-License-Identifier: MIT
#
# thirl's queues beside others under the same kills: sh tests/peer/queues.sh [COUNT]. COUNT kills for each, 300 if nothing is said; those that do
# not survive wait for a watchdog of two seconds each time. Prints a table. Installs nothing: what is not here (libboost-dev, libzmq3-dev,
# libnng-dev) is left out. It wants `make tests` before.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build} directory=$(mktemp -d "${TMPDIR:-/tmp}/thirl-queues.XXXXXX")
trap 'rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM
objects= libraries=
has() { # NAME HEADER LIBRARY
    if echo "#include <$2>" | ${CXX:-c++} -E -x c++ - >/dev/null 2>&1; then
        ${CXX:-c++} -std=c++11 -O2 -Wall -Wextra -I. -c -o "$directory/$1.o" "tests/peer/post_$1.cc"
        objects="$objects $directory/$1.o" libraries="$libraries $3"
    else
        echo "$1 is not here" >&2
    fi
}
has boost boost/interprocess/ipc/message_queue.hpp ''
has zmq zmq.h -lzmq
has nng nng/nng.h -lnng
# shellcheck disable=SC2086 # none, or some
${CXX:-c++} -pthread -o "$directory/queues" "$build/tests/peer/mail_test.o" $objects "$build/tests/libtest.a" "$build/weave/libthirl.a" -lcmocka $libraries
"$directory/queues" "${1:-300}"
