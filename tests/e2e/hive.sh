#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Hives: what our edits leave as hivex, libregf and reged read it, what hivexregedit wrote as we read it, and --check-hive.
. "$(dirname "$0")/lib.sh"
need perl hivexregedit hivexml regfexport reged python3
perl -MWin::Hivex -e 1 2>/dev/null || skip "Win::Hivex is not installed"
tests=$(dirname "$FERRYFS")/tests
[ -x "$tests/test-hive-edits" ] || skip "test-hive-edits is not built"
export LC_ALL=C.UTF-8
here=$(dirname "$(readlink -f "$0")")/..

mkdir "$tmp/edited"
check "random edits" env -u FERRYFS_CORPUS FERRYFS_HIVE_EDITS=1200 FERRYFS_HIVE_DUMP="$tmp/edited" "$tests/test-hive-edits"
check "other programs read what we wrote" python3 "$here/tools/hive-oracles.py" "$tmp/edited"

# reged reads less than others do
mkdir "$tmp/plain"
check "random edits, plain ones" env -u FERRYFS_CORPUS FERRYFS_HIVE_EDITS=2400 FERRYFS_HIVE_DUMP="$tmp/plain" FERRYFS_HIVE_PLAIN=1 \
    "$tests/test-hive-edits"
check "other programs read what we wrote" python3 "$here/tools/hive-oracles.py" "$tmp/plain"
like "reged among them" "$(cat "$out")" '^[4-9] hives, [4-9] of them by reged too, 0 differ'

dump() { perl "$here/tools/hive-dump.pl" "$1" | sort; }
for minor in 3 5; do
    hive="$tmp/edited/empty 1.$minor.hive"
    check "1.$minor: no rule is broken" "$FERRYFS" --check-hive "$hive"
    cat >"$tmp/merge.reg" <<'EOF'
Windows Registry Editor Version 5.00

[HKEY_LOCAL_MACHINE\TEST\Services]

[HKEY_LOCAL_MACHINE\TEST\Services\vioscsi]
"Start"=dword:00000000
"ImagePath"=hex(2):61,00,62,00,00,00
@=hex:01,02,03,04,05,06,07,08,09
EOF
    check "1.$minor: hivexregedit merges into it" hivexregedit --merge --prefix 'HKEY_LOCAL_MACHINE\TEST' "$hive" "$tmp/merge.reg"
    is "1.$minor: we read what it wrote" "$("$tests/hive-cat" "$hive" | sort)" "$(dump "$hive")"
done

head -c 8192 /dev/zero >"$tmp/zeros"
"$FERRYFS" --check-hive "$tmp/zeros" 2>"$err"
is "not a hive: exit status" $? 2
like "not a hive: message" "$(cat "$err")" 'not a registry hive'
hive="$tmp/edited/empty 1.6.hive"
printf '\377\377\377\377' | dd of="$hive" bs=1 seek=$((4096 + 32 + 4 + 28)) conv=notrunc status=none # the root's list
"$FERRYFS" --check-hive "$hive" >"$tmp/out"
is "a broken rule: exit status" $? 1
like "a broken rule: message" "$(cat "$tmp/out")" 'at byte [0-9]+: .*list of subkeys'
finish
