#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads every disk image of the corpus by ferryfs and by programs that we didn't write, for tests/e2e/differential.sh:

    differential.py PROGRAM CORPUS SCRATCH TABLE    prints `ok FILE READER` or `FAILED FILE READER: what` for each

Readers are qemu-img, 7z, and libyal's vmdkmount, vhdimount and qcowmount; those that aren't installed are said and
left out. What a reader gives is one of
    same       the same bytes, or both refuse
    refuses    it refuses or fails, and ferryfs reads
    reads      it reads, and ferryfs refuses
    size       the same bytes as far as both go, and another size
    differs    other bytes
TABLE has a row for each answer that isn't `same`, with the reason: `file | reader | answer | why`. An answer that isn't in
the table is a failure, and so is a row whose answer is no longer given."""
import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import corpus

WHOLE = 1 << 30  # bytes of a disk that readers without holes are made to read
LIMIT = 90  # seconds
QEMU = {"vmdk": "vmdk", "qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi"}
SEVEN = {"vmdk": "VMDK", "qcow2": "QCOW", "vhd": "VHD", "vdi": "VDI"}  # p7zip 16 has no VHDX
YAL = {"vmdk": ("vmdkmount", "vmdk1"), "qcow2": ("qcowmount", "qcow1"), "vhd": ("vhdimount", "vhdi1"),
       "vhdx": ("vhdimount", "vhdi1")}


def run(*command, **more):
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=LIMIT,
                              **{"stdout": subprocess.DEVNULL, **more}).returncode == 0
    except subprocess.TimeoutExpired:
        return False


# ---- readers: each gives the path of what it reads, or None ----

def qemu(kind, image, out):
    if kind == "vhdx":  # a log is replayed only into the file
        image = shutil.copyfile(image, out + ".copy")
        run("qemu-img", "check", "-r", "all", "-f", "vhdx", image)
    return out if run("qemu-img", "convert", "-f", QEMU[kind], "-O", "raw", image, out) else None


def seven(kind, image, out):
    with open(out, "wb") as f:
        return out if run("7z", "e", "-so", "-t" + SEVEN[kind], image, stdout=f) else None


class Yal:
    """A mount of libyal's, as long as it is compared with."""

    def __init__(self, kind, image, at):
        program, name = YAL[kind]
        os.makedirs(at, exist_ok=True)
        self.at, self.path = at, f"{at}/{name}"
        self.ok = run(program, image, at) and os.path.exists(self.path)

    def end(self):
        for _ in range(100):
            if not os.path.ismount(self.at) or run("fusermount3", "-u", self.at) or run("fusermount", "-u", self.at):
                return
            time.sleep(0.05)


# ---- comparing ----

def same_bytes(ours, theirs, whole):
    """Up to the shorter one's end; `whole`: also where only they may have data."""
    a, b = os.open(ours, os.O_RDONLY), os.open(theirs, os.O_RDONLY)
    try:
        size = min(os.fstat(a).st_size, os.fstat(b).st_size)
        places = list(corpus.segments(a, size))
        if whole:
            places += corpus.segments(b, size)
        for start, length in places:
            for at, block in corpus.pread_all(a, min(length, size - start), start):
                if os.pread(b, len(block), at) != block:
                    return False
        return True
    finally:
        os.close(a)
        os.close(b)


def answer(ours, theirs, whole=True):
    if not ours or not theirs:
        return "same" if not ours and not theirs else "refuses" if ours else "reads"
    if not same_bytes(ours, theirs, whole):
        return "differs"
    return "same" if os.stat(ours).st_size == os.stat(theirs).st_size else "size"


# ---- one file ----

def extract(ova, directory):
    """The disk of an archive that has one: (kind, path)."""
    try:
        with tarfile.open(ova) as tar:
            disks = [m for m in tar if m.isreg() and m.name.rsplit(".", 1)[-1] in ("vmdk", "vdi", "vhd", "qcow2", "img")]
            if len(disks) != 1:
                return None
            os.makedirs(directory, exist_ok=True)
            path = os.path.join(directory, os.path.basename(disks[0].name))
            with open(path, "wb") as out:
                shutil.copyfileobj(tar.extractfile(disks[0]), out)
            return path.rsplit(".", 1)[-1], path
    except tarfile.TarError:
        return None


