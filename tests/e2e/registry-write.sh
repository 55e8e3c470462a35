#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Writing in registry/ with ordinary tools, on a hive that is the source; hivex and the checker judge the result.
. "$(dirname "$0")/lib.sh"
need hivexsh python3 rsync git vim sed
have_corpus || skip "there is no corpus"
hive=$(corpus hive/regipy_SYSTEM.xz)
before=$(sha "$hive")
cp "$hive" "$tmp/SYSTEM"
mount_ok "$tmp/SYSTEM" -- -o scratch
root=$mnt/registry/SYSTEM
services=$root/ControlSet001/services
disk=$services/disk

# ---- typed files ----
is "numbers are shown in hex" "$(cat "$disk/Start.dword")" 0x00000000
check "a number in decimal" sh -c "echo 3 >'$disk/Start.dword'"
is "is there" "$(cat "$disk/Start.dword")" 0x00000003
check "in hex, without a newline" sh -c "printf 0x1f >'$disk/Start.dword'"
is "is there" "$(cat "$disk/Start.dword")" 0x0000001f
check_not "what is no number is refused" sh -c "echo 12z >'$disk/Start.dword'"
is "the old value stays" "$(cat "$disk/Start.dword")" 0x0000001f
check_not "nor one that is too large" sh -c "echo 4294967296 >'$disk/Start.dword'"
check "truncation is nothing to a number" sh -c ": >'$disk/Start.dword'"
is "the old value stays" "$(cat "$disk/Start.dword")" 0x0000001f
check_not "text that isn't UTF-8" sh -c "printf 'a\\377' >'$disk/DisplayName.sz'"
is "the old text stays" "$(cat "$disk/DisplayName.sz")" "Disk Driver"
check "an empty text" sh -c ": >'$disk/DisplayName.sz'"
is "is terminated" "$(od -An -tx1 "$disk/DisplayName.sz.raw" | tr -d ' ')" 0000
check "bytes are written as .raw" sh -c "printf 'a\\0b' >'$disk/DisplayName.sz.raw'"
is "what has no text is listed with its bytes" "$(cd "$disk" && echo DisplayName*)" DisplayName.sz.raw
check "a text makes it one again" sh -c "printf 'gr\\303\\274n\\n' >'$disk/DisplayName.sz'"
is "listed as that" "$(cd "$disk" && echo DisplayName*)" DisplayName.sz
is "in UTF-16" "$(od -An -tx1 "$disk/DisplayName.sz.raw" | tr -d ' \n')" 67007200fc006e000000
check_not "an empty line can't be in a list" sh -c "printf 'a\\n\\nb\\n' >'$disk/L.multi_sz'"
check_not "and none is left of it" test -e "$disk/L.multi_sz"
check "another type" sh -c "echo hello >'$disk/ImagePath.sz'"
is "is of the same value" "$(cd "$disk" && echo ImagePath*)" ImagePath.sz
check "changed back by a rename" mv "$disk/ImagePath.sz" "$disk/ImagePath.expand_sz"
is "with its text" "$(cat "$disk/ImagePath.expand_sz")" hello
check "renamed" mv "$disk/ImagePath.expand_sz" "$disk/Other.expand_sz"
check_not "the old name is gone" test -e "$disk/ImagePath.expand_sz"
check "back" mv "$disk/Other.expand_sz" "$disk/imagepath.expand_sz"
check_not "a text that is no number can't become one" mv "$disk/imagepath.expand_sz" "$disk/imagepath.dword"
check "removed" rm "$disk/IMAGEPATH.expand_sz"
check "a large binary" cp "$FERRYFS" "$disk/big.binary"
check "is the same" cmp "$FERRYFS" "$disk/big.binary"
check "an odd type" sh -c "printf xyz >'$disk/odd.0xffff0012'"
is "is kept" "$(cat "$disk/odd.0xffff0012")" xyz
check "the default value" sh -c "echo d >'$disk/@.sz'"
python3 - "$disk" <<'EOP' || fail "names that need escapes"
import os, sys
d = sys.argv[1]
name = "n" * 300
os.mkdir(d + "/a%2Fb 100%25")
open(d + "/a%2Fb 100%25/x%00y.sz", "w").write("nul\n")
open(d + "/%uD800.sz", "w").write("lone\n")
open(d + "/%40.sz", "w").write("at\n")
assert sorted(os.listdir(d + "/a%2Fb 100%25")) == ["x%00y.sz"]
assert "%uD800.sz" in os.listdir(d) and "%40.sz" in os.listdir(d) and "@.sz" in os.listdir(d)
open(d + "/" + name + ".sz", "w").write("long\n")
short = [n for n in os.listdir(d) if n.startswith("nnnn")]
assert len(short) == 1 and len(short[0]) <= 255 and "%~" in short[0], short
assert os.getxattr(d + "/" + short[0], "user.ferryfs.name").decode() == name
assert open(d + "/" + short[0]).read() == "long\n"
for bad in ("a%41.sz", "%zz.sz", "x.0x00000001"):
    try:
        open(d + "/" + bad, "w")
        sys.exit("made: " + bad)
    except OSError as e:
        assert e.errno == 22, e
