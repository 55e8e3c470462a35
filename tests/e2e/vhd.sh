#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHD sources against qemu-img, which has no idea of differencing ones: those are made and read by a script here.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }

# same_disks FILE...: mounts all in one go, and each disk must be what qemu-img reads.
same_disks() {
    local i=0 f
    mount_ok "$@"
    for f; do
        check "the content of $f" qemu-img compare -q -f raw -F vpc "$(raw $i)" "$f"
        is "the size of $f" "$(stat -c %s "$(raw $i)")" \
            "$(qemu-img info -f vpc --output=json "$f" | jq '."virtual-size"')"
        i=$((i + 1))
    done
    unmount
}

# vhd.py footer FILE OFFSET=HEX...: changes the footer at both ends (only at the end of a fixed one), and its sums
# vhd.py child PARENT CHILD NAME SECTOR...: a differencing VHD; each SECTOR of it is its own, and full of "C"
# vhd.py own FILE SECTOR...: as child, on the disk PARENT.raw, for comparison
cat >vhd.py <<'PY'
import os, struct, sys

SECTOR, BLOCK = 512, 2 << 20

def summed(b, at):
    b[at:at + 4] = bytes(4)
    b[at:at + 4] = struct.pack(">I", ~sum(b) & 0xffffffff)

def footer(path, *changes):
    with open(path, "r+b") as f:
        size = f.seek(0, 2)
        for place in (0, size - SECTOR):
            f.seek(place)
            b = bytearray(f.read(SECTOR))
            if b[:8] != b"conectix":
                continue
            for c in changes:
                at, data = c.split("=")
                data = bytes.fromhex(data)
                b[int(at):int(at) + len(data)] = data
            summed(b, 64)
            f.seek(place)
            f.write(b)

