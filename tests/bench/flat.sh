#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a mount costs by the size of the disk, the number of extents, and the length of the chain: time from the start
# of the program to the first 4 KiB of disk.raw, time of a stat of all views, and the most memory. Beside it
# `qemu-storage-daemon`'s export where it is installed.
#
#   tests/bench/flat.sh                   RUNS=5, FERRYFS=build/ferryfs
. "$(dirname "$0")/lib.sh"
need qemu-img python3 fusermount3 awk

cd "$work"
# A raw file with so many pieces of data of 4 KiB, each between holes.
cat >fragments.py <<'PY'
import os, sys
n = int(sys.argv[2])
with open(sys.argv[1], "wb") as f:
    f.truncate(n * 131072)
    for i in range(n):
        os.pwrite(f.fileno(), b"x" * 4096, i * 131072)
PY
# A qcow2 whose tables name so many clusters of 64 KiB, none of two neighbours behind each other in the file.
cat >clusters.py <<'PY'
import struct, sys
n, c = int(sys.argv[2]), 65536
tables = -(-n // 8192)
data = 1 + -(-tables * 8 // c) + tables
with open(sys.argv[1], "wb") as f:
    f.truncate((data + n) * c)
    f.write(struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 16, n * c, 0, tables, c, 0, 0, 0, 0, 0, 0, 0, 4, 104))
    f.seek(c)
    first = 1 + -(-tables * 8 // c)
    f.write(b"".join(struct.pack(">Q", (first + t) * c) for t in range(tables)))
    for t in range(tables):
        f.seek((first + t) * c)
        f.write(b"".join(struct.pack(">Q", (data + (i ^ 1)) * c) for i in range(t * 8192, min(n, (t + 1) * 8192))))
PY
for size in 10G 1T 64T; do qemu-img create -q -f qcow2 -o cluster_size=2M "size-$size.qcow2" "$size"; done
for n in 1000 100000 1000000; do
    python3 clusters.py "clusters-$n.qcow2" $((n / 2 * 2))
done
for n in 1000 100000; do python3 fragments.py "fragments-$n.raw" "$n"; done
qemu-img create -q -f qcow2 chain-1.qcow2 10G
for i in $(seq 2 300); do qemu-img create -q -f qcow2 -b "chain-$((i - 1)).qcow2" -F qcow2 "chain-$i.qcow2"; done

first_byte() { # from the start of the program
    local start
    start=$(now)
    "$ferryfs" "$1" mnt
    dd if=mnt/disks/disk0/disk.raw of=/dev/null bs=4k count=1 status=none
    awk -v a="$start" -v b="$(now)" 'BEGIN { printf "%.1f\n", (b - a) * 1000 }'
}

printf '%-26s %14s %14s %8s\n' image 'first 4 KiB, ms' 'stat, ms' MiB
for image in size-10G.qcow2 size-1T.qcow2 size-64T.qcow2 clusters-1000.qcow2 clusters-100000.qcow2 clusters-1000000.qcow2 \
    fragments-1000.raw fragments-100000.raw chain-1.qcow2 chain-30.qcow2 chain-300.qcow2; do
    : >ms
    for _ in $(seq "$runs"); do
        first_byte "$image" >>ms
        fusermount3 -u mnt
        while grep -q " $work/mnt " /proc/self/mounts; do sleep 0.01; done
    done
    serve "$image"
    stat_ms=$(took stat mnt/disks/disk0/disk.raw mnt/disks/disk0/disk.vhdx | awk '{ printf "%.1f", $1 * 1000 }')
    rss=$(memory)
    unserve
    printf '%-26s %14s %14s %8s\n' "$image" "$(median <ms)" "$stat_ms" "$rss"
done
