# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# A Linux guest with the three file systems that can be written. Sourced after lib.sh by the tests of writable mounts.

# In MiB: where each volume begins, and how long it is.
fat_at=1 fat_size=40
ntfs_at=41 ntfs_size=40
ext_at=81 ext_size=48

# place IMAGE DISK MIB: puts a volume's image into the disk.
place() { dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none; }

# make_three FILE [DIR]: a GPT disk; p1 FAT32 (the guest's /boot/efi), p2 NTFS, p3 ext4 with what is in DIR, if given.
make_three() {
    local disk=$1 root=$tmp/three.root
    mkdir -p "$root/etc" "$root/boot/efi" "$root/home"
    [ -z "${2-}" ] || cp -a "$2/." "$root/"
    echo 'PRETTY_NAME="Three"' >"$root/etc/os-release"
    echo 'UUID=0FAD-CAFE /boot/efi vfat defaults 0 0' >"$root/etc/fstab"
    truncate -s 130M "$disk"
    sgdisk -n 1:${fat_at}M:+${fat_size}M -t 1:ef00 -n 2:${ntfs_at}M:+${ntfs_size}M -t 2:0700 \
        -n 3:${ext_at}M:+${ext_size}M "$disk" >/dev/null || return 1
    truncate -s ${fat_size}M "$tmp/three.fat"
    mkfs.fat -F 32 -s 1 -i 0FADCAFE "$tmp/three.fat" >/dev/null || return 1
    truncate -s ${ntfs_size}M "$tmp/three.ntfs"
    mkntfs -qF -p $((ntfs_at * 2048)) "$tmp/three.ntfs" >/dev/null 2>&1 || return 1
    [ -z "${three_fill_ntfs-}" ] || "$three_fill_ntfs" "$tmp/three.ntfs" || return 1
    truncate -s ${ext_size}M "$tmp/three.ext"
    mkfs.ext4 -q -F -d "$root" "$tmp/three.ext" || return 1
    place "$tmp/three.fat" "$disk" $fat_at
    place "$tmp/three.ntfs" "$disk" $ntfs_at
    place "$tmp/three.ext" "$disk" $ext_at
    rm -r "$root" "$tmp"/three.{fat,ntfs,ext}
}

# three_clean WHEN RAW: the checkers of others find nothing in any of the volumes of the disk.
three_clean() {
    local part=$tmp/three.part walk=${FERRYFS%/*}/tests/ntfs-walk
    rm -f "$part"
    dd if="$2" of="$part" bs=1M skip=$fat_at count=$fat_size conv=sparse status=none
    check "$1: fsck.vfat" fsck.vfat -n "$part"
    rm -f "$part"
    dd if="$2" of="$part" bs=1M skip=$ntfs_at count=$ntfs_size conv=sparse status=none
    check "$1: ntfsfix" ntfsfix -n "$part"
    check "$1: ntfsresize" ntfsresize -fi "$part"
    [ ! -x "$walk" ] || check "$1: a walk through the NTFS volume" "$walk" "$part"
    rm -f "$part"
    dd if="$2" of="$part" bs=1M skip=$ext_at count=$ext_size conv=sparse status=none
    check "$1: e2fsck" e2fsck -fn "$part"
    rm -f "$part"
}
