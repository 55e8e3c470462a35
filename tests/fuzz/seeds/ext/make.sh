#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Makes the seeds beside it: file systems of 60 KiB with a little of everything. The dirty one gets a hand-made
# journal: libext2fs makes no journal that small.
set -e
cd "$(dirname "$0")"
PATH=$PATH:/sbin:/usr/sbin
src=$(mktemp -d)
mkdir "$src/d"
echo hello >"$src/f"
head -c 5000 /dev/zero >"$src/d/zeros"
ln "$src/f" "$src/d/hard"
ln -s f "$src/fast"
ln -s "$(printf %070d 1)" "$src/slow"
make() {
    rm -f "$1.img"
    mke2fs -q -F -d "$src" -b 1024 -N 16 $2 "$1.img" 60k >/dev/null
    truncate -s 60k "$1.img"
}
make ext2 '-t ext2'
make ext4 '-t ext4 -O ^has_journal,^metadata_csum,^resize_inode'
make inline '-t ext4 -O ^has_journal,^metadata_csum,^resize_inode,inline_data'
debugfs -w -R 'ea_set f user.name value' inline.img 2>/dev/null
rm -r "$src"

python3 - <<'PY'
import struct
b = bytearray(open('ext2.img', 'rb').read())
be = lambda at, *v: struct.pack_into('>%dI' % len(v), b, at, *v)
le = lambda at, *v: struct.pack_into('<%dI' % len(v), b, at, *v)
compat, incompat = struct.unpack_from('<2I', b, 1024 + 0x5C)
le(1024 + 0x5C, compat | 4, incompat | 4)
le(1024 + 0xE0, 8)
table, = struct.unpack_from('<I', b, 2048 + 8)
size, = struct.unpack_from('<H', b, 1024 + 0x58)
inode, first, blocks = table * 1024 + 7 * size, 48, 8
b[inode:inode + size] = bytes(size)
struct.pack_into('<HHI', b, inode, 0o100600, 0, blocks * 1024)
struct.pack_into('<H', b, inode + 0x1A, 1)
le(inode + 0x28, *range(first, first + blocks))
at = lambda n: (first + n) * 1024
MAGIC = 0xC03B3998
be(at(0), MAGIC, 4, 0, 1024, blocks, 1, 5, 1)
be(at(0) + 0x28, 1)
be(at(1), MAGIC, 1, 5, 40, 0, 0, 0, 0, 0, 41, 2 | 8)
b[at(2):at(3)] = b'J' * 1024
b[at(3):at(4)] = b'K' * 1024
be(at(4), MAGIC, 2, 5)
be(at(5), MAGIC, 5, 6, 20, 41)
be(at(6), MAGIC, 2, 6)
open('dirty.img', 'wb').write(b)
PY
