# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A Windows-like guest out of the corpus' hives. Sourced after lib.sh by the tests that want one.

# make_windows FILE: a GPT disk of 96 MiB with one NTFS volume that has the hives where Windows has them. Needs ntfs-3g.
make_windows() {
    local disk=$1 at=$tmp/windows.mnt sid=S-1-5-21-3851833874-1800822990-1357392098-1000 user services
    local config=$at/Windows/System32/config
    truncate -s 96M "$disk"
    sgdisk -n 1:2048:0 -t 1:0700 "$disk" >/dev/null || return 1
    truncate -s 94M "$tmp/windows.ntfs"
    mkntfs -qF -p 2048 "$tmp/windows.ntfs" >/dev/null 2>&1 || return 1
    mkdir -p "$at"
    ntfs-3g "$tmp/windows.ntfs" "$at" 2>/dev/null || return 1
    user=$at/Users/bob
    services=$at/Windows/ServiceProfiles/LocalService
    mkdir -p "$config" "$user/AppData/Local/Microsoft/Windows" "$services"
    cp "$(corpus hive/regipy_SYSTEM.xz)" "$config/SYSTEM"
    cp "$(corpus hive/dfwinreg_SAM.xz)" "$config/SAM"
    cp "$(corpus hive/dfwinreg_SECURITY.xz)" "$config/SECURITY"
    cp "$(corpus hive/ez_NTUSER1.DAT.xz)" "$config/DEFAULT"
    cp "$(corpus hive/plaso_NTUSER-WIN7.DAT.xz)" "$user/NTUSER.DAT"
    cp "$(corpus hive/regipy_NTUSER.DAT.xz)" "$services/NTUSER.DAT"
    cp "$(corpus hive/ez_Acronis_0x52_Usrclass.dat.xz)" "$user/AppData/Local/Microsoft/Windows/UsrClass.dat"
    # a dirty hive with its logs beside it
    cp "$(corpus hive/NewDirtyHive1/NewDirtyHive.xz)" "$config/DRIVERS" &&
        cp "$(corpus hive/NewDirtyHive1/NewDirtyHive.LOG1.xz)" "$config/DRIVERS.LOG1" &&
        cp "$(corpus hive/NewDirtyHive1/NewDirtyHive.LOG2.xz)" "$config/DRIVERS.LOG2"
    cp "$(corpus hive/hivex_minimal)" "$config/SOFTWARE"
    chmod u+w "$config/SOFTWARE"
    printf '%s\n' 'Windows Registry Editor Version 5.00' '' '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft]' '' \
        '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT]' '' \
        '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion]' '' \
        '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList]' '' \
        '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\'$sid']' \
        '"ProfileImagePath"=str(2):"%SystemDrive%\\Users\\bob"' '' \
        '[HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList\S-1-5-18]' \
        '"ProfileImagePath"=str(2):"%systemroot%\\system32\\config\\systemprofile"' >"$tmp/profiles.reg"
    hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\SOFTWARE' "$config/SOFTWARE" "$tmp/profiles.reg" || return 1
    # windows_fill: a function of the test's that adds to it, given the mount point
    [ -z "${windows_fill-}" ] || "$windows_fill" "$at" || return 1
    umount "$at" || return 1
    dd if="$tmp/windows.ntfs" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
    rm "$tmp/windows.ntfs"
}
exit_commands+=('is_mounted "$tmp/windows.mnt" && umount "$tmp/windows.mnt"')
