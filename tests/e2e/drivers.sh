#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# drivers/ on Windows-like guests made of the corpus' hives: virtio-win's packages go in and out. What is wanted of each
# value is argued from what real installed packages look like and from the INFs, which are quoted.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
# shellcheck source=tests/e2e/drivers.bash
. "$(dirname "$0")/drivers.bash"
need sgdisk mkntfs ntfs-3g hivexregedit hivexsh hivexml regfexport python3 jq
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
before=$(sha "$tmp/disk.img")
win10=$(corpus hive/regipy_SYSTEM_WIN_10_1709.xz) # x64

# ---- Windows 7, 64 bits: CriticalDeviceDatabase ----
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay7"
is "the tree" "$(ls "$mnt/drivers" | tr '\n' ' ')" "installed log staging "
check "it is Windows 7" software 6.1 7601
check "of 64 bits" processor AMD64
is "nothing is installed" "$(ls "$mnt/drivers/installed")" ""
pkg=$(package Win7/amd64 8664 viostor)
check "a package is staged" stage "$pkg"
check "as it was" diff -r "$pkg" "$mnt/drivers/staging/pkg-viostor"
tree_of >"$tmp/before"
hives_hold "before" SYSTEM before
check "and installed" install pkg-viostor
is "then it isn't staged" "$(ls "$mnt/drivers/staging")" ""
# Of Windows 7 the store's names have "neutral" between the architecture and the digits.
dir=$(cd "$store" && echo viostor.inf_amd64_neutral_*)
like "its name in the store" "$dir" '^viostor\.inf_amd64_neutral_[0-9a-f]{16}$'
check "the store has it" diff -r "$pkg" "$store/$dir"
check "INF" same "$pkg/viostor.inf" "$windows/INF/oem0.inf"
check "catalog" same "$pkg/viostor.cat" "$catroot/oem0.cat"
check "driver (DestinationDirs: 12)" same "$pkg/viostor.sys" "$windows/System32/drivers/viostor.sys"
for n in 1 2; do # every control set: which of them is booted isn't ours to say
    s=$system/ControlSet00$n
    is "ServiceType 1" "$(v "$s/services/viostor/Type.dword")" "0x00000001 "
    is "SERVICE_BOOT_START" "$(v "$s/services/viostor/Start.dword")" "0x00000000 "
    is "SERVICE_ERROR_NORMAL" "$(v "$s/services/viostor/ErrorControl.dword")" "0x00000001 "
    is "LoadOrderGroup" "$(v "$s/services/viostor/Group.sz")" "SCSI miniport "
    # %12% of what boots is written from the system's root
    is "ServiceBinary" "$(v "$s/services/viostor/ImagePath.expand_sz")" 'System32\drivers\viostor.sys '
    is "its owner" "$(v "$s/services/viostor/Owners.multi_sz")" "oem0.inf "
    is "pnpsafe_pci_addreg" "$(v "$s/services/viostor/Parameters/PnpInterface/5.dword")" "0x00000001 "
    is "and BusType" "$(v "$s/services/viostor/Parameters/BusType.dword")" "0x00000001 "
    is "scsi_EventLog_AddReg" "$(v "$s/services/EventLog/System/viostor/EventMessageFile.expand_sz")" \
        '%SystemRoot%\System32\IoLogMsg.dll '
    is "and its types" "$(v "$s/services/EventLog/System/viostor/TypesSupported.dword")" "0x00000007 "
    for id in 'DEV_1001' 'DEV_1001&SUBSYS_00021AF4&REV_00' 'DEV_1042' 'DEV_1042&SUBSYS_11001AF4&REV_01'; do
        is "$id" "$(v "$s/Control/CriticalDeviceDatabase/PCI#VEN_1AF4&$id/Service.sz")" "viostor "
        is "its class" "$(v "$s/Control/CriticalDeviceDatabase/PCI#VEN_1AF4&$id/ClassGUID.sz")" \
            "{4D36E97B-E325-11CE-BFC1-08002BE10318} "
    done
