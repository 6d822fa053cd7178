#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Limits of nothing and next to it, in every mechanism, and a file system of a megabyte: what cannot be, says so.
. "$(dirname "$0")/../cli/tap"

limits=$BUILD/strange/here/limits
[ -x "$limits" ] || { echo "skip - not built: make strange"; exit 77; }
chmod 711 "$work"
for limit in NOFILE AS DATA STACK FSIZE MEMLOCK NPROC MSGQUEUE SIGPENDING CORE RSS LOCKS RTPRIO NICE RTTIME; do
    mkdir "$work/$limit"
    THIRL_DIR=$work/$limit/registry timeout 600 "$limits" $limit 2>limits.err | cat >limits.out
    cat limits.out
    check "$limit: all that was tried was fine" contains limits.out '^ok'
done

# A tmpfs of one megabyte, and one that is full but for a page.
for size in 1M 64K; do
    unshare --mount sh -c 'mkdir -p "$1" && mount -t tmpfs -o size=$2 tmpfs "$1" && chmod 1777 "$1" && THIRL_DIR=$1/registry timeout 300 "$3" none | cat' \
        sh "$work/small" $size "$limits" >small.out 2>small.err
    case $(cat small.err) in
    unshare*) skip "a file system of $size: $(cat small.err)" ;;
    *)
        cat small.out
        check "a registry of $size: all that was tried was fine" contains small.out '^ok'
        ;;
    esac
done
finish
