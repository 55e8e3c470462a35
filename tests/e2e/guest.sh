#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# guest/ and volumes/: systems put together from their volumes, names without case, and links that stay inside the guest
# however hard they try.
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 mkfs.fat sgdisk mcopy jq getfattr
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1

# ---- the sample: Windows by letters, Linux by os=1 ----
mount_ok "$sample"
is "Windows is guest 0" "$(ls "$mnt/guest")" C
check "names without case" test -f "$mnt/guest/c/WINDOWS/system32/CONFIG/system"
is "one file, two places" "$(stat -c %i "$mnt/guest/C/Users/Public/Documents/README.txt")" \
    "$(stat -c %i "$mnt/volumes/disk0p2/Users/Public/Documents/README.txt")"
check "a junction leads to its directory" test -d "$mnt/guest/C/Documents and Settings/Public"
check "in volumes/ too" test -d "$mnt/volumes/disk0p2/Documents and Settings/Public"
like "an alternate stream" "$(getfattr --only-values -n user.Zone.Identifier \
    "$mnt/guest/C/Users/Public/Documents/README.txt" 2>/dev/null)" ZoneId=3
like "a link's stored target" \
    "$(getfattr -h --only-values -n system.ferryfs.target "$mnt/guest/C/Documents and Settings")" '^C:/'
check "nothing can be written" eval "! touch '$mnt/guest/C/x' && ! rm '$mnt/info.json' && ! mkdir '$mnt/x'"
is "the one selected" "$(json "$mnt/info.json" '.guests[] | select(.selected) | .os')" windows
unmount
mount_ok "$sample" -- -o os=1
check "Linux with its fstab's mounts" test -f "$mnt/guest/boot/efi/EFI/BOOT/BOOTX64.EFI"
is "info.json says so" "$(json "$mnt/info.json" '.guests[1].mounts["/boot/efi"]')" disk0p1
check "no such guest, no guest/" test -d "$mnt/guest/etc"
unmount
mount_ok "$sample" -- -o os=9
check_not "os=9 isn't there" test -e "$mnt/guest"
unmount

# ---- a guest whose links want out ----
mkdir -p "$tmp/root/etc" "$tmp/root/usr/bin" "$tmp/root/a/b/c" "$tmp/root/boot/efi"
echo 'PRETTY_NAME="Links"' >"$tmp/root/etc/os-release"
printf 'UUID=0FAD-CAFE /boot/efi vfat defaults 0 0\n' >"$tmp/root/etc/fstab"
echo guest >"$tmp/root/etc/passwd"
cd "$tmp/root/a/b/c" || exit 1
ln -s /etc/passwd abs
ln -s ../../../../../../../../../../etc/passwd climb
ln -s up/../../../../etc/passwd trick
ln -s / up
ln -s /proc/self/root/etc/passwd proc
ln -s //etc//passwd slashes
ln -s abs twice
ln -s /a/b/c/loop2 loop1
ln -s loop1 loop2
ln -s ../../../etc/passwd fine
ln -s up/up/up/a/../../../../etc/passwd deeper
cd "$tmp" || exit 1
truncate -s 64M disk.img
sgdisk -n 1:2048:+16M -t 1:ef00 -n 2:0:+40M disk.img >/dev/null
truncate -s 16M efi.img && mkfs.fat -i 0FADCAFE efi.img >/dev/null && echo efi | mcopy -i efi.img - ::efi.txt
truncate -s 40M root.img && mkfs.ext4 -q -F -d "$tmp/root" root.img
dd if=efi.img of=disk.img bs=512 seek=2048 conv=notrunc status=none
dd if=root.img of=disk.img bs=512 seek=$((2048 + 32768)) conv=notrunc status=none
mount_ok "$tmp/disk.img"
check "the FAT volume stands where fstab says" grep -q efi "$mnt/guest/boot/efi/efi.txt"
for tree in guest volumes/disk0p2; do
    for link in abs climb trick slashes twice fine deeper; do
        is "$tree: $link leads to the guest's file" "$(cat "$mnt/$tree/a/b/c/$link" 2>&1)" guest
    done
    check_not "$tree: a loop is a loop" cat "$mnt/$tree/a/b/c/loop1"
    check_not "$tree: proc leads nowhere" cat "$mnt/$tree/a/b/c/proc"
    is "$tree: what is safe is shown as stored" "$(readlink "$mnt/$tree/a/b/c/fine")" ../../../etc/passwd
    for link in "$mnt/$tree"/a/b/c/*; do
        case $(readlink "$link") in
        /*) fail "$link is shown absolute" ;;
        *) pass ;;
        esac
        case $(readlink -f "$link") in
        "$mnt/$tree"* | '') pass ;;
        *) fail "$link leads to $(readlink -f "$link")" ;;
        esac
    done
done
check "a copy has the links" rsync -a "$mnt/guest/a/" "$tmp/copy/"
is "as links" "$(readlink "$tmp/copy/b/c/fine")" ../../../etc/passwd
unmount
finish
