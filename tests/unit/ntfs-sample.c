/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See ntfs-sample.h. */
#include "ntfs-sample.h"

#include "formats/bytes.h"
#include "guest/ntfs-lib.h"
#include "unit.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <ntfs-3g/reparse.h>

static ntfs_volume *vol;

static ntfs_inode *create(ntfs_inode *dir, const char *name, mode_t type)
{
    ntfschar *ucs = NULL;
    int len = ntfs_mbstoucs(name, &ucs);
    assert_true(len > 0);
    ntfs_inode *ni = ntfs_create(dir, 0, ucs, (uint8_t)len, type);
    free(ucs);
    assert_non_null(ni);
    return ni;
}

/* Closes a file, with its size and times put in its directory's entry. */
static void done(ntfs_inode *ni, ntfs_inode *dir)
{
    assert_non_null(ni);
    assert_int_equal(ntfs_inode_close_in_dir(ni, dir), 0);
}

static void write_at(ntfs_inode *ni, const char *stream, const void *data, size_t n, s64 off)
{
    ntfschar *ucs = NULL;
    int len = stream ? ntfs_mbstoucs(stream, &ucs) : 0;
    if (stream && !ntfs_attr_exist(ni, AT_DATA, ucs, (uint32_t)len))
        assert_int_equal(ntfs_attr_add(ni, AT_DATA, ucs, (uint8_t)len, NULL, 0), 0);
    ntfs_attr *na = ntfs_attr_open(ni, AT_DATA, ucs ? ucs : AT_UNNAMED, (uint32_t)len);
    assert_non_null(na);
    while (n) {
        s64 done = ntfs_attr_pwrite(na, off, (s64)n, data);
        assert_true(done > 0);
        data = (const char *)data + done;
        off += done;
        n -= (size_t)done;
    }
    if (na->data_flags & ATTR_COMPRESSION_MASK)
        assert_int_equal(ntfs_attr_pclose(na), 0);
    ntfs_attr_close(na);
    free(ucs);
}

static void file(ntfs_inode *dir, const char *name, size_t n)
{
    ntfs_inode *ni = create(dir, name, S_IFREG);
    uint8_t *data = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        data[i] = sample_byte(i);
    write_at(ni, NULL, data, n, 0);
    free(data);
    done(ni, dir);
}

static void reparse(ntfs_inode *dir, const char *name, mode_t type, const void *data, size_t n)
{
    ntfs_inode *ni = create(dir, name, type);
    if (n == 8) /* WSL's device nodes have it, and the library insists */
        ni->flags |= FILE_ATTRIBUTE_RECALL_ON_OPEN;
    assert_int_equal(ntfs_set_ntfs_reparse_data(ni, data, n, 0), 0);
    done(ni, dir);
}

/* A junction (flags < 0) or a symbolic link with `text` as substitute and print name. */
static void windows_link(ntfs_inode *dir, const char *name, mode_t type, const char *text, int flags)
{
    uint8_t d[600] = { 0 };
    size_t head = flags < 0 ? 16 : 20, n = strlen(text) * 2;
    put_le32(d, flags < 0 ? 0xa0000003 : 0xa000000c);
    put_le16(d + 10, (uint16_t)n);     /* substitute length */
    put_le16(d + 12, (uint16_t)n + 2); /* print offset */
    put_le16(d + 14, (uint16_t)n);
    if (flags >= 0)
        put_le32(d + 16, (uint32_t)flags);
    for (size_t i = 0; text[i]; i++)
        d[head + 2 * i] = d[head + n + 2 + 2 * i] = (uint8_t)text[i];
    put_le16(d + 4, (uint16_t)(head - 8 + 2 * n + 4));
    reparse(dir, name, type, d, head + 2 * n + 4);
}

static void make_links(ntfs_inode *root)
{
    windows_link(root, "junction", S_IFDIR, "\\??\\C:\\Users\\Public", -1);
    windows_link(root, "volume", S_IFDIR, "\\??\\Volume{01234567-89ab-cdef-0123-456789abcdef}\\", -1);
    windows_link(root, "symlink", S_IFREG, "..\\dir\\target.txt", 1);
    windows_link(root, "absolute", S_IFREG, "\\??\\d:\\x", 0);
    windows_link(root, "unc", S_IFREG, "\\??\\UNC\\server\\share", 0);
    static const uint8_t wsl[] = "\x1d\x00\x00\xa0\x0c\x00\x00\x00\x02\x00\x00\x00/usr/l\xc3\xad";
    reparse(root, "wsl", S_IFREG, wsl, 8 + 12);
    static const uint8_t fifo[] = "\x24\x00\x00\x80\x00\x00\x00\x00";
    reparse(root, "wslfifo", S_IFREG, fifo, 8);
    static const uint8_t broken[] =
        "\x0c\x00\x00\xa0\x0c\x00\x00\x00\xff\x7f\xff\x7f\x00\x00\x00\x00\x01\x00\x00\x00";
    ntfs_inode *ni = create(root, "brokenlink", S_IFREG);
    assert_int_equal(ntfs_attr_add(ni, AT_REPARSE_POINT, AT_UNNAMED, 0, broken, 20), 0);
    ni->flags |= FILE_ATTR_REPARSE_POINT;
    NInoFileNameSetDirty(ni);
    ntfs_inode_mark_dirty(ni);
    done(ni, root);
    ntfschar *name = NULL, *target = NULL;
    int n = ntfs_mbstoucs("interix", &name), t = ntfs_mbstoucs("../möbius", &target);
    done(ntfs_create_symlink(root, 0, name, (uint8_t)n, target, t), root);
    free(name);
    free(target);
    name = NULL;
    n = ntfs_mbstoucs("tty9", &name);
    done(ntfs_create_device(root, 0, name, (uint8_t)n, S_IFCHR, makedev(4, 9)), root);
    free(name);
    done(create(root, "fifo", S_IFIFO), root);
    done(create(root, "socket", S_IFSOCK), root);
}

