/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef FERRYFS_OVERLAY_IMPL_H
#define FERRYFS_OVERLAY_IMPL_H
/* What the overlay*.c files share: the qcow2 of one disk (struct overlay_file), and the small things around
 * it. Nobody else includes this but their tests.
 *
 * Lock order, in one overlay_file: a stripe, then `lock`. No lock of two files is ever held at once. */
#include "bytes.h"
#include "overlay.h"

#include <pthread.h>
#include <sys/types.h>

enum {
    OVL_SHIFT = 16, /* of a cluster, 64 KiB */
    OVL_CLUSTER = 1 << OVL_SHIFT,
    OVL_L2_ENTRIES = OVL_CLUSTER / 8,
    OVL_COVERAGE_SHIFT = OVL_SHIFT + 13, /* one L2 table stands for 512 MiB */
    OVL_SECTOR = 512,
    OVL_STRIPES = 64,
    OVL_SPARE = 128, /* clusters behind the end that the host is to set aside: 8 MiB */
    OVL_MAX_DISKS = 1024,
};
/* Entries of L1 and L2 tables. */
#define OVL_COPIED  (UINT64_C(1) << 63) /* the cluster has one reference; always so here */
#define OVL_ZERO    UINT64_C(1)         /* reads as zeros, whatever the source has */
#define OVL_ADDRESS UINT64_C(0x00fffffffffffe00)

/* ---- the calls that change files (overlay-io.c) ---- */

/* As the system's calls: -1 with errno. Tests put others in their place. */
struct overlay_io {
    ssize_t (*pwrite)(int fd, const void *buf, size_t len, off_t off);
    int (*fallocate)(int fd, int mode, off_t off, off_t len);
    int (*ftruncate)(int fd, off_t len);
    int (*fdatasync)(int fd);
    int (*fsync)(int fd);
    int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
};
extern const struct overlay_io overlay_io_system;

/* All of it, or -errno. */
int ovl_pwrite(const struct overlay_io *io, int fd, const void *buf, size_t len, uint64_t off);
/* All of it, or -errno; -EIO when the file ends before. */
int ovl_pread(int fd, void *buf, size_t len, uint64_t off);
int ovl_fdatasync(const struct overlay_io *io, int fd);
/* Makes sure that a later write there finds room, where the file system can tell. */
int ovl_reserve(const struct overlay_io *io, int fd, uint64_t off, uint64_t len);
/* Has the host set blocks aside that the file doesn't reach yet: -ENOSPC; -EOPNOTSUPP where it can't, or
 * another error. */
int ovl_set_aside(const struct overlay_io *io, int fd, uint64_t off, uint64_t len);
bool ovl_is_zero(const void *buf, size_t len);

/* ---- which clusters of the file are in use (overlay-clusters.c) ---- */

/* Three bits for each cluster of the file, so 6 MiB for a TiB of edits. Not synchronised. */
struct ovl_clusters {
    uint64_t *used;  /* by the last commit, or by what was written since */
    uint64_t *fresh; /* written since the last commit, which doesn't reach it: may be overwritten */
    uint64_t *freed; /* the last commit reaches it, the next one won't: free after that */
    size_t words;    /* of each */
    uint64_t end;    /* clusters that the file has */
    uint64_t hint;   /* none is free before it */
};
void ovl_clusters_done(struct ovl_clusters *c);
/* Makes room for clusters below `end`. -ENOMEM. */
int ovl_clusters_grow(struct ovl_clusters *c, uint64_t end);
/* Marks as used and committed; false: it was already, or lies past the end. */
bool ovl_clusters_mark(struct ovl_clusters *c, uint64_t cluster);
/* `n` neighbours, used and fresh from now on. -ENOMEM, -EFBIG past what an entry can address. */
int ovl_clusters_alloc(struct ovl_clusters *c, uint64_t n, uint64_t *ret);
/* Not needed any more: at once for what is fresh, after the next commit for what isn't. */
void ovl_clusters_drop(struct ovl_clusters *c, uint64_t cluster, uint64_t n);
bool ovl_clusters_is_used(const struct ovl_clusters *c, uint64_t cluster);
bool ovl_clusters_is_fresh(const struct ovl_clusters *c, uint64_t cluster);
/* Takes back what ovl_clusters_alloc() gave, with the end that the file had before. */
void ovl_clusters_untake(struct ovl_clusters *c, uint64_t cluster, uint64_t n, uint64_t end);
uint64_t ovl_clusters_free(const struct ovl_clusters *c); /* how many, below the end */
/* What is fresh is committed now. */
void ovl_clusters_commit(struct ovl_clusters *c);
/* What was dropped is free now. */
void ovl_clusters_release(struct ovl_clusters *c);
/* Back to the last commit. */
void ovl_clusters_rollback(struct ovl_clusters *c);
/* Nothing is in use. */
void ovl_clusters_forget(struct ovl_clusters *c);
/* The file may end before this one. */
uint64_t ovl_clusters_last(const struct ovl_clusters *c);