def ferryfs(program, image, at, out):
    """A copy of the disk, without its holes; None when it is refused."""
    mount = corpus.Mount(program, image, at)
    try:
        if not mount.begin():
            return None
        raw = f"{at}/disks/disk0/disk.raw"
        ok = os.path.exists(raw) and run("cp", "--sparse=always", raw, out)
        mount.end()
        return out if ok else None
    finally:
        mount.clear()


def readers(kind):
    yield from (["qemu-img"] if kind in QEMU else [])
    yield from (["7z"] if kind in SEVEN and shutil.which("7z") else [])
    yield from ([YAL[kind][0]] if kind in YAL and shutil.which(YAL[kind][0]) else [])


def answers(program, name, image, scratch):
    """Yields (reader, answer)."""
    kind, source = name.split("/", 1)[0], image
    work = f"{scratch}/work"
    os.makedirs(work)
    try:
        if kind == "ova":
            kind, image = extract(image, f"{work}/ova") or ("", image)
        ours = ferryfs(program, source, f"{scratch}/m", f"{work}/ours")
        small = not ours or os.stat(ours).st_size <= WHOLE
        for reader in readers(kind):
            out = f"{work}/theirs"
            if reader == "qemu-img":
                yield reader, answer(ours, qemu(kind, image, out))
            elif reader == "7z":
                if small:
                    yield reader, answer(ours, seven(kind, image, out))
            else:
                mount = Yal(kind, image, f"{scratch}/yal")
                try:
                    yield reader, answer(ours, mount.path if mount.ok else None, small)
                except OSError:
                    yield reader, answer(ours, None)
                finally:
                    mount.end()
            if os.path.exists(out):
                os.unlink(out)
    finally:
        shutil.rmtree(work)


def judge(program, name, image, scratch, table):
    verdicts = []
    for reader, got in answers(program, name, image, scratch):
        rows = [r for r in table if r["reader"] == reader and fnmatch.fnmatchcase(name, r["file"])]
        want = rows[0]["answer"] if rows else "same"
        for row in rows:
            row["met"] = True
        verdicts.append(f"ok {name} {reader}" if got == want else
                        f"FAILED {name} {reader}: {got}, where the table of differences has {want}")
    return verdicts


def read_table(path):
    table = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.strip() and not line.startswith("#"):
                cells = [c.strip() for c in line.split("|", 3)]
                table.append(dict(zip(("file", "reader", "answer", "why"), cells), met=False))
    return table


def main():
    program, top, scratch, path = sys.argv[1:]
    table = read_table(path)
    for directory in (*QEMU, "ova"):
        for packed in sorted(os.listdir(f"{top}/{directory}")):
            corpus.unpack(top, f"{directory}/{packed}", f"{scratch}/files")
    names = sorted(f"{d}/{f}" for d in (*QEMU, "ova") for f in os.listdir(f"{scratch}/files/{d}"))

    def one(arg):
        i, name = arg
        own = f"{scratch}/{i}"
        os.makedirs(own)
        try:
            return judge(program, name, f"{scratch}/files/{name}", own, table)
        except (corpus.Wrong, OSError, subprocess.SubprocessError) as e:
            return [f"FAILED {name}: {e}"]

    with ThreadPoolExecutor(2) as pool:
        for verdicts in pool.map(one, enumerate(names)):
            for line in verdicts:
                print(line, flush=True)
    there = {r for name in names for r in readers(name.split("/", 1)[0])} | {"qemu-img"}
    for row in table:
        if row["reader"] in there and not row["met"]:
            print(f"FAILED {row['file']} {row['reader']}: this row of the table fits no file")


if __name__ == "__main__":
    main()
