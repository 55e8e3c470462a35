#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes VMDKs that qemu-img doesn't make, from a raw file or of nothing.

    make-vmdk.py stream RAW OUT [--pad BYTES] [--overhead SECTORS] [--short-last] [--gtes N]
                                                  stream-optimized, tables at the end, footer, markers
    make-vmdk.py chain DIR COUNT                  COUNT links; link i has the byte i%251+1 in its own grain i
    make-vmdk.py sparse RAW OUT GRAIN GTES        hosted sparse of any geometry, without redundant tables
    make-vmdk.py deltas KIND GRAIN SECTORS DIR    a flat base and three snapshots of ESXi's on it, KIND cowd or sesparse:
                                                  DIR/vm.vmdk, vm-000001.vmdk to vm-000003.vmdk and their extents; and
                                                  DIR/N.raw, what each of the four must read as
    make-vmdk.py tiny KIND OUT                    one extent of a few KiB, a seed for the fuzzers
"""
import os
import random
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


def stream(raw, out, pad=0, overhead=128, short_last=False, gtes=512):
    data = open(raw, 'rb').read()
    capacity, grain = len(data) // SECTOR, 128
    size = grain * SECTOR
    common = dict(version=3, flags=0x30001, capacity=capacity, algorithm=1, overhead=overhead, gtes=gtes)
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


def cowd(grains, capacity, grain):
    """grains: {number: bytes}. Tables and grains come in the order in which they were first written to."""
    tables = -(-capacity // (4096 * grain))
    gd, gts, at = [0] * tables, {}, 4 + -(-tables * 4 // SECTOR)
    body = {}
    for g, data in grains.items():
        t = g // 4096
        if t not in gts:
            gd[t], gts[t] = at, [0] * 4096
            at += 32
        gts[t][g % 4096] = at
        body[at] = data
        at += grain
    o = bytearray(at * SECTOR)
    o[:32] = b'COWD' + struct.pack('<7I', 1, 3, capacity, grain, 4, tables, at)
    struct.pack_into('<%dI' % tables, o, 4 * SECTOR, *gd)
    for t, entries in gts.items():
        struct.pack_into('<4096I', o, gd[t] * SECTOR, *entries)
    for place, data in body.items():
        o[place * SECTOR:place * SECTOR + len(data)] = data
    return o


def sesparse(grains, capacity, first=0):
    """grains: {number: bytes, or 1 for unmapped, 2 for zeros}. Places of tables and of grains are given backwards, those
    of grains from `first` on."""
    needed = -(-capacity // (4096 * 8))
    present = sorted({g // 4096 for g in grains}, reverse=True)
    stored = [g for g in grains if not isinstance(grains[g], int)]
    gd_size = -(-needed * 8 // SECTOR)
    gd_at, gts_at = 8, 8 + gd_size
    grains_at = -(-(gts_at + 64 * max(1, len(present))) // 8) * 8
    count = first + max(len(stored), 1)
    o = bytearray((grains_at + 8 * count) * SECTOR)
    fields = [0xcafebabe, 0x200000001, capacity, 8, 64, 0, 0, 0, 0, 0, 1, 1, 2, 1, 3, 5, gd_at, gd_size, gts_at,
              64 * max(1, len(present)), grains_at, 0, grains_at, 0, grains_at, 8 * count]
    struct.pack_into('<26Q', o, 0, *fields)
    struct.pack_into('<4Q', o, SECTOR, 0xcafecafe, len(present), 1, 0)
    for i, t in enumerate(present):
        struct.pack_into('<Q', o, gd_at * SECTOR + t * 8, 1 << 60 | i)
    for g, data in grains.items():
        if isinstance(data, int):
            entry = data << 60
        else:
            number = count - 1 - stored.index(g)
            entry = 3 << 60 | (number & 0xfff) << 48 | number >> 12
            at = (grains_at + 8 * number) * SECTOR
            o[at:at + len(data)] = data
        struct.pack_into('<Q', o, (gts_at + 64 * present.index(g // 4096)) * SECTOR + g % 4096 * 8, entry)
    return o


def pick_grains(r, total, grain, unmapped):
    """Numbers of grains that a snapshot has: runs, scattered ones, the last one; {number: bytes or 1 or 2}"""
    picked = {}
    for i in range(60):
        first, n = r.randrange(total), r.choice([1, 1, 3, 40])
        kind = r.choice([1, 2]) if unmapped and i % 4 == 0 else 3
        for g in range(first, min(first + n, total)):
            picked[g] = kind if kind != 3 else r.randbytes(grain * SECTOR)
    picked[total - 1] = r.randbytes(grain * SECTOR)
    return picked


def deltas(kind, grain, sectors_, directory):
    r = random.Random(sectors_)
    disk = bytearray(sectors_ * SECTOR)
    for _ in range(50):
        at = r.randrange(len(disk))
        disk[at:at + 3000] = b'base'[:len(disk) - at] * (min(3000, len(disk) - at) // 4)
    disk = disk[:sectors_ * SECTOR].ljust(sectors_ * SECTOR, b'\0')

    def put(name, data):
        open(os.path.join(directory, name), 'wb').write(data)

    def text(i, type_, extent, line):
        hint = 'vm-%06d.vmdk' % (i - 1) if i > 1 else 'vm.vmdk'
        parent = 'parentFileNameHint="%s"\n' % hint if i else ''
        put('vm-%06d.vmdk' % i if i else 'vm.vmdk',
            ('# Disk DescriptorFile\nversion=1\nencoding="UTF-8"\nCID=%08x\nparentCID=%s\nisNativeSnapshot="no"\n'
             'createType="%s"\n%s# Extent description\nRW %d %s "%s"\n\n# The Disk Data Base\n#DDB\n'
             % (0xab0 + i, '%08x' % (0xab0 + i - 1) if i else 'ffffffff', type_, parent, sectors_, line, extent)).encode())

    text(0, 'vmfs', 'vm-flat.vmdk', 'VMFS')
    put('vm-flat.vmdk', disk)
    put('0.raw', disk)
    for i in range(1, 4):
        grains = pick_grains(r, -(-sectors_ // grain), grain, kind == 'sesparse')
        for g, data in grains.items():
            piece = bytes(grain * SECTOR) if isinstance(data, int) else data
            at = g * grain * SECTOR
            disk[at:at + len(piece)] = piece[:len(disk) - at]
        if kind == 'cowd':
            text(i, 'vmfsSparse', 'vm-%06d-delta.vmdk' % i, 'VMFSSPARSE')
            put('vm-%06d-delta.vmdk' % i, cowd(grains, sectors_, grain))
        else:
            text(i, 'seSparse', 'vm-%06d-sesparse.vmdk' % i, 'SESPARSE')
            put('vm-%06d-sesparse.vmdk' % i, sesparse(grains, sectors_, 4000))
        put('%d.raw' % i, disk)


def tiny(kind, out):
    if kind == 'cowd':
        grains = {2: b'2' * 512, 3: b'3' * 512, 1: b'1' * 512, 4101: b'x' * 512}
        data = cowd(grains, 4102, 1)
    else:
        data = sesparse({0: b'0' * 4096, 1: 1, 2: 2, 4: b'4' * 4096}, 8 * 4 + 3)
    open(out, 'wb').write(data)


def main(argv):
    if argv[1:2] == ['stream']:
        def option(name, default):
            return int(argv[argv.index(name) + 1]) if name in argv else default
        stream(argv[2], argv[3], option('--pad', 0), option('--overhead', 128), '--short-last' in argv, option('--gtes', 512))
    elif argv[1:2] == ['chain']:
        chain(argv[2], int(argv[3]))
    elif argv[1:2] == ['sparse']:
        sparse(argv[2], argv[3], int(argv[4]), int(argv[5]))
    elif argv[1:2] == ['deltas']:
        deltas(argv[2], int(argv[3]), int(argv[4]), argv[5])
    elif argv[1:2] == ['tiny']:
        tiny(argv[2], argv[3])
    else:
        sys.exit(__doc__)


main(sys.argv)
