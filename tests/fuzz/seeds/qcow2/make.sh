#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the seeds of fuzz-qcow2 anew, in the current directory.
set -eu
{ head -c 3000 /dev/zero | tr '\0' x; head -c 6000 /dev/zero; seq 900; } >seed.tmp
truncate -s 20000 seed.tmp
qemu-img convert -f raw -O qcow2 -o compat=0.10,cluster_size=512 seed.tmp v2-plain
qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k seed.tmp v3-zlib
qemu-img convert -f raw -O qcow2 -c -o cluster_size=512,compression_type=zstd seed.tmp v3-zstd
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=16k ext.tmp 64k
qemu-io -c 'write -P 5 512 1k' -c 'write -z 4k 1k' ext.tmp >/dev/null
head -c 65536 ext.tmp >extended-cut
qemu-img create -q -f qcow2 -o cluster_size=512 zeros 32k
qemu-io -c 'write -P 5 0 2k' -c 'write -z 1k 1k' -c 'write -z -u 8k 1k' zeros >/dev/null
qemu-img create -q -u -f qcow2 -o cluster_size=512 -b base.qcow2 -F qcow2 backing 32k
qemu-img create -q -f qcow2 -o cluster_size=512 snapshots 32k
qemu-io -c 'write -P 5 0 2k' snapshots >/dev/null
qemu-img snapshot -c one snapshots
qemu-io -c 'write -P 6 1k 2k' snapshots >/dev/null
qemu-img snapshot -c 'another/name' snapshots
qemu-img create -q -f qcow2 -o compat=0.10,cluster_size=512 snapshot-v2 32k
qemu-io -c 'write -P 5 0 2k' snapshot-v2 >/dev/null
qemu-img snapshot -c one snapshot-v2
qemu-img create -q -f qcow2 -o cluster_size=512 bitmaps 32k
qemu-img bitmap --add -g 512 bitmaps bm0
qemu-img bitmap --add --disable bitmaps bm1
rm -f seed.tmp ext.tmp
