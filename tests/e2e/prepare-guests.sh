#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A machine with two guests, which have the same paths: each is planned, applied and undone for itself, in one overlay.
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 sfdisk jq
cd "$tmp" || exit 1

# make_root NAME UUID PARTITION
make_root() {
    mkdir -p "$1/etc" "$1/usr/bin" "$1/boot/grub"
    printf 'ID=debian\nPRETTY_NAME="%s"\n' "$1" >"$1/etc/os-release"
    echo "/dev/sda$3 / ext4 defaults 0 1" >"$1/etc/fstab"
    printf 'menuentry x {\n  linux /vmlinuz root=UUID=%s ro\n}\n' "$2" >"$1/boot/grub/grub.cfg"
    truncate -s 16M "$1.img" && mkfs.ext4 -q -F -U "$2" -d "$1" "$1.img"
}
first=6f1c1f0e-93c5-4c52-8d0c-3f2f0e1d5a12 second=6f1c1f0e-93c5-4c52-8d0c-3f2f0e1d5a13
check "one root" make_root one $first 1
check "another one" make_root two $second 2
truncate -s 34M disk.img
partition() { sfdisk -q disk.img <<<$'label: dos\nstart=2048, size=32768, type=83\nstart=34816, size=32768, type=83'; }
check "a disk" partition
dd if=one.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none
dd if=two.img of=disk.img bs=1M seek=17 conv=notrunc,sparse status=none

mount_os() { mount_ok disk.img -- -o format=raw,overlay=kept -o "os=$1"; }
tell() { echo "$1" >"$mnt/prepare/kvm"; }
fstabs() { cut -d' ' -f1 "$mnt/volumes/disk0p1/etc/fstab" "$mnt/volumes/disk0p2/etc/fstab" | xargs; }
changes() { json "$mnt/prepare/changes.json" '.changes | length'; }

mount_os 0
is "both guests" "$(json "$mnt/info.json" '[.guests[].name] | join(" ")')" "one two"
plan=$(cat "$mnt/prepare/kvm")
like "the plan is of one" "$plan" '^file etc/fstab '
like "and says that there is another" "$plan" '^note: another guest, two on disk0p2, isn.t changed: mount with -o os=1 '
check "apply" tell apply
is "one is changed" "$(fstabs)" "UUID=$first /dev/sda2"
is "then there is nothing to do" "$(cat "$mnt/prepare/kvm")" 'nothing to do'
made=$(changes)
check "something is recorded" test "$made" -gt 0
unmount

mount_os 1
is "nothing was changed in the other" "$(changes)" 0
like "its plan" "$(cat "$mnt/prepare/kvm")" '^file etc/fstab '
check_not "nothing of it is taken back" tell undo
like "says so" "$(cat "$mnt/prepare/.error")" 'nothing was applied'
is "one is as it was" "$(fstabs)" "UUID=$first /dev/sda2"
check "apply" tell apply
is "both are changed" "$(fstabs)" "UUID=$first UUID=$second"
is "each has its own record" "$(changes)" "$made"
unmount

mount_os 0
check "undo of the first" tell undo
is "the second is as it was" "$(fstabs)" "/dev/sda1 UUID=$second"
unmount
mount_os 1
check "undo of the second" tell undo
is "both are as they were" "$(fstabs)" "/dev/sda1 /dev/sda2"
is "no record is left" "$(find kept -name 'record-*')" ''
unmount
finish
