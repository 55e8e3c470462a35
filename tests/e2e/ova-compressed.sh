#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# OVF references that are gzip-compressed, cut into chunks, or both, in archives and loose; deltas by parentRef; memory
# with a member of more than 2 GiB; damage. What unpacks them here is gzip(1), cat(1) and qemu-img.
. "$(dirname "$0")/lib.sh"
need tar gzip split python3 jq qemu-img

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }

# ovf FILES DISKS: an OVF on stdout.
ovf() {
    echo "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'><References>$1</References><DiskSection>$2</DiskSection></Envelope>"
}
one() { ovf "<File id='f' $1/>" "<Disk diskId='d' fileRef='f'/>"; }

# Noise, text and zeros; 40 MiB.
python3 - <<'P'
import random
r = random.Random(5)
with open("plain.img", "wb") as f:
    for i in range(160):
        kind = i % 4 if i < 100 else 2
        f.write(r.randbytes(262144) if kind == 0 else
                b"".join(b"line %d of the text %d\n" % (k, i * k % 977) for k in range(12000))[:262144].ljust(262144)
                if kind == 1 else bytes(262144))
P
mkdir p
qemu-img convert -q -O vmdk -o subformat=streamOptimized plain.img d.vmdk
qemu-img convert -q -O qcow2 plain.img d.qcow2
qemu-img convert -q -O vpc plain.img d.vhd

