#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The files of hives are removed, replaced and moved while the registry is read and edited. Whoever comes first, each hive is
# whole at the end, and takes edits. Seconds: FERRYFS_MOVES (6).
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
need sgdisk mkntfs ntfs-3g hivexregedit jq
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
mount_ok "$tmp/disk.img" -- -o scratch
config=$mnt/guest/C/Windows/System32/config
sam=$mnt/registry/HKLM/SAM/SAM
cp "$config/SAM" "$tmp/SAM"
end=$((SECONDS + ${FERRYFS_MOVES:-6}))

edits() { # edits NAME
    local i=0
    while [ $SECONDS -lt $end ]; do
        mkdir "$sam/$1-$((i += 1))"
        [ $((i % 7)) != 0 ] || sync "$mnt/info.json"
    done
}
reads() {
    while [ $SECONDS -lt $end ]; do
        find "$mnt/registry/HKLM/" -maxdepth 3
        cat "$mnt/registry/.reg"
        jq .registry "$mnt/info.json"
    done
}
moves() {
    while [ $SECONDS -lt $end ]; do
        mv "$config/SAM" "$config/SAM.away" && mv "$config/SAM.away" "$config/SAM"
        cp "$tmp/SAM" "$config/SAM.new" && mv "$config/SAM.new" "$config/SAM"
        rm -f "$config/SAM" && cp "$tmp/SAM" "$config/SAM"
        mv "$config" "$config.away" && mv "$config.away" "$config"
        sync "$mnt/info.json" && moved=$((moved + 1))
    done
    echo "$moved" >"$tmp/moved"
}
moved=0
workers=()
for worker in "edits a" "edits b" reads moves; do
    $worker >/dev/null 2>&1 </dev/null & # much of it is refused
    workers+=($!)
done
wait "${workers[@]}"
check "something was moved" test "$(cat "$tmp/moved")" -gt 0
check "all can be made durable" sync "$mnt/info.json"
[ ! -e "$config.away" ] || check "the directory is put back" mv "$config.away" "$config"
# Of a copy that was refused in the middle.
check "a file for the hive" cp "$tmp/SAM" "$config/SAM.new"
check "is it" mv "$config/SAM.new" "$config/SAM"
check "it takes edits" mkdir "$sam/Last"
check "which are made durable" sync "$mnt/info.json"
for hive in SAM SYSTEM SOFTWARE SECURITY; do
    cp "$config/$hive" "$tmp/$hive.now"
    check "$hive is whole" "$FERRYFS" --check-hive "$tmp/$hive.now"
done
check "the edit is there" test -d "$sam/Last"
unmount
finish
