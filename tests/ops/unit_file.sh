#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# systemd reads the units and each drop-in without a complaint; the watchdog and the memory limit are what it understands.
#   unit_file.sh TIDEMARKD ROOT
set -eu
tidemarkd=$(realpath "$1") root=$2
command -v systemd-analyze >/dev/null || { echo "there is no systemd-analyze"; exit 77; }
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# verify UNIT: whatever systemd says of our files is a complaint.
verify() {
    local said
    said=$(systemd-analyze verify --man=no --recursive-errors=no "$1" 2>&1 | grep -F "$made" || true)
    [ -z "$said" ] || { echo "$said"; return 1; }
}

prepare() { # [DROP_IN]
    rm -rf "$made"/*
    for unit in tidemark tidemark-host; do
        sed -e "s|/usr/bin/tidemarkd|$tidemarkd|" -e "s|/usr/libexec/tidemark/host-setup.sh|$root/config/host-setup.sh|" \
            "$root/config/$unit.service" >"$made/$unit.service"
    done
    [ $# = 0 ] || {
        mkdir "$made/tidemark.service.d"
        sed -e "s|/usr/bin/tidemarkd|$tidemarkd|" "$1" >"$made/tidemark.service.d/$(basename "$1")"
    }
}

prepare
verify "$made/tidemark-host.service"
verify "$made/tidemark.service"
for drop_in in "$root"/config/tidemark.service.d/*.conf; do
    prepare "$drop_in"
    verify "$made/tidemark.service" || { echo "unit_file.sh: $drop_in"; exit 1; }
done
# It would complain.
echo "RestrictAddressFamilies=AF_NONE_SUCH" >>"$made/tidemark.service.d/$(basename "$drop_in")"
if verify "$made/tidemark.service" >/dev/null; then echo "unit_file.sh: systemd says nothing of a wrong line"; exit 1; fi
