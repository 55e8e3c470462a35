/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names given, taken and moved. Each operation first looks whether all of it can be done, reserves what
 * blocks it may need, and then does it.
 *
 * Counts of links: a directory has one for its name, one for its own ".", one for each ".." below it; 1 says
 * that there are more than can be counted. */
#include "ext-write.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

enum { LINKS_MAX = 65000, LINKS_MAX_EXT2 = 32000, EXTENT_MAGIC = 0xF30A, EXTENT_ROOT_MAX = 4 };
/* What a new file or directory takes from the one it is in, as Linux does it. */
enum {
    INHERIT = EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_SYNC_FL | EXT2_NODUMP_FL | EXT2_NOATIME_FL |
              EXT3_JOURNAL_DATA_FL | EXT2_NOTAIL_FL | EXT2_DIRSYNC_FL,
    INHERIT_FILE = INHERIT & ~EXT2_DIRSYNC_FL,
    INHERIT_OTHER = EXT2_NODUMP_FL | EXT2_NOATIME_FL,
};

static struct ext_fs *fs_of(struct volume *v)
{
    return &ext_of(v)->fs;
}

/* ---- counts of links ---- */

static int links_room(const struct ext_fs *x, const struct ext_inode *i)
{
    if (S_ISDIR(i->mode) && x->super.ro_compat & EXT4_FEATURE_RO_COMPAT_DIR_NLINK)
        return 0;
    bool ext4 = x->super.incompat & EXT3_FEATURE_INCOMPAT_EXTENTS;
    return i->links >= (ext4 ? LINKS_MAX : LINKS_MAX_EXT2) ? -EMLINK : 0;
}

static void links_add(struct ext_inode *i)
{
    if (!S_ISDIR(i->mode) || i->links != 1)
        i->links++;
    if (S_ISDIR(i->mode) && i->links >= LINKS_MAX)
        i->links = 1;
}

static void links_drop(struct ext_inode *i)
{
    if (!S_ISDIR(i->mode) || i->links > 2)
        i->links--;
}

/* ---- what stands at a name ---- */

/* A directory in which something is to be changed. */
static int dir_get(struct ext_fs *x, uint64_t ino, struct ext_inode *ret)
{
    int r = ext_inode_get(x, ino, ret);
    if (r < 0)
        return r;
    if (!S_ISDIR(ret->mode))
        return -ENOTDIR;
    if (!ret->links)
        return -ENOENT;
    return ext_may_change(ret, false);
}

static int dir_touch(struct ext_fs *x, struct ext_inode *dir)
{
    dir->mtime = dir->ctime = ext_now();
    return ext_inode_write(x, dir);
}

static int is_used(void *ctx, const struct ext_dirent *e)
{
    (void)ctx, (void)e;
    return 1;
}

static int dir_check_empty(struct ext_fs *x, const struct ext_inode *dir)
{
    int r = ext_dir_each(x, dir, 0, is_used, NULL);
    return r < 0 ? r : r ? -ENOTEMPTY : 0;
}

/* An entry of dir and the inode that it leads to, which may go. */
static int entry_get(struct ext_fs *x, struct ext_inode *dir, const char *name, struct ext_inode *ret)
{
    uint32_t ino;
    int r = ext_entry_find(x, dir, name, &ino);
    if (r == 0)
        r = ext_inode_get(x, ext_volume_ino(x, ino), ret);
    if (r == 0 && dir->flags & EXT2_APPEND_FL)
        r = -EPERM;
    return r < 0 ? r : ext_may_change(ret, true);
}

/* One name less; with the last one the inode goes, or waits for those who have it open. */
static int inode_unname(struct ext_fs *x, struct ext_inode *i)
{
    if (S_ISDIR(i->mode))
        i->links = 0;
    else
        i->links--;
    i->ctime = ext_now();
    if (i->links)
        return ext_inode_write(x, i);
    struct ext_open *o = ext_open_find(x->writer, i->ino);
    if (!o)
        return ext_inode_free(x, i);
    o->orphan = true;
    return ext_inode_write(x, i);
}

