#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# samples/convert-all.sh: what it takes for machines, resuming after Ctrl-C, skipping what is finished, and failures.
# shellcheck disable=SC2005,SC2046 # lists of names, to be joined by blanks
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io rsync jq python3
export TMPDIR=$tmp

convert() { "$top/samples/convert-all.sh" "$tmp/src" "$tmp/dest" >"$tmp/convert.log" 2>&1 </dev/null; }
holds_same() { qemu-img compare -f vhdx -F raw "$1" "$2"; }

mkdir "$tmp/src" "$tmp/dest"
cp -p "$sample" "$tmp/src/web01.ova"
python3 - "$tmp/plain.raw" "$tmp/big.raw" <<'PYTHON'
import random, sys
rng = random.Random(1)
with open(sys.argv[1], "wb") as f:
    f.truncate(48 << 20)
    for at in (0, 5 << 20, 40 << 20):
        f.seek(at)
        f.write(rng.randbytes(300000))
with open(sys.argv[2], "wb") as f:
    f.write(rng.randbytes(96 << 20))
PYTHON
qemu-img convert -f raw -O qcow2 -c "$tmp/plain.raw" "$tmp/src/base.qcow2"
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 "$tmp/src/top.qcow2"
qemu-img convert -f raw -O qcow2 "$tmp/big.raw" "$tmp/src/big.qcow2"
echo "notes, and no machine" >"$tmp/src/README.txt"

# Interrupted while the big one is copied: its .part stays, everything is unmounted.
python3 - "$top/samples/convert-all.sh" "$tmp" >"$tmp/convert.log" 2>&1 </dev/null <<'PYTHON'
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
tmp = sys.argv[2]
p = subprocess.Popen([sys.argv[1], tmp + "/src", tmp + "/dest"], start_new_session=True)
part = tmp + "/dest/big.vhdx.part"
deadline = time.monotonic() + 60
while time.monotonic() < deadline and p.poll() is None:
    if os.path.exists(part) and os.path.getsize(part) > 1 << 20:
        os.killpg(p.pid, signal.SIGINT)
        break
    time.sleep(0.002)
sys.exit(p.wait())
PYTHON
status=$?
if [ $status = 130 ]; then # else the copy was faster than the signal
    check "what was begun is kept apart" test -s "$tmp/dest/big.vhdx.part"
    check_not "and is not called finished" test -e "$tmp/dest/big.vhdx"
    like "it says how to go on" "$(cat "$tmp/convert.log")" 'Interrupted'
fi
is "nothing is left mounted" "$(grep -c "$tmp/" /proc/self/mounts)" 0

convert
is "all is converted" $? 0
like "it counts" "$(cat "$tmp/convert.log")" '^3 disks in .*, 0 failed, 2 files skipped$'
is "one file for each machine, none for a parent or a text" "$(echo $(ls "$tmp/dest"))" "big.vhdx top.vhdx web01.vhdx"
check "what was interrupted is whole" holds_same "$tmp/dest/big.vhdx" "$tmp/big.raw"
check "a chain is one machine" holds_same "$tmp/dest/top.vhdx" "$tmp/plain.raw"
check "holes stay holes" test "$(($(stat -c %b "$tmp/dest/top.vhdx") * 512))" -lt $((16 << 20))
mount_ok "$sample"
check "the OVA's disk" same "$tmp/dest/web01.vhdx" "$mnt/disks/disk0/disk.vhdx"
is "the time is the view's" "$(stat -c %Y "$tmp/dest/web01.vhdx")" "$(stat -c %Y "$mnt/disks/disk0/disk.vhdx")"
unmount

# Once more: nothing is copied again.
before=$(stat -c '%n %i %z' "$tmp"/dest/*)
convert
is "again" $? 0
is "finished files are not touched" "$(stat -c '%n %i %z' "$tmp"/dest/*)" "$before"

# A source that has changed, at the same size, is converted again; one that is damaged fails, and the others don't.
qemu-io -f qcow2 -c 'write -P 77 20M 64k' "$tmp/src/top.qcow2" >"$out"
qemu-img convert -f qcow2 -O raw "$tmp/src/top.qcow2" "$tmp/changed.raw"
head -c 100000 "$sample" >"$tmp/src/cut.ova"
convert
is "a damaged archive is a failure" $? 1
like "and is named" "$(cat "$tmp/convert.log")" 'FAILED: cut\.ova: ferryfs: '
check "a changed source is converted again" holds_same "$tmp/dest/top.vhdx" "$tmp/changed.raw"
is "nothing is left mounted at the end" "$(grep -c "$tmp/" /proc/self/mounts)" 0
is "and nothing unfinished" "$(find "$tmp/dest" -name '*.part')" ""
finish
