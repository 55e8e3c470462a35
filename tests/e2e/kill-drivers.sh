#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon dies at each of some of the calls that change the overlay's files while a driver package goes in or out, and
# while prepare/ is applied or undone. The next mount has all of it or nothing: files, registry, installed/, and the
# record that undo needs; what is there can be taken out, or back. No record that nothing names is left.
#   FERRYFS_DRIVER_POINTS  how many of the calls, of each of the four (2): in turn before, and in the middle of or after one
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
# shellcheck source=tests/e2e/drivers.bash
. "$(dirname "$0")/drivers.bash"
# shellcheck source=tests/e2e/kill.bash
. "$(dirname "$0")/kill.bash"
need hivexregedit hivexml ntfs-3g
points=2
if grep -qa __asan_init "$FERRYFS"; then points=1; fi # for the paths: what the kills are for is seen without
points=${FERRYFS_DRIVER_POINTS:-$points}
[ -e "$fail_io" ] || skip "fail-io.so is not built"
have_corpus || skip "there is no corpus"

# The directories that any Windows has, and what the plan for Hyper-V wants to be there; the drivers' files are empty.
# shellcheck disable=SC2329 # make_windows calls it
fill() {
    local root=$1/Windows d
    mkdir -p "$1/Boot" "$root/INF" "$root/System32/drivers" "$root/System32/DriverStore/FileRepository" \
        "$root/System32/CatRoot/{F750E6C3-38EE-11D1-85E5-00C04FC295EE}"
    cp "$(corpus bcd/regipy_BCD.xz)" "$1/Boot/BCD" || return 1
    for d in vmbus storvsc vmstorfl intelide atapi msahci; do
        echo "$d" >"$root/System32/drivers/$d.sys"
    done
}
# shellcheck disable=SC2034 # windows.bash reads it
windows_fill=fill
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"
before=$(sha "$tmp/disk.img")
pkg=$(package Win7/amd64 8664 viostor)

# Of one disk.
mount_kept() { mount_ok "$tmp/disk.img" -- -o "overlay=$kept"; }

# state: all of the guest that a package or a target may change, and what the mount says of it.
state() {
    tree_of
    (cd "$windows" && find . -type d | sort)
    iconv -f utf-16 -t utf-8 "$mnt/registry/HKLM/SOFTWARE/.reg"
    echo "installed: $(ls "$mnt/drivers/installed")"
    jq -S . "$mnt/prepare/changes.json"
}

# records_named WHAT: of the overlay's records there are those that commit.json names.
records_named() {
    local named
    named=$(jq -r '.. | strings' "$kept/commit.json" | grep -o '^record-[^ ]*' | sort)
    is "$1: its records" "$(cd "$kept" && find . -name 'record-*' -printf '%f\n' | sort)" "$named"
}

# what each of the four needs before, and does
# shellcheck disable=SC2329 # all are called by name
{
    ready_install() { stage "$pkg"; }
    do_install() { install pkg-viostor; }
    ready_uninstall() { :; }
    do_uninstall() { rm -r "$mnt/drivers/installed/oem0.inf"; }
    ready_apply() { :; }
    do_apply() { echo apply >"$mnt/prepare/hyperv"; }
    ready_undo() { :; }
    do_undo() { echo undo >"$mnt/prepare/hyperv"; }
}

# What each begins with, `clean`, `driver` and `applied`, and the state that it has.
from() { case $1 in install | apply) echo clean ;; uninstall) echo driver ;; undo) echo applied ;; esac }
to() { case $1 in install) echo driver ;; apply) echo applied ;; uninstall | undo) echo clean ;; esac }

# keep NAME: the overlay as a clean unmount leaves it.
keep() {
    unmount
    cp -a --sparse=always "$kept" "$tmp/at-$1"
}
begin_with() {
    rm -rf "$kept"
    cp -a --sparse=always "$tmp/at-$1" "$kept"
}

mount_kept
check "it is Windows 7" software 6.1 7601
check "of 64 bits" processor AMD64
state >"$tmp/is-clean"
keep clean
for what in install apply; do
    begin_with clean
    mount_kept
    check "$what: ready" ready_$what
    check "$what, undisturbed" do_$what
    state >"$tmp/is-$(to $what)"
    check_not "$what changes something" cmp -s "$tmp/is-clean" "$tmp/is-$(to $what)"
    keep "$(to $what)"
    records_named "$what"
done

# judge WHAT OPERATION MUST: the next mount's state is that from before or from after (MUST: after, since it was said to be
# done), and it works on from there: what is there goes, what isn't comes.
judge() {
    local is=neither name h
    mount_kept
    records_named "$1"
    state >"$tmp/now"
    for name in "$(from "$2")" "$(to "$2")"; do
        ! cmp -s "$tmp/now" "$tmp/is-$name" || is=$name
    done
    [ $is != neither ] || fail "$1: what there is is neither as before nor as after" <(diff "$tmp/is-$(to "$2")" "$tmp/now")
    [ "$3" != after ] || is "$1: what succeeded is there" "$is" "$(to "$2")"
    ends[$is]=$((${ends[$is]-0} + 1))
    check "$1: the log" test -f "$mnt/drivers/log"
    is "$1: says nothing of what this daemon didn't do" "$(log)" ""
    for h in SYSTEM SOFTWARE DRIVERS; do
        cp "$windows/System32/config/$h" "$tmp/$h"
    done
    check "$1: SYSTEM" "$FERRYFS" --check-hive "$tmp/SYSTEM"
    check "$1: SOFTWARE" "$FERRYFS" --check-hive "$tmp/SOFTWARE"
    check "$1: hivex reads SYSTEM" sh -c "hivexml '$tmp/SYSTEM' >/dev/null"
    case $is in
    driver) check "$1: it goes out" do_uninstall ;;
    applied) check "$1: it is taken back" do_undo ;;
    clean) [ "$(from "$2")" != clean ] || { check "$1: ready again" ready_"$2" && check "$1: it goes through now" do_"$2"; } ;;
    esac
    state >"$tmp/now"
    name=clean
    [ "$is" != clean ] || [ "$(from "$2")" != clean ] || name=$(to "$2")
    check "$1: then all is as it must be" cmp "$tmp/is-$name" "$tmp/now"
    unmount
    records_named "$1, at the end"
    check "$1: qemu-img check" qemu-img check "$kept/disk0.qcow2"
}

declare -A ends
for op in install uninstall apply undo; do
    begin_with "$(from $op)"
    with_faults 1 count 1 0 "$tmp/arm" mount_kept
    ready_$op
    touch "$tmp/arm"
    check "$op, counted" do_$op
    calls=$(wc -l <"$hits")
    die
    echo "$calls calls in $op: $(cut -d ' ' -f 2 "$hits" | sort | uniq -c | tr -s ' \n' ' ')"
    # What was said to be done is there after a kill.
    judge "$op, then a kill" $op after
    ends=()
    for ((round = 1; round <= points; round++)); do
        at=$(point $round "$points")
        half=$((round % 2))
        what="$op: dies at call $at, half $half"
        begin_with "$(from $op)"
        with_faults "$at" "kill" 1 $half "$tmp/arm" mount_kept
        ready_$op
        touch "$tmp/arm"
        must=either
        do_$op >/dev/null 2>&1 && must=after
        was_hit
        die
        judge "$what" $op $must
    done
    for name in "${!ends[@]}"; do echo "$op: ${ends[$name]} times $name"; done
done
all_reached $((4 * points))
is "the source is as it was" "$(sha "$tmp/disk.img")" "$before"
finish
