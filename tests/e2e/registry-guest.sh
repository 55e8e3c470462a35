#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# registry/ of a Windows-like guest: its hives by their places, edits that reach their files, and .reg over several hives.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need sgdisk mkntfs ntfs-3g hivexregedit hivexsh
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
before=$(sha "$tmp/disk.img")
sid=S-1-5-21-3851833874-1800822990-1357392098-1000

# ---- reading ----
mount_ok "$tmp/disk.img"
is "the places" "$(ls "$mnt/registry" | tr '\n' ' ')" "HKEY_LOCAL_MACHINE HKEY_USERS HKLM HKU "
is "the machine's hives" "$(ls "$mnt/registry/HKLM/" | tr '\n' ' ')" "DRIVERS SAM SECURITY SOFTWARE SYSTEM "
is "the users'" "$(ls -A "$mnt/registry/HKU/" | tr '\n' ' ')" ".DEFAULT S-1-5-19 $sid ${sid}_Classes "
is "a service's number" "$(cat "$mnt/registry/HKLM/system/CurrentControlSet/services/disk/Start.dword")" 0x00000000
check "a user's values" test -d "$mnt/registry/HKU/$sid/Software/Microsoft"
is "a dirty hive with its logs" "$(find "$mnt/registry/HKLM/DRIVERS" -type d | wc -l)" 5
check "everything can be read" sh -c "grep -rc . '$mnt/registry/HKEY_USERS' >/dev/null; [ \$? -lt 2 ]"
is "every hive is in the export of all" "$(iconv -f utf-16 -t utf-8 "$mnt/registry/.reg" | tr -d '\r' |
    grep -cxE '\[HKEY_[A-Z_]+\\[^\]+\]')" 9
is "once with a header" "$(iconv -f utf-16 -t utf-8 "$mnt/registry/.reg" | grep -ac '^Windows Registry Editor')" 1
check_not "nothing can be written" sh -c "echo 1 >'$mnt/registry/HKLM/SYSTEM/Select/Current.dword'"
unmount

# ---- writing ----
mount_ok "$tmp/disk.img" -- -o scratch
hklm=$mnt/registry/HKEY_LOCAL_MACHINE
services=$hklm/SYSTEM/CurrentControlSet/services
config=$mnt/guest/C/Windows/System32/config
check "a number" sh -c "echo 3 >'$services/disk/Start.dword'"
is "is there" "$(cat "$services/disk/Start.dword")" 0x00000003
check "durable" sync "$mnt/info.json"
check "the hive's file" cp "$config/SYSTEM" "$tmp/SYSTEM"
check "has no broken rule" "$FERRYFS" --check-hive "$tmp/SYSTEM"
is "and the number" "$(hivexsh "$tmp/SYSTEM" <<<'cd ControlSet001\services\disk
lsval Start')" 3
cat >"$tmp/both.reg" <<EOR
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\x]
"a"=dword:1

[HKEY_USERS\\$sid\\Software\\New]
"b"="c"
EOR
check "a merge into two hives" cp "$tmp/both.reg" "$mnt/registry/.reg"
is "one" "$(cat "$services/x/a.dword")" 0x00000001
is "the other" "$(cat "$mnt/registry/HKU/$sid/Software/New/b.sz")" c
printf '[HKEY_LOCAL_MACHINE\\SAM\\y]\nzzz\n' >>"$tmp/both.reg"
sed -i 's/Services.x/Services\\never/' "$tmp/both.reg"
check_not "a bad one" cp "$tmp/both.reg" "$mnt/registry/.reg"
check_not "changes no hive" test -e "$services/never"
check "moved between hives, as a copy" mv "$services/x" "$hklm/SOFTWARE/x"
is "is there" "$(cat "$hklm/SOFTWARE/x/a.dword")" 0x00000001
check_not "and not here" test -e "$services/x"
check "an edit of a hive whose logs were replayed" mkdir "$hklm/DRIVERS/new"
check "every hive is as it should be at the end" sync "$mnt/info.json"
for hive in SYSTEM SOFTWARE SAM DRIVERS; do
    cp "$config/$hive" "$tmp/$hive"
    check "$hive" "$FERRYFS" --check-hive "$tmp/$hive"
done
hivexsh -w "$tmp/SAM" <<<'cd SAM
add ByHivex
commit' >"$out" 2>&1
check "a hive's file may be written itself" cp "$tmp/SAM" "$config/SAM"
check "and is read anew" test -d "$hklm/SAM/SAM/ByHivex"
check "an edit" mkdir "$hklm/SAM/SAM/Edit"
check_not "then it may not" cp "$tmp/SAM" "$config/SAM"
check "the edit stays" test -d "$hklm/SAM/SAM/Edit"
unmount

# ---- kept in an overlay ----
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay"
check "an edit" sh -c "echo 4 >'$mnt/registry/HKLM/SYSTEM/CurrentControlSet/services/disk/Start.dword'"
unmount
mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay"
is "is there again" "$(cat "$mnt/registry/HKLM/SYSTEM/CurrentControlSet/services/disk/Start.dword")" 0x00000004
unmount
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
