#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# diff/: the source's files with diff/files put over them, and without those of removed.txt, are the guest's as they are
# now; a .reg merged into the source's hive gives the present one, by us and by hivexregedit.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need mkfs.ext4 debugfs mkfs.vfat mcopy jq rsync setfattr python3
cd "$tmp" || exit 1

changes() { jq -r '.files[] | "\(.what) \(.path)" + (if .attributes then " " + (.attributes | join(",")) else "" end)' "$mnt/diff/changes.json"; }
is_json() { jq -e . "$mnt/diff/changes.json"; }

# inventory DIRECTORY: all that a copy would keep of it; not the times of directories.
inventory() {
    (cd "$1" && find . -mindepth 1 -not -type d -printf '%p %y %m %U %G %s %l %T@\n' -o -type d -printf '%p %y %m %U %G\n' | sort
        find . -type f -exec sha256sum {} + | sort -k 2
        find . -not -type l -print0 | sort -z | xargs -0 getfattr -d -m '^user\.' -- 2>/dev/null)
}

# applied WHAT BASE FILES REMOVED NOW: BASE becomes NOW by what diff/ says.
applied() {
    local path
    while read -r path; do rm -r "${2:?}/${path:?}" || fail "$1: $path was no file of the source"; done <"$4"
    check "$1: the files are put over the source's" cp -a "$3/." "$2/"
    inventory "$2" >base.list
    inventory "$5" >now.list
    check "$1: the source and the differences are the guest" diff -u base.list now.list
    check "$1: by their content" diff -r --no-dereference "$2" "$5"
}

# edits DIRECTORY FULL: FULL: with links, modes and attributes.
edits() {
    local g=$1
    echo new >"$g/etc/new"
    echo more >>"$g/etc/longer"
    rm -r "$g/gone"
    mv "$g/many/f5" "$g/etc/moved"
    rm "$g/etc/kind" && mkdir "$g/etc/kind" && echo x >"$g/etc/kind/x"
    rm -r "$g/kind2" && echo x >"$g/kind2"
    mkdir -p "$g/a/b/c" && echo deep >"$g/a/b/c/d"
    mv "$g/tree" "$g/tree2"
    truncate -s 100 "$g/many/f9"
    touch -d @1000000000 "$g/many/f11"
    # in place, and the time set back: only the bytes tell
    printf XX | dd of="$g/big" bs=1 seek=2000000 conv=notrunc status=none
    touch -r t/big "$g/big"
    [ -n "$2" ] || return 0
    chmod 640 "$g/many/f20"
    setfattr -n user.one -v 1 "$g/many/f21"
    setfattr -n user.kept -v other "$g/etc/attr"
    ln -sfn /etc/new "$g/link"
    ln "$g/etc/longer" "$g/etc/hard"
}

