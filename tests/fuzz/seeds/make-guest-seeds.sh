#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the seeds of fuzz-partition and fuzz-fat anew, in the directories beside this script. Needs sfdisk,
# sgdisk, mkfs.fat, mtools, mkfs.ext4, mkswap. The seeds are committed; this tells how they came to be.
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
mkfs.fat -F 12 -n LABEL --mbr=y partition/superfloppy >/dev/null
truncate -s 60K partition/ext4
mkfs.ext4 -q -b 1024 -L label -O ^has_journal -N 16 partition/ext4
truncate -s 40K partition/swap
mkswap -q -L label partition/swap

fat() { # name, bits, options: a tree with long names, a file of several clusters, a subdirectory
    truncate -s "$3" "fat/$1"
    mkfs.fat -F "$2" -n LABEL -s 1 -f 1 -r 32 "fat/$1" >/dev/null
    seq 1 600 | mcopy -i "fat/$1" - ::numbers.txt
    mmd -i "fat/$1" '::A directory'
    printf 'text' | mcopy -i "fat/$1" - '::A directory/With a long name of several slots.txt'
    printf 'x' | mcopy -i "fat/$1" - ::SHORT.X
}
fat fat12 12 24K
fat fat32 32 56K
fat fat16 12 32K
printf '\000' | dd of=fat/fat16 bs=1 seek=22 conv=notrunc status=none
