/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing names in NTFS directories: create, link, unlink, rename.
 *
 * New names are those that Windows can use: none of \ : * ? " < > | and control characters, no blank or dot
 * at the end, no device's name (CON, COM1.txt), and none that differs from another in the directory by case
 * only. They have no 8.3 twin; an old name that has one loses both entries together.
 *
 * A file has an entry (the name, a reference) in a directory for each of its names, and each of the names as
 * an attribute of its own. The library adds and removes such pairs; renaming is adding one and removing
 * another. Each step here opens what it needs by number and closes it again, the directory first: closing a
 * file writes its times and sizes into its directories' entries, for which the library opens them.
 *
 * A file that is unlinked while it is open goes on living, under a hidden name in the root that holds its own
 * reference; so the volume is sound at any moment. The last release deletes it, or recover() after a crash.
 *
 * Special files are made in Interix' way, as ntfs-3g does by default: a "system" file that says what it is.
 * The text of a symbolic link is kept as given. */
#include "ntfs.h"

#include "../formats/checked.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <linux/fs.h>

enum {
    LINKS_MAX = 1024, /* Windows' limit of a file's names */
    DEPTH_MAX = 4096, /* directories above one another; a path has at most PATH_MAX / 2 */
};

/* ---- names ---- */

static const char gone_prefix[] = ".ferryfs-deleted-";
enum { GONE_NAME_MAX = sizeof gone_prefix + 16 };

static void gone_name(uint64_t mref, char name[static GONE_NAME_MAX])
{
    snprintf(name, GONE_NAME_MAX, "%s%016llx", gone_prefix, (unsigned long long)mref);
}

bool ntfs_is_gone_name(const char *name, uint64_t mref)
{
    char wanted[GONE_NAME_MAX];
    gone_name(mref, wanted);
    return !strcmp(name, wanted);
}

/* A name that is to be made: -EINVAL when Windows couldn't use it. */
static int new_name_of(struct ntfs *v, const char *name, struct ntfs_name *ret)
{
    int r = ntfs_name_of(name, ret);
    if (r == -ENOENT) /* not UTF-8 */
        return -EINVAL;
    if (!r && (ntfs_forbidden_names(v->lib, ret->ucs, ret->len, TRUE) ||
               !strncmp(name, gone_prefix, strlen(gone_prefix)))) {
        ntfs_name_done(ret);
        r = -EINVAL;
    }
    return r;
}

/* ---- what a name stands for ---- */

struct target {
    uint64_t dir, mref; /* MFT references: the directory's number; the file's, with the sequence */
    mode_t type;        /* S_IFMT bits, as shown */
    unsigned names;     /* without 8.3 ones */
    unsigned links;     /* with them */
    ntfschar spelling[NTFS_MAX_NAME_LEN];
    int len; /* of the name as it is stored, which may differ in case from the one that was asked for */
};

/* The stored name; valid as long as `t`. */
static struct ntfs_name stored_name(struct target *t)
{
    return (struct ntfs_name){ t->spelling, t->len };
}

static int count_names(void *ctx, const FILE_NAME_ATTR *name)
{
    *(unsigned *)ctx += name->file_name_type != FILE_NAME_DOS;
    return 0;
}

/* What the file is; `t` has its reference. */
static int look_at(struct ntfs *v, struct target *t)
{
    struct ntfs_special s;
    ntfs_inode *ni;
    int r = ntfs_get_record(v, MREF(t->mref), &ni);
    if (r < 0)
        return r == -ENOENT ? -EIO : r;
    if (MSEQNO(t->mref) && MSEQNO(t->mref) != le16_to_cpu(ni->mrec->sequence_number))
        r = -EIO;
    t->mref = ntfs_ino_of(ni);
    t->links = le16_to_cpu(ni->mrec->link_count);
    t->names = 0;
    if (!r)
        r = ntfs_special_of(v, ni, &s);
    if (!r)
        r = ntfs_each_name(ni, count_names, &t->names);
    if (!r)
        t->type = s.type;
    return ntfs_put_inode(ni, r);
}

