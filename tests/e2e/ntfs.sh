#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# NTFS volumes through the mount, against a mount of the same image by ntfs-3g: the tree, contents, times, streams
# and NTFS attributes. What ntfs-3g shows otherwise on purpose (links, WOF) is checked by itself.
. "$(dirname "$0")/lib.sh"
need mkntfs ntfs-3g python3
export LC_ALL=C.UTF-8

img=$tmp/ntfs.img
theirs=$tmp/theirs
mkdir -p "$theirs"
truncate -s 64M "$img"
mkntfs -qF -L "Sample" "$img" >/dev/null 2>&1

# their_mount OPTIONS: by ntfs-3g, until their_unmount.
their_mount() { ntfs-3g -o "$1" "$img" "$theirs" 2>/dev/null; }
their_unmount() { umount "$theirs"; }
exit_commands+=('is_mounted "$theirs" && umount "$theirs"')

their_mount streams_interface=xattr,compression || skip "ntfs-3g can't mount here"
python3 - "$theirs" <<'EOF'
import os, random, struct, sys
os.chdir(sys.argv[1])
random.seed(1)
def put(name, data):
    with open(name, 'wb') as f:
        f.write(data)
def reparse(name, tag, data):
    os.setxattr(name, 'system.ntfs_reparse_data', struct.pack('<IHH', tag, len(data), 0) + data)
os.makedirs('Windows/System32')
os.mkdir('many')
put('Windows/System32/Kernel32.DLL', random.randbytes(1000003))
put('Windows/grüße €.txt', 'grüße\n'.encode())
put('resident', b'r' * 300)
put('empty', b'')
for i in range(2000):
    put('many/a file with a longer name %04d' % i, b'%d' % i)
