#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# It boots: a Debian in an OVA gets a file through guest/, and boots from what is copied out, and from the overlay's own qcow2,
# and does what the file says. Once with its root on a partition, once on LVM. The file tree, kernel, initramfs, LVM and
# boot loader are Debian's own; that no installer ran, and what is written in its place, says tests/tools/make-debian.
# FERRYFS_BOOT_ALL=1 boots every view of both, on each controller; otherwise each view and each controller once.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need_debian

all=${FERRYFS_BOOT_ALL-}
word=word-$RANDOM$RANDOM

# edit OVA: the guest gets its word, and what is there afterwards.
edit() {
    mount_ok "$1" -- -o "overlay=$1.kept"
    is "$1: it is Debian" "$(json "$mnt/info.json" '.guests[0] | .os')" linux
    like "$1: its name" "$(json "$mnt/info.json" '.guests[0].name')" '^(Debian GNU/Linux|Ubuntu) '
    check "$1: a unit, enabled by a link" word_unit "$mnt/guest" "$word"
}

# ---- the root on a partition ----
cd "$tmp" || exit 1
check "a disk" make_disk "$debian/root.ext4" disk.img core.img 83
check "an OVA of it" make_ova disk.img plain.ova
rm disk.img
before=$(sha plain.ova)
edit plain.ova
check "disk.vhdx is copied out" cp "$mnt/disks/disk0/disk.vhdx" plain.vhdx
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" plain.qcow2
unmount
boot_meanwhile plain-vhdx vhdx plain.vhdx virtio-blk
[ -z "$all" ] || boots plain-qcow2 qcow2 plain.qcow2 virtio-scsi "$word"
own=(plain.ova.kept/*.qcow2)
is "the overlay has one disk" "${#own[@]}" 1
check "qemu-img check" qemu-img check -q "${own[0]}"
boots plain-overlay qcow2 "${own[0]}" nvme "$word"
booted plain-vhdx "$word"
is "the OVA is as it was" "$(sha plain.ova)" "$before"
rm -f plain.vhdx plain.qcow2

# ---- the root on LVM: made by lvm2 itself, kept to this device and off the kernel's device-mapper ----
[ "$(id -u)" = 0 ] && command -v lvm >/dev/null || skip 'the root on LVM needs root and lvm2'
export LVM_SYSTEM_DIR=$tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p "$LVM_SYSTEM_DIR"
cp --sparse=always "$debian/root.ext4" root.ext4
sed -e "s,root=UUID=[^ ]*,root=/dev/mapper/vg-root," -e 's/^\tsearch.*/\tset root=lvm\/vg-root/' >grub.cfg \
    <<<"$(debugfs -R 'cat /boot/grub/grub.cfg' root.ext4 2>/dev/null)"
echo '/dev/mapper/vg-root / ext4 errors=remount-ro 0 1' >fstab
check "its grub.cfg names the volume" grep -q 'root=/dev/mapper/vg-root' grub.cfg
check "grub.cfg" put_in root.ext4 grub.cfg /boot/grub/grub.cfg
check "fstab" put_in root.ext4 fstab /etc/fstab
bytes=$(stat -c %s root.ext4)
truncate -s $((bytes + (8 << 20))) pv.img
loop=$(losetup -f --show pv.img 2>/dev/null) || skip 'no loop devices here, for the root on LVM'
exit_commands+=("losetup -d $loop 2>/dev/null || :")
lvm2() { lvm "$1" --devices "$loop" --driverloaded n "${@:2}" 2>>lvm.log; }
make_group() {
    lvm2 pvcreate "$loop" && lvm2 vgcreate -s 1m vg "$loop" &&
        lvm2 lvcreate -an -Zn -Wn -n root -l $((bytes >> 20)) vg "$loop"
}
check "a volume group" make_group
begin=$(lvm2 pvs --noheadings --nosuffix --units b -o pe_start)
check "its extents are in a row" test "$(lvm2 lvs --noheadings -o seg_pe_ranges vg/root | tr -d ' ')" = "$loop:0-$(((bytes >> 20) - 1))"
check "the root in it" dd if=root.ext4 of="$loop" bs=1M seek="$((begin))" oflag=seek_bytes conv=sparse,fsync status=none
losetup -d "$loop"
rm root.ext4
check "a disk" make_disk pv.img disk.img core-lvm.img 8e
check "an OVA of it" make_ova disk.img lvm.ova
rm disk.img pv.img
edit lvm.ova
is "the root is a logical volume" "$(json "$mnt/info.json" '.guests[0].mounts["/"]')" vg-root
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" lvm.qcow2
[ -z "$all" ] || cp "$mnt/disks/disk0/disk.vhdx" lvm.vhdx
unmount
boots lvm-qcow2 qcow2 lvm.qcow2 virtio-scsi "$word"
check "its root is on LVM" says lvm-qcow2 "root on /dev/mapper/vg-root"
if [ -n "$all" ]; then
    boots lvm-vhdx vhdx lvm.vhdx nvme "$word"
    own=(lvm.ova.kept/*.qcow2)
    boots lvm-overlay qcow2 "${own[0]}" virtio-blk "$word"
fi
finish
