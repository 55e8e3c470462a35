#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes VMDKs that qemu-img doesn't make, from a raw file or of nothing.

    make-vmdk.py stream RAW OUT [--pad BYTES] [--overhead SECTORS] [--short-last]
                                                  stream-optimized, tables at the end, footer, markers
    make-vmdk.py chain DIR COUNT                  COUNT links; link i has the byte i%251+1 in its own grain i
    make-vmdk.py sparse RAW OUT GRAIN GTES        hosted sparse of any geometry, without redundant tables
"""
import os
import struct
import sys
import zlib

SECTOR = 512
NEWLINES = b'\n \r\n'


def header(**f):
    h = dict(version=1, flags=1, capacity=0, grain=128, desc=1, desc_size=1, gtes=512, rgd=0, gd=0, overhead=0,
             unclean=0, algorithm=0)
    h.update(f)
    raw = b'KDMV' + struct.pack('<IIQQQQIQQQB4sH', h['version'], h['flags'], h['capacity'], h['grain'], h['desc'],
                                h['desc_size'], h['gtes'], h['rgd'], h['gd'], h['overhead'], h['unclean'], NEWLINES,
                                h['algorithm'])
    return raw.ljust(SECTOR, b'\0')


def descriptor(capacity, name, kind, cid=0x1234abcd, parent=0xffffffff, hint=None):
    text = '# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType="%s"\n' % (cid, parent, kind)
    if hint:
        text += 'parentFileNameHint="%s"\n' % hint
    text += '\n# Extent description\nRW %d SPARSE "%s"\n\nddb.adapterType = "lsilogic"\n' % (capacity, name)
    return text.encode().ljust(SECTOR, b'\0')


def sectors(data):
    return data + bytes(-len(data) % SECTOR)


def table(entries, count):
    return sectors(struct.pack('<%dI' % count, *(entries + [0] * (count - len(entries)))))


def stream(raw, out, pad=0, overhead=128, short_last=False):
    data = open(raw, 'rb').read()
    capacity, grain, gtes = len(data) // SECTOR, 128, 512
    size = grain * SECTOR
    common = dict(version=3, flags=0x30001, capacity=capacity, algorithm=1, overhead=overhead)
    o = bytearray(header(gd=2 ** 64 - 1, **common) + descriptor(capacity, 'call-me-stream.vmdk', 'streamOptimized'))
    o += bytes(overhead * SECTOR - len(o))
    gd, gt = [], []
    grains = -(-len(data) // size)
    for g in range(grains):
        piece = data[g * size:(g + 1) * size]
        if piece.count(0) == len(piece):
            gt.append(0)
        else:
            if not short_last:
                piece = piece.ljust(size, b'\0')
            z = zlib.compress(piece)
            gt.append(len(o) // SECTOR)
            o += sectors(struct.pack('<QI', g * grain, len(z)) + z)
        if len(gt) == gtes or g == grains - 1:
            if any(gt):
                t = table(gt, gtes)
                o += struct.pack('<QII', len(t) // SECTOR, 0, 1).ljust(SECTOR, b'\0')
                gd.append(len(o) // SECTOR)
                o += t
            else:
                gd.append(0)
            gt = []
    d = table(gd, len(gd))
    o += struct.pack('<QII', len(d) // SECTOR, 0, 2).ljust(SECTOR, b'\0')
    place = len(o) // SECTOR
    o += d
    o += struct.pack('<QII', 1, 0, 3).ljust(SECTOR, b'\0')
    o += header(gd=place, desc=0, desc_size=0, **{**common, 'flags': 0x30001})
    o += bytes(SECTOR) + bytes(pad)
    open(out, 'wb').write(o)


def sparse_image(data, grain, gtes, desc):
    """data: list of grains, None for absent"""
    size = grain * SECTOR
    capacity = sum(data_len for _, data_len in data) // SECTOR
    tables = -(-len(data) // gtes)
    gt_sectors = -(-gtes * 4 // SECTOR)
    gd = 2
    first_gt = gd + -(-tables * 4 // SECTOR)
    overhead = first_gt + tables * gt_sectors
    at, gte, body = overhead, [], bytearray()
    for piece, _ in data:
        if piece is None:
            gte.append(0)
            continue
        gte.append(at)
        at += grain
        body += piece.ljust(size, b'\0')
    o = bytearray(header(capacity=capacity, grain=grain, gtes=gtes, gd=gd, overhead=overhead) + desc(capacity))
    o += table([first_gt + i * gt_sectors for i in range(tables)], tables)
    for i in range(tables):
        o += table(gte[i * gtes:(i + 1) * gtes], gtes)
    return o + body


def sparse(raw, out, grain, gtes):
    data = open(raw, 'rb').read()
    size = grain * SECTOR
    pieces = [data[i:i + size] for i in range(0, len(data), size)]
    grains = [(None if p.count(0) == len(p) else p, len(p)) for p in pieces]
    open(out, 'wb').write(sparse_image(grains, grain, gtes, lambda c: descriptor(c, 'another-name.vmdk', 'monolithicSparse')))


def chain(directory, count):
    grain, gtes = 8, 512
    for i in range(count):
        grains = [(bytes([i % 251 + 1]) * grain * SECTOR if g == i else None, grain * SECTOR) for g in range(count)]
        name = 'link%d.vmdk' % i

        def desc(capacity):
            if i == 0:
                return descriptor(capacity, name, 'monolithicSparse', cid=1000)
            return descriptor(capacity, name, 'monolithicSparse', 1000 + i, 999 + i, 'link%d.vmdk' % (i - 1))
        open(os.path.join(directory, name), 'wb').write(sparse_image(grains, grain, gtes, desc))


def main(argv):
    if argv[1:2] == ['stream']:
        def option(name, default):
            return int(argv[argv.index(name) + 1]) if name in argv else default
        stream(argv[2], argv[3], option('--pad', 0), option('--overhead', 128), '--short-last' in argv)
    elif argv[1:2] == ['chain']:
        chain(argv[2], int(argv[3]))
    elif argv[1:2] == ['sparse']:
        sparse(argv[2], argv[3], int(argv[4]), int(argv[5]))
    else:
        sys.exit(__doc__)


main(sys.argv)