# ---- every format, compressed; named and not named so ----
for f in plain.img d.vmdk d.qcow2 d.vhd; do
    rm -f p/*
    gzip -c "$f" >"p/$f.gz"
    for compression in "ovf:compression='gzip'" "compression='GZIP' ovf:size='1'" ''; do
        one "href='$f.gz' $compression" >p/x.ovf
        tar -C p -cf x.ova x.ovf "$f.gz"
        mount_ok x.ova
        check "$f.gz in an OVA ($compression)" cmp -n 41943040 "$(raw 0)" plain.img # a VHD is rounded up
        unmount
    done
    mount_ok p
    check "$f.gz in a directory" qemu-img compare -f raw -F raw "$(raw 0)" plain.img
    unmount
done
gzip -c plain.img >p/plain.gz
one "href='plain.gz'" >p/x.ovf
mount_ok p/x.ovf
check "zeros are holes" test "$(stat -c %b "$(raw 0)")" -lt $((30 << 11))
unmount

# Reads at random, by several readers at once.
rm -f p/*
gzip -1 -c plain.img >p/plain.img.gz
one "href='plain.img.gz'" >p/x.ovf
mount_ok p -- -o cache=1
check "reads at random" python3 - "$(raw 0)" plain.img <<'P'
import os, random, sys, threading
view, plain = (os.open(p, os.O_RDONLY) for p in sys.argv[1:])
size = os.fstat(plain).st_size
wrong = []
def reader(seed):
    r = random.Random(seed)
    for _ in range(150):
        at, n = r.randrange(size), r.randrange(1, 100000)
        if os.pread(view, n, at) != os.pread(plain, n, at):
            wrong.append(at)
threads = [threading.Thread(target=reader, args=(i,)) for i in range(6)]
[t.start() for t in threads]
[t.join() for t in threads]
sys.exit(bool(wrong))
P
check "the VHDX of it" qemu-img compare -f vhdx -F raw "$mnt/disks/disk0/disk.vhdx" plain.img
unmount

# Several members, and padding; and garbage, of which info.json tells.
split -b 7000000 plain.img part.
for f in part.*; do gzip -c "$f"; done >p/plain.img.gz
head -c 5000 /dev/zero >>p/plain.img.gz
mount_ok p
check "several members" same "$(raw 0)" plain.img
unmount
echo garbage >>p/plain.img.gz
mount_ok p
check "garbage after it" same "$(raw 0)" plain.img
like "the warning" "$(json "$mnt/info.json" '.warnings[]')" 'plain.img.gz: what follows the gzip data is ignored'
unmount

# ---- chunks ----
rm -f p/* part.*
chunks() { # FILE NAME SIZE
    split -b "$3" -d -a 9 "$1" "p/$2."
}
chunks d.vmdk d.vmdk 1500000
one "href='d.vmdk' chunkSize='1500000' size='$(stat -c %s d.vmdk)'" >p/x.ovf
mount_ok p/x.ovf
check "chunks, loose" same "$(raw 0)" plain.img
unmount
tar -C p -cf x.ova .
mount_ok x.ova
check "chunks in an OVA" same "$(raw 0)" plain.img
like "the joined name" "$(json "$mnt/info.json" '.disks[0].source')" 'x\.ova\(d\.vmdk\)$'
unmount
refused_chunks() { mount_fails 2 "$1" p; tar -C p -cf x.ova .; mount_fails 2 "$1" x.ova; }
mv p/d.vmdk.000000002 gone
refused_chunks 'the disk file "d\.vmdk\.000000002" is missing.*; it is a chunk of d\.vmdk'
head -c 1499999 gone >p/d.vmdk.000000002
refused_chunks 'd\.vmdk\.000000002.*: the chunk has 1499999 bytes, but the OVF.s chunkSize is 1500000'
mv gone p/d.vmdk.000000002
mv p/d.vmdk.000000003 gone
mv p/d.vmdk.000000002 p/d.vmdk.000000003
mv gone p/d.vmdk.000000002
mount_ok p # the tables are as they were; the grains aren't, and say so
check_not "chunks in the wrong order" dd if="$(raw 0)" of=/dev/null bs=1M
like "it is an error" "$(cat "$out")" 'Input/output error'
unmount

# Compressed, then cut.
rm -f p/*
gzip -c d.qcow2 >d.qcow2.gz
chunks d.qcow2.gz d.qcow2.gz 1500000
one "href='d.qcow2.gz' compression='gzip' chunkSize='1500000'" >p/x.ovf
tar -C p -cf x.ova .
for source in p x.ova; do
    mount_ok $source
    check "compressed and cut, $source" same "$(raw 0)" plain.img
    unmount
done
mv p/d.qcow2.gz.000000001 gone
mv p/d.qcow2.gz.000000000 p/d.qcow2.gz.000000001
mv gone p/d.qcow2.gz.000000000
refused_chunks 'd\.qcow2\.gz'
last=(p/d.qcow2.gz.0*)
rm "${last[-1]}"
mount_fails 2 'd\.qcow2\.gz' p

# ---- damage ----
rm -f p/*
one "href='d.gz' compression='gzip'" >p/x.ovf
gzip -c plain.img >d.gz
size=$(stat -c %s d.gz)
for n in 3 11 1000 $((size / 2)) $((size - 1)); do
    head -c $n d.gz >p/d.gz
    mount_fails 2 "d\\.gz: truncated: the file ends inside its gzip data at byte $n; copy" p
done
for at in 25 100000 $((size / 2)) $((size - 8)) $((size - 1)); do
    cp d.gz p/d.gz
    python3 -c 'import sys
with open("p/d.gz", "r+b") as f:
    f.seek(int(sys.argv[1])); b = f.read(1)[0] ^ 0x10; f.seek(int(sys.argv[1])); f.write(bytes([b]))' $at
    mount_fails 2 'd\.gz: (damaged gzip data \(.*\) at byte [0-9]+|truncated: .*)$' p
done
like "the last message" "$(cat "$err")" 'incorrect length check'
printf '\x1f\x8bnothing of the kind' >p/d.gz
mount_fails 2 'd\.gz: damaged gzip data \(unknown compression method\)' p
gzip -c d.gz >p/d.gz
mount_fails 2 'd\.gz: is gzip-compressed; unpack it first' p # twice
one "href='d.gz' compression='bzip2'" >p/x.ovf
cp plain.img p/d.gz
mount_fails 2 'd\.gz: has the compression "bzip2" by the OVF' p
gzip -c plain.img >p/raw.vmdk.gz
one "href='raw.vmdk.gz'" >p/x.ovf
mount_fails 2 'raw\.vmdk\.gz: looks like a damaged VMDK' p # the name forbids to take it for raw

# ---- deltas ----
rm -f p/*
cp d.qcow2 p/base.qcow2
(cd p && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 child.qcow2 && qemu-io -c 'write -q -P 7 1M 3M' child.qcow2 >/dev/null)
qemu-img convert -q -O raw p/child.qcow2 child.img
delta() { # CHILD-HREF PARENT-HREF
    ovf "<File id='c' href='$1'/><File id='b' href='$2'/>" \
        "<Disk diskId='child' fileRef='c' parentRef='base'/><Disk diskId='base' fileRef='b'/>" >p/x.ovf
    tar -C p -cf x.ova .
}
delta_ok() {
    for source in p x.ova; do
        mount_ok $source
        check "$1 ($source)" same "$(raw 0)" child.img
        is "$1: the chain" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 2
        check_not "$1: the parent is no disk of the machine" test -e "$(raw 1)"
        unmount
    done
}
delta child.qcow2 base.qcow2
delta_ok "a qcow2 on a qcow2"
mv p/base.qcow2 p/moved.qcow2
delta child.qcow2 moved.qcow2
delta_ok "a parent under another name"
gzip p/moved.qcow2 p/child.qcow2
delta child.qcow2.gz moved.qcow2.gz
delta_ok "both compressed"
gunzip p/*.gz
cp p/moved.qcow2 p/base.qcow2
delta child.qcow2 moved.qcow2
mount_fails 2 'child\.qcow2: its backing file is .*base\.qcow2, but the OVF.s parentRef says .*moved\.qcow2' p
delta moved.qcow2 base.qcow2
mount_fails 2 'moved\.qcow2: is a delta of the Disk base by the OVF .*, but the image itself names no parent' p
# VMDK: the CID must fit, whatever the file is called
rm -f p/*
qemu-img convert -q -O vmdk plain.img p/base.vmdk
(cd p && qemu-img create -q -f vmdk -b base.vmdk -F vmdk child.vmdk && qemu-io -c 'write -q -P 7 1M 3M' child.vmdk >/dev/null)
mv p/base.vmdk p/web01-disk1.vmdk
delta child.vmdk web01-disk1.vmdk
delta_ok "a VMDK's delta"
qemu-img convert -q -O vmdk plain.img p/web01-disk1.vmdk
delta child.vmdk web01-disk1.vmdk
mount_fails 2 'child\.vmdk: its parent .*web01-disk1\.vmdk has the id [0-9a-f]+, but [0-9a-f]+ is expected' p

# ---- a member of more than 2 GiB: memory, and reads far apart ----
rm -rf p x.ova
mkdir p
python3 - <<'P'
import gzip, random, zlib
# one gzip member of 2.5 GiB: text and noise with zeros between them, which are deflated once and stored many times
def raw(data, last=False):
    c = zlib.compressobj(1, zlib.DEFLATED, -15)
    return c.compress(data) + c.flush(zlib.Z_FULL_FLUSH)
r = random.Random(1)
piece = b"".join(b"line %d\n" % r.randrange(10**6) for i in range(100000))[:1 << 19] + r.randbytes(1 << 19)
blocks = [(bytes(5 << 20), raw(bytes(5 << 20))), (piece * 2, raw(piece * 2))]
crc, size = 0, 0
with open("p/big.img.gz", "wb") as f:
    f.write(b"\x1f\x8b\x08\0\0\0\0\0\0\3")
    for i in range(420):
        for data, packed in blocks if i % 8 == 0 else blocks[:1]:
            f.write(packed)
            crc = zlib.crc32(data, crc)
            size += len(data)
    f.write(b"\x03\0" + crc.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little"))
P
one "href='big.img.gz'" >p/x.ovf
tar -C p -cf x.ova x.ovf big.img.gz
rm -r p/x.ovf
mount_ok x.ova
want=$(gzip -dc p/big.img.gz | python3 -c 'import hashlib, sys
h, n = hashlib.sha256(), 0
while piece := sys.stdin.buffer.read(1 << 20):
    h.update(piece)
    n += len(piece)
print(n, h.hexdigest())')
is "the size and the content, in sequence, are those of gzip" "$(stat -c %s "$(raw 0)") $(sha "$(raw 0)")" "$want"
check "reads at random in it" python3 - "$(raw 0)" <<'P'
import os, random, sys
f = os.open(sys.argv[1], os.O_RDONLY)
r = random.Random(1)
piece = (b"".join(b"line %d\n" % r.randrange(10**6) for i in range(100000))[:1 << 19] + r.randbytes(1 << 19)) * 2
period = 8 * (5 << 20) + len(piece)
for _ in range(300):
    at = r.randrange(os.fstat(f).st_size - 5000)
    block = at % period - (5 << 20)
    want = bytes(5 << 20)[:4096]
    if -4096 < block < len(piece):
        want = (bytes(4096) + piece + bytes(4096))[block + 4096:block + 8192]
    if os.pread(f, 4096, at) != want:
        sys.exit(f"wrong at {at}")
P
peak=$(awk '/^VmHWM/ { print $2 }' "/proc/$(daemons "$mnt")/status")
if ! grep -qa __asan_init "$FERRYFS"; then
    check "memory: $peak KiB" test "$peak" -lt $(((64 + 64) * 1024))
fi
unmount
finish
