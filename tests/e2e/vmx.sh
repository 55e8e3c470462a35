#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Machines by their .vmx, as ESXi, Workstation and Fusion write it, through a real mount: which disks, in which order,
# found where; what is said of those that can't be shown; and what lies beside a .vmx and is none.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io jq python3

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }
info() { jq -c "$1" "$mnt/info.json"; }

# vmdk FILE BYTE [OPTION...]: a sparse VMDK of 4 MiB whose first 64 KiB are that byte; FILE.bin is what it holds.
vmdk() {
    local file=$1 byte=$2
    shift 2
    qemu-img create -q -f vmdk "$@" "$file" 4M
    qemu-io -c "write -P $byte 0 64k" "$file" >/dev/null
    qemu-img convert -O raw "$file" "$file.bin"
}
# disks_are WHAT FILE...: disk0, disk1, ... hold what these images hold, and there are no more.
disks_are() {
    local what=$1 i=0 f
    shift
    for f; do
        check "$what: disk$i" same "$(raw $i)" "$f.bin"
        i=$((i + 1))
    done
    is "$what: the number of disks" "$(find "$mnt/disks" -mindepth 1 -maxdepth 1 | wc -l)" $#
}

# ---- as ESXi writes it: absolute paths of a datastore, a CD, a snapshot ----
mkdir -p esx/web01 esx/base
vmdk esx/web01/web01.vmdk 0x11
qemu-img create -q -f vmdk -b web01.vmdk -F vmdk esx/web01/web01-000001.vmdk
qemu-io -c 'write -P 0x22 1M 64k' esx/web01/web01-000001.vmdk >/dev/null
qemu-img convert -O raw esx/web01/web01-000001.vmdk esx/web01/web01-000001.vmdk.bin
vmdk esx/web01/web01_1.vmdk 0x33
vmdk esx/web01/web01_2.vmdk 0x44
vmdk esx/web01/detached.vmdk 0x55
vmdk esx/base/data.vmdk 0x66
cat >esx/web01/web01.vmx <<'T'
.encoding = "UTF-8"
config.version = "8"
virtualHW.version = "19"
displayName = "web01 |22Müller|22"
guestOS = "windows2019srv-64"
firmware = "efi"
memSize = "4096"
numvcpus = "4"
cpuid.coresPerSocket = "2"
scsi0.present = "TRUE"
scsi0.virtualDev = "pvscsi"
scsi1.present = "TRUE"
scsi1.virtualDev = "lsisas1068"
scsi1.sharedBus = "physical"
sata0.present = "TRUE"
sata0:0.present = "TRUE"
sata0:0.deviceType = "cdrom-image"
sata0:0.fileName = "/vmfs/volumes/5458b680-34ec3500-9f36-001320f5f6ca/ISOs/boot.iso"
scsi0:10.present = "TRUE"
scsi0:10.deviceType = "scsi-hardDisk"
scsi0:10.fileName = "/vmfs/volumes/5458b680-34ec3500-9f36-001320f5f6ca/web01/web01_2.vmdk"
scsi0:2.present = "TRUE"
scsi0:2.deviceType = "scsi-hardDisk"
scsi0:2.mode = "independent-persistent"
scsi0:2.fileName = "web01_1.vmdk"
scsi0:3.present = "FALSE"
scsi0:3.deviceType = "scsi-hardDisk"
scsi0:3.fileName = "detached.vmdk"
scsi0:0.present = "TRUE"
scsi0:0.deviceType = "scsi-hardDisk"
scsi0:0.fileName = "web01-000001.vmdk"
scsi0:0.redo = ""
ethernet0.present = "TRUE"
ethernet0.virtualDev = "vmxnet3"
ethernet0.networkName = "VM Network"
ethernet0.addressType = "static"
ethernet0.address = "00:50:56:01:02:03"
ethernet0.generatedAddress = "00:0c:29:36:ef:31"
ethernet1.present = "TRUE"
ethernet1.addressType = "vpx"
ethernet1.generatedAddress = "00:50:56:9b:5f:0d"
ethernet2.present = "FALSE"
bios.bootOrder = "cdrom,hdd"
nvram = "web01.nvram"
T
cp esx/web01/web01.vmx 'esx/web01/web01.vmx~'
printf 'snapshot.lastUID = "1"\nsnapshot.numSnapshots = "1"\n' >esx/web01/web01.vmsd
printf '<?xml version="1.0"?>\n<Foundry>\n<VM/></Foundry>\n' >esx/web01/web01.vmxf
printf 'MRVN' | cat - <(head -c 8000 /dev/zero) >esx/web01/web01.nvram

