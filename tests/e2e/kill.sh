#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon is killed while it works: the next mount opens, has what was fsynced, and of what came later a beginning,
# over all volumes and hives the same. And a host's disk that is full: an error, and no harm.
# FERRYFS_KILLS: how many kills (12).
. "$(dirname "$0")/lib.sh"
# libntfs-3g forgets inodes, and what hangs on them, when they can't be written.
echo leak:libntfs-3g >"$tmp/leaks"
export LSAN_OPTIONS=suppressions=$tmp/leaks:print_suppressions=0
# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat qemu-img python3 jq
load=$top/tests/tools/kill-load.py
volumes=$mnt/volumes
kills=${FERRYFS_KILLS:-12}

# add_hive IMAGE: a system hive where Windows has it.
# shellcheck disable=SC2329 # make_three calls it
add_hive() {
    local at=$tmp/hive.mnt status
    mkdir -p "$at"
    ntfs-3g "$1" "$at" 2>/dev/null || return 1
    mkdir -p "$at/Windows/System32/config" && cp "$(corpus hive/regipy_SYSTEM.xz)" "$at/Windows/System32/config/SYSTEM"
    status=$?
    umount "$at"
    return $status
}
hive=
if have_corpus && command -v ntfs-3g >/dev/null; then
    three_fill_ntfs=add_hive
    hive=$volumes/disk0p2/Windows/System32/config/SYSTEM
fi
make_three "$tmp/disk.img" || skip "the file systems can't be made here"
before=$(sha "$tmp/disk.img")

# die: kills the daemon, as a crash would, and takes the dead mount away.
die() {
    local pids
    pids=$(daemons "$mnt")
    # shellcheck disable=SC2086 # a list of numbers
    kill -9 $pids
    # shellcheck disable=SC2086
    wait_gone $pids || fail "the daemon can't be killed"
    wait_for fusermount3 -u -- "$mnt" || fusermount3 -uz -- "$mnt"
}

targets=("$volumes/disk0p1/load" "$volumes/disk0p2/load" "$volumes/disk0p3/load")
[ -z "$hive" ] || targets+=("registry:$mnt/registry/HKLM/SYSTEM/load")

for ((round = 1; round <= kills; round++)); do
    seed=$((round * 7919 + ${FERRYFS_KILL_SEED:-0}))
    log=$tmp/log
    rm -f "$log"
    mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
    for t in "${targets[@]#registry:}"; do
        rm -rf "$t" && mkdir "$t" || fail "kill $round: $t can't be made"
    done
    python3 "$load" load "$log" $seed "${targets[@]}" >"$tmp/load.out" 2>&1 &
    worker=$!
    wait_for grep -qs ready "$log" || { fail "kill $round: the load doesn't begin" "$tmp/load.out"; break; }
    # most die in the first second; some after the commit that comes by itself
    delay=$((RANDOM % 1200))
    [ $((round % 6)) != 0 ] || delay=$((5000 + RANDOM % 1000))
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    die
    wait $worker || fail "kill $round, $delay ms: what is written while nothing is wrong must succeed" "$tmp/load.out"
    mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
    check "kill $round, $delay ms, seed $seed: what is there" python3 "$load" check "$log" $seed "${targets[@]}"
    sed "s/^/kill $round, $delay ms: /" "$out" | head -n 1
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/now.raw"
    three_clean "kill $round" "$tmp/now.raw"
    if [ -n "$hive" ]; then
        cp "$hive" "$tmp/SYSTEM"
        check "kill $round: the hive" "$FERRYFS" --check-hive "$tmp/SYSTEM"
    fi
    unmount
    check "kill $round: qemu-img check" qemu-img check "$tmp"/kept/*.qcow2
    check "kill $round: QEMU reads it" qemu-img compare -f raw -F qcow2 "$tmp/now.raw" "$tmp"/kept/*.qcow2
done
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"

# ---- killed, and QEMU comes first ----
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
head -c 3000000 /dev/urandom >"$tmp/random"
check "a file" cp "$tmp/random" "$volumes/disk0p3/random"
check "made durable" sync "$volumes/disk0p3/random"
die
qemu-img check -r all "$tmp"/kept/*.qcow2 >"$out" 2>&1 || fail "QEMU repairs it" "$out"
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
check "what was durable" same "$tmp/random" "$volumes/disk0p3/random"
unmount

# ---- the host's disk is full ----
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
    # an NTFS volume that was cut off in the middle of an operation takes no more until it is mounted anew
    full="No space left"
    [ "$(json "$mnt/info.json" ".volumes[] | select(.name == \"$volume\").type")" != ntfs ] || full+="|Input/output error"
    like "$volume: and again" "$(dd if=/dev/urandom of="$v/dir/later" bs=64k count=160 2>&1)" "$full"
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
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
