#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Signatures of drivers' catalogs, on a Windows-like guest of 64 bits with a boot configuration: what is said of each, and
# what is refused. Two authorities and their signers are made here by openssl; virtio-win's own catalogs are real ones.
. "$(dirname "$0")/lib.sh"
# shellcheck source=tests/e2e/windows.bash
. "$(dirname "$0")/windows.bash"
# shellcheck source=tests/e2e/drivers.bash
. "$(dirname "$0")/drivers.bash"
need sgdisk sfdisk mkntfs ntfs-3g hivexregedit python3 openssl
have_corpus || skip "there is no corpus"
make_catalog=$(dirname "$0")/../tools/make-catalog.py

add_boot() { mkdir "$1/Boot" && cp "$(corpus bcd/regipy_BCD.xz)" "$1/Boot/BCD"; }
windows_fill=add_boot
make_windows "$tmp/gpt.img" || skip "no NTFS volume can be made here"
truncate -s 96M "$tmp/disk.img" # the boot configuration of an MBR disk is on its active partition
sfdisk -q "$tmp/disk.img" <<<'label: dos
start=2048, type=7, bootable' || skip "sfdisk can't make a disk"
dd if="$tmp/gpt.img" of="$tmp/disk.img" bs=1M skip=1 seek=1 count=94 conv=notrunc,sparse status=none

# authority NAME; signer NAME AUTHORITY EXTENDED-KEY-USAGE OPENSSL-CA-OPTION...
authority() { openssl req -x509 -newkey rsa:2048 -nodes -keyout "$tmp/$1.key" -out "$tmp/$1.pem" -subj "/CN=$1 root" -days 9999 2>"$out"; }
signer() {
    local name=$1 root=$2 usage=$3
    shift 3
    mkdir -p "$tmp/ca-$name" && : >"$tmp/ca-$name/index"
    printf '%s\n' '[ca]' 'default_ca=a' '[a]' "new_certs_dir=$tmp/ca-$name" "database=$tmp/ca-$name/index" 'default_md=sha256' \
        'rand_serial=yes' 'policy=p' 'x509_extensions=e' '[p]' 'commonName=supplied' '[e]' "extendedKeyUsage=$usage" >"$tmp/$name.cnf"
    openssl req -newkey rsa:2048 -nodes -keyout "$tmp/$name.key" -out "$tmp/$name.csr" -subj "/CN=$name, Inc." 2>"$out" &&
        openssl ca -batch -notext -config "$tmp/$name.cnf" -cert "$tmp/$root.pem" -keyfile "$tmp/$root.key" -in "$tmp/$name.csr" \
            -out "$tmp/$name.pem" "$@" 2>"$out"
}
check "a root" authority Known
check "another" authority Other
check "a signer" signer Good Known codeSigning -days 999
check "of the other root" signer Strange Other codeSigning -days 999
check "for web servers" signer Web Known serverAuth -days 999
check "for WHQL" signer Whql Known 1.3.6.1.4.1.311.10.3.5 -days 999
check "of some years ago" signer Past Known codeSigning -startdate 20180101000000Z -enddate 20200101000000Z
check "whom the guest disallows" signer Revoked Known codeSigning -days 999

