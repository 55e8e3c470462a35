#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Machines whose root can't be read, as distributions install them: btrfs beside a /boot of ext4 (Fedora), XFS (RHEL). What
# could be is said in prepare/, which is there for them, with what to do; nothing is applied, and the rest stays readable.
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 mkfs.btrfs mkfs.xfs sfdisk jq
cd "$tmp" || exit 1
linux=0FC63DAF-8483-4772-8E79-3D69D8477DE4

# disk_of FILE IMAGE...: a partition of each.
disk_of() {
    local image start=1
    {
        echo 'label: gpt'
        for image in "${@:2}"; do
            echo "start=$((start * 2048)), size=$(($(stat -c %s "$image") / 512)), type=$linux"
            start=$((start + ($(stat -c %s "$image") >> 20)))
        done
    } >table
    truncate -s $((start + 1))M "$1" && sfdisk -q "$1" <table && start=1 || return
    for image in "${@:2}"; do
        dd if="$image" of="$1" bs=1M seek=$start conv=notrunc,sparse status=none || return
        start=$((start + ($(stat -c %s "$image") >> 20)))
    done
}

make_images() {
    mkdir -p root/etc boot/loader/entries
    printf 'ID=fedora\nPRETTY_NAME="Fedora"\n' >root/etc/os-release
    printf 'options root=/dev/sda2\ninitrd /initramfs-6.1.img\n' >boot/loader/entries/a.conf
    echo image >boot/initramfs-6.1.img
    truncate -s 120M btrfs.img && mkfs.btrfs -q -r root btrfs.img &&
        truncate -s 300M xfs.img && mkfs.xfs -q xfs.img &&
        truncate -s 20M boot.img && mkfs.ext4 -q -F -d boot boot.img &&
        truncate -s 20M empty.img
}

why() { json "$mnt/info.json" ".volumes[] | select(.name == \"$1\") | .type + \": \" + .why"; }

check "file systems" make_images
check "a machine of btrfs" disk_of fedora.img boot.img btrfs.img
check "one of XFS" disk_of rhel.img xfs.img
check "one of nothing" disk_of none.img empty.img
[ "$failed" = 0 ] || exit 1

mount_ok fedora.img -- -o format=raw,overlay=kept
is "no guest" "$(json "$mnt/info.json" '.guests | length')" 0
is "the reason" "$(why disk0p2)" 'btrfs: not a file system that ferryfs reads'
is "/boot is shown" "$(cat "$mnt/volumes/disk0p1/initramfs-6.1.img")" image
for target in kvm kubevirt; do
    is "the plan of $target" "$(cat "$mnt/prepare/$target")" "BLOCKED: no guest is found, and disk0p2 (btrfs), which may \
have it, can't be read: not a file system that ferryfs reads; where the guest runs, before its disks are copied, put \
virtio_pci virtio_blk virtio_scsi into its initramfs (dracut --force --regenerate-all --add-drivers \
\"virtio_pci virtio_blk virtio_scsi\", or what else makes it there) and have its file systems by UUID in /etc/fstab and in the \
boot loader"
done
like "that of hyperv" "$(cat "$mnt/prepare/hyperv")" '^BLOCKED: .* put hv_vmbus hv_storvsc into its initramfs '
check_not "it isn't applied" sh -c "echo apply >'$mnt/prepare/kvm'"
like "why not" "$(cat "$mnt/prepare/.error")" '^no guest is found, and disk0p2 \(btrfs\)'
is "nothing is recorded" "$(json "$mnt/prepare/changes.json" '.changes | length')" 0
unmount

mount_ok rhel.img -- -o format=raw
like "without an overlay, for XFS" "$(cat "$mnt/prepare/azure-local")" '^BLOCKED: no guest is found, and disk0p1 \(xfs\)'
unmount

mount_ok none.img -- -o format=raw
check_not "without a volume that may be one, there is no prepare/" test -e "$mnt/prepare"
unmount
finish
