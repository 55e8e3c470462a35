#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Prepares every machine of a directory for another hypervisor and copies its disks:   samples/fleet.sh [OPTION...] SRC_DIR DEST_DIR
#
#   --target=TARGET   hyperv (without it), azure-local, kvm, kubevirt: a file of the mount's prepare/
#   --format=FORMAT   the disks' format; without it vhdx, or qcow2 for kvm and kubevirt
#   --drivers=STORE   a store of Windows drivers, as ferryfs -o drivers= takes it
#   --plan            only say what would be done: nothing is written but the lines
#
# A machine is a file of SRC_DIR with the suffix of an OVA, OVF, .vmx or disk image, or a directory with an OVF or .vmx in it.
# Files that belong to another of them (an OVF's disks, a snapshot's parents, extents) are not machines of their own.
# Prints a line of JSON for each machine, and goes on with the next one, whatever became of it:
#
#   {"name":"web01","source":"/src/web01.ova","target":"kvm","status":"prepared","os":"Debian GNU/Linux 12","changes":7,
#    "plan":["file etc/fstab ..."],"disks":["/dest/web01.qcow2"],"why":null,"seconds":31}
#
# status: "prepared", "planned" (with --plan), "blocked" (the plan says why; nothing is copied), "failed" (why has the
# message), "interrupted" (by Ctrl-C, SIGTERM or SIGHUP: the machine under way, and those that were still to come). NAME is the
# file's without its suffix; where two would have the same one, they keep it.
#
# A source is never written: edits go to DEST_DIR/NAME.overlay, and stay there as a record (prepare/changes.json of a mount
# with it). Each disk becomes DEST_DIR/NAME.FORMAT, or NAME-disk0.FORMAT, ...; these have their names only when all disks of the
# machine are whole, and are called .part until then. Run again, a machine whose overlay is there has nothing left to do
# but its copy, and a copy that has the size and time of its source is left as it is. Needs jq. FERRYFS names the program.
#
# Exit status: 0 all prepared (planned), 1 some blocked or failed, 2 wrong usage or no machine, 128 + N interrupted by signal N.
set -uo pipefail
export LC_ALL=C

say() { printf 'fleet: %s\n' "$*" >&2; }
die() { say "$*"; exit 2; }
usage() { sed -n "3s/^# //p" "$0" >&2; exit 2; }

target=hyperv
format=
drivers=
plan_only=
while [ $# -gt 0 ]; do
    case $1 in
    --target=?*) target=${1#*=} ;;
    --format=?*) format=${1#*=} ;;
    --drivers=?*) drivers=$(realpath -e -- "${1#*=}") || exit 2 ;;
    --plan) plan_only=yes ;;
    --) shift; break ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# = 2 ] || usage
[ -d "$1" ] || die "$1 is no directory"
case $target in
hyperv | azure-local) format=${format:-vhdx} ;;
kvm | kubevirt) format=${format:-qcow2} ;;
*) die "there is no target $target, but: hyperv, azure-local, kvm, kubevirt" ;;
esac
src=$(realpath -- "$1") || exit 2
{ [ -r "$src" ] && [ -x "$src" ]; } || die "$1 can't be read"
[ -n "$plan_only" ] || mkdir -p -- "$2" || exit 2
dest=$(realpath -m -- "$2")
! [ "$src" -ef "$dest" ] || die "DEST_DIR must be another directory than SRC_DIR"
if [ -z "${FERRYFS-}" ]; then
    FERRYFS=$(cd "$(dirname "$0")/.." && pwd -P)/build/ferryfs
    [ -x "$FERRYFS" ] || FERRYFS=ferryfs
fi
for tool in "$FERRYFS" jq fusermount3 mountpoint; do
    command -v "$tool" >/dev/null || die "$tool is not installed"
done
work=$(mktemp -d "${TMPDIR:-/tmp}/fleet.XXXXXX") || die "there is no room for a directory in ${TMPDIR:-/tmp}"

mnt=    # the mount of the machine under way
daemon= # its process
child=  # what is waited for at the moment
probe=$dest/.fleet.$$ # gets the time of a source, as far as DEST_DIR can store it
parts=()

