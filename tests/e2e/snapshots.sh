#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Internal snapshots and bitmaps of qcow2 images: every view of every snapshot against qemu-img, names of all kinds,
# damaged tables, and what info.json says.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq getfattr
cd "$tmp" || exit 1
disk=$mnt/disks/disk0

qio() { # qio COMMAND... FILE
    local file=${*: -1} args=()
    for c in "${@:1:$#-1}"; do args+=(-c "$c"); done
    qemu-io "${args[@]}" "$file" >/dev/null
}

# patch FILE OFFSET HEX
patch() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2], 0)); f.write(bytes.fromhex(sys.argv[3]))' "$@"; }

# field FILE OFFSET BYTES: a big-endian number
field() { python3 -c 'import sys
with open(sys.argv[1], "rb") as f:
    f.seek(int(sys.argv[2], 0)); print(int.from_bytes(f.read(int(sys.argv[3])), "big"))' "$@"; }

# views_hold DIR RAW: every view there is in DIR holds what RAW does, by qemu-img.
views_hold() {
    local view format
    for view in "$1"/disk*; do
        format=${view##*.}
        [ "$format" = vhd ] && format=vpc
        check "$view" qemu-img compare -q -f "$format" -F raw "$view" "$2"
    done
}

# By qemu-img: the snapshot's data in a disk of the current size, or the disk as it becomes when it goes back to it.
converted() { qemu-img convert -f qcow2 -l "snapshot.name=$2" -O raw "$1" state.raw; }
gone_back() { cp "$1" back.qcow2 && qemu-img snapshot -a "$2" back.qcow2 && qemu-img convert -f qcow2 -O raw back.qcow2 state.raw; }

# same_states FILE ORACLE: the current state and all snapshots, which must have plain names.
same_states() {
    local name
    mount_ok "$1"
    qemu-img convert -f qcow2 -O raw "$1" state.raw
    views_hold "$disk" state.raw
    is "the snapshots of $1" "$(ls "$disk/snapshots")" "$(qemu-img snapshot -l "$1" | awk 'NR > 2 { print $2 }' | sort)"
    for name in "$disk"/snapshots/*; do
        name=${name##*/}
        "$2" "$1" "$name"
        views_hold "$disk/snapshots/$name" state.raw
        is "the size of $name" "$(stat -c %s "$disk/snapshots/$name/disk.raw")" "$(stat -c %s state.raw)"
        is "its map covers it" "$(json "$disk/snapshots/$name/map.json" '[.[].length] | add')" "$(stat -c %s state.raw)"
        is "its info.json" "$(json "$disk/snapshots/$name/info.json" '"\(.size) \(.snapshot.name)"')" \
            "$(stat -c %s state.raw) $name"
    done
    unmount
}

# ---- content: all that a cluster can be, over a backing file ----
for options in compat=0.10 compat=1.1 cluster_size=512 cluster_size=2M extended_l2=on compression_type=zstd; do
    rm -f base.raw top.qcow2
    truncate -s 3M base.raw
    qemu-io -f raw -c 'write -P 1 0 2M' base.raw >/dev/null
    qemu-img create -q -f qcow2 -o "$options" -b base.raw -F raw top.qcow2 5M
    qio 'write -P 2 1M 100k' 'write -c -P 7 2M 64k' top.qcow2 || qio 'write -P 2 1M 100k' top.qcow2
    qemu-img snapshot -c first top.qcow2
    qio 'write -P 3 1M 50k' 'write -z 128k 64k' 'write -P 4 4M 3k' top.qcow2
    qemu-img snapshot -c second top.qcow2
    qio 'write -P 5 0 5M' top.qcow2
    qemu-img snapshot -c third top.qcow2
    qemu-img snapshot -d second top.qcow2
    qio 'discard 0 2M' top.qcow2
    same_states top.qcow2 converted
done

# ---- a disk that was resized in between ----
qemu-img create -q -f qcow2 resized.qcow2 3M
qio 'write -P 1 0 3M' resized.qcow2
qemu-img snapshot -c small resized.qcow2
qemu-img resize -q resized.qcow2 1G
qio 'write -P 2 1000M 1M' resized.qcow2
qemu-img snapshot -c large resized.qcow2
qemu-img resize -q --shrink resized.qcow2 2M
same_states resized.qcow2 gone_back

# ---- a snapshot of a running guest: its memory lies behind the disk, and isn't shown ----
if command -v qemu-system-x86_64 >/dev/null; then
    qemu-img create -q -f qcow2 running.qcow2 8M
    qio 'write -P 5 0 8M' running.qcow2
    printf 'savevm live\nquit\n' | timeout 60 qemu-system-x86_64 -accel tcg -display none -m 16 -S -monitor stdio -nodefaults \
        -drive file=running.qcow2,if=none,id=d -device virtio-blk-pci,drive=d >"$out" 2>&1
    qio 'write -P 6 1M 8k' running.qcow2
    mount_ok running.qcow2
    is "the size of its memory" "$(json "$disk/info.json" '.snapshots[0].vm_state_size')" \
        "$(qemu-img info --output=json running.qcow2 | jq '.snapshots[0]."vm-state-size"')"
    check "there is some" test "$(json "$disk/info.json" '.snapshots[0].vm_state_size')" -gt 1000
    unmount
    same_states running.qcow2 converted
fi

# ---- a backing file with snapshots of its own: only the top's are shown ----
qemu-img create -q -f qcow2 -b resized.qcow2 -F qcow2 over.qcow2
mount_ok over.qcow2
check_not "an image without snapshots has no snapshots/" test -e "$disk/snapshots"
is "and says so" "$(json "$disk/info.json" '.snapshots | length')" 0
unmount

# ---- names ----
qemu-img create -q -f qcow2 names.qcow2 1M
long=$(printf 'n%.0s' $(seq 250))
i=0
for name in plain 'with blanks' . .. a/b 100% plain "$(printf 'bad\377')" $'\303\274ber' "$long"; do
    qio "write -P $((i += 1)) 0 64k" names.qcow2
    qemu-img snapshot -c "$name" names.qcow2
done
mount_ok names.qcow2
cat >want <<LIST
%2E
%2E%2E
100%25
a%2Fb
bad%FF
$long
plain
plain%~7
with blanks
$(printf '\303\274ber')
LIST
is "names become file names" "$(cd "$disk/snapshots" && printf '%s\n' * .[!.]* | grep -vF '.[!.]' | sort)" "$(sort want)"
is "the stored name is an xattr" "$(getfattr --only-values -n user.ferryfs.name "$disk/snapshots/a%2Fb")" a/b
is "its bytes are kept" "$(getfattr --only-values -n user.ferryfs.name "$disk/snapshots/bad%FF" | od -An -tx1)" " 62 61 64 ff"
is "info.json has name and directory" \
    "$(json "$disk/info.json" '.snapshots[] | select(.id == "5") | "\(.name) \(.directory) \(.shown)"')" 'a/b snapshots/a%2Fb true'
is "two of one name differ" "$(head -c 1 "$disk/snapshots/plain/disk.raw" | od -An -tx1)$(head -c 1 "$disk/snapshots/plain%~7/disk.raw" | od -An -tx1)" " 01 07"
is "ids, dates and sizes are qemu-img's" \
    "$(json "$disk/info.json" '.snapshots | map([.id, .date_seconds, .vm_state_size]) | tojson')" \
    "$(qemu-img info --output=json names.qcow2 | tr -d '\377' | jq '.snapshots | map([.id, ."date-sec", ."vm-state-size"]) | tojson' -r)"
unmount

# ---- bitmaps ----
qemu-img create -q -f qcow2 bitmaps.qcow2 1M
qemu-img bitmap --add -g 512 bitmaps.qcow2 bm0
qemu-img bitmap --add --disable bitmaps.qcow2 'second one'
mount_ok bitmaps.qcow2
is "bitmaps are qemu-img's" \
    "$(json "$disk/info.json" '.bitmaps | map([.name, .granularity, .enabled, .in_use]) | tojson')" \
    "$(qemu-img info --output=json bitmaps.qcow2 | jq -r '."format-specific".data.bitmaps |
        map([.name, .granularity, (.flags | index("auto") != null), (.flags | index("in-use") != null)]) | tojson')"
unmount
patch bitmaps.qcow2 88 0000000000000000
mount_ok bitmaps.qcow2
is "stale bitmaps are told" "$(json "$disk/info.json" '[.bitmaps[].in_use] | all')" true
like "with a remark" "$(json "$disk/info.json" '.chain[0].warnings[0]')" 'bitmaps are stale'
unmount

# ---- damage: one snapshot costs neither the others nor the disk ----
qemu-img create -q -f qcow2 good.qcow2 1M
qio 'write -P 1 0 100k' good.qcow2
qemu-img snapshot -c first good.qcow2
qio 'write -P 2 0 100k' good.qcow2
qemu-img snapshot -c second good.qcow2
qio 'write -P 3 0 100k' good.qcow2
qemu-img convert -f qcow2 -O raw good.qcow2 current.raw
qemu-img convert -f qcow2 -l snapshot.name=second -O raw good.qcow2 second.raw
table=$(field good.qcow2 64 8)
l1=$(field good.qcow2 "$table" 8)

# one_lost NAME WHY: of the damaged one.
one_lost() {
    mount_ok bad.qcow2
    check "$1: the disk is there" same "$disk/disk.raw" current.raw
    check_not "$1: the snapshot is absent" test -e "$disk/snapshots/first"
    like "$1: info.json says why" "$(json "$disk/info.json" '.snapshots[0] | "\(.shown) \(.why)"')" "^false .*$2"
    check "$1: the other is there" same "$disk/snapshots/second/disk.raw" second.raw
    is "$1: only the other is listed" "$(ls "$disk/snapshots")" second
    unmount
}
cp good.qcow2 bad.qcow2 && patch bad.qcow2 "$table" 0000000000000123
one_lost "L1 at an odd place" 'impossible place'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 "$table" 0000100000000000
one_lost "L1 past the end" 'file ends before'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 $((table + 8)) ffffffff
one_lost "L1 too large" 'larger than QEMU'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 "$l1" 0000100000000000
one_lost "L2 table past the end" 'truncated'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 "$l1" 0000000000000123
one_lost "L1 entry damaged" 'L1 entry 0 is damaged at byte'

# table_lost NAME: nothing of the table can be used.
table_lost() {
    mount_ok bad.qcow2
    check "$1: the disk is there" same "$disk/disk.raw" current.raw
    check_not "$1: there are no snapshots" test -e "$disk/snapshots"
    like "$1: there is a remark" "$(json "$disk/info.json" '.chain[0].warnings[0]')" "$2"
    unmount
}
cp good.qcow2 bad.qcow2 && patch bad.qcow2 64 0000000000000123
table_lost "the table at an odd place" 'impossible place'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 64 0000100000000000
table_lost "the table past the end" 'impossible place'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 $((table + 36)) ffffffff
table_lost "extra data that can't be" 'the table of snapshots is damaged at byte'
cp good.qcow2 bad.qcow2 && patch bad.qcow2 60 ffffffff
mount_ok bad.qcow2
check "any number: the disk is there" same "$disk/disk.raw" current.raw
check "any number: those that are there are shown" same "$disk/snapshots/second/disk.raw" second.raw
unmount

# A data cluster of a snapshot past the end of the file: an image cut short. EIO or absent, never other bytes.
size=$(stat -c %s good.qcow2)
for part in 40 60 80 95; do
    head -c $((size * part / 100)) good.qcow2 >bad.qcow2
    if "$FERRYFS" bad.qcow2 "$mnt" 2>"$err"; then
        mounts+=("$mnt")
        cat "$disk/snapshots/second/disk.raw" >got.raw 2>/dev/null
        check "cut at $part%: no other bytes" cmp -n "$(stat -c %s got.raw)" got.raw second.raw
        unmount
    else
        check "cut at $part%: refused by byte" grep -Eq 'bad.qcow2: .* at byte [0-9]+' "$err"
    fi
done

# ---- an external data file keeps no snapshots: QEMU makes none, whoever made one is not believed ----
qemu-img create -q -f qcow2 -o data_file=outside.dat outside.qcow2 1M
qio 'write -P 1 0 100k' outside.qcow2
truncate -s %64k outside.qcow2
patch outside.qcow2 60 00000001
patch outside.qcow2 64 "$(printf %016x "$(stat -c %s outside.qcow2)")"
python3 - "$(field outside.qcow2 40 8)" >>outside.qcow2 <<'PYTHON'
import struct, sys
sys.stdout.buffer.write(struct.pack(">QIHHIIQII", int(sys.argv[1]), 1, 1, 4, 0, 0, 0, 0, 16) + struct.pack(">QQ", 0, 1 << 20) + b"1made")
PYTHON
mount_ok outside.qcow2
check_not "it is absent" test -e "$disk/snapshots"
like "with the reason" "$(json "$disk/info.json" '.snapshots[0] | "\(.name) \(.why)"')" '^made the data lies in a data file'
check "the disk is there" qemu-img compare -q -f raw -F qcow2 "$disk/disk.raw" outside.qcow2
unmount

# ---- many: listed in bounded memory, and more than are looked at ----
qemu-img create -q -f qcow2 -o cluster_size=512 many.qcow2 1M
qio 'write -P 1 0 4k' many.qcow2
qemu-img snapshot -c s many.qcow2
python3 - <<'PYTHON'
# 300 entries of the one L1 table, in a new table at the end
import struct
with open("many.qcow2", "r+b") as f:
    f.seek(64)
    f.seek(struct.unpack(">Q", f.read(8))[0])
    fixed = f.read(40 + 24)
    end = (f.seek(0, 2) + 511) // 512 * 512
    f.seek(end)
    for i in range(300):
        name = b"s%03d" % i
        entry = fixed[:12] + struct.pack(">HH", 0, len(name)) + fixed[16:] + name
        f.write(entry + bytes(-len(entry) % 8))
    f.seek(60)
    f.write(struct.pack(">IQ", 300, end))
PYTHON
mount_ok many.qcow2
is "the first 256 are listed" "$(ls "$disk/snapshots" | wc -l)" 256
like "the others are told of" "$(json "$disk/info.json" '.chain[0].warnings[0]')" 'has 300 snapshots.* first 256'
check "all views of all of them" test "$(find "$disk/snapshots" -name 'disk*' -size +0 | wc -l)" -ge $((256 * 3))
is "read at once, all hold the same" \
    "$(find "$disk/snapshots" -name disk.raw -print0 | xargs -0 -n 1 -P 8 sha256sum | cut -c1-64 | sort | uniq -c | tr -s ' ')" \
    " 256 $(sha "$disk/disk.raw")"
unmount
finish
