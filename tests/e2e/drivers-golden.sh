#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# drivers/ on guests like Windows 7, Server 2008 R2, 8.1, Server 2012 R2, 11, Server 2022 and 2025: after four of virtio-win's packages went in,
# each key, value and file that is there is stated (the registry's in tests/tools/driver-golden.py), and there is no other.
# The guests are a corpus' hive of Windows 10, or of Windows 7, with the values that tell one Windows from another.
#   FERRYFS_GOLDEN  which of them ("7 8.1 2025"; "all")
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
# shellcheck source=tests/e2e/drivers.bash
. "$(dirname "$0")/drivers.bash"
need sgdisk mkntfs ntfs-3g hivexregedit python3
have_corpus || skip "there is no corpus"
guests=${FERRYFS_GOLDEN:-7 8.1 2025}
[ "$guests" != all ] || guests="7 2008R2 8.1 2012R2 11 2022 2025"

# The directories that any Windows has, a hive of drivers with twelve numbers taken, as SYSTEM has it.
# shellcheck disable=SC2329 # make_windows calls it
fill() {
    local root=$1/Windows config=$1/Windows/System32/config
    directories "$root"
    printf '%s\n' 'Windows Registry Editor Version 5.00' '' '[\DriverDatabase]' '"OemInfMap"=hex:ff,f0' '' \
        '[\DriverDatabase\DeviceIds]' '' '[\DriverDatabase\DeviceIds\PCI]' '' \
        '[\DriverDatabase\DriverInfFiles]' '' '[\DriverDatabase\DriverPackages]' >"$tmp/drivers.reg"
    rm "$config"/DRIVERS.LOG?
    chmod u+w "$config/DRIVERS"
    cp "$(corpus hive/hivex_minimal)" "$config/DRIVERS" && chmod u+w "$config/DRIVERS" &&
        hivexregedit --merge "$config/DRIVERS" "$tmp/drivers.reg" &&
        cp "$(corpus hive/regipy_SYSTEM_WIN_10_1709.xz)" "$config/SYSTEM"
}
directories() {
    mkdir -p "$1/INF" "$1/System32/drivers" "$1/System32/DriverStore/FileRepository" \
        "$1/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
}
# SYSTEM is that of a Windows 7 already, with two control sets; it has no hive of drivers.
# shellcheck disable=SC2329
fill_7() {
    directories "$1/Windows"
    rm "$1/Windows/System32/config"/DRIVERS*
}
# shellcheck disable=SC2034 # windows.bash reads it
windows_fill=fill
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
# shellcheck disable=SC2034
windows_fill=fill_7
make_windows "$tmp/disk7.img" || skip "no NTFS volume can be made here"

# like_windows VERSION BUILD PRODUCT TYPE PRODUCTTYPE: in the mounted guest
like_windows() {
    local nt='HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion' database=0a000000
    [ "$1" = 10.0 ] || database=06030000 # what a real one of 8.1's time has
    software "$1" "$2" || return 1
    if [ "$1" = 6.1 ]; then # the hive is of 32 bits, and of a workstation
        processor AMD64 || return 1
        printf '%s\n' 'Windows Registry Editor Version 5.00' '' "[$nt]" "\"CurrentBuild\"=\"$2\"" "\"ProductName\"=\"$3\"" \
            "\"InstallationType\"=\"$4\"" '' '[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\ProductOptions]' \
            "\"ProductType\"=\"$5\"" >"$tmp/like.reg"
        cp "$tmp/like.reg" "$mnt/registry/.reg"
        return
    fi
    printf '%s\n' 'Windows Registry Editor Version 5.00' '' "[$nt]" "\"CurrentBuild\"=\"$2\"" "\"ProductName\"=\"$3\"" \
        "\"InstallationType\"=\"$4\"" '' '[HKEY_LOCAL_MACHINE\SYSTEM\ControlSet001\Control\ProductOptions]' \
        "\"ProductType\"=\"$5\"" '' '[HKEY_LOCAL_MACHINE\SYSTEM\DriverDatabase]' "\"Version\"=dword:$database" >"$tmp/like.reg"
    cp "$tmp/like.reg" "$mnt/registry/.reg"
}

# registry: SYSTEM, SOFTWARE and DRIVERS, a line for each key and value.
registry() {
    local h
    for h in SYSTEM SOFTWARE DRIVERS; do
        [ -e "$mnt/registry/HKLM/$h" ] || continue
        iconv -f utf-16 -t utf-8 "$mnt/registry/HKLM/$h/.reg" | tr -d '\r' | python3 -c '
import re, sys
key = ""
for line in re.sub(r"\\\n\s*", "", sys.stdin.read()).split("\n"):
    key = line if line.startswith("[") else key
    if line:
        print(line if line == key else f"{key} {line}")'
    done
}

