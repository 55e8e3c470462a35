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

# ---- the hives' files go, come and move ----
mount_ok "$tmp/disk.img" -- -o scratch
hives() { (cd "$mnt/registry/HKLM/" && shopt -s nullglob && all=(*) && echo "${all[*]-}"); }
with_key() { # with_key HIVE FILE KEY: a copy with a key more at the top of SAM
    cp "$1" "$2" && hivexsh -w "$2" >"$out" 2>&1 <<<"cd SAM
add $3
commit"
}
cp "$config/SAM" "$tmp/SAM"
check "a hive with another key" with_key "$tmp/SAM" "$tmp/SAM.one" One
check "and one more" with_key "$tmp/SAM" "$tmp/SAM.two" Two
is "the hives" "$(hives)" "DRIVERS SAM SECURITY SOFTWARE SYSTEM"
check "an edit" mkdir "$hklm/SAM/SAM/Edit"
# A second's commit may have come by itself: then it is another edit's turn.
check_not "with one, its file isn't removed" sh -c "mkdir '$hklm/SAM/SAM/Edit2' && rm -f '$config/SAM'"
like "it is busy" "$(cat "$out")" 'busy'
check_not "nor moved away" sh -c "mkdir '$hklm/SAM/SAM/Edit3' && mv '$config/SAM' '$config/SAM.old'"
check_not "nor another one over it" sh -c "mkdir '$hklm/SAM/SAM/Edit4' && mv '$config/SOFTWARE' '$config/SAM'"
check_not "nor is its directory" sh -c "mkdir '$hklm/SAM/SAM/Edit5' && mv '$config' '$config.old'"
check_not "through volumes/ neither" sh -c "mkdir '$hklm/SAM/SAM/Edit6' && rm -f '$mnt'/volumes/*/Windows/System32/config/SAM"
check_not "nor is it made longer" sh -c "mkdir '$hklm/SAM/SAM/Edit7' && fallocate -l 4M '$config/SAM'"
like "it is busy" "$(cat "$out")" 'busy'
is "all edits stay" "$(find "$hklm/SAM/SAM" -maxdepth 1 -name 'Edit*' | wc -l)" 7
check "durable" sync "$mnt/info.json"
check "then it is removed" rm "$config/SAM"
is "the hive is gone" "$(hives)" "DRIVERS SECURITY SOFTWARE SYSTEM"
check_not "it isn't found" test -e "$hklm/SAM"
check_not "it takes no keys" mkdir "$hklm/SAM/SAM/Lost"
is "nor is it said to be there" "$(json "$mnt/info.json" '[.registry.hives[] | select(.name == "SAM")] | length')" 0
check "the export of all is without it" sh -c "iconv -f utf-16 -t utf-8 '$mnt/registry/.reg' | grep -qv 'HKEY_LOCAL_MACHINE.SAM'"
printf 'Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\SAM\\SAM\\Lost]\n' >"$tmp/lost.reg"
check_not "a merge into it is refused" cp "$tmp/lost.reg" "$mnt/registry/.reg"
like "with the reason" "$(cat "$mnt/registry/.reg.error")" 'is no hive of this guest'
check "a file is put there" cp "$tmp/SAM.one" "$config/SAM"
is "it is the hive" "$(hives)" "DRIVERS SAM SECURITY SOFTWARE SYSTEM"
check "as it is there" test -d "$hklm/SAM/SAM/One"
check "it takes keys" mkdir "$hklm/SAM/SAM/Kept"
check "durable" sync "$mnt/info.json"
cp "$config/SAM" "$tmp/SAM.now"
check "which are in that file" bash -c "hivexsh '$tmp/SAM.now' <<<'cd SAM\\Kept'"
check "another file beside it" cp "$tmp/SAM.two" "$config/SAM.new"
check "is renamed over it, as rsync does" mv "$config/SAM.new" "$config/SAM"
check "then that is the hive" test -d "$hklm/SAM/SAM/Two"
check_not "and not the old one" test -e "$hklm/SAM/SAM/One"
check "it takes keys" mkdir "$hklm/SAM/SAM/Second"
check "durable" sync "$mnt/info.json"
cp "$config/SAM" "$tmp/SAM.now"
check "which are in that file" bash -c "hivexsh '$tmp/SAM.now' <<<'cd SAM\\Second'"
check "it has no broken rule" "$FERRYFS" --check-hive "$tmp/SAM.now"
replaced() { # the kernel has just seen keys of the one before
    mkdir "$hklm/SAM/SAM/x$1" && sync "$mnt/info.json" && cp "$tmp/SAM.two" "$config/SAM.new" && mv "$config/SAM.new" "$config/SAM" &&
        mkdir "$hklm/SAM/SAM/Second" && sync "$mnt/info.json"
}
for i in 1 2 3 4 5; do check "replaced and edited at once, $i" replaced $i; done
check "moved away" mv "$config/SAM" "$config/SAM.old"
is "it is no hive any more" "$(hives)" "DRIVERS SECURITY SOFTWARE SYSTEM"
check "put back" mv "$config/SAM.old" "$config/SAM"
check "it is one" test -d "$hklm/SAM/SAM/Second"
check "two change places" sh -c "mv '$config/SAM' '$config/x' && mv '$config/SECURITY' '$config/SAM' && mv '$config/x' '$config/SECURITY'"
check "one is the other" test -d "$hklm/SECURITY/SAM/Second"
check "the other too" test -d "$hklm/SAM/Policy"
check "their directory is moved" mv "$config" "$config.away"
is "then there is none" "$(hives)" ""
like "and the guest can't be prepared" "$(cat "$mnt/prepare/kvm" 2>&1)" 'BLOCKED: '
check "and back" mv "$config.away" "$config"
is "all are there" "$(hives)" "DRIVERS SAM SECURITY SOFTWARE SYSTEM"
is "as they were" "$(cat "$services/disk/Start.dword")" 0x00000000
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
