#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The command as a FUSE file system's command: mounting the sample, the tree's shape, info.json, options, exit statuses,
# and every way in which a mount ends.
# shellcheck disable=SC2005,SC2046,SC2116 # lists of names, to be joined by blanks
. "$(dirname "$0")/lib.sh"
need jq python3 getfattr

# run WANTED-STATUS ARG...: runs ferryfs without mounting; stdout in $tmp/stdout, stderr in $err.
run() {
    local want=$1 status
    shift
    timeout 60 "$FERRYFS" "$@" >"$tmp/stdout" 2>"$err" </dev/null
    status=$?
    is "exit status of ferryfs $*" $status "$want"
}

# ---- without a mount ----

run 0 --version
like "--version" "$(cat "$tmp/stdout")" '^ferryfs [0-9]+\.[0-9]+'
run 0 --help
like "--help" "$(cat "$tmp/stdout")" '^usage: ferryfs '
is "--help writes nothing to stderr" "$(cat "$err")" ""

usage_error() {
    run 1 "$@"
    like "a line on stderr for ferryfs $*" "$(cat "$err")" '^ferryfs: '
    is "one line on stderr for ferryfs $*" "$(wc -l <"$err")" 1
    is "nothing on stdout for ferryfs $*" "$(cat "$tmp/stdout")" ""
}
usage_error
usage_error "$sample"
usage_error --info
usage_error --no-such-option "$sample" "$mnt"
usage_error -z "$sample" "$mnt"
usage_error "$sample" "$mnt" -o
for word in no_such_option cache cache=0 cache=x cache=64MiB threads=0 threads=1000 uid=-1 umask=8 cached=1 trust format=; do
    usage_error -o "$word" "$sample" "$mnt"
done
for word in overlay overlay=/tmp,scratch scratch=1 rebind drivers discard_hibernation; do
    usage_error -o "$word" "$sample" "$mnt"
done
usage_error -o format=nosuch "$sample" "$mnt"
check_not "nothing is mounted after usage errors" is_mounted "$mnt"

mount_fails 2 'nowhere\.ova: ' "$tmp/nowhere.ova"
: >"$tmp/empty.vmdk"
mount_fails 2 'empty\.vmdk: ' "$tmp/empty.vmdk"
mkdir "$tmp/empty-directory"
mount_fails 2 'empty-directory: ' "$tmp/empty-directory"
head -c 100000 "$sample" >"$tmp/cut.ova"
mount_fails 2 'cut\.ova' "$tmp/cut.ova"

# ---- mount points ----

good=$mnt
mnt=$tmp/file
: >"$mnt"
run 3 "$sample" "$mnt"
like "a file as mount point" "$(cat "$err")" '^ferryfs: .*/file: .*not a directory'
rm "$mnt"
run 3 "$sample" "$tmp/missing"
like "a missing mount point" "$(cat "$err")" '^ferryfs: .*/missing: '
mnt=$good

# ---- the tree ----

mount_ok "$sample"
is "the mount's type" "$(findmnt -n -o FSTYPE "$mnt")" fuse.ferryfs
like "nosuid and nodev hold" "$(findmnt -n -o OPTIONS "$mnt")" 'nosuid.*nodev'
is "the root" "$(ls "$mnt")" "$(printf 'disks\nguest\ninfo.json\nintegrity.json\nprepare\nvolumes')"
is "disks/" "$(ls "$mnt/disks")" disk0
is "disks/disk0/" "$(echo $(ls "$mnt/disks/disk0"))" \
    "disk-fixed.vhd disk-fixed.vhdx disk.qcow2 disk.raw disk.vhd disk.vhdx disk.vmdk info.json map.json"
is "volumes/" "$(echo $(ls "$mnt/volumes"))" "disk0p1 disk0p2 disk0p3"
is "disk.raw's size" "$(stat -c %s "$mnt/disks/disk0/disk.raw")" $((128 << 20))
check "disk.raw has holes" test "$(stat -c %b "$mnt/disks/disk0/disk.raw")" -lt $(((128 << 20) / 512))
check_not "disk.raw has data" test "$(stat -c %b "$mnt/disks/disk0/disk.raw")" = 0
check_not "nothing can be written" touch "$mnt/new"
check_not "a view can't be written" dd if=/dev/zero of="$mnt/disks/disk0/disk.raw" bs=512 count=1 conv=notrunc
check_not "an absent name" ls "$mnt/no-such-name"
find "$mnt" >"$tmp/tree" 2>"$out"
is "find sees no error" "$(cat "$out")" ""
is "volumes/ has the Linux tree" "$(cat "$mnt/volumes/disk0p3/etc/hostname")" web01
for path in volumes/disk0p1/EFI/BOOT/BOOTX64.EFI volumes/disk0p2/Windows/System32/config/SYSTEM \
    volumes/disk0p3/var/log/httpd.log; do
    check "$path is there and readable" test -s "$mnt/$path"
    check "$path reads" cat "$mnt/$path"
