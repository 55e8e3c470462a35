#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs every file of the corpus through a real mount, for tests/e2e/corpus.sh:

    corpus.py PROGRAM CORPUS SCRATCH            prints `ok NAME` or `FAILED NAME: reason` for each
    corpus.py --walk MOUNT                      reads a whole tree (a process of its own, so that it can be killed)

What is expected of a file is in the corpus' INDEX.md (size, digest of the disk), said by blkid (types of file systems),
or in the two tables below: which files are refused with which words, and which volumes are named but not shown.
Mounts are made at SCRATCH/m0 and SCRATCH/m1, by a daemon in the foreground, so that its end can be seen."""
import bz2
import errno
import fnmatch
import gzip
import hashlib
import json
import lzma
import os
import random
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

LIMIT = float(os.environ.get("CORPUS_LIMIT", "20"))  # seconds for a mount, a walk, an unmount
KEYS_MAX = 2000  # keys read of a hive: each is some ten requests
HASHED = 600 << 20  # bytes of a disk; longer ones are compared sparsely
UNPACKERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

# Refused with exit status 2: pattern of the name, regular expression that the message must match. First fit.
REFUSED = [
    ("vhd/fat-differential.vhd", 'parent "./fat-parent.vhd" is missing'),  # QEMU opens it as if it had none
    ("vmx/*", 'the disk ".*" is missing'),
    ("hive/ez_NotAHive", None),
    ("hive/*.[Ll][Oo][Gg]*", "is a registry hive or the log"),  # logs by themselves
    ("bcd/*.LOG*", "is a registry hive or the log"),
    ("inf/wds_network_netadaptercx_netvadapter_km_netvadapter.inf", None),  # UTF-16: no text by its bytes
    ("inf/*", "is a text file"),
    ("driverpkg/*.inf", "is a text file|UTF-16"),
    ("ovf/*.mf", "is a text file"),
    ("ovf/govmomi_disk-capacity-property.ovf", None),  # an empty disk needs no file
    ("ovf/govmomi_external_vbs_extra-config-complete-required.ovf", None),
    ("ovf/govmomi_mixed-disks.ovf", None),  # likewise, beside one that is missing
    ("ovf/*", "is missing|has no disks|isn't in the OVF|has no href|isn't well-formed XML|is a delta of another|"
              "is cut into chunks|is a text file"),
    ("ova/glance_testserver-no-ovf.ova", "without an .ovf"),
    ("ova/glance_testserver-not-tar.ova", "looks like a damaged OVA"),
    ("ova/glance_testserver.ova", "looks like a damaged VMDK"),  # its disk has 4 bytes
    ("vmdk/*-flat.vmdk", "open the descriptor that names this extent"),
    ("vmdk/*-s001.vmdk", "is one extent of a split disk"),
    ("vmdk/ms3-win.vmdk", 'extent "disk-s001.vmdk" is missing'),
    ("vmdk/sq8vps-disk.vmdk", "is a device of its host"),
    ("vmdk/vmfs_thick-000001.vmdk", 'extent "vmfs_thick-000001-delta.vmdk" is missing'),
    ("qcow2/cirros-snapshot1.qcow2", 'backing file "cirros.raw" is missing'),
    ("qcow2/invalid-qcow-*", "grain size of [0-9]+ sectors is no power of two"),  # they begin with a VMDK's magic
    ("ntfs/dissect-ntfs.bin", "looks like a damaged VHD"),
    ("other-disk/afl5.img", "ends before the end of its dynamic header"),
    ("other-disk/empty.bochs", "is a Bochs image"),
    ("other-disk/parallels-v1.hdd", "is a Parallels image"),
    ("other-disk/simple-pattern.cloop", "is a cloop image"),
    ("other-disk/test.vma", "is a Proxmox VMA archive"),
    ("fuzz/btrfs_bko-104141-fsck-exception.raw", "is a text file"),  # all zeros' digits
]

# Containers by their directory, and what qemu-img calls them.
CONTAINERS = {"vmdk": "vmdk", "qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vdi": "vdi"}

# Where we and QEMU differ, and why we are right: the disk's size in bytes.
NOT_AS_QEMU = {"vhd/go-vbox.vhd": 41943040}  # VirtualBox takes the stated size; QEMU cuts it to the geometry

# Volumes that are named and not shown, though ours to read: pattern of the name, why. All others must be shown.
NOT_SHOWN = [
    ("ext/e2fs_f_super_bad_csum.img", "superblock doesn't agree with its checksum"),
    ("ext/e2fs_j_corrupt_revoke_rcount.img", "journal is damaged: a revoke block holds more than a block can"),
    ("ext/e2fs_j_corrupt_sb_magic.img", "journal is damaged: it has no superblock"),
    ("parttable/dos_mbr.img", "NTFS volume's metadata is damaged or can't be read"),  # cut off after the boot sector
]

OURS = re.compile(r"ntfs|ext[234]|fat(12|16|32)$")
BLKID = {"bitlocker": "BitLocker", "luks": "crypto_LUKS", "lvm2": "LVM2_member", "md": "linux_raid_member",
         "fat12": "vfat", "fat16": "vfat", "fat32": "vfat", "vmfs": "VMFS(_volume_member)?", "zfs": "zfs_member"}
DAMAGE = {errno.EIO, errno.EUCLEAN}  # what a walk may meet in a damaged volume
DENIED = {errno.EACCES, errno.ENOKEY, errno.ENODATA, errno.EOPNOTSUPP}  # encrypted files


class Wrong(Exception):
    """What is wrong with a file's mount, for people."""


