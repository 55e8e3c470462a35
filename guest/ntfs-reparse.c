/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an NTFS inode is beyond a file or a directory: links, devices, and files whose content isn't theirs.
 *
 * A reparse point is an attribute that begins with a tag and is interpreted by whoever owns the tag:
 *
 *     u32 tag   u16 length   u16 0   data
 *     junction, volume mount point:   u16 substitute offset, length, print offset, length, names (UTF-16)
 *     symbolic link:                  the same, u32 flags (1: relative), names
 *     WSL symbolic link:              u32 2, UTF-8
 *     WSL device, FIFO, socket:       nothing; a device's numbers are in the EA "$LXDEV"
 *     WOF:                            the content is compressed, in another stream: see ntfs-wof.c
 *     dedup, SIS, HSM:                the content is elsewhere or encoded; $DATA reads as zeros
 *     cloud (OneDrive), containers:   $DATA is a cache of the content: what isn't in it is elsewhere
 *
 * Of a tag that we don't know, holes of $DATA are taken to be content that is elsewhere: never zeros.
 *
 * Interix (and ntfs-3g by default) keeps links and devices in plain files with the system attribute:
 * "IntxLNK\1" and a UTF-16 target, "IntxCHR\0" or "IntxBLK\0" and two u64; an empty one is a FIFO, one of a
 * byte a socket.
 *
 * Windows link texts are NT paths: "\??\C:\dir", "\??\Volume{guid}\", or what the user typed when relative.
 * See link_style in volume.h for what becomes of them. */
#include "ntfs.h"

#include "../formats/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <sys/sysmacros.h>

enum {
    REPARSE_MAX = 16 * 1024, /* Windows' limit */
    REPARSE_TAG = 0,
    REPARSE_LENGTH = 4,
    REPARSE_DATA = 8,
    /* in the data of junctions and symbolic links */
    LINK_SUBSTITUTE_OFFSET = 0,
    LINK_SUBSTITUTE_LENGTH = 2,
    JUNCTION_NAMES = 8,
    SYMLINK_NAMES = 12,
    WSL_LINK_TEXT = 4,
};
enum {
    TAG_MOUNT_POINT = 0xa0000003,
    TAG_SYMLINK = 0xa000000c,
    TAG_LX_SYMLINK = 0xa000001d,
    TAG_AF_UNIX = 0x80000023,
    TAG_LX_FIFO = 0x80000024,
    TAG_LX_CHR = 0x80000025,
    TAG_LX_BLK = 0x80000026,
    TAG_DEDUP = 0x80000013,
    TAG_SIS = 0x80000007,
    TAG_WIM = 0x80000008,
    TAG_HSM = 0xc0000004,
    TAG_HSM2 = 0x80000006,
};
enum {
    INTX_MAGIC = 8,
    INTX_MAJOR = 8,
    INTX_MINOR = 16,
    INTX_DEVICE_SIZE = 24,
    INTX_TARGET_MAX = 4096 * 2, /* bytes of UTF-16 */
    EA_MAX = 65536,             /* Windows' limit of all EAs of a file */
};

/* What a tag says of the inode. Tags that aren't here: a file or directory as it is, holes elsewhere. */
static const struct {
    uint32_t tag;
    mode_t type;    /* 0: as it is */
    int data_error; /* of a file */
} tags[] = {
    { TAG_MOUNT_POINT, S_IFLNK, 0 },
    { TAG_SYMLINK, S_IFLNK, 0 },
    { TAG_LX_SYMLINK, S_IFLNK, 0 },
    { TAG_AF_UNIX, S_IFSOCK, 0 },
    { TAG_LX_FIFO, S_IFIFO, 0 },
    { TAG_LX_CHR, S_IFCHR, 0 },
    { TAG_LX_BLK, S_IFBLK, 0 },
    { TAG_DEDUP, 0, -EIO },
    { TAG_SIS, 0, -EIO },
    { TAG_WIM, 0, -EIO },
    { TAG_HSM, 0, -EIO },
    { TAG_HSM2, 0, -EIO },
};

/* The device numbers that WSL keeps in the EA "$LXDEV": u32 major, u32 minor. 0 when there are none.
 * An EA: u32 offset of the next (0: last), u8 flags, u8 name length, u16 value length, name, NUL, value. */
