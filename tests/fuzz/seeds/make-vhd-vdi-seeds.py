#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the seeds of fuzz-vhd and fuzz-vdi anew, in the directories vhd and vdi beside this file."""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
BLOCK = 4096


def text(n):
    return (b"The quick brown fox jumps over the lazy dog. " * (n // 45 + 1))[:n]


def save(kind, name, data):
    with open(os.path.join(HERE, kind, name), "wb") as f:
        f.write(data)


def summed(data, field):
    rest = data[:field] + b"\0\0\0\0" + data[field + 4:]
    return rest[:field] + struct.pack(">I", ~sum(rest) & 0xFFFFFFFF) + rest[field + 4:]


def footer(kind, size, creator=b"win "):
    where = 0xFFFFFFFFFFFFFFFF if kind == 2 else 512
    data = struct.pack(">8sIIQI4sI4sQQHBBII16s", b"conectix", 2, 0x10000, where, 0, creator, 0x60002, b"Wi2k", size,
                       size, 2, 1, 17, kind, 0, bytes(range(16)))
    return summed(data.ljust(512, b"\0"), 64)


def vhd(kind, entries, bitmap, names=(), creator=b"win "):
    """entries: for each block its number in the file, or None."""
    stored = sum(e is not None for e in entries)
    first = 2048 + 512
    header = struct.pack(">8sQQIIII16sII", b"cxsparse", 0xFFFFFFFFFFFFFFFF, 1536, 0x10000, len(entries), BLOCK, 0,
                         b"\xcd" * 16 if kind == 4 else b"\0" * 16, 0, 0)
    header += ("parent.vhd" if kind == 4 else "").encode("utf-16-be").ljust(512, b"\0")
    area = b""
    for code, name in names:
        name = name.encode("utf-16-le")
        header += struct.pack(">4sIIIQ", code, 512, len(name), 0, 2048 + len(area))
        area += name
    header = summed(header.ljust(1024, b"\0"), 36)
    bat = b"".join(struct.pack(">I", 0xFFFFFFFF if e is None else (first + e * (512 + BLOCK)) // 512) for e in entries)
    size = len(entries) * BLOCK - 1024
    data = footer(kind, size, creator) + header + bat.ljust(512, b"\xff") + area.ljust(512, b"\0")
    return data + (bitmap.ljust(512, b"\xff") + text(BLOCK)) * stored + footer(kind, size, creator)


def vdi(kind, entries, extra=0):
    stored = max([e for e in entries if e < 0xFFFFFFFE], default=-1) + 1
    data = b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0")
    data += struct.pack("<IIIII256sIIIIIIIQIIII", 0xBEDA107F, 0x10001, 0x190, kind, 0, b"", 512, 1024, 0, 0, 0, 512, 0,
                        len(entries) * BLOCK - 100, BLOCK, extra, len(entries), stored)
    data = (data + bytes(range(16))).ljust(512, b"\0")
    data += struct.pack("<%dI" % len(entries), *entries)
    return data.ljust(1024, b"\0") + (b"\0" * extra + text(BLOCK)) * stored


for directory in ("vhd", "vdi"):
    os.makedirs(os.path.join(HERE, directory), exist_ok=True)
DYNAMIC = vhd(3, [1, None, None, 0, 2, None], b"\xff")
save("vhd", "fixed", text(4 * 512) + footer(2, 4 * 512))
save("vhd", "fixed-geometry", text(40 * 512) + footer(2, 40 * 512, b"vpc "))
save("vhd", "dynamic", DYNAMIC)
save("vhd", "no-footer", DYNAMIC[:-512])
save("vhd", "short-footer", DYNAMIC[:-1])
save("vhd", "differencing", vhd(4, [0, None, 1], b"\x0f\xf0",
                                [(b"W2ku", "C:\\images\\parent.vhd"), (b"W2ru", ".\\pärent.vhd")]))
save("vdi", "dynamic", vdi(1, [1, 0xFFFFFFFF, 0xFFFFFFFE, 0]))
save("vdi", "fixed", vdi(2, [0, 1, 2]))
save("vdi", "extra", vdi(1, [0xFFFFFFFF, 0, 0xFFFFFFFF], 512))
save("vdi", "differencing", vdi(4, [0, 0xFFFFFFFF]))
