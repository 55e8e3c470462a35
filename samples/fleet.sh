#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Prepares every OVA of a directory for another hypervisor and copies its disks:   samples/fleet.sh [OPTION...] SRC_DIR DEST_DIR
#
#   --target=TARGET   hyperv (without it), azure-local, kvm, kubevirt: a file of the mount's prepare/
#   --format=FORMAT   the disks' format; without it vhdx, or qcow2 for kvm and kubevirt
#   --drivers=STORE   a store of Windows drivers, as ferryfs -o drivers= takes it
#   --plan            only say what would be done: nothing is written but the lines
#
# Prints a line of JSON for each machine, and goes on with the next one, whatever became of it:
#
#   {"name":"web01","source":"/src/web01.ova","target":"kvm","status":"prepared","os":"Debian GNU/Linux 12","changes":7,
#    "plan":["file etc/fstab ..."],"disks":["/dest/web01.qcow2"],"why":null,"seconds":31}
#
# status: "prepared", "planned" (with --plan), "blocked" (the plan says why; nothing is copied), "failed" (why has the
# message). An OVA is never written: edits go to DEST_DIR/NAME.overlay, and stay there as a record (prepare/changes.json of a
# mount with it); run again, a machine whose overlay is there has nothing left to do but its copy. Each disk becomes
# DEST_DIR/NAME.FORMAT, or NAME-disk0.FORMAT, ...; it is called .part until it is whole. Needs jq. FERRYFS names the program.
#
# Exit status: 0 all prepared (planned), 1 some blocked or failed, 2 wrong usage.
set -uo pipefail

usage() { sed -n "3s/^# //p" "$0" >&2; exit 2; }

target=hyperv
format=
drivers=
plan_only=
while [ $# -gt 0 ]; do
    case $1 in
    --target=?*) target=${1#*=} ;;
    --format=?*) format=${1#*=} ;;
    --drivers=?*) drivers=$(realpath -- "${1#*=}") || exit 2 ;;
    --plan) plan_only=yes ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# = 2 ] && [ -d "$1" ] || usage
case $target in
hyperv | azure-local) format=${format:-vhdx} ;;
kvm | kubevirt) format=${format:-qcow2} ;;
*) usage ;;
esac
src=$(realpath -- "$1")
mkdir -p -- "$2" || exit 2
dest=$(realpath -- "$2")
FERRYFS=${FERRYFS:-$(cd "$(dirname "$0")/.." && pwd -P)/build/ferryfs}
[ -x "$FERRYFS" ] || FERRYFS=ferryfs
for tool in "$FERRYFS" jq fusermount3; do
    command -v "$tool" >/dev/null || { echo "fleet: $tool is not installed" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/fleet.XXXXXX")
mnt=$work/mnt
mkdir "$mnt"
unmount() { # what was committed is safe before; this waits until the daemon has let go of the overlay
    mountpoint -q "$mnt" || return 0
    fusermount3 -u "$mnt" 2>/dev/null || { sleep 1; fusermount3 -u "$mnt" 2>>"$work/err" || fusermount3 -uz "$mnt"; }
}
trap 'unmount; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# copy_disk VIEW FILE
copy_disk() {
    cp --sparse=always -- "$1" "$2.part" 2>>"$work/err" && mv -- "$2.part" "$2" && return
    rm -f -- "$2.part"
    return 1
}

copy_disks() {
    local disk disks=("$mnt"/disks/disk*/) file
    for disk in "${disks[@]}"; do
        disk=${disk%/}
        file=$dest/$name.$format
        [ ${#disks[@]} = 1 ] || file=$dest/$name-${disk##*/}.$format
        [ -e "$disk/disk.$format" ] || { echo "${disk##*/} has no disk.$format" >>"$work/err"; return 1; }
        copy_disk "$disk/disk.$format" "$file" || return
        files+=("$file")
    done
}

# prepare OVA: sets status; what went wrong is in $work/err.
prepare() {
    local options=()
    status=failed
    [ -n "$plan_only" ] || options=(-o "overlay=$dest/$name.overlay")
    [ -z "$drivers" ] || options+=(-o "drivers=$drivers")
    "$FERRYFS" ${options[@]+"${options[@]}"} "$1" "$mnt" >/dev/null 2>>"$work/err" || return
    os=$(jq -r '.guests[0].name // empty' "$mnt/info.json")
    [ -e "$mnt/prepare/$target" ] || { echo "no guest is found in it" >>"$work/err"; return; }
    cat "$mnt/prepare/$target" >"$work/plan" 2>>"$work/err" || return
    if grep '^BLOCKED: ' "$work/plan" >>"$work/err"; then
        status=blocked
    elif [ -n "$plan_only" ]; then
        status=planned
    elif grep -qx 'nothing to do' "$work/plan" || apply; then
        copy_disks && status=prepared
    fi
}

apply() {
    echo apply 2>>"$work/err" >"$mnt/prepare/$target" && return
    cat "$mnt/prepare/.error" >>"$work/err" 2>/dev/null
    return 1
}

# The line of a machine. Notes of a plan are no changes.
report() {
    jq -cn --arg name "$name" --arg source "$1" --arg target "$target" --arg status "$status" --arg os "$os" \
        --rawfile plan "$work/plan" --rawfile why "$work/err" --argjson seconds "$((SECONDS - start))" \
        '($plan | split("\n") | map(select(. != "" and . != "nothing to do"))) as $lines |
        { name: $name, source: $source, target: $target, status: $status, os: (if $os == "" then null else $os end),
          changes: ($lines | map(select(test("^(note|BLOCKED): ") | not)) | length), plan: $lines, disks: $ARGS.positional,
          why: (if $status == "failed" or $status == "blocked" then ($why | rtrimstr("\n")) else null end),
          seconds: $seconds }' --args ${files[@]+"${files[@]}"}
}

bad=0
shopt -s nullglob nocaseglob
for ova in "$src"/*.ova; do
    name=${ova##*/}
    name=${name%.*}
    start=$SECONDS os='' files=()
    : >"$work/err"
    : >"$work/plan"
    prepare "$ova"
    unmount
    [ "$status" = prepared ] || [ "$status" = planned ] || bad=1
    report "$ova"
done
exit $bad