/* A file whose $DATA is all hole; then what says where its content is. */
static void hole_with(ntfs_inode *dir, const char *name, s64 size, uint32_t tag)
{
    ntfs_inode *ni = create(dir, name, S_IFREG);
    ntfs_attr *na = ntfs_attr_open(ni, AT_DATA, AT_UNNAMED, 0);
    assert_int_equal(ntfs_attr_truncate(na, size), 0);
    ntfs_attr_close(na);
    uint8_t d[24] = { 0 };
    put_le32(d, tag);
    put_le16(d + 4, 16);
    put_le32(d + 8, 1);
    put_le32(d + 12, 2);
    put_le32(d + 16, 1);
    assert_int_equal(ntfs_set_ntfs_reparse_data(ni, (char *)d, sizeof d, 0), 0);
    if (tag == 0x80000017)
        write_at(ni, "WofCompressedData", "compressed", 10, 0);
    if (tag == 0x9000601a) /* hydrated in part */
        write_at(ni, NULL, "local", 5, 8192);
    done(ni, dir);
}

static void make_files(ntfs_inode *root)
{
    file(root, "resident.txt", 100);
    file(root, "plain.bin", 70001);
    file(root, "Straße €.txt", 5);
    file(root, "\xf0\x9f\x90\x8b.txt", 5); /* outside the BMP */
    ntfs_inode *hiber = create(root, "hiberfil.sys", S_IFREG);
    write_at(hiber, NULL, "wake", 4, 0);
    done(hiber, root);
    file(root, "CaSe", 1);
    file(root, "case", 2); /* both: exact first */
    ntfs_inode *ni = create(root, "streams", S_IFREG);
    write_at(ni, NULL, "main", 4, 0);
    write_at(ni, "small", "stream", 6, 0);
    char *big = calloc(1, 20000);
    memset(big, 'b', 20000);
    write_at(ni, "bïg", big, 20000, 0);
    write_at(ni, "ntfs-3g.security.x", "secret", 6, 0);
    free(big);
    ni->flags |= FILE_ATTR_READONLY;
    NInoFileNameSetDirty(ni);
    ntfs_inode_mark_dirty(ni);
    done(ni, root);
    ni = create(root, "sparse", S_IFREG);
    write_at(ni, NULL, "data", 4, 1 << 20);
    write_at(ni, NULL, "e", 1, SAMPLE_SPARSE - 1);
    done(ni, root);
    hole_with(root, "wof.dll", SAMPLE_WOF, 0x80000017);
    hole_with(root, "cloud.doc", 20000, 0x9000601a);
    hole_with(root, "dedup.vhd", 20000, 0x80000013);
    hole_with(root, "unknown.tag", 20000, 0x80000099);
}

static void make_dirs(ntfs_inode *root)
{
    ntfs_inode *dir = create(root, "dir", S_IFDIR);
    file(dir, "target.txt", 10);
    ntfs_inode *ni = create(dir, "hard", S_IFREG);
    ntfschar *name = NULL;
    int n = ntfs_mbstoucs("hardlink", &name);
    assert_int_equal(ntfs_link(ni, root, name, (uint8_t)n), 0);
    free(name);
    done(ni, dir);
    ni = create(dir, "long name here.txt", S_IFREG);
    assert_int_equal(ntfs_set_ntfs_dos_name(ni, dir, "LONGNA~1.TXT", 12, 0), 0); /* closes both */
    dir = create(root, "packed", S_IFDIR);
    dir->flags |= FILE_ATTR_COMPRESSED;
    file(dir, "text.txt", SAMPLE_COMPRESSED);
    done(dir, root);
    dir = create(root, "many", S_IFDIR);
    for (int i = 0; i < SAMPLE_MANY; i++) {
        char s[16];
        snprintf(s, sizeof s, "file %04d", i);
        done(create(dir, s, S_IFREG), dir);
    }
    done(dir, root);
}

uint8_t *sample_make(void)
{
    char path[] = "/tmp/ferryfs-ntfs-XXXXXX", command[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SAMPLE_SIZE), 0);
    snprintf(command, sizeof command, "PATH=$PATH:/sbin:/usr/sbin mkntfs -qF -c 4096 %s >/dev/null 2>&1",
             path);
    uint8_t *bytes = NULL;
    if (!system(command)) {
        ntfs_set_char_encoding("utf8");
        ntfs_log_set_handler(ntfs_log_handler_null);
        vol = ntfs_mount(path, NTFS_MNT_NONE);
        assert_non_null(vol);
        NVolSetCompression(vol);
        ntfs_inode *root = ntfs_inode_open(vol, FILE_root);
        make_files(root);
        make_links(root);
        make_dirs(root);
        assert_int_equal(ntfs_inode_close(root), 0);
        assert_int_equal(ntfs_umount(vol, FALSE), 0);
        bytes = malloc(SAMPLE_SIZE);
        assert_int_equal(pread(fd, bytes, SAMPLE_SIZE, 0), SAMPLE_SIZE);
    }
    close(fd);
    unlink(path);
    return bytes;
}
