#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The odd ones among images, that programs do write: names in old encodings, extents of all kinds, unusual geometries, parents by
# the path of another host, chains of 300 links, logs that a crash left.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq
vmdk() { python3 "$top/tests/tools/make-vmdk.py" "$@"; }
vhdx() { python3 "$top/tests/tools/make-vhdx.py" "$@"; }
raw() { echo "$mnt/disks/disk0/disk.raw"; }
cd "$tmp" || exit 1

# 12 MiB and three sectors: noise and zeros
python3 -c 'import random
r = random.Random(3)
b = bytearray(12 * 1048576 + 1536)
for i in range(60):
    at, n = r.randrange(len(b) - 90000), r.randrange(1, 90000)
    b[at:at + n] = r.randbytes(n)
b[-64:] = r.randbytes(64)
open("content.raw", "wb").write(b)'

# ---- VMDK: extents whose directories are 64 MiB each, which is all that they have ----
mkdir huge
python3 - huge <<'PY'
import os, struct, sys
extents, capacity = 3, 1 << 33  # sectors: 4 TiB in grains of one sector, 2^24 tables of 512
text = 'version=1\nCID=12345678\nparentCID=ffffffff\ncreateType="twoGbMaxExtentSparse"\n'
for i in range(extents):
    text += 'RW %d SPARSE "x-s%03d.vmdk"\n' % (capacity, i)
    with open('%s/x-s%03d.vmdk' % (sys.argv[1], i), 'wb') as f:
        f.write(b'KDMV' + struct.pack('<IIQQQQIQQQB4sH', 1, 3, capacity, 1, 0, 0, 512, 1, 1 + (1 << 17), 1, 0, b'\n \r\n', 0))
        f.truncate(512 + (1 << 27))