for source in esx/web01/web01.vmx esx/web01; do
    mount_ok "$source"
    disks_are "$source" esx/web01/web01-000001.vmdk esx/web01/web01_1.vmdk esx/web01/web01_2.vmdk
    unmount
done
mount_ok esx/web01
is 'the machine' "$(info '.vm | [.name, .kind, .description, .firmware, .os_type, .cpus, .cores_per_socket, .memory]')" \
    '["web01 \"Müller\"","vmx","esx/web01/web01.vmx","efi","windows2019srv-64",4,2,4294967296]'
is 'its network' "$(info .vm.nics)" '[{"type":"vmxnet3","network":"VM Network","mac":"00:50:56:01:02:03"},{"mac":"00:50:56:9b:5f:0d"}]'
is 'its controllers' "$(info '.vm.controllers | map([.type, .subtype, .bus])')" \
    '[["scsi","pvscsi",0],["scsi","lsisas1068",1],["sata",null,0]]'
is 'its disks' "$(info '.vm.disks | map([.index, .id, .controller, .bus, .unit, .mode, .shown])')" \
    '[[0,"scsi0:0","scsi",0,0,null,true],[1,"scsi0:2","scsi",0,2,"independent-persistent",true],[2,"scsi0:10","scsi",0,10,null,true]]'
is 'its boot order' "$(info .vm.boot_order)" '["cdrom","hdd"]'
is 'the newest link is shown' "$(info '.disks[0].chain | length')" 2
like 'the absent disk is named' "$(info .warnings)" 'scsi0:3 \(detached\.vmdk\) is not present'
unmount

# ---- under any name; a template ----
cp esx/web01/web01.vmx esx/web01/notes.txt
mount_ok esx/web01/notes.txt
disks_are 'a .vmx of another name' esx/web01/web01-000001.vmdk esx/web01/web01_1.vmdk esx/web01/web01_2.vmdk
unmount
mount_fails 2 '^ferryfs: esx/web01: holds 2 virtual machines \(\.vmx\): notes\.txt, web01\.vmx; name the \.vmx of one$' esx/web01
mv esx/web01/notes.txt esx/web01/web01.vmtx
rm esx/web01/web01.vmx
mount_ok esx/web01
is 'a template' "$(info .vm.kind)" '"vmx"'
unmount
mv esx/web01/web01.vmtx esx/web01/web01.vmx

# ---- another machine's directory: only with trust ----
sed 's|"web01_1.vmdk"|"/vmfs/volumes/5458b680-34ec3500-9f36-001320f5f6ca/base/data.vmdk"|; s|independent-persistent|persistent|' \
    esx/web01/web01.vmx >esx/web01/other.vmx
mount_fails 2 'other\.vmx: the disk ".*/esx/base/data\.vmdk" lies outside the source.s directory; -o trust=' esx/web01/other.vmx
mount_ok esx/web01/other.vmx -- -o "trust=$tmp/esx/base"
disks_are 'another directory' esx/web01/web01-000001.vmdk esx/base/data.vmdk esx/web01/web01_2.vmdk
unmount
for path in /etc/passwd ../../../../../../../../etc/passwd; do
    sed "s|\"web01_1.vmdk\"|\"$path\"|" esx/web01/web01.vmx >esx/web01/evil.vmx
    mount_fails 2 'evil\.vmx: the disk "/etc/passwd" lies outside' esx/web01/evil.vmx
