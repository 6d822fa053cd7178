#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The code for another processor, run by an emulator, and this one's on the same channels, both ways. What the emulator lacks, lacks there:
# the heavy fence (both sides fence themselves), the kernel's word of a death (looked for every second), and the order of stores that such a
# processor may change (it is this one's).
. "$(dirname "$0")/pair.sh"

meets aarch64
