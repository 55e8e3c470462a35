# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# Two disks, four file systems and a hive, a row of edits on them, and the judgement of what an overlay has kept of them.
# Sourced after lib.sh by the tests that kill the daemon or let its writes fail.

# shellcheck source=tests/e2e/three.bash
. "$(dirname "$0")/three.bash"
need sgdisk mkfs.fat mkntfs mkfs.ext4 e2fsck ntfsfix ntfsresize fsck.vfat qemu-img python3 jq
# The interpreter itself: python3 may be a script that looks for one each time.
python=$(python3 -c 'import sys; print(sys.executable)')
load=$top/tests/tools/kill-load.py
volumes=$mnt/volumes
kept=$tmp/kept
row=$tmp/row.log
hits=$tmp/hits
# libntfs-3g forgets inodes, and what hangs on them, when they can't be written.
echo leak:libntfs-3g >"$tmp/leaks"
export LSAN_OPTIONS=suppressions=$tmp/leaks:print_suppressions=0

# add_hive IMAGE: a system hive where Windows has it.
# shellcheck disable=SC2329 # make_three calls it
add_hive() {
    local at=$tmp/hive.mnt status
    mkdir -p "$at"
    ntfs-3g "$1" "$at" 2>/dev/null || return 1
    mkdir -p "$at/Windows/System32/config" && cp "$(corpus hive/regipy_SYSTEM.xz)" "$at/Windows/System32/config/SYSTEM"
    status=$?
    umount "$at"
    return $status
}

# make_targets: makes the disks, and sets what the row edits. A commit over two of them goes by commit.json.
make_targets() {
    hive=
    if have_corpus && command -v ntfs-3g >/dev/null; then
        three_fill_ntfs=add_hive
        hive=$volumes/disk0p2/Windows/System32/config/SYSTEM
    fi
    make_three "$tmp/disk.img" || skip "the file systems can't be made here"
    truncate -s 12M "$tmp/second.img"
    mkfs.ext4 -q -F "$tmp/second.img" || skip "ext4 can't be made here"
    before=$(sources_sha)
    targets=("$volumes"/{disk0p1,disk0p2,disk0p3,disk1}/load)
    [ -z "$hive" ] || targets+=("registry:$mnt/registry/HKLM/SYSTEM/load")
}

sources_sha() { cat "$tmp/disk.img" "$tmp/second.img" | sha; }

# mount_kept: with the overlay that is kept.
mount_kept() { mount_ok "$tmp/disk.img" "$tmp/second.img" -- -o "overlay=$kept"; }

