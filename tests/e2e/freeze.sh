#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A view is a moment: while one is open and read nothing is written, after the close everything is, and what is opened
# or stat'ed next has it. Copies made while scripts write are copies of a sound file system.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat qemu-img rsync python3
ext=$mnt/volumes/disk0p3 ntfs=$mnt/volumes/disk0p2 fat=$mnt/volumes/disk0p1
disk=$mnt/disks/disk0

make_three "$tmp/disk.img" || skip "the file systems can't be made here"
before=$(sha "$tmp/disk.img")
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
echo old >"$ext/file"

# ---- open, and being read ----
# busy COMMAND: is refused with EBUSY, and not before two seconds are over.
busy() {
    local from to said
    from=$(date +%s%N)
    said=$(bash -c "$1" 2>&1) && { fail "while a view is open: $1"; return; }
    to=$(date +%s%N)
    like "$1: refused" "$said" "Device or resource busy"
    if [ $(((to - from) / 1000000)) -ge 1900 ] && [ $(((to - from) / 1000000)) -lt 20000 ]; then
        pass
    else
        fail "$1: it took $(((to - from) / 1000000)) ms"
    fi
}
for view in disk.raw disk.vhdx disk.qcow2; do
    exec 3<"$disk/$view"
    head -c 1 <&3 >"$tmp/byte"
    busy "echo new >>'$ext/file'"
    is "reading goes on" "$(cat "$ext/file")" old
    check "so does fsync" sync "$mnt/info.json"
    exec 3<&-
    check "written right behind the close" sh -c "echo '$view' >'$ext/$view.written'"
done
exec 3<"$disk/disk.raw"
head -c 1 <&3 >"$tmp/byte"
busy "mkdir '$ext/dir'"
busy "rm '$ext/file'"
busy "touch '$ntfs/x'"
busy "touch '$fat/x'"
exec 4<"$disk/disk.vhdx"
head -c 1 <&4 >"$tmp/byte"
exec 3<&-
busy "truncate -s 0 '$mnt/guest/file'"
exec 4<&-
check "two views, both closed" sh -c "mkdir '$ext/dir' && rm '$ext/file' && touch '$ntfs/x' '$fat/x'"

# ---- a writer that waits gets in when the view is closed ----
exec 3<"$disk/disk.raw"
head -c 1 <&3 >"$tmp/byte"
sh -c "echo waited >'$ext/waited'" 2>"$tmp/waiter.err" 3<&- &
waiter=$!
sleep 0.5
exec 3<&-
if wait $waiter; then pass; else fail "a writer that waited" "$tmp/waiter.err"; fi
is "its text" "$(cat "$ext/waited")" waited

# ---- what is asked next has the edits ----
for view in disk.raw disk.vhdx disk.vhd disk.vmdk disk.qcow2; do
    size=$(stat -c %s "$disk/$view") mtime=$(stat -c %.Y "$disk/$view") sum=$(cat "$disk/$view.sha256")
    is "$view: its digest" "${sum%% *}" "$(sha "$disk/$view")"
    is "$view: a stat without edits" "$(stat -c '%s %.Y' "$disk/$view")" "$size $mtime"
    dd if=/dev/urandom of="$ntfs/$view.grown" bs=1M count=3 status=none || fail "$view: an edit"
    check "$view: is newer, in seconds" test "$(stat -c %Y "$disk/$view")" -gt "${mtime%.*}"
    case $view in
    disk.raw) is "$view: has its size" "$(stat -c %s "$disk/$view")" "$size" ;;
    *) check "$view: has grown" test "$(stat -c %s "$disk/$view")" -gt "$size" ;;
    esac
    is "$view: read to the end" "$(wc -c <"$disk/$view")" "$(stat -c %s "$disk/$view")"
    again=$(cat "$disk/$view.sha256")
    check "$view: another digest" test "$sum" != "$again"
    is "$view: its digest" "${again%% *}" "$(sha "$disk/$view")"
    cp "$disk/$view" "$tmp/copy" || fail "$view: copy"
    check "$view: the directory's listing has the size" grep -q " $(stat -c %s "$tmp/copy") " <(ls -l "$disk")
    rm -f "$tmp/copy"
done

# ---- rsync resumes, a second pass is cheap ----
check "rsync of a view" rsync -S --times "$disk/disk.vhdx" "$tmp/r.vhdx"
is "nothing to do" "$(rsync -ni --times "$disk/disk.vhdx" "$tmp/r.vhdx")" ""
echo edit >"$ext/for-rsync"
like "until there is an edit" "$(rsync -ni --times "$disk/disk.vhdx" "$tmp/r.vhdx")" '^>f'
check "which it takes over" rsync --times --inplace "$disk/disk.vhdx" "$tmp/r.vhdx"
check "as it is" same "$disk/disk.vhdx" "$tmp/r.vhdx"
rm "$tmp/r.vhdx"

# ---- copies while scripts write ----
cat >"$tmp/writer" <<'EOF'
# writes until it is told to stop; a write that is refused as long as a copy lasts is tried again
n=0
mkdir -p "$1/w"
while [ ! -e "$2" ]; do
    n=$((n + 1))
    { seq $n $((n + 2000)) >"$1/w/$((n % 30))" && mv "$1/w/$((n % 30))" "$1/w/m$((n % 20))" && rm -f "$1/w/m$((n / 2 % 20))" &&
        mkdir "$1/w/d$n" && rmdir "$1/w/d$n"; } 2>>"$2.err" || rmdir "$1/w/d$n" 2>/dev/null
done
echo $n >"$2.$(basename "$1")"
EOF
writers=()
for d in "$ext" "$ntfs" "$fat"; do
    sh "$tmp/writer" "$d" "$tmp/stop" &
    writers+=($!)
done
for i in 1 2 3; do
    sleep 0.5
    check "copy $i" cp --sparse=always "$disk/disk.raw" "$tmp/copy.raw"
    three_clean "copy $i" "$tmp/copy.raw"
    rm "$tmp/copy.raw"
done
check "a copy as VHDX" cp --sparse=always "$disk/disk.vhdx" "$tmp/copy.vhdx"
check "rsync -S of a qcow2" rsync -S "$disk/disk.qcow2" "$tmp/copy.qcow2"
: >"$tmp/stop"
wait "${writers[@]}"
for d in "$ext" "$ntfs" "$fat"; do
    check "the writer of $d got somewhere" test "$(cat "$tmp/stop.$(basename "$d")")" -gt 10
done
like "what was refused was for a view only" "$(grep -v 'busy$' "$tmp/stop.err" | grep -v 'No such file' | sort -u; echo none)" '^none$'
check "qemu-img check of the VHDX" qemu-img check "$tmp/copy.vhdx"
check "qemu-img check of the qcow2" qemu-img check "$tmp/copy.qcow2"
qemu-img convert -O raw "$tmp/copy.vhdx" "$tmp/copy.raw"
three_clean "from the VHDX" "$tmp/copy.raw"
qemu-img convert -O raw "$tmp/copy.qcow2" "$tmp/copy.raw"
three_clean "from the qcow2" "$tmp/copy.raw"
unmount
check "the overlay" qemu-img check "$tmp"/kept/*.qcow2
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
