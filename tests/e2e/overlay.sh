#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Edits with ordinary tools in an overlay: kept over mounts, seen by every view, clean for the checkers of others, and
# never in the source. The overlay is a qcow2 that QEMU reads as it is.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat qemu-img rsync git tar jq getfattr setfattr
volumes=$mnt/volumes
fat=$volumes/disk0p1 ntfs=$volumes/disk0p2 ext=$volumes/disk0p3

make_three "$tmp/disk.img" || skip "the file systems can't be made here"
before=$(sha "$tmp/disk.img")

# What is copied in: names, links, modes, times, holes, xattrs.
tree=$tmp/tree
mkdir -p "$tree/sub/deep" "$tree/empty"
seq 5000 >"$tree/numbers"
head -c 300000 /dev/urandom >"$tree/sub/random"
: >"$tree/sub/nothing"
printf 'hidden\n' >"$tree/sub/deep/.hidden"
printf 'name\n' >"$tree/sub/Grüße und Leerzeichen.txt"
truncate -s 3M "$tree/sub/holes" && printf x | dd of="$tree/sub/holes" bs=1 seek=2000000 conv=notrunc status=none
find "$tree" -exec touch -d '2024-05-06 07:08:10 UTC' {} +
cp -a "$tree" "$tmp/posix"
ln "$tmp/posix/numbers" "$tmp/posix/sub/hard"
ln -s ../numbers "$tmp/posix/sub/soft"
chmod 640 "$tmp/posix/numbers"
chmod 4755 "$tmp/posix/sub/random"
chown 1234:567 "$tmp/posix/sub/nothing"
setfattr -n user.note -v words "$tmp/posix/numbers" 2>/dev/null

# listing DIR: what rsync would compare, but for what a file system has no room for.
listing() { (cd "$1" && find . -printf '%P %y %s %T@\n' | sed '/ d /s/ d .*/ d/' | sort); }
posix_listing() { (cd "$1" && find . -printf '%P %y %m %U %G %l %n %s %T@\n' | sed '/ d /s/[^ ]* [^ ]* [^ ]*$//' | sort); }

# work DIR: an hour of somebody's work, on any file system.
work() {
    local d=$1
    check "$d: mkdir -p" mkdir -p "$d/a/b/c" "$d/A dir"
    check "$d: cp -a" cp -a "$tree" "$d/copied"
    check "$d: rsync" rsync -a "$tree/" "$d/synced/"
    is "$d: a second pass finds nothing to do" "$(rsync -ai --omit-dir-times --no-o --no-g --no-p "$tree/" "$d/synced/")" ""
    check "$d: tar" sh -c "mkdir '$d/tarred' && tar -C '$tree' -cf - . | tar -C '$d/tarred' -xf -"
    check "$d: sed -i" sed -i 's/^1000$/thousand/' "$d/copied/numbers"
    check "$d: truncate" truncate -s 100000 "$d/tarred/sub/random"
    check "$d: and longer" truncate -s 400000 "$d/tarred/sub/random"
    check "$d: mv" mv "$d/copied/sub" "$d/a/b/moved"
    check "$d: mv over" mv "$d/copied/numbers" "$d/tarred/numbers"
    check "$d: append" sh -c "echo more >>'$d/synced/numbers'"
    check "$d: chmod" chmod 600 "$d/synced/numbers"
    check "$d: rm -r" rm -r "$d/synced/sub"
    check "$d: dd in the middle" dd if=/dev/zero of="$d/a/b/moved/random" bs=1000 seek=100 count=7 conv=notrunc
    check "$d: fallocate or not" sh -c "fallocate -l 100000 '$d/allocated' || test ! -s '$d/allocated'"
    check "$d: git" git -C "$d" init -q repo
    check "$d: git commit" sh -c "cd '$d/repo' && seq 100 >x && git add x && git -c user.name=n -c user.email=e@x commit -qm one && seq 200 >x && git -c user.name=n -c user.email=e@x commit -qam two"
}

