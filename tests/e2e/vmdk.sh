#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VMDKs of every kind through a mount: the raw view must be what went in. Images are made by qemu-img and, for what
# it can't make, by tests/tools/make-vmdk.py; real ones come from the corpus.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq
make=$top/tests/tools/make-vmdk.py
raw=$tmp/in.raw

# Data, zeros, and an end that is neither a whole grain nor a whole grain table.
python3 - "$raw" <<'END'
import random, sys
r = random.Random(5)
o = bytearray(40 * 1024 * 1024 + 3 * 512)
for i in range(200):
    at, n = r.randrange(len(o) - 70000), r.randrange(1, 70000)
    o[at:at + n] = r.randbytes(n) if i % 2 else (b'text %d ' % i * n)[:n]
o[-100:] = b'e' * 100
open(sys.argv[1], 'wb').write(o)
END
truth=$(sha "$raw")

# shows DESCRIPTION FILE [SUBFORMAT]: mounts, compares the raw view, unmounts.
shows() {
    mount_ok "$2"
    is "$1: content" "$(sha "$mnt/disks/disk0/disk.raw")" "$truth"
    is "$1: format" "$(json "$mnt/disks/disk0/info.json" .format)" vmdk
    unmount
}

for subformat in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do
    mkdir "$tmp/$subformat"
    qemu-img convert -f raw -O vmdk -o subformat=$subformat "$raw" "$tmp/$subformat/d.vmdk"
    shows "$subformat by qemu-img" "$tmp/$subformat/d.vmdk"
done
mv "$tmp/monolithicSparse/d.vmdk" "$tmp/monolithicSparse/renamed"
shows "a renamed file" "$tmp/monolithicSparse/renamed"

python3 "$make" stream "$raw" "$tmp/stream.vmdk"
shows "a stream with a footer" "$tmp/stream.vmdk"
python3 "$make" stream "$raw" "$tmp/padded.vmdk" --pad 1000000 --short-last
shows "a padded stream whose last grain is short" "$tmp/padded.vmdk"
python3 "$make" sparse "$raw" "$tmp/sectors.vmdk" 1 128
shows "grains of one sector" "$tmp/sectors.vmdk"
python3 "$make" sparse "$raw" "$tmp/large.vmdk" 1024 512
shows "grains of 512 KiB" "$tmp/large.vmdk"

# Zeroed grains hide the parent; a chain by qemu-img.
qemu-img convert -f raw -O vmdk "$raw" "$tmp/base.vmdk"
qemu-img create -q -f vmdk -o zeroed_grain=on -b base.vmdk -F vmdk "$tmp/child.vmdk"
qemu-io -c 'write -z 0 1M' -c 'write -P 7 5M 100k' "$tmp/child.vmdk" >"$tmp/qemu-io.log"
cp "$raw" "$tmp/after.raw"
dd if=/dev/zero of="$tmp/after.raw" bs=1M count=1 conv=notrunc status=none
head -c 102400 /dev/zero | tr '\0' '\007' | dd of="$tmp/after.raw" bs=1M seek=5 conv=notrunc status=none
mount_ok "$tmp/child.vmdk"
check "a snapshot with zeroed grains" cmp "$mnt/disks/disk0/disk.raw" "$tmp/after.raw"
is "two links" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 2
unmount

# Broken chains.
mkdir "$tmp/alone"
cp "$tmp/child.vmdk" "$tmp/alone/"
mount_fails 2 'child\.vmdk: .*"base\.vmdk" is missing' "$tmp/alone/child.vmdk"
qemu-img create -q -f vmdk "$tmp/alone/base.vmdk" 40M
mount_fails 2 'base\.vmdk has the id [0-9a-f]{8}, but [0-9a-f]{8} is expected' "$tmp/alone/child.vmdk"
mkdir "$tmp/loop"
for i in 1 2; do
    printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=1\nparentFileNameHint="l%s.vmdk"\nRW 8 ZERO\n' $((3 - i)) \
        >"$tmp/loop/l$i.vmdk"
done
mount_fails 2 'loop' "$tmp/loop/l1.vmdk"

# 300 links, each with one grain of its own.
mkdir "$tmp/chain"
python3 "$make" chain "$tmp/chain" 300
python3 -c 'import sys; [sys.stdout.buffer.write(bytes([i % 251 + 1]) * 4096) for i in range(300)]' >"$tmp/chain.raw"
mount_ok "$tmp/chain/link299.vmdk"
check "a chain of 300 links" cmp "$mnt/disks/disk0/disk.raw" "$tmp/chain.raw"
unmount
# As a directory: all links are looked into, each with all that it rests on, but only one chain's files are open at once.
mkdir "$tmp/links"
mv "$tmp"/chain/link{0..99}.vmdk "$tmp/links"
check "a directory of 100 links" bash -c 'ulimit -n 200; exec "$FERRYFS" --info "$1"' _ "$tmp/links"

# Truncated at any point: refused, or the true bytes, or an error; never zeros for data. (QEMU gives zeros.)
for image in renamed=monolithicSparse/renamed packed=streamOptimized/d.vmdk footer=stream.vmdk; do
    size=$(stat -c %s "$tmp/${image#*=}")
    for percent in 1 20 50 90; do # the last bytes of a stream by qemu-img are padding
        head -c $((size * percent / 100)) "$tmp/${image#*=}" >"$tmp/cut.vmdk"
        mount_fails 2 'truncated' "$tmp/cut.vmdk"
    done
done
mount_fails 2 'open the descriptor' "$tmp/twoGbMaxExtentSparse/d-s001.vmdk"
dd if=/dev/zero of="$tmp/monolithicSparse/renamed" bs=512 count=1 conv=notrunc status=none
mount_fails 2 'looks like a damaged VMDK' "$tmp/monolithicSparse/renamed"

# Real images. Their raw digests were computed by qemu-img convert.
if have_corpus; then
    for row in monolithicSparse.vmdk.xz=a3bcf05f streamOptimized.vmdk.xz=a3bcf05f monolithicFlat.vmdk=a3bcf05f \
        twoGbMaxExtentSparse.vmdk=a3bcf05f vmfs_thick.vmdk=8d43c795 ext2.vmdk.xz=a6c2f0e3 tw_sparse.vmdk=bb9f8df6; do
        image=$(corpus "vmdk/${row%=*}")
        for extent in monolithicFlat-flat twoGbMaxExtentSparse-s001 vmfs_thick-flat tw_sparse-s001; do
            case $extent in "$(basename "${row%.vmdk*}")"-*) corpus "vmdk/$extent.vmdk.xz" >"$tmp/extent.path" ;; esac
        done
        mount_ok "$image"
        is "${row%=*}" "$(sha "$mnt/disks/disk0/disk.raw" | cut -c1-8)" "${row#*=}"
        unmount
    done
    mount_fails 2 'is missing' "$(corpus vmdk/ms3-win.vmdk)"
    mount_fails 2 'vmfs_thick-000001-delta.vmdk" is missing' "$(corpus vmdk/vmfs_thick-000001.vmdk)"
    mount_fails 2 'device of its host' "$(corpus vmdk/sq8vps-disk.vmdk)"
fi
finish
