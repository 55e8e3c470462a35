#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A Linux guest whose root lies on LVM, on two disks, with /boot and the EFI system partition beside it: put together by
# its fstab. The volume group is made by lvm2 itself, which also says where the extents lie. Needs root and loop devices.
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/sbin:/usr/sbin
need mkfs.ext4 mkfs.fat sgdisk mcopy jq python3 losetup lvm
export MTOOLSRC=/dev/null MTOOLS_SKIP_CHECK=1
[ "$(id -u)" = 0 ] || skip 'needs root, for loop devices'

# lvm2 is kept to the devices of this test, its files to this directory, and off the kernel's device-mapper.
export LVM_SYSTEM_DIR=$tmp/lvm LVM_SUPPRESS_FD_WARNINGS=1
mkdir -p "$LVM_SYSTEM_DIR"
loops=()
detach() { for loop in ${loops[@]+"${loops[@]}"}; do losetup -d "$loop"; done; loops=(); }
exit_commands+=(detach)
attach() { # attach FILE [OPTION...]: sets $loop
    loop=$(losetup -f --show "${@:2}" "$1" 2>/dev/null) || skip 'no loop devices here'
    loops+=("$loop")
}
lvm2() { # lvm2 COMMAND ARGUMENT...
    lvm "$1" --devices "$(IFS=,; echo "${loops[*]}")" --driverloaded n "${@:2}" 2>>"$tmp/lvm.log"
}
volume() { json "$mnt/info.json" ".volumes[] | select(.name==\"$1\") | $2"; }
names() { (cd "$mnt/volumes" && printf '%s ' *); }

# ---- two disks: EFI, /boot and a physical volume; a physical volume without a partition ----
truncate -s 80M "$tmp/a.img"
truncate -s 40M "$tmp/b.img"
sgdisk -n 1:2048:+4M -t 1:ef00 -n 2:0:+8M -n 3:0:+60M -t 3:8e00 "$tmp/a.img" >/dev/null
start() { sgdisk -i "$1" "$tmp/a.img" | awk '/^First sector/ { print $3 * 512 }'; }
truncate -s 4M "$tmp/efi" && mkfs.fat -i 0FADCAFE "$tmp/efi" >/dev/null && echo efi | mcopy -i "$tmp/efi" - ::efi.txt
mkdir -p "$tmp/bootdir/efi" && echo kernel >"$tmp/bootdir/vmlinuz"
truncate -s 8M "$tmp/boot" && mkfs.ext4 -q -F -L boot -d "$tmp/bootdir" "$tmp/boot"
dd if="$tmp/efi" of="$tmp/a.img" bs=64k seek="$(start 1)" oflag=seek_bytes conv=notrunc status=none
dd if="$tmp/boot" of="$tmp/a.img" bs=64k seek="$(start 2)" oflag=seek_bytes conv=notrunc status=none
attach "$tmp/a.img" -o "$(start 3)" --sizelimit $((60 << 20))
first=$loop
attach "$tmp/b.img"
second=$loop
{
    lvm2 pvcreate "$first" "$second" && lvm2 vgcreate -s 1m vg-a "$first" "$second" &&
        lvm2 lvcreate -an -Zn -Wn -n root -l 20 vg-a "$first" && lvm2 lvcreate -an -Zn -Wn -n data-1 -i 2 -I 64 -l 16 vg-a &&
        lvm2 lvcreate -an -Zn -Wn -n spare -l 5 vg-a "$first" && lvm2 lvextend -l +10 vg-a/root "$second" &&
        lvm2 lvcreate -an -Zn -Wn --type zero -n nothing -l 1 vg-a && lvm2 lvreduce -f -l -1 vg-a/spare
} >"$out" 2>&1 || { cat "$out" "$tmp/lvm.log"; skip 'lvm2 makes no volumes here'; }

# ---- the guest's files, where lvm2 says that the extents lie ----
mkdir -p "$tmp/root/etc" "$tmp/root/usr/bin" "$tmp/root/boot" "$tmp/root/srv/my data" "$tmp/root/big"
cat >"$tmp/root/etc/fstab" <<'FSTAB'
/dev/mapper/vg--a-root / ext4 errors=remount-ro 0 1
UUID=0FAD-CAFE /boot/efi vfat umask=0077 0 1
LABEL="boot" /boot ext4 defaults 0 2
/dev/vg-a/data-1 /srv/my\040data ext4 defaults 0 2
/dev/mapper/vg--a-gone /gone ext4 nofail 0 0
/srv /export none bind 0 0
/dev/vg-a/swap none swap sw 0 0
FSTAB
echo 'PRETTY_NAME="Linux on LVM"' >"$tmp/root/etc/os-release"
for i in 1 2 3; do head -c 7000000 /dev/urandom >"$tmp/root/big/$i"; done
mkdir -p "$tmp/data" && head -c 9000000 /dev/urandom >"$tmp/data/striped"
truncate -s 30M "$tmp/lv-root" && mkfs.ext4 -q -F -d "$tmp/root" "$tmp/lv-root"
truncate -s 16M "$tmp/lv-data-1" && mkfs.ext4 -q -F -d "$tmp/data" "$tmp/lv-data-1"
lvm2 lvs --reportformat json --units b --nosuffix -o lv_name,seg_start_pe,seg_size_pe,stripes,stripe_size,seg_pe_ranges \
    vg-a >"$tmp/lvs.json"