done
check_not "there is no database of drivers" test -e "$system/DriverDatabase"
info=$mnt/drivers/installed/oem0.inf/info.json
is "what is installed" "$(ls "$mnt/drivers/installed")" oem0.inf
is "with its files" "$(ls "$mnt/drivers/installed/oem0.inf" | tr '\n' ' ')" "info.json viostor.cat viostor.inf viostor.sys "
check "as they are" same "$pkg/viostor.sys" "$mnt/drivers/installed/oem0.inf/viostor.sys"
is "info.json" "$(json "$info" '[.class, .provider, .version, .boot_critical, .services[0].name, (.hardware_ids | length)] | join("|")')" \
    "SCSIAdapter|Red Hat, Inc.|61.77.104.17200|true|viostor|4"
like "the log names file and line of what isn't as the catalog has it: the program is made up" "$(log)" \
    'viostor.inf: line [0-9]+: warning: the catalog viostor.cat does not have the digest of viostor.sys'
check_not "but the INF is, and it is Red Hat's" grep -q 'does not match the INF' "$mnt/drivers/log"
hives_hold "after the installation" SYSTEM
tree_of >"$tmp/after"

check "the same again" stage "$pkg"
is "is there already" "$(python3 -c 'import os, sys
try: os.rename(*sys.argv[1:])
except FileExistsError: print("EEXIST")' "$mnt/drivers/staging/pkg-viostor" "$mnt/drivers/installed/x")" EEXIST
like "and the log, with the number" "$(log)" 'viostor.inf: is installed already, as oem0.inf'
check "stays staged" diff -r "$pkg" "$mnt/drivers/staging/pkg-viostor"
check "and can be dropped" rm -r "$mnt/drivers/staging/pkg-viostor"
unmount
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay7"
tree_of >"$tmp/again"
check "all of it is there after a remount" diff -q "$tmp/after" "$tmp/again"
check "rm -r takes it out" rm -r "$mnt/drivers/installed/oem0.inf"
is "then nothing is installed" "$(ls "$mnt/drivers/installed")" ""
tree_of >"$tmp/gone"
check "files and registry are as they were" diff -q "$tmp/before" "$tmp/gone"
hives_hold "after it was taken out" SYSTEM gone
hives_equal "the registry is as it was" SYSTEM before gone

check_not "what is staged has 64 levels" mkdir -p "$mnt/drivers/staging/$(printf 'd/%.0s' {1..65})"
check "64" mkdir -p "$mnt/drivers/staging/$(printf 'd/%.0s' {1..64})"
check_not "none deeper by a rename" sh -c "mkdir '$mnt/drivers/staging/e' && mv '$mnt/drivers/staging/d' '$mnt/drivers/staging/e/'"
check "gone" rm -r "$mnt/drivers/staging/d" "$mnt/drivers/staging/e"

