#!/bin/sh
# SPDX-License-Identifier: MIT
#
# thirl beside other libraries, as far as they are installed, and their table put in the place of those in README.md and doc/measured.md:
# sh bench/peer/compare.sh [ROUNDS].
# For a machine on which nothing else runs; BUILD: where the bench is.
set -eu
cd "$(dirname "$0")/../.."
table=$(mktemp)
trap 'rm -f "$table" README.md~ doc/measured.md~' EXIT
"${BUILD:-build}/thirl-bench" --peers --rounds "${1:-5}" --md >"$table"
for page in README.md doc/measured.md; do
    awk -v table="$table" '
        /^\|/ && here { next }
        { print; here = 0 }
        /^<!-- thirl-bench --peers -->$/ { while ((getline row <table) > 0) print row; here = 1 }' "$page" >"$page~"
    cat "$page~" >"$page"
done
