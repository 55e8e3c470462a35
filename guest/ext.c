/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ext2, ext3 and ext4 as volumes.
 *
 *     struct volume_ops (here) ── ext-dir  ext-file  ext-xattr ── ext-map
 *                                     │         │                    │      without a lock
 *              ext-inode ── libext2fs ── ext-io ┴────────────────────┴── struct disk
 *                           (lock)                                        │
 *                                              jbd2: the journal replayed, when it is dirty ── the volume
 *
 * A volume whose needs_recovery flag is set is opened twice: as it lies, to find where its journal is, and
 * then over the layer that has the journal replayed and the flag cleared. A journal that Linux would refuse
 * to replay refuses the volume here too: its metadata is in pieces.
 *
 * Writing: see ext-write.h. Nothing is written through the journal, as the overlay below makes what a sync
 * leaves one step. Not handled, and refused by name: external journals that need recovery, compressed files,
 * unknown incompatible features. */
#include "ext-write.h"
#include "jbd2.h"
#include "../formats/checked.h"
#include "../formats/hash.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

void ext_read_begin(struct ext_volume *v)
{
    if (v->writer)
        pthread_rwlock_rdlock(&v->gate);
}

void ext_write_begin(struct ext_volume *v)
{
    pthread_rwlock_wrlock(&v->gate);
}

void ext_end(struct ext_volume *v)
{
    if (v->writer)
        pthread_rwlock_unlock(&v->gate);
}

static struct ext_fs *fs_of(struct volume *v)
{
    return &ext_of(v)->fs;
}

static int ext_lookup(struct volume *v, uint64_t dir, const char *name, uint64_t *ret_ino)
{
    struct ext_inode i;
    uint32_t ino;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), dir, &i);
    if (r == 0)
        r = ext_entry_absent(fs_of(v), &i, name) ? -ENOENT : ext_dir_lookup(fs_of(v), &i, name, &ino);
    if (r == 0)
        *ret_ino = ext_volume_ino(fs_of(v), ino);
    ext_end(ext_of(v));
    return r;
}

static int ext_getattr(struct volume *v, uint64_t ino, struct volume_attr *ret)
{
    struct ext_inode i;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), ino, &i);
    ext_end(ext_of(v));
    if (r < 0)
        return r;
    *ret = (struct volume_attr){
        .mode = i.mode,
        .has_owner = true,
        .uid = i.uid,
        .gid = i.gid,
        .nlink = i.links,
        .rdev = i.rdev,
        .size = i.size,
        .allocated = i.allocated,
        .atime = i.atime,
        .mtime = i.mtime,
        .ctime = i.ctime,
        .birth = i.birth,
    };
    return 0;
}

/* Entries are gathered, and given out without the gate: who takes them may ask for more of the volume. */
enum { READDIR_BATCH = 128, READDIR_STOP = 1 };

struct readdir_batch {
    struct ext_fs *x;
    unsigned n;
    struct readdir_entry {
        uint64_t ino, next;
        mode_t type;
        char name[256];
    } entries[READDIR_BATCH];
};

static int readdir_visit(void *ctx, const struct ext_dirent *e)
{
    struct readdir_batch *b = ctx;
    struct readdir_entry *to = &b->entries[b->n++];
    *to = (struct readdir_entry){ .ino = ext_volume_ino(b->x, e->ino), .next = e->next, .type = e->type };
    memcpy(to->name, e->name, e->len + 1);
    return b->n == READDIR_BATCH ? READDIR_STOP : 0;
}

static int ext_readdir(struct volume *v, uint64_t dir, uint64_t cookie, volume_emit emit, void *ctx)
{
    _cleanup_free_ struct readdir_batch *b = malloc(sizeof *b);
    struct ext_inode i;
    int r = READDIR_STOP;
    if (!b)
        return -ENOMEM;
    b->x = fs_of(v);
    while (r == READDIR_STOP) {
        b->n = 0;
        ext_read_begin(ext_of(v));
        r = ext_inode_get(b->x, dir, &i);
        if (!r)
            r = ext_dir_each(b->x, &i, cookie, readdir_visit, b);
        ext_end(ext_of(v));
        for (unsigned n = 0; n < b->n; n++) {
            const struct readdir_entry *e = &b->entries[n];
            if (emit(ctx, e->name, e->ino, e->type, e->next))
                return 0;
            cookie = e->next;
        }
    }
    return r;
}

static int ext_link(struct volume *v, uint64_t ino, char *buf, size_t size, enum link_style *ret_style)
{
    struct ext_inode i;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), ino, &i);
    *ret_style = LINK_POSIX;
    if (r == 0)
        r = ext_link_read(fs_of(v), &i, buf, size);
    ext_end(ext_of(v));
    return r;
}

