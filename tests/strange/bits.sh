#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A 32-bit and a 64-bit process on the same channels, states, caches and locks, both ways.
. "$(dirname "$0")/pair.sh"

meets m32