static int wsl_device(struct ntfs *v, ntfs_inode *ni, dev_t *ret)
{
    enum { EA_NAME_LENGTH = 5, EA_VALUE_LENGTH = 6, EA_NAME = 8 };
    static const char name[] = "$LXDEV";
    _cleanup_free_ uint8_t *value = NULL;
    size_t n;
    int r = ntfs_load_value(v, ni, AT_EA, EA_MAX, &value, &n);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(value, n, 0, &bad);
    while (b.n) {
        size_t name_len = u8(b, EA_NAME_LENGTH);
        if (name_len == strlen(name) && bytes_match(b, EA_NAME, name, sizeof name) &&
            le16(b, EA_VALUE_LENGTH) >= 8) {
            struct bytes device = bytes_sub(b, EA_NAME + sizeof name, 8);
            *ret = makedev(le32(device, 0), le32(device, 4));
            return 0;
        }
        uint32_t next = le32(b, 0);
        if (!next || next > b.n || bad.set)
            break;
        b = bytes_sub(b, next, b.n - next);
    }
    return 0;
}

static int special_of_reparse(struct ntfs *v, ntfs_inode *ni, struct ntfs_special *s)
{
    _cleanup_free_ uint8_t *value = NULL;
    size_t n;
    int r = ntfs_load_value(v, ni, AT_REPARSE_POINT, REPARSE_MAX, &value, &n);
    s->holes_elsewhere = true;
    if (r == -ENOMEM)
        return r;
    if (r < 0 || n < REPARSE_DATA) {
        s->data_error = -EIO;
        return 0;
    }
    struct bad bad = { 0 };
    s->tag = le32(bytes_of(value, n, 0, &bad), REPARSE_TAG);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (tags[i].tag != s->tag)
            continue;
        if (tags[i].type)
            s->type = tags[i].type;
        s->data_error = tags[i].data_error;
    }
    return S_ISCHR(s->type) || S_ISBLK(s->type) ? wsl_device(v, ni, &s->rdev) : 0;
}

/* A system file that isn't a directory: Interix? */
static int special_of_interix(struct ntfs *v, ntfs_inode *ni, struct ntfs_special *s)
{
    struct ntfs_data d;
    int r = ntfs_data_load(v, ni, AT_DATA, AT_UNNAMED, 0, &d);
    if (r < 0)
        return r == -ENOMEM ? r : 0; /* no content to speak of: reading will say so */
    uint8_t head[INTX_DEVICE_SIZE];
    size_t n = 0;
    bool hidden = ni->flags & FILE_ATTR_HIDDEN; /* Windows' own empty system files are hidden */
    r = ntfs_data_read(&d, head, sizeof head, 0, &n);
    struct bad bad = { 0 };
    struct bytes b = bytes_of(head, n, 0, &bad);
    if (r < 0)
        ;
    else if (d.size <= 1 && !hidden)
        s->type = d.size ? S_IFSOCK : S_IFIFO;
    else if (bytes_match(b, 0, "IntxLNK\1", INTX_MAGIC) && d.size <= INTX_MAGIC + INTX_TARGET_MAX)
        s->type = S_IFLNK;
    else if (d.size == INTX_DEVICE_SIZE && bytes_match(b, 0, "IntxCHR\0", INTX_MAGIC))
        s->type = S_IFCHR;
    else if (d.size == INTX_DEVICE_SIZE && bytes_match(b, 0, "IntxBLK\0", INTX_MAGIC))
        s->type = S_IFBLK;
    if (S_ISCHR(s->type) || S_ISBLK(s->type))
        s->rdev = makedev((unsigned)le64(b, INTX_MAJOR), (unsigned)le64(b, INTX_MINOR));
    ntfs_data_done(&d);
    return 0;
}

int ntfs_special_of(struct ntfs *v, ntfs_inode *ni, struct ntfs_special *ret)
{
    *ret = (struct ntfs_special){ .type = ntfs_is_dir(ni) ? S_IFDIR : S_IFREG };
    if (ni->mft_no == FILE_root)
        return 0;
    if (ni->flags & FILE_ATTR_REPARSE_POINT)
        return special_of_reparse(v, ni, ret);
    if (ni->flags & FILE_ATTR_SYSTEM && !ntfs_is_dir(ni))
        return special_of_interix(v, ni, ret);
    return 0;
}

/* ---- link texts ---- */

static int give_text(const char *text, size_t n, char *buf, size_t size, size_t *ret_len)
{
    if (!n || memchr(text, 0, n))
        return -EIO;
    if (n >= size)
        return -ENAMETOOLONG;
    memcpy(buf, text, n);
    buf[n] = 0;
    *ret_len = n;
    return 0;
}

