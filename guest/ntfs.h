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
#include "late-writes.h"
#include "volume.h"

#include <stdatomic.h>

#include <pthread.h>

enum { NTFS_NODE_BUCKETS = 256 };

struct ntfs_data;
struct ntfs_listing;
struct ntfs_node;

struct ntfs {
    struct volume volume;    /* first */
    struct disk *disk;       /* not owned */
    struct late_writes late; /* over disk: what is read and written goes through it */
    struct cache *cache;     /* not owned */
    ntfs_volume *lib;        /* owned; protected by lock, but for the constants copied below */
    unsigned cluster_shift;
    uint64_t clusters;             /* on the volume */
    uint64_t records;              /* in the MFT */
    _Atomic int64_t free_clusters; /* -1: not counted yet */
    uint64_t units_owner[32];      /* of decompressed units in the cache, by log2 of their size */
    uint64_t wof_owner[4];         /* of decompressed chunks of WOF files, by their format */
    pthread_mutex_t lock; /* a leaf: nothing else is locked while it is held but an open file's, the cache's
                             and the disk's */
    pthread_mutex_t nodes_lock; /* of ntfs-open.c, for a moment; may be taken with `lock` held */
    struct ntfs_node *nodes[NTFS_NODE_BUCKETS]; /* the open files, see ntfs-open.c */
    /* What follows is protected by lock. */
    uint64_t loads;                /* contents loaded so far, see ntfs_data_load() */
    unsigned hints;                /* how many more directories are worth one, since the last listing */
    struct ntfs_listing *listings; /* of a writable volume, see ntfs-list.c */
    struct ntfs_inherited {
        uint32_t parent, id; /* security ids: the directory's, and what is made of it; 0: not known yet */
    } inherited[2];          /* of the last directory in which a file [0], or a directory [1], was made */
};

static inline struct ntfs *ntfs_of(struct volume *v)
{
    return (struct ntfs *)(void *)v;
}

/* The errno of a library call that failed, as we give it on: out of memory, or damage. */
int ntfs_failed(void);
/* The same of a call that writes: no space and what the file system can't do stay what they are. */
int ntfs_write_failed(void);

/* ---- ntfs-device.c ---- */
/* Of the directories in one listing; more of them would drive each other out of a small cache. */
enum { NTFS_HINTS = 32 };

/* The library's device over `late`, which outlives it. NULL: no memory. Owned by the library once a mount
 * succeeded. */
struct ntfs_device *ntfs_disk_device_new(struct late_writes *late, const char *name, bool writable);
/* After a mount that failed. */
void ntfs_disk_device_free(struct ntfs_device *dev);
/* Allows the device so many more reads; see ntfs_lock(). */
void ntfs_device_allow(struct ntfs_device *dev);
/* From now on nothing is written: the volume can't be written safely after all. */
void ntfs_device_protect(struct ntfs_device *dev);
/* Begins to note which clusters are freed. `v->lib` is mounted. Without memory nothing is noted. Locked. */
void ntfs_device_watch(struct ntfs *v);
/* Discards the clusters that were freed since the last call and are free still. Locked. */
void ntfs_device_discard_freed(struct ntfs *v);

/* ---- ntfs-freed.c ---- */
/* Which parts of a cluster bitmap were written, and which bits were ever set there. */
struct ntfs_freed;
/* Takes over `bitmap`, the content of $Bitmap. NULL: no memory. */
struct ntfs_freed *ntfs_freed_new(struct ntfs_data *bitmap);
void ntfs_freed_free(struct ntfs_freed *f);
/* The disk is about to be written at [off, off+len). */
void ntfs_freed_note(struct ntfs_freed *f, uint64_t off, uint64_t len);
/* Calls fn for each run of clusters that were set in the bitmap some time since the last call, and aren't. */
void ntfs_freed_take(struct ntfs_freed *f, void (*fn)(void *ctx, uint64_t cluster, uint64_t n), void *ctx);

/* ---- ntfs-check.c ---- */
/* The boot sector, before the library sees it. -EUCLEAN, -ENOTSUP or -EIO with the fault. Notes a volume that
 * is longer than its partition. */
int ntfs_check_boot(struct disk *disk, const char *name, struct notes *notes, struct fault *fault);
/* Notes a dirty log, a hibernated Windows, the dirty flag, and sets read_only_why for what keeps the volume
 * from being written. Never fails: what can't be read is noted too. *ret_resumable: the only reasons are that
 * Windows is hibernated or has the volume in use (fast startup), or what our discarding of that has left.
 * Locked, or before anyone else sees `v`. */
void ntfs_check_state(struct ntfs *v, bool *ret_resumable);
/* Gives up what a hibernated Windows keeps: deletes hiberfil.sys, and empties a log that Windows has in use,
 * after which the volume is marked dirty, so that Windows checks it. Only after ntfs_check_state() has called
 * it resumable. */
int ntfs_discard_session(struct ntfs *v);

