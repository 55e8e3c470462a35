#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# disk.qcow2 through a real mount: qemu-img finds it clean at the edges of its tables, other programs read the same disk
# in it, and a copy of it is an image that QEMU can write to.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/views.bash"
need qemu-img qemu-io python3 jq rsync tar qcowinfo 7z

cd "$tmp" || exit 1
mib=1048576

# edges SIZE: data in the first and the last sector, and around the edge of an L2 table where there is one.
edges() {
    local padded=$((($1 + 511) / 512 * 512)) at
    rm -f disk.img
    truncate -s "$1" disk.img
    for at in 0 $((512 * mib - 512)) $((512 * mib)) $(($1 - 1)); do
        [ "$at" -ge "$1" ] || printf x | dd of=disk.img bs=1 seek="$at" conv=notrunc status=none
    done
    sync disk.img
    mount_ok disk.img -- -o format=raw
    is "disk.qcow2 of $1 has the disk's size" \
        "$(qemu-img info --output=json "$disk/disk.qcow2" | jq '."virtual-size"')" $padded
    qemu_reads disk.qcow2 qcow2
    check "disk.qcow2 of $1 is small" test "$(stat -c %s "$disk/disk.qcow2")" -le $((12 * 65536))
    unmount
}

for size in 512 1 1000 65024 65536 66048 $((512 * mib - 512)) $((512 * mib)) $((512 * mib + 512)) $((20480 * mib)); do
    edges "$size"
done

# A disk with data all over.
size=$((700 * mib + 3584))
make_source $size 600M -c 'write -q -P 0x11 0 3M' -c 'write -q -P 0x22 9961472 1M' -c 'write -q -P 0 40M 64k' -c 'write -q -P 0x33 41943552 512' \
    -c 'write -q -P 0x55 536805376 192k' -c "write -q -P 0x44 $((size - 69120)) 69120" || exit 1
mount_ok src.qcow2
qemu_agrees disk.qcow2 qcow2 $size
copies disk.qcow2
check "qemu-io reads the pieces" qemu-io -r -f qcow2 -c 'read -P 0x11 1234567 1000000' -c 'read -P 0 3M 6M' -c 'read -P 0x22 9961472 1M' \
    -c 'read -P 0x33 41943552 512' -c 'read -P 0x55 536805376 192k' -c 'read -P 0 600M 8M' -c "read -P 0x44 $((size - 69120)) 69120" \
    "$disk/disk.qcow2"
like "qcowinfo knows it" "$(qcowinfo "$disk/disk.qcow2")" "\($size bytes\)"
is "7z unpacks it" "$(7z x -so "$disk/disk.qcow2" 2>/dev/null | sha)" "$(sha "$disk/disk.raw")"
first=$(sha "$disk/disk.qcow2")
again disk.qcow2
mount_ok src.qcow2
is "two mounts are alike" "$(sha "$disk/disk.qcow2")" "$first"

# A copy is an image like any other: it can be written to, snapshotted, committed to and rebased.
cp "$disk/disk.qcow2" copy.qcow2
chmod u+w copy.qcow2
cp --sparse=always "$disk/disk.raw" disk.raw
chmod u+w disk.raw
unmount
writes=(-c 'write -q -P 0x66 100 5000' -c 'write -q -P 0x77 300M 3M' -c 'write -q -P 0x88 536870400 1024' -c 'write -q -z 1M 64k')
check "the copy is written" qemu-io -f qcow2 "${writes[@]}" copy.qcow2
check "so is the raw disk" qemu-io -f raw "${writes[@]}" disk.raw
check "the copy is clean" qemu-img check -f qcow2 copy.qcow2
check "the copy is the disk" qemu-img compare -f qcow2 -F raw copy.qcow2 disk.raw
check "an internal snapshot" qemu-img snapshot -c one copy.qcow2
check "goes" qemu-img snapshot -d one copy.qcow2
check "an overlay" qemu-img create -q -f qcow2 -b copy.qcow2 -F qcow2 over.qcow2
check "the overlay is written" qemu-io -f qcow2 -c 'write -q -P 0x99 5M 200k' over.qcow2
check "and the raw disk" qemu-io -f raw -c 'write -q -P 0x99 5M 200k' disk.raw
cp over.qcow2 flat.qcow2
check "the overlay is committed" qemu-img commit -q -f qcow2 over.qcow2
check "the base is clean" qemu-img check -f qcow2 copy.qcow2
check "the base is the disk" qemu-img compare -f qcow2 -F raw copy.qcow2 disk.raw
check "an overlay is rebased on nothing" qemu-img rebase -f qcow2 -b '' flat.qcow2
check "it is clean" qemu-img check -f qcow2 flat.qcow2
check "it is the disk" qemu-img compare -f qcow2 -F raw flat.qcow2 disk.raw
rm -f ./*.qcow2 ./*.raw

# 64 TiB, nearly nothing in it. tmpfs takes such a file where ext4 doesn't.
huge=$(mktemp -p /dev/shm ferryfs-huge.XXXXXX 2>/dev/null) || huge=$tmp/huge.img
if truncate -s 64T "$huge" 2>/dev/null; then
    for tib in 1 17 33 63; do
        printf 'some data' | dd of="$huge" bs=512 seek=$((tib * 2048 * mib)) conv=notrunc status=none
    done
    begin=$(date +%s%N)
    mount_ok "$huge"
    is "disk.qcow2 of 64 TiB is small" "$(stat -c %s "$disk/disk.qcow2")" $(((4 + 2 * 4) * 262144))
    took=$((($(date +%s%N) - begin) / 1000000))
    check "64 TiB mount within 2 s, took $took ms" test $took -lt 2000
    check "disk.qcow2 of 64 TiB is clean" qemu-img check -f qcow2 "$disk/disk.qcow2"
    is "the data in it" "$(qemu-io -r -f qcow2 -c 'read -v 63T 512' "$disk/disk.qcow2" | grep -c 'some.data')" 1
    check "zeros in it" qemu-io -r -f qcow2 -c 'read -P 0 40T 1M' "$disk/disk.qcow2"
    is "st_blocks is its data" "$(stat -c %b "$disk/disk.qcow2")" \
        "$(python3 holes.py "$disk/disk.qcow2" | awk '$3 == "data" { n += $2 } END { print int((n + 511) / 512) }')"
    check "disk.qcow2 copies" cp "$disk/disk.qcow2" copy.qcow2
    unmount
    mount_ok copy.qcow2
    is "the copy, mounted, has the data" "$(tail -c $((1 << 40)) "$disk/disk.raw" | head -c 9)" "some data"
    unmount
fi
rm -f "$huge"
finish
