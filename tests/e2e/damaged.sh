#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Damaged copies of every kind of image: the right bytes, a refusal or an error, and never a crash, a hang or zeros for data.
# tests/tools/mangle.py does the damage and judges. FERRYFS_MANGLE=N makes N cases of each image (default 20), and
# FERRYFS_MANGLE_SEED chooses others; a bad case is repeated by mangle.py -s SEED -c CASE.
. "$(dirname "$0")/lib.sh"
need qemu-img python3 tar

cat=$(dirname "$FERRYFS")/tests/image-cat
[ -x "$cat" ] || skip "image-cat is not built"
cases=${FERRYFS_MANGLE:-20}
seed=${FERRYFS_MANGLE_SEED:-1}
mkdir "$tmp/images"
cd "$tmp/images" || exit 1

# 3 MiB: noise, holes, text, noise
python3 -c 'import random, sys
r = random.Random(1)
b = bytearray(3 << 20)
b[0:300000] = r.randbytes(300000)
b[1000000:1200000] = (b"compressible text " * 20000)[:200000]
b[2500000:2600000] = r.randbytes(100000)
sys.stdout.buffer.write(b)' >content.raw

convert() { check "making $1" qemu-img convert -q -f raw "${@:2}" content.raw "$1"; }
convert v2.qcow2 -O qcow2 -o compat=0.10,cluster_size=4k
convert v3.qcow2 -O qcow2
convert zlib.qcow2 -c -O qcow2 -o cluster_size=4k
convert zstd.qcow2 -c -O qcow2 -o compression_type=zstd
convert extended.qcow2 -O qcow2 -o extended_l2=on,cluster_size=16k
convert sparse.vmdk -O vmdk
convert stream.vmdk -O vmdk -o subformat=streamOptimized
convert split.vmdk -O vmdk -o subformat=twoGbMaxExtentSparse
convert flat.vmdk -O vmdk -o subformat=twoGbMaxExtentFlat
check "making footer.vmdk" python3 "$top/tests/tools/make-vmdk.py" stream content.raw footer.vmdk

# mangle IMAGE [OPTION...] [OTHER FILE...]
mangle() {
    local image=$1 format=${1##*.}
    shift
    check "damaged $image" python3 "$top/tests/tools/mangle.py" -n "$cases" -s "$seed" -f "$format" "$image" \
        content.raw "$@" -- "$cat"
}
for image in v2.qcow2 v3.qcow2 zlib.qcow2 zstd.qcow2 extended.qcow2 sparse.vmdk stream.vmdk footer.vmdk; do
    mangle $image
done
mangle split.vmdk split-s001.vmdk
mangle flat.vmdk -d flat-f001.vmdk flat-f001.vmdk

# An OVA that was cut off: refused, wherever.
xml=http://schemas.dmtf.org/ovf/envelope/1
echo "<Envelope xmlns='$xml'><References><File id='f' href='stream.vmdk'/></References><DiskSection><Disk diskId='d' fileRef='f'/></DiskSection></Envelope>" >web.ovf
tar -cf whole.ova web.ovf stream.vmdk
size=$(stat -c %s stream.vmdk) # the archive's own end may be missing
for percent in 1 30 60 95; do
    head -c $((size * percent / 100)) whole.ova >cut.ova
    mount_fails 2 'truncated' cut.ova
done

finish
