#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VDI sources against qemu-img.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }

# same_disks FILE...: mounts all in one go, and each disk must be what qemu-img reads.
same_disks() {
    local i=0 f
    mount_ok "$@"
    for f; do
        check "the content of $f" qemu-img compare -q -f raw -F vdi "$(raw $i)" "$f"
        is "the size of $f" "$(stat -c %s "$(raw $i)")" "$(qemu-img info --output=json "$f" | jq '."virtual-size"')"
        i=$((i + 1))
    done
    unmount
}

# patch FILE OFFSET HEX...
patch() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2], 0)); f.write(bytes.fromhex("".join(sys.argv[3:])))' "$@"; }

# 6 MiB and three sectors: noise, zeros over whole blocks, noise
{
    openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 </dev/zero 2>/dev/null | head -c 1000000
    head -c 3500000 /dev/zero
    openssl enc -aes-128-ctr -nosalt -K 01 -iv 00 </dev/zero 2>/dev/null | head -c 900000
} >content.raw
truncate -s $((6 * 1024 * 1024 + 1536)) content.raw

# ---- variants ----
qemu-img convert -q -f raw -O vdi content.raw dynamic.vdi
qemu-img convert -q -f raw -O vdi -o static=on content.raw static.vdi
qemu-img create -q -f vdi mixed.vdi 9M # blocks in another order than the disk's
for at in 8M 3M 5M 0; do qemu-io -f vdi -c "write -P 7 $at 70k" mixed.vdi >/dev/null; done
qemu-img create -q -f vdi new.vdi 64M
same_disks dynamic.vdi static.vdi mixed.vdi new.vdi
qemu-img create -q -f vdi huge.vdi 4T
qemu-io -f vdi -c 'write -P 5 3T 64k' huge.vdi >/dev/null
mount_ok dynamic.vdi huge.vdi static.vdi
check "the size isn't rounded" cmp "$(raw 0)" content.raw
check "... nor in a static one" cmp "$(raw 2)" content.raw
is "there is hardly data in a disk of 4 TiB" \
    "$(json "$mnt/disks/disk1/map.json" '[.[]|select(.data)|.length]|add|. >= 65536 and . <= 1048576')" true
check "... is there" qemu-io -r -f raw -c 'read -P 5 3T 64k' "$(raw 1)"
is "the format" "$(json "$mnt/disks/disk2/info.json" '.chain[0]|.format + " " + .subformat')" "vdi fixed"
check "the view of it" qemu-img compare -q -f vhdx -F raw "$mnt/disks/disk0/disk.vhdx" content.raw
unmount
cp mixed.vdi zero.vdi
patch zero.vdi $((512 + 4 * 0)) feffffff # block 0, the last in the file, was discarded
same_disks zero.vdi
cp mixed.vdi lost.vdi
patch lost.vdi $((512 + 4 * 3)) ffffffff # what no program does: those behind it stay where they are
mount_fails 2 'lost.vdi: damaged: its map has no entry for the block here, .* at byte [0-9]+' lost.vdi

# ---- refused by name ----
cp dynamic.vdi bad.vdi && patch bad.vdi 0x44 00000100
mount_fails 2 'bad.vdi: has a VDI header of version 1.0, .* at byte 68' bad.vdi
cp dynamic.vdi bad.vdi && patch bad.vdi 0x44 01000000
mount_fails 2 'bad.vdi: has a VDI header of version 0.1' bad.vdi
cp dynamic.vdi bad.vdi && patch bad.vdi 0x4c 04000000 && patch bad.vdi 0x1a8 33221100 5544 7766 8899aabbccddeeff
mount_fails 2 'is a differencing VDI.* parent is \{00112233-4455-6677-8899-aabbccddeeff\}' bad.vdi
cp dynamic.vdi bad.img && patch bad.img 0x40 00000000
mount_fails 2 'bad.img: looks like a damaged VDI; -o format=raw to insist' bad.img
cp dynamic.vdi bad.vdi && patch bad.vdi 0 "$(printf '00%.0s' $(seq 512))"
mount_fails 2 'bad.vdi: looks like a damaged VDI; -o format=raw to insist' bad.vdi
cp mixed.vdi bad.vdi && patch bad.vdi 516 00000000
mount_fails 2 'bad.vdi: map entry [0-9]+ points to another block.s place at byte [0-9]+' bad.vdi

# ---- truncated: refused by byte ----
for f in dynamic.vdi static.vdi; do
    size=$(stat -c %s $f)
    for n in 300 600 1024 $((size / 3)) $((size * 4 / 5)) $((1024 + 6 * 1048576 + 1000)); do
        [ $n -lt $size ] || continue
        head -c $n $f >cut.vdi
        mount_fails 2 'cut.vdi: truncated: .* at byte [0-9]+' cut.vdi
    done
done

# ---- real images ----
if have_corpus; then
    while read -r file sha; do
        image=$(corpus "vdi/$file") || exit 1
        mount_ok "$image"
        is "the disk of $file" "$(sha "$(raw 0)")" "$sha"
        unmount
    done <<'LIST'
basic.vdi.gz 92d551781f9b62f3c8601ffd375cc7547efb1127e3cd2acc652f50f2d31afb8c
hoho-hdd.vdi.xz fdb27bb2d5120841c835a3907499f83836fdd2ce507dc41d58fc7b04a06e605c
LIST
fi
finish
