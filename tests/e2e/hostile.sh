#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Guests that are made to mislead: real images of ext4 and NTFS with what no kind system writes. No name in them may
# lead to a file of the host, none may be left out of a listing, and damage is an error, not an end.
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 debugfs jq python3

echo host >"$tmp/secret" # what the links are after
up=../../../../../../../../../../../..

# ---- ext4 ----
root=$tmp/root
inner=$root/1/2/3/4/5/6/7/8/9/10/11/12
mkdir -p "$root/etc" "$inner" "$root/d"
ln -s "$up$tmp/secret" "$inner/out"
echo 'PRETTY_NAME="Hostile"' >"$root/etc/os-release"
# Volumes mounted over a file, at the root, and under a link; a line longer than most.
printf 'LABEL=none /etc/os-release ext4\nLABEL=none /.. ext4\n/dev/sda / ext4\n%s\n' \
    "LABEL=x /$(printf 'y/%.0s' {1..5000}) ext4" >"$root/etc/fstab"
ln -s loop2/x "$root/d/loop1"
ln -s loop1/x "$root/d/loop2"
ln -s /d/loop1/x "$root/d/through"
# Deeper than any path needs to be, with a link at the end.
python3 - "$root" <<'PYTHON'
import os, sys
os.chdir(sys.argv[1])
for i in range(300):
    os.mkdir("z")
    os.chdir("z")
os.symlink("/etc/os-release", "absolute")
os.symlink("../z", "relative")
PYTHON
truncate -s 32M "$tmp/ext.img"
mkfs.ext4 -q -F -L none -d "$root" "$tmp/ext.img"
# One directory in two places: what its links mean depends on where one stands.
debugfs -w -R "link /1/2/3/4/5/6/7/8/9/10/11/12 /twice" "$tmp/ext.img" 2>/dev/null
debugfs -w -R "link / /d/again" "$tmp/ext.img" 2>/dev/null
mount_ok "$tmp/ext.img"
for tree in guest volumes/disk0; do
    at=$mnt/$tree
    inner=$at/1/2/3/4/5/6/7/8/9/10/11/12
    check "$tree: the directory is there, where it is met first" ls "$inner"
    check_not "$tree: and not in a second place" cat "$at/twice/out"
    check_not "$tree: its links stay inside" grep -q host "$inner/out"
    check_not "$tree: the root is in no directory" ls "$at/d/again"
    like "$tree: a link through a loop" "$(cat "$at/d/through" 2>&1)" 'Too many levels'
    deep=$at$(printf '/z%.0s' {1..300})
    check "$tree: a link 300 directories deep" grep -q Hostile "$deep/absolute"
    is "$tree: as stored where that is safe" "$(readlink "$deep/relative")" ../z
done
unmount
mount_ok "$tmp/ext.img"
check_not "met in the other place first" grep -q host "$mnt/guest/twice/out"
check_not "the first place is damaged then" ls "$mnt/guest/1/2/3/4/5/6/7/8/9/10/11/12"
unmount

# ---- a directory whose second half is damaged ----
mkdir -p "$tmp/half/d"
(cd "$tmp/half/d" && seq -f "a_name_that_fills_a_block_sooner_%03g" 400 | xargs touch)
truncate -s 16M "$tmp/half.img"
mkfs.ext4 -q -F -b 1024 -O ^metadata_csum,^dir_index -d "$tmp/half" "$tmp/half.img"
block=$(debugfs -R "bmap /d 15" "$tmp/half.img" 2>/dev/null)
yes | dd of="$tmp/half.img" bs=1024 seek="$block" count=1 iflag=fullblock conv=notrunc status=none
mount_ok "$tmp/half.img"
for i in 1 2; do # read, and from the kernel's cache
    ls -f "$mnt/volumes/disk0/d" >"$tmp/listed" 2>"$err"
    is "a listing that ends in damage fails ($i)" $? 2
    like "with an error ($i)" "$(cat "$err")" 'Input/output error'
    check "and has what came before ($i)" test "$(wc -l <"$tmp/listed")" -gt 200
