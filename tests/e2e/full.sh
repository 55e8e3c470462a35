#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The disk that the overlay lies on is full: what adds something says so, what takes something away works, and the edits of
# all file systems are committed, NTFS beside others. Needs root, for a small tmpfs.
. "$(dirname "$0")/lib.sh"
need sgdisk mkntfs mke2fs mkfs.fat qemu-img e2fsck ntfsfix fsck.vfat
PATH=$PATH:/sbin:/usr/sbin
[ "$(id -u)" = 0 ] || skip 'needs root, for a tmpfs of its own'
small=$tmp/small
mkdir "$small"
exit_commands+=("umount '$small' 2>/dev/null")
mount -t tmpfs -o size=64k tmpfs "$small" 2>/dev/null || skip 'no tmpfs can be mounted here'
umount "$small"

disk=$tmp/disk.img
truncate -s 200M "$disk"
sgdisk -n 1:2048:+64M -n 2:0:+64M -n 3:0:+64M "$disk" >/dev/null
put() { dd if="$tmp/part" of="$disk" bs=1M seek="$1" conv=notrunc,sparse status=none; }
truncate -s 64M "$tmp/part" && mkntfs -q -f -F "$tmp/part" >/dev/null 2>&1 && put 1
rm "$tmp/part" && truncate -s 64M "$tmp/part" && mke2fs -q -F -t ext4 "$tmp/part" && put 65
rm "$tmp/part" && truncate -s 64M "$tmp/part" && mkfs.fat -F 32 "$tmp/part" >/dev/null && put 129
head -c 40000000 /dev/urandom >"$tmp/large"

ntfs=$mnt/volumes/disk0p1 ext=$mnt/volumes/disk0p2 fat=$mnt/volumes/disk0p3
durable() { sync "$mnt/info.json"; }
for size in 20M 6M; do
    mount -t tmpfs -o size=$size tmpfs "$small"
    mount_ok "$disk" -- -o "overlay=$small/overlay,format=raw"
    for v in "$ntfs" "$ext" "$fat"; do echo before >"$v/before" && echo gone >"$v/gone"; done
    check "$size: small edits" durable
    check_not "$size: there isn't room for all of it" cp "$tmp/large" "$ntfs/large"
    check "$size: what there is of it is committed" durable
    check_not "$size: NTFS takes no more" sh -c 'echo more >"$1"' - "$ntfs/more"
    check_not "$size: nor more for what is there" dd if="$tmp/large" of="$ntfs/large" bs=1M seek=30 count=1 conv=notrunc
    for v in "$ext" "$fat" "$ntfs"; do check "$size: something is removed from ${v##*/}" rm "$v/gone"; done
    check "$size: and that is committed" durable
    check "$size: views are there" test -s "$mnt/disks/disk0/disk.vhdx"
    check "$size: the large file is removed" rm "$ntfs/large"
    check "$size: and committed" durable
    for v in "$ntfs" "$ext" "$fat"; do check "$size: edits of ${v##*/} again" sh -c 'echo after >"$1"' - "$v/after"; done
    check "$size: they are committed" durable
    check "$size: the room is used again" dd if="$tmp/large" of="$ext/again" bs=64k count=8 conv=fsync
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/after"
    unmount
    check "$size: qemu-img check" qemu-img check -q "$small/overlay/disk0.qcow2"
    mount_ok "$disk" -- -o "overlay=$small/overlay,format=raw"
    for v in "$ntfs" "$ext" "$fat"; do is "$size: ${v##*/}" "$(cd "$v" && cat before after && ls -d gone large 2>/dev/null)" $'before\nafter'; done
    check "$size: the disk is as it was" same "$mnt/disks/disk0/disk.raw" "$tmp/after"
    unmount
    umount "$small"
    dd if="$tmp/after" of="$tmp/part" bs=1M skip=1 count=64 status=none && check "$size: ntfsfix" ntfsfix -n "$tmp/part"
    dd if="$tmp/after" of="$tmp/part" bs=1M skip=65 count=64 status=none && check "$size: e2fsck" e2fsck -fn "$tmp/part"
    dd if="$tmp/after" of="$tmp/part" bs=1M skip=129 count=64 status=none && check "$size: fsck.fat" fsck.vfat -n "$tmp/part"
done
finish