done

# ---- info.json ----

info=$mnt/info.json
check "info.json is JSON" jq . "$info"
is "schema" "$(json "$info" .schema)" 1
is "the VM's name" "$(json "$info" .vm.name)" web01
is "its hardware" "$(json "$info" '.vm | [.cpus, .memory, .firmware] | @csv')" '2,4294967296,"efi"'
is "its network card" "$(json "$info" '.vm.nics | length')" 1
is "the disk" "$(json "$info" '.disks[0] | [.name, .size, .format, .chain[0].subformat] | @csv')" \
    '"disk0",134217728,"vmdk","streamOptimized"'
is "the volumes" "$(json "$info" '[.volumes[] | .name + "=" + .type] | join(" ")')" \
    "disk0p1=fat32 disk0p2=ntfs disk0p3=ext4"
is "all volumes are shown" "$(json "$info" '[.volumes[].shown] | all')" true
check "disks/disk0/info.json is JSON" jq . "$mnt/disks/disk0/info.json"
is "each view's size is as stat says" \
    "$(json "$mnt/disks/disk0/info.json" '.views[] | "\(.name) \(.size)"' | sort)" \
    "$(stat -c '%n %s' "$mnt"/disks/disk0/disk*.* | sed 's|.*/||' | sort)"
check "map.json is JSON" jq . "$mnt/disks/disk0/map.json"
run 0 --info "$sample"
check "--info prints info.json" same "$tmp/stdout" "$info"
check "read twice alike" same "$info" "$info"

# ---- the guest ----

is "Windows is the first guest" "$(json "$info" '[.guests[] | .os + "=" + .root] | join(" ")')" \
    "windows=disk0p2 linux=disk0p3"
is "guest/" "$(ls "$mnt/guest")" C
check "guest/ and volumes/ show the same file" same "$mnt/guest/C/inetpub/access.log" "$mnt/volumes/disk0p2/inetpub/access.log"
check "names without case" test -s "$mnt/guest/C/WINDOWS/system32/CONFIG/system"
check "a junction leads to its place" same "$mnt/guest/C/Documents and Settings/admin/Desktop/Grüße.txt" \
    "$mnt/guest/C/Users/admin/Desktop/Grüße.txt"
is "an NTFS-compressed file" "$(sha "$mnt/guest/C/Windows/Logs/compressed.log")" \
    "$(for _ in 1 2 3 4 5 6 7 8; do cat "$mnt/guest/C/inetpub/access.log"; done | sha)"
is "an alternate stream" "$(python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "user.Zone.Identifier").decode())' \
    "$mnt/guest/C/Users/Public/Documents/README.txt" | tr -d '\r')" "$(printf '[ZoneTransfer]\nZoneId=3\n')"

mnt=$tmp/linux
mount_ok "$sample" -- -o os=1
is "os=1 is the Linux" "$(cat "$mnt/guest/etc/hostname")" web01
is "its fstab is followed" "$(ls "$mnt/guest/boot/efi")" EFI
is "an absolute link stays inside" "$(sha "$mnt/guest/bin/hello")" "$(sha "$mnt/guest/usr/bin/hello")"
is "a link with too many .. stays inside" "$(cat "$mnt/guest/srv/up")" web01
# Under system., since Linux lets no one read a user.* attribute of a link.
is "its stored text" "$(getfattr -h --only-values -n system.ferryfs.target "$mnt/guest/bin/hello")" /usr/bin/hello
is "hard links are counted" "$(stat -c %h "$mnt/guest/usr/bin/hello")" 2
check "a sparse file has few blocks" test "$(stat -c %b "$mnt/guest/var/log/sparse.db")" -lt 100
unmount
mnt=$good

# ---- two mounts, and ways to end one ----

first=$mnt
sha "$first/disks/disk0/disk.vhdx" >"$tmp/sha1"
run 3 "$sample" "$first"
like "a busy mount point" "$(cat "$err")" '^ferryfs: .*busy'
check "a refused second mount leaves the first" test -s "$first/info.json"

mnt=$tmp/mnt2
mount_ok "$sample" -- -o cached
is "two mounts give the same bytes, cached or not" "$(sha "$mnt/disks/disk0/disk.vhdx")" "$(cat "$tmp/sha1")"
is "the time of a view is the same in both" "$(stat -c %Y "$mnt/disks/disk0/disk.vhdx")" \
    "$(stat -c %Y "$first/disks/disk0/disk.vhdx")"
unmount
check "the first mount goes on" test -s "$first/info.json"

pid=$(daemons "$first")
check "umount" umount "$first"
check "the daemon ends after umount" wait_gone "$pid"