/* ---- creating ---- */

static int new_directory(struct ext_fs *x, struct ext_inode *i, uint32_t parent)
{
    uint64_t block;
    char *buf;
    int r = ext_errno(ext2fs_new_dir_block(x->lib, i->ino, parent, &buf));
    if (r < 0)
        return r;
    r = ext_block_take(x, ext_block_goal(x, i->ino), &block);
    if (r == 0) {
        r = ext_errno(ext2fs_write_dir_block4(x->lib, block, buf, 0, i->ino));
        if (r == 0)
            r = ext_map_set(x, i, 0, block, false);
        if (r < 0)
            ext_block_free(x, block);
    }
    ext2fs_free_mem(&buf);
    if (r < 0)
        return r;
    i->size = x->super.block_size;
    return ext_errno(ext2fs_iblk_add_blocks(x->lib, ext_inode_lib(i), 1));
}

static int new_link(struct ext_fs *x, struct ext_inode *i, const char *target)
{
    i->size = strlen(target);
    if (i->size >= EXT_INODE_BLOCK_SIZE)
        return ext_write_mapped(x, i, target, (size_t)i->size, 0);
    memcpy(i->raw + EXT_INODE_BLOCK, target, (size_t)i->size);
    return 0;
}

/* As Linux keeps it, see inode_rdev(). */
static void new_node(struct ext_inode *i, dev_t dev)
{
    uint32_t high = major(dev), low = minor(dev);
    if (high < 256 && low < 256)
        put_le32(i->raw + EXT_INODE_BLOCK, high << 8 | low);
    else
        put_le32(i->raw + EXT_INODE_BLOCK + 4, (low & 0xff) | (high & 0xfff) << 8 | (low & ~0xffu) << 12);
}

static void new_tree(const struct ext_fs *x, struct ext_inode *i)
{
    if (!(x->super.incompat & EXT3_FEATURE_INCOMPAT_EXTENTS))
        return;
    i->flags |= EXT4_EXTENTS_FL;
    put_le16(i->raw + EXT_INODE_BLOCK, EXTENT_MAGIC);
    put_le16(i->raw + EXT_INODE_BLOCK + 4, EXTENT_ROOT_MAX);
}

static uint32_t inherited(const struct ext_inode *dir, uint16_t mode)
{
    uint32_t mask = S_ISDIR(mode) ? INHERIT : S_ISREG(mode) ? INHERIT_FILE : INHERIT_OTHER;
    return dir->flags & mask;
}

/* Everything of the inode but its name. *i is written. */
static int new_content(struct ext_fs *x, struct ext_inode *i, const struct ext_inode *dir,
                       const struct volume_new *what, const struct ext_acl_new *acl)
{
    i->uid = what->uid;
    i->gid = what->gid;
    if (dir->mode & S_ISGID) {
        i->gid = dir->gid;
        i->mode |= S_ISDIR(i->mode) ? S_ISGID : 0;
    }
    i->links = S_ISDIR(i->mode) ? 2 : 1;
    i->flags = inherited(dir, i->mode);
    bool slow = S_ISLNK(i->mode) && strlen(what->target) >= EXT_INODE_BLOCK_SIZE;
    if (S_ISREG(i->mode) || S_ISDIR(i->mode) || slow)
        new_tree(x, i);
    if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
        new_node(i, what->rdev);
    int r = ext_errno(ext2fs_write_new_inode(x->lib, i->ino, ext_inode_lib(i)));
    if (r == 0)
        r = ext_inode_write(x, i); /* blocks of directories have a checksum with the inode's generation */
    if (r == 0 && S_ISDIR(i->mode))
        r = new_directory(x, i, dir->ino);
    if (r == 0 && S_ISLNK(i->mode))
        r = new_link(x, i, what->target);
    if (r == 0)
        r = ext_inode_write(x, i);
    return r < 0 ? r : ext_acl_give(x, i, acl);
}

