#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VHDX sources: what qemu-img writes, our own views read again, dirty logs, checkpoints, damaged files, real images.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3 jq

cd "$tmp" || exit 1
make() { python3 "$top/tests/tools/make-vhdx.py" "$@"; }
raw() { echo "$mnt/disks/disk${1-0}/disk.raw"; }
info() { json "$mnt/disks/disk0/info.json" "$1"; }

# 9 MiB and three sectors: noise, zeros, noise, text
noise() { openssl enc -aes-128-ctr -nosalt -K "$1" -iv 00 </dev/zero 2>/dev/null | head -c "$2"; }
{
    noise 00 2500000
    head -c 3600000 /dev/zero
    noise 01 1500000
    yes 'a line of text' | head -c 1500000
} >content.raw
truncate -s $((9 * 1048576 + 1536)) content.raw

# ---- what qemu-img writes ----
images=()
for kind in dynamic fixed; do
    for block in 1M 4M 32M; do
        f=$kind-$block.vhdx
        qemu-img convert -q -f raw -O vhdx -o subformat=$kind,block_size=$block content.raw $f || skip "qemu-img writes no VHDX"
        images+=("$f")
    done
done
qemu-img convert -q -f raw -O vhdx -o log_size=2M,block_state_zero=off content.raw states.vhdx
images+=(states.vhdx)
mount_ok "${images[@]}"
for i in "${!images[@]}"; do
    check "the content of ${images[i]}" qemu-img compare -q -f raw -F vhdx "$(raw "$i")" "${images[i]}"
    is "the size of ${images[i]}" "$(stat -c %s "$(raw "$i")")" "$(stat -c %s content.raw)"
done
is "its format" "$(info '.format, .chain[0].subformat, .chain[0].block_size, .sector_size' | xargs)" "vhdx dynamic 1048576 512"
is "a fixed one" "$(json "$mnt/disks/disk3/info.json" .chain[0].subformat)" fixed
unmount

# more than one chunk of 4 GiB, data on both sides of the bitmap's entry
qemu-img create -q -f vhdx -o block_size=1M big.vhdx 9G
for at in 0 4095M 4096M 4097M 8191M 8192M 9215M; do
    qemu-io -f vhdx -c "write -q -P $(((${at%M} % 97) + 1)) $at 1M" big.vhdx
done
# QEMU reads each zero of a VHDX, 9 GiB of them: so it compares what is around the data, and the map has no other.
mount_ok big.vhdx
is "the size of more than one chunk" "$(stat -c %s "$(raw)")" $((9 << 30))
for at in 0 4092 4096 8188 8192 9212; do
    check "more than one chunk: 4 MiB at $at MiB" qemu-img compare -q --image-opts \
        "driver=raw,offset=${at}M,size=4M,file.filename=$(raw)" \
        "driver=raw,offset=${at}M,size=4M,file.driver=vhdx,file.file.filename=big.vhdx"
done
is "and no other data" "$(json "$mnt/disks/disk0/map.json" '[.[] | select(.data) | .start / 1048576, .length / 1048576] | join(" ")')" \
    '0 1 4095 3 8191 2 9215 1'
unmount

# ---- our own views, read again ----
mnt=$tmp/first
mount_ok dynamic-1M.vhdx
views=$mnt/disks/disk0
mnt=$tmp/second
for view in disk.vhdx disk-fixed.vhdx; do
    cp --sparse=always "$views/$view" copy.vhdx
    mount_ok copy.vhdx
    check "$view of a VHDX holds the same disk" same "$(raw)" content.raw
    check "and gives the same view" qemu-img compare -q -f vhdx -F raw "$mnt/disks/disk0/$view" content.raw
    unmount
done
mnt=$tmp/first
unmount
mnt=$tmp/mnt

