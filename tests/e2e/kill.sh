#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The daemon is killed while it works: the next mount opens, has what was fsynced, and of what came later a beginning,
# over all volumes and hives the same.
#   FERRYFS_KILL_POINTS   how many of the calls that change the overlay's files it dies at, in turn before, in the middle
#                         of, and after them; spread over the row of edits and the unmount (8)
#   FERRYFS_MOUNT_POINTS  the same while it mounts what such a death has left, and while it makes an overlay (2)
#   FERRYFS_KILLS         kills from outside at any moment (4)
#   FERRYFS_KILL_SEED     another row of edits
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/kill.bash
. "$(dirname "$0")/kill.bash"
points=8
mount_points=2
kills=4
if grep -qa __asan_init "$FERRYFS"; then # for the paths: what the kills are for is seen without
    points=3
    mount_points=1
    kills=2
fi
points=${FERRYFS_KILL_POINTS:-$points}
mount_points=${FERRYFS_MOUNT_POINTS:-$mount_points}
kills=${FERRYFS_KILLS:-$kills}
first_seed=${FERRYFS_KILL_SEED:-0}
make_targets

# ---- at a moment from outside ----
for ((round = 1; round <= kills; round++)); do
    seed=$((round * 7919 + first_seed))
    mount_kept
    empty_targets "kill $round"
    "$python" "$load" load "$row" $seed "${targets[@]}" >"$tmp/load.out" 2>&1 &
    worker=$!
    wait_for grep -qs ready "$row" || { fail "kill $round: the load doesn't begin" "$tmp/load.out"; break; }
    # most die in the first second; some after the commit that comes by itself
    delay=$((RANDOM % 1200))
    [ $((round % 6)) != 0 ] || delay=$((5000 + RANDOM % 1000))
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    die
    wait $worker || fail "kill $round, $delay ms: what is written while nothing is wrong must succeed" "$tmp/load.out"
    judge "kill $round, $delay ms" $seed
done

# ---- at one of its own calls ----
[ -e "$fail_io" ] || skip "fail-io.so is not built"
steps=60
# shellcheck disable=SC2034,SC2329 # mount_rounds uses it
choose() {
    how="kill"
    times=1
    half=$(($1 % 2))
    what="dies at call $at, half $half"
}
# shellcheck disable=SC2329
end_try() { die; }

count_calls "$first_seed" $steps
for ((round = 1; round <= points; round++)); do
    at=$(point $round "$points")
    choose $round
    with_faults "$at" $how $times $half "$tmp/arm" mount_kept
    empty_targets "$what"
    check "$what: the row" "$python" "$load" load --steps $steps --arm "$tmp/arm" "$row" "$first_seed" "${targets[@]}"
    if [ ! -s "$hits" ]; then # it is to die in the unmount
        pids=$(daemons "$mnt")
        wait_for fusermount3 -u -- "$mnt"
        # shellcheck disable=SC2086 # a list of numbers
        wait_gone $pids
    fi
    was_hit
    die
    judge "$what" "$first_seed"
done

# ---- while it mounts ----
make_template "$first_seed" $steps
mount_rounds "$mount_points" "$first_seed"
all_reached $((points + 2 * mount_points))
is "the source is as it was" "$(sources_sha)" "$before"

# ---- killed, and QEMU comes first ----
mount_kept
head -c 3000000 /dev/urandom >"$tmp/random"
check "a file" cp "$tmp/random" "$volumes/disk0p3/random"
check "made durable" sync "$volumes/disk0p3/random"
die
for i in 0 1; do qemu-img check -r all "$kept/disk$i.qcow2" >"$out" 2>&1 || fail "QEMU repairs it" "$out"; done
mount_kept
check "what was durable" same "$tmp/random" "$volumes/disk0p3/random"
unmount
is "the source is as it was" "$(sources_sha)" "$before"
finish
