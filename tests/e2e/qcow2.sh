#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# qcow2 sources against qemu-img: every variant that it writes, chains, references, and damaged files.
. "$(dirname "$0")/lib.sh"
need qemu-img qemu-io python3

cd "$tmp" || exit 1
raw() { echo "$mnt/disks/disk$1/disk.raw"; }

# create OPTIONS FILE SIZE; qio COMMAND... FILE (the last argument)
create() { qemu-img create -q -f qcow2 -o "$@"; }
qio() {
    local file=${*: -1} args=()
    for c in "${@:1:$#-1}"; do args+=(-c "$c"); done
    qemu-io "${args[@]}" "$file" >/dev/null
}

# same_disks FILE...: mounts all in one go, and each disk must be what qemu-img reads.
same_disks() {
    local i=0 f
    mount_ok "$@"
    for f; do
        check "the content of $f" qemu-img compare -q -f raw -F qcow2 "$(raw $i)" "$f"
        is "the size of $f" "$(stat -c %s "$(raw $i)")" "$(qemu-img info -U --output=json "$f" | jq '."virtual-size"')"
        i=$((i + 1))
    done
    unmount
}

# patch FILE OFFSET HEX...
patch() { python3 -c 'import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2], 0)); f.write(bytes.fromhex("".join(sys.argv[3:])))' "$@"; }

# 6 MiB and three sectors: noise, text, zeros, noise
{
    openssl enc -aes-128-ctr -nosalt -K 00 -iv 00 </dev/zero 2>/dev/null | head -c 1000000
    yes 'a line that compresses well' | head -c 1500000
    head -c 1300000 /dev/zero
    openssl enc -aes-128-ctr -nosalt -K 01 -iv 00 </dev/zero 2>/dev/null | head -c 900000
} >content.raw
truncate -s $((6 * 1024 * 1024 + 1536)) content.raw

# ---- variants ----
convert() { qemu-img convert -q -f raw -O qcow2 "${@:2}" content.raw "$1"; }
for c in 512 4k 64k 2M; do
    convert "v2-$c.qcow2" -o compat=0.10,cluster_size=$c
    convert "v2-$c-zlib.qcow2" -c -o compat=0.10,cluster_size=$c
    convert "v3-$c.qcow2" -o compat=1.1,cluster_size=$c
    convert "v3-$c-zlib.qcow2" -c -o compat=1.1,cluster_size=$c
    convert "v3-$c-zstd.qcow2" -c -o compat=1.1,cluster_size=$c,compression_type=zstd
done
same_disks v2-*.qcow2 v3-*.qcow2
for c in 16k 64k 2M; do
    convert "ext-$c.qcow2" -o extended_l2=on,cluster_size=$c
    convert "ext-$c-zlib.qcow2" -c -o extended_l2=on,cluster_size=$c
    convert "ext-$c-zstd.qcow2" -c -o extended_l2=on,cluster_size=$c,compression_type=zstd
    create extended_l2=on,cluster_size=$c "ext-$c-sub.qcow2" 6M
    qio 'write 2k 2k' 'write -P 7 1M 4k' 'write -z 1026k 2k' 'write -P 9 3000k 70k' 'discard 3010k 20k' \
        'write -P 3 6080k 64k' "ext-$c-sub.qcow2"
done
for b in 1 2 4 8 32 64; do
    create refcount_bits=$b "bits-$b.qcow2" 6M
    qio 'write -P 1 0 70k' 'write -P 2 5M 1k' "bits-$b.qcow2"
done
same_disks ext-*.qcow2 bits-*.qcow2
for p in off metadata falloc full; do
    convert "pre-$p.qcow2" -o preallocation=$p
    create preallocation=$p "pre-$p-new.qcow2" $((5 * 1024 * 1024 + 512))
    create preallocation=$p,extended_l2=on "pre-$p-ext.qcow2" $((5 * 1024 * 1024 + 512))
    create preallocation=$p,cluster_size=2M "pre-$p-part.qcow2" 5M
    qio 'write -P 5 1M 100k' "pre-$p-part.qcow2"
