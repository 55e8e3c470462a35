#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes samples/web01.ova, the machine that the README mounts:   samples/make-sample.sh [OUTPUT.ova]
#
#   web01.ova (tar)
#     web01.ovf          two CPUs, 4 GiB, EFI, one disk on a SCSI controller, one network card
#     web01.mf           SHA-256 of the two others
#     web01-disk1.vmdk   streamOptimized, 128 MiB, GPT:
#       1  EFI system partition, FAT32   boot loaders' places, with text in them
#       2  NTFS                          the tree of a Windows, with text in place of every program and hive
#       3  ext4                          a small Linux tree that mounts 1 at /boot/efi
#
# Nothing in it is from Windows or any distribution, and nothing in it boots. Needs root (to populate the NTFS volume by
# a FUSE mount), and: gdisk dosfstools mtools ntfs-3g e2fsprogs qemu-utils python3 tar. Identifiers and times are fixed, so
# two runs differ only where mkfs.ext4 and ntfs-3g write the time of day.
set -euo pipefail
export LC_ALL=C TZ=UTC

here=$(cd "$(dirname "$0")" && pwd -P)
output=$(realpath -- "${1:-$here/web01.ova}")
epoch=1735689600 # 2025-01-01
disk_id=5c0a1e21-7f0b-4c55-8d21-2a0e7be10000
efi_id=5c0a1e21-7f0b-4c55-8d21-2a0e7be10001
ntfs_id=5c0a1e21-7f0b-4c55-8d21-2a0e7be10002
root_id=5c0a1e21-7f0b-4c55-8d21-2a0e7be10003
root_uuid=0d7c5f3e-52f5-4c0e-a1f8-6f2f2b3d4e01
fat_serial=2025FE01
ntfs_serial=26D0FE0220250101 # as it is shown; stored little-endian

for tool in sgdisk mkfs.fat mcopy mkntfs ntfs-3g mkfs.ext4 qemu-img python3 tar; do
    command -v "$tool" >/dev/null || { echo "make-sample: $tool is missing" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "make-sample: must run as root, to mount the NTFS volume" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/make-sample.XXXXXX")
trap 'mountpoint -q "$work/ntfs" && umount "$work/ntfs"; rm -rf "$work"' EXIT
cd "$work"

# text NAME LINES: a log of that many lines; compresses well, and no two lines are alike.
text() {
    awk -v name="$1" -v n="$2" 'BEGIN { for (i = 1; i <= n; i++)
        printf "2025-01-01T%02d:%02d:%02dZ web01 %s[%d]: request %d served in %d ms\n",
               i / 3600 % 24, i / 60 % 60, i % 60, name, 1000 + i % 7, i, (i * 7919) % 997 }'
}

placeholder() { # placeholder FILE WHAT
    mkdir -p "$(dirname "$1")"
    printf 'ferryfs sample: this stands in place of %s.\n' "$2" >"$1"
}

make_efi() {
    mkdir efi
    placeholder efi/EFI/BOOT/BOOTX64.EFI "a boot loader"
    placeholder efi/EFI/Microsoft/Boot/bootmgfw.efi "Windows' boot manager"
    placeholder efi/EFI/Microsoft/Boot/BCD "the boot configuration"
    placeholder efi/EFI/debian/grub.cfg "GRUB's configuration"
    find efi -exec touch -d "@$epoch" {} +
    truncate -s 34M efi.img
    SOURCE_DATE_EPOCH=$epoch mkfs.fat --invariant -F 32 -s 1 -i "$fat_serial" -n ESP efi.img >/dev/null
    mcopy -i efi.img -s -m efi/EFI ::/
}

make_windows_tree() { # make_windows_tree ROOT
    local root=$1 name
    for name in SYSTEM SOFTWARE SAM SECURITY DEFAULT; do
        placeholder "$root/Windows/System32/config/$name" "the registry hive $name"
    done
    for name in disk storahci stornvme pvscsi netvsc vmstorfl; do
        placeholder "$root/Windows/System32/drivers/$name.sys" "a driver"
    done
    placeholder "$root/Windows/System32/winload.efi" "Windows' loader"
    placeholder "$root/Windows/System32/ntoskrnl.exe" "Windows' kernel"
    placeholder "$root/Windows/explorer.exe" "a program"
    placeholder "$root/Program Files/Web Server/server.exe" "a program"
    mkdir -p "$root/Program Files (x86)" "$root/ProgramData" "$root/Users/Public/Documents" "$root/Users/admin/Desktop"
    printf 'This is a sample made by ferryfs (samples/make-sample.sh).\r\nThe tree is that of a Windows; no file is.\r\n' \
        >"$root/Users/Public/Documents/README.txt"
    printf '[server]\r\nport=443\r\nroot=C:\\inetpub\r\n' >"$root/Program Files/Web Server/server.ini"
    printf 'Grüße aus Köln\n' >"$root/Users/admin/Desktop/Grüße.txt"
    ln -s Public/Documents "$root/Users/docs"
    mkdir "$root/inetpub"
    text w3svc 400 >"$root/inetpub/access.log"
}

