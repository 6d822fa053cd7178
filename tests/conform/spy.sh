#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The quick part of the conformance suite with every end under ?spy=; `make conform-all` runs the whole.
set -u
: "${BUILD:=build}"
CONFORM_WITH=spy
export CONFORM_WITH
bad=0
for part in counted event note place queue stream; do
    "$BUILD/tests/conform/${part}_test" || bad=1
done
exit $bad