done
create lazy_refcounts=on dirty.qcow2 1M
qemu-io -c 'write -P 5 0 100k' -c abort dirty.qcow2 >/dev/null 2>&1
create cluster_size=4k zeros.qcow2 1M
qio 'write -P 5 0 100k' 'write -z 8k 20k' 'write -z -u 60k 8k' 'discard 40k 8k' zeros.qcow2
create cluster_size=64k snap.qcow2 1M
qio 'write -P 5 0 100k' snap.qcow2
qemu-img snapshot -c s1 snap.qcow2
qio 'write -P 6 32k 100k' snap.qcow2
create cluster_size=128k pieces.qcow2 3G
qio 'write -P 5 1023M 2M' 'write -P 6 2047M 1k' pieces.qcow2
same_disks pieces.qcow2 pre-*.qcow2 dirty.qcow2 zeros.qcow2 snap.qcow2

# a disk that is mostly nothing is mapped in no time, and stays sparse
qemu-img create -q -f qcow2 huge.qcow2 64T
qio 'write -P 5 63T 64k' huge.qcow2
mount_ok huge.qcow2 pre-metadata-new.qcow2
is "the one allocated cluster" \
    "$(json "$mnt/disks/disk0/map.json" '[.[]|select(.data)|.length]|add')" 65536
is "preallocation alone is no data" \
    "$(json "$mnt/disks/disk1/map.json" '[.[]|select(.data)|.length]|add // 0 | . < 65536')" true
unmount

# ---- backing chains ----
qemu-img create -q -f qcow2 -b v3-64k-zstd.qcow2 -F qcow2 over.qcow2
qio 'write -P 8 1M 5k' 'write -z 2M 64k' over.qcow2
qemu-img create -q -f qcow2 -b content.raw -F raw over-raw.qcow2
qio 'write -P 8 1M 5k' over-raw.qcow2
qemu-img create -q -f qcow2 -b v3-64k.qcow2 -F qcow2 larger.qcow2 9M
qio 'write -P 4 8M 64k' larger.qcow2
qemu-img create -q -f qcow2 -b v3-64k.qcow2 -F qcow2 smaller.qcow2 2M
qemu-img create -q -f qcow2 -o extended_l2=on -b v3-512.qcow2 -F qcow2 over-ext.qcow2
qio 'write -P 8 1M 2k' 'write -z 200k 2k' over-ext.qcow2
qemu-img create -q -f qcow2 -b "file:$tmp/v3-64k.qcow2" -F qcow2 prefixed.qcow2
same_disks over.qcow2 over-raw.qcow2 larger.qcow2 smaller.qcow2 over-ext.qcow2 prefixed.qcow2

qemu-img create -q -f qcow2 -o cluster_size=4k link0.qcow2 1M
qio 'write -P 200 0 8k' link0.qcow2
python3 - <<'P'
# 300 links, each made from the first by changing the name (qemu-img would open the whole chain each time)
import struct
with open('link0.qcow2', 'rb') as f:
    base = bytearray(f.read(4096 * 4))
for i in range(1, 301):
    b = bytearray(base)
    name = b'link%d.qcow2' % (i - 1)
    b[1024:1024 + len(name)] = name
    b[8:20] = struct.pack('>QI', 1024, len(name))
    l1 = struct.unpack('>Q', b[40:48])[0]
    b[l1:l1 + 8] = bytes(8)
    with open('link%d.qcow2' % i, 'wb') as f:
        f.write(b)
P
mount_ok link300.qcow2
check "300 links" cmp -n 8192 "$(raw 0)" <(head -c 8192 /dev/zero | tr '\0' '\310')
unmount