/* Of this mode. */
static int create_inode(struct ext_fs *x, struct ext_inode *dir, const char *name,
                        const struct volume_new *what, uint16_t mode, const struct ext_acl_new *acl,
                        struct ext_inode *i)
{
    uint32_t ino, generation;
    int r = ext_inode_take(x, dir->ino, mode, &ino, &generation);
    if (r < 0)
        return r;
    ext_inode_init(x, i, ino, generation);
    i->mode = mode;
    r = new_content(x, i, dir, what, acl);
    if (r == 0)
        r = ext_entry_add(x, dir, name, ino, mode);
    if (r < 0 && ext_inode_free(x, i) < 0)
        ext_inode_untake(x, ino, S_ISDIR(mode));
    return r;
}

static int create_in(struct ext_fs *x, struct ext_inode *dir, const char *name, const struct volume_new *what,
                     uint64_t *ret_ino)
{
    struct ext_inode i;
    struct ext_acl_new acl;
    uint16_t mode = (uint16_t)what->mode;
    uint32_t ino;
    int r = ext_entry_find(x, dir, name, &ino);
    if (r != -ENOENT)
        return r < 0 ? r : -EEXIST;
    if (S_ISLNK(what->mode) && (!*what->target || strlen(what->target) >= x->super.block_size))
        return *what->target ? -ENAMETOOLONG : -ENOENT;
    if ((S_ISDIR(mode) && (r = links_room(x, dir)) < 0) ||
        (r = ext_acl_inherit(x, dir, &mode, what->masked, &acl)) < 0)
        return r;
    r = ext_reserve(x, acl.of_dir ? 3 : 2); /* one for attributes */
    if (r == 0)
        r = create_inode(x, dir, name, what, mode, &acl, &i);
    ext_acl_new_done(&acl);
    if (r < 0)
        return r;
    if (S_ISDIR(mode))
        links_add(dir);
    *ret_ino = ext_volume_ino(x, i.ino);
    return dir_touch(x, dir);
}

int ext_create(struct volume *v, uint64_t dir, const char *name, const struct volume_new *what,
               uint64_t *ret_ino)
{
    struct ext_inode d;
    ext_write_begin(ext_of(v));
    int r = dir_get(fs_of(v), dir, &d);
    if (r == 0)
        r = create_in(fs_of(v), &d, name, what, ret_ino);
    ext_end(ext_of(v));
    return r;
}

static int hardlink_in(struct ext_fs *x, struct ext_inode *i, struct ext_inode *dir, const char *name)
{
    uint32_t there;
    if (S_ISDIR(i->mode))
        return -EPERM;
    if (!i->links)
        return -ENOENT;
    int r = ext_may_change(i, true);
    if (r < 0 || (r = links_room(x, i)) < 0)
        return r;
    r = ext_entry_find(x, dir, name, &there);
    if (r != -ENOENT)
        return r < 0 ? r : -EEXIST;
    if ((r = ext_reserve(x, 0)) < 0 || (r = ext_entry_add(x, dir, name, i->ino, i->mode)) < 0)
        return r;
    links_add(i);
    i->ctime = ext_now();
    r = ext_inode_write(x, i);
    return r < 0 ? r : dir_touch(x, dir);
}

int ext_hardlink(struct volume *v, uint64_t ino, uint64_t dir, const char *name)
{
    struct ext_inode i, d;
    ext_write_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), ino, &i);
    if (r == 0)
        r = dir_get(fs_of(v), dir, &d);
    if (r == 0)
        r = hardlink_in(fs_of(v), &i, &d, name);
    ext_end(ext_of(v));
    return r;
}

/* ---- removing ---- */