os.mkdir('packed')
os.setxattr('packed', 'system.ntfs_attrib', struct.pack('<I', 0x830))
put('packed/text', b''.join(b'line %d of the text\n' % (i // 3) for i in range(50000)))
put('packed/noise', random.randbytes(200000))
with open('packed/mixed', 'wb') as f:
    for i in range(40):
        f.write(random.randbytes(5000) + bytes(7000) + b'abc' * 3000)
with open('sparse', 'wb') as f:
    f.seek(5 << 20)
    f.write(b'data')
    f.truncate(9 << 20)
pieces = [open('fragment%d' % i, 'wb') for i in range(2)]
for i in range(60):
    for f in pieces:
        f.write(random.randbytes(9000))
        f.flush()
os.link('resident', 'Windows/another name')
os.setxattr('resident', 'user.Zone.Identifier', b'[ZoneTransfer]\r\nZoneId=3\r\n')
os.setxattr('Windows', 'user.on a directory', b'x' * 3000)
os.setxattr('Windows/grüße €.txt', 'system.ntfs_dos_name', b'GRUSSE~1.TXT')
os.setxattr('resident', 'system.ntfs_object_id', bytes(range(16)))
os.setxattr('empty', 'system.ntfs_attrib', struct.pack('<I', 0x23))
os.symlink('Windows/grüße €.txt', 'interix')
os.mkdir('漢' * 255)  # names may have 255 units, which is more than 255 bytes
put('漢' * 255 + '/' + 'я' * 251 + '.txt', b'a long name')
def name(s):
    s = s.encode('utf-16-le')
    return struct.pack('<HHHH', 0, len(s), len(s) + 2, len(s)), s + b'\0\0' + s + b'\0\0'
put('symlink', b'')
head, text = name('Windows\\System32\\kernel32.dll')
reparse('symlink', 0xa000000c, head + struct.pack('<I', 1) + text)
os.mkdir('volumejunction')
head, text = name('\\??\\Volume{00000000-0000-0000-0000-000000000000}\\')
reparse('volumejunction', 0xa0000003, head + text)
put('wof.dll', b'')
os.truncate('wof.dll', 100000)
os.setxattr('wof.dll', 'user.WofCompressedData', b'compressed')
reparse('wof.dll', 0x80000017, struct.pack('<IIII', 1, 2, 1, 0))
EOF
is "the sample is made" $? 0
their_unmount

# Lists a tree: type, size, blocks, links, times, a digest, streams, attributes. Not the modes (both make them up), not
# the access time (reading changes it).
cat >"$tmp/list.py" <<'EOF'
import hashlib, os, stat, sys
top, leave_out, attributes = sys.argv[1], sys.argv[2].split(), sys.argv[3].split()
def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]
def attribute(path, name):
    try:
        return digest(os.getxattr(path, name, follow_symlinks=False))
    except OSError as e:
        return e.strerror
for where, dirs, files in os.walk(top):
    for n in sorted(dirs + files):
        path = os.path.join(where, n)
        rel = os.path.relpath(path, top)
        if rel in leave_out:
            continue
        st = os.lstat(path)
        row = [rel, stat.S_IFMT(st.st_mode), st.st_mtime_ns]
        if stat.S_ISREG(st.st_mode):
            # ntfs-3g counts an 8.3 name as another link
            links = st.st_nlink if attribute(path, 'system.ntfs_dos_name') == 'No data available' else 0
            row += [st.st_size, links, st.st_blocks, digest(open(path, 'rb').read())]
        if not stat.S_ISLNK(st.st_mode):
            row += [(x, attribute(path, x)) for x in sorted(os.listxattr(path)) if not x.startswith('user.ferryfs.')]
        for x in attributes:
            row.append((x, attribute(path, 'system.ntfs_' + x)))
        print(*row)
EOF

# compare NAME [acl]: the image at $img, in the mount and in ntfs-3g's. Read-write with ntfs-3g, on a copy: only then
# does it give security descriptors; those of volumes made by Windows it doesn't give at all (EIO). Neither does it the
# reparse data of links.
compare() {
    local name=$1 attributes="attrib object_id dos_name crtime crtime_be ea ${2-}" before after
    before=$(sha "$img")
    mount_ok "$img" -- -o format=raw
    v=$mnt/volumes/disk0
    python3 "$tmp/list.py" "$v" "wof.dll" "$attributes" >"$tmp/ours.txt" 2>"$tmp/ours.err"
    is "$name: every file can be read" "$(cat "$tmp/ours.err")" ""
    after=$(sha "$img")
    is "$name: the image is unchanged" "$after" "$before"
    cp --sparse=always "$img" "$tmp/copy.img"
    ntfs-3g -o noatime,streams_interface=xattr "$tmp/copy.img" "$theirs" 2>/dev/null || { fail "$name: ntfs-3g refuses it"; return; }
    python3 "$tmp/list.py" "$theirs" "wof.dll" "$attributes" >"$tmp/theirs.txt"
    their_unmount
    sort -o "$tmp/ours.txt" "$tmp/ours.txt"
    sort -o "$tmp/theirs.txt" "$tmp/theirs.txt"
    check "$name: the tree is ntfs-3g's tree" diff "$tmp/ours.txt" "$tmp/theirs.txt"
    check "$name: there is a tree" test -s "$tmp/ours.txt"
}

compare sample acl
is "a link's reparse data" "$(python3 -c '
import os, sys
print(os.getxattr(sys.argv[1], "system.ntfs_reparse_data", follow_symlinks=False)[:4].hex())' "$v/symlink")" 0c0000a0
check "without case" same "$v/windows/SYSTEM32/kernel32.dll" "$v/Windows/System32/Kernel32.DLL"
check "by its 8.3 name" same "$v/Windows/GRUSSE~1.TXT" "$v/Windows/grüße €.txt"
check_not "metadata files aren't found" stat "$v/\$MFT"
is "2000 names are listed" "$(ls "$v/many" | sort -u | wc -l)" 2000
check "a symbolic link leads to its file" same "$v/symlink" "$v/Windows/System32/Kernel32.DLL"
check "an Interix link leads to its file" same "$v/interix" "$v/Windows/grüße €.txt"
check "a junction is a link" test -L "$v/volumejunction"
check "sparse files have holes" test "$(du -k "$v/sparse" | cut -f1)" -lt 100
check "and data" python3 -c '
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
at = os.lseek(fd, 0, os.SEEK_DATA)
assert at and at <= 5 << 20 and os.lseek(fd, at, os.SEEK_HOLE) <= (5 << 20) + 65536, at' "$v/sparse"
check_not "nothing can be written" touch "$v/new"

# A WOF file's own $DATA has nothing but zeros: none of them may come out.
is "a WOF file has its size" "$(stat -c %s "$v/wof.dll")" 100000
cat "$v/wof.dll" >"$tmp/wof" 2>/dev/null
is "reading a WOF file fails" $? 1
check_not "so does tar" tar -C "$v" -Scf "$tmp/wof.tar" wof.dll
check_not "and cp" cp --sparse=always "$v/wof.dll" "$tmp/wof.copy"
is "no byte of it is given" "$(stat -c %s "$tmp/wof")" 0

# Parallel readers of one volume.
want=$(cd "$v" && find . -type f ! -name wof.dll -print0 | sort -z | xargs -0 sha256sum | sha)
for i in 1 2 3 4; do
    (cd "$v" && find . -type f ! -name wof.dll -print0 | sort -z | xargs -0 sha256sum | sha >"$tmp/parallel$i") &
done
wait
for i in 1 2 3 4; do is "reader $i" "$(cat "$tmp/parallel$i")" "$want"; done
unmount

# ---- system files that Windows compressed (WOF): packed by wimlib, put into the volume by ntfs-3g ----
if python3 -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("wim"))'; then
    img=$tmp/wof.img
    truncate -s 32M "$img"
    mkntfs -qF "$img" >/dev/null 2>&1
    mkdir -p "$tmp/plain"
    their_mount streams_interface=windows
    cat >"$tmp/wof.py" <<'PY'
import ctypes, ctypes.util, os, random, struct, sys
wim = ctypes.CDLL(ctypes.util.find_library('wim'))
wim.wimlib_compress.restype = ctypes.c_size_t
wim.wimlib_create_compressor.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_uint, ctypes.c_void_p]
wim.wimlib_compress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
XPRESS, LZX = 1, 2
formats = {0: (XPRESS, 4096), 1: (LZX, 32768), 2: (XPRESS, 8192), 3: (XPRESS, 16384)}
def pack(data, format):
    kind, size = formats[format]
    c = ctypes.c_void_p()
    assert wim.wimlib_create_compressor(kind, size, 50, ctypes.byref(c)) == 0
    chunks = []
    for at in range(0, len(data), size):
        chunk = data[at:at + size]
        out = ctypes.create_string_buffer(len(chunk))
        n = wim.wimlib_compress(chunk, len(chunk), out, len(chunk) - 1, c)
        chunks.append(out.raw[:n] if n else chunk)
    ends = [sum(map(len, chunks[:i + 1])) for i in range(len(chunks) - 1)]
    return b''.join(struct.pack('<I', e) for e in ends) + b''.join(chunks)