/* ---- ntfs.c ---- */
/* The volume's lock, with a fresh allowance of reads: a library call that goes in circles on a hostile volume
 * fails with EIO when it is used up. */
void ntfs_lock(struct ntfs *v);
void ntfs_unlock(struct ntfs *v);
/* Opens inode `ino`: VOLUME_ROOT, or an MFT number with the record's sequence number above it, so that a
 * record that is used again is another inode. -ENOENT: no such file (any more; metadata files are none).
 * Locked; close with ntfs_put_inode(). The library must never open one twice at a time: what opens others by
 * itself (a file's directories, when it is closed with changes) is called with those closed. */
int ntfs_get_inode(struct ntfs *v, uint64_t ino, ntfs_inode **ret);
/* The same by the MFT number alone. */
int ntfs_get_record(struct ntfs *v, uint64_t mft, ntfs_inode **ret);
uint64_t ntfs_ino_of(const ntfs_inode *ni);
/* Closes an inode, which writes what has changed. Returns `r` if that is an error, else how it went. */
int ntfs_put_inode(ntfs_inode *ni, int r);
/* Calls fn for each $FILE_NAME of the inode until it returns nonzero, which is returned. Locked. */
int ntfs_each_name(ntfs_inode *ni, int (*fn)(void *ctx, const FILE_NAME_ATTR *name), void *ctx);

static inline bool ntfs_is_dir(const ntfs_inode *ni)
{
    return ni->mrec->flags & MFT_RECORD_IS_DIRECTORY;
}

/* ---- ntfs-open.c ---- */
/* The open files of a volume by inode, and reading them: see there. All of volume_ops'. */
int ntfs_open_file(struct volume *volume, uint64_t ino, struct volume_file **ret);
int ntfs_read_file(struct volume_file *f, void *buf, size_t len, uint64_t off, size_t *ret_len);
int ntfs_map_file(struct volume_file *f, uint64_t off, uint64_t len, struct extent *ret);
void ntfs_release_file(struct volume_file *f);
/* The inode of an open file. */
uint64_t ntfs_file_ino(const struct volume_file *f);
/* Who changes where or how long a file's content is calls these around it, so that readers notice. Nothing to
 * do for a file that isn't open. Locked; the pair within one hold of the lock. */
struct ntfs_node *ntfs_change_begin(struct ntfs *v, uint64_t ino);
void ntfs_change_end(struct ntfs_node *n);
/* Is the file open, and has it lost its last name? Locked. */
bool ntfs_is_open(struct ntfs *v, uint64_t ino);
bool ntfs_is_gone(struct ntfs *v, uint64_t ino);
/* An open file has lost its last name: the last release deletes it. Locked. */
void ntfs_set_gone(struct ntfs *v, uint64_t ino);
/* What is read of a regular file. -EISDIR, -EINVAL: it is none. Locked. */
int ntfs_load_file(struct ntfs *v, ntfs_inode *ni, struct ntfs_data *ret);

/* ---- ntfs-write.c ---- */
/* As in volume_ops. */
int ntfs_write_file(struct volume_file *f, const void *buf, size_t len, uint64_t off);
int ntfs_allocate(struct volume_file *f, int mode, uint64_t off, uint64_t len);
int ntfs_setattr(struct volume *volume, uint64_t ino, const struct volume_attr *a, unsigned which);
/* What whoever changes the volume asks first: -errno while the disk refuses what was written before, -EIO for
 * good when that was lost (see late-writes.h). Locked. */
int ntfs_may_write(struct ntfs *v);
/* Is there room for so many clusters, and for the metadata that an operation may need? -ENOSPC. What names
 * need (0 clusters) is set aside from what data may take. Locked. */
int ntfs_room(struct ntfs *v, uint64_t clusters);
/* Writes all of a value into an open attribute from `off` on, or restores its size. Locked. */
int ntfs_write_attr(ntfs_attr *na, const void *buf, size_t len, uint64_t off);

/* ---- ntfs-names.c ---- */
/* As in volume_ops. */
int ntfs_create_file(struct volume *volume, uint64_t dir, const char *name, const struct volume_new *what,
                     uint64_t *ret_ino);
int ntfs_hardlink(struct volume *volume, uint64_t ino, uint64_t dir, const char *name);
int ntfs_unlink(struct volume *volume, uint64_t dir, const char *name);
int ntfs_rmdir(struct volume *volume, uint64_t dir, const char *name);
int ntfs_rename(struct volume *volume, uint64_t dir, const char *name, uint64_t new_dir, const char *new_name,
                unsigned flags);
int ntfs_recover(struct volume *volume);
/* Frees a file that was unlinked while it was open. Locked. */
int ntfs_delete_gone(struct ntfs *v, uint64_t ino);
/* Is this the name, in the root, of a file that was unlinked while it was open? */
bool ntfs_is_gone_name(const char *name, uint64_t mref);