def child(parent, path, name, *sectors):
    with open(parent, "rb") as f:
        f.seek(-SECTOR, 2)
        above = f.read(SECTOR)
    foot = bytearray(above)
    foot[16:24] = struct.pack(">Q", SECTOR)
    foot[60:64] = struct.pack(">I", 4)
    foot[68:84] = os.path.basename(path).encode().ljust(16, b".")[:16]
    summed(foot, 64)
    blocks = -(-struct.unpack(">Q", above[48:56])[0] // BLOCK)
    text = name.encode("utf-16-le")
    head = bytearray(1024)
    head[:60] = struct.pack(">8sQQIIII16sI", b"cxsparse", 2**64 - 1, 1536, 0x10000, blocks, BLOCK, 0, above[68:84], 0)
    head[64:82] = "elsewhere".encode("utf-16-be")
    bat_size = -(-blocks * 4 // SECTOR) * SECTOR
    head[576:600] = struct.pack(">4sIIIQ", b"W2ru", 512, len(text), 0, 1536 + bat_size)
    summed(head, 36)
    data_at = 1536 + bat_size + SECTOR
    bat, data = bytearray(b"\xff" * bat_size), b""
    own = sorted({int(s) for s in sectors})
    for b in sorted({s * SECTOR // BLOCK for s in own}):
        bitmap, block = bytearray(SECTOR), bytearray(b"!" * BLOCK)
        for s in own:
            if s * SECTOR // BLOCK == b:
                at = s - b * BLOCK // SECTOR
                bitmap[at // 8] |= 0x80 >> at % 8
                block[at * SECTOR:(at + 1) * SECTOR] = b"C" * SECTOR
        bat[b * 4:b * 4 + 4] = struct.pack(">I", (data_at + len(data)) // SECTOR)
        data += bitmap + block
    with open(path, "wb") as f:
        f.write(foot + head + bat + text.ljust(SECTOR, b"\0") + data + foot)

def own(path, *sectors):
    with open(path, "r+b") as f:
        for s in sectors:
            f.seek(int(s) * SECTOR)
            f.write(b"C" * SECTOR)

globals()[sys.argv[1]](*sys.argv[2:])
PY
vhd() { python3 vhd.py "$@"; }

# 6 MiB and three sectors: noise, zeros over a whole block, noise
{
    openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 </dev/zero 2>/dev/null | head -c 1000000
    head -c 3500000 /dev/zero
    openssl enc -aes-128-ctr -nosalt -K 01 -iv 00 </dev/zero 2>/dev/null | head -c 900000
} >content.raw
truncate -s $((6 * 1024 * 1024 + 1536)) content.raw

# ---- variants ----
for kind in dynamic fixed; do
    for force in on off; do
        qemu-img convert -q -f raw -O vpc -o subformat=$kind,force_size=$force content.raw $kind-$force.vhd
    done
done
qemu-img create -q -f vpc new.vhd 64M
qemu-img create -q -f vpc huge.vhd 2040G
qemu-io -f vpc -c 'write -P 5 2000G 64k' huge.vhd >/dev/null
same_disks dynamic-on.vhd dynamic-off.vhd fixed-on.vhd fixed-off.vhd new.vhd
mount_ok dynamic-on.vhd huge.vhd fixed-on.vhd
check "the exact size, where it was forced" cmp "$(raw 0)" content.raw
check "... and of a fixed one" cmp "$(raw 2)" content.raw
is "there is hardly data in a disk of 2040 GiB" \
    "$(json "$mnt/disks/disk1/map.json" '[.[]|select(.data)|.length]|add|. >= 65536 and . <= 2097152')" true
check "... is there" qemu-io -r -f raw -c 'read -P 5 2000G 64k' "$(raw 1)"
is "the format" "$(json "$mnt/disks/disk0/info.json" '.chain[0]|.format + " " + .subformat')" "vhd dynamic"
check "the view of it" qemu-img compare -q -f vhdx -F raw "$mnt/disks/disk0/disk.vhdx" content.raw
unmount
cp fixed-on.vhd without-suffix
mount_ok without-suffix
check "a fixed VHD is known by its end" cmp "$(raw 0)" content.raw
unmount

# ---- the size by the creator ----
cp dynamic-on.vhd c.vhd
vhd footer c.vhd 28=76706320 56=00b40411 # "vpc ": what its geometry holds, 180 * 4 * 17 sectors
same_disks c.vhd
vhd footer c.vhd 28=76626f78 # "vbox": QEMU 7.2 shows 22 sectors less than VirtualBox, and so cuts the guest's disk off
mount_ok c.vhd
check "VirtualBox' disk is whole" cmp "$(raw 0)" content.raw
check "... as QEMU has it when told so" qemu-img compare -q --image-opts driver=raw,file.filename="$(raw 0)" \
    driver=vpc,force_size_calc=current_size,file.filename=c.vhd
unmount

# ---- footers ----
head -c -1 fixed-on.vhd >old.vhd # as Virtual PC before 2004 wrote them
mount_ok old.vhd
check "a footer of 511 bytes" cmp "$(raw 0)" content.raw
unmount
head -c -512 dynamic-on.vhd >nofoot.vhd
mount_ok nofoot.vhd
check "without the footer at the end" cmp "$(raw 0)" content.raw
check "... with a warning" grep -q 'footer at the end is missing' "$mnt/info.json"
unmount
cp dynamic-on.vhd nocopy.vhd
dd if=/dev/zero of=nocopy.vhd bs=512 count=1 conv=notrunc status=none
mount_ok nocopy.vhd
check "without the copy at the beginning" cmp "$(raw 0)" content.raw
unmount
head -c -512 nocopy.vhd >neither.img
mount_fails 2 'neither.img: looks like a damaged VHD' neither.img
cp fixed-on.vhd f.img && printf x | dd of=f.img bs=1 seek=$(($(stat -c %s f.img) - 100)) conv=notrunc status=none
mount_fails 2 'f.img: looks like a damaged VHD; -o format=raw to insist' f.img
head -c -512 fixed-on.vhd >cut.vhd
mount_fails 2 'cut.vhd: looks like a damaged VHD; -o format=raw to insist' cut.vhd
mount_fails 2 'cut.vhd: has no valid VHD footer.* at byte [0-9]+' cut.vhd -- -o format=vhd
tail -c +1048577 fixed-on.vhd >cut.img # lost its beginning
mount_fails 2 'cut.img: looks like a damaged VHD' cut.img
mount_fails 2 'cut.img: truncated: .* at byte [0-9]+' cut.img -- -o format=vhd
cp dynamic-on.vhd bad.vhd && printf '\1' | dd of=bad.vhd bs=1 seek=1500 conv=notrunc status=none
mount_fails 2 'bad.vhd: its dynamic header is damaged at byte 512' bad.vhd
cp dynamic-on.vhd bad.vhd && printf '\0\0\0\1' | dd of=bad.vhd bs=1 seek=1540 conv=notrunc status=none
mount_fails 2 'bad.vhd: BAT entry 1 points into the headers at byte 1540' bad.vhd

# ---- differencing ----
vhd child dynamic-on.vhd child.vhd '.\dynamic-on.vhd' 0 1 7 2100 4096 12290
vhd child child.vhd grand.vhd 'C:\disks\of another\host\child.vhd' 1 2 8000
cp content.raw want.raw
vhd own want.raw 0 1 7 2100 4096 12290 2 8000
mount_ok grand.vhd child.vhd
check "a chain of three" cmp "$(raw 0)" want.raw
is "its links" "$(json "$mnt/disks/disk0/info.json" '[.chain[].subformat]|join(" ")')" \
    "differencing differencing dynamic"
check "the view of it" qemu-img compare -q -f vhdx -F raw "$mnt/disks/disk0/disk.vhdx" want.raw
is "the parent's bytes are its own" "$(dd if="$(raw 1)" bs=512 skip=8000 count=1 status=none | sha)" \
    "$(dd if=content.raw bs=512 skip=8000 count=1 status=none | sha)"
unmount
vhd child fixed-on.vhd onfixed.vhd fixed-on.vhd 3 12290
cp content.raw want.raw
vhd own want.raw 3 12290
mount_ok onfixed.vhd
check "a child of a fixed VHD" cmp "$(raw 0)" want.raw
unmount
cp child.vhd kept.vhd
mv dynamic-on.vhd parent.vhd
mount_fails 2 'grand.vhd|child.vhd: the parent "./dynamic-on.vhd" is missing' grand.vhd
# QEMU reads a child without its parent as zeros, and says nothing; so not compared
cp fixed-on.vhd dynamic-on.vhd
mount_fails 2 'child.vhd: its parent .*dynamic-on.vhd has the id [0-9a-f-]+, but [0-9a-f-]+ is expected' child.vhd
mv parent.vhd dynamic-on.vhd
vhd child child.vhd child2.vhd child2.vhd 5
vhd footer child2.vhd 68="$(printf 'child.vhd.......' | xxd -p)"
mount_fails 2 'child2.vhd: the chain is a loop' child2.vhd
mkdir -p in out
cp dynamic-on.vhd out/base.vhd
vhd child out/base.vhd in/top.vhd '..\out\base.vhd' 5
mount_fails 2 'base.vhd' in/top.vhd
mount_ok in/top.vhd -- -o "trust=$tmp/out"
unmount

# ---- truncated: refused, or EIO, never other bytes ----
vhd child dynamic-on.vhd child.vhd dynamic-on.vhd 0 1 7 2100 4096 12290
cp content.raw want-child.raw
vhd own want-child.raw 0 1 7 2100 4096 12290
for f in dynamic-on.vhd fixed-on.vhd child.vhd; do
    size=$(stat -c %s $f)
    want=content.raw
    [ $f != child.vhd ] || want="want-child.raw"
    for n in 400 512 1024 1700 $((size / 3)) $((size * 9 / 10)) $((size - 2048)) $((size - 513)); do
        head -c $n $f >cut.vhd
        "$FERRYFS" cut.vhd "$mnt" 2>"$err"
        status=$?
        if [ $status != 0 ]; then
            is "$f cut at $n: the exit status" $status 2
            check "$f cut at $n is refused" grep -Eq 'cut.vhd: (truncated: .* at byte [0-9]+|looks like a damaged VHD|has no valid)' "$err"
            continue
        fi
        mounts+=("$mnt")
        cat "$(raw 0)" >got.raw 2>/dev/null
        check "$f cut at $n gives no other bytes" cmp -n "$(stat -c %s got.raw)" got.raw $want
        unmount
    done
done

# ---- real images ----
if have_corpus; then
    while read -r file sha; do
        image=$(corpus "vhd/$file") || exit 1
        mount_ok "$image"
        is "the disk of $file" "$(sha "$(raw 0)")" "$sha"
        unmount
    done <<'LIST'
dynamic.vhd.gz ecff2ef6615a3cddc6a6885f1c6d9cf13a232697e1dc6575f2c2f01f57247784
ext2.vhd.xz 870be7ae16c1fa8faab05c6eb9205dc9a7ae35c5f552c5cf8a267c0bc6a5cb99
go-qemu.vhd 258dd1ab1617727f344d71220c5093e04d7909b1e13b31bfa810edac4f6fa04f
win8.vhd 80a3721188e40218b08b26776bc53bdae81e4784fff71d71450a197319cba113
win8-child.vhd.xz 80a3721188e40218b08b26776bc53bdae81e4784fff71d71450a197319cba113
LIST
    # empty, and of 41943040 bytes; QEMU 7.2 shows only 41909760 of them (see above)
    mount_ok "$(corpus vhd/go-vbox.vhd)" "$(corpus vhd/virtualpc-dynamic.vhd.bz2)" \
        "$(corpus vhd/hyperv2012r2-dynamic.vhd.bz2)" "$(corpus vhd/bootablereference.vhd.bz2)"
    is "the disk of go-vbox.vhd" "$(sha "$(raw 0)")" "$(head -c 41943040 /dev/zero | sha)"
    is "the size by Virtual PC" "$(stat -c %s "$(raw 1)")" 136363130880
    is "the size by Hyper-V" "$(stat -c %s "$(raw 2)")" 136365211648
    is "the size by XenCenter" "$(stat -c %s "$(raw 3)")" 64424509440
    check "the content by XenCenter" qemu-img compare -q -f raw -F vpc "$(raw 3)" \
        "$(corpus vhd/bootablereference.vhd.bz2)"
    unmount
    mount_fails 2 'fat-differential.vhd: the parent "./fat-parent.vhd" is missing' \
        "$(corpus vhd/fat-differential.vhd.xz)"
    mount_fails 2 'afl5.img: truncated' "$(corpus other-disk/afl5.img.bz2)"
fi
finish