# What only NTFS has: an alternate stream, a compressed file, a junction, and the four times of each file.
add_ntfs_features() {
    python3 - "$1" "$epoch" <<'PYTHON'
import os, struct, sys
root, epoch = sys.argv[1], int(sys.argv[2])
def junction(path, target):
    os.mkdir(path)
    substitute, printed = ("\\??\\" + target).encode("utf-16-le"), target.encode("utf-16-le")
    names = substitute + b"\0\0" + printed + b"\0\0"
    body = struct.pack("<HHHH", 0, len(substitute), len(substitute) + 2, len(printed)) + names
    os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<IHH", 0xA0000003, len(body), 0) + body)
junction(f"{root}/Documents and Settings", "C:\\Users")
os.setxattr(f"{root}/Users/Public/Documents/README.txt", "user.Zone.Identifier", b"[ZoneTransfer]\r\nZoneId=3\r\n")
logs = f"{root}/Windows/Logs"
os.mkdir(logs)
FILE_ATTRIBUTE_COMPRESSED = 0x800
attributes = struct.unpack("<I", os.getxattr(logs, "system.ntfs_attrib"))[0]
os.setxattr(logs, "system.ntfs_attrib", struct.pack("<I", attributes | FILE_ATTRIBUTE_COMPRESSED))
with open(f"{root}/inetpub/access.log", "rb") as log, open(f"{logs}/compressed.log", "wb") as copy:
    copy.write(log.read() * 8)
ticks = (epoch + 11644473600) * 10**7
for folder, _, files in os.walk(root, topdown=False):
    for name in files + ["."]:
        path = os.path.join(folder, name)
        if not os.path.islink(path):
            os.setxattr(path, "system.ntfs_times", struct.pack("<4Q", *[ticks] * 4))
PYTHON
}

make_ntfs() {
    mkdir ntfs
    truncate -s 40M ntfs.img
    mkntfs -F -Q -T -q -p 71680 -H 16 -S 63 -L Windows ntfs.img 2>/dev/null
    # mkntfs makes its serial number up; it stands in the boot sector and in its copy in the last sector.
    python3 - "$ntfs_serial" <<'PYTHON'
import os, sys
serial = int(sys.argv[1], 16).to_bytes(8, "little")
with open("ntfs.img", "r+b") as f:
    for sector in (0, os.path.getsize("ntfs.img") - 512):
        f.seek(sector + 72)
        f.write(serial)
PYTHON
    ntfs-3g -o streams_interface=xattr,compression ntfs.img ntfs
    make_windows_tree ntfs
    add_ntfs_features ntfs
    umount ntfs
}

make_linux() {
    local r=linux
    mkdir -p $r/{bin,boot/efi,dev,home/web,opt,proc,root,run,srv/www,sys,tmp,usr/bin,usr/lib,usr/share/doc/web,var/log}
    chmod 1777 $r/tmp
    chmod 700 $r/root
    cat >$r/usr/lib/os-release <<'TEXT'
PRETTY_NAME="ferryfs sample 1 (web01)"
NAME="ferryfs sample"
ID=ferryfs-sample
ID_LIKE=debian
VERSION_ID="1"
TEXT
    mkdir -p $r/etc/default
    ln -s ../usr/lib/os-release $r/etc/os-release
    printf 'web01\n' >$r/etc/hostname
    printf 'root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n' >$r/etc/passwd
    printf 'root:*:20089:0:99999:7:::\n' >$r/etc/shadow
    chmod 640 $r/etc/shadow
    cat >$r/etc/fstab <<TEXT
# <file system>                            <mount point>  <type>  <options>          <dump>  <pass>
UUID=$root_uuid  /              ext4    errors=remount-ro  0       1
UUID=${fat_serial:0:4}-${fat_serial:4}                             /boot/efi      vfat    umask=0077         0       1
TEXT
    printf '#!/bin/sh\necho "ferryfs sample"\n' >$r/usr/bin/hello
    chmod 755 $r/usr/bin/hello
    ln -s /usr/bin/hello $r/bin/hello               # absolute: must stay inside the guest
    ln -s ../../../../../../etc/hostname $r/srv/up  # more .. than there are directories
    ln -s missing $r/srv/dangling
    ln $r/usr/bin/hello $r/usr/bin/hello-again
    printf '<!doctype html>\n<title>web01</title>\n<p>It works.\n' >$r/srv/www/index.html
    text httpd 20000 >$r/var/log/httpd.log
    text kernel 3000 >$r/var/log/kern.log
    truncate -s 3M $r/var/log/sparse.db
    printf 'end' >>$r/var/log/sparse.db
    chown -R 1000:1000 $r/home/web
    find $r -exec touch -h -d "@$epoch" {} +
    truncate -s 40M linux.img
    E2FSPROGS_FAKE_TIME=$epoch mkfs.ext4 -q -F -L web01 -U "$root_uuid" -E hash_seed="$root_uuid",root_owner=0:0 \
        -d $r linux.img
}

