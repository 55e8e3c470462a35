#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A short run of tests/run-mutations: truncated and bit-flipped images of every format, by the hundred each.
# FERRYFS_MUTATIONS=N makes N of each (default 200; sanitized 60), FERRYFS_MUTATIONS_SEED chooses others.
. "$(dirname "$0")/lib.sh"
need qemu-img python3 tar

build=$(dirname "$FERRYFS")
[ -x "$build/tests/mutate" ] || skip "mutate is not built"
cases=200
grep -qa __asan_init "$FERRYFS" && cases=60
"$top/tests/run-mutations" -n "${FERRYFS_MUTATIONS:-$cases}" -s "${FERRYFS_MUTATIONS_SEED:-1}" "$build" >"$out" 2>&1
status=$?
cat "$out"
while read -r line; do
    case $line in
    *" cases, seed "*" 0 BAD") pass ;;
    *" cases, seed "*) fail "${line%%:*}: a damaged image is read wrongly" ;;
    esac
done <"$out"
is "exit status" $status 0
is "images" "$passed" 27
finish
