#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the seeds of fuzz-hive, fuzz-hive-log and fuzz-hive-edit out of small hives:   make-hive-seeds.py DIR HIVE...

The hives are those that test-hive-edits leaves of its empty ones: FERRYFS_HIVE_EDITS=150 FERRYFS_HIVE_SEED=3 FERRYFS_HIVE_DUMP=DIR."""
import os
import struct
import sys


def put(name, data):
    path = os.path.join(sys.argv[1], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def dirty(base):
    first = struct.unpack_from("<I", base, 4)[0]
    return base[:4] + struct.pack("<II", first, first - 1) + base[12:]


for path in sys.argv[2:]:
    with open(path, "rb") as f:
        hive = f.read()
    name = os.path.basename(path).rsplit(".", 1)[0].replace(" ", "-")
    base, bins = hive[:512], hive[4096:]
    put("hive/" + name, base + bins)
    edits = b"".join(bytes((k, k * 7 & 255, k * 3 & 255, k * 11 & 255, k * 40 & 255, k % 3)) for k in range(20))
    put("hive-edit/" + name, bytes([20]) + edits + base + bins)
    sequence = struct.unpack_from("<I", base, 4)[0]
    size = struct.unpack_from("<I", base, 40)[0]
    # A new log that writes the first page back in two entries; the second log has the second entry.
    heads = []
    for i in range(2):
        page = bins[:4096]
        body = struct.pack("<4sIIIIIQQ", b"HvLE", 4608, 0, sequence + i, size, 1, 0, 0) + struct.pack("<II", 0, 4096) + page
        head = base[:4] + struct.pack("<II", sequence + i, sequence + i) + base[12:28] + struct.pack("<I", 6) + base[32:]
        heads.append(head + body.ljust(4608, b"\0"))
    primary = dirty(base) + bins
    if len(primary) < 65536:
        put("hive-log/new-" + name, struct.pack("<BHH", 4, len(primary), len(heads[0])) + primary + heads[0] + heads[1])
    # An old log whose second page is dirty.
    head = base[:28] + struct.pack("<I", 1) + base[32:]
    bits = bytearray(size // 4096)
    bits[0] = 0x0F
    old = head + (b"DIRT" + bytes(bits)).ljust(512, b"\0") + bins[:2048]
    if len(primary) < 65536:
        put("hive-log/old-" + name, struct.pack("<BHH", 0, len(primary), len(old)) + primary + old)
