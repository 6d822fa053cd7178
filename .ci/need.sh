# SPDX-License-Identifier: MIT
#
# Sourced by ./run and ./test: makes sure that commands and headers are there, and says so before it installs anything.

# need PACKAGE TEST...: notes the package as missing unless the test command succeeds.
missing=
need() {
    need_package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $need_package"
}

has() {
    command -v "$1"
}

# Is there a header for the C compiler? Without a compiler there is none. cmocka.h wants the others before it.
has_header() {
    printf '#include <%s>\n' stdarg.h stddef.h stdint.h setjmp.h "$1" | ${CC:-gcc} -E -
}

# Installs what need() found missing, or says how and exits.
install_missing() {
    [ -n "$missing" ] || return 0
    echo "$0: missing:$missing" >&2
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "$0: there is no apt-get here; please install what these Debian packages contain, then try again" >&2
        exit 1
    fi
    as_root=
    if [ "$(id -u)" != 0 ]; then
        if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
            as_root='sudo -n'
        else
            echo "$0: please run this, then try again:" >&2
            echo "    sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends$missing'" >&2
            exit 1
        fi
    fi
    echo "$0: now running: ${as_root:+$as_root }apt-get update," >&2
    echo "$0: then: ${as_root:+$as_root }apt-get install -y --no-install-recommends$missing" >&2
    log=$(mktemp) || exit 1
    # shellcheck disable=SC2086 # words on purpose
    if ! { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        rm -f "$log"
        echo "$0: apt-get failed, see above" >&2
        exit 1
    fi
    rm -f "$log"
    missing=
}