static int ext_listxattr(struct volume *v, uint64_t ino, char *buf, size_t size, size_t *ret_len)
{
    struct ext_inode i;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), ino, &i);
    if (r == 0)
        r = ext_xattr_list(fs_of(v), &i, buf, size, ret_len);
    ext_end(ext_of(v));
    return r;
}

static int ext_getxattr(struct volume *v, uint64_t ino, const char *name, void *buf, size_t size,
                        size_t *ret_len)
{
    struct ext_inode i;
    ext_read_begin(ext_of(v));
    int r = ext_inode_get(fs_of(v), ino, &i);
    if (r == 0)
        r = ext_xattr_get(fs_of(v), &i, name, buf, size, ret_len);
    ext_end(ext_of(v));
    return r;
}

/* Blocks that hold no files: superblocks, descriptors, bitmaps, inode tables, the journal. */
static uint64_t ext_overhead(struct ext_fs *x)
{
    const struct ext_super *s = &x->super;
    if (s->overhead_blocks)
        return s->overhead_blocks;
    uint64_t n = s->first_data_block;
    for (dgrp_t g = 0; g < s->groups; g++) {
        blk64_t super, old_desc, new_desc;
        blk_t used = 0;
        ext2fs_super_and_bgd_loc2(x->lib, g, &super, &old_desc, &new_desc, &used);
        n += used + 2ull + x->lib->inode_blocks_per_group;
    }
    struct ext_inode i;
    if (s->journal_inode && ext_inode_read(x, s->journal_inode, &i) == 0)
        n += i.size / s->block_size;
    return n;
}

/* Linux keeps a fiftieth, at most this many clusters, for extents that are split while the volume is full. */
enum { KEPT_CLUSTERS_MAX = 4096 };

/* Free counts are the groups' own: the superblock's are only written at unmount. */
static int ext_statfs(struct volume *v, struct statvfs *ret)
{
    struct ext_fs *x = fs_of(v);
    const struct ext_super *s = &x->super;
    uint32_t ratio = s->cluster_size / s->block_size;
    ext_read_begin(ext_of(v));
    uint64_t overhead = ext_overhead(x), free_blocks = 0, free_inodes = 0;
    for (dgrp_t g = 0; g < s->groups; g++) {
        free_blocks += (uint64_t)ext2fs_bg_free_blocks_count(x->lib, g) * ratio;
        free_inodes += ext2fs_bg_free_inodes_count(x->lib, g);
    }
    ext_end(ext_of(v));
    uint64_t kept = s->reserved_blocks;
    if (s->incompat & EXT3_FEATURE_INCOMPAT_EXTENTS)
        kept += min_u64(s->blocks / ratio / 50, KEPT_CLUSTERS_MAX) * ratio;
    uint64_t blocks = overhead < s->blocks ? s->blocks - overhead : s->blocks;
    free_blocks = min_u64(free_blocks, blocks);
    *ret = (struct statvfs){
        .f_bsize = s->block_size,
        .f_frsize = s->block_size,
        .f_blocks = blocks,
        .f_bfree = free_blocks,
        .f_bavail = free_blocks > kept ? free_blocks - kept : 0,
        .f_files = s->inodes,
        .f_ffree = min_u64(free_inodes, s->inodes),
        .f_favail = min_u64(free_inodes, s->inodes),
        .f_fsid = s->fsid,
        .f_namemax = 255,
    };
    return 0;
}

static void ext_close(struct volume *v)
{
    ext_fs_close(fs_of(v));
    ext_writing_end(ext_of(v));
    pthread_rwlock_destroy(&ext_of(v)->gate);
    disk_close(ext_of(v)->replayed);
    notes_done(&v->notes);
    free(v);
}

static const struct volume_ops ext_ops = {
    .lookup = ext_lookup,
    .getattr = ext_getattr,
    .readdir = ext_readdir,
    .link = ext_link,
    .open = ext_file_open,
    .read = ext_file_read,
    .map = ext_file_map,
    .release = ext_file_release,
    .listxattr = ext_listxattr,
    .getxattr = ext_getxattr,
    .pieces = ext_pieces,
    .statfs = ext_statfs,
    .close = ext_close,
    .create = ext_create,
    .hardlink = ext_hardlink,
    .unlink = ext_unlink,
    .rmdir = ext_rmdir,
    .rename = ext_rename,
    .setattr = ext_setattr,
    .write = ext_file_write,
    .fallocate = ext_file_fallocate,
    .setxattr = ext_setxattr,
    .removexattr = ext_removexattr,
    .sync = ext_sync,
};

