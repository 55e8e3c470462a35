#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads damaged copies of an image and judges what comes out.

    mangle.py [-n CASES] [-s SEED] [-c CASE] [-f FORMAT] [-d FILE]... IMAGE WANT [OTHER...] -- COMMAND...

IMAGE and the OTHER files of its disk lie in one directory; WANT is the disk's content as a raw file. For each case one
of the files is damaged (cut off; bits, bytes, fields or sectors changed) in a copy of the directory, and COMMAND runs with
IMAGE's copy and an output file appended. It must end within 5 s without a signal or a sanitizer's report, in bounded memory,
and either
    refuse (2) or fail in reading (3), or
    give (0) exactly WANT, or
    give (0) what qemu-img reads from the very same copy: then the damage is one that no reader can see, or
    give (0) a disk of another size than the header's, with a note that the descriptor and the header differ by rounding.
What was cut off must never be given at all, whatever qemu-img says, unless it is WANT. FILEs by -d hold data only and are
just cut off. A case is a number: -c N runs it alone and keeps its directory. Prints a line for each bad case; exit status 1
when there was any."""
import argparse
import collections
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SECONDS = 5
SECTOR = 512
OUTPUT_MAX = 64 << 20  # bytes that a case may write
ACCEPTED = {0: "read", 2: "refused", 3: "failed"}


def arguments():
    p = argparse.ArgumentParser(usage=__doc__.split("\n")[2].strip())
    p.add_argument("-n", type=int, default=100)
    p.add_argument("-s", default="1")
    p.add_argument("-c", type=int)
    p.add_argument("-f", help="qemu-img's name of the format; without it, WANT is all that may be given")
    p.add_argument("-d", action="append", default=[])
    p.add_argument("-m", type=int, default=512, help="MiB of resident memory")
    p.add_argument("files", nargs="+", type=pathlib.Path)
    at = sys.argv.index("--")
    args = p.parse_intermixed_args(sys.argv[1:at])
    args.command = sys.argv[at + 1:]
    args.image, args.want, args.others = args.files[0], args.files[1], args.files[2:]
    return args


# ---- damage: each takes the bytes and gives other ones, with a word for it ----

def cut(r, b):
    n = r.choice([r.randrange(len(b)), r.randrange(len(b) // SECTOR + 1) * SECTOR, len(b) - r.randrange(1, min(len(b), 2049)),
                  r.randrange(min(len(b), 4096))])
    return b[:n], f"cut to {n}"


def place(r, b):
    """Tables and headers are at the beginning, or anywhere: the first matter most."""
    return r.choice([r.randrange(min(len(b), 512)), r.randrange(min(len(b), 4096)), r.randrange(len(b)), used_place(r, b)])


def used_place(r, b):
    """Of a few tries, the one with zeros around it: more likely a table than data."""
    tries = [r.randrange(len(b)) for _ in range(16)]
    return max(tries, key=lambda at: b[at & ~63:(at & ~63) + 64].count(0) * (any(b[at & ~63:(at & ~63) + 64])))


def flip(r, b):
    at, bit = place(r, b), r.randrange(8)
    return b[:at] + bytes([b[at] ^ 1 << bit]) + b[at + 1:], f"bit {bit} of byte {at}"


def byte(r, b):
    at, v = place(r, b), r.choice([0, 1, 0x7f, 0x80, 0xff, r.randrange(256)])
    return b[:at] + bytes([v]) + b[at + 1:], f"byte {at} = {v}"


def field(r, b):
    n = r.choice([4, 8])
    at = place(r, b) // n * n
    v = r.choice([0, 1, 2, 1 << 31, (1 << 8 * n) - 1, (1 << 8 * n - 1) - 1, len(b), len(b) // SECTOR, r.randrange(len(b)),
                  r.randrange(len(b)) // SECTOR, 1 << r.randrange(8 * n)]) % (1 << 8 * n)
    order = r.choice(["little", "big"])
    return (b[:at] + v.to_bytes(n, order) + b[at + n:])[:max(len(b), at + n)], f"{n} bytes at {at} = {v:#x} ({order})"


def sector(r, b):
    at, size = place(r, b) // SECTOR * SECTOR, r.choice([SECTOR, 4096, 65536])
    fill = r.choice([bytes(size), b"\xff" * size, r.randbytes(size), b[(o := r.randrange(len(b)) // SECTOR * SECTOR):o + size]])
    return (b[:at] + fill)[:len(b)] + b[at + len(fill):], f"{len(fill)} bytes at {at} overwritten"


def grow(r, b):
    n = r.randrange(1, 70000)
    return b + r.choice([bytes(n), r.randbytes(n)]), f"{n} bytes more"


def damage(r, b, data_only):
    if data_only or r.random() < 0.25:
        return cut(r, b)
    return r.choices([flip, byte, field, sector, grow], [6, 3, 5, 2, 1])[0](r, b)


# ---- running ----

def limits():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_MAX, OUTPUT_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def run(command, err):
    """Exit status (negative: signal; None: too long) and peak memory in MiB."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, preexec_fn=limits)
    deadline = time.monotonic() + SECONDS
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, usage.ru_maxrss >> 10
        if time.monotonic() > deadline:
            child.kill()
            child.wait()
            return None, 0
        time.sleep(0.003)


