#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# disk.vmdk through a real mount: qemu-img finds it clean at the edges of its tables, libvmdk and 7z read the same disk in
# it, and where a VMDK can't hold the disk, there is none and info.json says why.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/views.bash"
need qemu-img qemu-io python3 jq rsync tar vmdkinfo vmdkmount 7z

cd "$tmp" || exit 1
mib=1048576

# edges SIZE: data in the first and the last sector, and around the edges of a grain table and of the directory's sector.
edges() {
    local padded=$((($1 + 511) / 512 * 512)) at
    rm -f disk.img
    truncate -s "$1" disk.img
    for at in 0 $((32 * mib - 512)) $((32 * mib)) $((4096 * mib)) $(($1 - 1)); do
        [ "$at" -ge "$1" ] || printf x | dd of=disk.img bs=1 seek="$at" conv=notrunc status=none
    done
    sync disk.img
    mount_ok disk.img -- -o format=raw
    is "disk.vmdk of $1 has the disk's size" \
        "$(qemu-img info --output=json "$disk/disk.vmdk" | jq '."virtual-size"')" $padded
    qemu_reads disk.vmdk vmdk
    check "disk.vmdk of $1 takes little" test "$(stat -c %b "$disk/disk.vmdk")" -le $((6 * 128 + 128))
    unmount
}

for size in 512 1 1000 65024 65536 66048 $((32 * mib - 512)) $((32 * mib)) $((32 * mib + 512)) $((4096 * mib)) \
    $((4096 * mib + 512)) $((8192 * mib + 512)); do
    edges "$size"
done

# A disk with data all over.
size=$((100 * mib + 3584))
make_source $size 60M -c 'write -q -P 0x11 0 3M' -c 'write -q -P 0x22 9961472 1M' -c 'write -q -P 0 40M 64k' -c 'write -q -P 0x33 41943552 512' \
    -c "write -q -P 0x44 $((size - 69120)) 69120" || exit 1
mount_ok src.qcow2
qemu_agrees disk.vmdk vmdk $size
copies disk.vmdk
check "qemu-io reads the pieces" qemu-io -r -f vmdk -c 'read -P 0x11 1234567 1000000' -c 'read -P 0 3M 6M' -c 'read -P 0x22 9961472 1M' \
    -c 'read -P 0x33 41943552 512' -c 'read -P 0 60M 8M' -c "read -P 0x44 $((size - 69120)) 69120" "$disk/disk.vmdk"
like "vmdkinfo knows it" "$(vmdkinfo "$disk/disk.vmdk")" "\($size bytes\)"
like "vmdkinfo knows its type" "$(vmdkinfo "$disk/disk.vmdk")" "Monolithic sparse"
want=$(sha "$disk/disk.raw")
# 7z gives all of the last grain
is "7z unpacks it" "$(7z x -so "$disk/disk.vmdk" 2>/dev/null | head -c $size | sha)" "$want"
mkdir libvmdk
if vmdkmount "$disk/disk.vmdk" libvmdk >vmdkmount.log 2>&1; then
    exit_commands+=("fusermount -u -- '$tmp/libvmdk' 2>/dev/null || umount -l -- '$tmp/libvmdk' 2>/dev/null")
    is "libvmdk reads the same disk" "$(sha libvmdk/vmdk1)" "$want"
    check "libvmdk is unmounted" umount libvmdk
else
    fail "vmdkmount" vmdkmount.log
fi
# the redundant tables are as good as the others: without the flag's copy QEMU reads the primary ones only
cp "$disk/disk.vmdk" second.vmdk
chmod u+w second.vmdk
python3 - second.vmdk <<'PY' || fail "the tables are swapped"
import struct, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(48)
    redundant, primary = struct.unpack("<QQ", f.read(16))
    f.seek(48)
    f.write(struct.pack("<QQ", primary, redundant))
PY
check "the redundant tables lead to the same disk" qemu-img compare -f vmdk -F raw second.vmdk "$disk/disk.raw"
first=$(sha "$disk/disk.vmdk")
again disk.vmdk
mount_ok src.qcow2
is "two mounts are alike" "$(sha "$disk/disk.vmdk")" "$first"

# A copy can be written to.
cp "$disk/disk.vmdk" copy.vmdk
cp --sparse=always "$disk/disk.raw" disk.raw
chmod u+w copy.vmdk disk.raw
unmount
writes=(-c 'write -q -P 0x66 512 5120' -c 'write -q -P 0x77 50M 3M' -c 'write -q -P 0x88 33553920 1024')
check "the copy is written" qemu-io -f vmdk "${writes[@]}" copy.vmdk
check "so is the raw disk" qemu-io -f raw "${writes[@]}" disk.raw
check "the copy is clean" qemu-img check -f vmdk copy.vmdk
check "the copy is the disk" qemu-img compare -f vmdk -F raw copy.vmdk disk.raw
rm -f ./*.vmdk ./*.raw ./*.qcow2

# 2 TiB, nearly nothing in it: the tables' zeros take no room.
truncate -s 2T disk.img
printf 'the end' | dd of=disk.img bs=512 seek=$((2 * 2048 * mib - 1)) conv=notrunc status=none
sync disk.img
mount_ok disk.img
check "disk.vmdk of 2 TiB takes little" test "$(stat -c %b "$disk/disk.vmdk")" -lt 2048
check "disk.vmdk of 2 TiB is clean" qemu-img check -f vmdk "$disk/disk.vmdk"
is "the end in it" "$(qemu-io -r -f vmdk -c 'read -v 2199023255040 512' "$disk/disk.vmdk" | grep -c 'the.end')" 1
is "st_blocks is its data" "$(stat -c %b "$disk/disk.vmdk")" \
    "$(python3 holes.py "$disk/disk.vmdk" | awk '$3 == "data" { n += $2 } END { print int((n + 511) / 512) }')"
cp "$disk/disk.vmdk" copy.vmdk
check "a copy of it is small" test "$(stat -c %b copy.vmdk)" -lt 3072
check "and the same" same copy.vmdk "$disk/disk.vmdk"
unmount
truncate -s $((2 * 1048576 * mib + 512)) disk.img
sync disk.img
mount_ok disk.img
check_not "over 2 TiB there is no disk.vmdk" test -e "$disk/disk.vmdk"
like "and info.json says why" "$(json "$disk/info.json" '.views[] | select(.format == "vmdk")' 2>&1)" "at most 2 TiB"
unmount
finish
