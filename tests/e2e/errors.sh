#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every way not to get a mount: the exit status (1 usage, 2 the source, 3 the mount) and one clear line each.
. "$(dirname "$0")/lib.sh"
need tar gzip zip xz

cd "$tmp" || exit 1
head -c 1048576 /dev/urandom >good.img

# refused STATUS LINE SOURCE... [-- OPTION...]: exactly this line (an extended regex, whole) on stderr, and no other.
refused() {
    mount_fails "$1" "^ferryfs: $2\$" "${@:3}"
    is "one line for ${*:3}" "$(wc -l <"$err")" 1
}

# ---- 2: the source ----
refused 2 'none\.ova: no such file' none.ova
: >empty.ova
refused 2 'empty\.ova: is empty' empty.ova
mkdir dir
refused 2 'dir: holds no virtual machine: neither an \.ovf or \.vmx nor a disk image' dir
echo text >dir/notes.txt
refused 2 'dir: holds no virtual machine: neither an \.ovf or \.vmx nor a disk image' dir
mkfifo fifo
refused 2 'fifo: is neither a file nor a block device' fifo
refused 2 '/dev/null: is neither a file nor a block device' /dev/null
refused 2 'good\.img/x: can.t be opened: Not a directory' good.img/x

xml=http://schemas.dmtf.org/ovf/envelope/1
ovf="<Envelope xmlns='$xml'><References><File id='f' href='d.img'/></References><DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>"
mkdir p
echo "$ovf" >p/web.ovf
cp good.img p/d.img
tar -C p -cf web.ova web.ovf d.img
size=$(stat -c %s web.ova)
for cut in 1100 2000 500000; do
    head -c $cut web.ova >cut.ova
    refused 2 "cut\\.ova: truncated: the archive ends at byte $cut, inside (the member d\\.img|the header after the member web\\.ovf); copy or download it again" cut.ova
done
head -c 300 web.ova >cut.ova
refused 2 'cut\.ova: looks like a damaged OVA; -o format=raw to insist' cut.ova
{ head -c 1024 web.ova; head -c 512 /dev/urandom; tail -c +1537 web.ova; } >hurt.ova
is "same size" "$(stat -c %s hurt.ova)" "$size"
refused 2 'hurt\.ova: damaged archive: no valid tar header after the member web\.ovf at byte 1024' hurt.ova
tar -C p -cf noovf.ova d.img
refused 2 'noovf\.ova: is a tar archive without an \.ovf, not an OVA; unpack it and mount the disk image' noovf.ova
tar -C p -cf nodisk.ova web.ovf
refused 2 'nodisk\.ova\(web\.ovf\): the disk file "d\.img" is missing from the archive' nodisk.ova
cp good.img photo.ova
refused 2 'photo\.ova: looks like a damaged OVA; -o format=raw to insist' photo.ova
mount_ok photo.ova -- -o format=raw
check "format=raw insists" same "$mnt/disks/disk0/disk.raw" good.img
unmount
cp good.img wrong.qcow2
refused 2 'wrong\.qcow2: looks like a damaged QCOW2; -o format=raw to insist' wrong.qcow2
gzip -c web.ova >gz.ova
refused 2 'gz\.ova: is gzip-compressed; unpack it first' gz.ova
xz -0c web.ova >xz.ova
refused 2 'xz\.ova: is xz-compressed; unpack it first' xz.ova
zip -q zip.zip web.ova && mv zip.zip zip.ova
refused 2 'zip\.ova: is a zip archive; unpack it first' zip.ova

