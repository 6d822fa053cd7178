#!/bin/sh
# SPDX-License-Identifier: MIT
#
# thirl's cache beside memcached, Redis and LMDB: sh bench/peer/cache.sh [SECONDS] [ROUNDS] [BYTES…]. Prints a table of gets, gets by 32 and puts a
# second, and beside it what the memory gives: the same values out of an array. Each is the median of the rounds, in which all take turns. Installs
# nothing: what is not here is left out. It wants the Debian packages memcached, redis-server and liblmdb-dev, and `make` before.
set -eu
cd "$(dirname "$0")/../.."
seconds=${1:-1} rounds=${2:-5}
if [ $# -gt 2 ]; then shift 2; else set -- 64 1024 4096; fi
build=${BUILD:-build} directory=$(mktemp -d /dev/shm/thirl-peer.XXXXXX) servers=
# shellcheck disable=SC2154,SC2086 # in the trap; several words
trap 'kill $servers 2>/dev/null || :; rm -rf "$directory"' EXIT
trap 'exit 130' INT TERM
export THIRL_DIR="$directory/registry"

engines='array thirl'
if command -v memcached >/dev/null; then
    engines="$engines memcached"
    memcached -u root -s "$directory/memcached" -m 256 -t 1 >/dev/null 2>&1 &
    servers="$servers $!"
else
    echo "no memcached here (Debian package memcached)" >&2
fi
if command -v redis-server >/dev/null; then
    engines="$engines redis"
    redis-server --port 0 --unixsocket "$directory/redis" --save '' --appendonly no --dir "$directory" >/dev/null 2>&1 &
    servers="$servers $!"
else
    echo "no Redis here (Debian package redis-server)" >&2
fi
with=
if echo '#include <lmdb.h>' | ${CC:-cc} -E - >/dev/null 2>&1; then
    engines="$engines lmdb" with='-DWITH_LMDB -llmdb'
else
    echo "no LMDB here (Debian package liblmdb-dev)" >&2
fi
# shellcheck disable=SC2086 # several words
${CC:-cc} -std=gnu11 -O2 -Wall -Wextra -Iinclude -o "$directory/cache" bench/peer/cache.c "$build/libthirl.a" -pthread $with

median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.0f", v[int((NR + 1) / 2)] }'; }

echo '| Bytes | Engine | gets / s | × memcached | gets by 32 / s | × memcached | puts / s |'
echo '|---|---|---|---|---|---|---|'
for bytes in "$@"; do
    for _ in $(seq "$rounds"); do
        for engine in $engines; do
            case $engine in
            thirl) where=peer/cache ;;
            lmdb) where=$directory/lmdb && rm -f "$where" "$where-lock" ;;
            *) where=$directory/$engine ;;
            esac
            "$directory/cache" "$engine" "$where" "$bytes" "$seconds" >>"$directory/$engine.$bytes"
        done
    done
    base1=0 base2=0
    if [ -f "$directory/memcached.$bytes" ]; then
        base1=$(cut -d' ' -f1 "$directory/memcached.$bytes" | median)
        base2=$(cut -d' ' -f2 "$directory/memcached.$bytes" | median)
    fi
    for engine in $engines; do
        one=$(cut -d' ' -f1 "$directory/$engine.$bytes" | median)
        many=$(cut -d' ' -f2 "$directory/$engine.$bytes" | median)
        put=$(cut -d' ' -f3 "$directory/$engine.$bytes" | median)
        awk -v b="$bytes" -v e="$engine" -v o="$one" -v m="$many" -v p="$put" -v x="$base1" -v y="$base2" 'BEGIN {
            printf "| %d | %s | %d | %s | %d | %s | %d |\n", b, e, o, x ? sprintf("%.1f", o / x) : "-", m,
                y ? sprintf("%.1f", m / y) : "-", p }'
    done
done
