#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The main job, called by sh ./run after the build: carries a real file between two processes over every mechanism and
# compares SHA-256 on both sides (events have no room for the file: its sum itself crosses); measures each beside its bare
# floor; kills a receiver in mid-transfer and shows what
# the sender is told, that a new receiver takes over, and that nothing is left. BUILD: where the programs are.
set -u
cd "$(dirname "$0")/.." || exit 1

build=${BUILD:-build}
thirl=$build/thirl bench=$build/thirl-bench carry=$build/example/carry
least=$((64 * 1024 * 1024))
limit=20s # longest wait of one transfer for its peer
shm=/dev/shm
[ -d $shm ] && [ -w $shm ] || shm=${TMPDIR:-/tmp}

work=$(mktemp -d) && THIRL_DIR=$(mktemp -d "$shm/first-light.XXXXXX") || exit 1
export THIRL_DIR
port=$((20000 + $$ % 12000)) # below what the kernel gives to those who do not ask
data=$work/data copy=$work/copy path=$work/socket
sender='' receiver=''

leave() {
    kill $sender $receiver 2>/dev/null
    rm -rf "$work" "$THIRL_DIR"
}
trap leave EXIT
trap 'exit 130' INT TERM

fail() {
    echo "first-light: $*" >&2
    exit 1
}

now() { # nanoseconds
    date +%s%N
}

sum() {
    sha256sum <"$1" | cut -d ' ' -f 1
}

size() {
    wc -c <"$1" 2>/dev/null || echo 0
}

# The compiler's own programs first, then the largest libraries, until there is enough.
gather() {
    compiler=$(${CC:-gcc} -print-prog-name=cc1)
    {
        find -L "$(dirname "$compiler")" -type f -size +1024k 2>/dev/null
        find -L /usr/lib /usr/bin -type f -size +256k 2>/dev/null
    } >"$work/files"
    : >"$data"
    while [ "$(size "$data")" -lt $least ]; do
        before=$(size "$data")
        while read -r file; do
            [ -r "$file" ] && cat "$file" >>"$data"
            [ "$(size "$data")" -lt $least ] || break
        done <"$work/files"
        [ "$(size "$data")" -gt "$before" ] || fail "found no compiler and no libraries to carry"
    done
}

# compare ADDRESS: fails unless the copy is the same
compare() {
    [ "$(sum "$copy")" = "$expected" ] || fail "$1: what was received differs from what was sent"
}

# transfer ADDRESS: by the tool; sets $took (ns); fails unless the copy is the same
transfer() {
    rm -f "$copy"
    begin=$(now)
    "$thirl" recv --stream --quiet --timeout $limit --file "$copy" "$1" 2>"$work/recv.err" &
    receiver=$!
    "$thirl" send --stream --quiet --timeout $limit --file "$data" "$1" 2>"$work/send.err"
    code=$?
    [ $code = 0 ] || fail "$1: the sender ended with $code: $(cat "$work/send.err")"
    wait "$receiver"
    code=$?
    receiver=''
    took=$(($(now) - begin))
    [ $code = 0 ] || fail "$1: the receiver ended with $code: $(cat "$work/recv.err")"
    compare "$1"
}

# carry ADDRESS: likewise, from a process to its child, where the address is of that kind; $lost says what was lost
carry() {
    rm -f "$copy"
    begin=$(now)
    "$carry" "$1" "$data" "$copy" >"$work/lost" 2>"$work/send.err" || fail "$1: $(cat "$work/send.err")"
    took=$(($(now) - begin))
    lost=$(cat "$work/lost")
    case $1 in
    sig://*) [ "$(cat "$copy")" = "$expected" ] || fail "$1: the sum that was received is another one" ;;
    *) [ -n "$lost" ] || compare "$1" ;;
    esac
}

# value FILE FIELD: the median of that field over the file's lines
value() {
    cut -d ' ' -f "$2" "$1" | sort -n | sed -n "$((($(wc -l <"$1") + 1) / 2))p"
}

# ask NAME ARGUMENT...: one measurement, a line in the file of that name
ask() {
    file=$work/m.$1
    shift
    "$bench" "$@" >>"$file" 2>"$work/bench.err" || fail "thirl-bench $*: $(cat "$work/bench.err")"
}

# measure ADDRESS FLOOR_OF_RATE FLOOR_OF_ROUND_TRIP: floor and thirl in turns, three rounds; "-": there is none
measure() {
    rm -f "$work"/m.*
    for _ in 1 2 3; do
        if [ "$2" != - ]; then
            ask floor "$2"
            ask thirl rate "$1"
        fi
        if [ "$3" != - ]; then
            ask floor-rtt "$3"
            ask thirl-rtt rtt "$1"
        fi
    done
}

# show NAME: a line of the table from what was measured
show() {
    for what in thirl:3 floor:3 thirl-rtt:3 thirl-rtt:6 floor-rtt:3 floor-rtt:6; do
        file=$work/m.${what%:*}
        [ -e "$file" ] && value "$file" "${what#*:}" || echo -
    done | tr '\n' ' ' | awk -v name="$1" -v bytes="$moved" -v took="$took" -v same="${lost:-same}" '
        function t(ns) { return ns == "-" ? ns : ns < 1000 ? sprintf("%.0f ns", ns) : sprintf("%.1f us", ns / 1000) }
        function r(rate) { return rate == "-" ? rate : sprintf("%.2f", rate) }
        { printf "%-16s %9s %8s %8s   %10s %10s   %10s %10s   %s\n", name,
              bytes == "-" ? "-" : sprintf("%.2f", bytes / took * 1e9 / 2^30), r($1), r($2), t($3), t($4), t($5), t($6), same }'
}

