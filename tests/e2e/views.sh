#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The views through a real mount: qemu-img's word on each, every way of copying gives the same bytes, holes are true,
# two mounts are alike.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq rsync tar

cd "$tmp" || exit 1
disk=$mnt/disks/disk0

# Data at block edges, across them, as a lone sector, and at the very end; the rest is holes.
make_disk() { # FILE FORMAT SIZE OPTIONS...
    local file=$1 format=$2 size=$3
    shift 3
    qemu-img create -q -f "$format" "$@" "$file" "$size" &&
        qemu-io -f "$format" -c 'write -q -P 0x11 0 3M' -c 'write -q -P 0x22 9961472 1M' -c 'write -q -P 0x33 41943552 512' \
            -c "write -q -P 0x44 $((size - 70144)) 70144" "$file" >/dev/null
}

# holes FILE: every extent that lseek tells, as "start length data|hole".
cat >holes.py <<'PY'
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, at = os.fstat(fd).st_size, 0
while at < size:
    try:
        data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as e:
        assert e.errno == 6, e  # ENXIO: no more data
        data = size
    if data > at:
        print(at, data - at, "hole")
        # a hole must be zeros: looked at where it begins and where it ends
        for off in (at, max(at, data - 65536)):
            n = min(65536, data - off)
            assert os.pread(fd, n, off) == bytes(n), off
    at = data
    if at < size:
        hole = os.lseek(fd, at, os.SEEK_HOLE)
        assert hole > at, (at, hole)
        print(at, hole - at, "data")
        at = hole
PY

# The same from map.json: neighbours of one kind joined.
json_extents() {
    jq -r '.[] | "\(.start) \(.length) \(if .data then "data" else "hole" end)"' "$1" |
        awk '$3 == kind { length_ += $2; next } kind { print start, length_, kind } { start = $1; length_ = $2; kind = $3 }
             END { if (kind) print start, length_, kind }'
}

cat >mapped.py <<'PY'
import hashlib, mmap, os, sys
with open(sys.argv[1], "rb") as f:
    # a private mapping: direct I/O has no shared one before Linux 6.6
    with mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as m:
        print(hashlib.sha256(m).hexdigest())
PY

cat >parallel.py <<'PY'
import concurrent.futures, hashlib, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, step = os.fstat(fd).st_size, 777777
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    # from the end: nothing is in sequence
    offsets = list(range(0, size, step))
    pieces = dict(zip(reversed(offsets), pool.map(lambda at: os.pread(fd, step, at), reversed(offsets))))
h = hashlib.sha256()
for at in offsets:
    assert len(pieces[at]) == min(step, size - at), at
    h.update(pieces[at])
print(h.hexdigest())
PY

# qemu_agrees VIEW FORMAT SIZE: opens, is clean, has the size, holds the disk.
qemu_agrees() {
    check "$1 is clean" qemu-img check -f "$2" "$disk/$1"
    check "$1 holds the disk" qemu-img compare -f "$2" -F raw "$disk/$1" "$disk/disk.raw"
    is "$1 has the disk's size" "$(qemu-img info --output=json -f "$2" "$disk/$1" | jq '."virtual-size"')" "$3"
    check "$1 converts" qemu-img convert -f "$2" -O raw "$disk/$1" converted.raw
    check "$1, converted, is the disk" same converted.raw "$disk/disk.raw"
    rm -f converted.raw
}

# copies VIEW: every way of reading gives the bytes that a plain read gives.
copies() {
    local view=$disk/$1 want
    want=$(sha "$view")
    cp --sparse=always "$view" copy && is "$1 by cp --sparse=always" "$(sha copy)" "$want"
    cp "$view" copy && is "$1 by cp" "$(sha copy)" "$want"
    check "$1: the copy by cp is sparse" test "$(stat -c %b copy)" -le "$(($(stat -c %b "$view") + 64))"
    rm -f copy
    rsync -S "$view" copy && is "$1 by rsync -S" "$(sha copy)" "$want"
    rm -f copy
    tar -S -C "$disk" -cf copy.tar "$1" && tar -xf copy.tar && is "$1 by tar -S" "$(sha "$1")" "$want"
    check "$1: tar -S skips the holes" test "$(stat -c %s copy.tar)" -le "$(($(stat -c %b "$view") * 512 + 65536))"
    rm -f "$1" copy.tar
    is "$1 by dd in odd blocks" "$(dd if="$view" bs=1234567 status=none | sha)" "$want"
    is "$1 by dd in small blocks" "$(dd if="$view" bs=15872 status=none | sha)" "$want"
    is "$1 in parallel" "$(python3 parallel.py "$view")" "$want"
    is "$1 by mmap" "$(python3 mapped.py "$view")" "$want"
    check "$1: has blocks" test "$(stat -c %b "$view")" -gt 0
    check "$1: lseek walks it" python3 holes.py "$view"
    is "$1: st_blocks is its data" "$(stat -c %b "$view")" \
        "$(python3 holes.py "$view" | awk '$3 == "data" { n += $2 } END { print int((n + 511) / 512) }')"
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
