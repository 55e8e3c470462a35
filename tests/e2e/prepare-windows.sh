#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# prepare/ of a Windows-like guest: what the plan says, that apply does it and no more, and undo takes it back.
# FERRYFS_KILLS: how often the daemon is killed while it applies (5).
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need sgdisk sfdisk mkntfs ntfs-3g hivexregedit hivexsh hivexml jq
have_corpus || skip "there is no corpus"

# The hive is that of a Windows 7 under VMware: vmbus and storflt start at boot already, storvsc (Start 3) doesn't.
# Its disks come online by themselves (SanPolicy 1) and its list of boot devices has Hyper-V's controller: both undone here.
# Added: a veto against a driver, as PnP writes it; Xen's filter in two classes, alone and with another; VMware's
# shared folders; Nutanix' agent; fast start-up. The drivers' files are empty, but there, except for pciide's.
# shellcheck disable=SC2329 # make_windows calls it
fill() {
    local drivers=$1/Windows/System32/drivers system=$1/Windows/System32/config/SYSTEM d
    mkdir -p "$drivers" "$1/Boot"
    cp "$(corpus bcd/regipy_BCD.xz)" "$1/Boot/BCD" || return 1
    for d in vmbus storvsc vmstorfl intelide atapi msahci; do
        echo "$d" >"$drivers/$d.sys"
    done
    chmod u+w "$system"
    cat >"$tmp/fill.reg" <<'EOR'
Windows Registry Editor Version 5.00

[HKLM\SYSTEM\ControlSet001\services\storvsc\StartOverride]
"0"=dword:00000003

[HKLM\SYSTEM\ControlSet001\services\xenfilt]
"Start"=dword:00000000
"Type"=dword:00000001

[HKLM\SYSTEM\ControlSet001\Control\Class\{4D36E97D-E325-11CE-BFC1-08002BE10318}]
"UpperFilters"=hex(7):78,00,65,00,6e,00,66,00,69,00,6c,00,74,00,00,00,6f,00,74,00,68,00,65,00,72,00,00,00,00,00

[HKLM\SYSTEM\ControlSet001\Control\Class\{4D36E96A-E325-11CE-BFC1-08002BE10318}]
"UpperFilters"=hex(7):78,00,65,00,6e,00,66,00,69,00,6c,00,74,00,00,00,00,00

[HKLM\SYSTEM\ControlSet001\services\vmhgfs]
"Start"=dword:00000001

[HKLM\SYSTEM\ControlSet001\Control\NetworkProvider\Order]
"ProviderOrder"="P9NP,vmhgfs,RDPNP"

[HKLM\SYSTEM\ControlSet001\services\agent]
"Start"=dword:00000002
"ImagePath"="C:\\Program Files\\Nutanix\\agent.exe"

[HKLM\SYSTEM\ControlSet001\Control\Session Manager\Power]
"HiberbootEnabled"=dword:00000001

[HKLM\SYSTEM\ControlSet001\services\partmgr\Parameters]
"SanPolicy"=dword:00000002

[-HKLM\SYSTEM\ControlSet001\Control\CriticalDeviceDatabase\VMBUS#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}]

EOR
    hivexregedit --merge --prefix 'HKLM\SYSTEM' "$system" "$tmp/fill.reg"
}
# shellcheck disable=SC2034 # windows.bash reads it
windows_fill=fill
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
before=$(sha "$tmp/disk.img")
prepare=$mnt/prepare

# state: the guest as it is, hives as text.
state() {
    find "$mnt/guest/C" -type f ! -path '*/config/*' -printf '%P %s %T@\n' | sort
    find "$mnt/guest/C" -type d -printf '%P\n' | sort
    local key
    for key in SYSTEM/ControlSet001 SYSTEM/ControlSet002/Services SOFTWARE; do
        cat "$mnt/registry/HKLM/$key/.reg"
    done
}
# hives: every hive file of the guest is whole, by our checker and by hivex.
hives() {
    local h
    check "$1: durable" sync "$mnt/info.json"
    for h in SYSTEM SOFTWARE; do
        cp "$mnt/guest/C/Windows/System32/config/$h" "$tmp/$h"
        check "$1: $h has no broken rule" "$FERRYFS" --check-hive "$tmp/$h"
        check "$1: hivex reads all of $h" sh -c "hivexml '$tmp/$h' >/dev/null"
    done
}

# ---- plans, without an overlay ----
mount_ok "$tmp/disk.img"
is "the targets" "$(ls "$prepare" | tr '\n' ' ')" "azure-local changes.json hyperv kubevirt kvm "
plan=$(cat "$prepare/hyperv")
is "the plan for Hyper-V" "$(sed 's/  # .*//; s/^note: .*/note/' <<<"$plan")" \
    'registry HKLM\SYSTEM\ControlSet001\Services\storvsc Start 3 -> 0
registry HKLM\SYSTEM\ControlSet001\Services\storvsc\StartOverride key -> (absent)
registry HKLM\SYSTEM\ControlSet001\Control\CriticalDeviceDatabase\VMBUS#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f} (absent) -> key
registry HKLM\SYSTEM\ControlSet001\Control\CriticalDeviceDatabase\VMBUS#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f} Service (absent) -> "storvsc"
registry HKLM\SYSTEM\ControlSet001\Control\CriticalDeviceDatabase\VMBUS#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f} ClassGUID (absent) -> "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
registry HKLM\SYSTEM\ControlSet001\Services\partmgr\Parameters SanPolicy 2 -> 1
registry HKLM\SYSTEM\ControlSet001\Services\VMTools Start 2 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\VMUpgradeHelper Start 2 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\VMMemCtl Start 2 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\vmhgfs Start 1 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\vmdebug Start 1 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\vmci Start 3 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\xenfilt Start 0 -> 4
registry HKLM\SYSTEM\ControlSet001\Services\agent Start 2 -> 4
registry HKLM\SYSTEM\ControlSet001\Control\Class\{4D36E96A-E325-11CE-BFC1-08002BE10318} UpperFilters {"xenfilt"} -> (absent)
registry HKLM\SYSTEM\ControlSet001\Control\Class\{4D36E97D-E325-11CE-BFC1-08002BE10318} UpperFilters {"xenfilt", "other"} -> {"other"}
registry HKLM\SYSTEM\ControlSet001\Control\NetworkProvider\Order ProviderOrder "P9NP,vmhgfs,RDPNP" -> "P9NP,RDPNP"
registry HKLM\SYSTEM\ControlSet001\Control\Session Manager\Power HiberbootEnabled 1 -> 0
registry HKLM\SYSTEM\ControlSet002\Services\storvsc Start 3 -> 0
registry HKLM\SYSTEM\ControlSet002\Services\VMTools Start 2 -> 4
registry HKLM\SYSTEM\ControlSet002\Services\VMUpgradeHelper Start 2 -> 4
registry HKLM\SYSTEM\ControlSet002\Services\VMMemCtl Start 2 -> 4
registry HKLM\SYSTEM\ControlSet002\Services\vmdebug Start 1 -> 4
registry HKLM\SYSTEM\ControlSet002\Services\vmci Start 3 -> 4
note
note
note'
is "each change has its reason" "$(grep -v ^note <<<"$plan" | grep -cv '  # [A-Za-z]')" 0
# a raw disk's machine says no MACs, and this Windows has two adapters
like "the addresses that can't be carried over are said" "$plan" '^note: the static address 10.3.58.5/255.255.255.0, gateway 10.3.58.1 is'
like "the note of the time zone" "$plan" '^note: .*local time of Eastern Standard Time$'
# a driver whose file isn't there is left alone: Windows would stop at boot, pciide's ErrorControl being 3
is "no file, no boot driver" "$(grep -c pciide <<<"$plan")" 0
like "KVM needs a driver that isn't there" "$(cat "$prepare/kvm")" '^BLOCKED: .*virtio.*; .*drivers'
is "and nothing else is said" "$(wc -l <"$prepare/kubevirt")" 1
azure=$(cat "$prepare/azure-local")
is "Azure Local wants all that Hyper-V does" "$(grep -cxFf <(grep ^registry <<<"$plan") <<<"$azure")" 24
like "and who comes by Remote Desktop to say who he is" "$azure" 'RDP-Tcp UserAuthentication 0 -> 1  #'
is "what was changed: nothing" "$(jq -c .changes "$prepare/changes.json")" '[]'
check_not "nothing is applied without an overlay" sh -c "echo apply >'$prepare/hyperv'"
unmount

# ---- apply and undo ----
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
state >"$tmp/state.before"
for word in appl "apply now" "" Undo; do
    check_not "\"$word\" is no word for it" sh -c "echo '$word' >'$prepare/hyperv'"
done
check_not "undo of nothing" sh -c "echo undo >'$prepare/hyperv'"
like "says so" "$(cat "$prepare/.error")" 'nothing was applied'
check_not "a blocked plan isn't applied" sh -c "echo apply >'$prepare/kvm'"
like "and says why" "$(cat "$prepare/.error")" 'virtio'
sync "$mnt/info.json"
check "apply" sh -c "echo apply >'$prepare/hyperv'"
is "is committed with its record" "$(jq -r '.notes | keys[]' "$tmp/kept/commit.json")" record.prepare-hyperv
is "a second read" "$(cat "$prepare/hyperv")" "nothing to do"
hives apply
cp "$tmp/kept/commit.json" "$tmp/commit.json"
check "apply again" sh -c "printf apply >'$prepare/hyperv'"
check "does nothing" cmp "$tmp/commit.json" "$tmp/kept/commit.json"
hivexregedit --export "$tmp/SYSTEM" '\ControlSet001\services\storvsc' >"$tmp/storvsc.reg"
check "hivex sees the driver start at boot" grep -qi '^"Start"=dword:00000000' "$tmp/storvsc.reg"
is "and no veto" "$(grep -ci startoverride "$tmp/storvsc.reg")" 0
is "what was changed" "$(jq '.changes | length' "$prepare/changes.json")" 24
is "with old, new and reason" "$(jq -c '.changes[0]' "$prepare/changes.json")" \
    '{"target":"hyperv","key":"HKLM\\SYSTEM\\ControlSet001\\Services\\storvsc","name":"Start","old":"3","new":"0","reason":"Hyper-V'\''s disk controller is there at boot"}'
state >"$tmp/state.applied"
check "undo" sh -c "echo undo >'$prepare/hyperv'"
state >"$tmp/state.undone"
check "undo gives back equal trees" cmp "$tmp/state.before" "$tmp/state.undone"
hives undo
is "and nothing is left of it" "$(find "$tmp/kept" -name 'record-*')" ""
is "in the list neither" "$(jq -c .changes "$prepare/changes.json")" '[]'
is "the plan is as it was" "$(cat "$prepare/hyperv")" "$plan"

# ---- over a remount, with other edits, and with one of the same thing ----
set001=$mnt/registry/HKLM/SYSTEM/ControlSet001
check "apply" sh -c "echo apply >'$prepare/hyperv'"
unmount
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
is "applied is applied" "$(cat "$prepare/hyperv")" "nothing to do"
check "the list is there" test "$(jq '.changes | length' "$prepare/changes.json")" = 24
check "an edit of something else" sh -c "echo mine >'$set001/Services/storvsc/mine.sz'; echo x >'$mnt/guest/C/mine'"
check "an edit of the same thing" sh -c "echo 2 >'$set001/Services/vmci/Start.dword'"
state >"$tmp/state.edited"
check_not "undo is refused" sh -c "echo undo >'$prepare/hyperv'"
like "and says what is in the way" "$(cat "$prepare/.error")" 'ControlSet001.Services.vmci.Start was changed since'
state >"$tmp/state.refused"
check "nothing was taken back" cmp "$tmp/state.edited" "$tmp/state.refused"
check "the plan says what that edit undid" grep -q 'ControlSet001.Services.vmci Start 2 -> 4' "$prepare/hyperv"
check "the value as it was applied" sh -c "echo 4 >'$set001/Services/vmci/Start.dword'"
check "undo" sh -c "echo undo >'$prepare/hyperv'"
is "keeps the other edits" "$(cat "$set001/Services/storvsc/mine.sz" "$mnt/guest/C/mine")" "mine
x"
rm "$set001/Services/storvsc/mine.sz" "$mnt/guest/C/mine"
state >"$tmp/state.undone"
check "all else is as it was" cmp "$tmp/state.before" "$tmp/state.undone"

# ---- twice, and undone at once ----
check "apply" sh -c "echo apply >'$prepare/hyperv'"
check "apply for Azure Local on top" sh -c "echo apply >'$prepare/azure-local'"
is "a second read" "$(cat "$prepare/azure-local")" "nothing to do"
is "both are listed" "$(jq -r '[.changes[].target] | unique | join(" ")' "$prepare/changes.json")" "azure-local hyperv"
hives azure-local
check "undo of the one" sh -c "echo undo >'$prepare/azure-local'"
state >"$tmp/state.now"
check "gives what the other had made" cmp "$tmp/state.applied" "$tmp/state.now"
check "an edit that apply would undo" sh -c "echo 2 >'$set001/Services/vmci/Start.dword'"
exec 9<"$mnt/disks/disk0/disk.raw"
dd bs=4096 count=1 <&9 >/dev/null 2>&1
check_not "an open view keeps it out" sh -c "echo apply >'$prepare/hyperv'"
exec 9<&-
unmount

# ---- the boot configuration: a store on an active partition, as bcd/ sees it before and after ----
truncate -s 96M "$tmp/mbr.img"
sfdisk -q "$tmp/mbr.img" <<<'label: dos
start=2048, type=7, bootable'
dd if="$tmp/disk.img" of="$tmp/mbr.img" bs=1M skip=1 seek=1 count=94 conv=notrunc,sparse status=none
mount_ok "$tmp/mbr.img" -- -o scratch
elements() { find "$mnt/bcd/" -type f -printf '%P ' -exec cat {} \; | sort; }
elements >"$tmp/bcd.before"
check "apply for Azure Local" sh -c "echo apply >'$prepare/azure-local'"
is "a second read" "$(cat "$prepare/azure-local")" "nothing to do"
for e in bootmgr/bootems:Yes bootmgr/displaybootmenu:Yes bootmgr/timeout:5 default/ems:Yes emssettings/emsport:1 emssettings/emsbaudrate:115200; do
    is "the serial console: ${e%:*}" "$(cat "$mnt/bcd/${e%:*}")" "${e#*:}"
done
sync "$mnt/info.json"
cp "$mnt/guest/C/Boot/BCD" "$tmp/BCD"
check "the store has no broken rule" "$FERRYFS" --check-hive "$tmp/BCD"
check "undo" sh -c "echo undo >'$prepare/azure-local'"
elements >"$tmp/bcd.undone"
check "gives back the same store" cmp "$tmp/bcd.before" "$tmp/bcd.undone"
unmount

# ---- EFI: the boot manager where a VM's firmware looks for one, on a partition that has no letter ----
need mkfs.fat mcopy mmd fsck.vfat
truncate -s 32M "$tmp/esp.img"
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
check "a system partition" mkfs.fat -F 16 -h 2048 "$tmp/esp.img"
python3 -c 'import struct, sys
sys.stdout.buffer.write(b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", 0x8664) + bytes(90000))' >"$tmp/bootmgfw.efi"
mmd -i "$tmp/esp.img" ::EFI ::EFI/Microsoft ::EFI/Microsoft/Boot
mcopy -i "$tmp/esp.img" "$tmp/bootmgfw.efi" ::EFI/Microsoft/Boot/
mcopy -i "$tmp/esp.img" "$(corpus bcd/regipy_BCD.xz)" ::EFI/Microsoft/Boot/BCD
truncate -s 130M "$tmp/efi.img"
check "a disk" sgdisk -n 1:2048:+32M -t 1:EF00 -n 2:0:+94M -t 2:0700 "$tmp/efi.img"
dd if="$tmp/esp.img" of="$tmp/efi.img" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$tmp/disk.img" of="$tmp/efi.img" bs=1M skip=1 seek=33 count=94 conv=notrunc,sparse status=none
mount_ok "$tmp/efi.img" -- -o "overlay=$tmp/efi"
is "it has no letter" "$(ls "$mnt/guest")" C
like "the plan" "$(cat "$prepare/hyperv")" '^file ../volumes/disk0p1/EFI/Boot/bootx64.efi \(absent\) -> [0-9]+ bytes  # a new VM'
check "apply" sh -c "echo apply >'$prepare/hyperv'"
check "the loader" cmp "$tmp/bootmgfw.efi" "$mnt/volumes/disk0p1/EFI/BOOT/BOOTX64.EFI"
is "a second read" "$(cat "$prepare/hyperv")" "nothing to do"
is "it is listed" "$(jq '[.changes[] | .file // empty | select(test("bootx64"))] | length' "$prepare/changes.json")" 1
cp "$mnt/disks/disk0/disk.raw" "$tmp/efi-now.img"
dd if="$tmp/efi-now.img" of="$tmp/esp-now.img" bs=1M skip=1 count=32 status=none
check "the partition is sound" fsck.vfat -n "$tmp/esp-now.img"
unmount
mount_ok "$tmp/efi.img" -- -o "overlay=$tmp/efi"
check "undo, in another mount" sh -c "echo undo >'$prepare/hyperv'"
check_not "it is gone, with its directory" test -e "$mnt/volumes/disk0p1/EFI/Boot"
check "without the boot manager" rm "$mnt/volumes/disk0p1/EFI/Microsoft/Boot/bootmgfw.efi"
is "there is nothing to start" "$(cat "$prepare/hyperv")" "BLOCKED: its EFI system partition has no boot loader that a new VM's firmware \
would start; run bcdboot C:\\Windows /f UEFI in the guest and copy it again"
unmount

# ---- killed ----
kills=${FERRYFS_KILLS:-5}
rm -rf "$tmp/kept"
for ((i = 0; i < kills; i++)); do
    mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
    cat "$prepare/hyperv" >/dev/null # opens the hives
    sh -c "echo apply >'$prepare/hyperv'" 2>/dev/null &
    worker=$!
    sleep "$((i * 20 / kills / 10)).$((i * 20 / kills % 10))"
    # shellcheck disable=SC2046 # a list of numbers
    kill -9 $(daemons "$mnt")
    wait $worker
    wait_for fusermount3 -u -- "$mnt" || fusermount3 -uz -- "$mnt"
    mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
    state >"$tmp/state.now"
    if [ "$(jq '.changes | length' "$prepare/changes.json")" = 0 ]; then
        echo "kill $i: nothing was applied"
        check "kill $i: nothing is done" cmp "$tmp/state.before" "$tmp/state.now"
    else
        echo "kill $i: all was applied"
        check "kill $i: all is done" cmp "$tmp/state.applied" "$tmp/state.now"
        check "kill $i: undo" sh -c "echo undo >'$prepare/hyperv'"
        state >"$tmp/state.now"
        check "kill $i: and it was undone" cmp "$tmp/state.before" "$tmp/state.now"
    fi
    hives "kill $i"
    unmount
done
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