content() {
    mkdir -p t/etc t/many t/gone/x t/kind2/y t/tree/deep
    for i in $(seq 400); do echo "$i" >"t/many/f$i"; done
    head -c 3000000 /dev/urandom >t/big
    for f in longer kind attr same; do echo $f >"t/etc/$f"; done
    echo x >t/gone/x/y
    echo x >t/kind2/y/z
    echo x >t/tree/deep/x
    touch -d @1600000000 t/big t/etc/* t/many/*
}
content
rsync -a t/ plain/ # for FAT
ln -s /etc/longer t/link
setfattr -n user.kept -v this t/etc/attr || skip "no extended attributes in $tmp"

# volume WHAT IMAGE FULL: a file system that is no part of a system.
volume() {
    mount_ok "$2" -- -o "overlay=ov-$1"
    is "$1: nothing differs" "$(changes)" ""
    is "$1: no volume does" "$(ls "$mnt/diff/volumes")" ""
    rm -rf base
    check "$1: the source" rsync -aX "$mnt/volumes/disk0/" base/
    edits "$mnt/volumes/disk0" "$3"
    check "$1: changes.json is JSON" is_json
    changes >list
    for line in 'added volumes/disk0/etc/new$' 'changed volumes/disk0/big' 'removed volumes/disk0/gone$' \
        'removed volumes/disk0/many/f5$' 'added volumes/disk0/etc/moved' 'changed volumes/disk0/etc/kind' \
        'attributes volumes/disk0/many/f11 mtime' 'removed volumes/disk0/tree$' 'added volumes/disk0/tree2/deep/x'; do
        check "$1: $line" grep -q "^$line" list
    done
    check_not "$1: nothing else" grep -Eq 'etc/same|many/f6$|many/f400' list
    applied "$1" base "$mnt/diff/volumes/disk0/files" "$mnt/diff/volumes/disk0/removed.txt" "$mnt/volumes/disk0"
    check_not "$1: nothing can be written there" sh -c "echo x >'$mnt/diff/volumes/disk0/files/etc/new'"
    check_not "$1: nor be made" touch "$mnt/diff/volumes/disk0/files/y"
    find "$mnt/diff" | sort >before
    unmount
    mount_ok "$2" -- -o "overlay=ov-$1"
    find "$mnt/diff" | sort >after
    check "$1: the same at the next mount" diff before after
    is "$1: and the same list" "$(changes)" "$(cat list)"
    unmount
    mount_ok "$2"
    check_not "$1: without an overlay there is none" test -e "$mnt/diff"
    unmount
}

truncate -s 64M ext.img
mkfs.ext4 -q -d t ext.img
volume ext4 ext.img full
truncate -s 64M ext2.img
mkfs.ext2 -q -d t ext2.img
volume ext2 ext2.img full
truncate -s 64M fat.img
mkfs.vfat -F 32 fat.img >"$out" 2>&1
mcopy -smi fat.img plain/* ::
volume fat fat.img ""

if command -v mkntfs >/dev/null && command -v ntfs-3g >/dev/null; then
    truncate -s 64M ntfs.img
    mkntfs -qF ntfs.img >"$out" 2>&1
    mkdir -p ntfs.mnt
    ntfs-3g ntfs.img ntfs.mnt && cp -r --preserve=timestamps plain/* ntfs.mnt/ && umount ntfs.mnt
    volume ntfs ntfs.img ""
fi

# ---- edits that are taken back are no difference ----
mount_ok ext.img -- -o scratch
g=$mnt/volumes/disk0
echo x >"$g/etc/x"
mv "$g/etc/same" "$g/etc/same2"
is "two, and the old name" "$(changes | wc -l)" 3
rm "$g/etc/x"
mv "$g/etc/same2" "$g/etc/same"
is "none" "$(changes)" ""
cp -p "$g/etc/same" y && cp -p y "$g/etc/copy" && mv "$g/etc/copy" "$g/etc/same"
is "nor a copy in its place" "$(changes)" ""
unmount

# ---- what is gone, by the loop that the README prints; names as shells hate them ----
odd=('two  words' ' leading' 'trailing ' '-rf' '--' '*' '$HOME' "quo'te\"" $'tab\tx' $'cr\r' 'back\slash' '\begins' $'line\nbreak' 'ü')
mkdir -p names/d
for name in "${odd[@]}"; do
    echo x >"names/$name"
    mkdir "names/d/$name"
    echo x >"names/d/$name/f"
done
echo x >names/kept
echo x >names/d/kept
truncate -s 16M names.img
mkfs.ext4 -q -d names names.img
sed -n 's/^ *\(while IFS= read -r f; .*done <\)diff\/removed.txt$/\1"$removed"/p' "$(dirname "$0")/../../README.md" >loop
is "the README has the loop" "$(wc -l <loop)" 1
sed -i "s|\"/elsewhere/|\"$tmp/elsewhere/|" loop
mount_ok names.img -- -o scratch
rm -rf elsewhere
check "names: the source" rsync -aX "$mnt/volumes/disk0/" elsewhere/
for name in "${odd[@]}"; do rm -r "$mnt/volumes/disk0/d/$name" "$mnt/volumes/disk0/$name"; done
echo later >"$mnt/volumes/disk0/later"
check "names: the loop runs" env removed="$mnt/diff/volumes/disk0/removed.txt" bash -eu loop
cp "$out" by-hand
# those that it leaves, as it says: a backslash or a line break in the path
is "names: what is to be done by hand" "$(grep -c '^by hand: \\' by-hand)" 6
(cd elsewhere && find . -mindepth 1 -print0 | sort -z | tr '\0\n' '\n?') >left
cat >wanted <<'LEFT'
./\begins
./back\slash
./d
./d/\begins
./d/\begins/f
./d/back\slash
./d/back\slash/f
./d/kept
./d/line?break
./d/line?break/f
./kept
./line?break
./lost+found
LEFT
check "names: everything else is gone, and nothing more" diff -u <(sort wanted) <(sort left)
while IFS= read -r f; do
    f=${f#\\}
    rm -r -- "elsewhere/$(printf %b "$f" | sed 's|/$||')" || fail "unescaping $f"
done < <(grep '^\\' "$mnt/diff/volumes/disk0/removed.txt")
is "names: and by hand the rest" "$(cd elsewhere && find . -mindepth 1 | sort | xargs)" "./d ./d/kept ./kept ./lost+found"
unmount

# ---- a listing that goes on while edits come and go: no name is missed, none is given twice ----
mount_ok ext.img -- -o scratch
cat >listing.py <<'PYTHON'
import os, sys

g, shown = sys.argv[1] + "/etc", sys.argv[2] + "/etc"
kept = {f"kept {i} of a long name, so that a page of the listing is soon full" for i in range(1500)}
for name in kept:
    open(f"{g}/{name}", "w").close()
seen = []
with os.scandir(shown) as entries:
    for n, entry in enumerate(entries):
        seen.append(entry.name)
        if n % 100 == 0:
            for name in (f"0 {n}", f"z {n}", f"kept {n}"):
                open(f"{g}/{name}", "w").close()
        if n % 100 == 50:
            os.unlink(f"{g}/0 {n - 50}")
if len(seen) != len(set(seen)) or kept - set(seen):
    sys.exit(f"{len(seen)} seen, {len(seen) - len(set(seen))} of them twice, {len(kept - set(seen))} missed")
PYTHON
check "a listing goes on after edits" python3 listing.py "$mnt/volumes/disk0" "$mnt/diff/volumes/disk0/files"
unmount

# ---- a damaged directory: said, and the others are compared ----
cp ext.img bad.img
block=$(debugfs -R 'blocks /many' bad.img 2>/dev/null | awk '{ print $1 }')
size=$(dumpe2fs -h bad.img 2>/dev/null | awk -F: '/^Block size/ { print $2 + 0 }')
head -c "$size" /dev/urandom | dd of=bad.img bs="$size" seek="$block" conv=notrunc status=none
mount_ok bad.img -- -o scratch
echo new >"$mnt/volumes/disk0/etc/new"
is "what is damaged" "$(jq -r '.files[] | select(.what == "unknown") | .path + ": " + .error' "$mnt/diff/changes.json")" \
    "volumes/disk0/many: damaged, or can't be read"
like "the rest" "$(changes)" '^added volumes/disk0/etc/new'
unmount

# ---- hostile ones: a place outside of the volume, a directory with two names at each of forty levels ----
truncate -s 16M hostile.img
mkfs.ext4 -q -F -O 64bit,metadata_csum hostile.img
{
    echo 'write /dev/null far'
    echo 'set_inode_field far file_acl 0xffffffffffff'
    for i in $(seq 40); do echo "mkdir d$i"; done
    for i in $(seq 39); do
        echo "link d$((i + 1)) d$i/a"
        echo "link d$((i + 1)) d$i/b"
    done
} >script
debugfs -w -f script hostile.img >/dev/null 2>&1
mount_ok hostile.img -- -o scratch
echo new >"$mnt/volumes/disk0/new"
check "the walk has an end" timeout 60 cat "$mnt/diff/changes.json"
like "and says what is new" "$(changes)" '^added volumes/disk0/new'
like "and what it doesn't walk twice" "$(jq -r '.files[] | select(.what == "unknown") | .path' "$mnt/diff/changes.json" | wc -l)" '^[1-9]'
unmount

# ---- a Linux of two volumes: both are in files/ ----
if command -v sgdisk >/dev/null; then
    mkdir -p r/etc r/boot b/grub r/home
    echo 'NAME=x' >r/etc/os-release
    echo cfg >b/grub/grub.cfg
    uuid=11111111-2222-3333-4444-555555555555
    printf '/dev/sda1 / ext4 defaults 0 1\nUUID=%s /boot ext4 defaults 0 2\n' $uuid >r/etc/fstab
    truncate -s 40M root.ext4 boot.ext4
    mkfs.ext4 -q -d r root.ext4
    mkfs.ext4 -q -U $uuid -d b boot.ext4
    truncate -s 100M linux.img
    sgdisk -n 1:2048:+40M -n 2:0:+40M linux.img >"$out"
    dd if=root.ext4 of=linux.img bs=1M seek=1 conv=notrunc status=none
    dd if=boot.ext4 of=linux.img bs=1M seek=41 conv=notrunc status=none
    mount_ok linux.img -- -o scratch
    is "two volumes: nothing" "$(find "$mnt/diff/files" -mindepth 1)" ""
    rsync -aX "$mnt/guest/" linux-base/
    echo 2 >"$mnt/guest/boot/grub/second"
    is "a file of a mounted volume" "$(find "$mnt/diff/files" -mindepth 1 -printf '%P ' | xargs -n 1 | sort | xargs)" \
        "boot boot/grub boot/grub/second"
    is "and its path" "$(changes)" "added guest/boot/grub/second"
    echo 1 >"$mnt/guest/etc/first"
    ln -s /etc/first "$mnt/guest/home/link"
    rm "$mnt/guest/boot/grub/grub.cfg"
    is "what is gone" "$(cat "$mnt/diff/removed.txt")" boot/grub/grub.cfg
    is "a link stays inside" "$(readlink -f "$mnt/diff/files/home/link")" "$mnt/diff/files/etc/first"
    applied "two volumes" linux-base "$mnt/diff/files" "$mnt/diff/removed.txt" "$mnt/guest"
    is "neither is by itself" "$(ls "$mnt/diff/volumes")" ""
    unmount
fi

# ---- hives ----
have_corpus && command -v hivexregedit >/dev/null || finish
export_of() { iconv -f utf-16 -t utf-8 "$mnt/registry/.reg"; }

# hive_edits NAME: of every kind, in a key of ours and in the hive's own.
hive_edits() {
    local k=$mnt/registry/$1 first
    first=$(find "$k" -mindepth 2 -type d | sort | head -n 1)
    mkdir -p "$k/New key/below" "$k/Old case"
    echo 'a "text" \ x' >"$k/New key/text.sz"
    echo default >"$k/New key/@.sz"
    echo 0x7 >"$k/New key/number.dword"
    printf 'one\ntwo\n' >"$k/New key/list.multi_sz"
    head -c 200000 /dev/urandom >"$k/New key/big.binary"
    : >"$k/New key/nothing.binary"
    [ -z "$first" ] || rm -r "$first"
    find "$k" -name '*.dword' | sort | sed -n '1~7p' | while read -r f; do rm "$f"; done
    find "$k" -name '*.dword' | sort | sed -n '2~7p' | while read -r f; do echo 0x12345678 >"$f"; done
}

# hive NAME FILE
hive() {
    local name=$1
    cp "$2" "$name"
    chmod u+w "$name"
    mount_ok "$name" -- -o scratch
    is "$name: nothing differs" "$(ls "$mnt/diff/registry")" ""
    hive_edits "$name"
    is "$name: it does" "$(ls "$mnt/diff/registry")" "$name.reg"
    check "$name: its differences" cp "$mnt/diff/registry/$name.reg" "$name.reg"
    is "$name: as regedit writes" "$(head -c 4 "$name.reg" | xxd -p)" fffe5700
    export_of >now.reg
    check "$name: the hive as it is" cp "$mnt/hives/$name" "$name.now"
    unmount
    mount_ok "$name" -- -o scratch
    check "$name: merged into the source" cp "$name.reg" "$mnt/registry/.reg"
    export_of >merged.reg
    check "$name: is the present hive" diff -u now.reg merged.reg
    unmount
    cp "$name" "$name.hivex"
    iconv -f utf-16 -t utf-8 "$name.reg" | tr -d '\r' >plain.reg
    check "$name: hivexregedit merges it" hivexregedit --merge --prefix "HKEY_LOCAL_MACHINE\\$name" "$name.hivex" plain.reg
    hivexregedit --export --prefix P "$name.hivex" '\' >a.reg 2>/dev/null
    hivexregedit --export --prefix P "$name.now" '\' >b.reg 2>/dev/null
    check "$name: to the same" diff <(sort a.reg) <(sort b.reg)
    # and back: the differences of the present hive to the source
    mkdir -p back && cp "$name.now" "back/$name"
    mount_ok "back/$name" -- -o scratch
    is "$name: the whole source" "$(ls "$mnt/diff/registry")" ""
    unmount
}
hive SAM "$(corpus hive/dfwinreg_SAM.xz)"
hive NTUSER.DAT "$(corpus hive/regipy_NTUSER.DAT.xz)"

# case only: gone and new, since merging keeps the old spelling
mount_ok SAM -- -o scratch
mkdir "$mnt/registry/SAM/Spelling"
echo x >"$mnt/registry/SAM/Spelling/Value.sz"
cp "$mnt/hives/SAM" SPELLING
unmount
mount_ok SPELLING -- -o scratch
mv "$mnt/registry/SPELLING/Spelling" "$mnt/registry/SPELLING/between"
mv "$mnt/registry/SPELLING/between" "$mnt/registry/SPELLING/SPELLING"
like "a key in another spelling" "$(iconv -f utf-16 -t utf-8 "$mnt/diff/registry/SPELLING.reg" | tr -d '\r' | paste -sd ' ')" \
    '\[-HKEY_LOCAL_MACHINE\\SPELLING\\Spelling\] +\[HKEY_LOCAL_MACHINE\\SPELLING\\SPELLING\] "Value"="x"'
unmount

# ---- a Windows ----
need sgdisk mkntfs ntfs-3g
# shellcheck disable=SC2329 # make_windows calls it
fill() {
    local d
    mkdir -p "$1/Windows/System32/drivers"
    for d in vmbus storvsc vmstorfl intelide atapi msahci; do
        echo "$d" >"$1/Windows/System32/drivers/$d.sys"
    done
}
# shellcheck disable=SC2034 # windows.bash reads it
windows_fill=fill
make_windows windows.img || finish
mount_ok windows.img -- -o scratch
is "Windows: no hive differs" "$(ls "$mnt/diff/registry"; find "$mnt/diff/files" -mindepth 1)" ""
rsync -a "$mnt/guest/" windows-base/
hklm=$mnt/registry/HKEY_LOCAL_MACHINE
check "prepare" sh -c "echo apply >'$mnt/prepare/hyperv' || { cat '$mnt/prepare/.error'; false; }"
like "what it did" "$(ls "$mnt/diff/registry" | paste -sd ' ')" 'SYSTEM.reg'
check "has the keys of the plan" sh -c "iconv -f utf-16 -t utf-8 '$mnt/diff/registry/SYSTEM.reg' | grep -qi 'services.*storvsc'"
check "undo" sh -c "echo undo >'$mnt/prepare/hyperv' || { cat '$mnt/prepare/.error'; false; }"
is "after which no hive differs" "$(ls "$mnt/diff/registry")" ""
changes >list
check_not "and no other file than hives" grep -qv 'guest/C/Windows/System32/config/' list
mkdir "$hklm/SOFTWARE/Ours"
is "an edit" "$(ls "$mnt/diff/registry")" SOFTWARE.reg
mkdir "$hklm/DRIVERS/ours"
is "one of a hive with logs" "$(iconv -f utf-16 -t utf-8 "$mnt/diff/registry/DRIVERS.reg" | tr -d '\r' | grep -c .)" 2
rm "$mnt/guest/C/Windows/System32/config/SECURITY"
is "one that is gone is no .reg" "$(ls "$mnt/diff/registry" | paste -sd ' ')" "DRIVERS.reg SOFTWARE.reg"
is "but a file" "$(cat "$mnt/diff/removed.txt")" C/Windows/System32/config/SECURITY
applied Windows windows-base "$mnt/diff/files" "$mnt/diff/removed.txt" "$mnt/guest"
unmount
finish
