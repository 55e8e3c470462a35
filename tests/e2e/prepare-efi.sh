#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A Linux guest with an EFI system partition, to its plan and back: the loader that a new VM's firmware starts, a unified
# kernel image (put together by objcopy), GRUB's configuration as it is and as it will be made, and a /boot that can't be
# written. Nothing is booted: boot-prepare.sh and prepare-linux.sh do that.
. "$(dirname "$0")/lib.sh"
need mkfs.fat mcopy mmd mkfs.ext4 e2fsck fsck.vfat sfdisk cpio zstd jq cc objcopy
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
cd "$tmp" || exit 1
esp_mib=40 root_mib=24 version=6.1.0-test root_uuid=6f1c1f0e-93c5-4c52-8d0c-3f2f0e1d5a12

# make_image FILE MODULE...: dracut's, as far as prepare looks, with these modules.
make_image() {
    local at=image/usr/lib/modules/$version/kernel module
    rm -rf image
    mkdir -p image/usr/lib/dracut "$at"
    for module in "${@:2}"; do echo "$module" >"$at/$module.ko"; done
    (cd image && find . | cpio -o -H newc --quiet) | zstd -q >"$1"
}

# make_unified FILE IMAGE: a program of EFI's with IMAGE as its initramfs.
make_unified() {
    echo 'int entry(void) { return 0; }' >program.c
    cc -shared -nostdlib -fPIC -o program.so program.c &&
        objcopy -O efi-app-x86_64 -j .text -j .dynsym --add-section ".initrd=$2" --change-section-vma .initrd=0x3000000 \
            --set-section-flags .initrd=contents,alloc,load,readonly,data program.so "$1"
}

make_root() {
    local at=root/usr/lib/modules/$version module
    mkdir -p root/{boot/grub,boot/efi,etc/default/grub.d,etc/dracut.conf.d,usr/bin} "$at/kernel"
    ln -s usr/lib root/lib
    printf 'ID=debian\nPRETTY_NAME="Ferry Linux 2"\n' >root/etc/os-release
    printf 'UUID=%s / ext4 defaults 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n' $root_uuid >root/etc/fstab
    printf 'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=/dev/sda2"\nGRUB_CMDLINE_LINUX=""\n' >root/etc/default/grub
    printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX apparmor=0"\n' >root/etc/default/grub.d/50-local.cfg
    printf "menuentry 'x' {\n\tlinux /boot/vmlinuz root=/dev/sda2 ro quiet apparmor=0\n}\n" >root/boot/grub/grub.cfg
    echo 'omit_drivers+=" virtio_blk "' >root/etc/dracut.conf.d/small.conf
    printf 'kernel/%s.ko:\n' nvme virtio_pci virtio_blk virtio_scsi hv_vmbus hv_storvsc >"$at/modules.dep"
    for module in nvme virtio_pci virtio_blk virtio_scsi hv_vmbus hv_storvsc; do echo "$module" >"$at/kernel/$module.ko"; done
}

