#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# integrity.json: the digests of an OVF's manifest, against sha256sum and openssl; what is damaged, absent or not named.
. "$(dirname "$0")/lib.sh"
need tar openssl jq python3 split

cd "$tmp" || exit 1
j=$mnt/integrity.json

ovf() {
    echo "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'><References>$1</References><DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>"
}
mkdir p
head -c 20000256 /dev/urandom >p/a.img # more than one step, and no whole MiB
head -c 1000 /dev/urandom >"p/b (1).nvram"
: >p/empty
ovf "<File id='f' href='a.img'/><File id='n' href='b%20(1).nvram'/><File id='e' href='empty'/>" >p/web01.ovf
# manifest ALGORITHM OPTION FORMAT FILE...: with the digests of openssl
manifest() {
    local f
    for f in "${@:4}"; do
        # shellcheck disable=SC2059
        printf "$3" "$1" "$f" "$(openssl dgst "$2" -r "p/$f" | cut -d' ' -f1)"
    done
}
statuses() { jq -r '.members[] | "\(.file):\(.status)"' "$j" | paste -sd, ; }
all='web01.ovf:verified,a.img:verified,b (1).nvram:verified,empty:verified'

# ---- verified, in every spelling ----
for spelling in 'SHA1 -sha1 %s(%s)=_%s\n' 'SHA256 -sha256 %s(%s)=_%s\n' 'SHA256 -sha256 %s_(%s)_=_%s\r\n' \
    'sha512 -sha512 %s(%s)=%s\n\n' 'MD5 -md5 %s(%s)=_%s\n' 'SHA-256 -sha256 %s(%s)=_%s\n' 'SHA3-256 -sha3-256 %s(%s)=_%s\n'; do
    read -r algorithm option form <<<"$spelling"
    manifest "$algorithm" "$option" "${form//_/ }" web01.ovf a.img 'b (1).nvram' empty >p/web01.mf
    tar -C p -cf x.ova web01.ovf web01.mf a.img 'b (1).nvram' empty
    for source in x.ova p p/web01.ovf; do
        mount_ok $source
        is "$algorithm in $source" "$(statuses)" "$all"
        is "$algorithm in $source: all" "$(json "$j" .status)" verified
        unmount
    done
done
(cd p && openssl dgst -sha256 web01.ovf a.img 'b (1).nvram' empty >web01.mf)
mount_ok p
is "as openssl writes it" "$(statuses)" "$all"
is "computed is sha256sum's" "$(json "$j" '.members[1].computed')" "$(sha p/a.img)"
is "schema" "$(json "$j" .schema)" 1
like "manifest" "$(json "$j" .manifest)" 'web01\.mf$'
is "no certificate" "$(json "$j" .signature)" null
is "st_size" "$(stat -c %s "$j")" 0
check "read twice, it is the same" same "$j" "$j"
check "read backwards" python3 - "$j" <<'P'
import os, sys
whole = open(sys.argv[1], "rb").read()
f = os.open(sys.argv[1], os.O_RDONLY)
got = b""
for at in range(len(whole) - 1, -1, -97):
    got = os.pread(f, min(97, len(whole) - at), at)[:97]
    while len(got) < min(97, len(whole) - at):
        got += os.pread(f, min(97, len(whole) - at) - len(got), at + len(got))
    assert whole[at:at + 97] == got, at
assert os.pread(f, 1, len(whole)) == b""
P
cp "$j" whole.json
check "cp gets it whole" jq -e '.status == "verified"' whole.json
like "it is listed" "$(ls "$mnt")" '^integrity\.json$'
unmount

# ---- one byte ----
python3 -c '
with open("p/a.img", "r+b") as f:
    f.seek(18000000); b = f.read(1)[0] ^ 1; f.seek(18000000); f.write(bytes([b]))'
tar -C p -cf x.ova web01.ovf web01.mf a.img 'b (1).nvram' empty
for source in x.ova p; do
    mount_ok $source
    is "one byte, $source" "$(statuses)" "${all/a.img:verified/a.img:mismatch}"
    is "one byte, $source: all" "$(json "$j" .status)" mismatch
    is "computed" "$(json "$j" '.members[1].computed')" "$(sha p/a.img)"
    is "expected" "$(json "$j" '.members[1].expected')" "$(awk '/a\.img/ { print $2 }' p/web01.mf)"
    unmount
done

# ---- absent, not named, not known, not understood; a certificate; another order ----
{
    echo 'SHA256(gone.img)= 00'
    echo 'SHA256(../../etc/passwd)= 00'
    echo 'CRC32(a.img)= 00'
    echo 'nonsense'
    grep -v 'a\.img\|ovf' p/web01.mf
} >mf
mv mf p/web01.mf
printf 'SHA256(web01.mf)= 00\n-----BEGIN CERTIFICATE-----\n' >p/web01.cert
tar -C p -cf x.ova web01.cert empty 'b (1).nvram' a.img web01.mf web01.ovf
mount_ok x.ova
is "all kinds" "$(statuses)" \
    'gone.img:absent,../../etc/passwd:absent,a.img:unsupported,b (1).nvram:verified,empty:verified,web01.ovf:not named'
is "all kinds: all" "$(json "$j" .status)" incomplete
like "why" "$(json "$j" '.members[1].why')" 'lies outside the archive'
is "a certificate" "$(json "$j" '.signature | "\(.file) \(.status)"')" 'x.ova(web01.cert) not verified'
is "the line" "$(json "$j" '.warnings[0]')" 'line 4 of the manifest is not understood'
unmount

# ---- chunks, by their own names, as they are stored ----
rm -rf p
mkdir p
head -c 2500096 /dev/urandom >plain.img
gzip -c plain.img | split -b 1000000 -d -a 9 - p/d.gz.
ovf "<File id='f' href='d.gz' compression='gzip' chunkSize='1000000'/>" >p/x.ovf
manifest SHA256 -sha256 '%s(%s)= %s\n' x.ovf d.gz.000000000 d.gz.000000002 >p/x.mf
tar -C p -cf x.ova .
mount_ok x.ova
check "its disk" same "$mnt/disks/disk0/disk.raw" plain.img
is "chunks" "$(statuses)" 'x.ovf:verified,d.gz.000000000:verified,d.gz.000000002:verified,d.gz.000000001:not named'
unmount

# ---- two packages ----
cp -r p q
mount_ok x.ova q
is "two packages" "$(jq -r '[.members[].manifest] | unique | length' "$j")" 2
is "two packages: files" "$(jq '.members | length' "$j")" 8
unmount

# ---- absent without a manifest ----
rm p/x.mf
mount_ok p
check_not "no manifest, no integrity.json" test -e "$j"
check_not "nor is it listed" grep -q integrity <(ls "$mnt")
unmount

# ---- others are served meanwhile, and who reads can be stopped ----
rm -rf p
mkdir p
truncate -s 40G p/a.img
printf x >>p/a.img
ovf "<File id='f' href='a.img'/>" >p/x.ovf
echo 'SHA256(a.img)= 00' >p/x.mf
mount_ok p -- -s
cat "$j" >/dev/null &
reader=$!
check "info.json while it is computed" timeout 20 jq -e '.disks[0].shown' "$mnt/info.json"
check "a read of the disk while it is computed" timeout 20 head -c 1000000 "$mnt/disks/disk0/disk.raw"
kill $reader
check "the reader ends" wait_gone $reader
unmount
finish
