#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What is zeros by the tables of a source never becomes data in a view, and a dynamic view holds only those of its own
# blocks that have data in them. The sources hold stale bytes under their zeros, so that nobody can have looked.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/views.bash"
need qemu-img qemu-io python3 jq

cd "$tmp" || exit 1
mib=1048576
size=$((64 * mib))

# 16 MiB of data, of which the second half is then said to be zeros; 64 KiB at 40 MiB: 129 clusters and grains.
qemu-img create -q -f qcow2 zeros.qcow2 $size &&
    qemu-io -f qcow2 -c 'write -q -P 0x11 0 16M' -c 'write -q -P 0x22 40M 64k' -c 'write -q -z 8M 8M' zeros.qcow2 &&
    qemu-img create -q -f vmdk -o zeroed_grain=on zeros.vmdk $size &&
    qemu-io -f vmdk -c 'write -q -P 0x11 0 16M' -c 'write -q -P 0x22 40M 64k' -c 'write -q -z 8M 8M' zeros.vmdk &&
    truncate -s $size holes.img &&
    qemu-io -f raw -c 'write -q -P 0x11 0 8M' -c 'write -q -P 0x22 40M 64k' holes.img || exit 1
# zeros over a backing file that has data there
qemu-img create -q -f qcow2 base.qcow2 $size && qemu-io -f qcow2 -c 'write -q -P 0x11 0 16M' base.qcow2 &&
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2 &&
    qemu-io -f qcow2 -c 'write -q -P 0x22 40M 64k' -c 'write -q -z 8M 8M' over.qcow2 || exit 1
qemu-img convert -f raw -O vhdx holes.img holes.vhdx && qemu-img convert -f raw -O vdi holes.img holes.vdi || exit 1
sync ./*.qcow2 ./*.vmdk holes.*

for source in zeros.qcow2 zeros.vmdk holes.img over.qcow2 holes.vhdx holes.vdi; do
    data=$((8 * mib + 65536))
    [ $source = holes.vdi ] && data=$((9 * mib)) # it has blocks of 1 MiB, and no word for zeros within one
    mount_ok "$source"
    is "$source: data of disk.raw" "$(stat -c %b "$disk/disk.raw")" $((data / 512))
    # by their own programs' count: headers of 4 MiB, then 1 MiB blocks
    is "$source: disk.vhdx" "$(stat -c %s "$disk/disk.vhdx")" $(((4 + 8 + 1) * mib))
    # header, refcounts in two levels, L1, one L2
    is "$source: disk.qcow2" "$(stat -c %s "$disk/disk.qcow2")" $((5 * 65536 + data))
    is "$source: disk.vmdk" "$(stat -c %s "$disk/disk.vmdk")" $((65536 + data))
    is "$source: QEMU's count in disk.qcow2" \
        "$(qemu-img check --output=json "$disk/disk.qcow2" | jq '."allocated-clusters"')" $((data / 65536))
    for view in disk.vhdx disk.qcow2 disk.vmdk; do
        format=${view##*.}
        # what it has beside the disk's own data is headers and tables
        check "$source: $view takes little more than the data" \
            test "$(stat -c %b "$disk/$view")" -le $(((data + 5 * 65536) / 512))
        is "$source: the bytes of $view" "$(qemu-img compare -f "$format" -F raw "$disk/$view" "$disk/disk.raw" 2>&1)" "Images are identical."
    done
    if [ -e "$disk/disk.vhd" ]; then # blocks of 2 MiB, each with its bitmap; headers, BAT and footer
        check "$source: disk.vhd" test "$(stat -c %s "$disk/disk.vhd")" -le $((5 * (2 * mib + 4096) + 65536))
    fi
    unmount
done
finish
