#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A converted view that boots is the best test of all: a small machine (SYSLINUX in an MBR and a FAT partition, Debian's or
# this machine's kernel, an ext4 partition) becomes an OVA with a streamOptimized disk, gets a file through guest/, and boots
# in QEMU from a view and from a copy. The guest prints what it reads from the disk (tests/tools/guest-init.c), which must
# be what was put there.
. "$(dirname "$0")/lib.sh"
need qemu-system-x86_64 qemu-img syslinux mkfs.fat mcopy mkfs.ext4 sfdisk cpio cc jq tar modprobe
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
mbr=/usr/lib/syslinux/mbr/mbr.bin
[ -r "$mbr" ] || skip "$mbr is not there"
# shellcheck source=tests/e2e/kernel.bash
. "$(dirname "$0")/kernel.bash"
modules=(virtio_pci virtio_blk crc32c_generic ext4)

cd "$tmp" || exit 1
first_sector=2048 second_sector=$((2048 + 48 * 2048)) # FAT of 48 MiB, ext4 of 40 MiB
disk_mib=90

# Copies the modules that aren't part of the kernel, and all that they need, as modules/NN-NAME.ko in the order of loading.
copy_modules() {
    local path n=10 name
    modules_of "${modules[@]}" >modules.list
    while read -r path; do
        name=${path##*/}
        name=initramfs/modules/$n-${name%%.*}.ko
        case $path in
        *.zst) zstd -qdc "$path" >"$name" ;;
        *.xz) xz -dc "$path" >"$name" ;;
        *.gz) gzip -dc "$path" >"$name" ;;
        *) cp "$path" "$name" ;;
        esac || return
        n=$((n + 1))
    done <modules.list
}

make_initramfs() {
    mkdir -p initramfs/modules initramfs/dev
    cc -O2 -static -o initramfs/init "$top/tests/tools/guest-init.c" -lnettle && copy_modules &&
        (cd initramfs && find . | cpio -o -H newc --quiet) >initrd
}

make_boot_partition() {
    truncate -s 48M fat.img
    mkfs.fat -F 16 -h $first_sector fat.img
    cat >syslinux.cfg <<'T'
SERIAL 0 115200
DEFAULT linux
LABEL linux
    KERNEL vmlinuz
    INITRD initrd
    APPEND console=ttyS0 loglevel=4 panic=-1
T
    mcopy -i fat.img "$kernel" ::vmlinuz && mcopy -i fat.img initrd syslinux.cfg :: && syslinux --install fat.img
}

make_data_partition() {
    mkdir -p data/etc data/usr
    echo 'PRETTY_NAME="Ferry Linux 1"' >data/etc/os-release
    echo '/dev/sda2 / ext4 defaults 0 1' >data/etc/fstab
    echo "a view that boots, $RANDOM" >data/marker
    head -c 6M /dev/urandom >data/blob
    truncate -s 40M ext4.img
    mkfs.ext4 -q -F -d data ext4.img
}

make_disk() {
    truncate -s ${disk_mib}M disk.img
    sfdisk -q disk.img <<T
label: dos
start=$first_sector, size=$((48 * 2048)), type=e, bootable
start=$second_sector, size=$((40 * 2048)), type=83
T
    dd if="$mbr" of=disk.img bs=440 count=1 conv=notrunc status=none &&
        dd if=fat.img of=disk.img bs=1M seek=$((first_sector / 2048)) conv=notrunc,sparse status=none &&
        dd if=ext4.img of=disk.img bs=1M seek=$((second_sector / 2048)) conv=notrunc,sparse status=none
}

make_ova() {
    cat >guest.ovf <<T
<?xml version='1.0' encoding='UTF-8'?>
<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'
  xmlns:rasd='http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData'>
<References><File ovf:id='file1' ovf:href='guest-disk1.vmdk'/></References>
<DiskSection><Info>disks</Info><Disk ovf:diskId='disk1' ovf:fileRef='file1' ovf:capacity='$disk_mib'
  ovf:capacityAllocationUnits='byte * 2^20'/></DiskSection>
<VirtualSystem ovf:id='guest'><Info>a machine</Info><Name>guest</Name><VirtualHardwareSection><Info>hardware</Info>
<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
  <rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>
T
    qemu-img convert -O vmdk -o subformat=streamOptimized disk.img guest-disk1.vmdk &&
        tar --format=ustar -cf guest.ova guest.ovf guest-disk1.vmdk && rm guest-disk1.vmdk
}

# boot FORMAT FILE: what the guest must say, booted from FILE. QEMU's own writes go to a file that it unlinks (snapshot=on).
boot() {
    local console=console.$1 line
    timeout 120 qemu-system-x86_64 -accel tcg -cpu max -m 512 -nodefaults -display none -no-reboot -nic none \
        -serial "file:$console" -drive "if=none,id=disk,format=$1,file=$2,snapshot=on" \
        -device virtio-blk-pci,drive=disk >qemu.out 2>&1 </dev/null
    is "$1: QEMU ends when the guest turns itself off" $? 0
    for line in "marker $marker" "word $word" "blob $(sha data/blob)" "disk $disk_sha" "done"; do
        tr -d '\r' <"$console" | grep -qxF "guest: $line" && { pass; continue; }
        cat qemu.out "$console" >boot.out
        tail -n 20 boot.out >"$out"
        fail "$1: the guest does not say '$line'" "$out"
    done
}

check "an initramfs" make_initramfs
check "a FAT partition that boots" make_boot_partition
check "an ext4 partition" make_data_partition
check "a disk of both" make_disk
check "an OVA of it" make_ova
[ "$failed" = 0 ] || exit 1
marker=$(cat data/marker)
word="came through guest/, $RANDOM"
before=$(sha guest.ova)

mount_ok guest.ova -- -o overlay=kept
is "the loader is in the FAT volume" "$(sha "$mnt/volumes/disk0p1/vmlinuz")" "$(sha "$kernel")"
check "a file, through guest/" sh -c "echo '$word' >'$mnt/guest/word'"
disk_sha=$(sha "$mnt/disks/disk0/disk.raw")
check "the disk is another one now" test "$disk_sha" != "$(sha disk.img)"
check "disk.qcow2 is copied out" cp "$mnt/disks/disk0/disk.qcow2" copy.qcow2
boot vhdx "$mnt/disks/disk0/disk.vhdx"
unmount
boot qcow2 copy.qcow2
is "the OVA is as it was" "$(sha guest.ova)" "$before"
finish
