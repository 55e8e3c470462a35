#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# samples/fleet.sh: a line for each machine, and one that can't be prepared or read stops no other; names of all kinds, what is
# a machine and what a part of one, signals and a daemon that is killed in the middle of a copy, a full disk, two runs at once.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/debian.bash
. "$(dirname "$0")/debian.bash"
need mkfs.ext4 sfdisk qemu-img jq tar debugfs python3
fleet=$top/samples/fleet.sh
cd "$tmp" || exit 1
mkdir src temporary
export TMPDIR=$tmp/temporary

# make_machine NAME FSTAB: a Linux of a few files.
make_machine() {
    mkdir -p root/etc root/boot/grub root/usr/bin
    echo 'PRETTY_NAME="Small Linux"' >root/etc/os-release
    printf '%s\n' "$2" >root/etc/fstab
    printf 'menuentry x {\n  linux /vmlinuz root=/dev/sda1 ro\n}\n' >root/boot/grub/grub.cfg
    truncate -s 16M part.img && mkfs.ext4 -q -F -U "$debian_uuid" -d root part.img && truncate -s 18M disk.img &&
        sfdisk -q disk.img <<<$'label: dos\nstart=2048, size=32768, type=83' &&
        dd if=part.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none && make_ova disk.img "src/$1.ova"
}
check "a machine" make_machine good '/dev/sda1 / ext4 defaults 0 1'
check "one that can't be prepared" make_machine hard '/dev/disk/by-id/wwn-0x1-part7 /data ext4 defaults 0 2'
head -c 100000 src/good.ova >src/torn.ova
check "another one" make_machine 'with blank' '/dev/vda1 / ext4 defaults 0 1'
sums=$(sha256sum src/*)

lines() { jq -r "$1" lines; } # FILTER, of each line
statuses() { lines '.name + ": " + .status' | tr '\n' ';'; }
nothing_left() { # of a run: no mount, no file that isn't whole
    is "$1: nothing is mounted" "$(grep -c "$tmp/temporary" /proc/self/mounts)" 0
    is "$1: nothing is left in TMPDIR" "$(ls -A temporary)" ''
    is "$1: no .part is left" "$(find "$2" -name '*.part' -o -name '.fleet*')" ''
}

check_not "a plan of all: one is blocked, one is torn" sh -c "'$fleet' --target=kvm --plan src dest >lines"
is "one line each" "$(wc -l <lines)" 4
is "each has its status" "$(statuses)" 'good: planned;hard: blocked;torn: failed;with blank: planned;'
check_not "nothing is written" test -e dest
like "the plan" "$(lines 'select(.name == "good").plan[]')" 'etc/fstab'
like "why it is blocked" "$(lines 'select(.name == "hard").why')" 'wwn-0x1-part7'
like "why it failed" "$(lines 'select(.name == "torn").why')" 'torn.ova'

check_not "all of it" sh -c "'$fleet' --target=kvm src dest >lines"
is "each has its status" "$(statuses)" 'good: prepared;hard: blocked;torn: failed;with blank: prepared;'
is "its guest" "$(lines 'select(.name == "good").os')" 'Small Linux'
is "changes are counted" "$(lines 'select(.name == "good").changes')" 2
is "its disk" "$(lines 'select(.name == "good").disks[0]')" "$tmp/dest/good.qcow2"
check "is a qcow2" qemu-img check -q dest/good.qcow2
check "so is the other one" qemu-img check -q 'dest/with blank.qcow2'
check_not "what is blocked isn't copied" test -e dest/hard.qcow2
qemu-img convert -O raw dest/good.qcow2 good.raw
dd if=good.raw of=good.part bs=1M skip=1 status=none
check "the copy is clean" e2fsck -fn good.part
is "its fstab" "$(debugfs -R 'cat /etc/fstab' good.part 2>/dev/null)" "UUID=$debian_uuid / ext4 defaults 0 1"
rm good.part
nothing_left "all of it" dest

copied=$(stat -c %i dest/good.qcow2)
truncate -s 1000 'dest/with blank.qcow2'
check_not "once more" sh -c "'$fleet' --target=kvm src dest >lines"
is "nothing is left to do" "$(lines 'select(.name == "good") | .status + " " + (.changes | tostring)')" 'prepared 0'
is "a finished copy is left as it is" "$(stat -c %i dest/good.qcow2)" "$copied"
check "one that isn't is made anew" qemu-img check -q 'dest/with blank.qcow2'
is "no OVA is changed" "$(sha256sum src/*)" "$sums"

# ---- names, and what is a machine ----
mkdir odd odd/vm odd/none
good=$tmp/src/good.ova
odd=(-dash 'comma, back\slash' $'new\nline' "it's \"quoted\"" $'not\xffutf' 'two-disk0')
for name in "${odd[@]}"; do ln "$good" "odd/$name.ova"; done
tar -C odd/vm -xf "$good"
qemu-img convert -O vmdk -o subformat=monolithicFlat disk.img odd/two.vmdk
qemu-img convert -O qcow2 disk.img odd/base.qcow2
qemu-img create -q -f qcow2 -F qcow2 -b base.qcow2 odd/vm.qcow2
qemu-img create -q -u -f qcow2 -F qcow2 -b gone.qcow2 odd/orphan.qcow2 18M
ln -s nowhere.ova odd/dangling.ova
echo text >odd/README.txt
check_not "odd names" sh -c "'$fleet' --target=kvm odd 'dest,2' >lines"
is "one line each" "$(wc -l <lines)" 11
is "and no name twice" "$(lines '.disks[]' | sort | uniq -d)" ''
is "each has its status" "$(lines '[.name, .status] | @json' | sort | tr '\n' ' ')" \
    '["-dash","prepared"] ["comma, back\\slash","prepared"] ["dangling","failed"] ["it'\''s \"quoted\"","prepared"] ["new\nline","prepared"] '\
$'["not\xef\xbf\xbdutf","prepared"] ["orphan","failed"] ["two","prepared"] ["two-disk0.ova","prepared"] ["vm","prepared"] ["vm.qcow2","prepared"] '
for name in "${odd[@]:0:5}" two-disk0.ova two vm vm.qcow2; do
    check "$name" qemu-img check -q "./dest,2/$name.qcow2"
done
like "the missing parent is named" "$(lines 'select(.name == "orphan").why')" 'gone.qcow2'
like "and the link to nothing" "$(lines 'select(.name == "dangling").why')" 'dangling.ova: no such file'
nothing_left "odd names" 'dest,2'

# ---- a disk that can't be shown: a copy without it would be none ----
mkdir half half/vm
cp odd/vm/d.vmdk half/vm/
sed -e 's|</References>|<File ovf:id="file2" ovf:href="e.vmdk"/></References>|' -e 's|</DiskSection>|<Disk ovf:diskId="disk2" ovf:fileRef="file2" ovf:capacity="18" ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>|' \
    -e 's|</VirtualHardwareSection>|<Item><rasd:AddressOnParent>1</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/disk2</rasd:HostResource><rasd:InstanceID>6</rasd:InstanceID><rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item></VirtualHardwareSection>|' odd/vm/d.ovf >half/vm/d.ovf
echo 'no disk' >half/vm/e.vmdk
check_not "half a machine" sh -c "'$fleet' --target=kvm half dest-half >lines"
is "isn't prepared" "$(statuses)" 'vm: failed;'
like "since a disk is missing" "$(lines .why)" 'e\.vmdk'
is "and isn't copied" "$(find dest-half -name '*.qcow2' ! -path '*.overlay/*')" ''

# ---- wrong usage ----
exit_of() { "$@" >"$out" 2>&1 </dev/null; echo $?; }
mkdir empty
is "no machine" "$(exit_of "$fleet" empty dest3)" 2
like "says so" "$(cat "$out")" "there is no machine in $tmp/empty"
is "the same directory" "$(exit_of "$fleet" src src/)" 2
is "no directory" "$(exit_of "$fleet" nowhere dest3)" 2
is "a strange target" "$(exit_of "$fleet" --target=xen src dest3)" 2
is "no directory for what is temporary" "$(TMPDIR=$tmp/nowhere exit_of "$fleet" src dest3)" 2

# ---- in the middle of a copy: cp begins it and waits until $tmp/go is there ----
mkdir bin
cat >bin/cp <<'T'
#!/bin/bash
head -c 100000 -- "${@: -2:1}" >"${@: -1}"
touch "$AT/waits"
until [ -e "$AT/go" ]; do sleep 0.02; done
exec /bin/cp "$@"
T
chmod +x bin/cp
# start NAME: into dest-NAME, with Ctrl-C as it is on a terminal
start() {
    rm -f go waits
    AT=$tmp PATH=$tmp/bin:$PATH python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execv(sys.argv[1], sys.argv[1:])' "$fleet" --target=kvm src "dest-$1" >lines 2>errors &
    pid=$!
    check "$1: it copies" wait_for test -e waits
    check "$1: under another name" test -e "dest-$1/good.qcow2.part"
}
for signal in INT:130 TERM:143 HUP:129; do
    start "${signal%:*}"
    case $signal in INT*) kill -INT -- -$pid ;; *) kill "-${signal%:*}" $pid ;; esac
    wait $pid
    is "${signal%:*}: the status tells" $? "${signal#*:}"
    is "${signal%:*}: each machine has its line" "$(statuses)" 'good: interrupted;hard: interrupted;torn: interrupted;with blank: interrupted;'
    like "${signal%:*}: that says why" "$(lines 'select(.name == "good").why')" "^stopped by SIG${signal%:*}; run the same command to go on$"
    nothing_left "${signal%:*}" "dest-${signal%:*}"
    is "${signal%:*}: nothing is called finished" "$(ls "dest-${signal%:*}")" good.overlay
done
check_not "run again" sh -c "'$fleet' --target=kvm src dest-TERM >lines"
is "it goes on" "$(statuses)" 'good: prepared;hard: blocked;torn: failed;with blank: prepared;'
is "with what was done already" "$(lines 'select(.name == "good").changes')" 0
check "the copy is whole" qemu-img check -q dest-TERM/good.qcow2

start killed
# shellcheck disable=SC2034 # lib.sh reads it
expected_reports=yes
kill -9 "$(daemons | head -n 1)"
touch go
wait $pid
is "a daemon that was killed: the others go on" "$(statuses)" 'good: failed;hard: blocked;torn: failed;with blank: prepared;'
is "it is told why" "$(lines 'select(.name == "good").why')" 'ferryfs was killed by SIGKILL; run the same command again'
is "and nothing else is" "$(cat errors)" ''
nothing_left killed dest-killed
check_not "run again" sh -c "'$fleet' --target=kvm src dest-killed >lines"
is "it is prepared" "$(statuses)" 'good: prepared;hard: blocked;torn: failed;with blank: prepared;'

start two
check_not "a second run" sh -c "'$fleet' --target=kvm src dest-two >second"
is "leaves alone what the first one has" "$(jq -r .status second | xargs)" 'failed blocked failed prepared'
like "and says so" "$(jq -r 'select(.name == "good").why' second)" 'good.overlay: the overlay is in use'
touch go
wait $pid
is "the first one is not disturbed" "$(statuses)" 'good: prepared;hard: blocked;torn: failed;with blank: prepared;'
nothing_left two dest-two

# ---- a disk that is full ----
if [ "$(id -u)" = 0 ] && mkdir full && mount -t tmpfs -o size=700k none full; then
    exit_commands+=('is_mounted "$tmp/full" && umount "$tmp/full"')
    qemu-img convert -O qcow2 disk.img d.qcow2
    mkdir src2
    head -c 900000 /dev/urandom >root/data
    check "a machine with data" make_machine data '/dev/sda1 / ext4 defaults 0 1'
    mv src/data.ova src2/
    check_not "no room for the copy" sh -c "'$fleet' --target=kvm src2 full/dest >lines"
    like "says so" "$(lines '.status + " " + .why')" '^failed .*No space left on device$'
    nothing_left "a full disk" full/dest
    head -c 1M /dev/zero >full/fill 2>"$out"
    mount_fails 2 "^ferryfs: $tmp/full/kept/disk0.qcow2: can't be written: No space left on device$" src2/data.ova -- -o overlay=full/kept
    rm full/fill
    check "with room" mount -o remount,size=40m full
    check "it is prepared" "$fleet" --target=kvm src2 full/dest
    check "as a whole" qemu-img check -q full/dest/data.qcow2
    umount full
fi
finish
