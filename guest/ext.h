/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_EXT_H
#define FERRYFS_EXT_H
/* What the files of the ext2/3/4 driver share. Source: the kernel's Documentation/filesystems/ext4, fact
 * sheet ext4-ntfs-libs A.
 *
 * libext2fs opens the file system, checks the group descriptors and reads inodes, under `lock`. Everything
 * that a hostile image can make long or deep (extent trees, indirect blocks, directories, attributes) is read
 * by our own code over struct disk, without the lock: each step is bounded by a block or by the depth of a
 * tree, and each block number is held against the file system's size.
 *
 * A writable volume has a store (block-store.h) in place of the cache, for what changes can't lie in the
 * cache, and a `gate` in ext.c: whoever changes something holds it alone, whoever reads holds it with others,
 * over the reading of file data too, since blocks that a writer frees may be another file's a moment later.
 */
#include "../formats/bytes.h"
#include "block-store.h"
#include "volume.h"

#include <ext2fs/ext2fs.h>
#include <pthread.h>

enum {
    EXT_INO_ROOT = 2,
    EXT_INODE_MAX = 4096, /* s_inode_size is at most a block; larger ones than this are refused */
    EXT_BLOCK_MAX = 65536,
    EXT_INLINE_MAX = 60 + 4096,  /* data in i_block and in the inode's attribute */
    EXT_XATTR_VALUE_MAX = 65536, /* XATTR_SIZE_MAX of Linux */
};

/* The superblock, checked: products of these can't overflow, and the group descriptors lie in the volume. */
struct ext_super {
    uint32_t block_size, cluster_size; /* bytes */
    uint64_t blocks, reserved_blocks;
    uint32_t first_data_block;
    uint32_t inodes, first_inode;
    uint32_t inode_size; /* bytes */
    uint32_t groups;
    uint32_t compat, incompat, ro_compat;
    uint16_t state;
    uint32_t errors; /* s_error_count */
    uint32_t last_orphan;
    uint32_t journal_inode, journal_device;
    uint32_t quota_inodes[3], orphan_file; /* 0: none; not reachable by names */
    uint16_t encoding;                     /* of casefold directories */
    uint32_t hash_seed[4];                 /* of hashed directories */
    bool hash_unsigned;                    /* they were hashed where char is unsigned */
    uint64_t overhead_blocks;
    bool has_csum;      /* metadata_csum */
    uint32_t csum_seed; /* of all metadata but the superblock */
    uint64_t fsid;
};

/* Reads and checks the superblock of `disk`. -ENOTSUP names the features that we don't know, -EUCLEAN what
 * contradicts the format. A file system larger than its volume is noted and opens. */
int ext_super_read(struct disk *disk, const char *name, struct ext_super *ret, struct notes *notes,
                   struct fault *fault);

struct jbd2_info;
/* Why it mustn't be written (info.json's word for it), "" if it may. `disk_size`: of what it lies on.
 * `journal`: what its replay has found, zeros when there was none. */
void ext_why_read_only(const struct ext_super *s, uint64_t disk_size, const struct jbd2_info *journal,
                       char *why, size_t size);

/* One file system as libext2fs has it open, and the blocks below it. */
enum { EXT_DIR_HINTS = 16 };
struct ext_fs {
    struct disk *disk; /* not owned; what is read: the volume, or the volume with its journal replayed */
    struct cache *cache;
    uint64_t owner; /* of its blocks in the cache */
    struct ext_super super;
    pthread_mutex_t lock; /* protects everything behind `lib`; held over the library's I/O, taken last. A
                             writer, who has the gate alone, doesn't need it */
    ext2_filsys lib;
    uint32_t damaged_groups;   /* descriptors that don't agree with their checksums */
    struct block_store *store; /* of a writable volume, else NULL; owned */
    struct ext_writer *writer; /* likewise; not owned */
    /* For directories without an index: inode << 32 | the block in which a name was found last. */
    _Atomic uint64_t dir_hints[EXT_DIR_HINTS];
};

/* Opens libext2fs over `disk`, for writing too if asked. On failure nothing needs closing. */
int ext_fs_open(struct ext_fs *x, struct disk *disk, struct cache *cache, bool writable, const char *name,
                struct notes *notes, struct fault *fault);
/* What hasn't been flushed is dropped. */
void ext_fs_close(struct ext_fs *x);
/* What an error of the library means. Negative; 0 for 0. */
int ext_errno(errcode_t e);

/* A metadata block, constant until it is put. -EIO when it doesn't lie in the file system or can't be read.
 */
int ext_block_get(struct ext_fs *x, uint64_t block, struct cache_block **ret);
void ext_block_put(struct ext_fs *x, struct cache_block *block);
/* File data, past the cache. The blocks have been checked against the file system's size. */
int ext_data_read(struct ext_fs *x, void *buf, size_t len, uint64_t byte);

/* ---- inodes ---- */

struct ext_inode {
    uint32_t ino;
    uint16_t mode;
    uint32_t uid, gid, links, flags;
    uint64_t size;      /* bytes, at most INT64_MAX */
    uint64_t allocated; /* bytes */
    uint64_t acl_block; /* of extended attributes, 0: none */
    dev_t rdev;
    uint32_t csum_seed; /* of the blocks that belong to this inode */
    struct timespec atime, mtime, ctime, birth;
    uint32_t value_hash; /* of an attribute's inode: i_atime as stored */
    uint32_t extra_size; /* bytes behind the first 128 that hold fields */
    size_t raw_size;     /* bytes in raw */
    uint8_t raw[EXT_INODE_MAX];
};

