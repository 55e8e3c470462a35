#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# samples/fleet.sh: a line for each machine, and one that can't be prepared or read stops no other.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need mkfs.ext4 sfdisk qemu-img jq tar debugfs
fleet=$top/samples/fleet.sh
cd "$tmp" || exit 1
mkdir src

# make_machine NAME FSTAB: a Linux of a few files.
make_machine() {
    mkdir -p root/etc root/boot/grub root/usr/bin
    echo 'PRETTY_NAME="Small Linux"' >root/etc/os-release
    printf '%s\n' "$2" >root/etc/fstab
    printf 'menuentry x {\n  linux /vmlinuz root=/dev/sda1 ro\n}\n' >root/boot/grub/grub.cfg
    truncate -s 16M part.img && mkfs.ext4 -q -F -U "$debian_uuid" -d root part.img && truncate -s 18M disk.img &&
        sfdisk -q disk.img <<<$'label: dos\nstart=2048, size=32768, type=83' &&
        dd if=part.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none && make_ova disk.img "src/$1.ova"
}
check "a machine" make_machine good '/dev/sda1 / ext4 defaults 0 1'
check "one that can't be prepared" make_machine hard '/dev/disk/by-id/wwn-0x1-part7 /data ext4 defaults 0 2'
head -c 100000 src/good.ova >src/torn.ova
check "another one" make_machine 'with blank' '/dev/vda1 / ext4 defaults 0 1'
sums=$(sha256sum src/*)

lines() { jq -r "$1" lines; } # FILTER, of each line

check_not "a plan of all: one is blocked, one is torn" sh -c "'$fleet' --target=kvm --plan src dest >lines"
is "one line each" "$(wc -l <lines)" 4
is "each has its status" "$(lines '.name + ": " + .status' | tr '\n' ';')" 'good: planned;hard: blocked;torn: failed;with blank: planned;'
is "nothing is written" "$(ls dest)" ''
like "the plan" "$(lines 'select(.name == "good").plan[]')" 'etc/fstab'
like "why it is blocked" "$(lines 'select(.name == "hard").why')" 'wwn-0x1-part7'
like "why it failed" "$(lines 'select(.name == "torn").why')" 'torn.ova'

check_not "all of it" sh -c "'$fleet' --target=kvm src dest >lines"
is "each has its status" "$(lines '.name + ": " + .status' | tr '\n' ';')" 'good: prepared;hard: blocked;torn: failed;with blank: prepared;'
is "its guest" "$(lines 'select(.name == "good").os')" 'Small Linux'
is "changes are counted" "$(lines 'select(.name == "good").changes')" 2
is "its disk" "$(lines 'select(.name == "good").disks[0]')" "$tmp/dest/good.qcow2"
check "is a qcow2" qemu-img check -q dest/good.qcow2
check "so is the other one" qemu-img check -q 'dest/with blank.qcow2'
check_not "what is blocked isn't copied" test -e dest/hard.qcow2
qemu-img convert -O raw dest/good.qcow2 good.raw
dd if=good.raw of=good.part bs=1M skip=1 status=none
check "the copy is clean" e2fsck -fn good.part
is "its fstab" "$(debugfs -R 'cat /etc/fstab' good.part 2>/dev/null)" "UUID=$debian_uuid / ext4 defaults 0 1"

check_not "once more" sh -c "'$fleet' --target=kvm src dest >lines"
is "nothing is left to do but the copy" "$(lines 'select(.name == "good") | .status + " " + (.changes | tostring)')" 'prepared 0'
is "no OVA is changed" "$(sha256sum src/*)" "$sums"
finish