# may NAME ADDRESS: is that in this library, and in this kernel? Says so where it is not.
may() {
    echo probe >"$work/probe"
    case $2 in
    tcp://?::1*) grep -qs '^0*1 ' /proc/net/if_inet6 || echo "carry: $2: this host has no IPv6" >"$work/may.err" ;;
    esac
    if [ ! -s "$work/may.err" ]; then
        "$carry" "$2" "$work/probe" "$work/nothing" >/dev/null 2>"$work/may.err"
        code=$?
        [ $code != 0 ] || return 0
        [ $code = 77 ] || fail "$2: $(cat "$work/may.err")"
    fi
    printf '%-16s not here: %s\n' "$1" "$(head -1 "$work/may.err" | cut -d ' ' -f 3- | cut -c 1-140)"
    rm -f "$work/may.err"
    return 1
}

# row HOW NAME ADDRESS FLOOR_OF_RATE FLOOR_OF_ROUND_TRIP: how it is carried, transfer or carry
row() {
    may "$2" "$3" || return 0
    lost='' moved=$bytes
    "$1" "$3"
    measure "$3" "$4" "$5"
    show "$2"
}

feed() { # the file over and over, until nobody reads it
    while cat "$data" 2>/dev/null; do :; done
}

# mid_transfer ADDRESS: kills the receiver while bytes flow; the sender has to say so, and who
mid_transfer() {
    rm -f "$copy"
    "$thirl" recv --stream --quiet --timeout $limit --file "$copy" "$1" 2>"$work/recv.err" &
    receiver=$!
    feed | "$thirl" send --stream --quiet --timeout $limit "$1" 2>"$work/send.err" &
    sender=$!
    tries=0
    until [ -e "$copy" ] && [ "$(size "$copy")" -gt 8388608 ]; do
        tries=$((tries + 1))
        [ $tries -lt 500 ] || fail "$1: no transfer after 5 s: $(cat "$work/send.err" "$work/recv.err")"
        sleep 0.01
    done
    begin=$(now)
    kill -9 "$receiver"
    wait "$sender"
    code=$?
    told=$((($(now) - begin) / 1000))
    victim=$receiver sender='' receiver=''
    wait "$victim" 2>/dev/null
    [ $code = 3 ] || fail "$1: the sender of a killed receiver ended with $code, not 3: $(cat "$work/send.err")"
    grep -q "$victim" "$work/send.err" || fail "$1: the sender does not name $victim: $(cat "$work/send.err")"
    echo "$1: receiver $victim killed after $(($(size "$copy") / 1048576)) MiB"
    echo "    the sender ended $((told / 1000)).$(printf %03d $((told % 1000))) ms later with exit 3:"
    sed 's/^/    /' "$work/send.err"
    transfer "$1"
    echo "    a new receiver took over the address: $bytes bytes, the same SHA-256"
    [ -z "$(find "$THIRL_DIR" -mindepth 2)" ] || fail "$1: left in the registry: $(find "$THIRL_DIR" -mindepth 2)"
    echo "    nothing is left in the registry: $(cd "$THIRL_DIR" && find . -mindepth 1 | sort | tr '\n' ' ')"
}

for program in "$thirl" "$bench" "$carry"; do
    [ -x "$program" ] || fail "there is no $program: run make first"
done
gather
expected=$(sum "$data")
bytes=$(size "$data")
transfer shm://first-light # what memory costs at its first use is nobody's figure
echo "carrying $bytes bytes of this machine's compiler and libraries, SHA-256 $(echo "$expected" | cut -c 1-16)…"
echo
echo "                 file to     one way, GiB/s     round trip, 64 B          bare floor"
echo "mechanism        file GiB/s  thirl    floor          p50        p99          p50        p99   SHA-256"
row transfer shm shm://first-light floor-copy floor-rtt-spin
row transfer mq "mq://first-light-$$" floor-mq floor-rtt-mq
row transfer sysv "sysv://first-light-$$" floor-sysv floor-rtt-sysv
row carry pipe pipe:// floor-pipe floor-rtt-pipe
row transfer fifo "fifo://$work/fifo" floor-fifo floor-rtt-fifo
row transfer unix "unix://$path" floor-stream floor-rtt-stream
row transfer "unix abstract" "unix://@first-light-$$" floor-stream floor-rtt-stream
row transfer "unix seqpacket" "unix://@first-light-$$?type=seqpacket" floor-seqpacket floor-rtt-seqpacket
row transfer "unix datagram" "unix://@first-light-$$?type=datagram" floor-datagram floor-rtt-datagram
row transfer "tcp IPv4" "tcp://127.0.0.1:$port" floor-tcp floor-rtt-tcp
row transfer "tcp IPv6" "tcp://[::1]:$port" floor-tcp6 floor-rtt-tcp6
row carry udp "udp://127.0.0.1:$port" - floor-rtt-udp
if may sig sig://self; then
    carry sig://self
    measure sig://self - floor-rtt-sig
    moved=- lost="the file's SHA-256, 16 bits an event" && show sig
fi
echo
mid_transfer shm://first-light
mid_transfer "unix://$path"
[ ! -e "$path" ] || fail "the socket file is still there"
[ -z "$(find "$THIRL_DIR" -mindepth 2)" ] || fail "left in the registry: $(find "$THIRL_DIR" -mindepth 2)"