# ---- sectors of 4096 bytes ----
truncate -s 10M content4k.raw
dd if=content.raw of=content4k.raw conv=notrunc bs=1M status=none
truncate -s 10M content4k.raw
make raw content4k.raw 4k.vhdx --sector 4096
mount_ok 4k.vhdx
check "the disk of sectors of 4096 bytes" same "$(raw)" content4k.raw
is "info.json says so" "$(info .sector_size)" 4096
cp "$mnt/disks/disk0/disk.vhdx" 4k-view.vhdx
unmount
mount_ok 4k-view.vhdx
is "and a view keeps it" "$(info .sector_size)" 4096
check "the view's disk" same "$(raw)" content4k.raw
unmount

# ---- a dirty log: at the beginning, wrapping in each entry, and beyond repair ----
qemu-img convert -q -f raw -O vhdx -o subformat=dynamic,block_size=1M content.raw clean.vhdx
for sector in 0 77 253 254 255; do
    make dirty clean.vhdx dirty.vhdx $sector
    before=$(sha dirty.vhdx)
    mount_ok dirty.vhdx
    check "a log at sector $sector" same "$(raw)" content.raw
    like "info.json says that it was replayed" "$(info '.chain[0].warnings[]')" 'log was replayed'
    unmount
    is "the file is as it was" "$(sha dirty.vhdx)" "$before"
done
make dirty clean.vhdx dirty.vhdx 10
printf x | dd of=dirty.vhdx bs=1 seek=$((1048576 + 10 * 4096 + 5000)) conv=notrunc status=none
printf x | dd of=dirty.vhdx bs=1 seek=$((1048576 + 12 * 4096 + 5000)) conv=notrunc status=none
mount_fails 2 'dirty.vhdx: its log must be replayed, but holds no valid sequence of entries at byte 1048576' dirty.vhdx

# ---- checkpoints ----
make raw content.raw base.vhdx
mkdir sub
mv base.vhdx sub/Base.vhdx
make child sub/Base.vhdx child.avhdx '.\sub\Base.vhdx'
{
    head -c 1048576 /dev/zero | tr '\0' C
    head -c 4096 /dev/zero | tr '\0' P
    tail -c +$((1048576 + 4096 + 1)) content.raw | head -c 512
    head -c 512 /dev/zero | tr '\0' P
    tail -c +$((1048576 + 5120 + 1)) content.raw | head -c $((1048576 - 5120))
    head -c 1048576 /dev/zero
    tail -c +$((3 * 1048576 + 1)) content.raw
} >child.raw
mount_ok child.avhdx
check "a checkpoint over its parent" same "$(raw)" child.raw
is "its chain" "$(info '[.chain[].subformat] | join(" ")')" "differencing dynamic"
unmount
make child child.avhdx grandchild.avhdx '.\child.avhdx'
mount_ok grandchild.avhdx
is "a chain of three" "$(info '.chain | length')" 3
check "its end comes from the first" cmp -i $((3 * 1048576)) "$(raw)" content.raw
unmount
# a path of another host: the name beside the child
make child sub/Base.vhdx moved.avhdx 'D:\vm\old\Base.vhdx'
cp sub/Base.vhdx .
mount_ok moved.avhdx
check "the parent beside the child" same "$(raw)" child.raw
unmount
make child sub/Base.vhdx orphan.avhdx '..\gone\None.vhdx'
mount_fails 2 'orphan.avhdx: the parent "\.\./gone/None.vhdx" is missing' orphan.avhdx
# every way that it is named, in the standard's order: the relative path, the volume's, the absolute one
cp sub/Base.vhdx sub/third.vhdx
make child sub/Base.vhdx ways.avhdx '..\gone\None.vhdx' --also 'absolute_win32_path=\\?\D:\gone\sub\third.vhdx' \
    --also 'volume_path=\\?\Volume{0123}\gone\None.vhdx'
mount_fails 2 'ways.avhdx: the parent "\.\./gone/None.vhdx" is missing' ways.avhdx
mkdir nest
make child sub/Base.vhdx nest/ways.avhdx '..\gone\None.vhdx' --also 'absolute_win32_path=\\?\D:\gone\sub\third.vhdx' \
    --also 'volume_path=\\?\Volume{0123}\gone\None.vhdx'
