#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Puts a storage driver into a Windows guest so that it can boot from that controller:
#   samples/inject-driver.sh MOUNT DRIVER.sys PCI-ID...
#
#     ferryfs -o overlay=edits web01.ova /mnt
#     samples/inject-driver.sh /mnt viostor.sys 'VEN_1AF4&DEV_1001&REV_00' 'VEN_1AF4&DEV_1042&REV_01'
#
# Three things make a boot driver, and each is a few files:
#
#   1. the file         guest/C/Windows/System32/drivers/DRIVER.sys
#   2. a service        Services/DRIVER: started by the boot loader (Start 0), a kernel driver (Type 1)
#   3. a device         which PCI device it drives. Until Windows 7 that is CriticalDeviceDatabase; since Windows 8 it
#                       is DriverDatabase, where a driver belongs to a package with an INF file: here one that is made up,
#                       enough to boot with. The real package is installed afterwards, in the running guest.
#
# The driver must be of the guest's architecture and signed for its version; this script doesn't look.
set -euo pipefail

[ $# -ge 3 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
mnt=$1
file=$2
shift 2
system=$mnt/registry/HKEY_LOCAL_MACHINE/SYSTEM
[ -d "$system/CurrentControlSet" ] || { echo "$0: $system: there is no Windows registry" >&2; exit 1; }
name=$(basename -- "$file" | tr '[:upper:]' '[:lower:]')
case $name in
*.sys) name=${name%.sys} ;;
*) echo "$0: $file: a driver's name ends in .sys" >&2; exit 2 ;;
esac
class='{4d36e97b-e325-11ce-bfc1-08002be10318}' # SCSI and RAID controllers

# 1. the file
cp -- "$file" "$mnt/guest/C/Windows/System32/drivers/$name.sys"

for set in "$system"/ControlSet[0-9][0-9][0-9]; do
    # 2. the service; a text file is a value
    service=$set/Services/$name
    mkdir -p "$service/Parameters/PnpInterface"
    echo 1 >"$service/Type.dword"
    echo 0 >"$service/Start.dword"
    echo 1 >"$service/ErrorControl.dword"
    echo "SCSI miniport" >"$service/Group.sz"
    echo "system32\\drivers\\$name.sys" >"$service/ImagePath.expand_sz"
    echo 1 >"$service/Parameters/PnpInterface/5.dword" # 5: it sits on a PCI bus
    # what Windows writes for a boot driver whose hardware was missing would keep it from starting
    [ ! -d "$service/StartOverride" ] || rm -r "$service/StartOverride"

    # 3. the device, until Windows 7
    [ -d "$system/DriverDatabase" ] && continue
    for id in "$@"; do
        device=$set/Control/CriticalDeviceDatabase/PCI#$id
        mkdir -p "$device"
        echo "$name" >"$device/Service.sz"
        echo "$class" >"$device/ClassGUID.sz"
    done
done

# 3. the device, since Windows 8
if [ -d "$system/DriverDatabase" ]; then
    architecture=amd64
    [ "$(cat "$system/DriverDatabase/Architecture.dword" 2>/dev/null || echo 9)" != 0x00000000 ] || architecture=x86
    inf=ferry-$name.inf
    package=${inf}_${architecture}_0000000000000000
    mkdir -p "$system/DriverDatabase/DriverInfFiles/$inf"
    echo "$package" >"$system/DriverDatabase/DriverInfFiles/$inf/@.multi_sz"
    echo "$package" >"$system/DriverDatabase/DriverInfFiles/$inf/Active.sz"
    echo "$name.conf" >"$system/DriverDatabase/DriverInfFiles/$inf/Configurations.multi_sz"
    at=$system/DriverDatabase/DriverPackages/$package
    mkdir -p "$at/Configurations/$name.conf"
    echo "$inf" >"$at/@.sz"
    # 48 bytes: not of Windows' own, the architecture, the class' GUID; no date and no version, so that any real package
    # is newer
    {
        printf '\x00\xff'
        [ $architecture = amd64 ] && printf '\x09\x00' || printf '\x00\x00'
        printf '\x00\x00\x00\x00\x7b\xe9\x36\x4d\x25\xe3\xce\x11\xbf\xc1\x08\x00\x2b\xe1\x03\x18'
        head -c 24 /dev/zero
    } >"$at/Version.binary"
    echo 0 >"$at/Configurations/$name.conf/ConfigFlags.dword"
    echo "$name" >"$at/Configurations/$name.conf/Service.sz"
    for id in "$@"; do
        mkdir -p "$system/DriverDatabase/DeviceIds/PCI/$id" "$at/Descriptors/PCI/$id"
        printf '\x01\xff\x00\x00' >"$system/DriverDatabase/DeviceIds/PCI/$id/$inf.binary"
        echo "$name.conf" >"$at/Descriptors/PCI/$id/Configuration.sz"
    done
fi
sync "$mnt/info.json" # everything so far is durable
