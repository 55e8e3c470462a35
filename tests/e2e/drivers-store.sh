#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# -o drivers=: prepare/kvm takes virtio's drivers out of a tree laid out as virtio-win's, and out of an ISO of it.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
# shellcheck source=tests/e2e/drivers.bash
. "$(dirname "$0")/drivers.bash"
need sgdisk mkntfs ntfs-3g hivexregedit hivexsh hivexml regfexport python3 jq
have_corpus || skip "there is no corpus"
make_windows "$tmp/disk.img" || skip "no NTFS volume can be made here"

# Names of directories lie: what says w10 here is for 32 bits, and what is for this Windows stands under another name.
mkdir "$tmp/store"
put() { # PLACE CORPUS MACHINE NAME...
    local place=$1 pkg
    shift
    pkg=$(package "$@") || return 1
    mkdir -p "$tmp/store/$place"
    cp "$pkg"/* "$tmp/store/$place/"
}
put viostor/w7/amd64 Win8/x86 14c viostor
put viostor/other/x Win7/amd64 8664 viostor
put vioscsi/w7/amd64 Win7/amd64 8664 vioscsi
put NetKVM/w7/amd64 Win7/amd64 8664 netkvm
put Balloon/w7/amd64 Win7/amd64 8664 balloon
put viorng/w7/amd64 Win7/amd64 8664 viorng # no device of the target needs it
# An older build of the same, for the same Windows: its DriverVer decides.
put vioscsi/old/amd64 Win7/amd64 8664 vioscsi
sed -i 's|^DriverVer=.*|DriverVer=01/01/2017,61.60.0.1|' "$tmp/store/vioscsi/old/amd64/vioscsi.inf"

# try STORE WHAT
try() {
    mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay-$2" -o drivers="$1"
    check "$2: it is Windows 7" software 6.1 7601
    check "$2: of 64 bits" processor AMD64
    check "$2: the plan" cp "$mnt/prepare/kvm" "$tmp/plan"
    check "$2: is no change" test ! -e "$mnt/drivers/installed/oem0.inf"
    like "$2: the plan has the services" "$(cat "$tmp/plan")" 'Services.viostor'
    like "$2: and the files" "$(cat "$tmp/plan")" 'System32/drivers/vioscsi.sys'
    check_not "$2: but not what nobody needs" grep -q viorng "$tmp/plan"
    check_not "$2: nor the older one" grep -q 61.60.0.1 "$tmp/plan"
    check "$2: it is applied" sh -c "echo apply >'$mnt/prepare/kvm'"
    is "$2: four packages" "$(for i in "$mnt"/drivers/installed/oem*.inf; do
        basename "$i"/*.inf .inf
    done | sort | tr '\n' ' ')" "balloon netkvm vioscsi viostor "
    is "$2: they boot" "$(v "$set/services/vioscsi/Start.dword")$(v "$set/services/viostor/Start.dword")" "0x00000000 0x00000000 "
    check "$2: with the program of the right processor" same "$tmp/store/viostor/other/x/viostor.sys" "$windows/System32/drivers/viostor.sys"
    is "$2: then there is nothing to do" "$(cat "$mnt/prepare/kvm")" "nothing to do"
    hives_hold "$2" SYSTEM
    unmount
}
try "$tmp/store" tree
check "an ISO is made" "$top/tests/tools/make-iso.py" "$tmp/store" "$tmp/store.iso"
try "$tmp/store.iso" ISO

# ---- a store that is none ----
mount_ok "$tmp/disk.img" -- -o scratch -o drivers="$tmp/disk.img"
software 6.1 7601
like "no store" "$(cat "$mnt/prepare/kvm")" '^BLOCKED: .*disk.img: the store of drivers can.t be read'
unmount
mount_fails 2 'none: the store of drivers can.t be opened: No such file or directory' "$tmp/disk.img" -- -o scratch -o drivers="$tmp/none"
finish
