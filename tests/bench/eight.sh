#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Eight copies at once out of one mount beside one, of disk.raw: of each of eight readers all data is read, holes are
# passed over, nothing is written.
#
#   tests/bench/eight.sh IMAGE...         RUNS=5, READERS=8, FERRYFS=build/ferryfs
. "$(dirname "$0")/lib.sh"
need python3 fusermount3 awk

[ $# -gt 0 ] || { sed -n '3,6s/^# \{0,1\}//p' "$0"; exit 1; }
readers=${READERS:-8}
cat >"$work/read.py" <<'PY'
import os, sys

f = os.open(sys.argv[1], os.O_RDONLY)
size, at = os.fstat(f).st_size, 0
while at < size:
    try:
        at = os.lseek(f, at, os.SEEK_DATA)
    except OSError:
        break
    end = os.lseek(f, at, os.SEEK_HOLE)
    while at < end:
        n = len(os.pread(f, min(1 << 20, end - at), at))
        if not n:
            sys.exit("short")
        at += n
PY
cat >"$work/all" <<'SH'
n=$1
shift
for _ in $(seq "$n"); do "$@" & done
for job in $(jobs -p); do wait "$job" || exit; done
SH
printf '%-28s %10s %12s %22s %8s\n' image 'one, s' "$readers, s" 'times the throughput' MiB
for image; do
    : >"$work/one"
    : >"$work/many"
    : >"$work/ratio"
    for _ in $(seq "$runs"); do
        cat "$image" >/dev/null
        view=$work/mnt/disks/disk0/disk.raw
        serve "$image"
        a=$(took bash "$work/all" 1 python3 "$work/read.py" "$view")
        unserve
        serve "$image"
        b=$(took bash "$work/all" "$readers" python3 "$work/read.py" "$view")
        rss=$(memory)
        unserve
        say "$a" >>"$work/one"
        say "$b" >>"$work/many"
        awk -v a="$a" -v b="$b" -v n="$readers" 'BEGIN { printf "%.2f\n", n * a / b }' >>"$work/ratio"
    done
    printf '%-28s %10s %12s %22s %8s\n' "$(basename "$image")" "$(median <"$work/one")" "$(median <"$work/many")" \
        "$(median <"$work/ratio")" "$rss"
done
