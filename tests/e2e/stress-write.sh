#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Many writers at once in ext4, NTFS and FAT of one mount, and in its registry, while others walk the tree, read what is
# written, the registry, diff/ and the views. Each writer has a directory of its own, whose content it knows, and all meet
# in a common one. In the end everything is as they left it, here and at the next mount, and the checkers find nothing.
# Runs under ThreadSanitizer, too.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat python3

# The writers: DIRECTORY... on which they work for SECONDS; then what they left is written to a file and to the standard
# output, path by path, with its digest.
cat >"$tmp/writers.py" <<'PYTHON'
import errno, hashlib, os, random, shutil, sys, threading, time

seconds, count, seed, expected = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
roots = sys.argv[5:]
deadline = time.monotonic() + seconds
problems, operations, lock = [], 0, threading.Lock()
PATIENCE = 60  # seconds that a writer is kept out by open views, at most

def patient(fn, *args):
    """A view that is open keeps writers out: EBUSY after a while, and nothing has happened."""
    last = time.monotonic() + PATIENCE
    while True:
        try:
            return fn(*args)
        except OSError as e:
            if e.errno != errno.EBUSY or time.monotonic() > last:
                raise

def write_at(path, data, off):
    fd = patient(os.open, path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        done = 0
        while done < len(data):
            done += patient(os.pwrite, fd, data[done:], off + done)
        back = os.pread(fd, len(data), off)
        if back != data:
            raise AssertionError(f"{path}: other bytes than were written at {off}")
    finally:
        os.close(fd)

class Writer:
    def __init__(self, root, number):
        self.rng = random.Random(seed * 1000 + number)
        self.own, self.common = f"{root}/own-{seed}-{number}", f"{root}/common"
        self.files = {}  # name: bytes
        patient(os.mkdir, self.own)

    def step(self):
        rng = self.rng
        name = f"file {rng.randrange(12)}"
        path = f"{self.own}/{name}"
        what = rng.random()
        if what < 0.45:
            old = self.files.get(name, b"")
            off = rng.randrange(len(old) + 1)
            data = bytes([rng.randrange(256)]) * rng.randrange(1, 40000)
            write_at(path, data, off)
            self.files[name] = old[:off] + data + old[off + len(data):]
        elif what < 0.6 and name in self.files:
            other = f"file {rng.randrange(12)}"
            patient(os.rename, path, f"{self.own}/{other}")
            self.files[other] = self.files.pop(name)
        elif what < 0.7 and name in self.files:
            patient(os.unlink, path)
            del self.files[name]
        elif what < 0.75 and name in self.files:
            size = rng.randrange(20000)
            patient(os.truncate, path, size)
            self.files[name] = self.files[name][:size].ljust(size, b"\0")
        elif what < 0.85:
            self.meet()
        elif name in self.files:
            with open(path, "rb", buffering=0) as f:
                if f.readall() != self.files[name]:
                    raise AssertionError(f"{path}: isn't what was written")

    def meet(self):
        """Names that all use: what is found there is another's, and may go at any moment."""
        path, other = (f"{self.common}/shared {self.rng.randrange(5)}" for _ in range(2))
        try:
            what = self.rng.randrange(4)
            if what == 0:
                patient(os.mkdir, path)
            elif what == 1:
                write_at(f"{path}/inside", b"x" * 100, 0)
            elif what == 2:
                patient(os.rename, path, other)
            else:
                patient(shutil.rmtree, path)
        except OSError as e:
            # None: rmtree met another directory of that name when it opened the one that it had looked at
            if e.errno not in (None, errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL, errno.ESTALE):
                raise

    def work(self):
        global operations
        steps = 0
        try:
            while time.monotonic() < deadline:
                self.step()
                steps += 1
        except (OSError, AssertionError) as e:
            problems.append(f"{self.own}: {e!r}")
        with lock:
            operations += steps

writers = []
for i, root in enumerate(roots):
    try:
        patient(os.mkdir, f"{root}/common")
    except FileExistsError:
        pass
    writers += [Writer(root, i * count + k) for k in range(count)]
threads = [threading.Thread(target=w.work) for w in writers]
for t in threads:
    t.start()
for t in threads:
    t.join()
with open(expected, "w") as f:
    for w in writers:
        for name, data in w.files.items():
            print(hashlib.sha256(data).hexdigest(), f"{w.own}/{name}", sep="  ", file=f)
print(f"{operations} operations")
print("\n".join(problems[:10]))
sys.exit(bool(problems) or operations < len(writers))
PYTHON

# reading COMMAND...: again and again, until the file `stop` is there. What goes away meanwhile is no failure.
reading() {
    while [ ! -e "$tmp/stop" ]; do "$@" >"$tmp/discard" 2>&1 || :; done
}
view() { # a short look, so that writers get in
    timeout 1 head -c 300000 "$mnt/disks/disk0/disk.$1"
    sleep 0.5
}

seconds=${FERRYFS_STRESS_SECONDS:-8}
make_three "$tmp/disk.img" || skip "the file systems can't be made here"
if have_corpus; then # a registry, put there by ourselves
    mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
    mkdir -p "$mnt/volumes/disk0p2/Windows/System32/config"
    cp "$(corpus hive/dfwinreg_SAM.xz)" "$mnt/volumes/disk0p2/Windows/System32/config/SAM"
    cp "$(corpus hive/regipy_SYSTEM.xz)" "$mnt/volumes/disk0p2/Windows/System32/config/SYSTEM"
    cp "$(corpus hive/hivex_minimal)" "$mnt/volumes/disk0p2/Windows/System32/config/SOFTWARE"
    unmount
fi
os=0
if have_corpus; then # the Windows is the second system, or the first
    "$FERRYFS" --info -o "overlay=$tmp/kept,os=1" "$tmp/disk.img" >"$tmp/info" 2>&1 && grep -q '"registry"' "$tmp/info" && os=1
fi
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept,threads=4,cache=4,os=$os"
! have_corpus || check "there is a registry" test -d "$mnt/registry/HKEY_LOCAL_MACHINE/SAM"
volumes=("$mnt/volumes/disk0p1" "$mnt/volumes/disk0p2" "$mnt/volumes/disk0p3")
jobs=()
reading timeout 3 find "$mnt" -not -name 'disk.*' & jobs+=($!)
reading timeout 3 cat "$mnt/diff/changes.json" & jobs+=($!)
reading view vhdx & jobs+=($!)
reading view raw & jobs+=($!)
reading timeout 3 cp -r "${volumes[2]}" "$tmp/copy" & jobs+=($!)
reading timeout 3 sync "$mnt/info.json" & jobs+=($!)
if [ -d "$mnt/registry" ]; then
    key=$mnt/registry/HKEY_LOCAL_MACHINE/SAM
    reading timeout 3 find "$key" & jobs+=($!)
    reading timeout 3 sh -c "mkdir -p '$key/Stress' && echo x >'$key/Stress/v.sz' && cat '$key/Stress/v.sz' && rm -r '$key/Stress'" & jobs+=($!)
fi
writers=()
for i in 1 2; do
    python3 "$tmp/writers.py" "$seconds" 2 "$i" "$tmp/expected$i" "${volumes[@]}" >"$tmp/writers$i" 2>&1 &
    writers+=($!)
done
for i in 1 2; do
    wait "${writers[i - 1]}"
    status=$?
    is "writers $i: $(tr '\n' ' ' <"$tmp/writers$i")" $status 0
    cat "$tmp/writers$i"
done
touch "$tmp/stop"
wait "${jobs[@]}"
cat "$tmp"/expected? >"$tmp/expected"
check "there is something to compare" test "$(wc -l <"$tmp/expected")" -gt 5
check "all is as it was left" sha256sum --quiet -c "$tmp/expected"
for d in "${volumes[@]}"; do find "$d"/own-* -type f; done | sort >"$tmp/found"
check "and nothing else is there" diff <(cut -c67- "$tmp/expected" | sort) "$tmp/found"
unmount
mount_ok "$tmp/disk.img" -- -o "overlay=$tmp/kept"
check "the next mount has it" sha256sum --quiet -c "$tmp/expected"
check "the present disk" cp --sparse=always "$mnt/disks/disk0/disk.raw" "$tmp/now.img"
unmount
three_clean "after it all" "$tmp/now.img"
finish