# driver NAME [CATALOG-OPTION...]: $tmp/NAME, a package whose driver starts with the system; without options it has no
# catalog's file, only its name.
driver() {
    local name=$1 dir=$tmp/$1
    shift
    mkdir -p "$dir"
    sed "s/NAME/$name/g" >"$dir/$name.inf" <<'INF'
[Version]
Signature = "$Windows NT$"
Class = SCSIAdapter
ClassGuid = {4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider = ACME
CatalogFile = NAME.cat
DriverVer = 01/02/2023,1.2.3.4
[Manufacturer]
ACME = Models, NTamd64
[Models.NTamd64]
Device = Run, PCI\VEN_1AF4&DEV_1042
[Run]
CopyFiles = here
[Run.Services]
AddService = NAME, 2, Service
[Service]
ServiceType = 1
StartType = 0
ErrorControl = 1
ServiceBinary = %12%\NAME.sys
[here]
NAME.sys
[DestinationDirs]
here = 12
[SourceDisksNames]
1 = d
[SourceDisksFiles]
NAME.sys = 1
INF
    program 8664 "$dir/$name.sys"
    [ $# = 0 ] || python3 "$make_catalog" "$dir/$name.cat" "$dir/$name.inf" "$dir/$name.sys" "$@"
}
# by NAME: fills `by`, the options that sign with it
by() { by=(--cert "$tmp/$1.pem" --key "$tmp/$1.key"); }
said() { grep -a " $1.inf: .*warning" "$mnt/drivers/log"; }

# goes_in NAME WARNING: it is installed, with a warning that fits; "": with none.
goes_in() {
    check "$1 is staged" stage "$tmp/$1"
    check "$1 goes in" install "$1"
    if [ -n "$2" ]; then like "$1: the log says" "$(said "$1")" "$2"; else is "$1: no warning" "$(said "$1")" ""; fi
}
# refused NAME WHY
refused() {
    check "$1 is staged" stage "$tmp/$1"
    check_not "$1 is refused" install "$1"
    like "$1: as a policy does" "$(cat "$out")" "Operation not permitted"
    like "$1: the log says" "$(log)" "$1.inf: $2; this 64-bit Windows would not start with it"
    rm -r "$mnt/drivers/staging/$1"
    check_not "$1: nothing of it is there" test -e "$windows/System32/drivers/$1.sys"
}

driver unsigned
driver none --cert "$tmp/Good.pem"
driver noise && echo "no catalog at all" >"$tmp/noise/noise.cat"
by Strange && driver strange "${by[@]}"
by Strange && driver stranger "${by[@]}" --cert "$tmp/Other.pem"
by Web && driver web "${by[@]}"
by Revoked && driver revoked "${by[@]}"
by Good && driver altered "${by[@]}" && sed -i 's/230102030405Z/230102030406Z/' "$tmp/altered/altered.cat"
by Good && driver good "${by[@]}" --nested
by Whql && driver whql "${by[@]}" --cert "$tmp/Known.pem"
by Good && driver sha1 "${by[@]}" --sha1
by Good && driver changed "${by[@]}" && echo >>"$tmp/changed/changed.sys"
by Past && driver past "${by[@]}"
by Past && driver stamped "${by[@]}" --stamp 190608024804Z "$tmp/Known.pem" "$tmp/Known.key"
by Past && driver late "${by[@]}" --stamp 250608024804Z "$tmp/Known.pem" "$tmp/Known.key"
by Past && driver forged "${by[@]}" --stamp 190608024804Z "$tmp/Known.pem" "$tmp/Other.key"

mount_ok "$tmp/disk.img" -- -o overlay="$tmp/overlay"
check "there is a boot configuration" test -d "$mnt/bcd/default"
check "it is Windows 7" software 6.1 7601
check "of 64 bits" processor AMD64
# As Windows has them: thumbprints as keys, with certificates in Blobs.
python3 "$make_catalog" "$tmp/blob" --blob --cert "$tmp/Known.pem"
thumbprint() { openssl x509 -in "$tmp/$1.pem" -noout -fingerprint -sha1 | sed 's/.*=//; s/://g'; }
stores='HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\SystemCertificates'
printf '%s\n' 'Windows Registry Editor Version 5.00' '' "[$stores\\ROOT\\Certificates\\$(thumbprint Known)]" "\"Blob\"=hex:$(cat "$tmp/blob")" '' \
    "[$stores\\Disallowed\\Certificates\\$(thumbprint Revoked)]" '"Blob"=hex:00' >"$tmp/trust.reg"
check "a root that the guest trusts" cp "$tmp/trust.reg" "$mnt/registry/.reg"

refused unsigned "line 6: the catalog unsigned.cat is not in the package: it is unsigned"
refused none "line 6: the catalog none.cat has no signature"
refused noise "line 6: the catalog noise.cat can't be read .it is no PKCS #7 data.: it is unsigned"
refused strange "line 6: the catalog strange.cat is signed by Strange, Inc., and the guest doesn't trust Other root, which that goes back to"
refused stranger "line 6: the catalog stranger.cat is signed by Strange, Inc., and the guest doesn't trust Other root, which that goes back to"
refused web "line 6: the catalog web.cat is signed by Web, Inc., whose certificate isn't meant for signing code or drivers"
refused revoked "line 6: the catalog revoked.cat is signed by Revoked, Inc., with a certificate, or one above it, that the guest's registry disallows"
refused altered "line 6: the signature of the catalog altered.cat by Good, Inc. doesn't hold: it was altered since"
trusted='signed by .*, Inc. under Known root, which the guest trusts; but a 64-bit kernel may want Microsoft.s signature'
goes_in good "line 6: warning: the catalog good.cat is $trusted"
is "that is all" "$(said good | wc -l)" 1
goes_in whql "$trusted"
goes_in sha1 "$trusted"
is "SHA-1 digests match, too" "$(said sha1 | wc -l)" 1
goes_in changed "the catalog changed.cat does not have the digest of changed.sys"
goes_in past "the catalog past.cat is signed by Past, Inc., whose certificate isn't valid now, and no time stamp says that it was then"
goes_in stamped "$trusted"
goes_in late "signed by Past, Inc., whose certificate wasn't valid at the time of its time stamp"
goes_in forged "whose certificate isn't valid now, and no time stamp says that it was then"
# Red Hat's, cross-signed by Microsoft: the guest needs no root for them.
pkg=$(package Win7/amd64 8664 viostor) && mv "$pkg" "$tmp/viostor"
goes_in viostor "the catalog viostor.cat does not have the digest of viostor.sys" # which is made up
is "nothing is said of the signature" "$(said viostor | wc -l)" 1
# A driver that has a signature of its own needs no catalog to start; ours isn't looked at.
driver own && python3 - "$tmp/own/own.sys" <<'PY'
import struct, sys
b = bytearray(open(sys.argv[1], "rb").read())
b += bytes(-len(b) % 8)
struct.pack_into("<H", b, 64 + 24, 0x20b)
struct.pack_into("<II", b, 64 + 24 + 112 + 32, len(b), 16)
open(sys.argv[1], "wb").write(b + bytes(16))
PY
goes_in own "own.cat is not in the package: it is unsigned; its programs have signatures of their own, which aren't checked here"

check "test signing" sh -c "echo on >'$mnt/bcd/default/testsigning'"
goes_in unsigned "line 6: warning: the catalog unsigned.cat is not in the package: it is unsigned$"
goes_in altered "line 6: warning: the signature of the catalog altered.cat"
check "none of it" sh -c "echo off >'$mnt/bcd/default/testsigning'"
refused none "line 6: the catalog none.cat has no signature"
check "no integrity checks" sh -c "echo on >'$mnt/bcd/default/nointegritychecks'"
goes_in none "line 6: warning: the catalog none.cat has no signature$"
check "with them again" rm "$mnt/bcd/default/nointegritychecks"

# What doesn't start with the system can be put right later, and so is only said; so it is of 32 bits.
sed -i 's/StartType = 0/StartType = 3/; s/Class = .*/Class = System/; s/ClassGuid = .*/ClassGuid = {4D36E97D-E325-11CE-BFC1-08002BE10318}/' \
    "$tmp/strange/strange.inf"
goes_in strange "the guest doesn't trust Other root"
mkdir "$tmp/x86" && cp "$FERRYFS_CORPUS/driverpkg/virtio/Win8/x86/viostor".* "$tmp/x86/" && chmod u+w "$tmp/x86"/*
program 14c "$tmp/x86/viostor.sys"
check "32 bits" processor x86
check "Windows 8" software 6.2 9200
check "virtio-win's own build, which signs itself, is staged" stage "$tmp/x86"
check "and goes in" install x86
like "with a warning" "$(log)" 'viostor.inf: line [0-9]+: warning: the catalog viostor.cat is signed by Red Hat Inc., which vouches for itself and isn.t trusted by the guest'
unmount
finish
