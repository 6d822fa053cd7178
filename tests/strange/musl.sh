#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A program with musl and one with glibc on the same channels, states, caches and locks, both ways.
. "$(dirname "$0")/pair.sh"

meets musl