done
rm esx/web01/other.vmx esx/web01/evil.vmx

# ---- a disk that is missing, one that is a device; shared ones ----
printf '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="vmfsPassthroughRawDeviceMap"\nRW 8192 VMFSRDM "rdm-rdmp.vmdk"\n' >esx/web01/rdm.vmdk
sed 's|"web01_1.vmdk"|"gone.vmdk"|' esx/web01/web01.vmx >missing.vmx
cat >>missing.vmx <<'T'
scsi1:0.present = "TRUE"
scsi1:0.fileName = "rdm.vmdk"
scsi0:4.present = "TRUE"
scsi0:4.sharing = "multi-writer"
scsi0:4.fileName = "detached.vmdk"
T
mv missing.vmx esx/web01/
mount_ok esx/web01/missing.vmx
like 'the missing disk, on stderr' "$(cat "$err")" '^ferryfs: .*missing\.vmx: the disk "gone\.vmdk" is missing'
like 'the device, on stderr' "$(cat "$err")" '^ferryfs: .*rdm\.vmdk: .*device'
is 'what is shown' "$(info '.vm.disks | map([.id, .shown, .sharing])')" \
    '[["scsi0:0",true,null],["scsi0:2",false,null],["scsi0:4",true,"multi-writer"],["scsi0:10",true,null],["scsi1:0",false,"physical"]]'
is 'why not' "$(info '.vm.disks[1].why')" '"esx/web01/missing.vmx: the disk \"gone.vmdk\" is missing"'
check_not 'no directory for it' test -e "$mnt/disks/disk1"
check 'the others keep their numbers' same "$(raw 2)" esx/web01/detached.vmdk.bin
unmount
mkdir lonely
grep -v '2.vmdk' esx/web01/web01.vmx >lonely/lonely.vmx
mount_fails 2 'lonely\.vmx: the disk "web01-000001\.vmdk" is missing; none of the machine.s 2 disks can be shown' lonely/lonely.vmx
mount_fails 2 'lonely/lonely\.vmx: the disk "web01-000001\.vmdk" is missing' lonely

# ---- as Workstation writes it on Windows: CRLF, its own encoding, backslashes; disks on two kinds of controllers ----
mkdir win
vmdk "win/Gerät.vmdk" 0x77
vmdk win/d.vmdk 0x88
vmdk win/e.vmdk 0x99
python3 - <<'P'
text = '''.encoding = "windows-1252"
config.version = "8"
virtualHW.version = "16"
displayName = "Gerät € 1"
guestOS = "windows9-64"
memsize = "2048"
nvme0.present = "TRUE"
nvme0:0.present = "TRUE"
nvme0:0.fileName = "D:\\VMs\\Gerät\\Gerät.vmdk"
sata0.present = "TRUE"
sata0:1.present = "TRUE"
sata0:1.fileName = "d.vmdk"
sata0:2.present = "TRUE"
sata0:2.fileName = ".\\e.vmdk"
ide1:0.present = "TRUE"
ide1:0.fileName = "auto detect"
ide1:0.deviceType = "cdrom-raw"
floppy0.fileName = "A:"
ethernet0.present = "TRUE"
ethernet0.connectionType = "nat"
ethernet0.virtualDev = "e1000e"
cleanShutdown = "FALSE"
'''
open("win/w.vmx", "wb").write(text.replace("\n", "\r\n").encode("cp1252"))
open("win/ordered.vmx", "wb").write((text + 'bios.hddOrder = "nvme0:0,sata0:2"\n').encode("cp1252"))
P
mount_ok win/w.vmx
disks_are 'Workstation' win/d.vmdk win/e.vmdk "win/Gerät.vmdk"
is 'its name' "$(info .vm.name)" '"Gerät € 1"'
is 'its firmware and processors' "$(info '.vm | [.firmware, .cpus]')" '["bios",1]'
is 'its network' "$(info .vm.nics)" '[{"type":"e1000e","network":"nat"}]'
like 'the order is a guess' "$(info .warnings)" 'no bios\.hddOrder says which is the first'
like 'it was running' "$(info .warnings)" 'was running'
unmount
mount_ok win/ordered.vmx
disks_are 'bios.hddOrder' "win/Gerät.vmdk" win/e.vmdk win/d.vmdk
check_not 'the order is no guess' grep -q 'bios.hddOrder' "$mnt/info.json"
unmount

