#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Shows that ntfs-walk sees what it says it sees.

    ntfs-damage.py NTFS-WALK IMAGE

IMAGE is a sound volume with what tests/e2e/ntfs-walk.sh puts there. Each damage is done to a copy of it in memory, and
ntfs-walk has to complain of that rule. Prints a line for each damage; exit status 1 if one isn't seen, or if there is
a complaint in ntfs-walk's source that no damage calls forth."""
import os
import re
import struct
import subprocess
import sys
import tempfile

RECORD, BLOCK = 1024, 4096
MAX_RECORDS = 4096


def get(b, at, n):
    return int.from_bytes(b[at : at + n], "little")


def put(b, at, n, value):
    b[at : at + n] = (value % (1 << (8 * n))).to_bytes(n, "little")


def unfix(b):
    """Without the update sequence; returns what fix() needs."""
    at, n = get(b, 4, 2), get(b, 6, 2)
    for i in range(1, n):
        b[i * 512 - 2 : i * 512] = b[at + 2 * i : at + 2 * i + 2]
    return b


def fix(b):
    at, n = get(b, 4, 2), get(b, 6, 2)
    for i in range(1, n):
        b[at + 2 * i : at + 2 * i + 2] = b[i * 512 - 2 : i * 512]
        b[i * 512 - 2 : i * 512] = b[at : at + 2]
    return b


class Attr:
    def __init__(self, record, at):
        self.at, self.type, self.length = at, get(record, at, 4), get(record, at + 4, 4)
        start, n = at + get(record, at + 10, 2), record[at + 9]
        self.name = record[start : start + 2 * n].decode("utf-16-le")
        self.resident = not record[at + 8]
        self.value = at + get(record, at + 20, 2) if self.resident else None
        self.size = get(record, at + 16, 4) if self.resident else get(record, at + 48, 8)
        self.pairs = None if self.resident else at + get(record, at + 32, 2)
        self.runs = [] if self.resident else list(self.walk_runs(record))

    def walk_runs(self, record):
        at, lcn = self.pairs, 0
        while record[at]:
            n, m = record[at] & 15, record[at] >> 4
            count = get(record, at + 1, n)
            if m:
                lcn += int.from_bytes(record[at + 1 + n : at + 1 + n + m], "little", signed=True)
            yield (lcn if m else None), count
            at += 1 + n + m


class Volume:
    def __init__(self, data):
        self.b = bytearray(data)
        self.cluster = get(self.b, 0x0B, 2) * self.b[0x0D]
        mft = get(self.b, 0x30, 8) * self.cluster
        first = unfix(self.b[mft : mft + RECORD])
        self.mft = next(a for a in self.attrs(first) if a.type == 0x80)
        self.records = get(first, self.mft.at + 56, 8) // RECORD

    @staticmethod
    def attrs(record):
        at = get(record, 20, 2)
        while get(record, at, 4) != 0xFFFFFFFF:
            yield Attr(record, at)
            at += get(record, at + 4, 4)

    def place(self, attr, off):
        """Where byte `off` of a value in clusters lies on the volume."""
        vcn = off // self.cluster
        for lcn, n in attr.runs:
            if vcn < n:
                return (lcn + vcn) * self.cluster + off % self.cluster
            vcn -= n
        raise IndexError(off)

    def record(self, n):
        at = self.place(self.mft, n * RECORD)
        return unfix(self.b[at : at + RECORD])

    def put_record(self, n, r):
        at = self.place(self.mft, n * RECORD)
        self.b[at : at + RECORD] = fix(r)

    def attr(self, n, kind, name=""):
        return next(a for a in self.attrs(self.record(n)) if a.type == kind and a.name == name)

    known = {}  # records by name: each is looked for in the sound image, once

    def find(self, name):
        if name not in self.known:
            self.known[name] = self.look_for(name)
        return self.known[name]

    def look_for(self, name):
        wanted = name.encode("utf-16-le")
        for n in range(24, self.records):
            r = self.record(n)
            if r[:4] == b"FILE" and r[22] & 1:
                for a in self.attrs(r):
                    if a.type == 0x30 and r[a.value + 66 : a.value + 66 + 2 * r[a.value + 64]] == wanted:
                        return get(r, 32, 6) or n
        raise KeyError(name)

    def home(self, file, kind, name):
        """The record of the file's that has this attribute."""
        base = self.find(file)
        mine = (n for n in range(24, self.records) if n == base or get(self.record(n), 32, 6) == base)
        return next(n for n in mine if any(a.type == kind and a.name == name for a in self.attrs(self.record(n))))

    def change(self, n, fn):
        """fn(record) changes record n."""
        r = self.record(n)
        fn(r)
        self.put_record(n, r)

    def set(self, n, at, size, value):
        """A field of record n; `value` may be a function of what is there."""
        r = self.record(n)
        put(r, at, size, value(get(r, at, size)) if callable(value) else value)
        self.put_record(n, r)

    def set_byte(self, n, kind, name, off, fn):
        """A byte of an attribute's value, wherever that lies."""
        a = self.attr(n, kind, name)
        if a.resident:
            self.set(n, a.value + off, 1, fn)
        else:
            at = self.place(a, off)
            self.b[at] = fn(self.b[at]) & 255

    def block(self, n, i, fn, name="$I30"):
        """fn(block) changes block i of an index."""
        at = self.place(self.attr(n, 0xA0, name), i * BLOCK)
        b = unfix(self.b[at : at + BLOCK])
        fn(b)
        self.b[at : at + BLOCK] = fix(b)


