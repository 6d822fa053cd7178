#!/bin/sh
# SPDX-License-Identifier: MIT
#
# thirl's locks beside others under the same kills: sh tests/peer/locks.sh [COUNT]. COUNT kills for each, 300 if nothing is said; those that do not
# survive wait for a watchdog of a second each time. Prints a table. Installs nothing: Boost.Interprocess is left out where there is no
# libboost-dev. It wants `make tests` before.
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build} directory=$(mktemp -d "${TMPDIR:-/tmp}/thirl-locks.XXXXXX")
trap 'rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM
boost=
if echo '#include <boost/interprocess/sync/interprocess_condition.hpp>' | ${CXX:-c++} -E -x c++ - >/dev/null 2>&1; then
    ${CXX:-c++} -std=c++11 -O2 -Wall -Wextra -I. -c -o "$directory/boost.o" tests/peer/boost.cc
    boost="$directory/boost.o"
else
    echo "no Boost here (Debian package libboost-dev)" >&2
fi
# shellcheck disable=SC2086 # none, or one
${CXX:-c++} -pthread -o "$directory/locks" "$build/tests/peer/fray_test.o" $boost "$build/tests/libtest.a" "$build/weave/libthirl.a" -lcmocka
THIRL_DIR=$directory "$directory/locks" "${1:-300}"
