#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The views through a real mount: qemu-img's word on each, every way of copying gives the same bytes, holes are true,
# two mounts are alike.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/views.bash"
need qemu-img qemu-io python3 jq rsync tar

cd "$tmp" || exit 1

# Data at block edges, across them, as a lone sector, and at the very end; the rest is holes.
make_disk() { # FILE FORMAT SIZE OPTIONS...
    local file=$1 format=$2 size=$3
    shift 3
    qemu-img create -q -f "$format" "$@" "$file" "$size" &&
        qemu-io -f "$format" -c 'write -q -P 0x11 0 3M' -c 'write -q -P 0x22 9961472 1M' -c 'write -q -P 0x33 41943552 512' \
            -c "write -q -P 0x44 $((size - 70144)) 70144" "$file" >/dev/null
}

views=(disk.raw disk.vhdx disk-fixed.vhdx)

# one SOURCE SIZE VIEW...: the views named are copied in all ways.
one() {
    local v
    mount_ok "$1"
    is "size of disk.raw" "$(stat -c %s "$disk/disk.raw")" "$2"
    qemu_agrees disk.vhdx vhdx "$2"
    qemu_agrees disk-fixed.vhdx vhdx "$2"
    for v in "${@:3}"; do copies "$v"; done
    is "lseek on disk.raw is map.json" "$(python3 holes.py "$disk/disk.raw")" "$(json_extents "$disk/map.json")"
    local first second
    first=$(cd "$disk" && sha256sum "${views[@]}")
    unmount
    mount_ok "$1"
    second=$(cd "$disk" && sha256sum "${views[@]}")
    is "two mounts are alike" "$second" "$first"
    unmount
}

size=$((100 * 1048576 + 3584))
make_disk disk.img raw $size && make_disk disk.qcow2 qcow2 $size || exit 1
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.img stream.vmdk || exit 1
# ext4 tells other holes before it has written a file out than after
sync disk.img disk.qcow2 stream.vmdk

one disk.img $size disk.raw
one disk.qcow2 $size disk.vhdx disk-fixed.vhdx

# a compressed source of the same disk
mount_ok stream.vmdk
check "disk.raw of stream.vmdk" same disk.img "$disk/disk.raw"
qemu_agrees disk.vhdx vhdx $size
unmount

# allocated: 3 blocks, 2 (unaligned), 1, 1 for the tail; behind 4 MiB of headers and BAT
mount_ok disk.qcow2
is "disk.vhdx is as small as can be" "$(stat -c %s "$disk/disk.vhdx")" $(((4 + 3 + 2 + 1 + 2) * 1048576))
is "disk-fixed.vhdx has all blocks" "$(stat -c %s "$disk/disk-fixed.vhdx")" $(((4 + 101) * 1048576))
unmount

# A size that is no whole sector is padded, in every view.
head -c 1000001 /dev/urandom >odd.img
mount_ok odd.img
is "an odd size is padded to a sector" "$(stat -c %s "$disk/disk.raw")" 1000448
check "the bytes before the padding" cmp -n 1000001 odd.img "$disk/disk.raw"
is "the padding is zeros" "$(tail -c 447 "$disk/disk.raw" | tr -d '\0' | wc -c)" 0
qemu_agrees disk.vhdx vhdx 1000448
qemu_agrees disk-fixed.vhdx vhdx 1000448
unmount

# 64 TiB, nearly nothing in it: at once, and small. tmpfs takes such a file where ext4 doesn't.
huge=$(mktemp -p /dev/shm ferryfs-huge.XXXXXX 2>/dev/null) || huge=$tmp/huge.img
if truncate -s 64T "$huge" 2>/dev/null; then
    printf 'the end' | dd of="$huge" bs=512 seek=$((64 * 2048 * 1048576 - 1)) conv=notrunc status=none
    begin=$(date +%s%N)
    mount_ok "$huge"
    is "disk.vhdx of 64 TiB is small" "$(stat -c %s "$disk/disk.vhdx")" $(((3 + 33 + 16) * 1048576))
    is "its end in disk.raw" "$(tail -c 512 "$disk/disk.raw" | head -c 7)" "the end"
    took=$((($(date +%s%N) - begin) / 1000000))
    check "64 TiB mount within 2 s, took $took ms" test $took -lt 2000
    check "disk.vhdx of 64 TiB is clean" qemu-img check -f vhdx "$disk/disk.vhdx"
    is "the end in disk.vhdx" \
        "$(qemu-io -r -f vhdx -c "read -v $((64 * 1099511627776 - 512)) 512" "$disk/disk.vhdx" | grep -c 'the.end')" 1
    check "lseek skips 64 TiB" python3 holes.py "$disk/disk.raw"
    for pid in $(daemons "$mnt"); do
        rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
        # a sanitizer's shadow is not ours
        [ -n "${ASAN_OPTIONS-}" ] && nm -D "$FERRYFS" 2>/dev/null | grep -q __asan && continue
        check "the daemon has $rss KiB" test "$rss" -lt 65536
    done
    unmount
    truncate -s $((64 * 1099511627776 + 512)) "$huge"
    mount_ok "$huge"
    check_not "over 64 TiB there is no disk.vhdx" test -e "$disk/disk.vhdx"
    check "but disk.raw" test -e "$disk/disk.raw"
    like "and info.json says why" "$(cat "$disk/info.json")" "64 TiB"
    unmount
fi
rm -f "$huge"
finish
