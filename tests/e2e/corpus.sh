#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The whole corpus of real images, each through a mount: right, or refused with the reason that fits. What is expected,
# and where from, is in tests/tools/corpus.py, which does the work.
. "$(dirname "$0")/lib.sh"
have_corpus || skip "no corpus of real images (FERRYFS_CORPUS)"
need python3 qemu-img blkid fusermount3

mounts=("$tmp/m0" "$tmp/m1")
python3 "$top/tests/tools/corpus.py" "$FERRYFS" "$FERRYFS_CORPUS" "$tmp" >"$tmp/verdicts" 2>"$err" ||
    fail "corpus.py" "$err"
while read -r verdict rest; do
    if [ "$verdict" = ok ]; then pass; else fail "$rest"; fi
done <"$tmp/verdicts"
check_not "nothing is left mounted" is_mounted "$tmp/m0"
check_not "nothing is left mounted" is_mounted "$tmp/m1"
sort -k 3,3nr "$tmp/verdicts" | sed -n '1,5s/^ok /slow: /p'
finish