mount_fails 2 'ways.avhdx: the parent ".*/sub/third.vhdx" .* trust=' nest/ways.avhdx
mount_ok nest/ways.avhdx -o "trust=$PWD/sub"
check "the third way to the parent" same "$(raw)" child.raw
unmount
mv sub/third.vhdx nest/second.vhdx
make child sub/Base.vhdx nest/order.avhdx 'second.vhdx' --key volume_path --also 'absolute_win32_path=..\sub\Base.vhdx' \
    --also 'relative_path=none.vhdx'
mount_ok nest/order.avhdx
is "the second way comes before the third" "$(info '.chain[1].file')" "$PWD/nest/second.vhdx"
unmount
rm -r nest
make child sub/Base.vhdx wrong.avhdx 'Base.vhdx' --id 01234567-89ab-cdef-0123-456789abcdef
mount_fails 2 "wrong.avhdx: its parent .*Base.vhdx has the id $(make id Base.vhdx), but 01234567-89ab-cdef-0123-456789abcdef is expected" \
    wrong.avhdx
make child 4k.vhdx sectors.avhdx 4k.vhdx --id "$(make id Base.vhdx)"
cp Base.vhdx 4k.vhdx
mount_fails 2 'sectors.avhdx: its sectors have 4096 bytes, those of its parent .*4k.vhdx have 512' sectors.avhdx

# ---- damaged and cut files: an error or the true bytes, never others ----
for f in dynamic-1M.vhdx fixed-4M.vhdx; do
    n=$(stat -c %s $f)
    for part in 1 9 20 33 50 70 80; do
        head -c $((n * part / 100)) $f >cut.vhdx
        mount_fails 2 'cut.vhdx: .* at byte [0-9]+' cut.vhdx
    done
done
truncate -s -2M fixed-4M.vhdx # nothing that the disk has: it ends within its last block
mount_ok fixed-4M.vhdx
check "the rest of the last block may be missing" same "$(raw)" content.raw
unmount
truncate -s -1M fixed-4M.vhdx
mount_fails 2 'fixed-4M.vhdx: truncated: the file ends before the data of guest byte 8388608 at byte [0-9]+' fixed-4M.vhdx

hurt() { # hurt OFFSET LENGTH: a copy of dynamic-1M.vhdx with rubbish there
    cp dynamic-1M.vhdx hurt.vhdx
    noise 02 "$2" | dd of=hurt.vhdx bs=512 seek=$(($1 / 512)) conv=notrunc status=none
}
for at in 65536 131072 196608; do
    hurt $at 4096
    mount_ok hurt.vhdx
    check "with the copy of what is at $at" same "$(raw)" content.raw
    unmount
done
hurt 0 512
mount_fails 2 'hurt.vhdx: looks like a damaged VHDX; -o format=raw to insist' hurt.vhdx
mv hurt.vhdx hurt.img
mount_fails 2 'hurt.img: looks like a damaged VHDX; -o format=raw to insist' hurt.img
hurt 65536 131072
mount_fails 2 'hurt.vhdx: both headers are damaged at byte 65536' hurt.vhdx
hurt 196608 131072
mount_fails 2 'hurt.vhdx: both region tables are damaged at byte 196608' hurt.vhdx
hurt 2097152 512 # the BAT, as qemu-img places it
mount_fails 2 'hurt.vhdx: (the BAT entry of guest byte [0-9]+ is damaged|truncated: .*) at byte [0-9]+' hurt.vhdx

# ---- real images ----
if have_corpus; then
    while read -r file sha; do
        image=$(corpus "vhdx/$file") || exit 1
        mount_ok "$image"
        is "the disk of $file" "$(sha "$(raw)")" "$sha"
        unmount
        rm -f "$image"
    done <<'LIST'
btrfs.vhdx.gz 0b959f9cb4e18348ad8b646f152178282542c8304f02fddf765e3fd1a1de6864
dynamic.vhdx.gz 8e2b5e9265d694b42b81819e3bff29770eff4ed0f4f9f311693ff3dbdc93efac
iotest-dynamic-1G.vhdx.bz2 d3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478
vhdx-log-replay.vhdx.gz 3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e
LIST
fi
finish
