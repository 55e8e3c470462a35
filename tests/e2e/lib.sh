# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# The verbs of the end-to-end tests. A test is a bash script in this directory:
#
#     . "$(dirname "$0")/lib.sh"
#     need qemu-img
#     img=$(corpus vmdk/some.vmdk.xz) || skip "no corpus"
#     mount_ok "$img" -- -o cached
#     check "the view opens in qemu-img" qemu-img info "$mnt/disks/disk0/disk.vhdx"
#     is "the format" "$(json "$mnt/disks/disk0/info.json" .format)" vmdk
#     unmount
#     finish
#
# Exit status: 0 all checks passed, 1 some failed, 77 skipped. Whatever happens, everything mounted is unmounted, the
# daemons are waited for, and a sanitizer's report from any of them fails the test.
#
# Given by the runner (tests/run-tests), or chosen here so that a test also runs by itself:
#   FERRYFS            the program; default build/ferryfs
#   FERRYFS_TEST_TMP   an empty directory of this test; default: a new one, removed at the end
#   FERRYFS_CORPUS     a directory of real images (optional)
# Offered to the test:
#   $tmp     its scratch directory                 $mnt     its mount point (may be set to another before mount_ok)
#   $top     the root of the checkout              $sample  the sample OVA
#   $err     what the last mount_ok or mount_fails wrote to stderr
set -u
export LC_ALL=C

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
# shellcheck disable=SC2034 # for the tests
sample=$top/samples/web01.ova
FERRYFS=$(realpath -- "${FERRYFS:-$top/build/ferryfs}")
export FERRYFS
if [ -n "${FERRYFS_TEST_TMP-}" ]; then
    tmp=$(realpath -- "$FERRYFS_TEST_TMP")
    tmp_is_ours=
else
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/ferryfs-test.XXXXXX")
    tmp_is_ours=yes
fi
mnt=$tmp/mnt
err=$tmp/mount.err
out=$tmp/check.out
mkdir -p "$mnt"
: >"$err"

mounts=()  # every mount point that mount_ok was ever asked for
passed=0
failed=0
finished=
exit_commands=() # run at the end, whatever happens
expected_reports= # set by tests that kill a daemon on purpose

# A daemon's stderr is gone when it leaves the terminal, so the sanitizers write to files.
reports=$tmp/sanitizer
export ASAN_OPTIONS="log_path=$reports:detect_leaks=1:abort_on_error=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
export UBSAN_OPTIONS="log_path=$reports:print_stacktrace=1:halt_on_error=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}"
export TSAN_OPTIONS="log_path=$reports:halt_on_error=0${TSAN_OPTIONS:+:$TSAN_OPTIONS}"

pass() { passed=$((passed + 1)); }

# fail DESCRIPTION [FILE]: counts a failure, shows FILE's beginning.
fail() {
    failed=$((failed + 1))
    printf 'FAILED: %s (%s)\n' "$1" "$(where)"
    [ -z "${2-}" ] || [ ! -s "$2" ] || sed 's/^/    | /' "$2" | cut -c1-400 | head -n 20
}

