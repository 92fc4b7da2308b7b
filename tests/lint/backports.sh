#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# config/lib.sh finds the backports by copying the machine's own package source, in both forms that sources are written in.
set -eu
. "$1/config/lib.sh"
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
mkdir "$dir/sources.list.d"

check() {
    local got
    got=$(backports_source "$dir" bookworm) || got=none
    [ "$got" = "$2" ] || { printf 'backports.sh: %s\nexpected:\n%s\ngot:\n%s\n' "$1" "$2" "$got"; exit 1; }
}

check 'no source' none
printf '%s\n' '# deb http://a.invalid/debian bookworm main' 'deb http://b.invalid/debian bookworm-updates main' \
    'deb [signed-by=/k.gpg] http://c.invalid/debian bookworm main contrib' >"$dir/sources.list"
check 'a line' 'list
deb [signed-by=/k.gpg] http://c.invalid/debian bookworm-backports main contrib'
printf '%s\n' 'Types: deb' 'URIs: http://d.invalid/security' 'Suites: bookworm-security' 'Components: main' '' \
    'Enabled: no' 'Types: deb' 'URIs: http://e.invalid/debian' 'Suites: bookworm' 'Components: main' '' \
    'Types: deb deb-src' '# a comment' 'URIs: http://f.invalid/debian' 'Suites: bookworm bookworm-updates' 'Components: main' \
    'Signed-By: /k.gpg' >"$dir/sources.list.d/debian.sources"
check 'a stanza' 'sources
Types: deb
URIs: http://f.invalid/debian
Suites: bookworm-backports
Components: main
Signed-By: /k.gpg'
