#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# POSIX ACLs on ext: what is made in a directory with a default ACL, what chmod and setfacl do to each other, and exchanged
# names, held against the kernel's ext4, on which the same commands run. Needs root and loop devices; skips without.
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/sbin:/usr/sbin

[ "$(id -u)" = 0 ] || skip 'needs root, for loop mounts'
need mke2fs e2fsck setfacl getfacl python3
kernel=$tmp/kernel
mkdir "$kernel"
exit_commands+=("umount '$kernel' 2>/dev/null")
truncate -s 8M "$tmp/try" && mke2fs -q -F "$tmp/try" && mount -o loop,acl "$tmp/try" "$kernel" 2>/dev/null ||
    skip 'no loop mounts here'
umount "$kernel"

# exchange A B: renameat2(2) with RENAME_EXCHANGE, which no program of Debian's stable coreutils offers.
cat >"$tmp/exchange" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.renameat2(-100, os.fsencode(sys.argv[1]), -100, os.fsencode(sys.argv[2]), 2):
    sys.exit(os.strerror(ctypes.get_errno()))
PY
exchange() { python3 "$tmp/exchange" "$@"; }

# What both get. Errors are part of the answer.
work() {
    cd "$1" || return
    local mask acl n=0
    for acl in u::rwx,g::r-x,o::--- u::rwx,u:1000:rwx,g::r-x,m::rwx,o::r-x u::r-x,g::rwx,g:33:rw-,g:2000000:r--,m::rw-,o::r-- \
        u::---,g::---,o::---; do
        for mask in 000 027 777; do
            n=$((n + 1))
            umask $mask
            mkdir -m 755 "d$n"
            setfacl -d -m "$acl" "d$n"
            echo x >"d$n/file"
            mkdir "d$n/dir"
            echo x >"d$n/dir/below"
            mkdir "d$n/dir/deeper"
            mkfifo "d$n/pipe"
            mknod "d$n/null" c 1 3
            ln -s x "d$n/link"
            python3 -c 'import os, sys; os.close(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY, 0o640))' "d$n/0640"
            mkdir -m 2711 "d$n/2711"
            mkdir "d$n/2711/in"
        done
    done
    umask 027
    mkdir plain && echo x >plain/file && mkfifo plain/pipe && ln -s x plain/link
    umask 022
    # chmod changes the ACL, the ACL the mode
    echo x >a && setfacl -m u:1000:rwx,g:33:r-- a && chmod 640 a
    echo x >b && chmod 4751 b && setfacl -m u:5:rw- b && setfacl -m m::r-- b
    echo x >c && setfacl -m u:5:rw- c && setfacl -b c
    echo x >d && setfacl -m u:5:rw- d && setfacl -x u:5 d
    echo x >e && setfacl -m u:7:r-- e && setfacl --set u::rw-,g::r--,o::--- e
    setfacl -d -m u:9:rwx a
    setfacl -k a
    mkdir f && setfacl -d -m u:9:rwx f && mkdir f/old && setfacl -k f && mkdir f/new && chmod 700 f/old
    mkdir g && setfacl -m u:9:r-x,d:u:9:r-x g && echo x >g/x && cp -a g h && chmod 777 g/x
    for n in $(seq 100); do setfacl -m "d:u:$((n + 3000)):r--" h 2>&1 || break; done
    mkdir h/many && echo x >h/many/file
    # exchanges
    mkdir -p x/one/in y/two z && echo 1 >x/file && echo 22 >y/file && ln x/file x/same
    exchange x/file y/file
    exchange x/one y/two
    exchange x/one y/file
    exchange y/file y/two
    exchange x x/one
    exchange x/one x
    exchange x/file x/none
    exchange x/none x/file
    exchange x/same y/two
    exchange z z
    exchange x y
    cat x/* y/*
}

# What came of it: names, types, modes, owners, links, ACLs.
shown() {
    cd "$1" || return
    find . -name lost+found -prune -o -printf '%p %y %M %m %U %G %n %l\n' | sort
    find . -name lost+found -prune -o ! -type l -print0 | sort -z | xargs -0 getfacl -n
}

for layout in '-t ext4 -b 1024' '-t ext2 -b 4096 -I 128'; do
    truncate -s 32M "$tmp/image"
    # shellcheck disable=SC2086 # the layout is several words
    mke2fs -q -F $layout "$tmp/image" 2>/dev/null
    cp --sparse=always "$tmp/image" "$tmp/copy"
    mount -o loop,acl "$tmp/copy" "$kernel" 2>/dev/null || continue # a kernel without this file system
    mounted=$((${mounted-0} + 1))
    (work "$kernel") >"$tmp/want.said" 2>&1
    (shown "$kernel") >"$tmp/want" 2>&1
    umount "$kernel"
    mount_ok "$tmp/image" -- -o "overlay=$tmp/overlay" -o format=raw
    (work "$mnt/volumes/disk0") >"$tmp/got.said" 2>&1
    (shown "$mnt/volumes/disk0") >"$tmp/got" 2>&1
    check "$layout: the commands say what they say on the kernel's" diff "$tmp/want.said" "$tmp/got.said"
    check "$layout: and do what they do there" diff "$tmp/want" "$tmp/got"
    check "$layout: there is something to see" grep -q 'default:user:1000:rwx' "$tmp/got"
    cp "$mnt/disks/disk0/disk.raw" "$tmp/after"
    unmount
    check "$layout: e2fsck" e2fsck -fn "$tmp/after"
    mount -o loop,acl,ro "$tmp/after" "$kernel"
    (shown "$kernel") >"$tmp/got" 2>&1
    umount "$kernel"
    check "$layout: the kernel sees the same" diff "$tmp/want" "$tmp/got"
    rm -rf "$tmp/overlay" "$tmp/image" "$tmp/copy" "$tmp/after"
done
check 'a kernel that mounts ext' test "${mounted-0}" -gt 0

# A default ACL that is damaged: nothing is made under it with permissions that nobody gave, and the rest goes on.
truncate -s 8M "$tmp/image"
mke2fs -q -F -t ext4 -b 1024 -O ^metadata_csum "$tmp/image"
mount -o loop,acl "$tmp/image" "$kernel"
mkdir "$kernel/d" && setfacl -d -m u:1234567:rwx "$kernel/d"
umount "$kernel"
python3 - "$tmp/image" <<'PY'
import struct, sys
p = bytearray(open(sys.argv[1], 'rb').read())
entry = struct.pack('<HHI', 2, 7, 1234567)
assert entry in p
p = p.replace(entry, b'\1' + entry[1:])    # a second entry of the owner; in the journal too
open(sys.argv[1], 'wb').write(p)
PY
mount_ok "$tmp/image" -- -o "overlay=$tmp/overlay" -o format=raw
check_not 'nothing is made under a damaged default ACL' touch "$mnt/volumes/disk0/d/new"
check_not 'no directory either' mkdir "$mnt/volumes/disk0/d/new"
check 'the rest goes on' touch "$mnt/volumes/disk0/other"
unmount

# Who may do what, and what is left of a mode then: other users beside the kernel's.
as() { # USER GROUPS COMMAND...
    local user=$1 groups=$2
    shift 2
    setpriv --reuid="$user" --regid="$user" --groups="$groups" "$@"
}
trespass() {
    cd "$1" || return
    umask 022
    echo one >f && chmod 600 f && setfacl -m u:1001:r f
    for user in 1001 1002; do as $user 9 cat f; done
    echo two >g && chown 0:2000 g && chmod 640 g && setfacl -m u:5:r,g::- g # its mask alone gives the group r
    as 1003 2000 cat g
    mkdir d && chmod 700 d && setfacl -m u:1001:rwx d
    as 1001 9 touch d/made
    as 1002 9 ls d
    echo three >h && chmod 600 h && setfacl -m g:2000:rw,u:1001:- h
    as 1001 2000 cat h
    as 1004 2000 sh -c 'echo four >>h'
    cat h
    # S_ISGID goes where who changes the mode isn't in the group
    : >sg && chown 1001:3000 sg && chmod 2775 sg && as 1001 2000 setfacl -m u:5:r sg && stat -c %A sg
    chmod 2775 sg && as 1001 3000 setfacl -m u:5:rw sg && stat -c %A sg
    mkdir s && chown 0:3000 s && chmod 2777 s
    for groups in 2000 3000; do
        as 1001 $groups python3 -S -c "import os; os.umask(0); os.open('s/by$groups', os.O_CREAT, 0o2777); os.mknod('s/p$groups', 0o12777)"
        stat -c %A s/*$groups
    done
    # S_ISUID when another opens the file to write it anew
    for user in 0 1002; do
        : >su && chmod 6777 su
        as $user 9 sh -c ': >su'
        stat -c %A su
    done
    # what the kernel wouldn't let somebody read isn't listed to them
    : >x && setfattr -n trusted.overlay.opaque -v y x && setfattr -n user.z -v 1 x
    getfattr -m - x
    as 1001 9 getfattr -m - x
    setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin getfattr -m - x
}
if command -v setpriv getfattr >/dev/null && chmod 755 "$tmp" && as 1001 9 test -x "$tmp"; then
    truncate -s 32M "$tmp/image2" && mke2fs -q -F -t ext4 "$tmp/image2"
    cp --sparse=always "$tmp/image2" "$tmp/copy"
    mount -o loop,acl "$tmp/copy" "$kernel"
    (trespass "$kernel") >"$tmp/want" 2>&1
    umount "$kernel"
    mount_ok "$tmp/image2" -- -o "overlay=$tmp/overlay2,allow_other"
    (trespass "$mnt/volumes/disk0") >"$tmp/got" 2>&1
    check "other users do and see what they do on the kernel's" diff "$tmp/want" "$tmp/got"
    check "there is something to see" grep -q 'cat: g: Permission denied' "$tmp/want"
    unmount
    mount_ok "$tmp/image2" -- -o "overlay=$tmp/overlay2,allow_other,umask=077"
    is "a umask takes from an ACL what it takes from a mode" "$(getfacl -cn "$mnt/volumes/disk0/h" | tr -s '\n\t' ' ')" \
        "user::rw- user:1001:--- group::--- group:2000:rw- #effective:--- mask::--- other::--- "
    check_not "and from who has it by the ACL" as 1004 2000 cat "$mnt/volumes/disk0/h"
    unmount
    mount_ok "$tmp/image2" -- -o "overlay=$tmp/overlay2,allow_other,umask=002"
    check "a weaker one doesn't" as 1004 2000 cat "$mnt/volumes/disk0/h"
    unmount
fi
finish