# where: the line of the test script that is being run.
where() {
    local i
    for ((i = ${#BASH_SOURCE[@]} - 1; i > 0; i--)); do
        [ "${BASH_SOURCE[i]}" = "$0" ] && { echo "${0##*/} line ${BASH_LINENO[i - 1]}"; return; }
    done
    echo "${0##*/}"
}

# check DESCRIPTION COMMAND...: passes when the command exits with 0; its output is shown when it doesn't.
check() {
    local what=$1 status
    shift
    "$@" >"$out" 2>&1 </dev/null
    status=$?
    if [ $status = 0 ]; then
        pass
    else
        fail "$what: exit status $status of: $(printf '%q ' "$@" | cut -c1-300)" "$out"
    fi
}

# check_not DESCRIPTION COMMAND...: passes when the command fails (but not by a signal).
check_not() {
    local what=$1 status
    shift
    "$@" >"$out" 2>&1 </dev/null
    status=$?
    if [ $status != 0 ] && [ $status -lt 126 ]; then
        pass
    else
        fail "$what: exit status $status where a failure is wanted, of: $(printf '%q ' "$@" | cut -c1-300)" "$out"
    fi
}

# is DESCRIPTION GOT WANTED
is() {
    if [ "$2" = "$3" ]; then
        pass
    else
        printf 'got:    %s\nwanted: %s\n' "$2" "$3" >"$out"
        fail "$1" "$out"
    fi
}

# like DESCRIPTION TEXT REGEX (extended)
like() {
    if grep -Eq -- "$3" <<<"$2"; then
        pass
    else
        printf 'got:    %s\nwanted: /%s/\n' "$2" "$3" >"$out"
        fail "$1" "$out"
    fi
}

# same A B: the same bytes. json FILE FILTER: what jq prints.
same() { cmp -- "$1" "$2"; }
json() { jq -r "$2" "$1"; }

# sha FILE: its SHA-256 (or of stdin); prints nothing when it can't be read to the end. OpenSSL, fed by cat in long reads,
# takes a third of the time of sha256sum, which is most of the time of a test of large disks.
hasher=(openssl dgst -sha256 -r)
command -v openssl >/dev/null || hasher=(sha256sum)
sha() {
    local sum
    sum=$(set -o pipefail && cat ${1+-- "$1"} | "${hasher[@]}") && printf '%s\n' "${sum%% *}"
}

# need PROGRAM...: skips the test where one is missing.
need() {
    local p
    for p in "$@"; do
        command -v "$p" >/dev/null || skip "$p is not installed"
    done
}

# skip REASON: ends the test. A failure seen before is not forgotten.
skip() {
    printf 'SKIPPED: %s\n' "$1"
    [ "$failed" = 0 ] && exit 77
    exit 1
}

have_corpus() { [ -n "${FERRYFS_CORPUS-}" ]; }

# corpus FILE: prints the path of a corpus file, unpacked, under $tmp/corpus and its working name (without .gz .bz2 .xz).
# Files of one directory of the corpus come to lie side by side. Returns 77 when there is no corpus.
corpus() {
    have_corpus || return 77
    local from=$FERRYFS_CORPUS/$1 to packer=
    [ -f "$from" ] || { echo "no such file in the corpus: $1" >&2; return 1; }
    case $1 in
    *.gz) packer=gzip ;;
    *.bz2) packer=bzip2 ;;
    *.xz) packer=xz ;;
    esac
    to=$tmp/corpus/$1
    [ -z "$packer" ] || to=${to%.*}
    if [ ! -e "$to" ]; then
        mkdir -p "${to%/*}"
        if [ -n "$packer" ]; then
            "$packer" -dc -- "$from" | dd of="$to.part" bs=64k conv=sparse iflag=fullblock status=none
        else
            cp -- "$from" "$to.part"
        fi && mv -- "$to.part" "$to" || return 1
    fi
    printf '%s\n' "$to"
}

