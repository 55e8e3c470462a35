#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the seeds of fuzz-tar in the directory `tar` beside this script. Run again only to change them."""
import io
import os
import tarfile

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tar")


def archive(name, fmt, members):
    with tarfile.open(os.path.join(here, name), "w", format=fmt) as t:
        for path, data, kind in members:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            info.type = kind
            if kind == tarfile.SYMTYPE:
                info.linkname = "a.ovf"
            t.addfile(info, io.BytesIO(data))


REG, DIR, SYM = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE
plain = [("a.ovf", b"<Envelope/>", REG), ("x.vmdk", b"KDMV" * 200, REG)]
long_names = [("d" * 90 + "/" + "f" * 60, b"long", REG), ("./a.ovf", b"<Envelope/>", REG)]
mixed = [("vm", b"", DIR), ("vm/a.ovf", b"x", REG), ("vm/l", b"", SYM), ("vm/a.ovf", b"y", REG)]
for fmt, suffix in ((tarfile.USTAR_FORMAT, "ustar"), (tarfile.GNU_FORMAT, "gnu"), (tarfile.PAX_FORMAT, "pax")):
    archive("plain-" + suffix, fmt, plain)
    archive("long-" + suffix, fmt, long_names)
    archive("mixed-" + suffix, fmt, mixed)
path = os.path.join(here, "pax-umlaut")
archive("pax-umlaut", tarfile.PAX_FORMAT, [("gr\u00fc\u00df" * 40, b"x", REG)])
for name in os.listdir(here):  # tarfile pads to 10 KiB
    path = os.path.join(here, name)
    with open(path, "rb") as f:
        data = f.read().rstrip(b"\0")
    with open(path, "wb") as f:
        f.write(data + b"\0" * (-len(data) % 512 + 1024))