make_disk() {
    truncate -s ${esp_mib}M esp.img
    mkfs.fat -F 16 -i 1234ABCD -h 2048 esp.img
    mmd -i esp.img ::EFI ::EFI/debian ::EFI/Linux &&
        mcopy -i esp.img unified.efi ::EFI/Linux/test.efi &&
        mcopy -i esp.img shimx64.efi grubx64.efi mmx64.efi fbx64.efi grub.cfg ::EFI/debian &&
        truncate -s ${root_mib}M ext4.img && mkfs.ext4 -q -F -U $root_uuid -d root ext4.img &&
        truncate -s $((esp_mib + root_mib + 2))M disk.img && sfdisk -q disk.img <<T &&
label: gpt
start=2048, size=$((esp_mib * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$((2048 + esp_mib * 2048)), size=$((root_mib * 2048)), type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
T
        dd if=esp.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none &&
        dd if=ext4.img of=disk.img bs=1M seek=$((1 + esp_mib)) conv=notrunc,sparse status=none
}

plan() { cat "$mnt/prepare/kvm"; }
state() { (cd "$mnt/guest" && find boot etc ! -type d -exec sha256sum {} + && find boot etc -type d) | sort; }
tell() { echo "$1" >"$mnt/prepare/kvm"; }

# sound: what is in the overlay, by others' programs.
sound() {
    cp "$mnt/disks/disk0/disk.raw" now.img
    dd if=now.img of=now-esp.img bs=1M skip=1 count=$esp_mib status=none
    dd if=now.img of=now-root.img bs=1M skip=$((1 + esp_mib)) count=$root_mib status=none
    fsck.vfat -n now-esp.img && e2fsck -fn now-root.img
}

head -c 950000 /dev/urandom >shimx64.efi
head -c 2600000 /dev/urandom >grubx64.efi
head -c 850000 /dev/urandom >mmx64.efi
head -c 90000 /dev/urandom >fbx64.efi
printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' $root_uuid >grub.cfg
check "an initramfs" make_image narrow nvme
check "a unified image of it" make_unified unified.efi narrow
check "a file tree" make_root
check "a disk" make_disk
[ "$failed" = 0 ] || exit 1

# ---- a unified image without virtio, and nothing else ----
mount_ok disk.img -- -o format=raw,overlay=kept
is "the partition is a part of the tree" "$(sha "$mnt/guest/boot/efi/EFI/debian/shimx64.efi")" "$(sha shimx64.efi)"
first=$(state)
like "the plan says why not" "$(plan)" \
    '^BLOCKED: boot/efi/EFI/Linux/test.efi lacks virtio_pci virtio_blk virtio_scsi; .* unified kernel image, which is made as a whole'
like "and what to do" "$(plan)" 'dracut --force --regenerate-all --add-drivers "virtio_pci virtio_blk virtio_scsi"'
check_not "it isn't applied" tell apply
is "nothing has changed" "$(state)" "$first"
for target in hyperv azure-local; do
    like "$target: its own drivers are missing" "$(cat "$mnt/prepare/$target")" \
        '^BLOCKED: boot/efi/EFI/Linux/test.efi lacks hv_vmbus hv_storvsc; .* dracut --force --regenerate-all --add-drivers "hv_vmbus hv_storvsc"'
done
check "an initramfs for Hyper-V" make_image hyperv.img nvme hv_vmbus hv_storvsc
check "a unified image of it" make_unified hyperv.efi hyperv.img
check "the guest has made its image anew" cp hyperv.efi "$mnt/guest/boot/efi/EFI/Linux/test.efi"
for target in hyperv azure-local; do
    check_not "$target: nothing is in the way" grep -E 'BLOCKED|unified' "$mnt/prepare/$target"
    like "$target: a loader is planned" "$(cat "$mnt/prepare/$target")" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
done
like "for KVM it isn't one" "$(plan)" '^BLOCKED: boot/efi/EFI/Linux/test.efi lacks virtio_pci'

# ---- one with virtio: only the rest is to do ----
check "an initramfs with virtio" make_image wide nvme virtio_pci virtio_blk virtio_scsi
check "a unified image of it" make_unified wide.efi wide
check "the image is another one" cp wide.efi "$mnt/guest/boot/efi/EFI/Linux/test.efi"
text=$(plan)
check_not "nothing is in the way" grep -E 'BLOCKED|unified' <<<"$text"
like "the loader for a VM without boot entries is planned" "$text" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
like "a driver that dracut leaves out is told" "$text" '/etc/dracut.conf.d/small.conf leaves virtio_blk out'
before=$(state)
check "apply" tell apply
is "then there is nothing to do" "$(plan)" 'nothing to do'
boot=$mnt/guest/boot/efi/EFI/BOOT
is "what is there" "$(cd "$boot" && printf '%s ' *)" "BOOTX64.EFI grub.cfg grubx64.efi mmx64.efi "
check "shim" same shimx64.efi "$boot/BOOTX64.EFI"
check "what it starts" same grubx64.efi "$boot/grubx64.efi"
check "its key manager" same mmx64.efi "$boot/mmx64.efi"
check "GRUB's configuration" same grub.cfg "$boot/grub.cfg"
serial='console=tty0 console=ttyS0,115200n8'
is "the entry" "$(grep linux "$mnt/guest/boot/grub/grub.cfg")" \
    "$(printf '\tlinux /boot/vmlinuz root=UUID=%s ro quiet apparmor=0 %s' $root_uuid "$serial")"
# What grub-mkconfig would make an entry of: it sources the files in this order.
made() {
    # shellcheck disable=SC1090 # the guest's
    (cd "$mnt/guest/etc/default" && . ./grub && for f in grub.d/*.cfg; do . "./$f"; done && echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT")
}
is "one that is made anew says the same" "$(made)" " apparmor=0 $serial quiet resume=UUID=$root_uuid"
check "file systems are sound" sound
unmount

mount_ok disk.img -- -o format=raw,overlay=kept
check "undo, in another mount" tell undo
is "all is as it was" "$(state)" "$before"
check "file systems are sound" sound

# ---- a shim where a new VM's firmware looks for a loader, and nothing that it could start ----
# What a shim has in it: the paths that it knows.
{ head -c 4096 /dev/urandom && printf '%s' '\fbx64.efi' '\grubx64.efi' | iconv -t utf-16le; } >lone.efi
check "a shim alone" sh -c "mkdir '$boot' && cp lone.efi '$boot/BOOTX64.EFI'"
text=$(plan)
like "GRUB is planned" "$text" '^file boot/efi/EFI/BOOT/grubx64.efi '
like "with the shim that goes with it" "$text" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
check "apply" tell apply
check "shim" same shimx64.efi "$boot/BOOTX64.EFI"
check "what it starts" same grubx64.efi "$boot/grubx64.efi"
check "undo" tell undo
is "it is alone again" "$(cd "$boot" && echo *)" BOOTX64.EFI
check "as it was" same lone.efi "$boot/BOOTX64.EFI"
mv "$mnt/guest/boot/efi/EFI/debian/grubx64.efi" kept.grub
like "nothing that it could start" "$(plan)" '^BLOCKED: boot/efi/EFI/BOOT/BOOTX64.EFI, .* is a shim, and the grubx64.efi that it would start is nowhere; install the packages'
check_not "it isn't applied" tell apply
cp fbx64.efi "$boot/"
printf 'shimx64.efi,debian,,a boot entry\n' | iconv -t utf-16 >"$mnt/guest/boot/efi/EFI/debian/BOOTX64.CSV"
check_not "with the list of its own fallback it starts" grep -E 'BLOCKED|BOOTX64' <<<"$(plan)"
mv kept.grub "$mnt/guest/boot/efi/EFI/debian/grubx64.efi"
rm -r "$boot" "$mnt/guest/boot/efi/EFI/debian/BOOTX64.CSV"

# ---- /boot on a file system that isn't written ----
rm "$mnt/guest/boot/efi/EFI/Linux/test.efi"
echo 'UUID=0d6b9d2e-3f0e-4e0e-8d52-5a1f0f3c8a11 /boot xfs defaults 0 0' >>"$mnt/guest/etc/fstab"
is "a /boot of XFS" "$(plan)" "BLOCKED: /boot is a volume of xfs, and the initramfs in it can't be changed here; \
where the guest runs, run dracut --force --regenerate-all --add-drivers \"virtio_pci virtio_blk virtio_scsi\""
unmount
finish
