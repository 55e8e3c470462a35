# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# What the tests of the views have in common; to be sourced after lib.sh, and run in $tmp.
# shellcheck disable=SC2154 # of lib.sh

disk=$mnt/disks/disk0

# make_source SIZE ZEROS WRITES...: src.qcow2, with data by qemu-io's commands and 8 MiB of zero clusters at ZEROS. The
# commands write whole clusters: the rest of one would be preallocated in the file, which to lseek is a hole until
# somebody has read it.
make_source() {
    local size=$1 zeros=$2
    shift 2
    qemu-img create -q -f qcow2 src.qcow2 "$size" && qemu-io -f qcow2 "$@" -c "write -q -z $zeros 8M" src.qcow2 && sync src.qcow2
}

# holes FILE: every extent that lseek tells, as "start length data|hole".
cat >"$tmp/holes.py" <<'PY'
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

cat >"$tmp/mapped.py" <<'PY'
import hashlib, mmap, os, sys
with open(sys.argv[1], "rb") as f:
    # a private mapping: direct I/O has no shared one before Linux 6.6
    with mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ) as m:
        print(hashlib.sha256(m).hexdigest())
PY

cat >"$tmp/parallel.py" <<'PY'
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

# qemu_reads VIEW FORMAT: the short form of it, for disks that are large and nearly empty.
qemu_reads() {
    check "$1 is clean" qemu-img check -f "$2" "$disk/$1"
    check "$1 holds the disk" qemu-img compare -f "$2" -F raw "$disk/$1" "$disk/disk.raw"
}

# again VIEW: a copy of the view, mounted as a source, is the same disk.
again() {
    local copy=copy.${1##*.} want
    want=$(sha "$disk/disk.raw")
    cp --sparse=always "$disk/$1" "$copy"
    unmount
    mount_ok "$copy"
    is "$1, copied and mounted, is the same disk" "$(sha "$disk/disk.raw")" "$want"
    unmount
    rm -f "$copy"
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
    is "$1 in parallel" "$(python3 "$tmp/parallel.py" "$view")" "$want"
    is "$1 by mmap" "$(python3 "$tmp/mapped.py" "$view")" "$want"
    check "$1: has blocks" test "$(stat -c %b "$view")" -gt 0
    check "$1: lseek walks it" python3 "$tmp/holes.py" "$view"
    is "$1: st_blocks is its data" "$(stat -c %b "$view")" \
        "$(python3 "$tmp/holes.py" "$view" | awk '$3 == "data" { n += $2 } END { print int((n + 511) / 512) }')"
}