/* UTF-16 to malloc'ed UTF-8. */
static int utf16_text(struct bytes b, char **ret, size_t *ret_len)
{
    size_t units = b.n / 2;
    _cleanup_free_ ntfschar *name = malloc((units + 1) * sizeof *name);
    if (!name)
        return -ENOMEM;
    memcpy(name, b.p, units * 2);
    name[units] = 0;
    char *text = NULL;
    int n = ntfs_ucstombs(name, (int)units, &text, 0);
    if (n < 0) {
        free(text);
        return ntfs_failed();
    }
    *ret = text;
    *ret_len = (size_t)n;
    return 0;
}

/* An NT path as link_style says it: without the prefix of NT's object names, slashes for backslashes. */
static int windows_text(const char *text, size_t n, char *buf, size_t size, size_t *ret_len)
{
    static const char *const prefixes[] = { "\\??\\", "\\\\?\\", "\\DosDevices\\" };
    char out[3 * REPARSE_MAX];
    const char *lead = "";
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        size_t len = strlen(prefixes[i]);
        if (n < len || memcmp(text, prefixes[i], len))
            continue;
        text += len;
        n -= len;
        if (n >= 7 && !strncasecmp(text, "Volume{", 7)) {
            lead = "//?/";
        } else if (n >= 4 && !strncasecmp(text, "UNC\\", 4)) {
            lead = "//";
            text += 4;
            n -= 4;
        }
        break;
    }
    int len = snprintf(out, sizeof out, "%s%.*s", lead, (int)n, text);
    if (len < 0 || (size_t)len >= sizeof out || strlen(out) != strlen(lead) + n)
        return -EIO;
    for (char *p = out; *p; p++)
        if (*p == '\\')
            *p = '/';
    return give_text(out, (size_t)len, buf, size, ret_len);
}

static int reparse_text(struct ntfs *v, ntfs_inode *ni, uint32_t tag, char *buf, size_t size, size_t *ret_len)
{
    _cleanup_free_ uint8_t *value = NULL;
    _cleanup_free_ char *text = NULL;
    size_t n, text_len;
    int r = ntfs_load_value(v, ni, AT_REPARSE_POINT, REPARSE_MAX, &value, &n);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(value, n, 0, &bad);
    struct bytes data = bytes_sub(b, REPARSE_DATA, le16(b, REPARSE_LENGTH));
    if (tag == TAG_LX_SYMLINK) {
        struct bytes utf8 =
            bytes_sub(data, WSL_LINK_TEXT, data.n - (data.n < WSL_LINK_TEXT ? data.n : WSL_LINK_TEXT));
        return bad.set ? -EIO : give_text((const char *)utf8.p, utf8.n, buf, size, ret_len);
    }
    size_t names = tag == TAG_SYMLINK ? SYMLINK_NAMES : JUNCTION_NAMES;
    struct bytes name =
        bytes_sub(data, names + le16(data, LINK_SUBSTITUTE_OFFSET), le16(data, LINK_SUBSTITUTE_LENGTH));
    if (bad.set)
        return -EIO;
    r = utf16_text(name, &text, &text_len);
    return r < 0 ? r : windows_text(text, text_len, buf, size, ret_len);
}

static int interix_text(struct ntfs *v, ntfs_inode *ni, char *buf, size_t size, size_t *ret_len)
{
    _cleanup_free_ uint8_t *value = NULL;
    _cleanup_free_ char *text = NULL;
    size_t n, text_len;
    int r = ntfs_load_value(v, ni, AT_DATA, INTX_MAGIC + INTX_TARGET_MAX, &value, &n);
    if (r < 0)
        return r;
    struct bad bad = { 0 };
    struct bytes b = bytes_of(value, n, 0, &bad);
    struct bytes target = bytes_sub(b, INTX_MAGIC, n < INTX_MAGIC ? 0 : n - INTX_MAGIC);
    if (bad.set)
        return -EIO;
    r = utf16_text(target, &text, &text_len);
    return r < 0 ? r : give_text(text, text_len, buf, size, ret_len);
}

int ntfs_link_text(struct ntfs *v, ntfs_inode *ni, const struct ntfs_special *special, char *buf, size_t size,
                   size_t *ret_len, enum link_style *ret_style)
{
    if (!S_ISLNK(special->type))
        return -EINVAL;
    *ret_style = special->tag == TAG_MOUNT_POINT || special->tag == TAG_SYMLINK ? LINK_WINDOWS : LINK_POSIX;
    return special->tag ? reparse_text(v, ni, special->tag, buf, size, ret_len)
                        : interix_text(v, ni, buf, size, ret_len);
}
