#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The overlay's host fails: each of the calls that change the overlay's files, in turn, with ENOSPC and with EIO, once or
# from there on, after half of a write or before it. The edits that fail say so, nothing dies, and the next mount opens,
# has what was fsynced, and of what came later a beginning, over all volumes and hives the same. Then a disk that is full.
#   FERRYFS_FAULT_POINTS   how many of the calls, spread over a row of edits and the unmount (8)
#   FERRYFS_MOUNT_POINTS   the same while it mounts what a killed one has left, and while it makes an overlay (2)
#   FERRYFS_FAULT_SEED     another row of edits
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/kill.bash
. "$(dirname "$0")/kill.bash"
points=8
mount_points=2
if grep -qa __asan_init "$FERRYFS"; then
    points=3
    mount_points=1
fi
points=${FERRYFS_FAULT_POINTS:-$points}
mount_points=${FERRYFS_MOUNT_POINTS:-$mount_points}
first_seed=${FERRYFS_FAULT_SEED:-0}
[ -e "$fail_io" ] || skip "fail-io.so is not built"
make_targets

# choose ROUND: sets how, times and half, each in all combinations with the others, and what.
choose() {
    how=ENOSPC
    [ $(($1 % 2)) = 0 ] || how=EIO
    times=$(($1 / 2 % 2))
    half=$(($1 / 4 % 2))
    what="call $at: $how $([ $times = 0 ] && echo "from there on" || echo once), half $half"
}

# ---- while it is written to and unmounted ----
steps=60
count_calls "$first_seed" $steps
for ((round = 1; round <= points; round++)); do
    at=$(point $round "$points")
    choose $round
    with_faults "$at" $how $times $half "$tmp/arm" mount_kept
    empty_targets "$what"
    check "$what: the row" "$python" "$load" load --errors --steps $steps --arm "$tmp/arm" "$row" "$first_seed" "${targets[@]}"
    check "$what: the daemon answers" cat "$mnt/info.json" "$volumes/disk0p3/etc/os-release"
    unmount
    was_hit
    judge "$what" "$first_seed"
done

# ---- while it mounts ----
# shellcheck disable=SC2329 # mount_rounds uses it
end_try() {
    if [ "$status" = 0 ]; then
        unmount
    else
        is "$what: exit status" "$status" 2
        like "$what: says why" "$(cat "$err")" '^ferryfs: .*(No space left|Input/output error)'
    fi
}
make_template "$first_seed" $steps
mount_rounds "$mount_points" "$first_seed"
all_reached $((points + 2 * mount_points))
is "the source is as it was" "$(sources_sha)" "$before"

# ---- the host's disk is full ----
head -c 3000000 /dev/urandom >"$tmp/random"
small=$tmp/small
mkdir "$small"
mount -t tmpfs -o size=6m tmpfs "$small" 2>"$out" || skip "no small file system can be made here"
exit_commands+=('umount -l "$small"')
for volume in disk0p1 disk0p2 disk0p3; do
    rm -rf "${small:?}"/*
    mount_ok "$tmp/disk.img" -- -o "overlay=$small/kept"
    v=$volumes/$volume
    check "$volume: a file" sh -c "mkdir '$v/dir' && seq 1000 >'$v/dir/early'"
    check "$volume: durable" sync "$v/dir/early"
    dd if=/dev/urandom of="$v/dir/late" bs=64k count=160 >"$out" 2>&1 && fail "$volume: 10 MiB in 6"
    like "$volume: says why" "$(cat "$out")" "No space left on device"
    is "$volume: what is old can be read" "$(sha "$v/dir/early")" "$(seq 1000 | sha)"
    like "$volume: and again" "$(dd if=/dev/urandom of="$v/dir/later" bs=64k count=160 2>&1)" "No space left"
    unmount
    mount_ok "$tmp/disk.img" -- -o "overlay=$small/kept"
    is "$volume: after a mount, still full" "$(sha "$v/dir/early")" "$(seq 1000 | sha)"
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/now.raw"
    three_clean "$volume, full" "$tmp/now.raw"
    dd if=/dev/urandom of="$v/dir/late2" bs=64k count=160 status=none 2>/dev/null
    die
    mount -o remount,size=40m "$small"
    mount_ok "$tmp/disk.img" -- -o "overlay=$small/kept"
    is "$volume: killed while full" "$(sha "$v/dir/early")" "$(seq 1000 | sha)"
    check "$volume: with more room" sh -c "cp '$tmp/random' '$v/dir/room' && cmp '$tmp/random' '$v/dir/room'"
    check "$volume: durable" sync "$v/dir/room"
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/now.raw"
    three_clean "$volume, with more room" "$tmp/now.raw"
    unmount
    check "$volume: qemu-img check" qemu-img check "$small"/kept/*.qcow2
    rm -rf "${small:?}"/*
    mount -o remount,size=6m "$small"
done

# ---- room is made while it is mounted: all volumes go on ----
mount_ok "$tmp/disk.img" -- -o "overlay=$small/kept"
for volume in disk0p1 disk0p2 disk0p3; do
    v=$volumes/$volume
    check "$volume: a file" sh -c "mkdir '$v/on' && seq 1000 >'$v/on/early' && sync '$v/on/early'"
done
for volume in disk0p1 disk0p2 disk0p3; do
    v=$volumes/$volume
    dd if=/dev/urandom of="$v/on/late" bs=64k count=160 >"$out" 2>&1 && fail "$volume: 10 MiB in 6, mounted"
    like "$volume: no room" "$(cat "$out")" "No space left on device"
done
mount -o remount,size=60m "$small"
for volume in disk0p1 disk0p2 disk0p3; do
    v=$volumes/$volume
    check "$volume: goes on" sh -c "rm -f '$v/on/late' && cp '$tmp/random' '$v/on/room' && sync '$v/on/room'"
done
die
mount_ok "$tmp/disk.img" -- -o "overlay=$small/kept"
for volume in disk0p1 disk0p2 disk0p3; do
    v=$volumes/$volume
    is "$volume: went on" "$(sha "$v/on/room")" "$(sha "$tmp/random")"
    is "$volume: what is old" "$(sha "$v/on/early")" "$(seq 1000 | sha)"
done
cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/now.raw"
three_clean "went on" "$tmp/now.raw"
unmount
check "qemu-img check, went on" qemu-img check "$small"/kept/*.qcow2
is "the source is as it was" "$(sources_sha)" "$before"
finish
