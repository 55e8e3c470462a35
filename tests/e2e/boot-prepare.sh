#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A small Linux, installed as if for another controller: its initramfs, which this machine's own initramfs-tools make with
# udev, kmod and busybox in it, has no virtio, and its boot loader and fstab name /dev/sda2. It doesn't find its root on
# virtio. After `echo apply >prepare/kvm`, what is copied out boots on each controller, and runs the script that was put in
# through guest/; also where the root's modules are packed and those of the initramfs aren't. What isn't a distribution's:
# its own file tree is only busybox and the kernel's modules. The same with a whole Debian, its systemd and GRUB:
# prepare-linux.sh and debian.sh.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need qemu-system-x86_64 qemu-img syslinux mkfs.fat mcopy mkfs.ext4 sfdisk cpio zstd xz jq tar modprobe depmod busybox mkinitramfs unshare
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
mbr=/usr/lib/syslinux/mbr/mbr.bin
[ -r "$mbr" ] || skip "$mbr is not there"
# shellcheck source=tests/e2e/kernel.bash
. "$(dirname "$0")/kernel.bash"
wanted=(virtio_pci virtio_blk virtio_scsi)
needed_for "${wanted[@]}" | grep -q ^builtin &&
    skip "the kernel $version has virtio built in"
word=word-$RANDOM$RANDOM
initrd=boot/initrd.img-$version
fat_mib=64 root_mib=48
boot_seconds=240
cd "$tmp" || exit 1

# In a mount namespace: the kernel is where an installed one is, and initramfs-tools have no hooks or scripts but their own
# and those of the programs that are in every Debian's image. A machine with lvm2 or mdadm makes the same image.
as_installed() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(-r)
    mkdir -p tools
    dpkg -L initramfs-tools-core udev kmod busybox klibc-utils 2>/dev/null | grep ^/usr/share/initramfs-tools/. >files
    while read -r file; do
        if [ -d "$file" ]; then mkdir -p "tools/${file#/usr/share/initramfs-tools/}"; else cp "$file" "tools/${file#/usr/share/initramfs-tools/}"; fi
    done <files
    # shellcheck disable=SC2016 # for the inner shell
    unshare -m ${as_root[@]+"${as_root[@]}"} sh -ec '
        mount --bind "$1/tools" /usr/share/initramfs-tools
        [ -z "$2" ] || mount --bind "$2/boot" /boot
        [ -z "$2" ] || mount -t overlay -o "lowerdir=$2/lib:/usr/lib" overlay /usr/lib
        shift 2
        exec "$@"' sh "$tmp" "$modules_root" "$@"
}

make_initramfs() {
    mkdir -p conf/conf.d conf/scripts conf/hooks
    sed 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=zstd/' /etc/initramfs-tools/initramfs.conf >conf/initramfs.conf
    echo RESUME=none >conf/conf.d/resume
    printf "%s\n" nvme sd_mod ext4 >conf/modules
    TMPDIR=$tmp as_installed mkinitramfs -d "$tmp/conf" -o "$tmp/narrow" "$version"
}

make_tree() { # make_tree ROOT
    local library
    mkdir -p "$1"/usr/{bin,sbin,lib,lib64} "$1"/{boot,dev,etc/init.d,etc/rc.d,etc/initramfs-tools,proc,root,run,sys,tmp}
    for library in bin sbin lib lib64; do ln -s "usr/$library" "$1/$library"; done
    install_busybox "$1" sh mount sync poweroff init
    ln -s ../bin/busybox "$1/sbin/init"
    printf '/dev/sda2 / ext4 errors=remount-ro 0 1\n/dev/sda1 /boot vfat defaults 0 2\n' >"$1/etc/fstab"
    printf 'ID=ferry\nNAME="Ferry Linux"\nPRETTY_NAME="Ferry Linux 1"\n' >"$1/etc/os-release"
    printf '# as MODULES=list had them\nnvme\n' >"$1/etc/initramfs-tools/modules"
    printf '::sysinit:/etc/init.d/rcS\n' >"$1/etc/inittab"
    printf '#!/bin/sh\nfor script in /etc/rc.d/*.sh; do [ ! -e "$script" ] || . "$script"; done\npoweroff -f\n' >"$1/etc/init.d/rcS"
    chmod +x "$1/etc/init.d/rcS"
    install_modules "$1" "${wanted[@]}" sd_mod nvme ext4 crc32c_generic hv_vmbus hv_storvsc
}

# The script that prints the word.
word_script() {
    cat >"$1" <<T
exec >/dev/ttyS0
echo
echo "guest: $word"
while read -r device at rest; do [ "\$at" != / ] || echo "guest: root on \$device"; done </proc/mounts
sync
T
}

