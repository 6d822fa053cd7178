#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A part of the conformance suite with every end under ?hurt=; `make conform-all` runs the whole.
set -u
: "${BUILD:=build}"
CONFORM_WITH=hurt
export CONFORM_WITH
bad=0
"$BUILD/tests/conform/carry_test" 'shm *' || bad=1
for part in stream many; do
    "$BUILD/tests/conform/${part}_test" || bad=1
done
exit $bad