# ---- the corpus ----

def facts_of(corpus):
    """INDEX.md's facts, by the name of the packed file: {"virtual_size": "10485760", ...}."""
    facts = {}
    with open(f"{corpus}/INDEX.md", encoding="utf-8") as f:
        for line in f:
            row = re.match(r"\| `([^`]+)` \|.*\| ([^|]*) \|$", line)
            if row:
                facts[row[1]] = dict(re.findall(r"(?:^|; )([a-z_0-9 ]+): ([^;]*)", row[2]))
    return facts


def copy_sparse(source, path):
    with open(path, "wb") as out:
        while block := source.read(1 << 16):
            if block.count(0) == len(block):
                out.seek(len(block), os.SEEK_CUR)
            else:
                out.write(block)
        out.truncate(out.tell())


def unpack(corpus, name, scratch):
    """Returns the working names of what is in the packed file, relative to scratch."""
    base, suffix = os.path.splitext(name)
    os.makedirs(f"{scratch}/{os.path.dirname(name)}", exist_ok=True)
    if name.endswith(".tar.xz"):  # several hold an image of the same name
        with tarfile.open(f"{corpus}/{name}") as tar:
            member = next(m for m in tar if m.isreg())
            copy_sparse(tar.extractfile(member), f"{scratch}/{base[:-4]}")
        return base[:-4]
    if suffix in UNPACKERS:
        with UNPACKERS[suffix](f"{corpus}/{name}") as source:
            copy_sparse(source, f"{scratch}/{base}")
        return base
    shutil.copyfile(f"{corpus}/{name}", f"{scratch}/{name}")
    return name


# ---- one mount ----

class Mount:
    def __init__(self, program, source, at):
        self.at, self.source = at, source
        os.makedirs(at, exist_ok=True)
        self.messages = open(f"{at}.err", "w+", encoding="utf-8", errors="replace")
        self.daemon = subprocess.Popen([program, "-f", source, at], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=self.messages, cwd="/")

    def mounted(self):
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as f:
            return any(line.split(" ")[1] == self.at for line in f)

    def begin(self):
        """True: mounted; False: the program has ended with status 2."""
        deadline = time.monotonic() + LIMIT
        while self.daemon.poll() is None and not self.mounted():
            if time.monotonic() > deadline:
                raise Wrong(f"neither mounted nor refused after {LIMIT:.0f} s")
            time.sleep(0.005)
        if self.daemon.poll() is None:
            return True
        if self.daemon.returncode != 2:
            raise Wrong(f"exit status {self.daemon.returncode}: {self.said()[:300]}")
        if self.mounted():
            raise Wrong("refused, and yet something is mounted")
        return False

    def said(self):
        self.messages.flush()
        self.messages.seek(0)
        return self.messages.read()

    def end(self):
        """Unmounts; the daemon must end by itself, in time, with status 0."""
        if self.daemon.poll() is not None:
            raise Wrong(f"the daemon has died: exit status {self.daemon.returncode}")
        deadline = time.monotonic() + LIMIT
        while subprocess.run(["fusermount3", "-u", "--", self.at], stderr=subprocess.DEVNULL, check=False).returncode:
            if time.monotonic() > deadline:
                raise Wrong("can't be unmounted")
            time.sleep(0.05)
        try:
            if self.daemon.wait(3 * LIMIT):
                raise Wrong(f"the daemon's exit status is {self.daemon.returncode}")
        except subprocess.TimeoutExpired:
            raise Wrong("the daemon has not ended after the unmount") from None

    def clear(self):
        if self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        if self.mounted():
            subprocess.run(["fusermount3", "-uz", "--", self.at], stderr=subprocess.DEVNULL, check=False)
        self.messages.close()


