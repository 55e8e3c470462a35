#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# drivers/ on Windows-like guests made of the corpus' hives: virtio-win's packages go in and out. What is wanted of each
# value is argued from what real installed packages look like and from the INFs, which are quoted.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need sgdisk mkntfs ntfs-3g hivexregedit hivexsh python3 jq
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
before=$(sha "$tmp/disk.img")
win10=$(corpus hive/regipy_SYSTEM_WIN_10_1709.xz) # x64

# program MACHINE FILE: the beginning of a program of Windows for that processor (14c, 8664), with a digest of its own.
program() {
    python3 - "$1" "$2" <<'PY'
import struct, sys
pe = struct.pack("<4sHHIIIHH", b"PE\0\0", int(sys.argv[1], 16), 0, 0, 0, 0, 0xf0, 0x22)
open(sys.argv[2], "wb").write(b"MZ" + bytes(58) + struct.pack("<I", 64) + pe + bytes(0xf0) + sys.argv[2].encode())
PY
}

# package DIR MACHINE NAME...: copies INFs and catalogs of the corpus, and makes up the programs that they name.
package() {
    local from=$FERRYFS_CORPUS/driverpkg/virtio/$1 machine=$2 to name file
    shift 2
    to=$tmp/pkg-$1
    rm -rf "$to"
    mkdir "$to"
    for name; do
        cp "$from/$name.inf" "$from/$name.cat" "$to/"
        for file in $(sed -n '/^\[SourceDisksFiles/I,/^\[Dest\|^\[Manu/Is/^\([A-Za-z0-9_]*\.[a-z]*\) *=.*/\1/p' "$to/$name.inf"); do
            program "$machine" "$to/$file"
        done
    done
    chmod -R u+w "$to"
    echo "$to"
}

# software MAJOR.MINOR BUILD: what kind of Windows it is, in the mounted guest.
software() {
    local nt='HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    {
        printf 'Windows Registry Editor Version 5.00\n\n[%s]\n"CurrentBuildNumber"="%s"\n' "$nt" "$2"
        case $1 in
        10.0) printf '"CurrentVersion"="6.3"\n"CurrentMajorVersionNumber"=dword:0000000a\n"CurrentMinorVersionNumber"=dword:0\n' ;;
        *) printf '"CurrentVersion"="%s"\n' "$1" ;;
        esac
    } >"$tmp/software.reg"
    cp "$tmp/software.reg" "$mnt/registry/.reg"
}

# hives_hold WHAT: what is written keeps every rule of ours, and hivex reads it.
hives_hold() {
    local hive
    sync "$mnt/info.json"
    for hive in SYSTEM DRIVERS; do
        cp "$windows/System32/config/$hive" "$tmp/$hive"
        check "$1: $hive" "$FERRYFS" --check-hive "$tmp/$hive"
        check "$1: $hive by hivex" sh -c "hivexregedit --export '$tmp/$hive' '\\' >'$tmp/$hive.reg'"
    done
}

# tree_of: the guest's files and registry, for comparisons.
tree_of() {
    (cd "$windows" && find . -type f ! -path './System32/config/*' -exec sha256sum {} + | sort -k2)
    iconv -f utf-16 -t utf-8 "$mnt/registry/HKLM/SYSTEM/.reg"
    iconv -f utf-16 -t utf-8 "$mnt/registry/HKLM/DRIVERS/.reg"
}

# processor NAME: of the mounted guest
processor() {
    printf 'Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet001\\Control\\Session Manager\\Environment]\n"PROCESSOR_ARCHITECTURE"="%s"\n' \
        "$1" >"$tmp/arch.reg"
    cp "$tmp/arch.reg" "$mnt/registry/.reg"
}

stage() { cp -r "$1" "$mnt/drivers/staging/"; }
install() { mv "$mnt/drivers/staging/$1" "$mnt/drivers/installed/"; }
log() { cat "$mnt/drivers/log"; }
v() { cat "$1"; }
# unit TEXT: hexadecimal UTF-16
windows=$mnt/guest/C/Windows
set=$mnt/registry/HKLM/SYSTEM/ControlSet001

# ---- Windows 7, 32 bits: CriticalDeviceDatabase ----
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay7"
is "the tree" "$(ls "$mnt/drivers" | tr '\n' ' ')" "installed log staging "
software 6.1 7601
is "nothing is installed" "$(ls "$mnt/drivers/installed")" ""
processor AMD64
pkg=$(package Win7/amd64 8664 viostor)
check "a package is staged" stage "$pkg"
check "as it was" diff -r "$pkg" "$mnt/drivers/staging/pkg-viostor"
tree_of >"$tmp/tree.before"
check "and installed" install pkg-viostor
log
find $windows -newer "$tmp/tree.before" -type f
tree_of >"$tmp/tree.after"
diff "$tmp/tree.before" "$tmp/tree.after"
hives_hold "after the installation"
ls -R "$mnt/drivers"
cat "$mnt/drivers/installed/oem0.inf/info.json"
check "rm -r" rm -r "$mnt/drivers/installed/oem0.inf"
tree_of >"$tmp/tree.gone"
diff "$tmp/tree.before" "$tmp/tree.gone"
log
unmount
finish
