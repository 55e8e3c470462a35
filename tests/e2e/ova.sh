#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# OVAs, OVFs and directories through a real mount: every tar format, odd archives, large members, a bad disk
# among good ones, and references that leave the trusted directories.
. "$(dirname "$0")/lib.sh"
need tar python3 jq qemu-img

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }

# ovf FILE-ATTRIBUTES...: an OVF on stdout, with a SCSI disk for each argument.
ovf() {
    local i=0 a files='' disks='' items=''
    for a; do
        files+="<File ovf:id='f$i' $a/>"
        disks+="<Disk ovf:diskId='d$i' ovf:fileRef='f$i' ovf:capacity='1' ovf:capacityAllocationUnits='byte * 2^20'/>"
        items+="<Item><rasd:AddressOnParent>$i</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d$i</rasd:HostResource>
            <rasd:InstanceID>1$i</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>"
        i=$((i + 1))
    done
    cat <<T
<?xml version='1.0' encoding='UTF-8'?>
<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'
  xmlns:rasd='http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData'
  xmlns:vmw='http://www.vmware.com/schema/ovf'>
<References>$files</References><DiskSection>$disks</DiskSection>
<VirtualSystem ovf:id='id'><Name>web01</Name><OperatingSystemSection ovf:id='96' vmw:osType='debian10_64Guest'/>
<VirtualHardwareSection>
<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
<Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
<Item><rasd:Address>0</rasd:Address><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType></Item>
$items<vmw:Config vmw:key='firmware' vmw:value='efi'/></VirtualHardwareSection></VirtualSystem></Envelope>
T
}

# image FILE SEED: 1 MiB of noise
image() { openssl enc -aes-128-ctr -nosalt -K "$2" -iv 00 </dev/zero 2>/dev/null | head -c 1048576 >"$1"; }

mkdir -p pack/sub out dir
image pack/a.img 01
image pack/sub/b.img 02
qemu-img convert -q -O qcow2 pack/a.img pack/c.qcow2
ovf "ovf:href='a.img'" "ovf:href='sub/b.img'" "ovf:href='c.qcow2'" >pack/web01.ovf
echo junk >pack/._web01.ovf

expect_three() {
    check "$1: the first disk" same "$(raw 0)" pack/a.img
    check "$1: the second disk" same "$(raw 1)" pack/sub/b.img
    check "$1: qcow2 inside" same "$(raw 2)" pack/a.img
    unmount
}

# ---- archives as tar writes them: format, order, names ----
for f in ustar gnu pax oldgnu; do
    tar --format=$f -C pack -cf "$f.ova" web01.ovf a.img sub/b.img c.qcow2
    mount_ok "$f.ova"
    expect_three "$f"
done
tar -C pack -cf order.ova c.qcow2 sub/b.img ._web01.ovf a.img web01.ovf
mount_ok order.ova
expect_three "the descriptor last"
tar -C pack -cf dots.ova .
mount_ok dots.ova
expect_three "./ before each name, and directories"
tar -cf subdir.ova pack/web01.ovf pack/sub pack/a.img pack/c.qcow2
mount_ok subdir.ova
expect_three "all in a subdirectory"
head -c $(($(stat -c %s ustar.ova) / 512 * 512)) ustar.ova | python3 -c 'import sys
data = sys.stdin.buffer.read().rstrip(b"\0")
sys.stdout.buffer.write(data + b"\0" * (-len(data) % 512))' >noend.ova
mount_ok noend.ova
expect_three "no blocks of zeros at the end"
cp ustar.ova disk.img
mount_ok disk.img
expect_three "an OVA under another name"
cp pack/c.qcow2 really.ova
mount_ok really.ova
check "a qcow2 that is called .ova" same "$(raw 0)" pack/a.img
unmount

