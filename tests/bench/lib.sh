#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by the benchmarks. Ratios count, not seconds: what is compared runs in turn (A B A B ...), and the median of
# the ratios is told. The output goes to a memory file system, sources are in the page cache.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
ferryfs=${FERRYFS:-$top/build/ferryfs}
# shellcheck disable=SC2034  # of those who source this
runs=${RUNS:-5}
work=$(mktemp -d)
out=$work/out
mkdir "$out" "$work/mnt"
pid=

say() { printf '%s\n' "$*"; }
need() {
    for i; do command -v "$i" >/dev/null || { say "$0: needs $i" >&2; exit 1; }; done
}
finish() {
    [ -z "$pid" ] || unserve || :
    umount "$out" 2>/dev/null || :
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 1' INT TERM
mount -t tmpfs none "$out" 2>/dev/null || say "(the output goes to $(df --output=fstype "$out" | tail -1): not root, no tmpfs)"

now() { date +%s.%N; }
# serve SOURCE [OPTIONS]: ferryfs on $work/mnt, its pid in $pid.
serve() {
    "$ferryfs" -f ${2:+-o "$2"} "$1" "$work/mnt" &
    pid=$!
    for _ in $(seq 500); do
        [ ! -e "$work/mnt/info.json" ] || return 0
        sleep 0.01
    done
    return 1
}
unserve() {
    fusermount3 -u "$work/mnt" && wait "$pid"
    pid=
}
# memory: the most that the server ever had, MiB.
memory() { awk '/VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/$pid/status"; }
# took COMMAND...: wall seconds.
took() {
    local start
    start=$(now)
    "$@" >/dev/null 2>&1 || { say "failed: $*" >&2; return 1; }
    awk -v a="$start" -v b="$(now)" 'BEGIN { printf "%.3f\n", b - a }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { if (NR) print v[int((NR + 1) / 2)] }'; }