# ---- external data files ----
create data_file=d.dat data.qcow2 5M
qio 'write -P 8 1M 5k' 'write -P 9 4M 128k' 'write -z 1M 64k' data.qcow2
create data_file=dr.dat,data_file_raw=on dataraw.qcow2 5M
qio 'write -P 8 1M 5k' 'write -P 9 0 3k' dataraw.qcow2
create data_file=de.dat,extended_l2=on dataext.qcow2 5M
qio 'write -P 8 1M 6k' 'write -P 9 0 2k' dataext.qcow2
same_disks data.qcow2 dataraw.qcow2 dataext.qcow2
truncate -s 1M dr.dat
mount_fails 2 'dr.dat: truncated' dataraw.qcow2
mv d.dat gone.dat
mount_fails 2 'd.dat.* missing|missing.*d.dat' data.qcow2
mkdir -p data.in data.out
create data_file=data.out/d.dat data.qcow2 1M
qio 'write -P 8 0 5k' data.qcow2
mv data.qcow2 data.in/data.qcow2
python3 - data.in/data.qcow2 <<'P' # the name in the extension, by one of the same length
import sys
b = bytearray(open(sys.argv[1], 'rb').read())
at = b.index(b'data.out/d.dat')
b[at:at + 14] = b'../data.out/d.'
b[at - 4:at] = (14).to_bytes(4, 'big')
open(sys.argv[1], 'wb').write(b)
P
mv data.out/d.dat data.out/d.
mount_fails 2 'data.qcow2.* outside|outside.*trust|d\..*trust' data.in/data.qcow2
mount_ok data.in/data.qcow2 -- -o "trust=$tmp/data.out"
cd data.in || exit 1 # QEMU takes the name from where it runs
check "trust= allows the data file" qemu-img compare -q -f raw -F qcow2 "$(raw 0)" data.qcow2
cd ..
unmount

# ---- refused by name ----
mkdir -p in out
cp v3-64k.qcow2 out/base.qcow2
(cd in && qemu-img create -q -f qcow2 -b ../out/base.qcow2 -F qcow2 top.qcow2)
mount_fails 2 'base.qcow2' in/top.qcow2
mount_ok in/top.qcow2 -- -o "trust=$tmp/out"
check "trust= allows the backing file" qemu-img compare -q -f raw -F qcow2 "$(raw 0)" in/top.qcow2
unmount
mv out/base.qcow2 out/gone.qcow2
mount_fails 2 'base.qcow2.* missing|missing.*base.qcow2' in/top.qcow2 -- -o "trust=$tmp/out"
qemu-img create -q -f qcow2 a.qcow2 1M
qemu-img create -q -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
qemu-img rebase -u -f qcow2 -b b.qcow2 -F qcow2 a.qcow2
mount_fails 2 'loop' b.qcow2
for name in 'json:{"driver":"raw"}' nbd://host/disk 'nbd:unix:/s'; do
    qemu-img rebase -u -f qcow2 -b "$name" -F raw a.qcow2
    mount_fails 2 'a.qcow2: its backing file ".*" is not a file' a.qcow2
done
# A json: name that only says which file, as which format, and which part of it, is as good as a path.
mkdir json
qemu-img create -q -f raw json/base.raw 3M
qemu-io -f raw -c 'write -q -P 7 1M 300k' -c 'write -q -P 8 2999808 512' json/base.raw >/dev/null
for f in qcow2 vmdk vhdx vdi vpc; do qemu-img convert -q -f raw -O $f json/base.raw json/base.$f; done
{ head -c 1536 /dev/urandom && cat json/base.vmdk && head -c 999 /dev/urandom; } >json/archive
vmdk=$(stat -c %s json/base.vmdk)
n=0
file() { printf '{"driver":"file","filename":"%s/json/%s"}' "$tmp" "$1"; }
while read -r format name; do
    n=$((n + 1))
    qemu-img create -q -f qcow2 -u -b "json:$name" -F "$format" json/top.qcow2 3M
    qemu-io -f qcow2 -c 'write -q -P 9 0 100k' -c 'write -q -z 1500k 64k' json/top.qcow2 >/dev/null
    mount_ok json/top.qcow2
    check "as QEMU reads it: $name" qemu-img compare -q -f raw -F qcow2 "$(raw 0)" json/top.qcow2
    is "a chain of two" "$(json "$mnt/disks/disk0/info.json" '.chain | length')" 2
    unmount
