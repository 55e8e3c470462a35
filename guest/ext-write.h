/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_EXT_WRITE_H
#define FERRYFS_EXT_WRITE_H
/* What the writing files of the ext driver share. Everything here is called with the gate held alone, unless
 * it says otherwise.
 *
 *     ext-write.c   the bytes of files, their sizes        ext-names.c  create, link, unlink, rename
 *     ext-alloc.c   blocks and inodes, taken and freed     ext-entry.c  entries of directories
 *     ext-attr.c    modes, owners, times                   ext-xattr-set.c, ext-acl.c
 *     ext-sync.c    what a sync leaves on the disk         ext-recover.c  journal and orphans at the open
 *
 * libext2fs allocates, keeps the bitmaps and the trees; its calls change the store only. What an operation
 * may need is reserved before it begins, so that it doesn't fail in its middle. */
#include "ext.h"

/* An inode that is open, by however many handles. */
struct ext_open {
    struct ext_open *next; /* in its bucket */
    uint32_t ino;
    unsigned handles;
    bool orphan; /* it has no name any more, and goes with its last handle */
};

enum { EXT_OPEN_BUCKETS = 256 };

struct ext_writer {
    uint8_t *dirty_groups; /* owned; a byte per group: EXT_GROUP_* */
    struct ext_freed {
        uint64_t block, count;
    } * freed; /* owned; to be discarded at the sync */
    size_t n_freed, room_freed;
    pthread_mutex_t lock; /* protects `open` where the gate isn't held alone; taken after it */
    struct ext_open *open[EXT_OPEN_BUCKETS];
    struct ext_lives {
        uint32_t ino, count;
    } * lives; /* owned: a hash table of the inodes that were freed */
    size_t n_lives, room_lives;
    uint32_t hint_dir; /* where the last entry was added or found */
    uint64_t hint_block;
    struct ext_names *names; /* owned, or NULL: which names a large directory has */
    bool hiding;             /* orphans are freed for a moment: that isn't to be noted */
    bool unreserved;         /* the blocks kept for root may be used */
};

enum { EXT_GROUP_BLOCKS = 1, EXT_GROUP_INODES = 2 };

/* ---- ext-alloc.c ---- */

int ext_writer_new(struct ext_fs *x, struct ext_writer **ret);
void ext_writer_free(struct ext_writer *w);
/* How often the inode was freed since the open. With the gate held in either way. */
uint32_t ext_lives(const struct ext_fs *x, uint32_t ino);
/* -ENOSPC when so many blocks, and some for metadata, aren't free. */
int ext_reserve(struct ext_fs *x, uint64_t blocks);
/* One block, the next free one from `goal` on (0: any). It is marked as used. */
int ext_block_take(struct ext_fs *x, uint64_t goal, uint64_t *ret);
void ext_block_free(struct ext_fs *x, uint64_t block);
/* A place to begin the search for blocks of this inode. */
uint64_t ext_block_goal(struct ext_fs *x, uint32_t ino);
/* A new inode near `dir`, marked as used; its generation is another than the one before had. */
int ext_inode_take(struct ext_fs *x, uint32_t dir, uint16_t mode, uint32_t *ret, uint32_t *ret_generation);
/* Frees an inode with all that is its own. `i` as it is on the disk. */
int ext_inode_free(struct ext_fs *x, struct ext_inode *i);
/* Frees the blocks [first, last] of the file, and of its tree what isn't needed any more. */
int ext_punch(struct ext_fs *x, struct ext_inode *i, uint64_t first, uint64_t last);
/* The inverse of ext_inode_take(), of one that has nothing yet. */
void ext_inode_untake(struct ext_fs *x, uint32_t ino, bool directory);
/* The open file's record, or NULL. With the gate held in either way, and the writer's lock if not alone. */
struct ext_open *ext_open_find(struct ext_writer *w, uint32_t ino);
/* Counts a handle. With the gate held in either way. */
int ext_open_add(struct ext_writer *w, uint32_t ino);
/* Takes one back; true: it was the last of an orphan, whose inode is to be freed now. */
bool ext_open_drop(struct ext_writer *w, uint32_t ino);
/* Is it open? With the gate held in either way. */
bool ext_is_open(const struct ext_fs *x, uint32_t ino);

/* ---- ext-inode.c ---- */

/* Puts the fields of *i that can change (mode, owner, links, flags, size, times, acl_block) into its bytes,
 * and these into the store. */
int ext_inode_write(struct ext_fs *x, struct ext_inode *i);
/* A new inode's bytes with its fields, behind them nothing. */
void ext_inode_init(const struct ext_fs *x, struct ext_inode *i, uint32_t ino, uint32_t generation);
static inline struct ext2_inode *ext_inode_lib(struct ext_inode *i)
{
    return (struct ext2_inode *)(void *)i->raw;
}
/* Takes the fields anew from the bytes, which the library has changed. */
int ext_inode_reload(struct ext_fs *x, struct ext_inode *i);
struct timespec ext_now(void);

/* ---- ext-write.c ---- */