def entries(b, header):
    """Where the entries of a node begin, the last one too."""
    at = header + get(b, header, 4)
    while True:
        yield at
        if get(b, at + 12, 2) & 2:
            return
        at += get(b, at + 8, 2)


CASES = []


def damage(text):
    def add(fn):
        CASES.append((text, fn))
        return fn

    return add


def field(text, file, kind, off, size, value, name=""):
    """A field of an attribute's header."""
    CASES.append((text, lambda v: v.set(v.find(file), v.attr(v.find(file), kind, name).at + off, size, value)))


def header(text, off, size, value, file="plain"):
    """A field of a record's header."""
    CASES.append((text, lambda v: v.set(v.find(file), off, size, value)))


def value(text, file, kind, off, size, new):
    """A field of a resident value."""
    CASES.append((text, lambda v: v.set(v.find(file), v.attr(v.find(file), kind).value + off, size, new)))


def up(x):
    return x + 1


# ---- records ----
header("record N says it is", 44, 4, up)
header("record N is free, and marked used", 22, 2, 0)
header("bytes used of", 28, 4, 2048)
header("record N: ends at", 24, 4, lambda x: x + 8)
header("record N: instance", 40, 2, 0)
field("record N: attributes are out of order", "plain", 0x10, 0, 4, 0x31)
field("record N: an instance twice", "plain", 0x30, 14, 2, 0)


@damage("record N is torn")
def _(v):
    v.b[v.place(v.mft, v.find("plain") * RECORD) + 510] ^= 1