make_disk() {
    truncate -s 128M disk.raw
    sgdisk -Z disk.raw >/dev/null 2>&1 || true
    sgdisk -U "$disk_id" \
        -n 1:2048:+34M -t 1:EF00 -c 1:"EFI system partition" -u 1:"$efi_id" \
        -n 2:71680:+40M -t 2:0700 -c 2:"Basic data partition" -u 2:"$ntfs_id" \
        -n 3:153600:+40M -t 3:8300 -c 3:"Linux" -u 3:"$root_id" disk.raw >/dev/null
    local part
    for part in efi:2048 ntfs:71680 linux:153600; do
        dd if="${part%:*}.img" of=disk.raw bs=512 seek="${part#*:}" conv=notrunc,sparse status=none
    done
    qemu-img convert -f raw -O vmdk -o subformat=streamOptimized,adapter_type=lsilogic disk.raw web01-disk1.vmdk
    # qemu-img makes the content id up; the same number of digits in its place.
    python3 - <<'PYTHON'
import re
with open("web01-disk1.vmdk", "r+b") as f:
    head = f.read(65536)
    f.seek(re.search(rb"\nCID=[0-9a-f]{8}\n", head).start() + len("\nCID="))
    f.write(b"20250101")
PYTHON
}

make_ovf() {
    local size
    size=$(stat -c %s web01-disk1.vmdk)
    cat >web01.ovf <<XML
<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <References>
    <File ovf:href="web01-disk1.vmdk" ovf:id="file1" ovf:size="$size"/>
  </References>
  <DiskSection>
    <Info>Virtual disk information</Info>
    <Disk ovf:capacity="128" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="vmdisk1" ovf:fileRef="file1" ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
  </DiskSection>
  <NetworkSection>
    <Info>The list of logical networks</Info>
    <Network ovf:name="VM Network">
      <Description>The VM Network network</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="web01">
    <Info>A virtual machine</Info>
    <Name>web01</Name>
    <OperatingSystemSection ovf:id="94" vmw:osType="debian12_64Guest">
      <Info>The kind of installed guest operating system</Info>
      <Description>Debian GNU/Linux 12 (64-bit)</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Virtual hardware requirements</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>web01</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-19</vssd:VirtualSystemType>
      </System>
      <Item>
        <rasd:AllocationUnits>hertz * 10^6</rasd:AllocationUnits>
        <rasd:Description>Number of Virtual CPUs</rasd:Description>
        <rasd:ElementName>2 virtual CPU(s)</rasd:ElementName>
        <rasd:InstanceID>1</rasd:InstanceID>
        <rasd:ResourceType>3</rasd:ResourceType>
        <rasd:VirtualQuantity>2</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits>
        <rasd:Description>Memory Size</rasd:Description>
        <rasd:ElementName>4096MB of memory</rasd:ElementName>
        <rasd:InstanceID>2</rasd:InstanceID>
        <rasd:ResourceType>4</rasd:ResourceType>
        <rasd:VirtualQuantity>4096</rasd:VirtualQuantity>
      </Item>
      <Item>
        <rasd:Address>0</rasd:Address>
        <rasd:Description>SCSI Controller</rasd:Description>
        <rasd:ElementName>SCSI Controller 0</rasd:ElementName>
        <rasd:InstanceID>3</rasd:InstanceID>
        <rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType>
        <rasd:ResourceType>6</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>0</rasd:AddressOnParent>
        <rasd:ElementName>Hard Disk 1</rasd:ElementName>
        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>
        <rasd:InstanceID>4</rasd:InstanceID>
        <rasd:Parent>3</rasd:Parent>
        <rasd:ResourceType>17</rasd:ResourceType>
      </Item>
      <Item>
        <rasd:AddressOnParent>7</rasd:AddressOnParent>
        <rasd:AutomaticAllocation>true</rasd:AutomaticAllocation>
        <rasd:Connection>VM Network</rasd:Connection>
        <rasd:Description>E1000e ethernet adapter on &quot;VM Network&quot;</rasd:Description>
        <rasd:ElementName>Ethernet 1</rasd:ElementName>
        <rasd:InstanceID>5</rasd:InstanceID>
        <rasd:ResourceSubType>E1000e</rasd:ResourceSubType>
        <rasd:ResourceType>10</rasd:ResourceType>
      </Item>
      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
XML
}

make_ova() {
    local file
    for file in web01.ovf web01-disk1.vmdk; do
        printf 'SHA256(%s)= %s\n' "$file" "$(sha256sum <"$file" | cut -c1-64)"
    done >web01.mf
    tar --format=ustar --owner=root:0 --group=root:0 --mode=0644 --mtime="@$epoch" \
        -cf web01.ova web01.ovf web01.mf web01-disk1.vmdk
    mv web01.ova "$output"
    chmod 644 "$output"
    ls -l "$output"
}

make_efi
make_ntfs
make_linux
make_disk
make_ovf
make_ova