# Without a process of its own, as the two below: they are asked a thousand times. $tmp is a real path.
is_mounted() {
    local at=$1 mounted
    [[ $at = /* ]] || at=$PWD/$at
    mounted=$(</proc/self/mounts)
    [[ $mounted = *" ${at// /\\040} "* ]]
}

# daemons [MOUNTPOINT]: ids of the running daemons of this test (of that mount point).
daemons() {
    local p
    for p in /proc/[0-9]*; do
        [ "$p/exe" -ef "$FERRYFS" ] || continue
        if [ $# = 1 ]; then
            tr '\0' '\n' <"$p/cmdline" 2>/dev/null | grep -qxF -- "$1" || continue
        else
            grep -qaF -- "$tmp/" "$p/cmdline" 2>/dev/null || continue
        fi
        echo "${p#/proc/}"
    done
}

# is_running PID: a zombie is not.
is_running() {
    local stat
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return
    [[ $stat != *') Z '* ]]
}

# wait_gone PID...: waits until the processes have ended; fails after 60 s.
wait_gone() {
    local pid deadline=$((SECONDS + 60))
    for pid in "$@"; do
        while is_running "$pid"; do
            [ $SECONDS -lt $deadline ] || return 1
            sleep 0.02
        done
    done
}

# wait_for COMMAND...: waits until the command succeeds; fails after 60 s.
wait_for() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || return 1
        sleep 0.02
    done
}

# split_args ARG... [-- OPT...]: sets sources and options.
split_args() {
    sources=()
    options=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        sources+=("$1")
        shift
    done
    [ $# = 0 ] || options=("${@:2}")
}

# mount_ok SOURCE... [-- OPTION...]: mounts at $mnt; a failure ends the test, since nothing after it can mean anything.
mount_ok() {
    local sources options status
    split_args "$@"
    mkdir -p "$mnt"
    mounts+=("$mnt")
    timeout 100 "$FERRYFS" ${options[@]+"${options[@]}"} "${sources[@]}" "$mnt" >"$out" 2>"$err" </dev/null
    status=$?
    if [ $status != 0 ] || ! is_mounted "$mnt"; then
        fail "mount of ${sources[*]} ${options[*]-}: exit status $status" "$err"
        exit 1
    fi
    pass
}

# mount_fails STATUS REGEX SOURCE... [-- OPTION...]: the mount must be refused with that exit status and a line on
# stderr that matches, every line in the form `ferryfs: ...`, and nothing mounted.
mount_fails() {
    local want=$1 regex=$2 sources options status
    shift 2
    split_args "$@"
    timeout 100 "$FERRYFS" ${options[@]+"${options[@]}"} "${sources[@]}" "$mnt" >"$out" 2>"$err" </dev/null
    status=$?
    if is_mounted "$mnt"; then
        mounts+=("$mnt")
        fail "${sources[*]} ${options[*]-} is mounted, and should be refused"
        unmount "$mnt"
    elif [ $status != "$want" ]; then
        fail "mount of ${sources[*]} ${options[*]-}: exit status $status, wanted $want" "$err"
    elif ! grep -Eq -- "$regex" "$err"; then
        fail "mount of ${sources[*]} ${options[*]-}: no line matches /$regex/" "$err"
    elif grep -qv '^ferryfs: ' "$err"; then
        fail "mount of ${sources[*]} ${options[*]-}: a line that doesn't begin with 'ferryfs: '" "$err"
    else
        pass
    fi
}

# unmount [MOUNTPOINT]: unmounts and waits for the daemon's end, so that what it reports at exit is seen.
# shellcheck disable=SC2120 # most callers want the default
unmount() {
    local at=${1:-$mnt} pids
    is_mounted "$at" || { fail "unmount of $at: nothing is mounted there"; return; }
    pids=$(daemons "$at")
    # The kernel may still be closing what a command just ended had open: so once more.
    if ! wait_for fusermount3 -u -- "$at"; then
        fusermount3 -u -- "$at" 2>"$out"
        fail "unmount of $at" "$out"
        return
    fi
    # shellcheck disable=SC2086 # a list of numbers
    wait_gone $pids || fail "the daemon of $at is still there 60 s after the unmount"
    pass
}

# check_reports: a sanitizer's report is a failure.
check_reports() {
    local report
    for report in "$reports".*; do
        [ -e "$report" ] || continue
        [ -n "$expected_reports" ] || fail "a sanitizer's report: ${report##*/}"
        sed 's/^/    || /' "$report" | head -n 80
    done
}

cleanup() {
    local status=$? at pids
    local command
    trap - EXIT
    cd /
    for command in ${exit_commands[@]+"${exit_commands[@]}"}; do eval "$command"; done
    pids=$(daemons)
    for at in ${mounts[@]+"${mounts[@]}"}; do
        is_mounted "$at" || continue
        fusermount3 -u -- "$at" 2>/dev/null || fusermount3 -uz -- "$at" 2>/dev/null || umount -l -- "$at"
    done
    # shellcheck disable=SC2086 # a list of numbers
    if ! wait_gone $pids; then
        fail "a daemon did not end; killed"
        kill -9 $pids 2>/dev/null
    fi
    local before=$failed
    check_reports
    [ $status != 0 ] || [ -n "$finished" ] || fail "the test ended without 'finish'"
    if [ "$failed" -gt "$before" ] || { [ "$failed" -gt 0 ] && [ $status != 1 ]; }; then status=1; fi
    printf '%d checks passed, %d failed\n' "$passed" "$failed"
    [ -z "$tmp_is_ours" ] || rm -rf -- "$tmp"
    exit $status
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# finish: the end of a test. One that checked nothing is not a test.
finish() {
    finished=yes
    [ "$passed" -gt 0 ] || fail "no check was made"
    [ "$failed" = 0 ]
    exit
}

[ -x "$FERRYFS" ] || { echo "$FERRYFS is not built"; exit 1; }
[ -c /dev/fuse ] || skip "there is no /dev/fuse here"
