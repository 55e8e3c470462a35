#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# ext2/3/4 through a mount, held against the kernel's own mount of the same image: names, owners, modes, times,
# links, devices, attributes and content; and a volume whose guest was killed, held against what the kernel's
# replay makes of it. Needs root and loop devices; skips without.
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/sbin:/usr/sbin

[ "$(id -u)" = 0 ] || skip 'needs root, for loop mounts'
command -v mke2fs >/dev/null && command -v python3 >/dev/null || skip 'needs mke2fs and python3'
kernel=$tmp/kernel
mkdir "$kernel"
umount_kernel() {
    mountpoint -q "$kernel" && umount "$kernel"
}
truncate -s 8M "$tmp/try" && mke2fs -q -F "$tmp/try" && mount -o loop "$tmp/try" "$kernel" 2>/dev/null ||
    skip 'no loop mounts here'
umount_kernel

cat >"$tmp/fill.py" <<'PY'
import os, random, stat, struct, sys
root = sys.argv[1]
r = random.Random(7)
at = lambda *p: os.path.join(root, *p)
os.mkdir(at('dir')); os.mkdir(at('many'))
for n in (0, 1, 59, 60, 61, 150, 1024, 4096, 65537, 900000):
    open(at('f%d' % n), 'wb').write(r.randbytes(n))
with open(at('sparse'), 'wb') as f:
    f.seek(3 << 20); f.write(b'x' * 5000); f.truncate(6 << 20)
with open(at('fragments'), 'wb') as f:
    for k in range(500):
        f.seek(k * 16384); f.write(r.randbytes(4096))
os.link(at('f150'), at('dir', 'hard'))
for n in (4, 59, 60, 900):
    os.symlink('x' * n, at('link%d' % n))
os.mknod(at('chr'), 0o600 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod(at('blk'), 0o640 | stat.S_IFBLK, os.makedev(259, 70000))
os.mkfifo(at('pipe'))
for k in range(800):
    open(at('many', 'a-longer-name-%d' % k), 'w').close()
for k in range(0, 800, 3):
    os.unlink(at('many', 'a-longer-name-%d' % k))
os.chown(at('f1'), 100000, 70000)
os.chmod(at('f1'), 0o4755)
os.utime(at('f59'), ns=(1, 2**33 * 10**9 + 5))
os.utime(at('f60'), ns=(-5 * 10**9, -10**18))
def attr(p, name, value):
    try:
        os.setxattr(at(p), name, value, follow_symlinks=False)
    except OSError:
        pass
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *e) for e in (
    (1, 6, 0xffffffff), (2, 5, 1000), (2, 7, 2000000), (4, 4, 0xffffffff), (8, 1, 33), (16, 7, 0xffffffff),
    (32, 0, 0xffffffff)))
attr('f1', 'user.small', b'v'); attr('f1', 'security.x', b'abc'); attr('f1', 'trusted.empty', b'')
attr('f61', 'user.large', r.randbytes(900)); attr('f61', 'user.huge', r.randbytes(20000))
attr('f150', 'system.posix_acl_access', acl); attr('dir', 'system.posix_acl_default', acl)
PY

cat >"$tmp/tree.py" <<'PY'
import hashlib, os, stat, sys
root = sys.argv[1]
def show(path, name):
    s = os.lstat(path)
    kind = stat.S_IFMT(s.st_mode)
    line = [name, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink if not stat.S_ISDIR(s.st_mode) else '-', s.st_size,
            s.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else '-', s.st_mtime_ns, s.st_ctime_ns]
    for a in sorted(os.listxattr(path, follow_symlinks=False)):
        if not a.startswith('user.ferryfs.'):
            line.append('%s=%s' % (a, os.getxattr(path, a, follow_symlinks=False).hex()))
    if kind == stat.S_IFREG:
        line.append(hashlib.sha256(open(path, 'rb').read()).hexdigest())
    if kind == stat.S_IFLNK:
        line.append(os.readlink(path))
    print(*line)
    if kind == stat.S_IFDIR:
        for n in sorted(os.listdir(path)):
            show(os.path.join(path, n), name + '/' + n)
show(root, '')
PY

# compare DESCRIPTION IMAGE: the daemon's tree of it against the kernel's, of a copy
compare() {
    cp --sparse=always "$2" "$tmp/copy"
    mount -o loop,noatime "$tmp/copy" "$kernel" || { check "$1: the kernel mounts it" false; return; }
    python3 "$tmp/tree.py" "$kernel" >"$tmp/want"
    umount_kernel
    mount_ok "$2"
    python3 "$tmp/tree.py" "$mnt/volumes/disk0" >"$tmp/got" 2>&1
    check "$1: as the kernel shows it" diff "$tmp/want" "$tmp/got"
}