# ---- one thing at a time, all of which a signal can end ----

stopped= # the signal that ended it
stop() {
    trap '' INT TERM HUP # what follows is quick, and must be done
    stopped=$1
    [ -z "$child" ] || kill "$child" 2>/dev/null
}
trap 'stop INT' INT
trap 'stop TERM' TERM
trap 'stop HUP' HUP

# run COMMAND...: in the background, since bash looks at signals only between commands, and while it waits.
run() {
    local status
    [ -z "$stopped" ] || return 130
    "$@" </dev/null &
    child=$!
    wait "$child"
    status=$?
    if [ -n "$stopped" ]; then
        kill "$child" 2>/dev/null
        wait "$child"
        status=130
    fi
    child=
    return "$status"
}

is_alive() { kill -0 "$1" 2>/dev/null; }

# mount_machine OPTION... SOURCE: the daemon stays a child, so that its end is seen, and can be waited for.
mount_machine() {
    mnt=$(mktemp -d "$work/mnt.XXXXXX" 2>>"$work/err") || { mnt=; return 1; }
    "$FERRYFS" -f "$@" "$mnt" >/dev/null 2>>"$work/err" </dev/null &
    daemon=$!
    until mountpoint -q "$mnt"; do
        [ -z "$stopped" ] || return 1
        is_alive "$daemon" || { wait "$daemon"; return 1; }
        sleep 0.02
    done
}

# Waits until the daemon has let go of the overlay. One that is gone has left a mount that nothing can be asked of.
unmount() {
    local i
    [ -n "$mnt" ] || return 0
    if ! mountpoint -q "$mnt" && is_alive "$daemon"; then # it hasn't begun
        kill "$daemon"
        wait "$daemon"
    fi
    for ((i = 0; i < 50; i++)); do # something that was killed may still have a file open
        fusermount3 -u "$mnt" 2>/dev/null && break
        rmdir "$mnt" 2>/dev/null && break
        sleep 0.1
    done
    [ $i -lt 50 ] || fusermount3 -uz "$mnt" 2>>"$work/err"
    for ((i = 0; i < 600; i++)); do
        is_alive "$daemon" || break
        sleep 0.1
    done
    rmdir "$mnt" 2>/dev/null
    mnt=
}

clean_up() {
    trap '' INT TERM HUP
    unmount
    rm -f -- "$probe" ${parts[@]+"${parts[@]}"} 2>/dev/null
    rm -rf --one-file-system "$work" # never into a mount
}
trap clean_up EXIT

# ---- which files are machines ----

holds_machine() { compgen -G "$1/*.[oO][vV][fF]" >/dev/null || compgen -G "$1/*.[vV][mM][xX]" >/dev/null; }

# Is FILE an extent, by its name, of a descriptor beside it? Also where that can't be read.
is_extent() {
    [[ $1 =~ ^(.+)-(flat|delta|sesparse|ctk|rdm|rdmp|s[0-9]{3}|f[0-9]{3})\.vmdk$ && -e ${BASH_REMATCH[1]}.vmdk ]]
}

list_candidates() {
    local path
    candidates=()
    for path in "$src"/*; do
        if [ -d "$path" ]; then
            ! [ "$path" -ef "$dest" ] && holds_machine "$path" && candidates+=("$path")
            continue
        fi
        [ -f "$path" ] || { [ -L "$path" ] && ! [ -e "$path" ]; } || continue # a link to nothing fails
        ! is_extent "$path" || continue
        case ${path,,} in
        *.ova | *.ovf | *.vmx | *.vmdk | *.qcow2 | *.vhdx | *.avhdx | *.vhd | *.avhd | *.vdi | *.raw | *.img) candidates+=("$path") ;;
        esac
    done
}

# Fills `machines`: the candidates that no other one stands on. An OVA stands on nothing.
find_machines() {
    local path file
    local -A part_of=()
    machines=()
    for path in "${candidates[@]}"; do
        [[ ${path,,} != *.ova ]] || continue
        run "$FERRYFS" --info "$path" >"$work/info.json" 2>/dev/null || continue
        while IFS= read -r -d '' file; do
            file=$(realpath -m -- "$file")
            [ "$file" = "$path" ] || part_of["x$file"]=yes
        done < <(jq -j '.disks[] | (.source, .chain[]?.file) | strings | . + "\u0000"' "$work/info.json" 2>/dev/null)
    done
    for path in "${candidates[@]}"; do
        [ -n "${part_of["x$path"]-}" ] || machines+=("$path")
    done
}

short_name() { # sets `short`
    short=${1##*/}
    [ -d "$1" ] || short=${short%.*}
}

