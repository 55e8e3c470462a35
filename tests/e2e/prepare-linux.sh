#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A Debian whose initramfs was made for another controller (NVMe: no virtio, no Hyper-V) doesn't find its root on virtio.
# After `echo apply >prepare/kvm` it does, with initramfs-tools and with dracut, whose images are their own programs' work,
# and comes to its login prompt on a serial console, which the second one had no kernel argument for before.
# Its fstab and GRUB have /dev/sda1, which is what no disk is called there. Hyper-V's controller isn't in QEMU: what is put
# into the images for it is looked at by cpio.
# FERRYFS_BOOT_ALL=1 boots it with the image packed by each compressor, too.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need cpio zstd
need_debian
need_mac=00:50:56:ab:cd:01
initrd=/boot/initrd.img-$kernel_version
version_pattern=${kernel_version//+/\\+}
word=word-$RANDOM$RANDOM
cd "$tmp" || exit 1

# make_guest NAME [CONSOLE]: NAME.ova, whose initramfs is the file narrow. CONSOLE: what its boot loader has instead of the
# serial console.
make_guest() {
    local console=${2-console=ttyS0}
    cp --sparse=always "$debian/root.ext4" root.ext4
    echo '/dev/sda1 / ext4 errors=remount-ro 0 1' >fstab
    debugfs -R 'cat /boot/grub/grub.cfg' root.ext4 2>/dev/null |
        sed "s,root=UUID=[^ ]*,root=/dev/sda1,; s,console=ttyS0,$console,
            s,panic=-1,panic=-1 rootdelay=5 rd.shell=0 rd.retry=5 rd.emergency=reboot," >grub.cfg
    printf 'GRUB_CMDLINE_LINUX_DEFAULT="%s"\nGRUB_CMDLINE_LINUX=""\n' "$console" >default-grub
    printf '# VMware\nauto ens192\niface ens192 inet static\n    address 192.0.2.7/24\n' >interfaces
    printf '[Unit]\nDescription=x\n[Service]\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n' >vmtoolsd.service
    check "$1: grub.cfg has the device" grep -q 'root=/dev/sda1 .*rootdelay' grub.cfg
    check "$1: its initramfs" put_in root.ext4 narrow "$initrd"
    check "$1: its fstab" put_in root.ext4 fstab /etc/fstab
    check "$1: its grub.cfg" put_in root.ext4 grub.cfg /boot/grub/grub.cfg
    check "$1: its defaults" put_in root.ext4 default-grub /etc/default/grub
    debugfs -w -R 'mkdir /etc/network' root.ext4 >>debugfs.log 2>&1
    put_in root.ext4 interfaces /etc/network/interfaces
    put_in root.ext4 vmtoolsd.service /lib/systemd/system/vmtoolsd.service
    check "$1: a disk" make_disk root.ext4 disk.img core.img 83
    check "$1: an OVA" make_ova disk.img "$1.ova" "$need_mac"
    rm disk.img root.ext4
}

plan() { cat "$mnt/prepare/$1"; }
# What prepare may change, and its neighbours.
state() { (cd "$mnt/guest" && find boot etc -type f -exec sha256sum {} + && find boot etc -type l -printf '%p %l\n') | sort; }

# hyperv NAME BYTES: what is behind an image of so many bytes is a plain archive with Hyper-V's modules.
hyperv_archive() {
    local list
    list=$(tail -c +$((($2 + 3) / 4 * 4 + 1)) "$mnt/guest$initrd" | cpio -it --quiet)
    for module in hv_vmbus hv_storvsc; do
        like "$1: $module is in it" "$list" "^usr/lib/modules/$version_pattern/kernel/.*/$module\\.ko"
    done
    like "$1: and the index" "$list" "^usr/lib/modules/$version_pattern/modules.dep.bin$"
    check_not "$1: no directory in the place of a link" grep -qx lib <<<"$list"
}

# prepared NAME FORMAT CONTROLLER: plan, apply, copy, boot; then undo.
prepared() {
    local before size text
    mount_ok "$1.ova" -- -o "overlay=$1.kept"
    check "$1: a word" word_unit "$mnt/guest" "$word" stay
    before=$(state)
    size=$(stat -c %s "$mnt/guest$initrd")
    text=$(plan kvm)
    like "$1: the plan has the initramfs" "$text" "initrd.img-$version_pattern.*virtio_"
    like "$1: and fstab" "$text" 'etc/fstab'
    like "$1: and GRUB" "$text" 'boot/grub/grub.cfg'
    like "$1: and the adapter" "$text" '10-ferryfs-ens192.link'
    like "$1: and the tools" "$text" 'vmtoolsd.service'
    is "$1: a plan changes nothing" "$(state)" "$before"

    [ -z "${look_before-}" ] || check "$1: as it was, copied" cp "$mnt/disks/disk0/disk.qcow2" "$1-before.qcow2"
    check "$1: Hyper-V" sh -c "echo apply >'$mnt/prepare/hyperv'"
    hyperv_archive "$1" "$size"
    check "$1: undone" sh -c "echo undo >'$mnt/prepare/hyperv'"
    is "$1: all is as it was" "$(state)" "$before"

    check "$1: apply" sh -c "echo apply >'$mnt/prepare/kvm'"
    is "$1: then there is nothing to do" "$(plan kvm)" 'nothing to do'
    like "$1: fstab" "$(cat "$mnt/guest/etc/fstab")" "^UUID=$debian_uuid / ext4 errors=remount-ro 0 1$"
    like "$1: grub.cfg" "$(cat "$mnt/guest/boot/grub/grub.cfg")" "linux.* root=UUID=$debian_uuid ro .*console=ttyS0"
    like "$1: GRUB's defaults" "$(cat "$mnt/guest/etc/default/grub")" 'console=ttyS0'
    like "$1: the adapter's name" "$(tr '\n' ' ' <"$mnt/guest/etc/systemd/network/10-ferryfs-ens192.link")" \
        "^\[Match\] MACAddress=$need_mac Path=\*pci-\* +\[Link\] Name=ens192"
    is "$1: the tools are masked" "$(readlink "$mnt/guest/etc/systemd/system/vmtoolsd.service" | sed 's,.*/,,')" null
    is "$1: the file that was there is a part" "$(head -c "$size" "$mnt/guest$initrd" | sha)" "$(sha narrow)"
    check "$1: copied out" cp "$mnt/disks/disk0/disk.qcow2" "$1.qcow2"
    unmount
    if [ -n "${look_before-}" ]; then
        boot "$1-before" qcow2 "$1-before.qcow2" "$2"
        check_not "$1: before, it didn't boot" says "$1-before" "$word"
        check "$1: for want of its root" grep -qE '/dev/sda1 does not exist' "$1-before.console"
        rm "$1-before.qcow2"
    fi
    logs_in "$1" qcow2 "$1.qcow2" "$2" "$word"
    check "$1: its root" says "$1" "root on $3"
    rm "$1.qcow2"

    mount_ok "$1.ova" -- -o "overlay=$1.kept"
    check "$1: undo, in another mount" sh -c "echo undo >'$mnt/prepare/kvm'"
    is "$1: all is as it was" "$(state)" "$before"
    is "$1: the plan too" "$(plan kvm)" "$text"
    unmount
    rm -r "$1.ova" "$1.kept"
}

check "the initramfs of initramfs-tools" take_from "$debian/root.ext4" /boot/narrow-initramfs-tools narrow
check_not "it has no virtio" sh -c 'zstd -dc narrow 2>/dev/null | cpio -it --quiet | grep -E "virtio_(blk|scsi|pci)\.ko"'
make_guest tools
look_before=yes prepared tools virtio-scsi /dev/sda1

check "the initramfs of dracut" take_from "$debian/root.ext4" /boot/narrow-dracut narrow
make_guest dracut quiet
prepared dracut virtio-blk /dev/vda1

if [ -n "${FERRYFS_BOOT_ALL-}" ]; then
    need lz4 xz gzip
    check "once more" take_from "$debian/root.ext4" /boot/narrow-initramfs-tools narrow
    zstd -qdf narrow -o plain
    for packer in "gzip -c" "xz -c --check=crc32" "lz4 -lc" "cat"; do
        $packer plain >narrow
        make_guest "${packer%% *}"
        prepared "${packer%% *}" virtio-scsi /dev/sda1
    done
fi
finish
