#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# FAT volumes through the mount, against what mtools copies out of them: names, content, look-ups without case.
. "$(dirname "$0")/lib.sh"
need mkfs.fat mcopy mmd mattrib
export LC_ALL=C.UTF-8 MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1

# A tree with what is special: long names, umlauts, many entries, fragments, a large file.
src=$tmp/src
mkdir -p "$src/EFI/BOOT" "$src/Ein langer Name mit Umlauten äöü" "$src/many"
head -c 700000 /dev/urandom >"$src/EFI/BOOT/BOOTX64.EFI"
printf 'grüße\n' >"$src/Ein langer Name mit Umlauten äöü/Größe ΩЖ.txt"
printf 'x' >"$src/$(printf 'n%.0s' $(seq 200)).long"
printf 'lower\n' >"$src/lower.txt"
printf 'UPPER\n' >"$src/UPPER.TXT"
: >"$src/empty"
for i in $(seq 300); do echo "$i" >"$src/many/file number $i"; done

digests() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }

for bits in 12 16 32; do
    img=$tmp/fat$bits.img
    case $bits in 12) size=4M ;; 16) size=16M ;; 32) size=64M ;; esac
    truncate -s $size "$img"
    mkfs.fat -a -F $bits -s 1 -n "VOL $bits" "$img" >/dev/null 2>&1 || mkfs.fat -a -F $bits -n "VOL $bits" "$img" >/dev/null
    # two files written between each other, so that both are in pieces
    for i in 1 2 3 4; do
        head -c 50000 /dev/urandom >"$tmp/gap$i"
        mcopy -i "$img" "$tmp/gap$i" "::gap$i"
    done
    mdel -i "$img" ::gap1 ::gap3
    mcopy -i "$img" -s "$src"/* ::
    mattrib -i "$img" +r ::UPPER.TXT
    rm -rf "$tmp/out"
    mkdir "$tmp/out"
    mcopy -i "$img" -snp :: "$tmp/out" </dev/null >/dev/null 2>&1 || mcopy -i "$img" -snp '::*' "$tmp/out" </dev/null

    mount_ok "$img" -- -o format=raw
    v=$mnt/volumes/disk0
    is "FAT$bits: the tree is mtools' tree" "$(digests "$v")" "$(digests "$tmp/out")"
    is "FAT$bits: and what was copied in" "$(digests "$v/many")" "$(digests "$src/many")"
    check "FAT$bits: the large file" same "$src/EFI/BOOT/BOOTX64.EFI" "$v/EFI/BOOT/BOOTX64.EFI"
    check "FAT$bits: without case" same "$src/EFI/BOOT/BOOTX64.EFI" "$v/efi/Boot/bootx64.efi"
    check "FAT$bits: umlauts without case" test -f "$v/EIN LANGER NAME MIT UMLAUTEN ÄÖÜ/GRÖßE ωж.TXT"
    check "FAT$bits: by the 8.3 alias" test -f "$v/many/FILENU~1"
    check_not "FAT$bits: what isn't there" test -e "$v/efi/boot/none.efi"
    is "FAT$bits: a file's mode" "$(stat -c %a "$v/UPPER.TXT" | tr 7 5)" 555
    is "FAT$bits: an empty file" "$(stat -c %s "$v/empty")" 0
    is "FAT$bits: entries" "$(ls "$v/many" | wc -l)" 300
    check_not "FAT$bits: read-only" touch "$v/new"
    is "FAT$bits: the type" "$(json "$mnt/info.json" '.volumes[0].type')" fat$bits
    unmount
done
finish