# Sets `names`, by machine: no two machines may want the same file of DEST_DIR, be it one that knows no case.
name_machines() {
    local path short full key count
    local -A wanted=()
    names=()
    for path in "${machines[@]}"; do
        short_name "$path"
        full=${path##*/}
        for key in "x${short,,}" "x${full,,}"; do
            count=${wanted["$key"]-0}
            wanted["$key"]=$((count + 1))
            [ "$short" != "$full" ] || break
        done
    done
    for path in "${machines[@]}"; do
        short_name "$path"
        key=x${short,,}
        if [ "${wanted["$key"]}" -gt 1 ] || [[ $key =~ ^(.+)-disk[0-9]+$ && -n ${wanted["${BASH_REMATCH[1]}"]-} ]]; then
            short=${path##*/}
        fi
        names+=("$short")
    done
}

# ---- one machine ----

# option NAME VALUE: as -o takes it.
option() {
    local value=${2//\\/\\\\}
    printf '%s=%s' "$1" "${value//,/\\,}"
}

# up_to_date VIEW FILE: the file has the size and time of the view.
up_to_date() {
    [ -f "$2" ] && ! [ -L "$2" ] && [ "$(stat -c %s -- "$2")" = "$(stat -c %s -- "$1")" ] || return
    touch -r "$1" -- "$probe" 2>/dev/null && ! [ "$probe" -nt "$2" ] && ! [ "$probe" -ot "$2" ]
}

# All disks, then all names.
copy_disks() {
    local disk disks=("$mnt"/disks/disk*/) file made=() i
    [ ${#disks[@]} -gt 0 ] || { echo "it has no disks" >>"$work/err"; return 1; }
    for disk in "${disks[@]}"; do
        disk=${disk%/}
        file=$dest/$name.$format
        [ ${#disks[@]} = 1 ] || file=$dest/$name-${disk##*/}.$format
        [ -e "$disk/disk.$format" ] || { echo "${disk##*/} has no disk.$format" >>"$work/err"; return 1; }
        made+=("$file")
        up_to_date "$disk/disk.$format" "$file" && continue
        parts+=("$file.part")
        run cp --sparse=always --preserve=timestamps -- "$disk/disk.$format" "$file.part" 2>"$work/cp" || {
            # cp quotes names as a shell reads them; what is behind the last colon is the system's word.
            echo "${disk##*/} can't be copied to ${file##*/}: $(tail -n 1 "$work/cp" | sed 's/.*: //')" >>"$work/err"
            return 1
        }
    done
    for file in ${parts[@]+"${parts[@]}"}; do
        mv -fT -- "$file" "${file%.part}" 2>>"$work/err" || return 1
    done
    files=("${made[@]}")
}

# What went wrong is in prepare/.error, and else in the shell's words.
apply() {
    # shellcheck disable=SC2016 # the inner shell's
    run sh -c 'echo apply 2>/dev/null >"$1"' sh "$mnt/prepare/$target" 2>>"$work/apply" && return
    [ -n "$stopped" ] || cat "$mnt/prepare/.error" >>"$work/err" 2>/dev/null
    [ -s "$work/err" ] || { sed 's/^sh: [0-9]*: //' "$work/apply" && echo "the changes could not be made"; } >>"$work/err"
    return 1
}

# A machine is mounted without a bad disk. A copy without it is none.
all_disks_shown() {
    jq -r '.disks[]? | select(.shown == false) | (.name // "a disk") + " is not shown: " + (.why // "")' "$mnt/info.json" \
        >"$work/hidden" 2>>"$work/err" || return
    ! [ -s "$work/hidden" ] || { [ -s "$work/err" ] || cat "$work/hidden" >>"$work/err"; return 1; }
}

# What the machine's files answer when the daemon is gone says nothing of why.
say_if_killed() {
    local how
    [ -n "$mnt" ] && ! is_alive "$daemon" || return
    wait "$daemon" 2>/dev/null
    how=$?
    [ $how -le 128 ] || echo "ferryfs was killed by SIG$(kill -l $how); run the same command again" >"$work/err"
}

# prepare SOURCE: sets status; what went wrong is in $work/err.
prepare() {
    local options=()
    status=failed
    [ -n "$plan_only" ] || options=(-o "$(option overlay "$dest/$name.overlay")")
    [ -z "$drivers" ] || options+=(-o "$(option drivers "$drivers")")
    mount_machine ${options[@]+"${options[@]}"} "$1" || return
    run all_disks_shown || return
    os=$(jq -r '.guests[0].name // empty' "$mnt/info.json" 2>>"$work/err") || return
    [ -e "$mnt/prepare/$target" ] || { echo "no guest is found in it" >>"$work/err"; return; }
    run cat "$mnt/prepare/$target" >"$work/plan" 2>>"$work/err" || return
    if grep '^BLOCKED: ' "$work/plan" >>"$work/err"; then
        status=blocked
    elif [ -n "$plan_only" ]; then
        status=planned
    elif grep -qx 'nothing to do' "$work/plan" || apply; then
        copy_disks && status=prepared
    fi
}

# line SOURCE: the line of a machine. Notes of a plan are no changes.
line() {
    local plan=$work/plan err=$work/err
    [ -f "$plan" ] || plan=/dev/null
    [ -f "$err" ] || err=/dev/null
    jq -cn --arg name "$name" --arg source "$1" --arg target "$target" --arg status "$status" --arg os "$os" \
        --rawfile plan "$plan" --rawfile why "$err" --argjson seconds "$((SECONDS - start))" \
        '($plan | split("\n") | map(select(. != "" and . != "nothing to do"))) as $lines |
        { name: $name, source: $source, target: $target, status: $status, os: (if $os == "" then null else $os end),
          changes: ($lines | map(select(test("^(note|BLOCKED): ") | not)) | length), plan: $lines, disks: $ARGS.positional,
          why: (if $status == "prepared" or $status == "planned" then null
                else $why | rtrimstr("\n") | if . == "" then "it ended without a message" else . end end),
          seconds: $seconds }' --args ${files[@]+"${files[@]}"}
}
# Ctrl-C ends jq, too.
report() { line "$1" || line "$1"; }

# one SOURCE
one() {
    os='' files=() parts=() start=$SECONDS
    rm -f -- "$work"/{err,plan,apply}
    if [ -z "$stopped" ]; then
        status=failed
        if { : >"$work/err" && : >"$work/plan" && : >"$work/apply"; } 2>/dev/null; then
            prepare "$1"
        else
            say "there is no room in $work for what is to be said of $name"
        fi
        [ "$status" != failed ] || say_if_killed
        unmount
        rm -f -- ${parts[@]+"${parts[@]}"} # none of them is left where all went well
        parts=()
        if [ -n "$stopped" ] && [ "$status" != prepared ] && [ "$status" != planned ] && [ "$status" != blocked ]; then
            status=interrupted
            echo "stopped by SIG$stopped; run the same command to go on" >"$work/err"
        fi
    else
        status=interrupted
        echo "not begun: stopped by SIG$stopped before; run the same command to go on" >"$work/err"
    fi
    [ "$status" = prepared ] || [ "$status" = planned ] || bad=1
    report "$1"
}

# ---- all of them ----

bad=0
shopt -s nullglob
list_candidates
find_machines
name_machines
for i in "${!machines[@]}"; do
    name=${names[i]}
    one "${machines[i]}"
done
[ -z "$stopped" ] || exit $((128 + $(kill -l "$stopped")))
[ ${#machines[@]} -gt 0 ] || die "there is no machine in $src"
exit $bad
