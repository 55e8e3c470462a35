#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Vdisks of Nutanix AHV through a real mount: one file, a container, and a directory of copied ones.
. "$(dirname "$0")/lib.sh"
need qemu-img jq openssl

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }
info() { jq -c "$1" "$mnt/info.json"; }
image() { openssl enc -aes-128-ctr -nosalt -K "$2" -iv 00 </dev/zero 2>/dev/null | head -c 1048576 >"$1"; }

one=11111111-2222-4333-8444-555555555555
two=4f1c0b1e-aaaa-4bbb-8ccc-dddddddddddd
three=9e107d9d-0000-4111-8222-333333333333
vm=ctr/.acropolis/vmdisk
mkdir -p $vm ctr/.acropolis/snapshot ctr/.snapshot/1/.acropolis/vmdisk
image $vm/$two 02
image $vm/$one 01
image third 03
qemu-img convert -f raw -O qcow2 third $vm/$three # somebody's copy
echo 'a file of ours' >$vm/readme
mkdir $vm/lost+found
image ctr/.snapshot/1/.acropolis/vmdisk/77777777-2222-4333-8444-555555555555 04

mount_ok $vm/$two
check 'a vdisk by its name' same "$(raw 0)" $vm/$two
is 'its format' "$(info '[.vm.kind, .disks[0].format]')" '["disks","raw"]'
unmount
mount_ok $vm/$two $vm/$one
check 'the disks of one machine: the first' same "$(raw 0)" $vm/$two
check 'the disks of one machine: the second' same "$(raw 1)" $vm/$one
unmount

for source in ctr ctr/ ctr/.acropolis $vm "$tmp/$vm/"; do
    mount_ok "$source"
    check "$source: the first" same "$(raw 0)" $vm/$one
    check "$source: the second" same "$(raw 1)" $vm/$two
    check "$source: by content" same "$(raw 2)" third
    is "$source: as what" "$(info '[.vm.kind, (.vm.disks | map(.shown))]')" '["ahv",[true,true,true]]'
    like "$source: whose they are" "$(info .warnings)" 'may belong to several machines'
    unmount
done

mkdir copied
cp $vm/$one $vm/$two copied
echo 'from the cluster' >copied/notes.txt
mount_ok copied
check 'copied vdisks: the first' same "$(raw 0)" $vm/$one
check 'copied vdisks: the second' same "$(raw 1)" $vm/$two
is 'copied vdisks' "$(info '[.vm.kind, .vm.name]')" '["ahv","copied"]'
unmount

# ---- a bad one, one that leads outside, none, too many ----
: >$vm/00000000-0000-4000-8000-000000000000
mount_ok ctr
like 'an empty vdisk' "$(cat "$err")" '^ferryfs: .*/00000000-0000-4000-8000-000000000000: is empty'
check 'the others are there' same "$(raw 1)" $vm/$one
unmount
ln -s "$tmp/third" $vm/00000000-0000-4000-8000-000000000001
mount_fails 2 'ctr/\.acropolis/vmdisk: the file ".*/third" lies outside' ctr
mkdir -p none/.acropolis/vmdisk
mount_fails 2 'none/\.acropolis/vmdisk: holds no vdisk' none
mkdir -p many/.acropolis/vmdisk
for i in $(seq 257); do : >"many/.acropolis/vmdisk/$(printf '00000000-0000-4000-8000-%012d' "$i")"; done
mount_fails 2 'many/\.acropolis/vmdisk: holds 257 vdisks, more than the 256 of one machine; name the vdisks' many
finish
