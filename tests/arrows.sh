#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A file is a room, an include is an arrow, and arrows point down: sh tests/arrows.sh [ROOT]. Fails, with file and line, on
# an arrow up or sideways, on a circle within a folder, on a folder that no floor knows, and on an include
# that is not written from the root.
set -u
cd "${1:-.}" || exit 1

find . \( -path ./build -o -path ./.git \) -prune -o -name '*.[ch]' -print | sed 's|^\./||' | LC_ALL=C sort |
    awk '
    BEGIN {
        # Rooms see what is below them. Folders without a number are strangers: they see the public header only.
        floor["base"] = 1
        floor["mem"] = floor["sync"] = floor["wire"] = 2
        floor["mech"] = 3
        floor["chan"] = 4
        floor["pattern"] = 5
        floor["serve"] = 6
        floor["tests"] = 7
        stranger["tool"] = stranger["bridge"] = stranger["example"] = stranger["bench"] = stranger["include"] = 1
        # Suites that prove the public face are strangers too, but may stop at weave points.
        suite["tests/app"] = suite["tests/cli"] = suite["tests/conform"] = 1
    }

    function complain(text) {
        print file ":" line ": " text
        wrong++
    }

    function head(path) {
        return substr(path, 1, index(path, "/") - 1)
    }

    function room(path) {
        sub(/\.[ch]$/, "", path)
        return path
    }

    function judge(to,    from, target, part) {
        from = head(file)
        target = head(to)
        if (target == "" || to ~ /(^|\/)\.\.?\//) return complain("\"" to "\" is not written from the root")
        if (!(to in there)) return complain("\"" to "\" is not there")
        if (to ~ /^include\/thirl\//) return
        if (from == target) {
            inside[file, ++degree[file]] = to
            sees[room(file), room(to), file] = 1
            # Two rooms that call each other are one room, or the lower one should return what the higher one asks for.
            if (room(file) != room(to) && ((room(to), room(file), room(to) ".c") in sees) && file ~ /\.c$/) {
                print file ":" line ": circle: " room(to) ".c includes \"" room(file) ".h\" as well"
                wrong++
            }
            return
        }
        if (from in stranger) return complain(from "/ sees the public header only, not \"" to "\"")
        match(file, /^[^\/]*\/[^\/]*/)
        part = substr(file, 1, RLENGTH)
        if (part in suite && to != "base/weave.h")
            return complain(part "/ sees the public header only, not \"" to "\"")
        if (from == "tests" && target in stranger) return
        if (!(target in floor)) return complain("arrow from " from "/ to \"" to "\", which is no floor below")
        if (floor[target] > floor[from]) return complain("arrow up: " from "/ includes \"" to "\"")
        if (floor[target] == floor[from]) return complain("arrow sideways: " from "/ includes \"" to "\"")
    }

    function walk(at, path,    i, follower) {
        mark[at] = 1
        for (i = 1; i <= degree[at]; i++) {
            follower = inside[at, i]
            if (mark[follower] == 1) {
                print "circle: " path " -> " follower
                wrong++
            } else if (!mark[follower]) {
                walk(follower, path " -> " follower)
            }
        }
        mark[at] = 2
    }

    { list[++files] = $0; there[$0] = 1 }

    END {
        for (i = 1; i <= files; i++) {
            file = list[i]
            line = 1
            if (!(head(file) in floor) && !(head(file) in stranger)) {
                complain("no floor is called " (head(file) == "" ? "the root" : head(file) "/"))
                continue
            }
            for (line = 1; (getline text < file) > 0; line++) {
                if (text ~ /^[ \t]*#[ \t]*include[ \t]*"/) {
                    arrows++
                    split(text, piece, "\"")
                    judge(piece[2])
                } else if (text ~ /^[ \t]*#[ \t]*include[ \t]*<(base|mem|sync|wire|mech|chan|pattern|serve)\//) {
                    complain("a room is included with quotes")
                }
            }
            close(file)
        }
        for (i = 1; i <= files; i++)
            if (!mark[list[i]]) walk(list[i], list[i])
        if (wrong) print wrong " wrong"
        else print arrows + 0 " arrows in " files + 0 " files, all of them down"
        exit wrong != 0
    }'
