# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Driver packages for the tests, out of the corpus, and what is looked at in the guest. Sourced after windows.bash.

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

# hives_hold WHAT HIVES [NAME]: what is written keeps every rule of ours, and others' programs read all of it.
hives_hold() {
    local hive
    hives_read "$@"
    for hive in $2; do
        check "$1: $hive" "$FERRYFS" --check-hive "$tmp/$hive"
    done
}

# hives_read WHAT HIVES [NAME]: hivex and libregf read the hives. NAME: what they read is kept, for hives_equal.
hives_read() {
    local hive to buffered=${FERRYFS%/*}/tests/buffered.so
    [ -e "$buffered" ] || buffered=
    sync "$mnt/info.json"
    for hive in $2; do
        to=$tmp/${3-now}.$hive
        cp "$windows/System32/config/$hive" "$tmp/$hive"
        check "$1: $hive by hivexml" sh -c "hivexml '$tmp/$hive' >'$to.xml'"
        check "$1: $hive by regfexport" sh -c "LD_PRELOAD='$buffered' regfexport '$tmp/$hive' >'$to.regf' 2>'$tmp/regf.err'"
        is "$1: and it complains of nothing" "$(cat "$tmp/regf.err")" ""
        is "$1: as many keys by both" "$(grep -c '^Key path: ' "$to.regf")" "$(grep -o '<node' "$to.xml" | wc -l)"
        # where a key lies in the file and when it was written are no part of what it holds
        sed -i 's|<byte_run [^>]*>||g; s|<mtime>[^<]*</mtime>||g' "$to.xml"
    done
}

# hives_equal WHAT HIVES A B: what the others' programs read under two names is the same: keys, values and their data.
hives_equal() {
    local hive
    for hive in $2; do
        check "$1: $hive as hivexml reads it" cmp "$tmp/$3.$hive.xml" "$tmp/$4.$hive.xml"
        check "$1: $hive as regfexport reads it" cmp "$tmp/$3.$hive.regf" "$tmp/$4.$hive.regf"
    done
}

# tree_of: the guest's files and registry, for comparisons.
tree_of() {
    (cd "$windows" && find . -type f ! -path './System32/config/*' -exec sha256sum {} + | sort -k2)
    (cd "$store" 2>/dev/null && find . -mindepth 1 -type d | sort)
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
windows=$mnt/guest/C/Windows
store=$windows/System32/DriverStore/FileRepository
catroot="$windows/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
system=$mnt/registry/HKLM/SYSTEM
set=$system/ControlSet001
v() { tr '\n' ' ' <"$1"; }
bytes() { od -An -tx1 -v "$1" | tr -d ' \n'; }

