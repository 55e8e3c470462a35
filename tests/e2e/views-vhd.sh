#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# disk.vhd and disk-fixed.vhd: the size that readers take, the content, holes, Azure's rules, a GPT at the new end, and
# the way back through ferryfs itself.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq sgdisk

cd "$tmp" || exit 1
disk=$mnt/disks/disk0
mib=$((1024 * 1024))

# make FILE SIZE: data at the beginning, in the middle and at the very end, as far as there is room.
make() {
    rm -f "$1"
    truncate -s "$2" "$1"
    head -c $(($2 < 70000 ? $2 : 70000)) /dev/urandom | dd of="$1" conv=notrunc status=none
    [ "$2" -lt $((8 * mib)) ] || head -c 9000 /dev/urandom | dd of="$1" bs=4096 seek=1500 conv=notrunc status=none
    [ "$2" -lt $((1 * mib)) ] || head -c 3000 /dev/urandom | dd of="$1" oflag=seek_bytes seek=$(($2 - 3000)) conv=notrunc status=none
}

# data FILE: what lseek calls data, in bytes, and that nothing but zeros lies between.
cat >data.py <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, at, data = os.fstat(fd).st_size, 0, 0
while at < size:
    try:
        start = os.lseek(fd, at, os.SEEK_DATA)
    except OSError:
        start = size
    n = min(65536, start - at)
    assert os.pread(fd, n, at) == bytes(n) and os.pread(fd, n, start - n) == bytes(n), at
    if start == size:
        break
    at = os.lseek(fd, start, os.SEEK_HOLE)
    data += at - start
