#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What `meson install` puts where, and that the installed files name one another.   install.sh BUILD PREFIX
set -eu
build=$1 prefix=$2
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
DESTDIR=$made meson install -C "$build" --no-rebuild --quiet
cd "$made$prefix"
for f in bin/tidemarkd bin/tidemark libexec/tidemark/host-setup.sh; do
    [ -x $f ] || { echo "install.sh: no program $f"; exit 1; }
done
for f in share/tidemark/tidemark.conf lib/systemd/system/tidemark.service lib/systemd/system/tidemark-host.service lib/sysusers.d/tidemark.conf \
    share/tidemark/tidemark.service.d/af_packet.conf share/tidemark/tidemark.service.d/vfio.conf; do
    [ -f $f ] || { echo "install.sh: no $f"; exit 1; }
done
bin/tidemarkd --config share/tidemark/tidemark.conf --check >/dev/null
bin/tidemark --version >/dev/null
libexec/tidemark/host-setup.sh --help >/dev/null
# every path of ours in a unit is there
for f in lib/systemd/system/*.service share/tidemark/tidemark.service.d/*.conf; do
    for path in $(sed -n 's/^Exec[A-Za-z]*=[+-]*\([^ ]*\).*/\1/p' "$f"); do
        [ -x "$made$path" ] || { echo "install.sh: $f starts $path, which is not installed"; exit 1; }
    done
done
# and nothing else was put there
others=$(find "$made" -type f | sed "s|^$made$prefix/||" | grep -Ev '^(bin/tidemarkd?|libexec/tidemark/host-setup.sh|share/tidemark/.*|lib/systemd/system/tidemark(-host)?.service|lib/sysusers.d/tidemark.conf)$' || true)
[ -z "$others" ] || { echo "install.sh: what is this: $others"; exit 1; }
