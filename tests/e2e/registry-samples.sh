#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The samples that edit a Windows guest's registry, on a guest out of the corpus' hives; hivex and the checker look at it.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need sgdisk mkntfs ntfs-3g hivexregedit hivexsh
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
echo "a driver" >"$tmp/viostor.sys"

value() { hivexsh "$tmp/SYSTEM" <<<"cd $1
lsval $2"; }

mount_ok "$tmp/disk.img" -- -o scratch
check "a directory for drivers" mkdir -p "$mnt/guest/C/Windows/System32/drivers"
check "inject-driver.sh" "$top/samples/inject-driver.sh" "$mnt" "$tmp/viostor.sys" 'VEN_1AF4&DEV_1001&REV_00'
check "again" "$top/samples/inject-driver.sh" "$mnt" "$tmp/viostor.sys" 'VEN_1AF4&DEV_1001&REV_00'
check "the driver's file" cmp "$tmp/viostor.sys" "$mnt/guest/C/Windows/System32/drivers/viostor.sys"
services=$mnt/registry/HKLM/SYSTEM/CurrentControlSet/services
mkdir "$services/vmbus/StartOverride" 2>/dev/null || mkdir -p "$services/vmbus/StartOverride"
echo 3 >"$services/vmbus/StartOverride/0.dword"
echo 3 >"$services/vmbus/Start.dword"
check "hyperv-boot-drivers.sh" "$top/samples/hyperv-boot-drivers.sh" "$mnt"
is "has nothing to do the second time" "$("$top/samples/hyperv-boot-drivers.sh" "$mnt" 2>&1)" ""
cp "$mnt/guest/C/Windows/System32/config/SYSTEM" "$tmp/SYSTEM"
unmount
check "the hive has no broken rule" "$FERRYFS" --check-hive "$tmp/SYSTEM"
is "the service starts at boot" "$(value 'ControlSet001\services\viostor' Start)" 0
is "in every control set" "$(value 'ControlSet002\services\viostor' Start)" 0
is "its file" "$(value 'ControlSet001\services\viostor' ImagePath)" 'system32\drivers\viostor.sys'
is "its device" "$(value 'ControlSet001\Control\CriticalDeviceDatabase\PCI#VEN_1AF4&DEV_1001&REV_00' Service)" viostor
is "Hyper-V's bus" "$(value 'ControlSet001\services\vmbus' Start)" 0
is "isn't overruled" "$(hivexsh "$tmp/SYSTEM" <<<'cd ControlSet001\services\vmbus
ls' | grep -c StartOverride)" 0
is "disks come online" "$(value 'ControlSet002\services\partmgr\Parameters' SanPolicy)" 1
check_not "no mount, no change" "$top/samples/hyperv-boot-drivers.sh" "$tmp"
finish
