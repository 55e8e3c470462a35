/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_NTFS_H
#define FERRYFS_NTFS_H
/* What the files of the NTFS driver (guest/ntfs*.c) share; nobody else includes this.
 *
 * libntfs-3g finds things: MFT records, attributes, names, runlists, security descriptors. It isn't
 * thread-safe, so every call into it, and every use of what it returns, is made with `lock` held; functions
 * that need that say "locked" here. What an open file needs (struct ntfs_data) is copied out once, and its
 * bytes are then read from the disk without the lock and without the library. */
#include "ntfs-lib.h"
#include "volume.h"

#include <stdatomic.h>

#include <pthread.h>

struct ntfs {
    struct volume volume; /* first */
    struct disk *disk;    /* not owned */
    struct cache *cache;  /* not owned */
    ntfs_volume *lib;     /* owned; protected by lock, but for the constants copied below */
    unsigned cluster_shift;
    uint64_t clusters;             /* on the volume */
    uint64_t records;              /* in the MFT */
    _Atomic int64_t free_clusters; /* -1: not counted yet */
    uint64_t units_owner[32];      /* of decompressed units in the cache, by log2 of their size */
    pthread_mutex_t lock; /* a leaf: nothing else is locked while it is held but the cache's and the disk's */
};

static inline struct ntfs *ntfs_of(struct volume *v)
{
    return (struct ntfs *)(void *)v;
}

/* The errno of a library call that failed, as we give it on: out of memory, or damage. */
int ntfs_failed(void);

/* ---- ntfs-device.c ---- */
/* The library's device over `disk`, read-only. NULL: no memory. Owned by the library once a mount succeeded.
 */
struct ntfs_device *ntfs_disk_device_new(struct disk *disk, const char *name);
/* After a mount that failed. */
void ntfs_disk_device_free(struct ntfs_device *dev);
/* Allows the device so many more reads; see ntfs_lock(). */
void ntfs_device_allow(struct ntfs_device *dev);

/* ---- ntfs-check.c ---- */
/* The boot sector, before the library sees it. -EUCLEAN, -ENOTSUP or -EIO with the fault. Notes a volume that
 * is longer than its partition. */
int ntfs_check_boot(struct disk *disk, const char *name, struct notes *notes, struct fault *fault);
/* Notes a dirty log, a hibernated Windows, the dirty flag. Never fails: what can't be read is noted too.
 * Locked, or before anyone else sees `v`. */
void ntfs_check_state(struct ntfs *v);

/* ---- ntfs.c ---- */
/* The volume's lock, with a fresh allowance of reads: a library call that goes in circles on a hostile volume
 * fails with EIO when it is used up. */
void ntfs_lock(struct ntfs *v);
void ntfs_unlock(struct ntfs *v);
/* Opens inode `ino` (VOLUME_ROOT or an MFT number). -ENOENT: no such file (metadata files are none). Locked;
 * close with ntfs_inode_close(). */
int ntfs_get_inode(struct ntfs *v, uint64_t ino, ntfs_inode **ret);
/* Calls fn for each $FILE_NAME of the inode until it returns nonzero, which is returned. Locked. */
int ntfs_each_name(ntfs_inode *ni, int (*fn)(void *ctx, const FILE_NAME_ATTR *name), void *ctx);

static inline bool ntfs_is_dir(const ntfs_inode *ni)
{
    return ni->mrec->flags & MFT_RECORD_IS_DIRECTORY;
}

/* ---- ntfs-dir.c ---- */
/* `name` (UTF-8) in dir: exactly, else without case. -ENOENT. Locked. */
int ntfs_lookup_name(struct ntfs *v, ntfs_inode *dir, const char *name, uint64_t *ret_mref);
/* As in volume_ops. `emit` is called without the lock. */
int ntfs_lookup(struct volume *volume, uint64_t dir, const char *name, uint64_t *ret_ino);
int ntfs_list(struct volume *volume, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx);

/* ---- ntfs-data.c ---- */
/* One $DATA attribute (or another one's value) as it is read: copied out of the library, constant after. */
struct ntfs_run {
    uint64_t vcn; /* first cluster of the file; the next run's vcn ends it */
    int64_t lcn;  /* first cluster of the volume; NTFS_RUN_HOLE */
};
enum { NTFS_RUN_HOLE = -1 };

struct ntfs_data {
    struct ntfs *ntfs;
    uint64_t ino;          /* names the unit in the cache; 0: not cached */
    uint64_t size;         /* bytes */
    uint64_t initialized;  /* bytes; what lies behind reads as zeros */
    uint8_t *resident;     /* owned; `size` bytes; NULL: in runs */
    struct ntfs_run *runs; /* owned; n of them, checked: in the volume, without gaps */
    size_t n;
    uint64_t end_vcn;     /* end of the last run */
    unsigned unit_shift;  /* log2 of the bytes of a compression unit; 0: not compressed */
    bool holes_elsewhere; /* what isn't on this volume is somewhere else (a cloud placeholder): -EIO */
    int error;            /* what every read of this gives: encrypted, WOF, dedup; 0: none */
};

/* The attribute's runs or value. -ENODATA when there is none of this type and name; -EIO when it is damaged.
 * An encrypted one succeeds with `error` set. `name` is AT_UNNAMED or names of the library. Locked. */
int ntfs_data_load(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, ntfschar *name, uint32_t name_len,
                   struct ntfs_data *ret);
void ntfs_data_done(struct ntfs_data *d);
/* As volume_ops.read and .map. Neither takes the lock nor calls the library. */
int ntfs_data_read(const struct ntfs_data *d, void *buf, size_t len, uint64_t off, size_t *ret_len);
int ntfs_data_map(const struct ntfs_data *d, uint64_t off, uint64_t len, struct extent *ret);
/* ntfs_data_load and ntfs_data_read of a whole small value: at most `max` bytes, else -EFBIG. *ret is
 * malloc'ed and never NULL. Locked. */
int ntfs_load_value(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, size_t max, uint8_t **ret,
                    size_t *ret_len);

/* ---- ntfs-reparse.c ---- */
/* What an inode is beyond a file or a directory. */
struct ntfs_special {
    mode_t type;          /* S_IFMT bits */
    dev_t rdev;           /* of device nodes */
    uint32_t tag;         /* reparse tag; 0: none */
    int data_error;       /* its content can't be had: -EIO; 0: it can */
    bool holes_elsewhere; /* see struct ntfs_data */
};
/* Damage in the reparse data is a data_error, not a failure. -ENOMEM, -EIO. Locked. */
int ntfs_special_of(struct ntfs *v, ntfs_inode *ni, struct ntfs_special *ret);
/* As volume_ops.link; *ret_len is the text's length without the NUL. -EINVAL: not a link. Locked. */
int ntfs_link_text(struct ntfs *v, ntfs_inode *ni, const struct ntfs_special *special, char *buf, size_t size,
                   size_t *ret_len, enum link_style *ret_style);

/* ---- ntfs-xattr.c ---- */
int ntfs_listxattr(struct volume *volume, uint64_t ino, char *buf, size_t size, size_t *ret_len);
int ntfs_getxattr(struct volume *volume, uint64_t ino, const char *name, void *buf, size_t size,
                  size_t *ret_len);
#endif
