# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2154 # lib.sh's variables, and the tests'
# A Debian of its own (tests/tools/make-debian) on a disk, in an OVA, and booted in QEMU. Sourced after lib.sh.

PATH=$PATH:/sbin:/usr/sbin
debian_uuid=6f1c1f0e-93c5-4c52-8d0c-3f2f0e1d5a11

# need_debian: sets $debian, the directory that make-debian keeps, and $kernel_version; skips without.
need_debian() {
    need qemu-system-x86_64 qemu-img sfdisk debugfs jq tar
    debian=$("$top/tests/tools/make-debian") || skip 'no Debian in build/guest-debian: as root, tests/tools/make-debian --fetch'
    kernel_version=$(cat "$debian/version")
}

# put_in IMAGE FILE PATH: a file of the host becomes PATH in an ext4 image.
put_in() { debugfs -w -f - "$1" >>"$tmp/debugfs.log" 2>&1 <<<"rm $3"$'\n'"write $2 $3"; }

# take_from IMAGE PATH FILE
take_from() { debugfs -R "dump $2 $3" "$1" >>"$tmp/debugfs.log" 2>&1; }

# put_grub DISK CORE: GRUB's two pieces where grub-install has them: in the MBR, and in the gap behind it. Both are linked
# for these places (the core at sector 1).
put_grub() {
    dd if="$debian/boot.img" of="$1" bs=440 count=1 conv=notrunc status=none &&
        printf '\220\220' | dd of="$1" bs=1 seek=102 conv=notrunc status=none && # any drive number is a hard disk's
        dd if="$debian/$2" of="$1" bs=512 seek=1 conv=notrunc status=none
}

# make_disk IMAGE DISK CORE TYPE: a partition at 1 MiB with IMAGE in it.
make_disk() {
    local bytes
    bytes=$(stat -c %s "$1")
    truncate -s $((bytes + (2 << 20))) "$2"
    sfdisk -q "$2" <<<$'label: dos\n'"start=2048, size=$((bytes / 512)), type=$4, bootable" &&
        dd if="$1" of="$2" bs=1M seek=1 conv=notrunc,sparse status=none && put_grub "$2" "$3"
}

# make_ova DISK OVA [MAC]: DISK as a streamOptimized VMDK; an adapter of that address.
make_ova() {
    local work=$tmp/ova mib=$(($(stat -c %s "$1") >> 20))
    mkdir -p "$work"
    cat >"$work/d.ovf" <<T
<?xml version='1.0' encoding='UTF-8'?>
<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'
  xmlns:rasd='http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData'>
<References><File ovf:id='file1' ovf:href='d.vmdk'/></References>
<DiskSection><Info>disks</Info><Disk ovf:diskId='disk1' ovf:fileRef='file1' ovf:capacity='$mib'
  ovf:capacityAllocationUnits='byte * 2^20'/></DiskSection>
<VirtualSystem ovf:id='debian'><Info>a machine</Info><Name>debian</Name><VirtualHardwareSection><Info>hardware</Info>
<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
<Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/disk1</rasd:HostResource>
  <rasd:InstanceID>4</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
<Item><rasd:Address>${3:-00:50:56:00:00:01}</rasd:Address><rasd:InstanceID>5</rasd:InstanceID>
  <rasd:ResourceType>10</rasd:ResourceType></Item>
</VirtualHardwareSection></VirtualSystem></Envelope>
T
    qemu-img convert -O vmdk -o subformat=streamOptimized "$1" "$work/d.vmdk" && tar -C "$work" -cf "$2" d.ovf d.vmdk && rm -r "$work"
}

# word_unit DIR WORD [stay]: a unit, enabled, that prints WORD on the serial console and, without `stay`, turns the machine off.
word_unit() {
    local units=$1/etc/systemd/system then='; sleep 1; systemctl poweroff -ff'
    [ -z "${3-}" ] || then=
    cat >"$units/ferry-word.service" <<T && mkdir -p "$units/sysinit.target.wants" &&
[Unit]
Description=Says a word
DefaultDependencies=no
After=systemd-remount-fs.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo; echo "guest: $2"; echo "guest: root on \$\$(findmnt -no SOURCE /)"; sync$then'
StandardOutput=tty
TTYPath=/dev/ttyS0
T
        ln -s ../ferry-word.service "$units/sysinit.target.wants/ferry-word.service"
}

# The console that boot writes is waited for until a login prompt stands on it; QEMU (PID) is ended then. 1: there was none.
wait_for_login() { # wait_for_login PID CONSOLE
    local deadline=$((SECONDS + ${boot_seconds:-400})) status=1
    while [ $SECONDS -lt $deadline ] && kill -0 "$1" 2>/dev/null; do
        # No newline is behind a prompt.
        grep -qaE '^ferry-debian login: ' "$2" 2>/dev/null && { status=0; break; }
        sleep 0.5
    done
    kill "$1" 2>/dev/null
    wait "$1"
    return $status
}

# boot NAME FORMAT FILE CONTROLLER [login]: the console is $tmp/NAME.console; returns QEMU's exit status, 124 after
# $boot_seconds; with `login`, 0 when a login prompt came. CONTROLLER: virtio-blk, virtio-scsi, nvme. QEMU's own writes go to
# a file that it unlinks (snapshot=on).
boot() {
    local device pid
    case $4 in
    virtio-blk) device=(-device "virtio-blk-pci,drive=disk") ;;
    virtio-scsi) device=(-device virtio-scsi-pci -device "scsi-hd,drive=disk") ;;
    nvme) device=(-device "nvme,drive=disk,serial=1") ;;
    esac
    timeout "${boot_seconds:-400}" qemu-system-x86_64 -accel tcg -cpu max -m 640 -nodefaults -display none -no-reboot \
        -nic none -serial "file:$tmp/$1.console" -drive "if=none,id=disk,format=$2,file=$3,snapshot=on" "${device[@]}" \
        >"$tmp/$1.qemu" 2>&1 </dev/null &
    pid=$!
    if [ -n "${5-}" ]; then wait_for_login $pid "$tmp/$1.console"; else wait $pid; fi
}

# says NAME LINE: is it on the console that boot wrote?
says() { tr -d '\r' <"$tmp/$1.console" | grep -qxF "guest: $2"; }

# boot_meanwhile NAME FORMAT FILE CONTROLLER [login]: in the background, until booted NAME WORD.
boot_meanwhile() {
    { boot "$@"; echo $? >"$tmp/$1.status"; } &
    booting[$1]=$!
}
declare -A booting

# booted NAME WORD: it did, and printed the word.
booted() {
    wait "${booting[$1]}"
    is "$1: QEMU ends when the guest turns itself off" "$(cat "$tmp/$1.status")" 0
    says "$1" "$2" && { pass; return; }
    { cat "$tmp/$1.qemu" && tail -n 20 "$tmp/$1.console"; } >"$out"
    fail "$1: the guest does not say '$2'" "$out"
}

# logs_in NAME FORMAT FILE CONTROLLER WORD: it boots to a login prompt, and printed the word on its way.
logs_in() {
    check "$1: a login prompt on the serial console" boot "${@:1:4}" login
    says "$1" "$5" && { pass; return; }
    { cat "$tmp/$1.qemu" && tail -n 20 "$tmp/$1.console"; } >"$out"
    fail "$1: the guest does not say '$5'" "$out"
}

# boots NAME FORMAT FILE CONTROLLER WORD
boots() { boot_meanwhile "${@:1:4}" && booted "$1" "$5"; }