n=0
while read -r layout; do
    n=$((n + 1))
    truncate -s 64M "$tmp/fs$n"
    # shellcheck disable=SC2086 # the layout is several words
    mke2fs -q -F $layout "$tmp/fs$n" 2>/dev/null
    mount -o loop "$tmp/fs$n" "$kernel" 2>/dev/null || continue # a kernel without this feature
    python3 "$tmp/fill.py" "$kernel"
    umount_kernel
    compare "$layout" "$tmp/fs$n"
    unmount
    rm -f "$tmp/fs$n"
done <<'LIST'
-t ext2 -b 1024 -I 128
-t ext3 -b 2048
-t ext4 -b 4096
-t ext4 -b 1024 -O inline_data
-t ext4 -b 1024 -O ea_inode,^metadata_csum -g 1024
LIST

# A guest that is killed: a copy of the image under a mount, after transactions that were not written back. With every
# kind of journal: without checksums, of the old kind (v1), v3, wide and narrow block numbers, a small one that goes around.
# Freed directories whose blocks become files' make revokes; a file that is still open after its removal is an orphan.
while IFS='|' read -r layout options; do
    truncate -s 48M "$tmp/live"
    # shellcheck disable=SC2086
    mke2fs -q -F $layout "$tmp/live" 2>/dev/null
    mount -o "loop,commit=300,$options" "$tmp/live" "$kernel" 2>/dev/null || continue # a kernel without this
    python3 "$tmp/fill.py" "$kernel"
    sync -f "$kernel"
    rm -rf "$kernel/dir" "$kernel/many"
    mkdir "$kernel/new"
    exec 9>"$kernel/open"
    head -c 50000 /dev/urandom >&9
    rm "$kernel/open"
    for k in 1 2 3 4 5; do
        # begins with the journal's magic number, which it must escape
        { printf '\300\073\071\230 and more'; head -c 70000 /dev/urandom; } >"$kernel/new/$k"
        truncate -s $((k * 9000)) "$kernel/new/$k"
        sync -f "$kernel"
    done
    echo lost >"$kernel/unsynced"
    cp --sparse=always "$tmp/live" "$tmp/killed"
    exec 9>&-
    umount_kernel
    before=$(sha256sum <"$tmp/killed")
    compare "killed, $layout, $options" "$tmp/killed"
    check 'info.json says that the journal was replayed' grep -q 'journal was replayed' "$mnt/info.json"
    check 'and that files are still to be freed' grep -q 'deleted while open' "$mnt/info.json"
    unmount
    check 'the source is as it was' test "$before" = "$(sha256sum <"$tmp/killed")"
    killed=$((${killed-0} + 1))
    [[ $(debugfs -R 'logdump -ac' "$tmp/killed" 2>/dev/null) != *'revoke block'* ]] || revoked=$((${revoked-0} + 1))
    rm -f "$tmp/live" "$tmp/killed"
done <<'LIST'
-t ext3 -b 1024|data=journal
-t ext4 -b 4096|data=journal
-t ext4 -b 1024 -J size=1|data=journal
-t ext4 -b 1024 -O ^metadata_csum,^64bit|data=journal,journal_checksum
-t ext4 -b 2048 -O ^metadata_csum|data=ordered,journal_async_commit
-t ext4 -b 1024 -O orphan_file|data=ordered
LIST
check "kinds of journals: ${killed-0}" [ "${killed-0}" -ge 4 ]
check "of them with revokes: ${revoked-0}" [ "${revoked-0}" -ge 1 ]

# Checksums of the kind v2, which only e2fsprogs writes: two transactions over a file's blocks, the second one revokes.
for version in 2 3; do
    truncate -s 16M "$tmp/j$version"
    features=metadata_csum
    [ $version = 3 ] || features=^metadata_csum # e2fsck refuses v2 beside checksums of metadata
    mke2fs -q -F -t ext4 -b 1024 -O $features "$tmp/j$version"
    head -c 8192 /dev/urandom >"$tmp/old"
    { printf '\300\073\071\230'; head -c 4092 /dev/urandom; } >"$tmp/one"
    head -c 1024 /dev/urandom >"$tmp/two"
    debugfs -w -R "write $tmp/old file" "$tmp/j$version" >/dev/null 2>&1
    mapfile -t b < <(for k in 0 1 2 3 4 5; do debugfs -R "bmap file $k" "$tmp/j$version" 2>/dev/null; done)
    printf '%s\n' "jo -c -v $version" "jw -b ${b[0]},${b[1]},${b[2]},${b[3]} $tmp/one" 'jc' "jo -c -v $version" \
        "jw -b ${b[5]} $tmp/two" "jw -r ${b[1]}" 'jc' >"$tmp/commands"
    debugfs -w -f "$tmp/commands" "$tmp/j$version" >"$tmp/debugfs.out" 2>&1
    check "v$version: debugfs has written a journal" test -n "$(debugfs -R 'logdump' "$tmp/j$version" 2>/dev/null | grep 'commit')"
    cp "$tmp/j$version" "$tmp/checked"
    e2fsck -fy -E journal_only "$tmp/checked" >"$tmp/e2fsck.out" 2>&1
    debugfs -R "dump file $tmp/want" "$tmp/checked" 2>/dev/null
    check_not "v$version: the replay changes the file" same "$tmp/old" "$tmp/want"
    mount_ok "$tmp/j$version"
    check "v$version: as e2fsck replays it" same "$tmp/want" "$mnt/volumes/disk0/file"
    unmount