# in one open file: each close of a copy sets the value from all the text so far
fd = os.open(d + "/parts.dword", os.O_WRONLY | os.O_CREAT)
os.write(fd, b"0x")
copy = os.dup(fd)
try:
    os.close(copy)
    sys.exit("an incomplete text was taken")
except OSError as e:
    assert e.errno == 22
os.write(fd, b"12")
os.close(fd)
assert open(d + "/parts.dword").read() == "0x00000012\n"
EOP

# ---- tools ----
check "sed -i" sed -i 's/1f/2f/' "$disk/Start.dword"
is "has its effect" "$(cat "$disk/Start.dword")" 0x0000002f
check_not "sed -i with nonsense" sed -i 's/2f/zz/' "$disk/Start.dword"
is "has none" "$(cat "$disk/Start.dword")" 0x0000002f
rm -f "$disk"/sed* # what sed couldn't rename it leaves behind, as anywhere
check "vim" vim -u NONE -N -es -c 's/2f/03/' -c wq "$disk/Start.dword"
is "has its effect" "$(cat "$disk/Start.dword")" 0x00000003
check "vim with a backup by renaming" vim -u NONE -N -es -c 'set backup writebackup backupcopy=no backupskip=' -c 's/03/04/' -c wq "$disk/Start.dword"
is "has its effect" "$(cat "$disk/Start.dword")" 0x00000004
is "its backup is a scratch file" "$(cat "$disk/Start.dword~")" 0x00000003
check "which can go" rm "$disk/Start.dword~"
is "and the value stays" "$(cat "$disk/Start.dword")" 0x00000004
check "cp -a of a key" cp -a "$disk" "$services/disk2"
check "the same" diff -r "$disk" "$services/disk2"
check "rsync -a" rsync -a "$disk/" "$services/disk3/"
check "the same" diff -r "$disk" "$services/disk3"
check "out and in again" sh -c "cp -a '$disk' '$tmp/out' && cp -a '$tmp/out' '$services/disk4'"
check "the same" diff -r "$disk" "$services/disk4"
check "git diff --no-index sees none" git diff --no-index --quiet "$disk" "$services/disk4"
echo 7 >"$services/disk4/Start.dword"
like "and one" "$(git diff --no-index "$disk" "$services/disk4")" '^\+0x00000007'
check "mv of a key" mv "$services/disk4" "$services/a-longer-name-than-disk4"
check_not "rmdir of one that isn't empty" rmdir "$services/disk3"
check "rm -r" rm -r "$services/disk3" "$services/a-longer-name-than-disk4"
check_not "is gone" test -e "$services/disk3"
is "find" "$(find "$services/disk2" -name 'start.dword' -o -name 'Start.dword' | wc -l)" 1
check "grep -r" grep -rq 0x00000004 "$services/disk2"
check "chmod, chown and touch are accepted" sh -c \
    "chmod 600 '$disk/Start.dword' && chown 1:1 '$disk/Start.dword' && touch '$disk/Start.dword' '$disk'"
check_not "the link can't go" rm "$root/CurrentControlSet"
check_not "no link can be made" ln -s x "$disk/y"
check "scratch files" sh -c "echo anything >'$disk/note'; mv '$disk/note' '$disk/note2'; rm '$disk/note2'"
check "committed by a rename" sh -c "echo 9 >'$disk/tmp1'; mv '$disk/tmp1' '$disk/Tag.dword'"
is "is a value" "$(cat "$disk/Tag.dword")" 0x00000009
check "a value away and back" sh -c "mv '$disk/Tag.dword' '$disk/aside' && mv '$disk/aside' '$disk/Tag.dword'"
is "is as it was" "$(cat "$disk/Tag.dword")" 0x00000009
check "a value away" mv "$disk/Tag.dword" "$disk/aside"
check_not "isn't listed" test -e "$disk/Tag.dword"
check "is deleted with what it became" rm "$disk/aside"
check_not "for good" test -e "$disk/Tag.dword"