/* ---- the header (overlay-header.c) ---- */

/* The sector at 0, all that may change in one step. */
struct ovl_header {
    uint64_t size;
    uint32_t l1_size; /* entries */
    uint64_t l1_offset;
    uint64_t refcount_offset;
    uint32_t refcount_clusters;
    bool dirty; /* the refcounts may be stale */
    bool ours;  /* nobody who doesn't know our autoclear bit has written the file since we did */
    uint64_t backing_offset;
    uint32_t backing_length;
    char backing_format[16];
    bool known;          /* has our extension, with these: */
    uint64_t generation; /* of the overlay at this file's last commit */
    struct timespec time;
};
void ovl_header_encode(const struct ovl_header *h, uint8_t sector[OVL_SECTOR]);
/* Reads and checks what encode wrote, or QEMU since. -EUCLEAN, -ENOTSUP (snapshots, other features or
 * cluster sizes), -ENODATA. */
int ovl_header_decode(struct bytes cluster, const char *name, struct ovl_header *ret, struct fault *fault);

/* ---- one disk's file ---- */

struct ovl_slot {
    uint64_t *table; /* OVL_L2_ENTRIES, big-endian as in the file */
    uint32_t index;  /* in the L1; meaningful when in use */
    bool in_use;
    bool busy;  /* is being read or written, with no lock held */
    bool dirty; /* the file doesn't have it as it is */
    uint64_t used_at;
};

struct overlay_file {
    int fd;
    char *name; /* for messages */
    const struct overlay_io *io;
    bool durable;         /* false: a scratch file, which nobody opens again */
    bool begun;           /* in use: which clusters are is known, so it may be written */
    struct disk *source;  /* what it lies over */
    struct ovl_header h;  /* as it is in the file, or is to be; of one thread, as commits are */
    uint64_t *blocks;     /* n_blocks: where the refcount blocks lie; 0: that one isn't there */
    size_t n_blocks;      /* whole clusters of the refcount table */
    uint64_t l1_clusters; /* that the L1 takes */

    pthread_rwlock_t stripes[OVL_STRIPES]; /* a guest cluster's: shared while data is read from its host
                                              cluster, exclusive while it is written or replaced */
    pthread_mutex_t lock;                  /* protects all below */
    pthread_cond_t idle;                   /* a slot isn't busy any more */
    struct ovl_clusters clusters;
    uint64_t *l1;     /* h.l1_size: where L2 tables lie, or will when they are written; 0: none */
    uint64_t l1_next; /* room for the L1 of the next commit; 0: not reserved yet */
    int16_t *where;   /* h.l1_size: a table's slot, or -1 */
    struct ovl_slot *slots;
    size_t n_slots;
    uint64_t clock;
    bool changed;      /* since the last commit */
    bool stale_header; /* commit.json is ahead of the header, which couldn't be written: nothing is freed */
    int broken; /* -errno that no commit or write can follow: what is in the file isn't known any more; 0 */
    uint64_t uncommitted; /* bytes, roughly */
    uint64_t spare; /* clusters that are set aside: OVL_SPARE, less on a small disk; 0: not asked for yet */
    uint64_t spare_end; /* the host has blocks for the clusters below */
    bool spare_unknown; /* its file system can't set any aside, or fails at it */
};

/* ---- L1 and L2 (overlay-table.c) ---- */

int ovl_tables_init(struct overlay_file *f, size_t n_slots);
void ovl_tables_done(struct overlay_file *f);
/* The entry of a guest cluster, host-endian; 0 where there is no table. `lock` is held, and may be given up
 * meanwhile. -EIO, -EUCLEAN. */