/* The directory's MFT number, when `name` isn't in it (or `exact`: no name spelled like that). */
static int find_in(struct ntfs *v, uint64_t dir, const struct ntfs_name *name, bool exact, uint64_t *ret_dir,
                   uint64_t *ret_mref)
{
    ntfs_inode *ni;
    int r = ntfs_get_inode(v, dir, &ni);
    if (r < 0)
        return r;
    *ret_dir = ni->mft_no;
    *ret_mref = 0;
    r = !ntfs_is_dir(ni) ? -ENOTDIR
        : exact          ? ntfs_find_exact(ni, name, ret_mref)
                         : ntfs_find(v, ni, name, ret_mref);
    ntfs_inode_close(ni);
    return r;
}

struct spelling {
    const struct ntfs *ntfs;
    const struct ntfs_name *name;
    struct target *target;
};

/* The name of this directory that is meant: the same, else the same without case. */
static int spell(void *ctx, const FILE_NAME_ATTR *fn)
{
    struct spelling *s = ctx;
    size_t len = fn->file_name_length;
    ntfschar stored[NTFS_MAX_NAME_LEN];
    if (MREF_LE(fn->parent_directory) != s->target->dir || len != (size_t)s->name->len)
        return 0;
    memcpy(stored, (const uint8_t *)fn + sizeof *fn, len * sizeof *stored);
    bool exact = !memcmp(stored, s->name->ucs, len * sizeof *stored);
    if (!exact && !ntfs_names_are_equal(stored, len, s->name->ucs, len, IGNORE_CASE, s->ntfs->lib->upcase,
                                        s->ntfs->lib->upcase_len))
        return 0;
    memcpy(s->target->spelling, stored, len * sizeof *stored);
    s->target->len = (int)len;
    return exact;
}

/* -ENOENT with t->dir set: the directory has no such name. */
static int find_target(struct ntfs *v, uint64_t dir, const struct ntfs_name *name, struct target *t)
{
    *t = (struct target){ 0 };
    int r = find_in(v, dir, name, false, &t->dir, &t->mref);
    if (!r)
        r = look_at(v, t);
    ntfs_inode *ni;
    if (!r)
        r = ntfs_get_inode(v, t->mref, &ni);
    if (r < 0)
        return r;
    struct spelling s = { v, name, t };
    r = ntfs_each_name(ni, spell, &s);
    return ntfs_put_inode(ni, r < 0 ? r : t->len ? 0 : -EIO);
}

/* ---- the two steps ---- */

static int add_name(struct ntfs *v, uint64_t mref, uint64_t dir, const struct ntfs_name *name)
{
    ntfs_inode *ni, *dir_ni;
    int r = ntfs_get_record(v, MREF(mref), &ni);
    if (r < 0)
        return r;
    r = ntfs_get_record(v, dir, &dir_ni);
    if (!r) {
        errno = EIO;
        if (ntfs_link(ni, dir_ni, name->ucs, (uint8_t)name->len)) {
            r = ntfs_write_failed();
        } else {
            ntfs_inode_update_times(ni, NTFS_UPDATE_CTIME);
            ntfs_inode_update_times(dir_ni, NTFS_UPDATE_MCTIME);
        }
        r = ntfs_put_inode(dir_ni, r);
    }
    ntfs_list_changed(v, dir);
    return ntfs_put_inode(ni, r);
}

/* With the last name the file is freed. */
static int remove_name(struct ntfs *v, uint64_t mref, uint64_t dir, const struct ntfs_name *name)
{
    ntfs_inode *ni, *dir_ni;
    int r = ntfs_get_record(v, MREF(mref), &ni);
    if (r < 0)
        return r;
    r = ntfs_get_record(v, dir, &dir_ni);
    if (r < 0)
        return ntfs_put_inode(ni, r);
    ntfs_list_changed(v, dir);
    errno = EIO;
    return ntfs_delete(v->lib, NULL, ni, dir_ni, name->ucs, (uint8_t)name->len) ? ntfs_write_failed() : 0;
}

