#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the seeds of fuzz-jbd2, fuzz-lznt1, fuzz-inspect, fuzz-ntfs, fuzz-detect and fuzz-gpt-move: make-more-seeds.py DIR"""
import os
import struct
import sys

BLOCK, MAGIC = 1024, 0xC03B3998


def put(name, data):
    path = os.path.join(sys.argv[1], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def block(kind, tid, body=b""):
    return (struct.pack(">III", MAGIC, kind, tid) + body).ljust(BLOCK, b"\0")


def journal(incompat, tag):
    """Two transactions: blocks 5 and 7, a revoke of 7, then block 9."""
    s = struct.pack(">IIIIIIIII", MAGIC, 4, 0, BLOCK, 64, 1, 1, 1, 0) + struct.pack(">II", 0, incompat)
    s = (s.ljust(0x30, b"\0") + b"0123456789abcdef").ljust(0x50, b"\0") + (b"\4" if incompat & 0x18 else b"\0")
    log = block(1, 1, tag(5, 0) + bytes(16) + tag(7, 8 | 2)) + b"five".ljust(BLOCK, b"5") + b"sevn".ljust(BLOCK, b"7") + block(2, 1)
    log += block(5, 2, struct.pack(">II", 20 if not incompat & 2 else 24, 7) if not incompat & 2 else struct.pack(">IQ", 24, 7))
    log += block(1, 2, tag(9, 0) + bytes(16) + tag(11, 8 | 2)) + b"nine".ljust(BLOCK, b"9") + b"elev".ljust(BLOCK, b"e") + block(2, 2)
    return s.ljust(BLOCK, b"\0") + log


put("jbd2/plain", b"\0" + journal(1, lambda n, f: struct.pack(">IHH", n, 0, f)))
put("jbd2/64bit", b"\0" + journal(3, lambda n, f: struct.pack(">IHHI", n, 0, f, 0)))
put("jbd2/checksum3", b"\1" + journal(0x13, lambda n, f: struct.pack(">IIII", n, f, 0, 0)))

put("lznt1/text", b"\x0f\xb0" + b"\0abcdefgh" + b"\x01\x05\x70ijklm" + b"\0\0")
put("lznt1/stored", b"\x03\x30abcd\0\0")

put("inspect/debian", b'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n\0# a comment\nUUID=1111 / ext4 defaults 0 1\n'
    b"LABEL=boot\t/boot ext4 ro 0 2\nUUID=AAAA-BBBB /boot/efi vfat umask=077 0 1\n/dev/sda2 /b\\377 ext4 noauto\n"
    b"tmpfs /tmp tmpfs\n\0../../boot/../etc/os-release")
put("inspect/windows", b"\0/dev/disk/by-partuuid/1-2 /x ext4 bind\n\0//?/Volume{0}/../C:/Users")

put("ntfs/boot", struct.pack("<HHB", 0, 0x30, 8) + struct.pack("<Q", 4))
put("ntfs/record", struct.pack("<HHB", 32, 0x14, 4) + struct.pack("<HH", 56, 3) + struct.pack("<HHB", 34, 64, 2) + b"\x80\0")

put("detect/text", b"\0# Disk DescriptorFile\nversion=1\n")
put("detect/qcow2", b"\2QFI\xfb" + struct.pack(">I", 3).ljust(600, b"\0"))
put("detect/footer", b"\3" + bytes(512) + b"conectix".ljust(512, b"\0"))
put("detect/vdi", b"\5" + b"<<< ".ljust(64, b"\0") + struct.pack("<I", 0xbeda107f).ljust(512, b"\0"))
put("detect/gzip", b"\6\x1f\x8b\x08\0".ljust(64, b"\0"))


def gpt(sectors):
    """Two partitions that fill the disk; the checksums are left to the fuzzer."""
    d = bytearray(b"".join(b"sector%02d" % i + bytes(504) for i in range(sectors)))
    d[:4 * 512] = bytes(4 * 512)
    d[450] = 0xee
    struct.pack_into("<II", d, 454, 1, sectors - 1)
    d[510:512] = b"\x55\xaa"
    d[512:524] = b"EFI PART\0\0\1\0"
    struct.pack_into("<I", d, 524, 92)
    struct.pack_into("<QQQQ", d, 536, 1, sectors - 1, 4, sectors - 4)
    struct.pack_into("<QII", d, 584, 2, 8, 128)
    for i, (first, last) in enumerate([(4, 7), (8, sectors - 4)]):
        struct.pack_into("<16s16sQQQ4s", d, 1024 + i * 128, bytes(range(16)), bytes([i + 1] * 16), first, last, 0, b"a\0b\0")
    return bytes(d)


put("gpt-move/two", b"\x0f" + gpt(24))