# with_faults AT HOW TIMES HALF ARM COMMAND...: with fail-io (tests/tools/fail-io.c) in the daemon that it starts.
with_faults() {
    rm -f "$hits" "$tmp/arm"
    LD_PRELOAD=$fail_io FAIL_IO_DIR=$kept FAIL_IO_LOG=$hits FAIL_IO_AT=$1 FAIL_IO_HOW=$2 FAIL_IO_TIMES=$3 FAIL_IO_HALF=$4 \
        FAIL_IO_ARM=$5 "${@:6}"
}
fail_io=${FERRYFS%/*}/tests/fail-io.so

# try_mount: the same, and it may fail: sets `status`.
try_mount() {
    mounts+=("$mnt")
    timeout 100 "$FERRYFS" -o "overlay=$kept" "$tmp/disk.img" "$tmp/second.img" "$mnt" >"$out" 2>"$err" </dev/null
    status=$?
}

# was_hit: a call of this round failed, or its process died at it. Adds it to `what`, and to the sum in `reached`.
was_hit() {
    [ -s "$hits" ] || return 1
    what+=" ($(head -n 1 "$hits"))"
    reached=$((reached + 1))
}
reached=0

# all_reached N: nearly all of N points were; the rest lay behind the end of rows that had less to write.
all_reached() {
    echo "$reached of $1 points were reached"
    [ $((reached * 4)) -ge $(($1 * 3)) ] || fail "only $reached of $1 points were reached"
}

# make_template SEED STEPS: in `template`, what a killed daemon has left after a row.
make_template() {
    template=$tmp/template
    mount_kept
    empty_targets "template"
    check "template" "$python" "$load" load --steps "$2" "$row" "$1" "${targets[@]}"
    die
    cp -a --sparse=always "$kept" "$template"
}

# start_from template|nothing: what is kept is as it was in make_template, or is not there.
start_from() {
    rm -rf "$kept"
    [ "$1" != template ] || cp -a --sparse=always "$template" "$kept"
}

# judge_nothing WHAT: a mount, whatever the first one came to, shows the source.
judge_nothing() {
    mount_kept
    check "$1: the source" cmp "$tmp/disk.img" "$mnt/disks/disk0/disk.raw"
    check "$1: can be written" sh -c "echo new >'$volumes/disk1/new'"
    check "$1: durably" sync "$volumes/disk1/new"
    unmount
    check "$1: qemu-img check" qemu-img check "$kept/disk0.qcow2"
    check "$1: qemu-img check" qemu-img check "$kept/disk1.qcow2"
}

# mount_rounds N SEED: faults at N calls of a mount of what a killed daemon has left of the row, then of one without an
# overlay yet. The caller has `choose ROUND`, which sets how, times, half and what, and `end_try`, after the try to mount.
mount_rounds() {
    local from round n=$1
    for from in template nothing; do
        start_from $from
        with_faults 1 count 1 0 "" mount_kept
        die
        calls=$(wc -l <"$hits")
        echo "$calls calls in a mount from $from: $(cut -d ' ' -f 2 "$hits" | sort | uniq -c | tr -s ' \n' ' ')"
        for ((round = 1; round <= n; round++)); do
            at=$(point $round "$n")
            choose $round
            what+=", of a mount from $from"
            start_from $from
            with_faults "$at" "$how" "$times" "$half" "" try_mount
            was_hit
            end_try
            if [ $from = template ]; then judge "$what" "$2"; else judge_nothing "$what"; fi
        done
    done
}

# empty_targets WHAT: each target is an empty directory or key.
empty_targets() {
    local t
    rm -f "$row"
    for t in "${targets[@]#registry:}"; do
        rm -rf "$t" && mkdir "$t" || fail "$1: $t can't be made"
    done
}

# die: kills the daemon, as a crash would, if it isn't dead yet, and takes the dead mount away.
die() {
    local pids
    pids=$(daemons "$mnt")
    # shellcheck disable=SC2086 # a list of numbers
    [ -z "$pids" ] || kill -9 $pids
    # shellcheck disable=SC2086
    wait_gone $pids || fail "the daemon can't be killed"
    ! is_mounted "$mnt" || wait_for fusermount3 -u -- "$mnt" || fusermount3 -uz -- "$mnt"
}

# judge WHAT SEED: the next mount opens and has what it must, and every checker finds nothing.
judge() {
    mount_kept
    check "$1, seed $2: what is there" "$python" "$load" check "$row" "$2" "${targets[@]}"
    [ -z "${FERRYFS_KILL_VERBOSE-}" ] || sed "s/^/$1: /" "$out" | head -n 1
    local i
    for i in 0 1; do cp --sparse=always "$mnt/disks/disk$i/disk.raw" "$tmp/now$i.raw"; done
    [ -z "$hive" ] || cp "$hive" "$tmp/SYSTEM"
    unmount
    three_clean "$1" "$tmp/now0.raw"
    check "$1: e2fsck of the second disk" e2fsck -fn "$tmp/now1.raw"
    [ -z "$hive" ] || check "$1: the hive" "$FERRYFS" --check-hive "$tmp/SYSTEM"
    for i in 0 1; do
        check "$1: qemu-img check" qemu-img check "$kept/disk$i.qcow2"
        check "$1: QEMU reads it" qemu-img compare -f raw -F qcow2 "$tmp/now$i.raw" "$kept/disk$i.qcow2"
    done
}

# count_calls SEED STEPS: sets `calls`, how many calls change the overlay's files in a row of so many steps and the unmount.
count_calls() {
    with_faults 1 count 1 0 "$tmp/arm" mount_kept
    empty_targets "counting"
    check "the row of $2 steps" "$python" "$load" load --steps "$2" --arm "$tmp/arm" "$row" "$1" "${targets[@]}"
    unmount
    calls=$(wc -l <"$hits")
    judge "nothing happens" "$1"
    echo "$calls calls in $2 steps: $(cut -d ' ' -f 2 "$hits" | sort | uniq -c | tr -s ' \n' ' ')"
}

# point I N: a call of the row, the I-th of N, which are spread over all of it.
point() { echo $((($1 - 1) * calls / $2 + 1 + (RANDOM * calls / 32768 / $2))); }
