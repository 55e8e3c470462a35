#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# bcd/ of Windows-like guests with the corpus' boot configuration stores, on an EFI system partition and on an active
# partition: what is listed, text out and in again, edits by ordinary tools. hivex and the checker judge the result.
. "$(dirname "$0")/lib.sh"
need sgdisk sfdisk mkntfs ntfs-3g mkfs.vfat mcopy mmd hivexregedit hivexsh rsync
have_corpus || skip "there is no corpus"

# make_ntfs SIZE BOOT_STORE: $tmp/ntfs, a volume of Windows; with Boot/BCD if a store is given.
make_ntfs() {
    local at=$tmp/ntfs.mnt
    rm -f "$tmp/ntfs"
    truncate -s "$1" "$tmp/ntfs"
    mkntfs -qF -p 2048 "$tmp/ntfs" >/dev/null 2>&1 && mkdir -p "$at" && ntfs-3g "$tmp/ntfs" "$at" 2>/dev/null || return 1
    mkdir -p "$at/Windows/System32/config" "$at/Boot"
    cp "$(corpus hive/regipy_SYSTEM.xz)" "$at/Windows/System32/config/SYSTEM"
    cp "$(corpus hive/hivex_minimal)" "$at/Windows/System32/config/SOFTWARE"
    [ -z "${2-}" ] || cp "$2" "$at/Boot/BCD"
    umount "$at"
}
exit_commands+=('is_mounted "$tmp/ntfs.mnt" && umount "$tmp/ntfs.mnt"')

# make_efi DISK STORE DISKGUID ESPGUID WINDOWSGUID
make_efi() {
    truncate -s 96M "$1"
    sgdisk -n 1:2048:+34M -t 1:ef00 -u "1:$4" -n 2:73728:0 -t 2:0700 -u "2:$5" -U "$3" "$1" >/dev/null || return 1
    rm -f "$tmp/esp"
    truncate -s 34M "$tmp/esp"
    mkfs.vfat -F 32 -s 1 "$tmp/esp" >/dev/null && cp "$2" "$tmp/BCD" && chmod u+w "$tmp/BCD" &&
        mmd -i "$tmp/esp" ::EFI ::EFI/Microsoft ::EFI/Microsoft/Boot &&
        mcopy -i "$tmp/esp" "$tmp/BCD" ::EFI/Microsoft/Boot/BCD || return 1
    dd if="$tmp/esp" of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
    make_ntfs 58M || return 1
    dd if="$tmp/ntfs" of="$1" bs=1M seek=36 conv=notrunc,sparse status=none
}

# make_bios DISK STORE
make_bios() {
    truncate -s 64M "$1"
    sfdisk -q "$1" <<<'label: dos
label-id: 0x5cbea03e
start=2048, type=7, bootable' || return 1
    make_ntfs 63M "$2" || return 1
    dd if="$tmp/ntfs" of="$1" bs=1M seek=1 conv=notrunc,sparse status=none
}

# the elements' values of a store's file, as hivex sees them
values() { hivexregedit --export --unsafe-printable-strings "$1" '\Objects' 2>/dev/null || hivexregedit --export "$1" '\Objects'; }

# A store as lines of key and value, without what the edit below changes.
flat() {
    values "$1" | tr -d '\r' | awk '/^\[/ { key = $0; print; next } /./ { print key " " $0 }' | sort |
        grep -aviF -e '\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\25000004]' \
            -e '\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\16000020]'
}

