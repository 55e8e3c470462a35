#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Turns every virtual machine of a directory into disk files:   samples/convert-all.sh [OPTION...] SRC_DIR DEST_DIR
#
#   --format=FORMAT   what to make: vhdx (which is made without it) or another one that disks/disk0/info.json names
#                     under "views": raw, vhdx-fixed, ...
#   --verify          compare the SHA-256 of each file, also of those that were finished before, with that of its
#                     source, which ferryfs computes by reading it once more
#
# A machine is an OVA or OVF, a directory with one in it, or a disk image (VMDK, QCOW2, raw); ferryfs decides by content.
# Files that belong to another of them (an OVF's disks, a snapshot's parents) are not machines of their own. Each disk
# becomes DEST_DIR/NAME.vhdx, or NAME-disk0.vhdx, NAME-disk1.vhdx, ... where there are several.
#
# Press Ctrl-C at any time and run the same command again: what is finished and unchanged is skipped (it has the size and
# time of its source), what was begun is continued where it ends, or after a crash of this machine where it first differs
# (it is called NAME.vhdx.part until it is whole, and NAME.vhdx.part.of says of which state of which source it is). Needs jq.
#
# While a disk is copied it shows bytes, rate and time left, on a terminal every second, else every minute. They count
# what is allocated, since holes take no time. FERRYFS names the program (else it is looked for in build/ of this
# checkout, and in PATH).
#
# Exit status: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted. What ferryfs refuses is skipped and listed,
# with its reason; for an OVA or OVF that counts as failed, since it can't be anything else's part.
set -uo pipefail

usage() { sed -n "3s/^# //p" "$0" >&2; exit 2; }

format=vhdx
verify=
while [ $# -gt 0 ]; do
    case $1 in
    --format=?*) format=${1#*=} ;;
    --verify) verify=yes ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# = 2 ] && [ -d "$1" ] || usage
src=$(realpath -- "$1")
mkdir -p -- "$2" || exit 2
dest=$(realpath -- "$2")

checkout=$(cd "$(dirname "$0")/.." && pwd -P)
if [ -z "${FERRYFS-}" ]; then
    FERRYFS=$checkout/build/ferryfs
    [ -x "$FERRYFS" ] || FERRYFS=ferryfs