# ---- what the description says ----
mount_ok ustar.ova
j=$mnt/info.json
is "the name" "$(json "$j" '.vm.name // .name')" web01
is "all are shown" "$(json "$j" '[.disks[].shown] | all')" true
is "the place" "$(json "$j" '.disks[1] | "\(.controller) \(.bus):\(.unit)"')" "scsi 0:1"
is "the machine" "$(jq -c '.vm | [.kind, .firmware, .cpus, .memory]' "$j")" '["ova","efi",2,536870912]'
is "its controllers" "$(jq -c '.vm.controllers' "$j")" '[{"type":"scsi","bus":0}]'
is "its disks" "$(jq -c '.vm.disks | map([.index, .id, .controller, .bus, .unit, .capacity, .shown])' "$j")" \
    '[[0,"d0","scsi",0,0,1048576,true],[1,"d1","scsi",0,1,1048576,true],[2,"d2","scsi",0,2,1048576,true]]'
check "the mount is alive" test -e "$(raw 0)"
unmount

# ---- beside each other, and as a directory ----
for source in pack pack/ pack/web01.ovf "$tmp/pack"; do
    mount_ok "$source"
    expect_three "$source"
done
ln -s pack/web01.ovf named-by-link
mount_ok named-by-link
expect_three "the user's own link to an .ovf"

# ---- members over 8 GiB, of holes ----
python3 - <<'P'
import io, os, tarfile

SIZE = 9 << 30

