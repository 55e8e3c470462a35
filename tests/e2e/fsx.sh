#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# One file under random writes by every way there is, against a copy of it in memory (tests/tools/fsx.c), on ext4, FAT and
# NTFS; renamed, unlinked while open, and names exchanged on FAT. FERRYFS_FSX=SECONDS for longer than the few of CI,
# FERRYFS_FSX_SEED for a seed of your own; the one used is in the output of a failure.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat python3
fsx=${FERRYFS%/*}/tests/fsx
[ -x "$fsx" ] || skip 'fsx is not built'
seconds=${FERRYFS_FSX-4}
seed=${FERRYFS_FSX_SEED-$(date +%s)}
volumes=$mnt/volumes
fat=$volumes/disk0p1 ntfs=$volumes/disk0p2 ext=$volumes/disk0p3

make_three "$tmp/disk.img" || skip "the file systems can't be made here"
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/overlay" -o format=raw
for d in "$ext" "$fat" "$ntfs"; do
    check "$d: fsx" "$fsx" -s "$seed" -t "$seconds" "$d/file"
    check "$d: fsx, a small file" "$fsx" -s "$seed" -t "$seconds" -l 20000 "$d/small"
done
# two at once, of one volume, while the others commit
for d in "$ext" "$fat" "$ntfs"; do
    "$fsx" -s "$((seed + 1))" -t "$seconds" "$d/first" >"$tmp/first.${d##*/}" 2>&1 &
    jobs+=($!)
    "$fsx" -s "$((seed + 2))" -t "$seconds" "$d/second" >"$tmp/second.${d##*/}" 2>&1 &
    jobs+=($!)
done
for job in "${jobs[@]}"; do
    check 'fsx beside others' wait "$job" || cat "$tmp"/first.* "$tmp"/second.*
done

cat >"$tmp/exchange" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, os.fsencode(sys.argv[1]), -100, os.fsencode(sys.argv[2]), 2):
    sys.exit(os.strerror(ctypes.get_errno()))
PY
exchange() { python3 "$tmp/exchange" "$@"; }

# FAT has no kernel rule of its own here: what the contents say is what counts.
mkdir -p "$fat/x/Long name of a directory/in" "$fat/y/two"
echo 1 >"$fat/x/FILE.TXT"
echo 22 >"$fat/y/Another long name.text"
exec 9<"$fat/x/FILE.TXT"
check 'FAT: files of two directories' exchange "$fat/x/FILE.TXT" "$fat/y/Another long name.text"
is 'FAT: the one' "$(cat "$fat/x/FILE.TXT")" 22
is 'FAT: the other' "$(cat "$fat/y/Another long name.text")" 1
is 'FAT: what was open stays what it was' "$(cat <&9)" 1
exec 9<&-
check 'FAT: directories' exchange "$fat/x/Long name of a directory" "$fat/y/two"
check 'FAT: with what is in them' test -d "$fat/y/two/in"
check 'FAT: a directory and a file' exchange "$fat/y/two" "$fat/x/FILE.TXT"
is 'FAT: which is there' "$(cat "$fat/y/two")" 22
check 'FAT: in one directory' exchange "$fat/y/two" "$fat/y/Another long name.text"
check_not 'FAT: with what is in it' exchange "$fat/x" "$fat/x/FILE.TXT"
check_not 'FAT: with what it is in' exchange "$fat/x/FILE.TXT" "$fat/x"
check_not 'FAT: with nothing' exchange "$fat/x/FILE.TXT" "$fat/x/none"
echo 1 >"$ntfs/a"
echo 2 >"$ntfs/b"
check_not 'NTFS refuses' exchange "$ntfs/a" "$ntfs/b"
is 'NTFS: nothing changed' "$(cat "$ntfs/a" "$ntfs/b")" "$(seq 2)"
find "$fat/x" "$fat/y" -type f -exec sh -c 'echo "$1 $(cat "$1")"' - {} \; | sed "s,$fat/,," | sort >"$tmp/before"
find "$fat/x" "$fat/y" -type d | sed "s,$fat/,," | sort >>"$tmp/before"
unmount

mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/overlay" -o format=raw
{
    find "$fat/x" "$fat/y" -type f -exec sh -c 'echo "$1 $(cat "$1")"' - {} \; | sed "s,$fat/,," | sort
    find "$fat/x" "$fat/y" -type d | sed "s,$fat/,," | sort
} >"$tmp/after"
check 'FAT: the same after the next mount' diff "$tmp/before" "$tmp/after"
three_clean "fsx and exchanges" "$mnt/disks/disk0/disk.raw"
unmount
finish
