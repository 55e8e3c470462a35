#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Partition tables made by sfdisk and sgdisk, sound and damaged: which volumes a mount shows, and what it says
# of those that it can't.
. "$(dirname "$0")/lib.sh"
need sfdisk sgdisk mkfs.fat mcopy jq
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1

# put_fat IMAGE SECTOR COUNT TEXT: a FAT file system there, with a file hello.txt.
put_fat() {
    rm -f "$tmp/fat"
    truncate -s $(($3 * 512)) "$tmp/fat"
    mkfs.fat -a "$tmp/fat" >/dev/null
    printf '%s' "$4" | mcopy -i "$tmp/fat" - ::hello.txt
    dd if="$tmp/fat" of="$1" bs=512 seek="$2" conv=notrunc status=none
}
names() { (cd "$mnt/volumes" && ls | sort -V | tr '\n' ' '); }
hello() { cat "$mnt/volumes/$1/hello.txt"; }
volume() { json "$mnt/info.json" ".volumes[] | select(.name==\"$1\") | $2"; }

# ---- MBR: two primary ones, 20 logical ones, one of them not a file system, one of them damaged ----
truncate -s 64M "$tmp/mbr.img"
{
    echo 'label: dos'
    echo 'start=2048, size=2048, type=c'
    echo 'start=4096, size=2048, type=83'
    echo 'start=8192, size=98304, type=5'
    for i in $(seq 0 19); do echo "start=$((10240 + i * 4096)), size=2048, type=c"; done
} | sfdisk -q "$tmp/mbr.img" || fail "sfdisk"
put_fat "$tmp/mbr.img" 2048 2048 first
for i in $(seq 0 19); do put_fat "$tmp/mbr.img" $((10240 + i * 4096)) 2048 "logical $((i + 5))"; done
dd if=/dev/zero of="$tmp/mbr.img" bs=512 seek=$((10240 + 3 * 4096)) count=4 conv=notrunc status=none      # 8: nothing
printf '\377\377\377\377' | dd of="$tmp/mbr.img" bs=1 seek=$(((10240 + 4 * 4096) * 512 + 32)) conv=notrunc status=none
printf '\000\000' | dd of="$tmp/mbr.img" bs=1 seek=$(((10240 + 4 * 4096) * 512 + 22)) conv=notrunc status=none # 9: damaged
mount_ok "$tmp/mbr.img" -- -o format=raw
is "the primary one" "$(hello disk0p1)" first
for i in 5 7 10 24; do is "logical $i" "$(hello disk0p$i)" "logical $i"; done
is "the volumes shown" "$(names)" "disk0p1 disk0p5 disk0p6 disk0p7 disk0p10 disk0p11 disk0p12 disk0p13 disk0p14 \
disk0p15 disk0p16 disk0p17 disk0p18 disk0p19 disk0p20 disk0p21 disk0p22 disk0p23 disk0p24 "
is "an empty one isn't shown" "$(volume disk0p8 .shown)" false
is "nor a damaged one" "$(volume disk0p9 .shown)" false
like "which says why" "$(volume disk0p9 .why)" .
unmount

# ---- a loop of extended boot records ----
cp --sparse=always "$tmp/mbr.img" "$tmp/loop.img"
second=$(od -An -tu4 -j $((8192 * 512 + 446 + 16 + 8)) -N 4 "$tmp/mbr.img" | tr -d ' ')
printf '\000\000\000\000' | dd of="$tmp/loop.img" bs=1 seek=$(((8192 + second) * 512 + 446 + 16 + 8)) conv=notrunc status=none
mount_ok "$tmp/loop.img" -- -o format=raw
like "the loop is named" "$(cat "$mnt/info.json")" 'runs in a loop'
check "the disk itself is there" same "$tmp/loop.img" "$mnt/disks/disk0/disk.raw"
unmount

# ---- GPT, and by its backup ----
truncate -s 16M "$tmp/gpt.img"
sgdisk -n 1:2048:+2M -t 1:ef00 -n 3:8192:+2M -c 3:data "$tmp/gpt.img" >/dev/null
put_fat "$tmp/gpt.img" 2048 4096 esp
put_fat "$tmp/gpt.img" 8192 4096 third
for damage in none header entries both-sectors; do
    cp --sparse=always "$tmp/gpt.img" "$tmp/d.img"
    case $damage in
    header) dd if=/dev/zero of="$tmp/d.img" bs=512 seek=1 count=1 conv=notrunc status=none ;;
    entries) printf x | dd of="$tmp/d.img" bs=1 seek=1100 conv=notrunc status=none ;;
    both-sectors) dd if=/dev/zero of="$tmp/d.img" bs=512 count=2 conv=notrunc status=none ;;
    esac
    mount_ok "$tmp/d.img" -- -o format=raw
    is "$damage: the volumes" "$(names)" "disk0p1 disk0p3 "
    is "$damage: a file" "$(hello disk0p3)" third
    [ $damage = none ] || like "$damage: it is said" "$(cat "$mnt/info.json")" 'backup is used'
    unmount
done

# ---- both GPT headers gone: no volume, and never the protective partition ----
cp --sparse=always "$tmp/gpt.img" "$tmp/d.img"
dd if=/dev/zero of="$tmp/d.img" bs=512 seek=1 count=1 conv=notrunc status=none
dd if=/dev/zero of="$tmp/d.img" bs=512 seek=$((16 * 2048 - 1)) count=1 conv=notrunc status=none
mount_ok "$tmp/d.img" -- -o format=raw
check_not "there are no volumes" test -e "$mnt/volumes/disk0p1"
like "and why" "$(cat "$mnt/info.json")" 'GPT is damaged'
unmount

# ---- a disk that was cut short in a partition: its volume is there to save what can be read, and isn't written ----
cp --sparse=always "$tmp/gpt.img" "$tmp/d.img"
truncate -s 5M "$tmp/d.img"
mount_ok "$tmp/d.img" -- -o format=raw,scratch
is "a file before the cut" "$(hello disk0p3)" third
is "the partition before can be written" "$(volume disk0p1 .writable)" true
is "the one that is cut can't" "$(volume disk0p3 .writable)" false
is "and says why" "$(volume disk0p3 .read_only_why)" \
    'its partition ends at byte 6291456, past the end of the disk at 5242880'
check_not "nothing is made there" touch "$mnt/volumes/disk0p3/new"
check "before it there is" touch "$mnt/volumes/disk0p1/new"
unmount

# ---- a file system without a table, once with the table that mkfs.fat fakes ----
for fake in no yes; do
    rm -f "$tmp/floppy.img"
    truncate -s 8M "$tmp/floppy.img"
    mkfs.fat -a --mbr=$fake "$tmp/floppy.img" >/dev/null
    printf floppy | mcopy -i "$tmp/floppy.img" - ::hello.txt
    mount_ok "$tmp/floppy.img" -- -o format=raw
    is "superfloppy, table: $fake" "$(hello disk0)" floppy
    is "the only one" "$(names)" "disk0 "
    unmount
done
finish