echo "${ovf/<\/References>/}" >bad.ovf
refused 2 'bad\.ovf: isn.t well-formed XML: line 2: .*' bad.ovf
{
    echo '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa">'
    for i in b c d e f g h i j; do
        p=$(printf '%b' "\\x$(printf %x $(($(printf %d "'$i") - 1)))")
        echo "<!ENTITY $i \"&$p;&$p;&$p;&$p;&$p;&$p;&$p;&$p;&$p;&$p;\">"
    done
    echo ']><Envelope>&j;</Envelope>'
} >bomb.ovf
refused 2 'bomb\.ovf: has a DOCTYPE, which no OVF has: refused unread' bomb.ovf
echo '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><Envelope>&f;</Envelope>' >xxe.ovf
refused 2 'xxe\.ovf: has a DOCTYPE, which no OVF has: refused unread' xxe.ovf
{ printf '<Envelope>'; yes '<a>' | head -n 100000; } >deep.ovf
refused 2 'deep\.ovf: isn.t well-formed XML: line [0-9]*: .*' deep.ovf
truncate -s 17M huge.ovf && printf '<Envelope>' | dd of=huge.ovf conv=notrunc status=none
printf '%64s' '' | dd of=huge.ovf bs=1 seek=10 conv=notrunc status=none
refused 2 'huge\.ovf: has 17825792 bytes, more than the 16 MiB that an OVF may have' huge.ovf
echo '<?xml version="1.0"?><VirtualBox xmlns="http://www.virtualbox.org/"/>' >vm.vbox
refused 2 'vm\.vbox: is an XML file with the root <VirtualBox> of http://www\.virtualbox\.org/, not an OVF' vm.vbox
echo "<Envelope xmlns='$xml'><VirtualSystem/></Envelope>" >nodisks.ovf
refused 2 'nodisks\.ovf: has no disks' nodisks.ovf
printf 'SHA256(web.ovf)= 00\n' >web.mf
refused 2 'web\.mf: is a text file, neither a disk image nor an OVF or .vmx; .*' web.mf

# Two SOURCEs: one that can't even be opened is a slip of the user's.
refused 2 'none\.img: no such file' good.img none.img
refused 2 'none\.img: no such file' none.img good.img

if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null && [ -x /usr/bin/env ]; then
    cp good.img locked.img && chmod 0 locked.img && chmod 755 "$tmp"
    setpriv --reuid=65534 --regid=65534 --clear-groups "$FERRYFS" --info "$tmp/locked.img" >"$out" 2>"$err"
    is "no permission: the exit status" $? 2
    like "no permission: the line" "$(cat "$err")" "^ferryfs: $tmp/locked.img: can't be opened: Permission denied\$"
elif [ "$(id -u)" != 0 ]; then
    cp good.img locked.img && chmod 0 locked.img
    refused 2 'locked\.img: can.t be opened: Permission denied' locked.img
fi

if f=$(corpus ova/glance_testserver-not-tar.ova); then
    mount_fails 2 'not-tar\.ova: looks like a damaged OVA' "$f"
    mount_fails 2 'no-ovf\.ova: is a tar archive without an \.ovf' "$(corpus ova/glance_testserver-no-ovf.ova)"
    mount_fails 2 'testserver-disk1\.vmdk\): ' "$(corpus ova/glance_testserver.ova.xz)" # four bytes of text
fi

# ---- 1: usage ----
refused 1 'unknown option .*' good.img -- -o nonsense
refused 1 '-o threads=0: not a number from 1 to 64' good.img -- -o threads=0
refused 1 '-o cache=abc: not a number from 1 to 65536' good.img -- -o cache=abc
refused 1 '-o umask=999: not an octal number from 0 to 777' good.img -- -o umask=999
for args in '' good.img; do
    # shellcheck disable=SC2086 # none, or one
    "$FERRYFS" $args >"$out" 2>"$err"
    is "usage: '$args'" $? 1
    like "a line" "$(cat "$err")" '^ferryfs: '
done
refused 1 '.*unknown format "x".*' good.img -- -o format=x

# ---- 3: the mount ----
mnt=$tmp/nowhere
"$FERRYFS" good.img "$mnt" >"$out" 2>"$err"
is "no mount point: the exit status" $? 3
like "no mount point: the line" "$(cat "$err")" "^ferryfs: $mnt: no such mount point; mkdir it first\$"
"$FERRYFS" good.img good.img >"$out" 2>"$err"
is "the mount point is a file: the exit status" $? 3
like "the mount point is a file: the line" "$(cat "$err")" '^ferryfs: good\.img: the mount point is not a directory$'
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then # fusermount3 and libfuse have their own words for it
    mkdir "$tmp/roots" && chmod 755 "$tmp" "$tmp/roots"
    setpriv --reuid=65534 --regid=65534 --clear-groups "$FERRYFS" "$tmp/good.img" "$tmp/roots" >"$out" 2>"$err"
    is "a mount that isn't allowed: the exit status" $? 3
    is "one line" "$(wc -l <"$err")" 1
    like "with the reason" "$(cat "$err")" "^ferryfs: $tmp/roots: mounting failed: .*fuse"
fi
mnt=$tmp/mnt
mount_ok good.img
"$FERRYFS" good.img "$mnt" >"$out" 2>"$err"
is "a busy mount point: the exit status" $? 3
like "a busy mount point: the line" "$(cat "$err")" "^ferryfs: $mnt: the mount point is busy"
check "the first mount still answers" same "$mnt/disks/disk0/disk.raw" good.img
unmount
finish