open(sys.argv[1] + '/x.vmdk', 'w').write(text)
PY
mount_ok huge/x.vmdk
check "all of them are empty" cmp -n 65536 "$(raw)" /dev/zero
check "the last one too" cmp -n 65536 -i $((2 << 42)):0 "$(raw)" /dev/zero
memory=$(awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$(daemons "$mnt")/status")
check "none is kept in memory ($memory MiB)" [ "$memory" -le 128 ]
unmount
rm -r huge

# ---- VMDK: descriptors ----
# describe FILE TEXT: a descriptor, its text as printf gives it
describe() { printf "$2" >"$1"; }
head='version=1\nCID=12345678\nparentCID=ffffffff\n'
sectors=$(($(stat -c %s content.raw) / 512))
mkdir names
i=0
while IFS='|' read -r name text; do
    i=$((i + 1))
    ln content.raw "names/$(printf "$name")"
    describe names/$i.vmdk "$text"
    mount_ok names/$i.vmdk
    check "descriptor $i: $text" same "$(raw)" content.raw
    unmount
done <<LIST
B\xc3\xbcro-flat.vmdk|# Disk DescriptorFile\n${head}encoding="windows-1252"\nRW $sectors FLAT "B\xfcro-flat.vmdk" 0\n
\xe7\xa3\x81\xe7\x9b\x98.vmdk|# Disk DescriptorFile\n${head}encoding="GBK"\nRW $sectors FLAT "\xb4\xc5\xc5\xcc.vmdk" 0\n
\xe8\xa1\xa8\xe2\x91\xa0.vmdk|# Disk DescriptorFile\nencoding="Shift_JIS"\n${head}RW $sectors FLAT "\x95\x5c\x87\x40.vmdk" 0\n
\xed\x95\x9c.vmdk|# Disk DescriptorFile\n${head}encoding="EUC-KR"\nRW $sectors VMFS "\xc7\xd1.vmdk"\n
bom.vmdk|\xef\xbb\xbf# Disk DescriptorFile\r\nversion=1\r\nCID=12345678\r\nparentCID=ffffffff\r\n\r\nRW $sectors FLAT "bom.vmdk" 0\r\n
two words.vmdk|\n\t# Disk DescriptorFile\n\n${head}\tCREATETYPE\t=\t"monolithicFlat" \n# a comment\n\trw\t$sectors\tflat\t"two words.vmdk"\t0\n\n\n\0\0\0\0garbage\0
plain.vmdk|#disk descriptorfile\nVersion = 1\ncid = 12345678\nPARENTCID = FFFFFFFF\nRW $sectors FLAT plain.vmdk 0
of host.vmdk|# Disk DescriptorFile\n${head}RW $sectors FLAT "C:\\\\\\\\vms\\\\\\\\of host.vmdk" 0\n
stale.vmdk|# Disk DescriptorFile\n${head}RW $sectors VMFS "/vmfs/volumes/5a0b1c2d/vm/stale.vmdk"\n
LIST

# Extents of every kind, at offsets; QEMU passes over those that aren't RW, so the truth is put together here.
describe parts.vmdk "# Disk DescriptorFile\n${head}createType=\"custom\"\nRW 100 FLAT \"content.raw\" 7\nNOACCESS 50 FLAT \"secret.raw\" 0
RW 30 ZERO\nRDONLY 200 FLAT \"content.raw\" 300\nRW 0 FLAT \"none\" 0\nNOACCESS 3 ZERO\nRW 9 VMFS \"content.raw\" 20000\n"
{
    dd if=content.raw skip=7 count=100 status=none
    head -c $((80 * 512)) /dev/zero
    dd if=content.raw skip=300 count=200 status=none
    head -c $((3 * 512)) /dev/zero
    dd if=content.raw skip=20000 count=9 status=none
} >parts.raw
mount_ok parts.vmdk
check "extents at offsets, of zeros, without access" same "$(raw)" parts.raw
unmount

# Without data here: refused by what they are.
while IFS='|' read -r type line why; do
    describe refused.vmdk "# Disk DescriptorFile\n${head}createType=\"$type\"\n$line\n"
    mount_fails 2 "refused.vmdk: .*$why" refused.vmdk
done <<'LIST'
vmfsRawDeviceMap|RW 8 VMFSRDM "vm-rdm.vmdk"|"vm-rdm.vmdk" is a raw device mapping
vmfsPassthroughRawDeviceMap|RW 8 VMFSRDMP "vm-rdmp.vmdk"|"vm-rdmp.vmdk" is a raw device mapping
vmfsRaw|RW 8 VMFSRAW "/vmfs/devices/disks/vml.02"|is a raw device of its host
fullDevice|RW 8 FLAT "/dev/sdb" 0|"/dev/sdb" is a device of its host
fullDevice|RW 8 FLAT "\\\\.\\PhysicalDrive1" 0|PhysicalDrive1" is a device of its host
partitionedDevice|RW 8 FLAT "/dev/sda" 63|"/dev/sda" is a device of its host
LIST

# ---- VMDK: geometries and headers ----
for grain in 1 2 4 8 16 64 256 512 1024 2048 4096; do
    vmdk sparse content.raw grain.vmdk $grain 512
    mount_ok grain.vmdk
    check "grains of $grain sectors" same "$(raw)" content.raw
    unmount
done
put() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
for grain in '\0' '\03' '\014' '\201'; do
    put grain.vmdk 20 "$grain\\0"
    put grain.vmdk 21 '\0'
    mount_fails 2 'grain.vmdk: its grain size of [0-9]+ sectors is no power of two at byte 20' grain.vmdk
done
vmdk sparse content.raw v.vmdk 128 512
for version in 1 2 3; do
    put v.vmdk 4 "\\0$version"
    mount_ok v.vmdk
    check "a header of version $version" same "$(raw)" content.raw
    unmount
done
put v.vmdk 4 '\04'
mount_fails 2 'v.vmdk: version 4 of the sparse extent header is not known at byte 4' v.vmdk
vmdk stream content.raw stream.vmdk
size=$(stat -c %s stream.vmdk)
for cut in 512 1024 1536 2048 70000; do
    head -c $((size - cut)) stream.vmdk >nofooter.vmdk
    mount_fails 2 'nofooter.vmdk: truncated: the stream.s footer' nofooter.vmdk
done

# ---- VMDK: parents by the path of another host ----
mkdir win
qemu-img convert -f raw -O vmdk content.raw win/base.vmdk
qemu-img create -q -f vmdk -b win/base.vmdk -F vmdk win/made.vmdk 2>/dev/null ||
    qemu-img create -q -f vmdk -b base.vmdk -F vmdk win/made.vmdk
for hint in 'C:\\Users\\me\\VMs\\base.vmdk' '/vmfs/volumes/5a0b1c2d-4e5f/other/base.vmdk' '\\\\server\\share\\base.vmdk' './base.vmdk'; do
    python3 - "$hint" <<'P'
import re, sys
b = open('win/made.vmdk', 'rb').read()
hint = sys.argv[1].replace('\\\\', '\\').encode()
at = b.index(b'parentFileNameHint="')
end = b.index(b'\0', at)
text = re.sub(rb'parentFileNameHint="[^"]*"', lambda m: b'parentFileNameHint="' + hint + b'"', b[at:end])
open('win/child.vmdk', 'wb').write(b[:at] + text + b[at + len(text):] if len(text) >= end - at else b[:at] + text + bytes(end - at - len(text)) + b[end:])
P
    mount_ok win/child.vmdk
    check "a parent called $hint" same "$(raw)" content.raw
    unmount
done

# ---- VHDX: every block size, 4096-byte sectors, other names of a parent ----
for block in 1 2 4 8 16 32 64 128 256; do
    qemu-img convert -f raw -O vhdx -o block_size=${block}M content.raw block.vhdx
    mount_ok block.vhdx
    check "blocks of $block MiB" same "$(raw)" content.raw
    is "and info.json says so" "$(json "$mnt/disks/disk0/info.json" '.chain[0].block_size')" $((block << 20))
    unmount
done
truncate -s 12M whole.raw && dd if=content.raw of=whole.raw bs=1M count=12 conv=notrunc status=none
for sector in 512 4096; do
    vhdx raw whole.raw base.vhdx --sector $sector
    for key in relative_path absolute_win32_path volume_path; do
        for path in 'C:\vm\base.vhdx' '\\?\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\vm\base.vhdx' '.\base.vhdx'; do
            vhdx child base.vhdx child.avhdx "$path" --key $key
            mount_ok child.avhdx
            is "a parent by $key, $path" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 2
            check "and its end" cmp -i $((3 << 20)) "$(raw)" whole.raw
            is "its sectors in part" "$(dd if="$(raw)" bs=$sector skip=$((1048576 / sector)) count=11 status=none | tr -dc P | wc -c)" \
                "$(python3 -c "b = open('whole.raw', 'rb').read()
s = $sector
own = [*range(8), 9]
print(sum(s if i in own else b[1048576 + i * s:1048576 + (i + 1) * s].count(b'P') for i in range(11)))")"
            unmount
        done
    done
done

# ---- VHDX: what QEMU makes of a dirty log (in a copy) is what is shown ----
qemu-img convert -q -f raw -O vhdx -o block_size=1M content.raw clean.vhdx
for sector in 3 253 255; do
    vhdx dirty clean.vhdx dirty.vhdx $sector
    cp dirty.vhdx mended.vhdx
    qemu-img check -q -r all mended.vhdx >/dev/null
    mount_ok dirty.vhdx
    check "as QEMU mends it, from sector $sector" qemu-img compare -q -f raw -F vhdx "$(raw)" mended.vhdx
    unmount
done

# ---- VHD: the copy of a damaged footer ----
qemu-img convert -q -f raw -O vpc -o force_size=on content.raw d.vhd
printf x | dd of=d.vhd bs=1 seek=$(($(stat -c %s d.vhd) - 200)) conv=notrunc status=none
mount_ok d.vhd
check "a damaged footer's copy is used" same "$(raw)" content.raw
like "and told" "$(json "$mnt/disks/disk0/info.json" '.chain[0].warnings[]')" 'footer at the end is missing or damaged'
unmount

# ---- chains of 300 links, and loops ----
# (VMDK's and QCOW2's are in vmdk.sh and qcow2.sh.) Both make 300 links, each with one sector or block of its own.
mkdir long
vhdx chain long 300
python3 - <<'P'
import struct
SECTOR, BLOCK, N = 512, 1 << 20, 301

def summed(b, at):
    b[at:at + 4] = bytes(4)
    b[at:at + 4] = struct.pack('>I', ~sum(b) & 0xffffffff)
    return bytes(b)

def uid(i):
    return struct.pack('>QQ', 7, i)

for i in range(N):
    foot = bytearray(struct.pack('>8sIIQI4sI4sQQHBBI', b'conectix', 2, 0x10000, 512, 0, b'win ', 0x60001, b'Wi2k', N * BLOCK,
                                 N * BLOCK, 65535, 16, 255, 4 if i else 3).ljust(SECTOR, b'\0'))
    foot[68:84] = uid(i)
    foot = summed(foot, 64)
    head = bytearray(struct.pack('>8sQQIIII16sI', b'cxsparse', 2**64 - 1, 1536, 0x10000, N, BLOCK, 0, uid(i - 1) if i else
                                 bytes(16), 0).ljust(1024, b'\0'))
    if i:
        name = ('%d.vhd' % (i - 1)).encode('utf-16-be')
        head[64:64 + len(name)] = name
    head = summed(head, 36)
    bat = [0xffffffff] * N
    bat[i] = (1536 + 2048) // SECTOR
    with open('long/%d.vhd' % i, 'wb') as f:
        f.write(foot + head + struct.pack('>%dI' % N, *bat).ljust(2048, b'\xff'))
        f.write((b'\x80' if i else b'\xff').ljust(SECTOR, b'\0' if i else b'\xff'))
        f.write(bytes([i % 251 + 1]) * SECTOR)
        f.truncate(f.tell() + BLOCK - SECTOR)
        f.seek(0, 2)
        f.write(foot)
with open('long.raw', 'wb') as f:
    for i in range(N):
        f.write((bytes([i % 251 + 1]) * SECTOR).ljust(BLOCK, b'\0'))
P
for format in vhd vhdx; do
    start=$(date +%s%N)
    mount_ok long/300.$format
    is "300 links of $format" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 301
    took=$((($(date +%s%N) - start) / 1000000))
    check "hold what they should" cmp "$(raw)" long.raw
    memory=$(awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$(daemons "$mnt")/status")
    echo "300 links of $format: $took ms, $memory MiB"
    check "300 links of $format are open in less than 20 s ($took ms)" [ $took -lt 20000 ]
    unmount
    mv long/150.$format long/gone
    mount_fails 2 "151.$format: the parent \"150.$format\" is missing" long/300.$format
done
vhdx child base.vhdx one.avhdx two.avhdx --key relative_path
vhdx child one.avhdx two.avhdx one.avhdx
vhdx child two.avhdx one.avhdx two.avhdx
mount_fails 2 'one.avhdx|two.avhdx: the chain is a loop' one.avhdx
finish