print((data + 511) // 512)
PY

view_is_right() { # VIEW SOURCE SIZE
    local view=$disk/$1 want
    is "$1 of $3: the size that qemu-img takes" "$(qemu-img info --output=json -f vpc "$view" | jq '."virtual-size"')" "$3"
    check "$1 of $3 holds the disk" qemu-img compare -q -f raw -F vpc "$2" "$view"
    is "$1 of $3: st_blocks is its data" "$(stat -c %b "$view")" "$(python3 data.py "$view")"
    want=$(sha "$view")
    cp --sparse=always "$view" "copy-$1"
    is "$1 of $3 by cp --sparse=always" "$(sha "copy-$1")" "$want"
    is "$1 of $3 by dd in odd blocks" "$(dd if="$view" bs=77777 status=none | sha)" "$want"
    sums+=("$want  $1")
}

for size in 512 $((mib - 512)) $((2 * mib)) $((10 * mib)) $((10 * mib + 512)) $((64 * mib + 3 * 512)); do
    make source.raw "$size"
    mount_ok -o format=raw source.raw
    padded=$(((size + mib - 1) / mib * mib))
    sums=()
    view_is_right disk.vhd source.raw "$size"
    view_is_right disk-fixed.vhd source.raw "$padded"
    is "the fixed file is whole MiB and a footer" "$(stat -c %s "$disk/disk-fixed.vhd")" $((padded + 512))
    unmount
    mount_ok -o format=raw source.raw
    check "two mounts of $size are alike" sha256sum --quiet -c <(printf '%s\n' "${sums[@]/  /  $disk/}")
    unmount
    mount_ok copy-disk.vhd
    check "disk.vhd of $size is read back" same source.raw "$disk/disk.raw"
    unmount
    mount_ok copy-disk-fixed.vhd
    check "disk-fixed.vhd of $size is read back" same <(cat source.raw; head -c $((padded - size)) /dev/zero) "$disk/disk.raw"
    unmount
done

# ---- sparse and large ----
truncate -s 20G large.raw
printf data | dd of=large.raw oflag=seek_bytes seek=$((19 * 1024 * mib + 5)) conv=notrunc status=none
mount_ok -o format=raw large.raw
check "20 GiB with one block are one block" test "$(stat -c %s "$disk/disk.vhd")" -lt $((3 * mib))
unmount
truncate -s 2040G large.raw
mount_ok -o format=raw large.raw
is "2040 GiB can be told" "$(qemu-img info --output=json -f vpc "$disk/disk.vhd" | jq '."virtual-size"')" $((2040 * 1024 * mib))
is "and fixed" "$(stat -c %s "$disk/disk-fixed.vhd")" $((2040 * 1024 * mib + 512))
unmount
truncate -s $((2040 * 1024 * mib + 512)) large.raw
mount_ok -o format=raw large.raw
check_not "there is no disk.vhd over that" test -e "$disk/disk.vhd"
check_not "nor a fixed one" test -e "$disk/disk-fixed.vhd"
like "info.json says why" "$(cat "$disk/info.json")" 'a VHD holds at most 2040 GiB'
unmount
rm large.raw

# ---- a GPT ----
for extra in 1 7 40 2047; do
    rm -f gpt.raw
    truncate -s $((50 * mib + extra * 512)) gpt.raw
    sgdisk -n 1:2048:40000 -n 2:0:0 gpt.raw >/dev/null
    mount_ok -o format=raw gpt.raw
    cp "$disk/disk-fixed.vhd" fixed.vhd
    check "the exact disk.vhd keeps the GPT as it is ($extra)" qemu-img compare -q -f raw -F vpc gpt.raw "$disk/disk.vhd"
    unmount
    truncate -s -512 fixed.vhd
    like "sgdisk finds nothing to mend ($extra)" "$(sgdisk -v fixed.vhd)" 'No problems found'
    is "the partitions are what they were ($extra)" "$(sgdisk -i 1 -i 2 fixed.vhd)" "$(sgdisk -i 1 -i 2 gpt.raw)"
    # LBA 1 and what lies behind the last usable sector of old apart, all is the same
    check "in nothing else does it differ ($extra)" same <(tail -c +1025 gpt.raw | head -c $((50 * mib + extra * 512 - 1024 - 34 * 512))) \
        <(tail -c +1025 fixed.vhd | head -c $((50 * mib + extra * 512 - 1024 - 34 * 512)))
done
# odd: a partition behind what the header calls usable, where the backup would go; with checksums that are right
cat >stretch.py <<'PY'
import struct, sys, zlib
with open(sys.argv[1], "r+b") as f:
    d = bytearray(f.read())
    sectors = len(d) // 512
    struct.pack_into("<Q", d, 1024 + 128 + 40, sectors - 2)
    d[(sectors - 30) * 512:(sectors - 1) * 512] = b"P" * (29 * 512)
    struct.pack_into("<I", d, 512 + 88, zlib.crc32(d[1024:1024 + 16384]))
    struct.pack_into("<I", d, 512 + 16, 0)
    struct.pack_into("<I", d, 512 + 16, zlib.crc32(d[512:512 + 92]))
    f.seek(0)
    f.write(d)
PY
cp gpt.raw odd.raw
python3 stretch.py odd.raw
mount_ok -o format=raw odd.raw
check "a partition behind the usable end is left as it is" same <(head -c "$(stat -c %s odd.raw)" "$disk/disk-fixed.vhd") odd.raw
unmount
# damaged: left alone
printf X | dd of=gpt.raw bs=1 seek=530 conv=notrunc status=none
mount_ok -o format=raw gpt.raw
check "a damaged GPT is left as it is" same <(head -c "$(stat -c %s gpt.raw)" "$disk/disk-fixed.vhd") gpt.raw
unmount

# ---- sectors of 4096 bytes: a VHD can't say so ----
qemu-img create -q -f vhdx four.vhdx 64M
python3 - four.vhdx <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    image = f.read()
    guid = bytes.fromhex("1dbf41816fa90947ba47f233a8faab5f") # logical sector size
    entry = image.index(guid)
    table = image.rindex(b"metadata", 0, entry)
    f.seek(table + int.from_bytes(image[entry + 16:entry + 20], "little"))
    f.write((4096).to_bytes(4, "little"))
PY
mount_ok four.vhdx
check_not "no disk.vhd of a disk with sectors of 4096" test -e "$disk/disk.vhd"
like "its info.json says why" "$(cat "$disk/info.json")" 'a VHD has sectors of 512 bytes'
unmount
finish
