#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every image of the corpus by ferryfs, and by qemu-img, 7z and libyal's readers: where they differ is in tests/differences with
# its reason, and nothing else may. tests/tools/differential.py does the work. 7z (p7zip-full) and libyal (libvmdk-utils,
# libvhdi-utils, libqcow-utils) are taken where they are installed.
. "$(dirname "$0")/lib.sh"
have_corpus || skip "no corpus of real images (FERRYFS_CORPUS)"
need python3 qemu-img fusermount3

for reader in 7z vmdkmount vhdimount qcowmount; do
    command -v $reader >/dev/null || echo "left out: $reader, which is not installed"
done
python3 "$top/tests/tools/differential.py" "$FERRYFS" "$FERRYFS_CORPUS" "$tmp" "$top/tests/differences" >"$tmp/verdicts" 2>"$err" ||
    fail "differential.py" "$err"
while read -r verdict rest; do
    if [ "$verdict" = ok ]; then pass; else fail "$rest"; fi
done <"$tmp/verdicts"
sort "$tmp/verdicts" | awk '{ n[$3]++ } END { for (r in n) print r, n[r] }'
finish
