#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Linux guests of EFI machines, which another machine's firmware (OVMF, with no boot entries) has to start: one whose loader,
# GRUB, was only a boot entry in its machine's NVRAM, the same with a shim alone where the firmware looks, and one with
# systemd-boot and a unified kernel image. As they were, they
# don't start; after `echo apply >prepare/kvm` what is copied out boots on virtio, and after prepare/hyperv it still does on
# IDE, whose driver the guest has. The loaders are Debian's; the guest's own file tree and its initramfs are only busybox and
# the kernel's modules, laid out as initramfs-tools do.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need qemu-system-x86_64 qemu-img mkfs.fat mcopy mmd mkfs.ext4 sfdisk cpio zstd jq tar modprobe depmod busybox objcopy objdump \
    grub-mkimage fsck.vfat
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
firmware=/usr/share/OVMF/OVMF_CODE_4M.fd nvram=/usr/share/OVMF/OVMF_VARS_4M.fd
systemd=/usr/lib/systemd/boot/efi shim=/usr/lib/shim/shimx64.efi
for file in $shim $firmware $nvram $systemd/linuxx64.efi.stub $systemd/systemd-bootx64.efi /usr/lib/grub/x86_64-efi/linux.mod; do
    [ -r "$file" ] || skip "$file is not there"
done
# shellcheck source=tests/e2e/kernel.bash
. "$(dirname "$0")/kernel.bash"
wanted=(virtio_pci virtio_blk virtio_scsi)
own=(ata_piix sd_mod crc32c_generic ext4) # of the machine that it comes from, and for its file system
needed_for "${wanted[@]}" | grep -q ^builtin &&
    skip "the kernel $version has virtio built in"
word=word-$RANDOM$RANDOM
esp_mib=48 root_mib=64
boot_seconds=150
cd "$tmp" || exit 1

# make_initramfs FILE MODULE...: loads what conf/modules lists, waits for the root by its UUID, and runs its script.
make_initramfs() {
    rm -rf image
    mkdir -p image/{bin,conf,scripts,dev,proc,sys,root,run}
    install_busybox image sh && install_modules image "${@:2}" && printf '%s\n' "${@:2}" >image/conf/modules
    : >image/conf/initramfs.conf
    cat >image/init <<'T'
#!/bin/sh
for name in cat mount modprobe findfs poweroff sleep sync; do /bin/busybox ln -s busybox /bin/$name; done
export PATH=/bin
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
exec >/dev/ttyS0 2>&1
modprobe -a $(cat /conf/modules)
for word in $(cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=0
case $root in
UUID=*) until device=$(findfs "$root" 2>/dev/null); do [ $((tries += 1)) -lt 60 ] || break; sleep 0.1; done ;;
*) until [ -b "$root" ] && device=$root; do [ $((tries += 1)) -lt 60 ] || break; sleep 0.1; done ;;
esac
if mount -t ext4 -o ro "$device" /root; then . /root/etc/word.sh; else echo "guest: no root at $root"; fi
poweroff -f
T
    chmod +x image/init
    (cd image && find . | cpio -o -H newc --quiet) | zstd -q -1 -f -o "$1"
}

make_tree() {
    mkdir -p root/{boot/efi,etc/initramfs-tools,usr/bin,root}
    install_modules root "${wanted[@]}" "${own[@]}" hv_vmbus hv_storvsc
    printf 'UUID=%s / ext4 errors=remount-ro 0 1\nUUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n' "$debian_uuid" >root/etc/fstab
    printf 'ID=debian\nPRETTY_NAME="Ferry Linux 3"\n' >root/etc/os-release
    printf '%s\n' "${own[@]}" >root/etc/initramfs-tools/modules
    # shellcheck disable=SC2016 # for the guest
    printf 'echo; echo "guest: %s"; echo "guest: root on $device"; sync\n' "$word" >root/etc/word.sh
}

# Where QEMU waits for a processor, timer interrupts come late, and the kernel takes the timer for a broken one.
arguments="root=UUID=$debian_uuid ro quiet console=ttyS0 panic=-1 no_timer_check"

# GRUB as Debian's signed one is: its prefix is in the system partition, and the configuration there leads to /boot's.
make_grub() {
    grub-mkimage -O x86_64-efi -o grubx64.efi -p /EFI/debian part_gpt fat ext2 normal configfile linux search search_fs_uuid echo &&
        printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' "$debian_uuid" >stub.cfg
    mkdir -p root/boot/grub
    cat >root/boot/grub/grub.cfg <<T
set timeout=0
menuentry 'Ferry Linux' {
  linux /boot/vmlinuz-$version $arguments
  initrd /boot/initrd.img-$version
}
T
    cp "$kernel" "root/boot/vmlinuz-$version" && cp narrow "root/boot/initrd.img-$version"
}