# ---- refusals: each with its errno, and nothing is changed ----
# refused WHAT PACKAGE MESSAGE LOG
refused() {
    stage "$2"
    check_not "$1" install "${2##*/}"
    like "$1: mv says" "$(cat "$out")" "$3"
    like "$1: the log says" "$(log)" "$4"
    rm -r "$mnt/drivers/staging/${2##*/}"
}
rm "$pkg/viostor.sys"
refused "a missing file" "$pkg" "No such file or directory" 'viostor.inf: line [0-9]+: viostor.sys is not in the package'
program 14c "$pkg/viostor.sys"
refused "a driver for 32 bits" "$pkg" "Exec format error" 'viostor.sys is for another processor \(014c\) than the guest.s, amd64'
program 8664 "$pkg/viostor.sys"
sed -i 's/\[scsi_inst\]/[scsi_ins]/' "$pkg/viostor.inf"
refused "a bad INF" "$pkg" "Bad message" 'viostor.inf: line [0-9]+: there is no install section \[scsi_inst\]'
rm "$pkg"/*.inf
refused "no INF" "$pkg" "No such file" 'there is no INF in its directory'
pkg=$(package Win8/x86 14c viostor)
refused "an INF for 32 bits" "$pkg" "Exec format error" 'no models for this guest: Windows 6.1.7601 amd64'
pkg=$(package Win7/amd64 8664 vioscsi)
deny='HKEY_LOCAL_MACHINE\SOFTWARE\Policies\Microsoft\Windows\DeviceInstall\Restrictions'
printf '%s\n' 'Windows Registry Editor Version 5.00' '' "[$deny]" '"DenyDeviceClasses"=dword:1' '' "[$deny\\DenyDeviceClasses]" \
    '"1"="{4d36e97b-e325-11ce-bfc1-08002be10318}"' >"$tmp/deny.reg"
check "a policy" cp "$tmp/deny.reg" "$mnt/registry/.reg"
refused "what a policy forbids" "$pkg" "Operation not permitted" 'Restrictions.DenyDeviceClasses'
tree_of >"$tmp/refused"
check "nothing was changed by any of them" diff -q "$tmp/gone" "$tmp/refused"
check "without the policy" rm -r "$mnt/registry/HKLM/SOFTWARE/Policies"
sed 's/\[Strings\]/;changed\n&/' "$pkg/vioscsi.inf" >"$tmp/changed.inf" && cp "$tmp/changed.inf" "$pkg/vioscsi.inf"
check "and a changed INF" stage "$pkg"
check "it goes in" install pkg-vioscsi
like "with a warning" "$(log)" 'vioscsi.inf: line [0-9]+: warning: the catalog vioscsi.cat does not match the INF'
check_not "a package's file can't be written" sh -c "echo 1 >'$mnt/drivers/installed/oem0.inf/vioscsi.inf'"
unmount

# ---- Windows 10, 64 bits: DriverDatabase, of what boots in SYSTEM, too ----
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay10" -o accept_dirty_hive
config=$windows/System32/config
printf '%s\n' 'Windows Registry Editor Version 5.00' '' '[\DriverDatabase]' '"OemInfMap"=hex:ff,f0' '' \
    '[\DriverDatabase\DeviceIds]' '' '[\DriverDatabase\DeviceIds\PCI]' '' \
    '[\DriverDatabase\DriverInfFiles]' '' '[\DriverDatabase\DriverPackages]' >"$tmp/drivers.reg"
cp "$(corpus hive/hivex_minimal)" "$tmp/drivers.hive" && chmod u+w "$tmp/drivers.hive" &&
    hivexregedit --merge "$tmp/drivers.hive" "$tmp/drivers.reg"
check "the hives of another Windows" cp "$win10" "$config/SYSTEM"
check "and of its drivers" sh -c "rm '$config'/DRIVERS.LOG?; cp '$tmp/drivers.hive' '$config/DRIVERS'"
check "it is Windows 10" software 10.0 17763
is "twelve packages have their numbers" "$(bytes "$system/DriverDatabase/OemInfMap.binary")" fff0
tree_of >"$tmp/before"
hives_read "before" "SYSTEM DRIVERS" before # SYSTEM is dirty, so it can't keep every rule of ours
pkg=$(package Win7/amd64 8664 viostor) # NTamd64.6.1 fits all that is later
check "staged" stage "$pkg"
check "vetoed once, when it was away" sh -c "mkdir -p '$set/Services/viostor/StartOverride' && echo 3 >'$set/Services/viostor/StartOverride/0.dword'"
check "installed" install pkg-viostor
check_not "the veto is gone" test -e "$set/Services/viostor/StartOverride"
is "under the next number" "$(ls "$mnt/drivers/installed")" oem12.inf
dir=$(cd "$store" && echo viostor.inf_amd64_*)
like "its name in the store" "$dir" '^viostor\.inf_amd64_[0-9a-f]{16}$'
check "the store has it" diff -r "$pkg" "$store/$dir"
is "it starts with the system" "$(v "$set/Services/viostor/Start.dword")" "0x00000000 "
for db in "$system/DriverDatabase" "$mnt/registry/HKLM/DRIVERS/DriverDatabase"; do
    # The map's bits: the highest of the first byte is oem0, so 12 is 08 of the second.
    is "OemInfMap" "$(bytes "$db/OemInfMap.binary")" fff8
    is "which package it is" "$(v "$db/DriverInfFiles/oem12.inf/@.multi_sz")$(v "$db/DriverInfFiles/oem12.inf/Active.sz")" "$dir $dir "
    is "its configuration: the install section" "$(v "$db/DriverInfFiles/oem12.inf/Configurations.multi_sz")" "scsi_inst "
    # 01: the hardware id of the line; 02: the compatible one; FF: no FeatureScore.
    is "hardware id" "$(bytes "$db/DeviceIds/PCI/VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00/oem12.inf.binary")" 01ff0000
    is "compatible id" "$(bytes "$db/DeviceIds/PCI/VEN_1AF4&DEV_1042/oem12.inf.binary")" 02ff0000
    is "class" "$(ls "$db/DeviceIds/{4d36e97b-e325-11ce-bfc1-08002be10318}/oem12.inf.none")" \
        "$db/DeviceIds/{4d36e97b-e325-11ce-bfc1-08002be10318}/oem12.inf.none"
    package=$db/DriverPackages/$dir
    is "its INF" "$(v "$package/@.sz")$(v "$package/InfName.sz")$(v "$package/Catalog.sz")" "oem12.inf viostor.inf viostor.cat "
    # OEM, amd64 (9); the class; 2019-06-07 as a FILETIME; 61.77.104.17200, the last part first
    is "Version" "$(bytes "$package/Version.binary")" "00ff0900000000007be9364d25e3ce11bfc108002be10318$(
        python3 -c 'import datetime, struct
print(struct.pack("<QHHHH", (datetime.date(2019, 6, 7) - datetime.date(1601, 1, 1)).days * 86400 * 10**7, 17200, 104, 77, 61).hex())')0000000000000000"
    is "the function driver" "$(v "$package/Configurations/scsi_inst/Service.sz")" "viostor "
    is "Windows 10 has a scope" "$(v "$package/Configurations/scsi_inst/ConfigScope.dword")" "0x00000007 "
    is "the HW section" "$(v "$package/Configurations/scsi_inst/Device/Interrupt Management/MessageSignaledInterruptProperties/MessageNumberLimit.dword")" "0x00000100 "
    is "the service's values" "$(v "$package/Configurations/scsi_inst/Services/viostor/Parameters/BusType.dword")" "0x00000001 "
    is "a descriptor" "$(v "$package/Descriptors/PCI/VEN_1AF4&DEV_1042/Description.sz")" "%viostorscsi.devicedesc% "
    is "its text" "$(v "$package/Strings/viostorscsi.devicedesc.sz")" "Red Hat VirtIO SCSI controller "
done
check_not "CriticalDeviceDatabase is of older ones" test -e "$set/Control/CriticalDeviceDatabase"
hives_hold "with a boot driver" "SYSTEM DRIVERS"

# netkvm and balloon start on demand: Windows makes their services when it sees the device, out of its store.
pkg=$(package Win7/amd64 8664 netkvm balloon)
check "two INFs in one directory" stage "$pkg"
check "go in together" install pkg-netkvm
is "as two" "$(ls "$mnt/drivers/installed" | tr '\n' ' ')" "oem12.inf oem13.inf oem14.inf "
for n in 13 14; do
    name=$(v "$mnt/registry/HKLM/DRIVERS/DriverDatabase/DriverInfFiles/oem$n.inf/Active.sz")
    name=${name% }
    case $name in
    netkvm.*) want="info.json netkvm.cat netkvm.inf netkvm.sys " class=Net netkvm=oem$n.inf ;;
    balloon.*) want="Balloon.cat WdfCoInstaller01009.dll balloon.inf balloon.sys info.json " class=System ;;
    esac
    is "$name" "$(ls "$mnt/drivers/installed/oem$n.inf" | tr '\n' ' ')" "$want" # the co-installer's file is of its own section
    is "its class" "$(json "$mnt/drivers/installed/oem$n.inf/info.json" '.class + " " + (.boot_critical | tostring)')" "$class false"
done
check_not "no service" test -e "$set/Services/netkvm" -o -e "$set/Services/BALLOON"
check_not "no file outside of the store" test -e "$windows/System32/drivers/netkvm.sys"
check_not "and nothing in what boots" test -e "$system/DriverDatabase/DriverInfFiles/$netkvm"
is "an adapter's values are its driver's key's" \
    "$(v "$mnt/registry/HKLM/DRIVERS/DriverDatabase/DriverPackages/$(cd "$store" && echo netkvm.inf_*)/Configurations/kvmnet6.ndi/Driver/Ndi/Service.sz")" "netkvm "
hives_hold "with three" "SYSTEM DRIVERS"

# What runs from the store (13), as virtio-win builds it for Windows 11: by a build number that a 17763 has.
mkdir "$tmp/pkg-run"
cat >"$tmp/pkg-run/run.inf" <<'INF'
[Version]
Signature = "$Windows NT$"
Class = SCSIAdapter
ClassGuid = {4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider = %me%
DriverVer = 01/02/2023,1.2.3.4
[Manufacturer]
%me% = Models, NTamd64.10.0...16299, NTamd64.10.0...22000, NTamd64.6.1
[Models.NTamd64.6.1]
%dev% = Old, PCI\VEN_1AF4&DEV_1042
[Models.NTamd64.10.0...16299]
%dev% = Run, PCI\VEN_1AF4&DEV_1042
[Models.NTamd64.10.0...22000]
%dev% = Later, PCI\VEN_1AF4&DEV_1042
[Run]
CopyFiles = here
[Run.NT]
CopyFiles = here
[Run.NT.Services]
AddService = runs, 2, Service
[Service]
DisplayName = %dev%
ServiceType = 1
StartType = 0
ErrorControl = 1
ServiceBinary = %13%\runs.sys
AddReg = Values
[Values]
HKLM,System\CurrentControlSet\Control\OfRuns,n,0x10001,7
[here]
runs.sys
[DestinationDirs]
here = 13
[SourceDisksNames.amd64]
1 = d,,,\drivers
[SourceDisksFiles]
runs.sys = 1,x64
[Strings]
me = "ACME"
dev = "A device"
INF
mkdir -p "$tmp/pkg-run/Drivers/X64" # without case, as in Windows
program 8664 "$tmp/pkg-run/Drivers/X64/Runs.sys"
check "a driver that runs from the store" stage "$tmp/pkg-run"
check "goes in" install pkg-run
dir=$(cd "$store" && echo run.inf_amd64_*)
is "ImagePath" "$(v "$set/Services/runs/ImagePath.expand_sz")" "\\SystemRoot\\System32\\DriverStore\\FileRepository\\$dir\\runs.sys "
for s in "$system"/ControlSet0*; do # a link of a running Windows: what goes there is for each set
    is "HKLM, CurrentControlSet: ${s##*/}" "$(v "$s/Control/OfRuns/n.dword")" "0x00000007 "
    check "Windows wouldn't take it out either" rm -r "$s/Control/OfRuns"
done
is "a name with a token" "$(v "$set/Services/runs/DisplayName.sz")" "@oem15.inf,%dev%;A device "
is "the section with its decoration" "$(v "$system/DriverDatabase/DriverInfFiles/oem15.inf/Configurations.multi_sz")" "Run.NT "
check_not "it lies nowhere else" test -e "$windows/System32/drivers/runs.sys"
like "unsigned, says the log" "$(log)" 'run.inf: warning: the package has no catalog: it is unsigned'

for n in 15 14 13 12; do
    check "oem$n.inf goes" rm -r "$mnt/drivers/installed/oem$n.inf"
done
tree_of >"$tmp/gone"
check "all is as it was" diff "$tmp/before" "$tmp/gone"
hives_hold "without them" "SYSTEM DRIVERS" gone
hives_equal "the registry is as it was" "SYSTEM DRIVERS" before gone

# A Server 2025 of the same: a build of 22000 is reached.
check "a later Windows" software 10.0 26100
check "the same package" stage "$tmp/pkg-run"
is "has no section for it that is complete" "$(install pkg-run 2>&1 | grep -c 'Bad message')" 1
like "says the log" "$(log)" 'run.inf: line 14: there is no install section \[Later\]'
unmount
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