static int remove_from(struct ext_fs *x, struct ext_inode *dir, const char *name, bool directory)
{
    struct ext_inode i;
    int r = entry_get(x, dir, name, &i);
    if (r < 0)
        return r;
    if (S_ISDIR(i.mode) != directory)
        return directory ? -ENOTDIR : -EISDIR;
    if (directory && (r = dir_check_empty(x, &i)) < 0)
        return r;
    r = ext_entry_remove(x, dir, name);
    if (r == 0)
        r = inode_unname(x, &i);
    if (directory)
        links_drop(dir);
    int e = dir_touch(x, dir);
    return r < 0 ? r : e;
}

static int remove_name(struct volume *v, uint64_t dir, const char *name, bool directory)
{
    struct ext_inode d;
    ext_write_begin(ext_of(v));
    int r = dir_get(fs_of(v), dir, &d);
    if (r == 0)
        r = remove_from(fs_of(v), &d, name, directory);
    ext_end(ext_of(v));
    return r;
}

int ext_unlink(struct volume *v, uint64_t dir, const char *name)
{
    return remove_name(v, dir, name, false);
}

int ext_rmdir(struct volume *v, uint64_t dir, const char *name)
{
    return remove_name(v, dir, name, true);
}

/* ---- moving ---- */

struct move {
    struct ext_fs *x;
    struct ext_inode from, to; /* the directories; `to` isn't used when they are one */
    const char *name, *new_name;
    struct ext_inode moved, victim; /* victim.ino 0: none */
};

static struct ext_inode *move_target(struct move *m)
{
    return m->from.ino == m->to.ino ? &m->from : &m->to;
}

/* -EINVAL when a directory would come to lie in itself. */
static int move_check_loop(struct ext_fs *x, uint32_t into, uint32_t moved)
{
    struct ext_inode at;
    uint32_t ino = into;
    for (uint32_t steps = 0; ino != EXT_INO_ROOT; steps++) {
        if (ino == moved)
            return -EINVAL;
        int r = steps > x->super.inodes ? -EIO : ext_inode_read(x, ino, &at);
        if (r < 0 || (r = ext_entry_parent(x, &at, &ino)) < 0)
            return r;
    }
    return 0;
}

static int move_check(struct move *m, unsigned flags)
{
    struct ext_fs *x = m->x;
    int r = entry_get(x, &m->from, m->name, &m->moved);
    if (r < 0)
        return r;
    bool directory = S_ISDIR(m->moved.mode);
    r = entry_get(x, move_target(m), m->new_name, &m->victim);
    if (r == -ENOENT)
        m->victim.ino = 0;
    else if (r < 0)
        return r;
    else if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (directory && m->from.ino != m->to.ino && (r = move_check_loop(x, m->to.ino, m->moved.ino)) < 0)
        return r;
    if (m->victim.ino && m->victim.ino != m->moved.ino) {
        if (S_ISDIR(m->victim.mode) != directory)
            return directory ? -ENOTDIR : -EISDIR;
        if (directory && (r = dir_check_empty(x, &m->victim)) < 0)
            return r;
    }
    bool grows = directory && m->from.ino != m->to.ino && !m->victim.ino;
    r = grows ? links_room(x, &m->to) : 0;
    return r < 0 ? r : ext_reserve(x, 0);
}

static int move_do(struct move *m)
{
    struct ext_fs *x = m->x;
    struct ext_inode *to = move_target(m);
    bool directory = S_ISDIR(m->moved.mode), replaces = m->victim.ino;
    int r = replaces ? ext_entry_replace(x, to, m->new_name, m->moved.ino, m->moved.mode)
                     : ext_entry_add(x, to, m->new_name, m->moved.ino, m->moved.mode);
    if (r < 0 || (r = ext_entry_remove(x, &m->from, m->name)) < 0)
        return r;
    if (directory && m->from.ino != m->to.ino) {
        r = ext_entry_set_parent(x, &m->moved, m->to.ino);
        links_drop(&m->from);
        if (!replaces)
            links_add(&m->to);
    } else if (directory && replaces) {
        links_drop(&m->from);
    }
    m->moved.ctime = ext_now();
    int e = ext_inode_write(x, &m->moved);
    r = r < 0 ? r : e;
    e = replaces ? inode_unname(x, &m->victim) : 0;
    r = r < 0 ? r : e;
    e = dir_touch(x, &m->from);
    r = r < 0 ? r : e;
    e = m->from.ino != m->to.ino ? dir_touch(x, &m->to) : 0;
    return r < 0 ? r : e;
}

