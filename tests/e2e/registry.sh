#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# registry/ of a hive that is the source: what hivex reads of it is what the tree shows, and what the tree exports,
# hivexregedit merges to the same.
. "$(dirname "$0")/lib.sh"
need hivexregedit hivexsh iconv
have_corpus || skip "there is no corpus"

# ---- names, types and contents ----
hive=$(corpus hive/regipy_SYSTEM.xz)
mount_ok "$hive"
name=${hive##*/}
root=$mnt/registry/$name
is "the copy to take out is the hive" "$(sha "$mnt/hives/$name")" "$(sha "$hive")"
is "the control set of now" "$(readlink "$root/CurrentControlSet")" ControlSet001
is "a dword" "$(cat "$root/CurrentControlSet/services/disk/Start.dword")" 0x00000000
is "without case, the type too" "$(cat "$root/currentcontrolset/SERVICES/Disk/start.DWORD")" 0x00000000
is "a text" "$(cat "$root/CurrentControlSet/services/disk/ImagePath.expand_sz")" 'system32\DRIVERS\disk.sys'
is "its length" "$(stat -c %s "$root/CurrentControlSet/services/disk/ImagePath.expand_sz")" 26
is "its bytes" "$(sha "$root/CurrentControlSet/services/disk/ImagePath.expand_sz.raw")" \
    "$(printf 'system32\\DRIVERS\\disk.sys\0' | iconv -f ascii -t utf-16le | sha256sum | cut -c1-64)"
check_not "another type isn't there" test -e "$root/CurrentControlSet/services/disk/Start.sz"
is ".reg isn't listed" "$(find "$root" -maxdepth 1 -name .reg | wc -l)" 0
check "but it is there" test -f "$root/Select/.reg"
is "a key's time" "$(stat -c %y "$root/Select" | cut -c1-10)" 2009-07-14
is "it is read-only" "$(stat -c %a "$root/Select/Current.dword")" 444
check_not "nothing can be written" sh -c "echo 1 >'$root/Select/Current.dword'"
is "all values" "$(find "$root" -type f | wc -l)" 73456
is "all keys" "$(find "$root" -type d | wc -l)" 30756
check "everything can be read" sh -c "grep -r -c . '$root/ControlSet001/services' >/dev/null; [ \$? -lt 2 ]"
unmount

# ---- small hives: the same tree after hivexregedit merged what we exported, and the other way round. (Hives with other
# than ASCII texts are no use here: hivexregedit takes the bytes of the UTF-8 that it reads for characters.) ----
minimal=$(corpus hive/hivex_minimal)
export_all() { hivexregedit --export --prefix 'HKEY_LOCAL_MACHINE\X' "$1" '\' 2>/dev/null; }
for file in UnicodeHive.xz MultiSzHive.xz ez_NTUSER1.DAT.xz; do
    hive=$(corpus "hive/$file")
    cp -- "$hive" "$tmp/X" && chmod u+w "$tmp/X"
    export_all "$tmp/X" >"$tmp/wanted.reg"
    mount_ok "$tmp/X"
    check "$file is exported" cp "$mnt/registry/X/.reg" "$tmp/ours.reg"
    head -c 2 "$tmp/ours.reg" | cmp -s - <(printf '\xff\xfe') || fail "$file: the export begins with a byte order mark"
    check_not "$file: no line is longer than regedit's" sh -c \
        "iconv -f utf-16 -t utf-8 '$tmp/ours.reg' | grep -aE '^  ([0-9a-f]{2},){26}'"
    unmount
    cp -- "$minimal" "$tmp/merged" && chmod u+w "$tmp/merged"
    iconv -f utf-16 -t utf-8 "$tmp/ours.reg" | tr -d '\r' >"$tmp/ours.txt"
    check "hivexregedit merges it" hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\X' "$tmp/merged" "$tmp/ours.txt"
    export_all "$tmp/merged" >"$tmp/got.reg"
    check "$file: the same keys and values" cmp "$tmp/wanted.reg" "$tmp/got.reg"
    # what hivexregedit wrote, ours reads
    cp -- "$minimal" "$tmp/Y" && chmod u+w "$tmp/Y"
    mv "$tmp/Y" "$tmp/X"
    mount_ok "$tmp/X" -- -o scratch
    check "$file: hivexregedit's export is merged" cp "$tmp/wanted.reg" "$mnt/registry/.reg"
    is "without an error" "$(cat "$mnt/registry/.reg.error")" ""
    cp "$mnt/hives/X" "$tmp/back"
    unmount
    check "a hive without a broken rule" "$FERRYFS" --check-hive "$tmp/back"
    export_all "$tmp/back" >"$tmp/got.reg"
    check "$file: the same again" cmp "$tmp/wanted.reg" "$tmp/got.reg"
done

# ---- odd names and values ----
for file in hivex_special pyreg_UNICODE_TESTS StringValuesHive.xz nthive_testhive.xz DupNameHive.xz; do
    hive=$(corpus "hive/$file")
    mount_ok "$hive"
    check "$file: all of it can be read" sh -c "cp -r '$mnt/registry' '$tmp/copy.$file'"
    check "$file: twice alike" diff -r "$mnt/registry" "$tmp/copy.$file"
    unmount
done
finish