@damage("record N is used, and marked free")
def _(v):
    n = v.find("plain")
    v.set_byte(0, 0xB0, "", n // 8, lambda x: x & ~(1 << n % 8))


@damage("record N is marked used and is none")
def _(v):
    n = v.find("gone")
    v.b[v.place(v.mft, n * RECORD)] ^= 1


@damage("record N is marked used, past the end")
def _(v):
    n = v.records + 1
    v.set_byte(0, 0xB0, "", n // 8, lambda x: x | 1 << n % 8)


# ---- clusters ----
def bitmap(v, cluster, used):
    bit = 1 << cluster % 8
    v.set_byte(6, 0x80, "", cluster // 8, lambda x: x | bit if used else x & ~bit)


def cluster_of(v, name):
    return v.attr(v.find(name), 0x80).runs[0][0]


@damage("cluster N is marked free, and used")
def _(v):
    bitmap(v, cluster_of(v, "plain"), False)


@damage("cluster N is marked used, and nobody's")
def _(v):
    size = len(v.b) // v.cluster
    a = v.attr(6, 0x80)
    free = next(c for c in range(size // 2, size) if not v.b[v.place(a, c // 8)] >> c % 8 & 1)
    bitmap(v, free, True)


@damage("cluster N is used 2 times")
def _(v):
    def other(r, n=v.find("plain")):
        a, b = v.attr(n, 0x80), v.attr(v.find("second"), 0x80)
        source = v.record(v.find("second"))
        length = a.length - (a.pairs - a.at)
        r[a.pairs : a.pairs + length] = source[b.pairs : b.pairs + length]

    v.change(v.find("plain"), other)


@damage(r"\$Bitmap is too short")
def _(v):
    v.set(6, v.attr(6, 0x80).at + 48, 8, 8)


field("attribute 0x80: sizes", "plain", 0x80, 48, 8, 1)
field("attribute 0x80: packed size", "sparse", 0x80, 64, 8, up)
field("has holes, but isn't sparse", "sparse", 0x80, 12, 2, 0)
field("attribute 0x80: runs end at", "plain", 0x80, 24, 8, up)
field("attribute 0x80: extent begins at", "plain", 0x80, 16, 8, up)


@damage("attribute 0x80: runs without an end")
def _(v):
    def fill(r):
        a = v.attr(v.find("plain"), 0x80)
        r[a.pairs : a.at + a.length] = b"\1" * (a.at + a.length - a.pairs)

    v.change(v.find("plain"), fill)


# ---- attribute lists ----
def list_entries(v):
    """Of "listed": where each entry of its list lies on the volume or in its record, as (get, set) of fields."""
    n = v.find("listed")
    a = v.attr(n, 0x20)
    at = 0
    raw = v.record(n)[a.value : a.value + a.size] if a.resident else v.b[v.place(a, 0) : v.place(a, 0) + a.size]
    while at < a.size:
        yield at, raw
        at += get(raw, at + 4, 2)


def elsewhere(v):
    """The first entry that names another record."""
    n = v.find("listed")
    return next((at, get(raw, at + 16, 6)) for at, raw in list_entries(v) if get(raw, at + 16, 6) != n)


@damage("listed record N isn't in use")
def _(v):
    v.set_byte(v.find("listed"), 0x20, "", elsewhere(v)[0] + 22, up)


@damage("a listed attribute 0x[0-9a-f]+ isn't in record")
def _(v):
    v.set_byte(v.find("listed"), 0x20, "", elsewhere(v)[0] + 24, lambda x: x + 77)


@damage("attribute 0x[0-9a-f]+ in record N isn't listed")
def _(v):
    v.set_byte(v.find("listed"), 0x20, "", elsewhere(v)[0] + 24, lambda x: x + 77)


@damage("listed record N is another's")
def _(v):
    v.set(elsewhere(v)[1], 32, 1, up)


@damage("record N belongs to 0 files")
def _(v):
    first = next(list_entries(v))[1]
    n, a = v.find("listed"), v.attr(v.find("listed"), 0x20)
    size = get(first, 4, 2)  # only $STANDARD_INFORMATION is listed any more
    if a.resident:
        v.set(n, a.at + 16, 4, size)
    else:
        for off in (48, 56):
            v.set(n, a.at + off, 8, size)


# ---- indexes ----
def leaf(text, fn, which=0):
    """fn(block, where entry 2 begins) of a leaf of the directory "many"."""

    def do(v):
        def change(b):
            fn(b, list(entries(b, 24))[2])

        v.block(v.find("many"), which, change)

    CASES.append((text, do))


def set_in(off, size, fn):
    return lambda b, at: put(b, at + off, size, fn(get(b, at + off, size)))


def root(text, fn):
    """fn(record, offsets of the root's entries, offset of its node header) of the directory "many"."""

    def do(v):
        n = v.home("many", 0x90, "$I30")

        def change(r):
            h = v.attr(n, 0x90, "$I30").value + 16
            fn(r, list(entries(r, h)), h)

        v.change(n, change)

    CASES.append((text, do))


def below(r, at):
    return at + get(r, at + 8, 2) - 8


leaf("keys are out of order", set_in(16 + 66, 2, lambda _: ord("z")))
leaf("doesn't know its name there", set_in(16 + 66, 2, lambda _: ord("z")))
leaf("an entry for an earlier file", set_in(6, 2, up))
leaf("an entry of another one's", set_in(16, 1, up))
leaf("which isn't there", set_in(0, 3, lambda _: MAX_RECORDS << 4))
leaf("its directory says", set_in(16 + 0x30, 8, up))
leaf("leaf and node are mixed", lambda b, _: put(b, 24 + 12, 1, 1))
leaf("a node without an end", lambda b, _: put(b, 24 + 4, 4, get(b, 24 + 4, 4) - 16))
root("no block at", lambda r, e, _: put(r, below(r, e[0]), 8, 9999))
root("block N twice", lambda r, e, _: put(r, below(r, e[0]), 8, get(r, below(r, e[1]), 8)))
root("leaves at depths", lambda r, _, h: put(r, h + 12, 1, 0))


@damage("index of file N: block N is torn")
def _(v):
    v.b[v.place(v.attr(v.find("many"), 0xA0, "$I30"), 0) + 510] ^= 1


@damage("block N is marked free")
def _(v):
    v.set_byte(v.find("many"), 0xB0, "$I30", 0, lambda x: x & ~1)


@damage(r"block N of index \$I30 is marked used, and isn't")
def _(v):
    v.set_byte(v.find("many"), 0xB0, "$I30", 7, lambda x: x | 128)


field(r"index \$I30 isn't whole", "many", 0xB0, 0, 4, 0xF0, "$I30")
field(r"the bitmap of index \$I30 is too short", "many", 0xB0, 16, 4, 0, "$I30")

# ---- names ----
field("file N has no name", "plain", 0x30, 0, 4, 0x38)
header("names, N links", 18, 2, up)


@damage("file N doesn't hang below the root")
def _(v):
    n = v.find("many")
    v.set(n, v.attr(n, 0x30).value, 6, n)


# ---- $Secure, $Reparse ----
@damage("the descriptor of id N isn't what its index says")
def _(v):
    v.set_byte(9, 0x80, "$SDS", 24, up)


@damage("the copy of the descriptor of id N differs")
def _(v):
    v.set_byte(9, 0x80, "$SDS", (256 << 10) + 24, up)


value(r"its security id N isn't in \$Secure", "plain", 0x10, 0x34, 4, 9999)
value("file N has no security", "plain", 0x10, 0x34, 4, 0)


def first_of_secure(v, index, fn):
    """fn(bytes, where the first entry begins, where the node's header does)."""
    a = v.attr(9, 0x90, index)
    r = v.record(9)
    if not r[a.value + 16 + 12] & 1:
        v.change(9, lambda r: fn(r, a.value + 16 + get(r, a.value + 16, 4), a.value + 16))
    else:
        v.block(9, 0, lambda b: fn(b, 24 + get(b, 24, 4), 24), index)


@damage("id N is in one index only")
def _(v):
    first_of_secure(v, "$SDH", lambda b, at, _: put(b, at + get(b, at, 2) + 4, 4, 9999))


@damage("N ids in one index, N in the other")
def _(v):
    def remove(b, at, h):
        n, end = get(b, at + 8, 2), h + get(b, h + 4, 4)
        b[at : end - n] = b[at + n : end]
        put(b, h + 4, 4, end - n - h)

    first_of_secure(v, "$SDH", remove)


def reparse(off, size, fn):
    """A field of the one entry of $Reparse."""

    def do(v):
        n = v.find("$Reparse")
        h = v.attr(n, 0x90, "$R").value + 16
        at = h + get(v.record(n), h, 4)
        v.set(n, at + off, size, fn)

    return do


CASES.append((r"\$Reparse: an entry for file N, which is none", reparse(26, 2, up)))
CASES.append((r"\$Reparse: another tag than file N has", reparse(16, 1, up)))
field(r"\$Reparse: N entries, N files", "link", 0xC0, 0, 4, 0xC8)


# ---- the volume ----
@damage(r"\$MFTMirr differs in record 2")
def _(v):
    v.b[v.place(v.attr(1, 0x80), 2 * RECORD + 100)] ^= 1


@damage("the volume is marked dirty")
def _(v):
    v.set(3, v.attr(3, 0x70).value + 10, 2, lambda x: x | 1)


def run(walk, data):
    with tempfile.NamedTemporaryFile(dir=os.environ.get("TMPDIR")) as f:
        f.write(data)
        f.flush()
        return subprocess.run([walk, f.name], capture_output=True, text=True, errors="replace", check=False)


def complaints_of_source():
    """The texts of ntfs-walk's complaints, as patterns."""
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("ntfs-walk.c", "ntfs-walk-record.c", "ntfs-walk-index.c"):
        with open(os.path.join(here, name), encoding="utf-8") as f:
            for text in re.findall(r'[ {]complain\("([^"]*)"', f.read()):
                yield text, re.sub(r"%(llu|u|zu|d|llx|x|s)", r"\\S+", re.escape(text).replace("\\%", "%"))


def main():
    walk, image = sys.argv[1:]
    with open(image, "rb") as f:
        good = f.read()
    sound, failed, seen = run(walk, good), 0, ""
    if sound.returncode or sound.stdout:
        print("the sound image:", sound.stdout)
        return 1
    for text, fn in CASES:
        v = Volume(good)
        fn(v)
        r = run(walk, v.b)
        ok = v.b != good and r.returncode == 1 and re.search(re.sub(r"\bN\b", r"\\d+", text), r.stdout)
        seen += r.stdout
        failed += not ok
        print("ok    " if ok else "UNSEEN", text)
        if not ok:
            print(f"    exit status {r.returncode}\n" + "".join(f"    {x}\n" for x in r.stdout.splitlines()[:5]))
    for text, pattern in complaints_of_source():
        if not re.search(pattern, seen):
            print("NEVER ", text)
            failed += 1
    print(f"{len(CASES)} damages, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