mnt=$tmp/mnt3
mkdir "$mnt"
mounts+=("$mnt")
for signal in INT TERM; do
    # A shell's background commands ignore SIGINT; python's child doesn't.
    python3 - "$FERRYFS" "$sample" "$mnt" >"$out" 2>&1 <<'PYTHON' &
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(subprocess.call([sys.argv[1], "-f", *sys.argv[2:]], restore_signals=True))
PYTHON
    starter=$!
    check "-f mounts" wait_for test -s "$mnt/info.json"
    check "-f stays in the foreground" kill -0 "$starter"
    pid=$(daemons "$mnt" | head -n 1)
    kill -$signal "$pid"
    wait "$starter"
    is "-f ends with 0 on SIG$signal" $? 0
    check_not "SIG$signal unmounts" is_mounted "$mnt"
done

mnt=$tmp/mnt4
mount_ok "$sample"
pid=$(daemons "$mnt")
kill -9 "$pid"
check "the daemon is killed" wait_gone "$pid"
check_not "a dead mount answers with an error" stat "$mnt/info.json"
run 3 "$sample" "$mnt"
like "a dead mount is named as such" "$(cat "$err")" '^ferryfs: .*fusermount3 -u'
check "fusermount3 -u after kill -9" fusermount3 -u "$mnt"
mount_ok "$sample"
unmount

# ---- options ----

mnt=$tmp/mnt5
mount_ok "$sample" -- -o rw,dev,suid,exec,noatime,defaults,relatime,nofail,x-systemd.automount
like "mount(8)'s words change nothing" "$(findmnt -n -o OPTIONS "$mnt")" 'nosuid.*nodev'
unmount
mount_ok "$sample" -- -o ro -o threads=1,cache=1 -s
is "a small cache and one thread give the same bytes" "$(sha "$mnt/disks/disk0/disk.vhdx")" "$(cat "$tmp/sha1")"
unmount
mount_ok "$sample" -- -o uid=1234,gid=2345,umask=027
is "uid, gid and umask on our files" "$(stat -c '%u %g %a' "$mnt/info.json")" "1234 2345 440"
is "uid, gid and umask on directories" "$(stat -c '%u %g %a' "$mnt/disks")" "1234 2345 550"
is "uid and gid on a guest's file that has an owner" "$(stat -c '%u %g' "$mnt/volumes/disk0p3/etc/hostname")" "1234 2345"
unmount
mount_ok "$sample"
is "our files are the mounter's" "$(stat -c '%u %g' "$mnt/info.json")" "$(id -u) $(id -g)"
is "a guest's file has its owner" "$(stat -c '%u %g %a' "$mnt/volumes/disk0p3/home/web")" "1000 1000 755"
unmount

# Another user gets in with allow_other only, and then with the guest's permissions.
as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
if [ "$(id -u)" = 0 ] && chmod 755 "$tmp" && as_nobody test -x "$tmp"; then
    mount_ok "$sample"
    check_not "others are kept out" as_nobody cat "$mnt/info.json"
    unmount
    mount_ok "$sample" -- -o allow_other,umask=022
    check "allow_other lets others in" as_nobody cat "$mnt/info.json"
    check "a public file of the guest" as_nobody cat "$mnt/volumes/disk0p3/etc/hostname"
    check_not "the guest's permissions are enforced" as_nobody cat "$mnt/volumes/disk0p3/etc/shadow"
    unmount
fi

# mount(8) runs the type's program, which it looks for in the system's directories.
if [ "$(id -u)" = 0 ] && [ -x /sbin/mount.fuse ] && ln -s "$FERRYFS" /usr/local/bin/ferryfs 2>"$out"; then
    exit_commands+=("rm -f /usr/local/bin/ferryfs")
    mounts+=("$mnt")
    check "mount -t fuse.ferryfs" mount -t fuse.ferryfs "$sample" "$mnt" -o rw,dev,suid,noatime,allow_other
    check "its tree" test -s "$mnt/info.json"
    unmount
    echo "${sample// /\\040} $mnt fuse.ferryfs rw,dev,suid,noauto,cache=32 0 0" >"$tmp/fstab"
    check "a line of fstab" mount -T "$tmp/fstab" "$mnt"
    check "its tree" test -s "$mnt/info.json"
    unmount
fi

# A parent that has closed stdin, stdout and stderr: their numbers must not become the source's or the mount's.
mounts+=("$mnt")
timeout 20 "$FERRYFS" "$sample" "$mnt" <&- >&- 2>&-
is "mounting without stdin, stdout and stderr" $? 0
check "its tree" cat "$mnt/disks/disk0/disk.raw"
unmount

# A relative SOURCE and mount point, and a name with blanks.
mkdir "$tmp/with blanks"
cp "$sample" "$tmp/with blanks/a b.ova"
mnt="$tmp/with blanks/m n"
mkdir "$mnt"
mounts+=("$mnt")
check "relative names" env -C "$tmp/with blanks" "$FERRYFS" "a b.ova" "m n"
check "relative names, mounted" test -s "$mnt/info.json"
check "unmount of a name with blanks" fusermount3 -u "$mnt"
check "no daemon is left" wait_for test -z "$(daemons)"
finish