# files: all but the hives, and the directories.
files() {
    (cd "$windows" && find . -type f ! -path './System32/config/*' -exec sha256sum {} + && find . -type d) | sort -k2
}

# wanted_files: what the four put there. 10 in INF and CatRoot by the number; the store has the package; what starts with the
# system is copied at once to DestinationDirs' 12, what Windows installs when it sees its device is copied by Windows.
# Its name there ends with digits that are anybody's choice; Windows 7 has "neutral" before them.
wanted_files() {
    local oem=$1 name file dir catroot='./System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}'
    for name in viostor vioscsi netkvm balloon; do
        dir=./System32/DriverStore/FileRepository/$(cd "$store" && echo $name.inf_amd64_*)
        echo "$dir"
        wanted_file "$pkgs/$name/$name.inf" "./INF/oem$oem.inf"
        wanted_file "$pkgs/$name/$(catalog $name)" "$catroot/oem$oem.cat"
        for file in "$pkgs/$name"/*; do
            wanted_file "$file" "$dir/${file##*/}"
        done
        case $name in vio*) wanted_file "$pkgs/$name/$name.sys" "./System32/drivers/$name.sys" ;; esac
        oem=$((oem + 1))
    done | sort -k2
}
wanted_file() { printf '%s  %s\n' "$(sha "$1")" "$2"; }

# catalog NAME: as its INF names it, which is how it is stored; the corpus' file may have another case.
catalog() { if [ "$1" = balloon ]; then echo Balloon.cat; else echo "$1.cat"; fi; }

pkgs=$tmp/packages
mkdir "$pkgs"
for name in viostor vioscsi netkvm balloon; do
    mv "$(package Win7/amd64 8664 $name)" "$pkgs/$name" # NTamd64.6.1 fits all that is later
    [ -e "$pkgs/$name/$(catalog $name)" ] || mv "$pkgs/$name/$name.cat" "$pkgs/$name/$(catalog $name)"
done

# golden WHAT VERSION BUILD PRODUCT TYPE PRODUCTTYPE
golden() {
    local disk=disk oem=12 infix=''
    case $2 in 6.1) disk=disk7 oem=0 infix=neutral_ ;; esac
    mount_ok "$tmp/$disk.img" -- -o scratch -o accept_dirty_hive
    check "$1: it is one" like_windows "${@:2}"
    registry >"$tmp/before"
    files >"$tmp/files.before"
    for name in viostor vioscsi netkvm balloon; do
        check "$1: $name" stage "$pkgs/$name"
        check "$1: $name goes in" install "$name"
    done
    registry >"$tmp/after"
    files >"$tmp/files.after"
    check "$1: the registry" "$top/tests/tools/driver-golden.py" "$2" "$tmp/before" "$tmp/after" "$pkgs/netkvm/netkvm.inf"
    echo "$1: $(cat "$out")"
    is "$1: the files" "$(comm -13 <(sort "$tmp/files.before") <(sort "$tmp/files.after"))" "$(wanted_files "$oem" | sort)"
    is "$1: the store's names" "$(cd "$store" && printf '%s\n' * | sed "s/^\([a-z]*\)\.inf_amd64_${infix}[0-9a-f]\{16\}$/\1/" | xargs)" \
        "balloon netkvm vioscsi viostor"
    is "$1: none is gone" "$(comm -23 <(sort "$tmp/files.before") <(sort "$tmp/files.after"))" ""
    unmount
}
for guest in $guests; do
    case $guest in
    7) golden "7" 6.1 7601 "Windows 7 Professional" Client WinNT ;;
    2008R2) golden "2008 R2" 6.1 7601 "Windows Server 2008 R2 Standard" Server ServerNT ;;
    8.1) golden "8.1" 6.3 9600 "Windows 8.1 Pro" Client WinNT ;;
    2012R2) golden "2012 R2" 6.3 9600 "Windows Server 2012 R2 Standard" Server ServerNT ;;
    11) golden "11" 10.0 22631 "Windows 10 Pro" Client WinNT ;; # that is what 11 calls itself there
    2022) golden "2022" 10.0 20348 "Windows Server 2022 Standard" Server ServerNT ;;
    2025) golden "2025" 10.0 26100 "Windows Server 2025 Standard" Server ServerNT ;;
    *) fail "there is no guest $guest" ;;
    esac
done
finish