# make_unified FILE IMAGE: as systemd-stub(7) has it.
make_unified() {
    local vma=0x30000 name files=(root/etc/os-release cmdline "$kernel" "$2") options=() i=0
    echo "$arguments" >cmdline
    for name in .osrel:0x20000 .cmdline:0x30000 .linux:0x2000000 .initrd:0x3000000; do
        vma=$(($(objdump -h "$systemd/linuxx64.efi.stub" | awk '$1 ~ /^[0-9]+$/ { print "0x" $4 }' | sort | tail -n 1) + ${name#*:}))
        options+=(--add-section "${name%:*}=${files[i++]}" --change-section-vma "${name%:*}=$(printf %#x "$vma")")
    done
    objcopy "${options[@]}" "$systemd/linuxx64.efi.stub" "$1"
}

# make_efi_disk FILE: the partitions esp.img and ext4.img.
make_efi_disk() {
    truncate -s $((esp_mib + root_mib + 2))M "$1"
    sfdisk -q "$1" <<T
label: gpt
start=2048, size=$((esp_mib * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start=$((2048 + esp_mib * 2048)), size=$((root_mib * 2048)), type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
T
    dd if=esp.img of="$1" bs=1M seek=1 conv=notrunc,sparse status=none &&
        dd if=ext4.img of="$1" bs=1M seek=$((1 + esp_mib)) conv=notrunc,sparse status=none
}

make_esp() {
    rm -f esp.img
    truncate -s ${esp_mib}M esp.img
    mkfs.fat -F 16 -i 1234ABCD -h 2048 esp.img && mmd -i esp.img ::EFI
}

make_ext4() {
    rm -f ext4.img
    truncate -s ${root_mib}M ext4.img && mkfs.ext4 -q -F -U "$debian_uuid" -d root ext4.img
}

make_grub_guest() {
    make_esp && mmd -i esp.img ::EFI/debian && mcopy -i esp.img grubx64.efi ::EFI/debian &&
        mcopy -i esp.img stub.cfg ::EFI/debian/grub.cfg && make_ext4 && make_efi_disk grub.img && make_ova grub.img grub.ova
}

make_shim_guest() {
    make_esp && mmd -i esp.img ::EFI/debian ::EFI/BOOT && mcopy -i esp.img grubx64.efi ::EFI/debian &&
        mcopy -i esp.img $shim ::EFI/debian/shimx64.efi && mcopy -i esp.img $shim ::EFI/BOOT/BOOTX64.EFI &&
        mcopy -i esp.img stub.cfg ::EFI/debian/grub.cfg && make_efi_disk shim.img && make_ova shim.img shim.ova
}

make_unified_guest() {
    rm -r root/boot/grub root/boot/vmlinuz-* root/boot/initrd.img-*
    make_esp && mmd -i esp.img ::EFI/systemd ::EFI/Linux ::loader && mcopy -i esp.img $systemd/systemd-bootx64.efi ::EFI/systemd &&
        mcopy -i esp.img narrow.efi ::EFI/Linux/ferry.efi && make_ext4 && make_efi_disk unified.img && make_ova unified.img unified.ova
}

# boot_efi NAME FORMAT FILE virtio-blk|virtio-scsi|ide: until the guest turns itself off, or the firmware finds nothing to
# start. Nothing is kept of what the firmware writes.
boot_efi() {
    local device machine=q35 pid deadline=$((SECONDS + boot_seconds))
    case $4 in
    virtio-blk) device=(-device 'virtio-blk-pci,drive=disk') ;;
    virtio-scsi) device=(-device virtio-scsi-pci -device 'scsi-hd,drive=disk') ;;
    ide) machine=pc device=(-device 'ide-hd,drive=disk') ;;
    esac
    qemu-system-x86_64 -accel tcg -machine $machine -cpu max -m 512 -nodefaults -display none -no-reboot -nic none \
        -drive "if=pflash,format=raw,readonly=on,file=$firmware" -drive "if=pflash,format=raw,snapshot=on,file=$nvram" \
        -serial "file:$tmp/$1.console" -drive "if=none,id=disk,format=$2,file=$3,snapshot=on" "${device[@]}" \
        >"$tmp/$1.qemu" 2>&1 </dev/null &
    pid=$!
    while is_running $pid; do
        if [ $SECONDS -ge $deadline ] || finds_nothing "$1"; then kill $pid 2>/dev/null; fi
        sleep 0.2
    done
    wait $pid
}

# finds_nothing NAME: the firmware is at its wits' end.
finds_nothing() { grep -qaE 'No bootable option or device was found|Shell> ' "$tmp/$1.console" 2>/dev/null; }

efi_meanwhile() { # efi_meanwhile NAME FORMAT FILE CONTROLLER, until booted NAME WORD, or not_started NAME
    { boot_efi "$@"; echo $? >"$tmp/$1.status"; } &
    booting[$1]=$!
}

not_started() { # not_started NAME
    wait "${booting[$1]}"
    check "$1: the firmware finds nothing to start" finds_nothing "$1"
    check_not "$1: and the guest says nothing" says "$1" "$word"
}

sound() { # sound: the system partition, by another's program
    dd if="$mnt/disks/disk0/disk.raw" of=now.img bs=1M skip=1 count=$esp_mib status=none && fsck.vfat -n now.img
}

check "an initramfs without virtio" make_initramfs narrow "${own[@]}"
check "a file tree" make_tree
check "GRUB and its configuration" make_grub
check "a guest with GRUB" make_grub_guest
check "a guest with a shim alone" make_shim_guest
check "a unified image" make_unified narrow.efi narrow
check "a guest with it" make_unified_guest
[ "$failed" = 0 ] || exit 1
sums=$(sha256sum ./*.ova)

# ---- GRUB, known to its machine's NVRAM alone ----
efi_meanwhile grub-before raw grub.img ide
mount_ok grub.ova -- -o overlay=kept
plan=$(cat "$mnt/prepare/kvm")
like "the loader is planned" "$plan" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
like "and its configuration" "$plan" '^file boot/efi/EFI/BOOT/grub.cfg '
like "and the initramfs" "$plan" "^file boot/initrd.img-$version .*by virtio_pci virtio_blk virtio_scsi"
check "apply" sh -c "echo apply >'$mnt/prepare/kvm'"
is "then there is nothing to do" "$(cat "$mnt/prepare/kvm")" 'nothing to do'
check "the system partition is sound" sound
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" grub.qcow2
efi_meanwhile grub-virtio qcow2 grub.qcow2 virtio-blk
check "undo" sh -c "echo undo >'$mnt/prepare/kvm'"
check_not "no loader is left" test -e "$mnt/guest/boot/efi/EFI/BOOT"
like "the plan for Hyper-V has the loader" "$(cat "$mnt/prepare/hyperv")" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
like "and its own drivers" "$(cat "$mnt/prepare/hyperv")" "^file boot/initrd.img-$version .*by hv_vmbus hv_storvsc"
check "apply" sh -c "echo apply >'$mnt/prepare/hyperv'"
is "then there is nothing to do" "$(cat "$mnt/prepare/hyperv")" 'nothing to do'
check "disk.vhdx is copied out" cp "$mnt/disks/disk0/disk.vhdx" grub.vhdx
unmount
not_started grub-before
efi_meanwhile grub-hyperv vhdx grub.vhdx ide

# ---- a shim that the firmware starts, and GRUB elsewhere ----
efi_meanwhile shim-before raw shim.img ide
mount_ok shim.ova -- -o overlay=kept-shim
plan=$(cat "$mnt/prepare/kvm")
like "GRUB is planned" "$plan" '^file boot/efi/EFI/BOOT/grubx64.efi '
check_not "the shim is the same" grep -q BOOTX64 <<<"$plan"
check "apply" sh -c "echo apply >'$mnt/prepare/kvm'"
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" shim.qcow2
unmount
not_started shim-before
efi_meanwhile shim-virtio qcow2 shim.qcow2 virtio-blk

# ---- systemd-boot, and a unified image: it is told, not changed; made anew where the guest runs, it is what boots ----
efi_meanwhile unified-before raw unified.img virtio-scsi
mount_ok unified.ova -- -o overlay=kept-unified
plan=$(cat "$mnt/prepare/kvm")
like "the plan says why not" "$plan" '^BLOCKED: boot/efi/EFI/Linux/ferry.efi lacks virtio_pci virtio_blk virtio_scsi; .* made as a whole; '
like "and what to do" "$plan" 'add virtio_pci virtio_blk virtio_scsi to /etc/initramfs-tools/modules and run update-initramfs -u -k all'
check_not "it isn't applied" sh -c "echo apply >'$mnt/prepare/kvm'"
is "the image is as it was" "$(sha "$mnt/guest/boot/efi/EFI/Linux/ferry.efi")" "$(sha narrow.efi)"
check "an initramfs with virtio" make_initramfs wide "${own[@]}" "${wanted[@]}"
check "a unified image of it" make_unified wide.efi wide
check "the guest has made its image anew" cp wide.efi "$mnt/guest/boot/efi/EFI/Linux/ferry.efi"
plan=$(cat "$mnt/prepare/kvm")
check_not "nothing is in the way" grep -q BLOCKED <<<"$plan"
like "the loader is planned" "$plan" '^file boot/efi/EFI/BOOT/BOOTX64.EFI '
check "apply" sh -c "echo apply >'$mnt/prepare/kvm'"
is "then there is nothing to do" "$(cat "$mnt/prepare/kvm")" 'nothing to do'
check "the system partition is sound" sound
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" unified.qcow2
efi_meanwhile unified qcow2 unified.qcow2 virtio-scsi
unmount
not_started unified-before
booted grub-virtio "$word"
check "its root" says grub-virtio "root on /dev/vda2"
booted shim-virtio "$word"
booted grub-hyperv "$word"
check "its root" says grub-hyperv "root on /dev/sda2"
booted unified "$word"
check "its root" says unified "root on /dev/sda2"
is "the OVAs are as they were" "$(sha256sum ./*.ova)" "$sums"
finish