fi
for tool in "$FERRYFS" jq fusermount3; do
    command -v "$tool" >/dev/null || { echo "convert-all: $tool is not installed" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/convert-all.XXXXXX") || exit 2
mnt=$work/mnt
mkdir "$mnt"

probe=$dest/.convert-all.$$ # gets the time of a source, as far as DEST_DIR can store it
children=()                  # what runs in the background; bash has it ignore Ctrl-C

unmount() { # also what a daemon has left that was killed: nothing can be asked of that
    fusermount3 -u "$mnt" 2>/dev/null && return
    mountpoint -q "$mnt" || return 0
    fusermount3 -uz "$mnt"
}
clean_up() {
    kill ${children[@]+"${children[@]}"} 2>/dev/null
    wait
    unmount
    rm -rf --one-file-system "$work" "$probe"
}
trap clean_up EXIT
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

# up_to_date VIEW FILE: the file has the size and time of the view.
up_to_date() {
    [ -f "$2" ] && [ "$(stat -c %s -- "$2")" = "$(stat -c %s -- "$1")" ] || return
    touch -r "$1" -- "$probe"
    [ ! "$probe" -nt "$2" ] && [ ! "$probe" -ot "$2" ]
}

bytes() { numfmt --to=iec-i --suffix=B --format=%.1f "$1"; }
now() { echo "${EPOCHREALTIME/[^0-9]/}"; } # microseconds
duration() { # duration SECONDS
    if [ "$1" -ge 3600 ]; then
        printf '%d:%02d:%02d' $(($1 / 3600)) $(($1 / 60 % 60)) $(($1 % 60))
    else
        printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
    fi
}

# progress FILE ALLOCATED SIZE BEGIN START: how far FILE is, which had BEGIN bytes at the time START.
progress() {
    local length blocks have total=$2 took rate left=
    read -r length blocks < <(stat -c '%s %b' -- "$1" 2>/dev/null) || return
    have=$((blocks * 512))
    if [ "$length" -gt $((4 << 20)) ] && [ $have -ge "$length" ]; then # no holes here: all of it is work
        have=$length total=$3
    fi
    [ $have -le "$total" ] || have=$total
    took=$(($(now) - $5 + 1))
    rate=$(((have - $4) * 1000000 / took))
    [ $rate -lt 0 ] && rate=0
    [ $rate -gt 0 ] && left=", $(duration $(((total - have) / rate))) left"
    printf '%s of %s, %d%%, %s/s%s' "$(bytes $have)" "$(bytes "$total")" \
        $((total ? have * 100 / total : 100)) "$(bytes $rate)" "$left"
}

# follow PID ARGUMENTS of progress: until the process ends; returns its status.
follow() {
    local pid=$1 next=0 every=60
    shift
    [ -t 1 ] && every=1 || next=$((SECONDS + every))
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.2
        [ $SECONDS -ge $next ] || continue
        next=$((SECONDS + every))
        [ -t 1 ] && printf '\r    %s\e[K' "$(progress "$@")" || printf '    %s\n' "$(progress "$@")"
    done
    [ -t 1 ] && printf '\r\e[K'
    wait "$pid"
}

# What tells a state of a source from any other; and what changes when this machine was started anew, by which data that
# was written before may have been lost.
identity() { printf '%s of %s, %s bytes, %s\n' "${1##*/}" "$path" "$(stat -c %s -- "$1")" "$(stat -c %.9Y -- "$1")"; }
boot_id() { cat /proc/sys/kernel/random/boot_id; }

# usable VIEW PART: prints how many MiB of what was begun are right.
usable() {
    local of=() length different
    mapfile -t of < <(cat -- "$2.of" 2>/dev/null)
    if [ ! -f "$2" ] || [ "${of[0]-}" != "$(identity "$1")" ]; then
        echo 0
        return
    fi
    length=$(stat -c %s -- "$2")
    if [ "${of[1]-}" != "$(boot_id)" ]; then
        different=$(LC_ALL=C cmp -n "$length" -- "$1" "$2" | sed -n 's/.* differ: [a-z]* \([0-9]*\),.*/\1/p')
        length=$((${different:-$((length + 1))} - 1))
    fi
    echo $((length >> 20))
}

# copy VIEW FILE ALLOCATED: to FILE.part.
copy() {
    local view=$1 part=$2.part size start begin=0 at status
    size=$(stat -c %s -- "$view")
    at=$(usable "$view" "$part")
    [ "$at" -gt 0 ] || rm -f -- "$part"
    { identity "$view" && boot_id; } >"$part.of" || return
    start=$(now)
    if [ "$at" -gt 0 ]; then
        begin=$(($(stat -c %b -- "$part") * 512))
        printf '    continued at %s\n' "$(bytes $((at << 20)))"
        # What lies behind goes away, so that what dd leaves out are holes.
        truncate -s "${at}M" -- "$part" || return
        dd if="$view" of="$part" bs=1M skip="$at" seek="$at" conv=sparse,notrunc status=none 2>"$work/err" &
    else
        cp --sparse=always -- "$view" "$part" 2>"$work/err" &
    fi
    children=($!)
    follow $! "$part" "$3" "$size" $begin "$start"
    status=$?
    children=()
    [ $status = 0 ] && truncate -s "$size" -- "$part" && touch -r "$view" -- "$part" || return 1
    printf '    %s\n' "$(progress "$part" "$3" "$size" $begin "$start")"
}

# verified VIEW FILE: the bytes on the disk, not those in memory, against those that the view has when it is read again.
verified() {
    local want got
    sync -- "$2"
    dd if="$2" iflag=nocache count=0 status=none
    cut -c1-64 "$1.sha256" >"$work/want" 2>"$work/err" &
    children=($!)
    sha256sum -- "$2" >"$work/got" &
    children+=($!)
    wait "${children[0]}"
    wait "${children[1]}"
    children=()
    read -r want <"$work/want"
    read -r got _ <"$work/got"
    got=${got#\\} # sha256sum puts one before the digest where the name needs it
    [ -n "${want-}" ] && [ "$want" = "${got-}" ]
}

# finish VIEW FILE: the .part is whole; it gets its name when it is also right, if that is asked for.
finish() {
    if [ -n "$verify" ]; then
        if ! verified "$1" "$2.part"; then
            rm -f -- "$2.part" "$2.part.of"
            return 1
        fi
        printf '    verified\n'
    fi
    mv -- "$2.part" "$2" && rm -f -- "$2.part.of"
}

convert_disk() { # convert_disk NAME DISK FILE_WITHOUT_SUFFIX
    local name=$1 disk=$2 file=$3 view allocated
    view=$(jq -r --arg f "$format" '.views[] | select(.format == $f) | .name' "$disk/info.json")
    if [ -z "$view" ]; then
        fail "$name" "there is no view of the format $format, but: $(jq -r '[.views[].format] | join(", ")' "$disk/info.json")"
        return
    fi
    file+=.${view##*.}
    if [ ! -f "$disk/$view" ]; then
        fail "$name" "${disk##*/} has no $view: $(jq -r --arg v "$view" '.views[] | select(.name == $v) | .why' "$disk/info.json")"
        return
    fi
    allocated=$(jq -r --arg v "$view" '.views[] | select(.name == $v) | .allocated' "$disk/info.json")
    if up_to_date "$disk/$view" "$file"; then
        if [ -n "$verify" ] && ! verified "$disk/$view" "$file"; then
            fail "$name" "${file##*/} is not what its source holds; remove it to have it made anew"
            return
        fi
        printf '    %s is finished%s\n' "${file##*/}" "${verify:+ and verified}"
        converted=$((converted + 1))
        return
    fi
    printf '    %s -> %s (%s, %s allocated)\n' "${disk##*/}" "${file##*/}" "$(bytes "$(stat -c %s "$disk/$view")")" \
        "$(bytes "$allocated")"
    if ! copy "$disk/$view" "$file" "$allocated"; then
        fail "$name" "copying ${disk##*/} failed: $(tail -n 1 "$work/err"); ${file##*/}.part is kept, and continued next time"
    elif ! finish "$disk/$view" "$file"; then
        fail "$name" "${file##*/} is not what its source holds, or can't be read; it was removed"
    else
        converted=$((converted + 1))
    fi
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
    [ ${#disks[@]} -gt 0 ] || fail "$name" "its mount has no disks: has ferryfs ended?"
    for disk in "${disks[@]}"; do
        disk=${disk%/}
        file=$dest/$name
        [ ${#disks[@]} = 1 ] || file+=-${disk##*/}
        convert_disk "$name" "$disk" "$file"
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