/* ---- files without a name ---- */

/* Takes the last name of a file away, but keeps it under a hidden one. */
static int hide(struct ntfs *v, const struct target *t, const struct ntfs_name *name)
{
    char text[GONE_NAME_MAX];
    struct ntfs_name hidden;
    gone_name(t->mref, text);
    int r = ntfs_name_of(text, &hidden);
    if (r < 0)
        return r;
    r = add_name(v, t->mref, FILE_root, &hidden);
    if (!r) {
        r = remove_name(v, t->mref, t->dir, name);
        if (r < 0)
            remove_name(v, t->mref, FILE_root, &hidden);
    }
    ntfs_name_done(&hidden);
    return r;
}

int ntfs_delete_gone(struct ntfs *v, uint64_t ino)
{
    char text[GONE_NAME_MAX];
    struct ntfs_name hidden;
    gone_name(ino, text);
    int r = ntfs_may_write(v);
    if (!r)
        r = ntfs_name_of(text, &hidden);
    if (!r) {
        r = remove_name(v, ino, FILE_root, &hidden);
        ntfs_name_done(&hidden);
    }
    return r;
}

struct found {
    uint64_t mrefs[256];
    size_t n;
};

static int find_gone(void *ctx, const ntfschar *ucs, const int len, const int type, const s64 pos,
                     const MFT_REF mref, const unsigned dt_type)
{
    struct found *f = ctx;
    char *name = NULL;
    (void)type, (void)pos, (void)dt_type;
    if (f->n < sizeof f->mrefs / sizeof *f->mrefs && ntfs_ucstombs(ucs, len, &name, 0) >= 0 &&
        ntfs_is_gone_name(name, mref))
        f->mrefs[f->n++] = mref;
    free(name);
    return 0;
}

int ntfs_recover(struct volume *volume)
{
    struct ntfs *v = ntfs_of(volume);
    struct found f;
    int r = 0;
    do {
        ntfs_inode *root;
        uint32_t block;
        f.n = 0;
        ntfs_lock(v);
        r = ntfs_get_inode(v, VOLUME_ROOT, &root);
        if (!r) {
            s64 pos = 0;
            r = ntfs_check_index(root, &block);
            if (!r && ntfs_readdir(root, &pos, &f, find_gone))
                r = ntfs_failed();
            ntfs_inode_close(root);
        }
        for (size_t i = 0; i < f.n && !r; i++)
            r = ntfs_delete_gone(v, f.mrefs[i]);
        ntfs_unlock(v);
    } while (f.n && !r);
    return r;
}

/* ---- create ---- */

/* What a new file's access rights are: those that Windows would let it inherit from the directory. 0: none
 * can be had (an old volume), the library then grants all to everyone. */
static ntfs_lib_le32 inherited_id(struct ntfs *v, ntfs_inode *dir, bool is_dir)
{
    struct ntfs_inherited *last = &v->inherited[is_dir];
    uint32_t parent = test_nino_flag(dir, v3_Extensions) ? le32_to_cpu(dir->security_id) : 0;
    if (v->lib->major_ver < 3)
        return 0;
    if (parent && last->parent == parent)
        return (ntfs_lib_le32)htole32(last->id);
    struct PERMISSIONS_CACHE *none = NULL;
    struct SECURITY_CONTEXT security = { .vol = v->lib, .pseccache = &none };
    ntfs_lib_le32 id = ntfs_inherited_id(&security, dir, is_dir);
    if (parent && id)
        *last = (struct ntfs_inherited){ parent, le32_to_cpu(id) };
    return id;
}

static ntfs_inode *create_link(ntfs_inode *dir, ntfs_lib_le32 id, const struct ntfs_name *name,
                               const char *text)
{
    ntfschar *target = NULL;
    int len = ntfs_mbstoucs(text, &target);
    ntfs_inode *ni = NULL;
    if (len <= 0)
        errno = EINVAL;
    else
        ni = ntfs_create_symlink(dir, id, name->ucs, (uint8_t)name->len, target, len);
    free(target);
    return ni;
}

