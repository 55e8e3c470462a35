#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the seeds of fuzz-partition and fuzz-fat anew, in the directories beside this script. Needs sfdisk,
# sgdisk, mkfs.fat, mtools, mkfs.ext4, mkswap, python3. The seeds are committed; this tells how they came to be.
set -eu
cd "$(dirname "$0")"
mkdir -p partition fat
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1 SOURCE_DATE_EPOCH=1700000000

rm -f partition/* fat/*
truncate -s 48K partition/mbr-logical
{
    echo 'label: dos'
    echo 'start=1, size=10, type=7, bootable'
    echo 'start=12, size=80, type=f'
    for i in 0 1 2; do echo "start=$((14 + 20 * i)), size=10, type=83"; done
} | sfdisk -q partition/mbr-logical
truncate -s 48K partition/gpt
sgdisk -a 1 -n 1:34:40 -c 1:first -t 1:ef00 -n 3:42:60 -c 3:third partition/gpt >/dev/null
cp partition/gpt partition/gpt-backup
dd if=/dev/zero of=partition/gpt-backup bs=512 count=2 conv=notrunc status=none
truncate -s 48K partition/superfloppy
mkfs.fat -a -F 12 -s 1 -f 1 -r 16 -R 1 -n LABEL --mbr=y partition/superfloppy >/dev/null
truncate -s 60K partition/ext4
mkfs.ext4 -q -b 1024 -L label -O ^has_journal -N 16 partition/ext4
truncate -s 40K partition/swap
mkswap -q -L label partition/swap

# NAME BITS SIZE OPTIONS...: a tree with long names, a file of several clusters, a subdirectory. What lies behind
# the first 48 KiB is cut off: nothing is there.
fat() {
    name=$1 bits=$2 size=$3
    shift 3
    truncate -s "$size" "fat/$name"
    mkfs.fat -a -F "$bits" -n LABEL -s 1 -f 1 "$@" "fat/$name" >/dev/null
    seq 1 400 | mcopy -i "fat/$name" - ::numbers.txt
    mmd -i "fat/$name" '::A directory'
    printf 'text' | mcopy -i "fat/$name" - '::A directory/With a long name of several slots.txt'
    printf 'x' | mcopy -i "fat/$name" - ::SHORT.X
    truncate -s 48K "fat/$name"
}
fat fat12 12 48K -R 1 -r 32
fat fat16 16 2200K -R 1 -r 32
# mtools takes a small FAT32 for FAT12, so that its file and its directory are set by hand.
truncate -s 1M fat/fat32
mkfs.fat -F 32 -n LABEL -s 1 -f 1 -R 8 -b 6 fat/fat32 >/dev/null 2>&1
truncate -s 48K fat/fat32
python3 - fat/fat32 <<'END'
import struct, sys
image = bytearray(open(sys.argv[1], 'rb').read())
fat, data = 8 * 512, 8 * 512 + struct.unpack_from('<I', image, 36)[0] * 512
for cluster, link in ((3, 5), (5, 4), (4, 0x0fffffff), (6, 0x0fffffff)):
    struct.pack_into('<I', image, fat + 4 * cluster, link)
entry = lambda name, attr, cluster, size: struct.pack('<11sBxxHHHHHHHI', name, attr, 0, 0, 0, 0, 0, 0x5821, cluster, size)
image[data + 32:data + 96] = entry(b'FILE    TXT', 0x20, 3, 1200) + entry(b'SUB        ', 0x10, 6, 0)
image[data + 4 * 512:data + 4 * 512 + 96] = (entry(b'.          ', 0x10, 6, 0) + entry(b'..         ', 0x10, 0, 0)
                                             + entry(b'EMPTY      ', 0x21, 0, 0))
open(sys.argv[1], 'wb').write(image)
END
