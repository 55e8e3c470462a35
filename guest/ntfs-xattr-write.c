/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Setting and removing extended attributes of NTFS files; what they are called and mean: ntfs-xattr.c.
 *
 * POSIX ACLs have no place here: setting one is -ENOTSUP, which cp -a and rsync take as "chmod then", and
 * removing one that can't be there is done. */
#include "ntfs.h"

#include <errno.h>
#include <string.h>

static const char wof_stream[] = "WofCompressedData";

/* ---- streams ---- */

/* A stream's name as the library wants it. */
static int stream_name(const char *stream, struct ntfs_name *ret)
{
    if (!strcmp(stream, wof_stream))
        return -EPERM; /* a file's packed content */
    int r = ntfs_name_of(stream, ret);
    if (r < 0)
        return r == -ENOENT ? -EINVAL : r;
    if (ntfs_forbidden_chars(ret->ucs, ret->len, TRUE)) {
        ntfs_name_done(ret);
        return -EINVAL;
    }
    return 0;
}

/* Streams are for files and directories; what a link or a device node is, is in its own. */
static int may_have_streams(struct ntfs *v, ntfs_inode *ni)
{
    struct ntfs_special s;
    int r = ntfs_special_of(v, ni, &s);
    return r < 0 ? r : S_ISREG(s.type) || S_ISDIR(s.type) ? 0 : -EPERM;
}

static int write_stream(struct ntfs *v, ntfs_inode *ni, const struct ntfs_name *name, const void *value,
                        size_t size)
{
    ntfs_attr *na = ntfs_attr_open(ni, AT_DATA, name->ucs, (uint32_t)name->len);
    if (!na)
        return ntfs_failed();
    int r = na->data_flags & ATTR_IS_ENCRYPTED ? -EACCES : 0;
    (void)v;
    errno = EIO;
    /* A compressed value can't be shortened but to nothing. */
    if (!r && (na->data_flags & ATTR_COMPRESSION_MASK || !size) && ntfs_attr_truncate(na, 0))
        r = ntfs_write_failed();
    if (!r && size)
        r = ntfs_write_attr(na, value, size, 0);
    if (!r && na->data_size > (s64)size && ntfs_attr_truncate(na, (s64)size))
        r = ntfs_write_failed();
    ntfs_attr_close(na);
    return r;
}

static int set_stream(struct ntfs *v, ntfs_inode *ni, const struct ntfs_name *name, const void *value,
                      size_t size, int flags)
{
    bool exists = ntfs_attr_exist(ni, AT_DATA, name->ucs, (uint32_t)name->len);
    int r = may_have_streams(v, ni);
    if (!r && exists && flags & XATTR_CREATE)
        r = -EEXIST;
    if (!r && !exists && flags & XATTR_REPLACE)
        r = -ENODATA;
    if (!r)
        r = ntfs_room(v, (size >> v->cluster_shift) + 2);
    errno = EIO;
    if (!r && !exists && ntfs_attr_add(ni, AT_DATA, name->ucs, (uint8_t)name->len, NULL, 0))
        r = ntfs_write_failed();
    if (r < 0)
        return r;
    r = write_stream(v, ni, name, value, size);
    if (r < 0 && !exists)
        ntfs_attr_remove(ni, AT_DATA, name->ucs, (uint32_t)name->len);
    return r;
}

static int remove_stream(struct ntfs *v, ntfs_inode *ni, const struct ntfs_name *name)
{
    int r = may_have_streams(v, ni);
    if (r < 0)
        return r;
    if (!ntfs_attr_exist(ni, AT_DATA, name->ucs, (uint32_t)name->len))
        return -ENODATA;
    errno = EIO;
    return ntfs_attr_remove(ni, AT_DATA, name->ucs, (uint32_t)name->len) ? ntfs_write_failed() : 0;
}

/* Sets (`value` isn't NULL) or removes the stream's attribute. */
static int change_stream(struct ntfs *v, ntfs_inode *ni, const char *stream, const void *value, size_t size,
                         int flags)
{
    struct ntfs_name name;
    int r = stream_name(stream, &name);
    if (r < 0)
        return r == -EINVAL && !value ? -ENODATA : r;
    r = value ? set_stream(v, ni, &name, value, size, flags) : remove_stream(v, ni, &name);
    ntfs_name_done(&name);
    return r;
}

/* ---- system attributes ---- */