def make(name, fmt):
    with open(name, "wb") as f:
        def put(path, size, data):
            info = tarfile.TarInfo(path)
            info.size = size
            f.write(info.tobuf(fmt))
            at = f.tell()
            f.write(data)
            f.seek(at + (size + 511) // 512 * 512)
        put("big.img", SIZE, b"\0begin")
        at = f.tell()
        f.seek(at - 6)
        f.write(b"\0final")
        xml = (b"<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><References><File id='f' href='big.img'/>"
               b"</References><DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>")
        put("a.ovf", len(xml), xml)
        f.truncate(f.tell() + 1024)

make("big-gnu.ova", tarfile.GNU_FORMAT)
make("big-pax.ova", tarfile.PAX_FORMAT)
P
for f in big-gnu big-pax; do
    mount_ok $f.ova
    is "$f: the size" "$(stat -c %s "$(raw 0)")" $((9 << 30))
    is "$f: its end" "$(tail -c 5 "$(raw 0)")" final
    check "$f: the holes are holes" test "$(stat -c %b "$(raw 0)")" -lt 2048
    unmount
done

# ---- one bad disk ----
bad_disk() { # MESSAGE SOURCE
    mount_ok "$2"
    is "one line on stderr for $2" "$(wc -l <"$err")" 1
    like "the line" "$(cat "$err")" "^ferryfs: .*$1"
    is "it isn't shown" "$(json "$mnt/info.json" '[.disks[].shown | tostring] | join(" ")')" "true false"
    like "why" "$(json "$mnt/info.json" '.disks[1].why')" "$1"
    check_not "there is no view of it" test -e "$(raw 1)"
    check "the good one" same "$(raw 0)" pack/a.img
    unmount
}
mkdir bad
cp pack/a.img bad/
ovf "ovf:href='a.img'" "ovf:href='gone.img'" >bad/x.ovf
bad_disk 'x\.ovf: the disk file "gone\.img" is missing' bad
# a Disk without a file is blank, but not while a file lies there that nothing names
cp pack/a.img bad/gone.img
ovf "ovf:href='a.img'" "ovf:href='gone.img'" | sed "s/ovf:fileRef='f1'/ovf:filfRef='f1'/" >bad/x.ovf
bad_disk 'the Disk d1 names no file, and nothing names the file "gone\.img": one of them is damaged' bad
rm bad/gone.img
ovf "ovf:href='a.img'" "ovf:href='gone.img'" >bad/x.ovf
tar -C bad -cf bad.ova x.ovf a.img
bad_disk 'bad\.ova\(x\.ovf\): the disk file "gone\.img" is missing from the archive' bad.ova
head -c 100000 pack/c.qcow2 >bad/gone.img
bad_disk 'gone\.img: .*' bad
gzip -c pack/a.img | head -c 1000 >bad/gone.img
bad_disk 'gone\.img: truncated: the file ends inside its gzip data at byte 1000; copy' bad
ovf "ovf:href='a.img'" "ovf:href='gone.img' ovf:compression='gzip'" >bad/x.ovf
bad_disk 'gone\.img: truncated: the file ends inside its gzip data' bad
ovf "ovf:href='a.img'" "ovf:href='none' ovf:chunkSize='1000'" >bad/x.ovf
bad_disk 'the disk file "none\.000000000" is missing; it is a chunk of none' bad
tar -S -C bad -cf /dev/null . # GNU tar knows -S here
mkdir sparse
truncate -s 1M sparse/gone.img
cp pack/a.img sparse/
ovf "ovf:href='a.img'" "ovf:href='gone.img'" >sparse/x.ovf
for f in gnu pax; do
    tar --format=$f -S -C sparse -cf sparse.ova x.ovf a.img gone.img
    bad_disk 'sparse\.ova\(gone\.img\): is stored sparse .*; unpack the archive' sparse.ova
done

# ---- references that leave ----
image out/secret.img 03
outside='lies outside the source.s directory; -o trust=DIR'
refused_then_trusted() { # SOURCE DISK
    mount_fails 2 "$outside" "$1"
    is "one line" "$(wc -l <"$err")" 1
    mount_ok "$1" -- -o "trust=$tmp/dir:$tmp/out"
    check "trusted" same "$(raw "$2")" out/secret.img
    unmount
}
mkdir leave
cp pack/a.img leave/
ln -s ../out/secret.img leave/link.img
ln -s ../out leave/sub
for href in ../out/secret.img link.img sub/secret.img "$tmp/out/secret.img" %2E%2E/out/secret.img; do
    ovf "ovf:href='a.img'" "ovf:href='$href'" >leave/x.ovf
    refused_then_trusted leave 1
    refused_then_trusted leave/x.ovf 1
done
rm leave/*
qemu-img create -q -f qcow2 -b ../out/secret.img -F raw leave/top.qcow2
refused_then_trusted leave/top.qcow2 0
refused_then_trusted leave 0
ln -s ../out/secret.img leave/link.img
qemu-img create -q -f qcow2 -b link.img -F raw leave/top.qcow2
refused_then_trusted leave/top.qcow2 0
tar -C leave -cf leave.ova top.qcow2
ovf "ovf:href='top.qcow2'" >leave/x.ovf
tar -C leave -cf leave.ova x.ovf top.qcow2 link.img
mount_fails 2 'link\.img\): is a link in the archive, not a file' leave.ova
for href in ../out/secret.img "$tmp/out/secret.img" sub/../../x; do
    ovf "ovf:href='$href'" >leave/x.ovf
    tar -C leave -cf leave.ova x.ovf
    mount_fails 2 "leave\\.ova\\(x\\.ovf\\): the disk file \"$href\" lies outside the archive" leave.ova \
        -- -o "trust=$tmp"
done
ovf "ovf:href='http://localhost/a.img'" >leave/x.ovf
mount_fails 2 'x\.ovf: the disk file "http://localhost/a\.img" lies outside the package' leave/x.ovf

# A chain inside the archive.
mkdir chain
cp pack/a.img chain/base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw chain/top.qcow2
ovf "ovf:href='top.qcow2'" >chain/x.ovf
tar -C chain -cf chain.ova x.ovf base.raw top.qcow2
mount_ok chain.ova
check "a backing file in the archive" same "$(raw 0)" pack/a.img
unmount
rm chain/x.ovf
mount_ok chain
check "a directory that is one chain" same "$(raw 0)" pack/a.img
unmount
qemu-img create -q -f qcow2 chain/other.qcow2 1M
mount_fails 2 '^ferryfs: chain: holds 2 disk images, and neither an \.ovf nor a \.vmx says .*: other\.qcow2, top\.qcow2; name the disks' chain
finish