int ext_file_write(struct volume_file *f, const void *buf, size_t len, uint64_t off);
int ext_file_fallocate(struct volume_file *f, int mode, uint64_t off, uint64_t len);
/* Sets the size of a file: what is cut off is freed, what is added is zeros. *i is written. */
int ext_resize(struct ext_fs *x, struct ext_inode *i, uint64_t size);
/* Bytes of an inode into blocks that it has, or is given. *i isn't written, but for its tree. */
int ext_write_mapped(struct ext_fs *x, struct ext_inode *i, const void *buf, size_t len, uint64_t off);
/* One given block as the file's block `logical`, which is a hole. */
int ext_map_set(struct ext_fs *x, struct ext_inode *i, uint64_t logical, uint64_t block, bool unwritten);
/* -EFBIG when a file of this kind can't have the size. */
int ext_size_check(const struct ext_fs *x, const struct ext_inode *i, uint64_t size);
/* A size of 2 GiB and more has to be announced in the superblock. */
void ext_size_announce(struct ext_fs *x, uint64_t size);

/* ---- ext-entry.c ---- */

int ext_entry_add(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode);
int ext_entry_remove(struct ext_fs *x, struct ext_inode *dir, const char *name);
/* Lets an entry lead to another inode. */
int ext_entry_replace(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t ino, uint16_t mode);
int ext_entry_set_parent(struct ext_fs *x, struct ext_inode *dir, uint32_t parent);
int ext_entry_parent(struct ext_fs *x, struct ext_inode *dir, uint32_t *ret);
/* As ext_dir_lookup(), quick for what isn't in the directory last written. */
int ext_entry_find(struct ext_fs *x, struct ext_inode *dir, const char *name, uint32_t *ret_ino);
/* Is it known that the directory has no such name? Needs the gate only for reading. */
bool ext_entry_absent(const struct ext_fs *x, const struct ext_inode *dir, const char *name);
void ext_names_free(struct ext_names *n);

/* ---- ext-names.c ---- */

int ext_create(struct volume *v, uint64_t dir, const char *name, const struct volume_new *what,
               uint64_t *ret_ino);
int ext_hardlink(struct volume *v, uint64_t ino, uint64_t dir, const char *name);
int ext_unlink(struct volume *v, uint64_t dir, const char *name);
int ext_rmdir(struct volume *v, uint64_t dir, const char *name);
int ext_rename(struct volume *v, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
               unsigned flags);

/* ---- ext-attr.c, ext-xattr-set.c ---- */

int ext_setattr(struct volume *v, uint64_t ino, const struct volume_attr *a, unsigned which);
/* -EPERM for files that are marked immutable, and, if `append_too`, append-only. */
int ext_may_change(const struct ext_inode *i, bool append_too);
int ext_setxattr(struct volume *v, uint64_t ino, const char *name, const void *value, size_t size, int flags);
int ext_removexattr(struct volume *v, uint64_t ino, const char *name);
/* Sets an attribute, or takes it away (value NULL), at once; what can't be placed leaves everything as it
 * was. *i is read anew: it has to be written before. */
int ext_xattr_put(struct ext_fs *x, struct ext_inode *i, const char *name, const void *value, size_t size);

/* ---- ext-acl.c: ACLs in the form of getxattr(2) ---- */

#define EXT_ACL_ACCESS  "system.posix_acl_access"
#define EXT_ACL_DEFAULT "system.posix_acl_default"

/* No ACL at all: nothing, or a header without entries. */
bool ext_acl_empty(const void *value, size_t n);
/* As setfacl makes it: the entries in order, one each of the owner, the group and others; else -EINVAL. */
int ext_acl_check(const void *value, size_t n);
/* The mode's 9 bits that it says; and whether a checked one of n bytes says no more than these. */
uint16_t ext_acl_mode(const void *value, size_t n);
bool ext_acl_is_mode(size_t n);
/* Lets the inode's ACL, if it has one, say what its mode now does. */
int ext_acl_follow_mode(struct ext_fs *x, struct ext_inode *i);
/* What a new inode has from the default ACL of its directory. */
struct ext_acl_new {
    uint8_t *of_dir; /* owned; NULL: there is none */
    size_t size;
};
/* *mode, as the umask has left it, becomes what the default ACL allows of (*mode | masked); without one, and
 * for links, it stays. -EIO where the image's ACL is damaged. */
int ext_acl_inherit(struct ext_fs *x, const struct ext_inode *dir, uint16_t *mode, mode_t masked,
                    struct ext_acl_new *ret);
/* Gives the new inode, which is written and has the mode from above, its ACLs. */
int ext_acl_give(struct ext_fs *x, struct ext_inode *i, const struct ext_acl_new *a);
void ext_acl_new_done(struct ext_acl_new *a);

/* ---- ext-sync.c, ext-recover.c ---- */

int ext_sync(struct volume *v);
/* Why the file system can't be written safely, or NULL. `buf` is for the text. */
const char *ext_unsafe(const struct ext_super *s, char *buf, size_t size);
/* The same, of a volume whose gate nobody else knows yet. */
int ext_fs_sync(struct ext_fs *x);
/* Makes a volume that is open for reading writable, over `disk`: puts the replayed journal into it, and
 * processes the orphans. When that can't be, read_only_why says why, and 0 is returned; negative when it
 * can't be opened for reading any more. */
int ext_writing_begin(struct ext_volume *v, struct disk *disk, struct cache *cache, const char *name);
void ext_writing_end(struct ext_volume *v);
/* What a guest does at its mount beside replaying the journal: truncates and deletes what it was to. -EUCLEAN
 * when the lists are damaged; the caller drops the store then. */
int ext_orphans_process(struct ext_fs *x);
#endif
