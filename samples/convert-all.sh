#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Turns every virtual machine of a directory into VHDX files:   samples/convert-all.sh SRC_DIR DEST_DIR
#
# A machine is an OVA or OVF, a directory with one in it, or a disk image (VMDK, QCOW2, raw); ferryfs decides by content.
# Files that belong to another of them (an OVF's disks, a snapshot's parents) are not machines of their own. Each disk
# becomes DEST_DIR/NAME.vhdx, or NAME-disk0.vhdx, NAME-disk1.vhdx, ... where there are several.
#
# Press Ctrl-C at any time and run the same command again: what is finished and unchanged is skipped, what was begun (it
# is called NAME.vhdx.part until it is whole) is continued. Needs rsync and jq.
#
# FERRYFS names the program (else it is looked for in build/ of this checkout, and in PATH), VIEW another view than
# disk.vhdx: VIEW=disk.raw samples/convert-all.sh ...
#
# Exit status: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted. What ferryfs refuses is skipped and listed,
# with its reason; for an OVA or OVF that counts as failed, since it can't be anything else's part.
set -uo pipefail

VIEW=${VIEW:-disk.vhdx}
if [ $# != 2 ] || [ ! -d "$1" ]; then
    sed -n "3s/^# //p" "$0" >&2
    exit 2
fi
src=$(realpath -- "$1")
mkdir -p -- "$2" || exit 2
dest=$(realpath -- "$2")

checkout=$(cd "$(dirname "$0")/.." && pwd -P)
if [ -z "${FERRYFS-}" ]; then
    FERRYFS=$checkout/build/ferryfs
    [ -x "$FERRYFS" ] || FERRYFS=ferryfs
fi
for tool in "$FERRYFS" rsync jq fusermount3; do
    command -v "$tool" >/dev/null || { echo "convert-all: $tool is not installed" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/convert-all.XXXXXX")
mnt=$work/mnt
mkdir "$mnt"

unmount() {
    mountpoint -q "$mnt" || return 0
    fusermount3 -u "$mnt" 2>/dev/null || fusermount3 -uz "$mnt"
}
# rsync gets Ctrl-C from the terminal too, and stops; what it has written stays in the .part file.
trap 'unmount; rm -rf "$work"' EXIT
trap 'echo; echo "Interrupted. Run the same command to continue."; exit 130' INT
trap 'exit 143' TERM HUP

converted=0
current=0
failures=()
skips=()

fail() {
    failures+=("$1: $2")
    printf '    failed: %s\n' "$2"
}

# ---- which files are machines ----

# Fills `candidates`: what lies in SRC_DIR, and a directory if there is an OVF in it.
list_candidates() {
    local path
    candidates=()
    for path in "$src"/*; do
        if [ -d "$path" ]; then
            [ "$path" != "$dest" ] && compgen -G "$path/*.[oO][vV][fF]" >/dev/null && candidates+=("$path")
        elif [ -f "$path" ]; then
            candidates+=("$path")
        fi
    done
}

# Asks ferryfs about each candidate. Fills `machines`, and `part_of` with the files that another one stands on.
examine() {
    local path file
    machines=()
    declare -gA part_of=()
    for path in "${candidates[@]}"; do
        if ! "$FERRYFS" --info "$path" >"$work/info.json" 2>"$work/err"; then
            case ${path,,} in
            *.ova | *.ovf) failures+=("${path##*/}: $(head -n 1 "$work/err")") ;;
            *) skips+=("${path##*/}: $(head -n 1 "$work/err")") ;;
            esac
            continue
        fi
        machines+=("$path")
        while IFS= read -r file; do
            file=$(realpath -m -- "$file")
            [ "$file" = "$path" ] || part_of[$file]=${path##*/}
        done < <(jq -r '.disks[] | .chain[]?.file // empty' "$work/info.json")
    done
}

# ---- one machine ----

# up_to_date VIEW FILE: rsync itself would not copy it (same size and time).
up_to_date() { [ -f "$2" ] && [ -z "$(rsync -n -t --out-format=%n -- "$1" "$2" 2>&1)" ]; }

# copy VIEW FILE: in place, so that a begun file is continued: rsync compares what is there block by block, and writes only
# what differs. (--append would be faster, and would take an older file of the same length for finished.) -S leaves the
# holes out.
copy() {
    local view=$1 file=$2 show=(--info=progress2)
    [ -t 1 ] || show=(--info=stats1)
    # A finished file whose source has changed since is where the new one begins.
    [ -e "$file.part" ] || [ ! -e "$file" ] || mv -- "$file" "$file.part"
    rsync -t -S --inplace --no-whole-file "${show[@]}" -- "$view" "$file.part" && mv -- "$file.part" "$file"
}

convert() { # convert MACHINE NAME
    local path=$1 name=$2 disks disk file
    if ! "$FERRYFS" "$path" "$mnt" 2>"$work/err"; then
        fail "$name" "$(head -n 1 "$work/err")"
        return
    fi
    # A machine is mounted without a bad disk, and says so.
    [ ! -s "$work/err" ] || fail "$name" "$(head -n 1 "$work/err")"
    disks=("$mnt"/disks/*/)
    for disk in "${disks[@]}"; do
        disk=${disk%/}
        file=$dest/$name
        [ ${#disks[@]} = 1 ] || file+=-${disk##*/}
        file+=.${VIEW##*.}
        if [ ! -f "$disk/$VIEW" ]; then
            fail "$name" "${disk##*/} has no $VIEW: $(jq -r --arg v "$VIEW" \
                '[.views[]? | select(.name == $v) | .why] | first // "unknown view"' "$disk/info.json")"
        elif up_to_date "$disk/$VIEW" "$file"; then
            printf '    %s is finished\n' "${file##*/}"
            converted=$((converted + 1))
        else
            printf '    %s -> %s (%s)\n' "${disk##*/}" "${file##*/}" "$(numfmt --to=iec-i --suffix=B "$(stat -c %s "$disk/$VIEW")")"
            if copy "$disk/$VIEW" "$file"; then
                converted=$((converted + 1))
            else
                fail "$name" "copying ${disk##*/} failed; ${file##*/}.part is kept, and continued next time"
            fi
        fi
    done
    unmount
}

# ---- all of them ----

shopt -s nullglob
list_candidates
examine
declare -A taken=() # names that are given away
todo=()
for path in "${machines[@]}"; do
    if [ -n "${part_of[$path]-}" ]; then
        skips+=("${path##*/}: is part of ${part_of[$path]}")
    else
        todo+=("$path")
    fi
done

for path in "${todo[@]}"; do
    current=$((current + 1))
    name=${path##*/}
    [ -d "$path" ] || name=${name%.*}
    [ -z "${taken[$name]-}" ] || name=${path##*/} # web01.ova and web01.qcow2
    taken[$name]=yes
    printf '[%d of %d] %s\n' $current ${#todo[@]} "${path##*/}"
    convert "$path" "$name"
done

printf '\n%d disks in %s, %d failed, %d files skipped\n' $converted "$dest" ${#failures[@]} ${#skips[@]}
[ ${#skips[@]} = 0 ] || printf '  skipped: %s\n' "${skips[@]}"
[ ${#failures[@]} = 0 ] || { printf '  FAILED: %s\n' "${failures[@]}"; exit 1; }
[ ${#todo[@]} -gt 0 ] || { echo "There is no machine in $src."; exit 1; }
