#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Images whose tables describe as much as they can (tests/tools/make-slow.py): to mount one, to list it, and the first
# reads of what is in it take seconds at most, whatever the tables say; a walk that nothing bounds takes many minutes.
# Counted is the daemon's processor time, which a busy host makes several times as much for the same work; sanitizers too.
. "$(dirname "$0")/lib.sh"
need python3

limit=2000 # hundredths of a second; some 200 where nothing else runs
kinds=(qcow2-turns qcow2-turns-4k qcow2-runs qcow2-distinct qcow2-chain qcow2-chain-runs vmdk-turns vmdk-runs vmdk-zeros
    cowd-turns cowd-runs sesparse-turns sesparse-runs vhdx-turns vhdx-runs vhd-blocks vhd-turns vhd-runs vdi-turns)
if nm -D "$FERRYFS" | grep -Eq '__(asan|tsan|ubsan)_'; then # for the paths, not for the time
    limit=20000
    kinds=(qcow2-turns vhdx-turns)
fi
cd "$tmp" || exit 1
spent() { awk '{print $14 + $15}' "/proc/$(daemons "$mnt")/stat"; }

# read_some FILE: the first 64 KiB, the same in the middle, and where the first hole is; errors are no matter.
read_some() {
    python3 -c 'import os, sys
f = os.open(sys.argv[1], os.O_RDONLY)
for look in (lambda: os.pread(f, 65536, 0), lambda: os.pread(f, 65536, os.fstat(f).st_size // 2),
             lambda: os.lseek(f, 0, os.SEEK_HOLE)):
    try:
        look()
    except OSError:
        pass' "$1"
}

for kind in "${kinds[@]}"; do
    mkdir "$kind"
    python3 "$top/tests/tools/make-slow.py" $kind "$kind/disk.img"
    start=$SECONDS
    mount_ok "$kind/disk.img"
    check "$kind: a listing" ls -ls "$mnt/disks/disk0"
    for file in "$mnt"/disks/disk0/disk*; do check "$kind: ${file##*/}" read_some "$file"; done
    check "$kind: a part of its map" dd if="$mnt/disks/disk0/map.json" of=/dev/null bs=4k count=1 status=none
    check "$kind: info.json" cat "$mnt/info.json"
    used=$(spent)
    check "$kind took $used hundredths of a second, $((SECONDS - start)) s by the clock" [ "$used" -lt $limit ]
    unmount
    echo "$kind: $used"
    rm -r "$kind"
done
finish