static bool is_acl(const char *name)
{
    return !strcmp(name, "system.posix_acl_access") || !strcmp(name, "system.posix_acl_default");
}

/* What the library answers to a call that changes something. */
static int answer_of(int r)
{
    if (!r)
        return 0;
    switch (errno) {
    case EINVAL:
    case ENODATA:
    case ERANGE:
    case EPERM:
        return -errno;
    default:
        return ntfs_write_failed();
    }
}

/* The library closes both inodes with the 8.3 name. */
static int change_dos_name(struct ntfs *v, ntfs_inode *ni, struct SECURITY_CONTEXT *security,
                           const void *value, size_t size, int flags)
{
    ntfs_inode *dir = ni->mft_no == FILE_root ? NULL : ntfs_dir_parent_inode(ni);
    if (!dir)
        return ntfs_put_inode(ni, -EINVAL);
    ntfs_list_changed(v, dir->mft_no);
    errno = EIO;
    return answer_of(
        value ? ntfs_xattr_system_setxattr(security, XATTR_NTFS_DOS_NAME, ni, dir, value, size, flags)
              : ntfs_xattr_system_removexattr(security, XATTR_NTFS_DOS_NAME, ni, dir));
}

/* Times that are set by their attribute: the library's inode would keep them as they are whatever comes. */
static void release_times(ntfs_inode *ni)
{
    clear_nino_flag(ni, TimesSet);
}

/* Closes `ni`. */
static int change_system(struct ntfs *v, ntfs_inode *ni, const char *name, const void *value, size_t size,
                         int flags)
{
    enum SYSTEMXATTRS which = ntfs_xattr_system_type(name, v->lib);
    struct PERMISSIONS_CACHE *none = NULL;
    struct SECURITY_CONTEXT security = { .vol = v->lib, .pseccache = &none };
    if (which == XATTR_NTFS_DOS_NAME)
        return change_dos_name(v, ni, &security, value, size, flags);
    int r = which == XATTR_UNMAPPED ? (value ? -EOPNOTSUPP : -ENODATA) : 0;
    if (r < 0)
        return ntfs_put_inode(ni, r);
    errno = value ? EIO : EPERM; /* what may never be removed is refused without setting it */
    r = answer_of(value ? ntfs_xattr_system_setxattr(&security, which, ni, NULL, value, size, flags)
                        : ntfs_xattr_system_removexattr(&security, which, ni, NULL));
    release_times(ni);
    if (!r && which != XATTR_NTFS_TIMES && which != XATTR_NTFS_TIMES_BE)
        ntfs_inode_update_times(ni, NTFS_UPDATE_CTIME);
    return ntfs_put_inode(ni, r);
}

/* ---- both ---- */

/* Closes `ni`. */
static int change_attribute(struct ntfs *v, ntfs_inode *ni, const char *name, const void *value, size_t size,
                            int flags)
{
    char stream[NTFS_STREAM_NAME_MAX];
    if (!strncmp(name, "system.ntfs_", 12)) {
        int r = ntfs_room(v, 0);
        return r < 0 ? ntfs_put_inode(ni, r) : change_system(v, ni, name, value, size, flags);
    }
    int r = -EOPNOTSUPP;
    if (ntfs_stream_of(name, stream))
        r = change_stream(v, ni, stream, value, size, flags);
    if (!r)
        ntfs_inode_update_times(ni, NTFS_UPDATE_CTIME);
    return ntfs_put_inode(ni, r);
}

static int change(struct volume *volume, uint64_t ino, const char *name, const void *value, size_t size,
                  int flags)
{
    struct ntfs *v = ntfs_of(volume);
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_may_write(v);
    if (!r)
        r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        struct ntfs_node *n = ntfs_change_begin(v, ino); /* reparse data says what the content is */
        r = change_attribute(v, ni, name, value, size, flags);
        ntfs_change_end(n);
    }
    ntfs_unlock(v);
    return r;
}

int ntfs_setxattr(struct volume *volume, uint64_t ino, const char *name, const void *value, size_t size,
                  int flags)
{
    return is_acl(name) ? -ENOTSUP : change(volume, ino, name, value ? value : "", size, flags);
}

int ntfs_removexattr(struct volume *volume, uint64_t ino, const char *name)
{
    return is_acl(name) ? 0 : change(volume, ino, name, NULL, 0, 0);
}