/* ---- a dirty journal ---- */

/* A journal is laid out in one go; this many pieces of one is far beyond what fragmentation does. */
enum { JOURNAL_RUNS_MAX = 65536 };

struct journal_runs {
    struct jbd2_run *p; /* owned */
    size_t n, room;
};

static int runs_add(struct journal_runs *runs, uint64_t logical, const struct ext_run *run)
{
    struct jbd2_run *last = runs->n ? &runs->p[runs->n - 1] : NULL;
    if (last && last->block + last->blocks == run->block) {
        last->blocks += run->blocks;
        return 0;
    }
    if (runs->n == runs->room) {
        size_t room = runs->room ? runs->room * 2 : 16;
        if (room > JOURNAL_RUNS_MAX)
            return -EFBIG;
        struct jbd2_run *p = reallocarray(runs->p, room, sizeof *p);
        if (!p)
            return -ENOMEM;
        runs->p = p;
        runs->room = room;
    }
    runs->p[runs->n++] = (struct jbd2_run){ logical, run->block, run->blocks };
    return 0;
}

/* Where the journal's blocks lie. It may not be longer than the volume, so that a map that names the same
 * blocks over and over makes no endless one. */
static int journal_find(struct ext_fs *x, const char *name, struct journal_runs *ret, struct fault *fault)
{
    const struct ext_super *s = &x->super;
    if (!(s->compat & EXT3_FEATURE_COMPAT_HAS_JOURNAL))
        return fault_in(fault, -EUCLEAN, name,
                        "the ext file system needs its journal replayed, and has none");
    if (!s->journal_inode) {
        fault_in(fault, -ENOTSUP, name,
                 "the ext file system needs its journal replayed, which is on another device");
        return fault_hint(fault, -ENOTSUP, "boot the guest once, or run e2fsck on it, with both devices");
    }
    struct ext_inode i;
    int r = ext_inode_read(x, s->journal_inode, &i);
    if (r == -ENOMEM)
        return fault_in(fault, r, name, "out of memory");
    if (r < 0 || !S_ISREG(i.mode) || !i.links || i.flags & EXT4_INLINE_DATA_FL || !i.size)
        return fault_in(fault, -EUCLEAN, name, "the inode of the journal, %u, is damaged", s->journal_inode);
    if (i.size > x->disk->size)
        return fault_in(fault, -EUCLEAN, name, "the journal is larger than the volume");
    uint64_t blocks = i.size / s->block_size;
    for (uint64_t n = 0; n < blocks;) {
        struct ext_run run;
        r = ext_map(x, &i, n, &run);
        if (r == 0 && !run.block)
            r = -EIO;
        if (r == 0) {
            run.blocks = min_u64(run.blocks, blocks - n);
            r = runs_add(ret, n, &run);
            n += run.blocks;
        }
        if (r == -ENOMEM)
            return fault_in(fault, r, name, "out of memory");
        if (r == -EFBIG)
            return fault_in(fault, r, name, "the journal lies in over %d pieces", JOURNAL_RUNS_MAX);
        if (r < 0)
            return fault_in(fault, -EUCLEAN, name, "block %llu of the journal isn't on the volume",
                            (unsigned long long)n);
    }
    return ret->n ? 0 : fault_in(fault, -EUCLEAN, name, "the journal is empty");
}

enum { SUPER_AT = 1024, SB_INCOMPAT = 0x60, SB_CHECKSUM = 0x3FC };

/* The replayed superblock, without its needs_recovery flag. */
static int journal_clear_flag(struct disk *layer, const char *name, struct fault *fault)
{
    struct ext_super s;
    int r = ext_super_read(layer, name, &s, NULL, fault);
    if (r < 0)
        return r;
    uint8_t buf[JBD2_PATCH_SIZE];
    if (disk_pread(layer, buf, sizeof buf, SUPER_AT) < 0)
        return fault_at(fault, -EIO, name, SUPER_AT, "the ext superblock can't be read");
    put_le32(buf + SB_INCOMPAT, s.incompat & ~(uint32_t)EXT3_FEATURE_INCOMPAT_RECOVER);
    if (s.has_csum)
        put_le32(buf + SB_CHECKSUM, crc32c_update(~0u, buf, SB_CHECKSUM));
    jbd2_patch(layer, SUPER_AT, buf);
    return 0;
}