static ntfs_inode *create_inode(struct ntfs *v, ntfs_inode *dir, const struct ntfs_name *name,
                                const struct volume_new *what)
{
    mode_t type = what->mode & S_IFMT;
    ntfs_lib_le32 id = inherited_id(v, dir, S_ISDIR(type));
    uint8_t len = (uint8_t)name->len;
    if (S_ISLNK(type))
        return create_link(dir, id, name, what->target);
    if (S_ISCHR(type) || S_ISBLK(type))
        return ntfs_create_device(dir, id, name->ucs, len, type, what->rdev);
    return ntfs_create(dir, id, name->ucs, len, type);
}

/* In an open directory that has no such name. */
static int create_in(struct ntfs *v, ntfs_inode *dir, const struct ntfs_name *name,
                     const struct volume_new *what, uint64_t *ret_ino)
{
    errno = EIO;
    ntfs_inode *ni = create_inode(v, dir, name, what);
    if (!ni)
        return errno == EINVAL ? -EINVAL : ntfs_write_failed();
    if (S_ISREG(what->mode) && !(what->mode & 0222)) {
        ni->flags |= FILE_ATTR_READONLY;
        NInoFileNameSetDirty(ni);
    }
    *ret_ino = ntfs_ino_of(ni);
    ntfs_inode_update_times(dir, NTFS_UPDATE_MCTIME);
    return ntfs_inode_close_in_dir(ni, dir) ? ntfs_write_failed() : 0;
}

static bool link_fits(const struct volume_new *what)
{
    return !S_ISLNK(what->mode) || strlen(what->target) < PATH_MAX;
}

int ntfs_create_file(struct volume *volume, uint64_t dir, const char *name, const struct volume_new *what,
                     uint64_t *ret_ino)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_name n;
    if (!link_fits(what))
        return -ENAMETOOLONG;
    int r = new_name_of(v, name, &n);
    if (r < 0)
        return r;
    uint64_t mft, mref;
    ntfs_lock(v);
    r = ntfs_may_write(v);
    if (!r)
        r = find_in(v, dir, &n, false, &mft, &mref);
    r = !r ? -EEXIST : r == -ENOENT ? ntfs_room(v, 0) : r;
    ntfs_inode *dir_ni;
    if (!r)
        r = ntfs_get_inode(v, dir, &dir_ni); /* -ENOENT: it was removed */
    if (!r) {
        r = create_in(v, dir_ni, &n, what, ret_ino);
        r = ntfs_put_inode(dir_ni, r);
        ntfs_list_changed(v, mft);
    }
    ntfs_unlock(v);
    ntfs_name_done(&n);
    return r;
}

/* ---- link, unlink ---- */

static int link_locked(struct ntfs *v, uint64_t ino, uint64_t dir, const struct ntfs_name *name)
{
    struct target t = { .mref = ino };
    uint64_t mft, mref;
    int r = ntfs_may_write(v);
    if (!r && ntfs_is_gone(v, ino))
        r = -ENOENT;
    ntfs_inode *ni;
    if (!r)
        r = ntfs_get_inode(v, ino, &ni);
    if (!r)
        r = ntfs_put_inode(ni, 0);
    if (!r)
        r = look_at(v, &t);
    if (!r && (S_ISDIR(t.type) || ino == VOLUME_ROOT))
        r = -EPERM;
    if (!r && t.links >= LINKS_MAX)
        r = -EMLINK;
    if (r < 0)
        return r;
    r = find_in(v, dir, name, false, &mft, &mref);
    r = !r ? -EEXIST : r == -ENOENT ? ntfs_room(v, 0) : r;
    return r < 0 ? r : add_name(v, t.mref, mft, name);
}

