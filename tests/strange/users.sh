#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Two users, neither of them root, with a group in common and without: who is not let in is refused with a sentence, and who is let in by
# ?mode= is served.
. "$(dirname "$0")/pair.sh"

[ "$(id -u)" = 0 ] || { echo 'skip - only root can be somebody else'; exit 77; }
command -v setpriv >setpriv.out || { echo 'skip - no setpriv: install util-linux'; exit 77; }
group=64999
chmod 711 "$work"
mkdir "$THIRL_DIR"
cp "$TOOL" "$work/tool"
chmod 755 "$work/tool"

# UID GID GROUPS: a tool of that user
user() {
    printf '#!/bin/sh\nexec setpriv --reuid %s --regid %s %s -- "%s" "$@"\n' "$2" "$2" "$3" "$work/tool" >"$work/$1"
    chmod +x "$work/$1"
}
user first 64001 "--groups $group"
user second 64002 "--groups $group"
user stranger 64003 --clear-groups

# RECEIVER SENDER ADDRESS; their codes in $code and $sent
try() {
    begin far /dev/null "$work/$1" recv "$3" --timeout 3s
    until_true 40 seen "${3%%\?*}"
    timeout -s KILL 10 "$work/$2" send "$3" --message hello --timeout 2s >near.out 2>near.err
    sent=$?
    await far
}

refused() {
    [ "$sent" != 0 ] && [ "$sent" -lt 128 ] && [ -s near.err ]
}

# A registry of the first user's own.
chown 64001:64001 "$THIRL_DIR"
chmod 700 "$THIRL_DIR"
try first stranger shm://strange/own
check 'a registry of one user: a stranger is refused, and told' refused

# One that the group may use.
rm -rf "$THIRL_DIR"
mkdir "$THIRL_DIR"
chown 64001:$group "$THIRL_DIR"
chmod 2770 "$THIRL_DIR"
try first second 'shm://strange/group?mode=660'
check 'a registry of a group, ?mode=660: the other member is served' test "$sent$code" = 00 -a "$(cat far.out)" = hello
try first second shm://strange/mine
check 'a registry of a group, the usual mode: the other member is refused, and told' refused
try first stranger 'shm://strange/group2?mode=660'
check 'a registry of a group: a stranger is refused, and told' refused

# Sockets, by the mode of their paths.
for scheme in unix fifo; do
    mkdir -p "$work/$scheme" && chmod 777 "$work/$scheme"
    try first second "$scheme://$work/$scheme/closed"
    check "$scheme, the usual mode: another user is refused, and told" refused
    try first stranger "$scheme://$work/$scheme/open?mode=666"
    check "$scheme, ?mode=666: whoever comes is served" test "$sent$code" = 00
done
finish
