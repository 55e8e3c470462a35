#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a guest's file system has no room for, and other answers of system calls, as the kernel's own drivers give them.
. "$(dirname "$0")/lib.sh"
need mke2fs mkfs.fat mkntfs python3 jq
PATH=$PATH:/sbin:/usr/sbin

cat >"$tmp/calls.py" <<'PY'
"""calls.py FILE CALL [ARGUMENT]: what the call on FILE answers."""
import errno, os, sys
path, call, *rest = sys.argv[1:]

def unlinked():
    f = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(f, b'kept')
    before = os.fstat(f).st_nlink
    os.unlink(path)
    return before, os.fstat(f).st_nlink, os.pread(f, 9, 0)

def utime():
    open(path, 'w').close()
    os.utime(path, ns=(int(rest[0]) * 10**9 + 123456789,) * 2)
    return os.stat(path).st_mtime_ns

def write():
    f = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    return os.pwrite(f, b'xy', int(rest[0]) - 1)

def truncate():
    open(path, 'a').close()
    os.truncate(path, int(rest[0]))
    return os.stat(path).st_size

def fallocate():
    f = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    return os.posix_fallocate(f, int(rest[0]) - 4096, 8192)

def attribute():
    os.setxattr(path, 'user.first', b'1')
    return os.listxattr(path)

try:
    print(globals()[call]())
except OSError as e:
    print(errno.errorcode[e.errno])
PY
call() { python3 -S "$tmp/calls.py" "$mnt/volumes/disk0/$1" "${@:2}"; }

truncate -s 32M "$tmp/ext.img" && mke2fs -q -F -t ext4 -b 4096 -I 256 "$tmp/ext.img"
mount_ok "$tmp/ext.img" -- -o scratch
is "ext4: the longest file" "$(call f truncate $((0xffffffff << 12)))" $((0xffffffff << 12))
is "ext4: a longer one" "$(call f truncate $(((0xffffffff << 12) + 1)))" EFBIG
is "ext4: bytes behind the last" "$(call f write $(((0xffffffff << 12) + 1)))" EFBIG
is "ext4: room behind the last" "$(call f fallocate $((0xffffffff << 12)))" EFBIG
is "ext4: the name of an open file goes" "$(call gone unlinked)" "(1, 0, b'kept')"
is "ext4: a time" "$(call t utime 15032385534)" 15032385534123456789
is "ext4: the last one" "$(call t utime 15032385535)" 15032385535000000000
is "ext4: a later one" "$(call t utime 99999999999)" 15032385535000000000
is "ext4: the first one, and one before" "$(call t utime -2147483648) $(call t utime -9999999999)" \
    "-2147483648000000000 -2147483648000000000"
unmount

# The first attribute brings its feature.
for how in '-t ext2 -O ^ext_attr' '-r 0 -O none'; do
    rm -f "$tmp/old.img"
    # shellcheck disable=SC2086 # options
    truncate -s 16M "$tmp/old.img" && mke2fs -q -F $how "$tmp/old.img" 2>/dev/null
    mount_ok "$tmp/old.img" -- -o scratch
    touch "$mnt/volumes/disk0/f"
    is "$how: an attribute" "$(call f attribute)" "['user.first']"
    cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/after"
    unmount
    check "$how: e2fsck" e2fsck -fn "$tmp/after"
    like "$how: the feature" "$(dumpe2fs -h "$tmp/after" 2>/dev/null | grep features)" 'ext_attr'
done

truncate -s 64M "$tmp/fat.img" && mkfs.fat -F 32 "$tmp/fat.img" >/dev/null
mount_ok "$tmp/fat.img" -- -o scratch
is "FAT: a byte behind the last" "$(call f write $((0xffffffff)))" EFBIG
is "FAT: a file of 4 GiB" "$(call f truncate $((1 << 32)))" EFBIG
is "FAT: the name of an open file goes" "$(call gone unlinked)" "(1, 0, b'kept')"
unmount

truncate -s 32M "$tmp/ntfs.img" && mkntfs -q -f -F "$tmp/ntfs.img" >/dev/null 2>&1
mount_ok "$tmp/ntfs.img" -- -o scratch
is "NTFS: the name of an open file goes" "$(call gone unlinked)" "(1, 0, b'kept')"
unmount
finish