/* ---- two that change their places ---- */

static int exchange_check(struct move *m)
{
    struct ext_fs *x = m->x;
    int r = entry_get(x, &m->from, m->name, &m->moved);
    if (r < 0 || (r = entry_get(x, move_target(m), m->new_name, &m->victim)) < 0)
        return r;
    bool ours = S_ISDIR(m->moved.mode), theirs = S_ISDIR(m->victim.mode);
    if (m->from.ino == m->to.ino)
        return ext_reserve(x, 0);
    if ((ours && (r = move_check_loop(x, m->to.ino, m->moved.ino)) < 0) ||
        (theirs && (r = move_check_loop(x, m->from.ino, m->victim.ino)) < 0))
        return r;
    r = ours == theirs ? 0 : links_room(x, ours ? &m->to : &m->from);
    return r < 0 ? r : ext_reserve(x, 0);
}

/* Directories that come under another one: their "..", and the counts of those above them. */
static int exchange_parents(struct move *m)
{
    bool ours = S_ISDIR(m->moved.mode), theirs = S_ISDIR(m->victim.mode);
    int r = ours ? ext_entry_set_parent(m->x, &m->moved, m->to.ino) : 0;
    int e = theirs ? ext_entry_set_parent(m->x, &m->victim, m->from.ino) : 0;
    if (ours != theirs) {
        links_drop(ours ? &m->from : &m->to);
        links_add(ours ? &m->to : &m->from);
    }
    return r < 0 ? r : e;
}

static int exchange_do(struct move *m)
{
    struct ext_fs *x = m->x;
    struct ext_inode *to = move_target(m);
    int r = ext_entry_replace(x, to, m->new_name, m->moved.ino, m->moved.mode);
    if (r < 0)
        return r;
    r = ext_entry_replace(x, &m->from, m->name, m->victim.ino, m->victim.mode);
    if (r < 0) {
        ext_entry_replace(x, to, m->new_name, m->victim.ino, m->victim.mode);
        return r;
    }
    if (m->from.ino != m->to.ino)
        r = exchange_parents(m);
    m->moved.ctime = m->victim.ctime = ext_now();
    int e = ext_inode_write(x, &m->moved);
    r = r < 0 ? r : e;
    e = ext_inode_write(x, &m->victim);
    r = r < 0 ? r : e;
    e = dir_touch(x, &m->from);
    r = r < 0 ? r : e;
    e = m->from.ino != m->to.ino ? dir_touch(x, &m->to) : 0;
    return r < 0 ? r : e;
}

int ext_rename(struct volume *v, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
               unsigned flags)
{
    bool exchange = flags == RENAME_EXCHANGE;
    if (!exchange && flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    struct move *m = calloc(1, sizeof *m); /* four inodes are much for a stack */
    if (!m)
        return -ENOMEM;
    m->x = fs_of(v);
    m->name = name;
    m->new_name = new_name;
    ext_write_begin(ext_of(v));
    int r = dir_get(m->x, dir, &m->from);
    if (r == 0)
        r = dir_get(m->x, new_dir, &m->to);
    if (r == 0)
        r = exchange ? exchange_check(m) : move_check(m, flags);
    if (r == 0 && m->victim.ino != m->moved.ino)
        r = exchange ? exchange_do(m) : move_do(m);
    ext_end(ext_of(v));
    free(m);
    return r;
}
