#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Vdisks of Nutanix AHV through a real mount: one file, a container, and a directory of copied ones.
. "$(dirname "$0")/lib.sh"
need qemu-img jq openssl

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }
info() { jq -c "$1" "$mnt/info.json"; }
image() { openssl enc -aes-128-ctr -nosalt -K "$2" -iv 00 </dev/zero 2>/dev/null | head -c 1048576 >"$1"; }

one=11111111-2222-4333-8444-555555555555
two=4f1c0b1e-aaaa-4bbb-8ccc-dddddddddddd
three=9e107d9d-0000-4111-8222-333333333333
vm=ctr/.acropolis/vmdisk
mkdir -p $vm ctr/.acropolis/snapshot ctr/.snapshot/1/.acropolis/vmdisk
image $vm/$two 02
image $vm/$one 01
image third 03
qemu-img convert -f raw -O qcow2 third $vm/$three # somebody's copy
echo 'a file of ours' >$vm/readme
mkdir $vm/lost+found
image ctr/.snapshot/1/.acropolis/vmdisk/77777777-2222-4333-8444-555555555555 04

mount_ok $vm/$two
check 'a vdisk by its name' same "$(raw 0)" $vm/$two
is 'its format' "$(info '[.vm.kind, .disks[0].format]')" '["disks","raw"]'
unmount
mount_ok $vm/$two $vm/$one
check 'the disks of one machine: the first' same "$(raw 0)" $vm/$two
check 'the disks of one machine: the second' same "$(raw 1)" $vm/$one
unmount

for source in ctr ctr/ ctr/.acropolis $vm "$tmp/$vm/"; do
    mount_ok "$source"
    check "$source: the first" same "$(raw 0)" $vm/$one
    check "$source: the second" same "$(raw 1)" $vm/$two
    check "$source: by content" same "$(raw 2)" third
    is "$source: as what" "$(info '[.vm.kind, (.vm.disks | map(.shown))]')" '["ahv",[true,true,true]]'
    like "$source: whose they are" "$(info .warnings)" 'may belong to several machines'
    unmount
done

mkdir copied
cp $vm/$one $vm/$two copied
echo 'from the cluster' >copied/notes.txt
mount_ok copied
check 'copied vdisks: the first' same "$(raw 0)" $vm/$one
check 'copied vdisks: the second' same "$(raw 1)" $vm/$two
is 'copied vdisks' "$(info '[.vm.kind, .vm.name]')" '["ahv","copied"]'
unmount

# ---- an OVA as Prism exports it ----
# Its text is nowhere published, so nothing may depend on how other exporters say things: no manifest or one of any
# digest, a format's URI that isn't the disk's, UUIDs and blanks in names, Items without a Parent or with an odd one,
# no populatedSize, no key of VMware's. The Items' order is the disks'.
image a 05
image b 06
image c 07
mkdir prism
for format in qcow2 vmdk; do
    first="disk 0 $one.$format"
    second=$two
    options=()
    [ $format = qcow2 ] || options=(-o subformat=streamOptimized)
    qemu-img convert -q -f raw -O $format "${options[@]}" a "prism/$first"
    qemu-img convert -q -f raw -O $format "${options[@]}" b "prism/$second"
    cat >prism/vm.ovf <<T
<?xml version="1.0"?>
<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/2" xmlns="urn:other"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:ntnx="urn:ntnx">
<ovf:References><ovf:File ovf:id="file2" ovf:href="$second"/><ovf:File ovf:id="file1" ovf:href="disk%200%20$one.$format" ovf:size="1"/></ovf:References>
<ovf:DiskSection><ovf:Info/><ovf:Disk ovf:diskId="$two" ovf:fileRef="file2" ovf:capacity="1048576"
  ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>
<ovf:Disk ovf:diskId="$one" ovf:fileRef="file1" ovf:capacity="1048576" ovf:format="urn:unknown"/></ovf:DiskSection>
<ovf:NetworkSection><ovf:Info/></ovf:NetworkSection>
<ovf:VirtualSystem ovf:id="$three"><ovf:Info/><ovf:Name>web 01</ovf:Name><ovf:VirtualHardwareSection><ovf:Info/>
<ovf:Item><rasd:InstanceID>a</rasd:InstanceID><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>4</rasd:VirtualQuantity></ovf:Item>
<ovf:Item><rasd:InstanceID>b</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>2048</rasd:VirtualQuantity><rasd:AllocationUnits>MegaBytes</rasd:AllocationUnits></ovf:Item>
<ovf:Item><rasd:InstanceID>$one</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:HostResource>ovf:/disk/$one</rasd:HostResource></ovf:Item>
<ovf:Item><rasd:InstanceID>$two</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>scsi.9</rasd:Parent><rasd:AddressOnParent>scsi.0</rasd:AddressOnParent><rasd:HostResource>/disk/$two</rasd:HostResource></ovf:Item>
<ntnx:BootType>UEFI</ntnx:BootType></ovf:VirtualHardwareSection></ovf:VirtualSystem></ovf:Envelope>
T
    (cd prism && sha512sum -- vm.ovf "$first" "$second" | sed -E 's/^([0-9a-f]+)  (.*)/SHA512(\2)= \1/' >vm.mf)
    tar -C prism -cf plain.ova vm.ovf "$first" "$second"
    tar -C prism -cf sums.ova vm.ovf vm.mf "$second" "$first"
    for ova in plain sums; do
        mount_ok $ova.ova
        check "an OVA with $format ($ova): the first Item's disk" same "$(raw 0)" a
        check "an OVA with $format ($ova): the second's" same "$(raw 1)" b
        is "$ova: the machine" "$(info '[.vm.name, .vm.cpus, .vm.memory, (.vm.disks | map(.shown))]')" \
            '["web 01",4,2147483648,[true,true]]'
        is "$ova: the disks are what they hold" "$(info '[.disks[].format]')" "[\"$format\",\"$format\"]"
        unmount
    done
    mount_ok sums.ova
    is "the manifest" "$(jq -c '[.. | .status? // empty | strings] | unique' "$mnt/integrity.json")" '["verified"]'
    unmount
    rm -r prism/*
done

# ---- a bad one, one that leads outside, none, too many ----
: >$vm/00000000-0000-4000-8000-000000000000
mount_ok ctr
like 'an empty vdisk' "$(cat "$err")" '^ferryfs: .*/00000000-0000-4000-8000-000000000000: is empty'
check 'the others are there' same "$(raw 1)" $vm/$one
unmount
ln -s "$tmp/third" $vm/00000000-0000-4000-8000-000000000001
mount_fails 2 'ctr/\.acropolis/vmdisk: the file ".*/third" lies outside' ctr
mkdir -p none/.acropolis/vmdisk
mount_fails 2 'none/\.acropolis/vmdisk: holds no vdisk' none
mkdir -p many/.acropolis/vmdisk
for i in $(seq 257); do : >"many/.acropolis/vmdisk/$(printf '00000000-0000-4000-8000-%012d' "$i")"; done
mount_fails 2 'many/\.acropolis/vmdisk: holds 257 vdisks, more than the 256 of one machine; name the vdisks' many
finish