static void journal_note(const struct jbd2_info *info, struct notes *notes)
{
    if (info->transactions)
        notes_add(notes, "the journal was replayed (%u transactions, %llu blocks), in memory",
                  info->transactions, (unsigned long long)info->blocks);
    else
        notes_add(notes, "the journal was marked dirty, and there was nothing in it to replay");
    if (info->error)
        notes_add(notes, "the guest had aborted the journal (error %d)", info->error);
    if (info->fast_commits)
        notes_add(notes,
                  "the journal has fast commits, which aren't replayed: the last seconds before the guest "
                  "stopped are not shown, and the volume can't be written; boot the guest once to get them");
}

/* x is open on the volume as it lies; afterwards on the layer. */
static int journal_replay(struct ext_volume *v, struct disk *disk, struct cache *cache, const char *name,
                          struct jbd2_info *ret_info, struct fault *fault)
{
    struct ext_fs *x = &v->fs;
    struct journal_runs runs = { 0 };
    struct jbd2_info info = { 0 };
    int r = journal_find(x, name, &runs, fault);
    if (!r) {
        const struct jbd2_place place = { .block_size = x->super.block_size,
                                          .first_block = x->super.first_data_block,
                                          .fs_blocks = x->super.blocks,
                                          .runs = runs.p,
                                          .n_runs = runs.n,
                                          .name = name };
        r = jbd2_open(disk, &place, &info, &v->replayed, fault);
    }
    free(runs.p);
    ext_fs_close(x);
    if (r < 0 || (r = journal_clear_flag(v->replayed, name, fault)) < 0)
        return r;
    journal_note(&info, &v->volume.notes);
    *ret_info = info;
    return ext_fs_open(x, v->replayed, cache, false, name, &v->volume.notes, fault);
}

/* Prefers writers: a crowd of readers must not keep one waiting. */
static void gate_init(pthread_rwlock_t *gate)
{
    pthread_rwlockattr_t a;
    pthread_rwlockattr_init(&a);
    pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(gate, &a);
    pthread_rwlockattr_destroy(&a);
}

/* Fills read_only_why. */
static void judge(struct ext_volume *v, const struct disk *disk, const struct jbd2_info *journal)
{
    char *why = v->volume.read_only_why;
    const size_t size = sizeof v->volume.read_only_why;
    ext_why_read_only(&v->fs.super, disk->size, journal, why, size);
    if (*why || ext_unsafe(&v->fs.super, why, size))
        return;
    if (v->fs.damaged_groups)
        snprintf(why, size, "%u ext group descriptors are damaged; run e2fsck in the guest",
                 v->fs.damaged_groups);
}

static int ext_open_as(struct disk *disk, const char *name, struct cache *cache, bool writable,
                       struct volume **ret, struct fault *fault)
{
    struct ext_volume *v = calloc(1, sizeof *v);
    if (!v)
        return fault_in(fault, -ENOMEM, name, "out of memory");
    v->volume.ops = &ext_ops;
    gate_init(&v->gate);
    struct jbd2_info journal = { 0 };
    int r = ext_fs_open(&v->fs, disk, cache, false, name, &v->volume.notes, fault);
    if (!r && v->fs.super.incompat & EXT3_FEATURE_INCOMPAT_RECOVER) {
        notes_done(&v->volume.notes); /* the superblock is read anew */
        v->volume.notes = (struct notes){ 0 };
        r = journal_replay(v, disk, cache, name, &journal, fault);
    }
    if (!r)
        judge(v, disk, &journal);
    struct ext_inode root;
    if (!r && ext_inode_get(&v->fs, VOLUME_ROOT, &root) < 0)
        r = fault_in(fault, -EUCLEAN, name, "the inode of the ext root directory is damaged");
    if (!r && writable && !*v->volume.read_only_why && disk_writable(disk) &&
        ext_writing_begin(v, disk, cache, name) < 0)
        r = fault_in(fault, -EIO, name, "the ext file system can't be opened again");
    if (r < 0) {
        ext_close(&v->volume);
        return r;
    }
    v->volume.caseless = v->fs.super.incompat & EXT4_FEATURE_INCOMPAT_CASEFOLD;
    *ret = &v->volume;
    return 0;
}

static int ext_open(struct disk *disk, const char *name, struct cache *cache, struct volume **ret,
                    struct fault *fault)
{
    return ext_open_as(disk, name, cache, false, ret, fault);
}

static int ext_open_writable(struct disk *disk, const char *name, struct cache *cache, unsigned flags,
                             struct volume **ret, struct fault *fault)
{
    (void)flags;
    return ext_open_as(disk, name, cache, true, ret, fault);
}

const struct volume_driver ext_driver = {
    .name = "ext",
    .types = (const char *const[]){ "ext2", "ext3", "ext4", NULL },
    .open = ext_open,
    .open_writable = ext_open_writable,
};