make_boot_partition() {
    truncate -s ${fat_mib}M fat.img
    mkfs.fat -F 32 -h 2048 fat.img
    cat >syslinux.cfg <<T
SERIAL 0 115200
DEFAULT linux
LABEL linux
    KERNEL vmlinuz-$version
    INITRD initrd.img-$version
    APPEND root=/dev/sda2 ro console=ttyS0 panic=-1
T
    mcopy -i fat.img "$kernel" "::vmlinuz-$version" && mcopy -i fat.img narrow "::initrd.img-$version" &&
        mcopy -i fat.img syslinux.cfg :: && syslinux --install fat.img
}

make_small_disk() {
    truncate -s ${root_mib}M ext4.img
    mkfs.ext4 -q -F -d root ext4.img
    truncate -s $((fat_mib + root_mib + 2))M disk.img
    sfdisk -q disk.img <<T
label: dos
start=2048, size=$((fat_mib * 2048)), type=c, bootable
start=$((2048 + fat_mib * 2048)), size=$((root_mib * 2048)), type=83
T
    dd if="$mbr" of=disk.img bs=440 count=1 conv=notrunc status=none &&
        dd if=fat.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none &&
        dd if=ext4.img of=disk.img bs=1M seek=$((1 + fat_mib)) conv=notrunc,sparse status=none
}

count_modules() { (zstd -dc "$1" 2>/dev/null || cat "$1") | cpio -it --quiet 2>/dev/null | grep -c "/$2\\.ko"; }

as_installed true 2>namespace.err || skip "mkinitramfs needs a mount namespace and overlayfs here: $(head -n 1 namespace.err)"
check "an initramfs" make_initramfs
is "it has a driver of disks" "$(count_modules narrow sd_mod)" 1
is "and no virtio" "$(count_modules narrow 'virtio_\(pci\|blk\|scsi\)')" 0
check "a file tree" make_tree root
check "a FAT partition that boots" make_boot_partition
check "a disk of both" make_small_disk
check "an OVA of it" make_ova disk.img guest.ova
[ "$failed" = 0 ] || exit 1
rm disk.img fat.img ext4.img
before=$(sha guest.ova)

mount_ok guest.ova -- -o overlay=kept
is "it is a Linux" "$(json "$mnt/info.json" '.guests[0] | .os + " " + .name')" "linux Ferry Linux 1"
check "a script, through guest/" word_script "$mnt/guest/etc/rc.d/word.sh"
check "as it was, copied out" cp "$mnt/disks/disk0/disk.qcow2" before.qcow2
boot_meanwhile before qcow2 before.qcow2 virtio-scsi
size=$(stat -c %s "$mnt/guest/$initrd")
plan=$(cat "$mnt/prepare/kvm")
like "the plan has the initramfs" "$plan" "^file $initrd .*by virtio_pci virtio_blk virtio_scsi"
like "and fstab" "$plan" '^file etc/fstab '
like "and the boot loader" "$plan" '^file boot/syslinux.cfg '
check "apply" sh -c "echo apply >'$mnt/prepare/kvm'"
is "then there is nothing to do" "$(cat "$mnt/prepare/kvm")" 'nothing to do'
like "the boot loader names the root's UUID" "$(cat "$mnt/guest/boot/syslinux.cfg")" 'APPEND root=UUID=[-0-9a-f]{36} ro console=ttyS0'
is "the image that was there is a part" "$(head -c "$size" "$mnt/guest/$initrd" | sha)" "$(sha narrow)"
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" after.qcow2

# ---- a root whose modules are packed, as Debian 13 has them; its initramfs has them unpacked, as that makes it ----
pack_modules() {
    local at=$mnt/guest/lib/modules/$version
    cp -r root packed
    find packed/lib/modules/ -name '*.ko' -exec xz --check=crc32 {} + && depmod -b packed "$version" &&
        rm -r "$at" && cp -r "packed/lib/modules/$version" "$at"
}
check "undo" sh -c "echo undo >'$mnt/prepare/kvm'"
is "the image is as it was" "$(sha "$mnt/guest/$initrd")" "$(sha narrow)"
check "the root's modules, packed" pack_modules
like "its index names them so" "$(cat "$mnt/guest/lib/modules/$version/modules.dep")" '/virtio_blk\.ko\.xz:'
check "apply" sh -c "echo apply >'$mnt/prepare/kvm'"
is "then there is nothing to do" "$(cat "$mnt/prepare/kvm")" 'nothing to do'
check "disk.vhdx is copied out" cp "$mnt/disks/disk0/disk.vhdx" after.vhdx
unmount
wait "${booting[before]}"
check_not "as it was, it doesn't boot" says before "$word"
check "for want of its root" grep -q 'ALERT!  */dev/sda2 does not exist' before.console
boots qcow2 qcow2 after.qcow2 virtio-blk "$word"
check "its root is where no one named it" says qcow2 "root on /dev/vda2"
# The driver of SCSI's disks is one that the image had, under another name than the index has now.
boots vhdx vhdx after.vhdx virtio-scsi "$word"
check "its root is where it was named" says vhdx "root on /dev/sda2"
is "the OVA is as it was" "$(sha guest.ova)" "$before"
finish
