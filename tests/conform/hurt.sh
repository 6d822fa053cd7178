#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The quick part of the conformance suite with every end under ?hurt=, by chance and at every call; `make conform-all` runs the
# whole.
set -u
: "${BUILD:=build}"
CONFORM_WITH=hurt
export CONFORM_WITH
bad=0
"$BUILD/tests/conform/carry_test" 'shm *' || bad=1
for part in counted event many note stream; do
    "$BUILD/tests/conform/${part}_test" || bad=1
done
CONFORM_WITH=hurt=1:again/1
for part in queue; do
    "$BUILD/tests/conform/${part}_test" || bad=1
done
exit $bad
