#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes what tests/run-mutations damages and qemu-img doesn't make.

    make-content.py CONTENT BASE                        a disk of 4 MiB, no two of whose sectors are alike but for those
                                                        of zeros: noise, holes and text; and one with half of its data
    make-content.py --vhdx-child BASE OUT               what make-vhdx.py's child reads as on BASE
    make-content.py --vhd-child PARENT CONTENT BASE OUT a differencing VHD on PARENT, which has BASE: reads as CONTENT
    make-content.py --ovf DISK OUT                      a description of a machine with that disk
"""
import random
import struct
import sys
import uuid

SECTOR, MIB, BLOCK = 512, 1 << 20, 2 << 20


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def text(first, count):
    return b"".join((b"sector %06d of a text that can be compressed; " % i * 11)[:SECTOR].ljust(SECTOR, b".")
                    for i in range(first, first + count))


def content(path, base):
    r = random.Random(1)
    b = bytearray(4 * MIB)
    for at, data in (0, r.randbytes(200 * SECTOR)), (1100000 // SECTOR * SECTOR, text(0, 300)), \
                    (3 * MIB - 50 * SECTOR, r.randbytes(150 * SECTOR)), (3 * MIB + 500 * SECTOR, text(300, 200)):
        b[at:at + len(data)] = data
    write(path, b)
    b[:MIB + 200 * SECTOR] = bytes(MIB + 200 * SECTOR)
    write(base, b)


def vhdx_child(base, out):
    b = bytearray(read(base))
    b[:MIB] = b"C" * MIB
    for s in *range(8), 9:
        b[MIB + s * SECTOR:MIB + (s + 1) * SECTOR] = b"P" * SECTOR
    b[2 * MIB:3 * MIB] = bytes(MIB)
    write(out, b)


def summed(b, at):
    b[at:at + 4] = bytes(4)
    b[at:at + 4] = struct.pack(">I", ~sum(b) & 0xffffffff)
    return bytes(b)


def vhd_child(parent, path, base, out):
    new, old, above = read(path), read(base), read(parent)[-SECTOR:]
    foot = bytearray(above)
    foot[16:24] = struct.pack(">Q", SECTOR)
    foot[60:64] = struct.pack(">I", 4)
    foot[68:84] = uuid.UUID(int=1).bytes
    blocks = -(-len(new) // BLOCK)
    name = parent.encode("utf-16-le")
    head = bytearray(1024)
    head[:60] = struct.pack(">8sQQIIII16sI", b"cxsparse", 2**64 - 1, 1536, 0x10000, blocks, BLOCK, 0, above[68:84], 0)
    head[64:64 + 2 * len(parent)] = parent.encode("utf-16-be")
    head[576:600] = struct.pack(">4sIIIQ", b"W2ru", SECTOR, len(name), 0, 1536 + SECTOR)
    bat, data = bytearray(b"\xff" * SECTOR), b""
    for block in range(blocks):
        bitmap, body = bytearray(SECTOR), bytearray(BLOCK)
        for s in range(BLOCK // SECTOR):
            at = block * BLOCK + s * SECTOR
            if new[at:at + SECTOR] != old[at:at + SECTOR]:
                bitmap[s // 8] |= 0x80 >> s % 8
                body[s * SECTOR:(s + 1) * SECTOR] = new[at:at + SECTOR]
        if any(bitmap):
            bat[block * 4:block * 4 + 4] = struct.pack(">I", 1536 // SECTOR + 2 + len(data) // SECTOR)
            data += bitmap + body
    foot, head = summed(foot, 64), summed(head, 36)
    write(out, foot + head + bat + name.ljust(SECTOR, b"\0") + data + foot)


def ovf(disk, out):
    write(out, f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="file1" ovf:href="{disk}"/></References>
 <DiskSection><Info>disks</Info><Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="4" ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>
 <VirtualSystem ovf:id="vm"><Info>a machine</Info><VirtualHardwareSection><Info>hardware</Info>
  <Item><rasd:InstanceID>3</rasd:InstanceID><rasd:ResourceType>6</rasd:ResourceType><rasd:Address>0</rasd:Address></Item>
  <Item><rasd:InstanceID>4</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:Parent>3</rasd:Parent>
   <rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/disk1</rasd:HostResource></Item>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>
""".encode())


def main(args):
    jobs = {"--vhdx-child": vhdx_child, "--vhd-child": vhd_child, "--ovf": ovf}
    if args[:1] and args[0] in jobs:
        jobs[args[0]](*args[1:])
    elif len(args) == 2:
        content(*args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