# ---- as Fusion and old versions write it: other case, no quotes, keys twice ----
mkdir fusion
vmdk fusion/a.vmdk 0xaa
vmdk fusion/b.vmdk 0xbb
cat >fusion/f.vmx <<'T'
#!/usr/bin/vmware
config.version = 8
displayname = old one
IDE0:0.PRESENT = true
ide0:0.filename = wrong.vmdk
ide0:0.fileName = "a.vmdk"
ide0:1.fileName = b.vmdk
guestos = linux
checkpoint.vmState = "f.vmss"
this is no setting
T
mount_ok fusion
disks_are 'Fusion' fusion/a.vmdk fusion/b.vmdk
is 'its name' "$(info .vm.name)" '"old one"'
is 'all that is odd' "$(info '.warnings | map(.[:40])')" \
    '["the .vmx doesn'"'"'t say whether ide0:1 is p","the machine is suspended (f.vmss): what ","line 10 of the .vmx is no \"key = value\"","the .vmx has ide0:0.filename more than o"]'
unmount

# ---- what is no machine ----
mount_fails 2 'web01\.vmsd: is a \.vmsd: .*; mount the \.vmx beside it' esx/web01/web01.vmsd
mount_fails 2 'web01\.vmxf: is a \.vmxf: .*; mount the \.vmx beside it' esx/web01/web01.vmxf
mount_fails 2 'web01\.nvram: is a \.nvram: .*; mount the \.vmx beside it' esx/web01/web01.nvram
printf '.encoding = "UTF-8"\ndisplayName = "x"\nencryption.keySafe = "vmware:key/list/x"\nencryption.data = "AAAA"\n' >enc.vmx
mount_fails 2 'enc\.vmx: is the \.vmx of an encrypted machine \(encryption\.keySafe\); take the encryption away' enc.vmx
printf 'config.version = "8"\nscsi0:0.present = "FALSE"\nscsi0:0.fileName = "a.vmdk"\n' >none.vmx
mount_fails 2 'none\.vmx: names no hard disk that is present' none.vmx
printf 'config.version = "8"\nguestOS = "a\0b"\n' >nul.vmx
mount_fails 2 '^ferryfs: nul\.vmx: looks like a damaged VMX' nul.vmx
mkdir empty both
mount_fails 2 'empty: holds no virtual machine: neither an \.ovf or \.vmx nor a disk image' empty
cp fusion/* both
echo '<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"/>' >both/x.ovf
mount_fails 2 'both: holds both an \.ovf and a \.vmx: x\.ovf, f\.vmx; name the one' both
is '--info' "$("$FERRYFS" --info fusion/f.vmx | jq -c '[.vm.kind, (.disks | length)]')" '["vmx",2]'

# ---- the corpus ----
if have_corpus; then
    for f in 1 2 5 6; do
        at=$(corpus "vmx/v2v_test-i-vmx-$f.vmx") || exit 1
        grep -aioE '^(scsi|nvme|sata|ide)[0-9]+:[0-9]+\.fileName = "[^"]*\.vmdk"' "$at" | sed 's/.*= "//; s/"$//' >names
        while read -r name; do
            qemu-img create -q -f vmdk "${at%/*}/$name" 1M
        done <names
        mount_ok "$at"
        is "$f: every disk is shown" "$(info '[.disks[] | select(.shown) | .source | sub(".*/"; "")]')" "$(jq -Rsc 'split("\n")[:-1]' <names)"
        like "$f: its name" "$(info .vm.name)" "$(sed -n 's/^displayName = //p' "$at" | tr -d '\r')"
        unmount
    done
fi
finish
