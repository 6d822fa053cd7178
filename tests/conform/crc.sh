#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The quick part of the conformance suite with every end under ?crc; `make conform-all` runs the whole.
set -u
: "${BUILD:=build}"
CONFORM_WITH=crc
export CONFORM_WITH
bad=0
for part in note queue; do
    "$BUILD/tests/conform/${part}_test" || bad=1
done
for line in shm unix-path; do
    "$BUILD/tests/conform/many_test" "$line *" || bad=1
done
"$BUILD/tests/conform/place_test" 'shm *' || bad=1
CONFORM_WITH='hurt=1:again/1,short/2&crc'
"$BUILD/tests/conform/many_test" 'shm *' || bad=1
exit $bad