done <<LIST
raw {"driver":"raw","file":$(file base.raw)}
qcow2 {"driver":"qcow2","file":$(file base.qcow2)}
vmdk {"driver":"vmdk","file":$(file base.vmdk)}
vhdx {"driver":"vhdx","file":$(file base.vhdx)}
vdi {"driver":"vdi","file":$(file base.vdi)}
vpc {"driver":"vpc","force_size_calc":"current_size","file":$(file base.vpc)}
raw {"driver":"raw","file":{"driver":"qcow2","file":$(file base.qcow2)}}
raw {"driver":"raw","offset":1048576,"size":1048576,"file":$(file base.raw)}
raw {"driver":"raw","offset":2998272,"file":$(file base.raw)}
vmdk {"driver":"vmdk","file":{"driver":"raw","offset":1536,"size":$vmdk,"file":$(file archive)}}
LIST
is "all names were tried" $n 10
refuse_name() { # WHY FORMAT NAME
    qemu-img create -q -f qcow2 -u -b "json:$3" -F "$2" json/top.qcow2 3M
    mount_fails 2 "$1" json/top.qcow2
}
refuse_name 'truncated: the file ends before the backing file that lies in it' raw \
    "{\"driver\":\"raw\",\"offset\":3145000,\"size\":729,\"file\":$(file base.raw)}"
refuse_name 'is not a file' qcow2 "{\"driver\":\"raw\",\"file\":$(file base.qcow2)}" # for QEMU it is the format beside it
refuse_name 'outside the source.s directory' raw '{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
# so our own overlay over a disk in an OVA is a source as well
mount_ok "$sample" -- -o "overlay=$tmp/ours"
echo edited >"$mnt/volumes/disk0p3/edited" && cp --sparse=always "$(raw 0)" edited.raw
unmount
mount_ok ours/disk0.qcow2 -- -o "trust=$top/samples"
check "our overlay as a source" same "$(raw 0)" edited.raw
is "has the edits" "$(cat "$mnt/volumes/disk0p3/edited")" edited
unmount

cp v3-64k.qcow2 aes.qcow2 && patch aes.qcow2 32 00000001
mount_fails 2 'aes.qcow2: is encrypted \(AES\)' aes.qcow2
cp v3-64k.qcow2 luks.qcow2 && patch luks.qcow2 32 00000002
mount_fails 2 'luks.qcow2: is encrypted \(LUKS\)' luks.qcow2
if qemu-img create -q -f qcow2 --object secret,id=k,data=key -o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 \
    real-luks.qcow2 1M 2>/dev/null; then # QEMU may be built without
    mount_fails 2 'real-luks.qcow2: is encrypted \(LUKS\)' real-luks.qcow2
fi
cp v3-64k.qcow2 bad.qcow2 && patch bad.qcow2 72 0000000000000020
mount_fails 2 'incompatible bit 5' bad.qcow2
python3 - bad.qcow2 <<'P' # "lazy refcounts", compatible bit 0, becomes incompatible bit 5 in the table of names
import sys
b = bytearray(open(sys.argv[1], 'rb').read())
at = b.index(b'lazy refcounts')
b[at - 2:at] = bytes([0, 5])
open(sys.argv[1], 'wb').write(b)
P
mount_fails 2 "needs a feature that ferryfs doesn't know: \"lazy refcounts\" \(incompatible bit 5\)" bad.qcow2
cp v3-64k.qcow2 bad.qcow2 && patch bad.qcow2 4 00000001
mount_fails 2 'version 1' bad.qcow2
cp v3-64k.qcow2 bad.qcow2 && patch bad.qcow2 0 00000000 && mv bad.qcow2 renamed.img
patch renamed.img 0 "$(printf '00%.0s' $(seq 512))"
mount_fails 2 'looks like a damaged QCOW2' renamed.img
cp v3-64k.qcow2 marked.qcow2 && patch marked.qcow2 72 0000000000000002
mount_ok marked.qcow2
check "an image marked corrupt is shown" cmp "$(raw 0)" content.raw
check "... with a warning" grep -q corrupt "$mnt/info.json"
unmount