/* ---- ntfs-list.c ---- */
/* volume_ops.readdir of a writable volume. */
int ntfs_list_writable(struct ntfs *v, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx);
/* The directory has changed. Locked. */
void ntfs_list_changed(struct ntfs *v, uint64_t dir_mft);
void ntfs_list_done(struct ntfs *v);

/* ---- ntfs-dir.c ---- */
struct ntfs_name {
    ntfschar *ucs; /* owned; freed by ntfs_name_done() */
    int len;       /* units */
};
/* -ENAMETOOLONG; -ENOENT: no name of NTFS (not UTF-8, or empty). */
int ntfs_name_of(const char *name, struct ntfs_name *ret);
void ntfs_name_done(struct ntfs_name *name);
/* The name in dir: exactly, else without case. -ENOENT. Locked. */
int ntfs_find(struct ntfs *v, ntfs_inode *dir, const struct ntfs_name *name, uint64_t *ret_mref);
/* Only exactly. */
int ntfs_find_exact(ntfs_inode *dir, const struct ntfs_name *name, uint64_t *ret_mref);
/* What the library's walk through a directory needs to be sound. -EIO. Locked. */
int ntfs_check_index(ntfs_inode *dir, uint32_t *ret_block_size);
/* The inode number by a directory's entry: what it refers to, with the sequence number where it has none.
 * Locked. */
uint64_t ntfs_complete_ino(struct ntfs *v, uint64_t mref);
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
    uint64_t ino;          /* names its units in the cache, with its owner; 0: not cached */
    uint64_t size;         /* bytes */
    uint64_t initialized;  /* bytes; what lies behind reads as zeros */
    uint8_t *resident;     /* owned; `size` bytes; NULL: in runs */
    struct ntfs_run *runs; /* owned; n of them, checked: in the volume, without gaps */
    size_t n;
    uint64_t end_vcn;     /* end of the last run */
    unsigned unit_shift;  /* log2 of the bytes of a compression unit; 0: not compressed */
    bool holes_elsewhere; /* what isn't on this volume is somewhere else (a cloud placeholder): -EIO */
    int error;            /* what every read of this gives: encrypted, dedup; 0: none */
    struct ntfs_wof *wof; /* owned; NULL: the content is the attribute's own */
};

/* The attribute's runs or value. -ENODATA when there is none of this type and name; -EIO when it is damaged.
 * An encrypted one succeeds with `error` set. `name` is AT_UNNAMED or names of the library. Locked. */
int ntfs_data_load(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, ntfschar *name, uint32_t name_len,
                   struct ntfs_data *ret);
/* Hints that the first bytes are read soon, of a file and of an attribute that isn't loaded: another core's
 * work where the source is compressed. Never wait. The second is called locked. */
void ntfs_data_ahead(const struct ntfs_data *d);
void ntfs_attr_ahead(struct ntfs *v, ntfs_attr *na);
void ntfs_data_done(struct ntfs_data *d);
/* As volume_ops.read and .map. Neither takes the lock nor calls the library. */
int ntfs_data_read(const struct ntfs_data *d, void *buf, size_t len, uint64_t off, size_t *ret_len);
int ntfs_data_map(const struct ntfs_data *d, uint64_t off, uint64_t len, struct extent *ret);
/* ntfs_data_load and ntfs_data_read of a whole small value: at most `max` bytes, else -EFBIG. *ret is
 * malloc'ed and never NULL. Locked. */
int ntfs_load_value(struct ntfs *v, ntfs_inode *ni, ATTR_TYPES type, size_t max, uint8_t **ret,
                    size_t *ret_len);

/* ---- ntfs-pieces.c ---- */
/* As in volume_ops. */
int ntfs_pieces(struct volume *volume, uint64_t ino, volume_piece fn, void *ctx);

/* ---- ntfs-wof.c ---- */
#define NTFS_WOF_STREAM "WofCompressedData"
/* The content of a file whose reparse tag is NTFS_TAG_WOF. -EIO: a format that can't be had. Locked. */
int ntfs_wof_load(struct ntfs *v, ntfs_inode *ni, struct ntfs_data *ret);
void ntfs_wof_free(struct ntfs_wof *w);
/* [off, off+len) lies in the content. Neither takes the lock nor calls the library. */
int ntfs_wof_read(const struct ntfs_data *d, uint8_t *buf, size_t len, uint64_t off);

/* ---- ntfs-reparse.c ---- */
enum { NTFS_TAG_WOF = 0x80000017 };

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
/* The stream that keeps the attribute of this name: "user.X" is X, "security.X" and "trusted.X" are hidden
 * ones. False: no stream does. */
enum { NTFS_STREAM_NAME_MAX = 300 };
bool ntfs_stream_of(const char *name, char stream[static NTFS_STREAM_NAME_MAX]);

/* ---- ntfs-xattr-write.c ---- */
int ntfs_setxattr(struct volume *volume, uint64_t ino, const char *name, const void *value, size_t size,
                  int flags);
int ntfs_removexattr(struct volume *volume, uint64_t ino, const char *name);
#endif
