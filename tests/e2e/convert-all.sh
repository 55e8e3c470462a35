#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# samples/convert-all.sh: what it takes for machines, resuming after Ctrl-C and after a crash, skipping what is finished,
# formats, progress, verifying, and failures.
# shellcheck disable=SC2005,SC2046 # lists of names, to be joined by blanks
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io jq python3
export TMPDIR=$tmp

convert() { "$top/samples/convert-all.sh" "$@" "$tmp/src" "$tmp/dest" >"$tmp/convert.log" 2>&1 </dev/null; }
holds_same() { qemu-img compare -f vhdx -F raw "$1" "$2"; }

mkdir "$tmp/src" "$tmp/dest"
cp -p "$sample" "$tmp/src/web01.ova"
python3 - "$tmp/plain.raw" "$tmp/big.raw" <<'PYTHON'
import random, sys
rng = random.Random(1)
with open(sys.argv[1], "wb") as f:
    f.truncate(48 << 20)
    for at in (0, 5 << 20, 40 << 20):
        f.seek(at)
        f.write(rng.randbytes(300000))
with open(sys.argv[2], "wb") as f:
    f.write(rng.randbytes(96 << 20))
PYTHON
qemu-img convert -f raw -O qcow2 -c "$tmp/plain.raw" "$tmp/src/base.qcow2"
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 "$tmp/src/top.qcow2"
qemu-img convert -f raw -O qcow2 "$tmp/big.raw" "$tmp/src/big.qcow2"
echo "notes, and no machine" >"$tmp/src/README.txt"

