#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Gives a Windows guest its boot menu and its emergency console on COM1:   samples/bcd-serial-console.sh MOUNT
#
# MOUNT is a mount of the machine that can be written:
#
#     ferryfs -o overlay=edits web01.ova /mnt
#     samples/bcd-serial-console.sh /mnt
#     cp --sparse=always /mnt/disks/disk0/disk.vhdx ...
#
# Without a screen (Azure's serial console, `virsh console`) one sees nothing of a Windows that doesn't start. This is
# what `bcdedit` would be told inside the guest, as nothing but files under bcd/:
#
#   bootmgr/displaybootmenu  Yes, timeout 5: time to choose      bcdedit /set {bootmgr} displaybootmenu yes ...
#   bootmgr/bootems          Yes: the menu is on the console too bcdedit /set {bootmgr} bootems yes
#   default/ems              Yes: and so is Windows' own (SAC)   bcdedit /ems {default} on
#   emssettings/emsport, emsbaudrate                             bcdedit /emssettings EMSPORT:1 EMSBAUDRATE:115200
#
# Where BitLocker guards the volume by a TPM, this asks for the recovery key at the next boot. Each line of its output is
# a change. Run again, it finds nothing to do.
set -euo pipefail

[ $# = 1 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
bcd=$1/bcd
[ -d "$bcd/bootmgr" ] || { echo "$0: $bcd: there is no boot configuration" >&2; exit 1; }
[ -d "$bcd/default" ] || { echo "$0: $bcd: no system is the default" >&2; exit 1; }

# set_element FILE TEXT: writes it unless it says so already.
set_element() {
    local old=absent
    [ ! -e "$bcd/$1" ] || old=$(<"$bcd/$1")
    [ "$old" = "$2" ] && return
    echo "$2" >"$bcd/$1"
    echo "$1: $old -> $2"
}

# An old or a small store may lack the object that the settings are kept in: its name is its well-known id. It is
# found from every system by the chain globalsettings -> emssettings.
emssettings='{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}'
[ -d "$bcd/$emssettings" ] || {
    mkdir "$bcd/$emssettings"
    echo "emssettings: made"
}
if [ -d "$bcd/globalsettings" ] && ! grep -qsixF '{emssettings}' "$bcd/globalsettings/inherit"; then
    echo '{emssettings}' >>"$bcd/globalsettings/inherit"
    echo "globalsettings/inherit: + {emssettings}"
fi

set_element bootmgr/displaybootmenu Yes
set_element bootmgr/timeout 5
set_element bootmgr/bootems Yes
set_element default/ems Yes
set_element "$emssettings/emsport" 1
set_element "$emssettings/emsbaudrate" 115200
sync "$1/info.json" # everything so far is durable
