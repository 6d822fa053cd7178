#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The library and the tool are built by clang, too, without a warning; and the tool runs. What only one of the two compilers takes (inline assembly, say)
# shows there. Skipped where there is no clang.
set -u
cd "$(dirname "$0")/../.." || exit 1
command -v clang >/dev/null 2>&1 || { echo "skip - there is no clang"; exit 77; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
unset MAKEFLAGS MFLAGS
if make -s -k -j2 "B=$work" CC=clang EXTRA= "$work/libthirl.a" "$work/thirl" >"$work/said" 2>&1; then
    echo "ok - clang builds the library and the tool"
else
    echo "not ok - clang builds the library and the tool"
    grep -A3 'error:' "$work/said" | head -40 | sed 's/^/# /'
    exit 1
fi
"$work/thirl" version >"$work/version" && grep -q '^thirl ' "$work/version" || { echo "not ok - and the tool runs"; exit 1; }
echo "ok - and the tool runs"