int ovl_entry(struct overlay_file *f, uint64_t cluster, uint64_t *ret);
/* The same with how many clusters from there on (at most `max`) are of that kind. What they are is the same
 * for all: the source's, zeros, or data somewhere. */
int ovl_entries(struct overlay_file *f, uint64_t cluster, uint64_t max, uint64_t *ret_entry, uint64_t *ret_n);
/* Puts an entry in place of the old one, whose cluster is dropped. `lock` is held, and may be given up
 * meanwhile. -ENOSPC, -EIO, ...: nothing has changed. */
int ovl_set_entry(struct overlay_file *f, uint64_t cluster, uint64_t entry);
/* Writes all tables and the L1, and syncs: what a header with l1_next would reach is in the file then. Takes
 * `lock`. After an error another try may be made, unless the file is broken. */
int ovl_tables_flush(struct overlay_file *f);
/* Does an L2 table make sense? `end`: clusters that the file has. */
bool ovl_table_is_sound(const uint64_t *table, uint64_t end);

/* ---- the file (overlay-qcow2.c) ---- */

struct ovl_file_options {
    const struct overlay_io *io;
    bool durable;
    size_t n_slots; /* tables that are kept in memory */
    struct disk *source;
    const char *name; /* for messages */
    const char *backing, *backing_format;
};
/* Writes an empty overlay into a file that is empty, and syncs it. */
int ovl_file_create(int fd, const struct ovl_file_options *o, struct fault *fault);
/* Opens it; owns `fd` from now on, also on failure. The file isn't written before ovl_file_begin. */
int ovl_file_open(int fd, const struct ovl_file_options *o, struct overlay_file **ret, struct fault *fault);
/* Moves it to the L1 that a commit of several disks named (0: leave it), finds out which clusters are in use,
 * sets the dirty bit and the backing name. */
int ovl_file_begin(struct overlay_file *f, uint64_t l1_offset, uint64_t generation, struct timespec time,
                   const struct ovl_file_options *o, struct fault *fault);
/* After ovl_tables_flush(). These commit in the file what was flushed into it, and are of one thread.
 * The header moves to the new L1, which is the commit's atomic point: -errno and nothing has happened, or
 * f->broken is set, as nobody knows. */
int ovl_file_commit(struct overlay_file *f, uint64_t generation, struct timespec time);
/* commit.json has been that point: the header moves after it. A failure is made up for by the next call,
 * which may also come when nothing has changed. */
void ovl_file_follow(struct overlay_file *f, uint64_t generation, struct timespec time);
/* Nobody knows what the last commit is: nothing is written any more. */
void ovl_file_break(struct overlay_file *f);
/* Of a scratch file: nothing is uncommitted. */
void ovl_file_forget(struct overlay_file *f);
/* Back to the last commit; refcounts and the clean header where the file is to be kept. */
void ovl_file_close(struct overlay_file *f);

/* ---- the disk over it (overlay-disk.c) ---- */

/* `f` is borrowed. */
int ovl_disk_new(struct overlay_file *f, struct disk **ret);

/* ---- who has the overlay (overlay-lock.c) ---- */

struct ovl_lock {
    int fd; /* -1: none */
    char *mountpoint;
    pid_t pid; /* that is written in it */
    bool finishing;
};
int ovl_lock_take(int dir_fd, const char *dir, const struct overlay_options *o, struct ovl_lock *ret,
                  struct fault *fault);
/* Writes who we are, if that has changed (the daemon forks after it has opened). */
void ovl_lock_update(struct ovl_lock *l, bool finishing);
void ovl_lock_give(struct ovl_lock *l);
/* Keeps QEMU from writing the image, and us from one that QEMU has. -EBUSY. Closing the file gives it free.
 */
int ovl_lock_image(int fd);

/* ---- to what the overlay is bound (overlay-bind.c) ---- */

struct json;
/* An object of JSON that says what the source is, owned by the caller. Reads samples of the source. */
int ovl_bind_write(const struct overlay_source *s, char **ret_json, struct fault *fault);
/* Is it still the source that `bound` describes? -ESTALE, with what differs. */
int ovl_bind_check(const struct json *bound, const struct overlay_source *s, bool rebind,
                   struct fault *fault);

#endif