int ntfs_hardlink(struct volume *volume, uint64_t ino, uint64_t dir, const char *name)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_name n;
    int r = new_name_of(v, name, &n);
    if (r < 0)
        return r;
    ntfs_lock(v);
    r = link_locked(v, ino, dir, &n);
    ntfs_unlock(v);
    ntfs_name_done(&n);
    return r;
}

static int unlink_locked(struct ntfs *v, uint64_t dir, const struct ntfs_name *name, bool is_dir)
{
    struct target t;
    int r = ntfs_may_write(v);
    if (!r)
        r = find_target(v, dir, name, &t);
    if (!r && S_ISDIR(t.type) != is_dir)
        r = is_dir ? -ENOTDIR : -EISDIR;
    if (r < 0)
        return r;
    struct ntfs_name stored = stored_name(&t);
    if (t.names > 1 || !ntfs_is_open(v, t.mref))
        return remove_name(v, t.mref, t.dir, &stored);
    r = hide(v, &t, &stored);
    if (!r)
        ntfs_set_gone(v, t.mref);
    return r;
}

static int unlink_name(struct volume *volume, uint64_t dir, const char *name, bool is_dir)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_name n;
    int r = ntfs_name_of(name, &n);
    if (r < 0)
        return r;
    ntfs_lock(v);
    r = unlink_locked(v, dir, &n, is_dir);
    ntfs_unlock(v);
    ntfs_name_done(&n);
    return r;
}

int ntfs_unlink(struct volume *volume, uint64_t dir, const char *name)
{
    return unlink_name(volume, dir, name, false);
}

int ntfs_rmdir(struct volume *volume, uint64_t dir, const char *name)
{
    return unlink_name(volume, dir, name, true);
}

/* ---- rename ---- */

/* Is `mft` the directory `above`, or below it? Then `above` can't be moved there. */
static int lies_below(struct ntfs *v, uint64_t mft, uint64_t above)
{
    for (unsigned depth = 0; depth < DEPTH_MAX; depth++) {
        if (mft == above)
            return 1;
        if (mft == FILE_root)
            return 0;
        ntfs_inode *ni, *parent;
        int r = ntfs_get_record(v, mft, &ni);
        if (r < 0)
            return r == -ENOENT ? -EIO : r;
        parent = ntfs_dir_parent_inode(ni);
        ntfs_inode_close(ni);
        if (!parent)
            return -EIO;
        mft = parent->mft_no;
        ntfs_inode_close(parent);
    }
    return -EIO;
}

/* The name is the file's already, spelled otherwise, or its 8.3 name: by way of a third one, as the library
 * can't have two that are the same. */
static int respell(struct ntfs *v, struct target *from, const struct ntfs_name *new_name)
{
    struct ntfs_name name = stored_name(from);
    char text[GONE_NAME_MAX];
    struct ntfs_name hidden;
    gone_name(from->mref, text);
    int r = ntfs_name_of(text, &hidden);
    if (r < 0)
        return r;
    r = add_name(v, from->mref, FILE_root, &hidden);
    if (!r)
        r = remove_name(v, from->mref, from->dir, &name);
    if (!r) {
        r = add_name(v, from->mref, from->dir, new_name);
        if (r < 0)
            add_name(v, from->mref, from->dir, &name);
    }
    remove_name(v, from->mref, FILE_root, &hidden);
    ntfs_name_done(&hidden);
    return r;
}

/* Moves `from` to a name that is free. */
static int move(struct ntfs *v, struct target *from, uint64_t new_dir, const struct ntfs_name *new_name)
{
    struct ntfs_name name = stored_name(from);
    int r = add_name(v, from->mref, new_dir, new_name);
    if (r < 0)
        return r;
    r = remove_name(v, from->mref, from->dir, &name);
    if (r < 0)
        remove_name(v, from->mref, new_dir, new_name);
    return r;
}

