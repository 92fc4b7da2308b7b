#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The reference configuration's lines in comments: what it says of a cluster passes the check, and every name is a setting.
set -eu
tidemarkd=$1 file=$2
made=$(mktemp)
trap 'rm "$made"' EXIT
sed '/^# ---- the cluster/,/^# ---- what/ s/^# \([a-z.]*=\)/\1/' "$file" >"$made"
for name in cluster.id quorum.voters controller.allow controller.listener replication.port; do
    grep -q "^$name=" "$made" || { echo "reference.sh: $file says nothing of $name"; exit 1; }
done
"$tidemarkd" --config "$made" --check
"$tidemarkd" --settings >"$made"
for name in $(sed -n 's/^# \([a-z0-9.]*\)=.*/\1/p' "$file"); do
    grep -qF "| \`$name\` |" "$made" || { echo "reference.sh: $name is no setting"; exit 1; }
done