# worked DIR: is it there?
worked() {
    local d=$1
    is "$d: directories" "$(cd "$d" && echo *)" "A dir a allocated copied repo synced tarred"
    is "$d: sed's change, moved" "$(sed -n 1000p "$d/tarred/numbers")" thousand
    is "$d: appended" "$(tail -n 1 "$d/synced/numbers")" more
    check_not "$d: removed" test -e "$d/synced/sub"
    check_not "$d: moved away" test -e "$d/copied/sub"
    cp "$tree/sub/random" "$tmp/want"
    dd if=/dev/zero of="$tmp/want" bs=1000 seek=100 count=7 conv=notrunc status=none
    check "$d: written in the middle" same "$tmp/want" "$d/a/b/moved/random"
    truncate -s 100000 "$tmp/want" && dd if="$tree/sub/random" of="$tmp/want" bs=1000 count=100 status=none conv=notrunc
    truncate -s 400000 "$tmp/want"
    check "$d: cut and made longer" same "$tmp/want" "$d/tarred/sub/random"
    check "$d: holes" same "$tree/sub/holes" "$d/a/b/moved/holes"
    check "$d: a name" grep -q name "$d/a/b/moved/Grüße und Leerzeichen.txt"
    check "$d: git fsck" git -C "$d/repo" fsck --strict
    is "$d: git log" "$(git -C "$d/repo" log --format=%s | tr '\n' ' ')" "two one "
    is "$d: git status" "$(git -C "$d/repo" -c core.filemode=false status --porcelain)" ""
}

qemu_name() { [ "$1" = vhd ] && echo vpc || echo "$1"; }
# views FILE: every view holds what disk.raw does, which is put into the file.
views() {
    local v
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$1"
    for v in vhdx qcow2 vmdk vhd; do
        check "disk.$v has the edits" qemu-img compare -f raw -F "$(qemu_name $v)" "$1" "$mnt/disks/disk0/disk.$v"
    done
}