# ---- the disk ----

def segments(fd, size):
    """(offset, length) of what is data."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at - start


def pread_all(fd, length, at):
    while length:
        block = os.pread(fd, min(length, 1 << 20), at)
        if not block:
            raise Wrong(f"ends early, at byte {at}")
        yield at, block
        at += len(block)
        length -= len(block)


def digest(path):
    """SHA-256; holes are zeros without being read."""
    sum_, zeros, at = hashlib.sha256(), bytes(1 << 20), 0
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        for start, length in [*segments(fd, size), (size, 0)]:
            while at < start:
                n = min(start - at, len(zeros))
                sum_.update(memoryview(zeros)[:n])
                at += n
            for _, block in pread_all(fd, length, start):
                sum_.update(block)
            at = start + length
    finally:
        os.close(fd)
    return sum_.hexdigest()


def same_as_file(view, source):
    """A raw disk is its file, padded to a whole sector. What is data in either is compared."""
    a, b = os.open(view, os.O_RDONLY), os.open(source, os.O_RDONLY)
    try:
        size = os.fstat(b).st_size
        for start, length in [*segments(a, size), *segments(b, size)]:
            for at, block in pread_all(b, min(length, size - start), start):
                if b"".join(p for _, p in pread_all(a, len(block), at)) != block:
                    raise Wrong(f"disk.raw differs from the source in the MiB at byte {at}")
    finally:
        os.close(a)
        os.close(b)


def check_disk(name, facts, mount, info):
    disk, raw = info["disks"][0], f"{mount.at}/disks/disk0/disk.raw"
    kind = name.split("/", 1)[0]
    wanted = kind if kind in CONTAINERS else "raw"
    if kind not in ("ova", "ovf") and disk["format"] != wanted:
        raise Wrong(f"format {disk['format']}, wanted {wanted}")
    size = os.stat(raw).st_size
    if disk["size"] != size:
        raise Wrong(f"info.json says {disk['size']} bytes, disk.raw has {size}")
    if name in NOT_AS_QEMU:
        if size != NOT_AS_QEMU[name]:
            raise Wrong(f"{size} bytes, wanted {NOT_AS_QEMU[name]}")
        return
    if "virtual_size" in facts and kind not in ("ova", "ovf") and int(facts["virtual_size"]) != size:
        raise Wrong(f"{size} bytes, wanted {facts['virtual_size']}")
    if wanted == "raw" and kind not in ("ova", "ovf"):
        if size != -(-os.stat(mount.source).st_size // 512) * 512:
            raise Wrong(f"{size} bytes, which are not the source's")
        same_as_file(raw, mount.source)
    elif re.fullmatch("[0-9a-f]{64}", facts.get("raw_sha256", "")) and size < HASHED:
        if digest(raw) != facts["raw_sha256"]:
            raise Wrong("disk.raw has another SHA-256 than INDEX.md says")
    elif kind in CONTAINERS:
        plain = f"{mount.at}.raw"  # qemu-img compare would ask for the map of both grain by grain
        copy = f"{mount.at}.copy"
        source = mount.source
        if kind == "vhdx":  # qemu-img replays a log only into the file
            source = shutil.copyfile(source, copy)
            subprocess.run(["qemu-img", "check", "-r", "all", "-f", "vhdx", source], check=True, timeout=LIMIT,
                           stdout=subprocess.DEVNULL)
        subprocess.run(["qemu-img", "convert", "-f", CONTAINERS[kind], "-O", "raw", source, plain], check=True,
                       timeout=4 * LIMIT, stdout=subprocess.DEVNULL)
        same_as_file(raw, plain)
        os.unlink(plain)
        if source == copy:
            os.unlink(copy)


# ---- volumes ----

def blkid(path, start, length):
    """Its opinion on the type; '' for none, or several."""
    run = subprocess.run(["blkid", "-p", "-o", "value", "-s", "TYPE", "-O", str(start), "-S", str(length), path],
                         check=False, capture_output=True, text=True, timeout=LIMIT)
    return run.stdout.strip() if run.returncode == 0 else ""


def check_volume(name, mount, volume):
    kind, shown = volume["type"], volume["shown"]
    if "start" not in volume:  # a logical volume isn't one piece of a disk
        opinion = ""
    else:
        opinion = blkid(f"{mount.at}/disks/disk0/disk.raw", volume["start"], volume["length"])
    if opinion and not re.fullmatch(BLKID.get(kind, re.escape(kind)), opinion):
        raise Wrong(f"{volume['name']} is {kind}, and {opinion} for blkid")
    why = next((regex for pattern, regex in NOT_SHOWN if fnmatch.fnmatchcase(name, pattern)), None)
    if not OURS.match(kind):
        why = "."
    if shown != (why is None) or not re.search(why or "", volume.get("why", "")):
        raise Wrong(f"{volume['name']} ({kind}) is {'' if shown else 'not '}shown: {volume.get('why', '')}")
    if os.path.isdir(f"{mount.at}/volumes/{volume['name']}") != shown:
        raise Wrong(f"volumes/{volume['name']} is there, and not shown, or the other way round")


def check_volumes(name, mount, info):
    for volume in info["volumes"]:
        check_volume(name, mount, volume)
    if not any(v["shown"] for v in info["volumes"]):
        return
    try:
        run = subprocess.run([sys.executable, os.path.abspath(__file__), "--walk", f"{mount.at}/volumes"], check=False,
                             capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise Wrong(f"volumes/ is not read after {LIMIT:.0f} s") from None
    if run.returncode:
        raise Wrong((run.stdout + run.stderr).strip()[-400:])


# ---- a hive that is the source ----

def check_hive(mount, path, info):
    """Its copy is the file, or clean where that was dirty; all keys (of a large hive some,
    of any depth) and all their values can be read."""
    name = os.path.basename(path)
    if os.listdir(f"{mount.at}/registry") != [name] or os.listdir(f"{mount.at}/hives") != [name]:
        raise Wrong("a hive alone isn't registry/NAME and hives/NAME")
    with open(f"{mount.at}/hives/{name}", "rb") as f:
        head = f.read(4096)
    with open(path, "rb") as f:
        dirty = f.read(12)[4:8] != head[8:12]
    lines = [h.get("why") or "" for h in info["registry"]["hives"]] if dirty else []
    if head[:4] != b"regf" or (head[4:8] != head[8:12] and not any("no log" in line for line in lines)):
        raise Wrong(f"the copy of the hive isn't clean: {lines}")
    keys, todo, rng = 0, [f"{mount.at}/registry/{name}"], random.Random(name)
    while todo and keys < KEYS_MAX:
        keys += 1
        key = todo.pop(rng.randrange(len(todo)))
        try:
            entries = list(os.scandir(key))
        except OSError as e:
            if e.errno not in DAMAGE:
                raise Wrong(f"{key!r}: {e.strerror}") from None
            continue
        for e in entries:
            if e.is_dir(follow_symlinks=False):
                todo.append(e.path)
            elif e.is_file(follow_symlinks=False):
                with open(e.path, "rb") as f:
                    if len(f.read()) != e.stat().st_size:
                        raise Wrong(f"{e.path!r} is longer or shorter than its stat")


# ---- a walk, in a process of its own ----

class Walk:
    FILE_MAX = 64 << 20  # bytes read of one file

    def __init__(self):
        self.entries, self.errors = 0, {}

    def guard(self, what, path, fn, *args):
        """fn(*args), or None when it met damage; any other error is a bug."""
        try:
            return fn(*args)
        except OSError as e:
            if e.errno not in DAMAGE | DENIED:
                sys.exit(f"{what} of {path!r}: {e.strerror}")
            self.errors[e.errno] = self.errors.get(e.errno, 0) + 1
            return None

    def file(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            size, done = os.fstat(fd).st_size, 0
            for start, length in segments(fd, size):
                if start + length > size:
                    sys.exit(f"{path!r}: data up to byte {start + length} of {size}")
                for _, block in pread_all(fd, min(length, self.FILE_MAX - done), start):
                    done += len(block)
                if done >= self.FILE_MAX:
                    return
            if size <= self.FILE_MAX and os.pread(fd, 1, size):
                sys.exit(f"{path!r}: bytes behind its end")
        finally:
            os.close(fd)

    def entry(self, path):
        self.entries += 1
        if self.entries > 200000 or path.count(b"/") > 300:
            sys.exit(f"the tree doesn't end: {path!r}")
        st = self.guard("stat", path, os.lstat, path)
        if not st:
            return
        for name in self.guard("listxattr", path, lambda: os.listxattr(path, follow_symlinks=False)) or []:
            self.guard("getxattr", path, lambda n=name: os.getxattr(path, n, follow_symlinks=False))
        if stat.S_ISLNK(st.st_mode):
            self.guard("readlink", path, os.readlink, path)
        elif stat.S_ISREG(st.st_mode):
            self.guard("read", path, self.file, path)
        elif stat.S_ISDIR(st.st_mode):
            for name in self.guard("list", path, os.listdir, path) or []:
                self.entry(path + b"/" + name)


def walk(root):
    sys.setrecursionlimit(5000)
    w = Walk()
    w.entry(os.fsencode(root))
    print(w.entries, w.errors)
    return 0


# ---- all of it ----

def examine(program, scratch, name, facts, at):
    refused = next((regex for pattern, regex in REFUSED if fnmatch.fnmatchcase(name, pattern)), None)
    mount = Mount(program, f"{scratch}/{name}", at)
    try:
        if not mount.begin():
            said = mount.said()
            if not refused or not re.search(refused, said):
                raise Wrong(f"refused: {said[:300].strip()}" + (f" (wanted: {refused})" if refused else ""))
            if any(not line.startswith("ferryfs: ") for line in said.splitlines()):
                raise Wrong(f"not the form of a message: {said[:300].strip()}")
            return
        if refused:
            raise Wrong(f"is mounted, and should be refused: {refused}")
        with open(f"{at}/info.json", encoding="utf-8") as f:
            info = json.load(f)
        if not info["disks"]:
            check_hive(mount, f"{scratch}/{name}", info)
        elif info["disks"][0]["shown"]:
            check_disk(name, facts, mount, info)
        check_volumes(name, mount, info)
        os.stat(f"{at}/info.json")
        os.statvfs(at)
        mount.end()
    finally:
        mount.clear()


def say(line):
    """One write for a line: print() would make two, and two threads could mix them."""
    os.write(sys.stdout.fileno(), (line + "\n").encode(errors="replace"))


def main():
    program, corpus, scratch = (os.path.realpath(a) for a in sys.argv[1:4])
    facts = facts_of(corpus)
    packed = sorted(os.path.relpath(os.path.join(d, f), corpus) for d, _, names in os.walk(corpus) for f in names)
    packed = [p for p in packed if "/" in p]
    places = Queue()
    for i in range(2):
        places.put(f"{scratch}/m{i}")

    def one(pair):
        name, row = pair
        at = places.get()
        try:
            start = time.monotonic()
            examine(program, scratch, name, row, at)
            say(f"ok {name} {time.monotonic() - start:.2f} s")
        except (Wrong, OSError, ValueError, KeyError, IndexError, subprocess.SubprocessError) as e:
            say(f"FAILED {name}: {str(e) or type(e).__name__}".replace("\n", " "))
        finally:
            places.put(at)

    with ThreadPoolExecutor(2) as pool:
        for kind in sorted({p.split("/", 1)[0] for p in packed}):  # parts lie side by side; little disk space at a time
            files = [p for p in packed if p.startswith(kind + "/")]
            names = list(pool.map(lambda p: unpack(corpus, p, scratch), files))
            list(pool.map(one, [(n, facts.get(p, {})) for n, p in zip(names, files)]))
            shutil.rmtree(f"{scratch}/{kind}")
    return 0


if __name__ == "__main__":
    sys.exit(walk(sys.argv[2]) if sys.argv[1] == "--walk" else main())