done

# What can't be written safely says so, and is read like any other.
while IFS='|' read -r make command why; do
    truncate -s 8M "$tmp/fs"
    # shellcheck disable=SC2086
    mke2fs -q -F $make "$tmp/fs" 2>/dev/null || continue # an older mke2fs
    [ -z "$command" ] || debugfs -w -R "$command" "$tmp/fs" >/dev/null 2>&1
    mount_ok "$tmp/fs"
    check "it is shown: $make $command" test -d "$mnt/volumes/disk0/lost+found"
    like "why it is read-only: $make $command" "$(json "$mnt/info.json" '.volumes[0].read_only_why // "writable"')" "$why"
    unmount
    rm -f "$tmp/fs"
done <<'LIST'
-t ext4||^writable
-t ext2||^writable
-t ext4 -O bigalloc,inline_data||bigalloc
-t ext4 -O quota||keeps quotas
-t ext4|ssv state 2|recorded errors
-t ext2|ssv state 0|wasn.t unmounted
-t ext4|feature read-only|marked it read-only
-t ext4|feature shared_blocks|share blocks
LIST

# A large hashed directory: all its names, however they are listed; each is found by its hash, so also when a leaf is
# damaged, which costs only the names in it; and a listing gives what comes before the damage, then the error.
mkdir -p "$tmp/src/many"
(cd "$tmp/src/many" && seq -f 'file number %05.0f of many' 4000 | xargs -d '\n' touch)
truncate -s 24M "$tmp/many.img"
mke2fs -q -F -t ext4 -b 1024 -N 5000 -d "$tmp/src" "$tmp/many.img"
e2fsck -fyD "$tmp/many.img" >/dev/null 2>&1
like 'the directory is hashed' "$(debugfs -R 'stat /many' "$tmp/many.img" 2>/dev/null)" 'Flags: 0x81000'
cat >"$tmp/list.py" <<'PY'
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def names(path, size):
    """By getdents64 into a buffer of `size` bytes, going on in another descriptor after every call."""
    buf, at, found = ctypes.create_string_buffer(size), 0, []
    while True:
        fd = os.open(path, os.O_RDONLY)
        os.lseek(fd, at, os.SEEK_SET)
        n = libc.getdents64(fd, buf, ctypes.c_size_t(size))
        os.close(fd)
        if n <= 0:
            return found, ctypes.get_errno() if n else 0
        raw, off = buf.raw[:n], 0
        while off < n:
            _, at, length = struct.unpack_from('<QqH', raw, off)
            found.append(raw[off + 19:off + length].split(b'\0')[0])
            off += length
path = sys.argv[1]
got, error = names(path, int(sys.argv[2]))
found = 0
for k in range(1, 4001):
    try:
        os.lstat('%s/file number %05d of many' % (path, k))
        found += 1
    except OSError:
        pass
print(len(got) - 2, len(set(got)) - 2, error, found)
PY
mount_ok "$tmp/many.img"
for size in 200 5000 1000000; do
    is "all names, $size bytes at once" "$(python3 "$tmp/list.py" "$mnt/volumes/disk0/many" $size)" '4000 4000 0 4000'
done
unmount
leaf=$(debugfs -R 'bmap /many 12' "$tmp/many.img" 2>/dev/null)
printf 'damage' | dd of="$tmp/many.img" bs=1 seek=$((leaf * 1024 + 100)) conv=notrunc status=none
mount_ok "$tmp/many.img"
read -r listed different error found <<<"$(python3 "$tmp/list.py" "$mnt/volumes/disk0/many" 30000)"
is 'damage ends the listing with EIO' "$error" 5
check "what comes before it is listed: $listed" [ "$listed" -gt 150 ]
is 'each once' "$different" "$listed"
check "only the names of the damaged block are lost: $found" [ "$found" -gt 3900 ]
check 'which are not found' [ "$found" -lt 4000 ]
unmount
finish