lvm2 pvs --reportformat json --units b --nosuffix -o pv_name,pe_start >"$tmp/pvs.json"
cat >"$tmp/put.py" <<'PY'
"""Writes each lv-NAME to its extents, as lvm2 reports them."""
import json, os, sys
tmp, extent = sys.argv[1], 1 << 20
rows = lambda name, kind: json.load(open('%s/%s.json' % (tmp, name)))['report'][0][kind]
begin = {p['pv_name']: int(p['pe_start']) for p in rows('pvs', 'pv')}
for s in rows('lvs', 'lv'):
    path = '%s/lv-%s' % (tmp, s['lv_name'])
    if not os.path.exists(path):
        continue
    data, n, size = open(path, 'rb').read(), int(s['stripes']), int(s['seg_size_pe']) * extent
    at = int(s['seg_start_pe']) * extent
    data = data[at:at + size]
    step = int(s['stripe_size']) or size
    for k, area in enumerate(s['seg_pe_ranges'].split()):
        device, extents = area.rsplit(':', 1)
        with open(device, 'r+b') as f:
            f.seek(begin[device] + int(extents.split('-')[0]) * extent)
            f.write(b''.join(data[i:i + step] for i in range(k * step, size, n * step)))
            f.flush()
            os.fsync(f.fileno())
PY
check "the file systems are in place" python3 "$tmp/put.py" "$tmp"
detach

# ---- the whole guest ----
for order in "a b" "b a"; do
    read -r one two <<<"$order"
    mount_ok "$tmp/$one.img" "$tmp/$two.img" -- -o format=raw
    efi=$([ "$one" = a ] && echo disk0p1 || echo disk1p1)
    is "$order: the guest" "$(json "$mnt/info.json" '.guests[] | .os + ": " + .name')" 'linux: Linux on LVM'
    is "$order: its mounts" "$(json "$mnt/info.json" '.guests[0].mounts | keys | join(" ")')" '/ /boot /boot/efi /srv/my data'
    is "$order: the EFI partition" "$(json "$mnt/info.json" '.guests[0].mounts["/boot/efi"]')" "$efi"
    is "$order: a file on a plain partition" "$(cat "$mnt/guest/boot/vmlinuz")" kernel
    is "$order: a file on FAT" "$(cat "$mnt/guest/boot/efi/efi.txt")" efi
    check "$order: the root, over two disks" diff -r "$tmp/root/big" "$mnt/guest/big"
    check "$order: a striped volume" diff -r "$tmp/data/striped" "$mnt/guest/srv/my data/striped"
    check "$order: volumes/ has them by VG-LV" diff -r "$tmp/root/etc" "$mnt/volumes/vg-a-root/etc"
    check "$order: both of them" same "$tmp/data/striped" "$mnt/volumes/vg-a-data-1/striped"
    is "$order: lvm2's own words" "$(volume vg-a-data-1 '[.vg, .lv, .segment_type] | join(" ")')" 'vg-a data-1 striped'
    is "$order: a volume without a file system" "$(volume vg-a-spare .why)" 'no file system is recognised'
    like "$order: another kind of segment" "$(volume vg-a-nothing '.type + ": " + .why')" '^lvm-zero: .*answers zeros'
    like "$order: a physical volume" "$(volume "disk$([ "$one" = a ] && echo 1 || echo 0)" .why)" 'of the volume group vg-a'
    like "$order: what isn't there is named" "$(json "$mnt/info.json" '.warnings[]')" 'vg--a-gone, which fstab mounts at /gone'
    like "$order: a bind mount too" "$(json "$mnt/info.json" '.warnings[]')" '/srv isn.t shown at /export as well'
    unmount
done

# ---- without its second disk: what lies on the first alone is shown, the rest says what is missing ----
mount_ok "$tmp/a.img" -- -o format=raw
like "a part of the root is missing" "$(volume vg-a-root .why)" 'lies on the physical volume .*, which is missing'
check_not "so there is no guest" test -e "$mnt/guest"
is "the others are there" "$(names)" 'disk0p1 disk0p2 '
unmount

# ---- the metadata of one disk damaged: the other one's counts ----
cp --sparse=always "$tmp/b.img" "$tmp/bad.img"
printf 'damaged' | dd of="$tmp/bad.img" bs=1 seek=4200 conv=notrunc status=none
mount_ok "$tmp/a.img" "$tmp/bad.img" -- -o format=raw
check "the root is there" same "$tmp/root/big/3" "$mnt/guest/big/3"
like "and it is said" "$(json "$mnt/info.json" '.warnings[]')" 'disk1: a copy of the metadata there'
unmount

# ---- one disk twice: nobody can say which is the right one ----
cp --sparse=always "$tmp/b.img" "$tmp/twin.img"
mount_ok "$tmp/a.img" "$tmp/b.img" "$tmp/twin.img" -- -o format=raw
like "both are named" "$(volume vg-a-root .why)" 'disk1 and disk2 are both the physical volume'
check_not "and nothing is guessed" test -e "$mnt/volumes/vg-a-root"
unmount
finish
