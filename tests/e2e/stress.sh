#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Many readers at once: every view and every file of the guest, whole and in pieces, through a cache that is far too small,
# while other mounts of the same source come and go. All must read the same bytes. This is the test that runs under
# ThreadSanitizer.
. "$(dirname "$0")/lib.sh"
need python3

# Reads files below MOUNTPOINT for SECONDS in so many threads: whole, in random pieces, by SEEK_DATA, and walks the tree;
# compares every byte with what the first reading gave. Prints how much, and what differed.
cat >"$tmp/readers.py" <<'PYTHON'
import hashlib, os, random, sys, threading, time

root, seconds, count, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
WHOLE = 8 << 20  # larger files are read in pieces, and compared piece by piece
PIECE = 128 << 10
deadline = time.monotonic() + seconds
known, lock, problems = {}, threading.Lock(), []
done = {"bytes": 0, "reads": 0, "walks": 0}

def find_files():
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                found.append((path, os.path.getsize(path)))
    return sorted(found)

def compare(path, start, data):
    digest = hashlib.sha256(data).digest()
    with lock:
        done["bytes"] += len(data)
        done["reads"] += 1
        if known.setdefault((path, start), digest) != digest:
            problems.append(f"{path}: other bytes at {start}")

def read_pieces(path, size, rng):
    fd = os.open(path, os.O_RDONLY)
    try:
        first = rng.randrange(0, size) // PIECE
        for i in range(first, min(first + 16, (size + PIECE - 1) // PIECE)):
            want = min(PIECE, size - i * PIECE)
            data = os.pread(fd, want, i * PIECE)
            if len(data) != want:
                problems.append(f"{path}: {len(data)} of {want} bytes at {i * PIECE}")
            compare(path, i * PIECE, data)
    finally:
        os.close(fd)

def read_data_runs(path, size):
    """By SEEK_DATA and SEEK_HOLE; what they call a hole must be zeros."""
    fd = os.open(path, os.O_RDONLY)
    try:
        at, runs = 0, 0
        while at < size and runs < 8:
            try:
                data = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                data = size
            if data > at and os.pread(fd, min(4096, data - at), at).strip(b"\0"):
                problems.append(f"{path}: a hole at {at} has data")
            if data >= size:
                break
            at = os.lseek(fd, data, os.SEEK_HOLE)
            runs += 1
    finally:
        os.close(fd)

def walk(rng):
    for folder, directories, names in os.walk(root):
        rng.shuffle(directories)
        for name in names:
            os.lstat(os.path.join(folder, name))
        if time.monotonic() > deadline:
            return
    with lock:
        done["walks"] += 1

def work(number):
    rng = random.Random(seed * 1000 + number)
    try:
        while time.monotonic() < deadline:
            path, size = rng.choice(files)
            if rng.random() < 0.1:
                walk(rng)
            elif rng.random() < 0.2:
                read_data_runs(path, size)
            elif 0 < size <= WHOLE:
                with open(path, "rb", buffering=0) as f:
                    compare(path, "whole", f.readall())
            elif size:
                read_pieces(path, size, rng)
    except OSError as e:
        problems.append(str(e))

files = find_files()
if not files:
    problems.append("no files")
threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print(f"{len(files)} files, {done['reads']} reads, {done['bytes'] >> 20} MiB, {done['walks']} walks")
print("\n".join(sorted(set(problems))[:20]))
sys.exit(bool(problems) or not done["reads"])
PYTHON

seconds=${FERRYFS_STRESS_SECONDS:-12}

# The first readers ask for everything at once, before anything has been made or cached.
mount_ok "$sample" -- -o threads=4,cache=1
for i in 1 2 3 4; do
    { cat "$mnt/info.json" && find "$mnt" && sha "$mnt/disks/disk0/disk.raw"; } >"$tmp/first$i" 2>&1 &
done
wait
for i in 2 3 4; do
    check "the first readers see the same ($i)" same "$tmp/first1" "$tmp/first$i"
done

# Several processes with several threads each, beside mounts that come and go.
readers=()
for i in 1 2; do
    python3 "$tmp/readers.py" "$mnt" "$seconds" 6 "$i" >"$tmp/readers$i" 2>&1 &
    readers+=($!)
done
main=$mnt
rounds=0
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
    mnt=$tmp/other
    mount_ok "$sample" -- -o cached,threads=2
    cat "$mnt/disks/disk0/disk.vhdx" >/dev/null &
    one=$!
    find "$mnt" >/dev/null &
    two=$!
    if [ $((rounds % 2)) = 0 ]; then
        # Unmounted under a reader: the reader may fail, the daemon must end well.
        pid=$(daemons "$mnt")
        fusermount3 -uz "$mnt"
        wait $one $two
        check "the daemon ends after a lazy unmount" wait_gone "$pid"
    else
        wait $one $two
        unmount
    fi
    rounds=$((rounds + 1))
done
mnt=$main
for i in 1 2; do
    wait "${readers[i - 1]}"
    status=$? # of the readers: what is expanded next has one of its own
    is "readers $i: $(tr '\n' ' ' <"$tmp/readers$i")" $status 0
    cat "$tmp/readers$i"
done
check "the other mounts came and went more than once" test $rounds -gt 1
unmount
finish
