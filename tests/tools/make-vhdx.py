#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes VHDX files that qemu-img doesn't make; after [MS-VHDX], sharing no code with the reader.

    make-vhdx.py raw RAW OUT [--sector 4096]      dynamic, blocks of 1 MiB, blocks of zeros left out
    make-vhdx.py child PARENT OUT PATH [--id GUID | --key KEY]
                                                  differencing, blocks of 1 MiB: block 0 all 'C'; of block 1 the
                                                  sectors 0..7 and 9 are 'P', the others the parent's; block 2 is
                                                  zeros; the others are the parent's
    make-vhdx.py chain DIR COUNT                  0.vhdx to COUNT.vhdx; the first sector of block i is link i's own, and
                                                  full of i%251+1
    make-vhdx.py dirty CLEAN OUT SECTOR           the BAT's first page only in the log, in two entries from SECTOR on
    make-vhdx.py id FILE                          its DataWriteGuid
    make-vhdx.py seeds DIR                        seeds of tests/fuzz/fuzz-vhdx.c
"""
import os
import struct
import sys
import tempfile
import uuid

MIB = 1 << 20
BAT, METADATA = '2dc27766-f623-4200-9d64-115e9bfd4a08', '8b7ca206-4790-4b9a-b8fe-575f050f886e'
PARAMS, SIZE = 'caa16737-fa36-4d43-b3b6-33f0aa44e76b', '2fa54224-cd1b-4876-b211-5dbed83bf4b8'
DISK_ID, PARENT = 'beca12ab-b2e6-4523-93ef-c309e000c746', 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c'
LOGICAL, PHYSICAL = '8141bf1d-a96f-4709-ba47-f233a8faab5f', 'cda348c7-445d-4471-9cc9-e9885251c556'
LOCATOR = 'b04aefb7-d19e-4a81-b789-25b8e9445913'
LOG_GUID = uuid.UUID('11111111-2222-3333-4444-555555555555').bytes_le


def crc32c(data, table=[]):
    if not table:
        for i in range(256):
            c = i
            for _ in range(8):
                c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
            table.append(c)
    crc = 0xffffffff
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def guid(text):
    return uuid.UUID(text).bytes_le


def seal(block):
    block = block[:4] + bytes(4) + block[8:]
    return block[:4] + struct.pack('<I', crc32c(block)) + block[8:]


def header(sequence, data_write, log_guid=bytes(16), log=(MIB, MIB)):
    h = b'head' + struct.pack('<IQ', 0, sequence) + bytes(16) + data_write + log_guid
    h += struct.pack('<HHIQ', 0, 1, log[1], log[0])
    return seal(h.ljust(4096, b'\0'))


def region_table(bat_length):
    t = b'regi' + struct.pack('<III', 0, 2, 0)
    t += guid(BAT) + struct.pack('<QII', 3 * MIB, bat_length, 1)
    t += guid(METADATA) + struct.pack('<QII', 2 * MIB, MIB, 1)
    return seal(t.ljust(65536, b'\0'))


def locator(pairs):
    at, entries, text = 20 + 12 * len(pairs), b'', b''
    for pair in pairs:
        k, v = (s.encode('utf-16-le') for s in pair)
        entries += struct.pack('<IIHH', at + len(text), at + len(text) + len(k), len(k), len(v))
        text += k + v
    return guid(LOCATOR) + struct.pack('<HH', 0, len(pairs)) + entries + text


def metadata(size, block, sector, pairs):
    items = [(PARAMS, struct.pack('<II', block, 2 if pairs else 0), 4), (SIZE, struct.pack('<Q', size), 6),
             (DISK_ID, bytes(range(16)), 6), (LOGICAL, struct.pack('<I', sector), 6),
             (PHYSICAL, struct.pack('<I', 4096), 6)]
    if pairs:
        items.append((PARENT, locator(pairs), 4))
    table, data = b'metadata' + struct.pack('<HH', 0, len(items)) + bytes(20), b''
    for name, value, flags in items:
        table += guid(name) + struct.pack('<IIII', 65536 + len(data), len(value), flags, 0)
        data += value
    return table.ljust(65536, b'\0') + data


def write(out, size, sector, bat, blocks, pairs=None, data_write=b'\xda' * 16):
    """bat: {index: entry}, blocks: a list of MiB, which follow the BAT."""
    entries = 8 * (size // MIB + size // (sector << 23) + 2)
    bat_length = (entries // MIB + 1) * MIB
    with open(out, 'wb') as f:
        f.write(b'vhdxfile')
        for at, what in ((65536, header(1, data_write)), (131072, header(2, data_write)),
                         (196608, region_table(bat_length)), (262144, region_table(bat_length)),
                         (2 * MIB, metadata(size, MIB, sector, pairs))):
            f.seek(at)
            f.write(what)
        for i, (place, state) in bat.items():
            f.seek(3 * MIB + 8 * i)
            f.write(struct.pack('<Q', (0 if place is None else 3 * MIB + bat_length + place * MIB) | state))
        for i, block in enumerate(blocks):
            f.seek(3 * MIB + bat_length + i * MIB)
            f.write(block)
        f.truncate(3 * MIB + bat_length + len(blocks) * MIB)


def index(block, sector):
    return block + block // ((sector << 23) // MIB)


def make_raw(raw, out, sector=512):
    bat, blocks = {}, []
    size = os.stat(raw).st_size
    with open(raw, 'rb') as f:
        for i in range(-(-size // MIB)):
            block = f.read(MIB)
            if block.count(0) < len(block):
                bat[index(i, sector)] = (len(blocks), 6)
                blocks.append(block)
    write(out, size, sector, bat, blocks)


class Reader:
    """The little that is needed of an existing file."""

    def __init__(self, path):
        self.f = open(path, 'rb')
        self.headers = [self.at(at, 4096) for at in (65536, 131072)]
        self.current = max(self.headers, key=lambda h: struct.unpack_from('<Q', h, 8))
        self.data_write = self.current[32:48]
        table = self.at(196608, 65536)
        self.regions = {table[16 + 32 * i:32 + 32 * i]: struct.unpack_from('<QI', table, 32 + 32 * i)
                        for i in range(struct.unpack_from('<I', table, 8)[0])}

    def at(self, offset, n):
        self.f.seek(offset)
        return self.f.read(n)

    def item(self, name):
        start = self.regions[guid(METADATA)][0]
        table = self.at(start, 65536)
        for i in range(struct.unpack_from('<H', table, 10)[0]):
            e = 32 + 32 * i
            if table[e:e + 16] == guid(name):
                offset, length = struct.unpack_from('<II', table, e + 16)
                return self.at(start + offset, length)
        raise KeyError(name)


def make_child(parent, out, path, link=None, key='relative_path', also=()):
    p = Reader(parent)
    size, = struct.unpack('<Q', p.item(SIZE))
    sector, = struct.unpack('<I', p.item(LOGICAL))
    pairs = [('parent_linkage', '{%s}' % (link or uuid.UUID(bytes_le=p.data_write))), (key, path)]
    pairs += [tuple(pair.split('=', 1)) for pair in also]
    bitmap, first = bytearray(MIB), MIB // sector // 8
    bitmap[first:first + 2] = b'\xff\x02'
    bat = {0: (0, 6), 1: (1, 7), 2: (None, 2), (sector << 23) // MIB: (2, 6)}
    write(out, size, sector, bat, [b'C' * MIB, b'P' * MIB, bytes(bitmap)], pairs, b'\xcd' * 16)


def make_chain(directory, count):
    size = (count + 1) * MIB
    for i in range(count + 1):
        block, bitmap = (bytes([i % 251 + 1]) * 512).ljust(MIB, b'\0'), bytearray(MIB)
        bitmap[i * MIB // 512 // 8] = 1
        write_id = uuid.UUID(int=i + 1)
        pairs = [('parent_linkage', '{%s}' % uuid.UUID(int=i)), ('relative_path', '%d.vhdx' % (i - 1))] if i else None
        bat = {index(i, 512): (0, 7 if i else 6)}
        if i:
            bat[(512 << 23) // MIB] = (1, 6)
        write(os.path.join(directory, '%d.vhdx' % i), size, 512, bat, [block, bytes(bitmap)][:2 if i else 1], pairs,
              write_id.bytes_le)


def log_entry(sequence, tail, length, patches):
    """patches: (offset, 4096 bytes or the length of zeros)"""
    descriptors, data = b'', b''
    for offset, what in patches:
        if isinstance(what, int):
            descriptors += b'zero' + struct.pack('<IQQQ', 0, what, offset, sequence)
        else:
            descriptors += b'desc' + what[-4:] + what[:8] + struct.pack('<QQ', offset, sequence)
            data += b'data' + struct.pack('<I', sequence >> 32) + what[8:-4] + struct.pack('<I', sequence & 0xffffffff)
    n = -(-(64 + len(descriptors)) // 4096) * 4096
    e = b'loge' + struct.pack('<IIIQII', 0, n + len(data), tail, sequence, len(patches), 0) + LOG_GUID
    e += struct.pack('<QQ', length, length)
    return seal((e + descriptors).ljust(n, b'\0') + data)


def make_dirty(clean, out, sector):
    r = Reader(clean)
    length = os.stat(clean).st_size
    log_length, log_at = struct.unpack_from('<IQ', r.current, 68)
    bat = r.regions[guid(BAT)][0]
    page = r.at(bat, 4096)
    # first a page of rubbish and one of zeros over what follows, then the true page
    first = log_entry(8, sector * 4096, length, [(bat, b'\xff' * 4096), (bat + 4096, 8192)])
    second = log_entry(9, sector * 4096, length, [(bat, page)])
    with open(clean, 'rb') as f, open(out, 'wb') as o:
        for at in range(0, length, MIB):
            block = f.read(MIB)
            if block.count(0) < len(block):
                o.seek(at)
                o.write(block)
        o.truncate(length)
        for i in range(0, len(first + second), 4096):
            o.seek(log_at + (sector * 4096 + i) % log_length)
            o.write((first + second)[i:i + 4096])
        o.seek(bat)
        o.write(bytes(4096))
        for i, h in enumerate(r.headers):
            o.seek(65536 * (i + 1))
            o.write(seal(h[:48] + LOG_GUID + h[64:]))


def seed(path, out):
    """A file as the fuzz target wants it: a byte of flags, then page (u16), offset in it (u16), length (u16), bytes."""
    with open(path, 'rb') as f, open(out, 'wb') as o:
        o.write(b'\1')
        page = 0
        while data := f.read(4096):
            start = len(data) - len(data.lstrip(b'\0'))
            part = data.strip(b'\0')
            if len(set(part)) == 1:
                part = part[:16]
            if part and page < 2048:
                o.write(struct.pack('<HHH', page, start, len(part)) + part)
            page += 1


def make_seeds(out):
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as d:
        raw, plain, child, dirty = (os.path.join(d, n) for n in ('raw', 'plain', 'child', 'dirty'))
        with open(raw, 'wb') as f:
            f.write(b'A'.ljust(MIB, b'\0') + bytes(MIB) + b'B'.ljust(MIB, b'\0'))
        make_raw(raw, plain)
        make_child(plain, child, '.\\plain')
        make_dirty(plain, dirty, 254)
        for name in ('plain', 'child', 'dirty'):
            seed(os.path.join(d, name), os.path.join(out, name))
        make_raw(raw, plain, 4096)
        make_child(plain, child, '.\\plain')
        seed(child, os.path.join(out, 'child-4096'))


def main(args):
    if args[0] == 'raw':
        make_raw(args[1], args[2], int(args[4]) if len(args) > 3 else 512)
    elif args[0] == 'child':
        options = dict(zip(args[4::2], args[5::2]))
        also = [value for name, value in zip(args[4::2], args[5::2]) if name == '--also']
        make_child(args[1], args[2], args[3], options.get('--id'), options.get('--key', 'relative_path'), also)
    elif args[0] == 'chain':
        make_chain(args[1], int(args[2]))
    elif args[0] == 'dirty':
        make_dirty(args[1], args[2], int(args[3]))
    elif args[0] == 'id':
        print(uuid.UUID(bytes_le=Reader(args[1]).data_write))
    elif args[0] == 'seeds':
        make_seeds(args[1])
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main(sys.argv[1:])