# Interrupted while the big one is copied, on a terminal: its .part stays, everything is unmounted.
cat >"$tmp/interrupt.py" <<'PYTHON'
import os, pty, signal, subprocess, sys, threading, time
tmp = sys.argv[2]
master, slave = pty.openpty()
p = subprocess.Popen([sys.argv[1], tmp + "/src", tmp + "/dest"], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                     preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
os.close(slave)
out = open(tmp + "/convert.log", "wb")
def copy():
    try:
        while data := os.read(master, 65536):
            out.write(data)
    except OSError:
        pass
reader = threading.Thread(target=copy)
reader.start()
part = tmp + "/dest/big.vhdx.part"

def copier():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                name, rest = f.read().split(" ", 1)[1].rsplit(") ", 1)
        except OSError:
            continue
        if name == "(cp" and int(rest.split()[1]) == p.pid:
            return int(pid)

deadline = time.monotonic() + 60
while time.monotonic() < deadline and p.poll() is None:
    if os.path.exists(part) and os.path.getsize(part) > 5 << 20 and (pid := copier()):
        os.kill(pid, signal.SIGSTOP)  # so that there is time to show how far it is
        time.sleep(1.5)
        os.killpg(p.pid, signal.SIGINT)
        os.kill(pid, signal.SIGCONT)
        break
    time.sleep(0.0005)
status = p.wait()
reader.join()
out.close()
sys.exit(status)
PYTHON
python3 "$tmp/interrupt.py" "$top/samples/convert-all.sh" "$tmp"
status=$?
if [ $status = 130 ]; then # else the copy was faster than the signal
    check "what was begun is kept apart" test -s "$tmp/dest/big.vhdx.part"
    check_not "and is not called finished" test -e "$tmp/dest/big.vhdx"
    like "it says how to go on" "$(cat "$tmp/convert.log")" 'Interrupted'
    like "bytes, rate and time are shown" "$(tr '\r' '\n' <"$tmp/convert.log")" '[0-9.]+MiB of [0-9.]+MiB, [0-9]+%, [0-9.]+[KMG]?i?B/s, [0-9:]+ left'
    begun=$(($(stat -c %s "$tmp/dest/big.vhdx.part") >> 20))
else
    printf 'faster than the signal (%s)\n' "$status"
    begun=0
fi
is "nothing is left mounted" "$(grep -c "$tmp/" /proc/self/mounts)" 0

convert
is "all is converted" $? 0
[ $begun -lt 1 ] || like "what was begun was continued" "$(cat "$tmp/convert.log")" "continued at $begun\.0MiB"
like "it counts" "$(cat "$tmp/convert.log")" '^3 disks in .*, 0 failed, 2 files skipped$'
is "one file for each machine, none for a parent or a text" "$(echo $(ls "$tmp/dest"))" "big.vhdx top.vhdx web01.vhdx"
check "what was interrupted is whole" holds_same "$tmp/dest/big.vhdx" "$tmp/big.raw"
check "a chain is one machine" holds_same "$tmp/dest/top.vhdx" "$tmp/plain.raw"
check "holes stay holes" test "$(($(stat -c %b "$tmp/dest/top.vhdx") * 512))" -lt $((16 << 20))
mount_ok "$sample"
check "the OVA's disk" same "$tmp/dest/web01.vhdx" "$mnt/disks/disk0/disk.vhdx"
is "the time is the view's" "$(stat -c %Y "$tmp/dest/web01.vhdx")" "$(stat -c %Y "$mnt/disks/disk0/disk.vhdx")"
unmount

# Once more: nothing is copied again.
before=$(stat -c '%n %i %z' "$tmp"/dest/*)
convert
is "again" $? 0
is "finished files are not touched" "$(stat -c '%n %i %z' "$tmp"/dest/*)" "$before"

# A source that has changed, at the same size, is converted again; one that is damaged fails, and the others don't.
qemu-io -f qcow2 -c 'write -P 77 20M 64k' "$tmp/src/top.qcow2" >"$out"
qemu-img convert -f qcow2 -O raw "$tmp/src/top.qcow2" "$tmp/changed.raw"
head -c 100000 "$sample" >"$tmp/src/cut.ova"
convert
is "a damaged archive is a failure" $? 1
like "and is named" "$(cat "$tmp/convert.log")" 'FAILED: cut\.ova: ferryfs: '
check "a changed source is converted again" holds_same "$tmp/dest/top.vhdx" "$tmp/changed.raw"
rm "$tmp/src/cut.ova"

# begun UNTIL BOOT: as if the conversion of the big one was interrupted there.
begun() {
    mv "$tmp/dest/big.vhdx" "$tmp/dest/big.vhdx.part"
    truncate -s "$1" "$tmp/dest/big.vhdx.part"
    printf 'disk.vhdx of %s, %s bytes, %s\n%s\n' "$tmp/src/big.qcow2" "$(stat -c %s "$tmp/big.want")" \
        "$(stat -c %.9Y "$tmp/big.want")" "$2" >"$tmp/dest/big.vhdx.part.of"
}
boot=$(cat /proc/sys/kernel/random/boot_id)
cp -p "$tmp/dest/big.vhdx" "$tmp/big.want"
begun 50M "$boot"
convert
like "continued at the end of what is there" "$(cat "$tmp/convert.log")" 'continued at 50\.0MiB'
check "and is the same" same "$tmp/dest/big.vhdx" "$tmp/big.want"
is "nothing is left of it" "$(find "$tmp/dest" -name '*.of')" ""
begun 50M another-boot
dd if=/dev/zero of="$tmp/dest/big.vhdx.part" bs=1M seek=30 count=2 conv=notrunc status=none
convert
like "after a crash, continued where it differs" "$(cat "$tmp/convert.log")" 'continued at 30\.0MiB'
check "and is the same" same "$tmp/dest/big.vhdx" "$tmp/big.want"
begun 50M "$boot"
sed -i '1s/.*/disk.vhdx of another state/' "$tmp/dest/big.vhdx.part.of"
convert
check_not "of another state, not continued" grep -q continued "$tmp/convert.log"
check "and is the same" same "$tmp/dest/big.vhdx" "$tmp/big.want"

# Verifying.
rm "$tmp/dest/big.vhdx"
convert --verify
is "verified" $? 0
is "one was made and verified" "$(grep -cx '    verified' "$tmp/convert.log")" 1
is "and those that were there" "$(grep -c 'is finished and verified' "$tmp/convert.log")" 2
time=$(stat -c %y "$tmp/dest/big.vhdx")
printf x | dd of="$tmp/dest/big.vhdx" bs=1 seek=9000000 conv=notrunc status=none
touch -d "$time" "$tmp/dest/big.vhdx"
convert
is "a changed byte is not seen without it" $? 0
convert --verify
is "a changed byte is seen" $? 1
like "and said" "$(cat "$tmp/convert.log")" 'FAILED: big: big\.vhdx is not what its source holds'

# Other formats: each that there is.
mount_ok "$tmp/src/big.qcow2"
formats=$(json "$mnt/disks/disk0/info.json" '.views[] | select(.shown) | "\(.format) \(.name)"')
unmount
mkdir "$tmp/one" && ln "$tmp/src/big.qcow2" "$tmp/one/big.qcow2"
while read -r format view; do
    mkdir -p "$tmp/as"
    check "as $format" "$top/samples/convert-all.sh" --format="$format" --verify "$tmp/one" "$tmp/as"
    kind=${view##*.}
    [ "$kind" = vhd ] && kind=vpc
    check "it holds the disk" qemu-img compare -q -f "$kind" -F raw "$tmp/as/big.${view##*.}" "$tmp/big.raw"
    rm -r "$tmp/as"
done <<<"$formats"
check_not "an unknown one" "$top/samples/convert-all.sh" --format=floppy "$tmp/one" "$tmp/as"
like "says which there are" "$(cat "$out")" 'no view of the format floppy, but: raw, vhdx'

# A daemon that is killed: the machines after it aren't in its mount's way.
cat >"$tmp/killing" <<'T'
#!/bin/bash
"$REAL" "$@" || exit
[ "$1" != --info ] && [ ! -e "$AT/killed" ] || exit 0
touch "$AT/killed"
for p in /proc/[0-9]*; do
    [ "$p/exe" -ef "$REAL" ] && tr '\0' '\n' <"$p/cmdline" | grep -qxF -- "${!#}" && kill -9 "${p#/proc/}"
done
exit 0
T
chmod +x "$tmp/killing"
mkdir "$tmp/pair" && cp -p "$sample" "$tmp/pair/a.ova" && cp -p "$sample" "$tmp/pair/b.ova"
# shellcheck disable=SC2034 # lib.sh reads it
expected_reports=yes
# shellcheck disable=SC2097,SC2098 # REAL is the one before
AT=$tmp REAL=$FERRYFS FERRYFS=$tmp/killing "$top/samples/convert-all.sh" "$tmp/pair" "$tmp/pair-out" >"$tmp/convert.log" 2>&1 </dev/null
is "one has failed" $? 1
like "which is said" "$(cat "$tmp/convert.log")" '1 disks in .*, 1 failed'
check "the next one is made" qemu-img check -q "$tmp/pair-out/b.vhdx"
is "and none of the first" "$(cd "$tmp/pair-out" && echo *)" b.vhdx
"$top/samples/convert-all.sh" --frmat=raw "$tmp/one" "$tmp/as" 2>"$out"
is "wrong usage" $? 2
is "nothing is left mounted at the end" "$(grep -c "$tmp/" /proc/self/mounts)" 0
is "and nothing unfinished" "$(find "$tmp/dest" -name '*.part')" ""
finish
