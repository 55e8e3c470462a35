#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How long it takes to turn an image into another format: cp of a view beside `qemu-img convert -m 8 -W`, in turn.
#
#   tests/bench/copy.sh IMAGE...          RUNS=5, VIEWS="raw vhdx", FERRYFS=build/ferryfs
. "$(dirname "$0")/lib.sh"
need qemu-img fusermount3 awk

[ $# -gt 0 ] || { sed -n '3,5s/^# \{0,1\}//p' "$0"; exit 1; }
printf '%-28s %-6s %10s %10s %12s %8s\n' image view convert cp 'times faster' MiB
for image; do
    for view in ${VIEWS:-raw vhdx}; do
        : >"$work/convert"
        : >"$work/cp"
        : >"$work/ratio"
        for _ in $(seq "$runs"); do
            cat "$image" >/dev/null
            a=$(took qemu-img convert -m 8 -W -O "$view" "$image" "$out/copy")
            rm -f "$out/copy"
            serve "$image"
            b=$(took cp --sparse=always "$work/mnt/disks/disk0/disk.$view" "$out/copy")
            rss=$(memory)
            unserve
            rm -f "$out/copy"
            say "$a" >>"$work/convert"
            say "$b" >>"$work/cp"
            awk -v a="$a" -v b="$b" 'BEGIN { printf "%.2f\n", a / b }' >>"$work/ratio"
        done
        printf '%-28s %-6s %10s %10s %12s %8s\n' "$(basename "$image")" "$view" "$(median <"$work/convert")" \
            "$(median <"$work/cp")" "$(median <"$work/ratio")" "$rss"
    done
done