done
check_not "so does a copy" cp -r "$mnt/volumes/disk0/d" "$tmp/copy"
unmount

# ---- fstab: a volume over a file, and one at a name that isn't UTF-8 ----
need sgdisk
bad=$(printf 'b\377')
mkdir "$root/d/$bad"
printf '/dev/sda2 /etc/os-release ext4\n/dev/sda2 /d/%s ext4\n' "$bad" >"$root/etc/fstab"
printf 'PRETTY_NAME="Hostile \377\033[31m"\n' >"$root/etc/os-release"
truncate -s 16M "$tmp/one.img" "$tmp/two.img"
mkfs.ext4 -q -F -d "$root" "$tmp/one.img"
mkfs.ext4 -q -F "$tmp/two.img"
truncate -s 36M "$tmp/disk.img"
sgdisk -n 1:2048:+16M -n 2:0:+16M "$tmp/disk.img" >/dev/null
dd if="$tmp/one.img" of="$tmp/disk.img" bs=1M seek=1 conv=notrunc status=none
dd if="$tmp/two.img" of="$tmp/disk.img" bs=1M seek=17 conv=notrunc status=none
mount_ok "$tmp/disk.img"
check "the file stays a file" grep -q Hostile "$mnt/guest/etc/os-release"
like "and info.json says why" "$(json "$mnt/info.json" '.warnings[]')" 'os-release: there is no such directory'
check "mounted at a name that isn't UTF-8" test -d "$mnt/guest/d/$bad/lost+found"
is "which info.json has with a question mark" "$(json "$mnt/info.json" '.guests[0].mounts["/d/b?"]')" disk0p2
is "as it has the system's name" "$(json "$mnt/info.json" '.guests[0].name | .[:9]')" 'Hostile ?'
unmount

# ---- NTFS, written by ntfs-3g ----
need mkntfs ntfs-3g
truncate -s 16M "$tmp/ntfs.img"
mkntfs -q -F "$tmp/ntfs.img" >/dev/null 2>&1
mkdir -p "$tmp/theirs"
# In the foreground: its last writes come after the unmount.
LC_ALL=C.UTF-8 ntfs-3g -o no_detach "$tmp/ntfs.img" "$tmp/theirs" 2>/dev/null &
writer=$!
wait_for eval "is_mounted '$tmp/theirs' || ! kill -0 $writer" && is_mounted "$tmp/theirs" || skip "ntfs-3g can't mount here"
exit_commands+=('umount "$tmp/theirs" 2>/dev/null')
python3 - "$tmp/theirs" "$tmp/secret" <<'PYTHON' || fail "ntfs-3g writes it"
import os, struct, sys
root, secret = sys.argv[1:]
def junction(name, target):
    path = os.path.join(root, name)
    os.makedirs(path)
    stored, shown = ("\\??\\" + target).encode("utf-16le"), target.encode("utf-16le")
    data = struct.pack("<HHHH", 0, len(stored), len(stored) + 2, len(shown)) + stored + b"\0\0" + shown + b"\0\0"
    os.setxattr(path, "system.ntfs_reparse_data", struct.pack("<LHH", 0xA0000003, len(data), 0) + data)
os.makedirs(root + "/a/E:/x") # a name that Windows can't write, and Linux can
junction("a/out", "E:\\" + "..\\" * 20 + secret[1:].replace("/", "\\"))
for name in "\u0436" * 200, "\u5b57" * 255:
    with open(os.path.join(root, name), "w") as f:
        f.write("long\n")
PYTHON
umount "$tmp/theirs"
wait $writer
mount_ok "$tmp/ntfs.img"
check "the drive's directory is there" test -d "$mnt/volumes/disk0/a/E:/x"
check_not "a drive that is a directory leads nowhere" grep -q host "$mnt/volumes/disk0/a/out"
is "names longer than 255 bytes are listed" "$(find "$mnt/volumes/disk0" -type f -size -9c | wc -l)" 2
is "and copied" "$(tar -C "$mnt/volumes/disk0" -c . | tar -t | grep -c -E '(\\[0-9]{3}){255}')" 2
unmount
finish
unmount
finish