# ---- .reg ----
reg() { printf 'Windows Registry Editor Version 5.00\r\n\r\n%b' "$1"; }
reg '[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\new\\deep]\r\n"a"=dword:5\r\n@="x"\r\n"l"=hex(7):61,00,\\\r\n  00,00,00,00\r\n' >"$tmp/1.reg"
check "a merge" cp "$tmp/1.reg" "$mnt/registry/.reg"
is "a dword of it" "$(cat "$services/new/deep/a.dword")" 0x00000005
is "a list" "$(cat "$services/new/deep/l.multi_sz")" a
reg '[HKEY_LOCAL_MACHINE\\SYSTEM\\Setup\\bad]\r\n"a"=dword:5\r\n"b"=oops\r\n' >"$tmp/2.reg"
check_not "a bad one" cp "$tmp/2.reg" "$mnt/registry/.reg"
like "says where" "$(cat "$mnt/registry/.reg.error")" '^line 5: '
check_not "and changes nothing" test -e "$root/Setup/bad"
reg '[HKEY_LOCAL_MACHINE\\NOSUCH\\x]\r\n' >"$tmp/3.reg"
check_not "a hive that isn't there" cp "$tmp/3.reg" "$mnt/registry/.reg"
reg '[-HKLM\\SYSTEM\\ControlSet001\\Services\\new]\r\n[HKLM\\SYSTEM\\Setup]\r\n"gone"=-\r\n' | iconv -f utf-8 -t utf-16 >"$tmp/4.reg"
check "deletions, in UTF-16, to the hive's own" cp "$tmp/4.reg" "$root/.reg"
check_not "the key is gone" test -e "$services/new"
check "what was said about errors is gone" test -z "$(cat "$mnt/registry/.reg.error")"
{ reg '[HKLM\\SYSTEM\\Two]\r\n"a"=dword:1\r\n'; printf '"b"=dw'; } >"$tmp/5a"
printf 'ord:2\r\n' >"$tmp/5b"
check "in two parts, by two programs" sh -c "(cat '$tmp/5a'; cat '$tmp/5b') >'$mnt/registry/.reg'"
is "the first" "$(cat "$root/Two/a.dword")" 0x00000001
is "the second" "$(cat "$root/Two/b.dword")" 0x00000002
check_not "not to a key's .reg" cp "$tmp/1.reg" "$services/.reg"

# ---- others read it ----
check "everything so far is durable" sync "$mnt/info.json"
check "the edited hive" cp "$mnt/hives/SYSTEM" "$tmp/edited"
check "has no broken rule" "$FERRYFS" --check-hive "$tmp/edited"
is "hivex sees the number" "$(hivexsh "$tmp/edited" <<<'cd ControlSet001\services\disk
lsval Start')" 4
is "and the name with a slash" "$(hivexsh "$tmp/edited" <<<'cd ControlSet001\services\disk
ls')" 'a/b 100%'
unmount
is "the source is as it was" "$(sha "$tmp/SYSTEM")" "$before"

# ---- kept in a directory ----
mkdir -p "$tmp/kept"
cd "$tmp" || exit 1
mount_ok SYSTEM -- -o overlay=kept # the daemon is elsewhere when it opens them
check "an edit" sh -c "echo 4 >'$disk/Start.dword'"
unmount
cd / || exit 1
mount_ok "$tmp/SYSTEM" -- -o overlay="$tmp/kept"
is "is there again" "$(cat "$disk/Start.dword")" 0x00000004
mkdir "$tmp/second"
"$FERRYFS" -o overlay="$tmp/kept" "$tmp/SYSTEM" "$tmp/second" 2>"$err"
is "a second daemon is refused: exit status" $? 2
like "and why" "$(cat "$err")" 'the overlay is in use: it is mounted at'
unmount
is "the source is as it was" "$(sha "$tmp/SYSTEM")" "$before"
mkdir "$tmp/other"
cp "$tmp/SYSTEM" "$tmp/other/SYSTEM"
printf x | dd of="$tmp/other/SYSTEM" bs=1 seek=$((4096 + 4000)) conv=notrunc status=none
mount_fails 2 "SYSTEM: isn't the hive that the edits in .* were made for" "$tmp/other/SYSTEM" -- -o overlay="$tmp/kept"
mount_ok "$tmp/other/SYSTEM" -- -o overlay="$tmp/kept",rebind
is "by rebind it is taken" "$(cat "$disk/Start.dword")" 0x00000004
unmount
cp "$tmp/SYSTEM" "$tmp/other/lock"
mount_fails 1 'lock: has a name that the overlay' "$tmp/other/lock" -- -o overlay="$tmp/kept"
finish