enum { EXT_INODE_BLOCK = 0x28, EXT_INODE_BLOCK_SIZE = 60 };

/* Any inode in use, also the journal's. -EIO when its number or its bytes are impossible. */
int ext_inode_read(struct ext_fs *x, uint32_t ino, struct ext_inode *ret);
/* By a number of struct volume_ops; reserved inodes are -EIO, as a name that leads to one is damage. */
int ext_inode_get(struct ext_fs *x, uint64_t volume_ino, struct ext_inode *ret);
uint64_t ext_volume_ino(const struct ext_fs *x, uint32_t ino);
/* The inode that such a number names; 0 for none, or one that was freed since. */
uint32_t ext_inode_number(const struct ext_fs *x, uint64_t volume_ino);

/* ---- where a file's blocks lie ---- */

struct ext_run {
    uint64_t block;  /* in the file system; 0: nothing stored, zeros */
    uint64_t blocks; /* how many, at least 1 */
    bool unwritten;  /* `block` is 0, and there are blocks all the same, at `at` */
    uint64_t at;
};

/* The run at block `logical` of a file (extents or block map); at most a few blocks are read. */
int ext_map(struct ext_fs *x, const struct ext_inode *i, uint64_t logical, struct ext_run *ret);
/* Calls fn for each block of the tree that says where the file's blocks lie, until one returns nonzero, which
 * is returned. */
int ext_map_nodes(struct ext_fs *x, const struct ext_inode *i, int (*fn)(void *ctx, uint64_t block),
                  void *ctx);
/* Bytes of a file that isn't inline: all or -EIO. The range lies in the file. */
int ext_read_mapped(struct ext_fs *x, const struct ext_inode *i, void *buf, size_t len, uint64_t off);

/* ---- directories ---- */

struct ext_dirent {
    const char *name; /* NUL-terminated, as shown: names of encrypted directories are encoded */
    size_t len;
    uint32_t ino;
    mode_t type;   /* S_IFMT bits or 0 */
    uint64_t next; /* cookie: the byte behind the entry */
};
/* Nonzero stops, and is what ext_dir_each() returns. */
typedef int (*ext_dir_visit)(void *ctx, const struct ext_dirent *e);
/* Entries but "." and ".." from byte `from` on. */
int ext_dir_each(struct ext_fs *x, const struct ext_inode *dir, uint64_t from, ext_dir_visit visit,
                 void *ctx);
/* The block of an indexed directory in which the name is, if anywhere there or in the next ones; 0: unknown.
 */
uint64_t ext_dir_leaf(struct ext_fs *x, const struct ext_inode *dir, const char *name);
int ext_dir_lookup(struct ext_fs *x, const struct ext_inode *dir, const char *name, uint32_t *ret_ino);

/* ---- extended attributes ---- */

struct ext_xattr {
    uint8_t index;
    const char *name; /* not terminated; without its prefix */
    size_t name_len;
    const uint8_t *value; /* NULL when it has an inode of its own */
    uint32_t value_inode;
    size_t size; /* bytes, at most EXT_XATTR_VALUE_MAX */
};
typedef int (*ext_xattr_visit)(void *ctx, const struct ext_xattr *a);
/* All attributes, those in the inode first. Nonzero of visit stops and is returned. */
int ext_xattr_each(struct ext_fs *x, const struct ext_inode *i, ext_xattr_visit visit, void *ctx);
/* The bytes of an inline file or directory: i_block, then the attribute's. buf has EXT_INLINE_MAX bytes. */
int ext_inline_read(struct ext_fs *x, const struct ext_inode *i, uint8_t *buf, size_t *ret_len);
int ext_xattr_list(struct ext_fs *x, const struct ext_inode *i, char *buf, size_t size, size_t *ret_len);
int ext_xattr_get(struct ext_fs *x, const struct ext_inode *i, const char *name, void *buf, size_t size,
                  size_t *ret_len);

/* ---- files ---- */

struct ext_volume {
    struct volume volume;
    struct disk *replayed; /* the journal layer, or NULL; owned */
    struct ext_fs fs;
    pthread_rwlock_t gate;     /* of a writable volume; taken first */
    struct ext_writer *writer; /* of a writable volume, else NULL; owned */
};

static inline struct ext_volume *ext_of(struct volume *v)
{
    return (struct ext_volume *)(void *)v;
}

/* Round everything that reads; and everything that changes something. */
void ext_read_begin(struct ext_volume *v);
void ext_write_begin(struct ext_volume *v);
void ext_end(struct ext_volume *v);

int ext_file_open(struct volume *v, uint64_t ino, struct volume_file **ret);
int ext_file_read(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len);
int ext_file_map(struct volume_file *f, uint64_t off, uint64_t len, struct extent *ret);
void ext_file_release(struct volume_file *f);
uint32_t ext_file_ino(struct volume_file *f);
/* The text of a symbolic link into buf (size bytes, NUL-terminated). */
int ext_link_read(struct ext_fs *x, const struct ext_inode *i, char *buf, size_t size);

/* As volume_ops.pieces (ext-pieces.c). */
int ext_pieces(struct volume *v, uint64_t ino, volume_piece fn, void *ctx);

extern const struct volume_driver ext_driver;
#endif