def same(path, want):
    """Compares without reading holes of gigabytes."""
    if not path.exists() or path.stat().st_size != len(want):
        return False
    return path.read_bytes() == want


def qemu_agrees(args, work, got):
    out = work / "qemu.raw"
    r = subprocess.run(["timeout", "20", "qemu-img", "convert", "-q", "-f", args.f, "-O", "raw", str(work / args.image.name),
                        str(out)], capture_output=True, preexec_fn=limits)
    if r.returncode or not out.exists():
        return False
    size, ours = out.stat().st_size, got.stat().st_size
    if ours != size and not size < ours <= size + SECTOR:  # qemu drops what isn't a whole sector
        return False
    return not subprocess.run(["cmp", "-s", "-n", str(size), str(out), str(got)]).returncode


def judge(args, work, want, was_cut):
    got, log = work / "got.raw", work / "stderr"
    with open(log, "wb") as err:
        status, memory = run(args.command + [str(work / args.image.name), str(got)], err)
    text = log.read_text(errors="replace")
    if status is None:
        return "bad: hangs"
    if status not in ACCEPTED or "Sanitizer" in text or "runtime error" in text:
        return f"bad: exit status {status}: {text[:300]}"
    if memory > args.m:
        return f"bad: {memory} MiB"
    if status:
        return ACCEPTED[status] if text.startswith("image-cat: ") else f"bad: no message: {text[:100]}"
    if same(got, want):
        return "unharmed"
    if was_cut:
        return "bad: cut off, and read with other bytes"
    if "the descriptor decides" in text:
        return "noted"
    if args.f and qemu_agrees(args, work, got):
        return "as qemu"
    return "bad: other bytes than qemu-img's"


def case(args, number, want, top):
    r = random.Random(f"{args.s} {args.image.name} {number}")
    work = pathlib.Path(tempfile.mkdtemp(dir=top))
    names = [args.image] + args.others
    # headers and descriptors rather than data
    victim = r.choice([f for f in names if f.name not in args.d] * 4 + [f for f in names if f.name in args.d])
    for f in names:
        if f != victim:
            os.link(f, work / f.name)
    b, what = damage(r, victim.read_bytes(), victim.name in args.d)
    (work / victim.name).write_bytes(b)
    verdict = judge(args, work, want, what.startswith("cut"))
    if args.c is not None:
        print(f"{victim.name}: {what}: {verdict}; see {work}")
    elif verdict.startswith("bad"):
        print(f"{args.image.name}, seed {args.s}, case {number}: {victim.name}: {what}: {verdict}")
    if args.c is None:
        shutil.rmtree(work)
    return verdict.split(":")[0]


def main():
    args = arguments()
    want = args.want.read_bytes()
    top = args.image.parent
    count = collections.Counter(case(args, i, want, top) for i in ([args.c] if args.c is not None else range(args.n)))
    print(f"{args.image.name}:", ", ".join(f"{n} {what}" for what, n in sorted(count.items())))
    return 1 if count["bad"] else 0


if __name__ == "__main__":
    sys.exit(main())