/* Moves `from` to where `to` is. `to` is put aside first, and put back when that fails. */
static int replace(struct ntfs *v, struct target *from, struct target *to, const struct ntfs_name *new_name)
{
    struct ntfs_name old = stored_name(to);
    bool last = to->names == 1;
    int r = last ? hide(v, to, &old) : remove_name(v, to->mref, to->dir, &old);
    if (r < 0)
        return r;
    r = move(v, from, to->dir, new_name);
    if (r < 0) {
        if (!add_name(v, to->mref, to->dir, &old) && last)
            ntfs_delete_gone(v, to->mref);
        return r;
    }
    if (last && ntfs_is_open(v, to->mref))
        ntfs_set_gone(v, to->mref);
    else if (last)
        r = ntfs_delete_gone(v, to->mref);
    return r;
}

/* May `from` take the place of `to`? */
static int check_replace(struct ntfs *v, const struct target *from, const struct target *to, unsigned flags)
{
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (S_ISDIR(from->type) != S_ISDIR(to->type))
        return S_ISDIR(from->type) ? -ENOTDIR : -EISDIR;
    if (!S_ISDIR(to->type))
        return 0;
    ntfs_inode *ni;
    int r = ntfs_get_record(v, MREF(to->mref), &ni);
    if (r < 0)
        return r;
    if (ntfs_check_empty_dir(ni))
        r = ntfs_write_failed();
    return ntfs_put_inode(ni, r);
}

static bool same_spelling(const struct ntfs_name *a, const struct ntfs_name *b)
{
    return a->len == b->len && !memcmp(a->ucs, b->ucs, (size_t)a->len * sizeof *a->ucs);
}

/* Both names lead to one file: the same entry, or two links. */
static int rename_same(struct ntfs *v, uint64_t dir, struct target *from, const struct target *to,
                       const struct ntfs_name *new_name, unsigned flags)
{
    struct ntfs_name stored = stored_name(from);
    const struct ntfs_name *name = &stored;
    uint64_t mft, mref;
    if (from->dir != to->dir || from->names > 1) {
        /* Another link stays what it is, unless it is this one in another spelling. */
        bool other = from->dir != to->dir ||
                     (!find_in(v, dir, new_name, true, &mft, &mref) && !same_spelling(name, new_name)) ||
                     !ntfs_names_are_equal(name->ucs, (size_t)name->len, new_name->ucs, (size_t)new_name->len,
                                           IGNORE_CASE, v->lib->upcase, v->lib->upcase_len);
        if (other)
            return flags & RENAME_NOREPLACE ? -EEXIST : 0;
    }
    return same_spelling(name, new_name) ? 0 : respell(v, from, new_name);
}

static int rename_locked(struct ntfs *v, uint64_t dir, const struct ntfs_name *name, uint64_t new_dir,
                         const struct ntfs_name *new_name, unsigned flags)
{
    struct target from, to;
    int r = ntfs_may_write(v);
    if (!r)
        r = find_target(v, dir, name, &from);
    if (!r)
        r = ntfs_room(v, 0);
    if (r < 0)
        return r;
    r = find_target(v, new_dir, new_name, &to);
    if (!to.dir || (r < 0 && r != -ENOENT))
        return r;
    if (!r && to.mref == from.mref)
        return rename_same(v, dir, &from, &to, new_name, flags);
    if (S_ISDIR(from.type) && from.dir != to.dir) {
        int below = lies_below(v, to.dir, MREF(from.mref));
        if (below)
            return below < 0 ? below : -EINVAL;
    }
    if (r == -ENOENT)
        return move(v, &from, to.dir, new_name);
    r = check_replace(v, &from, &to, flags);
    return r < 0 ? r : replace(v, &from, &to, new_name);
}

int ntfs_rename(struct volume *volume, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                unsigned flags)
{
    struct ntfs *v = ntfs_of(volume);
    struct ntfs_name from, to;
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    int r = ntfs_name_of(name, &from);
    if (r < 0)
        return r;
    r = new_name_of(v, new_name, &to);
    if (!r) {
        ntfs_lock(v);
        r = rename_locked(v, dir, &from, new_dir, &to, flags);
        ntfs_unlock(v);
        ntfs_name_done(&to);
    }
    ntfs_name_done(&from);
    return r;
}
