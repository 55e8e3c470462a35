#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The checker that judges what is written to NTFS (tests/tools/ntfs-walk.c) is judged itself: a volume is filled through
# the mount, found sound, and damaged in each way that the checker names; it has to say so every time.
. "$(dirname "$0")/lib.sh"
need mkntfs python3 setfattr
walk=${FERRYFS%/*}/tests/ntfs-walk
[ -x "$walk" ] || skip "ntfs-walk is not built"

truncate -s 10M "$tmp/ntfs.img"
mkntfs -qF "$tmp/ntfs.img" >/dev/null 2>&1
mount_ok "$tmp/ntfs.img" -- -o scratch
v=$(echo "$mnt"/volumes/*)
head -c 30000 /dev/urandom >"$v/plain"
head -c 30000 /dev/urandom >"$v/second"
check "a file with holes" sh -c "truncate -s 1M '$v/sparse' && printf x | dd of='$v/sparse' bs=1 seek=700000 conv=notrunc"
mkdir "$v/many"
for ((i = 0; i < 50; i++)); do echo "$i" >"$v/many/a name of some length $i"; done
: >"$v/listed"
for ((i = 0; i < 12; i++)); do setfattr -n "user.stream$i" -v "$(head -c 150 /dev/zero | tr '\0' x)" "$v/listed"; done
: >"$v/link"
check "a reparse point" setfattr -n system.ntfs_reparse_data -v 0x1d0000a008000000020000002f757372 "$v/link"
: >"$v/gone"
cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/sound.img"
unmount
check "each damage is seen" python3 "$(dirname "$0")/../tools/ntfs-damage.py" "$walk" "$tmp/sound.img"
finish
