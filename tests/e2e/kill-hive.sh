#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A hive as the source: the daemon dies at, or fails at, each of the calls that change the overlay's files, in turn; the
# next mount has what was fsynced, later edits whole or not at all, and the hive breaks no rule.
#   FERRYFS_HIVE_POINTS   how many of the calls (6)
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/kill.bash
. "$(dirname "$0")/kill.bash"
points=${FERRYFS_HIVE_POINTS:-6}
steps=60
seed=7
[ -e "$fail_io" ] || skip "fail-io.so is not built"
source=$(corpus hive/regipy_SYSTEM.xz) || skip "no corpus"
before=$(sha "$source")
targets=("registry:$mnt/registry/${source##*/}/load")

# Of a hive, not of disks.
mount_kept() { mount_ok "$source" -- -o "overlay=$kept"; }
judge() {
    mount_kept
    check "$1: what is there" "$python" "$load" check "$row" "$2" "${targets[@]}"
    cp "$mnt/hives/${source##*/}" "$tmp/now"
    unmount
    check "$1: the hive" "$FERRYFS" --check-hive "$tmp/now"
}

count_calls $seed $steps
for ((round = 1; round <= points; round++)); do
    at=$(point $round "$points")
    hows=(kill ENOSPC EIO)
    how=${hows[round % 3]}
    times=$((round / 3 % 2))
    half=$((round / 6 % 2))
    what="call $at: $how, $([ $times = 0 ] && echo "from there on" || echo once), half $half"
    with_faults "$at" "$how" $times $half "$tmp/arm" mount_kept
    empty_targets "$what"
    check "$what: the row" "$python" "$load" load --errors --steps $steps --arm "$tmp/arm" "$row" $seed "${targets[@]}"
    pids=$(daemons "$mnt")
    wait_for fusermount3 -u -- "$mnt"
    # shellcheck disable=SC2086 # a list of numbers
    wait_gone $pids
    was_hit
    judge "$what" $seed
done
all_reached "$points"
is "the source is as it was" "$(sha "$source")" "$before"
finish
