#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Campaigns: many random kills with immediate restart, a kill at every pass of every point, a million callers that mean no good, and
# hosts that vanish; a cache that is read at every instruction of who changes it, channels whose ends die at every instruction of what they
# do, and many who wait for a condition; ten times as many jobs under fire; a flood of messages through all there is: sh tests/soak.sh COUNT.
# BUILD says where the programs are.
set -eu
registry=$(mktemp -d /dev/shm/thirl-soak.XXXXXX)
trap 'rm -rf "$registry"' EXIT
trap 'exit 130' INT TERM
THIRL_DIR=$registry "${BUILD:-build}/tests/crash/soak_test" "${1:-10000}"
THIRL_DIR=$registry THIRL_CRASH_ALL=1 "${BUILD:-build}/tests/crash/crash_test"
THIRL_DIR=$registry "${BUILD:-build}/tests/far_test" soak
THIRL_DIR=$registry "${BUILD:-build}/tests/hostile_test" million
THIRL_DIR=$registry "${BUILD:-build}/tests/shelf_test" all
THIRL_DIR=$registry "${BUILD:-build}/tests/crash/tread_test" all
THIRL_DIR=$registry "${BUILD:-build}/tests/crash/jobs_test" "$((${1:-10000} * 10))"
THIRL_DIR=$registry "${BUILD:-build}/tests/conds_test" "$((${1:-10000} / 5))"
THIRL_DIR=$registry "${BUILD:-build}/tests/named_test" all
# What is done is noted beside the build, so that what was cut goes on there: 10^9 messages through each pattern of shared memory at 10000, 10^8 elsewhere.
export CONFORM_SECONDS=864000 FLOOD_FILE="${BUILD:-build}/flood"
FLOOD_COUNT=$((${1:-10000} * 100000)) "${BUILD:-build}/tests/conform/flood_test" 'shm*'
FLOOD_COUNT=$((${1:-10000} * 10000)) "${BUILD:-build}/tests/conform/flood_test"
