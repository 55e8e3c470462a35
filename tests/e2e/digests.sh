#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# VIEW.sha256: right for every view, not listed, kept, interrupted, shared, and no burden to other requests.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3
cd "$tmp" || exit 1
disk=$mnt/disks/disk0

# ---- right, in the format of sha256sum, beside the view and beside a copy ----
mount_ok "$sample"
n=0
for view in "$disk"/disk*; do
    name=${view##*/}
    is "the line of $name" "$(cat "$view.sha256")" "$(sha "$view")  $name"
    n=$((n + 1))
done
check "there are views" test $n -ge 3
check "sha256sum -c in the mount" sh -c "cd '$disk' && sha256sum -c --strict disk.vhdx.sha256 disk-fixed.vhdx.sha256 disk.raw.sha256"
mkdir copies
cp "$disk/disk.vhdx" "$disk/disk.vhdx.sha256" copies/
check "sha256sum -c beside copies" sh -c 'cd copies && sha256sum -c --strict disk.vhdx.sha256'
printf 'x' | dd of=copies/disk.vhdx bs=1 seek=5000000 conv=notrunc status=none
check_not "and it sees a changed byte" sh -c 'cd copies && sha256sum -c --status disk.vhdx.sha256'
check_not "they are not listed" sh -c "find '$disk' | grep sha256"
is "the size by stat is 0" "$(stat -c '%s %F' "$disk/disk.raw.sha256")" "0 regular empty file"
check_not "no such view" test -e "$disk/disk.xyz.sha256"
check_not "nor of info.json" test -e "$disk/info.json.sha256"
check_not "nor of a digest" test -e "$disk/disk.raw.sha256.sha256"
check_not "read-only" sh -c "echo x >'$disk/disk.raw.sha256'"
unmount
mount_ok "$sample" -- -s
is "with one thread" "$(cat "$disk/disk.raw.sha256")" "$(sha "$disk/disk.raw")  disk.raw"
unmount

# ---- snapshots, and holes alone ----
qemu-img create -q -f qcow2 snap.qcow2 100M
qemu-io -c 'write -P 1 1M 100k' snap.qcow2 >/dev/null
qemu-img snapshot -c one snap.qcow2
qemu-io -c 'write -P 2 1M 100k' snap.qcow2 >/dev/null
mount_ok snap.qcow2
check "of a snapshot" sh -c "cd '$disk/snapshots/one' && sha256sum -c --strict disk.raw.sha256 disk.vhdx.sha256"
check_not "which differs" same "$disk/snapshots/one/disk.raw.sha256" "$disk/disk.raw.sha256"
unmount

# ---- data that can't be read is EIO, again and again ----
yes 'lines that can be compressed' | head -c 3000000 >text.raw
qemu-img convert -f raw -O qcow2 -c text.raw damaged.qcow2
printf '\377%.0s' $(seq 200) | dd of=damaged.qcow2 bs=1 seek=$((0x50000)) conv=notrunc status=none # the first streams
mount_ok damaged.qcow2
check_not "the view can't be read" cat "$disk/disk.raw"
for again in once again; do
    cat "$disk/disk.raw.sha256" >got 2>said
    is "nor its digest, $again" $?:"$(cat got)" 1:
    like "by EIO" "$(cat said)" 'Input/output error'
done
unmount

# ---- a large disk: what takes long can be stopped, and stops nobody else ----
# 16 TiB of zeros: hours, for any processor.
qemu-img create -q -f qcow2 huge.qcow2 16T
qemu-img snapshot -c one huge.qcow2
qemu-img snapshot -c two huge.qcow2
mount_ok huge.qcow2
daemon=$(daemons "$mnt")
cpu() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }
is_idle() { local before; before=$(cpu); sleep 0.3; [ $(($(cpu) - before)) -le 3 ]; }

python3 - "$disk/disk.raw.sha256" <<'PYTHON'
import os, signal, subprocess, sys, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
    p = subprocess.Popen(["cat", sys.argv[1]], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    time.sleep(0.5)
    assert p.poll() is None, "it should still be computing"
    p.send_signal(number)
    start = time.monotonic()
    assert p.wait(timeout=30) == -number
    assert time.monotonic() - start < 5, "it took too long to stop"
PYTHON
is "a signal stops the reader" $? 0
check "and the computing" wait_for is_idle

# As many as can be, of all views and states: everything else is answered meanwhile.
readers=()
for file in "$disk"/{,snapshots/one/,snapshots/two/}{disk.raw,disk.vhdx,disk-fixed.vhdx}.sha256; do
    for i in 1 2 3 4 5; do
        cat "$file" >/dev/null 2>&1 &
        readers+=($!)
    done
done
sleep 1
check "others are answered while many wait" timeout 20 ls -lR "$mnt"
check "reads too" timeout 20 dd if="$disk/disk.raw" of=/dev/null bs=1M count=20
check "map.json too" timeout 20 cat "$disk/map.json"
kill "${readers[@]}" 2>/dev/null
wait "${readers[@]}" 2>/dev/null
check "all of them stopped" wait_for is_idle
is "and a small one is computed" "$(timeout 20 cat "$disk/snapshots/one/disk.vhdx.sha256")" \
    "$(sha "$disk/snapshots/one/disk.vhdx")  disk.vhdx"

# The mount ends under a reader.
cat "$disk/disk.raw.sha256" >/dev/null 2>said &
reader=$!
sleep 0.5
kill -TERM "$daemon"
wait $reader
check "the end of the mount ends a reader" test -s said
wait_gone "$daemon" || fail "the daemon did not end"
is "nothing is left mounted" "$(grep -c "$mnt" /proc/self/mounts)" 0

# ---- two readers at once: the same answer ----
qemu-img convert -f raw -O qcow2 -c text.raw text.qcow2
mount_ok text.qcow2
for i in $(seq 20); do cat "$disk/disk.vhdx.sha256" >"got.$i" & done
wait
is "all that ask at once get the same" "$(cat got.* | sort -u)" "$(sha "$disk/disk.vhdx")  disk.vhdx"
is "each of them" "$(cat got.* | wc -l)" 20
unmount
finish