# overlay_is DIR RAW: QEMU finds nothing wrong with the overlay, and the same disk in it.
overlay_is() {
    local q=("$1"/*.qcow2)
    is "one file for the disk" "${#q[@]}" 1
    check "qemu-img check" qemu-img check "${q[0]}"
    like "which speaks of no leaks" "$(cat "$out")" "No errors were found"
    check "QEMU reads it" qemu-img compare -f raw -F qcow2 "$2" "${q[0]}"
}

# ---- read-only ----
mount_ok "$tmp/disk.img"
for d in "$fat" "$ntfs" "$ext" "$mnt/guest"; do
    is "$d: nothing can be written" "$(touch "$d/x" 2>&1 | sed 's/.*: //')" "Read-only file system"
done
unmount

# ---- a raw source ----
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
for d in "$fat" "$ntfs" "$ext"; do
    mkdir "$d/work" || fail "$d: mkdir"
    work "$d/work"
done
for d in "$ext/posix" "$mnt/guest/posix2"; do
    check "$d: cp -a" cp -a "$tmp/posix" "$d"
    check "$d: all of it" rsync -aHAX "$tmp/posix/" "$d/"
    is "$d: modes, owners, links" "$(posix_listing "$d")" "$(posix_listing "$tmp/posix")"
done
check "rsync -aHAX afresh" rsync -aHAX "$tmp/posix/" "$mnt/guest/posix3/"
is "modes, owners, links" "$(posix_listing "$mnt/guest/posix3")" "$(posix_listing "$tmp/posix")"
check "to NTFS" rsync -aHAX "$tmp/posix/" "$ntfs/posix/"
check "cp -a to FAT, what it has" cp -a "$tree" "$mnt/guest/boot/efi/tree"
is "on the FAT volume" "$(listing "$fat/tree")" "$(listing "$tree")"
is "one tree seen in the other" "$(listing "$ext/posix2")" "$(listing "$mnt/guest/posix2")"
check "an edit in the one" sh -c "echo one >'$mnt/guest/home/file'"
is "is in the other" "$(cat "$ext/home/file")" one
check "an edit in the other" sh -c "echo another >'$ext/home/file'"
is "is in the one" "$(cat "$mnt/guest/home/file")" another
check "moved in the one" mv "$mnt/guest/home/file" "$mnt/guest/home/moved"
check "is moved in the other" test -f "$ext/home/moved" -a ! -e "$ext/home/file"
check "a stream of NTFS" setfattr -n user.stream -v 'its text' "$ntfs/work/a"
check_not "names of NTFS are one without case" mkdir "$ntfs/WORK"
is "a link's text is stored as it was given" "$(ln -s /etc/os-release "$mnt/guest/home/link" &&
    getfattr -h --only-values -n system.ferryfs.target "$mnt/guest/home/link")" /etc/os-release
check "and leads into the guest" grep -q Three "$mnt/guest/home/link"
check_not "nothing crosses volumes but as a copy" ln "$ext/home/moved" "$fat/link"
check "mv does that" mv "$ext/home/moved" "$fat/crossed"
is "its content" "$(cat "$mnt/guest/boot/efi/crossed")" another
rm "$fat/crossed"
for d in "$fat" "$ntfs" "$ext"; do worked "$d/work"; done
views "$tmp/now.raw"
three_clean "while it is mounted" "$tmp/now.raw"

# ---- who has it? ----
other=$tmp/other
mkdir "$other"
main=$mnt
mnt=$other
mount_fails 2 "$main" "$tmp/disk.img" -- -o "overlay=$tmp/kept"
mnt=$main
dd if=/dev/urandom of="$ext/big" bs=1M count=8 status=none
fusermount3 -u "$mnt" || fail "unmount"
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
is "a mount right after the other" "$(stat -c %s "$ext/big")" 8388608
rm "$ext/big"
for d in "$fat" "$ntfs" "$ext"; do worked "$d/work"; done
is "modes, owners, links" "$(posix_listing "$mnt/guest/posix3")" "$(posix_listing "$tmp/posix")"
is "an xattr" "$(getfattr --only-values -n user.stream "$ntfs/work/a" 2>/dev/null)" "its text"
views "$tmp/now.raw"
unmount
three_clean "kept" "$tmp/now.raw"
overlay_is "$tmp/kept" "$tmp/now.raw"
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"

# ---- bound to its source ----
cp "$tmp/disk.img" "$tmp/moved.img"
make_three "$tmp/another.img"
mount_fails 2 '.' "$tmp/another.img" -- -o "overlay=$tmp/kept"
mount_fails 2 '.' "$tmp/another.img" -- -o "overlay=$tmp/kept,rebind"
mount_fails 2 'rebind' "$tmp/moved.img" -- -o "overlay=$tmp/kept"
mount_ok "$tmp/moved.img" -- -o "overlay=$tmp/kept,rebind"
worked "$ext/work"
unmount
mount_ok "$tmp/moved.img" -- -o "overlay=$tmp/kept"
views "$tmp/now.raw"
unmount
overlay_is "$tmp/kept" "$tmp/now.raw"
rm "$tmp/moved.img" "$tmp/another.img"

# ---- a qcow2, and a streamOptimized VMDK inside an OVA ----
qemu-img convert -f raw -O qcow2 -c "$tmp/disk.img" "$tmp/disk.qcow2"
before_q=$(sha "$tmp/disk.qcow2")
mkdir "$tmp/ova"
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$tmp/disk.img" "$tmp/ova/d.vmdk"
cat >"$tmp/ova/d.ovf" <<EOF
<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References><File ovf:href="d.vmdk" ovf:id="f1"/></References>
<DiskSection><Disk ovf:capacity="130" ovf:capacityAllocationUnits="byte * 2^20" ovf:diskId="d1" ovf:fileRef="f1"
 ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
</Envelope>
EOF
tar -C "$tmp/ova" -cf "$tmp/disk.ova" d.ovf d.vmdk
rm -r "$tmp/ova"
before_o=$(sha "$tmp/disk.ova")
for source in disk.qcow2 disk.ova; do
    mount_ok "$tmp/$source" -- -o "overlay=$tmp/$source.kept"
    for d in "$fat" "$ntfs" "$ext"; do
        check "$source: $d" cp -a "$tree" "$d/tree"
        check "$source: $d: sed -i" sed -i 1d "$d/tree/numbers"
    done
    unmount
    mount_ok "$tmp/$source" -- -o "overlay=$tmp/$source.kept"
    for d in "$fat" "$ntfs" "$ext"; do
        is "$source: $d" "$(head -n 1 "$d/tree/numbers")" 2
        check "$source: $d" same "$tree/sub/random" "$d/tree/sub/random"
    done
    views "$tmp/now.raw"
    unmount
    three_clean "$source" "$tmp/now.raw"
    overlay_is "$tmp/$source.kept" "$tmp/now.raw"
done
is "the qcow2 is as it was" "$(sha "$tmp/disk.qcow2")" "$before_q"
is "the OVA is as it was" "$(sha "$tmp/disk.ova")" "$before_o"

# ---- scratch leaves nothing ----
mkdir "$tmp/scratch"
TMPDIR=$tmp/scratch mount_ok "$tmp/disk.img" -- -o scratch
check "an edit" sh -c "echo x >'$ext/x'"
is "is there" "$(cat "$mnt/guest/x")" x
is "no file is to be seen" "$(ls -A "$tmp/scratch")" ""
unmount
is "nor afterwards" "$(ls -A "$tmp/scratch")" ""
mount_ok "$tmp/disk.img" -- -o scratch
check_not "and the edit is gone" test -e "$ext/x"
unmount
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
