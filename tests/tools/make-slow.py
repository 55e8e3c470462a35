#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes small images whose tables describe as much as tables can: the worst for whoever walks them.

    make-slow.py KIND OUT       KIND is a name in the table at the end; some make more files beside OUT

Most have one table, or one block, that stands in many places, which no program writes and a reader can't forbid without
walking them all.
"""
import os
import struct
import sys

SECTOR = 512
MIB = 1 << 20


def qcow2(out, bits, tables, entries, distinct=False, backing=b''):
    """entries(i, data, cluster): the entry i of each L2 table; None: they are empty. With `distinct`, the tables are one behind the other, and of
    large ones only the first is written."""
    cluster = 1 << bits
    up = lambda n: -(-n // cluster) * cluster
    l1 = up(4 * cluster)
    l2 = up(l1 + tables * 8)
    data = l2 + (tables if distinct else 1) * cluster
    with open(out, 'wb') as f:
        f.write(struct.pack('>4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 112 if backing else 0, len(backing), bits,
                            tables * (cluster // 8) * cluster, 0, tables, l1, cluster, 1, 0, 0, 0, 0, 0, 4, 104))
        f.write(bytes(8) + backing)
        f.seek(cluster)
        f.write(struct.pack('>Q', 2 * cluster))
        f.seek(l1)
        f.write(b''.join(struct.pack('>Q', 1 << 63 | l2 + (i * cluster if distinct else 0)) for i in range(tables)))
        if entries:
            f.seek(l2)
            table = b''.join(struct.pack('>Q', entries(i, data, cluster)) for i in range(cluster // 8))
            f.write(table * (tables if distinct and cluster == SECTOR else 1))
        f.seek(data)
        f.write(b'x' * cluster)
        f.truncate(max(data + (cluster // 8 + 1) * cluster, tables * cluster))


def alternate(i, data, cluster):
    return 1 << 63 | data if i % 2 else 1


def adjacent(i, data, cluster):
    """One run in the file, all of it a hole there but its beginning."""
    return 1 << 63 | data + i * cluster


def qcow2_chain(out, links, tables, entries):
    """Every link has tables, and nothing in them, but the lowest."""
    for i in range(links):
        name = out if i == 0 else '%s.%d' % (out, i)
        below = os.path.basename('%s.%d' % (out, i + 1)).encode() if i < links - 1 else b''
        qcow2(name, 9, tables, entries if below == b'' else None, distinct=True, backing=below)


def vmdk(out, tables, gtes, entry, grain=1):
    sectors = tables * gtes * grain
    text = ('# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\ncreateType="monolithicSparse"\n'
            'RW %d SPARSE "x"\n' % sectors).encode().ljust(SECTOR, b'\0')
    gt = 2 + -(-tables * 4 // SECTOR)
    first = gt + gtes * 4 // SECTOR
    head = b'KDMV' + struct.pack('<IIQQQQIQQQB4sH', 1, 7, sectors, grain, 1, 1, gtes, 0, 2, first, 0, b'\n \r\n', 0)
    with open(out, 'wb') as f:
        f.write(head.ljust(SECTOR, b'\0') + text + struct.pack('<I', gt) * tables)
        f.seek(gt * SECTOR)
        f.write(b''.join(struct.pack('<I', entry(i, first)) for i in range(gtes)) + b'y' * SECTOR * grain)


def delta(out, kind, sectors, head, extent):
    """A delta, its descriptor OUT, and a parent of zeros."""
    text = '# Disk DescriptorFile\nversion=1\nCID=%x\nparentCID=%s\n%sRW %d %s%s\n'
    name = os.path.basename(out)
    with open(out, 'w') as f:
        f.write(text % (2, '1', 'parentFileNameHint="%s.base"\n' % name, sectors, kind, ' "%s.delta"' % name))
    with open(out + '.base', 'w') as f:
        f.write(text % (1, 'ffffffff', '', sectors, 'ZERO', ''))
    with open(out + '.delta', 'wb') as f:
        f.write(head)
        for at, data in extent:
            f.seek(at * SECTOR)
            f.write(data)


def cowd(out, entry):
    """The largest: 2^32-1 sectors in grains of one."""
    sectors = (1 << 32) - 1
    tables = 1 << 20
    gt = 4 + tables * 4 // SECTOR
    delta(out, 'VMFSSPARSE', sectors, b'COWD' + struct.pack('<7I', 1, 3, sectors, 1, 4, tables, 0),
          [(4, struct.pack('<I', gt) * tables), (gt, b''.join(struct.pack('<I', entry(i, gt + 32)) for i in range(4096))),
           (gt + 32, b'z' * SECTOR)])


def sesparse(out, entry):
    """16 TiB."""
    tables, gd = 1 << 20, 8
    gts = gd + tables * 8 // SECTOR
    grains = gts + 64
    head = struct.pack('<26Q', 0xcafebabe, 0x200000001, tables * 4096 * 8, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 1, 3, 5, gd,
                       gts - gd, gts, 64, grains, 0, grains, 0, grains, 8)
    delta(out, 'SESPARSE', tables * 4096 * 8, head,
          [(1, struct.pack('<4Q', 0xcafecafe, 1, 1, 0)), (gd, struct.pack('<Q', 1 << 60) * tables),
           (gts, b''.join(struct.pack('<Q', entry(i)) for i in range(4096))), (grains, b'z' * 4096)])


def vhdx(out, bits):
    """A differencing disk of 16 TiB in blocks of 32 MiB: all are one block, and all bitmaps are one, of `bits`."""
    sys.path.insert(0, os.path.dirname(__file__))
    import importlib
    tool = importlib.import_module('make-vhdx')
    size, block, parent = 16 << 40, 32 * MIB, out + '.base'
    tool.write(parent, size, 512, {}, [], data_write=b'\xda' * 16)
    pairs = [('parent_linkage', '{dadadada-dada-dada-dada-dadadadadada}'), ('relative_path', os.path.basename(parent))]
    tool.write(out, size, 512, {}, [bits * MIB] + [b'p' * MIB] * 32, pairs, b'\xcd' * 16)
    ratio = (512 << 23) // block
    blocks = size // block
    with open(out, 'r+b') as f:
        f.seek(2 * MIB)
        f.write(tool.metadata(size, block, 512, pairs))
        bat_length = (8 * (size // MIB + size // (512 << 23) + 2) // MIB + 1) * MIB
        at = 3 * MIB + bat_length
        f.seek(3 * MIB)
        f.write((struct.pack('<Q', at + MIB | 7) * ratio + struct.pack('<Q', at | 6)) * (blocks // ratio))


def vhd(out, block, blocks, bitmap, child):
    """Blocks without number, behind the first 4M of them all at one place."""
    def footer(kind, uid):
        f = bytearray(struct.pack('>8sIIQI4sI4sQQHBBI', b'conectix', 2, 0x10000, 512, 0, b'win ', 0x60001, b'Wi2k',
                                  block * blocks, block * blocks, 65535, 16, 255, kind).ljust(SECTOR, b'\0'))
        f[68:84] = uid
        f[64:68] = struct.pack('>I', ~sum(f) & 0xffffffff)
        return bytes(f)

    def write(name, kind, uid, above, bat, rest):
        h = bytearray(struct.pack('>8sQQIIII16sI', b'cxsparse', 2**64 - 1, 1536, 0x10000, blocks, block, 0, above, 0)
                      .ljust(1024, b'\0'))
        if kind == 4:
            h[64:64 + 2 * len(base)] = base.encode('utf-16-be')
        h[36:40] = struct.pack('>I', ~sum(h) & 0xffffffff)
        with open(name, 'wb') as f:
            f.write(footer(kind, uid) + bytes(h) + bat)
            f.seek(-(-f.tell() // SECTOR) * SECTOR)
            rest(f)
            f.write(footer(kind, uid))

    base = os.path.basename(out) + '.base'
    above = b'\xaa' * 16
    if child:
        write(out + '.base', 3, above, bytes(16), b'\xff' * (4 * blocks), lambda f: None)
    walked = 4 << 20
    start = -(-(1536 + 4 * blocks) // SECTOR)
    bat = b'\xff' * (4 * min(blocks, walked)) + struct.pack('>I', start) * max(0, blocks - walked)

    def rest(f):
        f.write(bitmap * (-(-block // SECTOR // 8 // SECTOR) * SECTOR))
        f.write(b'd' * block)
    write(out, 4 if child else 3, b'\xbb' * 16, above if child else bytes(16), bat, rest)


def vdi(out, blocks):
    """Blocks of a sector; behind the first 4M of them, one block and none by turns."""
    data = -(-(1024 + 4 * blocks) // SECTOR) * SECTOR
    h = bytearray(1024)
    struct.pack_into('<4sIII', h, 0x40, b'\x7f\x10\xda\xbe', 0x10001, 400, 1)
    struct.pack_into('<II', h, 0x154, 1024, data)
    struct.pack_into('<IIQIII', h, 0x168, 512, 0, blocks * SECTOR, SECTOR, 0, blocks)
    with open(out, 'wb') as f:
        f.write(h)
        f.write(b'\xff' * 4 * (4 << 20) + struct.pack('<II', 0, 0xffffffff) * ((blocks - (4 << 20)) // 2))
        f.truncate(data)
        f.seek(data)
        f.write(b'd' * SECTOR)
        f.truncate(data + 100 * MIB)


KINDS = {
    'qcow2-turns': lambda o: qcow2(o, 9, 1 << 22, alternate),
    'qcow2-turns-4k': lambda o: qcow2(o, 12, (1 << 20) + 1, alternate),
    'qcow2-runs': lambda o: qcow2(o, 21, (1 << 20) + 1, adjacent),
    'qcow2-distinct': lambda o: qcow2(o, 21, 1 << 20, adjacent, distinct=True),
    'qcow2-chain': lambda o: qcow2_chain(o, 1000, 1 << 12, alternate),
    'qcow2-chain-runs': lambda o: qcow2_chain(o, 1000, 1 << 14, adjacent),
    'vmdk-turns': lambda o: vmdk(o, 1 << 24, 512, lambda i, first: first if i % 2 else 1),
    'vmdk-runs': lambda o: vmdk(o, 1 << 24, 65536, lambda i, first: first),
    'vmdk-zeros': lambda o: vmdk(o, 1 << 24, 65536, lambda i, first: 1),
    'cowd-turns': lambda o: cowd(o, lambda i, at: at if i % 2 else 0),
    'cowd-runs': lambda o: cowd(o, lambda i, at: at),
    'sesparse-turns': lambda o: sesparse(o, lambda i: (3 if i % 2 else 2) << 60),
    'sesparse-runs': lambda o: sesparse(o, lambda i: 3 << 60),
    'vhdx-turns': lambda o: vhdx(o, b'\x55'),
    'vhdx-runs': lambda o: vhdx(o, b'\xff'),
    'vhd-blocks': lambda o: vhd(o, 512, 16 << 20, b'\xff', False),
    'vhd-turns': lambda o: vhd(o, 2 * MIB, 8 << 20, b'\x55', True),
    'vhd-runs': lambda o: vhd(o, 64 * MIB, 8 << 20, b'\xff', True),
    'vdi-turns': lambda o: vdi(o, 32 << 20),
}


def main(args):
    if len(args) != 2 or args[0] not in KINDS:
        sys.exit(__doc__)
    KINDS[args[0]](args[1])


main(sys.argv[1:])
