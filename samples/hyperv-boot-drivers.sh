#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes a Windows guest start on Hyper-V, Azure and Azure Local:   samples/hyperv-boot-drivers.sh MOUNT
#
# MOUNT is a mount of the machine that can be written:
#
#     ferryfs -o overlay=edits web01.ova /mnt
#     samples/hyperv-boot-drivers.sh /mnt
#     cp --sparse=always /mnt/disks/disk0/disk.vhdx ...
#
# Every Windows since 8 and 2012 brings Hyper-V's drivers along, but a machine that has never seen Hyper-V doesn't start
# them at boot, and stops with 0x7B. This turns them on, in every control set, as nothing but files under registry/:
#
#   Services/NAME/Start.dword       0: the boot loader loads it. For those drivers only that the guest has.
#   Services/NAME/StartOverride/    removed: Windows writes it where the hardware was missing at the last boot, and
#                                   it overrules Start
#   Services/partmgr/Parameters/SanPolicy.dword    1: disks come online, also on a server
#
# Each line of its output is a change. Run again, it finds nothing to do.
set -euo pipefail

# what a virtual machine's disks hang on: the bus, the SCSI and IDE controllers, and what Generation 1 boots from
drivers=(vmbus storvsc storflt intelide pciide atapi storahci)

[ $# = 1 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
system=$1/registry/HKEY_LOCAL_MACHINE/SYSTEM
[ -d "$system/CurrentControlSet" ] || { echo "$0: $system: there is no Windows registry" >&2; exit 1; }

# set_dword FILE NUMBER: writes it unless it says so already.
set_dword() {
    local old=absent
    [ ! -e "$1" ] || old=$(<"$1")
    [ "$old" != absent ] && [ $((old)) = $(($2)) ] && return
    mkdir -p "${1%/*}"
    echo "$2" >"$1"
    echo "${1#"$system/"}: $old -> $2"
}

found=
for set in "$system"/ControlSet[0-9][0-9][0-9]; do
    services=$set/Services
    for driver in "${drivers[@]}"; do
        [ -d "$services/$driver" ] || continue
        [ "$driver" != vmbus ] || found=yes
        set_dword "$services/$driver/Start.dword" 0
        [ ! -d "$services/$driver/StartOverride" ] || {
            rm -r "$services/$driver/StartOverride"
            echo "${services#"$system/"}/$driver/StartOverride: removed"
        }
    done
    set_dword "$services/partmgr/Parameters/SanPolicy.dword" 1
done
[ -n "$found" ] || { echo "$0: this Windows has no Hyper-V drivers; it needs the Integration Services" >&2; exit 1; }
sync "$1/info.json" # everything so far is durable