# every element is read, and its text given back: nothing may change in the store
round_trip() {
    local file n=0
    for file in "$mnt"/bcd/\{*\}/*; do
        [ -f "$file" ] || continue
        n=$((n + 1))
        cat "$file" >"$tmp/text" || fail "$file can't be read"
        cp "$tmp/text" "$file" || fail "$file doesn't take its own text: $(cat "$tmp/text")"
        cmp -s "$tmp/text" "$file" || fail "$file reads differently"
    done
    [ "$n" -gt 20 ] || fail "only $n elements"
}

efi=5541e87d-91a5-4f2b-ad43-a0345c199e9b
make_efi "$tmp/efi.img" "$(corpus bcd/asus/BCD.xz)" "$efi" 1c6ab89c-bcbf-4abe-8593-618e4d2f5811 \
    9d4a7cb0-ab9d-4d71-961f-50f1d9c9252f || skip "no volumes can be made here"
before=$(sha "$tmp/efi.img")

# ---- reading ----
mount_ok "$tmp/efi.img"
bcd=$mnt/bcd
is "the boot manager" "$(readlink "$bcd/bootmgr")" '{9dea862c-5cdd-4e70-acc1-f32b344d4795}'
check "the default" test -f "$bcd/default/osdevice"
like "a device" "$(cat "$bcd/default/osdevice")" '^partition=disk0p2$'
is "that of the boot manager" "$(cat "$bcd/bootmgr/device")" partition=disk0p1
like "one that isn't here" "$(cat "$bcd"/\{*\}/*device)" "gpt:$efi/8c10b83e-8c9e-461e-aaf0-40974b9adf12"
is "its type" "$(cat "$bcd/bootmgr/.type")" 0x10100002
check "without case" test -f "$bcd/BOOTMGR/TimeOut"
check_not "read-only" sh -c "echo 7 >'$bcd/bootmgr/timeout'"
check_not "no object" mkdir "$bcd/{11111111-2222-3333-4444-555555555555}"
unmount

# ---- every store: what was read can be written back ----
for store in bcd/asus/BCD.xz bcd/asus_recovery_BCD.xz bcd/regipy_BCD.xz bcd/ez_BCD.xz bcd/area44_boot_BCD.xz; do
    disk=$tmp/efi.img
    file=EFI/Microsoft/Boot/BCD
    cp "$(corpus "$store")" "$tmp/store"
    case $store in
    bcd/asus/*) vol=disk0p1 ;;
    *) disk=$tmp/other.img vol=disk0p1 file=Boot/BCD
       rm -f "$disk"
       make_bios "$disk" "$tmp/store" || skip "no volume can be made here" ;;
    esac
    mount_ok "$disk" -- -o scratch
    bcd=$mnt/bcd
    round_trip
    # and an edit, so that the file is written
    check "$store: an edit" sh -c "echo 17 >'$bcd/bootmgr/timeout'; echo 0 >'$bcd/bootmgr/bootems'"
    check "$store: durable" sync "$mnt/info.json"
    check "$store: the file" cp "$mnt/volumes/$vol/$file" "$tmp/after"
    check "$store: has no broken rule" "$FERRYFS" --check-hive "$tmp/after"
    is "$store: hivex sees it" "$(hivexregedit --export "$tmp/after" \
        '\Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\25000004' | grep -a '"Element"')" \
        '"Element"=hex(3):11,00,00,00,00,00,00,00'
    is "$store: and the other" "$(hivexregedit --export "$tmp/after" \
        '\Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\16000020' | grep -a '"Element"')" '"Element"=hex(3):00'
    flat "$tmp/store" >"$tmp/flat.before"
    flat "$tmp/after" >"$tmp/flat.after"
    check "$store: it is dumped" test "$(grep -ac '"Element"' "$tmp/flat.before")" -gt 20
    check "$store: nothing else was changed" diff -u "$tmp/flat.before" "$tmp/flat.after"
    unmount
done

# ---- edits ----
mount_ok "$tmp/efi.img" -- -o scratch
bcd=$mnt/bcd
one='{11111111-2222-3333-4444-555555555555}'
check "a boolean" sh -c "echo on >'$bcd/bootmgr/displaybootmenu'"
is "as bcdedit prints it" "$(cat "$bcd/bootmgr/displaybootmenu")" Yes
check "a number" sh -c "echo 0x1e >'$bcd/bootmgr/timeout'"
is "is there" "$(cat "$bcd/bootmgr/timeout")" 30
check "sed -i" sed -i 's/30/31/' "$bcd/bootmgr/timeout"
is "has its effect" "$(cat "$bcd/bootmgr/timeout")" 31
check_not "no number" cp <(echo soon) "$bcd/bootmgr/timeout"
is "the old value stays" "$(cat "$bcd/bootmgr/timeout")" 31
check_not "an unknown partition" cp <(echo partition=disk7p9) "$bcd/default/osdevice"
is "the old device stays" "$(cat "$bcd/default/osdevice")" partition=disk0p2
check "one by its ids" sh -c "echo partition=gpt:$efi/1c6ab89c-bcbf-4abe-8593-618e4d2f5811 >'$bcd/default/osdevice'"
is "is one of ours" "$(cat "$bcd/default/osdevice")" partition=disk0p1
check "an MBR disk's" sh -c "echo partition=mbr:5cbea03e@368050176 >'$bcd/default/osdevice'"
is "is none of ours" "$(cat "$bcd/default/osdevice")" partition=mbr:5cbea03e@368050176
check "back" sh -c "echo partition=disk0p2 >'$bcd/default/osdevice'"
check "an object" mkdir "$bcd/$one"
is "is a loader" "$(cat "$bcd/$one/.type")" 0x10200003
check "with an element" sh -c "printf 'gr\\303\\274n\\n' >'$bcd/$one/description'"
check "of another type" sh -c "echo 0x10200004 >'$bcd/$one/.type'"
is "which says what numbers mean" "$(echo boot >"$bcd/$one/filedevice"; cat "$bcd/$one/0x21000001")" boot
check_not "rmdir of one that isn't empty" rmdir "$bcd/$one"
check "rm -r" rm -r "${bcd:?}/$one"
check_not "is gone" test -e "$bcd/$one"
check_not "no object's name" mkdir "$bcd/anything"
check "cp -a of an object" cp -a "$bcd/default/." "$bcd/$one"
check "the same" diff -r "$bcd/default/" "$bcd/$one"
check "removed" rm "$bcd/$one/description"
check "the sample" "$top/samples/bcd-serial-console.sh" "$mnt"
is "has nothing to do the second time" "$("$top/samples/bcd-serial-console.sh" "$mnt" 2>&1)" ""
is "the console" "$(cat "$bcd/default/ems" "$bcd/bootmgr/bootems" "$bcd/emssettings/emsbaudrate" | tr '\n' ' ')" "Yes Yes 115200 "
check "durable" sync "$mnt/info.json"
check "the file" cp "$mnt/volumes/disk0p1/EFI/Microsoft/Boot/BCD" "$tmp/after"
unmount
check "has no broken rule" "$FERRYFS" --check-hive "$tmp/after"
is "hivex sees the port's speed" "$(hivexregedit --export "$tmp/after" \
    '\Objects\{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}\Elements\15000023' | grep -a '"Element"')" \
    '"Element"=hex(3):00,c2,01,00,00,00,00,00'
like "and the object" "$(hivexsh "$tmp/after" <<<'cd Objects
ls')" "$(sed 's/[{}]/\\&/g' <<<"$one")"
is "the source is as it was" "$(sha "$tmp/efi.img")" "$before"
finish