# ---- truncated: refused, or EIO, never other bytes ----
for f in v3-64k.qcow2 v3-4k-zlib.qcow2 v3-64k-zstd.qcow2 ext-64k.qcow2 pre-metadata-part.qcow2 v2-2M.qcow2; do
    size=$(stat -c %s $f)
    qemu-img convert -f qcow2 -O raw $f want.raw
    for part in 3 17 40 61 83 95 99; do
        n=$((size * part / 100))
        head -c $n $f >cut.qcow2
        "$FERRYFS" cut.qcow2 "$mnt" 2>"$err"
        status=$?
        if [ $status != 0 ]; then
            check "$f cut at $n is refused by byte" grep -Eq 'cut.qcow2: .* at byte [0-9]+' "$err"
            continue
        fi
        mounts+=("$mnt")
        cat "$(raw 0)" >got.raw 2>/dev/null
        check "$f cut at $n gives no other bytes" cmp -n "$(stat -c %s got.raw)" got.raw want.raw
        unmount
    done
done

# too many tables to look at them all, but the refcounts tell
create preallocation=metadata cut.qcow2 200G
truncate -s -1M cut.qcow2
mount_fails 2 'cut.qcow2: truncated: the file ends before the data of guest byte [0-9]+ at byte [0-9]+' cut.qcow2

# ---- a disk of no size ----
qemu-img create -q -f qcow2 none.qcow2 0
mount_ok none.qcow2
is "its map is an empty list" "$(json "$mnt/disks/disk0/map.json" length)" 0
unmount

# ---- real images ----
if have_corpus; then
    while read -r file sha; do
        image=$(corpus "qcow2/$file") || exit 1
        mount_ok "$image"
        is "the disk of $file" "$(sha "$(raw 0)")" "$sha"
        unmount
    done <<'LIST'
backing-chain-3.qcow2.gz 4a57a3a5c273c7c1144743ecafc7b23181f6e23c8abad104493a63a3599bd276
basic.qcow2.gz 3c86a52ad19ebbe34acffb812d276817ddca56522eb72de2b984d70ffb20582f
ext2.qcow2.xz a6c2f0e39afe6c6ab432ca5465349fcefe8dc944398e97b2d957d3f89dbb5d80
fs-overhead.qcow2.xz f2e7d09dcc87cf4a8f96989d6479bdf5545cf0c84f9d5ea4cee4c6d099cdae6d
go-diskfs-file.qcow2.xz beeaf77f2614b566655af7dd1040836b7746b5ebd8bd869f32808f74181b8c93
image.qcow2.xz a9c0220b1dadd1812fc4bbe137f495d2c3b88c7b33b5a4de545d201fd31b3bc0
lvm.qcow2.xz a652bd8e068d83eb74647afbe542cba40a25479a18a91c637fab2c7858f8da20
vasi-test.qcow2.xz a3ffecd2207bd29b9d1b4c59fc4ff68f24c9242b62b3a813417cb7d0c670e3fc
backing-chain-2.qcow2.gz 8e2e850f2a31828f6f053f70f1fbfa71a42ce0571c6d8cd2a7ca0e21e1db8341
backing-chain-1.qcow2.gz 186334af67c1acb54b08ded0b6a419571000755d4c810c8b768a30281e2ab074
LIST
    mount_fails 2 'cirros.raw' "$(corpus qcow2/cirros-snapshot1.qcow2.xz)"
fi
finish
