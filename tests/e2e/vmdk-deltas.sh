#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ESXi's snapshots, vmfsSparse (COWD) and seSparse: chains of three on a flat base, made by tests/tools/make-vmdk.py
# together with what each link must read as, and confirmed by qemu-img, which reads both.
. "$(dirname "$0")/lib.sh"
need qemu-img python3 jq
make=$top/tests/tools/make-vmdk.py

# put FILE OFFSET BYTES: writes bytes, as printf gives them, into a file.
put() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# shows DIR LINK DEPTH: mounts a link of a chain and compares.
shows() {
    local descriptor=$1/vm.vmdk
    [ "$2" = 0 ] || descriptor=$1/vm-00000$2.vmdk
    qemu-img convert -f vmdk -O raw "$descriptor" "$tmp/qemu.raw"
    check "${1##*/}, link $2: qemu-img agrees with the generator" same "$tmp/qemu.raw" "$1/$2.raw"
    mount_ok "$descriptor"
    check "${1##*/}, link $2" same "$mnt/disks/disk0/disk.raw" "$1/$2.raw"
    check "${1##*/}, link $2: through qemu-img" qemu-img compare -f raw -F vhdx "$1/$2.raw" "$mnt/disks/disk0/disk.vhdx"
    is "${1##*/}, link $2: links" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" $(($2 + 1))
    unmount
}

# Grains of a sector, and of 8 KiB; three grain tables each; ends within a grain and off every larger unit.
for spec in "cowd 1 10003" "cowd 16 140001" "sesparse 8 70003"; do
    read -r kind grain sectors <<<"$spec"
    dir=$tmp/$kind-$grain
    mkdir "$dir"
    python3 "$make" deltas "$kind" "$grain" "$sectors" "$dir"
    for link in 1 3; do shows "$dir" $link; done
done
mount_ok "$tmp/cowd-1"
check "a directory shows its newest snapshot" same "$mnt/disks/disk0/disk.raw" "$tmp/cowd-1/3.raw"
unmount

# Extents by themselves are no disks, and neither is what goes with them.
for file in cowd-1/vm-000001-delta.vmdk sesparse-8/vm-000001-sesparse.vmdk; do
    mount_fails 2 'not a disk by itself; open the descriptor' "$tmp/$file"
done
printf '\xa2\x72\x19\xf6\x01\0\0\0' >"$tmp/vm-ctk.vmdk"
mount_fails 2 "changed block tracking .*; open the disk's descriptor" "$tmp/vm-ctk.vmdk"
cp "$tmp/vm-ctk.vmdk" "$tmp/sesparse-8/"
rm "$tmp/sesparse-8/"*.raw
mount_ok "$tmp/sesparse-8"
is "tracking files are no disks of a directory" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 4
unmount
head -c 4096 /dev/urandom >"$tmp/vm-rdmp.vmdk"
mount_fails 2 'open the descriptor that names this extent' "$tmp/vm-rdmp.vmdk"

# Cut off anywhere: refused, as a table is or a grain.
for file in cowd-1/vm-000003-delta.vmdk sesparse-8/vm-000003-sesparse.vmdk; do
    whole=$tmp/$file
    cp "$whole" "$whole.whole"
    size=$(stat -c %s "$whole")
    for keep in 400 3000 $((size / 2)) $((size - 512)); do
        head -c "$keep" "$whole.whole" >"$whole"
        mount_fails 2 "${file##*/}: .*truncated" "${whole%-*}.vmdk"
    done
    mv "$whole.whole" "$whole"
done

# A dirty one of either kind: COWD can be read, and says so; seSparse can't.
put "$tmp/cowd-1/vm-000002-delta.vmdk" 1648 '\x01'
mount_ok "$tmp/cowd-1/vm-000003.vmdk"
like "an unclean shutdown is told" "$(json "$mnt/disks/disk0/info.json" '.chain[1].warnings[]?, .warnings[]?')" 'not closed cleanly'
unmount
put "$tmp/sesparse-8/vm-000002-sesparse.vmdk" $((512 + 24)) '\x01'
mount_fails 2 'vm-000002-sesparse\.vmdk: .*journal must be replayed' "$tmp/sesparse-8/vm-000003.vmdk"

# A linked clone: its parent lies in the directory of another machine, and the path is the old host's.
mkdir "$tmp/store" "$tmp/store/clone"
mv "$tmp/cowd-16" "$tmp/store/base"
mv "$tmp/store/base/vm-000001.vmdk" "$tmp/store/clone/vm.vmdk"
mv "$tmp/store/base/vm-000001-delta.vmdk" "$tmp/store/clone/"
sed -i 's,Hint=",&/vmfs/volumes/5a0b1c2d-4e5f/base/,' "$tmp/store/clone/vm.vmdk"
mount_fails 2 'base/vm\.vmdk" lies outside .*-o trust=' "$tmp/store/clone/vm.vmdk"
mount_ok "$tmp/store/clone/vm.vmdk" -- -o "trust=$tmp/store"
check "a linked clone" same "$mnt/disks/disk0/disk.raw" "$tmp/store/base/1.raw"
unmount

# A real one, whose delta is lost.
if have_corpus; then
    corpus vmdk/vmfs_thick.vmdk >"$tmp/path"
    corpus vmdk/vmfs_thick-flat.vmdk.xz >"$tmp/path"
    mount_fails 2 'vmfs_thick-000001-delta.vmdk" is missing' "$(corpus vmdk/vmfs_thick-000001.vmdk)"
fi
finish
