/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NTFS streams and attributes as extended attributes, under the names that ntfs-3g gives them:
 *
 *     user.NAME             the alternate data stream NAME; the only ones that are listed
 *     system.ntfs_acl       the security descriptor          system.ntfs_attrib(_be)  the FILE_ATTRIBUTE_
 * bits system.ntfs_dos_name  the 8.3 name                     system.ntfs_times(_be)   all four times
 *     system.ntfs_crtime(_be)                                system.ntfs_object_id
 *     system.ntfs_reparse_data                               system.ntfs_ea
 *
 * ntfs-3g keeps attributes of the namespaces that only root may write in streams "ntfs-3g.security.X" and
 * "ntfs-3g.trusted.X"; those are never listed. The stream in which WOF keeps a file's compressed content
 * isn't listed either: Windows hides it, and a copy of it would be worth nothing. All can be read by name.
 *
 * Source: ntfs-3g(8), seen with ntfs-3g 2022.10.3. */
#include "ntfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES_MAX = 255 }; /* Linux' limit of a name; a longer one couldn't be asked for */

static const char user_prefix[] = "user.";
static const char hidden_prefix[] = "ntfs-3g.";

/* ---- list ---- */

struct list {
    char *buf;
    size_t size, n;
};

/* A value in the caller's buffer by the rules of listxattr(2) and getxattr(2). */
static int fit(size_t size, size_t n, size_t *ret_len)
{
    *ret_len = n;
    return size && n > size ? -ERANGE : 0;
}

static void list_name(struct list *l, const char *name)
{
    size_t n = strlen(user_prefix) + strlen(name) + 1;
    if (n - 1 > NAME_BYTES_MAX)
        return;
    if (l->n <= l->size && n <= l->size - l->n) {
        memcpy(l->buf + l->n, user_prefix, strlen(user_prefix));
        strcpy(l->buf + l->n + strlen(user_prefix), name);
    }
    l->n += n;
}

static bool is_listed(const char *name)
{
    return *name && strncmp(name, hidden_prefix, strlen(hidden_prefix)) && strcmp(name, NTFS_WOF_STREAM);
}

/* The first record of each named $DATA attribute (an attribute list names the others too). */
static int list_streams(ntfs_inode *ni, struct list *l)
{
    ntfs_attr_search_ctx *ctx = ntfs_attr_get_search_ctx(ni, NULL);
    if (!ctx)
        return ntfs_failed();
    int r = 0;
    while (!r && !ntfs_attr_lookup(AT_DATA, NULL, 0, CASE_SENSITIVE, 0, NULL, 0, ctx)) {
        const ATTR_RECORD *a = ctx->attr;
        char *name = NULL;
        if (!a->name_length || (a->non_resident && a->lowest_vcn))
            continue;
        const ntfschar *ucs =
            (const ntfschar *)(const void *)((const uint8_t *)a + le16_to_cpu(a->name_offset));
        if (ntfs_ucstombs(ucs, a->name_length, &name, 0) < 0)
            r = errno == ENOMEM ? -ENOMEM : 0; /* a name that can't be asked for isn't listed */
        else if (is_listed(name))
            list_name(l, name);
        free(name);
    }
    if (!r && errno != ENOENT)
        r = ntfs_failed();
    ntfs_attr_put_search_ctx(ctx);
    return r;
}

int ntfs_listxattr(struct volume *volume, uint64_t ino, char *buf, size_t size, size_t *ret_len)
{
    struct ntfs *v = ntfs_of(volume);
    struct list l = { buf, size, 0 };
    struct ntfs_special special;
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        r = ntfs_special_of(v, ni, &special);
        if (!r && (S_ISREG(special.type) || S_ISDIR(special.type)))
            r = list_streams(ni, &l);
        ntfs_inode_close(ni);
    }
    ntfs_unlock(v);
    return r < 0 ? r : fit(size, l.n, ret_len);
}

/* ---- get ---- */

/* A stream by its name (UTF-8). Of a volume that isn't written it is read without the lock. */
static int get_stream(struct ntfs *v, uint64_t ino, const char *name, struct list *ret)
{
    ntfschar *ucs = NULL;
    int len = ntfs_mbstoucs(name, &ucs);
    if (len <= 0 || len > NTFS_MAX_NAME_LEN) {
        free(ucs);
        return -ENODATA;
    }
    bool stays = !v->volume.writable;
    struct ntfs_data d;
    ntfs_inode *ni;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        r = ntfs_data_load(v, ni, AT_DATA, ucs, (uint32_t)len, &d);
        ntfs_inode_close(ni);
    }
    free(ucs);
    if (stays)
        ntfs_unlock(v);
    if (!r) {
        ret->n = d.size;
        if (ret->size && ret->n <= ret->size)
            r = ntfs_data_read(&d, ret->buf, d.size, 0, &ret->n);
        ntfs_data_done(&d);
    }
    if (!stays)
        ntfs_unlock(v);
    return r;
}

/* What the library makes of an attribute. It returns the size that is needed, or -errno. */
static int get_system(struct ntfs *v, uint64_t ino, const char *name, struct list *ret)
{
    enum SYSTEMXATTRS which = ntfs_xattr_system_type(name, v->lib);
    if (which == XATTR_UNMAPPED || which == XATTR_POSIX_ACC || which == XATTR_POSIX_DEF)
        return -ENODATA;
    struct SECURITY_CONTEXT security = { .vol = v->lib };
    ntfs_inode *ni, *dir = NULL;
    ntfs_lock(v);
    int r = ntfs_get_inode(v, ino, &ni);
    if (!r) {
        if (which == XATTR_NTFS_DOS_NAME && ni->mft_no != FILE_root)
            dir = ntfs_dir_parent_inode(ni);
        errno = ENODATA;
        r = which == XATTR_NTFS_DOS_NAME && !dir
                ? -ENODATA
                : ntfs_xattr_system_getxattr(&security, which, ni, dir, ret->buf, ret->size);
        if (dir)
            ntfs_inode_close(dir);
        ntfs_inode_close(ni);
    }
    ntfs_unlock(v);
    if (r == -ERANGE || r >= 0) {
        ret->n = r < 0 ? 0 : (size_t)r;
        return r < 0 ? r : 0;
    }
    return r == -ENOENT || r == -ENODATA || r == -EINVAL ? -ENODATA : r == -EPERM || r == -ENOMEM ? r : -EIO;
}

bool ntfs_stream_of(const char *name, char stream[static NTFS_STREAM_NAME_MAX])
{
    bool user = !strncmp(name, user_prefix, strlen(user_prefix));
    if (strlen(name) > NAME_BYTES_MAX)
        return false;
    if (user)
        snprintf(stream, NTFS_STREAM_NAME_MAX, "%s", name + strlen(user_prefix));
    else
        snprintf(stream, NTFS_STREAM_NAME_MAX, "%s%s", hidden_prefix, name);
    return user || !strncmp(name, "security.", 9) || !strncmp(name, "trusted.", 8);
}

int ntfs_getxattr(struct volume *volume, uint64_t ino, const char *name, void *buf, size_t size,
                  size_t *ret_len)
{
    struct ntfs *v = ntfs_of(volume);
    struct list value = { buf, size, 0 };
    char stream[NTFS_STREAM_NAME_MAX];
    int r = -ENODATA;
    if (ntfs_stream_of(name, stream))
        r = get_stream(v, ino, stream, &value);
    else if (!strncmp(name, "system.ntfs_", 12))
        r = get_system(v, ino, name, &value);
    return r < 0 ? r : fit(size, value.n, ret_len);
}