def put(name, size, stream, provider=2, format=0):
    with open(name, 'wb') as f:
        f.truncate(size)
    with open(name + ':WofCompressedData', 'wb') as f:
        f.write(stream)
    os.setxattr(name, 'system.ntfs_reparse_data',
                struct.pack('<IHHIIII', 0x80000017, 16, 0, 1, provider, 1, format))
random.seed(5)
program = open('/proc/self/exe', 'rb').read()[:1500007]
text = b''.join(b'line %d of a file\n' % (i // 7) for i in range(20000))
contents = {'program': program, 'text': text, 'noise': random.randbytes(70000) + bytes(50000), 'short': b'x' * 9,
            'chunk': text[:32768], 'two': text[:65536], 'tiny': b'1', 'empty': b''}
os.chdir(sys.argv[1])
for format in formats:
    for n, data in contents.items():
        name = '%s-%d' % (n, format)
        open(os.path.join(sys.argv[2], name), 'wb').write(data)
        put(name, len(data), pack(data, format), format=format)
stream = pack(text, 1)
put('bad-wim', len(text), stream, 1, 1)
put('bad-format', len(text), stream, 2, 4)
put('bad-other', len(text), stream, 2, 0)
put('bad-cut', len(text), stream[:len(stream) - 200], 2, 1)
put('bad-table', len(text), struct.pack('<I', 0xfffffff0) + stream[4:], 2, 1)
put('bad-order', len(text), stream[4:8] + stream[:4] + stream[8:], 2, 1)
put('bad-size', len(text) + 100000, stream, 2, 1)
put('bad-empty', len(text), b'', 2, 1)
PY
    check "WOF files are made" python3 "$tmp/wof.py" "$theirs" "$tmp/plain"
    their_unmount
    mount_ok "$img" -- -o format=raw
    v=$mnt/volumes/disk0
    for f in "$tmp"/plain/*; do check "WOF: ${f##*/}" same "$f" "$v/${f##*/}"; done
    check "in any order" cmp <(tail -c 70001 "$v/program-1") <(tail -c 70001 "$tmp/plain/program-1")
    check "a copy that looks for holes has it all" cp --sparse=always "$v/program-0" "$tmp/program"
    check "all of it" same "$tmp/program" "$tmp/plain/program-0"
    check "so has tar" eval 'tar -C "$v" -ScO noise-2 | tar -xO | cmp - "$tmp/plain/noise-2"'
    for f in "$v"/bad-*; do check_not "WOF: ${f##*/} is an error" cat "$f"; done
    is "the compressed stream isn't listed" "$(python3 -c 'import os, sys; print(os.listxattr(sys.argv[1]))' "$v/text-1")" '[]'
    unmount
else
    fail 'libwim is not installed, so no WOF file is read'
fi

if have_corpus; then
    for f in dissect-ntfs.bin.gz testfs1.xz ntfs3.raw.gz; do
        img=$(corpus "ntfs/$f")
        compare "$f"
        unmount
    done
fi
finish
